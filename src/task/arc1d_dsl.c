/* arc1d_dsl.c: what the rules of 1D-ARC mean: objects, selectors, actions, gaps, tables, cost. */
#include "arc1d.h"

#include <string.h>

arc_arg arc_selector_arg(int sel)
{
    if (sel == SEL_LENGTH || sel == SEL_LONGER) return ARG_COUNT;
    return sel == SEL_COLOUR ? ARG_COLOUR : ARG_NONE;
}

arc_arg arc_action_arg(int act)
{
    switch (act) {
    case ACT_PAINT:
    case ACT_ENDS:
    case ACT_INSIDE: return ARG_COLOUR;
    case ACT_MOVE_RIGHT:
    case ACT_MOVE_LEFT:
    case ACT_EXTEND_RIGHT:
    case ACT_EXTEND_LEFT:
    case ACT_TRIM_RIGHT:
    case ACT_TRIM_LEFT:
    case ACT_COPY_RIGHT:
    case ACT_COPY_LEFT:
    case ACT_TOWARD: return ARG_COUNT;
    default: return ARG_NONE;
    }
}

int arc_feature_keys(int feature)
{
    return feature == BY_PARITY || feature == BY_LONGEST || feature == BY_SHORTEST ? 2 : ARC_KEYS;
}

arc_part arc_edit(int sel, int sel_arg, int act, int act_arg)
{
    return (arc_part){.form = FORM_EDIT,
                      .unit = UNIT_OBJECT,
                      .sel = (uint8_t)sel,
                      .sel_arg = (uint8_t)sel_arg,
                      .act = (uint8_t)act,
                      .act_arg = (uint8_t)act_arg};
}

bool arc_same(const arc_rule *a, const arc_rule *b)
{
    return a->n == b->n && memcmp(a->part, b->part, a->n * sizeof(arc_part)) == 0;
}

/* ---------------------------------------------------------------- lists of cells */

bool strip_read(const char *text, strip *s)
{
    ints l;
    if (!ints_read(text, &l)) return false;
    s->n = l.n;
    for (int i = 0; i < l.n; i++) {
        if (l.v[i] < 0 || l.v[i] > 9) return false;
        s->v[i] = (uint8_t)l.v[i];
    }
    return true;
}

/* Written directly: the generator and the search print many lists and cells are single digits. */
void strip_print(const strip *s, rd_buf *out)
{
    char text[3 * ARC_CELLS + 2];
    size_t k = 0;
    text[k++] = '[';
    for (int i = 0; i < s->n; i++) {
        if (i > 0) {
            text[k++] = ',';
            text[k++] = ' ';
        }
        text[k++] = (char)('0' + s->v[i]);
    }
    text[k++] = ']';
    rd_buf_add(out, text, k);
}

bool strip_same(const strip *a, const strip *b)
{
    return a->n == b->n && memcmp(a->v, b->v, (size_t)a->n) == 0;
}

/* ---------------------------------------------------------------- objects */

int arc_segment(const strip *s, int unit, span o[ARC_CELLS])
{
    int n = 0;
    for (int i = 0; i < s->n;) {
        if (s->v[i] == 0) {
            i++;
            continue;
        }
        int end = i + 1;
        while (end < s->n && s->v[end] != 0 && (unit == UNIT_BLOCK || s->v[end] == s->v[i])) end++;
        o[n++] = (span){(uint8_t)i, (uint8_t)(end - i)};
        i = end;
    }
    return n;
}

static void extremes(const span *o, int n, int *longest, int *shortest)
{
    *longest = 0;
    *shortest = ARC_CELLS;
    for (int i = 0; i < n; i++) {
        if (o[i].len > *longest) *longest = o[i].len;
        if (o[i].len < *shortest) *shortest = o[i].len;
    }
}

static bool all_of_colour(const strip *s, span o, int colour)
{
    for (int i = 0; i < o.len; i++) {
        if (s->v[o.at + i] != colour) return false;
    }
    return true;
}

