/* coll.c: collectives in our types, agreement on errors, and bringing work units into order. */
#include "par_private.h"

#include <limits.h>
#include <string.h>

enum { PIECE = 1 << 28 }; /* elements per MPI call: counts stay ints, buffers stay bounded */

int rd_agree(const rd_comm *c, int code)
{
    struct {
        int code, rank;
    } mine = {code, c->rank}, first;
    if (c->size == 1) return code;
    TIMED(MPI_Allreduce(&mine, &first, 1, MPI_2INT, MPI_MINLOC, c->mpi));
    if (first.code == RD_OK) return RD_OK;
    rd_error *e = rd_error_get();
    if (c->rank == first.rank && e->rank < 0) MPI_Comm_rank(MPI_COMM_WORLD, &e->rank);
    rd_error theirs = *e;
    TIMED(MPI_Bcast(&theirs, (int)sizeof theirs, MPI_BYTE, first.rank, c->mpi));
    *e = theirs;
    return first.code;
}

int rd_same_i64(const rd_comm *c, const char *what, int64_t n)
{
    int rc = RD_OK;
    int64_t x[2] = {-n, n};
    rd_max_i64(c, x, 2);
    if (-x[0] != x[1])
        RD_FAIL(RD_EINTERNAL, "%s differs between ranks: %lld to %lld", what, (long long)-x[0],
                (long long)x[1]);
done:
    return rc;
}

void rd_barrier(const rd_comm *c)
{
    TIMED(MPI_Barrier(c->mpi));
}

void rd_bcast(const rd_comm *c, void *bytes, int64_t n, int root)
{
    if (c->size == 1) return;
    for (int64_t i = 0; i < n; i += PIECE)
        TIMED(MPI_Bcast((char *)bytes + i, (int)(n - i < PIECE ? n - i : PIECE), MPI_BYTE, root,
                        c->mpi));
}

void rd_bcast_buf(const rd_comm *c, rd_buf *b, int root)
{
    int64_t n = (int64_t)b->len;
    if (c->size == 1) return;
    rd_bcast(c, &n, sizeof n, root);
    if (c->rank != root) {
        rd_buf_free(b);
        b->data = rd_new(char, n + 1);
        b->cap = (size_t)n + 1;
        b->len = (size_t)n;
    }
    rd_bcast(c, b->data, n, root);
}

static void reduce(const rd_comm *c, void *x, int64_t n, size_t size, MPI_Datatype t, MPI_Op op)
{
    if (c->size == 1) return;
    for (int64_t i = 0; i < n; i += PIECE)
        TIMED(MPI_Allreduce(MPI_IN_PLACE, (char *)x + (size_t)i * size,
                            (int)(n - i < PIECE ? n - i : PIECE), t, op, c->mpi));
}

void rd_sum_f32(const rd_comm *c, float *x, int64_t n)
{
    reduce(c, x, n, sizeof *x, MPI_FLOAT, MPI_SUM);
}
void rd_sum_f64(const rd_comm *c, double *x, int64_t n)
{
    reduce(c, x, n, sizeof *x, MPI_DOUBLE, MPI_SUM);
}
void rd_sum_i64(const rd_comm *c, int64_t *x, int64_t n)
{
    reduce(c, x, n, sizeof *x, MPI_INT64_T, MPI_SUM);
}
void rd_max_f64(const rd_comm *c, double *x, int64_t n)
{
    reduce(c, x, n, sizeof *x, MPI_DOUBLE, MPI_MAX);
}
void rd_min_f64(const rd_comm *c, double *x, int64_t n)
{
    reduce(c, x, n, sizeof *x, MPI_DOUBLE, MPI_MIN);
}
void rd_max_i64(const rd_comm *c, int64_t *x, int64_t n)
{
    reduce(c, x, n, sizeof *x, MPI_INT64_T, MPI_MAX);
}

int64_t rd_exscan_i64(const rd_comm *c, int64_t n)
{
    int64_t before = 0;
    if (c->size == 1) return 0;
    TIMED(MPI_Exscan(&n, &before, 1, MPI_INT64_T, MPI_SUM, c->mpi));
    return c->rank == 0 ? 0 : before; /* MPI leaves rank 0's result undefined */
}

