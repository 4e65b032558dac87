/* ranks: 1 */
/* The tokenizer by itself: training, round trips, the file format and what it refuses. */
#include "rd/text.h"

#include "rd_test.h"

static const char *const sample[] = {
    "[3, 1, 4] -> [1, 4]",
    "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]",
    "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] 0 1 2 3 4 5 6 7 8 9",
    " 3 1 4 1 5 9 2 6 5 3 5 8 9 7 0",
    "[42, 17, 42, 17, 42] -> [42, 17, 42]",
    "Keep the first 2 elements; then put 5 at the end.",
    "Keep the last 2 elements; then put 7 at the end.\n",
    "Keep the first 3 elements.",
    "the blue cube, the red sphere -> on",
};
enum { N_SAMPLE = sizeof(sample) / sizeof(sample[0]) };

static rd_tok *train(const char *pattern, bool all_bytes, int64_t vocab, int64_t n,
                     const char *const *texts, const int64_t *weights)
{
    rd_tok *tok = NULL;
    rd_tok_train_opts opts = {.vocab = vocab, .all_bytes = all_bytes, .pattern = pattern};
    is_rc(rd_tok_train(&opts, n, texts, weights, &tok), RD_OK, "trains");
    return tok;
}

static bool round_trip(const rd_tok *tok, const char *text, size_t n)
{
    int32_t *ids = rd_new(int32_t, n);
    rd_buf back = {0};
    int64_t m = rd_tok_encode(tok, text, n, ids, (int64_t)n);
    bool good = m >= 0;
    for (int64_t i = 0; i < m; i++) good = good && ids[i] >= RD_TOK_SPECIALS;
    rd_tok_decode(tok, ids, m, &back);
    good = good && back.len == n && (n == 0 || memcmp(back.data, text, n) == 0);
    rd_buf_free(&back);
    rd_free(ids);
    return good;
}

static void check_round_trips(const rd_tok *tok)
{
    rd_rng r = rd_rng_make(7, "bytes", 0, 0);
    char text[400];
    int bad = 0;
    for (int trial = 0; trial < 2000; trial++) {
        size_t n = (size_t)rd_rng_below(&r, sizeof(text));
        int64_t kind = rd_rng_below(&r, 3); /* any bytes; few kinds of bytes; mostly UTF-8 */
        for (size_t i = 0; i < n; i++) {
            text[i] = (char)rd_rng_below(&r, 256);
            if (kind == 1)
                text[i] = "a \n7\xC3\xA9\xE2\x82\xED\xA0\xF0\x9F\x98\x80"[rd_rng_below(&r, 14)];
            if (kind == 2 && i + 2 < n) memcpy(text + i, "\xC3\xA9", 2), i++;
        }
        bad += !round_trip(tok, text, n);
    }
    ok(bad == 0, "2000 strings of arbitrary bytes come back (%d do not)", bad);
    memset(text, 'q', sizeof(text));
    ok(round_trip(tok, text, sizeof(text)), "a long piece comes back");
    ok(round_trip(tok, "a\0b\0", 4), "zero bytes come back");
}

static bool pieces_are(const rd_tok *tok, const char *text, const char *want)
{
    int32_t ids[64];
    rd_buf got = {0};
    size_t len;
    int64_t n = rd_tok_encode(tok, text, strlen(text), ids, 64);
    for (int64_t i = 0; i < n; i++) {
        const char *p = rd_tok_piece(tok, ids[i], &len);
        if (i > 0) rd_buf_putc(&got, '|');
        rd_buf_add(&got, p, len);
    }
    bool same = got.data && strcmp(got.data, want) == 0;
    if (!same) diag("got '%s', want '%s'", got.data ? got.data : "", want);
    rd_buf_free(&got);
    return same;
}

