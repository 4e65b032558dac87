/* transformer.c: the trunk, forward and backward, and the memory of a training step.
 *
 * The forward pass leaves in rd_work what the backward pass reads (rd_activation); outputs of
 * SwiGLU and attention probabilities are recomputed instead of kept.  The residual stream is
 * carried in place: a product with beta = 1 adds a branch to it. */
#include "ops.h"

#include <string.h>

enum { ALIGN = 16, HEAD_CHUNK = 256 };

/* ---------------------------------------------------------------- memory of a step */

/* Hands out pieces of the arena; with base == NULL it only counts. */
typedef struct arena {
    float *base;
    int64_t used;
} arena;

static float *take(arena *a, int64_t n)
{
    float *p = a->base == NULL ? NULL : a->base + a->used;
    a->used += (n + ALIGN - 1) / ALIGN * ALIGN;
    return p;
}

static void carve(rd_work *w, const rd_model_config *c, arena *a)
{
    int64_t T = w->max_T, D = c->width, F = c->ffn, S = c->head_size, H = c->heads;
    int64_t q = (H + 2 * c->kv_heads) * S;
    for (int64_t l = 0; l < c->layers; l++)
        w->act[l] = (rd_activation){.x = take(a, D * T),
                                    .n1 = take(a, D * T),
                                    .inv1 = take(a, T),
                                    .qkv = take(a, q * T),
                                    .lse = take(a, H * T),
                                    .att = take(a, H * S * T),
                                    .mid = take(a, D * T),
                                    .n2 = take(a, D * T),
                                    .inv2 = take(a, T),
                                    .gu = take(a, 2 * F * T)};
    w->x_last = take(a, D * T);
    w->h = take(a, D * T);
    w->inv = take(a, T);
    w->dh = take(a, D * T);
    w->ffn = take(a, F * T);
    w->dffn = take(a, F * T);
    w->datt = take(a, H * S * T);
    w->dgu = take(a, 2 * F * T);
    w->dqkv = take(a, q * T);
    w->dx = take(a, D * T);
    w->dn = take(a, D * T);
    w->logits = take(a, c->vocab * w->chunk);
    w->gathered = take(a, D * w->chunk);
    w->dgathered = take(a, D * w->chunk);
    w->rope = take(a, w->max_len * S);
    w->attention = (rd_attention){.heads = H,
                                  .kv_heads = c->kv_heads,
                                  .size = S,
                                  .ld_qkv = q,
                                  .ld_out = H * S,
                                  .max_len = w->max_len,
                                  .scratch = take(a, rd_attention_scratch(S, w->max_len))};
}

int rd_work_create(rd_model *model, int64_t max_T, int64_t max_len, rd_work **work)
{
    int rc = RD_OK;
    const rd_model_config *c = &model->cfg;
    *work = NULL;
    if (max_T < 1 || max_len < 1)
        RD_FAIL(RD_EINTERNAL, "space for %lld tokens in sequences of %lld", (long long)max_T,
                (long long)max_len);
    rd_work *w = rd_new(rd_work, 1);
    w->max_T = max_T;
    w->max_len = max_len;
    w->chunk = max_T < HEAD_CHUNK ? max_T : HEAD_CHUNK;
    w->act = rd_new(rd_activation, c->layers);
    w->position = rd_new(int32_t, max_T);
    w->with_target = rd_new(int64_t, max_T);
    arena a = {0};
    carve(w, c, &a);
    w->arena = rd_new(float, a.used);
    a = (arena){.base = w->arena};
    carve(w, c, &a);
    rd_rope_table(c->head_size, max_len, c->rope_theta, w->rope);
    *work = w;
done:
    return rc;
}

void rd_work_free(rd_work **work)
{
    rd_work *w = *work;
    if (w == NULL) return;
    rd_free(w->act);
    rd_free(w->position);
    rd_free(w->with_target);
    rd_free(w->arena);
    RD_FREE(*work);
}

/* ---------------------------------------------------------------- the batch */

