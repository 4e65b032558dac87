/* traces.h: what traces.h5 holds, and the records of finished work units (private to distill). */
#ifndef RD_DISTILL_TRACES_H
#define RD_DISTILL_TRACES_H

#include "rd/distill.h"
#include "tables.h"

#define TRACES_SCHEMA "redistill.traces"
enum { TRACES_VERSION = 1 };

enum {
    TASK_FAMILY,
    TASK_SPLIT,
    TASK_SOURCE,
    TASK_ID,
    TASK_RULE,
    TASK_CLASS,
    TASK_FIRST_EXAMPLE,
    TASK_DEMOS,
    TASK_QUERIES,
    TASK_FIRST_HYPOTHESIS,
    TASK_HYPOTHESES,
    TASK_FIRST_APPLICATION,
    TASK_APPLICATIONS,
    TASK_COLUMNS
};
enum { EXAMPLE_TASK, EXAMPLE_ROLE, EXAMPLE_INPUT, EXAMPLE_OUTPUT, EXAMPLE_COLUMNS };
enum {
    HYP_TASK,
    HYP_DRAW,
    HYP_RULE,
    HYP_SCORE,
    HYP_QUERY_SCORE,
    HYP_TEMPERATURE,
    HYP_TOKENS_IN,
    HYP_TOKENS_OUT,
    HYP_COLUMNS
};
enum {
    APP_HYPOTHESIS,
    APP_EXAMPLE,
    APP_RESPONSE,
    APP_ANSWER,
    APP_CORRECT,
    APP_TOKENS_IN,
    APP_TOKENS_OUT,
    APP_COLUMNS
};

/* The rows of a range of tasks with their texts.  Written: text ids are local to the pool and row
 * numbers count from this rank's first row until traces_write makes them global.  Read: row numbers
 * are global, text ids are global too and traces_text translates. */
typedef struct traces {
    table task, example, hypothesis, application;
    rd_pool pool;
    int64_t first_text;                /* global id of the pool's string 0 (read) */
    int64_t first_task, first_example; /* global numbers of row 0 (read) */
    int64_t first_hypothesis, first_application;
} traces;

void traces_init(traces *t);
void traces_free(traces *t);

/* ---------------------------------------------------------------- records of finished tasks */

/* What the teacher said about one task, as bytes for the journal: rules, responses, answers,
 * tokens. n applications per rule, rule after rule. */
void traces_put_task(rd_buf *record, int64_t n_rules, const rd_proposal *rules, int64_t n_examples,
                     const rd_application *applications, const rd_buf *answers, const bool *read);
/* Append the rows of one task from its record.  n_examples: demonstrations, or all examples.
 * Local.  RD_EINPUT when the record is not one of this task. */
int traces_get_task(rd_cursor *record, const rd_task *task, int64_t n_examples, double temperature,
                    traces *t);

/* ---------------------------------------------------------------- the file */

/* Write the ranks' rows one rank after the other into an open store.  Collective on c. */
int traces_write(const rd_comm *c, traces *t, rd_store *s);
/* Replace t by tasks [first, first + n), per rank its own range (n may be 0); applications only if
 * asked for.  Collective on c.  Errors: RD_EINPUT when rows do not belong together. */
int traces_read(const rd_comm *c, rd_store *s, int64_t first, int64_t n, bool applications,
                traces *t);
const char *traces_text(const traces *t, int64_t id); /* NULL for -1 */

#endif
