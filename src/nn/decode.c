/* decode.c: the transformer with a key-value cache: prefill and decoding of many sequences at once.
 *
 * All tokens of a call, whatever slots they belong to, go through one product per linear layer;
 * attention is over each token's slot.  Every column of a product and every token's attention is
 * computed by the same chain of operations whatever is beside it (kernel.c), so a sequence comes
 * out the same, bit for bit, in any batch and for any split into prefill and decode.
 *
 * The cache is a pool of blocks of 16 tokens; a slot is a list of blocks.  A fork shares the blocks
 * of its origin, and who writes to a block that others hold takes a copy of it first: a prompt that
 * many sequences begin with is in memory once, and near the processor while their attention reads
 * it.  In a block, per key-value head, lie the keys feature by feature (a vector of scores is then
 * a sum of whole vectors), then the values token by token, padded to whole vectors.
 *
 * Slots are dealt over grid columns in turn, each with a pool of its own, heads over grid rows as
 * everywhere; a rank keeps the cache of its heads of its slots.  Which blocks a slot has is known
 * on every rank. */
#include "ops.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK = 16, /* tokens of a block; values are padded to as many */
    SUMS = 4,   /* partial sums of weighted values */
    TILE = 4,   /* queries that go over the cache together */
    PIECE = 16  /* tokens of a slot whose attention is one thread's */
};

/* The blocks of one grid column's slots. */
typedef struct pool {
    int64_t n_free;
    int32_t *free;    /* [blocks] the first n_free are to be had, the last of them first */
    int32_t *holders; /* [blocks] slots that have it */
} pool;

/* Tokens of one slot in a call whose attention is computed together. */
typedef struct stretch {
    int64_t slot, first, count; /* first: among this column's tokens */
} stretch;

struct rd_kv {
    rd_model_config cfg;
    const rd_grid *grid;
    int64_t heads, kv_heads; /* on this grid row */
    int64_t slots, max_len, max_T;
    int64_t cap;       /* max_len rounded up to whole blocks */
    int64_t padded;    /* head size rounded up to whole vectors */
    int64_t head_step; /* floats of one head in a block: keys, then values */
    int64_t block;     /* floats of one block, all heads */
    int64_t blocks;    /* of a pool */
    int64_t *length;   /* [slots] */
    int64_t *same;     /* [slots] the slot of extend_all, over and over */
    int64_t *seen;     /* [slots] the call that used the slot last */
    int64_t calls;
    int32_t *table; /* [slots][cap / BLOCK] its blocks */
    pool *pools;    /* [grid columns] */
    float *cache;   /* [layers][blocks][block] of this column's pool */
    int64_t n_pieces;
    stretch *pieces;    /* [max_T] */
    int threads;        /* for which there is scratch */
    rd_deal deal;       /* of the call's segments */
    int64_t *start;     /* [slots + 1] first token of each segment */
    int32_t *position;  /* [max_T] of each token here in its slot */
    double *sum;        /* [max_T] */
    float *arena;       /* the rest, for max_T tokens */
    float *x, *n, *inv; /* D x T, D x T, T */
    float *qkv, *att, *gu, *ffn;
    float *scores;  /* [threads][TILE][cap + head size]: scores, queries */
    float *rope;    /* [max_len][S] */
    float *vectors; /* [rd_vectors_size] */
    float *logits;  /* V x slots, this rank's part; 1 x 1 uses the caller's */
    float *passing; /* room for another rank's part */
    rd_lookup lookup;
};

static int64_t round_up(int64_t n)
{
    return (n + BLOCK - 1) / BLOCK * BLOCK;
}

static int64_t blocks_for(int64_t tokens)
{
    return (tokens + BLOCK - 1) / BLOCK;
}

/* Floats of one thread's scratch. */
static int64_t scratch_of(const rd_kv *kv)
{
    return TILE * (kv->cap + round_up(kv->cfg.head_size));
}

static void create_pools(rd_kv *kv)
{
    kv->table = rd_new(int32_t, kv->slots * (kv->cap / BLOCK));
    kv->pools = rd_new(pool, kv->grid->cols);
    for (int c = 0; c < kv->grid->cols; c++) {
        pool *p = &kv->pools[c];
        p->free = rd_new(int32_t, kv->blocks);
        p->holders = rd_new(int32_t, kv->blocks);
        for (int64_t b = kv->blocks; b > 0; b--) p->free[p->n_free++] = (int32_t)(b - 1);
    }
    kv->cache = rd_new_untouched(float, kv->cfg.layers * kv->blocks * kv->block);
}