/* Check the batch against the model and the space, and number the positions. */
static int begin_batch(const rd_model *model, rd_work *w, const rd_batch *b)
{
    int rc = RD_OK;
    if (b->T < 0 || b->T > w->max_T)
        RD_FAIL(RD_EINTERNAL, "a batch of %lld tokens, space for %lld", (long long)b->T,
                (long long)w->max_T);
    if (b->n_seq < 0 || b->start[0] != 0 || b->start[b->n_seq] != b->T)
        RD_FAIL(RD_EINTERNAL, "sequences cover %lld ... %lld of %lld tokens",
                (long long)b->start[0], (long long)b->start[b->n_seq], (long long)b->T);
    for (int64_t s = 0; s < b->n_seq; s++) {
        int64_t n = b->start[s + 1] - b->start[s];
        if (n < 0 || n > w->max_len)
            RD_FAIL(RD_EINTERNAL, "a sequence of %lld tokens, space for %lld", (long long)n,
                    (long long)w->max_len);
        for (int64_t i = 0; i < n; i++) w->position[b->start[s] + i] = (int32_t)i;
    }
    for (int64_t t = 0; t < b->T; t++)
        if (b->tokens[t] < 0 || b->tokens[t] >= model->cfg.vocab)
            RD_FAIL(RD_EINTERNAL, "token %d at %lld, vocabulary %lld", b->tokens[t], (long long)t,
                    (long long)model->cfg.vocab);
done:
    return rc;
}

/* The matrices of one layer at this batch's T. */
typedef struct layer_views {
    rd_mat n1, qkv, att, mid, n2, gu, ffn, next;
    rd_mat dn, dqkv, datt, dgu, dffn, dx;
} layer_views;

static int view_layer(const rd_model *model, const rd_work *w, int64_t l, int64_t T, layer_views *v)
{
    int rc = RD_OK;
    const rd_model_config *c = &model->cfg;
    const rd_activation *a = &w->act[l];
    int64_t D = c->width, F = c->ffn, hs = w->attention.ld_out, q = w->attention.ld_qkv;
    float *next = l + 1 < c->layers ? w->act[l + 1].x : w->x_last;
    const struct {
        rd_mat *view;
        float *a;
        int64_t m;
    } list[] = {{&v->n1, a->n1, D},     {&v->qkv, a->qkv, q},    {&v->att, a->att, hs},
                {&v->mid, a->mid, D},   {&v->n2, a->n2, D},      {&v->gu, a->gu, 2 * F},
                {&v->ffn, w->ffn, F},   {&v->next, next, D},     {&v->dn, w->dn, D},
                {&v->dqkv, w->dqkv, q}, {&v->datt, w->datt, hs}, {&v->dgu, w->dgu, 2 * F},
                {&v->dffn, w->dffn, F}, {&v->dx, w->dx, D}};
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        RD_TRY(rd_mat_view_of(model->grid, list[i].a, list[i].m, T, list[i].m, list[i].view));
done:
    return rc;
}

/* ---------------------------------------------------------------- forward */

static int layer_fwd(rd_model *model, rd_work *w, const rd_batch *b, int64_t l)
{
    int rc = RD_OK;
    const rd_model_config *c = &model->cfg;
    const rd_layer *p = &model->layers->layer[l];
    const rd_activation *a = &w->act[l];
    const rd_attention *att = &w->attention;
    int64_t T = b->T, D = c->width;
    size_t stream = (size_t)(D * T) * sizeof(float);
    layer_views v;
    RD_TRY(view_layer(model, w, l, T, &v));

    rd_rmsnorm_fwd(D, T, a->x, p->norm1, c->norm_eps, a->n1, a->inv1);
    RD_TRY(rd_linear_fwd(&p->qkv, &v.n1, &v.qkv));
    rd_rope(c->heads + c->kv_heads, c->head_size, T, w->position, w->rope, 1, a->qkv, att->ld_qkv);
    rd_attention_fwd(att, b->n_seq, b->start, a->qkv, a->att, a->lse);
    memcpy(a->mid, a->x, stream);
    RD_TRY(rd_linear_fwd_add(&p->o, &v.att, &v.mid));

    rd_rmsnorm_fwd(D, T, a->mid, p->norm2, c->norm_eps, a->n2, a->inv2);
    RD_TRY(rd_linear_fwd(&p->gate_up, &v.n2, &v.gu));
    rd_swiglu_fwd(c->ffn, T, a->gu, w->ffn);
    memcpy(v.next.a, a->mid, stream);
    RD_TRY(rd_linear_fwd_add(&p->down, &v.ffn, &v.next));
done:
    return rc;
}

