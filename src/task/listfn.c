/* listfn.c: List Function as a task family: the table, mutations, slips and classes. */
#include "listfn.h"

#include <string.h>

/* ---------------------------------------------------------------- the family's functions */

static bool valid_list(const char *v)
{
    ints l;
    return ints_read(v, &l);
}

static double rule_cost(const rd_rule *r)
{
    return lf_cost(&r->p, r->root);
}

static int rule_steps(const rd_rule *r)
{
    return lf_steps(&r->p, r->root);
}

/* The pipeline is walked here, not by lf_run, because the list after each step but the last is the
 * worked part. */
static bool rule_run(const rd_rule *r, const char *input, rd_buf *answer, rd_buf *work)
{
    ints list[2];
    int now = 0;
    int32_t fuel = 10000;
    if (!ints_read(input, &list[0])) return false;
    for (int s = r->root; s >= 0; s = r->p.a[s].arg[1]) {
        if (s != r->root && work) {
            if (work->len) rd_buf_putc(work, '\n');
            ints_print(&list[now], work);
        }
        if (!lf_step(&r->p, r->p.a[s].arg[0], &list[now], &list[1 - now], &fuel)) return false;
        now = 1 - now;
    }
    ints_print(&list[now], answer);
    return true;
}

/* A step, then the steps inside it, then those after it. */
static void kinds_below(const lf_prog *p, int node, rd_buf *out)
{
    if (node < 0) return;
    if (lf_ops[p->a[node].op].type == T_S) {
        lf_print_kind(p->a[node].op, out);
        rd_buf_putc(out, '\n');
    }
    for (int k = 0; k < LF_ARGS; k++) kinds_below(p, p->a[node].arg[k], out);
}

static void rule_kinds(const rd_rule *r, rd_buf *out)
{
    kinds_below(&r->p, r->root, out);
}

static void classify(const rd_task *t, rd_buf *out)
{
    rd_candidates c = {0};
    rd_search_opts o = {.max_right = 1, .max_partial = 0, .max_wrong = 0};
    if (lf_search(t, &o, &c) == RD_OK && c.n && c.item[0].score == t->n_demos)
        lf_class(c.item[0].rule, false, out);
    rd_candidates_free(RD_LIST_FUNCTION, &c);
}

/* ---------------------------------------------------------------- mutations */

/* Primitives that take each other's place: same arguments, related meaning. */
static const uint8_t kin[][6] = {
    {S_TAKE, S_TAKEL, S_DROP, S_DROPL, S_DEL},
    {S_FRONT, S_END, S_REMV, S_REM1},
    {S_REV, S_SORT, S_SORTD, S_ROTL, S_ROTR, S_SWAPE},
    {S_FOLD, S_ZIGZAG, S_REV},
    {S_REVPART, S_AFTER, S_REMV},
    {S_UNIQ, S_UNIQL, S_EXTRA, S_COUNTS, S_PAIRS},
    {S_RUNSUM, S_RUNMAX, S_RUNMIN, S_RUNPROD},
    {S_DIFF, S_ADIFF, S_NSUM, S_NPROD},
    {S_TRIM, S_REMEXT, S_ROTL, S_SWAPE},
    {S_FILTER, S_OMIT, S_POSNS, S_TAKEW, S_DROPW},
    {S_SLICE, S_DELR, S_SWAP},
    {S_REPL, S_INS},
    {S_SORTBY, S_SORTBYD},
    {S_JOIN, S_ALT},
    {I_FIRST, I_LAST, I_MAX, I_MIN, I_LEN},
    {I_SUM, I_PROD, I_MEAN, I_MAX},
    {I_ADD, I_SUB, I_MUL},
    {I_DIV, I_MOD},
    {E_X, E_POS, E_OPP},
    {E_NEXT, E_PREV, E_OPP},
    {E_CNT, E_EARLIER, E_SMALLER},
    {E_TENS, E_UNITS, E_DIGSUM},
    {E_ADD, E_SUB, E_MUL},
    {E_MIN, E_MAX, E_ABS},
    {E_DIV, E_MOD},
    {Q_GT, Q_LT, Q_GE, Q_LE, Q_EQ, Q_NE},
    {Q_EVEN, Q_ODD},
    {Q_AND, Q_OR},
    {B_GT, B_LT, B_EQ, B_NE},
    {B_EVEN, B_ODD},
    {B_IN, B_NOTIN},
};
enum { KIN_GROUPS = sizeof kin / sizeof kin[0], KIN = sizeof kin[0] };

