/* grid_model.h: a model on a grid against the same model on one rank. */
#ifndef GRID_MODEL_H
#define GRID_MODEL_H

#include "rd/nn.h"
#include <math.h>

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
