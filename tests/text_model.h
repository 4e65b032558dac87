/* text_model.h: a tokenizer made of a few texts, its chat without a template, and a small model of
 * its vocabulary, for tests of what is learnt from texts and of what writes them. */
#ifndef TEXT_MODEL_H
#define TEXT_MODEL_H

#include "rd/nn.h"
#include "rd/text.h"

static inline rd_tok *text_tok(int64_t vocab, bool all_bytes, int64_t n, const char *const *texts)
{
    rd_tok *tok = NULL;
    rd_tok_train_opts o = {.vocab = vocab, .all_bytes = all_bytes};
    if (rd_tok_train(&o, n, texts, NULL, &tok) != RD_OK) rd_die("%s", rd_error_get()->message);
    return tok;
}

static inline rd_chat *text_chat(const rd_tok *tok)
{
    rd_chat *chat = NULL;
    if (rd_chat_create(tok, "none", NULL, NULL, &chat) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    return chat;
}

static inline rd_model_config text_config(const rd_tok *tok)
{
    return (rd_model_config){.vocab = rd_tok_vocab(tok),
                             .width = 24,
                             .layers = 2,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_size = 6,
                             .ffn = 40,
                             .rope_theta = 1000,
                             .norm_eps = 1e-5,
                             .tied = false};
}

/* A model with its initial values, the same on every grid. */
static inline rd_model *text_model(const rd_grid *g, const rd_model_config *c, bool with_grads,
                                   uint64_t seed)
{
    rd_model *model = NULL;
    if (rd_model_create(g, c, with_grads, &model) != RD_OK || rd_model_init(model, seed) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    return model;
}

/* One of text_config with larger weights than the start's, so that what it says varies; on a 1 x 1
 * grid. */
static inline rd_model *text_model_varied(const rd_grid *g, const rd_tok *tok)
{
    const rd_model_config c = text_config(tok);
    rd_model *model = text_model(g, &c, false, 1);
    for (int64_t p = 0; p < model->base.n; p++) {
        rd_mat *w = &model->base.item[p].w;
        rd_rng r = rd_rng_make(3, "tiny", (uint64_t)p, 0);
        for (int64_t i = 0; i < w->m * w->n; i++)
            w->a[i] = (float)(model->base.item[p].decay ? 0.3 * rd_rng_normal(&r) : 1);
    }
    return model;
}

#endif
