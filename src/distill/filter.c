/* filter.c: the filter stage: scored rules become training rows and preference pairs.
 *
 * Each rank filters a contiguous block of tasks, read in chunks, and the ranks' rows are written
 * one rank after the other: task order, whatever the number of ranks.  Only the family-wide removal
 * of duplicates looks beyond a task; it needs to know the rule texts of all lower ranks' tasks. */
#include "rows.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#define DATASETS_SCHEMA "redistill.datasets"
enum { DATASETS_VERSION = 1, CHUNK_TASKS = 256, ROWS_VERSION = 2 };

/* Scores as fractions of the demonstrations enter the correlation in units of 1 / 5040, which is
 * exact for every usual number of demonstrations: integer sums are the same on any number of ranks.
 */
enum { SCORE_UNITS = 5040 };

enum { N_WORDS, SUM_WORDS, SUM_SCORE, SUM_WORDS2, SUM_SCORE2, SUM_BOTH, N_SUMS };

/* Hashes of rule texts that were seen.  64 bits: a wrong hit is expected once in 10^12 for
 * millions. */
typedef struct text_set {
    uint64_t *slot; /* 0: free */
    int64_t n, cap;
} text_set;

typedef struct filter {
    const rd_grid *g;
    const rd_prompts *prompts;
    const rd_filter_opts *o;
    rd_filter_report *report;
    rd_store *in;
    int64_t first, end; /* my tasks */
    int64_t rounds;     /* chunks of the rank that has most: reads are collective */
    uint64_t key;
    text_set seen;                    /* RD_DEDUP_FAMILY */
    chosen_rules chosen[RD_FAMILIES]; /* official: of all ranks' tasks */
    int64_t sums[RD_FAMILIES][N_SUMS];
    dataset out;
} filter;

void rd_filter_defaults(rd_filter_opts *o)
{
    memset(o, 0, sizeof *o);
    o->min_score = 0.5;
    o->follow_min_score = 0.5;
    o->gap[RD_LIST_FUNCTION] = 3;
    o->gap[RD_ARC1D] = 1;
    o->gap[RD_ACRE] = 2;
    o->gap[RD_MINISCAN] = 4;
    o->follow_target = RD_TARGET_GOLD;
    o->dedup = RD_DEDUP_TASK;
    o->seed = 1;
}

/* ---------------------------------------------------------------- texts that were seen */

/* True when the hash is new. */
static bool set_add(text_set *s, uint64_t hash)
{
    if (hash == 0) hash = 1;
    if (2 * (s->n + 1) > s->cap) {
        text_set old = *s;
        *s = (text_set){.cap = old.cap ? 2 * old.cap : 1024};
        s->slot = rd_new(uint64_t, s->cap);
        for (int64_t i = 0; i < old.cap; i++)
            if (old.slot[i]) set_add(s, old.slot[i]);
        rd_free(old.slot);
    }
    uint64_t mask = (uint64_t)s->cap - 1, i = hash & mask;
    for (; s->slot[i]; i = (i + 1) & mask)
        if (s->slot[i] == hash) return false;
    s->slot[i] = hash;
    s->n++;
    return true;
}

static uint64_t family_text_hash(rd_family f, const char *text)
{
    return rd_hash_str(text, 0x5eedu + (uint64_t)f);
}

/* ---------------------------------------------------------------- which rules count */

static bool task_used(const filter *f, const traces *t, int64_t row)
{
    int64_t source = table_int(&t->task, row, TASK_SOURCE);
    int64_t limit = (int64_t)(sizeof f->o->sources_off / sizeof f->o->sources_off[0]);
    bool off = source >= 0 && source < limit && f->o->sources_off[source];
    return table_int(&t->task, row, TASK_SPLIT) == RD_SPLIT_TRAIN && !off;
}

static bool over_long(const filter *f, const char *text)
{
    return f->o->max_rule_chars > 0 && (int64_t)strlen(text) > f->o->max_rule_chars;
}

/* The teacher may explain a training task by what is held out: reversing and dropping the first is
 * dropping the last and reversing.  A text that is no rule of ours cannot be told. */
static bool held_out(const filter *f, rd_family family, const char *text)
{
    const rd_held *held = f->o->held[family];
    rd_rule *r = held ? rd_rule_parse(family, text) : NULL;
    bool yes = r && rd_held_level(held, r) != RD_HOLD_RULE;
    rd_rule_free(family, &r);
    return yes;
}

