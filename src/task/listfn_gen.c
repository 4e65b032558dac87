/* listfn_gen.c: random List Function rules, probe classes and generated tasks. */
#include "listfn.h"

#include <string.h>

/* ---------------------------------------------------------------- random programs */

/* Steps by difficulty: 1 constants only; 2 adds relative predicates, maps, joins; 3 everything. */
static const uint8_t steps_easy[] = {S_TAKE, S_TAKEL, S_DROP, S_DROPL, S_SLICE,  S_DEL,   S_TRIM,
                                     S_REMV, S_REPL,  S_INS,  S_SWAP,  S_SWAPE,  S_FRONT, S_END,
                                     S_ROTL, S_REV,   S_SORT, S_UNIQ,  S_ADDALL, S_RETURN};
static const uint8_t steps_middle[] = {S_FILTER, S_OMIT, S_MAP,   S_REPEACH, S_POSNS, S_JOIN,
                                       S_FLAT2,  S_DELR, S_SORTD, S_REM1,    S_RANGE, S_REPV};
static const uint8_t steps_hard[] = {S_IF,     S_RUNSUM, S_RUNMAX, S_RUNMIN, S_ADIFF, S_NSUM,
                                     S_COUNTS, S_EXTRA,  S_PAIRS,  S_ZIGZAG, S_ALT,   S_SORTBY,
                                     S_TAKEW,  S_DROPW,  S_FILLIN, S_UPTO};

static int pick(rd_rng *rng, const uint8_t *ops, size_t n)
{
    return ops[rd_rng_below(rng, (int64_t)n)];
}

static int random_op(lf_type type, bool leaf, rd_rng *rng)
{
    for (;;) {
        int op = (int)rd_rng_below(rng, LF_OPS);
        if (lf_ops[op].type == type && (!leaf || !lf_ops[op].args[0])) return op;
    }
}

static int random_number(rd_rng *rng)
{
    double u = rd_rng_uniform(rng);
    return (int)(u < 0.8    ? rd_rng_range(rng, 0, 9)
                 : u < 0.97 ? rd_rng_range(rng, 10, 99)
                            : rd_rng_range(rng, -9, -1));
}

static int random_chain(lf_prog *p, lf_type type, int depth, rd_rng *rng)
{
    int n = (int)rd_rng_range(rng, type == T_P, type == T_P ? 3 : 6), head = -1;
    for (int k = 0; k < n; k++) {
        int link = -1;
        if (type == T_P) {
            int step = lf_random(p, T_S, depth - 1, rng);
            link = lf_add(p, P_SEQ, step, head, -1);
        } else {
            link = lf_add(p, C_CELL, head, -1, -1);
            p->a[link].v = random_number(rng);
        }
        head = link;
    }
    return head;
}

int lf_random(lf_prog *p, lf_type type, int depth, rd_rng *rng)
{
    if (type == T_P || type == T_C) return random_chain(p, type, depth, rng);
    if (type == T_I && (depth <= 0 || rd_rng_chance(rng, 0.6)))
        return lf_num(p, random_number(rng));
    if (type == T_E && depth <= 0)
        return lf_add(p, (int)rd_rng_range(rng, E_X, E_SMALLER), -1, -1, -1);
    int op = type == T_Q && depth <= 0 ? Q_EVEN
             : type == T_B             ? (int)rd_rng_range(rng, B_GT, B_NOTIN)
                                       : random_op(type, depth <= 0 && type == T_S, rng);
    int arg[LF_ARGS] = {-1, -1, -1};
    for (int k = 0; k < lf_arity(op); k++)
        arg[k] = lf_random(p, lf_arg_type(op, k), depth - 1, rng);
    int n = lf_add(p, op, arg[0], arg[1], arg[2]);
    return n;
}

/* ---------------------------------------------------------------- classes */

