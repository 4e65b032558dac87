/* fuzz_json: whatever the JSON reader accepts must print to JSON that it reads as the same
 * document.
 *
 * LLVMFuzzerTestOneInput serves libFuzzer (-DRD_LIBFUZZER).  The main below needs no such tool: it
 * feeds the files that it is given, or, without arguments, mutations of the seeds (-n N of them).
 */
#include "fuzz_run.h"
#include "rd/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void touch(const rd_json *doc, const rd_json_node *v)
{
    RD_ASSERT(rd_json_line(doc, v) >= 1);
    for (const rd_json_node *e = rd_json_first(v); e != NULL; e = rd_json_next(e)) touch(doc, e);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    rd_json *doc = NULL, *again = NULL;
    rd_buf first = {0}, second = {0};
    /* A copy of exactly n bytes lets AddressSanitizer see a read past the end. */
    char *text = rd_new(char, n);
    if (n > 0) memcpy(text, bytes, n);
    if (rd_json_parse(text, n, "fuzz", 1, &doc) == RD_OK) {
        touch(doc, rd_json_root(doc));
        rd_json_print(rd_json_root(doc), true, &first);
        RD_ASSERT(rd_json_parse(first.data, first.len, "again", 1, &again) == RD_OK);
        rd_json_print(rd_json_root(again), true, &second);
        RD_ASSERT(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    } else {
        RD_ASSERT(doc == NULL && strncmp(rd_error_get()->message, "fuzz:", 5) == 0);
    }
    rd_error_clear();
    rd_json_free(&doc);
    rd_json_free(&again);
    rd_buf_free(&first);
    rd_buf_free(&second);
    rd_free(text);
    RD_ASSERT(rd_mem_used() == 0);
    return 0;
}

#ifndef RD_LIBFUZZER
static const char *const seeds[] = {
    "{\"run\": {\"name\": \"q\", \"seed\": 1, \"max_hours\": 0.5e-1}, \"stages\": [\"a\", null, "
    "true]}",
    "[{\"k\": \"\\ud83d\\ude00 \\u00e9 \\n\"}, [[[-0.0]]], \"r\xc3\xa9sum\xc3\xa9\", 1e308, {}]",
    "{\"a\": {\"b\": [1, 2, {\"c\": \"\"}]}, \"A\": [false]}"};

static size_t mutate(rd_rng *r, char *text, size_t n, size_t cap)
{
    static const char tokens[] = "{}[]\",:\\u0e-+.1 \n\xc3\xff\x01tfn";
    for (int64_t k = rd_rng_range(r, 1, 4); k > 0; k--) {
        const size_t at = n > 0 ? (size_t)rd_rng_below(r, (int64_t)n) : 0;
        const char c = tokens[rd_rng_below(r, (int64_t)sizeof(tokens) - 1)];
        switch (rd_rng_below(r, 5)) {
        case 0:
            if (n > 0) text[at] = c;
            break;
        case 1:
            if (n > 0) memmove(text + at, text + at + 1, --n - at);
            break;
        case 2:
            if (n < cap) memmove(text + at + 1, text + at, n++ - at), text[at] = c;
            break;
        case 3: n = rd_rng_chance(r, 0.1) ? at : n; break;
        default: /* repeat a piece, which makes duplicates and depth */
            if (n > at && 2 * n - at <= cap) memmove(text + n, text + at, n - at), n += n - at;
        }
    }
    return n;
}

int main(int argc, char **argv)
{
    const fuzz_run f = fuzz_options(argc, argv, 20000);
    char text[8192];
    if (f.file < argc) {
        for (int i = f.file; i < argc; i++) {
            rd_buf b = {0};
            if (rd_file_read(argv[i], &b) != RD_OK) return 1;
            const size_t len = b.len < sizeof(text) ? b.len : sizeof(text);
            memcpy(text, b.data, len);
            rd_buf_free(&b);
            LLVMFuzzerTestOneInput((const uint8_t *)text, len);
        }
        return 0;
    }
    for (int64_t i = f.first; fuzz_goes_on(&f, i); i++) {
        rd_rng r = rd_rng_make(1, "fuzz_json", (uint64_t)i, 0);
        const char *seed = seeds[rd_rng_below(&r, 3)];
        size_t len = strlen(seed);
        memcpy(text, seed, len);
        len = mutate(&r, text, len, sizeof(text));
        LLVMFuzzerTestOneInput((const uint8_t *)text, len);
    }
    return 0;
}
#endif
