/* grid_model.h: a model on a grid against the same model on one rank. */
#ifndef GRID_MODEL_H
#define GRID_MODEL_H

#include "rd/nn.h"
#include <math.h>
#include <string.h>

/* A batch of sequences of all lengths, and of no length, for models with a vocabulary of UNEVEN_V.
 */
enum { UNEVEN_V = 301, UNEVEN_T = 700, UNEVEN_SEQUENCES = 9, UNEVEN_LEN = 330 };
typedef struct uneven_batch {
    rd_batch b;
    int64_t start[UNEVEN_SEQUENCES + 1];
    int32_t tokens[UNEVEN_T], target[UNEVEN_T];
    float coef[UNEVEN_T];
} uneven_batch;

static inline void uneven_batch_make(uneven_batch *u)
{
    static const int64_t length[UNEVEN_SEQUENCES] = {40, 1, 0, 330, 7, 120, 120, 50, 32};
    rd_rng r = rd_rng_make(3, "batch", 0, 0);
    for (int s = 0; s < UNEVEN_SEQUENCES; s++) u->start[s + 1] = u->start[s] + length[s];
    for (int i = 0; i < UNEVEN_T; i++) {
        u->tokens[i] = (int32_t)rd_rng_below(&r, UNEVEN_V);
        u->target[i] = i % 5 == 2 ? -1 : (int32_t)rd_rng_below(&r, UNEVEN_V);
        u->coef[i] = (float)(0.01 * rd_rng_normal(&r));
    }
    u->b = (rd_batch){UNEVEN_T, UNEVEN_SEQUENCES, u->start, u->tokens, u->target};
}

/* Its first four sequences. */
static inline rd_batch uneven_batch_half(const uneven_batch *u)
{
    return (rd_batch){u->start[4], 4, u->b.start, u->b.tokens, u->b.target};
}

/* Models with that vocabulary whose sizes nothing divides; rich as in tiny_config_rich. */
static inline rd_model_config uneven_config(int64_t width, int64_t heads, int64_t kv_heads,
                                            int64_t ffn, bool tied, bool rich)
{
    rd_model_config c = {.vocab = UNEVEN_V,
                         .width = width,
                         .layers = 2,
                         .heads = heads,
                         .kv_heads = kv_heads,
                         .head_size = 10,
                         .ffn = ffn,
                         .rope_theta = 1000,
                         .qkv_bias = rich,
                         .norm_eps = 1e-5,
                         .tied = tied};
    if (rich) c.rope = (rd_rope_scaling){4, 1, 4, 100};
    return c;
}

/* Forward pass, head and, with coefficients, backward pass. */
static inline int rd_test_pass(rd_model *m, rd_work *w, const rd_batch *b, const float *coef,
                               double *logp)
{
    int rc = rd_model_fwd(m, w, b);
    if (rc == RD_OK) rc = rd_model_head(m, w, b, coef, logp);
    if (rc == RD_OK && coef != NULL) rc = rd_model_bwd(m, w, b);
    return rc;
}

/* The numbers of p that the ranks of the replica hold together.  Collective on it. */
static inline int64_t rd_test_held(const rd_grid *g, const rd_params *p)
{
    int64_t held = 0;
    for (int64_t i = 0; i < p->n; i++) held += p->item[i].w.lm * p->item[i].w.ln;
    rd_sum_i64(&g->tp, &held, 1);
    return held;
}

/* The largest difference of n numbers, relative to the largest that is wanted. */
static inline double rd_test_relative(int64_t n, const double *got, const double *want)
{
    double off = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs(got[i] - want[i]);
        if (!(d <= off)) off = d;
        size = fmax(size, fabs(want[i]));
    }
    return off / size;
}

/* The largest difference of A from a matrix of one rank; *size: the largest value of the latter. */
static inline double rd_test_apart(const rd_mat *A, const rd_mat *want, double *size)
{
    double worst = 0;
    *size = 0;
    for (int64_t i = 0; i < want->m * want->n; i++) *size = fmax(*size, fabs((double)want->a[i]));
    for (int64_t j = 0; j < A->ln; j++)
        for (int64_t i = 0; i < A->lm; i++) {
            int64_t at = rd_mat_global_col(A, j) * want->m + rd_mat_global_row(A, i);
            double d = fabs((double)A->a[j * A->ld + i] - want->a[at]);
            if (!(d <= worst)) worst = d;
        }
    return worst;
}

/* The largest difference of parameters (or gradients) on a grid from those of one rank, relative to
 * the largest value of each; *where: whose.  Of this rank's share. */
static inline double rd_test_params_apart(const rd_params *a, const rd_params *want, bool grads,
                                          const char **where)
{
    double worst = 0;
    *where = "";
    for (int64_t i = 0; i < want->n; i++) {
        const rd_param *p = &a->item[i], *q = &want->item[i];
        double size, d = rd_test_apart(grads ? &p->g : &p->w, grads ? &q->g : &q->w, &size);
        d = size > 0 ? d / size : d;
        if (!(d <= worst)) worst = d, *where = p->name;
    }
    return worst;
}

/* Are n bytes at x the same on all ranks of the replica?  Collective on it. */
static inline bool rd_test_same_bytes(const rd_grid *g, const void *x, size_t n)
{
    char *first = rd_new(char, n);
    memcpy(first, x, n);
    rd_bcast(&g->tp, first, (int64_t)n, 0);
    bool same = memcmp(first, x, n) == 0;
    rd_free(first);
    return same;
}

/* Larger weights than the start's, so that nothing is nearly linear; norms unlike each other. */
static inline void rd_test_enlarge(rd_model *m)
{
    for (int64_t k = 0; k < m->base.n; k++) {
        rd_mat *w = &m->base.item[k].w;
        for (int64_t j = 0; j < w->ln; j++)
            for (int64_t i = 0; i < w->lm; i++) {
                float *x = w->a + j * w->ld + i;
                int64_t row = rd_mat_global_row(w, i);
                *x = m->base.item[k].decay ? 8 * *x : 1 + 0.3f * (float)((row * 7 + k) % 5 - 2);
            }
    }
}

#endif
