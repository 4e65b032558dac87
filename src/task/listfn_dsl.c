/* listfn_dsl.c: programs of the List Function language and their interpreter.
 *
 * Semantics fixed here: positions count from 1; taking and dropping beyond the end is lenient;
 * replacing or deleting beyond the end leaves the list; swapping beyond it is undefined; a scalar
 * that does not exist (the first of nothing) gives the empty list when it is the whole result and
 * leaves the list alone in an edit; division, mean and remainder floor.  Lists hold at most
 * LF_MAX_LEN elements of |v| < 2^31 and a run takes at most FUEL element operations; beyond:
 * undefined. */
#include "listfn.h"

#include <string.h>

enum { FUEL = 10000 };
static const int64_t VALUE_LIMIT = (int64_t)1 << 31;

/* ---------------------------------------------------------------- programs */

int lf_add(lf_prog *p, int op, int a, int b, int c)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 16;
        rd_resize(p->a, p->cap);
    }
    p->a[p->n] = (lf_node){.op = (uint8_t)op, .arg = {a, b, c}};
    return p->n++;
}

int lf_num(lf_prog *p, int v)
{
    int n = lf_add(p, I_NUM, -1, -1, -1);
    p->a[n].v = v;
    return n;
}

int lf_copy(lf_prog *dst, const lf_prog *src, int node)
{
    if (node < 0) return -1;
    lf_node from = src->a[node]; /* by value: dst may be src and move */
    int to = lf_add(dst, from.op, -1, -1, -1);
    dst->a[to].v = from.v;
    for (int k = 0; k < LF_ARGS; k++) {
        int arg = lf_copy(dst, src, from.arg[k]);
        dst->a[to].arg[k] = arg;
    }
    return to;
}

int lf_append(lf_prog *p, int a, int b)
{
    int last = a;
    while (p->a[last].arg[1] >= 0) last = p->a[last].arg[1];
    p->a[last].arg[1] = b;
    return a;
}

rd_rule *lf_rule_make(const lf_prog *p, int root)
{
    rd_rule *r = rd_new(rd_rule, 1);
    r->p.cap = lf_size(p, root);
    r->p.a = rd_new(lf_node, r->p.cap);
    r->root = lf_copy(&r->p, p, root);
    return r;
}

void lf_rule_free(rd_rule *r)
{
    if (!r) return;
    rd_free(r->p.a);
    rd_free(r);
}

bool lf_same(const lf_prog *p, int a, const lf_prog *q, int b)
{
    if (a < 0 || b < 0) return a < 0 && b < 0;
    const lf_node *x = &p->a[a], *y = &q->a[b];
    if (x->op != y->op || x->v != y->v) return false;
    for (int k = 0; k < LF_ARGS; k++)
        if (!lf_same(p, x->arg[k], q, y->arg[k])) return false;
    return true;
}

/* Small numbers are more probable than large ones; 0 … 2 are the commonest. */
static double number_cost(int v)
{
    int m = v < 0 ? -v : v;
    return 0.9 + (m <= 2 ? 0.0 : m <= 10 ? 0.1 : 0.3) + (v < 0 ? 0.5 : 0.0);
}

/* Scalars that count rather than take a value from the list. */
static bool is_size(int op)
{
    return op == I_LEN || op == I_NDIST || op == I_COUNT || op == I_POSOF;
}

/* Comparing two elements is more natural than a threshold, and both more than comparing an element
 * with a count. */
static double condition_weight(const lf_prog *p, const lf_node *x)
{
    int a = p->a[x->arg[0]].op, b = p->a[x->arg[1]].op;
    if (a == I_NUM || b == I_NUM) return 0.2;
    return is_size(a) != is_size(b) ? 0.5 : 0.0;
}

double lf_cost(const lf_prog *p, int node)
{
    if (node < 0) return 0;
    const lf_node *x = &p->a[node];
    double cost = x->op == I_NUM ? number_cost(x->v) : (double)lf_ops[x->op].cost;
    for (int k = 0; k < LF_ARGS; k++) cost += lf_cost(p, x->arg[k]);
    if (x->op >= B_GT && x->op <= B_NE) cost += condition_weight(p, x);
    return cost;
}

int lf_size(const lf_prog *p, int node)
{
    if (node < 0) return 0;
    int n = 1;
    for (int k = 0; k < LF_ARGS; k++) n += lf_size(p, p->a[node].arg[k]);
    return n;
}

