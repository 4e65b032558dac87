/* scan_search.c: the grammar that a MiniSCAN task's demonstrations determine, and its neighbours.
 *
 * One-word inputs give the primitives; every other word is a function.  Inputs with one function
 * give its kind (from where it stands) and its templates (from the output); the order is tried out.
 * What is left is a handful of grammars per task.  Around the cheapest one that is right, single
 * changes are tried systematically and pairs of changes at random, for hypotheses that are nearly
 * right. */
#include "scan.h"

#include <string.h>

enum { MAX_VOCABULARY = 64, MAX_TEMPLATES = 24, MAX_GRAMMARS = 4096, RANDOM_CHANGES = 160 };

/* An example as words; the output as numbers in the vocabulary of all outputs. */
typedef struct example {
    int n_in, n_out;
    char in[SCAN_INPUT][SCAN_WORD];
    uint8_t out[SCAN_OUTPUT];
} example;

typedef struct scan_table {
    int64_t n, n_demos;
    example *ex;
    int n_words;
    char word[MAX_VOCABULARY][SCAN_WORD];
} scan_table;

static int vocabulary_number(scan_table *b, const char *w, bool add)
{
    int k = 0;
    while (k < b->n_words && strcmp(b->word[k], w) != 0) k++;
    if (k < b->n_words || !add) return k < b->n_words ? k : -1;
    if (b->n_words == MAX_VOCABULARY) return -1;
    memcpy(b->word[b->n_words++], w, SCAN_WORD);
    return k;
}

