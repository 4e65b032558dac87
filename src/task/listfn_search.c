/* listfn_search.c: from demonstrations to List Function rules.
 *
 * First the bank: the lists that short pipelines make of the inputs (listfn_bank.c).  Then from the
 * outputs back: selections and replacements (listfn_cells.c), scalars, outputs put together from a
 * known front or back and a rest, interleaved outputs, and two rules under a condition.  Everything
 * met on the way is offered to the candidate set, which keeps right, partly right and wrong rules.
 */
#include "listfn_search.h"

#include <stdlib.h>
#include <string.h>

/* Cheap defined bank entries, ascending by cost. */
typedef struct shortlist {
    int n;
    int32_t *entry;
} shortlist;

/* ---------------------------------------------------------------- offering */

void lf_solution_add(solutions *list, int root, double cost)
{
    int at = list->n < LF_SOLUTIONS ? list->n++ : LF_SOLUTIONS - 1;
    if (at == LF_SOLUTIONS - 1 && list->item[at].root && cost >= list->item[at].cost) return;
    for (; at > 0 && list->item[at - 1].cost > cost; at--) list->item[at] = list->item[at - 1];
    list->item[at] = (solution){root, (float)cost};
}

/* Runs the rule on everything and hands it over.  A rule that fits all demonstrations but is
 * undefined on a query is no answer and is dropped. */
static void offer_rule(search *s, rd_rule *r)
{
    int32_t score = 0;
    double soft = 0, cost = lf_cost(&r->p, r->root);
    uint64_t behaviour = 1;
    bool defined = true;
    for (int64_t k = 0; k < s->n; k++) {
        ints got;
        bool ran = lf_run(&r->p, r->root, &s->in[k], &got);
        if (!ran) got.n = 0;
        behaviour = rd_hash(got.v, (size_t)got.n * sizeof got.v[0], behaviour * 2 + ran);
        defined = defined && ran;
        if (k >= s->t->n_demos) continue;
        double a = ran ? ints_agreement(&got, &s->out[k]) : 0;
        soft += a;
        score += a == 1.0;
        if (k + 1 == s->t->n_demos &&
            !candidate_set_wants(s->set, cost, score, soft / (double)s->t->n_demos)) {
            lf_rule_free(r);
            return;
        }
    }
    if (score == s->t->n_demos && !defined) {
        lf_rule_free(r);
        return;
    }
    candidate_set_add_take(s->set, r, cost, score, soft / (double)s->t->n_demos, behaviour);
}

void lf_offer(search *s, int root)
{
    if (lf_size(&s->lib, root) <= LF_MAX_NODES) offer_rule(s, lf_rule_make(&s->lib, root));
}

/* ---------------------------------------------------------------- the bank's own candidates */

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

/* All of level 1 and the `keep` cheapest of level 2. */
static shortlist cheapest(const search *s, int keep)
{
    ranked *r = rd_new(ranked, s->bank_n);
    int n = 0;
    for (int32_t e = 0; e < s->bank_n; e++)
        if (s->bank[e].defined && s->bank[e].level <= 2) r[n++] = (ranked){s->bank[e].cost, e};
    qsort(r, (size_t)n, sizeof *r, ranked_compare);
    shortlist l = {.entry = rd_new(int32_t, n)};
    for (int k = 0, deep = 0; k < n; k++) {
        if (s->bank[r[k].index].level == 2 && ++deep > keep) continue;
        l.entry[l.n++] = r[k].index;
    }
    rd_free(r);
    return l;
}

static double entry_soft(const search *s, const bank_entry *e)
{
    double sum = 0;
    for (int d = 0; d < s->nd; d++) {
        int n = e->c.len[d], w = s->target.len[d], equal = 0;
        const int32_t *a = s->pool + e->c.off[d], *b = s->pool + s->target.off[d];
        for (int i = 0; i < n && i < w; i++) equal += a[i] == b[i];
        int longer = n > w ? n : w;
        sum += n < 0 ? 0 : longer ? (double)equal / longer : 1.0;
    }
    return sum / s->nd;
}

