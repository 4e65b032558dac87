/* tool */
/* Calibrates the symbolic teacher's skill on the official files.
 *
 *     build/tests/calibrate_teacher [b_list b_arc b_acre b_scan]
 *
 * A single greedy hypothesis answers R of a task's test examples when it is right and N when it is
 * only nearly right; with skill s(cost) = logistic(a - b cost) the expected accuracy is the mean of
 * s R + (1 - s) N.  For the given b it solves for the a that meets the published figure, and checks
 * by asking teachers of several seeds. */
#include "rd_test.h"
#include "made_tasks.h"
#include "rd/teacher.h"

enum { ASKED = 2000 }; /* proposals per estimate, over all tasks */

typedef struct family_data {
    rd_taskset tasks;
    double *cost, *right, *near; /* per task; cost < 0: no consistent rule found */
} family_data;

static rd_prompts *prompts;
static const char file_of[RD_FAMILIES][16] = {[RD_LIST_FUNCTION] = "list_function",
                                              [RD_ARC1D] = "1D_arc",
                                              [RD_ACRE] = "acre",
                                              [RD_MINISCAN] = "scan"};
/* Published for GPT-4, one greedy rule run by an interpreter; 1D-ARC: our choice. */
static const double target[RD_FAMILIES] = {
    [RD_LIST_FUNCTION] = 0.516, [RD_ARC1D] = 0.60, [RD_ACRE] = 0.782, [RD_MINISCAN] = 0.770};

/* Share of the queries that a rule text answers. */
static double query_accuracy(const rd_task *t, const char *text)
{
    int64_t n = rule_text_hits(text, t, t->n_demos, t->n_demos + t->n_queries);
    return n > 0 ? (double)n / (double)t->n_queries : 0;
}

/* Mean greedy accuracy of task t (or of all) for a teacher with skill (a, b). */
static void greedy(const rd_taskset *tasks, rd_family f, double a, double b, uint64_t seed,
                   double *accuracy)
{
    rd_teacher_opts o;
    rd_teacher *t = NULL;
    rd_teacher_defaults(&o);
    o.seed = seed;
    o.skill_a[f] = a;
    o.skill_b[f] = b;
    if (rd_teacher_create(&o, prompts, NULL, &t) != RD_OK) rd_die("create");
    for (int64_t i = 0; i < tasks->n; i++) {
        rd_proposal p;
        rd_teacher_propose(t, &tasks->task[i], 1, 0.0, &p);
        accuracy[i] += query_accuracy(&tasks->task[i], p.rule);
        rd_free(p.rule);
    }
    rd_teacher_free(&t);
}

static double expected(const family_data *d, double a, double b)
{
    double sum = 0;
    for (int64_t i = 0; i < d->tasks.n; i++) {
        double s = d->cost[i] < 0 ? 0 : 1 / (1 + exp(b * d->cost[i] - a));
        sum += s * d->right[i] + (1 - s) * d->near[i];
    }
    return sum / (double)d->tasks.n;
}

static void calibrate(rd_family f, double b)
{
    family_data d = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/%s.jsonl", rd_test_data(), file_of[f]);
    if (rd_task_load(path, f, &d.tasks) != RD_OK) rd_die("%s", rd_error_get()->message);
    d.cost = rd_new(double, d.tasks.n);
    d.right = rd_new(double, d.tasks.n);
    d.near = rd_new(double, d.tasks.n);
    double mean = 0, square = 0, right = 0, near = 0;
    int64_t found = 0;
    for (int64_t i = 0; i < d.tasks.n; i++) {
        rd_candidates c = {0};
        rd_search_opts one = {.max_right = 1, .max_partial = 1, .max_wrong = 1};
        if (rd_rule_search(&d.tasks.task[i], &one, &c) != RD_OK) rd_die("search");
        bool has = c.n > 0 && c.item[0].score == d.tasks.task[i].n_demos;
        d.cost[i] = has ? c.item[0].cost : -1;
        if (has) mean += d.cost[i], square += d.cost[i] * d.cost[i], found++;
        rd_candidates_free(f, &c);
    }
    greedy(&d.tasks, f, 1000, 0, 1, d.right);
    int seeds = ASKED / (int)d.tasks.n + 1;
    for (int s = 1; s <= seeds; s++) greedy(&d.tasks, f, -1000, 0, (uint64_t)s, d.near);
    for (int64_t i = 0; i < d.tasks.n; i++) {
        d.near[i] /= seeds;
        right += d.right[i];
        near += d.near[i];
    }
    mean /= (double)found;
    double sd = sqrt(square / (double)found - mean * mean), n = (double)d.tasks.n;
    double low = -100, high = 100 + b * 1000;
    while (high - low > 1e-4) {
        double a = (low + high) / 2;
        if (expected(&d, a, b) < target[f])
            low = a;
        else
            high = a;
    }
    double *asked = rd_new(double, d.tasks.n), sum = 0;
    for (int s = 1; s <= seeds; s++) greedy(&d.tasks, f, low, b, 100 + (uint64_t)s, asked);
    for (int64_t i = 0; i < d.tasks.n; i++) sum += asked[i] / seeds;
    diag("%-13s rule found %5.1f %%, cost %.2f +- %.2f, test accuracy right %.1f %%, near %.1f %%",
         rd_family_name(f), 100 * (double)found / n, mean, sd, 100 * right / n, 100 * near / n);
    diag("%-13s b %.3f: a = %.3f for %.1f %%; %d teachers asked: %.1f %%", "", b, low,
         100 * target[f], seeds, 100 * sum / n);
    rd_free(asked);
    rd_free(d.cost);
    rd_free(d.right);
    rd_free(d.near);
    rd_taskset_free(&d.tasks);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_teacher_opts o;
    rd_teacher_defaults(&o);
    if (!rd_test_data()) rd_die("no official data");
    rd_prompts_default(&prompts);
    for (int f = 0; f < RD_FAMILIES; f++)
        calibrate((rd_family)f, argc > f + 1 ? atof(argv[f + 1]) : o.skill_b[f]);
    rd_prompts_free(&prompts);
    return rd_test_end();
}
