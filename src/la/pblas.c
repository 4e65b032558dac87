/* pblas.c: the BLACS context of a replica and products of distributed matrices, by PBLAS where
 * panels.c does not do them.
 *
 * The one place where descriptors, contexts and Fortran symbols exist.  On a 1 x 1 grid none of
 * them is touched: the product is a direct call of the local kernel. */
#include "panels.h"
#include "tiles.h"

#include <cblas.h>

/* BLACS, ScaLAPACK tools and PBLAS ship no C header. */
int Csys2blacs_handle(MPI_Comm comm);
void Cfree_blacs_system_handle(int handle);
void Cblacs_gridinit(int *context, const char *order, int rows, int cols);
void Cblacs_gridinfo(int context, int *rows, int *cols, int *my_row, int *my_col);
void Cblacs_gridexit(int context);
void psgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k,
             const float *alpha, const float *a, const int *ia, const int *ja, const int *desca,
             const float *b, const int *ib, const int *jb, const int *descb, const float *beta,
             float *c, const int *ic, const int *jc, const int *descc);

enum { DESC_LEN = 9, DENSE_MATRIX = 1 };

int rd_la_attach(rd_grid *g, int threads)
{
    int rc = RD_OK;
    rd_threads_set(threads);
    openblas_set_num_threads(threads > 0 ? threads : 1);
    if (g->rows * g->cols == 1) return RD_OK;

    /* BLACS makes its own communicator from ours, so the handle is needed only here. */
    int handle = Csys2blacs_handle(g->tp.mpi);
    int context = handle, rows = 0, cols = 0, my_row = -1, my_col = -1;
    Cblacs_gridinit(&context, "Row", g->rows, g->cols);
    Cblacs_gridinfo(context, &rows, &cols, &my_row, &my_col);
    Cfree_blacs_system_handle(handle);
    if (rows != g->rows || cols != g->cols || my_row != g->my_row || my_col != g->my_col)
        rc = rd_error_set(RD_EINTERNAL, __FILE__, __LINE__, __func__,
                          "BLACS placed this rank at (%d, %d) of %d x %d", my_row, my_col, rows,
                          cols);
    else
        g->blacs_context = context;
    if (rc == RD_OK) rd_panels_create(g);
    return rd_agree(&g->tp, rc);
}

void rd_la_detach(rd_grid *g)
{
    if (g == NULL || g->rows * g->cols == 1 || g->blacs_context < 0) return;
    rd_panels_free(g);
    Cblacs_gridexit(g->blacs_context);
    g->blacs_context = -1;
}

void rd_la_use_panels(rd_grid *g, bool on)
{
    if (!on) rd_panels_free(g);
    if (on && g->panels == NULL && g->rows * g->cols > 1) rd_panels_create(g);
}

const char *rd_la_describe(void)
{
    return openblas_get_config();
}

/* Fortran's name for the product of one process, for those under psgemm.  A symbol of the program
 * goes before that of a shared library, so PBLAS computes with our kernel as well, whichever
 * kernels the library picks for this processor; other callers of the Fortran symbol (LAPACK) too.
 */
void sgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k,
            const float *alpha, const float *A, const int *lda, const float *B, const int *ldb,
            const float *beta, float *C, const int *ldc);

void sgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k,
            const float *alpha, const float *A, const int *lda, const float *B, const int *ldb,
            const float *beta, float *C, const int *ldc)
{
    bool a_as_is = *ta == 'N' || *ta == 'n', b_as_is = *tb == 'N' || *tb == 'n'; /* 'C' is 'T' */
    if (*m <= 0 || *n <= 0) return;
    /* With alpha = 0 the factors are not looked at, be they NaN. */
    rd_gemm_local(a_as_is ? 'N' : 'T', b_as_is ? 'N' : 'T', *m, *n, *alpha == 0 ? 0 : *k, *alpha, A,
                  *lda, B, *ldb, *beta, C, *ldc);
}

