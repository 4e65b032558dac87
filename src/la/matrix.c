/* matrix.c: the block-cyclic matrix: shapes, ownership, views, norm.
 *
 * Everything here is index arithmetic on one process's share; products are in pblas.c (distributed)
 * and kernel.c (local). */
#include "rd/la.h"

enum { DEFAULT_BLOCK = 64 };

int64_t rd_dealt_count(int64_t n, int64_t nb, int p, int np)
{
    int64_t blocks = n / nb;
    int64_t count = blocks / np * nb;
    int64_t extra = blocks % np;
    if (p < extra) count += nb;
    if (p == extra) count += n % nb;
    return count;
}

int rd_dealt_owner(int64_t i, int64_t nb, int np)
{
    return (int)(i / nb % np);
}

int64_t rd_dealt_place(int64_t i, int64_t nb, int np)
{
    return i / nb / np * nb + i % nb;
}

static void set_shape(const rd_grid *g, int64_t m, int64_t n, int64_t mb, int64_t nb, rd_mat *A)
{
    RD_ASSERT(m >= 0 && n >= 0 && mb >= 0 && nb >= 0);
    A->grid = g;
    A->m = m;
    A->n = n;
    A->mb = mb > 0 ? mb : DEFAULT_BLOCK;
    A->nb = nb > 0 ? nb : DEFAULT_BLOCK;
    A->lm = rd_dealt_count(m, A->mb, g->my_row, g->rows);
    A->ln = rd_dealt_count(n, A->nb, g->my_col, g->cols);
    A->ld = A->lm > 0 ? A->lm : 1;
    A->a = NULL;
    A->owned = false;
    A->packed = NULL;
}

int rd_mat_create(const rd_grid *g, int64_t m, int64_t n, int64_t mb, int64_t nb, rd_mat *A)
{
    set_shape(g, m, n, mb, nb, A);
    A->a = rd_new(float, A->ld * A->ln);
    A->owned = true;
    return RD_OK;
}

void rd_mat_free(rd_mat *A)
{
    if (A == NULL) return;
    if (A->owned) rd_free(A->a);
    *A = (rd_mat){0};
}

int rd_mat_view_cols(const rd_mat *A, int64_t j, int64_t n, rd_mat *view)
{
    int rc = RD_OK;
    int64_t round = A->nb * A->grid->cols;
    bool single = A->grid->cols == 1;
    if (j < 0 || n < 0 || j + n > A->n)
        RD_FAIL(RD_EINTERNAL, "columns %lld+%lld of a matrix of %lld", (long long)j, (long long)n,
                (long long)A->n);
    /* A view that starts inside a round of blocks would have its first block on another process,
     * which no descriptor of ours says. */
    if (!single && (j % round != 0 || (n % round != 0 && j + n != A->n)))
        RD_FAIL(RD_EINTERNAL, "columns %lld+%lld are not multiples of %lld", (long long)j,
                (long long)n, (long long)round);
    *view = *A;
    view->n = n;
    view->ln = rd_dealt_count(n, A->nb, A->grid->my_col, A->grid->cols);
    view->a = A->a + j / A->grid->cols * A->ld;
    view->packed = NULL;
    view->owned = false;
done:
    return rc;
}

int rd_mat_view_of(const rd_grid *g, float *a, int64_t m, int64_t n, int64_t ld, rd_mat *view)
{
    return rd_mat_view_blocks(g, a, m, n, 0, 0, ld, view);
}

int rd_mat_view_blocks(const rd_grid *g, float *a, int64_t m, int64_t n, int64_t mb, int64_t nb,
                       int64_t ld, rd_mat *view)
{
    int rc = RD_OK;
    set_shape(g, m, n, mb, nb, view);
    if (ld < view->ld)
        RD_FAIL(RD_EINTERNAL, "leading dimension %lld of a matrix with %lld local rows",
                (long long)ld, (long long)view->lm);
    view->ld = ld;
    view->a = a;
done:
    return rc;
}

int64_t rd_mat_global_row(const rd_mat *A, int64_t li)
{
    return (li / A->mb * A->grid->rows + A->grid->my_row) * A->mb + li % A->mb;
}

int64_t rd_mat_global_col(const rd_mat *A, int64_t lj)
{
    return (lj / A->nb * A->grid->cols + A->grid->my_col) * A->nb + lj % A->nb;
}

int64_t rd_mat_local_row(const rd_mat *A, int64_t i)
{
    if (rd_dealt_owner(i, A->mb, A->grid->rows) != A->grid->my_row) return -1;
    return rd_dealt_place(i, A->mb, A->grid->rows);
}

int rd_mat_norm2(const rd_mat *A, double *norm2)
{
    enum { LANES = 8 };
    double lane[LANES] = {0};
    double sum = 0;
    for (int64_t j = 0; j < A->ln; j++) {
        const float *a = A->a + j * A->ld;
        int64_t i = 0;
        for (; i + LANES <= A->lm; i += LANES)
            for (int l = 0; l < LANES; l++) lane[l] += (double)a[i + l] * (double)a[i + l];
        for (; i < A->lm; i++) sum += (double)a[i] * (double)a[i];
    }
    for (int l = 0; l < LANES; l++) sum += lane[l];
    if (A->grid->tp.size > 1) rd_sum_f64(&A->grid->tp, &sum, 1);
    *norm2 = sum;
    return RD_OK;
}
