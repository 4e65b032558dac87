/* teacher: who proposes rules and applies them.  One interface, several kinds.
 *
 * The symbolic teacher searches the family's DSL; the interface is the one that teachers over HTTP,
 * a local model, and the replay of recorded traces implement: propose, apply, cost in tokens. */
#ifndef RD_TEACHER_H
#define RD_TEACHER_H

#include "rd/infer.h"
#include "rd/io.h"
#include "rd/task.h"
#include "rd/text.h"

typedef struct rd_teacher rd_teacher;

typedef struct rd_teacher_opts {
    const char *kind; /* "symbolic" */
    uint64_t seed;
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
    char *rule; /* one line; owned by the caller (rd_free) */
    int64_t tokens_in, tokens_out;
} rd_proposal;

typedef struct rd_application {
    const char *rule, *input; /* lent by the caller */
    uint64_t key;             /* which application this is; the same key gives the same response */
    char *response;           /* raw text; owned by the caller (rd_free) */
    int64_t tokens_in, tokens_out;
} rd_application;

/* prompts and tok are lent and must outlive the teacher; tok may be NULL (tokens are then counted
 * as bytes / 4, rounded up). */
int rd_teacher_create(const rd_teacher_opts *o, const rd_prompts *prompts, const rd_tok *tok,
                      rd_teacher **t);
void rd_teacher_free(rd_teacher **t);
/* Hash of everything that determines its answers (journals are keyed by it). */
uint64_t rd_teacher_key(const rd_teacher *t);
/* k rules for a task, a pure function of (options, task, k's prefix): proposal i does not depend on
 * k.  Local for the symbolic kind. */
int rd_teacher_propose(rd_teacher *t, const rd_task *task, int64_t k, double temperature,
                       rd_proposal *out);
/* Apply rules to inputs. */
int rd_teacher_apply(rd_teacher *t, rd_family f, int64_t n, double temperature, rd_application *a);

/* The same two as jobs that are handed in and come back, in any order, when they are done: a remote
 * kind has calls of many jobs under way at once.  A kind that computes does the work as it is
 * handed in.  All Local, between open and close.
 *   start  task, rules, inputs, out and a are lent until the job has come back.
 *   next   waits for a finished job and gives its tag (not NULL).  NULL: none is under way, or
 *          another rank has given up (rd_teacher_cancel).  RD_ESTOP: a stop was asked for.
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
