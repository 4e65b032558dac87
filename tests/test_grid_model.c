/* ranks: 1 2 3 4 6 */
/* The model on rows x cols grids against the same on one rank: initial weights, log-probabilities,
 * every gradient, greedy decoding with forks, files.  Nothing divides: 9 heads in 3 groups, an odd
 * vocabulary, sequences of all lengths, and of no length. */
#include "grid_model.h"
#include "rd_test.h"

enum { V = UNEVEN_V, T = UNEVEN_T, SLOTS = 5, STEPS = 12 };

typedef struct bed {
    rd_grid *self;
    rd_model_config cfg;
    rd_model *model; /* on this rank alone */
    uneven_batch in;
    double logp[T];
    int32_t greedy[SLOTS][STEPS];
    float logits[V * SLOTS]; /* of the last step */
} bed;

/* What the backward pass said to be final, as it was then. */
typedef struct heard {
    const rd_params *trained;
    float *grads;
    int64_t from;
    int calls, gaps;
} heard;

static void hear(void *ctx, int64_t first, int64_t count)
{
    heard *h = ctx;
    h->calls++;
    h->gaps += first + count != h->from || count < 0;
    h->from = first;
    memcpy(h->grads + first, h->trained->grads + first, (size_t)count * sizeof(float));
}

static void run(rd_model *m, const bed *t, double *logp)
{
    rd_work *w = NULL;
    int64_t storage = m->trained->storage;
    heard h = {.trained = m->trained, .grads = rd_new(float, storage), .from = storage};
    is_rc(rd_work_create(m, T, UNEVEN_LEN, &w), RD_OK, "work");
    rd_mem_guard("pass");
    /* A larger batch first: what it leaves behind must not matter. */
    rd_batch half = uneven_batch_half(&t->in);
    int rc = rd_test_pass(m, w, &t->in.b, t->in.coef, logp);
    rd_work_on_gradients(w, hear, &h);
    if (rc == RD_OK) rc = rd_test_pass(m, w, &half, t->in.coef, logp);
    rd_work_on_gradients(w, NULL, NULL);
    bool same = memcmp(h.grads, m->trained->grads, (size_t)storage * sizeof(float)) == 0;
    if (rc == RD_OK) rc = rd_test_pass(m, w, &t->in.b, NULL, logp);
    rd_mem_guard(NULL);
    is_rc(rc, RD_OK, "passes");
    ok(same && h.from == 0 && h.gaps == 0 && h.calls >= 2 * m->cfg.layers,
       "gradients that were said to be final are (%d times)", h.calls);
    /* What asks for nothing adds nothing. */
    static int32_t none[T];
    rd_batch quiet = t->in.b;
    for (int i = 0; i < T; i++) none[i] = -1;
    quiet.target = none;
    memcpy(h.grads, m->trained->grads, (size_t)storage * sizeof(float));
    is_rc(rd_test_pass(m, w, &quiet, t->in.coef, logp), RD_OK, "a batch without targets");
    ok(memcmp(h.grads, m->trained->grads, (size_t)storage * sizeof(float)) == 0 && logp[0] == 0,
       "adds nothing");
    if (rd_test_pass(m, w, &t->in.b, NULL, logp) != RD_OK) rd_die("forward");
    rd_free(h.grads);
    int32_t keep = t->in.b.target[0];
    t->in.b.target[0] = V;
    is_rc(rd_model_head(m, w, &t->in.b, NULL, logp), RD_EINTERNAL,
          "a target outside the vocabulary");
    t->in.b.target[0] = keep;
    rd_model_head(m, w, &t->in.b, NULL, logp);
    rd_work_free(&w);
}

static int32_t best(const float *z)
{
    int32_t at = 0;
    for (int32_t v = 1; v < V; v++)
        if (z[v] > z[at]) at = v;
    return at;
}

/* A slot on the second grid column (if there is one): more tokens than fit a piece of the head. */
static void all_logits(rd_model *m, rd_kv *kv, const int32_t *tokens)
{
    enum { N = 4 * SLOTS };
    float *z = rd_new(float, V *N), *one = rd_new(float, V);
    const int64_t slot = 1, count = 1;
    double worst = 0;
    rd_kv_truncate(kv, slot, 0);
    is_rc(rd_model_extend_all(m, kv, slot, N, tokens, z), RD_OK, "all logits");
    rd_kv_truncate(kv, slot, 0);
    for (int i = 0; i < N; i++) {
        if (rd_model_extend(m, kv, 1, &slot, &count, tokens + i, one) != RD_OK) worst = NAN;
        for (int v = 0; v < V; v++) {
            double d = fabs((double)one[v] - z[i * V + v]);
            if (!(d <= worst)) worst = d;
        }
    }
    ok(worst < 1e-5, "of all tokens of a call = one after the other (%.1e)", worst);
    rd_free(z);
    rd_free(one);
}

/* Prompts of several lengths; slot 4 is a fork of slot 1, slot 2 of slot 0. */
static void decode(rd_model *m, const bed *t, int32_t out[SLOTS][STEPS], float *z)
{
    rd_kv *kv = NULL;
    int64_t slot[SLOTS] = {3, 0, 1}, count[SLOTS] = {5, 21, 40};
    int32_t next[SLOTS];
    is_rc(rd_kv_create(m, SLOTS, 60, 70, &kv), RD_OK, "cache");
    int rc = rd_model_extend(m, kv, 3, slot, count, t->in.tokens, z);
    rd_kv_fork(kv, 1, 4, 33);
    rd_kv_fork(kv, 0, 2, 20);
    for (int i = 0; i < SLOTS; i++) slot[i] = i, count[i] = 1, next[i] = 17 + i;
    for (int s = 0; s < STEPS && rc == RD_OK; s++) {
        rd_mem_guard("extend");
        rc = rd_model_extend(m, kv, SLOTS, slot, count, next, z);
        rd_mem_guard(NULL);
        for (int i = 0; i < SLOTS; i++) next[i] = out[i][s] = best(z + i * V);
    }
    is_rc(rc, RD_OK, "decoding");
    all_logits(m, kv, t->in.tokens);
    rd_kv_free(&kv);
}

