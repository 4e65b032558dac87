/* ranks: 1 */
/* Folders of models, tiktoken's and SentencePiece's files: special ids, prefixes, refusals. */
#include "rd_test.h"
#include "text/text_impl.h"

#define GOLDEN "tests/golden/tokenizers/"

static void put(const char *dir, const char *name, const char *text, size_t n)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (rd_file_write_atomic(path, text, n) != RD_OK) rd_die("%s", rd_error_get()->message);
}

static void copy(const char *from, const char *dir, const char *name)
{
    rd_buf b = {0};
    if (rd_file_read(from, &b) != RD_OK) rd_die("%s", rd_error_get()->message);
    put(dir, name, b.data, b.len);
    rd_buf_free(&b);
}

static void refused(int rc, rd_tok **tok, const char *says)
{
    const char *message = rd_error_get()->message;
    if (!ok(rc == RD_EINPUT && !*tok && strstr(message, says), "refused: %s", says))
        diag("code %d, message '%s'", rc, message);
    rd_error_clear();
    rd_tok_free(tok);
}

static void check_folder(void)
{
    char dir[300];
    rd_tok *tok = NULL;
    snprintf(dir, sizeof(dir), "%s/llama", rd_test_dir());
    is_rc(rd_dir_make(dir), RD_OK, "a folder");
    refused(rd_tok_open(dir, &tok), &tok, "no tokenizer.json or tokenizer.model in it");
    copy(GOLDEN "llama3.json", dir, "tokenizer.json");
    is_rc(rd_tok_open(dir, &tok), RD_OK, "tokenizer.json alone");
    is_i64(rd_tok_bos(tok), 0, "BOS from the template");
    ok(rd_tok_adds_bos(tok) && rd_tok_eos(tok) == -1 && rd_tok_pad(tok) == -1, "no EOS, no PAD");
    rd_tok_free(&tok);
#define PUT(name, text) put(dir, name, text, strlen(text))
    PUT("tokenizer_config.json", "{\"bos_token\": {\"content\": \"<|begin_of_text|>\"},\n"
                                 " \"eos_token\": \"<|eot_id|>\", \"pad_token\": null}");
    PUT("generation_config.json", "{\"eos_token_id\": [1, 2]}");
    PUT("config.json", "{\"eos_token_id\": 1}");
    is_rc(rd_tok_open(dir, &tok), RD_OK, "with its configuration");
    ok(rd_tok_eos(tok) == 2 && rd_tok_pad(tok) == -1, "EOS by name");
    ok(rd_tok_is_end(tok, 1) && rd_tok_is_end(tok, 2) && !rd_tok_is_end(tok, 0), "both ends");
    rd_tok_free(&tok);
    PUT("tokenizer_config.json", "{\n\"eos_token\": \"<|eos|>\"}");
    refused(rd_tok_open(dir, &tok), &tok, "tokenizer_config.json:2: eos_token: '<|eos|>' is no");
    PUT("tokenizer_config.json", "{\"add_bos_token\": false}");
    PUT("generation_config.json", "{\"eos_token_id\": [1, 99999]}");
    refused(rd_tok_open(dir, &tok), &tok, "generation_config.json:1: eos_token_id: expected an id");
    PUT("generation_config.json", "{}");
    is_rc(rd_tok_open(dir, &tok), RD_OK, "BOS is not to be put first");
    ok(!rd_tok_adds_bos(tok) && rd_tok_bos(tok) == 0, "but there is one");
    rd_tok_free(&tok);
}

/* Ids as text, "5 7 9". */
static void ids_are(const rd_tok *tok, bool behind, const char *text, const char *same_as)
{
    int32_t a[64], b[64];
    size_t n = strlen(text);
    int64_t k =
        behind ? rd_tok_encode_behind(tok, text, n, a, 64) : rd_tok_encode(tok, text, n, a, 64);
    int64_t m = rd_tok_encode_behind(tok, same_as, strlen(same_as), b, 64);
    ok(k == m && k > 0 && memcmp(a, b, (size_t)k * sizeof(*a)) == 0, "'%s' %s is '%s'", text,
       behind ? "behind others" : "first", same_as);
}

