/* job.h: one run of the program: what its stages share (private to cli).
 *
 * The run directory:  manifest.json, traces.h5, datasets.h5, tokenizer.json,
 * arms/NAME/{checkpoints/, metrics.h5, predictions.h5, own/}, teacher/{traces.h5,
 * predictions.h5}, report.txt, report.json. */
#ifndef RD_CLI_JOB_H
#define RD_CLI_JOB_H

#include "cli/config.h"
#include "rd/distill.h"
#include "rd/infer.h"
#include "rd/train.h"

/* Preference pairs of the student's own rules (own.c). */
typedef struct own_report {
    rd_augment_report augment;
    rd_filter_report filter;
    int64_t gap[RD_FAMILIES][RD_HIST]; /* pairs by the gap of their scores, 0 … 20 (20: or more) */
} own_report;

typedef struct job {
    config cfg;
    rd_grid *grid;
    char *dir;           /* run directory */
    char *teacher_path;  /* teacher.path, from the config's directory; "": none */
    bool validate;       /* nothing will be computed: the grid of the plan need not be the job's */
    int ranks;           /* that validate plans for; 0: as the config and the job say */
    const char *machine; /* file in place of machine.file; NULL: none */
    /* Plans of many jobs: one that was found good.  What it read of models, tokenizers and
     * teachers is taken from it where the config names the same ones. */
    const struct job *like;
    struct {
        int data, rows, cols;
    } plan;
    rd_prompts *prompts;
    rd_taskset tasks;           /* both splits, equal on all ranks */
    rd_held *held[RD_FAMILIES]; /* pairs and kinds out of training; NULL: none */
    int64_t hypotheses[CONFIG_MAX_TASKS];
    const char *set_name[CONFIG_MAX_TASKS]; /* of each entry's test tasks */
    bool have_data_key;
    int64_t data_key; /* of datasets.h5 */
    rd_tok *tok;
    uint64_t tok_key;   /* hash of its tokenizer.json */
    char *tok_path;     /* where it comes from; NULL: it is trained on the run's datasets */
    int64_t tok_vocab;  /* of that at tok_path */
    rd_results results; /* of all arms evaluated or re-read */
    bool have_augment, have_filter;
    rd_augment_report augment;
    rd_filter_report filter;
    struct {
        bool published; /* model.base is a folder or a GGUF file: its shape is the model's */
        rd_model_config shape;
        bool have_base;
        uint64_t base;      /* content of model.base; 0: none */
        char *base_path;    /* where it is, when published */
        char *adapter_path; /* of sft.adapter.path; NULL: no adapter is given */
        uint64_t adapter_content;
        rd_adapter_opts adapter;
        bool have_sft, have_align, have_own;
        rd_train_report sft, align;
        own_report own;
        int64_t parameters;
        rd_chat *chat; /* NULL: not made yet */
    } arm[CONFIG_MAX_ARMS];
    rd_lock *lock;            /* on the run directory */
    struct sweep_run *member; /* of a sweep (sweep.h); NULL: a run of its own */
    bool reported;            /* report.txt was written and printed */
    double started;
} job;

/* Config, grid, prompts, run directory, header.  Collective on world. */
int job_begin(job *j, const char *config_path, int n_sets, const char *const *sets);
void job_end(job *j);
/* Make the run directory and lock it, so that no second job works there.  Collective. */
int job_lock(job *j);
/* Generate or load the tasks (once).  Collective. */
int job_tasks(job *j);
/* Fill in the rule classes that are missing, each rank a share.  Collective; set equal on all
 * ranks. */
int job_classify(const job *j, rd_taskset *set);
/* The key of datasets.h5, read once: opening the file verifies all of it.  Collective. */
int job_data_key(job *j, int64_t *key);
/* The tokenizer: of tok_path, or trained on datasets.h5 (once; kept in the run directory).
 * Collective. */
int job_tokenizer(job *j);
char *job_path(const job *j, const char *file); /* DIR/file; caller frees */
char *job_arm_path(const job *j, const config_arm *arm, const char *file); /* DIR/arms/NAME/file */
int job_manifest(job *j);
/* The adapter of an arm: given, or as the config describes it; false: none.  Local. */
bool job_adapter(const job *j, const config_arm *arm, rd_adapter_opts *o);
/* The model of an arm, also before there is a tokenizer.  RD_EINPUT, worded "key: ...".  Local. */
int job_model(const job *j, const config_arm *arm, rd_model_config *c);
/* Is the arm to be evaluated as it begins, without training? */
bool job_is_untuned(const config_arm *arm);
/* What a result of that key depends on once it comes from a model: on `compute` too. */
uint64_t job_compute_key(const job *j, uint64_t key);
/* A tokenizer's key: the hash of its tokenizer.json, whatever file it came from.  Local. */
uint64_t job_tokenizer_key(const rd_tok *tok);
/* The arm whose SFT an arm starts from, and the file of its final weights (caller frees).  Local.
 */
const config_arm *job_source_arm(const job *j, const config_arm *arm);
char *job_arm_weights(const job *j, const config_arm *arm);

/* chats.c: an arm's chat template, made once; after job_tokenizer.  check: can all arms have
 * theirs? Before the grid is there.  Collective on world. */
int job_chat(job *j, const config_arm *arm, const rd_chat **chat);
int chats_check(const job *j);

