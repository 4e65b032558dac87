/* attention.c: causal grouped-query attention inside each sequence, forward and backward.
 *
 * Blocks of QUERIES queries meet blocks of KEYS keys; of the scores no more than one block ever
 * exists.  Forward, softmax is taken as the keys pass (arXiv 2205.14135, algorithm 1): a larger
 * score shrinks what was summed before.  Probabilities are not kept: the backward pass makes them
 * again from the log-sum-exp of each row (section 3.1 there).
 *
 * In a block, scores lie key by key, with the queries in the lanes of vectors: softmax needs no
 * sums within a vector, and of the products
 *
 *   S = Q K^T, dP = dO V^T                     "meet": queries in lanes, features summed
 *   O = P V, dQ = dS K, dK = dS^T Q, dV = P^T dO   "mix": features in lanes, rows weighed and
 * summed
 *
 * only the first two want something transposed, which is the queries' side: once per block of
 * queries, not of keys.  Every number is one chain of multiply-adds in the order of its sum,
 * whatever the tile; keys that a query must not see weigh 0.  So a token's attention does not
 * depend on what lies behind it or beside it.
 *
 * Forward, threads share the blocks of queries; backward the heads, because the gradients of keys
 * and values sum over queries.  Heads that share keys write theirs apart, to be added in their
 * order. */
#include "ops.h"

#include <math.h>
#include <string.h>

enum { QUERIES = 48, KEYS = 64, WHOLE = 16 /* floats of the widest vectors */ };

/* ---------------------------------------------------------------- scratch */

/* One thread's.  Sp is the head size in whole vectors. */
typedef struct block {
    float *qt, *dot;      /* Sp x QUERIES transposed: queries; dO */
    float *p, *dp;        /* KEYS x QUERIES */
    float *sum;           /* QUERIES x Sp: O or dQ */
    float *k, *v, *q, *d; /* copies padded to Sp, where S is no multiple of a vector */
    float *top, *shrink;  /* [QUERIES] the largest score so far; what a new one does to sums */
    float *lse, *delta;   /* [QUERIES] */
    double *total;        /* [QUERIES] of exponentials */
} block;

static int64_t whole(int64_t n)
{
    return (n + WHOLE - 1) / WHOLE * WHOLE;
}

/* Cuts a thread's floats into its arrays; with base NULL it only counts them. */
static int64_t cut(float *base, int64_t Sp, block *b)
{
    int64_t used = 0;
    const struct {
        float **a;
        int64_t n;
    } list[] = {{&b->qt, Sp * QUERIES},   {&b->dot, Sp * QUERIES}, {&b->p, KEYS * QUERIES},
                {&b->dp, KEYS * QUERIES}, {&b->sum, QUERIES * Sp}, {&b->k, KEYS * Sp},
                {&b->v, KEYS * Sp},       {&b->q, QUERIES * Sp},   {&b->d, QUERIES * Sp},
                {&b->top, QUERIES},       {&b->shrink, QUERIES},   {&b->lse, QUERIES},
                {&b->delta, QUERIES}};
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        *list[i].a = base == NULL ? NULL : base + used;
        used += list[i].n;
    }
    b->total = base == NULL ? NULL : (double *)(void *)(base + used);
    return used + 2 * QUERIES;
}

int64_t rd_attention_scratch(int64_t size, int threads)
{
    block b;
    return threads * cut(NULL, whole(size), &b);
}

int64_t rd_attention_partial(int64_t heads, int64_t size)
{
    return heads * 2 * whole(size);
}

static block my_block(const rd_attention *a)
{
    block b;
    int64_t n = cut(NULL, whole(a->size), &b);
    cut(a->scratch + rd_thread() * n, whole(a->size), &b);
    return b;
}

static int team(const rd_attention *a)
{
    return rd_threads() < a->threads ? rd_threads() : a->threads;
}

/* ---------------------------------------------------------------- leaf kernels */

#define LEAF "attention_leaf.h"
#include "both_widths.h"

typedef void meet_fn(int64_t nq, int64_t n, int64_t S, const float *t, const float *rows,
                     int64_t ld, float *c);
typedef void mix_fn(bool add, int64_t Sp, int64_t n_out, int64_t n, const float *w,
                    const float *rows, int64_t ld, float *out, int64_t ldo);
typedef void transpose_fn(int64_t n, int64_t Sp, const float *rows, int64_t ld, float *t);

/* ---------------------------------------------------------------- rows in and out */

