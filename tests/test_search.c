/* ranks: 1 2 4 */
/* Hypothesis search with a rigged student: nested numbers of hypotheses, early dropping, token
 * counts, failures in the denominator; the stage on any number of ranks, from its journal, after
 * faults and stops. */
#include "rigged_student.h"
#include "made_tasks.h"
#include "text_model.h"
#include "infer/eval_impl.h"

#include <inttypes.h>

enum { PER_FAMILY = 4, ALL = 2 * RD_METHOD_ORACLE_RULE - 1 };

static rd_taskset tasks;
static rd_prompts *prompts;
static rd_tok *tok;
static rd_chat *chat;
static rd_grid *grid, *alone;

static void make_tasks(void)
{
    for (int f = 0; f < RD_FAMILIES; f++) {
        rd_gen_opts gen = {.family = (rd_family)f, .seed = 6, .n_test = PER_FAMILY, .holdout = 0};
        for (int64_t i = 0; i < PER_FAMILY; i++) {
            rd_split split = i == 2 ? RD_SPLIT_TRAIN : RD_SPLIT_TEST; /* not to be evaluated */
            made_add(&tasks, &gen, split, i);
        }
    }
}

/* One run in a directory of its own (each rank's own when alone). */
typedef struct outcome {
    predictions p;
    rd_results results;
    uint64_t hash; /* of all cells and the text */
    int rc;
} outcome;

static void free_outcome(outcome *x)
{
    predictions_free(&x->p);
    rd_results_free(&x->results);
}

static void read_outcome(const char *dir, outcome *x)
{
    rd_comm self = rd_comm_self();
    rd_store *s = NULL;
    char path[400];
    int64_t n = 0;
    rd_pool text = {0};
    snprintf(path, sizeof path, "%s/predictions.h5", dir);
    x->hash = 0;
    if (!rd_file_exists(path)) return;
    if (rd_store_open(&self, path, PREDICTIONS_SCHEMA, PREDICTIONS_VERSION, &s) != RD_OK ||
        predictions_read(s, &x->p) != RD_OK || rd_store_text_count(s, &n) != RD_OK ||
        rd_store_read_text(s, 0, n, &text) != RD_OK)
        rd_die("%s: %s", path, rd_error_get()->message);
    rd_store_close(&s);
    x->hash = rd_hash(text.bytes.data, text.bytes.len, 1);
    static const int columns[] = {PROBLEM_COLUMNS, HYP_COLUMNS, ANSWER_COLUMNS, SPENT_COLUMNS};
    for (int k = 0; k < ROWS_TABLES; k++)
        x->hash = rd_hash(x->p.table[k].cell,
                          (size_t)(x->p.table[k].rows * columns[k]) * sizeof(int64_t), x->hash);
    rd_pool_free(&text);
}

static rd_eval_opts options(int methods)
{
    rd_eval_opts o;
    rd_eval_defaults(&o);
    o.arm = "rigged";
    o.methods = methods;
    o.block = 3;
    for (int f = 0; f < RD_FAMILIES; f++) {
        o.random_rules[f] = (const char *const *)rigged.pool[f * PER_FAMILY + 1];
        o.n_random_rules[f] = RIGGED_POOL - 1;
    }
    return o;
}

static outcome run(const rd_grid *g, const char *name, rd_eval_opts o)
{
    outcome x = {0};
    char dir[360];
    snprintf(dir, sizeof dir, "%s/%s", rd_test_dir(), name);
    if (g->world.size < grid->world.size)
        snprintf(dir, sizeof dir, "%s/%s-%d", rd_test_dir(), name, grid->world.rank);
    o.dir = dir;
    x.rc = rd_eval_run(g, NULL, chat, prompts, &tasks, 77, &o, &x.results);
    rd_barrier(&g->world);
    read_outcome(dir, &x);
    return x;
}

