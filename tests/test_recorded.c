/* ranks: 1 2 4 */
/* The teacher's own accuracy: the search made of its traces is the plain one, on any number of
 * ranks; traces that do not fit are refused. */
#include "rd_test.h"
#include "augment_runs.h"
#include "made_tasks.h"

#include <math.h>

enum { TASKS = 5, RULES = 12, COUNTS = 3 }; /* tasks per family; draws */

static rd_prompts *prompts;
static rd_taskset tasks;
static int64_t rules_per_task[1] = {RULES};
static rd_teacher_opts teacher_opts;

static void make_tasks(void)
{
    static const rd_family family[] = {RD_LIST_FUNCTION, RD_ARC1D};
    made_alternate(&tasks, (rd_gen_opts){.seed = 5, .n_test = TASKS}, RD_SPLIT_TEST, TASKS, 2,
                   family);
    for (int64_t i = 0; i < tasks.n; i++) RD_FREE(tasks.task[i].rule);
}

/* What augment asks, and its answers, by a teacher of our own. */
typedef struct asked {
    rd_proposal rule[RULES];
    rd_application *app; /* [RULES][examples] */
} asked;

static uint64_t application_key(const rd_task *t, int64_t draw, int64_t example)
{
    int64_t parts[] = {t->family, t->split, t->source, t->id, draw, example};
    return rd_hash(parts, sizeof parts, 0);
}

static void ask(rd_teacher *teacher, const rd_task *t, asked *a)
{
    int64_t n = t->n_demos + t->n_queries;
    *a = (asked){.app = rd_new(rd_application, RULES * n)};
    RD_ASSERT(rd_teacher_propose(teacher, t, 1, 0, a->rule) == RD_OK);
    RD_ASSERT(rd_teacher_propose(teacher, t, RULES - 1, 1, a->rule + 1) == RD_OK);
    for (int64_t i = 0; i < RULES * n; i++)
        a->app[i] = (rd_application){.rule = a->rule[i / n].rule,
                                     .input = t->examples[i % n].input,
                                     .key = application_key(t, i / n, i % n)};
    RD_ASSERT(rd_teacher_apply(teacher, t->family, RULES * n, 0.5, a->app) == RD_OK);
}

static void asked_free(const rd_task *t, asked *a)
{
    for (int k = 0; k < RULES; k++) rd_free(a->rule[k].rule);
    for (int64_t i = 0; i < RULES * (t->n_demos + t->n_queries); i++) rd_free(a->app[i].response);
    rd_free(a->app);
}

static bool right(const rd_task *t, const asked *a, int64_t draw, int64_t example, bool strict)
{
    rd_buf text = {0};
    const char *response = a->app[draw * (t->n_demos + t->n_queries) + example].response;
    bool good = rd_answer_read(prompts, t->family, response, strict, &text) &&
                strcmp(text.data ? text.data : "", t->examples[example].output) == 0;
    rd_buf_free(&text);
    return good;
}

/* The search as one would write it down: the winner's first draw, and all tokens without drops. */
static int64_t plain_search(const rd_task *t, const asked *a, int64_t n, int64_t *tokens)
{
    int64_t best = -1, best_score = -1, best_samples = 0, all = t->n_demos + t->n_queries;
    *tokens = a->rule[0].tokens_in;
    for (int64_t k = 0; k < n; k++) {
        int64_t score = 0, samples = 0;
        bool first = true;
        *tokens += a->rule[k].tokens_out;
        for (int64_t i = 0; i < n; i++) {
            bool same = strcmp(a->rule[i].rule, a->rule[k].rule) == 0;
            samples += same;
            if (same && i < k) first = false;
        }
        if (!first) continue;
        for (int64_t d = 0; d < t->n_demos; d++) {
            score += right(t, a, k, d, true);
            *tokens += a->app[k * all + d].tokens_in + a->app[k * all + d].tokens_out;
        }
        if (score > best_score || (score == best_score && samples > best_samples))
            best = k, best_score = score, best_samples = samples;
    }
    for (int64_t q = t->n_demos; q < all; q++)
        *tokens += a->app[best * all + q].tokens_in + a->app[best * all + q].tokens_out;
    return best;
}

static rd_eval_opts eval_opts(const char *dir)
{
    rd_eval_opts o;
    rd_eval_defaults(&o);
    o.arm = "teacher";
    o.n_counts = COUNTS;
    o.counts[0] = 1, o.counts[1] = 5, o.counts[2] = RULES;
    o.no_dropping = true;
    o.dir = dir;
    o.config = "{}";
    return o;
}

