/* text, inside: what the files of this layer share.  Not installed, not seen by other layers. */
#ifndef RD_TEXT_IMPL_H
#define RD_TEXT_IMPL_H

#include "rd/text.h"

/* ---------------------------------------------------------------- pretokenizer.c */

typedef struct rd_pretok rd_pretok; /* a compiled pattern; read-only after it is made */

int rd_pretok_create(const char *pattern, rd_pretok **pre); /* RD_EINPUT: message and offset */
void rd_pretok_free(rd_pretok **pre);

/* Walk over the pieces of a text.  Every byte belongs to exactly one piece: a match of the pattern,
 * the gap between two matches, or a run of bytes that is not UTF-8.  The text is borrowed. */
typedef struct rd_pieces {
    const rd_pretok *pre;
    const char *text;
    size_t n;            /* bytes of text */
    size_t pos;          /* start of the next piece */
    size_t seg, seg_end; /* the stretch of valid UTF-8 around pos */
    size_t search;       /* where the next match is looked for; >= pos */
    size_t found, end;   /* a match waiting behind a gap; found == end: none */
    void *match;         /* PCRE2's result vector, owned */
    int rc;              /* RD_EINPUT when PCRE2 gave up (its limits); the walk ends there */
} rd_pieces;

void rd_pieces_begin(rd_pieces *it, const rd_pretok *pre, const char *text, size_t n);
bool rd_pieces_next(rd_pieces *it, const char **piece, size_t *len);
int rd_pieces_end(rd_pieces *it); /* it->rc; releases the vector */

/* ---------------------------------------------------------------- tokenizer.c */

enum { TOK_HOLE, TOK_TEXT, TOK_SPECIAL }; /* what an id stands for; a hole is an unused id */

typedef struct tok_merge {
    int32_t left, right, out; /* rank = index in the list */
} tok_merge;

/* An open-addressing table from 64-bit keys (two token ids) to int32; -1 marks a free slot. */
typedef struct rd_pairmap {
    uint64_t *keys;
    int32_t *values;
    int64_t n, slots; /* slots is a power of two, at most half full */
} rd_pairmap;

static inline uint64_t pair_key(int32_t left, int32_t right)
{
    return ((uint64_t)(uint32_t)left << 32) | (uint32_t)right;
}
int32_t rd_pairmap_get(const rd_pairmap *m, uint64_t key);       /* -1 if absent */
void rd_pairmap_put(rd_pairmap *m, uint64_t key, int32_t value); /* replaces */
void rd_pairmap_free(rd_pairmap *m);

/* A set of byte strings numbered in order of arrival. */
typedef struct rd_strset {
    rd_buf bytes;
    int64_t *offset; /* n + 1 */
    int64_t n, cap;
    int32_t *table; /* slots; -1 free */
    int64_t slots;
} rd_strset;
int32_t rd_strset_find(const rd_strset *s, const char *p, size_t len); /* -1 if absent */
int32_t rd_strset_add(rd_strset *s, const char *p, size_t len);        /* number, old or new */
const char *rd_strset_get(const rd_strset *s, int32_t i, size_t *len);
void rd_strset_free(rd_strset *s);

struct rd_tok {
    char *pattern;
    rd_pretok *pre;
    int64_t n, cap;       /* ids are 0 ... n-1 */
    rd_buf bytes;         /* of all tokens, one after the other */
    int64_t *offset;      /* n + 1 */
    uint8_t *kind;        /* TOK_... per id */
    int32_t byte_id[256]; /* -1: this byte has no token */
    tok_merge *merges;    /* in rank order */
    int64_t n_merges, merges_cap;
    bool ignore_merges; /* a piece that is a token is that token, whatever the merges say */
    rd_pairmap rank;    /* (left, right) -> rank */
    rd_strset whole;    /* pieces that become one token: the piece cache, made once */
    int32_t *whole_id;  /* their ids */
};

/* Fill a zeroed tokenizer.  Every id once in ascending order, the merges in rank order, then
 * finish, which compiles the pattern and makes the tables. */
void rd_tok_put_token(rd_tok *tok, const char *bytes, size_t len, int kind);
void rd_tok_put_merge(rd_tok *tok, int32_t left, int32_t right, int32_t out);
int rd_tok_finish(rd_tok *tok, const char *pattern);

extern const char *const rd_tok_special_names[RD_TOK_SPECIALS];

#endif