static bool is_dropped(const filter *f, rd_family family, const char *text)
{
    return over_long(f, text) || held_out(f, family, text);
}

/* Rows in memory of a task's hypotheses: [*first, *end).  RD_EINPUT when they do not exist. */
static int hypothesis_range(const traces *t, int64_t row, int64_t *first, int64_t *end)
{
    int rc = RD_OK;
    *first = table_int(&t->task, row, TASK_FIRST_HYPOTHESIS) - t->first_hypothesis;
    *end = *first + table_int(&t->task, row, TASK_HYPOTHESES);
    if (*first < 0 || *end < *first || *end > t->hypothesis.rows)
        RD_FAIL(RD_EINPUT, "traces: the rules of task %" PRId64 " do not exist",
                t->first_task + row);
    for (int64_t h = *first; h < *end; h++)
        if (table_int(&t->hypothesis, h, HYP_RULE) < 0)
            RD_FAIL(RD_EINPUT, "traces: hypothesis %" PRId64 " has no rule",
                    t->first_hypothesis + h);
done:
    return rc;
}

/* An earlier draw of this task has the text.  Texts are interned per task, hence mostly equal ids.
 */
static bool drawn_before(const traces *t, int64_t first, int64_t h)
{
    int64_t id = table_int(&t->hypothesis, h, HYP_RULE);
    for (int64_t i = first; i < h; i++)
        if (table_int(&t->hypothesis, i, HYP_RULE) == id) return true;
    return false;
}

/* Does the rule text of a hypothesis count, as the first of its task or its family? */
static bool is_first(const filter *f, text_set *seen, const traces *t, int64_t first, int64_t h,
                     rd_family family)
{
    const char *text = traces_text(t, table_int(&t->hypothesis, h, HYP_RULE));
    return f->o->dedup == RD_DEDUP_FAMILY ? set_add(seen, family_text_hash(family, text))
                                          : !drawn_before(t, first, h);
}

static int64_t count_words(const char *text)
{
    int64_t n = 0;
    for (const char *c = text; *c; c++) n += *c != ' ' && (c == text || c[-1] == ' ');
    return n;
}

static void count_hypothesis(filter *f, rd_family family, const char *text, int64_t score,
                             int64_t demos)
{
    f->report->histogram[family][score < RD_HIST - 1 ? score : RD_HIST - 1]++;
    if (demos == 0) return;
    int64_t words = count_words(text), y = score * SCORE_UNITS / demos;
    int64_t *s = f->sums[family];
    s[N_WORDS]++;
    s[SUM_WORDS] += words;
    s[SUM_SCORE] += y;
    s[SUM_WORDS2] += words * words;
    s[SUM_SCORE2] += y * y;
    s[SUM_BOTH] += words * y;
}

static int filter_task(filter *f, const traces *t, int64_t row)
{
    int rc = RD_OK;
    int64_t first, end;
    scored_task task = {0};
    RD_TRY(hypothesis_range(t, row, &first, &end));
    RD_TRY(scored_task_make(t, row, &task));
    rd_family family = task.task.family;
    for (int64_t h = first; h < end; h++) {
        const char *text = traces_text(t, table_int(&t->hypothesis, h, HYP_RULE));
        int64_t score = table_int(&t->hypothesis, h, HYP_SCORE);
        if (score < 0) RD_FAIL(RD_EINPUT, "traces: a hypothesis has a negative score");
        count_hypothesis(f, family, text, score, task.task.n_demos);
        if (over_long(f, text)) {
            f->report->over_long++;
            continue;
        }
        if (held_out(f, family, text)) {
            f->report->held_out++;
            continue;
        }
        if ((f->o->official || f->o->pairs_only) && !*text) {
            f->report->unanswered++;
            continue;
        }
        bool first_time = is_first(f, &f->seen, t, first, h, family);
        if (first_time)
            scored_task_add(&task, h);
        else
            f->report->duplicates++;
    }
    scored_task_rank(&task);
    rd_pool_mark(&f->out.pool);
    if (!f->o->pairs_only)
        RD_TRY(rows_make(f->prompts, f->o, &task, &f->chosen[family], &f->out, f->report));
    pairs_make(f->prompts, f->o, &task, &f->out, f->report);
done:
    scored_task_free(&task);
    return rc;
}

