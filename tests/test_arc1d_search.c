/* ranks: 1 */
/* Search on the official 1D-ARC file: share of tasks whose cheapest consistent rule passes the
 * query, time per task, the spread of candidates, and how well kinds are told apart. */
#include "rd_test.h"
#include "made_tasks.h"

typedef struct tally {
    int64_t passed, right, no_partial, wrong, misjudged, unmutated;
    double soft_wrong;
} tally;

static void judge(const rd_task *t, tally *s)
{
    rd_candidates c = {0};
    int64_t partial = 0;
    if (rd_rule_search(t, NULL, &c) != RD_OK) return;
    s->passed +=
        c.n > 0 && c.item[0].score == t->n_demos &&
        rule_hits(c.item[0].rule, t, t->n_demos, t->n_demos + t->n_queries) == t->n_queries;
    for (int64_t i = 0; i < c.n; i++) {
        int64_t got = rule_hits(c.item[i].rule, t, 0, t->n_demos);
        s->misjudged += got != c.item[i].score;
        s->right += got == t->n_demos;
        partial += got > 0 && got < t->n_demos;
        s->wrong += got == 0;
        if (got == 0) s->soft_wrong += c.item[i].soft;
    }
    s->no_partial += partial == 0;
    rd_rng rng = rd_rng_make(5, "mutate", (uint64_t)t->id, 0);
    rd_rule *m = c.n > 0 ? rd_rule_mutate(RD_ARC1D, c.item[0].rule, t, &rng) : NULL;
    s->unmutated += m == NULL || rd_rule_equal(RD_ARC1D, m, c.item[0].rule);
    rd_rule_free(RD_ARC1D, &m);
    rd_candidates_free(RD_ARC1D, &c);
}

/* Share of tasks in the most frequent class of their kind (the file holds 50 tasks of each of 18
 * kinds in order), and pairs of kinds that share that class. */
static void test_kinds(rd_taskset *set)
{
    const char *top[18] = {0};
    int64_t agree = 0, shared = 0, none = 0;
    is_rc(rd_task_classify(set), RD_OK, "classify");
    for (int k = 0; k < 18; k++) {
        int64_t best = 0, last = k == 17 ? set->n : 50 * (k + 1);
        for (int64_t i = 50 * k; i < last; i++) {
            int64_t same = 0;
            if (!set->task[i].rule_class) {
                none++;
                continue;
            }
            for (int64_t j = 50 * k; j < last; j++)
                same += set->task[j].rule_class &&
                        strcmp(set->task[j].rule_class, set->task[i].rule_class) == 0;
            if (same > best) {
                best = same;
                top[k] = set->task[i].rule_class;
            }
        }
        agree += best;
        for (int j = 0; j < k; j++) shared += top[j] && top[k] && strcmp(top[j], top[k]) == 0;
    }
    diag("kinds: %lld of %lld tasks in their kind's class, %lld pairs of kinds share one",
         (long long)agree, (long long)set->n, (long long)shared);
    ok(none == 0 && agree >= 0.95 * (double)set->n, "a class names a kind");
    /* "Move 2 toward" has always a gap of two, which is what sliding does. */
    ok(shared <= 1, "kinds have classes of their own");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    const char *dir = rd_test_data();
    if (!dir) {
        skip("no official data");
        return rd_test_end();
    }
    char path[600];
    rd_taskset set = {0};
    tally s = {0};
    snprintf(path, sizeof path, "%s/1D_arc.jsonl", dir);
    is_rc(rd_task_load(path, RD_ARC1D, &set), RD_OK, "load");
    is_i64(set.n, 901, "tasks");
    double start = rd_time();
    for (int64_t i = 0; i < set.n; i++) judge(&set.task[i], &s);
    double each = (rd_time() - start) / (double)(set.n > 0 ? set.n : 1);
    double n = (double)set.n;
    diag("1D-ARC: cheapest consistent rule passes %lld of %lld tasks (%.1f %%), %.2f ms per task",
         (long long)s.passed, (long long)set.n, 100.0 * (double)s.passed / n, 1e3 * each);
    diag("candidates per task: %.1f right, %.1f wrong of soft score %.2f; %lld tasks have no "
         "partly right one",
         (double)s.right / n, (double)s.wrong / n, s.soft_wrong / (double)(s.wrong ? s.wrong : 1),
         (long long)s.no_partial);
    ok((double)s.passed >= 0.98 * n, "coverage");
    is_i64(s.misjudged, 0, "scores are what running the rule gives");
    is_i64(s.unmutated, 0, "every right rule has a mutation");
    ok(each < 0.1, "time per task");
    test_kinds(&set);
    rd_taskset_free(&set);
    return rd_test_end();
}
