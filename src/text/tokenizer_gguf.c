/* tokenizer_gguf: the tokenizer inside a .gguf file.
 *
 * tokenizer.ggml.model "gpt2" is byte-level BPE: the tokens in byte letters, the merges as "a b".
 * How texts are normalised and cut is only named there (tokenizer.ggml.pre), after the model family
 * whose tokenizer.json says it; here is what those say.  "llama" is SentencePiece's BPE: pieces
 * with scores. */
#include "text_impl.h"

#include <string.h>

typedef struct family {
    const char *name;
    const char *cut[RD_MAX_CUTS];
    bool nfc, ignore_merges;
} family;

#define DIGIT "\\p{N}"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define WORDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define SIGNS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define BEFORE "[^\\r\\n\\p{L}\\p{N}]?"

static const family families[] = {
    {"gpt-2", {GPT2}, false, false},
    {"smollm", {DIGIT, GPT2}, false, false},
    {"llama-bpe", {WORDS "|\\p{N}{1,3}" SIGNS}, false, true},
    {"qwen2", {WORDS "|\\p{N}" SIGNS}, true, false},
    {"tekken",
     {BEFORE UPPER "*" LOWER "+|" BEFORE UPPER "+" LOWER "*|\\p{N}"
                   "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     false,
     true},
};

/* ---------------------------------------------------------------- keys */

typedef struct reader {
    const rd_weights *w;
    const char *name;
    const rd_meta *tokens, *types, *merges;
    rd_vocab vocab;
    rd_tok *tok;
} reader;

static int need_array(const reader *r, const char *key, rd_meta_kind kind, const rd_meta **out)
{
    int rc = RD_OK;
    const rd_meta *m = rd_weights_meta(r->w, key);
    if (!m) RD_FAIL(RD_EINPUT, "%s: key '%s': missing", r->name, key);
    if (!rd_meta_is_array(m) || rd_meta_type(m) != kind)
        RD_FAIL(RD_EINPUT, "%s: key '%s': expected an array of %s", r->name, key,
                kind == RD_META_STRING ? "strings" : "integers");
    *out = m;
done:
    return rc;
}

static int need_string(const reader *r, const char *key, const char **out)
{
    int rc = RD_OK;
    const rd_meta *m = rd_weights_meta(r->w, key);
    if (!m) RD_FAIL(RD_EINPUT, "%s: key '%s': missing", r->name, key);
    if (rd_meta_is_array(m) || rd_meta_type(m) != RD_META_STRING)
        RD_FAIL(RD_EINPUT, "%s: key '%s': expected a string", r->name, key);
    *out = rd_meta_string(m, 0, NULL);
done:
    return rc;
}

/* The id under a key; -1 when there is none. */
static int read_id(const reader *r, const char *key, int32_t *id)
{
    int rc = RD_OK;
    const rd_meta *m = rd_weights_meta(r->w, key);
    *id = -1;
    if (!m) goto done;
    int64_t v = rd_meta_is_array(m) || rd_meta_type(m) != RD_META_INT ? -1 : rd_meta_int(m, 0);
    if (v < 0 || v >= rd_meta_count(r->tokens))
        RD_FAIL(RD_EINPUT, "%s: key '%s': expected an id below %lld", r->name, key,
                (long long)rd_meta_count(r->tokens));
    *id = (int32_t)v;
done:
    return rc;
}

static int read_flag(const reader *r, const char *key, bool fallback, bool *out)
{
    int rc = RD_OK;
    const rd_meta *m = rd_weights_meta(r->w, key);
    *out = fallback;
    if (!m) goto done;
    if (rd_meta_is_array(m) || rd_meta_type(m) != RD_META_BOOL)
        RD_FAIL(RD_EINPUT, "%s: key '%s': expected a boolean", r->name, key);
    *out = rd_meta_int(m, 0) != 0;
done:
    return rc;
}

/* ---------------------------------------------------------------- byte-level BPE */

static int read_tokens(reader *r)
{
    int rc = RD_OK;
    const char *bad;
    size_t n;
    for (int64_t i = 0; i < rd_meta_count(r->tokens); i++) {
        const char *s = rd_meta_string(r->tokens, i, &n);
        int64_t type = rd_meta_int(r->types, i);
        if (n == 0)
            RD_FAIL(RD_EINPUT, "%s: tokenizer.ggml.tokens[%lld]: empty", r->name, (long long)i);
        if (type < PIECE_NORMAL || type > PIECE_UNUSED)
            RD_FAIL(RD_EINPUT, "%s: tokenizer.ggml.token_type[%lld]: '%s' is of type %lld", r->name,
                    (long long)i, rd_show(s, n).text, (long long)type);
        int kind = type == PIECE_NORMAL ? TOK_TEXT : type == PIECE_USER ? TOK_ADDED : TOK_SPECIAL;
        /* Special ones are looked for too, in order that an added token in one is not found. */
        if (kind != TOK_TEXT)
            rd_tok_put_added(r->tok, (tok_added){.id = (int32_t)i, .special = kind == TOK_SPECIAL});
        if (!rd_vocab_put(&r->vocab, s, n, (int32_t)i, kind))
            RD_FAIL(RD_EINPUT, "%s: tokenizer.ggml.tokens[%lld]: '%s' is there twice", r->name,
                    (long long)i, rd_show(s, n).text);
    }
    const char *why = rd_vocab_place(&r->vocab, r->tok, &bad, &n);
    if (why)
        RD_FAIL(RD_EINPUT, "%s: tokenizer.ggml.tokens: '%s': %s", r->name, rd_show(bad, n).text,
                why);
done:
    return rc;
}

static int read_merges(reader *r)
{
    int rc = RD_OK;
    size_t n;
    for (int64_t i = 0; i < rd_meta_count(r->merges); i++) {
        const char *s = rd_meta_string(r->merges, i, &n);
        /* A token never holds a blank: its letter is another. */
        const char *gap = memchr(s, ' ', n), *why = "expected \"a b\"";
        if (gap)
            why = rd_vocab_merge(&r->vocab, r->tok, s, (size_t)(gap - s), gap + 1,
                                 n - (size_t)(gap + 1 - s));
        if (why)
            RD_FAIL(RD_EINPUT, "%s: tokenizer.ggml.merges[%lld]: '%s': %s", r->name, (long long)i,
                    rd_show(s, n).text, why);
    }
done:
    return rc;
}

static int read_family(reader *r)
{
    int rc = RD_OK;
    const char *pre;
    size_t i = 0;
    RD_TRY(need_string(r, "tokenizer.ggml.pre", &pre));
    while (i < sizeof(families) / sizeof(*families) && strcmp(families[i].name, pre) != 0) i++;
    if (i == sizeof(families) / sizeof(*families))
        RD_FAIL(RD_EINPUT, "%s: key 'tokenizer.ggml.pre': '%s' is not supported", r->name,
                rd_show(pre, strlen(pre)).text);
    for (int k = 0; k < RD_MAX_CUTS && families[i].cut[k]; k++)
        RD_TRY(rd_tok_add_cut(r->tok, families[i].cut[k]));
    r->tok->nfc = families[i].nfc;
    r->tok->ignore_merges = families[i].ignore_merges;
done:
    return rc;
}

/* SentencePiece's models expect BOS unless it is said that they do not. */
static int read_specials(reader *r, bool pieces)
{
    static const char *const ends[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    int rc = RD_OK;
    int32_t id;
    rd_tok *tok = r->tok;
    RD_TRY(read_id(r, "tokenizer.ggml.bos_token_id", &tok->bos));
    RD_TRY(read_id(r, "tokenizer.ggml.eos_token_id", &tok->eos));
    RD_TRY(read_id(r, "tokenizer.ggml.padding_token_id", &tok->pad));
    RD_TRY(read_flag(r, "tokenizer.ggml.add_bos_token", pieces, &tok->add_bos));
    rd_tok_add_end(tok, tok->eos);
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
        RD_TRY(read_id(r, ends[i], &id));
        rd_tok_add_end(tok, id);
    }
done:
    return rc;
}

static int read_byte_level(reader *r)
{
    int rc = RD_OK;
    RD_TRY(need_array(r, "tokenizer.ggml.merges", RD_META_STRING, &r->merges));
    r->tok = rd_tok_new();
    RD_TRY(read_tokens(r));
    RD_TRY(read_merges(r));
    RD_TRY(read_family(r));
    rd_tok_finish(r->tok);
done:
    return rc;
}

/* ---------------------------------------------------------------- SentencePiece's BPE */

static int read_pieces(reader *r)
{
    int rc = RD_OK;
    const rd_meta *scores;
    bool prefix;
    const int64_t n = rd_meta_count(r->tokens);
    rd_sp_piece *piece = rd_new(rd_sp_piece, n);
    RD_TRY(need_array(r, "tokenizer.ggml.scores", RD_META_REAL, &scores));
    RD_TRY(read_flag(r, "tokenizer.ggml.add_space_prefix", true, &prefix));
    if (rd_meta_count(scores) != n)
        RD_FAIL(RD_EINPUT, "%s: key 'tokenizer.ggml.scores': %lld scores of %lld tokens", r->name,
                (long long)rd_meta_count(scores), (long long)n);
    for (int64_t i = 0; i < n; i++) {
        int64_t type = rd_meta_int(r->types, i);
        piece[i].s = rd_meta_string(r->tokens, i, &piece[i].n);
        piece[i].score = rd_meta_real(scores, i);
        piece[i].type = type < 0 || type > PIECE_BYTE ? 0 : (int)type;
    }
    RD_TRY(rd_tok_from_pieces(piece, n, prefix, r->name, "tokenizer.ggml.tokens", &r->tok));
done:
    rd_free(piece);
    return rc;
}

int rd_tok_from_weights(const rd_weights *w, const char *name, rd_tok **out)
{
    int rc = RD_OK;
    reader r = {.w = w, .name = name};
    const char *model;
    RD_TRY(need_string(&r, "tokenizer.ggml.model", &model));
    const bool pieces = strcmp(model, "llama") == 0;
    if (!pieces && strcmp(model, "gpt2") != 0)
        RD_FAIL(RD_EINPUT, "%s: key 'tokenizer.ggml.model': '%s' is not supported", name,
                rd_show(model, strlen(model)).text);
    RD_TRY(need_array(&r, "tokenizer.ggml.tokens", RD_META_STRING, &r.tokens));
    RD_TRY(need_array(&r, "tokenizer.ggml.token_type", RD_META_INT, &r.types));
    if (rd_meta_count(r.types) != rd_meta_count(r.tokens))
        RD_FAIL(RD_EINPUT, "%s: key 'tokenizer.ggml.token_type': %lld types of %lld tokens", name,
                (long long)rd_meta_count(r.types), (long long)rd_meta_count(r.tokens));
    if (rd_meta_count(r.tokens) < 1 || rd_meta_count(r.tokens) > RD_MAX_ID)
        RD_FAIL(RD_EINPUT, "%s: key 'tokenizer.ggml.tokens': %lld tokens", name,
                (long long)rd_meta_count(r.tokens));
    RD_TRY(pieces ? read_pieces(&r) : read_byte_level(&r));
    RD_TRY(read_specials(&r, pieces));
    *out = r.tok;
    r.tok = NULL;
done:
    rd_vocab_free(&r.vocab);
    rd_tok_free(&r.tok);
    return rc;
}
