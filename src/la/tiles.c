/* tiles.c: the product of one thread.  Compiled several times, for several instruction sets.
 *
 * The order of Goto and van de Geijn (2008): of k at most KC at a time, a block of op(A) is brought
 * into the second-level cache, laid out as the tiles read it; beside it op(B) goes through the
 * first-level cache, NR columns at a time.  A tile of MV vectors x NR columns of C lives in
 * registers. Every element of C is one chain of multiply-adds in the order of k, cut every KC or
 * less, evenly, whatever the shape of its tile: it depends on its row of A, its column of B and k
 * alone.
 *
 * All of this is in units of 32 bits.  One is a float, or, with RD_PAIRS, two bfloat16 that follow
 * each other along k, whose two products one instruction adds to a float32 sum.  Without that
 * instruction bfloat16 factors are floats that are rounded when they are brought.  With RD_AMX too,
 * one instruction adds 16 such units of 16 rows and 16 columns.
 *
 * The vector types are GCC's (also Clang's); the compiler maps them to what the machine has. */
#include "tiles.h"

#include <string.h>

#ifdef RD_PAIRS
#include <immintrin.h>
#endif

/* PASS: columns of B that are brought at a time beside a block of A; DEEP: indices of k, at most.
 *
 * The tile leaves several registers free: where one is short, the compiler spills sums and loses up
 * to half of the speed. */
#ifdef RD_AMX
enum { LANES = 16, MV = 2, NR = 32, PASS = 96, DEEP = 640, BLOCK_BYTES = 576 << 10 };
#elif defined(__AVX512F__)
enum { LANES = 16, MV = 3, NR = 6, PASS = 48, DEEP = 640, BLOCK_BYTES = 576 << 10 };
#elif defined(__AVX__)
enum { LANES = 8, MV = 2, NR = 6, PASS = 96, DEEP = 256, BLOCK_BYTES = 240 << 10 };
#elif defined(__aarch64__)
enum { LANES = 4, MV = 3, NR = 6, PASS = 48, DEEP = 640, BLOCK_BYTES = 240 << 10 };
#else
enum { LANES = 4, MV = 2, NR = 5, PASS = 40, DEEP = 640, BLOCK_BYTES = 240 << 10 };
#endif
#ifdef RD_PAIRS
enum { STEP = 2 }; /* indices of k in a unit */
#else
enum { STEP = 1 };
#endif
/* DEPTH: to a multiple of so many units k is filled up with zeros; THIN: columns of a tile of one
 * vector; LOOKS_AHEAD: is asking for the next part of B while tiles are computed worth it? */
#ifdef RD_AMX
enum { DEPTH = LANES, THIN = NR, LOOKS_AHEAD = 0 };
#else
enum { DEPTH = 1, THIN = 2 * NR, LOOKS_AHEAD = 1 };
#endif
enum {
    MR = MV * LANES,  /* rows per tile */
    KC = DEEP / STEP, /* units of k at a time, at most */
    BLOCK = BLOCK_BYTES / 4
};

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t bits __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
#ifdef RD_PAIRS
typedef uint16_t pairs __attribute__((vector_size(4 * LANES), aligned(2), may_alias));
#endif
#define INLINE static inline __attribute__((always_inline))

/* What becomes of a factor when it is brought. */
typedef enum { AS_IS, ROUNDED, FROM_HALVES } source;

/* Where a part of B lies: unit (p, j) at b[p * bk + j * bj]. */
typedef struct operand {
    const float *b;
    int64_t bk, bj;
} operand;

/* ---------------------------------------------------------------- the tile */

#ifdef RD_AMX
/* Eight registers of 16 rows of 16 units.  Four hold sums, a column of C in each row; two the
 * panels' units, 16 steps of k, a step in each row; two the columns of B, one in each row. */
static __thread int64_t columns_ready; /* for which the registers of this thread are laid out */

/* What was written to memory is there before the tile instructions read it: to GCC 12 they read a
 * pointer's worth or nothing. */
INLINE void written(const void *to)
{
    __asm__ volatile("" : : "r"(to) : "memory");
}

