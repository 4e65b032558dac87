/* ranks: 1 */
/* The symbolic teacher: reproducible, with the spread and the noise it is told to have. */
#include "rd_test.h"
#include "made_tasks.h"
#include "rd/teacher.h"

enum { TASKS = 40, DRAWS = 25 };

static rd_prompts *prompts;
static rd_task tasks[RD_FAMILIES][TASKS];

static rd_teacher_opts exact(void)
{
    rd_teacher_opts o;
    rd_teacher_defaults(&o);
    o.noise = o.step_noise = o.format_noise = 0;
    o.use_known_rule = true;
    for (int f = 0; f < RD_FAMILIES; f++) o.skill_a[f] = 50, o.skill_b[f] = 0;
    return o;
}

static rd_teacher *make(const rd_teacher_opts *o)
{
    rd_teacher *t = NULL;
    if (rd_teacher_create(o, prompts, NULL, &t) != RD_OK) rd_die("create");
    return t;
}

static void free_rules(rd_proposal *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++) RD_FREE(p[i].rule);
}

/* Demonstrations that a rule text reproduces; -1 when it is no rule. */
static int64_t score(const rd_task *t, const char *text)
{
    return rule_text_hits(text, t, 0, t->n_demos);
}

static void proposals_are_reproducible(void)
{
    rd_teacher_opts o = exact();
    rd_teacher *a = make(&o), *b = make(&o);
    o.seed = 2;
    rd_teacher *other = make(&o);
    for (int f = 0; f < RD_FAMILIES; f++) {
        rd_proposal few[3], many[10], elsewhere[10];
        bool prefix = true, differs = false;
        for (int i = 0; i < 5; i++) {
            rd_teacher_propose(a, &tasks[f][i], 3, 1.0, few);
            rd_teacher_propose(b, &tasks[f][i], 10, 1.0, many);
            rd_teacher_propose(other, &tasks[f][i], 10, 1.0, elsewhere);
            for (int k = 0; k < 3; k++) prefix = prefix && strcmp(few[k].rule, many[k].rule) == 0;
            for (int k = 0; k < 10; k++)
                differs = differs || strcmp(many[k].rule, elsewhere[k].rule) != 0;
            free_rules(few, 3);
            free_rules(many, 10);
            free_rules(elsewhere, 10);
        }
        ok(prefix, "%s: proposal i does not depend on k or the handle",
           rd_family_name((rd_family)f));
        ok(differs, "%s: it does on the seed", rd_family_name((rd_family)f));
    }
    ok(rd_teacher_key(a) == rd_teacher_key(b) && rd_teacher_key(a) != rd_teacher_key(other),
       "the key tells teachers apart");
    rd_teacher_free(&a);
    rd_teacher_free(&b);
    rd_teacher_free(&other);
}

static void spread(void)
{
    rd_teacher_opts o = exact();
    rd_teacher *t = make(&o);
    for (int f = 0; f < RD_FAMILIES; f++) {
        int64_t grade[3] = {0}, no_rule = 0, greedy = 0;
        for (int i = 0; i < TASKS; i++) {
            rd_proposal p[DRAWS];
            rd_teacher_propose(t, &tasks[f][i], DRAWS, 1.0, p);
            for (int k = 0; k < DRAWS; k++) {
                int64_t s = score(&tasks[f][i], p[k].rule);
                no_rule += s < 0;
                grade[s == tasks[f][i].n_demos ? 0 : s > 0 ? 1 : 2]++;
            }
            free_rules(p, DRAWS);
            rd_teacher_propose(t, &tasks[f][i], 1, 0.0, p);
            greedy += score(&tasks[f][i], p[0].rule) == tasks[f][i].n_demos;
            free_rules(p, 1);
        }
        const char *name = rd_family_name((rd_family)f);
        double n = TASKS * DRAWS;
        diag("%s: right %.2f near %.2f wrong %.2f", name, (double)grade[0] / n,
             (double)grade[1] / n, (double)grade[2] / n);
        is_i64(no_rule, 0, "every proposal is a rule of the family");
        is_i64(greedy, TASKS, "temperature 0 with full skill: always right");
        /* Grades that a task has no rule for give their share to the others. */
        ok((double)grade[0] > 0.28 * n && (double)grade[0] < 0.62 * n, "%s: share of right rules",
           name);
        ok((double)grade[1] > 0.05 * n, "%s: nearly right ones", name);
        ok((double)grade[2] > 0.01 * n, "%s: wrong ones", name);
    }
    rd_teacher_free(&t);
    for (int f = 0; f < RD_FAMILIES; f++) o.skill_a[f] = -50;
    t = make(&o);
    for (int f = 0; f < RD_FAMILIES; f++) {
        int64_t right = 0;
        for (int i = 0; i < TASKS; i++) {
            rd_proposal p[2];
            rd_teacher_propose(t, &tasks[f][i], 2, 0.0, p);
            for (int k = 0; k < 2; k++)
                right += score(&tasks[f][i], p[k].rule) == tasks[f][i].n_demos;
            free_rules(p, 2);
        }
        is_i64(right, 0, "no skill: never right");
    }
    rd_teacher_free(&t);
}

