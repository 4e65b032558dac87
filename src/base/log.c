/* log.c: what the user reads while a job runs: info, warnings, progress; and the section clocks. */
#include "rd/base.h"

#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void rd_fault_rank_(int rank); /* error.c: faults are armed per rank */

enum { MAX_WARNINGS = 64, MAX_CLOCKS = 48, MAX_DEPTH = 16 };

static int log_rank;
static bool quiet;
static char *warnings[MAX_WARNINGS];
static char warning_text[MAX_WARNINGS][512];
static int64_t n_warnings;

static rd_clock clocks[MAX_CLOCKS];
static int n_clocks;
static struct {
    int index; /* into clocks */
    double start;
} open_clock[MAX_DEPTH];
static int depth;

void rd_log_rank(int rank, int size)
{
    (void)size;
    log_rank = rank;
    rd_fault_rank_(rank);
}

void rd_log_quiet(bool on)
{
    quiet = on;
}

void rd_info(const char *fmt, ...)
{
    va_list ap;
    if (log_rank != 0 || quiet) return;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

void rd_warn(const char *fmt, ...)
{
    va_list ap;
    char text[512];
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (int64_t i = 0; i < n_warnings; i++)
        if (strcmp(warning_text[i], text) == 0) return; /* once is enough */
    if (n_warnings < MAX_WARNINGS) {
        memcpy(warning_text[n_warnings], text, sizeof text);
        warnings[n_warnings] = warning_text[n_warnings];
        n_warnings++;
    }
    if (log_rank == 0 && !quiet) {
        fflush(stdout);
        fprintf(stderr, "redistill: warning: %s\n", text);
    }
}

int64_t rd_warnings(const char *const **list)
{
    *list = (const char *const *)warnings;
    return n_warnings;
}

double rd_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---------------------------------------------------------------- progress */

/* Is a person watching?  A launcher such as mpirun gives its ranks a pseudo-terminal even when its
 * own output goes to a file, so the parent's output must be a terminal as well. */
static bool on_terminal(void)
{
    char link[64], target[64];
    if (!isatty(STDOUT_FILENO)) return false;
    snprintf(link, sizeof link, "/proc/%d/fd/1", (int)getppid());
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n <= 0) return false;
    target[n] = 0;
    return strncmp(target, "/dev/pts/", 9) == 0 || strncmp(target, "/dev/tty", 8) == 0;
}

static void progress_line(rd_progress *p, const char *note, bool last)
{
    double seconds = rd_time() - p->start;
    double rate = seconds > 0 ? (double)p->done / seconds : 0;
    double eta = rate > 0 ? (double)(p->total - p->done) / rate : 0;
    bool terminal = on_terminal();
    char bar[23] = "", tail[64] = "";
    if (terminal && p->total > 0) {
        int full = (int)(20.0 * (double)p->done / (double)p->total);
        bar[0] = '[';
        for (int i = 0; i < 20; i++) bar[i + 1] = i < full ? '#' : '.';
        bar[21] = ']';
    }
    if (last)
        snprintf(tail, sizeof tail, "in %.1f s", seconds);
    else
        snprintf(tail, sizeof tail, "ETA %d:%02d", (int)eta / 60, (int)eta % 60);
    printf("%s%-8s %s %lld / %lld %s, %.*f %s/s, %s%s%s%s", terminal ? "\r\033[K" : "", p->stage,
           bar, (long long)p->done, (long long)p->total, p->unit, rate < 10 ? 1 : 0, rate, p->unit,
           tail, note ? ", " : "", note ? note : "", terminal && !last ? "" : "\n");
    fflush(stdout);
}

void rd_progress_begin(rd_progress *p, const char *stage, const char *unit, int64_t total)
{
    *p = (rd_progress){.stage = stage, .unit = unit, .total = total, .start = rd_time()};
    p->last = p->start;
}

void rd_progress_set(rd_progress *p, int64_t done, const char *note)
{
    double now = rd_time();
    p->done = done;
    if (log_rank != 0 || quiet || now - p->last < 0.2) return;
    if (now - p->last < 10 && !on_terminal()) return;
    p->last = now;
    progress_line(p, note, false);
}

void rd_progress_end(rd_progress *p)
{
    if (log_rank == 0 && !quiet) progress_line(p, NULL, true);
}

/* ---------------------------------------------------------------- section clocks */

static int clock_of(const char *section)
{
    for (int i = 0; i < n_clocks; i++)
        if (strcmp(clocks[i].section, section) == 0) return i;
    if (n_clocks == MAX_CLOCKS) rd_die("more than %d section clocks", MAX_CLOCKS);
    clocks[n_clocks] = (rd_clock){.section = section};
    return n_clocks++;
}

void rd_clock_begin(const char *section)
{
    if (depth == MAX_DEPTH) rd_die("section clocks nested deeper than %d", MAX_DEPTH);
    open_clock[depth].index = clock_of(section);
    open_clock[depth].start = rd_time();
    depth++;
}

/* An error path may leave inner sections open: they end with the outer one. */
void rd_clock_end(const char *section)
{
    double now = rd_time();
    while (depth > 0) {
        depth--;
        rd_clock *c = &clocks[open_clock[depth].index];
        c->seconds += now - open_clock[depth].start;
        c->calls++;
        if (strcmp(c->section, section) == 0) return;
    }
}

void rd_clock_wait(double seconds)
{
    for (int i = 0; i < depth; i++) clocks[open_clock[i].index].waited += seconds;
}

int rd_clock_list(const rd_clock **list)
{
    *list = clocks;
    return n_clocks;
}

void rd_clock_reset(void)
{
    n_clocks = depth = 0;
}