int lf_steps(const lf_prog *p, int node)
{
    if (node < 0) return 0;
    int n = lf_ops[p->a[node].op].type == T_S;
    for (int k = 0; k < LF_ARGS; k++) n += lf_steps(p, p->a[node].arg[k]);
    return n;
}

/* ---------------------------------------------------------------- scalars and elements */

lf_env lf_env_make(const lf_prog *p, const ints *l, int32_t *fuel)
{
    return (lf_env){.p = p, .l = l, .fuel = fuel};
}

static void statistics(lf_env *e)
{
    if (e->have) return;
    const ints *l = e->l;
    e->have = 1;
    e->sum = 0;
    e->max = e->min = l->n ? l->v[0] : 0;
    for (int i = 0; i < l->n; i++) {
        e->sum += l->v[i];
        if (l->v[i] > e->max) e->max = l->v[i];
        if (l->v[i] < e->min) e->min = l->v[i];
    }
}

static bool in_range(int64_t v)
{
    return v < VALUE_LIMIT && v > -VALUE_LIMIT;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q * b != a && (a < 0) != (b < 0) ? q - 1 : q;
}

static int64_t floor_mod(int64_t a, int64_t b)
{
    return a - floor_div(a, b) * b;
}

static int copies(const ints *l, int end, int64_t v)
{
    int n = 0;
    for (int i = 0; i < end; i++) n += l->v[i] == v;
    return n;
}

/* a op b for the operators that scalars and element expressions share, by the element's name. */
bool lf_arithmetic(int op, int64_t a, int64_t b, int64_t *out)
{
    switch (op) {
    case E_ADD: *out = a + b; break;
    case E_SUB: *out = a - b; break;
    case E_MUL: *out = a * b; break;
    case E_DIV:
        if (b == 0) return false;
        *out = floor_div(a, b);
        break;
    case E_MOD:
        if (b == 0) return false;
        *out = floor_mod(a, b);
        break;
    case E_MIN: *out = a < b ? a : b; break;
    case E_MAX: *out = a > b ? a : b; break;
    case E_ABS: *out = a > b ? a - b : b - a; break;
    default: return false;
    }
    return in_range(*out);
}

static bool product(const ints *l, int64_t *out)
{
    int64_t v = 1;
    for (int i = 0; i < l->n; i++) {
        v *= l->v[i];
        if (!in_range(v)) return false;
    }
    *out = v;
    return true;
}

static bool position_of(const ints *l, int64_t v, int64_t *out)
{
    for (int i = 0; i < l->n; i++)
        if (l->v[i] == v) {
            *out = i + 1;
            return true;
        }
    return false;
}

static bool scalar_of_scalars(lf_env *e, const lf_node *x, int64_t *out)
{
    int64_t a, b;
    if (!lf_scalar(e, x->arg[0], &a)) return false;
    switch (x->op) {
    case I_KTH:
        if (a < 1 || a > e->l->n) return false;
        *out = e->l->v[a - 1];
        return true;
    case I_POSOF: return position_of(e->l, a, out);
    default: break;
    }
    if (!lf_scalar(e, x->arg[1], &b)) return false;
    return lf_arithmetic(x->op - I_ADD + E_ADD, a, b, out);
}

bool lf_scalar(lf_env *e, int node, int64_t *out)
{
    const lf_node *x = &e->p->a[node];
    const ints *l = e->l;
    switch (x->op) {
    case I_NUM: *out = x->v; return true;
    case I_LEN: *out = l->n; return true;
    case I_SUM:
        statistics(e);
        *out = e->sum;
        return in_range(e->sum);
    case I_PROD: return product(l, out);
    case I_NDIST:
        *out = 0;
        for (int i = 0; i < l->n; i++) *out += copies(l, i, l->v[i]) == 0;
        return true;
    case I_COUNT:
        *out = 0;
        for (int i = 0; i < l->n; i++) *out += lf_pred(e, x->arg[0], i);
        return true;
    case I_FIRST:
    case I_LAST:
    case I_MAX:
    case I_MIN:
    case I_MEAN:
        if (!l->n) return false;
        statistics(e);
        *out = x->op == I_FIRST  ? l->v[0]
               : x->op == I_LAST ? l->v[l->n - 1]
               : x->op == I_MAX  ? e->max
               : x->op == I_MIN  ? e->min
                                 : floor_div(e->sum, l->n);
        return true;
    default: return scalar_of_scalars(e, x, out);
    }
}

