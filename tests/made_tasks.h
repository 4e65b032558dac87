/* made_tasks.h: generated tasks: one or a set of them, what a rule gives of them, whether two are
 * the same. */
#ifndef MADE_TASKS_H
#define MADE_TASKS_H

#include "rd/task.h"
#include <string.h>

/* Task i of a generator, which must have one, behind those of the set, which owns it; lent until
 * the next is added. */
static inline rd_task *made_add(rd_taskset *set, const rd_gen_opts *gen, rd_split split, int64_t i)
{
    rd_task t = {0};
    if (rd_task_generate(gen, split, i, &t) != RD_OK) rd_die("%s", rd_error_get()->message);
    rd_taskset_add_take(set, &t);
    return &set->task[set->n - 1];
}

/* n tasks of each of the families (NULL: of all), which alternate, so that every rank meets texts
 * that other ranks meet too. */
static inline void made_alternate(rd_taskset *set, rd_gen_opts gen, rd_split split, int64_t n,
                                  int64_t families, const rd_family *family)
{
    if (family == NULL) families = RD_FAMILIES;
    for (int64_t i = 0; i < n * families; i++) {
        gen.family = family == NULL ? (rd_family)(i % families) : family[i % families];
        made_add(set, &gen, split, i / families);
    }
}

static inline bool made_same(const rd_task *a, const rd_task *b)
{
    rd_buf x = {0}, y = {0};
    rd_task_put(&x, a);
    rd_task_put(&y, b);
    bool equal = x.len == y.len && !memcmp(x.data, y.data, x.len);
    rd_buf_free(&x);
    rd_buf_free(&y);
    return equal;
}

/* Examples [from, to) of t that r reproduces, run as a teacher would. */
static inline int64_t rule_hits(const rd_rule *r, const rd_task *t, int64_t from, int64_t to)
{
    int64_t n = 0;
    rd_buf y = {0};
    for (int64_t i = from; i < to; i++) {
        rd_buf_clear(&y);
        n += rd_rule_run(t->family, r, t->examples[i].input, &y, NULL) &&
             !strcmp(y.data, t->examples[i].output);
    }
    rd_buf_free(&y);
    return n;
}

/* The same of a rule's text; -1 when it is no rule. */
static inline int64_t rule_text_hits(const char *text, const rd_task *t, int64_t from, int64_t to)
{
    rd_rule *r = rd_rule_parse(t->family, text);
    if (r == NULL) return -1;
    int64_t n = rule_hits(r, t, from, to);
    rd_rule_free(t->family, &r);
    return n;
}

/* Does r give every output of t? */
static inline bool rule_explains(const rd_rule *r, const rd_task *t)
{
    return rule_hits(r, t, 0, t->n_demos + t->n_queries) == t->n_demos + t->n_queries;
}

/* Does the task's own rule, read back from its text? */
static inline bool made_explained(const rd_task *t)
{
    const int64_t n = t->n_demos + t->n_queries;
    return t->rule != NULL && rule_text_hits(t->rule, t, 0, n) == n;
}

#endif
