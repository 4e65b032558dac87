/* task.c: tasks and sets of tasks: ownership, binary form, the ReDis JSON-lines files, the official
 * split.
 *
 * The loader is strict, because a value that is off by a blank would silently count as wrong in
 * every later stage.  The writer prints what Python's json.dumps would, byte for byte, so that a
 * file that was loaded and saved again is the same file. */
#include "families.h"

#include <string.h>

/* ---------------------------------------------------------------- ownership */

void rd_task_free(rd_task *t)
{
    for (int64_t i = 0; t->examples && i < t->n_demos + t->n_queries; i++) {
        rd_free(t->examples[i].input);
        rd_free(t->examples[i].output);
        rd_free(t->examples[i].type);
    }
    rd_free(t->examples);
    rd_free(t->rule);
    rd_free(t->rule_class);
    *t = (rd_task){0};
}

int rd_task_copy(const rd_task *from, rd_task *to)
{
    int64_t n = from->n_demos + from->n_queries;
    *to = *from;
    to->rule = rd_strdup(from->rule);
    to->rule_class = rd_strdup(from->rule_class);
    to->examples = rd_new(rd_example, n);
    for (int64_t i = 0; i < n; i++) {
        const rd_example *e = &from->examples[i];
        to->examples[i] =
            (rd_example){rd_strdup(e->input), rd_strdup(e->output), rd_strdup(e->type)};
    }
    return RD_OK;
}

void rd_taskset_add_take(rd_taskset *s, rd_task *t)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        rd_resize(s->task, s->cap);
    }
    s->task[s->n++] = *t;
    *t = (rd_task){0};
}

void rd_taskset_free(rd_taskset *s)
{
    for (int64_t i = 0; i < s->n; i++) rd_task_free(&s->task[i]);
    rd_free(s->task);
    *s = (rd_taskset){0};
}

/* ---------------------------------------------------------------- binary form */

void rd_task_put(rd_buf *b, const rd_task *t)
{
    rd_put_i64(b, t->family);
    rd_put_i64(b, t->split);
    rd_put_i64(b, t->id);
    rd_put_i64(b, t->source);
    rd_put_str(b, t->rule);
    rd_put_str(b, t->rule_class);
    rd_put_i64(b, t->n_demos);
    rd_put_i64(b, t->n_queries);
    for (int64_t i = 0; i < t->n_demos + t->n_queries; i++) {
        rd_put_str(b, t->examples[i].input);
        rd_put_str(b, t->examples[i].output);
        rd_put_str(b, t->examples[i].type);
    }
}

int rd_task_get(rd_cursor *c, rd_task *t)
{
    int rc = RD_OK;
    int64_t family, split, n_demos, n_queries;
    *t = (rd_task){0};
    RD_TRY(rd_get_i64(c, &family));
    RD_TRY(rd_get_i64(c, &split));
    RD_TRY(rd_get_i64(c, &t->id));
    RD_TRY(rd_get_i64(c, &t->source));
    RD_TRY(rd_get_str(c, &t->rule));
    RD_TRY(rd_get_str(c, &t->rule_class));
    RD_TRY(rd_get_i64(c, &n_demos));
    RD_TRY(rd_get_i64(c, &n_queries));
    /* every example takes some bytes of the record, which bounds what a broken count may ask for */
    int64_t most = (int64_t)(c->len - c->pos);
    if (family < 0 || family >= RD_FAMILIES || split < 0 || split > RD_SPLIT_TEST || n_demos < 0 ||
        n_queries < 0 || n_demos > most || n_queries > most)
        RD_FAIL(RD_EINPUT, "broken task record");
    t->family = (rd_family)family;
    t->split = (rd_split)split;
    t->examples = rd_new(rd_example, n_demos + n_queries);
    t->n_demos = n_demos;
    t->n_queries = n_queries;
    for (int64_t i = 0; i < n_demos + n_queries; i++) {
        rd_example *e = &t->examples[i];
        RD_TRY(rd_get_str(c, &e->input));
        RD_TRY(rd_get_str(c, &e->output));
        RD_TRY(rd_get_str(c, &e->type));
        if (!e->input || !e->output) RD_FAIL(RD_EINPUT, "broken task record");
    }
done:
    if (rc != RD_OK) rd_task_free(t);
    return rc;
}

