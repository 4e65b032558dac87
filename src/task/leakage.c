/* leakage.c: what a test split has in common with its training split.
 *
 * Everything is compared as 64-bit hashes in sorted arrays, so that sets of a hundred thousand
 * tasks take a second.  Scenes of ACRE are compared as sets: the order of objects says nothing. */
#include "families.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct hashes {
    int64_t n, cap;
    uint64_t *item;
} hashes;

static void hashes_add(hashes *h, uint64_t v)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 256;
        rd_resize(h->item, h->cap);
    }
    h->item[h->n++] = v;
}

static int hash_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void hashes_sort(hashes *h)
{
    if (h->n) qsort(h->item, (size_t)h->n, sizeof *h->item, hash_compare);
}

static bool hashes_have(const hashes *h, uint64_t v)
{
    return h->n && bsearch(&v, h->item, (size_t)h->n, sizeof *h->item, hash_compare);
}

static int64_t hashes_distinct(hashes *h)
{
    hashes_sort(h);
    int64_t distinct = h->n > 0;
    for (int64_t i = 1; i < h->n; i++) distinct += h->item[i] != h->item[i - 1];
    return distinct;
}

/* ---------------------------------------------------------------- keys */

/* The same for inputs that mean the same: a sum over the objects does not see their order. */
static uint64_t input_key(rd_family f, const char *input)
{
    if (f != RD_ACRE) return rd_hash_str(input, 1);
    uint64_t sum = 0;
    for (const char *p = strchr(input, '\''); p; p = strchr(p, '\'')) {
        const char *stop = strchr(++p, '\'');
        if (!stop) break;
        sum += rd_hash(p, (size_t)(stop - p), 2);
        p = stop + 1;
    }
    return sum;
}

static uint64_t pair_key(rd_family f, const rd_example *e)
{
    return rd_hash_str(e->output, input_key(f, e->input));
}

static uint64_t task_key(const rd_task *t)
{
    uint64_t h = (uint64_t)t->n_demos;
    for (int64_t i = 0; i < t->n_demos + t->n_queries; i++)
        h = rd_hash_str(t->examples[i].output, rd_hash_str(t->examples[i].input, h));
    return h;
}

/* Names in order of their first appearance. */
typedef struct renaming {
    int n;
    uint64_t name[512];
} renaming;

static uint64_t renamed(renaming *r, const char *name, size_t len)
{
    uint64_t h = rd_hash(name, len, 3);
    int k = 0;
    while (k < r->n && r->name[k] != h) k++;
    if (k == r->n && r->n < (int)(sizeof r->name / sizeof *r->name)) r->name[r->n++] = h;
    return (uint64_t)k + 1;
}

/* A text with its names replaced by numbers: runs of letters and digits (quoted: of anything). */
static uint64_t text_renamed(renaming *r, const char *text, char quote, const char *keep,
                             uint64_t h)
{
    while (*text) {
        size_t n = 0;
        if (quote && *text == quote)
            n = strcspn(text + 1, (char[]){quote, 0}) + 2;
        else if (!quote)
            while (isalnum((unsigned char)text[n])) n++;
        if (n == 0 || (n == strlen(keep) && !strncmp(text, keep, n))) {
            n += n == 0;
            h = rd_hash(text, n, h);
        } else {
            uint64_t k = renamed(r, text, n);
            h = rd_hash(&k, sizeof k, h);
        }
        for (size_t i = 0; i < n && *text; i++) text++;
    }
    return h;
}

/* Equal for tasks that differ in their words (MiniSCAN), colours (1D-ARC; 0 stays the background)
 * or objects (ACRE) only.  Numbers of List Function mean what they are. */
static uint64_t task_key_renamed(const rd_task *t)
{
    renaming inputs = {0}, outputs = {0};
    uint64_t h = (uint64_t)t->n_demos;
    if (t->family == RD_LIST_FUNCTION) return task_key(t);
    for (int64_t i = 0; i < t->n_demos + t->n_queries; i++) {
        const rd_example *e = &t->examples[i];
        if (t->family == RD_ACRE) {
            h = rd_hash_str(e->output, text_renamed(&inputs, e->input, '\'', "", h));
        } else if (t->family == RD_ARC1D) {
            h = text_renamed(&inputs, e->input, 0, "0", h);
            h = text_renamed(&inputs, e->output, 0, "0", h);
        } else {
            h = text_renamed(&inputs, e->input, 0, "", h);
            h = text_renamed(&outputs, e->output, 0, "", h);
        }
    }
    return h;
}

/* ---------------------------------------------------------------- report */

static bool answered_by_demo(const rd_task *t, const rd_example *q)
{
    for (int64_t i = 0; i < t->n_demos; i++)
        if (input_key(t->family, t->examples[i].input) == input_key(t->family, q->input) &&
            !strcmp(t->examples[i].output, q->output))
            return true;
    return false;
}

/* Hashes of the training split. */
typedef struct known {
    hashes tasks, pairs, classes;
} known;

static void known_gather(const rd_taskset *set, rd_family f, known *k)
{
    for (int64_t i = 0; i < set->n; i++) {
        const rd_task *t = &set->task[i];
        if (t->family != f || t->split != RD_SPLIT_TRAIN) continue;
        hashes_add(&k->tasks, task_key(t));
        if (t->rule_class) hashes_add(&k->classes, rd_hash_str(t->rule_class, 4));
        for (int64_t e = 0; e < t->n_demos + t->n_queries; e++)
            hashes_add(&k->pairs, pair_key(f, &t->examples[e]));
    }
    hashes_sort(&k->tasks);
    hashes_sort(&k->pairs);
    hashes_sort(&k->classes);
}

