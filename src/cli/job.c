/* job.c: setting a run up: config, grid, header, tasks, tokenizer, manifest. */
#include "cli/job.h"

#include "cli/sweep.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

char *job_path(const job *j, const char *file)
{
    rd_buf b = {0};
    rd_buf_printf(&b, "%s/%s", j->dir, file);
    return rd_buf_take(&b);
}

char *job_arm_path(const job *j, const config_arm *arm, const char *file)
{
    rd_buf b = {0};
    rd_buf_printf(&b, "%s/arms/%s%s%s", j->dir, arm->name, *file ? "/" : "", file);
    return rd_buf_take(&b);
}

static void header(const job *j)
{
    const rd_grid *g = j->grid;
    rd_info("%s, %s", build_version(), rd_la_describe());
    if (j->validate) return;
    rd_info("run %s in %s: %d rank%s x %lld thread%s, grid data %d x rows %d x cols %d, seed %lld",
            config_text(&j->cfg.keys, "run.name"), j->dir, g->world.size,
            g->world.size == 1 ? "" : "s", (long long)config_int(&j->cfg.keys, "grid.threads"),
            config_int(&j->cfg.keys, "grid.threads") == 1 ? "" : "s", g->data, g->rows, g->cols,
            (long long)config_int(&j->cfg.keys, "run.seed"));
    rd_info("products: %s, own kernel", rd_la_kernels(g));
}

static int make_dirs(const job *j)
{
    int rc = RD_OK;
    char *path = NULL;
    RD_TRY(rd_dir_make(j->dir));
    for (int i = 0; i < j->cfg.n_arms; i++) {
        path = job_arm_path(j, &j->cfg.arm[i], "checkpoints");
        RD_TRY(rd_dir_make(path));
        RD_FREE(path);
    }
done:
    rd_free(path);
    return rc;
}

bool job_is_untuned(const config_arm *arm)
{
    const config_scope *s = &arm->keys;
    return arm->from == NULL && !config_list_has(s, "stages", "sft") &&
           !config_list_has(s, "stages", "align") && config_list_has(s, "stages", "eval");
}

/* What a published base is: its shape and which weights they are.  Root only. */
static int read_published(const char *path, rd_model_config *shape, uint64_t *identity)
{
    int rc = RD_OK;
    rd_pretrained *p = NULL;
    RD_TRY(rd_pretrained_open(path, &p));
    *shape = *rd_pretrained_config(p);
    RD_TRY(rd_pretrained_identity(p, identity));
done:
    rd_pretrained_close(&p);
    return rc;
}

/* Root only. */
static int read_adapter(const char *dir, rd_adapter_opts *o, uint64_t *content)
{
    int rc = RD_OK;
    rd_weights *w = NULL;
    rd_buf path = {0};
    RD_TRY(rd_adapter_read_opts(dir, o));
    rd_buf_printf(&path, "%s/adapter_model.safetensors", dir);
    RD_TRY(rd_weights_open(path.data, &w));
    RD_TRY(rd_weights_identity(w, 2, content));
done:
    rd_weights_close(&w);
    rd_buf_free(&path);
    return rc;
}

/* Adapters that arms are given.  Collective on world. */
static int find_adapters(job *j)
{
    int rc = RD_OK;
    rd_comm world = rd_comm_world();
    for (int i = 0; i < j->cfg.n_arms; i++) {
        const char *given = config_text(&j->cfg.arm[i].keys, "sft.adapter.path");
        struct {
            rd_adapter_opts o;
            uint64_t content;
        } found = {0};
        if (!*given) continue;
        j->arm[i].adapter_path = config_prompt_path(&j->cfg, given);
        if (world.rank == 0) rc = read_adapter(j->arm[i].adapter_path, &found.o, &found.content);
        RD_TRY(rd_agree(&world, rc));
        rd_bcast(&world, &found, sizeof found, 0);
        j->arm[i].adapter = found.o;
        j->arm[i].adapter_content = found.content;
    }
done:
    return rc;
}

bool job_adapter(const job *j, const config_arm *arm, rd_adapter_opts *o)
{
    const int64_t i = arm - j->cfg.arm;
    if (j->arm[i].adapter_path == NULL) return options_adapter(&arm->keys, o);
    *o = j->arm[i].adapter;
    return true;
}

/* Of all arms, before anything is computed.  Collective on world. */
static int find_published(job *j)
{
    int rc = RD_OK;
    rd_comm world = rd_comm_world();
    char *path = NULL;
    for (int i = 0; i < j->cfg.n_arms; i++) {
        const char *base = config_text(&j->cfg.arm[i].keys, "model.base");
        struct {
            int64_t published;
            uint64_t identity;
            rd_model_config shape;
        } found = {0};
        if (!*base) continue;
        path = config_prompt_path(&j->cfg, base);
        if (world.rank == 0 && rd_pretrained_is(path)) {
            found.published = 1;
            rc = read_published(path, &found.shape, &found.identity);
        }
        RD_TRY(rd_agree(&world, rc));
        rd_bcast(&world, &found, sizeof found, 0);
        j->arm[i].published = j->arm[i].have_base = found.published != 0;
        j->arm[i].shape = found.shape;
        j->arm[i].base = found.identity;
        if (found.published) j->arm[i].base_path = rd_strdup(path);
        RD_FREE(path);
    }
done:
    rd_free(path);
    return rc;
}

