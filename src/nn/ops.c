/* ops.c: the element-wise operations: RMSNorm, rotary embedding, SwiGLU, exp, embedding look-up.
 *
 * They are bound by memory and by exp, not by products.  Reductions carry several partial sums,
 * because without -ffast-math the compiler may not reorder one. */
#include "ops.h"

#include <math.h>
#include <string.h>

/* Without AVX-512 a vector of 16 is two or four registers; GCC then notes that passing one between
 * functions has another ABI, which matters not: all of them are inlined here. */
#pragma GCC diagnostic ignored "-Wpsabi"

enum { LANES = 16, HALF = 8 };
typedef float vec __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(64), aligned(4), may_alias));
typedef float vec8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef double dvec8 __attribute__((vector_size(64)));

/* ---------------------------------------------------------------- exp */

/* exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2.  ln 2 is subtracted in two pieces so
 * that r keeps its bits; exp(r) by its Taylor polynomial of degree 7 (next term 5e-9 relative);
 * 2^n by shifting n into the exponent. */
static inline __attribute__((always_inline)) vec exp_vec(vec x)
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

static inline __attribute__((always_inline)) dvec8 widen(const float *x)
{
    return __builtin_convertvector(*(const vec8 *)x, dvec8);
}

static inline __attribute__((always_inline)) double sum8(const dvec8 *p)
{
    const dvec8 v = *p;
    return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}

double rd_exp_sum(int64_t n, const float *x, float scale, float shift, float *y)
{
    dvec8 s0 = {0}, s1 = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec e = exp_vec(*(const vec *)(x + i) * scale - shift);
        *(vec *)(y + i) = e;
        s0 += widen(y + i);
        s1 += widen(y + i + HALF);
    }
    if (i < n) {
        /* A padded last vector takes the same arithmetic, so a row's length changes nothing. */
        float tail[LANES] = {0};
        size_t left = (size_t)(n - i) * sizeof(float);
        memcpy(tail, x + i, left);
        *(vec *)tail = exp_vec(*(const vec *)tail * scale - shift);
        for (int64_t l = n - i; l < LANES; l++) tail[l] = 0;
        memcpy(y + i, tail, left);
        s0 += widen(tail);
        s1 += widen(tail + HALF);
    }
    s0 += s1;
    return sum8(&s0);
}

float rd_max_f32(int64_t n, const float *x)
{
    float best = x[0];
    int64_t i = 0;
    if (n >= LANES) {
        float lane[LANES];
        memcpy(lane, x, sizeof(lane));
        for (i = LANES; i + LANES <= n; i += LANES)
            for (int l = 0; l < LANES; l++) lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
        for (int l = 0; l < LANES; l++) best = lane[l] > best ? lane[l] : best;
    }
    for (; i < n; i++) best = x[i] > best ? x[i] : best;
    return best;
}

