/* listfn_bank.c: the steps a search tries and the bank of lists they lead to.
 *
 * The bank holds one rule, the cheapest, per behaviour on the demonstrations.  Level 1 applies
 * every template to the input, level 2 the useful ones to the cheapest of these, level 3 a handful
 * to the cheapest of level 2. */
#include "listfn_search.h"

#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- columns */

static int32_t *pool_room(search *s, int n)
{
    if (!s->pool || s->pool_n + n > s->pool_cap) { /* never NULL, even for empty lists only */
        s->pool_cap = 2 * (s->pool_cap + n) + 4096;
        rd_resize(s->pool, s->pool_cap);
    }
    return s->pool + s->pool_n;
}

static void column_set(search *s, column *c, int d, const ints *l)
{
    int32_t *at = pool_room(s, l->n);
    memcpy(at, l->v, (size_t)l->n * sizeof *at);
    c->off[d] = s->pool_n;
    c->len[d] = (int16_t)l->n;
    s->pool_n += l->n;
}

column lf_column_of(search *s, const ints *lists)
{
    column c = {{0}, {0}};
    for (int d = 0; d < s->nd; d++) column_set(s, &c, d, &lists[d]);
    return c;
}

uint64_t lf_column_hash(const search *s, const column *c)
{
    uint64_t h = 0x243f6a8885a308d3u;
    for (int d = 0; d < s->nd; d++) {
        h = (h ^ (uint64_t)(c->len[d] + 7)) * 0x9e3779b97f4a7c15u;
        const int32_t *v = s->pool + c->off[d];
        for (int i = 0; i < c->len[d]; i++)
            h = (h ^ (uint32_t)v[i] ^ h >> 29) * 0xbf58476d1ce4e5b9u;
    }
    return h ^ h >> 32;
}

static bool list_same(const search *s, const column *a, const column *b, int d)
{
    return a->len[d] == b->len[d] &&
           (a->len[d] <= 0 ||
            !memcmp(s->pool + a->off[d], s->pool + b->off[d], (size_t)a->len[d] * sizeof(int32_t)));
}

bool lf_column_same(const search *s, const column *a, const column *b)
{
    for (int d = 0; d < s->nd; d++)
        if (!list_same(s, a, b, d)) return false;
    return true;
}

/* ---------------------------------------------------------------- the bank */

static int32_t *slot_of(const search *s, const column *c, uint64_t hash)
{
    uint64_t k = hash & (uint64_t)(s->slots_n - 1);
    for (;; k = (k + 1) & (uint64_t)(s->slots_n - 1)) {
        int32_t e = s->slots[k];
        if (e < 0 || (s->bank[e].hash == hash && lf_column_same(s, &s->bank[e].c, c)))
            return &s->slots[k];
    }
}

int lf_bank_find(const search *s, const column *c)
{
    return *slot_of(s, c, lf_column_hash(s, c));
}

static void slots_grow(search *s)
{
    s->slots_n *= 2;
    rd_resize(s->slots, s->slots_n);
    for (int32_t k = 0; k < s->slots_n; k++) s->slots[k] = -1;
    for (int32_t e = 0; e < s->bank_n; e++) *slot_of(s, &s->bank[e].c, s->bank[e].hash) = e;
}

static void bank_add(search *s, bank_entry *e)
{
    e->hash = lf_column_hash(s, &e->c);
    int32_t *slot = slot_of(s, &e->c, e->hash);
    if (*slot >= 0) {
        /* A cheaper way to the same lists: only where nothing has been built on the old one. */
        bank_entry *old = &s->bank[*slot];
        if (e->cost < old->cost && e->level == old->level) {
            old->parent = e->parent;
            old->step = e->step;
            old->cost = e->cost;
        }
        return;
    }
    for (int d = 0; d < s->nd; d++)
        if (list_same(s, &e->c, &s->target, d)) e->hits |= 1u << d;
    if (s->bank_n == s->bank_cap) {
        s->bank_cap = s->bank_cap ? 2 * s->bank_cap : 1024;
        rd_resize(s->bank, s->bank_cap);
    }
    s->bank[s->bank_n] = *e;
    *slot = s->bank_n++;
    if (2 * s->bank_n > s->slots_n) slots_grow(s);
}

/* Apply a template to entry parent.  Lists that are undefined somewhere may still serve as a branch
 * of a condition, on level 1. */
