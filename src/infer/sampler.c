/* sampler.c: the next token from logits: greedy, or softmax sampling of what top-k, top-p and min-p
 * leave.
 *
 * A vocabulary has 50 to 150 thousand tokens and this is done for each token generated, so no step
 * sorts it: places in the order of weights are found by counting how many weights, and how much of
 * them, share the leading bits of their floats, and only those that share them with the last one
 * kept are sorted. */
#include "infer/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wpsabi" /* vectors wider than the machine's; all are inlined */

enum {
    LANES = 16,     /* sums go in blocks of this size */
    SHIFT = 19,     /* of a weight's bits: 16 classes per factor of two */
    CLASSES = 2033, /* weights are at most 1, whose bits are 0x3f800000 */
    AHEAD = 4       /* blocks summed side by side */
};
typedef float vec __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(64), aligned(4), may_alias));

typedef struct ranked {
    float weight;
    int32_t id;
} ranked;

typedef struct scratch {
    float *weight; /* [vocab in whole blocks of LANES] */
    double *sum;   /* of each block */
    int64_t count[CLASSES];
    double mass[CLASSES];
    ranked *edge; /* [vocab] */
} scratch;

struct sampler {
    int64_t vocab, blocks;
    int32_t barred[2];
    rd_sampling o;
    int threads;
    scratch *of;
};

sampler *sampler_create(int64_t vocab, const int32_t barred[2], const rd_sampling *o, int threads)
{
    sampler *s = rd_new(sampler, 1);
    *s = (sampler){.vocab = vocab,
                   .blocks = (vocab + LANES - 1) / LANES,
                   .barred = {barred[0], barred[1]},
                   .o = *o,
                   .threads = threads,
                   .of = rd_new(scratch, threads)};
    for (int t = 0; t < threads; t++) {
        s->of[t].weight = rd_new(float, s->blocks *LANES);
        s->of[t].sum = rd_new(double, s->blocks);
        s->of[t].edge = rd_new(ranked, vocab);
    }
    return s;
}

void sampler_free(sampler **out)
{
    sampler *s = *out;
    if (s == NULL) return;
    for (int t = 0; t < s->threads; t++) {
        rd_free(s->of[t].weight);
        rd_free(s->of[t].sum);
        rd_free(s->of[t].edge);
    }
    rd_free(s->of);
    RD_FREE(*out);
}

const float *sampler_weights(const sampler *s, int thread)
{
    return s->of[thread].weight;
}

/* ---------------------------------------------------------------- whole rows */

/* The largest of n; a number that is none is passed over. */
RD_CLONES
static float largest(int64_t n, const float *z)
{
    float best = -INFINITY;
    vec top = (vec){0} - INFINITY;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec x = *(const vec *)(z + i);
        ivec more = (ivec)(x > top);
        top = (vec)(((ivec)x & more) | ((ivec)top & ~more));
    }
    for (; i < n; i++) best = z[i] > best ? z[i] : best;
    for (int l = 0; l < LANES; l++) best = top[l] > best ? top[l] : best;
    return best;
}

/* exp for x <= 0 to about 2 ulp, 0 below -87: a loop over it becomes vector code, which a call of
 * expf does not. */
static inline __attribute__((always_inline)) float exp_below(float x)
{
    float limited = x < -87.0f ? -87.0f : x;
    int32_t n = (int32_t)(limited * 1.44269504f - 0.5f);
    float r = limited - (float)n * 0.693359375f - (float)n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union {
        int32_t i;
        float f;
    } power = {.i = (n + 127) << 23};
    return x < -87.0f ? 0.0f : p * power.f;
}

RD_CLONES
static void weigh(int64_t n, const float *z, float shift, float inverse, float *weight)
{
    for (int64_t i = 0; i < n; i++) weight[i] = exp_below((z[i] - shift) * inverse);
}

static int32_t likeliest(const sampler *s, float *z)
{
    for (int k = 0; k < 2; k++)
        if (s->barred[k] >= 0) z[s->barred[k]] = -INFINITY;
    float top = largest(s->vocab, z);
    if (top == -INFINITY) return -1;
    int32_t i = 0;
    while (z[i] != top) i++;
    return i;
}

/* Sums of blocks of LANES weights in float64, each in the order of its weights. */
static void sum_blocks(int64_t blocks, const float *weight, double *sum)
{
    int64_t b = 0;
    for (; b + AHEAD <= blocks; b += AHEAD) {
        double acc[AHEAD] = {0};
        for (int i = 0; i < LANES; i++)
            for (int k = 0; k < AHEAD; k++) acc[k] += (double)weight[(b + k) * LANES + i];
        memcpy(sum + b, acc, sizeof acc);
    }
    for (; b < blocks; b++) {
        sum[b] = 0;
        for (int i = 0; i < LANES; i++) sum[b] += (double)weight[b * LANES + i];
    }
}

