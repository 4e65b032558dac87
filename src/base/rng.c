/* rng.c: counter-based random numbers.
 *
 * Draw i of a stream is a 64-bit finaliser applied to key + i * odd constant, the key itself being
 * a hash of (seed, purpose, a, b): random access, no state to save but the counter. */
#include "rd/base.h"

#include <math.h>
#include <string.h>

static const uint64_t WEYL = 0x9e3779b97f4a7c15u;

static uint64_t finalise(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

rd_rng rd_rng_make(uint64_t seed, const char *purpose, uint64_t a, uint64_t b)
{
    uint64_t words[3] = {seed, a, b};
    uint64_t key = rd_hash(words, sizeof words, rd_hash_str(purpose, 0x7265646973));
    return (rd_rng){.key = finalise(key), .counter = 0};
}

uint64_t rd_rng_u64(rd_rng *r)
{
    r->counter++;
    return finalise(finalise(r->key + r->counter * WEYL) ^ r->key);
}

int64_t rd_rng_below(rd_rng *r, int64_t n)
{
    if (n < 1) rd_die("random number below %lld", (long long)n);
    uint64_t bound = (uint64_t)n, limit = UINT64_MAX - UINT64_MAX % bound, x;
    do x = rd_rng_u64(r);
    while (x >= limit); /* the last, incomplete cycle would favour small values */
    return (int64_t)(x % bound);
}

int64_t rd_rng_range(rd_rng *r, int64_t lo, int64_t hi)
{
    return lo + rd_rng_below(r, hi - lo + 1);
}

double rd_rng_uniform(rd_rng *r)
{
    return (double)(rd_rng_u64(r) >> 11) * 0x1p-53;
}

/* Box-Muller, the cosine branch only: two draws per number, no hidden second value. */
double rd_rng_normal(rd_rng *r)
{
    double u = 1.0 - rd_rng_uniform(r), v = rd_rng_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

bool rd_rng_chance(rd_rng *r, double p)
{
    return rd_rng_uniform(r) < p;
}

void rd_rng_shuffle(rd_rng *r, int64_t *items, int64_t n)
{
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = rd_rng_below(r, i + 1), t = items[i];
        items[i] = items[j];
        items[j] = t;
    }
}

int64_t rd_rng_pick(rd_rng *r, const double *weights, int64_t n)
{
    double sum = 0, x;
    for (int64_t i = 0; i < n; i++) sum += weights[i];
    x = rd_rng_uniform(r) * sum;
    for (int64_t i = 0; i < n; i++) {
        x -= weights[i];
        if (x < 0) return i;
    }
    return n - 1;
}