int rd_kv_create_pooled(const rd_model *model, int64_t slots, int64_t max_len, int64_t max_T,
                        int64_t tokens, rd_kv **out)
{
    int rc = RD_OK;
    const rd_model_config *c = &model->cfg;
    *out = NULL;
    if (slots < 1 || max_len < 1 || max_T < 1 || tokens < 1)
        RD_FAIL(RD_EINTERNAL, "a cache of %lld slots, %lld tokens each, %lld tokens a call",
                (long long)slots, (long long)max_len, (long long)max_T);
    if (model->parts != NULL) RD_FAIL(RD_EINTERNAL, "decoding wants an adapter merged");
    const rd_grid *g = model->grid;
    const rd_split *p = &model->layers->split;
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
    kv->head_step = BLOCK * (c->head_size + kv->padded);
    kv->block = kv->head_step * kv->kv_heads;
    kv->blocks = blocks_for(tokens);
    kv->threads = rd_threads();
    kv->length = rd_new(int64_t, slots);
    kv->same = rd_new(int64_t, slots);
    kv->seen = rd_new(int64_t, slots);
    create_pools(kv);
    kv->pieces = rd_new(stretch, max_T);
    kv->start = rd_new(int64_t, slots + 1);
    kv->position = rd_new(int32_t, max_T);
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
                {&kv->scores, kv->threads * scratch_of(kv)},
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

int rd_kv_create(const rd_model *model, int64_t slots, int64_t max_len, int64_t max_T, rd_kv **out)
{
    int64_t cols = model->grid->cols, each = (slots + cols - 1) / cols;
    return rd_kv_create_pooled(model, slots, max_len, max_T, each * round_up(max_len), out);
}

void rd_kv_free(rd_kv **out)
{
    rd_kv *kv = *out;
    if (kv == NULL) return;
    for (int c = 0; c < kv->grid->cols; c++) {
        rd_free(kv->pools[c].free);
        rd_free(kv->pools[c].holders);
    }
    rd_free(kv->pools);
    rd_free(kv->table);
    rd_free(kv->length);
    rd_free(kv->same);
    rd_free(kv->seen);
    rd_free(kv->cache);
    rd_free(kv->pieces);
    rd_free(kv->start);
    rd_free(kv->sum);
    rd_deal_free(&kv->deal);
    rd_lookup_free(&kv->lookup);
    rd_free(kv->position);
    rd_free(kv->arena);
    RD_FREE(*out);
}

/* ---------------------------------------------------------------- blocks */

int64_t rd_kv_length(const rd_kv *kv, int64_t slot)
{
    RD_ASSERT(slot >= 0 && slot < kv->slots);
    return kv->length[slot];
}

static int column_of(const rd_kv *kv, int64_t slot)
{
    return (int)(slot % kv->grid->cols);
}

static int32_t *table_of(const rd_kv *kv, int64_t slot)
{
    return kv->table + slot * (kv->cap / BLOCK);
}

/* A layer's part of the pool of this column. */
static float *layer_of(const rd_kv *kv, int64_t layer)
{
    return kv->cache + layer * kv->blocks * kv->block;
}

static int32_t take_block(pool *p)
{
    RD_ASSERT(p->n_free > 0);
    int32_t b = p->free[--p->n_free];
    p->holders[b] = 1;
    return b;
}

static void let_go(pool *p, int32_t b)
{
    if (--p->holders[b] == 0) p->free[p->n_free++] = b;
}

void rd_kv_truncate(rd_kv *kv, int64_t slot, int64_t len)
{
    RD_ASSERT(slot >= 0 && slot < kv->slots && len >= 0);
    pool *p = &kv->pools[column_of(kv, slot)];
    if (len >= kv->length[slot]) return;
    for (int64_t b = blocks_for(len); b < blocks_for(kv->length[slot]); b++)
        let_go(p, table_of(kv, slot)[b]);
    kv->length[slot] = len;
}

/* Does a slot's last block have room and other holders?  Then writing to it costs one. */
static bool must_copy(const rd_kv *kv, int64_t slot)
{
    int64_t len = kv->length[slot];
    const pool *p = &kv->pools[column_of(kv, slot)];
    return len % BLOCK != 0 && p->holders[table_of(kv, slot)[len / BLOCK]] > 1;
}

static int64_t blocks_needed(const rd_kv *kv, int64_t slot, int64_t count)
{
    int64_t len = kv->length[slot];
    return blocks_for(len + count) - blocks_for(len) + must_copy(kv, slot);
}

bool rd_kv_fits(const rd_kv *kv, int64_t n, const int64_t *slot, const int64_t *count)
{
    for (int c = 0; c < kv->grid->cols; c++) {
        int64_t needed = 0;
        for (int64_t i = 0; i < n; i++)
            if (column_of(kv, slot[i]) == c) needed += blocks_needed(kv, slot[i], count[i]);
        if (needed > kv->pools[c].n_free) return false;
    }
    return true;
}

int64_t rd_kv_room(const rd_kv *kv, int64_t slot)
{
    return BLOCK * kv->pools[column_of(kv, slot)].n_free;
}

/* Blocks for `count` more tokens of a slot, to which it can write. */
static void grow(rd_kv *kv, int64_t slot, int64_t count)
{
    int column = column_of(kv, slot);
    pool *p = &kv->pools[column];
    int32_t *table = table_of(kv, slot);
    int64_t len = kv->length[slot];
    if (must_copy(kv, slot)) {
        int32_t shared = table[len / BLOCK], own = take_block(p);
        size_t bytes = (size_t)kv->block * sizeof(float);
        for (int64_t l = 0; l < kv->cfg.layers && column == kv->grid->my_col; l++)
            memcpy(layer_of(kv, l) + own * kv->block, layer_of(kv, l) + shared * kv->block, bytes);
        let_go(p, shared);
        table[len / BLOCK] = own;
    }
    for (int64_t b = blocks_for(len); b < blocks_for(len + count); b++) table[b] = take_block(p);
    kv->length[slot] = len + count;
}

void rd_kv_fork(rd_kv *kv, int64_t from, int64_t to, int64_t len)
{
    RD_ASSERT(from >= 0 && from < kv->slots && to >= 0 && to < kv->slots);
    RD_ASSERT(len >= 0 && len <= kv->length[from]);
    int there = column_of(kv, from), here = column_of(kv, to), mine = kv->grid->my_col;
    const int32_t *origin = table_of(kv, from);
    int32_t *table = table_of(kv, to);
    rd_kv_truncate(kv, to, from == to ? len : 0);
    if (from == to) return;
    if (here == there) {
        for (int64_t b = 0; b < blocks_for(len); b++) {
            table[b] = origin[b];
            kv->pools[here].holders[table[b]]++;
        }
        kv->length[to] = len;
        return;
    }
    grow(kv, to, len);
    if (mine != here && mine != there) return;
    for (int64_t l = 0; l < kv->cfg.layers; l++)
        for (int64_t b = 0; b < blocks_for(len); b++) {
            if (mine == there)
                rd_send_f32(&kv->grid->over_cols, layer_of(kv, l) + origin[b] * kv->block,
                            kv->block, here);
            else
                rd_receive_f32(&kv->grid->over_cols, layer_of(kv, l) + table[b] * kv->block,
                               kv->block, there);
        }
}

/* ---------------------------------------------------------------- attention over the cache */

/* The blocks of one head of a slot's layer: block b at at[table[b] * step], keys, then values. */
typedef struct head_blocks {
    const float *at;
    const int32_t *table;
    int64_t step;
} head_blocks;

static void store_token(const rd_kv *kv, int64_t layer, int64_t slot, int64_t position,
                        const float *k, const float *v)
{
    int64_t S = kv->cfg.head_size, lane = position % BLOCK;
    float *keys = layer_of(kv, layer) + table_of(kv, slot)[position / BLOCK] * kv->block;
    for (int64_t h = 0; h < kv->kv_heads; h++) {
        for (int64_t d = 0; d < S; d++) keys[d * BLOCK + lane] = k[h * S + d];
        memcpy(keys + S * BLOCK + lane * kv->padded, v + h * S, (size_t)S * sizeof(float));
        keys += kv->head_step;
    }
}

#define LEAF "decode_leaf.h"
#include "both_widths.h"

/* Attention of nq queries at positions in the same slot and under the same key-value head.  What
 * lies beyond a query's own position, up to the tile's last block, gets weight 0. */
static void attend_tile(const rd_kv *kv, head_blocks h, int nq, const float *const *query,
                        const int32_t *position, float *const *out, float *scratch)
{
    int64_t S = kv->cfg.head_size, ld = kv->cap, last = 0;
    float scale = (float)(1.0 / sqrt((double)S)), *p = scratch, *q = scratch + TILE * ld;
    float inverse[TILE];
    for (int i = 0; i < nq; i++) {
        for (int64_t d = 0; d < S; d++) q[d * TILE + i] = query[i][d];
        if (position[i] > last) last = position[i];
    }
    int64_t blocks = blocks_for(last + 1);
    const bool wide = rd_is_wide();
    (wide ? key_scores_16 : key_scores_8)(nq, S, blocks, h, q, p, ld);
    for (int i = 0; i < nq; i++) {
        float *row = p + i * ld;
        int64_t n = position[i] + 1, whole = round_up(n);
        for (int64_t j = n; j < whole; j++) row[j] = -INFINITY;
        float top = scale * rd_max_f32(whole, row);
        inverse[i] = (float)(1.0 / rd_exp_sum(whole, row, scale, top, row));
        memset(row + whole, 0, (size_t)(blocks * BLOCK - whole) * sizeof(float));
    }
    (wide ? weigh_values_16 : weigh_values_8)(nq, S, kv->padded, blocks, h, p, ld, inverse, out);
}

/* The tokens of a piece (already in the cache) with the heads that share key-value head k. */
static void attend(const rd_kv *kv, int64_t layer, const stretch *w, int64_t k, float *scratch)
{
    int64_t S = kv->cfg.head_size, group = kv->heads / kv->kv_heads;
    int64_t hs = kv->heads * S, column = hs + 2 * kv->kv_heads * S;
    head_blocks h = {layer_of(kv, layer) + k * kv->head_step, table_of(kv, w->slot), kv->block};
    for (int64_t i = 0; i < w->count * group; i += TILE) {
        const float *query[TILE];
        float *out[TILE];
        int32_t position[TILE];
        int nq = 0;
        for (int64_t j = i; j < w->count * group && nq < TILE; j++, nq++) {
            int64_t t = w->first + j / group, head = k * group + j % group;
            query[nq] = kv->qkv + t * column + head * S;
            out[nq] = kv->att + t * hs + head * S;
            position[nq] = kv->position[t];
        }
        attend_tile(kv, h, nq, query, position, out, scratch);
    }
}

/* Keys and values of the call's tokens go to the cache, then all attend.  Pieces of one head stand
 * together: what slots share is read once into the processor's cache. */
static void attend_all(rd_kv *kv, int64_t layer)
{
    int64_t S = kv->cfg.head_size, hs = kv->heads * S, ks = kv->kv_heads * S, n = kv->n_pieces;
    int threads = rd_threads() < kv->threads ? rd_threads() : kv->threads;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        float *scratch = kv->scores + rd_thread() * scratch_of(kv);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n; i++)
            for (int64_t t = kv->pieces[i].first; t < kv->pieces[i].first + kv->pieces[i].count;
                 t++) {
                const float *key = kv->qkv + t * (hs + 2 * ks) + hs;
                store_token(kv, layer, kv->pieces[i].slot, kv->position[t], key, key + ks);
            }
#pragma omp for schedule(static, 1)
        for (int64_t i = 0; i < n * kv->kv_heads; i++)
            attend(kv, layer, &kv->pieces[i % n], i / n, scratch);
    }
}

