/* tokenizer: the handle, encoding and decoding.
 *
 * Byte-level BPE: a piece starts as one token per byte; the adjacent pair whose merge has the
 * lowest rank is merged, leftmost first, until no pair has a merge.  Nearly every piece of our
 * texts ends as one token, so the pieces for which that happens are found once, when the tokenizer
 * is made, and looked up from then on: a cache that never changes and may be read by any thread. */
#include "text_impl.h"

#include <string.h>

enum {
    SHORT_PIECE = 64, /* bytes up to which merging works on the stack, by scanning all pairs */
};

const char *const rd_tok_special_names[RD_TOK_SPECIALS] = {"<|pad|>", "<|bos|>", "<|eos|>"};

const char *rd_tok_default_pattern(void)
{
    /* In order: a number's first two digits, sign, leading blank and comma included; a word; a
     * bracket; other signs; a line feed; blanks, leaving the last one to what follows. */
    return ",? ?-?\\p{N}{1,2}"
           "| ?[\\p{L}\\p{M}]+"
           "| ?[\\[\\](){}]"
           "| ?[^\\s\\p{L}\\p{M}\\p{N}\\[\\](){}]+"
           "|\\n"
           "|[^\\S\\n]+(?!\\S)|[^\\S\\n]+";
}

/* ---------------------------------------------------------------- hash tables */

static inline uint64_t mix(uint64_t h)
{
    h *= 0x9E3779B97F4A7C15u;
    return h ^ (h >> 32);
}

/* Pieces are a few bytes long: two overlapping loads cover up to 16 of them without a loop. */
static inline uint64_t hash_piece(const char *p, size_t n)
{
    uint64_t a = 0, b = 0, h = mix(n);
    for (; n > 16; p += 8, n -= 8) {
        memcpy(&a, p, 8);
        h = mix(h ^ a);
    }
    a = 0;
    if (n >= 8) {
        memcpy(&a, p, 8);
        memcpy(&b, p + n - 8, 8);
    } else if (n >= 4) {
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
    } else if (n > 0) {
        a = (unsigned char)p[0] | (uint64_t)(unsigned char)p[n / 2] << 8;
        b = (unsigned char)p[n - 1];
    }
    return mix(mix(h ^ a) ^ b);
}

int32_t rd_pairmap_get(const rd_pairmap *m, uint64_t key)
{
    if (m->slots == 0) return -1;
    uint64_t mask = (uint64_t)m->slots - 1;
    for (uint64_t i = mix(key) & mask; m->values[i] >= 0; i = (i + 1) & mask)
        if (m->keys[i] == key) return m->values[i];
    return -1;
}

static void pairmap_grow(rd_pairmap *m)
{
    rd_pairmap old = *m;
    m->slots = old.slots ? 2 * old.slots : 64;
    m->n = 0;
    m->keys = rd_new(uint64_t, m->slots);
    m->values = rd_new(int32_t, m->slots);
    memset(m->values, 0xFF, (size_t)m->slots * sizeof(*m->values));
    for (int64_t i = 0; i < old.slots; i++)
        if (old.values[i] >= 0) rd_pairmap_put(m, old.keys[i], old.values[i]);
    rd_pairmap_free(&old);
}

void rd_pairmap_put(rd_pairmap *m, uint64_t key, int32_t value)
{
    if (2 * m->n >= m->slots) pairmap_grow(m);
    uint64_t mask = (uint64_t)m->slots - 1, i = mix(key) & mask;
    while (m->values[i] >= 0 && m->keys[i] != key) i = (i + 1) & mask;
    m->n += m->values[i] < 0;
    m->keys[i] = key;
    m->values[i] = value;
}

void rd_pairmap_free(rd_pairmap *m)
{
    rd_free(m->keys);
    rd_free(m->values);
    *m = (rd_pairmap){0};
}

const char *rd_strset_get(const rd_strset *s, int32_t i, size_t *len)
{
    *len = (size_t)(s->offset[i + 1] - s->offset[i]);
    return s->bytes.data + s->offset[i];
}

/* The slot where the string is or would go. */
static inline uint64_t strset_slot(const rd_strset *s, const char *p, size_t len)
{
    uint64_t mask = (uint64_t)s->slots - 1, i = hash_piece(p, len) & mask;
    for (; s->table[i] >= 0; i = (i + 1) & mask) {
        const int64_t *at = s->offset + s->table[i];
        if ((size_t)(at[1] - at[0]) == len && memcmp(s->bytes.data + at[0], p, len) == 0) break;
    }
    return i;
}