static void columns_lay_out(int64_t nr)
{
    enum { BYTES = 4 * LANES };
    typedef struct layout {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } layout;
    if (nr == columns_ready) return;
    uint8_t first = (uint8_t)(nr < LANES ? nr : LANES);
    uint8_t second = (uint8_t)(nr > LANES ? nr - LANES : 1);
    const layout l = {
        .palette = 1,
        .bytes = {BYTES, BYTES, BYTES, BYTES, BYTES, BYTES, BYTES, BYTES},
        .rows = {first, first, second, second, LANES, LANES, first, second},
    };
    written(&l);
    _tile_loadconfig(&l);
    columns_ready = nr;
}

INLINE void columns_release(void)
{
    if (columns_ready > 0) _tile_release();
    columns_ready = 0;
}

/* nr columns of C from their sums. */
static __attribute__((noinline)) void count_in(int64_t nr, int mv, const float *sum, float alpha,
                                               float beta, float *c, int64_t ldc)
{
    for (int64_t j = 0; j < nr; j++)
        for (int i = 0; i < mv; i++) {
            vec s = *(const vec *)(sum + j * MR + i * LANES);
            vec *out = (vec *)(c + j * ldc + i * LANES);
            *out = beta == 0 ? s * alpha : s * alpha + *out * beta;
        }
}

/* One tile; mv and whether it has more than LANES columns are compile-time constants. */
INLINE void tile(const int mv, const bool wide, int64_t nr, int64_t k, const float *a, int64_t lda,
                 operand B, float alpha, float beta, float *c, int64_t ldc)
{
    const int64_t step_a = 4 * lda, step_b = 4 * B.bj;
    const float *b = B.b, *second = B.b + LANES * B.bj;
    const bool direct = alpha == 1 && (beta == 0 || beta == 1);
    columns_lay_out(nr);
    written(c);
    if (direct && beta == 1) {
        _tile_loadd(0, c, 4 * ldc);
        if (mv > 1) _tile_loadd(1, c + LANES, 4 * ldc);
        if (wide) _tile_loadd(2, c + LANES * ldc, 4 * ldc);
        if (wide && mv > 1) _tile_loadd(3, c + LANES * ldc + LANES, 4 * ldc);
    } else {
        _tile_zero(0);
        if (mv > 1) _tile_zero(1);
        if (wide) _tile_zero(2);
        if (wide && mv > 1) _tile_zero(3);
    }
    for (int64_t p = 0; p < k; p += DEPTH) {
        _tile_loadd(6, b + p, step_b);
        _tile_loadd(4, a + p * lda, step_a);
        _tile_dpbf16ps(0, 6, 4);
        if (mv > 1) _tile_loadd(5, a + p * lda + LANES, step_a);
        if (mv > 1) _tile_dpbf16ps(1, 6, 5);
        if (wide) _tile_loadd(7, second + p, step_b);
        if (wide) _tile_dpbf16ps(2, 7, 4);
        if (wide && mv > 1) _tile_dpbf16ps(3, 7, 5);
    }
    float sum[MR * NR] __attribute__((aligned(64)));
    float *to = direct ? c : sum;
    const int64_t ld = direct ? ldc : MR;
    _tile_stored(0, to, 4 * ld);
    if (mv > 1) _tile_stored(1, to + LANES, 4 * ld);
    if (wide) _tile_stored(2, to + LANES * ld, 4 * ld);
    if (wide && mv > 1) _tile_stored(3, to + LANES * ld + LANES, 4 * ld);
    if (!direct) count_in(nr, mv, sum, alpha, beta, c, ldc);
}

INLINE void tile_columns(const int mv, const bool along_k, int64_t nr, int64_t k, const float *a,
                         int64_t lda, operand B, float alpha, float beta, float *c, int64_t ldc)
{
    (void)along_k;
    if (nr > LANES)
        tile(mv, true, nr, k, a, lda, B, alpha, beta, c, ldc);
    else
        tile(mv, false, nr, k, a, lda, B, alpha, beta, c, ldc);
}
#else
INLINE void columns_release(void) {}

