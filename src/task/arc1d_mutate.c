/* arc1d_mutate.c: rules that are nearly right, and slips in applying a right one. */
#include "arc1d.h"

#include <string.h>

/* ---------------------------------------------------------------- neighbours of a rule */

static const uint8_t selector_siblings[SELECTORS][3] = {
    [SEL_EVERY] = {SEL_FIRST, SEL_LAST, SEL_LONGEST},
    [SEL_LONGEST] = {SEL_SHORTEST, SEL_NOT_LONGEST, SEL_FIRST},
    [SEL_SHORTEST] = {SEL_LONGEST, SEL_NOT_SHORTEST, SEL_LAST},
    [SEL_NOT_LONGEST] = {SEL_SHORTEST, SEL_LONGEST, SEL_NOT_FIRST},
    [SEL_NOT_SHORTEST] = {SEL_LONGEST, SEL_SHORTEST, SEL_NOT_LAST},
    [SEL_ODD] = {SEL_EVEN, SEL_LENGTH, SEL_EVERY},
    [SEL_EVEN] = {SEL_ODD, SEL_LENGTH, SEL_EVERY},
    [SEL_LENGTH] = {SEL_LONGER, SEL_SHORTEST, SEL_LONGEST},
    [SEL_LONGER] = {SEL_LENGTH, SEL_LONGEST, SEL_NOT_SHORTEST},
    [SEL_FIRST] = {SEL_LAST, SEL_EVERY, SEL_NOT_FIRST},
    [SEL_LAST] = {SEL_FIRST, SEL_EVERY, SEL_NOT_LAST},
    [SEL_NOT_FIRST] = {SEL_LAST, SEL_NOT_LAST, SEL_EVERY},
    [SEL_NOT_LAST] = {SEL_FIRST, SEL_NOT_FIRST, SEL_EVERY},
    [SEL_COLOUR] = {SEL_FIRST, SEL_LAST, SEL_EVERY},
};

static const uint8_t action_siblings[ACTIONS][3] = {
    [ACT_ERASE] = {ACT_HOLLOW, ACT_TRIM_RIGHT, ACT_TRIM_LEFT},
    [ACT_HOLLOW] = {ACT_ERASE, ACT_TRIM_LEFT, ACT_TRIM_RIGHT},
    [ACT_REVERSE] = {ACT_MAJORITY, ACT_MOVE_RIGHT, ACT_MOVE_LEFT},
    [ACT_MAJORITY] = {ACT_REVERSE, ACT_PAINT, ACT_INSIDE},
    [ACT_PAINT] = {ACT_ENDS, ACT_INSIDE, ACT_PAINT},
    [ACT_ENDS] = {ACT_PAINT, ACT_INSIDE, ACT_ENDS},
    [ACT_INSIDE] = {ACT_ENDS, ACT_PAINT, ACT_HOLLOW},
    [ACT_MOVE_RIGHT] = {ACT_MOVE_LEFT, ACT_EXTEND_RIGHT, ACT_SLIDE_RIGHT},
    [ACT_MOVE_LEFT] = {ACT_MOVE_RIGHT, ACT_EXTEND_LEFT, ACT_SLIDE_LEFT},
    [ACT_EXTEND_RIGHT] = {ACT_EXTEND_LEFT, ACT_MOVE_RIGHT, ACT_STRETCH_RIGHT},
    [ACT_EXTEND_LEFT] = {ACT_EXTEND_RIGHT, ACT_MOVE_LEFT, ACT_STRETCH_LEFT},
    [ACT_TRIM_RIGHT] = {ACT_TRIM_LEFT, ACT_MOVE_RIGHT, ACT_HOLLOW},
    [ACT_TRIM_LEFT] = {ACT_TRIM_RIGHT, ACT_MOVE_LEFT, ACT_HOLLOW},
    [ACT_DOUBLE] = {ACT_EXTEND_RIGHT, ACT_COPY_RIGHT, ACT_EXTEND_LEFT},
    [ACT_COPY_RIGHT] = {ACT_COPY_LEFT, ACT_DOUBLE, ACT_MOVE_RIGHT},
    [ACT_COPY_LEFT] = {ACT_COPY_RIGHT, ACT_EXTEND_LEFT, ACT_MOVE_LEFT},
    [ACT_SLIDE_RIGHT] = {ACT_STRETCH_RIGHT, ACT_MOVE_RIGHT, ACT_SLIDE_LEFT},
    [ACT_SLIDE_LEFT] = {ACT_STRETCH_LEFT, ACT_MOVE_LEFT, ACT_SLIDE_RIGHT},
    [ACT_STRETCH_RIGHT] = {ACT_EXTEND_RIGHT, ACT_SLIDE_RIGHT, ACT_STRETCH_LEFT},
    [ACT_STRETCH_LEFT] = {ACT_EXTEND_LEFT, ACT_SLIDE_LEFT, ACT_STRETCH_RIGHT},
    [ACT_TOWARD] = {ACT_TOUCH, ACT_STRETCH_TOUCH, ACT_MOVE_RIGHT},
    [ACT_TOUCH] = {ACT_TOWARD, ACT_STRETCH_TOUCH, ACT_MIRROR},
    [ACT_STRETCH_TOUCH] = {ACT_TOUCH, ACT_EXTEND_RIGHT, ACT_TOWARD},
    [ACT_MIRROR] = {ACT_TOUCH, ACT_TOWARD, ACT_MOVE_RIGHT},
    [ACT_STAMP] = {ACT_STAMP_OWN, ACT_EXTEND_RIGHT, ACT_DOUBLE},
    [ACT_STAMP_OWN] = {ACT_STAMP, ACT_EXTEND_RIGHT, ACT_DOUBLE},
};

