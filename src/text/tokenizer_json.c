/* tokenizer_json: reads Hugging Face's tokenizer.json.
 *
 * Two kinds of BPE: byte-level, whose pre-tokenizer ends in ByteLevel, and SentencePiece's, whose
 * blanks become U+2581 in a normalizer (Replace) or a pre-tokenizer (Metaspace).  Only what leads
 * to the same ids is accepted: whatever else would change them (dropout, another normalizer or
 * pre-tokenizer) is refused by its key.  Truncation and padding come after the ids and are not
 * read; of post-processing only the BOS that it puts first. */
#include "text_impl.h"

#include <string.h>

const char *const rd_tok_gpt2_pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ---------------------------------------------------------------- reading */

typedef struct reader {
    const rd_json *doc;
    const char *name;
    rd_vocab vocab; /* every string of the vocabulary, then of added_tokens */
    rd_tok *tok;    /* in the making */
    bool blanks;    /* somewhere it was said that blanks become U+2581 */
} reader;

#define KEY_FAIL(r, node, ...)                                                                  \
    do {                                                                                        \
        char what[400];                                                                         \
        snprintf(what, sizeof(what), __VA_ARGS__);                                              \
        RD_FAIL(RD_EINPUT, "%s:%d: %s", (r)->name, (node) ? rd_json_line((r)->doc, (node)) : 1, \
                what);                                                                          \
    } while (0)

/* A member that must be there and of this kind. */
static int need(const reader *r, const rd_json_node *object, const char *path, const char *key,
                rd_json_type kind, const rd_json_node **out)
{
    int rc = RD_OK;
    const rd_json_node *v = rd_json_get(object, key);
    if (!v) KEY_FAIL(r, object, "%s%s: missing", path, key);
    if (rd_json_kind(v) != kind)
        KEY_FAIL(r, v, "%s%s: expected %s, got %s", path, key, rd_json_kind_name(kind),
                 rd_json_kind_name(rd_json_kind(v)));
    *out = v;
done:
    return rc;
}

static bool is_type(const rd_json_node *object, const char *type)
{
    const rd_json_node *v = object ? rd_json_get(object, "type") : NULL;
    const char *s = v ? rd_json_string(v) : NULL;
    return s && strcmp(s, type) == 0;
}

/* A switch that may have either value. */
static int read_bool(const reader *r, const rd_json_node *object, const char *path, const char *key,
                     bool fallback, bool *out)
{
    int rc = RD_OK;
    const rd_json_node *v = rd_json_get(object, key);
    *out = v ? rd_json_bool(v) : fallback;
    if (v && rd_json_kind(v) != RD_JSON_BOOL)
        KEY_FAIL(r, v, "%s%s: expected boolean, got %s", path, key,
                 rd_json_kind_name(rd_json_kind(v)));
done:
    return rc;
}

/* A switch that is only read with the value we work by; absent means fallback. */
static int need_bool(const reader *r, const rd_json_node *object, const char *path, const char *key,
                     bool fallback, bool want)
{
    int rc = RD_OK;
    const rd_json_node *v = rd_json_get(object, key);
    bool got;
    RD_TRY(read_bool(r, object, path, key, fallback, &got));
    if (got != want)
        KEY_FAIL(r, v ? v : object, "%s%s: only %s is supported", path, key,
                 want ? "true" : "false");
done:
    return rc;
}

/* A string that is only read with the value we work by. */
static int need_string(const reader *r, const rd_json_node *object, const char *path,
                       const char *key, const char *want)
{
    int rc = RD_OK;
    const rd_json_node *v;
    RD_TRY(need(r, object, path, key, RD_JSON_STRING, &v));
    if (strcmp(rd_json_string(v), want) != 0)
        KEY_FAIL(r, v, "%s%s: only \"%s\" is supported", path, key, want);
done:
    return rc;
}

static int need_null(const reader *r, const rd_json_node *object, const char *path, const char *key)
{
    int rc = RD_OK;
    const rd_json_node *v = rd_json_get(object, key);
    const char *s = v ? rd_json_string(v) : NULL;
    bool empty = !v || rd_json_kind(v) == RD_JSON_NULL || (s && *s == 0);
    if (!empty) KEY_FAIL(r, v, "%s%s: only null is supported", path, key);
done:
    return rc;
}

/* ---------------------------------------------------------------- normalizer */

