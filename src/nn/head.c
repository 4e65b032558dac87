/* head.c: from the final norm to log-probabilities and back, in chunks of tokens.
 *
 * Only tokens with a target are gathered and multiplied, and the logits of one chunk are all that
 * ever exists of the T x V matrix.  The vocabulary is dealt over grid rows: a grid row holds its
 * part of a column of logits, and the largest logit, the sum of exponentials and the target's logit
 * are reduced over the rows. */
#include "ops.h"

#include <math.h>
#include <string.h>

/* Log-probability of the target from one column of logits; with a coefficient the column becomes
 * dL/dz = coef (onehot(target) - p). */
static double column_logp(int64_t V, int32_t target, const float *coef, float *z)
{
    double zy = z[target];
    float top = rd_max_f32(V, z);
    /* Probabilities replace the logits only where a gradient is wanted; the sum is needed anyway.
     */
    double sum = rd_exp_sum(V, z, 1, top, z);
    if (coef != NULL) {
        float scale = (float)(-(double)*coef / sum);
        for (int64_t v = 0; v < V; v++) z[v] *= scale;
        z[target] += *coef;
    }
    return zy - (double)top - log(sum);
}

/* The same for n columns of which this grid row holds a part.  stat: [3 n]. */
static void shared_logp(const rd_mat *z, int64_t n, const rd_batch *b, const int64_t *token,
                        const float *coef, double *stat, double *logp)
{
    const rd_grid *g = z->grid;
    double *top = stat, *sums = stat + n; /* sums: target's logit and exponentials, by turns */
    for (int64_t i = 0; i < n; i++)
        top[i] = z->lm > 0 ? (double)rd_max_f32(z->lm, z->a + i * z->ld) : -INFINITY;
    rd_max_f64(&g->over_rows, top, n);
    for (int64_t i = 0; i < n; i++) {
        int32_t target = b->target[token[i]];
        bool mine = rd_dealt_owner(target, z->mb, g->rows) == g->my_row;
        float *column = z->a + i * z->ld;
        sums[2 * i] = mine ? column[rd_dealt_place(target, z->mb, g->rows)] : 0;
        sums[2 * i + 1] = rd_exp_sum(z->lm, column, 1, (float)top[i], column);
    }
    rd_sum_f64(&g->over_rows, sums, 2 * n);
    for (int64_t i = 0; i < n; i++) {
        int64_t t = token[i];
        int32_t target = b->target[t];
        float *column = z->a + i * z->ld;
        logp[t] = sums[2 * i] - top[i] - log(sums[2 * i + 1]);
        if (coef == NULL) continue;
        float scale = (float)(-(double)coef[t] / sums[2 * i + 1]);
        for (int64_t v = 0; v < z->lm; v++) column[v] *= scale;
        if (rd_dealt_owner(target, z->mb, g->rows) == g->my_row)
            column[rd_dealt_place(target, z->mb, g->rows)] += coef[t];
    }
}

static int check_targets(const rd_batch *b, int64_t V)
{
    int rc = RD_OK;
    for (int64_t t = 0; t < b->T; t++)
        if (b->target[t] >= V)
            RD_FAIL(RD_EINTERNAL, "target %d at token %lld, vocabulary %lld", b->target[t],
                    (long long)t, (long long)V);
done:
    return rc;
}

/* Lists this grid column's tokens with a target; *n of them, *most on the grid column that has the
 * most. */
static void list_targets(const rd_deal *d, const rd_batch *b, int64_t *list, int64_t *n,
                         int64_t *most)
{
    *n = *most = 0;
    for (int c = 0; c < d->cols; c++) {
        int64_t count = 0;
        for (int64_t k = d->first[c]; k < d->first[c + 1]; k++) {
            if (b->target[d->order[k]] < 0) continue;
            if (c == d->my_col) list[count] = k - d->first[c];
            count++;
        }
        if (c == d->my_col) *n = count;
        if (count > *most) *most = count;
    }
}

/* One chunk: gather, multiply, log-softmax, and with coef the gradients of both factors.  n tokens
 * of this grid column, at most width on any. */