int rd_model_fwd(rd_model *model, rd_work *w, const rd_batch *b)
{
    int rc = RD_OK;
    const rd_model_config *c = &model->cfg;
    RD_TRY(begin_batch(model, w, b));
    rd_embed_fwd(c->width, b->T, b->tokens, model->layers->embed.a, w->act[0].x);
    for (int64_t l = 0; l < c->layers; l++) RD_TRY(layer_fwd(model, w, b, l));
    rd_rmsnorm_fwd(c->width, b->T, w->x_last, model->layers->norm, c->norm_eps, w->h, w->inv);
done:
    return rc;
}

/* ---------------------------------------------------------------- backward */

/* On entry w->dx is the gradient of the layer's output, on return that of its input. */
static int layer_bwd(rd_model *model, rd_work *w, const rd_batch *b, int64_t l)
{
    int rc = RD_OK;
    const rd_model_config *c = &model->cfg;
    rd_layer *p = &model->layers->layer[l];
    const rd_activation *a = &w->act[l];
    const rd_attention *att = &w->attention;
    int64_t T = b->T, D = c->width;
    layer_views v;
    RD_TRY(view_layer(model, w, l, T, &v));

    RD_TRY(rd_linear_bwd_input(&p->down, &v.dx, &v.dffn));
    rd_swiglu_bwd(c->ffn, T, a->gu, w->dffn, w->dgu, w->ffn);
    RD_TRY(rd_linear_bwd_weight(&v.ffn, &v.dx, &p->ddown));
    RD_TRY(rd_linear_bwd_weight(&v.n2, &v.dgu, &p->dgate_up));
    RD_TRY(rd_linear_bwd_input(&p->gate_up, &v.dgu, &v.dn));
    rd_rmsnorm_bwd(D, T, a->mid, p->norm2, a->inv2, w->dn, w->dx, p->dnorm2);

    RD_TRY(rd_linear_bwd_weight(&v.att, &v.dx, &p->d_o));
    RD_TRY(rd_linear_bwd_input(&p->o, &v.dx, &v.datt));
    rd_attention_bwd(att, b->n_seq, b->start, a->qkv, a->att, a->lse, w->datt, w->dqkv);
    rd_rope(c->heads + c->kv_heads, c->head_size, T, w->position, w->rope, -1, w->dqkv,
            att->ld_qkv);
    RD_TRY(rd_linear_bwd_weight(&v.n1, &v.dqkv, &p->dqkv));
    RD_TRY(rd_linear_bwd_input(&p->qkv, &v.dqkv, &v.dn));
    rd_rmsnorm_bwd(D, T, a->x, p->norm1, a->inv1, w->dn, w->dx, p->dnorm1);
done:
    return rc;
}

int rd_model_bwd(rd_model *model, rd_work *w, const rd_batch *b)
{
    int rc = RD_OK;
    const rd_model_config *c = &model->cfg;
    if (model->grads == NULL) RD_FAIL(RD_EINTERNAL, "the model was created without gradients");
    memset(w->dx, 0, (size_t)(c->width * b->T) * sizeof(float));
    rd_rmsnorm_bwd(c->width, b->T, w->x_last, model->layers->norm, w->inv, w->dh, w->dx,
                   model->layers->dnorm);
    for (int64_t l = c->layers - 1; l >= 0; l--) RD_TRY(layer_bwd(model, w, b, l));
    rd_embed_bwd(c->width, b->T, b->tokens, w->dx, model->layers->dembed.a);
done:
    return rc;
}
