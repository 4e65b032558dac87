/* file.c: whole files, directories, and how a finished file takes its place.
 *
 * Nothing is ever written under its final name: PATH.tmp is written, synced and renamed, so that a
 * failure or a kill at any moment leaves either the old file or the new one. */
#include "io_private.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_LIMIT ((int64_t)1 << 30)

int rd_file_slurp(const char *path, int64_t limit, rd_buf *out)
{
    int rc = RD_OK;
    char *chunk = NULL;
    const size_t chunk_size = (size_t)1 << 20;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) RD_FAIL(RD_EINPUT, "%s: %s", path, strerror(errno));
    /* Read to the end rather than trusting the size: pipes have none. */
    chunk = rd_new(char, chunk_size);
    for (int64_t total = 0;;) {
        ssize_t got = read(fd, chunk, chunk_size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) RD_FAIL(RD_EINPUT, "%s: %s", path, strerror(errno));
        if (got == 0) break;
        total += got;
        if (total > limit)
            RD_FAIL(RD_EINPUT, "%s: larger than %lld bytes; is this the right file?", path,
                    (long long)limit);
        rd_buf_add(out, chunk, (size_t)got);
    }

done:
    if (fd >= 0) close(fd);
    rd_free(chunk);
    return rc;
}

int rd_file_read(const char *path, rd_buf *out)
{
    rd_buf_clear(out);
    rd_buf_puts(out, ""); /* an empty file is "", not NULL */
    return rd_file_slurp(path, READ_LIMIT, out);
}

char *rd_file_temp_name(const char *path)
{
    rd_buf b = {0};
    rd_buf_printf(&b, "%s.tmp", path);
    return rd_buf_take(&b);
}

void rd_file_ignore_limit_signal(void)
{
    signal(SIGXFSZ, SIG_IGN);
}

/* fd's bytes from..end become zeros.  pwrite keeps no position, so nobody else is disturbed. */
static int write_zeros(int fd, const char *path, int64_t from, int64_t end)
{
    int rc = RD_OK;
    const int64_t size = (int64_t)1 << 20;
    char *zeros = rd_new(char, size);
    while (from < end) {
        const int64_t n = end - from < size ? end - from : size;
        const ssize_t put = pwrite(fd, zeros, (size_t)n, (off_t)from);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0)
            RD_FAIL(RD_EIO, "%s: %s (%lld more bytes are needed)", path, strerror(errno),
                    (long long)(end - from));
        from += put;
    }

done:
    rd_free(zeros);
    return rc;
}

int rd_file_reserve(const char *path, int64_t end, int64_t *reserved)
{
    int rc = RD_OK, fd = -1, failed;
    struct rlimit limit;
    struct stat st;
    if (end <= *reserved) return RD_OK;
    /* fallocate does not look at this limit. */
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        (uint64_t)end > (uint64_t)limit.rlim_cur)
        RD_FAIL(RD_EIO, "%s: %s (the limit on the file size is %llu bytes, up to %lld are needed)",
                path, strerror(EFBIG), (unsigned long long)limit.rlim_cur, (long long)end);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));
    do failed = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)*reserved, (off_t)(end - *reserved));
    while (failed && errno == EINTR);
    if (failed && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        /* The free space alone would say nothing of quotas; blocks once written are ours.  What
         * stands in the file is left alone. */
        RD_TRY(write_zeros(fd, path, *reserved > st.st_size ? *reserved : st.st_size, end));
    } else if (failed) {
        RD_FAIL(RD_EIO, "%s: %s (up to %lld more bytes are needed)", path, strerror(errno),
                (long long)(end - *reserved));
    }
    *reserved = end;

done:
    if (fd >= 0) close(fd);
    return rc;
}

/* The rename itself must reach the disk.  Some file systems refuse fsync on directories, which is
 * no reason to fail a run. */
static void sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL   ? rd_strdup(".")
                : slash == path ? rd_strdup("/")
                                : rd_strndup(path, (size_t)(slash - path));
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    rd_free(dir);
}

int rd_file_trim(const char *path, int64_t size)
{
    int rc = RD_OK;
    struct stat st;
    if (stat(path, &st) != 0) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));
    if (size > st.st_size) size = st.st_size;
    /* Even to the same size: that frees blocks reserved behind the end. */
    if (truncate(path, (off_t)size) != 0) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));

done:
    return rc;
}

int rd_file_publish(const char *temp, const char *path)
{
    int rc = RD_OK;
    int fd = open(temp, O_WRONLY | O_CLOEXEC);
    if (fd < 0) RD_FAIL(RD_EIO, "%s: %s", temp, strerror(errno));
    if (fsync(fd) != 0) RD_FAIL(RD_EIO, "%s: %s", temp, strerror(errno));
    if (rename(temp, path) != 0) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));
    sync_directory(path);

done:
    if (fd >= 0) close(fd);
    return rc;
}

int rd_file_write_atomic(const char *path, const void *bytes, size_t n)
{
    int rc = RD_OK;
    char *temp = rd_file_temp_name(path);
    rd_file_ignore_limit_signal();
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));
    for (size_t at = 0; at < n;) {
        ssize_t put = write(fd, (const char *)bytes + at, n - at);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));
        at += (size_t)put;
    }
    /* Network file systems report a full disk only here. */
    int closed = close(fd);
    fd = -1;
    if (closed != 0) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));
    RD_TRY(rd_file_publish(temp, path));

