/* record.c: finding and holding a record; reading it from traces.h5. */
#include "record.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- places */

#define GROW(list, n, cap)          \
    do {                            \
        if ((n) == (cap)) {         \
            (cap) = 2 * (cap) + 64; \
            rd_resize(list, cap);   \
        }                           \
    } while (0)

record_task *record_add_task(record *r)
{
    GROW(r->task, r->n_tasks, r->cap_tasks);
    r->task[r->n_tasks] = (record_task){.id = -1, .first_rule = r->n_rules};
    return &r->task[r->n_tasks++];
}

record_rule *record_add_rule(record *r)
{
    GROW(r->rule, r->n_rules, r->cap_rules);
    r->rule[r->n_rules] = (record_rule){.tokens_in = -1, .tokens_out = -1, .first_app = r->n_apps};
    return &r->rule[r->n_rules++];
}

record_app *record_add_app(record *r)
{
    GROW(r->app, r->n_apps, r->cap_apps);
    r->app[r->n_apps] = (record_app){.tokens_in = -1, .tokens_out = -1};
    return &r->app[r->n_apps++];
}

record_loose *record_add_loose(record *r)
{
    GROW(r->loose, r->n_loose, r->cap_loose);
    r->loose[r->n_loose] = (record_loose){0};
    return &r->loose[r->n_loose++];
}

const char *record_keep_path(record *r, const char *folder, const char *a, const char *b)
{
    rd_buf path = {0};
    rd_buf_printf(&path, "%s%s%s", folder, a, b);
    rd_resize(r->path, r->n_paths + 1);
    r->path[r->n_paths] = rd_buf_take(&path);
    return r->path[r->n_paths++];
}

void record_free(record *r)
{
    for (int64_t i = 0; i < r->n_docs; i++) rd_json_free(&r->doc[i]);
    for (int64_t i = 0; i < r->n_paths; i++) rd_free(r->path[i]);
    rd_pool_free(&r->text);
    rd_free(r->doc);
    rd_free(r->path);
    rd_free(r->task);
    rd_free(r->rule);
    rd_free(r->app);
    rd_free(r->loose);
    *r = (record){0};
}

uint64_t record_content(uint64_t h, const char *input, const char *output)
{
    return rd_hash_str(output, rd_hash_str(input, h) + 1);
}

uint64_t record_loose_key(const char *rule, const char *input)
{
    return rd_hash_str(input, rd_hash_str(rule, 0) + 1);
}

/* The first with this key. */
const char *record_loose_find(const record *r, const char *rule, const char *input)
{
    const uint64_t key = record_loose_key(rule, input);
    int64_t low = 0, high = r->n_loose;
    while (low < high) {
        int64_t mid = low + (high - low) / 2;
        if (r->loose[mid].key < key)
            low = mid + 1;
        else
            high = mid;
    }
    return low < r->n_loose && r->loose[low].key == key ? r->loose[low].response : NULL;
}

/* ---------------------------------------------------------------- traces.h5 */

/* Whole columns of the file as int64. */
typedef struct columns {
    int64_t tasks, examples, hypotheses, applications;
    int64_t *id, *family, *first_example, *demos, *queries, *first_hypothesis, *n_hypotheses;
    int64_t *first_application, *n_applications;
    int64_t *input, *output;                  /* of examples */
    int64_t *rule, *rule_in, *rule_out;       /* of hypotheses */
    int64_t *hypothesis, *example, *response; /* of applications */
    int64_t *app_in, *app_out;
} columns;

static int column(rd_store *s, const char *name, int64_t n, int64_t **data)
{
    int rc = RD_OK;
    int64_t rows = 0;
    RD_TRY(rd_store_rows(s, name, &rows));
    if (rows != n) RD_FAIL(RD_EINPUT, "traces: %s has another length than its table", name);
    *data = rd_new(int64_t, n);
    RD_TRY(rd_store_read(s, name, RD_I64, 0, n, *data));
done:
    return rc;
}

