/* ranks: 1 2 3 4 6 */
/* Sums in the order of a binary counter, bit for bit, at owners and everywhere; gathering; whatever
 * is ready when; beside other messages; no allocation. */
#include "rd_test.h"

enum { PIECE = 4096, N = 300 * PIECE + 77, ROUNDS = 3 };

/* Numbers of all sizes, so that sums tell in which order they were taken. */
static float value(int rank, int64_t i, int64_t round)
{
    uint64_t h = (uint64_t)i * 0x9e3779b97f4a7c15u + (uint64_t)(rank * 31 + round + 1);
    h = (h ^ h >> 31) * 0xbf58476d1ce4e5b9u;
    h ^= h >> 29;
    return ldexpf((float)(int)(h & 0xffff) - 32768, (int)(h >> 16 & 15));
}

/* The sum of ranks [a, a + n) as the header has it. */
static float tree(int a, int n, int64_t i, int64_t round)
{
    int half = 1;
    if (n == 1) return value(a, i, round);
    while (2 * half < n) half *= 2;
    return tree(a, half, i, round) + tree(a + half, n - half, i, round);
}

/* Pieces of many sizes, some of no floats.  fixed: every other run of ten has an owner beforehand.
 */
static int64_t cut(int size, bool fixed, rd_piece *piece)
{
    int64_t n = 0;
    for (int64_t at = 0; at < N; n++) {
        int64_t count = n % 7 == 3 ? 0 : n % 5 == 1 ? 100 + n : PIECE;
        if (count > N - at) count = N - at;
        int owner = fixed && n / 10 % 2 ? (int)(n / 10 * 5 % size) : -1;
        piece[n] = (rd_piece){.first = at, .count = count, .owner = owner};
        at += count;
    }
    rd_flow_deal(size, n, piece);
    return n;
}

static void test_dealing(void)
{
    rd_piece *piece = rd_new(rd_piece, N / 50);
    for (int size = 1; size <= 9; size++) {
        int64_t held[9] = {0}, buckets = 0, wrong = 0, n = cut(size, false, piece);
        for (int64_t i = 0; i < n; i++) {
            wrong += piece[i].owner < 0 || piece[i].owner >= size;
            wrong += piece[i].bucket != buckets && piece[i].bucket != buckets + 1;
            buckets = piece[i].bucket;
            if (piece[i].owner >= 0 && piece[i].owner < size)
                held[piece[i].owner] += piece[i].count;
        }
        int64_t most = 0, least = N;
        for (int r = 0; r < size; r++) {
            if (held[r] > most) most = held[r];
            if (held[r] < least) least = held[r];
        }
        ok(wrong == 0 && buckets > 2 && (double)most < 1.15 * N / size &&
               (double)least > 0.85 * N / size,
           "%d owners of %d floats have %d to %d, in %d buckets", size, (int)N, (int)least,
           (int)most, (int)buckets + 1);
        n = cut(size, true, piece);
        for (int64_t i = wrong = 0; i < n; i++)
            wrong += i / 10 % 2 && piece[i].owner != (int)(i / 10 * 5 % size);
        is_i64(wrong, 0, "owners that were set stay");
    }
    rd_free(piece);
}

/* Say what is ready: nothing, from the end in uneven steps, or the middle first; as the rank and
 * the round have it.  Other messages pass in between. */
static void make_ready(rd_flow *f, int64_t round)
{
    const rd_comm *c = &rd_test_world;
    int64_t step = 100000 + 7777 * c->rank;
    switch ((c->rank + round) % 3) {
    case 0: break;
    case 1:
        for (int64_t at = N; at > N / 8; at -= step) {
            int64_t first = at > step ? at - step : 0;
            rd_flow_ready(f, first, at - first);
        }
        break;
    case 2:
        rd_flow_ready(f, N / 3, N / 2);
        rd_flow_ready(f, 0, 11);
        rd_flow_ready(f, N / 3 + N / 2, N - N / 3 - N / 2);
        rd_flow_ready(f, 11, N / 3 - 11);
    }
    float x[3] = {1, (float)c->rank, 3};
    rd_sum_f32(c, x, 3);
    if (x[0] != (float)c->size) rd_die("another sum went wrong");
}

