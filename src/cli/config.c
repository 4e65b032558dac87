/* config.c: reading, checking and resolving a configuration. */
#include "cli/config.h"
#include "cli/config_keys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Where a value came from, for messages: "inputs/x.json:12" or "--set". */
typedef struct origin {
    const rd_json *doc;
    const char *path;
    bool from_set;
} origin;

static void origin_text(const origin *o, const rd_json_node *v, char *out, size_t n)
{
    if (o->from_set)
        snprintf(out, n, "--set");
    else
        snprintf(out, n, "%s:%d", o->path, rd_json_line(o->doc, v));
}

/* ---------------------------------------------------------------- keys */

static int find_key(int table, const char *path)
{
    int n;
    const config_key *k = config_table(table, &n);
    for (int i = 0; i < n; i++)
        if (strcmp(k[i].path, path) == 0) return i;
    return -1;
}

static bool is_section(int table, const char *path)
{
    int n;
    const config_key *k = config_table(table, &n);
    size_t len = strlen(path);
    for (int i = 0; i < n; i++)
        if (strncmp(k[i].path, path, len) == 0 && k[i].path[len] == '.') return true;
    return false;
}

/* The nearest known key: whole paths are compared, so that a wrong section is found as well. */
static const char *nearest_key(int table, const char *path)
{
    int n, best = 1 << 20;
    const config_key *k = config_table(table, &n);
    const char *name = "tasks";
    for (int i = 0; i < n; i++) {
        int d = rd_edit_distance(path, k[i].path);
        if (d < best) best = d, name = k[i].path;
    }
    static const char *const others[] = {"tasks", "arms"};
    for (int i = 0; table == CONFIG_RUN && i < 2; i++)
        if (rd_edit_distance(path, others[i]) < best) {
            best = rd_edit_distance(path, others[i]);
            name = others[i];
        }
    return name;
}

const char *config_nearest(const char *path)
{
    int index, used = 0, table = CONFIG_RUN;
    const char *key = path;
    if (strcmp(path, "tasks") == 0 || strcmp(path, "arms") == 0) return NULL;
    if (sscanf(path, "tasks[%d].%n", &index, &used) == 1 && used > 0) {
        table = CONFIG_TASK;
        key = path + used;
    } else if (strncmp(path, "arms.", 5) == 0 && strchr(path + 5, '.')) {
        key = strchr(path + 5, '.') + 1;
    }
    return find_key(table, key) >= 0 ? NULL : nearest_key(table, key);
}

static bool has_choice(const char *choices, const char *word)
{
    size_t n = strlen(word);
    for (const char *c = choices; c;) {
        const char *bar = strchr(c, '|');
        size_t len = bar ? (size_t)(bar - c) : strlen(c);
        if (len == n && memcmp(c, word, n) == 0) return true;
        c = bar ? bar + 1 : NULL;
    }
    return false;
}

static void expected(const config_key *k, rd_buf *out)
{
    switch (k->type) {
    case KEY_BOOL: rd_buf_puts(out, "true or false"); break;
    case KEY_INT: rd_buf_printf(out, "an integer from %.15g to %.15g", k->lo, k->hi); break;
    case KEY_REAL: rd_buf_printf(out, "a number from %g to %g", k->lo, k->hi); break;
    case KEY_TEXT: rd_buf_puts(out, "a string"); break;
    case KEY_ENUM: rd_buf_printf(out, "one of %s", k->choices); break;
    case KEY_ENUMS: rd_buf_printf(out, "a list of %s", k->choices); break;
    case KEY_INTS:
        rd_buf_printf(out, "an ascending list of 1 to %d integers from %.15g to %.15g",
                      CONFIG_MAX_LIST, k->lo, k->hi);
        break;
    case KEY_TEXTS:
        rd_buf_printf(out, "a list of at most %d strings, none of them empty", CONFIG_MAX_LIST);
        break;
    }
}

static bool number_fits(const config_key *k, const rd_json_node *v, bool integer)
{
    if (rd_json_kind(v) != RD_JSON_NUMBER || (integer && !rd_json_is_int(v))) return false;
    double x = rd_json_number(v);
    return x >= k->lo && x <= k->hi;
}

static void value_clear(config_value *v)
{
    rd_free(v->text);
    for (int i = 0; i < v->n; i++) rd_free(v->texts[i]);
    memset(v, 0, sizeof *v);
}

