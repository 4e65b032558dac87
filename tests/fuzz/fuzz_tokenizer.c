/* Fuzz target of the tokenizer: a tokenizer.json that may be anything, then a text.
 *
 * Input: the bytes before the first 0xFF are a tokenizer.json, the rest a text.  What loads must
 * encode within the promised room, and write a file that loads again and gives the same ids; our
 * own tokenizer must give every text back.  With clang: -fsanitize=fuzzer -DRD_LIBFUZZER.
 * Otherwise main runs the files it is given, or mutations of a good file (-n N of them). */
#include "fuzz_run.h"
#include "rd/text.h"

static void check_round_trip(const rd_tok *tok, const char *text, size_t n)
{
    int32_t *ids = rd_new(int32_t, n);
    rd_buf back = {0};
    int64_t m = rd_tok_encode(tok, text, n, ids, (int64_t)n);
    RD_ASSERT(m >= 0 && m <= (int64_t)n);
    rd_tok_decode(tok, ids, m, &back);
    RD_ASSERT(back.len == n && (n == 0 || memcmp(back.data, text, n) == 0));
    rd_buf_free(&back);
    rd_free(ids);
}

static void check_loaded(const rd_tok *tok, const char *text, size_t n)
{
    rd_buf json = {0};
    rd_tok *again = NULL;
    int32_t *a = rd_new(int32_t, n), *b = rd_new(int32_t, n);
    int64_t m = rd_tok_encode(tok, text, n, a, (int64_t)n);
    RD_ASSERT(m >= -2 && m != -1 && m <= (int64_t)n);
    rd_error_clear();
    rd_tok_to_json(tok, &json);
    RD_ASSERT(rd_tok_from_json(json.data, json.len, "again", &again) == RD_OK);
    RD_ASSERT(rd_tok_encode(again, text, n, b, (int64_t)n) == m);
    RD_ASSERT(m <= 0 || memcmp(a, b, (size_t)m * sizeof(*a)) == 0);
    rd_tok_free(&again);
    rd_buf_free(&json);
    rd_free(a);
    rd_free(b);
}

static rd_tok *ours(void)
{
    static const char *const texts[] = {"[3, 1, 4] -> [1, 4]", " 3 1 4 1 5", "Keep the first 2.",
                                        "Keep the last 2.",    "<|pad|>",    "aaaa bbbb aaaa bbbb"};
    rd_tok *tok = NULL;
    rd_tok_train_opts opts = {.vocab = 300, .all_bytes = true};
    RD_ASSERT(rd_tok_train(&opts, 6, texts, NULL, &tok) == RD_OK);
    return tok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size ? memchr(data, 0xFF, size) : NULL;
    size_t n_json = cut ? (size_t)(cut - data) : size;
    const char *text = (const char *)data + n_json;
    rd_tok *tok = ours();
    check_round_trip(tok, text, size - n_json);
    rd_tok_free(&tok);
    if (rd_tok_from_json((const char *)data, n_json, "fuzz", &tok) == RD_OK)
        check_loaded(tok, text, size - n_json);
    rd_tok_free(&tok);
    rd_error_clear();
    RD_ASSERT(rd_mem_used() == 0);
    return 0;
}

#ifndef RD_LIBFUZZER
/* A few changes of a good input: bytes replaced, taken out, doubled; more often in the frame of the
 * file than in its long lists. */
static void mutate(rd_rng *r, rd_buf *b)
{
    for (int64_t k = rd_rng_range(r, 1, 4); k > 0 && b->len > 16; k--) {
        size_t reach = rd_rng_chance(r, 0.5) && b->len > 1200 ? 1200 : b->len;
        size_t at = (size_t)rd_rng_below(r, (int64_t)reach), n = (size_t)rd_rng_range(r, 1, 8);
        if (at + n > b->len) n = b->len - at;
        switch (rd_rng_below(r, 4)) {
        case 0: b->data[at] = (char)rd_rng_below(r, 256); break;
        case 1: b->data[at] = "0129-\"{}[],: ab<|\\"[rd_rng_below(r, 18)]; break;
        case 2:
            memmove(b->data + at, b->data + at + n, b->len - at - n);
            b->len -= n;
            break;
        default: {
            char part[8];
            size_t from = (size_t)rd_rng_below(r, (int64_t)(b->len - n + 1));
            memcpy(part, b->data + from, n);
            memcpy(b->data + at, part, n);
        }
        }
    }
}

int main(int argc, char **argv)
{
    rd_buf b = {0};
    const fuzz_run f = fuzz_options(argc, argv, 2000);
    if (f.file < argc) return fuzz_files(&f, argc, argv, SIZE_MAX);
    rd_tok *tok = ours();
    rd_tok_to_json(tok, &b);
    rd_tok_free(&tok);
    size_t n;
    char *good = fuzz_keep(&b, &n), *input = malloc(n + 64);
    for (int64_t runs = f.first; fuzz_goes_on(&f, runs); runs++) {
        rd_rng r = rd_rng_make(1, "fuzz", (uint64_t)runs, 0);
        rd_buf_add(&b, good, n);
        mutate(&r, &b);
        rd_buf_putc(&b, (char)0xFF);
        for (int64_t k = rd_rng_below(&r, 50); k > 0; k--) rd_buf_putc(&b, (char)rd_rng_u64(&r));
        size_t m = b.len;
        memcpy(input, b.data, m);
        rd_buf_free(&b);
        LLVMFuzzerTestOneInput((const uint8_t *)input, m);
    }
    free(good);
    free(input);
    return 0;
}
#endif
