/* nn: a Llama-architecture transformer (RMSNorm, RoPE, grouped-query attention, SwiGLU; where a
 * model has them scaled RoPE and biases of queries, keys and values), forward and backward by hand,
 * on rd_mat over a replica's grid, and the same with a key-value cache.
 *
 * Symbols: T tokens, D width, L layers, H heads, K key-value heads, S head size, F ffn, V
 * vocabulary. Activations are D x T (features over grid rows, tokens over grid columns). Collective
 * functions are collective on the replica (grid->tp). */
#ifndef RD_NN_H
#define RD_NN_H

#include "rd/io.h"
#include "rd/la.h"

/* Llama 3.1's stretched rotary embedding ("llama3" in transformers): frequencies whose wavelength
 * is longer than original_context / low_freq_factor are divided by factor, those of wavelengths
 * below original_context / high_freq_factor stay, and between them the change is gradual. */
typedef struct rd_rope_scaling {
    double factor; /* 0: none, and nothing else is looked at; otherwise >= 1 */
    double low_freq_factor, high_freq_factor; /* 0 < low < high */
    int64_t original_context;                 /* tokens */
} rd_rope_scaling;

typedef struct rd_model_config {
    int64_t vocab, width, layers, heads, kv_heads, head_size, ffn;
    double rope_theta, norm_eps;
    rd_rope_scaling rope;
    bool tied;     /* lm_head is embed_tokens */
    bool qkv_bias; /* q_proj, k_proj and v_proj have biases (Qwen2) */
} rd_model_config;
/* Fills head_size = width / heads if 0; checks ranges and divisibility.  Errors: RD_EINPUT. */
int rd_model_config_check(rd_model_config *c);
bool rd_model_config_same(const rd_model_config *a, const rd_model_config *b);
int64_t rd_model_config_params(const rd_model_config *c);
/* What scaling divides the frequency of pair i of a head by, i < head_size / 2, in float64; 1
 * without it.  As float32 these are the tensor rope_freqs.weight of a GGUF file. */
double rd_rope_divisor(const rd_model_config *c, int64_t i);
/* Flops of one forward and backward pass per token at context length `ctx` (6 N + attention). */
double rd_model_config_flops(const rd_model_config *c, double ctx);

/* A parameter: Hugging Face name, weight stored in x out (embedding: D x V; norms: D x 1). */
typedef struct rd_param {
    char name[80];
    rd_mat w, g;    /* weight and gradient, same shape; may be views into fused storage */
    bool is_matrix; /* a hidden matrix: Muon applies; embeddings, head and vectors are not */
    bool decay;     /* weight decay applies (matrices and embeddings) */
    bool is_vector; /* one dimension in files: norms, biases, magnitudes */
} rd_param;

/* Parameters lie in one allocation (weights) and one (gradients), in the order of item, so that a
 * gradient all-reduce or a norm is one call over `storage`.  Up to 15 floats between two parameters
 * are padding and always 0, in weights as in gradients. */
typedef struct rd_params {
    int64_t n;
    rd_param *item;
    int64_t storage;        /* local floats */
    float *weights, *grads; /* [storage]; grads NULL: frozen */
} rd_params;

typedef struct rd_model {
    rd_model_config cfg;
    const rd_grid *grid;
    rd_params base;                 /* the transformer's own */
    rd_params adapter;              /* n = 0: none */
    rd_params adapter_start;        /* PiSSA, OLoRA: A and B as they began; no gradients */
    rd_params *trained;             /* what the optimiser moves; NULL: nothing */
    bool recompute;                 /* of works made from now on: see rd_work_create */
    struct rd_model_layers *layers; /* private: fused views per layer */
    struct rd_adapter *parts;       /* private: the adapter's views; NULL: none */
} rd_model;

/* Create with zero weights.  Collective.  with_grads = false for inference only.  On a larger grid
 * than 1 x 1 rd_la_attach comes first.  Any shape fits any grid; a rank may own nothing of a
 * parameter.  Norm weights and biases lie on the first grid column alone: over the replica every
 * parameter exists once. Errors: RD_EINPUT for a config out of range. */
int rd_model_create(const rd_grid *g, const rd_model_config *cfg, bool with_grads,
                    rd_model **model);
/* Normal(0, 0.02) for matrices and embeddings (output projections o_proj and down_proj scaled by
 * 1/sqrt(2 L)), ones for norms, zeros for biases; keyed by (seed, parameter, global index): the
 * same on any grid. */
