/* ranks: 1 2 3 4 6 */
/* Every shape on every grid: random small models and batches, trained (whole or by an adapter) and
 * decoded on all rows x cols grids of the job, against the same on one rank.  More grid rows than
 * key-value heads, fewer words, features or adapter ranks than ranks of the job, fewer sequences
 * than grid columns, empty sequences: nothing is left out.
 * `test_shapes 150` tries that many shapes. */
#include "grid_model.h"
#include "rd_test.h"

enum { SHAPES = 16, MAX_T = 80, MAX_SEQ = 6, MAX_LEN = 24, SLOTS = 5, STEPS = 3, MAX_GRIDS = 16 };

typedef struct shape {
    rd_model_config cfg;
    rd_batch b;
    int64_t start[MAX_SEQ + 1];
    int32_t tokens[MAX_T], target[MAX_T];
    float coef[MAX_T];
    int64_t slots, prompt[SLOTS]; /* tokens of each */
    rd_adapter_opts adapter;      /* rank 0: none, all weights are trained */
} shape;

/* What a model computes on some grid. */
typedef struct result {
    double logp[MAX_T];
    float *logits; /* V x (slots + 1) per step, the last one's of a fork */
} result;

/* ---------------------------------------------------------------- shapes */

static void random_shape(uint64_t id, shape *s)
{
    rd_rng r = rd_rng_make(11, "shape", id, 0);
    int64_t kv = rd_rng_range(&r, 1, 4), group = rd_rng_range(&r, 1, 3);
    bool tiny = rd_rng_chance(&r, 0.3);
    s->cfg = (rd_model_config){.kv_heads = kv,
                               .heads = kv * group,
                               .head_size = 2 * rd_rng_range(&r, 1, 6),
                               .width = rd_rng_range(&r, 3, tiny ? 7 : 90),
                               .ffn = rd_rng_range(&r, 1, tiny ? 5 : 90),
                               .vocab = rd_rng_range(&r, 2, tiny ? 9 : 200),
                               .layers = rd_rng_range(&r, 1, 2),
                               .rope_theta = 1000,
                               .norm_eps = 1e-5,
                               .tied = rd_rng_chance(&r, 0.5)};
    s->b.n_seq = rd_rng_range(&r, 1, MAX_SEQ);
    s->slots = rd_rng_range(&r, 1, SLOTS);
    if (rd_rng_chance(&r, 0.5)) return;
    s->adapter = (rd_adapter_opts){.kind = rd_rng_chance(&r, 0.5) ? RD_LORA : RD_DORA,
                                   .rank = rd_rng_range(&r, 1, 9),
                                   .alpha = 6,
                                   .dropout = rd_rng_chance(&r, 0.5) ? 0.2 : 0,
                                   .targets = (unsigned)rd_rng_range(&r, 1, (1 << RD_TARGETS) - 1)};
}

/* The same shape with a batch and prompts. */
static void fill(uint64_t id, shape *s)
{
    rd_rng r = rd_rng_make(11, "batch", id, 0);
    for (int64_t i = 0; i < s->b.n_seq; i++) {
        int64_t n = rd_rng_chance(&r, 0.2) ? 0 : rd_rng_range(&r, 1, MAX_T / MAX_SEQ);
        s->start[i + 1] = s->start[i] + n;
    }
    s->b.T = s->start[s->b.n_seq];
    s->b.start = s->start, s->b.tokens = s->tokens, s->b.target = s->target;
    for (int i = 0; i < MAX_T; i++) {
        s->tokens[i] = (int32_t)rd_rng_below(&r, s->cfg.vocab);
        s->target[i] = rd_rng_chance(&r, 0.3) ? -1 : (int32_t)rd_rng_below(&r, s->cfg.vocab);
        s->coef[i] = (float)(0.1 * rd_rng_normal(&r));
    }
    for (int i = 0; i < SLOTS; i++) s->prompt[i] = rd_rng_range(&r, 1, 12);
}

