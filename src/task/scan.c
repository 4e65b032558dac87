/* scan.c: MiniSCAN grammars: their text, how they are run, how they go wrong.
 *
 *   Words: pioff is RED; siun is BLUE; x mcneilt is x x x; x voinn y is x y x; apply mcneilt first,
 *   then voinn.
 *
 * The words themselves are kept as they are written; only the sentence's own words are read without
 * regard to case. */
#include "scan.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---------------------------------------------------------------- values */

int scan_words(const char *text, char words[][SCAN_WORD], int most)
{
    int n = 0, at = 0;
    for (const char *p = text;; p++) {
        if (*p == ' ' || *p == '\0') {
            if (at == 0) return -1; /* empty, or a blank too many */
            words[n++][at] = '\0';
            at = 0;
            if (*p == '\0') return n;
        } else {
            if (n == most || at == SCAN_WORD - 1) return -1;
            if (!isalnum((unsigned char)*p) && *p != '_' && *p != '-') return -1;
            words[n][at++] = *p;
        }
    }
}

static bool scan_valid_input(const char *v)
{
    char words[SCAN_INPUT][SCAN_WORD];
    return scan_words(v, words, SCAN_INPUT) > 0;
}

static bool scan_valid_output(const char *v)
{
    char words[SCAN_OUTPUT][SCAN_WORD];
    return scan_words(v, words, SCAN_OUTPUT) > 0;
}

/* ---------------------------------------------------------------- running */

bool scan_compile(const rd_rule *r, const char words[][SCAN_WORD], int n, scan_line *l)
{
    l->n = n;
    for (int i = 0; i < n; i++) {
        scan_item *item = &l->item[i];
        int f = 0, p = 0;
        while (f < r->n_functions && strcmp(r->function[f].word, words[i]) != 0) f++;
        item->function = f < r->n_functions ? f : -1;
        item->n = 0;
        if (item->function >= 0) continue;
        while (p < r->n_primitives && strcmp(r->word[p], words[i]) != 0) p++;
        if (p == r->n_primitives) return false;
        item->value[item->n++] = (uint8_t)p;
    }
    return true;
}

/* Apply function f where it stands, at i; false when a neighbour is missing or no value. */
static bool function_apply(const scan_function *f, scan_line *l, int i)
{
    int first = f->kind == PREFIX ? i : i - 1, last = f->kind == POSTFIX ? i : i + 1;
    if (first < 0 || last >= l->n) return false;
    const scan_item *x = &l->item[f->kind == PREFIX ? last : first], *y = &l->item[last];
    if (x->function >= 0 || (f->kind == INFIX && y->function >= 0)) return false;
    scan_item result = {.function = -1};
    for (int k = 0; k < f->n; k++) {
        const scan_item *from = f->is_y[k] ? y : x;
        if (result.n + from->n > SCAN_OUTPUT) return false;
        memcpy(result.value + result.n, from->value, (size_t)from->n);
        result.n += from->n;
    }
    l->item[first] = result;
    memmove(&l->item[first + 1], &l->item[last + 1], (size_t)(l->n - last - 1) * sizeof *l->item);
    l->n -= last - first;
    return true;
}

static void value_put(const rd_rule *r, const scan_item *v, rd_buf *out)
{
    for (int k = 0; k < v->n; k++) {
        if (k) rd_buf_putc(out, ' ');
        rd_buf_puts(out, r->meaning[v->value[k]]);
    }
}

static void line_put(const rd_rule *r, const scan_line *l, rd_buf *out)
{
    for (int i = 0; i < l->n; i++) {
        if (i) rd_buf_putc(out, ' ');
        if (l->item[i].function >= 0)
            rd_buf_puts(out, r->function[l->item[i].function].word);
        else
            value_put(r, &l->item[i], out);
    }
    rd_buf_putc(out, '\n');
}

static void function_put(const scan_function *f, const char *verb, rd_buf *out)
{
    rd_buf_puts(out, f->kind == PREFIX ? "" : "x ");
    rd_buf_puts(out, f->word);
    rd_buf_puts(out, f->kind == PREFIX ? " x" : f->kind == INFIX ? " y" : "");
    rd_buf_puts(out, verb);
    for (int k = 0; k < f->n; k++) rd_buf_puts(out, f->is_y[k] ? " y" : " x");
}