INLINE vec multiply_add(vec a, float b, vec sum)
{
#ifdef RD_PAIRS
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)_mm512_set1_ps(b));
#else
    return sum + a * b;
#endif
}

/* One tile: mv vectors x nr columns.  mv, nr and which stride of B is 1 are compile-time constants
 * at every call, so that sum lives in registers. */
INLINE void tile(const int mv, const int nr, const bool along_k, int64_t k, const float *a,
                 int64_t lda, operand B, float alpha, float beta, float *c, int64_t ldc)
{
    vec sum[MV * NR]; /* THIN is no more than that */
    const float *b = B.b;
    const int64_t bk = along_k ? 1 : B.bk, bj = along_k ? B.bj : 1;
#pragma GCC unroll 16
    for (int j = 0; j < nr; j++)
#pragma GCC unroll 4
        for (int i = 0; i < mv; i++) {
            sum[i * nr + j] = (vec){0};
            if (LANES == 16) __builtin_prefetch(c + j * ldc + i * LANES, 1);
        }
    for (int64_t p = 0; p < k; p++) {
        vec av[MV];
#pragma GCC unroll 4
        for (int i = 0; i < mv; i++) av[i] = *(const vec *)(a + i * LANES);
#pragma GCC unroll 16
        for (int j = 0; j < nr; j++) {
            float s = b[j * bj];
#pragma GCC unroll 4
            for (int i = 0; i < mv; i++) sum[i * nr + j] = multiply_add(av[i], s, sum[i * nr + j]);
        }
        a += lda;
        b += bk;
    }
#pragma GCC unroll 16
    for (int j = 0; j < nr; j++)
#pragma GCC unroll 4
        for (int i = 0; i < mv; i++) {
            vec *out = (vec *)(c + j * ldc + i * LANES);
            *out = beta == 0 ? sum[i * nr + j] * alpha : sum[i * nr + j] * alpha + *out * beta;
        }
}

/* The tile with nr at run time, at most NR, or THIN where mv = 1: with fewer sums the next
 * multiply-add of one would have to wait for its last. */
INLINE void tile_columns(const int mv, const bool along_k, int64_t nr, int64_t k, const float *a,
                         int64_t lda, operand B, float alpha, float beta, float *c, int64_t ldc)
{
    if (mv == 1 && nr == THIN) {
        tile(1, THIN, along_k, k, a, lda, B, alpha, beta, c, ldc);
        return;
    }
    if (nr == NR) {
        tile(mv, NR, along_k, k, a, lda, B, alpha, beta, c, ldc);
        return;
    }
    for (int64_t done = 0, next; done < nr; done += next) {
        operand rest = {B.b + done * B.bj, B.bk, B.bj};
        float *out = c + done * ldc;
        next = nr - done >= 4 ? 4 : nr - done >= 2 ? 2 : 1;
        if (next == 4)
            tile(mv, 4, along_k, k, a, lda, rest, alpha, beta, out, ldc);
        else if (next == 2)
            tile(mv, 2, along_k, k, a, lda, rest, alpha, beta, out, ldc);
        else
            tile(mv, 1, along_k, k, a, lda, rest, alpha, beta, out, ldc);
    }
}
#endif

typedef void tile_fn(int64_t nr, int64_t k, const float *a, int64_t lda, operand B, float alpha,
                     float beta, float *c, int64_t ldc);

/* One function per number of vectors and direction of B, each with the registers to itself. */
#define TILE(name, mv, along_k)                                                                    \
    static __attribute__((noinline)) void name(int64_t nr, int64_t k, const float *a, int64_t lda, \
                                               operand B, float alpha, float beta, float *c,       \
                                               int64_t ldc)                                        \
    {                                                                                              \
        tile_columns(mv, along_k, nr, k, a, lda, B, alpha, beta, c, ldc);                          \
    }
TILE(tile_1_along, 1, true)
TILE(tile_2_along, 2, true)
TILE(tile_3_along, MV, true)
TILE(tile_1_across, 1, false)
TILE(tile_2_across, 2, false)
TILE(tile_3_across, MV, false)

/* One tile of a panel.  A ragged one (rows not a multiple of LANES; A is then padded with zeros)
 * goes through a tile of its own so that nothing beyond C is touched. */
