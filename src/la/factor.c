/* factor.c: singular values and LQ of distributed matrices, through ScaLAPACK.
 *
 * ScaLAPACK's pdgesvd wants square blocks and the singular vectors in the same ones, while our
 * matrices have the blocks that suit the model.  So a matrix is brought into square blocks in
 * float64, factored, and the result brought into the blocks of the caller's matrices.
 *
 * Each call makes a BLACS context of its own: a 1 x 1 grid has none otherwise, and pdgesvd derives
 * further contexts from the system handle of its context, which must live as long as the call.
 * One code path serves every grid, 1 x 1 too. */
#include "rd/la.h"

#include <math.h>

/* BLACS, PBLAS and ScaLAPACK ship no C header. */
int Csys2blacs_handle(MPI_Comm comm);
void Cfree_blacs_system_handle(int handle);
void Cblacs_gridinit(int *context, const char *order, int rows, int cols);
void Cblacs_gridinfo(int context, int *rows, int *cols, int *my_row, int *my_col);
void Cblacs_gridexit(int context);
void pdgesvd_(const char *jobu, const char *jobvt, const int *m, const int *n, double *a,
              const int *ia, const int *ja, const int *desca, double *s, double *u, const int *iu,
              const int *ju, const int *descu, double *vt, const int *ivt, const int *jvt,
              const int *descvt, double *work, const int *lwork, int *info);
void pdgelqf_(const int *m, const int *n, double *a, const int *ia, const int *ja, const int *desca,
              double *tau, double *work, const int *lwork, int *info);
void pdorglq_(const int *m, const int *n, const int *k, double *a, const int *ia, const int *ja,
              const int *desca, const double *tau, double *work, const int *lwork, int *info);
void pdgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k,
             const double *alpha, const double *a, const int *ia, const int *ja, const int *desca,
             const double *b, const int *ib, const int *jb, const int *descb, const double *beta,
             double *c, const int *ic, const int *jc, const int *descc);

enum { DESC_LEN = 9, DENSE_MATRIX = 1, LARGEST_BLOCK = 32 };

/* ---------------------------------------------------------------- contexts and float64 matrices */

typedef struct context {
    int handle, blacs; /* the communicator as BLACS knows it; the grid on it */
    int block;         /* side of the square blocks */
    bool works;        /* this rank takes part in the factorisation */
} context;

static void context_close(context *c)
{
    if (c->blacs >= 0) Cblacs_gridexit(c->blacs);
    if (c->handle >= 0) Cfree_blacs_system_handle(c->handle);
    c->blacs = c->handle = -1;
}

/* For an m x n matrix on g's replica.  A small one gets small blocks, so that every rank has a
 * share.  With fewer rows or columns than that takes, pdgesvd finds singular values that differ
 * from rank to rank: such a matrix is one block, which its owner factors alone. */
static int context_open(const rd_grid *g, int64_t m, int64_t n, context *c)
{
    int rc = RD_OK, rows = 0, cols = 0, my_row = -1, my_col = -1;
    int64_t longer = g->rows > g->cols ? g->rows : g->cols, smaller_side = m < n ? m : n;
    bool tiny = smaller_side < 2 * longer;
    int64_t block = (smaller_side + longer - 1) / longer;
    c->block = tiny ? rd_int(m > n ? m : n) : block > LARGEST_BLOCK ? LARGEST_BLOCK : (int)block;
    c->works = !tiny || g->tp.rank == 0;
    if (!c->works) return rd_agree(&g->tp, RD_OK);
    int want[4] = {g->rows, g->cols, g->my_row, g->my_col};
    if (tiny) want[0] = want[1] = 1;
    c->handle = Csys2blacs_handle(tiny ? rd_comm_self().mpi : g->tp.mpi);
    c->blacs = c->handle;
    Cblacs_gridinit(&c->blacs, "Row", want[0], want[1]);
    Cblacs_gridinfo(c->blacs, &rows, &cols, &my_row, &my_col);
    if (rows != want[0] || cols != want[1] || my_row != want[2] || my_col != want[3])
        rc = rd_error_set(RD_EINTERNAL, __FILE__, __LINE__, __func__,
                          "BLACS placed this rank at (%d, %d) of %d x %d", my_row, my_col, rows,
                          cols);
    rc = rd_agree(&g->tp, rc);
    if (rc != RD_OK) context_close(c);
    return rc;
}

