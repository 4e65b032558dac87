/* text, inside: what the files of this layer share.  Not installed, not seen by other layers. */
#ifndef RD_TEXT_IMPL_H
#define RD_TEXT_IMPL_H

#include "rd/text.h"

/* ---------------------------------------------------------------- pretokenizer.c */

typedef struct rd_pretok rd_pretok; /* a compiled pattern; read-only after it is made */

int rd_pretok_create(const char *pattern, rd_pretok **pre); /* RD_EINPUT: message and offset */
void rd_pretok_free(rd_pretok **pre);
bool rd_pretok_begins(const rd_pretok *pre, const char *text, size_t n); /* text begins with it */

/* Bytes of the UTF-8 character at p (n > 0), 0 if there is none: as strict as PCRE2 and Python (no
 * overlong forms, no surrogates, nothing above U+10FFFF); the longest valid prefix. */
size_t rd_utf8_char(const unsigned char *p, size_t n);
size_t rd_utf8_prefix(const char *text, size_t n);

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

/* ---------------------------------------------------------------- tables.c */

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

/* ---------------------------------------------------------------- tokenizer.c */

enum { RD_MAX_ENDS = 8 };
/* What an id stands for: a hole is an unused id, a byte one of those for characters without a
 * token, an added token a text that is cut out before all else. */
enum { TOK_HOLE, TOK_TEXT, TOK_SPECIAL, TOK_BYTE, TOK_ADDED };

typedef struct tok_merge {
    int32_t left, right;
} tok_merge;

/* An added token: special or not, it is looked for in texts; only those that are not special are
 * found (added.c). */
typedef struct tok_added {
    int32_t id;
    bool special, lstrip, rstrip, single_word, normalized;
} tok_added;

/* When a blank is put before a text: never; before what nothing stands before; before all that
 * stands between added tokens. */
enum { PREFIX_NEVER, PREFIX_FIRST, PREFIX_ALWAYS };

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
    tok_merge *merges;    /* as they came; for the file */
    int64_t n_merges, merges_cap;
    int32_t *out;   /* by rank: the token that a merge makes */
    int32_t *level; /* by rank: what is made first; equal ones from left to right */
    int64_t n_ranks, ranks_cap;
    bool by_split;      /* the merges were not listed but follow from the tokens and their order */
    bool ignore_merges; /* a piece that is a token is that token, whatever the merges say */
    rd_pairmap rank;    /* (left, right) -> rank */
    rd_strset whole;    /* pieces that become one token: the piece cache, made once */
    int32_t *whole_id;  /* their ids */

    bool nfc; /* texts are brought to Unicode's form NFC */
    /* SentencePiece's way: merging begins with characters, those without a token are bytes, a
     * blank is written U+2581 in vocabularies (' ' here, in tokens and texts). */
    bool by_char;
    rd_pairmap chars;  /* character -> id */
    int prefix;        /* PREFIX_... */
    bool prefix_twice; /* also before a text that begins with a blank */
    bool strip;        /* decoding takes one blank off the beginning */

    tok_added *added;
    int64_t n_added, added_cap;
    bool finds_added[2];           /* is there any to be found: before, after normalisation? */
    int32_t *added_order;          /* numbers by first byte, long ones first */
    int32_t added_start[257];      /* where a first byte begins there */
    rd_pretok *word, *white_space; /* for single_word, lstrip, rstrip; else NULL */
};

/* Fill a new tokenizer.  Every id once in ascending order, the merges in rank order, the cuts, then
 * finish, which makes the tables and, where the specials have our names, sets bos, eos and pad. */
rd_tok *rd_tok_new(void);
void rd_tok_put_token(rd_tok *tok, const char *bytes, size_t len, int kind);
int rd_tok_add_cut(rd_tok *tok, const char *pattern); /* RD_EINPUT */
void rd_tok_finish(rd_tok *tok);
void rd_tok_add_end(rd_tok *tok, int32_t id); /* none when id < 0 or known */

extern const char *const rd_tok_special_names[RD_TOK_SPECIALS];

/* ---------------------------------------------------------------- merge.c */

enum { RD_SHORT_PIECE = 64 }; /* bytes up to which merging works on the stack, by scanning pairs */