int32_t rd_strset_find(const rd_strset *s, const char *p, size_t len)
{
    return s->slots ? s->table[strset_slot(s, p, len)] : -1;
}

int32_t rd_strset_add(rd_strset *s, const char *p, size_t len)
{
    if (2 * s->n >= s->slots) {
        s->slots = s->slots ? 2 * s->slots : 1024;
        rd_free(s->table);
        s->table = rd_new(int32_t, s->slots);
        memset(s->table, 0xFF, (size_t)s->slots * sizeof(*s->table));
        for (int32_t i = 0; i < s->n; i++) {
            size_t n;
            const char *q = rd_strset_get(s, i, &n);
            s->table[strset_slot(s, q, n)] = i;
        }
    }
    uint64_t slot = strset_slot(s, p, len);
    if (s->table[slot] >= 0) return s->table[slot];
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 1024;
        rd_resize(s->offset, s->cap + 1);
        s->offset[0] = 0;
    }
    RD_ASSERT(s->n < INT32_MAX - 1);
    rd_buf_add(&s->bytes, p, len);
    s->offset[s->n + 1] = (int64_t)s->bytes.len;
    s->table[slot] = (int32_t)s->n;
    return (int32_t)s->n++;
}

void rd_strset_free(rd_strset *s)
{
    rd_buf_free(&s->bytes);
    rd_free(s->offset);
    rd_free(s->table);
    *s = (rd_strset){0};
}

/* ---------------------------------------------------------------- merging */

/* Short pieces: keep the rank of every pair, take the smallest, close the gap.  Quadratic, but
 * without any bookkeeping.  ids in and out. */
static int64_t merge_short(const rd_tok *tok, int32_t *ids, int64_t n)
{
    int32_t rank[SHORT_PIECE];
    for (int64_t i = 0; i + 1 < n; i++)
        rank[i] = rd_pairmap_get(&tok->rank, pair_key(ids[i], ids[i + 1]));
    while (n > 1) {
        int64_t best = -1;
        for (int64_t i = 0; i + 1 < n; i++)
            if (rank[i] >= 0 && (best < 0 || rank[i] < rank[best])) best = i;
        if (best < 0) break;
        ids[best] = tok->merges[rank[best]].out;
        for (int64_t i = best + 1; i + 1 < n; i++) {
            ids[i] = ids[i + 1];
            rank[i] = i + 2 < n ? rank[i + 1] : -1;
        }
        n--;
        if (best + 1 < n)
            rank[best] = rd_pairmap_get(&tok->rank, pair_key(ids[best], ids[best + 1]));
        if (best > 0)
            rank[best - 1] = rd_pairmap_get(&tok->rank, pair_key(ids[best - 1], ids[best]));
    }
    return n;
}

/* Long pieces: the tokens as a linked list, the possible merges in a heap by (rank, place). */
typedef struct merge_entry {
    int32_t rank;
    int32_t at;
} merge_entry;

typedef struct merge_heap {
    merge_entry *e;
    int64_t n;
} merge_heap;

