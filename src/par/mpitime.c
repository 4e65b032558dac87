/* mpitime.c: time in MPI, also in the calls that libraries make.
 *
 * PBLAS communicates by itself, out of sight of our clocks.  MPI's profiling interface is made for
 * this: every MPI_X is also there as PMPI_X, so the program may define MPI_X, and the dynamic
 * linker (or the static one) gives it to the libraries too.  Wrapped are the calls in which BLACS
 * and ScaLAPACK move data or wait; par's own calls are timed where they stand (TIMED).
 *
 * Clocks are for the thread that runs the program; no library here calls MPI from another. */
#include "par_private.h"

static int depth;

double rd_mpi_enter(void)
{
    return depth++ == 0 ? rd_time() : 0;
}

void rd_mpi_leave(double start)
{
    if (--depth == 0) rd_clock_wait(rd_time() - start);
}

#define WRAP(name, parameters, arguments)   \
    int MPI_##name parameters               \
    {                                       \
        double start = rd_mpi_enter();      \
        int status = PMPI_##name arguments; \
        rd_mpi_leave(start);                \
        return status;                      \
    }

WRAP(Send, (const void *x, int n, MPI_Datatype t, int to, int tag, MPI_Comm c),
     (x, n, t, to, tag, c))
WRAP(Rsend, (const void *x, int n, MPI_Datatype t, int to, int tag, MPI_Comm c),
     (x, n, t, to, tag, c))
WRAP(Isend, (const void *x, int n, MPI_Datatype t, int to, int tag, MPI_Comm c, MPI_Request *r),
     (x, n, t, to, tag, c, r))
WRAP(Recv, (void *x, int n, MPI_Datatype t, int from, int tag, MPI_Comm c, MPI_Status *s),
     (x, n, t, from, tag, c, s))
WRAP(Irecv, (void *x, int n, MPI_Datatype t, int from, int tag, MPI_Comm c, MPI_Request *r),
     (x, n, t, from, tag, c, r))
WRAP(Sendrecv,
     (const void *x, int n, MPI_Datatype t, int to, int tag, void *y, int m, MPI_Datatype u,
      int from, int tag_in, MPI_Comm c, MPI_Status *s),
     (x, n, t, to, tag, y, m, u, from, tag_in, c, s))
WRAP(Testall, (int n, MPI_Request *r, int *done, MPI_Status *s), (n, r, done, s))
WRAP(Waitall, (int n, MPI_Request *r, MPI_Status *s), (n, r, s))
WRAP(Bcast, (void *x, int n, MPI_Datatype t, int root, MPI_Comm c), (x, n, t, root, c))
WRAP(Reduce, (const void *x, void *y, int n, MPI_Datatype t, MPI_Op op, int root, MPI_Comm c),
     (x, y, n, t, op, root, c))
WRAP(Allreduce, (const void *x, void *y, int n, MPI_Datatype t, MPI_Op op, MPI_Comm c),
     (x, y, n, t, op, c))
WRAP(Barrier, (MPI_Comm c), (c))
