/* flow.c: sums and copies of float storage over ranks, while the rest of it is computed.
 *
 * A bucket is summed by recursive halving.  At level d the ranks form blocks of 2^d; together they
 * hold the block's sum of every piece, each piece at one of them: its holder.  Two neighbouring
 * blocks merge when each sends the pieces whose holder in the merged block lies in the other one;
 * after the last level the holder is the owner.  A gather is the same messages the other way round,
 * from the last level to the first.  The last block may be incomplete; a holder that does not exist
 * is replaced by one that does (holder_of), which leaves the order of additions what it is.
 *
 * Buckets start from the last to the first, on every rank in this order and a few at a time: the
 * oldest that is not finished is under way on every rank that has come so far, so nothing waits for
 * what has not begun.  Between calls MPI may do nothing at all: whoever computes calls
 * rd_flow_ready now and then. */
#include "par_private.h"

#include <string.h>

enum { SLOTS = 4, TAGS = 32768 /* what every MPI has */ };
enum { BUCKET = 1 << 18, LEAST_SHARE = 1 << 14 }; /* floats */

typedef struct transfer {
    int64_t first, count;
    int peer;
    bool send; /* when reducing; gathering is the other way round */
} transfer;

typedef struct bucket {
    int64_t first, count;
    int64_t missing; /* floats not ready */
} bucket;

/* A bucket under way. */
typedef struct slot {
    int64_t bucket; /* -1: free */
    int step;       /* of the bucket, see steps_begin */
    MPI_Request *request;
    float *received;
} slot;

struct rd_flow {
    rd_comm comm;
    int levels;
    int64_t n, next; /* buckets; the next to start */
    bucket *bucket;
    transfer *transfer;
    int64_t *start; /* [n * levels + 1] into transfer: those of bucket b at level l */
    int most;       /* transfers of one bucket at one level */
    slot slot[SLOTS];
    MPI_Request *request; /* [SLOTS * most] MPI_REQUEST_NULL when idle */
    float *received;
    float *x;
    int first_step, end_step; /* reducing steps are 0 … levels - 1, gathering ones those after */
    bool all_ready;
};

/* ---------------------------------------------------------------- dealing */

static int levels_of(int size)
{
    int levels = 0;
    while (1 << levels < size) levels++;
    return levels;
}

/* Ranks in the order of their reversed bits: what goes to the ranks of one half lies together, at
 * every level. */
static void reversed_order(int size, int *order)
{
    int levels = levels_of(size), n = 0;
    for (int k = 0; k < 1 << levels; k++) {
        int r = 0;
        for (int b = 0; b < levels; b++) r |= (k >> b & 1) << (levels - 1 - b);
        if (r < size) order[n++] = r;
    }
}

void rd_flow_deal(int size, int64_t n, rd_piece *piece)
{
    int64_t target = (int64_t)size * LEAST_SHARE > BUCKET ? (int64_t)size * LEAST_SHARE : BUCKET;
    int *order = rd_new(int, size);
    reversed_order(size, order);
    int64_t b = 0;
    for (int64_t from = 0, to; from < n; from = to, b++) {
        int64_t all = 0, free = 0, given = 0;
        for (to = from; to < n && all < target; to++) {
            piece[to].bucket = b;
            all += piece[to].count;
            if (piece[to].owner < 0) free += piece[to].count;
        }
        for (int64_t i = from; i < to; i++) {
            if (piece[i].owner >= 0) continue;
            int64_t at = free > 0 ? given * size / free : 0;
            piece[i].owner = order[at < size ? at : size - 1];
            given += piece[i].count;
        }
    }
    rd_free(order);
}

/* ---------------------------------------------------------------- messages */

/* Who holds the pieces of `owner` in the block of 2^level ranks from `base` on. */
static int holder_of(int size, int base, int level, int owner)
{
    int place = owner & ((1 << level) - 1);
    for (int bit = level - 1; base + place >= size; bit--) place &= (1 << bit) - 1;
    return base + place;
}

