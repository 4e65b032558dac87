/* bench */
/* Matrix products at the shapes of SmolLM2-135M with 2,048 tokens, of decoding with it and of a 5 M
 * parameter model: GFLOP/s of our kernels beside OpenBLAS in float32 and oneDNN in bfloat16, one
 * thread, medians of interleaved rounds, and the share of the square product's rate that the rest
 * is judged by.
 *
 * oneDNN is given factors that are bfloat16 already; ours are float32 and rounded on the way.
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
    {"5 M forward", 'T', 'N', 768, 2048, 256},   {"5 M dW", 'N', 'T', 256, 768, 2048}};
enum { SHAPES = sizeof(list) / sizeof(list[0]), WAYS = 4, ROUNDS = 7 };

static CBLAS_TRANSPOSE transposed(char t)
{
    return t == 'T' ? CblasTrans : CblasNoTrans;
}

/* One product in one way; A, B as float32 and as bfloat16. */
static void compute(int way, const shape *s, const float *A, const float *B, const uint16_t *hA,
                    const uint16_t *hB, float *C)
{
    int64_t lda = s->ta == 'N' ? s->m : s->k, ldb = s->tb == 'N' ? s->k : s->n;
    const rd_product half = {.m = s->m,
                             .n = s->n,
                             .k = s->k,
                             .alpha = 1,
                             .A = {.a = hA, .ld = lda, .transposed = s->ta == 'T', .half = true},
                             .B = {.a = hB, .ld = ldb, .transposed = s->tb == 'T', .half = true},
                             .C = C,
                             .ldc = s->m};
    switch (way) {
    case 0: rd_gemm_local(s->ta, s->tb, s->m, s->n, s->k, 1, A, lda, B, ldb, 0, C, s->m); break;
    case 1:
        cblas_sgemm(CblasColMajor, transposed(s->ta), transposed(s->tb), rd_int(s->m), rd_int(s->n),
                    rd_int(s->k), 1, A, rd_int(lda), B, rd_int(ldb), 0, C, rd_int(s->m));
        break;
    case 2: rd_gemm_bf16(s->ta, s->tb, s->m, s->n, s->k, 1, A, lda, B, ldb, 0, C, s->m); break;
    default: rd_onednn_bf16(&half);
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void random_factor(int64_t n, uint64_t id, float **x, uint16_t **h)
{
    rd_rng r = rd_rng_make(1, "products", id, 0);
    *x = rd_new(float, n);
    *h = rd_new(uint16_t, n);
    for (int64_t i = 0; i < n; i++) (*x)[i] = (float)rd_rng_uniform(&r) - 0.5f;
    rd_halves_from_f32(n, *x, *h);
}

/* Median flop/s of each way. */
static void measure(const shape *s, int ways, double rate[WAYS])
{
    float *A, *B, *C = rd_new(float, s->m * s->n);
    uint16_t *hA, *hB;
    double flops = 2.0 * (double)s->m * (double)s->n * (double)s->k, t[WAYS][ROUNDS];
    random_factor(s->m * s->k, 1, &A, &hA);
    random_factor(s->k * s->n, 2, &B, &hB);
    for (int r = 0; r < ROUNDS; r++)
        for (int w = 0; w < ways; w++) {
            double start = rd_time();
            compute(w, s, A, B, hA, hB, C);
            t[w][r] = rd_time() - start;
        }
    for (int w = 0; w < ways; w++) {
        qsort(t[w], ROUNDS, sizeof(double), ascending);
        rate[w] = flops / t[w][ROUNDS / 2];
    }
    rd_free(A), rd_free(B), rd_free(C), rd_free(hA), rd_free(hB);
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
    double square[WAYS] = {0};
    rd_test_begin(&argc, &argv);
    int ways = rd_onednn_works() ? WAYS : WAYS - 1;
    printf("%-18s %5s %5s %5s %9s %9s %5s %9s %9s %5s\n", "GFLOP/s", "m", "n", "k", "f32",
           "OpenBLAS", "", "bf16", "oneDNN", "");
    for (int i = 0; i < SHAPES; i++) {
        const shape *s = &list[i];
        double rate[WAYS] = {0};
        measure(s, ways, rate);
        if (i == 0) memcpy(square, rate, sizeof(square));
        printf("%-18s %5d %5d %5d %9.1f %9.1f %4.0f%% %9.1f %9.1f %4.0f%%\n", s->name, (int)s->m,
               (int)s->n, (int)s->k, 1e-9 * rate[0], 1e-9 * rate[1], 100 * rate[0] / square[0],
               1e-9 * rate[2], 1e-9 * rate[3], 100 * rate[2] / square[2]);
    }
    decode(false);
    decode(true);
    return rd_test_end();
}
