/* panels.c: products on rows x cols grids with our own kernel: SUMMA (van de Geijn and Watts 1997)
 * with panels as wide as memory allows.
 *
 * PBLAS cuts a product into panels of 32 and copies and sends each; here a panel is some hundred
 * wide, goes out from where it lies, and what is the sender's own never moves.  In each type of
 * product one dimension is dealt over grid rows in one matrix and over grid columns in another:
 *
 *   T N   C = A^T B   m: columns of A, rows of C      A's panel is gathered over grid columns, the
 *                                                     product summed over grid rows at its owner
 *   N N   C = A B     k: columns of A, rows of B      both panels are gathered
 *   N T   C = A B^T   n: rows of B, columns of C      B's panel is gathered over grid rows, the
 *                                                     product summed over grid columns at its owner
 *
 * All panels cut that dimension.  A panel takes the same part of `ways` consecutive blocks, where
 * ways is the larger extent of the grid: every grid row and column then has as much to send.
 * The order of all sums is fixed by the grid, so a product has the same bits every time.  In
 * bfloat16 what is gathered is rounded before it goes out, in half the words; partial sums are
 * float32. */
#include "panels.h"
#include "tiles.h"

#include <string.h>

enum { ROOM = 1 << 21 }; /* floats in each buffer */

/* A stretch of the dimension, inside one block. */
typedef struct span {
    int64_t n;
    int row, col;           /* who owns it where the dimension is dealt over rows, over columns */
    int64_t in_row, in_col; /* its local index there */
    rd_factor a, b;         /* its panels */
} span;

struct rd_panels {
    int ways;
    span *span; /* [ways] */
    float *a, *b, *send, *recv;
    int64_t *send_n, *recv_n; /* [ways] by rank */
};

void rd_panels_create(rd_grid *g)
{
    struct rd_panels *p = rd_new(struct rd_panels, 1);
    p->ways = g->rows > g->cols ? g->rows : g->cols;
    p->span = rd_new(span, p->ways);
    p->send_n = rd_new(int64_t, p->ways);
    p->recv_n = rd_new(int64_t, p->ways);
    p->a = g->cols > 1 ? rd_new(float, ROOM) : NULL;
    p->b = g->rows > 1 ? rd_new(float, ROOM) : NULL;
    p->send = rd_new(float, ROOM);
    p->recv = rd_new(float, 2 * ROOM); /* of several owners' spans a rank can have one more */
    g->panels = p;
}

void rd_panels_free(rd_grid *g)
{
    struct rd_panels *p = g->panels;
    if (p == NULL) return;
    rd_free(p->span);
    rd_free(p->send_n);
    rd_free(p->recv_n);
    rd_free(p->a);
    rd_free(p->b);
    rd_free(p->send);
    rd_free(p->recv);
    RD_FREE(g->panels);
}

/* The most elements any rank holds of a dimension. */
static int64_t most(int64_t n, int64_t block, int np)
{
    return rd_dealt_count(n, block, 0, np);
}

/* Floats per index of the dimension in the largest panel or partial product of a rank. */
static int64_t thickness(char ta, char tb, const rd_mat *A, const rd_mat *B, const rd_mat *C)
{
    const rd_grid *g = C->grid;
    int64_t a = ta == 'T' || tb == 'N' ? most(A->m, A->mb, g->rows) : 0;
    int64_t b = most(B->n, B->nb, g->cols);
    int64_t c = ta == 'T' ? most(C->n, C->nb, g->cols) : most(C->m, C->mb, g->rows);
    if (b > a) a = b;
    return c > a ? c : a;
}

bool rd_panels_fit(char ta, char tb, const rd_mat *A, const rd_mat *B, const rd_mat *C)
{
    const rd_grid *g = C->grid;
    if (g->panels == NULL || (ta == 'T' && tb == 'T')) return false;
    int64_t k = ta == 'N' ? A->n : A->m;
    int64_t ablock[2] = {ta == 'N' ? A->mb : A->nb, ta == 'N' ? A->nb : A->mb};
    int64_t bblock[2] = {tb == 'N' ? B->mb : B->nb, tb == 'N' ? B->nb : B->mb};
    if (k == 0 || ablock[0] != C->mb || bblock[1] != C->nb || ablock[1] != bblock[0]) return false;
    /* With few columns, as in decoding, PBLAS moves these instead of A. */
    int64_t smaller = C->m < k ? C->m : k;
    if (g->cols > 1 && tb == 'N' && 2 * C->n < smaller) return false;
    return thickness(ta, tb, A, B, C) <= ROOM / g->panels->ways;
}

/* ---------------------------------------------------------------- the parts of a panel */

