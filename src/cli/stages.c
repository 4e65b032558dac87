/* stages.c: the stages of a run, each continuing or finding itself done. */
#include "cli/job.h"

#include "cli/shared.h"
#include "cli/sweep.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- augment, filter */

/* What a teacher is asked, and by whom. */
typedef struct teaching {
    job *j;
    const rd_grid *grid; /* j's, or … */
    rd_grid *each;       /* … every rank by itself: teachers that need one rank take units each */
    tutor model;
    rd_teacher *teacher;
    rd_taskset tasks;
    rd_augment_opts o;
    rd_augment_report report;
} teaching;

static int teaching_open(job *j, rd_teacher_opts *to, teaching *a)
{
    int rc = RD_OK;
    const bool by_model = strcmp(to->kind, "model") == 0;
    a->j = j;
    if (by_model) {
        RD_TRY(tutor_open(j, &a->model));
        tutor_options(&a->model, &to->model);
    } else {
        RD_TRY(rd_grid_create(j->grid->world.size, 1, 1, &a->each));
    }
    a->grid = by_model ? j->grid : a->each;
    RD_TRY(rd_agree(&j->grid->world, options_key(&j->cfg.keys, to)));
    RD_TRY(rd_agree(&j->grid->world, rd_teacher_create(to, j->prompts, NULL, &a->teacher)));
done:
    return rc;
}

static void teaching_close(teaching *a)
{
    rd_grid_free(&a->each);
    rd_taskset_free(&a->tasks);
    rd_teacher_free(&a->teacher);
    tutor_close(&a->model);
}

static int augment_find(void *context, const char *dir, bool *found)
{
    teaching *a = context;
    a->o.dir = dir;
    return rd_augment_find(a->grid, a->teacher, a->j->prompts, &a->tasks, &a->o, found, &a->report);
}

static int augment_make(void *context, const char *dir)
{
    teaching *a = context;
    a->o.dir = dir;
    return rd_augment_run(a->grid, a->teacher, a->j->prompts, &a->tasks, &a->o, &a->report);
}

static int training_tasks(const job *j, rd_taskset *train)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < j->tasks.n; i++) {
        rd_task copy;
        if (j->tasks.task[i].split != RD_SPLIT_TRAIN) continue;
        RD_TRY(rd_task_copy(&j->tasks.task[i], &copy));
        if (!config_bool(&j->cfg.task[copy.source], "known_rule")) RD_FREE(copy.rule);
        rd_taskset_add_take(train, &copy);
    }
done:
    return rc;
}

static void augment_info(const rd_augment_report *r)
{
    for (int f = 0; f < RD_FAMILIES; f++)
        if (r->tasks_of[f] > 0)
            rd_info("augment  %-14s a full-score rule for %lld of %lld tasks (%.1f %%)",
                    rd_family_name((rd_family)f), (long long)r->solved[f],
                    (long long)r->tasks_of[f],
                    100.0 * (double)r->solved[f] / (double)r->tasks_of[f]);
    rd_info("augment  %lld tasks, %lld rules, %lld applications (%lld unanswered)",
            (long long)r->tasks, (long long)r->hypotheses, (long long)r->applications,
            (long long)r->unanswered);
}

int stage_augment(job *j)
{
    int rc = RD_OK;
    rd_teacher_opts to;
    teaching a = {0};
    RD_TRY(job_tasks(j));
    options_teacher(j, &to);
    options_augment(j, &a.o);
    RD_TRY(teaching_open(j, &to, &a));
    RD_TRY(training_tasks(j, &a.tasks));
    const shared_stage stage = {.file = "traces.h5",
                                .key = j->member ? j->member->shared.traces : 0,
                                .context = &a,
                                .find = augment_find,
                                .make = augment_make};
    RD_TRY(shared_run(j, &stage));
    j->augment = a.report;
    j->have_augment = true;
    augment_info(&j->augment);
done:
    teaching_close(&a);
    return rc;
}

static int filter_find(void *context, const char *dir, bool *found)
{
    job *j = context;
    rd_filter_opts o;
    options_filter(j, &o);
    o.dir = dir;
    return rd_filter_find(j->grid, j->prompts, &o, found, &j->filter);
}

static int filter_make(void *context, const char *dir)
{
    job *j = context;
    rd_filter_opts o;
    options_filter(j, &o);
    o.dir = dir;
    return rd_filter_run(j->grid, j->prompts, &o, &j->filter);
}

