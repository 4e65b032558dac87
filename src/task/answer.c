/* answer.c: reading responses: the inverse of prompt.c's responses, strictly or tolerantly.
 *
 * Both readings look at what follows the last separator (all of it when there is none), so that a
 * worked response may hold whatever its steps say.
 *
 * Strict.  Values written as in Python: of a list family the first [...] on one line, as the
 * official evaluation reads it, and it must be exact; of the other families the whole text.  Plain
 * values: the whole text must be the answer's template filled with a value.
 *
 * Tolerant, besides: white space around the answer and between words; case; quotes, asterisks and
 * full stops around it; a lead such as "Output:"; for lists [..] anywhere, over several lines, with
 * any blanks and leading zeros, or else exactly one run of integers separated by blanks or commas
 * (two runs are ambiguous: no answer), "empty" for the empty list; for ACRE exactly one of the
 * three labels among other words; for MiniSCAN commas between words and the four colour words in
 * lower case.
 *
 * Talk around an answer (talk.c) is tolerated too: fences and examples of the model's own are left
 * out, and an answer behind the last "Output:", "the answer is" … goes before others, also where
 * there is more than one list or label.  Labels: "not on" is none, nor is the "on" of "based on"
 * and "depends on".  A translation is the paragraph behind the lead, or else behind the last colon.
 *
 * A rule is the response on one line, without such leads and markdown. */
#include "prompts.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static bool is_list(rd_family f)
{
    return f == RD_LIST_FUNCTION || f == RD_ARC1D;
}

/* ---------------------------------------------------------------- strict */

/* What follows the last separator. */
static const char *after_steps(const wordings *w, const char *response)
{
    const char *tail = response, *separator = w->text[P_SEPARATOR];
    for (const char *p; (p = strstr(tail, separator)) != NULL;) tail = p + strlen(separator);
    return tail;
}

static bool first_brackets(const char *text, rd_buf *out)
{
    for (const char *open = text; (open = strchr(open, '[')) != NULL; open++) {
        const char *close = open + strcspn(open, "]\n");
        if (*close != ']') continue; /* not on this line: the official pattern looks further on */
        rd_buf_add(out, open, (size_t)(close - open) + 1);
        return true;
    }
    return false;
}

/* "3 1 4" as "[3, 1, 4]" */
static void plain_canonical(const char *text, rd_buf *out)
{
    rd_buf_putc(out, '[');
    if (strcmp(text, "empty") != 0)
        for (; *text; text++) {
            if (*text == ' ') rd_buf_putc(out, ',');
            rd_buf_putc(out, *text);
        }
    rd_buf_putc(out, ']');
}

static bool strict_read(const wordings *w, rd_family f, const char *text, rd_buf *out)
{
    if (is_list(f) && !w->plain) return first_brackets(text, out);
    const char *hole = strstr(w->text[P_ANSWER], "{answer}");
    size_t head = (size_t)(hole - w->text[P_ANSWER]), n = strlen(text);
    const char *tail = hole + strlen("{answer}");
    if (n < head + strlen(tail) || strncmp(text, w->text[P_ANSWER], head) != 0 ||
        strcmp(text + n - strlen(tail), tail) != 0)
        return false;
    char *value = rd_strndup(text + head, n - head - strlen(tail));
    if (is_list(f))
        plain_canonical(value, out);
    else
        rd_buf_puts(out, value);
    rd_free(value);
    return true;
}

/* ---------------------------------------------------------------- tolerant */

static const char *after_steps_tolerant(const wordings *w, const char *response)
{
    char bare[32];
    const char *separator = w->text[P_SEPARATOR];
    size_t lead = strspn(separator, " \n\t"), n = strlen(separator);
    while (n > lead && isspace((unsigned char)separator[n - 1])) n--;
    n -= lead;
    if (n == 0 || n >= sizeof bare) return after_steps(w, response);
    memcpy(bare, separator + lead, n);
    bare[n] = '\0';
    const char *tail = response;
    for (const char *p; (p = strstr(tail, bare)) != NULL;) {
        p += n;
        if (p[strspn(p, " \n\t.")] == '\0') break; /* one at the very end separates nothing */
        tail = p;
    }
    return tail;
}

