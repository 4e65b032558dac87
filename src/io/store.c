/* store.c: files of tables, text and arrays in parallel HDF5.
 *
 * Writing with several ranks goes through HDF5's MPI driver, collectively: filtered datasets cannot
 * be written in any other way.  Two facts shape this file.
 *
 * A collective HDF5 call that fails on some ranks only cannot be recovered from: the others wait in
 * it, or their view of the file differs at close.  So everything that can fail foreseeably is tried
 * before, on rank 0, and agreed: the temporary file is made, and room for a dataset (as if nothing
 * compressed) is reserved before HDF5 is entered.  A full disk or a limit is met there.
 *
 * Reading needs no such care: each rank opens the finished file by itself with the serial driver,
 * so that a damaged chunk is one rank's failure, agreed afterwards. */
#include "io_private.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Room for what HDF5 keeps besides the data: root, header attributes, a dataset's header and
 * groups; and per chunk its index entry. */
#define FILE_OVERHEAD ((int64_t)256 << 10)
#define DATASET_OVERHEAD ((int64_t)32 << 10)
#define CHUNKS_PER_BYTE (1.0 / 2048)

typedef struct column {
    char *name;
    size_t table_len; /* name[0 … table_len) is the table */
    int64_t rows;
} column;

struct rd_store {
    rd_comm comm;
    char *path, *temp;
    hid_t file;
    bool writing;
    bool pending; /* created and not yet renamed into place */
    bool broken;  /* HDF5 failed: the temporary file's contents are undefined */
    int64_t need, reserved;
    column *columns; /* written so far */
    int64_t n_columns;
    bool has_text;
};

/* ---------------------------------------------------------------- create, open, commit, close */

/* On rank 0: see that the file can be made at all, with the reason in the system's own words. */
static int make_temp(rd_store *s)
{
    int rc = RD_OK;
    if (s->comm.rank != 0) return RD_OK;
    unlink(s->temp); /* what a killed run left */
    int fd = open(s->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) RD_FAIL(RD_EIO, "%s: %m", s->path);
    close(fd);

done:
    return rc;
}

/* Room for more bytes of data.  Collective; more equal on all ranks. */
static int make_room(rd_store *s, int64_t more)
{
    s->need += more + DATASET_OVERHEAD + (int64_t)((double)more * CHUNKS_PER_BYTE);
    int rc = s->comm.rank == 0 ? rd_file_reserve(s->temp, s->need, &s->reserved) : RD_OK;
    return rd_agree(&s->comm, rc);
}

/* Agree on the result of HDF5 calls that changed the file. */
static int agree_changed(rd_store *s, int code)
{
    const int rc = rd_agree(&s->comm, code);
    if (rc != RD_OK) s->broken = true;
    return rc;
}

static int create_file(rd_store *s)
{
    hid_t access = rd_h5_serial_access();
    if (s->comm.size > 1) {
        H5Pset_fapl_mpio(access, s->comm.mpi, MPI_INFO_NULL);
        /* One rank reads metadata for all.  Collective writing of it stays off: it fills the gaps
         * between objects with whatever memory held, so that equal contents gave unequal files. */
        H5Pset_all_coll_metadata_ops(access, true);
    }
    const int rc = rd_h5_create(s->temp, s->path, access, &s->file);
    H5Pclose(access);
    return rc;
}

static rd_store *store_new(const rd_comm *c, const char *path)
{
    rd_store *s = rd_new(rd_store, 1);
    s->comm = *c;
    s->path = rd_strdup(path);
    s->temp = rd_file_temp_name(path);
    s->file = H5I_INVALID_HID;
    return s;
}

static void store_free(rd_store *s)
{
    for (int64_t i = 0; i < s->n_columns; i++) rd_free(s->columns[i].name);
    rd_free(s->columns);
    rd_free(s->path);
    rd_free(s->temp);
    rd_free(s);
}

