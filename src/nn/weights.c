/* weights.c: the model's configuration and parameters: layout, creation, initial values, files.
 *
 * All weights are one allocation and all gradients another, in the order of params.  Within a layer
 * q, k, v follow each other without a gap, and so do gate and up: column-major in x out, the fused
 * matrix is then simply the columns of its parts side by side, one product instead of three. */
#include "ops.h"

#include <math.h>
#include <string.h>

enum { ALIGN = 16 };

/* ---------------------------------------------------------------- configuration */

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
            RD_FAIL(RD_EINPUT, "model.%s: expected an integer in 1 ... %lld, got %lld",
                    sizes[i].name, (long long)limit, (long long)sizes[i].value);
    if (c->heads % c->kv_heads != 0)
        RD_FAIL(RD_EINPUT, "model.heads: %lld is not a multiple of model.kv_heads (%lld)",
                (long long)c->heads, (long long)c->kv_heads);
    if (c->head_size == 0 && c->width % c->heads != 0)
        RD_FAIL(RD_EINPUT, "model.width: %lld is not a multiple of model.heads (%lld)",
                (long long)c->width, (long long)c->heads);
    if (c->head_size == 0) c->head_size = c->width / c->heads;
    if (c->head_size < 2 || c->head_size % 2 != 0 || c->head_size > limit)
        RD_FAIL(RD_EINPUT, "model.head_size: rotary embedding needs an even size, got %lld",
                (long long)c->head_size);
    if (!(c->rope_theta > 0) || !isfinite(c->rope_theta))
        RD_FAIL(RD_EINPUT, "model.rope_theta: expected a number > 0, got %g", c->rope_theta);
    if (!(c->norm_eps >= 0) || c->norm_eps > 1)
        RD_FAIL(RD_EINPUT, "model.norm_eps: expected a number in 0 ... 1, got %g", c->norm_eps);
done:
    return rc;
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
    return embeddings + c->layers * (layer_matrix_params(c) + 2 * c->width) + c->width;
}

double rd_model_config_flops(const rd_model_config *c, double ctx)
{
    double products = (double)(c->layers * layer_matrix_params(c) + c->vocab * c->width);
    double attention = (double)(c->layers * c->heads * c->head_size) * ctx;
    return 6.0 * (products + attention);
}

/* ---------------------------------------------------------------- layout */

/* Walks the parameters in order, handing out storage.  The first pass only counts. */
typedef struct layout {
    rd_model *model; /* NULL: count */
    int64_t next;    /* floats handed out */
    int64_t n;       /* parameters so far */
} layout;

static float *at(float *base, int64_t offset)
{
    return base == NULL ? NULL : base + offset;
}

/* One parameter of m x n.  fused: follows its predecessor without a gap. */
static int64_t place(layout *l, const char *name, int64_t m, int64_t n, bool is_matrix, bool decay,
                     bool fused)
{
    if (!fused) l->next = (l->next + ALIGN - 1) / ALIGN * ALIGN;
    int64_t offset = l->next;
    if (l->model != NULL) {
        rd_param *p = &l->model->params[l->n];
        snprintf(p->name, sizeof(p->name), "%s", name);
        p->is_matrix = is_matrix;
        p->decay = decay;
        rd_mat_view_of(l->model->grid, at(l->model->weights, offset), m, n, m, &p->w);
        rd_mat_view_of(l->model->grid, at(l->model->grads, offset), m, n, m, &p->g);
    }
    l->next += m * n;
    l->n++;
    return offset;
}

static void fuse(const rd_model *model, int64_t offset, int64_t m, int64_t n, rd_mat *w, rd_mat *g)
{
    rd_mat_view_of(model->grid, at(model->weights, offset), m, n, m, w);
    rd_mat_view_of(model->grid, at(model->grads, offset), m, n, m, g);
}

static void place_layer(layout *l, const rd_model_config *c, int64_t index)
{
    enum { Q, K, V, O, GATE, UP, DOWN, NORM1, NORM2, KINDS };
    static const char *const tail[KINDS] = {
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
        "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
        "mlp.down_proj",    "input_layernorm",  "post_attention_layernorm"};
    char name[KINDS][80];
    for (int i = 0; i < KINDS; i++)
        snprintf(name[i], sizeof(name[i]), "model.layers.%lld.%s.weight", (long long)index,
                 tail[i]);
    int64_t D = c->width, hs = c->heads * c->head_size, ks = c->kv_heads * c->head_size, F = c->ffn;
    int64_t norm1 = place(l, name[NORM1], D, 1, false, false, false);
    int64_t qkv = place(l, name[Q], D, hs, true, true, false);
    place(l, name[K], D, ks, true, true, true);
    place(l, name[V], D, ks, true, true, true);
    int64_t o = place(l, name[O], hs, D, true, true, false);
    int64_t norm2 = place(l, name[NORM2], D, 1, false, false, false);
    int64_t gate = place(l, name[GATE], D, F, true, true, false);
    place(l, name[UP], D, F, true, true, true);
    int64_t down = place(l, name[DOWN], F, D, true, true, false);
    if (l->model == NULL) return;
    rd_model *m = l->model;
    rd_layer *layer = &m->layers->layer[index];
    layer->norm1 = at(m->weights, norm1);
    layer->norm2 = at(m->weights, norm2);
    layer->dnorm1 = at(m->grads, norm1);
    layer->dnorm2 = at(m->grads, norm2);
    fuse(m, qkv, D, hs + 2 * ks, &layer->qkv, &layer->dqkv);
    fuse(m, o, hs, D, &layer->o, &layer->d_o);
    fuse(m, gate, D, 2 * F, &layer->gate_up, &layer->dgate_up);
    fuse(m, down, F, D, &layer->down, &layer->ddown);
}

