/* series.c: the log of a running job (metrics.h5), one float64 row at a time.
 *
 * A flush copies the file, appends to the copy and renames it into place.  That costs a copy of a
 * few megabytes, and buys what appending in place cannot give: a reader never meets a half-written
 * file, and a kill in the middle of a flush costs the rows of that flush, not the whole history. */
#include "io_private.h"
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_COLUMN "step"

typedef struct series_table {
    char *name;
    char **columns; /* behind the key column */
    int n_columns;
    int64_t n, cap; /* rows not yet in the file */
    int64_t *keys;
    double *values; /* n x n_columns */
} series_table;

struct rd_series {
    char *path, *temp;
    series_table *tables;
    int n_tables;
};

/* ---------------------------------------------------------------- the copy */

static int copy_file(const char *from, const char *to)
{
    int rc = RD_OK, in = -1, out = -1;
    const size_t size = (size_t)1 << 20;
    char *block = rd_new(char, size);
    in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) RD_FAIL(RD_EIO, "%s: %m", from);
    out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (out < 0) RD_FAIL(RD_EIO, "%s: %m", to);
    for (;;) {
        ssize_t got = read(in, block, size);
        if (got < 0) RD_FAIL(RD_EIO, "%s: %m", from);
        if (got == 0) break;
        for (ssize_t at = 0, put; at < got; at += put) {
            put = write(out, block + at, (size_t)(got - at));
            if (put < 0) RD_FAIL(RD_EIO, "%s: %m", to);
        }
    }

done:
    if (in >= 0) close(in);
    if (out >= 0 && close(out) != 0 && rc == RD_OK)
        rc = rd_error_set(RD_EIO, __FILE__, __LINE__, __func__, "%s: %m", to);
    rd_free(block);
    return rc;
}

static int open_copy(const rd_series *s, int64_t more, hid_t *file)
{
    int rc = RD_OK;
    struct stat st;
    bool sealed;
    int64_t reserved = 0;
    const rd_comm self = rd_comm_self();
    hid_t access = rd_h5_serial_access();
    /* Else damage would be sealed into the copy. */
    RD_TRY(rd_seal_check(&self, s->path, &sealed));
    if (!sealed) RD_FAIL(RD_EINPUT, "%s: no checksum at its front", s->path);
    RD_TRY(copy_file(s->path, s->temp));
    if (stat(s->temp, &st) != 0) RD_FAIL(RD_EIO, "%s: %m", s->temp);
    reserved = st.st_size;
    RD_TRY(rd_file_reserve(s->temp, reserved + more, &reserved));
    *file = H5Fopen(s->temp, H5F_ACC_RDWR, access);
    if (*file < 0) RD_H5_FAIL(RD_EINPUT, s->path, "damaged HDF5 file");

done:
    H5Pclose(access);
    return rc;
}

/* End of a change: close and rename, or throw the copy away. */
static int finish_copy(const rd_series *s, hid_t file, int code)
{
    int rc = code;
    int64_t size = 0;
    const rd_comm self = rd_comm_self();
    if (rc == RD_OK) rc = rd_h5_flush(file, s->path, true, &size);
    if (rc != RD_OK) {
        rd_h5_discard(file, s->temp, true);
        goto done;
    }
    if (H5Fclose(file) < 0) RD_H5_FAIL(RD_EIO, s->path, "cannot be written");
    RD_TRY(rd_file_trim(s->temp, size));
    RD_TRY(rd_seal_write(&self, s->temp));
    RD_TRY(rd_file_publish(s->temp, s->path));

done:
    if (rc != RD_OK) unlink(s->temp);
    return rc;
}

/* ---------------------------------------------------------------- opening */

static int create_empty(const rd_series *s, const rd_store_info *info)
{
    int rc = RD_OK;
    int64_t reserved = 0;
    char date[32];
    hid_t file = H5I_INVALID_HID, access = rd_h5_serial_access();
    int fd = open(s->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) RD_FAIL(RD_EIO, "%s: %m", s->path);
    close(fd);
    rd_h5_date(date);
    RD_TRY(rd_h5_create(s->temp, s->path, access, &file));
    const int64_t config = info->config != NULL ? (int64_t)strlen(info->config) : 0;
    RD_TRY(rd_file_reserve(s->temp, ((int64_t)64 << 10) + 2 * config, &reserved));
    RD_TRY(rd_h5_set_header(file, s->path, info, date));

done:
    H5Pclose(access);
    return finish_copy(s, file, rc);
}

