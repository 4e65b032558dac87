/* ranks: 1 */
/* Generated 1D-ARC tasks: every difficulty, the size of the program space of difficulty 0, the
 * promises about two-part tasks, mutation of the task's own rule, speed. */
#include "rd_test.h"
#include "made_tasks.h"

static rd_gen_opts options(int difficulty)
{
    return (rd_gen_opts){.family = RD_ARC1D, .difficulty = difficulty, .seed = 11};
}

/* Each part of a two-part rule changes the list of every example. */
static bool parts_show(const rd_task *t, const rd_rule *r)
{
    bool all = true;
    for (int64_t i = 0; i < t->n_demos + t->n_queries && all; i++) {
        rd_buf answer = {0}, work = {0};
        all = rd_rule_run(RD_ARC1D, r, t->examples[i].input, &answer, &work);
        if (work.len > 0)
            all = all && strcmp(work.data, t->examples[i].input) != 0 &&
                  strcmp(work.data, answer.data) != 0;
        rd_buf_free(&answer);
        rd_buf_free(&work);
    }
    return all;
}

/* The task's own rule explains it, and no example is unchanged or repeated. */
static bool sound(const rd_task *t)
{
    rd_rule *r = rd_rule_parse(RD_ARC1D, t->rule);
    int64_t n = t->n_demos + t->n_queries;
    bool good = r && rule_explains(r, t) && t->rule_class && parts_show(t, r);
    for (int64_t i = 0; i < n; i++) {
        good = good && strcmp(t->examples[i].input, t->examples[i].output) != 0;
        for (int64_t j = 0; j < i; j++)
            good = good && strcmp(t->examples[i].input, t->examples[j].input) != 0;
    }
    rd_rule_free(RD_ARC1D, &r);
    return good;
}

static void test_difficulties(void)
{
    for (int d = 0; d <= 3; d++) {
        rd_gen_opts o = options(d);
        int64_t bad = 0, solved = 0, mutated = 0, n = d == 0 ? 400 : 120;
        for (int64_t i = 0; i < n; i++) {
            rd_task t, again;
            if (rd_task_generate(&o, RD_SPLIT_TRAIN, i, &t) != RD_OK) {
                bad++;
                continue;
            }
            bad += !sound(&t);
            rd_candidates c = {0};
            if (rd_rule_search(&t, NULL, &c) == RD_OK && c.n > 0)
                solved += rule_explains(c.item[0].rule, &t);
            rd_candidates_free(RD_ARC1D, &c);
            rd_rule *r = rd_rule_parse(RD_ARC1D, t.rule);
            rd_rng rng = rd_rng_make(2, "mutate", (uint64_t)i, 0);
            rd_rule *m = r ? rd_rule_mutate(RD_ARC1D, r, &t, &rng) : NULL;
            mutated += m && !rule_explains(m, &t);
            rd_rule_free(RD_ARC1D, &m);
            rd_rule_free(RD_ARC1D, &r);
            if (rd_task_generate(&o, RD_SPLIT_TRAIN, i, &again) == RD_OK) {
                bad += strcmp(t.rule, again.rule) != 0 ||
                       strcmp(t.examples[0].input, again.examples[0].input) != 0;
                rd_task_free(&again);
            }
            rd_task_free(&t);
        }
        is_i64(bad, 0, "tasks are sound and reproducible");
        is_i64(mutated, n, "the task's rule has a neighbour that behaves differently");
        diag("difficulty %d: the search answers %lld of %lld", d, (long long)solved, (long long)n);
        ok(solved >= 0.9 * (double)n, "difficulty %d can be solved", d);
    }
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Difficulty 0: distinct programs, share of one-part rules, no one-part explanation, speed. */
static void test_small(void)
{
    enum { N = 20000 };
    rd_gen_opts o = options(0);
    char **class = rd_new(char *, N);
    int64_t one_part = 0, cells = 0, failed = 0, programs = 0, longest = 0;
    double start = rd_time();
    for (int64_t i = 0; i < N; i++) {
        rd_task t;
        if (rd_task_generate(&o, RD_SPLIT_TRAIN, i, &t) != RD_OK) {
            failed++;
            class[i] = rd_strdup("");
            continue;
        }
        class[i] = rd_strdup(t.rule_class);
        one_part += strchr(t.rule, ';') == NULL;
        cells += (int64_t)strlen(t.examples[0].input) / 3;
        if ((int64_t)strlen(t.rule) > longest) longest = (int64_t)strlen(t.rule);
        rd_task_free(&t);
    }
    double seconds = rd_time() - start;
    qsort(class, N, sizeof *class, compare_text);
    for (int64_t i = 0; i < N; i++) {
        programs += i == 0 || strcmp(class[i], class[i - 1]) != 0;
        if (i > 0) rd_free(class[i - 1]);
    }
    rd_free(class[N - 1]);
    rd_free(class);
    diag("difficulty 0: %lld programs in %d tasks, %.0f %% of one part, longest rule %lld "
         "characters",
         (long long)programs, N, 100.0 * (double)one_part / N, (long long)longest);
    diag("%.0f tasks per second", N / seconds);
    is_i64(failed, 0, "every index has a task");
    ok(programs >= 1600, "at least 1,600 programs");
    ok(one_part > 0.1 * N && one_part < 0.3 * N, "about a fifth has one part");
    ok(longest <= 100, "rules are short");
    ok(cells >= 8 * N && cells <= 10 * N, "lists are of 8 to 10 cells");
    ok(N / seconds > 500, "speed");
}

static void test_holdout(void)
{
    rd_gen_opts o = options(0);
    int64_t wrong = 0;
    o.holdout = 0.25;
    for (int64_t i = 0; i < 200; i++)
        for (int split = 0; split < 2; split++) {
            rd_task t;
            if (rd_task_generate(&o, (rd_split)split, i, &t) != RD_OK) continue;
            wrong += rd_task_class_split(o.seed, o.holdout, t.rule_class) != (rd_split)split;
            rd_task_free(&t);
        }
    is_i64(wrong, 0, "held-out classes stay on their side");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_difficulties();
    test_small();
    test_holdout();
    return rd_test_end();
}
