/* decode.c: the transformer with a key-value cache: prefill and decoding of many sequences at once.
 *
 * All tokens of a call, whatever slots they belong to, go through one product per linear layer;
 * attention is per token over its slot's cache.  Every column of a product and every token's
 * attention is computed by the same chain of operations whatever is beside it (kernel.c), so a
 * sequence comes out the same, bit for bit, in any batch and for any split into prefill and decode.
 *
 * Cache layout, per slot and layer: blocks of 16 tokens one after the other; in a block, per
 * key-value head, the keys feature by feature (a vector of scores is then a sum of whole vectors),
 * then the values token by token, padded to whole vectors.  What a token attends to is one piece of
 * memory without holes.
 *
 * Slots are dealt over grid columns in turn, heads over grid rows as everywhere; a rank keeps the
 * cache of its heads of its slots. */
#include "ops.h"

#include <math.h>
#include <string.h>

enum { LANES = 16, UNROLL = 4 };
typedef float vec __attribute__((vector_size(64), aligned(4), may_alias));

struct rd_kv {
    rd_model_config cfg;
    const rd_grid *grid;
    int64_t heads, kv_heads; /* on this grid row */
    int64_t slots, max_len, max_T;
    int64_t cap;       /* max_len rounded up to whole blocks */
    int64_t padded;    /* head size rounded up to whole vectors */
    int64_t head_step; /* floats of one head in a block: keys, then values */
    int64_t block;     /* floats of one block, all heads */
    int64_t *length;   /* [slots] */
    int64_t *seen;     /* [slots] the call that used the slot last */
    int64_t calls;
    float *cache;
    rd_deal deal;       /* of the call's segments */
    int64_t *start;     /* [slots + 1] first token of each segment */
    int32_t *position;  /* [max_T] of each token here in its slot */
    int64_t *owner;     /* [max_T] its slot */
    double *sum;        /* [max_T] */
    float *arena;       /* the rest, for max_T tokens */
    float *x, *n, *inv; /* D x T, D x T, T */
    float *qkv, *att, *gu, *ffn;
    float *scores;  /* [cap] */
    float *rope;    /* [max_len][S] */
    float *vectors; /* [rd_vectors_size] */
    float *logits;  /* V x slots, this rank's part; 1 x 1 uses the caller's */
    float *passing; /* room for another rank's part */
    rd_lookup lookup;
};

static int64_t round_up(int64_t n)
{
    return (n + LANES - 1) / LANES * LANES;
}

int rd_kv_create(const rd_model *model, int64_t slots, int64_t max_len, int64_t max_T, rd_kv **out)
{
    int rc = RD_OK;
    const rd_model_config *c = &model->cfg;
    *out = NULL;
    if (slots < 1 || max_len < 1 || max_T < 1)
        RD_FAIL(RD_EINTERNAL, "a cache of %lld slots, %lld tokens each, %lld tokens a call",
                (long long)slots, (long long)max_len, (long long)max_T);
    if (model->parts != NULL) RD_FAIL(RD_EINTERNAL, "decoding wants an adapter merged");
    const rd_grid *g = model->grid;
    const rd_split *p = &model->layers->split;
    int64_t here = rd_dealt_count(slots, 1, g->my_col, g->cols);
    rd_kv *kv = rd_new(rd_kv, 1);
    kv->cfg = *c;
    kv->grid = g;
    kv->heads = p->heads;
    kv->kv_heads = p->kv_heads;
    kv->slots = slots;
    kv->max_len = max_len;
    kv->max_T = max_T;
    kv->cap = round_up(max_len);
    kv->padded = round_up(c->head_size);
    kv->head_step = LANES * (c->head_size + kv->padded);
    kv->block = kv->head_step * kv->kv_heads;
    kv->length = rd_new(int64_t, slots);
    kv->seen = rd_new(int64_t, slots);
    kv->cache = rd_new(float, here * c->layers * (kv->cap / LANES) * kv->block);
    kv->start = rd_new(int64_t, slots + 1);
    kv->position = rd_new(int32_t, max_T);
    kv->owner = rd_new(int64_t, max_T);
    kv->sum = rd_new(double, max_T);
    rd_deal_create(g, max_T, &kv->deal);
    rd_lookup_create(model, &kv->lookup);
    int64_t D = p->local[RD_WIDTH], F = p->local[RD_FFN];
    int64_t most = g->tp.size == 1 ? 0 : (slots + g->cols - 1) / g->cols;
    int64_t part = rd_dealt_count(c->vocab, p->block[RD_VOCAB], 0, g->rows); /* the largest */
    const struct {
        float **at;
        int64_t n;
    } list[] = {{&kv->x, D * max_T},
                {&kv->n, D * max_T},
                {&kv->inv, max_T},
                {&kv->qkv, p->qkv * max_T},
                {&kv->att, p->local[RD_QUERY] * max_T},
                {&kv->gu, 2 * F * max_T},
                {&kv->ffn, F * max_T},
                {&kv->scores, kv->cap},
                {&kv->rope, max_len * c->head_size},
                {&kv->vectors, rd_vectors_size(model)},
                {&kv->logits, part * most},
                {&kv->passing, part * most},
                {&kv->lookup.words, rd_lookup_words(model)},
                {&kv->lookup.tokens, rd_lookup_tokens(model)}};
    int64_t total = 0, n_list = sizeof(list) / sizeof(list[0]);
    for (int64_t i = 0; i < n_list; i++) total += round_up(list[i].n);
    kv->arena = rd_new(float, total);
    float *next = kv->arena;
    for (int64_t i = 0; i < n_list; i++) {
        *list[i].at = next;
        next += round_up(list[i].n);
    }
    rd_rope_table(c, max_len, kv->rope);
    *out = kv;
done:
    return rc;
}

