/* ranks: 1 2 4 */
/* Layers that are run again in the backward pass: the same bits as with all that they leave kept,
 * in less memory; full training and adapters of every kind, on any grid. */
#include "rd_test.h"
#include "rd/nn.h"

enum { SEQUENCES = 4, TOKENS = 90 };
static const int64_t start[SEQUENCES + 1] = {0, 31, 40, 73, TOKENS};
static const rd_model_config config = {.vocab = 60,
                                       .width = 32,
                                       .layers = 4,
                                       .heads = 4,
                                       .kv_heads = 2,
                                       .ffn = 72,
                                       .rope_theta = 1e4,
                                       .norm_eps = 1e-5,
                                       .qkv_bias = true};

/* Gradients of two batches, added up; with the memory that the work took. */
static uint64_t run(rd_grid *g, const rd_adapter_opts *a, bool recompute, int64_t *bytes)
{
    rd_model *m;
    rd_work *w;
    int32_t tokens[TOKENS], target[TOKENS];
    float coef[TOKENS];
    double logp[TOKENS];
    rd_batch b = {TOKENS, SEQUENCES, (int64_t *)start, tokens, target};
    rd_model_create(g, &config, a == NULL, &m);
    rd_model_init(m, 7);
    if (a != NULL) {
        rd_model_adapt(m, a);
        rd_model_adapter_init(m, 9);
        rd_rng fill = rd_rng_make(3, "adapter", 0, 0); /* B is zero at first */
        for (int64_t i = 0; i < m->adapter.n; i++) {
            rd_mat *x = &m->adapter.item[i].w;
            for (int64_t k = 0; k < x->lm * x->ln; k++)
                x->a[k] += 0.1f * (float)rd_rng_normal(&fill);
        }
    }
    m->recompute = recompute;
    int64_t before = rd_mem_used();
    rd_work_create(m, TOKENS, TOKENS, &w);
    *bytes = rd_mem_used() - before;
    for (int batch = 0; batch < 2; batch++) {
        rd_rng rng = rd_rng_make(5, "recompute", (uint64_t)batch, 0);
        for (int t = 0; t < TOKENS; t++) {
            tokens[t] = (int32_t)rd_rng_below(&rng, config.vocab);
            target[t] = t % 3 == 0 ? -1 : (int32_t)rd_rng_below(&rng, config.vocab);
            coef[t] = -1.0f / TOKENS;
        }
        rd_model_dropout(m, 1 + (uint64_t)batch);
        if (rd_model_fwd(m, w, &b) != RD_OK || rd_model_head(m, w, &b, coef, logp) != RD_OK ||
            rd_model_bwd(m, w, &b) != RD_OK)
            rd_die("%s", rd_error_get()->message);
    }
    uint64_t hash = rd_hash(m->trained->grads, (size_t)m->trained->storage * sizeof(float), 1);
    rd_work_free(&w);
    rd_model_free(&m);
    return hash;
}

static void compare(rd_grid *g, const rd_adapter_opts *a, const char *what)
{
    int64_t kept, made;
    uint64_t one = run(g, a, false, &kept), other = run(g, a, true, &made);
    ok(one == other, "%s on %d x %d: the same bits", what, g->rows, g->cols);
    ok(made < kept, "in %.0f %% of the memory", 100 * (double)made / (double)kept);
}

int main(int argc, char **argv)
{
    rd_grid *g;
    const unsigned all = (1u << RD_TARGETS) - 1, some = 1u << RD_Q | 1u << RD_V;
    rd_test_begin(&argc, &argv);
    int ranks = rd_test_world.size;
    for (int rows = 1; rows <= ranks; rows *= 2) {
        is_rc(rd_grid_create(0, rows, ranks / rows, &g), RD_OK, "grid");
        rd_la_attach(g, 1);
        compare(g, NULL, "full training");
        compare(g, &(rd_adapter_opts){RD_LORA, 8, 16, 0.1, false, all}, "LoRA of all targets");
        compare(g, &(rd_adapter_opts){RD_LORA, 4, 16, 0, false, some}, "LoRA of some");
        compare(g, &(rd_adapter_opts){RD_DORA, 8, 16, 0.1, false, all}, "DoRA");
        rd_la_detach(g);
        rd_grid_free(&g);
    }
    return rd_test_end();
}