/* Spans of the panel at `off` in round `round`; false when there is nothing left of the round. */
static bool cut(const rd_grid *g, int64_t total, int64_t block, int64_t round, int64_t off,
                int64_t width)
{
    struct rd_panels *p = g->panels;
    for (int q = 0; q < p->ways; q++) {
        int64_t b = round * p->ways + q, first = b * block + off;
        int64_t n = block - off < width ? block - off : width;
        if (n > total - first) n = total - first > 0 ? total - first : 0;
        p->span[q] = (span){.n = n,
                            .row = (int)(b % g->rows),
                            .col = (int)(b % g->cols),
                            .in_row = b / g->rows * block + off,
                            .in_col = b / g->cols * block + off};
    }
    return p->span[0].n > 0;
}

/* lm x n numbers without gaps, rounded or as they are; how many floats they take. */
static int64_t copy_panel(bool half, int64_t lm, int64_t n, const float *x, int64_t ld, float *to)
{
    for (int64_t j = 0; j < n && x != NULL; j++) {
        if (half)
            rd_halves_from_f32(lm, x + j * ld, (uint16_t *)to + j * lm);
        else
            memcpy(to + j * lm, x + j * ld, (size_t)lm * sizeof(*to));
    }
    return half ? (lm * n + 1) / 2 : lm * n;
}

/* The panel of A, whose columns are dealt over grid columns, on every one of them. */
static void gather_a(struct rd_panels *p, bool half, const rd_mat *A)
{
    const rd_comm *c = &A->grid->over_cols;
    float *at = p->a;
    for (int r = 0; r < c->size; r++) {
        p->recv_n[r] = 0;
        for (int q = 0; q < p->ways; q++) {
            span *s = &p->span[q];
            if (s->col != r || s->n == 0) continue;
            const float *own = A->a + s->in_col * A->ld;
            s->a = (rd_factor){.a = own, .ld = A->ld};
            if (c->size == 1) continue;
            s->a = (rd_factor){.a = at, .ld = A->lm, .half = half};
            int64_t words = copy_panel(half, A->lm, s->n, r == c->rank ? own : NULL, A->ld, at);
            at += words;
            p->recv_n[r] += words;
        }
    }
    rd_gather_f32(c, p->a, p->recv_n);
}

/* The panel of B, whose rows are dealt over grid rows. */
static void gather_b(struct rd_panels *p, bool half, const rd_mat *B)
{
    const rd_comm *c = &B->grid->over_rows;
    float *at = p->b;
    for (int r = 0; r < c->size; r++) {
        p->recv_n[r] = 0;
        for (int q = 0; q < p->ways; q++) {
            span *s = &p->span[q];
            if (s->row != r || s->n == 0) continue;
            const float *own = B->a + s->in_row;
            s->b = (rd_factor){.a = own, .ld = B->ld};
            if (c->size == 1) continue;
            if (r != c->rank) s->b = (rd_factor){.a = at, .ld = s->n, .half = half};
            int64_t words = copy_panel(half, s->n, B->ln, r == c->rank ? own : NULL, B->ld, at);
            at += words;
            p->recv_n[r] += words;
        }
    }
    rd_gather_f32(c, p->b, p->recv_n);
}

/* y: m x n += x, which has no gaps. */
static const float *add(int64_t m, int64_t n, const float *x, float *y, int64_t ldy)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++) y[j * ldy + i] += x[j * m + i];
    return x + m * n;
}

/* Where a span of C lies in its owner's share, and its shape there. */
static float *part_of(const rd_mat *C, bool rows, const span *s, int64_t *m, int64_t *n)
{
    *m = rows ? s->n : C->lm;
    *n = rows ? C->ln : s->n;
    return rows ? C->a + s->in_row : C->a + s->in_col * C->ld;
}

/* C = alpha op(A) op(B) + beta C on this rank; ta, tb: transposed? */
static void local(bool half, int64_t m, int64_t n, int64_t k, float alpha, rd_factor A, bool ta,
                  rd_factor B, bool tb, float beta, float *C, int64_t ldc)
{
    A.transposed = ta;
    B.transposed = tb;
    const rd_product p = {m, n, k, alpha, beta, A, B, C, ldc};
    if (half)
        rd_tiles_half(&p);
    else
        rd_tiles_f32(&p);
}

static rd_factor share(const rd_mat *A)
{
    return (rd_factor){.a = A->a, .ld = A->ld};
}