void rd_kv_free(rd_kv **out)
{
    rd_kv *kv = *out;
    if (kv == NULL) return;
    rd_free(kv->length);
    rd_free(kv->seen);
    rd_free(kv->cache);
    rd_free(kv->start);
    rd_free(kv->sum);
    rd_deal_free(&kv->deal);
    rd_lookup_free(&kv->lookup);
    rd_free(kv->position);
    rd_free(kv->owner);
    rd_free(kv->arena);
    RD_FREE(*out);
}

int64_t rd_kv_length(const rd_kv *kv, int64_t slot)
{
    RD_ASSERT(slot >= 0 && slot < kv->slots);
    return kv->length[slot];
}

void rd_kv_truncate(rd_kv *kv, int64_t slot, int64_t len)
{
    RD_ASSERT(slot >= 0 && slot < kv->slots && len >= 0);
    if (len < kv->length[slot]) kv->length[slot] = len;
}

static int column_of(const rd_kv *kv, int64_t slot)
{
    return (int)(slot % kv->grid->cols);
}

/* The first block of a slot's layer, on the slot's grid column. */
static float *blocks_of(const rd_kv *kv, int64_t slot, int64_t layer)
{
    return kv->cache +
           (slot / kv->grid->cols * kv->cfg.layers + layer) * (kv->cap / LANES) * kv->block;
}

void rd_kv_fork(rd_kv *kv, int64_t from, int64_t to, int64_t len)
{
    RD_ASSERT(from >= 0 && from < kv->slots && to >= 0 && to < kv->slots);
    RD_ASSERT(len >= 0 && len <= kv->length[from]);
    kv->length[to] = len;
    if (from == to) return;
    int64_t n = round_up(len) / LANES * kv->block;
    int there = column_of(kv, from), here = column_of(kv, to), mine = kv->grid->my_col;
    if (mine != here && mine != there) return;
    for (int64_t l = 0; l < kv->cfg.layers; l++) {
        if (here == there)
            memcpy(blocks_of(kv, to, l), blocks_of(kv, from, l), (size_t)n * sizeof(float));
        else if (mine == there)
            rd_send_f32(&kv->grid->over_cols, blocks_of(kv, from, l), n, here);
        else
            rd_receive_f32(&kv->grid->over_cols, blocks_of(kv, to, l), n, there);
    }
}

/* ---------------------------------------------------------------- attention over the cache */