uint64_t arc_select(const arc_part *p, const strip *s, const span *o, int n)
{
    int longest, shortest;
    uint64_t mask = 0;
    extremes(o, n, &longest, &shortest);
    for (int i = 0; i < n && i < 64; i++) {
        int len = o[i].len;
        bool in = false;
        switch (p->sel) {
        case SEL_EVERY: in = true; break;
        case SEL_LONGEST: in = len == longest; break;
        case SEL_SHORTEST: in = len == shortest; break;
        case SEL_NOT_LONGEST: in = len != longest; break;
        case SEL_NOT_SHORTEST: in = len != shortest; break;
        case SEL_ODD: in = len % 2 == 1; break;
        case SEL_EVEN: in = len % 2 == 0; break;
        case SEL_LENGTH: in = len == p->sel_arg; break;
        case SEL_LONGER: in = len > p->sel_arg; break;
        case SEL_FIRST: in = i == 0; break;
        case SEL_LAST: in = i == n - 1; break;
        case SEL_NOT_FIRST: in = i != 0; break;
        case SEL_NOT_LAST: in = i != n - 1; break;
        case SEL_COLOUR: in = all_of_colour(s, o[i], p->sel_arg); break;
        default: break;
        }
        if (in) mask |= UINT64_C(1) << i;
    }
    return mask;
}

int arc_feature(int feature, const strip *s, const span *o, int n, int i)
{
    int longest, shortest, key = 0;
    extremes(o, n, &longest, &shortest);
    switch (feature) {
    case BY_LENGTH: key = o[i].len; break;
    case BY_PARITY: key = o[i].len % 2 == 1 ? 1 : 2; break;
    case BY_LONGEST: key = o[i].len == longest ? 1 : 2; break;
    case BY_SHORTEST: key = o[i].len == shortest ? 1 : 2; break;
    case BY_POSITION: key = i + 1; break;
    case BY_COLOUR: key = all_of_colour(s, o[i], s->v[o[i].at]) ? s->v[o[i].at] : 0; break;
    case BY_RANK:
        key = 1;
        /* One more for every greater length that occurs. */
        for (int len = o[i].len + 1; len <= longest; len++) {
            for (int j = 0; j < n; j++) {
                if (o[j].len == len) {
                    key++;
                    break;
                }
            }
        }
        break;
    default: break;
    }
    return key <= ARC_KEYS ? key : 0;
}

/* ---------------------------------------------------------------- edits */

/* One edit under way: the objects of `in`, the selected ones, and the result so far. */
typedef struct edit {
    const arc_part *p;
    const strip *in;
    strip *out;
    int n;
    uint64_t mask;
    span o[ARC_CELLS];
} edit;

static bool is_selected(const edit *e, int i)
{
    return i < 64 && (e->mask >> i & 1) != 0;
}

static bool put(strip *out, int at, int colour)
{
    if (at < 0 || at >= out->n || out->v[at] != 0) return false;
    out->v[at] = (uint8_t)colour;
    return true;
}

static bool put_run(strip *out, int from, int to, int colour)
{
    for (int at = from; at < to; at++) {
        if (!put(out, at, colour)) return false;
    }
    return true;
}

/* The cells of o as they were, drawn with the first one at `at`. */
static bool put_copy(strip *out, const strip *in, span o, int at)
{
    for (int i = 0; i < o.len; i++) {
        if (!put(out, at + i, in->v[o.at + i])) return false;
    }
    return true;
}

/* Nearest object that is not selected; -1 when there is none. */
static int the_other(const edit *e, int i)
{
    int best = -1, best_gap = 2 * ARC_CELLS;
    for (int j = 0; j < e->n; j++) {
        if (is_selected(e, j)) continue;
        int gap = j > i ? e->o[j].at - (e->o[i].at + e->o[i].len)
                        : e->o[i].at - (e->o[j].at + e->o[j].len);
        if (gap < best_gap || (gap == best_gap && j > i)) {
            best = j;
            best_gap = gap;
        }
    }
    return best;
}

