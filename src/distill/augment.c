/* augment.c: the augment stage.
 *
 * Blocks of tasks are work units that replicas take from a queue as they become free (tasks differ
 * a lot in search time).  A finished unit goes to the journal; when all are there, the records are
 * exchanged into task order and traces.h5 is written by all ranks together.  So a kill loses the
 * units in hand, a restart on any number of ranks continues, and the file is the same whoever did
 * what. */
#include "traces.h"

#include <inttypes.h>
#include <string.h>

enum {
    BLOCK_TASKS =
        8, /* per unit: some seconds of work at the very most, some hundred kB of record */
    RECORD_VERSION = 1 /* of the journal's records */
};

typedef struct augment {
    const rd_grid *g;
    rd_teacher *teacher;
    const rd_prompts *prompts;
    const rd_taskset *tasks;
    const rd_augment_opts *o;
    int64_t n_units, n_restored; /* blocks of tasks; those that the journal had */
    uint64_t key;
    rd_journal *journal;
} augment;

/* Hash of everything that determines traces.h5. */
static uint64_t augment_key(const augment *a)
{
    const rd_augment_opts *o = a->o;
    uint64_t parts[] = {rd_teacher_key(a->teacher),
                        rd_prompts_hash(a->prompts),
                        (uint64_t)o->queries,
                        (uint64_t)o->tolerant,
                        BLOCK_TASKS,
                        RECORD_VERSION};
    uint64_t h = rd_hash(parts, sizeof parts, TRACES_VERSION);
    h = rd_hash(&o->rule_temperature, sizeof o->rule_temperature, h);
    h = rd_hash(&o->follow_temperature, sizeof o->follow_temperature, h);
    rd_buf bytes = {0};
    for (int64_t i = 0; i < a->tasks->n; i++) {
        rd_buf_clear(&bytes);
        rd_task_put(&bytes, &a->tasks->task[i]);
        rd_put_i64(&bytes, o->hypotheses[a->tasks->task[i].source]);
        h = rd_hash(bytes.data, bytes.len, h);
    }
    rd_buf_free(&bytes);
    return h;
}

static int64_t applied_examples(const augment *a, const rd_task *t)
{
    return t->n_demos + (a->o->queries ? t->n_queries : 0);
}

/* ---------------------------------------------------------------- one task */

/* Names one application: the same rule and input drawn twice in a task are answered independently,
 * and the place of the task in the set plays no part. */
static uint64_t application_key(const rd_task *t, int64_t draw, int64_t example)
{
    int64_t parts[] = {t->family, t->split, t->source, t->id, draw, example};
    return rd_hash(parts, sizeof parts, 0);
}

static int apply_all(const augment *a, const rd_task *t, int64_t n_rules, const rd_proposal *rules,
                     rd_buf *record)
{
    int rc = RD_OK;
    int64_t n_examples = applied_examples(a, t), n = n_rules * n_examples;
    rd_application *apps = rd_new(rd_application, n);
    rd_buf *answers = rd_new(rd_buf, n);
    bool *read = rd_new(bool, n);
    for (int64_t i = 0; i < n; i++) {
        int64_t draw = i / n_examples, example = i % n_examples;
        apps[i].rule = rules[draw].rule;
        apps[i].input = t->examples[example].input;
        apps[i].key = application_key(t, draw, example);
    }
    /* In one call: a remote teacher can then have many requests under way. */
    RD_TRY(rd_teacher_apply(a->teacher, t->family, n, a->o->follow_temperature, apps));
    for (int64_t i = 0; i < n; i++)
        read[i] =
            rd_answer_read(a->prompts, t->family, apps[i].response, !a->o->tolerant, &answers[i]);
    traces_put_task(record, n_rules, rules, n_examples, apps, answers, read);
done:
    for (int64_t i = 0; i < n; i++) {
        rd_free(apps[i].response);
        rd_buf_free(&answers[i]);
    }
    rd_free(apps);
    rd_free(answers);
    rd_free(read);
    return rc;
}