static void store_token(const rd_kv *kv, int64_t layer, int64_t slot, int64_t position,
                        const float *k, const float *v)
{
    int64_t S = kv->cfg.head_size, lane = position % LANES;
    float *keys = blocks_of(kv, slot, layer) + position / LANES * kv->block;
    for (int64_t h = 0; h < kv->kv_heads; h++) {
        for (int64_t d = 0; d < S; d++) keys[d * LANES + lane] = k[h * S + d];
        memcpy(keys + S * LANES + lane * kv->padded, v + h * S, (size_t)S * sizeof(float));
        keys += kv->head_step;
    }
}

/* Scores of one query against the keys of the first `blocks` blocks.  Several blocks run side by
 * side to hide the latency of the sums; each lane is one chain over the features in order.  The
 * cache of many slots is far larger than the processor's, so lines of the head that comes next are
 * asked for meanwhile. */
static void key_scores(int64_t S, int64_t blocks, int64_t block, const float *q, const float *keys,
                       const float *next, float *p)
{
    int64_t b = 0;
    for (; b + UNROLL <= blocks; b += UNROLL) {
        const float *k = keys + b * block, *soon = next + b * block;
        vec acc[UNROLL] = {{0}};
        for (int64_t d = 0; d < S; d++)
#pragma GCC unroll 4
            for (int u = 0; u < UNROLL; u++) {
                __builtin_prefetch(soon + u * block + d * LANES);
                acc[u] += *(const vec *)(k + u * block + d * LANES) * q[d];
            }
#pragma GCC unroll 4
        for (int u = 0; u < UNROLL; u++) *(vec *)(p + (b + u) * LANES) = acc[u];
    }
    for (; b < blocks; b++) {
        vec acc = {0};
        for (int64_t d = 0; d < S; d++) {
            __builtin_prefetch(next + b * block + d * LANES);
            acc += *(const vec *)(keys + b * block + d * LANES) * q[d];
        }
        *(vec *)(p + b * LANES) = acc;
    }
}

/* out = sum_j p_j values_j / sum over whole blocks (p is 0 beyond the last token), always the same
 * four partial sums. */
static void weigh_values(int64_t S, int64_t padded, int64_t blocks, int64_t block, const float *p,
                         double sum, const float *values, const float *next, float *out)
{
    float inverse = (float)(1.0 / sum);
    for (int64_t d = 0; d < S; d += LANES) {
        vec acc[UNROLL] = {{0}};
        for (int64_t b = 0; b < blocks; b++) {
            const float *v = values + b * block + d, *soon = next + b * block + d;
            const float *weight = p + b * LANES;
            for (int64_t j = 0; j < LANES; j += UNROLL)
#pragma GCC unroll 4
                for (int u = 0; u < UNROLL; u++) {
                    __builtin_prefetch(soon + (j + u) * padded);
                    acc[u] += *(const vec *)(v + (j + u) * padded) * weight[j + u];
                }
        }
        vec total = ((acc[0] + acc[1]) + (acc[2] + acc[3])) * inverse;
        int64_t width = S - d < LANES ? S - d : LANES;
        memcpy(out + d, &total, (size_t)width * sizeof(float));
    }
}

/* Attention of one token (already in the cache) with all its heads.  next_slot: whose turn is next.
 */
static void attend(const rd_kv *kv, int64_t layer, int64_t slot, int64_t next_slot,
                   int64_t position, const float *q, float *out)
{
    const rd_model_config *c = &kv->cfg;
    int64_t S = c->head_size, n = position + 1, group = c->heads / c->kv_heads;
    int64_t blocks = (n + LANES - 1) / LANES, whole = blocks * LANES;
    float scale = (float)(1.0 / sqrt((double)S));
    float *p = kv->scores, *first = blocks_of(kv, slot, layer);
    const float *after = blocks_of(kv, next_slot, layer);
    for (int64_t h = 0; h < kv->heads; h++) {
        const float *keys = first + h / group * kv->head_step, *next = keys;
        if (h % group == 0) next = h + group < kv->heads ? keys + kv->head_step : after;
        key_scores(S, blocks, kv->block, q + h * S, keys, next, p);
        for (int64_t j = n; j < whole; j++) p[j] = -INFINITY;
        float top = scale * rd_max_f32(whole, p);
        double sum = rd_exp_sum(whole, p, scale, top, p);
        weigh_values(S, kv->padded, blocks, kv->block, p, sum, keys + S * LANES, next + S * LANES,
                     out + h * S);
    }
}

