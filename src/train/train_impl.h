/* train_impl.h: what the files of the train layer share. */
#ifndef RD_TRAIN_IMPL_H
#define RD_TRAIN_IMPL_H

#include "rd/train.h"

/* ---------------------------------------------------------------- corpus (corpus.c) */

/* Each distinct text is tokenised and kept once: the rows of one task share its prompt.  Prompts
 * begin with BOS and are as the chat composes them, so none is empty; responses are without their
 * end. */
struct rd_corpus {
    bool pairs;
    int64_t n;                             /* items: rows or pairs that are used */
    int32_t *prompt, *response, *rejected; /* texts; response is the chosen one of a pair */
    int32_t *tokens;                       /* of the item, as many as go through the model */
    uint8_t *kind, *family;                /* kind is 0 for pairs */
    int32_t end;                           /* the token that ends a response */
    int64_t total;                         /* tokens of all items */
    int64_t longest_item, longest_sequence;
    int64_t over_long, empty;
    int64_t n_texts, *offset; /* tokens of text i: offset[i] ... offset[i + 1] */
    uint16_t *narrow;         /* the ids: one of the two, by the vocabulary's size */
    int32_t *wide;
};

static inline int64_t corpus_text_length(const rd_corpus *c, int32_t text)
{
    return c->offset[text + 1] - c->offset[text];
}
void corpus_copy_text(const rd_corpus *c, int32_t text, int32_t *ids);

/* ---------------------------------------------------------------- packing (packing.c) */

typedef struct plan_item {
    const rd_corpus *corpus;
    int64_t row;
    int64_t tokens;
} plan_item;

/* Items of one kind and family (as far as shares tell them apart), each once per epoch. */
typedef struct plan_stream {
    const rd_corpus *corpus;
    int64_t *members, *order; /* [n] item numbers; order is this epoch's permutation */
    int64_t n, next, epoch;
    double share;
    int64_t used; /* tokens handed out */
} plan_stream;

enum { PLAN_STREAMS = (RD_TRAIN_KINDS + 2) * RD_TRAIN_FAMILIES };

/* Which items make up step s: a function of (seed, s) and the corpora alone, replayed from 0. */
typedef struct train_plan {
    plan_stream stream[PLAN_STREAMS];
    int n_streams;
    uint64_t seed;
    int64_t batch_tokens, budget;
    int64_t steps;               /* of the whole run */
    int64_t step;                /* the items below are those of step - 1 */
    int64_t tokens, rows, pairs; /* handed out so far */
    uint64_t hash;               /* of all items handed out so far, in order */
    plan_item *items;
    int64_t n_items, max_items;
    /* Of the step, what means are taken over; row_prompts: targets in the prompts of rows. */
    int64_t row_targets, row_prompts, pair_targets, pair_count;
} train_plan;

/* rows, pairs: either may be NULL; more: pairs beside the others (o->more_share), or NULL.  Local,
 * the same on every rank.  RD_EINPUT: nothing to train on. */
int plan_create(const rd_corpus *rows, const rd_corpus *pairs, const rd_corpus *more,
                const rd_train_opts *o, train_plan *plan);
void plan_free(train_plan *plan);
void plan_rewind(train_plan *plan);
void plan_next(train_plan *plan); /* no allocation */
/* Where the plan was after step s; replayed. */
void plan_seek(train_plan *plan, int64_t step);

/* The items of a step dealt to parts so that tokens balance: longest first, to the part with the
 * least, of equals to the first in order.  Replicas compute blocks of consecutive parts, and any
 * 2^k first parts in order lie in different ones of 2^k blocks: with fewer items than parts, every
 * replica still has work.  Part p has items list[start[p]] ... list[start[p + 1] - 1]. */
typedef struct train_deal {
    int parts;
    uint64_t *key;
    int64_t *load, *start, *list;
    int32_t *part, *order;
} train_deal;
void deal_create(int parts, int64_t max_items, train_deal *d);
void deal_free(train_deal *d);
void deal_items(train_deal *d, const plan_item *items, int64_t n); /* no allocation */

/* A micro-batch under construction. */
typedef enum { SEQUENCE_ROW, SEQUENCE_CHOSEN, SEQUENCE_REJECTED } sequence_role;
typedef struct micro_batch {
    rd_batch b;
    int64_t max_T, max_seq;
    int64_t *response;   /* [n_seq] first position whose target is of the response */
    uint8_t *role;       /* [n_seq]; a chosen sequence is followed by its rejected one */
    float *coef;         /* [T] */
    double *logp;        /* [T] */
    bool prompt_targets; /* chosen prompts are targets too (ORPO "full") */
    bool row_prompts;    /* and so are those of rows (prompt_weight) */
} micro_batch;
void micro_create(int64_t max_T, int64_t max_seq, micro_batch *m);
void micro_free(micro_batch *m);
void micro_clear(micro_batch *m);
bool micro_add(micro_batch *m, const plan_item *item); /* false: it does not fit */

/* ---------------------------------------------------------------- objective (objective.c) */