int rd_model_init(rd_model *model, uint64_t seed);
/* From now on the model only runs forward, as in decoding: on 1 x 1 its matrices are packed
 * (rd_mat_pack), with the same results, and only the embedding and vectors stay as they were.
 * Memory of the matrices: as before in float32, half of it in bfloat16, where a head that is the
 * embedding comes on top; while this runs, both.  Nothing happens on larger grids.  Local.
 * RD_EINTERNAL: something is trained. */
int rd_model_pack(rd_model *model);
void rd_model_free(rd_model **model);
rd_param *rd_model_param(rd_model *model, const char *name); /* NULL if absent */

/* Parameters to and from an open store: one array per parameter under prefix ("weights/"), in its
 * Hugging Face shape [out, in]; the first replica writes, every rank reads.  The config goes as
 * attributes model_* of the root, by functions of its own.  Collective on the store's communicator.
 */
int rd_params_write(const rd_grid *g, const rd_params *p, rd_store *s, const char *prefix);
int rd_params_read(const rd_grid *g, rd_params *p, rd_store *s,
                   const char *prefix); /* RD_EINPUT if shapes differ */
int rd_model_read_config(rd_store *s, rd_model_config *cfg);
int rd_model_write_config(const rd_model_config *cfg, rd_store *s);

/* ---------------------------------------------------------------- pretrained.c */

/* A published model: a Hugging Face folder (config.json and safetensors) of LlamaForCausalLM,
 * MistralForCausalLM or Qwen2ForCausalLM, or a GGUF file of architecture llama or qwen2.  SmolLM2
 * and Llama 3 are llama; so is Mistral in GGUF.
 *
 * open: Local, every rank for itself.  Reads the description, not the weights, and checks that
 * every parameter has a tensor of its shape and every tensor its parameter.  RD_EINPUT, naming file
 * and key or tensor, for anything that is not so, or that transformers would compute otherwise than
 * we do: another activation, an attention window, a rotary embedding that we do not know. */
typedef struct rd_pretrained rd_pretrained;
bool rd_pretrained_is(const char *path); /* a folder, or named .gguf */
int rd_pretrained_open(const char *path, rd_pretrained **p);
void rd_pretrained_close(rd_pretrained **p);
const rd_model_config *rd_pretrained_config(const rd_pretrained *p);
int64_t
rd_pretrained_positions(const rd_pretrained *p); /* the longest context, tokens; 0: unknown */
/* The weights, widened to float32, into a model of that configuration on any grid.  Each rank reads
 * its own share, straight to where it belongs.  Collective on world.  Also RD_ESTOP. */
int rd_pretrained_load(const rd_pretrained *p, rd_model *model);
/* Which model this is: a hash of its configuration and of rd_weights_identity.  Local. */
int rd_pretrained_identity(const rd_pretrained *p, uint64_t *id);

/* ---------------------------------------------------------------- adapters (adapter.c) */

/* Beside each target's frozen W (in x out) lie A (in x r) and B (r x out):
 *   Y = W^T X + s B^T A^T drop(X),   s = alpha / r, with rslora alpha / sqrt(r) (arXiv 2312.03732).
 * LORA   arXiv 2106.09685: A uniform in +-1/sqrt(in), B = 0.
 * DORA   arXiv 2402.09353, eq. 5: Y = g o (the above), g = m / |columns of W + s A B|; the norm
 *        counts as a constant in the gradient (section 4.3).  m starts as the columns' norms.
 *        Dropout acts on the low-rank path alone.
 * PISSA  arXiv 2404.02948: with the leading singular triples W ~ U S V^T, A = U sqrt(S / s),
 *        B = sqrt(S / s) V^T; W becomes the residual W - s A B.
 * OLORA  arXiv 2406.01775: with W = L Q (the QR of the weight as [out, in]), A = r columns of L,
 *        B = r rows of Q; W becomes W - s A B. */
typedef enum { RD_LORA, RD_DORA, RD_PISSA, RD_OLORA } rd_adapter_kind;
typedef enum { RD_Q, RD_K, RD_V, RD_O, RD_GATE, RD_UP, RD_DOWN, RD_TARGETS } rd_target;
typedef struct rd_adapter_opts {
    rd_adapter_kind kind;
    int64_t rank;
    double alpha;
    double dropout; /* of the low-rank path's input, in [0, 1) */
    bool rslora;
    unsigned targets; /* bit 1 << RD_Q ... */
} rd_adapter_opts;
/* Options in range, for a model of this shape?  RD_EINPUT: "rank: ...".  Local. */
int rd_adapter_check(const rd_model_config *c, const rd_adapter_opts *o);
/* Give a model that was created without gradients an adapter, all zero; it is what is trained from
 * now on, and no gradient of a base weight exists.  Names, order and shapes in files are PEFT's.
 * The base's weights must be there already.  Collective.  Errors: RD_EINPUT for options out of
 * range. */
