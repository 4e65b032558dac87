/* kernel.c: the local matrix product.
 *
 * A sampled sequence must not depend on its neighbours in the batch.  With OpenBLAS 0.3.21 it
 * would: a column of C changes in the last bits with the number of columns beside it (Haswell
 * kernels: for nearly every number; AVX-512 kernels: for small ones).  Hence a kernel of our own,
 * about as fast as the library's best on the shapes of a small transformer, and independent of
 * which kernels the library picks for a processor it does not know:
 *
 *   - C is computed in tiles of up to MV vectors x NR columns held in registers,
 *   - every element of C is one chain of multiply-adds in the order of k, cut every KC, whatever
 * the shape of its tile: it depends on its row of A, its column of B and k alone,
 *   - A panels are copied once per column block to contiguous memory (transposed where needed),
 *     B is read in place.
 *
 * The vector types are GCC's (also Clang's); the compiler maps them to what the machine has. */
#include "rd/la.h"

#include <cblas.h>
#include <string.h>

/* The tile leaves several registers free: where one is short, the compiler spills sums and loses up
 * to half of the speed. */
#ifdef __AVX512F__
enum { LANES = 16, MV = 3, NR = 6 };
#else
enum { LANES = 8, MV = 2, NR = 5 };
#endif
enum {
    MR = MV * LANES, /* rows per tile */
    KC = 512,        /* depth of a packed panel: MR * KC floats on the stack */
    NC = 512         /* columns of B that stay in the second-level cache */
};

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Where B lies: element (p, j) at b[p * bk + j * bj]. */
typedef struct operand {
    const float *b;
    int64_t bk, bj;
} operand;

/* One tile: mv vectors x nr columns.  mv, nr and which stride of B is 1 are compile-time constants
 * at every call, so that acc lives in registers. */
static inline __attribute__((always_inline)) void tile(const int mv, const int nr,
                                                       const bool b_rows, int64_t k, const float *a,
                                                       int64_t lda, operand B, float alpha,
                                                       float beta, float *c, int64_t ldc)
{
    vec acc[MV][NR];
    const float *b = B.b;
    const int64_t bk = b_rows ? 1 : B.bk, bj = b_rows ? B.bj : 1;
#pragma GCC unroll 8
    for (int j = 0; j < nr; j++)
#pragma GCC unroll 4
        for (int i = 0; i < mv; i++) acc[i][j] = (vec){0};
    for (int64_t p = 0; p < k; p++) {
        vec av[MV];
#pragma GCC unroll 4
        for (int i = 0; i < mv; i++) av[i] = *(const vec *)(a + i * LANES);
#pragma GCC unroll 8
        for (int j = 0; j < nr; j++) {
            float s = b[j * bj];
#pragma GCC unroll 4
            for (int i = 0; i < mv; i++) acc[i][j] += av[i] * s;
        }
        a += lda;
        b += bk;
    }
#pragma GCC unroll 8
    for (int j = 0; j < nr; j++)
#pragma GCC unroll 4
        for (int i = 0; i < mv; i++) {
            vec *out = (vec *)(c + j * ldc + i * LANES);
            *out = beta == 0 ? acc[i][j] * alpha : acc[i][j] * alpha + *out * beta;
        }
}

/* The tile with nr at run time. */
static inline __attribute__((always_inline)) void
tile_columns(const int mv, const bool b_rows, int64_t nr, int64_t k, const float *a, int64_t lda,
             operand B, float alpha, float beta, float *c, int64_t ldc)
{
    if (nr == NR) {
        tile(mv, NR, b_rows, k, a, lda, B, alpha, beta, c, ldc);
        return;
    }
    for (; nr >= 4; nr -= 4) {
        tile(mv, 4, b_rows, k, a, lda, B, alpha, beta, c, ldc);
        B.b += 4 * B.bj;
        c += 4 * ldc;
    }
    for (; nr > 0; nr--) {
        tile(mv, 1, b_rows, k, a, lda, B, alpha, beta, c, ldc);
        B.b += B.bj;
        c += ldc;
    }
}

typedef void tile_fn(int64_t nr, int64_t k, const float *a, int64_t lda, operand B, float alpha,
                     float beta, float *c, int64_t ldc);

/* One function per number of vectors and direction of B, each with the registers to itself. */
#define TILE(name, mv, b_rows)                                                                     \
    static __attribute__((noinline)) void name(int64_t nr, int64_t k, const float *a, int64_t lda, \
                                               operand B, float alpha, float beta, float *c,       \
                                               int64_t ldc)                                        \
    {                                                                                              \
        tile_columns(mv, b_rows, nr, k, a, lda, B, alpha, beta, c, ldc);                           \
    }
TILE(tile_1_rows, 1, true)
TILE(tile_2_rows, 2, true)
TILE(tile_3_rows, MV, true)
TILE(tile_1_cols, 1, false)
TILE(tile_2_cols, 2, false)
TILE(tile_3_cols, MV, false)

/* A panel of rows against n columns of B.  A ragged panel (rows not a multiple of LANES; A is then
 * padded with zeros) goes through a tile of its own so that nothing beyond C is touched. */
