/* kernel.c: local matrix products: which kernel computes them, and the threads that share one.
 *
 * A sampled sequence must not depend on its neighbours in the batch.  With OpenBLAS 0.3.21 it
 * would: a column of C changes in the last bits with the number of columns beside it (Haswell
 * kernels: for nearly every number; AVX-512 kernels: for small ones).  Hence a kernel of our own
 * (tiles.c), about as fast as the library's best on the shapes of a small transformer, and
 * independent of which kernels the library picks for a processor it does not know.
 *
 * Products of bfloat16 factors are computed with AMX, with AVX-512's instruction for them, or else
 * in float32 from rounded factors.  All three round to the nearest and sum in float32, in their own
 * order: their results differ in the last bits. */
#include "tiles.h"

#include <cblas.h>
#include <omp.h>
#include <stdatomic.h>
#include <string.h>
#ifdef RD_TILES_X86
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Below this a thread is not worth waking. */
static const double LEAST_FLOPS = 2e6;

/* ---------------------------------------------------------------- instruction sets */

#ifdef RD_TILES_X86
/* Linux gives a process the tile registers when it asks for them, which it does once. */
static bool amx_allowed(void)
{
    enum { REQUEST = 0x1023, TILES = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    enum { NOT_ASKED, YES, NO };
    static atomic_int answer = NOT_ASKED;
    if (answer == NOT_ASKED) {
        bool has = __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16");
        answer = has && syscall(SYS_arch_prctl, REQUEST, TILES) == 0 ? YES : NO;
    }
    return answer == YES;
}
#endif

int rd_tiles_list(const rd_tiles *list[RD_TILES_MAX])
{
    int n = 0;
#ifdef RD_TILES_X86
    __builtin_cpu_init();
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    bool bf16 = v4 && __builtin_cpu_supports("avx512bf16");
    bool slow = __builtin_cpu_is("intel"); /* 0.7 of float32's rate (bench_products) */
    if (bf16 && amx_allowed()) list[n++] = &rd_tiles_amx;
    if (bf16 && !slow) list[n++] = &rd_tiles_bf16;
    if (v4) list[n++] = &rd_tiles_v4;
    if (bf16 && slow) list[n++] = &rd_tiles_bf16;
    if (v3) list[n++] = &rd_tiles_v3;
#endif
    list[n++] = &rd_tiles_base;
    return n;
}

static const rd_tiles *const every[] = {&rd_tiles_base,
#ifdef RD_TILES_X86
                                        &rd_tiles_v3, &rd_tiles_v4, &rd_tiles_bf16, &rd_tiles_amx
#endif
};
enum { EVERY = sizeof every / sizeof *every };

static int place_of(const rd_tiles *t)
{
    int i = 0;
    while (every[i] != t) i++;
    return i;
}

const rd_tiles *rd_tiles_common(const rd_comm *c, const rd_tiles *const *list, int n)
{
    int64_t ranks[EVERY] = {0}, choice = 0;
    for (int i = 0; i < n; i++) ranks[place_of(list[i])]++;
    rd_sum_i64(c, ranks, EVERY);
    for (int i = n - 1; i >= 0 && c->rank == 0; i--)
        if (ranks[place_of(list[i])] == c->size) choice = place_of(list[i]);
    rd_bcast(c, &choice, sizeof choice, 0);
    return every[choice];
}

static const rd_tiles *chosen; /* for all ranks, once they have asked */

static const rd_tiles *best(void)
{
    const rd_tiles *list[RD_TILES_MAX];
    if (chosen != NULL) return chosen;
    rd_tiles_list(list);
    return list[0];
}

int rd_la_use_kernels(const rd_comm *world, const char *name)
{
    int rc = RD_OK;
    const rd_tiles *list[RD_TILES_MAX], *named = NULL;
    int n = rd_tiles_list(list);
    if (strcmp(name, "auto") == 0) {
        chosen = rd_tiles_common(world, list, n);
        if (chosen != list[0])
            rd_info("kernels: %s, not %s, which some ranks have not", chosen->name, list[0]->name);
        goto done;
    }
    for (int i = 0; i < n; i++)
        if (strcmp(list[i]->name, name) == 0) named = list[i];
    int64_t without = named == NULL;
    rd_sum_i64(world, &without, 1);
    if (without > 0)
        RD_FAIL(RD_EINPUT, "kernels: the processor%s of %lld of %d rank%s cannot run %s",
                without == 1 ? "" : "s", (long long)without, world->size,
                world->size == 1 ? "" : "s", name);
    chosen = named;
done:
    return rc;
}

/* ---------------------------------------------------------------- threads */

static int64_t tiles_of(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

/* Into how many parts the rows of C are cut, the columns into threads / that: the largest part is
 * the smallest, and so is what is brought for it. */
static int cut_rows(const rd_product *p, const rd_tiles *t, int threads)
{
    int64_t m = tiles_of(p->m, t->rows), n = tiles_of(p->n, t->cols);
    double least = 0;
    int found = 1;
    for (int down = 1; down <= threads; down++) {
        if (threads % down != 0) continue;
        double rows = (double)(tiles_of(m, down) * t->rows);
        double cols = (double)(tiles_of(n, threads / down) * t->cols);
        double cost = rows * cols + 16 * (rows + cols);
        if (down > 1 && cost >= least) continue;
        least = cost;
        found = down;
    }
    return found;
}

/* Part i of n of the tiles that cover `total`, in rows or columns. */
static int64_t part_begin(int64_t total, int64_t size, int i, int n)
{
    int64_t at = tiles_of(total, size) * i / n * size;
    return at < total ? at : total;
}

static const void *moved(const rd_factor *f, int64_t elements)
{
    return (const char *)f->a + elements * (f->half ? 2 : 4);
}

/* Rows [row, end) and columns [col, last) of C. */
static rd_product part_of(const rd_product *p, int64_t row, int64_t end, int64_t col, int64_t last)
{
    rd_product part = *p;
    part.m = end - row;
    part.n = last - col;
    if (p->A.packed)
        part.A.first += row;
    else
        part.A.a = moved(&p->A, p->A.transposed ? row * p->A.ld : row);
    part.B.a = moved(&p->B, p->B.transposed ? col : col * p->B.ld);
    part.C += col * p->ldc + row;
    return part;
}

/* Every thread computes a part of C by itself: nothing is summed over threads. */
static void run(const rd_product *p, const rd_tiles *t, void (*product)(const rd_product *))
{
    double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k;
    int threads = rd_threads();
    if (flops < threads * LEAST_FLOPS) threads = (int)(flops / LEAST_FLOPS);
    if (threads <= 1 || omp_in_parallel()) {
        product(p);
        return;
    }
    int down = cut_rows(p, t, threads), across = threads / down;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int i = 0; i < threads; i++) {
        rd_product part = part_of(p, part_begin(p->m, t->rows, i % down, down),
                                  part_begin(p->m, t->rows, i % down + 1, down),
                                  part_begin(p->n, t->cols, i / down, across),
                                  part_begin(p->n, t->cols, i / down + 1, across));
        if (part.m > 0 && part.n > 0) product(&part);
    }
}

/* ---------------------------------------------------------------- products */

void rd_tiles_f32(const rd_product *p)
{
    const rd_tiles *t = best();
    if (p->m > 0 && p->n > 0) run(p, t, t->f32);
}

void rd_tiles_half(const rd_product *p)
{
    const rd_tiles *t = best();
    if (p->m > 0 && p->n > 0) run(p, t, t->bf16);
}

static rd_product plain(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha,
                        const float *A, int64_t lda, const float *B, int64_t ldb, float beta,
                        float *C, int64_t ldc)
{
    return (rd_product){.m = m,
                        .n = n,
                        .k = k,
                        .alpha = alpha,
                        .beta = beta,
                        .A = {.a = A, .ld = lda, .transposed = ta == 'T'},
                        .B = {.a = B, .ld = ldb, .transposed = tb == 'T'},
                        .C = C,
                        .ldc = ldc};
}

void rd_gemm_local(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *A,
                   int64_t lda, const float *B, int64_t ldb, float beta, float *C, int64_t ldc)
{
    rd_product p = plain(ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc);
    rd_tiles_f32(&p);
}

void rd_gemm_bf16(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *A,
                  int64_t lda, const float *B, int64_t ldb, float beta, float *C, int64_t ldc)
{
    rd_product p = plain(ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc);
    rd_tiles_half(&p);
}

void rd_gemm_local_mixed(const rd_grid *g, char ta, char tb, int64_t m, int64_t n, int64_t k,
                         float alpha, const float *A, int64_t lda, const float *B, int64_t ldb,
                         float beta, float *C, int64_t ldc)
{
    if (g->bf16)
        rd_gemm_bf16(ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc);
    else
        rd_gemm_local(ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc);
}

void rd_la_use_bf16(rd_grid *g, bool on)
{
    g->bf16 = on;
}

const char *rd_la_kernels(const rd_grid *g)
{
    return g->bf16 ? best()->says_bf16 : best()->says_f32;
}

/* ---------------------------------------------------------------- packed matrices */

struct rd_packed {
    const rd_tiles *tiles; /* which have made it and read it */
    rd_factor A;
    float *panels;
    int64_t m, k; /* of op(A) = W^T */
    bool half;
};

int rd_mat_pack(const rd_mat *W, rd_packed **packed)
{
    int rc = RD_OK;
    const rd_grid *g = W->grid;
    *packed = NULL;
    if (g->rows * g->cols > 1)
        RD_FAIL(RD_EINTERNAL, "a matrix of %d x %d ranks cannot be packed", g->rows, g->cols);
    rd_packed *p = rd_new(rd_packed, 1);
    const rd_factor from = {.a = W->a, .ld = W->ld, .transposed = true};
    p->tiles = best();
    p->m = W->n, p->k = W->m;
    p->half = g->bf16;
    int64_t size = p->tiles->pack_size(p->m, p->k, p->half, &p->A.ld);
    p->panels = rd_new(float, size);
    p->A.a = p->panels;
    p->A.packed = true;
    p->tiles->pack(&from, p->m, p->k, p->half, p->panels);
    *packed = p;
done:
    return rc;
}

void rd_packed_free(rd_packed **packed)
{
    if (*packed == NULL) return;
    rd_free((*packed)->panels);
    RD_FREE(*packed);
}

void rd_packed_product(const rd_packed *W, int64_t n, float alpha, const float *X, int64_t ldx,
                       float beta, float *Y, int64_t ldy)
{
    const rd_product p = {.m = W->m,
                          .n = n,
                          .k = W->k,
                          .alpha = alpha,
                          .beta = beta,
                          .A = W->A,
                          .B = {.a = X, .ld = ldx},
                          .C = Y,
                          .ldc = ldy};
    if (n > 0) run(&p, W->tiles, W->half ? W->tiles->bf16 : W->tiles->f32);
}

RD_CLONES void rd_halves_from_f32(int64_t n, const float *x, uint16_t *y)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof(u));
        uint32_t nearest = (u + 0x7fff + ((u >> 16) & 1)) >> 16, nan = (u | 0x400000) >> 16;
        y[i] = (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? nan : nearest);
    }
}