static int augment_task(const augment *a, const rd_task *t, rd_buf *record)
{
    int rc = RD_OK;
    int64_t n_rules = a->o->hypotheses[t->source];
    rd_proposal *rules = rd_new(rd_proposal, n_rules);
    rd_clock_begin("augment: propose");
    rc = rd_teacher_propose(a->teacher, t, n_rules, a->o->rule_temperature, rules);
    rd_clock_end("augment: propose");
    RD_TRY(rc);
    rd_clock_begin("augment: apply");
    rc = apply_all(a, t, n_rules, rules, record);
    rd_clock_end("augment: apply");
    RD_TRY(rc);
done:
    for (int64_t i = 0; i < n_rules; i++) rd_free(rules[i].rule);
    rd_free(rules);
    return rc;
}

/* ---------------------------------------------------------------- the units */

static void unit_range(const augment *a, int64_t unit, int64_t *first, int64_t *end)
{
    *first = unit * BLOCK_TASKS;
    *end = *first + BLOCK_TASKS < a->tasks->n ? *first + BLOCK_TASKS : a->tasks->n;
}

/* The ranks of a replica do the same unit side by side (a teacher that is a model needs them all);
 * its first rank keeps the record. */
static int augment_unit(const augment *a, int64_t unit)
{
    int rc = RD_OK;
    int64_t first, end;
    rd_buf record = {0};
    unit_range(a, unit, &first, &end);
    for (int64_t i = first; i < end; i++) RD_TRY(augment_task(a, &a->tasks->task[i], &record));
    if (a->g->tp.rank == 0) RD_TRY(rd_journal_append(a->journal, unit, &record));
    RD_TRY(rd_fault("augment"));
done:
    rd_buf_free(&record);
    return rc;
}

static int work(const augment *a, rd_queue *q)
{
    int rc = RD_OK;
    rd_progress progress = {0};
    rd_progress_begin(&progress, "augment", "tasks", a->tasks->n);
    for (;;) {
        int64_t unit = -1;
        if (rd_stop_local()) rd_queue_cancel(q);
        RD_TRY(rd_queue_next(q, &unit));
        if (unit < 0) break;
        rc = rd_agree(&a->g->tp, augment_unit(a, unit));
        RD_TRY(rc);
        int64_t tasks = (a->n_restored + rd_queue_taken(q)) * BLOCK_TASKS;
        rd_progress_set(&progress, tasks < a->tasks->n ? tasks : a->tasks->n, NULL);
    }
    /* A rank that got no unit passes the fault too, so that a test can name any rank. */
    RD_TRY(rd_fault("augment"));
done:
    if (rc != RD_OK) rd_queue_cancel(q);
    rd_progress_end(&progress);
    return rc;
}

/* All units that are not in the journal.  RD_ESTOP when some are left because of a stop request. */
static int work_all(augment *a)
{
    int rc = RD_OK;
    rd_queue *q = NULL;
    uint8_t *done = rd_new(uint8_t, a->n_units);
    RD_TRY(
        rd_journal_open(&a->g->world, a->o->dir, "augment", a->key, a->n_units, done, &a->journal));
    for (int64_t u = 0; u < a->n_units; u++) a->n_restored += done[u];
    if (a->n_restored > 0)
        rd_info("augment: %" PRId64 " of %" PRId64 " blocks of tasks are in the journal",
                a->n_restored, a->n_units);
    RD_TRY(rd_queue_create(a->g, a->n_units, done, &q));
    RD_TRY(rd_agree(&a->g->world, work(a, q)));
    const int64_t *units = NULL;
    const rd_buf *records = NULL;
    int64_t finished = rd_journal_records(a->journal, &units, &records);
    rd_sum_i64(&a->g->world, &finished, 1);
    if (finished < a->n_units)
        RD_FAIL(RD_ESTOP, "augment: stopped with %" PRId64 " of %" PRId64 " blocks of tasks done",
                finished, a->n_units);
done:
    rd_queue_free(&q);
    rd_free(done);
    return rc;
}