static bool list_take(const config_key *k, const rd_json_node *node, config_value *out)
{
    if (rd_json_kind(node) != RD_JSON_ARRAY) return false;
    for (rd_json_node *e = rd_json_first(node); e; e = rd_json_next(e)) {
        if (out->n == CONFIG_MAX_LIST) return false;
        if (k->type == KEY_INTS) {
            if (!number_fits(k, e, true)) return false;
            out->numbers[out->n] = rd_json_number(e);
            if (out->n > 0 && out->numbers[out->n] <= out->numbers[out->n - 1]) return false;
        } else {
            const char *s = rd_json_string(e);
            if (!s || (k->type == KEY_TEXTS ? !*s : !has_choice(k->choices, s))) return false;
            out->texts[out->n] = rd_strdup(s);
        }
        out->n++;
    }
    return k->type != KEY_INTS || out->n > 0;
}

/* Take a JSON value into out; false when its type or range is wrong. */
static bool value_take(const config_key *k, const rd_json_node *node, config_value *out)
{
    const char *s = rd_json_string(node);
    value_clear(out);
    switch (k->type) {
    case KEY_BOOL: out->b = rd_json_bool(node); return rd_json_kind(node) == RD_JSON_BOOL;
    case KEY_INT:
    case KEY_REAL:
        out->number = rd_json_number(node);
        return number_fits(k, node, k->type == KEY_INT);
    case KEY_TEXT: out->text = rd_strdup(s); return s != NULL;
    case KEY_ENUM: out->text = rd_strdup(s); return s && has_choice(k->choices, s);
    default: return list_take(k, node, out);
    }
}

static int value_set(config_scope *scope, const char *path, const char *shown,
                     const rd_json_node *node, const origin *o)
{
    int rc = RD_OK, n;
    char where[512];
    rd_buf want = {0}, got = {0};
    const config_key *k = config_table(scope->table, &n);
    int i = find_key(scope->table, path);
    origin_text(o, node, where, sizeof where);
    if (i < 0)
        RD_FAIL(RD_EINPUT, "%s: unknown key '%s'; did you mean '%s'?", where, shown,
                nearest_key(scope->table, path));
    if (!value_take(&k[i], node, &scope->value[i])) {
        expected(&k[i], &want);
        rd_json_print(node, false, &got);
        RD_FAIL(RD_EINPUT, "%s: %s: expected %s, got %.80s", where, shown, want.data, got.data);
    }
    scope->value[i].set = true;
done:
    rd_buf_free(&want);
    rd_buf_free(&got);
    return rc;
}

/* ---------------------------------------------------------------- scopes */

static int scope_init(int table, config_scope *s)
{
    int rc = RD_OK, n;
    const config_key *k = config_table(table, &n);
    rd_json *doc = NULL;
    s->table = table;
    s->value = rd_new(config_value, n);
    for (int i = 0; i < n; i++) {
        RD_TRY(rd_json_parse(k[i].fallback, strlen(k[i].fallback), "default", 1, &doc));
        if (!value_take(&k[i], rd_json_root(doc), &s->value[i]) &&
            strcmp(k[i].fallback, "\"\"") != 0)
            rd_die("the default of %s does not fit its own type", k[i].path);
        rd_json_free(&doc);
    }
done:
    rd_json_free(&doc);
    return rc;
}

static void scope_free(config_scope *s)
{
    int n;
    config_table(s->table, &n);
    for (int i = 0; s->value && i < n; i++) value_clear(&s->value[i]);
    RD_FREE(s->value);
}

static void scope_copy(const config_scope *from, config_scope *to)
{
    int n;
    config_table(from->table, &n);
    to->table = from->table;
    to->value = rd_new(config_value, n);
    for (int i = 0; i < n; i++) {
        config_value *v = &to->value[i];
        *v = from->value[i];
        v->text = rd_strdup(v->text);
        for (int j = 0; j < v->n; j++) v->texts[j] = rd_strdup(v->texts[j]);
    }
}