static int set_length(hid_t file, const char *path, const char *name, int64_t n)
{
    int rc = RD_OK;
    const hsize_t rows = (hsize_t)n;
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    if (set < 0 || H5Dset_extent(set, &rows) < 0) RD_H5_FAIL(RD_EIO, path, name);

done:
    if (set >= 0) H5Dclose(set);
    return rc;
}

/* Rows of a table whose key is <= keep; keys ascend. */
static int count_kept(hid_t file, const char *path, const char *key_name, int64_t keep, int64_t *n)
{
    int rc = RD_OK, rank;
    int64_t *keys = NULL;
    hid_t set = H5I_INVALID_HID;
    RD_TRY(rd_h5_dims(file, path, key_name, 1, &rank, n));
    keys = rd_new(int64_t, *n);
    set = H5Dopen2(file, key_name, H5P_DEFAULT);
    if (set < 0 ||
        (*n > 0 && H5Dread(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, keys) < 0))
        RD_H5_FAIL(RD_EINPUT, path, key_name);
    while (*n > 0 && keys[*n - 1] > keep) --*n;

done:
    if (set >= 0) H5Dclose(set);
    rd_free(keys);
    return rc;
}

typedef struct truncation {
    hid_t file;
    const char *path, *table;
    int64_t keep, rows;
    int rc;
} truncation;

static herr_t truncate_column(hid_t group, const char *name, const H5L_info_t *info, void *data)
{
    truncation *t = data;
    (void)info;
    t->rc = set_length(group, t->path, name, t->rows);
    return t->rc == RD_OK ? 0 : -1;
}

static herr_t truncate_table(hid_t root, const char *name, const H5L_info_t *info, void *data)
{
    int rc = RD_OK;
    truncation *t = data;
    rd_buf key = {0};
    hid_t group = H5I_INVALID_HID;
    (void)info;
    rd_buf_printf(&key, "%s/%s", name, KEY_COLUMN);
    RD_TRY(count_kept(root, t->path, key.data, t->keep, &t->rows));
    group = H5Gopen2(root, name, H5P_DEFAULT);
    if (group < 0) RD_H5_FAIL(RD_EINPUT, t->path, name);
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, truncate_column, t) < 0) {
        rc = t->rc;
        goto done;
    }

done:
    if (group >= 0) H5Gclose(group);
    rd_buf_free(&key);
    t->rc = rc;
    return rc == RD_OK ? 0 : -1;
}

static int truncate_to(const rd_series *s, const rd_store_info *info, int64_t keep)
{
    int rc = RD_OK;
    hid_t file = H5I_INVALID_HID;
    truncation t = {.path = s->path, .keep = keep};
    RD_TRY(rd_h5_open_read(s->path, &file));
    RD_TRY(rd_h5_check_header(file, s->path, info->schema, info->version));
    H5Fclose(file);
    file = H5I_INVALID_HID;
    RD_TRY(open_copy(s, (int64_t)1 << 20, &file));
    if (H5Literate(file, H5_INDEX_NAME, H5_ITER_INC, NULL, truncate_table, &t) < 0) rc = t.rc;

    return finish_copy(s, file, rc);

done:
    if (file >= 0) H5Fclose(file);
    unlink(s->temp);
    return rc;
}

static void series_free(rd_series *s)
{
    for (int i = 0; i < s->n_tables; i++) {
        series_table *t = &s->tables[i];
        for (int j = 0; j < t->n_columns; j++) rd_free(t->columns[j]);
        rd_free(t->columns);
        rd_free(t->name);
        rd_free(t->keys);
        rd_free(t->values);
    }
    rd_free(s->tables);
    rd_free(s->path);
    rd_free(s->temp);
    rd_free(s);
}

int rd_series_open(const char *path, const rd_store_info *info, int64_t keep, rd_series **series)
{
    int rc = RD_OK;
    rd_series *s = rd_new(rd_series, 1);
    s->path = rd_strdup(path);
    s->temp = rd_file_temp_name(path);
    *series = NULL;
    rd_h5_quiet();
    rd_file_ignore_limit_signal();
    if (keep >= 0 && rd_file_exists(path))
        RD_TRY(truncate_to(s, info, keep));
    else
        RD_TRY(create_empty(s, info));
    *series = s;
    s = NULL;

done:
    if (s != NULL) series_free(s);
    return rc;
}

/* ---------------------------------------------------------------- rows */

static series_table *find_table(rd_series *s, const char *name, int n, const char *const *columns)
{
    for (int i = 0; i < s->n_tables; i++)
        if (strcmp(s->tables[i].name, name) == 0) return &s->tables[i];
    rd_resize(s->tables, s->n_tables + 1);
    series_table *t = &s->tables[s->n_tables++];
    *t = (series_table){.name = rd_strdup(name), .n_columns = n, .columns = rd_new(char *, n)};
    for (int j = 0; j < n; j++) t->columns[j] = rd_strdup(columns[j]);
    return t;
}

