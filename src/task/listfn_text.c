/* listfn_text.c: List Function rules as English sentences, and back.
 *
 * Both directions read the wordings of lf_ops.  The parser is a table-driven descent over the words
 * of the text: for a type at a word it tries every wording of every primitive of that type and
 * remembers the longest match per (type, word), so its time is bounded by words × wordings and no
 * text makes it try the same place twice. */
#include "listfn.h"

#include <ctype.h>
#include <string.h>

/* A scalar written without brackets is a type of its own to the parser. */
enum { T_BARE = LF_TYPES, PARSE_TYPES };
enum { MAX_WORDS = 400, MAX_TEXT = 4000, MAX_DEPTH = 60 };

/* ---------------------------------------------------------------- printing */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
    return x ^ x >> 32;
}

/* Wording 0 is canonical; otherwise every place in the tree draws its own. */
static const char *choose(int op, uint64_t wording, uint64_t place)
{
    int n = 1; /* the canonical wording is always there */
    while (n < LF_WORDINGS && lf_ops[op].words[n]) n++;
    return lf_ops[op].words[wording ? mix(wording ^ mix(place)) % (uint64_t)n : 0];
}

static void print_node(const lf_prog *p, int node, uint64_t w, uint64_t place, bool bare,
                       rd_buf *out);

static void print_pipe(const lf_prog *p, int root, uint64_t w, uint64_t place, rd_buf *out)
{
    for (int s = root; s >= 0; s = p->a[s].arg[1], place += 0x10001) {
        if (s != root) rd_buf_puts(out, choose(P_SEQ, w, place));
        print_node(p, p->a[s].arg[0], w, place * 8 + 7, false, out);
    }
}

static void print_constants(const lf_prog *p, int cell, rd_buf *out)
{
    if (cell < 0) rd_buf_puts(out, "empty");
    for (int c = cell; c >= 0; c = p->a[c].arg[0])
        rd_buf_printf(out, c == cell ? "%d" : " %d", (int)p->a[c].v);
}

static void print_node(const lf_prog *p, int node, uint64_t w, uint64_t place, bool bare,
                       rd_buf *out)
{
    const lf_node *x = &p->a[node];
    if (x->op == I_NUM) {
        rd_buf_printf(out, "%d", (int)x->v);
        return;
    }
    bool brackets = x->op == P_SEQ || (lf_ops[x->op].type == T_I && !bare);
    if (brackets) rd_buf_putc(out, '(');
    if (x->op == P_SEQ) {
        print_pipe(p, node, w, place, out);
    } else {
        for (const char *s = choose(x->op, w, place); *s; s++) {
            if (*s != '%' || (s[1] != '!' && !isdigit((unsigned char)s[1]))) {
                rd_buf_putc(out, *s);
                continue;
            }
            bool slot_bare = s[1] == '!';
            s += 1 + slot_bare;
            int k = *s - '1';
            if (lf_arg_type(x->op, k) == T_C)
                print_constants(p, x->arg[k], out);
            else
                print_node(p, x->arg[k], w, place * 8 + (uint64_t)k + 1, slot_bare, out);
        }
    }
    if (brackets) rd_buf_putc(out, ')');
}

void lf_print(const rd_rule *r, uint64_t wording, rd_buf *out)
{
    size_t begin = out->len;
    print_pipe(&r->p, r->root, wording, 1, out);
    out->data[begin] = (char)toupper((unsigned char)out->data[begin]);
    rd_buf_putc(out, '.');
}

void lf_print_kind(int op, rd_buf *out)
{
    for (const char *s = lf_ops[op].words[0]; *s; s++) {
        if (*s != '%') {
            rd_buf_putc(out, *s);
            continue;
        }
        s += 1 + (s[1] == '!');
        rd_buf_puts(out, "...");
    }
}

/* ---------------------------------------------------------------- words of a text */

typedef struct word {
    int16_t begin, len;
    bool number;
    int32_t value;
} word;
typedef struct match {
    int16_t end; /* word after the match; 0 not tried yet, -1 no match */
    int32_t node;
} match;
typedef struct parser {
    char text[MAX_TEXT + 1]; /* lower case */
    word words[MAX_WORDS];
    int n, depth;
    match memo[PARSE_TYPES][MAX_WORDS + 1];
    lf_prog p;
} parser;