static int majority(const strip *s, span o)
{
    int count[10] = {0}, best = 1;
    for (int i = 0; i < o.len; i++) count[s->v[o.at + i]]++;
    for (int c = 2; c <= 9; c++) {
        if (count[c] > count[best]) best = c;
    }
    return best;
}

/* Edits that stay on the object's own cells. */
static bool edit_cells(edit *e, int i)
{
    span o = e->o[i];
    uint8_t *cell = e->out->v + o.at;
    int arg = e->p->act_arg;
    switch (e->p->act) {
    case ACT_ERASE: memset(cell, 0, o.len); return true;
    case ACT_PAINT: memset(cell, arg, o.len); return true;
    case ACT_MAJORITY: memset(cell, majority(e->in, o), o.len); return true;
    case ACT_HOLLOW:
        if (o.len > 2) memset(cell + 1, 0, (size_t)o.len - 2);
        return true;
    case ACT_INSIDE:
        if (o.len > 2) memset(cell + 1, arg, (size_t)o.len - 2);
        return true;
    case ACT_ENDS: cell[0] = cell[o.len - 1] = (uint8_t)arg; return true;
    case ACT_REVERSE:
        for (int k = 0; k < o.len; k++) cell[k] = e->in->v[o.at + o.len - 1 - k];
        return true;
    case ACT_TRIM_RIGHT:
        if (arg >= o.len) return false;
        memset(cell + o.len - arg, 0, (size_t)arg);
        return true;
    case ACT_TRIM_LEFT:
        if (arg >= o.len) return false;
        memset(cell, 0, (size_t)arg);
        return true;
    default: return false;
    }
}

/* Edits that add cells and leave the object where it is. */
static bool edit_grow(edit *e, int i)
{
    span o = e->o[i];
    strip *out = e->out;
    int arg = e->p->act_arg, end = o.at + o.len, other;
    int left = e->in->v[o.at], right = e->in->v[end - 1];
    switch (e->p->act) {
    case ACT_EXTEND_RIGHT: return put_run(out, end, end + arg, right);
    case ACT_EXTEND_LEFT: return put_run(out, o.at - arg, o.at, left);
    case ACT_DOUBLE: return put_run(out, end, end + o.len, right);
    case ACT_COPY_RIGHT: return put_copy(out, e->in, o, end + arg);
    case ACT_COPY_LEFT: return put_copy(out, e->in, o, o.at - arg - o.len);
    case ACT_STRETCH_RIGHT:
        while (put(out, end, right)) end++;
        return true;
    case ACT_STRETCH_LEFT:
        for (int at = o.at - 1; put(out, at, left); at--) continue;
        return true;
    case ACT_STRETCH_TOUCH:
        if ((other = the_other(e, i)) < 0) return false;
        if (other > i) return put_run(out, end, e->o[other].at, right);
        return put_run(out, e->o[other].at + e->o[other].len, o.at, left);
    default: return false;
    }
}

static bool put_mirrored(edit *e, span o, span pivot)
{
    int sum = 2 * pivot.at + pivot.len - 1;
    for (int k = 0; k < o.len; k++) {
        if (!put(e->out, sum - (o.at + k), e->in->v[o.at + k])) return false;
    }
    return true;
}

static bool put_stamp(edit *e, span o, span pattern)
{
    int at = o.at + (o.len - 1) / 2 - (pattern.len - 1) / 2;
    if (e->p->act == ACT_STAMP) return put_copy(e->out, e->in, pattern, at);
    return put_run(e->out, at, at + pattern.len, e->in->v[o.at]);
}

