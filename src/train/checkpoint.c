/* checkpoint.c: where a run stands, on disk.
 *
 *   DIR/checkpoints/STAGE-000400.h5   what is trained, moments, state: the newest and one before
 *   DIR/checkpoints/STAGE-branch.h5   weights and state at branch_at
 *   DIR/checkpoints/STAGE-final.h5    weights and state at the end; the steps' files are then
 * removed
 *
 * The key says which run a file belongs to: a file with another key is left out with a warning.
 *
 * State is: the step; the seed, from which all random numbers follow (they are counter-based, keyed
 * by seed, purpose and index: there is no generator to save); a hash over the items of all steps so
 * far, which the plan, replayed up to the step, must give again; sums for the report.  The learning
 * rate is a function of step and steps.  A step's file also names the grid that wrote it. */
#include "train_impl.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef RD_GIT
#define RD_GIT "unknown"
#endif
#define SCHEMA "redistill.checkpoint"
enum { VERSION = 1, MAX_LISTED = 64, PATH_SIZE = 1024 };

/* ---------------------------------------------------------------- names */

static void tail_path(const train_files *f, const char *tail, char *path)
{
    snprintf(path, PATH_SIZE, "%s/checkpoints/%s-%s.h5", f->o->dir, f->o->stage, tail);
}

static void step_path(const train_files *f, int64_t step, char *path)
{
    char tail[24];
    snprintf(tail, sizeof(tail), "%06lld", (long long)step);
    tail_path(f, tail, path);
}

static int compare_descending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* Steps of the files there are, the newest first; at most MAX_LISTED.  Collective. */
static int64_t list_steps(const train_files *f, int64_t *steps)
{
    struct {
        int64_t n, step[MAX_LISTED];
    } found = {0};
    if (f->g->world.rank == 0) {
        char path[PATH_SIZE];
        size_t stage = strlen(f->o->stage);
        snprintf(path, sizeof(path), "%s/checkpoints", f->o->dir);
        DIR *dir = opendir(path);
        for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
            char *end;
            if (strncmp(e->d_name, f->o->stage, stage) != 0 || e->d_name[stage] != '-') continue;
            long long step = strtoll(e->d_name + stage + 1, &end, 10);
            if (end == e->d_name + stage + 1 || strcmp(end, ".h5") != 0 || step < 0) continue;
            if (found.n < MAX_LISTED) found.step[found.n++] = step;
        }
        if (dir != NULL) closedir(dir);
        qsort(found.step, (size_t)found.n, sizeof(*found.step), compare_descending);
    }
    rd_bcast(&f->g->world, &found, sizeof(found), 0);
    memcpy(steps, found.step, (size_t)found.n * sizeof(*steps));
    return found.n;
}

/* ---------------------------------------------------------------- state as attributes */

typedef struct state_field {
    const char *name;
    size_t offset;
    bool real;
} state_field;
#define FIELD(name, real)                        \
    {                                            \
#name, offsetof(train_state, name), real \
    }
static const state_field fields[] = {
    FIELD(step, false),      FIELD(steps, false),   FIELD(tokens, false),
    FIELD(rows, false),      FIELD(pairs, false),   FIELD(over_long, false),
    FIELD(empty, false),     FIELD(first_n, false), FIELD(last_n, false),
    FIELD(first_sum, true),  FIELD(last_sum, true), FIELD(last_correct, true),
    FIELD(last_pairs, true), FIELD(seed, false),    FIELD(plan_hash, false),
};
enum { N_FIELDS = sizeof(fields) / sizeof(fields[0]) };

static int write_state(rd_store *s, const train_state *state, uint64_t key)
{
    int rc = RD_OK;
    for (int i = 0; i < N_FIELDS; i++) {
        const char *at = (const char *)state + fields[i].offset;
        int64_t n;
        double x;
        memcpy(&n, at, sizeof(n));
        memcpy(&x, at, sizeof(x));
        RD_TRY(fields[i].real ? rd_store_set_f64(s, "", fields[i].name, x)
                              : rd_store_set_i64(s, "", fields[i].name, n));
    }
    RD_TRY(rd_store_set_i64(s, "", "key", (int64_t)key));
done:
    return rc;
}

