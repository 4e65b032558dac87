/* base: errors, memory, log, time, random numbers, strings.
 *
 * Everything above stands on this layer and nothing here knows of MPI.  All functions are Local.
 * The only mutable state of the program below the command line lives here and in par: the error
 * record, the allocation counters, the log's rank, the section clocks, the armed fault and the
 * number of threads. */
#ifndef RD_BASE_H
#define RD_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---------------------------------------------------------------- errors (error.c) */

/* Result codes.  A function that can fail returns one of these; results come through pointers. */
enum {
    RD_OK = 0,
    RD_EUSAGE = -2,    /* the command line */
    RD_EINPUT = -3,    /* a config, a data file, a prompt file, a model file */
    RD_EIO = -4,       /* the file system, HDF5 */
    RD_ENUMERIC = -5,  /* a loss or gradient that is not finite */
    RD_EINTERNAL = -6, /* shapes that do not fit, a broken invariant: our bug */
    RD_EFAULT = -7,    /* an injected fault (tests) */
    RD_ESTOP = -8      /* stopped at a limit or by a signal; the run can be resumed */
};

/* Process exit status of a code: 0 done, 2 usage, 3 bad input, 4 I/O, 5 numeric failure,
 * 6 internal error, 7 injected fault, 75 stopped and resumable. */
int rd_exit_status(int code);

/* The first failure of this rank: one message and the chain of callers that passed it on. */
typedef struct rd_error {
    int code;
    int rank;           /* rank that failed; -1 while local */
    char where[96];     /* "file.c:212 rd_function" */
    char message[1024]; /* without a trailing newline */
    char trace[1024];   /* callers, one per line, innermost first */
} rd_error;

