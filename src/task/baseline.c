/* baseline.c: what needs no understanding: the answers a method must beat.
 *
 * Each baseline answers a query from the task's demonstrations alone; only "position" looks at
 * other tasks: it answers the k-th query with what the k-th query's answer most often was in
 * training. */
#include "families.h"

#include <stdlib.h>
#include <string.h>

typedef void answerer(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out);

typedef struct baseline {
    const char *name;
    answerer *answer;
} baseline;

/* Most frequent training answer of each query position; NULL where none was seen. */
typedef struct positions {
    int64_t n;
    char **answer;
} positions;
struct rd_baselines {
    positions family[RD_FAMILIES];
};

static const char *query_input(const rd_task *t, int64_t q)
{
    return t->examples[t->n_demos + q].input;
}

/* ---------------------------------------------------------------- all families */

/* The most frequent demonstrated output; of several the one shown first. */
static void majority(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out)
{
    (void)b;
    (void)q;
    int64_t best = 0, most = 0;
    for (int64_t i = 0; i < t->n_demos; i++) {
        int64_t n = 0;
        for (int64_t k = 0; k < t->n_demos; k++)
            n += !strcmp(t->examples[i].output, t->examples[k].output);
        if (n > most) {
            most = n;
            best = i;
        }
    }
    if (t->n_demos) rd_buf_puts(out, t->examples[best].output);
}

static void identity(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out)
{
    (void)b;
    rd_buf_puts(out, query_input(t, q));
}

static void position(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out)
{
    const positions *p = &b->family[t->family];
    if (q < p->n && p->answer[q]) rd_buf_puts(out, p->answer[q]);
}

/* An input as a sequence of hashes: numbers, objects or words. */
enum { MAX_PARTS = 160 };
static int parts_of(const char *input, uint64_t part[MAX_PARTS])
{
    static const char between[] = "[], '";
    bool quoted = strchr(input, '\'') != NULL;
    int n = 0;
    while (*(input += strspn(input, between)) && n < MAX_PARTS) {
        size_t len = strcspn(input, quoted ? "'" : between);
        part[n++] = rd_hash(input, len, 0);
        input += len;
    }
    return n;
}

/* Jaccard distance of the sets of parts, 0 … 1. */
static double set_distance(const uint64_t *a, int na, const uint64_t *b, int nb)
{
    int both = 0;
    for (int i = 0; i < na; i++) {
        int k = 0;
        while (k < nb && b[k] != a[i]) k++;
        both += k < nb;
    }
    int either = na + nb - both;
    return either ? 1 - (double)both / either : 0;
}

/* Levenshtein distance of the sequences of parts. */
static double edit_distance(const uint64_t *a, int na, const uint64_t *b, int nb)
{
    int row[MAX_PARTS + 1] = {0};
    for (int k = 0; k <= nb; k++) row[k] = k;
    for (int i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int k = 1; k <= nb; k++) {
            int best = diagonal + (a[i - 1] != b[k - 1]);
            diagonal = row[k];
            if (row[k] + 1 < best) best = row[k] + 1;
            if (row[k - 1] + 1 < best) best = row[k - 1] + 1;
            row[k] = best;
        }
    }
    return row[nb];
}

/* The output of the demonstration whose input is nearest (the first of several). */
static void copy(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out)
{
    (void)b;
    uint64_t mine[MAX_PARTS], other[MAX_PARTS];
    int n = parts_of(query_input(t, q), mine);
    int64_t nearest = -1;
    double best = 0;
    for (int64_t i = 0; i < t->n_demos; i++) {
        int m = parts_of(t->examples[i].input, other);
        double d = t->family == RD_ACRE ? set_distance(mine, n, other, m)
                                        : edit_distance(mine, n, other, m);
        if (nearest >= 0 && d >= best) continue;
        nearest = i;
        best = d;
    }
    if (nearest >= 0) rd_buf_puts(out, t->examples[nearest].output);
}

/* ---------------------------------------------------------------- lists */

