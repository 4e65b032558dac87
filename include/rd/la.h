/* la: distributed matrices and their products.  The one door to BLAS, PBLAS, BLACS, ScaLAPACK.
 *
 * Column-major, said once: a Hugging Face weight [out, in] (row-major) is, byte for byte, the
 * column-major in x out matrix; activations [T, D] are column-major D x T.  Stored that way a
 * linear layer is Y = W^T X, one product of type ('T','N', out, T, in); nothing is transposed on
 * load.  1-based indices, leading dimensions and descriptors never leave this layer.
 *
 * On a 1 x 1 grid every product is a direct call of the local kernel. */
#ifndef RD_LA_H
#define RD_LA_H

#include "rd/par.h"

/* BLACS context for g's replica (kept in g; none on 1 x 1) and the threads of this rank
 * (rd_threads_set) and of the library under PBLAS.  Collective on g->tp. */
int rd_la_attach(rd_grid *g, int threads);
void rd_la_detach(rd_grid *g);
/* From now on products by our own panels where they fit (as after attach), or all through PBLAS
 * (psgemm).  Local, to be called on every rank of the replica. */
void rd_la_use_panels(rd_grid *g, bool on);
/* Mixed products (rd_gemm_mixed and those that say so) from now on with factors rounded to bfloat16
 * and sums in float32, or all in float32 (at first).  Local, the same on every rank. */
void rd_la_use_bf16(rd_grid *g, bool on);
/* Which kernels compute local products from now on: "amx", "avx512_bf16", "avx512", "avx2", "base"
 * (what the build was compiled for), or "auto", the best that the processors of all ranks have.
 * Until this is called each rank takes its own best.  Collective on world; RD_EINPUT: the processor
 * of some rank has not those named. */
int rd_la_use_kernels(const rd_comm *world, const char *name);
/* What computes mixed products: "bf16, avx512_bf16". */
const char *rd_la_kernels(const rd_grid *g);
const char *rd_la_describe(void); /* "OpenBLAS 0.3.21 ... Cooperlake ...", as the library says */

/* A block-cyclic m x n matrix of float32, column-major, first block on process (0, 0): rows in
 * blocks of mb over grid rows, columns in blocks of nb over grid columns. */
typedef struct rd_mat {
    const rd_grid *grid;
    int64_t m, n;   /* global */
    int64_t mb, nb; /* block sizes */
    int64_t lm, ln; /* local part: lm x ln, leading dimension ld >= max(1, lm) */
    int64_t ld;
    float *a;                       /* local data */
    bool owned;                     /* false for a view */
    const struct rd_packed *packed; /* what rd_mat_pack made of it, in whose place a may be NULL */
} rd_mat;

/* Zeroed.  Local (the shape must be equal on all ranks of the replica).  mb, nb = 0: a default. */
int rd_mat_create(const rd_grid *g, int64_t m, int64_t n, int64_t mb, int64_t nb, rd_mat *A);
void rd_mat_free(rd_mat *A); /* views release nothing */
/* Columns [j, j+n) of A as a matrix that borrows A's memory.  On more than one grid column j and n
 * must be multiples of nb * cols. */
int rd_mat_view_cols(const rd_mat *A, int64_t j, int64_t n, rd_mat *view);
/* A view of memory laid out as A's local part would be (1 x 1: any column-major array). */
int rd_mat_view_of(const rd_grid *g, float *a, int64_t m, int64_t n, int64_t ld, rd_mat *view);
/* The same with blocks of mb x nb (0: the default). */
int rd_mat_view_blocks(const rd_grid *g, float *a, int64_t m, int64_t n, int64_t mb, int64_t nb,
                       int64_t ld, rd_mat *view);
/* Of n indices in blocks of nb dealt in turn to np processes: how many process p holds; and of one
 * index its owner and its place there. */
int64_t rd_dealt_count(int64_t n, int64_t nb, int p, int np);
int rd_dealt_owner(int64_t i, int64_t nb, int np);
int64_t rd_dealt_place(int64_t i, int64_t nb, int np);
int64_t rd_mat_global_row(const rd_mat *A, int64_t li); /* global index of a local row / column */
int64_t rd_mat_global_col(const rd_mat *A, int64_t lj);
int64_t rd_mat_local_row(const rd_mat *A, int64_t i); /* of a global one; -1: another rank has it */

/* C = alpha op(A) op(B) + beta C;  ta, tb: 'N' or 'T'.
 * Collective on the replica.  Shapes are checked (RD_EINTERNAL).  2 m n k flops / ranks.
 * Words sent by a rank of an R x C grid when blocks are aligned: m k and k n, m k and m n, or k n
 * and m n (for N N, T N, N T), the first times (C - 1) / (R C), the second times (R - 1) / (R C);
 * for N T the other way round. */
int rd_gemm(char ta, char tb, float alpha, const rd_mat *A, const rd_mat *B, float beta, rd_mat *C);
/* The same in the arithmetic of C's grid (rd_la_use_bf16): for a model's passes, in training and in
 * inference.  Where PBLAS computes it is float32 in any case. */
