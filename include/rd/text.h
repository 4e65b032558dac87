/* text: BPE tokenizers, chat templates.  The one door to PCRE2 and utf8proc.
 *
 * Trained on a corpus (byte-level BPE, written as a Hugging Face tokenizer.json), or read from a
 * model's files; the ids are those of the reference: `tokenizers`, tiktoken, sentencepiece.  All
 * functions are Local; a tokenizer is read-only after it is made.
 *
 * Any bytes can be encoded: what is not UTF-8 becomes pieces of its own, byte by byte.  Decoding
 * gives the same bytes back unless the tokenizer itself loses something: a byte without a token
 * (rd_tok_train_opts.all_bytes; SmolLM2 lacks some), a text that NFC changes (Qwen2.5), U+2581,
 * which is a blank to SentencePiece's. */
#ifndef RD_TEXT_H
#define RD_TEXT_H

#include "rd/base.h"
#include "rd/io.h"

typedef struct rd_tok rd_tok;

/* Special tokens of the tokenizers that rd_tok_train makes, ids 0 … 2.  Others have other ids: ask
 * rd_tok_bos and its sisters.  Specials are never produced from text (`tokenizers` does the same
 * with encode_special_tokens set, transformers with split_special_tokens). */
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

/* The tokenizer of a model:
 *   a folder            its tokenizer.json, else its tokenizer.model
 *   tokenizer.json      see below; special ids from tokenizer_config.json, generation_config.json
 *                       and config.json beside it (eos_token_id: all that end a response)
 *   *.gguf              tokenizer.ggml.model "gpt2" with pre gpt-2, smollm, llama-bpe, qwen2 or
 *                       tekken; "llama" (SentencePiece's BPE)
 *   a SentencePiece model    BPE with byte_fallback and identity normalisation (Mistral's)
 *   tiktoken's rank file     of Llama 3, by its 128000 ranks
 * RD_EINPUT names the file and the line, key or piece of what is broken or not supported. */
int rd_tok_open(const char *path, rd_tok **tok);

/* tokenizer.json.  Reading accepts what leads to the same ids as `tokenizers` gives: model BPE
 * without dropout, and an unk_token only where it is never needed;
 *   byte-level      normalizer NFC or none; pre-tokenizer ByteLevel, or a Sequence of Split(Regex,
 *                   Isolated) and Digits that ends in ByteLevel
 *   SentencePiece's byte_fallback; normalizer Prepend and Replace, or pre-tokenizer Metaspace
 * and added tokens with lstrip, rstrip, single_word and normalized.  RD_EINPUT names the file, the
 * line and the key of anything else.  Of the post-processor only its BOS is read; truncation and
 * padding are not. */
int rd_tok_load(const char *path, rd_tok **tok);
int rd_tok_save(const rd_tok *tok, const char *path); /* atomic; RD_EIO */
void rd_tok_to_json(const rd_tok *tok, rd_buf *out);
int rd_tok_from_json(const char *text, size_t n, const char *name, rd_tok **tok);
void rd_tok_free(rd_tok **tok);

int64_t rd_tok_vocab(const rd_tok *tok);                        /* ids are 0 … vocab - 1 */
int32_t rd_tok_special(const rd_tok *tok, const char *content); /* id of "<|eos|>" …, -1: none */
/* The id that begins a text, that ends a response in training, that fills up; -1: none.  Two of
 * them may be one id (SmolLM2 pads with its EOS). */
int32_t rd_tok_bos(const rd_tok *tok);
int32_t rd_tok_eos(const rd_tok *tok);
int32_t rd_tok_pad(const rd_tok *tok);
/* Does the id end a response?  EOS, and what else the model's files say: Llama 3's <|eot_id|> … */
bool rd_tok_is_end(const rd_tok *tok, int32_t id);
bool rd_tok_adds_bos(const rd_tok *tok); /* its model expects BOS before a plain text */

/* Write the ids of text (no specials are added) to ids; returns how many, or -1 if cap is too small
 * (cap = rd_tok_room always suffices), or -2 with the error recorded if the pattern exceeds PCRE2's
 * limits (not with the default one).  text may hold NUL.  Time O(n log n) for one long piece, else
 * O(n). */
int64_t rd_tok_room(const rd_tok *tok, size_t n); /* ids that n bytes may give at most; > 0 */
int64_t rd_tok_encode(const rd_tok *tok, const char *text, size_t n, int32_t *ids, int64_t cap);
/* The same of a text that stands behind other tokens: the blank that SentencePiece's tokenizers put
 * before a text is put only if `tokenizers` would put it there too. */