static int64_t digit_sum(int64_t v)
{
    int64_t s = 0;
    for (v = v < 0 ? -v : v; v; v /= 10) s += v % 10;
    return s;
}

bool lf_elem(lf_env *e, int node, int i, int64_t *out)
{
    const lf_node *x = &e->p->a[node];
    const ints *l = e->l;
    int64_t a, b;
    if (--*e->fuel < 0) return false;
    switch (x->op) {
    case E_X: *out = l->v[i]; return true;
    case E_POS: *out = i + 1; return true;
    case E_NEXT:
        if (i + 1 >= l->n) return false;
        *out = l->v[i + 1];
        return true;
    case E_PREV:
        if (i == 0) return false;
        *out = l->v[i - 1];
        return true;
    case E_OPP: *out = l->v[l->n - 1 - i]; return true;
    case E_CNT: *out = copies(l, l->n, l->v[i]); return true;
    case E_EARLIER: *out = copies(l, i, l->v[i]); return true;
    case E_SMALLER:
        *out = 0;
        for (int k = 0; k < l->n; k++) *out += l->v[k] < l->v[i];
        return true;
    case E_I: return lf_scalar(e, x->arg[0], out);
    case E_IF: return lf_elem(e, x->arg[lf_pred(e, x->arg[0], i) ? 1 : 2], i, out);
    default: break;
    }
    if (!lf_elem(e, x->arg[0], i, &a)) return false;
    switch (x->op) {
    case E_TENS: *out = floor_mod(floor_div(a, 10), 10); return true;
    case E_UNITS: *out = floor_mod(a, 10); return true;
    case E_DIGSUM: *out = digit_sum(a); return true;
    default: return lf_elem(e, x->arg[1], i, &b) && lf_arithmetic(x->op, a, b, out);
    }
}

static bool compare(int relation, int64_t a, int64_t b)
{
    switch (relation) {
    case Q_GT: return a > b;
    case Q_LT: return a < b;
    case Q_EQ: return a == b;
    case Q_NE: return a != b;
    case Q_GE: return a >= b;
    default: return a <= b;
    }
}

bool lf_pred(lf_env *e, int node, int i)
{
    const lf_node *x = &e->p->a[node];
    int64_t a, b;
    if (x->op == Q_AND) return lf_pred(e, x->arg[0], i) && lf_pred(e, x->arg[1], i);
    if (x->op == Q_OR) return lf_pred(e, x->arg[0], i) || lf_pred(e, x->arg[1], i);
    if (!lf_elem(e, x->arg[0], i, &a)) return false;
    if (x->op == Q_EVEN) return floor_mod(a, 2) == 0;
    if (x->op == Q_ODD) return floor_mod(a, 2) == 1;
    if (x->op == Q_MULT) return lf_scalar(e, x->arg[1], &b) && b != 0 && floor_mod(a, b) == 0;
    return lf_elem(e, x->arg[1], i, &b) && compare(x->op, a, b);
}

bool lf_cond(lf_env *e, int node, bool *out)
{
    const lf_node *x = &e->p->a[node];
    int64_t a, b;
    if (!lf_scalar(e, x->arg[0], &a)) return false;
    switch (x->op) {
    case B_EVEN: *out = floor_mod(a, 2) == 0; return true;
    case B_ODD: *out = floor_mod(a, 2) == 1; return true;
    case B_IN: *out = copies(e->l, e->l->n, a) > 0; return true;
    case B_NOTIN: *out = copies(e->l, e->l->n, a) == 0; return true;
    default: break;
    }
    if (!lf_scalar(e, x->arg[1], &b)) return false;
    *out = compare(x->op - B_GT + Q_GT, a, b);
    return true;
}

/* ---------------------------------------------------------------- steps */

static bool put(ints *l, int64_t v)
{
    if (l->n >= LF_MAX_LEN || !in_range(v)) return false;
    l->v[l->n++] = (int32_t)v;
    return true;
}

/* Elements a … b (from 1, clipped) of in, appended to out. */
static bool put_slice(ints *out, const ints *in, int64_t a, int64_t b)
{
    if (a < 1) a = 1;
    if (b > in->n) b = in->n;
    if (a > b) return true;
    if (out->n + (b - a + 1) > LF_MAX_LEN) return false;
    memcpy(out->v + out->n, in->v + a - 1, (size_t)(b - a + 1) * sizeof(in->v[0]));
    out->n += (int32_t)(b - a + 1);
    return true;
}