static void panel_tile(int64_t rows, int64_t nr, int64_t k, float alpha, const float *a,
                       int64_t lda, operand B, float beta, float *c, int64_t ldc)
{
    static tile_fn *const along[] = {tile_1_along, tile_2_along, tile_3_along};
    static tile_fn *const across[] = {tile_1_across, tile_2_across, tile_3_across};
    int64_t mv = (rows + LANES - 1) / LANES;
    tile_fn *compute = B.bk == 1 ? along[mv - 1] : across[mv - 1];
    float edge[MR * THIN]; /* rows beyond are computed from whatever is there */
    if (rows % LANES == 0) {
        compute(nr, k, a, lda, B, alpha, beta, c, ldc);
        return;
    }
    for (int64_t j = 0; j < nr && beta != 0; j++)
        memcpy(edge + j * MR, c + j * ldc, (size_t)rows * sizeof(float));
    compute(nr, k, a, lda, B, alpha, beta, edge, MR);
    for (int64_t j = 0; j < nr; j++)
        memcpy(c + j * ldc, edge + j * MR, (size_t)rows * sizeof(float));
}

/* ---------------------------------------------------------------- bringing factors */

/* Up to LANES numbers from memory; beyond `left` of them zeros. */
INLINE vec load(const float *from, int64_t left)
{
    vec v = {0};
    if (left >= LANES) return *(const vec *)from;
    if (left > 0) memcpy(&v, from, (size_t)left * sizeof(float));
    return v;
}

INLINE halves load_halves(const uint16_t *from, int64_t left)
{
    halves v = {0};
    if (left >= LANES) return *(const halves *)from;
    if (left > 0) memcpy(&v, from, (size_t)left * sizeof(uint16_t));
    return v;
}

#ifndef RD_PAIRS
/* To the nearest bfloat16, halfway to the even one; what is not a number stays so. */
INLINE vec rounded(vec x)
{
    bits u = (bits)x;
    bits nearest = (u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000;
    bits nan = (bits)((u & 0x7fffffff) > 0x7f800000);
    return (vec)((nan & (u | 0x400000)) | (~nan & nearest));
}

/* LANES units of a factor from element `at` of its memory. */
INLINE vec bring(const source s, const rd_factor *f, int64_t at, int64_t left)
{
    if (s == FROM_HALVES) {
        halves h = load_halves((const uint16_t *)f->a + at, left);
        return (vec)(__builtin_convertvector(h, bits) << 16);
    }
    vec x = load((const float *)f->a + at, left);
    return s == ROUNDED ? rounded(x) : x;
}
#endif

/* Units that follow each other in memory, where that is the direction of k; left: numbers. */
INLINE vec bring_along(const source s, const rd_factor *f, int64_t at, int64_t left)
{
#ifdef RD_PAIRS
    if (s == FROM_HALVES) {
        const uint16_t *h = (const uint16_t *)f->a + at;
        vec v = {0};
        if (left >= 2 * LANES) return (vec) * (const pairs *)h;
        if (left > 0) memcpy(&v, h, (size_t)left * sizeof(uint16_t));
        return v;
    }
    const float *x = (const float *)f->a + at;
    vec lo = load(x, left), hi = load(x + LANES, left - LANES);
    return (vec)_mm512_cvtne2ps_pbh((__m512)hi, (__m512)lo);
#else
    return bring(s, f, at, left);
#endif
}

/* Units of neighbouring rows or columns at one place of k; second: k goes on at least one more. */
INLINE vec bring_across(const source s, const rd_factor *f, int64_t at, bool second, int64_t left)
{
#ifdef RD_PAIRS
    if (s == FROM_HALVES) {
        const uint16_t *h = (const uint16_t *)f->a + at;
        bits lo = __builtin_convertvector(load_halves(h, left), bits);
        bits hi = __builtin_convertvector(load_halves(h + f->ld, second ? left : 0), bits);
        return (vec)(lo | hi << 16);
    }
    const float *x = (const float *)f->a + at;
    vec lo = load(x, left), hi = load(x + f->ld, second ? left : 0);
    const __m512i zip = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512bh both = _mm512_cvtne2ps_pbh((__m512)hi, (__m512)lo);
    return (vec)_mm512_permutexvar_epi16(zip, (__m512i)both);
#else
    (void)second;
    return bring(s, f, at, left);
#endif
}

/* Transpose LANES x LANES in registers: log2(LANES) times, the first half of the rows is
 * interleaved with the second.  Each time the number of an entry, row before lane, turns by one
 * bit. */
INLINE void transpose(vec r[LANES])
{
    typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
    ivec lo, hi;
    vec t[LANES];
#pragma GCC unroll 16
    for (int l = 0; l < LANES; l++) {
        lo[l] = l / 2 + (l & 1) * LANES;
        hi[l] = lo[l] + LANES / 2;
    }
#pragma GCC unroll 4
    for (int round = 1; round < LANES; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            t[2 * i] = __builtin_shuffle(r[i], r[i + LANES / 2], lo);
            t[2 * i + 1] = __builtin_shuffle(r[i], r[i + LANES / 2], hi);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) r[i] = t[i];
    }
}

