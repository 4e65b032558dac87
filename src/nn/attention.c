/* attention.c: causal grouped-query attention inside each sequence, forward and backward.
 *
 * Sequences are short, so for each (sequence, head) blocks of BLOCK queries meet all keys before
 * their end as small dense products; the triangle is wasted only inside a block and nothing of
 * size T x T ever exists.  Probabilities are not kept: the backward pass recomputes them from the
 * log-sum-exp of each row (the identity behind FlashAttention, arXiv 2205.14135, section 3.1). */
#include "ops.h"

#include <math.h>

enum { BLOCK = 36 };

static int64_t padded(int64_t n)
{
    return (n + 15) / 16 * 16;
}

int64_t rd_attention_scratch(int64_t size, int64_t max_len)
{
    (void)size;
    return 2 * padded(max_len) * BLOCK;
}

/* One query head of one sequence: where its columns start.  ld is the same for q, k and v. */
typedef struct head_view {
    const float *q, *k, *v;
    int64_t ld, n; /* n tokens */
} head_view;

static head_view view_head(const rd_attention *a, const float *qkv, int64_t first, int64_t n,
                           int64_t head)
{
    int64_t kv = head / (a->heads / a->kv_heads);
    const float *column = qkv + first * a->ld_qkv;
    return (head_view){column + head * a->size, column + (a->heads + kv) * a->size,
                       column + (a->heads + a->kv_heads + kv) * a->size, a->ld_qkv, n};
}

/* Scores of queries [q0, q0 + nq) against keys [0, q0 + nq), keys contiguous: ldp x nq. */
static void scores(const rd_attention *a, const head_view *h, int64_t q0, int64_t nq, float *p,
                   int64_t ldp)
{
    rd_gemm_local('T', 'N', q0 + nq, nq, a->size, 1, h->k, h->ld, h->q + q0 * h->ld, h->ld, 0, p,
                  ldp);
}

static void head_fwd(const rd_attention *a, const head_view *h, float *out, float *lse)
{
    float scale = (float)(1.0 / sqrt((double)a->size));
    float *p = a->scratch;
    int64_t ldp = padded(h->n);
    for (int64_t q0 = 0; q0 < h->n; q0 += BLOCK) {
        int64_t nq = h->n - q0 < BLOCK ? h->n - q0 : BLOCK, nk = q0 + nq;
        scores(a, h, q0, nq, p, ldp);
        for (int64_t i = 0; i < nq; i++) {
            float *row = p + i * ldp;
            int64_t visible = q0 + i + 1;
            float top = scale * rd_max_f32(visible, row);
            double sum = rd_exp_sum(visible, row, scale, top, row);
            float inverse = (float)(1.0 / sum);
            for (int64_t j = 0; j < visible; j++) row[j] *= inverse;
            for (int64_t j = visible; j < nk; j++) row[j] = 0;
            lse[(q0 + i) * a->heads] = (float)(top + log(sum));
        }
        rd_gemm_local('N', 'N', a->size, nq, nk, 1, h->v, h->ld, p, ldp, 0, out + q0 * a->ld_out,
                      a->ld_out);
    }
}

void rd_attention_fwd(const rd_attention *a, int64_t n_seq, const int64_t *start, const float *qkv,
                      float *out, float *lse)
{
    for (int64_t s = 0; s < n_seq; s++)
        for (int64_t head = 0; head < a->heads; head++) {
            head_view h = view_head(a, qkv, start[s], start[s + 1] - start[s], head);
            head_fwd(a, &h, out + start[s] * a->ld_out + head * a->size,
                     lse + start[s] * a->heads + head);
        }
}

/* dS = P (dP - <dO, O>) scale for one query, over its visible keys; zeros after them. */
static void score_gradient(int64_t visible, int64_t nk, double delta, float scale, float *p,
                           float *dp)
{
    float d = (float)delta;
    for (int64_t j = 0; j < visible; j++) dp[j] = p[j] * (dp[j] - d) * scale;
    for (int64_t j = visible; j < nk; j++) p[j] = dp[j] = 0;
}

/* Gradients of one query head.  Blocks run from the last, whose keys are all keys: with keep = 0
 * (the first head of its group) that block overwrites dk and dv, so that nothing is zeroed. */
static void head_bwd(const rd_attention *a, const head_view *h, const float *out, const float *lse,
                     const float *dout, float keep, float *dq, float *dk, float *dv)
{
    float scale = (float)(1.0 / sqrt((double)a->size));
    int64_t ldp = padded(h->n), S = a->size, ld = h->ld, ldo = a->ld_out;
    float *p = a->scratch, *dp = p + padded(a->max_len) * BLOCK;
    for (int64_t q0 = (h->n - 1) / BLOCK * BLOCK; q0 >= 0; q0 -= BLOCK) {
        int64_t nq = h->n - q0 < BLOCK ? h->n - q0 : BLOCK, nk = q0 + nq;
        scores(a, h, q0, nq, p, ldp);
        rd_gemm_local('T', 'N', nk, nq, S, 1, h->v, ld, dout + q0 * ldo, ldo, 0, dp, ldp);
        for (int64_t i = 0; i < nq; i++) {
            const float *o = out + (q0 + i) * ldo, *d = dout + (q0 + i) * ldo;
            double delta = 0;
            for (int64_t c = 0; c < S; c++) delta += (double)o[c] * (double)d[c];
            int64_t visible = q0 + i + 1;
            rd_exp_sum(visible, p + i * ldp, scale, lse[(q0 + i) * a->heads], p + i * ldp);
            score_gradient(visible, nk, delta, scale, p + i * ldp, dp + i * ldp);
        }
        rd_gemm_local('N', 'N', S, nq, nk, 1, h->k, ld, dp, ldp, 0, dq + q0 * ld, ld);
        rd_gemm_local('N', 'T', S, nk, nq, 1, h->q + q0 * ld, ld, dp, ldp, keep, dk, ld);
        rd_gemm_local('N', 'T', S, nk, nq, 1, dout + q0 * ldo, ldo, p, ldp, keep, dv, ld);
        keep = 1;
    }
}

void rd_attention_bwd(const rd_attention *a, int64_t n_seq, const int64_t *start, const float *qkv,
                      const float *out, const float *lse, const float *dout, float *dqkv)
{
    int64_t group = a->kv_heads > 0 ? a->heads / a->kv_heads : 1; /* a grid row may have no head */
    for (int64_t s = 0; s < n_seq; s++)
        for (int64_t head = 0; head < a->heads; head++) {
            int64_t first = start[s], n = start[s + 1] - first, kv = head / group;
            if (n == 0) continue;
            head_view h = view_head(a, qkv, first, n, head);
            float *column = dqkv + first * a->ld_qkv;
            head_bwd(a, &h, out + first * a->ld_out + head * a->size, lse + first * a->heads + head,
                     dout + first * a->ld_out + head * a->size, head % group == 0 ? 0 : 1,
                     column + head * a->size, column + (a->heads + kv) * a->size,
                     column + (a->heads + a->kv_heads + kv) * a->size);
        }
}
