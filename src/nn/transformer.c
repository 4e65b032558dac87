/* transformer.c: the trunk, forward and backward, and the memory of a training step.
 *
 * The forward pass leaves in rd_work what the backward pass reads (rd_activation); outputs of
 * SwiGLU and attention probabilities are recomputed instead of kept.  After its attention the last
 * layer goes on with the tokens that have a target only: nothing else is asked of the others. Where
 * the model asks for it (recompute) all layers share one place for what they leave but for their
 * inputs, and the backward pass makes the rest again, layer by layer.  The residual stream is
 * carried in place: a product with beta = 1 adds a branch to it. */
#include "ops.h"

#include <string.h>

enum { ALIGN = 16, HEAD_CHUNK = 256 };

/* ---------------------------------------------------------------- memory of a step */

float *rd_arena_take(rd_arena *a, int64_t n)
{
    float *p = a->base == NULL ? NULL : a->base + a->used;
    a->used += (n + ALIGN - 1) / ALIGN * ALIGN;
    return p;
}

static void carve(rd_work *w, const rd_model *model, rd_arena *a)
{
    const rd_split *s = &model->layers->split;
    int64_t T = w->local_T, D = s->local[RD_WIDTH], F = s->local[RD_FFN];
    int64_t hs = s->local[RD_QUERY], q = s->qkv, S = model->cfg.head_size;
    for (int64_t l = 0; l < model->cfg.layers; l++) {
        float *x = rd_arena_take(a, D * T);
        if (l > 0 && w->recompute) {
            w->act[l] = w->act[0];
            w->act[l].x = x;
            continue;
        }
        w->act[l] = (rd_activation){.x = x,
                                    .n1 = rd_arena_take(a, D * T),
                                    .inv1 = rd_arena_take(a, T),
                                    .qkv = rd_arena_take(a, q * T),
                                    .lse = rd_arena_take(a, s->heads * T),
                                    .att = rd_arena_take(a, hs * T),
                                    .mid = rd_arena_take(a, D * T),
                                    .n2 = rd_arena_take(a, D * T),
                                    .inv2 = rd_arena_take(a, T),
                                    .gu = rd_arena_take(a, 2 * F * T)};
    }
    rd_adapter_carve(model, w, a);
    w->x_last = rd_arena_take(a, D * T);
    w->h = rd_arena_take(a, D * T);
    w->inv = rd_arena_take(a, T);
    w->dh = rd_arena_take(a, D * T);
    /* These are done with when attention needs a place for gradients by heads. */
    int64_t before = a->used, partial = rd_attention_partial(s->heads, S) * T;
    w->ffn = rd_arena_take(a, F * T);
    w->dffn = rd_arena_take(a, F * T);
    w->dgu = rd_arena_take(a, 2 * F * T);
    if (a->used - before < partial) rd_arena_take(a, partial - (a->used - before));
    w->datt = rd_arena_take(a, hs * T);
    w->dqkv = rd_arena_take(a, q * T);
    w->dx = rd_arena_take(a, D * T);
    w->dn = rd_arena_take(a, D * T);
    const rd_grid *g = model->grid;
    int64_t n = w->chunk * g->cols, V = model->layers->head.ln;
    w->logits = rd_arena_take(a, V * n);
    w->partial = rd_arena_take(a, g->rows > 1 ? V * (n + g->rows) : 0);
    w->gathered = rd_arena_take(a, g->tp.size > 1 ? D * n : 0);
    w->dgathered = rd_arena_take(a, g->tp.size > 1 ? D * n : 0);
    w->dreturned = rd_arena_take(a, g->cols > 1 ? D * n : 0);
    w->rope = rd_arena_take(a, w->max_len * S);
    w->vectors = rd_arena_take(a, rd_vectors_size(model));
    w->dvectors = rd_arena_take(a, model->base.grads != NULL ? rd_vectors_size(model) : 0);
    w->lookup.words = rd_arena_take(a, rd_lookup_words(model));
    w->lookup.tokens = rd_arena_take(a, rd_lookup_tokens(model));
    int threads = rd_threads();
    w->attention = (rd_attention){.heads = s->heads,
                                  .kv_heads = s->kv_heads,
                                  .size = S,
                                  .ld_qkv = q,
                                  .ld_out = hs,
                                  .max_len = w->max_len,
                                  .threads = threads,
                                  .scratch = rd_arena_take(a, rd_attention_scratch(S, threads)),
                                  .partial = w->ffn};
}

