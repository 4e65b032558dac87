/* candidates.c: the rules that a search keeps, one per behaviour.
 *
 * A search meets tens of thousands of rules per task; few of them can still matter.  Rules are kept
 * in bands by score: one band per number of demonstrations reproduced, each short and sorted, so
 * that an addition is a comparison with the band's last entry and seldom more.  Equal behaviour
 * implies equal score, hence duplicates are only looked for inside a band.
 *
 * Rules that are partly right get the widest choice of scores: finish takes the best of each band
 * in turn, because preference pairs need score gaps, not sixty rules that all miss one
 * demonstration. */
#include "families.h"

#include <stdlib.h>
#include <string.h>

typedef struct entry {
    rd_rule *rule;
    double cost, soft;
    uint64_t behaviour;
} entry;

typedef struct band {
    int64_t n, limit;
    entry *item; /* limit of them */
} band;

struct candidate_set {
    rd_family family;
    int64_t n_demos;
    rd_search_opts opts;
    band *bands; /* by score, 0 … n_demos */
};

candidate_set *candidate_set_create(rd_family f, const rd_task *t, const rd_search_opts *opts)
{
    candidate_set *s = rd_new(candidate_set, 1);
    s->family = f;
    s->n_demos = t->n_demos;
    s->opts = *opts;
    s->bands = rd_new(band, t->n_demos + 1);
    for (int64_t k = 0; k <= t->n_demos; k++) {
        band *b = &s->bands[k];
        b->limit = k == t->n_demos ? opts->max_right : k == 0 ? opts->max_wrong : opts->max_partial;
        if (b->limit < 0) b->limit = 0;
        b->item = rd_new(entry, b->limit);
    }
    return s;
}

/* Wrong rules are worth keeping when they are nearly right; all others when they are cheap. */
static bool entry_before(const candidate_set *s, int32_t score, double cost, double soft,
                         const entry *b)
{
    if (score == 0 && s->n_demos > 0 && soft != b->soft) return soft > b->soft;
    return cost < b->cost;
}

bool candidate_set_wants(const candidate_set *s, double cost, int32_t score, double soft)
{
    RD_ASSERT(score >= 0 && score <= s->n_demos);
    const band *b = &s->bands[score];
    if (b->n < b->limit) return true;
    return b->limit > 0 && entry_before(s, score, cost, soft, &b->item[b->n - 1]);
}

void candidate_set_add_take(candidate_set *s, rd_rule *r, double cost, int32_t score, double soft,
                            uint64_t behaviour)
{
    if (!candidate_set_wants(s, cost, score, soft)) {
        rd_rule_free(s->family, &r);
        return;
    }
    band *b = &s->bands[score];
    int64_t at = 0;
    while (at < b->n && b->item[at].behaviour != behaviour) at++;
    if (at < b->n && !entry_before(s, score, cost, soft, &b->item[at])) {
        rd_rule_free(s->family, &r); /* the same behaviour is there, no dearer */
        return;
    }
    if (at == b->n && b->n < b->limit)
        b->n++;
    else if (at == b->n)
        at = b->n - 1;
    if (b->item[at].rule) rd_rule_free(s->family, &b->item[at].rule);
    for (; at > 0 && entry_before(s, score, cost, soft, &b->item[at - 1]); at--)
        b->item[at] = b->item[at - 1];
    b->item[at] = (entry){r, cost, soft, behaviour};
}

static void list_add(rd_candidates *out, entry *e, int32_t score)
{
    if (out->n == out->cap) {
        out->cap = out->cap ? 2 * out->cap : 32;
        rd_resize(out->item, out->cap);
    }
    out->item[out->n++] = (rd_candidate){e->rule, e->cost, score, e->soft};
    e->rule = NULL;
}

/* A candidate with its text, which only ties need. */
typedef struct keyed {
    rd_candidate c;
    char *text;
} keyed;

static int keyed_compare(const void *pa, const void *pb)
{
    const keyed *a = pa, *b = pb;
    if (a->c.score != b->c.score) return a->c.score > b->c.score ? -1 : 1;
    if (a->c.cost != b->c.cost) return a->c.cost < b->c.cost ? -1 : 1;
    return strcmp(a->text, b->text);
}

static void list_sort(rd_family f, rd_candidates *list)
{
    keyed *k = rd_new(keyed, list->n);
    for (int64_t i = 0; i < list->n; i++) {
        rd_buf text = {0};
        rd_rule_print(f, list->item[i].rule, 0, &text);
        k[i] = (keyed){list->item[i], rd_buf_take(&text)};
    }
    qsort(k, (size_t)list->n, sizeof *k, keyed_compare);
    for (int64_t i = 0; i < list->n; i++) {
        list->item[i] = k[i].c;
        rd_free(k[i].text);
    }
    rd_free(k);
}

void candidate_set_finish(candidate_set **set, rd_candidates *out)
{
    candidate_set *s = *set;
    if (!s) return;
    *out = (rd_candidates){0};
    band *right = &s->bands[s->n_demos];
    for (int64_t i = 0; i < right->n; i++) list_add(out, &right->item[i], (int32_t)s->n_demos);
    int64_t partial = 0;
    for (int64_t round = 0; round < s->opts.max_partial && partial < s->opts.max_partial; round++)
        for (int64_t k = s->n_demos - 1; k >= 1 && partial < s->opts.max_partial; k--)
            if (round < s->bands[k].n) {
                list_add(out, &s->bands[k].item[round], (int32_t)k);
                partial++;
            }
    if (s->n_demos > 0)
        for (int64_t i = 0; i < s->bands[0].n; i++) list_add(out, &s->bands[0].item[i], 0);
    for (int64_t k = 0; k <= s->n_demos; k++) {
        for (int64_t i = 0; i < s->bands[k].n; i++)
            if (s->bands[k].item[i].rule) rd_rule_free(s->family, &s->bands[k].item[i].rule);
        rd_free(s->bands[k].item);
    }
    list_sort(s->family, out);
    rd_free(s->bands);
    rd_free(s);
    *set = NULL;
}

void rd_candidates_free(rd_family f, rd_candidates *c)
{
    for (int64_t i = 0; i < c->n; i++) rd_rule_free(f, &c->item[i].rule);
    rd_free(c->item);
    *c = (rd_candidates){0};
}