int rd_store_create(const rd_comm *c, const char *path, const rd_store_info *info, rd_store **store)
{
    int rc = RD_OK;
    char date[32] = "";
    rd_store *s = store_new(c, path);
    *store = NULL;
    rd_h5_quiet();
    rd_file_ignore_limit_signal();
    s->writing = s->pending = true;
    s->need = FILE_OVERHEAD + (info->config != NULL ? 2 * (int64_t)strlen(info->config) : 0);
    if (c->rank == 0) rd_h5_date(date);
    rd_bcast(c, date, sizeof(date), 0); /* an attribute must be the same on all ranks */
    RD_TRY(rd_agree(c, make_temp(s)));
    RD_TRY(agree_changed(s, create_file(s)));
    RD_TRY(make_room(s, 0));
    RD_TRY(agree_changed(s, rd_h5_set_header(s->file, s->path, info, date)));
    *store = s;
    s = NULL;

done:
    rd_store_close(&s);
    return rc;
}

int rd_store_open(const rd_comm *c, const char *path, const char *schema, int version,
                  rd_store **store)
{
    int rc = RD_OK;
    rd_store *s = store_new(c, path);
    bool sealed = false;
    *store = NULL;
    RD_TRY(rd_agree(c, rd_h5_look(path)));
    RD_TRY(rd_seal_check(c, path, &sealed));
    if (!sealed)
        RD_FAIL(RD_EINPUT, "%s: no checksum at its front: damaged, or not written by this version",
                path);
    RD_TRY(rd_agree(c, rd_h5_open_read(path, &s->file)));
    RD_TRY(rd_agree(c, rd_h5_check_header(s->file, path, schema, version)));
    *store = s;
    s = NULL;

done:
    rd_store_close(&s);
    return rc;
}

int rd_store_open_own(const rd_comm *c, const char *path, const char *schema, int version,
                      uint64_t key, const char *stage, rd_store **store)
{
    int rc = RD_OK;
    int64_t there = rd_file_exists(path), found = 0;
    *store = NULL;
    rd_bcast(c, &there, sizeof there, 0); /* file systems may differ in what they show */
    if (!there) goto done;
    RD_TRY(rd_store_open(c, path, schema, version, store));
    RD_TRY(rd_store_get_i64(*store, "", "key", &found));
    if ((uint64_t)found != key) {
        rd_info("%s: %s was made with other settings and will be replaced", stage, path);
        rd_store_close(store);
    }
done:
    return rc;
}

void rd_store_close(rd_store **store)
{
    rd_store *s = *store;
    *store = NULL;
    if (s == NULL) return;
    if (s->broken)
        rd_h5_discard(s->file, s->temp, s->comm.rank == 0);
    else if (s->file >= 0)
        H5Fclose(s->file);
    if (s->pending) {
        if (s->comm.rank == 0) unlink(s->temp);
        rd_barrier(&s->comm); /* it is gone for every rank */
    }
    store_free(s);
}

/* The columns of a table are equally long, or readers would read nonsense. */
static int check_lengths(const rd_store *s)
{
    int rc = RD_OK;
    for (int64_t i = 1; i < s->n_columns; i++) {
        const column *a = &s->columns[i];
        for (int64_t j = 0; j < i; j++) {
            const column *b = &s->columns[j];
            if (a->table_len == b->table_len && memcmp(a->name, b->name, a->table_len) == 0 &&
                a->rows != b->rows)
                RD_FAIL(RD_EINTERNAL, "%s: %s has %lld rows, %s has %lld", s->path, b->name,
                        (long long)b->rows, a->name, (long long)a->rows);
        }
    }

done:
    return rc;
}

static int close_file(rd_store *s)
{
    int rc = RD_OK;
    hid_t file = s->file;
    s->file = H5I_INVALID_HID;
    if (H5Fclose(file) < 0) RD_H5_FAIL(RD_EIO, s->path, "cannot be written");

done:
    return rc;
}

