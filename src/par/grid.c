/* grid.c: starting MPI and cutting the world into data x (rows x cols). */
#include "rd/par.h"

#include <stdlib.h>
#include <unistd.h>

int rd_par_begin(int *argc, char ***argv)
{
    /* Kernels have threads of their own, which never call MPI.  Where a library offers no more than
     * MPI_THREAD_SINGLE that works as well. */
    int provided;
    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
    rd_comm w = rd_comm_world();
    rd_log_rank(w.rank, w.size);
    rd_die_handler(rd_par_abort);
    return RD_OK;
}

void rd_par_end(void)
{
    MPI_Finalize();
}

static rd_comm wrap(MPI_Comm mpi)
{
    rd_comm c = {.mpi = mpi};
    MPI_Comm_rank(mpi, &c.rank);
    MPI_Comm_size(mpi, &c.size);
    return c;
}

rd_comm rd_comm_world(void)
{
    return wrap(MPI_COMM_WORLD);
}
rd_comm rd_comm_self(void)
{
    return wrap(MPI_COMM_SELF);
}

void rd_par_abort(int status)
{
    MPI_Abort(MPI_COMM_WORLD, status);
    abort(); /* MPI_Abort does not return */
}

void rd_par_abandon(int status)
{
    enum { PATIENCE = 30 }; /* seconds; a signal, with which launchers end a rank, ends them too */
    if (rd_comm_world().rank != 0 && sleep(PATIENCE) > 0) _exit(status);
    rd_par_abort(status);
}

static rd_comm split(const rd_comm *c, int color, int key)
{
    MPI_Comm mpi;
    MPI_Comm_split(c->mpi, color, key, &mpi);
    return wrap(mpi);
}

void rd_comm_nodes(const rd_comm *c, rd_comm *node, rd_comm *across)
{
    MPI_Comm mpi;
    MPI_Comm_split_type(c->mpi, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &mpi);
    *node = wrap(mpi);
    *across = split(c, node->rank, c->rank);
}

void rd_comm_free(rd_comm *c)
{
    if (c->size > 0) MPI_Comm_free(&c->mpi);
    *c = (rd_comm){0};
}

int rd_grid_create(int data, int rows, int cols, rd_grid **grid)
{
    int rc = RD_OK;
    rd_comm world = rd_comm_world();
    *grid = NULL;
    if (rows < 1 || cols < 1 || data < 0)
        RD_FAIL(RD_EINPUT, "grid %d x %d x %d: rows and cols must be at least 1", data, rows, cols);
    int64_t cells = (int64_t)rows * cols;
    if (data == 0 && cells <= world.size) data = world.size / (int)cells;
    if (data == 0) data = 1; /* for the message */
    if (cells > world.size || data * cells != world.size)
        RD_FAIL(RD_EINPUT, "grid data %d x rows %d x cols %d needs %lld ranks, the job has %d",
                data, rows, cols, (long long)(data * cells), world.size);
    rd_grid *g = rd_new(rd_grid, 1);
    int replica = rows * cols, inside = world.rank % replica;
    g->data = data;
    g->rows = rows;
    g->cols = cols;
    g->my_data = world.rank / replica;
    g->my_row = inside / cols;
    g->my_col = inside % cols;
    MPI_Comm own;
    MPI_Comm_dup(MPI_COMM_WORLD, &own); /* our messages never meet a library's */
    g->world = wrap(own);
    g->replicas = split(&world, inside, g->my_data);
    g->tp = split(&world, g->my_data, inside);
    g->over_rows = split(&g->tp, g->my_col, g->my_row);
    g->over_cols = split(&g->tp, g->my_row, g->my_col);
    g->blacs_context = -1;
    *grid = g;
done:
    return rc;
}

void rd_grid_self(rd_grid **grid)
{
    rd_grid *g = rd_new(rd_grid, 1);
    rd_comm *all[] = {&g->over_cols, &g->over_rows, &g->tp, &g->replicas, &g->world};
    g->data = g->rows = g->cols = 1;
    for (int i = 0; i < 5; i++) {
        MPI_Comm own;
        MPI_Comm_dup(MPI_COMM_SELF, &own);
        *all[i] = wrap(own);
    }
    g->blacs_context = -1;
    *grid = g;
}

void rd_grid_pretend(int data, int rows, int cols, rd_grid **grid)
{
    rd_grid_self(grid);
    rd_grid *g = *grid;
    g->data = data;
    g->rows = g->over_rows.size = rows;
    g->cols = g->over_cols.size = cols;
    g->replicas.size = data;
    g->tp.size = rows * cols;
    g->world.size = data * rows * cols;
}

void rd_grid_free(rd_grid **grid)
{
    rd_grid *g = *grid;
    if (!g) return;
    rd_comm *all[] = {&g->over_cols, &g->over_rows, &g->tp, &g->replicas, &g->world};
    for (int i = 0; i < 5; i++) MPI_Comm_free(&all[i]->mpi);
    rd_free(g);
    *grid = NULL;
}
