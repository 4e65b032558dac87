/* ranks: 1 */
/* The tokenizer against the Python package `tokenizers`: the same ids for a few hundred strings,
 * with a vocabulary that we trained and with two that it trained (golden/make_tokenizer_golden.py,
 * which calls this program with --train to have ours made). */
#include "rd/text.h"

#include "rd_test.h"

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
    int64_t n = (int64_t)strlen(text), i = 0;
    int32_t *ids = rd_new(int32_t, n);
    int64_t got = rd_tok_encode(tok, text, (size_t)n, ids, n);
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

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
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