int rd_store_commit(rd_store **store)
{
    int rc = RD_OK;
    int64_t size = 0;
    rd_store *s = *store;
    if (!s->writing) RD_FAIL(RD_EINTERNAL, "%s: commit of a file open for reading", s->path);
    RD_TRY(check_lengths(s));
    RD_TRY(agree_changed(s, rd_h5_flush(s->file, s->path, s->comm.size == 1, &size)));
    RD_TRY(agree_changed(s, close_file(s)));
    RD_TRY(rd_agree(&s->comm, rd_fault("store")));
    RD_TRY(rd_agree(&s->comm, s->comm.rank == 0 ? rd_file_trim(s->temp, size) : RD_OK));
    RD_TRY(rd_seal_write(&s->comm, s->temp));
    RD_TRY(rd_agree(&s->comm, s->comm.rank == 0 ? rd_file_publish(s->temp, s->path) : RD_OK));
    s->pending = false;

done:
    rd_store_close(store);
    return rc;
}

/* ---------------------------------------------------------------- transfer */

/* Write a selection; with several ranks all at once. */
static int put(rd_store *s, const char *name, hid_t set, rd_dtype t, hid_t memory, hid_t space,
               const void *data)
{
    int rc = RD_OK;
    static const char nothing[8];
    hid_t transfer = H5Pcreate(H5P_DATASET_XFER);
    if (s->comm.size > 1) H5Pset_dxpl_mpio(transfer, H5FD_MPIO_COLLECTIVE);
    if (H5Dwrite(set, rd_h5_memory_type(t), memory, space, transfer,
                 data != NULL ? data : nothing) < 0)
        RD_H5_FAIL(RD_EIO, s->path, name);

done:
    H5Pclose(transfer);
    return rc;
}

/* n elements of a one-dimensional dataset from first on, with a matching space in memory. */
static void select_range(hid_t space, int64_t first, int64_t n, hid_t *memory)
{
    const hsize_t start = (hsize_t)first, count = (hsize_t)n;
    *memory = H5Screate_simple(1, &count, NULL);
    if (n > 0) {
        H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL);
    } else {
        H5Sselect_none(space);
        H5Sselect_none(*memory);
    }
}

/* Create the column `name` of total rows and write this rank's n from first on.  Collective. */
static int write_column(rd_store *s, const char *name, rd_dtype t, const void *rows, int64_t first,
                        int64_t n, int64_t total)
{
    int rc = RD_OK;
    hid_t set = H5I_INVALID_HID, space = H5I_INVALID_HID, memory = H5I_INVALID_HID;
    RD_TRY(make_room(s, total * (int64_t)rd_dtype_size(t)));
    RD_TRY(agree_changed(s, rd_h5_column_create(s->file, s->path, name, t, total, false, &set)));
    if (total == 0) goto done;
    space = H5Dget_space(set);
    select_range(space, first, n, &memory);
    RD_TRY(agree_changed(s, put(s, name, set, t, memory, space, rows)));

done:
    if (memory >= 0) H5Sclose(memory);
    if (space >= 0) H5Sclose(space);
    if (set >= 0) H5Dclose(set);
    return rc;
}

/* ---------------------------------------------------------------- columns */

static int check_new_column(const rd_store *s, const char *name, int64_t n)
{
    int rc = RD_OK;
    const char *slash = strrchr(name, '/');
    if (!s->writing) RD_FAIL(RD_EINTERNAL, "%s: open for reading only", s->path);
    if (slash == NULL || slash == name || slash[1] == '\0')
        RD_FAIL(RD_EINTERNAL, "%s: '%s' is not TABLE/COLUMN", s->path, name);
    if (n < 0) RD_FAIL(RD_EINTERNAL, "%s: %s: %lld rows", s->path, name, (long long)n);
    for (int64_t i = 0; i < s->n_columns; i++)
        if (strcmp(s->columns[i].name, name) == 0)
            RD_FAIL(RD_EINTERNAL, "%s: %s is written twice", s->path, name);

done:
    return rc;
}

int rd_store_write(rd_store *s, const char *name, rd_dtype t, const void *rows, int64_t n)
{
    int rc = RD_OK;
    int64_t total = n;
    RD_TRY(rd_agree(&s->comm, check_new_column(s, name, n)));
    const int64_t first = rd_exscan_i64(&s->comm, n);
    rd_sum_i64(&s->comm, &total, 1);
    RD_TRY(write_column(s, name, t, rows, first, n, total));
    rd_resize(s->columns, s->n_columns + 1);
    s->columns[s->n_columns++] = (column){
        .name = rd_strdup(name), .table_len = (size_t)(strrchr(name, '/') - name), .rows = total};

done:
    return rc;
}

