/* signal.c: requests to stop (signals, a deadline, a file) and the timing table. */
#include "rd/par.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

/* A look for the stop file is a call to a file server, which many ranks may share: looking takes at
 * most this share of a rank's time. */
#define LOOKING_SHARE 0.02

static volatile sig_atomic_t signalled;
static double deadline; /* rd_time() at which to stop; 0: none */
static double needed;   /* seconds to be kept before it */
static char stop_path[512];
static double next_look; /* for the stop file */

static void on_signal(int sig)
{
    (void)sig;
    signalled = 1;
}

void rd_stop_begin(double max_hours, const char *stop_file)
{
    struct sigaction act;
    memset(&act, 0, sizeof act);
    act.sa_handler = on_signal;
    act.sa_flags = SA_RESTART;
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGUSR1, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    signalled = 0;
    needed = next_look = 0;
    rd_stop_limits(max_hours, stop_file);
}

void rd_stop_limits(double max_hours, const char *stop_file)
{
    deadline = max_hours > 0 ? rd_time() + 3600 * max_hours : 0;
    snprintf(stop_path, sizeof stop_path, "%s", stop_file ? stop_file : "");
}

void rd_stop_need(double seconds)
{
    needed = seconds > needed || seconds == 0 ? seconds : needed;
}

bool rd_stop_local(void)
{
    if (signalled) return true;
    const double now = rd_time();
    if (deadline > 0 && now + needed >= deadline) return true;
    if (!stop_path[0] || now < next_look) return false;
    if (access(stop_path, F_OK) == 0) signalled = 1;
    const double after = rd_time();
    next_look = after + (after - now) / LOOKING_SHARE;
    return signalled;
}

int rd_stop_poll(const char *what)
{
    int rc = RD_OK;
    if (rd_stop_local())
        RD_FAIL(RD_ESTOP, "%s: stopped as asked; the same command continues", what);
done:
    return rc;
}

bool rd_stop_agree(const rd_comm *c)
{
    int64_t stop = rd_stop_local();
    rd_max_i64(c, &stop, 1);
    return stop != 0;
}

/* ---------------------------------------------------------------- timing table */

enum { NAME = sizeof((rd_timing *)0)->section };

static int add_name(char (*names)[NAME], int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) return n;
    snprintf(names[n], NAME, "%s", name);
    return n + 1;
}

int rd_clock_rows(const rd_comm *c, rd_timing **rows)
{
    const rd_clock *mine;
    int n_mine = rd_clock_list(&mine), n = 0;
    char(*own)[NAME] = (char(*)[NAME])rd_new(char, (n_mine + 1) * NAME);
    for (int i = 0; i < n_mine; i++) snprintf(own[i], NAME, "%s", mine[i].section);
    char *all;
    int64_t *sizes, total = 0;
    rd_allgather(c, own, (int64_t)n_mine * NAME, &all, &sizes);
    for (int r = 0; r < c->size; r++) total += sizes[r];
    char(*names)[NAME] = (char(*)[NAME])rd_new(char, total + NAME);
    for (int64_t i = 0; i < total / NAME; i++) n = add_name(names, n, all + i * NAME);

    double *min = rd_new(double, n), *max = rd_new(double, n);
    double *sum = rd_new(double, 2 * n), *waited = sum + n;
    int64_t *calls = rd_new(int64_t, n);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n_mine; k++)
            if (strcmp(names[i], own[k]) == 0) {
                min[i] = max[i] = sum[i] = mine[k].seconds;
                waited[i] = mine[k].waited;
                calls[i] = mine[k].calls;
            }
    rd_min_f64(c, min, n);
    rd_max_f64(c, max, n);
    rd_sum_f64(c, sum, 2 * n);
    rd_max_i64(c, calls, n);
    *rows = rd_new(rd_timing, n);
    for (int i = 0; i < n; i++) {
        rd_timing *row = &(*rows)[i];
        memcpy(row->section, names[i], NAME);
        row->min = min[i];
        row->max = max[i];
        row->avg = sum[i] / c->size;
        row->waited = waited[i] / c->size;
        row->calls = calls[i];
    }
    rd_free(own), rd_free(all), rd_free(sizes), rd_free(names);
    rd_free(min), rd_free(max), rd_free(sum), rd_free(calls);
    return n;
}

void rd_clock_table(const rd_comm *c, rd_buf *out)
{
    rd_timing *rows;
    int n = rd_clock_rows(c, &rows);
    if (c->rank == 0) {
        rd_buf_printf(out, "%-24s %10s %10s %10s %10s %10s\n", "section (seconds)", "min", "avg",
                      "max", "in comm.", "calls");
        for (int i = 0; i < n; i++)
            rd_buf_printf(out, "%-24s %10.2f %10.2f %10.2f %10.2f %10lld\n", rows[i].section,
                          rows[i].min, rows[i].avg, rows[i].max, rows[i].waited,
                          (long long)rows[i].calls);
    }
    rd_free(rows);
}