done:
    if (fd >= 0) close(fd);
    if (rc != RD_OK) unlink(temp);
    rd_free(temp);
    return rc;
}

static bool leads_to(const char *path, const char *target)
{
    char there[PATH_MAX];
    const ssize_t n = readlink(path, there, sizeof(there));
    return n == (ssize_t)strlen(target) && memcmp(there, target, (size_t)n) == 0;
}

/* Several jobs may make the same link at once: only one that has to go is replaced by a rename. */
int rd_file_link(const char *path, const char *target)
{
    int rc = RD_OK;
    char *temp = rd_file_temp_name(path);
    if (symlink(target, path) == 0 || leads_to(path, target)) goto done;
    if (errno != EEXIST && errno != EINVAL) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));
    unlink(temp);
    if (symlink(target, temp) != 0) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));
    if (rename(temp, path) != 0) {
        const int why = errno;
        unlink(temp);
        RD_FAIL(RD_EIO, "%s: %s", path, strerror(why));
    }

done:
    rd_free(temp);
    return rc;
}

struct rd_outfile {
    char *path, *temp;
    int fd;
    int64_t end;
};

int rd_outfile_create(const char *path, rd_outfile **f)
{
    int rc = RD_OK;
    rd_outfile *o = rd_new(rd_outfile, 1);
    o->path = rd_strdup(path);
    o->temp = rd_file_temp_name(path);
    rd_file_ignore_limit_signal();
    o->fd = open(o->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    *f = o;
    if (o->fd < 0) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));
done:
    if (rc != RD_OK) rd_outfile_close(f);
    return rc;
}

int rd_outfile_write(rd_outfile *f, const void *bytes, size_t n)
{
    return rd_file_append(f->fd, f->path, bytes, n, &f->end);
}

int rd_outfile_commit(rd_outfile **f)
{
    int rc = RD_OK;
    rd_outfile *o = *f;
    const int closed = close(o->fd); /* network file systems report a full disk only here */
    o->fd = -1;
    if (closed != 0) RD_FAIL(RD_EIO, "%s: %s", o->path, strerror(errno));
    RD_TRY(rd_file_publish(o->temp, o->path));
done:
    rd_outfile_close(f);
    return rc;
}

void rd_outfile_close(rd_outfile **f)
{
    rd_outfile *o = *f;
    if (!o) return;
    if (o->fd >= 0) close(o->fd);
    unlink(o->temp); /* not there any more after a commit */
    rd_free(o->path);
    rd_free(o->temp);
    RD_FREE(*f);
}

int rd_dir_make(const char *path)
{
    int rc = RD_OK;
    struct stat st;
    char *p = rd_strdup(path);
    size_t n = strlen(p);
    if (n == 0) RD_FAIL(RD_EIO, "a directory needs a name");
    for (size_t i = 1; i <= n; i++) {
        if (p[i] != '/' && p[i] != '\0') continue;
        char end = p[i];
        p[i] = '\0';
        /* Another rank or job may make it between the look and the making. */
        if (mkdir(p, 0777) != 0 && errno != EEXIST) {
            int why = errno;
            if (stat(p, &st) != 0 || !S_ISDIR(st.st_mode))
                RD_FAIL(RD_EIO, "%s: %s", p, strerror(why));
        }
        p[i] = end;
    }
    if (stat(path, &st) != 0) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode)) RD_FAIL(RD_EIO, "%s: %s", path, strerror(ENOTDIR));

done:
    rd_free(p);
    return rc;
}

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int rd_file_numbers(const char *dir, const char *name, const char *ending, rd_buf *out)
{
    int rc = RD_OK;
    const size_t n = strlen(name);
    DIR *d = opendir(dir);
    if (d == NULL && errno == ENOENT) return RD_OK;
    if (d == NULL) RD_FAIL(RD_EIO, "%s: %m", dir);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char *end;
        if (strncmp(e->d_name, name, n) != 0 || e->d_name[n] != '.') continue;
        const char *digits = e->d_name + n + 1;
        if (*digits < '0' || *digits > '9') continue;
        const int64_t number = strtoll(digits, &end, 10);
        if (*end == '.' && strcmp(end + 1, ending) == 0) rd_buf_add(out, &number, sizeof(number));
    }
    if (out->len > 0) qsort(out->data, out->len / sizeof(int64_t), sizeof(int64_t), ascending);

done:
    if (d != NULL) closedir(d);
    return rc;
}

int rd_file_append(int fd, const char *path, const void *bytes, size_t n, int64_t *end)
{
    int rc = RD_OK;
    for (size_t at = 0; at < n;) {
        const ssize_t put = pwrite(fd, (const char *)bytes + at, n - at, (off_t)*end + (off_t)at);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) {
            const int why = errno;
            if (ftruncate(fd, (off_t)*end) != 0) rd_warn("%s: %m", path);
            RD_FAIL(RD_EIO, "%s: %s", path, strerror(why));
        }
        at += (size_t)put;
    }
    *end += (int64_t)n;

done:
    return rc;
}

bool rd_file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}
