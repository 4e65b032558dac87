/* arc1d_gen.c: generated 1D-ARC tasks.
 *
 * Difficulty 0 is for students of a few 100,000 parameters: short lists with two objects and rules
 * "A the first object; then B the last object" from a space of some 2,000 programs, large enough
 * that whole programs can be held out.  Difficulties 1 to 3 follow the 18 kinds of the published
 * tasks in their ranges of width and length; difficulty 3 adds compositions of selector and action
 * that the published tasks do not have.  A draw that comes out ambiguous or without effect is
 * rejected. */
#include "arc1d.h"

#include <string.h>

/* A task under way.  Ranges are drawn once per task: its lists all have one width. */
typedef struct draft {
    rd_rng *rng;
    arc_rule rule;
    int width, colour; /* of the list; of its objects, for kinds with one colour */
    int64_t n_demos, n;
    strip *in, *out;
} draft;

enum { INPUT_TRIES = 40 };

static int between(draft *d, int lo, int hi)
{
    return hi <= lo ? lo : (int)rd_rng_range(d->rng, lo, hi);
}

static int colour_but(draft *d, int a, int b)
{
    int c;
    do {
        c = between(d, 1, 9);
    } while (c == a || c == b);
    return c;
}

static void blank(draft *d, strip *s)
{
    s->n = d->width;
    memset(s->v, 0, sizeof s->v);
}

static void draw_run(strip *s, int at, int len, int colour)
{
    memset(s->v + at, colour, (size_t)len);
}

/* Starts of n runs of the given lengths, at least gap apart, the free cells dealt at random. */
static bool place(draft *d, const int *len, int n, int gap, int width, int *at)
{
    int slack[ARC_CELLS], need = (n - 1) * gap, free_cells;
    for (int i = 0; i < n; i++) need += len[i];
    if ((free_cells = width - need) < 0) return false;
    for (int i = 0; i < n; i++) {
        int x = between(d, 0, free_cells), k = i;
        for (; k > 0 && slack[k - 1] > x; k--) slack[k] = slack[k - 1];
        slack[k] = x;
    }
    int used = 0;
    for (int i = 0; i < n; i++) {
        at[i] = slack[i] + used;
        used += len[i] + gap;
    }
    return true;
}

/* ---------------------------------------------------------------- difficulty 0 */

int arc_small_actions(arc_part act[ARC_SMALL_MAX])
{
    static const struct {
        uint8_t act, last;
    } kinds[] = {{ACT_ERASE, 0},      {ACT_HOLLOW, 0},        {ACT_PAINT, 9},
                 {ACT_ENDS, 9},       {ACT_INSIDE, 9},        {ACT_MOVE_RIGHT, 3},
                 {ACT_MOVE_LEFT, 3},  {ACT_EXTEND_RIGHT, 3},  {ACT_EXTEND_LEFT, 3},
                 {ACT_TRIM_RIGHT, 2}, {ACT_TRIM_LEFT, 2},     {ACT_DOUBLE, 0},
                 {ACT_COPY_RIGHT, 2}, {ACT_COPY_LEFT, 2},     {ACT_SLIDE_RIGHT, 0},
                 {ACT_SLIDE_LEFT, 0}, {ACT_STRETCH_RIGHT, 0}, {ACT_STRETCH_LEFT, 0}};
    int n = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        for (int k = kinds[i].last > 0 ? 1 : 0; k <= kinds[i].last; k++)
            act[n++] = arc_edit(SEL_FIRST, 0, kinds[i].act, k);
    }
    return n;
}

/* Actions of one kind share a weight, tempered so that constants are met often enough to learn. */
static arc_part small_action(draft *d, const arc_part *act, int n)
{
    double weight[ARC_SMALL_MAX];
    int of_kind[ACTIONS] = {0};
    for (int i = 0; i < n; i++) of_kind[act[i].act]++;
    for (int i = 0; i < n; i++) weight[i] = (2.0 + of_kind[act[i].act]) / of_kind[act[i].act];
    return act[rd_rng_pick(d->rng, weight, n)];
}