static int read_state(rd_store *s, train_state *state, uint64_t *key)
{
    int rc = RD_OK;
    int64_t n = 0;
    for (int i = 0; i < N_FIELDS; i++) {
        char *at = (char *)state + fields[i].offset;
        RD_TRY(fields[i].real ? rd_store_get_f64(s, "", fields[i].name, (double *)at)
                              : rd_store_get_i64(s, "", fields[i].name, (int64_t *)at));
    }
    RD_TRY(rd_store_get_i64(s, "", "key", &n));
    *key = (uint64_t)n;
done:
    return rc;
}

/* The grid, as it stands in a step's file. */
typedef struct grid_shape {
    int64_t data, rows, cols;
} grid_shape;

static int write_grid(rd_store *s, const rd_grid *g)
{
    int rc = RD_OK;
    RD_TRY(rd_store_set_i64(s, "", "grid_data", g->data));
    RD_TRY(rd_store_set_i64(s, "", "grid_rows", g->rows));
    RD_TRY(rd_store_set_i64(s, "", "grid_cols", g->cols));
done:
    return rc;
}

static int read_grid(rd_store *s, grid_shape *shape)
{
    int rc = RD_OK;
    RD_TRY(rd_store_get_i64(s, "", "grid_data", &shape->data));
    RD_TRY(rd_store_get_i64(s, "", "grid_rows", &shape->rows));
    RD_TRY(rd_store_get_i64(s, "", "grid_cols", &shape->cols));
done:
    return rc;
}

/* Sums over ranks are taken in another order on another grid. */
static void compare_grids(const train_files *f, const grid_shape *wrote)
{
    const rd_grid *g = f->g;
    if (wrote->data == g->data && wrote->rows == g->rows && wrote->cols == g->cols) return;
    rd_warn("%s: continues on %d x (%d x %d) ranks what %lld x (%lld x %lld) wrote: results agree "
            "to rounding, not bit for bit",
            f->o->stage, g->data, g->rows, g->cols, (long long)wrote->data, (long long)wrote->rows,
            (long long)wrote->cols);
}

/* Another compiler or version may round otherwise; no more than a word about that. */
static int compare_builds(const train_files *f, rd_store *s)
{
    int rc = RD_OK;
    rd_buf git = {0};
    RD_TRY(rd_store_get_string(s, "", "git", &git));
    if (strcmp(git.data, RD_GIT) != 0)
        rd_info("%s: the checkpoint was written by version %s, this is %s", f->o->stage, git.data,
                RD_GIT);
done:
    rd_buf_free(&git);
    return rc;
}

/* ---------------------------------------------------------------- writing */

/* A kill in the middle of a write leaves its temporary file; that of a stop lies at a step which
 * the run that continues may never write again.  Local. */
static void remove_unfinished(const char *dir_path, const char *stage)
{
    const char *tail = ".h5.tmp";
    const size_t n = strlen(stage), n_tail = strlen(tail);
    DIR *dir = opendir(dir_path);
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        const size_t length = strlen(e->d_name);
        if (strncmp(e->d_name, stage, n) != 0 || e->d_name[n] != '-' || length < n + n_tail ||
            strcmp(e->d_name + length - n_tail, tail) != 0)
            continue;
        unlinkat(dirfd(dir), e->d_name, 0);
    }
    if (dir != NULL) closedir(dir);
}

int checkpoint_begin(const rd_grid *g, const rd_train_opts *o, train_files *f)
{
    int rc = RD_OK;
    char path[PATH_SIZE];
    *f = (train_files){.g = g, .o = o, .newest = -1, .previous = -1};
    snprintf(path, sizeof(path), "%s/checkpoints", o->dir);
    RD_TRY(rd_agree(&g->world, g->world.rank == 0 ? rd_dir_make(path) : RD_OK));
    if (g->world.rank == 0) remove_unfinished(path, o->stage);
done:
    return rc;
}

/* Remove the steps' files other than the two that are kept.  Collective. */
static void remove_others(const train_files *f)
{
    int64_t steps[MAX_LISTED], n = list_steps(f, steps);
    for (int64_t i = 0; i < n; i++) {
        char path[PATH_SIZE];
        if (steps[i] == f->newest || steps[i] == f->previous) continue;
        step_path(f, steps[i], path);
        if (f->g->world.rank == 0) unlink(path);
    }
}