static int columns_read(rd_store *s, columns *c)
{
    int rc = RD_OK;
    RD_TRY(rd_store_rows(s, "task/id", &c->tasks));
    RD_TRY(rd_store_rows(s, "example/input", &c->examples));
    RD_TRY(rd_store_rows(s, "hypothesis/rule", &c->hypotheses));
    RD_TRY(rd_store_rows(s, "application/response", &c->applications));
    const struct {
        const char *name;
        int64_t rows, **data;
    } wanted[] = {
        {"task/id", c->tasks, &c->id},
        {"task/family", c->tasks, &c->family},
        {"task/first_example", c->tasks, &c->first_example},
        {"task/demos", c->tasks, &c->demos},
        {"task/queries", c->tasks, &c->queries},
        {"task/first_hypothesis", c->tasks, &c->first_hypothesis},
        {"task/hypotheses", c->tasks, &c->n_hypotheses},
        {"task/first_application", c->tasks, &c->first_application},
        {"task/applications", c->tasks, &c->n_applications},
        {"example/input", c->examples, &c->input},
        {"example/output", c->examples, &c->output},
        {"hypothesis/rule", c->hypotheses, &c->rule},
        {"hypothesis/tokens_in", c->hypotheses, &c->rule_in},
        {"hypothesis/tokens_out", c->hypotheses, &c->rule_out},
        {"application/hypothesis", c->applications, &c->hypothesis},
        {"application/example", c->applications, &c->example},
        {"application/response", c->applications, &c->response},
        {"application/tokens_in", c->applications, &c->app_in},
        {"application/tokens_out", c->applications, &c->app_out},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        RD_TRY(column(s, wanted[i].name, wanted[i].rows, wanted[i].data));
done:
    return rc;
}

static void columns_free(columns *c)
{
    int64_t *all[] = {c->id,      c->family,   c->first_example,     c->demos,   c->queries,
                      c->input,   c->output,   c->first_hypothesis,  c->rule,    c->n_hypotheses,
                      c->rule_in, c->rule_out, c->first_application, c->app_in,  c->n_applications,
                      c->app_out, c->example,  c->hypothesis,        c->response};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) rd_free(all[i]);
}

static const char *text_at(const record *r, int64_t id)
{
    return id < 0 || id >= r->text.n ? NULL : rd_pool_get(&r->text, id, NULL);
}

static bool inside(int64_t first, int64_t n, int64_t total)
{
    return first >= 0 && n >= 0 && first <= total && n <= total - first;
}

/* The rows of a task: rule by rule, each applied to the same first examples, as augment writes
 * them.
 */
static int traces_task(record *r, const columns *c, int64_t row, const char *path)
{
    int rc = RD_OK;
    const int64_t e = c->first_example[row], n_examples = c->demos[row] + c->queries[row];
    const int64_t h = c->first_hypothesis[row], n_rules = c->n_hypotheses[row];
    const int64_t a = c->first_application[row], n_apps = c->n_applications[row];
    const int64_t applied = n_rules > 0 ? n_apps / n_rules : 0;
    if (c->demos[row] < 0 || !inside(e, n_examples, c->examples) ||
        !inside(h, n_rules, c->hypotheses) || !inside(a, n_apps, c->applications) ||
        applied * n_rules != n_apps || applied > n_examples)
        RD_FAIL(RD_EINPUT, "%s: the rows of task %lld do not exist", path, (long long)row);
    record_task *t = record_add_task(r);
    t->id = c->id[row], t->where = path, t->n_rules = n_rules;
    for (int64_t i = 0; i < n_examples; i++) {
        const char *input = text_at(r, c->input[e + i]), *output = text_at(r, c->output[e + i]);
        if (!input || !output)
            RD_FAIL(RD_EINPUT, "%s: an example of task %lld has no text", path, (long long)row);
        t->whole = record_content(t->whole, input, output);
        if (i < c->demos[row]) t->demos = t->whole;
    }
    for (int64_t i = 0; i < n_rules; i++) {
        record_rule *rule = record_add_rule(r);
        *rule = (record_rule){text_at(r, c->rule[h + i]), c->rule_in[h + i], c->rule_out[h + i],
                              r->n_apps, applied};
        if (!rule->text)
            RD_FAIL(RD_EINPUT, "%s: hypothesis %lld has no rule", path, (long long)(h + i));
        for (int64_t k = a + i * applied; k < a + (i + 1) * applied; k++) {
            if (c->hypothesis[k] != h + i || c->example[k] != e + (k - a) % applied)
                RD_FAIL(RD_EINPUT, "%s: the applications of task %lld are out of order", path,
                        (long long)row);
            *record_add_app(r) =
                (record_app){text_at(r, c->response[k]), c->app_in[k], c->app_out[k]};
        }
    }
done:
    return rc;
}

static int read_traces(record *r, const char *file)
{
    int rc = RD_OK;
    rd_comm self = rd_comm_self();
    rd_store *s = NULL;
    columns c = {0};
    int64_t key = 0, n_text = 0;
    const char *path = record_keep_path(r, "", file, "");
    RD_TRY(rd_store_open(&self, path, "redistill.traces", 1, &s));
    RD_TRY(rd_store_get_i64(s, "", "key", &key));
    r->key = rd_hash(&key, sizeof key, r->key);
    RD_TRY(columns_read(s, &c));
    RD_TRY(rd_store_text_count(s, &n_text));
    RD_TRY(rd_store_read_text(s, 0, n_text, &r->text));
    for (int64_t i = 0; i < c.tasks; i++) RD_TRY(traces_task(r, &c, i, path));
done:
    columns_free(&c);
    rd_store_close(&s);
    return rc;
}