static void shape_make(uint64_t id, shape *s)
{
    memset(s, 0, sizeof(*s));
    random_shape(id, s);
    switch (id) { /* those that chance may miss */
    case 0: s->cfg.kv_heads = s->cfg.heads = 1, s->b.n_seq = 1, s->slots = 1; break;
    case 1: s->cfg.vocab = 2, s->cfg.ffn = 1, s->cfg.width = 2, s->b.n_seq = 2; break;
    case 2: s->cfg.vocab = 49152, s->cfg.width = 8, s->cfg.tied = true; break;
    case 3: s->cfg.vocab = 49152, s->cfg.width = 5, s->cfg.tied = false; break;
    case 4: s->cfg.heads = 9, s->cfg.kv_heads = 3; break;
    case 5: s->cfg.vocab = 1, s->cfg.width = 1; break;
    default: break;
    }
    fill(id, s);
}

/* ---------------------------------------------------------------- computing */

static void train(rd_model *m, shape *s, double *logp)
{
    rd_work *w = NULL;
    /* A batch that fills everything first: what it leaves behind must not matter. */
    int64_t start[MAX_SEQ + 1];
    for (int i = 0; i <= MAX_SEQ; i++) start[i] = (int64_t)i * MAX_T / MAX_SEQ;
    rd_batch full = {MAX_T, MAX_SEQ, start, s->tokens, s->target};
    int rc = rd_work_create(m, MAX_T, MAX_LEN, &w);
    if (rc == RD_OK) rc = rd_test_pass(m, w, &full, s->coef, logp);
    rd_model_zero_grads(m);
    rd_model_dropout(m, 21);
    if (rc == RD_OK) rc = rd_test_pass(m, w, &s->b, s->coef, logp);
    rd_model_dropout(m, 0);
    is_rc(rc, RD_OK, "training passes");
    rd_work_free(&w);
}

/* Prompts for all slots at once, then slot by slot, with a fork of slot 0 to the next free one. */
static void decode(rd_model *m, const shape *s, float *logits)
{
    rd_kv *kv = NULL;
    int64_t slot[SLOTS + 1], one[SLOTS + 1], n = s->slots;
    for (int i = 0; i <= SLOTS; i++) slot[i] = SLOTS - i, one[i] = 1;
    for (int i = 0; i < n; i++) slot[i] = n - 1 - i;
    int rc = rd_kv_create(m, n + 1, MAX_LEN, MAX_T, &kv);
    if (rc == RD_OK) rc = rd_model_extend(m, kv, n, slot, s->prompt, s->tokens, logits);
    if (rc == RD_OK) rd_kv_fork(kv, 0, n, 1);
    slot[n] = n;
    for (int i = 0; i < STEPS && rc == RD_OK; i++)
        rc = rd_model_extend(m, kv, n + 1, slot, one, s->tokens + i, logits);
    is_rc(rc, RD_OK, "decoding");
    rd_kv_free(&kv);
}

/* Away from the start, where B is 0. */
static void move(rd_params *p)
{
    for (int64_t k = 0; k < p->n; k++) {
        rd_mat *w = &p->item[k].w;
        for (int64_t j = 0; j < w->ln; j++)
            for (int64_t i = 0; i < w->lm; i++) {
                uint64_t row = (uint64_t)rd_mat_global_row(w, i);
                rd_rng r =
                    rd_rng_make((uint64_t)k, "moved", row, (uint64_t)rd_mat_global_col(w, j));
                w->a[j * w->ld + i] += (float)(0.1 * rd_rng_normal(&r));
            }
    }
}

static rd_model *compute(rd_grid *g, shape *s, result *out)
{
    rd_model *m = NULL;
    bool adapted = s->adapter.rank > 0;
    if (!is_rc(rd_model_create(g, &s->cfg, !adapted, &m), RD_OK, "model")) return NULL;
    rd_model_init(m, 3);
    rd_test_enlarge(m);
    if (adapted) {
        is_rc(rd_model_adapt(m, &s->adapter), RD_OK, "adapter");
        is_rc(rd_model_adapter_init(m, 4), RD_OK, "its initial values");
        move(&m->adapter);
    }
    out->logits = rd_new(float, s->cfg.vocab *(SLOTS + 1));
    train(m, s, out->logp);
    if (!adapted) decode(m, s, out->logits);
    return m;
}

/* ---------------------------------------------------------------- comparing */