static void apply(search *s, int parent, const template_step *step, int level)
{
    bank_entry e = {.parent = parent, .step = step->node, .level = (uint8_t)level, .defined = true};
    e.cost = s->bank[parent].cost + step->cost + (s->bank[parent].parent >= 0 ? 0.3f : 0.0f);
    int32_t mark = s->pool_n;
    int defined = 0;
    for (int d = 0; d < s->nd; d++) {
        ints in, out;
        const column *c = &s->bank[parent].c;
        int32_t fuel = 4000;
        in.n = c->len[d];
        memcpy(in.v, s->pool + c->off[d], (size_t)in.n * sizeof in.v[0]);
        if (lf_step(&s->lib, step->node, &in, &out, &fuel)) {
            column_set(s, &e.c, d, &out);
            defined++;
        } else {
            e.c.len[d] = -1;
            e.defined = false;
            if (level > 1) break;
        }
    }
    int32_t before = s->bank_n;
    if (e.defined || (level == 1 && 2 * defined >= s->nd)) bank_add(s, &e);
    if (s->bank_n == before) s->pool_n = mark;
}

typedef struct ranked {
    float cost;
    int32_t index;
} ranked;

static int ranked_compare(const void *pa, const void *pb)
{
    const ranked *a = pa, *b = pb;
    if (a->cost != b->cost) return a->cost < b->cost ? -1 : 1;
    return a->index - b->index;
}

/* Apply the templates from a tier on to the entries of a level that are number `from` to `keep` in
 * the order of cost. */
static void expand(search *s, int level, int from, int keep, int tier)
{
    ranked *r = rd_new(ranked, s->bank_n);
    int n = 0;
    for (int32_t e = 0; e < s->bank_n; e++)
        if (s->bank[e].level == level && s->bank[e].defined) r[n++] = (ranked){s->bank[e].cost, e};
    qsort(r, (size_t)n, sizeof *r, ranked_compare);
    for (int k = from; k < n && k < keep; k++)
        for (int t = 0; t < s->steps_n; t++)
            if (s->steps[t].tier >= tier) apply(s, r[k].index, &s->steps[t], level + 1);
    rd_free(r);
}

void lf_bank_build(search *s)
{
    s->slots_n = 1024;
    s->slots = rd_new(int32_t, s->slots_n);
    for (int32_t k = 0; k < s->slots_n; k++) s->slots[k] = -1;
    bank_entry input = {
        .parent = -1, .step = lf_add(&s->lib, S_LEAVE, -1, -1, -1), .defined = true};
    input.cost = lf_ops[S_LEAVE].cost;
    input.c = lf_column_of(s, s->in);
    bank_add(s, &input);
    expand(s, 0, 0, 1, 1);
    expand(s, 1, 0, 70, 2);
    expand(s, 1, 70, 2000, 4);
    expand(s, 2, 0, 400, 3);
}

int lf_bank_pipe(search *s, int entry)
{
    if (s->bank[entry].parent < 0) return lf_add(&s->lib, P_SEQ, s->bank[entry].step, -1, -1);
    int root = -1;
    for (int e = entry; s->bank[e].parent >= 0; e = s->bank[e].parent)
        root = lf_add(&s->lib, P_SEQ, s->bank[e].step, root, -1);
    return root;
}

/* ---------------------------------------------------------------- templates */

static void step(search *s, int tier, int op, int a, int b, int c)
{
    if (s->steps_n == s->steps_cap) {
        s->steps_cap = s->steps_cap ? 2 * s->steps_cap : 1024;
        rd_resize(s->steps, s->steps_cap);
    }
    int node = lf_add(&s->lib, op, a, b, c);
    s->steps[s->steps_n++] = (template_step){node, (float)lf_cost(&s->lib, node), (uint8_t)tier};
}

static int leaf(search *s, int op)
{
    return lf_add(&s->lib, op, -1, -1, -1);
}

static int num(search *s, int v)
{
    return lf_num(&s->lib, v);
}

static int kth(search *s, int k)
{
    return lf_add(&s->lib, I_KTH, num(s, k), -1, -1);
}

static int elem_num(search *s, int v)
{
    return lf_add(&s->lib, E_I, num(s, v), -1, -1);
}

static int elem_of(search *s, int scalar)
{
    return lf_add(&s->lib, E_I, scalar, -1, -1);
}

static int two(search *s, int op, int a, int b)
{
    return lf_add(&s->lib, op, a, b, -1);
}

static int one(search *s, int op, int a)
{
    return lf_add(&s->lib, op, a, -1, -1);
}

