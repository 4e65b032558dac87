/* journal.c: finished work units of a stage, so that a kill costs only the unit in hand.
 *
 * DIR/STAGE.F.journal, F the rank that wrote it, starts with a header (magic, key, n_units, crc)
 * and holds records (unit, length, crc of both and the bytes, bytes), all little-endian.  Rank r
 * reads the files r, r + size, r + 2 size, … and appends to file r, so that each file has one owner
 * and a restart on another number of ranks finds all of them. */
#include "io_private.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0x314c4e524a4452LL /* "RDJRNL1" */
#define HEADER_BYTES 32
#define RECORD_BYTES 24
#define NOBODY INT64_MAX

struct rd_journal {
    char *path; /* the file this rank appends to */
    int fd;
    int64_t end; /* its length up to the last whole record */
    int64_t n, cap;
    int64_t *units, *from; /* from: number of the file a record was read in */
    rd_buf *records;
};

/* ---------------------------------------------------------------- files of a stage */

static char *file_path(const char *dir, const char *stage, int64_t number)
{
    rd_buf b = {0};
    rd_buf_printf(&b, "%s/%s.%lld.journal", dir, stage, (long long)number);
    return rd_buf_take(&b);
}

/* ---------------------------------------------------------------- reading */

static void keep_record(rd_journal *j, int64_t unit, int64_t from, const void *bytes, size_t n)
{
    if (j->n == j->cap) {
        j->cap = j->cap ? 2 * j->cap : 64;
        rd_resize(j->units, j->cap);
        rd_resize(j->from, j->cap);
        rd_resize(j->records, j->cap);
    }
    j->units[j->n] = unit;
    j->from[j->n] = from;
    j->records[j->n] = (rd_buf){0};
    rd_buf_add(&j->records[j->n], bytes, n);
    j->n++;
}

static void make_header(rd_buf *b, uint64_t key, int64_t n_units)
{
    rd_put_i64(b, MAGIC);
    rd_put_i64(b, (int64_t)key);
    rd_put_i64(b, n_units);
    rd_put_i64(b, rd_crc32(b->data, b->len, 0));
}

static void make_record(rd_buf *b, int64_t unit, const rd_buf *record)
{
    rd_put_i64(b, unit);
    rd_put_i64(b, (int64_t)record->len);
    uint32_t crc = rd_crc32(b->data, b->len, 0);
    crc = rd_crc32(record->data, record->len, crc);
    rd_put_i64(b, crc);
    rd_buf_add(b, record->data, record->len);
}

/* Take over the whole records of a file; returns the length up to where they end, 0 when the file
 * is not this stage's with this key. */
static int64_t parse_file(rd_journal *j, const rd_buf *bytes, int64_t number, const rd_buf *header,
                          int64_t n_units)
{
    rd_cursor c = {.data = bytes->data, .len = bytes->len, .pos = HEADER_BYTES};
    int64_t unit, length, crc;
    if (bytes->len < HEADER_BYTES || memcmp(bytes->data, header->data, HEADER_BYTES) != 0) return 0;
    while (c.len - c.pos >= RECORD_BYTES) {
        const size_t start = c.pos;
        /* The bound was checked, so these cannot fail. */
        if (rd_get_i64(&c, &unit) != RD_OK || rd_get_i64(&c, &length) != RD_OK ||
            rd_get_i64(&c, &crc) != RD_OK)
            return (int64_t)start;
        const bool fits = length >= 0 && (uint64_t)length <= c.len - c.pos;
        uint32_t found = rd_crc32(c.data + start, 16, 0);
        if (fits) found = rd_crc32(c.data + c.pos, (size_t)length, found);
        if (!fits || found != (uint64_t)crc || unit < 0 || unit >= n_units) return (int64_t)start;
        keep_record(j, unit, number, c.data + c.pos, (size_t)length);
        c.pos += (size_t)length;
    }
    return (int64_t)c.pos;
}

/* Read this rank's share of the files.  Files of other runs are removed: *strangers counts them. */
static int read_files(rd_journal *j, const rd_comm *c, const char *dir, const char *stage,
                      const rd_buf *numbers, const rd_buf *header, int64_t n_units,
                      int64_t *strangers)
{
    int rc = RD_OK;
    char *path = NULL;
    rd_buf bytes = {0};
    const int64_t *number = (const int64_t *)numbers->data;
    for (size_t i = 0; i < numbers->len / sizeof(int64_t); i++) {
        if (number[i] % c->size != c->rank) continue;
        rd_free(path);
        path = file_path(dir, stage, number[i]);
        rd_buf_clear(&bytes);
        RD_TRY(rd_file_slurp(path, INT64_MAX, &bytes));
        const int64_t end = parse_file(j, &bytes, number[i], header, n_units);
        if (end == 0) {
            /* A file shorter than its header is a run killed as it began: no word about that. */
            *strangers += bytes.len >= HEADER_BYTES;
            if (unlink(path) != 0) RD_FAIL(RD_EIO, "%s: %m", path);
        } else if (number[i] == c->rank) {
            j->end = end;
        }
    }

done:
    rd_free(path);
    rd_buf_free(&bytes);
    return rc;
}

