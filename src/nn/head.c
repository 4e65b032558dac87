/* head.c: from the final norm to log-probabilities and back, in chunks of tokens.
 *
 * The trunk's output has only the tokens with a target, and the logits of one chunk of these are
 * all that ever exists of the T x V matrix.
 *
 * On a larger grid than 1 x 1 the head's matrix, by far the largest, never moves.  It lies as D x V
 * with V over grid columns, so here a grid column computes its part of the vocabulary for the
 * tokens of all of them, and gets their hidden states for that; each grid row sums over its part of
 * D, and the sums go to one grid row for every token.  Softmax is then over grid columns: the
 * largest logit, the sum of exponentials and the target's logit are reduced.  Words a rank sends
 * for T tokens on R x C: T V (R - 1) / (R C) each way over grid rows, 2 T D (C - 1) / (R C) over
 * grid columns. */
#include "ops.h"

#include <math.h>
#include <string.h>

/* rd_softmax_columns for n columns of which this grid column holds a part, z: lV x n.  Columns
 * without a token
 * (-1) are padding and become zero.  stat: [3 n]. */
static void shared_logp(const rd_mat *head, int64_t n, float *z, const rd_batch *b,
                        const int64_t *token, const float *coef, double *stat, double *logp)
{
    const rd_grid *g = head->grid;
    int64_t V = head->ln;
    double *top = stat, *sums = stat + n; /* sums: target's logit and exponentials, by turns */
    for (int64_t i = 0; i < n; i++) top[i] = V > 0 ? (double)rd_max_f32(V, z + i * V) : -INFINITY;
    rd_max_f64(&g->over_cols, top, n);
    for (int64_t i = 0; i < n; i++) {
        int32_t target = token[i] < 0 ? 0 : b->target[token[i]];
        bool mine = rd_dealt_owner(target, head->nb, g->cols) == g->my_col;
        float *column = z + i * V;
        sums[2 * i] = mine ? column[rd_dealt_place(target, head->nb, g->cols)] : 0;
        sums[2 * i + 1] = rd_exp_sum(V, column, 1, (float)top[i], column);
    }
    rd_sum_f64(&g->over_cols, sums, 2 * n);
    for (int64_t i = 0; i < n; i++) {
        float *column = z + i * V;
        if (token[i] < 0) {
            memset(column, 0, (size_t)V * sizeof(float));
            continue;
        }
        int32_t target = b->target[token[i]];
        logp[token[i]] = sums[2 * i] - top[i] - log(sums[2 * i + 1]);
        if (coef == NULL) continue;
        float scale = (float)(-(double)coef[token[i]] / sums[2 * i + 1]);
        for (int64_t v = 0; v < V; v++) column[v] *= scale;
        if (rd_dealt_owner(target, head->nb, g->cols) == g->my_col)
            column[rd_dealt_place(target, head->nb, g->cols)] += coef[token[i]];
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

/* One chunk on 1 x 1: multiply, log-softmax, and with coef the gradients of both factors. */
static int head_chunk(rd_model *model, rd_work *w, const rd_batch *b, int64_t from, int64_t width,
                      const float *coef, double *logp)
{
    int rc = RD_OK;
    int64_t D = model->cfg.width;
    const int64_t *at = w->with_target + from;
    rd_mat h, z, dh;
    RD_TRY(rd_view(model, RD_WIDTH, w->h + from * D, width, &h));
    RD_TRY(rd_view(model, RD_VOCAB, w->logits, width, &z));
    RD_TRY(rd_view(model, RD_WIDTH, w->dh + from * D, width, &dh));
    RD_TRY(rd_linear_fwd(&model->layers->head, &h, &z));
    for (int64_t i = 0; i < width; i++) {
        int64_t t = w->deal.order[at[i]];
        w->chunk_target[i] = b->target[t];
        if (coef != NULL) w->chunk_coef[i] = coef[t];
    }
    rd_softmax_columns(z.m, width, w->chunk_target, coef == NULL ? NULL : w->chunk_coef, z.a,
                       w->stat);
    for (int64_t i = 0; i < width; i++) logp[w->deal.order[at[i]]] = w->stat[i];
    if (coef == NULL) return RD_OK;
    RD_TRY(rd_linear_bwd_input(&model->layers->head, &z, &dh));
    if (model->base.grads != NULL) RD_TRY(rd_linear_bwd_weight(&h, &z, &model->layers->dhead));
done:
    return rc;
}

/* Token `from + i` of grid column c: its place in the deal's order, -1 when there are fewer. */
static int64_t listed(const rd_work *w, int c, int64_t i)
{
    int64_t at = w->target_first[c] + i;
    return at < w->target_first[c + 1] ? w->with_target[at] : -1;
}

/* Hidden states of `width` tokens of each grid column, on all of them; and which tokens these are.
 */
static void gather_hidden(const rd_model *model, rd_work *w, int64_t from, int64_t width)
{
    const rd_deal *d = &w->deal;
    int64_t D = model->layers->split.local[RD_WIDTH];
    float *slot = w->gathered + d->my_col * width * D;
    for (int c = 0; c < d->cols; c++) {
        w->count_in[c] = width * D;
        for (int64_t i = 0; i < width; i++) {
            int64_t k = listed(w, c, from + i);
            w->token[c * width + i] = k < 0 ? -1 : d->order[k];
            if (c != d->my_col) continue;
            if (k < 0)
                memset(slot + i * D, 0, (size_t)D * sizeof(float));
            else
                memcpy(slot + i * D, w->h + (from + i) * D, (size_t)D * sizeof(float));
        }
    }
    rd_gather_f32(&model->grid->over_cols, w->gathered, w->count_in);
}

/* Pieces of n floats, one from each rank of c, added up in the first. */
static void add_pieces(const rd_comm *c, int64_t n, float *x)
{
    for (int r = 1; r < c->size; r++) rd_add(n, x + r * n, x);
}

/* From logits summed over part of D to their gradient, n columns of lV, all of them on each row. */
static void share_softmax(const rd_model *model, rd_work *w, const rd_batch *b, int64_t n,
                          const float *coef, double *logp)
{
    const rd_grid *g = model->grid;
    const rd_mat *head = &model->layers->head;
    int64_t V = head->ln, first = n * g->my_row / g->rows;
    int64_t mine = n * (g->my_row + 1) / g->rows - first;
    float *z = w->logits;
    if (g->rows > 1) {
        for (int r = 0; r < g->rows; r++) {
            w->count_out[r] = V * (n * (r + 1) / g->rows - n * r / g->rows);
            w->count_in[r] = V * mine;
        }
        z = w->partial;
        rd_exchange_f32(&g->over_rows, w->logits, w->count_out, z, w->count_in);
        add_pieces(&g->over_rows, V * mine, z);
    }
    shared_logp(head, mine, z, b, w->token + first, coef, w->stat, logp);
    if (g->rows == 1 || coef == NULL) return;
    memcpy(w->logits + first * V, z, (size_t)(V * mine) * sizeof(float));
    rd_gather_f32(&g->over_rows, w->logits, w->count_out);
}

/* The gradient of the chunk's hidden states back to the grid columns of their tokens. */
static void return_hidden(const rd_model *model, rd_work *w, int64_t from, int64_t width)
{
    const rd_grid *g = model->grid;
    int64_t D = model->layers->split.local[RD_WIDTH];
    const float *dh = w->dgathered;
    if (g->cols > 1) {
        for (int c = 0; c < g->cols; c++) w->count_in[c] = w->count_out[c] = width * D;
        rd_exchange_f32(&g->over_cols, w->dgathered, w->count_out, w->dreturned, w->count_in);
        add_pieces(&g->over_cols, width * D, w->dreturned);
        dh = w->dreturned;
    }
    const int64_t mine = w->asked.n - from < width ? w->asked.n - from : width;
    if (mine > 0) memcpy(w->dh + from * D, dh, (size_t)(mine * D) * sizeof(float));
}

/* The same on a larger grid, `width` tokens of each grid column. */
static void shared_chunk(rd_model *model, rd_work *w, const rd_batch *b, int64_t from,
                         int64_t width, const float *coef, double *logp)
{
    const rd_mat *head = &model->layers->head, *dhead = &model->layers->dhead;
    int64_t D = head->lm, V = head->ln, n = width * model->grid->cols;
    gather_hidden(model, w, from, width);
    rd_gemm_local_mixed(model->grid, 'T', 'N', V, n, D, 1, head->a, head->ld, w->gathered, D, 0,
                        w->logits, V);
    share_softmax(model, w, b, n, coef, logp);
    if (coef == NULL) return;
    rd_gemm_local_mixed(model->grid, 'N', 'N', D, n, V, 1, head->a, head->ld, w->logits, V, 0,
                        w->dgathered, D);
    if (model->base.grads != NULL)
        rd_gemm_local_mixed(model->grid, 'N', 'T', D, V, n, 1, w->gathered, D, w->logits, V, 1,
                            dhead->a, dhead->ld);
    return_hidden(model, w, from, width);
}

int rd_model_head(rd_model *model, rd_work *w, const rd_batch *b, const float *coef, double *logp)
{
    int rc = RD_OK;
    int64_t D = model->layers->split.local[RD_WIDTH];
    int64_t most = w->target_first[w->deal.cols] > 0 ? w->asked.width : 0;
    if (w->deal.T != b->T || b->target == NULL)
        RD_FAIL(RD_EINTERNAL, "the head of a batch without its forward pass");
    if (coef != NULL && model->trained == NULL)
        RD_FAIL(RD_EINTERNAL, "the model was created without gradients");
    RD_TRY(check_targets(b, model->cfg.vocab));
    memset(logp, 0, (size_t)b->T * sizeof(double));
    if (coef != NULL) memset(w->dh, 0, (size_t)(w->asked.width * D) * sizeof(float));
    for (int64_t i = 0; i < most; i += w->chunk) {
        int64_t width = most - i < w->chunk ? most - i : w->chunk;
        if (model->grid->tp.size == 1)
            RD_TRY(head_chunk(model, w, b, i, width, coef, logp));
        else
            shared_chunk(model, w, b, i, width, coef, logp);
    }
    rd_sum_f64(&model->grid->over_rows, logp, b->T); /* 0 on all grid rows but one */
done:
    return rc;
}

int64_t rd_model_logits_size(const rd_model *model, const rd_work *w)
{
    return model->layers->split.local[RD_VOCAB] * w->asked.width;
}

int rd_model_logits(rd_model *model, rd_work *w, const rd_batch *b, float *logits)
{
    int rc = RD_OK;
    rd_mat h, z;
    if (w->deal.T != b->T) RD_FAIL(RD_EINTERNAL, "the logits of a batch without its forward pass");
    rd_pad(w->asked, model->layers->split.local[RD_WIDTH], w->h);
    RD_TRY(rd_view(model, RD_WIDTH, w->h, w->asked.width, &h));
    RD_TRY(rd_view(model, RD_VOCAB, logits, w->asked.width, &z));
    RD_TRY(rd_linear_fwd(&model->layers->head, &h, &z));
done:
    return rc;
}
