/* walltime.c: how long the batch system will let this job run.
 *
 * Slurm says it in SLURM_JOB_END_TIME (from 23.02 on); before, squeue is asked once.  Whatever goes
 * wrong there (no squeue, no answer in time, an answer that is no time) means: no limit known. */
#include "cli/job.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_SECONDS = 10 };
extern char **environ;

/* What Slurm prints: [DAYS-][[HOURS:]MINUTES:]SECONDS, or DAYS-HOURS[:MINUTES[:SECONDS]]; a word
 * (UNLIMITED, INVALID) is NAN. */
double walltime_parse(const char *text)
{
    double field[3] = {0}, days = 0;
    int n = 0;
    bool has_days = strchr(text, '-') != NULL;
    char *end = NULL;
    if (has_days) {
        days = (double)strtoll(text, &end, 10);
        if (end == text || *end != '-') return NAN;
        text = end + 1;
    }
    for (;; text = end + 1) {
        if (n == 3 || *text < '0' || *text > '9') return NAN;
        field[n++] = (double)strtoll(text, &end, 10);
        if (*end != ':') break;
    }
    if (*end != '\0' && *end != '\n') return NAN;
    if (has_days) return ((days * 24 + field[0]) * 60 + field[1]) * 60 + field[2];
    return n == 3   ? (field[0] * 60 + field[1]) * 60 + field[2]
           : n == 2 ? field[0] * 60 + field[1]
                    : field[0];
}

/* The first line a program prints, if it does so in time; it is ended then. */
static bool ask(char *const argv[], char *line, size_t size)
{
    int fd[2];
    pid_t pid;
    size_t len = 0;
    posix_spawn_file_actions_t actions;
    const double until = rd_time() + ANSWER_SECONDS;
    if (pipe(fd) != 0) return false;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclose(&actions, fd[0]);
    const int failed = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fd[1]);
    while (!failed && len + 1 < size && memchr(line, '\n', len) == NULL) {
        struct pollfd p = {.fd = fd[0], .events = POLLIN};
        const double left = until - rd_time();
        const int ready = left > 0 ? poll(&p, 1, (int)(1000 * left) + 1) : 0;
        if (ready < 0 && errno == EINTR) continue;
        const ssize_t got = ready > 0 ? read(fd[0], line + len, size - 1 - len) : 0;
        if (got <= 0) break;
        len += (size_t)got;
    }
    line[len] = '\0';
    close(fd[0]);
    if (!failed) {
        kill(pid, SIGKILL); /* it may still be waiting for a server */
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    return !failed && len > 0;
}

/* The job as squeue tells it from all others.  One element of an array has the array's own number
 * as its SLURM_JOB_ID, by which squeue would answer for every element.  "": no job. */
static void job_number(char *text, size_t size)
{
    const char *id = getenv("SLURM_JOB_ID"), *array = getenv("SLURM_ARRAY_JOB_ID"),
               *task = getenv("SLURM_ARRAY_TASK_ID");
    if (array && *array && task && *task)
        snprintf(text, size, "%s_%s", array, task);
    else
        snprintf(text, size, "%s", id ? id : "");
}

/* Seconds left; INFINITY when unknown.  Root only. */
static double seconds_left(void)
{
    const char *end_time = getenv("SLURM_JOB_END_TIME");
    char line[64] = "", id[64], *end;
    if (end_time && *end_time) {
        const double at = strtod(end_time, &end);
        if (*end == '\0' && at > 0) return at - (double)time(NULL);
    }
    job_number(id, sizeof id);
    if (!*id) return INFINITY;
    char *argv[] = {"squeue", "-h", "-o", "%L", "-j", id, NULL};
    const double left = ask(argv, line, sizeof line) ? walltime_parse(line) : NAN;
    return isnan(left) ? INFINITY : left;
}

double walltime_hours_left(const rd_comm *world)
{
    double seconds = INFINITY;
    if (world->rank == 0) seconds = seconds_left();
    rd_bcast(world, &seconds, sizeof seconds, 0);
    return seconds / 3600;
}