/* ---------------------------------------------------------------- folders */

static const char merged_name[] = "generate_rule_sft.json", set_lead[] = "all_hypo_";

static bool is_set(const char *name)
{
    const size_t n = strlen(name), lead = sizeof set_lead - 1, tail = strlen(".json");
    return n > lead + tail && strncmp(name, set_lead, lead) == 0 &&
           strcmp(name + n - tail, ".json") == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a folder, sorted; none when it is no folder. */
static char **list_folder(const char *folder, int64_t *n)
{
    char **names = NULL;
    *n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        if (e->d_name[0] == '.') continue;
        rd_resize(names, *n + 1);
        names[(*n)++] = rd_strdup(e->d_name);
    }
    if (d) closedir(d);
    if (*n > 1) qsort(names, (size_t)*n, sizeof *names, compare_names);
    return names;
}

/* "train" of "all_hypo_train_50_1.0.json": two sets of one split are two answers to one question.
 */
static bool same_split(const char *a, const char *b)
{
    a += sizeof set_lead - 1, b += sizeof set_lead - 1;
    size_t n = strcspn(a, "_.");
    return n == strcspn(b, "_.") && strncmp(a, b, n) == 0;
}

static int read_folder(record *r, const char *folder, int depth)
{
    int rc = RD_OK;
    int64_t n = 0;
    const char *before = NULL;
    rd_buf below = {0};
    char **names = list_folder(folder, &n);
    for (int64_t i = 0; i < n; i++) {
        if (is_set(names[i])) {
            if (before && same_split(before, names[i]))
                RD_FAIL(RD_EINPUT,
                        "teacher.path: %s holds %s and %s: give the path of the one to replay",
                        folder, before, names[i]);
            before = names[i];
            RD_TRY(record_read_augment(r, folder, names[i] + sizeof set_lead - 1));
        } else if (strcmp(names[i], merged_name) == 0) {
            RD_TRY(record_read_merged(r, folder));
        } else if (depth > 0) {
            rd_buf_clear(&below);
            rd_buf_printf(&below, "%s%s/", folder, names[i]);
            RD_TRY(read_folder(r, below.data, depth - 1));
        }
    }
done:
    for (int64_t i = 0; i < n; i++) rd_free(names[i]);
    rd_free(names);
    rd_buf_free(&below);
    return rc;
}

static int compare_tasks(const void *x, const void *y)
{
    const record_task *a = x, *b = y;
    if (a->demos != b->demos) return a->demos < b->demos ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static int compare_loose(const void *x, const void *y)
{
    const record_loose *a = x, *b = y;
    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static bool ends_with(const char *s, const char *tail)
{
    const size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

int record_read(const char *path, record *r)
{
    int rc = RD_OK;
    rd_buf folder = {0}, traces = {0};
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    *r = (record){0};
    rd_buf_printf(&traces, "%s/traces.h5", path);
    if (!rd_file_exists(path)) RD_FAIL(RD_EINPUT, "teacher.path: there is no '%s'", path);
    rd_buf_add(&folder, path, (size_t)(name - path));
    if (is_set(name)) {
        RD_TRY(record_read_augment(r, folder.data ? folder.data : "", name + sizeof set_lead - 1));
    } else if (strcmp(name, merged_name) == 0) {
        RD_TRY(record_read_merged(r, folder.data ? folder.data : ""));
    } else if (rd_file_exists(traces.data)) {
        RD_TRY(read_traces(r, traces.data));
    } else if (ends_with(path, ".h5")) {
        RD_TRY(read_traces(r, path));
    } else {
        rd_buf_clear(&folder);
        rd_buf_printf(&folder, "%s%s", path, ends_with(path, "/") ? "" : "/");
        RD_TRY(read_folder(r, folder.data, 2));
    }
    if (r->n_tasks == 0)
        RD_FAIL(RD_EINPUT, "teacher.path: %s holds no traces.h5, no all_hypo_*.json, no %s", path,
                merged_name);
    for (int64_t i = 0; i < r->n_tasks; i++) r->task[i].order = i;
    for (int64_t i = 0; i < r->n_loose; i++) r->loose[i].order = i;
    qsort(r->task, (size_t)r->n_tasks, sizeof *r->task, compare_tasks);
    if (r->n_loose > 1) qsort(r->loose, (size_t)r->n_loose, sizeof *r->loose, compare_loose);
done:
    rd_buf_free(&folder);
    rd_buf_free(&traces);
    if (rc != RD_OK) record_free(r);
    return rc;
}
