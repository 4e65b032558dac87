/* holdout.c: operations that training never sees.
 *
 * A rule is read as the list of its operations' kinds and the ordered pairs of these.  Which are
 * held out is decided among what the generator draws from, by rank in a keyed hash: so at least one
 * is, and never so many that nothing is left to train on. */
#include "families.h"

#include <stdlib.h>
#include <string.h>

typedef struct names {
    int64_t n, cap;
    char **item;
} names;

struct rd_held {
    rd_family family;
    names kinds;
    names pairs; /* "first\tsecond" */
};

/* ---------------------------------------------------------------- names */

static void names_add(names *s, const char *text, size_t len)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 16;
        rd_resize(s->item, s->cap);
    }
    s->item[s->n++] = rd_strndup(text, len);
}

static void names_of(const char *lines, names *s)
{
    for (const char *p = lines ? lines : ""; *p; p += *p == '\n') {
        size_t len = strcspn(p, "\n");
        names_add(s, p, len);
        p += len;
    }
}

static bool names_have(const names *s, const char *name)
{
    for (int64_t i = 0; i < s->n; i++)
        if (!strcmp(s->item[i], name)) return true;
    return false;
}

static void names_free(names *s)
{
    for (int64_t i = 0; i < s->n; i++) rd_free(s->item[i]);
    rd_free(s->item);
    *s = (names){0};
}

void pairs_put(const char *kinds, rd_buf *out)
{
    names k = {0};
    names_of(kinds, &k);
    for (int64_t i = 0; i < k.n; i++)
        for (int64_t j = 0; j < k.n; j++) rd_buf_printf(out, "%s\t%s\n", k.item[i], k.item[j]);
    names_free(&k);
}

bool held_kind(const rd_held *h, const char *kind)
{
    return names_have(&h->kinds, kind);
}

bool held_pair(const rd_held *h, const char *first, const char *second)
{
    size_t n = strlen(first);
    for (int64_t i = 0; i < h->pairs.n; i++) {
        const char *pair = h->pairs.item[i];
        if (!strncmp(pair, first, n) && pair[n] == '\t' && !strcmp(pair + n + 1, second))
            return true;
    }
    return false;
}

/* ---------------------------------------------------------------- what is held out */

typedef struct ranked {
    uint64_t rank;
    char *name;
} ranked;

