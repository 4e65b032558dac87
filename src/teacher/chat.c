/* chat.c: the JSON of OpenAI-compatible chat completions.
 *
 * Servers differ in what they leave out and in what they add, so reading asks for little: a list of
 * choices with messages.  Everything else that is absent or of another type counts as not said. */
#include "chat.h"

#include <string.h>

enum { ERROR_BYTES = 200 };

void chat_request_put(const chat_request *r, rd_buf *body)
{
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *root = rd_json_root(doc);
    rd_json_set_string(root, "model", r->model);
    rd_json_node *messages = rd_json_set_array(root, "messages");
    if (*r->system) {
        rd_json_node *m = rd_json_set_object(messages, NULL);
        rd_json_set_string(m, "role", "system");
        rd_json_set_string(m, "content", r->system);
    }
    rd_json_node *m = rd_json_set_object(messages, NULL);
    rd_json_set_string(m, "role", "user");
    rd_json_set_string(m, "content", r->prompt);
    rd_json_set_number(root, "temperature", r->temperature);
    rd_json_set_int(root, r->token_field, r->max_tokens);
    /* Not every server knows n; one answer is everybody's default. */
    if (r->choices > 1) rd_json_set_int(root, "n", r->choices);
    if (r->seed >= 0) rd_json_set_int(root, "seed", r->seed);
    rd_json_set_bool(root, "stream", false);
    rd_json_print(root, false, body);
    rd_json_free(&doc);
}

/* ---------------------------------------------------------------- mending */

/* Bytes of the UTF-8 character at p, 0 when it is none. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80) return 1;
    size_t n = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
               : p[0] >= 0xe0 && p[0] <= 0xef ? 3
               : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                              : 0;
    if (n == 0 || left < n) return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)) return 0;
    if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) return 0;
    return n;
}

/* The code unit of \uXXXX at p, -1 when there is none. */
static int code_unit(const char *p, size_t left)
{
    if (left < 6 || p[0] != '\\' || p[1] != 'u') return -1;
    int v = 0;
    for (int i = 2; i < 6; i++) {
        const char *digits = "0123456789abcdefABCDEF", *d = p[i] ? strchr(digits, p[i]) : NULL;
        if (!d) return -1;
        v = 16 * v + (int)(d - digits) - (d - digits > 15 ? 6 : 0);
    }
    return v;
}

/* One escape at p: its bytes, appended as they are or as U+FFFD. */
static size_t mend_escape(const char *p, size_t left, rd_buf *out)
{
    const int unit = code_unit(p, left);
    size_t n = unit >= 0 ? 6 : left < 2 ? left : 2;
    bool good = unit != 0 && (unit < 0xd800 || unit > 0xdfff);
    if (unit >= 0xd800 && unit <= 0xdbff) {
        const int low = code_unit(p + 6, left - 6);
        good = low >= 0xdc00 && low <= 0xdfff;
        if (good) n = 12;
    }
    if (good)
        rd_buf_add(out, p, n);
    else
        rd_buf_puts(out, "\\ufffd");
    return n;
}

static void mend(rd_buf *body)
{
    rd_buf out = {0};
    const char *p = body->data ? body->data : "", *end = p + body->len;
    while (p < end) {
        size_t left = (size_t)(end - p), n = utf8_length((const unsigned char *)p, left);
        if (*p == '\\') {
            p += mend_escape(p, left, &out);
        } else if (n == 0) {
            rd_buf_puts(&out, "\xef\xbf\xbd");
            p++;
        } else {
            rd_buf_add(&out, p, n);
            p += n;
        }
    }
    rd_buf_free(body);
    *body = out;
}

/* ---------------------------------------------------------------- reading */

/* A message's content: a string, or a list of parts of which those with a "text" count. */
static void content_put(const rd_json_node *content, rd_buf *out)
{
    if (!content) return;
    if (rd_json_kind(content) == RD_JSON_STRING) rd_buf_puts(out, rd_json_string(content));
    if (rd_json_kind(content) != RD_JSON_ARRAY) return;
    for (const rd_json_node *part = rd_json_first(content); part; part = rd_json_next(part)) {
        const rd_json_node *text = rd_json_get(part, "text"), *type = rd_json_get(part, "type");
        const char *kind = type ? rd_json_string(type) : NULL;
        if (kind && strcmp(kind, "text") != 0) continue; /* thinking, images, … */
        if (text && rd_json_string(text)) rd_buf_puts(out, rd_json_string(text));
    }
}

static bool says(const rd_json_node *object, const char *key, const char *word)
{
    const rd_json_node *v = rd_json_get(object, key);
    return v && rd_json_string(v) && strcmp(rd_json_string(v), word) == 0;
}

static chat_choice choice_read(const rd_json_node *node, const rd_json_node *message)
{
    rd_buf text = {0};
    chat_choice c = {.cut = says(node, "finish_reason", "length")};
    content_put(rd_json_get(message, "content"), &text);
    const rd_json_node *refusal = rd_json_get(message, "refusal");
    const char *said = refusal ? rd_json_string(refusal) : NULL;
    c.refused = (said && *said) || says(node, "finish_reason", "content_filter");
    if (text.len == 0 && said) rd_buf_puts(&text, said);
    c.text = rd_buf_take(&text);
    return c;
}

