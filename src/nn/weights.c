/* weights.c: the model's configuration and parameters: layout, creation, initial values, files.
 *
 * All weights are one allocation and all gradients another, in the order of params.  Within a layer
 * q, k, v follow each other without a gap on 1 x 1, and so do gate and up: column-major in x out,
 * the fused matrix is then simply the columns of its parts side by side, one product instead of
 * three. On a larger grid every parameter is a block-cyclic matrix of its own. */
#include "ops.h"

#include <math.h>
#include <string.h>

enum { ALIGN = 16 };

/* ---------------------------------------------------------------- configuration */

static int check_rope(const rd_rope_scaling *r)
{
    int rc = RD_OK;
    if (r->factor == 0) return RD_OK;
    if (!(r->factor >= 1) || !isfinite(r->factor))
        RD_FAIL(RD_EINPUT, "rope scaling's factor: expected a number >= 1, got %g", r->factor);
    if (!(r->low_freq_factor > 0 && r->low_freq_factor < r->high_freq_factor) ||
        !isfinite(r->high_freq_factor))
        RD_FAIL(RD_EINPUT,
                "rope scaling: expected 0 < low_freq_factor < high_freq_factor, got %g and %g",
                r->low_freq_factor, r->high_freq_factor);
    if (r->original_context < 1)
        RD_FAIL(RD_EINPUT, "rope scaling's original context: expected tokens, got %lld",
                (long long)r->original_context);
done:
    return rc;
}