/* rd_deal_even gives no grid column more than an even share and one sequence. */
static int64_t most_local(const rd_grid *g, int64_t max_T, int64_t max_len)
{
    int64_t most = (max_T + g->cols - 1) / g->cols + max_len;
    return g->cols == 1 || most > max_T ? max_T : most;
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
    w->recompute = model->recompute;
    w->local_T = most_local(model->grid, max_T, max_len);
    /* Of each grid column; logits take as much of a rank's memory on every grid, or less. */
    w->chunk = (HEAD_CHUNK + model->grid->rows - 1) / model->grid->rows;
    if (w->chunk > w->local_T) w->chunk = w->local_T;
    w->act = rd_new(rd_activation, c->layers);
    const rd_grid *g = model->grid;
    int64_t ways = g->rows > g->cols ? g->rows : g->cols;
    w->with_target = rd_new(int64_t, max_T);
    w->target_first = rd_new(int64_t, g->cols + 1);
    w->count_out = rd_new(int64_t, ways);
    w->count_in = rd_new(int64_t, ways);
    w->sum = rd_new(double, w->local_T);
    w->token = rd_new(int64_t, w->chunk * g->cols);
    w->stat = rd_new(double, 3 * w->chunk * g->cols);
    w->chunk_target = rd_new(int32_t, w->chunk);
    w->chunk_coef = rd_new(float, w->chunk);
    rd_deal_create(model->grid, max_T, &w->deal);
    rd_lookup_create(model, &w->lookup);
    rd_arena a = {0};
    carve(w, model, &a);
    w->arena = rd_new(float, a.used);
    rd_adapter_work_create(model, &w->adapter);
    a = (rd_arena){.base = w->arena};
    carve(w, model, &a);
    rd_rope_table(c, max_len, w->rope);
    *work = w;
done:
    return rc;
}

void rd_work_free(rd_work **work)
{
    rd_work *w = *work;
    if (w == NULL) return;
    rd_deal_free(&w->deal);
    rd_lookup_free(&w->lookup);
    rd_free(w->act);
    rd_free(w->with_target);
    rd_free(w->target_first);
    rd_free(w->count_out);
    rd_free(w->count_in);
    rd_free(w->sum);
    rd_free(w->token);
    rd_free(w->stat);
    rd_free(w->chunk_target);
    rd_free(w->chunk_coef);
    rd_free(w->arena);
    rd_adapter_work_free(&w->adapter);
    RD_FREE(*work);
}

int64_t rd_work_head_bytes(const rd_work *work)
{
    return (work->rope - work->logits) * (int64_t)sizeof(float);
}

void rd_work_on_gradients(rd_work *work, rd_gradients_ready *ready, void *ctx)
{
    work->ready = ready;
    work->ready_ctx = ctx;
}

/* ---------------------------------------------------------------- the batch */

/* Which tokens have a target, or all where the batch has no targets. */
static void list_asked(rd_work *w, const rd_batch *b)
{
    const rd_deal *d = &w->deal;
    int64_t n = 0;
    w->asked = (rd_tokens){0, 1};
    for (int c = 0; c < d->cols; c++) {
        w->target_first[c] = n;
        for (int64_t k = d->first[c]; k < d->first[c + 1]; k++)
            if (b->target == NULL || b->target[d->order[k]] >= 0) w->with_target[n++] = k;
        int64_t here = n - w->target_first[c];
        if (here > w->asked.width) w->asked.width = here;
        if (c == d->my_col) w->asked.n = here;
    }
    w->target_first[d->cols] = n;
}

/* Check the batch against the model and the space, and deal its sequences over the grid columns. */
static int begin_batch(const rd_model *model, rd_work *w, const rd_batch *b)
{
    int rc = RD_OK;
    w->deal.T = -1; /* until there is a good batch */
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
    }
    for (int64_t t = 0; t < b->T; t++)
        if (b->tokens[t] < 0 || b->tokens[t] >= model->cfg.vocab)
            RD_FAIL(RD_EINTERNAL, "token %d at %lld, vocabulary %lld", b->tokens[t], (long long)t,
                    (long long)model->cfg.vocab);
    rd_deal_even(&w->deal, b->n_seq, b->start);
    RD_ASSERT(w->deal.width <= w->local_T);
    list_asked(w, b);
