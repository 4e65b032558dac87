/* muon.c: momentum, orthogonalised by Newton-Schulz steps (Jordan et al. 2024).
 *
 * A step is X <- P X with P = a I + b A + c A^2 and A the Gram matrix of X on its smaller side.  It
 * is products only, but many: at 2,048 tokens a step they come near half the flops of the passes of
 * a model of width 256.  Hence three savings.  The matrices are dealt over the replicas and the
 * results sent round, one broadcast per replica (sharded: the weights, with all others').  Products
 * known to be symmetric are computed to three quarters.  And where X is oblong the steps are taken
 * on A, which they turn into P A P, and only their product is applied to X. */
#include "train_impl.h"

#include <math.h>
#include <string.h>

enum {
    NEWTON_SCHULZ_STEPS = 5,
    BLOCK = 1 << 14 /* floats that a thread takes at a time of a pass over a matrix */
};

/* Work space for matrices of one shape. */
typedef struct shape_space {
    int64_t m, n, mb, nb;
    rd_mat other;                /* m x n */
    rd_mat gram, poly, all, tmp; /* k x k, k the smaller of m and n */
    bool left;                   /* the Gram matrix is X X^T, else X^T X */
    bool oblong;                 /* steps on the Gram matrix are cheaper */
} shape_space;

typedef struct muon_matrix {
    const rd_param *param;
    int64_t index; /* of the parameter */
    int space;
    int owner;      /* replica that orthogonalises it */
    int64_t offset; /* of its local part in updates */
    double flops;
} muon_matrix;

struct train_muon {
    const rd_grid *g;
    bool sharded;
    int64_t n, n_spaces;
    muon_matrix *matrix;
    shape_space *space;
    float *updates;       /* the matrices' updates, by owner; sharded: one at a time */
    int64_t *owner_start; /* [data + 1] into updates */
};

/* ---------------------------------------------------------------- life */

static int find_space(train_muon *u, const rd_mat *w, int *index)
{
    int rc = RD_OK;
    int64_t k = w->m < w->n ? w->m : w->n, block = w->m < w->n ? w->mb : w->nb;
    for (*index = 0; *index < u->n_spaces; ++*index) {
        const shape_space *s = &u->space[*index];
        if (s->m == w->m && s->n == w->n && s->mb == w->mb && s->nb == w->nb) return RD_OK;
    }
    shape_space *s = &u->space[u->n_spaces++];
    *s = (shape_space){.m = w->m, .n = w->n, .mb = w->mb, .nb = w->nb, .left = w->m < w->n};
    s->oblong = 2 * (w->m + w->n - k) >= 3 * k;
    RD_TRY(rd_mat_create(u->g, w->m, w->n, w->mb, w->nb, &s->other));
    RD_TRY(rd_mat_create(u->g, k, k, block, block, &s->gram));
    RD_TRY(rd_mat_create(u->g, k, k, block, block, &s->poly));
    RD_TRY(rd_mat_create(u->g, k, k, block, block, &s->all));
    RD_TRY(rd_mat_create(u->g, k, k, block, block, &s->tmp));
done:
    return rc;
}

static double step_flops(const shape_space *s)
{
    double k = (double)(s->left ? s->m : s->n), area = (double)s->m * (double)s->n;
    double symmetric = 1.5 * k * k * k, product = 2 * area * k;
    if (s->oblong) return 1.75 * product + (4 * NEWTON_SCHULZ_STEPS - 3) * symmetric;
    return NEWTON_SCHULZ_STEPS * (1.75 * product + symmetric);
}

/* The most expensive matrix first, each to the replica with the least work. */
static void deal_matrices(train_muon *u)
{
    int parts = u->g->data;
    double *load = rd_new(double, parts);
    for (int64_t i = 0; i < u->n; i++) u->matrix[i].owner = -1;
    for (int64_t done = 0; done < u->n; done++) {
        int64_t next = -1;
        for (int64_t i = 0; i < u->n; i++)
            if (u->matrix[i].owner < 0 && (next < 0 || u->matrix[i].flops > u->matrix[next].flops))
                next = i;
        int least = 0;
        for (int p = 1; p < parts; p++)
            if (load[p] < load[least]) least = p;
        u->matrix[next].owner = least;
        load[least] += u->matrix[next].flops;
    }
    rd_free(load);
}