/* Walk an object of the file: sections recurse, leaves are set. */
static int take_object(config_scope *s, const rd_json_node *object, const char *prefix,
                       const char *shown, const origin *o)
{
    int rc = RD_OK;
    for (rd_json_node *v = rd_json_first(object); v; v = rd_json_next(v)) {
        char path[160], full[200];
        snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", rd_json_key(v));
        snprintf(full, sizeof full, "%s%s", shown, path);
        if (s->table == CONFIG_RUN && !*prefix &&
            (strcmp(path, "tasks") == 0 || strcmp(path, "arms") == 0))
            continue;
        bool section = is_section(s->table, path);
        if (section && rd_json_kind(v) != RD_JSON_OBJECT) {
            char where[512];
            origin_text(o, v, where, sizeof where);
            RD_FAIL(RD_EINPUT, "%s: %s: expected an object", where, full);
        }
        if (section)
            RD_TRY(take_object(s, v, path, shown, o));
        else
            RD_TRY(value_set(s, path, full, v, o));
    }
done:
    return rc;
}

static int take_tasks(config *c, const rd_json_node *tasks, const origin *o)
{
    int rc = RD_OK;
    char where[512];
    if (!tasks) goto done;
    origin_text(o, tasks, where, sizeof where);
    if (rd_json_kind(tasks) != RD_JSON_ARRAY)
        RD_FAIL(RD_EINPUT, "%s: tasks: expected a list of objects", where);
    for (rd_json_node *v = rd_json_first(tasks); v; v = rd_json_next(v)) {
        char shown[40];
        origin_text(o, v, where, sizeof where);
        if (c->n_tasks == CONFIG_MAX_TASKS || rd_json_kind(v) != RD_JSON_OBJECT)
            RD_FAIL(RD_EINPUT, "%s: tasks[%d]: expected an object, and at most %d of them", where,
                    c->n_tasks, CONFIG_MAX_TASKS);
        config_scope *s = &c->task[c->n_tasks];
        snprintf(shown, sizeof shown, "tasks[%d].", c->n_tasks);
        c->n_tasks++;
        RD_TRY(scope_init(CONFIG_TASK, s));
        RD_TRY(take_object(s, v, "", shown, o));
        if (!*config_text(s, "family"))
            RD_FAIL(RD_EINPUT, "%s: %sfamily: is required", where, shown);
        bool file = *config_text(s, "file") != 0;
        if (file == (config_int(s, "generate") + config_int(s, "test") > 0))
            RD_FAIL(RD_EINPUT, "%s: %sfile: give either a file, or generate and test counts", where,
                    shown);
    }
done:
    return rc;
}

/* Keys that the arms of one run share, because they share its traces and datasets. */
static bool is_shared(const char *key)
{
    static const char *const sections[] = {
        "run.",     "data.",   "grid.",   "machine.",         "plan.",  "teacher.",
        "augment.", "filter.", "prompts", "model.tokenizer.", "compat", "eval.teacher"};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (strncmp(key, sections[i], strlen(sections[i])) == 0) return true;
    return false;
}

