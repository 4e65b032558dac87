/* share.c: which replica updates what of the trained storage.
 *
 * Parameters are cut into parts.  A part has one owner, and it is the unit in which the gradient's
 * norm is added up: parts do not depend on the number of replicas or on who owns them, so neither
 * do the bits of the norm.  Every replica holds the moments of all parts, or, sharded, of its
 * own. */
#include "train_impl.h"

enum { PART = 4096 };

/* Parts of all parameters, in storage order; with part == NULL they are only counted. */
static int64_t cut(const rd_params *params, share_part *part, int64_t *start)
{
    int64_t n = 0;
    for (int64_t i = 0; i < params->n; i++) {
        const rd_mat *w = &params->item[i].w;
        int64_t first = w->a - params->weights, end = first + w->lm * w->ln;
        RD_ASSERT(w->ln <= 1 || w->ld == w->lm || w->lm == 0);
        if (start != NULL) start[i] = n;
        for (int64_t at = first; at < end; at += PART, n++)
            if (part != NULL)
                part[n] = (share_part){
                    .param = i, .first = at, .count = end - at < PART ? end - at : PART};
    }
    if (start != NULL) start[params->n] = n;
    return n;
}

/* Pieces of the flow: parts with the padding behind them. */
static void make_flow(const rd_grid *g, int64_t storage, train_share *s)
{
    rd_piece *piece = rd_new(rd_piece, s->n);
    for (int64_t k = 0; k < s->n; k++) {
        int64_t first = k == 0 ? 0 : s->part[k].first;
        int64_t end = k + 1 < s->n ? s->part[k + 1].first : storage;
        piece[k] = (rd_piece){.first = first, .count = end - first, .owner = s->part[k].owner};
    }
    rd_flow_deal(g->replicas.size, s->n, piece);
    for (int64_t k = 0; k < s->n; k++) s->part[k].owner = piece[k].owner;
    rd_flow_create(&g->replicas, s->n, piece, &s->flow);
    rd_free(piece);
}

void share_create(const rd_grid *g, const rd_params *params, const int *muon_owner, bool sharded,
                  train_share *s)
{
    *s = (train_share){.sharded = sharded, .n = cut(params, NULL, NULL)};
    s->part = rd_new(share_part, s->n);
    s->start = rd_new(int64_t, params->n + 1);
    cut(params, s->part, s->start);
    for (int64_t k = 0; k < s->n; k++)
        s->part[k].owner = sharded ? muon_owner[s->part[k].param] : -1;
    make_flow(g, params->storage, s);
    for (int64_t k = 0; k < s->n; k++) {
        share_part *p = &s->part[k];
        p->held = !sharded || p->owner == g->replicas.rank;
        if (!p->held) continue;
        p->m = s->m_size;
        s->m_size += p->count;
        if (muon_owner[p->param] >= 0) continue;
        p->v = s->v_size;
        s->v_size += p->count;
    }
}

void share_free(train_share *s)
{
    rd_flow_free(&s->flow);
    RD_FREE(s->part);
    RD_FREE(s->start);
}