int rd_store_rows(rd_store *s, const char *name, int64_t *n)
{
    int rank = 0;
    *n = 0;
    return rd_agree(&s->comm, rd_h5_dims(s->file, s->path, name, 1, &rank, n));
}

bool rd_store_has(rd_store *s, const char *name)
{
    return rd_h5_exists(s->file, name);
}

static int read_column(rd_store *s, const char *name, rd_dtype t, int64_t first, int64_t n,
                       void *rows)
{
    int rc = RD_OK, rank;
    int64_t total = 0;
    hid_t set = H5I_INVALID_HID, space = H5I_INVALID_HID, memory = H5I_INVALID_HID;
    if (s->writing) RD_FAIL(RD_EINTERNAL, "%s: open for writing only", s->path);
    RD_TRY(rd_h5_dims(s->file, s->path, name, 1, &rank, &total));
    if (first < 0 || n < 0 || first > total - n)
        RD_FAIL(RD_EINTERNAL, "%s: %s: rows %lld + %lld of %lld", s->path, name, (long long)first,
                (long long)n, (long long)total);
    if (n == 0) goto done;
    set = H5Dopen2(s->file, name, H5P_DEFAULT);
    if (set < 0) RD_H5_FAIL(RD_EINPUT, s->path, name);
    space = H5Dget_space(set);
    select_range(space, first, n, &memory);
    if (H5Dread(set, rd_h5_memory_type(t), memory, space, H5P_DEFAULT, rows) < 0)
        RD_H5_FAIL(RD_EINPUT, s->path, name);

done:
    if (memory >= 0) H5Sclose(memory);
    if (space >= 0) H5Sclose(space);
    if (set >= 0) H5Dclose(set);
    return rc;
}

int rd_store_read(rd_store *s, const char *name, rd_dtype t, int64_t first, int64_t n, void *rows)
{
    return rd_agree(&s->comm, read_column(s, name, t, first, n, rows));
}

/* ---------------------------------------------------------------- text */

int rd_store_write_pool(rd_store *s, const rd_pool *p, int64_t *base)
{
    int rc = RD_OK;
    char *bytes = NULL;
    int64_t *offset = NULL;
    const bool last = s->comm.rank == s->comm.size - 1;
    /* In the file there are no terminators: string i moves down by i bytes. */
    const int64_t n_bytes = p->n > 0 ? p->offset[p->n] - p->n : 0;
    int64_t total[2] = {p->n, n_bytes};
    if (!s->writing || s->has_text)
        RD_FAIL(RD_EINTERNAL, "%s: text is written once, into a new file", s->path);
    s->has_text = true;
    *base = rd_exscan_i64(&s->comm, p->n);
    const int64_t first_byte = rd_exscan_i64(&s->comm, n_bytes);
    rd_sum_i64(&s->comm, total, 2);
    bytes = rd_new(char, n_bytes);
    offset = rd_new(int64_t, p->n + 1);
    for (int64_t i = 0; i < p->n; i++) {
        offset[i] = first_byte + p->offset[i] - i;
        memcpy(bytes + p->offset[i] - i, p->bytes.data + p->offset[i],
               (size_t)(p->offset[i + 1] - p->offset[i] - 1));
    }
    offset[p->n] = first_byte + n_bytes; /* the next rank's first offset, the file's last */
    RD_TRY(write_column(s, "text/bytes", RD_U8, bytes, first_byte, n_bytes, total[1]));
    RD_TRY(write_column(s, "text/offset", RD_I64, offset, *base, p->n + last, total[0] + 1));

done:
    rd_free(bytes);
    rd_free(offset);
    return rc;
}

int rd_store_text_count(rd_store *s, int64_t *n)
{
    int rc = RD_OK;
    RD_TRY(rd_store_rows(s, "text/offset", n));
    if (*n < 1) RD_FAIL(RD_EINPUT, "%s: text/offset is empty", s->path);
    *n -= 1;

done:
    return rc;
}

