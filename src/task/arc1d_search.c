/* arc1d_search.c: all one-part rules on the demonstrations, tables read off them, and, where these
 * give nothing right, "A the first object; then B the last object".
 *
 * About a thousand rules remain once selectors that pick the same objects count as one; each is run
 * on every example, because the behaviour on the queries tells candidates apart. */
#include "arc1d.h"

#include <string.h>

bool arc_examples_read(const rd_task *t, arc_examples *e)
{
    *e = (arc_examples){.n_demos = t->n_demos, .n = t->n_demos + t->n_queries};
    e->in = rd_new(strip, e->n);
    e->want = rd_new(strip, e->n);
    for (int64_t i = 0; i < e->n; i++) {
        if (!strip_read(t->examples[i].input, &e->in[i]) ||
            (i < t->n_demos && !strip_read(t->examples[i].output, &e->want[i]))) {
            arc_examples_free(e);
            return false;
        }
    }
    return true;
}

void arc_examples_free(arc_examples *e)
{
    RD_FREE(e->in);
    RD_FREE(e->want);
}

/* ---------------------------------------------------------------- trying a rule */

enum { BEST_MAX = 4, SELECTIONS_MAX = 64, ENOUGH_PARTIAL = 8 };

typedef struct trial {
    arc_examples e;
    candidate_set *set;
    int64_t right, partial;
    /* The cheapest right rules, or else those of the highest score: what mutation starts from. */
    int n_best;
    int32_t best_score[BEST_MAX];
    double best_cost[BEST_MAX];
    arc_rule best[BEST_MAX];
} trial;

static void remember(trial *s, const arc_rule *r, int32_t score, double cost)
{
    int at = s->n_best;
    while (at > 0 && (score > s->best_score[at - 1] ||
                      (score == s->best_score[at - 1] && cost < s->best_cost[at - 1])))
        at--;
    if (at == BEST_MAX) return;
    if (s->n_best < BEST_MAX) s->n_best++;
    for (int k = s->n_best - 1; k > at; k--) {
        s->best[k] = s->best[k - 1];
        s->best_score[k] = s->best_score[k - 1];
        s->best_cost[k] = s->best_cost[k - 1];
    }
    s->best[at] = *r;
    s->best_score[at] = score;
    s->best_cost[at] = cost;
}

static double agreement(const strip *a, const strip *b)
{
    int longer = a->n > b->n ? a->n : b->n, shorter = a->n > b->n ? b->n : a->n, same = 0;
    for (int i = 0; i < shorter; i++) same += a->v[i] == b->v[i];
    return longer == 0 ? 1.0 : (double)same / longer;
}

static void try_rule(trial *s, const arc_rule *r)
{
    int32_t score = 0;
    double soft = 0.0, cost = arc_cost(r);
    uint64_t behaviour = 0;
    for (int64_t i = 0; i < s->e.n; i++) {
        strip out;
        if (!arc_run(r, &s->e.in[i], &out)) {
            behaviour = rd_hash("undefined", 9, behaviour);
            continue;
        }
        behaviour = rd_hash(out.v, (size_t)out.n, behaviour);
        if (i >= s->e.n_demos) continue;
        score += strip_same(&out, &s->e.want[i]);
        soft += agreement(&out, &s->e.want[i]);
    }
    soft /= s->e.n_demos > 0 ? (double)s->e.n_demos : 1.0;
    s->right += score == s->e.n_demos;
    s->partial += score > 0 && score < s->e.n_demos;
    remember(s, r, score, cost);
    if (!candidate_set_wants(s->set, cost, score, soft)) return;
    rd_rule *copy = rd_new(rd_rule, 1);
    *copy = *r;
    candidate_set_add_take(s->set, copy, cost, score, soft, behaviour);
}

static void try_part(trial *s, const arc_part *p)
{
    arc_rule r = {.n = 1};
    r.part[0] = *p;
    try_rule(s, &r);
}

/* ---------------------------------------------------------------- edits */

/* Bit c: colour c occurs in the demonstrations' inputs or outputs. */
static unsigned colours(const arc_examples *e, bool outputs)
{
    unsigned mask = 0;
    for (int64_t i = 0; i < e->n_demos; i++) {
        const strip *s = outputs ? &e->want[i] : &e->in[i];
        for (int k = 0; k < s->n; k++) mask |= 1u << s->v[k];
    }
    return mask & ~1u;
}

/* Counts worth trying for moves and extensions: 1 ... 4 and the gaps of the demonstrations.  A gap
 * as a constant is the natural rule that is right on one demonstration only. */