/* What this rank sends or receives of a piece when blocks of 2^level ranks merge. */
static bool transfer_of(const rd_comm *c, int level, const rd_piece *p, transfer *t)
{
    int base = c->rank >> level << level, other = base ^ (1 << level);
    if (other >= c->size) return false;
    int here = holder_of(c->size, base, level, p->owner);
    int there = holder_of(c->size, other, level, p->owner);
    int merged = holder_of(c->size, base & other, level + 1, p->owner);
    RD_ASSERT(merged == here || merged == there);
    if (here != c->rank || p->count == 0) return false;
    *t = (transfer){.first = p->first, .count = p->count, .peer = there, .send = merged == there};
    return true;
}

/* Transfers of pieces that lie together are one.  Both sides see the same neighbours. */
static void add_transfer(rd_flow *f, int64_t from, int64_t *n, const transfer *t)
{
    RD_ASSERT(f->transfer != NULL);
    transfer *last = *n > from ? &f->transfer[*n - 1] : NULL;
    if (last != NULL && last->peer == t->peer && last->send == t->send &&
        last->first + last->count == t->first)
        last->count += t->count;
    else
        f->transfer[(*n)++] = *t;
}

/* Fills start and transfer, and gives the most floats received at once. */
static int64_t plan_transfers(rd_flow *f, int64_t n_pieces, const rd_piece *piece)
{
    int64_t n = 0, first = 0, largest = 0;
    for (int64_t b = 0; b < f->n; b++) {
        int64_t end = first;
        while (end < n_pieces && piece[end].bucket == b) end++;
        for (int l = 0; l < f->levels; l++) {
            int64_t from = n, received = 0;
            transfer t;
            f->start[b * f->levels + l] = n;
            for (int64_t i = first; i < end; i++)
                if (transfer_of(&f->comm, l, &piece[i], &t)) add_transfer(f, from, &n, &t);
            for (int64_t i = from; i < n; i++)
                if (!f->transfer[i].send) received += f->transfer[i].count;
            if (received > largest) largest = received;
            if (n - from > f->most) f->most = rd_int(n - from);
        }
        first = end;
    }
    f->start[f->n * f->levels] = n;
    return largest;
}

void rd_flow_create(const rd_comm *c, int64_t n_pieces, const rd_piece *piece, rd_flow **flow)
{
    rd_flow *f = rd_new(rd_flow, 1);
    f->comm = *c;
    MPI_Comm_dup(c->mpi, &f->comm.mpi); /* our messages never meet another flow's */
    f->levels = levels_of(c->size);
    f->n = n_pieces > 0 ? piece[n_pieces - 1].bucket + 1 : 0;
    f->bucket = rd_new(bucket, f->n);
    for (int64_t i = 0; i < n_pieces; i++) {
        bucket *b = &f->bucket[piece[i].bucket];
        RD_ASSERT(piece[i].owner >= 0 && piece[i].owner < c->size);
        if (b->count == 0) b->first = piece[i].first;
        b->count += piece[i].count;
        RD_ASSERT(b->first + b->count == piece[i].first + piece[i].count);
    }
    f->start = rd_new(int64_t, f->n * f->levels + 1);
    f->transfer = rd_new(transfer, n_pieces * f->levels);
    int64_t largest = plan_transfers(f, n_pieces, piece);
    rd_resize(f->transfer, f->start[f->n * f->levels]);
    f->request = rd_new(MPI_Request, SLOTS * f->most);
    f->received = rd_new(float, SLOTS *largest);
    for (int i = 0; i < SLOTS * f->most; i++) f->request[i] = MPI_REQUEST_NULL;
    for (int i = 0; i < SLOTS; i++)
        f->slot[i] = (slot){.bucket = -1,
                            .request = f->request + i * f->most,
                            .received = f->received + i * largest};
    f->next = -1;
    *flow = f;
}

void rd_flow_free(rd_flow **flow)
{
    rd_flow *f = *flow;
    if (f == NULL) return;
    MPI_Comm_free(&f->comm.mpi);
    rd_free(f->bucket);
    rd_free(f->start);
    rd_free(f->transfer);
    rd_free(f->request);
    rd_free(f->received);
    RD_FREE(*flow);
}