static int64_t tokens_read(const rd_json_node *usage, const char *key)
{
    const rd_json_node *v = rd_json_get(usage, key);
    if (!v || !rd_json_is_int(v) || rd_json_int(v) < 0) return -1;
    return rd_json_int(v);
}

/* The choices in the order of their "index" where all have one that fits, else as they come. */
static bool choices_read(const rd_json_node *choices, chat_answer *a)
{
    const int64_t n = rd_json_count(choices);
    bool indexed = true, good = n > 0;
    chat_choice *read = rd_new(chat_choice, n);
    int64_t *place = rd_new(int64_t, n), i = 0;
    uint8_t *taken = rd_new(uint8_t, n);
    for (const rd_json_node *c = rd_json_first(choices); c && good; c = rd_json_next(c), i++) {
        const rd_json_node *message = rd_json_get(c, "message"), *index = rd_json_get(c, "index");
        good = message && rd_json_kind(message) == RD_JSON_OBJECT;
        if (!good) break;
        place[i] = index && rd_json_is_int(index) ? rd_json_int(index) : -1;
        indexed = indexed && place[i] >= 0 && place[i] < n && !taken[place[i]];
        if (indexed) taken[place[i]] = 1;
        read[i] = choice_read(c, message);
    }
    if (good) {
        a->n = n;
        a->choice = rd_new(chat_choice, n);
        for (i = 0; i < n; i++) a->choice[indexed ? place[i] : i] = read[i];
    } else {
        for (i = 0; i < n; i++) rd_free(read[i].text);
    }
    rd_free(read);
    rd_free(place);
    rd_free(taken);
    return good;
}

/* One line: blanks for anything that ends lines or is no letter, cut between characters. */
static void one_line(const char *text, rd_buf *out)
{
    size_t n = strlen(text), start = out->len;
    if (n > ERROR_BYTES) {
        n = ERROR_BYTES;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) n--;
    }
    for (size_t i = 0; i < n; i++) {
        const char c = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i];
        if (c == ' ' && (out->len == start || out->data[out->len - 1] == ' ')) continue;
        rd_buf_putc(out, c);
    }
}

/* {"error": {"message": …}}, {"error": "…"}, {"message": …}, {"detail": "…"}. */
static const char *error_of(const rd_json_node *root)
{
    const rd_json_node *e = rd_json_get(root, "error");
    const char *text = NULL;
    if (e && rd_json_kind(e) == RD_JSON_STRING) return rd_json_string(e);
    if (e && rd_json_kind(e) == RD_JSON_OBJECT) root = e;
    static const char *const keys[] = {"message", "detail", "type"};
    for (int i = 0; i < 3 && !text; i++) {
        const rd_json_node *v = rd_json_get(root, keys[i]);
        text = v ? rd_json_string(v) : NULL;
    }
    return text;
}

/* What kind of text is this that is no JSON? */
static const char *describe(const rd_buf *body)
{
    const char *p = body->data ? body->data : "";
    p += strspn(p, " \t\r\n");
    if (!*p) return "an empty response";
    if (*p == '<') return "a web page in place of an answer";
    if (*p == '{') return "an answer that is cut off or is not JSON";
    if (strncmp(p, "data:", 5) == 0) return "a stream of events, which was not asked for";
    return "a response that is not JSON";
}

bool chat_answer_read(rd_buf *body, chat_answer *a, rd_buf *why)
{
    rd_json *doc = NULL;
    bool good = false;
    *a = (chat_answer){.tokens_in = -1, .tokens_out = -1};
    rd_buf_clear(why);
    mend(body);
    if (rd_json_parse(body->data ? body->data : "", body->len, "response", 1, &doc) != RD_OK) {
        rd_error_clear(); /* ours says what it is, not where */
        rd_buf_puts(why, describe(body));
        return false;
    }
    const rd_json_node *root = rd_json_root(doc), *choices = rd_json_get(root, "choices"),
                       *usage = rd_json_get(root, "usage");
    if (choices && rd_json_kind(choices) == RD_JSON_ARRAY) good = choices_read(choices, a);
    if (good && usage) {
        a->tokens_in = tokens_read(usage, "prompt_tokens");
        a->tokens_out = tokens_read(usage, "completion_tokens");
    }
    if (!good) {
        const char *error = error_of(root);
        if (error) {
            rd_buf_puts(why, "an error: ");
            one_line(error, why);
        } else {
            rd_buf_puts(why, "JSON without choices");
        }
    }
    rd_json_free(&doc);
    return good;
}

void chat_answer_free(chat_answer *a)
{
    for (int64_t i = 0; i < a->n; i++) rd_free(a->choice[i].text);
    RD_FREE(a->choice);
    a->n = 0;
}

void chat_error_text(rd_buf *body, rd_buf *out)
{
    rd_json *doc = NULL;
    mend(body);
    if (rd_json_parse(body->data ? body->data : "", body->len, "response", 1, &doc) == RD_OK) {
        const char *text = error_of(rd_json_root(doc));
        if (text) one_line(text, out);
    }
    rd_error_clear();
    rd_json_free(&doc);
}
