/* export.c: writing safetensors from the ranks' shares.
 *
 * Every byte of a file is written by one rank, the file's owner (file k of all by rank k mod
 * ranks), to which the others send their parts in bounded pieces.  If each rank wrote its own runs
 * instead, a block-cyclic share would be runs of some hundred bytes: on Lustre and GPFS the ranks
 * would fight for the locks of every stripe, and NFS, which caches whole pages and promises nothing
 * about pages that two nodes write, could lose data.  So a file grows by long runs from one node,
 * and several files are written side by side.
 *
 * All offsets follow from the list of tensors, which every rank has: nothing is negotiated. */
#include "modelfile.h"
#include "io_private.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PIECE ((int64_t)4 << 20) /* numbers sent and written at a time, or one row if longer */

typedef struct shard {
    char *name, *path, *temp;
    int64_t head, bytes; /* of the header with its length field; of the data */
    int owner;
    int fd; /* the owner's */
} shard;

typedef struct place {
    char *name;
    rd_format format;
    int rank;
    int64_t dims[2];
    int shard;
    int64_t at, bytes; /* in the shard's data */
    bool written;
} place;

struct rd_export {
    rd_comm comm;
    char *folder, *path; /* folder NULL: path is the file */
    place *place;
    int64_t n;
    shard *shard;
    int n_shards;
    bool files; /* temporary files may exist */
};

/* ---------------------------------------------------------------- layout */

static int check_tensors(const char *path, int64_t n, const rd_tensor *tensors)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < n; i++) {
        const rd_tensor *t = &tensors[i];
        const bool format =
            t->format == RD_FORMAT_F32 || t->format == RD_FORMAT_F16 || t->format == RD_FORMAT_BF16;
        if (!format || t->rank < 1 || t->rank > 2 || t->dims[0] < 0 || t->dims[t->rank - 1] < 0 ||
            t->name[0] == '\0')
            RD_FAIL(RD_EINTERNAL, "%s: tensor '%s' cannot be written", path, t->name);
    }

done:
    return rc;
}

/* Tensors to shards, in order, a new shard where the limit would be passed. */
static void deal_shards(rd_export *e, int64_t limit)
{
    int64_t bytes = 0;
    e->n_shards = 1;
    for (int64_t i = 0; i < e->n; i++) {
        place *p = &e->place[i];
        if (limit > 0 && bytes > 0 && bytes + p->bytes > limit) {
            bytes = 0;
            e->n_shards++;
        }
        bytes += p->bytes;
        p->shard = e->n_shards - 1;
    }
    e->shard = rd_new(shard, e->n_shards);
}

/* Offsets in each shard: wider numbers first, so that all are aligned. */
static void lay_out(rd_export *e)
{
    for (int width = 4; width >= 2; width -= 2)
        for (int64_t i = 0; i < e->n; i++) {
            place *p = &e->place[i];
            if (rd_format_get(p->format).bytes != width) continue;
            p->at = e->shard[p->shard].bytes;
            e->shard[p->shard].bytes += p->bytes;
        }
}

static void name_shards(rd_export *e)
{
    for (int k = 0; k < e->n_shards; k++) {
        shard *s = &e->shard[k];
        rd_buf b = {0};
        s->fd = -1;
        s->owner = k % e->comm.size;
        if (e->n_shards == 1)
            rd_buf_puts(&b, RD_MODEL_SINGLE);
        else
            rd_buf_printf(&b, "model-%05d-of-%05d.safetensors", k + 1, e->n_shards);
        s->name = rd_buf_take(&b);
        s->path = e->folder == NULL ? rd_strdup(e->path) : rd_path_in(e->folder, s->name);
        s->temp = rd_file_temp_name(s->path);
    }
}

/* The JSON of shard k, padded so that the data begins at a multiple of 8. */
static int make_header(const rd_export *e, int k, const char *const *metadata, rd_buf *out)
{
    int rc = RD_OK;
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *root = rd_json_root(doc), *meta = rd_json_set_object(root, "__metadata__");
    rd_json_set_string(meta, "format", "pt");
    for (; metadata != NULL && metadata[0] != NULL; metadata += 2)
        rd_json_set_string(meta, metadata[0], metadata[1]);
    for (int64_t i = 0; i < e->n; i++) {
        const place *p = &e->place[i];
        if (p->shard != k) continue;
        if (rd_json_get(root, p->name) != NULL)
            RD_FAIL(RD_EINTERNAL, "%s: tensor '%s' twice", e->path, p->name);
        rd_json_node *t = rd_json_set_object(root, p->name);
        rd_json_set_string(t, "dtype", rd_format_get(p->format).name);
        rd_json_node *shape = rd_json_set_array(t, "shape");
        for (int d = 0; d < p->rank; d++) rd_json_set_int(shape, NULL, p->dims[d]);
        rd_json_node *offsets = rd_json_set_array(t, "data_offsets");
        rd_json_set_int(offsets, NULL, p->at);
        rd_json_set_int(offsets, NULL, p->at + p->bytes);
    }
    rd_buf_clear(out);
    rd_put_i64(out, 0);
    rd_json_print(root, false, out);
    while (out->len % 8 != 0) rd_buf_putc(out, ' ');
    const int64_t length = (int64_t)out->len - 8;
    memcpy(out->data, &length, sizeof(length));

done:
    rd_json_free(&doc);
    return rc;
}

