/* adapter_weights.c: what an adapter starts from and how it ends: initial values, the
 * decompositions of PiSSA and OLoRA with the residual they leave, merging.
 *
 * All of it is sums over block-cyclic matrices, so it holds on every grid.  The residual and the
 * merged weight are W + (+-s) A B with the product and the sum in float64, rounded once: from the
 * same A and B the same bits on every grid. */
#include "ops.h"

#include <math.h>
#include <string.h>

/* W += s A B.  All of A's columns for this rank's rows and of B's rows for its columns are brought
 * here: r (rows + columns) / ranks floats, r of each, beside W's rows x columns / ranks. */
static void add_product(double s, const rd_mat *A, const rd_mat *B, rd_mat *W)
{
    const rd_grid *g = W->grid;
    int64_t r = A->n, m = W->lm, n = W->ln;
    float *a = rd_new(float, m *r), *b = rd_new(float, r *n);
    double *column = rd_new(double, m);
    for (int64_t j = 0; j < A->ln; j++)
        memcpy(a + rd_mat_global_col(A, j) * m, A->a + j * A->ld, (size_t)m * sizeof(float));
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < B->lm; i++)
            b[j * r + rd_mat_global_row(B, i)] = B->a[j * B->ld + i];
    /* Everywhere else there is 0, so these sums only gather. */
    rd_sum_f32(&g->over_cols, a, m * r);
    rd_sum_f32(&g->over_rows, b, r * n);
    for (int64_t j = 0; j < n; j++) {
        float *w = W->a + j * W->ld;
        for (int64_t i = 0; i < m; i++) column[i] = w[i];
        for (int64_t k = 0; k < r; k++) {
            double factor = s * (double)b[j * r + k];
            for (int64_t i = 0; i < m; i++) column[i] += factor * (double)a[k * m + i];
        }
        for (int64_t i = 0; i < m; i++) w[i] = (float)column[i];
    }
    rd_free(a);
    rd_free(b);
    rd_free(column);
}

/* ---------------------------------------------------------------- LoRA, DoRA */

/* One stream per global column, drawn over all global rows: any share sees the same values. */
static void init_uniform(const char *name, uint64_t seed, rd_mat *a)
{
    double bound = 1 / sqrt((double)a->m);
    for (int64_t lj = 0; lj < a->ln; lj++) {
        rd_rng rng = rd_rng_make(seed, name, (uint64_t)rd_mat_global_col(a, lj), 0);
        int64_t li = 0;
        for (int64_t row = 0; row < a->m && li < a->lm; row++) {
            double value = bound * (2 * rd_rng_uniform(&rng) - 1);
            if (rd_mat_global_row(a, li) == row) a->a[lj * a->ld + li++] = (float)value;
        }
    }
}

static void init_lora(const rd_model *model, uint64_t seed, rd_adapted *p)
{
    char name[sizeof(p->base) + 8];
    snprintf(name, sizeof(name), "%s A", p->base);
    init_uniform(name, seed, &p->a);
    for (int64_t j = 0; j < p->b.ln; j++)
        memset(p->b.a + j * p->b.ld, 0, (size_t)p->b.lm * sizeof(float));
    for (int64_t i = 0; i < p->m.lm && p->m.ln > 0; i++)
        p->m.a[i] = (float)sqrt(model->parts->norm2[p->first + rd_mat_global_row(&p->m, i)]);
}

/* ---------------------------------------------------------------- PiSSA, OLoRA */

/* A = U sqrt(S / s), B = sqrt(S / s) V^T.  The transposition is a product with a diagonal matrix,
 * whose zeros round nothing. */
