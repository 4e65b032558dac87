/* recorded.c: a teacher's search on test tasks, as its traces.h5 holds it, put before infer, which
 * chooses and counts as it does for students. */
#include "traces.h"

#include <inttypes.h>

/* This rank's share of the file. */
typedef struct share {
    int64_t first, n;
    traces rows;
    rd_recorded *record; /* [n] its arrays are ours */
} share;

static void share_free(share *s)
{
    for (int64_t i = 0; s->record && i < s->n; i++) {
        rd_free((void *)s->record[i].rule);
        rd_free((void *)s->record[i].propose_out);
        rd_free((void *)s->record[i].answer);
    }
    rd_free(s->record);
    traces_free(&s->rows);
}

/* Is row r of /task this task, with all that a search of so many rules asks? */
static int check_task(const traces *t, int64_t r, const rd_task *task, int64_t rules)
{
    int rc = RD_OK;
    const int64_t have = table_int(&t->task, r, TASK_HYPOTHESES);
    const int64_t examples = task->n_demos + task->n_queries;
    if (table_int(&t->task, r, TASK_FAMILY) != task->family ||
        table_int(&t->task, r, TASK_ID) != task->id ||
        table_int(&t->task, r, TASK_DEMOS) != task->n_demos ||
        table_int(&t->task, r, TASK_QUERIES) != task->n_queries)
        RD_FAIL(RD_EINPUT, "traces: task %" PRId64 " is not that of the evaluation",
                t->first_task + r);
    if (have < rules || table_int(&t->task, r, TASK_APPLICATIONS) != have * examples)
        RD_FAIL(RD_EINPUT,
                "traces: %s %" PRId64 " has %" PRId64 " rules with %" PRId64
                " applications; wanted are %" PRId64 " rules on all of its %" PRId64 " examples",
                rd_family_name(task->family), task->id, have,
                table_int(&t->task, r, TASK_APPLICATIONS), rules, examples);
done:
    return rc;
}

static rd_recorded record_of(const traces *t, int64_t r, const rd_task *task)
{
    const int64_t n = table_int(&t->task, r, TASK_HYPOTHESES);
    const int64_t hypothesis = table_int(&t->task, r, TASK_FIRST_HYPOTHESIS) - t->first_hypothesis;
    const int64_t application =
        table_int(&t->task, r, TASK_FIRST_APPLICATION) - t->first_application;
    const int64_t answers = n * (task->n_demos + task->n_queries);
    const char **rule = rd_new(const char *, n);
    int64_t *out = rd_new(int64_t, n), in = 0;
    rd_recorded_answer *answer = rd_new(rd_recorded_answer, answers);
    for (int64_t k = 0; k < n; k++) {
        const int64_t tokens = table_int(&t->hypothesis, hypothesis + k, HYP_TOKENS_IN);
        const char *text = traces_text(t, table_int(&t->hypothesis, hypothesis + k, HYP_RULE));
        rule[k] = text && *text ? text : NULL;
        out[k] = table_int(&t->hypothesis, hypothesis + k, HYP_TOKENS_OUT);
        if (tokens > in) in = tokens; /* a draw that never came has none */
    }
    for (int64_t i = 0; i < answers; i++)
        answer[i] = (rd_recorded_answer){
            traces_text(t, table_int(&t->application, application + i, APP_RESPONSE)),
            table_int(&t->application, application + i, APP_TOKENS_IN),
            table_int(&t->application, application + i, APP_TOKENS_OUT)};
    return (rd_recorded){in, rule, out, answer};
}

static int share_make(share *s, const rd_taskset *tasks, int64_t rules)
{
    int rc = RD_OK;
    s->record = rd_new(rd_recorded, s->n);
    for (int64_t i = 0; i < s->n; i++) {
        const rd_task *task = &tasks->task[s->first + i];
        RD_TRY(check_task(&s->rows, i, task, rules));
        s->record[i] = record_of(&s->rows, i, task);
    }
done:
    return rc;
}

int rd_eval_traces(const rd_grid *g, const rd_prompts *p, const rd_taskset *tasks,
                   const rd_eval_opts *o, rd_results *results)
{
    int rc = RD_OK;
    const rd_comm *c = &g->world;
    int64_t key = 0, rows = 0;
    rd_buf path = {0};
    rd_store *s = NULL;
    share mine = {.first = tasks->n * c->rank / c->size};
    mine.n = tasks->n * (c->rank + 1) / c->size - mine.first;
    traces_init(&mine.rows);
    rd_buf_printf(&path, "%s/traces.h5", o->dir);
    RD_TRY(rd_store_open(c, path.data, TRACES_SCHEMA, TRACES_VERSION, &s));
    RD_TRY(rd_store_get_i64(s, "", "key", &key));
    RD_TRY(table_count(&mine.rows.task, s, &rows));
    if (rows != tasks->n)
        RD_FAIL(RD_EINPUT, "%s: %" PRId64 " tasks, the evaluation has %" PRId64, path.data, rows,
                tasks->n);
    RD_TRY(traces_read(c, s, mine.first, mine.n, true, &mine.rows));
    RD_TRY(rd_agree(c, share_make(&mine, tasks, o->n_counts ? o->counts[o->n_counts - 1] : 0)));
    RD_TRY(
        rd_eval_recorded(g, p, tasks, (uint64_t)key, o, mine.first, mine.n, mine.record, results));
done:
    rd_store_close(&s);
    share_free(&mine);
    rd_buf_free(&path);
    return rc;
}
