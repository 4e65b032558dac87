/* ranks: 1 */
/* The tokenizer inside a GGUF: its special ids, and what is refused, by name. */
#include "rd/text.h"

#include "rd_test.h"

#define GOOD "tests/golden/tokenizers/smollm.gguf"

static void check_specials(void)
{
    rd_tok *tok = NULL;
    is_rc(rd_tok_open(GOOD, &tok), RD_OK, "the good file");
    is_i64(rd_tok_bos(tok), 1, "BOS");
    is_i64(rd_tok_eos(tok), 2, "EOS");
    is_i64(rd_tok_pad(tok), 2, "PAD is EOS");
    ok(rd_tok_is_end(tok, 2) && !rd_tok_is_end(tok, 1) && !rd_tok_is_end(tok, -1), "only EOS ends");
    ok(!rd_tok_adds_bos(tok), "BOS is not expected before plain text");
    is_i64(rd_tok_special(tok, "<|im_end|>"), 2, "specials by name");
    int32_t ids[32];
    int64_t n = rd_tok_encode(tok, "<|im_end|>", 10, ids, 32);
    bool text = n > 0;
    for (int64_t i = 0; i < n; i++) text = text && ids[i] > 2;
    ok(text, "its name in a text is text");
    rd_tok_free(&tok);
}

/* One change to the good file, of equal length (there are zeros in them), and what the error says.
 */
#define SWAP(from, to) \
    from, to, sizeof(from) - 1 + 0 * sizeof(char[sizeof(from) == sizeof(to) ? 1 : -1])
static const struct {
    const char *from, *to;
    size_t n;
    const char *says;
} broken[] = {
    {SWAP("tokenizer.ggml.pre", "tokenizer.ggml.prx"), "key 'tokenizer.ggml.pre': missing"},
    {SWAP("smollm", "smollX"), "key 'tokenizer.ggml.pre': 'smollX' is not supported"},
    {SWAP("gpt2", "gptX"), "key 'tokenizer.ggml.model': 'gptX' is not supported"},
    {SWAP("ggml.model", "ggml.modem"), "key 'tokenizer.ggml.model': missing"},
    {SWAP("ggml.tokens", "ggml.tokenz"), "key 'tokenizer.ggml.tokens': missing"},
    {SWAP("token_type", "token_typo"), "key 'tokenizer.ggml.token_type': missing"},
    {SWAP("ggml.merges", "ggml.merged"), "key 'tokenizer.ggml.merges': missing"},
    {SWAP("\1\0\0\0\0\0\0\0\"", "\1\0\0\0\0\0\0\0!"), "tokens[4]: '!' is there twice"},
    {SWAP("\xC4\xBC\xC4\xA6", "\xE4\xB8\x80!"), "not in the byte-level alphabet"},
    {SWAP("\xC4\xBC \xC4\xA6", "\xC4\xBC_\xC4\xA6"), "merges[0]: '\xC4\xBC_\xC4\xA6': expected"},
    {SWAP("\xC4\xBC \xC4\xA6", "\xC7\xBC \xC4\xA6"), "merges[0]: '\xC7\xBC \xC4\xA6': the left"},
    {SWAP("\xC4\xBC \xC4\xA6", "\xC4\xBC \xC7\xA6"), "merges[0]: '\xC4\xBC \xC7\xA6': the right"},
    {SWAP("bos_token_id\4\0\0\0\1\0", "bos_token_id\4\0\0\0\1\7"), "bos_token_id': expected an id"},
    {SWAP("eos_token_id\4", "eos_token_id\6"), "eos_token_id': expected an id"},
    {SWAP("add_bos_token\7\0\0\0\0", "add_bos_token\0\0\0\0\0"), "add_bos_token': expected a bool"},
    {SWAP("token_type\11\0\0\0\5\0\0\0\364\1\0\0\0\0\0\0\3",
          "token_type\11\0\0\0\5\0\0\0\364\1\0\0\0\0\0\0\7"),
     "token_type[0]: '<|endoftext|>' is of type 7"},
};

static void check_refused(void)
{
    rd_buf good = {0};
    char path[300];
    snprintf(path, sizeof(path), "%s/broken.gguf", rd_test_dir());
    is_rc(rd_file_read(GOOD, &good), RD_OK, "the good file is read");
    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
        rd_tok *tok = NULL;
        char *at = memmem(good.data, good.len, broken[i].from, broken[i].n);
        ok(at != NULL, "there is something to break for: %s", broken[i].says);
        if (at == NULL) continue;
        memcpy(at, broken[i].to, broken[i].n);
        is_rc(rd_file_write_atomic(path, good.data, good.len), RD_OK, "written");
        memcpy(at, broken[i].from, broken[i].n);
        int rc = rd_tok_open(path, &tok);
        const char *message = rd_error_get()->message;
        if (!ok(rc == RD_EINPUT && !tok && strstr(message, path) && strstr(message, broken[i].says),
                "refused: %s", broken[i].says))
            diag("code %d, message '%s'", rc, message);
        rd_error_clear();
        rd_tok_free(&tok);
    }
    rd_buf_free(&good);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    check_specials();
    check_refused();
    return rd_test_end();
}