/* All parameters in Hugging Face order. */
static void place_all(layout *l, const rd_model_config *c)
{
    int64_t D = c->width, V = c->vocab;
    int64_t embed = place(l, "model.embed_tokens.weight", D, V, false, true, false);
    for (int64_t i = 0; i < c->layers; i++) place_layer(l, c, i);
    int64_t norm = place(l, "model.norm.weight", D, 1, false, false, false);
    int64_t head = c->tied ? embed : place(l, "lm_head.weight", D, V, false, true, false);
    l->next = (l->next + ALIGN - 1) / ALIGN * ALIGN;
    if (l->model == NULL) return;
    struct rd_model_layers *layers = l->model->layers;
    layers->norm = at(l->model->weights, norm);
    layers->dnorm = at(l->model->grads, norm);
    fuse(l->model, embed, D, V, &layers->embed, &layers->dembed);
    fuse(l->model, head, D, V, &layers->head, &layers->dhead);
}

/* ---------------------------------------------------------------- life */

int rd_model_create(const rd_grid *g, const rd_model_config *cfg, bool with_grads, rd_model **model)
{
    int rc = RD_OK;
    rd_model *m = NULL;
    rd_model_config c = *cfg;
    *model = NULL;
    RD_TRY(rd_model_config_check(&c));
    if (g->rows * g->cols != 1)
        RD_FAIL(RD_EINPUT, "grid: the transformer runs on 1 x 1 process grids, got %d x %d",
                g->rows, g->cols);
    layout count = {0};
    place_all(&count, &c);
    m = rd_new(rd_model, 1);
    m->cfg = c;
    m->grid = g;
    m->n_params = count.n;
    m->storage = count.next;
    m->params = rd_new(rd_param, count.n);
    m->weights = rd_new(float, count.next);
    m->grads = with_grads ? rd_new(float, count.next) : NULL;
    m->layers = rd_new(struct rd_model_layers, 1);
    m->layers->layer = rd_new(rd_layer, c.layers);
    layout fill = {.model = m};
    place_all(&fill, &c);
    *model = m;
done:
    return rc;
}

void rd_model_free(rd_model **model)
{
    rd_model *m = *model;
    if (m == NULL) return;
    rd_free(m->layers->layer);
    rd_free(m->layers);
    rd_free(m->params);
    rd_free(m->weights);
    rd_free(m->grads);
    RD_FREE(*model);
}

rd_param *rd_model_param(rd_model *model, const char *name)
{
    for (int64_t i = 0; i < model->n_params; i++)
        if (strcmp(model->params[i].name, name) == 0) return &model->params[i];
    return NULL;
}

void rd_model_zero_grads(rd_model *model)
{
    RD_ASSERT(model->grads != NULL);
    memset(model->grads, 0, (size_t)model->storage * sizeof(float));
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
    for (int64_t i = 0; i < model->n_params; i++) {
        rd_param *p = &model->params[i];
        bool output = ends_with(p->name, "o_proj.weight") || ends_with(p->name, "down_proj.weight");
        double scale = output ? residual : 0.02;
        for (int64_t lj = 0; lj < p->w.ln; lj++) {
            /* One stream per global column, drawn over all global rows: any share of the matrix
             * sees the same values. */
            rd_rng rng = rd_rng_make(seed, p->name, (uint64_t)rd_mat_global_col(&p->w, lj), 0);
            int64_t li = 0;
            for (int64_t row = 0; row < p->w.m && li < p->w.lm; row++) {
                double value = p->decay ? scale * rd_rng_normal(&rng) : 1.0;
                if (rd_mat_global_row(&p->w, li) != row) continue;
                p->w.a[lj * p->w.ld + li] = (float)value;
                li++;
            }
        }
    }
    return RD_OK;
}

/* ---------------------------------------------------------------- files */

/* A parameter's Hugging Face shape and the part of it this rank moves.  Row-major [out, in] is
 * byte for byte our column-major in x out. */
static int param_slab(const rd_mat *A, bool mine, int64_t dims[2], rd_slab slab[2])
{
    RD_ASSERT(A->ld == A->m && A->lm == A->m && A->ln == A->n);
    int rank = A->n == 1 ? 1 : 2;
    dims[0] = rank == 1 ? A->m : A->n;
    dims[1] = A->m;
    for (int i = 0; i < rank; i++)
        slab[i] = (rd_slab){.start = 0, .stride = dims[i], .count = mine ? 1 : 0, .block = dims[i]};
    return rank;
}

int rd_model_write(const rd_model *model, rd_store *s, const char *prefix)
{
    int rc = RD_OK;
    /* Replicas hold the same weights; the first one writes. */
    bool mine = model->grid->my_data == 0;
    for (int64_t i = 0; i < model->n_params; i++) {
        const rd_param *p = &model->params[i];
        char name[160];
        int64_t dims[2];
        rd_slab slab[2];
        snprintf(name, sizeof(name), "%s%s", prefix, p->name);
        int rank = param_slab(&p->w, mine, dims, slab);
        RD_TRY(rd_store_write_array(s, name, RD_F32, rank, dims, slab, p->w.a));
    }
done:
    return rc;
}

int rd_model_read(rd_model *model, rd_store *s, const char *prefix)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < model->n_params; i++) {
        rd_param *p = &model->params[i];
        char name[160];
        int64_t dims[2];
        rd_slab slab[2];
        snprintf(name, sizeof(name), "%s%s", prefix, p->name);
        int rank = param_slab(&p->w, true, dims, slab);
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
done:
    return rc;
}

int rd_model_read_config(rd_store *s, rd_model_config *cfg)
{
    int rc = RD_OK;
    int64_t tied = 0;
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
    RD_TRY(rd_model_config_check(cfg));
done:
    return rc;
}