/* ---------------------------------------------------------------- the file */

/* The report's numbers by name: what traces.h5 keeps as attributes. */
typedef struct named {
    const char *name;
    int64_t *value;
} named;
enum { REPORT_FIXED = 6, REPORT_NUMBERS = REPORT_FIXED + 2 * RD_FAMILIES };
_Static_assert(sizeof(rd_augment_report) == REPORT_NUMBERS * sizeof(int64_t),
               "every number of the report is kept");

static void report_numbers(rd_augment_report *r, named n[REPORT_NUMBERS], char names[][32])
{
    const named fixed[REPORT_FIXED] = {{"tasks", &r->tasks},
                                       {"hypotheses", &r->hypotheses},
                                       {"applications", &r->applications},
                                       {"tokens_in", &r->tokens_in},
                                       {"tokens_out", &r->tokens_out},
                                       {"unanswered", &r->unanswered}};
    memcpy(n, fixed, sizeof fixed);
    for (int f = 0; f < RD_FAMILIES; f++) {
        int k = REPORT_FIXED + 2 * f;
        snprintf(names[k], 32, "tasks_%s", rd_family_name((rd_family)f));
        snprintf(names[k + 1], 32, "solved_%s", rd_family_name((rd_family)f));
        n[k] = (named){names[k], &r->tasks_of[f]};
        n[k + 1] = (named){names[k + 1], &r->solved[f]};
    }
}

static void count_rows(const traces *t, rd_augment_report *r)
{
    r->tasks = t->task.rows;
    r->hypotheses = t->hypothesis.rows;
    r->applications = t->application.rows;
    for (int64_t i = 0; i < t->task.rows; i++) {
        int64_t f = table_int(&t->task, i, TASK_FAMILY), best = -1;
        int64_t first = table_int(&t->task, i, TASK_FIRST_HYPOTHESIS);
        int64_t n = table_int(&t->task, i, TASK_HYPOTHESES);
        for (int64_t h = first; h < first + n; h++)
            if (table_int(&t->hypothesis, h, HYP_SCORE) > best)
                best = table_int(&t->hypothesis, h, HYP_SCORE);
        r->tasks_of[f]++;
        r->solved[f] += best == table_int(&t->task, i, TASK_DEMOS);
        /* One prompt asks for all rules of a task, but each draw is a call of its own. */
        for (int64_t h = first; h < first + n; h++) {
            r->tokens_in += table_int(&t->hypothesis, h, HYP_TOKENS_IN);
            r->tokens_out += table_int(&t->hypothesis, h, HYP_TOKENS_OUT);
        }
    }
    for (int64_t i = 0; i < t->application.rows; i++) {
        r->tokens_in += table_int(&t->application, i, APP_TOKENS_IN);
        r->tokens_out += table_int(&t->application, i, APP_TOKENS_OUT);
        r->unanswered += table_int(&t->application, i, APP_ANSWER) < 0;
    }
}

/* My share of the units, in task order, as rows. */
static int gather(const augment *a, traces *t)
{
    int rc = RD_OK;
    const int64_t *mine = NULL;
    const rd_buf *records = NULL;
    int64_t first = 0, count = 0;
    rd_buf *blobs = NULL;
    int64_t n_mine = rd_journal_records(a->journal, &mine, &records);
    RD_TRY(
        rd_exchange_units(&a->g->world, a->n_units, n_mine, mine, records, &first, &count, &blobs));
    for (int64_t u = 0; u < count && rc == RD_OK; u++) {
        int64_t task, end;
        unit_range(a, first + u, &task, &end);
        rd_cursor cursor = {blobs[u].data, blobs[u].len, 0};
        for (; task < end && rc == RD_OK; task++)
            rc = traces_get_task(&cursor, &a->tasks->task[task],
                                 applied_examples(a, &a->tasks->task[task]), a->o->rule_temperature,
                                 t);
        rd_buf_free(
            &blobs[u]); /* as soon as it is not needed: the rows are being built beside it */
    }
    RD_TRY(rd_agree(&a->g->world, rc));
done:
    for (int64_t u = 0; u < count; u++) rd_buf_free(&blobs[u]);
    rd_free(blobs);
    return rc;
}

