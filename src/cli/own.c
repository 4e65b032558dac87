/* own.c: preference pairs of the student's own rules, made before alignment.
 *
 * The student that alignment starts from is the teacher of an augment stage of its own, over some
 * of the training tasks, and the filter's pair maker makes the pairs: journal, keys and the order
 * of rows are theirs.  Rules are proposed at a temperature of 1 unless told otherwise: pairs are to
 * be of what the student would say, not of its likeliest words.  Everything else is as in the arm's
 * evaluation, so that a score is what hypothesis search would see. */
#include "cli/job.h"

#include <string.h>

bool own_wanted(const config_arm *arm)
{
    return strcmp(config_text(&arm->keys, "align.pairs"), "teacher") != 0;
}

/* Tasks, prompts and filter are in the key already, by that of the run's datasets. */
uint64_t own_key(const config_arm *arm, uint64_t key)
{
    static const char *const keys[] = {"align.pairs",
                                       "align.own.",
                                       "eval.follow_temperature",
                                       "eval.max_rule_tokens",
                                       "eval.max_answer_tokens",
                                       "eval.max_len",
                                       "eval.top_k",
                                       "eval.top_p",
                                       "eval.min_p",
                                       "eval.stop",
                                       NULL};
    const uint64_t own = config_hash(&arm->keys, keys);
    return own_wanted(arm) ? rd_hash(&own, sizeof own, key) : key;
}

char *own_path(const job *j, const config_arm *arm, const char *file)
{
    rd_buf name = {0};
    rd_buf_printf(&name, "own%s%s", *file ? "/" : "", file);
    char *path = job_arm_path(j, arm, name.data);
    rd_buf_free(&name);
    return path;
}

/* ---------------------------------------------------------------- which tasks */

static bool may_choose(const rd_task *t, const bool *used, const bool *family)
{
    return t->split == RD_SPLIT_TRAIN && used[t->source] && family[t->family];
}

void own_choose(const rd_taskset *tasks, const bool *used, const bool *family, int64_t limit,
                bool *chosen)
{
    int64_t size[RD_FAMILIES] = {0}, share[RD_FAMILIES] = {0}, seen[RD_FAMILIES] = {0};
    for (int64_t i = 0; i < tasks->n; i++) {
        const rd_task *t = &tasks->task[i];
        if (may_choose(t, used, family)) size[t->family]++;
    }
    /* The families in turn, one task each, as far as they have any. */
    bool more = true;
    for (int64_t left = limit > 0 ? limit : INT64_MAX; more;) {
        more = false;
        for (int f = 0; f < RD_FAMILIES && left > 0; f++) {
            if (share[f] == size[f]) continue;
            share[f]++, left--;
            more = true;
        }
    }
    for (int64_t i = 0; i < tasks->n; i++) {
        const rd_task *t = &tasks->task[i];
        const int f = t->family;
        chosen[i] = false;
        if (!may_choose(t, used, family)) continue;
        chosen[i] = (seen[f] + 1) * share[f] / size[f] > seen[f] * share[f] / size[f];
        seen[f]++;
    }
}

static int choose_tasks(const job *j, const config_arm *arm, rd_taskset *set)
{
    int rc = RD_OK;
    bool used[CONFIG_MAX_TASKS], family[RD_FAMILIES], *chosen = rd_new(bool, j->tasks.n);
    options_sources(j, used);
    for (int f = 0; f < RD_FAMILIES; f++)
        family[f] = config_list_has(&arm->keys, "sft.families", rd_family_name((rd_family)f));
    own_choose(&j->tasks, used, family, config_int(&arm->keys, "align.own.tasks"), chosen);
    for (int64_t i = 0; i < j->tasks.n; i++) {
        rd_task copy;
        if (!chosen[i]) continue;
        RD_TRY(rd_task_copy(&j->tasks.task[i], &copy));
        RD_FREE(copy.rule); /* not needed to score what others propose */
        rd_taskset_add_take(set, &copy);
    }
    if (set->n == 0)
        RD_FAIL(RD_EINPUT,
                "%s: align.pairs of arm '%s': there is no training task of the families in "
                "sft.families",
                j->cfg.path, arm->name);
done:
    rd_free(chosen);
    return rc;
}

/* ---------------------------------------------------------------- rules */

static void teacher_options(const job *j, const config_arm *arm, const rd_chat *chat,
                            const own_student *student, rd_teacher_opts *o)
{
    const config_scope *s = &arm->keys;
    rd_teacher_defaults(o);
    o->kind = "model";
    o->seed = (uint64_t)config_int(&j->cfg.keys, "run.seed");
    o->model = (rd_model_teacher_opts){
        .load = student->load,
        .context = student->context,
        .identity = student->identity,
        .chat = chat,
        .max_tokens = config_int(s, "eval.max_rule_tokens"),
        .max_answer_tokens = config_int(s, "eval.max_answer_tokens"),
        .interpreter = strcmp(config_text(s, "align.own.score"), "interpreter") == 0};
    options_generator(s, "eval", &o->model.generator);
}