static void offer_bank(search *s)
{
    for (int32_t e = 0; e < s->bank_n; e++) {
        const bank_entry *b = &s->bank[e];
        int32_t score = __builtin_popcount(b->hits);
        /* The bank may see fewer demonstrations than there are: then the score is only a hint. */
        if (s->nd == s->t->n_demos &&
            !candidate_set_wants(s->set, (double)b->cost, score, entry_soft(s, b)))
            continue;
        lf_offer(s, lf_bank_pipe(s, e));
    }
}

/* ---------------------------------------------------------------- from the outputs back */

static void solve(search *s, const shortlist *base, const column *want, int depth, solutions *list);

static bool subsequence(const search *s, const column *want, const column *of)
{
    for (int d = 0; d < s->nd; d++) {
        const int32_t *w = s->pool + want->off[d], *l = s->pool + of->off[d];
        int k = 0;
        for (int i = 0; i < of->len[d] && k < want->len[d]; i++) k += l[i] == w[k];
        if (k < want->len[d]) return false;
    }
    return true;
}

static bool same_lengths(const search *s, const column *a, const column *b, int factor)
{
    for (int d = 0; d < s->nd; d++)
        if (a->len[d] != factor * b->len[d]) return false;
    return true;
}

/* Lists of the bank that only need another order.  Cheaper than trying every order on every list.
 */
static void solve_order(search *s, const column *want, solutions *list)
{
    static const uint8_t ops[] = {S_SORT, S_SORTD, S_REV};
    for (int32_t e = 0; e < s->bank_n; e++) {
        const column *c = &s->bank[e].c;
        if (!s->bank[e].defined || !same_lengths(s, want, c, 1)) continue;
        int64_t sum = 0;
        for (int d = 0; d < s->nd && sum == 0; d++)
            for (int i = 0; i < c->len[d]; i++)
                sum += (int64_t)s->pool[c->off[d] + i] - s->pool[want->off[d] + i];
        for (size_t k = 0; k < sizeof ops && sum == 0; k++) {
            bool same = true;
            int step = lf_add(&s->lib, ops[k], -1, -1, -1);
            for (int d = 0; d < s->nd && same; d++) {
                ints in, out;
                int32_t fuel = 4000;
                in.n = c->len[d];
                memcpy(in.v, s->pool + c->off[d], (size_t)in.n * sizeof in.v[0]);
                same = lf_step(&s->lib, step, &in, &out, &fuel) &&
                       !memcmp(out.v, s->pool + want->off[d], (size_t)out.n * sizeof out.v[0]);
            }
            if (!same) continue;
            int pipe = lf_append(&s->lib, lf_bank_pipe(s, e), lf_add(&s->lib, P_SEQ, step, -1, -1));
            lf_solution_add(list, pipe, lf_cost(&s->lib, pipe));
        }
    }
}

static void solve_elements(search *s, const shortlist *base, const column *want, int depth,
                           solutions *list)
{
    int maps = 0, filters = 0;
    int n = depth > 0 ? base->n : base->n < 12 ? base->n : 12;
    for (int k = 0; k < n && (maps < 6 || filters < 8); k++) {
        int e = base->entry[k];
        if (maps < 6 && same_lengths(s, want, &s->bank[e].c, 1))
            lf_solve_map(s, e, want, maps++ < (depth > 0 ? 2 : 1), list);
        if (filters < 8 && (k == 0 || subsequence(s, want, &s->bank[e].c))) {
            lf_solve_filter(s, e, want, list);
            filters++;
        }
    }
}

static int pipe_of(search *s, int step)
{
    return lf_add(&s->lib, P_SEQ, step, -1, -1);
}

