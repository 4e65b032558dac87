/* ops.h: private to nn: the operations a layer is made of, each forward with its backward, and the
 * dealing of features and tokens over the grid.
 *
 * Shapes are said column-major, as everywhere: x: D x T is T columns (tokens) of D contiguous
 * floats.  Everything here is Local unless said otherwise and allocates nothing but in _create.
 * Backward functions accumulate (+=) into parameter gradients and where said so, and overwrite
 * otherwise. */
#ifndef RD_NN_OPS_H
#define RD_NN_OPS_H

#include "rd/nn.h"

/* ---------------------------------------------------------------- element-wise (ops.c) */

/* y = x * inv * w, inv[t] = 1 / sqrt(mean(x_t^2) + eps).  x, y: D x T, w: D, inv: T. */
void rd_rmsnorm_fwd(int64_t D, int64_t T, const float *x, const float *w, double eps, float *y,
                    float *inv);
/* dx += (w dy - x inv^2 <w dy, x> / D) inv,  dw += sum_t dy x inv.  dw NULL: w is frozen. */
void rd_rmsnorm_bwd(int64_t D, int64_t T, const float *x, const float *w, const float *inv,
                    const float *dy, float *dx, float *dw);
/* Of these dw alone. */
void rd_rmsnorm_bwd_weight(int64_t D, int64_t T, const float *x, const float *inv, const float *dy,
                           float *dw);

/* Rotary embedding in place: in each of `heads` heads of `size` floats at the start of a column,
 * the pair (i, i + size/2) turns by position * theta^(-2i/size) / rd_rope_divisor(i).  x: ld x T.
 * sign = +1 forward, -1 backward (the transposed rotation).  table: [positions][size] cosines then
 * sines of each. */
void rd_rope_table(const rd_model_config *c, int64_t positions, float *table);
void rd_rope(int64_t heads, int64_t size, int64_t T, const int32_t *position, const float *table,
             float sign, float *x, int64_t ld);

/* y_t += sign b;  db += sum_t dy_t.  y, dy: n x T.  b NULL: there is none; db NULL: it is frozen.
 */
void rd_bias_add(int64_t n, int64_t T, float sign, const float *b, float *y);
void rd_bias_bwd(int64_t n, int64_t T, const float *dy, float *db);

/* h = silu(gate) * up.  gu: 2F x T (gate rows first), h: F x T. */
void rd_swiglu_fwd(int64_t F, int64_t T, const float *gu, float *h);
/* From dh: dgu (overwritten), and h once more for the gradient of the product that follows. */
void rd_swiglu_bwd(int64_t F, int64_t T, const float *gu, const float *dh, float *dgu, float *h);

/* y += x and y = x, n floats. */
void rd_add(int64_t n, const float *x, float *y);
void rd_copy(int64_t n, const float *x, float *y);

float rd_max_f32(int64_t n, const float *x); /* n >= 1 */
/* y = exp(scale x - shift), sum in float64.  y may be x.  exp to about 1 ulp; arguments below -87
 * give 0. */
double rd_exp_sum(int64_t n, const float *x, float scale, float shift, float *y);

/* Log-probabilities from n columns of logits z: V x n, logp[i] = log softmax(z_i)[target_i].  With
 * coef != NULL the columns become dL/dz_i = coef_i (onehot(target_i) - softmax(z_i)), without it
 * they are lost. */
void rd_softmax_columns(int64_t V, int64_t n, const int32_t *target, const float *coef, float *z,
                        double *logp);

/* Embedding: x_t = E[:, token_t];  dE[:, token_t] += dx_t.  E: D x V, x: D x T. */
void rd_embed_fwd(int64_t D, int64_t T, const int32_t *tokens, const float *E, float *x);
void rd_embed_bwd(int64_t D, int64_t T, const int32_t *tokens, const float *dx, float *dE);

double rd_dot(int64_t n, const float *a, const float *b); /* in float64 */

/* ---------------------------------------------------------------- features (split.c) */

/* Kinds of features: the model's width, queries, keys (and values), ffn, vocabulary, an adapter's
 * rank (0 of them without one). */
typedef enum { RD_WIDTH, RD_QUERY, RD_KEY, RD_FFN, RD_VOCAB, RD_RANK, RD_FEATURES } rd_feature;