static int read_text(rd_store *s, int64_t first, int64_t n, rd_pool *p)
{
    int rc = RD_OK, rank;
    int64_t n_bytes = 0;
    char *bytes = NULL;
    rd_pool_free(p);
    p->offset = rd_new(int64_t, n + 1);
    p->cap = n + 1;
    RD_TRY(read_column(s, "text/offset", RD_I64, first, n + 1, p->offset));
    RD_TRY(rd_h5_dims(s->file, s->path, "text/bytes", 1, &rank, &n_bytes));
    for (int64_t i = 0; i <= n; i++)
        if (p->offset[i] < (i > 0 ? p->offset[i - 1] : 0) || p->offset[i] > n_bytes)
            RD_FAIL(RD_EINPUT, "%s: text/offset does not fit text/bytes at string %lld", s->path,
                    (long long)(first + i));
    const int64_t from = p->offset[0], len = p->offset[n] - from;
    bytes = rd_new(char, len);
    RD_TRY(read_column(s, "text/bytes", RD_U8, from, len, bytes));
    /* Terminators come back in. */
    p->bytes = (rd_buf){.data = rd_new(char, len + n + 1), .cap = (size_t)(len + n + 1)};
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = p->offset[i] - from, end = p->offset[i + 1] - from;
        memcpy(p->bytes.data + at + i, bytes + at, (size_t)(end - at));
        p->offset[i] = at + i;
    }
    p->offset[n] = len + n;
    p->bytes.len = (size_t)(len + n);
    p->n = p->mark = n; /* strings added later are not looked up among these */

done:
    rd_free(bytes);
    if (rc != RD_OK) rd_pool_free(p);
    return rc;
}

int rd_store_read_text(rd_store *s, int64_t first, int64_t n, rd_pool *p)
{
    return rd_agree(&s->comm, read_text(s, first, n, p));
}

/* ---------------------------------------------------------------- arrays */

static int check_array(const rd_store *s, const char *name, int rank, const int64_t *dims,
                       const rd_slab *slab)
{
    int rc = RD_OK;
    if (rank < 0 || rank > RD_STORE_MAX_RANK)
        RD_FAIL(RD_EINTERNAL, "%s: %s: %d dimensions", s->path, name, rank);
    for (int i = 0; i < rank; i++) {
        const rd_slab b = slab[i];
        if (dims[i] < 0 || b.count < 0 || b.start < 0)
            RD_FAIL(RD_EINTERNAL, "%s: %s: negative extent in dimension %d", s->path, name, i);
        if (b.count == 0) continue;
        if (b.block < 1 || (b.count > 1 && b.stride < b.block) ||
            b.start + (b.count - 1) * b.stride >= dims[i])
            RD_FAIL(RD_EINTERNAL,
                    "%s: %s: slab %lld + %lld x %lld of %lld does not fit dimension %d of %lld",
                    s->path, name, (long long)b.start, (long long)b.count, (long long)b.stride,
                    (long long)b.block, i, (long long)dims[i]);
    }

done:
    return rc;
}

/* Select a slab, its last block per dimension cut at the extent, and a dense space in memory.  HDF5
 * has one block size per hyperslab, so each dimension with a cut block splits in two parts and the
 * selection is the union of all combinations; HDF5 walks it in row-major order all the same. */