uint64_t job_compute_key(const job *j, uint64_t key)
{
    return j->grid->bf16 ? rd_hash(&key, sizeof key, rd_hash_str("bf16", 0)) : key;
}

uint64_t job_tokenizer_key(const rd_tok *tok)
{
    rd_buf json = {0};
    rd_tok_to_json(tok, &json);
    uint64_t key = rd_hash(json.data, json.len, 0);
    rd_buf_free(&json);
    return key;
}

/* The tokenizer of model.tokenizer.path, else that of the published bases, which must all have the
 * same one, because the arms share the datasets.  Root only. */
static int read_tokenizer(job *j, rd_buf *path)
{
    int rc = RD_OK, first = -1;
    rd_tok *tok = NULL;
    uint64_t key = 0;
    char *one = NULL;
    const char *given = config_text(&j->cfg.keys, "model.tokenizer.path");
    for (int i = *given ? -1 : 0; i < (*given ? 0 : j->cfg.n_arms); i++) {
        if (i >= 0 && !j->arm[i].published) continue;
        const char *from = i < 0 ? given : config_text(&j->cfg.arm[i].keys, "model.base");
        rd_free(one);
        one = config_prompt_path(&j->cfg, from);
        if (path->len > 0 && strcmp(path->data, one) == 0) continue;
        RD_TRY(rd_tok_open(one, &tok));
        if (path->len == 0) {
            first = i;
            key = job_tokenizer_key(tok);
            j->tok_vocab = rd_tok_vocab(tok);
            rd_buf_puts(path, one);
        } else if (job_tokenizer_key(tok) != key) {
            RD_FAIL(RD_EINPUT,
                    "%s: model.base of arms '%s' and '%s': their tokenizers differ, and the arms "
                    "of one run share it",
                    j->cfg.path, j->cfg.arm[first].name, j->cfg.arm[i].name);
        }
        rd_tok_free(&tok);
    }
done:
    rd_tok_free(&tok);
    rd_free(one);
    return rc;
}

static int find_tokenizer(job *j)
{
    int rc = RD_OK;
    rd_comm world = rd_comm_world();
    rd_buf path = {0};
    RD_TRY(rd_agree(&world, world.rank == 0 ? read_tokenizer(j, &path) : RD_OK));
    rd_bcast_buf(&world, &path, 0);
    rd_bcast(&world, &j->tok_vocab, sizeof j->tok_vocab, 0);
    if (path.len > 0) j->tok_path = rd_buf_take(&path);
done:
    rd_buf_free(&path);
    return rc;
}

int job_model(const job *j, const config_arm *arm, rd_model_config *c)
{
    int rc = RD_OK;
    int64_t i = arm - j->cfg.arm;
    int64_t vocab = config_int(&arm->keys, "model.tokenizer.train_vocab");
    if (j->tok_path) vocab = j->tok_vocab;
    if (j->tok) vocab = rd_tok_vocab(j->tok);
    if (!j->arm[i].published) return options_model(&arm->keys, vocab, c);
    *c = j->arm[i].shape;
    if (vocab > c->vocab)
        RD_FAIL(RD_EINPUT, "base: the tokenizer has %lld tokens, the model of arm '%s' has %lld",
                (long long)vocab, arm->name, (long long)c->vocab);
done:
    return rc;
}

/* A model that cannot be made is said at once, not after hours of augmenting. */
static int check_models(const job *j)
{
    int rc = RD_OK;
    const config *c = &j->cfg;
    for (int i = 0; i < c->n_arms; i++) {
        rd_model_config mc;
        rd_adapter_opts adapter;
        const char *section = j->arm[i].published ? "model" : "model.init";
        rc = job_model(j, &c->arm[i], &mc);
        if (rc == RD_OK && job_adapter(j, &c->arm[i], &adapter)) {
            section = "sft.adapter";
            rc = rd_adapter_check(&mc, &adapter);
        }
        if (rc == RD_OK) continue;
        rd_error why = *rd_error_get();
        rd_error_clear();
        RD_FAIL(why.code, "%s: %s.%s", c->path, section, why.message);
    }
done:
    return rc;
}

/* The official wording is read as that code reads; worked answers have no place there. */
static int check_prompts(const job *j)
{
    int rc = RD_OK;
    const bool official = rd_prompts_official(j->prompts);
    if (config_is_official(&j->cfg) && !official)
        RD_FAIL(RD_EINPUT,
                "%s: prompts: compat \"official\" needs the official repository's "
                "config/prompts.json",
                j->cfg.path);
    if (official && config_bool(&j->cfg.keys, "filter.worked"))
        RD_FAIL(RD_EINPUT, "%s: filter.worked: the official prompts have no intermediate results",
                j->cfg.path);
done:
    return rc;
}