int rd_model_config_check(rd_model_config *c)
{
    int rc = RD_OK;
    const int64_t limit = 1 << 24;
    const struct {
        const char *name;
        int64_t value;
    } sizes[] = {{"vocab", c->vocab}, {"width", c->width},       {"layers", c->layers},
                 {"heads", c->heads}, {"kv_heads", c->kv_heads}, {"ffn", c->ffn}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (sizes[i].value < 1 || sizes[i].value > limit)
            RD_FAIL(RD_EINPUT, "%s: expected an integer in 1 ... %lld, got %lld", sizes[i].name,
                    (long long)limit, (long long)sizes[i].value);
    if (c->heads % c->kv_heads != 0)
        RD_FAIL(RD_EINPUT, "heads: %lld is not a multiple of kv_heads (%lld)", (long long)c->heads,
                (long long)c->kv_heads);
    if (c->head_size == 0 && c->width % c->heads != 0)
        RD_FAIL(RD_EINPUT, "width: %lld is not a multiple of heads (%lld)", (long long)c->width,
                (long long)c->heads);
    if (c->head_size == 0) c->head_size = c->width / c->heads;
    if (c->head_size < 2 || c->head_size % 2 != 0 || c->head_size > limit)
        RD_FAIL(RD_EINPUT, "head_size: rotary embedding needs an even size, got %lld",
                (long long)c->head_size);
    if (!(c->rope_theta > 0) || !isfinite(c->rope_theta))
        RD_FAIL(RD_EINPUT, "rope_theta: expected a number > 0, got %g", c->rope_theta);
    if (!(c->norm_eps >= 0) || c->norm_eps > 1)
        RD_FAIL(RD_EINPUT, "norm_eps: expected a number in 0 ... 1, got %g", c->norm_eps);
    RD_TRY(check_rope(&c->rope));
done:
    return rc;
}

static bool same_rope(const rd_rope_scaling *a, const rd_rope_scaling *b)
{
    if (a->factor == 0 || b->factor == 0) return a->factor == b->factor;
    return a->factor == b->factor && a->low_freq_factor == b->low_freq_factor &&
           a->high_freq_factor == b->high_freq_factor && a->original_context == b->original_context;
}

bool rd_model_config_same(const rd_model_config *a, const rd_model_config *b)
{
    return a->vocab == b->vocab && a->width == b->width && a->layers == b->layers &&
           a->heads == b->heads && a->kv_heads == b->kv_heads && a->head_size == b->head_size &&
           a->ffn == b->ffn && a->rope_theta == b->rope_theta && a->norm_eps == b->norm_eps &&
           a->tied == b->tied && a->qkv_bias == b->qkv_bias && same_rope(&a->rope, &b->rope);
}

/* Weights of one layer that take part in products. */
static int64_t layer_matrix_params(const rd_model_config *c)
{
    int64_t hs = c->heads * c->head_size, ks = c->kv_heads * c->head_size;
    return c->width * (2 * hs + 2 * ks) + 3 * c->width * c->ffn;
}

int64_t rd_model_config_params(const rd_model_config *c)
{
    int64_t embeddings = c->vocab * c->width * (c->tied ? 1 : 2);
    int64_t vectors = 2 * c->width;
    if (c->qkv_bias) vectors += (c->heads + 2 * c->kv_heads) * c->head_size;
    return embeddings + c->layers * (layer_matrix_params(c) + vectors) + c->width;
}

double rd_model_config_flops(const rd_model_config *c, double ctx)
{
    double products = (double)(c->layers * layer_matrix_params(c) + c->vocab * c->width);
    double attention = (double)(c->layers * c->heads * c->head_size) * ctx;
    return 6.0 * (products + attention);
}

/* ---------------------------------------------------------------- layout */

static float *at(float *base, int64_t offset)
{
    return base == NULL ? NULL : base + offset;
}

/* Views of m x n weights and gradients that begin at an offset. */
static void view_at(const rd_grid *grid, const rd_params *all, int64_t offset, int64_t m, int64_t n,
                    int64_t mb, int64_t nb, rd_mat *w, rd_mat *g)
{
    int64_t lm = rd_dealt_count(m, mb, grid->my_row, grid->rows), ld = lm > 0 ? lm : 1;
    rd_mat_view_blocks(grid, at(all->weights, offset), m, n, mb, nb, ld, w);
    rd_mat_view_blocks(grid, at(all->grads, offset), m, n, mb, nb, ld, g);
}

rd_param *rd_layout_place(rd_layout *l, const char *name, int64_t m, int64_t n, int64_t mb,
                          int64_t nb, bool fused)
{
    const rd_grid *g = l->grid;
    rd_param *p = NULL;
    if (!fused) l->next = (l->next + ALIGN - 1) / ALIGN * ALIGN;
    if (l->params != NULL) {
        p = &l->params->item[l->n];
        snprintf(p->name, sizeof(p->name), "%s", name);
        view_at(g, l->params, l->next, m, n, mb, nb, &p->w, &p->g);
    }
    l->next +=
        rd_dealt_count(m, mb, g->my_row, g->rows) * rd_dealt_count(n, nb, g->my_col, g->cols);
    l->n++;
    return p;
}

void rd_layout_end(rd_layout *l)
{
    l->next = (l->next + ALIGN - 1) / ALIGN * ALIGN;
}

void rd_params_create(const rd_layout *count, bool with_grads, rd_params *p)
{
    *p = (rd_params){.n = count->n,
                     .storage = count->next,
                     .item = rd_new(rd_param, count->n),
                     .weights = rd_new(float, count->next),
                     .grads = with_grads ? rd_new(float, count->next) : NULL};
}

void rd_params_free(rd_params *p)
{
    rd_free(p->item);
    rd_free(p->weights);
    rd_free(p->grads);
    *p = (rd_params){0};
}

/* The same walk over a model's own parameters, which also fills the layers' views. */
typedef struct layout {
    rd_layout l;
    rd_model *model; /* NULL: count */
    const rd_split *split;
    bool bias;
    bool packed; /* matrices have no storage */
} layout;

static void place_matrix(layout *l, const char *name, rd_feature in, rd_feature out, bool hidden,
                         bool fused, rd_mat *w, rd_mat *g)
{
    const rd_split *s = l->split;
    int64_t before = l->l.next;
    bool gone = l->packed && l->l.n > 0; /* the first is the embedding, which is looked up */
    rd_param *p =
        rd_layout_place(&l->l, name, s->size[in], s->size[out], s->block[in], s->block[out], fused);
    if (gone) l->l.next = before;
    if (p == NULL) return;
    if (gone) p->w.a = NULL;
    p->is_matrix = hidden;
    p->decay = true;
    *w = p->w;
    *g = p->g;
}

/* On more than one grid column only the first holds a vector: it has one column. */
static rd_param *place_vector(layout *l, const char *name, rd_feature f, bool fused)
{
    rd_param *p = rd_layout_place(&l->l, name, l->split->size[f], 1, l->split->block[f], 1, fused);
    if (p != NULL) p->is_vector = true;
    return p;
}

static void place_norm(layout *l, const char *name, int64_t index)
{
    rd_param *p = place_vector(l, name, RD_WIDTH, false);
    if (p == NULL) return;
    l->model->layers->norm[index] = p->w.a;
    l->model->layers->dnorm[index] = p->g.a;
    l->model->layers->begin[index] = p->w.a - l->model->base.weights;
}

/* Widen the view of the first of some matrices that lie side by side to all of them. */
static void widen(const rd_model *model, int64_t n, rd_mat *w, rd_mat *g)
{
    rd_mat_view_of(model->grid, w->a, w->m, n, w->ld, w);
    rd_mat_view_of(model->grid, g->a, g->m, n, g->ld, g);
}

enum { NORM1 = RD_TARGETS, NORM2, KINDS };
static const char *const in_layer[KINDS] = {
    [RD_Q] = "self_attn.q_proj", [RD_K] = "self_attn.k_proj", [RD_V] = "self_attn.v_proj",
    [RD_O] = "self_attn.o_proj", [RD_GATE] = "mlp.gate_proj", [RD_UP] = "mlp.up_proj",
    [RD_DOWN] = "mlp.down_proj", [NORM1] = "input_layernorm", [NORM2] = "post_attention_layernorm"};

const char *rd_target_name(rd_target t)
{
    return in_layer[t];
}

/* One after the other without gaps, on every grid, as outputs lie in a local column. */
static void place_biases(layout *l, int64_t index)
{
    for (rd_target t = RD_Q; t <= RD_V; t++) {
        char name[80];
        snprintf(name, sizeof(name), "model.layers.%lld.%s.bias", (long long)index, in_layer[t]);
        rd_param *p = place_vector(l, name, t == RD_Q ? RD_QUERY : RD_KEY, t != RD_Q);
        if (p == NULL || t != RD_Q) continue;
        l->model->layers->bias[index] = p->w.a;
        l->model->layers->dbias[index] = p->g.a;
    }
}

static void place_layer(layout *l, int64_t index)
{
    char name[KINDS][80];
    for (int i = 0; i < KINDS; i++)
        snprintf(name[i], sizeof(name[i]), "model.layers.%lld.%s.weight", (long long)index,
                 in_layer[i]);
    rd_layer unused, *p = l->model != NULL ? &l->model->layers->layer[index] : &unused;
    bool fuse = l->l.grid->rows * l->l.grid->cols == 1;
    place_norm(l, name[NORM1], 2 * index);
    place_matrix(l, name[RD_Q], RD_WIDTH, RD_QUERY, true, false, &p->qkv[0], &p->dqkv[0]);
    place_matrix(l, name[RD_K], RD_WIDTH, RD_KEY, true, fuse, &p->qkv[1], &p->dqkv[1]);
    place_matrix(l, name[RD_V], RD_WIDTH, RD_KEY, true, fuse, &p->qkv[2], &p->dqkv[2]);
    if (l->bias) place_biases(l, index);
    place_matrix(l, name[RD_O], RD_QUERY, RD_WIDTH, true, false, &p->o, &p->d_o);
    place_norm(l, name[NORM2], 2 * index + 1);
    place_matrix(l, name[RD_GATE], RD_WIDTH, RD_FFN, true, false, &p->gate_up[0], &p->dgate_up[0]);
    place_matrix(l, name[RD_UP], RD_WIDTH, RD_FFN, true, fuse, &p->gate_up[1], &p->dgate_up[1]);
    place_matrix(l, name[RD_DOWN], RD_FFN, RD_WIDTH, true, false, &p->down, &p->ddown);
    if (l->model == NULL || !fuse) return;
    widen(l->model, l->split->qkv, &p->qkv[0], &p->dqkv[0]);
    widen(l->model, 2 * l->split->size[RD_FFN], &p->gate_up[0], &p->dgate_up[0]);
}

/* All parameters in Hugging Face order, but for biases, which follow their layer's three matrices.
 */
static void place_all(layout *l, const rd_model_config *c)
{
    struct rd_model_layers unused, *m = l->model != NULL ? l->model->layers : &unused;
    place_matrix(l, "model.embed_tokens.weight", RD_WIDTH, RD_VOCAB, false, false, &m->embed,
                 &m->dembed);
    for (int64_t i = 0; i < c->layers; i++) place_layer(l, i);
    place_norm(l, "model.norm.weight", 2 * c->layers);
    if (!c->tied)
        place_matrix(l, "lm_head.weight", RD_WIDTH, RD_VOCAB, false, false, &m->head, &m->dhead);
    rd_layout_end(&l->l);
    if (l->model == NULL || !c->tied) return;
    m->head = m->embed;
    m->dhead = m->dembed;
}

/* ---------------------------------------------------------------- life */

int rd_model_create(const rd_grid *g, const rd_model_config *cfg, bool with_grads, rd_model **model)
{
    int rc = RD_OK;
    rd_model *m = NULL;
    rd_model_config c = *cfg;
    *model = NULL;
    RD_TRY(rd_model_config_check(&c));
    rd_split split;
    rd_split_make(g, &c, &split);
    layout count = {.l = {.grid = g}, .split = &split, .bias = c.qkv_bias};
    place_all(&count, &c);
    m = rd_new(rd_model, 1);
    m->cfg = c;
    m->grid = g;
    rd_params_create(&count.l, with_grads, &m->base);
    m->trained = with_grads ? &m->base : NULL;
    m->layers = rd_new(struct rd_model_layers, 1);
    m->layers->layer = rd_new(rd_layer, c.layers);
    m->layers->norm = rd_new(float *, 2 * c.layers + 1);
    m->layers->dnorm = rd_new(float *, 2 * c.layers + 1);
    if (c.qkv_bias) m->layers->bias = rd_new(float *, c.layers);
    if (c.qkv_bias) m->layers->dbias = rd_new(float *, c.layers);
    m->layers->begin = rd_new(int64_t, 2 * c.layers + 1);
    m->layers->split = split;
    m->layers->n_qkv = g->rows * g->cols == 1 ? 1 : 3;
    m->layers->n_gate_up = g->rows * g->cols == 1 ? 1 : 2;
    layout fill = {
        .l = {.params = &m->base, .grid = g}, .model = m, .split = &split, .bias = c.qkv_bias};
    place_all(&fill, &c);
    *model = m;
done:
    return rc;
}

/* The matrices of a layer as rd_model_layers.packed numbers them. */
enum { PACKED_IN_LAYER = 4 };

static rd_mat *matrix(struct rd_model_layers *m, int64_t layers, int64_t i)
{
    if (i == PACKED_IN_LAYER * layers) return &m->head;
    rd_layer *p = &m->layer[i / PACKED_IN_LAYER];
    rd_mat *list[PACKED_IN_LAYER] = {&p->qkv[0], &p->o, &p->gate_up[0], &p->down};
    return list[i % PACKED_IN_LAYER];
}

/* Storage without the matrices: the same walk, and what is left moves there. */
static void drop_matrices(rd_model *model)
{
    rd_params old = model->base;
    layout count = {.l = {.grid = model->grid},
                    .split = &model->layers->split,
                    .bias = model->cfg.qkv_bias,
                    .packed = true};
    place_all(&count, &model->cfg);
    rd_params_create(&count.l, false, &model->base);
    layout fill = count;
    fill.l = (rd_layout){.params = &model->base, .grid = model->grid};
    fill.model = model;
    place_all(&fill, &model->cfg);
    for (int64_t i = 0; i < old.n; i++) {
        const rd_mat *to = &model->base.item[i].w;
        if (to->a != NULL) memcpy(to->a, old.item[i].w.a, (size_t)(to->m * to->n) * sizeof(float));
    }
    rd_params_free(&old);
}

int rd_model_pack(rd_model *model)
{
    int rc = RD_OK;
    struct rd_model_layers *m = model->layers;
    int64_t layers = model->cfg.layers, n = PACKED_IN_LAYER * layers + 1;
    if (model->trained != NULL) RD_FAIL(RD_EINTERNAL, "weights that are trained are not packed");
    if (model->grid->rows * model->grid->cols > 1 || m->packed != NULL) return RD_OK;
    m->packed = rd_new(rd_packed *, n);
    /* A head that is the embedding would be in memory twice, which only pays in half the bytes. */
    int64_t packed = model->cfg.tied && !model->grid->bf16 ? n - 1 : n;
    for (int64_t i = 0; i < packed; i++) RD_TRY(rd_mat_pack(matrix(m, layers, i), &m->packed[i]));
    drop_matrices(model);
    for (int64_t i = 0; i < n; i++) matrix(m, layers, i)->packed = m->packed[i];
done:
    return rc;
}

static void free_packed(rd_model *m)
{
    int64_t n = PACKED_IN_LAYER * m->cfg.layers + 1;
    for (int64_t i = 0; i < n && m->layers->packed != NULL; i++)
        rd_packed_free(&m->layers->packed[i]);
    rd_free(m->layers->packed);
}

void rd_model_free(rd_model **model)
{
    rd_model *m = *model;
    if (m == NULL) return;
    free_packed(m);
    rd_model_adapter_free(m); /* which still writes to layers */
    rd_free(m->layers->layer);
    rd_free(m->layers->norm);
    rd_free(m->layers->dnorm);
    rd_free(m->layers->bias);
    rd_free(m->layers->dbias);
    rd_free(m->layers->begin);
    rd_free(m->layers);
    rd_params_free(&m->base);
    RD_FREE(*model);
}

rd_param *rd_model_param(rd_model *model, const char *name)
{
    for (int64_t i = 0; i < model->base.n; i++)
        if (strcmp(model->base.item[i].name, name) == 0) return &model->base.item[i];
    return NULL;
}

void rd_model_zero_grads(rd_model *model)
{
    rd_params *p = model->trained;
    enum { BLOCK = 1 << 16 };
    RD_ASSERT(p != NULL);
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (p->storage > BLOCK)
    for (int64_t at = 0; at < p->storage; at += BLOCK) {
        int64_t n = p->storage - at < BLOCK ? p->storage - at : BLOCK;
        memset(p->grads + at, 0, (size_t)n * sizeof(float));
    }
}

/* ---------------------------------------------------------------- initial values */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

int rd_model_init(rd_model *model, uint64_t seed)
{
    /* Output projections write to the residual stream 2 L times; their scale keeps its variance. */
    double residual = 0.02 / sqrt(2.0 * (double)model->cfg.layers);
    for (int64_t i = 0; i < model->base.n; i++) {
        rd_param *p = &model->base.item[i];
        bool output = ends_with(p->name, "o_proj.weight") || ends_with(p->name, "down_proj.weight");
        double scale = output ? residual : 0.02;
        double vector = ends_with(p->name, ".bias") ? 0 : 1;
        for (int64_t lj = 0; lj < p->w.ln; lj++) {
            /* One stream per global column, drawn over all global rows: any share of the matrix
             * sees the same values. */
            rd_rng rng = rd_rng_make(seed, p->name, (uint64_t)rd_mat_global_col(&p->w, lj), 0);
            int64_t li = 0;
            for (int64_t row = 0; row < p->w.m && li < p->w.lm; row++) {
                double value = p->decay ? scale * rd_rng_normal(&rng) : vector;
                if (rd_mat_global_row(&p->w, li) != row) continue;
                p->w.a[lj * p->w.ld + li] = (float)value;
                li++;
            }
        }
    }
    return RD_OK;
}

/* ---------------------------------------------------------------- files */

/* The blocks of n indices that process p of np holds. */
static rd_slab dealt_slab(int64_t n, int64_t nb, int p, int np)
{
    int64_t blocks = (n + nb - 1) / nb;
    if (np == 1) return (rd_slab){.start = 0, .stride = n, .count = 1, .block = n};
    return (rd_slab){.start = p * nb,
                     .stride = np * nb,
                     .count = blocks > p ? (blocks - p + np - 1) / np : 0,
                     .block = nb};
}

/* Row-major [out, in] is byte for byte our column-major in x out. */
int rd_param_slab(const rd_grid *g, const rd_param *p, bool mine, int64_t dims[2], rd_slab slab[2])
{
    const rd_mat *A = &p->w;
    int rank = p->is_vector ? 1 : 2;
    RD_ASSERT(A->a != NULL); /* after rd_model_pack there is nothing to write */
    RD_ASSERT(A->ld == A->lm || A->lm == 0 || A->ln <= 1);
    dims[0] = A->n;
    dims[1] = A->m;
    slab[0] = dealt_slab(A->n, A->nb, g->my_col, g->cols);
    slab[1] = dealt_slab(A->m, A->mb, g->my_row, g->rows);
    if (!mine || slab[0].count == 0) slab[1].count = 0;
    if (!mine) slab[0].count = 0;
    if (rank == 1) {
        dims[0] = dims[1];
        slab[0] = slab[1];
    }
    return rank;
}

int rd_params_write(const rd_grid *g, const rd_params *params, rd_store *s, const char *prefix)
{
    int rc = RD_OK;
    /* Replicas hold the same weights; the first one writes. */
    bool mine = g->my_data == 0;
    for (int64_t i = 0; i < params->n; i++) {
        const rd_param *p = &params->item[i];
        char name[160];
        int64_t dims[2];
        rd_slab slab[2];
        snprintf(name, sizeof(name), "%s%s", prefix, p->name);
        int rank = rd_param_slab(g, p, mine, dims, slab);
        RD_TRY(rd_store_write_array(s, name, RD_F32, rank, dims, slab, p->w.a));
    }
done:
    return rc;
}

int rd_params_read(const rd_grid *g, rd_params *params, rd_store *s, const char *prefix)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < params->n; i++) {
        rd_param *p = &params->item[i];
        char name[160];
        int64_t dims[2];
        rd_slab slab[2];
        snprintf(name, sizeof(name), "%s%s", prefix, p->name);
        int rank = rd_param_slab(g, p, true, dims, slab);
        RD_TRY(rd_store_read_array(s, name, RD_F32, rank, dims, slab, p->w.a));
    }
