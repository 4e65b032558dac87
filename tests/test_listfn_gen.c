/* ranks: 1 */
/* Generated List Function tasks, mutated rules and slips. */
#include "rd_test.h"
#include "made_tasks.h"
#include "task/listfn.h"

static int string_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int64_t distinct(char **s, int64_t n)
{
    int64_t d = n > 0;
    qsort(s, (size_t)n, sizeof *s, string_compare);
    for (int64_t k = 1; k < n; k++) d += strcmp(s[k - 1], s[k]) != 0;
    return d;
}

static void draws(int difficulty, int64_t attempts, double least_share)
{
    const rd_gen_opts opts = {.family = RD_LIST_FUNCTION, .difficulty = difficulty};
    int64_t n = 0, bad = 0, one_step = 0, impure = 0, words = 0;
    char **rule = rd_new(char *, attempts), **class = rd_new(char *, attempts);
    double start = rd_time();
    for (int64_t k = 0; k < attempts; k++) {
        rd_task t = {.family = RD_LIST_FUNCTION}, again = {.family = RD_LIST_FUNCTION};
        rd_rng rng = rd_rng_make(5, "test draws", (uint64_t)k, 0), same = rng;
        if (!lf_draw(&opts, &rng, &t)) continue;
        bad += !made_explained(&t);
        if (k % 16 == 0)
            impure += !lf_draw(&opts, &same, &again) || strcmp(t.rule, again.rule) != 0;
        one_step += !strstr(t.rule, "; then");
        for (const char *s = t.rule; *s; s++) words += *s == ' ';
        rule[n] = rd_strdup(t.rule);
        class[n++] = rd_strdup(t.rule_class);
        rd_task_free(&t);
        rd_task_free(&again);
    }
    double seconds = rd_time() - start;
    int64_t rules = distinct(rule, n), classes = distinct(class, n);
    diag("difficulty %d: %lld of %lld draws kept, %.0f draws/s, %lld rules of %lld classes, %.1f "
         "%% of one step, %.1f words",
         difficulty, (long long)n, (long long)attempts, (double)attempts / seconds,
         (long long)rules, (long long)classes, 100.0 * (double)one_step / (double)n,
         (double)words / (double)n + 1);
    is_i64(bad, 0, "every task is explained by the text of its rule");
    is_i64(impure, 0, "a draw depends on its random stream only");
    ok((double)n >= least_share * (double)attempts, "enough draws are kept");
    ok(classes <= rules, "no more classes than rules");
    if (difficulty == 0) {
        ok(one_step * 100 >= 18 * n && one_step * 100 <= 27 * n,
           "18 to 27 %% of the tasks have one step");
        ok(rules >= 1600, "the space of programs is large");
    }
    for (int64_t k = 0; k < n; k++) {
        rd_free(rule[k]);
        rd_free(class[k]);
    }
    rd_free(rule);
    rd_free(class);
}

/* All rules of one step of difficulty 0, from their texts. */
static int64_t one_step_rules(rd_rule **out)
{
    static const char *const by_k[] = {"Keep the first %d.", "Keep the last %d.",
                                       "Drop the first %d.", "Drop the last %d.",
                                       "Delete element %d.", "Add %d to each."};
    int64_t n = 0;
    char text[80];
    for (int k = 1; k <= 3; k++) {
        for (size_t i = 0; i < sizeof by_k / sizeof by_k[0]; i++) {
            snprintf(text, sizeof text, by_k[i], k);
            out[n++] = lf_parse(text);
        }
        for (int v = 0; v <= 9; v++) {
            snprintf(text, sizeof text, "Replace element %d by %d.", k, v);
            out[n++] = lf_parse(text);
        }
    }
    for (int v = 0; v <= 9; v++) {
        snprintf(text, sizeof text, "Put %d in front.", v);
        out[n++] = lf_parse(text);
        snprintf(text, sizeof text, "Put %d at the end.", v);
        out[n++] = lf_parse(text);
    }
    out[n++] = lf_parse("Reverse the list.");
    out[n++] = lf_parse("Swap the first and the last.");
    return n;
}

