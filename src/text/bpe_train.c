/* bpe_train: learns the merges of a tokenizer from texts.
 *
 * The texts are first reduced to distinct pieces with counts; from then on the cost depends on the
 * number of distinct pieces, not on the corpus.  Pair counts are kept up to date merge by merge:
 * each pair knows the pieces it may occur in, and a heap holds (count, pair) with lazy correction:
 * between merges counts only fall, so an entry that claims too much is put back lower. */
#include "text_impl.h"

#include <string.h>

enum { TEXTS_PER_POLL = 1024 };

typedef struct pair {
    int32_t left, right; /* numbers in trainer.tokens */
    int64_t count;       /* weighted occurrences now */
    int32_t *words;      /* pieces in which it has occurred; may name too many, never too few */
    int32_t n, cap;
    bool ranked;  /* has a merge already */
    bool touched; /* rose during the current merge */
} pair;

typedef struct heap_entry {
    int64_t count;
    int32_t pair;
} heap_entry;

typedef struct trainer {
    rd_strset words; /* distinct pieces */
    int64_t *weight; /* occurrences of each */
    int64_t weight_cap;
    int64_t total;    /* bytes times weights: no count can exceed it */
    rd_strset tokens; /* byte strings; id = number + RD_TOK_SPECIALS */
    int32_t *symbols; /* the pieces as tokens; piece w starts at words.offset[w] */
    int32_t *length;  /* tokens in each piece */
    pair *pairs;
    int64_t n_pairs, pairs_cap;
    rd_pairmap index; /* (left, right) -> number in pairs */
    heap_entry *heap;
    int64_t n_heap, heap_cap;
    int32_t *touched; /* numbers of the touched pairs */
    int64_t n_touched, touched_cap;
} trainer;

static void trainer_free(trainer *t)
{
    rd_strset_free(&t->words);
    rd_free(t->weight);
    rd_strset_free(&t->tokens);
    rd_free(t->symbols);
    rd_free(t->length);
    for (int64_t i = 0; i < t->n_pairs; i++) rd_free(t->pairs[i].words);
    rd_free(t->pairs);
    rd_pairmap_free(&t->index);
    rd_free(t->heap);
    rd_free(t->touched);
}

/* ---------------------------------------------------------------- pieces */

static int count_text(trainer *t, rd_pretok *pre, const char *text, int64_t weight)
{
    int rc = RD_OK;
    rd_cutter it;
    const char *piece;
    size_t len, n = strlen(text);
    int64_t part;
    if (weight < 0) RD_FAIL(RD_EINPUT, "tokenizer training: a weight is negative");
    if (__builtin_mul_overflow((int64_t)n, weight, &part) ||
        __builtin_add_overflow(t->total, part, &t->total))
        RD_FAIL(RD_EINPUT, "tokenizer training: the weights add up to more than 2^63 bytes");
    if (weight == 0) return RD_OK;
    rd_cutter_begin(&it, 1, &pre, text, n);
    while (rd_cutter_next(&it, &piece, &len)) {
        int64_t known = t->words.n, w = rd_strset_add(&t->words, piece, len);
        if (w >= t->weight_cap) {
            t->weight_cap = t->words.cap;
            rd_resize(t->weight, t->weight_cap);
        }
        t->weight[w] = (w == known ? 0 : t->weight[w]) + weight;
    }
    RD_TRY(rd_cutter_end(&it));
done:
    return rc;
}

/* The first tokens: single bytes, in order, all of them or those that occur. */
static void take_bytes(trainer *t, bool all)
{
    bool seen[256] = {false};
    for (size_t i = 0; i < t->words.bytes.len; i++)
        seen[(unsigned char)t->words.bytes.data[i]] = true;
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        if (all || seen[b]) rd_strset_add(&t->tokens, &c, 1);
    }
}

/* ---------------------------------------------------------------- pairs by count */

static int token_compare(const trainer *t, int32_t a, int32_t b)
{
    size_t na, nb;
    const char *pa = rd_strset_get(&t->tokens, a, &na), *pb = rd_strset_get(&t->tokens, b, &nb);
    int order = memcmp(pa, pb, na < nb ? na : nb);
    return order ? order : (na > nb) - (na < nb);
}

/* More frequent first; ties go to the smaller pair of byte strings, which does not depend on the
 * order of the texts. */
static bool comes_first(const trainer *t, heap_entry x, heap_entry y)
{
    if (x.count != y.count) return x.count > y.count;
    const pair *p = &t->pairs[x.pair], *q = &t->pairs[y.pair];
    int order = token_compare(t, p->left, q->left);
    return (order ? order : token_compare(t, p->right, q->right)) < 0;
}