/* options.c: option structs from config values. */
void options_teacher(const job *j, rd_teacher_opts *o);
int options_key(const config_scope *s, rd_teacher_opts *o); /* from the environment */
void options_augment(const job *j, rd_augment_opts *o);
/* Whether a source's tasks are trained on: used [CONFIG_MAX_TASKS]. */
void options_sources(const job *j, bool *used);
void options_filter(const job *j, rd_filter_opts *o);
int options_train(const job *j, const config_arm *arm, const char *stage, rd_train_opts *o);
bool options_adapter(const config_scope *s, rd_adapter_opts *o); /* false: none is wanted */
int options_model(const config_scope *s, int64_t vocab, rd_model_config *c);
/* part: "eval" or "teacher"; the stop strings are lent by the config. */
void options_generator(const config_scope *s, const char *part, rd_generator_opts *o);
void options_eval(const job *j, const config_arm *arm, rd_eval_opts *o);

/* tutor.c: a model that teaches.  open: everything but the weights; RD_EINPUT.  load: these, once
 * (context is the tutor).  Both Collective; close also after a failure. */
typedef struct tutor {
    const job *j;
    char *path;
    bool own;                  /* of teacher.path, not the student's model.base */
    rd_pretrained *pretrained; /* NULL: a checkpoint of ours */
    rd_model_config shape;
    uint64_t identity, tok_key;
    rd_tok *tok;
    rd_chat *chat;
    rd_model *model;
} tutor;
int tutor_open(const job *j, tutor *t);
int tutor_load(void *context, const rd_model **model);
void tutor_options(tutor *t, rd_model_teacher_opts *o);
void tutor_close(tutor *t);

/* own.c: rules that the weights in front of an arm's alignment propose for some of its training
 * tasks, and the pairs of them, in arms/NAME/own: traces.h5 and datasets.h5, made as augment and
 * filter make them, with the student as the teacher.
 *   own_wanted  does align.pairs of the arm ask for them?
 *   own_key     the key of an alignment, with what these pairs depend on besides.
 *   own_choose  chosen [tasks]: of the training tasks in use of the families named, at most limit
 *               (0: all), evenly spread over families and within each; a family with fewer gives
 *               what it has.  used [sources], family [RD_FAMILIES].
 *   own_run     makes or finds the files and fills arm[index].own.  identity: which weights load
 *               gives (tutor_load's contract; called when rules must still be drawn).  RD_EINPUT
 *               when no task or no pair is there; RD_ESTOP.
 * All Local but own_run, which is Collective. */
typedef struct own_student {
    int (*load)(void *context, const rd_model **model);
    void *context;
    uint64_t identity;
} own_student;
bool own_wanted(const config_arm *arm);
uint64_t own_key(const config_arm *arm, uint64_t key);
void own_choose(const rd_taskset *tasks, const bool *used, const bool *family, int64_t limit,
                bool *chosen);
int own_run(job *j, int index, const own_student *student);
char *own_path(const job *j, const config_arm *arm, const char *file); /* caller frees */

/* stages.c.  Collective; idempotent. */
int stage_augment(job *j);
int stage_filter(job *j);
int stage_sft(job *j, int arm);
int stage_align(job *j, int arm);
int stage_eval(job *j, int arm);
/* The teacher's own search on the problems that arms are asked (all, when no arm is), once for the
 * run: RUN/teacher/traces.h5 and predictions.h5. */
int stage_eval_teacher(job *j);
int stage_report(job *j);

/* report.c */
/* " 2:60% 3:40%": the family's pairs by gap; nothing without any. */
void report_gaps(const own_report *r, rd_family f, rd_buf *out);
void report_table(const rd_results *r, rd_buf *out);
void report_verdicts(const rd_results *r, rd_buf *out);
/* Peak memory of a rank, bytes: the program's own count and the operating system's; each the
 * largest over the ranks.  Collective. */
typedef struct report_memory {
    double counted, resident;
} report_memory;
void report_memory_peak(const job *j, report_memory *m);
void report_memory_line(const report_memory *m, rd_buf *out);
int report_write(job *j); /* Collective; rank 0 writes report.txt and report.json and prints */

/* walltime.c.  Hours until the batch system ends the job, INFINITY when it does not say.
 * Collective.
 */
double walltime_hours_left(const rd_comm *world);
double walltime_parse(const char *text); /* Slurm's DAYS-HH:MM:SS in seconds; NAN: no time */

/* plan.c: what validate prints beside the resolved config: tasks, memory, work and time of
 * training; json: all as one JSON object.  RD_EINPUT when a stage needs more memory than there is.
 * Collective. */
int plan_print(job *j, bool json);
/* The cost of a job's training alone, over its arms: RD_EINPUT as above.  Root only. */
typedef struct plan_cost {
    int ranks, trainings;
    int unknown;  /* trainings whose length is not known beforehand: epochs */
    double hours; /* of the others */
    double bytes; /* the most that a rank needs at once */
    char machine[96];
    bool measured;
} plan_cost;
int plan_cost_of(const job *j, plan_cost *cost);

/* calibrate.c: measure the machine (cost.h) into a file.  Collective on all ranks. */
int calibrate_run(const char *path);

/* build.c */
const char *build_version(void);  /* "redistill 0.1.0 (abc1234)" */
void build_describe(rd_buf *out); /* compiler, flags, libraries */

#endif