static int init_pissa(const rd_model *model, rd_adapted *p)
{
    int rc = RD_OK;
    const rd_grid *g = model->grid;
    int64_t r = p->a.n;
    double *value = rd_new(double, r);
    rd_mat V = {0}, D = {0};
    RD_TRY(rd_mat_create(g, p->w.n, r, p->w.nb, p->a.nb, &V));
    RD_TRY(rd_mat_create(g, r, r, p->b.mb, p->a.nb, &D));
    RD_TRY(rd_svd_leading(&p->w, r, &p->a, value, &V));
    for (int64_t k = 0; k < r; k++) value[k] = sqrt(value[k] / model->parts->scale);
    for (int64_t j = 0; j < p->a.ln; j++) {
        float factor = (float)value[rd_mat_global_col(&p->a, j)];
        for (int64_t i = 0; i < p->a.lm; i++) p->a.a[j * p->a.ld + i] *= factor;
    }
    for (int64_t j = 0; j < D.ln; j++) {
        int64_t k = rd_mat_global_col(&D, j), i = rd_mat_local_row(&D, k);
        if (i >= 0) D.a[j * D.ld + i] = (float)value[k];
    }
    RD_TRY(rd_gemm('N', 'T', 1, &D, &V, 0, &p->b));
done:
    rd_mat_free(&V);
    rd_mat_free(&D);
    rd_free(value);
    return rc;
}

/* W -= s A B with the A and B that lie where those of the adapter do, but in start's storage. */
static void take_out(rd_model *model, rd_adapted *p)
{
    rd_mat a = p->a, b = p->b;
    a.a = model->adapter_start.weights + (p->a.a - model->adapter.weights);
    b.a = model->adapter_start.weights + (p->b.a - model->adapter.weights);
    add_product(-model->parts->scale, &a, &b, &p->w);
}

int rd_model_adapter_resume(rd_model *model)
{
    RD_ASSERT(model->parts != NULL && !model->parts->ready);
    for (int64_t i = 0; i < model->cfg.layers * RD_TARGETS && rd_adapter_takes(model); i++) {
        rd_adapted *p = rd_adapted_at(model, i / RD_TARGETS, i % RD_TARGETS);
        if (p != NULL) take_out(model, p);
    }
    model->parts->ready = true;
    return RD_OK;
}

int rd_model_adapter_init(rd_model *model, uint64_t seed)
{
    int rc = RD_OK;
    RD_ASSERT(model->parts != NULL && !model->parts->ready);
    rd_adapter_kind kind = model->parts->o.kind;
    for (int64_t i = 0; i < model->cfg.layers * RD_TARGETS; i++) {
        rd_adapted *p = rd_adapted_at(model, i / RD_TARGETS, i % RD_TARGETS);
        if (p == NULL) continue;
        if (kind == RD_PISSA) RD_TRY(init_pissa(model, p));
        if (kind == RD_OLORA) RD_TRY(rd_lq_leading(&p->w, p->a.n, &p->a, &p->b));
        if (kind == RD_LORA || kind == RD_DORA) init_lora(model, seed, p);
    }
    if (rd_adapter_takes(model))
        memcpy(model->adapter_start.weights, model->adapter.weights,
               (size_t)model->adapter.storage * sizeof(float));
    RD_TRY(rd_model_adapter_resume(model));
done:
    return rc;
}

bool rd_model_adapter_ready(const rd_model *model)
{
    return model->parts != NULL && model->parts->ready;
}

/* ---------------------------------------------------------------- merging */

/* DoRA: every column of W to the length of its magnitude.  Column norms, and the magnitudes, which
 * lie on the first grid column, are needed where W's columns are: one sum brings both everywhere.
 */
static void scale_columns(const rd_model *model, const rd_adapted *p, rd_mat *W)
{
    double *norm2 = rd_new(double, 2 * W->n), *m = norm2 + W->n;
    for (int64_t j = 0; j < W->ln; j++)
        norm2[rd_mat_global_col(W, j)] = rd_dot(W->lm, W->a + j * W->ld, W->a + j * W->ld);
    for (int64_t i = 0; i < p->m.lm && p->m.ln > 0; i++) m[rd_mat_global_row(&p->m, i)] = p->m.a[i];
    rd_sum_f64(&model->grid->tp, norm2, 2 * W->n);
    for (int64_t j = 0; j < W->ln; j++) {
        int64_t k = rd_mat_global_col(W, j);
        float gain = norm2[k] > 0 ? (float)(m[k] / sqrt(norm2[k])) : 0;
        for (int64_t i = 0; i < W->lm; i++) W->a[j * W->ld + i] *= gain;
    }
    rd_free(norm2);
}

