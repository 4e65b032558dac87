/* traces.c: the schema of traces.h5, the records of finished tasks, and the way between the two.
 *
 * Rows and texts stand in task order and texts are interned per task, so the file does not depend
 * on which rank worked on what, and a range of tasks has its rows and its texts in contiguous
 * ranges. */
#include "traces.h"

#include <string.h>

static const table_column task_columns[TASK_COLUMNS] = {
    [TASK_FAMILY] = {"family", RD_U8, false},
    [TASK_SPLIT] = {"split", RD_U8, false},
    [TASK_SOURCE] = {"source", RD_I32, false},
    [TASK_ID] = {"id", RD_I64, false},
    [TASK_RULE] = {"rule", RD_I64, true},
    [TASK_CLASS] = {"rule_class", RD_I64, true},
    [TASK_FIRST_EXAMPLE] = {"first_example", RD_I64, false},
    [TASK_DEMOS] = {"demos", RD_I32, false},
    [TASK_QUERIES] = {"queries", RD_I32, false},
    [TASK_FIRST_HYPOTHESIS] = {"first_hypothesis", RD_I64, false},
    [TASK_HYPOTHESES] = {"hypotheses", RD_I32, false},
    [TASK_FIRST_APPLICATION] = {"first_application", RD_I64, false},
    [TASK_APPLICATIONS] = {"applications", RD_I32, false},
};
static const table_column example_columns[EXAMPLE_COLUMNS] = {
    [EXAMPLE_TASK] = {"task", RD_I64, false},
    [EXAMPLE_ROLE] = {"role", RD_U8, false},
    [EXAMPLE_INPUT] = {"input", RD_I64, true},
    [EXAMPLE_OUTPUT] = {"output", RD_I64, true},
};
static const table_column hypothesis_columns[HYP_COLUMNS] = {
    [HYP_TASK] = {"task", RD_I64, false},
    [HYP_DRAW] = {"draw", RD_I32, false},
    [HYP_RULE] = {"rule", RD_I64, true},
    [HYP_SCORE] = {"score", RD_I32, false},
    [HYP_QUERY_SCORE] = {"query_score", RD_I32, false},
    [HYP_TEMPERATURE] = {"temperature", RD_F64, false},
    [HYP_TOKENS_IN] = {"tokens_in", RD_I64, false},
    [HYP_TOKENS_OUT] = {"tokens_out", RD_I64, false},
};
static const table_column application_columns[APP_COLUMNS] = {
    [APP_HYPOTHESIS] = {"hypothesis", RD_I64, false},
    [APP_EXAMPLE] = {"example", RD_I64, false},
    [APP_RESPONSE] = {"response", RD_I64, true},
    [APP_ANSWER] = {"answer", RD_I64, true},
    [APP_CORRECT] = {"correct", RD_U8, false},
    [APP_TOKENS_IN] = {"tokens_in", RD_I32, false},
    [APP_TOKENS_OUT] = {"tokens_out", RD_I32, false},
};

void traces_init(traces *t)
{
    *t = (traces){.task = table_make("task", task_columns, TASK_COLUMNS),
                  .example = table_make("example", example_columns, EXAMPLE_COLUMNS),
                  .hypothesis = table_make("hypothesis", hypothesis_columns, HYP_COLUMNS),
                  .application = table_make("application", application_columns, APP_COLUMNS)};
}

void traces_free(traces *t)
{
    table_free(&t->task);
    table_free(&t->example);
    table_free(&t->hypothesis);
    table_free(&t->application);
    rd_pool_free(&t->pool);
}

/* ---------------------------------------------------------------- records of finished tasks */

void traces_put_task(rd_buf *record, int64_t n_rules, const rd_proposal *rules, int64_t n_examples,
                     const rd_application *applications, const rd_buf *answers, const bool *read)
{
    rd_put_i64(record, n_rules);
    rd_put_i64(record, n_examples);
    for (int64_t h = 0; h < n_rules; h++) {
        rd_put_str(record, rules[h].rule);
        rd_put_i64(record, rules[h].tokens_in);
        rd_put_i64(record, rules[h].tokens_out);
        for (int64_t i = h * n_examples; i < (h + 1) * n_examples; i++) {
            rd_put_str(record, applications[i].response);
            rd_put_str(record, !read[i] ? NULL : answers[i].data ? answers[i].data : "");
            rd_put_i64(record, applications[i].tokens_in);
            rd_put_i64(record, applications[i].tokens_out);
        }
    }
}

