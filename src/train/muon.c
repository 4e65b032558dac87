/* muon.c: momentum, orthogonalised by Newton-Schulz steps (Jordan et al. 2024).
 *
 * The steps are products only, X <- a X + (b A + c A^2) X with A the Gram matrix on the smaller side,
 * and cost about as much as a tenth to a fifth of a small model's backward pass; so the matrices are
 * dealt over the replicas and the results are sent round, one broadcast per replica. */
#include "train_impl.h"

#include <math.h>
#include <string.h>

enum { NEWTON_SCHULZ_STEPS = 5 };

/* Work space for matrices of one shape. */
typedef struct shape_space {
    int64_t m, n, mb, nb;
    rd_mat other, gram, poly;
} shape_space;

typedef struct muon_matrix {
    const rd_param *param;
    int space;
    int owner;      /* replica that orthogonalises it */
    int64_t offset; /* of its local part in updates */
    double flops;
} muon_matrix;

struct train_muon {
    const rd_grid *g;
    float *weights; /* where the model's storage begins */
    int64_t n, n_spaces;
    muon_matrix *matrix;
    shape_space *space;
    float *updates;       /* the matrices' updates, by owner */
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
    *s = (shape_space){.m = w->m, .n = w->n, .mb = w->mb, .nb = w->nb};
    RD_TRY(rd_mat_create(u->g, w->m, w->n, w->mb, w->nb, &s->other));
    RD_TRY(rd_mat_create(u->g, k, k, block, block, &s->gram));
    RD_TRY(rd_mat_create(u->g, k, k, block, block, &s->poly));
done:
    return rc;
}

/* The most expensive matrix first, each to the replica with the least work; then the updates are
 * laid out so that each replica's are contiguous. */
static void deal_matrices(train_muon *u)
{
    int parts = u->g->data;
    double *load = rd_new(double, parts);
    for (int64_t i = 0; i < u->n; i++) u->matrix[i].owner = -1;
    for (int64_t done = 0; done < u->n; done++) {
        int64_t next = -1;
        for (int64_t i = 0; i < u->n; i++)
            if (u->matrix[i].owner < 0 &&
                (next < 0 || u->matrix[i].flops > u->matrix[next].flops))
                next = i;
        int least = 0;
        for (int p = 1; p < parts; p++)
            if (load[p] < load[least]) least = p;
        u->matrix[next].owner = least;
        load[least] += u->matrix[next].flops;
    }
    int64_t total = 0;
    for (int p = 0; p < parts; p++) {
        u->owner_start[p] = total;
        for (int64_t i = 0; i < u->n; i++) {
            if (u->matrix[i].owner != p) continue;
            const rd_mat *w = &u->matrix[i].param->w;
            u->matrix[i].offset = total;
            total += w->lm * w->ln;
        }
    }
    u->owner_start[parts] = total;
    u->updates = rd_new(float, total);
    rd_free(load);
}

int muon_create(rd_model *model, train_muon **muon)
{
    int rc = RD_OK;
    train_muon *u = rd_new(train_muon, 1);
    u->g = model->grid;
    u->weights = model->weights;
    u->matrix = rd_new(muon_matrix, model->n_params);
    u->space = rd_new(shape_space, model->n_params);
    u->owner_start = rd_new(int64_t, u->g->data + 1);
    for (int64_t i = 0; i < model->n_params; i++) {
        const rd_param *p = &model->params[i];
        if (!p->is_matrix) continue;
        muon_matrix *x = &u->matrix[u->n++];
        double k = (double)(p->w.m < p->w.n ? p->w.m : p->w.n);
        double area = (double)p->w.m * (double)p->w.n;
        *x = (muon_matrix){.param = p,
                           .flops = NEWTON_SCHULZ_STEPS * (4 * area * k + 2 * k * k * k)};
        RD_TRY(find_space(u, &p->w, &x->space));
    }
    deal_matrices(u);
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
    }
    rd_free(u->space);
    rd_free(u->matrix);
    rd_free(u->updates);
    rd_free(u->owner_start);
    RD_FREE(*muon);
}