/* How an adapter goes with its base, for those who have the file alone. */
static int write_adapter(const rd_train_opts *o, rd_store *store)
{
    int rc = RD_OK;
    RD_TRY(rd_store_set_i64(store, "", "adapter_kind", o->adapter.kind));
    RD_TRY(rd_store_set_i64(store, "", "adapter_rank", o->adapter.rank));
    RD_TRY(rd_store_set_f64(store, "", "adapter_alpha", o->adapter.alpha));
    RD_TRY(rd_store_set_f64(store, "", "adapter_dropout", o->adapter.dropout));
    RD_TRY(rd_store_set_i64(store, "", "adapter_rslora", o->adapter.rslora));
    RD_TRY(rd_store_set_i64(store, "", "adapter_targets", o->adapter.targets));
    if (o->base == NULL) goto done;
    RD_TRY(rd_store_set_string(store, "", "base", o->base));
    RD_TRY(rd_store_set_i64(store, "", "base_identity", (int64_t)o->base_identity));
done:
    return rc;
}

/* A frozen base is made again from where it came from, so only whole files hold its weights: merged
 * with the adapter, for all who read weights.  The adapter lies beside them, to be gone on with.
 * Not even they hold those of a published model, which anybody has. */
static int write_model(const train_files *f, const rd_model *model, rd_store *store, bool whole)
{
    int rc = RD_OK;
    if (model->adapter.n == 0)
        RD_TRY(rd_params_write(model->grid, &model->base, store, "weights/"));
    else if (whole && f->o->base == NULL)
        RD_TRY(rd_model_write_merged(model, store, "weights/"));
    if (model->adapter.n > 0) RD_TRY(write_adapter(f->o, store));
    RD_TRY(rd_params_write(model->grid, &model->adapter, store, "adapter/"));
    RD_TRY(rd_params_write(model->grid, &model->adapter_start, store, "adapter_start/"));
done:
    return rc;
}

int checkpoint_write(train_files *f, const rd_model *model, const rd_optim *opt,
                     const train_state *s, const char *tail)
{
    int rc = RD_OK;
    rd_store *store = NULL;
    char path[PATH_SIZE];
    rd_store_info info = {.schema = SCHEMA, .version = VERSION, .config = f->o->config};
    if (tail != NULL)
        tail_path(f, tail, path);
    else
        step_path(f, s->step, path);
    RD_TRY(rd_agree(&f->g->world, rd_fault("checkpoint")));
    RD_TRY(rd_store_create(&f->g->world, path, &info, &store));
    RD_TRY(rd_model_write_config(&model->cfg, store));
    RD_TRY(rd_store_set_string(store, "", "stage", f->o->stage));
    RD_TRY(write_state(store, s, f->o->key));
    if (tail == NULL) RD_TRY(write_grid(store, f->g));
    RD_TRY(rd_store_set_i64(store, "", "tokenizer", (int64_t)f->o->tokenizer));
    RD_TRY(write_model(f, model, store, tail != NULL));
    if (tail == NULL) RD_TRY(rd_optim_write(opt, store, "moments/"));
    RD_TRY(rd_store_commit(&store));
    if (tail == NULL && s->step != f->newest) {
        f->previous = f->newest;
        f->newest = s->step;
        remove_others(f);
    }
done:
    rd_store_close(&store);
    return rc;
}

void checkpoint_remove_steps(train_files *f)
{
    f->newest = f->previous = -1;
    remove_others(f);
}

/* ---------------------------------------------------------------- reading */

enum { OTHER_RUN = 1 }; /* beside the result codes: a sound file of another run */

/* What is trained: of an adapter that is not ready yet also what its residual is made from. */
static int read_trained(rd_model *model, rd_store *store)
{
    int rc = RD_OK;
    if (model->adapter.n == 0) return rd_params_read(model->grid, &model->base, store, "weights/");
    RD_TRY(rd_params_read(model->grid, &model->adapter, store, "adapter/"));
    if (!rd_model_adapter_ready(model))
        RD_TRY(rd_params_read(model->grid, &model->adapter_start, store, "adapter_start/"));
done:
    return rc;
}

/* Does the state fit this run, and its data the plan?  Then the plan stands behind the step. */
static int check_state(const train_files *f, const char *path, const train_state *state,
                       train_plan *plan)
{
    int rc = RD_OK;
    if (state->step < 0 || state->step > state->steps)
        RD_FAIL(RD_EINPUT, "%s: step %lld of %lld", path, (long long)state->step,
                (long long)state->steps);
    if (plan == NULL) goto done;
    if (state->steps != plan->steps || state->seed != (int64_t)f->o->seed) {
        rc = OTHER_RUN;
        goto done;
    }
    plan_seek(plan, state->step);
    if (state->plan_hash != (int64_t)plan->hash)
        RD_FAIL(RD_EINPUT, "%s: its %lld steps took other data, or in another order, than this run",
                path, (long long)state->step);
done:
    return rc;
}

