/* tiles.h: private to la: products of one thread, compiled for several instruction sets. */
#ifndef RD_LA_TILES_H
#define RD_LA_TILES_H

#include "rd/la.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define RD_TILES_X86 /* the Makefile adds these */
#endif

/* A factor as it lies in memory, column-major: float32, or bfloat16 where half.  packed (only A):
 * what rd_tiles.pack has made of it, with ld the width that it says, from row `first` on. */
typedef struct rd_factor {
    const void *a;
    int64_t ld;
    bool transposed, half;
    bool packed;
    int64_t first;
} rd_factor;

/* C = alpha op(A) op(B) + beta C, m x n with k products summed. */
typedef struct rd_product {
    int64_t m, n, k;
    float alpha, beta;
    rd_factor A, B;
    float *C;
    int64_t ldc;
} rd_product;

/* The kernels of one instruction set.  An element of C depends, bit for bit, on its row of op(A),
 * its column of op(B), k, alpha and beta alone. */
typedef struct rd_tiles {
    const char *name;                  /* "avx512" */
    const char *says_f32, *says_bf16;  /* "f32, avx512" */
    int rows, cols;                    /* of a tile: threads share a product between tiles */
    void (*f32)(const rd_product *p);  /* float32 factors as they are */
    void (*bf16)(const rd_product *p); /* float32 factors rounded to bfloat16; sums in float32 */
    /* All of op(A), m x k, as f32 or bf16 (half) read it.  pack_size: floats, and *width. */
    int64_t (*pack_size)(int64_t m, int64_t k, bool half, int64_t *width);
    void (*pack)(const rd_factor *A, int64_t m, int64_t k, bool half, float *to);
} rd_tiles;

extern const rd_tiles rd_tiles_base; /* what the whole build is compiled for */
#ifdef RD_TILES_X86
extern const rd_tiles rd_tiles_v3;   /* AVX2 and FMA */
extern const rd_tiles rd_tiles_v4;   /* AVX-512 */
extern const rd_tiles rd_tiles_bf16; /* AVX-512 with bfloat16; its f32 is v4's */
extern const rd_tiles rd_tiles_amx;  /* AMX with bfloat16, likewise */
#endif

/* Those that this processor can run, best first.  Returns their number. */
enum { RD_TILES_MAX = 5 };
int rd_tiles_list(const rd_tiles *list[RD_TILES_MAX]);
/* The first of rank 0's list that stands in the list of every rank.  Collective on c. */
const rd_tiles *rd_tiles_common(const rd_comm *c, const rd_tiles *const *list, int n);

/* By the best kernels, shared by threads.  half: factors are rounded to bfloat16. */
void rd_tiles_f32(const rd_product *p);
void rd_tiles_half(const rd_product *p);
/* Y = alpha W^T X + beta Y; X: k x n, Y: m x n of W^T's m x k. */
void rd_packed_product(const rd_packed *W, int64_t n, float alpha, const float *X, int64_t ldx,
                       float beta, float *Y, int64_t ldy);

#endif