static int const_step(search *s, const int32_t *v, int n)
{
    int cell = -1;
    for (int k = n - 1; k >= 0; k--) {
        cell = lf_add(&s->lib, C_CELL, cell, -1, -1);
        s->lib.a[cell].v = v[k];
    }
    return lf_add(&s->lib, S_CONST, cell, -1, -1);
}

static void join(search *s, int front, double front_cost, const solutions *back, solutions *list)
{
    for (int k = 0; k < back->n && k < 4; k++) {
        double cost = front_cost + back->item[k].cost + 1.3;
        if (list->n == LF_SOLUTIONS && cost >= list->item[list->n - 1].cost) return;
        int step = lf_add(&s->lib, S_JOIN, front, back->item[k].root, -1);
        lf_solution_add(list, pipe_of(s, step), cost);
    }
}

/* want without its first (front) or last n[d] elements. */
static column cut(const search *s, const column *want, const int16_t *n, bool front)
{
    column c = *want;
    for (int d = 0; d < s->nd; d++) {
        if (front) c.off[d] += n[d];
        c.len[d] = (int16_t)(c.len[d] - n[d]);
    }
    return c;
}

static bool stands_at(const search *s, const column *part, const column *want, bool front)
{
    bool any = false, all = true;
    for (int d = 0; d < s->nd; d++) {
        int n = part->len[d], from = front ? 0 : want->len[d] - n;
        if (n < 0 || n > want->len[d] ||
            memcmp(s->pool + part->off[d], s->pool + want->off[d] + from,
                   (size_t)n * sizeof(int32_t)) != 0)
            return false;
        any = any || n > 0;
        all = all && n == want->len[d];
    }
    return any && !all;
}

/* Known lists at one end of the wanted ones; the rest is solved with one level less. */
static void peel(search *s, const shortlist *base, const column *want, int depth, bool front,
                 solutions *list)
{
    int tried = 0, most = depth > 1 ? 30 : 8;
    for (int k = 0; k < base->n && tried < most; k++) {
        const bank_entry *b = &s->bank[base->entry[k]];
        if (!stands_at(s, &b->c, want, front)) continue;
        tried++;
        column rest = cut(s, want, b->c.len, front);
        solutions other = {0};
        double cost = (double)b->cost;
        int pipe = lf_bank_pipe(s, base->entry[k]);
        solve(s, base, &rest, depth - 1, &other);
        if (front) {
            join(s, pipe, cost, &other, list);
            continue;
        }
        solutions self = {.n = 1, .item = {{pipe, (float)cost}}};
        for (int i = 0; i < other.n && i < 4; i++)
            join(s, other.item[i].root, (double)other.item[i].cost, &self, list);
    }
}

/* Constants that all wanted lists begin (front) or end with. */
static void peel_constants(search *s, const shortlist *base, const column *want, int depth,
                           bool front, solutions *list)
{
    int32_t head[LF_MAX_LEN];
    RD_ASSERT(s->nd > 0);
    int common = want->len[0];
    for (int d = 0; d < s->nd; d++) {
        int k = 0, n = want->len[d];
        const int32_t *v = s->pool + want->off[d];
        for (; k < common && k < n; k++) {
            int32_t x = v[front ? k : n - 1 - k];
            if (d > 0 && head[k] != x) break;
            head[k] = x;
        }
        common = k;
    }
    for (int i = 0; !front && i < common / 2; i++) {
        int32_t x = head[i];
        head[i] = head[common - 1 - i];
        head[common - 1 - i] = x;
    }
    bool whole = true;
    for (int d = 0; d < s->nd; d++) whole = whole && want->len[d] == common;
    if (whole) {
        int step = const_step(s, head, common);
        if (front) lf_solution_add(list, pipe_of(s, step), lf_cost(&s->lib, step));
        return;
    }
    for (int n = common; n >= 1 && n >= common - 1; n--) {
        int16_t len[LF_DEMOS];
        for (int d = 0; d < s->nd; d++) len[d] = (int16_t)n;
        column rest = cut(s, want, len, front);
        solutions other = {0};
        solve(s, base, &rest, depth - 1, &other);
        int step = const_step(s, front ? head : head + common - n, n);
        double cost = lf_cost(&s->lib, step);
        if (front) {
            join(s, pipe_of(s, step), cost, &other, list);
            continue;
        }
        solutions self = {.n = 1, .item = {{pipe_of(s, step), (float)cost}}};
        for (int i = 0; i < other.n && i < 4; i++)
            join(s, other.item[i].root, (double)other.item[i].cost, &self, list);
    }
}

