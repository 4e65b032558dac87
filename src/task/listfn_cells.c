/* listfn_cells.c: element-wise rules: from the wanted list back to expressions and predicates.
 *
 * All elements of a base list over all demonstrations are the cells.  An expression is a vector of
 * values over the cells, a predicate a bit mask.  Replacements are met in the middle: wanted = a op
 * b is solved for b and b looked up.  Selections compare masks; conditional replacements look for a
 * mask that the cells explained by one expression contain and those of another complement. */
#include "listfn_search.h"

#include <stdlib.h>
#include <string.h>

enum { UNDEFINED = INT32_MIN, EXPRS = 5000, PREDS = 3000, SLOTS = 16384, BLOOM = 1 << 16 };

typedef struct mask {
    uint64_t w[LF_CELL_WORDS];
} mask;
typedef struct expr {
    int32_t node;
    float cost;
    bool full, constant; /* defined on all cells; a number */
} expr;
typedef struct predicate {
    int32_t node;
    float cost;
    mask m;
} predicate;

struct cells {
    int n, nd;
    int16_t start[LF_DEMOS + 1];
    int16_t demo[LF_CELLS], place[LF_CELLS];
    ints *list; /* the base, per demonstration */
    expr *e;
    int32_t *val; /* [expression][cell] */
    int ne, e_cap, n_atoms, n_elements;
    bool deep;
    int32_t *slots; /* hash index of expressions */
    uint8_t *bloom; /* of three cells of every expression */
    predicate *q;
    int nq, q_cap;
};

/* ---------------------------------------------------------------- expressions */

static uint64_t vector_hash(const int32_t *v, int n)
{
    uint64_t h = 77;
    for (int i = 0; i < n; i++) h = (h ^ (uint32_t)v[i] ^ h >> 29) * 0xbf58476d1ce4e5b9u;
    return h ^ h >> 32;
}

static uint32_t bloom_key(int32_t a, int32_t b, int32_t c)
{
    uint64_t h = ((uint64_t)(uint32_t)a * 0x9e3779b97f4a7c15u) ^
                 ((uint64_t)(uint32_t)b * 0xbf58476d1ce4e5b9u);
    h = (h ^ (uint32_t)c ^ h >> 31) * 0x94d049bb133111ebu;
    return (uint32_t)(h >> 40) & (BLOOM - 1);
}

static int32_t *vector_of(const cells *c, int e)
{
    return c->val + (int64_t)e * c->n;
}

static int32_t *expr_slot(const cells *c, const int32_t *v)
{
    for (uint64_t k = vector_hash(v, c->n) % SLOTS;; k = (k + 1) % SLOTS) {
        int32_t e = c->slots[k];
        if (e < 0 || !memcmp(vector_of(c, e), v, (size_t)c->n * sizeof *v)) return &c->slots[k];
    }
}

static int expr_find(const cells *c, const int32_t *v)
{
    uint32_t key = bloom_key(v[0], v[c->n / 2], v[c->n - 1]);
    if (!(c->bloom[key / 8] >> key % 8 & 1)) return -1;
    return *expr_slot(c, v);
}

/* Room for the next expression's vector. */
static int32_t *expr_room(cells *c)
{
    if (c->ne == c->e_cap) {
        c->e_cap = c->e_cap ? 2 * c->e_cap : 128;
        rd_resize(c->e, c->e_cap);
        rd_resize(c->val, (int64_t)c->e_cap * c->n);
    }
    return vector_of(c, c->ne);
}

/* The vector stands in expr_room; kept when it is new, or cheaper than the known one. */
static void expr_add(cells *c, int node, double cost, bool constant)
{
    int32_t *v = expr_room(c), *slot = expr_slot(c, v);
    if (*slot >= 0) {
        if (cost < c->e[*slot].cost) {
            c->e[*slot].node = node;
            c->e[*slot].cost = (float)cost;
        }
        return;
    }
    if (c->ne >= EXPRS) return;
    expr e = {.node = node, .cost = (float)cost, .full = true, .constant = constant};
    for (int i = 0; i < c->n; i++) e.full = e.full && v[i] != UNDEFINED;
    uint32_t key = bloom_key(v[0], v[c->n / 2], v[c->n - 1]);
    c->bloom[key / 8] |= (uint8_t)(1u << key % 8);
    c->e[c->ne] = e;
    *slot = c->ne++;
}

