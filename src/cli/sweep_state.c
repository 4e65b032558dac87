/* sweep_state.c: where a member of a sweep stands, from what its directory holds.
 *
 * member.json says what the member's last job said of itself; whether a job that said "running"
 * still runs is known from the lock on the directory, which ends with the job's processes. */
#include "cli/sweep.h"

#include <stdlib.h>
#include <string.h>

const char *member_state_name(member_state state)
{
    static const char *const names[MEMBER_STATES] = {[MEMBER_DONE] = "done",
                                                     [MEMBER_STOPPED] = "stopped",
                                                     [MEMBER_RUNNING] = "running",
                                                     [MEMBER_FAILED] = "failed",
                                                     [MEMBER_MISSING] = "missing"};
    return names[state];
}

static void stand(member_standing *st, member_state state, const char *reason)
{
    st->state = state;
    rd_free(st->reason);
    st->reason = rd_strdup(reason ? reason : "");
}

static bool ends_with(const char *text, const char *ending)
{
    const size_t n = strlen(text), m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}

/* ---------------------------------------------------------------- files */

char *member_file_damage(const char *path)
{
    const rd_comm self = rd_comm_self();
    rd_store *s = NULL;
    char *reason = NULL;
    if (rd_store_open(&self, path, NULL, 0, &s) != RD_OK)
        reason = rd_strdup(rd_error_get()->message);
    rd_store_close(&s);
    rd_error_clear();
    return reason;
}

/* The same, of a path whose links lead to files that other members have too. */
static const char *seen_damage(member_seen *seen, const char *path)
{
    char *real = realpath(path, NULL);
    const char *name = real ? real : path;
    int i = 0;
    while (i < seen->n && strcmp(seen->path[i], name) != 0) i++;
    if (i == seen->n) {
        rd_resize(seen->path, seen->n + 1);
        rd_resize(seen->reason, seen->n + 1);
        seen->path[seen->n] = rd_strdup(name);
        seen->reason[seen->n++] = member_file_damage(path);
    }
    free(real);
    return seen->reason[i];
}

void member_seen_free(member_seen *seen)
{
    for (int i = 0; i < seen->n; i++) {
        rd_free(seen->path[i]);
        rd_free(seen->reason[i]);
    }
    rd_free(seen->path);
    rd_free(seen->reason);
    *seen = (member_seen){0};
}

static bool is_checkpoint(const char *file)
{
    return strstr(file, "/checkpoints/") != NULL;
}
static bool is_linked(const char *file)
{
    return strchr(file, '/') == NULL;
}

static void count_files(const char *dir, member_standing *st)
{
    rd_buf path = {0};
    for (int i = 0; i < st->n_files; i++) {
        rd_buf_clear(&path);
        rd_buf_printf(&path, "%s/%s", dir, st->file[i]);
        st->n_there += rd_file_exists(path.data);
    }
    rd_buf_free(&path);
}

/* Is what its stages end with there, whole?  Otherwise the member has failed. */
static void verify_files(const char *dir, member_seen *seen, member_standing *st)
{
    rd_buf path = {0};
    for (int i = 0; i < st->n_files && st->state == MEMBER_DONE; i++) {
        const char *file = st->file[i];
        rd_buf_clear(&path);
        rd_buf_printf(&path, "%s/%s", dir, file);
        if (!rd_file_exists(path.data)) {
            rd_buf_puts(&path, ": gone");
            stand(st, MEMBER_FAILED, path.data);
        } else if (ends_with(file, ".h5") && !is_checkpoint(file)) {
            char *own = is_linked(file) ? NULL : member_file_damage(path.data);
            const char *why = is_linked(file) ? seen_damage(seen, path.data) : own;
            if (why) stand(st, MEMBER_FAILED, why);
            rd_free(own);
        } else if (strcmp(file, "report.json") == 0 &&
                   rd_json_read(path.data, &st->report) != RD_OK) {
            stand(st, MEMBER_FAILED, rd_error_get()->message);
            rd_error_clear();
        }
    }
    rd_buf_free(&path);
}

/* ---------------------------------------------------------------- member.json */