bool scan_reduce(const rd_rule *r, scan_line *l, rd_buf *work)
{
    for (int f = 0; f < r->n_functions; f++) {
        const scan_function *fn = &r->function[f];
        /* the line gets shorter to the left of i or at i, so walking on by one never skips one */
        int step = fn->kind == PREFIX ? -1 : 1;
        for (int i = step < 0 ? l->n - 1 : 0; i >= 0 && i < l->n; i += step) {
            if (l->item[i].function != f) continue;
            if (work) function_put(fn, " is", work);
            if (work) rd_buf_putc(work, '\n');
            if (!function_apply(fn, l, i)) return false;
            if (fn->kind != PREFIX) i--;
            if (work && l->n > 1) line_put(r, l, work);
        }
    }
    return l->n == 1 && l->item[0].function < 0;
}

/* The clauses of the words of the line, then the line with the meanings in their place. */
static void lookup_put(const rd_rule *r, const scan_line *l, rd_buf *work)
{
    bool told[SCAN_PRIMITIVES] = {false};
    for (int i = 0; i < l->n; i++) {
        const scan_item *item = &l->item[i];
        if (item->function >= 0 || told[item->value[0]]) continue;
        told[item->value[0]] = true;
        rd_buf_printf(work, "%s is %s\n", r->word[item->value[0]], r->meaning[item->value[0]]);
    }
    if (l->n > 1) line_put(r, l, work);
}

static bool scan_run(const rd_rule *r, const char *input, rd_buf *answer, rd_buf *work)
{
    char words[SCAN_INPUT][SCAN_WORD];
    scan_line l;
    int n = scan_words(input, words, SCAN_INPUT);
    if (n <= 0 || !scan_compile(r, words, n, &l)) return false;
    if (work) lookup_put(r, &l, work);
    if (!scan_reduce(r, &l, work)) return false;
    value_put(r, &l.item[0], answer);
    return true;
}

/* ---------------------------------------------------------------- text */

enum { N_WORDINGS = 4, MAX_TOKENS = 256 };
static const char *const intros[N_WORDINGS] = {"Words", "Vocabulary", "Translate", "Lexicon"};
static const char *const verbs[N_WORDINGS] = {"is", "means", "becomes", "gives"};
/* what stands before the first function, after it, and before each further one */
static const char *const order_words[N_WORDINGS][3] = {
    {"apply ", " first", ", then "},
    {"work out ", "", " before "},
    {"", " binds tightest", ", then "},
    {"do ", "", ", next "},
};
static const char *const reserved[] = {"is",    "means",    "becomes",   "gives",      "x",
                                       "y",     "apply",    "first",     "then",       "work",
                                       "out",   "before",   "binds",     "do",         "next",
                                       "words", "tightest", "translate", "vocabulary", "lexicon"};

bool scan_reserved(const char *word)
{
    for (size_t k = 0; k < sizeof reserved / sizeof *reserved; k++)
        if (!strcasecmp(word, reserved[k])) return true;
    return false;
}

static void scan_print(const rd_rule *r, uint64_t words, rd_buf *out)
{
    const char *verb = verbs[words % N_WORDINGS], *f_verb = verbs[words / 4 % N_WORDINGS];
    const char *const *order = order_words[words / 16 % N_WORDINGS];
    char spaced[16];
    snprintf(spaced, sizeof spaced, " %s", f_verb);
    rd_buf_puts(out, intros[words / 64 % N_WORDINGS]);
    rd_buf_putc(out, ':');
    for (int p = 0; p < r->n_primitives; p++)
        rd_buf_printf(out, "%s %s %s %s", p ? ";" : "", r->word[p], verb, r->meaning[p]);
    for (int f = 0; f < r->n_functions; f++) {
        rd_buf_puts(out, f || r->n_primitives ? "; " : " ");
        function_put(&r->function[f], spaced, out);
    }
    for (int f = 0; f < r->n_functions && r->n_functions > 1; f++) {
        rd_buf_puts(out, f ? order[2] : "; ");
        if (f == 0) rd_buf_puts(out, order[0]);
        rd_buf_puts(out, r->function[f].word);
        if (f == 0) rd_buf_puts(out, order[1]);
    }
    rd_buf_putc(out, '.');
}

