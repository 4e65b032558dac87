/* rule_checks.h: what holds of the rules of every family: used by test_acre.c and test_scan.c. */
#ifndef RD_RULE_CHECKS_H
#define RD_RULE_CHECKS_H

#include "rd_test.h"
#include "made_tasks.h"
#include "task/families.h"

/* parse(print(r, w)) = r for w below `wordings`, in any case and spacing if loose; text as
 * promised. */
static inline bool rule_round_trip(rd_family f, const rd_rule *r, uint64_t wordings, bool loose)
{
    bool good = true;
    rd_buf b = {0};
    for (uint64_t w = 0; good && w < wordings; w++) {
        rd_buf_clear(&b);
        rd_rule_print(f, r, w, &b);
        good = b.len > 1 && b.data[b.len - 1] == '.' && !strpbrk(b.data, "[]\n") &&
               !strstr(b.data, "Input:") && (w > 0 || b.len < 400);
        for (size_t i = 0; loose && w % 3 == 1 && i < b.len; i++)
            if (b.data[i] >= 'a' && b.data[i] <= 'z') b.data[i] = (char)(b.data[i] - 32);
        if (w % 5 == 2) rd_buf_puts(&b, "  ");
        rd_rule *back = rd_rule_parse(f, b.data);
        good = good && back && rd_rule_equal(f, r, back);
        if (!good) diag("wording %d: %s", (int)w, b.data);
        rd_rule_free(f, &back);
    }
    if (rd_family_ops(f)->print_terse) {
        rd_buf_clear(&b);
        rd_family_ops(f)->print_terse(r, &b);
        rd_rule *back = rd_rule_parse(f, b.data);
        good = good && back && rd_rule_equal(f, r, back) && !strpbrk(b.data, "[]\n");
        if (!good) diag("terse: %s", b.data);
        rd_rule_free(f, &back);
    }
    rd_buf_free(&b);
    return good;
}

/* What a search of one task found. */
typedef struct rule_findings {
    int64_t tasks, solved, queries, hits, candidates;
    int64_t right, partial, wrong;   /* tasks that have such candidates */
    bool scores, order, round_trips; /* all were as they should be */
    double seconds;
} rule_findings;

static inline void rule_findings_add(rule_findings *s, const rd_task *t, uint64_t wordings,
                                     bool loose)
{
    rd_candidates c = {0};
    int64_t right = 0, wrong = 0, n = t->n_demos + t->n_queries;
    double start = rd_time();
    int rc = rd_rule_search(t, NULL, &c);
    s->seconds += rd_time() - start;
    if (s->tasks++ == 0) s->scores = s->order = s->round_trips = true;
    for (int64_t k = 0; rc == RD_OK && k < c.n; k++) {
        const rd_candidate *a = &c.item[k];
        s->scores &= a->score == rule_hits(a->rule, t, 0, t->n_demos) &&
                     a->cost == rd_rule_cost(t->family, a->rule);
        s->order &=
            k == 0 || a[-1].score > a->score || (a[-1].score == a->score && a[-1].cost <= a->cost);
        s->round_trips &= rule_round_trip(t->family, a->rule, k ? 3 : wordings, loose);
        right += a->score == t->n_demos;
        wrong += a->score == 0;
    }
    int64_t hits = right ? rule_hits(c.item[0].rule, t, t->n_demos, n) : 0;
    s->candidates += c.n;
    s->hits += hits;
    s->queries += t->n_queries;
    s->solved += hits == t->n_queries;
    s->right += right > 0;
    s->wrong += wrong > 0;
    s->partial += c.n > right + wrong;
    rd_candidates_free(t->family, &c);
}

/* What a search of n generated tasks is to have found. */
static inline void rule_findings_check(const rule_findings *s, int64_t n)
{
    is_i64(s->tasks, n, "tasks were generated");
    ok(s->scores && s->order, "scores, costs and their order");
    ok(s->round_trips, "every candidate is read back from every wording");
    is_i64(s->partial, n, "every task has nearly right candidates");
    diag("%.3f ms, %.0f candidates per task", 1e3 * s->seconds / (double)s->tasks,
         (double)s->candidates / (double)s->tasks);
}

/* What a search of the 100 official tasks is to find: every answer; at least `least` candidates
 * with a score of `low` or less everywhere.  set gets the tasks. */
static inline void rule_official_check(const char *path, rd_family f, bool loose, int64_t queries,
                                       int64_t low, int64_t least, rd_taskset *set)
{
    rule_findings s = {0};
    int64_t spread = 0;
    is_rc(rd_task_load(path, f, set), RD_OK, path);
    for (int64_t i = 0; i < set->n; i++) {
        rd_candidates c = {0};
        int64_t n = 0;
        rule_findings_add(&s, &set->task[i], 2, loose);
        rd_rule_search(&set->task[i], NULL, &c);
        for (int64_t k = 0; k < c.n; k++) n += c.item[k].score <= low;
        spread += n >= least;
        rd_candidates_free(f, &c);
    }
    is_i64(s.solved, 100, "all official tasks");
    is_i64(s.hits, queries, "all their queries");
    is_i64(spread, 100, "enough candidates with a low score everywhere");
}

typedef struct rule_mutants {
    int64_t mutants, good, slips, different;
} rule_mutants;

/* Mutants of the rule of t behave differently somewhere and can be told; slips are other answers.
 */
static inline void rule_mutants_add(rule_mutants *s, const rd_task *t, rd_rng *rng)
{
    rd_family f = t->family;
    rd_rule *r = rd_rule_parse(f, t->rule);
    rd_buf y = {0};
    for (int k = 0; r && k < 8; k++) {
        rd_rule *m = rd_rule_mutate(f, r, t, rng);
        if (m) {
            s->mutants++;
            s->good += !rule_explains(m, t) && rule_round_trip(f, m, 2, false);
        }
        rd_rule_free(f, &m);
        const rd_example *e = &t->examples[k % t->n_demos];
        rd_buf_clear(&y);
        rd_rule_slip(f, r, e->input, e->output, rng, &y);
        s->slips++;
        s->different += y.len && strcmp(y.data, e->output) != 0;
    }
    rd_buf_free(&y);
    rd_rule_free(f, &r);
}

static inline void rule_mutants_check(const rule_mutants *s, int64_t least)
{
    ok(s->mutants > least && s->good == s->mutants, "mutants: %d, different and told: %d",
       (int)s->mutants, (int)s->good);
    is_i64(s->different, s->slips, "a slip is another answer");
}

#endif