/* Outputs of queries are never looked at. */
static bool table_make(const rd_task *t, scan_table *b)
{
    char words[SCAN_OUTPUT][SCAN_WORD];
    *b = (scan_table){.n = t->n_demos + t->n_queries, .n_demos = t->n_demos};
    b->ex = rd_new(example, b->n);
    for (int64_t i = 0; i < b->n; i++) {
        example *e = &b->ex[i];
        e->n_in = scan_words(t->examples[i].input, e->in, SCAN_INPUT);
        if (e->n_in <= 0) return false;
        for (int k = 0; k < e->n_in; k++)
            if (scan_reserved(e->in[k])) return false; /* no sentence could tell such a grammar */
        if (i >= t->n_demos) continue;
        e->n_out = scan_words(t->examples[i].output, words, SCAN_OUTPUT);
        if (e->n_out <= 0) return false;
        for (int k = 0; k < e->n_out; k++) {
            int w = vocabulary_number(b, words[k], true);
            if (w < 0 || scan_reserved(words[k])) return false;
            e->out[k] = (uint8_t)w;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- judging a grammar */

/* Score, soft score and behaviour of a grammar; true when it is right on all demonstrations. */
typedef struct verdict {
    int32_t score;
    double soft;
    uint64_t behaviour;
} verdict;

static void judge(scan_table *b, const rd_rule *r, verdict *v)
{
    int number[SCAN_PRIMITIVES];
    scan_line l;
    *v = (verdict){0, 0, 0};
    for (int p = 0; p < r->n_primitives; p++) number[p] = vocabulary_number(b, r->meaning[p], true);
    for (int64_t i = 0; i < b->n; i++) {
        const example *e = &b->ex[i];
        bool defined = scan_compile(r, (const char(*)[SCAN_WORD])e->in, e->n_in, &l) &&
                       scan_reduce(r, &l, NULL);
        int n = defined ? l.item[0].n : 0, equal = 0;
        uint64_t h = 0x9e3779b97f4a7c15u;
        for (int k = 0; k < n; k++) {
            int w = number[l.item[0].value[k]];
            equal += k < e->n_out && w == e->out[k];
            h = (h ^ (uint64_t)(w + 1)) * 0xff51afd7ed558ccdu;
        }
        v->behaviour = (v->behaviour ^ h) * 0x9e3779b97f4a7c15u + 1;
        if (i >= b->n_demos) continue;
        v->score += defined && n == e->n_out && equal == n;
        v->soft += (double)equal / (n > e->n_out ? n : e->n_out);
    }
    v->soft /= (double)b->n_demos;
}

static int32_t consider(scan_table *b, candidate_set *set, const rd_rule *r)
{
    verdict v;
    judge(b, r, &v);
    double cost = rd_scan_ops.cost(r);
    if (candidate_set_wants(set, cost, v.score, v.soft) && scan_fits(r))
        candidate_set_add_take(set, scan_copy(r), cost, v.score, v.soft, v.behaviour);
    return v.score;
}

/* ---------------------------------------------------------------- reading the evidence */

static int primitive_of(const rd_rule *r, const char *w)
{
    for (int p = 0; p < r->n_primitives; p++)
        if (!strcmp(r->word[p], w)) return p;
    return -1;
}

static int function_of(const rd_rule *r, const char *w)
{
    for (int f = 0; f < r->n_functions; f++)
        if (!strcmp(r->function[f].word, w)) return f;
    return -1;
}

static bool words_sort(const scan_table *b, rd_rule *r)
{
    for (int64_t i = 0; i < b->n_demos; i++) {
        const example *e = &b->ex[i];
        if (e->n_in != 1 || e->n_out != 1 || primitive_of(r, e->in[0]) >= 0) continue;
        if (r->n_primitives == SCAN_PRIMITIVES) return false;
        memcpy(r->word[r->n_primitives], e->in[0], SCAN_WORD);
        memcpy(r->meaning[r->n_primitives++], b->word[e->out[0]], SCAN_WORD);
    }
    for (int64_t i = 0; i < b->n_demos; i++)
        for (int k = 0; k < b->ex[i].n_in; k++) {
            const char *w = b->ex[i].in[k];
            if (primitive_of(r, w) >= 0 || function_of(r, w) >= 0) continue;
            if (r->n_functions == SCAN_FUNCTIONS) return false;
            scan_function *f = &r->function[r->n_functions++];
            memcpy(f->word, w, SCAN_WORD);
        }
    return r->n_primitives > 0;
}

/* An input that consists of this function and primitives alone: its kind and arguments. */
static bool lone_use(const rd_rule *r, const example *e, int f, scan_kind *kind, int *x, int *y)
{
    if (e->n_in < 2 || e->n_in > 3) return false;
    int at = -1;
    for (int k = 0; k < e->n_in; k++)
        if (function_of(r, e->in[k]) == f)
            at = at < 0 ? k : 3;
        else if (primitive_of(r, e->in[k]) < 0)
            return false;
    if (at < 0 || at == 3 || (e->n_in == 3 && at != 1)) return false;
    *kind = e->n_in == 3 ? INFIX : at == 0 ? PREFIX : POSTFIX;
    *x = primitive_of(r, e->in[*kind == PREFIX ? 1 : 0]);
    *y = primitive_of(r, e->in[e->n_in - 1]);
    return true;
}

static bool template_explains(scan_table *b, const rd_rule *r, const scan_function *f, int x, int y,
                              const example *e)
{
    if (f->n != e->n_out) return false;
    for (int k = 0; k < f->n; k++)
        if (vocabulary_number(b, r->meaning[f->is_y[k] ? y : x], false) != e->out[k]) return false;
    return true;
}

static void template_from_mask(scan_function *f, scan_kind kind, int n, unsigned mask)
{
    f->kind = kind;
    f->n = n;
    for (int k = 0; k < n; k++) f->is_y[k] = mask >> k & 1;
}

/* Without a use on its own a function may be anything common. */
static int templates_common(const scan_function *f, scan_function out[MAX_TEMPLATES])
{
    static const struct {
        scan_kind kind;
        int n;
        unsigned mask;
    } common[] = {{POSTFIX, 2, 0}, {POSTFIX, 3, 0}, {POSTFIX, 4, 0}, {PREFIX, 2, 0},
                  {PREFIX, 3, 0},  {PREFIX, 4, 0},  {INFIX, 2, 2},   {INFIX, 2, 1},
                  {INFIX, 3, 2},   {INFIX, 3, 5},   {INFIX, 3, 4},   {INFIX, 4, 6}};
    int n = (int)(sizeof common / sizeof *common);
    for (int k = 0; k < n; k++) {
        out[k] = *f;
        template_from_mask(&out[k], common[k].kind, common[k].n, common[k].mask);
    }
    return n;
}

/* All templates of function f that every input with f alone allows.  -1: they contradict each
 * other. */
static int templates_find(scan_table *b, const rd_rule *r, int f, scan_function out[MAX_TEMPLATES])
{
    scan_kind kind;
    int x, y, n = 0;
    bool first = true;
    for (int64_t i = 0; i < b->n_demos; i++) {
        const example *e = &b->ex[i];
        if (!lone_use(r, e, f, &kind, &x, &y)) continue;
        if (first) {
            unsigned masks = kind == INFIX ? 1u << e->n_out : 1;
            for (unsigned m = 0; e->n_out <= 6 && m < masks && n < MAX_TEMPLATES; m++) {
                out[n] = r->function[f];
                template_from_mask(&out[n], kind, e->n_out, m);
                n += template_explains(b, r, &out[n], x, y, e);
            }
        } else {
            int kept = 0;
            for (int k = 0; k < n; k++)
                if (out[k].kind == kind && template_explains(b, r, &out[k], x, y, e))
                    out[kept++] = out[k];
            n = kept;
        }
        first = false;
        if (n == 0) return -1;
    }
    return first ? templates_common(&r->function[f], out) : n;
}

/* ---------------------------------------------------------------- orders */

static bool next_permutation(int *p, int n)
{
    int i = n - 2, k = n - 1;
    while (i >= 0 && p[i] > p[i + 1]) i--;
    if (i < 0) return false;
    while (p[k] < p[i]) k--;
    int swap = p[i];
    p[i] = p[k];
    p[k] = swap;
    for (int a = i + 1, z = n - 1; a < z; a++, z--) {
        swap = p[a];
        p[a] = p[z];
        p[z] = swap;
    }
    return true;
}

typedef struct choices {
    int n;
    scan_function f[MAX_TEMPLATES];
} choices;

/* Every choice of templates in every order; the best grammar met goes to best. */
static void grammars_try(scan_table *b, candidate_set *set, const rd_rule *words, rd_rule *best)
{
    choices *choice = rd_new(choices, SCAN_FUNCTIONS);
    int pick[SCAN_FUNCTIONS] = {0};
    int nf = words->n_functions, tried = 0, best_score = -1;
    bool more = true;
    for (int f = 0; f < nf && more; f++) {
        choice[f].n = templates_find(b, words, f, choice[f].f);
        more = choice[f].n > 0;
    }
    while (more && tried < MAX_GRAMMARS) {
        int order[SCAN_FUNCTIONS];
        for (int f = 0; f < nf; f++) order[f] = f;
        do {
            rd_rule r = *words;
            for (int f = 0; f < nf; f++) r.function[f] = choice[order[f]].f[pick[order[f]]];
            int32_t score = consider(b, set, &r);
            if (score > best_score) {
                best_score = score;
                *best = r;
            }
        } while (++tried < MAX_GRAMMARS && next_permutation(order, nf));
        more = false;
        for (int f = 0; f < nf && !more; f++) {
            more = ++pick[f] < choice[f].n;
            if (!more) pick[f] = 0;
        }
    }
    rd_free(choice);
}

/* ---------------------------------------------------------------- neighbours */

static void templates_vary(scan_table *b, candidate_set *set, const rd_rule *best)
{
    for (int f = 0; f < best->n_functions; f++) {
        bool infix = best->function[f].kind == INFIX;
        for (int n = 1; n <= (infix ? 3 : 4); n++)
            for (unsigned mask = 0; mask < (infix ? 1u << n : 1); mask++) {
                rd_rule r = *best;
                template_from_mask(&r.function[f], r.function[f].kind, n, mask);
                consider(b, set, &r);
            }
    }
}

static void orders_vary(scan_table *b, candidate_set *set, const rd_rule *best)
{
    int order[SCAN_FUNCTIONS], nf = best->n_functions, tried = 0;
    for (int f = 0; f < nf; f++) order[f] = f;
    while (nf > 1 && tried++ < 120 && next_permutation(order, nf)) {
        rd_rule r = *best;
        for (int f = 0; f < nf; f++) r.function[f] = best->function[order[f]];
        consider(b, set, &r);
    }
}

static void meanings_vary(scan_table *b, candidate_set *set, const rd_rule *best)
{
    for (int p = 0; p < best->n_primitives; p++)
        for (int q = 0; q < best->n_primitives; q++) {
            rd_rule wrong = *best;
            if (p == q) continue;
            memcpy(wrong.meaning[p], best->meaning[q], SCAN_WORD);
            consider(b, set, &wrong);
            memcpy(wrong.meaning[q], best->meaning[p], SCAN_WORD);
            if (p < q) consider(b, set, &wrong);
        }
}

static void changes_random(scan_table *b, candidate_set *set, const rd_rule *best)
{
    rd_rng rng =
        rd_rng_make(0, "scan.search", (uint64_t)best->n_primitives, (uint64_t)best->n_functions);
    for (int k = 0; k < RANDOM_CHANGES; k++) {
        rd_rule r = *best;
        bool changed = scan_change(&r, &rng);
        if (k % 4) changed &= scan_change(&r, &rng);
        if (changed) consider(b, set, &r);
    }
}

int scan_search(const rd_task *t, const rd_search_opts *opts, rd_candidates *cands)
{
    scan_table b;
    rd_rule words, best;
    memset(&words, 0, sizeof words);
    if (table_make(t, &b) && words_sort(&b, &words)) {
        candidate_set *set = candidate_set_create(RD_MINISCAN, t, opts);
        best = words;
        best.n_functions = 0; /* when the functions make no sense, the words still do */
        grammars_try(&b, set, &words, &best);
        if (opts->max_partial > 0 || opts->max_wrong > 0) {
            templates_vary(&b, set, &best);
            orders_vary(&b, set, &best);
            meanings_vary(&b, set, &best);
            changes_random(&b, set, &best);
        }
        candidate_set_finish(&set, cands);
    }
    rd_free(b.ex);
    return RD_OK;
}
