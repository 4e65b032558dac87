/* ops.c: the element-wise operations: RMSNorm, rotary embedding, SwiGLU, exp, embedding look-up.
 *
 * They are bound by memory and by exp, not by products.  Reductions carry several partial sums,
 * because without -ffast-math the compiler may not reorder one.
 *
 * Threads share tokens; where a pass sums over tokens, for the gradient of a vector or of the
 * embedding, they share features.  So no sum depends on how many there are.  The loops over tokens
 * call leaf functions, which are compiled for several instruction sets (RD_CLONES). */
#include "ops.h"

#include <math.h>
#include <string.h>

enum {
    ENOUGH = 1 << 15, /* floats of a pass that are worth waking a thread for */
    PIECE = 64        /* features of a thread's sum over tokens */
};

#define LEAF "ops_leaf.h"
#include "both_widths.h"

enum { LANES = 16 };

/* ---------------------------------------------------------------- exp */

double rd_exp_sum(int64_t n, const float *x, float scale, float shift, float *y)
{
    return (rd_is_wide() ? exp_sum_16 : exp_sum_8)(n, x, scale, shift, y);
}

RD_CLONES
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

RD_CLONES
static void scale_column(int64_t n, float scale, float *x)
{
    for (int64_t i = 0; i < n; i++) x[i] *= scale;
}

/* One column. */
static double softmax_column(int64_t V, int32_t target, const float *coef, float *z)
{
    double zy = z[target];
    float top = rd_max_f32(V, z);
    /* Probabilities replace the logits only where a gradient is wanted; the sum is needed anyway.
     */
    double sum = rd_exp_sum(V, z, 1, top, z);
    if (coef != NULL) {
        scale_column(V, (float)(-(double)*coef / sum), z);
        z[target] += *coef;
    }
    return zy - (double)top - log(sum);
}

void rd_softmax_columns(int64_t V, int64_t n, const int32_t *target, const float *coef, float *z,
                        double *logp)
{
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (V * n > ENOUGH)
    for (int64_t i = 0; i < n; i++)
        logp[i] = softmax_column(V, target[i], coef == NULL ? NULL : coef + i, z + i * V);
}

RD_CLONES
static void add(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

void rd_add(int64_t n, const float *x, float *y)
{
    enum { BLOCK = 4096 };
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (n > ENOUGH)
    for (int64_t i = 0; i < n; i += BLOCK) add(n - i < BLOCK ? n - i : BLOCK, x + i, y + i);
}

void rd_copy(int64_t n, const float *x, float *y)
{
    enum { BLOCK = 4096 };
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (n > ENOUGH)
    for (int64_t i = 0; i < n; i += BLOCK)
        memcpy(y + i, x + i, (size_t)(n - i < BLOCK ? n - i : BLOCK) * sizeof(float));
}

/* ---------------------------------------------------------------- RMSNorm */

double rd_dot(int64_t n, const float *a, const float *b)
{
    return (rd_is_wide() ? dot_16 : dot_8)(n, a, b);
}

RD_CLONES
static float norm_token(int64_t D, const float *x, const float *w, double eps, float *y)
{
    float scale = (float)(1.0 / sqrt(rd_dot(D, x, x) / (double)D + eps));
    for (int64_t i = 0; i < D; i++) y[i] = x[i] * scale * w[i];
    return scale;
}

void rd_rmsnorm_fwd(int64_t D, int64_t T, const float *x, const float *w, double eps, float *y,
                    float *inv)
{
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (D * T > ENOUGH)
    for (int64_t t = 0; t < T; t++) inv[t] = norm_token(D, x + t * D, w, eps, y + t * D);
}

/* n features of the gradient of the weights; x and dy have D a token. */
RD_CLONES
static void norm_weight_bwd(int64_t n, int64_t D, int64_t T, const float *x, const float *inv,
                            const float *dy, float *dw)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < n; i++) dw[i] += dy[t * D + i] * x[t * D + i] * inv[t];
}

void rd_rmsnorm_bwd_weight(int64_t D, int64_t T, const float *x, const float *inv, const float *dy,
                           float *dw)
{
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (D * T > ENOUGH)
    for (int64_t i = 0; i < D; i += PIECE)
        norm_weight_bwd(D - i < PIECE ? D - i : PIECE, D, T, x + i, inv, dy + i, dw + i);
}

