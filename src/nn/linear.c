/* linear.c: the linear layer Y = W^T X and its two gradients, products on the grid. */
#include "ops.h"

int rd_linear_fwd(const rd_mat *W, const rd_mat *X, rd_mat *Y)
{
    return rd_gemm_mixed('T', 'N', 1, W, X, 0, Y);
}

int rd_linear_fwd_add(const rd_mat *W, const rd_mat *X, rd_mat *Y)
{
    return rd_gemm_mixed('T', 'N', 1, W, X, 1, Y);
}

int rd_linear_bwd_input(const rd_mat *W, const rd_mat *dY, rd_mat *dX)
{
    return rd_gemm_mixed('N', 'N', 1, W, dY, 0, dX);
}

int rd_linear_bwd_weight(const rd_mat *X, const rd_mat *dY, rd_mat *dW)
{
    return rd_gemm_mixed('N', 'T', 1, X, dY, 1, dW);
}

int rd_linears_fwd(int n, const rd_mat *W, const rd_mat *X, rd_mat *Y)
{
    int rc = RD_OK;
    for (int i = 0; i < n; i++) RD_TRY(rd_linear_fwd(&W[i], X, &Y[i]));
done:
    return rc;
}

int rd_linears_bwd_input(int n, const rd_mat *W, const rd_mat *dY, rd_mat *dX)
{
    int rc = RD_OK;
    for (int i = 0; i < n; i++) RD_TRY(rd_gemm_mixed('N', 'N', 1, &W[i], &dY[i], i > 0, dX));
done:
    return rc;
}

int rd_linears_bwd(int n, const rd_mat *W, const rd_mat *X, const rd_mat *dY, rd_mat *dX,
                   rd_mat *dW)
{
    int rc = RD_OK;
    for (int i = 0; i < n; i++) RD_TRY(rd_gemm_pair(&W[i], &dY[i], i > 0, dX, X, &dW[i]));
done:
    return rc;
}
