/* ranks: 1 2 3 4 6 */
/* Singular values and LQ on every rows x cols grid of the job: against their definitions, against
 * matrices whose spectrum is planted, and against the result of one rank alone. */
#include "rd_test.h"
#include "rd/la.h"

typedef struct shape {
    int64_t m, n, r, mb, nb; /* blocks of A; those of the results differ */
} shape;

static rd_grid *alone;

/* ---------------------------------------------------------------- whole matrices, on every rank */

static float *random_matrix(int64_t m, int64_t n, uint64_t id)
{
    float *a = rd_new(float, m *n);
    rd_rng r = rd_rng_make(3, "factor", id, 0);
    for (int64_t i = 0; i < m * n; i++) a[i] = (float)rd_rng_normal(&r);
    return a;
}

/* m x k with orthonormal columns, by Gram and Schmidt twice. */
static double *random_basis(int64_t m, int64_t k, uint64_t id)
{
    double *q = rd_new(double, m *k);
    rd_rng r = rd_rng_make(3, "basis", id, 0);
    for (int64_t i = 0; i < m * k; i++) q[i] = rd_rng_normal(&r);
    for (int64_t j = 0; j < k; j++)
        for (int pass = 0; pass < 2; pass++) {
            double *x = q + j * m, norm = 0;
            for (int64_t p = 0; p < j; p++) {
                double dot = 0;
                for (int64_t i = 0; i < m; i++) dot += q[p * m + i] * x[i];
                for (int64_t i = 0; i < m; i++) x[i] -= dot * q[p * m + i];
            }
            for (int64_t i = 0; i < m; i++) norm += x[i] * x[i];
            for (int64_t i = 0; i < m; i++) x[i] /= sqrt(norm);
        }
    return q;
}

static float *planted(int64_t m, int64_t n, int64_t k, const double *s)
{
    double *u = random_basis(m, k, 1), *v = random_basis(n, k, 2);
    float *a = rd_new(float, m *n);
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++) {
            double sum = 0;
            for (int64_t p = 0; p < k; p++) sum += u[p * m + i] * s[p] * v[p * n + j];
            a[j * m + i] = (float)sum;
        }
    rd_free(u), rd_free(v);
    return a;
}

static void deal(rd_grid *g, const float *full, int64_t m, int64_t n, int64_t mb, int64_t nb,
                 rd_mat *A)
{
    rd_mat_create(g, m, n, mb, nb, A);
    for (int64_t j = 0; j < A->ln; j++)
        for (int64_t i = 0; i < A->lm; i++)
            A->a[j * A->ld + i] = full[rd_mat_global_col(A, j) * m + rd_mat_global_row(A, i)];
}

/* The whole of A on every rank; A is freed. */
static float *gather(rd_mat *A)
{
    float *full = rd_new(float, A->m * A->n);
    for (int64_t j = 0; j < A->ln; j++)
        for (int64_t i = 0; i < A->lm; i++)
            full[rd_mat_global_col(A, j) * A->m + rd_mat_global_row(A, i)] = A->a[j * A->ld + i];
    rd_sum_f32(&A->grid->tp, full, A->m * A->n);
    rd_mat_free(A);
    return full;
}

static double distance(const float *a, const float *b, int64_t n)
{
    double off = 0, size = 1e-300;
    for (int64_t i = 0; i < n; i++) {
        off = fmax(off, isfinite(a[i]) ? fabs((double)a[i] - b[i]) : INFINITY);
        size = fmax(size, fabs((double)b[i]));
    }
    return off / size;
}

/* How far k vectors of length n are from orthonormal; element i of vector j at j * dj + i * di. */
static double skewness(const float *q, int64_t n, int64_t k, int64_t di, int64_t dj)
{
    double worst = 0;
    for (int64_t a = 0; a < k; a++)
        for (int64_t b = 0; b <= a; b++) {
            double dot = 0;
            for (int64_t i = 0; i < n; i++) dot += (double)q[a * dj + i * di] * q[b * dj + i * di];
            double off = fabs(dot - (a == b));
            if (!(off <= worst)) worst = off;
        }
    return worst;
}

/* ---------------------------------------------------------------- singular values */

typedef struct svd {
    float *u, *v;
    double *s;
} svd;

