/* results.c: lines of the result table, names of methods, the trivial baselines' lines. */
#include "eval_impl.h"

#include <string.h>

void rd_results_add(rd_results *r, const rd_result *item)
{
    if (r->n == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 32;
        rd_resize(r->item, r->cap);
    }
    r->item[r->n++] = *item;
}

void rd_results_free(rd_results *r)
{
    RD_FREE(r->item);
    r->n = r->cap = 0;
}

/* ---------------------------------------------------------------- methods */

static const struct {
    int method;
    const char *name;
} methods[] = {
    {RD_METHOD_IO, "io"},
    {RD_METHOD_SEARCH, "search"},
    {RD_METHOD_SEARCH_INTERPRETER, "search_interpreter"},
    {RD_METHOD_VOTE, "vote"},
    {RD_METHOD_RANDOM_RULES, "random_rules"},
    {RD_METHOD_ORACLE_RULE, "follow_true_rule"},
};
enum { METHODS = sizeof methods / sizeof methods[0] };

const char *rd_method_name(int method)
{
    for (int i = 0; i < METHODS; i++)
        if (methods[i].method == method) return methods[i].name;
    return "unknown";
}

int rd_method_parse(const char *name, int *method)
{
    int rc = RD_OK, nearest = 0;
    for (int i = 0; i < METHODS; i++) {
        if (strcmp(methods[i].name, name) == 0) {
            *method = methods[i].method;
            return RD_OK;
        }
        if (rd_edit_distance(name, methods[i].name) < rd_edit_distance(name, methods[nearest].name))
            nearest = i;
    }
    RD_FAIL(RD_EINPUT, "unknown method \"%s\"; the nearest is \"%s\"", name, methods[nearest].name);
done:
    return rc;
}

void rd_eval_defaults(rd_eval_opts *o)
{
    *o = (rd_eval_opts){.arm = "",
                        .methods = RD_METHOD_IO | RD_METHOD_SEARCH,
                        .n_counts = 3,
                        .counts = {1, 5, 10},
                        .rule_temperature = 0.9,
                        .follow_temperature = 0.7,
                        .vote_temperature = 0.6,
                        .first_greedy = true,
                        .max_rule_tokens = 256,
                        .max_answer_tokens = 256,
                        .max_votes = 200,
                        .block = 1,
                        .seed = 1,
                        .dir = ".",
                        .generator = {.slots = 256, .max_len = 2048}};
}

/* ---------------------------------------------------------------- test sets */

static const char *name_of(const rd_taskset *tasks, const rd_task *t)
{
    return tasks->set_name ? tasks->set_name[t->source] : "";
}

bool test_set_has(const test_set *set, const rd_taskset *tasks, const rd_task *t)
{
    return t->split == RD_SPLIT_TEST && t->family == set->family &&
           strcmp(name_of(tasks, t), set->name) == 0;
}

int64_t test_sets_of(const rd_taskset *tasks, test_set **sets)
{
    int64_t n = 0, cap = 0;
    *sets = NULL;
    for (int f = 0; f < RD_FAMILIES; f++) {
        int64_t first = n;
        for (int64_t i = 0; i < tasks->n; i++) {
            const rd_task *t = &tasks->task[i];
            bool known = t->split != RD_SPLIT_TEST || t->family != (rd_family)f;
            for (int64_t k = first; k < n && !known; k++)
                known = test_set_has(&(*sets)[k], tasks, t);
            if (known) continue;
            if (n == cap) {
                cap = cap ? 2 * cap : RD_FAMILIES;
                rd_resize(*sets, cap);
            }
            (*sets)[n++] = (test_set){(rd_family)f, name_of(tasks, t)};
        }
    }
    return n;
}

/* ---------------------------------------------------------------- trivial baselines */

/* Right answers of baseline k, problem by problem. */
static void score_baseline(const rd_baselines *b, int k, const rd_taskset *tasks,
                           const test_set *set, int64_t *right)
{
    int64_t p = 0;
    rd_buf answer = {0};
    for (int64_t i = 0; i < tasks->n; i++) {
        const rd_task *t = &tasks->task[i];
        if (!test_set_has(set, tasks, t)) continue;
        for (int64_t q = 0; q < t->n_queries; q++) {
            rd_buf_clear(&answer);
            rd_baselines_answer(b, k, t, q, &answer);
            const char *text = answer.data ? answer.data : "";
            right[p] += strcmp(text, t->examples[t->n_demos + q].output) == 0;
        }
        p++;
    }
    rd_buf_free(&answer);
}

static void baseline_lines(const rd_baselines *b, const rd_taskset *tasks, const test_set *set,
                           rd_results *results)
{
    static const char *const parses[] = {"strict", "tolerant"};
    int64_t n = 0, queries = 0;
    int64_t *total = rd_new(int64_t, tasks->n), *right = rd_new(int64_t, tasks->n);
    for (int64_t i = 0; i < tasks->n; i++) {
        const rd_task *t = &tasks->task[i];
        if (!test_set_has(set, tasks, t)) continue;
        total[n++] = t->n_queries;
        queries += t->n_queries;
    }
    for (int k = 0; n > 0 && k < rd_baseline_count(set->family); k++) {
        rd_result line = {
            .arm = "trivial", .family = set->family, .problems = n, .queries = queries};
        memset(right, 0, (size_t)n * sizeof *right);
        score_baseline(b, k, tasks, set, right);
        rd_cluster_interval(n, right, total, &line.accuracy, &line.low, &line.high);
        for (int64_t p = 0; p < n; p++) line.solved += right[p] == total[p];
        line.solved /= (double)n;
        snprintf(line.set, sizeof line.set, "%s", set->name);
        snprintf(line.method, sizeof line.method, "%s", rd_baseline_name(set->family, k));
        /* Baselines answer in canonical values, which both readings take as they are. */
        for (int i = 0; i < 2; i++) {
            snprintf(line.parse, sizeof line.parse, "%s", parses[i]);
            rd_results_add(results, &line);
        }
    }
    rd_free(total);
    rd_free(right);
}

int rd_eval_baselines(const rd_taskset *tasks, rd_results *results)
{
    int rc = RD_OK;
    rd_baselines *b = NULL;
    test_set *sets = NULL;
    RD_TRY(rd_baselines_fit(tasks, &b));
    int64_t n = test_sets_of(tasks, &sets);
    for (int64_t k = 0; k < n; k++) baseline_lines(b, tasks, &sets[k], results);
done:
    rd_free(sets);
    rd_baselines_free(&b);
    return rc;
}