static void filter_info(const rd_filter_report *r)
{
    int64_t rows[RD_ROW_KINDS] = {0}, pairs = 0;
    for (int f = 0; f < RD_FAMILIES; f++) {
        for (int k = 0; k < RD_ROW_KINDS; k++) rows[k] += r->rows[k][f];
        pairs += r->pairs[f];
    }
    rd_info(
        "filter   %lld rule-generation, %lld rule-following, %lld input-output rows, %lld pairs",
        (long long)rows[RD_ROW_GENERATE], (long long)rows[RD_ROW_FOLLOW],
        (long long)rows[RD_ROW_IO], (long long)pairs);
    rd_info("filter   dropped: %lld duplicates, %lld identical pairs, %lld over-long, %lld below "
            "the score, %lld with a wrong answer; %lld not worked",
            (long long)r->duplicates, (long long)r->identical_pairs, (long long)r->over_long,
            (long long)r->low_score, (long long)r->wrong_answer, (long long)r->unparsed_worked);
    if (r->held_out > 0)
        rd_info("filter   dropped: %lld rules of operations that are held out",
                (long long)r->held_out);
    if (r->unanswered > 0)
        rd_info("filter   %lld rules and applications went unanswered", (long long)r->unanswered);
}

int stage_filter(job *j)
{
    int rc = RD_OK;
    const shared_stage stage = {.file = "datasets.h5",
                                .key = j->member ? j->member->shared.datasets : 0,
                                .reads_traces = true,
                                .context = j,
                                .find = filter_find,
                                .make = filter_make};
    RD_TRY(shared_run(j, &stage));
    j->have_filter = true;
    j->have_data_key = false;
    filter_info(&j->filter);
done:
    return rc;
}

/* ---------------------------------------------------------------- training */

static int model_create(job *j, const config_arm *arm, bool grads, rd_model **model)
{
    int rc = RD_OK;
    rd_model_config mc;
    RD_TRY(job_model(j, arm, &mc));
    RD_TRY(rd_model_create(j->grid, &mc, grads, model));
done:
    return rc;
}

/* The published model's weights, if it is still the one that the run began with. */
static int load_published(const job *j, const config_arm *arm, const char *path, rd_model *model)
{
    int rc = RD_OK;
    rd_pretrained *p = NULL;
    uint64_t identity = 0;
    const double begun = rd_time();
    rd_clock_begin("load");
    rc = rd_pretrained_open(path, &p);
    if (rc == RD_OK) rc = rd_pretrained_identity(p, &identity);
    RD_TRY(rd_agree(&j->grid->world, rc));
    if (identity != j->arm[arm - j->cfg.arm].base)
        rc = rd_error_set(RD_EINPUT, __FILE__, __LINE__, __func__,
                          "model.base: %s has changed since this run began", path);
    RD_TRY(rd_agree(&j->grid->world, rc));
    RD_TRY(rd_pretrained_load(p, model));
    rd_info("base     %s: %.1f million parameters from %s in %.1f s", arm->name,
            1e-6 * (double)rd_model_config_params(&model->cfg), path, rd_time() - begun);
done:
    rd_clock_end("load");
    rd_pretrained_close(&p);
    return rc;
}

/* What training begins with: the weights of model.base, or random ones. */
static int start_weights(const job *j, const config_arm *arm, rd_model *model)
{
    int rc = RD_OK;
    const char *base = config_text(&arm->keys, "model.base");
    char *path = config_prompt_path(&j->cfg, base);
    if (j->arm[arm - j->cfg.arm].published)
        RD_TRY(load_published(j, arm, path, model));
    else if (*base)
        RD_TRY(rd_checkpoint_load_base(j->grid, path, j->tok_key, model));
    else
        RD_TRY(rd_model_init(model, (uint64_t)config_int(&j->cfg.keys, "run.seed")));
done:
    rd_free(path);
    return rc;
}

