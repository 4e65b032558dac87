/* evaluate.c: the evaluation as a stage: blocks of problems as work units, predictions.h5, results.
 *
 * A finished block goes to the journal; when all are there, the records are exchanged into problem
 * order and predictions.h5 is written by all ranks together.  The results are always computed from
 * that file, so a finished evaluation that is asked for again gives the same numbers. */
#include "eval_impl.h"

#include <inttypes.h>
#include <string.h>

enum { RECORD_VERSION = 1 };

typedef struct evaluation {
    const rd_grid *g;
    const rd_model *model;
    const rd_chat *chat;
    const rd_prompts *prompts;
    const rd_taskset *tasks;
    const rd_eval_opts *o;
    int64_t n_problems, n_units, n_restored;
    int64_t *test; /* [n_problems] places of the test tasks in the set */
    uint64_t key;  /* of predictions.h5 */
    rd_journal *journal;
    double start; /* of the work */
    int64_t tokens;
    rd_gen_counts counts;
    rd_generator *gen;
    struct unit *units; /* at hand */
    int64_t n_open, most_open;
    bool all_taken;
    double longest; /* seconds from opening to keeping */
} evaluation;

/* ---------------------------------------------------------------- options and key */

static int check_options(const rd_eval_opts *o)
{
    int rc = RD_OK;
    const int counted =
        RD_METHOD_SEARCH | RD_METHOD_SEARCH_INTERPRETER | RD_METHOD_VOTE | RD_METHOD_RANDOM_RULES;
    if (o->methods == 0) RD_FAIL(RD_EINPUT, "eval: no method is named");
    if (o->block < 1) RD_FAIL(RD_EINPUT, "eval: a block of %" PRId64 " problems", o->block);
    if (o->n_counts < 0 || o->n_counts > RD_MAX_N || ((o->methods & counted) && o->n_counts == 0))
        RD_FAIL(RD_EINPUT, "eval: %d numbers of hypotheses, 1 … %d are possible", o->n_counts,
                RD_MAX_N);
    for (int c = 0; c < o->n_counts; c++)
        if (o->counts[c] < (c ? o->counts[c - 1] + 1 : 1))
            RD_FAIL(RD_EINPUT, "eval: the numbers of hypotheses must be ascending, at least 1");
    if (o->max_rule_tokens < 1 || o->max_answer_tokens < 1)
        RD_FAIL(RD_EINPUT, "eval: rules of %" PRId64 ", answers of %" PRId64 " tokens",
                o->max_rule_tokens, o->max_answer_tokens);
done:
    return rc;
}

static uint64_t hash_text(const char *s, uint64_t h)
{
    return rd_hash(s, strlen(s) + 1, h);
}

/* Hash of everything that determines predictions.h5.  Not in it: the arm's name, the slots and the
 * block size, which change nothing. */
static uint64_t evaluation_key(const evaluation *e, uint64_t model_key)
{
    const rd_eval_opts *o = e->o;
    uint64_t parts[] = {model_key,
                        rd_prompts_hash(e->prompts),
                        o->seed,
                        (uint64_t)o->methods,
                        o->first_greedy,
                        (uint64_t)o->max_rule_tokens,
                        (uint64_t)o->max_answer_tokens,
                        (uint64_t)o->max_votes,
                        (uint64_t)o->generator.max_len,
                        o->no_dropping,
                        rd_chat_hash(e->chat),
                        RECORD_VERSION};
    double temperatures[] = {o->rule_temperature, o->follow_temperature, o->vote_temperature};
    uint64_t h = rd_hash(parts, sizeof parts, PREDICTIONS_VERSION + (o->text_ties ? 1000u : 0));
    h = rd_hash(temperatures, sizeof temperatures, h);
    h = rd_hash(o->counts, (size_t)o->n_counts * sizeof *o->counts, h);
    const uint64_t responses = rd_generator_opts_hash(&o->generator);
    if (responses != 0) h = rd_hash(&responses, sizeof responses, h);
    rd_buf bytes = {0};
    rd_tok_to_json(rd_chat_tok(e->chat), &bytes);
    h = rd_hash(bytes.data, bytes.len, h);
    for (int64_t i = 0; i < e->n_problems; i++) {
        rd_buf_clear(&bytes);
        rd_put_i64(&bytes, e->test[i]);
        rd_task_put(&bytes, &e->tasks->task[e->test[i]]);
        h = rd_hash(bytes.data, bytes.len, h);
    }
    if (o->methods & RD_METHOD_RANDOM_RULES)
        for (int f = 0; f < RD_FAMILIES; f++)
            for (int64_t i = 0; i < o->n_random_rules[f]; i++)
                h = hash_text(o->random_rules[f][i], h + (uint64_t)f);
    rd_buf_free(&bytes);
    return h;
}

