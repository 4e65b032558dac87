/* bench */
/* Where a training step goes that is no matrix product: whole SFT steps through rd_train_sft, their
 * sections, and beside them each kind of pass alone, on the step's shapes and as often as a step
 * takes it.  What remains is products.
 *
 *   135   SmolLM2-135M's shape, 4 rows of 512 tokens a step, AdamW
 *   5     5 M parameters, 8 rows of 256
 *
 * Arguments: 5 or 135, full or lora (rank 8, all targets), threads (1), steps (2), one in how many
 * tokens has a target (1), f32 or bf16.  Under mpirun -n N the passes are those of one rank of N.
 */
#include "bench_shapes.h"
#include "rd_test.h"
#include "bench_rows.h"
#include "nn/ops.h"

typedef struct bench_case {
    rd_model_config cfg;
    int64_t len, rows, ways, steps;
    bool lora;
} bench_case;

static const rd_model_config small = BENCH_5M;
static const rd_model_config large = BENCH_SMOLLM2;

/* ---------------------------------------------------------------- passes alone */

/* Activations and gradients of one layer, and what the passes need beside them. */
typedef struct bed {
    const bench_case *c;
    int64_t T, D, F, V, q, hs;
    float *x, *y, *w, *dw, *inv, *gu, *dgu, *h, *dh, *qkv, *dqkv, *out, *dout, *lse, *z, *table;
    int32_t *position;
    int64_t *start;
    rd_attention a;
} bed;

static float *filled(int64_t n)
{
    rd_rng r = rd_rng_make(1, "bed", 0, 0);
    float *x = rd_new(float, n);
    for (int64_t i = 0; i < n; i++) x[i] = (float)rd_rng_uniform(&r) - 0.5f;
    return x;
}

enum { SOFTMAX_COLUMNS = 32 };

static void make_bed(const bench_case *c, int64_t n_seq, bed *b)
{
    const rd_model_config *m = &c->cfg;
    int64_t S = m->head_size, T = c->len * n_seq;
    *b = (bed){.c = c, .T = T, .D = m->width, .F = m->ffn, .V = m->vocab};
    b->q = (m->heads + 2 * m->kv_heads) * S;
    b->hs = m->heads * S;
    b->x = filled(b->D * T), b->y = filled(b->D * T), b->w = filled(b->D), b->dw = filled(b->D);
    b->inv = filled(T), b->gu = filled(2 * b->F * T), b->dgu = filled(2 * b->F * T);
    b->h = filled(b->F * T), b->dh = filled(b->F * T), b->qkv = filled(b->q * T);
    b->dqkv = filled(b->q * T), b->out = filled(b->hs * T), b->dout = filled(b->hs * T);
    b->lse = filled(m->heads * T), b->z = filled(b->V * SOFTMAX_COLUMNS);
    b->table = rd_new(float, S * c->len);
    b->position = rd_new(int32_t, T);
    b->start = rd_new(int64_t, n_seq + 1);
    rd_rope_table(m, c->len, b->table);
    for (int64_t t = 0; t < T; t++) b->position[t] = (int32_t)(t % c->len);
    for (int64_t s = 0; s <= n_seq; s++) b->start[s] = s * c->len;
    b->a = (rd_attention){.heads = m->heads,
                          .kv_heads = m->kv_heads,
                          .size = S,
                          .ld_qkv = b->q,
                          .ld_out = b->hs,
                          .max_len = c->len,
                          .threads = rd_threads(),
                          .scratch = rd_new(float, rd_attention_scratch(S, rd_threads())),
                          .partial = rd_new(float, rd_attention_partial(m->heads, S) * T)};
}

static void free_bed(bed *b)
{
    float *list[] = {b->x,    b->y,   b->w,  b->dw,    b->inv,       b->gu,
                     b->dgu,  b->h,   b->dh, b->qkv,   b->dqkv,      b->out,
                     b->dout, b->lse, b->z,  b->table, b->a.scratch, b->a.partial};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) rd_free(list[i]);
    rd_free(b->position), rd_free(b->start);
}