static void atom(cells *c, search *s, int node)
{
    int32_t *v = expr_room(c);
    for (int d = 0; d < c->nd; d++) {
        int32_t fuel = 100000;
        lf_env env = lf_env_make(&s->lib, &c->list[d], &fuel);
        for (int i = 0; i < c->list[d].n; i++) {
            int64_t x;
            v[c->start[d] + i] = lf_elem(&env, node, i, &x) ? (int32_t)x : UNDEFINED;
        }
    }
    bool constant = s->lib.a[node].op == E_I && s->lib.a[s->lib.a[node].arg[0]].op == I_NUM;
    expr_add(c, node, lf_cost(&s->lib, node), constant);
}

static int scalar_expr(search *s, int op)
{
    return lf_add(&s->lib, E_I, lf_add(&s->lib, op, -1, -1, -1), -1, -1);
}

static int number_expr(search *s, int v)
{
    return lf_add(&s->lib, E_I, lf_num(&s->lib, v), -1, -1);
}

static int unary(search *s, int op, int a)
{
    return lf_add(&s->lib, op, a, -1, -1);
}

static int binary(search *s, int op, int a, int b)
{
    return lf_add(&s->lib, op, a, b, -1);
}

/* Variables first (n_elements of them), then scalars of the list, then numbers. */
static void add_atoms(cells *c, search *s)
{
    static const uint8_t scalars[] = {I_FIRST, I_LAST, I_LEN, I_MAX, I_MIN, I_SUM};
    int x = unary(s, E_X, -1);
    for (int op = E_X; op <= E_SMALLER; op++) atom(c, s, op == E_X ? x : unary(s, op, -1));
    for (int op = E_TENS; op <= E_DIGSUM; op++) atom(c, s, unary(s, op, x));
    c->n_elements = c->ne;
    for (size_t k = 0; k < sizeof scalars; k++) atom(c, s, scalar_expr(s, scalars[k]));
    atom(c, s, unary(s, E_I, unary(s, I_KTH, lf_num(&s->lib, 2))));
    for (int v = 0; v <= 12; v++) atom(c, s, number_expr(s, v));
    for (int k = 0; k < s->news_n; k++) atom(c, s, number_expr(s, s->news[k]));
    static const int8_t more[] = {15, 20, 25, 30, 40, 50, 99, 100};
    for (size_t k = 0; k < sizeof more; k++) atom(c, s, number_expr(s, more[k]));
    c->n_atoms = c->ne;
}

static bool combine(const cells *c, int op, const int32_t *a, const int32_t *b, int32_t *out)
{
    for (int i = 0; i < c->n; i++) {
        int64_t v;
        if (!lf_arithmetic(op, a[i], b[i], &v)) return false;
        out[i] = (int32_t)v;
    }
    return true;
}

/* All a op b of two atoms. */
static void deepen(cells *c, search *s)
{
    if (c->deep) return;
    c->deep = true;
    for (int op = E_ADD; op <= E_ABS; op++)
        for (int a = 0; a < c->n_atoms; a++)
            for (int b = 0; b < c->n_atoms && c->ne < EXPRS; b++) {
                bool symmetric = op == E_ADD || op == E_MUL || op >= E_MIN;
                if ((symmetric && b < a) || (c->e[a].constant && c->e[b].constant)) continue;
                if ((op == E_DIV || op == E_MOD) && (c->e[a].constant || b < c->n_elements))
                    continue;
                if (op >= E_MIN && c->e[a].constant) continue;
                if (!c->e[a].full || !c->e[b].full) continue;
                int32_t *v = expr_room(c);
                if (!combine(c, op, vector_of(c, a), vector_of(c, b), v)) continue;
                double cost = c->e[a].cost + c->e[b].cost + (double)lf_ops[op].cost;
                expr_add(c, binary(s, op, c->e[a].node, c->e[b].node), cost, false);
            }
}

/* ---------------------------------------------------------------- predicates */

static bool mask_same(const mask *a, const mask *b)
{
    return !memcmp(a, b, sizeof *a);
}