/* A matrix of float64 in square blocks. */
typedef struct wide {
    rd_mat shape; /* without data */
    double *a;
    int desc[DESC_LEN];
} wide;

static void wide_create(const rd_grid *g, const context *c, int64_t m, int64_t n, wide *X)
{
    int64_t lm = rd_dealt_count(m, c->block, g->my_row, g->rows);
    rd_mat_view_blocks(g, NULL, m, n, c->block, c->block, lm > 0 ? lm : 1, &X->shape);
    const rd_mat *s = &X->shape;
    X->a = rd_new(double, s->ld * s->ln);
    const int desc[DESC_LEN] = {DENSE_MATRIX, c->blacs, rd_int(m), rd_int(n),    c->block,
                                c->block,     0,        0,         rd_int(s->ld)};
    for (int i = 0; i < DESC_LEN; i++) X->desc[i] = desc[i];
}

/* ---------------------------------------------------------------- from blocks to other blocks */

enum { ROWS, COLS, SIDES };

/* One end of a copy: a matrix, or its transpose, as dealt to the replica.  What holds for the rows
 * of the matrix copied is in [ROWS]; a transpose is dealt by rows over grid columns. */
typedef struct end {
    float *f; /* one of the two */
    double *d;
    int64_t block[SIDES], step[SIDES]; /* in the local part from one to the next */
    int procs[SIDES], me[SIDES],
        rank[SIDES]; /* rank: in the replica, from one process to the next */
} end;

static end end_of(const rd_mat *A, float *f, double *d, bool transposed)
{
    const rd_grid *g = A->grid;
    int r = transposed ? COLS : ROWS, c = transposed ? ROWS : COLS;
    end e = {.f = f, .d = d};
    e.block[r] = A->mb, e.procs[r] = g->rows, e.me[r] = g->my_row;
    e.block[c] = A->nb, e.procs[c] = g->cols, e.me[c] = g->my_col;
    e.step[r] = 1, e.rank[r] = g->cols;
    e.step[c] = A->ld, e.rank[c] = 1;
    return e;
}

/* With whom each element of this rank's share of an m x n matrix is exchanged: rank row[i] + col[j]
 * for the one in local row i, column j. */
typedef struct route {
    int64_t lm, ln;
    int64_t *row, *col;
    int64_t *count, *place; /* by rank: elements; where the next one lies among the parcels */
} route;

static int64_t *owners_there(int side, int64_t n, const end *here, const end *there, int64_t *have)
{
    int64_t nb = here->block[side];
    *have = rd_dealt_count(n, nb, here->me[side], here->procs[side]);
    int64_t *owner = rd_new(int64_t, *have);
    for (int64_t l = 0; l < *have; l++) {
        int64_t i = (l / nb * here->procs[side] + here->me[side]) * nb + l % nb;
        int process = rd_dealt_owner(i, there->block[side], there->procs[side]);
        owner[l] = (int64_t)process * there->rank[side];
    }
    return owner;
}

static route route_make(const rd_grid *g, int64_t m, int64_t n, const end *here, const end *there)
{
    route t = {0};
    t.row = owners_there(ROWS, m, here, there, &t.lm);
    t.col = owners_there(COLS, n, here, there, &t.ln);
    t.count = rd_new(int64_t, g->tp.size);
    t.place = rd_new(int64_t, g->tp.size);
    for (int64_t j = 0; j < t.ln; j++)
        for (int64_t i = 0; i < t.lm; i++) t.count[t.row[i] + t.col[j]]++;
    for (int p = 1; p < g->tp.size; p++) t.place[p] = t.place[p - 1] + t.count[p - 1];
    return t;
}

static void route_free(route *t)
{
    rd_free(t->row);
    rd_free(t->col);
    rd_free(t->count);
    rd_free(t->place);
}

/* The leading m x n part of one end to the other, as float32.  Both ends walk through it by
 * increasing column and row, so the parcels need no addresses. */
