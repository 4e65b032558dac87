/* adapter.c: low-rank adapters beside frozen weights: their layout and their part of the passes.
 *
 * The rank is one more kind of feature, dealt over the grid as the others are, so A (in x r),
 * B (r x out) and U = A^T X (r x T) are block-cyclic and every product is aligned.  U is kept from
 * forward to backward; masks are made again.  Whatever is of a base weight's size belongs to the
 * base: an adapter adds nothing that large, nor any product as dear as one of the base's. */
#include "ops.h"

#include <math.h>
#include <string.h>

enum { ENOUGH = 1 << 15 }; /* floats of a pass that are worth waking a thread for */

static const rd_feature in_kind[RD_TARGETS] = {RD_WIDTH, RD_WIDTH, RD_WIDTH, RD_QUERY,
                                               RD_WIDTH, RD_WIDTH, RD_FFN};
static const rd_feature out_kind[RD_TARGETS] = {RD_QUERY, RD_KEY, RD_KEY,  RD_WIDTH,
                                                RD_FFN,   RD_FFN, RD_WIDTH};

static bool is_target(const rd_adapter_opts *o, int t)
{
    return (o->targets >> t & 1) != 0;
}

rd_adapted *rd_adapted_at(const rd_model *model, int64_t layer, rd_target t)
{
    if (model->parts == NULL || !is_target(&model->parts->o, t)) return NULL;
    return &model->parts->item[layer * RD_TARGETS + t];
}

bool rd_adapter_scales(const rd_model *model)
{
    return model->parts != NULL && model->parts->o.kind == RD_DORA;
}

bool rd_adapter_takes(const rd_model *model)
{
    return model->parts->o.kind == RD_PISSA || model->parts->o.kind == RD_OLORA;
}

/* ---------------------------------------------------------------- layout */

static void place_target(const rd_model *model, rd_layout *l, int64_t layer, rd_target t,
                         rd_adapted *p)
{
    const rd_split *s = &model->layers->split;
    const rd_feature in = in_kind[t], out = out_kind[t];
    char stem[40], name[sizeof(p->base)];
    snprintf(stem, sizeof(stem), "model.layers.%lld.%s", (long long)layer, rd_target_name(t));
    snprintf(name, sizeof(name), "base_model.model.%s.lora_A.weight", stem);
    rd_param *a = rd_layout_place(l, name, s->size[in], s->size[RD_RANK], s->block[in],
                                  s->block[RD_RANK], false);
    snprintf(name, sizeof(name), "base_model.model.%s.lora_B.weight", stem);
    rd_param *b = rd_layout_place(l, name, s->size[RD_RANK], s->size[out], s->block[RD_RANK],
                                  s->block[out], false);
    rd_param *m = NULL;
    snprintf(name, sizeof(name), "base_model.model.%s.lora_magnitude_vector", stem);
    if (model->parts->o.kind == RD_DORA)
        m = rd_layout_place(l, name, s->size[out], 1, s->block[out], 1, false);
    if (l->params == NULL) return;
    a->decay = b->decay = true;
    snprintf(p->base, sizeof(p->base), "%s.weight", stem);
    p->a = a->w, p->da = a->g;
    p->b = b->w, p->db = b->g;
    if (m == NULL) return;
    m->is_vector = true;
    p->m = m->w, p->dm = m->g;
}

static void place_all(rd_model *model, rd_params *params, rd_layout *l)
{
    rd_adapted unused;
    bool fill = params == &model->adapter;
    *l = (rd_layout){.params = params, .grid = model->grid};
    int64_t *begin = model->layers->begin;
    for (int64_t layer = 0; layer < model->cfg.layers; layer++)
        for (rd_target t = RD_Q; t < RD_TARGETS; t++) {
            rd_layout_end(l);
            if (t == RD_Q || t == RD_GATE) *begin++ = l->next;
            if (is_target(&model->parts->o, t))
                place_target(model, l, layer, t, fill ? rd_adapted_at(model, layer, t) : &unused);
        }
    rd_layout_end(l);
    *begin = l->next;
}