static bool mask_within(const mask *a, const mask *b) /* a is a subset of b */
{
    for (int k = 0; k < LF_CELL_WORDS; k++)
        if (a->w[k] & ~b->w[k]) return false;
    return true;
}

static void mask_set(mask *m, int cell)
{
    m->w[cell / 64] |= (uint64_t)1 << cell % 64;
}

static bool mask_has(const mask *m, int cell)
{
    return m->w[cell / 64] >> cell % 64 & 1;
}

static void pred_add(cells *c, const search *s, int node, const mask *m)
{
    if (c->nq >= PREDS) return;
    if (c->nq == c->q_cap) {
        c->q_cap = c->q_cap ? 2 * c->q_cap : 256;
        rd_resize(c->q, c->q_cap);
    }
    c->q[c->nq++] = (predicate){node, (float)lf_cost(&s->lib, node), *m};
}

static void relation(cells *c, search *s, int op, int a, int b, const int32_t *va,
                     const int32_t *vb)
{
    mask m = {{0}};
    bool any = false, all = true;
    for (int i = 0; i < c->n; i++) {
        bool defined = va[i] != UNDEFINED && vb[i] != UNDEFINED;
        bool yes = defined && (op == Q_GT   ? va[i] > vb[i]
                               : op == Q_LT ? va[i] < vb[i]
                               : op == Q_EQ ? va[i] == vb[i]
                                            : va[i] != vb[i]);
        if (yes) mask_set(&m, i);
        any = any || yes;
        all = all && yes;
    }
    if (any && !all) pred_add(c, s, binary(s, op, a, b), &m);
}

static void relations_with(cells *c, search *s, int a, const int32_t *va, int number, int ops)
{
    int32_t vb[LF_CELLS];
    int b = number_expr(s, number);
    for (int i = 0; i < c->n; i++) vb[i] = number;
    for (int k = 0; k < ops; k++) relation(c, s, Q_GT + k, a, b, va, vb);
}

static int int_compare(const void *a, const void *b)
{
    return *(const int32_t *)a < *(const int32_t *)b ? -1
                                                     : *(const int32_t *)a > *(const int32_t *)b;
}

/* Thresholds of x: between two neighbouring values the roundest number stands for all. */
static void thresholds(cells *c, search *s, int a)
{
    int32_t sorted[LF_CELLS];
    const int32_t *v = vector_of(c, a);
    int n = 0;
    for (int i = 0; i < c->n; i++)
        if (v[i] != UNDEFINED) sorted[n++] = v[i];
    if (n) qsort(sorted, (size_t)n, sizeof *sorted, int_compare);
    for (int i = 0; i + 1 < n; i++) {
        if (sorted[i] == sorted[i + 1] || sorted[i] < 0 || sorted[i + 1] > 200) continue;
        int best = sorted[i], most = -1;
        for (int t = sorted[i]; t < sorted[i + 1]; t++) {
            int round = t % 10 == 9 ? 3 : t % 10 == 0 ? 2 : t % 5 == 0 ? 1 : 0;
            if (round > most) {
                most = round;
                best = t;
            }
        }
        relations_with(c, s, c->e[a].node, v, best, 1);
        int32_t limit[LF_CELLS];
        for (int k = 0; k < c->n; k++) limit[k] = best + 1;
        relation(c, s, Q_LT, c->e[a].node, number_expr(s, best + 1), v, limit);
    }
}

static void interpreted(cells *c, search *s, int node)
{
    mask m = {{0}};
    int count = 0;
    for (int d = 0; d < c->nd; d++) {
        int32_t fuel = 100000;
        lf_env env = lf_env_make(&s->lib, &c->list[d], &fuel);
        for (int i = 0; i < c->list[d].n; i++)
            if (lf_pred(&env, node, i)) {
                mask_set(&m, c->start[d] + i);
                count++;
            }
    }
    if (count && count < c->n) pred_add(c, s, node, &m);
}