/* "zap BLACK; guk GREEN; x faurk y is y x x; x kat y is y x y; do faurk, next kat." */
static void scan_print_terse(const rd_rule *r, rd_buf *out)
{
    for (int p = 0; p < r->n_primitives; p++)
        rd_buf_printf(out, "%s%s %s", p ? "; " : "", r->word[p], r->meaning[p]);
    for (int f = 0; f < r->n_functions; f++) {
        rd_buf_puts(out, f || r->n_primitives ? "; " : "");
        function_put(&r->function[f], " is", out);
    }
    for (int f = 0; f < r->n_functions && r->n_functions > 1; f++)
        rd_buf_printf(out, "%s%s", f ? order_words[3][2] : "; do ", r->function[f].word);
    rd_buf_putc(out, '.');
}

/* Text as words and single punctuation marks, each at most SCAN_WORD - 1 long. */
typedef struct tokens {
    int n, at;
    char word[MAX_TOKENS][SCAN_WORD];
} tokens;

static bool tokens_read(const char *text, tokens *t)
{
    t->n = t->at = 0;
    while (*text) {
        if (isspace((unsigned char)*text)) {
            text++;
            continue;
        }
        int len = 0;
        if (t->n == MAX_TOKENS) return false;
        char *word = t->word[t->n++];
        if (strchr(";:,.", *text)) {
            word[len++] = *text++;
        } else {
            while (isalnum((unsigned char)*text) || *text == '_' || *text == '-') {
                if (len == SCAN_WORD - 1) return false;
                word[len++] = *text++;
            }
            if (len == 0) return false;
        }
        word[len] = '\0';
    }
    while (t->n > 0 && !strcmp(t->word[t->n - 1], ".")) t->n--;
    return true;
}

/* The token `ahead` places on; "" beyond the end. */
static const char *peek(const tokens *t, int ahead)
{
    static const char none[SCAN_WORD] = ""; /* as long as a word: callers copy whole rows */
    return t->at + ahead < t->n ? t->word[t->at + ahead] : none;
}

static bool is_word(const char *w, const char *want)
{
    return !strcasecmp(w, want);
}

static bool accept(tokens *t, const char *want)
{
    if (!is_word(peek(t, 0), want)) return false;
    t->at++;
    return true;
}

static bool is_verb(const char *w)
{
    for (int k = 0; k < N_WORDINGS; k++)
        if (is_word(w, verbs[k])) return true;
    return false;
}

static bool is_name(const char *w)
{
    return isalnum((unsigned char)*w) && !scan_reserved(w);
}

/* "w is O", "w O" */
static bool primitive_read(tokens *t, rd_rule *r)
{
    int meaning = is_verb(peek(t, 1)) ? 2 : 1;
    if (r->n_primitives == SCAN_PRIMITIVES || !is_name(peek(t, 0)) || !is_name(peek(t, meaning)))
        return false;
    memcpy(r->word[r->n_primitives], peek(t, 0), SCAN_WORD);
    memcpy(r->meaning[r->n_primitives++], peek(t, meaning), SCAN_WORD);
    t->at += meaning + 1;
    return true;
}

static bool starts_primitive(const tokens *t)
{
    return is_verb(peek(t, 1)) || (is_name(peek(t, 0)) && is_name(peek(t, 1)));
}

/* "x F is …", "F x is …", "x F y is …" */
static bool function_read(tokens *t, rd_rule *r)
{
    if (r->n_functions == SCAN_FUNCTIONS) return false;
    scan_function *f = &r->function[r->n_functions];
    bool x_first = accept(t, "x");
    if (!is_name(peek(t, 0))) return false;
    memcpy(f->word, peek(t, 0), SCAN_WORD);
    t->at++;
    f->kind = x_first ? POSTFIX : PREFIX;
    if (!x_first && !accept(t, "x")) return false;
    if (x_first && accept(t, "y")) f->kind = INFIX;
    if (!is_verb(peek(t, 0))) return false;
    t->at++;
    for (f->n = 0; f->n < SCAN_TEMPLATE; f->n++) {
        bool y = is_word(peek(t, 0), "y");
        if (!y && !is_word(peek(t, 0), "x")) break;
        if (y && f->kind != INFIX) return false;
        f->is_y[f->n] = y;
        t->at++;
    }
    r->n_functions++;
    return f->n > 0;
}

