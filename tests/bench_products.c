/* bench */
/* Matrix products at the shapes of SmolLM2-135M with 2,048 tokens, of decoding with it, of a 5 M
 * parameter model and of the quickstart's student: GFLOP/s in float32 of OpenBLAS and of our best
 * kernels, and of factors rounded to bfloat16 with every set of kernels that this processor has;
 * one thread, medians of interleaved rounds.
 *
 * OpenBLAS takes the kernels that it picks by itself (OPENBLAS_CORETYPE names others). */
#include "rd_test.h"
#include "la/tiles.h"

#include <cblas.h>

typedef struct shape {
    const char *name;
    char ta, tb;
    int64_t m, n, k;
} shape;

static const shape list[] = {
    {"square", 'N', 'N', 1024, 1024, 1024},      {"qkv forward", 'T', 'N', 960, 2048, 576},
    {"o forward", 'T', 'N', 576, 2048, 576},     {"gate, up forward", 'T', 'N', 3072, 2048, 576},
    {"down forward", 'T', 'N', 576, 2048, 1536}, {"qkv dX", 'N', 'N', 576, 2048, 960},
    {"gate, up dX", 'N', 'N', 576, 2048, 3072},  {"down dX", 'N', 'N', 1536, 2048, 576},
    {"qkv dW", 'N', 'T', 576, 960, 2048},        {"gate, up dW", 'N', 'T', 576, 3072, 2048},
    {"down dW", 'N', 'T', 1536, 576, 2048},      {"head", 'T', 'N', 49152, 256, 576},
    {"head dX", 'N', 'N', 576, 256, 49152},      {"head dW", 'N', 'T', 576, 49152, 256},
    {"5 M forward", 'T', 'N', 768, 2048, 256},   {"5 M dW", 'N', 'T', 256, 768, 2048},
    {"student qkv", 'T', 'N', 160, 1024, 96},    {"student gate, up", 'T', 'N', 512, 1024, 96},
    {"student down", 'T', 'N', 96, 1024, 256},   {"student gate dW", 'N', 'T', 96, 512, 1024}};
enum { SHAPES = sizeof(list) / sizeof(list[0]), WAYS = 2 + RD_TILES_MAX, ROUNDS = 7 };

static CBLAS_TRANSPOSE transposed(char t)
{
    return t == 'T' ? CblasTrans : CblasNoTrans;
}

/* One product: by OpenBLAS, in float32, and as bfloat16 by the kernels of list[way - 2]. */
static void compute(int way, const rd_tiles *const *kernels, const shape *s, const float *A,
                    const float *B, float *C)
{
    int64_t lda = s->ta == 'N' ? s->m : s->k, ldb = s->tb == 'N' ? s->k : s->n;
    const rd_product p = {.m = s->m,
                          .n = s->n,
                          .k = s->k,
                          .alpha = 1,
                          .A = {.a = A, .ld = lda, .transposed = s->ta == 'T'},
                          .B = {.a = B, .ld = ldb, .transposed = s->tb == 'T'},
                          .C = C,
                          .ldc = s->m};
    if (way == 0)
        cblas_sgemm(CblasColMajor, transposed(s->ta), transposed(s->tb), rd_int(s->m), rd_int(s->n),
                    rd_int(s->k), 1, A, rd_int(lda), B, rd_int(ldb), 0, C, rd_int(s->m));
    else if (way == 1)
        kernels[0]->f32(&p);
    else
        kernels[way - 2]->bf16(&p);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static float *random_factor(int64_t n, uint64_t id)
{
    rd_rng r = rd_rng_make(1, "products", id, 0);
    float *x = rd_new(float, n);
    for (int64_t i = 0; i < n; i++) x[i] = (float)rd_rng_uniform(&r) - 0.5f;
    return x;
}

/* Median flop/s of each way. */
static void measure(const shape *s, const rd_tiles *const *kernels, int ways, double rate[WAYS])
{
    float *A = random_factor(s->m * s->k, 1), *B = random_factor(s->k * s->n, 2);
    float *C = rd_new(float, s->m * s->n);
    double flops = 2.0 * (double)s->m * (double)s->n * (double)s->k, t[WAYS][ROUNDS];
    for (int r = 0; r < ROUNDS; r++)
        for (int w = 0; w < ways; w++) {
            double start = rd_time();
            compute(w, kernels, s, A, B, C);
            t[w][r] = rd_time() - start;
        }
    for (int w = 0; w < ways; w++) {
        qsort(t[w], ROUNDS, sizeof(double), ascending);
        rate[w] = flops / t[w][ROUNDS / 2];
    }
    rd_free(A), rd_free(B), rd_free(C);
}

/* W^T X with few columns: packed weights. */
static void decode(bool half)
{
    enum { OUT = 3072, IN = 576, MOST = 64, REPEATS = 8 };
    rd_grid *g;
    rd_mat W, X, Y;
    rd_packed *packed;
    rd_grid_self(&g);
    rd_la_use_bf16(g, half);
    rd_mat_create(g, IN, OUT, 0, 0, &W);
    rd_mat_pack(&W, &packed);
    W.packed = packed;
    printf("decoding, %d x %d, %s:", OUT, IN, rd_la_kernels(g));
    for (int64_t n = 1; n <= MOST; n *= 4) {
        double best = 1e9;
        rd_mat_create(g, IN, n, 0, 0, &X), rd_mat_create(g, OUT, n, 0, 0, &Y);
        for (int r = 0; r < ROUNDS; r++) {
            double start = rd_time();
            for (int i = 0; i < REPEATS; i++) rd_gemm_mixed('T', 'N', 1, &W, &X, 0, &Y);
            best = fmin(best, (rd_time() - start) / REPEATS);
        }
        printf("  %d tokens %.1f", (int)n, 2e-9 * OUT * IN * (double)n / best);
        rd_mat_free(&X), rd_mat_free(&Y);
    }
    printf("\n");
    rd_packed_free(&packed);
    rd_mat_free(&W);
    rd_grid_free(&g);
}

int main(int argc, char **argv)
{
    const rd_tiles *kernels[RD_TILES_MAX];
    rd_test_begin(&argc, &argv);
    int ways = 2 + rd_tiles_list(kernels);
    printf("1: OpenBLAS  2: %s", kernels[0]->says_f32);
    for (int w = 2; w < ways; w++) printf("  %d: %s", w + 1, kernels[w - 2]->says_bf16);
    printf("\n%-18s %5s %5s %5s", "GFLOP/s", "m", "n", "k");
    for (int w = 0; w < ways; w++) printf(" %7d", w + 1);
    printf("\n");
    for (int i = 0; i < SHAPES; i++) {
        const shape *s = &list[i];
        double rate[WAYS];
        measure(s, kernels, ways, rate);
        printf("%-18s %5d %5d %5d", s->name, (int)s->m, (int)s->n, (int)s->k);
        for (int w = 0; w < ways; w++) printf(" %7.1f", 1e-9 * rate[w]);
        printf("\n");
    }
    decode(false);
    decode(true);
    return rd_test_end();
}