/* One integer at *p, of any spelling that fits 32 bits. */
static bool int_lenient(const char **p, rd_buf *out)
{
    const char *q = *p + (**p == '-');
    int64_t v = 0;
    if (!isdigit((unsigned char)*q)) return false;
    for (; isdigit((unsigned char)*q); q++) {
        v = 10 * v + (*q - '0');
        if (v > INT32_MAX) return false;
    }
    if (out->len > 1) rd_buf_puts(out, ", ");
    rd_buf_printf(out, "%lld", (long long)(**p == '-' ? -v : v));
    *p = q;
    return true;
}

/* Integers separated by blanks or commas; stops at anything else. */
static const char *run_read(const char *p, rd_buf *out)
{
    rd_buf_clear(out);
    rd_buf_putc(out, '[');
    for (;;) {
        const char *q = p + strspn(p, " \t\r\n,");
        if (!int_lenient(&q, out)) break;
        p = q;
    }
    rd_buf_putc(out, ']');
    return p;
}

static bool first_list(const char *text, rd_buf *out)
{
    for (const char *open = text; (open = strchr(open, '[')) != NULL; open++) {
        const char *stop = run_read(open + 1, out);
        stop += strspn(stop, " \t\r\n,");
        if (*stop == ']') return true;
    }
    return false;
}

/* The one run of integers in text[0 … n), if there is exactly one.  Returns how many there are. */
static int only_run(const char *text, size_t n, rd_buf *out)
{
    int runs = 0;
    rd_buf run = {0};
    for (const char *p = text; p < text + n;) {
        bool starts = isdigit((unsigned char)*p) || (*p == '-' && isdigit((unsigned char)p[1]));
        bool inside_word = p > text && (isalnum((unsigned char)p[-1]) || p[-1] == '.');
        if (!starts || inside_word) {
            p++;
            continue;
        }
        const char *stop = run_read(p, &run);
        if (stop == p) break; /* too large a number */
        if (runs++ == 0) {
            rd_buf_clear(out);
            rd_buf_add(out, run.data, run.len);
        }
        p = stop;
    }
    rd_buf_free(&run);
    return runs;
}

static bool list_tolerant(const char *text, rd_buf *out)
{
    const char *at = text + strlen(text), *lead;
    while ((lead = talk_last_lead(text, &at)) != NULL) {
        if (first_list(lead, out)) return true;
        if (only_run(lead, strcspn(lead, "\n"), out) == 1) return true;
    }
    if (first_list(text, out)) return true;
    int runs = only_run(text, strlen(text), out);
    if (runs == 0 && strcasestr(text, "empty")) {
        rd_buf_clear(out);
        rd_buf_puts(out, "[]");
        return true;
    }
    return runs == 1;
}

static int label_of(const char *word, size_t n)
{
    static const char *const labels[] = {"on", "off", "undetermined"};
    for (int k = 0; k < 3; k++)
        if (n == strlen(labels[k]) && strncasecmp(word, labels[k], n) == 0) return k;
    return -1;
}