/* Scalars that say something about the list. */
enum { NAMED = 8 };
static int named(search *s, int k)
{
    static const uint8_t ops[NAMED - 1] = {I_FIRST, I_LAST, I_MAX, I_MIN, I_LEN, I_SUM, I_NDIST};
    return k < NAMED - 1 ? leaf(s, ops[k]) : kth(s, 2);
}

/* Values of which many outputs hold more copies than their inputs. */
static void find_news(search *s)
{
    int16_t votes[100] = {0};
    for (int d = 0; d < s->nd; d++) {
        int16_t extra[100] = {0};
        for (int i = 0; i < s->out[d].n; i++)
            if (s->out[d].v[i] >= 0 && s->out[d].v[i] < 100) extra[s->out[d].v[i]]++;
        for (int i = 0; i < s->in[d].n; i++)
            if (s->in[d].v[i] >= 0 && s->in[d].v[i] < 100) extra[s->in[d].v[i]]--;
        for (int v = 0; v < 100; v++) votes[v] = (int16_t)(votes[v] + (extra[v] > 0));
    }
    int least = s->nd >= 6 ? 2 : 1;
    while (s->news_n < 8) {
        int best = 0;
        for (int v = 1; v < 100; v++)
            if (votes[v] > votes[best]) best = v;
        if (votes[best] < least) return;
        s->news[s->news_n++] = best;
        votes[best] = 0;
    }
}

static void position_steps(search *s)
{
    static const uint8_t cuts[] = {S_TAKE, S_TAKEL, S_DROP, S_DROPL};
    for (int c = 0; c < 4; c++) {
        for (int k = 1; k <= 8; k++) {
            int tier = k == 1 || (k == 2 && cuts[c] == S_DROP) ? 4 : k == 2 ? 3 : k <= 4 ? 2 : 1;
            step(s, tier, cuts[c], num(s, k), -1, -1);
        }
        for (int k = 0; k < NAMED; k++) step(s, k < 2 ? 2 : 1, cuts[c], named(s, k), -1, -1);
        step(s, 1, cuts[c], two(s, I_DIV, leaf(s, I_LEN), num(s, 2)), -1, -1);
    }
    step(s, 2, S_TAKE, num(s, 0), -1, -1);
    for (int a = 1; a <= 7; a++)
        for (int b = a + (a == 1); b <= 8; b++) {
            if (a > 1) step(s, a <= 2 && b <= 5 ? 2 : 1, S_SLICE, num(s, a), num(s, b), -1);
            if (b > a) step(s, 1, S_DELR, num(s, a), num(s, b), -1);
            if (b > a && b <= 7) step(s, 1, S_SWAP, num(s, a), num(s, b), -1);
        }
    step(s, 1, S_SLICE, leaf(s, I_FIRST), kth(s, 2), -1);
    step(s, 1, S_SLICE, leaf(s, I_FIRST), leaf(s, I_LAST), -1);
    step(s, 1, S_DELR, leaf(s, I_FIRST), kth(s, 2), -1);
    for (int k = 1; k <= 8; k++) step(s, k <= 3 ? 2 : 1, S_DEL, num(s, k), -1, -1);
    for (int k = 0; k < 5; k++) step(s, 1, S_DEL, named(s, k), -1, -1);
    step(s, 1, S_DEL, two(s, I_SUB, leaf(s, I_LEN), num(s, 1)), -1, -1);
    for (int k = 0; k < 5; k++) {
        step(s, 1, S_SWAP, num(s, 1), k == 4 ? leaf(s, I_FIRST) : one(s, I_POSOF, named(s, k)), -1);
        step(s, 1, S_SWAP, leaf(s, I_LEN), one(s, I_POSOF, named(s, k)), -1);
    }
    step(s, 1, S_SWAP, one(s, I_POSOF, leaf(s, I_MAX)), one(s, I_POSOF, leaf(s, I_MIN)), -1);
}