static int ranked_compare(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* In the order in which they would be held out.  Names are moved within the list. */
static void names_rank(names *s, uint64_t seed, const char *level)
{
    ranked *r = rd_new(ranked, s->n);
    for (int64_t i = 0; i < s->n; i++)
        r[i] = (ranked){rd_hash_str(s->item[i], rd_hash_str(level, seed)), s->item[i]};
    if (s->n > 0) qsort(r, (size_t)s->n, sizeof *r, ranked_compare);
    for (int64_t i = 0; i < s->n; i++) s->item[i] = r[i].name;
    rd_free(r);
}

/* share of n, but at least one and at most one in `least`. */
static int64_t count_held(double share, int64_t n, int64_t least)
{
    int64_t count = (int64_t)(share * (double)n), most = n / least;
    if (count > most) count = most;
    return count < 1 ? 1 : count;
}

const char *rd_hold_refusal(const rd_gen_opts *gen, rd_hold level)
{
    rd_buf all = {0};
    const char *reason = rd_family_ops(gen->family)->vocabulary(gen, level, &all);
    rd_buf_free(&all);
    return reason;
}

static int vocabulary(const rd_hold_want *w, uint64_t seed, names *out)
{
    int rc = RD_OK;
    rd_buf all = {0};
    const family_ops *ops = rd_family_ops(w->gen->family);
    const char *reason = ops->vocabulary(w->gen, w->level, &all);
    if (reason)
        RD_FAIL(RD_EINPUT, "%s of difficulty %d: %s", ops->name, w->gen->difficulty, reason);
    names_of(all.data, out);
    names_rank(out, seed, w->level == RD_HOLD_KIND ? "kind" : "pair");
done:
    rd_buf_free(&all);
    return rc;
}

static int hold_kinds(rd_held *h, const rd_hold_want *w, uint64_t seed)
{
    int rc = RD_OK;
    names all = {0};
    RD_TRY(vocabulary(w, seed, &all));
    int64_t n = count_held(w->share, all.n, 4);
    for (int64_t i = 0; i < n && i < all.n; i++)
        if (!held_kind(h, all.item[i])) names_add(&h->kinds, all.item[i], strlen(all.item[i]));
done:
    names_free(&all);
    return rc;
}

static bool has_part(const char *pair, const char *part, size_t n)
{
    const char *tab = strchr(pair, '\t');
    return ((size_t)(tab - pair) == n && !memcmp(pair, part, n)) ||
           (strlen(tab + 1) == n && !memcmp(tab + 1, part, n));
}

/* Is there, beside pair `at`, one with this part that is not held out? */
static bool part_stays(const names *all, const bool *held, int64_t at, const char *part, size_t n)
{
    for (int64_t i = 0; i < all->n; i++)
        if (i != at && !held[i] && has_part(all->item[i], part, n)) return true;
    return false;
}

/* Pairs of kinds that are trained on, and none that would leave a kind without a pair. */
static int hold_pairs(rd_held *h, const rd_hold_want *w, uint64_t seed)
{
    int rc = RD_OK;
    names all = {0};
    RD_TRY(vocabulary(w, seed, &all));
    int64_t n = 0, wanted, taken = 0;
    for (int64_t i = 0; i < all.n; i++) {
        char *pair = all.item[i], *tab = strchr(pair, '\t');
        *tab = 0;
        bool trained = !held_kind(h, pair) && !held_kind(h, tab + 1);
        *tab = '\t';
        if (trained)
            all.item[n++] = pair;
        else
            rd_free(pair);
    }
    all.n = n;
    wanted = count_held(w->share, n, 2);
    bool *held = rd_new(bool, n);
    for (int64_t i = 0; i < n && taken < wanted; i++) {
        const char *pair = all.item[i], *tab = strchr(pair, '\t');
        held[i] = part_stays(&all, held, i, pair, (size_t)(tab - pair)) &&
                  part_stays(&all, held, i, tab + 1, strlen(tab + 1));
        taken += held[i];
        if (held[i] && !names_have(&h->pairs, pair)) names_add(&h->pairs, pair, strlen(pair));
    }
    rd_free(held);
    if (taken == 0)
        RD_FAIL(RD_EINPUT, "%s of difficulty %d: no pair of operations can be held out",
                rd_family_name(h->family), w->gen->difficulty);
done:
    names_free(&all);
    return rc;
}

int rd_held_create(rd_family f, uint64_t seed, const rd_hold_want *want, int n, rd_held **out)
{
    int rc = RD_OK;
    rd_held *h = rd_new(rd_held, 1);
    h->family = f;
    for (int i = 0; i < n; i++)
        if (want[i].level == RD_HOLD_KIND) RD_TRY(hold_kinds(h, &want[i], seed));
    for (int i = 0; i < n; i++)
        if (want[i].level == RD_HOLD_PAIR) RD_TRY(hold_pairs(h, &want[i], seed));
    *out = h;
    h = NULL;
done:
    rd_held_free(&h);
    return rc;
}

void rd_held_free(rd_held **h)
{
    if (!*h) return;
    names_free(&(*h)->kinds);
    names_free(&(*h)->pairs);
    RD_FREE(*h);
}

uint64_t rd_held_hash(const rd_held *h)
{
    uint64_t sum = 0;
    for (int64_t i = 0; h && i < h->kinds.n; i++) sum = rd_hash_str(h->kinds.item[i], sum + 1);
    for (int64_t i = 0; h && i < h->pairs.n; i++) sum = rd_hash_str(h->pairs.item[i], sum + 2);
    return sum;
}

int64_t rd_held_names(const rd_held *h, rd_hold level, rd_buf *out)
{
    const names *s = level == RD_HOLD_KIND ? &h->kinds : &h->pairs;
    for (int64_t i = 0; i < s->n; i++) {
        const char *tab = strchr(s->item[i], '\t');
        if (tab)
            rd_buf_printf(out, "%.*s > %s\n", (int)(tab - s->item[i]), s->item[i], tab + 1);
        else
            rd_buf_printf(out, "%s\n", s->item[i]);
    }
    return s->n;
}

rd_hold rd_held_level(const rd_held *h, const rd_rule *r)
{
    bool kind = false, pair = false;
    rd_buf text = {0};
    names k = {0};
    rd_family_ops(h->family)->kinds(r, &text);
    names_of(text.data, &k);
    for (int64_t i = 0; i < k.n; i++) {
        kind |= held_kind(h, k.item[i]);
        for (int64_t j = i + 1; j < k.n; j++) pair |= held_pair(h, k.item[i], k.item[j]);
    }
    names_free(&k);
    rd_buf_free(&text);
    return kind && pair ? RD_HOLD_MIXED : kind ? RD_HOLD_KIND : pair ? RD_HOLD_PAIR : RD_HOLD_RULE;
}