/* ---------------------------------------------------------------- the pass */

/* Cut a slot's `count` tokens here, the first of which stands at `position`, into pieces. */
static void add_pieces(rd_kv *kv, int64_t slot, int64_t first, int64_t position, int64_t count)
{
    for (int64_t k = 0; k < count; k++) kv->position[first + k] = (int32_t)(position + k);
    for (int64_t k = 0; k < count; k += PIECE)
        kv->pieces[kv->n_pieces++] =
            (stretch){slot, first + k, count - k < PIECE ? count - k : PIECE};
}

/* Check the call, deal and number the tokens, and take the slots' new lengths. */
static int begin_extend(rd_kv *kv, int64_t n, const int64_t *slot, const int64_t *count,
                        const int32_t *tokens)
{
    int rc = RD_OK;
    int64_t t = 0, local = 0;
    kv->calls++;
    kv->n_pieces = 0;
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
        for (int64_t k = 0; k < count[i]; k++, t++)
            if (tokens[t] < 0 || tokens[t] >= kv->cfg.vocab)
                RD_FAIL(RD_EINTERNAL, "token %d, vocabulary %lld", tokens[t],
                        (long long)kv->cfg.vocab);
        if (column_of(kv, s) != kv->grid->my_col) continue;
        add_pieces(kv, s, local, len, count[i]);
        local += count[i];
    }
    if (!rd_kv_fits(kv, n, slot, count)) RD_FAIL(RD_EINTERNAL, "the cache is full");
    kv->start[n] = t;
    for (int64_t i = 0; i < n; i++) grow(kv, slot[i], count[i]);
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
    int64_t q = part->qkv;
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
    rd_clock_begin("decode.attention");
    attend_all(kv, l);
    rd_clock_end("decode.attention");
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

