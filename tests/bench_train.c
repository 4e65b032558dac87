/* bench */
/* Whole SFT steps (plan, packing, passes, all-reduce, Muon and AdamW, metrics) through
 * rd_train_sft: tokens per second, the share of the measured product rate, and where the time goes.
 *
 *   (a) the quickstart's student: width 96, 3 layers, vocabulary 400; 2,048 tokens in rows of 40
 * ... 80 (b) a 5 M parameter model: width 256, 6 layers; 8 rows of 256, with AdamW and with Muon,
 * whose own products (near half of the passes at this batch) are not counted as work done
 *
 * Flops per token are counted as rd_model_config_flops does.  Under mpirun -n N the rates are those
 * of all ranks, and the product rate is N times that of one. */
#include "bench_shapes.h"
#include "rd_test.h"
#include "bench_rows.h"

typedef struct shape {
    const char *name, *optimizer;
    rd_model_config cfg;
    int64_t min_len, max_len, steps;
} shape;

static double clock_seconds(const char *part)
{
    const rd_clock *list;
    int n = rd_clock_list(&list);
    char name[40];
    snprintf(name, sizeof name, "sft.%s", part);
    for (int i = 0; i < n; i++)
        if (strcmp(list[i].section, name) == 0) return list[i].seconds;
    return 0;
}

static void bench(const rd_grid *g, const rd_chat *chat, const shape *s, double rate)
{
    static const char *const parts[] = {"forward",   "head",      "backward",
                                        "allreduce", "optimizer", "checkpoint"};
    rd_model *model;
    rd_train_opts o;
    rd_train_report r = {0};
    char path[300], dir[300];
    snprintf(path, sizeof path, "%s/%s.h5", rd_test_dir(), s->name);
    snprintf(dir, sizeof dir, "%s/%s", rd_test_dir(), s->name);
    rd_train_defaults(&o);
    o.dir = dir;
    o.optim.kind = s->optimizer;
    o.tokens = 2048 * s->steps;
    o.max_len = s->max_len + 1;
    if (bench_rows_write(&g->world, path, s->min_len, s->max_len) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    rd_model_create(g, &s->cfg, true, &model);
    rd_model_init(model, 1);
    rd_clock_reset();
    if (rd_train_sft(g, model, chat, path, &o, &r) != RD_OK) rd_die("%s", rd_error_get()->message);
    double flops =
        rd_model_config_flops(&s->cfg, (double)(r.tokens / r.rows)) * r.tokens_per_second;
    if (g->world.rank == 0) {
        double ms = 1e3 / (double)r.steps, rest = r.seconds;
        printf("%s: %.2f M parameters, %lld steps of %lld tokens\n", s->name,
               1e-6 * (double)rd_model_config_params(&s->cfg), (long long)r.steps,
               (long long)(r.tokens / r.steps));
        printf("  %.0f tokens/s, %.1f GFLOP/s = %.0f %% of the product rate\n ",
               r.tokens_per_second, 1e-9 * flops, 100 * flops / rate);
        for (int i = 0; i < 6; i++) {
            printf(" %s %.2f", parts[i], ms * clock_seconds(parts[i]));
            rest -= clock_seconds(parts[i]);
        }
        printf(" rest %.2f of %.2f ms a step\n", ms * rest, ms * r.seconds);
    }
    rd_model_free(&model);
}

int main(int argc, char **argv)
{
    static const shape shapes[] = {{"student",
                                    "muon",
                                    {.vocab = 400,
                                     .width = 96,
                                     .layers = 3,
                                     .heads = 6,
                                     .kv_heads = 6,
                                     .ffn = 256,
                                     .rope_theta = 1e4,
                                     .norm_eps = 1e-5,
                                     .tied = true},
                                    40,
                                    80,
                                    100},
                                   {"five-million", "adamw", BENCH_5M, 256, 256, 12},
                                   {"five-million-muon", "muon", BENCH_5M, 256, 256, 12}};
    rd_grid *g;
    rd_test_begin(&argc, &argv);
    rd_tok *tok = bench_tokenizer();
    rd_chat *chat = text_chat(tok);
    rd_grid_create(0, 1, 1, &g);
    rd_la_attach(g, 1);
    double rate = rd_gemm_rate(1024, 5);
    rd_sum_f64(&g->world, &rate, 1);
    if (g->world.rank == 0) printf("products: %.1f GFLOP/s\n", 1e-9 * rate);
    for (int i = 0; i < 3; i++) bench(g, chat, &shapes[i], rate);
    rd_chat_free(&chat);
    rd_tok_free(&tok);
    rd_la_detach(g);
    rd_grid_free(&g);
    return rd_test_end();
}