/* Edits by position; s: the scalar arguments. */
static bool positional(int op, const ints *l, const int64_t *s, ints *out)
{
    int64_t n = l->n, k = s[0];
    switch (op) {
    case S_TAKE: return put_slice(out, l, 1, k);
    case S_TAKEL: return put_slice(out, l, n - k + 1, n);
    case S_DROP: return put_slice(out, l, k < 0 ? 1 : k + 1, n);
    case S_DROPL: return put_slice(out, l, 1, n - (k < 0 ? 0 : k));
    case S_SLICE: return put_slice(out, l, s[0], s[1]);
    case S_DEL: return put_slice(out, l, 1, k - 1) && put_slice(out, l, k < 1 ? 1 : k + 1, n);
    case S_DELR:
        if (s[1] < s[0]) return put_slice(out, l, 1, n);
        return put_slice(out, l, 1, s[0] - 1) && put_slice(out, l, s[1] + 1, n);
    case S_INS:
        if (s[1] < 1 || s[1] > n + 1) return put_slice(out, l, 1, n);
        return put_slice(out, l, 1, s[1] - 1) && put(out, k) && put_slice(out, l, s[1], n);
    case S_REPL:
        if (!in_range(s[1]) || !put_slice(out, l, 1, n)) return false;
        if (k >= 1 && k <= n) out->v[k - 1] = (int32_t)s[1];
        return true;
    case S_SWAP:
        if (k < 1 || k > n || s[1] < 1 || s[1] > n) return false;
        if (!put_slice(out, l, 1, n)) return false;
        out->v[k - 1] = l->v[s[1] - 1];
        out->v[s[1] - 1] = l->v[k - 1];
        return true;
    case S_FRONT: return put(out, k) && put_slice(out, l, 1, n);
    case S_END: return put_slice(out, l, 1, n) && put(out, k);
    default: return false;
    }
}

static bool scalar_step(int op, const ints *l, const int64_t *s, ints *out)
{
    switch (op) {
    case S_REMV:
    case S_REM1:
        for (int i = 0, gone = 0; i < l->n; i++) {
            if (l->v[i] == s[0] && (op == S_REMV || !gone))
                gone = 1;
            else
                put(out, l->v[i]);
        }
        return true;
    case S_ADDALL:
        for (int i = 0; i < l->n; i++)
            if (!put(out, l->v[i] + s[0])) return false;
        return true;
    case S_REPV:
        for (int64_t i = 0; i < s[1]; i++)
            if (!put(out, s[0])) return false;
        return true;
    case S_RANGE: {
        if (s[2] == 0) return false;
        for (int64_t v = s[0]; s[2] > 0 ? v <= s[1] : v >= s[1]; v += s[2])
            if (!put(out, v)) return false;
        return true;
    }
    case S_AFTER: {
        int from = 0;
        for (int i = 0; i < l->n; i++)
            if (l->v[i] == s[0]) from = i + 1;
        return put_slice(out, l, from + 1, l->n);
    }
    case S_REVPART:
        for (int i = 0, begin = 0; i <= l->n; i++) {
            if (i < l->n && l->v[i] != s[0]) continue;
            for (int k = i - 1; k >= begin; k--) put(out, l->v[k]);
            begin = i + 1;
        }
        return true;
    default: return positional(op, l, s, out);
    }
}

/* Stable insertion sort of the elements by key; falling: largest key first. */
static void sort_by(const ints *l, const int64_t *key, bool falling, ints *out)
{
    int order[LF_MAX_LEN];
    for (int i = 0; i < l->n; i++) {
        int k = i;
        while (k > 0 && (falling ? key[order[k - 1]] < key[i] : key[order[k - 1]] > key[i])) {
            order[k] = order[k - 1];
            k--;
        }
        order[k] = i;
    }
    for (int i = 0; i < l->n; i++) put(out, l->v[order[i]]);
}

static bool order_step(lf_env *e, const lf_node *x, ints *out)
{
    int64_t key[LF_MAX_LEN];
    const ints *l = e->l;
    for (int i = 0; i < l->n; i++) {
        key[i] = l->v[i];
        if (x->op != S_SORT && x->op != S_SORTD && !lf_elem(e, x->arg[0], i, &key[i])) return false;
    }
    sort_by(l, key, x->op == S_SORTD || x->op == S_SORTBYD, out);
    return true;
}