/* Replace " " by U+2581; what else it might replace is refused. */
static int read_replace(reader *r, const rd_json_node *v, const char *path)
{
    int rc = RD_OK;
    const rd_json_node *pattern;
    char inner[80];
    RD_TRY(need(r, v, path, "pattern", RD_JSON_OBJECT, &pattern));
    snprintf(inner, sizeof(inner), "%spattern.", path);
    RD_TRY(need_string(r, pattern, inner, "String", " "));
    RD_TRY(need_string(r, v, path, "content", RD_BLANK));
    r->tok->by_char = true;
    r->blanks = true;
done:
    return rc;
}

static int read_normal_step(reader *r, const rd_json_node *v, const char *path)
{
    int rc = RD_OK;
    if (rd_json_kind(v) != RD_JSON_OBJECT) KEY_FAIL(r, v, "%s: expected object", path);
    if (is_type(v, "NFC")) {
        r->tok->nfc = true;
    } else if (is_type(v, "Prepend")) {
        RD_TRY(need_string(r, v, path, "prepend", RD_BLANK));
        if (r->tok->prefix != PREFIX_NEVER) KEY_FAIL(r, v, "%stype: Prepend is there twice", path);
        r->tok->prefix = PREFIX_ALWAYS;
        r->tok->prefix_twice = true;
    } else if (is_type(v, "Replace")) {
        RD_TRY(read_replace(r, v, path));
    } else {
        KEY_FAIL(r, v, "%stype: only NFC, Prepend and Replace are supported", path);
    }
done:
    return rc;
}

static int read_normalizer(reader *r, const rd_json_node *root)
{
    int rc = RD_OK, i = 0;
    char path[80];
    const rd_json_node *normal = rd_json_get(root, "normalizer"), *list;
    if (!normal || rd_json_kind(normal) == RD_JSON_NULL) goto done;
    if (!is_type(normal, "Sequence")) {
        RD_TRY(read_normal_step(r, normal, "normalizer."));
    } else {
        RD_TRY(need(r, normal, "normalizer.", "normalizers", RD_JSON_ARRAY, &list));
        for (const rd_json_node *v = rd_json_first(list); v; v = rd_json_next(v), i++) {
            snprintf(path, sizeof(path), "normalizer.normalizers[%d].", i);
            RD_TRY(read_normal_step(r, v, path));
        }
    }
    if (r->tok->prefix_twice && !r->blanks)
        KEY_FAIL(r, normal, "normalizer: Prepend without Replace is not supported");
done:
    return rc;
}

/* ---------------------------------------------------------------- pre-tokenizer */

static int add_cut(reader *r, const rd_json_node *v, const char *path, const char *pattern)
{
    int rc = RD_OK;
    if (r->tok->n_cuts == RD_MAX_CUTS) KEY_FAIL(r, v, "%s: more than %d cuts", path, RD_MAX_CUTS);
    RD_TRY(rd_tok_add_cut(r->tok, pattern));
done:
    return rc;
}

static int read_split(reader *r, const rd_json_node *split, const char *path)
{
    int rc = RD_OK;
    const rd_json_node *v, *regex;
    char inner[80];
    RD_TRY(need(r, split, path, "pattern", RD_JSON_OBJECT, &v));
    snprintf(inner, sizeof(inner), "%spattern.", path);
    RD_TRY(need(r, v, inner, "Regex", RD_JSON_STRING, &regex));
    RD_TRY(need(r, split, path, "behavior", RD_JSON_STRING, &v));
    if (strcmp(rd_json_string(v), "Isolated") != 0)
        KEY_FAIL(r, v, "%sbehavior: only Isolated is supported", path);
    RD_TRY(need_bool(r, split, path, "invert", false, false));
    RD_TRY(add_cut(r, split, path, rd_json_string(regex)));
done:
    return rc;
}

/* Runs of digits, or each by itself: what Rust calls numeric are the categories Nd, Nl and No. */
static int read_digits(reader *r, const rd_json_node *digits, const char *path)
{
    int rc = RD_OK;
    bool single;
    RD_TRY(read_bool(r, digits, path, "individual_digits", false, &single));
    RD_TRY(add_cut(r, digits, path, single ? "\\p{N}" : "\\p{N}+"));
done:
    return rc;
}

static int read_byte_level(reader *r, const rd_json_node *v, const char *path)
{
    int rc = RD_OK;
    bool use_regex;
    RD_TRY(read_bool(r, v, path, "use_regex", true, &use_regex));
    RD_TRY(need_bool(r, v, path, "add_prefix_space", true, false));
    if (use_regex) RD_TRY(add_cut(r, v, path, rd_tok_gpt2_pattern));
done:
    return rc;
}

