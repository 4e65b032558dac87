/* ranks: 1 */
/* The tokenizer against the Python package `tokenizers`: the same ids for a few hundred strings,
 * with a vocabulary that we trained and with two that it trained (golden/make_tokenizer_golden.py,
 * which calls this program with --train to have ours made); and small vocabularies of other kinds
 * of files (golden/make_tokenizers.py). */
#include "rd/text.h"

#include "rd_test.h"
#include "text/text_impl.h"

static int train(const rd_json_node *root, rd_tok **tok)
{
    const rd_json_node *list = rd_json_get(root, "train");
    const char **texts = rd_new(const char *, rd_json_count(list));
    int64_t n = 0;
    for (const rd_json_node *v = rd_json_first(list); v; v = rd_json_next(v))
        texts[n++] = rd_json_string(v);
    rd_tok_train_opts opts = {.vocab = rd_json_int(rd_json_get(root, "vocab")), .all_bytes = true};
    int rc = rd_tok_train(&opts, n, texts, NULL, tok);
    rd_free(texts);
    return rc;
}

static int train_file(const char *from, const char *to)
{
    int rc = RD_OK;
    rd_json *doc = NULL;
    rd_tok *tok = NULL;
    RD_TRY(rd_json_read(from, &doc));
    RD_TRY(train(rd_json_root(doc), &tok));
    RD_TRY(rd_tok_save(tok, to));
done:
    rd_json_free(&doc);
    rd_tok_free(&tok);
    return rc;
}

static bool same_ids(const rd_tok *tok, const char *text, const rd_json_node *want)
{
    size_t n = strlen(text);
    int64_t cap = rd_tok_room(tok, n), i = 0;
    int32_t *ids = rd_new(int32_t, cap);
    int64_t got = rd_tok_encode(tok, text, n, ids, cap);
    bool same = got == rd_json_count(want);
    for (const rd_json_node *v = rd_json_first(want); same && v; v = rd_json_next(v), i++)
        same = ids[i] == rd_json_int(v);
    rd_free(ids);
    return same;
}

/* One tokenizer of the file: every string must give the ids that the Python package gave. */
static void check_one(const rd_json_node *root, const char *which)
{
    rd_buf text = {0}, name = {0};
    rd_tok *tok = NULL;
    rd_json_print(rd_json_get(rd_json_get(root, "tokenizers"), which), true, &text);
    rd_buf_printf(&name, "'%s' loads", which);
    is_rc(rd_tok_from_json(text.data, text.len, which, &tok), RD_OK, name.data);
    int64_t wrong = 0, n = 0;
    const rd_json_node *want = rd_json_first(rd_json_get(rd_json_get(root, "ids"), which));
    const rd_json_node *s = rd_json_first(rd_json_get(root, "strings"));
    for (; tok && s && want; s = rd_json_next(s), want = rd_json_next(want), n++) {
        if (same_ids(tok, rd_json_string(s), want)) continue;
        wrong++;
        diag("'%s' differs on '%s'", which, rd_json_string(s));
    }
    ok(wrong == 0 && n >= 300, "'%s': %lld of %lld strings have other ids", which, (long long)wrong,
       (long long)n);
    rd_tok_free(&tok);
    rd_buf_free(&text);
    rd_buf_free(&name);
}

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

/* A small rank file is none that rd_tok_open knows. */
static int open_small(const char *path, rd_tok **tok)
{
    int rc = RD_OK;
    rd_buf b = {0};
    if (!ends_with(path, ".ranks")) return rd_tok_open(path, tok);
    RD_TRY(rd_file_read(path, &b));
    RD_TRY(rd_tok_from_ranks(b.data, b.len, path, tok));
done:
    rd_buf_free(&b);
    return rc;
}

/* Of the ids and what they decode to. */
static uint32_t sum_of(const rd_tok *tok, const char *text)
{
    size_t n = strlen(text);
    int64_t cap = rd_tok_room(tok, n);
    int32_t *ids = rd_new(int32_t, cap);
    rd_buf back = {0};
    int64_t got = rd_tok_encode(tok, text, n, ids, cap);
    rd_tok_decode(tok, ids, got, &back);
    uint32_t sum = rd_crc32(ids, got < 0 ? 0 : (size_t)got * sizeof(*ids), 0);
    sum = rd_crc32(back.data ? back.data : "", back.len, sum);
    rd_free(ids);
    rd_buf_free(&back);
    return sum;
}

static void check_sums(const rd_tok *tok, const char *name, const rd_json_node *root,
                       const rd_json_node *sums)
{
    int64_t wrong = 0, n = 0;
    const rd_json_node *s = rd_json_first(rd_json_get(root, "strings"));
    for (const rd_json_node *want = rd_json_first(sums); tok && s && want;
         s = rd_json_next(s), want = rd_json_next(want), n++) {
        if (sum_of(tok, rd_json_string(s)) == rd_json_int(want)) continue;
        if (++wrong <= 5) diag("%s differs on '%s'", name, rd_json_string(s));
    }
    ok(wrong == 0 && n == rd_json_count(sums) && n >= 500, "%s: %lld of %lld strings differ", name,
       (long long)wrong, (long long)n);
}