/* Probe list k, the same for every rule: digits lists look like the inputs of difficulty 0. */
static void probe(int k, bool digits, ints *l)
{
    rd_rng rng = rd_rng_make(0, digits ? "listfn probe digits" : "listfn probe", (uint64_t)k, 0);
    l->n = (int32_t)(digits ? 3 + k % 3 : k % 11);
    int64_t top = digits ? 9 : k % 2 ? 99 : 9;
    for (int i = 0; i < l->n; i++) {
        l->v[i] = (int32_t)rd_rng_range(&rng, 0, top);
        for (int j = 0; digits && j < i; j++)
            if (l->v[j] == l->v[i]) {
                l->v[i] = (int32_t)((l->v[i] + 1) % 10);
                j = -1;
            }
    }
}

void lf_class(const rd_rule *r, bool digits, rd_buf *out)
{
    enum { PROBES = 30 };
    uint64_t h = digits;
    for (int k = 0; k < PROBES; k++) {
        ints in, got;
        probe(k, digits, &in);
        bool defined = lf_run(&r->p, r->root, &in, &got);
        h = rd_hash(defined ? got.v : in.v, defined ? (size_t)got.n * sizeof got.v[0] : 0,
                    h + 2 + (uint64_t)defined);
    }
    rd_buf_printf(out, "behaviour %016llx", (unsigned long long)h);
}

/* ---------------------------------------------------------------- difficulty 0 */

/* The eleven kinds with their constants: k from 1 to kmax, v from 0 to 9.  Weights are the square
 * roots of the number of programs of a kind: between uniform over kinds (which would repeat
 * "reverse" all the time) and uniform over programs (which would replace an element in half of the
 * tasks). */
typedef struct basic {
    uint8_t op;
    int8_t kmax;
    bool value; /* has a value argument */
} basic;
static const basic basics[] = {
    {S_TAKE, 3, false},  {S_TAKEL, 3, false}, {S_DROP, 2, false},   {S_DROPL, 2, false},
    {S_REV, 0, false},   {S_FRONT, 0, true},  {S_END, 0, true},     {S_REPL, 3, true},
    {S_SWAPE, 0, false}, {S_DEL, 3, false},   {S_ADDALL, 3, false},
};
enum { BASICS = sizeof basics / sizeof basics[0] };
static const double basic_weight[BASICS] = {1.7, 1.7, 1.4, 1.4, 1.0, 3.2, 3.2, 5.5, 1.0, 1.7, 1.7};

static int add_basic(lf_prog *p, const basic *b, int k, int v)
{
    int first = b->kmax ? lf_num(p, k) : b->value ? lf_num(p, v) : -1;
    int second = b->kmax && b->value ? lf_num(p, v) : -1;
    return lf_add(p, P_SEQ, lf_add(p, b->op, first, second, -1), -1, -1);
}

static int random_basic(lf_prog *p, rd_rng *rng)
{
    const basic *b = &basics[rd_rng_pick(rng, basic_weight, BASICS)];
    int k = b->kmax ? (int)rd_rng_range(rng, 1, b->kmax) : 0;
    return add_basic(p, b, k, b->value ? (int)rd_rng_below(rng, 10) : 0);
}

static bool equal_lists(const ints *a, const ints *b)
{
    return a->n == b->n && !memcmp(a->v, b->v, (size_t)a->n * sizeof a->v[0]);
}

static bool explains(const lf_prog *p, int root, const ints *in, const ints *out, int64_t n)
{
    ints got;
    for (int64_t k = 0; k < n; k++)
        if (!lf_run(p, root, &in[k], &got) || !equal_lists(&got, &out[k])) return false;
    return true;
}

/* Does some one-operation rule (constants a little beyond the generator's) explain the examples? */
static bool one_basic_explains(const ints *in, const ints *out, int64_t n)
{
    lf_prog p = {0};
    bool found = false;
    for (int b = 0; b < BASICS && !found; b++)
        for (int k = 1; k <= (basics[b].kmax ? 5 : 1) && !found; k++)
            for (int v = 0; v <= (basics[b].value ? 9 : 0) && !found; v++) {
                p.n = 0;
                found = explains(&p, add_basic(&p, &basics[b], k, v), in, out, n);
            }
    rd_free(p.a);
    return found;
}

/* Distinct digits, 3 to 5 of them, none above top. */
static void digit_input(rd_rng *rng, int64_t top, ints *l)
{
    int64_t deck[10];
    for (int i = 0; i < 10; i++) deck[i] = i;
    rd_rng_shuffle(rng, deck, top + 1);
    l->n = (int32_t)rd_rng_range(rng, 3, 5);
    for (int i = 0; i < l->n; i++) l->v[i] = (int32_t)deck[i];
}

