/* tokenizer_json: reads and writes Hugging Face's tokenizer.json.
 *
 * Only what leads to the same ids is accepted: whatever else would change them (a normalizer,
 * dropout, another pre-tokenizer) is refused by its key.  Truncation, padding and post-processing
 * come after the ids and are not read. */
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

/* A switch that is only read with the value we work by; absent means fallback. */
static int need_bool(const reader *r, const rd_json_node *object, const char *path, const char *key,
                     bool fallback, bool want)
{
    int rc = RD_OK;
    const rd_json_node *v = rd_json_get(object, key);
    bool got = v ? rd_json_bool(v) : fallback;
    if (v && rd_json_kind(v) != RD_JSON_BOOL)
        KEY_FAIL(r, v, "%s%s: expected boolean, got %s", path, key,
                 rd_json_kind_name(rd_json_kind(v)));
    if (got != want)
        KEY_FAIL(r, v ? v : object, "%s%s: only %s is supported", path, key,
                 want ? "true" : "false");
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
    const rd_json_node *v = rd_json_get(digits, "individual_digits");
    if (v && rd_json_kind(v) != RD_JSON_BOOL)
        KEY_FAIL(r, v, "%sindividual_digits: expected boolean, got %s", path,
                 rd_json_kind_name(rd_json_kind(v)));
    RD_TRY(add_cut(r, digits, path, v && rd_json_bool(v) ? "\\p{N}" : "\\p{N}+"));
done:
    return rc;
}

static int read_byte_level(reader *r, const rd_json_node *v, const char *path)
{
    int rc = RD_OK;
    const rd_json_node *use = rd_json_get(v, "use_regex");
    if (use && rd_json_kind(use) != RD_JSON_BOOL)
        KEY_FAIL(r, use, "%suse_regex: expected boolean, got %s", path,
                 rd_json_kind_name(rd_json_kind(use)));
    RD_TRY(need_bool(r, v, path, "add_prefix_space", true, false));
    if (!use || rd_json_bool(use)) RD_TRY(add_cut(r, v, path, rd_tok_gpt2_pattern));
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
    const rd_json_node *pre, *list;
    RD_TRY(need(r, root, "", "pre_tokenizer", RD_JSON_OBJECT, &pre));
    if (!is_type(pre, "Sequence")) {
        RD_TRY(read_step(r, pre, "pre_tokenizer.", true));
        goto done;
    }
    RD_TRY(need(r, pre, "pre_tokenizer.", "pretokenizers", RD_JSON_ARRAY, &list));
    for (const rd_json_node *v = rd_json_first(list); v; v = rd_json_next(v), i++) {
        snprintf(path, sizeof(path), "pre_tokenizer.pretokenizers[%d].", i);
        RD_TRY(read_step(r, v, path, rd_json_next(v) == NULL));
    }
    if (r->tok->n_cuts == 0)
        KEY_FAIL(r, list, "pre_tokenizer.pretokenizers: nothing cuts the text");
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
        snprintf(path, sizeof(path), "model.vocab[\"%s\"]", rd_json_key(v));
        RD_TRY(read_id(r, v, path, &id));
        if (*rd_json_key(v) == 0) KEY_FAIL(r, v, "model.vocab: a token is empty");
        rd_vocab_put(&r->vocab, rd_json_key(v), strlen(rd_json_key(v)), id, TOK_TEXT);
    }
    if (r->vocab.strings.n == 0) KEY_FAIL(r, vocab, "model.vocab: empty");
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
        const rd_json_node *node;
        int32_t id;
        snprintf(path, sizeof(path), "added_tokens[%d]", i);
        if (rd_json_kind(v) != RD_JSON_OBJECT) KEY_FAIL(r, v, "%s: expected object", path);
        snprintf(path, sizeof(path), "added_tokens[%d].", i);
        RD_TRY(need(r, v, path, "id", RD_JSON_NUMBER, &node));
        snprintf(path, sizeof(path), "added_tokens[%d].id", i);
        RD_TRY(read_id(r, node, path, &id));
        snprintf(path, sizeof(path), "added_tokens[%d].", i);
        /* One that is not special is cut out of every text before the pieces are made. */
        RD_TRY(need_bool(r, v, path, "special", false, true));
        RD_TRY(need(r, v, path, "content", RD_JSON_STRING, &node));
        if (*rd_json_string(node) == 0) KEY_FAIL(r, node, "%scontent: empty", path);
        const char *s = rd_json_string(node);
        if (!rd_vocab_put(&r->vocab, s, strlen(s), id, TOK_SPECIAL))
            KEY_FAIL(r, node, "%sid: \"%s\" has another id in model.vocab", path, s);
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
    RD_TRY(need_null(r, model, "model.", "unk_token"));
    RD_TRY(need_null(r, model, "model.", "continuing_subword_prefix"));
    RD_TRY(need_null(r, model, "model.", "end_of_word_suffix"));
    RD_TRY(need_bool(r, model, "model.", "byte_fallback", false, false));
    v = rd_json_get(model, "ignore_merges");
    r->tok->ignore_merges = v && rd_json_bool(v);
    RD_TRY(need(r, model, "model.", "vocab", RD_JSON_OBJECT, &vocab));
    RD_TRY(need(r, model, "model.", "merges", RD_JSON_ARRAY, &merges));
    RD_TRY(read_vocab(r, vocab));
    RD_TRY(read_added_tokens(r, root));
    const char *why = rd_vocab_place(&r->vocab, r->tok, &bad, &n);
    if (why) KEY_FAIL(r, vocab, "model.vocab[\"%.*s\"]: %s", (int)n, bad, why);
    RD_TRY(read_merges(r, merges));
