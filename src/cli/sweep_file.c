/* sweep_file.c: sweep.json, the plan of a sweep: written whole or not at all, read back. */
#include "cli/sweep.h"

#include <stdlib.h>
#include <string.h>

#define SCHEMA "redistill.sweep-plan"

/* ---------------------------------------------------------------- writing */

/* "key=value"s as an object. */
static int put_sets(const sweep_sets *sets, rd_json_node *object)
{
    int rc = RD_OK;
    rd_json *doc = NULL;
    for (int i = 0; i < sets->n; i++) {
        const char *text = sets->text[i], *value = strchr(text, '=') + 1;
        char *key = rd_strndup(text, (size_t)(value - text) - 1);
        rc = rd_json_parse(value, strlen(value), "sweep", 1, &doc);
        if (rc == RD_OK) rd_json_set_copy(object, key, rd_json_root(doc));
        rd_free(key);
        rd_json_free(&doc);
        if (rc != RD_OK) break;
    }
    return rc;
}

static int put_member(const sweep *s, const sweep_member *m, const shared_keys *k,
                      rd_json_node *list)
{
    int rc = RD_OK;
    char text[48];
    rd_json_node *o = rd_json_set_object(list, NULL);
    rd_json_set_int(o, "index", m->index);
    rd_json_set_string(o, "label", m->label);
    rd_json_set_int(o, "seed", m->seed);
    rd_json_node *axes = rd_json_set_object(o, "axes");
    for (int a = 0; a < s->n_axes; a++) rd_json_set_string(axes, s->axis[a].name, m->axis[a]);
    RD_TRY(put_sets(&m->sets, rd_json_set_object(o, "set")));
    snprintf(text, sizeof text, "members/%04lld", (long long)m->index);
    rd_json_set_string(o, "dir", text);
    snprintf(text, sizeof text, "shared/%016llx", (unsigned long long)k->datasets);
    rd_json_set_string(o, "shared", text);
    snprintf(text, sizeof text, "shared/%016llx", (unsigned long long)k->traces);
    rd_json_set_string(o, "shared_traces", text);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)m->key);
    rd_json_set_string(o, "key", text);
done:
    return rc;
}

/* Two sweeps in one folder would take each other's members for their own. */
static int check_folder(const sweep *s, const char *path)
{
    int rc = RD_OK;
    sweep there = {0};
    if (!rd_file_exists(path)) return RD_OK;
    if (sweep_file_open(path, &there) != RD_OK) {
        rd_error_clear(); /* damaged: it is written anew */
        return RD_OK;
    }
    if (strcmp(there.name, s->name) != 0)
        RD_FAIL(RD_EINPUT, "%s: sweep.dir: %s is the folder of the sweep '%s'", s->path, s->dir,
                there.name);
done:
    sweep_free(&there);
    return rc;
}

int sweep_file_write(const sweep *s, const shared_keys *shared)
{
    int rc = RD_OK;
    rd_buf text = {0}, path = {0};
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *root = rd_json_root(doc);
    rd_buf_printf(&path, "%s/sweep.json", s->dir);
    RD_TRY(check_folder(s, path.data));
    rd_json_set_string(root, "schema", SCHEMA);
    rd_json_set_int(root, "schema_version", 1);
    rd_json_set_string(root, "name", s->name);
    rd_json_set_string(root, "spec", s->path);
    rd_json_set_string(root, "base", s->base);
    rd_json_node *axes = rd_json_set_array(root, "axes");
    for (int a = 0; a < s->n_axes; a++) rd_json_set_string(axes, NULL, s->axis[a].name);
    rd_json_node *members = rd_json_set_array(root, "members");
    for (int64_t i = 0; i < s->n; i++) RD_TRY(put_member(s, &s->member[i], &shared[i], members));
    rd_json_print(root, true, &text);
    rd_buf_putc(&text, '\n');
    RD_TRY(rd_dir_make(s->dir));
    RD_TRY(rd_file_write_atomic(path.data, text.data, text.len));
done:
    rd_json_free(&doc);
    rd_buf_free(&text);
    rd_buf_free(&path);
    return rc;
}

/* ---------------------------------------------------------------- reading */

static int take_text(const rd_json *doc, const rd_json_node *object, const char *key,
                     const char *path, char **out)
{
    int rc = RD_OK;
    const rd_json_node *v = rd_json_get(object, key);
    if (!v || !rd_json_string(v))
        RD_FAIL(RD_EINPUT, "%s:%d: '%s' is missing or no text", path, rd_json_line(doc, object),
                key);
    *out = rd_strdup(rd_json_string(v));
done:
    return rc;
}