/* "not on" and "isn't on" say what it is not; "based on" and "depends on" are no lamp's. */
static bool turns_label(const char *text, const char *word, size_t n)
{
    static const char *const words[] = {"not",       "never",   "based", "depend",
                                        "depending", "depends", "rely",  "relies"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (n == strlen(words[i]) && strncasecmp(word, words[i], n) == 0) return true;
    return n == 1 && *word == 't' && word > text && strchr("'\x99", word[-1]);
}

/* The only label among the words of text[0 … n), -1 when there is none, -2 when there are more. */
static int only_label(const char *text, size_t n)
{
    int found = -1;
    const char *before = NULL; /* the word before, with only blanks between */
    size_t before_n = 0;
    for (size_t i = 0, len; i < n; i += len ? len : 1) {
        for (len = 0; i + len < n && isalpha((unsigned char)text[i + len]);) len++;
        int k = label_of(text + i, len);
        if (k >= 0 && !(before && turns_label(text, before, before_n))) {
            if (found >= 0 && found != k) return -2;
            found = k;
        }
        if (len > 0) {
            before = text + i;
            before_n = len;
        } else if (text[i] != ' ') {
            before = NULL;
        }
    }
    return found;
}

/* The label that a text begins with, if that is all its sentence says; else -1. */
static int label_alone(const char *text)
{
    static const char around[] = " *`_\"'()";
    size_t n = 0;
    text += strspn(text, around);
    while (isalpha((unsigned char)text[n])) n++;
    const char *behind = text + n + strspn(text + n, around);
    return *behind == '\0' || strchr(".;\r\n", *behind) ? label_of(text, n) : -1;
}

static bool label_tolerant(const char *text, rd_buf *out)
{
    static const char *const canonical[] = {"on", "off", "undetermined"};
    int k = -1;
    const char *at = text + strlen(text), *lead;
    while (k < 0 && (lead = talk_last_lead(text, &at)) != NULL) {
        k = label_alone(lead);
        if (k < 0) k = only_label(lead, strcspn(lead, "\n"));
    }
    if (k < 0) k = only_label(text, strlen(text));
    if (k >= 0) rd_buf_puts(out, canonical[k]);
    return k >= 0;
}

static void word_tolerant(const char *word, size_t n, rd_buf *out)
{
    static const char *const colours[] = {"RED", "BLUE", "GREEN", "YELLOW"};
    if (out->len) rd_buf_putc(out, ' ');
    for (int k = 0; k < 4; k++)
        if (n == strlen(colours[k]) && !strncasecmp(word, colours[k], n)) {
            rd_buf_puts(out, colours[k]);
            return;
        }
    rd_buf_add(out, word, n);
}

static bool phrase_tolerant(const char *text, rd_buf *out)
{
    static const char between[] = " \t\r\n,.\"'`*";
    const char *end = text + strlen(text), *at = end, *lead, *colon = strrchr(text, ':');
    while ((lead = talk_last_lead(text, &at)) != NULL && lead[strspn(lead, between)] == '\0')
        ;
    if (lead) {
        text = lead + strspn(lead, between);
        end = text + strcspn(text, "\n");
    } else if (colon && colon[1 + strspn(colon + 1, " \n\t")]) {
        text = colon + 1;
    }
    while ((text += strspn(text, between)) < end) {
        size_t n = strcspn(text, between);
        word_tolerant(text, n, out);
        text += n;
    }
    return out->len > 0;
}

/* ---------------------------------------------------------------- both */

bool rd_answer_read(const rd_prompts *p, rd_family f, const char *response, bool strict,
                    rd_buf *out)
{
    const wordings *w = &p->family[f];
    rd_buf value = {0};
    bool found;
    if (strict) {
        found = strict_read(w, f, p->official ? response : after_steps(w, response), &value);
    } else {
        rd_buf own = {0};
        talk_own_part(p->official ? response : after_steps_tolerant(w, response), &own);
        found = is_list(f)     ? list_tolerant(own.data, &value)
                : f == RD_ACRE ? label_tolerant(own.data, &value)
                               : phrase_tolerant(own.data, &value);
        rd_buf_free(&own);
    }
    found = found && value.data && rd_family_ops(f)->valid_output(value.data);
    if (found) rd_buf_add(out, value.data, value.len);
    rd_buf_free(&value);
    return found;
}

/* The official code takes a response as the rule, whatever it is. */
bool rd_rule_read(const rd_prompts *p, rd_family f, const char *response, rd_buf *rule)
{
    if (p->official) {
        rd_buf_puts(rule, response);
        return *response != '\0';
    }
    rd_buf own = {0};
    const char *lead = p->family[f].text[P_RULE];
    talk_own_part(response, &own);
    const char *text = own.data + strspn(own.data, " \t\r\n");
    lead += strspn(lead, " \t\r\n");
    size_t n = strcspn(lead, "{"), start = rule->len;
    if (n && !strncasecmp(text, lead, n)) text += n;
    text = talk_rule(text, &n);
    for (const char *end = text + n; text < end; text++) {
        bool blank = isspace((unsigned char)*text);
        if (blank && (rule->len == start || rule->data[rule->len - 1] == ' ')) continue;
        rd_buf_putc(rule, blank ? ' ' : *text);
    }
    rd_buf_free(&own);
    while (rule->len > start && rule->data[rule->len - 1] == ' ') rule->data[--rule->len] = '\0';
    return rule->len > start;
}