static bool digits_only(const ints *l)
{
    for (int i = 0; i < l->n; i++)
        if (l->v[i] < 0 || l->v[i] > 9) return false;
    return true;
}

static bool new_input(const ints *in, int64_t k)
{
    for (int64_t j = 0; j < k; j++)
        if (equal_lists(&in[j], &in[k])) return false;
    return true;
}

static bool basic_examples(const lf_prog *p, int root, int64_t n, rd_rng *rng, ints *in, ints *out)
{
    int64_t top = 9;
    for (int s = root; s >= 0; s = p->a[s].arg[1]) {
        const lf_node *step = &p->a[p->a[s].arg[0]];
        if (step->op == S_ADDALL) top -= p->a[step->arg[0]].v;
    }
    int same = 0;
    for (int64_t k = 0; k < n; k++) {
        int tries = 0;
        do {
            if (++tries > 20) return false;
            digit_input(rng, top, &in[k]);
        } while (!new_input(in, k));
        if (!lf_run(p, root, &in[k], &out[k]) || !out[k].n || !digits_only(&out[k])) return false;
        same += equal_lists(&in[k], &out[k]);
    }
    return 2 * same <= n;
}

/* ---------------------------------------------------------------- difficulties 1 to 3 */

static int random_step(lf_prog *p, int difficulty, rd_rng *rng)
{
    double u = rd_rng_uniform(rng);
    int op = difficulty >= 3 && u < 0.45   ? pick(rng, steps_hard, sizeof steps_hard)
             : difficulty >= 2 && u < 0.75 ? pick(rng, steps_middle, sizeof steps_middle)
                                           : pick(rng, steps_easy, sizeof steps_easy);
    int arg[LF_ARGS] = {-1, -1, -1};
    for (int k = 0; k < lf_arity(op); k++) {
        lf_type type = lf_arg_type(op, k);
        if (type == T_P) {
            int step = random_step(p, 1, rng);
            arg[k] = lf_add(p, P_SEQ, step, -1, -1);
        } else if (type == T_I && difficulty == 1 && op != S_RETURN) {
            bool position = k == 0 ? op != S_FRONT && op != S_END && op != S_REMV && op != S_INS
                                   : op == S_INS || op == S_SLICE || op == S_SWAP;
            int64_t most = position ? 6 : rd_rng_chance(rng, 0.5) ? 9 : 99;
            arg[k] = lf_num(p, (int)rd_rng_range(rng, position, most));
        } else {
            arg[k] = lf_random(p, type, type == T_I ? 1 : 1 + (int)rd_rng_below(rng, 2), rng);
        }
    }
    return lf_add(p, P_SEQ, lf_add(p, op, arg[0], arg[1], arg[2]), -1, -1);
}

/* A list of 0 to 10 values whose accidents (repeats, equal neighbours, first = second) are frequent
 * enough that conditions take both branches. */
static void general_input(rd_rng *rng, int64_t top, ints *l)
{
    l->n = (int32_t)rd_rng_range(rng, 0, 10);
    bool repeats = rd_rng_chance(rng, 0.5);
    for (int i = 0; i < l->n; i++) {
        bool copy = repeats && i > 0 && rd_rng_chance(rng, 0.3);
        l->v[i] = copy ? l->v[rd_rng_below(rng, i)]
                       : (int32_t)rd_rng_range(rng, 0, rd_rng_chance(rng, 0.4) ? 9 : top);
    }
    if (l->n >= 2 && rd_rng_chance(rng, 0.2)) l->v[1] = l->v[0];
}

static bool printable(const ints *l)
{
    if (l->n > 15) return false;
    for (int i = 0; i < l->n; i++)
        if (l->v[i] < 0 || l->v[i] > 99) return false;
    return true;
}