/* LANES units of k by as many rows of op(A), or columns of op(B), turned over: to[l * ld] gets
 * those of l < n.  along: k is the direction of memory, and the factor has `left` indices of it and
 * `size` rows; else the other way round. */
INLINE void turn(const source s, const rd_factor *f, bool along, int64_t at, int64_t left,
                 int64_t size, float *to, int64_t ld, int64_t n)
{
    vec r[LANES];
    if (along && size >= LANES && left >= STEP * LANES) {
#pragma GCC unroll 16
        for (int l = 0; l < LANES; l++) r[l] = bring_along(s, f, at + l * f->ld, STEP * LANES);
    } else if (along) {
        for (int l = 0; l < LANES; l++)
            r[l] = l < size ? bring_along(s, f, at + l * f->ld, left) : (vec){0};
    } else if (size >= LANES && left >= STEP * LANES) {
#pragma GCC unroll 16
        for (int l = 0; l < LANES; l++)
            r[l] = bring_across(s, f, at + l * STEP * f->ld, true, LANES);
    } else {
        for (int l = 0; l < LANES; l++)
            r[l] = l * STEP < left
                       ? bring_across(s, f, at + l * STEP * f->ld, l * STEP + 1 < left, size)
                       : (vec){0};
    }
    transpose(r);
    if (n >= LANES) {
#pragma GCC unroll 16
        for (int l = 0; l < LANES; l++) *(vec *)(to + l * ld) = r[l];
        return;
    }
    for (int l = 0; l < n; l++) *(vec *)(to + l * ld) = r[l];
}

/* Rows of the next panel.  Four vectors left are better cut 2 + 2 than 3 + 1. */
INLINE int64_t panel_rows(int64_t left)
{
    if (left > MR && left <= 4 * LANES) return 2 * LANES;
    return left < MR ? left : MR;
}

INLINE int64_t panel_width(int64_t rows)
{
    return (rows + LANES - 1) / LANES * LANES;
}

/* Units [q, q + units) of rows [i, i + rows) of op(A) to panels, filled up with zeros. */
INLINE void pack(const source s, const rd_factor *A, int64_t i, int64_t rows, int64_t q,
                 int64_t units, int64_t k, float *to)
{
    for (int64_t r = 0, n; r < rows && A->transposed; r += n) {
        n = panel_rows(rows - r);
        int64_t ld = panel_width(n);
        for (int64_t v = 0; v < ld; v += LANES)
            for (int64_t u = 0; u < units; u += LANES)
                turn(s, A, true, (i + r + v) * A->ld + (q + u) * STEP, k - (q + u) * STEP, n - v,
                     to + r * units + u * ld + v, ld, units - u);
    }
    for (int64_t u = 0; u < units && !A->transposed; u++) {
        int64_t p = (q + u) * STEP, at = p * A->ld + i;
        for (int64_t r = 0, n; r < rows; r += n) {
            n = panel_rows(rows - r);
            int64_t ld = panel_width(n);
            float *out = to + r * units + u * ld;
            for (int64_t v = 0; v < ld; v += LANES)
                *(vec *)(out + v) = bring_across(s, A, at + r + v, p + 1 < k, p < k ? n - v : 0);
        }
    }
}

