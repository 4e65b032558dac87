/* merge: byte-pair merges of one piece.
 *
 * A piece starts as one token per byte, or per character; the adjacent pair whose merge has the
 * lowest level is merged, leftmost first, until no pair has a merge. */
#include "text_impl.h"

#include <string.h>

enum { SHORT_PIECE = RD_SHORT_PIECE };

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
            if (rank[i] >= 0 && (best < 0 || tok->level[rank[i]] < tok->level[rank[best]]))
                best = i;
        if (best < 0) break;
        ids[best] = tok->out[rank[best]];
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

/* Long pieces: the tokens as a linked list, the possible merges in a heap by (level, place). */
typedef struct merge_entry {
    int32_t level, rank;
    int32_t at;
} merge_entry;

typedef struct merge_heap {
    merge_entry *e;
    int64_t n;
} merge_heap;

static bool entry_less(merge_entry a, merge_entry b)
{
    return a.level != b.level ? a.level < b.level : a.at < b.at;
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
        if (rank >= 0) heap_push(&heap, (merge_entry){tok->level[rank], rank, i});
    }
    while (heap.n > 0) {
        merge_entry top = heap_pop(&heap);
        int32_t i = top.at, j = next[i];
        if (ids[i] < 0 || j < 0) continue; /* swallowed by its left neighbour, or now the last */
        if (rd_pairmap_get(&tok->rank, pair_key(ids[i], ids[j])) != top.rank) continue;
        ids[i] = tok->out[top.rank];
        ids[j] = -1;
        next[i] = next[j];
        if (next[i] >= 0) {
            prev[next[i]] = i;
            int32_t rank = rd_pairmap_get(&tok->rank, pair_key(ids[i], ids[next[i]]));
            if (rank >= 0) heap_push(&heap, (merge_entry){tok->level[rank], rank, i});
        }
        if (prev[i] >= 0) {
            int32_t rank = rd_pairmap_get(&tok->rank, pair_key(ids[prev[i]], ids[i]));
            if (rank >= 0) heap_push(&heap, (merge_entry){tok->level[rank], rank, prev[i]});
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

/* ---------------------------------------------------------------- symbols */

/* A character as a key; equal for equal bytes only. */
static uint64_t char_key(const char *p, size_t n)
{
    uint64_t key = 0;
    memcpy(&key, p, n);
    return key << 3 | n;
}

void rd_tok_put_char(rd_tok *tok, const char *p, size_t n, int32_t id)
{
    rd_pairmap_put(&tok->chars, char_key(p, n), id);
}

/* Characters with a token of their own, and the bytes of the others. */
static int64_t char_symbols(const rd_tok *tok, const char *piece, size_t len, int32_t *ids)
{
    int64_t n = 0;
    for (size_t i = 0; i < len;) {
        size_t k = rd_utf8_char((const unsigned char *)piece + i, len - i);
        int32_t id = k > 0 ? rd_pairmap_get(&tok->chars, char_key(piece + i, k)) : -1;
        if (k == 0) k = 1;
        if (id >= 0) ids[n++] = id;
        for (size_t j = 0; id < 0 && j < k; j++)
            if (tok->byte_id[(unsigned char)piece[i + j]] >= 0)
                ids[n++] = tok->byte_id[(unsigned char)piece[i + j]];
        i += k;
    }
    return n;
}

int64_t rd_tok_merge_piece(const rd_tok *tok, const char *piece, size_t len, int32_t *ids)
{
    int64_t n = 0;
    if (tok->by_char) {
        n = char_symbols(tok, piece, len, ids);
    } else {
        for (size_t i = 0; i < len; i++) {
            int32_t id = tok->byte_id[(unsigned char)piece[i]];
            if (id >= 0) ids[n++] = id;
        }
    }
    return n <= SHORT_PIECE ? merge_short(tok, ids, n) : merge_long(tok, ids, n);
}

/* ---------------------------------------------------------------- merges without a list */

void rd_tok_put_merge(rd_tok *tok, int32_t left, int32_t right, int32_t out)
{
    rd_tok_put_rank(tok, out, (int32_t)tok->n_ranks);
    rd_tok_put_pair(tok, left, right);
}

void rd_tok_put_rank(rd_tok *tok, int32_t out, int32_t level)
{
    if (tok->n_ranks == tok->ranks_cap) {
        tok->ranks_cap = tok->ranks_cap ? 2 * tok->ranks_cap : 512;
        rd_resize(tok->out, tok->ranks_cap);
        rd_resize(tok->level, tok->ranks_cap);
    }
    tok->level[tok->n_ranks] = level;
    tok->out[tok->n_ranks++] = out;
}

void rd_tok_put_pair(rd_tok *tok, int32_t left, int32_t right)
{
    if (tok->n_merges == tok->merges_cap) {
        tok->merges_cap = tok->merges_cap ? 2 * tok->merges_cap : 512;
        rd_resize(tok->merges, tok->merges_cap);
    }
    rd_pairmap_put(&tok->rank, pair_key(left, right), (int32_t)tok->n_ranks - 1);
    tok->merges[tok->n_merges++] = (tok_merge){left, right};
}

/* Every way to put a token together from two others is a merge, and all of one token have its
 * rank: of two that overlap, the left one is made first. */
void rd_tok_put_splits(rd_tok *tok, int64_t n, const int32_t *order, const int32_t *level)
{
    rd_strset texts = {0};
    size_t len;
    int32_t *id_of = rd_new(int32_t, tok->n);
    for (int32_t id = 0; id < tok->n; id++) {
        if (tok->kind[id] != TOK_TEXT) continue;
        const char *p = rd_tok_piece(tok, id, &len);
        id_of[rd_strset_add(&texts, p, len)] = id;
    }
    for (int64_t i = 0; i < n; i++) {
        const char *p = rd_tok_piece(tok, order[i], &len);
        rd_tok_put_rank(tok, order[i], level ? level[i] : (int32_t)i);
        for (size_t cut = 1; cut < len; cut++) {
            if (tok->by_char && ((unsigned char)p[cut] & 0xC0) == 0x80) continue;
            int32_t left = rd_strset_find(&texts, p, cut);
            int32_t right = left >= 0 ? rd_strset_find(&texts, p + cut, len - cut) : -1;
            if (right >= 0) rd_tok_put_pair(tok, id_of[left], id_of[right]);
        }
    }
    tok->by_split = true;
    rd_strset_free(&texts);
    rd_free(id_of);
}