static int64_t find_answer(const predictions *p, int64_t of, int method, int64_t n, int64_t query)
{
    for (int64_t i = 0; i < p->table[ROWS_ANSWER].rows; i++) {
        const int64_t *r = predictions_row(p, ROWS_ANSWER, i);
        if (r[ANSWER_PROBLEM] == of && r[ANSWER_METHOD] == method && r[ANSWER_N] == n &&
            r[ANSWER_QUERY] == query)
            return i;
    }
    return -1;
}

/* Same chosen rules (by first draw) and same judgements at this n? */
static bool same_answers(const predictions *a, const predictions *b, int method, int64_t n)
{
    for (int64_t p = 0; p < a->table[ROWS_PROBLEM].rows; p++)
        for (int64_t q = 0; q < predictions_row(a, ROWS_PROBLEM, p)[PROBLEM_QUERIES]; q++) {
            int64_t i = find_answer(a, p, method, n, q), j = find_answer(b, p, method, n, q);
            if (i < 0 || j < 0) return false;
            const int64_t *x = predictions_row(a, ROWS_ANSWER, i);
            const int64_t *y = predictions_row(b, ROWS_ANSWER, j);
            int64_t hx = x[ANSWER_HYPOTHESIS], hy = y[ANSWER_HYPOTHESIS];
            if (hx >= 0) hx = predictions_row(a, ROWS_HYPOTHESIS, hx)[HYP_DRAW];
            if (hy >= 0) hy = predictions_row(b, ROWS_HYPOTHESIS, hy)[HYP_DRAW];
            if (hx != hy || x[ANSWER_STRICT] != y[ANSWER_STRICT] ||
                x[ANSWER_TOLERANT] != y[ANSWER_TOLERANT])
                return false;
        }
    return true;
}

static const rd_result *line(const rd_results *r, rd_family f, int method, int64_t n)
{
    for (int64_t i = 0; i < r->n; i++)
        if (r->item[i].family == f && r->item[i].n == n && !strcmp(r->item[i].parse, "strict") &&
            !strcmp(r->item[i].method, rd_method_name(method)))
            return &r->item[i];
    return NULL;
}

/* ---------------------------------------------------------------- what search decides */

/* With everything followed, the chosen rule is the best row of the table. */
static void test_choice(const outcome *all)
{
    const predictions *p = &all->p;
    int64_t wrong = 0, partial = 0, ties = 0, most = 10;
    for (int64_t i = 0; i < p->table[ROWS_PROBLEM].rows; i++) {
        const int64_t *prob = predictions_row(p, ROWS_PROBLEM, i);
        int64_t best = -1;
        for (int64_t h = 0; h < p->table[ROWS_HYPOTHESIS].rows; h++) {
            const int64_t *y = predictions_row(p, ROWS_HYPOTHESIS, h);
            if (y[HYP_PROBLEM] != i) continue;
            partial += y[HYP_FOLLOWED] != prob[PROBLEM_DEMOS];
            const int64_t *top = best < 0 ? NULL : predictions_row(p, ROWS_HYPOTHESIS, best);
            ties += top && y[HYP_SCORE] == top[HYP_SCORE];
            if (!top || y[HYP_SCORE] > top[HYP_SCORE] ||
                (y[HYP_SCORE] == top[HYP_SCORE] && y[HYP_SAMPLES] > top[HYP_SAMPLES]))
                best = h;
        }
        int64_t row = find_answer(p, i, RD_METHOD_SEARCH, most, 0);
        wrong += predictions_row(p, ROWS_ANSWER, row)[ANSWER_HYPOTHESIS] != best;
    }
    ok(partial == 0, "without dropping every rule is followed everywhere");
    ok(wrong == 0 && ties > 0, "score, then samples, then the earlier draw decides");
}