/* Per kind: the block size, all of them, and how many this rank's grid row holds. */
typedef struct rd_split {
    int64_t block[RD_FEATURES], size[RD_FEATURES], local[RD_FEATURES];
    int64_t heads, kv_heads; /* on this grid row */
    int64_t qkv;             /* a local column of queries, keys and values */
} rd_split;
void rd_split_make(const rd_grid *g, const rd_model_config *c, rd_split *s);
void rd_split_rank(const rd_grid *g, int64_t rank, rd_split *s);

/* Activations as matrices: features of one kind x (width tokens on each grid column), local columns
 * without gaps.  qkv and gate_up lie in one local column (queries, keys, values; gate, up) and are
 * model->layers->n_qkv and n_gate_up matrices: 1 x 1 takes them as one. */
int rd_view(const rd_model *model, rd_feature f, float *a, int64_t width, rd_mat *view);
int rd_view_qkv(const rd_model *model, float *a, int64_t width, rd_mat *view);
int rd_view_gate_up(const rd_model *model, float *a, int64_t width, rd_mat *view);
/* The outputs of one target alone in such columns, whether or not they are taken as one. */
int rd_view_target(const rd_model *model, rd_target t, float *a, int64_t width, rd_mat *view);

/* ---------------------------------------------------------------- tokens (deal.c) */

typedef struct rd_deal_entry {
    int64_t length, index;
    int column;
} rd_deal_entry;

/* Some tokens of a grid column: how many, and the number on the fullest grid column, which is that
 * of the local columns of an activation.  What is beyond one's own is padding. */
typedef struct rd_tokens {
    int64_t n, width;
} rd_tokens;
/* Zero the padding of x: ld x width.  Needed wherever x meets another matrix over tokens. */
void rd_pad(rd_tokens t, int64_t ld, float *x);

/* Which tokens of a call lie on which grid column.  On one column: all, in their order. */
typedef struct rd_deal {
    int cols, my_col;
    int64_t max_T;
    int64_t T;         /* tokens of the call */
    int64_t n;         /* of them on my grid column */
    int64_t width;     /* on the fullest */
    int64_t *first;    /* [cols + 1] into order */
    int64_t *order;    /* [T] the call's tokens, grid column by grid column */
    int64_t n_seq;     /* sequences on my grid column, none of them empty */
    int64_t *start;    /* [n_seq + 1] their first local tokens */
    int32_t *position; /* [n] of a local token in its sequence */
    int *column;       /* [T] grid column of the sequence that starts at a token */
    rd_deal_entry *longest;
} rd_deal;
void rd_deal_create(const rd_grid *g, int64_t max_T, rd_deal *d);
void rd_deal_free(rd_deal *d);
/* Deal sequences [start[s], start[s+1]) evenly; or as d->column already says. */
void rd_deal_even(rd_deal *d, int64_t n_seq, const int64_t *start);
void rd_deal_fill(rd_deal *d, int64_t n_seq, const int64_t *start);
static inline rd_tokens rd_dealt(const rd_deal *d)
{
    return (rd_tokens){d->n, d->width};
}

/* ---------------------------------------------------------------- across the grid (gridops.c) */

/* Weights of all norms, and biases, on every grid column.  Collective on over_cols.  Norms count
 * from 0: two per layer, the final one last.  vectors, dvectors: [rd_vectors_size], 0 when there is
 * one grid column and the model's own are used. */
int64_t rd_vectors_size(const rd_model *model);
void rd_vectors_fetch(const rd_model *model, float *vectors);
/* Add gradient i, complete on all grid columns, to the model's; with that of a layer's first norm
 * those of its biases. */
void rd_vectors_return(rd_model *model, float *dvectors, int64_t i);
const float *rd_norm_weight(const rd_model *model, const float *vectors, int64_t i);
float *rd_norm_gradient(const rd_model *model, float *dvectors, int64_t i); /* NULL: frozen */
/* Biases of a layer's queries, keys and values, as they lie in a local column; NULL: none. */
const float *rd_bias(const rd_model *model, const float *vectors, int64_t layer);
float *rd_bias_gradient(const rd_model *model, float *dvectors, int64_t layer); /* NULL: frozen */

/* RMSNorm of T local tokens.  Collective on over_rows.  sum: [T] scratch. */
void rd_norm_fwd(const rd_model *model, int64_t T, const float *x, const float *w, float *y,
                 float *inv, double *sum);