static void copy(const rd_grid *g, int64_t m, int64_t n, const end *from, const end *to)
{
    RD_ASSERT((from->f || from->d) && (to->f || to->d));
    route out = route_make(g, m, n, from, to), in = route_make(g, m, n, to, from);
    float *send = rd_new(float, out.lm *out.ln), *received = rd_new(float, in.lm *in.ln);
    for (int64_t j = 0; j < out.ln; j++)
        for (int64_t i = 0; i < out.lm; i++) {
            int64_t at = i * from->step[ROWS] + j * from->step[COLS];
            float x = from->f ? from->f[at] : (float)from->d[at];
            send[out.place[out.row[i] + out.col[j]]++] = x;
        }
    rd_exchange_f32(&g->tp, send, out.count, received, in.count);
    rd_free(send);
    for (int64_t j = 0; j < in.ln; j++)
        for (int64_t i = 0; i < in.lm; i++) {
            int64_t at = i * to->step[ROWS] + j * to->step[COLS];
            float x = received[in.place[in.row[i] + in.col[j]]++];
            if (to->f)
                to->f[at] = x;
            else
                to->d[at] = x;
        }
    rd_free(received);
    route_free(&out);
    route_free(&in);
}

/* The leading part of A, as large as X. */
static void widen(const rd_mat *A, wide *X)
{
    end from = end_of(A, A->a, NULL, false), to = end_of(&X->shape, NULL, X->a, false);
    copy(A->grid, X->shape.m, X->shape.n, &from, &to);
}

/* The leading part of X or of its transpose, as large as A. */
static void narrow(const wide *X, bool transposed, rd_mat *A)
{
    end from = end_of(&X->shape, NULL, X->a, transposed), to = end_of(A, A->a, NULL, false);
    copy(A->grid, A->m, A->n, &from, &to);
}

/* ---------------------------------------------------------------- signs */

/* Rows or columns with index below r, times sign[index]. */
static void apply_signs(wide *X, int side, int64_t r, const double *sign)
{
    const rd_mat *s = &X->shape;
    for (int64_t j = 0; j < s->ln; j++)
        for (int64_t i = 0; i < s->lm; i++) {
            int64_t k = side == ROWS ? rd_mat_global_row(s, i) : rd_mat_global_col(s, j);
            if (k < r) X->a[j * s->ld + i] *= sign[k];
        }
}

/* The sign of the largest entry of each of the first r columns; among equals the first one's.
 * Entries are equal within TIE: in a matrix with structure the largest ones are often the same
 * number, and rounding, which depends on the grid, must not choose between them. */
static void signs_of_largest(const wide *X, int64_t r, double *sign)
{
    const double TIE = 1e-6;
    const rd_mat *s = &X->shape;
    const rd_comm *tp = &s->grid->tp;
    double *largest = rd_new(double, r);
    int64_t *first = rd_new(int64_t, r); /* -(2 row + negative), so that the maximum is the first */
    for (int64_t k = 0; k < r; k++) first[k] = INT64_MIN;
    for (int64_t j = 0; j < s->ln; j++) {
        int64_t k = rd_mat_global_col(s, j);
        for (int64_t i = 0; i < s->lm && k < r; i++)
            largest[k] = fmax(largest[k], fabs(X->a[j * s->ld + i]));
    }
    rd_max_f64(tp, largest, r);
    for (int64_t j = 0; j < s->ln; j++) {
        int64_t k = rd_mat_global_col(s, j), i = 0;
        if (k >= r) break;
        const double *x = X->a + j * s->ld;
        while (i < s->lm && fabs(x[i]) < largest[k] * (1 - TIE)) i++;
        if (i < s->lm) first[k] = -(2 * rd_mat_global_row(s, i) + (x[i] < 0));
    }
    rd_max_i64(tp, first, r);
    for (int64_t k = 0; k < r; k++) sign[k] = -first[k] % 2 == 0 ? 1 : -1;
    rd_free(largest);
    rd_free(first);
}

/* Zeros above the diagonal, and the signs of the diagonal. */
static void lower_triangle(wide *L, int64_t r, double *sign)
{
    const rd_mat *s = &L->shape;
    for (int64_t k = 0; k < r; k++) sign[k] = 0;
    for (int64_t j = 0; j < s->ln; j++)
        for (int64_t i = 0; i < s->lm; i++) {
            int64_t gi = rd_mat_global_row(s, i), gj = rd_mat_global_col(s, j);
            double *x = &L->a[j * s->ld + i];
            if (gi < gj) *x = 0;
            if (gi == gj) sign[gj] = *x < 0 ? -1 : 1;
        }
    rd_sum_f64(&s->grid->tp, sign, r);
}