/* ---------------------------------------------------------------- the units */

static void open_problem(const evaluation *e, int64_t i, problem *p)
{
    const rd_task *t = &e->tasks->task[e->test[i]];
    int64_t name[] = {t->family, t->split, t->source, t->id};
    *p = (problem){.task = t, .key = rd_hash(name, sizeof name, 0)};
    int64_t row[PROBLEM_COLUMNS] = {[PROBLEM_FAMILY] = t->family, [PROBLEM_SOURCE] = t->source,
                                    [PROBLEM_ID] = t->id,         [PROBLEM_TASK] = e->test[i],
                                    [PROBLEM_DEMOS] = t->n_demos, [PROBLEM_QUERIES] = t->n_queries};
    predictions_add(&p->rows, ROWS_PROBLEM, row);
}

/* A block of problems at hand. */
typedef struct unit {
    block b; /* first: it is found by it */
    int64_t index;
    double begun;
    bool voting; /* all but votes is noted down */
    struct unit *next;
} unit;

static void open_unit(evaluation *e, int64_t index)
{
    int64_t first = index * e->o->block, n = e->n_problems - first;
    if (n > e->o->block) n = e->o->block;
    unit *u = rd_new(unit, 1);
    *u = (unit){.b = {.gen = e->gen, .prompts = e->prompts, .o = e->o, .n = n},
                .index = index,
                .begun = rd_time(),
                .next = e->units};
    e->units = u;
    e->n_open++;
    u->b.problem = rd_new(problem, n);
    for (int64_t i = 0; i < n; i++) open_problem(e, first + i, &u->b.problem[i]);
    direct_open(&u->b);
    search_open(&u->b);
}

static void free_unit(evaluation *e, unit *u)
{
    unit **at = &e->units;
    while (*at != u) at = &(*at)->next;
    *at = u->next;
    e->n_open--;
    while (u->b.asked) block_cancel(&u->b, u->b.asked);
    search_free(&u->b);
    direct_free(&u->b);
    for (int64_t i = 0; i < u->b.n; i++) predictions_free(&u->b.problem[i].rows);
    rd_buf_free(&u->b.prompt);
    rd_free(u->b.problem);
    rd_free(u);
}

/* Nothing of a unit is under way: note down what came.  *done: no votes are to follow. */
static void note_unit(unit *u, bool *done)
{
    if (!u->voting) {
        search_note(&u->b);
        direct_note(&u->b);
        u->voting = true;
        *done = u->b.asked == NULL;
    } else {
        *done = true;
    }
    if (*done) direct_note_votes(&u->b);
}

/* The ranks of a replica do a unit side by side; the first one keeps the record. */
static int keep_unit(evaluation *e, unit *u)
{
    int rc = RD_OK;
    predictions all = {0};
    rd_buf record = {0};
    for (int64_t i = 0; i < u->b.n; i++) predictions_append(&all, &u->b.problem[i].rows);
    predictions_put(&record, &all);
    if (e->g->tp.rank == 0) RD_TRY(rd_journal_append(e->journal, u->index, &record));
    e->tokens += u->b.tokens;
    if (rd_time() - u->begun > e->longest) e->longest = rd_time() - u->begun;
    RD_TRY(rd_fault("eval"));
done:
    predictions_free(&all);
    rd_buf_free(&record);
    return rc;
}

