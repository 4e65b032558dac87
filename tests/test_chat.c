/* ranks: 1 */
/* The JSON of chat completions, as servers write it and as they break it; when to try again. */
#include "rd_test.h"
#include "teacher/chat.h"
#include "teacher/retry.h"

static void request(void)
{
    chat_request r = {.model = "m",
                      .system = "",
                      .prompt = "Input: \"[1]\"\n",
                      .temperature = 0.7,
                      .max_tokens = 64,
                      .choices = 1,
                      .seed = -1,
                      .token_field = "max_tokens"};
    rd_buf body = {0};
    chat_request_put(&r, &body);
    is_str(body.data,
           "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Input: "
           "\\\"[1]\\\"\\n\"}],\"temperature\":0.7,\"max_tokens\":64,\"stream\":false}",
           "a request");
    rd_buf_clear(&body);
    r.system = "Be brief.", r.choices = 4, r.seed = 7, r.token_field = "max_completion_tokens";
    chat_request_put(&r, &body);
    is_str(body.data,
           "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"Be "
           "brief.\"},{\"role\":\"user\",\"content\":\"Input: "
           "\\\"[1]\\\"\\n\"}],\"temperature\":0.7,\"max_completion_tokens\":64,\"n\":4,\"seed\":7,"
           "\"stream\":false}",
           "with all it can have");
    rd_buf_free(&body);
}

#define MESSAGE(content) "{\"choices\":[{\"message\":{\"content\":" content "}}]}"

/* Responses that are answers, and the first choice's text. */
static const struct {
    const char *what, *body, *text;
    bool cut, refused;
} answers[] = {
    {"the least that is needed", MESSAGE("\"[1, 2]\""), "[1, 2]", 0, 0},
    {"blanks around", " \n" MESSAGE("\"x\"") "\r\n ", "x", 0, 0},
    {"nothing said", MESSAGE("null"), "", 0, 0},
    {"an empty text", MESSAGE("\"\""), "", 0, 0},
    {"no content", "{\"choices\":[{\"message\":{\"role\":\"assistant\"}}]}", "", 0, 0},
    {"content that is a number", MESSAGE("5"), "", 0, 0},
    {"parts", MESSAGE("[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]"),
     "ab", 0, 0},
    {"thinking among the parts",
     MESSAGE("[{\"type\":\"thinking\",\"text\":\"hm\"},{\"text\":\"b\"},7,null]"), "b", 0, 0},
    {"reasoning beside it",
     "{\"choices\":[{\"message\":{\"reasoning_content\":\"[9]\",\"reasoning\":\"[8]\","
     "\"content\":\"[1]\"}}]}",
     "[1]", 0, 0},
    {"cut at the limit",
     "{\"choices\":[{\"finish_reason\":\"length\",\"message\":{\"content\":\"[1, \"}}]}", "[1, ", 1,
     0},
    {"a refusal", "{\"choices\":[{\"message\":{\"content\":null,\"refusal\":\"No.\"}}]}", "No.", 0,
     1},
    {"no refusal", "{\"choices\":[{\"message\":{\"content\":\"x\",\"refusal\":null}}]}", "x", 0, 0},
    {"a filter",
     "{\"choices\":[{\"finish_reason\":\"content_filter\",\"message\":{\"content\":\"\"}}]}", "", 0,
     1},
    {"a NUL", MESSAGE("\"a\\u0000b\""),
     "a\xef\xbf\xbd"
     "b",
     0, 0},
    {"a surrogate pair", MESSAGE("\"\\ud83d\\ude00\""), "\xf0\x9f\x98\x80", 0, 0},
    {"half of one", MESSAGE("\"a\\ud83d\""), "a\xef\xbf\xbd", 0, 0},
    {"the other half", MESSAGE("\"\\ude00\\uD83Dx\""), "\xef\xbf\xbd\xef\xbf\xbdx", 0, 0},
    {"bytes that are no UTF-8", MESSAGE("\"a\xff\xc3(\""), "a\xef\xbf\xbd\xef\xbf\xbd(", 0, 0},
    {"an escaped backslash before a u", MESSAGE("\"\\\\u0000\""), "\\u0000", 0, 0},
    {"more than was asked for",
     "{\"error\":null,\"choices\":[{\"message\":{\"content\":\"x\"}},7]}", NULL, 0, 0},
};

/* Responses that are none, and a word of what is said about them. */
static const struct {
    const char *body, *why;
} failures[] = {
    {"", "empty"},
    {" \r\n", "empty"},
    {"<!doctype html><title>Sign in</title>", "web page"},
    {"upstream connect error", "not JSON"},
    {"{\"choices\":[{\"message\":{\"content\":\"[1, ", "cut off"},
    {"{\"choices\":[{\"message\":{\"content\":\"[1]\"}}]", "cut off"},
    {MESSAGE("\"x\"") "}", "cut off or is not JSON"},
    {MESSAGE("\"x\\q\""), "not JSON"},
    {"data: {\"choices\":[]}\n\n", "stream"},
    {"{}", "without choices"},
    {"[]", "without choices"},
    {"null", "without choices"},
    {"7", "without choices"},
    {"{\"choices\":null}", "without choices"},
    {"{\"choices\":[]}", "without choices"},
    {"{\"choices\":{}}", "without choices"},
    {"{\"choices\":[{}]}", "without choices"},
    {"{\"choices\":[null]}", "without choices"},
    {"{\"choices\":[{\"message\":\"x\"}]}", "without choices"},
    {"{\"choices\":[{\"delta\":{\"content\":\"x\"}}]}", "without choices"},
    {"{\"error\":{\"message\":\"over\\n  loaded\",\"code\":1}}", "an error: over loaded"},
    {"{\"error\":\"no such model\"}", "an error: no such model"},
    {"{\"error\":{\"type\":\"server_error\"}}", "an error: server_error"},
    {"{\"detail\":\"nothing here\"}", "an error: nothing here"},
    {"\x00\x01\xff", "empty"},
};

