/* arc1d.c: the 1D-ARC family behind the interface of families.h. */
#include "arc1d.h"

#include <string.h>

static bool value_valid(const char *v)
{
    strip s;
    return strip_read(v, &s) && s.n > 0;
}

static rd_rule *rule_parse(const char *text)
{
    arc_rule r;
    if (!arc_parse(text, &r)) return NULL;
    rd_rule *copy = rd_new(rd_rule, 1);
    *copy = r;
    return copy;
}

static void rule_free(rd_rule *r)
{
    rd_free(r);
}

/* A table is looked up entry by entry, which is where a reader goes wrong. */
static int rule_steps(const rd_rule *r)
{
    int steps = 0;
    for (int i = 0; i < r->n; i++) {
        const arc_part *p = &r->part[i];
        steps++;
        for (int k = 1; p->form == FORM_TABLE && k <= ARC_KEYS; k++) steps += p->entry[k] != 0;
    }
    return steps;
}

static bool rule_run(const rd_rule *r, const char *input, rd_buf *answer, rd_buf *work)
{
    strip a, b;
    if (!strip_read(input, &a)) return false;
    size_t work_len = work ? work->len : 0;
    for (int i = 0; i < r->n; i++) {
        if (!arc_run_part(&r->part[i], &a, &b)) {
            /* What was written before the undefined part is no work towards an answer. */
            if (work && work->data) work->data[work->len = work_len] = '\0';
            return false;
        }
        a = b;
        if (work && i + 1 < r->n) {
            if (work->len > work_len) rd_buf_putc(work, '\n');
            strip_print(&a, work);
        }
    }
    strip_print(&a, answer);
    return true;
}

static void rule_kinds(const rd_rule *r, rd_buf *out)
{
    for (int i = 0; i < r->n; i++) {
        arc_print_action(&r->part[i], out);
        rd_buf_putc(out, '\n');
    }
}

/* The kind of the cheapest consistent rule; nothing when no rule of the language is consistent. */
static void task_classify(const rd_task *t, rd_buf *out)
{
    rd_candidates c = {0};
    rd_search_opts opts = {.max_right = 1};
    if (arc_search(t, &opts, &c) == RD_OK && c.n > 0 && c.item[0].score == t->n_demos)
        arc_print_kind(c.item[0].rule, out);
    rd_candidates_free(RD_ARC1D, &c);
}

const family_ops rd_arc1d_ops = {
    .name = "arc1d",
    .demos = {3, 3, 3, 3},
    .queries = {3, 1, 1, 1},
    .valid_input = value_valid,
    .valid_output = value_valid,
    .draw = arc_draw,
    .classify = task_classify,
    .kinds = rule_kinds,
    .vocabulary = arc_vocabulary,
    .rival = arc_rival,
    .search = arc_search,
    .parse = rule_parse,
    .print = arc_print,
    .cost = arc_cost,
    .steps = rule_steps,
    .free = rule_free,
    .run = rule_run,
    .mutate = arc_mutate,
    .slip = arc_slip,
};