/* Which weights model.base holds, read once. */
static int base_content(job *j, const config_arm *arm, uint64_t *content)
{
    int rc = RD_OK;
    int64_t i = arm - j->cfg.arm;
    const char *base = config_text(&arm->keys, "model.base");
    char *path = config_prompt_path(&j->cfg, base);
    if (*base && !j->arm[i].have_base)
        RD_TRY(rd_checkpoint_base_hash(j->grid, path, &j->arm[i].base));
    j->arm[i].have_base = true;
    *content = j->arm[i].base;
    if (j->arm[i].adapter_path)
        *content = rd_hash(content, sizeof *content, j->arm[i].adapter_content);
done:
    rd_free(path);
    return rc;
}

/* What a stage's weights depend on: the datasets, the tokenizer, the arm's own keys and the
 * arithmetic (nothing is added for float32, so that files from before there was another stay good).
 * Stage "untuned": what it is before any of them. */
static int train_key(job *j, const config_arm *arm, const char *stage, uint64_t parent,
                     uint64_t *key)
{
    int rc = RD_OK;
    const char *sft[] = {"model.", "sft.", "align.branch_at", NULL};
    const char *align[] = {"model.",       "sft.kinds",        "sft.families",
                           "sft.share",    "sft.family_share", "align.",
                           "!align.pairs", "!align.own.",      NULL};
    const char *untuned[] = {"model.", NULL};
    const char *const *prefixes = strcmp(stage, "sft") == 0     ? sft
                                  : strcmp(stage, "align") == 0 ? align
                                                                : untuned;
    int64_t data = 0;
    uint64_t base = 0;
    const rd_chat *chat = NULL;
    if (prefixes != untuned) RD_TRY(job_data_key(j, &data));
    RD_TRY(base_content(j, arm, &base));
    RD_TRY(job_chat(j, arm, &chat));
    uint64_t parts[] = {(uint64_t)data,
                        j->tok_key,
                        parent,
                        base,
                        rd_chat_hash(chat),
                        (uint64_t)config_int(&j->cfg.keys, "run.seed"),
                        config_hash(&arm->keys, prefixes)};
    *key = job_compute_key(j, rd_hash(parts, sizeof parts, rd_hash_str(stage, 1)));
done:
    return rc;
}

const config_arm *job_source_arm(const job *j, const config_arm *arm)
{
    for (int i = 0; arm->from && i < j->cfg.n_arms; i++)
        if (strcmp(j->cfg.arm[i].name, arm->from) == 0) return &j->cfg.arm[i];
    return arm;
}

static void train_info(const config_arm *arm, const char *stage, const rd_train_report *r)
{
    rd_info("%-8s %s: %s%lld steps, %lld tokens, loss %.4f -> %.4f%s", stage, arm->name,
            r->was_done ? "already done, " : "", (long long)r->steps, (long long)r->tokens,
            r->first_loss, r->last_loss, "");
    if (r->over_long + r->empty > 0)
        rd_warn("%s of arm %s: %lld rows were longer than max_len and %lld empty; skipped", stage,
                arm->name, (long long)r->over_long, (long long)r->empty);
}

/* A published base that stays as it is beside an adapter need not stand in checkpoints again. */
static const char *frozen_base(const job *j, const config_arm *arm, const rd_train_opts *o)
{
    return o->adapted ? j->arm[arm - j->cfg.arm].base_path : NULL;
}

int stage_sft(job *j, int index)
{
    int rc = RD_OK;
    const config_arm *arm = &j->cfg.arm[index];
    rd_model *model = NULL;
    const rd_chat *chat = NULL;
    rd_train_opts o;
    char *dir = job_arm_path(j, arm, ""), *datasets = job_path(j, "datasets.h5");
    RD_TRY(job_tokenizer(j));
    rd_clock_begin("sft");
    RD_TRY(options_train(j, arm, "sft", &o));
    o.dir = dir;
    RD_TRY(train_key(j, arm, "sft", 0, &o.key));
    RD_TRY(job_chat(j, arm, &chat));
    o.base = frozen_base(j, arm, &o);
    o.base_identity = j->arm[index].base;
    RD_TRY(model_create(j, arm, !o.adapted, &model));
    RD_TRY(start_weights(j, arm, model));
    if (j->arm[index].adapter_path) RD_TRY(rd_model_adapt_from(model, j->arm[index].adapter_path));
    j->arm[index].parameters = rd_model_config_params(&model->cfg);
    RD_TRY(rd_train_sft(j->grid, model, chat, datasets, &o, &j->arm[index].sft));
    j->arm[index].have_sft = true;
    train_info(arm, "sft", &j->arm[index].sft);
done:
    rd_clock_end("sft");
    rd_model_free(&model);
    rd_free(dir);
    rd_free(datasets);
    return rc;
}

