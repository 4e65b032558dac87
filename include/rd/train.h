/* train: rows to packed batches, optimisers, SFT and preference optimisation (ORPO).
 *
 * Data-parallel over grid->replicas with global token normalisation: a step's gradient is that of
 * the mean over all tokens (or pairs) of the global batch, whatever the number of ranks or
 * micro-batches.  Which rows make up step s is a function of (seed, s) alone. */
#ifndef RD_TRAIN_H
#define RD_TRAIN_H

#include "rd/io.h"
#include "rd/la.h"
#include "rd/nn.h"
#include "rd/text.h"

enum { RD_TRAIN_KINDS = 3, RD_TRAIN_FAMILIES = 4 }; /* as in datasets.h5: generate, follow, io */

/* ---------------------------------------------------------------- optimisers (optim.c, muon.c) */

typedef struct rd_optim_opts {
    const char *kind;     /* "adamw"; "muon": hidden matrices by Muon, the rest by AdamW */
    double lr;            /* AdamW's peak learning rate */
    double muon_lr;       /* update = muon_lr * sqrt(max(1, out/in)) * orthogonalised momentum */
    double muon_momentum; /* 0.95, Nesterov; five Newton-Schulz steps */
    double beta1, beta2, eps, weight_decay; /* decoupled; on parameters with decay set: matrices,
                                               embeddings, adapters' A and B; as Hugging Face's
                                               Trainer, but for DoRA's magnitudes, which it decays
                                               and this does not */
    double clip;                            /* global gradient norm; 0: none */
    double warmup;                          /* share of the steps, linear from 0 */
    double min_lr;                          /* cosine down to this share of the peak */
    bool sharded; /* each replica holds the moments of its share of the parameters only */
} rd_optim_opts;
void rd_optim_defaults(rd_optim_opts *o);

/* Unsharded, every replica holds all moments and makes the whole update.  Sharded, a replica holds
 * those of a share: a matrix of Muon's belongs to the replica that orthogonalises it, the rest is
 * dealt evenly; it updates that share and the weights are gathered.  The bits are the same.  Words
 * sent a step by a replica of n, of a model of W weights: 2 W (n - 1) / n for AdamW, sharded or
 * not; for Muon W more unless sharded. */
typedef struct rd_optim rd_optim;
/* Collective on world. */
int rd_optim_create(rd_model *model, const rd_optim_opts *o, int64_t total_steps, rd_optim **opt);
void rd_optim_free(rd_optim **opt);
/* Schedule factor in [0, 1] for 0-based step s of n.  With w = ceil(warmup n) and min_lr 0 it is
 * what Hugging Face's cosine schedule with w + 1 warm-up steps of n has at its step s + 1: theirs
 * begins with a step of rate 0. */
double rd_lr_factor(const rd_optim_opts *o, int64_t s, int64_t n);
int64_t rd_optim_bytes(const rd_optim *opt); /* of moments on this rank */
double rd_optim_flops(const rd_optim *opt);  /* of products in a step, on the busiest rank */
/* Begin to sum the gradients over the replicas: to everyone or, sharded, to who updates them.  The
 * caller says what is ready (rd_flow_ready) and ends the flow.  Local. */
rd_flow *rd_optim_begin_sums(rd_optim *opt);
/* One update from the gradients' sums over the replicas; step counts from 0.  Unsharded, the sums
 * may come from elsewhere.  *grad_norm: norm before clipping, the same bits on any number of
 * replicas.  RD_ENUMERIC when it is not finite, and nothing is changed.  Collective on world. */
int rd_optim_step(rd_optim *opt, int64_t step, double *grad_norm);
void rd_optim_reset(rd_optim *opt); /* moments back to zero */
/* Moments as arrays PREFIX m/NAME and v/NAME in global shapes: a file does not tell whether who
 * wrote it was sharded.  Collective on the store's communicator, which is world. */
int rd_optim_write(const rd_optim *opt, rd_store *s, const char *prefix);
int rd_optim_read(rd_optim *opt, rd_store *s, const char *prefix);

/* ---------------------------------------------------------------- objectives (objective.c) */