/* Queries that "the most frequent answer at this position" gets right: the position baseline. */
static int position_hits(const rd_taskset *set, rd_family f, int64_t *hits)
{
    int rc = RD_OK;
    rd_baselines *b = NULL;
    rd_buf answer = {0};
    int position = -1;
    for (int k = 0; k < rd_baseline_count(f); k++)
        if (!strcmp(rd_baseline_name(f, k), "position")) position = k;
    RD_ASSERT(position >= 0);
    RD_TRY(rd_baselines_fit(set, &b));
    for (int64_t i = 0; i < set->n; i++) {
        const rd_task *t = &set->task[i];
        for (int64_t q = 0; t->family == f && t->split == RD_SPLIT_TEST && q < t->n_queries; q++) {
            rd_buf_clear(&answer);
            rd_baselines_answer(b, position, t, q, &answer);
            *hits += answer.len && !strcmp(answer.data, t->examples[t->n_demos + q].output);
        }
    }
done:
    rd_buf_free(&answer);
    rd_baselines_free(&b);
    return rc;
}

int rd_leakage_report(const rd_taskset *set, rd_family f, rd_leakage *out)
{
    int rc = RD_OK;
    known k = {0};
    hashes shapes = {0};
    *out = (rd_leakage){0};
    known_gather(set, f, &k);
    for (int64_t i = 0; i < set->n; i++) {
        const rd_task *t = &set->task[i];
        if (t->family != f || t->split != RD_SPLIT_TEST) continue;
        out->test_tasks++;
        out->test_queries += t->n_queries;
        out->tasks_in_train += hashes_have(&k.tasks, task_key(t));
        out->classes_in_train +=
            t->rule_class && hashes_have(&k.classes, rd_hash_str(t->rule_class, 4));
        hashes_add(&shapes, task_key_renamed(t));
        for (int64_t q = 0; q < t->n_queries; q++) {
            const rd_example *e = &t->examples[t->n_demos + q];
            out->pairs_in_train += hashes_have(&k.pairs, pair_key(f, e));
            out->queries_in_demos += answered_by_demo(t, e);
        }
    }
    out->distinct_after_renaming = hashes_distinct(&shapes);
    RD_TRY(position_hits(set, f, &out->best_position_hits));
done:
    rd_free(k.tasks.item);
    rd_free(k.pairs.item);
    rd_free(k.classes.item);
    rd_free(shapes.item);
    return rc;
}

/* ---------------------------------------------------------------- operations */

/* Hashes of the kinds of a task's rule and of their pairs.  false: no rule is known. */
static bool operations_of(const rd_task *t, hashes *kinds, hashes *pairs)
{
    rd_rule *r = t->rule ? rd_rule_parse(t->family, t->rule) : NULL;
    rd_buf lines = {0};
    hashes mine = {0};
    if (!r) return false;
    rd_family_ops(t->family)->kinds(r, &lines);
    for (const char *p = lines.data ? lines.data : ""; *p; p += strcspn(p, "\n") + 1)
        hashes_add(&mine, rd_hash(p, strcspn(p, "\n"), 5));
    for (int64_t i = 0; i < mine.n; i++) {
        hashes_add(kinds, mine.item[i]);
        for (int64_t k = i + 1; k < mine.n; k++)
            hashes_add(pairs, rd_hash(&mine.item[k], sizeof mine.item[k], mine.item[i]));
    }
    rd_buf_free(&lines);
    rd_free(mine.item);
    rd_rule_free(t->family, &r);
    return true;
}

static bool all_among(const hashes *of, const hashes *all)
{
    for (int64_t i = 0; i < of->n; i++)
        if (!hashes_have(all, of->item[i])) return false;
    return true;
}

void rd_leakage_of_operations(const rd_taskset *set, int64_t source, rd_leakage_operations *out)
{
    hashes kinds = {0}, pairs = {0}, classes = {0};
    rd_family f = RD_FAMILIES;
    *out = (rd_leakage_operations){0};
    for (int64_t i = 0; i < set->n; i++)
        if (set->task[i].source == source) f = set->task[i].family;
    for (int64_t i = 0; i < set->n; i++) {
        const rd_task *t = &set->task[i];
        if (t->family != f || t->split != RD_SPLIT_TRAIN) continue;
        operations_of(t, &kinds, &pairs);
        if (t->rule_class) hashes_add(&classes, rd_hash_str(t->rule_class, 4));
    }
    hashes_sort(&kinds);
    hashes_sort(&pairs);
    hashes_sort(&classes);
    for (int64_t i = 0; i < set->n; i++) {
        const rd_task *t = &set->task[i];
        hashes k = {0}, p = {0};
        if (t->source != source || t->split != RD_SPLIT_TEST) continue;
        if (operations_of(t, &k, &p)) {
            out->test_tasks++;
            out->known_kinds += all_among(&k, &kinds);
            out->known_pairs += all_among(&p, &pairs);
            out->classes_in_train +=
                t->rule_class && hashes_have(&classes, rd_hash_str(t->rule_class, 4));
        }
        rd_free(k.item);
        rd_free(p.item);
    }
    rd_free(kinds.item);
    rd_free(pairs.item);
    rd_free(classes.item);
}
