/* gridops.c: the operations that cross the grid: norms over grid rows, the embedding over grid
 * columns.  Where the grid has one row or one column they are the local ones of ops.c.
 *
 * Norm weights and biases belong to the first grid column alone, so that the replica holds every
 * parameter once; a forward pass begins by handing them to the other columns, a backward pass adds
 * up their gradients one by one, as they are complete. */
#include "ops.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- norm weights and biases */

static int64_t bias_size(const rd_model *model)
{
    return model->cfg.qkv_bias ? model->layers->split.qkv : 0;
}

/* Where norm i lies in vectors: a layer's biases follow its first norm, so that both gradients are
 * one message. */
static int64_t norm_at(const rd_model *model, int64_t i)
{
    return i * model->layers->split.local[RD_WIDTH] + (i + 1) / 2 * bias_size(model);
}

static int64_t bias_at(const rd_model *model, int64_t layer)
{
    return norm_at(model, 2 * layer) + model->layers->split.local[RD_WIDTH];
}

int64_t rd_vectors_size(const rd_model *model)
{
    if (model->grid->cols == 1) return 0;
    return norm_at(model, 2 * model->cfg.layers) + model->layers->split.local[RD_WIDTH];
}

void rd_vectors_fetch(const rd_model *model, float *vectors)
{
    const struct rd_model_layers *m = model->layers;
    size_t norm = (size_t)m->split.local[RD_WIDTH] * sizeof(float);
    size_t bias = (size_t)bias_size(model) * sizeof(float);
    if (model->grid->cols == 1) return;
    if (model->grid->my_col == 0) {
        for (int64_t i = 0; i <= 2 * model->cfg.layers; i++)
            memcpy(vectors + norm_at(model, i), m->norm[i], norm);
        for (int64_t l = 0; l < model->cfg.layers && bias > 0; l++)
            memcpy(vectors + bias_at(model, l), m->bias[l], bias);
    }
    rd_bcast(&model->grid->over_cols, vectors, rd_vectors_size(model) * (int64_t)sizeof(float), 0);
}

void rd_vectors_return(rd_model *model, float *dvectors, int64_t i)
{
    const struct rd_model_layers *m = model->layers;
    int64_t D = m->split.local[RD_WIDTH];
    int64_t bias = i % 2 == 0 && i < 2 * model->cfg.layers ? bias_size(model) : 0;
    if (model->grid->cols == 1 || model->base.grads == NULL) return;
    float *d = dvectors + norm_at(model, i);
    rd_sum_f32(&model->grid->over_cols, d, D + bias);
    if (model->grid->my_col != 0) return;
    rd_add(D, d, m->dnorm[i]);
    if (bias > 0) rd_add(bias, d + D, m->dbias[i / 2]);
}

const float *rd_norm_weight(const rd_model *model, const float *vectors, int64_t i)
{
    return model->grid->cols == 1 ? model->layers->norm[i] : vectors + norm_at(model, i);
}

float *rd_norm_gradient(const rd_model *model, float *dvectors, int64_t i)
{
    if (model->base.grads == NULL) return NULL;
    return model->grid->cols == 1 ? model->layers->dnorm[i] : dvectors + norm_at(model, i);
}

const float *rd_bias(const rd_model *model, const float *vectors, int64_t layer)
{
    if (!model->cfg.qkv_bias) return NULL;
    return model->grid->cols == 1 ? model->layers->bias[layer] : vectors + bias_at(model, layer);
}

float *rd_bias_gradient(const rd_model *model, float *dvectors, int64_t layer)
{
    if (!model->cfg.qkv_bias || model->base.grads == NULL) return NULL;
    return model->grid->cols == 1 ? model->layers->dbias[layer] : dvectors + bias_at(model, layer);
}

/* ---------------------------------------------------------------- RMSNorm */

void rd_norm_fwd(const rd_model *model, int64_t T, const float *x, const float *w, float *y,
                 float *inv, double *sum)
{
    int64_t D = model->cfg.width, lD = model->layers->split.local[RD_WIDTH];
    if (model->grid->rows == 1) {
        rd_rmsnorm_fwd(D, T, x, w, model->cfg.norm_eps, y, inv);
        return;
    }
    for (int64_t t = 0; t < T; t++) sum[t] = rd_dot(lD, x + t * lD, x + t * lD);
    rd_sum_f64(&model->grid->over_rows, sum, T);
    for (int64_t t = 0; t < T; t++) {
        float scale = (float)(1.0 / sqrt(sum[t] / (double)D + model->cfg.norm_eps));
        for (int64_t i = 0; i < lD; i++) y[t * lD + i] = x[t * lD + i] * scale * w[i];
        inv[t] = scale;
    }
}

void rd_norm_bwd(const rd_model *model, int64_t T, const float *x, const float *w, const float *inv,
                 const float *dy, float *dx, float *dw, double *sum)
{
    int64_t D = model->cfg.width, lD = model->layers->split.local[RD_WIDTH];
    if (model->grid->rows == 1) {
        rd_rmsnorm_bwd(D, T, x, w, inv, dy, dx, dw);
        return;
    }
    for (int64_t t = 0; t < T; t++) {
        sum[t] = 0;
        for (int64_t i = 0; i < lD; i++)
            sum[t] += (double)x[t * lD + i] * (double)dy[t * lD + i] * (double)w[i];
    }
    rd_sum_f64(&model->grid->over_rows, sum, T);
    if (dw != NULL) rd_rmsnorm_bwd_weight(lD, T, x, inv, dy, dw);
    for (int64_t t = 0; t < T; t++) {
        const float *xt = x + t * lD, *dyt = dy + t * lD;
        float *dxt = dx + t * lD;
        double s = inv[t];
        float scale = inv[t], back = (float)(s * s * s * sum[t] / (double)D);
        for (int64_t i = 0; i < lD; i++) dxt[i] += dyt[i] * w[i] * scale - xt[i] * back;
    }
}

