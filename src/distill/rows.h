/* rows.h: training rows and preference pairs made of one task's scored rules (private to distill).
 */
#ifndef RD_DISTILL_ROWS_H
#define RD_DISTILL_ROWS_H

#include "traces.h"

enum {
    SFT_KIND,
    SFT_FAMILY,
    SFT_PROMPT,
    SFT_RESPONSE,
    SFT_TASK,
    SFT_HYPOTHESIS,
    SFT_EXAMPLE,
    SFT_COLUMNS
};
enum {
    PAIR_FAMILY,
    PAIR_PROMPT,
    PAIR_CHOSEN,
    PAIR_REJECTED,
    PAIR_CHOSEN_SCORE,
    PAIR_REJECTED_SCORE,
    PAIR_TASK,
    PAIR_CHOSEN_HYPOTHESIS,
    PAIR_REJECTED_HYPOTHESIS,
    PAIR_COLUMNS
};

enum {
    KTO_FAMILY,
    KTO_PROMPT,
    KTO_RESPONSE,
    KTO_LABEL,
    KTO_SCORE,
    KTO_TASK,
    KTO_HYPOTHESIS,
    KTO_COLUMNS
};

/* The rows that this rank has made, their texts in the pool (one mark per task). */
typedef struct dataset {
    table sft, pair, kto;
    rd_pool pool;
} dataset;
void dataset_init(dataset *d);
void dataset_free(dataset *d);

/* One rule of a task that passed the length and duplicate checks. */
typedef struct scored_rule {
    const char *text; /* lent by the traces */
    int64_t row;      /* in the traces in memory */
    int64_t score;
    rd_rule *parsed; /* NULL: not a rule of the family */
    char *canonical; /* its sentence in the canonical wording; NULL if not parsed */
} scored_rule;

/* A task with its rules, best first (score, then text, both descending). */
typedef struct scored_task {
    const traces *from;
    int64_t row;  /* in the traces in memory */
    rd_task task; /* examples as the prompts need them */
    int64_t n_rules;
    scored_rule *rules;
    int64_t applied; /* examples that every rule was applied to: the first ones */
    int64_t draws;   /* hypotheses, dropped ones too */
} scored_task;
/* Take the task at a row, without rules yet.  RD_EINPUT when its applications are not rule by rule.
 */
int scored_task_make(const traces *from, int64_t row, scored_task *t);
void scored_task_add(scored_task *t, int64_t hypothesis_row); /* at most `draws` times */
void scored_task_rank(scored_task *t);
void scored_task_free(scored_task *t);

/* chosen.c: texts of which any may occur in another (the official rule-following rows). */
typedef struct chosen_rules {
    int64_t n, cap;
    char **text; /* owned */
} chosen_rules;
void chosen_add(chosen_rules *c, const char *text);
void chosen_close(chosen_rules *c); /* after the last add, before the first question */
bool chosen_occurs(const chosen_rules *c, const char *in);
void chosen_free(chosen_rules *c);

/* Append the rows / the pairs of one task and count in the report.  chosen: of the task's family,
 * with o->official.  Local. */
int rows_make(const rd_prompts *p, const rd_filter_opts *o, const scored_task *t,
              const chosen_rules *chosen, dataset *d, rd_filter_report *report);
void pairs_make(const rd_prompts *p, const rd_filter_opts *o, const scored_task *t, dataset *d,
                rd_filter_report *report);

#endif