/* Means over the whole step, known before any forward pass. */
typedef struct objective {
    rd_orpo_variant variant;
    double lambda;
    double row_weight, pair_weight; /* 1, 0 for SFT; r, 1 - r with rehearsal */
    double prompt_weight;           /* of a prompt's target, beside 1 of a response's, in rows */
    int64_t row_targets, row_prompts, pair_targets, pair_count;
} objective;

/* Sums that add up over micro-batches, shards and ranks. */
enum { SUM_ROW_NLL, SUM_PAIR_NLL, SUM_ODDS_LOSS, SUM_CORRECT, SUM_LOG_ODDS, OBJECTIVE_SUMS };

bool objective_needs_logp(const micro_batch *m); /* coefficients depend on log-probabilities */
/* Fill m->coef: from m->logp where there are pairs. */
void objective_coef(const objective *f, micro_batch *m);
void objective_add(const objective *f, const micro_batch *m, double *sums); /* from m->logp */
typedef struct objective_means {
    double loss, nll, odds_loss, accuracy, log_odds;
} objective_means;
objective_means objective_mean(const objective *f, const double *sums);

/* ---------------------------------------------------------------- shares (share.c) */

/* A run of a parameter's local floats that has one owner. */
typedef struct share_part {
    int64_t param;        /* into the parameters' items */
    int64_t first, count; /* in the trained storage */
    int owner;            /* replica */
    bool held;            /* this replica holds its moments and updates it */
    int64_t m, v;         /* then: where they are; v not of Muon's */
} share_part;
typedef struct train_share {
    bool sharded;
    int64_t n;
    share_part *part; /* in storage order; those of parameter i are start[i] ... start[i + 1] - 1 */
    int64_t *start;
    int64_t m_size, v_size; /* floats held */
    rd_flow *flow;          /* of the trained storage, from and to owners */
} train_share;
/* muon_owner: [params->n] the replica that orthogonalises a matrix, which is then, sharded, the
 * owner of all of it; -1: not one of Muon's.  The parts of one parameter that are held lie in m and
 * in v one after the other.  Collective on g->replicas. */
void share_create(const rd_grid *g, const rd_params *params, const int *muon_owner, bool sharded,
                  train_share *s);
void share_free(train_share *s); /* Collective; accepts {0} */

/* ---------------------------------------------------------------- Muon (muon.c) */

typedef struct train_muon train_muon;
/* owner: [trained->n] gets the replica that orthogonalises each matrix, -1 for other parameters.
 * Collective on the replica. */
int muon_create(rd_model *model, bool sharded, int *owner, train_muon **muon);
void muon_free(train_muon **muon);
double muon_flops(const train_muon *muon); /* of products in a step, on the busiest rank */
/* m: momenta where the share puts them; scale multiplies the gradients (clipping).  Sharded: only
 * the matrices held here are updated.  Collective on world. */
int muon_step(train_muon *muon, const train_share *s, float *m, double scale, double lr,
              double momentum, double decay);

/* ---------------------------------------------------------------- checkpoints (checkpoint.c) */

/* Where a run stands, beside weights and moments; all of it is in the file. */
typedef struct train_state {
    int64_t step, steps; /* steps done, steps of the run */
    int64_t tokens, rows, pairs, over_long, empty;
    int64_t seed, plan_hash; /* what the data's order follows from, and the plan's hash so far */
    int64_t first_n, last_n; /* steps in the sums below */
    double first_sum, last_sum;
    double last_correct, last_pairs;
} train_state;

typedef struct train_files {
    const rd_grid *g;
    const rd_train_opts *o;
    int64_t newest, previous; /* steps of the files this run keeps; -1: none */
} train_files;

/* All Collective on world. */
int checkpoint_begin(const rd_grid *g, const rd_train_opts *o, train_files *f);
/* tail: "final" or "branch" (weights only), NULL: a step's file with moments. */
int checkpoint_write(train_files *f, const rd_model *model, const rd_optim *opt,
                     const train_state *s, const char *tail);
/* Newest valid file with the same key, whose steps had the items that the plan gives them; the plan
 * then stands behind its step.  *found false if there is none, and nothing is changed.  A warning
 * says so when another grid wrote it. */
int checkpoint_resume(train_files *f, rd_model *model, rd_optim *opt, train_plan *plan,
                      train_state *s, bool *found);
int checkpoint_read_final(train_files *f, rd_model *model, train_state *s, bool *found);
void checkpoint_remove_steps(train_files *f);

/* ---------------------------------------------------------------- metrics (metrics.c) */

/* metrics.h5, the progress line and the speed table.  World rank 0 writes. */
typedef struct train_metrics {
    const rd_train_opts *o;
    rd_series *series; /* NULL on the other ranks */
    bool pairs;
    char speed_table[40];
    rd_progress progress;
    double start, last_flush, last_speed; /* last_speed: of the speed table's last row */
    int64_t start_tokens, flush_tokens;
} train_metrics;

int metrics_open(const rd_grid *g, const rd_train_opts *o, bool pairs, const train_state *s,
                 train_metrics *m); /* Collective on world */
/* Local; a failure to flush is reported with the next agreement. */
int metrics_step(train_metrics *m, const train_state *s, const objective_means *means, double lr,
                 double grad_norm);
int metrics_flush(train_metrics *m); /* Local */
int metrics_close(train_metrics *m); /* Local */

#endif