static void add_task(const rd_task *task, traces *t)
{
    int64_t row = table_add(&t->task);
    table_set(&t->task, row, TASK_FAMILY, task->family);
    table_set(&t->task, row, TASK_SPLIT, task->split);
    table_set(&t->task, row, TASK_SOURCE, task->source);
    table_set(&t->task, row, TASK_ID, task->id);
    table_set(&t->task, row, TASK_RULE, rd_pool_add(&t->pool, task->rule));
    table_set(&t->task, row, TASK_CLASS, rd_pool_add(&t->pool, task->rule_class));
    table_set(&t->task, row, TASK_FIRST_EXAMPLE, t->example.rows);
    table_set(&t->task, row, TASK_DEMOS, task->n_demos);
    table_set(&t->task, row, TASK_QUERIES, task->n_queries);
    table_set(&t->task, row, TASK_FIRST_HYPOTHESIS, t->hypothesis.rows);
    table_set(&t->task, row, TASK_FIRST_APPLICATION, t->application.rows);
    for (int64_t i = 0; i < task->n_demos + task->n_queries; i++) {
        int64_t e = table_add(&t->example);
        table_set(&t->example, e, EXAMPLE_TASK, row);
        table_set(&t->example, e, EXAMPLE_ROLE, i >= task->n_demos);
        table_set(&t->example, e, EXAMPLE_INPUT, rd_pool_add(&t->pool, task->examples[i].input));
        table_set(&t->example, e, EXAMPLE_OUTPUT, rd_pool_add(&t->pool, task->examples[i].output));
    }
}

/* Correctness and scores are worked out here, from the answer and the gold output, and nowhere
 * else. */
static int get_application(rd_cursor *record, const char *gold, int64_t hypothesis, int64_t example,
                           traces *t)
{
    int rc = RD_OK;
    char *response = NULL, *answer = NULL;
    int64_t tokens_in = 0, tokens_out = 0;
    RD_TRY(rd_get_str(record, &response));
    RD_TRY(rd_get_str(record, &answer));
    RD_TRY(rd_get_i64(record, &tokens_in));
    RD_TRY(rd_get_i64(record, &tokens_out));
    int64_t row = table_add(&t->application);
    table_set(&t->application, row, APP_HYPOTHESIS, hypothesis);
    table_set(&t->application, row, APP_EXAMPLE, example);
    table_set(&t->application, row, APP_RESPONSE, rd_pool_add(&t->pool, response));
    table_set(&t->application, row, APP_ANSWER, rd_pool_add(&t->pool, answer));
    table_set(&t->application, row, APP_CORRECT, answer && strcmp(answer, gold) == 0);
    table_set(&t->application, row, APP_TOKENS_IN, tokens_in);
    table_set(&t->application, row, APP_TOKENS_OUT, tokens_out);
done:
    rd_free(response);
    rd_free(answer);
    return rc;
}

