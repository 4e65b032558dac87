/* golden.h: reader of tests/golden/NAME.golden; the format is described in make_llama_golden.py. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include "rd/nn.h"
#include <stdlib.h>
#include <string.h>

typedef struct golden {
    rd_buf file;
    const char *data; /* first byte after the header */
} golden;

/* Tests run from the root of the tree; make check-oracle gives files of its own. */
static inline void golden_path(const char *name, const char *end, char *path, size_t size)
{
    const char *dir = getenv("RD_GOLDEN");
    snprintf(path, size, "%s/%s%s", dir != NULL ? dir : "tests/golden", name, end);
}

static inline int golden_open(const char *name, golden *g)
{
    char path[512];
    *g = (golden){0};
    golden_path(name, ".golden", path, sizeof(path));
    int rc = rd_file_read(path, &g->file);
    if (rc != RD_OK) return rc;
    const char *end = strstr(g->file.data, "\n\n");
    if (end == NULL) rd_die("%s: no header", path);
    g->data = end + 2;
    return RD_OK;
}

/* Is there an array `prefix``name`? */
static inline bool golden_has(const golden *g, const char *prefix, const char *name)
{
    char want[200];
    snprintf(want, sizeof(want), "\n%s%s ", prefix, name);
    const char *at = strstr(g->file.data, want);
    return at != NULL && at < g->data;
}

/* Array `prefix``name` as float64 (caller frees with rd_free); dies when it is absent. */
static inline double *golden_get(const golden *g, const char *prefix, const char *name,
                                 int64_t *count)
{
    char want[200], found[200], type[8];
    long long n, offset;
    snprintf(want, sizeof(want), "%s%s", prefix, name);
    for (const char *line = strchr(g->file.data, '\n') + 1; line < g->data - 1;
         line = strchr(line, '\n') + 1) {
        if (sscanf(line, "%199s %7s %lld %lld", found, type, &n, &offset) != 4) break;
        if (strcmp(found, want) != 0) continue;
        double *out = rd_new(double, n);
        for (long long i = 0; i < n; i++) {
            const char *at = g->data + offset + i * (strcmp(type, "f32") == 0 ? 4 : 8);
            float f;
            int64_t k;
            if (strcmp(type, "f32") == 0) {
                memcpy(&f, at, 4);
                out[i] = f;
            } else if (strcmp(type, "f64") == 0) {
                memcpy(&out[i], at, 8);
            } else {
                memcpy(&k, at, 8);
                out[i] = (double)k;
            }
        }
        if (count != NULL) *count = n;
        return out;
    }
    rd_die("golden file without %s", want);
}

static inline double golden_number(const golden *g, const char *name, int64_t index)
{
    double *values = golden_get(g, name, "", NULL), x = values[index];
    rd_free(values);
    return x;
}

static inline rd_model_config golden_config(const golden *g)
{
    double *c = golden_get(g, "config", "", NULL), *r = golden_get(g, "reals", "", NULL);
    rd_model_config cfg = {.vocab = (int64_t)c[0],
                           .width = (int64_t)c[1],
                           .layers = (int64_t)c[2],
                           .heads = (int64_t)c[3],
                           .kv_heads = (int64_t)c[4],
                           .head_size = (int64_t)c[5],
                           .ffn = (int64_t)c[6],
                           .tied = c[7] != 0,
                           .rope_theta = r[0],
                           .norm_eps = r[1]};
    rd_free(c);
    rd_free(r);
    return cfg;
}

/* Weights "PREFIX/NAME" into the model. */
static inline void golden_weights(const golden *g, const char *prefix, rd_model *model)
{
    for (int64_t i = 0; i < model->base.n; i++) {
        int64_t n;
        double *w = golden_get(g, prefix, model->base.item[i].name, &n);
        if (n != model->base.item[i].w.m * model->base.item[i].w.n)
            rd_die("%s", model->base.item[i].name);
        for (int64_t k = 0; k < n; k++) model->base.item[i].w.a[k] = (float)w[k];
        rd_free(w);
    }
}

static inline rd_batch golden_batch(const golden *g)
{
    rd_batch b = {0};
    double *start = golden_get(g, "start", "", &b.n_seq);
    double *tokens = golden_get(g, "tokens", "", &b.T);
    double *target = golden_get(g, "target", "", NULL);
    b.n_seq--;
    b.start = rd_new(int64_t, b.n_seq + 1);
    b.tokens = rd_new(int32_t, b.T);
    b.target = rd_new(int32_t, b.T);
    for (int64_t i = 0; i <= b.n_seq; i++) b.start[i] = (int64_t)start[i];
    for (int64_t t = 0; t < b.T; t++) {
        b.tokens[t] = (int32_t)tokens[t];
        b.target[t] = (int32_t)target[t];
    }
    rd_free(start);
    rd_free(tokens);
    rd_free(target);
    return b;
}

/* Coefficients of the mean loss: -1 / targets, whose number it returns, for all tokens. */
static inline int64_t golden_mean(const rd_batch *b, float *coef)
{
    int64_t targets = 0;
    for (int64_t t = 0; t < b->T; t++) targets += b->target[t] >= 0;
    for (int64_t t = 0; t < b->T; t++) coef[t] = (float)(-1.0 / (double)targets);
    return targets;
}

static inline void golden_batch_free(rd_batch *b)
{
    rd_free(b->start);
    rd_free(b->tokens);
    rd_free(b->target);
}

static inline void golden_close(golden *g)
{
    rd_buf_free(&g->file);
}

#endif
