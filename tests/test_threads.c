/* ranks: 1 2 */
/* A training step has the same bits on any number of threads: passes with biases and grouped heads,
 * low-rank adapters with dropout and gains, updates by AdamW and Muon.  Batches are large enough
 * for every pass to be shared. */
#include "rd_test.h"
#include "rd/train.h"

enum { SEQUENCES = 3, TOKENS = 300 };
static const int64_t start[SEQUENCES + 1] = {0, 171, 220, TOKENS};
static const rd_model_config config = {.vocab = 700,
                                       .width = 168,
                                       .layers = 2,
                                       .heads = 6,
                                       .kv_heads = 2,
                                       .ffn = 360,
                                       .rope_theta = 1e4,
                                       .norm_eps = 1e-5,
                                       .tied = true,
                                       .qkv_bias = true};

/* What a few steps leave. */
typedef struct outcome {
    uint64_t logp, grads, weights;
    double norm;
} outcome;

static uint64_t hash(const void *x, int64_t n, size_t size)
{
    return rd_hash(x, (size_t)n * size, 1);
}

static outcome run(rd_grid *g, const rd_adapter_opts *a, const char *kind, int threads)
{
    rd_model *m;
    rd_work *w;
    rd_optim *opt;
    rd_optim_opts o;
    outcome r = {0};
    int32_t tokens[TOKENS], target[TOKENS];
    float coef[TOKENS];
    double logp[TOKENS];
    rd_batch b = {TOKENS, SEQUENCES, (int64_t *)start, tokens, target};
    rd_rng rng = rd_rng_make(5, "threads", 0, 0);
    for (int t = 0; t < TOKENS; t++) {
        tokens[t] = (int32_t)rd_rng_below(&rng, config.vocab);
        target[t] = t % 3 == 0 ? -1 : (int32_t)rd_rng_below(&rng, config.vocab);
        coef[t] = -1.0f / TOKENS;
    }
    rd_model_create(g, &config, a == NULL, &m);
    rd_model_init(m, 7);
    if (a != NULL) {
        rd_model_adapt(m, a);
        rd_model_adapter_init(m, 9);
    }
    rd_threads_set(threads); /* there is scratch for so many */
    rd_work_create(m, TOKENS, TOKENS, &w);
    rd_optim_defaults(&o);
    o.kind = kind;
    rd_optim_create(m, &o, 10, &opt);
    for (int step = 0; step < 3; step++) {
        rd_model_dropout(m, 1 + (uint64_t)step);
        rd_model_zero_grads(m);
        rd_model_fwd(m, w, &b);
        rd_model_head(m, w, &b, coef, logp);
        rd_model_bwd(m, w, &b);
        r.grads ^= hash(m->trained->grads, m->trained->storage, sizeof(float));
        r.logp ^= hash(logp, TOKENS, sizeof(double));
        rd_optim_step(opt, step, &r.norm);
    }
    rd_threads_set(1);
    r.weights = hash(m->trained->weights, m->trained->storage, sizeof(float));
    rd_optim_free(&opt);
    rd_work_free(&w);
    rd_model_free(&m);
    return r;
}

static void compare(rd_grid *g, const rd_adapter_opts *a, const char *kind, const char *what)
{
    outcome one = run(g, a, kind, 1);
    for (int threads = 2; threads <= 5; threads += 3) {
        outcome more = run(g, a, kind, threads);
        ok(more.logp == one.logp, "%s: log-probabilities, 1 and %d threads", what, threads);
        ok(more.grads == one.grads, "%s: gradients", what);
        ok(more.norm == one.norm, "%s: the gradient's norm", what);
        ok(more.weights == one.weights, "%s: weights", what);
    }
}

int main(int argc, char **argv)
{
    rd_grid *g;
    const unsigned all = (1u << RD_TARGETS) - 1;
    rd_test_begin(&argc, &argv);
    int ranks = rd_test_world.size;
    is_rc(rd_grid_create(0, ranks, 1, &g), RD_OK, "grid");
    rd_la_attach(g, 1);
    compare(g, NULL, "adamw", "AdamW");
    compare(g, NULL, "muon", "Muon");
    compare(g, &(rd_adapter_opts){RD_LORA, 8, 16, 0.1, false, all}, "adamw", "LoRA");
    compare(g, &(rd_adapter_opts){RD_DORA, 8, 16, 0.1, false, all}, "adamw", "DoRA");
    rd_la_detach(g);
    rd_grid_free(&g);
    return rd_test_end();
}
