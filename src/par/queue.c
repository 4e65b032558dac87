/* queue.c: work units dealt to replicas as they ask.
 *
 * A counter in a window on rank 0 is advanced by one-sided fetch-and-add: nobody has to serve the
 * others, and a rank that fails alone simply stops asking.  Cancelling adds a number so large that
 * every later ticket lies beyond the end. */
#include "rd/par.h"

#include <string.h>

struct rd_queue {
    const rd_grid *grid;
    int64_t n_todo;
    int64_t *todo;    /* units that are not done, ascending */
    int64_t seen;     /* the largest ticket this rank has seen */
    int64_t *counter; /* the window's memory (rank 0 only) */
    MPI_Win win;
};

int rd_queue_create(const rd_grid *g, int64_t n, const uint8_t *done, rd_queue **queue)
{
    rd_queue *q = rd_new(rd_queue, 1);
    q->grid = g;
    q->todo = rd_new(int64_t, n);
    for (int64_t i = 0; i < n; i++)
        if (!done || !done[i]) q->todo[q->n_todo++] = i;
    MPI_Aint bytes = g->world.rank == 0 ? (MPI_Aint)sizeof(int64_t) : 0;
    MPI_Win_allocate(bytes, sizeof(int64_t), MPI_INFO_NULL, g->world.mpi, &q->counter, &q->win);
    MPI_Win_lock_all(0, q->win);
    if (g->world.rank == 0) {
        *q->counter = 0;
        MPI_Win_sync(q->win);
    }
    MPI_Barrier(g->world.mpi);
    *queue = q;
    return RD_OK;
}

static int64_t advance(rd_queue *q, int64_t by)
{
    int64_t ticket = 0;
    MPI_Fetch_and_op(&by, &ticket, MPI_INT64_T, 0, 0, MPI_SUM, q->win);
    MPI_Win_flush(0, q->win);
    return ticket;
}

int rd_queue_next(rd_queue *q, int64_t *unit)
{
    int64_t ticket = 0;
    if (q->grid->tp.rank == 0) ticket = advance(q, 1);
    rd_bcast(&q->grid->tp, &ticket, sizeof ticket, 0);
    q->seen = ticket < q->n_todo ? ticket + 1 : q->n_todo;
    *unit = ticket < q->n_todo ? q->todo[ticket] : -1;
    return RD_OK;
}

void rd_queue_cancel(rd_queue *q)
{
    advance(q, INT64_C(1) << 40);
}
int64_t rd_queue_taken(rd_queue *q)
{
    return q->seen;
}

void rd_queue_free(rd_queue **queue)
{
    rd_queue *q = *queue;
    if (!q) return;
    MPI_Win_unlock_all(q->win);
    MPI_Win_free(&q->win);
    rd_free(q->todo);
    rd_free(q);
    *queue = NULL;
}
