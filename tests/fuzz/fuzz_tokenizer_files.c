/* fuzz_tokenizer_files: any bytes as a tokenizer's file.  What is accepted encodes within the
 * promised room, decodes, and can be written; what is refused is refused in one line with the
 * file's name.
 *
 * The first byte says as what: 0 tokenizer.json, 1 .gguf, 2 tiktoken's ranks, 3 a SentencePiece
 * model.  LLVMFuzzerTestOneInput serves libFuzzer (-DRD_LIBFUZZER; begin with the files of
 * tests/golden/tokenizers, such a byte before each).  Otherwise main runs the files it is given, or
 * mutations of those (how many: fuzz_run.h). */
#include "fuzz_model.h"
#include "text/text_impl.h"

enum { JSON, GGUF, RANKS, PIECES, KINDS };

static int load(int kind, const char *bytes, size_t n, rd_tok **tok)
{
    int rc = RD_OK;
    rd_weights *w = NULL;
    switch (kind) {
    case JSON: return rd_tok_from_json(bytes, n, "fuzz", tok);
    case RANKS: return rd_tok_from_ranks(bytes, n, "fuzz", tok);
    case PIECES: return rd_tok_from_sentencepiece(bytes, n, "fuzz", tok);
    default: break;
    }
    RD_TRY(rd_weights_from_bytes("fuzz", true, (const uint8_t *)bytes, (int64_t)n, &w));
    RD_TRY(rd_tok_from_weights(w, "fuzz", tok));
done:
    rd_weights_close(&w);
    return rc;
}

static void use(const rd_tok *tok, const char *text, size_t n)
{
    const int64_t room = rd_tok_room(tok, n);
    int32_t *ids = rd_new(int32_t, room);
    rd_buf back = {0};
    for (int behind = 0; behind < 2; behind++) {
        int64_t m = behind ? rd_tok_encode_behind(tok, text, n, ids, room)
                           : rd_tok_encode(tok, text, n, ids, room);
        RD_ASSERT(m >= -2 && m != -1 && m <= room);
        for (int64_t i = 0; i < m; i++) RD_ASSERT(ids[i] >= 0 && ids[i] < rd_tok_vocab(tok));
        if (m > 0) rd_tok_decode(tok, ids, m, &back);
        rd_error_clear();
    }
    rd_buf_free(&back);
    rd_free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "It's 1234 [x] <tool_call>e\xCC\x81 \xE4\xBD\xA0\xE5\xA5\xBD\n\n"
                               "   \xE2\x96\x81 \xF0\x9F\x98\x80\xFF [DOC_0]wug aaaaaaaaaaaaaaaaaaa"
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    if (size == 0) return 0;
    const size_t n = size - 1, tail = n < 64 ? n : 64;
    rd_tok *tok = NULL;
    rd_buf json = {0};
    /* A copy of exactly n bytes lets AddressSanitizer see a read past the end. */
    char *copy = malloc(n > 0 ? n : 1);
    if (n > 0) memcpy(copy, data + 1, n);
    if (load(data[0] % KINDS, copy, n, &tok) == RD_OK) {
        use(tok, text, sizeof(text) - 1);
        use(tok, copy + n - tail, tail);
        rd_tok_to_json(tok, &json);
    } else {
        const char *message = rd_error_get()->message;
        RD_ASSERT(tok == NULL && strchr(message, '\n') == NULL);
        RD_ASSERT(strncmp(message, "fuzz:", 5) == 0 || strstr(message, "pre-tokenizer pattern"));
    }
    rd_error_clear();
    rd_tok_free(&tok);
    rd_buf_free(&json);
    free(copy);
    RD_ASSERT(rd_mem_used() == 0);
    return 0;
}

#ifndef RD_LIBFUZZER
static const struct {
    const char *path;
    int kind;
} seeds[] = {
    {"tests/golden/tokenizers/llama3.json", JSON},
    {"tests/golden/tokenizers/qwen2.gguf", GGUF},
    {"tests/golden/tokenizers/llama3.ranks", RANKS},
    {"tests/golden/tokenizers/mistral.model", PIECES},
    {"tests/golden/tokenizers/mistral_first.json", JSON},
    {"tests/golden/tokenizers/mistral.gguf", GGUF},
    {"tests/golden/tokenizers/qwen2.json", JSON},
};
enum { SEEDS = sizeof(seeds) / sizeof(*seeds) };

int main(int argc, char **argv)
{
    rd_buf b = {0};
    const fuzz_run f = fuzz_options(argc, argv, 2000);
    if (f.file < argc) return fuzz_files(&f, argc, argv, SIZE_MAX);
    char *good[SEEDS];
    size_t size[SEEDS], most = 0;
    for (int s = 0; s < SEEDS; s++) {
        if (rd_file_read(seeds[s].path, &b) != RD_OK) return 1;
        good[s] = fuzz_keep(&b, &size[s]);
        if (size[s] > most) most = size[s];
    }
    char *input = malloc(most + 512);
    for (int64_t k = f.first; fuzz_goes_on(&f, k); k++) {
        const int s = (int)(k % SEEDS);
        rd_rng r = rd_rng_make(1, "tokenizer files", (uint64_t)k, 0);
        input[0] = (char)seeds[s].kind;
        memcpy(input + 1, good[s], size[s]);
        const size_t reach = rd_rng_chance(&r, 0.5) ? 600 : size[s];
        size_t n = mutate(&r, input + 1, size[s], size[s] + 256, reach, "0129-\"{}[],: ab<|\\\n");
        LLVMFuzzerTestOneInput((const uint8_t *)input, n + 1);
    }
    for (int s = 0; s < SEEDS; s++) free(good[s]);
    free(input);
    return 0;
}
#endif
