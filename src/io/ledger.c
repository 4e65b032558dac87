/* ledger.c: records that must never be made twice, found again by their key.
 *
 * DIR/NAME.R.ledger, R the rank that wrote it, holds records one after the other: magic, two words
 * of key, amount, length, crc of these and of the bytes, bytes; all little-endian.  Each record
 * carries the magic so that what follows a damaged one is found again.  Rank r reads the files r,
 * r + size, … and tells the others where everything is; bytes are read when they are asked for. */
#include "io_private.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x3147444c4452f0f1LL
enum {
    SUMMED_BYTES = 40, /* of a record's head: those that the crc covers */
    HEAD_BYTES = SUMMED_BYTES + 8,
    LOCK_SECONDS = 20 /* for the processes of a killed run to go */
};

typedef struct entry {
    rd_ledger_key key;
    int64_t amount, file, at, length; /* at: of the head */
} entry;

struct rd_ledger {
    char *dir, *name, *path; /* path: the file this rank appends to */
    int fd;
    int64_t end;
    bool dirty;
    int64_t own;                    /* number of this rank's file */
    int64_t n, cap, *slot, n_slots; /* slot: index of an entry + 1, by key; 0: free */
    entry *entry;
    int64_t records, amount; /* at open, all files */
    int64_t open_file;       /* of another rank, kept open for the next find; -1: none */
    int open_fd;
};

static char *file_path(const rd_ledger *l, int64_t number)
{
    rd_buf b = {0};
    rd_buf_printf(&b, "%s/%s.%lld.ledger", l->dir, l->name, (long long)number);
    return rd_buf_take(&b);
}

/* ---------------------------------------------------------------- the index */

/* Where the key is, or the free slot where it would be. */
static int64_t find_slot(const rd_ledger *l, rd_ledger_key key)
{
    const uint64_t mask = (uint64_t)l->n_slots - 1;
    uint64_t s = key.a & mask;
    for (; l->slot[s]; s = (s + 1) & mask) {
        const entry *e = &l->entry[l->slot[s] - 1];
        if (e->key.a == key.a && e->key.b == key.b) break;
    }
    return (int64_t)s;
}

static void grow_slots(rd_ledger *l)
{
    l->n_slots = l->n_slots ? 2 * l->n_slots : 1024;
    rd_free(l->slot);
    l->slot = rd_new(int64_t, l->n_slots);
    for (int64_t i = 0; i < l->n; i++) l->slot[find_slot(l, l->entry[i].key)] = i + 1;
}

/* Of two entries with one key that in the lower file, then at the lower place, stays. */
static void add_entry(rd_ledger *l, const entry *e)
{
    if (2 * (l->n + 1) > l->n_slots) grow_slots(l);
    const int64_t s = find_slot(l, e->key);
    if (l->slot[s]) {
        entry *there = &l->entry[l->slot[s] - 1];
        if (e->file < there->file || (e->file == there->file && e->at < there->at)) *there = *e;
        return;
    }
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 256;
        rd_resize(l->entry, l->cap);
    }
    l->entry[l->n++] = *e;
    l->slot[s] = l->n;
}

/* ---------------------------------------------------------------- reading */

/* Is there a whole record at c->pos?  Then it is stepped over. */
static bool parse_record(rd_cursor *c, entry *e)
{
    const size_t start = c->pos;
    int64_t magic, a, b, crc;
    if (c->len - start < HEAD_BYTES) return false;
    /* The bound was checked, so these cannot fail. */
    if (rd_get_i64(c, &magic) != RD_OK || rd_get_i64(c, &a) != RD_OK ||
        rd_get_i64(c, &b) != RD_OK || rd_get_i64(c, &e->amount) != RD_OK ||
        rd_get_i64(c, &e->length) != RD_OK || rd_get_i64(c, &crc) != RD_OK)
        return false;
    e->key = (rd_ledger_key){(uint64_t)a, (uint64_t)b};
    e->at = (int64_t)start;
    bool good = magic == MAGIC && e->length >= 0 && (uint64_t)e->length <= c->len - c->pos;
    if (good) {
        uint32_t found = rd_crc32(c->data + start, SUMMED_BYTES, 0);
        good = rd_crc32(c->data + c->pos, (size_t)e->length, found) == (uint64_t)crc;
    }
    c->pos = good ? c->pos + (size_t)e->length : start;
    return good;
}

/* All whole records, as entries appended to found; returns where the last one ends.  *damaged
 * counts the places where something else stood between two of them. */