/* The small tokenizers of golden/tokenizers, each from its own kind of file; and again from the
 * tokenizer.json that is written of them, unless that cannot say what they are. */
static void check_files(void)
{
    rd_json *doc = NULL;
    is_rc(rd_json_read("tests/golden/tokenizers/sums.json", &doc), RD_OK, "the sums load");
    const rd_json_node *root = rd_json_root(doc);
    const rd_json_node *of = rd_json_first(rd_json_get(root, "sums"));
    for (; of; of = rd_json_next(of)) {
        char path[200], again[200];
        rd_tok *tok = NULL, *back = NULL;
        rd_buf json = {0};
        snprintf(path, sizeof(path), "tests/golden/tokenizers/%s", rd_json_key(of));
        is_rc(open_small(path, &tok), RD_OK, "opens");
        check_sums(tok, rd_json_key(of), root, of);
        rd_tok_to_json(tok, &json);
        snprintf(again, sizeof(again), "%s, written", rd_json_key(of));
        is_rc(rd_tok_from_json(json.data, json.len, again, &back), RD_OK, "opens again");
        /* Ranks of equal score, which a list of merges does not have. */
        bool ties = strcmp(rd_json_key(of), "mistral.model") == 0 ||
                    strcmp(rd_json_key(of), "mistral.gguf") == 0;
        if (!ties) check_sums(back, again, root, of);
        rd_tok_free(&tok);
        rd_tok_free(&back);
        rd_buf_free(&json);
    }
    rd_json_free(&doc);
}

static bool read_all(void *p, size_t n)
{
    return n == 0 || fread(p, n, 1, stdin) == 1;
}

/* For tests/oracle: texts from stdin as int32 length and bytes; to stdout for each int32 count and
 * ids, int32 length and the bytes that the ids decode to. */
static int serve(const char *path)
{
    int rc = RD_OK;
    int32_t n;
    rd_tok *tok = NULL;
    rd_buf text = {0}, back = {0};
    int32_t *ids = NULL;
    RD_TRY(rd_tok_open(path, &tok));
    while (read_all(&n, sizeof(n))) {
        int64_t cap = rd_tok_room(tok, (size_t)n);
        rd_resize(ids, cap);
        rd_buf_clear(&text);
        for (int32_t i = 0; i < n; i++) rd_buf_putc(&text, (char)getchar());
        int32_t m = (int32_t)rd_tok_encode(tok, text.data, (size_t)n, ids, cap);
        if (m < 0) RD_FAIL(RD_EINPUT, "encoding gives %d", m);
        rd_buf_clear(&back);
        rd_tok_decode(tok, ids, m, &back);
        int32_t bytes = (int32_t)back.len;
        fwrite(&m, sizeof(m), 1, stdout);
        fwrite(ids, sizeof(*ids), (size_t)m, stdout);
        fwrite(&bytes, sizeof(bytes), 1, stdout);
        fwrite(back.data, 1, back.len, stdout);
    }
done:
    rd_free(ids);
    rd_buf_free(&text);
    rd_buf_free(&back);
    rd_tok_free(&tok);
    return rc;
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    if (argc == 3 && strcmp(argv[1], "--serve") == 0) {
        int rc = serve(argv[2]);
        if (rc != RD_OK) fprintf(stderr, "%s\n", rd_error_get()->message);
        rd_par_end();
        return rd_exit_status(rc);
    }
    if (argc == 4 && strcmp(argv[1], "--train") == 0) {
        int rc = train_file(argv[2], argv[3]);
        if (rc != RD_OK) fprintf(stderr, "%s\n", rd_error_get()->message);
        rd_par_end();
        return rd_exit_status(rc);
    }
    rd_json *doc = NULL;
    is_rc(rd_json_read("tests/golden/tokenizer_golden.json", &doc), RD_OK, "the data loads");
    const rd_json_node *root = rd_json_root(doc);
    check_one(root, "ours");
    check_one(root, "theirs");
    check_one(root, "byte_level");

    check_files();
    rd_tok *tok = NULL;
    rd_buf got = {0}, want = {0};
    is_rc(train(root, &tok), RD_OK, "trains on the texts of the file");
    rd_tok_to_json(tok, &got);
    rd_json_print(rd_json_get(rd_json_get(root, "tokenizers"), "ours"), true, &want);
    ok(got.len == want.len && memcmp(got.data, want.data, got.len) == 0,
       "training gives the vocabulary of the file, byte for byte");
    rd_tok_free(&tok);
    rd_buf_free(&got);
    rd_buf_free(&want);
    rd_json_free(&doc);
    return rd_test_end();
}
