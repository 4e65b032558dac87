/* ranks: 1 2 4 */
/* rd_gemm on every grid the ranks allow, by panels and by PBLAS, all transpositions, sizes and
 * blocks that do not divide, against the reference kernel on the global matrices; the local product
 * under PBLAS, which is ours; the clock that sees PBLAS communicate. */
#include "rd_test.h"
#include "la/panels.h"

#include <dlfcn.h>

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

/* op(A): m x k, op(B): k x n, and C as in rd_gemm; full[]: the global matrices, am and bm: how many
 * rows those of A and B have. */
typedef struct product {
    rd_mat A, B, C;
    float *full[3];
    int64_t am, an, bm, bn;
} product;

static void product_make(rd_grid *g, char ta, char tb, const sizes *s, product *p)
{
    const bool a = ta == 'N', b = tb == 'N';
    p->am = a ? s->m : s->k, p->an = a ? s->k : s->m;
    p->bm = b ? s->k : s->n, p->bn = b ? s->n : s->k;
    p->full[0] = make(g, p->am, p->an, a ? s->mb : s->kb, a ? s->kb : s->mb, 1, &p->A);
    p->full[1] = make(g, p->bm, p->bn, b ? s->kb : s->nb, b ? s->nb : s->kb, 2, &p->B);
    p->full[2] = make(g, s->m, s->n, s->mb, s->nb, 3, &p->C);
}

static void product_free(product *p)
{
    for (int i = 0; i < 3; i++) rd_free(p->full[i]);
    rd_mat_free(&p->A), rd_mat_free(&p->B), rd_mat_free(&p->C);
}

/* full[2] = 1.5 op(A) op(B) + beta full[2]. */
static void product_reference(char ta, char tb, const sizes *s, float beta, product *p)
{
    rd_gemm_reference(ta, tb, s->m, s->n, s->k, 1.5f, p->full[0], p->am, p->full[1], p->bm, beta,
                      p->full[2], s->m);
}

static void test_type(rd_grid *g, char ta, char tb, const sizes *s, float beta)
{
    product p;
    product_make(g, ta, tb, s, &p);
    rd_mat *C = &p.C;
    float *before = rd_new(float, C->ld * C->ln);
    size_t bytes = (size_t)(C->ld * C->ln) * sizeof(float);
    memcpy(before, C->a, bytes);
    bool panels = rd_panels_fit(ta, tb, &p.A, &p.B, C);
    int rc = rd_gemm(ta, tb, 1.5f, &p.A, &p.B, beta, C);
    product_reference(ta, tb, s, beta, &p);
    double error = difference(C, p.full[2]);
    ok(rc == RD_OK && error < 1e-5 * sqrt((double)s->k) + 1e-5,
       "%c%c %d x %d x %d on %d x %d %s (%.1e)", ta, tb, (int)s->m, (int)s->n, (int)s->k, g->rows,
       g->cols, panels ? "by panels" : "", error);
    float *first = rd_new(float, C->ld * C->ln);
    memcpy(first, C->a, bytes);
    memcpy(C->a, before, bytes);
    rd_gemm(ta, tb, 1.5f, &p.A, &p.B, beta, C);
    if (panels) ok(memcmp(first, C->a, bytes) == 0, "the same bits once more");
    rd_free(before), rd_free(first);
    product_free(&p);
}

static void round_all(float *x, int64_t n)
{
    uint16_t *h = rd_new(uint16_t, n);
    rd_halves_from_f32(n, x, h);
    rd_halves_to_f32(n, h, x);
    rd_free(h);
}

/* By panels in bfloat16, where what travels is rounded, odd numbers of it too. */
static void test_mixed(rd_grid *g, char ta, char tb, const sizes *s)
{
    product p;
    product_make(g, ta, tb, s, &p);
    round_all(p.full[0], p.am * p.an), round_all(p.full[1], p.bm * p.bn);
    product_reference(ta, tb, s, 0.5f, &p);
    rd_la_use_bf16(g, true);
    bool fit = g->rows * g->cols == 1 || rd_panels_fit(ta, tb, &p.A, &p.B, &p.C);
    int rc = rd_gemm_mixed(ta, tb, 1.5f, &p.A, &p.B, 0.5f, &p.C);
    rd_la_use_bf16(g, false);
    double error = difference(&p.C, p.full[2]);
    ok(rc == RD_OK && (!fit || error < 1e-5 * sqrt((double)s->k) + 1e-5),
       "%c%c %d x %d x %d on %d x %d in bfloat16 (%.1e)", ta, tb, (int)s->m, (int)s->n, (int)s->k,
       g->rows, g->cols, error);
    product_free(&p);
}