/* Steps that cost little and can stand anywhere: those of difficulty 0 but "replace". */
static const uint8_t simple[] = {S_TAKE,  S_TAKEL, S_DROP, S_DROPL,  S_REV,
                                 S_FRONT, S_END,   S_DEL,  S_ADDALL, S_SWAPE};
enum { SIMPLE = sizeof simple };

/* Does the program hold difficulty 0's primitives only?  Its mutants then do so, too: a student
 * that learns from pairs must not be able to tell the worse rule by its vocabulary. */
static bool is_basic(const lf_prog *p)
{
    for (int k = 0; k < p->n; k++) {
        int op = p->a[k].op;
        if (op != P_SEQ && op != I_NUM && op != S_REPL && !memchr(simple, op, SIMPLE)) return false;
    }
    return true;
}

/* Another member of a kin group of op, or -1.  Unused places of a row are 0 = S_LEAVE. */
static int kin_of(int op, bool basic, rd_rng *rng)
{
    int found[KIN_GROUPS * KIN], n = 0;
    for (int g = 0; g < (int)KIN_GROUPS; g++) {
        bool in = op != S_LEAVE && memchr(kin[g], op, KIN) != NULL;
        for (int k = 0; in && k < (int)KIN; k++)
            if (kin[g][k] != S_LEAVE && kin[g][k] != op &&
                (!basic || memchr(simple, kin[g][k], SIMPLE)))
                found[n++] = kin[g][k];
    }
    return n ? found[rd_rng_below(rng, n)] : -1;
}

static int simple_step(lf_prog *p, rd_rng *rng)
{
    int op = simple[rd_rng_below(rng, SIMPLE)];
    bool value = op == S_FRONT || op == S_END;
    int k =
        lf_ops[op].args[0] ? lf_num(p, (int)rd_rng_range(rng, value ? 0 : 1, value ? 9 : 3)) : -1;
    return lf_add(p, op, k, -1, -1);
}

/* Exchange two arguments of the same type that differ; false when there are none. */
static bool swap_arguments(lf_prog *p, int node)
{
    lf_node *x = &p->a[node];
    const char *args = lf_ops[x->op].args;
    for (int k = 0; k + 1 < LF_ARGS && args[k] && args[k + 1]; k++)
        if (args[k] == args[k + 1] && !lf_same(p, x->arg[k], p, x->arg[k + 1])) {
            int32_t t = x->arg[k];
            x->arg[k] = x->arg[k + 1];
            x->arg[k + 1] = t;
            return true;
        }
    return false;
}

/* Change the pipeline link at node: drop its step, double the pipeline's work by a new one, or
 * exchange two steps. */
static bool change_link(lf_prog *p, int node, int *root, rd_rng *rng)
{
    int next = p->a[node].arg[1];
    switch (rd_rng_below(rng, 3)) {
    case 0:
        if (next < 0) return false;
        if (rd_rng_chance(rng, 0.5))
            p->a[node] = p->a[next];
        else
            p->a[node].arg[1] = p->a[next].arg[1];
        return true;
    case 1: {
        int step = simple_step(p, rng);
        if (node == *root && rd_rng_chance(rng, 0.4)) {
            *root = lf_add(p, P_SEQ, step, *root, -1);
        } else {
            int link = lf_add(p, P_SEQ, step, next, -1);
            p->a[node].arg[1] = link;
        }
        return true;
    }
    default: {
        if (next < 0) return false;
        int32_t t = p->a[node].arg[0];
        p->a[node].arg[0] = p->a[next].arg[0];
        p->a[next].arg[0] = t;
        return true;
    }
    }
}