static void select_slab(hid_t space, int rank, const int64_t *dims, const rd_slab *slab,
                        hid_t *memory)
{
    rd_slab part[RD_STORE_MAX_RANK][2];
    int parts[RD_STORE_MAX_RANK], combinations = 1;
    hsize_t extent[RD_STORE_MAX_RANK] = {0};
    for (int i = 0; i < rank; i++) {
        rd_slab b = slab[i];
        if (b.count <= 1) b.stride = b.block;
        const int64_t last = b.start + (b.count - 1) * b.stride;
        const int64_t cut = b.count == 0 || last + b.block <= dims[i] ? 0 : dims[i] - last;
        extent[i] = (hsize_t)(b.count * b.block - (cut > 0 ? b.block - cut : 0));
        parts[i] = 0;
        if (cut == 0 || b.count > 1)
            part[i][parts[i]++] = (rd_slab){b.start, b.stride, b.count - (cut > 0), b.block};
        if (cut > 0) part[i][parts[i]++] = (rd_slab){last, cut, 1, cut};
        combinations *= b.count == 0 ? 0 : parts[i];
    }
    *memory = rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(rank, extent, NULL);
    if (rank == 0) return;
    H5Sselect_none(space);
    if (combinations == 0) H5Sselect_none(*memory);
    for (int c = 0; c < combinations; c++) {
        hsize_t start[RD_STORE_MAX_RANK], stride[RD_STORE_MAX_RANK];
        hsize_t count[RD_STORE_MAX_RANK], block[RD_STORE_MAX_RANK];
        for (int i = 0, rest = c; i < rank; rest /= parts[i], i++) {
            const rd_slab b = part[i][rest % parts[i]];
            start[i] = (hsize_t)b.start, stride[i] = (hsize_t)b.stride;
            count[i] = (hsize_t)b.count, block[i] = (hsize_t)b.block;
        }
        H5Sselect_hyperslab(space, c == 0 ? H5S_SELECT_SET : H5S_SELECT_OR, start, stride, count,
                            block);
    }
}

int rd_store_write_array(rd_store *s, const char *name, rd_dtype t, int rank, const int64_t *dims,
                         const rd_slab *slab, const void *data)
{
    int rc = RD_OK;
    int64_t total = 1;
    hid_t set = H5I_INVALID_HID, space = H5I_INVALID_HID, memory = H5I_INVALID_HID;
    if (!s->writing) RD_FAIL(RD_EINTERNAL, "%s: open for reading only", s->path);
    RD_TRY(rd_agree(&s->comm, check_array(s, name, rank, dims, slab)));
    for (int i = 0; i < rank; i++) total *= dims[i];
    RD_TRY(make_room(s, total * (int64_t)rd_dtype_size(t)));
    RD_TRY(agree_changed(s, rd_h5_array_create(s->file, s->path, name, t, rank, dims, &set)));
    if (total == 0) goto done;
    space = H5Dget_space(set);
    select_slab(space, rank, dims, slab, &memory);
    RD_TRY(agree_changed(s, put(s, name, set, t, memory, space, data)));

done:
    if (memory >= 0) H5Sclose(memory);
    if (space >= 0) H5Sclose(space);
    if (set >= 0) H5Dclose(set);
    return rc;
}

static int check_dims(rd_store *s, const char *name, int rank, const int64_t *dims)
{
    int rc = RD_OK, found_rank = 0;
    int64_t found[RD_STORE_MAX_RANK];
    rd_buf got = {0}, want = {0};
    RD_TRY(rd_h5_dims(s->file, s->path, name, RD_STORE_MAX_RANK, &found_rank, found));
    bool same = found_rank == rank;
    for (int i = 0; same && i < rank; i++) same = found[i] == dims[i];
    if (same) goto done;
    for (int i = 0; i < found_rank; i++)
        rd_buf_printf(&got, "%s%lld", i > 0 ? " x " : "", (long long)found[i]);
    for (int i = 0; i < rank; i++)
        rd_buf_printf(&want, "%s%lld", i > 0 ? " x " : "", (long long)dims[i]);
    RD_FAIL(RD_EINPUT, "%s: %s: got %s, want %s", s->path, name,
            found_rank > 0 ? got.data : "a scalar", rank > 0 ? want.data : "a scalar");

done:
    rd_buf_free(&got);
    rd_buf_free(&want);
    return rc;
}

