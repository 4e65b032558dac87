/* distill: augment (the teacher proposes and applies rules, traces.h5) and filter (datasets.h5).
 *
 * traces.h5    /task        family u8, split u8, source i32, id i64, rule text, rule_class text,
 *                           first_example i64, demos i32, queries i32, first_hypothesis i64,
 *                           hypotheses i32, first_application i64, applications i32
 *              /example     task i64, role u8 (0 demonstration, 1 query), input text, output text
 *              /hypothesis  task i64, draw i32, rule text, score i32 (demonstrations),
 *                           query_score i32 (-1: not applied to queries), temperature f64,
 *                           tokens_in i64, tokens_out i64
 *              /application hypothesis i64, example i64, response text, answer text (-1: none),
 *                           correct u8, tokens_in i32, tokens_out i32
 * datasets.h5  /sft         kind u8 (0 generate, 1 follow, 2 io), family u8, prompt text,
 *                           response text, task i64, hypothesis i64 (-1: none), example i64 (-1)
 *              /pair        family u8, prompt text, chosen text, rejected text, chosen_score i32,
 *                           rejected_score i32, task i64, chosen_hypothesis i64,
 *                           rejected_hypothesis i64
 *              /kto         family u8, prompt text, response text, label u8 (1: desirable), score
 *                           i32, task i64, hypothesis i64: every rule, alone
 *              /report      the arrays of rd_filter_report
 * "text" columns are int64 ids into /text.  Row numbers are global and follow task order, so the
 * files are the same on any number of ranks.  Both files carry the attribute "key", a hash of
 * everything that determines them: a stage that finds its file with its key is done.  traces.h5
 * carries the numbers of rd_augment_report as attributes. */
#ifndef RD_DISTILL_H
#define RD_DISTILL_H

#include "rd/io.h"
#include "rd/par.h"
#include "rd/task.h"
#include "rd/teacher.h"

enum { RD_ROW_GENERATE = 0, RD_ROW_FOLLOW = 1, RD_ROW_IO = 2, RD_ROW_KINDS = 3 };

typedef struct rd_augment_opts {
    const int64_t *hypotheses; /* per task source: rules per task */
    double rule_temperature, follow_temperature;
    bool queries;       /* apply rules to queries too (for analysis and upper bounds) */
    bool tolerant;      /* read answers tolerantly; else strictly, as the official code */
    bool first_greedy;  /* the first rule of a task is asked for at temperature 0 */
    bool own_accuracy;  /* for rd_eval_traces: log and timing say "teacher", not "augment" */
    const char *dir;    /* run directory: traces.h5 and journals go there */
    const char *calls;  /* where a teacher keeps what it was paid for (teacher.h); NULL: dir */
    const char *config; /* resolved config for the file's attributes */
} rd_augment_opts;

typedef struct rd_augment_report {
    int64_t tasks, hypotheses, applications, tokens_in, tokens_out;
    int64_t solved[RD_FAMILIES], tasks_of[RD_FAMILIES]; /* tasks with a full-score rule */
    int64_t unanswered;                                 /* applications without a readable answer */
} rd_augment_report;

/* Collective on grid->world.  tasks: equal on all ranks (training split is augmented, test too if
 * it is in the set).  Restarts from the journal; finished: returns at once with the report re-read.
 * Units are blocks of tasks dealt to g's replicas by the work queue.  The ranks of a replica do a
 * unit side by side, as a teacher that is a model needs it; for one that is Local (teacher.h) g is
 * best a grid of 1 x 1 replicas.  The file is the same on any grid.
 * Errors: RD_ESTOP when a stop was asked for (the journal keeps what is done); RD_EINPUT for a
 * negative count of rules; RD_EIO.  traces.h5 of an earlier run stays until the new one is
 * complete.
 * Memory per rank: its share of the finished units' records, then of the rows. */
int rd_augment_run(const rd_grid *g, rd_teacher *t, const rd_prompts *p, const rd_taskset *tasks,
                   const rd_augment_opts *o, rd_augment_report *report);

/* Only look: *found when DIR/traces.h5 is there with its key; the report is read from it then.
 * Collective on grid->world; RD_EINPUT for a damaged file. */
int rd_augment_find(const rd_grid *g, rd_teacher *t, const rd_prompts *p, const rd_taskset *tasks,
                    const rd_augment_opts *o, bool *found, rd_augment_report *report);

/* The teacher's own accuracy.  DIR/traces.h5 holds what a teacher was asked about test tasks, with
 * their queries; here its rules become the search that a student does (infer.h: nested subsets of
 * the proposals, the same choice and counts), DIR/predictions.h5 and lines of the results.
 * tasks: the very tasks of that file, whose true rules nobody may have handed to the teacher: it
 * must find rules as the student does.  Tokens are the teacher's own count.
 * Collective on g->world.  Errors: RD_EINPUT for traces of other tasks, without queries or with
 * fewer rules; RD_EIO. */
int rd_eval_traces(const rd_grid *g, const rd_prompts *p, const rd_taskset *tasks,
                   const rd_eval_opts *o, rd_results *results);

typedef enum { RD_TARGET_GOLD, RD_TARGET_TEACHER } rd_follow_target;
typedef enum { RD_DEDUP_TASK, RD_DEDUP_FAMILY } rd_dedup; /* FAMILY: the official global set */