static bool from_branch(const config_arm *arm)
{
    return strcmp(config_text(&arm->keys, "align.start"), "branch") == 0;
}

/* The keys of the SFT that an arm's alignment starts from, and of the alignment. */
static int align_keys(job *j, const config_arm *arm, uint64_t *parent, uint64_t *key)
{
    int rc = RD_OK;
    RD_TRY(train_key(j, job_source_arm(j, arm), "sft", 0, parent));
    RD_TRY(train_key(j, arm, "align", *parent + from_branch(arm), key));
    *key = own_key(arm, *key);
done:
    return rc;
}

/* A file that SFT of the arm `from`, or an alignment after it, ended with, as decoding needs it:
 * adapters merged. */
static int load_tuned(const job *j, const config_arm *from, const char *path, uint64_t key,
                      rd_model *model)
{
    int rc = RD_OK;
    rd_train_opts o = {0};
    o.adapted = job_adapter(j, from, &o.adapter);
    if (frozen_base(j, from, &o) != NULL) {
        RD_TRY(start_weights(j, from, model));
        RD_TRY(rd_checkpoint_load_adapter(j->grid, path, key, &o.adapter, model));
        RD_TRY(rd_agree(&j->grid->world, rd_model_merge(model, NULL, NULL)));
    } else {
        RD_TRY(rd_checkpoint_load_weights(j->grid, path, key, model));
    }
done:
    return rc;
}

/* The student that proposes rules for pairs: loaded once, if at all. */
typedef struct start_student {
    job *j;
    const config_arm *arm;
    const char *path;
    uint64_t key;
    rd_model *model;
} start_student;

static int load_start(void *context, const rd_model **model)
{
    int rc = RD_OK;
    start_student *s = context;
    if (!s->model) {
        RD_TRY(model_create(s->j, s->arm, false, &s->model));
        RD_TRY(load_tuned(s->j, job_source_arm(s->j, s->arm), s->path, s->key, s->model));
        RD_TRY(rd_model_pack(s->model));
    }
    *model = s->model;
done:
    return rc;
}

static int own_pairs(job *j, int index, const char *path, uint64_t parent)
{
    const config_arm *arm = &j->cfg.arm[index];
    start_student s = {.j = j, .arm = arm, .path = path, .key = parent};
    const own_student student = {load_start, &s, parent + from_branch(arm)};
    const int rc = own_run(j, index, &student);
    rd_model_free(&s.model);
    return rc;
}

/* With the pairs that align.pairs asks for: they are made first. */
static int align_pairs(job *j, int index, const char *start, uint64_t parent, rd_train_opts *o,
                       char **path)
{
    int rc = RD_OK;
    const config_arm *arm = &j->cfg.arm[index];
    const bool both = strcmp(config_text(&arm->keys, "align.pairs"), "both") == 0;
    if (!own_wanted(arm)) return RD_OK;
    RD_TRY(own_pairs(j, index, start, parent));
    o->more_pairs = *path = own_path(j, arm, "datasets.h5");
    o->more_share = both ? config_real(&arm->keys, "align.own.share") : 1;
done:
    return rc;
}

int stage_align(job *j, int index)
{
    int rc = RD_OK;
    const config_arm *arm = &j->cfg.arm[index], *from = job_source_arm(j, arm);
    rd_model *model = NULL;
    const rd_chat *chat = NULL;
    rd_train_opts o;
    uint64_t parent;
    char *dir = job_arm_path(j, arm, ""), *datasets = job_path(j, "datasets.h5"), *own = NULL;
    char *start = job_arm_path(
        j, from, from_branch(arm) ? "checkpoints/sft-branch.h5" : "checkpoints/sft-final.h5");
    RD_TRY(job_tokenizer(j));
    RD_TRY(options_train(j, arm, "align", &o));
    o.dir = dir;
    RD_TRY(align_keys(j, arm, &parent, &o.key));
    RD_TRY(align_pairs(j, index, start, parent, &o, &own));
    rd_clock_begin("align");
    RD_TRY(job_chat(j, arm, &chat));
    o.adapted = job_adapter(j, from, &o.adapter);
    o.base = frozen_base(j, from, &o);
    o.base_identity = j->arm[from - j->cfg.arm].base;
    RD_TRY(model_create(j, arm, !o.adapted, &model));
    if (o.adapted) {
        RD_TRY(start_weights(j, from, model));
        RD_TRY(rd_checkpoint_load_adapter(j->grid, start, parent, &o.adapter, model));
    } else {
        RD_TRY(rd_checkpoint_load_weights(j->grid, start, parent, model));
    }
    j->arm[index].parameters = rd_model_config_params(&model->cfg);
    RD_TRY(rd_train_orpo(j->grid, model, chat, datasets, &o, &j->arm[index].align));
    j->arm[index].have_align = true;
    train_info(arm, "align", &j->arm[index].align);
done:
    rd_clock_end("align");
    rd_model_free(&model);
    rd_free(dir);
    rd_free(datasets);
    rd_free(own);
    rd_free(start);
    return rc;
}

