/* tokenizer_json: reads and writes Hugging Face's tokenizer.json.
 *
 * Only what leads to the same ids is accepted: whatever else would change them (a normalizer,
 * dropout, another pre-tokenizer) is refused by its key.  Truncation, padding and post-processing
 * come after the ids and are not read. */
#include "text_impl.h"

#include <string.h>

enum { MAX_ID = 1 << 22 }; /* an id above this is a broken file, not a vocabulary */

/* The pattern of a ByteLevel pre-tokenizer with use_regex, which is not written in the file. */
static const char byte_level_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ---------------------------------------------------------------- the byte alphabet */

/* A vocabulary is written in Unicode: printable bytes of Latin-1 stand for themselves, the others
 * for the characters from U+0100 on, in order. */
typedef struct alphabet {
    uint16_t character[256];
    int16_t byte[512]; /* -1: not a letter of it */
} alphabet;

static alphabet make_alphabet(void)
{
    alphabet a;
    int next = 256;
    memset(a.byte, 0xFF, sizeof(a.byte));
    for (int b = 0; b < 256; b++) {
        bool printable = (b > 32 && b < 127) || (b > 160 && b != 173);
        a.character[b] = (uint16_t)(printable ? b : next++);
        a.byte[a.character[b]] = (int16_t)b;
    }
    return a;
}

static void bytes_to_letters(const alphabet *a, const char *p, size_t n, rd_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        unsigned c = a->character[(unsigned char)p[i]];
        if (c >= 0x80) rd_buf_putc(out, (char)(0xC0 | c >> 6));
        rd_buf_putc(out, (char)(c >= 0x80 ? 0x80 | (c & 0x3F) : c));
    }
}

/* Appends; false if a character is not a letter of the alphabet. */
static bool letters_to_bytes(const alphabet *a, const char *s, size_t n, rd_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        unsigned c = (unsigned char)s[i];
        if (c >= 0x80) {
            if (c < 0xC0 || c > 0xC7 || i + 1 == n) return false;
            c = (c & 0x1F) << 6 | ((unsigned char)s[++i] & 0x3F);
        }
        if (a->byte[c] < 0) return false;
        rd_buf_putc(out, (char)a->byte[c]);
    }
    return true;
}

/* ---------------------------------------------------------------- reading */