/* ---------------------------------------------------------------- moving */

/* The transfers of a slot's step; *reduce: as planned, else the other way round. */
static transfer *step_transfers(const rd_flow *f, const slot *s, int *n, bool *reduce)
{
    *reduce = s->step < f->levels;
    int level = *reduce ? s->step : 2 * f->levels - 1 - s->step;
    int64_t i = s->bucket * f->levels + level;
    *n = (int)(f->start[i + 1] - f->start[i]);
    return f->transfer + f->start[i];
}

static void post_step(rd_flow *f, slot *s)
{
    int n, tag = (int)((s->bucket * 2 * f->levels + s->step) % TAGS);
    bool reduce;
    const transfer *t = step_transfers(f, s, &n, &reduce);
    float *received = s->received;
    double start = rd_mpi_enter();
    for (int i = 0; i < n; i++) {
        float *x = f->x + t[i].first;
        int count = rd_int(t[i].count);
        if (t[i].send == reduce) {
            MPI_Isend(x, count, MPI_FLOAT, t[i].peer, tag, f->comm.mpi, &s->request[i]);
            continue;
        }
        MPI_Irecv(reduce ? received : x, count, MPI_FLOAT, t[i].peer, tag, f->comm.mpi,
                  &s->request[i]);
        received += count;
    }
    rd_mpi_leave(start);
}

static void add_received(rd_flow *f, const slot *s)
{
    int n;
    bool reduce;
    const transfer *t = step_transfers(f, s, &n, &reduce);
    const float *restrict received = s->received;
    for (int i = 0; reduce && i < n; i++) {
        if (t[i].send) continue;
        float *restrict x = f->x + t[i].first;
        for (int64_t k = 0; k < t[i].count; k++) x[k] += received[k];
        received += t[i].count;
    }
}

/* Carry a bucket as far as the messages that are there allow. */
static void advance(rd_flow *f, slot *s)
{
    for (;;) {
        int done;
        TIMED(MPI_Testall(f->most, s->request, &done, MPI_STATUSES_IGNORE));
        if (!done) return;
        add_received(f, s);
        if (++s->step == f->end_step) break;
        post_step(f, s);
    }
    s->bucket = -1;
}

static bool next_is_ready(const rd_flow *f)
{
    return f->next >= 0 && (f->all_ready || f->bucket[f->next].missing == 0);
}

/* Advance what is under way and start what is ready.  How many are then under way. */
static int progress(rd_flow *f)
{
    int busy = 0;
    for (int i = 0; i < SLOTS; i++) {
        slot *s = &f->slot[i];
        if (s->bucket >= 0) advance(f, s);
        while (s->bucket < 0 && next_is_ready(f)) {
            s->bucket = f->next--;
            s->step = f->first_step;
            if (f->first_step == f->end_step) { /* one rank */
                s->bucket = -1;
                continue;
            }
            post_step(f, s);
            advance(f, s);
        }
        busy += s->bucket >= 0;
    }
    return busy;
}

void rd_flow_begin(rd_flow *f, rd_flow_kind kind, float *x)
{
    RD_ASSERT(f->next < 0);
    f->x = x;
    f->next = f->n - 1;
    f->all_ready = false;
    f->first_step = kind == RD_FLOW_GATHER ? f->levels : 0;
    f->end_step = kind == RD_FLOW_REDUCE ? f->levels : 2 * f->levels;
    for (int64_t b = 0; b < f->n; b++) f->bucket[b].missing = f->bucket[b].count;
}

void rd_flow_ready(rd_flow *f, int64_t first, int64_t count)
{
    for (int64_t b = 0; b < f->n; b++) {
        bucket *k = &f->bucket[b];
        int64_t from = k->first > first ? k->first : first, end = k->first + k->count;
        if (end > first + count) end = first + count;
        if (end > from) k->missing -= end - from;
    }
    progress(f);
}

void rd_flow_end(rd_flow *f)
{
    f->all_ready = true;
    while (progress(f) > 0) {
        int which;
        TIMED(MPI_Waitany(SLOTS * f->most, f->request, &which, MPI_STATUS_IGNORE));
    }
}
