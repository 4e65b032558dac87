/* par: the process grid, collectives, agreement on errors, the work queue, stop requests.
 *
 * The one door to MPI (io also opens it, for HDF5's communicator).
 *
 *   world = data x (rows x cols)
 *
 * A replica (tp) is rows x cols ranks that hold one model: features are dealt over grid rows,
 * tokens over grid columns.  data counts replicas; work units and micro-batches go to replicas. */
#ifndef RD_PAR_H
#define RD_PAR_H

#include "rd/base.h"
#include <mpi.h>

/* A communicator with its rank and size at hand.  Open: readers look, only par changes it. */
typedef struct rd_comm {
    MPI_Comm mpi;
    int rank, size;
} rd_comm;

typedef struct rd_grid {
    int data, rows, cols;        /* extents */
    int my_data, my_row, my_col; /* this rank's place; world rank = (data*rows + row)*cols + col */
    rd_comm world;               /* all ranks */
    rd_comm replicas;            /* same (row, col) in every replica: gradients are summed here */
    rd_comm tp;                  /* my replica, row-major */
    rd_comm over_rows;           /* my replica, my column: sums over grid rows */
    rd_comm over_cols;           /* my replica, my row */
    int blacs_context;           /* owned by la (rd_la_attach); -1 before */
    bool bf16;                   /* set by la (rd_la_use_bf16): the arithmetic of mixed products */
    struct rd_panels *panels;    /* owned by la; NULL: products through PBLAS */
} rd_grid;

/* Start and end MPI; rd_par_begin also sets the log's rank and the die handler.  Collective. */
int rd_par_begin(int *argc, char ***argv);
void rd_par_end(void);
rd_comm rd_comm_world(void);
rd_comm rd_comm_self(void);
_Noreturn void rd_par_abort(int status);
/* The end after RD_EIO: without MPI_Finalize, in which HDF5 would close files that it can no longer
 * write and may crash or wait.  All ranks call it; rank 0 ends the job and the others only wait for
 * that, so that mpirun has rank 0's status. */
_Noreturn void rd_par_abandon(int status);
/* Ranks of c on my node (that share its memory), and those that are as many-th on theirs as I am on
 * mine.  Collective on c; freed by rd_comm_free, which is Collective on them. */
void rd_comm_nodes(const rd_comm *c, rd_comm *node, rd_comm *across);
void rd_comm_free(rd_comm *c);

/* Make the grid.  Collective on world; data = 0 takes as many replicas as the ranks allow.
 * Errors: RD_EINPUT when data*rows*cols != ranks. */
int rd_grid_create(int data, int rows, int cols, rd_grid **grid);
/* A 1 x 1 grid of this rank alone, whatever the job's size: for work that no other rank shares.
 * Local. */
void rd_grid_self(rd_grid **grid);
/* The rank (0, 0, 0), which owns the most, of a grid that need not exist: for set-up under
 * rd_mem_pretend.  Its communicators claim their sizes and hold this rank alone.  Local. */
void rd_grid_pretend(int data, int rows, int cols, rd_grid **grid);
void rd_grid_free(rd_grid **grid);

/* ---------------------------------------------------------------- collectives (coll.c) */

/* All ranks return the same code: the most negative one (the lowest rank's among equals), whose
 * message every rank then holds.  Collective on c; one small allreduce, one broadcast only on
 * failure.  Use it on a local result before the next communication:
 *     RD_TRY(rd_agree(&g->world, open_it(path))); */
int rd_agree(const rd_comm *c, int code);
/* Debug check that n is equal on all ranks; RD_EINTERNAL otherwise.  Collective. */
int rd_same_i64(const rd_comm *c, const char *what, int64_t n);

/* All Collective on c, in place, result on all ranks; sizes equal on all ranks.  For a fixed rank
 * count the result is the same bits every time. */