/* Rules that need no thought; a task that one of them fits teaches nothing. */
static bool trivial_explains(const ints *in, const ints *out, int64_t n)
{
    static const struct {
        uint8_t op;
        int8_t k;
    } trivial[] = {{S_LEAVE, 0}, {S_REV, 0},   {S_SORT, 0}, {S_SORTD, 0}, {S_UNIQ, 0},
                   {S_TAKE, 0},  {S_TAKE, 1},  {S_TAKE, 2}, {S_TAKEL, 1}, {S_TAKEL, 2},
                   {S_DROP, 1},  {S_DROPL, 1}, {S_DROP, 2}, {S_ROTL, 0},  {S_ROTR, 0}};
    lf_prog p = {0};
    bool found = false;
    for (size_t k = 0; k < sizeof trivial / sizeof trivial[0] && !found; k++) {
        p.n = 0;
        int num = lf_ops[trivial[k].op].args[0] ? lf_num(&p, trivial[k].k) : -1;
        int root = lf_add(&p, P_SEQ, lf_add(&p, trivial[k].op, num, -1, -1), -1, -1);
        found = explains(&p, root, in, out, n);
    }
    rd_free(p.a);
    return found;
}

static bool general_examples(const lf_prog *p, int root, int64_t n_demos, int64_t n, rd_rng *rng,
                             ints *in, ints *out)
{
    int64_t top = rd_rng_chance(rng, 0.35) ? 9 : 99;
    int same = 0, distinct = 0, misses = 0;
    for (int64_t k = 0; k < n;) {
        general_input(rng, top, &in[k]);
        bool good = new_input(in, k) && lf_run(p, root, &in[k], &out[k]) && printable(&out[k]);
        if (!good && ++misses > 3 * n) return false;
        if (!good) continue;
        same += equal_lists(&in[k], &out[k]);
        distinct += k < n_demos && new_input(out, k);
        k++;
    }
    int64_t want = n_demos < 4 ? n_demos : 4;
    return 2 * same <= n && distinct >= want && !trivial_explains(in, out, n_demos);
}

/* ---------------------------------------------------------------- a draw */

static void fill(rd_task *t, const rd_rule *r, bool digits, const ints *in, const ints *out,
                 int64_t n)
{
    rd_buf b = {0};
    lf_print(r, 0, &b);
    t->rule = rd_buf_take(&b);
    lf_class(r, digits, &b);
    t->rule_class = rd_buf_take(&b);
    t->examples = rd_new(rd_example, n);
    for (int64_t k = 0; k < n; k++) {
        ints_print(&in[k], &b);
        t->examples[k].input = rd_buf_take(&b);
        ints_print(&out[k], &b);
        t->examples[k].output = rd_buf_take(&b);
    }
}

/* A program of the difficulty: 1 one step; 2 and 3 one to three; 0 one step in a quarter of the
 * draws (two-step draws are rejected more often, so fewer are asked for). */
static int random_program(lf_prog *p, int difficulty, rd_rng *rng)
{
    if (difficulty == 0) {
        int root = random_basic(p, rng);
        return rd_rng_chance(rng, 0.18) ? root : lf_append(p, root, random_basic(p, rng));
    }
    int steps = difficulty == 1 ? 1 : (int)rd_rng_range(rng, 1, difficulty);
    int root = random_step(p, difficulty, rng);
    for (int k = 1; k < steps; k++) lf_append(p, root, random_step(p, difficulty, rng));
    return root;
}

bool lf_draw(const rd_gen_opts *opts, rd_rng *rng, rd_task *t)
{
    lf_prog p = {0};
    int64_t n_demos = opts->n_demos ? opts->n_demos : rd_listfn_ops.demos[opts->difficulty];
    int64_t n =
        n_demos + (opts->n_queries ? opts->n_queries : rd_listfn_ops.queries[opts->difficulty]);
    ints *in = rd_new(ints, 2 * n), *out = in + n;
    int root = random_program(&p, opts->difficulty, rng);
    bool digits = opts->difficulty == 0;
    bool good = digits ? basic_examples(&p, root, n, rng, in, out)
                       : general_examples(&p, root, n_demos, n, rng, in, out);
    if (good && digits && p.a[root].arg[1] >= 0) good = !one_basic_explains(in, out, n_demos);
    if (good) {
        rd_rule *r = lf_rule_make(&p, root);
        t->n_demos = n_demos;
        t->n_queries = n - n_demos;
        fill(t, r, digits, in, out, n);
        lf_rule_free(r);
    }
    rd_free(in);
    rd_free(p.a);
    return good;
}

