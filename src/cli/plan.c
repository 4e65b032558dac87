/* plan.c: what `validate` says of a run beside its resolved configuration: the tasks, and for each
 * arm's training the memory, work and time of the configured grid and of the best ones. */
#include "cli/job.h"

#include "cli/cost.h"

#include <string.h>

enum { SHOWN = 3, LARGEST_JOB = 1 << 20 };

typedef struct stage_plan {
    const config_arm *arm;
    const char *stage;
    cost_case c;
    cost_plan plan;
    cost_choice best[SHOWN];
    int n_best, smallest;
    int enough; /* ranks with which some grid fits, when none of the planned number does; 0: none */
} stage_plan;

typedef struct run_plan {
    const job *j;
    cost_machine machine;
    stage_plan stage[2 * CONFIG_MAX_ARMS];
    int n;
} run_plan;

/* ---------------------------------------------------------------- making */

static int read_machine(const job *j, cost_machine *m)
{
    int rc = RD_OK;
    const config_scope *s = &j->cfg.keys;
    const char *file = config_text(s, "machine.file");
    char *path = j->machine ? rd_strdup(j->machine) : config_prompt_path(&j->cfg, file);
    cost_machine_default(m);
    if (j->machine || *file) RD_TRY(cost_machine_read(path, m));
    int64_t ranks = config_int(s, "machine.ranks_per_node");
    if (ranks > 0) m->ranks_per_node = (int)ranks;
done:
    rd_free(path);
    return rc;
}

static int make_case(const job *j, const config_arm *arm, const char *stage, cost_case *c)
{
    int rc = RD_OK;
    const config_scope *s = &arm->keys;
    *c = (cost_case){.pairs = strcmp(stage, "align") == 0,
                     .data = j->plan.data,
                     .rows = j->plan.rows,
                     .cols = j->plan.cols,
                     .pblas = strcmp(config_text(s, "grid.products"), "pblas") == 0,
                     .bf16 = strcmp(config_text(s, "compute"), "bf16") == 0,
                     .threads = (int)config_int(s, "grid.threads"),
                     .target_share = config_real(s, "plan.target_share")};
    RD_TRY(job_model(j, arm, &c->model));
    RD_TRY(options_train(j, arm, stage, &c->train));
    int64_t row = config_int(s, "plan.row_tokens");
    c->row = row > 0 ? (double)row : (double)c->train.max_len / 2;
    if (c->row > (double)c->train.max_len) c->row = (double)c->train.max_len;
done:
    return rc;
}

static int ranks_of(const job *j)
{
    return j->plan.data * j->plan.rows * j->plan.cols;
}

/* suggest: look for better grids as well, and for one that has room. */
static int make_stage(run_plan *r, const config_arm *arm, const char *stage, bool suggest)
{
    int rc = RD_OK, ranks = ranks_of(r->j);
    stage_plan *p = &r->stage[r->n++];
    *p = (stage_plan){.arm = arm, .stage = stage};
    RD_TRY(make_case(r->j, arm, stage, &p->c));
    RD_TRY(cost_plan_make(&p->c, &r->machine, &p->plan));
    if (!suggest && p->plan.fits) goto done;
    RD_TRY(cost_suggest(&p->c, &r->machine, ranks, SHOWN, p->best, &p->n_best, &p->smallest));
    for (int more = 2 * ranks; p->smallest == 0 && more <= LARGEST_JOB; more *= 2) {
        cost_choice one;
        int n;
        RD_TRY(cost_suggest(&p->c, &r->machine, more, 1, &one, &n, &p->smallest));
        if (p->smallest > 0) p->enough = more;
    }
done:
    return rc;
}

