/* ranks: 1 */
/* Attention against a float64 loop over tokens, and its backward against central differences;
 * grouped heads, sequences around the block size, head sizes that are no multiple of a vector. */
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
    double p[64], sum = 0;
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
    double total = 0, out[64];
    for (int64_t s = 0; s < l->n_seq; s++)
        for (int64_t t = l->start[s]; t < l->start[s + 1]; t++)
            for (int64_t h = 0; h < l->heads; h++) {
                query(l, qkv, l->start[s], t, h, out);
                for (int64_t d = 0; d < l->size; d++)
                    total += out[d] * l->c[(t * l->heads + h) * l->size + d];
            }
    return total;
}

static void test_shape(int64_t heads, int64_t kv_heads, int64_t size, int64_t n_seq,
                       const int64_t *start)
{
    int64_t T = start[n_seq], hs = heads * size;
    layout l = {heads, kv_heads, size, n_seq, start, NULL};
    int64_t ld = width(&l), n = ld * T;
    float *qkv = rd_new(float, n), *dqkv = rd_new(float, n), *out = rd_new(float, hs *T);
    float *lse = rd_new(float, heads *T), *c = rd_new(float, hs *T);
    double *wide = rd_new(double, n), row[64], eo = 0, el = 0, eg = 0;
    rd_attention a = {
        heads, kv_heads, size, ld, hs, 64, rd_new(float, rd_attention_scratch(size, 64))};
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
    rd_free(a.scratch);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    static const int64_t shorts[] = {0, 1, 1, 6, 10}, longs[] = {0, 33, 36}, block[] = {0, 32};
    test_shape(2, 1, 4, 4, shorts);
    test_shape(6, 2, 6, 4, shorts);
    test_shape(3, 3, 16, 2, longs);
    test_shape(2, 2, 20, 1, block);
    return rd_test_end();
}