/* ---------------------------------------------------------------- passes over the traces */

static void chunk_range(const filter *f, int64_t round, int64_t *first, int64_t *n)
{
    *first = f->first + round * CHUNK_TASKS;
    *n = f->end - *first;
    if (*n > CHUNK_TASKS) *n = CHUNK_TASKS;
    if (*n <= 0) *first = *n = 0;
}

/* What lower ranks' tasks have already said, for RD_DEDUP_FAMILY: one pass over the rules alone. */
static int exchange_texts(filter *f)
{
    int rc = RD_OK;
    text_set mine = {0};
    traces t;
    traces_init(&t);
    for (int64_t round = 0; round < f->rounds; round++) {
        int64_t start, n;
        chunk_range(f, round, &start, &n);
        RD_TRY(rd_agree(&f->g->world, rd_stop_poll("filter")));
        RD_TRY(traces_read(&f->g->world, f->in, start, n, false, &t));
        for (int64_t row = 0; row < n && rc == RD_OK; row++) {
            int64_t first, end;
            if (!task_used(f, &t, row)) continue;
            rc = hypothesis_range(&t, row, &first, &end);
            for (int64_t h = first; rc == RD_OK && h < end; h++) {
                const char *text = traces_text(&t, table_int(&t.hypothesis, h, HYP_RULE));
                rd_family family = (rd_family)table_int(&t.task, row, TASK_FAMILY);
                if (!is_dropped(f, family, text)) set_add(&mine, family_text_hash(family, text));
            }
        }
        RD_TRY(rd_agree(&f->g->world, rc));
    }
    char *all = NULL;
    int64_t *sizes = NULL, total = 0;
    int64_t bytes = mine.cap * (int64_t)sizeof(uint64_t);
    rd_allgather(&f->g->world, mine.slot, bytes, &all, &sizes);
    for (int r = 0; r < f->g->world.rank; r++) total += sizes[r] / (int64_t)sizeof(uint64_t);
    for (int64_t i = 0; i < total; i++) {
        uint64_t hash;
        memcpy(&hash, all + i * (int64_t)sizeof hash, sizeof hash);
        if (hash) set_add(&f->seen, hash);
    }
    rd_free(all);
    rd_free(sizes);
done:
    traces_free(&t);
    rd_free(mine.slot);
    return rc;
}

/* The rules of a task that pairs will choose: those that beat its worst one. */
static int choose(filter *f, text_set *seen, const traces *t, int64_t row, rd_buf *chosen)
{
    int rc = RD_OK;
    int64_t first, end, worst = INT64_MAX;
    const rd_family family = (rd_family)table_int(&t->task, row, TASK_FAMILY);
    bool *counts = NULL;
    RD_TRY(hypothesis_range(t, row, &first, &end));
    counts = rd_new(bool, end - first);
    for (int64_t h = first; h < end; h++) {
        const char *text = traces_text(t, table_int(&t->hypothesis, h, HYP_RULE));
        const int64_t score = table_int(&t->hypothesis, h, HYP_SCORE);
        if (is_dropped(f, family, text) || !*text) continue;
        counts[h - first] = is_first(f, seen, t, first, h, family);
        if (counts[h - first] && score < worst) worst = score;
    }
    for (int64_t h = first; h < end; h++)
        if (counts[h - first] &&
            table_int(&t->hypothesis, h, HYP_SCORE) > worst + f->o->gap[family]) {
            rd_put_i64(chosen, family);
            rd_put_str(chosen, traces_text(t, table_int(&t->hypothesis, h, HYP_RULE)));
        }
done:
    rd_free(counts);
    return rc;
}

