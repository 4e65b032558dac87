/* counter.c: numbers that all ranks add to as they go.
 *
 * They lie in a window on rank 0 and are advanced by one-sided fetch-and-add: nobody has to serve
 * the others, and a rank that fails alone simply adds nothing more. */
#include "rd/par.h"

struct rd_counter {
    rd_comm comm;
    int64_t *cell; /* the window's memory (rank 0 only) */
    MPI_Win win;
};

void rd_counter_create(const rd_comm *c, int n, const int64_t *start, rd_counter **counter)
{
    rd_counter *k = rd_new(rd_counter, 1);
    k->comm = *c;
    MPI_Aint bytes = c->rank == 0 ? n * (MPI_Aint)sizeof(int64_t) : 0;
    MPI_Win_allocate(bytes, sizeof(int64_t), MPI_INFO_NULL, c->mpi, &k->cell, &k->win);
    MPI_Win_lock_all(0, k->win);
    if (c->rank == 0) {
        for (int i = 0; i < n; i++) k->cell[i] = start ? start[i] : 0;
        MPI_Win_sync(k->win);
    }
    MPI_Barrier(c->mpi);
    *counter = k;
}

int64_t rd_counter_add(rd_counter *k, int i, int64_t by)
{
    int64_t before = 0;
    MPI_Fetch_and_op(&by, &before, MPI_INT64_T, 0, i, MPI_SUM, k->win);
    MPI_Win_flush(0, k->win);
    return before;
}

void rd_counter_serve(rd_counter *k)
{
    int there;
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, k->comm.mpi, &there, MPI_STATUS_IGNORE);
}

void rd_counter_free(rd_counter **counter)
{
    rd_counter *k = *counter;
    if (!k) return;
    MPI_Win_unlock_all(k->win);
    MPI_Win_free(&k->win);
    rd_free(k);
    *counter = NULL;
}