/* Edits that draw the object elsewhere; all selected objects have been cleared before. */
static bool edit_move(edit *e, int i)
{
    span o = e->o[i];
    int arg = e->p->act_arg, at = o.at, other;
    switch (e->p->act) {
    case ACT_MOVE_RIGHT: return put_copy(e->out, e->in, o, at + arg);
    case ACT_MOVE_LEFT: return put_copy(e->out, e->in, o, at - arg);
    case ACT_SLIDE_LEFT:
        while (at > 0 && e->out->v[at - 1] == 0) at--;
        return put_copy(e->out, e->in, o, at);
    case ACT_SLIDE_RIGHT:
        while (at + o.len < e->out->n && e->out->v[at + o.len] == 0) at++;
        return put_copy(e->out, e->in, o, at);
    default: break;
    }
    if ((other = the_other(e, i)) < 0) return false;
    switch (e->p->act) {
    case ACT_TOWARD: return put_copy(e->out, e->in, o, other > i ? at + arg : at - arg);
    case ACT_TOUCH:
        at = other > i ? e->o[other].at - o.len : e->o[other].at + e->o[other].len;
        return put_copy(e->out, e->in, o, at);
    case ACT_MIRROR: return put_mirrored(e, o, e->o[other]);
    case ACT_STAMP:
    case ACT_STAMP_OWN: return put_stamp(e, o, e->o[other]);
    default: return false;
    }
}

static bool run_edit(const arc_part *p, const strip *in, strip *out)
{
    edit e = {.p = p, .in = in, .out = out};
    bool (*step)(edit *, int) = edit_move;
    e.n = arc_segment(in, p->unit, e.o);
    e.mask = arc_select(p, in, e.o, e.n);
    if (p->act <= ACT_INSIDE || p->act == ACT_TRIM_LEFT || p->act == ACT_TRIM_RIGHT)
        step = edit_cells;
    else if ((p->act >= ACT_EXTEND_RIGHT && p->act <= ACT_COPY_LEFT) ||
             p->act == ACT_STRETCH_LEFT || p->act == ACT_STRETCH_RIGHT ||
             p->act == ACT_STRETCH_TOUCH)
        step = edit_grow;
    if (step == edit_move) {
        for (int i = 0; i < e.n; i++) {
            if (is_selected(&e, i)) memset(out->v + e.o[i].at, 0, e.o[i].len);
        }
    }
    /* Objects that slide right meet those before them, so these go first. */
    bool backwards = p->act == ACT_SLIDE_RIGHT;
    for (int k = 0; k < e.n; k++) {
        int i = backwards ? e.n - 1 - k : k;
        if (is_selected(&e, i) && !step(&e, i)) return false;
    }
    return true;
}

/* ---------------------------------------------------------------- gaps and tables */

static void run_gaps(const arc_part *p, const strip *in, strip *out)
{
    span o[ARC_CELLS], gap[ARC_CELLS];
    int n = arc_segment(in, UNIT_BLOCK, o) - 1, shortest, longest; /* gaps */
    for (int i = 0; i < n; i++) {
        int end = o[i].at + o[i].len;
        gap[i] = (span){(uint8_t)end, (uint8_t)(o[i + 1].at - end)};
    }
    extremes(gap, n, &longest, &shortest);
    for (int i = 0; i < n; i++) {
        int left = in->v[gap[i].at - 1], right = in->v[gap[i].at + gap[i].len];
        bool fill = false;
        switch (p->act) {
        case GAPS_EVERY: fill = true; break;
        case GAPS_EQUAL: fill = left == right; break;
        case GAPS_ODD: fill = i % 2 == 0; break;
        case GAPS_EVEN: fill = i % 2 == 1; break;
        case GAPS_FIRST: fill = i == 0; break;
        case GAPS_SHORTEST: fill = gap[i].len == shortest; break;
        case GAPS_LONGEST: fill = gap[i].len == longest; break;
        default: break;
        }
        if (fill) memset(out->v + gap[i].at, left, gap[i].len);
    }
}

static void run_table(const arc_part *p, const strip *in, strip *out)
{
    span o[ARC_CELLS];
    int n = arc_segment(in, p->unit, o);
    for (int i = 0; i < n; i++) {
        int key = arc_feature(p->act, in, o, n, i);
        if (key > 0 && p->entry[key] != 0) memset(out->v + o[i].at, p->entry[key], o[i].len);
    }
}

bool arc_run_part(const arc_part *p, const strip *in, strip *out)
{
    out->n = in->n;
    memcpy(out->v, in->v, (size_t)in->n);
    if (p->form == FORM_EDIT) return run_edit(p, in, out);
    if (p->form == FORM_GAPS)
        run_gaps(p, in, out);
    else
        run_table(p, in, out);
    return true;
}