static uint64_t counts(const arc_examples *e)
{
    uint64_t mask = 0x1e;
    for (int64_t i = 0; i < e->n_demos; i++) {
        span o[ARC_CELLS];
        int n = arc_segment(&e->in[i], UNIT_BLOCK, o);
        for (int k = 0; k + 1 < n && n <= 4; k++) {
            int gap = o[k + 1].at - (o[k].at + o[k].len);
            if (gap < 64) mask |= UINT64_C(1) << gap;
        }
    }
    return mask;
}

static int largest_count(int act)
{
    switch (act) {
    case ACT_TRIM_LEFT:
    case ACT_TRIM_RIGHT:
    case ACT_COPY_LEFT:
    case ACT_COPY_RIGHT: return 2;
    case ACT_TOWARD: return 3;
    default: return 63;
    }
}

static void try_actions(trial *s, arc_part p, unsigned paint, uint64_t count)
{
    for (int act = 0; act < ACTIONS; act++) {
        /* Objects have one colour: nothing to reverse and no majority. */
        if (p.unit == UNIT_OBJECT && (act == ACT_REVERSE || act == ACT_MAJORITY)) continue;
        p.act = (uint8_t)act;
        p.act_arg = 0;
        arc_arg sort = arc_action_arg(act);
        if (sort == ARG_NONE) {
            try_part(s, &p);
            continue;
        }
        int last = sort == ARG_COLOUR ? 9 : largest_count(act);
        uint64_t mask = sort == ARG_COLOUR ? paint : count;
        for (int k = 1; k <= last; k++) {
            if ((mask >> k & 1) == 0) continue;
            p.act_arg = (uint8_t)k;
            try_part(s, &p);
        }
    }
}

/* Hash of what a selector picks in all examples. */
static uint64_t selection(const arc_examples *e, const arc_part *p)
{
    uint64_t h = 1;
    for (int64_t i = 0; i < e->n; i++) {
        span o[ARC_CELLS];
        int n = arc_segment(&e->in[i], p->unit, o);
        uint64_t mask = arc_select(p, &e->in[i], o, n);
        h = rd_hash(&mask, sizeof mask, h);
    }
    return h;
}

static void try_edits(trial *s, int unit)
{
    /* Cheap selectors first: of several that pick the same objects, the first stands for all. */
    static const uint8_t order[SELECTORS] = {
        SEL_EVERY,        SEL_LONGEST,     SEL_LENGTH,   SEL_SHORTEST, SEL_ODD,
        SEL_EVEN,         SEL_NOT_LONGEST, SEL_FIRST,    SEL_LAST,     SEL_LONGER,
        SEL_NOT_SHORTEST, SEL_NOT_FIRST,   SEL_NOT_LAST, SEL_COLOUR};
    unsigned paint = colours(&s->e, true), have = colours(&s->e, false);
    uint64_t count = counts(&s->e), seen[SELECTIONS_MAX];
    int n_seen = 0;
    for (int k = 0; k < SELECTORS; k++) {
        arc_arg sort = arc_selector_arg(order[k]);
        int last = sort == ARG_COLOUR ? 9 : sort == ARG_COUNT ? 4 : 0;
        for (int arg = sort == ARG_NONE ? 0 : 1; arg <= last; arg++) {
            if (sort == ARG_COLOUR && (have >> arg & 1) == 0) continue;
            arc_part p = arc_edit(order[k], arg, 0, 0);
            p.unit = (uint8_t)unit;
            uint64_t h = selection(&s->e, &p);
            int at = 0;
            while (at < n_seen && seen[at] != h) at++;
            if (at < n_seen) continue;
            RD_ASSERT(n_seen < SELECTIONS_MAX);
            seen[n_seen++] = h;
            try_actions(s, p, paint, count);
        }
    }
}

/* ---------------------------------------------------------------- tables */

/* The colour that a demonstration's output gives to an object's cells; 0 when not one colour. */
static int colour_after(const strip *want, span o)
{
    if (o.at + o.len > want->n) return 0;
    for (int i = 1; i < o.len; i++) {
        if (want->v[o.at + i] != want->v[o.at]) return 0;
    }
    return want->v[o.at];
}

/* Entries are what the demonstrations show most often for each key: a table that the feature does
 * not determine comes out right on some of them, which is wanted. */