/* SentencePiece's blanks.  With split, each begins a piece of its own. */
static int read_metaspace(reader *r, const rd_json_node *v, const char *path)
{
    int rc = RD_OK;
    bool split, add;
    const rd_json_node *scheme = rd_json_get(v, "prepend_scheme");
    const char *name = scheme ? rd_json_string(scheme) : NULL;
    r->tok->by_char = true;
    r->blanks = true;
    RD_TRY(need_string(r, v, path, "replacement", RD_BLANK));
    RD_TRY(read_bool(r, v, path, "split", true, &split));
    RD_TRY(read_bool(r, v, path, "add_prefix_space", true, &add)); /* in old files */
    if (!scheme)
        r->tok->prefix = add ? PREFIX_ALWAYS : PREFIX_NEVER;
    else if (name && strcmp(name, "always") == 0)
        r->tok->prefix = PREFIX_ALWAYS;
    else if (name && strcmp(name, "first") == 0)
        r->tok->prefix = PREFIX_FIRST;
    else if (name && strcmp(name, "never") == 0)
        r->tok->prefix = PREFIX_NEVER;
    else
        KEY_FAIL(r, scheme, "%sprepend_scheme: expected always, first or never", path);
    if (split) RD_TRY(add_cut(r, v, path, " [^ ]*|[^ ]+"));
done:
    return rc;
}

/* One step of the pre-tokenizer; ByteLevel is the last. */
static int read_step(reader *r, const rd_json_node *v, const char *path, bool last)
{
    int rc = RD_OK;
    if (rd_json_kind(v) != RD_JSON_OBJECT) KEY_FAIL(r, v, "%s: expected object", path);
    if (last) {
        if (!is_type(v, "ByteLevel"))
            KEY_FAIL(r, v, "%stype: only ByteLevel is supported as the last", path);
        RD_TRY(read_byte_level(r, v, path));
    } else if (is_type(v, "Split")) {
        RD_TRY(read_split(r, v, path));
    } else if (is_type(v, "Digits")) {
        RD_TRY(read_digits(r, v, path));
    } else {
        KEY_FAIL(r, v, "%stype: only Split and Digits are supported before ByteLevel", path);
    }
done:
    return rc;
}

static int read_pre_tokenizer(reader *r, const rd_json_node *root)
{
    int rc = RD_OK, i = 0;
    char path[80];
    const rd_json_node *pre = rd_json_get(root, "pre_tokenizer"), *list;
    if (r->blanks && (!pre || rd_json_kind(pre) == RD_JSON_NULL)) goto done;
    RD_TRY(need(r, root, "", "pre_tokenizer", RD_JSON_OBJECT, &pre));
    if (is_type(pre, "Metaspace")) {
        if (r->blanks)
            KEY_FAIL(r, pre,
                     "pre_tokenizer.type: Metaspace behind a normalizer that does the same");
        RD_TRY(read_metaspace(r, pre, "pre_tokenizer."));
        goto done;
    }
    if (r->blanks)
        KEY_FAIL(r, pre, "pre_tokenizer: only null is supported behind normalizer.Replace");
    if (!is_type(pre, "Sequence")) {
        RD_TRY(read_step(r, pre, "pre_tokenizer.", true));
        goto done;
    }
    RD_TRY(need(r, pre, "pre_tokenizer.", "pretokenizers", RD_JSON_ARRAY, &list));
    for (const rd_json_node *v = rd_json_first(list); v; v = rd_json_next(v), i++) {
        snprintf(path, sizeof(path), "pre_tokenizer.pretokenizers[%d].", i);
        RD_TRY(read_step(r, v, path, rd_json_next(v) == NULL));
    }
    if (i == 0) KEY_FAIL(r, list, "pre_tokenizer.pretokenizers: empty");
done:
    return rc;
}

static int read_id(const reader *r, const rd_json_node *v, const char *path, int32_t *id)
{
    int rc = RD_OK;
    if (!rd_json_is_int(v) || rd_json_int(v) < 0 || rd_json_int(v) >= RD_MAX_ID)
        KEY_FAIL(r, v, "%s: expected an id, an integer from 0 to %d", path, RD_MAX_ID - 1);
    *id = (int32_t)rd_json_int(v);
done:
    return rc;
}