/* Steps that walk over the elements with a predicate or an expression. */
static bool element_step(lf_env *e, const lf_node *x, ints *out)
{
    const ints *l = e->l;
    bool started = false;
    for (int i = 0; i < l->n; i++) {
        int64_t v = 0, w = 0;
        bool keep = lf_ops[x->op].args[0] == 'Q' && lf_pred(e, x->arg[0], i);
        switch (x->op) {
        case S_FILTER:
            if (keep) put(out, l->v[i]);
            break;
        case S_OMIT:
            if (!keep) put(out, l->v[i]);
            break;
        case S_POSNS:
            if (keep) put(out, i + 1);
            break;
        case S_TAKEW:
            if (!keep) return true;
            put(out, l->v[i]);
            break;
        case S_DROPW:
            started = started || !keep;
            if (started) put(out, l->v[i]);
            break;
        case S_MAP:
            if (!lf_elem(e, x->arg[0], i, &v) || !put(out, v)) return false;
            break;
        case S_FLAT2:
            if (!lf_elem(e, x->arg[0], i, &v) || !lf_elem(e, x->arg[1], i, &w)) return false;
            if (!put(out, v) || !put(out, w)) return false;
            break;
        case S_REPEACH:
        case S_UPTO:
            if (!lf_elem(e, x->arg[0], i, &w)) return false;
            for (int64_t k = 1; k <= w; k++)
                if (!put(out, x->op == S_UPTO ? k : l->v[i])) return false;
            break;
        default: return false;
        }
    }
    return true;
}

/* Running values and pairs of neighbours. */
static bool scan_step(int op, const ints *l, ints *out)
{
    int64_t acc = 0;
    for (int i = 0; i < l->n; i++) {
        int64_t v = l->v[i], next = i + 1 < l->n ? l->v[i + 1] : 0;
        bool pairs = op == S_DIFF || op == S_ADIFF || op == S_NSUM || op == S_NPROD;
        if (pairs && i + 1 == l->n) break;
        switch (op) {
        case S_RUNSUM: acc += v; break;
        case S_RUNPROD: acc = i ? acc * v : v; break;
        case S_RUNMAX: acc = i && acc > v ? acc : v; break;
        case S_RUNMIN: acc = i && acc < v ? acc : v; break;
        case S_DIFF: acc = next - v; break;
        case S_ADIFF: acc = next > v ? next - v : v - next; break;
        case S_NSUM: acc = v + next; break;
        case S_NPROD: acc = v * next; break;
        default: return false;
        }
        if (!put(out, acc)) return false;
    }
    return true;
}

static bool fill_in(const ints *l, ints *out)
{
    for (int i = 0; i < l->n; i++) {
        if (i == 0) put(out, l->v[0]);
        for (int64_t v = l->v[i]; i + 1 < l->n && v != l->v[i + 1];) {
            v += v < l->v[i + 1] ? 1 : -1;
            if (!put(out, v)) return false;
        }
    }
    return true;
}

/* Distinct values, their counts, repeated copies. */
static bool group_step(int op, const ints *l, ints *out)
{
    for (int i = 0; i < l->n; i++) {
        int before = copies(l, i, l->v[i]), all = copies(l, l->n, l->v[i]);
        bool last = before + 1 == all;
        switch (op) {
        case S_UNIQ:
            if (!before) put(out, l->v[i]);
            break;
        case S_UNIQL:
            if (last) put(out, l->v[i]);
            break;
        case S_EXTRA:
            for (int k = 1; !before && k < all; k++) put(out, l->v[i]);
            break;
        case S_COUNTS:
            if (!before) put(out, all);
            break;
        case S_PAIRS:
            if (!before && (!put(out, l->v[i]) || !put(out, all))) return false;
            break;
        default: return false;
        }
    }
    return true;
}