/* What a file is read into before the tokenizer is made: strings by id, in file order. */
typedef struct reader {
    const rd_json *doc;
    const char *name;
    alphabet letters;
    rd_strset strings; /* every string of the vocabulary, then of added_tokens */
    int32_t *id;       /* of each string */
    bool *special;     /* each string's kind */
    int64_t cap;
    int64_t n_ids; /* largest id + 1 */
    const char *pattern;
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

static int read_split(reader *r, const rd_json_node *split, const char *path)
{
    int rc = RD_OK;
    const rd_json_node *v, *regex;
    char inner[80];
    if (!is_type(split, "Split")) KEY_FAIL(r, split, "%stype: only Split is supported here", path);
    RD_TRY(need(r, split, path, "pattern", RD_JSON_OBJECT, &v));
    snprintf(inner, sizeof(inner), "%spattern.", path);
    RD_TRY(need(r, v, inner, "Regex", RD_JSON_STRING, &regex));
    r->pattern = rd_json_string(regex);
    RD_TRY(need(r, split, path, "behavior", RD_JSON_STRING, &v));
    if (strcmp(rd_json_string(v), "Isolated") != 0)
        KEY_FAIL(r, v, "%sbehavior: only Isolated is supported", path);
    RD_TRY(need_bool(r, split, path, "invert", false, false));
done:
    return rc;
}

static int read_byte_level(reader *r, const rd_json_node *v, const char *path, bool use_regex)
{
    int rc = RD_OK;
    if (!is_type(v, "ByteLevel")) KEY_FAIL(r, v, "%stype: only ByteLevel is supported here", path);
    RD_TRY(need_bool(r, v, path, "add_prefix_space", true, false));
    RD_TRY(need_bool(r, v, path, "use_regex", true, use_regex));
done:
    return rc;
}

static int read_pre_tokenizer(reader *r, const rd_json_node *root)
{
    int rc = RD_OK;
    const rd_json_node *pre, *list;
    RD_TRY(need(r, root, "", "pre_tokenizer", RD_JSON_OBJECT, &pre));
    if (!is_type(pre, "Sequence")) {
        r->pattern = byte_level_pattern;
        RD_TRY(read_byte_level(r, pre, "pre_tokenizer.", true));
        goto done;
    }
    RD_TRY(need(r, pre, "pre_tokenizer.", "pretokenizers", RD_JSON_ARRAY, &list));
    if (rd_json_count(list) != 2)
        KEY_FAIL(r, list, "pre_tokenizer.pretokenizers: expected Split and ByteLevel, got %lld",
                 (long long)rd_json_count(list));
    const rd_json_node *first = rd_json_first(list);
    RD_TRY(read_split(r, first, "pre_tokenizer.pretokenizers[0]."));
    RD_TRY(read_byte_level(r, rd_json_next(first), "pre_tokenizer.pretokenizers[1].", false));
done:
    return rc;
}

/* Enter a string with its id; false if it stands there with another id. */
static bool put_string(reader *r, const char *s, int32_t id, bool special)
{
    int64_t known = r->strings.n;
    int32_t i = rd_strset_add(&r->strings, s, strlen(s));
    if (i >= r->cap) {
        r->cap = r->strings.cap;
        rd_resize(r->id, r->cap);
        rd_resize(r->special, r->cap);
    }
    if (i == known) r->id[i] = id;
    r->special[i] = special;
    if (id >= r->n_ids) r->n_ids = id + 1;
    return r->id[i] == id;
}

static int read_id(const reader *r, const rd_json_node *v, const char *path, int32_t *id)
{
    int rc = RD_OK;
    if (!rd_json_is_int(v) || rd_json_int(v) < 0 || rd_json_int(v) >= MAX_ID)
        KEY_FAIL(r, v, "%s: expected an id, an integer from 0 to %d", path, MAX_ID - 1);
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
        put_string(r, rd_json_key(v), id, false);
    }
    if (r->strings.n == 0) KEY_FAIL(r, vocab, "model.vocab: empty");
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
        if (!put_string(r, rd_json_string(node), id, true))
            KEY_FAIL(r, node, "%sid: \"%s\" has another id in model.vocab", path,
                     rd_json_string(node));
    }
done:
    return rc;
}

