/* cost.h: what a step of training costs on a grid: memory, flops, words, seconds (private to cli).
 *
 * On paper: nothing of the grid, the model or the machine needs to exist.  Memory is exact, because
 * the program's own set-up is what counts it (rd_mem_pretend).  Flops and words follow the shapes
 * of the fullest rank.  Seconds are linear in both, with constants that `redistill calibrate`
 * measures:
 *
 *   product   2 m n k flops, m k + k n + 2 m n floats touched, one call: a constant each.  Small
 * and flat products are slow through the last two passes    floats of element-wise work;
 * exponentials (attention's scores, logits) on their own memory    floats that come from main
 * memory: the optimiser, sums of gradients.  A node's ranks share its bandwidth messages  latency +
 * words (Hockney).  A group of ranks that fits a node has the node's constants; else the network's,
 * whose bandwidth is the node's and shared by those groups that cross its border at once
 *
 * Ranks beyond a node's cores take turns: all that is computed is slower by their ratio; a rank's
 * threads make it faster as far as there are cores.
 * Communication counts as not overlapped with computation. */
#ifndef RD_CLI_COST_H
#define RD_CLI_COST_H

#include "rd/io.h"
#include "rd/train.h"

/* ---------------------------------------------------------------- machines */

typedef struct cost_link {
    double latency; /* seconds per message */
    double word;    /* seconds per float: of one rank inside a node, of a node between nodes */
} cost_link;

typedef struct cost_machine {
    char name[96];
    bool measured;      /* by calibrate; else somebody's assumption */
    int cores_per_node; /* also what compute constants stand for: one core */
    int ranks_per_node;
    double memory_per_node;     /* bytes; 0: not known */
    double program;             /* bytes of a rank beside its arrays: libraries, MPI's buffers */
    double flop, touch, call;   /* seconds: of products */
    double flop_bf16;           /* seconds per flop with factors in bfloat16 */
    double pass, exponential;   /* seconds per float */
    double stream, node_stream; /* seconds per float: of one rank alone, of a whole node */
    cost_link inside, between;
    double file; /* seconds per byte of a parallel file */
} cost_machine;

void cost_machine_default(cost_machine *m); /* careful: few modern machines are slower */
/* From and to JSON.  Local.  RD_EINPUT names file, line and key. */
int cost_machine_read(const char *path, cost_machine *m);
int cost_machine_parse(const char *text, size_t n, const char *path, cost_machine *m);
/* more: members that only describe ("date", "host"), as pairs of strings up to a NULL. */
void cost_machine_print(const cost_machine *m, const char *const *more, rd_buf *out);

/* ---------------------------------------------------------------- counts */

/* A product of m x n with k to be summed over, in local extents. */
typedef struct cost_product {
    double flops, touches, calls;
} cost_product;
cost_product cost_of_product(double m, double n, double k);
double cost_product_seconds(const cost_machine *m, const cost_product *p);

/* Messages and words sent one after the other by a rank of p: latency and bandwidth terms. */
typedef struct cost_messages {
    double messages, words;
} cost_messages;
cost_messages cost_of_sum(int p, double n);    /* all-reduce: recursive doubling, or a ring */
cost_messages cost_of_bcast(int p, double n);  /* a tree, or scattered and gathered */
cost_messages cost_of_shares(int p, double n); /* all pairs exchange; n: what a rank sends */
cost_messages cost_of_flow(int p, double n);   /* par's flow: n summed to owners, or gathered */

/* The work of one layer's local part: for t tokens of d features and so on. */
typedef struct cost_layer {
    double t, row;     /* tokens, and of these in a sequence */
    double d, q, k, f; /* features on a grid row: width, queries, keys, ffn */
    double heads, head_size;
    double bias; /* features with a bias on a grid row */
} cost_layer;
double cost_layer_passes(const cost_layer *l, bool backward); /* floats */
double cost_layer_scores(const cost_layer *l);                /* exponentials, one direction */
cost_product cost_layer_attention(const cost_layer *l, bool backward);

/* ---------------------------------------------------------------- plans */

typedef struct cost_case {
    rd_model_config model;
    rd_train_opts train; /* adapted: the base is frozen */
    bool pairs;          /* ORPO: log-probabilities before coefficients */
    double row;          /* tokens of a sequence, on average */
    double target_share; /* of them with a loss */
    int data, rows, cols;
    bool pblas;  /* products without panels: less memory; seconds are those with them */
    bool bf16;   /* products of layers and head, and the panels that travel for them */
    int threads; /* of a rank; 0: one */
} cost_case;

typedef enum {
    COST_LINEAR,    /* products of the layers */
    COST_ATTENTION, /* scores and their products */
    COST_PASSES,    /* element-wise; norms over grid rows */
    COST_HEAD,      /* logits and losses */
    COST_EMBEDDING, /* look-up over grid columns */
    COST_GRADIENTS, /* partial sums, and sums over replicas */
    COST_OPTIMIZER, /* the update; gathering weights when sharded */
    COST_PARTS
} cost_part_name;
const char *cost_part_text(cost_part_name part);

/* Of a step, on the fullest rank. */
typedef struct cost_part {
    double flops, words, messages;
    double computing, communicating; /* seconds */
} cost_part;

typedef struct cost_memory {
    double weights, gradients;
    rd_train_memory train;
    double panels;  /* of products on grids */
    double files;   /* space of a store */
    double program; /* the machine's constant */
    double total;
} cost_memory;

typedef struct cost_plan {
    cost_memory memory;
    int ranks_on_node, nodes;
    double available; /* memory per rank, bytes; 0: not known */
    bool fits, busy;  /* busy: every replica has a row in every step */
    cost_part part[COST_PARTS];
    double flops, words, seconds; /* of a step: sums over the parts */
    double tokens_per_second;     /* of the job */
    double steps, hours;          /* of the run with its checkpoints; 0: length not known */
    double checkpoint_bytes, checkpoint_seconds;
} cost_plan;
/* Local.  Errors: RD_EINPUT for a model or options that no grid can have. */
int cost_plan_make(const cost_case *c, const cost_machine *m, cost_plan *p);

/* The grids of `ranks` ranks, fastest first of those that fit; at most `most` of them.  *smallest:
 * ranks of the smallest replica (rows x cols) that fits, 0 if none does.  Local. */
typedef struct cost_choice {
    int data, rows, cols;
    cost_plan plan;
} cost_choice;
int cost_suggest(const cost_case *c, const cost_machine *m, int ranks, int most,
                 cost_choice *choice, int *n, int *smallest);

#endif
