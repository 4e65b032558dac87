/* ranks: 1 */
/* Local products with every set of kernels that this processor has, in float32 and of factors
 * rounded to bfloat16: against the reference, the same bits for a column alone, for factors stored
 * as bfloat16 and on any number of threads. */
#include "rd_test.h"
#include "la/tiles.h"

#include <omp.h>

typedef struct problem {
    int64_t m, n, k, lda, ldb, ldc, na, nb, nc;
    char ta, tb;
    float *A, *B, *C, *before;
} problem;

static void problem_make(int64_t m, int64_t n, int64_t k, int type, problem *p)
{
    enum { PAD = 3 };
    *p = (problem){.m = m, .n = n, .k = k, .ta = type & 1 ? 'T' : 'N', .tb = type & 2 ? 'T' : 'N'};
    p->lda = (p->ta == 'T' ? k : m) + PAD;
    p->ldb = (p->tb == 'T' ? n : k) + PAD;
    p->ldc = m + PAD;
    p->na = p->lda * (p->ta == 'T' ? m : k);
    p->nb = p->ldb * (p->tb == 'T' ? k : n);
    p->nc = p->ldc * n;
    p->A = rd_new(float, p->na), p->B = rd_new(float, p->nb);
    p->C = rd_new(float, p->nc), p->before = rd_new(float, p->nc);
    rd_rng r = rd_rng_make(5, "product", (uint64_t)(m * n + k), (uint64_t)type);
    for (int64_t i = 0; i < p->na; i++) p->A[i] = (float)rd_rng_normal(&r);
    for (int64_t i = 0; i < p->nb; i++) p->B[i] = (float)rd_rng_normal(&r);
    for (int64_t i = 0; i < p->nc; i++) p->before[i] = (float)rd_rng_normal(&r);
    memcpy(p->C, p->before, (size_t)p->nc * sizeof(float));
}

static void problem_free(problem *p)
{
    rd_free(p->A), rd_free(p->B), rd_free(p->C), rd_free(p->before);
}

static rd_product product_of(const problem *p)
{
    return (rd_product){.m = p->m,
                        .n = p->n,
                        .k = p->k,
                        .alpha = 0.3f,
                        .beta = -1.7f,
                        .A = {p->A, p->lda, p->ta == 'T', false},
                        .B = {p->B, p->ldb, p->tb == 'T', false},
                        .C = p->C,
                        .ldc = p->ldc};
}

static void round_all(int64_t n, const float *x, float *y)
{
    uint16_t *h = rd_new(uint16_t, n);
    rd_halves_from_f32(n, x, h);
    rd_halves_to_f32(n, h, y);
    rd_free(h);
}

/* The largest difference from the reference, which is given the rounded factors. */
static double error_of(const problem *p, bool half)
{
    float *A = rd_new(float, p->na), *B = rd_new(float, p->nb), *R = rd_new(float, p->nc);
    memcpy(A, p->A, (size_t)p->na * sizeof(float));
    memcpy(B, p->B, (size_t)p->nb * sizeof(float));
    if (half) round_all(p->na, p->A, A), round_all(p->nb, p->B, B);
    memcpy(R, p->before, (size_t)p->nc * sizeof(float));
    rd_gemm_reference(p->ta, p->tb, p->m, p->n, p->k, 0.3f, A, p->lda, B, p->ldb, -1.7f, R, p->ldc);
    double error = 0;
    for (int64_t i = 0; i < p->nc; i++) error = fmax(error, fabs((double)p->C[i] - R[i]));
    rd_free(A), rd_free(B), rd_free(R);
    return error;
}

/* Is the last column of C what it is without the others? */
static bool last_alone(const problem *p, void (*f)(const rd_product *))
{
    float *one = rd_new(float, p->ldc);
    rd_product q = product_of(p);
    q.B.a = p->B + (p->tb == 'T' ? p->n - 1 : (p->n - 1) * p->ldb);
    q.n = 1;
    q.C = one;
    memcpy(one, p->before + (p->n - 1) * p->ldc, (size_t)p->m * sizeof(float));
    f(&q);
    bool same = memcmp(one, p->C + (p->n - 1) * p->ldc, (size_t)p->m * sizeof(float)) == 0;
    rd_free(one);
    return same;
}

/* And its last row?  Then no element depends on where the threads' parts begin. */
static bool row_alone(const problem *p, void (*f)(const rd_product *))
{
    float *row = rd_new(float, p->n);
    rd_product q = product_of(p);
    q.A.a = p->A + (p->ta == 'T' ? (p->m - 1) * p->lda : p->m - 1);
    q.m = 1;
    q.C = row;
    q.ldc = 1;
    for (int64_t j = 0; j < p->n; j++) row[j] = p->before[j * p->ldc + p->m - 1];
    f(&q);
    bool same = true;
    for (int64_t j = 0; j < p->n; j++) same = same && row[j] == p->C[j * p->ldc + p->m - 1];
    rd_free(row);
    return same;
}