RD_CLONES void rd_halves_to_f32(int64_t n, const uint16_t *x, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)x[i] << 16;
        memcpy(&y[i], &u, sizeof(u));
    }
}

void rd_gemm_reference(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha,
                       const float *A, int64_t lda, const float *B, int64_t ldb, float beta,
                       float *C, int64_t ldc)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++) {
            double sum = 0;
            for (int64_t p = 0; p < k; p++) {
                double a = ta == 'N' ? A[p * lda + i] : A[i * lda + p];
                double b = tb == 'N' ? B[j * ldb + p] : B[p * ldb + j];
                sum += a * b;
            }
            double old = beta == 0 ? 0 : (double)beta * C[j * ldc + i];
            C[j * ldc + i] = (float)(alpha * sum + old);
        }
}

static void product_own(int64_t n, const float *A, const float *B, float *C)
{
    rd_gemm_local('N', 'N', n, n, n, 1, A, n, B, n, 0, C, n);
}

static void product_bf16(int64_t n, const float *A, const float *B, float *C)
{
    rd_gemm_bf16('N', 'N', n, n, n, 1, A, n, B, n, 0, C, n);
}

static void product_library(int64_t n, const float *A, const float *B, float *C)
{
    int i = rd_int(n);
    cblas_sgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, i, i, i, 1, A, i, B, i, 0, C, i);
}

/* Best flop/s over some repeats of a square product. */
static double measure(void (*product)(int64_t, const float *, const float *, float *), int64_t size,
                      int repeats)
{
    int64_t count = size * size;
    float *A = rd_new(float, count), *B = rd_new(float, count), *C = rd_new(float, count);
    for (int64_t i = 0; i < count; i++) {
        A[i] = (float)(i % 7 - 3);
        B[i] = (float)(i % 5 - 2);
    }
    double best = 0;
    for (int r = 0; r < repeats; r++) {
        double start = rd_time();
        product(size, A, B, C);
        double rate = 2.0 * (double)size * (double)count / (rd_time() - start);
        if (rate > best) best = rate;
    }
    rd_free(A);
    rd_free(B);
    rd_free(C);
    return best;
}

double rd_gemm_rate(int64_t size, int repeats)
{
    return measure(product_own, size, repeats);
}

double rd_gemm_bf16_rate(int64_t size, int repeats)
{
    return measure(product_bf16, size, repeats);
}

double rd_gemm_library_rate(int64_t size, int repeats)
{
    return measure(product_library, size, repeats);
}
