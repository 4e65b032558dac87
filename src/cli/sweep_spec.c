/* sweep_spec.c: reading the spec of a sweep. */
#include "cli/sweep.h"

#include <string.h>

typedef struct reader {
    const rd_json *doc;
    const char *path;
    sweep *s;
} reader;

/* The arguments of a message that begins with "%s:%d: ". */
#define AT(r, node) (r)->path, rd_json_line((r)->doc, node)

enum { LONGEST_LABEL = 60, LONGEST_NAME = 40, MAX_SEEDS = 10000 };

/* ---------------------------------------------------------------- small things */

void sweep_sets_add(sweep_sets *sets, const char *key, const rd_json_node *value)
{
    rd_buf text = {0};
    rd_buf_printf(&text, "%s=", key);
    rd_json_print(value, false, &text);
    rd_resize(sets->text, sets->n + 1);
    sets->text[sets->n++] = rd_buf_take(&text);
}

void sweep_sets_free(sweep_sets *sets)
{
    for (int i = 0; i < sets->n; i++) rd_free(sets->text[i]);
    RD_FREE(sets->text);
    sets->n = 0;
}

static const char *nearest(const char *word, const char *const *known)
{
    const char *best = known[0];
    for (const char *const *k = known; *k; k++)
        if (rd_edit_distance(word, *k) < rd_edit_distance(word, best)) best = *k;
    return best;
}