/* One random change; false when the drawn place does not allow one. */
static bool change(lf_prog *p, int *root, bool basic, rd_rng *rng)
{
    int node = (int)rd_rng_below(rng, p->n);
    lf_node *x = &p->a[node];
    if (x->op == I_NUM || x->op == C_CELL) {
        /* Rule texts of the generator hold no negative numbers, so neither do their neighbours. */
        x->v += x->v > 0 && rd_rng_chance(rng, x->v == 1 ? 0.2 : 0.5) ? -1 : 1;
        return true;
    }
    if (x->op == P_SEQ) return change_link(p, node, root, rng);
    if (rd_rng_chance(rng, 0.3) && swap_arguments(p, node)) return true;
    int other = kin_of(x->op, basic, rng);
    if (other < 0 || strcmp(lf_ops[other].args, lf_ops[x->op].args) != 0) return false;
    x->op = (uint8_t)other;
    return true;
}

typedef struct behaviour {
    int32_t score;
    double soft;
    bool differs;
} behaviour;

/* Compare a mutant with its origin on all inputs of the task. */
static behaviour judge(const rd_rule *m, const ints *in, const ints *want, const ints *had,
                       int64_t n, int64_t n_demos)
{
    behaviour b = {0};
    for (int64_t k = 0; k < n; k++) {
        ints got;
        bool defined = lf_run(&m->p, m->root, &in[k], &got);
        if (!defined) got.n = -1;
        bool same_as_origin =
            got.n == had[k].n &&
            (got.n <= 0 || !memcmp(got.v, had[k].v, (size_t)got.n * sizeof got.v[0]));
        if (!same_as_origin) b.differs = true;
        if (k >= n_demos || !defined) continue;
        double agreement = ints_agreement(&got, &want[k]);
        b.soft += agreement;
        b.score += agreement == 1.0;
    }
    return b;
}

/* Up to TRIES random changes (sometimes two at once); the first mutant that reproduces some but not
 * all demonstrations wins, else the one closest to them. */
rd_rule *lf_mutate(const rd_rule *r, const rd_task *t, rd_rng *rng)
{
    enum { TRIES = 48 };
    int64_t n = t->n_demos + t->n_queries;
    ints *in = rd_new(ints, 3 * n), *want = in + n, *had = want + n;
    for (int64_t k = 0; k < n; k++) {
        bool known =
            ints_read(t->examples[k].input, &in[k]) && ints_read(t->examples[k].output, &want[k]);
        if (!known) in[k].n = want[k].n = 0;
        if (!lf_run(&r->p, r->root, &in[k], &had[k])) had[k].n = -1;
    }
    rd_rule *best = NULL;
    double best_soft = -1;
    bool basic = is_basic(&r->p);
    lf_prog p = {0};
    for (int k = 0; k < TRIES; k++) {
        p.n = 0;
        int root = lf_copy(&p, &r->p, r->root);
        bool changed = change(&p, &root, basic, rng);
        if (changed && rd_rng_chance(rng, 0.15)) changed = change(&p, &root, basic, rng);
        if (!changed || lf_size(&p, root) > LF_MAX_NODES || lf_same(&p, root, &r->p, r->root))
            continue;
        rd_rule *m = lf_rule_make(&p, root);
        behaviour b = judge(m, in, want, had, n, t->n_demos);
        bool graded = b.score > 0 && b.score < t->n_demos;
        double rank = b.soft + (graded ? 1e6 : b.score == t->n_demos ? -0.5 : 0.0);
        if (b.differs && rank > best_soft) {
            lf_rule_free(best);
            best = m;
            best_soft = rank;
        } else {
            lf_rule_free(m);
        }
        if (graded && b.differs) break;
    }
    rd_free(p.a);
    rd_free(in);
    return best;
}

