/* bench */
/* Plans against what then happens: calibrates, then trains models of 5 M and 50 M parameters on
 * every data x rows x cols grid of the job's ranks, and prints memory and seconds as planned and as
 * measured.  Memory: the program's own count on the fullest rank.  Seconds: of a step, the best of
 * several runs of a few steps, so that a busy machine does less harm. */
#include "bench_shapes.h"
#include "rd_test.h"
#include "bench_rows.h"

#include "cli/cost.h"
#include "cli/job.h"

enum { ROW = 256, TOKENS = 2048, STEPS = 3, RUNS = 3 };

typedef struct shape {
    const char *name;
    rd_model_config cfg;
} shape;
static const shape shapes[] = {
    {"5M", BENCH_5M},
    {"50M",
     {.vocab = 4096,
      .width = 512,
      .layers = 14,
      .heads = 8,
      .kv_heads = 4,
      .ffn = 1536,
      .rope_theta = 1e4,
      .norm_eps = 1e-5,
      .tied = true}},
};

static rd_train_opts options(const char *optimizer)
{
    rd_train_opts o;
    rd_train_defaults(&o);
    o.optim.kind = optimizer;
    o.tokens = STEPS * TOKENS;
    o.batch_tokens = o.micro_tokens = TOKENS;
    o.max_len = ROW + 1; /* with EOS */
    return o;
}

/* One run of a few steps: seconds of one, and the largest peak over the ranks. */
static double run(const rd_grid *g, const rd_model_config *cfg, const rd_chat *chat,
                  const char *path, rd_train_opts *o, int number, int64_t *peak)
{
    rd_model *model;
    rd_train_report r;
    char dir[320];
    snprintf(dir, sizeof dir, "%s/%s-%d-%d-%d-%d-%lld", rd_test_dir(), o->optim.kind, g->data,
             g->rows, g->cols, number, (long long)cfg->width);
    o->dir = dir;
    rd_clock_reset();
    int64_t before = rd_mem_used();
    rd_mem_peak_restart();
    rd_model_create(g, cfg, true, &model);
    rd_model_init(model, 1);
    if (rd_train_sft(g, model, chat, path, o, &r) != RD_OK) rd_die("%s", rd_error_get()->message);
    *peak = rd_mem_peak() - before;
    rd_max_i64(&g->world, peak, 1);
    rd_model_free(&model);
    double seconds = 0;
    const rd_clock *list;
    for (int n = rd_clock_list(&list), i = 0; i < n; i++)
        if (strncmp(list[i].section, "sft.", 4) == 0 &&
            strcmp(list[i].section, "sft.checkpoint") != 0)
            seconds += list[i].seconds;
    rd_max_f64(&g->world, &seconds, 1);
    return seconds / (double)r.steps;
}

static void compare(const rd_grid *g, const shape *s, const char *optimizer, const rd_chat *chat,
                    const char *path, const cost_machine *m)
{
    rd_train_opts o = options(optimizer);
    cost_case c = {.model = s->cfg,
                   .train = o,
                   .row = ROW,
                   .target_share = 0.5,
                   .data = g->data,
                   .rows = g->rows,
                   .cols = g->cols};
    cost_plan p;
    double best = INFINITY;
    int64_t peak = 0;
    if (rd_model_config_check(&c.model) != RD_OK || cost_plan_make(&c, m, &p) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    for (int i = 0; i < RUNS; i++) best = fmin(best, run(g, &s->cfg, chat, path, &o, i, &peak));
    double memory = (p.memory.total - p.memory.program - p.memory.panels) * 1e-6,
           measured = (double)peak * 1e-6;
    if (g->world.rank == 0)
        printf("| %s %s | %d x %d x %d | %.1f | %.1f | %+.1f %% | %.3f | %.3f | %+.0f %% |\n",
               s->name, optimizer, g->data, g->rows, g->cols, memory, measured,
               100 * (memory / measured - 1), p.seconds, best, 100 * (p.seconds / best - 1));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char path[300], machine[300];
    cost_machine m;
    rd_test_begin(&argc, &argv);
    rd_tok *tok = bench_tokenizer();
    rd_chat *chat = text_chat(tok);
    int n = rd_test_world.size;
    snprintf(path, sizeof path, "%s/rows.h5", rd_test_dir());
    snprintf(machine, sizeof machine, "%s/machine.json", rd_test_dir());
    rd_log_quiet(false);
    if (bench_rows_write(&rd_test_world, path, ROW, ROW) != RD_OK ||
        calibrate_run(machine) != RD_OK || cost_machine_read(machine, &m) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    rd_log_quiet(true);
    if (rd_test_world.rank == 0)
        printf("| model | data x rows x cols | MB planned | used | | s a step planned | taken | |\n"
               "|---|---|---|---|---|---|---|---|\n");
    for (int replica = 1; replica <= n; replica++)
        for (int rows = 1; rows <= replica; rows++) {
            rd_grid *g;
            if (n % replica != 0 || replica % rows != 0) continue;
            rd_grid_create(n / replica, rows, replica / rows, &g);
            rd_la_attach(g, 1);
            compare(g, &shapes[0], "adamw", chat, path, &m);
            compare(g, &shapes[0], "muon", chat, path, &m);
            compare(g, &shapes[1], "adamw", chat, path, &m);
            rd_la_detach(g);
            rd_grid_free(&g);
        }
    rd_chat_free(&chat);
    rd_tok_free(&tok);
    return rd_test_end();
}
