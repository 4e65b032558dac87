/* fuzz_json: whatever the JSON reader accepts must print to JSON that it reads as the same
 * document.
 *
 * LLVMFuzzerTestOneInput serves libFuzzer (-DRD_LIBFUZZER); fuzz_text.h needs no such tool. */
#include "fuzz_text.h"

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

int main(int argc, char **argv)
{
    static const char bytes[] = "{}[]\",:\\u0e-+.1 \n\xc3\xff\x01tfn";
    const fuzz_texts t = {"fuzz_json", sizeof seeds / sizeof seeds[0], seeds, bytes,
                          sizeof bytes - 1};
    return fuzz_text_main(argc, argv, &t);
}
#endif