static void check_pieces(const rd_tok *tok)
{
    ok(pieces_are(tok, "[3, 1, 42] -> [7]", "[|3|, 1|, 42|]| ->| [|7|]"),
       "a list cell is one token");
    ok(pieces_are(tok, " 3 1 4", " 3| 1| 4"), "a number with its blank is one token");
    ok(pieces_are(tok, "Keep the first 2", "Keep| the| first| 2"), "words keep their blank");
    int32_t ids[8];
    ok(rd_tok_encode(tok, " 3 1 4", 6, ids, 2) == -1, "too little room is told");
    ok(rd_tok_encode(tok, " 3 1 4", 6, ids, 3) == 3, "just enough room is enough");
    ok(rd_tok_encode(tok, "", 0, ids, 0) == 0, "no text, no tokens");
}

/* By hand: aa occurs 4 times; then a+b and aa+a tie at 2, a+b is smaller; then aa+ab. */
static void check_by_hand(void)
{
    const char *const texts[] = {"aaabdaaabac"};
    rd_tok *tok = train(".+", false, RD_TOK_SPECIALS + 4 + 3, 1, texts, NULL);
    ok(rd_tok_vocab(tok) == 10 && pieces_are(tok, "aaabdaaabac", "aaab|d|aaab|a|c"), "as by hand");
    ok(pieces_are(tok, "aabx", "aa|b"), "a byte without a token is dropped");
    rd_tok_free(&tok);
}

static void check_determinism(const rd_tok *tok)
{
    const char *reversed[N_SAMPLE], *twice[2 * N_SAMPLE];
    int64_t two[N_SAMPLE];
    rd_buf a = {0}, b = {0}, c = {0}, d = {0};
    for (int i = 0; i < N_SAMPLE; i++) {
        reversed[i] = sample[N_SAMPLE - 1 - i];
        twice[2 * i] = twice[2 * i + 1] = sample[i];
        two[i] = 2;
    }
    rd_tok *t1 = train(NULL, true, 400, N_SAMPLE, reversed, NULL);
    rd_tok *t2 = train(NULL, true, 400, N_SAMPLE, sample, two);
    rd_tok *t3 = train(NULL, true, 400, 2 * N_SAMPLE, twice, NULL);
    rd_tok_to_json(tok, &a);
    rd_tok_to_json(t1, &b);
    rd_tok_to_json(t2, &c);
    rd_tok_to_json(t3, &d);
    is_str(b.data, a.data, "the order of the texts does not matter");
    is_str(c.data, d.data, "a weight of 2 is the text twice");
    rd_tok_free(&t1);
    rd_tok_free(&t2);
    rd_tok_free(&t3);
    rd_buf_free(&a);
    rd_buf_free(&b);
    rd_buf_free(&c);
    rd_buf_free(&d);
}

static void check_specials(const rd_tok *tok)
{
    const int32_t ids[] = {RD_TOK_BOS, 3 + 'a', RD_TOK_EOS, -1, 1 << 20, RD_TOK_PAD};
    rd_buf out = {0};
    is_i64(rd_tok_special(tok, "<|pad|>"), RD_TOK_PAD, "pad");
    is_i64(rd_tok_special(tok, "<|eos|>"), RD_TOK_EOS, "eos");
    is_i64(rd_tok_special(tok, "the"), -1, "a word is not special");
    rd_tok_decode(tok, ids, 6, &out);
    is_str(out.data, "a", "specials and unknown ids decode to nothing");
    rd_buf_free(&out);
    ok(round_trip(tok, "<|pad|> <|eos|>", 15), "the name of a special in a text is text");
    /* Even where one piece holds the whole name and merging would spell it. */
    const char *const texts[] = {"<|pad|>", "<|pad|>", "<|pad|>"};
    rd_tok *greedy = train(".+", true, 300, 3, texts, NULL);
    rd_tok *again = NULL;
    rd_buf json = {0};
    ok(round_trip(greedy, "<|pad|>", 7), "training cannot spell a special");
    rd_tok_to_json(greedy, &json);
    is_rc(rd_tok_from_json(json.data, json.len, "greedy", &again), RD_OK, "nor write it twice");
    rd_buf_free(&json);
    rd_tok_free(&again);
    rd_tok_free(&greedy);
}