static int get_hypothesis(rd_cursor *record, const rd_task *task, int64_t n_examples, int64_t draw,
                          double temperature, traces *t)
{
    int rc = RD_OK;
    char *rule = NULL;
    int64_t tokens_in = 0, tokens_out = 0;
    int64_t task_row = t->task.rows - 1;
    RD_TRY(rd_get_str(record, &rule));
    RD_TRY(rd_get_i64(record, &tokens_in));
    RD_TRY(rd_get_i64(record, &tokens_out));
    int64_t row = table_add(&t->hypothesis);
    table_set(&t->hypothesis, row, HYP_TASK, task_row);
    table_set(&t->hypothesis, row, HYP_DRAW, draw);
    table_set(&t->hypothesis, row, HYP_RULE, rd_pool_add(&t->pool, rule));
    t->hypothesis.data[HYP_TEMPERATURE][row].f = temperature;
    table_set(&t->hypothesis, row, HYP_TOKENS_IN, tokens_in);
    table_set(&t->hypothesis, row, HYP_TOKENS_OUT, tokens_out);
    int64_t score[2] = {0, 0};
    int64_t first_example = table_int(&t->task, task_row, TASK_FIRST_EXAMPLE);
    for (int64_t i = 0; i < n_examples; i++) {
        RD_TRY(get_application(record, task->examples[i].output, row, first_example + i, t));
        score[i >= task->n_demos] +=
            table_int(&t->application, t->application.rows - 1, APP_CORRECT);
    }
    table_set(&t->hypothesis, row, HYP_SCORE, score[0]);
    table_set(&t->hypothesis, row, HYP_QUERY_SCORE, n_examples > task->n_demos ? score[1] : -1);
done:
    rd_free(rule);
    return rc;
}

int traces_get_task(rd_cursor *record, const rd_task *task, int64_t n_examples, double temperature,
                    traces *t)
{
    int rc = RD_OK;
    int64_t n_rules = 0, n_applied = 0;
    RD_TRY(rd_get_i64(record, &n_rules));
    RD_TRY(rd_get_i64(record, &n_applied));
    if (n_rules < 0 || n_applied != n_examples)
        RD_FAIL(RD_EINPUT, "a journal record is not one of this task");
    rd_pool_mark(&t->pool);
    add_task(task, t);
    for (int64_t h = 0; h < n_rules; h++)
        RD_TRY(get_hypothesis(record, task, n_examples, h, temperature, t));
    table_set(&t->task, t->task.rows - 1, TASK_HYPOTHESES, n_rules);
    table_set(&t->task, t->task.rows - 1, TASK_APPLICATIONS, n_rules * n_examples);
done:
    return rc;
}

/* ---------------------------------------------------------------- the file */

static void shift(table *t, int column, int64_t base)
{
    for (int64_t r = 0; r < t->rows; r++) t->data[column][r].i += base;
}

int traces_write(const rd_comm *c, traces *t, rd_store *s)
{
    int rc = RD_OK;
    int64_t text_base = 0;
    int64_t tasks = rd_exscan_i64(c, t->task.rows);
    int64_t examples = rd_exscan_i64(c, t->example.rows);
    int64_t hypotheses = rd_exscan_i64(c, t->hypothesis.rows);
    int64_t applications = rd_exscan_i64(c, t->application.rows);
    shift(&t->task, TASK_FIRST_EXAMPLE, examples);
    shift(&t->task, TASK_FIRST_HYPOTHESIS, hypotheses);
    shift(&t->task, TASK_FIRST_APPLICATION, applications);
    shift(&t->example, EXAMPLE_TASK, tasks);
    shift(&t->hypothesis, HYP_TASK, tasks);
    shift(&t->application, APP_HYPOTHESIS, hypotheses);
    shift(&t->application, APP_EXAMPLE, examples);
    RD_TRY(rd_store_write_pool(s, &t->pool, &text_base));
    RD_TRY(table_write(&t->task, s, text_base));
    RD_TRY(table_write(&t->example, s, text_base));
    RD_TRY(table_write(&t->hypothesis, s, text_base));
    RD_TRY(table_write(&t->application, s, text_base));
done:
    return rc;
}

/* The rows of a range of tasks in a table below /task, which must lie inside the table (total).  An
 * empty range is no rows at 0. */
static int rows_of(const table *task, int first_column, int count_column, int64_t extra,
                   int64_t total, int64_t *first, int64_t *n)
{
    int rc = RD_OK;
    *first = *n = 0;
    if (task->rows == 0) return RD_OK;
    int64_t last = task->rows - 1;
    int64_t start = table_int(task, 0, first_column);
    int64_t end = table_int(task, last, first_column) + table_int(task, last, count_column) + extra;
    if (start < 0 || end < start || end > total)
        RD_FAIL(RD_EINPUT, "traces: rows %lld ... %lld of %lld do not exist", (long long)start,
                (long long)end, (long long)total);
    *first = start;
    *n = end - start;
done:
    return rc;
}