/* Every second element of want, from its first or second one. */
static column every_second(search *s, const column *want, int from)
{
    ints part[LF_DEMOS];
    for (int d = 0; d < s->nd; d++) {
        part[d].n = 0;
        for (int i = from; i < want->len[d]; i += 2)
            part[d].v[part[d].n++] = s->pool[want->off[d] + i];
    }
    return lf_column_of(s, part);
}

static void solve_interleaved(search *s, const shortlist *base, const column *want, solutions *list)
{
    int longest = 0;
    for (int d = 0; d < s->nd; d++) {
        if (want->len[d] % 2) return;
        if (want->len[d] > longest) longest = want->len[d];
    }
    if (longest < 4) return;
    column odd = every_second(s, want, 0), even = every_second(s, want, 1);
    for (int k = 0, found = 0; k < base->n && found < 2; k++)
        if (same_lengths(s, want, &s->bank[base->entry[k]].c, 2)) {
            found++;
            lf_solve_twin(s, base->entry[k], &odd, &even, list);
        }
    solutions a = {0}, b = {0};
    solve(s, base, &odd, 0, &a);
    if (a.n) solve(s, base, &even, 0, &b);
    for (int i = 0; i < a.n && i < 3; i++)
        for (int k = 0; k < b.n && k < 3; k++) {
            int step = lf_add(&s->lib, S_ALT, a.item[i].root, b.item[k].root, -1);
            double cost = a.item[i].cost + b.item[k].cost + (double)lf_ops[S_ALT].cost;
            lf_solution_add(list, pipe_of(s, step), cost);
        }
}

/* ---------------------------------------------------------------- scalars */

typedef struct scalar {
    int32_t node;
    float cost;
    int64_t v[LF_DEMOS];
    uint32_t defined;
} scalar;
enum { SCALARS = 160 };

static int scalar_add(search *s, const ints *of, scalar *list, int n, int node)
{
    scalar x = {.node = node, .cost = (float)lf_cost(&s->lib, node)};
    for (int d = 0; d < s->nd; d++) {
        int32_t fuel = 10000;
        lf_env e = lf_env_make(&s->lib, &of[d], &fuel);
        if (lf_scalar(&e, node, &x.v[d])) x.defined |= 1u << d;
    }
    if (n < SCALARS && x.defined) list[n++] = x;
    return n;
}