/* Predicates beyond relations of two atoms. */
static void special_preds(cells *c, search *s)
{
    int x = unary(s, E_X, -1), pos = unary(s, E_POS, -1), first = scalar_expr(s, I_FIRST);
    int len = scalar_expr(s, I_LEN), next = unary(s, E_NEXT, -1), prev = unary(s, E_PREV, -1);
    int parity[] = {x,
                    pos,
                    next,
                    prev,
                    unary(s, E_CNT, -1),
                    unary(s, E_DIGSUM, x),
                    unary(s, E_TENS, x),
                    unary(s, E_EARLIER, -1),
                    unary(s, E_SMALLER, -1)};
    for (size_t k = 0; k < sizeof parity / sizeof parity[0]; k++) {
        interpreted(c, s, unary(s, Q_EVEN, parity[k]));
        interpreted(c, s, unary(s, Q_ODD, parity[k]));
    }
    for (int k = 3; k <= 10; k++) {
        interpreted(c, s, binary(s, Q_MULT, x, lf_num(&s->lib, k)));
        interpreted(c, s, binary(s, Q_MULT, pos, lf_num(&s->lib, k)));
        for (int r = 1; r < k && k <= 5; r++) {
            int mod = binary(s, E_MOD, x, number_expr(s, k));
            interpreted(c, s, binary(s, Q_EQ, mod, number_expr(s, r)));
            mod = binary(s, E_MOD, pos, number_expr(s, k));
            interpreted(c, s, binary(s, Q_EQ, mod, number_expr(s, r)));
        }
    }
    static const uint8_t divisors[] = {I_FIRST, I_LAST, I_MIN, I_LEN};
    for (size_t k = 0; k < sizeof divisors; k++)
        interpreted(c, s, binary(s, Q_MULT, x, unary(s, divisors[k], -1)));
    int left = binary(s, E_SUB, len, pos);
    for (int k = 1; k <= 6; k++) {
        interpreted(c, s, binary(s, Q_EQ, left, number_expr(s, k)));
        interpreted(c, s, binary(s, Q_GT, left, number_expr(s, k)));
        interpreted(c, s, binary(s, Q_LT, left, number_expr(s, k)));
    }
    int twice = binary(s, E_MUL, pos, number_expr(s, 2));
    interpreted(c, s, binary(s, Q_GT, twice, len));
    interpreted(c, s, binary(s, Q_LE, twice, len));
    for (int op = E_TENS; op <= E_UNITS; op++) {
        int own = unary(s, op, x), rest[] = {first, scalar_expr(s, I_LAST), next, prev};
        for (int k = 0; k < 4; k++) {
            interpreted(c, s, binary(s, Q_EQ, own, unary(s, op, rest[k])));
            interpreted(c, s, binary(s, Q_NE, own, unary(s, op, rest[k])));
        }
    }
    int max = scalar_expr(s, I_MAX), min = scalar_expr(s, I_MIN);
    interpreted(c, s, binary(s, Q_OR, binary(s, Q_EQ, x, max), binary(s, Q_EQ, x, min)));
    interpreted(c, s, binary(s, Q_AND, binary(s, Q_GT, x, prev), binary(s, Q_GT, x, next)));
    interpreted(c, s, binary(s, Q_AND, binary(s, Q_LT, x, prev), binary(s, Q_LT, x, next)));
    int half = binary(s, E_DIV, x, number_expr(s, 2));
    interpreted(c, s, binary(s, Q_EQ, half, first));
}

static int pred_compare(const void *pa, const void *pb)
{
    const predicate *a = pa, *b = pb;
    if (a->cost != b->cost) return a->cost < b->cost ? -1 : 1;
    return a->node - b->node;
}

static void add_preds(cells *c, search *s)
{
    if (c->nq) return;
    for (int a = 0; a < c->n_elements; a++) {
        for (int b = a + 1; b < c->n_atoms && !c->e[b].constant; b++)
            for (int op = Q_GT; op <= Q_NE; op++)
                relation(c, s, op, c->e[a].node, c->e[b].node, vector_of(c, a), vector_of(c, b));
        int op = s->lib.a[c->e[a].node].op;
        if (op == E_X) thresholds(c, s, a);
        for (int v = 0; v <= 9; v++) relations_with(c, s, c->e[a].node, vector_of(c, a), v, 4);
    }
    for (int k = 0; k < s->news_n; k++)
        relations_with(c, s, c->e[0].node, vector_of(c, 0), s->news[k], 4);
    special_preds(c, s);
    if (c->nq) qsort(c->q, (size_t)c->nq, sizeof *c->q, pred_compare);
}