void rd_allgather(const rd_comm *c, const void *mine, int64_t n, char **all, int64_t **sizes)
{
    int64_t *size = rd_new(int64_t, c->size), total = 0, at = 0;
    TIMED(MPI_Allgather(&n, 1, MPI_INT64_T, size, 1, MPI_INT64_T, c->mpi));
    for (int r = 0; r < c->size; r++) total += size[r];
    char *out = rd_new(char, total + 1);
    /* One broadcast per rank: the pieces may each pass the 2 GiB that an int count allows. */
    for (int r = 0; r < c->size; r++) {
        if (r == c->rank && n) memcpy(out + at, mine, (size_t)n);
        rd_bcast(c, out + at, size[r], r);
        at += size[r];
    }
    *all = out;
    *sizes = size;
}

enum { TAG = 1 };

void rd_send_f32(const rd_comm *c, const float *x, int64_t n, int to)
{
    for (int64_t i = 0; i < n; i += PIECE)
        TIMED(MPI_Send(x + i, (int)(n - i < PIECE ? n - i : PIECE), MPI_FLOAT, to, TAG, c->mpi));
}

void rd_receive_f32(const rd_comm *c, float *x, int64_t n, int from)
{
    for (int64_t i = 0; i < n; i += PIECE)
        TIMED(MPI_Recv(x + i, (int)(n - i < PIECE ? n - i : PIECE), MPI_FLOAT, from, TAG, c->mpi,
                       MPI_STATUS_IGNORE));
}

/* n floats to one rank while m come from another, in pieces.  Both ends derive the pieces from the
 * length; where one direction is over nobody is on the other side. */
static void send_receive(const rd_comm *c, const float *x, int64_t n, int to, float *y, int64_t m,
                         int from)
{
    for (int64_t i = 0; i < n || i < m; i += PIECE) {
        int out = i < n ? (int)(n - i < PIECE ? n - i : PIECE) : 0;
        int in = i < m ? (int)(m - i < PIECE ? m - i : PIECE) : 0;
        TIMED(MPI_Sendrecv(out ? x + i : NULL, out, MPI_FLOAT, out ? to : MPI_PROC_NULL, TAG,
                           in ? y + i : NULL, in, MPI_FLOAT, in ? from : MPI_PROC_NULL, TAG, c->mpi,
                           MPI_STATUS_IGNORE));
    }
}

void rd_shift_f32(const rd_comm *c, const float *send, int64_t send_n, float *recv, int64_t recv_n)
{
    int to = (c->rank + 1) % c->size, from = (c->rank + c->size - 1) % c->size;
    send_receive(c, send, send_n, to, recv, recv_n, from);
}

void rd_exchange_f32(const rd_comm *c, const float *send, const int64_t *send_n, float *recv,
                     const int64_t *recv_n)
{
    for (int step = 0; step < c->size; step++) {
        int to = (c->rank + step) % c->size, from = (c->rank - step + c->size) % c->size;
        const float *out = send;
        float *in = recv;
        for (int r = 0; r < to; r++) out += send_n[r];
        for (int r = 0; r < from; r++) in += recv_n[r];
        if (to == c->rank)
            memcpy(in, out, (size_t)send_n[to] * sizeof(float));
        else
            send_receive(c, out, send_n[to], to, in, recv_n[from], from);
    }
}

void rd_gather_f32(const rd_comm *c, float *all, const int64_t *n)
{
    int to = (c->rank + 1) % c->size, from = (c->rank + c->size - 1) % c->size;
    /* Round the ring: each passes on what came last, its own first. */
    for (int step = 0; step + 1 < c->size; step++) {
        int out = (c->rank - step + c->size) % c->size, in = (out - 1 + c->size) % c->size;
        int64_t out_at = 0, in_at = 0;
        for (int r = 0; r < out; r++) out_at += n[r];
        for (int r = 0; r < in; r++) in_at += n[r];
        send_receive(c, all + out_at, n[out], to, all + in_at, n[in], from);
    }
}

/* ---------------------------------------------------------------- units into order */

static int64_t block_start(int64_t n, int rank, int size)
{
    return n / size * rank + (n % size) * rank / size;
}

static int owner_of(int64_t n, int64_t unit, int size)
{
    int r = (int)((double)unit / (double)(n > 0 ? n : 1) * size);
    if (r >= size) r = size - 1;
    while (r > 0 && block_start(n, r, size) > unit) r--;
    while (r + 1 < size && block_start(n, r + 1, size) <= unit) r++;
    return r;
}