/* Replicas work alike, so the first one's rate stands for all. */
static void show(const evaluation *e, rd_progress *progress, rd_queue *q)
{
    char note[48];
    int64_t done = (e->n_restored + rd_queue_taken(q) - e->n_open * e->g->data) * e->o->block;
    double seconds = rd_time() - e->start;
    double rate = seconds > 0 ? (double)(e->tokens * e->g->data) / seconds : 0;
    snprintf(note, sizeof note, "%.1fk tok/s", rate / 1000);
    if (done < progress->done) done = progress->done;
    rd_progress_set(progress, done < e->n_problems ? done : e->n_problems, note);
}

/* Requests of all problems that search may have under way side by side, of which the first ones
 * bring the others about. */
static int64_t requests_of_all(const evaluation *e)
{
    int64_t n = 0, rules = e->o->methods & RD_METHOD_SEARCH ? max_count(e->o) : 0;
    for (int64_t i = 0; i < e->n_problems; i++) {
        const rd_task *t = &e->tasks->task[e->test[i]];
        n += rules * t->n_demos + t->n_queries;
    }
    return n;
}

/* Units at hand: enough that the slots stay busy while some of them near their ends, but no more,
 * because what is finished is safe; and no more than a fair share of all. */
static int64_t most_open(const evaluation *e)
{
    enum { PER_SLOT = 3 }; /* requests */
    int64_t left = e->n_units - e->n_restored, share = (left + e->g->data - 1) / e->g->data;
    int64_t each = (requests_of_all(e) + e->n_units - 1) / e->n_units;
    int64_t busy = each > 0 ? (PER_SLOT * e->o->generator.slots + each - 1) / each : 1;
    return busy < share ? busy : share;
}

static int open_units(evaluation *e, rd_queue *q)
{
    int rc = RD_OK;
    while (!e->all_taken && e->n_open < e->most_open) {
        int64_t index = -1;
        if (rd_stop_local()) rd_queue_cancel(q);
        RD_TRY(rd_queue_next(q, &index));
        if (index < 0)
            e->all_taken = true;
        else
            open_unit(e, index);
    }
done:
    return rc;
}

/* Until something of a unit has ended; *u: the unit, when nothing of it is under way any more. */
static int next_idle(evaluation *e, unit **u)
{
    int rc = RD_OK;
    block *b = NULL;
    for (*u = e->units; *u && (*u)->b.asked; *u = (*u)->next) continue; /* nothing was asked? */
    if (*u) return RD_OK;
    rd_clock_begin("eval.generate");
    rc = block_next(e->gen, &b);
    rd_clock_end("eval.generate");
    RD_TRY(rc);
    if (b && b->asked == NULL) *u = (unit *)b;
done:
    return rc;
}

static int work(evaluation *e, rd_queue *q)
{
    int rc = RD_OK;
    rd_progress progress = {0};
    rd_progress_begin(&progress, "eval", "problems", e->n_problems);
    e->start = rd_time();
    RD_TRY(rd_generator_create(e->model, e->chat, &e->o->generator, &e->gen));
    e->most_open = e->n_units > 0 ? most_open(e) : 0;
    rd_generator_expect(e->gen, requests_of_all(e) / e->g->data);
    for (;;) {
        unit *u = NULL;
        bool done = false;
        RD_TRY(open_units(e, q));
        if (e->n_open == 0) break;
        RD_TRY(next_idle(e, &u));
        if (u) note_unit(u, &done);
        if (!done) continue;
        RD_TRY(rd_agree(&e->g->tp, keep_unit(e, u)));
        free_unit(e, u);
        rd_stop_need(e->longest);
        show(e, &progress, q);
    }
    /* A rank that got no unit passes the fault too, so that a test can name any rank. */
    RD_TRY(rd_fault("eval"));
done:
    if (rc != RD_OK) rd_queue_cancel(q);
    while (e->units) free_unit(e, e->units);
    rd_stop_need(0);
    rd_progress_end(&progress);
    if (e->gen) rd_generator_counts(e->gen, &e->counts);
    rd_generator_free(&e->gen);
    return rc;
}