static void describe(const rd_mat *A, int desc[DESC_LEN])
{
    desc[0] = DENSE_MATRIX;
    desc[1] = A->grid->blacs_context;
    desc[2] = rd_int(A->m);
    desc[3] = rd_int(A->n);
    desc[4] = rd_int(A->mb);
    desc[5] = rd_int(A->nb);
    desc[6] = 0;
    desc[7] = 0;
    desc[8] = rd_int(A->ld);
}

static int product(bool bf16, char ta, char tb, float alpha, const rd_mat *A, const rd_mat *B,
                   float beta, rd_mat *C)
{
    int rc = RD_OK;
    int64_t m = ta == 'N' ? A->m : A->n, k = ta == 'N' ? A->n : A->m;
    int64_t kb = tb == 'N' ? B->m : B->n, n = tb == 'N' ? B->n : B->m;
    const rd_grid *g = C->grid;
    if ((ta != 'N' && ta != 'T') || (tb != 'N' && tb != 'T'))
        RD_FAIL(RD_EINTERNAL, "product of type '%c','%c'", ta, tb);
    /* Global shapes are the same on every rank, so every rank fails here or none does. */
    if (k != kb || m != C->m || n != C->n)
        RD_FAIL(RD_EINTERNAL, "product %lld x %lld by %lld x %lld into %lld x %lld", (long long)m,
                (long long)k, (long long)kb, (long long)n, (long long)C->m, (long long)C->n);
    if (m == 0 || n == 0) return RD_OK;
    if (A->packed != NULL && ta == 'T' && tb == 'N') {
        rd_packed_product(A->packed, n, alpha, B->a, B->ld, beta, C->a, C->ld);
        return RD_OK;
    }
    if (g->rows * g->cols == 1 && (A->a == NULL || B->a == NULL))
        RD_FAIL(RD_EINTERNAL, "a packed matrix W takes part in W^T X alone");

    if (g->rows * g->cols == 1) {
        (bf16 ? rd_gemm_bf16 : rd_gemm_local)(ta, tb, m, n, k, alpha, A->a, A->ld, B->a, B->ld,
                                              beta, C->a, C->ld);
        return RD_OK;
    }
    if (g->blacs_context < 0) RD_FAIL(RD_EINTERNAL, "the grid has no BLACS context");
    if (rd_panels_fit(ta, tb, A, B, C)) {
        rd_panels_gemm(bf16, ta, tb, alpha, A, B, beta, C);
        return RD_OK;
    }
    int da[DESC_LEN], db[DESC_LEN], dc[DESC_LEN];
    const int one = 1, im = rd_int(m), in = rd_int(n), ik = rd_int(k);
    describe(A, da);
    describe(B, db);
    describe(C, dc);
    psgemm_(&ta, &tb, &im, &in, &ik, &alpha, A->a, &one, &one, da, B->a, &one, &one, db, &beta,
            C->a, &one, &one, dc);
done:
    return rc;
}

int rd_gemm(char ta, char tb, float alpha, const rd_mat *A, const rd_mat *B, float beta, rd_mat *C)
{
    return product(false, ta, tb, alpha, A, B, beta, C);
}

int rd_gemm_mixed(char ta, char tb, float alpha, const rd_mat *A, const rd_mat *B, float beta,
                  rd_mat *C)
{
    return product(C->grid->bf16, ta, tb, alpha, A, B, beta, C);
}

int rd_gemm_pair(const rd_mat *W, const rd_mat *dY, float beta, rd_mat *dX, const rd_mat *X,
                 rd_mat *dW)
{
    int rc = RD_OK;
    /* Shapes are looked at where each product is by itself. */
    bool fit = W->n == dY->m && W->m == dX->m && dY->n == dX->n && X->m == dW->m && X->n == dY->n &&
               dW->n == dY->m && dX->m > 0 && dX->n > 0;
    if (fit && rd_panels_fit_pair(W, dY, dX, X, dW)) {
        rd_panels_pair(W, dY, beta, dX, X, dW);
        return RD_OK;
    }
    RD_TRY(rd_gemm_mixed('N', 'N', 1, W, dY, beta, dX));
    RD_TRY(rd_gemm_mixed('N', 'T', 1, X, dY, 1, dW));
done:
    return rc;
}
