/* attention_leaf.h: the leaf kernels of attention.c, which includes this for each width of vectors.
 */
#include "vectors.h"

/* Tiles: what fits the registers (32 of 16 lanes, 16 of 8) with some to spare. */
#undef MEET_VECS
#undef MEET_KEYS
#undef MIX_VECS
#undef MIX_ROWS
#if LANES == 16
#define MEET_VECS 3
#define MEET_KEYS 8
#define MIX_VECS 4
#define MIX_ROWS 6
#else
#define MEET_VECS 2
#define MEET_KEYS 5
#define MIX_VECS 2
#define MIX_ROWS 5
#endif

/* ---------------------------------------------------------------- products of a block */

/* c[j][lanes] = sum over f of t[f][lanes] rows[j][f], for mv vectors of queries and nr keys, which
 * are constants where it is called. */
RD_INLINE void NAME(meet_tile)(const int mv, const int nr, int64_t S, const float *t,
                               const float *rows, int64_t ld, float *c)
{
    vec acc[MEET_VECS][MEET_KEYS];
#pragma GCC unroll 8
    for (int j = 0; j < nr; j++)
#pragma GCC unroll 3
        for (int i = 0; i < mv; i++) acc[i][j] = (vec){0};
    for (int64_t f = 0; f < S; f++) {
        vec q[MEET_VECS];
#pragma GCC unroll 3
        for (int i = 0; i < mv; i++) q[i] = *(const vec *)(t + f * QUERIES + i * LANES);
#pragma GCC unroll 8
        for (int j = 0; j < nr; j++) {
            float x = rows[j * ld + f];
#pragma GCC unroll 3
            for (int i = 0; i < mv; i++) acc[i][j] += q[i] * x;
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < nr; j++)
#pragma GCC unroll 3
        for (int i = 0; i < mv; i++) *(vec *)(c + j * QUERIES + i * LANES) = acc[i][j];
}

RD_INLINE void NAME(meet_keys)(const int mv, const int nr, int64_t n, int64_t S, const float *t,
                               const float *rows, int64_t ld, float *c)
{
    int64_t j = 0;
    for (; j + nr <= n; j += nr) NAME(meet_tile)(mv, nr, S, t, rows + j * ld, ld, c + j * QUERIES);
    for (; j < n; j++) NAME(meet_tile)(mv, 1, S, t, rows + j * ld, ld, c + j * QUERIES);
}

RD_CLONES
static void NAME(meet)(int64_t nq, int64_t n, int64_t S, const float *t, const float *rows,
                       int64_t ld, float *c)
{
    int64_t i = 0;
    for (; nq - i > (MEET_VECS - 1) * LANES; i += MEET_VECS * LANES)
        NAME(meet_keys)(MEET_VECS, MEET_KEYS, n, S, t + i, rows, ld, c + i);
    if (nq - i > LANES)
        NAME(meet_keys)(2, MEET_KEYS, n, S, t + i, rows, ld, c + i);
    else if (nq > i)
        NAME(meet_keys)(1, MEET_KEYS, n, S, t + i, rows, ld, c + i);
}

/* out[o][lanes] = sum over r of w[r wr + o wo] rows[r][lanes], or += that, for mv vectors of
 * features and nr rows of the output. */
RD_INLINE void NAME(mix_tile)(const int mv, const int nr, const int64_t wr, const int64_t wo,
                              bool add, int64_t n, const float *w, const float *rows, int64_t ld,
                              float *out, int64_t ldo)
{
    vec acc[MIX_VECS][2 * MIX_ROWS];
#pragma GCC unroll 12
    for (int o = 0; o < nr; o++)
#pragma GCC unroll 4
        for (int i = 0; i < mv; i++)
            acc[i][o] = add ? *(const vec *)(out + o * ldo + i * LANES) : (vec){0};
    for (int64_t r = 0; r < n; r++) {
        vec x[MIX_VECS];
#pragma GCC unroll 4
        for (int i = 0; i < mv; i++) x[i] = *(const vec *)(rows + r * ld + i * LANES);
#pragma GCC unroll 12
        for (int o = 0; o < nr; o++) {
            float weight = w[r * wr + o * wo];
#pragma GCC unroll 4
            for (int i = 0; i < mv; i++) acc[i][o] += x[i] * weight;
        }
    }
#pragma GCC unroll 12
    for (int o = 0; o < nr; o++)
#pragma GCC unroll 4
        for (int i = 0; i < mv; i++) *(vec *)(out + o * ldo + i * LANES) = acc[i][o];
}

RD_INLINE void NAME(mix_rows)(const int mv, const int nr, const int64_t wr, const int64_t wo,
                              bool add, int64_t n_out, int64_t n, const float *w, const float *rows,
                              int64_t ld, float *out, int64_t ldo)
{
    int64_t o = 0;
    for (; o + nr <= n_out; o += nr)
        NAME(mix_tile)(mv, nr, wr, wo, add, n, w + o * wo, rows, ld, out + o * ldo, ldo);
    for (; o + 2 <= n_out; o += 2)
        NAME(mix_tile)(mv, 2, wr, wo, add, n, w + o * wo, rows, ld, out + o * ldo, ldo);
    if (o < n_out) NAME(mix_tile)(mv, 1, wr, wo, add, n, w + o * wo, rows, ld, out + o * ldo, ldo);
}

/* All features, Sp of them.  wr, wo: 1 and QUERIES in one order or the other. */
RD_INLINE void NAME(mix)(const int64_t wr, const int64_t wo, bool add, int64_t Sp, int64_t n_out,
                         int64_t n, const float *w, const float *rows, int64_t ld, float *out,
                         int64_t ldo)
{
    int64_t f = 0;
    for (; f + MIX_VECS * LANES <= Sp; f += MIX_VECS * LANES)
        NAME(mix_rows)(MIX_VECS, MIX_ROWS, wr, wo, add, n_out, n, w, rows + f, ld, out + f, ldo);
    for (; f + 2 * LANES <= Sp; f += 2 * LANES)
        NAME(mix_rows)(2, 2 * MIX_ROWS, wr, wo, add, n_out, n, w, rows + f, ld, out + f, ldo);
    for (; f < Sp; f += LANES)
        NAME(mix_rows)(1, 2 * MIX_ROWS, wr, wo, add, n_out, n, w, rows + f, ld, out + f, ldo);
}

/* out[query] += sum over keys of w[key][query] rows[key]. */
RD_CLONES
static void NAME(mix_keys)(bool add, int64_t Sp, int64_t n_out, int64_t n, const float *w,
                           const float *rows, int64_t ld, float *out, int64_t ldo)
{
    NAME(mix)(QUERIES, 1, add, Sp, n_out, n, w, rows, ld, out, ldo);
}

/* out[key] += sum over queries of w[key][query] rows[query]. */
RD_CLONES
static void NAME(mix_queries)(bool add, int64_t Sp, int64_t n_out, int64_t n, const float *w,
                              const float *rows, int64_t ld, float *out, int64_t ldo)
{
    NAME(mix)(1, QUERIES, add, Sp, n_out, n, w, rows, ld, out, ldo);
}

/* ---------------------------------------------------------------- softmax of a block */

/* Lanes of keys j > query i - both from the block's beginnings, the queries' being `shift` keys
 * after the keys' - get `hidden`. */
RD_INLINE vec NAME(hide)(vec s, int64_t i, int64_t j, int64_t shift, float hidden)
{
    ivec lane;
#pragma GCC unroll 16
    for (int l = 0; l < LANES; l++) lane[l] = l;
    ivec seen = (ivec)(lane + (int32_t)(i + shift) >= (ivec){0} + (int32_t)j);
    return (vec)(((ivec)s & seen) | ((ivec)((vec){0} + hidden) & ~seen));
}

/* Scores of n keys to exponentials, in place, with a new largest score and total per query. */
RD_CLONES
static void NAME(soften)(int64_t nq, int64_t n, int64_t shift, float scale, float *p, float *top,
                         float *shrink, double *total)
{
    for (int64_t i = 0; i < nq; i += LANES) {
        vec old = *(const vec *)(top + i), most = (vec){0} - INFINITY;
        for (int64_t j = 0; j < n; j++) {
            vec *s = (vec *)(p + j * QUERIES + i);
            if (j > i + shift) *s = NAME(hide)(*s, i, j, shift, -INFINITY);
            ivec more = (ivec)(*s > most);
            most = (vec)(((ivec)*s & more) | ((ivec)most & ~more));
        }
        most *= scale;
        ivec kept = (ivec)(old > most);
        most = (vec)(((ivec)old & kept) | ((ivec)most & ~kept));
        vec less = NAME(exp)(old - most);
        dvec sum[2] = {0};
        for (int64_t j = 0; j < n; j++) {
            float *at = p + j * QUERIES + i;
            *(vec *)at = NAME(exp)(*(vec *)at * scale - most);
            sum[0] += NAME(widen)(at);
            sum[1] += NAME(widen)(at + LANES / 2);
        }
        *(vec *)(top + i) = most;
        *(vec *)(shrink + i) = less;
        for (int l = 0; l < LANES; l++)
            total[i + l] =
                total[i + l] * (double)shrink[i + l] + sum[l / (LANES / 2)][l % (LANES / 2)];
    }
}

/* Scores to probabilities, and dP to dS = P (dP - <dO, O>) scale, both in place. */
RD_CLONES
static void NAME(soften_bwd)(int64_t nq, int64_t n, int64_t shift, float scale, const float *lse,
                             const float *delta, float *p, float *dp)
{
    for (int64_t i = 0; i < nq; i += LANES) {
        vec l = *(const vec *)(lse + i), d = *(const vec *)(delta + i);
        for (int64_t j = 0; j < n; j++) {
            vec *s = (vec *)(p + j * QUERIES + i), *g = (vec *)(dp + j * QUERIES + i);
            vec e = NAME(exp)(*s * scale - l);
            if (j > i + shift) e = NAME(hide)(e, i, j, shift, 0);
            *s = e;
            *g = e * (*g - d) * scale;
        }
    }
}

RD_CLONES
static void NAME(transpose_rows)(int64_t n, int64_t Sp, const float *rows, int64_t ld, float *t)
{
    float edge[LANES * LANES];
    for (int64_t i = 0; i < n; i += LANES)
        for (int64_t f = 0; f < Sp; f += LANES) {
            const float *from = rows + i * ld + f;
            if (n - i >= LANES) {
                NAME(transpose)(from, ld, t + f * QUERIES + i, QUERIES);
                continue;
            }
            memset(edge, 0, sizeof(edge));
            for (int64_t r = 0; r < n - i; r++)
                memcpy(edge + r * LANES, from + r * ld, LANES * sizeof(float));
            NAME(transpose)(edge, LANES, t + f * QUERIES + i, QUERIES);
        }
}

#undef vec
#undef ivec
#undef half
#undef dvec