static int make_all(const job *j, run_plan *r, bool suggest)
{
    int rc = RD_OK;
    static const char *const stages[] = {"sft", "align"};
    r->j = j;
    RD_TRY(read_machine(j, &r->machine));
    for (int i = 0; i < j->cfg.n_arms; i++)
        for (int s = 0; s < 2; s++) {
            const config_arm *arm = &j->cfg.arm[i];
            if (!config_list_has(&arm->keys, "stages", stages[s]) || (s == 0 && arm->from))
                continue;
            RD_TRY(make_stage(r, arm, stages[s], suggest));
        }
done:
    return rc;
}

/* ---------------------------------------------------------------- text */

static const char *bytes_text(double n, char *text, size_t size)
{
    if (n >= 1e9)
        snprintf(text, size, "%.2f GB", n * 1e-9);
    else
        snprintf(text, size, "%.1f MB", n * 1e-6);
    return text;
}

/* The parts of memory under the names that JSON and text share. */
typedef struct amount {
    const char *name;
    double bytes;
} amount;
enum { AMOUNTS = 10 };
static void memory_parts(const cost_memory *m, amount *a)
{
    const rd_train_memory *t = &m->train;
    const amount list[AMOUNTS] = {{"weights", m->weights},
                                  {"gradients", m->gradients},
                                  {"moments", (double)t->moments},
                                  {"partial_sums", (double)t->partial_sums},
                                  {"activations", (double)t->activations},
                                  {"logits", (double)t->head},
                                  {"panels", m->panels},
                                  {"exchange", (double)t->exchange},
                                  {"batch_and_files", (double)t->batch + m->files},
                                  {"program", m->program}};
    memcpy(a, list, sizeof list);
}

static void text_memory(const cost_plan *p, rd_buf *out)
{
    char total[24], room[24];
    amount a[AMOUNTS];
    memory_parts(&p->memory, a);
    rd_buf_puts(out, "  memory of a rank, MB:\n   ");
    for (int i = 0; i < AMOUNTS; i++)
        rd_buf_printf(out, " %s %.1f%s", a[i].name, a[i].bytes * 1e-6, i + 1 < AMOUNTS ? "," : "");
    rd_buf_printf(out, "\n    %s", bytes_text(p->memory.total, total, sizeof total));
    if (p->available > 0)
        rd_buf_printf(out, " of %s%s", bytes_text(p->available, room, sizeof room),
                      p->fits ? "" : ": DOES NOT FIT");
    rd_buf_putc(out, '\n');
}

static void text_line(const char *name, const cost_part *p, rd_buf *out)
{
    rd_buf_printf(out, "    %-16s %11.3g %11.3g %12.4f %12.4f\n", name, p->flops, p->words,
                  p->computing, p->communicating);
}

static void text_step(const cost_plan *p, rd_buf *out)
{
    cost_part sum = {.flops = p->flops, .words = p->words};
    rd_buf_printf(out, "  %-18s %11s %11s %12s %12s\n", "a step of a rank", "flops", "words sent",
                  "computing s", "messages s");
    for (int i = 0; i < COST_PARTS; i++) {
        text_line(cost_part_text((cost_part_name)i), &p->part[i], out);
        sum.computing += p->part[i].computing;
        sum.communicating += p->part[i].communicating;
    }
    text_line("all", &sum, out);
}

static void text_grid(const stage_plan *s, const cost_choice *x, rd_buf *out)
{
    char bytes[24];
    bool same = x->data == s->c.data && x->rows == s->c.rows && x->cols == s->c.cols;
    rd_buf_printf(out, "    data %d x rows %d x cols %d: %.4g s a step, %s%s%s\n", x->data, x->rows,
                  x->cols, x->plan.seconds, bytes_text(x->plan.memory.total, bytes, sizeof bytes),
                  x->plan.fits ? "" : ", does not fit", same ? " (as configured)" : "");
}