/* ---------------------------------------------------------------- slips */

static void remove_at(ints *l, int at)
{
    for (int i = at; i + 1 < l->n; i++) l->v[i] = l->v[i + 1];
    l->n--;
}

static void insert_at(ints *l, int at, int v)
{
    for (int i = l->n; i > at; i--) l->v[i] = l->v[i - 1];
    l->v[at] = v;
    l->n++;
}

/* The list before the last step; false for one-step rules or when it equals the answer. */
static bool without_last_step(const rd_rule *r, const ints *in, const ints *answer, ints *out)
{
    int32_t fuel = 10000;
    ints now = *in;
    if (r->p.a[r->root].arg[1] < 0) return false;
    for (int s = r->root; r->p.a[s].arg[1] >= 0; s = r->p.a[s].arg[1]) {
        if (!lf_step(&r->p, r->p.a[s].arg[0], &now, out, &fuel)) return false;
        now = *out;
    }
    return out->n != answer->n || memcmp(out->v, answer->v, (size_t)out->n * sizeof out->v[0]) != 0;
}

/* Run the rule with one constant off by one; false when that changes nothing. */
static bool constant_off(const rd_rule *r, const ints *in, const ints *answer, rd_rng *rng,
                         ints *out)
{
    int numbers[LF_MAX_NODES], n = 0;
    for (int k = 0; k < r->p.n && n < LF_MAX_NODES; k++)
        if (r->p.a[k].op == I_NUM) numbers[n++] = k;
    if (!n) return false;
    rd_rule *m = lf_rule_make(&r->p, r->root);
    int at = numbers[rd_rng_below(rng, n)]; /* the copy is compact and in the same order */
    m->p.a[at].v += rd_rng_chance(rng, 0.5) && m->p.a[at].v > 0 ? -1 : 1;
    bool changed =
        lf_run(&m->p, m->root, in, out) &&
        (out->n != answer->n || memcmp(out->v, answer->v, (size_t)out->n * sizeof out->v[0]) != 0);
    lf_rule_free(m);
    return changed;
}

static void slip(const rd_rule *r, const char *input, const char *answer, rd_rng *rng, rd_buf *out)
{
    ints in, right, l;
    if (!ints_read(answer, &right)) right.n = 0;
    if (!ints_read(input, &in)) in.n = 0;
    int kind = (int)rd_rng_below(rng, 5);
    bool done = (kind == 0 && without_last_step(r, &in, &right, &l)) ||
                (kind == 1 && constant_off(r, &in, &right, rng, &l));
    if (!done) {
        l = right;
        int at = l.n ? (int)rd_rng_below(rng, l.n) : 0;
        if (!l.n)
            insert_at(&l, 0, in.n ? in.v[0] : 0);
        else if (kind <= 2)
            l.v[at] += l.v[at] > 0 && rd_rng_chance(rng, 0.5) ? -1 : 1;
        else if (kind == 3 || l.n >= LF_MAX_LEN)
            remove_at(&l, at);
        else
            insert_at(&l, at, l.v[at]);
    }
    ints_print(&l, out);
}

const family_ops rd_listfn_ops = {
    .name = "list_function",
    .demos = {4, 8, 8, 8},
    .queries = {3, 8, 8, 8},
    .valid_input = valid_list,
    .valid_output = valid_list,
    .draw = lf_draw,
    .classify = classify,
    .kinds = rule_kinds,
    .vocabulary = lf_vocabulary,
    .rival = lf_rival,
    .search = lf_search,
    .parse = lf_parse,
    .print = lf_print,
    .cost = rule_cost,
    .steps = rule_steps,
    .free = lf_rule_free,
    .run = rule_run,
    .mutate = lf_mutate,
    .slip = slip,
};