/* Where the tokens went, over all ranks; the ranks of a replica do the same. */
static void describe_work(const evaluation *e)
{
    const rd_gen_counts *c = &e->counts;
    int64_t n[] = {c->prompt_tokens, c->shared_tokens, c->response_tokens, c->calls, c->under_way};
    double seconds = rd_time() - e->start;
    rd_sum_i64(&e->g->world, n, 5);
    for (int k = 0; k < 5; k++) n[k] /= e->g->tp.size;
    if (n[3] == 0) return;
    rd_info("eval: %" PRId64 " tokens of prompts, of them %" PRId64 " shared; %" PRId64
            " tokens generated, %.0f a second; %.1f responses side by side",
            n[0], n[1], n[2], (double)n[2] / seconds, (double)n[4] / (double)n[3]);
}

/* All units that are not in the journal.  RD_ESTOP when a stop request left some. */
static int work_all(evaluation *e)
{
    int rc = RD_OK;
    rd_queue *q = NULL;
    uint8_t *finished = rd_new(uint8_t, e->n_units);
    uint64_t parts[] = {e->key, (uint64_t)e->o->block};
    RD_TRY(rd_journal_open(&e->g->world, e->o->dir, "eval", rd_hash(parts, sizeof parts, 0),
                           e->n_units, finished, &e->journal));
    for (int64_t u = 0; u < e->n_units; u++) e->n_restored += finished[u];
    if (e->n_restored > 0)
        rd_info("eval: %" PRId64 " of %" PRId64 " blocks of problems are in the journal",
                e->n_restored, e->n_units);
    RD_TRY(rd_queue_create(e->g, e->n_units, finished, &q));
    RD_TRY(rd_agree(&e->g->world, work(e, q)));
    describe_work(e);
    const int64_t *units = NULL;
    const rd_buf *records = NULL;
    int64_t n = rd_journal_records(e->journal, &units, &records);
    rd_sum_i64(&e->g->world, &n, 1);
    if (n < e->n_units)
        RD_FAIL(RD_ESTOP, "eval: stopped with %" PRId64 " of %" PRId64 " blocks of problems done",
                n, e->n_units);
    if (e->n_restored > 0)
        rd_info("eval: %" PRId64 " blocks of problems were worked on now", n - e->n_restored);
done:
    rd_queue_free(&q);
    rd_free(finished);
    return rc;
}

/* ---------------------------------------------------------------- the file */

/* My share of the units, in problem order. */
static int gather(const evaluation *e, predictions *all)
{
    int rc = RD_OK;
    const int64_t *mine = NULL;
    const rd_buf *records = NULL;
    int64_t first = 0, count = 0;
    rd_buf *blobs = NULL;
    int64_t n = rd_journal_records(e->journal, &mine, &records);
    RD_TRY(rd_exchange_units(&e->g->world, e->n_units, n, mine, records, &first, &count, &blobs));
    for (int64_t u = 0; u < count && rc == RD_OK; u++) {
        rd_cursor c = {blobs[u].data, blobs[u].len, 0};
        rc = predictions_get(&c, all);
        rd_buf_free(
            &blobs[u]); /* as soon as it is not needed: the rows are being built beside it */
    }
    RD_TRY(rd_agree(&e->g->world, rc));
done:
    for (int64_t u = 0; u < count; u++) rd_buf_free(&blobs[u]);
    rd_free(blobs);
    return rc;
}

static int write_file(const evaluation *e, const char *path, const predictions *all)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    rd_store_info info = {PREDICTIONS_SCHEMA, PREDICTIONS_VERSION, e->o->config};
    RD_TRY(rd_store_create(&e->g->world, path, &info, &s));
    RD_TRY(predictions_write(&e->g->world, all, s));
    RD_TRY(rd_store_set_i64(s, "", "key", (int64_t)e->key));
    RD_TRY(rd_store_commit(&s));
done:
    rd_store_close(&s);
    return rc;
}

/* Read predictions.h5 if it is there with our key.  Collective on world. */
static int read_file(const evaluation *e, const char *path, bool *found, predictions *all)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    *found = false;
    RD_TRY(rd_store_open_own(&e->g->world, path, PREDICTIONS_SCHEMA, PREDICTIONS_VERSION, e->key,
                             "eval", &s));
    if (s == NULL) goto done;
    RD_TRY(predictions_read(s, all));
    *found = true;
done:
    rd_store_close(&s);
    return rc;
}

/* ---------------------------------------------------------------- results */