/* plan, opt NULL: a whole file. */
static int read_file(const train_files *f, const char *path, rd_model *model, rd_optim *opt,
                     train_plan *plan, train_state *s)
{
    int rc = RD_OK;
    rd_store *store = NULL;
    uint64_t key = 0;
    train_state state = {0};
    grid_shape wrote = {0};
    RD_TRY(rd_store_open(&f->g->world, path, SCHEMA, VERSION, &store));
    RD_TRY(read_state(store, &state, &key));
    if (key != f->o->key) {
        rc = OTHER_RUN;
        goto done;
    }
    RD_TRY(check_state(f, path, &state, plan));
    if (opt == NULL && f->o->base != NULL && f->o->adapted) {
        if (model->adapter.n == 0) RD_TRY(rd_model_adapt(model, &f->o->adapter));
        RD_TRY(read_trained(model, store));
    } else if (opt == NULL) {
        RD_TRY(rd_params_read(model->grid, &model->base, store, "weights/"));
    } else {
        RD_TRY(read_trained(model, store));
        RD_TRY(rd_optim_read(opt, store, "moments/"));
        RD_TRY(read_grid(store, &wrote));
        compare_grids(f, &wrote);
        RD_TRY(compare_builds(f, store));
    }
    *s = state;
done:
    rd_store_close(&store);
    return rc;
}

/* Whether a result means that the file is to be passed over, with the warning that says why. */
static bool pass_over(const char *path, int rc)
{
    if (rc == OTHER_RUN)
        rd_warn("%s belongs to another run (other data or options): not used", path);
    if (rc == RD_EINPUT || rc == RD_EIO) {
        rd_warn("checkpoint not used: %s", rd_error_get()->message);
        rd_error_clear();
    }
    return rc == OTHER_RUN || rc == RD_EINPUT || rc == RD_EIO;
}

int checkpoint_resume(train_files *f, rd_model *model, rd_optim *opt, train_plan *plan,
                      train_state *s, bool *found)
{
    int rc = RD_OK;
    int64_t step[MAX_LISTED], n = list_steps(f, step);
    size_t bytes = (size_t)model->trained->storage * sizeof(float);
    float *initial = n > 0 ? rd_new(float, model->trained->storage) : NULL;
    *found = false;
    if (n > 0) memcpy(initial, model->trained->weights, bytes);
    for (int64_t i = 0; i < n && !*found; i++) {
        char path[PATH_SIZE];
        step_path(f, step[i], path);
        rc = read_file(f, path, model, opt, plan, s);
        *found = rc == RD_OK;
        if (*found) {
            f->newest = step[i];
            break;
        }
        if (!pass_over(path, rc)) goto done;
        rc = RD_OK;
    }
    /* A damaged file may have been read halfway; the moments' sweep starts from the next file or,
     * as here, from the beginning. */
    if (n > 0 && !*found) {
        memcpy(model->trained->weights, initial, bytes);
        rd_optim_reset(opt);
        plan_rewind(plan);
    }
done:
    rd_free(initial);
    return rc;
}

/* Are the files of a finished stage there?  Without its branch it is not finished: what starts from
 * the branch could never go on.  Root only. */
static int64_t has_finished(const train_files *f)
{
    char path[PATH_SIZE];
    tail_path(f, "final", path);
    if (!rd_file_exists(path)) return false;
    tail_path(f, "branch", path);
    if (f->o->branch_at <= 0 || rd_file_exists(path)) return true;
    rd_warn("%s is missing: %s is done again", path, f->o->stage);
    return false;
}

/* The model as it is at the end of a run: its adapter, read from a file without weights, goes into
 * the base. */
static int merge_final(const train_files *f, rd_model *model)
{
    int rc = RD_OK;
    if (!rd_model_adapter_ready(model))
        RD_TRY(rd_agree(&f->g->world, rd_model_adapter_resume(model)));
    RD_TRY(rd_agree(&f->g->world, rd_model_merge(model, NULL, NULL)));
done:
    return rc;
}