/* ---------------------------------------------------------------- life */

cells *lf_cells_get(search *s, int entry)
{
    for (int k = 0; k < s->cells_n; k++)
        if (s->cells_of[k] == entry) return s->cells[k];
    if (s->cells_n == (int)(sizeof s->cells / sizeof s->cells[0])) return NULL;
    const column *col = &s->bank[entry].c;
    int total = 0;
    for (int d = 0; d < s->nd; d++) total += col->len[d];
    cells *c = NULL;
    if (total > 0 && total <= LF_CELLS) {
        c = rd_new(cells, 1);
        c->nd = s->nd;
        c->list = rd_new(ints, s->nd);
        for (int d = 0; d < s->nd; d++) {
            c->start[d] = (int16_t)c->n;
            c->list[d].n = col->len[d];
            memcpy(c->list[d].v, s->pool + col->off[d], (size_t)col->len[d] * sizeof(int32_t));
            c->n += col->len[d];
        }
        c->start[s->nd] = (int16_t)c->n;
        c->slots = rd_new(int32_t, SLOTS);
        memset(c->slots, -1, SLOTS * sizeof *c->slots);
        c->bloom = rd_new(uint8_t, BLOOM / 8);
        add_atoms(c, s);
    }
    s->cells_of[s->cells_n] = entry;
    s->cells[s->cells_n++] = c;
    return c;
}

void lf_cells_free(cells *c)
{
    if (!c) return;
    rd_free(c->list);
    rd_free(c->e);
    rd_free(c->val);
    rd_free(c->slots);
    rd_free(c->bloom);
    rd_free(c->q);
    rd_free(c);
}

/* ---------------------------------------------------------------- solving: replacements */

/* wanted = a op b or b op a, for a an expression: the b it would take. */
static bool needed(int form, int32_t w, int32_t a, int32_t *b)
{
    int64_t v;
    switch (form) {
    case 0: v = (int64_t)w - a; break; /* a + b */
    case 1: v = (int64_t)a - w; break; /* a - b */
    case 2: v = (int64_t)w + a; break; /* b - a */
    default:                           /* a * b */
        if (a == 0 || w % a != 0) return false;
        v = w / a;
        break;
    }
    *b = (int32_t)v;
    return v < INT32_MAX && v > INT32_MIN;
}

static void meet(cells *c, search *s, const int32_t *want, solutions *out)
{
    static const uint8_t form_op[] = {E_ADD, E_SUB, E_SUB, E_MUL};
    int probe[3] = {0, c->n / 2, c->n - 1};
    int32_t b[LF_CELLS];
    for (int a = 0; a < c->ne; a++) {
        if (!c->e[a].full) continue;
        const int32_t *va = vector_of(c, a);
        for (int form = 0; form < 4; form++) {
            int32_t p[3];
            bool possible = true;
            for (int k = 0; k < 3 && possible; k++)
                possible = needed(form, want[probe[k]], va[probe[k]], &p[k]);
            if (!possible) continue;
            uint32_t key = bloom_key(p[0], p[1], p[2]);
            if (!(c->bloom[key / 8] >> key % 8 & 1)) continue;
            for (int i = 0; i < c->n && possible; i++)
                possible = needed(form, want[i], va[i], &b[i]);
            int e = possible ? *expr_slot(c, b) : -1;
            if (e < 0 || (form == 0 && e < a)) continue;
            bool flip = form == 2;
            double cost = c->e[a].cost + c->e[e].cost + (double)lf_ops[form_op[form]].cost;
            if (out->n == LF_SOLUTIONS && cost >= out->item[out->n - 1].cost) continue;
            int left = c->e[flip ? e : a].node, right = c->e[flip ? a : e].node;
            lf_solution_add(out, binary(s, form_op[form], left, right), cost);
        }
    }
}