/* Cells of a column that name rows of another table must name rows that were read with them. */
static int check_links(const table *t, int column, int64_t first, int64_t n)
{
    int rc = RD_OK;
    for (int64_t r = 0; r < t->rows; r++) {
        int64_t v = table_int(t, r, column);
        if (v < first || v >= first + n)
            RD_FAIL(RD_EINPUT, "traces: %s/%s names row %lld, which belongs to another task",
                    t->name, t->columns[column].name, (long long)v);
    }
done:
    return rc;
}

static int check_rows(const traces *t)
{
    int rc = RD_OK;
    RD_TRY(check_links(&t->task, TASK_FAMILY, 0, RD_FAMILIES));
    RD_TRY(check_links(&t->task, TASK_FIRST_EXAMPLE, t->first_example, t->example.rows + 1));
    RD_TRY(
        check_links(&t->task, TASK_FIRST_HYPOTHESIS, t->first_hypothesis, t->hypothesis.rows + 1));
    RD_TRY(check_links(&t->hypothesis, HYP_TASK, t->first_task, t->task.rows));
    RD_TRY(check_links(&t->application, APP_HYPOTHESIS, t->first_hypothesis, t->hypothesis.rows));
    RD_TRY(check_links(&t->application, APP_EXAMPLE, t->first_example, t->example.rows));
done:
    return rc;
}

static void text_range(const table *t, int64_t *low, int64_t *high)
{
    for (int c = 0; c < t->n_columns; c++) {
        if (!t->columns[c].text) continue;
        for (int64_t r = 0; r < t->rows; r++) {
            int64_t id = t->data[c][r].i;
            if (id < 0) continue;
            if (id < *low) *low = id;
            if (id >= *high) *high = id + 1;
        }
    }
}

int traces_read(const rd_comm *c, rd_store *s, int64_t first, int64_t n, bool applications,
                traces *t)
{
    int rc = RD_OK;
    int64_t total = 0, count = 0;
    RD_TRY(table_read(&t->task, s, first, n));
    t->first_task = first;
    /* The queries of the last task follow its demonstrations. */
    int64_t queries = n > 0 ? table_int(&t->task, n - 1, TASK_QUERIES) : 0;
    RD_TRY(table_count(&t->example, s, &total));
    RD_TRY(rd_agree(c, rows_of(&t->task, TASK_FIRST_EXAMPLE, TASK_DEMOS, queries, total,
                               &t->first_example, &count)));
    RD_TRY(table_read(&t->example, s, t->first_example, count));
    RD_TRY(table_count(&t->hypothesis, s, &total));
    RD_TRY(rd_agree(c, rows_of(&t->task, TASK_FIRST_HYPOTHESIS, TASK_HYPOTHESES, 0, total,
                               &t->first_hypothesis, &count)));
    RD_TRY(table_read(&t->hypothesis, s, t->first_hypothesis, count));
    if (applications) {
        RD_TRY(table_count(&t->application, s, &total));
        RD_TRY(rd_agree(c, rows_of(&t->task, TASK_FIRST_APPLICATION, TASK_APPLICATIONS, 0, total,
                                   &t->first_application, &count)));
        RD_TRY(table_read(&t->application, s, t->first_application, count));
    }
    RD_TRY(rd_agree(c, check_rows(t)));
    int64_t low = INT64_MAX, high = 0;
    text_range(&t->task, &low, &high);
    text_range(&t->example, &low, &high);
    text_range(&t->hypothesis, &low, &high);
    text_range(&t->application, &low, &high);
    if (low > high) low = high = 0;
    rd_pool_free(&t->pool);
    t->first_text = low;
    RD_TRY(rd_store_read_text(s, low, high - low, &t->pool));
done:
    return rc;
}

const char *traces_text(const traces *t, int64_t id)
{
    return id < 0 ? NULL : rd_pool_get(&t->pool, id - t->first_text, NULL);
}