/* Scalars of the lists `of`; numbers last, from *first_number on. */
static int scalar_list(search *s, const ints *of, scalar *list, int *first_number)
{
    static const uint8_t ops[] = {I_FIRST, I_LAST, I_LEN,  I_MAX,  I_MIN,
                                  I_SUM,   I_PROD, I_MEAN, I_NDIST};
    int n = 0;
    for (size_t k = 0; k < sizeof ops; k++)
        n = scalar_add(s, of, list, n, lf_add(&s->lib, ops[k], -1, -1, -1));
    for (int k = 2; k <= 8; k++)
        n = scalar_add(s, of, list, n, lf_add(&s->lib, I_KTH, lf_num(&s->lib, k), -1, -1));
    int back = lf_add(&s->lib, I_SUB, lf_add(&s->lib, I_LEN, -1, -1, -1), lf_num(&s->lib, 1), -1);
    n = scalar_add(s, of, list, n, lf_add(&s->lib, I_KTH, back, -1, -1));
    static const uint8_t counted[] = {Q_EVEN, Q_ODD};
    for (size_t k = 0; k < sizeof counted; k++) {
        int q = lf_add(&s->lib, counted[k], lf_add(&s->lib, E_X, -1, -1, -1), -1, -1);
        n = scalar_add(s, of, list, n, lf_add(&s->lib, I_COUNT, q, -1, -1));
    }
    static const uint8_t as[] = {I_FIRST, I_LAST, I_MAX};
    for (size_t k = 0; k < sizeof as; k++) {
        int e = lf_add(&s->lib, E_I, lf_add(&s->lib, as[k], -1, -1, -1), -1, -1);
        int q = lf_add(&s->lib, Q_EQ, lf_add(&s->lib, E_X, -1, -1, -1), e, -1);
        n = scalar_add(s, of, list, n, lf_add(&s->lib, I_COUNT, q, -1, -1));
    }
    static const uint8_t placed[] = {I_MAX, I_MIN};
    for (size_t k = 0; k < sizeof placed; k++) {
        int v = lf_add(&s->lib, placed[k], -1, -1, -1);
        n = scalar_add(s, of, list, n, lf_add(&s->lib, I_POSOF, v, -1, -1));
    }
    *first_number = n;
    for (int v = 0; v <= 10; v++) n = scalar_add(s, of, list, n, lf_num(&s->lib, v));
    for (int k = 0; k < s->news_n; k++)
        if (s->news[k] > 10) n = scalar_add(s, of, list, n, lf_num(&s->lib, s->news[k]));
    return n;
}

/* Wanted lists of one element each: a scalar, or two joined by an operator. */
static void solve_single(search *s, const scalar *list, int n, int first_number, const column *want,
                         solutions *out)
{
    int64_t w[LF_DEMOS];
    const int nd = s->nd;
    uint32_t all = (uint32_t)((1u << nd) - 1);
    for (int d = 0; d < nd; d++) {
        if (want->len[d] != 1) return;
        w[d] = s->pool[want->off[d]];
    }
    for (int a = 0; a < n; a++) {
        if (list[a].defined != all) continue;
        if (!memcmp(list[a].v, w, (size_t)nd * sizeof w[0])) {
            int step = lf_add(&s->lib, S_RETURN, list[a].node, -1, -1);
            lf_solution_add(out, pipe_of(s, step), (double)list[a].cost + 0.6);
        }
        for (int b = 0; b < n; b++) {
            if (list[b].defined != all || (a >= first_number && b >= first_number)) continue;
            for (int op = I_ADD; op <= I_MOD; op++) {
                bool same = !((op == I_ADD || op == I_MUL) && b < a);
                for (int d = 0; d < nd && same; d++) {
                    int64_t v;
                    same = lf_arithmetic(op - I_ADD + E_ADD, list[a].v[d], list[b].v[d], &v) &&
                           v == w[d];
                }
                if (!same) continue;
                int node = lf_add(&s->lib, op, list[a].node, list[b].node, -1);
                int step = lf_add(&s->lib, S_RETURN, node, -1, -1);
                lf_solution_add(out, pipe_of(s, step), lf_cost(&s->lib, step));
            }
        }
    }
}

/* Wanted lists all of the same short length: one scalar per place. */
static void solve_tuple(search *s, const scalar *list, int n, int first_number, const column *want,
                        solutions *out)
{
    int places = want->len[0];
    if (places < 2 || places > 8) return;
    for (int d = 0; d < s->nd; d++)
        if (want->len[d] != places) return;
    int pipe = -1;
    double cost = 0;
    for (int k = places - 1; k >= 0; k--) {
        column one = *want;
        solutions best = {0};
        for (int d = 0; d < s->nd; d++) {
            one.off[d] += k;
            one.len[d] = 1;
        }
        solve_single(s, list, n, first_number, &one, &best);
        if (!best.n) return;
        cost += best.item[0].cost + (pipe < 0 ? 0.0 : 1.0);
        pipe = pipe < 0 ? best.item[0].root
                        : pipe_of(s, lf_add(&s->lib, S_JOIN, best.item[0].root, pipe, -1));
    }
    lf_solution_add(out, pipe, cost);
}

