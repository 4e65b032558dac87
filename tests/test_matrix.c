/* ranks: 1 2 4 */
/* Block-cyclic matrices: every global element has exactly one owner, views, norm, local kernel. */
#include "rd_test.h"
#include "rd/la.h"

static double value(int64_t i, int64_t j)
{
    return (double)((i * 31 + j * 17) % 101) - 50;
}

static void fill(rd_mat *A)
{
    for (int64_t j = 0; j < A->ln; j++)
        for (int64_t i = 0; i < A->lm; i++)
            A->a[j * A->ld + i] = (float)value(rd_mat_global_row(A, i), rd_mat_global_col(A, j));
}

static void test_dealing(rd_grid *g, int64_t m, int64_t n, int64_t mb, int64_t nb)
{
    rd_mat A;
    is_rc(rd_mat_create(g, m, n, mb, nb, &A), RD_OK, "create");
    int64_t *owners = rd_new(int64_t, m * n), wrong = 0;
    for (int64_t j = 0; j < A.ln; j++)
        for (int64_t i = 0; i < A.lm; i++)
            owners[rd_mat_global_col(&A, j) * m + rd_mat_global_row(&A, i)]++;
    rd_sum_i64(&g->tp, owners, m * n);
    for (int64_t k = 0; k < m * n; k++) wrong += owners[k] != 1;
    is_i64(wrong, 0, "every element has one owner");
    int64_t here = 0;
    for (int64_t i = 0; i < m; i++) {
        int64_t li = rd_mat_local_row(&A, i);
        if (li >= 0) here += rd_mat_global_row(&A, li) == i;
    }
    is_i64(here, A.lm, "local rows are found by their global ones");
    fill(&A);
    double norm2, want = 0;
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++) want += value(i, j) * value(i, j);
    is_rc(rd_mat_norm2(&A, &norm2), RD_OK, "norm");
    near_f64(norm2, want, 1e-14, "norm over the whole grid");
    rd_free(owners);
    rd_mat_free(&A);
    ok(A.a == NULL, "freed");
}

static void test_views(rd_grid *g)
{
    rd_mat A, v;
    int64_t round = (int64_t)3 * g->cols, wrong = 0;
    rd_mat_create(g, 7, 5 * round + 1, 2, 3, &A);
    fill(&A);
    is_rc(rd_mat_view_cols(&A, round, 2 * round, &v), RD_OK, "view of columns");
    for (int64_t j = 0; j < v.ln; j++)
        for (int64_t i = 0; i < v.lm; i++)
            wrong += v.a[j * v.ld + i] !=
                     (float)value(rd_mat_global_row(&v, i), rd_mat_global_col(&v, j) + round);
    is_i64(wrong, 0, "it shows the right columns");
    is_rc(rd_mat_view_cols(&A, 4 * round, round + 1, &v), RD_OK, "view up to a ragged end");
    is_rc(rd_mat_view_cols(&A, 5 * round, 2, &v), RD_EINTERNAL, "a view beyond the end is refused");
    if (g->cols > 1)
        is_rc(rd_mat_view_cols(&A, 3, round, &v), RD_EINTERNAL, "a view inside a round is refused");
    rd_mat_view_cols(&A, 0, round, &v);
    rd_mat_free(&v);
    fill(&A);
    rd_mat_free(&A);
}

/* The local kernel against the reference, and independence of a column from its neighbours. */
static void test_kernel(void)
{
    static const int64_t shapes[][3] = {{1, 1, 1},    {61, 50, 37},  {96, 33, 96},   {16, 7, 100},
                                        {23, 1, 600}, {65, 530, 20}, {49, 12, 1030}, {5, 3, 0}};
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (int type = 0; type < 4; type++) {
            int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2], pad = 3;
            char ta = type & 1 ? 'T' : 'N', tb = type & 2 ? 'T' : 'N';
            int64_t lda = (ta == 'T' ? k : m) + pad, ldb = (tb == 'T' ? n : k) + pad, ldc = m + pad;
            int64_t na = lda * (ta == 'T' ? m : k), nb = ldb * (tb == 'T' ? k : n), nc = ldc * n;
            float *A = rd_new(float, na), *B = rd_new(float, nb), *C = rd_new(float, nc);
            float *R = rd_new(float, nc), *one = rd_new(float, m);
            rd_rng r = rd_rng_make(5, "kernel", s, (uint64_t)type);
            for (int64_t i = 0; i < na; i++) A[i] = (float)rd_rng_normal(&r);
            for (int64_t i = 0; i < nb; i++) B[i] = (float)rd_rng_normal(&r);
            for (int64_t i = 0; i < nc; i++) C[i] = R[i] = (float)rd_rng_normal(&r);
            rd_gemm_local(ta, tb, m, n, k, 0.5f, A, lda, B, ldb, -2, C, ldc);
            rd_gemm_reference(ta, tb, m, n, k, 0.5f, A, lda, B, ldb, -2, R, ldc);
            double error = 0;
            for (int64_t i = 0; i < nc; i++) error = fmax(error, fabs((double)C[i] - R[i]));
            ok(error < 3e-6 * sqrt((double)k + 1), "%c%c %d %d %d, nothing beyond C touched (%.1e)",
               ta, tb, (int)m, (int)n, (int)k, error);
            rd_gemm_local(ta, tb, m, n, k, 1, A, lda, B, ldb, 0, C, ldc);
            const float *last = B + (tb == 'T' ? n - 1 : (n - 1) * ldb);
            rd_gemm_local(ta, tb, m, 1, k, 1, A, lda, last, ldb, 0, one, m);
            ok(memcmp(one, C + (n - 1) * ldc, (size_t)m * sizeof(float)) == 0,
               "the last column alone is the same, bit for bit");
            rd_free(A), rd_free(B), rd_free(C), rd_free(R), rd_free(one);
        }
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    int size = rd_test_world.size;
    for (int rows = 1; rows <= size; rows *= 2) {
        rd_grid *g;
        if (!is_rc(rd_grid_create(1, rows, size / rows, &g), RD_OK, "grid")) continue;
        test_dealing(g, 13, 29, 4, 3);
        test_dealing(g, 3, 200, 0, 0);
        test_dealing(g, 1, 1, 5, 5);
        test_views(g);
        rd_grid_free(&g);
    }
    test_kernel();
    return rd_test_end();
}
