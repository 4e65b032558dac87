/* ranks: 1 */
/* Adapters on one rank: the gradients of every kind against finite differences, what they start
 * from, masks, what is not computed. */
#include "rd_test.h"
#include "nn/ops.h"
#include "tiny_model.h"

static const int64_t lengths[] = {5, 1, 9, 4};
static rd_grid *grid;

enum { ALL = (1 << RD_TARGETS) - 1, SOME = 1 << RD_K | 1 << RD_O | 1 << RD_UP };

static const struct {
    const char *name;
    rd_adapter_opts o;
} kinds[] = {
    {"lora", {.kind = RD_LORA, .rank = 3, .alpha = 4, .targets = ALL}},
    {"lora of some targets", {.kind = RD_LORA, .rank = 1, .alpha = 2, .targets = SOME}},
    {"lora, dropout", {.kind = RD_LORA, .rank = 3, .alpha = 4, .dropout = 0.3, .targets = ALL}},
    {"rslora", {.kind = RD_LORA, .rank = 4, .alpha = 2, .rslora = true, .targets = ALL}},
    {"dora", {.kind = RD_DORA, .rank = 3, .alpha = 4, .targets = ALL}},
    {"dora of some targets", {.kind = RD_DORA, .rank = 2, .alpha = 1, .targets = SOME}},
    {"dora, dropout", {.kind = RD_DORA, .rank = 3, .alpha = 4, .dropout = 0.3, .targets = ALL}},
    {"pissa", {.kind = RD_PISSA, .rank = 4, .alpha = 4, .targets = ALL}},
    {"pissa, dropout", {.kind = RD_PISSA, .rank = 2, .alpha = 2, .dropout = 0.3, .targets = SOME}},
    {"olora", {.kind = RD_OLORA, .rank = 4, .alpha = 4, .targets = ALL}},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* The untied one has biases and scaled RoPE. */
static rd_model *model(bool tied, bool with_grads)
{
    rd_model_config c = tied ? tiny_config(true) : tiny_config_rich(false);
    return tiny_model_of(grid, &c, with_grads);
}

static rd_model *start(const rd_adapter_opts *o, bool tied)
{
    rd_model *m = model(tied, false);
    if (rd_model_adapt(m, o) != RD_OK || rd_model_adapter_init(m, 5) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    return m;
}

/* Far from the start, so that nothing is 0 or linear. */
static void move(rd_model *m)
{
    bool takes = rd_adapter_takes(m);
    for (int64_t p = 0; p < m->adapter.n; p++) {
        rd_mat *w = &m->adapter.item[p].w;
        rd_rng r = rd_rng_make(12, "adapted", (uint64_t)p, 0);
        for (int64_t i = 0; i < w->m * w->n; i++) {
            double x = rd_rng_normal(&r);
            if (m->adapter.item[p].is_vector)
                w->a[i] *= (float)(1 + 0.2 * x);
            else
                w->a[i] = takes ? w->a[i] + (float)(0.1 * x) : (float)(0.4 * x);
        }
    }
}

/* ---------------------------------------------------------------- gradients */

/* A target's A, B and magnitudes follow each other; the base's weight is found by name. */
typedef struct triple {
    const rd_mat *w, *a, *b;
    rd_mat *m;
    double scale;
} triple;

static triple find_triple(rd_model *m, int64_t item)
{
    char name[80];
    const rd_param *first = &m->adapter.item[item / 3 * 3];
    snprintf(name, sizeof(name), "%s", first->name + strlen("base_model.model."));
    strcpy(strstr(name, "lora_A"), "weight");
    return (triple){&rd_model_param(m, name)->w, &first[0].w, &first[1].w,
                    (rd_mat *)(uintptr_t)&first[2].w, m->parts->scale};
}

static void column_norms(const triple *t, double *norm)
{
    for (int64_t j = 0; j < t->w->n; j++) {
        double sum = 0;
        for (int64_t i = 0; i < t->w->m; i++) {
            double x = t->w->a[j * t->w->ld + i];
            for (int64_t k = 0; k < t->a->n; k++)
                x += t->scale * (double)t->a->a[k * t->a->m + i] * (double)t->b->a[j * t->b->m + k];
            sum += x * x;
        }
        norm[j] = sqrt(sum);
    }
}

/* Along a random direction of one parameter: (L(w + e d) - L(w - e d)) / 2e against <grad, d>, with
 * Richardson's extrapolation as in test_transformer.c.  DoRA's norms count as constants in the
 * gradient: as A or B moves, the magnitudes here follow the norms.  The error is relative to the
 * gradient's norm, where that is not much smaller than the others': the loss's rounding is not. */
static double directional(rd_model *m, rd_work *w, const rd_batch *b, const float *coef,
                          int64_t item, double largest)
{
    rd_param *p = &m->adapter.item[item];
    int64_t n = p->w.m * p->w.n;
    bool follow = m->parts->o.kind == RD_DORA && !p->is_vector;
    float *keep = rd_new(float, n), *d = rd_new(float, n);
    double norm[2][64], inner = 0, size = 0, slope[2];
    float m_keep[64];
    triple t = {0};
    rd_rng r = rd_rng_make(8, p->name, 0, 0);
    memcpy(keep, p->w.a, (size_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++) d[i] = (float)rd_rng_normal(&r);
    for (int64_t i = 0; i < n; i++) {
        inner += (double)d[i] * p->g.a[i];
        size += (double)p->g.a[i] * p->g.a[i];
    }
    if (follow) {
        t = find_triple(m, item);
        column_norms(&t, norm[0]);
        memcpy(m_keep, t.m->a, (size_t)t.m->m * sizeof(float));
    }
    for (int k = 0; k < 2; k++) {
        double e = k == 0 ? 4e-3 : 2e-3, side[2];
        for (int s = 0; s < 2; s++) {
            for (int64_t i = 0; i < n; i++) p->w.a[i] = (float)(keep[i] + (s ? -e : e) * d[i]);
            if (follow) column_norms(&t, norm[1]);
            for (int64_t j = 0; follow && j < t.m->m; j++)
                t.m->a[j] = (float)(m_keep[j] * norm[1][j] / norm[0][j]);
            side[s] = tiny_loss(m, w, b, coef, false);
        }
        slope[k] = (side[0] - side[1]) / (2 * e);
    }
    memcpy(p->w.a, keep, (size_t)n * sizeof(float));
    if (follow) memcpy(t.m->a, m_keep, (size_t)t.m->m * sizeof(float));
    rd_free(keep), rd_free(d);
    return fabs((4 * slope[1] - slope[0]) / 3 - inner) / fmax(sqrt(size), 0.1 * largest);
}

static void test_gradients(const char *kind, const rd_adapter_opts *o, bool tied)
{
    rd_model *m = start(o, tied);
    rd_work *w;
    rd_batch b = tiny_batch(4, lengths, 1);
    float *coef = rd_new(float, b.T);
    const char *where = "";
    move(m);
    tiny_coef(b.T, coef);
    rd_model_dropout(m, 77);
    is_rc(rd_work_create(m, b.T, 9, &w), RD_OK, "work");
    double loss = tiny_loss(m, w, &b, coef, true), worst = 0, largest = 0, norm2;
    for (int64_t i = 0; i < m->adapter.n; i++) {
        rd_mat_norm2(&m->adapter.item[i].g, &norm2);
        largest = fmax(largest, sqrt(norm2));
    }
    for (int64_t i = 0; i < m->adapter.n; i++) {
        double error = directional(m, w, &b, coef, i, largest);
        if (!(error <= worst)) worst = error, where = m->adapter.item[i].name;
    }
    ok(worst < 1e-3, "%s: gradients of %d parameters (%.1e, %s)", kind, (int)m->adapter.n, worst,
       where);
    near_f64(tiny_loss(m, w, &b, coef, false), loss, 0, "the same loss again");
    rd_work_free(&w);
    rd_free(coef);
    tiny_batch_free(&b);
    rd_model_free(&m);
}

/* ---------------------------------------------------------------- the start */

static float *logits(rd_model *m, const rd_batch *b)
{
    rd_work *w;
    float *z = rd_new(float, 19 * b->T);
    rd_batch all = *b;
    all.target = NULL;
    rd_work_create(m, b->T, 9, &w);
    rd_model_fwd(m, w, &all);
    rd_model_logits(m, w, b, z);
    rd_work_free(&w);
    return z;
}

static double apart(const float *a, const float *b, int64_t n)
{
    double d = 0;
    for (int64_t i = 0; i < n; i++) d = fmax(d, fabs((double)a[i] - b[i]));
    return d;
}

static void test_start(const char *kind, const rd_adapter_opts *o)
{
    rd_batch b = tiny_batch(4, lengths, 1);
    rd_model *base = model(true, false), *m = start(o, true);
    float *want = logits(base, &b), *got = logits(m, &b);
    double off = apart(got, want, 19 * b.T);
    ok(off <= (o->kind == RD_LORA ? 0 : 2e-5), "%s starts at the base's logits (%.1e)", kind, off);
    int64_t a = 0, total = 0;
    for (int64_t i = 0; i < m->adapter.n; i++) {
        const rd_param *p = &m->adapter.item[i];
        a += strstr(p->name, ".lora_A.weight") != NULL && p->w.n == o->rank;
        total += p->w.m * p->w.n;
    }
    ok(a == 2 * (o->targets == ALL ? 7 : 3), "one A per target");
    ok(m->trained == &m->adapter && m->base.grads == NULL && total > 0, "it alone is trained");
    rd_free(got);
    rd_model_adapter_free(m);
    got = logits(m, &b);
    off = apart(got, want, 19 * b.T);
    if (o->kind == RD_LORA || o->kind == RD_DORA)
        ok(m->trained == NULL && off == 0, "and goes without a trace");
    else
        ok(m->trained == NULL && off > 0.1, "and leaves the residual (%.1e)", off);
    rd_free(want), rd_free(got);
    tiny_batch_free(&b);
    rd_model_free(&m), rd_model_free(&base);
}

/* The decompositions: A and B are what the papers say, of each weight. */
static void test_decompositions(void)
{
    rd_model *base = model(true, false);
    double pissa = 0, order = 0, upper = 0, square = 0;
    for (int kind = RD_PISSA; kind <= RD_OLORA; kind++) {
        rd_adapter_opts o = {.kind = (rd_adapter_kind)kind, .rank = 5, .alpha = 10, .targets = ALL};
        rd_model *m = start(&o, true);
        for (int64_t l = 0; l < 2; l++)
            for (rd_target t = RD_Q; t < RD_TARGETS; t++) {
                const rd_adapted *p = rd_adapted_at(m, l, t);
                const rd_mat *w = &rd_model_param(base, p->base)->w;
                double norm[5] = {0};
                for (int64_t k = 0; k < 5; k++)
                    for (int64_t i = 0; i < p->a.m; i++)
                        norm[k] += (double)p->a.a[k * p->a.m + i] * p->a.a[k * p->a.m + i];
                for (int64_t k = 0; kind == RD_PISSA && k < 5; k++) {
                    double bb = 0, ww = 0; /* |A_k|^2 = |B_k|^2 = S_k / s, and W B_k^T = S_k U_k */
                    for (int64_t j = 0; j < p->b.n; j++)
                        bb += (double)p->b.a[j * 5 + k] * p->b.a[j * 5 + k];
                    for (int64_t i = 0; i < w->m; i++) {
                        double x = 0;
                        for (int64_t j = 0; j < w->n; j++)
                            x += (double)w->a[j * w->m + i] * p->b.a[j * 5 + k];
                        ww = fmax(ww, fabs(x - 2 * norm[k] * p->a.a[k * w->m + i]));
                    }
                    pissa = fmax(pissa, fmax(ww, fabs(bb - norm[k])));
                    if (k > 0) order = fmax(order, norm[k] - norm[k - 1]);
                }
                for (int64_t k = 0; kind == RD_OLORA && k < 5; k++) {
                    for (int64_t i = 0; i < k; i++)
                        upper = fmax(upper, fabs((double)p->a.a[k * p->a.m + i]));
                    for (int64_t h = 0; h < 5; h++) {
                        double qq = h == k ? -1 : 0;
                        for (int64_t j = 0; j < p->b.n; j++)
                            qq += (double)p->b.a[j * 5 + k] * p->b.a[j * 5 + h];
                        square = fmax(square, fabs(qq));
                    }
                }
            }
        rd_model_free(&m);
    }
    ok(pissa < 1e-5 && order <= 0, "PiSSA: the leading singular triples, halved (%.1e)", pissa);
    ok(upper == 0 && square < 1e-5, "OLoRA: a triangle and orthonormal rows (%.1e)", square);
    rd_model_free(&base);
}

/* ---------------------------------------------------------------- merging */

static void test_merge(const char *kind, const rd_adapter_opts *o)
{
    rd_batch b = tiny_batch(4, lengths, 1);
    rd_model *m = start(o, false), *kept = start(o, false);
    double largest = -1;
    move(m);
    float *want = logits(m, &b);
    is_rc(rd_model_merge(m, &b, &largest), RD_OK, "merged");
    float *got = logits(m, &b);
    double off = apart(got, want, 19 * b.T);
    ok(off == largest && off < 2e-4 && off > 0, "%s: merged, the logits differ by %.1e", kind, off);
    ok(m->trained == NULL && m->adapter.n == 0, "and there is no adapter");
    /* Unmoved, merging gives the base back. */
    rd_model *base = model(false, false);
    is_rc(rd_model_merge(kept, NULL, NULL), RD_OK, "merged at the start");
    double change = apart(kept->base.weights, base->base.weights, base->base.storage);
    ok(change <= (o->kind == RD_LORA ? 0 : 1e-6), "gives the base's weights (%.1e)", change);
    rd_free(want), rd_free(got);
    tiny_batch_free(&b);
    rd_model_free(&m), rd_model_free(&kept), rd_model_free(&base);
}

/* ---------------------------------------------------------------- masks */

static void test_masks(void)
{
    enum { T = 400, F = 13 };
    static int32_t tokens[T], target[T];
    int64_t range[2] = {0, T};
    rd_batch b = {T, 1, range, tokens, target};
    rd_adapter_opts o = {
        .kind = RD_LORA, .rank = 2, .alpha = 2, .dropout = 0.3, .targets = 1 << RD_DOWN};
    rd_model *m = start(&o, true);
    rd_work *w;
    static float first[T * F];
    int64_t zeros = 0, wrong = 0, same = 0;
    move(m);
    for (int t = 0; t < T; t++) tokens[t] = t % 19;
    rd_work_create(m, T, T, &w);
    rd_model_dropout(m, 5);
    is_rc(rd_model_fwd(m, w, &b), RD_OK, "forward");
    memcpy(first, w->adapter.input, sizeof(first));
    for (int i = 0; i < T * F; i++) {
        float kept = w->ffn[i] * (float)(1 / (1 - 0.3));
        zeros += first[i] == 0;
        wrong += first[i] != 0 && fabsf(first[i] - kept) > 1e-6f * fabsf(kept);
    }
    ok(zeros > 0.27 * T * F && zeros < 0.33 * T * F, "a share of 0.3 is dropped (%d of %d)",
       (int)zeros, T * F);
    is_i64(wrong, 0, "the others are scaled");
    rd_model_dropout(m, 6);
    rd_model_fwd(m, w, &b);
    for (int i = 0; i < T * F; i++) same += (w->adapter.input[i] == 0) == (first[i] == 0);
    ok(same > 0.5 * T * F && same < 0.66 * T * F, "another key, another mask (%d alike)",
       (int)same);
    rd_model_dropout(m, 5);
    rd_model_fwd(m, w, &b);
    ok(memcmp(first, w->adapter.input, sizeof(first)) == 0, "the same key, the same mask");
    memset(w->adapter.input, 0, sizeof(first));
    rd_model_dropout(m, 0);
    rd_model_fwd(m, w, &b);
    ok(w->adapter.input[0] == 0, "key 0: none");
    rd_work_free(&w);
    rd_model_free(&m);
}

/* ---------------------------------------------------------------- gradients in pieces */

typedef struct told {
    const float *grads;
    float *seen;
    int64_t end, calls;
} told;

static void take_piece(void *ctx, int64_t first, int64_t count)
{
    told *t = ctx;
    if (first + count != t->end) rd_die("a gap at %lld", (long long)t->end);
    memcpy(t->seen + first, t->grads + first, (size_t)count * sizeof(float));
    t->end = first;
    t->calls++;
}

/* What is told to be ready is what is there at the end. */
static void test_ready(const char *kind, const rd_adapter_opts *o)
{
    rd_model *m = start(o, true);
    rd_work *w;
    rd_batch b = tiny_batch(4, lengths, 1);
    float *coef = rd_new(float, b.T);
    int64_t n = m->adapter.storage;
    told t = {m->adapter.grads, rd_new(float, n), n, 0};
    move(m);
    tiny_coef(b.T, coef);
    rd_work_create(m, b.T, 9, &w);
    rd_work_on_gradients(w, take_piece, &t);
    tiny_loss(m, w, &b, coef, true);
    ok(t.end == 0 && t.calls >= 5, "%s: gradients come in %d pieces", kind, (int)t.calls);
    ok(memcmp(t.seen, t.grads, (size_t)n * sizeof(float)) == 0, "each when it is complete");
    rd_free(t.seen), rd_free(coef);
    rd_work_free(&w);
    tiny_batch_free(&b);
    rd_model_free(&m);
}

/* ---------------------------------------------------------------- refusals, memory */

static void refused(const char *what, int code, rd_adapter_opts o)
{
    rd_model *m = model(true, false);
    is_rc(rd_model_adapt(m, &o), code, what);
    ok(m->trained == NULL, "and nothing is trained");
    rd_model_free(&m);
}

static void test_refusals(void)
{
    rd_adapter_opts o = kinds[0].o;
    o.rank = 0;
    refused("no rank", RD_EINPUT, o);
    o = kinds[0].o, o.dropout = 1;
    refused("everything dropped", RD_EINPUT, o);
    o = kinds[0].o, o.alpha = 0;
    refused("no alpha", RD_EINPUT, o);
    o = kinds[0].o, o.targets = 0;
    refused("no target", RD_EINPUT, o);
    o = kinds[0].o, o.kind = RD_PISSA, o.rank = 11;
    refused("more singular values than there are", RD_EINPUT, o);
    rd_model *m = model(true, true);
    is_rc(rd_model_adapt(m, &kinds[0].o), RD_EINTERNAL, "a model with gradients of its own");
    rd_model_free(&m);
    m = start(&kinds[0].o, true);
    is_rc(rd_model_adapt(m, &kinds[0].o), RD_EINTERNAL, "a second adapter");
    rd_kv *kv;
    is_rc(rd_kv_create(m, 1, 8, 8, &kv), RD_EINTERNAL, "decoding wants merged weights");
    rd_model_free(&m);
}

/* Nothing of the size of the weights comes with an adapter. */
static void test_memory(void)
{
    rd_model_config c = {.vocab = 500,
                         .width = 256,
                         .layers = 2,
                         .heads = 4,
                         .kv_heads = 4,
                         .ffn = 1024,
                         .rope_theta = 1000,
                         .norm_eps = 1e-5,
                         .tied = true};
    rd_model *m;
    rd_work *plain, *w;
    int64_t weights = 4 * rd_model_config_params(&c);
    is_rc(rd_model_create(grid, &c, false, &m), RD_OK, "model");
    int64_t before = rd_mem_used();
    rd_work_create(m, 16, 16, &plain);
    int64_t frozen = rd_mem_used() - before;
    rd_work_free(&plain);
    rd_adapter_opts o = {.kind = RD_DORA, .rank = 2, .alpha = 2, .targets = ALL};
    rd_model_adapt(m, &o);
    rd_model_adapter_init(m, 1);
    rd_work_create(m, 16, 16, &w);
    int64_t more = rd_mem_used() - before - frozen;
    ok(more < weights / 10, "an adapter of rank 2 costs %.1f %% of the weights",
       100.0 * (double)more / (double)weights);
    rd_work_free(&w);
    rd_model_free(&m);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_grid_create(0, 1, 1, &grid);
    for (int k = 0; k < KINDS; k++) {
        test_gradients(kinds[k].name, &kinds[k].o, k % 2 == 0);
        test_start(kinds[k].name, &kinds[k].o);
        test_ready(kinds[k].name, &kinds[k].o);
        test_merge(kinds[k].name, &kinds[k].o);
    }
    test_decompositions();
    test_masks();
    test_refusals();
    test_memory();
    rd_grid_free(&grid);
    return rd_test_end();
}