static void check_file(const rd_tok *tok)
{
    char path[300];
    rd_buf a = {0}, b = {0};
    rd_tok *back = NULL;
    snprintf(path, sizeof(path), "%s/tokenizer.json", rd_test_dir());
    is_rc(rd_tok_save(tok, path), RD_OK, "saves");
    is_rc(rd_tok_load(path, &back), RD_OK, "loads");
    rd_tok_to_json(tok, &a);
    rd_tok_to_json(back, &b);
    is_str(b.data, a.data, "what is loaded is what was saved");
    check_pieces(back);
    rd_tok_free(&back);
    is_rc(rd_tok_load("/nonexistent/tokenizer.json", &back), RD_EINPUT, "no file");
    rd_buf_free(&a);
    rd_buf_free(&b);
}

static const char good_json[] =
    "{\"added_tokens\": [{\"id\": 3, \"content\": \"<s>\", \"special\": true}],\n"
    " \"normalizer\": null,\n"
    " \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [\n"
    "  {\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\w+\"}, \"behavior\": \"Isolated\"},\n"
    "  {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]},\n"
    " \"model\": {\"type\": \"BPE\", \"ignore_merges\": false,\n"
    "  \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"\\u0120\": 5},\n"
    "  \"merges\": [\"a b\"]}}\n";

/* One change to the good file, and what the error must say. */
static const struct {
    const char *from, *to, *says;
} broken[] = {
    {"null", "{\"type\": \"NFD\"}", ":2: normalizer.type: only NFC, Prepend and Replace"},
    {"null", "{\"type\": \"Sequence\", \"normalizers\": [7]}", "normalizer.normalizers[0]."},
    {"null", "{\"type\": \"Prepend\", \"prepend\": \"_\"}", "normalizer.prepend: only"},
    {"null", "{\"type\": \"Prepend\", \"prepend\": \"\u2581\"}", "Prepend without Replace"},
    {"null", "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"b\"}",
     "normalizer.pattern.String: only \" \""},
    {"null", "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\u2581\"}",
     ":3: pre_tokenizer: only null"},
    {"\"Split\"", "\"Punctuation\"", ":4: pre_tokenizer.pretokenizers[0].type"},
    {"\"Regex\"", "\"String\"", "pre_tokenizer.pretokenizers[0].pattern.Regex: missing"},
    {"\\\\w+", "(", "pre-tokenizer pattern"},
    {"Isolated", "Removed", "pre_tokenizer.pretokenizers[0].behavior"},
    {"\"add_prefix_space\": false", "\"add_prefix_space\": true", "[1].add_prefix_space"},
    {"\"use_regex\": false", "\"use_regex\": 1", "[1].use_regex: expected boolean"},
    {"\"ByteLevel\"", "\"Split\"", "[1].type: only ByteLevel"},
    {"\"pre_tokenizer\"", "\"before\"", "pre_tokenizer: missing"},
    {"\"BPE\"", "\"Unigram\"", ":6: model.type"},
    {"\"ignore_merges\"", "\"dropout\"", "model.dropout"},
    {"\"a\": 0", "\"a\": -1", ":7: model.vocab[\"a\"]"},
    {"\"a\": 0", "\"a\": 1e9", "model.vocab[\"a\"]"},
    {"\"a\": 0", "\"a\": 1", "its id is taken"},
    {"\"\\u0120\"", "\"\\u4e00\"", "byte-level alphabet"},
    {"\"\\u0120\"", "\"\"", "a token is empty"},
    {"{\"a\": 0, \"b\": 1, \"ab\": 2, \"\\u0120\": 5}", "[]", "model.vocab: expected object"},
    {"{\"a\": 0, \"b\": 1, \"ab\": 2, \"\\u0120\": 5}", "{}", "model.vocab: empty"},
    {"\"a b\"", "\"ab\"", ":8: model.merges[0]: expected"},
    {"\"a b\"", "[\"a\"]", "model.merges[0]: expected"},
    {"\"a b\"", "\"a c\"", "model.merges[0]: the right token"},
    {"\"a b\"", "\"b a\"", "model.merges[0]: the merged token"},
    {"\"a b\"", "\"a b\", [\"a\", \"b\"]", "model.merges[1]: this pair"},
    {"\"special\": true", "\"special\": 1", "added_tokens[0].special: expected boolean"},
    {"\"special\": true", "\"lstrip\": \"x\"", "added_tokens[0].lstrip: expected boolean"},
    {"\"type\": \"BPE\"", "\"unk_token\": \"a\"", "model.unk_token: not supported where a byte"},
    {"\"type\": \"BPE\"", "\"byte_fallback\": true", "model.byte_fallback: only false"},
    {"\"normalizer\"", "\"decoder\": {\"type\": \"WordPiece\"}, \"normalizer\"", ":2: decoder"},
    {"\"id\": 3", "\"id\": \"3\"", "added_tokens[0].id"},
    {"\"content\": \"<s>\"", "\"content\": \"a\"", "has another id"},
    {"[{\"id\"", "[7, {\"id\"", "added_tokens[0]: expected object"},
};