/* The chosen rules of all ranks' tasks: another pass over the rules alone. */
static int exchange_chosen(filter *f)
{
    int rc = RD_OK;
    text_set seen = {.n = f->seen.n, .cap = f->seen.cap};
    rd_buf mine = {0};
    char *all = NULL;
    int64_t *sizes = NULL, total = 0;
    traces t;
    traces_init(&t);
    seen.slot = rd_new(uint64_t, seen.cap);
    if (seen.cap > 0) memcpy(seen.slot, f->seen.slot, (size_t)seen.cap * sizeof *seen.slot);
    for (int64_t round = 0; round < f->rounds; round++) {
        int64_t start, n;
        chunk_range(f, round, &start, &n);
        RD_TRY(rd_agree(&f->g->world, rd_stop_poll("filter")));
        RD_TRY(traces_read(&f->g->world, f->in, start, n, false, &t));
        for (int64_t row = 0; row < n && rc == RD_OK; row++)
            if (task_used(f, &t, row)) rc = choose(f, &seen, &t, row, &mine);
        RD_TRY(rd_agree(&f->g->world, rc));
    }
    rd_allgather(&f->g->world, mine.data, (int64_t)mine.len, &all, &sizes);
    for (int r = 0; r < f->g->world.size; r++) total += sizes[r];
    for (rd_cursor c = {all, (size_t)total, 0}; c.pos < c.len;) {
        int64_t family = 0;
        char *text = NULL;
        RD_TRY(rd_get_i64(&c, &family));
        RD_TRY(rd_get_str(&c, &text));
        chosen_add(&f->chosen[family], text);
        rd_free(text);
    }
    for (int k = 0; k < RD_FAMILIES; k++) chosen_close(&f->chosen[k]);
done:
    traces_free(&t);
    rd_buf_free(&mine);
    rd_free(seen.slot);
    rd_free(all);
    rd_free(sizes);
    return rc;
}

static int filter_tasks(filter *f)
{
    int rc = RD_OK;
    traces t;
    rd_progress progress = {0};
    traces_init(&t);
    rd_progress_begin(&progress, "filter", "tasks", f->end - f->first);
    for (int64_t round = 0; round < f->rounds; round++) {
        int64_t first, n;
        chunk_range(f, round, &first, &n);
        if (rd_stop_agree(&f->g->world))
            RD_FAIL(RD_ESTOP, "filter: stopped; it starts again from traces.h5");
        RD_TRY(traces_read(&f->g->world, f->in, first, n, true, &t));
        for (int64_t row = 0; row < n && rc == RD_OK; row++) {
            bool used = task_used(f, &t, row);
            f->report->tasks += used;
            f->report->skipped_tasks += !used;
            if (used) rc = filter_task(f, &t, row);
        }
        if (rc == RD_OK) rc = rd_fault("filter");
        RD_TRY(rd_agree(&f->g->world, rc));
        rd_progress_set(&progress, first + n - f->first, NULL);
    }
done:
    rd_progress_end(&progress);
    traces_free(&t);
    return rc;
}

/* ---------------------------------------------------------------- the report */

static double pearson(const int64_t s[N_SUMS])
{
    double n = (double)s[N_WORDS], x = (double)s[SUM_WORDS], y = (double)s[SUM_SCORE];
    double xx = n * (double)s[SUM_WORDS2] - x * x, yy = n * (double)s[SUM_SCORE2] - y * y;
    if (!(xx > 0 && yy > 0)) return NAN;
    return (n * (double)s[SUM_BOTH] - x * y) / sqrt(xx * yy);
}

enum { REPORT_COUNTS = offsetof(rd_filter_report, length_quality) / sizeof(int64_t) };

static void sum_report(filter *f)
{
    int64_t pooled[N_SUMS] = {0};
    rd_sum_i64(&f->g->world, (int64_t *)f->report, REPORT_COUNTS);
    rd_sum_i64(&f->g->world, &f->sums[0][0], RD_FAMILIES * N_SUMS);
    for (int k = 0; k < RD_FAMILIES; k++) {
        f->report->length_quality[k] = pearson(f->sums[k]);
        for (int i = 0; i < N_SUMS; i++) pooled[i] += f->sums[k][i];
    }
    f->report->length_quality[RD_FAMILIES] = pearson(pooled);
}

/* The arrays of /report and where they live; the single counts are attributes of the root. */
typedef struct report_array {
    const char *name;
    rd_dtype type;
    int rank;
    int64_t dims[2];
    void *data;
} report_array;
enum { REPORT_ARRAYS = 4 };

static void report_arrays(rd_filter_report *r, report_array a[REPORT_ARRAYS])
{
    const report_array all[REPORT_ARRAYS] = {
        {"report/rows", RD_I64, 2, {RD_ROW_KINDS, RD_FAMILIES}, r->rows},
        {"report/pairs", RD_I64, 1, {RD_FAMILIES, 1}, r->pairs},
        {"report/histogram", RD_I64, 2, {RD_FAMILIES, RD_HIST}, r->histogram},
        {"report/length_quality", RD_F64, 1, {RD_FAMILIES + 1, 1}, r->length_quality},
    };
    memcpy(a, all, sizeof all);
}