/* In results "teacher" is the run's teacher (eval.teacher). */
static int check_arms(const job *j)
{
    int rc = RD_OK;
    for (int i = 0; i < j->cfg.n_arms; i++)
        if (config_bool(&j->cfg.keys, "eval.teacher") && strcmp(j->cfg.arm[i].name, "teacher") == 0)
            RD_FAIL(RD_EINPUT, "%s: arms.teacher: with eval.teacher this is the teacher's own name",
                    j->cfg.path);
done:
    return rc;
}

/* So is a teacher: all but the key, which need not be there when a config is only validated.  A
 * record is read by whoever needs it: the stages behind augment do not. */
static int check_teacher(const job *j)
{
    int rc = RD_OK;
    rd_teacher_opts o;
    rd_teacher *t = NULL;
    tutor model = {0};
    options_teacher(j, &o);
    const bool from_files = strcmp(o.kind, "replay") == 0 || strcmp(o.kind, "model") == 0;
    if (from_files && !j->validate) return RD_OK;
    if (strcmp(o.kind, "model") == 0) {
        rc = tutor_open(j, &model);
        tutor_options(&model, &o.model);
        if (rc != RD_OK) goto done;
    }
    RD_TRY(rd_teacher_create(&o, j->prompts, NULL, &t));
done:
    rd_teacher_free(&t);
    tutor_close(&model);
    return rc;
}

static bool same_text(const config_scope *a, const config_scope *b, const char *key)
{
    return strcmp(config_text(a, key), config_text(b, key)) == 0;
}

/* Does the config lead to the files that the job j->like has read, to be read in the same way? */
static bool same_files(const job *j)
{
    static const char *const texts[] = {"model.base", "sft.adapter.path", "model.chat",
                                        "model.system"};
    static const char *const front[] = {"teacher.", "prompts",  "compat",
                                        "compute",  "data.dir", NULL};
    const job *like = j->like;
    if (!like || strcmp(like->cfg.path, j->cfg.path) != 0 || like->cfg.n_arms != j->cfg.n_arms ||
        !same_text(&like->cfg.keys, &j->cfg.keys, "model.tokenizer.path") ||
        config_hash(&like->cfg.keys, front) != config_hash(&j->cfg.keys, front))
        return false;
    for (int i = 0; i < j->cfg.n_arms; i++)
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
            if (!same_text(&like->cfg.arm[i].keys, &j->cfg.arm[i].keys, texts[k])) return false;
    return true;
}

static void take_files(job *j)
{
    const job *like = j->like;
    for (int i = 0; i < j->cfg.n_arms; i++) {
        j->arm[i].published = like->arm[i].published;
        j->arm[i].shape = like->arm[i].shape;
        j->arm[i].have_base = like->arm[i].have_base;
        j->arm[i].base = like->arm[i].base;
        j->arm[i].base_path = rd_strdup(like->arm[i].base_path);
        j->arm[i].adapter = like->arm[i].adapter;
        j->arm[i].adapter_content = like->arm[i].adapter_content;
        j->arm[i].adapter_path = rd_strdup(like->arm[i].adapter_path);
    }
    j->tok_path = rd_strdup(like->tok_path);
    j->tok_vocab = like->tok_vocab;
}

/* Models, adapters, tokenizers, chat templates.  Collective on world. */
static int find_files(job *j)
{
    int rc = RD_OK;
    RD_TRY(find_published(j));
    RD_TRY(find_adapters(j));
    RD_TRY(find_tokenizer(j));
    RD_TRY(check_models(j));
    RD_TRY(chats_check(j));
done:
    return rc;
}

enum { MAX_PLANNED = 1 << 22 };

/* How many ranks a run would have: the job's; of a plan, those asked for, or what the grid needs
 * when nobody started the program as a job. */
static int64_t count_ranks(const job *j, int64_t data, int64_t replica)
{
    int64_t size = rd_comm_world().size;
    if (j->ranks > 0) return j->ranks;
    return j->validate && size == 1 ? (data > 0 ? data : 1) * replica : size;
}

/* The grid as configured, or what about it does not fit the ranks. */
static int make_grid(job *j)
{
    int rc = RD_OK;
    const config_scope *s = &j->cfg.keys;
    int64_t data = config_int(s, "grid.data"), rows = config_int(s, "grid.rows"),
            cols = config_int(s, "grid.cols"), ranks = count_ranks(j, data, rows * cols);
    if (data == 0 && ranks % (rows * cols) != 0)
        RD_FAIL(RD_EINPUT,
                "%s: grid.rows, grid.cols: the job's %lld rank%s cannot be cut into replicas of "
                "%lld x %lld",
                j->cfg.path, (long long)ranks, ranks == 1 ? "" : "s", (long long)rows,
                (long long)cols);
    if (data > 0 && data * rows * cols != ranks)
        RD_FAIL(RD_EINPUT,
                "%s: grid.data, grid.rows, grid.cols: %lld x %lld x %lld needs %lld ranks, the job "
                "has %lld",
                j->cfg.path, (long long)data, (long long)rows, (long long)cols,
                (long long)(data * rows * cols), (long long)ranks);
    if (ranks > MAX_PLANNED)
        RD_FAIL(RD_EINPUT, "%s: grid: a plan is for at most %d ranks, not %lld", j->cfg.path,
                MAX_PLANNED, (long long)ranks);
    j->plan.data = rd_int(ranks / (rows * cols));
    j->plan.rows = (int)rows, j->plan.cols = (int)cols;
    if (j->validate)
        RD_TRY(rd_grid_create(0, 1, 1, &j->grid));
    else
        RD_TRY(rd_grid_create((int)data, (int)rows, (int)cols, &j->grid));
done:
    return rc;
}