/* Every line against the plain search of every task. */
static void check_lines(const rd_results *r)
{
    rd_teacher *teacher = NULL;
    RD_ASSERT(rd_teacher_create(&teacher_opts, prompts, NULL, &teacher) == RD_OK);
    is_i64(r->n, 2 * COUNTS * 2, "lines: families, numbers of rules, readings");
    for (int64_t i = 0; i < r->n; i++) {
        const rd_result *line = &r->item[i];
        int64_t good = 0, queries = 0, tokens = 0, problems = 0;
        for (int64_t k = 0; k < tasks.n; k++) {
            const rd_task *t = &tasks.task[k];
            asked a;
            int64_t spent;
            if (t->family != line->family) continue;
            ask(teacher, t, &a);
            int64_t best = plain_search(t, &a, line->n, &spent);
            for (int64_t q = 0; q < t->n_queries; q++)
                good += right(t, &a, best, t->n_demos + q, strcmp(line->parse, "strict") == 0);
            queries += t->n_queries, tokens += spent, problems++;
            asked_free(t, &a);
        }
        ok(line->problems == problems && line->queries == queries &&
               strcmp(line->arm, "teacher") == 0 && strcmp(line->method, "search") == 0 &&
               fabs(line->accuracy - (double)good / (double)queries) < 1e-12 &&
               fabs(line->tokens_per_query - (double)tokens / (double)queries) < 1e-9,
           "%s, N = %d, %s: %.1f %% right, %.0f tokens a query", rd_family_name(line->family),
           (int)line->n, line->parse, 100 * line->accuracy, line->tokens_per_query);
    }
    rd_teacher_free(&teacher);
}

static int make_traces(const rd_grid *g, const char *dir, bool queries)
{
    rd_augment_report report;
    rd_augment_opts o = {.hypotheses = rules_per_task,
                         .rule_temperature = 1,
                         .follow_temperature = 0.5,
                         .queries = queries,
                         .first_greedy = true,
                         .own_accuracy = true,
                         .dir = dir};
    return augment_run(g, &teacher_opts, prompts, &tasks, &o, &report);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_grid *g = NULL;
    rd_results lines = {0}, again = {0}, none = {0};
    char dir[300];
    snprintf(dir, sizeof dir, "%s/teacher", rd_test_dir());
    RD_ASSERT(rd_grid_create(0, 1, 1, &g) == RD_OK);
    rd_prompts_default(&prompts);
    rd_teacher_defaults(&teacher_opts);
    teacher_opts.noise = 0.2;
    teacher_opts.format_noise = 0.2; /* the readings differ */
    teacher_opts.wordings = 1;       /* rules come several times */
    for (int f = 0; f < RD_FAMILIES; f++) teacher_opts.skill_a[f] = 1, teacher_opts.skill_b[f] = 0;
    make_tasks();
    rd_eval_opts o = eval_opts(dir);

    is_rc(make_traces(g, dir, false), RD_OK, "traces without the queries");
    is_rc(rd_eval_traces(g, prompts, &tasks, &o, &none), RD_EINPUT, "are refused");
    is_rc(make_traces(g, dir, true), RD_OK, "traces with them");
    is_rc(rd_eval_traces(g, prompts, &tasks, &o, &lines), RD_OK, "are a search");
    check_lines(&lines);
    is_rc(rd_eval_traces(g, prompts, &tasks, &o, &again), RD_OK, "once more, from the file");
    ok(again.n == lines.n &&
           memcmp(again.item, lines.item, (size_t)lines.n * sizeof *lines.item) == 0,
       "the same lines");
    rd_results_free(&again);

    o.no_dropping = false;
    is_rc(rd_eval_traces(g, prompts, &tasks, &o, &again), RD_OK, "with rules dropped early");
    bool same = again.n == lines.n, cheaper = false;
    for (int64_t i = 0; i < lines.n && same; i++) {
        same = again.item[i].accuracy == lines.item[i].accuracy &&
               again.item[i].tokens_per_query <= lines.item[i].tokens_per_query;
        cheaper |= again.item[i].tokens_per_query < lines.item[i].tokens_per_query;
    }
    ok(same && cheaper, "as many are right, for fewer tokens");

    o.counts[2] = RULES + 1;
    is_rc(rd_eval_traces(g, prompts, &tasks, &o, &none), RD_EINPUT, "more rules than there are");
    o.counts[2] = RULES;
    tasks.task[tasks.n - 1].id++;
    is_rc(rd_eval_traces(g, prompts, &tasks, &o, &none), RD_EINPUT, "another task");
    is_i64(none.n, 0, "and no lines");

    rd_results_free(&lines);
    rd_results_free(&again);
    rd_results_free(&none);
    rd_taskset_free(&tasks);
    rd_prompts_free(&prompts);
    rd_grid_free(&g);
    return rd_test_end();
}