void rd_add(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

/* ---------------------------------------------------------------- RMSNorm */

double rd_dot(int64_t n, const float *a, const float *b)
{
    dvec8 s0 = {0}, s1 = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        s0 += widen(a + i) * widen(b + i);
        s1 += widen(a + i + HALF) * widen(b + i + HALF);
    }
    s0 += s1;
    double sum = sum8(&s0);
    for (; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

void rd_rmsnorm_fwd(int64_t D, int64_t T, const float *x, const float *w, double eps, float *y,
                    float *inv)
{
    for (int64_t t = 0; t < T; t++) {
        const float *xt = x + t * D;
        float *yt = y + t * D;
        float scale = (float)(1.0 / sqrt(rd_dot(D, xt, xt) / (double)D + eps));
        for (int64_t i = 0; i < D; i++) yt[i] = xt[i] * scale * w[i];
        inv[t] = scale;
    }
}

void rd_rmsnorm_bwd(int64_t D, int64_t T, const float *x, const float *w, const float *inv,
                    const float *dy, float *dx, float *dw)
{
    for (int64_t t = 0; t < T; t++) {
        const float *xt = x + t * D, *dyt = dy + t * D;
        float *dxt = dx + t * D;
        dvec8 acc = {0};
        int64_t i = 0;
        for (; i + HALF <= D; i += HALF) acc += widen(xt + i) * widen(dyt + i) * widen(w + i);
        double inner = sum8(&acc);
        for (; i < D; i++) inner += (double)xt[i] * (double)dyt[i] * (double)w[i];
        double s = inv[t];
        float scale = inv[t], back = (float)(s * s * s * inner / (double)D);
        for (i = 0; i < D && dw != NULL; i++) dw[i] += dyt[i] * xt[i] * scale;
        for (i = 0; i < D; i++) dxt[i] += dyt[i] * w[i] * scale - xt[i] * back;
    }
}

/* ---------------------------------------------------------------- rotary embedding */

/* By how often the pair turns round within the original context: often, and scaling leaves it
 * alone; hardly once, and it turns `factor` times slower, so that longer contexts show no angles
 * that the original did not; in between the frequencies are interpolated. */
double rd_rope_divisor(const rd_model_config *c, int64_t i)
{
    const rd_rope_scaling *r = &c->rope;
    const double pi = 3.14159265358979323846;
    if (r->factor == 0) return 1;
    double wavelength = 2 * pi * pow(c->rope_theta, 2.0 * (double)i / (double)c->head_size);
    double turns = (double)r->original_context / wavelength;
    double kept = (turns - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
    if (kept >= 1) return 1;
    if (kept <= 0) return r->factor;
    return 1 / ((1 - kept) / r->factor + kept);
}

void rd_rope_table(const rd_model_config *c, int64_t positions, float *table)
{
    int64_t size = c->head_size, half = size / 2;
    for (int64_t i = 0; i < half; i++) {
        double frequency =
            pow(c->rope_theta, -2.0 * (double)i / (double)size) / rd_rope_divisor(c, i);
        for (int64_t p = 0; p < positions; p++) {
            double angle = (double)p * frequency;
            table[p * size + i] = (float)cos(angle);
            table[p * size + half + i] = (float)sin(angle);
        }
    }
}

void rd_rope(int64_t heads, int64_t size, int64_t T, const int32_t *position, const float *table,
             float sign, float *x, int64_t ld)
{
    int64_t half = size / 2;
    for (int64_t t = 0; t < T; t++) {
        const float *cosine = table + position[t] * size, *sine = cosine + half;
        for (int64_t h = 0; h < heads; h++) {
            float *restrict a = x + t * ld + h * size, *restrict b = a + half;
            for (int64_t i = 0; i < half; i++) {
                float c = cosine[i], s = sign * sine[i], ai = a[i], bi = b[i];
                a[i] = ai * c - bi * s;
                b[i] = bi * c + ai * s;
            }
        }
    }
}

/* ---------------------------------------------------------------- biases */

void rd_bias_add(int64_t n, int64_t T, float sign, const float *b, float *y)
{
    for (int64_t t = 0; t < T && b != NULL; t++)
        for (int64_t i = 0; i < n; i++) y[t * n + i] += sign * b[i];
}

void rd_bias_bwd(int64_t n, int64_t T, const float *dy, float *db)
{
    for (int64_t t = 0; t < T && db != NULL; t++) rd_add(n, dy + t * n, db);
}

/* ---------------------------------------------------------------- SwiGLU */

/* One vector: h = g s u with s = 1 / (1 + exp(-g)). */
static inline __attribute__((always_inline)) vec sigmoid_vec(vec g)
{
    return 1.0f / (1.0f + exp_vec(-g));
}

static void swiglu_fwd_column(int64_t F, const float *g, const float *u, float *h)
{
    for (int64_t i = 0; i < F; i += LANES) {
        vec gv = *(const vec *)(g + i), uv = *(const vec *)(u + i);
        *(vec *)(h + i) = gv * sigmoid_vec(gv) * uv;
    }
}

static void swiglu_bwd_column(int64_t F, const float *g, const float *u, const float *dh, float *dg,
                              float *du, float *h)
{
    for (int64_t i = 0; i < F; i += LANES) {
        vec gv = *(const vec *)(g + i), uv = *(const vec *)(u + i), d = *(const vec *)(dh + i);
        vec s = sigmoid_vec(gv);
        vec silu = gv * s;
        *(vec *)(h + i) = silu * uv;
        *(vec *)(du + i) = d * silu;
        *(vec *)(dg + i) = d * uv * (s + silu * (1.0f - s));
    }
}

/* The column functions work on whole vectors; a ragged end goes through padded copies. */
void rd_swiglu_fwd(int64_t F, int64_t T, const float *gu, float *h)
{
    int64_t full = F / LANES * LANES;
    size_t left = (size_t)(F - full) * sizeof(float);
    for (int64_t t = 0; t < T; t++) {
        const float *g = gu + t * 2 * F, *u = g + F;
        swiglu_fwd_column(full, g, u, h + t * F);
        if (left == 0) continue;
        float pad[3][LANES] = {{0}};
        memcpy(pad[0], g + full, left);
        memcpy(pad[1], u + full, left);
        swiglu_fwd_column(LANES, pad[0], pad[1], pad[2]);
        memcpy(h + t * F + full, pad[2], left);
    }
}

void rd_swiglu_bwd(int64_t F, int64_t T, const float *gu, const float *dh, float *dgu, float *h)
{
    int64_t full = F / LANES * LANES;
    size_t left = (size_t)(F - full) * sizeof(float);
    for (int64_t t = 0; t < T; t++) {
        const float *g = gu + t * 2 * F, *u = g + F, *d = dh + t * F;
        float *dg = dgu + t * 2 * F, *du = dg + F;
        swiglu_bwd_column(full, g, u, d, dg, du, h + t * F);
        if (left == 0) continue;
        float in[3][LANES] = {{0}}, out[3][LANES];
        memcpy(in[0], g + full, left);
        memcpy(in[1], u + full, left);
        memcpy(in[2], d + full, left);
        swiglu_bwd_column(LANES, in[0], in[1], in[2], out[0], out[1], out[2]);
        memcpy(dg + full, out[0], left);
        memcpy(du + full, out[1], left);
        memcpy(h + t * F + full, out[2], left);
    }
}

/* ---------------------------------------------------------------- embedding */

void rd_embed_fwd(int64_t D, int64_t T, const int32_t *tokens, const float *E, float *x)
{
    for (int64_t t = 0; t < T; t++) memcpy(x + t * D, E + tokens[t] * D, (size_t)D * sizeof(float));
}

void rd_embed_bwd(int64_t D, int64_t T, const int32_t *tokens, const float *dx, float *dE)
{
    for (int64_t t = 0; t < T; t++) rd_add(D, dx + t * D, dE + tokens[t] * D);
}
