/* seal.c: the checksum over a whole HDF5 file, verified before HDF5 sees a byte of it.
 *
 * The first 512 bytes of a file are HDF5's user block, which HDF5 and h5py step over.  Ours holds a
 * few lines of text, padded with newlines (head -c 512 FILE shows them):
 *
 *   redistill seal 1
 *   bytes 123456                  the file's length
 *   crc32 of the crc32s of blocks of 4194304 bytes, from byte 512 on: 1a2b3c4d
 *
 * That text follows from the length and the contents alone, so it is checked by making it again:
 * whatever byte of a file changes, in the seal or behind it, the two differ.  A sum over sums of
 * blocks needs no order among them: ranks take shares of the blocks, and any number of ranks finds
 * the same sum. */
#include "io_private.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "redistill seal "
#define BLOCK ((int64_t)RD_STORE_SPACE)

static void make_text(int64_t bytes, uint32_t sum, char text[RD_SEAL_BYTES])
{
    memset(text, '\n', RD_SEAL_BYTES);
    const int n = snprintf(text, RD_SEAL_BYTES,
                           MAGIC "1\nbytes %lld\ncrc32 of the crc32s of blocks of %lld bytes, from "
                                 "byte %d on: %08x\n",
                           (long long)bytes, (long long)BLOCK, RD_SEAL_BYTES, sum);
    text[n] = '\n'; /* not the terminator */
}

/* n bytes at `at`; fewer than n are an error. */
static int read_at(int fd, const char *path, char *bytes, int64_t n, int64_t at)
{
    int rc = RD_OK;
    for (int64_t got = 0; got < n;) {
        const ssize_t part = pread(fd, bytes + got, (size_t)(n - got), (off_t)(at + got));
        if (part < 0 && errno == EINTR) continue;
        if (part < 0) RD_FAIL(RD_EINPUT, "%s: %s", path, strerror(errno));
        if (part == 0) RD_FAIL(RD_EINPUT, "%s: truncated file", path);
        got += part;
    }

done:
    return rc;
}

static int64_t count_blocks(int64_t size)
{
    return size > RD_SEAL_BYTES ? (size - RD_SEAL_BYTES + BLOCK - 1) / BLOCK : 0;
}

/* This rank's contiguous share of the blocks: their sums into sum[], the others' stay. */
static int sum_share(const rd_comm *c, int fd, const char *path, int64_t size, int64_t *sum)
{
    int rc = RD_OK;
    const int64_t n = count_blocks(size);
    char *block = rd_new(char, size < BLOCK ? size : BLOCK);
    for (int64_t i = n * c->rank / c->size; i < n * (c->rank + 1) / c->size; i++) {
        const int64_t at = RD_SEAL_BYTES + i * BLOCK;
        const int64_t length = size - at < BLOCK ? size - at : BLOCK;
        RD_TRY(read_at(fd, path, block, length, at));
        sum[i] = rd_crc32(block, (size_t)length, 0);
    }

done:
    rd_free(block);
    return rc;
}

/* The seal that the file at path should have.  Collective on c; size equal on all ranks. */
static int compute(const rd_comm *c, const char *path, int64_t size, char text[RD_SEAL_BYTES])
{
    int rc = RD_OK;
    rd_buf sums = {0};
    const int64_t n = count_blocks(size);
    int64_t *sum = rd_new(int64_t, n);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    const int local = fd < 0 ? rd_error_set(RD_EINPUT, __FILE__, __LINE__, __func__, "%s: %s", path,
                                            strerror(errno))
                             : sum_share(c, fd, path, size, sum);
    RD_TRY(rd_agree(c, local));
    rd_max_i64(c, sum, n); /* each is zero but on one rank */
    for (int64_t i = 0; i < n; i++) rd_put_i64(&sums, sum[i]);
    make_text(size, rd_crc32(sums.data, sums.len, 0), text);

done:
    if (fd >= 0) close(fd);
    rd_free(sum);
    rd_buf_free(&sums);
    return rc;
}

/* Length of the file and what stands in the place of its seal, on every rank as rank 0 sees it. */
typedef struct front {
    int64_t size;
    char text[RD_SEAL_BYTES + 1]; /* with a terminator */
} front;

static int read_front(const char *path, front *f)
{
    int rc = RD_OK;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) RD_FAIL(RD_EINPUT, "%s: %s", path, strerror(errno));
    f->size = st.st_size;
    RD_TRY(read_at(fd, path, f->text, f->size < RD_SEAL_BYTES ? f->size : RD_SEAL_BYTES, 0));

done:
    if (fd >= 0) close(fd);
    return rc;
}

static int get_front(const rd_comm *c, const char *path, front *f)
{
    int rc = RD_OK;
    memset(f, 0, sizeof(*f));
    RD_TRY(rd_agree(c, c->rank == 0 ? read_front(path, f) : RD_OK));
    rd_bcast(c, f, sizeof(*f), 0);

done:
    return rc;
}

static int put_text(const char *path, const char text[RD_SEAL_BYTES])
{
    int rc = RD_OK;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));
    for (ssize_t at = 0, put; at < RD_SEAL_BYTES; at += put) {
        put = pwrite(fd, text + at, (size_t)(RD_SEAL_BYTES - at), (off_t)at);
        if (put < 0) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));
    }
    if (close(fd) != 0) {
        fd = -1;
        RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));
    }
    fd = -1;

done:
    if (fd >= 0) close(fd);
    return rc;
}

int rd_seal_write(const rd_comm *c, const char *path)
{
    int rc = RD_OK;
    front f;
    char text[RD_SEAL_BYTES];
    RD_TRY(get_front(c, path, &f));
    RD_TRY(compute(c, path, f.size, text));
    RD_TRY(rd_agree(c, c->rank == 0 ? put_text(path, text) : RD_OK));

done:
    return rc;
}

int rd_seal_check(const rd_comm *c, const char *path, bool *sealed)
{
    int rc = RD_OK;
    front f;
    char text[RD_SEAL_BYTES];
    RD_TRY(get_front(c, path, &f));
    *sealed = memcmp(f.text, MAGIC, strlen(MAGIC)) == 0;
    if (!*sealed) goto done;
    const char *bytes = strstr(f.text, "\nbytes ");
    if (bytes != NULL && strtoll(bytes + 7, NULL, 10) > f.size)
        RD_FAIL(RD_EINPUT, "%s: truncated file: %lld bytes of %lld", path, (long long)f.size,
                strtoll(bytes + 7, NULL, 10));
    RD_TRY(compute(c, path, f.size, text));
    if (memcmp(text, f.text, RD_SEAL_BYTES) != 0)
        RD_FAIL(RD_EINPUT, "%s: damaged file: the checksum does not fit the contents", path);

done:
    return rc;
}
