/* sweep_plan.c: what a sweep will be: every member resolved and checked as `validate` does it, its
 * cost, what is shared.
 *
 * Five hundred members are to be planned in seconds, so two things that validate does are left out:
 * generated tasks are not generated (nothing about that can fail), and no better grids are looked
 * for.  Task files are read once each. */
#include "cli/sweep.h"

#include <stdlib.h>
#include <string.h>

typedef struct planned {
    shared_keys shared;
    plan_cost cost;
    char *refused; /* why it cannot run; NULL: it can */
} planned;

typedef struct planner {
    const sweep *s;
    const sweep_plan_opts *o;
    planned *member;
    int64_t n_refused;
    rd_buf files; /* task files that were read, "family path" each on a line */
    job *last;    /* of the last member that can run: what it read is not read again */
} planner;

/* ---------------------------------------------------------------- a member */

static int check_task_file(planner *p, const job *j, const config_scope *entry, const char *key)
{
    int rc = RD_OK;
    rd_family family;
    rd_taskset set = {0};
    rd_buf line = {0};
    const char *file = config_text(entry, key), *name = config_text(entry, "family");
    char *path = config_data_path(&j->cfg, file);
    rd_buf_printf(&line, "\n%s %s\n", name, path);
    if (!*file || (p->files.data && strstr(p->files.data, line.data))) goto done;
    RD_TRY(rd_family_parse(name, &family));
    RD_TRY(rd_task_load(path, family, &set));
    rd_buf_puts(&p->files, line.data);
done:
    rd_taskset_free(&set);
    rd_buf_free(&line);
    rd_free(path);
    return rc;
}

/* A new directory has nothing that an earlier stage left. */
static int check_stages(const job *j)
{
    int rc = RD_OK;
    const config_scope *s = &j->cfg.keys;
    bool trains = false;
    for (int i = 0; i < j->cfg.n_arms; i++)
        trains |= config_list_has(&j->cfg.arm[i].keys, "stages", "sft") ||
                  config_list_has(&j->cfg.arm[i].keys, "stages", "align");
    if (trains && !config_list_has(s, "stages", "filter"))
        RD_FAIL(RD_EINPUT, "stages: a member that trains needs filter");
    if (config_list_has(s, "stages", "filter") && !config_list_has(s, "stages", "augment"))
        RD_FAIL(RD_EINPUT, "stages: filter needs augment");
done:
    return rc;
}

static int root_check(planner *p, const job *j, planned *m)
{
    int rc = RD_OK;
    RD_TRY(check_stages(j));
    for (int i = 0; i < j->cfg.n_tasks; i++) {
        RD_TRY(check_task_file(p, j, &j->cfg.task[i], "file"));
        RD_TRY(check_task_file(p, j, &j->cfg.task[i], "test_file"));
    }
    shared_keys_of(&j->cfg, &m->shared);
    RD_TRY(plan_cost_of(j, &m->cost));
done:
    return rc;
}

/* The job j, which was found good, or NULL, takes the place of the last. */
static void keep(planner *p, job *j)
{
    if (p->last) job_end(p->last);
    rd_free(p->last);
    p->last = j;
}

/* What is wrong with a member is noted; only other failures end the planning.  Collective. */
static int plan_member(planner *p, const sweep_member *m)
{
    int rc = RD_OK;
    rd_comm world = rd_comm_world();
    sweep_sets sets = {0};
    planned *out = &p->member[m->index];
    job *j = rd_new(job, 1);
    j->validate = true;
    j->ranks = p->o->ranks;
    j->machine = p->o->machine;
    j->like = p->last;
    RD_TRY(sweep_member_sets(p->s, m, 0, NULL, &sets));
    rc = job_begin(j, p->s->base, sets.n, (const char *const *)sets.text);
    j->like = NULL;
    if (rc == RD_OK) rc = rd_agree(&world, world.rank == 0 ? root_check(p, j, out) : RD_OK);
    if (rc == RD_OK) {
        keep(p, j);
        j = NULL;
    } else if (rc == RD_EINPUT || rc == RD_EUSAGE) {
        out->refused = rd_strdup(rd_error_get()->message);
        p->n_refused++;
        rd_error_clear();
        rc = RD_OK;
    }
done:
    if (j) job_end(j);
    rd_free(j);
    sweep_sets_free(&sets);
    return rc;
}

/* ---------------------------------------------------------------- sums */

