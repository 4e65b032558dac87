/* lock.c: one job in a directory at a time.
 *
 * Byte r of the file LOCK is locked (fcntl) by rank r as long as it lives; the system gives it back
 * when the process ends, however that happens.  Rank 0 begins with the whole file, which it gets
 * only when no rank of another job is left.
 *
 * fcntl locks hold between nodes on NFS, Lustre (mounted with flock), GPFS and BeeGFS when these
 * are set up for them; where they are not, locking fails at once and the job goes on with a
 * warning.  A node that has crashed may keep its locks until the file server gives it up. */
#include "io_private.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct rd_lock {
    int fd;
};

enum { GOT, BUSY, UNSUPPORTED };

static int lock_range(int fd, int64_t first, int64_t n, short type)
{
    struct flock range = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)first, .l_len = (off_t)n};
    while (fcntl(fd, F_SETLK, &range) != 0) {
        if (errno == EINTR) continue;
        return errno == EACCES || errno == EAGAIN ? BUSY : UNSUPPORTED;
    }
    return GOT;
}

/* Who holds it, for those that come later.  A disk that is full loses the text, not the lock. */
static void write_holder(int fd, int ranks)
{
    char host[256] = "?";
    rd_buf text = {0};
    gethostname(host, sizeof(host) - 1);
    rd_buf_printf(&text, "%d ranks, the first is process %ld on %s\n", ranks, (long)getpid(), host);
    if (ftruncate(fd, 0) == 0) (void)!pwrite(fd, text.data, text.len, 0);
    rd_buf_free(&text);
}

static void read_holder(int fd, char *text, size_t size)
{
    const ssize_t n = pread(fd, text, size - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

/* Rank 0: the whole file, then byte 0 of it. */
static int take_first(int fd, const char *path, int ranks, double wait, int *state)
{
    int rc = RD_OK;
    char holder[320];
    const double until = rd_time() + wait;
    bool said = false;
    while ((*state = lock_range(fd, 0, 0, F_WRLCK)) == BUSY && rd_time() < until) {
        read_holder(fd, holder, sizeof(holder));
        if (!said) rd_info("waits for the job that works here (%s)", holder);
        said = true;
        const struct timespec pause = {.tv_nsec = 200 * 1000 * 1000};
        nanosleep(&pause, NULL);
    }
    if (*state == BUSY) {
        read_holder(fd, holder, sizeof(holder));
        RD_FAIL(RD_EINPUT,
                "%s: another job works here (%s); if there is none any more, remove that file",
                path, holder);
    }
    if (*state == UNSUPPORTED)
        rd_warn("%s: %s: nothing keeps a second job out of this directory", path, strerror(errno));
    if (*state != GOT) goto done;
    write_holder(fd, ranks);
    lock_range(fd, 1, 0, F_UNLCK); /* room for the others, while byte 0 keeps strangers out */

done:
    return rc;
}

static int open_file(rd_lock *l, const char *path)
{
    int rc = RD_OK;
    l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (l->fd < 0) RD_FAIL(RD_EIO, "%s: %s", path, strerror(errno));

done:
    return rc;
}

/* Rank 0 has byte 0 (or there are no locks); now the others take theirs. */
static int take_others(rd_lock *l, const rd_comm *c, const char *path, int state)
{
    int rc = RD_OK;
    if (c->rank > 0 && state == GOT) {
        rc = open_file(l, path);
        /* A node where this fails is no worse off than one without locks. */
        if (rc == RD_OK) lock_range(l->fd, c->rank, 1, F_WRLCK);
    }
    return rd_agree(c, rc);
}

int rd_lock_take(const rd_comm *c, const char *path, double wait, rd_lock **lock)
{
    int rc = RD_OK, state = UNSUPPORTED;
    rd_lock *l = *lock = rd_new(rd_lock, 1);
    l->fd = -1;
    if (c->rank == 0) {
        rc = open_file(l, path);
        if (rc == RD_OK) rc = take_first(l->fd, path, c->size, wait, &state);
    }
    RD_TRY(rd_agree(c, rc));
    rd_bcast(c, &state, sizeof(state), 0);
    RD_TRY(take_others(l, c, path, state));

done:
    if (rc != RD_OK) rd_lock_release(lock);
    return rc;
}

int rd_lock_await(const rd_comm *c, const char *path, const char *what, rd_lock **lock)
{
    int rc = RD_OK, state = BUSY;
    bool said = false;
    char holder[320];
    rd_lock *l = *lock = rd_new(rd_lock, 1);
    l->fd = -1;
    RD_TRY(rd_agree(c, c->rank == 0 ? open_file(l, path) : RD_OK));
    for (;;) {
        if (c->rank == 0) state = lock_range(l->fd, 0, 0, F_WRLCK);
        rd_bcast(c, &state, sizeof(state), 0);
        if (state != BUSY) break;
        if (c->rank == 0 && !said) {
            read_holder(l->fd, holder, sizeof(holder));
            rd_info("%s: waits for the job that makes it (%s)", what, holder);
        }
        said = true;
        if (rd_stop_agree(c))
            RD_FAIL(RD_ESTOP, "%s: stopped as asked while it waited; the same command continues",
                    what);
        const struct timespec pause = {.tv_nsec = 200 * 1000 * 1000};
        nanosleep(&pause, NULL);
    }
    if (c->rank == 0 && state == GOT) {
        write_holder(l->fd, c->size);
        lock_range(l->fd, 1, 0, F_UNLCK);
    }
    RD_TRY(take_others(l, c, path, state));
    if (state == UNSUPPORTED) rd_lock_release(lock);

done:
    if (rc != RD_OK) rd_lock_release(lock);
    return rc;
}

rd_lock_state rd_lock_look(const char *path, char *holder, size_t size)
{
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    rd_lock_state state = RD_LOCK_FREE;
    *holder = '\0';
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? RD_LOCK_FREE : RD_LOCK_UNKNOWN;
    if (fcntl(fd, F_GETLK, &range) != 0)
        state = RD_LOCK_UNKNOWN;
    else if (range.l_type != F_UNLCK)
        state = RD_LOCK_HELD;
    if (state != RD_LOCK_FREE) read_holder(fd, holder, size);
    close(fd);
    return state;
}

void rd_lock_release(rd_lock **lock)
{
    if (*lock == NULL) return;
    if ((*lock)->fd >= 0) close((*lock)->fd);
    rd_free(*lock);
    *lock = NULL;
}