/* f(a) for unary functions of a two-atom expression. */
static void wrapped(cells *c, search *s, const int32_t *want, solutions *out)
{
    static const struct {
        uint8_t op;
        int8_t by;
    } forms[] = {{E_DIV, 2}, {E_DIV, 3},  {E_DIV, 10},  {E_MOD, 2},  {E_MOD, 3},
                 {E_MOD, 5}, {E_MOD, 10}, {E_MOD, 100}, {E_TENS, 0}, {E_DIGSUM, 0}};
    for (int a = c->n_atoms; a < c->ne; a++)
        for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
            const int32_t *va = vector_of(c, a);
            bool same = true;
            for (int i = 0; i < c->n && same; i++) {
                int64_t v = 0;
                if (forms[f].by) {
                    same = lf_arithmetic(forms[f].op, va[i], forms[f].by, &v);
                } else if (forms[f].op == E_TENS) {
                    v = va[i] / 10 % 10;
                    same = va[i] >= 0;
                } else {
                    for (int32_t r = va[i] < 0 ? -va[i] : va[i]; r; r /= 10) v += r % 10;
                }
                same = same && v == want[i];
            }
            if (!same) continue;
            int by = forms[f].by ? number_expr(s, forms[f].by) : -1;
            int node = binary(s, forms[f].op, c->e[a].node, by);
            lf_solution_add(out, node, lf_cost(&s->lib, node));
        }
}

typedef struct partial {
    int32_t expr;
    float cost;
    mask m;
} partial;

static int partial_compare(const void *pa, const void *pb)
{
    const partial *a = pa, *b = pb;
    if (a->cost != b->cost) return a->cost < b->cost ? -1 : 1;
    return a->expr - b->expr;
}

/* "if Q then E1 else E2" from expressions that are right on some cells. */
static void conditional(cells *c, search *s, const int32_t *want, solutions *out)
{
    enum { KEEP = 400 };
    partial *p = rd_new(partial, c->ne);
    int n = 0;
    for (int e = 0; e < c->ne; e++) {
        const int32_t *v = vector_of(c, e);
        mask m = {{0}};
        bool any = false;
        for (int i = 0; i < c->n; i++)
            if (v[i] == want[i]) {
                mask_set(&m, i);
                any = true;
            }
        if (any) p[n++] = (partial){e, c->e[e].cost, m};
    }
    if (n) qsort(p, (size_t)n, sizeof *p, partial_compare);
    int kept = 0;
    for (int k = 0; k < n && kept < KEEP; k++) { /* drop what a cheaper one covers */
        bool covered = false;
        for (int j = 0; j < kept && !covered; j++) covered = mask_within(&p[k].m, &p[j].m);
        if (!covered) p[kept++] = p[k];
    }
    for (int q = 0; q < c->nq; q++) {
        mask no = {{0}};
        for (int i = 0; i < c->n; i++)
            if (!mask_has(&c->q[q].m, i)) mask_set(&no, i);
        int yes_e = -1, no_e = -1;
        for (int k = 0; k < kept && yes_e < 0; k++)
            if (mask_within(&c->q[q].m, &p[k].m)) yes_e = k;
        for (int k = 0; k < kept && yes_e >= 0 && no_e < 0; k++)
            if (mask_within(&no, &p[k].m)) no_e = k;
        if (yes_e < 0 || no_e < 0 || yes_e == no_e) continue;
        double cost = (double)lf_ops[E_IF].cost + c->q[q].cost + p[yes_e].cost + p[no_e].cost;
        if (out->n == LF_SOLUTIONS && cost >= out->item[out->n - 1].cost) continue;
        int node =
            lf_add(&s->lib, E_IF, c->q[q].node, c->e[p[yes_e].expr].node, c->e[p[no_e].expr].node);
        lf_solution_add(out, node, cost);
    }
    rd_free(p);
}

static void solve_expr(cells *c, search *s, const int32_t *want, bool deep, solutions *out)
{
    if (deep) deepen(c, s);
    int e = expr_find(c, want);
    if (e >= 0) lf_solution_add(out, c->e[e].node, c->e[e].cost);
    meet(c, s, want, out);
    if (deep) wrapped(c, s, want, out);
    if (deep || !out->n) {
        add_preds(c, s);
        conditional(c, s, want, out);
    }
}

