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

/* Names in the log and of the clocks. */
typedef struct stage_names {
    const char *stage, *propose, *apply, *wait;
} stage_names;
static const stage_names of_training = {"augment", "augment: propose", "augment: apply",
                                        "augment: wait"};
static const stage_names of_teacher = {"teacher", "teacher: propose", "teacher: apply",
                                       "teacher: wait"};

typedef struct augment {
    const stage_names *names;
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
    if (o->first_greedy) h = rd_hash_str("first greedy", h);
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

struct unit_work;

/* A task of a unit in hand: first its proposals are asked for, then all rules are applied. */
typedef struct task_work {
    const rd_task *task;
    struct unit_work *unit;
    int64_t n_rules, n_apps;
    rd_proposal *rules;
    rd_application *apps;
    int asked; /* jobs of proposals that have not come back */
    bool applying;
} task_work;

/* A unit in hand.  A remote teacher has calls of several under way. */
typedef struct unit_work {
    int64_t unit, n_tasks, left; /* left: tasks that are not finished */
    double begun;
    task_work task[BLOCK_TASKS];
    struct unit_work *next;
} unit_work;

/* Names one application: the same rule and input drawn twice in a task are answered independently,
 * and the place of the task in the set plays no part. */
static uint64_t application_key(const rd_task *t, int64_t draw, int64_t example)
{
    int64_t parts[] = {t->family, t->split, t->source, t->id, draw, example};
    return rd_hash(parts, sizeof parts, 0);
}

/* A greedy first rule is a job of its own; the others' draws are counted from 0 beside it. */
static int propose(const augment *a, task_work *w)
{
    int rc = RD_OK;
    w->n_rules = a->o->hypotheses[w->task->source];
    w->rules = rd_new(rd_proposal, w->n_rules);
    const int64_t greedy = a->o->first_greedy && w->n_rules > 0;
    w->asked = greedy && w->n_rules > 1 ? 2 : 1;
    rd_clock_begin(a->names->propose);
    if (greedy) RD_TRY(rd_teacher_propose_start(a->teacher, w->task, 1, 0, w->rules, w));
    if (w->n_rules > greedy || !greedy)
        RD_TRY(rd_teacher_propose_start(a->teacher, w->task, w->n_rules - greedy,
                                        a->o->rule_temperature, w->rules + greedy, w));
done:
    rd_clock_end(a->names->propose);
    return rc;
}

static int apply(const augment *a, task_work *w)
{
    int64_t n_examples = applied_examples(a, w->task);
    w->applying = true;
    w->n_apps = w->n_rules * n_examples;
    w->apps = rd_new(rd_application, w->n_apps);
    for (int64_t i = 0; i < w->n_apps; i++) {
        int64_t draw = i / n_examples, example = i % n_examples;
        w->apps[i].rule = w->rules[draw].rule;
        w->apps[i].input = w->task->examples[example].input;
        w->apps[i].key = application_key(w->task, draw, example);
        w->apps[i].task = w->task;
        w->apps[i].draw = draw, w->apps[i].example = example;
    }
    rd_clock_begin(a->names->apply);
    int rc = rd_teacher_apply_start(a->teacher, w->task->family, w->n_apps,
                                    a->o->follow_temperature, w->apps, w);
    rd_clock_end(a->names->apply);
    return rc;
}

static void put_record(const augment *a, const task_work *w, rd_buf *record)
{
    rd_buf *answers = rd_new(rd_buf, w->n_apps);
    bool *read = rd_new(bool, w->n_apps);
    for (int64_t i = 0; i < w->n_apps; i++)
        read[i] = rd_answer_read(a->prompts, w->task->family, w->apps[i].response, !a->o->tolerant,
                                 &answers[i]);
    traces_put_task(record, w->n_rules, w->rules, applied_examples(a, w->task), w->apps, answers,
                    read);
    for (int64_t i = 0; i < w->n_apps; i++) rd_buf_free(&answers[i]);
    rd_free(answers);
    rd_free(read);
}

static void task_work_free(task_work *w)
{
    for (int64_t i = 0; i < w->n_rules; i++) rd_free(w->rules[i].rule);
    for (int64_t i = 0; i < w->n_apps; i++) rd_free(w->apps[i].response);
    rd_free(w->rules);
    rd_free(w->apps);
}

/* ---------------------------------------------------------------- the units */

static void unit_range(const augment *a, int64_t unit, int64_t *first, int64_t *end)
{
    *first = unit * BLOCK_TASKS;
    *end = *first + BLOCK_TASKS < a->tasks->n ? *first + BLOCK_TASKS : a->tasks->n;
}

static int unit_begin(const augment *a, int64_t unit, unit_work **in_hand)
{
    int rc = RD_OK;
    int64_t first, end;
    unit_range(a, unit, &first, &end);
    unit_work *u = rd_new(unit_work, 1);
    u->unit = unit;
    u->begun = rd_time();
    u->n_tasks = u->left = end - first;
    u->next = *in_hand;
    *in_hand = u;
    for (int64_t i = 0; i < u->n_tasks; i++) {
        u->task[i].task = &a->tasks->task[first + i];
        u->task[i].unit = u;
        RD_TRY(propose(a, &u->task[i]));
    }
done:
    return rc;
}

static void unit_free(unit_work *u, unit_work **in_hand)
{
    while (*in_hand != u) {
        RD_ASSERT(*in_hand != NULL);
        in_hand = &(*in_hand)->next;
    }
    *in_hand = u->next;
    for (int64_t i = 0; i < u->n_tasks; i++) task_work_free(&u->task[i]);
    rd_free(u);
}

/* The ranks of a replica do the same units side by side (a teacher that is a model needs them all);
 * its first rank keeps the record. */
static int unit_finish(const augment *a, unit_work *u)
{
    int rc = RD_OK;
    rd_buf record = {0};
    for (int64_t i = 0; i < u->n_tasks; i++) put_record(a, &u->task[i], &record);
    if (a->g->tp.rank == 0) RD_TRY(rd_journal_append(a->journal, u->unit, &record));
    RD_TRY(rd_fault("augment"));
done:
    rd_buf_free(&record);
    return rc;
}

/* The next job that the teacher has finished.  *more: are there others? */
static int one_job(const augment *a, unit_work **in_hand, bool *more)
{
    int rc = RD_OK;
    void *tag = NULL;
    *more = false;
    rd_clock_begin(a->names->wait);
    rc = rd_teacher_next(a->teacher, &tag);
    rd_clock_end(a->names->wait);
    RD_TRY(rc);
    if (!tag) goto done;
    task_work *w = tag;
    unit_work *u = w->unit;
    *more = true;
    if (!w->applying) {
        if (--w->asked == 0) RD_TRY(apply(a, w));
    } else if (--u->left == 0) {
        RD_TRY(unit_finish(a, u));
        rd_stop_need(rd_time() - u->begun);
        unit_free(u, in_hand);
    }
done:
    return rc;
}

/* Units are taken while the teacher wants more; stopping, or a failure here, keeps the others from
 * taking any. */
static int work(const augment *a, rd_queue *q)
{
    int rc = RD_OK;
    unit_work *in_hand = NULL;
    rd_progress progress = {0};
    rd_progress_begin(&progress, a->names->stage, "tasks", a->tasks->n);
    int64_t unit = 0; /* < 0: all are taken */
    for (bool more = true; more;) {
        while (unit >= 0 && rd_teacher_wants(a->teacher)) {
            if (rd_stop_local()) rd_queue_cancel(q);
            RD_TRY(rd_queue_next(q, &unit));
            if (unit >= 0) RD_TRY(rd_agree(&a->g->tp, unit_begin(a, unit, &in_hand)));
        }
        RD_TRY(rd_agree(&a->g->tp, one_job(a, &in_hand, &more)));
        int64_t tasks = (a->n_restored + rd_queue_taken(q)) * BLOCK_TASKS;
        rd_progress_set(&progress, tasks < a->tasks->n ? tasks : a->tasks->n, NULL);
    }
    /* A rank that got no unit passes the fault too, so that a test can name any rank. */
    RD_TRY(rd_fault("augment"));
done:
    if (rc != RD_OK) {
        rd_queue_cancel(q);
        rd_teacher_cancel(a->teacher);
    }
    while (in_hand) unit_free(in_hand, &in_hand);
    rd_stop_need(0);
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
        rd_info("%s: %" PRId64 " of %" PRId64 " blocks of tasks are in the journal",
                a->names->stage, a->n_restored, a->n_units);
    RD_TRY(rd_agree(&a->g->world, rd_teacher_expect(a->teacher, a->tasks, a->o->hypotheses)));
    RD_TRY(rd_teacher_open(a->teacher, a->g, a->o->calls ? a->o->calls : a->o->dir));
    RD_TRY(rd_queue_create(a->g, a->n_units, done, &q));
    RD_TRY(rd_agree(&a->g->world, work(a, q)));
    const int64_t *units = NULL;
    const rd_buf *records = NULL;
    int64_t finished = rd_journal_records(a->journal, &units, &records);
    rd_sum_i64(&a->g->world, &finished, 1);
    if (finished < a->n_units)
        RD_FAIL(RD_ESTOP, "%s: stopped with %" PRId64 " of %" PRId64 " blocks of tasks done",
                a->names->stage, finished, a->n_units);
    if (a->n_restored > 0)
        rd_info("%s: %" PRId64 " blocks of tasks were worked on now", a->names->stage,
                finished - a->n_restored);
done:
    rd_teacher_close(a->teacher);
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
    *finished = false;
    RD_TRY(rd_store_open_own(&a->g->world, path, TRACES_SCHEMA, TRACES_VERSION, a->key,
                             a->names->stage, &s));
    if (s == NULL) goto done;
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

static augment augment_of(const rd_grid *g, rd_teacher *t, const rd_prompts *p,
                          const rd_taskset *tasks, const rd_augment_opts *o)
{
    augment a = {.names = o->own_accuracy ? &of_teacher : &of_training,
                 .g = g,
                 .teacher = t,
                 .prompts = p,
                 .tasks = tasks,
                 .o = o};
    a.n_units = (tasks->n + BLOCK_TASKS - 1) / BLOCK_TASKS;
    a.key = augment_key(&a);
    return a;
}

int rd_augment_find(const rd_grid *g, rd_teacher *t, const rd_prompts *p, const rd_taskset *tasks,
                    const rd_augment_opts *o, bool *found, rd_augment_report *report)
{
    int rc = RD_OK;
    rd_buf path = {0};
    const augment a = augment_of(g, t, p, tasks, o);
    *found = false;
    memset(report, 0, sizeof *report);
    RD_TRY(check_counts(tasks, o));
    rd_buf_printf(&path, "%s/traces.h5", o->dir);
    RD_TRY(read_finished(&a, path.data, found, report));
done:
    rd_buf_free(&path);
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
    augment a = augment_of(g, t, p, tasks, o);
    rd_clock_begin(a.names->stage);
    memset(report, 0, sizeof *report);
    RD_TRY(check_counts(tasks, o));
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
    rd_clock_end(a.names->stage);
    return rc;
}