done:
    return rc;
}

rd_tokens rd_tokens_at(const rd_model *model, const rd_work *w, int64_t layer, rd_target t)
{
    return rd_only_asked(model, layer, t) ? w->asked : rd_dealt(&w->deal);
}

/* Columns of my tokens to columns of the asked ones, which may be in place, and back in place,
 * where the others get zeros. */
static void keep_asked(const rd_work *w, int64_t ld, const float *x, float *asked)
{
    for (int64_t i = 0; i < w->asked.n; i++) {
        int64_t from = rd_asked_place(w, i);
        if (x + from * ld != asked + i * ld)
            memcpy(asked + i * ld, x + from * ld, (size_t)ld * sizeof(float));
    }
    rd_pad(w->asked, ld, asked);
}

static void put_asked_back(const rd_work *w, int64_t ld, float *x)
{
    int64_t end = w->deal.width;
    for (int64_t i = w->asked.n; i-- > 0;) {
        int64_t to = rd_asked_place(w, i);
        memset(x + (to + 1) * ld, 0, (size_t)((end - to - 1) * ld) * sizeof(float));
        if (to != i) memcpy(x + to * ld, x + i * ld, (size_t)ld * sizeof(float));
        end = to;
    }
    memset(x, 0, (size_t)(end * ld) * sizeof(float));
}

/* The matrices of one layer: of all tokens up to attention, then as rd_tokens_at says. */
typedef struct layer_views {
    rd_mat n1, qkv[RD_PARTS], att, mid, n2, gu[RD_PARTS], ffn, next;
    rd_mat dn1, dqkv[RD_PARTS], datt, dn2, dgu[RD_PARTS], dffn, dy;
} layer_views;

static int view_layer(const rd_model *model, const rd_work *w, int64_t l, layer_views *v)
{
    int rc = RD_OK;
    const rd_activation *a = &w->act[l];
    int64_t all = w->deal.width, width = rd_tokens_at(model, w, l, RD_O).width;
    float *next = l + 1 < model->cfg.layers ? w->act[l + 1].x : w->x_last;
    const struct {
        rd_mat *view;
        float *a;
        rd_feature kind;
        int64_t width;
    } list[] = {{&v->n1, a->n1, RD_WIDTH, all},     {&v->att, a->att, RD_QUERY, width},
                {&v->mid, a->mid, RD_WIDTH, width}, {&v->n2, a->n2, RD_WIDTH, width},
                {&v->ffn, w->ffn, RD_FFN, width},   {&v->next, next, RD_WIDTH, width},
                {&v->dn1, w->dn, RD_WIDTH, all},    {&v->dn2, w->dn, RD_WIDTH, width},
                {&v->dffn, w->dffn, RD_FFN, width}, {&v->datt, w->datt, RD_QUERY, width},
                {&v->dy, w->dx, RD_WIDTH, width}};
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        RD_TRY(rd_view(model, list[i].kind, list[i].a, list[i].width, list[i].view));
    RD_TRY(rd_view_qkv(model, a->qkv, all, v->qkv));
    RD_TRY(rd_view_qkv(model, w->dqkv, all, v->dqkv));
    RD_TRY(rd_view_gate_up(model, a->gu, width, v->gu));
    RD_TRY(rd_view_gate_up(model, w->dgu, width, v->dgu));
done:
    return rc;
}

/* ---------------------------------------------------------------- forward */

/* Y += W^T X with the target's adapter, which must scale its output before it is added. */
static int branch_fwd(const rd_model *model, rd_work *w, int64_t l, rd_target t, const rd_mat *W,
                      const rd_mat *X, rd_mat *Y)
{
    int rc = RD_OK;
    float *out = w->act[l].out[t];
    rd_mat view;
    if (out == NULL) {
        RD_TRY(rd_linear_fwd_add(W, X, Y));
        return rd_adapter_fwd(model, w, l, t, 1, X->a, Y->a);
    }
    RD_TRY(rd_view(model, RD_WIDTH, out, rd_tokens_at(model, w, l, t).width, &view));
    RD_TRY(rd_linear_fwd(W, X, &view));
    RD_TRY(rd_adapter_fwd(model, w, l, t, 1, X->a, out));
    rd_add(view.lm * view.ln, out, Y->a);
done:
    return rc;
}