/* The scalars that, returned as one-element lists, are want. */
static int scalar_of(const search *s, const solution *found)
{
    return s->lib.a[s->lib.a[found->root].arg[0]].arg[0];
}

/* Is b, at every demonstration, want with element `at` (from the end when negative) replaced
 * (grown 0) or taken out (grown 1)?  value gets those elements. */
static bool edited(const search *s, const column *want, const column *b, int at, int grown,
                   column *value)
{
    *value = *want;
    for (int d = 0; d < s->nd; d++) {
        int n = want->len[d], k = at < 0 ? n + at : at;
        if (n != b->len[d] + grown || k < 0 || k >= n) return false;
        const int32_t *w = s->pool + want->off[d], *l = s->pool + b->off[d];
        if (memcmp(w, l, (size_t)k * sizeof *w) != 0) return false;
        if (memcmp(w + k + 1, l + k + 1 - grown, (size_t)(n - k - 1) * sizeof *w) != 0)
            return false;
        value->off[d] += k;
        value->len[d] = 1;
    }
    return true;
}

/* One element replaced or inserted, its value a scalar of the list before. */
static void solve_edit(search *s, int entry, const column *want, solutions *list)
{
    ints of[LF_DEMOS];
    scalar *sc = NULL;
    int first_number = 0, n = 0;
    const column b = s->bank[entry].c;
    int grown = want->len[0] - b.len[0];
    if (grown != 0 && grown != 1) return;
    for (int at = -2; at < 8; at++) {
        column value;
        if (!edited(s, want, &b, at, grown, &value)) continue;
        for (int d = 0; d < s->nd && !sc; d++) {
            of[d].n = b.len[d];
            memcpy(of[d].v, s->pool + b.off[d], (size_t)b.len[d] * sizeof(int32_t));
        }
        if (!sc) {
            sc = rd_new(scalar, SCALARS);
            n = scalar_list(s, of, sc, &first_number);
        }
        solutions found = {0};
        solve_single(s, sc, n, first_number, &value, &found);
        for (int k = 0; k < found.n && k < 4; k++) {
            int v = scalar_of(s, &found.item[k]), place = lf_num(&s->lib, at + 1);
            if (at < 0) {
                place = lf_add(&s->lib, I_LEN, -1, -1, -1);
                int back = -1 - at - grown; /* the list before may be shorter */
                if (back < 0) continue;     /* at the end: the bank's business */
                if (back) place = lf_add(&s->lib, I_SUB, place, lf_num(&s->lib, back), -1);
            }
            int step = grown ? lf_add(&s->lib, S_INS, v, place, -1)
                             : lf_add(&s->lib, S_REPL, place, v, -1);
            int pipe = lf_append(&s->lib, lf_bank_pipe(s, entry), pipe_of(s, step));
            if (s->bank[entry].parent < 0) pipe = pipe_of(s, step);
            lf_solution_add(list, pipe, lf_cost(&s->lib, pipe));
        }
    }
    rd_free(sc);
}

static void solve_scalars(search *s, const column *want, solutions *list)
{
    scalar *sc = rd_new(scalar, SCALARS);
    int first_number, n = scalar_list(s, s->in, sc, &first_number);
    solve_single(s, sc, n, first_number, want, list);
    solve_tuple(s, sc, n, first_number, want, list);
    rd_free(sc);
}

/* ---------------------------------------------------------------- conditions */

typedef struct branch {
    float cost;
    int32_t entry; /* of the bank, -1 none */
} branch;
typedef struct condition {
    float cost;
    int32_t node;
} condition;