static void check_malformed(void)
{
    rd_tok *tok = NULL;
    is_rc(rd_tok_from_json(good_json, strlen(good_json), "t.json", &tok), RD_OK, "the good file");
    ok(rd_tok_vocab(tok) == 6 && pieces_are(tok, "abba", "ab|b|a"), "and what it means");
    is_i64(rd_tok_special(tok, "<s>"), 3, "a special outside the vocabulary");
    rd_tok_free(&tok);
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        rd_buf text = {0};
        const char *at = strstr(good_json, broken[i].from);
        rd_buf_add(&text, good_json, (size_t)(at - good_json));
        rd_buf_puts(&text, broken[i].to);
        rd_buf_puts(&text, at + strlen(broken[i].from));
        int rc = rd_tok_from_json(text.data, text.len, "t.json", &tok);
        const char *message = rd_error_get()->message;
        if (!ok(rc == RD_EINPUT && !tok && strstr(message, broken[i].says), "'%s' refused: %s",
                broken[i].to, broken[i].says))
            diag("code %d, message '%s'", rc, message);
        rd_error_clear();
        rd_tok_free(&tok);
        rd_buf_free(&text);
    }
}

static void check_bad_training(void)
{
    rd_tok *tok = NULL;
    const char *const texts[] = {"abc"};
    const int64_t minus[] = {-1}, huge[] = {INT64_MAX};
    rd_tok_train_opts opts = {.vocab = 258, .all_bytes = true};
    is_rc(rd_tok_train(&opts, 1, texts, NULL, &tok), RD_EINPUT, "no room for the bytes");
    opts.vocab = 259;
    is_rc(rd_tok_train(&opts, 1, texts, minus, &tok), RD_EINPUT, "a negative weight");
    is_rc(rd_tok_train(&opts, 1, texts, huge, &tok), RD_EINPUT, "weights that overflow");
    opts.pattern = "[";
    is_rc(rd_tok_train(&opts, 1, texts, NULL, &tok), RD_EINPUT, "a bad pattern");
    ok(tok == NULL, "and nothing is made");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_tok *tok = train(NULL, true, 400, N_SAMPLE, sample, NULL);
    check_round_trips(tok);
    check_pieces(tok);
    check_by_hand();
    check_determinism(tok);
    check_specials(tok);
    check_file(tok);
    check_malformed();
    check_bad_training();
    rd_tok_free(&tok);
    return rd_test_end();
}