/* Record a failure (the first one since the last clear wins) and return code. */
int rd_error_set(int code, const char *file, int line, const char *func, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* Append a caller to the trace of the recorded failure. */
void rd_error_trace(const char *file, int line, const char *func);
rd_error *rd_error_get(void); /* never NULL; code is RD_OK when nothing failed */
void rd_error_clear(void);

/* Inside a function with `int rc = RD_OK;` and a label `done:` where everything is released:
 *   RD_TRY(call)              go to done if the call failed, adding this caller to the trace
 *   RD_FAIL(code, fmt, ...)   record a failure and go to done */
#define RD_TRY(call)                                      \
    do {                                                  \
        rc = (call);                                      \
        if (rc != RD_OK) {                                \
            rd_error_trace(__FILE__, __LINE__, __func__); \
            goto done;                                    \
        }                                                 \
    } while (0)
#define RD_FAIL(code, ...)                                           \
    do {                                                             \
        rc = (code);                                                 \
        rd_error_set(rc, __FILE__, __LINE__, __func__, __VA_ARGS__); \
        goto done;                                                   \
    } while (0)

/* Our own bug, or out of memory: print with the rank, flush, call the handler (par installs
 * MPI_Abort).  Does not return. */
_Noreturn void rd_die_at(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define rd_die(...) rd_die_at(__FILE__, __LINE__, __VA_ARGS__)
void rd_die_handler(void (*handler)(int status));
#define RD_ASSERT(cond)                           \
    do {                                          \
        if (!(cond)) rd_die("broken: %s", #cond); \
    } while (0)

/* Checked narrowing of a count to a BLAS, MPI or HDF5 int. */
int rd_int(int64_t n);

/* Fault injection.  Arm "SITE:RANK" or "SITE:RANK:kill"; rd_fault(site) then fails with RD_EFAULT
 * (or raises SIGKILL) on that rank, the first time it is passed.  Sites are named by stage:
 * "augment", "filter", "sft", "align", "eval", "store", "checkpoint". */
int rd_fault_arm(const char *spec);
int rd_fault(const char *site);

/* ---------------------------------------------------------------- memory (mem.c) */

/* Zeroed, 64-byte aligned, counted, overflow-checked; dies when memory is out.  n may be 0. */
void *rd_alloc_at(const char *file, int64_t count, size_t size);
/* The new part is not zeroed. */
void *rd_realloc_at(const char *file, void *p, int64_t count, size_t size);
void rd_free(void *p); /* accepts NULL */
#define rd_new(type, n) ((type *)rd_alloc_at(__FILE__, (int64_t)(n), sizeof(type)))
#define rd_resize(p, n) \
    ((p) = rd_realloc_at(__FILE__, (p), (int64_t)(n), sizeof(*(p)))) /* grows or shrinks */
/* The same, but large pieces are only counted: the system provides memory where it is first used.
 */
void *rd_alloc_untouched_at(const char *file, int64_t count, size_t size);
#define rd_new_untouched(type, n) \
    ((type *)rd_alloc_untouched_at(__FILE__, (int64_t)(n), sizeof(type)))
#define RD_FREE(p)  \
    do {            \
        rd_free(p); \
        (p) = NULL; \
    } while (0)
char *rd_strdup(const char *s); /* NULL gives NULL */
char *rd_strndup(const char *s, size_t n);

int64_t rd_mem_used(void); /* bytes now held; tests fail when it is not 0 at the end */
int64_t rd_mem_peak(void); /* largest rd_mem_used so far, or since the last of */
void rd_mem_peak_restart(void);
/* The process' resident set as the operating system counts it, now and the largest so far, bytes:
 * with programs, libraries and MPI's buffers, of large arrays what was touched.  0 where it does
 * not say. */
int64_t rd_mem_resident(void);
int64_t rd_mem_resident_peak(void);
void rd_mem_report(FILE *f); /* bytes and allocations per layer (the directory of the caller) */
/* Between guard(name) and guard(NULL) an allocation is an error of ours: rd_die. */
void rd_mem_guard(const char *name);
/* Between pretend(true) and pretend(false) large allocations are of memory that is counted and may
 * be written to here and there, but is only there where it was: so a plan lets the program's own
 * set-up measure what would not fit this machine.  All that is allocated in between is freed in
 * between, and the peak is as if nothing had been. */
void rd_mem_pretend(bool on);
bool rd_mem_pretending(void);

/* ---------------------------------------------------------------- strings (str.c) */

/* A growing byte string, always NUL-terminated once written to.  {0} is empty. */
typedef struct rd_buf {
    char *data;
    size_t len, cap;
} rd_buf;
void rd_buf_clear(rd_buf *b); /* keeps the memory; data stays "" or NULL */
void rd_buf_free(rd_buf *b);
void rd_buf_add(rd_buf *b, const void *bytes, size_t n);
void rd_buf_puts(rd_buf *b, const char *s);
void rd_buf_putc(rd_buf *b, char c);
void rd_buf_printf(rd_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *rd_buf_take(rd_buf *b); /* hand over the string ("" if nothing was written); b is empty */

uint64_t rd_hash(const void *bytes, size_t n, uint64_t seed); /* not cryptographic */
uint64_t rd_hash_str(const char *s, uint64_t seed);
uint32_t rd_crc32(const void *bytes, size_t n, uint32_t crc); /* IEEE; start with 0 */
int rd_edit_distance(const char *a, const char *b);           /* for "nearest known key" */

/* Little-endian records for journals: put appends; get checks the bound, else RD_EINPUT. */
void rd_put_i64(rd_buf *b, int64_t v);
void rd_put_f64(rd_buf *b, double v);
void rd_put_str(rd_buf *b, const char *s); /* NULL is kept apart from "" */
typedef struct rd_cursor {
    const char *data;
    size_t len, pos;
} rd_cursor;
int rd_get_i64(rd_cursor *c, int64_t *v);
int rd_get_f64(rd_cursor *c, double *v);
int rd_get_str(rd_cursor *c, char **s); /* caller frees with rd_free */

/* ---------------------------------------------------------------- log and time (log.c) */

void rd_log_rank(int rank, int size); /* only rank 0 prints info and warnings */
void rd_log_quiet(bool quiet);        /* info off (tests) */
void rd_info(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* stdout, one line */
/* stderr, one line "redistill: warning: …"; also kept for the report. */
void rd_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int64_t rd_warnings(const char *const **list); /* those of this rank so far */

double rd_time(void); /* seconds, monotonic */

/* A progress line: on a terminal a bar rewritten in place, elsewhere one line every 10 s.
 * {0}-initialise; call from every rank, rank 0 prints. */
typedef struct rd_progress {
    const char *stage, *unit; /* "augment", "tasks" */
    int64_t total, done;
    double start, last;
} rd_progress;
void rd_progress_begin(rd_progress *p, const char *stage, const char *unit, int64_t total);
void rd_progress_set(rd_progress *p, int64_t done, const char *note); /* note may be NULL */
void rd_progress_end(rd_progress *p);

/* Section clocks for the timing table: nested sections are allowed, names are string literals. */
void rd_clock_begin(const char *section);
void rd_clock_end(const char *section);
typedef struct rd_clock {
    const char *section;
    double seconds, waited; /* waited: of these in communication, inner sections' too */
    int64_t calls;
} rd_clock;
void rd_clock_wait(double seconds);       /* par: so long the open sections were in communication */
int rd_clock_list(const rd_clock **list); /* in order of first use */
void rd_clock_reset(void);

/* ---------------------------------------------------------------- random numbers (rng.c) */

/* Counter-based: the stream is a function of (seed, purpose, a, b) alone, so any rank can draw any
 * stream and results do not depend on the rank count.  Draw i of a stream is mix(key + i * odd). */
typedef struct rd_rng {
    uint64_t key, counter;
} rd_rng;
rd_rng rd_rng_make(uint64_t seed, const char *purpose, uint64_t a, uint64_t b);
uint64_t rd_rng_u64(rd_rng *r);
int64_t rd_rng_below(rd_rng *r, int64_t n);              /* 0 … n-1, unbiased; n >= 1 */
int64_t rd_rng_range(rd_rng *r, int64_t lo, int64_t hi); /* lo … hi inclusive */
double rd_rng_uniform(rd_rng *r);                        /* [0, 1) */
double rd_rng_normal(rd_rng *r);
bool rd_rng_chance(rd_rng *r, double p);
void rd_rng_shuffle(rd_rng *r, int64_t *items, int64_t n);
int64_t rd_rng_pick(rd_rng *r, const double *weights, int64_t n); /* index by weight */

/* ---------------------------------------------------------------- threads and instruction sets */

/* Threads that a rank's kernels share their work among (OpenMP), 1 at first.  No result depends on
 * it, to the bit.  Set from the main thread; only the main thread calls other layers. */
void rd_threads_set(int n);
int rd_threads(void);
int rd_thread(void); /* which of them this is, from 0: for scratch of its own */

/* Before the definition of a leaf kernel in plain C or vector types: it is compiled for several
 * generations of x86-64, and the processor's own is taken when the program starts.  Inlined helpers
 * go along.  It does nothing where the whole build is for one machine already (-march=native), on
 * other architectures, and under sanitizers, which run before the choice could be made.
 * An OpenMP region belongs into its caller: the body of one is not compiled again. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__AVX__) && \
    !defined(__SANITIZE_ADDRESS__)
#define RD_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define RD_CLONES
#endif

#endif