void rd_norm_bwd(const rd_model *model, int64_t T, const float *x, const float *w, const float *inv,
                 const float *dy, float *dx, float *dw, double *sum);

/* Embedding look-up for tokens dealt by d, and its gradient.  Collective on over_cols. */
enum { RD_LOOKUP_CHUNK = 256 };
typedef struct rd_lookup {
    float *words, *tokens;       /* [rd_lookup_words], [rd_lookup_tokens] */
    int64_t *words_n, *tokens_n; /* [cols] */
} rd_lookup;
int64_t rd_lookup_words(const rd_model *model); /* floats; 0 when there is one grid column */
int64_t rd_lookup_tokens(const rd_model *model);
void rd_lookup_create(const rd_model *model, rd_lookup *u);
void rd_lookup_free(rd_lookup *u);
void rd_lookup_fwd(const rd_mat *E, const rd_deal *d, const int32_t *tokens, rd_lookup *u,
                   float *x);
void rd_lookup_bwd(rd_mat *dE, const rd_deal *d, const int32_t *tokens, rd_lookup *u,
                   const float *dx);

/* ---------------------------------------------------------------- linear (linear.c) */

/* Y = W^T X;  dX = W dY (overwritten);  dW += X dY^T.  W: in x out, X: in x T, Y: out x T.
 * Collective on the replica; 2 in out T flops each. */
int rd_linear_fwd(const rd_mat *W, const rd_mat *X, rd_mat *Y);
int rd_linear_fwd_add(const rd_mat *W, const rd_mat *X, rd_mat *Y); /* Y += W^T X */
int rd_linear_bwd_input(const rd_mat *W, const rd_mat *dY, rd_mat *dX);
int rd_linear_bwd_weight(const rd_mat *X, const rd_mat *dY, rd_mat *dW);
/* The same for n layers with one input: n of W, Y, dY, dW. */
int rd_linears_fwd(int n, const rd_mat *W, const rd_mat *X, rd_mat *Y);
int rd_linears_bwd_input(int n, const rd_mat *W, const rd_mat *dY, rd_mat *dX);
/* bwd_input and, for each, bwd_weight: together there is less to send. */
int rd_linears_bwd(int n, const rd_mat *W, const rd_mat *X, const rd_mat *dY, rd_mat *dX,
                   rd_mat *dW);

/* ---------------------------------------------------------------- attention (attention.c) */

/* The shape of one layer's attention: heads query heads share kv_heads key-value heads; a column of
 * qkv holds the queries, then the keys, then the values. */
typedef struct rd_attention {
    int64_t heads, kv_heads, size;
    int64_t ld_qkv; /* (heads + 2 kv_heads) * size */
    int64_t ld_out; /* heads * size */
    int64_t max_len;
    int threads;    /* that there is scratch for */
    float *scratch; /* [rd_attention_scratch] */
    float *partial; /* [T][rd_attention_partial] gradients of keys and values, by query heads */
} rd_attention;
int64_t rd_attention_scratch(int64_t size, int threads);
int64_t rd_attention_partial(int64_t heads, int64_t size);

/* Causal attention inside each sequence [start[s], start[s+1]).  qkv after RoPE: ld_qkv x T,
 * out: ld_out x T, lse: heads x T, log-sum-exp of the scaled scores. */
void rd_attention_fwd(const rd_attention *a, int64_t n_seq, const int64_t *start, const float *qkv,
                      float *out, float *lse);
/* dqkv (overwritten) from dout; probabilities are recomputed from lse. */
void rd_attention_bwd(const rd_attention *a, int64_t n_seq, const int64_t *start, const float *qkv,
                      const float *out, const float *lse, const float *dout, float *dqkv);

/* ---------------------------------------------------------------- parameters (weights.c) */

/* Walks parameters in order, handing out storage; with params == NULL it only counts. */
typedef struct rd_layout {
    rd_params *params;
    const rd_grid *grid;
    int64_t next; /* floats handed out */
    int64_t n;    /* parameters so far */
} rd_layout;
/* One parameter of m x n in blocks of mb x nb.  fused: follows its predecessor without a gap. */
rd_param *rd_layout_place(rd_layout *l, const char *name, int64_t m, int64_t n, int64_t mb,
                          int64_t nb, bool fused);