static int64_t parse_file(const char *bytes, size_t n, int64_t number, rd_buf *found,
                          int64_t *damaged)
{
    rd_cursor c = {bytes, n, 0};
    const int64_t magic = MAGIC;
    size_t end = 0;
    rd_buf word = {0};
    rd_put_i64(&word, magic);
    while (c.pos < c.len) {
        entry e = {.file = number};
        const size_t start = c.pos;
        if (parse_record(&c, &e)) {
            *damaged += start != end;
            end = c.pos;
            rd_buf_add(found, &e, sizeof e);
            continue;
        }
        const char *next = memmem(bytes + start + 1, n - start - 1, word.data, word.len);
        c.pos = next ? (size_t)(next - bytes) : n;
    }
    rd_buf_free(&word);
    return (int64_t)end;
}

/* Alone with the file?  Processes of a run that was just killed may live for a moment longer; where
 * the file system knows no locks we go on without. */
static int lock_file(int fd, const char *path)
{
    int rc = RD_OK;
    for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; tries++) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK) break;
        if (tries == LOCK_SECONDS * 10)
            RD_FAIL(RD_EINPUT, "%s: another run is writing to this directory", path);
        nanosleep(&(struct timespec){0, 100000000}, NULL);
    }
done:
    return rc;
}

static int read_file(rd_ledger *l, int64_t number, rd_buf *found, int64_t *damaged)
{
    int rc = RD_OK;
    struct stat st;
    void *bytes = MAP_FAILED;
    char *path = file_path(l, number);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) RD_FAIL(RD_EIO, "%s: %m", path);
    RD_TRY(lock_file(fd, path));
    if (fstat(fd, &st) != 0) RD_FAIL(RD_EIO, "%s: %m", path);
    if (st.st_size > 0) {
        bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED) RD_FAIL(RD_EIO, "%s: %m", path);
        const int64_t end = parse_file(bytes, (size_t)st.st_size, number, found, damaged);
        if (number == l->own) l->end = end;
    }

done:
    if (bytes != MAP_FAILED) munmap(bytes, (size_t)st.st_size);
    if (fd >= 0) close(fd); /* and the lock is gone */
    rd_free(path);
    return rc;
}

static int read_share(rd_ledger *l, const rd_comm *c, const rd_buf *numbers, rd_buf *found,
                      int64_t *damaged)
{
    int rc = RD_OK;
    const int64_t *number = (const int64_t *)numbers->data;
    for (size_t i = 0; i < numbers->len / sizeof(int64_t); i++)
        if (number[i] % c->size == c->rank) RD_TRY(read_file(l, number[i], found, damaged));
done:
    return rc;
}

/* What every rank found, to every rank.  Collective. */
static void share_index(rd_ledger *l, const rd_comm *c, const rd_buf *found)
{
    char *all = NULL;
    int64_t *sizes = NULL, total = 0;
    rd_allgather(c, found->data, (int64_t)found->len, &all, &sizes);
    for (int r = 0; r < c->size; r++) total += sizes[r];
    for (int64_t i = 0; i < total / (int64_t)sizeof(entry); i++) {
        entry e;
        memcpy(&e, all + i * (int64_t)sizeof e, sizeof e);
        l->records++;
        l->amount += e.amount;
        add_entry(l, &e);
    }
    rd_free(all);
    rd_free(sizes);
}

/* ---------------------------------------------------------------- opening */

static int open_own(rd_ledger *l)
{
    int rc = RD_OK;
    l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (l->fd < 0) RD_FAIL(RD_EIO, "%s: %m", l->path);
    RD_TRY(lock_file(l->fd, l->path));
    if (ftruncate(l->fd, (off_t)l->end) != 0) RD_FAIL(RD_EIO, "%s: %m", l->path);
done:
    return rc;
}

static int rank0_list(const rd_comm *c, const char *dir, const char *name, rd_buf *numbers)
{
    int rc = RD_OK;
    if (c->rank != 0) return RD_OK;
    RD_TRY(rd_dir_make(dir));
    RD_TRY(rd_file_numbers(dir, name, "ledger", numbers));
done:
    return rc;
}

int rd_ledger_open(const rd_comm *c, const char *dir, const char *name, rd_ledger **ledger)
{
    int rc = RD_OK;
    int64_t damaged = 0;
    rd_buf numbers = {0}, found = {0};
    rd_ledger *l = rd_new(rd_ledger, 1);
    *l = (rd_ledger){.fd = -1, .open_fd = -1, .open_file = -1, .own = c->rank};
    l->dir = rd_strdup(dir);
    l->name = rd_strdup(name);
    l->path = file_path(l, c->rank);
    *ledger = NULL;
    grow_slots(l);
    rd_file_ignore_limit_signal();
    RD_TRY(rd_agree(c, rank0_list(c, dir, name, &numbers)));
    rd_bcast_buf(c, &numbers, 0);
    RD_TRY(rd_agree(c, read_share(l, c, &numbers, &found, &damaged)));
    share_index(l, c, &found);
    rd_sum_i64(c, &damaged, 1);
    if (damaged > 0)
        rd_warn("%s/%s.*.ledger: damaged in %lld place%s; records there are lost", dir, name,
                (long long)damaged, damaged == 1 ? "" : "s");
    RD_TRY(rd_agree(c, open_own(l)));
    *ledger = l;
    l = NULL;

done:
    rd_buf_free(&numbers);
    rd_buf_free(&found);
    rd_ledger_close(&l);
    return rc;
}

