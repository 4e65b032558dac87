/* augment_runs.h: runs of the augment stage, and what a traces.h5 holds. */
#ifndef AUGMENT_RUNS_H
#define AUGMENT_RUNS_H

#include "distill/traces.h"

/* One run of the stage with a teacher of its own, as another process would have.  Collective on g's
 * world. */
static inline int augment_run(const rd_grid *g, const rd_teacher_opts *to,
                              const rd_prompts *prompts, const rd_taskset *tasks,
                              const rd_augment_opts *o, rd_augment_report *report)
{
    rd_teacher *teacher = NULL;
    int rc = rd_teacher_create(to, prompts, NULL, &teacher);
    if (rc == RD_OK) rc = rd_augment_run(g, teacher, prompts, tasks, o, report);
    rd_teacher_free(&teacher);
    return rc;
}

/* DIR/traces.h5, opened by this rank alone; NULL: there is none. */
static inline rd_store *traces_open(const char *dir)
{
    rd_comm self = rd_comm_self();
    rd_store *s = NULL;
    rd_buf path = {0};
    rd_buf_printf(&path, "%s/traces.h5", dir);
    if (rd_file_exists(path.data) &&
        rd_store_open(&self, path.data, TRACES_SCHEMA, TRACES_VERSION, &s) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    rd_buf_free(&path);
    return s;
}

/* Its first n tasks, all rows and texts; the caller frees them. */
static inline void traces_load(const char *dir, int64_t n, traces *t)
{
    rd_comm self = rd_comm_self();
    rd_store *s = traces_open(dir);
    traces_init(t);
    RD_ASSERT(s != NULL && traces_read(&self, s, 0, n, true, t) == RD_OK);
    rd_store_close(&s);
}

static inline uint64_t traces_hash_table(rd_store *s, table *t, uint64_t h)
{
    int64_t n = 0;
    RD_ASSERT(table_count(t, s, &n) == RD_OK && table_read(t, s, 0, n) == RD_OK);
    for (int c = 0; c < t->n_columns; c++) h = rd_hash(t->data[c], (size_t)n * sizeof(cell), h);
    return h;
}

/* Everything that it holds, decoded; 0 when there is no file. */
static inline uint64_t traces_hash(const char *dir)
{
    rd_store *s = traces_open(dir);
    rd_pool text = {0};
    traces t;
    int64_t n = 0;
    if (s == NULL) return 0;
    traces_init(&t);
    RD_ASSERT(rd_store_text_count(s, &n) == RD_OK);
    RD_ASSERT(rd_store_read_text(s, 0, n, &text) == RD_OK);
    uint64_t h = rd_hash(text.bytes.data, text.bytes.len, 1);
    h = traces_hash_table(s, &t.task, h);
    h = traces_hash_table(s, &t.example, h);
    h = traces_hash_table(s, &t.hypothesis, h);
    h = traces_hash_table(s, &t.application, h);
    rd_store_close(&s);
    rd_pool_free(&text);
    traces_free(&t);
    return h;
}

#endif