/* Difficulty 0: digits only, never empty, and two steps are needed where two steps are the rule. */
static void student_scale(void)
{
    const rd_gen_opts opts = {.family = RD_LIST_FUNCTION, .difficulty = 0};
    rd_rule *one[128];
    int64_t n_one = one_step_rules(one), needless = 0, out_of_range = 0, kept = 0;
    for (int64_t k = 0; k < 3000; k++) {
        rd_task t = {.family = RD_LIST_FUNCTION};
        rd_rng rng = rd_rng_make(6, "test student scale", (uint64_t)k, 0);
        if (!lf_draw(&opts, &rng, &t)) continue;
        kept++;
        ints in[4], want[7], got;
        for (int64_t i = 0; i < t.n_demos + t.n_queries; i++) {
            bool read = ints_read(t.examples[i].output, &want[i]);
            if (!read || !want[i].n) out_of_range++;
            for (int j = 0; j < want[i].n; j++)
                out_of_range += want[i].v[j] < 0 || want[i].v[j] > 9;
            if (i < t.n_demos) ints_read(t.examples[i].input, &in[i]);
        }
        for (int64_t r = 0; r < n_one && strstr(t.rule, "; then"); r++) {
            int64_t right = 0;
            for (int64_t i = 0; i < t.n_demos; i++)
                right += lf_run(&one[r]->p, one[r]->root, &in[i], &got) && got.n == want[i].n &&
                         ints_agreement(&got, &want[i]) == 1.0;
            needless += right == t.n_demos;
        }
        rd_task_free(&t);
    }
    for (int64_t r = 0; r < n_one; r++) lf_rule_free(one[r]);
    ok(kept > 1000, "draws are kept");
    is_i64(needless, 0, "no rule of one step explains a task of two");
    is_i64(out_of_range, 0, "outputs are digits and never empty");
}

/* The same function in other words is the same class; other functions are not. */
static void classes(void)
{
    static const char *const pair[][2] = {
        {"Put 3 in front; then put 5 at the end.", "Put 5 at the end; then put 3 in front."},
        {"Drop the first 1; then drop the first 1.", "Drop the first 2."},
        {"Delete element 1; then keep the first 2.", "Keep elements 2 to 3."},
    };
    for (size_t k = 0; k < sizeof pair / sizeof pair[0]; k++) {
        rd_buf c[2] = {{0}, {0}};
        for (int i = 0; i < 2; i++) {
            rd_rule *r = lf_parse(pair[k][i]);
            lf_class(r, true, &c[i]);
            lf_rule_free(r);
        }
        is_str(c[0].data, c[1].data, pair[k][0]);
        rd_buf_free(&c[0]);
        rd_buf_free(&c[1]);
    }
    rd_buf a = {0}, b = {0};
    rd_rule *r = lf_parse("Put 3 in front."), *q = lf_parse("Put 4 in front.");
    lf_class(r, true, &a);
    lf_class(q, true, &b);
    ok(strcmp(a.data, b.data) != 0, "other constants are other classes");
    lf_rule_free(r);
    lf_rule_free(q);
    rd_buf_free(&a);
    rd_buf_free(&b);
}

static void mutations(void)
{
    const rd_gen_opts opts = {.family = RD_LIST_FUNCTION, .seed = 9};
    int64_t n = 0, none = 0, same = 0, idle = 0, graded = 0, slips = 0, slip_same = 0;
    double seconds = 0;
    for (int64_t k = 0; k < 300; k++) {
        rd_task t = {0};
        if (rd_task_generate(&opts, RD_SPLIT_TRAIN, k, &t) != RD_OK) continue;
        rd_rule *r = rd_rule_parse(RD_LIST_FUNCTION, t.rule);
        rd_rng rng = rd_rng_make(9, "test mutations", (uint64_t)k, 0);
        double t0 = rd_time();
        rd_rule *m = rd_rule_mutate(RD_LIST_FUNCTION, r, &t, &rng);
        seconds += rd_time() - t0;
        n++;
        none += !m;
        same += m && rd_rule_equal(RD_LIST_FUNCTION, r, m);
        int64_t score = 0, differs = 0;
        for (int64_t i = 0; m && i < t.n_demos + t.n_queries; i++) {
            rd_buf got = {0}, slip = {0};
            bool equal = rd_rule_run(RD_LIST_FUNCTION, m, t.examples[i].input, &got, NULL) &&
                         !strcmp(got.data, t.examples[i].output);
            score += equal && i < t.n_demos;
            differs += !equal;
            rd_rule_slip(RD_LIST_FUNCTION, r, t.examples[i].input, t.examples[i].output, &rng,
                         &slip);
            slips++;
            slip_same += !strcmp(slip.data, t.examples[i].output);
            rd_buf_free(&got);
            rd_buf_free(&slip);
        }
        idle += m && !differs;
        graded += score > 0 && score < t.n_demos;
        rd_rule_free(RD_LIST_FUNCTION, &m);
        rd_rule_free(RD_LIST_FUNCTION, &r);
        rd_task_free(&t);
    }
    diag("mutants: %.0f %% have a score between none and all; %.1f us each",
         100.0 * (double)graded / (double)n, 1e6 * seconds / (double)n);
    is_i64(none, 0, "every rule has a mutant");
    is_i64(same, 0, "mutants are other rules");
    is_i64(idle, 0, "mutants behave differently");
    ok(graded * 10 >= 4 * n, "many mutants are partly right");
    ok(slip_same * 50 < slips, "slips change the answer");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    draws(0, 12000, 0.4);
    draws(1, 3000, 0.05);
    draws(2, 3000, 0.05);
    draws(3, 3000, 0.05);
    student_scale();
    classes();
    mutations();
    return rd_test_end();
}