static uint8_t fresh_colour(rd_rng *rng, int not_this)
{
    int c = (int)rd_rng_range(rng, 1, 8);
    return (uint8_t)(c >= not_this && not_this > 0 ? c + 1 : c);
}

/* A number of the wanted sort near an old one. */
static uint8_t near_arg(rd_rng *rng, arc_arg sort, int old)
{
    if (sort == ARG_NONE) return 0;
    if (sort == ARG_COLOUR) return fresh_colour(rng, old);
    if (old <= 0) return (uint8_t)rd_rng_range(rng, 1, 3);
    if (old == ARC_COUNT_MAX) return ARC_COUNT_MAX - 1;
    return (uint8_t)(old > 1 && rd_rng_chance(rng, 0.5) ? old - 1 : old + 1);
}

static void change_edit(arc_part *p, rd_rng *rng)
{
    double u = rd_rng_uniform(rng);
    arc_arg sel_arg = arc_selector_arg(p->sel), act_arg = arc_action_arg(p->act);
    if (act_arg != ARG_NONE && u < 0.45) {
        p->act_arg = near_arg(rng, act_arg, p->act_arg);
    } else if (sel_arg != ARG_NONE && u < 0.6) {
        p->sel_arg = near_arg(rng, sel_arg, p->sel_arg);
    } else if (u < 0.8) {
        p->act = action_siblings[p->act][rd_rng_below(rng, 3)];
        /* A constant of the same sort is worth keeping: "move 3" is near "extend 3". */
        if (arc_action_arg(p->act) != act_arg || p->act_arg == 0)
            p->act_arg = near_arg(rng, arc_action_arg(p->act), 0);
    } else {
        p->sel = selector_siblings[p->sel][rd_rng_below(rng, 3)];
        if (arc_selector_arg(p->sel) != sel_arg || p->sel_arg == 0)
            p->sel_arg = near_arg(rng, arc_selector_arg(p->sel), 0);
    }
}

static int entries(const arc_part *p)
{
    int n = 0;
    for (int k = 1; k <= ARC_KEYS; k++) n += p->entry[k] != 0;
    return n;
}

/* Key of the i-th entry that is there. */
static int nth_key(const arc_part *p, int i)
{
    for (int k = 1; k <= ARC_KEYS; k++) {
        if (p->entry[k] != 0 && i-- == 0) return k;
    }
    return 1;
}

static void change_table(arc_part *p, rd_rng *rng)
{
    static const uint8_t feature_siblings[FEATURES] = {
        [BY_LENGTH] = BY_RANK,      [BY_PARITY] = BY_LONGEST, [BY_LONGEST] = BY_PARITY,
        [BY_SHORTEST] = BY_LONGEST, [BY_RANK] = BY_LENGTH,    [BY_POSITION] = BY_RANK,
        [BY_COLOUR] = BY_POSITION};
    int n = entries(p);
    int a = nth_key(p, (int)rd_rng_below(rng, n)), b = nth_key(p, (int)rd_rng_below(rng, n));
    uint8_t old = p->entry[a];
    double u = rd_rng_uniform(rng);
    if (u < 0.35 && n > 1) {
        p->entry[a] = 0;
    } else if (u < 0.6 && a != b) {
        p->entry[a] = p->entry[b];
        p->entry[b] = old;
    } else if (u < 0.75) {
        p->act = feature_siblings[p->act];
        for (int k = arc_feature_keys(p->act) + 1; k <= ARC_KEYS; k++) p->entry[k] = 0;
        /* The new feature may use none of the old keys. */
        if (entries(p) == 0) p->entry[1] = old;
    } else {
        p->entry[a] = fresh_colour(rng, old);
    }
}

/* One cell short or one too many, everywhere or only for some length or colour: the latter is right
 * on the demonstrations that have none, which few other changes of a fill or a copy are. */
static arc_part misjudged_end(rd_rng *rng)
{
    static const uint8_t act[4] = {ACT_TRIM_RIGHT, ACT_TRIM_LEFT, ACT_EXTEND_RIGHT,
                                   ACT_EXTEND_LEFT};
    static const uint8_t sel[4] = {SEL_LAST, SEL_LONGEST, SEL_LENGTH, SEL_COLOUR};
    int s = sel[rd_rng_below(rng, 4)], arg = 0;
    if (arc_selector_arg(s) != ARG_NONE) arg = (int)rd_rng_range(rng, s == SEL_LENGTH ? 2 : 1, 9);
    return arc_edit(s, arg, act[rd_rng_below(rng, 4)], 1);
}