static void attention_fwd(bed *b)
{
    rd_attention_fwd(&b->a, b->T / b->c->len, b->start, b->qkv, b->out, b->lse);
}
static void attention_bwd(bed *b)
{
    rd_attention_bwd(&b->a, b->T / b->c->len, b->start, b->qkv, b->out, b->lse, b->dout, b->dqkv);
}
static void norms(bed *b) /* two a layer */
{
    for (int i = 0; i < 2; i++) {
        rd_rmsnorm_fwd(b->D, b->T, b->x, b->w, 1e-5, b->y, b->inv);
        rd_rmsnorm_bwd(b->D, b->T, b->x, b->w, b->inv, b->y, b->dout, b->c->lora ? NULL : b->dw);
    }
}
static void rope(bed *b)
{
    const rd_model_config *m = &b->c->cfg;
    for (int i = 0; i < 2; i++)
        rd_rope(m->heads + m->kv_heads, m->head_size, b->T, b->position, b->table,
                i == 0 ? 1.0f : -1.0f, b->qkv, b->q);
}
static void swiglu(bed *b)
{
    rd_swiglu_fwd(b->F, b->T, b->gu, b->h);
    rd_swiglu_bwd(b->F, b->T, b->gu, b->dh, b->dgu, b->h);
}
static void softmax(bed *b)
{
    double logp[SOFTMAX_COLUMNS];
    float coef[SOFTMAX_COLUMNS];
    int32_t target[SOFTMAX_COLUMNS];
    for (int i = 0; i < SOFTMAX_COLUMNS; i++) target[i] = i, coef[i] = -1;
    rd_softmax_columns(b->V, SOFTMAX_COLUMNS, target, coef, b->z, logp);
}

/* The best of a few calls: a machine that is shared makes threads wait for each other. */
static double seconds_of(void (*pass)(bed *b), bed *b)
{
    enum { CALLS = 9 };
    double best = INFINITY;
    for (int i = 0; i < CALLS; i++) {
        double begun = rd_time();
        pass(b);
        best = fmin(best, rd_time() - begun);
    }
    return best;
}

static void print_passes(const bench_case *c, int64_t rows, double step)
{
    bed b;
    make_bed(c, rows, &b);
    double layers = (double)c->cfg.layers, total = 0;
    double pieces = (double)(b.T / c->ways) / SOFTMAX_COLUMNS;
    const struct {
        const char *name;
        void (*pass)(bed *b);
        double count;
    } list[] = {{"attention", attention_fwd, layers},
                {"attention's gradient", attention_bwd, layers},
                {"norms", norms, layers},
                {"rope", rope, layers},
                {"swiglu", swiglu, layers},
                {"softmax", softmax, pieces}};
    printf("  passes alone, per cent of a step:");
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        double part = list[i].count * seconds_of(list[i].pass, &b) / step;
        total += part;
        printf(" %s %.1f", list[i].name, 100 * part);
    }
    printf("; together %.1f\n", 100 * total);
    free_bed(&b);
}

/* ---------------------------------------------------------------- whole steps */

/* As rd_model_config_flops counts, but the head only where there are targets; a frozen base's
 * weights have no gradients. */
static double step_flops(const bench_case *c, double tokens)
{
    double head = (double)(c->cfg.vocab * c->cfg.width);
    double trunk = rd_model_config_flops(&c->cfg, 0) / 6 - head;
    double attention = rd_model_config_flops(&c->cfg, (double)c->len) / 6 - trunk - head;
    double passes = c->lora ? 4 : 6;
    return tokens * (passes * (trunk + head / (double)c->ways) + 6 * attention);
}