/* n bfloat16 to floats and, from those that are such, back; n: a multiple of LANES. */
INLINE void widen(const uint16_t *from, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i += LANES)
        *(vec *)(to + i) = (vec)(__builtin_convertvector(*(const halves *)(from + i), bits) << 16);
}

INLINE void narrow(const float *from, int64_t n, uint16_t *to)
{
    for (int64_t i = 0; i < n; i += LANES)
        *(halves *)(to + i) = __builtin_convertvector(*(const bits *)(from + i) >> 16, halves);
}

/* Units [q, q + units) of columns [j, j + cols) of op(B), each column along k. */
INLINE operand group(const source s, const rd_factor *B, int64_t j, int64_t cols, int64_t q,
                     int64_t units, int64_t k, float *to)
{
    int64_t ld = (units + LANES - 1) / LANES * LANES;
    for (int64_t u = 0; u < units && B->transposed; u += LANES)
        for (int64_t c = 0; c < cols; c += LANES)
            turn(s, B, false, (q + u) * STEP * B->ld + j + c, k - (q + u) * STEP, cols - c,
                 to + c * ld + u, ld, LANES);
    for (int64_t c = 0; c < cols && !B->transposed; c++)
        for (int64_t u = 0; u < units; u += LANES)
            *(vec *)(to + c * ld + u) =
                bring_along(s, B, (j + c) * B->ld + (q + u) * STEP, k - (q + u) * STEP);
    return (operand){to, 1, ld};
}

/* ---------------------------------------------------------------- the product */

/* The part of B that is brought next, asked for while tiles are computed, which need little from
 * memory: `runs` stretches of `bytes`, `step` apart. */
typedef struct ahead {
    const char *at;
    int64_t step, bytes, runs;
    int64_t done, each; /* bytes of the first; lines for each tile */
} ahead;

/* Columns [j, j + cols) of op(B), np indices of k from first, while `tiles` tiles are computed. */
static ahead look_ahead(const rd_factor *B, int64_t j, int64_t cols, int64_t first, int64_t np,
                        int64_t tiles)
{
    int64_t size = B->half ? 2 : 4;
    bool along = !B->transposed;
    ahead next = {.step = B->ld * size};
    if (cols <= 0 || !LOOKS_AHEAD) return next;
    next.at = (const char *)B->a + (along ? j * B->ld + first : first * B->ld + j) * size;
    next.runs = along ? cols : np;
    next.bytes = (along ? np : cols) * size;
    next.each = next.runs * (next.bytes / 64 + 1) / tiles + 1;
    return next;
}

INLINE void ask_for(ahead *next)
{
    for (int64_t i = 0; i < next->each && next->runs > 0; i++) {
        __builtin_prefetch(next->at + next->done, 0, 2);
        next->done += 64;
        if (next->done < next->bytes) continue;
        next->done = 0;
        next->at += next->step;
        next->runs--;
    }
}

/* A part of op(A): panels one after the other, each as wide as panel_width says, those that were
 * packed for later of MR rows; or, with lda > 0, where it lies. */
typedef struct block {
    const float *a;
    int64_t rows, lda;
    bool packed;
} block;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The block's rows of C from c by `cols` columns. */
static void multiply(const rd_product *p, const block *A, operand B, int64_t cols, int64_t units,
                     float beta, float *C, ahead *next)
{
    const int64_t width = A->rows <= LANES ? THIN : NR;
    for (int64_t c = 0; c < cols; c += width) {
        int64_t nr = cols - c < width ? cols - c : width;
        operand Bc = {B.b + c * B.bj, B.bk, B.bj};
        for (int64_t r = 0, rows; r < A->rows; r += rows) {
            rows = A->packed ? least(MR, A->rows - r) : panel_rows(A->rows - r);
            const float *a = A->lda > 0 ? A->a + r : A->a + r * units;
            ask_for(next);
            panel_tile(rows, nr, units, p->alpha, a, A->lda > 0 ? A->lda : panel_width(rows), Bc,
                       beta, C + c * p->ldc + r, p->ldc);
        }
    }
}