static void svd_free(svd *f)
{
    rd_free(f->u), rd_free(f->v), rd_free(f->s);
}

static svd decompose(rd_grid *g, const float *full, const shape *p)
{
    rd_mat A, U, V;
    svd f = {.s = rd_new(double, p->r)};
    deal(g, full, p->m, p->n, p->mb, p->nb, &A);
    rd_mat_create(g, p->m, p->r, p->nb, 2, &U);
    rd_mat_create(g, p->n, p->r, 3, p->mb, &V);
    float *before = gather(&A);
    deal(g, full, p->m, p->n, p->mb, p->nb, &A);
    is_rc(rd_svd_leading(&A, p->r, &U, f.s, &V), RD_OK, "singular values");
    float *after = gather(&A);
    ok(memcmp(before, after, (size_t)(p->m * p->n) * sizeof(float)) == 0, "A is as it was");
    rd_free(before), rd_free(after);
    f.u = gather(&U);
    f.v = gather(&V);
    return f;
}

/* Frobenius norm of A - U diag(s) V^T. */
static double misfit(const float *full, const shape *p, const svd *f)
{
    double sum = 0;
    for (int64_t j = 0; j < p->n; j++)
        for (int64_t i = 0; i < p->m; i++) {
            double x = full[j * p->m + i];
            for (int64_t k = 0; k < p->r; k++)
                x -= f->s[k] * f->u[k * p->m + i] * f->v[k * p->n + j];
            sum += x * x;
        }
    return sqrt(sum);
}

static bool largest_is_positive(const float *u, int64_t m, int64_t r)
{
    for (int64_t k = 0; k < r; k++) {
        int64_t top = 0;
        for (int64_t i = 1; i < m; i++)
            if (fabsf(u[k * m + i]) > fabsf(u[k * m + top]) * (1 + 2e-6f)) top = i;
        if (!(u[k * m + top] > 0)) return false;
    }
    return true;
}

/* On grid g against the definition, the planted spectrum (k values, then zeros) and one rank. */
static void check_svd(rd_grid *g, const char *what, const float *full, shape p, int64_t k,
                      const double *s)
{
    int64_t smaller = p.m < p.n ? p.m : p.n;
    double norm = 0, tail = 0, off = 0;
    svd f = decompose(g, full, &p), own = decompose(alone, full, &p);
    for (int64_t i = 0; i < smaller; i++) {
        double want = i < k ? s[i] : 0;
        norm += want * want;
        if (i < p.r)
            off = fmax(off, isfinite(f.s[i]) ? fabs(f.s[i] - want) : INFINITY);
        else
            tail += want * want;
    }
    norm = sqrt(norm);
    diag("%s: %d x %d, %d of them, on %d x %d", what, (int)p.m, (int)p.n, (int)p.r, g->rows,
         g->cols);
    ok(off <= 1e-6 * norm, "singular values (%.1e)", off);
    ok(skewness(f.u, p.m, p.r, 1, p.m) < 1e-6, "U is orthonormal");
    ok(skewness(f.v, p.n, p.r, 1, p.n) < 1e-6, "V is orthonormal");
    double rest = misfit(full, &p, &f);
    ok(fabs(rest - sqrt(tail)) <= 2e-6 * norm, "the best approximation of its rank (%.1e)", rest);
    ok(largest_is_positive(f.u, p.m, p.r), "signs");
    int64_t sure = p.r < k ? p.r : k; /* vectors of the value zero are some basis */
    ok(distance(f.u, own.u, p.m * sure) <= 1e-6, "U as on one rank");
    ok(distance(f.v, own.v, p.n * sure) <= 1e-6, "V as on one rank");
    svd_free(&f), svd_free(&own);
}

