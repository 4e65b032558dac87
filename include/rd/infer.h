/* infer: batched generation with a key-value cache, hypothesis search, evaluation.
 *
 * Hypothesis search: propose N rules, score each on the demonstrations by the student's own rule
 * following, answer the queries with the best.  Results for every N come from nested subsets of one
 * set of proposals. */
#ifndef RD_INFER_H
#define RD_INFER_H

#include "rd/nn.h"
#include "rd/task.h"
#include "rd/text.h"

/* ---------------------------------------------------------------- generation (generator.c) */

/* What sampling leaves out before it draws, in this order, as transformers has them; all 0 is
 * nothing. */
typedef struct rd_sampling {
    int64_t top_k; /* all but the k likeliest tokens (and what equals the last); 0: none */
    double top_p;  /* all but the smallest set of likeliest tokens with this share; 0, 1: none */
    double min_p;  /* tokens less likely than this share of the likeliest; 0: none */
} rd_sampling;

typedef struct rd_generator rd_generator;
typedef struct rd_generator_opts {
    int64_t slots;   /* sequences decoded together; default 256 */
    int64_t max_len; /* prompt + response, tokens */
    rd_sampling sampling;
    const char *const *stop; /* lent: a response ends where one of these begins, without it */
    int n_stop;
} rd_generator_opts;

/* Hash of the options that change responses, but for max_len; 0 when none of them is on. */
uint64_t rd_generator_opts_hash(const rd_generator_opts *o);

/* One response wanted.  The chat's template goes around the prompt; generation ends at one of its
 * ends, at a stop string or after max_new tokens.  A prompt that leaves no room, or has no tokens,
 * gives an empty, truncated response. */
typedef struct rd_gen_request {
    const char *prompt; /* lent */
    uint64_t key;       /* random stream: the same key and prompt give the same response */
    double temperature; /* 0: greedy, ties to the lowest id */
    int64_t max_new;
    int64_t priority;   /* streams: the lowest start first; 0 … 63 are told apart */
    char *text;         /* out: owned by the caller (rd_free), also after a failure; NULL: none */
    int64_t tokens_in;  /* out: tokens of the prompt with BOS and template */
    int64_t tokens_out; /* out: tokens sampled, with the end or what made a stop string whole */
    bool truncated;     /* out: ended by a limit, without an end */
    void *under_way;    /* private */
} rd_gen_request;

/* Collective on the model's replica.  model and chat are lent; the weights must not change while
 * the generator lives, because prefixes are kept between calls.  Uses as many threads as rd_threads
 * says at creation. */
int rd_generator_create(const rd_model *model, const rd_chat *chat, const rd_generator_opts *o,
                        rd_generator **gen);
void rd_generator_free(rd_generator **gen);
/* Continuous batches: slots are refilled as responses end; prompts that begin alike share the
 * prefill and the memory of their common prefix.  Softmax sampling at a keyed uniform number per
 * token; what the chat bars is never sampled.  A response depends on its prompt, key, temperature,
 * limits and the generator's options only, not on what else is in the batch, its order, the slots,
 * the threads: bit for bit on 1 x 1 and to rounding on larger grids (nn.h), where a sampled token
 * may fall on the other side. Collective on the replica, requests equal on all its ranks, and so
 * are the responses. Errors: RD_ENUMERIC when logits are not finite. */
int rd_generate(rd_generator *gen, int64_t n, rd_gen_request *r);
/* The same as a stream.  add hands in a request, lent until next gives it back, in whatever order
 * they end, or it is cancelled: then it has no text and is not given back.  next works until a
 * request has ended; *r NULL: none is left.  Requests may be added and cancelled between any two
 * calls.  After a failure of next nothing is under way any more, after one of add the
 * request is not.  Collective, like generate.
 */
int rd_generator_add(rd_generator *gen, rd_gen_request *r);
int rd_generator_next(rd_generator *gen, rd_gen_request **r);
void rd_generator_cancel(rd_generator *gen, rd_gen_request *r);
/* About how many requests will be under way at once, of which not all have been added when the work
 * begins; memory follows it, up to the slots. */
