/* ranks: 1 2 4 */
/* rd_gemm on every grid the ranks allow, all transpositions, sizes and blocks that do not divide,
 * against the reference kernel on the global matrices. */
#include "rd_test.h"
#include "rd/la.h"

typedef struct sizes {
    int64_t m, n, k, mb, nb, kb;
} sizes;

/* Global matrix (the same on all ranks) and this rank's share of it. */
static float *make(rd_grid *g, int64_t m, int64_t n, int64_t mb, int64_t nb, uint64_t id, rd_mat *A)
{
    float *full = rd_new(float, m *n);
    rd_rng r = rd_rng_make(3, "pblas", id, 0);
    for (int64_t i = 0; i < m * n; i++) full[i] = (float)rd_rng_normal(&r);
    rd_mat_create(g, m, n, mb, nb, A);
    for (int64_t j = 0; j < A->ln; j++)
        for (int64_t i = 0; i < A->lm; i++)
            A->a[j * A->ld + i] = full[rd_mat_global_col(A, j) * m + rd_mat_global_row(A, i)];
    return full;
}

static double difference(const rd_mat *A, const float *full)
{
    double worst = 0;
    for (int64_t j = 0; j < A->ln; j++)
        for (int64_t i = 0; i < A->lm; i++) {
            float want = full[rd_mat_global_col(A, j) * A->m + rd_mat_global_row(A, i)];
            worst = fmax(worst, fabs((double)A->a[j * A->ld + i] - want));
        }
    return worst;
}

static void test_type(rd_grid *g, char ta, char tb, const sizes *s, float beta)
{
    rd_mat A, B, C;
    int64_t am = ta == 'N' ? s->m : s->k, an = ta == 'N' ? s->k : s->m;
    int64_t bm = tb == 'N' ? s->k : s->n, bn = tb == 'N' ? s->n : s->k;
    float *fa = make(g, am, an, ta == 'N' ? s->mb : s->kb, ta == 'N' ? s->kb : s->mb, 1, &A);
    float *fb = make(g, bm, bn, tb == 'N' ? s->kb : s->nb, tb == 'N' ? s->nb : s->kb, 2, &B);
    float *fc = make(g, s->m, s->n, s->mb, s->nb, 3, &C);
    int rc = rd_gemm(ta, tb, 1.5f, &A, &B, beta, &C);
    rd_gemm_reference(ta, tb, s->m, s->n, s->k, 1.5f, fa, am, fb, bm, beta, fc, s->m);
    double error = difference(&C, fc);
    ok(rc == RD_OK && error < 1e-4, "%c%c %d x %d x %d on %d x %d (%.1e)", ta, tb, (int)s->m,
       (int)s->n, (int)s->k, g->rows, g->cols, error);
    rd_free(fa), rd_free(fb), rd_free(fc);
    rd_mat_free(&A), rd_mat_free(&B), rd_mat_free(&C);
}

static void test_grid(int rows, int cols)
{
    static const sizes list[] = {
        {24, 16, 40, 4, 4, 4}, {61, 50, 37, 8, 5, 3}, {3, 130, 70, 0, 0, 0}, {1, 7, 2, 2, 2, 2}};
    rd_grid *g;
    if (!is_rc(rd_grid_create(0, rows, cols, &g), RD_OK, "grid")) return;
    is_rc(rd_la_attach(g, 1), RD_OK, "context");
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        for (int type = 0; type < 4; type++)
            test_type(g, type & 1 ? 'T' : 'N', type & 2 ? 'T' : 'N', &list[i],
                      type == 2 ? 0 : 0.5f);
    rd_mat A, B;
    rd_mat_create(g, 4, 5, 0, 0, &A);
    rd_mat_create(g, 4, 5, 0, 0, &B);
    is_rc(rd_gemm('N', 'N', 1, &A, &B, 0, &A), RD_EINTERNAL, "shapes that do not fit are refused");
    is_rc(rd_gemm('N', 'C', 1, &A, &B, 0, &A), RD_EINTERNAL, "and unknown types");
    rd_mat_free(&A), rd_mat_free(&B);
    rd_la_detach(g);
    is_i64(g->blacs_context, -1, "detached");
    rd_grid_free(&g);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    int size = rd_test_world.size;
    /* The rest of the ranks are further replicas: 4 ranks run 1x2 and 2x1 as two replicas. */
    test_grid(1, 1);
    if (size >= 2) test_grid(1, 2);
    if (size >= 2) test_grid(2, 1);
    if (size >= 4) test_grid(2, 2);
    if (size >= 4) test_grid(4, 1);
    return rd_test_end();
}