static void test_svd(rd_grid *g)
{
    static const shape list[] = {{45, 30, 7, 4, 6},  {30, 45, 30, 8, 5},    {33, 33, 33, 16, 16},
                                 {70, 9, 3, 64, 64}, {3, 80, 2, 2, 7},      {1, 5, 1, 1, 1},
                                 {6, 1, 1, 2, 2},    {130, 101, 16, 10, 3}, {2, 2, 2, 1, 1},
                                 {5, 5, 4, 1, 2},    {4, 7, 3, 2, 2}};
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        double s[128] = {0};
        int64_t k = list[i].m < list[i].n ? list[i].m : list[i].n;
        /* Falling slowly, with pairs that differ by a thousandth. */
        for (int64_t j = 0; j < k; j++) s[j] = 3.0 / (1 + (double)(j / 2)) * (j % 2 ? 0.999 : 1);
        float *a = planted(list[i].m, list[i].n, k, s);
        check_svd(g, "planted", a, list[i], k, s);
        rd_free(a);
    }
    /* A rank of 3, and no rank at all. */
    static const double three[] = {5, 4, 1e-3};
    float *a = planted(20, 31, 3, three);
    check_svd(g, "rank 3", a, (shape){20, 31, 6, 4, 4}, 3, three);
    memset(a, 0, 20 * 31 * sizeof(float));
    check_svd(g, "zero", a, (shape){20, 31, 6, 4, 4}, 0, three);
    rd_free(a);
    /* Entries of equal size: rounding must not choose the sign. */
    for (uint64_t id = 0; id < 4; id++) {
        shape p = {16 + 5 * (int64_t)id, 12, 1, 2, 2};
        double size = sqrt((double)(p.m * p.n));
        float *u = random_matrix(p.m, 1, 10 + id), *v = random_matrix(p.n, 1, 20 + id);
        a = rd_new(float, p.m *p.n);
        for (int64_t i = 0; i < p.m * p.n; i++)
            a[i] = (u[i % p.m] > 0) == (v[i / p.m] > 0) ? 1 : -1;
        check_svd(g, "signs", a, p, 1, &size);
        rd_free(a), rd_free(u), rd_free(v);
    }
}

/* ---------------------------------------------------------------- LQ */

typedef struct lq {
    float *l, *q;
} lq;

static lq factor(rd_grid *g, const float *full, const shape *p)
{
    rd_mat A, L, Q;
    deal(g, full, p->m, p->n, p->mb, p->nb, &A);
    rd_mat_create(g, p->m, p->r, p->nb, 2, &L);
    rd_mat_create(g, p->r, p->n, 3, p->mb, &Q);
    is_rc(rd_lq_leading(&A, p->r, &L, &Q), RD_OK, "LQ");
    rd_mat_free(&A);
    return (lq){gather(&L), gather(&Q)};
}

/* Row i of A is that of L Q for i < r; below, what is missing is orthogonal to Q. */
static double lq_misfit(const float *full, const shape *p, const lq *f, double *below)
{
    double worst = 0;
    double *row = rd_new(double, p->n);
    *below = 0;
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->n; j++) {
            row[j] = full[j * p->m + i];
            for (int64_t k = 0; k < p->r; k++)
                row[j] -= (double)f->l[k * p->m + i] * f->q[j * p->r + k];
            if (i < p->r) worst = fmax(worst, fabs(row[j]));
        }
        for (int64_t k = 0; k < p->r; k++) {
            double dot = 0;
            for (int64_t j = 0; j < p->n; j++) dot += row[j] * f->q[j * p->r + k];
            *below = fmax(*below, fabs(dot));
        }
    }
    rd_free(row);
    return worst;
}

static void check_lq(rd_grid *g, const char *what, const float *full, shape p, bool full_rank)
{
    lq f = factor(g, full, &p), own = factor(alone, full, &p);
    double below, off = lq_misfit(full, &p, &f, &below);
    bool lower = true;
    for (int64_t k = 0; k < p.r; k++)
        for (int64_t i = 0; i <= k; i++) {
            float x = f.l[k * p.m + i];
            if (i < k ? x != 0 : full_rank ? !(x > 0) : !(x >= 0)) lower = false;
        }
    diag("%s: %d x %d, %d rows, on %d x %d", what, (int)p.m, (int)p.n, (int)p.r, g->rows, g->cols);
    ok(skewness(f.q, p.n, p.r, p.r, 1) < 1e-6, "Q is orthonormal");
    ok(off < 2e-6, "A = L Q in the first rows (%.1e)", off);
    ok(below < 1e-5, "and the rest of A is orthogonal to Q (%.1e)", below);
    ok(lower, "L is lower triangular with a positive diagonal");
    if (full_rank) {
        ok(distance(f.l, own.l, p.m * p.r) <= 1e-6, "L as on one rank");
        ok(distance(f.q, own.q, p.n * p.r) <= 1e-6, "Q as on one rank");
    }
    rd_free(f.l), rd_free(f.q), rd_free(own.l), rd_free(own.q);
}