/* ---------------------------------------------------------------- hold-outs */

static void kinds_put(const uint8_t *ops, size_t n, rd_buf *out)
{
    for (size_t k = 0; k < n; k++) {
        lf_print_kind(ops[k], out);
        rd_buf_putc(out, '\n');
    }
}

const char *lf_vocabulary(const rd_gen_opts *opts, rd_hold level, rd_buf *out)
{
    rd_buf kinds = {0};
    if (level == RD_HOLD_PAIR && opts->difficulty == 1)
        return "its programs have one step, hence no pairs";
    if (opts->difficulty == 0)
        for (int b = 0; b < BASICS; b++) kinds_put(&basics[b].op, 1, &kinds);
    else
        kinds_put(steps_easy, sizeof steps_easy, &kinds);
    if (opts->difficulty >= 2) kinds_put(steps_middle, sizeof steps_middle, &kinds);
    if (opts->difficulty >= 3) kinds_put(steps_hard, sizeof steps_hard, &kinds);
    if (level == RD_HOLD_PAIR)
        pairs_put(kinds.data, out);
    else
        rd_buf_add(out, kinds.data, kinds.len);
    rd_buf_free(&kinds);
    return NULL;
}

/* One program of one step per kind and constants. */
typedef struct basic_step {
    int basic, root;
} basic_step;

static int basic_steps(lf_prog *p, basic_step *s)
{
    int n = 0;
    for (int b = 0; b < BASICS; b++)
        for (int k = 1; k <= (basics[b].kmax ? basics[b].kmax : 1); k++)
            for (int v = 0; v <= (basics[b].value ? 9 : 0); v++)
                s[n++] = (basic_step){b, add_basic(p, &basics[b], k, v)};
    return n;
}

static bool read_examples(const rd_task *t, ints *in, ints *out)
{
    bool good = true;
    for (int64_t k = 0; k < t->n_demos + t->n_queries; k++)
        good &=
            ints_read(t->examples[k].input, &in[k]) && ints_read(t->examples[k].output, &out[k]);
    return good;
}

static bool run_all(const lf_prog *p, int root, const ints *in, ints *out, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        if (!lf_run(p, root, &in[k], &out[k])) return false;
    return true;
}

/* Reversing and then dropping the first is dropping the last and then reversing: such a task asks
 * for nothing new when the other order is trained on. */
bool lf_rival(const rd_task *t, const rd_held *h)
{
    enum { STEPS = 100 };
    lf_prog p = {0};
    basic_step step[STEPS];
    rd_buf name[BASICS] = {{0}};
    bool held[BASICS][BASICS + 1]; /* [a][b]: a, then b; [a][BASICS]: a alone */
    int64_t n = t->n_demos + t->n_queries;
    ints *in = rd_new(ints, 3 * n), *out = in + n, *half = out + n;
    int n_steps = basic_steps(&p, step);
    RD_ASSERT(n_steps <= STEPS);
    for (int a = 0; a < BASICS; a++) lf_print_kind(basics[a].op, &name[a]);
    for (int a = 0; a < BASICS; a++) {
        held[a][BASICS] = held_kind(h, name[a].data);
        for (int b = 0; b < BASICS; b++) held[a][b] = held_pair(h, name[a].data, name[b].data);
    }
    bool found = false;
    bool good = read_examples(t, in, out);
    for (int a = 0; good && a < n_steps && !found; a++) {
        const bool *row = held[step[a].basic];
        if (row[BASICS] || !run_all(&p, step[a].root, in, half, n)) continue;
        found = true;
        for (int64_t k = 0; k < n && found; k++) found = equal_lists(&half[k], &out[k]);
        for (int b = 0; b < n_steps && !found; b++)
            found = !held[step[b].basic][BASICS] && !row[step[b].basic] &&
                    explains(&p, step[b].root, half, out, n);
    }
    for (int a = 0; a < BASICS; a++) rd_buf_free(&name[a]);
    rd_free(in);
    rd_free(p.a);
    return found;
}