/* Each replica's updates are contiguous; sharded they are used up one by one. */
static void place_updates(train_muon *u)
{
    int64_t total = 0, largest = 0;
    int parts = u->g->data;
    for (int p = 0; p < parts; p++) {
        u->owner_start[p] = total;
        for (int64_t i = 0; i < u->n; i++) {
            if (u->matrix[i].owner != p) continue;
            const rd_mat *w = &u->matrix[i].param->w;
            u->matrix[i].offset = u->sharded ? 0 : total;
            total += w->lm * w->ln;
            if (p == u->g->my_data && w->lm * w->ln > largest) largest = w->lm * w->ln;
        }
    }
    u->owner_start[parts] = total;
    u->updates = rd_new(float, u->sharded ? largest : total);
}

int muon_create(rd_model *model, bool sharded, int *owner, train_muon **muon)
{
    int rc = RD_OK;
    train_muon *u = rd_new(train_muon, 1);
    u->g = model->grid;
    u->sharded = sharded;
    u->matrix = rd_new(muon_matrix, model->trained->n);
    u->space = rd_new(shape_space, model->trained->n);
    u->owner_start = rd_new(int64_t, u->g->data + 1);
    for (int64_t i = 0; i < model->trained->n; i++) {
        const rd_param *p = &model->trained->item[i];
        if (!p->is_matrix) continue;
        muon_matrix *x = &u->matrix[u->n++];
        *x = (muon_matrix){.param = p, .index = i};
        RD_TRY(find_space(u, &p->w, &x->space));
        x->flops = step_flops(&u->space[x->space]);
    }
    deal_matrices(u);
    place_updates(u);
    for (int64_t i = 0; i < model->trained->n; i++) owner[i] = -1;
    for (int64_t i = 0; i < u->n; i++) owner[u->matrix[i].index] = u->matrix[i].owner;
    *muon = u;
    u = NULL;
done:
    muon_free(&u);
    return rc;
}

void muon_free(train_muon **muon)
{
    train_muon *u = *muon;
    if (u == NULL) return;
    for (int64_t i = 0; i < u->n_spaces; i++) {
        rd_mat_free(&u->space[i].other);
        rd_mat_free(&u->space[i].gram);
        rd_mat_free(&u->space[i].poly);
        rd_mat_free(&u->space[i].all);
        rd_mat_free(&u->space[i].tmp);
    }
    rd_free(u->space);
    rd_free(u->matrix);
    rd_free(u->updates);
    rd_free(u->owner_start);
    RD_FREE(*muon);
}

double muon_flops(const train_muon *u)
{
    double most = 0;
    for (int p = 0; p < u->g->data; p++) {
        double sum = 0;
        for (int64_t i = 0; i < u->n; i++)
            if (u->matrix[i].owner == p) sum += u->matrix[i].flops;
        if (sum > most) most = sum;
    }
    return most / (u->g->rows * u->g->cols);
}

/* ---------------------------------------------------------------- orthogonalisation */

/* n rows or columns of A from `from` on.  1 x 1 grids only. */
static int part_of(const rd_mat *A, bool rows, int64_t from, int64_t n, rd_mat *part)
{
    float *a = A->a + (rows ? from : from * A->ld);
    return rd_mat_view_of(A->grid, a, rows ? n : A->m, rows ? A->n : n, A->ld, part);
}

/* C = op(A) op(B) where C is known to be symmetric: its left half and the lower right quarter are
 * computed, the rest is mirrored. */