/* Move the named function to the next place of the order. */
static bool order_take(rd_rule *r, const char *word, int place)
{
    for (int f = place; f < r->n_functions; f++) {
        if (strcmp(r->function[f].word, word) != 0) continue;
        scan_function fn = r->function[f];
        memmove(&r->function[place + 1], &r->function[place],
                (size_t)(f - place) * sizeof *r->function);
        r->function[place] = fn;
        return true;
    }
    return false;
}

/* "apply A first, then B, then C" in any of its wordings; each function exactly once. */
static bool order_read(tokens *t, rd_rule *r)
{
    int place = 0;
    if (!accept(t, "apply") && !accept(t, "do") && accept(t, "work") && !accept(t, "out"))
        return false;
    for (;;) {
        if (!order_take(r, peek(t, 0), place)) return false;
        t->at++;
        if (place++ == 0 && accept(t, "binds") && !accept(t, "tightest")) return false;
        if (place == 1) (void)accept(t, "first");
        if (t->at == t->n) return place == r->n_functions;
        (void)accept(t, ",");
        if (!accept(t, "then") && !accept(t, "before") && !accept(t, "next")) return false;
    }
}

static bool starts_order(const tokens *t)
{
    return is_word(peek(t, 0), "apply") || is_word(peek(t, 0), "work") ||
           is_word(peek(t, 0), "do") || is_word(peek(t, 1), "binds");
}

static bool names_distinct(const rd_rule *r)
{
    const char *names[SCAN_PRIMITIVES + SCAN_FUNCTIONS];
    int n = 0;
    for (int p = 0; p < r->n_primitives; p++) names[n++] = r->word[p];
    for (int f = 0; f < r->n_functions; f++) names[n++] = r->function[f].word;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++)
            if (!strcmp(names[i], names[k])) return false;
    return n > 0;
}

/* Primitives, then functions, then their order, as printed; without an order that of the text. */
static rd_rule *scan_parse(const char *text)
{
    tokens t;
    rd_rule r;
    memset(&r, 0, sizeof r);
    if (!tokens_read(text, &t)) return NULL;
    if (!strcmp(peek(&t, 1), ":")) {
        int w = 0;
        while (w < N_WORDINGS && !is_word(peek(&t, 0), intros[w])) w++;
        if (w == N_WORDINGS) return NULL;
        t.at = 2;
    }
    while (t.at < t.n) {
        bool read = starts_order(&t)       ? order_read(&t, &r)
                    : starts_primitive(&t) ? primitive_read(&t, &r)
                                           : function_read(&t, &r);
        if (!read || (t.at < t.n && !accept(&t, ";"))) return NULL;
    }
    return names_distinct(&r) ? scan_copy(&r) : NULL;
}

bool scan_fits(const rd_rule *r)
{
    rd_buf text = {0};
    scan_print(r, 0, &text);
    bool fits = text.len <= SCAN_TEXT;
    rd_buf_free(&text);
    return fits && r->n_primitives + r->n_functions > 0;
}

/* ---------------------------------------------------------------- small things about rules */

rd_rule *scan_copy(const rd_rule *r)
{
    rd_rule *copy = rd_new(rd_rule, 1);
    *copy = *r;
    return copy;
}

static double scan_cost(const rd_rule *r)
{
    double c = r->n_primitives;
    for (int f = 0; f < r->n_functions; f++) c += 1 + 0.5 * r->function[f].n;
    return c;
}

static int scan_steps(const rd_rule *r)
{
    return 1 + r->n_functions;
}

static void scan_free(rd_rule *r)
{
    rd_free(r);
}