static int read_array(rd_store *s, const char *name, rd_dtype t, int rank, const int64_t *dims,
                      const rd_slab *slab, void *data)
{
    int rc = RD_OK;
    hid_t set = H5I_INVALID_HID, space = H5I_INVALID_HID, memory = H5I_INVALID_HID;
    if (s->writing) RD_FAIL(RD_EINTERNAL, "%s: open for writing only", s->path);
    RD_TRY(check_array(s, name, rank, dims, slab));
    RD_TRY(check_dims(s, name, rank, dims));
    set = H5Dopen2(s->file, name, H5P_DEFAULT);
    if (set < 0) RD_H5_FAIL(RD_EINPUT, s->path, name);
    space = H5Dget_space(set);
    select_slab(space, rank, dims, slab, &memory);
    if (H5Sget_select_npoints(space) > 0 &&
        H5Dread(set, rd_h5_memory_type(t), memory, space, H5P_DEFAULT, data) < 0)
        RD_H5_FAIL(RD_EINPUT, s->path, name);

done:
    if (memory >= 0) H5Sclose(memory);
    if (space >= 0) H5Sclose(space);
    if (set >= 0) H5Dclose(set);
    return rc;
}

int rd_store_read_array(rd_store *s, const char *name, rd_dtype t, int rank, const int64_t *dims,
                        const rd_slab *slab, void *data)
{
    return rd_agree(&s->comm, read_array(s, name, t, rank, dims, slab, data));
}

int rd_store_array_dims(rd_store *s, const char *name, int max_rank, int *rank, int64_t *dims)
{
    return rd_agree(&s->comm, rd_h5_dims(s->file, s->path, name, max_rank, rank, dims));
}

/* ---------------------------------------------------------------- links */

static int link_all(rd_store *s, int64_t n, const char *const *name, const char *const *file)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < n; i++) RD_TRY(rd_h5_link(s->file, s->path, name[i], file[i]));

done:
    return rc;
}

int rd_store_link(rd_store *s, int64_t n, const char *const *name, const char *const *file)
{
    enum { LINK_BYTES = 2048 }; /* with its share of a group */
    int rc = RD_OK;
    if (!s->writing) RD_FAIL(RD_EINTERNAL, "%s: open for reading only", s->path);
    RD_TRY(make_room(s, n * LINK_BYTES));
    RD_TRY(agree_changed(s, link_all(s, n, name, file)));

done:
    return rc;
}

/* ---------------------------------------------------------------- attributes */

int rd_store_set_string(rd_store *s, const char *object, const char *name, const char *value)
{
    int rc = RD_OK;
    if (!s->writing) RD_FAIL(RD_EINTERNAL, "%s: open for reading only", s->path);
    RD_TRY(make_room(s, (int64_t)strlen(value)));
    RD_TRY(agree_changed(s, rd_h5_set_string(s->file, s->path, object, name, value)));

done:
    return rc;
}

static int set_number(rd_store *s, const char *object, const char *name, hid_t type,
                      const void *value)
{
    int rc = RD_OK;
    if (!s->writing) RD_FAIL(RD_EINTERNAL, "%s: open for reading only", s->path);
    RD_TRY(agree_changed(s, rd_h5_set_number(s->file, s->path, object, name, type, value)));

done:
    return rc;
}

int rd_store_set_i64(rd_store *s, const char *object, const char *name, int64_t value)
{
    return set_number(s, object, name, H5T_NATIVE_INT64, &value);
}

int rd_store_set_f64(rd_store *s, const char *object, const char *name, double value)
{
    return set_number(s, object, name, H5T_NATIVE_DOUBLE, &value);
}

int rd_store_get_string(rd_store *s, const char *object, const char *name, rd_buf *value)
{
    return rd_agree(&s->comm, rd_h5_get_string(s->file, s->path, object, name, value));
}

int rd_store_get_i64(rd_store *s, const char *object, const char *name, int64_t *value)
{
    return rd_agree(&s->comm,
                    rd_h5_get_number(s->file, s->path, object, name, H5T_NATIVE_INT64, value));
}

int rd_store_get_f64(rd_store *s, const char *object, const char *name, double *value)
{
    return rd_agree(&s->comm,
                    rd_h5_get_number(s->file, s->path, object, name, H5T_NATIVE_DOUBLE, value));
}

bool rd_store_has_attribute(rd_store *s, const char *object, const char *name)
{
    bool has = rd_h5_has_attribute(s->file, object, name);
    rd_bcast(&s->comm, &has, sizeof(has), 0);
    return has;
}