void rd_barrier(const rd_comm *c);
void rd_bcast(const rd_comm *c, void *bytes, int64_t n, int root);
void rd_bcast_buf(const rd_comm *c, rd_buf *b, int root); /* length first */
void rd_sum_f32(const rd_comm *c, float *x, int64_t n);
void rd_sum_f64(const rd_comm *c, double *x, int64_t n);
void rd_sum_i64(const rd_comm *c, int64_t *x, int64_t n);
void rd_max_f64(const rd_comm *c, double *x, int64_t n);
void rd_min_f64(const rd_comm *c, double *x, int64_t n);
void rd_max_i64(const rd_comm *c, int64_t *x, int64_t n);
int64_t rd_exscan_i64(const rd_comm *c, int64_t n); /* sum over lower ranks */
/* Allgather of equal or unequal pieces: all (total bytes) is allocated, sizes (c->size) too. */
void rd_allgather(const rd_comm *c, const void *mine, int64_t n, char **all, int64_t **sizes);
/* send_n floats to the next rank of a ring, recv_n from the one before. */
void rd_shift_f32(const rd_comm *c, const float *send, int64_t send_n, float *recv, int64_t recv_n);
/* Every rank sends send_n[r] floats to each rank r and receives recv_n[r] from it; pieces lie in
 * rank order without gaps.  send_n here = recv_n there.  Allocates nothing. */
void rd_exchange_f32(const rd_comm *c, const float *send, const int64_t *send_n, float *recv,
                     const int64_t *recv_n);
/* all: pieces of n[r] floats in rank order without gaps.  Rank r brings the r-th, in its place, and
 * gets the others.  n equal on all ranks.  Allocates nothing. */
void rd_gather_f32(const rd_comm *c, float *all, const int64_t *n);
/* n floats to another rank, which receives them.  Both block. */
void rd_send_f32(const rd_comm *c, const float *x, int64_t n, int to);
void rd_receive_f32(const rd_comm *c, float *x, int64_t n, int from);

/* Records of work units, wherever they were computed, brought into unit order: rank r receives
 * the units [n*r/size, n*(r+1)/size).  Collective on c.
 *   n_mine records with unit numbers mine[i] and bytes blob[i]; every unit 0 … n-1 must exist
 *   exactly once over all ranks (RD_EINTERNAL otherwise).
 * out: *first, *count, and (*blobs)[count]; each data is freed by rd_buf_free, the array by
 * rd_free. */
int rd_exchange_units(const rd_comm *c, int64_t n, int64_t n_mine, const int64_t *mine,
                      const rd_buf *blob, int64_t *first, int64_t *count, rd_buf **blobs);

/* ---------------------------------------------------------------- shared numbers (counter.c) */

/* n numbers on c's rank 0 that every rank adds to when it likes (one-sided).  create, free:
 * Collective on c; start (n values, NULL: zeros) counts on rank 0.  add: Local; gives the value
 * before. */
typedef struct rd_counter rd_counter;
void rd_counter_create(const rd_comm *c, int n, const int64_t *start, rd_counter **counter);
int64_t rd_counter_add(rd_counter *k, int i, int64_t by);
/* Local.  MPI may need rank 0's help for the others' additions: one that waits for something other
 * than MPI calls this now and then. */
void rd_counter_serve(rd_counter *k);
void rd_counter_free(rd_counter **counter);

/* ---------------------------------------------------------------- flow of storage (flow.c) */

/* Float storage of equal size on every rank, summed over the ranks or sent round, in parts that
 * travel while others are still computed.  The storage is cut into pieces, each with an owner;
 * neighbouring pieces form a bucket, which starts when all of it is ready.
 *
 * Sums are those of a binary counter over the ranks, whoever computes them: ranks [a, a + n) are
 * the sum of the first half plus that of the second, where the first half is the largest power of
 * two below n: ((g0 + g1) + (g2 + g3)); of three (g0 + g1) + g2.  So their bits depend neither on
 * owners nor on buckets.  Words sent by a rank of n to sum or to gather everything: about
 * storage * (n - 1) / n, in log2 n messages a bucket when pieces are dealt by rd_flow_deal. */