/* One method at one n over all families: per problem the right answers of each reading. */
typedef struct tally {
    int64_t *total, *right[2], *tokens; /* [problems]; total 0: the method was not run there */
} tally;

static void tally_rows(const predictions *p, int method, int64_t n, tally *t)
{
    for (int64_t i = 0; i < p->table[ROWS_ANSWER].rows; i++) {
        const int64_t *row = predictions_row(p, ROWS_ANSWER, i);
        if (row[ANSWER_METHOD] != method || row[ANSWER_N] != n) continue;
        t->total[row[ANSWER_PROBLEM]]++;
        t->right[0][row[ANSWER_PROBLEM]] += row[ANSWER_STRICT];
        t->right[1][row[ANSWER_PROBLEM]] += row[ANSWER_TOLERANT];
    }
    for (int64_t i = 0; i < p->table[ROWS_SPENT].rows; i++) {
        const int64_t *row = predictions_row(p, ROWS_SPENT, i);
        if (row[SPENT_METHOD] == method && row[SPENT_N] == n)
            t->tokens[row[SPENT_PROBLEM]] += row[SPENT_IN] + row[SPENT_OUT];
    }
}

/* The lines of one test set from a tally. */
static void add_lines(const evaluation *e, const predictions *p, int method, int64_t n,
                      const test_set *set, const tally *t, rd_results *results)
{
    static const char *const parses[] = {"strict", "tolerant"};
    int64_t n_problems = p->table[ROWS_PROBLEM].rows, problems = 0, queries = 0, tokens = 0;
    int64_t *total = rd_new(int64_t, n_problems), *right = rd_new(int64_t, n_problems);
    for (int k = 0; k < 2; k++) {
        rd_result line = {.family = set->family, .n = n};
        int64_t solved = 0;
        problems = queries = tokens = 0;
        for (int64_t i = 0; i < n_problems; i++) {
            int64_t task = predictions_row(p, ROWS_PROBLEM, i)[PROBLEM_TASK];
            if (!test_set_has(set, e->tasks, &e->tasks->task[task]) || !t->total[i]) continue;
            total[problems] = t->total[i];
            right[problems++] = t->right[k][i];
            solved += t->right[k][i] == t->total[i];
            queries += t->total[i];
            tokens += t->tokens[i];
        }
        if (problems == 0) break;
        snprintf(line.arm, sizeof line.arm, "%s", e->o->arm ? e->o->arm : "");
        snprintf(line.set, sizeof line.set, "%s", set->name);
        snprintf(line.method, sizeof line.method, "%s", rd_method_name(method));
        snprintf(line.parse, sizeof line.parse, "%s", parses[k]);
        rd_cluster_interval(problems, right, total, &line.accuracy, &line.low, &line.high);
        line.solved = (double)solved / (double)problems;
        line.problems = problems;
        line.queries = queries;
        line.tokens_per_query = (double)tokens / (double)queries;
        rd_results_add(results, &line);
    }
    rd_free(total);
    rd_free(right);
}

static void compute_results(const evaluation *e, const predictions *p, rd_results *results)
{
    int64_t n = p->table[ROWS_PROBLEM].rows;
    int64_t *memory = rd_new(int64_t, 4 * n);
    tally t = {memory, {memory + n, memory + 2 * n}, memory + 3 * n};
    test_set *sets = NULL;
    int64_t n_sets = test_sets_of(e->tasks, &sets);
    for (int64_t k = 0; k < n_sets; k++)
        for (int m = RD_METHOD_IO; m <= RD_METHOD_ORACLE_RULE; m *= 2) {
            bool counted = m != RD_METHOD_IO && m != RD_METHOD_ORACLE_RULE;
            if (!(e->o->methods & m)) continue;
            for (int c = 0; c < (counted ? e->o->n_counts : 1); c++) {
                int64_t count = counted ? e->o->counts[c] : 0;
                memset(memory, 0, (size_t)(4 * n) * sizeof *memory);
                tally_rows(p, m, count, &t);
                add_lines(e, p, m, count, &sets[k], &t, results);
            }
        }
    rd_free(sets);
    rd_free(memory);
}