int checkpoint_read_final(train_files *f, rd_model *model, train_state *s, bool *found)
{
    int rc = RD_OK;
    char path[PATH_SIZE];
    int64_t exists;
    const bool frozen = f->o->adapted && f->o->base != NULL;
    /* What the file's numbers are read over, in case it turns out to be damaged halfway. */
    rd_params *p = frozen ? &model->adapter : &model->base;
    const size_t bytes = (size_t)p->storage * sizeof(float);
    float *initial = NULL;
    *found = false;
    tail_path(f, "final", path);
    exists = f->g->world.rank == 0 && has_finished(f);
    rd_bcast(&f->g->world, &exists, sizeof(exists), 0);
    if (!exists) return RD_OK;
    const bool given = model->adapter.n > 0; /* of an earlier stage */
    initial = rd_new(float, p->storage);
    if (bytes > 0) memcpy(initial, p->weights, bytes);
    rc = read_file(f, path, model, NULL, NULL, s);
    *found = rc == RD_OK;
    if (*found && frozen) {
        rc = merge_final(f, model);
    } else if (*found) {
        rd_model_adapter_free(model); /* it is merged in these weights */
    } else {
        if (frozen && !given)
            rd_model_adapter_free(model);
        else
            memcpy(p->weights, initial, bytes);
        if (pass_over(path, rc)) rc = RD_OK;
    }
    rd_free(initial);
    return rc;
}

/* The file, if it is that of the run with this key. */
static int open_of_run(const rd_grid *g, const char *path, uint64_t key, rd_store **store)
{
    int rc = RD_OK;
    int64_t found = 0;
    RD_TRY(rd_store_open(&g->world, path, SCHEMA, VERSION, store));
    RD_TRY(rd_store_get_i64(*store, "", "key", &found));
    if ((uint64_t)found != key)
        RD_FAIL(RD_EINPUT,
                "%s belongs to another run (other data or options); run that stage again", path);
done:
    return rc;
}

int rd_checkpoint_load_weights(const rd_grid *g, const char *path, uint64_t key, rd_model *model)
{
    int rc = RD_OK;
    rd_store *store = NULL;
    RD_TRY(open_of_run(g, path, key, &store));
    RD_TRY(rd_params_read(model->grid, &model->base, store, "weights/"));
done:
    rd_store_close(&store);
    return rc;
}

int rd_checkpoint_load_adapter(const rd_grid *g, const char *path, uint64_t key,
                               const rd_adapter_opts *o, rd_model *model)
{
    int rc = RD_OK;
    rd_store *store = NULL;
    RD_TRY(open_of_run(g, path, key, &store));
    RD_TRY(rd_model_adapt(model, o));
    RD_TRY(read_trained(model, store));
    RD_TRY(rd_agree(&g->world, rd_model_adapter_resume(model)));
done:
    rd_store_close(&store);
    return rc;
}

int rd_checkpoint_load_base(const rd_grid *g, const char *path, uint64_t tokenizer, rd_model *model)
{
    int rc = RD_OK;
    rd_store *store = NULL;
    rd_model_config cfg;
    int64_t found = 0;
    RD_TRY(rd_store_open(&g->world, path, SCHEMA, VERSION, &store));
    RD_TRY(rd_model_read_config(store, &cfg));
    if (!rd_model_config_same(&cfg, &model->cfg))
        RD_FAIL(RD_EINPUT,
                "model.base: %s holds a model of another shape (vocabulary %lld, width "
                "%lld, %lld layers) than model.init describes",
                path, (long long)cfg.vocab, (long long)cfg.width, (long long)cfg.layers);
    RD_TRY(rd_store_get_i64(store, "", "tokenizer", &found));
    if ((uint64_t)found != tokenizer)
        RD_FAIL(RD_EINPUT, "model.base: %s was trained with another tokenizer than this run's",
                path);
    RD_TRY(rd_params_read(model->grid, &model->base, store, "weights/"));
done:
    rd_store_close(&store);
    return rc;
}

/* The file begins with a block of text that holds a checksum over all of it (io/seal.c), which was
 * verified when the file was opened. */
int rd_checkpoint_base_hash(const rd_grid *g, const char *path, uint64_t *content)
{
    enum { SEAL = 512 };
    int rc = RD_OK;
    rd_store *store = NULL;
    int64_t key = 0;
    char head[SEAL] = {0};
    RD_TRY(rd_store_open(&g->world, path, SCHEMA, VERSION, &store));
    RD_TRY(rd_store_get_i64(store, "", "key", &key));
    if (g->world.rank == 0) {
        FILE *f = fopen(path, "rb");
        size_t n = f == NULL ? 0 : fread(head, 1, SEAL, f);
        if (f != NULL) fclose(f);
        if (n < SEAL)
            rc = rd_error_set(RD_EIO, __FILE__, __LINE__, __func__, "%s: %s", path,
                              "the beginning cannot be read");
    }
    RD_TRY(rd_agree(&g->world, rc));
    rd_bcast(&g->world, head, SEAL, 0);
    *content = rd_hash(head, SEAL, (uint64_t)key);
done:
    rd_store_close(&store);
    return rc;
}