static int read_vocab(reader *r, const rd_json_node *vocab)
{
    int rc = RD_OK;
    for (const rd_json_node *v = rd_json_first(vocab); v; v = rd_json_next(v)) {
        char path[200];
        int32_t id;
        const char *key = rd_json_key(v);
        snprintf(path, sizeof(path), "model.vocab[\"%s\"]", rd_show(key, strlen(key)).text);
        RD_TRY(read_id(r, v, path, &id));
        if (*rd_json_key(v) == 0) KEY_FAIL(r, v, "model.vocab: a token is empty");
        rd_vocab_put(&r->vocab, rd_json_key(v), strlen(rd_json_key(v)), id, TOK_TEXT);
    }
    if (r->vocab.strings.n == 0) KEY_FAIL(r, vocab, "model.vocab: empty");
done:
    return rc;
}

static int read_added_token(reader *r, const rd_json_node *v, const char *path)
{
    int rc = RD_OK;
    const rd_json_node *node;
    char inner[80];
    tok_added a = {0};
    RD_TRY(need(r, v, path, "id", RD_JSON_NUMBER, &node));
    snprintf(inner, sizeof(inner), "%sid", path);
    RD_TRY(read_id(r, node, inner, &a.id));
    RD_TRY(read_bool(r, v, path, "special", false, &a.special));
    RD_TRY(read_bool(r, v, path, "lstrip", false, &a.lstrip));
    RD_TRY(read_bool(r, v, path, "rstrip", false, &a.rstrip));
    RD_TRY(read_bool(r, v, path, "single_word", false, &a.single_word));
    RD_TRY(read_bool(r, v, path, "normalized", !a.special, &a.normalized));
    RD_TRY(need(r, v, path, "content", RD_JSON_STRING, &node));
    const char *s = rd_json_string(node);
    if (*s == 0) KEY_FAIL(r, node, "%scontent: empty", path);
    if (!a.special && a.normalized && (r->tok->nfc || r->tok->by_char))
        KEY_FAIL(r, v, "%snormalized: true is not supported with this normalizer", path);
    if (rd_vocab_find(&r->vocab, s, strlen(s)) == a.id &&
        rd_vocab_text(&r->vocab, s, strlen(s)) != a.id)
        KEY_FAIL(r, node, "%scontent: \"%s\" is there twice", path, rd_show(s, strlen(s)).text);
    if (!rd_vocab_put(&r->vocab, s, strlen(s), a.id, a.special ? TOK_SPECIAL : TOK_ADDED))
        KEY_FAIL(r, node, "%sid: \"%s\" has another id in model.vocab", path,
                 rd_show(s, strlen(s)).text);
    rd_tok_put_added(r->tok, a);
done:
    return rc;
}

static int read_added_tokens(reader *r, const rd_json_node *root)
{
    int rc = RD_OK, i = 0;
    const rd_json_node *list = rd_json_get(root, "added_tokens");
    if (!list || rd_json_kind(list) == RD_JSON_NULL) goto done;
    RD_TRY(need(r, root, "", "added_tokens", RD_JSON_ARRAY, &list));
    for (const rd_json_node *v = rd_json_first(list); v; v = rd_json_next(v), i++) {
        char path[64];
        snprintf(path, sizeof(path), "added_tokens[%d]", i);
        if (rd_json_kind(v) != RD_JSON_OBJECT) KEY_FAIL(r, v, "%s: expected object", path);
        snprintf(path, sizeof(path), "added_tokens[%d].", i);
        RD_TRY(read_added_token(r, v, path));
    }
done:
    return rc;
}

/* "left right" in one string, or ["left", "right"]: both as strings in buf. */
static bool merge_sides(const rd_json_node *v, rd_buf *left, rd_buf *right)
{
    rd_buf_clear(left);
    rd_buf_clear(right);
    if (rd_json_kind(v) == RD_JSON_ARRAY && rd_json_count(v) == 2) {
        const rd_json_node *first = rd_json_first(v), *second = rd_json_next(first);
        if (!rd_json_string(first) || !rd_json_string(second)) return false;
        rd_buf_puts(left, rd_json_string(first));
        rd_buf_puts(right, rd_json_string(second));
        return true;
    }
    const char *s = rd_json_string(v), *gap = s ? strchr(s, ' ') : NULL;
    if (!gap || strchr(gap + 1, ' ')) return false;
    rd_buf_add(left, s, (size_t)(gap - s));
    rd_buf_puts(right, gap + 1);
    return true;
}

