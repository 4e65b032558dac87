/* teacher: who proposes rules and applies them.  One interface, several kinds.
 *
 * "symbolic" searches the family's DSL; "http" asks any server with OpenAI's chat completions;
 * "replay" says what another teacher said in an earlier run; "model" generates with a model of
 * ours.
 *
 * Calls over HTTP cost money and fail in many ways; what is promised about them:
 * - Answers are kept in a ledger (io.h: DIR/calls.RANK.ledger), found by a hash of the request's
 *   bytes and of which draw it is.  No call whose answer is there is made again, by any run in DIR,
 *   on any number of ranks, with any settings; the address and the key are no part of the hash.
 *   An answer is written to the ledger before anything else is done with it, and synced to the disk
 *   every 2 s.  So a killed process loses the answers that were on their way to it at that moment
 *   (at most in_flight), a crashed node those of the last 2 s besides.
 * - At most in_flight calls are under way over all ranks: rank r gets its share, ranks beyond that
 *   number none, and then no work.  A rank with nothing more to do leaves its share to the others.
 *   A call that waits to be tried again keeps its place.
 * - Tried again: refused and broken connections, time-outs, 408, 409, 425, 429, 5xx, and responses
 *   with status 200 that are no answer (HTML, cut off, garbage).  The wait is what the server asks
 *   for (Retry-After in either form), and back-off with full jitter.  After `attempts`, or where
 *   another would begin later than `deadline` after the first, the call is given up; so is, at
 *   once, one that is refused for its own sake (400, 413, 422).  Given up, the stage fails with one
 *   line; with unanswered_counts the call counts as unanswered, an empty text, unless the first 20
 *   all end so.  Whatever holds for every call (401, 403, 404, a redirect, a certificate) fails the
 *   stage at once.
 * - An answer that was cut at max_tokens, a refusal and an empty answer are answers, and paid for.
 *   Tokens are the server's count, or, where it gives none, counted as teachers do here.
 * - budget, max_calls: no call is begun that could pass them, counting all ranks and all earlier
 *   runs in DIR; then RD_ESTOP.  Attempts that brought no answer are not counted, although some
 *   servers charge for them.
 * - A stop request, or another rank's failure, is noticed within a second; calls under way get 5 s
 *   to arrive and are kept.
 * - The key goes into the request's header and nowhere else: should a server quote it, stars stand
 *   in its place in whatever is kept or printed. */
#ifndef RD_TEACHER_H
#define RD_TEACHER_H

#include "rd/infer.h"
#include "rd/io.h"
#include "rd/par.h"
#include "rd/task.h"
#include "rd/text.h"

typedef struct rd_teacher rd_teacher;

/* Of the kind "http".  Strings are lent until rd_teacher_create returns; none is NULL but key. */
typedef struct rd_http_opts {
    const char *url;   /* of the API, "https://host/v1"; "/chat/completions" is added if missing */
    const char *proxy; /* "": none, whatever the environment says */
    const char *key;   /* the secret itself; NULL: the server wants none */
    const char *model;
    const char *system;      /* a system message before each prompt; "": none */
    const char *token_field; /* "max_tokens" or, for newer models, "max_completion_tokens" */
    int64_t max_tokens;      /* per answer */
    int64_t choices;         /* proposals per call (the server's "n") */
    bool send_seed;          /* a seed per draw, for servers that can repeat an answer */
    int64_t in_flight;       /* calls under way, all ranks */
    int64_t attempts;        /* per call */
    double timeout;          /* seconds per attempt */
    double deadline;         /* seconds from a call's first attempt, in which others may begin */
    double backoff, backoff_max; /* seconds: upper ends of the first wait and of all later ones */
    bool unanswered_counts;      /* a call given up counts as unanswered; else the stage fails */
    double price_in, price_out;  /* money per million tokens */
    double budget;               /* money; 0: no limit */
    int64_t max_calls;           /* answered; 0: no limit */
} rd_http_opts;

/* Of the kind "replay".  path: traces.h5 or a run directory with one; or what the official code
 * wrote, a folder with all_hypo_X.json, rule_apply_X.json and rule_reward_set_X.json (also two
 * levels below: DIR/TASK/gpt-4) or with its merged training sets, generate_rule_sft.json and
 * apply_rule_sft.json; or one of these files.  Tasks are found by their demonstrations.  What the
 * record lacks fails the stage with one line, or, with unanswered_counts, is an empty text.  Rules
 * stay as they were said, also over several lines.  Every rank holds the whole record. */
typedef struct rd_replay_opts {
    const char *path;
    bool unanswered_counts;
} rd_replay_opts;

/* Of the kind "model": it answers with whatever the generator samples (infer.h), many jobs at a
 * time. What it says depends on the model, the chat, the prompts and the options, not on the number
 * of ranks: bit for bit where replicas are single ranks, to rounding on larger grids.  Rules are
 * read by rd_rule_read; a response that is none is an empty rule.  Between two batches a stop is
 * heeded (RD_ESTOP); what was under way is then asked again. */
