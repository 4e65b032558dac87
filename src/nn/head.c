/* head.c: from the final norm to log-probabilities and back, in chunks of tokens.
 *
 * Only tokens with a target are gathered and multiplied, and the logits of one chunk are all that
 * ever exists of the T x V matrix. */
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

static int64_t list_targets(const rd_batch *b, int64_t V, int64_t *list, int *rc)
{
    int64_t n = 0;
    for (int64_t t = 0; t < b->T; t++) {
        if (b->target[t] < 0) continue;
        if (b->target[t] >= V && *rc == RD_OK)
            *rc = rd_error_set(RD_EINTERNAL, __FILE__, __LINE__, __func__,
                               "target %d at token %lld, vocabulary %lld", b->target[t],
                               (long long)t, (long long)V);
        list[n++] = t;
    }
    return n;
}

/* One chunk: gather, multiply, log-softmax, and with coef the gradients of both factors. */
static int head_chunk(rd_model *model, rd_work *w, const rd_batch *b, int64_t n,
                      const int64_t *token, const float *coef, double *logp)
{
    int rc = RD_OK;
    int64_t D = model->cfg.width, V = model->cfg.vocab;
    rd_mat h, z, dh;
    RD_TRY(rd_mat_view_of(model->grid, w->gathered, D, n, D, &h));
    RD_TRY(rd_mat_view_of(model->grid, w->logits, V, n, V, &z));
    RD_TRY(rd_mat_view_of(model->grid, w->dgathered, D, n, D, &dh));
    for (int64_t i = 0; i < n; i++)
        memcpy(w->gathered + i * D, w->h + token[i] * D, (size_t)D * sizeof(float));
    RD_TRY(rd_linear_fwd(&model->layers->head, &h, &z));
    for (int64_t i = 0; i < n; i++) {
        int64_t t = token[i];
        logp[t] = column_logp(V, b->target[t], coef == NULL ? NULL : coef + t, w->logits + i * V);
    }
    if (coef == NULL) return RD_OK;
    RD_TRY(rd_linear_bwd_input(&model->layers->head, &z, &dh));
    RD_TRY(rd_linear_bwd_weight(&h, &z, &model->layers->dhead));
    for (int64_t i = 0; i < n; i++)
        memcpy(w->dh + token[i] * D, w->dgathered + i * D, (size_t)D * sizeof(float));
done:
    return rc;
}

int rd_model_head(rd_model *model, rd_work *w, const rd_batch *b, const float *coef, double *logp)
{
    int rc = RD_OK;
    if (b->T > w->max_T)
        RD_FAIL(RD_EINTERNAL, "a batch of %lld tokens, space for %lld", (long long)b->T,
                (long long)w->max_T);
    if (coef != NULL && model->grads == NULL)
        RD_FAIL(RD_EINTERNAL, "the model was created without gradients");
    memset(logp, 0, (size_t)b->T * sizeof(double));
    if (coef != NULL) memset(w->dh, 0, (size_t)(b->T * model->cfg.width) * sizeof(float));
    int64_t n = list_targets(b, model->cfg.vocab, w->with_target, &rc);
    if (rc != RD_OK) goto done;
    for (int64_t i = 0; i < n; i += w->chunk) {
        int64_t count = n - i < w->chunk ? n - i : w->chunk;
        RD_TRY(head_chunk(model, w, b, count, w->with_target + i, coef, logp));
    }
done:
    return rc;
}

int rd_model_logits(rd_model *model, rd_work *w, const rd_batch *b, float *logits)
{
    int rc = RD_OK;
    int64_t D = model->cfg.width, V = model->cfg.vocab;
    rd_mat h, z;
    RD_TRY(rd_mat_view_of(model->grid, w->h, D, b->T, D, &h));
    RD_TRY(rd_mat_view_of(model->grid, logits, V, b->T, V, &z));
    RD_TRY(rd_linear_fwd(&model->layers->head, &h, &z));
done:
    return rc;
}
