/* split.c: how features are dealt over the grid: block sizes, this rank's share, activation views.
 *
 * One block size per kind of feature, used for the rows of activations and for both dimensions of
 * weights, so that the operands of every product are aligned.  The queries of a key-value head are
 * one block and the head itself another: dealt in turn, both land on the same grid row, and
 * attention needs no communication.  Gate and up have the same blocks, so SwiGLU needs none. */
#include "ops.h"

static int64_t divisor(int64_t a, int64_t b)
{
    return b == 0 ? a : divisor(b, a % b);
}

/* One block for each rank along either side of the grid, where sides of different length get as
 * many blocks as both divide: even shares, and products have few large pieces to send.  Where that
 * leaves little in a block, about 64 and as even as blocks of four allow. */
static int64_t even_block(int64_t n, const rd_grid *g)
{
    enum { WANTED = 64, COARSE = 32, STEP = 4 };
    RD_ASSERT(g->rows > 0 && g->cols > 0);
    int64_t parts = g->rows > g->cols ? g->rows : g->cols;
    int64_t pieces = g->rows / divisor(g->rows, g->cols) * g->cols;
    int64_t blocks = (n + parts * WANTED - 1) / (parts * WANTED);
    bool large = n >= pieces * WANTED;
    int64_t size = large ? (n + pieces - 1) / pieces : (n + parts * blocks - 1) / (parts * blocks);
    return size < COARSE ? size : (size + STEP - 1) / STEP * STEP;
}

void rd_split_make(const rd_grid *g, const rd_model_config *c, rd_split *s)
{
    *s = (rd_split){.block = {[RD_WIDTH] = even_block(c->width, g),
                              [RD_QUERY] = c->heads / c->kv_heads * c->head_size,
                              [RD_KEY] = c->head_size,
                              [RD_FFN] = even_block(c->ffn, g),
                              [RD_VOCAB] = even_block(c->vocab, g),
                              [RD_RANK] = 1},
                    .size = {[RD_WIDTH] = c->width,
                             [RD_QUERY] = c->heads * c->head_size,
                             [RD_KEY] = c->kv_heads * c->head_size,
                             [RD_FFN] = c->ffn,
                             [RD_VOCAB] = c->vocab}};
    for (int i = 0; i < RD_FEATURES; i++)
        s->local[i] = rd_dealt_count(s->size[i], s->block[i], g->my_row, g->rows);
    s->kv_heads = s->local[RD_KEY] / c->head_size;
    s->heads = s->local[RD_QUERY] / c->head_size;
    s->qkv = s->local[RD_QUERY] + 2 * s->local[RD_KEY];
}

void rd_split_rank(const rd_grid *g, int64_t rank, rd_split *s)
{
    s->size[RD_RANK] = rank;
    s->block[RD_RANK] = rank > 0 ? even_block(rank, g) : 1;
    s->local[RD_RANK] = rd_dealt_count(rank, s->block[RD_RANK], g->my_row, g->rows);
}

/* Features of one kind inside columns of ld floats. */
static int view_part(const rd_model *model, rd_feature f, float *a, int64_t width, int64_t ld,
                     rd_mat *view)
{
    const rd_grid *g = model->grid;
    const rd_split *s = &model->layers->split;
    return rd_mat_view_blocks(g, a, s->size[f], width * g->cols, s->block[f], width,
                              ld > 0 ? ld : 1, view);
}

int rd_view(const rd_model *model, rd_feature f, float *a, int64_t width, rd_mat *view)
{
    return view_part(model, f, a, width, model->layers->split.local[f], view);
}

int rd_view_qkv(const rd_model *model, float *a, int64_t width, rd_mat *view)
{
    int rc = RD_OK;
    const rd_split *s = &model->layers->split;
    int64_t q = s->local[RD_QUERY], k = s->local[RD_KEY];
    if (model->layers->n_qkv == 1)
        return rd_mat_view_of(model->grid, a, s->qkv, width, s->qkv, view);
    RD_TRY(view_part(model, RD_QUERY, a, width, s->qkv, &view[0]));
    RD_TRY(view_part(model, RD_KEY, a + q, width, s->qkv, &view[1]));
    RD_TRY(view_part(model, RD_KEY, a + q + k, width, s->qkv, &view[2]));
done:
    return rc;
}

int rd_view_gate_up(const rd_model *model, float *a, int64_t width, rd_mat *view)
{
    int rc = RD_OK;
    int64_t f = model->layers->split.local[RD_FFN];
    if (model->layers->n_gate_up == 1)
        return rd_mat_view_of(model->grid, a, 2 * f, width, 2 * f, view);
    RD_TRY(view_part(model, RD_FFN, a, width, 2 * f, &view[0]));
    RD_TRY(view_part(model, RD_FFN, a + f, width, 2 * f, &view[1]));
done:
    return rc;
}

int rd_view_target(const rd_model *model, rd_target t, float *a, int64_t width, rd_mat *view)
{
    const rd_split *s = &model->layers->split;
    int64_t q = s->local[RD_QUERY], k = s->local[RD_KEY], f = s->local[RD_FFN];
    switch (t) {
    case RD_Q: return view_part(model, RD_QUERY, a, width, s->qkv, view);
    case RD_K: return view_part(model, RD_KEY, a + q, width, s->qkv, view);
    case RD_V: return view_part(model, RD_KEY, a + q + k, width, s->qkv, view);
    case RD_GATE: return view_part(model, RD_FFN, a, width, 2 * f, view);
    case RD_UP: return view_part(model, RD_FFN, a + f, width, 2 * f, view);
    default: return rd_view(model, RD_WIDTH, a, width, view);
    }
}
