/* error.c: the error record of this rank, exit codes, dying, injected faults. */
#include "rd/base.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static rd_error record = {.rank = -1};
static void (*die_handler)(int status);

/* The armed fault: site "" when none is. */
static struct {
    char site[32];
    int rank;
    bool kill;
} fault;
static int fault_rank;

int rd_exit_status(int code)
{
    switch (code) {
    case RD_OK: return 0;
    case RD_EUSAGE: return 2;
    case RD_EINPUT: return 3;
    case RD_EIO: return 4;
    case RD_ENUMERIC: return 5;
    case RD_EFAULT: return 7;
    case RD_ESTOP: return 75;
    default: return 6;
    }
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int rd_error_set(int code, const char *file, int line, const char *func, const char *fmt, ...)
{
    va_list ap;
    if (record.code != RD_OK) return code; /* the first failure explains the others */
    record.code = code;
    record.rank = -1;
    record.trace[0] = 0;
    snprintf(record.where, sizeof record.where, "%s:%d %s", base_name(file), line, func);
    va_start(ap, fmt);
    vsnprintf(record.message, sizeof record.message, fmt, ap);
    va_end(ap);
    /* A message is one line, and no file's names may steer a terminal. */
    for (char *c = record.message; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    return code;
}

void rd_error_trace(const char *file, int line, const char *func)
{
    size_t used = strlen(record.trace);
    snprintf(record.trace + used, sizeof record.trace - used, "%s%s:%d %s", used ? "\n" : "",
             base_name(file), line, func);
}

rd_error *rd_error_get(void)
{
    return &record;
}

void rd_error_clear(void)
{
    memset(&record, 0, sizeof record);
    record.rank = -1;
}

void rd_die_handler(void (*handler)(int status))
{
    die_handler = handler;
}

void rd_die_at(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    fflush(stdout);
    fprintf(stderr, "redistill: error: %s:%d: ", base_name(file), line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    fflush(stderr);
    if (die_handler) die_handler(rd_exit_status(RD_EINTERNAL));
    abort();
}

int rd_int(int64_t n)
{
    if (n < INT32_MIN || n > INT32_MAX) rd_die("%lld does not fit an int", (long long)n);
    return (int)n;
}

int rd_fault_arm(const char *spec)
{
    int rc = RD_OK;
    const char *colon = strchr(spec, ':');
    char *end = NULL;
    if (!colon || colon == spec || (size_t)(colon - spec) >= sizeof fault.site)
        RD_FAIL(RD_EUSAGE, "--fault: expected SITE:RANK or SITE:RANK:kill, got '%s'", spec);
    long rank = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || (*end && strcmp(end, ":kill") != 0))
        RD_FAIL(RD_EUSAGE, "--fault: expected SITE:RANK or SITE:RANK:kill, got '%s'", spec);
    memcpy(fault.site, spec, (size_t)(colon - spec));
    fault.site[colon - spec] = 0;
    fault.rank = (int)rank;
    fault.kill = *end != 0;
done:
    return rc;
}

/* Called by log.c when the rank becomes known. */
void rd_fault_rank_(int rank);
void rd_fault_rank_(int rank)
{
    fault_rank = rank;
}

int rd_fault(const char *site)
{
    int rc = RD_OK;
    if (fault.site[0] == 0 || fault.rank != fault_rank || strcmp(fault.site, site) != 0) return rc;
    fault.site[0] = 0;
    if (fault.kill) raise(SIGKILL);
    RD_FAIL(RD_EFAULT, "injected fault at '%s'", site);
done:
    return rc;
}
