/* text: a byte-level BPE tokenizer.  The one door to PCRE2.
 *
 * Trained on a corpus, written and read as a Hugging Face tokenizer.json (model BPE, byte-level,
 * a Split pre-tokenizer with a regular expression), so that `tokenizers` loads it and gives the
 * same ids.  All functions are Local; a tokenizer is read-only after it is made.
 *
 * Any bytes can be encoded: what is not UTF-8 becomes pieces of its own, byte by byte, and decoding
 * gives the same bytes back (as long as every byte has a token: rd_tok_train_opts.all_bytes). */
#ifndef RD_TEXT_H
#define RD_TEXT_H

#include "rd/base.h"
#include "rd/io.h"

typedef struct rd_tok rd_tok;

/* Special tokens of our own tokenizers, ids 0 … 2: never produced from text (`tokenizers` does the
 * same with encode_special_tokens set, transformers with split_special_tokens). */
enum { RD_TOK_PAD = 0, RD_TOK_BOS = 1, RD_TOK_EOS = 2, RD_TOK_SPECIALS = 3 };

typedef struct rd_tok_train_opts {
    int64_t vocab;       /* wanted size: specials + bytes + merges; training may stop below it */
    bool all_bytes;      /* give all 256 bytes a token even if unseen; else those that occur, and
                          * encoding drops the others, as `tokenizers` does */
    const char *pattern; /* PCRE2 pre-tokenizer; NULL: rd_tok_default_pattern() */
    int64_t min_count;   /* a pair is merged only if it occurs this often; 0: 2 */
    int (*poll)(void);   /* called now and then; training ends with what it returns unless RD_OK */
} rd_tok_train_opts;

/* Pieces: a number's digits two by two, the first two with the blank, comma and minus before them
 * (" 7", ", 7", ", -12"; 123 is "12" "3"); a word with its leading blank; one bracket, or a run of
 * other punctuation, with its leading blank; one line feed; other blanks, of which the last goes to
 * the piece that follows.  Chosen so that a list cell up to 99 is one token. */
const char *rd_tok_default_pattern(void);

/* Train on weighted texts (weights may be NULL).  Deterministic, whatever the order of the texts:
 * ties go to the smaller pair of byte strings.  Errors: RD_EINPUT for a bad pattern, a vocabulary
 * that is too small, a negative weight. */
int rd_tok_train(const rd_tok_train_opts *opts, int64_t n, const char *const *texts,
                 const int64_t *weights, rd_tok **tok);

/* tokenizer.json.  Reading accepts what leads to the same ids as `tokenizers` gives: model BPE
 * without dropout, pre-tokenizer ByteLevel or Sequence[Split(Regex, Isolated), ByteLevel], added
 * tokens that are special, no normalizer; RD_EINPUT names the file, the line and the key of
 * anything else.  Truncation, padding and post-processor are not read. */
int rd_tok_load(const char *path, rd_tok **tok);
int rd_tok_save(const rd_tok *tok, const char *path); /* atomic; RD_EIO */
void rd_tok_to_json(const rd_tok *tok, rd_buf *out);
int rd_tok_from_json(const char *text, size_t n, const char *name, rd_tok **tok);
void rd_tok_free(rd_tok **tok);

int64_t rd_tok_vocab(const rd_tok *tok);                        /* ids are 0 … vocab - 1 */
int32_t rd_tok_special(const rd_tok *tok, const char *content); /* id of "<|eos|>" …, -1: none */

/* Write the ids of text (no specials are added) to ids; returns how many, or -1 if cap is too small
 * (cap = n always suffices), or -2 with the error recorded if the pattern exceeds PCRE2's limits
 * (not with the default one).  text may hold NUL.  Time O(n log n) for one long piece, else O(n).
 */
int64_t rd_tok_encode(const rd_tok *tok, const char *text, size_t n, int32_t *ids, int64_t cap);
/* Append the bytes of ids to out; special tokens and ids outside the vocabulary give nothing. */
void rd_tok_decode(const rd_tok *tok, const int32_t *ids, int64_t n, rd_buf *out);
/* Raw bytes of one token, a special's name; borrowed, not NUL-terminated. */
const char *rd_tok_piece(const rd_tok *tok, int32_t id, size_t *len);

#endif
