/* train_data.h: a small datasets.h5 with a rule that can be learned, its tokenizer, and a model. */
#ifndef TRAIN_DATA_H
#define TRAIN_DATA_H

#include "text_model.h"
#include "rd/train.h"

enum { DATA_ROWS = 240, DATA_PAIRS = 60 };

/* A prompt of three letters; the right answer is the last of them.  Row i is of kind i % 2 and
 * family i % 2 (family 3 for pairs of odd number). */
static inline void data_texts(int64_t i, char *prompt, char *good, char *bad)
{
    rd_rng rng = rd_rng_make(5, "data", (uint64_t)i, 0);
    char a[3];
    int64_t n = rd_rng_range(&rng, 2, 3);
    for (int k = 0; k < 3; k++) a[k] = (char)('a' + rd_rng_below(&rng, 6));
    snprintf(prompt, 64, "say %.*s%c =", (int)n - 1, a, a[2]);
    snprintf(good, 64, " %c", a[2]);
    snprintf(bad, 64, " %c", a[2] == 'a' ? 'b' : 'a');
}

static inline int data_table(rd_store *s, const char *table, const rd_comm *c, rd_pool *pool,
                             int64_t base, int64_t n, int64_t *ids[3])
{
    int rc = RD_OK;
    bool pairs = strcmp(table, "pair") == 0;
    static const char *const text[2][3] = {{"prompt", "response", ""},
                                           {"prompt", "chosen", "rejected"}};
    uint8_t *kind = rd_new(uint8_t, n), *family = rd_new(uint8_t, n);
    char name[64];
    (void)pool;
    int64_t mine = c->rank == 0 ? n : 0;
    for (int64_t i = 0; i < n; i++) {
        kind[i] = (uint8_t)(i % 2);
        family[i] = (uint8_t)(pairs ? 3 * (i % 2) : i % 2);
    }
    if (!pairs) RD_TRY(rd_store_write(s, "sft/kind", RD_U8, kind, mine));
    snprintf(name, sizeof name, "%s/family", table);
    RD_TRY(rd_store_write(s, name, RD_U8, family, mine));
    for (int k = 0; k < (pairs ? 3 : 2); k++) {
        for (int64_t i = 0; i < mine; i++) ids[k][i] += ids[k][i] >= 0 ? base : 0;
        snprintf(name, sizeof name, "%s/%s", table, text[pairs][k]);
        RD_TRY(rd_store_write(s, name, RD_I64, ids[k], mine));
    }
done:
    rd_free(kind);
    rd_free(family);
    return rc;
}

/* One row is over-long, one has an empty response.  Collective. */
static inline int data_write(const rd_comm *c, const char *path)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    rd_pool pool = {0};
    int64_t base, *ids[2][3];
    rd_store_info info = {.schema = "redistill.datasets", .version = 1, .config = "{}"};
    for (int t = 0; t < 2; t++)
        for (int k = 0; k < 3; k++) ids[t][k] = rd_new(int64_t, DATA_ROWS);
    for (int t = 0; t < 2 && c->rank == 0; t++)
        for (int64_t i = 0; i < (t ? DATA_PAIRS : DATA_ROWS); i++) {
            char text[3][64];
            data_texts(i + t * 1000, text[0], text[1], text[2]);
            if (t == 0 && i == 7) text[1][0] = 0;
            for (int k = 0; k < 3; k++) ids[t][k][i] = rd_pool_add(&pool, text[k]);
            if (t == 0 && i == 9)
                ids[t][0][i] = rd_pool_add(&pool, "say abc abc abc abc abc abc abc abc abc abc abc "
                                                  "abc abc abc abc abc abc abc abc abc abc abc =");
        }
    RD_TRY(rd_store_create(c, path, &info, &s));
    RD_TRY(rd_store_write_pool(s, &pool, &base));
    RD_TRY(data_table(s, "sft", c, &pool, base, DATA_ROWS, ids[0]));
    RD_TRY(data_table(s, "pair", c, &pool, base, DATA_PAIRS, ids[1]));
    RD_TRY(rd_store_commit(&s));
done:
    rd_store_close(&s);
    rd_pool_free(&pool);
    for (int t = 0; t < 2; t++)
        for (int k = 0; k < 3; k++) rd_free(ids[t][k]);
    return rc;
}

static inline rd_tok *data_tokenizer(void)
{
    static const char *const texts[] = {"say abc = cc", "say fd = dd", "say ea = aa"};
    return text_tok(300, true, 3, texts);
}

static inline rd_model_config data_config(const rd_tok *tok)
{
    return (rd_model_config){.vocab = rd_tok_vocab(tok),
                             .width = 32,
                             .layers = 2,
                             .heads = 4,
                             .kv_heads = 2,
                             .ffn = 64,
                             .rope_theta = 1e4,
                             .norm_eps = 1e-5,
                             .tied = true};
}

static inline rd_model *data_model(const rd_grid *g, const rd_tok *tok)
{
    const rd_model_config c = data_config(tok);
    return text_model(g, &c, true, 1);
}

static inline bool same_weights(const rd_model *a, const rd_model *b)
{
    return memcmp(a->base.weights, b->base.weights, (size_t)a->base.storage * sizeof(float)) == 0;
}

static inline rd_train_opts data_options(const char *dir)
{
    rd_train_opts o;
    rd_train_defaults(&o);
    o.dir = dir;
    o.epochs = 3;
    o.batch_tokens = 256;
    o.max_len = 40;
    o.key = 77;
    o.config = "{}";
    return o;
}

#endif