/* A stretch of k: units [q, q + n), and how C counts in it. */
typedef struct stretch {
    int64_t q, n;
    float beta;
} stretch;

/* Rows [i, i + rows) of op(A) in reach.  Packed, those of each stretch of k lie together, and
 * bfloat16 without its instruction is widened. */
INLINE block bring_rows(const source s, const rd_product *p, const stretch *k, int64_t i,
                        int64_t rows, bool in_place, float *to)
{
    int64_t at = k->q * p->A.ld + (p->A.first + i) * k->n;
    if (in_place) return (block){(const float *)p->A.a + k->q * p->A.ld + i, rows, p->A.ld, false};
    if (!p->A.packed)
        pack(s, &p->A, i, rows, k->q, k->n, p->k, to);
    else if (s == AS_IS || STEP > 1)
        return (block){(const float *)p->A.a + at, rows, 0, true};
    else
        widen((const uint16_t *)p->A.a + at, panel_width(rows) * k->n, to);
    return (block){to, rows, 0, p->A.packed};
}

INLINE operand bring_columns(const source s, const rd_product *p, const stretch *k, int64_t j,
                             int64_t cols, bool in_place, float *to)
{
    const rd_factor *B = &p->B;
    if (!in_place) return group(s, B, j, cols, k->q, k->n, p->k, to);
    const float *b = (const float *)B->a;
    if (B->transposed) return (operand){b + k->q * B->ld + j, B->ld, 1};
    return (operand){b + j * B->ld + k->q, 1, B->ld};
}

static int64_t units_of(int64_t k)
{
    return (k + STEP * DEPTH - 1) / (STEP * DEPTH) * DEPTH;
}

/* Units of k > 0 in a stretch: all are of even size but the last, which may be shorter. */
static int64_t stretch_units(int64_t k)
{
    int64_t units = units_of(k), stretches = (units + KC - 1) / KC;
    int64_t deep = stretches * DEPTH;
    return (units + deep - 1) / deep * DEPTH;
}

INLINE void product(const source sa, const source sb, const rd_product *p)
{
    float stay[BLOCK] __attribute__((aligned(64))), pass[PASS * KC] __attribute__((aligned(64)));
    int64_t units = units_of(p->k), kc = stretch_units(p->k);
    int64_t mc = BLOCK / kc / MR * MR;
    bool a_in_place =
        sa == AS_IS && !p->A.transposed && !p->A.packed && p->m % LANES == 0 && p->n <= 2 * NR;
    bool b_in_place = sb == AS_IS && (!p->B.transposed || p->m <= MR);
    for (stretch k = {0, kc, p->beta}; k.q < units; k.q += kc, k.beta = 1) {
        k.n = least(kc, units - k.q);
        int64_t first = k.q * STEP, np = least(k.n * STEP, p->k - first);
        for (int64_t i = 0; i < p->m; i += mc) {
            block A = bring_rows(sa, p, &k, i, least(mc, p->m - i), a_in_place, stay);
            int64_t panels = (A.rows + MR - 1) / MR;
            for (int64_t j = 0, cols; j < p->n; j += cols) {
                cols = least(PASS, p->n - j);
                operand B = bring_columns(sb, p, &k, j, cols, b_in_place, pass);
                ahead next = look_ahead(&p->B, j + cols, least(PASS, p->n - j - cols), first, np,
                                        panels * ((cols + NR - 1) / NR));
                multiply(p, &A, B, cols, k.n, k.beta, p->C + j * p->ldc + i, &next);
            }
        }
    }
    columns_release();
}

static void scale_only(const rd_product *p)
{
    for (int64_t j = 0; j < p->n; j++)
        for (int64_t i = 0; i < p->m; i++) {
            float *c = &p->C[j * p->ldc + i];
            *c = p->beta == 0 ? 0 : p->beta * *c;
        }
}

/* ---------------------------------------------------------------- packing for later
 *
 * In panels of MR rows, from whichever row on they are read later. */