/* Share of applications of the known rules that are read as the gold output. */
static double accuracy(rd_teacher *t, rd_family f, bool strict, uint64_t keys)
{
    int64_t n = 0, right = 0;
    for (int i = 0; i < TASKS; i++) {
        for (int64_t e = 0; e < tasks[f][i].n_demos; e++) {
            for (uint64_t key = 0; key < keys; key++) {
                rd_application a = {
                    .rule = tasks[f][i].rule, .input = tasks[f][i].examples[e].input, .key = key};
                rd_buf answer = {0};
                rd_teacher_apply(t, f, 1, 0.7, &a);
                right += rd_answer_read(prompts, f, a.response, strict, &answer) &&
                         strcmp(answer.data, tasks[f][i].examples[e].output) == 0;
                n++;
                rd_free(a.response);
                rd_buf_free(&answer);
            }
        }
    }
    return (double)right / (double)n;
}

static void noise(void)
{
    rd_teacher_opts o = exact();
    rd_teacher *t = make(&o);
    for (int f = 0; f < RD_FAMILIES; f++)
        near_f64(accuracy(t, (rd_family)f, true, 1), 1.0, 0, "without noise every answer is right");
    rd_teacher_free(&t);
    o.noise = 0.2;
    t = make(&o);
    for (int f = 0; f < RD_FAMILIES; f++) {
        double got = accuracy(t, (rd_family)f, true, 8);
        /* 960 or more draws: a standard error of 1.3 points; a slip may by chance change nothing.
         */
        ok(got > 0.75 && got < 0.88, "%s: noise 0.2 leaves %.3f", rd_family_name((rd_family)f),
           got);
    }
    rd_teacher_free(&t);
    o.noise = 0;
    o.format_noise = 0.5;
    t = make(&o);
    for (int f = 0; f < RD_FAMILIES; f++) {
        double strict = accuracy(t, (rd_family)f, true, 4);
        double tolerant = accuracy(t, (rd_family)f, false, 4);
        ok(strict < 0.95 && tolerant > strict, "%s: format noise leaves %.3f strict, %.3f tolerant",
           rd_family_name((rd_family)f), strict, tolerant);
    }
    rd_teacher_free(&t);
}

static void applications(void)
{
    rd_teacher_opts o = exact();
    o.noise = 0.5;
    rd_teacher *a = make(&o), *b = make(&o);
    for (int f = 0; f < RD_FAMILIES; f++) {
        rd_application x[64], y = {0};
        bool same = true, independent = false;
        for (int i = 0; i < 64; i++)
            x[i] = (rd_application){.rule = tasks[f][0].rule,
                                    .input = tasks[f][0].examples[0].input,
                                    .key = (uint64_t)i};
        rd_teacher_apply(a, (rd_family)f, 64, 0.7, x);
        for (int i = 63; i >= 0; i -= 7) {
            y = x[i];
            rd_teacher_apply(b, (rd_family)f, 1, 0.7, &y);
            same = same && strcmp(y.response, x[i].response) == 0;
            rd_free(y.response);
        }
        for (int i = 1; i < 64; i++)
            independent = independent || strcmp(x[0].response, x[i].response);
        for (int i = 0; i < 64; i++) rd_free(x[i].response);
        ok(same, "%s: the same key gives the same response", rd_family_name((rd_family)f));
        ok(independent, "%s: another key is another draw", rd_family_name((rd_family)f));
        y = (rd_application){.rule = "Turn on all red things.",
                             .input = tasks[f][0].examples[0].input};
        rd_buf answer = {0};
        rd_teacher_apply(a, (rd_family)f, 1, 0.7, &y);
        bool read = rd_answer_read(prompts, (rd_family)f, y.response, false, &answer);
        /* MiniSCAN's answers are words of any kind, so there the reading finds a wrong one. */
        ok(f == RD_MINISCAN ? strcmp(answer.data, tasks[f][0].examples[0].output) != 0 : !read,
           "%s: what is no rule gets no answer", rd_family_name((rd_family)f));
        rd_free(y.response);
        rd_buf_free(&answer);
    }
    rd_teacher_free(&a);
    rd_teacher_free(&b);
}

static void bad_options(void)
{
    rd_teacher *t = NULL;
    rd_teacher_opts o = exact();
    o.kind = "oracle";
    is_rc(rd_teacher_create(&o, prompts, NULL, &t), RD_EINPUT, "a kind that does not exist");
    o = exact();
    o.noise = 1.5;
    is_rc(rd_teacher_create(&o, prompts, NULL, &t), RD_EINPUT, "a rate above 1");
    ok(t == NULL, "no handle on failure");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_prompts_default(&prompts);
    for (int f = 0; f < RD_FAMILIES; f++) {
        rd_gen_opts gen = {.family = (rd_family)f, .difficulty = 1, .seed = 3, .n_train = TASKS};
        for (int i = 0; i < TASKS; i++)
            if (rd_task_generate(&gen, RD_SPLIT_TRAIN, i, &tasks[f][i]) != RD_OK) rd_die("no task");
    }
    proposals_are_reproducible();
    spread();
    noise();
    applications();
    bad_options();
    for (int f = 0; f < RD_FAMILIES; f++)
        for (int i = 0; i < TASKS; i++) rd_task_free(&tasks[f][i]);
    rd_prompts_free(&prompts);
    return rd_test_end();
}