static void panel(int64_t rows, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                  operand B, float beta, float *c, int64_t ldc)
{
    static tile_fn *const with_rows[] = {tile_1_rows, tile_2_rows, tile_3_rows};
    static tile_fn *const with_cols[] = {tile_1_cols, tile_2_cols, tile_3_cols};
    int64_t mv = (rows + LANES - 1) / LANES;
    tile_fn *compute = B.bk == 1 ? with_rows[mv - 1] : with_cols[mv - 1];
    bool ragged = rows % LANES != 0;
    float edge[MR * NR];
    for (int64_t j = 0; j < n; j += NR) {
        int64_t nr = n - j < NR ? n - j : NR;
        operand Bj = {B.b + j * B.bj, B.bk, B.bj};
        float *out = ragged ? edge : c + j * ldc;
        int64_t ldo = ragged ? MR : ldc;
        float scale = ragged ? 0 : beta;
        compute(nr, k, a, lda, Bj, alpha, scale, out, ldo);
        if (!ragged) continue;
        for (int64_t jj = 0; jj < nr; jj++)
            for (int64_t i = 0; i < rows; i++) {
                float *o = &c[(j + jj) * ldc + i];
                *o = edge[jj * MR + i] + (beta == 0 ? 0 : beta * *o);
            }
    }
}

/* Transpose LANES x LANES in registers, log2(LANES) rounds of exchanging halves. */
static inline __attribute__((always_inline)) void transpose_block(const float *src, int64_t ld,
                                                                  float *dst, int64_t ldd)
{
    typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
    vec r[LANES], t[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) r[i] = *(const vec *)(src + i * ld);
#pragma GCC unroll 4
    for (int half = LANES / 2; half > 0; half /= 2) {
        ivec lo, hi;
#pragma GCC unroll 16
        for (int l = 0; l < LANES; l++) {
            lo[l] = (l & half) ? LANES + l - half : l;
            hi[l] = (l & half) ? LANES + l : l + half;
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            int x = i & ~half, y = i | half;
            t[i] = __builtin_shuffle(r[x], r[y], (i & half) ? hi : lo);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) r[i] = t[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) *(vec *)(dst + i * ldd) = r[i];
}

/* Copy op(A)[0:rows, 0:k] to a panel with leading dimension ld (a multiple of LANES), zero-padded.
 */
static void pack(bool transposed, int64_t rows, int64_t k, const float *a, int64_t lda, float *to,
                 int64_t ld)
{
    if (!transposed) {
        for (int64_t p = 0; p < k; p++) {
            memcpy(to + p * ld, a + p * lda, (size_t)rows * sizeof(float));
            for (int64_t i = rows; i < ld; i++) to[p * ld + i] = 0;
        }
        return;
    }
    int64_t full = rows / LANES * LANES, kfull = k / LANES * LANES;
    for (int64_t i = 0; i < full; i += LANES)
        for (int64_t p = 0; p < kfull; p += LANES)
            transpose_block(a + i * lda + p, lda, to + p * ld + i, ld);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t p = i < full ? kfull : 0; p < k; p++) to[p * ld + i] = a[i * lda + p];
    for (int64_t i = rows; i < ld; i++)
        for (int64_t p = 0; p < k; p++) to[p * ld + i] = 0;
}

static void scale_only(int64_t m, int64_t n, float beta, float *C, int64_t ldc)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++) C[j * ldc + i] = beta == 0 ? 0 : beta * C[j * ldc + i];
}

void rd_gemm_local(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *A,
                   int64_t lda, const float *B, int64_t ldb, float beta, float *C, int64_t ldc)
{
    float packed[MR * KC] __attribute__((aligned(64)));
    if (k == 0) scale_only(m, n, beta, C, ldc);
    for (int64_t j = 0; j < n; j += NC) {
        int64_t nc = n - j < NC ? n - j : NC;
        for (int64_t p = 0; p < k; p += KC) {
            int64_t kc = k - p < KC ? k - p : KC;
            operand Bj =
                tb == 'N' ? (operand){B + p + j * ldb, 1, ldb} : (operand){B + p * ldb + j, ldb, 1};
            float keep = p == 0 ? beta : 1;
            for (int64_t i = 0, rows; i < m; i += rows) {
                /* Four vectors left are better cut 2 + 2 than 3 + 1. */
                int64_t left = m - i;
                rows = left > MR && left <= 4 * LANES ? 2 * LANES : left < MR ? left : MR;
                const float *a = ta == 'N' ? A + i + p * lda : A + i * lda + p;
                int64_t ld = (rows + LANES - 1) / LANES * LANES;
                if (ta == 'T' || rows % LANES != 0 || nc > 2 * NR) {
                    pack(ta == 'T', rows, kc, a, lda, packed, ld);
                    panel(rows, nc, kc, alpha, packed, ld, Bj, keep, C + i + j * ldc, ldc);
                } else {
                    panel(rows, nc, kc, alpha, a, lda, Bj, keep, C + i + j * ldc, ldc);
                }
            }
        }
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

double rd_gemm_library_rate(int64_t size, int repeats)
{
    return measure(product_library, size, repeats);
}