void rd_generator_expect(rd_generator *gen, int64_t n);

/* What a generator has done so far. */
typedef struct rd_gen_counts {
    int64_t prompt_tokens;   /* of the requests that were started */
    int64_t shared_tokens;   /* of them taken from the cache */
    int64_t response_tokens; /* sampled */
    int64_t calls;           /* of the model */
    int64_t under_way;       /* responses under way, summed over the calls */
} rd_gen_counts;
void rd_generator_counts(const rd_generator *gen, rd_gen_counts *counts);

/* ---------------------------------------------------------------- evaluation (search.c …) */

enum {
    RD_METHOD_IO = 1,                 /* direct few-shot, one greedy answer */
    RD_METHOD_SEARCH = 2,             /* the student follows its rules itself */
    RD_METHOD_SEARCH_INTERPRETER = 4, /* … the teacher's interpreter follows them */
    RD_METHOD_VOTE = 8,               /* few-shot majority at the token budget of search */
    RD_METHOD_RANDOM_RULES = 16,      /* control: N random training rules, exact interpreter */
    RD_METHOD_ORACLE_RULE = 32        /* diagnosis: the student follows the task's true rule */
};
/* "io", "search", "search_interpreter", "vote", "random_rules", "follow_true_rule" */
const char *rd_method_name(int method);
int rd_method_parse(const char *name, int *method);

enum { RD_MAX_N = 16 };
typedef struct rd_eval_opts {
    const char *arm; /* name in the results */
    int methods;     /* RD_METHOD_… or'ed */
    int n_counts;    /* numbers of hypotheses, ascending */
    int64_t counts[RD_MAX_N];
    double rule_temperature, follow_temperature, vote_temperature;
    bool first_greedy; /* the first proposal is greedy (default) */
    bool text_ties;    /* of equal scores the greatest rule text wins, as in the official code */
    int64_t max_rule_tokens, max_answer_tokens;
    int64_t max_votes; /* cap on votes per query; 0: none */
    int64_t block;     /* problems per work unit; units go side by side */
    uint64_t seed;
    const char *const *random_rules[RD_FAMILIES]; /* lent; training rules for the control */
    int64_t n_random_rules[RD_FAMILIES];
    const char *dir, *config; /* predictions.h5 and journals go to dir */
    rd_generator_opts generator;
    bool no_dropping; /* tests: follow every rule on every demonstration */
} rd_eval_opts;
/* io and search, 1, 5 and 10 hypotheses, the paper's temperatures. */
void rd_eval_defaults(rd_eval_opts *o);

/* One line of the table.  low and high: 95 % interval clustered by problem. */
typedef struct rd_result {
    char arm[48];
    rd_family family;
    char set[32];    /* the test set's name where the family has several; else "" */
    char method[32]; /* a method's or a trivial baseline's name */
    int64_t n;       /* hypotheses; vote: the n of search whose tokens it spends, without search
                      * among the methods the votes; 0 where it does not apply */
    char parse[12];  /* "strict", "tolerant" */
    double accuracy, low, high;
    double solved; /* share of problems with every query right */
    int64_t problems, queries;
    double tokens_per_query;
} rd_result;
typedef struct rd_results {
    int64_t n, cap;
    rd_result *item;
} rd_results;
void rd_results_add(rd_results *r, const rd_result *item);
void rd_results_free(rd_results *r);

/* Accuracy over queries with an interval whose units are problems: mean of right/queries pooled,
 * its variance from problem totals (ratio estimator), the normal quantile; Wilson's bounds on
 * problems when the variance is zero.  right[i] of total[i] queries of problem i; problems without
 * queries do not count, and with none at all accuracy is 0 in 0 … 1.  Local. */
void rd_cluster_interval(int64_t n, const int64_t *right, const int64_t *total, double *accuracy,
                         double *low, double *high);