/* Both gradients of a linear layer at once: W, dW: k x m; X, dX: k x n; dY: m x n. */
static void test_pair(rd_grid *g, const sizes *s)
{
    rd_mat W, Y, X, dX, dW;
    float *fw = make(g, s->k, s->m, s->kb, s->mb, 1, &W);
    float *fy = make(g, s->m, s->n, s->mb, s->nb, 2, &Y);
    float *fx = make(g, s->k, s->n, s->kb, s->nb, 3, &X);
    float *fdx = make(g, s->k, s->n, s->kb, s->nb, 4, &dX);
    float *fdw = make(g, s->k, s->m, s->kb, s->mb, 5, &dW);
    rd_gemm_reference('N', 'N', s->k, s->n, s->m, 1, fw, s->k, fy, s->m, 1, fdx, s->k);
    rd_gemm_reference('N', 'T', s->k, s->m, s->n, 1, fx, s->k, fy, s->m, 1, fdw, s->k);
    int rc = rd_gemm_pair(&W, &Y, 1, &dX, &X, &dW);
    double error = fmax(difference(&dX, fdx), difference(&dW, fdw));
    ok(rc == RD_OK && error < 5e-4, "a pair %d x %d x %d on %d x %d (%.1e)", (int)s->m, (int)s->n,
       (int)s->k, g->rows, g->cols, error);
    rd_free(fw), rd_free(fy), rd_free(fx), rd_free(fdx), rd_free(fdw);
    rd_mat_free(&W), rd_mat_free(&Y), rd_mat_free(&X), rd_mat_free(&dX), rd_mat_free(&dW);
}

/* PBLAS calls MPI by itself; the clocks must see it. */
static void test_clock(rd_grid *g)
{
    rd_mat A, C;
    const rd_clock *clocks;
    rd_mat_create(g, 300, 300, 0, 0, &A);
    rd_mat_create(g, 300, 300, 0, 0, &C);
    rd_clock_reset();
    rd_clock_begin("product");
    rd_gemm('T', 'N', 1, &A, &A, 0, &C);
    rd_clock_end("product");
    is_i64(rd_clock_list(&clocks), 1, "one section");
    ok(clocks[0].waited > 0, "PBLAS's communication is on the clock");
    ok(clocks[0].waited <= clocks[0].seconds, "and no more than that");
    rd_mat_free(&A), rd_mat_free(&C);
}

static void test_panels_fit(rd_grid *g)
{
    rd_mat A, B, C, odd;
    rd_mat_create(g, 96, 80, 12, 10, &A);
    rd_mat_create(g, 96, 70, 12, 7, &B);
    rd_mat_create(g, 80, 70, 10, 7, &C);
    rd_mat_create(g, 80, 70, 9, 7, &odd);
    ok(rd_panels_fit('T', 'N', &A, &B, &C), "T N fits panels");
    ok(rd_panels_fit('N', 'N', &A, &C, &B), "N N too");
    ok(rd_panels_fit('N', 'T', &B, &C, &A), "N T too");
    ok(!rd_panels_fit('T', 'N', &A, &B, &odd), "blocks must be aligned");
    rd_la_use_panels(g, false);
    ok(!rd_panels_fit('T', 'N', &A, &B, &C), "without panels all is left to PBLAS");
    rd_la_use_panels(g, true);
    rd_mat_free(&A), rd_mat_free(&B), rd_mat_free(&C), rd_mat_free(&odd);
}

void sgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k,
            const float *alpha, const float *A, const int *lda, const float *B, const int *ldb,
            const float *beta, float *C, const int *ldc);