/* Final norm and head: logits of n tokens that belong to slot[i], of which `here` lie on this grid
 * column at x, at most `width` on any. */
static int head_of(const rd_model *model, rd_kv *kv, int64_t here, const float *x, int64_t width,
                   int64_t n, const int64_t *slot, float *logits)
{
    int rc = RD_OK;
    bool alone = kv->grid->tp.size == 1;
    rd_mat h, z;
    rd_clock_begin("decode.head");
    rd_norm_fwd(model, here, x, rd_norm_weight(model, kv->vectors, 2 * kv->cfg.layers), kv->n,
                kv->inv, kv->sum);
    RD_TRY(rd_view(model, RD_WIDTH, kv->n, width, &h));
    RD_TRY(rd_view(model, RD_VOCAB, alone ? logits : kv->logits, width, &z));
    RD_TRY(rd_linear_fwd(&model->layers->head, &h, &z));
    if (!alone) share_logits(kv, &z, width, n, slot, logits);
done:
    rd_clock_end("decode.head");
    return rc;
}

/* Logits of the last token of each of n segments. */
static int extend_head(const rd_model *model, rd_kv *kv, int64_t n, const int64_t *slot,
                       float *logits)
{
    const rd_deal *d = &kv->deal;
    int64_t D = model->layers->split.local[RD_WIDTH], width = 0;
    for (int64_t i = 0; i < d->n_seq; i++) {
        int64_t last = d->start[i + 1] - 1;
        if (last != i) memcpy(kv->x + i * D, kv->x + last * D, (size_t)D * sizeof(float));
    }
    for (int c = 0; c < d->cols; c++) {
        int64_t segments = 0;
        for (int64_t i = 0; i < n; i++) segments += column_of(kv, slot[i]) == c;
        if (segments > width) width = segments;
    }
    return head_of(model, kv, d->n_seq, kv->x, width, n, slot, logits);
}