void rd_ledger_close(rd_ledger **ledger)
{
    rd_ledger *l = *ledger;
    *ledger = NULL;
    if (l == NULL) return;
    if (l->fd >= 0 && l->dirty && fdatasync(l->fd) != 0) rd_warn("%s: %m", l->path);
    if (l->fd >= 0) close(l->fd);
    if (l->open_fd >= 0) close(l->open_fd);
    rd_free(l->entry);
    rd_free(l->slot);
    rd_free(l->path);
    rd_free(l->name);
    rd_free(l->dir);
    rd_free(l);
}

/* ---------------------------------------------------------------- use */

int rd_ledger_append(rd_ledger *l, rd_ledger_key key, int64_t amount, const rd_buf *record)
{
    int rc = RD_OK;
    rd_buf b = {0};
    const entry e = {key, amount, l->own, l->end, (int64_t)record->len};
    rd_put_i64(&b, MAGIC);
    rd_put_i64(&b, (int64_t)key.a);
    rd_put_i64(&b, (int64_t)key.b);
    rd_put_i64(&b, amount);
    rd_put_i64(&b, e.length);
    rd_put_i64(&b, rd_crc32(record->data, record->len, rd_crc32(b.data, b.len, 0)));
    rd_buf_add(&b, record->data, record->len);
    RD_TRY(rd_file_append(l->fd, l->path, b.data, b.len, &l->end));
    l->dirty = true;
    add_entry(l, &e);
done:
    rd_buf_free(&b);
    return rc;
}

int rd_ledger_sync(rd_ledger *l)
{
    int rc = RD_OK;
    if (l->dirty && fdatasync(l->fd) != 0) RD_FAIL(RD_EIO, "%s: %m", l->path);
    l->dirty = false;
done:
    return rc;
}

static int open_other(rd_ledger *l, int64_t number, const char *path)
{
    int rc = RD_OK;
    if (l->open_file == number) return RD_OK;
    if (l->open_fd >= 0) close(l->open_fd);
    l->open_file = -1;
    l->open_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (l->open_fd < 0) RD_FAIL(RD_EIO, "%s: %m", path);
    l->open_file = number;
done:
    return rc;
}

static int read_at(int fd, const char *path, int64_t at, char *bytes, int64_t n)
{
    int rc = RD_OK;
    for (int64_t got = 0; got < n;) {
        const ssize_t more = pread(fd, bytes + got, (size_t)(n - got), (off_t)(at + got));
        if (more < 0 && errno == EINTR) continue;
        if (more < 0) RD_FAIL(RD_EIO, "%s: %m", path);
        if (more == 0) RD_FAIL(RD_EIO, "%s: became shorter while it was in use", path);
        got += more;
    }
done:
    return rc;
}

int rd_ledger_find(rd_ledger *l, rd_ledger_key key, bool *found, rd_buf *record)
{
    int rc = RD_OK;
    char *bytes = NULL, *path = NULL;
    rd_buf_clear(record);
    const int64_t s = l->slot[find_slot(l, key)];
    *found = s > 0;
    if (s == 0) goto done;
    const entry *e = &l->entry[s - 1];
    entry again;
    path = file_path(l, e->file);
    if (e->file != l->own) RD_TRY(open_other(l, e->file, path));
    bytes = rd_new(char, HEAD_BYTES + e->length);
    RD_TRY(read_at(e->file == l->own ? l->fd : l->open_fd, path, e->at, bytes,
                   HEAD_BYTES + e->length));
    rd_cursor c = {bytes, (size_t)(HEAD_BYTES + e->length), 0};
    if (!parse_record(&c, &again)) RD_FAIL(RD_EIO, "%s: changed while it was in use", path);
    rd_buf_add(record, bytes + HEAD_BYTES, (size_t)e->length);

done:
    rd_free(bytes);
    rd_free(path);
    return rc;
}

void rd_ledger_totals(const rd_ledger *l, int64_t *records, int64_t *amount)
{
    *records = l->records;
    *amount = l->amount;
}