typedef struct rd_piece {
    int64_t first, count; /* floats; pieces follow each other without gaps, from 0 */
    int owner;            /* rank; before rd_flow_deal -1: any */
    int64_t bucket;       /* 0, 1, … */
} rd_piece;
typedef enum {
    RD_FLOW_REDUCE, /* owners get the sums; what others hold in their place is lost */
    RD_FLOW_GATHER, /* everyone gets what owners hold */
    RD_FLOW_SUM     /* everyone gets the sums */
} rd_flow_kind;
typedef struct rd_flow rd_flow;

/* Form buckets and share the pieces without an owner out over `size` ranks, evenly in each bucket.
 * Local, the same on every rank. */
void rd_flow_deal(int size, int64_t n, rd_piece *piece);
/* On a communicator of its own.  pieces: copied; equal on all ranks.  Collective on c.  Memory:
 * four times the most a rank receives of a bucket at once. */
void rd_flow_create(const rd_comm *c, int64_t n, const rd_piece *piece, rd_flow **flow);
void rd_flow_free(rd_flow **flow); /* Collective */
/* begin … ready … end moves x once; kind is equal on all ranks.  All Local but end, which waits for
 * the other ranks to come as far; none allocates.  From ready to end x's floats [first, first +
 * count) are the flow's.  end takes all that was not ready so far as ready. */
void rd_flow_begin(rd_flow *f, rd_flow_kind kind, float *x);
void rd_flow_ready(rd_flow *f, int64_t first, int64_t count); /* each float once at most */
void rd_flow_end(rd_flow *f);

/* ---------------------------------------------------------------- work queue (queue.c) */

/* Units 0 … n-1 dealt to replicas as they ask (one-sided counter on world rank 0).  Units that are
 * marked done beforehand are skipped.  create/free: Collective on world.  next: Collective on tp;
 * *unit = -1 when nothing is left or any replica cancelled. */
typedef struct rd_queue rd_queue;
int rd_queue_create(const rd_grid *g, int64_t n, const uint8_t *done, rd_queue **queue);
int rd_queue_next(rd_queue *q, int64_t *unit);
void rd_queue_cancel(rd_queue *q);   /* Local: the other replicas stop asking soon */
int64_t rd_queue_taken(rd_queue *q); /* Local: units handed out so far, all replicas */
void rd_queue_free(rd_queue **queue);

/* ---------------------------------------------------------------- stopping (signal.c) */

/* SIGTERM, SIGUSR1 and SIGINT set a flag (however often they come); max_hours > 0 sets a deadline
 * from now; stop_file may be NULL, otherwise its existence asks to stop (once seen it counts,
 * removed or not; where a look takes long, looks are rare). */
void rd_stop_begin(double max_hours, const char *stop_file);
/* The two limits alone, when they are known later than signals must be heeded. */
void rd_stop_limits(double max_hours, const char *stop_file);
/* Local: so much was or will be needed from one look at the deadline until all is saved: a unit of
 * work and what saving takes.  The deadline counts as reached earlier by the largest since the last
 * 0, with which a stage begins or ends. */
void rd_stop_need(double seconds);
bool rd_stop_local(void);             /* Local: has this rank seen a request? */
bool rd_stop_agree(const rd_comm *c); /* Collective: has any rank? */
/* Local: RD_ESTOP when this rank has seen a request, worded "what: stopped ...".  For loops between
 * whose units nothing is saved; the result is agreed like any other failure. */
int rd_stop_poll(const char *what);

/* Timing table: min / avg / max over ranks of every section clock.  Collective on c; rank 0 of c
 * gets text in out (others nothing). */
void rd_clock_table(const rd_comm *c, rd_buf *out);
/* The same as rows.  Sections that only some ranks saw count as zero elsewhere. */
typedef struct rd_timing {
    char section[48];
    double min, avg, max;
    double waited; /* mean over ranks of the part in communication, waiting for others included */
    int64_t calls;
} rd_timing;
int rd_clock_rows(const rd_comm *c, rd_timing **rows); /* returns the count; caller frees */

#endif