int job_begin(job *j, const char *config_path, int n_sets, const char *const *sets)
{
    int rc = RD_OK;
    rd_comm world = rd_comm_world();
    j->started = rd_time();
    RD_TRY(rd_agree(&world, config_load(config_path, n_sets, sets, &j->cfg)));
    const config_scope *s = &j->cfg.keys;
    for (int f = 0; f < RD_FAMILIES; f++)
        RD_TRY(rd_agree(&world, config_held(&j->cfg, (rd_family)f, &j->held[f])));
    const bool known = same_files(j);
    if (known) take_files(j);
    RD_TRY(known ? check_models(j) : find_files(j));
    RD_TRY(make_grid(j));
    RD_TRY(rd_la_attach(j->grid, (int)config_int(s, "grid.threads")));
    if (!j->validate) RD_TRY(rd_la_use_kernels(&world, config_text(s, "kernels")));
    rd_la_use_bf16(j->grid, strcmp(config_text(s, "compute"), "bf16") == 0);
    rd_la_use_panels(j->grid, strcmp(config_text(s, "grid.products"), "panels") == 0);
    const char *prompts = config_text(s, "prompts");
    if (*prompts) {
        char *path = config_prompt_path(&j->cfg, prompts);
        rc = rd_prompts_load(path, &j->prompts);
        rd_free(path);
        RD_TRY(rd_agree(&world, rc));
    } else {
        rd_prompts_default(&j->prompts);
    }
    RD_TRY(check_prompts(j));
    RD_TRY(check_arms(j));
    const char *record = config_text(s, "teacher.path");
    j->teacher_path = *record ? config_prompt_path(&j->cfg, record) : rd_strdup("");
    if (!known) RD_TRY(rd_agree(&world, check_teacher(j)));
    rd_buf dir = {0};
    config_run_dir(&j->cfg, &dir);
    j->dir = rd_buf_take(&dir);
    header(j);
done:
    return rc;
}

int job_lock(job *j)
{
    int rc = RD_OK;
    const rd_comm *w = &j->grid->world;
    char *path = job_path(j, "LOCK");
    RD_TRY(rd_agree(w, w->rank == 0 ? rd_dir_make(j->dir) : RD_OK));
    RD_TRY(rd_lock_take(w, path, config_real(&j->cfg.keys, "run.wait"), &j->lock));
done:
    rd_free(path);
    return rc;
}

void job_end(job *j)
{
    rd_lock_release(&j->lock);
    rd_taskset_free(&j->tasks);
    for (int f = 0; f < RD_FAMILIES; f++) rd_held_free(&j->held[f]);
    rd_prompts_free(&j->prompts);
    for (int i = 0; i < CONFIG_MAX_ARMS; i++) rd_chat_free(&j->arm[i].chat);
    rd_tok_free(&j->tok);
    rd_results_free(&j->results);
    rd_free(j->dir);
    rd_free(j->teacher_path);
    rd_free(j->tok_path);
    for (int i = 0; i < CONFIG_MAX_ARMS; i++) {
        rd_free(j->arm[i].base_path);
        rd_free(j->arm[i].adapter_path);
    }
    config_free(&j->cfg);
    if (j->grid) rd_la_detach(j->grid);
    rd_grid_free(&j->grid);
}

/* ---------------------------------------------------------------- tasks */

/* Training tasks of a family with hold-outs keep clear of what any of its entries holds out. */
static void gen_options(const job *j, int source, rd_split split, rd_gen_opts *o)
{
    config_entry_options(&j->cfg, source, o);
    o->held = j->held[o->family];
    if (o->held && split == RD_SPLIT_TRAIN) o->holdout = config_rule_share(&j->cfg, o->family);
}

/* This rank's contiguous share of the entry's tasks, as records one after the other. */
static int generate_share(const job *j, int source, rd_buf *out)
{
    int rc = RD_OK;
    rd_gen_opts train, test;
    gen_options(j, source, RD_SPLIT_TRAIN, &train);
    gen_options(j, source, RD_SPLIT_TEST, &test);
    int64_t n = train.n_train + train.n_test, size = j->grid->world.size;
    int64_t rank = j->grid->world.rank;
    rd_task t = {0};
    for (int64_t i = n * rank / size; i < n * (rank + 1) / size; i++) {
        RD_TRY(rd_stop_poll("tasks"));
        if (i < train.n_train)
            RD_TRY(rd_task_generate(&train, RD_SPLIT_TRAIN, i, &t));
        else
            RD_TRY(rd_task_generate(&test, RD_SPLIT_TEST, i - train.n_train, &t));
        t.source = source;
        rd_task_put(out, &t);
        rd_task_free(&t);
    }
done:
    rd_task_free(&t);
    return rc;
}