static void condition_add(search *s, condition *best, int op, int a, int b)
{
    int node = lf_add(&s->lib, op, a, b, -1);
    uint32_t m = 0;
    for (int d = 0; d < s->nd; d++) {
        int32_t fuel = 10000;
        lf_env e = lf_env_make(&s->lib, &s->in[d], &fuel);
        bool yes;
        if (!lf_cond(&e, node, &yes)) return;
        if (yes) m |= 1u << d;
    }
    double cost = lf_cost(&s->lib, node);
    if (best[m].node < 0 || cost < (double)best[m].cost) best[m] = (condition){(float)cost, node};
}

/* The cheapest condition per set of demonstrations on which it holds. */
static void conditions(search *s, const scalar *sc, int n, int first_number, condition *best)
{
    for (int a = 0; a < first_number; a++) {
        for (int b = a + 1; b < n; b++)
            for (int op = B_GT; op <= B_NE; op++)
                condition_add(s, best, op, sc[a].node, sc[b].node);
        condition_add(s, best, B_EVEN, sc[a].node, -1);
        condition_add(s, best, B_ODD, sc[a].node, -1);
        /* Thresholds for scalars of larger range. */
        static const int8_t round[] = {15, 20, 25, 30, 40, 50, 60, 70, 80, 90};
        for (size_t k = 0; k < sizeof round; k++) {
            condition_add(s, best, B_GT, sc[a].node, lf_num(&s->lib, round[k]));
            condition_add(s, best, B_LT, sc[a].node, lf_num(&s->lib, round[k]));
        }
    }
    for (int b = first_number; b < n; b++) {
        condition_add(s, best, B_IN, sc[b].node, -1);
        condition_add(s, best, B_NOTIN, sc[b].node, -1);
    }
}

/* Cheapest entry per set of demonstrations that it gets right, then per superset. */
static void branches(const search *s, branch *best)
{
    uint32_t size = 1u << s->nd;
    for (uint32_t m = 0; m < size; m++) best[m] = (branch){0, -1};
    for (int32_t e = 0; e < s->bank_n; e++) {
        branch *b = &best[s->bank[e].hits];
        if (b->entry < 0 || s->bank[e].cost < b->cost) *b = (branch){s->bank[e].cost, e};
    }
    for (int d = 0; d < s->nd; d++)
        for (uint32_t m = 0; m < size; m++) {
            const branch *up = &best[m | 1u << d];
            if (up->entry >= 0 && (best[m].entry < 0 || up->cost < best[m].cost)) best[m] = *up;
        }
}

static void solve_condition(search *s, solutions *list)
{
    if (s->nd > 12) return;
    uint32_t size = 1u << s->nd;
    scalar *sc = rd_new(scalar, SCALARS);
    condition *cond = rd_new(condition, size);
    branch *best = rd_new(branch, size);
    int first_number, n = scalar_list(s, s->in, sc, &first_number);
    for (uint32_t m = 0; m < size; m++) cond[m].node = -1;
    conditions(s, sc, n, first_number, cond);
    branches(s, best);
    for (uint32_t m = 1; m + 1 < size; m++) {
        const branch *yes = &best[m], *no = &best[size - 1 - m];
        if (cond[m].node < 0 || yes->entry < 0 || no->entry < 0) continue;
        double cost = (double)lf_ops[S_IF].cost + cond[m].cost + yes->cost + no->cost + 0.6;
        if (list->n == LF_SOLUTIONS && cost >= list->item[list->n - 1].cost) continue;
        int a = lf_bank_pipe(s, yes->entry), b = lf_bank_pipe(s, no->entry);
        lf_solution_add(list, pipe_of(s, lf_add(&s->lib, S_IF, cond[m].node, a, b)), cost);
    }
    rd_free(best);
    rd_free(cond);
    rd_free(sc);
}

/* ---------------------------------------------------------------- the search */

