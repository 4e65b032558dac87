/* shared.c: traces and datasets of a sweep's members, made once.
 *
 * shared/KEY is named by the configuration that determines the file; the file's own attribute "key"
 * decides whether it is the right one, as in any run directory.  Nobody reads a file that is being
 * written: it takes its place by a rename.  So looking needs no lock; making does. */
#include "cli/shared.h"

#include "cli/sweep.h"

#include <string.h>
#include <unistd.h>

/* ---------------------------------------------------------------- keys */

/* Of an entry of tasks what traces.h5 depends on; "train" and "set" come later. */
static uint64_t hash_tasks(const config *c, const char *const *keys, uint64_t h)
{
    for (int i = 0; i < c->n_tasks; i++) {
        const uint64_t part = config_hash(&c->task[i], keys);
        h = rd_hash(&part, sizeof part, h);
    }
    return h;
}

/* The teacher's search on test tasks: which of them are asked, and how, is said under eval, arm by
 * arm. */
static uint64_t teacher_key(const config *c, uint64_t traces)
{
    static const char *const keys[] = {"eval.", "stages", NULL};
    uint64_t h = rd_hash(&traces, sizeof traces, config_hash(&c->keys, keys));
    for (int i = 0; i < c->n_arms; i++) {
        const uint64_t part = config_hash(&c->arm[i].keys, keys);
        h = rd_hash(&part, sizeof part, h);
    }
    return h;
}

void shared_keys_of(const config *c, shared_keys *k)
{
    static const char *const tasks[] = {"family",     "generate",   "test",      "difficulty",
                                        "holdout",    "demos",      "queries",   "identifiable",
                                        "grammar",    "file",       "test_file", "limit",
                                        "hypotheses", "known_rule", "lexicon",   NULL};
    static const char *const traces[] = {"run.seed", "compat",   "data.dir", "prompts",
                                         "teacher.", "augment.", NULL};
    static const char *const model[] = {"model.", "compute", "grid.rows", "grid.cols", NULL};
    static const char *const rows[] = {"train", NULL};
    static const char *const datasets[] = {"filter.", NULL};
    uint64_t part = config_hash(&c->keys, traces);
    k->traces = hash_tasks(c, tasks, rd_hash(&part, sizeof part, rd_hash_str("traces", 1)));
    if (strcmp(config_text(&c->keys, "teacher.kind"), "model") == 0) {
        /* The base by name: config_hash leaves to its contents what they are. */
        part = rd_hash_str(config_text(&c->keys, "model.base"), config_hash(&c->keys, model));
        k->traces = rd_hash(&part, sizeof part, k->traces);
    }
    part = rd_hash(&k->traces, sizeof k->traces, config_hash(&c->keys, datasets));
    k->datasets = hash_tasks(c, rows, part);
    k->teacher = teacher_key(c, hash_tasks(c, rows, k->traces));
}

/* ---------------------------------------------------------------- making and linking */

static void folder(const job *j, uint64_t key, rd_buf *out)
{
    rd_buf_printf(out, "%s/shared/%016llx", j->member->s.dir, (unsigned long long)key);
}

/* dir/file leads to shared/KEY/file.  up: from dir to the sweep's folder.  Root only. */
static int link_from(const char *dir, const char *up, const shared_stage *stage)
{
    int rc = RD_OK;
    rd_buf path = {0}, target = {0};
    rd_buf_printf(&path, "%s/%s", dir, stage->file);
    rd_buf_printf(&target, "%s/shared/%016llx/%s", up, (unsigned long long)stage->key, stage->file);
    RD_TRY(rd_file_link(path.data, target.data));
done:
    rd_buf_free(&path);
    rd_buf_free(&target);
    return rc;
}

/* So that the datasets' folder is a whole one: filter reads the traces there.  Root only. */
static int link_traces(const job *j, const char *dir)
{
    const shared_stage traces = {.file = "traces.h5", .key = j->member->shared.traces};
    return link_from(dir, "../..", &traces);
}

/* A file that cannot be opened gives way to a new one.  Root only; under the lock. */
static int put_aside(const char *dir, const char *file)
{
    int rc = RD_OK;
    rd_buf path = {0}, away = {0};
    char *damage = NULL;
    rd_buf_printf(&path, "%s/%s", dir, file);
    rd_buf_printf(&away, "%s.damaged", path.data);
    if (!rd_file_exists(path.data)) goto done;
    damage = member_file_damage(path.data);
    if (!damage) goto done;
    rd_warn("%s; put aside as %s and made again", damage, away.data);
    if (rename(path.data, away.data) != 0) RD_FAIL(RD_EIO, "%s: %m", path.data);
done:
    rd_free(damage);
    rd_buf_free(&path);
    rd_buf_free(&away);
    return rc;
}

static int make_locked(job *j, const shared_stage *stage, const char *dir)
{
    int rc = RD_OK;
    const rd_comm *w = &j->grid->world;
    rd_buf path = {0}, what = {0};
    rd_lock *lock = NULL;
    rd_buf_printf(&path, "%s/LOCK", dir);
    rd_buf_printf(&what, "shared   %s/%s", dir, stage->file);
    RD_TRY(rd_lock_await(w, path.data, what.data, &lock));
    if (!lock) {
        rd_warn("%s: no locks on this file system: each member makes its own %s", dir, stage->file);
        j->member->alone = true;
        goto done;
    }
    RD_TRY(rd_agree(w, w->rank == 0 ? put_aside(dir, stage->file) : RD_OK));
    RD_TRY(stage->make(stage->context, dir));
done:
    rd_lock_release(&lock);
    rd_buf_free(&path);
    rd_buf_free(&what);
    return rc;
}

/* A look that meets a damaged file found nothing. */
static int look(const shared_stage *stage, const char *dir, bool *found)
{
    const int rc = stage->find(stage->context, dir, found);
    if (rc != RD_EINPUT) return rc;
    rd_error_clear();
    *found = false;
    return RD_OK;
}

int shared_run(job *j, const shared_stage *stage)
{
    int rc = RD_OK;
    const rd_comm *w = &j->grid->world;
    bool found = false;
    rd_buf dir = {0};
    char *own = stage->folder ? job_path(j, stage->folder) : rd_strdup(j->dir);
    if (!j->member || j->member->alone) {
        rc = stage->make(stage->context, own);
        goto done;
    }
    folder(j, stage->key, &dir);
    if (w->rank == 0) rc = rd_dir_make(dir.data);
    if (w->rank == 0 && rc == RD_OK && stage->reads_traces) rc = link_traces(j, dir.data);
    RD_TRY(rd_agree(w, rc));
    RD_TRY(look(stage, dir.data, &found));
    if (found)
        rd_info("shared   %s/%s is there", dir.data, stage->file);
    else
        RD_TRY(make_locked(j, stage, dir.data));
    if (j->member->alone) {
        rc = stage->make(stage->context, own);
        goto done;
    }
    if (w->rank == 0) rc = rd_dir_make(own);
    if (w->rank == 0 && rc == RD_OK)
        rc = link_from(own, stage->folder ? "../../.." : "../..", stage);
    RD_TRY(rd_agree(w, rc));
done:
    rd_free(own);
    rd_buf_free(&dir);
    return rc;
}
