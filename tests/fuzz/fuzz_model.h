/* fuzz_model.h: what the fuzz targets of the model formats share: everything that a file which was
 * accepted promises is touched; mutations of a good file. */
#ifndef FUZZ_MODEL_H
#define FUZZ_MODEL_H

#include "io/modelfile.h"
#include "fuzz_run.h"

static inline void touch_meta(const rd_meta *m)
{
    size_t n;
    volatile char sum = 0;
    for (int64_t i = 0; i < rd_meta_count(m); i++) {
        const char *s = rd_meta_string(m, i, &n);
        for (size_t k = 0; k < n; k++) sum = (char)(sum + s[k]);
        (void)rd_meta_int(m, i);
        (void)rd_meta_real(m, i);
        const rd_meta *item = rd_meta_item(m, i);
        if (item != NULL) touch_meta(item);
    }
}

/* Whole, and every second row and third column: both must be what the file has room for. */
static inline void touch_tensor(const rd_weights *w, const rd_tensor *t)
{
    volatile uint8_t sum = 0;
    RD_ASSERT(rd_weights_find(w, t->name) == t);
    for (int64_t i = 0; i < t->n_bytes; i++) sum = (uint8_t)(sum + ((const uint8_t *)t->data)[i]);
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dims[i];
    const rd_slab whole[2] = {{0, 1, n > 0, t->dims[0]}, {0, 1, n > 0, t->dims[1]}};
    const rd_slab some[2] = {{0, 2, n > 0 ? (t->dims[0] + 1) / 2 : 0, 1},
                             {0, 3, n > 0 ? (t->dims[1] + 2) / 3 : 0, 1}};
    /* A claim that the file does not bear out is caught by AddressSanitizer here. */
    RD_ASSERT(n <= 8 * (t->n_bytes + 1));
    float *x = rd_new(float, n);
    const bool readable = t->format != RD_FORMAT_OTHER && (t->rank == 1 || t->rank == 2);
    RD_ASSERT((rd_weights_read(w, t, whole, x) == RD_OK) == readable);
    rd_error_clear();
    RD_ASSERT((rd_weights_read(w, t, some, x) == RD_OK) == readable);
    rd_error_clear();
    rd_free(x);
}

static inline void fuzz_model(const uint8_t *bytes, size_t n, bool gguf)
{
    rd_weights *w = NULL;
    /* A copy of exactly n bytes lets AddressSanitizer see a read past the end. */
    uint8_t *copy = malloc(n > 0 ? n : 1);
    if (n > 0) memcpy(copy, bytes, n);
    if (rd_weights_from_bytes("fuzz", gguf, copy, (int64_t)n, &w) == RD_OK) {
        for (int64_t i = 0; i < rd_weights_count(w); i++) touch_tensor(w, rd_weights_tensor(w, i));
        for (int64_t i = 0; rd_weights_meta_at(w, i) != NULL; i++) {
            const rd_meta *m = rd_weights_meta_at(w, i);
            RD_ASSERT(rd_weights_meta(w, rd_meta_key(m)) == m);
            touch_meta(m);
        }
    } else {
        RD_ASSERT(w == NULL && strncmp(rd_error_get()->message, "fuzz:", 5) == 0);
        RD_ASSERT(strchr(rd_error_get()->message, '\n') == NULL);
    }
    rd_error_clear();
    rd_weights_close(&w);
    free(copy);
    RD_ASSERT(rd_mem_used() == 0);
}

/* Numbers at which readers go wrong. */
static inline uint64_t awkward(rd_rng *r)
{
    const uint64_t power = (uint64_t)1 << rd_rng_below(r, 64);
    switch (rd_rng_below(r, 4)) {
    case 0: return power;
    case 1: return power - 1;
    case 2: return (uint64_t)0 - power;
    default: return (uint64_t)rd_rng_below(r, 40);
    }
}

/* A few changes of the header (the first `reach` bytes) or, now and then, of the rest. */
static inline size_t mutate(rd_rng *r, char *b, size_t n, size_t cap, size_t reach,
                            const char *tokens)
{
    for (int64_t k = rd_rng_range(r, 1, 4); k > 0 && n > 16; k--) {
        const size_t within = rd_rng_chance(r, 0.9) && reach < n ? reach : n - 8;
        const size_t at = (size_t)rd_rng_below(r, (int64_t)within);
        const size_t from = (size_t)rd_rng_below(r, (int64_t)within);
        size_t length = (size_t)rd_rng_range(r, 1, 40);
        const uint64_t v = awkward(r);
        switch (rd_rng_below(r, 7)) {
        case 0: b[at] = (char)rd_rng_below(r, 256); break;
        case 1: b[at] = tokens[rd_rng_below(r, (int64_t)strlen(tokens))]; break;
        case 2: memcpy(b + at, &v, rd_rng_chance(r, 0.5) ? 8 : 4); break;
        case 3: /* take out */
            if (at + length > n) length = n - at;
            memmove(b + at, b + at + length, n - at - length);
            n -= length;
            break;
        case 4: /* copy over */
            if (at + length > n) length = n - at;
            if (from + length > n) length = n - from;
            memmove(b + at, b + from, length);
            break;
        case 5: /* put in */
            if (n + length > cap || from + length > n) break;
            memmove(b + at + length, b + at, n - at);
            memmove(b + at, b + from, length);
            n += length;
            break;
        default:
            if (rd_rng_chance(r, 0.1)) n = at;
        }
    }
    return n;
}

/* main of a target: the files given, or mutations of the good file. */
static inline int fuzz_main(int argc, char **argv, const char *good, size_t reach,
                            const char *tokens)
{
    rd_buf b = {0};
    const fuzz_run f = fuzz_options(argc, argv, 20000);
    if (f.file < argc) return fuzz_files(&f, argc, argv, SIZE_MAX);
    if (rd_file_read(good, &b) != RD_OK) return 1;
    size_t len;
    char *seed = fuzz_keep(&b, &len);
    const size_t cap = len + 256;
    char *input = malloc(cap);
    for (int64_t k = f.first; fuzz_goes_on(&f, k); k++) {
        rd_rng r = rd_rng_make(1, good, (uint64_t)k, 0);
        memcpy(input, seed, len);
        LLVMFuzzerTestOneInput((const uint8_t *)input, mutate(&r, input, len, cap, reach, tokens));
    }
    free(seed);
    free(input);
    return 0;
}

#endif
