/* sweep_run.c: a member of a sweep as a run: which one, and what it says of itself in member.json.
 */
#include "cli/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* member.json is at least so long, so that how a member ended finds room in it even on a full
 * disk. */
enum { MEMBER_BYTES = 4096 };

/* ---------------------------------------------------------------- which member */

static int choose_index(int64_t given, int64_t *index)
{
    int rc = RD_OK;
    char *end;
    const char *text = getenv("SLURM_ARRAY_TASK_ID");
    *index = given;
    if (given >= 0) goto done;
    if (!text || !*text)
        RD_FAIL(RD_EUSAGE, "run --sweep: which member?  --index I, or a job array's "
                           "SLURM_ARRAY_TASK_ID");
    *index = strtoll(text, &end, 10);
    if (*end || *index < 0)
        RD_FAIL(RD_EUSAGE, "SLURM_ARRAY_TASK_ID: expected a number from 0 on, got '%s'", text);
done:
    return rc;
}

static int open_member(const char *spec, int64_t given, int n_sets, const char *const *sets,
                       sweep_run *r)
{
    int rc = RD_OK;
    int64_t index = 0;
    RD_TRY(choose_index(given, &index));
    RD_TRY(sweep_load(spec, &r->s));
    if (index >= r->s.n)
        RD_FAIL(RD_EUSAGE, "%s: there is no member %lld; the last is %lld", spec, (long long)index,
                (long long)r->s.n - 1);
    r->m = &r->s.member[index];
    RD_TRY(sweep_member_sets(&r->s, r->m, n_sets, sets, &r->sets));
done:
    return rc;
}

int sweep_run_open(const char *spec, int64_t index, int n_sets, const char *const *sets,
                   sweep_run *r)
{
    int rc = RD_OK;
    rd_comm world = rd_comm_world();
    RD_TRY(rd_agree(&world, open_member(spec, index, n_sets, sets, r)));
    rd_info("member   %lld of %lld of the sweep %s: %s", (long long)r->m->index, (long long)r->s.n,
            r->s.name, r->m->label);
done:
    return rc;
}

void sweep_run_close(sweep_run *r)
{
    sweep_sets_free(&r->sets);
    sweep_free(&r->s);
}

/* ---------------------------------------------------------------- what it ends with */

static void add_file(rd_json_node *list, const char *arm, const char *file)
{
    rd_buf path = {0};
    rd_buf_printf(&path, "arms/%s/%s", arm, file);
    rd_json_set_string(list, NULL, path.data);
    rd_buf_free(&path);
}

/* The files that the stages end with, in the order of the stages; metrics only when there. */
static void put_files(const job *j, rd_json_node *list)
{
    const config_scope *s = &j->cfg.keys;
    if (config_list_has(s, "stages", "augment")) rd_json_set_string(list, NULL, "traces.h5");
    if (config_list_has(s, "stages", "filter")) rd_json_set_string(list, NULL, "datasets.h5");
    for (int i = 0; i < j->cfg.n_arms; i++) {
        const config_arm *a = &j->cfg.arm[i];
        const bool sft = config_list_has(&a->keys, "stages", "sft") && !a->from,
                   align = config_list_has(&a->keys, "stages", "align");
        char *metrics = job_arm_path(j, a, "metrics.h5");
        if (sft) add_file(list, a->name, "checkpoints/sft-final.h5");
        if (align && own_wanted(a)) {
            add_file(list, a->name, "own/traces.h5");
            add_file(list, a->name, "own/datasets.h5");
        }
        if (align) add_file(list, a->name, "checkpoints/align-final.h5");
        if ((sft || align) && rd_file_exists(metrics)) add_file(list, a->name, "metrics.h5");
        if (config_list_has(&a->keys, "stages", "eval")) add_file(list, a->name, "predictions.h5");
        rd_free(metrics);
    }
    if (config_list_has(s, "stages", "eval") && config_bool(s, "eval.teacher")) {
        rd_json_set_string(list, NULL, "teacher/traces.h5");
        rd_json_set_string(list, NULL, "teacher/predictions.h5");
    }
    if (config_list_has(s, "stages", "report")) rd_json_set_string(list, NULL, "report.json");
}

/* ---------------------------------------------------------------- member.json */

static void put_hex(rd_json_node *o, const char *key, uint64_t value)
{
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    rd_json_set_string(o, key, text);
}