static void text_stage(const run_plan *r, const stage_plan *s, rd_buf *out)
{
    const cost_plan *p = &s->plan;
    char bytes[24];
    char trained[64] = "all trained";
    if (s->c.train.adapted)
        snprintf(trained, sizeof trained, "frozen, adapters of rank %lld trained",
                 (long long)s->c.train.adapter.rank);
    rd_buf_printf(
        out, "plan     %s %s: %.2f M parameters, %s by %s%s, grid data %d x rows %d x cols %d\n",
        s->arm->name, s->stage, 1e-6 * (double)rd_model_config_params(&s->c.model), trained,
        s->c.train.adapted ? "adamw" : s->c.train.optim.kind,
        s->c.train.optim.sharded ? " (sharded)" : "", s->c.data, s->c.rows, s->c.cols);
    text_memory(p, out);
    text_step(p, out);
    rd_buf_printf(out, "  %.4g s a step of %lld tokens (rows of %.0f), %.0f tokens/s", p->seconds,
                  (long long)s->c.train.batch_tokens, s->c.row, p->tokens_per_second);
    if (p->steps > 0) rd_buf_printf(out, "; %.0f steps, %.3g hours", p->steps, p->hours);
    rd_buf_printf(out, "\n  a checkpoint: %s, %.3g s\n",
                  bytes_text(p->checkpoint_bytes, bytes, sizeof bytes), p->checkpoint_seconds);
    if (s->c.pairs && own_wanted(s->arm))
        rd_buf_puts(out, "  making the pairs of the student's own rules comes first and is not in "
                         "these times\n");
    if (!p->busy)
        rd_buf_printf(out, "  a step of %lld tokens has no row for each of %d replicas\n",
                      (long long)s->c.train.batch_tokens, s->c.data);
    bool some = s->n_best > 0 && s->best[0].plan.fits;
    rd_buf_printf(out, "  %s %d rank%s:\n",
                  some ? "fastest grids of" : "no grid fits; nearest to it of", ranks_of(r->j),
                  ranks_of(r->j) == 1 ? "" : "s");
    for (int i = 0; i < s->n_best; i++) text_grid(s, &s->best[i], out);
    if (s->enough > 0)
        rd_buf_printf(out, "    %d ranks in replicas of %d would do\n", s->enough, s->smallest);
}

static void text_all(const run_plan *r, rd_buf *out)
{
    const cost_machine *m = &r->machine;
    const cost_plan *p = r->n > 0 ? &r->stage[0].plan : NULL;
    rd_buf_printf(out, "plan     machine: %s (%s)", m->name,
                  m->measured ? "measured" : "assumed: redistill calibrate measures yours");
    if (p)
        rd_buf_printf(out, "; %d node%s of up to %d ranks on %d cores", p->nodes,
                      p->nodes == 1 ? "" : "s", p->ranks_on_node, m->cores_per_node);
    rd_buf_putc(out, '\n');
    for (int i = 0; i < r->n; i++) text_stage(r, &r->stage[i], out);
}

/* ---------------------------------------------------------------- JSON */

static void json_grid(rd_json_node *o, int data, int rows, int cols)
{
    rd_json_set_int(o, "data", data);
    rd_json_set_int(o, "rows", rows);
    rd_json_set_int(o, "cols", cols);
}