static int read_merges(reader *r, const rd_json_node *merges)
{
    int rc = RD_OK;
    int64_t i = 0;
    rd_buf left = {0}, right = {0};
    for (const rd_json_node *v = rd_json_first(merges); v; v = rd_json_next(v), i++) {
        if (!merge_sides(v, &left, &right))
            KEY_FAIL(r, v, "model.merges[%lld]: expected \"a b\" or [\"a\", \"b\"]", (long long)i);
        const char *why =
            rd_vocab_merge(&r->vocab, r->tok, left.data, left.len, right.data, right.len);
        if (why) KEY_FAIL(r, v, "model.merges[%lld]: %s", (long long)i, why);
    }
done:
    rd_buf_free(&left);
    rd_buf_free(&right);
    return rc;
}

/* A token for what has none is never needed where every byte has one. */
static int check_unknown(const reader *r, const rd_json_node *model, const rd_json_node *vocab)
{
    int rc = RD_OK, missing = -1;
    const rd_json_node *v = rd_json_get(model, "unk_token");
    const char *unk = v ? rd_json_string(v) : NULL;
    for (int b = 0; b < 256 && missing < 0; b++)
        if (r->tok->byte_id[b] < 0) missing = b;
    if (v && rd_json_kind(v) != RD_JSON_NULL && !unk)
        KEY_FAIL(r, v, "model.unk_token: expected string or null");
    if (unk && *unk && missing >= 0)
        KEY_FAIL(r, v, "model.unk_token: not supported where a byte (0x%02X) has no token",
                 missing);
    if (r->tok->by_char && missing >= 0)
        KEY_FAIL(r, vocab, "model.vocab: the byte token <0x%02X> is missing", missing);
    if (r->tok->by_char && rd_vocab_text(&r->vocab, RD_BLANK, strlen(RD_BLANK)) < 0)
        KEY_FAIL(r, vocab, "model.vocab: \"" RD_BLANK "\" is missing");
done:
    return rc;
}

static int read_model(reader *r, const rd_json_node *root)
{
    int rc = RD_OK;
    const rd_json_node *model, *vocab, *merges, *v;
    const char *bad;
    size_t n;
    RD_TRY(need(r, root, "", "model", RD_JSON_OBJECT, &model));
    /* Old files leave the type out; the vocabulary and merges then say what it is. */
    v = rd_json_get(model, "type");
    if (v && !is_type(model, "BPE")) KEY_FAIL(r, v, "model.type: only BPE is supported");
    RD_TRY(need_null(r, model, "model.", "dropout"));
    RD_TRY(need_null(r, model, "model.", "continuing_subword_prefix"));
    RD_TRY(need_null(r, model, "model.", "end_of_word_suffix"));
    RD_TRY(need_bool(r, model, "model.", "byte_fallback", false, r->tok->by_char));
    RD_TRY(read_bool(r, model, "model.", "ignore_merges", false, &r->tok->ignore_merges));
    RD_TRY(need(r, model, "model.", "vocab", RD_JSON_OBJECT, &vocab));
    RD_TRY(need(r, model, "model.", "merges", RD_JSON_ARRAY, &merges));
    RD_TRY(read_vocab(r, vocab));
    RD_TRY(read_added_tokens(r, root));
    const char *why = rd_vocab_place(&r->vocab, r->tok, &bad, &n);
    if (why) KEY_FAIL(r, vocab, "model.vocab[\"%s\"]: %s", rd_show(bad, n).text, why);
    RD_TRY(check_unknown(r, model, vocab));
    RD_TRY(read_merges(r, merges));
done:
    return rc;
}

/* ---------------------------------------------------------------- decoder, post-processor */

static int read_decode_step(reader *r, const rd_json_node *v, const char *path)
{
    int rc = RD_OK;
    const rd_json_node *count;
    static const char *const plain[] = {"Replace", "ByteFallback", "Fuse"};
    for (int i = 0; i < 3; i++)
        if (is_type(v, plain[i])) goto done;
    if (is_type(v, "Metaspace")) {
        r->tok->strip = r->tok->prefix != PREFIX_NEVER;
    } else if (is_type(v, "Strip")) {
        RD_TRY(need_string(r, v, path, "content", " "));
        RD_TRY(need(r, v, path, "start", RD_JSON_NUMBER, &count));
        if (rd_json_number(count) != 0 && rd_json_number(count) != 1)
            KEY_FAIL(r, count, "%sstart: only 0 and 1 are supported", path);
        r->tok->strip = rd_json_number(count) == 1;
        RD_TRY(need(r, v, path, "stop", RD_JSON_NUMBER, &count));
        if (rd_json_number(count) != 0) KEY_FAIL(r, count, "%sstop: only 0 is supported", path);
    } else {
        KEY_FAIL(r, v, "%stype: not supported", path);
    }
done:
    return rc;
}

