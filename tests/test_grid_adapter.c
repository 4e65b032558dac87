/* ranks: 1 2 3 4 6 */
/* Adapters on rows x cols grids against the same on one rank: initial values, log-probabilities,
 * every gradient, with dropout on, for the uneven model of test_grid_model.c. */
#include "grid_model.h"
#include "rd_test.h"

enum { T = UNEVEN_T, ALL = (1 << RD_TARGETS) - 1 };

static const struct {
    const char *name;
    rd_adapter_opts o;
} kinds[] = {
    {"lora", {.kind = RD_LORA, .rank = 7, .alpha = 10, .targets = ALL}},
    {"lora, dropout", {.kind = RD_LORA, .rank = 5, .alpha = 7, .dropout = 0.2, .targets = ALL}},
    {"rslora of rank 1, some targets",
     {.kind = RD_LORA, .rank = 1, .alpha = 2, .rslora = true, .targets = 1 << RD_V | 1 << RD_UP}},
    {"dora", {.kind = RD_DORA, .rank = 7, .alpha = 10, .targets = ALL}},
    {"dora, dropout, some targets",
     {.kind = RD_DORA,
      .rank = 6,
      .alpha = 6,
      .dropout = 0.2,
      .targets = 1 << RD_K | 1 << RD_O | 1 << RD_GATE | 1 << RD_DOWN}},
    {"pissa", {.kind = RD_PISSA, .rank = 7, .alpha = 14, .targets = ALL}},
    {"pissa, dropout, some targets",
     {.kind = RD_PISSA,
      .rank = 3,
      .alpha = 3,
      .dropout = 0.2,
      .targets = 1 << RD_Q | 1 << RD_O | 1 << RD_UP | 1 << RD_DOWN}},
    {"olora", {.kind = RD_OLORA, .rank = 7, .alpha = 14, .targets = ALL}},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

typedef struct bed {
    rd_grid *self;
    rd_model_config cfg;
    const rd_adapter_opts *o;
    rd_model *model; /* on this rank alone */
    uneven_batch in;
    double logp[T];
} bed;

static double adapters_apart(const rd_model *a, const rd_model *b, bool grads, const char **where)
{
    double worst = rd_test_params_apart(&a->adapter, &b->adapter, grads, where);
    rd_max_f64(&a->grid->world, &worst, 1);
    return worst;
}

/* Away from the start: where B was 0, far, so that A has a gradient; magnitudes are no longer
 * norms.
 */
static void move(rd_model *m, const rd_adapter_opts *o)
{
    double far = o->kind == RD_LORA || o->kind == RD_DORA ? 0.1 : 0.02;
    for (int64_t k = 0; k < m->adapter.n; k++) {
        rd_mat *w = &m->adapter.item[k].w;
        for (int64_t j = 0; j < w->ln; j++)
            for (int64_t i = 0; i < w->lm; i++) {
                float *x = w->a + j * w->ld + i;
                uint64_t place = (uint64_t)(rd_mat_global_col(w, j) * w->m);
                rd_rng r =
                    rd_rng_make(9, "moved", (uint64_t)k, place + (uint64_t)rd_mat_global_row(w, i));
                double step = rd_rng_normal(&r);
                *x = m->adapter.item[k].is_vector ? *x * (float)(1 + 0.2 * step)
                                                  : *x + (float)(far * step);
            }
    }
}

static rd_model *make_model(const rd_grid *g, const bed *t)
{
    rd_model *m = NULL;
    is_rc(rd_model_create(g, &t->cfg, false, &m), RD_OK, "model");
    rd_model_init(m, 3);
    rd_test_enlarge(m);
    is_rc(rd_model_adapt(m, t->o), RD_OK, "adapted");
    is_rc(rd_model_adapter_init(m, 4), RD_OK, "initial values");
    return m;
}

static void run(rd_model *m, const bed *t, double *logp)
{
    rd_work *w = NULL;
    is_rc(rd_work_create(m, T, UNEVEN_LEN, &w), RD_OK, "work");
    rd_mem_guard("pass");
    rd_model_dropout(m, 21);
    /* A larger batch first: what it leaves behind must not matter. */
    rd_batch half = uneven_batch_half(&t->in);
    int rc = rd_test_pass(m, w, &t->in.b, t->in.coef, logp);
    if (rc == RD_OK) rc = rd_test_pass(m, w, &half, t->in.coef, logp);
    if (rc == RD_OK) rc = rd_test_pass(m, w, &t->in.b, NULL, logp);
    rd_mem_guard(NULL);
    is_rc(rc, RD_OK, "passes");
    rd_work_free(&w);
}

static double bases_apart(const rd_model *a, const rd_model *b, const char **where)
{
    double worst = rd_test_params_apart(&a->base, &b->base, false, where);
    rd_max_f64(&a->grid->world, &worst, 1);
    return worst;
}

static void test_grid(const bed *t, int rows, int cols)
{
    rd_grid *g;
    const char *where = "";
    double logp[T], loss = 0, want = 0;
    diag("%d x %d", rows, cols);
    if (!is_rc(rd_grid_create(0, rows, cols, &g), RD_OK, "grid")) return;
    is_rc(rd_la_attach(g, 1), RD_OK, "context");
    rd_model *m = make_model(g, t), *one = make_model(t->self, t);
    double start = adapters_apart(m, one, false, &where);
    ok(start < 1e-6, "the same initial values (%.1e, %s)", start, where);
    move(m, t->o);
    int64_t all = 0;
    for (int64_t i = 0; i < m->adapter.n; i++)
        all += m->adapter.item[i].w.m * m->adapter.item[i].w.n;
    is_i64(rd_test_held(g, &m->adapter), all, "every weight exists once");
    run(m, t, logp);
    for (int i = 0; i < T; i++) {
        loss += t->in.coef[i] * logp[i];
        want += t->in.coef[i] * t->logp[i];
    }
    double off = rd_test_relative(T, logp, t->logp);
    ok(off < 1e-5, "log-probabilities (%.1e)", off);
    ok(fabs(loss / want - 1) < 1e-5, "loss (%.1e)", fabs(loss / want - 1));
    ok(rd_test_same_bytes(g, logp, sizeof(logp)), "the same bits on every rank");
    double worst = adapters_apart(m, t->model, true, &where);
    ok(worst < 1e-5, "all gradients (%.1e, %s)", worst, where);
    double largest = -1, change = 0;
    change = bases_apart(m, t->model, &where);
    ok(change < 1e-6, "the base (%.1e, %s)", change, where);
    move(one, t->o);
    is_rc(rd_model_merge(one, NULL, NULL), RD_OK, "merged on one rank");
    is_rc(rd_model_merge(m, &t->in.b, &largest), RD_OK, "merged");
    ok(largest >= 0 && largest < 2e-4, "the largest logit difference (%.1e)", largest);
    change = bases_apart(m, one, &where);
    ok(change < 2e-6, "the same weights (%.1e, %s)", change, where);
    ok(rd_test_same_bytes(g, &largest, sizeof(largest)), "the same on every rank");
    rd_model_free(&m), rd_model_free(&one);
    rd_la_detach(g);
    rd_grid_free(&g);
}

static void test_kind(int kind, int64_t width, int64_t heads, int64_t kv_heads, int64_t ffn)
{
    static bed t;
    int size = rd_test_world.size;
    memset(&t, 0, sizeof(t));
    diag("%s, width %d", kinds[kind].name, (int)width);
    t.o = &kinds[kind].o;
    t.cfg = uneven_config(width, heads, kv_heads, ffn, true, kind != 0);
    uneven_batch_make(&t.in);
    rd_grid_self(&t.self);
    t.model = make_model(t.self, &t);
    move(t.model, t.o);
    run(t.model, &t, t.logp);
    for (int rows = 1; rows <= size; rows++)
        for (int cols = 1; rows * cols <= size; cols++)
            if (size % (rows * cols) == 0) test_grid(&t, rows, cols);
    rd_model_free(&t.model);
    rd_grid_free(&t.self);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    for (int k = 0; k < KINDS; k++) test_kind(k, 70, 9, 3, 133);
    test_kind(0, 5, 2, 1, 3); /* some ranks own nothing */
    test_kind(4, 5, 2, 1, 3);
    test_kind(6, 5, 2, 1, 4); /* weights smaller than the grid */
    return rd_test_end();
}