static int generate_entry(job *j, int source)
{
    int rc = RD_OK;
    rd_buf mine = {0};
    char *all = NULL;
    int64_t *sizes = NULL, total = 0;
    RD_TRY(rd_agree(&j->grid->world, generate_share(j, source, &mine)));
    rd_allgather(&j->grid->world, mine.data, (int64_t)mine.len, &all, &sizes);
    for (int r = 0; r < j->grid->world.size; r++) total += sizes[r];
    rd_cursor c = {all, (size_t)total, 0};
    while (c.pos < c.len) {
        rd_task t;
        RD_TRY(rd_task_get(&c, &t));
        rd_taskset_add_take(&j->tasks, &t);
    }
done:
    rd_buf_free(&mine);
    rd_free(all);
    rd_free(sizes);
    return rc;
}

static bool same_examples(const rd_task *a, const rd_task *b)
{
    if (a->n_demos != b->n_demos || a->n_queries != b->n_queries) return false;
    for (int64_t i = 0; i < a->n_demos + a->n_queries; i++)
        if (strcmp(a->examples[i].input, b->examples[i].input) != 0 ||
            strcmp(a->examples[i].output, b->examples[i].output) != 0)
            return false;
    return true;
}

/* Classes of this rank's contiguous share, as strings one after the other. */
static int classify_share(const job *j, const rd_taskset *set, rd_buf *out)
{
    int rc = RD_OK;
    int64_t size = j->grid->world.size, rank = j->grid->world.rank;
    rd_taskset one = {0};
    for (int64_t i = set->n * rank / size; i < set->n * (rank + 1) / size; i++) {
        rd_task copy;
        RD_TRY(rd_stop_poll("rule classes"));
        RD_TRY(rd_task_copy(&set->task[i], &copy));
        rd_taskset_add_take(&one, &copy);
        RD_TRY(rd_task_classify(&one));
        rd_put_str(out, one.task[0].rule_class);
        rd_taskset_free(&one);
    }
done:
    rd_taskset_free(&one);
    return rc;
}

int job_classify(const job *j, rd_taskset *set)
{
    int rc = RD_OK;
    rd_buf mine = {0};
    char *all = NULL;
    int64_t *sizes = NULL, total = 0;
    RD_TRY(rd_agree(&j->grid->world, classify_share(j, set, &mine)));
    rd_allgather(&j->grid->world, mine.data, (int64_t)mine.len, &all, &sizes);
    for (int r = 0; r < j->grid->world.size; r++) total += sizes[r];
    rd_cursor c = {all, (size_t)total, 0};
    for (int64_t i = 0; i < set->n; i++) {
        RD_FREE(set->task[i].rule_class);
        RD_TRY(rd_get_str(&c, &set->task[i].rule_class));
    }
done:
    rd_buf_free(&mine);
    rd_free(all);
    rd_free(sizes);
    return rc;
}

/* Keep so many of the set's tasks, evenly spread; 0: all. */
static void thin(rd_taskset *set, int64_t limit)
{
    int64_t kept = 0;
    if (limit == 0 || limit >= set->n) return;
    for (int64_t i = 0; i < set->n; i++) {
        if ((i + 1) * limit / set->n > i * limit / set->n)
            set->task[kept++] = set->task[i];
        else
            rd_task_free(&set->task[i]);
    }
    set->n = kept;
}

/* A file's tasks in the order and with the split of the official code.  Its test file is not
 * needed; one that is given must hold those tasks. */
static int official_entry(job *j, int source, rd_taskset *set, const rd_taskset *test)
{
    int rc = RD_OK;
    const int64_t train = (int64_t)(0.9 * (double)set->n);
    int64_t *order = rd_new(int64_t, set->n);
    rd_task_official_order(set->n, order);
    for (int64_t i = 0; i < set->n; i++) {
        rd_task *t = &set->task[order[i]];
        if (test->n > 0 && i >= train &&
            (i - train >= test->n || !same_examples(t, &test->task[i - train])))
            RD_FAIL(RD_EINPUT,
                    "%s: tasks[%d].test_file: its task %lld is not that of the official split",
                    j->cfg.path, source, (long long)(i - train));
        t->source = source;
        t->split = i < train ? RD_SPLIT_TRAIN : RD_SPLIT_TEST;
        rd_taskset_add_take(&j->tasks, t);
    }
done:
    rd_free(order);
    return rc;
}

/* A file's tasks: those that also stand in the test file, or whose rule class is held out, go to
 * the test split; then those that only the test file has, or that `limit` has left out. */