/* Padding columns pass through products without meeting others.  Only where a product sums over
 * tokens, for the gradient of a weight, must they be zero: both factors are padded, here and in
 * layer_bwd, so that not even what is not finite in an earlier batch comes back.
 *
 * again: for the backward pass, which does without the layer's output. */
static int layer_fwd(rd_model *model, rd_work *w, int64_t l, bool again)
{
    int rc = RD_OK;
    const struct rd_model_layers *m = model->layers;
    const rd_layer *p = &m->layer[l];
    const rd_activation *a = &w->act[l];
    const rd_attention *att = &w->attention;
    const rd_deal *d = &w->deal;
    const rd_tokens all = rd_dealt(d), on = rd_tokens_at(model, w, l, RD_O);
    int64_t D = m->split.local[RD_WIDTH], F = m->split.local[RD_FFN];
    layer_views v;
    RD_TRY(view_layer(model, w, l, &v));

    rd_norm_fwd(model, d->n, a->x, rd_norm_weight(model, w->vectors, 2 * l), a->n1, a->inv1,
                w->sum);
    rd_pad(all, D, a->n1);
    RD_TRY(rd_linears_fwd(m->n_qkv, p->qkv, &v.n1, v.qkv));
    RD_TRY(rd_adapter_fwd(model, w, l, RD_Q, 3, a->n1, a->qkv));
    rd_bias_add(att->ld_qkv, d->n, 1, rd_bias(model, w->vectors, l), a->qkv);
    rd_rope(att->heads + att->kv_heads, att->size, d->n, d->position, w->rope, 1, a->qkv,
            att->ld_qkv);
    rd_attention_fwd(att, d->n_seq, d->start, a->qkv, a->att, a->lse);
    if (rd_only_asked(model, l, RD_O)) {
        keep_asked(w, att->ld_out, a->att, a->att);
        keep_asked(w, D, a->x, a->mid);
    } else {
        rd_pad(all, att->ld_out, a->att);
        rd_copy(D * all.width, a->x, a->mid);
    }
    RD_TRY(branch_fwd(model, w, l, RD_O, &p->o, &v.att, &v.mid));

    rd_norm_fwd(model, on.n, a->mid, rd_norm_weight(model, w->vectors, 2 * l + 1), a->n2, a->inv2,
                w->sum);
    rd_pad(on, D, a->n2);
    RD_TRY(rd_linears_fwd(m->n_gate_up, p->gate_up, &v.n2, v.gu));
    RD_TRY(rd_adapter_fwd(model, w, l, RD_GATE, 2, a->n2, a->gu));
    if (again && rd_adapted_at(model, l, RD_DOWN) == NULL) return RD_OK;
    rd_swiglu_fwd(F, on.n, a->gu, w->ffn);
    rd_pad(on, F, w->ffn);
    rd_copy(D * on.width, a->mid, v.next.a);
    RD_TRY(branch_fwd(model, w, l, RD_DOWN, &p->down, &v.ffn, &v.next));
done:
    return rc;
}

int rd_model_fwd(rd_model *model, rd_work *w, const rd_batch *b)
{
    int rc = RD_OK;
    int64_t layers = model->cfg.layers;
    RD_TRY(begin_batch(model, w, b));
    rd_vectors_fetch(model, w->vectors);
    rd_lookup_fwd(&model->layers->embed, &w->deal, b->tokens, &w->lookup, w->act[0].x);
    rd_pad(rd_dealt(&w->deal), model->layers->split.local[RD_WIDTH], w->act[0].x);
    RD_TRY(rd_adapter_begin(model, w));
    for (int64_t l = 0; l < layers; l++) RD_TRY(layer_fwd(model, w, l, false));
    rd_norm_fwd(model, w->asked.n, w->x_last, rd_norm_weight(model, w->vectors, 2 * layers), w->h,
                w->inv, w->sum);
done:
    return rc;
}

/* ---------------------------------------------------------------- backward */