static bool is_letter(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_number(char c)
{
    return c >= '0' && c <= '9';
}

/* Words are runs of letters, numbers (a minus directly before the digits belongs to them) and
 * single signs, "!=" "<=" ">=" being one. */
static int word_length(const char *s)
{
    int n = 1;
    if (is_letter(*s)) {
        while (is_letter(s[n])) n++;
    } else if (is_number(*s) || (*s == '-' && is_number(s[1]))) {
        while (is_number(s[n])) n++;
    } else if (strchr("!<>", *s) && s[1] == '=') {
        n = 2;
    }
    return n;
}

static bool split_words(parser *q, const char *text)
{
    size_t len = strlen(text);
    if (len > MAX_TEXT) return false;
    for (size_t i = 0; i < len; i++) q->text[i] = (char)tolower((unsigned char)text[i]);
    for (const char *s = q->text; *s;) {
        if (isspace((unsigned char)*s)) {
            s++;
            continue;
        }
        int n = word_length(s);
        bool number = is_number(s[n - 1]);
        if (q->n == MAX_WORDS || (number && n > 9)) return false;
        word *w = &q->words[q->n++];
        *w = (word){.begin = (int16_t)(s - q->text), .len = (int16_t)n, .number = number};
        for (int k = number && *s == '-'; number && k < n; k++)
            w->value = w->value * 10 + (s[k] - '0');
        if (*s == '-' && number) w->value = -w->value;
        s += n;
    }
    return true;
}

static bool word_is(const parser *q, int at, const char *s, int n)
{
    return at < q->n && q->words[at].len == n &&
           !memcmp(q->text + q->words[at].begin, s, (size_t)n);
}

/* ---------------------------------------------------------------- parsing */

static match parse_type(parser *q, int type, int at);

/* The fixed words of pattern up to the next slot; -1 when they do not stand at `at`. */
static int literal(const parser *q, const char **pattern, int at)
{
    const char *s = *pattern;
    while (*s) {
        if (*s == ' ') {
            s++;
            continue;
        }
        if (*s == '%' && (s[1] == '!' || is_number(s[1]))) break;
        int n = word_length(s);
        if (!word_is(q, at, s, n)) return -1;
        at++;
        s += n;
    }
    *pattern = s;
    return at;
}

static match parse_constants(parser *q, int at)
{
    match m = {.end = (int16_t)at, .node = -1};
    if (word_is(q, at, "empty", 5)) return (match){(int16_t)(at + 1), -1};
    int last = -1;
    for (; m.end < q->n && q->words[m.end].number; m.end++) {
        int c = lf_add(&q->p, C_CELL, -1, -1, -1);
        q->p.a[c].v = q->words[m.end].value;
        if (last < 0)
            m.node = c;
        else
            q->p.a[last].arg[0] = c;
        last = c;
    }
    if (last < 0) m.end = -1;
    return m;
}

static match parse_pattern(parser *q, int op, const char *pattern, int at)
{
    const match none = {-1, -1};
    int32_t arg[LF_ARGS] = {-1, -1, -1};
    for (;;) {
        at = literal(q, &pattern, at);
        if (at < 0) return none;
        if (!*pattern) break;
        bool bare = pattern[1] == '!';
        int k = pattern[1 + bare] - '1';
        lf_type type = lf_arg_type(op, k);
        match m =
            type == T_C ? parse_constants(q, at) : parse_type(q, bare ? T_BARE : (int)type, at);
        if (m.end < 0) return none;
        arg[k] = m.node;
        at = m.end;
        pattern += 2 + bare;
    }
    return (match){(int16_t)at, lf_add(&q->p, op, arg[0], arg[1], arg[2])};
}

/* Steps joined by "; then" and its like. */
static match parse_steps(parser *q, int at)
{
    match all = {-1, -1};
    int last = -1;
    for (;;) {
        match m = parse_type(q, T_S, at);
        if (m.end < 0) return (match){-1, -1};
        int link = lf_add(&q->p, P_SEQ, m.node, -1, -1);
        if (last < 0)
            all.node = link;
        else
            q->p.a[last].arg[1] = link;
        last = link;
        all.end = m.end;
        if (!word_is(q, m.end, ";", 1)) return all;
        int next = -1;
        for (int k = 0; k < LF_WORDINGS && lf_ops[P_SEQ].words[k] && next < 0; k++) {
            const char *separator = lf_ops[P_SEQ].words[k];
            next = literal(q, &separator, m.end);
        }
        at = next < 0 ? m.end + 1 : next; /* a bare ";" will do */
    }
}

static match parse_bracketed(parser *q, int type, int at)
{
    const match none = {-1, -1};
    if (!word_is(q, at, "(", 1)) return none;
    match m = type == T_P ? parse_steps(q, at + 1) : parse_type(q, T_BARE, at + 1);
    if (m.end < 0 || !word_is(q, m.end, ")", 1)) return none;
    m.end++;
    return m;
}

/* Longest match of a type at a word. */
static match parse_type(parser *q, int type, int at)
{
    match *memo = &q->memo[type][at];
    if (memo->end) return *memo;
    match best = {-1, -1};
    *memo = best;
    if (at >= q->n || q->depth >= MAX_DEPTH) return best;
    q->depth++;
    if ((type == T_I || type == T_BARE) && q->words[at].number)
        best = (match){(int16_t)(at + 1), lf_num(&q->p, q->words[at].value)};
    if (type == T_I || type == T_P) {
        if (best.end < 0) best = parse_bracketed(q, type, at);
    } else {
        int want = type == T_BARE ? T_I : type;
        for (int op = 0; op < LF_OPS; op++) {
            if (lf_ops[op].type != want) continue;
            for (int k = 0; k < LF_WORDINGS && lf_ops[op].words[k]; k++) {
                match m = parse_pattern(q, op, lf_ops[op].words[k], at);
                if (m.end > best.end) best = m;
            }
        }
    }
    q->depth--;
    *memo = best;
    return best;
}

rd_rule *lf_parse(const char *text)
{
    rd_rule *r = NULL;
    if (!text) return NULL;
    parser *q = rd_new(parser, 1);
    if (split_words(q, text) && q->n) {
        if (word_is(q, q->n - 1, ".", 1)) q->n--;
        match m = parse_steps(q, 0);
        if (m.end == q->n && lf_size(&q->p, m.node) <= LF_MAX_NODES)
            r = lf_rule_make(&q->p, m.node);
    }
    rd_free(q->p.a);
    rd_free(q);
    return r;
}