/* ---------------------------------------------------------------- the pass */

/* Check the call, deal and number the tokens, and take the slots' new lengths. */
static int begin_extend(rd_kv *kv, int64_t n, const int64_t *slot, const int64_t *count,
                        const int32_t *tokens)
{
    int rc = RD_OK;
    int64_t t = 0, local = 0;
    kv->calls++;
    for (int64_t i = 0; i < n; i++) {
        int64_t s = slot[i], len = s >= 0 && s < kv->slots ? kv->length[s] : 0;
        if (s < 0 || s >= kv->slots || kv->seen[s] == kv->calls)
            RD_FAIL(RD_EINTERNAL, "slot %lld of %lld, or named twice", (long long)s,
                    (long long)kv->slots);
        kv->seen[s] = kv->calls;
        if (count[i] < 1 || t + count[i] > kv->max_T || len + count[i] > kv->max_len)
            RD_FAIL(RD_EINTERNAL, "%lld tokens for slot %lld, which holds %lld of %lld",
                    (long long)count[i], (long long)s, (long long)len, (long long)kv->max_len);
        kv->start[i] = t;
        kv->deal.column[t] = column_of(kv, s);
        for (int64_t k = 0; k < count[i]; k++, t++) {
            if (tokens[t] < 0 || tokens[t] >= kv->cfg.vocab)
                RD_FAIL(RD_EINTERNAL, "token %d, vocabulary %lld", tokens[t],
                        (long long)kv->cfg.vocab);
            if (column_of(kv, s) != kv->grid->my_col) continue;
            kv->position[local] = (int32_t)(len + k);
            kv->owner[local++] = s;
        }
    }
    kv->start[n] = t;
    for (int64_t i = 0; i < n; i++) kv->length[slot[i]] += count[i];
    rd_deal_fill(&kv->deal, n, kv->start);
done:
    return rc;
}

static int extend_layer(const rd_model *model, rd_kv *kv, int64_t l)
{
    int rc = RD_OK;
    const struct rd_model_layers *m = model->layers;
    const rd_layer *p = &m->layer[l];
    const rd_split *part = &m->split;
    int64_t S = kv->cfg.head_size, T = kv->deal.n, width = kv->deal.width;
    int64_t hs = part->local[RD_QUERY], ks = part->local[RD_KEY], q = part->qkv;
    rd_mat x, h, qkv[RD_PARTS], att, gu[RD_PARTS], ffn;
    RD_TRY(rd_view(model, RD_WIDTH, kv->x, width, &x));
    RD_TRY(rd_view(model, RD_WIDTH, kv->n, width, &h));
    RD_TRY(rd_view(model, RD_QUERY, kv->att, width, &att));
    RD_TRY(rd_view(model, RD_FFN, kv->ffn, width, &ffn));
    RD_TRY(rd_view_qkv(model, kv->qkv, width, qkv));
    RD_TRY(rd_view_gate_up(model, kv->gu, width, gu));

    rd_norm_fwd(model, T, kv->x, rd_norm_weight(model, kv->vectors, 2 * l), kv->n, kv->inv,
                kv->sum);
    RD_TRY(rd_linears_fwd(m->n_qkv, p->qkv, &h, qkv));
    rd_bias_add(q, T, 1, rd_bias(model, kv->vectors, l), kv->qkv);
    rd_rope(kv->heads + kv->kv_heads, S, T, kv->position, kv->rope, 1, kv->qkv, q);
    for (int64_t t = 0; t < T; t++) {
        const float *column = kv->qkv + t * q;
        store_token(kv, l, kv->owner[t], kv->position[t], column + hs, column + hs + ks);
        int64_t next = kv->owner[t + 1 < T ? t + 1 : t];
        attend(kv, l, kv->owner[t], next, kv->position[t], column, kv->att + t * hs);
    }
    RD_TRY(rd_linear_fwd_add(&p->o, &att, &x));

    rd_norm_fwd(model, T, kv->x, rd_norm_weight(model, kv->vectors, 2 * l + 1), kv->n, kv->inv,
                kv->sum);
    RD_TRY(rd_linears_fwd(m->n_gate_up, p->gate_up, &h, gu));
    rd_swiglu_fwd(part->local[RD_FFN], T, kv->gu, kv->ffn);
    RD_TRY(rd_linear_fwd_add(&p->down, &ffn, &x));
done:
    return rc;
}

