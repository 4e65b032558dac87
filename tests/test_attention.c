/* ranks: 1 */
/* Attention against a float64 loop over tokens, and its backward against central differences;
 * grouped heads, sequences around the block sizes, head sizes that are no multiple of a vector.
 * Long sequences against the formulas in float64, and a token does not depend on what is behind. */
#include "rd_test.h"
#include "nn/ops.h"

typedef struct layout {
    int64_t heads, kv_heads, size, n_seq;
    const int64_t *start;
    const float *c; /* loss = <c, out> */
} layout;

static int64_t width(const layout *l)
{
    return (l->heads + 2 * l->kv_heads) * l->size;
}

/* Output of one query in float64; returns its log-sum-exp. */
static double query(const layout *l, const double *qkv, int64_t first, int64_t t, int64_t h,
                    double *out)
{
    int64_t S = l->size, ld = width(l), kv = h / (l->heads / l->kv_heads);
    static double p[4096];
    double sum = 0;
    for (int64_t d = 0; d < S; d++) out[d] = 0;
    for (int64_t j = first; j <= t; j++) {
        double s = 0;
        for (int64_t d = 0; d < S; d++)
            s += qkv[t * ld + h * S + d] * qkv[j * ld + (l->heads + kv) * S + d];
        p[j - first] = exp(s / sqrt((double)S));
        sum += p[j - first];
    }
    for (int64_t j = first; j <= t; j++)
        for (int64_t d = 0; d < S; d++)
            out[d] += p[j - first] / sum * qkv[j * ld + (l->heads + l->kv_heads + kv) * S + d];
    return log(sum);
}

static double loss(const layout *l, const double *qkv)
{
    double total = 0, out[128];
    for (int64_t s = 0; s < l->n_seq; s++)
        for (int64_t t = l->start[s]; t < l->start[s + 1]; t++)
            for (int64_t h = 0; h < l->heads; h++) {
                query(l, qkv, l->start[s], t, h, out);
                for (int64_t d = 0; d < l->size; d++)
                    total += out[d] * l->c[(t * l->heads + h) * l->size + d];
            }
    return total;
}

static rd_attention make_attention(const layout *l, int64_t max_len)
{
    return (rd_attention){.heads = l->heads,
                          .kv_heads = l->kv_heads,
                          .size = l->size,
                          .ld_qkv = width(l),
                          .ld_out = l->heads * l->size,
                          .max_len = max_len,
                          .threads = 1,
                          .scratch = rd_new(float, rd_attention_scratch(l->size, 1)),
                          .partial =
                              rd_new(float, rd_attention_partial(l->heads, l->size) * max_len)};
}

static void test_shape(int64_t heads, int64_t kv_heads, int64_t size, int64_t n_seq,
                       const int64_t *start)
{
    int64_t T = start[n_seq], hs = heads * size;
    layout l = {heads, kv_heads, size, n_seq, start, NULL};
    int64_t ld = width(&l), n = ld * T;
    float *qkv = rd_new(float, n), *dqkv = rd_new(float, n), *out = rd_new(float, hs *T);
    float *lse = rd_new(float, heads *T), *c = rd_new(float, hs *T);
    double *wide = rd_new(double, n), row[128], eo = 0, el = 0, eg = 0;
    rd_attention a = make_attention(&l, T);
    rd_rng r = rd_rng_make(4, "attention", (uint64_t)heads, (uint64_t)size);
    for (int64_t i = 0; i < n; i++) wide[i] = qkv[i] = (float)rd_rng_normal(&r);
    for (int64_t i = 0; i < hs * T; i++) c[i] = (float)rd_rng_normal(&r);
    for (int64_t i = 0; i < n; i++) dqkv[i] = NAN; /* must all be overwritten */
    l.c = c;

    rd_attention_fwd(&a, n_seq, start, qkv, out, lse);
    for (int64_t s = 0; s < n_seq; s++)
        for (int64_t t = start[s]; t < start[s + 1]; t++)
            for (int64_t h = 0; h < heads; h++) {
                el = fmax(el, fabs(query(&l, wide, start[s], t, h, row) - lse[t * heads + h]));
                for (int64_t d = 0; d < size; d++)
                    eo = fmax(eo, fabs(row[d] - out[(t * heads + h) * size + d]));
            }
    ok(eo < 2e-6 && el < 2e-6, "forward %d/%d heads of %d (%.1e, %.1e)", (int)heads, (int)kv_heads,
       (int)size, eo, el);

    rd_attention_bwd(&a, n_seq, start, qkv, out, lse, c, dqkv);
    int64_t stride = n > 500 ? 7 : 1;
    for (int64_t i = 0; i < n; i += stride) {
        double keep = wide[i];
        wide[i] = keep + 1e-5;
        double up = loss(&l, wide);
        wide[i] = keep - 1e-5;
        double error = fabs((up - loss(&l, wide)) / 2e-5 - dqkv[i]);
        wide[i] = keep;
        if (!(error <= eg)) eg = error;
    }
    for (int64_t i = 0; i < n; i++)
        if (isnan(dqkv[i])) eg = NAN;
    ok(eg < 5e-6, "backward (%.1e)", eg);
    rd_free(qkv), rd_free(dqkv), rd_free(out), rd_free(lse), rd_free(c), rd_free(wide);
    rd_free(a.scratch), rd_free(a.partial);
}