/* The same bits when one factor or both are stored as bfloat16? */
static bool same_from_halves(const problem *p, const rd_tiles *t)
{
    uint16_t *A = rd_new(uint16_t, p->na), *B = rd_new(uint16_t, p->nb);
    float *C = rd_new(float, p->nc);
    size_t bytes = (size_t)p->nc * sizeof(float);
    bool same = true;
    rd_halves_from_f32(p->na, p->A, A);
    rd_halves_from_f32(p->nb, p->B, B);
    for (int which = 1; which < 4; which++) {
        rd_product q = product_of(p);
        if (which & 1) q.A.a = A, q.A.half = true;
        if (which & 2) q.B.a = B, q.B.half = true;
        q.C = C;
        memcpy(C, p->before, bytes);
        t->bf16(&q);
        same = same && memcmp(C, p->C, bytes) == 0;
    }
    rd_free(A), rd_free(B), rd_free(C);
    return same;
}

/* And when A has been packed, whole and in two parts that meet wherever a panel begins? */
static bool same_packed(const problem *p, const rd_tiles *t, bool half)
{
    rd_factor A = {.packed = true};
    int64_t size = t->pack_size(p->m, p->k, half, &A.ld);
    float *panels = rd_new(float, size), *C = rd_new(float, p->nc);
    rd_product q = product_of(p);
    t->pack(&q.A, p->m, p->k, half, panels);
    A.a = panels;
    q.A = A;
    q.C = C;
    memcpy(C, p->before, (size_t)p->nc * sizeof(float));
    (half ? t->bf16 : t->f32)(&q);
    bool same = memcmp(C, p->C, (size_t)p->nc * sizeof(float)) == 0;
    for (int64_t cut = t->rows; cut < p->m; cut += t->rows) {
        memcpy(C, p->before, (size_t)p->nc * sizeof(float));
        q.m = cut;
        q.A.first = 0;
        q.C = C;
        (half ? t->bf16 : t->f32)(&q);
        q.m = p->m - cut;
        q.A.first = cut;
        q.C = C + cut;
        (half ? t->bf16 : t->f32)(&q);
        same = same && memcmp(C, p->C, (size_t)p->nc * sizeof(float)) == 0;
    }
    rd_free(panels), rd_free(C);
    return same;
}

static const int64_t shapes[][3] = {{1, 1, 1},      {61, 50, 37},     {96, 33, 96},   {16, 7, 100},
                                    {23, 1, 600},   {65, 530, 20},    {49, 12, 1031}, {5, 3, 0},
                                    {1000, 9, 777}, {130, 101, 1600}, {48, 8, 2},     {64, 64, 64},
                                    {200, 8, 640},  {64, 8, 640},     {112, 5, 70}};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static void test_kernels(const rd_tiles *t, bool half)
{
    void (*f)(const rd_product *) = half ? t->bf16 : t->f32;
    const char *name = half ? t->says_bf16 : t->says_f32;
    double worst = 0;
    bool column = true, row = true, halves = true, packed = true;
    for (int s = 0; s < SHAPES; s++)
        for (int type = 0; type < 4; type++) {
            problem p;
            problem_make(shapes[s][0], shapes[s][1], shapes[s][2], type, &p);
            rd_product q = product_of(&p);
            f(&q);
            worst = fmax(worst, error_of(&p, half) / sqrt((double)p.k + 1));
            column = column && last_alone(&p, f);
            row = row && row_alone(&p, f);
            if (half) halves = halves && same_from_halves(&p, t);
            if (p.k > 0) packed = packed && same_packed(&p, t, half);
            problem_free(&p);
        }
    ok(worst < 3e-6, "%s: all shapes and types, nothing beyond C touched (%.1e)", name, worst);
    ok(column, "%s: a column alone is the same, bit for bit", name);
    ok(row, "%s: and a row", name);
    ok(packed, "%s: and from a packed factor", name);
    ok(halves, "%s: and from factors stored as bfloat16", name);
}

static void compute(const problem *p, bool half)
{
    (half ? rd_gemm_bf16 : rd_gemm_local)(p->ta, p->tb, p->m, p->n, p->k, 0.3f, p->A, p->lda, p->B,
                                          p->ldb, -1.7f, p->C, p->ldc);
}