void scan_structure(const rd_rule *r, rd_buf *out)
{
    for (int f = 0; f < r->n_functions; f++) {
        scan_function fn = r->function[f];
        memcpy(fn.word, "F", 2);
        if (f) rd_buf_puts(out, " | ");
        function_put(&fn, " =", out);
    }
}

static int line_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In alphabetical order: in which order functions bind makes no other pair. */
void scan_kinds(const rd_rule *r, rd_buf *out)
{
    char *line[SCAN_FUNCTIONS];
    for (int f = 0; f < r->n_functions; f++) {
        rd_buf text = {0};
        scan_function fn = r->function[f];
        memcpy(fn.word, "F", 2);
        function_put(&fn, " =", &text);
        line[f] = rd_buf_take(&text);
    }
    if (r->n_functions > 0) qsort(line, (size_t)r->n_functions, sizeof *line, line_compare);
    for (int f = 0; f < r->n_functions; f++) {
        rd_buf_printf(out, "%s\n", line[f]);
        rd_free(line[f]);
    }
}

static void scan_classify(const rd_task *t, rd_buf *out)
{
    rd_candidates c = {0};
    if (scan_search(t, &(rd_search_opts){.max_right = 1}, &c) == RD_OK && c.n > 0 &&
        c.item[0].score == t->n_demos) {
        scan_structure(c.item[0].rule, out);
        if (out->len == 0) rd_buf_puts(out, "no function");
    }
    rd_candidates_free(RD_MINISCAN, &c);
}

/* ---------------------------------------------------------------- going wrong */

static void template_change(scan_function *f, rd_rng *rng)
{
    int what = (int)rd_rng_below(rng, 3), k = (int)rd_rng_below(rng, f->n);
    if (what == 0 && f->n > 1) {
        memmove(f->is_y + k, f->is_y + k + 1, (size_t)(f->n - k - 1));
        f->n--;
    } else if (what == 1 || f->kind != INFIX) {
        if (f->n == SCAN_TEMPLATE) return;
        f->is_y[f->n++] = f->kind == INFIX && rd_rng_chance(rng, 0.5);
    } else {
        f->is_y[k] = !f->is_y[k];
    }
}

bool scan_change(rd_rule *r, rd_rng *rng)
{
    int np = r->n_primitives, nf = r->n_functions;
    int p = np ? (int)rd_rng_below(rng, np) : 0, q = np ? (int)rd_rng_below(rng, np) : 0;
    int f = nf ? (int)rd_rng_below(rng, nf) : 0, g = nf ? (int)rd_rng_below(rng, nf) : 0;
    static const double weights[] = {4, 2, 2, 1, 1, 1, 1};
    switch (rd_rng_pick(rng, weights, 7)) {
    case 0: /* another template */
        if (nf == 0) return false;
        template_change(&r->function[f], rng);
        return true;
    case 1: { /* another order */
        if (f == g) return false;
        scan_function swap = r->function[f];
        r->function[f] = r->function[g];
        r->function[g] = swap;
        return true;
    }
    case 2: { /* two words confused */
        char swap[SCAN_WORD];
        if (p == q) return false;
        memcpy(swap, r->meaning[p], SCAN_WORD);
        memcpy(r->meaning[p], r->meaning[q], SCAN_WORD);
        memcpy(r->meaning[q], swap, SCAN_WORD);
        return true;
    }
    case 3: /* a wrong meaning */
        if (p == q) return false;
        memcpy(r->meaning[p], r->meaning[q], SCAN_WORD);
        return true;
    case 4: { /* two functions confused */
        char swap[SCAN_WORD];
        if (f == g || r->function[f].kind != r->function[g].kind) return false;
        memcpy(swap, r->function[f].word, SCAN_WORD);
        memcpy(r->function[f].word, r->function[g].word, SCAN_WORD);
        memcpy(r->function[g].word, swap, SCAN_WORD);
        return true;
    }
    case 5: /* a word forgotten */
        if (np < 2) return false;
        memmove(r->word[p], r->word[p + 1], (size_t)(np - p - 1) * SCAN_WORD);
        memmove(r->meaning[p], r->meaning[p + 1], (size_t)(np - p - 1) * SCAN_WORD);
        r->n_primitives--;
        return true;
    default: /* a function forgotten */
        if (nf == 0) return false;
        memmove(&r->function[f], &r->function[f + 1], (size_t)(nf - f - 1) * sizeof *r->function);
        r->n_functions--;
        return true;
    }
}