typedef struct rd_model_teacher_opts {
    /* Called by open, on all ranks of the grid on which the model lies: the model, lent until
     * close. Not called for a stage that finds itself done. */
    int (*load)(void *context, const rd_model **model);
    void *context;
    uint64_t identity;         /* which weights these are */
    const rd_chat *chat;       /* lent; outlives the teacher */
    int64_t max_tokens;        /* per response */
    int64_t max_answer_tokens; /* of those to applications; 0: max_tokens */
    /* The model proposes alone, and the family's exact interpreter follows its rules, without
     * tokens: its answer in the plainest form of a response; nothing where a text is no rule of the
     * family, or the rule is undefined on the input. */
    bool interpreter;
    rd_generator_opts generator;
} rd_model_teacher_opts;

typedef struct rd_teacher_opts {
    const char *kind; /* "symbolic", "http", "replay", "model" */
    uint64_t seed;
    rd_http_opts http;
    rd_replay_opts replay;
    rd_model_teacher_opts model;
    /* symbolic */
    double noise;        /* e0: error probability per application … */
    double step_noise;   /* e1: … and per executed primitive; e = 1 - (1-e0)(1-e1)^steps */
    double format_noise; /* f: answers with words around them, a missing bracket, … */
    double share_right, share_near, share_wrong; /* spread of proposals: 0.35 / 0.40 / 0.25 */
    /* skill s = logistic(a - b cost of the cheapest rule); b = 0 and a large: always right */
    double skill_a[RD_FAMILIES], skill_b[RD_FAMILIES];
    int wordings;        /* how many wordings are used (1: canonical only; 0: all) */
    bool use_known_rule; /* start from the rule the generator handed over, without a search */
} rd_teacher_opts;
void rd_teacher_defaults(rd_teacher_opts *o);

typedef struct rd_proposal {
    char *rule; /* one line, but for replay; owned by the caller (rd_free) */
    int64_t tokens_in, tokens_out;
} rd_proposal;

typedef struct rd_application {
    const char *rule, *input; /* lent by the caller */
    uint64_t key;             /* which application this is; the same key gives the same response */
    const rd_task *task;   /* what it belongs to: example `example` under proposal `draw` of this */
    int64_t draw, example; /* task, lent; NULL: nothing that a record could know */
    char *response;        /* raw text; owned by the caller (rd_free) */
    int64_t tokens_in, tokens_out;
} rd_application;

/* prompts and tok are lent and must outlive the teacher; tok may be NULL (tokens are then counted
 * as bytes / 4, rounded up). */
int rd_teacher_create(const rd_teacher_opts *o, const rd_prompts *prompts, const rd_tok *tok,
                      rd_teacher **t);
void rd_teacher_free(rd_teacher **t);
/* Hash of everything that determines its answers (journals are keyed by it). */
uint64_t rd_teacher_key(const rd_teacher *t);
/* Before open, and not needed: the tasks that will be asked about, tasks->task[i] itself,
 * rules[source] proposals each.  Local; tasks stay until close.  replay: RD_EINPUT for those that
 * the record lacks; of several tasks with equal demonstrations each gets its own. */
int rd_teacher_expect(rd_teacher *t, const rd_taskset *tasks, const int64_t *rules);
/* Before the first job and after the last: what a kind keeps in the run directory, and what it
 * shares over the ranks; the symbolic kind needs neither.  Collective on g->world; close after
 * every open, also one that failed.  http: RD_EINPUT, RD_EIO; g's replicas are single ranks; close
 * says what it all cost.  model: g is the model's own grid. */
int rd_teacher_open(rd_teacher *t, const rd_grid *g, const char *dir);
void rd_teacher_close(rd_teacher *t);

/* k rules for a task, a pure function of (options, task, k's prefix): proposal i does not depend on
 * k, as far as the server has it so.  An empty rule: none came, and no server is asked to apply it.
 */
int rd_teacher_propose(rd_teacher *t, const rd_task *task, int64_t k, double temperature,
                       rd_proposal *out);
/* Apply rules to inputs.  Both wait for the answers; RD_ESTOP where another rank has given up. */
int rd_teacher_apply(rd_teacher *t, rd_family f, int64_t n, double temperature, rd_application *a);

/* The same two as jobs that are handed in and come back, in any order, when they are done: a remote
 * kind has calls of many jobs under way at once.  A kind that computes does the work as it is
 * handed in.  All Local, between open and close; of a
 * model Collective on the replica, whose ranks call alike.
 *   start  task, rules, inputs, out and a are lent until the job has come back.
 *   next   waits for a finished job and gives its tag (not NULL).  NULL: none is under way, or
 *          another rank has given up (rd_teacher_cancel); no job may follow until the next open.
 *          RD_ESTOP: a stop was asked for.
 *   wants  would more jobs help?  Work left undone for a while costs nothing, so nobody need hand
 *          in more than this asks for.
 * After a failure or a cancel the jobs under way are lost, and nothing lent is touched any more. */
int rd_teacher_propose_start(rd_teacher *t, const rd_task *task, int64_t k, double temperature,
                             rd_proposal *out, void *tag);
int rd_teacher_apply_start(rd_teacher *t, rd_family f, int64_t n, double temperature,
                           rd_application *a, void *tag);
int rd_teacher_next(rd_teacher *t, void **tag);
bool rd_teacher_wants(const rd_teacher *t);
/* Local: the other ranks' rd_teacher_next gives NULL soon. */
void rd_teacher_cancel(rd_teacher *t);

#endif