/* ---------------------------------------------------------------- bytes */

static int put(const shard *s, const void *bytes, int64_t n, int64_t at)
{
    int rc = RD_OK;
    for (int64_t done_bytes = 0; done_bytes < n;) {
        const ssize_t k = pwrite(s->fd, (const char *)bytes + done_bytes, (size_t)(n - done_bytes),
                                 (off_t)(at + done_bytes));
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) RD_FAIL(RD_EIO, "%s: %s", s->path, strerror(errno));
        done_bytes += k;
    }

done:
    return rc;
}

/* The owner's part of create: the file with its header and room for all. */
static int begin_file(shard *s, const rd_buf *header)
{
    int rc = RD_OK;
    int64_t reserved = 0;
    s->fd = open(s->temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (s->fd < 0) RD_FAIL(RD_EIO, "%s: %s", s->path, strerror(errno));
    RD_TRY(rd_file_reserve(s->temp, s->head + s->bytes, &reserved));
    RD_TRY(put(s, header->data, (int64_t)header->len, 0));
    /* Data of no bytes at all are never written; the size must be right all the same. */
    if (ftruncate(s->fd, (off_t)(s->head + s->bytes)) != 0)
        RD_FAIL(RD_EIO, "%s: %s", s->path, strerror(errno));

done:
    return rc;
}

static int begin_files(rd_export *e, const char *const *metadata)
{
    int rc = RD_OK;
    rd_buf header = {0};
    e->files = true;
    for (int k = 0; k < e->n_shards; k++) {
        RD_TRY(make_header(e, k, metadata, &header));
        e->shard[k].head = (int64_t)header.len;
        if (e->shard[k].owner == e->comm.rank) RD_TRY(begin_file(&e->shard[k], &header));
    }

done:
    rd_buf_free(&header);
    return rc;
}

int rd_export_create(const rd_comm *c, const char *path, int64_t shard_bytes, int64_t n,
                     const rd_tensor *tensors, const char *const *metadata, rd_export **out)
{
    int rc = RD_OK;
    rd_export *e = rd_new(rd_export, 1);
    *out = NULL;
    e->comm = *c;
    e->path = rd_strdup(path);
    const bool file = rd_ends_with(path, ".safetensors");
    if (!file) e->folder = rd_strdup(path);
    rd_file_ignore_limit_signal();
    RD_TRY(rd_agree(c, check_tensors(path, n, tensors)));
    e->n = n;
    e->place = rd_new(place, n);
    for (int64_t i = 0; i < n; i++) {
        const rd_tensor *t = &tensors[i];
        place *p = &e->place[i];
        *p = (place){.name = rd_strdup(t->name), .format = t->format, .rank = t->rank};
        p->bytes = rd_format_get(t->format).bytes;
        for (int d = 0; d < t->rank; d++) p->bytes *= p->dims[d] = t->dims[d];
    }
    deal_shards(e, file ? 0 : shard_bytes);
    lay_out(e);
    name_shards(e);
    RD_TRY(rd_agree(c, !file && c->rank == 0 ? rd_dir_make(path) : RD_OK));
    RD_TRY(rd_agree(c, begin_files(e, metadata)));
    *out = e;
    e = NULL;

done:
    rd_export_close(&e);
    return rc;
}

/* ---------------------------------------------------------------- a tensor */

/* A tensor as a matrix, a vector being one row, and what every rank has of it. */
typedef struct gather {
    int64_t rows, cols;
    const rd_slab *slabs; /* [ranks][2] */
} gather;

static int64_t width_of(const gather *g, int r)
{
    return rd_slab_below(g->slabs[2 * r + 1], g->cols, g->cols);
}

static int64_t rows_below(const gather *g, int r, int64_t row)
{
    return rd_slab_below(g->slabs[2 * r], g->rows, row);
}

/* Part of rank r of rows first … end into the piece; data begins with the first of them. */
static void scatter(const gather *g, int r, int64_t first, int64_t end, const float *data,
                    float *piece)
{
    const rd_slab a = g->slabs[2 * r], b = g->slabs[2 * r + 1];
    for (int64_t k = 0; k < a.count; k++) {
        const int64_t from = a.start + k * a.stride, to = from + a.block;
        for (int64_t row = from > first ? from : first; row < to && row < end; row++)
            for (int64_t m = 0; m < b.count; m++) {
                const int64_t col = b.start + m * b.stride;
                const int64_t n = g->cols - col < b.block ? g->cols - col : b.block;
                memcpy(piece + (row - first) * g->cols + col, data, (size_t)n * sizeof(float));
                data += n;
            }
    }
}

/* Rows first … end of every rank to the owner; a rank's rows of them follow each other in its data.
 * buffer: a piece, the owner's.  Returns how many numbers came. */
static int64_t gather_piece(const rd_export *e, const gather *g, int owner, int64_t first,
                            int64_t end, const float *data, float *piece, float *buffer)
{
    const rd_comm *c = &e->comm;
    int64_t came = 0;
    for (int r = 0; r < c->size; r++) {
        const int64_t before = rows_below(g, r, first) * width_of(g, r);
        const int64_t n = rows_below(g, r, end) * width_of(g, r) - before;
        if (n == 0 || (c->rank != r && c->rank != owner)) continue;
        const float *part = c->rank == r ? data + before : buffer;
        if (r != owner && c->rank == r) rd_send_f32(c, part, n, owner);
        if (r != owner && c->rank == owner) rd_receive_f32(c, buffer, n, r);
        if (c->rank == owner && came + n <= (end - first) * g->cols)
            scatter(g, r, first, end, part, piece);
        came += n;
    }
    return came;
}

/* All pieces.  A failed write does not stop the exchange, which the others know nothing of. */
static int write_pieces(const rd_export *e, const place *p, const gather *g, const float *data)
{
    int rc = RD_OK;
    const shard *s = &e->shard[p->shard];
    const bool mine = s->owner == e->comm.rank;
    const int64_t step = g->cols > 0 && g->cols < PIECE ? PIECE / g->cols : 1;
    const int64_t most = (step < g->rows ? step : g->rows) * g->cols;
    const int64_t width = rd_format_get(p->format).bytes;
    float *piece = rd_new(float, mine ? most : 0), *buffer = rd_new(float, mine ? most : 0);
    char *bytes = rd_new(char, mine ? most *width : 0);
    for (int64_t first = 0; first < g->rows && g->cols > 0; first += step) {
        const int64_t end = g->rows - first < step ? g->rows : first + step;
        const int64_t n = (end - first) * g->cols;
        const int64_t came = gather_piece(e, g, s->owner, first, end, data, piece, buffer);
        if (!mine || rc != RD_OK) continue;
        if (came != n) {
            rc = rd_error_set(RD_EINTERNAL, __FILE__, __LINE__, __func__,
                              "%s: tensor '%s': rows from %lld: %lld numbers of %lld", s->path,
                              p->name, (long long)first, (long long)came, (long long)n);
            continue;
        }
        rd_format_narrow(p->format, piece, n, bytes);
        rc = put(s, bytes, n * width, s->head + p->at + first * g->cols * width);
    }
    rd_free(piece);
    rd_free(buffer);
    rd_free(bytes);
    return rc;
}

static int check_write(const rd_export *e, int64_t i, const rd_slab *slab)
{
    int rc = RD_OK;
    if (i < 0 || i >= e->n || e->place[i].written)
        RD_FAIL(RD_EINTERNAL, "%s: tensor %lld twice, or of %lld", e->path, (long long)i,
                (long long)e->n);
    for (int d = 0; d < e->place[i].rank; d++) RD_TRY(rd_slab_check(slab[d], e->place[i].dims[d]));

done:
    return rc;
}

int rd_export_write(rd_export *e, int64_t i, const rd_slab *slab, const float *data)
{
    int rc = RD_OK;
    char *all = NULL;
    int64_t *sizes = NULL;
    RD_TRY(rd_agree(&e->comm, check_write(e, i, slab)));
    place *p = &e->place[i];
    rd_slab mine[2] = {{0, 1, 1, 1}, slab[p->rank - 1]};
    if (p->rank == 2) mine[0] = slab[0];
    if (mine[1].count == 0) mine[0].count = 0;
    rd_allgather(&e->comm, mine, sizeof(mine), &all, &sizes);
    const gather g = {.rows = p->rank == 2 ? p->dims[0] : 1,
                      .cols = p->dims[p->rank - 1],
                      .slabs = (const rd_slab *)all};
    p->written = true;
    RD_TRY(rd_agree(&e->comm, write_pieces(e, p, &g, data)));

done:
    rd_free(all);
    rd_free(sizes);
    return rc;
}

/* ---------------------------------------------------------------- the end */

static int check_written(const rd_export *e)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < e->n; i++)
        if (!e->place[i].written)
            RD_FAIL(RD_EINTERNAL, "%s: tensor '%s' was not written", e->path, e->place[i].name);
    RD_TRY(rd_fault("export"));