static void test_dropping(void)
{
    rd_eval_opts o = options(RD_METHOD_SEARCH);
    rigged_reset();
    rigged.in_order = true; /* otherwise more is begun ahead than these few problems save */
    outcome dropped = run(alone, "dropped", o);
    rigged.in_order = false;
    int64_t with = rigged.calls[1], repeats = rigged.repeats;
    rigged_reset();
    o.no_dropping = true;
    outcome all = run(alone, "all", o);
    is_rc(dropped.rc, RD_OK, "search");
    is_rc(all.rc, RD_OK, "search without dropping");
    for (int c = 0; c < o.n_counts; c++)
        ok(same_answers(&dropped.p, &all.p, RD_METHOD_SEARCH, o.counts[c]),
           "dropping changes no choice among %d", (int)o.counts[c]);
    ok(with < rigged.calls[1] * 9 / 10, "it saves applications: %" PRId64 " of %" PRId64, with,
       rigged.calls[1]);
    ok(repeats == 0, "nothing is asked twice");
    test_choice(&all);
    free_outcome(&dropped);
    free_outcome(&all);
}

static void test_nested(void)
{
    rd_eval_opts o = options(ALL);
    char name[32];
    outcome whole = run(alone, "nested", o), part;
    is_rc(whole.rc, RD_OK, "all methods");
    for (int c = 0; c < 3; c++) {
        rd_eval_opts one = o;
        one.n_counts = 1;
        one.counts[0] = o.counts[c];
        snprintf(name, sizeof name, "only-%d", c);
        part = run(alone, name, one);
        for (int m = RD_METHOD_SEARCH; m <= RD_METHOD_RANDOM_RULES; m *= 2) {
            bool same = same_answers(&whole.p, &part.p, m, o.counts[c]);
            for (int f = 0; f < RD_FAMILIES; f++) {
                const rd_result *a = line(&whole.results, (rd_family)f, m, o.counts[c]);
                const rd_result *b = line(&part.results, (rd_family)f, m, o.counts[c]);
                same = same && a && b && memcmp(a, b, sizeof *a) == 0;
            }
            ok(same, "%s with %d alone: the same answers and tokens", rd_method_name(m),
               (int)o.counts[c]);
        }
        free_outcome(&part);
    }
    free_outcome(&whole);
}

/* ---------------------------------------------------------------- results */

static void test_results(const outcome *x)
{
    for (int f = 0; f < RD_FAMILIES; f++) {
        int64_t queries = 0, problems = 0;
        for (int64_t i = 0; i < tasks.n; i++)
            if (tasks.task[i].family == (rd_family)f && tasks.task[i].split == RD_SPLIT_TEST) {
                queries += tasks.task[i].n_queries;
                problems++;
            }
        bool good = problems == PER_FAMILY - 1;
        for (int64_t i = 0; i < x->results.n; i++) {
            const rd_result *r = &x->results.item[i];
            if (r->family != (rd_family)f) continue;
            good = good && r->problems == problems && r->queries == queries &&
                   r->low <= r->accuracy && r->accuracy <= r->high && !strcmp(r->arm, "rigged");
        }
        ok(good, "%s: every problem and query is in every line", rd_family_name((rd_family)f));
    }
    const rd_result *one = line(&x->results, RD_LIST_FUNCTION, RD_METHOD_SEARCH, 1);
    const rd_result *ten = line(&x->results, RD_LIST_FUNCTION, RD_METHOD_SEARCH, 10);
    const rd_result *exact = line(&x->results, RD_LIST_FUNCTION, RD_METHOD_SEARCH_INTERPRETER, 10);
    const rd_result *vote = line(&x->results, RD_LIST_FUNCTION, RD_METHOD_VOTE, 10);
    const rd_result *io = line(&x->results, RD_LIST_FUNCTION, RD_METHOD_IO, 0);
    const rd_result *truth = line(&x->results, RD_LIST_FUNCTION, RD_METHOD_ORACLE_RULE, 0);
    ok(one && ten && exact && vote && io && truth, "all methods are there");
    ok(ten->accuracy >= one->accuracy && exact->accuracy < 0.7 && exact->accuracy > 0.5,
       "two of three problems can be solved, the one without rules counts as wrong");
    ok(ten->tokens_per_query > one->tokens_per_query &&
           exact->tokens_per_query < ten->tokens_per_query,
       "tokens grow with n, and the interpreter's following is free");
    ok(fabs(vote->tokens_per_query / ten->tokens_per_query - 1) < 0.25,
       "votes spend what search spends: %.0f, %.0f", vote->tokens_per_query, ten->tokens_per_query);
}

