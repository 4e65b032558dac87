/* fuzz_text.h: the main of fuzz programs that read texts: it feeds the files that it is given, or,
 * without any, mutations of the program's seeds. */
#ifndef FUZZ_TEXT_H
#define FUZZ_TEXT_H

#include "fuzz_run.h"

enum { FUZZ_TEXT = 8192 }; /* bytes of a text at most */

typedef struct fuzz_texts {
    const char *name; /* of the program: names its random stream */
    int n_seeds;
    const char *const *seeds;
    const char *bytes; /* that mutations put in */
    size_t n_bytes;
} fuzz_texts;

/* Some bytes changed, removed, put in, the rest cut off, or a piece repeated. */
static inline size_t fuzz_text_mutate(const fuzz_texts *t, rd_rng *r, char *text, size_t n)
{
    for (int64_t k = rd_rng_range(r, 0, 4); k > 0; k--) {
        const size_t at = n > 0 ? (size_t)rd_rng_below(r, (int64_t)n) : 0;
        const char c = t->bytes[rd_rng_below(r, (int64_t)t->n_bytes)];
        switch (rd_rng_below(r, 5)) {
        case 0:
            if (n > 0) text[at] = c;
            break;
        case 1:
            if (n > 0) memmove(text + at, text + at + 1, --n - at);
            break;
        case 2:
            if (n < FUZZ_TEXT) memmove(text + at + 1, text + at, n++ - at), text[at] = c;
            break;
        case 3: n = rd_rng_chance(r, 0.1) ? at : n; break;
        default: /* makes duplicates and depth */
            if (n > at && 2 * n - at <= FUZZ_TEXT)
                memmove(text + n, text + at, n - at), n += n - at;
        }
    }
    return n;
}

static inline int fuzz_text_main(int argc, char **argv, const fuzz_texts *t)
{
    const fuzz_run f = fuzz_options(argc, argv, 20000);
    char text[FUZZ_TEXT + 1];
    if (f.file < argc) return fuzz_files(&f, argc, argv, FUZZ_TEXT);
    for (int64_t i = f.first; fuzz_goes_on(&f, i); i++) {
        rd_rng r = rd_rng_make(1, t->name, (uint64_t)i, 0);
        const char *seed = t->seeds[rd_rng_below(&r, t->n_seeds)];
        size_t len = strlen(seed);
        memcpy(text, seed, len);
        LLVMFuzzerTestOneInput((const uint8_t *)text, fuzz_text_mutate(t, &r, text, len));
    }
    return 0;
}

#endif