static void run(bool fixed)
{
    const rd_comm *c = &rd_test_world;
    rd_piece *piece = rd_new(rd_piece, N / 50);
    float *x = rd_new(float, N), *y = rd_new(float, N);
    rd_flow *f, *g;
    int64_t n = cut(c->size, fixed, piece), sum = 0, own = 0, copied = 0, off = 0;
    double far = 0;
    rd_flow_create(c, n, piece, &f);
    rd_flow_create(c, n, piece, &g);
    for (int64_t round = 0; round < ROUNDS; round++) {
        for (int64_t i = 0; i < N; i++) x[i] = y[i] = value(c->rank, i, round);
        rd_mem_guard("flow");
        /* Two at a time, that end in the order they began or the other way round. */
        rd_flow_begin(f, RD_FLOW_SUM, x);
        rd_flow_begin(g, RD_FLOW_REDUCE, y);
        make_ready(f, round);
        make_ready(g, round + 1);
        rd_flow_end(round % 2 ? f : g);
        rd_flow_end(round % 2 ? g : f);
        rd_mem_guard(NULL);
        for (int64_t i = 0; i < N; i++) {
            double all = 0, size = 0;
            sum += x[i] != tree(0, c->size, i, round);
            for (int r = 0; r < c->size; r++) {
                all += (double)value(r, i, round);
                size += fabs((double)value(r, i, round));
            }
            far = fmax(far, fabs((double)x[i] - all) / (size + 1));
        }
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = piece[i].first; k < piece[i].first + piece[i].count; k++)
                if (piece[i].owner == c->rank)
                    own += y[k] != x[k];
                else
                    off += y[k] != x[k], y[k] = NAN;
        rd_mem_guard("flow");
        rd_flow_begin(g, RD_FLOW_GATHER, y);
        make_ready(g, round);
        rd_flow_end(g);
        rd_mem_guard(NULL);
        copied += memcmp(x, y, N * sizeof(float)) != 0;
    }
    is_i64(sum, 0, "sums in the order of a binary counter");
    ok(far < 1e-6, "they are sums (%.1e)", far);
    is_i64(own, 0, "the same at the owner of each piece");
    ok(off > 0 || c->size == 1, "who does not own it holds less");
    is_i64(copied, 0, "gathered from the owners: the same everywhere");
    rd_flow_free(&f);
    rd_flow_free(&g);
    rd_free(piece), rd_free(x), rd_free(y);
}

/* A rank that comes late is waited for in the open section. */
static void test_clock(void)
{
    const rd_comm *c = &rd_test_world;
    rd_piece piece = {.count = 1000, .owner = -1};
    const rd_clock *list;
    float x[1000] = {0};
    rd_flow *f;
    rd_flow_deal(c->size, 1, &piece);
    rd_flow_create(c, 1, &piece, &f);
    rd_barrier(c);
    rd_clock_reset();
    rd_clock_begin("flow");
    rd_flow_begin(f, RD_FLOW_SUM, x);
    if (c->rank == c->size - 1) usleep(200000);
    rd_flow_end(f);
    rd_clock_end("flow");
    rd_clock_list(&list);
    ok(c->rank == c->size - 1 || list[0].waited > 0.5 * list[0].seconds, "waiting is on the clock");
    rd_flow_free(&f);
    rd_flow_create(c, 0, NULL, &f);
    rd_flow_begin(f, RD_FLOW_SUM, NULL);
    rd_flow_end(f);
    ok(true, "a flow of nothing");
    rd_flow_free(&f);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_dealing();
    run(false);
    run(true);
    test_clock();
    return rd_test_end();
}