static int propose(job *j, int index, const own_student *student, const char *dir)
{
    int rc = RD_OK;
    const config_arm *arm = &j->cfg.arm[index];
    const rd_chat *chat = NULL;
    rd_taskset tasks = {0};
    rd_teacher *teacher = NULL;
    rd_teacher_opts to;
    int64_t hypotheses[CONFIG_MAX_TASKS];
    RD_TRY(job_chat(j, arm, &chat));
    RD_TRY(choose_tasks(j, arm, &tasks));
    teacher_options(j, arm, chat, student, &to);
    RD_TRY(rd_agree(&j->grid->world, rd_teacher_create(&to, j->prompts, NULL, &teacher)));
    for (int i = 0; i < CONFIG_MAX_TASKS; i++)
        hypotheses[i] = config_int(&arm->keys, "align.own.hypotheses");
    const rd_augment_opts o = {
        .hypotheses = hypotheses,
        .rule_temperature = config_real(&arm->keys, "align.own.temperature"),
        .follow_temperature = config_real(&arm->keys, "eval.follow_temperature"),
        .dir = dir,
        .config = j->cfg.resolved,
    };
    RD_TRY(rd_augment_run(j->grid, teacher, j->prompts, &tasks, &o, &j->arm[index].own.augment));
done:
    rd_teacher_free(&teacher);
    rd_taskset_free(&tasks);
    return rc;
}

/* ---------------------------------------------------------------- pairs */

/* How far apart the rules of a pair are.  Root only. */
static int read_gaps(const char *path, own_report *r)
{
    int rc = RD_OK;
    const rd_comm self = rd_comm_self();
    rd_store *s = NULL;
    int64_t n = 0;
    uint8_t *family = NULL;
    int32_t *chosen = NULL, *rejected = NULL;
    RD_TRY(rd_store_open(&self, path, "redistill.datasets", 1, &s));
    RD_TRY(rd_store_rows(s, "pair/family", &n));
    family = rd_new(uint8_t, n);
    chosen = rd_new(int32_t, n), rejected = rd_new(int32_t, n);
    RD_TRY(rd_store_read(s, "pair/family", RD_U8, 0, n, family));
    RD_TRY(rd_store_read(s, "pair/chosen_score", RD_I32, 0, n, chosen));
    RD_TRY(rd_store_read(s, "pair/rejected_score", RD_I32, 0, n, rejected));
    for (int64_t i = 0; i < n; i++) {
        const int64_t gap = (int64_t)chosen[i] - rejected[i];
        if (family[i] >= RD_FAMILIES || gap < 0)
            RD_FAIL(RD_EINPUT, "%s: pair %lld has family %d and a gap of %lld", path, (long long)i,
                    family[i], (long long)gap);
        r->gap[family[i]][gap < RD_HIST ? gap : RD_HIST - 1]++;
    }
done:
    rd_free(family), rd_free(chosen), rd_free(rejected);
    rd_store_close(&s);
    return rc;
}

static int make_pairs(job *j, int index, const char *dir)
{
    int rc = RD_OK;
    const config_arm *arm = &j->cfg.arm[index];
    const rd_comm *w = &j->grid->world;
    own_report *r = &j->arm[index].own;
    rd_filter_opts o;
    int64_t pairs = 0;
    char *path = own_path(j, arm, "datasets.h5");
    options_filter(j, &o);
    o.pairs_only = true;
    o.dir = dir;
    RD_TRY(rd_filter_run(j->grid, j->prompts, &o, &r->filter));
    memset(r->gap, 0, sizeof r->gap);
    RD_TRY(rd_agree(w, w->rank == 0 ? read_gaps(path, r) : RD_OK));
    rd_bcast(w, r->gap, sizeof r->gap, 0);
    for (int f = 0; f < RD_FAMILIES; f++) pairs += r->filter.pairs[f];
    if (pairs == 0)
        RD_FAIL(RD_EINPUT,
                "%s: align.pairs of arm '%s': of %lld rules of the student's own for %lld tasks no "
                "two of a task have scores further apart than filter.gap",
                j->cfg.path, arm->name, (long long)r->augment.hypotheses,
                (long long)r->augment.tasks);
done:
    rd_free(path);
    return rc;
}

static void own_info(const config_arm *arm, const own_report *r)
{
    rd_buf gaps = {0};
    for (int f = 0; f < RD_FAMILIES; f++) {
        if (r->augment.tasks_of[f] == 0) continue;
        report_gaps(r, (rd_family)f, &gaps);
        rd_info("pairs    %s: %-14s a full-score rule for %lld of %lld tasks; %lld pairs, by gap%s",
                arm->name, rd_family_name((rd_family)f), (long long)r->augment.solved[f],
                (long long)r->augment.tasks_of[f], (long long)r->filter.pairs[f],
                gaps.data ? gaps.data : " -");
        rd_buf_clear(&gaps);
    }
    rd_info("pairs    %s: %lld rules of its own, %lld repeated, %lld unreadable, scored by %s",
            arm->name, (long long)r->augment.hypotheses, (long long)r->filter.duplicates,
            (long long)r->filter.unanswered, config_text(&arm->keys, "align.own.score"));
    rd_buf_free(&gaps);
}

int own_run(job *j, int index, const own_student *student)
{
    int rc = RD_OK;
    const config_arm *arm = &j->cfg.arm[index];
    char *dir = own_path(j, arm, "");
    rd_clock_begin("own pairs");
    RD_TRY(job_tasks(j));
    RD_TRY(propose(j, index, student, dir));
    RD_TRY(make_pairs(j, index, dir));
    j->arm[index].have_own = true;
    own_info(arm, &j->arm[index].own);
done:
    rd_clock_end("own pairs");
    rd_free(dir);
    return rc;
}