static int read_decoder(reader *r, const rd_json_node *root)
{
    int rc = RD_OK, i = 0;
    char path[80];
    const rd_json_node *v = rd_json_get(root, "decoder"), *list;
    r->tok->strip = r->tok->prefix != PREFIX_NEVER;
    if (!v || rd_json_kind(v) == RD_JSON_NULL) goto done;
    if (!r->tok->by_char && !is_type(v, "ByteLevel"))
        KEY_FAIL(r, v, "decoder: only ByteLevel is supported");
    if (!r->tok->by_char) goto done;
    if (!is_type(v, "Sequence")) {
        RD_TRY(read_decode_step(r, v, "decoder."));
        goto done;
    }
    r->tok->strip = false;
    RD_TRY(need(r, v, "decoder.", "decoders", RD_JSON_ARRAY, &list));
    for (v = rd_json_first(list); v; v = rd_json_next(v), i++) {
        snprintf(path, sizeof(path), "decoder.decoders[%d].", i);
        RD_TRY(read_decode_step(r, v, path));
    }
done:
    return rc;
}

/* The first special token of a TemplateProcessing is the BOS that the model expects. */
static void read_bos(const reader *r, const rd_json_node *post, int depth)
{
    const rd_json_node *list = post ? rd_json_get(post, "processors") : NULL;
    if (list && is_type(post, "Sequence") && depth == 0)
        for (const rd_json_node *v = rd_json_first(list); v; v = rd_json_next(v))
            if (rd_json_kind(v) == RD_JSON_OBJECT) read_bos(r, v, 1);
    if (!post || !is_type(post, "TemplateProcessing")) return;
    const rd_json_node *single = rd_json_get(post, "single");
    const rd_json_node *first = single ? rd_json_first(single) : NULL;
    bool object = first && rd_json_kind(first) == RD_JSON_OBJECT;
    first = object ? rd_json_get(first, "SpecialToken") : NULL;
    object = first && rd_json_kind(first) == RD_JSON_OBJECT;
    const rd_json_node *name = object ? rd_json_get(first, "id") : NULL;
    int32_t id = name && rd_json_string(name) ? rd_tok_special(r->tok, rd_json_string(name)) : -1;
    if (id < 0) return;
    r->tok->bos = id;
    r->tok->add_bos = true;
}

static int read_document(const rd_json *doc, const rd_json_node *root, const char *name,
                         rd_tok **out)
{
    int rc = RD_OK;
    reader r = {.doc = doc, .name = name, .tok = rd_tok_new()};
    if (rd_json_kind(root) != RD_JSON_OBJECT)
        KEY_FAIL(&r, root, "expected an object, got %s", rd_json_kind_name(rd_json_kind(root)));
    RD_TRY(read_normalizer(&r, root));
    RD_TRY(read_pre_tokenizer(&r, root));
    RD_TRY(read_decoder(&r, root));
    RD_TRY(read_model(&r, root));
    rd_tok_finish(r.tok);
    const rd_json_node *post = rd_json_get(root, "post_processor");
    if (post && rd_json_kind(post) == RD_JSON_OBJECT) read_bos(&r, post, 0);
    *out = r.tok;
    r.tok = NULL;
done:
    rd_vocab_free(&r.vocab);
    rd_tok_free(&r.tok);
    return rc;
}

int rd_tok_from_json(const char *text, size_t n, const char *name, rd_tok **tok)
{
    int rc = RD_OK;
    rd_json *doc = NULL;
    RD_TRY(rd_json_parse(text, n, name, 1, &doc));
    RD_TRY(read_document(doc, rd_json_root(doc), name, tok));
done:
    rd_json_free(&doc);
    return rc;
}

int rd_tok_load(const char *path, rd_tok **tok)
{
    int rc = RD_OK;
    rd_buf text = {0};
    RD_TRY(rd_file_read(path, &text));
    RD_TRY(rd_tok_from_json(text.data, text.len, path, tok));
done:
    rd_buf_free(&text);
    return rc;
}