static double largest_gradient(const rd_params *p)
{
    double size = 0;
    for (int64_t i = 0; i < p->n; i++) {
        const rd_mat *x = &p->item[i].g;
        for (int64_t k = 0; k < x->m * x->n; k++) size = fmax(size, fabs((double)x->a[k]));
    }
    return size;
}

/* Relative to the largest value of a parameter's gradient, or a twentieth of the largest of all:
 * some gradients are sums that cancel, as those of queries and keys in sequences of two tokens.
 * There the last bit of a weight already moves the fifth digit, on one rank. */
static double gradients_apart(const rd_params *p, const rd_params *want, const char **where)
{
    double worst = 0, floor = 0.05 * largest_gradient(want);
    for (int64_t i = 0; i < p->n; i++) {
        double size, d = rd_test_apart(&p->item[i].g, &want->item[i].g, &size);
        d = size > floor ? d / size : floor > 0 ? d / floor : d;
        if (!(d <= worst)) worst = d, *where = p->item[i].name;
    }
    return worst;
}

static void check_grid(rd_grid *g, shape *s, const result *want, const rd_model *alone)
{
    result got = {0};
    const char *where = "";
    double off = 0, size = 1, zoff = 0, zsize = 1;
    rd_model *m = compute(g, s, &got);
    if (m == NULL) return;
    for (int64_t t = 0; t < s->b.T; t++) {
        off = fmax(off, isfinite(got.logp[t]) ? fabs(got.logp[t] - want->logp[t]) : INFINITY);
        size = fmax(size, fabs(want->logp[t]));
    }
    for (int64_t i = 0; i < s->cfg.vocab * (s->slots + 1); i++) {
        double z = got.logits[i];
        zoff = fmax(zoff, isfinite(z) ? fabs(z - want->logits[i]) : INFINITY);
        zsize = fmax(zsize, fabs((double)want->logits[i]));
    }
    double grad = gradients_apart(m->trained, alone->trained, &where);
    ok(off < 1e-5 * size, "log-probabilities on %d x %d (%.1e)", g->rows, g->cols, off / size);
    ok(grad < 1e-5, "gradients (%.1e, %s)", grad, where);
    ok(zoff < 1e-5 * zsize, "logits of decoding (%.1e)", zoff / zsize);
    rd_free(got.logits);
    rd_model_free(&m);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    int size = rd_test_world.size, n = 0, shapes = argc > 1 ? atoi(argv[1]) : SHAPES;
    rd_grid *self, *grid[MAX_GRIDS];
    rd_grid_self(&self);
    for (int rows = 1; rows <= size; rows++)
        for (int cols = 1; rows * cols <= size; cols++) {
            if (size % (rows * cols) != 0 || n == MAX_GRIDS) continue;
            if (!is_rc(rd_grid_create(0, rows, cols, &grid[n]), RD_OK, "grid")) continue;
            is_rc(rd_la_attach(grid[n++], 1), RD_OK, "context");
        }
    for (uint64_t id = 0; id < (uint64_t)shapes; id++) {
        shape s;
        result want = {0};
        shape_make(id, &s);
        diag("shape %d: %d heads in %d groups of %d, width %d, ffn %d, vocabulary %d%s, %d layers, "
             "%d sequences of %d tokens, %d slots, %s of rank %d",
             (int)id, (int)s.cfg.heads, (int)s.cfg.kv_heads, (int)s.cfg.head_size, (int)s.cfg.width,
             (int)s.cfg.ffn, (int)s.cfg.vocab, s.cfg.tied ? " tied" : "", (int)s.cfg.layers,
             (int)s.b.n_seq, (int)s.b.T, (int)s.slots, s.adapter.kind == RD_DORA ? "dora" : "lora",
             (int)s.adapter.rank);
        rd_model *alone = compute(self, &s, &want);
        for (int i = 0; i < n; i++) check_grid(grid[i], &s, &want, alone);
        rd_free(want.logits);
        rd_model_free(&alone);
    }
    for (int i = 0; i < n; i++) {
        rd_la_detach(grid[i]);
        rd_grid_free(&grid[i]);
    }
    rd_grid_free(&self);
    return rd_test_end();
}