/* Large enough to be shared, by rows, by columns and by both; and from inside a parallel region. */
static void test_threads(bool half)
{
    static const int64_t large[][3] = {{500, 430, 120}, {3000, 5, 300}, {20, 2000, 200}};
    for (size_t s = 0; s < sizeof(large) / sizeof(large[0]); s++)
        for (int type = 0; type < 4; type++) {
            problem p;
            problem_make(large[s][0], large[s][1], large[s][2], type, &p);
            size_t bytes = (size_t)p.nc * sizeof(float);
            float *serial = rd_new(float, p.nc);
            compute(&p, half);
            memcpy(serial, p.C, bytes);
            bool same = true;
            for (int threads = 2; threads < 8; threads++) {
                rd_threads_set(threads);
                memcpy(p.C, p.before, bytes);
                compute(&p, half);
                same = same && memcmp(serial, p.C, bytes) == 0;
            }
            memcpy(p.C, p.before, bytes);
#pragma omp parallel num_threads(2)
            {
                if (omp_get_thread_num() == 1) compute(&p, half);
            }
            same = same && memcmp(serial, p.C, bytes) == 0;
            rd_threads_set(1);
            ok(same, "%s %c%c %d %d %d: the same bits on any number of threads",
               half ? "bf16" : "f32", p.ta, p.tb, (int)p.m, (int)p.n, (int)p.k);
            rd_free(serial);
            problem_free(&p);
        }
}

static void test_rounding(void)
{
    static const struct {
        uint32_t x;
        uint16_t want;
    } list[] = {{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f808001, 0x3f81},
                {0x3f818000, 0x3f82}, {0xbf807fff, 0xbf80}, {0x7f7fffff, 0x7f80},
                {0x7f800000, 0x7f80}, {0xff800000, 0xff80}, {0x7f800001, 0x7fc0},
                {0x7fffffff, 0x7fff}, {0x80000000, 0x8000}};
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        float x;
        uint16_t got;
        memcpy(&x, &list[i].x, sizeof(x));
        rd_halves_from_f32(1, &x, &got);
        ok(got == list[i].want, "%08x rounds to %04x (%04x)", list[i].x, list[i].want, got);
    }
}

/* What is not a number stays so, through every kernel; infinity too. */
static void test_not_finite(const rd_tiles *t)
{
    const uint32_t all_ones = 0x7fffffff; /* that rounding must not carry over */
    const float B[2] = {1, INFINITY};
    float A[2] = {0, 1}, C[4] = {0};
    memcpy(A, &all_ones, sizeof(all_ones));
    rd_product p = {.m = 2,
                    .n = 2,
                    .k = 1,
                    .alpha = 1,
                    .beta = 0,
                    .A = {A, 2, false, false},
                    .B = {B, 1, false, false},
                    .C = C,
                    .ldc = 2};
    t->bf16(&p);
    ok(isnan(C[0]) && C[1] == 1 && isnan(C[2]) && isinf(C[3]), "%s: NaN and infinity",
       t->says_bf16);
}

/* A packed matrix on threads, alone and in the place of its original. */
static void test_packed(bool half)
{
    enum { IN = 200, OUT = 1000, N = 21 };
    rd_grid *g;
    rd_mat W, X, Y, Z;
    rd_packed *packed;
    rd_rng r = rd_rng_make(7, "packed", 0, 0);
    rd_grid_self(&g);
    rd_la_use_bf16(g, half);
    rd_mat_create(g, IN, OUT, 0, 0, &W), rd_mat_create(g, IN, N, 0, 0, &X);
    rd_mat_create(g, OUT, N, 0, 0, &Y), rd_mat_create(g, OUT, N, 0, 0, &Z);
    for (int i = 0; i < IN * OUT; i++) W.a[i] = (float)rd_rng_normal(&r);
    for (int i = 0; i < IN * N; i++) X.a[i] = (float)rd_rng_normal(&r);
    rd_gemm_mixed('T', 'N', 1, &W, &X, 0, &Y);
    is_rc(rd_mat_pack(&W, &packed), RD_OK, "packed");
    rd_mat bare = W;
    bare.a = NULL;
    bare.packed = packed;
    rd_threads_set(3);
    is_rc(rd_gemm_mixed('T', 'N', 1, &bare, &X, 0, &Z), RD_OK, "and used");
    rd_threads_set(1);
    ok(memcmp(Y.a, Z.a, sizeof(float) * OUT * N) == 0, "with the same bits");
    is_rc(rd_gemm('N', 'N', 1, &bare, &Y, 0, &X), RD_EINTERNAL, "in W^T X alone");
    rd_packed_free(&packed);
    rd_mat_free(&W), rd_mat_free(&X), rd_mat_free(&Y), rd_mat_free(&Z);
    rd_grid_free(&g);
}

int main(int argc, char **argv)
{
    const rd_tiles *list[RD_TILES_MAX];
    rd_test_begin(&argc, &argv);
    int n = rd_tiles_list(list);
    test_rounding();
    for (int i = 0; i < n; i++) {
        test_kernels(list[i], false);
        test_kernels(list[i], true);
        test_not_finite(list[i]);
    }
    test_threads(false);
    test_threads(true);
    test_packed(false);
    test_packed(true);
    return rd_test_end();
}
