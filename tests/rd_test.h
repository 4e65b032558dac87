/* rd_test.h: TAP under mpirun.
 *
 *   int main(int argc, char **argv)
 *   {
 *       rd_test_begin(&argc, &argv);
 *       ok(x == 3, "x is %d", x);          failing on any rank fails the line; call on every rank
 *       is_i64(got, want, "rows");
 *       near_f64(got, want, 1e-6, "loss"); |got - want| <= tol * max(1, |want|)
 *       is_str(got, want, "text");
 *       is_rc(call(), RD_OK, "opens");     prints the recorded error when it differs, and clears it
 *       diag("…");                         rank 0, not judged
 *       skip("no data");                   counts as passed
 *       return rd_test_end();              checks the memory balance, prints the plan
 *   }
 *
 * ok and friends are collective: every rank passes them in the same order. */
#ifndef RD_TEST_H
#define RD_TEST_H

#include "rd/par.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int rd_test_count, rd_test_failures;
static rd_comm rd_test_world;

static inline void rd_test_begin(int *argc, char ***argv)
{
    rd_par_begin(argc, argv);
    rd_test_world = rd_comm_world();
    rd_log_quiet(true);
}

__attribute__((format(printf, 1, 2))) static inline void diag(const char *fmt, ...)
{
    va_list ap;
    if (rd_test_world.rank != 0) return;
    va_start(ap, fmt);
    printf("# ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    fflush(stdout);
}

__attribute__((format(printf, 2, 3))) static inline int ok(int cond, const char *fmt, ...)
{
    int64_t failed = cond ? 0 : rd_test_world.rank + 1;
    rd_max_i64(&rd_test_world, &failed, 1);
    rd_test_count++;
    rd_test_failures += failed != 0;
    if (rd_test_world.rank == 0) {
        va_list ap;
        va_start(ap, fmt);
        printf("%sok %d - ", failed ? "not " : "", rd_test_count);
        vprintf(fmt, ap);
        printf("\n");
        if (failed) printf("# failed, last on rank %d\n", (int)failed - 1);
        va_end(ap);
        fflush(stdout);
    }
    return !failed;
}

static inline int is_i64(int64_t got, int64_t want, const char *what)
{
    int good = ok(got == want, "%s", what);
    if (got != want)
        fprintf(stderr, "# rank %d: got %lld, want %lld\n", rd_test_world.rank, (long long)got,
                (long long)want);
    return good;
}

static inline int near_f64(double got, double want, double tol, const char *what)
{
    double scale = fabs(want) > 1 ? fabs(want) : 1;
    int good = ok(fabs(got - want) <= tol * scale, "%s", what);
    if (!(fabs(got - want) <= tol * scale))
        fprintf(stderr, "# rank %d: got %.17g, want %.17g\n", rd_test_world.rank, got, want);
    return good;
}

static inline int is_str(const char *got, const char *want, const char *what)
{
    int same = got && want ? strcmp(got, want) == 0 : got == want;
    int good = ok(same, "%s", what);
    if (!same)
        fprintf(stderr, "# rank %d: got  '%s'\n#         want '%s'\n", rd_test_world.rank,
                got ? got : "(null)", want ? want : "(null)");
    return good;
}

static inline int is_rc(int got, int want, const char *what)
{
    int good = ok(got == want, "%s", what);
    if (got != want)
        fprintf(stderr, "# rank %d: got code %d, want %d: %s: %s\n", rd_test_world.rank, got, want,
                rd_error_get()->where, rd_error_get()->message);
    rd_error_clear();
    return good;
}

static inline void skip(const char *why)
{
    rd_test_count++;
    if (rd_test_world.rank == 0) printf("ok %d # SKIP %s\n", rd_test_count, why);
}

/* A directory of this test run, the same on all ranks, made by rank 0 and removed at the end. */
static char rd_test_dir_name[256];
static inline const char *rd_test_dir(void)
{
    if (rd_test_dir_name[0] == 0) {
        if (rd_test_world.rank == 0) {
            const char *tmp = getenv("TMPDIR");
            snprintf(rd_test_dir_name, sizeof rd_test_dir_name, "%s/rd_test_XXXXXX",
                     tmp ? tmp : "/tmp");
            if (!mkdtemp(rd_test_dir_name)) rd_die("mkdtemp");
        }
        rd_bcast(&rd_test_world, rd_test_dir_name, sizeof rd_test_dir_name, 0);
    }
    return rd_test_dir_name;
}

/* The path of a file there; the caller frees. */
static inline char *rd_test_path(const char *name)
{
    rd_buf b = {0};
    rd_buf_printf(&b, "%s/%s", rd_test_dir(), name);
    return rd_buf_take(&b);
}

/* Bytes of a file; -1: it is not there. */
static inline int64_t rd_test_file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

/* Directory of the official task files, or NULL when they are not there. */
static inline const char *rd_test_data(void)
{
    const char *dir = getenv("RD_DATA");
    char path[512];
    if (!dir) dir = "../shared/data/redis";
    snprintf(path, sizeof path, "%s/acre.jsonl", dir);
    return access(path, R_OK) == 0 ? dir : NULL;
}

static inline int rd_test_end(void)
{
    ok(rd_mem_used() == 0, "no memory is left (%lld bytes)", (long long)rd_mem_used());
    if (rd_mem_used() != 0 && rd_test_world.rank == 0) rd_mem_report(stderr);
    rd_barrier(&rd_test_world);
    if (rd_test_world.rank == 0) {
        if (rd_test_dir_name[0]) {
            char cmd[300];
            snprintf(cmd, sizeof cmd, "rm -rf '%s'", rd_test_dir_name);
            if (system(cmd) != 0) printf("# could not remove %s\n", rd_test_dir_name);
        }
        printf("1..%d\n", rd_test_count);
        fflush(stdout);
    }
    rd_par_end();
    return rd_test_failures ? 1 : 0;
}

#endif