/* ---------------------------------------------------------------- evaluation */

/* The first entry whose test tasks are reported with those of this one. */
static int test_set(const job *j, int64_t source)
{
    const config_scope *s = &j->cfg.task[source];
    int i = 0;
    while (i < source &&
           (strcmp(config_text(&j->cfg.task[i], "family"), config_text(s, "family")) != 0 ||
            strcmp(j->set_name[i], j->set_name[source]) != 0))
        i++;
    return i;
}

/* The tasks that the arm is evaluated on: those of its families, of each test set at most
 * eval.problems, evenly spread.  evaluated [tasks]. */
static void choose_evaluated(const job *j, const config_arm *arm, bool *evaluated)
{
    int64_t limit = config_int(&arm->keys, "eval.problems");
    int64_t size[CONFIG_MAX_TASKS] = {0}, seen[CONFIG_MAX_TASKS] = {0};
    for (int64_t i = 0; i < j->tasks.n; i++) {
        const rd_task *t = &j->tasks.task[i];
        evaluated[i] = t->split == RD_SPLIT_TEST && config_bool(&j->cfg.task[t->source], "train") &&
                       config_list_has(&arm->keys, "eval.families", rd_family_name(t->family));
        size[test_set(j, t->source)] += evaluated[i];
    }
    for (int64_t i = 0; i < j->tasks.n && limit > 0; i++) {
        int set = test_set(j, j->tasks.task[i].source);
        if (!evaluated[i] || size[set] <= limit) continue;
        evaluated[i] = (seen[set] + 1) * limit / size[set] > seen[set] * limit / size[set];
        seen[set]++;
    }
}

static int eval_tasks(const job *j, const config_arm *arm, rd_taskset *test)
{
    int rc = RD_OK;
    bool *evaluated = rd_new(bool, j->tasks.n);
    choose_evaluated(j, arm, evaluated);
    test->set_name = j->tasks.set_name;
    for (int64_t i = 0; i < j->tasks.n; i++) {
        rd_task copy;
        if (!evaluated[i]) continue;
        RD_TRY(rd_task_copy(&j->tasks.task[i], &copy));
        rd_taskset_add_take(test, &copy);
    }
done:
    rd_free(evaluated);
    return rc;
}

/* Rules for the control "N random training rules": of each training task the first rule with a full
 * score, at most MAX_RULES per family, evenly spread.  Root only; text holds them for all. */
enum { MAX_RULES = 4000 };

typedef struct rule_columns {
    int64_t n, n_tasks;
    int64_t *task, *rule;
    int32_t *score, *demos;
    uint8_t *family;
} rule_columns;

static int read_rule_columns(rd_store *s, rule_columns *c)
{
    int rc = RD_OK;
    RD_TRY(rd_store_rows(s, "hypothesis/task", &c->n));
    RD_TRY(rd_store_rows(s, "task/family", &c->n_tasks));
    c->task = rd_new(int64_t, c->n), c->rule = rd_new(int64_t, c->n);
    c->score = rd_new(int32_t, c->n);
    c->demos = rd_new(int32_t, c->n_tasks), c->family = rd_new(uint8_t, c->n_tasks);
    RD_TRY(rd_store_read(s, "hypothesis/task", RD_I64, 0, c->n, c->task));
    RD_TRY(rd_store_read(s, "hypothesis/rule", RD_I64, 0, c->n, c->rule));
    RD_TRY(rd_store_read(s, "hypothesis/score", RD_I32, 0, c->n, c->score));
    RD_TRY(rd_store_read(s, "task/demos", RD_I32, 0, c->n_tasks, c->demos));
    RD_TRY(rd_store_read(s, "task/family", RD_U8, 0, c->n_tasks, c->family));
done:
    return rc;
}