static bool read_text(const char *text, size_t n, chat_answer *a, rd_buf *why)
{
    rd_buf body = {0};
    rd_buf_add(&body, text, n);
    bool good = chat_answer_read(&body, a, why);
    rd_buf_free(&body);
    return good;
}

static void responses(void)
{
    chat_answer a;
    rd_buf why = {0};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        bool good = read_text(answers[i].body, strlen(answers[i].body), &a, &why);
        if (answers[i].text)
            ok(good && a.n == 1 && strcmp(a.choice[0].text, answers[i].text) == 0 &&
                   a.choice[0].cut == answers[i].cut && a.choice[0].refused == answers[i].refused &&
                   a.tokens_in == -1 && a.tokens_out == -1,
               "%s", answers[i].what);
        else
            ok(!good, "%s", answers[i].what);
        chat_answer_free(&a);
    }
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        bool good = read_text(failures[i].body, strlen(failures[i].body), &a, &why);
        ok(!good && strstr(why.data ? why.data : "", failures[i].why) && a.n == 0, "no answer: %s",
           why.data ? why.data : "");
        chat_answer_free(&a);
    }
    rd_buf_free(&why);
}

static void choices(void)
{
    static const char both[] =
        "{\"choices\":[{\"index\":1,\"message\":{\"content\":\"b\"}},{\"index\":0,\"message\":{"
        "\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3}}";
    static const char same[] =
        "{\"choices\":[{\"index\":1,\"message\":{\"content\":\"b\"}},{\"index\":1,\"message\":{"
        "\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":-12,\"completion_tokens\":\"3\"}}";
    chat_answer a;
    rd_buf why = {0};
    ok(read_text(both, strlen(both), &a, &why) && a.n == 2 && *a.choice[0].text == 'a' &&
           *a.choice[1].text == 'b',
       "choices in the order of their numbers");
    ok(a.tokens_in == 12 && a.tokens_out == 3, "the tokens of the call");
    chat_answer_free(&a);
    ok(read_text(same, strlen(same), &a, &why) && a.n == 2 && *a.choice[0].text == 'b',
       "as they come where the numbers make no order");
    ok(a.tokens_in == -1 && a.tokens_out == -1, "tokens that are no counts are not said");
    chat_answer_free(&a);
    rd_buf_free(&why);
}

static void errors(void)
{
    rd_buf body = {0}, text = {0};
    rd_buf_puts(&body, "{\"error\":{\"message\":\"");
    for (int i = 0; i < 300; i++) rd_buf_puts(&body, "\xc3\xa9");
    rd_buf_puts(&body, "\"}}");
    chat_error_text(&body, &text);
    ok(text.len == 200 && (text.data[199] & 0xc0) == 0x80, "a long error is cut between letters");
    rd_buf_clear(&text), rd_buf_clear(&body);
    rd_buf_puts(&body, "<html>");
    chat_error_text(&body, &text);
    is_i64((int64_t)text.len, 0, "of a web page nothing is quoted");
    rd_buf_free(&body), rd_buf_free(&text);
}

static void retries(void)
{
    ok(retry_status(429) == RETRY_LATER && retry_status(500) == RETRY_LATER &&
           retry_status(503) == RETRY_LATER && retry_status(408) == RETRY_LATER &&
           retry_status(204) == RETRY_LATER,
       "another time it may go well");
    ok(retry_status(400) == RETRY_NOT && retry_status(413) == RETRY_NOT &&
           retry_status(422) == RETRY_NOT,
       "this one will not");
    ok(retry_status(401) == RETRY_HOPELESS && retry_status(403) == RETRY_HOPELESS &&
           retry_status(404) == RETRY_HOPELESS && retry_status(301) == RETRY_HOPELESS,
       "none will");
    double sum[12] = {0}, most[12] = {0}, least = 1e9;
    bool repeats = true;
    for (uint64_t c = 0; c < 2000; c++)
        for (int k = 1; k < 12; k++) {
            double d = retry_delay(0.5, 8, k, 0, 3, c);
            sum[k] += d;
            if (d > most[k]) most[k] = d;
            if (d < least) least = d;
            repeats = repeats && d == retry_delay(0.5, 8, k, 0, 3, c);
        }
    for (int k = 1; k < 12; k++) {
        double end = k < 5 ? 0.5 * (1 << (k - 1)) : 8;
        ok(most[k] <= end && most[k] > 0.98 * end && fabs(sum[k] / 2000 - end / 2) < 0.05 * end,
           "attempt %d: waits between 0 and %g s", k, end);
    }
    ok(least >= 0 && repeats, "the same every time");
    double d = retry_delay(0.5, 8, 1, 20, 3, 1);
    ok(d >= 20 && d <= 20.5, "after what the server asks for");
    is_i64(retry_delay(0, 8, 5, 0, 1, 1) == 0, 1, "no back-off, no wait");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    request();
    responses();
    choices();
    errors();
    retries();
    return rd_test_end();
}
