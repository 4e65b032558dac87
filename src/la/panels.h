/* panels.h: private to la: products on a grid by our own panels, beside PBLAS. */
#ifndef RD_LA_PANELS_H
#define RD_LA_PANELS_H

#include "rd/la.h"

/* Room for panels.  Local. */
void rd_panels_create(rd_grid *g);
void rd_panels_free(rd_grid *g);

/* Can this product be done in panels, and is that the cheaper way?  The same answer on all ranks.
 */
bool rd_panels_fit(char ta, char tb, const rd_mat *A, const rd_mat *B, const rd_mat *C);
/* C = alpha op(A) op(B) + beta C, after rd_panels_fit.  Collective on the replica.  half: factors
 * are rounded to bfloat16. */
void rd_panels_gemm(bool half, char ta, char tb, float alpha, const rd_mat *A, const rd_mat *B,
                    float beta, rd_mat *C);
/* dX = W dY + beta dX and dW += X dY^T, where dY is gathered once, in the grid's arithmetic. */
bool rd_panels_fit_pair(const rd_mat *W, const rd_mat *dY, const rd_mat *dX, const rd_mat *X,
                        const rd_mat *dW);
void rd_panels_pair(const rd_mat *W, const rd_mat *dY, float beta, rd_mat *dX, const rd_mat *X,
                    rd_mat *dW);

#endif