static int root_random_rules(const char *traces, rd_buf *out)
{
    int rc = RD_OK;
    rd_comm self = rd_comm_self();
    rd_store *s = NULL;
    rule_columns c = {0};
    rd_pool pool = {0};
    int64_t right[RD_FAMILIES] = {0}, seen[RD_FAMILIES] = {0}, last = -1, n_text = 0;
    RD_TRY(rd_store_open(&self, traces, "redistill.traces", 1, &s));
    RD_TRY(read_rule_columns(s, &c));
    RD_TRY(rd_store_text_count(s, &n_text));
    RD_TRY(rd_store_read_text(s, 0, n_text, &pool));
    for (int pass = 0; pass < 2; pass++, last = -1)
        for (int64_t i = 0; i < c.n; i++) {
            int64_t t = c.task[i];
            if (t < 0 || t >= c.n_tasks)
                RD_FAIL(RD_EINPUT, "%s: hypothesis %lld belongs to no task", traces, (long long)i);
            if (t == last || c.score[i] < c.demos[t] || c.family[t] >= RD_FAMILIES) continue;
            last = t;
            int f = c.family[t];
            if (pass == 0) {
                right[f]++;
            } else if (seen[f]++ % ((right[f] + MAX_RULES - 1) / MAX_RULES) == 0) {
                rd_put_i64(out, f);
                rd_put_str(out, rd_pool_get(&pool, c.rule[i], NULL));
            }
        }
done:
    rd_free(c.task), rd_free(c.rule), rd_free(c.score), rd_free(c.demos), rd_free(c.family);
    rd_pool_free(&pool);
    rd_store_close(&s);
    return rc;
}

typedef struct random_rules {
    char **rule[RD_FAMILIES];
    int64_t n[RD_FAMILIES];
} random_rules;

static int load_random_rules(const job *j, random_rules *r)
{
    int rc = RD_OK;
    rd_buf text = {0};
    char *traces = job_path(j, "traces.h5");
    if (j->grid->world.rank == 0) rc = root_random_rules(traces, &text);
    RD_TRY(rd_agree(&j->grid->world, rc));
    rd_bcast_buf(&j->grid->world, &text, 0);
    rd_cursor c = {text.data, text.len, 0};
    while (c.pos < c.len) {
        int64_t f;
        RD_TRY(rd_get_i64(&c, &f));
        rd_resize(r->rule[f], r->n[f] + 1);
        RD_TRY(rd_get_str(&c, &r->rule[f][r->n[f]]));
        r->n[f]++;
    }
done:
    rd_buf_free(&text);
    rd_free(traces);
    return rc;
}

static void free_random_rules(random_rules *r)
{
    for (int f = 0; f < RD_FAMILIES; f++) {
        for (int64_t i = 0; i < r->n[f]; i++) rd_free(r->rule[f][i]);
        rd_free(r->rule[f]);
    }
}

/* The newest weights of an arm: of its alignment, else of its SFT. */
char *job_arm_weights(const job *j, const config_arm *arm)
{
    bool align = config_list_has(&arm->keys, "stages", "align");
    return job_arm_path(j, align ? arm : job_source_arm(j, arm),
                        align ? "checkpoints/align-final.h5" : "checkpoints/sft-final.h5");
}

static int weights_key(job *j, const config_arm *arm, uint64_t *key)
{
    int rc = RD_OK;
    uint64_t parent, aligned;
    if (job_is_untuned(arm)) return train_key(j, arm, "untuned", 0, key);
    RD_TRY(align_keys(j, arm, &parent, &aligned));
    *key = config_list_has(&arm->keys, "stages", "align") ? aligned : parent;
done:
    return rc;
}