/* Of a unit that stands in several files, the one in the lowest counts.  Collective. */
static void drop_repeats(rd_journal *j, const rd_comm *c, int64_t n_units, uint8_t *done)
{
    int64_t *owner = rd_new(int64_t, n_units), kept = 0;
    for (int64_t u = 0; u < n_units; u++) owner[u] = -NOBODY;
    for (int64_t i = 0; i < j->n; i++)
        if (owner[j->units[i]] < -j->from[i]) owner[j->units[i]] = -j->from[i];
    rd_max_i64(c, owner, n_units); /* of the negative: the minimum */
    for (int64_t u = 0; u < n_units; u++) done[u] = owner[u] != -NOBODY;
    for (int64_t i = 0; i < j->n; i++) {
        if (owner[j->units[i]] != -j->from[i]) {
            rd_buf_free(&j->records[i]);
            continue;
        }
        owner[j->units[i]] = NOBODY; /* taken: the same unit again in the same file is dropped */
        j->units[kept] = j->units[i];
        j->from[kept] = j->from[i];
        j->records[kept++] = j->records[i];
    }
    j->n = kept;
    rd_free(owner);
}

/* ---------------------------------------------------------------- appending */

static int open_own(rd_journal *j, const rd_buf *header)
{
    int rc = RD_OK;
    j->fd = open(j->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (j->fd < 0) RD_FAIL(RD_EIO, "%s: %m", j->path);
    if (ftruncate(j->fd, (off_t)j->end) != 0) RD_FAIL(RD_EIO, "%s: %m", j->path);
    if (j->end == 0) RD_TRY(rd_file_append(j->fd, j->path, header->data, header->len, &j->end));

done:
    return rc;
}

static int rank0_dir(const rd_comm *c, const char *dir)
{
    return c->rank == 0 ? rd_dir_make(dir) : RD_OK;
}

static int rank0_list(const rd_comm *c, const char *dir, const char *stage, rd_buf *numbers)
{
    return c->rank == 0 ? rd_file_numbers(dir, stage, "journal", numbers) : RD_OK;
}

int rd_journal_open(const rd_comm *c, const char *dir, const char *stage, uint64_t key,
                    int64_t n_units, uint8_t *done_units, rd_journal **journal)
{
    int rc = RD_OK;
    int64_t strangers = 0;
    rd_buf numbers = {0}, header = {0};
    rd_journal *j = rd_new(rd_journal, 1);
    j->fd = -1;
    j->path = file_path(dir, stage, c->rank);
    *journal = NULL;
    rd_file_ignore_limit_signal();
    make_header(&header, key, n_units);
    RD_TRY(rd_agree(c, rank0_dir(c, dir)));
    RD_TRY(rd_agree(c, rank0_list(c, dir, stage, &numbers)));
    rd_bcast_buf(c, &numbers, 0);
    RD_TRY(rd_agree(c, read_files(j, c, dir, stage, &numbers, &header, n_units, &strangers)));
    rd_sum_i64(c, &strangers, 1);
    if (strangers > 0)
        rd_warn("%s: %lld journal%s of stage %s from other settings removed", dir,
                (long long)strangers, strangers == 1 ? "" : "s", stage);
    drop_repeats(j, c, n_units, done_units);
    RD_TRY(rd_agree(c, open_own(j, &header)));
    *journal = j;
    j = NULL;

done:
    rd_buf_free(&numbers);
    rd_buf_free(&header);
    rd_journal_close(&j);
    return rc;
}

int rd_journal_append(rd_journal *j, int64_t unit, const rd_buf *record)
{
    int rc = RD_OK;
    rd_buf b = {0};
    make_record(&b, unit, record);
    RD_TRY(rd_file_append(j->fd, j->path, b.data, b.len, &j->end));
    keep_record(j, unit, -1, record->data, record->len);

done:
    rd_buf_free(&b);
    return rc;
}

int64_t rd_journal_records(const rd_journal *j, const int64_t **units, const rd_buf **records)
{
    *units = j->units;
    *records = j->records;
    return j->n;
}

void rd_journal_close(rd_journal **journal)
{
    rd_journal *j = *journal;
    *journal = NULL;
    if (j == NULL) return;
    if (j->fd >= 0) close(j->fd);
    for (int64_t i = 0; i < j->n; i++) rd_buf_free(&j->records[i]);
    rd_free(j->records);
    rd_free(j->units);
    rd_free(j->from);
    rd_free(j->path);
    rd_free(j);
}

static int remove_files(const char *dir, const char *stage)
{
    int rc = RD_OK;
    rd_buf numbers = {0};
    RD_TRY(rd_file_numbers(dir, stage, "journal", &numbers));
    const int64_t *number = (const int64_t *)numbers.data;
    for (size_t i = 0; i < numbers.len / sizeof(int64_t); i++) {
        char *path = file_path(dir, stage, number[i]);
        const bool failed = unlink(path) != 0 && errno != ENOENT;
        if (failed) rc = rd_error_set(RD_EIO, __FILE__, __LINE__, __func__, "%s: %m", path);
        rd_free(path);
    }

done:
    rd_buf_free(&numbers);
    return rc;
}

int rd_journal_remove(const rd_comm *c, const char *dir, const char *stage)
{
    return rd_agree(c, c->rank == 0 ? remove_files(dir, stage) : RD_OK);
}