static void test_files(const bed *t, rd_model *m, const rd_model_config *cfg)
{
    char path[300];
    const char *where = "";
    rd_store *s = NULL;
    rd_model *back[2] = {0};
    rd_store_info info = {"redistill.test", 1, NULL};
    const rd_grid *g = m->grid;
    snprintf(path, sizeof(path), "%s/grid.h5", rd_test_dir());
    is_rc(rd_store_create(&g->world, path, &info, &s), RD_OK, "file");
    is_rc(rd_params_write(m->grid, &m->base, s, "weights/"), RD_OK, "written from the grid");
    is_rc(rd_store_commit(&s), RD_OK, "committed");
    for (int alone = 0; alone < 2; alone++) {
        const rd_grid *to = alone ? t->self : g;
        rd_model_create(to, cfg, false, &back[alone]);
        is_rc(rd_store_open(&to->world, path, "redistill.test", 1, &s), RD_OK, "opened");
        is_rc(rd_params_read(back[alone]->grid, &back[alone]->base, s, "weights/"), RD_OK, "read");
        rd_store_close(&s);
        ok(rd_test_params_apart(&back[alone]->base, &t->model->base, false, &where) == 0,
           "the same weights %s", alone ? "on one rank" : "on the grid");
        rd_model_free(&back[alone]);
    }
}

static void test_grid(const bed *t, int rows, int cols, bool panels)
{
    rd_grid *g;
    rd_model *m;
    const char *where = "";
    double logp[T], zoff = 0;
    static float z[V * SLOTS];
    int32_t greedy[SLOTS][STEPS];
    int wrong = 0;
    diag("%d x %d, width %d, %s, %s", rows, cols, (int)t->cfg.width,
         t->cfg.tied ? "tied" : "untied", panels ? "panels" : "PBLAS");
    if (!is_rc(rd_grid_create(0, rows, cols, &g), RD_OK, "grid")) return;
    is_rc(rd_la_attach(g, 1), RD_OK, "context");
    rd_la_use_panels(g, panels);
    if (!is_rc(rd_model_create(g, &t->cfg, true, &m), RD_OK, "model")) return;
    rd_model_init(m, 3);
    rd_test_enlarge(m);
    ok(rd_test_params_apart(&m->base, &t->model->base, false, &where) == 0,
       "the same initial weights");
    is_i64(rd_test_held(g, &m->base), rd_model_config_params(&t->cfg), "every weight exists once");

    run(m, t, logp);
    double off = rd_test_relative(T, logp, t->logp);
    ok(off < 1e-5, "log-probabilities (%.1e)", off);
    ok(rd_test_same_bytes(g, logp, sizeof(logp)), "the same bits on every rank");
    double worst = rd_test_params_apart(&m->base, &t->model->base, true, &where);
    rd_max_f64(&g->world, &worst, 1);
    ok(worst < 1e-5, "all gradients (%.1e, %s)", worst, where);

    decode(m, t, greedy, z);
    for (int i = 0; i < SLOTS; i++)
        for (int s = 0; s < STEPS; s++) wrong += greedy[i][s] != t->greedy[i][s];
    is_i64(wrong, 0, "the same greedy tokens");
    for (int i = 0; i < V * SLOTS; i++) zoff = fmax(zoff, fabs((double)z[i] - t->logits[i]));
    ok(zoff < 1e-4, "the same logits (%.1e)", zoff);
    ok(rd_test_same_bytes(g, z, sizeof(z)), "the same bits on every rank");
    test_files(t, m, &t->cfg);
    rd_model_free(&m);
    rd_la_detach(g);
    rd_grid_free(&g);
}

static void test_model(int64_t width, int64_t heads, int64_t kv_heads, int64_t ffn, bool tied,
                       bool rich)
{
    static bed t;
    int size = rd_test_world.size;
    memset(&t, 0, sizeof(t));
    t.cfg = uneven_config(width, heads, kv_heads, ffn, tied, rich);
    uneven_batch_make(&t.in);
    rd_grid_self(&t.self);
    rd_model_create(t.self, &t.cfg, true, &t.model);
    rd_model_init(t.model, 3);
    rd_test_enlarge(t.model);
    run(t.model, &t, t.logp);
    decode(t.model, &t, t.greedy, t.logits);
    for (int rows = 1; rows <= size; rows++)
        for (int cols = 1; rows * cols <= size; cols++)
            if (size % (rows * cols) == 0) {
                test_grid(&t, rows, cols, true);
                if (rows * cols > 1 && tied) test_grid(&t, rows, cols, false);
            }
    rd_model_free(&t.model);
    rd_grid_free(&t.self);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_model(70, 9, 3, 133, false, false);
    test_model(70, 9, 3, 133, true, false);
    test_model(70, 9, 3, 133, false, true); /* as in Llama 3.1 and Qwen2.5 */
    test_model(5, 2, 1, 3, true, true);     /* some ranks own nothing */
    return rd_test_end();
}
