/* ranks: 1 2 4 */
/* A model whose products take factors rounded to bfloat16, on rows x cols grids, against the same
 * in float32 on one rank: loss, gradients, those of an adapter, some steps of descent; decoding.
 *
 * A factor is off by at most 2^-9 = 0.002 of itself; the sums of products, in which these errors
 * largely cancel, and the layers leave less than 1 % of a gradient's Euclidean norm. */
#include "rd_test.h"
#include "rd/nn.h"

enum { V = 301, T = 400, SEQUENCES = 7, MAX_LEN = 120, STEPS = 40 };
#define BOUND 0.01 /* twice that for an adapter, whose gradients come through two more products */

typedef struct bed {
    rd_grid *self;
    rd_batch b;
    int64_t start[SEQUENCES + 1];
    int32_t tokens[T], target[T];
    float coef[T];
} bed;

static const rd_model_config shape = {.vocab = V,
                                      .width = 72,
                                      .layers = 3,
                                      .heads = 9,
                                      .kv_heads = 3,
                                      .ffn = 100,
                                      .rope_theta = 1000,
                                      .norm_eps = 1e-5,
                                      .tied = true};

static void bed_make(bed *t)
{
    static const int64_t length[SEQUENCES] = {40, 1, 120, 7, 101, 99, 32};
    rd_rng r = rd_rng_make(3, "mixed", 0, 0);
    rd_grid_self(&t->self);
    for (int s = 0; s < SEQUENCES; s++) t->start[s + 1] = t->start[s] + length[s];
    for (int i = 0; i < T; i++) {
        t->tokens[i] = (int32_t)rd_rng_below(&r, V);
        t->target[i] = (t->tokens[i] * 7 + 5) % V; /* something that can be learnt */
        t->coef[i] = -1.0f / T;
    }
    t->b = (rd_batch){T, SEQUENCES, t->start, t->tokens, t->target};
}

static double mean_loss(const double *logp)
{
    double sum = 0;
    for (int i = 0; i < T; i++) sum -= logp[i];
    return sum / T;
}