/* Problem 0 has no rule at all: its tokens are the prompt once and ten proposals of one token. */
static void test_tokens(const outcome *x)
{
    rd_buf prompt = {0};
    int64_t found = 0;
    rd_prompt_propose(prompts, &tasks.task[0], &prompt);
    for (int64_t i = 0; i < x->p.table[ROWS_SPENT].rows; i++) {
        const int64_t *r = predictions_row(&x->p, ROWS_SPENT, i);
        if (r[SPENT_PROBLEM] != 0 || r[SPENT_METHOD] != RD_METHOD_SEARCH) continue;
        found += r[SPENT_IN] == (int64_t)prompt.len / 4 + 1 && r[SPENT_OUT] == r[SPENT_N];
    }
    is_i64(found, 3, "tokens of a search that found no rule");
    rd_buf_free(&prompt);
}

static bool same_results(const rd_results *a, const rd_results *b)
{
    if (a->n != b->n || a->n == 0) return false;
    for (int64_t i = 0; i < a->n; i++)
        if (memcmp(&a->item[i], &b->item[i], sizeof a->item[i]) != 0) return false;
    return true;
}

static void test_stage(void)
{
    rd_eval_opts o = options(ALL), other = o;
    char stop[330], fault[32];
    outcome want = run(alone, "alone", o), x;
    is_rc(want.rc, RD_OK, "one rank alone");
    test_results(&want);
    test_tokens(&want);

    x = run(grid, "together", o);
    is_rc(x.rc, RD_OK, "all ranks together");
    ok(x.hash == want.hash && same_results(&x.results, &want.results),
       "the same as one rank alone");
    free_outcome(&x);
    rigged_reset();
    x = run(grid, "together", o);
    ok(x.rc == RD_OK && same_results(&x.results, &want.results) && rigged.calls[0] == 0,
       "finds itself done, with the same results");
    free_outcome(&x);
    other.block = 1;
    x = run(grid, "blocks", other);
    ok(x.rc == RD_OK && x.hash == want.hash, "the same file with other blocks");
    free_outcome(&x);
    for (rigged.order = 1; rigged.order <= 4; rigged.order++) {
        char name[32];
        snprintf(name, sizeof name, "order-%d", (int)rigged.order);
        x = run(grid, name, o);
        ok(x.rc == RD_OK && x.hash == want.hash, "the same file, responses ending in any order");
        free_outcome(&x);
    }
    rigged.order = 0;

    snprintf(fault, sizeof fault, "eval:%d", grid->world.size - 1);
    other = o;
    other.seed = 2;
    rd_fault_arm(fault);
    x = run(grid, "together", other);
    is_rc(x.rc, RD_EFAULT, "a fault on one rank is everybody's");
    ok(x.hash == want.hash, "the older predictions.h5 is untouched");
    free_outcome(&x);

    snprintf(stop, sizeof stop, "%s/stop", rd_test_dir());
    if (grid->world.rank == 0) rd_file_write_atomic(stop, "", 0);
    rd_barrier(&grid->world);
    rd_stop_begin(0, stop);
    x = run(grid, "interrupted", o);
    is_rc(x.rc, RD_ESTOP, "a stop request");
    free_outcome(&x);
    rd_stop_begin(0, NULL);
    rd_fault_arm(fault);
    x = run(grid, "interrupted", o);
    is_rc(x.rc, RD_EFAULT, "a fault after the first units");
    ok(x.hash == 0 && x.results.n == 0, "no predictions.h5 yet");
    free_outcome(&x);
    rigged_reset();
    x = run(grid, "interrupted", o);
    is_rc(x.rc, RD_OK, "continues");
    rd_sum_i64(&grid->world, rigged.calls, 1);
    ok(rigged.calls[0] < 10 * (PER_FAMILY - 1) * RD_FAMILIES, "from the journal");
    ok(x.hash == want.hash && same_results(&x.results, &want.results),
       "and ends with the same file");
    free_outcome(&x);
    free_outcome(&want);
}