/* Adapted outputs, counted through all targets: their column norms are one array. */
static void number_outputs(rd_model *model)
{
    struct rd_adapter *parts = model->parts;
    const rd_split *s = &model->layers->split;
    for (int64_t layer = 0; layer < model->cfg.layers; layer++)
        for (rd_target t = RD_Q; t < RD_TARGETS; t++) {
            rd_adapted *p = rd_adapted_at(model, layer, t);
            if (p == NULL) continue;
            p->w = rd_model_param(model, p->base)->w;
            p->first = parts->outputs;
            p->first_local = parts->local_outputs;
            parts->outputs += s->size[out_kind[t]];
            parts->local_outputs += s->local[out_kind[t]];
        }
}

/* Squared norms of the columns of the base's weights, on every rank. */
static void base_norms(const rd_model *model)
{
    const struct rd_adapter *parts = model->parts;
    for (int64_t layer = 0; layer < model->cfg.layers; layer++)
        for (rd_target t = RD_Q; t < RD_TARGETS; t++) {
            const rd_adapted *p = rd_adapted_at(model, layer, t);
            if (p == NULL) continue;
            for (int64_t j = 0; j < p->w.ln; j++) {
                const float *column = p->w.a + j * p->w.ld;
                parts->norm2[p->first + rd_mat_global_col(&p->w, j)] =
                    rd_dot(p->w.lm, column, column);
            }
        }
    rd_sum_f64(&model->grid->tp, parts->norm2, parts->outputs);
}

/* The decompositions have no more terms than the smaller dimension. */
static int64_t most_rank(const rd_model_config *c, const rd_adapter_opts *o)
{
    const int64_t size[RD_FEATURES] = {[RD_WIDTH] = c->width,
                                       [RD_QUERY] = c->heads * c->head_size,
                                       [RD_KEY] = c->kv_heads * c->head_size,
                                       [RD_FFN] = c->ffn};
    int64_t most = (int64_t)1 << 20;
    for (int t = 0; t < RD_TARGETS && (o->kind == RD_PISSA || o->kind == RD_OLORA); t++) {
        if (!is_target(o, t)) continue;
        if (size[in_kind[t]] < most) most = size[in_kind[t]];
        if (size[out_kind[t]] < most) most = size[out_kind[t]];
    }
    return most;
}

int rd_adapter_check(const rd_model_config *c, const rd_adapter_opts *o)
{
    int rc = RD_OK;
    int64_t most = most_rank(c, o);
    if (o->rank < 1 || o->rank > most)
        RD_FAIL(RD_EINPUT, "rank: expected an integer in 1 ... %lld, got %lld", (long long)most,
                (long long)o->rank);
    if (!(o->alpha > 0) || !isfinite(o->alpha))
        RD_FAIL(RD_EINPUT, "alpha: expected a number > 0, got %g", o->alpha);
    if (!(o->dropout >= 0 && o->dropout < 1))
        RD_FAIL(RD_EINPUT, "dropout: expected a number >= 0 and < 1, got %g", o->dropout);
    if (o->targets == 0 || o->targets >> RD_TARGETS != 0)
        RD_FAIL(RD_EINPUT, "targets: at least one of q, k, v, o, gate, up, down");
done:
    return rc;
}

int rd_model_adapt(rd_model *model, const rd_adapter_opts *o)
{
    int rc = RD_OK;
    rd_layout l;
    if (model->base.grads != NULL || model->parts != NULL)
        RD_FAIL(RD_EINTERNAL, "an adapter wants a model without gradients and without an adapter");
    RD_TRY(rd_adapter_check(&model->cfg, o));
    struct rd_adapter *parts = rd_new(struct rd_adapter, 1);
    model->parts = parts;
    parts->o = *o;
    parts->scale = o->alpha / (o->rslora ? sqrt((double)o->rank) : (double)o->rank);
    parts->item = rd_new(rd_adapted, model->cfg.layers * RD_TARGETS);
    rd_split_rank(model->grid, o->rank, &model->layers->split);
    place_all(model, NULL, &l);
    rd_params_create(&l, true, &model->adapter);
    place_all(model, &model->adapter, &l);
    number_outputs(model);
    if (o->kind == RD_DORA) {
        parts->norm2 = rd_new(double, parts->outputs);
        if (!rd_mem_pretending()) base_norms(model); /* a plan has no weights */
    }
    if (rd_adapter_takes(model)) {
        rd_params_create(&l, false, &model->adapter_start);
        place_all(model, &model->adapter_start, &l);
    }
    model->trained = &model->adapter;
done:
    return rc;
}