int rd_eval_run(const rd_grid *g, const rd_model *model, const rd_chat *chat, const rd_prompts *p,
                const rd_taskset *tasks, uint64_t model_key, const rd_eval_opts *o,
                rd_results *results)
{
    int rc = RD_OK;
    bool found = false;
    rd_buf path = {0};
    predictions mine = {0}, all = {0};
    evaluation e = {.g = g, .model = model, .chat = chat, .prompts = p, .tasks = tasks, .o = o};
    RD_TRY(check_options(o));
    e.test = rd_new(int64_t, tasks->n);
    for (int64_t i = 0; i < tasks->n; i++)
        if (tasks->task[i].split == RD_SPLIT_TEST) e.test[e.n_problems++] = i;
    e.n_units = (e.n_problems + o->block - 1) / o->block;
    e.key = evaluation_key(&e, model_key);
    RD_TRY(rd_agree(&g->world, rd_dir_make(o->dir)));
    rd_buf_printf(&path, "%s/predictions.h5", o->dir);
    RD_TRY(read_file(&e, path.data, &found, &all));
    if (!found) {
        RD_TRY(work_all(&e));
        RD_TRY(gather(&e, &mine));
        RD_TRY(write_file(&e, path.data, &mine));
        predictions_free(&mine);
        RD_TRY(read_file(&e, path.data, &found, &all));
        if (!found) RD_FAIL(RD_EIO, "%s: changed by another process", path.data);
    }
    rd_journal_close(&e.journal);
    RD_TRY(rd_journal_remove(&g->world, o->dir, "eval"));
    compute_results(&e, &all, results);
done:
    rd_journal_close(&e.journal);
    predictions_free(&mine);
    predictions_free(&all);
    rd_buf_free(&path);
    rd_free(e.test);
    return rc;
}

/* ---------------------------------------------------------------- searches on record */

static uint64_t recorded_key(const rd_eval_opts *o, uint64_t key)
{
    uint64_t parts[] = {key, o->text_ties, o->no_dropping, RECORD_VERSION};
    uint64_t h = rd_hash(parts, sizeof parts, rd_hash_str("recorded", PREDICTIONS_VERSION));
    return rd_hash(o->counts, (size_t)o->n_counts * sizeof *o->counts, h);
}

/* The share's rows, problem by problem, so that no rank's first problem shows in the file. */
static void recorded_rows(const evaluation *e, int64_t first, int64_t n, const rd_recorded *record,
                          predictions *mine)
{
    const block b = {.prompts = e->prompts, .o = e->o};
    for (int64_t i = 0; i < n; i++) {
        problem p;
        open_problem(e, first + i, &p);
        search_recorded(&b, &p, &record[i]);
        predictions_append(mine, &p.rows);
        predictions_free(&p.rows);
    }
}

int rd_eval_recorded(const rd_grid *g, const rd_prompts *p, const rd_taskset *tasks, uint64_t key,
                     const rd_eval_opts *o, int64_t first, int64_t n, const rd_recorded *record,
                     rd_results *results)
{
    int rc = RD_OK;
    bool found = false;
    rd_buf path = {0};
    predictions mine = {0}, all = {0};
    rd_eval_opts search = *o;
    evaluation e = {.g = g, .prompts = p, .tasks = tasks, .o = &search, .n_problems = tasks->n};
    search.methods = RD_METHOD_SEARCH;
    RD_TRY(check_options(&search));
    e.key = recorded_key(&search, key);
    e.test = rd_new(int64_t, tasks->n);
    for (int64_t i = 0; i < tasks->n; i++) e.test[i] = i;
    RD_TRY(rd_agree(&g->world, rd_dir_make(o->dir)));
    rd_buf_printf(&path, "%s/predictions.h5", o->dir);
    RD_TRY(read_file(&e, path.data, &found, &all));
    if (!found) {
        recorded_rows(&e, first, n, record, &mine);
        RD_TRY(write_file(&e, path.data, &mine));
        RD_TRY(read_file(&e, path.data, &found, &all));
        if (!found) RD_FAIL(RD_EIO, "%s: changed by another process", path.data);
    }
    compute_results(&e, &all, results);
done:
    predictions_free(&mine);
    predictions_free(&all);
    rd_buf_free(&path);
    rd_free(e.test);
    return rc;
}
