/* scan_generate.c: new MiniSCAN tasks.
 *
 * The published tasks are one grammar a hundred times, with other words.  Ours vary the grammar:
 * the number of words, kind and template of each function, the order in which functions bind.  What
 * a demonstration set must show is laid down here, so that the grammar can be found: every word
 * alone, every function alone twice, every neighbouring pair of the order together. */
#include "scan.h"

#include <string.h>

/* ---------------------------------------------------------------- words */

static const char *const onsets[] = {"b",  "bl", "d", "dr", "f", "fl", "g",  "gr", "h",
                                     "k",  "kl", "l", "m",  "n", "p",  "pr", "r",  "s",
                                     "sk", "sm", "t", "tr", "v", "w",  "z"};
static const char *const nuclei[] = {"a", "e", "i", "o", "u", "ai", "au", "ea", "ie", "oo", "ou"};
static const char *const codas[] = {"b", "ck", "f", "ft", "g",  "k",  "l",  "lm", "m",
                                    "n", "nd", "p", "rk", "rn", "sh", "st", "t",  "x"};
static const char *const plain_outputs[] = {"RED",  "BLUE",  "GREEN", "YELLOW",
                                            "PINK", "BLACK", "WHITE", "ORANGE"};

#define PICK(rng, table) (table)[rd_rng_below((rng), (int64_t)(sizeof(table) / sizeof *(table)))]

static void word_draw(rd_rng *rng, char word[SCAN_WORD])
{
    int syllables = rd_rng_chance(rng, 0.35) ? 2 : 1;
    rd_buf b = {0};
    for (int s = 0; s < syllables; s++) {
        rd_buf_puts(&b, PICK(rng, onsets));
        rd_buf_puts(&b, PICK(rng, nuclei));
    }
    rd_buf_puts(&b, PICK(rng, codas));
    snprintf(word, SCAN_WORD, "%.11s", b.data);
    rd_buf_free(&b);
}

/* A word of the run's lexicon, or any. */
static void word_pick(rd_rng *rng, const rd_gen_opts *o, char word[SCAN_WORD])
{
    if (o->lexicon == 0) {
        word_draw(rng, word);
        return;
    }
    uint64_t k = (uint64_t)rd_rng_below(rng, o->lexicon);
    rd_rng own = rd_rng_make(o->seed, "lexicon.miniscan", 0, k);
    word_draw(&own, word);
}

/* A new word: not among the grammar's, not a word of the sentence, not a colour. */
static void word_new(rd_rng *rng, const rd_gen_opts *o, const rd_rule *r, char word[SCAN_WORD])
{
    bool fresh = false;
    while (!fresh) {
        word_pick(rng, o, word);
        fresh = strlen(word) >= 3 && !scan_reserved(word) && strcmp(word, "red") != 0;
        for (int p = 0; fresh && p < r->n_primitives; p++)
            fresh = strcmp(word, r->word[p]) != 0 && strcmp(word, r->meaning[p]) != 0;
        for (int f = 0; fresh && f < r->n_functions; f++)
            fresh = strcmp(word, r->function[f].word) != 0;
    }
}

static void primitives_draw(rd_rng *rng, const rd_gen_opts *o, int n, bool plain, rd_rule *r)
{
    int64_t colour[sizeof plain_outputs / sizeof *plain_outputs];
    int64_t n_colours = (int64_t)(sizeof colour / sizeof *colour);
    char word[SCAN_WORD];
    for (int64_t k = 0; k < n_colours; k++) colour[k] = k;
    rd_rng_shuffle(rng, colour, n_colours);
    while (r->n_primitives < n) {
        int p = r->n_primitives;
        word_new(rng, o, r, word);
        memcpy(r->word[p], word, SCAN_WORD);
        if (plain) {
            snprintf(r->meaning[p], SCAN_WORD, "%s", plain_outputs[colour[p]]);
        } else {
            do word_new(rng, o, r, word);
            while (!strcmp(word, r->word[p]));
            memcpy(r->meaning[p], word, SCAN_WORD);
        }
        r->n_primitives++;
    }
}

/* ---------------------------------------------------------------- functions */