/* An arm's weights as evaluation needs them: trained, or those that training would begin with. */
static int final_weights(const job *j, const config_arm *arm, uint64_t key, rd_model *model)
{
    int rc = RD_OK;
    char *path = job_arm_weights(j, arm);
    if (job_is_untuned(arm)) {
        int64_t trained = j->grid->world.rank == 0 && rd_file_exists(path);
        rd_bcast(&j->grid->world, &trained, sizeof trained, 0);
        if (trained)
            RD_FAIL(RD_EINPUT,
                    "stages of arm '%s' hold no sft, so that its base would be evaluated, but %s "
                    "is there: evaluate it with `redistill eval` and sft among the stages, or name "
                    "the arm otherwise",
                    arm->name, path);
        const char *given = j->arm[arm - j->cfg.arm].adapter_path;
        RD_TRY(start_weights(j, arm, model));
        if (given) RD_TRY(rd_model_adapt_from(model, given));
        if (given) RD_TRY(rd_agree(&j->grid->world, rd_model_merge(model, NULL, NULL)));
        goto done;
    }
    RD_TRY(load_tuned(j, job_source_arm(j, arm), path, key, model));
done:
    rd_free(path);
    return rc;
}

int stage_eval(job *j, int index)
{
    int rc = RD_OK;
    const config_arm *arm = &j->cfg.arm[index];
    rd_model *model = NULL;
    const rd_chat *chat = NULL;
    rd_eval_opts o;
    rd_taskset test = {0};
    random_rules rules = {0};
    uint64_t key;
    char *dir = job_arm_path(j, arm, "");
    RD_TRY(job_tasks(j));
    RD_TRY(job_tokenizer(j));
    rd_clock_begin("eval");
    options_eval(j, arm, &o);
    o.dir = dir;
    if (o.methods & RD_METHOD_RANDOM_RULES) RD_TRY(load_random_rules(j, &rules));
    for (int f = 0; f < RD_FAMILIES; f++) {
        o.random_rules[f] = (const char *const *)rules.rule[f];
        o.n_random_rules[f] = rules.n[f];
    }
    RD_TRY(eval_tasks(j, arm, &test));
    RD_TRY(model_create(j, arm, false, &model));
    RD_TRY(weights_key(j, arm, &key));
    RD_TRY(job_chat(j, arm, &chat));
    RD_TRY(final_weights(j, arm, key, model));
    if (job_is_untuned(arm)) j->arm[index].parameters = rd_model_config_params(&model->cfg);
    RD_TRY(rd_model_pack(model));
    RD_TRY(rd_eval_run(j->grid, model, chat, j->prompts, &test, key, &o, &j->results));
done:
    rd_clock_end("eval");
    rd_model_free(&model);
    rd_taskset_free(&test);
    free_random_rules(&rules);
    rd_free(dir);
    return rc;
}

/* Loaded tasks have no class yet; the leakage report compares test with training tasks. */
static int classify_for_leakage(job *j)
{
    int rc = RD_OK;
    bool test = false, missing = false;
    for (int64_t i = 0; i < j->tasks.n; i++) {
        test |= j->tasks.task[i].split == RD_SPLIT_TEST;
        missing |= j->tasks.task[i].rule_class == NULL;
    }
    rd_clock_begin("leakage");
    if (test && missing) RD_TRY(job_classify(j, &j->tasks));
done:
    rd_clock_end("leakage");
    return rc;
}

/* The problems that some arm is asked; false: no arm asks anything.  asked [tasks]. */
static bool asked_by_arms(const job *j, bool *asked)
{
    bool any = false, *by_arm = rd_new(bool, j->tasks.n);
    for (int a = 0; a < j->cfg.n_arms; a++) {
        if (!config_list_has(&j->cfg.arm[a].keys, "stages", "eval")) continue;
        any = true;
        choose_evaluated(j, &j->cfg.arm[a], by_arm);
        for (int64_t i = 0; i < j->tasks.n; i++) asked[i] |= by_arm[i];
    }
    rd_free(by_arm);
    return any;
}

/* The teacher's test tasks, without the rules that the generator knows. */
static int teacher_tasks(const job *j, const config_arm *run, rd_taskset *set)
{
    int rc = RD_OK;
    bool *asked = rd_new(bool, j->tasks.n);
    if (!asked_by_arms(j, asked)) choose_evaluated(j, run, asked);
    set->set_name = j->tasks.set_name;
    for (int64_t i = 0; i < j->tasks.n; i++) {
        rd_task copy;
        if (!asked[i]) continue;
        RD_TRY(rd_task_copy(&j->tasks.task[i], &copy));
        RD_FREE(copy.rule);
        rd_taskset_add_take(set, &copy);
    }
done:
    rd_free(asked);
    return rc;
}