/* Rows that can be read in whole vectors: these, or a copy with zeros after S. */
static const float *padded_rows(int64_t n, int64_t S, const float *rows, int64_t *ld, float *copy)
{
    int64_t Sp = whole(S);
    if (Sp == S) return rows;
    for (int64_t r = 0; r < n; r++) {
        memcpy(copy + r * Sp, rows + r * *ld, (size_t)S * sizeof(float));
        memset(copy + r * Sp + S, 0, (size_t)(Sp - S) * sizeof(float));
    }
    *ld = Sp;
    return copy;
}

RD_CLONES
static void shrink_rows(int64_t n, int64_t Sp, const float *by, float *rows)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t f = 0; f < Sp; f++) rows[i * Sp + f] *= by[i];
}

/* ---------------------------------------------------------------- forward */

/* One query head of one sequence: where its columns start, n tokens of them. */
typedef struct head_view {
    const float *q, *k, *v;
    int64_t ld, n;
} head_view;

static head_view view_head(const rd_attention *a, const float *qkv, int64_t first, int64_t n,
                           int64_t head)
{
    int64_t kv = head / (a->heads / a->kv_heads);
    const float *column = qkv + first * a->ld_qkv;
    return (head_view){column + head * a->size, column + (a->heads + kv) * a->size,
                       column + (a->heads + a->kv_heads + kv) * a->size, a->ld_qkv, n};
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Queries [q0, q0 + QUERIES) of a head. */
static void queries_fwd(const rd_attention *a, const head_view *h, int64_t q0, float *out,
                        float *lse)
{
    bool wide = rd_is_wide();
    meet_fn *meet = wide ? meet_16 : meet_8;
    mix_fn *mix = wide ? mix_keys_16 : mix_keys_8;
    transpose_fn *transpose = wide ? transpose_rows_16 : transpose_rows_8;
    block b = my_block(a);
    float scale = (float)(1.0 / sqrt((double)a->size));
    int64_t S = a->size, Sp = whole(S), nq = least(h->n - q0, QUERIES), ldq = h->ld;
    const float *q = padded_rows(nq, S, h->q + q0 * h->ld, &ldq, b.q);
    transpose(nq, Sp, q, ldq, b.qt);
    for (int i = 0; i < QUERIES; i++) b.top[i] = -INFINITY, b.total[i] = 0;
    for (int64_t k0 = 0; k0 < q0 + nq; k0 += KEYS) {
        int64_t nk = least(q0 + nq - k0, KEYS), ldk = h->ld, ldv = h->ld;
        const float *k = padded_rows(nk, S, h->k + k0 * h->ld, &ldk, b.k);
        const float *v = padded_rows(nk, S, h->v + k0 * h->ld, &ldv, b.v);
        meet(nq, nk, S, b.qt, k, ldk, b.p);
        (wide ? soften_16 : soften_8)(nq, nk, q0 - k0, scale, b.p, b.top, b.shrink, b.total);
        if (k0 > 0) shrink_rows(nq, Sp, b.shrink, b.sum);
        mix(k0 > 0, Sp, nq, nk, b.p, v, ldv, b.sum, Sp);
    }
    for (int64_t i = 0; i < nq; i++) {
        float inverse = (float)(1 / b.total[i]);
        lse[(q0 + i) * a->heads] = (float)((double)b.top[i] + log(b.total[i]));
        for (int64_t f = 0; f < S; f++) out[(q0 + i) * a->ld_out + f] = b.sum[i * Sp + f] * inverse;
    }
}

void rd_attention_fwd(const rd_attention *a, int64_t n_seq, const int64_t *start, const float *qkv,
                      float *out, float *lse)
{
    int64_t blocks = (a->max_len + QUERIES - 1) / QUERIES;
#pragma omp parallel for num_threads(team(a)) schedule(dynamic) if (start[n_seq] > QUERIES)
    for (int64_t unit = 0; unit < n_seq * a->heads * blocks; unit++) {
        int64_t s = unit / (a->heads * blocks), head = unit / blocks % a->heads;
        /* The longest first. */
        int64_t q0 = (blocks - 1 - unit % blocks) * QUERIES;
        head_view h = view_head(a, qkv, start[s], start[s + 1] - start[s], head);
        if (q0 < h.n)
            queries_fwd(a, &h, q0, out + start[s] * a->ld_out + head * a->size,
                        lse + start[s] * a->heads + head);
    }
}

/* ---------------------------------------------------------------- backward */

/* Gradients of one query head in one sequence; of keys and values: what this head adds, dkv. Blocks
 * run from the last, whose keys are all keys: it overwrites dkv, so that nothing is zeroed. */
static void head_bwd(const rd_attention *a, const head_view *h, const float *out, const float *lse,
                     const float *dout, float *dq, float *dkv)
{
    bool wide = rd_is_wide();
    meet_fn *meet = wide ? meet_16 : meet_8;
    mix_fn *over_keys = wide ? mix_keys_16 : mix_keys_8;
    mix_fn *over_queries = wide ? mix_queries_16 : mix_queries_8;
    transpose_fn *transpose = wide ? transpose_rows_16 : transpose_rows_8;
    block b = my_block(a);
    float scale = (float)(1.0 / sqrt((double)a->size));
    int64_t S = a->size, Sp = whole(S), ldkv = rd_attention_partial(a->heads, S);
    int64_t last = (h->n - 1) / QUERIES * QUERIES;
    for (int64_t q0 = last; q0 >= 0; q0 -= QUERIES) {
        int64_t nq = least(h->n - q0, QUERIES), ldq = h->ld, ldd = a->ld_out;
        const float *q = padded_rows(nq, S, h->q + q0 * h->ld, &ldq, b.q);
        const float *d = padded_rows(nq, S, dout + q0 * a->ld_out, &ldd, b.d);
        transpose(nq, Sp, q, ldq, b.qt);
        transpose(nq, Sp, d, ldd, b.dot);
        for (int64_t i = 0; i < QUERIES; i++) {
            int64_t t = (q0 + i) * a->ld_out;
            b.lse[i] = i < nq ? lse[(q0 + i) * a->heads] : INFINITY;
            b.delta[i] = i < nq ? (float)rd_dot(S, out + t, dout + t) : 0;
        }
        for (int64_t k0 = 0; k0 < q0 + nq; k0 += KEYS) {
            int64_t nk = least(q0 + nq - k0, KEYS), ldk = h->ld, ldv = h->ld;
            const float *k = padded_rows(nk, S, h->k + k0 * h->ld, &ldk, b.k);
            const float *v = padded_rows(nk, S, h->v + k0 * h->ld, &ldv, b.v);
            meet(nq, nk, S, b.qt, k, ldk, b.p);
            meet(nq, nk, S, b.dot, v, ldv, b.dp);
            (wide ? soften_bwd_16 : soften_bwd_8)(nq, nk, q0 - k0, scale, b.lse, b.delta, b.p,
                                                  b.dp);
            over_keys(k0 > 0, Sp, nq, nk, b.dp, k, ldk, b.sum, Sp);
            float *dk = dkv + k0 * ldkv;
            over_queries(q0 < last, Sp, nk, nq, b.dp, q, ldq, dk, ldkv);
            over_queries(q0 < last, Sp, nk, nq, b.p, d, ldd, dk + Sp, ldkv);
        }
        for (int64_t i = 0; i < nq; i++)
            memcpy(dq + (q0 + i) * h->ld, b.sum + i * Sp, (size_t)S * sizeof(float));
    }
}

/* Gradients of a token's keys and values, of what the heads that share them have added. */
RD_CLONES
static void add_heads(const rd_attention *a, const float *partial, float *dk, float *dv)
{
    int64_t S = a->size, Sp = whole(S), group = a->heads / a->kv_heads;
    for (int64_t head = 0; head < a->heads; head++) {
        const float *from = partial + head * 2 * Sp;
        float *k = dk + head / group * S, *v = dv + head / group * S;
        bool first = head % group == 0;
        for (int64_t f = 0; f < S; f++) k[f] = (first ? 0 : k[f]) + from[f];
        for (int64_t f = 0; f < S; f++) v[f] = (first ? 0 : v[f]) + from[Sp + f];
    }
}

void rd_attention_bwd(const rd_attention *a, int64_t n_seq, const int64_t *start, const float *qkv,
                      const float *out, const float *lse, const float *dout, float *dqkv)
{
    int64_t step = rd_attention_partial(a->heads, a->size), T = start[n_seq];
#pragma omp parallel for num_threads(team(a)) schedule(dynamic) if (T > QUERIES)
    for (int64_t unit = 0; unit < n_seq * a->heads; unit++) {
        int64_t s = unit / a->heads, head = unit % a->heads, first = start[s];
        head_view h = view_head(a, qkv, first, start[s + 1] - first, head);
        if (h.n == 0) continue;
        head_bwd(a, &h, out + first * a->ld_out + head * a->size, lse + first * a->heads + head,
                 dout + first * a->ld_out + head * a->size,
                 dqkv + first * a->ld_qkv + head * a->size,
                 a->partial + first * step + head * 2 * whole(a->size));
    }
#pragma omp parallel for num_threads(team(a)) schedule(static) if (T > QUERIES)
    for (int64_t t = 0; t < T; t++) {
        float *column = dqkv + t * a->ld_qkv;
        if (a->kv_heads > 0) /* a grid row may have no head */
            add_heads(a, a->partial + t * step, column + a->heads * a->size,
                      column + (a->heads + a->kv_heads) * a->size);
    }
}