/* ---------------------------------------------------------------- loading */

/* Where in a file we are, for messages. */
typedef struct place {
    const char *path;
    int line;
    rd_family family;
} place;

/* The canonical text of an input: the string itself, or an array of strings as Python prints it. */
static int input_read(const place *at, const rd_json_node *v, rd_buf *out)
{
    int rc = RD_OK;
    bool wants_array = at->family == RD_ACRE;
    if (!v) RD_FAIL(RD_EINPUT, "%s:%d: an example has no \"input\"", at->path, at->line);
    if (rd_json_kind(v) != (wants_array ? RD_JSON_ARRAY : RD_JSON_STRING))
        RD_FAIL(RD_EINPUT, "%s:%d: an input of %s must be %s", at->path, at->line,
                rd_family_name(at->family), wants_array ? "an array of strings" : "a string");
    if (!wants_array) {
        rd_buf_puts(out, rd_json_string(v));
        goto done;
    }
    rd_buf_putc(out, '[');
    for (const rd_json_node *e = rd_json_first(v); e; e = rd_json_next(e)) {
        if (rd_json_kind(e) != RD_JSON_STRING)
            RD_FAIL(RD_EINPUT, "%s:%d: an input must be an array of strings", at->path, at->line);
        rd_buf_printf(out, "%s'%s'", out->len > 1 ? ", " : "", rd_json_string(e));
    }
    rd_buf_putc(out, ']');
done:
    return rc;
}

static int example_read(const place *at, const rd_json_node *v, rd_example *e)
{
    int rc = RD_OK;
    rd_buf input = {0};
    if (rd_json_kind(v) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s:%d: an example must be an object with \"input\" and \"output\"",
                at->path, at->line);
    RD_TRY(input_read(at, rd_json_get(v, "input"), &input));
    e->input = rd_buf_take(&input);
    const rd_json_node *output = rd_json_get(v, "output"), *type = rd_json_get(v, "type");
    if (!output || rd_json_kind(output) != RD_JSON_STRING)
        RD_FAIL(RD_EINPUT, "%s:%d: an \"output\" must be there and be a string", at->path,
                at->line);
    e->output = rd_strdup(rd_json_string(output));
    if (type && rd_json_kind(type) != RD_JSON_STRING)
        RD_FAIL(RD_EINPUT, "%s:%d: a \"type\" must be a string", at->path, at->line);
    e->type = type ? rd_strdup(rd_json_string(type)) : NULL;
    const family_ops *ops = rd_family_ops(at->family);
    if (!ops->valid_input(e->input))
        RD_FAIL(RD_EINPUT, "%s:%d: \"%.80s\" is not an input of %s", at->path, at->line, e->input,
                ops->name);
    if (!ops->valid_output(e->output))
        RD_FAIL(RD_EINPUT, "%s:%d: \"%.80s\" is not an output of %s", at->path, at->line, e->output,
                ops->name);
done:
    rd_buf_free(&input);
    return rc;
}

static int examples_read(const place *at, const rd_json_node *root, rd_task *t)
{
    int rc = RD_OK;
    const rd_json_node *train = rd_json_get(root, "train"), *test = rd_json_get(root, "test");
    if (!train || rd_json_kind(train) != RD_JSON_ARRAY || rd_json_count(train) == 0)
        RD_FAIL(RD_EINPUT, "%s:%d: \"train\" must be an array with at least one example", at->path,
                at->line);
    if (!test || rd_json_kind(test) != RD_JSON_ARRAY)
        RD_FAIL(RD_EINPUT, "%s:%d: \"test\" must be an array of examples", at->path, at->line);
    t->examples = rd_new(rd_example, rd_json_count(train) + rd_json_count(test));
    for (const rd_json_node *v = rd_json_first(train); v; v = rd_json_next(v))
        RD_TRY(example_read(at, v, &t->examples[t->n_demos++]));
    for (const rd_json_node *v = rd_json_first(test); v; v = rd_json_next(v))
        RD_TRY(example_read(at, v, &t->examples[t->n_demos + t->n_queries++]));
done:
    return rc;
}