int rd_gemm_mixed(char ta, char tb, float alpha, const rd_mat *A, const rd_mat *B, float beta,
                  rd_mat *C);
/* dX = W dY + beta dX and dW += X dY^T, mixed: what a linear layer does on the way back.  On larger
 * grids than 1 x 1 dY is gathered once for both.  Collective on the replica. */
int rd_gemm_pair(const rd_mat *W, const rd_mat *dY, float beta, rd_mat *dX, const rd_mat *X,
                 rd_mat *dW);

/* W, of a 1 x 1 grid, as the kernels read it in W^T X, in the arithmetic that its grid has now:
 * half the bytes in bfloat16.  With W.packed set to it rd_gemm and rd_gemm_mixed compute W^T X from
 * that, with the same bits as rd_gemm_mixed without; other products need W.a.  Decoding a few
 * tokens, which takes as long as its weights are read, is what this is for.  Local.  Free it after
 * the last use. */
typedef struct rd_packed rd_packed;
int rd_mat_pack(const rd_mat *W, rd_packed **packed);
void rd_packed_free(rd_packed **packed);

/* The local kernel on plain column-major arrays.  Local.  An element of C depends on its row of
 * op(A), its column of op(B) and k alone, bit for bit: not on m, n, its place or rd_threads(),
 * which share the work unless this is called from a parallel region. */
void rd_gemm_local(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *A,
                   int64_t lda, const float *B, int64_t ldb, float beta, float *C, int64_t ldc);
/* The same with A and B rounded to bfloat16 (nearest, ties to even) and sums in float32.  Numbers
 * below 2^-126 may count as 0. */
void rd_gemm_bf16(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *A,
                  int64_t lda, const float *B, int64_t ldb, float beta, float *C, int64_t ldc);
/* One of the two, as g says. */
void rd_gemm_local_mixed(const rd_grid *g, char ta, char tb, int64_t m, int64_t n, int64_t k,
                         float alpha, const float *A, int64_t lda, const float *B, int64_t ldb,
                         float beta, float *C, int64_t ldc);
void rd_halves_from_f32(int64_t n, const float *x, uint16_t *y); /* that rounding */
void rd_halves_to_f32(int64_t n, const uint16_t *x, float *y);
/* Reference kernel in plain loops with float64 sums: what the fast one is tested against. */
void rd_gemm_reference(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha,
                       const float *A, int64_t lda, const float *B, int64_t ldb, float beta,
                       float *C, int64_t ldc);

/* Frobenius norm squared in float64.  Collective on the replica. */
int rd_mat_norm2(const rd_mat *A, double *norm2);

/* ---------------------------------------------------------------- factorisations (factor.c) */

/* Leading singular values and vectors, A ~ U diag(s) V^T: the best approximation of rank r.
 * Collective on A->grid's replica, of any extent, with or without a context (rd_la_attach).
 *   A  m x n, not modified   U  m x r   s  [r] on every rank, descending   V  n x r
 * In blocks of any size, created by the caller.  In float64 inside (ScaLAPACK's pdgesvd).  In each
 * column of U the largest entry is positive (of entries equal within 1e-6 the first), so that the
 * result is the same on all grids to float32 rounding, but for vectors of singular values that are
 * equal: those are only some basis of their space.
 * Errors: RD_EINTERNAL for shapes that do not fit, r < 1 or r > min(m, n); RD_ENUMERIC for values
 * that are not finite or when the iteration fails; RD_EINPUT when m n / ranks or (m + n) k / ranks
 * reaches 2^31, which ScaLAPACK's ints do not hold.
 * All k = min(m, n) are computed: about 22 m n k flops / ranks at m = n; per rank about
 * (8 m n + 20 (m + n) k) / ranks bytes for the time of the call. */
int rd_svd_leading(const rd_mat *A, int64_t r, rd_mat *U, double *s, rd_mat *V);
/* The first r columns of L and rows of Q of A = L Q: L lower triangular with a diagonal that is not
 * negative, Q with orthonormal rows.  Collective and errors as above.
 *   A  m x n, not modified   L  m x r   Q  r x n
 * Where the first r rows of A are linearly dependent Q is some completion.  In float64 inside
 * (pdgelqf, pdorglq).  4 n r^2 + 2 m n r flops / ranks; per rank 8 (m n + m r + n r) / ranks bytes,
 * and as much as A twice more while it is redistributed. */
int rd_lq_leading(const rd_mat *A, int64_t r, rd_mat *L, rd_mat *Q);

/* Measured local rate in flop/s at m = n = k = size with rd_threads() (best of repeats).  Local. */
double rd_gemm_rate(int64_t size, int repeats);
double rd_gemm_bf16_rate(int64_t size, int repeats);
double rd_gemm_library_rate(int64_t size, int repeats); /* of the linked BLAS, for comparison */

#endif