/* The first element or two say what to do with the rest; a later step drops them. */
static void tail_steps(search *s)
{
    int first1 = two(s, I_ADD, leaf(s, I_FIRST), num(s, 1));
    int first2 = two(s, I_ADD, leaf(s, I_FIRST), num(s, 2));
    step(s, 1, S_SLICE, first2, two(s, I_ADD, kth(s, 2), num(s, 2)), -1);
    step(s, 1, S_SLICE, first1, two(s, I_ADD, kth(s, 2), num(s, 1)), -1);
    step(s, 1, S_TAKE, first1, -1, -1);
    step(s, 1, S_DROP, first1, -1, -1);
    step(s, 1, S_DEL, first1, -1, -1);
    step(s, 1, S_REPL, first2, kth(s, 2), -1);
    step(s, 1, S_REPL, first1, leaf(s, I_LEN), -1);
    step(s, 1, S_REPL, first1, leaf(s, I_FIRST), -1);
    step(s, 1, S_REPL, first1, leaf(s, I_LAST), -1);
    step(s, 2, S_INS, leaf(s, I_LAST), leaf(s, I_FIRST), -1);
    step(s, 1, S_INS, kth(s, 2), first2, -1);
    for (int op = E_ADD; op <= E_MUL; op++) {
        step(s, 1, S_MAP, two(s, op, leaf(s, E_X), elem_of(s, leaf(s, I_FIRST))), -1, -1);
        step(s, 1, S_MAP, two(s, op, leaf(s, E_X), elem_of(s, leaf(s, I_LAST))), -1, -1);
    }
}

static void value_steps(search *s)
{
    for (int k = 0; k < NAMED; k++) {
        step(s, k < 2 ? 3 : k < 6 ? 2 : 1, S_FRONT, named(s, k), -1, -1);
        step(s, k < 2 ? 3 : k < 6 ? 2 : 1, S_END, named(s, k), -1, -1);
        step(s, k < 4 ? 2 : 1, S_REMV, named(s, k), -1, -1);
        step(s, k < 4 ? 2 : 1, S_REM1, named(s, k), -1, -1);
        for (int at = 1; at <= 8; at++) {
            step(s, 1, S_REPL, num(s, at), named(s, k), -1);
            if (at > 1) step(s, 1, S_INS, named(s, k), num(s, at), -1);
        }
        step(s, 1, S_REPL, leaf(s, I_LEN), named(s, k), -1);
        step(s, 1, S_REPL, one(s, I_POSOF, leaf(s, I_MAX)), named(s, k), -1);
        step(s, 1, S_REPL, one(s, I_POSOF, leaf(s, I_MIN)), named(s, k), -1);
        step(s, 1, S_ADDALL, named(s, k), -1, -1);
    }
    for (int k = 0; k < s->news_n; k++) {
        step(s, 2, S_FRONT, num(s, s->news[k]), -1, -1);
        step(s, 2, S_END, num(s, s->news[k]), -1, -1);
        for (int at = 1; at <= 8; at++) {
            step(s, 1, S_REPL, num(s, at), num(s, s->news[k]), -1);
            if (at > 1) step(s, 1, S_INS, num(s, s->news[k]), num(s, at), -1);
        }
        step(s, 1, S_REPL, leaf(s, I_LEN), num(s, s->news[k]), -1);
        step(s, 1, S_REPL, leaf(s, I_FIRST), num(s, s->news[k]), -1);
        step(s, 1, S_REPL, one(s, I_POSOF, leaf(s, I_MAX)), num(s, s->news[k]), -1);
    }
    for (int v = 0; v <= 9; v++) {
        step(s, v ? 1 : 2, S_REMV, num(s, v), -1, -1);
        step(s, 1, S_REM1, num(s, v), -1, -1);
        if (v) step(s, v <= 3 ? 2 : 1, S_ADDALL, num(s, v), -1, -1);
    }
    step(s, 1, S_ADDALL, num(s, -1), -1, -1);
    step(s, 1, S_REPL, leaf(s, I_FIRST), leaf(s, I_LAST), -1);
    step(s, 1, S_REPL, leaf(s, I_FIRST), kth(s, 2), -1);
    step(s, 1, S_REPL, num(s, 2), leaf(s, I_LAST), -1);
}