int rd_model_adapt(rd_model *model, const rd_adapter_opts *o);
/* Initial values, keyed by (seed, name, global index): the same on any grid; PiSSA and OLoRA: from
 * the base, which becomes the residual.  Collective. */
int rd_model_adapter_init(rd_model *model, uint64_t seed);
/* In place of init, after adapter and adapter_start have been read from a file and the base is what
 * it was at init: PiSSA and OLoRA make the residual again, on the same grid with the same bits. */
int rd_model_adapter_resume(rd_model *model);
bool rd_model_adapter_ready(const rd_model *model); /* init or resume has been called */
void rd_model_adapter_free(rd_model *model);        /* the base remains, and nothing is trained */
/* Masks of the passes from now on; 0 (at first): no dropout.  A mask is a function of (key, layer,
 * target, token of the batch, feature): the same on every grid, in forward and backward.  Local. */
void rd_model_dropout(rd_model *model, uint64_t key);

/* ---------------------------------------------------------------- training passes */

/* Packed sequences: attention stays inside each.  Every rank of the replica holds the whole batch;
 * sequences are dealt whole over the grid columns, the longest first. */
typedef struct rd_batch {
    int64_t T; /* tokens in this batch */
    int64_t n_seq;
    int64_t *start;  /* [n_seq + 1] first token of each sequence; positions count from it */
    int32_t *tokens; /* [T] */
    int32_t *target; /* [T] the token to be predicted at t, or -1: no loss there; NULL: no
                        loss at all, but every token's logits are wanted */
} rd_batch;

/* Activations for batches of up to max_T tokens in sequences of up to max_len; all memory of a step
 * is here, fwd, head and bwd allocate nothing.  With model->recompute set, of each layer only its
 * input is kept, and bwd runs the layer's forward again before it goes through it (activation
 * checkpointing, arXiv 1604.06174): D max_T floats a layer, and about a third more flops for the
 * layers.  The same bits either way.  Collective. */
typedef struct rd_work rd_work;
int rd_work_create(rd_model *model, int64_t max_T, int64_t max_len, rd_work **work);
void rd_work_free(rd_work **work);
int64_t rd_work_head_bytes(const rd_work *work); /* of it for logits: the head works in pieces */

/* Trunk forward: embedding to the final norm, the last layer's part after attention for the tokens
 * with a target only.  Collective.
 * Errors: RD_EINTERNAL for a batch that does not fit the work or the vocabulary. */
int rd_model_fwd(rd_model *model, rd_work *work, const rd_batch *b);
/* Head: logits z = W^T h in token chunks, only for tokens with a target; log-probabilities in
 * float64.  logp[T] (0 where target is -1), all of it on every rank.  Vocabulary-parallel over grid
 * columns.  Collective.
 * With coef != NULL also the gradient: dL/dz_t = coef_t (onehot(target_t) - p_t), accumulated into
 * the head's gradient and kept for rd_model_bwd (overwritten).  SFT: coef = -1/N gives the gradient
 * of -(1/N) sum logp.  The targets are those of rd_model_fwd. */
int rd_model_head(rd_model *model, rd_work *work, const rd_batch *b, const float *coef,
                  double *logp);
/* Trunk backward from what rd_model_head kept; gradients are accumulated.  Collective. */
int rd_model_bwd(rd_model *model, rd_work *work, const rd_batch *b);
/* From now on rd_model_bwd tells ready(ctx, first, count) when nothing more will be added in this
 * pass to floats [first, first + count) of the trained storage, so that they can travel while the
 * rest is computed.  From the storage's end to its beginning, half a layer at a time, without gaps;
 * the calls of one pass that returns RD_OK cover all of it; count may be 0.  Local; ready NULL (as
 * at first): no calls. */
typedef void rd_gradients_ready(void *ctx, int64_t first, int64_t count);
void rd_work_on_gradients(rd_work *work, rd_gradients_ready *ready, void *ctx);
void rd_model_zero_grads(rd_model *model); /* of what is trained */
/* All logits, for tests and small inputs.  After rd_model_fwd of a batch without targets (with
 * some, the columns are the tokens that have one).  logits: this rank's share of the V x T matrix
 * in rd_model_logits_size floats: its part of the vocabulary, for its grid column's tokens; on 1 x
 * 1 all of it.  Collective. */
int rd_model_logits(rd_model *model, rd_work *work, const rd_batch *b, float *logits);
int64_t rd_model_logits_size(const rd_model *model, const rd_work *work);

/* ---------------------------------------------------------------- merging */