static int rule_read(const place *at, const rd_json_node *root, rd_task *t)
{
    int rc = RD_OK;
    const rd_json_node *rule = rd_json_get(root, "rule");
    if (!rule) goto done;
    rd_rule *r = rd_json_kind(rule) == RD_JSON_STRING
                     ? rd_rule_parse(at->family, rd_json_string(rule))
                     : NULL;
    if (!r)
        RD_FAIL(RD_EINPUT, "%s:%d: \"rule\" is not a rule of %s", at->path, at->line,
                rd_family_name(at->family));
    rd_rule_free(at->family, &r);
    t->rule = rd_strdup(rd_json_string(rule));
done:
    return rc;
}

int rd_task_parse(const char *text, size_t n, const char *name, int line, rd_family f, rd_task *t)
{
    int rc = RD_OK;
    rd_json *doc = NULL;
    const place here = {name, line, f}, *at = &here;
    *t = (rd_task){.family = f};
    if (n == 0) RD_FAIL(RD_EINPUT, "%s:%d: empty line", at->path, at->line);
    RD_TRY(rd_json_parse(text, n, at->path, at->line, &doc));
    const rd_json_node *root = rd_json_root(doc);
    if (rd_json_kind(root) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s:%d: a task must be an object", at->path, at->line);
    const rd_json_node *idx = rd_json_get(root, "idx");
    if (!idx || !rd_json_is_int(idx) || rd_json_int(idx) < 0)
        RD_FAIL(RD_EINPUT, "%s:%d: \"idx\" must be an integer >= 0", at->path, at->line);
    t->id = rd_json_int(idx);
    RD_TRY(examples_read(at, root, t));
    RD_TRY(rule_read(at, root, t));
done:
    rd_json_free(&doc);
    if (rc != RD_OK) rd_task_free(t);
    return rc;
}

/* The official held-out files keep the numbers of the whole file, in shuffled order: numbers must
 * differ, nothing more.  Open addressing over the tasks of this file. */
static int ids_check(const char *path, const rd_taskset *set, int64_t first)
{
    int rc = RD_OK;
    int64_t slots = 4;
    while (slots < 2 * (set->n - first)) slots *= 2;
    int64_t *slot = rd_new(int64_t, slots); /* position + 1; 0 is free */
    for (int64_t i = first; i < set->n; i++) {
        int64_t id = set->task[i].id;
        uint64_t h = rd_hash(&id, sizeof id, 0);
        while (slot[h & (uint64_t)(slots - 1)]) {
            int64_t other = slot[h & (uint64_t)(slots - 1)] - 1;
            if (set->task[other].id == id)
                RD_FAIL(RD_EINPUT, "%s:%lld: idx %lld is also that of line %lld", path,
                        (long long)(i - first + 1), (long long)id, (long long)(other - first + 1));
            h++;
        }
        slot[h & (uint64_t)(slots - 1)] = i + 1;
    }
done:
    rd_free(slot);
    return rc;
}

int rd_task_load(const char *path, rd_family f, rd_taskset *set)
{
    int rc = RD_OK;
    int64_t first = set->n;
    int line = 0;
    rd_buf file = {0};
    rd_task t = {0};
    RD_TRY(rd_file_read(path, &file));
    if (file.len == 0) RD_FAIL(RD_EINPUT, "%s: no tasks: the file is empty", path);
    const char *p = file.data, *end = file.data + file.len;
    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline ? newline : end;
        RD_TRY(rd_task_parse(p, (size_t)(stop - p), path, ++line, f, &t));
        rd_taskset_add_take(set, &t);
        p = stop + 1;
    }
    RD_TRY(ids_check(path, set, first));
done:
    rd_task_free(&t);
    if (rc != RD_OK)
        while (set->n > first) rd_task_free(&set->task[--set->n]);
    rd_buf_free(&file);
    return rc;
}

/* ---------------------------------------------------------------- saving */

/* ACRE's "['a', 'b']" as a JSON array of strings. */
static void scene_put(const char *v, rd_buf *out)
{
    rd_buf_putc(out, '[');
    bool first = true;
    for (const char *p = strchr(v, '\''); p; p = strchr(p, '\'')) {
        const char *stop = strchr(++p, '\'');
        if (!stop) break;
        if (!first) rd_buf_puts(out, ", ");
        rd_json_put_ascii(p, (size_t)(stop - p), out);
        first = false;
        p = stop + 1;
    }
    rd_buf_putc(out, ']');
}