static int symmetric_product(char ta, char tb, const rd_mat *A, const rd_mat *B, rd_mat *C)
{
    int rc = RD_OK;
    enum { SMALLEST = 64, ROUND = 16 };
    int64_t k = C->m, half = (k / 2 + ROUND - 1) / ROUND * ROUND;
    rd_mat lower, first, second, c;
    if (k < SMALLEST || C->grid->rows * C->grid->cols > 1) return rd_gemm(ta, tb, 1, A, B, 0, C);
    RD_TRY(part_of(B, tb == 'T', 0, half, &first));
    RD_TRY(part_of(C, false, 0, half, &c));
    RD_TRY(rd_gemm(ta, tb, 1, A, &first, 0, &c));
    RD_TRY(part_of(A, ta == 'N', half, k - half, &lower));
    RD_TRY(part_of(B, tb == 'T', half, k - half, &second));
    RD_TRY(rd_mat_view_of(C->grid, C->a + half * C->ld + half, k - half, k - half, C->ld, &c));
    RD_TRY(rd_gemm(ta, tb, 1, &lower, &second, 0, &c));
    for (int64_t j = half; j < k; j++)
        for (int64_t i = 0; i < half; i++) C->a[j * C->ld + i] = C->a[i * C->ld + j];
done:
    return rc;
}

/* to = b from + c to. */
RD_CLONES
static void combine(int64_t n, float b, float c, const float *from, float *to)
{
    for (int64_t i = 0; i < n; i++) to[i] = b * from[i] + c * to[i];
}

/* P = a I + b A + c A^2. */
static int polynomial(const rd_mat *A, rd_mat *P)
{
    int rc = RD_OK;
    const float a = 3.4445f, b = -4.7750f, c = 2.0315f;
    RD_TRY(symmetric_product('N', 'N', A, A, P));
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (A->lm * A->ln > 2 * BLOCK)
    for (int64_t j = 0; j < A->ln; j++) {
        int64_t diagonal = rd_mat_local_row(A, rd_mat_global_col(A, j));
        float *to = P->a + j * P->ld;
        combine(A->lm, b, c, A->a + j * A->ld, to);
        if (diagonal >= 0) to[diagonal] += a;
    }
done:
    return rc;
}

static int apply(const shape_space *s, const rd_mat *P, const rd_mat *X, rd_mat *Y)
{
    return rd_gemm('N', 'N', 1, s->left ? P : X, s->left ? X : P, 0, Y);
}

static int gram(const shape_space *s, const rd_mat *X, rd_mat *A)
{
    return symmetric_product(s->left ? 'N' : 'T', s->left ? 'T' : 'N', X, X, A);
}

/* Steps on X itself, to and fro between two matrices; X's start is in `from`. */
static int steps_on_matrix(rd_mat *from, rd_mat *to, shape_space *s)
{
    int rc = RD_OK;
    for (int k = 0; k < NEWTON_SCHULZ_STEPS; k++) {
        RD_TRY(gram(s, from, &s->gram));
        RD_TRY(polynomial(&s->gram, &s->poly));
        RD_TRY(apply(s, &s->poly, from, to));
        rd_mat *swap = from;
        from = to;
        to = swap;
    }
done:
    return rc;
}

/* Steps on the Gram matrix.  All matrices here are polynomials in A: they commute and are
 * symmetric. */
static int steps_on_gram(const rd_mat *from, rd_mat *to, shape_space *s)
{
    int rc = RD_OK;
    rd_mat *A = &s->gram, *P = &s->poly, *Q = &s->all, *R = &s->tmp, *swap;
    RD_TRY(gram(s, from, A));
    RD_TRY(polynomial(A, Q));
    for (int k = 1; k < NEWTON_SCHULZ_STEPS; k++) {
        const rd_mat *last = k == 1 ? Q : P;
        RD_TRY(symmetric_product('N', 'N', last, A, R));
        RD_TRY(symmetric_product('N', 'N', R, last, A));
        RD_TRY(polynomial(A, P));
        RD_TRY(symmetric_product('N', 'N', P, Q, R));
        swap = Q;
        Q = R;
        R = swap;
    }
    RD_TRY(apply(s, Q, from, to));
done:
    return rc;
}

/* X with the singular vectors kept and the singular values brought near 1.  Collective on the
 * replica. */
