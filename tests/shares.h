/* shares.h: model files of both formats: what the ranks of a P x Q grid read together is the whole,
 * each number once; broken files; what is said of one. */
#ifndef SHARES_H
#define SHARES_H

#include "rd/io.h"
#include "rd_test.h"

/* The blocks of n indices that process p of np holds, as nn deals them. */
static inline rd_slab share_of(int64_t n, int64_t nb, int p, int np)
{
    const int64_t blocks = (n + nb - 1) / nb;
    if (np == 1) return (rd_slab){.start = 0, .stride = n, .count = n > 0, .block = n};
    return (rd_slab){.start = p * nb,
                     .stride = np * nb,
                     .count = blocks > p ? (blocks - p + np - 1) / np : 0,
                     .block = nb};
}

static inline bool share_has(rd_slab s, int64_t i)
{
    if (s.count == 0 || i < s.start) return false;
    const int64_t k = s.count > 1 ? (i - s.start) / s.stride : 0;
    return k < s.count && i - s.start - k * s.stride < s.block;
}

/* Rows and columns of a vector or matrix as a matrix. */
static inline void share_dims(const rd_tensor *t, int64_t dims[2])
{
    dims[0] = t->rank == 2 ? t->dims[0] : 1;
    dims[1] = t->dims[t->rank - 1];
}

/* All of t; the caller frees. */
static inline float *read_whole(const rd_weights *w, const rd_tensor *t)
{
    int64_t dims[2];
    share_dims(t, dims);
    const rd_slab all[2] = {{0, 1, t->dims[0] > 0, t->dims[0]}, {0, 1, dims[1] > 0, dims[1]}};
    float *x = rd_new(float, dims[0] * dims[1]);
    if (rd_weights_read(w, t, all, x) != RD_OK) rd_die("%s", rd_error_get()->message);
    return x;
}

/* This rank's blocks of mb x nb are what the whole has there, and all ranks' together are all. */
static inline void check_shares(const rd_weights *w, const char *name, int64_t mb, int64_t nb)
{
    const rd_tensor *t = rd_weights_find(w, name);
    if (!ok(t != NULL, "%s is there", name)) return;
    const int size = rd_test_world.size, P = t->rank == 1 ? 1 : size == 4 ? 2 : size, Q = size / P;
    const int p = rd_test_world.rank / Q, q = rd_test_world.rank % Q;
    int64_t dims[2], n = 0, wrong = 0;
    share_dims(t, dims);
    float *whole = read_whole(w, t), *part = rd_new(float, dims[0] * dims[1]);
    rd_slab share[2] = {share_of(dims[0], mb, p, P), share_of(dims[1], nb, q, Q)};
    const int rc = rd_weights_read(w, t, t->rank == 2 ? share : share + 1, part);
    ok(rc == RD_OK, "%s: read by blocks of %lld x %lld", name, (long long)mb, (long long)nb);
    for (int64_t i = 0; i < dims[0]; i++)
        for (int64_t j = 0; j < dims[1]; j++)
            if (share_has(share[0], i) && share_has(share[1], j)) {
                const float a = whole[i * dims[1] + j], b = part[n++];
                wrong += memcmp(&a, &b, sizeof(a)) != 0;
            }
    ok(wrong == 0, "%s: the share is the whole's", name);
    rd_sum_i64(&rd_test_world, &n, 1);
    is_i64(n, dims[0] * dims[1], "and all shares together are all of it");
    rd_free(whole);
    rd_free(part);
}

/* A broken file of tests/corpus: one line with its path and some words. */
static inline void check_broken(const char *file, const char *words)
{
    char path[256];
    rd_weights *w = NULL;
    snprintf(path, sizeof(path), "tests/corpus/%s", file);
    const int rc = rd_weights_open(path, &w);
    const char *m = rd_error_get()->message;
    const bool said = strstr(m, words) != NULL && strstr(m, path) == m && strchr(m, '\n') == NULL;
    ok(rc == RD_EINPUT && w == NULL && said, "%s: %s", file, words);
    if (rc != RD_EINPUT || !said) diag("%s: code %d: %s", file, rc, m);
    rd_error_clear();
    rd_weights_close(&w);
}

/* What `redistill inspect` says of a file: as text, in which all of words (ended by NULL) are, and
 * as JSON.  The caller frees. */
static inline rd_json *check_described(const char *path, const char *const *words)
{
    rd_buf text = {0}, json = {0};
    rd_json *doc = NULL;
    is_rc(rd_weights_describe(path, false, &text), RD_OK, "as text");
    bool all = text.len > 0;
    for (; all && *words != NULL; words++) all = strstr(text.data, *words) != NULL;
    ok(all, "the text");
    is_rc(rd_weights_describe(path, true, &json), RD_OK, "as JSON");
    is_rc(rd_json_parse(json.data, json.len, "describe", 1, &doc), RD_OK, "which is JSON");
    rd_buf_free(&text);
    rd_buf_free(&json);
    return doc;
}

#endif