/* Pack this rank's records by receiving rank: (unit, length, bytes) one after the other. */
static void pack_units(const rd_comm *c, int64_t n, int64_t n_mine, const int64_t *mine,
                       const rd_buf *blob, rd_buf *parcel)
{
    for (int64_t i = 0; i < n_mine; i++) {
        rd_buf *p = &parcel[owner_of(n, mine[i], c->size)];
        rd_put_i64(p, mine[i]);
        rd_put_i64(p, (int64_t)blob[i].len);
        rd_buf_add(p, blob[i].data, blob[i].len);
    }
}

/* Pieces of a parcel as requests; both sides derive the same pieces from the length. */
static int post_pieces(const rd_comm *c, char *bytes, int64_t n, int peer, bool send,
                       MPI_Request *request)
{
    int count = 0;
    for (int64_t at = 0; at < n; at += PIECE, count++) {
        int len = (int)(n - at < PIECE ? n - at : PIECE);
        if (send)
            MPI_Isend(bytes + at, len, MPI_BYTE, peer, 2, c->mpi, &request[count]);
        else
            MPI_Irecv(bytes + at, len, MPI_BYTE, peer, 2, c->mpi, &request[count]);
    }
    return count;
}

/* Each rank exchanges its parcels with every other one, in the order of a ring. */
static void exchange_parcels(const rd_comm *c, rd_buf *parcel, rd_buf *received)
{
    for (int shift = 0; shift < c->size; shift++) {
        int to = (c->rank + shift) % c->size, from = (c->rank - shift + c->size) % c->size;
        int64_t out = (int64_t)parcel[to].len, in = 0;
        TIMED(MPI_Sendrecv(&out, 1, MPI_INT64_T, to, 1, &in, 1, MPI_INT64_T, from, 1, c->mpi,
                           MPI_STATUS_IGNORE));
        char *buf = rd_new(char, in + 1);
        MPI_Request *request = rd_new(MPI_Request, out / PIECE + in / PIECE + 2);
        int n = post_pieces(c, buf, in, from, false, request);
        n += post_pieces(c, parcel[to].data, out, to, true, request + n);
        TIMED(MPI_Waitall(n, request, MPI_STATUSES_IGNORE));
        rd_free(request);
        rd_buf_free(&parcel[to]);
        received[from] = (rd_buf){.data = buf, .len = (size_t)in, .cap = (size_t)in + 1};
    }
}

static int unpack_units(const rd_buf *received, int size, int64_t first, int64_t count, rd_buf *out)
{
    int rc = RD_OK;
    int64_t found = 0;
    for (int r = 0; r < size; r++) {
        rd_cursor cur = {received[r].data, received[r].len, 0};
        while (cur.pos < cur.len) {
            int64_t unit, len;
            RD_TRY(rd_get_i64(&cur, &unit));
            RD_TRY(rd_get_i64(&cur, &len));
            if (unit < first || unit >= first + count || out[unit - first].data)
                RD_FAIL(RD_EINTERNAL, "work unit %lld came twice or to the wrong rank",
                        (long long)unit);
            rd_buf_add(&out[unit - first], cur.data + cur.pos, (size_t)len);
            cur.pos += (size_t)len;
            found++;
        }
    }
    if (found != count)
        RD_FAIL(RD_EINTERNAL, "%lld of %lld work units are missing", (long long)(count - found),
                (long long)count);
done:
    return rc;
}

int rd_exchange_units(const rd_comm *c, int64_t n, int64_t n_mine, const int64_t *mine,
                      const rd_buf *blob, int64_t *first, int64_t *count, rd_buf **blobs)
{
    int rc = RD_OK;
    *first = block_start(n, c->rank, c->size);
    *count = block_start(n, c->rank + 1, c->size) - *first;
    rd_buf *parcel = rd_new(rd_buf, c->size), *received = rd_new(rd_buf, c->size);
    *blobs = rd_new(rd_buf, *count);
    pack_units(c, n, n_mine, mine, blob, parcel);
    exchange_parcels(c, parcel, received);
    RD_TRY(rd_agree(c, unpack_units(received, c->size, *first, *count, *blobs)));
done:
    for (int r = 0; r < c->size; r++) rd_buf_free(&received[r]);
    rd_free(parcel);
    rd_free(received);
    if (rc != RD_OK) {
        for (int64_t i = 0; i < *count; i++) rd_buf_free(&(*blobs)[i]);
        RD_FREE(*blobs);
    }
    return rc;
}