done:
    return rc;
}

/* All on the disk before anything changes its name: what can fail has failed by then. */
static int sync_files(rd_export *e)
{
    int rc = RD_OK;
    for (int k = 0; k < e->n_shards; k++) {
        shard *s = &e->shard[k];
        if (s->owner != e->comm.rank) continue;
        const int synced = fsync(s->fd), closed = close(s->fd);
        s->fd = -1;
        if (synced != 0 || closed != 0) RD_FAIL(RD_EIO, "%s: %s", s->path, strerror(errno));
    }

done:
    return rc;
}

static int remove_in(const rd_export *e, const char *name)
{
    int rc = RD_OK;
    char *path = rd_path_in(e->folder, name);
    if (unlink(path) != 0 && errno != ENOENT) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));

done:
    rd_free(path);
    return rc;
}

static int publish_files(rd_export *e)
{
    int rc = RD_OK;
    for (int k = 0; k < e->n_shards; k++)
        if (e->shard[k].owner == e->comm.rank)
            RD_TRY(rd_file_publish(e->shard[k].temp, e->shard[k].path));

done:
    return rc;
}

static int write_index(const rd_export *e)
{
    int rc = RD_OK;
    double total = 0.0;
    rd_buf text = {0};
    char *path = rd_path_in(e->folder, RD_MODEL_INDEX);
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *meta = rd_json_set_object(rd_json_root(doc), "metadata");
    rd_json_node *map = rd_json_set_object(rd_json_root(doc), "weight_map");
    for (int64_t i = 0; i < e->n; i++) {
        total += (double)e->place[i].bytes;
        rd_json_set_string(map, e->place[i].name, e->shard[e->place[i].shard].name);
    }
    rd_json_set_number(meta, "total_size", total);
    rd_json_print(rd_json_root(doc), true, &text);
    RD_TRY(rd_file_write_atomic(path, text.data, text.len));

done:
    rd_json_free(&doc);
    rd_buf_free(&text);
    rd_free(path);
    return rc;
}

