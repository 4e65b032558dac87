/* added: the added tokens of a tokenizer, cut out of texts as `tokenizers` does it.
 *
 * Of all added tokens, special ones too, the leftmost and longest match counts.  A special one is
 * then left in the text, because special tokens never come from text here; it still covers what it
 * covers. */
#include "text_impl.h"

#include <stdlib.h>
#include <string.h>

void rd_tok_put_added(rd_tok *tok, tok_added a)
{
    if (tok->n_added == tok->added_cap) {
        tok->added_cap = tok->added_cap ? 2 * tok->added_cap : 32;
        rd_resize(tok->added, tok->added_cap);
    }
    tok->added[tok->n_added++] = a;
}

/* A key that sorts by first byte, then long ones first, then by number. */
static uint64_t sort_key(const rd_tok *tok, int32_t i)
{
    size_t n;
    const char *p = rd_tok_piece(tok, tok->added[i].id, &n);
    uint64_t shortness = n < 0xFFFFFF ? 0xFFFFFF - n : 0;
    return (uint64_t)(unsigned char)*p << 56 | shortness << 32 | (uint32_t)i;
}

static int compare_keys(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The word characters of Rust's regular expressions. */
static const char word_pattern[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]";

void rd_added_prepare(rd_tok *tok)
{
    uint64_t *key = rd_new(uint64_t, tok->n_added);
    bool word = false, blank = false;
    for (int32_t i = 0; i < tok->n_added; i++) {
        const tok_added *a = &tok->added[i];
        tok->finds_added[a->normalized] |= !a->special;
        word |= a->single_word;
        blank |= a->lstrip || a->rstrip;
        key[i] = sort_key(tok, i);
    }
    if (tok->n_added > 0) qsort(key, (size_t)tok->n_added, sizeof(*key), compare_keys);
    tok->added_order = rd_new(int32_t, tok->n_added);
    for (int64_t i = 0; i < tok->n_added; i++) {
        tok->added_order[i] = (int32_t)(key[i] & UINT32_MAX);
        tok->added_start[(key[i] >> 56) + 1]++;
    }
    for (int b = 0; b < 256; b++) tok->added_start[b + 1] += tok->added_start[b];
    rd_free(key);
    if (word) RD_ASSERT(rd_pretok_create(word_pattern, &tok->word) == RD_OK);
    if (blank) RD_ASSERT(rd_pretok_create("\\s", &tok->white_space) == RD_OK);
}

void rd_added_free(rd_tok *tok)
{
    rd_free(tok->added);
    rd_free(tok->added_order);
    rd_pretok_free(&tok->word);
    rd_pretok_free(&tok->white_space);
}

/* ---------------------------------------------------------------- finding */

/* The longest added token at p; NULL: none. */
static const tok_added *added_at(const rd_spans *it, const char *p, size_t n, size_t *len)
{
    const rd_tok *tok = it->tok;
    const unsigned char first = (unsigned char)*p;
    for (int32_t i = tok->added_start[first]; i < tok->added_start[first + 1]; i++) {
        const tok_added *a = &tok->added[tok->added_order[i]];
        const char *content = rd_tok_piece(tok, a->id, len);
        if (a->normalized == it->normalized && *len <= n && memcmp(p, content, *len) == 0) return a;
    }
    return NULL;
}

/* Start of the last character of text[0 … n), n > 0. */
static size_t last_char(const char *text, size_t n)
{
    size_t at = n - 1;
    while (at > 0 && n - at < 4 && ((unsigned char)text[at] & 0xC0) == 0x80) at--;
    return at;
}

static bool begins(const rd_pretok *pre, const char *text, size_t n)
{
    size_t len = n > 0 ? rd_utf8_char((const unsigned char *)text, n) : 0;
    return len > 0 && rd_pretok_begins(pre, text, len);
}

static bool in_a_word(const rd_spans *it, size_t start, size_t end)
{
    size_t before = start > 0 ? last_char(it->text, start) : 0;
    return begins(it->tok->word, it->text + before, start - before) ||
           begins(it->tok->word, it->text + end, it->n - end);
}

void rd_spans_begin(rd_spans *it, const rd_tok *tok, bool normalized, const char *text, size_t n)
{
    *it = (rd_spans){.tok = tok,
                     .normalized = normalized,
                     .text = text,
                     .n = n,
                     .waiting = -1,
                     .waiting_end = 0};
}

static bool give(rd_spans *it, size_t end, int32_t token, const char **text, size_t *n, int32_t *id)
{
    *text = it->text + it->pos;
    *n = end - it->pos;
    *id = token;
    it->pos = end;
    return true;
}

bool rd_spans_next(rd_spans *it, const char **text, size_t *n, int32_t *id)
{
    const rd_pretok *blank = it->tok->white_space;
    if (it->waiting >= 0) {
        int32_t token = it->waiting;
        it->waiting = -1;
        return give(it, it->waiting_end, token, text, n, id);
    }
    while (it->scan < it->n) {
        size_t len, start = it->scan;
        const tok_added *a = added_at(it, it->text + start, it->n - start, &len);
        if (a == NULL) {
            it->scan++;
            continue;
        }
        size_t end = it->scan = start + len;
        if (a->special || (a->single_word && in_a_word(it, start, end))) continue;
        while (a->lstrip && start > it->pos) {
            size_t at = last_char(it->text, start);
            if (!begins(blank, it->text + at, start - at)) break;
            start = at;
        }
        while (a->rstrip && begins(blank, it->text + end, it->n - end))
            end += rd_utf8_char((const unsigned char *)it->text + end, it->n - end);
        if (start <= it->pos) return give(it, end, a->id, text, n, id);
        it->waiting = a->id;
        it->waiting_end = end;
        return give(it, start, -1, text, n, id);
    }
    return it->pos < it->n && give(it, it->n, -1, text, n, id);
}