static int read_adapter_info(rd_store *store, rd_checkpoint_info *info)
{
    int rc = RD_OK;
    int64_t kind, rslora, targets, identity;
    rd_buf base = {0};
    info->adapted = rd_store_has_attribute(store, "", "adapter_kind");
    if (!info->adapted) goto done;
    RD_TRY(rd_store_get_i64(store, "", "adapter_kind", &kind));
    RD_TRY(rd_store_get_i64(store, "", "adapter_rank", &info->adapter.rank));
    RD_TRY(rd_store_get_f64(store, "", "adapter_alpha", &info->adapter.alpha));
    RD_TRY(rd_store_get_f64(store, "", "adapter_dropout", &info->adapter.dropout));
    RD_TRY(rd_store_get_i64(store, "", "adapter_rslora", &rslora));
    RD_TRY(rd_store_get_i64(store, "", "adapter_targets", &targets));
    info->adapter.kind = (rd_adapter_kind)kind;
    info->adapter.rslora = rslora != 0;
    info->adapter.targets = (unsigned)targets;
    RD_TRY(rd_adapter_check(&info->model, &info->adapter));
    if (!rd_store_has_attribute(store, "", "base")) goto done;
    RD_TRY(rd_store_get_string(store, "", "base", &base));
    RD_TRY(rd_store_get_i64(store, "", "base_identity", &identity));
    snprintf(info->base, sizeof info->base, "%s", base.data);
    info->base_identity = (uint64_t)identity;
done:
    rd_buf_free(&base);
    return rc;
}

int rd_checkpoint_read_info(const rd_grid *g, const char *path, rd_checkpoint_info *info)
{
    int rc = RD_OK;
    rd_store *store = NULL;
    int64_t key, tokenizer;
    *info = (rd_checkpoint_info){0};
    RD_TRY(rd_store_open(&g->world, path, SCHEMA, VERSION, &store));
    RD_TRY(rd_model_read_config(store, &info->model));
    RD_TRY(rd_store_get_i64(store, "", "key", &key));
    RD_TRY(rd_store_get_i64(store, "", "tokenizer", &tokenizer));
    info->key = (uint64_t)key, info->tokenizer = (uint64_t)tokenizer;
    info->weights = rd_store_has(store, "weights/model.norm.weight");
    RD_TRY(read_adapter_info(store, info));
    if (!info->weights && info->base[0] == 0)
        RD_FAIL(RD_EINPUT, "%s holds no whole model: it is a step of a run", path);
done:
    rd_store_close(&store);
    return rc;
}

int rd_checkpoint_import(const rd_grid *g, const rd_model *model, const rd_adapter_opts *o,
                         uint64_t key, uint64_t tokenizer, const char *path)
{
    int rc = RD_OK;
    rd_store *store = NULL;
    rd_train_opts opts = {.adapted = o != NULL};
    const train_files f = {.g = g, .o = &opts};
    const train_state none = {0};
    const rd_store_info info = {.schema = SCHEMA, .version = VERSION};
    if (o != NULL) opts.adapter = *o;
    RD_TRY(rd_store_create(&g->world, path, &info, &store));
    RD_TRY(rd_model_write_config(&model->cfg, store));
    RD_TRY(rd_store_set_string(store, "", "stage", "import"));
    RD_TRY(write_state(store, &none, key));
    RD_TRY(rd_store_set_i64(store, "", "tokenizer", (int64_t)tokenizer));
    RD_TRY(write_model(&f, model, store, true));
    RD_TRY(rd_store_commit(&store));
done:
    rd_store_close(&store);
    return rc;
}

int rd_checkpoint_config(const rd_grid *g, const char *path, rd_model_config *cfg)
{
    int rc = RD_OK;
    rd_store *store = NULL;
    RD_TRY(rd_store_open(&g->world, path, SCHEMA, VERSION, &store));
    RD_TRY(rd_model_read_config(store, cfg));
done:
    rd_store_close(&store);
    return rc;
}