/* Evaluate on the test split of tasks.  Collective on grid->world; tasks and options equal on all
 * ranks.  Failures (no answer, no rule) stay in the denominator; follow_true_rule has only the
 * problems whose rule is known.  Blocks of problems are units of a journal, from which a restart
 * continues on any number of ranks; when predictions.h5 is already there for the same key, it is
 * kept.  In both cases the results are computed from the file.
 *
 * Search for n hypotheses: all of the first n proposals that are still in play are followed on
 * demonstration 0, then on 1, …; out of play is a rule that can no longer win (a higher score, then
 * more samples among the first n, then the earlier draw; or the text, see text_ties).  A
 * demonstration counts when the strict reading is the gold output.  What is begun ahead of its turn
 * because there is room changes none of this.  Numbers of hypotheses that
 * share work do it once, but each has the outcome and the tokens of a search for that n alone:
 *   tokens_in   the proposing prompt once, then the prompt of every application that was needed
 *   tokens_out  the n proposals and the responses of these applications
 * vote spends about the tokens of search at the same n: prompt once per query, then the votes.
 *
 * predictions.h5: /problem (family u8, id i64, task i64 (its place in tasks), demos i32, queries
 * i32), /hypothesis (problem i64, draw i32 (first), rule text, score i32 and followed i32 (right
 * and all demonstrations that the student followed it on), interpreter_score i32 (-1: not a rule),
 * samples i32), /answer (problem i64, query i32, method u8, n i32, hypothesis i64 (-1: none, or
 * not the student's), response text, strict u8, tolerant u8), /spent (problem i64, method u8, n
 * i32, tokens_in i64, tokens_out i64).  Rows follow the order of tasks on any number of ranks.
 *
 * model_key: a hash of the weights' origin (checkpoint step, dataset key).
 * Errors: RD_EINPUT for options that make no sense, RD_ESTOP, RD_EIO, RD_ENUMERIC. */
int rd_eval_run(const rd_grid *g, const rd_model *model, const rd_chat *chat, const rd_prompts *p,
                const rd_taskset *tasks, uint64_t model_key, const rd_eval_opts *o,
                rd_results *results);

/* What a search of somebody else's was told, for one problem: all proposals, and every one of them
 * followed on every example.  All lent. */
typedef struct rd_recorded_answer {
    const char *response; /* NULL: none came */
    int64_t tokens_in, tokens_out;
} rd_recorded_answer;
typedef struct rd_recorded {
    int64_t propose_in;               /* tokens of the proposing prompt */
    const char *const *rule;          /* [draws]; NULL: none came */
    const int64_t *propose_out;       /* [draws] tokens */
    const rd_recorded_answer *answer; /* [draws][demonstrations, then queries] */
} rd_recorded;
/* The evaluation of such searches: the same choice, drops and counts of tokens as rd_eval_run's
 * search, predictions.h5 in o->dir and lines of the results, method "search", arm o->arm.  A rule
 * that was drawn several times has the answers of its first draw.
 * Collective on g->world.  tasks: test tasks alone, equal on all ranks.  record [n]: of the tasks
 * first … first + n - 1, each with at least the largest number of o's hypotheses as draws; the
 * ranks' shares follow one another and are all tasks.  key: a hash of what all records hold; when
 * predictions.h5 is there for it and o's numbers of hypotheses, it is kept.
 * Errors: RD_EINPUT for options that make no sense or a damaged file, RD_EIO. */
int rd_eval_recorded(const rd_grid *g, const rd_prompts *p, const rd_taskset *tasks, uint64_t key,
                     const rd_eval_opts *o, int64_t first, int64_t n, const rd_recorded *record,
                     rd_results *results);
/* The trivial baselines on the test tasks of a set, fitted on its training tasks: arm "trivial",
 * the baseline's name as method, n = 0.  Local. */
int rd_eval_baselines(const rd_taskset *tasks, rd_results *results);

#endif