static int take_arm(config *c, const rd_json_node *arm, const origin *o)
{
    int rc = RD_OK;
    char where[512];
    config_arm *a = &c->arm[c->n_arms++];
    a->name = rd_strdup(rd_json_key(arm));
    scope_copy(&c->keys, &a->keys);
    origin_text(o, arm, where, sizeof where);
    if (rd_json_kind(arm) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s: arms.%s: expected an object of overrides", where, a->name);
    if (!*a->name || strlen(a->name) > 40 ||
        strspn(a->name, "abcdefghijklmnopqrstuvwxyz"
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != strlen(a->name))
        RD_FAIL(RD_EINPUT, "%s: arms: '%s' must be a short name of letters, digits, - and _", where,
                a->name);
    for (rd_json_node *v = rd_json_first(arm); v; v = rd_json_next(v)) {
        char shown[200];
        const char *key = rd_json_key(v);
        snprintf(shown, sizeof shown, "arms.%s.%s", a->name, key);
        origin_text(o, v, where, sizeof where);
        if (strcmp(key, "from") == 0) {
            if (!rd_json_string(v))
                RD_FAIL(RD_EINPUT, "%s: %s: expected an arm's name", where, shown);
            rd_free(a->from);
            a->from = rd_strdup(rd_json_string(v));
            continue;
        }
        if (is_shared(key))
            RD_FAIL(RD_EINPUT, "%s: %s: arms of one run share this; use a sweep", where, shown);
        RD_TRY(value_set(&a->keys, key, shown, v, o));
    }
done:
    return rc;
}

static int take_arms(config *c, const rd_json_node *arms, const origin *o)
{
    int rc = RD_OK;
    char where[512];
    const bool object = !arms || rd_json_kind(arms) == RD_JSON_OBJECT;
    if (!object || (arms && rd_json_count(arms) > CONFIG_MAX_ARMS)) {
        origin_text(o, arms, where, sizeof where);
        RD_FAIL(RD_EINPUT, "%s: arms: expected an object of at most %d arms", where,
                CONFIG_MAX_ARMS);
    }
    for (rd_json_node *v = arms ? rd_json_first(arms) : NULL; v; v = rd_json_next(v)) {
        RD_TRY(take_arm(c, v, o));
    }
    if (c->n_arms == 0) { /* a run without arms is one arm of that name */
        c->arm[0].name = rd_strdup("redis");
        scope_copy(&c->keys, &c->arm[0].keys);
        c->n_arms = 1;
    }
done:
    return rc;
}

/* Pairs of the student's own rules need a student that proposes some. */
static int check_own(const config *c, const config_arm *a, const config_arm *source)
{
    int rc = RD_OK;
    const char *pairs = config_text(&a->keys, "align.pairs");
    const double share = config_real(&a->keys, "align.own.share");
    const bool by_student = strcmp(config_text(&a->keys, "align.own.score"), "student") == 0;
    if (strcmp(pairs, "teacher") == 0) goto done;
    if (!config_list_has(&source->keys, "stages", "sft"))
        RD_FAIL(RD_EINPUT,
                "%s: align.pairs of arm '%s' is '%s', but stages of '%s' hold no sft: there is no "
                "student to propose rules",
                c->path, a->name, pairs, source->name);
    /* A published model may propose and follow rules without having been tuned on that. */
    if (!*config_text(&source->keys, "model.base")) {
        if (!config_list_has(&source->keys, "sft.kinds", "generate"))
            RD_FAIL(RD_EINPUT,
                    "%s: align.pairs of arm '%s' is '%s', but sft.kinds of '%s' hold no generate: "
                    "its student proposes no rules",
                    c->path, a->name, pairs, source->name);
        if (by_student && !config_list_has(&source->keys, "sft.kinds", "follow"))
            RD_FAIL(RD_EINPUT,
                    "%s: align.own.score of arm '%s' is 'student', but sft.kinds of '%s' hold no "
                    "follow: its student follows no rules (the interpreter would)",
                    c->path, a->name, source->name);
    }
    if (!(config_real(&a->keys, "align.own.temperature") > 0))
        RD_FAIL(RD_EINPUT,
                "%s: align.own.temperature of arm '%s' is 0: all rules of a task would be the same",
                c->path, a->name);
    if (strcmp(pairs, "both") == 0 && !(share > 0 && share < 1))
        RD_FAIL(RD_EINPUT,
                "%s: align.own.share of arm '%s' is %g: align.pairs \"both\" needs a share between "
                "0 and 1",
                c->path, a->name, share);
done:
    return rc;
}

/* An arm must find the weights that it starts from.  After --set, which may change either arm. */
static int check_arm(const config *c, const config_arm *a)
{
    int rc = RD_OK;
    const config_arm *source = a->from ? NULL : a;
    for (const config_arm *b = c->arm; a->from && b < a; b++)
        if (strcmp(b->name, a->from) == 0) source = b;
    if (!source)
        RD_FAIL(RD_EINPUT, "%s: arms.%s.from: no arm '%s' before this one", c->path, a->name,
                a->from);
    if (source->from)
        RD_FAIL(RD_EINPUT, "%s: arms.%s.from: '%s' has no SFT weights of its own", c->path, a->name,
                a->from);
    if (a->from && config_list_has(&a->keys, "stages", "sft"))
        RD_FAIL(RD_EINPUT, "%s: arms.%s: starts from '%s', so its stages must not hold sft",
                c->path, a->name, a->from);
    if (config_list_has(&a->keys, "stages", "align") &&
        strcmp(config_text(&a->keys, "align.start"), "branch") == 0 &&
        !(config_real(&source->keys, "align.branch_at") > 0))
        RD_FAIL(RD_EINPUT,
                "%s: align.start of arm '%s' is 'branch', but align.branch_at of '%s' "
                "is 0: no branch is kept",
                c->path, a->name, source->name);
    if (config_list_has(&a->keys, "stages", "align")) RD_TRY(check_own(c, a, source));
    if (config_list_has(&a->keys, "stages", "eval") &&
        config_list(&a->keys, "eval.methods")->n == 0)
        RD_FAIL(RD_EINPUT, "%s: eval.methods of arm '%s': at least one is needed", c->path,
                a->name);
done:
    return rc;
}

/* ---------------------------------------------------------------- --set */

enum { SET_PATH = 200 };

/* --set tasks=[…] or arms={…}: in place of what the file has. */
static bool is_whole(const char *set, const char *name)
{
    const size_t n = strlen(name);
    return strncmp(set, name, n) == 0 && set[n] == '=';
}

/* "a.b=1": the path, and the value as JSON; what is not JSON is a string, so that --set run.name=x
 * needs no quotes. */
static int read_set(const char *text, char path[SET_PATH], rd_json **doc, rd_json_node **v)
{
    int rc = RD_OK;
    const bool whole = is_whole(text, "tasks") || is_whole(text, "arms");
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || equals - text >= SET_PATH)
        RD_FAIL(RD_EUSAGE, "--set %s: expected KEY=VALUE", text);
    memcpy(path, text, (size_t)(equals - text));
    path[equals - text] = 0;
    const char *value = equals + 1;
    rc = rd_json_parse(value, strlen(value), "--set", 1, doc);
    if (rc == RD_OK) *v = rd_json_root(*doc);
    if (rc == RD_OK || whole) goto done;
    rc = RD_OK;
    rd_error_clear();
    *doc = rd_json_new(RD_JSON_ARRAY);
    rd_json_set_string(rd_json_root(*doc), NULL, value);
    *v = rd_json_first(rd_json_root(*doc));
done:
    return rc;
}

static int take_whole(config *c, const rd_json_node *root, const char *name, int n_sets,
                      const char *const *sets, const origin *o,
                      int (*take)(config *, const rd_json_node *, const origin *))
{
    int rc = RD_OK;
    char path[SET_PATH];
    const char *last = NULL;
    rd_json *doc = NULL;
    rd_json_node *v;
    for (int i = 0; i < n_sets; i++)
        if (is_whole(sets[i], name)) last = sets[i];
    if (!last) {
        RD_TRY(take(c, rd_json_get(root, name), o));
        goto done;
    }
    RD_TRY(read_set(last, path, &doc, &v));
    const origin of_set = {doc, "--set", true};
    RD_TRY(take(c, v, &of_set));
done:
    rd_json_free(&doc);
    return rc;
}

/* A value over the parsed file's; tasks[0].test and arms.x.key reach entries too. */
static int apply_set(config *c, const char *text)
{
    int rc = RD_OK, index = -1, used = 0;
    rd_json *doc = NULL;
    rd_json_node *v;
    char path[SET_PATH];
    RD_TRY(read_set(text, path, &doc, &v));
    origin o = {doc, "--set", true};
    if (sscanf(path, "tasks[%d].%n", &index, &used) == 1 && used > 0) {
        if (index < 0 || index >= c->n_tasks)
            RD_FAIL(RD_EINPUT, "--set %s: there are %d entries in tasks", path, c->n_tasks);
        RD_TRY(value_set(&c->task[index], path + used, path, v, &o));
        goto done;
    }
    if (strncmp(path, "arms.", 5) == 0) {
        for (int i = 0; i < c->n_arms; i++) {
            size_t n = strlen(c->arm[i].name);
            if (strncmp(path + 5, c->arm[i].name, n) == 0 && path[5 + n] == '.') {
                if (is_shared(path + 6 + n))
                    RD_FAIL(RD_EINPUT, "--set %s: arms of one run share this; use a sweep", path);
                RD_TRY(value_set(&c->arm[i].keys, path + 6 + n, path, v, &o));
                goto done;
            }
        }
        RD_FAIL(RD_EINPUT, "--set %s: no such arm", path);
    }
    RD_TRY(value_set(&c->keys, path, path, v, &o));
done:
    rd_json_free(&doc);
    return rc;
}

/* ---------------------------------------------------------------- resolved text */

static void put_value(rd_json_node *object, const char *key, const config_key *k,
                      const config_value *v)
{
    switch (k->type) {
    case KEY_BOOL: rd_json_set_bool(object, key, v->b); break;
    case KEY_INT: rd_json_set_int(object, key, (int64_t)v->number); break;
    case KEY_REAL: rd_json_set_number(object, key, v->number); break;
    case KEY_TEXT:
    case KEY_ENUM: rd_json_set_string(object, key, v->text ? v->text : ""); break;
    case KEY_ENUMS:
    case KEY_TEXTS:
    case KEY_INTS: {
        rd_json_node *list = rd_json_set_array(object, key);
        for (int i = 0; i < v->n; i++)
            if (k->type == KEY_INTS)
                rd_json_set_int(list, NULL, (int64_t)v->numbers[i]);
            else
                rd_json_set_string(list, NULL, v->texts[i]);
        break;
    }
    }
}

static void put_scope(rd_json_node *root, const config_scope *s)
{
    int n;
    const config_key *k = config_table(s->table, &n);
    for (int i = 0; i < n; i++) {
        rd_json_node *at = root;
        char path[160];
        snprintf(path, sizeof path, "%s", k[i].path);
        char *part = path, *dot;
        while ((dot = strchr(part, '.'))) {
            *dot = 0;
            rd_json_node *next = rd_json_get(at, part);
            at = next ? next : rd_json_set_object(at, part);
            part = dot + 1;
        }
        put_value(at, part, &k[i], &s->value[i]);
    }
}

static bool same_value(const config_key *k, const config_value *a, const config_value *b)
{
    rd_json *x = rd_json_new(RD_JSON_OBJECT), *y = rd_json_new(RD_JSON_OBJECT);
    rd_buf s = {0}, t = {0};
    put_value(rd_json_root(x), "v", k, a);
    put_value(rd_json_root(y), "v", k, b);
    rd_json_print(rd_json_root(x), false, &s);
    rd_json_print(rd_json_root(y), false, &t);
    bool same = strcmp(s.data, t.data) == 0;
    rd_buf_free(&s), rd_buf_free(&t);
    rd_json_free(&x), rd_json_free(&y);
    return same;
}

static void resolve_text(config *c)
{
    int n;
    const config_key *k = config_table(CONFIG_RUN, &n);
    rd_buf out = {0};
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    put_scope(rd_json_root(doc), &c->keys);
    rd_json_node *tasks = rd_json_set_array(rd_json_root(doc), "tasks");
    for (int i = 0; i < c->n_tasks; i++) put_scope(rd_json_set_object(tasks, NULL), &c->task[i]);
    rd_json_node *arms = rd_json_set_object(rd_json_root(doc), "arms");
    for (int i = 0; i < c->n_arms; i++) {
        rd_json_node *arm = rd_json_set_object(arms, c->arm[i].name);
        if (c->arm[i].from) rd_json_set_string(arm, "from", c->arm[i].from);
        for (int j = 0; j < n; j++)
            if (!same_value(&k[j], &c->keys.value[j], &c->arm[i].keys.value[j]))
                put_value(arm, k[j].path, &k[j], &c->arm[i].keys.value[j]);
    }
    rd_json_print(rd_json_root(doc), true, &out);
    rd_json_free(&doc);
    c->resolved = rd_buf_take(&out);
}

/* ---------------------------------------------------------------- compat */

bool config_is_official(const config *c)
{
    return strcmp(config_text(&c->keys, "compat"), "official") == 0;
}

/* The official code's values in place of the defaults. */
static int take_official(config *c)
{
    int rc = RD_OK, n, n_keys;
    const config_fixed *fixed = config_official(&n);
    const config_key *k = config_table(CONFIG_RUN, &n_keys);
    rd_json *doc = NULL;
    if (!config_is_official(c)) goto done;
    for (int i = 0; i < n; i++) {
        const int at = find_key(CONFIG_RUN, fixed[i].path);
        if (at < 0) rd_die("no config key '%s'", fixed[i].path);
        if (c->keys.value[at].set) continue;
        RD_TRY(rd_json_parse(fixed[i].value, strlen(fixed[i].value), "official", 1, &doc));
        if (!value_take(&k[at], rd_json_root(doc), &c->keys.value[at]))
            rd_die("the official value of %s does not fit its type", fixed[i].path);
        rd_json_free(&doc);
    }
    for (int i = 0; i < c->n_tasks; i++)
        if (!*config_text(&c->task[i], "file"))
            RD_FAIL(RD_EINPUT, "%s: tasks[%d].file: compat \"official\" splits task files", c->path,
                    i);
done:
    rd_json_free(&doc);
    return rc;
}

void config_official_describe(const config *c, rd_buf *out)
{
    int n, n_keys;
    const config_fixed *fixed = config_official(&n);
    const config_key *k = config_table(CONFIG_RUN, &n_keys);
    rd_buf kept = {0};
    if (!config_is_official(c)) return;
    rd_buf_puts(out, "compat \"official\" sets:");
    for (int i = 0; i < n; i++) {
        const config_value *v = &c->keys.value[find_key(CONFIG_RUN, fixed[i].path)];
        rd_json *doc = rd_json_new(RD_JSON_OBJECT);
        put_value(rd_json_root(doc), "v", &k[find_key(CONFIG_RUN, fixed[i].path)], v);
        rd_buf_printf(v->set ? &kept : out, " %s ", fixed[i].path);
        rd_json_print(rd_json_get(rd_json_root(doc), "v"), false, v->set ? &kept : out);
        rd_buf_putc(v->set ? &kept : out, ';');
        rd_json_free(&doc);
    }
    rd_buf_puts(
        out, "\n  besides: the split and order of tasks by the seed-10 shuffle; the official "
             "prompts, read as that code reads; rule-following rows of every application whose "
             "prompt holds a chosen rule; pairs of two wordings of one rule; one more newline in "
             "SFT prompts; KTO labels by rank; ties in search by text\n");
    if (kept.len > 0) rd_buf_printf(out, "  the config keeps:%s\n", kept.data);
    rd_buf_free(&kept);
}

/* ---------------------------------------------------------------- public */

int config_load(const char *path, int n_sets, const char *const *sets, config *c)
{
    int rc = RD_OK;
    rd_json *doc = NULL;
    memset(c, 0, sizeof *c);
    c->path = rd_strdup(path);
    const char *slash = strrchr(path, '/');
    c->base_dir = slash ? rd_strndup(path, (size_t)(slash - path)) : rd_strdup(".");
    RD_TRY(rd_json_read(path, &doc));
    rd_json_node *root = rd_json_root(doc);
    origin o = {doc, path, false};
    if (rd_json_kind(root) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s:1: a config is one JSON object", path);
    RD_TRY(scope_init(CONFIG_RUN, &c->keys));
    RD_TRY(take_object(&c->keys, root, "", "", &o));
    RD_TRY(take_whole(c, root, "tasks", n_sets, sets, &o, take_tasks));
    /* Plain --set first: arms inherit from it; then those that name an arm. */
    for (int i = 0; i < n_sets; i++)
        if (!is_whole(sets[i], "tasks") && !is_whole(sets[i], "arms") &&
            strncmp(sets[i], "arms.", 5) != 0)
            RD_TRY(apply_set(c, sets[i]));
    RD_TRY(take_official(c));
    RD_TRY(take_whole(c, root, "arms", n_sets, sets, &o, take_arms));
    for (int i = 0; i < n_sets; i++)
        if (strncmp(sets[i], "arms.", 5) == 0) RD_TRY(apply_set(c, sets[i]));
    for (int i = 0; i < c->n_arms; i++) RD_TRY(check_arm(c, &c->arm[i]));
    if (c->n_tasks == 0) RD_FAIL(RD_EINPUT, "%s: tasks: at least one entry is needed", path);
    RD_TRY(config_check_entries(c));
    resolve_text(c);
done:
    rd_json_free(&doc);
    if (rc != RD_OK) config_free(c);
    return rc;
}

void config_free(config *c)
{
    rd_free(c->path);
    rd_free(c->base_dir);
    rd_free(c->resolved);
    scope_free(&c->keys);
    for (int i = 0; i < c->n_tasks; i++) scope_free(&c->task[i]);
    for (int i = 0; i < c->n_arms; i++) {
        scope_free(&c->arm[i].keys);
        rd_free(c->arm[i].name);
        rd_free(c->arm[i].from);
    }
    memset(c, 0, sizeof *c);
}

static const config_value *value_of(const config_scope *s, const char *key)
{
    int i = find_key(s->table, key);
    if (i < 0) rd_die("no config key '%s'", key);
    return &s->value[i];
}

bool config_bool(const config_scope *s, const char *key)
{
    return value_of(s, key)->b;
}
int64_t config_int(const config_scope *s, const char *key)
{
    return (int64_t)value_of(s, key)->number;
}
double config_real(const config_scope *s, const char *key)
{
    return value_of(s, key)->number;
}
const char *config_text(const config_scope *s, const char *key)
{
    const char *text = value_of(s, key)->text;
    return text ? text : "";
}
const config_value *config_list(const config_scope *s, const char *key)
{
    return value_of(s, key);
}
bool config_is_set(const config_scope *s, const char *key)
{
    return value_of(s, key)->set;
}

bool config_list_has(const config_scope *s, const char *key, const char *item)
{
    const config_value *v = value_of(s, key);
    for (int i = 0; i < v->n; i++)
        if (strcmp(v->texts[i], item) == 0) return true;
    return false;
}

static char *join_path(const char *dir, const char *file)
{
    rd_buf b = {0};
    if (*file == '/') return rd_strdup(file);
    rd_buf_printf(&b, "%s/%s", dir, file);
    return rd_buf_take(&b);
}

char *config_data_path(const config *c, const char *file)
{
    const char *dir = config_text(&c->keys, "data.dir");
    return join_path(*dir ? dir : c->base_dir, file);
}

char *config_prompt_path(const config *c, const char *file)
{
    return join_path(c->base_dir, file);
}

void config_run_dir(const config *c, rd_buf *dir)
{
    if (*config_text(&c->keys, "run.dir"))
        rd_buf_puts(dir, config_text(&c->keys, "run.dir"));
    else
        rd_buf_printf(dir, "runs/%s", config_text(&c->keys, "run.name"));
}

/* How often a run is saved changes nothing in it, nor who holds the moments: a stopped one may go
 * on another way.  Where the base, the tokenizer and an adapter lie does not matter either: their
 * contents have hashes of their own. */
static bool is_harmless(const char *path)
{
    static const char *const names[] = {".checkpoint_every", ".shard_optimizer", ".overlap",
                                        ".recompute"};
    const char *dot = strrchr(path, '.');
    /* How a server is asked, not what. */
    static const char *const places[] = {
        "model.base",        "model.tokenizer.path", "sft.adapter.path", "teacher.key_variable",
        "teacher.in_flight", "teacher.timeout",      "teacher.attempts", "teacher.deadline",
        "teacher.backoff",   "teacher.backoff_max",  "teacher.price_in", "teacher.price_out",
        "teacher.budget",    "teacher.max_calls",    "teacher.proxy",    "teacher.slots"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (strcmp(path, places[i]) == 0) return true;
    for (size_t i = 0; dot && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(dot, names[i]) == 0) return true;
    return false;
}

static bool is_hashed(const char *path, const char *const *prefixes)
{
    bool in = false;
    for (const char *const *p = prefixes; *p; p++) {
        const bool out = **p == '!';
        if (strncmp(path, *p + out, strlen(*p + out)) != 0) continue;
        if (out) return false;
        in = true;
    }
    return in && !is_harmless(path);
}

uint64_t config_hash(const config_scope *s, const char *const *prefixes)
{
    int n;
    const config_key *k = config_table(s->table, &n);
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_buf text = {0};
    for (int i = 0; i < n; i++)
        if (is_hashed(k[i].path, prefixes))
            put_value(rd_json_root(doc), k[i].path, &k[i], &s->value[i]);
    rd_json_print(rd_json_root(doc), false, &text);
    uint64_t h = rd_hash(text.data, text.len, 0);
    rd_buf_free(&text);
    rd_json_free(&doc);
    return h;
}

void config_help(FILE *f)
{
    for (int table = CONFIG_RUN; table <= CONFIG_TASK; table++) {
        int n;
        const config_key *k = config_table(table, &n);
        for (int i = 0; i < n; i++) {
            char name[80];
            snprintf(name, sizeof name, "%s%s", table == CONFIG_TASK ? "tasks[]." : "", k[i].path);
            fprintf(f, "  %-34s %-22s %s%s%s%s\n", name, k[i].fallback, k[i].help,
                    k[i].choices ? " (" : "", k[i].choices ? k[i].choices : "",
                    k[i].choices ? ")" : "");
        }
    }
    fprintf(f, "  %-34s %-22s %s\n", "arms.NAME.KEY", "",
            "overrides for one arm; from: an earlier arm's SFT weights");
}