static rd_model *make_model(const rd_grid *g, bool adapted)
{
    const rd_adapter_opts o = {RD_LORA, 6, 12, 0, false, (1 << RD_TARGETS) - 1};
    rd_model *m;
    if (rd_model_create(g, &shape, !adapted, &m) != RD_OK) rd_die("%s", rd_error_get()->message);
    rd_model_init(m, 1);
    if (!adapted) return m;
    if (rd_model_adapt(m, &o) != RD_OK || rd_model_adapter_init(m, 1) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    for (int64_t k = 0; k < m->adapter.n; k++) { /* B begins as 0, which would hide A's gradient */
        rd_mat *w = &m->adapter.item[k].w;
        for (int64_t j = 0; j < w->ln; j++)
            for (int64_t i = 0; i < w->lm; i++) {
                rd_rng r = rd_rng_make((uint64_t)k, "adapter", (uint64_t)rd_mat_global_row(w, i),
                                       (uint64_t)rd_mat_global_col(w, j));
                w->a[j * w->ld + i] += (float)(0.05 * rd_rng_normal(&r));
            }
    }
    return m;
}

/* The loss of one pass, whose gradients the model then holds. */
static double pass(rd_model *m, bed *t)
{
    rd_work *w;
    double logp[T];
    rd_work_create(m, T, MAX_LEN, &w);
    rd_model_zero_grads(m);
    int rc = rd_model_fwd(m, w, &t->b);
    if (rc == RD_OK) rc = rd_model_head(m, w, &t->b, t->coef, logp);
    if (rc == RD_OK) rc = rd_model_bwd(m, w, &t->b);
    if (rc != RD_OK) rd_die("%s", rd_error_get()->message);
    rd_work_free(&w);
    return mean_loss(logp);
}

/* |a - b| / |b| of all gradients, where b is on this rank alone. */
static double gradients_apart(const rd_grid *g, const rd_params *a, const rd_params *b)
{
    double sum[2] = {0};
    for (int64_t k = 0; k < a->n; k++) {
        const rd_mat *x = &a->item[k].g, *y = &b->item[k].g;
        for (int64_t j = 0; j < x->ln; j++)
            for (int64_t i = 0; i < x->lm; i++) {
                double want = y->a[rd_mat_global_col(x, j) * y->m + rd_mat_global_row(x, i)];
                double d = x->a[j * x->ld + i] - want;
                sum[0] += d * d;
                sum[1] += want * want;
            }
    }
    rd_sum_f64(&g->tp, sum, 2);
    return sqrt(sum[0] / sum[1]);
}

static void test_passes(bed *t, rd_grid *g, bool adapted)
{
    rd_model *exact = make_model(t->self, adapted), *one = make_model(t->self, adapted);
    rd_model *m = make_model(g, adapted);
    double want = pass(exact, t);
    rd_la_use_bf16(t->self, true);
    double alone = pass(one, t);
    rd_la_use_bf16(t->self, false);
    rd_la_use_bf16(g, true);
    double got = pass(m, t);
    double apart = gradients_apart(g, m->trained, exact->trained);
    double grids = gradients_apart(g, m->trained, one->trained);
    const char *what = adapted ? "adapter" : "all weights";
    ok(got != want && fabs(got - want) < BOUND * want, "%d x %d, %s: loss %.6f, float32 %.6f",
       g->rows, g->cols, what, got, want);
    ok(apart > 1e-4 && apart < (adapted ? 2 : 1) * BOUND, "gradients are %.2e apart", apart);
    ok(fabs(got - alone) < 1e-3 * alone && grids < BOUND / 2,
       "from those of one rank in bfloat16 %.2e, loss %.6f", grids, alone);
    rd_la_use_bf16(g, false);
    rd_model_free(&exact), rd_model_free(&one), rd_model_free(&m);
}

/* Plain descent on one batch comes as far. */
static void test_descent(bed *t)
{
    double loss[2] = {0}, first = 0;
    for (int half = 0; half < 2; half++) {
        rd_model *m;
        rd_model_create(t->self, &shape, true, &m);
        rd_model_init(m, 1);
        rd_la_use_bf16(t->self, half);
        for (int s = 0; s < STEPS; s++) {
            loss[half] = pass(m, t);
            if (s == 0) first = loss[half];
            for (int64_t i = 0; i < m->base.storage; i++)
                m->base.weights[i] -= 0.1f * m->base.grads[i];
        }
        rd_model_free(&m);
    }
    rd_la_use_bf16(t->self, false);
    ok(loss[0] < 0.9 * first && fabs(loss[1] - loss[0]) < BOUND * loss[0],
       "descent from %.3f: to %.4f, float32 %.4f", first, loss[1], loss[0]);
}

/* A slot's logits are the same bits one token at a time or all at once, alone or beside another,
 * and with packed weights.  whole: of a model whose sizes the kernels' panels, which are filled up,
 * divide, so that these weights take no more than they should. */
static void test_decode(bed *t, bool half, bool tied, bool whole)
{
    enum { LEN = 40 };
    float *once = rd_new(float, 2 * V), *step = rd_new(float, V);
    rd_model_config c = shape;
    rd_model *m;
    rd_kv *kv;
    c.tied = tied;
    c.qkv_bias = !tied;
    if (whole) c.width = 96, c.heads = 12, c.kv_heads = 4, c.ffn = 128;
    const int64_t slots[2] = {1, 0}, counts[2] = {23, LEN}, slot = 2, one = 1;
    rd_la_use_bf16(t->self, half);
    rd_model_create(t->self, &c, false, &m);
    rd_model_init(m, 1);
    rd_kv_create(m, 3, LEN, 2 * LEN, &kv);
    rd_model_extend(m, kv, 2, slots, counts, t->tokens, once);
    for (int i = 0; i < LEN; i++) rd_model_extend(m, kv, 1, &slot, &one, t->tokens + 23 + i, step);
    ok(memcmp(step, once + V, V * sizeof(float)) == 0, "decode = prefill, bit for bit");
    int64_t before = rd_mem_used(), floats = m->base.storage;
    is_rc(rd_model_pack(m), RD_OK, "weights are packed");
    rd_kv_truncate(kv, 2, LEN - 1);
    rd_model_extend(m, kv, 1, &slot, &one, t->tokens + 23 + LEN - 1, step);
    ok(memcmp(step, once + V, V * sizeof(float)) == 0, "and say the same");
    /* The embedding stays; its panels, if any, are filled up to whole ones. */
    int64_t size = rd_mem_used() - (before - 4 * floats);
    int64_t want = half ? 2 * floats + 4 * V * c.width : 4 * floats;
    ok(size < want + want / (whole ? 20 : 2), "weights take %lld bytes, %lld before",
       (long long)size, (long long)(4 * floats));
    rd_la_use_bf16(t->self, false);
    rd_kv_free(&kv);
    rd_model_free(&m);
    rd_free(once), rd_free(step);
}

int main(int argc, char **argv)
{
    bed t = {0};
    rd_test_begin(&argc, &argv);
    int size = rd_test_world.size;
    bed_make(&t);
    for (int rows = 1; rows <= size; rows *= 2) {
        rd_grid *g;
        if (!is_rc(rd_grid_create(1, rows, size / rows, &g), RD_OK, "grid")) continue;
        is_rc(rd_la_attach(g, 1), RD_OK, "context");
        test_passes(&t, g, false);
        test_passes(&t, g, true);
        rd_la_detach(g);
        rd_grid_free(&g);
    }
    test_descent(&t);
    for (int i = 0; i < 8; i++) test_decode(&t, i & 1, i & 2, i & 4);
    rd_model *trained = make_model(t.self, false);
    is_rc(rd_model_pack(trained), RD_EINTERNAL, "what is trained is not packed");
    rd_model_free(&trained);
    rd_grid_free(&t.self);
    return rd_test_end();
}