static void json_stage(const stage_plan *s, rd_json_node *o)
{
    const cost_plan *p = &s->plan;
    amount a[AMOUNTS];
    rd_json_set_string(o, "arm", s->arm->name);
    rd_json_set_string(o, "stage", s->stage);
    rd_json_set_int(o, "parameters", rd_model_config_params(&s->c.model));
    json_grid(rd_json_set_object(o, "grid"), s->c.data, s->c.rows, s->c.cols);
    rd_json_node *memory = rd_json_set_object(o, "bytes_per_rank");
    memory_parts(&p->memory, a);
    for (int i = 0; i < AMOUNTS; i++) rd_json_set_number(memory, a[i].name, a[i].bytes);
    rd_json_set_number(memory, "total", p->memory.total);
    rd_json_set_number(memory, "available", p->available);
    rd_json_set_bool(o, "fits", p->fits);
    rd_json_node *step = rd_json_set_object(o, "step");
    for (int i = 0; i < COST_PARTS; i++) {
        rd_json_node *part = rd_json_set_object(step, cost_part_text((cost_part_name)i));
        rd_json_set_number(part, "flops", p->part[i].flops);
        rd_json_set_number(part, "words_sent", p->part[i].words);
        rd_json_set_number(part, "computing_seconds", p->part[i].computing);
        rd_json_set_number(part, "messages_seconds", p->part[i].communicating);
    }
    rd_json_set_number(o, "flops_per_step", p->flops);
    rd_json_set_number(o, "words_sent_per_step", p->words);
    rd_json_set_number(o, "seconds_per_step", p->seconds);
    rd_json_set_number(o, "tokens_per_second", p->tokens_per_second);
    if (p->steps > 0) {
        rd_json_set_number(o, "steps", p->steps);
        rd_json_set_number(o, "hours", p->hours);
    }
    rd_json_set_number(o, "checkpoint_bytes", p->checkpoint_bytes);
    rd_json_set_number(o, "checkpoint_seconds", p->checkpoint_seconds);
    rd_json_node *best = rd_json_set_array(o, "fastest");
    for (int i = 0; i < s->n_best; i++) {
        rd_json_node *x = rd_json_set_object(best, NULL);
        json_grid(x, s->best[i].data, s->best[i].rows, s->best[i].cols);
        rd_json_set_number(x, "seconds_per_step", s->best[i].plan.seconds);
        rd_json_set_number(x, "tokens_per_second", s->best[i].plan.tokens_per_second);
        rd_json_set_number(x, "bytes_per_rank", s->best[i].plan.memory.total);
        rd_json_set_number(x, "hours", s->best[i].plan.hours);
        rd_json_set_bool(x, "fits", s->best[i].plan.fits);
    }
}

static int json_all(const run_plan *r, rd_json_node *root)
{
    int rc = RD_OK;
    rd_json *cfg = NULL;
    const char *resolved = r->j->cfg.resolved;
    rd_json_node *machine = rd_json_set_object(root, "machine");
    rd_json_set_string(machine, "name", r->machine.name);
    rd_json_set_bool(machine, "measured", r->machine.measured);
    rd_json_set_int(machine, "ranks_per_node", r->machine.ranks_per_node);
    rd_json_set_int(machine, "cores_per_node", r->machine.cores_per_node);
    rd_json_set_int(root, "ranks", ranks_of(r->j));
    rd_json_node *training = rd_json_set_array(root, "training");
    for (int i = 0; i < r->n; i++) json_stage(&r->stage[i], rd_json_set_object(training, NULL));
    RD_TRY(rd_json_parse(resolved, strlen(resolved), "config", 1, &cfg));
    rd_json_set_copy(root, "config", rd_json_root(cfg));
done:
    rd_json_free(&cfg);
    return rc;
}

/* ---------------------------------------------------------------- tasks */

static void count_tasks(const job *j, rd_buf *text, rd_json_node *list)
{
    for (int f = 0; f < RD_FAMILIES; f++) {
        int64_t count[2] = {0}, rules = 0, applications = 0;
        for (int64_t i = 0; i < j->tasks.n; i++) {
            const rd_task *t = &j->tasks.task[i];
            if (t->family != (rd_family)f) continue;
            count[t->split]++;
            if (t->split != RD_SPLIT_TRAIN) continue;
            rules += j->hypotheses[t->source];
            applications += j->hypotheses[t->source] * t->n_demos;
        }
        if (count[0] + count[1] == 0) continue;
        const char *name = rd_family_name((rd_family)f);
        rd_buf_printf(text,
                      "plan     %-14s %lld training tasks, %lld test tasks; %lld rules, %lld "
                      "applications\n",
                      name, (long long)count[0], (long long)count[1], (long long)rules,
                      (long long)applications);
        rd_json_node *o = rd_json_set_object(list, NULL);
        rd_json_set_string(o, "family", name);
        rd_json_set_int(o, "training", count[0]);
        rd_json_set_int(o, "test", count[1]);
        rd_json_set_int(o, "rules", rules);
        rd_json_set_int(o, "applications", applications);
    }
}