static void heap_push(trainer *t, heap_entry x)
{
    if (t->n_heap == t->heap_cap) {
        t->heap_cap = t->heap_cap ? 2 * t->heap_cap : 1024;
        rd_resize(t->heap, t->heap_cap);
    }
    int64_t i = t->n_heap++;
    for (; i > 0 && comes_first(t, x, t->heap[(i - 1) / 2]); i = (i - 1) / 2)
        t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = x;
}

static heap_entry heap_pop(trainer *t)
{
    heap_entry top = t->heap[0], x = t->heap[--t->n_heap];
    int64_t i = 0;
    for (int64_t c = 1; c < t->n_heap; i = c, c = 2 * i + 1) {
        if (c + 1 < t->n_heap && comes_first(t, t->heap[c + 1], t->heap[c])) c++;
        if (!comes_first(t, t->heap[c], x)) break;
        t->heap[i] = t->heap[c];
    }
    t->heap[i] = x;
    return top;
}

static pair *pair_of(trainer *t, int32_t left, int32_t right)
{
    int64_t i = rd_pairmap_get(&t->index, pair_key(left, right));
    if (i < 0) {
        if (t->n_pairs == t->pairs_cap) {
            t->pairs_cap = t->pairs_cap ? 2 * t->pairs_cap : 1024;
            rd_resize(t->pairs, t->pairs_cap);
        }
        RD_ASSERT(t->n_pairs < INT32_MAX);
        i = t->n_pairs++;
        t->pairs[i] = (pair){.left = left, .right = right};
        rd_pairmap_put(&t->index, pair_key(left, right), (int32_t)i);
    }
    return &t->pairs[i];
}

/* One more occurrence of the pair in piece w. */
static void pair_rises(trainer *t, int32_t left, int32_t right, int32_t w)
{
    pair *p = pair_of(t, left, right);
    p->count += t->weight[w];
    if (p->n == 0 || p->words[p->n - 1] != w) {
        if (p->n == p->cap) {
            p->cap = p->cap ? 2 * p->cap : 4;
            rd_resize(p->words, p->cap);
        }
        p->words[p->n++] = w;
    }
    if (!p->touched) {
        if (t->n_touched == t->touched_cap) {
            t->touched_cap = t->touched_cap ? 2 * t->touched_cap : 256;
            rd_resize(t->touched, t->touched_cap);
        }
        p->touched = true;
        t->touched[t->n_touched++] = (int32_t)(p - t->pairs);
    }
}

static void pair_falls(trainer *t, int32_t left, int32_t right, int32_t w)
{
    pair_of(t, left, right)->count -= t->weight[w];
}

/* Enter the pairs that rose into the heap, each once and with its final count. */
static void flush_touched(trainer *t, int64_t min_count)
{
    for (int64_t i = 0; i < t->n_touched; i++) {
        pair *p = &t->pairs[t->touched[i]];
        p->touched = false;
        if (p->count >= min_count) heap_push(t, (heap_entry){p->count, t->touched[i]});
    }
    t->n_touched = 0;
}

static void count_pairs(trainer *t, int64_t min_count)
{
    int32_t number[256];
    for (int b = 0; b < 256; b++)
        number[b] = rd_strset_find(&t->tokens, (const char[]){(char)b}, 1);
    t->symbols = rd_new(int32_t, t->words.bytes.len);
    t->length = rd_new(int32_t, t->words.n);
    for (int32_t w = 0; w < t->words.n; w++) {
        size_t n;
        const char *p = rd_strset_get(&t->words, w, &n);
        int32_t *s = t->symbols + t->words.offset[w];
        t->length[w] = (int32_t)n;
        for (size_t i = 0; i < n; i++) {
            s[i] = number[(unsigned char)p[i]];
            if (i > 0) pair_rises(t, s[i - 1], s[i], w);
        }
    }
    flush_touched(t, min_count);
}

/* ---------------------------------------------------------------- merging */

/* Replace left right by out in piece w, from the left; only the neighbours' counts change.  The
 * count of (left, right) itself is set to zero afterwards, by merge_pair. */
static void merge_in_word(trainer *t, int32_t w, int32_t left, int32_t right, int32_t out)
{
    int32_t *s = t->symbols + t->words.offset[w], n = t->length[w], kept = 0;
    for (int32_t i = 0; i < n; i++) {
        if (i + 1 == n || s[i] != left || s[i + 1] != right) {
            s[kept++] = s[i];
            continue;
        }
        if (kept > 0) {
            pair_falls(t, s[kept - 1], left, w);
            pair_rises(t, s[kept - 1], out, w);
        }
        if (i + 2 < n) {
            pair_falls(t, right, s[i + 2], w);
            pair_rises(t, out, s[i + 2], w);
        }
        s[kept++] = out;
        i++;
    }
    t->length[w] = kept;
}

/* Merge one pair everywhere; returns the number of the resulting token, which exists already when
 * another pair has led to the same bytes. */