/* Partial products of the panel, each summed at the owner of its span; rows: of C, or columns. */
static void product_summed(struct rd_panels *p, bool half, bool rows, float alpha, const rd_mat *A,
                           const rd_mat *B, float beta, rd_mat *C)
{
    const rd_comm *c = rows ? &C->grid->over_rows : &C->grid->over_cols;
    float *to = p->send;
    int64_t m, n, mine = 0;
    for (int r = 0; r < c->size; r++) {
        p->send_n[r] = 0;
        for (int q = 0; q < p->ways; q++) {
            const span *s = &p->span[q];
            if ((rows ? s->row : s->col) != r || s->n == 0) continue;
            float *own = part_of(C, rows, s, &m, &n);
            bool here = r == c->rank;
            float *out = here ? own : to;
            if (rows)
                local(half, m, n, A->lm, alpha, s->a, true, share(B), false, here ? beta : 0, out,
                      here ? C->ld : m);
            else
                local(half, m, n, A->ln, alpha, share(A), false, s->b, true, here ? beta : 0, out,
                      here ? C->ld : m);
            if (here) {
                mine += m * n;
            } else {
                to += m * n;
                p->send_n[r] += m * n;
            }
        }
    }
    if (c->size == 1) return;
    for (int r = 0; r < c->size; r++) p->recv_n[r] = r == c->rank ? 0 : mine;
    rd_exchange_f32(c, p->send, p->send_n, p->recv, p->recv_n);
    const float *in = p->recv;
    for (int r = 0; r < c->size; r++)
        for (int q = 0; q < p->ways && r != c->rank; q++) {
            const span *s = &p->span[q];
            if ((rows ? s->row : s->col) != c->rank || s->n == 0) continue;
            float *own = part_of(C, rows, s, &m, &n);
            in = add(m, n, in, own, C->ld);
        }
}

static void product_gathered(struct rd_panels *p, bool half, float alpha, float beta, rd_mat *C)
{
    for (int q = 0; q < p->ways; q++) {
        const span *s = &p->span[q];
        if (s->n == 0) continue;
        local(half, C->lm, C->ln, s->n, alpha, s->a, false, s->b, false, beta, C->a, C->ld);
        beta = 1;
    }
}

/* How a dimension is cut: `total` indices in blocks, panels of `width` of each of `ways` blocks. */
typedef struct cutting {
    int64_t total, block, longest, width;
} cutting;

static cutting cutting_make(const struct rd_panels *p, int64_t total, int64_t block, int64_t thick)
{
    RD_ASSERT(thick > 0);
    cutting c = {total, block, block < total ? block : total, ROOM / (p->ways * thick)};
    int64_t pieces = (c.longest + c.width - 1) / c.width;
    if (pieces > 0) c.width = (c.longest + pieces - 1) / pieces; /* of even size */
    return c;
}

/* The next panel's spans, from round and off on; false after the last. */
static bool next(const rd_grid *g, const cutting *c, int64_t *round, int64_t *off)
{
    struct rd_panels *p = g->panels;
    for (; *round * p->ways * c->block < c->total; *off = 0, ++*round) {
        if (*off >= c->longest || !cut(g, c->total, c->block, *round, *off, c->width)) continue;
        *off += c->width;
        return true;
    }
    return false;
}

void rd_panels_gemm(bool half, char ta, char tb, float alpha, const rd_mat *A, const rd_mat *B,
                    float beta, rd_mat *C)
{
    const rd_grid *g = C->grid;
    struct rd_panels *p = g->panels;
    bool tn = ta == 'T', nt = tb == 'T';
    int64_t round = 0, off = 0;
    cutting c = cutting_make(p, nt ? B->m : A->n, nt ? B->mb : A->nb, thickness(ta, tb, A, B, C));
    while (next(g, &c, &round, &off)) {
        if (!nt) gather_a(p, half, A);
        if (!tn) gather_b(p, half, B);
        if (tn || nt) {
            product_summed(p, half, tn, alpha, A, B, beta, C);
        } else {
            product_gathered(p, half, alpha, beta, C);
            beta = 1;
        }
    }
}

bool rd_panels_fit_pair(const rd_mat *W, const rd_mat *dY, const rd_mat *dX, const rd_mat *X,
                        const rd_mat *dW)
{
    return rd_panels_fit('N', 'N', W, dY, dX) && rd_panels_fit('N', 'T', X, dY, dW);
}

void rd_panels_pair(const rd_mat *W, const rd_mat *dY, float beta, rd_mat *dX, const rd_mat *X,
                    rd_mat *dW)
{
    const rd_grid *g = dX->grid;
    struct rd_panels *p = g->panels;
    bool half = g->bf16;
    int64_t round = 0, off = 0, thick = thickness('N', 'N', W, dY, dX);
    int64_t other = thickness('N', 'T', X, dY, dW);
    cutting c = cutting_make(p, dY->m, dY->mb, other > thick ? other : thick);
    while (next(g, &c, &round, &off)) {
        gather_a(p, half, W);
        gather_b(p, half, dY);
        product_gathered(p, half, 1, beta, dX);
        product_summed(p, half, false, 1, X, dY, 1, dW);
        beta = 1;
    }
}