typedef struct rd_filter_opts {
    double min_score;        /* rule-generation rows: score >= this * demonstrations (paper: 0.5) */
    double follow_min_score; /* rule-following rows: the same of the rule's score (paper: 0.5) */
    int gap[RD_FAMILIES];    /* pairs: score difference strictly greater (paper: LIST 3, ARC 1,
                                ACRE 2, SCAN 4) */
    int64_t max_pairs;       /* per task, largest gaps first; 0: all (paper) */
    rd_follow_target follow_target; /* gold outputs (paper) or the teacher's raw response (code) */
    bool follow_correct_only;       /* keep a following row only where the rule's answer is gold */
    bool worked;                    /* write the intermediate results before the answer */
    bool follow_queries; /* also follow rules on the task's query inputs (training tasks) */
    rd_dedup dedup;      /* the first draw of a rule text counts, with its score */
    /* The official code's rows, where they follow from no option above.
     * - Rule following: every application to a demonstration, of repeated draws too, whose prompt
     *   holds, anywhere, a rule of the family that was chosen in some pair of any task.
     * - Two wordings of one rule make a pair like any other.
     * - SFT prompts have one more newline before their first "Input:": the code cuts them there and
     *   LLaMA-Factory joins the parts by one.
     * - KTO labels: of a task's ranked rules the first half (rounded up) is desirable, whatever the
     *   scores; otherwise those with score >= min_score * demonstrations.
     * A proposal that never came and a response that never came are no rows (unanswered). */
    bool official;
    /* No SFT rows and no labels: those tables stay empty.  A rule without a text, of a response
     * that could not be read as one, is in no pair (unanswered). */
    bool pairs_only;
    int64_t max_rule_chars; /* longer rules are dropped and counted; 0: no limit */
    bool sources_off[64];   /* task sources that are augmented but not trained on */
    /* Lent; not NULL: rules that can be read and have a pair or kind of it are dropped. */
    const rd_held *held[RD_FAMILIES];
    uint64_t seed; /* of the run; recorded, nothing is drawn here */
    const char *dir, *config;
} rd_filter_opts;
void rd_filter_defaults(rd_filter_opts *o);

enum { RD_HIST = 21 };
/* Counts of the training tasks of sources that are not off.  Every dropped hypothesis, row and pair
 * is in exactly one of the drop counts; hypotheses are checked in the order over_long, held_out,
 * duplicates, then score. */
typedef struct rd_filter_report {
    int64_t rows[RD_ROW_KINDS][RD_FAMILIES], pairs[RD_FAMILIES];
    int64_t duplicates;      /* hypotheses whose text an earlier draw (task or family) has */
    int64_t identical_pairs; /* pairs of two wordings of one rule */
    int64_t over_long;       /* hypotheses */
    int64_t unparsed_worked; /* following rows kept in the plain form: the rule cannot be run, or
                                does not reproduce the target */
    int64_t low_score;       /* hypotheses under min_score: no rule-generation row */
    int64_t wrong_answer;    /* following rows dropped by follow_correct_only */
    int64_t histogram[RD_FAMILIES][RD_HIST]; /* hypotheses by score 0 … 20 (20: or more) */
    int64_t tasks;                           /* training tasks used */
    int64_t skipped_tasks;                   /* test tasks, and those of sources that are off */
    int64_t follow_low_score; /* hypotheses under follow_min_score: no rule-following rows */
    int64_t pairs_over_limit; /* dropped by max_pairs */
    int64_t unanswered;       /* official: hypotheses without a text, following rows without a
                                 response; pairs_only: the former */
    int64_t held_out;         /* hypotheses with a pair or kind that is not trained on */
    double length_quality[RD_FAMILIES + 1]; /* Pearson r of rule words and score / demonstrations;
                                               last: pooled; NaN if undefined */
} rd_filter_report;
/* Collective on grid->world.  Reads DIR/traces.h5, writes DIR/datasets.h5.  Only training tasks
 * give rows.  Row order: by task; within it rule-generation rows, rule-following rows, io rows;
 * rules by score, then by text, both descending (the official order of ties).  Pairs in the order
 * of (chosen, rejected) in that ranking; with max_pairs by gap first.
 * io rows: each query of a training task asked with its demonstrations; the gold output answers.
 * Pairs of a task: every two of its rules that count (max_rule_chars, dedup) whose scores differ by
 * more than gap, the better one chosen, but not two wordings of one rule (official: those too).
 * Nothing else is asked of the chosen one: as in the paper it may be wrong, and under min_score.
 * Errors: RD_EINPUT (no traces.h5, or one of another schema; follow_queries needs the traces to
 * hold the applications to queries unless every target is gold), RD_ESTOP, RD_EIO. */
int rd_filter_run(const rd_grid *g, const rd_prompts *p, const rd_filter_opts *o,
                  rd_filter_report *report);
/* Only look, as rd_augment_find does. */
int rd_filter_find(const rd_grid *g, const rd_prompts *p, const rd_filter_opts *o, bool *found,
                   rd_filter_report *report);

/* datasets.h5 as files that LLaMA-Factory reads, in dir (made when missing), named as the official
 * code names them, byte for byte what Python's json.dump(rows, indent=4) would write:
 *   generate_rule_sft.json, apply_rule_sft.json, direct_fewshot_sft.json   alpaca
 *   generate_rule_dpo.json   sharegpt, ranking      generate_rule_kto.json   sharegpt with labels
 *   dataset_info.json        the five by these names without the ending
 * An alpaca row's instruction and input, joined by a newline as LLaMA-Factory does it, are our
 * prompt: it is cut at its first "\nInput:", and where there is none all of it is the instruction.
 * rows (may be NULL) gets the numbers in the order of this list.  Local: by one rank alone. Errors:
 * RD_EINPUT, RD_EIO. */
enum { RD_LLAMA_FACTORY_SETS = 5 };
int rd_export_llama_factory(const char *datasets, const char *dir, int64_t *rows);

#endif