static bool differs(const rd_rule *a, const rd_rule *b, const rd_task *t)
{
    rd_buf ya = {0}, yb = {0};
    bool differ = false;
    for (int64_t i = 0; !differ && i < t->n_demos + t->n_queries; i++) {
        rd_buf_clear(&ya);
        rd_buf_clear(&yb);
        bool ra = scan_run(a, t->examples[i].input, &ya, NULL);
        bool rb = scan_run(b, t->examples[i].input, &yb, NULL);
        differ = ra != rb || (ra && strcmp(ya.data, yb.data) != 0);
    }
    rd_buf_free(&ya);
    rd_buf_free(&yb);
    return differ;
}

static rd_rule *scan_mutate(const rd_rule *r, const rd_task *t, rd_rng *rng)
{
    for (int attempt = 0; attempt < 40; attempt++) {
        rd_rule m = *r;
        bool twice = rd_rng_chance(rng, 0.4);
        if (!scan_change(&m, rng) || (twice && !scan_change(&m, rng))) continue;
        if (differs(r, &m, t) && scan_fits(&m)) return scan_copy(&m);
    }
    return NULL;
}

/* A word left out, doubled, or two neighbours swapped. */
static void answer_slip(const char *answer, rd_rng *rng, rd_buf *out)
{
    char words[SCAN_OUTPUT][SCAN_WORD];
    int n = scan_words(answer, words, SCAN_OUTPUT);
    if (n <= 0) {
        rd_buf_puts(out, answer);
        return;
    }
    int what = (int)rd_rng_below(rng, 3), k = (int)rd_rng_below(rng, n);
    if (what == 2 && (k + 1 == n || !strcmp(words[k], words[k + 1]))) what = 1;
    if (what == 0 && n == 1) what = 1;
    for (int i = 0, first = 1; i < n; i++) {
        int from = what == 2 && i == k ? k + 1 : what == 2 && i == k + 1 ? k : i;
        int times = i == k && what == 0 ? 0 : i == k && what == 1 ? 2 : 1;
        for (; times > 0; times--, first = 0) {
            if (!first) rd_buf_putc(out, ' ');
            rd_buf_puts(out, words[from]);
        }
    }
}

/* Half of the slips are in how the rule is used: one of its functions copies once too little, or
 * two change places. */
static void scan_slip(const rd_rule *r, const char *input, const char *answer, rd_rng *rng,
                      rd_buf *out)
{
    for (int attempt = 0; r && r->n_functions && attempt < 4 && rd_rng_chance(rng, 0.8);
         attempt++) {
        rd_rule m = *r;
        int f = (int)rd_rng_below(rng, m.n_functions);
        size_t start = out->len;
        if (rd_rng_chance(rng, 0.5) && m.function[f].n > 1) {
            m.function[f].n--;
        } else if (f > 0) {
            scan_function swap = m.function[f];
            m.function[f] = m.function[f - 1];
            m.function[f - 1] = swap;
        }
        if (scan_run(&m, input, out, NULL) && strcmp(out->data + start, answer) != 0) return;
        if (out->data) out->data[start] = '\0';
        out->len = start;
    }
    answer_slip(answer, rng, out);
}

const family_ops rd_scan_ops = {
    .name = "miniscan",
    .demos = {8, 14, 14, 18},
    .queries = {4, 10, 10, 10},
    .valid_input = scan_valid_input,
    .valid_output = scan_valid_output,
    .draw = scan_draw,
    .classify = scan_classify,
    .kinds = scan_kinds,
    .vocabulary = scan_vocabulary,
    .search = scan_search,
    .parse = scan_parse,
    .print = scan_print,
    .print_terse = scan_print_terse,
    .cost = scan_cost,
    .steps = scan_steps,
    .free = scan_free,
    .run = scan_run,
    .mutate = scan_mutate,
    .slip = scan_slip,
};