static int head_chunk(rd_model *model, rd_work *w, const rd_batch *b, int64_t n, int64_t width,
                      const int64_t *local, const float *coef, double *logp)
{
    int rc = RD_OK;
    int64_t D = model->layers->split.local[RD_WIDTH];
    const int64_t *order = w->deal.order + w->deal.first[w->deal.my_col];
    size_t column = (size_t)D * sizeof(float);
    rd_mat h, z, dh;
    RD_TRY(rd_view(model, RD_WIDTH, w->gathered, width, &h));
    RD_TRY(rd_view(model, RD_VOCAB, w->logits, width, &z));
    RD_TRY(rd_view(model, RD_WIDTH, w->dgathered, width, &dh));
    for (int64_t i = 0; i < n; i++) memcpy(w->gathered + i * D, w->h + local[i] * D, column);
    if (n < width) memset(w->gathered + n * D, 0, (size_t)(width - n) * column);
    RD_TRY(rd_linear_fwd(&model->layers->head, &h, &z)); /* zero where h is: no gradient there */
    for (int64_t i = 0; i < n; i++) w->token[i] = order[local[i]];
    if (model->grid->rows > 1) shared_logp(&z, n, b, w->token, coef, w->stat, logp);
    for (int64_t i = 0; i < n && model->grid->rows == 1; i++) {
        int64_t t = w->token[i];
        logp[t] = column_logp(z.m, b->target[t], coef == NULL ? NULL : coef + t, z.a + i * z.ld);
    }
    if (coef == NULL) return RD_OK;
    RD_TRY(rd_linear_bwd_input(&model->layers->head, &z, &dh));
    if (model->base.grads != NULL) RD_TRY(rd_linear_bwd_weight(&h, &z, &model->layers->dhead));
    for (int64_t i = 0; i < n; i++) memcpy(w->dh + local[i] * D, w->dgathered + i * D, column);
done:
    return rc;
}

int rd_model_head(rd_model *model, rd_work *w, const rd_batch *b, const float *coef, double *logp)
{
    int rc = RD_OK;
    int64_t n, most, D = model->layers->split.local[RD_WIDTH];
    if (w->deal.T != b->T) RD_FAIL(RD_EINTERNAL, "the head of a batch without its forward pass");
    if (coef != NULL && model->trained == NULL)
        RD_FAIL(RD_EINTERNAL, "the model was created without gradients");
    RD_TRY(check_targets(b, model->cfg.vocab));
    memset(logp, 0, (size_t)b->T * sizeof(double));
    if (coef != NULL) memset(w->dh, 0, (size_t)(w->deal.width * D) * sizeof(float));
    list_targets(&w->deal, b, w->with_target, &n, &most);
    for (int64_t i = 0; i < most; i += w->chunk) {
        int64_t width = most - i < w->chunk ? most - i : w->chunk;
        int64_t here = n - i < width ? n - i : width;
        RD_TRY(head_chunk(model, w, b, here > 0 ? here : 0, width, w->with_target + i, coef, logp));
    }
    /* Every token's is 0 but on its own grid column. */
    if (w->deal.cols > 1) rd_sum_f64(&model->grid->over_cols, logp, b->T);
done:
    return rc;
}

int64_t rd_model_logits_size(const rd_model *model, const rd_work *w)
{
    return model->layers->split.local[RD_VOCAB] * w->deal.width;
}

int rd_model_logits(rd_model *model, rd_work *w, const rd_batch *b, float *logits)
{
    int rc = RD_OK;
    rd_mat h, z;
    if (w->deal.T != b->T) RD_FAIL(RD_EINTERNAL, "the logits of a batch without its forward pass");
    rd_deal_pad(&w->deal, model->layers->split.local[RD_WIDTH], w->h);
    RD_TRY(rd_view(model, RD_WIDTH, w->h, w->deal.width, &h));
    RD_TRY(rd_view(model, RD_VOCAB, logits, w->deal.width, &z));
    RD_TRY(rd_linear_fwd(&model->layers->head, &h, &z));
done:
    return rc;
}
