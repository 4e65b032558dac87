/* text, inside: what the files of this layer share.  Not installed, not seen by other layers. */
#ifndef RD_TEXT_IMPL_H
#define RD_TEXT_IMPL_H

#include "rd/text.h"

/* ---------------------------------------------------------------- pretokenizer.c */

typedef struct rd_pretok rd_pretok; /* a compiled pattern; read-only after it is made */

int rd_pretok_create(const char *pattern, rd_pretok **pre); /* RD_EINPUT: message and offset */
void rd_pretok_free(rd_pretok **pre);

/* A walk over the pieces of a text.  Every byte belongs to exactly one piece: a match of the
 * pattern, the gap between two matches, or a run of bytes that is not UTF-8.  The text is borrowed.
 */
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

/* Patterns one after the other: each cuts the pieces of the one before it, and sees nothing but
 * its piece. */
enum { RD_MAX_CUTS = 4 };
typedef struct rd_cutter {
    int n;
    rd_pieces level[RD_MAX_CUTS];
} rd_cutter;
void rd_cutter_begin(rd_cutter *c, int n, rd_pretok *const *pre, const char *text, size_t size);
bool rd_cutter_next(rd_cutter *c, const char **piece, size_t *len);
int rd_cutter_end(rd_cutter *c); /* RD_EINPUT when a pattern gave up; releases the vectors */

/* ---------------------------------------------------------------- vocabulary.c */

/* The letters in which byte-level vocabularies are written: printable bytes of Latin-1 stand for
 * themselves, the others for the characters from U+0100 on, in order. */
typedef struct rd_letters {
    uint16_t character[256];
    int16_t byte[512]; /* -1: not a letter of it */
} rd_letters;
rd_letters rd_letters_make(void);
void rd_letters_write(const rd_letters *a, const char *p, size_t n, rd_buf *out);
/* Appends the bytes; false if a character is not a letter. */
bool rd_letters_read(const rd_letters *a, const char *s, size_t n, rd_buf *out);

/* ---------------------------------------------------------------- tokenizer.c */

enum { RD_MAX_ENDS = 8 };
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
    int n_cuts;
    char *pattern[RD_MAX_CUTS]; /* in order: each cuts the pieces of the one before */
    rd_pretok *pre[RD_MAX_CUTS];
    int32_t bos, eos, pad; /* -1: none */
    bool add_bos;
    int32_t end[RD_MAX_ENDS]; /* ids that end a response, eos among them */
    int n_ends;
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

/* Fill a new tokenizer.  Every id once in ascending order, the merges in rank order, the cuts, then
 * finish, which makes the tables and, where the specials have our names, sets bos, eos and pad. */
rd_tok *rd_tok_new(void);
void rd_tok_put_token(rd_tok *tok, const char *bytes, size_t len, int kind);
void rd_tok_put_merge(rd_tok *tok, int32_t left, int32_t right, int32_t out);
int rd_tok_add_cut(rd_tok *tok, const char *pattern); /* RD_EINPUT */
void rd_tok_finish(rd_tok *tok);
void rd_tok_add_end(rd_tok *tok, int32_t id); /* none when id < 0 or known */

extern const char *const rd_tok_special_names[RD_TOK_SPECIALS];

/* A vocabulary while it is read (vocabulary.c): strings with their ids, in any order. */
typedef struct rd_vocab {
    rd_strset strings;
    int32_t *id;   /* of each string */
    uint8_t *kind; /* TOK_TEXT or TOK_SPECIAL, of each string */
    int64_t cap;
    int64_t n_ids; /* largest id + 1 */
} rd_vocab;
enum { RD_MAX_ID = 1 << 22 }; /* an id above this is a broken file, not a vocabulary */
/* False if the string stands there with another id; a known one gets the new kind. */
bool rd_vocab_put(rd_vocab *v, const char *s, size_t n, int32_t id, int kind);
int32_t rd_vocab_text(const rd_vocab *v, const char *s, size_t n); /* id of a text token, or -1 */
/* Put all into tok in the order of their ids, text read as letters.  NULL, or what is wrong with
 * the string *bad (bytes of v->strings). */
const char *rd_vocab_place(const rd_vocab *v, rd_tok *tok, const char **bad, size_t *n);
/* Merge left and right in tok.  NULL, or what is wrong. */
const char *rd_vocab_merge(const rd_vocab *v, rd_tok *tok, const char *left, size_t n_left,
                           const char *right, size_t n_right);
void rd_vocab_free(rd_vocab *v);

/* ---------------------------------------------------------------- tokenizer_gguf.c */

int rd_tok_from_weights(const rd_weights *w, const char *name, rd_tok **tok);

/* The pattern of a ByteLevel pre-tokenizer with use_regex: GPT-2's. */
extern const char *const rd_tok_gpt2_pattern;

#endif
