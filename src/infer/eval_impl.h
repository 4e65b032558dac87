/* eval_impl.h: private to infer: what the parts of an evaluation share. */
#ifndef RD_INFER_EVAL_IMPL_H
#define RD_INFER_EVAL_IMPL_H

#include "rd/infer.h"

/* ---------------------------------------------------------------- predictions.c */

/* Rows of predictions.h5 in memory, of one problem, a block of problems, or a rank's share.  Cells
 * are int64; references between tables and texts count from this object's own first row. */
enum { ROWS_PROBLEM, ROWS_HYPOTHESIS, ROWS_ANSWER, ROWS_SPENT, ROWS_TABLES };
enum {
    PROBLEM_FAMILY,
    PROBLEM_SOURCE,
    PROBLEM_ID,
    PROBLEM_TASK,
    PROBLEM_DEMOS,
    PROBLEM_QUERIES,
    PROBLEM_COLUMNS
};
enum {
    HYP_PROBLEM,
    HYP_DRAW,
    HYP_RULE,
    HYP_SCORE,
    HYP_FOLLOWED,
    HYP_INTERPRETER_SCORE,
    HYP_SAMPLES,
    HYP_COLUMNS
};
enum {
    ANSWER_PROBLEM,
    ANSWER_QUERY,
    ANSWER_METHOD,
    ANSWER_N,
    ANSWER_HYPOTHESIS,
    ANSWER_RESPONSE,
    ANSWER_STRICT,
    ANSWER_TOLERANT,
    ANSWER_COLUMNS
};
enum { SPENT_PROBLEM, SPENT_METHOD, SPENT_N, SPENT_IN, SPENT_OUT, SPENT_COLUMNS };

typedef struct pred_table {
    int64_t rows, cap;
    int64_t *cell; /* [rows][columns of the table] */
} pred_table;
typedef struct predictions {
    pred_table table[ROWS_TABLES];
    rd_pool text;
} predictions;

#define PREDICTIONS_SCHEMA "redistill.predictions"
enum { PREDICTIONS_VERSION = 2 };

/* Append a row of the table's number of cells; returns it.  Texts are ids of p->text, -1: none. */
int64_t predictions_add(predictions *p, int table, const int64_t *cells);
static inline const int64_t *predictions_row(const predictions *p, int table, int64_t row)
{
    static const int columns[ROWS_TABLES] = {PROBLEM_COLUMNS, HYP_COLUMNS, ANSWER_COLUMNS,
                                             SPENT_COLUMNS};
    return p->table[table].cell + row * columns[table];
}
/* Append all rows of `from`, whose references move along. */
void predictions_append(predictions *p, const predictions *from);
void predictions_free(predictions *p);
void predictions_put(rd_buf *record, const predictions *p);
int predictions_get(rd_cursor *record, predictions *p); /* appends; RD_EINPUT when broken */
/* The ranks' rows one rank after the other.  Collective on c. */
int predictions_write(const rd_comm *c, const predictions *p, rd_store *s);
/* Every row on every rank, without the texts (their ids are the file's).  Collective on the
 * store's. */
int predictions_read(rd_store *s, predictions *p);

/* ---------------------------------------------------------------- results.c */

/* Test tasks whose results stand together: those of a family and a name (rd_taskset.set_name). */
typedef struct test_set {
    rd_family family;
    const char *name;
} test_set;
/* All of them, family by family, then in the order of the tasks; returns how many. */
int64_t test_sets_of(const rd_taskset *tasks, test_set **sets);
bool test_set_has(const test_set *set, const rd_taskset *tasks, const rd_task *t);

/* ---------------------------------------------------------------- a block of problems */

/* An answer without a rule. */
typedef struct direct {
    char *response;
    int64_t in, out; /* tokens */
} direct;

typedef struct problem {
    const rd_task *task;
    uint64_t key;                    /* names the problem, wherever it stands in the set */
    predictions rows;                /* what was found out */
    int64_t search_tokens[RD_MAX_N]; /* of search, per count of hypotheses */
    direct *greedy;                  /* [queries] with io, or where vote spends search's tokens */
    direct *vote;                    /* [queries][most_votes] */
    int64_t most_votes;
} problem;

typedef struct block {
    rd_generator *gen;
    const rd_prompts *prompts;
    const rd_eval_opts *o;
    int64_t n;
    problem *problem;
    int64_t tokens;           /* prompts and responses so far */
    struct asking *asked;     /* what is under way */
    int rc;                   /* of asking */
    struct search *search;    /* [n] search.c's, where it is among the methods */
    struct hypotheses *truth; /* [n] the true rules */
    rd_buf prompt;            /* to be written before block_ask */
} block;

