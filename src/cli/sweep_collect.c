/* sweep_collect.c: sweep.h5: the members, their results in one flat table, links to their files.
 *
 * Whatever is wrong with a member costs its rows, never the file: it stands in /member with its
 * state and the reason. */
#include "cli/sweep.h"

#include <math.h>
#include <string.h>

/* A table's columns: numbers as float64 or int64, texts as ids into the file's pool. */
typedef struct column {
    char *name;
    rd_dtype type;
    union {
        int64_t *i;
        double *f;
    } cell;
} column;

enum { MAX_COLUMNS = SWEEP_MAX_AXES + 16 };
typedef struct table {
    const char *name;
    int n_columns;
    column column[MAX_COLUMNS];
    int64_t rows, cap;
} table;

typedef struct collection {
    sweep s;
    rd_pool pool;
    table member, result;
    int64_t n_links, cap_links;
    char **name, **file; /* links */
    bool *done, *open;   /* open: neither done nor running */
    rd_buf reasons;
    int64_t n_done;
} collection;

/* ---------------------------------------------------------------- tables */

static void add_column(table *t, const char *name, rd_dtype type)
{
    rd_buf path = {0};
    RD_ASSERT(t->n_columns < MAX_COLUMNS);
    rd_buf_printf(&path, "%s/%s", t->name, name);
    t->column[t->n_columns++] = (column){.name = rd_buf_take(&path), .type = type};
}

static void add_axes(table *t, const sweep *s)
{
    for (int a = 0; a < s->n_axes; a++) {
        char name[64];
        snprintf(name, sizeof name, "axis_%s", s->axis[a].name);
        add_column(t, name, RD_I64);
    }
}

/* Room for a row; its number. */
static int64_t add_row(table *t)
{
    if (t->rows == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 256;
        for (int i = 0; i < t->n_columns; i++)
            if (t->column[i].type == RD_I64)
                rd_resize(t->column[i].cell.i, t->cap);
            else
                rd_resize(t->column[i].cell.f, t->cap);
    }
    return t->rows++;
}

static int write_table(rd_store *s, const table *t)
{
    int rc = RD_OK;
    for (int i = 0; i < t->n_columns; i++) {
        const column *c = &t->column[i];
        const void *rows = c->type == RD_I64 ? (const void *)c->cell.i : (const void *)c->cell.f;
        RD_TRY(rd_store_write(s, c->name, c->type, rows, t->rows));
    }
done:
    return rc;
}

static void table_free(table *t)
{
    for (int i = 0; i < t->n_columns; i++) {
        rd_free(t->column[i].name);
        if (t->column[i].type == RD_I64)
            rd_free(t->column[i].cell.i);
        else
            rd_free(t->column[i].cell.f);
    }
}

/* Columns are filled in the order in which they were added. */
typedef struct cursor {
    collection *c;
    table *t;
    int64_t row;
    int at;
} cursor;

static void put_i64(cursor *k, int64_t v)
{
    RD_ASSERT(k->t->column[k->at].type == RD_I64);
    k->t->column[k->at++].cell.i[k->row] = v;
}
static void put_f64(cursor *k, double v)
{
    RD_ASSERT(k->t->column[k->at].type == RD_F64);
    k->t->column[k->at++].cell.f[k->row] = v;
}
static void put_text(cursor *k, const char *v)
{
    put_i64(k, rd_pool_add(&k->c->pool, v));
}
static void put_axes(cursor *k, const sweep_member *m)
{
    for (int a = 0; a < k->c->s.n_axes; a++) put_text(k, m->axis[a]);
}

/* ---------------------------------------------------------------- results */

/* The columns of report.json's results, in the order of the table. */
typedef struct result_column {
    const char *name;
    enum { TEXT, COUNT, NUMBER } kind;
} result_column;
static const result_column result_columns[] = {
    {"arm", TEXT},
    {"family", TEXT},
    {"set", TEXT},
    {"method", TEXT},
    {"n", COUNT},
    {"parse", TEXT},
    {"accuracy", NUMBER},
    {"low", NUMBER},
    {"high", NUMBER},
    {"solved", NUMBER},
    {"problems", COUNT},
    {"queries", COUNT},
    {"tokens_per_query", NUMBER},
};
enum { RESULT_COLUMNS = sizeof result_columns / sizeof *result_columns };

static bool has_all(const rd_json_node *o)
{
    for (int i = 0; i < RESULT_COLUMNS; i++) {
        const rd_json_node *v = rd_json_get(o, result_columns[i].name);
        if (!v) return false;
        switch (result_columns[i].kind) {
        case TEXT:
            if (!rd_json_string(v)) return false;
            break;
        case COUNT:
            if (!rd_json_is_int(v)) return false;
            break;
        case NUMBER: /* null: not a number */
            if (rd_json_kind(v) != RD_JSON_NUMBER && rd_json_kind(v) != RD_JSON_NULL) return false;
            break;
        }
    }
    return true;
}