static int int_compare(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

typedef enum {
    L_IDENTITY,
    L_EMPTY,
    L_FIRST,
    L_LAST,
    L_REVERSE,
    L_SORT,
    L_SORT_DOWN,
    L_UNIQUE,
    L_DROP_FIRST,
    L_DROP_LAST,
    L_MAX,
    L_MIN,
    L_LENGTH,
    L_SUM,
    L_MAJORITY,
    L_RULES
} list_rule;

static void list_reverse(ints *l)
{
    for (int32_t a = 0, z = l->n - 1; a < z; a++, z--) {
        int32_t swap = l->v[a];
        l->v[a] = l->v[z];
        l->v[z] = swap;
    }
}

static void list_unique(ints *l)
{
    int32_t n = 0;
    for (int32_t i = 0; i < l->n; i++) {
        int32_t k = 0;
        while (k < n && l->v[k] != l->v[i]) k++;
        if (k == n) l->v[n++] = l->v[i];
    }
    l->n = n;
}

static void list_drop(ints *l, int32_t at)
{
    if (l->n == 0) return;
    memmove(l->v + at, l->v + at + 1, (size_t)(l->n - at - 1) * sizeof *l->v);
    l->n--;
}

static void list_single(ints *l, int64_t v)
{
    l->n = 1;
    l->v[0] = (int32_t)(v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v);
}

static void list_sum(ints *l)
{
    int64_t sum = 0;
    for (int32_t i = 0; i < l->n; i++) sum += l->v[i];
    list_single(l, sum);
}

/* Rules of the empty list that need an element give the empty list. */
static void list_apply(list_rule rule, ints *l)
{
    ints sorted = *l;
    qsort(sorted.v, (size_t)sorted.n, sizeof *sorted.v, int_compare);
    switch (rule) {
    case L_EMPTY: l->n = 0; break;
    case L_FIRST: l->n = l->n > 0; break;
    case L_LAST:
        if (l->n) list_single(l, l->v[l->n - 1]);
        break;
    case L_REVERSE: list_reverse(l); break;
    case L_SORT: *l = sorted; break;
    case L_SORT_DOWN:
        *l = sorted;
        list_reverse(l);
        break;
    case L_UNIQUE: list_unique(l); break;
    case L_DROP_FIRST: list_drop(l, 0); break;
    case L_DROP_LAST: list_drop(l, l->n - 1); break;
    case L_MAX:
        if (l->n) list_single(l, sorted.v[l->n - 1]);
        break;
    case L_MIN:
        if (l->n) list_single(l, sorted.v[0]);
        break;
    case L_LENGTH: list_single(l, l->n); break;
    case L_SUM: list_sum(l); break;
    default: break;
    }
}

static void list_answer(list_rule rule, const rd_task *t, const char *input, rd_buf *out)
{
    ints l;
    if (rule == L_MAJORITY) {
        majority(NULL, t, 0, out);
    } else if (ints_read(input, &l)) {
        list_apply(rule, &l);
        ints_print(&l, out);
    }
}

#define LIST_BASELINE(name, rule)                                                     \
    static void name(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out) \
    {                                                                                 \
        (void)b;                                                                      \
        list_answer(rule, t, query_input(t, q), out);                                 \
    }
LIST_BASELINE(list_empty, L_EMPTY)
LIST_BASELINE(list_first, L_FIRST)
LIST_BASELINE(list_last, L_LAST)
LIST_BASELINE(list_reversed, L_REVERSE)
LIST_BASELINE(list_sorted, L_SORT)
LIST_BASELINE(list_distinct, L_UNIQUE)
LIST_BASELINE(list_tail, L_DROP_FIRST)

/* The one of the trivial rules that reproduces most demonstrations (the first of several). */
static void list_best(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out)
{
    (void)b;
    list_rule best = L_IDENTITY;
    int64_t most = -1;
    rd_buf answer = {0};
    for (int r = 0; r < L_RULES; r++) {
        int64_t score = 0;
        for (int64_t i = 0; i < t->n_demos; i++) {
            rd_buf_clear(&answer);
            list_answer((list_rule)r, t, t->examples[i].input, &answer);
            score += answer.len && !strcmp(answer.data, t->examples[i].output);
        }
        if (score > most) {
            most = score;
            best = (list_rule)r;
        }
    }
    rd_buf_free(&answer);
    list_answer(best, t, query_input(t, q), out);
}

static void cells_cleared(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out)
{
    (void)b;
    ints l;
    if (!ints_read(query_input(t, q), &l)) return;
    memset(l.v, 0, sizeof l.v);
    ints_print(&l, out);
}

static void cells_shift(const rd_task *t, int64_t q, int32_t by, rd_buf *out)
{
    ints l;
    if (!ints_read(query_input(t, q), &l)) return;
    for (int32_t i = l.n - 1; i >= 0; i--) l.v[i] = i >= by ? l.v[i - by] : 0;
    ints_print(&l, out);
}

#define SHIFT_BASELINE(name, by)                                                      \
    static void name(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out) \
    {                                                                                 \
        (void)b;                                                                      \
        cells_shift(t, q, by, out);                                                   \
    }
SHIFT_BASELINE(cells_right_1, 1)
SHIFT_BASELINE(cells_right_2, 2)
SHIFT_BASELINE(cells_right_3, 3)

/* ---------------------------------------------------------------- ACRE */

#define LABEL_BASELINE(name, label)                                                   \
    static void name(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out) \
    {                                                                                 \
        (void)b;                                                                      \
        (void)t;                                                                      \
        (void)q;                                                                      \
        rd_buf_puts(out, label);                                                      \
    }
LABEL_BASELINE(always_off, "off")
LABEL_BASELINE(always_on, "on")
LABEL_BASELINE(always_undetermined, "undetermined")

/* The label of the same scene among the demonstrations, else "undetermined". */
static void look_up(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out)
{
    (void)b;
    uint64_t mine[MAX_PARTS], other[MAX_PARTS];
    int n = parts_of(query_input(t, q), mine);
    for (int64_t i = 0; i < t->n_demos; i++) {
        int m = parts_of(t->examples[i].input, other);
        if (set_distance(mine, n, other, m) > 0) continue;
        rd_buf_puts(out, t->examples[i].output);
        return;
    }
    rd_buf_puts(out, "undetermined");
}

static bool seen_with(const rd_task *t, uint64_t object, const char *label)
{
    uint64_t other[MAX_PARTS];
    for (int64_t i = 0; i < t->n_demos; i++) {
        if (strcmp(t->examples[i].output, label) != 0) continue;
        int m = parts_of(t->examples[i].input, other);
        for (int k = 0; k < m; k++)
            if (other[k] == object) return true;
    }
    return false;
}

/* On with any object that was in an on scene and never in an off scene, else off. */
static void binary(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out)
{
    (void)b;
    uint64_t mine[MAX_PARTS];
    int n = parts_of(query_input(t, q), mine);
    bool on = false;
    for (int k = 0; k < n; k++) on |= seen_with(t, mine[k], "on") && !seen_with(t, mine[k], "off");
    rd_buf_puts(out, on ? "on" : "off");
}

/* ---------------------------------------------------------------- MiniSCAN */

/* Each word as it is translated on its own; words never seen alone say nothing. */
static void words_translate(const rd_task *t, int64_t q, bool backwards, rd_buf *out)
{
    const char *input = query_input(t, q), *end = input + strlen(input);
    const char *word = backwards ? end : input;
    while (backwards ? word > input : word < end) {
        size_t len;
        if (backwards) {
            const char *start = word;
            while (start > input && start[-1] != ' ') start--;
            len = (size_t)(word - start);
            word = start;
        } else {
            len = strcspn(word, " ");
        }
        for (int64_t i = 0; i < t->n_demos; i++) {
            const char *one = t->examples[i].input;
            if (strlen(one) != len || strncmp(one, word, len) != 0) continue;
            if (out->len) rd_buf_putc(out, ' ');
            rd_buf_puts(out, t->examples[i].output);
            break;
        }
        word += backwards ? -(word > input) : (ptrdiff_t)len + (word[len] == ' ');
    }
}

static void word_by_word(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out)
{
    (void)b;
    words_translate(t, q, false, out);
}

static void words_reversed(const rd_baselines *b, const rd_task *t, int64_t q, rd_buf *out)
{
    (void)b;
    words_translate(t, q, true, out);
}

/* ---------------------------------------------------------------- the tables */

#define COMMON                                                      \
    {"majority", majority}, {"copy", copy}, {"identity", identity}, \
    {                                                               \
        "position", position                                        \
    }

static const baseline list_baselines[] = {
    COMMON,
    {"empty", list_empty},
    {"first", list_first},
    {"last", list_last},
    {"reverse", list_reversed},
    {"sort", list_sorted},
    {"unique", list_distinct},
    {"drop_first", list_tail},
    {"best_of_15", list_best},
};
static const baseline arc_baselines[] = {
    COMMON,
    {"all_zero", cells_cleared},
    {"shift_right_1", cells_right_1},
    {"shift_right_2", cells_right_2},
    {"shift_right_3", cells_right_3},
};
static const baseline acre_baselines[] = {
    COMMON,
    {"always_off", always_off},
    {"always_on", always_on},
    {"always_undetermined", always_undetermined},
    {"look_up", look_up},
    {"binary", binary},
};
static const baseline scan_baselines[] = {
    COMMON,
    {"word_by_word", word_by_word},
    {"words_reversed", words_reversed},
};

#define TABLE(t)                            \
    {                                       \
        (t), (int)(sizeof(t) / sizeof *(t)) \
    }
static const struct {
    const baseline *item;
    int n;
} tables[RD_FAMILIES] = {
    [RD_LIST_FUNCTION] = TABLE(list_baselines),
    [RD_ARC1D] = TABLE(arc_baselines),
    [RD_ACRE] = TABLE(acre_baselines),
    [RD_MINISCAN] = TABLE(scan_baselines),
};

int rd_baseline_count(rd_family f)
{
    return tables[f].n;
}

const char *rd_baseline_name(rd_family f, int k)
{
    RD_ASSERT(k >= 0 && k < tables[f].n);
    return tables[f].item[k].name;
}

void rd_baselines_answer(const rd_baselines *b, int k, const rd_task *t, int64_t q, rd_buf *out)
{
    RD_ASSERT(k >= 0 && k < tables[t->family].n && q >= 0 && q < t->n_queries);
    tables[t->family].item[k].answer(b, t, q, out);
}

/* ---------------------------------------------------------------- fitting */

static int text_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The most frequent of n texts, the smallest of several; NULL when there are none. */
static const char *most_frequent(const char **text, int64_t n)
{
    const char *best = NULL;
    int64_t most = 0;
    if (n) qsort(text, (size_t)n, sizeof *text, text_compare);
    for (int64_t i = 0, run = 0; i < n; i++) {
        run = i && !strcmp(text[i], text[i - 1]) ? run + 1 : 1;
        if (run > most) {
            most = run;
            best = text[i];
        }
    }
    return best;
}

int rd_baselines_fit(const rd_taskset *train, rd_baselines **out)
{
    rd_baselines *b = rd_new(rd_baselines, 1);
    const char **text = rd_new(const char *, train->n);
    for (int f = 0; f < RD_FAMILIES; f++) {
        positions *p = &b->family[f];
        for (int64_t i = 0; i < train->n; i++) {
            const rd_task *t = &train->task[i];
            if ((int)t->family == f && t->split == RD_SPLIT_TRAIN && t->n_queries > p->n)
                p->n = t->n_queries;
        }
        p->answer = rd_new(char *, p->n);
        for (int64_t q = 0; q < p->n; q++) {
            int64_t n = 0;
            for (int64_t i = 0; i < train->n; i++) {
                const rd_task *t = &train->task[i];
                if ((int)t->family == f && t->split == RD_SPLIT_TRAIN && q < t->n_queries)
                    text[n++] = t->examples[t->n_demos + q].output;
            }
            p->answer[q] = rd_strdup(most_frequent(text, n));
        }
    }
    rd_free(text);
    *out = b;
    return RD_OK;
}

void rd_baselines_free(rd_baselines **b)
{
    if (!*b) return;
    for (int f = 0; f < RD_FAMILIES; f++) {
        for (int64_t q = 0; q < (*b)->family[f].n; q++) rd_free((*b)->family[f].answer[q]);
        rd_free((*b)->family[f].answer);
    }
    RD_FREE(*b);
}