static int take_member(const rd_json *doc, const rd_json_node *o, const char *path, sweep *s)
{
    int rc = RD_OK;
    char *key = NULL;
    sweep_member *m = &s->member[s->n];
    *m = (sweep_member){.index = s->n++};
    const rd_json_node *index = rd_json_get(o, "index"), *seed = rd_json_get(o, "seed"),
                       *axes = rd_json_get(o, "axes");
    if (!index || rd_json_int(index) != m->index || !seed || !rd_json_is_int(seed))
        RD_FAIL(RD_EINPUT, "%s:%d: members: expected index %lld and a seed", path,
                rd_json_line(doc, o), (long long)m->index);
    m->seed = rd_json_int(seed);
    RD_TRY(take_text(doc, o, "label", path, &m->label));
    RD_TRY(take_text(doc, o, "key", path, &key));
    m->key = strtoull(key, NULL, 16);
    for (int a = 0; a < s->n_axes; a++)
        RD_TRY(take_text(doc, axes ? axes : o, s->axis[a].name, path, &m->axis[a]));
done:
    rd_free(key);
    return rc;
}

static int take_plan(const rd_json *doc, const rd_json_node *root, const char *path, sweep *s)
{
    int rc = RD_OK;
    const char *schema = rd_json_string(rd_json_get(root, "schema"));
    const rd_json_node *axes = rd_json_get(root, "axes"), *members = rd_json_get(root, "members");
    if (!schema || strcmp(schema, SCHEMA) != 0)
        RD_FAIL(RD_EINPUT, "%s: not the plan of a sweep (redistill sweep plan writes one)", path);
    if (rd_json_int(rd_json_get(root, "schema_version")) != 1)
        RD_FAIL(RD_EINPUT, "%s: schema_version: this program reads 1", path);
    if (!axes || !members || rd_json_count(axes) > SWEEP_MAX_AXES)
        RD_FAIL(RD_EINPUT, "%s: axes and members: missing, or too many", path);
    RD_TRY(take_text(doc, root, "name", path, &s->name));
    RD_TRY(take_text(doc, root, "spec", path, &s->path));
    RD_TRY(take_text(doc, root, "base", path, &s->base));
    for (const rd_json_node *v = rd_json_first(axes); v; v = rd_json_next(v)) {
        if (!rd_json_string(v)) RD_FAIL(RD_EINPUT, "%s: axes: expected names", path);
        s->axis[s->n_axes++].name = rd_strdup(rd_json_string(v));
    }
    s->member = rd_new(sweep_member, rd_json_count(members));
    for (const rd_json_node *v = rd_json_first(members); v; v = rd_json_next(v))
        RD_TRY(take_member(doc, v, path, s));
done:
    return rc;
}

/* dir: the sweep's folder, wherever it is now. */
static int read_plan(const char *path, const char *dir, sweep *s)
{
    int rc = RD_OK;
    rd_json *doc = NULL;
    memset(s, 0, sizeof *s);
    RD_TRY(rd_json_read(path, &doc));
    s->dir = rd_strdup(dir);
    RD_TRY(take_plan(doc, rd_json_root(doc), path, s));
done:
    rd_json_free(&doc);
    if (rc != RD_OK) sweep_free(s);
    return rc;
}

int sweep_file_open(const char *file, sweep *s)
{
    int rc = RD_OK;
    const size_t n = strlen(file);
    const char *slash = strrchr(file, '/');
    rd_buf path = {0}, dir = {0};
    if (strcmp(slash ? slash + 1 : file, "sweep.json") == 0) {
        rd_buf_add(&dir, slash ? file : ".", slash ? (size_t)(slash - file) : 1);
        rc = read_plan(file, dir.data, s);
    } else if (n > 5 && strcmp(file + n - 5, ".json") == 0) {
        rc = sweep_load(file, s);
    } else {
        rd_buf_puts(&dir, file);
        while (dir.len > 1 && dir.data[dir.len - 1] == '/') dir.data[--dir.len] = '\0';
        rd_buf_printf(&path, "%s/sweep.json", dir.data);
        rc = read_plan(path.data, dir.data, s);
    }
    rd_buf_free(&path);
    rd_buf_free(&dir);
    return rc;
}