/* The trained storage is final from `first` on: say what of it is new. */
static void tell_ready(rd_work *w, int64_t first)
{
    if (w->ready != NULL) w->ready(w->ready_ctx, first, w->ready_from - first);
    w->ready_from = first;
}

/* Norm i and the matrices after it are done. */
static void finish_part(rd_model *model, rd_work *w, int64_t i)
{
    rd_vectors_return(model, w->dvectors, i);
    tell_ready(w, model->layers->begin[i]);
}

/* Gradients of n adapters of one input, and their part of the input's gradient. */
static int adapters_bwd(const rd_model *model, rd_work *w, int64_t l, rd_target t, int n, float *x,
                        float *dy, float *dx)
{
    int rc = RD_OK;
    for (int i = 0; i < n; i++) {
        RD_TRY(rd_adapter_bwd_input(model, w, l, t + (rd_target)i, dy, dx));
        RD_TRY(rd_adapter_bwd_weight(model, w, l, t + (rd_target)i, x));
    }
done:
    return rc;
}

/* Gradients of n linear layers of one input; a frozen base's weights have none. */
static int linears_bwd(const rd_model *model, int n, const rd_mat *W, const rd_mat *X,
                       const rd_mat *dY, rd_mat *dX, rd_mat *dW)
{
    if (model->base.grads == NULL) return rd_linears_bwd_input(n, W, dY, dX);
    return rd_linears_bwd(n, W, X, dY, dX, dW);
}

/* The SwiGLU branch.  down's input is made again by SwiGLU's backward, which needs its gradient. */
static int ffn_bwd(rd_model *model, rd_work *w, int64_t l, layer_views *v)
{
    int rc = RD_OK;
    const struct rd_model_layers *m = model->layers;
    rd_layer *p = &m->layer[l];
    const rd_activation *a = &w->act[l];
    const rd_tokens on = rd_tokens_at(model, w, l, RD_GATE);
    bool full = model->base.grads != NULL;
    int64_t F = m->split.local[RD_FFN];
    float *dy;

    RD_TRY(rd_adapter_bwd_gain(model, w, l, RD_DOWN, 1, a->out[RD_DOWN], w->dx, &dy));
    v->dy.a = dy;
    RD_TRY(rd_linear_bwd_input(&p->down, &v->dy, &v->dffn));
    RD_TRY(rd_adapter_bwd_input(model, w, l, RD_DOWN, dy, w->dffn));
    rd_swiglu_bwd(F, on.n, a->gu, w->dffn, w->dgu, w->ffn);
    rd_pad(on, 2 * F, w->dgu);
    rd_pad(on, F, w->ffn);
    if (full) RD_TRY(rd_linear_bwd_weight(&v->ffn, &v->dy, &p->ddown));
    RD_TRY(rd_adapter_bwd_weight(model, w, l, RD_DOWN, w->ffn));

    RD_TRY(rd_adapter_bwd_gain(model, w, l, RD_GATE, 2, a->gu, w->dgu, &dy));
    RD_TRY(linears_bwd(model, m->n_gate_up, p->gate_up, &v->n2, v->dgu, &v->dn2, p->dgate_up));
    RD_TRY(adapters_bwd(model, w, l, RD_GATE, 2, a->n2, w->dgu, w->dn));
    rd_norm_bwd(model, on.n, a->mid, rd_norm_weight(model, w->vectors, 2 * l + 1), a->inv2, w->dn,
                w->dx, rd_norm_gradient(model, w->dvectors, 2 * l + 1), w->sum);
done:
    return rc;
}

