/* ops_leaf.h: those leaf kernels of ops.c that are written in vectors; it includes this for each
 * width of them. */
#include "vectors.h"

RD_CLONES
static double NAME(exp_sum)(int64_t n, const float *x, float scale, float shift, float *y)
{
    dvec s0 = {0}, s1 = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec e = NAME(exp)(*(const vec *)(x + i) * scale - shift);
        *(vec *)(y + i) = e;
        s0 += NAME(widen)(y + i);
        s1 += NAME(widen)(y + i + (LANES / 2));
    }
    if (i < n) {
        /* A padded last vector takes the same arithmetic, so a row's length changes nothing. */
        float tail[LANES] = {0};
        size_t left = (size_t)(n - i) * sizeof(float);
        memcpy(tail, x + i, left);
        *(vec *)tail = NAME(exp)(*(const vec *)tail * scale - shift);
        for (int64_t l = n - i; l < LANES; l++) tail[l] = 0;
        memcpy(y + i, tail, left);
        s0 += NAME(widen)(tail);
        s1 += NAME(widen)(tail + (LANES / 2));
    }
    s0 += s1;
    return NAME(sum)(&s0);
}

RD_CLONES
static double NAME(dot)(int64_t n, const float *a, const float *b)
{
    dvec s0 = {0}, s1 = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        s0 += NAME(widen)(a + i) * NAME(widen)(b + i);
        s1 += NAME(widen)(a + i + (LANES / 2)) * NAME(widen)(b + i + (LANES / 2));
    }
    s0 += s1;
    double sum = NAME(sum)(&s0);
    for (; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

RD_CLONES
static void NAME(norm_token_bwd)(int64_t D, const float *x, const float *w, float inv,
                                 const float *dy, float *dx)
{
    dvec acc = {0};
    int64_t i = 0;
    for (; i + (LANES / 2) <= D; i += (LANES / 2))
        acc += NAME(widen)(x + i) * NAME(widen)(dy + i) * NAME(widen)(w + i);
    double inner = NAME(sum)(&acc), s = inv;
    for (; i < D; i++) inner += (double)x[i] * (double)dy[i] * (double)w[i];
    float back = (float)(s * s * s * inner / (double)D);
    for (i = 0; i < D; i++) dx[i] += dy[i] * w[i] * inv - x[i] * back;
}

/* One vector: h = g s u with s = 1 / (1 + exp(-g)). */
RD_INLINE vec NAME(sigmoid)(vec g)
{
    return 1.0f / (1.0f + NAME(exp)(-g));
}

RD_CLONES
static void NAME(swiglu_fwd_whole)(int64_t F, const float *g, const float *u, float *h)
{
    for (int64_t i = 0; i < F; i += LANES) {
        vec gv = *(const vec *)(g + i), uv = *(const vec *)(u + i);
        *(vec *)(h + i) = gv * NAME(sigmoid)(gv) * uv;
    }
}

RD_CLONES
static void NAME(swiglu_bwd_whole)(int64_t F, const float *g, const float *u, const float *dh,
                                   float *dg, float *du, float *h)
{
    for (int64_t i = 0; i < F; i += LANES) {
        vec gv = *(const vec *)(g + i), uv = *(const vec *)(u + i), d = *(const vec *)(dh + i);
        vec s = NAME(sigmoid)(gv);
        vec silu = gv * s;
        *(vec *)(h + i) = silu * uv;
        *(vec *)(du + i) = d * silu;
        *(vec *)(dg + i) = d * uv * (s + silu * (1.0f - s));
    }
}

#undef vec
#undef ivec
#undef half
#undef dvec