static int load_entry(job *j, int source)
{
    int rc = RD_OK;
    const config_scope *s = &j->cfg.task[source];
    rd_taskset set = {0}, test = {0};
    rd_family f;
    bool *met = NULL;
    char *path = config_data_path(&j->cfg, config_text(s, "file"));
    char *test_path = config_data_path(&j->cfg, config_text(s, "test_file"));
    bool has_test = *config_text(s, "test_file") != 0;
    RD_TRY(rd_family_parse(config_text(s, "family"), &f));
    RD_TRY(rd_agree(&j->grid->world, rd_task_load(path, f, &set)));
    if (has_test) RD_TRY(rd_agree(&j->grid->world, rd_task_load(test_path, f, &test)));
    if (config_is_official(&j->cfg)) {
        if (config_int(s, "limit") > 0)
            RD_FAIL(RD_EINPUT, "%s: tasks[%d].limit: the official split is of a whole file",
                    j->cfg.path, source);
        rc = official_entry(j, source, &set, &test);
        goto done;
    }
    thin(&set, config_int(s, "limit"));
    bool by_class = !has_test && strcmp(config_text(s, "holdout"), "rule") == 0;
    if (by_class) RD_TRY(job_classify(j, &set));
    met = rd_new(bool, test.n);
    for (int64_t i = 0; i < set.n; i++) {
        rd_task *t = &set.task[i];
        t->source = source;
        for (int64_t k = 0; k < test.n; k++)
            if (same_examples(t, &test.task[k])) {
                t->split = RD_SPLIT_TEST;
                met[k] = true;
            }
        if (by_class && t->rule_class)
            t->split = rd_task_class_split((uint64_t)config_int(&j->cfg.keys, "run.seed"),
                                           config_real(s, "holdout_share"), t->rule_class);
        rd_taskset_add_take(&j->tasks, t);
    }
    for (int64_t k = 0; k < test.n; k++) {
        if (met[k]) continue;
        test.task[k].source = source;
        test.task[k].split = RD_SPLIT_TEST;
        rd_taskset_add_take(&j->tasks, &test.task[k]);
    }
done:
    rd_free(met);
    rd_taskset_free(&set);
    rd_taskset_free(&test);
    rd_free(path);
    rd_free(test_path);
    return rc;
}

/* What training will not have, for the log. */
static void held_info(const job *j)
{
    for (int f = 0; f < RD_FAMILIES; f++) {
        rd_buf kinds = {0}, pairs = {0};
        if (!j->held[f]) continue;
        int64_t n_kinds = rd_held_names(j->held[f], RD_HOLD_KIND, &kinds);
        int64_t n_pairs = rd_held_names(j->held[f], RD_HOLD_PAIR, &pairs);
        for (size_t i = 0; i + 1 < kinds.len; i++)
            if (kinds.data[i] == '\n') kinds.data[i] = ',';
        if (kinds.len > 0) kinds.data[kinds.len - 1] = 0;
        rd_info("tasks    %-14s not trained on: %lld pairs of operations; %lld kinds%s%s",
                rd_family_name((rd_family)f), (long long)n_pairs, (long long)n_kinds,
                n_kinds > 0 ? ": " : "", n_kinds > 0 ? kinds.data : "");
        rd_buf_free(&kinds);
        rd_buf_free(&pairs);
    }
}

int job_tasks(job *j)
{
    int rc = RD_OK;
    if (j->tasks.n > 0) return RD_OK;
    rd_clock_begin("tasks");
    for (int i = 0; i < j->cfg.n_tasks; i++) {
        int64_t k = config_int(&j->cfg.task[i], "hypotheses");
        j->hypotheses[i] = k ? k : config_int(&j->cfg.keys, "augment.hypotheses");
        j->set_name[i] = config_text(&j->cfg.task[i], "set");
        if (*config_text(&j->cfg.task[i], "file"))
            RD_TRY(load_entry(j, i));
        else
            RD_TRY(generate_entry(j, i));
    }
    j->tasks.set_name = j->set_name;
    int64_t n_test = 0;
    for (int64_t i = 0; i < j->tasks.n; i++) n_test += j->tasks.task[i].split == RD_SPLIT_TEST;
    rd_info("tasks    %lld for training, %lld for testing", (long long)(j->tasks.n - n_test),
            (long long)n_test);
    held_info(j);
done:
    rd_clock_end("tasks");
    return rc;
}

/* ---------------------------------------------------------------- tokenizer */

int job_data_key(job *j, int64_t *key)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    char *datasets = job_path(j, "datasets.h5");
    if (!j->have_data_key) {
        RD_TRY(rd_store_open(&j->grid->world, datasets, "redistill.datasets", 1, &s));
        RD_TRY(rd_store_get_i64(s, "", "key", &j->data_key));
        j->have_data_key = true;
    }
    *key = j->data_key;
done:
    rd_store_close(&s);
    rd_free(datasets);
    return rc;
}

/* used[text]: does it stand in a column of the rows and pairs that are trained on? */
static int find_used(rd_store *s, bool *used)
{
    static const char *const columns[] = {"sft/prompt", "sft/response", "pair/prompt",
                                          "pair/chosen", "pair/rejected"};
    int rc = RD_OK;
    int64_t *ids = NULL;
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        int64_t rows = 0;
        rd_free(ids);
        ids = NULL;
        RD_TRY(rd_store_rows(s, columns[i], &rows));
        ids = rd_new(int64_t, rows);
        RD_TRY(rd_store_read(s, columns[i], RD_I64, 0, rows, ids));
        for (int64_t k = 0; k < rows; k++) used[ids[k]] = true;
    }
done:
    rd_free(ids);
    return rc;
}

/* Texts that are trained on, from evenly spread chunks of the pool, until the quota is reached.
 * Root only. */