/* ---------------------------------------------------------------- orthogonalisation */

/* P <- a I + b A + P, where P holds c A^2 on entry. */
static void finish_polynomial(double a, double b, const rd_mat *A, rd_mat *P)
{
    for (int64_t j = 0; j < A->ln; j++) {
        int64_t column = rd_mat_global_col(A, j);
        const float *from = A->a + j * A->ld;
        float *to = P->a + j * P->ld;
        for (int64_t i = 0; i < A->lm; i++) to[i] += (float)b * from[i];
        for (int64_t i = 0; i < A->lm; i++)
            if (rd_mat_global_row(A, i) == column) to[i] += (float)a;
    }
}

/* X, with the singular vectors kept and the singular values brought near 1.  Collective on the
 * replica.  Y is work space of the same shape; the result is in X (the steps are odd in number, so
 * X's start is copied to Y). */
static int orthogonalise(rd_mat *X, shape_space *s)
{
    int rc = RD_OK;
    const double a = 3.4445, b = -4.7750, c = 2.0315;
    rd_mat *from = &s->other, *to = X, *A = &s->gram, *P = &s->poly;
    bool left = X->m < X->n; /* the Gram matrix is X X^T, else X^T X */
    double norm2;
    RD_TRY(rd_mat_norm2(X, &norm2));
    float scale = (float)(1 / (sqrt(norm2) + 1e-12));
    for (int64_t j = 0; j < X->ln; j++)
        for (int64_t i = 0; i < X->lm; i++) from->a[j * from->ld + i] = scale * X->a[j * X->ld + i];
    for (int k = 0; k < NEWTON_SCHULZ_STEPS; k++) {
        RD_TRY(rd_gemm(left ? 'N' : 'T', left ? 'T' : 'N', 1, from, from, 0, A));
        RD_TRY(rd_gemm('N', 'N', (float)c, A, A, 0, P));
        finish_polynomial(a, b, A, P);
        RD_TRY(rd_gemm('N', 'N', 1, left ? P : from, left ? from : P, 0, to));
        rd_mat *swap = from;
        from = to;
        to = swap;
    }
done:
    return rc;
}
_Static_assert(NEWTON_SCHULZ_STEPS % 2 == 1, "the result of an odd number of steps is in X");

/* Momentum and Nesterov's look-ahead of one matrix: M <- mu M + G, U = G + mu M. */
static void look_ahead(int64_t n, float mu, float scale, const float *restrict g,
                       float *restrict m, float *restrict u)
{
    for (int64_t i = 0; i < n; i++) {
        float gi = scale * g[i];
        m[i] = mu * m[i] + gi;
        u[i] = gi + mu * m[i];
    }
}

int muon_step(train_muon *u, float *moment, double scale, double lr, double momentum,
              double decay)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < u->n; i++) {
        const muon_matrix *x = &u->matrix[i];
        const rd_param *p = x->param;
        rd_mat view = p->w;
        view.a = u->updates + x->offset;
        view.owned = false;
        look_ahead(view.lm * view.ln, (float)momentum, (float)scale, p->g.a,
                   moment + (p->w.a - u->weights), view.a);
        if (x->owner == u->g->my_data) RD_TRY(orthogonalise(&view, &u->space[x->space]));
    }
    for (int p = 0; p < u->g->data; p++) {
        int64_t n = u->owner_start[p + 1] - u->owner_start[p];
        if (n > 0)
            rd_bcast(&u->g->replicas, u->updates + u->owner_start[p], n * (int64_t)sizeof(float),
                     p);
    }
    for (int64_t i = 0; i < u->n; i++) {
        const rd_param *p = u->matrix[i].param;
        const float *update = u->updates + u->matrix[i].offset;
        double aspect = (double)p->w.n / (double)p->w.m;
        float rate = (float)(lr * sqrt(aspect > 1 ? aspect : 1));
        float keep = (float)(p->decay ? 1 - lr * decay : 1);
        for (int64_t k = 0; k < p->w.lm * p->w.ln; k++)
            p->w.a[k] = keep * p->w.a[k] - rate * update[k];
    }
done:
    return rc;
}