/* W + s A B, DoRA: g o columns, in float32 (the product added to W in float64, rounded once), with
 * the adapter gone and nothing trained.  probe (may be NULL): *largest is the largest difference
 * that this makes to any logit of the batch, equal on all ranks of the replica.  Collective. */
int rd_model_merge(rd_model *model, const rd_batch *probe, double *largest);
/* The base's parameters as rd_model_merge would leave them, to a store; the model stays as it is.
 * One matrix at a time is held twice. */
int rd_model_write_merged(const rd_model *model, rd_store *s, const char *prefix);

/* ---------------------------------------------------------------- publish.c */

/* The model, which has no adapter, as a folder that transformers loads: config.json and
 * safetensors. Collective on world.  Errors: RD_EIO; what was in the folder before see rd_export.
 */
typedef struct rd_publish_opts {
    rd_format format;    /* F32, F16, BF16 */
    int64_t shard_bytes; /* of a file at most; 0: one file */
    const char *config; /* text of the config.json that the model came with, kept but for the number
                           format; NULL: made from the shape and: */
    int64_t positions;  /* max_position_embeddings; 0: 4096 */
    int32_t bos, eos, pad; /* -1: none */
} rd_publish_opts;
int rd_model_publish(const rd_model *model, const rd_publish_opts *o, const char *dir);
/* Its adapter as a folder that peft loads over the base as it was (named `base`): PiSSA and OLoRA
 * as plain LoRA of twice the rank, in which peft itself converts them.  It need not be ready, nor
 * the base's weights there.  Collective on world. */
int rd_adapter_publish(const rd_model *model, rd_format format, const char *base, const char *dir);
/* Such a folder's adapter (LoRA, rsLoRA, DoRA) beside a model without gradients that has the base's
 * weights, ready.  RD_EINPUT names the key or tensor that does not fit.  Collective on world. */
int rd_model_adapt_from(rd_model *model, const char *dir);
int rd_adapter_read_opts(const char *dir, rd_adapter_opts *o); /* Local */

/* ---------------------------------------------------------------- inference passes */

/* Keys and values of `slots` sequences of up to max_len tokens; max_T: tokens of one extend.  Slots
 * are dealt over grid columns in turn, heads over grid rows.  What a slot holds are blocks of 16
 * tokens, 2 layers kv_heads head_size floats a token, from a pool on each grid column.  create
 * makes room for max_len tokens in every slot; create_pooled for `tokens` on each grid column, and
 * then an extend or a fork to another column that does not fit is refused.  Attention uses as many
 * threads as rd_threads says at creation.  All calls on a cache are equal on all ranks of the
 * replica. */
typedef struct rd_kv rd_kv;
int rd_kv_create(const rd_model *model, int64_t slots, int64_t max_len, int64_t max_T, rd_kv **kv);
int rd_kv_create_pooled(const rd_model *model, int64_t slots, int64_t max_len, int64_t max_T,
                        int64_t tokens, rd_kv **kv);
void rd_kv_free(rd_kv **kv);
int64_t rd_kv_length(const rd_kv *kv, int64_t slot);
void rd_kv_truncate(rd_kv *kv, int64_t slot, int64_t len); /* forget tokens from len on */
/* `to` becomes the first len tokens of `from`, in the same blocks: nothing is copied but, when one
 * of them is continued, the block in which they part; and everything to another grid column.
 * Collective. */
void rd_kv_fork(rd_kv *kv, int64_t from, int64_t to, int64_t len);
int64_t rd_kv_room(const rd_kv *kv, int64_t slot); /* tokens, of free blocks of its grid column */
/* Are there blocks for count[i] more tokens in slot[i], i < n? */
bool rd_kv_fits(const rd_kv *kv, int64_t n, const int64_t *slot, const int64_t *count);
/* Append count[i] tokens to slot[i] for i < n (slots distinct, sum of counts <= max_T) and give the
 * logits after the last token of each: logits V x n column-major.  Prefill and decode are both
 * this.  On every rank of the replica all logits.  On 1 x 1 a slot's logits depend on its tokens
 * alone, bit for bit: not on the other slots, the order, or how its tokens were split over calls;
 * on larger grids to rounding.  No allocation.  Collective. Errors: RD_EINTERNAL, and then nothing
 * was appended. */
int rd_model_extend(const rd_model *model, rd_kv *kv, int64_t n, const int64_t *slot,
                    const int64_t *count, const int32_t *tokens, float *logits);

/* Append n tokens to one slot and give the logits after each of them, V x n: what extend would give
 * token by token, in the same bits.  Collective. */
int rd_model_extend_all(const rd_model *model, rd_kv *kv, int64_t slot, int64_t n,
                        const int32_t *tokens, float *logits);

#endif
