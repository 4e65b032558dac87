/* vectors.h: private to nn: vectors of LANES floats, and what the passes compute of them.
 *
 * Included by the leaf kernels (ops_leaf.h, attention_leaf.h), which are compiled twice, for LANES
 * 16 and 8: a vector wider than the processor's registers would be taken apart, and comparisons of
 * it number by number.  NAME(x) is x with the width in it.  Which width to take is asked when it is
 * needed (rd_is_wide); the rest of the choice is RD_CLONES'.
 *
 * The types are GCC's (also Clang's).  All functions here are inlined. */
#ifndef RD_NN_VECTORS_H
#define RD_NN_VECTORS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Where a vector is more than one register GCC notes that passing one between functions has another
 * ABI, which matters not: all of them are inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

#define RD_INLINE static inline __attribute__((always_inline))

/* Has the processor registers of 16 floats, and many of them? */
static inline bool rd_is_wide(void)
{
#ifdef __x86_64__
    return __builtin_cpu_supports("avx512f");
#else
    return false;
#endif
}

#endif

#define vec NAME(vec)
#define ivec NAME(ivec)
#define half NAME(half)
#define dvec NAME(dvec)
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float half __attribute__((vector_size(2 * LANES), aligned(4), may_alias));
typedef double dvec __attribute__((vector_size(4 * LANES))); /* as many as half */

/* exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2.  ln 2 is subtracted in two pieces so
 * that r keeps its bits; exp(r) by its Taylor polynomial of degree 7 (next term 5e-9 relative);
 * 2^n by shifting n into the exponent. */
RD_INLINE vec NAME(exp)(vec x)
{
    const float log2e = 1.44269504088896341f, ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    const float low = -87.0f, high = 88.0f;
    /* Written as "not below", "not above", so that NaN stays NaN and is seen in the loss. */
    ivec alive = ~(ivec)(x < low);
    x = (vec)((ivec)x & alive);
    ivec fits = ~(ivec)(x > high);
    x = (vec)(((ivec)x & fits) | ((ivec)((vec){0} + high) & ~fits));
    vec shifted = x * log2e + round;
    vec n = shifted - round;
    vec r = x - n * ln2_hi;
    r = r - n * ln2_lo;
    vec p = (vec){0} + 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    ivec bits = ((ivec)shifted << 23) + (ivec)p;
    return (vec)(bits & alive);
}

RD_INLINE dvec NAME(widen)(const float *x)
{
    return __builtin_convertvector(*(const half *)x, dvec);
}

RD_INLINE double NAME(sum)(const dvec *p)
{
    double v[8] = {0};
    memcpy(v, p, sizeof(*p));
    return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}

/* LANES x LANES floats transposed in registers, in rounds of exchanging halves. */
RD_INLINE void NAME(transpose)(const float *from, int64_t ld, float *to, int64_t ldt)
{
    vec r[LANES], t[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) r[i] = *(const vec *)(from + i * ld);
#pragma GCC unroll 4
    for (int part = LANES / 2; part > 0; part /= 2) {
        ivec lo, hi;
#pragma GCC unroll 16
        for (int l = 0; l < LANES; l++) {
            lo[l] = (l & part) ? LANES + l - part : l;
            hi[l] = (l & part) ? LANES + l : l + part;
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            int a = i & ~part, b = i | part;
            t[i] = __builtin_shuffle(r[a], r[b], (i & part) ? hi : lo);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) r[i] = t[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) *(vec *)(to + i * ldt) = r[i];
}