static const struct {
    scan_kind kind;
    const char *pattern;
} function_kinds[] = {
    {POSTFIX, "xx"}, {POSTFIX, "xxx"}, {POSTFIX, "xxxx"}, {PREFIX, "xx"}, {PREFIX, "xxx"},
    {INFIX, "xy"},   {INFIX, "yx"},    {INFIX, "xyx"},    {INFIX, "yxy"}, {INFIX, "xxy"},
    {INFIX, "xyyx"}, {INFIX, "yxx"},   {INFIX, "xyy"},
};

static void function_set(scan_function *f, scan_kind kind, const char *pattern)
{
    f->kind = kind;
    for (f->n = 0; f->n < SCAN_TEMPLATE && pattern[f->n]; f->n++)
        f->is_y[f->n] = pattern[f->n] == 'y';
}

static bool same_meaning(const scan_function *a, const scan_function *b)
{
    return a->kind == b->kind && a->n == b->n && !memcmp(a->is_y, b->is_y, (size_t)a->n);
}

static void functions_draw(rd_rng *rng, const rd_gen_opts *o, int n, rd_rule *r)
{
    char word[SCAN_WORD];
    while (r->n_functions < n) {
        scan_function *f = &r->function[r->n_functions];
        int64_t k = rd_rng_below(rng, (int64_t)(sizeof function_kinds / sizeof *function_kinds));
        function_set(f, function_kinds[k].kind, function_kinds[k].pattern);
        bool fresh = true;
        for (int g = 0; g < r->n_functions; g++) fresh &= !same_meaning(f, &r->function[g]);
        if (!fresh) continue;
        word_new(rng, o, r, word);
        memcpy(f->word, word, SCAN_WORD);
        r->n_functions++;
    }
}

/* ---------------------------------------------------------------- inputs */

/* The examples under construction. */
typedef struct sheet {
    const rd_rule *r;
    const rd_rule *against; /* where not NULL, examples must refute it */
    rd_task *t;
    int64_t n;
} sheet;

static bool refuted(const rd_rule *r, const char *input, const char *answer)
{
    rd_buf other = {0};
    bool same = rd_scan_ops.run(r, input, &other, NULL) && !strcmp(other.data, answer);
    rd_buf_free(&other);
    return !same;
}

/* false when the input has no meaning, is too long, or is there already. */
static bool sheet_add(sheet *s, const char *input)
{
    rd_buf answer = {0};
    int words = 1;
    bool good = rd_scan_ops.run(s->r, input, &answer, NULL);
    for (const char *p = answer.data; good && *p; p++) words += *p == ' ';
    good = good && words <= 14;
    for (int64_t i = 0; good && i < s->n; i++) good = strcmp(s->t->examples[i].input, input) != 0;
    good = good && (!s->against || refuted(s->against, input, answer.data));
    if (good) {
        s->t->examples[s->n].input = rd_strdup(input);
        s->t->examples[s->n++].output = rd_buf_take(&answer);
    }
    rd_buf_free(&answer);
    return good;
}

static void word_put(const char *word, rd_buf *out)
{
    if (out->len) rd_buf_putc(out, ' ');
    rd_buf_puts(out, word);
}

/* An expression with these functions, in this order from left to right, over primitives from the
 * first n; `must` (or -1) is one of them for sure. */
static void expression_draw(rd_rng *rng, const rd_rule *r, const int *fn, int n_fn, int n, int must,
                            rd_buf *out)
{
    int value[SCAN_FUNCTIONS + 1], n_values = 1, next = 0;
    for (int k = 0; k < n_fn; k++) n_values += r->function[fn[k]].kind == INFIX;
    for (int k = 0; k < n_values; k++) { /* all different as far as they reach: more is told */
        bool fresh = true;
        int tries = 0;
        do {
            value[k] = (int)rd_rng_below(rng, n);
            fresh = true;
            for (int i = 0; i < k; i++) fresh &= value[i] != value[k];
        } while (!fresh && ++tries < 20);
    }
    if (must >= 0) value[rd_rng_below(rng, n_values)] = must;
    rd_buf_clear(out);
    bool open = true; /* a value is due */
    for (int k = 0; k < n_fn; k++) {
        const scan_function *f = &r->function[fn[k]];
        if (open && f->kind != PREFIX) {
            word_put(r->word[value[next++]], out);
            open = false;
        }
        if (!open && f->kind == PREFIX) return; /* a prefix after a value: no expression */
        word_put(f->word, out);
        if (f->kind == INFIX) open = true;
    }
    if (open) word_put(r->word[value[next]], out);
}