/* ORPO (arXiv 2403.07691), for one pair with response log-probabilities averaged over tokens,
 *   w = chosen, l = rejected:  log odds = (w - l) - (log1mexp(w) - log1mexp(l)),
 *   L = NLL + lambda * -log sigmoid(log odds).
 * variant "response": NLL is the mean over the chosen response's tokens, per pair, then the mean
 * over pairs: LLaMA-Factory's pref_loss "orpo", also when it accumulates batches of one size.
 * variant "full": NLL over prompt and response of the chosen sequence, mean over all such tokens of
 * the step: TRL's ORPOTrainer (and the original code) with the step's pairs as one batch; when TRL
 * accumulates it takes the mean of its batches' means, which weighs their tokens unequally.
 * lambda is their pref_beta and beta.  In metrics.h5 nll is TRL's nll_loss and LLaMA-Factory's
 * sft_loss, odds_loss is -log_odds_ratio and odds_ratio_loss, accuracy is rewards/accuracies of
 * both, margin is TRL's log_odds_chosen (not rewards/margins, which is lambda (w - l)). */
typedef enum { RD_ORPO_RESPONSE, RD_ORPO_FULL } rd_orpo_variant;
typedef struct rd_orpo_pair {
    double chosen_sum, rejected_sum; /* response log-probabilities, summed */
    int64_t chosen_tokens, rejected_tokens;
    double nll_sum; /* chosen log-probabilities summed over what NLL covers */
    int64_t nll_tokens;
    /* out */
    double odds_loss, log_odds;        /* odds_loss = -log sigmoid(log_odds), without lambda */
    double chosen_coef, rejected_coef; /* d(lambda odds_loss) / d(log-probability of each response
                                          token) */
} rd_orpo_pair;
/* Mean log-probabilities above -1e-6 count as -1e-6 (the odds have a pole at 0). */
void rd_orpo_odds(rd_orpo_pair *pair, double lambda);
double rd_log1mexp(double x); /* log(1 - exp(x)) for x < 0, exact near 0 and far from it */

/* ---------------------------------------------------------------- runs (loop.c) */

typedef struct rd_train_opts {
    bool kinds[RD_TRAIN_KINDS];   /* rows used by SFT */
    double share[RD_TRAIN_KINDS]; /* share of the tokens per kind (renormalised over those used);
                                     all 0: as they come */
    bool families[RD_TRAIN_FAMILIES];
    double family_share[RD_TRAIN_FAMILIES]; /* same, over families; all 0: as they come */
    double epochs;
    int64_t tokens;       /* token budget (prompt + response); > 0 takes the place of epochs */
    int64_t batch_tokens; /* global tokens per step */
    int64_t micro_tokens; /* largest T of one forward pass on a replica */
    int64_t max_len; /* longest sequence with template, BOS and end; longer rows are skipped and
                        counted */
    double prompt_weight; /* the loss of rows is the mean over their targets in which a token of the
                             prompt counts so much, one of the response 1 (0: responses alone) */
    int64_t shards; /* a step's rows are dealt to so many shards (4), whose gradients are added
                       in a binary tree: a run's bits are the same on every number of replicas
                       that divides it into a power of two.  Where they do not divide it: one
                       shard per replica */
    bool recompute; /* keep of each layer its input only (rd_work_create); same bits */
    bool overlap;   /* sum gradients over replicas while the backward pass goes on; same bits */
    rd_optim_opts optim;
    uint64_t seed;
    /* preference optimisation */
    rd_orpo_variant variant;
    double lambda;
    double rehearsal; /* share r of the tokens spent on SFT rows (0: the paper's ORPO); the loss
                         is then (1 - r) ORPO + r SFT, each with its own mean */
    /* Another datasets.h5 with pairs; NULL: none.  Of the pairs' tokens the share more_share comes
     * from there, the rest from the first; both go round as often as that takes.  1: all come from
     * there, and the first only has the rehearsal's rows. */
    const char *more_pairs;
    double more_share;
    /* output */
    const char *dir;          /* checkpoints/ and metrics.h5 go here */
    const char *stage;        /* "sft" or "align": names in metrics and checkpoints */
    int64_t checkpoint_every; /* steps; 0: only at the end */
    double branch_at; /* also keep a checkpoint "branch" at this share of the steps; 0: none */
    const char *config;
    uint64_t key;       /* hash of everything that determines the run (data, model, options) */
    uint64_t tokenizer; /* hash of the tokenizer, kept in checkpoints */
    /* With an adapter the model comes without gradients (or, to go on with the adapter of an
     * earlier stage, as rd_checkpoint_load_adapter leaves it) and goes with the adapter merged;
     * AdamW moves it, whatever optim.kind says.  Steps' checkpoints hold the adapter alone, final
     * and branch the merged weights and the adapter; with base (where a published model lies, for
     * readers; NULL: none) in place of the weights its name and identity. */
    bool adapted;
    rd_adapter_opts adapter;
    const char *base;
    uint64_t base_identity;
} rd_train_opts;
void rd_train_defaults(rd_train_opts *o);