static void plain_steps(search *s)
{
    static const uint8_t always[] = {S_REV, S_SORT, S_SORTD, S_UNIQ, S_TRIM};
    static const uint8_t often[] = {S_REMEXT, S_SWAPE,   S_ROTL,   S_ROTR,   S_UNIQL,
                                    S_RUNSUM, S_RUNPROD, S_RUNMAX, S_RUNMIN, S_DIFF,
                                    S_ADIFF,  S_NSUM,    S_NPROD,  S_FILLIN, S_COUNTS,
                                    S_EXTRA,  S_PAIRS,   S_TALLY,  S_ZIGZAG};
    for (size_t k = 0; k < sizeof always; k++)
        step(s, always[k] == S_TRIM ? 4 : 5, always[k], -1, -1, -1);
    for (size_t k = 0; k < sizeof often; k++) step(s, 2, often[k], -1, -1, -1);
    step(s, 3, S_FOLD, -1, -1, -1);
    step(s, 1, S_REVPART, num(s, 0), -1, -1);
    for (int v = 0; v <= 3; v++) step(s, 1, S_AFTER, num(s, v), -1, -1);
    step(s, 1, S_AFTER, leaf(s, I_MAX), -1, -1);
    static const uint8_t scalars[] = {I_FIRST, I_LAST, I_LEN,  I_MAX,  I_MIN,
                                      I_SUM,   I_PROD, I_MEAN, I_NDIST};
    for (size_t k = 0; k < sizeof scalars; k++)
        step(s, k < 2 ? 1 : k < 7 ? 4 : 3, S_RETURN, leaf(s, scalars[k]), -1, -1);
    for (int k = 2; k <= 9; k++) step(s, k <= 4 ? 2 : 1, S_RETURN, kth(s, k), -1, -1);
    for (int k = 0; k < 6; k++)
        step(s, k == 1 ? 2 : 1, S_RETURN, one(s, I_KTH, named(s, k)), -1, -1);
    for (int k = 0; k < 4; k++) step(s, 1, S_RETURN, one(s, I_POSOF, named(s, k)), -1, -1);
}

/* Small sets of predicates and expressions; larger ones are worked through in listfn_cells.c. */
static int small_pred(search *s, int k)
{
    int x = leaf(s, E_X);
    switch (k) {
    case 0: return one(s, Q_EVEN, x);
    case 1: return one(s, Q_ODD, x);
    case 2: return one(s, Q_ODD, leaf(s, E_POS));
    case 3: return one(s, Q_EVEN, leaf(s, E_POS));
    case 4: return two(s, Q_GT, x, elem_of(s, leaf(s, I_FIRST)));
    case 5: return two(s, Q_LT, x, elem_of(s, leaf(s, I_FIRST)));
    case 6: return two(s, Q_GT, x, leaf(s, E_PREV));
    case 7: return two(s, Q_LT, x, leaf(s, E_NEXT));
    case 8: return two(s, Q_GT, x, leaf(s, E_NEXT));
    case 9: return two(s, Q_EQ, leaf(s, E_CNT), elem_num(s, 1));
    case 10: return two(s, Q_GT, leaf(s, E_CNT), elem_num(s, 1));
    case 11: return two(s, Q_EQ, x, elem_of(s, leaf(s, I_MAX)));
    case 12: return two(s, Q_EQ, x, elem_of(s, leaf(s, I_FIRST)));
    case 13: return two(s, Q_NE, x, elem_of(s, leaf(s, I_FIRST)));
    case 14: return two(s, Q_NE, x, elem_num(s, 0));
    case 15: return two(s, Q_EQ, x, elem_num(s, 0));
    case 16: return two(s, Q_MULT, x, num(s, 3));
    case 17: return two(s, Q_EQ, x, leaf(s, E_POS));
    case 18: return two(s, Q_GT, x, leaf(s, E_POS));
    case 19: return two(s, Q_LT, x, elem_of(s, leaf(s, I_LAST)));
    case 20: return two(s, Q_GT, x, elem_of(s, leaf(s, I_LAST)));
    case 21: return two(s, Q_EQ, x, elem_of(s, leaf(s, I_MIN)));
    case 22: return two(s, Q_EQ, x, elem_of(s, leaf(s, I_LAST)));
    case 23: return two(s, Q_LT, x, leaf(s, E_POS));
    case 24: return two(s, Q_GT, x, elem_num(s, 9));
    case 25: return two(s, Q_LT, x, elem_num(s, 10));
    case 26: return two(s, Q_LE, x, elem_of(s, leaf(s, I_FIRST)));
    case 27: return two(s, Q_GE, x, elem_of(s, leaf(s, I_FIRST)));
    case 28: return two(s, Q_MULT, x, num(s, 4));
    case 29: return two(s, Q_MULT, x, num(s, 5));
    default: return -1;
    }
}

static int small_elem(search *s, int k)
{
    int x = leaf(s, E_X);
    switch (k) {
    case 0: return two(s, E_MUL, x, elem_num(s, 2));
    case 1: return two(s, E_DIV, x, elem_num(s, 2));
    case 2: return one(s, E_TENS, x);
    case 3: return one(s, E_UNITS, x);
    case 4: return one(s, E_DIGSUM, x);
    case 5: return leaf(s, E_CNT);
    case 6: return two(s, E_ADD, x, leaf(s, E_POS));
    case 7: return two(s, E_MUL, x, leaf(s, E_POS));
    case 8: return two(s, E_SUB, x, elem_of(s, leaf(s, I_FIRST)));
    case 9: return leaf(s, E_POS);
    case 10: return two(s, E_MOD, x, elem_num(s, 2));
    case 11: return leaf(s, E_EARLIER);
    case 12: return two(s, E_MUL, x, x);
    default: return -1;
    }
}