void rd_model_adapter_free(rd_model *model)
{
    if (model->parts == NULL) return;
    rd_params_free(&model->adapter);
    rd_params_free(&model->adapter_start);
    rd_free(model->parts->norm2);
    rd_free(model->parts->item);
    RD_FREE(model->parts);
    rd_split_rank(model->grid, 0, &model->layers->split);
    model->trained = NULL;
}

void rd_model_dropout(rd_model *model, uint64_t key)
{
    if (model->parts != NULL) model->parts->key = key;
}

/* ---------------------------------------------------------------- memory of a step */

void rd_adapter_carve(const rd_model *model, rd_work *w, rd_arena *a)
{
    const struct rd_adapter *parts = model->parts;
    const rd_split *s = &model->layers->split;
    rd_adapter_work *u = &w->adapter;
    int64_t T = w->local_T, D = s->local[RD_WIDTH], r = s->local[RD_RANK], wide = 0, most = 0;
    if (parts == NULL) return;
    bool dora = parts->o.kind == RD_DORA;
    for (rd_target t = RD_Q; t < RD_TARGETS; t++) {
        int64_t out = rd_dealt_count(s->size[out_kind[t]], s->block[out_kind[t]],
                                     model->grid->my_col, model->grid->cols);
        if (!is_target(&parts->o, t)) continue;
        if (s->local[in_kind[t]] > wide) wide = s->local[in_kind[t]];
        if (out > most) most = out;
        for (int64_t l = 0; l < model->cfg.layers; l++) {
            rd_activation *act = &w->act[l];
            if (l > 0 && w->recompute) {
                act->u[t] = w->act[0].u[t], act->out[t] = w->act[0].out[t];
                continue;
            }
            act->u[t] = rd_arena_take(a, r * T);
            if (dora && (t == RD_O || t == RD_DOWN)) act->out[t] = rd_arena_take(a, D * T);
        }
    }
    u->du = rd_arena_take(a, r * T);
    u->input = rd_arena_take(a, parts->o.dropout > 0 ? wide * T : 0);
    if (!dora) return;
    int64_t rank_cols =
        rd_dealt_count(s->size[RD_RANK], s->block[RD_RANK], model->grid->my_col, model->grid->cols);
    u->scaled = rd_arena_take(a, D * T);
    u->gain = rd_arena_take(a, parts->local_outputs);
    u->magnitude = rd_arena_take(a, parts->local_outputs);
    u->product = rd_arena_take(a, r * most);
    u->gram = rd_arena_take(a, r * rank_cols);
}

void rd_adapter_work_create(const rd_model *model, rd_adapter_work *w)
{
    if (!rd_adapter_scales(model)) return;
    w->norm2 = rd_new(double, model->parts->outputs);
    w->dmagnitude = rd_new(double, model->parts->local_outputs);
}

void rd_adapter_work_free(rd_adapter_work *w)
{
    rd_free(w->norm2);
    rd_free(w->dmagnitude);
}

/* ---------------------------------------------------------------- dropout */

/* 32 random bits of feature i under a token's key (the finaliser of a 32-bit hash, "lowbias32",
 * with the key's other half put in between): the loop around it is one of vectors. */