static int write_file(const augment *a, const char *path, traces *t, rd_augment_report *report)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    rd_store_info info = {TRACES_SCHEMA, TRACES_VERSION, a->o->config};
    named number[REPORT_NUMBERS];
    char names[REPORT_NUMBERS][32];
    RD_TRY(rd_store_create(&a->g->world, path, &info, &s));
    RD_TRY(traces_write(&a->g->world, t, s));
    RD_TRY(rd_store_set_i64(s, "", "key", (int64_t)a->key));
    report_numbers(report, number, names);
    for (int i = 0; i < REPORT_NUMBERS; i++)
        RD_TRY(rd_store_set_i64(s, "", number[i].name, *number[i].value));
    RD_TRY(rd_store_commit(&s));
done:
    rd_store_close(&s);
    return rc;
}

/* Is there a traces.h5 with this key?  Then its report is read.  Collective on world. */
static int read_finished(const augment *a, const char *path, bool *finished,
                         rd_augment_report *report)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    int64_t there = rd_file_exists(path), key = 0;
    *finished = false;
    rd_bcast(&a->g->world, &there, sizeof there, 0); /* file systems may differ in what they show */
    if (!there) goto done;
    RD_TRY(rd_store_open(&a->g->world, path, TRACES_SCHEMA, TRACES_VERSION, &s));
    RD_TRY(rd_store_get_i64(s, "", "key", &key));
    if ((uint64_t)key != a->key) {
        rd_info("augment: %s was made with other settings and will be replaced", path);
        goto done;
    }
    named number[REPORT_NUMBERS];
    char names[REPORT_NUMBERS][32];
    report_numbers(report, number, names);
    for (int i = 0; i < REPORT_NUMBERS; i++)
        RD_TRY(rd_store_get_i64(s, "", number[i].name, number[i].value));
    *finished = true;
done:
    rd_store_close(&s);
    return rc;
}

static int check_counts(const rd_taskset *tasks, const rd_augment_opts *o)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < tasks->n; i++)
        if (o->hypotheses[tasks->task[i].source] < 0)
            RD_FAIL(RD_EINPUT, "augment.hypotheses: %" PRId64 " rules per task",
                    o->hypotheses[tasks->task[i].source]);
done:
    return rc;
}

int rd_augment_run(const rd_grid *g, rd_teacher *t, const rd_prompts *p, const rd_taskset *tasks,
                   const rd_augment_opts *o, rd_augment_report *report)
{
    int rc = RD_OK;
    bool finished = false;
    rd_buf path = {0};
    traces rows;
    traces_init(&rows);
    augment a = {.g = g, .teacher = t, .prompts = p, .tasks = tasks, .o = o};
    rd_clock_begin("augment");
    memset(report, 0, sizeof *report);
    RD_TRY(check_counts(tasks, o));
    a.n_units = (tasks->n + BLOCK_TASKS - 1) / BLOCK_TASKS;
    a.key = augment_key(&a);
    RD_TRY(rd_agree(&g->world, rd_dir_make(o->dir)));
    rd_buf_printf(&path, "%s/traces.h5", o->dir);
    RD_TRY(read_finished(&a, path.data, &finished, report));
    if (!finished) {
        RD_TRY(work_all(&a));
        RD_TRY(gather(&a, &rows));
        count_rows(&rows, report);
        rd_sum_i64(&g->world, (int64_t *)report, REPORT_NUMBERS);
        RD_TRY(write_file(&a, path.data, &rows, report));
    }
    rd_journal_close(&a.journal);
    RD_TRY(rd_journal_remove(&g->world, o->dir, "augment"));
done:
    rd_journal_close(&a.journal);
    traces_free(&rows);
    rd_buf_free(&path);
    rd_clock_end("augment");
    return rc;
}