/* The wanted column as a vector; false when its lengths differ from the base's. */
static bool as_vector(const cells *c, const search *s, const column *want, int32_t *v)
{
    RD_ASSERT(c->nd > 0);
    for (int d = 0; d < c->nd; d++) {
        if (want->len[d] != c->list[d].n) return false;
        memcpy(v + c->start[d], s->pool + want->off[d], (size_t)want->len[d] * sizeof *v);
    }
    return true;
}

static void emit(search *s, int entry, int step, double cost, solutions *list)
{
    double total = s->bank[entry].cost + cost + (s->bank[entry].parent >= 0 ? 0.3 : 0.0);
    if (s->bank[entry].parent < 0) total -= s->bank[entry].cost;
    if (list->n == LF_SOLUTIONS && total >= list->item[list->n - 1].cost) return;
    int link = lf_add(&s->lib, P_SEQ, step, -1, -1);
    if (s->bank[entry].parent >= 0) link = lf_append(&s->lib, lf_bank_pipe(s, entry), link);
    lf_solution_add(list, link, total);
}

void lf_solve_map(search *s, int entry, const column *want, bool deep, solutions *list)
{
    int32_t v[LF_CELLS];
    cells *c = lf_cells_get(s, entry);
    if (!c || !as_vector(c, s, want, v)) return;
    solutions e = {0};
    solve_expr(c, s, v, deep, &e);
    for (int k = 0; k < e.n; k++) {
        int step = unary(s, S_MAP, e.item[k].root);
        emit(s, entry, step, e.item[k].cost + (double)lf_ops[S_MAP].cost, list);
    }
}

void lf_solve_twin(search *s, int entry, const column *odd, const column *even, solutions *list)
{
    int32_t v[LF_CELLS], w[LF_CELLS];
    cells *c = lf_cells_get(s, entry);
    if (!c || !as_vector(c, s, odd, v) || !as_vector(c, s, even, w)) return;
    solutions a = {0}, b = {0};
    solve_expr(c, s, v, true, &a);
    if (!a.n) return;
    solve_expr(c, s, w, true, &b);
    for (int i = 0; i < a.n && i < 3; i++)
        for (int k = 0; k < b.n && k < 3; k++) {
            int step = binary(s, S_FLAT2, a.item[i].root, b.item[k].root);
            double cost = a.item[i].cost + b.item[k].cost + (double)lf_ops[S_FLAT2].cost;
            emit(s, entry, step, cost, list);
        }
}

/* ---------------------------------------------------------------- solving: selections */

/* Does keeping the cells of m give the wanted lists? */
static bool selects(const cells *c, const search *s, const mask *m, const column *want)
{
    for (int d = 0; d < c->nd; d++) {
        const int32_t *w = s->pool + want->off[d];
        int k = 0;
        for (int i = 0; i < c->list[d].n; i++) {
            if (!mask_has(m, c->start[d] + i)) continue;
            if (k >= want->len[d] || w[k] != c->list[d].v[i]) return false;
            k++;
        }
        if (k != want->len[d]) return false;
    }
    return true;
}

/* The cells a selection must keep; false when wanted is no subsequence.  unique: no other choice.
 */
static bool align(const cells *c, const search *s, const column *want, mask *m, bool *unique)
{
    mask right = {{0}};
    *m = right;
    for (int d = 0; d < c->nd; d++) {
        const int32_t *w = s->pool + want->off[d], *l = c->list[d].v;
        int k = 0, n = want->len[d];
        for (int i = 0; i < c->list[d].n && k < n; i++)
            if (l[i] == w[k]) {
                mask_set(m, c->start[d] + i);
                k++;
            }
        if (k < n) return false;
        k = n - 1;
        for (int i = c->list[d].n - 1; i >= 0 && k >= 0; i--)
            if (l[i] == w[k]) {
                mask_set(&right, c->start[d] + i);
                k--;
            }
    }
    *unique = mask_same(m, &right);
    return true;
}