static void try_tables(trial *s, int unit)
{
    for (int f = 0; f < FEATURES; f++) {
        int votes[ARC_KEYS + 1][10] = {{0}}, n_entries = 0;
        arc_part p = {.form = FORM_TABLE, .unit = (uint8_t)unit, .act = (uint8_t)f};
        for (int64_t i = 0; i < s->e.n_demos; i++) {
            span o[ARC_CELLS];
            int n = arc_segment(&s->e.in[i], unit, o);
            for (int k = 0; k < n; k++)
                votes[arc_feature(f, &s->e.in[i], o, n, k)][colour_after(&s->e.want[i], o[k])]++;
        }
        for (int key = 1; key <= ARC_KEYS; key++) {
            for (int c = 1; c <= 9; c++) {
                if (votes[key][c] > (p.entry[key] ? votes[key][p.entry[key]] : 0))
                    p.entry[key] = (uint8_t)c;
            }
            n_entries += p.entry[key] != 0;
        }
        if (n_entries == 0) continue;
        try_part(s, &p);
        /* Each entry alone left out: nearly right wherever its key is rare. */
        for (int key = 1; key <= ARC_KEYS && n_entries > 1; key++) {
            if (p.entry[key] == 0) continue;
            arc_part q = p;
            q.entry[key] = 0;
            try_part(s, &q);
        }
    }
}

/* ---------------------------------------------------------------- two parts, neighbours */

static void try_pairs(trial *s)
{
    arc_part act[ARC_SMALL_MAX];
    int n = arc_small_actions(act);
    unsigned paint = colours(&s->e, true);
    for (int a = 0; a < n; a++) {
        if (arc_action_arg(act[a].act) == ARG_COLOUR && (paint >> act[a].act_arg & 1) == 0)
            continue;
        arc_rule r = {.n = 2, .part = {act[a]}};
        r.part[0].sel = SEL_FIRST;
        strip mid;
        bool defined = true;
        for (int64_t i = 0; i < s->e.n_demos && defined; i++)
            defined = arc_run_part(&r.part[0], &s->e.in[i], &mid);
        for (int b = 0; b < n && defined; b++) {
            if (arc_action_arg(act[b].act) == ARG_COLOUR && (paint >> act[b].act_arg & 1) == 0)
                continue;
            r.part[1] = act[b];
            r.part[1].sel = SEL_LAST;
            try_rule(s, &r);
        }
    }
}

/* Neighbours of the best rules, where the language has too few that are partly right.  The stream
 * depends on the examples alone, so the search stays a function of the task. */
static void try_neighbours(trial *s)
{
    enum { ROUNDS = 120 };
    uint64_t h = 0;
    for (int64_t i = 0; i < s->e.n; i++) h = rd_hash(s->e.in[i].v, (size_t)s->e.in[i].n, h);
    rd_rng rng = rd_rng_make(h, "arc1d.neighbours", 0, 0);
    int n = s->n_best;
    arc_rule from[BEST_MAX];
    memcpy(from, s->best, sizeof from);
    for (int k = 0; k < ROUNDS * n && s->partial < ENOUGH_PARTIAL; k++) {
        arc_rule r;
        arc_neighbour(&from[k % n], &rng, &r);
        try_rule(s, &r);
    }
}

int arc_search(const rd_task *t, const rd_search_opts *opts, rd_candidates *cands)
{
    int rc = RD_OK;
    trial s = {.set = NULL};
    *cands = (rd_candidates){0};
    if (!arc_examples_read(t, &s.e))
        RD_FAIL(RD_EINPUT, "task %lld: not lists of cells 0 to 9", (long long)t->id);
    s.set = candidate_set_create(RD_ARC1D, t, opts);
    /* Blocks need looking at only where they differ from objects. */
    bool blocks = false;
    for (int64_t i = 0; i < s.e.n && !blocks; i++) {
        span o[ARC_CELLS], b[ARC_CELLS];
        blocks = arc_segment(&s.e.in[i], UNIT_OBJECT, o) != arc_segment(&s.e.in[i], UNIT_BLOCK, b);
    }
    for (int unit = UNIT_OBJECT; unit <= (blocks ? UNIT_BLOCK : UNIT_OBJECT); unit++) {
        try_edits(&s, unit);
        try_tables(&s, unit);
    }
    for (int set = 0; set < GAP_SETS; set++)
        try_part(&s, &(arc_part){.form = FORM_GAPS, .act = (uint8_t)set});
    if (s.right == 0) try_pairs(&s);
    if (opts->max_partial > 0 && s.partial < ENOUGH_PARTIAL) try_neighbours(&s);
    candidate_set_finish(&s.set, cands);
done:
    arc_examples_free(&s.e);
    return rc;
}