/* Rank 0's steps.  Readers take model.safetensors before an index: an old one of these goes last,
 * when the new index stands, and is the model until then. */
static int before_publish(const rd_export *e)
{
    return e->n_shards > 1 ? remove_in(e, RD_MODEL_INDEX) : RD_OK;
}

static int after_publish(const rd_export *e)
{
    int rc = RD_OK;
    if (e->n_shards == 1) return remove_in(e, RD_MODEL_INDEX);
    RD_TRY(write_index(e));
    RD_TRY(remove_in(e, RD_MODEL_SINGLE));

done:
    return rc;
}

int rd_export_commit(rd_export **pe)
{
    int rc = RD_OK;
    rd_export *e = *pe;
    const rd_comm *c = &e->comm;
    const bool folder_work = e->folder != NULL && c->rank == 0;
    RD_TRY(rd_agree(c, check_written(e)));
    RD_TRY(rd_agree(c, sync_files(e)));
    RD_TRY(rd_agree(c, folder_work ? before_publish(e) : RD_OK));
    RD_TRY(rd_agree(c, publish_files(e)));
    RD_TRY(rd_agree(c, folder_work ? after_publish(e) : RD_OK));
    e->files = false;

done:
    rd_export_close(pe);
    return rc;
}

void rd_export_close(rd_export **pe)
{
    rd_export *e = *pe;
    if (e == NULL) return;
    for (int k = 0; k < e->n_shards; k++) {
        shard *s = &e->shard[k];
        if (s->fd >= 0) close(s->fd);
        /* Those renamed already have no temporary name any more. */
        if (e->files && s->owner == e->comm.rank) (void)unlink(s->temp);
        rd_free(s->name);
        rd_free(s->path);
        rd_free(s->temp);
    }
    for (int64_t i = 0; i < e->n; i++) rd_free(e->place[i].name);
    rd_free(e->place);
    rd_free(e->shard);
    rd_free(e->folder);
    rd_free(e->path);
    RD_FREE(*pe);
}