/* W: the base's weight, or a copy that lies as it does. */
static void merge_target(const rd_model *model, const rd_adapted *p, rd_mat *W)
{
    add_product(model->parts->scale, &p->a, &p->b, W);
    if (rd_adapter_scales(model)) scale_columns(model, p, W);
}

/* The adapter of a parameter of the base; NULL: it has none. */
static const rd_adapted *adapter_of(const rd_model *model, const char *name)
{
    for (int64_t i = 0; i < model->cfg.layers * RD_TARGETS; i++) {
        const rd_adapted *p = rd_adapted_at(model, i / RD_TARGETS, i % RD_TARGETS);
        if (p != NULL && strcmp(p->base, name) == 0) return p;
    }
    return NULL;
}

int rd_model_write_merged(const rd_model *model, rd_store *s, const char *prefix)
{
    int rc = RD_OK;
    float *copy = NULL;
    for (int64_t i = 0; i < model->base.n; i++) {
        rd_param item = model->base.item[i];
        const rd_adapted *p = adapter_of(model, item.name);
        const rd_params one = {.n = 1, .item = &item};
        if (p != NULL) {
            int64_t n = item.w.lm * item.w.ln;
            copy = rd_new(float, n);
            memcpy(copy, item.w.a, (size_t)n * sizeof(float));
            item.w.a = copy;
            merge_target(model, p, &item.w);
        }
        RD_TRY(rd_params_write(model->grid, &one, s, prefix));
        RD_FREE(copy);
    }
done:
    rd_free(copy);
    return rc;
}

/* This rank's share of the logits of a batch, without dropout; size: how many floats are tokens'.
 */
static int probe_logits(rd_model *model, const rd_batch *b, float **z, int64_t *size)
{
    int rc = RD_OK;
    rd_work *w = NULL;
    int64_t longest = 1;
    for (int64_t s = 0; s < b->n_seq; s++)
        if (b->start[s + 1] - b->start[s] > longest) longest = b->start[s + 1] - b->start[s];
    RD_TRY(rd_work_create(model, b->T > 0 ? b->T : 1, longest, &w));
    rd_model_dropout(model, 0);
    rd_batch all = *b;
    all.target = NULL;
    RD_TRY(rd_model_fwd(model, w, &all));
    *z = rd_new(float, rd_model_logits_size(model, w));
    *size = model->layers->split.local[RD_VOCAB] * w->deal.n;
    RD_TRY(rd_model_logits(model, w, b, *z));
done:
    rd_work_free(&w);
    return rc;
}

int rd_model_merge(rd_model *model, const rd_batch *probe, double *largest)
{
    int rc = RD_OK;
    float *before = NULL, *after = NULL;
    int64_t n = 0;
    RD_ASSERT(rd_model_adapter_ready(model));
    if (probe != NULL) RD_TRY(probe_logits(model, probe, &before, &n));
    for (int64_t i = 0; i < model->cfg.layers * RD_TARGETS; i++) {
        rd_adapted *p = rd_adapted_at(model, i / RD_TARGETS, i % RD_TARGETS);
        if (p != NULL) merge_target(model, p, &p->w);
    }
    rd_model_adapter_free(model);
    if (probe == NULL) return RD_OK;
    RD_TRY(probe_logits(model, probe, &after, &n));
    *largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)after[i] - (double)before[i]);
        if (!(d <= *largest)) *largest = d;
    }
    rd_max_f64(&model->grid->tp, largest, 1);
done:
    rd_free(before);
    rd_free(after);
    return rc;
}