static void small_rule(draft *d, const arc_part *act, int n)
{
    static const uint8_t single[3] = {SEL_EVERY, SEL_FIRST, SEL_LAST};
    /* One-part rules are rejected less often: this makes a fifth of the tasks. */
    d->rule = (arc_rule){.n = rd_rng_chance(d->rng, 0.19) ? 1 : 2};
    d->rule.part[0] = small_action(d, act, n);
    if (d->rule.n == 1) {
        d->rule.part[0].sel = single[rd_rng_below(d->rng, 3)];
        return;
    }
    d->rule.part[1] = small_action(d, act, n);
    d->rule.part[1].sel = SEL_LAST;
}

/* Two objects of different colours; every part of the rule must be defined and change something. */
static bool small_example(draft *d, strip *in, strip *out)
{
    int len[2], at[2];
    blank(d, in);
    for (int k = 0; k < 2; k++) len[k] = between(d, 1, 4);
    if (!place(d, len, 2, 1, d->width, at)) return false;
    int first = between(d, 1, 9);
    draw_run(in, at[0], len[0], first);
    draw_run(in, at[1], len[1], colour_but(d, first, 0));
    strip a = *in;
    for (int i = 0; i < d->rule.n; i++) {
        if (!arc_run_part(&d->rule.part[i], &a, out) || strip_same(&a, out)) return false;
        a = *out;
    }
    return !strip_same(in, out);
}

/* Does r give the same as the draft on examples [from, to)? */
static bool agrees(const draft *d, const arc_rule *r, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) {
        strip out;
        if (!arc_run(r, &d->in[i], &out) || !strip_same(&out, &d->out[i])) return false;
    }
    return true;
}

/* A rival fits the demonstrations; it is harmless when it also answers the queries. */
static bool misleads(const draft *d, const arc_rule *rival)
{
    return agrees(d, rival, 0, d->n_demos) && !agrees(d, rival, d->n_demos, d->n);
}

/* No other action in place of a part and no other one-part rule may fit the demonstrations, even
 * when it answers the queries: the sentence to be learnt should be the only one of its size. */
