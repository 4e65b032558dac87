/* ranks: 1 */
/* The List Function search on the official file: coverage, spread of scores, time. */
#include "rd_test.h"
#include "made_tasks.h"
#include <time.h>

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct tally {
    int64_t solved, in_ten, consistent, queries, queries_right, disorder, wrong_scores, unbalanced;
} tally;

/* Scores are what they are said to be and the order is score, cost. */
static void check_order(const rd_task *t, const rd_candidates *c, tally *sum)
{
    int64_t right = 0, partial = 0, wrong = 0;
    for (int64_t k = 0; k < c->n; k++) {
        const rd_candidate *x = &c->item[k];
        sum->wrong_scores += rule_hits(x->rule, t, 0, t->n_demos) != x->score;
        if (k > 0 && (x[-1].score < x->score || (x[-1].score == x->score && x[-1].cost > x->cost)))
            sum->disorder++;
        right += x->score == t->n_demos;
        partial += x->score > 0 && x->score < t->n_demos;
        wrong += x->score == 0;
    }
    sum->unbalanced += right == 0 || partial < 3 || wrong < 10;
}

static void search_one(const rd_task *t, tally *sum)
{
    rd_candidates c = {0};
    rd_search_opts opts = {.max_right = 20, .max_partial = 60, .max_wrong = 40};
    if (rd_rule_search(t, &opts, &c) != RD_OK) return;
    check_order(t, &c, sum);
    sum->queries += t->n_queries;
    bool in_ten = false;
    for (int64_t k = 0; k < c.n && k < 10 && c.item[k].score == t->n_demos; k++) {
        int64_t right = rule_hits(c.item[k].rule, t, t->n_demos, t->n_demos + t->n_queries);
        in_ten = in_ten || right == t->n_queries;
        if (k > 0) continue;
        sum->consistent++;
        sum->queries_right += right;
        sum->solved += right == t->n_queries;
    }
    sum->in_ten += in_ten;
    rd_candidates_free(RD_LIST_FUNCTION, &c);
}

static void official(const char *dir)
{
    char path[600];
    rd_taskset set = {0};
    tally sum = {0};
    double start = cpu_seconds(), slowest = 0;
    snprintf(path, sizeof path, "%s/list_function.jsonl", dir);
    is_rc(rd_task_load(path, RD_LIST_FUNCTION, &set), RD_OK, "the official file loads");
    for (int64_t k = 0; k < set.n; k++) {
        double t0 = cpu_seconds();
        search_one(&set.task[k], &sum);
        if (cpu_seconds() - t0 > slowest) slowest = cpu_seconds() - t0;
    }
    double mean = (cpu_seconds() - start) / (double)(set.n ? set.n : 1);
    diag("cheapest consistent rule right on all queries: %lld of %lld tasks (%.1f %%), %.1f %% of "
         "queries",
         (long long)sum.solved, (long long)set.n, 100.0 * (double)sum.solved / (double)set.n,
         100.0 * (double)sum.queries_right / (double)sum.queries);
    diag("a consistent rule: %lld tasks; right among the ten cheapest: %lld; search %.1f ms on "
         "average, %.1f at most",
         (long long)sum.consistent, (long long)sum.in_ten, 1e3 * mean, 1e3 * slowest);
    diag("tasks without right rules, 3 partly right or 10 wrong ones: %lld",
         (long long)sum.unbalanced);
    ok(sum.solved * 100 >= 92 * set.n, "at least 92 %% of the tasks are solved");
    is_i64(sum.wrong_scores, 0, "every score is what the rule scores");
    is_i64(sum.disorder, 0, "candidates are sorted");
    ok(sum.unbalanced * 10 < set.n, "most tasks have right, partly right and wrong rules");
    rd_taskset_free(&set);
}

/* A task of our own, without the official file: the same twice, and right. */
static void own(void)
{
    const rd_gen_opts opts = {.family = RD_LIST_FUNCTION, .difficulty = 0, .seed = 3};
    int64_t solved = 0, same = 0, n = 40;
    for (int64_t k = 0; k < n; k++) {
        rd_task t = {0};
        rd_candidates a = {0}, b = {0};
        rd_search_opts o = {.max_right = 5, .max_partial = 10, .max_wrong = 5};
        if (rd_task_generate(&opts, RD_SPLIT_TRAIN, k, &t) != RD_OK) continue;
        rd_rule_search(&t, &o, &a);
        rd_rule_search(&t, &o, &b);
        solved += a.n && a.item[0].score == t.n_demos;
        bool equal = a.n == b.n;
        for (int64_t i = 0; equal && i < a.n; i++)
            equal = rd_rule_equal(RD_LIST_FUNCTION, a.item[i].rule, b.item[i].rule);
        same += equal;
        rd_candidates_free(RD_LIST_FUNCTION, &a);
        rd_candidates_free(RD_LIST_FUNCTION, &b);
        rd_task_free(&t);
    }
    is_i64(solved, n, "generated tasks are solved");
    is_i64(same, n, "a search finds the same twice");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    own();
    const char *dir = rd_test_data();
    if (dir)
        official(dir);
    else
        skip("no official files");
    return rd_test_end();
}