static void bench(const rd_grid *g, const rd_chat *chat, const bench_case *c, double rate)
{
    static const char *const parts[] = {"forward", "head", "backward", "allreduce", "optimizer"};
    rd_model *model;
    rd_train_opts o;
    rd_train_report r = {0};
    char path[300], dir[300];
    const rd_clock *list;
    snprintf(path, sizeof path, "%s/rows.h5", rd_test_dir());
    snprintf(dir, sizeof dir, "%s/run", rd_test_dir());
    rd_train_defaults(&o);
    o.dir = dir;
    o.optim.kind = "adamw";
    o.batch_tokens = o.micro_tokens = c->rows * c->len;
    o.tokens = o.batch_tokens * c->steps;
    o.max_len = c->len + 1;
    o.adapted = c->lora;
    o.adapter = (rd_adapter_opts){.rank = 8, .alpha = 16, .targets = (1u << RD_TARGETS) - 1};
    if (bench_rows_write_ways(&g->world, path, c->len, c->len, c->ways) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    rd_model_create(g, &c->cfg, !c->lora, &model);
    rd_model_init(model, 1);
    rd_clock_reset();
    if (rd_train_sft(g, model, chat, path, &o, &r) != RD_OK) rd_die("%s", rd_error_get()->message);
    int n = rd_clock_list(&list);
    double seconds[5] = {0}, saved = 0, ms = 1e3 / (double)r.steps;
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < 5; k++)
            if (strcmp(strchr(list[i].section, '.') ? strchr(list[i].section, '.') + 1 : "",
                       parts[k]) == 0)
                seconds[k] = list[i].seconds;
        if (strcmp(list[i].section, "sft.checkpoint") == 0) saved = list[i].seconds;
    }
    double step = (r.seconds - saved) / (double)r.steps, rest = r.seconds - saved;
    double tokens = (double)r.tokens / (double)r.steps;
    double flops = step_flops(c, tokens);
    if (g->world.rank == 0) {
        printf("%s, %d ranks x %d threads: %.0f tokens a step in %.0f ms = %.0f tokens/s, %.0f %% "
               "of the "
               "product rate, %.0f MB at most\n ",
               c->lora ? "lora" : "full", g->world.size, rd_threads(), tokens, 1e3 * step,
               tokens / step, 100 * flops / step / rate, 1e-6 * (double)rd_mem_resident_peak());
        for (int i = 0; i < 5; i++) {
            printf(" %s %.1f", parts[i], ms * seconds[i]);
            rest -= seconds[i];
        }
        printf(" rest %.1f ms a step\n", ms * rest);
    }
    rd_model_free(&model);
    int64_t rows = c->rows / g->data;
    if (g->world.rank == 0) print_passes(c, rows > 0 ? rows : 1, step);
}

int main(int argc, char **argv)
{
    rd_grid *g;
    rd_test_begin(&argc, &argv);
    bool is_large = argc > 1 && strcmp(argv[1], "135") == 0;
    int threads = argc > 3 ? atoi(argv[3]) : 1;
    bench_case c = {.cfg = is_large ? large : small,
                    .len = is_large ? 512 : 256,
                    .rows = is_large ? 4 : 8,
                    .lora = argc > 2 && strcmp(argv[2], "lora") == 0,
                    .steps = argc > 4 ? atoi(argv[4]) : 2,
                    .ways = argc > 5 ? atoi(argv[5]) : 1};
    rd_tok *tok = bench_tokenizer();
    rd_chat *chat = text_chat(tok);
    rd_model_config_check(&c.cfg);
    rd_grid_create(0, 1, 1, &g);
    rd_la_attach(g, threads);
    bool half = argc > 6 && strcmp(argv[6], "bf16") == 0;
    rd_la_use_bf16(g, half);
    double rate = half ? rd_gemm_bf16_rate(1024, 9) : rd_gemm_rate(1024, 9);
    rd_sum_f64(&g->world, &rate, 1);
    if (g->world.rank == 0) printf("products: %.1f GFLOP/s\n", 1e-9 * rate);
    bench(g, chat, &c, rate);
    rd_chat_free(&chat);
    rd_tok_free(&tok);
    rd_la_detach(g);
    rd_grid_free(&g);
    return rd_test_end();
}