/* Pipelines that give the wanted column.  depth: how often a part may still be split off. */
static void solve(search *s, const shortlist *base, const column *want, int depth, solutions *list)
{
    int e = lf_bank_find(s, want);
    if (e >= 0) lf_solution_add(list, lf_bank_pipe(s, e), (double)s->bank[e].cost);
    if (e < 0 || depth > 1) solve_elements(s, base, want, depth, list);
    if (depth == 0) return;
    solve_scalars(s, want, list);
    for (int k = 0; k < base->n && k < 60 && depth > 1; k++)
        solve_edit(s, base->entry[k], want, list);
    peel_constants(s, base, want, depth, true, list);
    peel_constants(s, base, want, depth, false, list);
    if (depth > 1 || !list->n) {
        peel(s, base, want, depth, true, list);
        peel(s, base, want, depth, false, list);
    }
    if (depth > 1) solve_order(s, want, list);
    if (depth > 1) solve_interleaved(s, base, want, list);
}

static bool search_begin(search *s, const rd_task *t, const rd_search_opts *opts)
{
    s->t = t;
    s->n = t->n_demos + t->n_queries;
    s->nd = (int)(t->n_demos < LF_DEMOS ? t->n_demos : LF_DEMOS);
    s->in = rd_new(ints, 2 * s->n);
    s->out = s->in + s->n;
    for (int64_t k = 0; k < s->n; k++) {
        if (!ints_read(t->examples[k].input, &s->in[k])) return false;
        if (k < t->n_demos && !ints_read(t->examples[k].output, &s->out[k])) return false;
        if (s->in[k].n > LF_MAX_LEN || (k < t->n_demos && s->out[k].n > LF_MAX_LEN)) return false;
    }
    s->set = candidate_set_create(RD_LIST_FUNCTION, t, opts);
    return s->nd > 0;
}

static void search_end(search *s, rd_candidates *cands)
{
    if (s->set) candidate_set_finish(&s->set, cands);
    for (int k = 0; k < s->cells_n; k++) lf_cells_free(s->cells[k]);
    rd_free(s->in);
    rd_free(s->lib.a);
    rd_free(s->pool);
    rd_free(s->bank);
    rd_free(s->slots);
    rd_free(s->steps);
}

/* Neighbours of the right rules: a search meets few rules that miss only one or two demonstrations.
 */
static void offer_mutants(search *s, const solutions *right)
{
    enum { ORIGINS = 4, EACH = 12 };
    for (int k = 0; k < right->n && k < ORIGINS; k++) {
        if (lf_size(&s->lib, right->item[k].root) > LF_MAX_NODES) continue;
        rd_rule *r = lf_rule_make(&s->lib, right->item[k].root);
        rd_buf text = {0};
        lf_print(r, 0, &text);
        rd_rng rng = rd_rng_make(rd_hash_str(text.data, 0), "listfn search mutants", 0, 0);
        for (int i = 0; i < EACH; i++) {
            rd_rule *m = lf_mutate(r, s->t, &rng);
            if (m) offer_rule(s, m);
        }
        rd_buf_free(&text);
        lf_rule_free(r);
    }
}

int lf_search(const rd_task *t, const rd_search_opts *opts, rd_candidates *cands)
{
    search s = {0};
    int rc = RD_OK;
    *cands = (rd_candidates){0};
    if (!search_begin(&s, t, opts)) goto done; /* not lists of this family: nothing to find */
    s.target = lf_column_of(&s, s.out);
    lf_templates(&s);
    lf_bank_build(&s);
    solutions list = {0};
    shortlist base = cheapest(&s, 700);
    solve(&s, &base, &s.target, 2, &list);
    solve_condition(&s, &list);
    for (int k = 0; k < list.n; k++) lf_offer(&s, list.item[k].root);
    offer_bank(&s);
    if (opts->max_partial > 0) offer_mutants(&s, &list);
    rd_free(base.entry);
done:
    search_end(&s, cands);
    return rc;
}