static void put_identity(const sweep_run *r, rd_json_node *o)
{
    rd_json_set_string(o, "sweep", r->s.name);
    rd_json_set_int(o, "index", r->m->index);
    rd_json_set_string(o, "label", r->m->label);
    rd_json_set_int(o, "seed", r->m->seed);
    rd_json_node *axes = rd_json_set_object(o, "axes");
    for (int a = 0; a < r->s.n_axes; a++)
        rd_json_set_string(axes, r->s.axis[a].name, r->m->axis[a]);
}

static void print_member(const job *j, const char *state, const char *reason, double seconds,
                         rd_buf *out)
{
    const sweep_run *r = j->member;
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *root = rd_json_root(doc);
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    rd_json_set_string(root, "schema", "redistill.member");
    rd_json_set_int(root, "schema_version", 1);
    put_identity(r, root);
    put_hex(root, "key", r->m->key);
    put_hex(root, "config", r->config);
    rd_json_set_string(root, "state", state);
    rd_json_set_string(root, "reason", reason);
    rd_json_set_number(root, "seconds", seconds);
    rd_json_set_string(root, "host", host);
    if (getenv("SLURM_JOB_ID")) rd_json_set_string(root, "slurm_job", getenv("SLURM_JOB_ID"));
    put_files(j, rd_json_set_array(root, "files"));
    rd_json_print(root, true, out);
    rd_json_free(&doc);
    while (out->len + 1 < MEMBER_BYTES) rd_buf_putc(out, ' ');
    rd_buf_putc(out, '\n');
}

/* Where no new file finds room: over the old one, whose blocks are there. */
static bool overwrite(const char *path, rd_buf *text)
{
    struct stat st;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool good = fstat(fd, &st) == 0 && (size_t)st.st_size >= text->len;
    text->data[text->len - 1] = ' ';
    while (good && text->len < (size_t)st.st_size) rd_buf_putc(text, ' ');
    good = good && pwrite(fd, text->data, text->len, 0) == (ssize_t)text->len;
    return close(fd) == 0 && good;
}

/* Root only. */
static int write_member(const job *j, const char *state, const char *reason)
{
    int rc = RD_OK;
    rd_buf text = {0};
    char *path = job_path(j, "member.json");
    print_member(j, state, reason, j->member->before + rd_time() - j->started, &text);
    rc = rd_file_write_atomic(path, text.data, text.len);
    if (rc == RD_EIO && overwrite(path, &text)) rc = RD_OK;
    rd_buf_free(&text);
    rd_free(path);
    return rc;
}

/* ---------------------------------------------------------------- beginning */

int sweep_run_finished(job *j, bool *finished)
{
    sweep_run *r = j->member;
    rd_comm world = rd_comm_world();
    int64_t done = 0;
    shared_keys_of(&j->cfg, &r->shared);
    r->config = rd_hash_str(j->cfg.resolved, 1);
    if (world.rank == 0) {
        member_seen seen = {0};
        member_standing st;
        member_look(&r->s, r->m, true, &seen, &st);
        done = st.state == MEMBER_DONE && st.config == r->config;
        r->before = st.config == r->config ? st.seconds : 0;
        member_standing_free(&st);
        member_seen_free(&seen);
    }
    rd_bcast(&world, &done, sizeof done, 0);
    *finished = done != 0;
    if (*finished) rd_info("member   %lld is done already: %s", (long long)r->m->index, j->dir);
    return RD_OK;
}

/* Is sweep.json there and of this spec? */
static bool plan_is_there(const sweep_run *r)
{
    sweep there = {0};
    rd_buf path = {0};
    rd_buf_printf(&path, "%s/sweep.json", r->s.dir);
    bool good = rd_file_exists(path.data) && sweep_file_open(path.data, &there) == RD_OK &&
                there.n == r->s.n && strcmp(there.name, r->s.name) == 0;
    for (int64_t i = 0; good && i < there.n; i++) good = there.member[i].key == r->s.member[i].key;
    rd_error_clear();
    sweep_free(&there);
    rd_buf_free(&path);
    return good;
}

