/* talk.c: what instruction-tuned models say around an answer or a rule.
 *
 * They fence it ("```"), lead it in ("Sure! Here is the rule:", "**Output:** ..."), and go on with
 * examples of their own once it is said.  Nothing here is about a family's values. */
#include "prompts.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { LONGEST_LEAD = 100 }; /* bytes of "Certainly! Based on these examples, the rule is:" */

void talk_own_part(const char *response, rd_buf *out)
{
    bool said = false;
    rd_buf_clear(out);
    rd_buf_puts(out, "");
    for (const char *line = response; *line;) {
        size_t n = strcspn(line, "\n"), with_feed = n + (line[n] == '\n');
        size_t blank = strspn(line, " \t\r");
        bool fence = strncmp(line + blank, "```", 3) == 0;
        if (said && strncmp(line + blank, "Input:", 6) == 0) return;
        if (!fence) {
            rd_buf_add(out, line, with_feed);
            said |= blank < n;
        }
        line += with_feed;
    }
}

static bool is_word_at(const char *text, const char *p, const char *word)
{
    size_t n = strlen(word);
    return strncasecmp(p, word, n) == 0 && !isalnum((unsigned char)p[n]) &&
           (p == text || !isalnum((unsigned char)p[-1]));
}

/* Behind "output: ", "**Answer** is ", "result = " when that stands at p; NULL: it does not. */
static const char *behind_lead(const char *text, const char *p)
{
    static const char *const nouns[] = {"output", "answer", "result", "translation"};
    const char *q = NULL;
    for (size_t i = 0; i < sizeof nouns / sizeof *nouns && !q; i++)
        if (is_word_at(text, p, nouns[i])) q = p + strlen(nouns[i]);
    if (!q) return NULL;
    q += strspn(q, " *`_\"'");
    bool is = is_word_at(text, q, "is");
    if (is) q += 2;
    q += strspn(q, " *`_");
    if (*q == ':' || *q == '=') return q + 1;
    return is ? q : NULL;
}

const char *talk_last_lead(const char *text, const char **before)
{
    while (*before > text) {
        const char *q = behind_lead(text, --*before);
        if (q) return q;
    }
    return NULL;
}

/* Behind "Here is the rule:" and the like at the beginning; NULL: there is none. */
static const char *behind_rule_lead(const char *text)
{
    size_t lead = strcspn(text, ":\n");
    bool is_lead = false;
    if (text[lead] != ':' || lead > LONGEST_LEAD) return NULL;
    for (size_t i = 0; i < lead; i++)
        is_lead |= is_word_at(text, text + i, "rule") || is_word_at(text, text + i, "rules");
    text += lead + 1;
    text += strspn(text, " \t\r\n*#");
    return is_lead && *text ? text : NULL;
}

const char *talk_rule(const char *text, size_t *n)
{
    bool led = false;
    for (const char *rest; (rest = behind_rule_lead(text)) != NULL; led = true) text = rest;
    text += strspn(text, " \t\r\n");
    *n = strlen(text);
    for (;;) { /* emphasis opens and closes; a lead may have taken its opening */
        while (*n > 0 && strchr(" \t\r\n", text[*n - 1])) (*n)--;
        char last = *n > 1 ? text[*n - 1] : '\0';
        if (last != '*' && last != '`') return text;
        if (*text == last)
            text++, (*n)--;
        else if (!led)
            return text;
        (*n)--;
    }
}