static bool entry_less(merge_entry a, merge_entry b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void heap_push(merge_heap *h, merge_entry x)
{
    int64_t i = h->n++;
    for (; i > 0 && entry_less(x, h->e[(i - 1) / 2]); i = (i - 1) / 2) h->e[i] = h->e[(i - 1) / 2];
    h->e[i] = x;
}

static merge_entry heap_pop(merge_heap *h)
{
    merge_entry top = h->e[0], x = h->e[--h->n];
    int64_t i = 0;
    for (int64_t c = 1; c < h->n; i = c, c = 2 * i + 1) {
        if (c + 1 < h->n && entry_less(h->e[c + 1], h->e[c])) c++;
        if (!entry_less(h->e[c], x)) break;
        h->e[i] = h->e[c];
    }
    h->e[i] = x;
    return top;
}

static int64_t merge_long(const rd_tok *tok, int32_t *ids, int64_t n)
{
    RD_ASSERT(n < INT32_MAX / 4);
    int32_t *next = rd_new(int32_t, n), *prev = rd_new(int32_t, n);
    /* Every merge takes one entry out and puts at most two in; entries of pairs that are gone stay
     * until they come up, so 3 n is a bound. */
    merge_heap heap = {.e = rd_new(merge_entry, 3 * n)};
    for (int32_t i = 0; i < n; i++) {
        prev[i] = i - 1;
        next[i] = i + 1 < n ? i + 1 : -1;
        int32_t rank = i + 1 < n ? rd_pairmap_get(&tok->rank, pair_key(ids[i], ids[i + 1])) : -1;
        if (rank >= 0) heap_push(&heap, (merge_entry){rank, i});
    }
    while (heap.n > 0) {
        merge_entry top = heap_pop(&heap);
        int32_t i = top.at, j = next[i];
        if (ids[i] < 0 || j < 0) continue; /* swallowed by its left neighbour, or now the last */
        if (rd_pairmap_get(&tok->rank, pair_key(ids[i], ids[j])) != top.rank) continue;
        ids[i] = tok->merges[top.rank].out;
        ids[j] = -1;
        next[i] = next[j];
        if (next[i] >= 0) {
            prev[next[i]] = i;
            int32_t rank = rd_pairmap_get(&tok->rank, pair_key(ids[i], ids[next[i]]));
            if (rank >= 0) heap_push(&heap, (merge_entry){rank, i});
        }
        if (prev[i] >= 0) {
            int32_t rank = rd_pairmap_get(&tok->rank, pair_key(ids[prev[i]], ids[i]));
            if (rank >= 0) heap_push(&heap, (merge_entry){rank, prev[i]});
        }
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (ids[i] >= 0) ids[kept++] = ids[i];
    rd_free(heap.e);
    rd_free(prev);
    rd_free(next);
    return kept;
}

/* Tokens of one piece by the merges.  ids holds len entries at least. */
static int64_t merge_piece(const rd_tok *tok, const char *piece, size_t len, int32_t *ids)
{
    int64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int32_t id = tok->byte_id[(unsigned char)piece[i]];
        if (id >= 0) ids[n++] = id;
    }
    return n <= SHORT_PIECE ? merge_short(tok, ids, n) : merge_long(tok, ids, n);
}

/* ---------------------------------------------------------------- making */

rd_tok *rd_tok_new(void)
{
    rd_tok *tok = rd_new(rd_tok, 1);
    memset(tok->byte_id, 0xFF, sizeof(tok->byte_id));
    tok->bos = tok->eos = tok->pad = -1;
    return tok;
}

void rd_tok_put_token(rd_tok *tok, const char *bytes, size_t len, int kind)
{
    if (tok->n == tok->cap) {
        tok->cap = tok->cap ? 2 * tok->cap : 512;
        rd_resize(tok->kind, tok->cap);
        rd_resize(tok->offset, tok->cap + 1);
        tok->offset[0] = 0;
    }
    int64_t id = tok->n++;
    tok->kind[id] = (uint8_t)kind;
    rd_buf_add(&tok->bytes, bytes, len);
    tok->offset[id + 1] = (int64_t)tok->bytes.len;
    if (kind == TOK_TEXT && len == 1) tok->byte_id[(unsigned char)bytes[0]] = (int32_t)id;
}

void rd_tok_put_merge(rd_tok *tok, int32_t left, int32_t right, int32_t out)
{
    if (tok->n_merges == tok->merges_cap) {
        tok->merges_cap = tok->merges_cap ? 2 * tok->merges_cap : 512;
        rd_resize(tok->merges, tok->merges_cap);
    }
    rd_pairmap_put(&tok->rank, pair_key(left, right), (int32_t)tok->n_merges);
    tok->merges[tok->n_merges++] = (tok_merge){left, right, out};
}

int rd_tok_add_cut(rd_tok *tok, const char *pattern)
{
    RD_ASSERT(tok->n_cuts < RD_MAX_CUTS);
    int rc = rd_pretok_create(pattern, &tok->pre[tok->n_cuts]);
    if (rc == RD_OK) tok->pattern[tok->n_cuts++] = rd_strdup(pattern);
    return rc;
}

void rd_tok_add_end(rd_tok *tok, int32_t id)
{
    if (id < 0 || rd_tok_is_end(tok, id) || tok->n_ends == RD_MAX_ENDS) return;
    tok->end[tok->n_ends++] = id;
}

void rd_tok_finish(rd_tok *tok)
{
    size_t longest = 1, len;
    tok->pad = rd_tok_special(tok, rd_tok_special_names[RD_TOK_PAD]);
    tok->bos = rd_tok_special(tok, rd_tok_special_names[RD_TOK_BOS]);
    tok->eos = rd_tok_special(tok, rd_tok_special_names[RD_TOK_EOS]);
    rd_tok_add_end(tok, tok->eos);
    for (int64_t id = 0; id < tok->n; id++) {
        size_t n = (size_t)(tok->offset[id + 1] - tok->offset[id]);
        if (n > longest) longest = n;
    }
    int32_t *ids = rd_new(int32_t, longest);
    tok->whole_id = rd_new(int32_t, tok->n);
    for (int32_t id = 0; id < tok->n; id++) {
        if (tok->kind[id] != TOK_TEXT) continue;
        const char *p = rd_tok_piece(tok, id, &len);
        /* A token's own bytes may merge to something else: another order of merges. */
        bool whole = tok->ignore_merges || (merge_piece(tok, p, len, ids) == 1 && ids[0] == id);
        if (whole) tok->whole_id[rd_strset_add(&tok->whole, p, len)] = id;
    }
    rd_free(ids);
}

void rd_tok_free(rd_tok **tok)
{
    rd_tok *t = *tok;
    if (!t) return;
    for (int k = 0; k < t->n_cuts; k++) {
        rd_free(t->pattern[k]);
        rd_pretok_free(&t->pre[k]);
    }
    rd_buf_free(&t->bytes);
    rd_free(t->offset);
    rd_free(t->kind);
    rd_free(t->merges);
    rd_pairmap_free(&t->rank);
    rd_strset_free(&t->whole);
    rd_free(t->whole_id);
    RD_FREE(*tok);
}

/* ---------------------------------------------------------------- using */

int64_t rd_tok_vocab(const rd_tok *tok)
{
    return tok->n;
}

int32_t rd_tok_bos(const rd_tok *tok)
{
    return tok->bos;
}

int32_t rd_tok_eos(const rd_tok *tok)
{
    return tok->eos;
}

int32_t rd_tok_pad(const rd_tok *tok)
{
    return tok->pad;
}

bool rd_tok_is_end(const rd_tok *tok, int32_t id)
{
    for (int i = 0; i < tok->n_ends; i++)
        if (tok->end[i] == id) return true;
    return false;
}

bool rd_tok_adds_bos(const rd_tok *tok)
{
    return tok->add_bos;
}

const char *rd_tok_piece(const rd_tok *tok, int32_t id, size_t *len)
{
    RD_ASSERT(id >= 0 && id < tok->n);
    *len = (size_t)(tok->offset[id + 1] - tok->offset[id]);
    return *len ? tok->bytes.data + tok->offset[id] : "";
}

int32_t rd_tok_special(const rd_tok *tok, const char *content)
{
    size_t want = strlen(content), len;
    for (int32_t id = 0; id < tok->n; id++) {
        if (tok->kind[id] != TOK_SPECIAL) continue;
        const char *p = rd_tok_piece(tok, id, &len);
        if (len == want && memcmp(p, content, len) == 0) return id;
    }
    return -1;
}

int64_t rd_tok_room(const rd_tok *tok, size_t n)
{
    (void)tok;
    return (int64_t)n + 1; /* a token covers at least one byte */
}

int64_t rd_tok_encode(const rd_tok *tok, const char *text, size_t n, int32_t *ids, int64_t cap)
{
    int32_t stack[SHORT_PIECE], *work = NULL;
    int64_t got = 0;
    const char *piece;
    size_t len, work_len = 0;
    rd_cutter it;
    if (n == 0) return 0;
    rd_cutter_begin(&it, tok->n_cuts, tok->pre, text, n);
    while (got >= 0 && rd_cutter_next(&it, &piece, &len)) {
        int32_t whole = rd_strset_find(&tok->whole, piece, len);
        if (whole >= 0) {
            if (got < cap)
                ids[got++] = tok->whole_id[whole];
            else
                got = -1;
            continue;
        }
        int32_t *out = stack;
        if (len > SHORT_PIECE) {
            if (len > work_len) {
                work_len = len;
                rd_resize(work, work_len);
            }
            out = work;
        }
        int64_t m = merge_piece(tok, piece, len, out);
        if (got + m > cap) {
            got = -1;
        } else {
            memcpy(ids + got, out, (size_t)m * sizeof(*ids));
            got += m;
        }
    }
    if (rd_cutter_end(&it) != RD_OK) got = -2;
    rd_free(work);
    return got;
}

void rd_tok_decode(const rd_tok *tok, const int32_t *ids, int64_t n, rd_buf *out)
{
    size_t len;
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= tok->n || tok->kind[ids[i]] != TOK_TEXT) continue;
        const char *p = rd_tok_piece(tok, ids[i], &len);
        rd_buf_add(out, p, len);
    }
}