typedef struct named_count {
    const char *name;
    int64_t *value;
} named_count;
enum { REPORT_NAMED = 11 };

static void report_counts(rd_filter_report *r, named_count n[REPORT_NAMED])
{
    const named_count all[REPORT_NAMED] = {{"duplicates", &r->duplicates},
                                           {"identical_pairs", &r->identical_pairs},
                                           {"over_long", &r->over_long},
                                           {"unparsed_worked", &r->unparsed_worked},
                                           {"low_score", &r->low_score},
                                           {"wrong_answer", &r->wrong_answer},
                                           {"tasks", &r->tasks},
                                           {"skipped_tasks", &r->skipped_tasks},
                                           {"follow_low_score", &r->follow_low_score},
                                           {"pairs_over_limit", &r->pairs_over_limit},
                                           {"unanswered", &r->unanswered}};
    memcpy(n, all, sizeof all);
}

static bool holds_out(const rd_filter_opts *o)
{
    bool any = false;
    for (int f = 0; f < RD_FAMILIES; f++) any |= o->held[f] != NULL;
    return any;
}

static int write_report(filter *f, rd_store *s)
{
    int rc = RD_OK;
    report_array a[REPORT_ARRAYS];
    named_count n[REPORT_NAMED];
    report_arrays(f->report, a);
    report_counts(f->report, n);
    for (int i = 0; i < REPORT_ARRAYS; i++) {
        rd_slab slab[2];
        for (int d = 0; d < 2; d++) /* rank 0 writes all of it, the others enter empty-handed */
            slab[d] = (rd_slab){0, a[i].dims[d], f->g->world.rank == 0, a[i].dims[d]};
        RD_TRY(
            rd_store_write_array(s, a[i].name, a[i].type, a[i].rank, a[i].dims, slab, a[i].data));
    }
    for (int i = 0; i < REPORT_NAMED; i++) RD_TRY(rd_store_set_i64(s, "", n[i].name, *n[i].value));
    if (holds_out(f->o)) RD_TRY(rd_store_set_i64(s, "", "held_out", f->report->held_out));
done:
    return rc;
}

static int read_report(const filter *f, rd_store *s)
{
    int rc = RD_OK;
    report_array a[REPORT_ARRAYS];
    named_count n[REPORT_NAMED];
    report_arrays(f->report, a);
    report_counts(f->report, n);
    for (int i = 0; i < REPORT_ARRAYS; i++) {
        rd_slab slab[2];
        for (int d = 0; d < 2; d++) slab[d] = (rd_slab){0, a[i].dims[d], 1, a[i].dims[d]};
        RD_TRY(rd_store_read_array(s, a[i].name, a[i].type, a[i].rank, a[i].dims, slab, a[i].data));
    }
    for (int i = 0; i < REPORT_NAMED; i++) RD_TRY(rd_store_get_i64(s, "", n[i].name, n[i].value));
    if (holds_out(f->o)) RD_TRY(rd_store_get_i64(s, "", "held_out", &f->report->held_out));
done:
    return rc;
}

/* ---------------------------------------------------------------- the stage */

/* Hash of everything that determines datasets.h5; traces: the key of traces.h5. */
static uint64_t filter_key(const rd_filter_opts *o, const rd_prompts *p, int64_t traces_key)
{
    int64_t parts[] = {
        traces_key,       (int64_t)rd_prompts_hash(p), ROWS_VERSION, o->max_pairs,
        o->follow_target, o->follow_correct_only,      o->worked,    o->follow_queries,
        o->dedup,         o->max_rule_chars,           o->official};
    uint64_t h = rd_hash(parts, sizeof parts, DATASETS_VERSION);
    h = rd_hash(&o->min_score, sizeof o->min_score, h);
    h = rd_hash(&o->follow_min_score, sizeof o->follow_min_score, h);
    h = rd_hash(o->gap, sizeof o->gap, h);
    if (o->pairs_only) h = rd_hash_str("pairs only", h);
    h = rd_hash(o->sources_off, sizeof o->sources_off, h);
    for (int f = 0; f < RD_FAMILIES; f++) {
        const uint64_t held = rd_held_hash(o->held[f]);
        if (held) h = rd_hash(&held, sizeof held, h + (uint64_t)f);
    }
    return h;
}