/* Tokens of one piece by the merges.  ids holds len entries at least. */
int64_t rd_tok_merge_piece(const rd_tok *tok, const char *piece, size_t len, int32_t *ids);
void rd_tok_put_char(rd_tok *tok, const char *p, size_t n, int32_t id);
/* A merge with the next rank; the same in two steps, for several pairs of one rank. */
void rd_tok_put_merge(rd_tok *tok, int32_t left, int32_t right, int32_t out);
void rd_tok_put_rank(rd_tok *tok, int32_t out, int32_t level);
void rd_tok_put_pair(rd_tok *tok, int32_t left, int32_t right);
/* Vocabularies without merges (tiktoken, SentencePiece): n tokens, those to be made first first,
 * and their levels (NULL: 0 … n-1). */
void rd_tok_put_splits(rd_tok *tok, int64_t n, const int32_t *order, const int32_t *level);

/* ---------------------------------------------------------------- added.c */

void rd_tok_put_added(rd_tok *tok, tok_added a);
void rd_added_prepare(rd_tok *tok);
void rd_added_free(rd_tok *tok);

/* A walk over a text: added tokens (id >= 0) and what stands between them (id -1). */
typedef struct rd_spans {
    const rd_tok *tok;
    bool normalized; /* those that are looked for before, or after normalisation */
    const char *text;
    size_t n, pos, scan; /* pos: what was given out ends here; scan: the search goes on here */
    int32_t waiting;     /* a token behind the text given out last; -1: none */
    size_t waiting_end;
} rd_spans;
void rd_spans_begin(rd_spans *it, const rd_tok *tok, bool normalized, const char *text, size_t n);
bool rd_spans_next(rd_spans *it, const char **text, size_t *n, int32_t *id);

/* ---------------------------------------------------------------- normalize.c */

enum { RD_NFC_GROWTH = 3 }; /* bytes that one byte may become in NFC, at most */
/* The text as it is cut and merged, into out; false if it is the same and nothing was written. */
bool rd_normalize(const rd_tok *tok, const char *text, size_t n, bool first, rd_buf *out);
#define RD_BLANK "\xE2\x96\x81" /* U+2581, a blank in SentencePiece's vocabularies */

/* Bytes of a file for a message (vocabulary.c): at most 40, what is not printable ASCII or whole
 * UTF-8 as \x0A.  Lives as long as the expression: rd_show(s, n).text. */
typedef struct rd_shown {
    char text[40 * 4 + 4];
} rd_shown;
rd_shown rd_show(const char *s, size_t n);

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
int32_t rd_vocab_find(const rd_vocab *v, const char *s, size_t n); /* id of any token, or -1 */
int32_t rd_vocab_text(const rd_vocab *v, const char *s, size_t n); /* id of a text token, or -1 */
/* Put all into tok in the order of their ids, text read as letters (by_char: as it is, with blanks;
 * "<0x0A>" is a byte).  NULL, or what is wrong with
 * the string *bad (bytes of v->strings). */
const char *rd_vocab_place(const rd_vocab *v, rd_tok *tok, const char **bad, size_t *n);
/* Merge left and right in tok.  NULL, or what is wrong. */
const char *rd_vocab_merge(const rd_vocab *v, rd_tok *tok, const char *left, size_t n_left,
                           const char *right, size_t n_right);
void rd_vocab_free(rd_vocab *v);

/* ---------------------------------------------------------------- tokenizer_gguf.c */

int rd_tok_from_weights(const rd_weights *w, const char *name, rd_tok **tok);

/* SentencePiece's pieces, however they were read (tokenizer_pieces.c). */
typedef struct rd_sp_piece {
    const char *s; /* borrowed */
    size_t n;
    double score;
    int type; /* PIECE_... */
} rd_sp_piece;
enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER, PIECE_UNUSED, PIECE_BYTE };
/* A tokenizer of BPE pieces; what stands in messages before a number in brackets is `what`. */
int rd_tok_from_pieces(const rd_sp_piece *piece, int64_t n, bool dummy_prefix, const char *name,
                       const char *what, rd_tok **tok);
/* A SentencePiece .model (a protobuf). */
int rd_tok_from_sentencepiece(const char *bytes, size_t n, const char *name, rd_tok **tok);

/* ---------------------------------------------------------------- tokenizer_ranks.c */

/* tiktoken's "base64 rank" lines; behind them Llama 3's special tokens, and cut by its pattern. */
int rd_tok_from_ranks(const char *text, size_t n, const char *name, rd_tok **tok);
/* The pattern of a ByteLevel pre-tokenizer with use_regex: GPT-2's. */
extern const char *const rd_tok_gpt2_pattern;

#endif