done:
    return rc;
}

/* The integer fields and their attribute names, for both directions. */
typedef struct config_field {
    const char *name;
    size_t offset;
} config_field;
static const config_field fields[] = {
    {"model_vocab", offsetof(rd_model_config, vocab)},
    {"model_width", offsetof(rd_model_config, width)},
    {"model_layers", offsetof(rd_model_config, layers)},
    {"model_heads", offsetof(rd_model_config, heads)},
    {"model_kv_heads", offsetof(rd_model_config, kv_heads)},
    {"model_head_size", offsetof(rd_model_config, head_size)},
    {"model_ffn", offsetof(rd_model_config, ffn)},
};
enum { N_FIELDS = sizeof(fields) / sizeof(fields[0]) };

/* What few models have is written for them alone, and absent otherwise, as in old files. */
static int write_rope(const rd_rope_scaling *r, rd_store *s)
{
    int rc = RD_OK;
    if (r->factor == 0) return RD_OK;
    RD_TRY(rd_store_set_f64(s, "", "model_rope_factor", r->factor));
    RD_TRY(rd_store_set_f64(s, "", "model_rope_low_freq_factor", r->low_freq_factor));
    RD_TRY(rd_store_set_f64(s, "", "model_rope_high_freq_factor", r->high_freq_factor));
    RD_TRY(rd_store_set_i64(s, "", "model_rope_original_context", r->original_context));
done:
    return rc;
}