/* ---------------------------------------------------------------- the command */

/* A training without room is refused, with what would have it: of several the one that needs most.
 */
static int check_room(const run_plan *r)
{
    int rc = RD_OK;
    const stage_plan *s = NULL;
    char need[24], room[24], way[160] = "no grid of a million ranks would do";
    for (int i = 0; i < r->n; i++) {
        const stage_plan *x = &r->stage[i];
        if (!x->plan.fits && (!s || x->plan.memory.total > s->plan.memory.total)) s = x;
    }
    if (!s) return RD_OK;
    if (s->enough > 0)
        snprintf(way, sizeof way,
                 "no grid of %d rank%s would do, one of %d in replicas of %d would", ranks_of(r->j),
                 ranks_of(r->j) == 1 ? "" : "s", s->enough, s->smallest);
    else if (s->smallest > 0)
        snprintf(
            way, sizeof way,
            "the smallest replica that fits is of %d ranks, the fastest grid data %d x rows %d "
            "x cols %d",
            s->smallest, s->best[0].data, s->best[0].rows, s->best[0].cols);
    RD_FAIL(RD_EINPUT, "%s: %s of arm %s needs %s per rank, %s has %s; %s", r->j->cfg.path,
            s->stage, s->arm->name, bytes_text(s->plan.memory.total, need, sizeof need),
            r->machine.name, bytes_text(s->plan.available, room, sizeof room), way);
done:
    return rc;
}

int plan_cost_of(const job *j, plan_cost *cost)
{
    int rc = RD_OK;
    run_plan *r = rd_new(run_plan, 1);
    *cost = (plan_cost){.ranks = ranks_of(j)};
    RD_TRY(make_all(j, r, false));
    cost->measured = r->machine.measured;
    snprintf(cost->machine, sizeof cost->machine, "%s", r->machine.name);
    cost->trainings = r->n;
    for (int i = 0; i < r->n; i++) {
        const cost_plan *p = &r->stage[i].plan;
        cost->unknown += p->steps <= 0;
        cost->hours += p->hours;
        if (p->memory.total > cost->bytes) cost->bytes = p->memory.total;
    }
    RD_TRY(check_room(r));
done:
    rd_free(r);
    return rc;
}

static int root_print(const job *j, bool json)
{
    int rc = RD_OK;
    rd_buf text = {0};
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *root = rd_json_root(doc);
    run_plan *r = rd_new(run_plan, 1);
    rd_json_set_string(root, "schema", "redistill.plan");
    rd_json_set_int(root, "schema_version", 1);
    count_tasks(j, &text, rd_json_set_array(root, "tasks"));
    RD_TRY(make_all(j, r, true));
    text_all(r, &text);
    if (json) {
        RD_TRY(json_all(r, root));
        rd_buf_clear(&text);
        rd_json_print(root, true, &text);
    }
    rd_log_quiet(false);
    rd_info("%s", text.data);
    RD_TRY(check_room(r));
done:
    rd_free(r);
    rd_json_free(&doc);
    rd_buf_free(&text);
    return rc;
}

/* Tasks are loaded or generated, models are shaped; nothing is written. */
int plan_print(job *j, bool json)
{
    int rc = RD_OK;
    rd_buf compat = {0};
    rd_info("%s", j->cfg.resolved);
    config_official_describe(&j->cfg, &compat);
    if (compat.len > 0) rd_info("%s", compat.data);
    RD_TRY(job_tasks(j));
    RD_TRY(rd_agree(&j->grid->world, j->grid->world.rank == 0 ? root_print(j, json) : RD_OK));
done:
    rd_buf_free(&compat);
    return rc;
}