static bool small_is_clear(const draft *d, const arc_part *act, int n)
{
    static const uint8_t single[3] = {SEL_EVERY, SEL_FIRST, SEL_LAST};
    for (int a = 0; a < n; a++) {
        arc_rule rival = {.n = 1, .part = {act[a]}};
        for (int k = 0; k < 3; k++) {
            rival.part[0].sel = single[k];
            if (!arc_same(&rival, &d->rule) && agrees(d, &rival, 0, d->n_demos)) return false;
        }
        for (int part = 0; part < d->rule.n && d->rule.n > 1; part++) {
            rival = d->rule;
            rival.part[part] = act[a];
            rival.part[part].sel = d->rule.part[part].sel;
            if (!arc_same(&rival, &d->rule) && agrees(d, &rival, 0, d->n_demos)) return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- the published kinds */

static void one_edit(draft *d, int sel, int sel_arg, int act, int act_arg)
{
    d->rule.n = 1;
    d->rule.part[0] = arc_edit(sel, sel_arg, act, act_arg);
}

static void one_fill(draft *d, int set)
{
    d->rule.n = 1;
    d->rule.part[0] = (arc_part){.form = FORM_GAPS, .act = (uint8_t)set};
}

static void rule_denoise(draft *d)
{
    d->width = between(d, 32, 33);
    one_edit(d, SEL_LENGTH, 1, ACT_ERASE, 0);
}

static bool input_denoise(draft *d, strip *s)
{
    int len[8], at[8], n = between(d, 2, 7), object = between(d, 0, n - 1), c = between(d, 1, 8);
    for (int i = 0; i < n; i++) len[i] = i == object ? between(d, 10, 15) : 1;
    if (!place(d, len, n, 1, d->width, at)) return false;
    for (int i = 0; i < n; i++) draw_run(s, at[i], len[i], c);
    return true;
}

static void rule_majority(draft *d)
{
    d->width = between(d, 32, 33);
    one_edit(d, SEL_EVERY, 0, ACT_MAJORITY, 0);
    d->rule.part[0].unit = UNIT_BLOCK;
}

static bool input_majority(draft *d, strip *s)
{
    int len = between(d, 20, 26), at = between(d, 0, d->width - len), c = between(d, 1, 8);
    draw_run(s, at, len, c);
    for (int k = between(d, 1, 4); k > 0; k--)
        s->v[at + between(d, 0, len - 1)] = (uint8_t)colour_but(d, c, 0);
    return true;
}

static void rule_fill(draft *d)
{
    d->width = between(d, 8, 31);
    one_fill(d, GAPS_EQUAL);
}

static bool input_fill(draft *d, strip *s)
{
    int gap = between(d, 1, d->width - 2 < 24 ? d->width - 2 : 24);
    int at = between(d, 0, d->width - gap - 2), c = between(d, 1, 9);
    s->v[at] = s->v[at + gap + 1] = (uint8_t)c;
    return true;
}

static void rule_flip(draft *d)
{
    d->width = between(d, 9, 32);
    one_edit(d, SEL_EVERY, 0, ACT_REVERSE, 0);
    d->rule.part[0].unit = UNIT_BLOCK;
}

static bool input_flip(draft *d, strip *s)
{
    int len = between(d, 3, d->width - 1 < 16 ? d->width - 1 : 16);
    int at = between(d, 0, d->width - len), c = between(d, 1, 9);
    draw_run(s, at, len, c);
    s->v[at] = (uint8_t)colour_but(d, c, 0);
    return true;
}

static void rule_hollow(draft *d)
{
    d->width = between(d, 8, 31);
    one_edit(d, SEL_EVERY, 0, ACT_HOLLOW, 0);
}

static bool input_hollow(draft *d, strip *s)
{
    int len = between(d, 3, d->width - 1 < 26 ? d->width - 1 : 26);
    draw_run(s, between(d, 0, d->width - len), len, between(d, 1, 9));
    return true;
}

static void rule_mirror(draft *d)
{
    d->width = between(d, 12, 32);
    one_edit(d, SEL_LONGEST, 0, ACT_MIRROR, 0);
}

static bool input_mirror(draft *d, strip *s)
{
    int len = between(d, 3, 9), gap = between(d, 1, 5), all = 2 * (len + gap) + 1;
    if (all > d->width) return false;
    int at = between(d, 0, d->width - all);
    draw_run(s, at, len, between(d, 1, 8));
    s->v[at + len + gap] = 9;
    return true;
}

static void rule_move(draft *d)
{
    d->width = between(d, 7, 30);
    one_edit(d, SEL_EVERY, 0, ACT_MOVE_RIGHT, between(d, 1, 3));
}

static bool input_move(draft *d, strip *s)
{
    int room = d->width - d->rule.part[0].act_arg, len = between(d, 3, room < 26 ? room : 26);
    draw_run(s, between(d, 0, room - len), len, between(d, 1, 9));
    return true;
}

/* An object and a pivot of one cell at a distance of lo ... hi empty cells. */
static bool object_and_pivot(draft *d, strip *s, int lo, int hi)
{
    int most = d->width - 4 < hi ? d->width - 4 : hi, gap = between(d, lo, most);
    int room = d->width - gap - 1, len = between(d, 3, room < 26 ? room : 26);
    if (gap > most || room < 3) return false;
    int at = between(d, 0, d->width - gap - 1 - len), c = between(d, 1, 9);
    draw_run(s, at, len, c);
    s->v[at + len + gap] = (uint8_t)colour_but(d, c, 0);
    return true;
}

static void rule_toward(draft *d)
{
    d->width = between(d, 9, 30);
    one_edit(d, SEL_LONGEST, 0, ACT_TOWARD, 2);
}

static bool input_toward(draft *d, strip *s)
{
    return object_and_pivot(d, s, 2, 2);
}

static void rule_slide(draft *d)
{
    d->width = between(d, 9, 30);
    one_edit(d, SEL_LONGEST, 0, ACT_TOUCH, 0);
}

static bool input_slide(draft *d, strip *s)
{
    return object_and_pivot(d, s, 2, 14);
}

static void rule_scale(draft *d)
{
    d->width = between(d, 7, 30);
    one_edit(d, SEL_LONGEST, 0, ACT_STRETCH_TOUCH, 0);
}

static bool input_scale(draft *d, strip *s)
{
    return object_and_pivot(d, s, 2, 19);
}

static void rule_padded(draft *d)
{
    d->width = 3 * between(d, 8, 31);
    one_fill(d, GAPS_ODD);
}

/* Three times the same stretch, with two equal cells in it. */
static bool input_padded(draft *d, strip *s)
{
    int third = d->width / 3, gap = between(d, 1, third - 3);
    int at = between(d, 0, third - gap - 2), c = between(d, 1, 9);
    for (int k = 0; k < 3; k++) s->v[k * third + at] = s->v[k * third + at + gap + 1] = (uint8_t)c;
    return true;
}

static void rule_stamp(draft *d)
{
    d->width = between(d, 32, 33);
    one_edit(d, SEL_LENGTH, 1, ACT_STAMP, 0);
}

static void rule_stamp_own(draft *d)
{
    d->width = between(d, 32, 33);
    one_edit(d, SEL_LENGTH, 1, ACT_STAMP_OWN, 0);
}

/* A pattern of three cells at the left, then single cells with room for a copy around each. */
static bool input_stamp(draft *d, strip *s)
{
    int len[3] = {3, 3, 3}, at[3], n = between(d, 1, 3), pattern = between(d, 1, 4);
    int c = between(d, 1, 9);
    if (!place(d, len, n, 1, d->width - pattern - 4, at)) return false;
    draw_run(s, pattern, 3, c);
    for (int i = 0; i < n; i++) {
        bool own = d->rule.part[0].act == ACT_STAMP_OWN;
        s->v[pattern + 4 + at[i] + 1] = (uint8_t)(own ? between(d, 1, 9) : c);
    }
    return true;
}

static void rule_longest(draft *d)
{
    d->width = between(d, 18, 32);
    one_edit(d, SEL_LONGEST, 0, ACT_PAINT, colour_but(d, d->colour, 0));
}

static void table_rule(draft *d, int feature, int keys)
{
    arc_part *p = &d->rule.part[0];
    d->rule.n = 1;
    *p = (arc_part){.form = FORM_TABLE, .act = (uint8_t)feature};
    for (int k = 1; k <= keys; k++) {
        do {
            p->entry[k] = (uint8_t)colour_but(d, d->colour, p->entry[1]);
        } while (k == 3 && p->entry[3] == p->entry[2]);
    }
}

static void rule_by_count(draft *d)
{
    d->width = between(d, 18, 32);
    table_rule(d, BY_LENGTH, 3);
}

static void rule_by_parity(draft *d)
{
    d->width = between(d, 18, 32);
    table_rule(d, BY_PARITY, 2);
}

/* lo ... hi objects of 1 ... longest cells in the task's colour, or in colours of their own. */
static bool row_of_objects(draft *d, strip *s, int lo, int hi, int longest, bool own)
{
    int len[8], at[8], n = between(d, lo, hi), c = d->colour;
    for (int i = 0; i < n; i++) len[i] = between(d, 1, longest);
    if (!place(d, len, n, 1, d->width, at)) return false;
    for (int i = 0; i < n; i++) {
        if (own) c = colour_but(d, c, 0);
        draw_run(s, at[i], len[i], c);
    }
    return true;
}

static bool input_longest(draft *d, strip *s)
{
    return row_of_objects(d, s, 2, 7, 7, false);
}
static bool input_by_count(draft *d, strip *s)
{
    return row_of_objects(d, s, 2, 5, 3, false);
}
static bool input_by_parity(draft *d, strip *s)
{
    return row_of_objects(d, s, 1, 5, 6, false);
}

/* ---------------------------------------------------------------- new compositions */

static const uint8_t composed[] = {
    ACT_ERASE,       ACT_HOLLOW,        ACT_PAINT,        ACT_ENDS,
    ACT_INSIDE,      ACT_MOVE_RIGHT,    ACT_MOVE_LEFT,    ACT_EXTEND_RIGHT,
    ACT_EXTEND_LEFT, ACT_TRIM_RIGHT,    ACT_TRIM_LEFT,    ACT_SLIDE_RIGHT,
    ACT_SLIDE_LEFT,  ACT_STRETCH_RIGHT, ACT_STRETCH_LEFT, ACT_DOUBLE};

static void rule_composition(draft *d)
{
    static const uint8_t selectors[] = {
        SEL_LONGEST, SEL_SHORTEST, SEL_NOT_LONGEST, SEL_NOT_SHORTEST, SEL_ODD,       SEL_EVEN,
        SEL_LENGTH,  SEL_LONGER,   SEL_FIRST,       SEL_LAST,         SEL_NOT_FIRST, SEL_NOT_LAST};
    int sel, act, n_sel = sizeof selectors, n_act = sizeof composed, count;
    bool published;
    do {
        sel = selectors[between(d, 0, n_sel - 1)];
        act = composed[between(d, 0, n_act - 1)];
        count = between(d, 1, 3);
        published = (sel == SEL_LONGEST && act == ACT_PAINT) ||
                    (sel == SEL_LENGTH && count == 1 && act == ACT_ERASE) ||
                    ((sel == SEL_NOT_LONGEST || sel == SEL_SHORTEST) && act == ACT_ERASE);
    } while (published);
    arc_arg sort = arc_action_arg(act);
    int act_arg = sort == ARG_COLOUR ? between(d, 1, 9) : sort == ARG_COUNT ? between(d, 1, 2) : 0;
    d->width = between(d, 16, 30);
    one_edit(d, sel, arc_selector_arg(sel) == ARG_COUNT ? count : 0, act, act_arg);
}

static bool input_composition(draft *d, strip *s)
{
    span o[ARC_CELLS];
    if (!row_of_objects(d, s, 2, 4, 5, true)) return false;
    int n = arc_segment(s, UNIT_OBJECT, o);
    uint64_t mask = arc_select(&d->rule.part[0], s, o, n);
    /* Some objects are meant and some are not, or the selector does not show. */
    return mask != 0 && mask != (UINT64_C(1) << n) - 1;
}

/* ---------------------------------------------------------------- the table of kinds */

typedef struct kind {
    int difficulty, weight;
    void (*rule)(draft *d);
    bool (*input)(draft *d, strip *s);
} kind;

/* Weights count published kinds: "move" stands for three of them. */
static const kind kinds[] = {{1, 1, rule_denoise, input_denoise},
                             {1, 1, rule_majority, input_majority},
                             {1, 1, rule_fill, input_fill},
                             {1, 1, rule_hollow, input_hollow},
                             {1, 3, rule_move, input_move},
                             {2, 1, rule_flip, input_flip},
                             {2, 1, rule_mirror, input_mirror},
                             {2, 1, rule_toward, input_toward},
                             {2, 1, rule_slide, input_slide},
                             {2, 1, rule_scale, input_scale},
                             {2, 1, rule_padded, input_padded},
                             {2, 1, rule_stamp, input_stamp},
                             {2, 1, rule_stamp_own, input_stamp},
                             {3, 1, rule_longest, input_longest},
                             {3, 1, rule_by_count, input_by_count},
                             {3, 1, rule_by_parity, input_by_parity},
                             {3, 3, rule_composition, input_composition}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static bool kind_example(draft *d, const kind *k, strip *in, strip *out)
{
    blank(d, in);
    return k->input(d, in) && arc_run(&d->rule, in, out) && !strip_same(in, out);
}

/* Every key of a table that a query needs must be shown, and each of two parities by two lengths,
 * or a table of lengths is as good. */
static bool table_is_clear(const draft *d)
{
    const arc_part *p = &d->rule.part[0];
    unsigned demo_keys = 0, query_keys = 0, lengths = 0;
    for (int64_t i = 0; i < d->n; i++) {
        span o[ARC_CELLS];
        int n = arc_segment(&d->in[i], UNIT_OBJECT, o);
        for (int k = 0; k < n; k++) {
            unsigned bit = 1u << arc_feature(p->act, &d->in[i], o, n, k);
            if (i < d->n_demos) {
                demo_keys |= bit;
                lengths |= 1u << o[k].len;
            } else {
                query_keys |= bit;
            }
        }
    }
    if ((query_keys & ~demo_keys) != 0) return false;
    if (p->act != BY_PARITY) return true;
    return __builtin_popcount(lengths & 0x2a) >= 2 && __builtin_popcount(lengths & 0x54) >= 2;
}

/* The edit must not be mistaken for the same edit with another selector, nor sliding for a move. */
static bool edit_is_clear(const draft *d)
{
    const arc_part *p = &d->rule.part[0];
    arc_rule rival = d->rule;
    for (int sel = 0; sel < SEL_COLOUR; sel++) {
        int last = arc_selector_arg(sel) == ARG_COUNT ? 4 : 0;
        for (int arg = last > 0 ? 1 : 0; arg <= last; arg++) {
            rival.part[0].sel = (uint8_t)sel;
            rival.part[0].sel_arg = (uint8_t)arg;
            if (misleads(d, &rival)) return false;
        }
    }
    if (p->act != ACT_TOUCH && p->act != ACT_SLIDE_LEFT && p->act != ACT_SLIDE_RIGHT) return true;
    for (int k = 1; k <= 30; k++) {
        rival.part[0] = arc_edit(p->sel, p->sel_arg, ACT_MOVE_RIGHT, k);
        if (agrees(d, &rival, 0, d->n_demos)) return false;
        rival.part[0].act = ACT_MOVE_LEFT;
        if (agrees(d, &rival, 0, d->n_demos)) return false;
    }
    return true;
}

static const kind *draw_kind(draft *d, int difficulty)
{
    double weight[KINDS];
    for (int i = 0; i < KINDS; i++)
        weight[i] = kinds[i].difficulty == difficulty ? kinds[i].weight : 0.0;
    return &kinds[rd_rng_pick(d->rng, weight, KINDS)];
}

/* ---------------------------------------------------------------- one draw */

/* Example i: defined, changed, and unlike the ones before; k NULL means difficulty 0. */
static bool draw_example(draft *d, const kind *k, int64_t i)
{
    for (int tries = 0; tries < INPUT_TRIES; tries++) {
        bool good =
            k ? kind_example(d, k, &d->in[i], &d->out[i]) : small_example(d, &d->in[i], &d->out[i]);
        for (int64_t j = 0; j < i && good; j++) good = !strip_same(&d->in[i], &d->in[j]);
        if (good) return true;
    }
    return false;
}

static void hand_over(const draft *d, rd_task *t)
{
    rd_buf text = {0};
    arc_print(&d->rule, 0, &text);
    t->rule = rd_buf_take(&text);
    t->rule_class = rd_strdup(t->rule);
    t->examples = rd_new(rd_example, d->n);
    for (int64_t i = 0; i < d->n; i++) {
        strip_print(&d->in[i], &text);
        t->examples[i].input = rd_buf_take(&text);
        strip_print(&d->out[i], &text);
        t->examples[i].output = rd_buf_take(&text);
    }
}

bool arc_draw(const rd_gen_opts *opts, rd_rng *rng, rd_task *t)
{
    arc_part act[ARC_SMALL_MAX];
    int n_act = arc_small_actions(act);
    draft d = {.rng = rng, .n_demos = t->n_demos, .n = t->n_demos + t->n_queries};
    const kind *k = NULL;
    d.in = rd_new(strip, d.n);
    d.out = rd_new(strip, d.n);
    if (opts->difficulty == 0) {
        d.width = between(&d, 8, 10);
        small_rule(&d, act, n_act);
    } else {
        d.colour = between(&d, 1, 9);
        k = draw_kind(&d, opts->difficulty);
        k->rule(&d);
    }
    bool good = true;
    for (int64_t i = 0; i < d.n && good; i++) good = draw_example(&d, k, i);
    if (good && !k) good = small_is_clear(&d, act, n_act);
    if (good && k && d.rule.part[0].form == FORM_TABLE) good = table_is_clear(&d);
    if (good && d.rule.n == 1 && d.rule.part[0].form == FORM_EDIT) good = edit_is_clear(&d);
    if (good) hand_over(&d, t);
    RD_FREE(d.in);
    RD_FREE(d.out);
    return good;
}

/* ---------------------------------------------------------------- hold-outs */

/* A line more, unless it is there. */
static void kind_put(const arc_part *p, rd_buf *out)
{
    rd_buf line = {0};
    arc_print_action(p, &line);
    rd_buf_putc(&line, '\n');
    const char *at = out->data ? strstr(out->data, line.data) : NULL;
    if (!at || (at > out->data && at[-1] != '\n')) rd_buf_puts(out, line.data);
    rd_buf_free(&line);
}

const char *arc_vocabulary(const rd_gen_opts *opts, rd_hold level, rd_buf *out)
{
    arc_part act[ARC_SMALL_MAX];
    rd_rng rng = rd_rng_make(0, "arc1d vocabulary", 0, 0);
    rd_buf all = {0};
    if (level == RD_HOLD_PAIR && opts->difficulty > 0)
        return "its rules have one part, hence no pairs";
    int n = opts->difficulty == 0 ? arc_small_actions(act) : 0;
    for (int i = 0; i < n; i++) kind_put(&act[i], &all);
    for (int i = 0; i < KINDS && opts->difficulty > 0; i++) {
        draft d = {.rng = &rng, .colour = 1};
        if (kinds[i].difficulty != opts->difficulty || kinds[i].rule == rule_composition) continue;
        kinds[i].rule(&d);
        kind_put(&d.rule.part[0], &all);
    }
    for (size_t i = 0; i < sizeof composed && opts->difficulty == 3; i++)
        kind_put(&(arc_part){.form = FORM_EDIT, .act = composed[i]}, &all);
    if (level == RD_HOLD_PAIR)
        pairs_put(all.data, out);
    else
        rd_buf_add(out, all.data, all.len);
    rd_buf_free(&all);
    return NULL;
}

static bool rule_fits(const arc_rule *r, const arc_examples *e)
{
    strip out;
    for (int64_t i = 0; i < e->n; i++)
        if (!arc_run(r, &e->in[i], &out) || !strip_same(&out, &e->want[i])) return false;
    return true;
}

/* Other rules of trained actions may do the same, by the accident of a task's lists or always. */
bool arc_rival(const rd_task *t, const rd_held *h)
{
    static const uint8_t single[3] = {SEL_EVERY, SEL_FIRST, SEL_LAST};
    arc_part act[ARC_SMALL_MAX];
    rd_buf name[ARC_SMALL_MAX] = {{0}};
    bool held[ARC_SMALL_MAX], found = false;
    arc_examples e = {0};
    int n = arc_small_actions(act);
    for (int a = 0; a < n; a++) {
        arc_print_action(&act[a], &name[a]);
        held[a] = held_kind(h, name[a].data);
    }
    bool good = arc_examples_read(t, &e);
    for (int a = 0; good && a < n && !found; a++) {
        arc_rule r = {.n = 1, .part = {act[a]}};
        for (int k = 0; k < 3 && !held[a] && !found; k++) {
            r.part[0].sel = single[k];
            found = rule_fits(&r, &e);
        }
        r = (arc_rule){.n = 2, .part = {act[a]}};
        for (int b = 0; b < n && !held[a] && !found; b++) {
            if (held[b] || held_pair(h, name[a].data, name[b].data)) continue;
            r.part[1] = act[b];
            r.part[1].sel = SEL_LAST;
            found = rule_fits(&r, &e);
        }
    }
    for (int a = 0; a < n; a++) rd_buf_free(&name[a]);
    arc_examples_free(&e);
    return found;
}