int rd_model_write_config(const rd_model_config *cfg, rd_store *s)
{
    int rc = RD_OK;
    for (int i = 0; i < N_FIELDS; i++) {
        int64_t value;
        memcpy(&value, (const char *)cfg + fields[i].offset, sizeof(value));
        RD_TRY(rd_store_set_i64(s, "", fields[i].name, value));
    }
    RD_TRY(rd_store_set_f64(s, "", "model_rope_theta", cfg->rope_theta));
    RD_TRY(rd_store_set_f64(s, "", "model_norm_eps", cfg->norm_eps));
    RD_TRY(rd_store_set_i64(s, "", "model_tied", cfg->tied ? 1 : 0));
    if (cfg->qkv_bias) RD_TRY(rd_store_set_i64(s, "", "model_qkv_bias", 1));
    RD_TRY(write_rope(&cfg->rope, s));
done:
    return rc;
}

static int read_rope(rd_store *s, rd_rope_scaling *r)
{
    int rc = RD_OK;
    if (!rd_store_has_attribute(s, "", "model_rope_factor")) return RD_OK;
    RD_TRY(rd_store_get_f64(s, "", "model_rope_factor", &r->factor));
    RD_TRY(rd_store_get_f64(s, "", "model_rope_low_freq_factor", &r->low_freq_factor));
    RD_TRY(rd_store_get_f64(s, "", "model_rope_high_freq_factor", &r->high_freq_factor));
    RD_TRY(rd_store_get_i64(s, "", "model_rope_original_context", &r->original_context));
done:
    return rc;
}

int rd_model_read_config(rd_store *s, rd_model_config *cfg)
{
    int rc = RD_OK;
    int64_t tied = 0, bias = 0;
    *cfg = (rd_model_config){0};
    for (int i = 0; i < N_FIELDS; i++) {
        int64_t value = 0;
        RD_TRY(rd_store_get_i64(s, "", fields[i].name, &value));
        memcpy((char *)cfg + fields[i].offset, &value, sizeof(value));
    }
    RD_TRY(rd_store_get_f64(s, "", "model_rope_theta", &cfg->rope_theta));
    RD_TRY(rd_store_get_f64(s, "", "model_norm_eps", &cfg->norm_eps));
    RD_TRY(rd_store_get_i64(s, "", "model_tied", &tied));
    cfg->tied = tied != 0;
    if (rd_store_has_attribute(s, "", "model_qkv_bias"))
        RD_TRY(rd_store_get_i64(s, "", "model_qkv_bias", &bias));
    cfg->qkv_bias = bias != 0;
    RD_TRY(read_rope(s, &cfg->rope));
    RD_TRY(rd_model_config_check(cfg));
done:
    return rc;
}