/* Is this a report with results that can be read? */
static bool report_is_good(rd_json *report)
{
    const rd_json_node *list = rd_json_get(rd_json_root(report), "results");
    if (!list || rd_json_kind(list) != RD_JSON_ARRAY) return false;
    for (const rd_json_node *o = rd_json_first(list); o; o = rd_json_next(o))
        if (rd_json_kind(o) != RD_JSON_OBJECT || !has_all(o)) return false;
    return true;
}

static void take_results(collection *c, const sweep_member *m, rd_json *report)
{
    const rd_json_node *list = rd_json_get(rd_json_root(report), "results");
    for (const rd_json_node *o = rd_json_first(list); o; o = rd_json_next(o)) {
        cursor k = {c, &c->result, add_row(&c->result), 0};
        put_i64(&k, m->index);
        put_i64(&k, m->seed);
        put_axes(&k, m);
        for (int i = 0; i < RESULT_COLUMNS; i++) {
            const rd_json_node *v = rd_json_get(o, result_columns[i].name);
            switch (result_columns[i].kind) {
            case TEXT: put_text(&k, rd_json_string(v)); break;
            case COUNT: put_i64(&k, rd_json_int(v)); break;
            case NUMBER:
                put_f64(&k, rd_json_kind(v) == RD_JSON_NULL ? NAN : rd_json_number(v));
                break;
            }
        }
    }
}

/* ---------------------------------------------------------------- members */

/* /members/0007/arms/redis/predictions leads to members/0007/arms/redis/predictions.h5. */
static void add_link(collection *c, int64_t index, const char *file)
{
    rd_buf name = {0}, to = {0};
    const size_t n = strlen(file);
    if (n < 3 || strcmp(file + n - 3, ".h5") != 0 || strstr(file, "/checkpoints/")) return;
    if (c->n_links == c->cap_links) {
        c->cap_links = c->cap_links ? 2 * c->cap_links : 256;
        rd_resize(c->name, c->cap_links);
        rd_resize(c->file, c->cap_links);
    }
    rd_buf_printf(&name, "members/%04lld/%.*s", (long long)index, (int)n - 3, file);
    rd_buf_printf(&to, "members/%04lld/%s", (long long)index, file);
    c->name[c->n_links] = rd_buf_take(&name);
    c->file[c->n_links++] = rd_buf_take(&to);
}

static void put_member(collection *c, const sweep_member *m, const member_standing *st)
{
    cursor k = {c, &c->member, add_row(&c->member), 0};
    put_i64(&k, m->index);
    put_text(&k, member_state_name(st->state));
    put_text(&k, st->reason);
    put_i64(&k, m->seed);
    put_text(&k, m->label);
    put_f64(&k, st->seconds > 0 ? st->seconds : NAN);
    put_axes(&k, m);
}

static void take_member(collection *c, const sweep_member *m, member_seen *seen)
{
    member_standing st;
    member_look(&c->s, m, true, seen, &st);
    if (st.state == MEMBER_DONE && st.report && !report_is_good(st.report)) {
        st.state = MEMBER_FAILED;
        rd_free(st.reason);
        st.reason = rd_strdup("report.json: its results cannot be read");
    }
    c->done[m->index] = st.state == MEMBER_DONE;
    c->open[m->index] = st.state != MEMBER_DONE && st.state != MEMBER_RUNNING;
    put_member(c, m, &st);
    if (st.state == MEMBER_DONE) {
        c->n_done++;
        if (st.report) take_results(c, m, st.report);
        for (int i = 0; i < st.n_files; i++) add_link(c, m->index, st.file[i]);
    } else if (st.state != MEMBER_MISSING || *st.reason) {
        rd_buf_printf(&c->reasons, "  %lld (%s): %s%s%s\n", (long long)m->index, m->label,
                      member_state_name(st.state), *st.reason ? ": " : "", st.reason);
    }
    member_standing_free(&st);
}

static void begin_tables(collection *c)
{
    c->member.name = "member";
    add_column(&c->member, "index", RD_I64);
    add_column(&c->member, "state", RD_I64);
    add_column(&c->member, "reason", RD_I64);
    add_column(&c->member, "seed", RD_I64);
    add_column(&c->member, "label", RD_I64);
    add_column(&c->member, "seconds", RD_F64);
    add_axes(&c->member, &c->s);
    c->result.name = "result";
    add_column(&c->result, "member", RD_I64);
    add_column(&c->result, "seed", RD_I64);
    add_axes(&c->result, &c->s);
    for (int i = 0; i < RESULT_COLUMNS; i++)
        add_column(&c->result, result_columns[i].name,
                   result_columns[i].kind == NUMBER ? RD_F64 : RD_I64);
}