/* Pairs of predicates whose conjunction or disjunction is m. */
static void pairs(cells *c, search *s, int entry, const mask *m, int op, solutions *list)
{
    enum { KEEP = 150 };
    bool both = op == Q_AND;
    int use[KEEP], n = 0;
    for (int q = 0; q < c->nq && n < KEEP; q++) {
        bool fits = both ? mask_within(m, &c->q[q].m) : mask_within(&c->q[q].m, m);
        bool fresh = fits;
        for (int k = 0; k < n && fresh; k++) fresh = !mask_same(&c->q[use[k]].m, &c->q[q].m);
        if (fresh) use[n++] = q;
    }
    for (int i = 0; i < n; i++)
        for (int k = i + 1; k < n; k++) {
            const mask *a = &c->q[use[i]].m, *b = &c->q[use[k]].m;
            bool same = true;
            for (int w = 0; w < LF_CELL_WORDS && same; w++)
                same = (both ? a->w[w] & b->w[w] : a->w[w] | b->w[w]) == m->w[w];
            if (!same) continue;
            int q = binary(s, op, c->q[use[i]].node, c->q[use[k]].node);
            double cost = c->q[use[i]].cost + c->q[use[k]].cost + (double)lf_ops[op].cost;
            emit(s, entry, unary(s, S_FILTER, q), cost + (double)lf_ops[S_FILTER].cost, list);
        }
}

/* Positions: wanted holds ascending positions of the base. */
static bool positions(const cells *c, const search *s, const column *want, mask *m)
{
    *m = (mask){{0}};
    for (int d = 0; d < c->nd; d++) {
        const int32_t *w = s->pool + want->off[d];
        for (int k = 0; k < want->len[d]; k++) {
            if (w[k] < 1 || w[k] > c->list[d].n || (k && w[k] <= w[k - 1])) return false;
            mask_set(m, c->start[d] + w[k] - 1);
        }
    }
    return true;
}

/* Is m, per demonstration, a run from the start that ends where wanted ends (or begins)? */
static bool runs(const cells *c, const mask *m, const column *want, bool drop)
{
    for (int d = 0; d < c->nd; d++) {
        int n = c->list[d].n, keep = drop ? n - want->len[d] : want->len[d];
        for (int i = 0; i < keep; i++)
            if (!mask_has(m, c->start[d] + i)) return false;
        if (keep < n && mask_has(m, c->start[d] + keep)) return false;
    }
    return true;
}

static bool edge(const cells *c, const search *s, const column *want, bool drop)
{
    for (int d = 0; d < c->nd; d++) {
        int n = want->len[d], from = drop ? c->list[d].n - n : 0;
        if (from < 0 || from + n > c->list[d].n ||
            memcmp(c->list[d].v + from, s->pool + want->off[d], (size_t)n * sizeof(int32_t)) != 0)
            return false;
    }
    return true;
}

static void try_preds(cells *c, search *s, int entry, const column *want, int op, const mask *m,
                      solutions *list)
{
    int found = 0;
    for (int q = 0; q < c->nq && found < 8; q++) {
        const mask *have = &c->q[q].m;
        bool good = op == S_TAKEW || op == S_DROPW ? runs(c, have, want, op == S_DROPW)
                    : m                            ? mask_same(have, m)
                                                   : selects(c, s, have, want);
        if (!good) continue;
        found++;
        emit(s, entry, unary(s, op, c->q[q].node), c->q[q].cost + (double)lf_ops[op].cost, list);
    }
}

void lf_solve_filter(search *s, int entry, const column *want, solutions *list)
{
    mask m;
    bool unique = false;
    for (int d = 0; d < s->nd; d++)
        if (want->len[d] > s->bank[entry].c.len[d]) return;
    cells *c = lf_cells_get(s, entry);
    if (!c) return;
    if (align(c, s, want, &m, &unique)) {
        add_preds(c, s);
        int before = list->n;
        try_preds(c, s, entry, want, S_FILTER, unique ? &m : NULL, list);
        if (unique && list->n == before) {
            pairs(c, s, entry, &m, Q_AND, list);
            pairs(c, s, entry, &m, Q_OR, list);
        }
        if (edge(c, s, want, false)) try_preds(c, s, entry, want, S_TAKEW, NULL, list);
        if (edge(c, s, want, true)) try_preds(c, s, entry, want, S_DROPW, NULL, list);
    }
    if (positions(c, s, want, &m)) {
        add_preds(c, s);
        try_preds(c, s, entry, want, S_POSNS, &m, list);
    }
}