static int32_t merge_pair(trainer *t, int32_t which, rd_buf *bytes)
{
    pair p = t->pairs[which];
    size_t n;
    const char *piece = rd_strset_get(&t->tokens, p.left, &n);
    rd_buf_clear(bytes);
    rd_buf_add(bytes, piece, n);
    piece = rd_strset_get(&t->tokens, p.right, &n);
    rd_buf_add(bytes, piece, n);
    int32_t out = rd_strset_add(&t->tokens, bytes->data, bytes->len);

    t->pairs[which].words = NULL; /* the list is in p now; new pairs may move the array */
    t->pairs[which].n = t->pairs[which].cap = 0;
    for (int32_t i = 0; i < p.n; i++) merge_in_word(t, p.words[i], p.left, p.right, out);
    rd_free(p.words);
    t->pairs[which].count = 0;
    t->pairs[which].ranked = true;
    return out;
}

/* Would the merged pair read like a special token?  Text must never become one, and the vocabulary
 * of tokenizer.json holds every string once. */
static bool spells_special(const trainer *t, const pair *p)
{
    size_t nl, nr;
    const char *l = rd_strset_get(&t->tokens, p->left, &nl);
    const char *r = rd_strset_get(&t->tokens, p->right, &nr);
    for (int i = 0; i < RD_TOK_SPECIALS; i++) {
        const char *name = rd_tok_special_names[i];
        if (strlen(name) == nl + nr && memcmp(name, l, nl) == 0 && memcmp(name + nl, r, nr) == 0)
            return true;
    }
    return false;
}

static int learn_merges(trainer *t, const rd_tok_train_opts *o, int64_t min_count, rd_tok *tok)
{
    int rc = RD_OK;
    rd_buf bytes = {0};
    while (t->n_heap > 0 && t->tokens.n + RD_TOK_SPECIALS < o->vocab) {
        if (o->poll) RD_TRY(o->poll());
        heap_entry top = heap_pop(t);
        pair p = t->pairs[top.pair];
        if (p.count != top.count) {
            if (p.count >= min_count && p.count < top.count)
                heap_push(t, (heap_entry){p.count, top.pair});
            continue;
        }
        if (spells_special(t, &p)) continue;
        int32_t out = merge_pair(t, top.pair, &bytes);
        /* A pair can come back when its left or right token arises in a second way. */
        if (!p.ranked)
            rd_tok_put_merge(tok, p.left + RD_TOK_SPECIALS, p.right + RD_TOK_SPECIALS,
                             out + RD_TOK_SPECIALS);
        flush_touched(t, min_count);
    }
done:
    rd_buf_free(&bytes);
    return rc;
}

int rd_tok_train(const rd_tok_train_opts *opts, int64_t n, const char *const *texts,
                 const int64_t *weights, rd_tok **out)
{
    int rc = RD_OK;
    const char *pattern = opts->pattern ? opts->pattern : rd_tok_default_pattern();
    int64_t min_count = opts->min_count ? opts->min_count : 2;
    trainer t = {0};
    rd_pretok *pre = NULL;
    rd_tok *tok = rd_tok_new();
    if (min_count < 1)
        RD_FAIL(RD_EINPUT, "tokenizer training: min_count must be at least 1, got %lld",
                (long long)min_count);
    RD_TRY(rd_pretok_create(pattern, &pre));
    for (int64_t i = 0; i < n; i++) {
        if (opts->poll && i % TEXTS_PER_POLL == 0) RD_TRY(opts->poll());
        RD_TRY(count_text(&t, pre, texts[i], weights ? weights[i] : 1));
    }
    take_bytes(&t, opts->all_bytes);
    int64_t least = t.tokens.n + RD_TOK_SPECIALS;
    if (opts->vocab < least || opts->vocab > INT32_MAX / 2)
        RD_FAIL(RD_EINPUT,
                "tokenizer training: the vocabulary must have %lld ... %d tokens, got %lld",
                (long long)least, INT32_MAX / 2, (long long)opts->vocab);
    count_pairs(&t, min_count);
    RD_TRY(learn_merges(&t, opts, min_count, tok));

    for (int i = 0; i < RD_TOK_SPECIALS; i++)
        rd_tok_put_token(tok, rd_tok_special_names[i], strlen(rd_tok_special_names[i]),
                         TOK_SPECIAL);
    for (int32_t i = 0; i < t.tokens.n; i++) {
        size_t len;
        const char *p = rd_strset_get(&t.tokens, i, &len);
        rd_tok_put_token(tok, p, len, TOK_TEXT);
    }
    RD_TRY(rd_tok_add_cut(tok, pattern));
    rd_tok_finish(tok);
    *out = tok;
    tok = NULL;
done:
    trainer_free(&t);
    rd_pretok_free(&pre);
    rd_tok_free(&tok);
    return rc;
}