int64_t rd_tok_encode_behind(const rd_tok *tok, const char *text, size_t n, int32_t *ids,
                             int64_t cap);
/* Append the bytes of ids to out; special tokens and ids outside the vocabulary give nothing.  The
 * blank that encoding put before the text is taken off; behind: it stays. */
void rd_tok_decode(const rd_tok *tok, const int32_t *ids, int64_t n, rd_buf *out);
void rd_tok_decode_behind(const rd_tok *tok, const int32_t *ids, int64_t n, rd_buf *out);
/* Raw bytes of one token, a special's name; borrowed, not NUL-terminated. */
const char *rd_tok_piece(const rd_tok *tok, int32_t id, size_t *len);

/* ---------------------------------------------------------------- chat (chat_template.c) */

/* How a prompt and a response become one sequence of tokens: the same for SFT rows, preference
 * pairs and generation, because all of them ask here.
 *
 *   none      BOS prompt | response EOS          our own models, base models; a published
 *                                                model's BOS only if its tokenizer puts it there
 *   smollm2   <|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n
 *             <|im_start|>assistant\n | R<|im_end|>     S: "You are a helpful AI assistant named …"
 *   qwen2.5   the same                                  S: "You are Qwen, created by …"
 *   llama3    <|begin_of_text|>[ H(system)S<|eot_id|> ] H(user)U<|eot_id|>H(assistant) |
 * R<|eot_id|> with H(x) = <|start_header_id|>x<|end_header_id|>\n\n; no S unless one is given
 *   llama3.1  the same with a system turn always, which begins "Cutting Knowledge Date: December
 *             2023\nToday Date: 26 Jul 2024\n\n": the date that the template of 3.1 itself has.
 *             Those of 3.2 and 3.3 put in the day of the run; here a run must not depend on it
 *   mistral   <s>[INST] [ S\n\n ] U[/INST] |  R</s>     version 3 of its tokenizer (7B v0.3)
 *
 * Token by token this is what transformers' apply_chat_template gives, with the bar where
 * add_generation_prompt ends.  Special tokens are put in as ids; what stands between two of them
 * is encoded as one text, in which "<|im_end|>" is only text, whoever wrote it.  The llama3s and
 * mistral strip white space around S, U and R as their templates do (mistral: R only).  The
 * response is encoded apart from the prompt, so that a model is trained on the very prompt that it
 * is asked with; encoding both at once differs only for responses that begin with a line feed or
 * two blanks.  Response and end token, and nothing else, are the targets of SFT. */
typedef struct rd_chat rd_chat;

/* name: one of the above, or "auto", which goes by the model's own template (Jinja), recognised by
 * what is particular to it; without one (NULL) auto is none for a tokenizer of ours and an error
 * for any other.  system: NULL or "": the template's own.  tok is lent.
 * RD_EINPUT, naming the key: an unknown name, a template that is not recognised, a system message
 * for none, a special token that the tokenizer lacks. */
int rd_chat_create(const rd_tok *tok, const char *name, const char *system, const char *jinja,
                   rd_chat **chat);
void rd_chat_free(rd_chat **chat);
/* The template that a model brings: chat_template.jinja or tokenizer_config.json of a folder, the
 * metadata of a .gguf.  Nothing is written where there is none. */
int rd_chat_find(const char *path, rd_buf *jinja);
const char *rd_chat_name(const rd_chat *chat); /* never "auto" */
const rd_tok *rd_chat_tok(const rd_chat *chat);
uint64_t rd_chat_hash(const rd_chat *chat); /* of all that it puts around a text */

/* Append ids (int32_t) to a buffer: of a prompt up to where the response begins, BOS included, and
 * of a response without its end.  RD_EINPUT as rd_tok_encode. */
int rd_chat_prompt(const rd_chat *chat, const char *text, size_t n, rd_buf *ids);
int rd_chat_response(const rd_chat *chat, const char *text, size_t n, rd_buf *ids);
int32_t rd_chat_end(const rd_chat *chat); /* the token that ends a response */
/* Does this token end a generated response?  The end, and the family's other ends of text. */
bool rd_chat_stops(const rd_chat *chat, int32_t id);
/* Tokens that are never sampled, -1 for nothing: PAD and BOS with none; the families bar nothing.
 */
void rd_chat_barred(const rd_chat *chat, int32_t barred[2]);
/* The text of a generated response: what rd_chat_response was given, or would have been. */
void rd_chat_read(const rd_chat *chat, const int32_t *ids, int64_t n, rd_buf *out);

#endif
