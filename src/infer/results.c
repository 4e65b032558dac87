/* results.c: lines of the result table, names of methods, the trivial baselines' lines. */
#include "rd/infer.h"

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
                        .block = 8,
                        .seed = 1,
                        .dir = ".",
                        .generator = {.slots = 256, .max_len = 2048}};
}

/* ---------------------------------------------------------------- trivial baselines */

/* Right answers of baseline k, problem by problem. */
static void score_baseline(const rd_baselines *b, int k, const rd_taskset *tasks, rd_family f,
                           int64_t *right)
{
    int64_t p = 0;
    rd_buf answer = {0};
    for (int64_t i = 0; i < tasks->n; i++) {
        const rd_task *t = &tasks->task[i];
        if (t->split != RD_SPLIT_TEST || t->family != f) continue;
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

static void baseline_lines(const rd_baselines *b, const rd_taskset *tasks, rd_family f,
                           rd_results *results)
{
    static const char *const parses[] = {"strict", "tolerant"};
    int64_t n = 0, queries = 0;
    int64_t *total = rd_new(int64_t, tasks->n), *right = rd_new(int64_t, tasks->n);
    for (int64_t i = 0; i < tasks->n; i++) {
        const rd_task *t = &tasks->task[i];
        if (t->split != RD_SPLIT_TEST || t->family != f) continue;
        total[n++] = t->n_queries;
        queries += t->n_queries;
    }
    for (int k = 0; n > 0 && k < rd_baseline_count(f); k++) {
        rd_result line = {.arm = "trivial", .family = f, .problems = n, .queries = queries};
        memset(right, 0, (size_t)n * sizeof *right);
        score_baseline(b, k, tasks, f, right);
        rd_cluster_interval(n, right, total, &line.accuracy, &line.low, &line.high);
        for (int64_t p = 0; p < n; p++) line.solved += right[p] == total[p];
        line.solved /= (double)n;
        snprintf(line.method, sizeof line.method, "%s", rd_baseline_name(f, k));
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
    RD_TRY(rd_baselines_fit(tasks, &b));
    for (int f = 0; f < RD_FAMILIES; f++) baseline_lines(b, tasks, (rd_family)f, results);
done:
    rd_baselines_free(&b);
    return rc;
}