static void test_lq(rd_grid *g)
{
    static const shape list[] = {{45, 30, 7, 4, 6},    {30, 45, 30, 8, 5}, {33, 33, 32, 16, 16},
                                 {70, 9, 3, 64, 64},   {3, 80, 2, 2, 7},   {1, 5, 1, 1, 1},
                                 {130, 101, 16, 10, 3}};
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        float *a = random_matrix(list[i].m, list[i].n, i);
        check_lq(g, "random", a, list[i], true);
        rd_free(a);
    }
    static const double three[] = {5, 4, 1e-3};
    float *a = planted(20, 31, 3, three);
    check_lq(g, "rank 3", a, (shape){20, 31, 6, 4, 4}, false);
    memset(a, 0, 20 * 31 * sizeof(float));
    check_lq(g, "zero", a, (shape){20, 31, 6, 4, 4}, false);
    rd_free(a);
}

static void test_refusals(rd_grid *g)
{
    rd_mat A, U, V, L, Q;
    double s[5];
    rd_mat_create(g, 4, 6, 2, 2, &A);
    rd_mat_create(g, 4, 5, 2, 2, &U), rd_mat_create(g, 6, 5, 2, 2, &V);
    is_rc(rd_svd_leading(&A, 5, &U, s, &V), RD_EINTERNAL, "more vectors than there are");
    is_rc(rd_svd_leading(&A, 3, &U, s, &V), RD_EINTERNAL, "results of another shape");
    is_rc(rd_lq_leading(&A, 5, &U, &V), RD_EINTERNAL, "more rows than there are");
    rd_mat_create(g, 4, 3, 2, 2, &L), rd_mat_create(g, 3, 6, 2, 2, &Q);
    is_rc(rd_lq_leading(&A, 3, &Q, &L), RD_EINTERNAL, "results of another shape");
    /* Not finite on one rank only. */
    if (A.lm > 0 && A.ln > 0 && rd_mat_global_row(&A, 0) == 0 && rd_mat_global_col(&A, 0) == 0)
        A.a[0] = NAN;
    is_rc(rd_lq_leading(&A, 3, &L, &Q), RD_ENUMERIC, "values that are not finite");
    rd_mat_free(&U), rd_mat_free(&V);
    rd_mat_create(g, 4, 3, 2, 2, &U), rd_mat_create(g, 6, 3, 2, 2, &V);
    is_rc(rd_svd_leading(&A, 3, &U, s, &V), RD_ENUMERIC, "values that are not finite");
    rd_mat_free(&A), rd_mat_free(&U), rd_mat_free(&V), rd_mat_free(&L), rd_mat_free(&Q);
    /* The shapes of matrices that are not there. */
    const int64_t m = 200000, n = 100000;
    rd_mat_view_blocks(g, NULL, m, n, 0, 0, m, &A);
    rd_mat_view_blocks(g, NULL, m, 3, 0, 0, m, &U), rd_mat_view_blocks(g, NULL, n, 3, 0, 0, n, &V);
    is_rc(rd_svd_leading(&A, 3, &U, s, &V), RD_EINPUT, "too large for ScaLAPACK's ints");
    rd_mat_view_blocks(g, NULL, 3, n, 0, 0, n, &Q);
    is_rc(rd_lq_leading(&A, 3, &U, &Q), RD_EINPUT, "too large for ScaLAPACK's ints");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    int size = rd_test_world.size;
    rd_grid_self(&alone);
    for (int rows = 1; rows <= size; rows++)
        for (int cols = 1; rows * cols <= size; cols++) {
            rd_grid *g;
            if (size % (rows * cols) != 0) continue;
            if (!is_rc(rd_grid_create(0, rows, cols, &g), RD_OK, "grid")) continue;
            is_rc(rd_la_attach(g, 1), RD_OK, "context");
            test_svd(g);
            test_lq(g);
            test_refusals(g);
            rd_la_detach(g);
            rd_grid_free(&g);
        }
    rd_grid_free(&alone);
    return rd_test_end();
}