static uint64_t hex(const rd_json_node *object, const char *key)
{
    const rd_json_node *v = rd_json_get(object, key);
    const char *text = v ? rd_json_string(v) : NULL;
    return text ? strtoull(text, NULL, 16) : 0;
}

static void take_files(const rd_json_node *list, member_standing *st)
{
    if (!list || rd_json_kind(list) != RD_JSON_ARRAY) return;
    st->file = rd_new(char *, rd_json_count(list));
    for (const rd_json_node *v = rd_json_first(list); v; v = rd_json_next(v))
        if (rd_json_string(v)) st->file[st->n_files++] = rd_strdup(rd_json_string(v));
}

/* A job that said "running": does it? */
static void look_alive(const char *dir, member_standing *st)
{
    char holder[320];
    rd_buf path = {0};
    rd_buf_printf(&path, "%s/LOCK", dir);
    switch (rd_lock_look(path.data, holder, sizeof holder)) {
    case RD_LOCK_HELD: stand(st, MEMBER_RUNNING, holder); break;
    case RD_LOCK_UNKNOWN:
        stand(st, MEMBER_RUNNING, "or killed: this file system has no locks that would tell");
        break;
    default:
        stand(st, MEMBER_FAILED, "killed, or ended without a word: no process holds its directory");
    }
    rd_buf_free(&path);
}

static void take_state(const rd_json_node *root, const char *dir, member_standing *st)
{
    const rd_json_node *state = rd_json_get(root, "state"), *why = rd_json_get(root, "reason");
    const char *word = state ? rd_json_string(state) : NULL,
               *reason = why ? rd_json_string(why) : "";
    if (word && strcmp(word, "done") == 0)
        stand(st, MEMBER_DONE, "");
    else if (word && strcmp(word, "stopped") == 0)
        stand(st, MEMBER_STOPPED, reason);
    else if (word && strcmp(word, "running") == 0)
        look_alive(dir, st);
    else
        stand(st, MEMBER_FAILED, word ? reason : "member.json says no state");
}

/* member.json of another plan, of a member that had this index there. */
static bool is_other(const sweep_member *m, const rd_json_node *root, member_standing *st)
{
    rd_buf why = {0};
    if (hex(root, "key") == m->key) return false;
    const rd_json_node *label = rd_json_get(root, "label");
    rd_buf_printf(&why, "its directory holds another plan's member (%s)",
                  label && rd_json_string(label) ? rd_json_string(label) : "?");
    stand(st, MEMBER_MISSING, why.data);
    rd_buf_free(&why);
    return true;
}

void member_look(const sweep *s, const sweep_member *m, bool verify, member_seen *seen,
                 member_standing *st)
{
    rd_buf dir = {0}, path = {0};
    rd_json *doc = NULL;
    *st = (member_standing){0};
    sweep_member_dir(s, m->index, &dir);
    rd_buf_printf(&path, "%s/member.json", dir.data);
    if (!rd_file_exists(path.data)) {
        stand(st, MEMBER_MISSING, "");
        goto done;
    }
    if (rd_json_read(path.data, &doc) != RD_OK) {
        stand(st, MEMBER_FAILED, rd_error_get()->message);
        rd_error_clear();
        goto done;
    }
    const rd_json_node *root = rd_json_root(doc);
    if (is_other(m, root, st)) goto done;
    const rd_json_node *seconds = rd_json_get(root, "seconds");
    st->seconds = seconds ? rd_json_number(seconds) : 0;
    st->config = hex(root, "config");
    take_files(rd_json_get(root, "files"), st);
    take_state(root, dir.data, st);
    count_files(dir.data, st);
    if (verify) verify_files(dir.data, seen, st);
done:
    rd_json_free(&doc);
    rd_buf_free(&dir);
    rd_buf_free(&path);
}

void member_standing_free(member_standing *st)
{
    for (int i = 0; i < st->n_files; i++) rd_free(st->file[i]);
    rd_free(st->file);
    rd_free(st->reason);
    rd_json_free(&st->report);
    *st = (member_standing){0};
}