/* dqkv in float64 of a single sequence with one key-value head per query head or fewer. */
static void reference_bwd(const layout *l, int64_t n, const float *qkv, const float *out,
                          const float *lse, double *dqkv)
{
    int64_t S = l->size, ld = width(l), group = l->heads / l->kv_heads;
    double scale = 1 / sqrt((double)S);
    memset(dqkv, 0, (size_t)(n * ld) * sizeof(double));
    for (int64_t h = 0; h < l->heads; h++)
        for (int64_t t = 0; t < n; t++) {
            int64_t k = (l->heads + h / group) * S, v = k + l->kv_heads * S;
            const float *q = qkv + t * ld + h * S, *c = l->c + (t * l->heads + h) * S;
            const float *o = out + (t * l->heads + h) * S;
            double delta = 0;
            for (int64_t d = 0; d < S; d++) delta += (double)o[d] * c[d];
            for (int64_t j = 0; j <= t; j++) {
                const float *key = qkv + j * ld + k, *value = qkv + j * ld + v;
                double s = 0, dp = 0;
                for (int64_t d = 0; d < S; d++) s += (double)q[d] * key[d];
                for (int64_t d = 0; d < S; d++) dp += (double)c[d] * value[d];
                double p = exp(s * scale - lse[t * l->heads + h]), ds = p * (dp - delta) * scale;
                for (int64_t d = 0; d < S; d++) {
                    dqkv[t * ld + h * S + d] += ds * key[d];
                    dqkv[j * ld + k + d] += ds * q[d];
                    dqkv[j * ld + v + d] += p * c[d];
                }
            }
        }
}

/* A sequence of n tokens; then its first part alone, which must have the same bits. */
static void test_long(int64_t heads, int64_t kv_heads, int64_t size, int64_t n, int64_t part)
{
    const int64_t start[] = {0, n}, shorter[] = {0, part};
    layout l = {heads, kv_heads, size, 1, start, NULL};
    int64_t ld = width(&l), hs = heads * size;
    float *qkv = rd_new(float, n *ld), *dqkv = rd_new(float, n *ld), *out = rd_new(float, n *hs);
    float *lse = rd_new(float, n *heads), *c = rd_new(float, n *hs), *alone = rd_new(float, n *hs);
    double *wide = rd_new(double, n *ld), *want = rd_new(double, n *ld), row[128];
    double eo = 0, el = 0, eg = 0, largest = 0;
    rd_attention a = make_attention(&l, n);
    rd_rng r = rd_rng_make(4, "long", (uint64_t)heads, (uint64_t)size);
    for (int64_t i = 0; i < n * ld; i++) wide[i] = qkv[i] = (float)rd_rng_normal(&r);
    for (int64_t i = 0; i < n * hs; i++) c[i] = (float)rd_rng_normal(&r);
    l.c = c;
    rd_attention_fwd(&a, 1, shorter, qkv, alone, lse);
    rd_attention_fwd(&a, 1, start, qkv, out, lse);
    for (int64_t t = 0; t < n; t++)
        for (int64_t h = 0; h < heads; h++) {
            el = fmax(el, fabs(query(&l, wide, 0, t, h, row) - lse[t * heads + h]));
            for (int64_t d = 0; d < size; d++)
                eo = fmax(eo, fabs(row[d] - out[(t * heads + h) * size + d]));
        }
    ok(eo < 2e-6 && el < 2e-6, "forward of %d tokens (%.1e, %.1e)", (int)n, eo, el);
    ok(memcmp(out, alone, (size_t)(part * hs) * sizeof(float)) == 0,
       "and of the first %d alone: the same bits", (int)part);
    rd_attention_bwd(&a, 1, start, qkv, out, lse, c, dqkv);
    reference_bwd(&l, n, qkv, out, lse, want);
    for (int64_t i = 0; i < n * ld; i++) {
        largest = fmax(largest, fabs(want[i]));
        double error = fabs(want[i] - dqkv[i]);
        if (!(error <= eg)) eg = error;
    }
    ok(eg < 2e-6 * largest, "backward (%.1e of %.1e)", eg, largest);
    rd_free(qkv), rd_free(dqkv), rd_free(out), rd_free(lse), rd_free(c), rd_free(alone);
    rd_free(wide), rd_free(want), rd_free(a.scratch), rd_free(a.partial);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    static const int64_t shorts[] = {0, 1, 1, 6, 10}, longs[] = {0, 33, 36}, block[] = {0, 32};
    test_shape(2, 1, 4, 4, shorts);
    test_shape(6, 2, 6, 4, shorts);
    test_shape(3, 3, 16, 2, longs);
    test_shape(2, 2, 20, 1, block);
    static const int64_t edges[] = {0, 48, 97};
    test_shape(3, 1, 64, 1, block);
    test_shape(2, 1, 33, 2, edges);
    test_long(2, 1, 16, 3000, 1111);
    test_long(3, 1, 64, 517, 131);
    test_long(2, 2, 96, 300, 129);
    return rd_test_end();
}
