/* ops.h: private to nn: the operations a layer is made of, each forward with its backward.
 *
 * Shapes are said column-major, as everywhere: x: D x T is T columns (tokens) of D contiguous
 * floats.  Everything here is Local and allocates nothing.  Backward functions accumulate (+=) into
 * parameter gradients and where said so, and overwrite otherwise. */
#ifndef RD_NN_OPS_H
#define RD_NN_OPS_H

#include "rd/nn.h"

/* ---------------------------------------------------------------- element-wise (ops.c) */

/* y = x * inv * w, inv[t] = 1 / sqrt(mean(x_t^2) + eps).  x, y: D x T, w: D, inv: T. */
void rd_rmsnorm_fwd(int64_t D, int64_t T, const float *x, const float *w, double eps, float *y,
                    float *inv);
/* dx += (w dy - x inv^2 <w dy, x> / D) inv,  dw += sum_t dy x inv. */
void rd_rmsnorm_bwd(int64_t D, int64_t T, const float *x, const float *w, const float *inv,
                    const float *dy, float *dx, float *dw);

/* Rotary embedding in place: in each of `heads` heads of `size` floats at the start of a column,
 * the pair (i, i + size/2) turns by position * theta^(-2i/size).  x: ld x T.  sign = +1 forward, -1
 * backward (the transposed rotation).  table: [positions][size] cosines then sines of each. */
void rd_rope_table(int64_t size, int64_t positions, double theta, float *table);
void rd_rope(int64_t heads, int64_t size, int64_t T, const int32_t *position, const float *table,
             float sign, float *x, int64_t ld);

/* h = silu(gate) * up.  gu: 2F x T (gate rows first), h: F x T. */
void rd_swiglu_fwd(int64_t F, int64_t T, const float *gu, float *h);
/* From dh: dgu (overwritten), and h once more for the gradient of the product that follows. */
void rd_swiglu_bwd(int64_t F, int64_t T, const float *gu, const float *dh, float *dgu, float *h);

/* y += x, n floats. */
void rd_add(int64_t n, const float *x, float *y);

float rd_max_f32(int64_t n, const float *x); /* n >= 1 */
/* y = exp(scale x - shift), sum in float64.  y may be x.  exp to about 1 ulp; arguments below -87
 * give 0. */
double rd_exp_sum(int64_t n, const float *x, float scale, float shift, float *y);

/* Embedding: x_t = E[:, token_t];  dE[:, token_t] += dx_t.  E: D x V, x: D x T. */
void rd_embed_fwd(int64_t D, int64_t T, const int32_t *tokens, const float *E, float *x);
void rd_embed_bwd(int64_t D, int64_t T, const int32_t *tokens, const float *dx, float *dE);

/* ---------------------------------------------------------------- linear (linear.c) */

/* Y = W^T X;  dX = W dY (overwritten);  dW += X dY^T.  W: in x out, X: in x T, Y: out x T.
 * Collective on the replica; 2 in out T flops each. */
int rd_linear_fwd(const rd_mat *W, const rd_mat *X, rd_mat *Y);
int rd_linear_fwd_add(const rd_mat *W, const rd_mat *X, rd_mat *Y); /* Y += W^T X */
int rd_linear_bwd_input(const rd_mat *W, const rd_mat *dY, rd_mat *dX);
int rd_linear_bwd_weight(const rd_mat *X, const rd_mat *dY, rd_mat *dW);

/* ---------------------------------------------------------------- attention (attention.c) */

/* The shape of one layer's attention: heads query heads share kv_heads key-value heads; a column of
 * qkv holds the queries, then the keys, then the values. */
typedef struct rd_attention {
    int64_t heads, kv_heads, size;
    int64_t ld_qkv; /* (heads + 2 kv_heads) * size */
    int64_t ld_out; /* heads * size */
    int64_t max_len;
    float *scratch; /* rd_attention_scratch floats */
} rd_attention;
int64_t rd_attention_scratch(int64_t size, int64_t max_len);

/* Causal attention inside each sequence [start[s], start[s+1]).  qkv after RoPE: ld_qkv x T,
 * out: ld_out x T, lse: heads x T, log-sum-exp of the scaled scores. */
void rd_attention_fwd(const rd_attention *a, int64_t n_seq, const int64_t *start, const float *qkv,
                      float *out, float *lse);
/* dqkv (overwritten) from dout; probabilities are recomputed from lse. */
void rd_attention_bwd(const rd_attention *a, int64_t n_seq, const int64_t *start, const float *qkv,
                      const float *out, const float *lse, const float *dout, float *dqkv);

/* ---------------------------------------------------------------- the model's private parts */

/* Fused views of one layer: q, k, v are one product, gate and up another. */
typedef struct rd_layer {
    float *norm1, *norm2, *dnorm1, *dnorm2; /* D */
    rd_mat qkv, o, gate_up, down;           /* D x (H+2K)S, HS x D, D x 2F, F x D */
    rd_mat dqkv, d_o, dgate_up, ddown;
} rd_layer;

struct rd_model_layers {
    rd_layer *layer;
    rd_mat embed, dembed; /* D x V */
    rd_mat head, dhead;   /* D x V; the embedding's when tied */
    float *norm, *dnorm;  /* D */
};

/* What one layer's forward leaves for its backward. */
typedef struct rd_activation {
    float *x;    /* D x T   residual stream on entry */
    float *n1;   /* D x T   normed */
    float *inv1; /* T */
    float *qkv;  /* (H+2K)S x T, after RoPE */
    float *lse;  /* H x T */
    float *att;  /* HS x T  attention output */
    float *mid;  /* D x T   residual stream after attention */
    float *n2;   /* D x T */
    float *inv2; /* T */
    float *gu;   /* 2F x T */
} rd_activation;

struct rd_work {
    int64_t max_T, max_len, chunk; /* chunk: tokens per piece of the head */
    float *arena;                  /* everything below lies in it */
    rd_activation *act;            /* [layers] */
    float *x_last;                 /* D x T  residual stream after the last layer */
    float *h, *inv;                /* D x T, T  final norm */
    float *dh;                     /* D x T  gradient of the final norm's output */
    float *ffn, *dffn;             /* F x T  scratch */
    float *datt;                   /* HS x T  scratch */
    float *dgu, *dqkv;             /* 2F x T, (H+2K)S x T  scratch */
    float *dx, *dn;                /* D x T  gradient of the residual stream, of a norm's output */
    float *logits;                 /* V x chunk */
    float *gathered, *dgathered;   /* D x chunk */
    float *rope;                   /* [max_len][S] */
    int32_t *position;             /* [T] */
    int64_t *with_target;          /* [T] tokens of the batch that have one */
    rd_attention attention;
};

#endif