/* ---------------------------------------------------------------- factorisations */

/* What ScaLAPACK returned.  Local. */
static int check_info(const char *routine, int info, int unequal)
{
    int rc = RD_OK;
    if (info < 0) RD_FAIL(RD_EINTERNAL, "%s refused its argument %d", routine, -info);
    if (info > 0 && info == unequal)
        RD_FAIL(RD_ENUMERIC, "%s: the ranks computed different singular values", routine);
    if (info > 0) RD_FAIL(RD_ENUMERIC, "%s did not converge (INFO = %d)", routine, info);
done:
    return rc;
}

/* A non-finite value would keep the iterations below from ending. */
static int check_finite(const rd_mat *A)
{
    int rc = RD_OK;
    double norm2;
    RD_TRY(rd_mat_norm2(A, &norm2));
    if (!isfinite(norm2))
        RD_FAIL(RD_ENUMERIC, "a matrix to be factored has values that are not finite");
done:
    return rc;
}

/* ScaLAPACK counts the elements of a share, and of its own workspace, with ints.  wanted: vectors
 * of both kinds.  The same answer on every rank. */
static int check_size(const rd_mat *A, int64_t wanted)
{
    int rc = RD_OK;
    double ranks = A->grid->tp.size, most = 0.9 * INT32_MAX;
    double share = (double)A->m * (double)A->n / ranks;
    double work = (double)(A->m + A->n) * (double)wanted / ranks;
    if (share > most || work > most)
        RD_FAIL(RD_EINPUT,
                "a matrix of %lld x %lld is too large to be factored on a grid of %d x %d: each "
                "rank's part must be below 2^31 elements",
                (long long)A->m, (long long)A->n, A->grid->rows, A->grid->cols);
done:
    return rc;
}

static const int one = 1;

/* A = U diag(s) VT, all min(m, n) of them; A is overwritten.  work NULL: only *size, what it must
 * hold.  Local where one rank works alone. */
static int call_svd(wide *A, double *s, wide *U, wide *VT, double *work, double *size)
{
    int info = 0, lwork = work ? rd_int((int64_t)*size) : -1;
    int m = A->desc[2], n = A->desc[3], k = m < n ? m : n;
    pdgesvd_("V", "V", &m, &n, A->a, &one, &one, A->desc, s, U->a, &one, &one, U->desc, VT->a, &one,
             &one, VT->desc, work ? work : size, &lwork, &info);
    return check_info("pdgesvd", info, work ? k + 1 : 0);
}

static int singular_values(const context *c, wide *A, double *s, wide *U, wide *VT)
{
    int rc = RD_OK;
    const rd_comm *tp = &A->shape.grid->tp;
    double size = 0, *work = NULL;
    RD_TRY(rd_agree(tp, c->works ? call_svd(A, s, U, VT, NULL, &size) : RD_OK));
    if (c->works) work = rd_new(double, rd_int((int64_t)size));
    RD_TRY(rd_agree(tp, c->works ? call_svd(A, s, U, VT, work, &size) : RD_OK));
    int64_t k = A->shape.m < A->shape.n ? A->shape.m : A->shape.n;
    rd_bcast(tp, s, k * (int64_t)sizeof(*s), 0);
done:
    rd_free(work);
    return rc;
}

/* The Q of T = L Q in place of T, which has no more rows than columns. */
static int call_lq(wide *T, double *tau, double *work, double *size)
{
    int rc = RD_OK, info = 0, lwork = work ? rd_int((int64_t)*size) : -1;
    int r = T->desc[2], n = T->desc[3];
    double ask[2] = {0};
    pdgelqf_(&r, &n, T->a, &one, &one, T->desc, tau, work ? work : &ask[0], &lwork, &info);
    RD_TRY(check_info("pdgelqf", info, 0));
    pdorglq_(&r, &n, &r, T->a, &one, &one, T->desc, tau, work ? work : &ask[1], &lwork, &info);
    RD_TRY(check_info("pdorglq", info, 0));
    if (!work) *size = fmax(ask[0], ask[1]);
done:
    return rc;
}