static int orthogonalise(rd_mat *X, shape_space *s)
{
    int rc = RD_OK;
    rd_mat *Y = &s->other;
    double norm2;
    RD_TRY(rd_mat_norm2(X, &norm2));
    float scale = (float)(1 / (sqrt(norm2) + 1e-12));
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (X->lm * X->ln > 2 * BLOCK)
    for (int64_t j = 0; j < X->ln; j++)
        for (int64_t i = 0; i < X->lm; i++) Y->a[j * Y->ld + i] = scale * X->a[j * X->ld + i];
    RD_TRY(s->oblong ? steps_on_gram(Y, X, s) : steps_on_matrix(Y, X, s));
done:
    return rc;
}
_Static_assert(NEWTON_SCHULZ_STEPS % 2 == 1, "the result of an odd number of steps is in `to`");

/* Momentum and Nesterov's look-ahead: M <- mu M + G, U = G + mu M. */
RD_CLONES
static void look_ahead(int64_t n, float mu, float scale, const float *restrict g, float *restrict m,
                       float *restrict u)
{
    for (int64_t i = 0; i < n; i++) {
        float gi = scale * g[i];
        m[i] = mu * m[i] + gi;
        u[i] = gi + mu * m[i];
    }
}

/* A matrix's update, orthogonalised if that is this replica's to do. */
static int find_update(train_muon *u, const muon_matrix *x, float *m, float scale, float momentum)
{
    int rc = RD_OK;
    rd_mat view = x->param->w;
    view.a = u->updates + x->offset;
    view.owned = false;
    int64_t count = view.lm * view.ln;
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (count > 2 * BLOCK)
    for (int64_t k = 0; k < count; k += BLOCK)
        look_ahead(count - k < BLOCK ? count - k : BLOCK, momentum, scale, x->param->g.a + k, m + k,
                   view.a + k);
    if (x->owner == u->g->my_data) RD_TRY(orthogonalise(&view, &u->space[x->space]));
done:
    return rc;
}

RD_CLONES
static void move(int64_t n, float keep, float rate, const float *restrict by, float *restrict w)
{
    for (int64_t k = 0; k < n; k++) w[k] = keep * w[k] - rate * by[k];
}

static void update(const train_muon *u, const muon_matrix *x, double lr, double decay)
{
    const rd_param *p = x->param;
    const float *by = u->updates + x->offset;
    double aspect = (double)p->w.n / (double)p->w.m;
    float rate = (float)(lr * sqrt(aspect > 1 ? aspect : 1));
    float keep = (float)(p->decay ? 1 - lr * decay : 1);
    int64_t count = p->w.lm * p->w.ln;
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (count > 2 * BLOCK)
    for (int64_t k = 0; k < count; k += BLOCK)
        move(count - k < BLOCK ? count - k : BLOCK, keep, rate, by + k, p->w.a + k);
}

/* Every replica gets every update. */
static void send_updates(train_muon *u)
{
    for (int p = 0; p < u->g->data; p++) {
        int64_t n = u->owner_start[p + 1] - u->owner_start[p];
        if (n > 0)
            rd_bcast(&u->g->replicas, u->updates + u->owner_start[p], n * (int64_t)sizeof(float),
                     p);
    }
}

int muon_step(train_muon *u, const train_share *s, float *m, double scale, double lr,
              double momentum, double decay)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < u->n; i++) {
        const muon_matrix *x = &u->matrix[i];
        if (u->sharded && x->owner != u->g->my_data) continue;
        int64_t part =
            s->start[x->index]; /* there is none where this rank has none of the matrix */
        float *mine = part < s->start[x->index + 1] ? m + s->part[part].m : m;
        RD_TRY(find_update(u, x, mine, (float)scale, (float)momentum));
        if (u->sharded) update(u, x, lr, decay);
    }
    if (u->sharded) goto done;
    send_updates(u);
    for (int64_t i = 0; i < u->n; i++) update(u, &u->matrix[i], lr, decay);
done:
    return rc;
}
