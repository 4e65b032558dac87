/* tiny_model.h: a small model with uneven sizes, a random packed batch and its loss, for the nn
 * tests. */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include "rd/nn.h"

static inline rd_model_config tiny_config(bool tied)
{
    return (rd_model_config){.vocab = 19,
                             .width = 10,
                             .layers = 2,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_size = 6,
                             .ffn = 13,
                             .rope_theta = 1000,
                             .norm_eps = 1e-5,
                             .tied = tied};
}

/* The same with what Llama 3.1 and Qwen2.5 add to Llama: scaling that leaves the first of the three
 * frequencies alone, divides the last, and is between the two for the second; biases. */
static inline rd_model_config tiny_config_rich(bool tied)
{
    rd_model_config c = tiny_config(tied);
    c.rope = (rd_rope_scaling){4, 1, 4, 100};
    c.qkv_bias = true;
    return c;
}

/* Weights larger than the usual start, so that nothing is nearly linear. */
static inline rd_model *tiny_model_of(const rd_grid *g, const rd_model_config *cfg, bool with_grads)
{
    rd_model *model;
    if (rd_model_create(g, cfg, with_grads, &model) != RD_OK) rd_die("%s", rd_error_get()->message);
    for (int64_t p = 0; p < model->base.n; p++) {
        rd_mat *w = &model->base.item[p].w;
        rd_rng r = rd_rng_make(11, "tiny", (uint64_t)p, 0);
        for (int64_t i = 0; i < w->m * w->n; i++)
            w->a[i] = (float)(model->base.item[p].decay ? 0.4 * rd_rng_normal(&r)
                                                        : 1 + 0.3 * rd_rng_normal(&r));
    }
    return model;
}

static inline rd_model *tiny_model(const rd_grid *g, bool tied, bool with_grads)
{
    rd_model_config cfg = tiny_config(tied);
    return tiny_model_of(g, &cfg, with_grads);
}

/* n_seq sequences of the given lengths; every third token has no target. */
static inline rd_batch tiny_batch(int64_t n_seq, const int64_t *length, uint64_t seed)
{
    rd_batch b = {.n_seq = n_seq, .start = rd_new(int64_t, n_seq + 1)};
    rd_rng r = rd_rng_make(seed, "batch", 0, 0);
    for (int64_t s = 0; s < n_seq; s++) b.start[s + 1] = b.start[s] + length[s];
    b.T = b.start[n_seq];
    b.tokens = rd_new(int32_t, b.T);
    b.target = rd_new(int32_t, b.T);
    for (int64_t t = 0; t < b.T; t++) {
        b.tokens[t] = (int32_t)rd_rng_below(&r, 19);
        b.target[t] = t % 3 == 2 ? -1 : (int32_t)rd_rng_below(&r, 19);
    }
    return b;
}

static inline void tiny_batch_free(rd_batch *b)
{
    rd_free(b->start);
    rd_free(b->tokens);
    rd_free(b->target);
}

static inline void tiny_coef(int64_t T, float *coef)
{
    rd_rng r = rd_rng_make(2, "coef", 0, 0);
    for (int64_t t = 0; t < T; t++) coef[t] = (float)rd_rng_normal(&r);
}

/* The loss <coef, logp>, whose gradient is what the backward pass gives.  Nothing may allocate. */
static inline double tiny_loss(rd_model *m, rd_work *w, const rd_batch *b, const float *coef,
                               bool backward)
{
    double *logp = rd_new(double, b->T), loss = 0;
    rd_mem_guard("step");
    if (rd_model_fwd(m, w, b) != RD_OK) rd_die("%s", rd_error_get()->message);
    if (rd_model_head(m, w, b, backward ? coef : NULL, logp) != RD_OK) rd_die("head");
    if (backward && rd_model_bwd(m, w, b) != RD_OK) rd_die("bwd");
    rd_mem_guard(NULL);
    for (int64_t t = 0; t < b->T; t++) loss += (double)coef[t] * logp[t];
    rd_free(logp);
    return loss;
}

#endif