static void examples_put(const rd_task *t, int64_t from, int64_t to, rd_buf *out)
{
    for (int64_t i = from; i < to; i++) {
        const rd_example *e = &t->examples[i];
        rd_buf_puts(out, i > from ? ", {\"input\": " : "{\"input\": ");
        if (t->family == RD_ACRE)
            scene_put(e->input, out);
        else
            rd_json_put_ascii(e->input, strlen(e->input), out);
        rd_buf_puts(out, ", \"output\": ");
        rd_json_put_ascii(e->output, strlen(e->output), out);
        if (e->type) {
            rd_buf_puts(out, ", \"type\": ");
            rd_json_put_ascii(e->type, strlen(e->type), out);
        }
        rd_buf_putc(out, '}');
    }
}

int rd_task_save(const char *path, const rd_taskset *set)
{
    int rc = RD_OK;
    rd_buf out = {0};
    for (int64_t k = 0; k < set->n; k++) {
        const rd_task *t = &set->task[k];
        rd_buf_printf(&out, "{\"idx\": %lld, \"train\": [", (long long)t->id);
        examples_put(t, 0, t->n_demos, &out);
        rd_buf_puts(&out, "], \"test\": [");
        examples_put(t, t->n_demos, t->n_demos + t->n_queries, &out);
        rd_buf_putc(&out, ']');
        if (t->rule) {
            rd_buf_puts(&out, ", \"rule\": ");
            rd_json_put_ascii(t->rule, strlen(t->rule), &out);
        }
        rd_buf_puts(&out, "}\n");
    }
    RD_TRY(rd_file_write_atomic(path, out.data ? out.data : "", out.len));
done:
    rd_buf_free(&out);
    return rc;
}

/* ---------------------------------------------------------------- the official split */

/* Python's generator (MT19937, Matsumoto and Nishimura 1998), seeded by the one-word key array {10}
 * as random.seed(10) does. */
enum { MT_N = 624, MT_M = 397 };
typedef struct mt19937 {
    uint32_t state[MT_N];
    int at;
} mt19937;

static void mt_seed(mt19937 *m, uint32_t key)
{
    uint32_t *s = m->state;
    s[0] = 19650218u;
    for (uint32_t i = 1; i < MT_N; i++) s[i] = 1812433253u * (s[i - 1] ^ s[i - 1] >> 30) + i;
    /* init_by_array with one word: its index stays 0, so nothing is added to the key */
    uint32_t i = 1;
    for (int k = 0; k < MT_N; k++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1664525u) + key;
        if (++i == MT_N) {
            s[0] = s[MT_N - 1];
            i = 1;
        }
    }
    for (int k = 0; k < MT_N - 1; k++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1566083941u) - i;
        if (++i == MT_N) {
            s[0] = s[MT_N - 1];
            i = 1;
        }
    }
    s[0] = 0x80000000u;
    m->at = MT_N;
}

static uint32_t mt_next(mt19937 *m)
{
    uint32_t *s = m->state;
    if (m->at == MT_N) {
        for (int k = 0; k < MT_N; k++) {
            uint32_t y = (s[k] & 0x80000000u) | (s[(k + 1) % MT_N] & 0x7fffffffu);
            s[k] = s[(k + MT_M) % MT_N] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        m->at = 0;
    }
    uint32_t y = s[m->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

void rd_task_official_order(int64_t n, int64_t *order)
{
    mt19937 m;
    mt_seed(&m, 10);
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = n - 1; i >= 1; i--) {
        int bits = 0;
        while ((i + 1) >> bits) bits++;
        RD_ASSERT(bits <= 32);
        int64_t r;
        do r = mt_next(&m) >> (32 - bits);
        while (r > i);
        int64_t swap = order[i];
        order[i] = order[r];
        order[r] = swap;
    }
}

void rd_task_official_split(int64_t n, int64_t *test, int64_t *n_test)
{
    int64_t *order = rd_new(int64_t, n);
    rd_task_official_order(n, order);
    int64_t first = (int64_t)(0.9 * (double)n);
    for (int64_t i = first; i < n; i++) test[i - first] = order[i];
    *n_test = n - first;
    rd_free(order);
}
