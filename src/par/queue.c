/* queue.c: work units dealt to replicas as they ask.
 *
 * Tickets come from a shared counter: nobody has to serve the others, and a rank that fails alone
 * simply stops asking.  Cancelling adds a number so large that every later ticket lies beyond the
 * end. */
#include "rd/par.h"

#include <string.h>

struct rd_queue {
    const rd_grid *grid;
    int64_t n_todo;
    int64_t *todo; /* units that are not done, ascending */
    int64_t seen;  /* the largest ticket this rank has seen */
    rd_counter *tickets;
};

int rd_queue_create(const rd_grid *g, int64_t n, const uint8_t *done, rd_queue **queue)
{
    rd_queue *q = rd_new(rd_queue, 1);
    q->grid = g;
    q->todo = rd_new(int64_t, n);
    for (int64_t i = 0; i < n; i++)
        if (!done || !done[i]) q->todo[q->n_todo++] = i;
    rd_counter_create(&g->world, 1, NULL, &q->tickets);
    *queue = q;
    return RD_OK;
}

int rd_queue_next(rd_queue *q, int64_t *unit)
{
    int64_t ticket = 0;
    if (q->grid->tp.rank == 0) ticket = rd_counter_add(q->tickets, 0, 1);
    rd_bcast(&q->grid->tp, &ticket, sizeof ticket, 0);
    q->seen = ticket < q->n_todo ? ticket + 1 : q->n_todo;
    *unit = ticket < q->n_todo ? q->todo[ticket] : -1;
    return RD_OK;
}

void rd_queue_cancel(rd_queue *q)
{
    rd_counter_add(q->tickets, 0, INT64_C(1) << 40);
}
int64_t rd_queue_taken(rd_queue *q)
{
    return q->seen;
}

void rd_queue_free(rd_queue **queue)
{
    rd_queue *q = *queue;
    if (!q) return;
    rd_counter_free(&q->tickets);
    rd_free(q->todo);
    rd_free(q);
    *queue = NULL;
}