static int read_corpus(const char *path, int64_t quota, rd_pool *pool)
{
    enum { CHUNK = 2048 };
    int rc = RD_OK;
    rd_comm self = rd_comm_self();
    rd_store *s = NULL;
    rd_pool part = {0};
    bool *used = NULL;
    int64_t n = 0;
    RD_TRY(rd_store_open(&self, path, "redistill.datasets", 1, &s));
    RD_TRY(rd_store_text_count(s, &n));
    used = rd_new(bool, n);
    RD_TRY(find_used(s, used));
    int64_t chunks = (n + CHUNK - 1) / CHUNK;
    /* A stride prime to the number of chunks visits each once, and far ones early. */
    int64_t stride = chunks > 0 && chunks % 7919 != 0 ? 7919 % chunks : 1;
    for (int64_t i = 0, at = 0; i < chunks && (int64_t)pool->bytes.len < quota; i++) {
        int64_t first = at * CHUNK, count = n - first < CHUNK ? n - first : CHUNK;
        RD_TRY(rd_stop_poll("tokenizer"));
        RD_TRY(rd_store_read_text(s, first, count, &part));
        rd_pool_mark(pool);
        for (int64_t k = 0; k < count; k++)
            if (used[first + k]) rd_pool_add(pool, rd_pool_get(&part, k, NULL));
        rd_pool_free(&part);
        at = (at + stride) % chunks;
    }
done:
    rd_free(used);
    rd_pool_free(&part);
    rd_store_close(&s);
    return rc;
}

static int poll_tokenizer(void)
{
    return rd_stop_poll("tokenizer");
}

static int train_tokenizer(const job *j, const char *datasets, rd_buf *json)
{
    int rc = RD_OK;
    rd_pool pool = {0};
    const char **texts = NULL;
    rd_tok *tok = NULL;
    const config_scope *s = &j->cfg.keys;
    RD_TRY(read_corpus(datasets, config_int(s, "model.tokenizer.corpus_bytes"), &pool));
    texts = rd_new(const char *, pool.n);
    for (int64_t i = 0; i < pool.n; i++) texts[i] = rd_pool_get(&pool, i, NULL);
    rd_tok_train_opts o = {.vocab = config_int(s, "model.tokenizer.train_vocab"),
                           .all_bytes = true,
                           .min_count = 2,
                           .poll = poll_tokenizer};
    RD_TRY(rd_tok_train(&o, pool.n, texts, NULL, &tok));
    rd_tok_to_json(tok, json);
done:
    rd_free(texts);
    rd_pool_free(&pool);
    rd_tok_free(&tok);
    return rc;
}

/* tokenizer.key: which datasets and options tokenizer.json was trained on, and its checksum. */
static void tokenizer_key(const job *j, int64_t data_key, const rd_buf *json, rd_buf *key)
{
    static const char *const keys[] = {"model.tokenizer.", NULL};
    rd_buf_clear(key);
    rd_buf_printf(key, "%016llx %016llx %08x\n", (unsigned long long)data_key,
                  (unsigned long long)config_hash(&j->cfg.keys, keys),
                  rd_crc32(json->data, json->len, 0));
}

static int root_tokenizer(const job *j, int64_t data_key, const char *datasets, rd_buf *json)
{
    int rc = RD_OK;
    char *path = job_path(j, "tokenizer.json"), *key_path = job_path(j, "tokenizer.key");
    rd_buf key = {0}, old = {0};
    if (rd_file_exists(path) && rd_file_exists(key_path)) {
        RD_TRY(rd_file_read(key_path, &old));
        RD_TRY(rd_file_read(path, json));
        tokenizer_key(j, data_key, json, &key);
        if (old.len == key.len && memcmp(old.data, key.data, key.len) == 0) goto done;
        if (old.len == key.len && memcmp(old.data, key.data, key.len - 9) == 0)
            rd_warn("%s does not fit its checksum: made again", path);
    }
    rd_buf_clear(json);
    RD_TRY(train_tokenizer(j, datasets, json));
    tokenizer_key(j, data_key, json, &key);
    /* A kill between the two files must not leave the old key beside the new tokenizer. */
    unlink(key_path);
    RD_TRY(rd_file_write_atomic(path, json->data, json->len));
    RD_TRY(rd_file_write_atomic(key_path, key.data, key.len));
done:
    rd_buf_free(&key);
    rd_buf_free(&old);
    rd_free(path);
    rd_free(key_path);
    return rc;
}

/* Every rank opens it by itself: what a GGUF file says is more than a tokenizer.json holds. */
static int open_tokenizer(job *j)
{
    int rc = RD_OK;
    const rd_comm *w = &j->grid->world;
    RD_TRY(rd_agree(w, rd_tok_open(j->tok_path, &j->tok)));
    if (w->rank == 0) j->tok_key = job_tokenizer_key(j->tok);
    rd_bcast(w, &j->tok_key, sizeof j->tok_key, 0);
done:
    return rc;
}

/* As root_tokenizer gives it. */
static int trained_tokenizer(job *j)
{
    int rc = RD_OK;
    const rd_comm *w = &j->grid->world;
    rd_buf json = {0};
    int64_t data_key = 0;
    char *datasets = job_path(j, "datasets.h5");
    RD_TRY(job_data_key(j, &data_key));
    rc = w->rank == 0 ? root_tokenizer(j, data_key, datasets, &json) : RD_OK;
    RD_TRY(rd_agree(w, rc));
    rd_bcast_buf(w, &json, 0);
    RD_TRY(rd_agree(w, rd_tok_from_json(json.data, json.len, "tokenizer.json", &j->tok)));
    j->tok_key = rd_hash(json.data, json.len, 0);
done:
    rd_buf_free(&json);
    rd_free(datasets);
    return rc;
}