bool arc_run(const arc_rule *r, const strip *in, strip *out)
{
    strip a = *in;
    for (int i = 0; i < r->n; i++) {
        if (!arc_run_part(&r->part[i], &a, out)) return false;
        if (i + 1 < r->n) a = *out;
    }
    return true;
}

/* ---------------------------------------------------------------- cost */

/* Description length in rough units of a word.  The order matters where several rules fit the
 * demonstrations of one kind: what depends on the picture (the longest, until it touches) comes
 * before what depends on a constant, and that before what depends on the place in the list. */
static double selector_cost(int sel)
{
    static const double cost[SELECTORS] = {
        [SEL_EVERY] = 0.0,  [SEL_LONGEST] = 1.0, [SEL_LENGTH] = 1.1,       [SEL_SHORTEST] = 1.2,
        [SEL_ODD] = 1.6,    [SEL_EVEN] = 1.6,    [SEL_NOT_LONGEST] = 1.7,  [SEL_FIRST] = 1.75,
        [SEL_LAST] = 1.75,  [SEL_LONGER] = 1.8,  [SEL_NOT_SHORTEST] = 1.9, [SEL_NOT_FIRST] = 2.2,
        [SEL_COLOUR] = 2.5, [SEL_NOT_LAST] = 2.2};
    return cost[sel];
}

static double action_cost(int act, int arg)
{
    switch (act) {
    case ACT_ERASE:
    case ACT_HOLLOW:
    case ACT_REVERSE: return 1.0;
    case ACT_MAJORITY: return 1.3;
    case ACT_PAINT: return 1.5;
    case ACT_TOUCH:
    case ACT_STRETCH_TOUCH: return 1.5;
    case ACT_STAMP: return 1.6;
    case ACT_STAMP_OWN: return 1.8;
    case ACT_MIRROR: return 1.9;
    case ACT_SLIDE_LEFT:
    case ACT_SLIDE_RIGHT: return 2.4;
    case ACT_MOVE_LEFT:
    case ACT_MOVE_RIGHT: return 2.1 + 0.05 * arg;
    case ACT_TOWARD: return 2.4 + 0.05 * arg;
    case ACT_ENDS:
    case ACT_INSIDE:
    case ACT_DOUBLE:
    case ACT_STRETCH_LEFT:
    case ACT_STRETCH_RIGHT: return 2.6;
    default: return 3.0 + 0.05 * arg;
    }
}

static double table_cost(const arc_part *p)
{
    static const double feature[FEATURES] = {
        [BY_PARITY] = 2.0, [BY_LENGTH] = 2.3, [BY_LONGEST] = 2.4, [BY_SHORTEST] = 2.5,
        [BY_COLOUR] = 2.8, [BY_RANK] = 2.9,   [BY_POSITION] = 3.0};
    double cost = feature[p->act];
    for (int k = 1; k <= ARC_KEYS; k++) cost += p->entry[k] != 0 ? 0.7 : 0.0;
    return cost;
}

double arc_cost(const arc_rule *r)
{
    static const double gaps[GAP_SETS] = {
        [GAPS_EQUAL] = 1.4, [GAPS_EVERY] = 2.6,    [GAPS_ODD] = 2.7,    [GAPS_EVEN] = 2.8,
        [GAPS_FIRST] = 2.9, [GAPS_SHORTEST] = 3.0, [GAPS_LONGEST] = 3.0};
    double cost = 0.0;
    for (int i = 0; i < r->n; i++) {
        const arc_part *p = &r->part[i];
        cost += i > 0 ? 1.5 : 0.0;
        cost += p->unit == UNIT_BLOCK ? 0.2 : 0.0;
        if (p->form == FORM_EDIT)
            cost += selector_cost(p->sel) + action_cost(p->act, p->act_arg);
        else
            cost += p->form == FORM_GAPS ? gaps[p->act] : table_cost(p);
    }
    return cost;
}