/* One more example with the given functions in some order; false after many attempts. */
static bool example_draw(sheet *s, rd_rng *rng, const int64_t *fn, int n_fn, int n, int must)
{
    rd_buf text = {0};
    bool done = false;
    for (int attempt = 0; !done && attempt < 40; attempt++) {
        int64_t order[SCAN_FUNCTIONS];
        int chosen[SCAN_FUNCTIONS];
        for (int k = 0; k < n_fn; k++) order[k] = k;
        rd_rng_shuffle(rng, order, n_fn);
        for (int k = 0; k < n_fn; k++) chosen[k] = (int)fn[order[k]];
        expression_draw(rng, s->r, chosen, n_fn, n, must, &text);
        done = text.len > 0 && sheet_add(s, text.data);
    }
    rd_buf_free(&text);
    return done;
}

/* Functions by chance: one or two mostly, three at times. */
static bool mixed_draw(sheet *s, rd_rng *rng, int most, int n, int must)
{
    int64_t fn[SCAN_FUNCTIONS];
    int nf = s->r->n_functions;
    for (int k = 0; k < nf; k++) fn[k] = k;
    rd_rng_shuffle(rng, fn, nf);
    int64_t count = rd_rng_range(rng, 1, most < nf ? most : nf);
    return example_draw(s, rng, fn, (int)count, n, must);
}

/* An example that would come out otherwise if functions f and g changed places; true when there is
 * one, or when both orders come to the same. */
static bool order_shows(sheet *s, rd_rng *rng, int f, int g, bool *shown)
{
    rd_rule swapped = *s->r;
    swapped.function[f] = s->r->function[g];
    swapped.function[g] = s->r->function[f];
    s->against = &swapped;
    *shown = s->n < s->t->n_demos &&
             example_draw(s, rng, (int64_t[]){f, g}, 2, s->r->n_primitives - 1, -1);
    s->against = NULL;
    return *shown || s->n < s->t->n_demos;
}

/* Neighbours in the order first; where two of them come to the same, those around them. */
static bool orders_show(sheet *s, rd_rng *rng)
{
    bool shown[SCAN_FUNCTIONS][SCAN_FUNCTIONS] = {{false}};
    int nf = s->r->n_functions;
    for (int far = 1; far < nf; far++)
        for (int f = 0; f + far < nf; f++) {
            bool follows = far > 1;
            for (int k = f + 1; k < f + far && follows; k++)
                follows = shown[f][k] && shown[k][f + far];
            if (follows)
                shown[f][f + far] = true;
            else if (!order_shows(s, rng, f, f + far, &shown[f][f + far]))
                return false;
        }
    return true;
}

static bool demos_draw(sheet *s, rd_rng *rng, int most)
{
    const rd_rule *r = s->r;
    int n = r->n_primitives;
    for (int p = 0; p < n; p++)
        if (s->n == s->t->n_demos || !sheet_add(s, r->word[p])) return false;
    /* the last primitive occurs alone only: the queries ask what was understood */
    for (int f = 0; f < r->n_functions; f++)
        for (int twice = 0; twice < 2; twice++)
            if (s->n == s->t->n_demos || !example_draw(s, rng, &(int64_t){f}, 1, n - 1, -1))
                return false;
    if (!orders_show(s, rng)) return false;
    for (int attempt = 0; s->n < s->t->n_demos; attempt++)
        if (!mixed_draw(s, rng, most, n - 1, -1) && attempt > 10) return false;
    return true;
}

static bool queries_draw(sheet *s, rd_rng *rng, int most)
{
    int n = s->r->n_primitives;
    int64_t total = s->t->n_demos + s->t->n_queries;
    for (int attempt = 0; s->n < total && attempt < 400; attempt++)
        mixed_draw(s, rng, most, n, s->n % 2 ? rd_rng_chance(rng, 0.3) ? n - 1 : -1 : n - 1);
    return s->n == total;
}

/* ---------------------------------------------------------------- the published layout */