/* ---------------------------------------------------------------- embedding */

/* The vocabulary is dealt over grid columns, as the tokens are: a token's column of the embedding
 * travels from the grid column that owns its word to the one that owns its sequence, and its
 * gradient travels back.  Pieces of `chunk` tokens per grid column bound the memory. */

int64_t rd_lookup_tokens(const rd_model *model)
{
    if (model->grid->cols == 1) return 0;
    return RD_LOOKUP_CHUNK * model->layers->split.local[RD_WIDTH];
}

int64_t rd_lookup_words(const rd_model *model)
{
    return model->grid->cols * rd_lookup_tokens(model);
}

void rd_lookup_create(const rd_model *model, rd_lookup *u)
{
    *u = (rd_lookup){.words_n = rd_new(int64_t, model->grid->cols),
                     .tokens_n = rd_new(int64_t, model->grid->cols)};
}

void rd_lookup_free(rd_lookup *u)
{
    rd_free(u->words_n);
    rd_free(u->tokens_n);
    *u = (rd_lookup){0};
}

typedef struct range {
    int64_t from, to;
} range;

/* Tokens i … i + chunk of grid column c, as places in d->order. */
static range piece(const rd_deal *d, int c, int64_t i)
{
    int64_t from = d->first[c] + i, end = d->first[c + 1];
    if (from > end) from = end;
    return (range){from, end - from < RD_LOOKUP_CHUNK ? end : from + RD_LOOKUP_CHUNK};
}

static int owner(const rd_mat *E, int32_t token)
{
    return rd_dealt_owner(token, E->nb, E->grid->cols);
}

static int64_t place(const rd_mat *E, int32_t token)
{
    return rd_dealt_place(token, E->nb, E->grid->cols);
}

/* What this rank exchanges with each grid column in the piece at i: columns of its words that
 * others need, columns for its own tokens. */
static void count_piece(const rd_mat *E, const rd_deal *d, const int32_t *tokens, int64_t i,
                        rd_lookup *u)
{
    for (int c = 0; c < d->cols; c++) {
        u->words_n[c] = u->tokens_n[c] = 0;
        range r = piece(d, c, i);
        for (int64_t k = r.from; k < r.to; k++)
            if (owner(E, tokens[d->order[k]]) == d->my_col) u->words_n[c] += E->lm;
    }
    range mine = piece(d, d->my_col, i);
    for (int64_t k = mine.from; k < mine.to; k++)
        u->tokens_n[owner(E, tokens[d->order[k]])] += E->lm;
}

void rd_lookup_fwd(const rd_mat *E, const rd_deal *d, const int32_t *tokens, rd_lookup *u, float *x)
{
    size_t bytes = (size_t)E->lm * sizeof(float);
    if (d->cols == 1) {
        rd_embed_fwd(E->lm, d->T, tokens, E->a, x);
        return;
    }
    for (int64_t i = 0; i < d->width; i += RD_LOOKUP_CHUNK) {
        float *out = u->words, *in = u->tokens;
        count_piece(E, d, tokens, i, u);
        for (int c = 0; c < d->cols; c++) {
            range r = piece(d, c, i);
            for (int64_t k = r.from; k < r.to; k++) {
                int32_t token = tokens[d->order[k]];
                if (owner(E, token) != d->my_col) continue;
                memcpy(out, E->a + place(E, token) * E->ld, bytes);
                out += E->lm;
            }
        }
        rd_exchange_f32(&E->grid->over_cols, u->words, u->words_n, u->tokens, u->tokens_n);
        range mine = piece(d, d->my_col, i);
        for (int c = 0; c < d->cols; c++)
            for (int64_t k = mine.from; k < mine.to; k++) {
                if (owner(E, tokens[d->order[k]]) != c) continue;
                memcpy(x + (k - d->first[d->my_col]) * E->lm, in, bytes);
                in += E->lm;
            }
    }
}

void rd_lookup_bwd(rd_mat *dE, const rd_deal *d, const int32_t *tokens, rd_lookup *u,
                   const float *dx)
{
    size_t bytes = (size_t)dE->lm * sizeof(float);
    if (d->cols == 1) {
        rd_embed_bwd(dE->lm, d->T, tokens, dx, dE->a);
        return;
    }
    for (int64_t i = 0; i < d->width; i += RD_LOOKUP_CHUNK) {
        float *out = u->tokens, *in = u->words;
        count_piece(dE, d, tokens, i, u);
        range mine = piece(d, d->my_col, i);
        for (int c = 0; c < d->cols; c++)
            for (int64_t k = mine.from; k < mine.to; k++) {
                if (owner(dE, tokens[d->order[k]]) != c) continue;
                memcpy(out, dx + (k - d->first[d->my_col]) * dE->lm, bytes);
                out += dE->lm;
            }
        rd_exchange_f32(&dE->grid->over_cols, u->tokens, u->tokens_n, u->words, u->words_n);
        for (int c = 0; c < d->cols; c++) {
            range r = piece(d, c, i);
            for (int64_t k = r.from; k < r.to; k++) {
                int32_t token = tokens[d->order[k]];
                if (owner(dE, token) != d->my_col) continue;
                rd_add(dE->lm, in, dE->a + place(dE, token) * dE->ld);
                in += dE->lm;
            }
        }
    }
}