/* ---------------------------------------------------------------- leaving out */

static int class_of(float weight)
{
    int32_t bits;
    memcpy(&bits, &weight, sizeof bits);
    return bits >> SHIFT < CLASSES ? bits >> SHIFT : CLASSES - 1;
}

static void count_classes(scratch *w, int64_t n)
{
    memset(w->count, 0, sizeof w->count);
    memset(w->mass, 0, sizeof w->mass);
    for (int64_t i = 0; i < n; i++) {
        if (!(w->weight[i] > 0)) continue; /* not a number: seen in the sum, below */
        int c = class_of(w->weight[i]);
        w->count[c]++;
        w->mass[c] += (double)w->weight[i];
    }
}

static int heavier_first(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->weight != y->weight) return x->weight < y->weight ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

/* The weights of class c in order; returns how many. */
static int64_t sort_class(scratch *w, int64_t n, int c)
{
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++)
        if (w->weight[i] > 0 && class_of(w->weight[i]) == c)
            w->edge[found++] = (ranked){w->weight[i], (int32_t)i};
    qsort(w->edge, (size_t)found, sizeof *w->edge, heavier_first);
    return found;
}

/* Drop all weights below a bound. */
RD_CLONES
static void drop_below(int64_t n, float bound, float *weight)
{
    for (int64_t i = 0; i < n; i++) weight[i] = weight[i] < bound ? 0 : weight[i];
}

/* The k largest stay, and what equals the last of them. */
static void keep_most(scratch *w, int64_t n, int64_t k)
{
    int64_t above = 0;
    int c = CLASSES - 1;
    count_classes(w, n);
    while (c >= 0 && above + w->count[c] < k) above += w->count[c--];
    if (c < 0) return; /* there are fewer */
    sort_class(w, n, c);
    drop_below(n, w->edge[k - above - 1].weight, w->weight);
}

/* The smallest set of the largest whose share reaches p; of equals the lower ids. */
static void keep_share(scratch *w, int64_t n, double p)
{
    double total = 0, above = 0;
    int c = CLASSES - 1;
    count_classes(w, n);
    for (int i = CLASSES - 1; i >= 0; i--) total += w->mass[i];
    while (c > 0 && above + w->mass[c] < p * total) above += w->mass[c--];
    int64_t found = sort_class(w, n, c), kept = 0;
    while (kept < found && above < p * total) above += (double)w->edge[kept++].weight;
    for (int64_t i = kept; i < found; i++) w->weight[w->edge[i].id] = 0;
    float bound;
    int32_t bits = c << SHIFT;
    memcpy(&bound, &bits, sizeof bound);
    drop_below(n, bound, w->weight);
}

/* ---------------------------------------------------------------- taking */

/* The inverse of the distribution function; sums block by block, so that the search for the place
 * is short. */
static int32_t place(const scratch *w, int64_t n, int64_t blocks, int32_t top, double uniform)
{
    double total = 0, below = 0;
    int32_t last = -1;
    int64_t b = 0;
    for (int64_t i = 0; i < blocks; i++) total += w->sum[i];
    if (!isfinite(total)) return -1;
    double wanted = uniform * total;
    while (b + 1 < blocks && below + w->sum[b] <= wanted) below += w->sum[b++];
    for (int64_t i = b * LANES; i < n; i++) {
        if (w->weight[i] <= 0) continue;
        last = (int32_t)i; /* rounding may leave the sum a little short of wanted */
        below += (double)w->weight[i];
        if (below > wanted) return last;
    }
    return last >= 0 ? last : top;
}

int32_t sampler_pick(sampler *s, int thread, float *z, double temperature, double uniform)
{
    scratch *w = &s->of[thread];
    int32_t top = likeliest(s, z);
    if (top < 0 || temperature <= 0) return top;
    /* Bounded: infinity times the largest logit's 0 would not be a number. */
    weigh(s->vocab, z, z[top], (float)fmin(1.0 / temperature, 1e30), w->weight);
    for (int k = 0; k < 2; k++)
        if (s->barred[k] >= 0) w->weight[s->barred[k]] = 0;
    if (s->o.top_k > 0 && s->o.top_k < s->vocab) keep_most(w, s->vocab, s->o.top_k);
    if (s->o.top_p > 0 && s->o.top_p < 1) keep_share(w, s->vocab, s->o.top_p);
    if (s->o.min_p > 0) drop_below(s->vocab, (float)s->o.min_p, w->weight);
    sum_blocks(s->blocks, w->weight, w->sum); /* weights beyond the vocabulary are 0 */
    return place(w, s->vocab, s->blocks, top, uniform);
}