/* Its options: it looks for rules itself, by random numbers that augment has not used.  record (to
 * be freed): of a run whose teacher was asked this, that part of it. */
static void teacher_options(const job *j, rd_teacher_opts *to, char **record)
{
    int64_t apart = 0;
    rd_buf dir = {0}, file = {0};
    options_teacher(j, to);
    to->use_known_rule = false;
    to->seed = rd_hash(&to->seed, sizeof to->seed, rd_hash_str("eval.teacher", 0)) >> 1;
    rd_buf_printf(&dir, "%s/teacher", j->teacher_path);
    rd_buf_printf(&file, "%s/traces.h5", dir.data);
    if (strcmp(to->kind, "replay") == 0) apart = rd_file_exists(file.data);
    rd_bcast(&j->grid->world, &apart, sizeof apart, 0);
    *record = apart ? rd_buf_take(&dir) : NULL;
    if (apart) to->replay.path = *record;
    rd_buf_free(&dir);
    rd_buf_free(&file);
}

/* What it is asked is what a student's search asks. */
static void teacher_questions(const job *j, const rd_eval_opts *e, bool replay, int64_t *rules,
                              rd_augment_opts *o)
{
    options_augment(j, o);
    for (int i = 0; i < j->cfg.n_tasks; i++) rules[i] = e->counts[e->n_counts - 1];
    o->hypotheses = rules;
    o->rule_temperature = e->rule_temperature;
    o->follow_temperature = e->follow_temperature;
    o->first_greedy = e->first_greedy && !replay; /* a record has its draws in their order */
    o->queries = o->own_accuracy = true;
    /* Money and calls are counted with those of augment, where the folder is this run's alone. */
    o->calls = j->member && !j->member->alone ? NULL : j->dir;
}

int stage_eval_teacher(job *j)
{
    int rc = RD_OK;
    int64_t rules[CONFIG_MAX_TASKS];
    char *record = NULL, *dir = job_path(j, "teacher");
    const config_arm run = {.name = "teacher", .keys = j->cfg.keys};
    rd_teacher_opts to;
    rd_eval_opts o;
    teaching a = {0};
    RD_TRY(job_tasks(j));
    rd_clock_begin("eval");
    options_eval(j, &run, &o);
    teacher_options(j, &to, &record);
    teacher_questions(j, &o, strcmp(to.kind, "replay") == 0, rules, &a.o);
    RD_TRY(teaching_open(j, &to, &a));
    RD_TRY(teacher_tasks(j, &run, &a.tasks));
    const shared_stage stage = {.file = "traces.h5",
                                .folder = "teacher",
                                .key = j->member ? j->member->shared.teacher : 0,
                                .context = &a,
                                .find = augment_find,
                                .make = augment_make};
    RD_TRY(shared_run(j, &stage));
    o.dir = dir;
    RD_TRY(rd_eval_traces(j->grid, j->prompts, &a.tasks, &o, &j->results));
done:
    rd_clock_end("eval");
    teaching_close(&a);
    rd_free(record);
    rd_free(dir);
    return rc;
}

/* What the trivial baselines are fitted on and answer: the problems that the arms were asked. */
static int baseline_tasks(const job *j, rd_taskset *set)
{
    int rc = RD_OK;
    bool *asked = rd_new(bool, j->tasks.n);
    const bool none = !asked_by_arms(j, asked);
    set->set_name = j->tasks.set_name;
    for (int64_t i = 0; i < j->tasks.n; i++) {
        rd_task copy;
        const rd_task *t = &j->tasks.task[i];
        if (!config_bool(&j->cfg.task[t->source], "train")) continue;
        if (t->split == RD_SPLIT_TEST && !asked[i] && !none) continue;
        RD_TRY(rd_task_copy(t, &copy));
        rd_taskset_add_take(set, &copy);
    }
done:
    rd_free(asked);
    return rc;
}

int stage_report(job *j)
{
    int rc = RD_OK;
    rd_taskset set = {0};
    RD_TRY(job_tasks(j));
    RD_TRY(classify_for_leakage(j));
    RD_TRY(baseline_tasks(j, &set));
    RD_TRY(rd_eval_baselines(&set, &j->results));
    RD_TRY(report_write(j));
done:
    rd_taskset_free(&set);
    return rc;
}