static void element_steps(search *s)
{
    for (int k = 0; small_pred(s, k) >= 0; k++) {
        step(s, k < 18 || k >= 28 ? 2 : 1, S_FILTER, small_pred(s, k), -1, -1);
        step(s, k < 4 ? 2 : 1, S_POSNS, small_pred(s, k), -1, -1);
        step(s, 1, S_TAKEW, small_pred(s, k), -1, -1);
        step(s, 1, S_DROPW, small_pred(s, k), -1, -1);
        step(s, k < 4 ? 2 : 1, S_RETURN, one(s, I_COUNT, small_pred(s, k)), -1, -1);
    }
    for (int v = 1; v <= 9; v++) {
        int eq = two(s, Q_EQ, leaf(s, E_X), elem_num(s, v));
        step(s, 1, S_RETURN, one(s, I_COUNT, eq), -1, -1);
        step(s, 1, S_POSNS, eq, -1, -1);
        step(s, 1, S_FILTER, two(s, Q_GT, leaf(s, E_X), elem_num(s, v)), -1, -1);
        step(s, 1, S_FILTER, two(s, Q_LT, leaf(s, E_X), elem_num(s, v)), -1, -1);
    }
    for (int k = 0; small_elem(s, k) >= 0; k++) {
        int e = small_elem(s, k);
        step(s, k < 9 ? 2 : 1, S_MAP, e, -1, -1);
        step(s, 1, S_REPEACH, e, -1, -1);
        if (k >= 2 && k <= 5) {
            step(s, 2, S_SORTBY, e, -1, -1);
            step(s, 1, S_SORTBYD, e, -1, -1);
        }
        step(s, 1, S_UPTO, e, -1, -1);
    }
    step(s, 1, S_SORTBYD, leaf(s, E_CNT), -1, -1);
    for (int k = 2; k <= 5; k++) step(s, k == 2 ? 2 : 1, S_REPEACH, elem_num(s, k), -1, -1);
    step(s, 1, S_REPEACH, leaf(s, E_X), -1, -1);
    step(s, 1, S_UPTO, leaf(s, E_X), -1, -1);
    step(s, 2, S_FLAT2, leaf(s, E_X), leaf(s, E_POS), -1);
    step(s, 1, S_FLAT2, one(s, E_TENS, leaf(s, E_X)), one(s, E_UNITS, leaf(s, E_X)), -1);
}

static void build_steps(search *s)
{
    for (int a = 0; a < 8; a++)
        for (int b = 0; b < 8; b++) {
            int from = a < 5 ? named(s, a) : a == 5 ? num(s, 0) : a == 6 ? num(s, 1) : kth(s, 2);
            int to = b < 5 ? named(s, b) : b == 5 ? num(s, 0) : b == 6 ? num(s, 1) : kth(s, 2);
            if (a == b || (a > 4 && b > 4 && a < 7 && b < 7)) continue;
            for (int k = 1; k <= 3; k++) step(s, 1, S_RANGE, from, to, num(s, k));
            step(s, 1, S_RANGE, from, to, leaf(s, I_FIRST));
            step(s, 1, S_RANGE, from, to, leaf(s, I_MIN));
        }
    int mult = two(s, I_MUL, leaf(s, I_FIRST), leaf(s, I_LEN));
    step(s, 1, S_RANGE, leaf(s, I_FIRST), mult, leaf(s, I_FIRST));
    mult = two(s, I_MUL, leaf(s, I_MIN), leaf(s, I_LEN));
    step(s, 1, S_RANGE, leaf(s, I_MIN), mult, leaf(s, I_MIN));
    for (int a = 0; a < NAMED + s->news_n; a++) {
        int v = a < NAMED ? named(s, a) : num(s, s->news[a - NAMED]);
        for (int k = 2; k <= 10; k++) step(s, 1, S_REPV, v, num(s, k), -1);
        for (int k = 0; k < NAMED; k++) step(s, 1, S_REPV, v, named(s, k), -1);
    }
}

void lf_templates(search *s)
{
    find_news(s);
    plain_steps(s);
    position_steps(s);
    value_steps(s);
    tail_steps(s);
    element_steps(s);
    build_steps(s);
}