void rd_layout_end(rd_layout *l);
/* Allocate what a counting walk found. */
void rd_params_create(const rd_layout *count, bool with_grads, rd_params *p);
void rd_params_free(rd_params *p);
const char *rd_target_name(rd_target t); /* "self_attn.q_proj" */
/* A parameter's rank (1 or 2) and Hugging Face shape, and the part of it that this rank holds,
 * whose local storage is dense and in the slab's order; mine = false: it takes no part. */
int rd_param_slab(const rd_grid *g, const rd_param *p, bool mine, int64_t dims[2], rd_slab slab[2]);

/* ---------------------------------------------------------------- the model's private parts */

enum { RD_PARTS = 3 };

/* The matrices of one layer's products.  On 1 x 1 q, k, v are one, and so are gate and up; blocks
 * of a larger grid would not be aligned that way. */
typedef struct rd_layer {
    rd_mat qkv[RD_PARTS], o, gate_up[RD_PARTS], down; /* D x HS, D x KS; HS x D; D x F; F x D */
    rd_mat dqkv[RD_PARTS], d_o, dgate_up[RD_PARTS], ddown;
} rd_layer;

struct rd_model_layers {
    rd_split split;
    int n_qkv, n_gate_up; /* 1 and 1, or 3 and 2 */
    rd_layer *layer;
    rd_mat embed, dembed;  /* D x V */
    rd_mat head, dhead;    /* D x V; the embedding's when tied */
    float **norm, **dnorm; /* [2 layers + 1] the model's own, on the first grid column */
    float **bias, **dbias; /* [layers] likewise, of q, k and v together; NULL: none */
    rd_packed **packed;    /* [4 layers + 1] after rd_model_pack: of qkv, o, gate_up, down of each
                              layer, then the head */
    int64_t *begin;        /* [2 layers + 1] where in the trained storage the part of each norm
                              begins: the norm and the matrices up to the next, or their adapters */
};

/* What one layer's forward leaves for its backward.  D, H, … are this grid row's, T is one grid
 * column's. */
typedef struct rd_activation {
    float *x;               /* D x T   residual stream on entry */
    float *n1;              /* D x T   normed */
    float *inv1;            /* T */
    float *qkv;             /* (H+2K)S x T, after RoPE */
    float *lse;             /* H x T */
    float *att;             /* HS x T  attention output */
    float *mid;             /* D x T   residual stream after attention */
    float *n2;              /* D x T */
    float *inv2;            /* T */
    float *gu;              /* 2F x T */
    float *u[RD_TARGETS];   /* r x T   A^T drop(X) of a target's adapter; NULL: none */
    float *out[RD_TARGETS]; /* D x T   DoRA's output of o and down before the residual */
} rd_activation;

/* Hands out pieces of a step's memory; with base == NULL it only counts (transformer.c). */
typedef struct rd_arena {
    float *base;
    int64_t used;
} rd_arena;
float *rd_arena_take(rd_arena *a, int64_t n);

/* ---------------------------------------------------------------- adapters (adapter.c) */

/* One target of one layer. */
typedef struct rd_adapted {
    char base[80]; /* the base's parameter */
    rd_mat w, a, b, da, db;
    rd_mat m, dm;               /* DoRA: out x 1, on the first grid column alone, like a norm */
    int64_t first, first_local; /* of its outputs among all that are adapted, and among this grid
                                   row's */
} rd_adapted;

struct rd_adapter {
    rd_adapter_opts o;
    double scale;
    bool ready;   /* has values, and the base is what they go with */
    uint64_t key; /* of the masks; 0: no dropout */
    int64_t outputs, local_outputs;
    double *norm2;    /* [outputs] DoRA: squared norms of the base's columns */
    rd_adapted *item; /* [layers][RD_TARGETS] */
};

typedef struct rd_adapter_work {
    float *du;             /* r x T */
    float *input;          /* in x T: the input after dropout, or the gradient before it */
    float *scaled;         /* D x T: DoRA, g o dY where dY itself is still needed */
    float *gain;           /* [local_outputs] g */
    float *magnitude;      /* [local_outputs] m on every grid column */
    float *product, *gram; /* r x out, r x r */
    double *norm2;         /* [outputs] what s A B adds to the base's */
    double *dmagnitude;    /* [local_outputs], of one target */
} rd_adapter_work;

/* Their part of a step's memory: pieces of the arena; what is float64. */
void rd_adapter_carve(const rd_model *model, rd_work *w, rd_arena *a);
void rd_adapter_work_create(const rd_model *model, rd_adapter_work *w);
void rd_adapter_work_free(rd_adapter_work *w);