/* An object with none but known keys; known ends with NULL. */
static int take_object(const reader *r, const rd_json_node *v, const char *what,
                       const char *const *known)
{
    int rc = RD_OK;
    if (rd_json_kind(v) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s:%d: %s: expected an object", AT(r, v), what);
    for (const rd_json_node *m = rd_json_first(v); m; m = rd_json_next(m)) {
        const char *key = rd_json_key(m), *const *k = known;
        while (*k && strcmp(*k, key) != 0) k++;
        if (!*k)
            RD_FAIL(RD_EINPUT, "%s:%d: %s: unknown key '%s'; did you mean '%s'?", AT(r, m), what,
                    key, nearest(key, known));
    }
done:
    return rc;
}

/* A name that also serves as a directory and as a column. */
static int take_name(const reader *r, const rd_json_node *v, const char *what, char **name)
{
    int rc = RD_OK;
    const char *s = rd_json_string(v);
    if (!s || !*s || strlen(s) > LONGEST_NAME ||
        strspn(s, "abcdefghijklmnopqrstuvwxyz"
                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != strlen(s))
        RD_FAIL(RD_EINPUT, "%s:%d: %s: expected a short name of letters, digits, - and _", AT(r, v),
                what);
    *name = rd_strdup(s);
done:
    return rc;
}

static int take_list(const reader *r, const rd_json_node *v, const char *what)
{
    int rc = RD_OK;
    if (rd_json_kind(v) != RD_JSON_ARRAY || !rd_json_first(v))
        RD_FAIL(RD_EINPUT, "%s:%d: %s: expected a list that is not empty", AT(r, v), what);
done:
    return rc;
}

/* ---------------------------------------------------------------- keys of the config */

static bool has_key(const sweep_sets *sets, const char *key)
{
    const size_t n = strlen(key);
    for (int i = 0; i < sets->n; i++)
        if (strncmp(sets->text[i], key, n) == 0 && sets->text[i][n] == '=') return true;
    return false;
}

/* Is this a key that members may set?  what: where it stands. */
static int check_key(const reader *r, const rd_json_node *at, const char *what, const char *key)
{
    int rc = RD_OK;
    const char *near = config_nearest(key);
    if (near)
        RD_FAIL(RD_EINPUT, "%s:%d: %s: unknown key '%s' of the config; did you mean '%s'?",
                AT(r, at), what, key, near);
    if (strcmp(key, "run.seed") == 0)
        RD_FAIL(RD_EINPUT, "%s:%d: %s: run.seed is what \"seeds\" lists", AT(r, at), what);
    if (strcmp(key, "run.dir") == 0 || strcmp(key, "run.name") == 0)
        RD_FAIL(RD_EINPUT, "%s:%d: %s: a sweep gives each member its own %s", AT(r, at), what, key);
done:
    return rc;
}

static int take_sets(const reader *r, const rd_json_node *v, const char *what, sweep_sets *sets)
{
    int rc = RD_OK;
    if (rd_json_kind(v) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s:%d: %s: expected an object of keys as --set takes them", AT(r, v),
                what);
    for (const rd_json_node *m = rd_json_first(v); m; m = rd_json_next(m)) {
        RD_TRY(check_key(r, m, what, rd_json_key(m)));
        sweep_sets_add(sets, rd_json_key(m), m);
    }
done:
    return rc;
}

/* ---------------------------------------------------------------- axes */

/* A value as a label: strings as they are, the items of a list joined. */
static void put_label(const rd_json_node *v, rd_buf *out)
{
    if (rd_json_string(v)) {
        rd_buf_puts(out, rd_json_string(v));
    } else if (rd_json_kind(v) == RD_JSON_ARRAY) {
        for (const rd_json_node *e = rd_json_first(v); e; e = rd_json_next(e)) {
            if (e != rd_json_first(v)) rd_buf_putc(out, ',');
            put_label(e, out);
        }
    } else {
        rd_json_print(v, false, out);
    }
}

static int take_label(const reader *r, const rd_json_node *v, const sweep_axis *a,
                      sweep_value *value)
{
    int rc = RD_OK;
    rd_buf text = {0};
    put_label(v, &text);
    value->label = rd_buf_take(&text);
    size_t plain = strlen(value->label);
    for (const char *c = value->label; *c; c++) plain -= (unsigned char)*c < ' ';
    if (!*value->label || strlen(value->label) > LONGEST_LABEL || plain != strlen(value->label))
        RD_FAIL(RD_EINPUT,
                "%s:%d: axis '%s': a label is a text of 1 to %d characters on one line; give "
                "\"labels\"",
                AT(r, v), a->name, LONGEST_LABEL);
    for (const sweep_value *o = a->value; o < value; o++)
        if (strcmp(o->label, value->label) == 0)
            RD_FAIL(RD_EINPUT, "%s:%d: axis '%s': two values are called '%s'", AT(r, v), a->name,
                    value->label);
done:
    return rc;
}

/* {"label": ..., "set": {...}} */
static int take_labelled(const reader *r, const rd_json_node *v, const sweep_axis *a,
                         sweep_value *value)
{
    static const char *const known[] = {"label", "set", NULL};
    int rc = RD_OK;
    char what[80];
    snprintf(what, sizeof what, "axis '%s'", a->name);
    const bool object = rd_json_kind(v) == RD_JSON_OBJECT;
    if (object) RD_TRY(take_object(r, v, what, known));
    const rd_json_node *label = object ? rd_json_get(v, "label") : NULL;
    const rd_json_node *set = object ? rd_json_get(v, "set") : NULL;
    if (!label || !rd_json_string(label) || !set)
        RD_FAIL(RD_EINPUT,
                "%s:%d: axis '%s': without \"key\" or \"keys\" a value is {\"label\": TEXT, "
                "\"set\": {KEY: VALUE, ...}}",
                AT(r, v), a->name);
    RD_TRY(take_label(r, label, a, value));
    RD_TRY(take_sets(r, set, what, &value->sets));
done:
    return rc;
}

/* One value for each key. */
static int take_tuple(const reader *r, const rd_json_node *v, const rd_json_node *keys,
                      const sweep_axis *a, sweep_value *value)
{
    int rc = RD_OK;
    if (rd_json_kind(v) != RD_JSON_ARRAY || rd_json_count(v) != rd_json_count(keys))
        RD_FAIL(RD_EINPUT, "%s:%d: axis '%s': expected a list of %lld values, one for each key",
                AT(r, v), a->name, (long long)rd_json_count(keys));
    const rd_json_node *x = rd_json_first(v);
    for (const rd_json_node *k = rd_json_first(keys); k; k = rd_json_next(k), x = rd_json_next(x))
        sweep_sets_add(&value->sets, rd_json_string(k), x);
done:
    return rc;
}

static int take_values(const reader *r, const rd_json_node *v, sweep_axis *a)
{
    int rc = RD_OK;
    const rd_json_node *key = rd_json_get(v, "key"), *keys = rd_json_get(v, "keys");
    const rd_json_node *values = rd_json_get(v, "values"), *labels = rd_json_get(v, "labels");
    char what[80];
    snprintf(what, sizeof what, "axis '%s': values", a->name);
    if (!values) RD_FAIL(RD_EINPUT, "%s:%d: %s: must be given", AT(r, v), what);
    RD_TRY(take_list(r, values, what));
    if (labels && (rd_json_kind(labels) != RD_JSON_ARRAY ||
                   rd_json_count(labels) != rd_json_count(values) || (!key && !keys)))
        RD_FAIL(RD_EINPUT,
                "%s:%d: axis '%s': labels: expected a list with one label for each value",
                AT(r, labels), a->name);
    a->value = rd_new(sweep_value, rd_json_count(values));
    const rd_json_node *label = labels ? rd_json_first(labels) : NULL;
    for (const rd_json_node *x = rd_json_first(values); x; x = rd_json_next(x)) {
        sweep_value *value = &a->value[a->n++];
        if (!key && !keys) {
            RD_TRY(take_labelled(r, x, a, value));
            continue;
        }
        if (key)
            sweep_sets_add(&value->sets, rd_json_string(key), x);
        else
            RD_TRY(take_tuple(r, x, keys, a, value));
        RD_TRY(take_label(r, label ? label : x, a, value));
        if (label) label = rd_json_next(label);
    }
done:
    return rc;
}

static int check_axis_keys(const reader *r, const rd_json_node *v, const sweep_axis *a)
{
    int rc = RD_OK;
    const rd_json_node *key = rd_json_get(v, "key"), *keys = rd_json_get(v, "keys");
    char what[80];
    snprintf(what, sizeof what, "axis '%s'", a->name);
    if (key && keys) RD_FAIL(RD_EINPUT, "%s:%d: %s: either \"key\" or \"keys\"", AT(r, keys), what);
    if (key && !rd_json_string(key))
        RD_FAIL(RD_EINPUT, "%s:%d: %s: key: expected a string", AT(r, key), what);
    if (key) RD_TRY(check_key(r, key, what, rd_json_string(key)));
    if (!keys) goto done;
    RD_TRY(take_list(r, keys, what));
    for (const rd_json_node *k = rd_json_first(keys); k; k = rd_json_next(k)) {
        if (!rd_json_string(k))
            RD_FAIL(RD_EINPUT, "%s:%d: %s: keys: expected strings", AT(r, k), what);
        RD_TRY(check_key(r, k, what, rd_json_string(k)));
        for (const rd_json_node *o = rd_json_first(keys); o != k; o = rd_json_next(o))
            if (strcmp(rd_json_string(o), rd_json_string(k)) == 0)
                RD_FAIL(RD_EINPUT, "%s:%d: %s: keys: '%s' stands there twice", AT(r, k), what,
                        rd_json_string(k));
    }
done:
    return rc;
}

/* Which of two axes would win?  Neither may be asked. */
static int check_overlap(const reader *r, const rd_json_node *v, const sweep_axis *a)
{
    int rc = RD_OK;
    for (const sweep_axis *b = r->s->axis; b < a; b++)
        for (int i = 0; i < a->n; i++)
            for (int k = 0; k < a->value[i].sets.n; k++) {
                char key[200];
                const char *text = a->value[i].sets.text[k];
                snprintf(key, sizeof key, "%.*s", (int)strcspn(text, "="), text);
                for (int j = 0; j < b->n; j++)
                    if (has_key(&b->value[j].sets, key))
                        RD_FAIL(RD_EINPUT, "%s:%d: axes '%s' and '%s' both set %s", AT(r, v),
                                b->name, a->name, key);
            }
done:
    return rc;
}

static int take_axes(reader *r, const rd_json_node *axes)
{
    static const char *const known[] = {"name", "key", "keys", "values", "labels", NULL};
    int rc = RD_OK;
    sweep *s = r->s;
    if (!axes) goto done;
    if (rd_json_kind(axes) != RD_JSON_ARRAY)
        RD_FAIL(RD_EINPUT, "%s:%d: axes: expected a list of objects", AT(r, axes));
    for (const rd_json_node *v = rd_json_first(axes); v; v = rd_json_next(v)) {
        if (s->n_axes == SWEEP_MAX_AXES)
            RD_FAIL(RD_EINPUT, "%s:%d: axes: at most %d", AT(r, v), SWEEP_MAX_AXES);
        sweep_axis *a = &s->axis[s->n_axes++];
        RD_TRY(take_object(r, v, "axes", known));
        const rd_json_node *name = rd_json_get(v, "name");
        RD_TRY(take_name(r, name ? name : v, "axes: name", &a->name));
        for (const sweep_axis *b = s->axis; b < a; b++)
            if (strcmp(b->name, a->name) == 0)
                RD_FAIL(RD_EINPUT, "%s:%d: axes: two are called '%s'", AT(r, v), a->name);
        if (strcmp(a->name, "seed") == 0)
            RD_FAIL(RD_EINPUT, "%s:%d: axes: the axis 'seed' is what \"seeds\" lists", AT(r, v));
        RD_TRY(check_axis_keys(r, v, a));
        RD_TRY(take_values(r, v, a));
        RD_TRY(check_overlap(r, v, a));
    }
done:
    return rc;
}

/* ---------------------------------------------------------------- seeds, exclusions */

static int take_seeds(reader *r, const rd_json_node *seeds)
{
    int rc = RD_OK;
    sweep *s = r->s;
    if (!seeds) {
        s->seed = rd_new(int64_t, 1);
        s->seed[s->n_seeds++] = 1;
        goto done;
    }
    RD_TRY(take_list(r, seeds, "seeds"));
    if (rd_json_count(seeds) > MAX_SEEDS)
        RD_FAIL(RD_EINPUT, "%s:%d: seeds: at most %d", AT(r, seeds), MAX_SEEDS);
    s->seed = rd_new(int64_t, rd_json_count(seeds));
    for (const rd_json_node *v = rd_json_first(seeds); v; v = rd_json_next(v)) {
        if (!rd_json_is_int(v) || rd_json_number(v) < 0)
            RD_FAIL(RD_EINPUT, "%s:%d: seeds: expected whole numbers from 0 on", AT(r, v));
        for (int i = 0; i < s->n_seeds; i++)
            if (s->seed[i] == rd_json_int(v))
                RD_FAIL(RD_EINPUT, "%s:%d: seeds: %lld stands there twice", AT(r, v),
                        (long long)s->seed[i]);
        s->seed[s->n_seeds++] = rd_json_int(v);
    }
done:
    return rc;
}

/* One value of an exclusion: mark where it is met. */
static int exclude_value(const reader *r, const rd_json_node *v, int axis, bool *hit)
{
    int rc = RD_OK;
    const sweep *s = r->s;
    rd_buf text = {0};
    bool met = false;
    put_label(v, &text);
    const char *word = text.data ? text.data : "";
    for (int i = 0; axis >= 0 && i < s->axis[axis].n; i++)
        if (strcmp(s->axis[axis].value[i].label, word) == 0) met = hit[i] = true;
    for (int i = 0; axis < 0 && i < s->n_seeds; i++)
        if (rd_json_is_int(v) && s->seed[i] == rd_json_int(v)) met = hit[i] = true;
    if (!met)
        RD_FAIL(RD_EINPUT, "%s:%d: exclude: '%s' has no value '%s'", AT(r, v),
                axis < 0 ? "seed" : s->axis[axis].name, word);
done:
    rd_buf_free(&text);
    return rc;
}

static int exclude_axis(const reader *r, const rd_json_node *v, sweep_rule *rule)
{
    int rc = RD_OK, axis = -1;
    const sweep *s = r->s;
    const char *key = rd_json_key(v), *known[SWEEP_MAX_AXES + 2] = {0};
    for (int i = 0; i < s->n_axes; i++) {
        known[i] = s->axis[i].name;
        if (strcmp(key, s->axis[i].name) == 0) axis = i;
    }
    known[s->n_axes] = "seed";
    if (axis < 0 && strcmp(key, "seed") != 0)
        RD_FAIL(RD_EINPUT, "%s:%d: exclude: unknown axis '%s'; did you mean '%s'?", AT(r, v), key,
                nearest(key, known));
    bool **hit = axis < 0 ? &rule->hit_seed : &rule->hit[axis];
    *hit = rd_new(bool, axis < 0 ? s->n_seeds : s->axis[axis].n);
    if (rd_json_kind(v) != RD_JSON_ARRAY) RD_TRY(exclude_value(r, v, axis, *hit));
    for (const rd_json_node *e = rd_json_kind(v) == RD_JSON_ARRAY ? rd_json_first(v) : NULL; e;
         e = rd_json_next(e))
        RD_TRY(exclude_value(r, e, axis, *hit));
done:
    return rc;
}

static int take_exclude(reader *r, const rd_json_node *list)
{
    int rc = RD_OK;
    sweep *s = r->s;
    if (!list) goto done;
    if (rd_json_kind(list) != RD_JSON_ARRAY)
        RD_FAIL(RD_EINPUT, "%s:%d: exclude: expected a list of objects", AT(r, list));
    s->rule = rd_new(sweep_rule, rd_json_count(list));
    for (const rd_json_node *v = rd_json_first(list); v; v = rd_json_next(v)) {
        sweep_rule *rule = &s->rule[s->n_rules++];
        if (rd_json_kind(v) != RD_JSON_OBJECT || !rd_json_first(v))
            RD_FAIL(RD_EINPUT, "%s:%d: exclude: expected {AXIS: VALUE or list of values, ...}",
                    AT(r, v));
        for (const rd_json_node *m = rd_json_first(v); m; m = rd_json_next(m))
            RD_TRY(exclude_axis(r, m, rule));
    }
done:
    return rc;
}

/* ---------------------------------------------------------------- the whole */

static int take_head(reader *r, const rd_json_node *root)
{
    static const char *const known[] = {"name", "dir", NULL};
    int rc = RD_OK;
    sweep *s = r->s;
    rd_buf path = {0};
    const rd_json_node *head = rd_json_get(root, "sweep"), *base = rd_json_get(root, "base");
    if (!head) RD_FAIL(RD_EINPUT, "%s:1: \"sweep\" must be given, with a name", r->path);
    RD_TRY(take_object(r, head, "sweep", known));
    const rd_json_node *name = rd_json_get(head, "name"), *dir = rd_json_get(head, "dir");
    RD_TRY(take_name(r, name ? name : head, "sweep.name", &s->name));
    if (dir && (!rd_json_string(dir) || !*rd_json_string(dir)))
        RD_FAIL(RD_EINPUT, "%s:%d: sweep.dir: expected a path", AT(r, dir));
    if (dir)
        rd_buf_puts(&path, rd_json_string(dir));
    else
        rd_buf_printf(&path, "sweeps/%s", s->name);
    while (path.len > 1 && path.data[path.len - 1] == '/') path.data[--path.len] = '\0';
    s->dir = rd_buf_take(&path);
    if (!base || !rd_json_string(base) || !*rd_json_string(base))
        RD_FAIL(RD_EINPUT, "%s:%d: base: the path of a config must be given",
                AT(r, base ? base : head));
    const char *slash = strrchr(r->path, '/');
    if (*rd_json_string(base) != '/' && slash)
        rd_buf_add(&path, r->path, (size_t)(slash - r->path) + 1);
    rd_buf_puts(&path, rd_json_string(base));
    s->base = rd_buf_take(&path);
done:
    rd_buf_free(&path);
    return rc;
}

int sweep_parse(const char *text, size_t n, const char *path, sweep *s)
{
    static const char *const known[] = {"sweep", "base", "set", "axes", "seeds", "exclude", NULL};
    int rc = RD_OK;
    rd_json *doc = NULL;
    memset(s, 0, sizeof *s);
    s->path = rd_strdup(path);
    RD_TRY(rd_json_parse(text, n, path, 1, &doc));
    const rd_json_node *root = rd_json_root(doc);
    reader r = {doc, path, s};
    RD_TRY(take_object(&r, root, "a sweep", known));
    RD_TRY(take_head(&r, root));
    if (rd_json_get(root, "set")) RD_TRY(take_sets(&r, rd_json_get(root, "set"), "set", &s->sets));
    RD_TRY(take_axes(&r, rd_json_get(root, "axes")));
    RD_TRY(take_seeds(&r, rd_json_get(root, "seeds")));
    RD_TRY(take_exclude(&r, rd_json_get(root, "exclude")));
    RD_TRY(sweep_expand(s));
done:
    rd_json_free(&doc);
    if (rc != RD_OK) sweep_free(s);
    return rc;
}

int sweep_load(const char *path, sweep *s)
{
    int rc = RD_OK;
    rd_buf text = {0};
    memset(s, 0, sizeof *s);
    RD_TRY(rd_file_read(path, &text));
    RD_TRY(sweep_parse(text.data ? text.data : "", text.len, path, s));
done:
    rd_buf_free(&text);
    return rc;
}

static void axis_free(sweep_axis *a)
{
    for (int i = 0; i < a->n; i++) {
        rd_free(a->value[i].label);
        sweep_sets_free(&a->value[i].sets);
    }
    rd_free(a->value);
    rd_free(a->name);
}

void sweep_free(sweep *s)
{
    for (int64_t i = 0; s->member && i < s->n; i++) {
        rd_free(s->member[i].label);
        for (int a = 0; a < s->n_axes; a++) rd_free(s->member[i].axis[a]);
        sweep_sets_free(&s->member[i].sets);
    }
    rd_free(s->member);
    for (int i = 0; i < s->n_axes; i++) axis_free(&s->axis[i]);
    for (int i = 0; i < s->n_rules; i++) {
        for (int a = 0; a < SWEEP_MAX_AXES; a++) rd_free(s->rule[i].hit[a]);
        rd_free(s->rule[i].hit_seed);
    }
    rd_free(s->rule);
    rd_free(s->seed);
    sweep_sets_free(&s->sets);
    rd_free(s->path);
    rd_free(s->name);
    rd_free(s->dir);
    rd_free(s->base);
    memset(s, 0, sizeof *s);
}