/* Put the strings into the tokenizer in the order of their ids. */
static int place_tokens(reader *r, const rd_json_node *vocab, rd_tok *tok)
{
    int rc = RD_OK;
    int32_t *string_of = rd_new(int32_t, r->n_ids);
    rd_buf bytes = {0};
    size_t n;
    memset(string_of, 0xFF, (size_t)r->n_ids * sizeof(*string_of));
    for (int32_t i = 0; i < r->strings.n; i++) {
        if (string_of[r->id[i]] >= 0) {
            const char *s = rd_strset_get(&r->strings, i, &n);
            KEY_FAIL(r, vocab, "model.vocab[\"%.*s\"]: the id %d is taken", (int)n, s, r->id[i]);
        }
        string_of[r->id[i]] = i;
    }
    for (int64_t id = 0; id < r->n_ids; id++) {
        if (string_of[id] < 0) {
            rd_tok_put_token(tok, "", 0, TOK_HOLE);
            continue;
        }
        const char *s = rd_strset_get(&r->strings, string_of[id], &n);
        if (r->special[string_of[id]]) {
            rd_tok_put_token(tok, s, n, TOK_SPECIAL);
            continue;
        }
        rd_buf_clear(&bytes);
        if (!letters_to_bytes(&r->letters, s, n, &bytes))
            KEY_FAIL(r, vocab, "model.vocab[\"%.*s\"]: not in the byte-level alphabet", (int)n, s);
        rd_tok_put_token(tok, bytes.data, bytes.len, TOK_TEXT);
    }
done:
    rd_buf_free(&bytes);
    rd_free(string_of);
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

static int32_t text_token(const reader *r, const rd_buf *s)
{
    int32_t i = s->len ? rd_strset_find(&r->strings, s->data, s->len) : -1;
    return i >= 0 && !r->special[i] ? r->id[i] : -1;
}

static int read_merges(const reader *r, const rd_json_node *merges, rd_tok *tok)
{
    int rc = RD_OK;
    int64_t i = 0;
    rd_buf left = {0}, right = {0};
    for (const rd_json_node *v = rd_json_first(merges); v; v = rd_json_next(v), i++) {
        if (!merge_sides(v, &left, &right))
            KEY_FAIL(r, v, "model.merges[%lld]: expected \"a b\" or [\"a\", \"b\"]", (long long)i);
        int32_t a = text_token(r, &left), b = text_token(r, &right);
        rd_buf_add(&left, right.data, right.len);
        int32_t out = text_token(r, &left);
        if (a < 0 || b < 0 || out < 0)
            KEY_FAIL(r, v, "model.merges[%lld]: the %s is not in model.vocab", (long long)i,
                     a < 0   ? "left token"
                     : b < 0 ? "right token"
                             : "merged token");
        if (rd_pairmap_get(&tok->rank, pair_key(a, b)) >= 0)
            KEY_FAIL(r, v, "model.merges[%lld]: this pair has been merged before", (long long)i);
        rd_tok_put_merge(tok, a, b, out);
    }
done:
    rd_buf_free(&left);
    rd_buf_free(&right);
    return rc;
}

static int read_model(reader *r, const rd_json_node *root, rd_tok *tok)
{
    int rc = RD_OK;
    const rd_json_node *model, *vocab, *merges, *v;
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
    tok->ignore_merges = v && rd_json_bool(v);
    RD_TRY(need(r, model, "model.", "vocab", RD_JSON_OBJECT, &vocab));
    RD_TRY(need(r, model, "model.", "merges", RD_JSON_ARRAY, &merges));
    RD_TRY(read_vocab(r, vocab));
    RD_TRY(read_added_tokens(r, root));
    RD_TRY(place_tokens(r, vocab, tok));
    RD_TRY(read_merges(r, merges, tok));
done:
    return rc;
}

static int read_document(const rd_json *doc, const rd_json_node *root, const char *name,
                         rd_tok **out)
{
    int rc = RD_OK;
    reader r = {.doc = doc, .name = name, .letters = make_alphabet()};
    rd_tok *tok = rd_new(rd_tok, 1);
    const rd_json_node *v;
    if (rd_json_kind(root) != RD_JSON_OBJECT)
        KEY_FAIL(&r, root, "expected an object, got %s", rd_json_kind_name(rd_json_kind(root)));
    RD_TRY(need_null(&r, root, "", "normalizer"));
    RD_TRY(read_pre_tokenizer(&r, root));
    v = rd_json_get(root, "decoder");
    if (v && rd_json_kind(v) != RD_JSON_NULL && !is_type(v, "ByteLevel"))
        KEY_FAIL(&r, v, "decoder: only ByteLevel is supported");
    RD_TRY(read_model(&r, root, tok));
    RD_TRY(rd_tok_finish(tok, r.pattern));
    *out = tok;
    tok = NULL;
done:
    rd_strset_free(&r.strings);
    rd_free(r.id);
    rd_free(r.special);
    rd_tok_free(&tok);
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
    rd_json_node *split = rd_json_set_object(list, NULL);
    rd_json_set_string(split, "type", "Split");
    rd_json_set_string(rd_json_set_object(split, "pattern"), "Regex", tok->pattern);
    rd_json_set_string(split, "behavior", "Isolated");
    rd_json_set_bool(split, "invert", false);
    write_byte_level(rd_json_set_object(list, NULL));
    rd_json_set_null(root, "post_processor");
    write_byte_level(rd_json_set_object(root, "decoder"));
}

static void add_letters(const rd_tok *tok, const alphabet *letters, int32_t id, rd_buf *out)
{
    size_t n;
    const char *p = rd_tok_piece(tok, id, &n);
    if (tok->kind[id] == TOK_SPECIAL)
        rd_buf_add(out, p, n);
    else
        bytes_to_letters(letters, p, n, out);
}

static void write_model(const rd_tok *tok, rd_json_node *model)
{
    alphabet letters = make_alphabet();
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
        rd_json_set_int(vocab, text.data, id);
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