done:
    return rc;
}

static int read_document(const rd_json *doc, const rd_json_node *root, const char *name,
                         rd_tok **out)
{
    int rc = RD_OK;
    reader r = {.doc = doc, .name = name, .tok = rd_tok_new()};
    const rd_json_node *v;
    if (rd_json_kind(root) != RD_JSON_OBJECT)
        KEY_FAIL(&r, root, "expected an object, got %s", rd_json_kind_name(rd_json_kind(root)));
    RD_TRY(need_null(&r, root, "", "normalizer"));
    RD_TRY(read_pre_tokenizer(&r, root));
    v = rd_json_get(root, "decoder");
    if (v && rd_json_kind(v) != RD_JSON_NULL && !is_type(v, "ByteLevel"))
        KEY_FAIL(&r, v, "decoder: only ByteLevel is supported");
    RD_TRY(read_model(&r, root));
    rd_tok_finish(r.tok);
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

/* ---------------------------------------------------------------- writing */

static void write_byte_level(rd_json_node *v)
{
    rd_json_set_string(v, "type", "ByteLevel");
    rd_json_set_bool(v, "add_prefix_space", false);
    rd_json_set_bool(v, "trim_offsets", true);
    rd_json_set_bool(v, "use_regex", false);
}

static void write_frame(const rd_tok *tok, rd_json_node *root)
{
    size_t n;
    rd_json_set_string(root, "version", "1.0");
    rd_json_set_null(root, "truncation");
    rd_json_set_null(root, "padding");
    rd_json_node *added = rd_json_set_array(root, "added_tokens");
    for (int32_t id = 0; id < tok->n; id++) {
        if (tok->kind[id] != TOK_SPECIAL) continue;
        const char *p = rd_tok_piece(tok, id, &n);
        char *content = rd_strndup(p, n);
        rd_json_node *v = rd_json_set_object(added, NULL);
        rd_json_set_int(v, "id", id);
        rd_json_set_string(v, "content", content);
        rd_json_set_bool(v, "single_word", false);
        rd_json_set_bool(v, "lstrip", false);
        rd_json_set_bool(v, "rstrip", false);
        rd_json_set_bool(v, "normalized", false);
        rd_json_set_bool(v, "special", true);
        rd_free(content);
    }
    rd_json_set_null(root, "normalizer");
    rd_json_node *pre = rd_json_set_object(root, "pre_tokenizer");
    rd_json_set_string(pre, "type", "Sequence");
    rd_json_node *list = rd_json_set_array(pre, "pretokenizers");
    for (int k = 0; k < tok->n_cuts; k++) {
        rd_json_node *split = rd_json_set_object(list, NULL);
        rd_json_set_string(split, "type", "Split");
        rd_json_set_string(rd_json_set_object(split, "pattern"), "Regex", tok->pattern[k]);
        rd_json_set_string(split, "behavior", "Isolated");
        rd_json_set_bool(split, "invert", false);
    }
    write_byte_level(rd_json_set_object(list, NULL));
    rd_json_set_null(root, "post_processor");
    write_byte_level(rd_json_set_object(root, "decoder"));
}

static void add_letters(const rd_tok *tok, const rd_letters *letters, int32_t id, rd_buf *out)
{
    size_t n;
    const char *p = rd_tok_piece(tok, id, &n);
    if (tok->kind[id] == TOK_SPECIAL)
        rd_buf_add(out, p, n);
    else
        rd_letters_write(letters, p, n, out);
}

static void write_model(const rd_tok *tok, rd_json_node *model)
{
    rd_letters letters = rd_letters_make();
    rd_buf text = {0};
    rd_json_set_string(model, "type", "BPE");
    rd_json_set_null(model, "dropout");
    rd_json_set_null(model, "unk_token");
    rd_json_set_null(model, "continuing_subword_prefix");
    rd_json_set_null(model, "end_of_word_suffix");
    rd_json_set_bool(model, "fuse_unk", false);
    rd_json_set_bool(model, "byte_fallback", false);
    rd_json_set_bool(model, "ignore_merges", tok->ignore_merges);
    rd_json_node *vocab = rd_json_set_object(model, "vocab");
    for (int32_t id = 0; id < tok->n; id++) {
        if (tok->kind[id] == TOK_HOLE) continue;
        rd_buf_clear(&text);
        add_letters(tok, &letters, id, &text);
        rd_json_add_int(vocab, text.data, id);
    }
    /* The one-string form, which every version of the Python package reads. */
    rd_json_node *merges = rd_json_set_array(model, "merges");
    for (int64_t i = 0; i < tok->n_merges; i++) {
        rd_buf_clear(&text);
        add_letters(tok, &letters, tok->merges[i].left, &text);
        rd_buf_putc(&text, ' ');
        add_letters(tok, &letters, tok->merges[i].right, &text);
        rd_json_set_string(merges, NULL, text.data);
    }
    rd_buf_free(&text);
}

void rd_tok_to_json(const rd_tok *tok, rd_buf *out)
{
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    write_frame(tok, rd_json_root(doc));
    write_model(tok, rd_json_set_object(rd_json_root(doc), "model"));
    rd_json_print(rd_json_root(doc), true, out);
    rd_json_free(&doc);
}

int rd_tok_save(const rd_tok *tok, const char *path)
{
    int rc = RD_OK;
    rd_buf text = {0};
    rd_tok_to_json(tok, &text);
    RD_TRY(rd_file_write_atomic(path, text.data, text.len));
done:
    rd_buf_free(&text);
    return rc;
}