/* Everything below the head. */
static int extend_trunk(const rd_model *model, rd_kv *kv, int64_t n, const int64_t *slot,
                        const int64_t *count, const int32_t *tokens)
{
    int rc = RD_OK;
    RD_TRY(begin_extend(kv, n, slot, count, tokens));
    if (n == 0) return RD_OK;
    rd_vectors_fetch(model, kv->vectors);
    rd_lookup_fwd(&model->layers->embed, &kv->deal, tokens, &kv->lookup, kv->x);
    for (int64_t l = 0; l < kv->cfg.layers; l++) RD_TRY(extend_layer(model, kv, l));
done:
    return rc;
}

int rd_model_extend(const rd_model *model, rd_kv *kv, int64_t n, const int64_t *slot,
                    const int64_t *count, const int32_t *tokens, float *logits)
{
    int rc = RD_OK;
    RD_TRY(extend_trunk(model, kv, n, slot, count, tokens));
    if (n > 0) RD_TRY(extend_head(model, kv, n, slot, logits));
done:
    return rc;
}

int rd_model_extend_all(const rd_model *model, rd_kv *kv, int64_t slot, int64_t n,
                        const int32_t *tokens, float *logits)
{
    int rc = RD_OK;
    int64_t D = model->layers->split.local[RD_WIDTH], cols = kv->grid->cols;
    int64_t most = (kv->slots + cols - 1) / cols; /* as many as there is room for elsewhere */
    RD_TRY(extend_trunk(model, kv, 1, &slot, &n, tokens));
    for (int64_t i = 0; i < kv->slots; i++) kv->same[i] = slot;
    for (int64_t t = 0, w; t < n; t += w) {
        w = n - t < most ? n - t : most;
        bool here = column_of(kv, slot) == kv->grid->my_col;
        RD_TRY(head_of(model, kv, here ? w : 0, kv->x + (here ? t * D : 0), w, w, kv->same,
                       logits + t * kv->cfg.vocab));
    }
done:
    return rc;
}