/* Rows of z that a rank of the replica holds. */
static int64_t rows_of(const rd_kv *kv, const rd_mat *z, int rank)
{
    return rd_dealt_count(z->m, z->mb, rank / kv->grid->cols, kv->grid->rows);
}

/* Put the logits that a rank of the replica computed, lm x width, where the caller wants them. */
static void place_logits(const rd_kv *kv, const rd_mat *z, int rank, int64_t n, const int64_t *slot,
                         const float *piece, float *logits)
{
    int row = rank / kv->grid->cols, col = rank % kv->grid->cols;
    int64_t lm = rows_of(kv, z, rank), nb = z->mb;
    for (int64_t i = 0; i < n; i++) {
        if (column_of(kv, slot[i]) != col) continue;
        float *to = logits + i * z->m + row * nb;
        for (int64_t v = 0; v < lm; v += nb, to += kv->grid->rows * nb)
            memcpy(to, piece + v, (size_t)(v + nb < lm ? nb : lm - v) * sizeof(float));
        piece += lm;
    }
}

/* The logits of n segments on every rank, the same bits, by passing the ranks' pieces round: a sum
 * over zeros would send twice as much, and a gather would hold everything twice. */
static void share_logits(rd_kv *kv, const rd_mat *z, int64_t width, int64_t n, const int64_t *slot,
                         float *logits)
{
    const rd_comm *tp = &kv->grid->tp;
    float *piece = kv->logits, *next = kv->passing;
    for (int step = 0; step < tp->size; step++) {
        int whose = (tp->rank - step + tp->size) % tp->size;
        int before = (whose - 1 + tp->size) % tp->size;
        place_logits(kv, z, whose, n, slot, piece, logits);
        if (step + 1 == tp->size) break;
        rd_shift_f32(tp, piece, rows_of(kv, z, whose) * width, next,
                     rows_of(kv, z, before) * width);
        float *swap = piece;
        piece = next;
        next = swap;
    }
}

/* Final norm and head of the last token of each of n segments. */
static int extend_head(const rd_model *model, rd_kv *kv, int64_t n, const int64_t *slot,
                       float *logits)
{
    int rc = RD_OK;
    const rd_deal *d = &kv->deal;
    int64_t D = model->layers->split.local[RD_WIDTH], width = 0;
    bool alone = kv->grid->tp.size == 1;
    rd_mat h, z;
    for (int64_t i = 0; i < d->n_seq; i++) {
        int64_t last = d->start[i + 1] - 1;
        if (last != i) memcpy(kv->x + i * D, kv->x + last * D, (size_t)D * sizeof(float));
    }
    rd_norm_fwd(model, d->n_seq, kv->x, rd_norm_weight(model, kv->vectors, 2 * kv->cfg.layers),
                kv->n, kv->inv, kv->sum);
    for (int c = 0; c < d->cols; c++) {
        int64_t segments = 0;
        for (int64_t i = 0; i < n; i++) segments += column_of(kv, slot[i]) == c;
        if (segments > width) width = segments;
    }
    RD_TRY(rd_view(model, RD_WIDTH, kv->n, width, &h));
    RD_TRY(rd_view(model, RD_VOCAB, alone ? logits : kv->logits, width, &z));
    RD_TRY(rd_linear_fwd(&model->layers->head, &h, &z));
    if (!alone) share_logits(kv, &z, width, n, slot, logits);
done:
    return rc;
}

int rd_model_extend(const rd_model *model, rd_kv *kv, int64_t n, const int64_t *slot,
                    const int64_t *count, const int32_t *tokens, float *logits)
{
    int rc = RD_OK;
    RD_TRY(begin_extend(kv, n, slot, count, tokens));
    if (n == 0) return RD_OK;
    rd_vectors_fetch(model, kv->vectors);
    rd_lookup_fwd(&model->layers->embed, &kv->deal, tokens, &kv->lookup, kv->x);
    for (int64_t l = 0; l < kv->cfg.layers; l++) RD_TRY(extend_layer(model, kv, l));
    RD_TRY(extend_head(model, kv, n, slot, logits));
done:
    return rc;
}