static int open_traces(filter *f)
{
    int rc = RD_OK;
    rd_buf path = {0};
    int64_t key = 0, tasks = 0;
    const rd_comm *c = &f->g->world;
    traces columns;
    traces_init(&columns);
    rd_buf_printf(&path, "%s/traces.h5", f->o->dir);
    RD_TRY(rd_store_open(c, path.data, TRACES_SCHEMA, TRACES_VERSION, &f->in));
    RD_TRY(rd_store_get_i64(f->in, "", "key", &key));
    RD_TRY(table_count(&columns.task, f->in, &tasks));
    f->key = filter_key(f->o, f->prompts, key);
    f->first = tasks * c->rank / c->size;
    f->end = tasks * (c->rank + 1) / c->size;
    f->rounds = (f->end - f->first + CHUNK_TASKS - 1) / CHUNK_TASKS;
    rd_max_i64(c, &f->rounds, 1);
done:
    traces_free(&columns);
    rd_buf_free(&path);
    return rc;
}

/* Is there a datasets.h5 with this key?  Then its report is read. */
static int read_finished(const filter *f, const char *path, bool *finished)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    *finished = false;
    RD_TRY(rd_store_open_own(&f->g->world, path, DATASETS_SCHEMA, DATASETS_VERSION, f->key,
                             "filter", &s));
    if (s == NULL) goto done;
    RD_TRY(read_report(f, s));
    *finished = true;
done:
    rd_store_close(&s);
    return rc;
}

static int write_file(filter *f, const char *path)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    int64_t text_base = 0;
    rd_store_info info = {DATASETS_SCHEMA, DATASETS_VERSION, f->o->config};
    RD_TRY(rd_store_create(&f->g->world, path, &info, &s));
    RD_TRY(rd_store_write_pool(s, &f->out.pool, &text_base));
    RD_TRY(table_write(&f->out.sft, s, text_base));
    RD_TRY(table_write(&f->out.pair, s, text_base));
    RD_TRY(table_write(&f->out.kto, s, text_base));
    RD_TRY(rd_store_set_i64(s, "", "key", (int64_t)f->key));
    RD_TRY(rd_store_set_i64(s, "", "seed", (int64_t)f->o->seed));
    RD_TRY(write_report(f, s));
    RD_TRY(rd_store_commit(&s));
done:
    rd_store_close(&s);
    return rc;
}

int rd_filter_find(const rd_grid *g, const rd_prompts *p, const rd_filter_opts *o, bool *found,
                   rd_filter_report *report)
{
    int rc = RD_OK;
    rd_buf path = {0};
    filter f = {.g = g, .prompts = p, .o = o, .report = report};
    *found = false;
    memset(report, 0, sizeof *report);
    rd_buf_printf(&path, "%s/datasets.h5", o->dir);
    RD_TRY(open_traces(&f));
    RD_TRY(read_finished(&f, path.data, found));
done:
    rd_store_close(&f.in);
    rd_buf_free(&path);
    return rc;
}

int rd_filter_run(const rd_grid *g, const rd_prompts *p, const rd_filter_opts *o,
                  rd_filter_report *report)
{
    int rc = RD_OK;
    bool finished = false;
    rd_buf path = {0};
    filter f = {.g = g, .prompts = p, .o = o, .report = report};
    dataset_init(&f.out);
    memset(report, 0, sizeof *report);
    rd_clock_begin("filter");
    rd_buf_printf(&path, "%s/datasets.h5", o->dir);
    RD_TRY(open_traces(&f));
    RD_TRY(read_finished(&f, path.data, &finished));
    if (finished) goto done;
    if (o->dedup == RD_DEDUP_FAMILY) RD_TRY(exchange_texts(&f));
    if (o->official && !o->pairs_only) RD_TRY(exchange_chosen(&f));
    RD_TRY(filter_tasks(&f));
    sum_report(&f);
    RD_TRY(write_file(&f, path.data));
done:
    rd_store_close(&f.in);
    dataset_free(&f.out);
    rd_free(f.seen.slot);
    for (int k = 0; k < RD_FAMILIES; k++) chosen_free(&f.chosen[k]);
    rd_buf_free(&path);
    rd_clock_end("filter");
    return rc;
}