/* Is this target adapted?  NULL: no. */
rd_adapted *rd_adapted_at(const rd_model *model, int64_t layer, rd_target t);
bool rd_adapter_scales(const rd_model *model); /* DoRA; false without an adapter */
bool rd_adapter_takes(const rd_model *model);  /* PiSSA, OLoRA: part of the base moves into it */

/* Forward: before the first layer; then n targets from t on with the same input X: what lies in
 * y (columns as rd_view_target takes them) becomes Y.  Collective on the replica. */
int rd_adapter_begin(const rd_model *model, rd_work *w);
int rd_adapter_fwd(const rd_model *model, rd_work *w, int64_t layer, rd_target t, int n, float *x,
                   float *y);
/* Backward.  First dY -> g o dY, where dY is to be replaced by *scaled (which is dY itself but
 * for DoRA's o and down); y: what forward made.  Then dX += (dX may be NULL) and, when X is there,
 * the gradients of A and B.  All for n targets from t on; gradient follows input of the same one.
 * Collective on the replica. */
int rd_adapter_bwd_gain(const rd_model *model, rd_work *w, int64_t layer, rd_target t, int n,
                        float *y, float *dy, float **scaled);
int rd_adapter_bwd_input(const rd_model *model, rd_work *w, int64_t layer, rd_target t, float *dy,
                         float *dx);
int rd_adapter_bwd_weight(const rd_model *model, rd_work *w, int64_t layer, rd_target t, float *x);

struct rd_work {
    int64_t max_T, max_len, chunk; /* chunk: tokens per piece of the head, on each grid column */
    int64_t local_T;               /* the most one grid column can get */
    bool recompute;                /* layers share all of act but x */
    rd_deal deal;                  /* of the batch at hand */
    rd_tokens asked;               /* of them with a target: rd_tokens_at */
    int64_t *with_target;          /* [max_T] these, grid column by grid column, as places in */
    int64_t *target_first;         /* deal.order; [cols + 1] where each column's begin */
    float *arena;                  /* the pieces below lie in it, up to norms */
    rd_activation *act;            /* [layers] */
    float *x_last;                 /* D x asked  residual stream after the last layer */
    float *h, *inv;                /* D x asked, asked  final norm */
    float *dh;                     /* D x asked  gradient of the final norm's output */
    float *ffn, *dffn;             /* F x T  scratch */
    float *datt;                   /* HS x T  scratch */
    float *dgu, *dqkv;             /* 2F x T, (H+2K)S x T  scratch */
    float *dx, *dn;                /* D x T  gradient of the residual stream, of a norm's output */
    float *logits, *partial; /* V x chunk; larger grids: lV x (chunk cols), partial when rows > 1 */
    float *gathered, *dgathered, *dreturned; /* D x (chunk cols), on larger grids */
    float *rope;                             /* [max_len][S] */
    float *vectors, *dvectors;               /* [rd_vectors_size] */
    rd_lookup lookup;
    rd_adapter_work adapter;
    rd_gradients_ready *ready; /* NULL: nobody wants to know */
    void *ready_ctx;
    int64_t ready_from;            /* in this pass, the trained storage is final from here on */
    int64_t *count_out, *count_in; /* [rows or cols] floats to and from the others */
    double *sum;                   /* [local_T] */
    int64_t *token;                /* [chunk cols] */
    double *stat;                  /* [3 chunk cols] */
    int32_t *chunk_target;         /* [chunk] on 1 x 1: of a chunk's tokens */
    float *chunk_coef;             /* [chunk] likewise */
    rd_attention attention;
};

/* The tokens that go through a target's matrix: in the last layer, from o on, only those whose
 * prediction is asked for. */
rd_tokens rd_tokens_at(const rd_model *model, const rd_work *w, int64_t layer, rd_target t);
static inline bool rd_only_asked(const rd_model *model, int64_t layer, rd_target t)
{
    return layer == model->cfg.layers - 1 && t >= RD_O;
}
/* The place of an asked one among my grid column's tokens. */
static inline int64_t rd_asked_place(const rd_work *w, int64_t i)
{
    const rd_deal *d = &w->deal;
    return w->with_target[w->target_first[d->my_col] + i] - d->first[d->my_col];
}

#endif
