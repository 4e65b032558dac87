/* decode_leaf.h: the leaf kernels of decode.c, which includes this for each width of vectors. */
#include "vectors.h"

/* VECS: vectors to a block.  SIDE: blocks whose scores are computed side by side, which hides the
 * latency of the sums.  WEIGH: queries whose sums of values fit the registers together. */
#undef VECS
#undef SIDE
#undef WEIGH
#define VECS (BLOCK / LANES)
#if LANES == 16
#define SIDE(nq) ((nq) == 1 ? 4 : 2)
#define WEIGH 4
#else
#define SIDE(nq) ((nq) == 1 ? 4 : (nq) == 2 ? 2 : 1)
#define WEIGH 3
#endif

/* Scores of nq queries against `side` blocks; each score is one chain over the features in order.
 * q: [S][TILE].  The values of these blocks are asked for meanwhile. */
RD_INLINE void NAME(score_blocks)(const int nq, const int side, int64_t S, head_blocks h, int64_t b,
                                  const float *q, float *p, int64_t ld)
{
    vec acc[4 * VECS][TILE];
    const float *k[4];
#pragma GCC unroll 4
    for (int u = 0; u < side; u++) k[u] = h.at + h.table[b + u] * h.step;
#pragma GCC unroll 8
    for (int v = 0; v < side * VECS; v++)
#pragma GCC unroll 4
        for (int i = 0; i < nq; i++) acc[v][i] = (vec){0};
    for (int64_t d = 0; d < S; d++)
#pragma GCC unroll 8
        for (int v = 0; v < side * VECS; v++) {
            const float *at = k[v / VECS] + d * BLOCK + v % VECS * LANES;
            vec keys = *(const vec *)at;
            if (v % VECS == 0) __builtin_prefetch(at + S * BLOCK);
#pragma GCC unroll 4
            for (int i = 0; i < nq; i++) acc[v][i] += keys * q[d * TILE + i];
        }
#pragma GCC unroll 8
    for (int v = 0; v < side * VECS; v++)
#pragma GCC unroll 4
        for (int i = 0; i < nq; i++) *(vec *)(p + i * ld + b * BLOCK + v * LANES) = acc[v][i];
}

RD_INLINE void NAME(score_all)(const int nq, int64_t S, int64_t blocks, head_blocks h,
                               const float *q, float *p, int64_t ld)
{
    const int side = SIDE(nq);
    int64_t b = 0;
    for (; b + side <= blocks; b += side) NAME(score_blocks)(nq, side, S, h, b, q, p, ld);
    for (; b < blocks; b++) NAME(score_blocks)(nq, 1, S, h, b, q, p, ld);
}

/* p: [nq][ld] scores of nq queries against the keys of the first `blocks` blocks. */
RD_CLONES
static void NAME(key_scores)(int nq, int64_t S, int64_t blocks, head_blocks h, const float *q,
                             float *p, int64_t ld)
{
    switch (nq) {
    case 1: NAME(score_all)(1, S, blocks, h, q, p, ld); break;
    case 2: NAME(score_all)(2, S, blocks, h, q, p, ld); break;
    case 3: NAME(score_all)(3, S, blocks, h, q, p, ld); break;
    default: NAME(score_all)(4, S, blocks, h, q, p, ld);
    }
}

/* One vector of features for nq queries, always the same four partial sums. */
RD_INLINE void NAME(weigh_tile)(const int nq, int64_t padded, int64_t blocks, head_blocks h,
                                const float *p, int64_t ld, const float *inverse, vec *out)
{
    vec acc[SUMS][WEIGH];
#pragma GCC unroll 4
    for (int u = 0; u < SUMS; u++)
#pragma GCC unroll 4
        for (int i = 0; i < nq; i++) acc[u][i] = (vec){0};
    for (int64_t b = 0; b < blocks; b++) {
        const float *v = h.at + h.table[b] * h.step, *weight = p + b * BLOCK;
        for (int64_t j = 0; j < BLOCK; j += SUMS)
#pragma GCC unroll 4
            for (int u = 0; u < SUMS; u++) {
                vec values = *(const vec *)(v + (j + u) * padded);
#pragma GCC unroll 4
                for (int i = 0; i < nq; i++) acc[u][i] += values * weight[i * ld + j + u];
            }
    }
#pragma GCC unroll 4
    for (int i = 0; i < nq; i++)
        out[i] = ((acc[0][i] + acc[1][i]) + (acc[2][i] + acc[3][i])) * inverse[i];
}

RD_INLINE void NAME(weigh_all)(const int nq, int64_t padded, int64_t blocks, head_blocks h,
                               const float *p, int64_t ld, const float *inverse, vec *out)
{
    const int first = nq <= WEIGH ? nq : nq / 2, rest = nq - first;
    NAME(weigh_tile)(first, padded, blocks, h, p, ld, inverse, out);
    if (rest > 0)
        NAME(weigh_tile)(rest, padded, blocks, h, p + first * ld, ld, inverse + first, out + first);
}

/* out[i] = sum_j p_ij values_j * inverse_i over whole blocks (p is 0 beyond the last token). */
RD_CLONES
static void NAME(weigh_values)(int nq, int64_t S, int64_t padded, int64_t blocks, head_blocks h,
                               const float *p, int64_t ld, const float *inverse, float *const *out)
{
    h.at += S * BLOCK;
    for (int64_t d = 0; d < S; d += LANES, h.at += LANES) {
        vec total[TILE];
        switch (nq) {
        case 1: NAME(weigh_all)(1, padded, blocks, h, p, ld, inverse, total); break;
        case 2: NAME(weigh_all)(2, padded, blocks, h, p, ld, inverse, total); break;
        case 3: NAME(weigh_all)(3, padded, blocks, h, p, ld, inverse, total); break;
        default: NAME(weigh_all)(4, padded, blocks, h, p, ld, inverse, total);
        }
        size_t bytes = (size_t)(S - d < LANES ? S - d : LANES) * sizeof(float);
        for (int i = 0; i < nq; i++) memcpy(out[i] + d, &total[i], bytes);
    }
}
