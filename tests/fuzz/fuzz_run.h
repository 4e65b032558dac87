/* fuzz_run.h: what the mains of the fuzz programs take, files or how many mutations, and how the
 * files are fed.
 *
 *   -n N   so many mutations (each target has its own default)
 *   -s S   beginning with the S-th: mutation k is always the same
 *   -t T   in place of N: for T seconds; "# at K" every 4096 says how far it came
 *
 * A failure under -t lies among the 4096 behind the last K: run it again with -s K -n 4096. */
#ifndef FUZZ_RUN_H
#define FUZZ_RUN_H

#include "rd/io.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fuzz_run {
    int64_t first, n;
    double seconds, begun;
    int file; /* index of the first file in argv; argc: none */
} fuzz_run;

static inline fuzz_run fuzz_options(int argc, char **argv, int64_t n)
{
    fuzz_run f = {.n = n, .begun = rd_time(), .file = 1};
    for (; f.file + 1 < argc && argv[f.file][0] == '-'; f.file += 2) {
        const char *value = argv[f.file + 1];
        if (strcmp(argv[f.file], "-n") == 0) f.n = strtoll(value, NULL, 10);
        if (strcmp(argv[f.file], "-s") == 0) f.first = strtoll(value, NULL, 10);
        if (strcmp(argv[f.file], "-t") == 0) f.seconds = strtod(value, NULL);
    }
    return f;
}

/* Whether mutation k is still to be made; at the end how many there were is printed. */
static inline bool fuzz_goes_on(const fuzz_run *f, int64_t k)
{
    const bool timed = f->seconds > 0;
    if (timed && k % 4096 == 0) {
        printf("# at %lld\n", (long long)k);
        fflush(stdout);
    }
    if (timed ? rd_time() - f->begun < f->seconds : k < f->first + f->n) return true;
    printf("%lld inputs\n", (long long)(k - f->first));
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* The bytes of b, which is freed, as memory that is not ours: the targets expect that none of that
 * is left. */
static inline char *fuzz_keep(rd_buf *b, size_t *n)
{
    char *copy = malloc(b->len > 0 ? b->len : 1);
    *n = b->len;
    if (b->len > 0) memcpy(copy, b->data, b->len);
    rd_buf_free(b);
    return copy;
}

/* Feeds the files that the command line names, of each at most `most` bytes; the exit status. */
static inline int fuzz_files(const fuzz_run *f, int argc, char **argv, size_t most)
{
    for (int i = f->file; i < argc; i++) {
        rd_buf b = {0};
        size_t n;
        if (rd_file_read(argv[i], &b) != RD_OK) return 1;
        char *input = fuzz_keep(&b, &n);
        LLVMFuzzerTestOneInput((const uint8_t *)input, n < most ? n : most);
        free(input);
    }
    return 0;
}

#endif