static int orthonormal_rows(const context *c, wide *T)
{
    int rc = RD_OK;
    const rd_comm *tp = &T->shape.grid->tp;
    double size = 0, *work = NULL, *tau = rd_new(double, T->shape.lm + 1);
    RD_TRY(rd_agree(tp, c->works ? call_lq(T, tau, NULL, &size) : RD_OK));
    if (c->works) work = rd_new(double, rd_int((int64_t)size));
    RD_TRY(rd_agree(tp, c->works ? call_lq(T, tau, work, &size) : RD_OK));
done:
    rd_free(work);
    rd_free(tau);
    return rc;
}

int rd_svd_leading(const rd_mat *A, int64_t r, rd_mat *U, double *s, rd_mat *V)
{
    int rc = RD_OK;
    const rd_grid *g = A->grid;
    int64_t k = A->m < A->n ? A->m : A->n;
    wide X = {0}, left = {0}, right = {0};
    double *all = NULL, *sign = NULL;
    context c = {-1, -1, 0, false};
    if (r < 1 || r > k || U->m != A->m || U->n != r || V->m != A->n || V->n != r)
        RD_FAIL(RD_EINTERNAL, "%lld singular vectors of %lld x %lld into %lld x %lld, %lld x %lld",
                (long long)r, (long long)A->m, (long long)A->n, (long long)U->m, (long long)U->n,
                (long long)V->m, (long long)V->n);
    RD_TRY(check_size(A, k));
    RD_TRY(check_finite(A));
    RD_TRY(context_open(g, A->m, A->n, &c));
    wide_create(g, &c, A->m, A->n, &X);
    wide_create(g, &c, A->m, k, &left);
    wide_create(g, &c, k, A->n, &right);
    all = rd_new(double, k);
    sign = rd_new(double, r);
    widen(A, &X);
    RD_TRY(singular_values(&c, &X, all, &left, &right));
    signs_of_largest(&left, r, sign);
    apply_signs(&left, COLS, r, sign);
    apply_signs(&right, ROWS, r, sign);
    narrow(&left, false, U);
    narrow(&right, true, V);
    for (int64_t i = 0; i < r; i++) s[i] = all[i];
done:
    rd_free(X.a);
    rd_free(left.a);
    rd_free(right.a);
    rd_free(all);
    rd_free(sign);
    context_close(&c);
    return rc;
}

int rd_lq_leading(const rd_mat *A, int64_t r, rd_mat *L, rd_mat *Q)
{
    int rc = RD_OK;
    const rd_grid *g = A->grid;
    int64_t k = A->m < A->n ? A->m : A->n;
    wide X = {0}, left = {0}, right = {0};
    double *sign = NULL;
    context c = {-1, -1, 0, false};
    if (r < 1 || r > k || L->m != A->m || L->n != r || Q->m != r || Q->n != A->n)
        RD_FAIL(RD_EINTERNAL, "%lld columns of the LQ of %lld x %lld into %lld x %lld, %lld x %lld",
                (long long)r, (long long)A->m, (long long)A->n, (long long)L->m, (long long)L->n,
                (long long)Q->m, (long long)Q->n);
    RD_TRY(check_size(A, r));
    RD_TRY(check_finite(A));
    RD_TRY(context_open(g, A->m, A->n, &c));
    wide_create(g, &c, A->m, A->n, &X);
    wide_create(g, &c, A->m, r, &left);
    wide_create(g, &c, r, A->n, &right);
    sign = rd_new(double, r);
    widen(A, &X);
    /* The first r rows of Q depend on the first r rows of A alone; then L = A Q^T. */
    widen(A, &right);
    RD_TRY(orthonormal_rows(&c, &right));
    const double scale = 1, keep = 0;
    if (c.works)
        pdgemm_("N", "T", &X.desc[2], &right.desc[2], &X.desc[3], &scale, X.a, &one, &one, X.desc,
                right.a, &one, &one, right.desc, &keep, left.a, &one, &one, left.desc);
    lower_triangle(&left, r, sign);
    apply_signs(&left, COLS, r, sign);
    apply_signs(&right, ROWS, r, sign);
    narrow(&left, false, L);
    narrow(&right, false, Q);
done:
    rd_free(X.a);
    rd_free(left.a);
    rd_free(right.a);
    rd_free(sign);
    context_close(&c);
    return rc;
}