static void test_local(void)
{
    enum { M = 5, N = 4, K = 6, LD = 7 };
    static const char types[] = "NnTtCc";
    float A[LD * LD], B[LD * LD], C[LD * LD], want[LD * LD], alpha = -2, beta = 0.5f, zero = 0;
    const int m = M, n = N, k = K, ld = LD, none = 0;
    Dl_info here, found;
    void *symbol = dlsym(RTLD_DEFAULT, "sgemm_");
    ok(symbol != NULL && dladdr(symbol, &found) && dladdr((void *)rd_gemm_local, &here) &&
           found.dli_fbase == here.dli_fbase,
       "libraries find the program's sgemm_");
    double worst = 0;
    for (int i = 0; i < LD * LD; i++) A[i] = (float)(i % 11 - 5), B[i] = (float)(i % 7 - 2);
    for (int a = 0; a < 6; a++)
        for (int b = 0; b < 6; b++) {
            for (int i = 0; i < LD * LD; i++) C[i] = want[i] = (float)i;
            sgemm_(&types[a], &types[b], &m, &n, &k, &alpha, A, &ld, B, &ld, &beta, C, &ld);
            rd_gemm_reference(a < 2 ? 'N' : 'T', b < 2 ? 'N' : 'T', M, N, K, alpha, A, LD, B, LD,
                              beta, want, LD);
            for (int i = 0; i < LD * LD; i++) worst = fmax(worst, fabs((double)C[i] - want[i]));
        }
    ok(worst == 0, "sgemm_ in all types");
    for (int i = 0; i < LD * LD; i++) C[i] = NAN, A[i] = i > 20 ? NAN : 1;
    sgemm_("N", "N", &m, &n, &k, &zero, A, &ld, B, &ld, &zero, C, &ld);
    bool clean = true;
    for (int j = 0; j < N; j++)
        for (int i = 0; i < M; i++) clean = clean && C[j * LD + i] == 0;
    ok(clean && isnan(C[M]), "alpha = beta = 0 gives zeros whatever was there, in C alone");
    C[0] = 3;
    sgemm_("N", "T", &m, &n, &none, &alpha, A, &ld, B, &ld, &beta, C, &ld);
    ok(C[0] == 1.5f, "no inner dimension: C is scaled");
}

/* The wide ones are cut inside their blocks. */
static void test_grid(int rows, int cols)
{
    static const sizes list[] = {
        {24, 16, 40, 4, 4, 4}, {61, 50, 37, 8, 5, 3}, {3, 130, 70, 0, 0, 0}, {1, 7, 2, 2, 2, 2}};
    static const sizes wide[] = {{1300, 4400, 8, 600, 2200, 4},
                                 {4400, 8, 1300, 2200, 4, 600},
                                 {8, 1300, 4400, 4, 600, 2200}};
    rd_grid *g;
    if (!is_rc(rd_grid_create(0, rows, cols, &g), RD_OK, "grid")) return;
    is_rc(rd_la_attach(g, 1), RD_OK, "context");
    for (int panels = 0; panels < (rows * cols > 1 ? 2 : 1); panels++) {
        rd_la_use_panels(g, panels);
        for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) test_pair(g, &list[i]);
        for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
            for (int type = 0; type < 4; type++)
                test_type(g, type & 1 ? 'T' : 'N', type & 2 ? 'T' : 'N', &list[i],
                          type == 2 ? 0 : 0.5f);
    }
    test_pair(g, &(sizes){1300, 4400, 40, 600, 2200, 12});
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        for (int type = 0; type < 4; type++)
            test_mixed(g, type & 1 ? 'T' : 'N', type & 2 ? 'T' : 'N', &list[i]);
    test_type(g, 'T', 'N', &wide[0], 0.5f);
    test_type(g, 'N', 'N', &wide[1], 0.5f);
    test_type(g, 'N', 'T', &wide[2], 0.5f);
    if (rows * cols > 1) test_panels_fit(g);
    if (rows * cols > 1) rd_la_use_panels(g, false), test_clock(g);
    rd_mat A, B;
    rd_mat_create(g, 4, 5, 0, 0, &A);
    rd_mat_create(g, 4, 5, 0, 0, &B);
    is_rc(rd_gemm('N', 'N', 1, &A, &B, 0, &A), RD_EINTERNAL, "shapes that do not fit are refused");
    is_rc(rd_gemm('N', 'C', 1, &A, &B, 0, &A), RD_EINTERNAL, "and unknown types");
    is_rc(rd_gemm_pair(&A, &B, 0, &A, &A, &A), RD_EINTERNAL, "and in a pair");
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
    test_local();
    test_grid(1, 1);
    if (size >= 2) test_grid(1, 2);
    if (size >= 2) test_grid(2, 1);
    if (size >= 4) test_grid(2, 2);
    if (size >= 4) test_grid(4, 1);
    return rd_test_end();
}