/* Lake et al.'s study: four words (a to d), then 1: x1 -> xxx, 2: x2y -> xyx, 3: x3y -> yx. */
static const char *const lake_layout[] = {
    "a",    "b",     "c",  "d",   "b1",  "a1",  "b2c", "c2a",  "b3c",  "a3b",   "b13c",   "c3a2b",
    "b3c1", "c2a3b", "d1", "d2b", "a2d", "d3a", "c3d", "d13b", "c3d1", "b3c2d", "d2c3a1", "d2d3d1"};
enum { LAKE_DEMOS = 14, LAKE_QUERIES = 10 };

static bool lake_draw(const rd_gen_opts *o, rd_rng *rng, rd_task *t, rd_rule *r)
{
    static const char *const patterns[] = {"xxx", "xyx", "yx"};
    if (t->n_demos != LAKE_DEMOS || t->n_queries != LAKE_QUERIES) return false;
    char word[SCAN_WORD];
    primitives_draw(rng, o, 4, true, r);
    for (int p = 0; p < 4; p++) snprintf(r->meaning[p], SCAN_WORD, "%s", plain_outputs[p]);
    for (int f = 0; f < 3; f++) {
        function_set(&r->function[f], f ? INFIX : POSTFIX, patterns[f]);
        word_new(rng, o, r, word);
        memcpy(r->function[f].word, word, SCAN_WORD);
        r->n_functions++;
    }
    sheet s = {r, NULL, t, 0};
    rd_buf text = {0};
    bool good = true;
    for (int k = 0; good && k < LAKE_DEMOS + LAKE_QUERIES; k++) {
        rd_buf_clear(&text);
        for (const char *p = lake_layout[k]; *p; p++)
            word_put(*p >= 'a' ? r->word[*p - 'a'] : r->function[*p - '1'].word, &text);
        good = sheet_add(&s, text.data);
    }
    rd_buf_free(&text);
    return good;
}

static bool varied_draw(const rd_gen_opts *opts, rd_rng *rng, rd_task *t, rd_rule *r)
{
    static const int fewest[4] = {3, 3, 4, 4}, most[4] = {3, 4, 4, 5}, functions[4] = {2, 2, 3, 4},
                     together[4] = {2, 2, 3, 3};
    int d = opts->difficulty;
    int n = (int)rd_rng_range(rng, fewest[d], most[d]);
    primitives_draw(rng, opts, n, d < 3 || rd_rng_chance(rng, 0.5), r);
    functions_draw(rng, opts, functions[d], r);
    sheet s = {r, NULL, t, 0};
    return demos_draw(&s, rng, together[d]) && queries_draw(&s, rng, together[d]);
}

bool scan_draw(const rd_gen_opts *opts, rd_rng *rng, rd_task *t)
{
    rd_rule r;
    rd_buf text = {0};
    memset(&r, 0, sizeof r);
    t->examples = rd_new(rd_example, t->n_demos + t->n_queries);
    bool good = opts->lake_grammar ? lake_draw(opts, rng, t, &r) : varied_draw(opts, rng, t, &r);
    if (!good || !scan_fits(&r)) return false;
    rd_scan_ops.print(&r, 0, &text);
    t->rule = rd_buf_take(&text);
    scan_structure(&r, &text);
    t->rule_class = rd_buf_take(&text);
    return true;
}

const char *scan_vocabulary(const rd_gen_opts *opts, rd_hold level, rd_buf *out)
{
    enum { KINDS = sizeof function_kinds / sizeof *function_kinds };
    if (opts->lake_grammar) return "\"lake\" is one grammar, with nothing to hold out";
    for (int a = 0; a < KINDS; a++) {
        rd_rule r = {.n_functions = 1};
        function_set(&r.function[0], function_kinds[a].kind, function_kinds[a].pattern);
        if (level == RD_HOLD_KIND) scan_kinds(&r, out);
        for (int b = a + 1; b < KINDS && level == RD_HOLD_PAIR; b++) {
            rd_buf two = {0};
            r.n_functions = 2;
            function_set(&r.function[1], function_kinds[b].kind, function_kinds[b].pattern);
            scan_kinds(&r, &two);
            *strchr(two.data, '\n') = '\t';
            rd_buf_puts(out, two.data);
            rd_buf_free(&two);
        }
    }
    return NULL;
}