static void test_options(void)
{
    rd_eval_opts o = options(ALL);
    o.counts[1] = 1;
    outcome x = run(grid, "bad", o);
    is_rc(x.rc, RD_EINPUT, "numbers of hypotheses that do not ascend");
    o = options(0);
    x = run(grid, "bad", o);
    is_rc(x.rc, RD_EINPUT, "no method");
    o = options(RD_METHOD_VOTE);
    o.max_votes = 7;
    x = run(grid, "votes", o);
    rd_sum_i64(&grid->world, rigged.calls, 3);
    const rd_result *r = line(&x.results, RD_ACRE, RD_METHOD_VOTE, 10);
    ok(x.rc == RD_OK && r && r->accuracy > 0, "votes without search");
    free_outcome(&x);
    rd_results trivial = {0};
    is_rc(rd_eval_baselines(&tasks, &trivial), RD_OK, "trivial baselines");
    int64_t wanted = 0;
    for (int f = 0; f < RD_FAMILIES; f++) wanted += 2 * rd_baseline_count((rd_family)f);
    ok(trivial.n == wanted && trivial.item[0].problems == PER_FAMILY - 1 &&
           !strcmp(trivial.item[0].arm, "trivial"),
       "one line per baseline and reading");
    rd_results_free(&trivial);
}

/* Test tasks of two names are reported apart, by the arms and by the trivial baselines. */
static void test_sets(void)
{
    static const char *const names[] = {"", "second"};
    int64_t second = 0, problems[2] = {0}, wrong = 0;
    for (int64_t i = 0; i < tasks.n; i++) {
        rd_task *t = &tasks.task[i];
        t->source = i % 3 == 0;
        second += t->source == 1 && t->split == RD_SPLIT_TEST;
    }
    tasks.set_name = names;
    outcome x = run(grid, "sets", options(RD_METHOD_IO));
    is_rc(x.rc, RD_OK, "two test sets");
    is_rc(rd_eval_baselines(&tasks, &x.results), RD_OK, "their trivial baselines");
    for (int64_t i = 0; i < x.results.n; i++) {
        const rd_result *r = &x.results.item[i];
        if (!strcmp(r->method, "io") && !strcmp(r->parse, "strict"))
            problems[!strcmp(r->set, "second")] += r->problems;
        for (int64_t k = 0; k < x.results.n; k++) { /* a baseline has its set's problems */
            const rd_result *o = &x.results.item[k];
            wrong +=
                o->family == r->family && !strcmp(o->set, r->set) && o->problems != r->problems;
        }
    }
    is_i64(problems[0] + problems[1], RD_FAMILIES * (PER_FAMILY - 1), "all problems are reported");
    is_i64(problems[1], second, "those of the second set under its name");
    is_i64(wrong, 0, "the baselines were asked the same");
    free_outcome(&x);
    tasks.set_name = NULL;
    for (int64_t i = 0; i < tasks.n; i++) tasks.task[i].source = 0;
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    static const char *const corpus[] = {"a rule"};
    rd_grid_create(0, 1, 1, &grid);
    rd_grid_self(&alone);
    rd_prompts_default(&prompts);
    tok = text_tok(16, false, 1, corpus);
    chat = text_chat(tok);
    make_tasks();
    rigged_begin(prompts, &tasks);
    test_dropping();
    test_nested();
    test_stage();
    test_options();
    test_sets();
    rigged_end();
    rd_taskset_free(&tasks);
    rd_prompts_free(&prompts);
    rd_chat_free(&chat);
    rd_tok_free(&tok);
    rd_grid_free(&alone);
    rd_grid_free(&grid);
    return rd_test_end();
}