static int64_t own_pack_size(int64_t m, int64_t k, int64_t *width)
{
    *width = panel_width(m);
    return *width * units_of(k);
}

INLINE void pack_all(const source s, const rd_factor *A, int64_t m, int64_t k, float *to)
{
    int64_t units = units_of(k), kc = stretch_units(k), width = panel_width(m);
    for (int64_t q = 0; q < units; q += kc)
        for (int64_t i = 0, n = least(kc, units - q); i < m; i += MR)
            pack(s, A, i, least(MR, m - i), q, n, k, to + q * width + i * n);
}

static source source_of(const rd_factor *f)
{
    return f->half ? FROM_HALVES : ROUNDED;
}

static void bf16(const rd_product *p)
{
    if (p->k == 0) {
        scale_only(p);
        return;
    }
    source a = source_of(&p->A), b = source_of(&p->B);
    if (a == ROUNDED && b == ROUNDED) product(ROUNDED, ROUNDED, p);
    if (a == ROUNDED && b == FROM_HALVES) product(ROUNDED, FROM_HALVES, p);
    if (a == FROM_HALVES && b == ROUNDED) product(FROM_HALVES, ROUNDED, p);
    if (a == FROM_HALVES && b == FROM_HALVES) product(FROM_HALVES, FROM_HALVES, p);
}

#ifdef RD_PAIRS
static void f32(const rd_product *p)
{
    rd_tiles_v4.f32(p);
}

static int64_t pack_size(int64_t m, int64_t k, bool half, int64_t *width)
{
    return half ? own_pack_size(m, k, width) : rd_tiles_v4.pack_size(m, k, half, width);
}

static void pack_for(const rd_factor *A, int64_t m, int64_t k, bool half, float *to)
{
    if (!half)
        rd_tiles_v4.pack(A, m, k, half, to);
    else if (A->half)
        pack_all(FROM_HALVES, A, m, k, to);
    else
        pack_all(ROUNDED, A, m, k, to);
}

/* Parts begin where a tile does, here and in v4. */
enum { V4_MR = 3 * LANES, PART = MR % V4_MR == 0 ? MR : MR * V4_MR / LANES };
const rd_tiles RD_TILES = {
    RD_TILES_NAME, "f32, avx512", "bf16, " RD_TILES_NAME, PART, NR, f32, bf16, pack_size, pack_for};
#else
static void f32(const rd_product *p)
{
    if (p->k == 0)
        scale_only(p);
    else
        product(AS_IS, AS_IS, p);
}

static int64_t pack_size(int64_t m, int64_t k, bool half, int64_t *width)
{
    int64_t size = own_pack_size(m, k, width);
    return half ? (size + 1) / 2 : size;
}

INLINE void pack_halves(const source s, const rd_factor *A, int64_t m, int64_t k, uint16_t *to)
{
    float panel[MR * KC] __attribute__((aligned(64)));
    int64_t kc = stretch_units(k), width = panel_width(m);
    for (int64_t q = 0; q < k; q += kc) {
        int64_t units = least(kc, k - q);
        for (int64_t i = 0, rows; i < m; i += rows) {
            rows = least(MR, m - i);
            pack(s, A, i, rows, q, units, k, panel);
            narrow(panel, panel_width(rows) * units, to + q * width + i * units);
        }
    }
}

static void pack_for(const rd_factor *A, int64_t m, int64_t k, bool half, float *to)
{
    if (!half)
        pack_all(AS_IS, A, m, k, to);
    else if (A->half)
        pack_halves(FROM_HALVES, A, m, k, (uint16_t *)(void *)to);
    else
        pack_halves(ROUNDED, A, m, k, (uint16_t *)(void *)to);
}

#ifndef RD_TILES
#define RD_TILES rd_tiles_base
#define RD_TILES_NAME "base"
#define SAID "the build's own instructions"
#else
#define SAID RD_TILES_NAME
#endif
const rd_tiles RD_TILES = {
    RD_TILES_NAME, "f32, " SAID, "bf16, rounded for " SAID, MR, NR, f32, bf16, pack_size, pack_for};
#endif