/* ---------------------------------------------------------------- the file */

static int write_file(collection *c, const char *path)
{
    int rc = RD_OK;
    int64_t base = 0;
    rd_comm self = rd_comm_self();
    rd_store *s = NULL;
    const rd_store_info info = {"redistill.sweep", 1, NULL};
    RD_TRY(rd_store_create(&self, path, &info, &s));
    RD_TRY(rd_store_write_pool(s, &c->pool, &base));
    RD_TRY(write_table(s, &c->member));
    RD_TRY(write_table(s, &c->result));
    RD_TRY(
        rd_store_link(s, c->n_links, (const char *const *)c->name, (const char *const *)c->file));
    RD_TRY(rd_store_set_string(s, "", "name", c->s.name));
    RD_TRY(rd_store_set_string(s, "", "spec", c->s.path));
    RD_TRY(rd_store_commit(&s));
done:
    rd_store_close(&s);
    return rc;
}

static void collection_free(collection *c)
{
    for (int64_t i = 0; i < c->n_links; i++) {
        rd_free(c->name[i]);
        rd_free(c->file[i]);
    }
    rd_free(c->name);
    rd_free(c->file);
    rd_free(c->done);
    rd_free(c->open);
    table_free(&c->member);
    table_free(&c->result);
    rd_pool_free(&c->pool);
    rd_buf_free(&c->reasons);
    sweep_free(&c->s);
}

/* ---------------------------------------------------------------- the command */

static void text_summary(const collection *c, const char *path, rd_buf *out)
{
    const int64_t n = c->s.n;
    bool *missing = rd_new(bool, n), open = false;
    for (int64_t i = 0; i < n; i++) {
        missing[i] = !c->done[i];
        open |= c->open[i];
    }
    rd_buf_printf(out, "collect  %lld of %lld members, %lld results, %lld links in %s\n",
                  (long long)c->n_done, (long long)n, (long long)c->result.rows,
                  (long long)c->n_links, path);
    if (c->n_done < n) {
        rd_buf_puts(out, "missing: ");
        sweep_ranges(missing, n, true, out);
        rd_buf_putc(out, '\n');
    }
    if (c->reasons.len > 0) rd_buf_puts(out, c->reasons.data);
    if (open) {
        rd_buf_puts(out, "submit   ");
        sweep_submit_line(&c->s, c->open, out);
        rd_buf_putc(out, '\n');
    }
    rd_free(missing);
}

static void json_summary(const collection *c, const char *path, rd_buf *out)
{
    rd_buf line = {0};
    bool open = false;
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *root = rd_json_root(doc);
    rd_json_set_string(root, "file", path);
    rd_json_set_int(root, "members", c->s.n);
    rd_json_set_int(root, "done", c->n_done);
    rd_json_set_int(root, "results", c->result.rows);
    rd_json_node *missing = rd_json_set_array(root, "missing");
    for (int64_t i = 0; i < c->s.n; i++) {
        if (!c->done[i]) rd_json_set_int(missing, NULL, i);
        open |= c->open[i];
    }
    if (open) {
        sweep_submit_line(&c->s, c->open, &line);
        rd_json_set_string(root, "submit", line.data);
    }
    rd_json_print(root, true, out);
    rd_json_free(&doc);
    rd_buf_free(&line);
}

static int root_collect(const char *file, bool json)
{
    int rc = RD_OK;
    rd_buf path = {0}, text = {0};
    member_seen seen = {0};
    collection c = {0};
    RD_TRY(sweep_file_open(file, &c.s));
    c.done = rd_new(bool, c.s.n);
    c.open = rd_new(bool, c.s.n);
    begin_tables(&c);
    for (int64_t i = 0; i < c.s.n; i++) {
        RD_TRY(rd_stop_poll("sweep collect"));
        take_member(&c, &c.s.member[i], &seen);
    }
    RD_TRY(rd_dir_make(c.s.dir));
    rd_buf_printf(&path, "%s/sweep.h5", c.s.dir);
    RD_TRY(write_file(&c, path.data));
    if (json)
        json_summary(&c, path.data, &text);
    else
        text_summary(&c, path.data, &text);
    rd_info("%s", text.data);
done:
    member_seen_free(&seen);
    collection_free(&c);
    rd_buf_free(&path);
    rd_buf_free(&text);
    return rc;
}

int sweep_collect(const char *file, bool json)
{
    const rd_comm world = rd_comm_world();
    return rd_agree(&world, world.rank == 0 ? root_collect(file, json) : RD_OK);
}
