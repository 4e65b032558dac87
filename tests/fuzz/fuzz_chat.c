/* fuzz_chat: whatever a server sends, reading it ends with texts that are UTF-8 without NUL, or
 * with one line about what is wrong.
 *
 * LLVMFuzzerTestOneInput serves libFuzzer (-DRD_LIBFUZZER); fuzz_text.h needs no such tool. */
#include "teacher/chat.h"
#include "fuzz_text.h"

/* What is kept can be written as JSON and read again as it is. */
static void check_text(const char *text)
{
    rd_json *doc = rd_json_new(RD_JSON_OBJECT), *again = NULL;
    rd_buf out = {0};
    rd_json_set_string(rd_json_root(doc), "text", text);
    rd_json_print(rd_json_root(doc), false, &out);
    RD_ASSERT(rd_json_parse(out.data, out.len, "again", 1, &again) == RD_OK);
    RD_ASSERT(strcmp(rd_json_string(rd_json_get(rd_json_root(again), "text")), text) == 0);
    rd_buf_free(&out);
    rd_json_free(&doc);
    rd_json_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    chat_answer a;
    rd_buf body = {0}, why = {0}, error = {0};
    rd_buf_add(&body, bytes, n);
    if (chat_answer_read(&body, &a, &why)) {
        RD_ASSERT(a.n > 0 && a.tokens_in >= -1 && a.tokens_out >= -1);
        for (int64_t i = 0; i < a.n; i++) check_text(a.choice[i].text);
    } else {
        RD_ASSERT(a.n == 0 && why.len > 0 && !strchr(why.data, '\n') && why.len < 300);
        check_text(why.data);
    }
    chat_answer_free(&a);
    rd_buf_clear(&body);
    rd_buf_add(&body, bytes, n);
    chat_error_text(&body, &error);
    RD_ASSERT(error.len <= 200);
    RD_ASSERT(rd_error_get()->code == RD_OK);
    rd_buf_free(&body);
    rd_buf_free(&why);
    rd_buf_free(&error);
    RD_ASSERT(rd_mem_used() == 0);
    return 0;
}

#ifndef RD_LIBFUZZER
static const char *const seeds[] = {
    "{\"id\":\"x\",\"choices\":[{\"index\":0,\"finish_reason\":\"length\",\"message\":{\"role\":"
    "\"assistant\",\"content\":\"[1, 2] \\ud83d\\ude00 \xc3\xa9\",\"refusal\":null}}],\"usage\":{"
    "\"prompt_tokens\":12,\"completion_tokens\":3}}",
    "{\"choices\":[{\"index\":1,\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{"
    "\"type\":\"thinking\"}]}},{\"index\":0,\"message\":{\"content\":null,\"refusal\":\"No\"}}]}",
    "{\"error\":{\"message\":\"over\\nloaded\",\"code\":429},\"detail\":\"x\"}",
    "<html><body>Bad gateway</body></html>"};

int main(int argc, char **argv)
{
    static const char bytes[] = "{}[]\",:\\u0ed8-1 \n\xc3\xff\x01<n";
    const fuzz_texts t = {"fuzz_chat", sizeof seeds / sizeof seeds[0], seeds, bytes,
                          sizeof bytes /* NUL, too */};
    return fuzz_text_main(argc, argv, &t);
}
#endif