typedef struct sums {
    double hours, longest, bytes;
    int64_t longest_member, unknown, traces, datasets;
    int ranks; /* the most that a member has */
    const plan_cost *any;
} sums;

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int64_t count_distinct(const planner *p, bool datasets)
{
    int64_t n = 0, all = 0;
    uint64_t *key = rd_new(uint64_t, p->s->n);
    for (int64_t i = 0; i < p->s->n; i++) {
        const shared_keys *k = &p->member[i].shared;
        if (!p->member[i].refused) key[all++] = datasets ? k->datasets : k->traces;
    }
    qsort(key, (size_t)all, sizeof *key, by_value);
    for (int64_t i = 0; i < all; i++) n += i == 0 || key[i] != key[i - 1];
    rd_free(key);
    return n;
}

static void sum_up(const planner *p, sums *t)
{
    *t = (sums){.traces = count_distinct(p, false), .datasets = count_distinct(p, true)};
    for (int64_t i = 0; i < p->s->n; i++) {
        const plan_cost *c = &p->member[i].cost;
        if (p->member[i].refused) continue;
        t->any = c;
        t->hours += c->hours;
        t->unknown += c->unknown > 0;
        if (c->hours > t->longest) t->longest = c->hours, t->longest_member = i;
        if (c->bytes > t->bytes) t->bytes = c->bytes;
        if (c->ranks > t->ranks) t->ranks = c->ranks;
    }
}

/* ---------------------------------------------------------------- text */

static void text_axes(const sweep *s, rd_buf *out)
{
    for (int a = 0; a < s->n_axes; a++) {
        rd_buf_printf(out, "axis     %-12s %4d  ", s->axis[a].name, s->axis[a].n);
        for (int i = 0; i < s->axis[a].n; i++)
            rd_buf_printf(out, "%s%s", i ? " | " : "", s->axis[a].value[i].label);
        rd_buf_putc(out, '\n');
    }
    rd_buf_printf(out, "axis     %-12s %4d  ", "seed", s->n_seeds);
    for (int i = 0; i < s->n_seeds; i++)
        rd_buf_printf(out, "%s%lld", i ? " | " : "", (long long)s->seed[i]);
    rd_buf_putc(out, '\n');
    if (s->n_excluded > 0)
        rd_buf_printf(out, "excluded %lld combinations\n", (long long)s->n_excluded);
}

static void text_cost(const planner *p, const sums *t, rd_buf *out)
{
    const bool one = t->ranks == 1;
    if (!t->any) return;
    rd_buf_printf(out, "cost     training on %d rank%s a member: %.3g hours in all", t->ranks,
                  one ? "" : "s", t->hours);
    if (t->hours > 0)
        rd_buf_printf(out, ", the longest %.3g (member %lld: %s)", t->longest,
                      (long long)t->longest_member, p->s->member[t->longest_member].label);
    rd_buf_printf(out, "; at most %.1f MB a rank\n", t->bytes * 1e-6);
    rd_buf_printf(out, "         by %s (%s); teaching and evaluation come on top\n",
                  t->any->machine,
                  t->any->measured ? "measured" : "assumed: redistill calibrate measures yours");
    if (t->unknown > 0)
        rd_buf_printf(out,
                      "         %lld member%s train by epochs, whose length is not known "
                      "beforehand\n",
                      (long long)t->unknown, t->unknown == 1 ? "" : "s");
}

static void submit_all(const sweep *s, rd_buf *out)
{
    bool *all = rd_new(bool, s->n);
    memset(all, 1, (size_t)s->n);
    sweep_submit_line(s, all, out);
    rd_free(all);
}

static void text_plan(const planner *p, const sums *t, rd_buf *out)
{
    const sweep *s = p->s;
    rd_buf_printf(out, "sweep    %s: %lld member%s in %s, base %s\n", s->name, (long long)s->n,
                  s->n == 1 ? "" : "s", s->dir, s->base);
    text_axes(s, out);
    rd_buf_printf(out, "shared   %lld traces.h5 and %lld datasets.h5 serve them all\n",
                  (long long)t->traces, (long long)t->datasets);
    text_cost(p, t, out);
    for (int64_t i = 0; i < s->n; i++)
        if (p->member[i].refused)
            rd_buf_printf(out, "refused  %lld: %s: %s\n", (long long)i, s->member[i].label,
                          p->member[i].refused);
    if (p->n_refused > 0) return;
    rd_buf_puts(out, "submit   ");
    submit_all(s, out);
    rd_buf_putc(out, '\n');
}