/* For those that run a member without a plan: what all members share must be resolved for it. */
static int make_plan(const sweep_run *r)
{
    int rc = RD_OK;
    shared_keys *shared = rd_new(shared_keys, r->s.n);
    for (int64_t i = 0; i < r->s.n; i++) {
        config c;
        sweep_sets sets;
        RD_TRY(sweep_member_sets(&r->s, &r->s.member[i], 0, NULL, &sets));
        rc = config_load(r->s.base, sets.n, (const char *const *)sets.text, &c);
        sweep_sets_free(&sets);
        if (rc == RD_OK)
            shared_keys_of(&c, &shared[i]);
        else
            rd_error_clear(); /* `sweep plan` says what is wrong with it */
        if (rc == RD_OK) config_free(&c);
        rc = RD_OK;
    }
    RD_TRY(sweep_file_write(&r->s, shared));
done:
    rd_free(shared);
    return rc;
}

/* Members that begin together would write it together: one does. */
static int need_plan(const sweep_run *r)
{
    int rc = RD_OK;
    const rd_comm self = rd_comm_self();
    rd_lock *lock = NULL;
    rd_buf path = {0};
    if (plan_is_there(r)) goto done;
    rd_buf_printf(&path, "%s/LOCK", r->s.dir);
    RD_TRY(rd_lock_await(&self, path.data, "plan    ", &lock));
    if (!plan_is_there(r)) RD_TRY(make_plan(r));
done:
    rd_lock_release(&lock);
    rd_buf_free(&path);
    return rc;
}

/* Results of an arm, or of the teacher, that no longer fit their checksum are put aside, to be made
 * again. */
static int put_aside(const job *j)
{
    int rc = RD_OK;
    static const char *const files[] = {"predictions.h5", "metrics.h5", "own/traces.h5",
                                        "own/datasets.h5"};
    enum { FILES = sizeof files / sizeof *files };
    const int n = FILES * j->cfg.n_arms;
    for (int i = 0; i <= n; i++) {
        char *path = i < n ? job_arm_path(j, &j->cfg.arm[i / FILES], files[i % FILES])
                           : job_path(j, "teacher/predictions.h5");
        char *damage = rd_file_exists(path) ? member_file_damage(path) : NULL;
        rd_buf away = {0};
        rd_buf_printf(&away, "%s.damaged", path);
        if (damage) rd_warn("%s; put aside as %s", damage, away.data);
        if (damage && rename(path, away.data) != 0)
            rc = rd_error_set(RD_EIO, __FILE__, __LINE__, __func__, "%s: %m", path);
        rd_buf_free(&away);
        rd_free(damage);
        rd_free(path);
        if (rc != RD_OK) break;
    }
    return rc;
}

static int root_begin(const job *j)
{
    int rc = RD_OK;
    RD_TRY(need_plan(j->member));
    RD_TRY(put_aside(j));
    RD_TRY(write_member(j, "running", ""));
done:
    return rc;
}

int sweep_run_begin(job *j)
{
    int rc = RD_OK;
    const rd_comm *w = &j->grid->world;
    RD_TRY(rd_agree(w, w->rank == 0 ? root_begin(j) : RD_OK));
    j->member->mine = true;
done:
    return rc;
}

/* ---------------------------------------------------------------- ending */

int sweep_run_end(job *j, int code)
{
    const rd_comm world = rd_comm_world();
    int rc = RD_OK;
    if (!j->member->mine) return code;
    if (world.rank == 0 && code == RD_OK) rc = write_member(j, "done", "");
    if (code == RD_OK) return rd_agree(&world, rc);
    if (world.rank == 0)
        (void)write_member(j, code == RD_ESTOP ? "stopped" : "failed", rd_error_get()->message);
    return code;
}

void sweep_run_describe(const job *j, rd_json_node *root)
{
    const sweep_run *r = j->member;
    rd_buf path = {0};
    rd_json_node *o = rd_json_set_object(root, "member");
    put_identity(r, o);
    rd_json_node *shared = rd_json_set_object(o, "shared");
    rd_buf_printf(&path, "../../shared/%016llx/traces.h5", (unsigned long long)r->shared.traces);
    rd_json_set_string(shared, "traces.h5", path.data);
    rd_buf_clear(&path);
    rd_buf_printf(&path, "../../shared/%016llx/datasets.h5",
                  (unsigned long long)r->shared.datasets);
    rd_json_set_string(shared, "datasets.h5", path.data);
    rd_buf_free(&path);
}