static inline uint32_t mask_bits(uint32_t i, uint32_t lo, uint32_t hi)
{
    uint32_t x = (i ^ lo) * 0x9E3779B1u;
    x = (x ^ (x >> 16)) + hi;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

static bool is_dropping(const rd_model *model)
{
    return model->parts->o.dropout > 0 && model->parts->key != 0;
}

/* n features from `first` on of one token. */
RD_CLONES
static void drop_run(int64_t n, uint32_t first, uint64_t key, uint32_t threshold, float keep,
                     bool add, const float *restrict x, float *restrict y)
{
    uint32_t lo = (uint32_t)key, hi = (uint32_t)(key >> 32);
    for (int64_t i = 0; i < n; i++) {
        float value = mask_bits(first + (uint32_t)i, lo, hi) >= threshold ? keep * x[i] : 0;
        y[i] = value + (add ? y[i] : 0);
    }
}

/* y = x where kept, times 1 / (1 - p); or y += that.  Both of the inputs' shape; padding is left
 * alone by adding and zero otherwise. */
static void drop(const rd_model *model, const rd_work *w, int64_t layer, rd_target t,
                 const float *x, bool add, float *y)
{
    const struct rd_adapter *parts = model->parts;
    const rd_deal *d = &w->deal;
    const int64_t *order = d->order + d->first[d->my_col];
    const rd_tokens on = rd_tokens_at(model, w, layer, t);
    const bool asked = rd_only_asked(model, layer, t);
    rd_mat X;
    rd_view(model, in_kind[t], y, on.width, &X);
    float keep = (float)(1 / (1 - parts->o.dropout));
    uint32_t threshold = (uint32_t)(parts->o.dropout * 4294967296.0);
    uint64_t stream = (uint64_t)(layer * RD_TARGETS + (int64_t)t);
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (X.lm * on.n > ENOUGH)
    for (int64_t k = 0; k < on.n; k++) {
        const int64_t token = order[asked ? rd_asked_place(w, k) : k];
        uint64_t key = rd_rng_make(parts->key, "dropout", stream, (uint64_t)token).key;
        for (int64_t li = 0; li < X.lm; li += X.mb) {
            int64_t n = X.lm - li < X.mb ? X.lm - li : X.mb;
            uint32_t first = (uint32_t)rd_mat_global_row(&X, li);
            drop_run(n, first, key, threshold, keep, add, x + k * X.lm + li, y + k * X.lm + li);
        }
    }
    if (!add) rd_pad(on, X.lm, y);
}

/* ---------------------------------------------------------------- DoRA's gains */

/* |w_j + s (A B)_j|^2 without the product A B, which would be as large as W: with N = A^T W and
 * G = A^T A it is |w_j|^2 + b_j^T (2 s N + s^2 G B)_j.  This adds the second part. */
static int add_norms(const rd_model *model, const rd_adapted *p, rd_adapter_work *u)
{
    int rc = RD_OK;
    const rd_grid *g = model->grid;
    float s = (float)model->parts->scale;
    int64_t r = p->b.m, block = p->b.mb, ld = p->b.ld;
    rd_mat N, G;
    RD_TRY(rd_mat_view_blocks(g, u->product, r, p->b.n, block, p->b.nb, ld, &N));
    RD_TRY(rd_mat_view_blocks(g, u->gram, r, r, block, block, ld, &G));
    RD_TRY(rd_gemm('T', 'N', 1, &p->a, &p->w, 0, &N));
    RD_TRY(rd_gemm('T', 'N', 1, &p->a, &p->a, 0, &G));
    RD_TRY(rd_gemm('N', 'N', s * s, &G, &p->b, 2 * s, &N));
    for (int64_t j = 0; j < N.ln; j++)
        u->norm2[p->first + rd_mat_global_col(&N, j)] +=
            rd_dot(N.lm, N.a + j * N.ld, p->b.a + j * p->b.ld);
done:
    return rc;
}

/* A column that has vanished has no direction: its gain, and so its gradient, is 0. */
static void fill_gains(const rd_model *model, const rd_adapted *p, rd_adapter_work *u)
{
    const double *base = model->parts->norm2 + p->first, *more = u->norm2 + p->first;
    for (int64_t i = 0; i < p->m.lm; i++) {
        int64_t j = rd_mat_global_row(&p->m, i);
        double norm2 = base[j] + more[j];
        double m = u->magnitude[p->first_local + i];
        u->gain[p->first_local + i] = norm2 > 0 ? (float)(m / sqrt(norm2)) : 0;
    }
}

/* At each forward pass: r / T of its cost, and no record of what has changed since the last. */
int rd_adapter_begin(const rd_model *model, rd_work *w)
{
    int rc = RD_OK;
    const rd_grid *g = model->grid;
    rd_adapter_work *u = &w->adapter;
    if (!rd_adapter_scales(model)) return RD_OK;
    int64_t n = model->parts->outputs, local = model->parts->local_outputs;
    memset(u->norm2, 0, (size_t)n * sizeof(double));
    for (int64_t i = 0; i < model->cfg.layers * RD_TARGETS; i++) {
        const rd_adapted *p = rd_adapted_at(model, i / RD_TARGETS, i % RD_TARGETS);
        if (p == NULL) continue;
        RD_TRY(add_norms(model, p, u));
        if (g->my_col == 0)
            memcpy(u->magnitude + p->first_local, p->m.a, (size_t)p->m.lm * sizeof(float));
    }
    rd_bcast(&g->over_cols, u->magnitude, local * (int64_t)sizeof(float), 0);
    rd_sum_f64(&g->tp, u->norm2, n);
    for (int64_t i = 0; i < model->cfg.layers * RD_TARGETS; i++) {
        const rd_adapted *p = rd_adapted_at(model, i / RD_TARGETS, i % RD_TARGETS);
        if (p != NULL) fill_gains(model, p, u);
    }
done:
    return rc;
}

/* y = g o x, both like Y. */
static void apply_gain(const float *gain, const rd_mat *x, rd_mat *y)
{
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (x->lm * x->ln > ENOUGH)
    for (int64_t t = 0; t < x->ln; t++)
        for (int64_t i = 0; i < x->lm; i++) y->a[t * y->ld + i] = gain[i] * x->a[t * x->ld + i];
}

/* ---------------------------------------------------------------- forward */

static int target_fwd(const rd_model *model, rd_work *w, int64_t l, rd_target t, float *x, float *y)
{
    int rc = RD_OK;
    const rd_adapted *p = rd_adapted_at(model, l, t);
    const int64_t width = rd_tokens_at(model, w, l, t).width;
    rd_mat X, U, Y;
    if (p == NULL) return RD_OK;
    if (is_dropping(model)) {
        drop(model, w, l, t, x, false, w->adapter.input);
        x = w->adapter.input;
    }
    RD_TRY(rd_view(model, in_kind[t], x, width, &X));
    RD_TRY(rd_view(model, RD_RANK, w->act[l].u[t], width, &U));
    RD_TRY(rd_view_target(model, t, y, width, &Y));
    RD_TRY(rd_gemm_mixed('T', 'N', 1, &p->a, &X, 0, &U));
    RD_TRY(rd_gemm_mixed('T', 'N', (float)model->parts->scale, &p->b, &U, 1, &Y));
    if (rd_adapter_scales(model)) apply_gain(w->adapter.gain + p->first_local, &Y, &Y);
done:
    return rc;
}

int rd_adapter_fwd(const rd_model *model, rd_work *w, int64_t layer, rd_target t, int n, float *x,
                   float *y)
{
    int rc = RD_OK;
    for (int i = 0; i < n; i++) RD_TRY(target_fwd(model, w, layer, t + (rd_target)i, x, y));
done:
    return rc;
}

/* ---------------------------------------------------------------- backward */

/* With P = Y / g the gradient of m is <dY, P> / |column| = <dY, Y> / m. */
static void magnitude_bwd(const rd_model *model, rd_adapted *p, rd_adapter_work *u, const rd_mat *y,
                          const rd_mat *dy)
{
    memset(u->dmagnitude, 0, (size_t)y->lm * sizeof(double));
    for (int64_t t = 0; t < y->ln; t++)
        for (int64_t i = 0; i < y->lm; i++)
            u->dmagnitude[i] += (double)dy->a[t * dy->ld + i] * (double)y->a[t * y->ld + i];
    rd_sum_f64(&model->grid->over_cols, u->dmagnitude, y->lm);
    for (int64_t i = 0; i < p->m.lm && p->m.ln > 0; i++)
        if (p->m.a[i] != 0) p->dm.a[i] += (float)(u->dmagnitude[i] / (double)p->m.a[i]);
}

int rd_adapter_bwd_gain(const rd_model *model, rd_work *w, int64_t layer, rd_target t, int n,
                        float *y, float *dy, float **scaled)
{
    int rc = RD_OK;
    rd_adapter_work *u = &w->adapter;
    const rd_tokens on = rd_tokens_at(model, w, layer, t);
    *scaled = dy;
    if (!rd_adapter_scales(model)) return RD_OK;
    for (int i = 0; i < n; i++) {
        rd_target each = t + (rd_target)i;
        rd_adapted *p = rd_adapted_at(model, layer, each);
        rd_mat Y, dY, to;
        if (p == NULL) continue;
        /* The residual stream's gradient is not the branch's alone. */
        if (each == RD_O || each == RD_DOWN) *scaled = u->scaled;
        RD_TRY(rd_view_target(model, each, y, on.width, &Y));
        RD_TRY(rd_view_target(model, each, dy, on.width, &dY));
        RD_TRY(rd_view_target(model, each, *scaled, on.width, &to));
        Y.ln = on.n; /* what Y's padding holds is nothing */
        magnitude_bwd(model, p, u, &Y, &dY);
        apply_gain(u->gain + p->first_local, &dY, &to);
    }
done:
    return rc;
}

int rd_adapter_bwd_input(const rd_model *model, rd_work *w, int64_t layer, rd_target t, float *dy,
                         float *dx)
{
    int rc = RD_OK;
    rd_adapted *p = rd_adapted_at(model, layer, t);
    rd_adapter_work *u = &w->adapter;
    const int64_t width = rd_tokens_at(model, w, layer, t).width;
    rd_mat dY, U, dU, dX;
    if (p == NULL) return RD_OK;
    float s = (float)model->parts->scale;
    bool dropping = is_dropping(model);
    RD_TRY(rd_view_target(model, t, dy, width, &dY));
    RD_TRY(rd_view(model, RD_RANK, w->act[layer].u[t], width, &U));
    RD_TRY(rd_view(model, RD_RANK, u->du, width, &dU));
    RD_TRY(rd_gemm_mixed('N', 'N', s, &p->b, &dY, 0, &dU));
    RD_TRY(rd_gemm_mixed('N', 'T', s, &U, &dY, 1, &p->db));
    if (dx == NULL) return RD_OK;
    RD_TRY(rd_view(model, in_kind[t], dropping ? u->input : dx, width, &dX));
    RD_TRY(rd_gemm_mixed('N', 'N', 1, &p->a, &dU, dropping ? 0 : 1, &dX));
    if (dropping) drop(model, w, layer, t, u->input, true, dx);
done:
    return rc;
}

int rd_adapter_bwd_weight(const rd_model *model, rd_work *w, int64_t layer, rd_target t, float *x)
{
    int rc = RD_OK;
    rd_adapted *p = rd_adapted_at(model, layer, t);
    rd_adapter_work *u = &w->adapter;
    const int64_t width = rd_tokens_at(model, w, layer, t).width;
    rd_mat X, dU;
    if (p == NULL) return RD_OK;
    if (is_dropping(model)) {
        drop(model, w, layer, t, x, false, u->input);
        x = u->input;
    }
    RD_TRY(rd_view(model, in_kind[t], x, width, &X));
    RD_TRY(rd_view(model, RD_RANK, u->du, width, &dU));
    RD_TRY(rd_gemm_mixed('N', 'T', 1, &X, &dU, 1, &p->da));
done:
    return rc;
}