static int attention_bwd(rd_model *model, rd_work *w, int64_t l, layer_views *v)
{
    int rc = RD_OK;
    const struct rd_model_layers *m = model->layers;
    rd_layer *p = &m->layer[l];
    const rd_activation *a = &w->act[l];
    const rd_attention *att = &w->attention;
    const rd_deal *d = &w->deal;
    bool full = model->base.grads != NULL;
    int64_t turned = att->heads + att->kv_heads;
    float *dy;

    RD_TRY(rd_adapter_bwd_gain(model, w, l, RD_O, 1, a->out[RD_O], w->dx, &dy));
    v->dy.a = dy;
    RD_TRY(linears_bwd(model, 1, &p->o, &v->att, &v->dy, &v->datt, &p->d_o));
    RD_TRY(adapters_bwd(model, w, l, RD_O, 1, a->att, dy, w->datt));
    if (rd_only_asked(model, l, RD_O)) {
        put_asked_back(w, att->ld_out, a->att);
        put_asked_back(w, att->ld_out, w->datt);
        put_asked_back(w, m->split.local[RD_WIDTH], w->dx);
    }
    rd_attention_bwd(att, d->n_seq, d->start, a->qkv, a->att, a->lse, w->datt, w->dqkv);
    rd_rope(turned, att->size, d->n, d->position, w->rope, -1, w->dqkv, att->ld_qkv);
    rd_pad(rd_dealt(d), att->ld_qkv, w->dqkv);
    rd_bias_bwd(att->ld_qkv, d->n, w->dqkv, rd_bias_gradient(model, w->dvectors, l));
    /* DoRA's magnitudes want the outputs as they were before biases and RoPE; attention is done
     * with them. */
    if (rd_adapter_scales(model)) {
        rd_rope(turned, att->size, d->n, d->position, w->rope, -1, a->qkv, att->ld_qkv);
        rd_bias_add(att->ld_qkv, d->n, -1, rd_bias(model, w->vectors, l), a->qkv);
    }
    RD_TRY(rd_adapter_bwd_gain(model, w, l, RD_Q, 3, a->qkv, w->dqkv, &dy));
    /* Below the first layer nothing is trained but the embedding. */
    if (l == 0 && !full) return adapters_bwd(model, w, l, RD_Q, 3, a->n1, w->dqkv, NULL);
    RD_TRY(linears_bwd(model, m->n_qkv, p->qkv, &v->n1, v->dqkv, &v->dn1, p->dqkv));
    RD_TRY(adapters_bwd(model, w, l, RD_Q, 3, a->n1, w->dqkv, w->dn));
    rd_norm_bwd(model, d->n, a->x, rd_norm_weight(model, w->vectors, 2 * l), a->inv1, w->dn, w->dx,
                rd_norm_gradient(model, w->dvectors, 2 * l), w->sum);
done:
    return rc;
}

/* On entry w->dx is the gradient of the layer's output, on return that of its input (but for a
 * frozen base's first layer).  Its padding is zero all the way. */
static int layer_bwd(rd_model *model, rd_work *w, int64_t l)
{
    int rc = RD_OK;
    layer_views v;
    /* What the last layer left is still there. */
    if (w->recompute && l + 1 < model->cfg.layers) RD_TRY(layer_fwd(model, w, l, true));
    RD_TRY(view_layer(model, w, l, &v));
    RD_TRY(ffn_bwd(model, w, l, &v));
    finish_part(model, w, 2 * l + 1);
    RD_TRY(attention_bwd(model, w, l, &v));
    finish_part(model, w, 2 * l);
done:
    return rc;
}

int rd_model_bwd(rd_model *model, rd_work *w, const rd_batch *b)
{
    int rc = RD_OK;
    int64_t layers = model->cfg.layers, D = model->layers->split.local[RD_WIDTH];
    if (model->trained == NULL) RD_FAIL(RD_EINTERNAL, "the model was created without gradients");
    if (w->deal.T != b->T) RD_FAIL(RD_EINTERNAL, "backward of a batch without its forward");
    w->ready_from = model->trained->storage;
    memset(w->dx, 0, (size_t)(D * w->asked.width) * sizeof(float));
    if (model->base.grads != NULL)
        memset(w->dvectors, 0, (size_t)rd_vectors_size(model) * sizeof(float));
    rd_norm_bwd(model, w->asked.n, w->x_last, rd_norm_weight(model, w->vectors, 2 * layers), w->inv,
                w->dh, w->dx, rd_norm_gradient(model, w->dvectors, 2 * layers), w->sum);
    finish_part(model, w, 2 * layers);
    for (int64_t l = layers - 1; l >= 0; l--) RD_TRY(layer_bwd(model, w, l));
    if (model->base.grads != NULL)
        rd_lookup_bwd(&model->layers->dembed, &w->deal, b->tokens, &w->lookup, w->dx);
    tell_ready(w, 0);
done:
    return rc;
}