static void check_prefix(void)
{
    rd_tok *tok = NULL;
    rd_buf out = {0};
    int32_t ids[8];
    is_rc(rd_tok_open(GOLDEN "mistral.model", &tok), RD_OK, "SentencePiece's model");
    ok(rd_tok_bos(tok) == 1 && rd_tok_eos(tok) == 2 && rd_tok_pad(tok) == -1, "its ids");
    ok(rd_tok_adds_bos(tok) && rd_tok_is_end(tok, 2), "BOS first, EOS ends");
    ids_are(tok, false, "a", " a");
    ids_are(tok, false, " a", "  a");
    ids_are(tok, true, " a", " a");
    int64_t n = rd_tok_encode(tok, "a", 1, ids, 8);
    rd_tok_decode(tok, ids, n, &out);
    is_str(out.data, "a", "decoding takes the blank off");
    rd_buf_clear(&out);
    rd_tok_decode_behind(tok, ids, n, &out);
    is_str(out.data, " a", "or leaves it");
    rd_buf_free(&out);
    rd_tok_free(&tok);
    is_rc(rd_tok_open(GOLDEN "mistral_first.json", &tok), RD_OK, "Metaspace, first");
    ids_are(tok, false, "a", " a");
    ids_are(tok, false, " a", " a");
    rd_tok_free(&tok);
    is_rc(rd_tok_open(GOLDEN "mistral_legacy.json", &tok), RD_OK, "Prepend");
    n = rd_tok_encode(tok, "a", 1, ids, 8);
    ok(rd_tok_encode_behind(tok, "a", 1, ids + n, 8 - n) == n && ids[0] == ids[n],
       "it puts a blank before every stretch");
    rd_tok_free(&tok);
}

static void check_ranks(void)
{
    rd_tok *tok = NULL;
    refused(rd_tok_open(GOLDEN "llama3.ranks", &tok), &tok, "only Llama 3's with 128000 is known");
    static const char *const bad[][2] = {
        {"IQ== 0\nIg==\n", "t:2: expected base64, a blank and a rank"},
        {"IQ=  0\n", "t:1: expected base64"},
        {"I=== 0\n", "t:1: expected base64"},
        {"IR== 0\n", "t:1: expected base64"},
        {"IQ== 0\nIg== 2\n", "t:2: expected rank 1, got '2'"},
        {"IQ== x\n", "t:1: expected rank 0, got 'x'"},
        {"IQ== 0\n", "the byte 0x00 has no token"},
        {"", "the byte 0x00 has no token"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        refused(rd_tok_from_ranks(bad[i][0], strlen(bad[i][0]), "t", &tok), &tok, bad[i][1]);
    rd_buf b = {0};
    is_rc(rd_file_read(GOLDEN "llama3.ranks", &b), RD_OK, "the ranks are read");
    int n = 0;
    for (size_t i = 0; i < b.len; i++) n += b.data[i] == '\n';
    rd_buf_printf(&b, "IQ== %d\n", n);
    refused(rd_tok_from_ranks(b.data, b.len, "t", &tok), &tok, "is there twice");
    rd_buf_free(&b);
}

/* Changes of the good model of equal length: bytes of the protobuf. */
static void check_pieces(void)
{
#define SWAP(from, to) from, to, sizeof(from) - 1
    static const struct {
        const char *from, *to;
        size_t n;
        const char *says;
    } broken[] = {
        {SWAP("\n\6<0x0A>", "\n\6<0x0G>"), "pieces[17]: '<0x0G>' is of type 6"},
        {SWAP("\n\3<s>", "\n\3\xC3<s"), "pieces[1]: not UTF-8"},
        {SWAP("\n\7[DOC_0]", "\n\7[DOC_1]"), "pieces[6]: '[DOC_1]' is there twice"},
        {SWAP("\n\5<unk>", "\12\377nk>\1"), "pieces: byte 3: field 1 has 14207 bytes"},
        {SWAP("\x18\2", "\x18\5"), "'<unk>' is of type 5"},
        {SWAP("\x98\2\1", "\x98\2\0"), "trainer_spec.byte_fallback"},
    };
    rd_buf good = {0};
    rd_tok *tok = NULL;
    is_rc(rd_file_read(GOLDEN "mistral.model", &good), RD_OK, "the model is read");
    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
        char *at = memmem(good.data, good.len, broken[i].from, broken[i].n);
        ok(at != NULL, "there is something to break for: %s", broken[i].says);
        if (at == NULL) continue;
        memcpy(at, broken[i].to, broken[i].n);
        refused(rd_tok_from_sentencepiece(good.data, good.len, "t", &tok), &tok, broken[i].says);
        memcpy(at, broken[i].from, broken[i].n);
    }
    int accepted = 0;
    for (size_t n = 0; n < good.len; n += 7) {
        accepted += rd_tok_from_sentencepiece(good.data, n, "t", &tok) == RD_OK;
        rd_tok_free(&tok);
        rd_error_clear();
    }
    ok(accepted == 0, "a model that is cut off anywhere is refused");
    rd_buf_free(&good);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    check_folder();
    check_prefix();
    check_ranks();
    check_pieces();
    return rd_test_end();
}