void arc_neighbour(const arc_rule *r, rd_rng *rng, arc_rule *out)
{
    *out = *r;
    double u = rd_rng_uniform(rng);
    int i = (int)rd_rng_below(rng, r->n);
    arc_part *p = &out->part[i];
    if (r->n > 1 && u < 0.15) {
        for (int k = i; k + 1 < r->n; k++) out->part[k] = r->part[k + 1];
        memset(&out->part[--out->n], 0, sizeof(arc_part));
    } else if (r->n == 1 && u < 0.15) {
        out->part[out->n++] = misjudged_end(rng);
    } else if (p->form == FORM_EDIT) {
        change_edit(p, rng);
    } else if (p->form == FORM_TABLE) {
        change_table(p, rng);
    } else {
        p->act = (uint8_t)((p->act + rd_rng_range(rng, 1, GAP_SETS - 1)) % GAP_SETS);
    }
}

/* How other compares with r on the examples: number of different results (an undefined one is
 * different from any list), and whether other is defined everywhere. */
static int64_t differences(const arc_rule *r, const arc_rule *other, const arc_examples *e,
                           bool *defined)
{
    int64_t n = 0;
    *defined = true;
    for (int64_t i = 0; i < e->n; i++) {
        strip a, b;
        bool da = arc_run(r, &e->in[i], &a), db = arc_run(other, &e->in[i], &b);
        *defined = *defined && db;
        n += da != db || (da && !strip_same(&a, &b));
    }
    return n;
}

rd_rule *arc_mutate(const rd_rule *r, const rd_task *t, rd_rng *rng)
{
    enum { TRIES = 60 };
    arc_examples e;
    rd_rule *found = NULL;
    if (!arc_examples_read(t, &e)) return NULL;
    for (int k = 0; k < TRIES; k++) {
        arc_rule other;
        bool defined;
        arc_neighbour(r, rng, &other);
        if (arc_same(r, &other) || differences(r, &other, &e, &defined) == 0) continue;
        if (!found) found = rd_new(rd_rule, 1);
        *found = other;
        /* One that gives no answer somewhere is a poor hypothesis: only when nothing else comes. */
        if (defined) break;
    }
    arc_examples_free(&e);
    return found;
}

/* ---------------------------------------------------------------- slips */

/* An object moved by one cell, one cell longer or shorter, or in another colour. */
static void slip_object(strip *s, const strip *in, rd_rng *rng)
{
    span o[ARC_CELLS];
    int n = arc_segment(s, UNIT_OBJECT, o);
    if (n == 0) return;
    span x = o[rd_rng_below(rng, n)];
    int colour = s->v[x.at], right = x.at + x.len;
    bool room_right = right < s->n && s->v[right] == 0, room_left = x.at > 0 && s->v[x.at - 1] == 0;
    switch (rd_rng_below(rng, 5)) {
    case 0:
        if (room_right) {
            s->v[x.at] = 0;
            s->v[right] = (uint8_t)colour;
        }
        break;
    case 1:
        if (room_left) {
            s->v[right - 1] = 0;
            s->v[x.at - 1] = (uint8_t)colour;
        }
        break;
    case 2: s->v[right - 1] = 0; break;
    case 3:
        if (room_right) s->v[right] = (uint8_t)colour;
        break;
    default: {
        /* Preferably a colour that is in the picture. */
        int other = in->v[rd_rng_below(rng, in->n)];
        if (other == 0 || other == colour) other = fresh_colour(rng, colour);
        memset(s->v + x.at, other, x.len);
        break;
    }
    }
}

static void slip_length(strip *s, rd_rng *rng)
{
    int at = (int)rd_rng_below(rng, s->n);
    if (rd_rng_chance(rng, 0.5) || s->n == ARC_CELLS) {
        memmove(s->v + at, s->v + at + 1, (size_t)(s->n - at - 1));
        s->n--;
    } else {
        memmove(s->v + at + 1, s->v + at, (size_t)(s->n - at));
        s->n++;
    }
}

void arc_slip(const rd_rule *r, const char *input, const char *answer, rd_rng *rng, rd_buf *out)
{
    enum { TRIES = 20 };
    strip in, right, s;
    if (!strip_read(input, &in) || !strip_read(answer, &right) || in.n == 0 || right.n == 0) {
        rd_buf_puts(out, "[0]");
        return;
    }
    for (int k = 0; k < TRIES; k++) {
        double u = rd_rng_uniform(rng);
        s = right;
        if (u < (r->n > 1 ? 0.3 : 0.1)) {
            /* The last part left out; of a rule of one part, that is the input handed back. */
            arc_rule shorter = *r;
            shorter.n--;
            s = in;
            if (shorter.n > 0 && !arc_run(&shorter, &in, &s)) s = in;
        } else if (u < 0.9) {
            slip_object(&s, &in, rng);
        } else {
            slip_length(&s, rng);
        }
        if (!strip_same(&s, &right)) {
            strip_print(&s, out);
            return;
        }
    }
    /* An answer without objects leaves little to get wrong. */
    s = right;
    s.v[rd_rng_below(rng, s.n)] ^= 1;
    strip_print(&s, out);
}