/* ---------------------------------------------------------------- JSON */

static void json_axes(const sweep *s, rd_json_node *list)
{
    for (int a = 0; a < s->n_axes; a++) {
        rd_json_node *o = rd_json_set_object(list, NULL);
        rd_json_set_string(o, "name", s->axis[a].name);
        rd_json_node *labels = rd_json_set_array(o, "values");
        for (int i = 0; i < s->axis[a].n; i++)
            rd_json_set_string(labels, NULL, s->axis[a].value[i].label);
    }
}

static void json_plan(const planner *p, const sums *t, rd_buf *out)
{
    const sweep *s = p->s;
    rd_buf line = {0};
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *root = rd_json_root(doc);
    rd_json_set_string(root, "name", s->name);
    rd_json_set_string(root, "dir", s->dir);
    rd_json_set_int(root, "members", s->n);
    json_axes(s, rd_json_set_array(root, "axes"));
    rd_json_node *seeds = rd_json_set_array(root, "seeds");
    for (int i = 0; i < s->n_seeds; i++) rd_json_set_int(seeds, NULL, s->seed[i]);
    rd_json_set_int(root, "excluded", s->n_excluded);
    rd_json_set_int(root, "traces", t->traces);
    rd_json_set_int(root, "datasets", t->datasets);
    rd_json_node *cost = rd_json_set_object(root, "training");
    rd_json_set_int(cost, "ranks", t->ranks);
    rd_json_set_number(cost, "hours", t->hours);
    rd_json_set_number(cost, "longest_hours", t->longest);
    rd_json_set_int(cost, "longest_member", t->longest_member);
    rd_json_set_number(cost, "bytes_per_rank", t->bytes);
    rd_json_set_int(cost, "members_of_unknown_length", t->unknown);
    rd_json_set_string(cost, "machine", t->any ? t->any->machine : "");
    rd_json_node *refused = rd_json_set_array(root, "refused");
    for (int64_t i = 0; i < s->n; i++) {
        if (!p->member[i].refused) continue;
        rd_json_node *o = rd_json_set_object(refused, NULL);
        rd_json_set_int(o, "index", i);
        rd_json_set_string(o, "label", s->member[i].label);
        rd_json_set_string(o, "reason", p->member[i].refused);
    }
    submit_all(s, &line);
    if (p->n_refused == 0) rd_json_set_string(root, "submit", line.data);
    rd_json_print(root, true, out);
    rd_json_free(&doc);
    rd_buf_free(&line);
}

/* ---------------------------------------------------------------- the command */

static int root_finish(const planner *p)
{
    int rc = RD_OK;
    sums t;
    rd_buf text = {0};
    shared_keys *shared = rd_new(shared_keys, p->s->n);
    for (int64_t i = 0; i < p->s->n; i++) shared[i] = p->member[i].shared;
    sum_up(p, &t);
    if (p->n_refused == 0) RD_TRY(sweep_file_write(p->s, shared));
    if (p->o->json)
        json_plan(p, &t, &text);
    else
        text_plan(p, &t, &text);
    rd_info("%s", text.data);
    if (p->n_refused > 0)
        RD_FAIL(RD_EINPUT, "%s: %lld of %lld members cannot run; nothing was written", p->s->path,
                (long long)p->n_refused, (long long)p->s->n);
done:
    rd_free(shared);
    rd_buf_free(&text);
    return rc;
}

int sweep_plan(const char *spec, const sweep_plan_opts *o)
{
    int rc = RD_OK;
    rd_comm world = rd_comm_world();
    sweep s = {0};
    planner p = {.s = &s, .o = o};
    RD_TRY(rd_agree(&world, sweep_load(spec, &s)));
    p.member = rd_new(planned, s.n);
    rd_log_quiet(true);
    for (int64_t i = 0; i < s.n && rc == RD_OK; i++) rc = plan_member(&p, &s.member[i]);
    rd_log_quiet(false);
    RD_TRY(rc);
    RD_TRY(rd_agree(&world, world.rank == 0 ? root_finish(&p) : RD_OK));
done:
    for (int64_t i = 0; p.member && i < s.n; i++) rd_free(p.member[i].refused);
    rd_free(p.member);
    rd_buf_free(&p.files);
    keep(&p, NULL);
    sweep_free(&s);
    return rc;
}