typedef struct rd_train_report {
    int64_t steps, rows, pairs;        /* done */
    int64_t tokens;                    /* prompt + response that went through the model */
    int64_t over_long, empty;          /* rows or pairs skipped */
    double first_loss, last_loss;      /* means over the first and last 5 % of the steps */
    double seconds, tokens_per_second; /* of this process's part */
    double reward_accuracy;            /* align: share of pairs with log odds > 0, last 5 % */
    bool was_done;                     /* found finished */
} rd_train_report;

/* Rows or pairs tokenised as the chat composes them, equal on all ranks.  Collective on world. */
typedef struct rd_corpus rd_corpus;
int rd_corpus_load(const rd_grid *g, const char *datasets, const rd_chat *chat,
                   const rd_train_opts *o, bool pairs, rd_corpus **c);
void rd_corpus_free(rd_corpus **c);

/* Train model in place.  Collective on world.  Continues from the newest valid checkpoint in DIR of
 * the same key; when the stage is finished there, loads the weights and returns.  A request to stop
 * is seen while the corpus is read (nothing is done then) and in every step, which is the last: a
 * checkpoint, and RD_ESTOP.  The deadline keeps room for a step and a checkpoint, as long as the
 * longest yet (rd_stop_need).  A non-finite loss is
 * RD_ENUMERIC with the step. */
int rd_train_sft(const rd_grid *g, rd_model *model, const rd_chat *chat, const char *datasets,
                 const rd_train_opts *o, rd_train_report *report);
int rd_train_orpo(const rd_grid *g, rd_model *model, const rd_chat *chat, const char *datasets,
                  const rd_train_opts *o, rd_train_report *report);

/* What a run allocates beside the model, bytes on this rank. */
typedef struct rd_train_memory {
    int64_t activations; /* of one micro-batch, with scratch */
    int64_t head;        /* logits of a piece of it */
    int64_t moments;
    int64_t exchange;     /* the optimiser's other memory: messages between replicas, Muon's work */
    int64_t partial_sums; /* of gradients, see shards */
    int64_t batch;        /* rows of a step, tokens of a micro-batch */
    double update_flops;  /* not bytes: of Muon's products in one update, on the busiest rank */
} rd_train_memory;
/* By making all of it as a run would and releasing it: under rd_mem_pretend for a grid that does
 * not exist.  For rows (pairs) of up to max_len tokens; without the datasets' tokens and the files'
 * buffers.  Collective. */
int rd_train_measure(rd_model *model, const rd_train_opts *o, bool pairs, rd_train_memory *m);

/* What a checkpoint holds, for those who have the file alone. */
typedef struct rd_checkpoint_info {
    rd_model_config model;
    bool weights; /* whole ones; without them an adapter beside a base */
    bool adapted;
    rd_adapter_opts adapter;
    uint64_t key, tokenizer;
    char base[1024]; /* where the base was; "": not said */
    uint64_t base_identity;
} rd_checkpoint_info;
/* Collective on world. */
int rd_checkpoint_read_info(const rd_grid *g, const char *path, rd_checkpoint_info *info);
/* A model that came from elsewhere, with its adapter if it has one (o), as a final file that others
 * start from.  Collective on world. */
int rd_checkpoint_import(const rd_grid *g, const rd_model *model, const rd_adapter_opts *o,
                         uint64_t key, uint64_t tokenizer, const char *path);

/* Final (or branch) weights of a stage: DIR/checkpoints/STAGE-final.h5, STAGE-branch.h5.  key: that
 * of the run that must have written them; RD_EINPUT for those of another run.  Collective on world.
 */
int rd_checkpoint_load_weights(const rd_grid *g, const char *path, uint64_t key, rd_model *model);
int rd_checkpoint_config(const rd_grid *g, const char *path, rd_model_config *cfg);
/* The adapter of such a file, not merged, beside a model that has the base's weights: the only way
 * to the weights of a file without them (rd_train_opts.base).  RD_EINPUT also when the file has no
 * such adapter.  Collective on world. */
int rd_checkpoint_load_adapter(const rd_grid *g, const char *path, uint64_t key,
                               const rd_adapter_opts *o, rd_model *model);
/* Weights of any run's file as a base: RD_EINPUT when the model's shape or the tokenizer is
 * another.  content (of base_hash) says which weights they are, for keys.  Collective on world. */
int rd_checkpoint_load_base(const rd_grid *g, const char *path, uint64_t tokenizer,
                            rd_model *model);
int rd_checkpoint_base_hash(const rd_grid *g, const char *path, uint64_t *content);

#endif