static inline int64_t max_count(const rd_eval_opts *o)
{
    return o->counts[o->n_counts - 1];
}
/* A random stream: the purpose, the problem, and what is asked. */
uint64_t stream_key(const block *b, const problem *p, const char *purpose, uint64_t what,
                    int64_t i);
/* Read a response to query or demonstration `example` both ways and compare with the gold output.
 */
void judge(const block *b, const rd_task *t, int64_t example, const char *response, bool *strict,
           bool *tolerant);
void add_answer(problem *p, int method, int64_t n, int64_t query, int64_t row, const char *response,
                bool strict, bool tolerant);
void add_spent(problem *p, int method, int64_t n, int64_t in, int64_t out);

/* A question to the student that is under way, and what is to be done with the response: `ended`
 * may ask more and cancel others. */
typedef struct asking {
    rd_gen_request r; /* first: it is found by it */
    void (*ended)(block *b, struct asking *a);
    block *b;
    problem *p;
    void *of;            /* … */
    struct trial *trial; /* … and this and that is what the one who asked needs */
    int64_t index;
    struct asking *before, *after; /* of the block's */
} asking;
/* What is asked first: answers, which end a problem; rules; then their applications demonstration
 * by demonstration, so that what is dropped is hardly begun; and what nothing waits for fills gaps.
 */
enum { ASK_ANSWER = 0, ASK_RULE = 1, ASK_DEMO = 2, ASK_LAST = 63 };
/* Ask what b->prompt says.  *a stays until it has ended or is cancelled.  A failure is kept until
 * block_next, which returns it. */
asking *block_ask(block *b, problem *p, int64_t priority, uint64_t key, double temperature,
                  int64_t max_new, void (*ended)(block *b, asking *a));
void block_cancel(block *b, asking *a);
/* Work until a question of some block has ended; *of: its block, NULL when none is under way. */
int block_next(rd_generator *gen, block **of);

/* ---------------------------------------------------------------- hypotheses.c */

/* One application of a rule by the student. */
typedef struct trial {
    bool done, strict, tolerant;
    bool counted;         /* some contest needed it */
    struct asking *asked; /* under way */
    int64_t in, out;      /* tokens */
    char *response;
} trial;

/* A distinct rule text among the draws. */
typedef struct hypothesis {
    char *rule;
    uint64_t hash;
    int64_t first_draw;
    rd_rule *parsed;           /* NULL: the interpreter does not know it */
    int64_t interpreter_score; /* -1 then */
    trial *trial;              /* [examples of the task] */
} hypothesis;

typedef struct hypotheses {
    const rd_task *task;
    bool text_ties; /* rd_eval_opts */
    int64_t n, cap;
    hypothesis *item; /* in the order of first draws: those of the first k draws are a prefix */
    int64_t n_draws, cap_draws;
    int64_t *of_draw; /* index into item, or -1: no rule was read */
} hypotheses;
void hypotheses_draw(hypotheses *h, const char *rule); /* NULL: no rule */
/* Parse every rule and run it on the demonstrations. */
void hypotheses_interpret(hypotheses *h);
void hypotheses_free(hypotheses *h);

/* The hypotheses of the first n draws competing for being the answer. */
typedef struct contest {
    const hypotheses *of; /* lent */
    int64_t n, n_hyp, n_live;
    int64_t *samples, *score; /* [n_hyp] */
    bool *live;               /* [n_hyp] can still win */
    int64_t in, out;          /* tokens spent on following */
} contest;
void contest_open(contest *c, const hypotheses *h, int64_t n);
/* Demonstration d of every live rule is there: take its points and tokens, then drop what cannot
 * win any more (drop false: nothing is). */
void contest_round(contest *c, int64_t d, bool drop);
/* Drop what cannot win with `remaining` demonstrations to come. */
void contest_drop(contest *c, int64_t remaining);
int64_t contest_best(const contest *c); /* -1: there is none */
void contest_free(contest *c);

/* ---------------------------------------------------------------- the methods */

/* All methods of a block go through the generator side by side, and so do blocks; these functions
 * only ask, and note down what has come.
 *   open    asks for rules, greedy answers and what else needs nothing before it
 *   note    when nothing of the block is under way: notes down all but votes, and asks for these
 *   note_votes  when nothing is under way again
 *   free    also with questions under way */
void search_open(block *b);
void search_note(block *b);
void search_free(block *b);
/* A problem's search from what is on record, noted down at once.  b: prompts and options alone. */
void search_recorded(const block *b, problem *p, const rd_recorded *r);
void direct_open(block *b);
void direct_note(block *b);
void direct_note_votes(block *b);
void direct_free(block *b);

#endif
