/* ranks: 1 */
/* The sampler against a plain float64 reference: what top-k, top-p and min-p leave, with ties; the
 * distribution of picks; greedy; the generator's stop strings are in test_generator. */
#include "rd_test.h"
#include "infer/sampler.h"

#include <stdlib.h>

enum { V = 1003 };

static float z[V];

static void make_logits(uint64_t seed, double spread, bool ties)
{
    rd_rng r = rd_rng_make(seed, "logits", 0, 0);
    for (int i = 0; i < V; i++) {
        double x = spread * rd_rng_normal(&r);
        z[i] = (float)(ties ? floor(x) : x);
    }
}

static const double *sorted_by;
static int likelier(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    if (sorted_by[x] != sorted_by[y]) return sorted_by[x] < sorted_by[y] ? 1 : -1;
    return x - y;
}

/* p: probabilities of what is left.  Softmax, then one after the other with all sorted. */
static void reference(double temperature, const rd_sampling *o, const int32_t barred[2], double *p)
{
    int order[V], n = V;
    double top = -INFINITY, sum = 0;
    for (int i = 0; i < V; i++)
        if (i != barred[0] && i != barred[1]) top = fmax(top, z[i]);
    for (int i = 0; i < V; i++) {
        order[i] = i;
        p[i] = i == barred[0] || i == barred[1] ? 0 : exp(((double)z[i] - top) / temperature);
        if (p[i] < 1.7e-38) p[i] = 0;
    }
    sorted_by = p;
    qsort(order, V, sizeof *order, likelier);
    if (o->top_k > 0 && o->top_k < n)
        for (n = (int)o->top_k; n < V && p[order[n]] == p[order[n - 1]];) n++;
    for (int i = n; i < V; i++) p[order[i]] = 0;
    if (o->top_p > 0 && o->top_p < 1) {
        double before = 0;
        for (int i = 0; i < n; i++) sum += p[order[i]];
        for (int i = 0; i < n; i++) {
            double share = before / sum;
            before += p[order[i]];
            if (share >= o->top_p) p[order[i]] = 0;
        }
    }
    sum = 0;
    for (int i = 0; i < V; i++) {
        if (p[i] < o->min_p) p[i] = 0;
        sum += p[i];
    }
    for (int i = 0; i < V; i++) p[i] /= sum;
}

static void test_left(const rd_sampling *o, double temperature, uint64_t seed, bool ties)
{
    const int32_t barred[2] = {3, -1};
    double p[V], sum = 0, worst = 0;
    int kept = 0, differ = 0;
    float keep[V];
    make_logits(seed, 3, ties);
    z[3] = 50;
    memcpy(keep, z, sizeof z);
    reference(temperature, o, barred, p);
    sampler *s = sampler_create(V, barred, o, 2);
    int32_t got = sampler_pick(s, 1, z, temperature, 0.5);
    const float *w = sampler_weights(s, 1);
    for (int i = 0; i < V; i++) sum += (double)w[i];
    for (int i = 0; i < V; i++) {
        kept += p[i] > 0;
        differ += (p[i] > 0) != (w[i] > 0);
        worst = fmax(worst, fabs((double)w[i] / sum - p[i]));
    }
    ok(differ == 0, "top_k %d, top_p %g, min_p %g, temperature %g%s: %d tokens are left, as wanted",
       (int)o->top_k, o->top_p, o->min_p, temperature, ties ? ", ties" : "", kept);
    ok(worst < 1e-6 && got >= 0 && p[got] > 0, "with their probabilities (%.0e)", worst);
    sampler_free(&s);
}

/* Picks at evenly spread places have the frequencies of the reference. */
static void test_picks(void)
{
    enum { N = 40000 };
    const rd_sampling o = {.top_k = 300, .top_p = 0.95, .min_p = 0.001};
    const int32_t barred[2] = {-1, -1};
    double p[V], seen[V] = {0}, worst = 0;
    float keep[V];
    make_logits(9, 2, false);
    memcpy(keep, z, sizeof z);
    reference(0.8, &o, barred, p);
    sampler *s = sampler_create(V, barred, &o, 1);
    for (int i = 0; i < N; i++) seen[sampler_pick(s, 0, z, 0.8, (i + 0.5) / N)] += 1.0 / N;
    for (int i = 0; i < V; i++) worst = fmax(worst, fabs(seen[i] - p[i]));
    ok(worst < 1.5 / N, "every token is picked as often as it should be (%.1e)", worst);
    ok(memcmp(keep, z, sizeof z) == 0, "the logits are as they were");
    sampler_free(&s);
}

static void test_greedy(void)
{
    const int32_t barred[2] = {700, 900};
    const rd_sampling off = {0};
    make_logits(5, 1, false);
    z[700] = 100, z[801] = z[333] = 90, z[900] = 95;
    sampler *s = sampler_create(V, barred, &off, 1);
    is_i64(sampler_pick(s, 0, z, 0, 0.3), 333, "greedy: the first of equals, nothing barred");
    z[333] = NAN;
    is_i64(sampler_pick(s, 0, z, 0, 0.3), 801, "what is no number is not taken");
    is_i64(sampler_pick(s, 0, z, 1, 0.3), -1, "but nothing can be drawn then");
    z[333] = INFINITY;
    is_i64(sampler_pick(s, 0, z, 1, 0.3), -1, "nor with an infinity");
    for (int i = 0; i < V; i++) z[i] = NAN;
    is_i64(sampler_pick(s, 0, z, 0, 0.3), -1, "no number at all");
    sampler_free(&s);
}

int main(int argc, char **argv)
{
    static const rd_sampling options[] = {
        {0, 0, 0},    {1, 0, 0},        {40, 1, 0},     {5000, 0, 0}, {0, 0.9, 0},
        {0, 0.3, 0},  {0, 1e-9, 0},     {0, 0.999, 0},  {0, 0, 0.05}, {0, 0, 1},
        {50, 0.8, 0}, {200, 0.9, 0.02}, {700, 0.5, 0.1}};
    rd_test_begin(&argc, &argv);
    for (size_t k = 0; k < sizeof options / sizeof *options; k++)
        for (int ties = 0; ties < 2; ties++) test_left(&options[k], k % 2 ? 0.7 : 1.6, k, ties);
    test_picks();
    test_greedy();
    return rd_test_end();
}