void rd_rmsnorm_bwd(int64_t D, int64_t T, const float *x, const float *w, const float *inv,
                    const float *dy, float *dx, float *dw)
{
    if (dw != NULL) rd_rmsnorm_bwd_weight(D, T, x, inv, dy, dw);
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (D * T > ENOUGH)
    for (int64_t t = 0; t < T; t++)
        (rd_is_wide() ? norm_token_bwd_16 : norm_token_bwd_8)(D, x + t * D, w, inv[t], dy + t * D,
                                                              dx + t * D);
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

RD_CLONES
static void rope_token(int64_t heads, int64_t size, const float *cosine, float sign, float *x)
{
    int64_t half = size / 2;
    const float *sine = cosine + half;
    for (int64_t h = 0; h < heads; h++) {
        float *restrict a = x + h * size, *restrict b = a + half;
        for (int64_t i = 0; i < half; i++) {
            float c = cosine[i], s = sign * sine[i], ai = a[i], bi = b[i];
            a[i] = ai * c - bi * s;
            b[i] = bi * c + ai * s;
        }
    }
}

void rd_rope(int64_t heads, int64_t size, int64_t T, const int32_t *position, const float *table,
             float sign, float *x, int64_t ld)
{
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (heads * size * T > ENOUGH)
    for (int64_t t = 0; t < T; t++)
        rope_token(heads, size, table + position[t] * size, sign, x + t * ld);
}

/* ---------------------------------------------------------------- biases */

void rd_bias_add(int64_t n, int64_t T, float sign, const float *b, float *y)
{
    if (b == NULL) return;
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (n * T > ENOUGH)
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < n; i++) y[t * n + i] += sign * b[i];
}

void rd_bias_bwd(int64_t n, int64_t T, const float *dy, float *db)
{
    if (db == NULL) return;
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (n * T > ENOUGH)
    for (int64_t i = 0; i < n; i += PIECE)
        for (int64_t t = 0; t < T; t++) add(n - i < PIECE ? n - i : PIECE, dy + t * n + i, db + i);
}

/* ---------------------------------------------------------------- SwiGLU */

static void swiglu_fwd_whole(int64_t F, const float *g, const float *u, float *h)
{
    (rd_is_wide() ? swiglu_fwd_whole_16 : swiglu_fwd_whole_8)(F, g, u, h);
}

static void swiglu_bwd_whole(int64_t F, const float *g, const float *u, const float *dh, float *dg,
                             float *du, float *h)
{
    (rd_is_wide() ? swiglu_bwd_whole_16 : swiglu_bwd_whole_8)(F, g, u, dh, dg, du, h);
}

/* These work on whole vectors; a ragged end goes through padded copies. */
static void swiglu_fwd_token(int64_t F, const float *g, float *h)
{
    int64_t full = F / LANES * LANES;
    size_t left = (size_t)(F - full) * sizeof(float);
    const float *u = g + F;
    swiglu_fwd_whole(full, g, u, h);
    if (left == 0) return;
    float pad[3][LANES] = {{0}};
    memcpy(pad[0], g + full, left);
    memcpy(pad[1], u + full, left);
    swiglu_fwd_whole(LANES, pad[0], pad[1], pad[2]);
    memcpy(h + full, pad[2], left);
}

static void swiglu_bwd_token(int64_t F, const float *g, const float *d, float *dg, float *h)
{
    int64_t full = F / LANES * LANES;
    size_t left = (size_t)(F - full) * sizeof(float);
    const float *u = g + F;
    float *du = dg + F;
    swiglu_bwd_whole(full, g, u, d, dg, du, h);
    if (left == 0) return;
    float in[3][LANES] = {{0}}, out[3][LANES];
    memcpy(in[0], g + full, left);
    memcpy(in[1], u + full, left);
    memcpy(in[2], d + full, left);
    swiglu_bwd_whole(LANES, in[0], in[1], in[2], out[0], out[1], out[2]);
    memcpy(dg + full, out[0], left);
    memcpy(du + full, out[1], left);
    memcpy(h + full, out[2], left);
}

void rd_swiglu_fwd(int64_t F, int64_t T, const float *gu, float *h)
{
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (F * T > ENOUGH)
    for (int64_t t = 0; t < T; t++) swiglu_fwd_token(F, gu + t * 2 * F, h + t * F);
}

void rd_swiglu_bwd(int64_t F, int64_t T, const float *gu, const float *dh, float *dgu, float *h)
{
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (F * T > ENOUGH)
    for (int64_t t = 0; t < T; t++)
        swiglu_bwd_token(F, gu + t * 2 * F, dh + t * F, dgu + t * 2 * F, h + t * F);
}

/* ---------------------------------------------------------------- embedding */

void rd_embed_fwd(int64_t D, int64_t T, const int32_t *tokens, const float *E, float *x)
{
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (D * T > ENOUGH)
    for (int64_t t = 0; t < T; t++) memcpy(x + t * D, E + tokens[t] * D, (size_t)D * sizeof(float));
}

void rd_embed_bwd(int64_t D, int64_t T, const int32_t *tokens, const float *dx, float *dE)
{
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (D * T > ENOUGH)
    for (int64_t i = 0; i < D; i += PIECE)
        for (int64_t t = 0; t < T; t++)
            add(D - i < PIECE ? D - i : PIECE, dx + t * D + i, dE + tokens[t] * D + i);
}