int job_tokenizer(job *j)
{
    int rc = RD_OK;
    if (j->tok) return RD_OK;
    rd_clock_begin("tokenizer");
    RD_TRY(j->tok_path ? open_tokenizer(j) : trained_tokenizer(j));
    rd_info("tokens   vocabulary of %lld%s%s", (long long)rd_tok_vocab(j->tok),
            j->tok_path ? " from " : "", j->tok_path ? j->tok_path : "");
done:
    rd_clock_end("tokenizer");
    return rc;
}

/* ---------------------------------------------------------------- manifest */

static int input_hash(rd_json_node *list, const config *c, const char *file)
{
    int rc = RD_OK;
    rd_buf bytes = {0};
    char hex[20], *path = config_data_path(c, file);
    if (!*file) goto done;
    RD_TRY(rd_file_read(path, &bytes));
    snprintf(hex, sizeof hex, "%016llx",
             (unsigned long long)rd_hash(bytes.data ? bytes.data : "", bytes.len, 0));
    rd_json_node *o = rd_json_set_object(list, NULL);
    rd_json_set_string(o, "file", path);
    rd_json_set_string(o, "hash", hex);
done:
    rd_buf_free(&bytes);
    rd_free(path);
    return rc;
}

/* Published models that arms start from, and which they were. */
static void put_bases(const job *j, rd_json_node *root)
{
    rd_json_node *list = rd_json_set_object(root, "published_models");
    for (int i = 0; i < j->cfg.n_arms; i++) {
        char hex[20];
        if (!j->arm[i].published) continue;
        rd_json_node *o = rd_json_set_object(list, j->cfg.arm[i].name);
        snprintf(hex, sizeof hex, "%016llx", (unsigned long long)j->arm[i].base);
        rd_json_set_string(o, "path", config_text(&j->cfg.arm[i].keys, "model.base"));
        rd_json_set_string(o, "identity", hex);
    }
}

static int manifest_write(const job *j)
{
    int rc = RD_OK;
    rd_buf text = {0};
    rd_json *doc = rd_json_new(RD_JSON_OBJECT), *cfg = NULL;
    rd_json_node *root = rd_json_root(doc);
    char host[256] = "", date[32], *path = NULL;
    time_t now = time(NULL);
    gethostname(host, sizeof host - 1);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    rd_json_set_string(root, "schema", "redistill.manifest");
    rd_json_set_int(root, "schema_version", 1);
    rd_json_set_string(root, "software", build_version());
    build_describe(&text);
    rd_json_set_string(root, "build", text.data);
    rd_buf_clear(&text);
    rd_json_set_string(root, "date", date);
    rd_json_set_string(root, "host", host);
    rd_json_set_int(root, "ranks", j->grid->world.size);
    rd_json_set_int(root, "threads", config_int(&j->cfg.keys, "grid.threads"));
    rd_json_node *grid = rd_json_set_object(root, "grid");
    rd_json_set_int(grid, "data", j->grid->data);
    rd_json_set_int(grid, "rows", j->grid->rows);
    rd_json_set_int(grid, "cols", j->grid->cols);
    rd_json_node *loss = rd_json_set_object(root, "loss");
    rd_json_set_string(loss, "sft", "mean over response tokens of the global batch");
    rd_json_set_string(loss, "orpo",
                       strcmp(config_text(&j->cfg.keys, "align.variant"), "full") == 0
                           ? "NLL: mean over prompt + response tokens of the chosen sequences"
                           : "NLL: mean over response tokens per pair, then over pairs");
    put_bases(j, root);
    if (j->member) sweep_run_describe(j, root);
    rd_json_node *inputs = rd_json_set_array(root, "inputs");
    for (int i = 0; i < j->cfg.n_tasks; i++) {
        RD_TRY(input_hash(inputs, &j->cfg, config_text(&j->cfg.task[i], "file")));
        RD_TRY(input_hash(inputs, &j->cfg, config_text(&j->cfg.task[i], "test_file")));
    }
    RD_TRY(rd_json_parse(j->cfg.resolved, strlen(j->cfg.resolved), "config", 1, &cfg));
    rd_json_set_copy(root, "config", rd_json_root(cfg));
    rd_json_print(root, true, &text);
    rd_buf_putc(&text, '\n');
    path = job_path(j, "manifest.json");
    RD_TRY(rd_file_write_atomic(path, text.data, text.len));
done:
    rd_buf_free(&text);
    rd_json_free(&doc);
    rd_json_free(&cfg);
    rd_free(path);
    return rc;
}

int job_manifest(job *j)
{
    int rc = RD_OK;
    if (j->grid->world.rank == 0) {
        rc = make_dirs(j);
        if (rc == RD_OK) rc = manifest_write(j);
    }
    RD_TRY(rd_agree(&j->grid->world, rc));
done:
    return rc;
}
