/* tokenizer_open: a tokenizer from any path that can hold one, and what the files beside a
 * tokenizer.json say of its special tokens. */
#include "text_impl.h"

#include <string.h>
#include <sys/stat.h>

enum { LLAMA3_RANKS = 128000 };

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---------------------------------------------------------------- files beside tokenizer.json */

/* A special token named under a key: a string, or an object with its content.  -1 and nothing done
 * when it is null or not there. */
static int named_token(rd_json *doc, const char *path, const char *key, const rd_tok *tok,
                       int32_t *id)
{
    int rc = RD_OK;
    const rd_json_node *v = rd_json_get(rd_json_root(doc), key);
    if (!v || rd_json_kind(v) == RD_JSON_NULL) goto done;
    const rd_json_node *content = rd_json_kind(v) == RD_JSON_OBJECT ? rd_json_get(v, "content") : v;
    const char *s = content ? rd_json_string(content) : NULL;
    if (!s) RD_FAIL(RD_EINPUT, "%s:%d: %s: expected a token", path, rd_json_line(doc, v), key);
    *id = rd_tok_special(tok, s);
    if (*id < 0)
        RD_FAIL(RD_EINPUT, "%s:%d: %s: '%s' is no special token of the tokenizer", path,
                rd_json_line(doc, v), key, rd_show(s, strlen(s)).text);
done:
    return rc;
}

static int read_tokenizer_config(const char *path, rd_tok *tok)
{
    int rc = RD_OK;
    rd_json *doc = NULL;
    RD_TRY(rd_json_read(path, &doc));
    if (rd_json_kind(rd_json_root(doc)) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s:1: expected an object", path);
    RD_TRY(named_token(doc, path, "bos_token", tok, &tok->bos));
    RD_TRY(named_token(doc, path, "eos_token", tok, &tok->eos));
    RD_TRY(named_token(doc, path, "pad_token", tok, &tok->pad));
    const rd_json_node *add = rd_json_get(rd_json_root(doc), "add_bos_token");
    if (add && rd_json_kind(add) == RD_JSON_BOOL) tok->add_bos = rd_json_bool(add);
    tok->add_bos = tok->add_bos && tok->bos >= 0;
    rd_tok_add_end(tok, tok->eos);
done:
    rd_json_free(&doc);
    return rc;
}

/* eos_token_id of config.json or generation_config.json: one id or several. */
static int read_ends(const char *path, rd_tok *tok)
{
    int rc = RD_OK;
    rd_json *doc = NULL;
    RD_TRY(rd_json_read(path, &doc));
    const rd_json_node *root = rd_json_root(doc);
    const rd_json_node *v =
        rd_json_kind(root) == RD_JSON_OBJECT ? rd_json_get(root, "eos_token_id") : NULL;
    if (!v || rd_json_kind(v) == RD_JSON_NULL) goto done;
    bool list = rd_json_kind(v) == RD_JSON_ARRAY;
    for (const rd_json_node *e = list ? rd_json_first(v) : v; e;
         e = list ? rd_json_next(e) : NULL) {
        if (!rd_json_is_int(e) || rd_json_int(e) < 0 || rd_json_int(e) >= tok->n)
            RD_FAIL(RD_EINPUT, "%s:%d: eos_token_id: expected an id below %lld", path,
                    rd_json_line(doc, e), (long long)tok->n);
        if (tok->eos < 0) tok->eos = (int32_t)rd_json_int(e);
        rd_tok_add_end(tok, (int32_t)rd_json_int(e));
    }
done:
    rd_json_free(&doc);
    return rc;
}

/* What stands in the folder of a tokenizer.json, each file if it is there. */
static int read_siblings(const char *folder, size_t n, rd_tok *tok)
{
    static const char *const names[] = {"tokenizer_config.json", "generation_config.json",
                                        "config.json"};
    int rc = RD_OK;
    rd_buf path = {0};
    for (int i = 0; i < 3; i++) {
        rd_buf_clear(&path);
        rd_buf_printf(&path, "%.*s/%s", (int)n, folder, names[i]);
        if (!rd_file_exists(path.data)) continue;
        RD_TRY(i == 0 ? read_tokenizer_config(path.data, tok) : read_ends(path.data, tok));
    }
done:
    rd_buf_free(&path);
    return rc;
}

/* ---------------------------------------------------------------- kinds of files */

static int open_gguf(const char *path, rd_tok **tok)
{
    int rc = RD_OK;
    rd_weights *w = NULL;
    RD_TRY(rd_weights_open(path, &w));
    RD_TRY(rd_tok_from_weights(w, path, tok));
done:
    rd_weights_close(&w);
    return rc;
}

static int open_json(const char *path, rd_tok **out)
{
    int rc = RD_OK;
    rd_tok *tok = NULL;
    const char *name = base_name(path);
    RD_TRY(rd_tok_load(path, &tok));
    RD_TRY(read_siblings(name == path ? "." : path, name == path ? 1 : (size_t)(name - path - 1),
                         tok));
    *out = tok;
    tok = NULL;
done:
    rd_tok_free(&tok);
    return rc;
}

/* A rank file is lines of letters; a SentencePiece model begins with the tag of its first piece,
 * which is a line feed. */
static int open_bytes(const char *path, rd_tok **out)
{
    int rc = RD_OK;
    rd_buf b = {0};
    rd_tok *tok = NULL;
    RD_TRY(rd_file_read(path, &b));
    if (b.len > 0 && b.data[0] == '\n') {
        RD_TRY(rd_tok_from_sentencepiece(b.data, b.len, path, out));
    } else {
        RD_TRY(rd_tok_from_ranks(b.data, b.len, path, &tok));
        int64_t ranks = tok->n_ranks;
        if (ranks != LLAMA3_RANKS)
            RD_FAIL(RD_EINPUT,
                    "%s: %lld ranks: of such files only Llama 3's with %d is known; others need a "
                    "tokenizer.json",
                    path, (long long)ranks, LLAMA3_RANKS);
        *out = tok;
        tok = NULL;
    }
done:
    rd_tok_free(&tok);
    rd_buf_free(&b);
    return rc;
}

static int open_folder(const char *path, rd_tok **tok)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model"};
    int rc = RD_OK;
    rd_buf file = {0};
    for (int i = 0; i < 2; i++) {
        rd_buf_clear(&file);
        rd_buf_printf(&file, "%s/%s", path, names[i]);
        if (!rd_file_exists(file.data)) continue;
        RD_TRY(i == 0 ? open_json(file.data, tok) : open_bytes(file.data, tok));
        goto done;
    }
    RD_FAIL(RD_EINPUT, "%s: no tokenizer.json or tokenizer.model in it", path);
done:
    rd_buf_free(&file);
    return rc;
}

int rd_tok_open(const char *path, rd_tok **tok)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return open_folder(path, tok);
    if (ends_with(path, ".gguf")) return open_gguf(path, tok);
    return ends_with(path, ".json") ? open_json(path, tok) : open_bytes(path, tok);
}
