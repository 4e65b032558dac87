/* deal.c: how the tokens of a call are dealt over grid columns: sequences whole, loads even.
 *
 * A grid column's tokens are one block of the token dimension, as wide as the fullest column's;
 * what is beyond a column's own tokens is padding.  All ranks of the replica work this out from the
 * whole batch, so nothing is communicated. */
#include "ops.h"

#include <stdlib.h>
#include <string.h>

void rd_deal_create(const rd_grid *g, int64_t max_T, rd_deal *d)
{
    *d = (rd_deal){.cols = g->cols, .my_col = g->my_col, .max_T = max_T};
    d->first = rd_new(int64_t, g->cols + 1);
    d->order = rd_new(int64_t, max_T);
    d->column = rd_new(int, max_T);
    d->longest = rd_new(rd_deal_entry, max_T);
    d->start = rd_new(int64_t, max_T + 1);
    d->position = rd_new(int32_t, max_T);
}

void rd_deal_free(rd_deal *d)
{
    rd_free(d->first);
    rd_free(d->order);
    rd_free(d->column);
    rd_free(d->longest);
    rd_free(d->start);
    rd_free(d->position);
    *d = (rd_deal){0};
}

/* The longest first; among equals the earlier one. */
static int compare(const void *a, const void *b)
{
    const rd_deal_entry *x = a, *y = b;
    if (x->length != y->length) return x->length > y->length ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Each sequence, the longest first, to the column with the fewest tokens: no column then holds more
 * than an even share and one sequence. */
void rd_deal_even(rd_deal *d, int64_t n_seq, const int64_t *start)
{
    int64_t n = 0;
    for (int64_t s = 0; s < n_seq; s++)
        if (start[s + 1] > start[s])
            d->longest[n++] = (rd_deal_entry){start[s + 1] - start[s], s, 0};
    if (d->cols > 1) {
        int64_t *load = d->first;
        qsort(d->longest, (size_t)n, sizeof(*d->longest), compare);
        memset(load, 0, (size_t)d->cols * sizeof(*load));
        for (int64_t i = 0; i < n; i++) {
            int least = 0;
            for (int c = 1; c < d->cols; c++)
                if (load[c] < load[least]) least = c;
            d->longest[i].column = least;
            load[least] += d->longest[i].length;
        }
    }
    /* Sequences without tokens go nowhere, so there are never more than max_T to list. */
    for (int64_t i = 0; i < n; i++) d->column[start[d->longest[i].index]] = d->longest[i].column;
    rd_deal_fill(d, n_seq, start);
}

void rd_deal_fill(rd_deal *d, int64_t n_seq, const int64_t *start)
{
    int64_t at = 0;
    d->T = start[n_seq];
    d->width = d->n = d->n_seq = d->start[0] = 0;
    for (int c = 0; c < d->cols; c++) {
        d->first[c] = at;
        for (int64_t s = 0; s < n_seq; s++) {
            int64_t length = start[s + 1] - start[s];
            if (length == 0 || d->column[start[s]] != c) continue;
            for (int64_t i = 0; i < length; i++) {
                d->order[at + i] = start[s] + i;
                if (c == d->my_col) d->position[at - d->first[c] + i] = (int32_t)i;
            }
            at += length;
            if (c == d->my_col) d->start[++d->n_seq] = at - d->first[c];
        }
        if (at - d->first[c] > d->width) d->width = at - d->first[c];
        if (c == d->my_col) d->n = at - d->first[c];
    }
    d->first[d->cols] = at;
}

void rd_pad(rd_tokens t, int64_t ld, float *x)
{
    if (t.n < t.width) memset(x + t.n * ld, 0, (size_t)((t.width - t.n) * ld) * sizeof(float));
}