/* Steps without arguments. */
static bool plain_step(lf_env *e, const lf_node *x, ints *out)
{
    const ints *l = e->l;
    int n = l->n;
    switch (x->op) {
    case S_LEAVE: return put_slice(out, l, 1, n);
    case S_TRIM: return put_slice(out, l, 2, n - 1);
    case S_SWAPE: {
        if (!put_slice(out, l, 1, n)) return false;
        if (n) {
            out->v[0] = l->v[n - 1];
            out->v[n - 1] = l->v[0];
        }
        return true;
    }
    case S_ROTL: return put_slice(out, l, 2, n) && put_slice(out, l, 1, n ? 1 : 0);
    case S_ROTR: return put_slice(out, l, n, n) && put_slice(out, l, 1, n - 1);
    case S_REV:
        for (int i = n - 1; i >= 0; i--) put(out, l->v[i]);
        return true;
    case S_REMEXT:
        statistics(e);
        for (int i = 0; i < n; i++)
            if (l->v[i] != e->max && l->v[i] != e->min) put(out, l->v[i]);
        return true;
    case S_FILLIN: return fill_in(l, out);
    case S_TALLY:
        statistics(e);
        for (int64_t v = 1; n && v <= e->max; v++)
            if (!put(out, copies(l, n, v))) return false;
        return true;
    case S_ZIGZAG:
        for (int i = 0; i < n; i++) put(out, l->v[i % 2 ? n - 1 - i / 2 : i / 2]);
        return true;
    case S_FOLD:
        for (int i = 1; i < n; i += 2) put(out, l->v[i]);
        for (int i = (n - 1) / 2 * 2; n && i >= 0; i -= 2) put(out, l->v[i]);
        return true;
    case S_UNIQ:
    case S_UNIQL:
    case S_EXTRA:
    case S_COUNTS:
    case S_PAIRS: return group_step(x->op, l, out);
    case S_SORT:
    case S_SORTD: return order_step(e, x, out);
    default: return scan_step(x->op, l, out);
    }
}

static bool pipe_run(const lf_prog *p, int root, const ints *in, ints *out, int32_t *fuel);

static bool combine_step(lf_env *e, const lf_node *x, ints *out)
{
    ints a, b;
    if (x->op == S_IF) {
        bool yes;
        return lf_cond(e, x->arg[0], &yes) &&
               pipe_run(e->p, x->arg[yes ? 1 : 2], e->l, out, e->fuel);
    }
    RD_ASSERT(x->arg[0] >= 0 && x->arg[1] >= 0); /* no pipe is empty */
    if (!pipe_run(e->p, x->arg[0], e->l, &a, e->fuel)) return false;
    if (!pipe_run(e->p, x->arg[1], e->l, &b, e->fuel)) return false;
    if (x->op == S_JOIN) return put_slice(out, &a, 1, a.n) && put_slice(out, &b, 1, b.n);
    for (int i = 0; i < a.n || i < b.n; i++) {
        if (i < a.n && !put(out, a.v[i])) return false;
        if (i < b.n && !put(out, b.v[i])) return false;
    }
    return true;
}

bool lf_step(const lf_prog *p, int node, const ints *in, ints *out, int32_t *fuel)
{
    const lf_node *x = &p->a[node];
    const char *args = lf_ops[x->op].args;
    lf_env e = lf_env_make(p, in, fuel);
    out->n = 0;
    if (in->n > LF_MAX_LEN || (*fuel -= 1 + in->n) < 0) return false;
    switch (args[0]) {
    case '\0': return plain_step(&e, x, out);
    case 'Q': return element_step(&e, x, out);
    case 'E':
        return x->op == S_SORTBY || x->op == S_SORTBYD ? order_step(&e, x, out)
                                                       : element_step(&e, x, out);
    case 'C':
        for (int c = x->arg[0]; c >= 0; c = p->a[c].arg[0])
            if (!put(out, p->a[c].v)) return false;
        return true;
    case 'P':
    case 'B': return combine_step(&e, x, out);
    default: break;
    }
    int64_t s[LF_ARGS] = {0};
    for (int k = 0; args[k]; k++) {
        if (lf_scalar(&e, x->arg[k], &s[k])) continue;
        if (x->op == S_RETURN) return true; /* nothing to return */
        if (x->op == S_REPV || x->op == S_RANGE) return true;
        return put_slice(out, in, 1, in->n); /* an edit without its argument changes nothing */
    }
    if (x->op == S_RETURN) return put(out, s[0]);
    return scalar_step(x->op, in, s, out);
}

static bool pipe_run(const lf_prog *p, int root, const ints *in, ints *out, int32_t *fuel)
{
    ints other;
    const ints *now = in;
    bool into_out = true;
    for (int s = root; s >= 0; s = p->a[s].arg[1]) {
        ints *to = into_out ? out : &other;
        if (!lf_step(p, p->a[s].arg[0], now, to, fuel)) return false;
        now = to;
        into_out = !into_out;
    }
    if (now == &other) {
        out->n = other.n;
        memcpy(out->v, other.v, (size_t)other.n * sizeof(other.v[0]));
    }
    return true;
}

bool lf_run(const lf_prog *p, int root, const ints *in, ints *out)
{
    int32_t fuel = FUEL;
    return pipe_run(p, root, in, out, &fuel);
}