int rd_series_row(rd_series *s, const char *table, int n, const char *const *columns, int64_t key,
                  const double *values)
{
    int rc = RD_OK;
    series_table *t = find_table(s, table, n, columns);
    bool same = t->n_columns == n;
    for (int j = 0; same && j < n; j++) same = strcmp(t->columns[j], columns[j]) == 0;
    if (!same) RD_FAIL(RD_EINTERNAL, "%s: the rows of %s have different columns", s->path, table);
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        rd_resize(t->keys, t->cap);
        rd_resize(t->values, t->cap * (n > 0 ? n : 1));
    }
    t->keys[t->n] = key;
    memcpy(t->values + t->n * n, values, (size_t)n * sizeof(double));
    t->n++;

done:
    return rc;
}

/* Append n values to TABLE/COLUMN, which must hold *before rows (-1: take what it holds). */
static int append_column(hid_t file, const char *path, const char *table, const char *column,
                         rd_dtype type, const void *values, int64_t n, int64_t *before)
{
    int rc = RD_OK, rank;
    int64_t rows = 0;
    rd_buf name = {0};
    hid_t set = H5I_INVALID_HID, space = H5I_INVALID_HID, memory = H5I_INVALID_HID;
    rd_buf_printf(&name, "%s/%s", table, column);
    if (rd_h5_exists(file, name.data)) {
        RD_TRY(rd_h5_dims(file, path, name.data, 1, &rank, &rows));
        set = H5Dopen2(file, name.data, H5P_DEFAULT);
        if (set < 0) RD_H5_FAIL(RD_EINPUT, path, name.data);
    } else {
        RD_TRY(rd_h5_column_create(file, path, name.data, type, 0, true, &set));
    }
    if (*before < 0) *before = rows;
    if (rows != *before)
        RD_FAIL(RD_EINPUT,
                "%s: %s has %lld rows, its table has %lld: was it written by another run?", path,
                name.data, (long long)rows, (long long)*before);
    const hsize_t start = (hsize_t)rows, count = (hsize_t)n, end = start + count;
    if (H5Dset_extent(set, &end) < 0) RD_H5_FAIL(RD_EIO, path, name.data);
    space = H5Dget_space(set);
    memory = H5Screate_simple(1, &count, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL);
    if (H5Dwrite(set, rd_h5_memory_type(type), memory, space, H5P_DEFAULT, values) < 0)
        RD_H5_FAIL(RD_EIO, path, name.data);

done:
    if (memory >= 0) H5Sclose(memory);
    if (space >= 0) H5Sclose(space);
    if (set >= 0) H5Dclose(set);
    rd_buf_free(&name);
    return rc;
}

static int append_table(hid_t file, const char *path, const series_table *t)
{
    int rc = RD_OK;
    int64_t before = -1;
    double *column = rd_new(double, t->n);
    RD_TRY(append_column(file, path, t->name, KEY_COLUMN, RD_I64, t->keys, t->n, &before));
    for (int j = 0; j < t->n_columns; j++) {
        for (int64_t i = 0; i < t->n; i++) column[i] = t->values[i * t->n_columns + j];
        RD_TRY(append_column(file, path, t->name, t->columns[j], RD_F64, column, t->n, &before));
    }

done:
    rd_free(column);
    return rc;
}

int rd_series_flush(rd_series *s)
{
    int rc = RD_OK;
    int64_t rows = 0, room = (int64_t)64 << 10;
    hid_t file = H5I_INVALID_HID;
    for (int i = 0; i < s->n_tables; i++) {
        const series_table *t = &s->tables[i];
        rows += t->n;
        /* A last chunk that grows moves to a new place, and a column may need its header. */
        room += (t->n_columns + 1) * (8 * (t->n + 1024) + 4096);
    }
    if (rows == 0) return RD_OK;
    rc = open_copy(s, room, &file);
    for (int i = 0; rc == RD_OK && i < s->n_tables; i++)
        if (s->tables[i].n > 0) rc = append_table(file, s->path, &s->tables[i]);
    RD_TRY(finish_copy(s, file, rc));
    for (int i = 0; i < s->n_tables; i++) s->tables[i].n = 0;

done:
    return rc;
}

int rd_series_close(rd_series **series)
{
    if (*series == NULL) return RD_OK;
    const int rc = rd_series_flush(*series);
    series_free(*series);
    *series = NULL;
    return rc;
}
