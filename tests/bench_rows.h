/* bench_rows.h: a datasets.h5 of random letters, and a tokenizer that takes them one by one. */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

#include "text_model.h"
#include "rd/train.h"

enum { BENCH_ROWS = 512, BENCH_TEXT = 2048 };

/* Rows of min_len to max_len tokens (with BOS); one in `ways` of their tokens is of the response.
 * Collective. */
static inline int bench_rows_write_ways(const rd_comm *c, const char *path, int64_t min_len,
                                        int64_t max_len, int64_t ways)
{
    int rc = RD_OK;
    rd_store *store = NULL;
    rd_pool pool = {0};
    rd_rng rng = rd_rng_make(1, "bench", 0, 0);
    rd_store_info info = {.schema = "redistill.datasets", .version = 1};
    int64_t ids[2][BENCH_ROWS], base, n = c->rank == 0 ? BENCH_ROWS : 0;
    uint8_t zero[BENCH_ROWS] = {0};
    for (int64_t i = 0; i < n; i++) {
        int64_t len = rd_rng_range(&rng, min_len, max_len) - 1;
        for (int k = 0; k < 2; k++) {
            char text[BENCH_TEXT];
            int64_t response = ways == 1 ? len - 1 : len - len * (ways - 1) / ways;
            int64_t n_text = k == 0 ? len - response : response;
            RD_ASSERT(n_text < BENCH_TEXT);
            for (int64_t t = 0; t < n_text; t++) text[t] = (char)('a' + rd_rng_below(&rng, 26));
            text[n_text] = 0;
            ids[k][i] = rd_pool_add(&pool, text);
        }
    }
    RD_TRY(rd_store_create(c, path, &info, &store));
    RD_TRY(rd_store_write_pool(store, &pool, &base));
    for (int64_t i = 0; i < n; i++) ids[0][i] += base, ids[1][i] += base;
    RD_TRY(rd_store_write(store, "sft/kind", RD_U8, zero, n));
    RD_TRY(rd_store_write(store, "sft/family", RD_U8, zero, n));
    RD_TRY(rd_store_write(store, "sft/prompt", RD_I64, ids[0], n));
    RD_TRY(rd_store_write(store, "sft/response", RD_I64, ids[1], n));
    RD_TRY(rd_store_commit(&store));
done:
    rd_store_close(&store);
    rd_pool_free(&pool);
    return rc;
}

/* The same, half of each the response. */
static inline int bench_rows_write(const rd_comm *c, const char *path, int64_t min_len,
                                   int64_t max_len)
{
    return bench_rows_write_ways(c, path, min_len, max_len, 2);
}

static inline rd_tok *bench_tokenizer(void)
{
    static const char *const letters[] = {"abcdefghijklmnopqrstuvwxyz"};
    return text_tok(3 + 26, false, 1, letters);
}

#endif
