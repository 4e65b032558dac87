/* listfn.h: the typed language of List Function rules (private to the listfn_*.c files).
 *
 * A rule is a pipeline of steps on "the list".  Scalars, element expressions and conditions inside
 * a step speak of the list as it stands when the step begins.  Programs are trees in one array of
 * nodes; every primitive is a row of lf_ops (type, argument types, cost, wordings), so printing,
 * parsing, costs, mutation and random programs need no code per primitive. */
#ifndef RD_TASK_LISTFN_H
#define RD_TASK_LISTFN_H

#include "families.h"

/* Types: step, pipeline, scalar of the list, element expression, element predicate, list condition,
 * constants. */
typedef enum { T_S, T_P, T_I, T_E, T_Q, T_B, T_C, LF_TYPES } lf_type;

typedef enum {
    /* steps */
    S_LEAVE,
    S_RETURN,
    S_CONST,
    S_TAKE,
    S_TAKEL,
    S_DROP,
    S_DROPL,
    S_SLICE,
    S_DEL,
    S_DELR,
    S_TRIM,
    S_REMV,
    S_REM1,
    S_REMEXT,
    S_REPL,
    S_INS,
    S_SWAP,
    S_SWAPE,
    S_FRONT,
    S_END,
    S_ROTL,
    S_ROTR,
    S_REV,
    S_SORT,
    S_SORTD,
    S_SORTBY,
    S_SORTBYD,
    S_UNIQ,
    S_UNIQL,
    S_FILTER,
    S_OMIT,
    S_POSNS,
    S_TAKEW,
    S_DROPW,
    S_ADDALL,
    S_MAP,
    S_REPEACH,
    S_UPTO,
    S_FLAT2,
    S_REPV,
    S_RANGE,
    S_RUNSUM,
    S_RUNPROD,
    S_RUNMAX,
    S_RUNMIN,
    S_DIFF,
    S_ADIFF,
    S_NSUM,
    S_NPROD,
    S_FILLIN,
    S_COUNTS,
    S_EXTRA,
    S_PAIRS,
    S_TALLY,
    S_ZIGZAG,
    S_FOLD,
    S_REVPART,
    S_AFTER,
    S_JOIN,
    S_ALT,
    S_IF,
    /* scalars */
    I_NUM,
    I_FIRST,
    I_LAST,
    I_LEN,
    I_MAX,
    I_MIN,
    I_SUM,
    I_PROD,
    I_MEAN,
    I_NDIST,
    I_KTH,
    I_POSOF,
    I_COUNT,
    I_ADD,
    I_SUB,
    I_MUL,
    I_DIV,
    I_MOD,
    /* element expressions */
    E_X,
    E_POS,
    E_NEXT,
    E_PREV,
    E_OPP,
    E_CNT,
    E_EARLIER,
    E_SMALLER,
    E_I,
    E_TENS,
    E_UNITS,
    E_DIGSUM,
    E_ADD,
    E_SUB,
    E_MUL,
    E_DIV,
    E_MOD,
    E_MIN,
    E_MAX,
    E_ABS,
    E_IF,
    /* element predicates */
    Q_GT,
    Q_LT,
    Q_EQ,
    Q_NE,
    Q_GE,
    Q_LE,
    Q_EVEN,
    Q_ODD,
    Q_MULT,
    Q_AND,
    Q_OR,
    /* list conditions */
    B_GT,
    B_LT,
    B_EQ,
    B_NE,
    B_EVEN,
    B_ODD,
    B_IN,
    B_NOTIN,
    /* pipeline link: arg 0 the step, arg 1 the rest or -1 */
    P_SEQ,
    /* constant cell: v the value, arg 0 the rest or -1 */
    C_CELL,
    LF_OPS
} lf_op;

enum { LF_ARGS = 3, LF_WORDINGS = 4, LF_DEPTH = 20, LF_MAX_NODES = 160, LF_MAX_LEN = 120 };

/* A wording is a sentence part with slots %1 %2 %3.  A scalar slot is in round brackets unless a
 * number stands there; %!1 is the same without brackets.  Pipelines are always in brackets. */
typedef struct lf_opdef {
    uint8_t type;
    char args[LF_ARGS + 1]; /* letters I E Q B P C */
    float cost;
    const char *words[LF_WORDINGS]; /* first: canonical; NULL from the last on */
} lf_opdef;
extern const lf_opdef lf_ops[LF_OPS]; /* listfn_words.c */
int lf_arity(int op);
lf_type lf_arg_type(int op, int k);

typedef struct lf_node {
    uint8_t op;
    int32_t arg[LF_ARGS];
    int32_t v; /* I_NUM, C_CELL */
} lf_node;
typedef struct lf_prog {
    lf_node *a;
    int32_t n, cap;
} lf_prog;
struct rd_rule {
    lf_prog p;
    int32_t root; /* a P_SEQ */
};

/* ---------------------------------------------------------------- programs (listfn_dsl.c) */
int lf_add(lf_prog *p, int op, int a, int b, int c); /* index of the new node */
int lf_num(lf_prog *p, int v);
/* Copy the tree at node of src to the end of dst; its new index. */
int lf_copy(lf_prog *dst, const lf_prog *src, int node);
/* Pipeline a followed by pipeline b (both in p); b is linked, not copied. */
int lf_append(lf_prog *p, int a, int b);
rd_rule *lf_rule_make(const lf_prog *p, int root); /* compact copy */
void lf_rule_free(rd_rule *r);
bool lf_same(const lf_prog *p, int a, const lf_prog *q, int b);
double lf_cost(const lf_prog *p, int node);
int lf_steps(const lf_prog *p, int node);
int lf_size(const lf_prog *p, int node); /* nodes of the tree */

/* ---------------------------------------------------------------- interpreter (listfn_dsl.c) */
/* A list with its statistics, computed when first asked for. */
typedef struct lf_env {
    const lf_prog *p;
    const ints *l;
    int32_t *fuel;
    uint32_t have;
    int64_t max, min, sum;
} lf_env;
lf_env lf_env_make(const lf_prog *p, const ints *l, int32_t *fuel);
/* All: false when undefined. */
bool lf_scalar(lf_env *e, int node, int64_t *out);
bool lf_elem(lf_env *e, int node, int i, int64_t *out);
bool lf_pred(lf_env *e, int node, int i); /* undefined counts as false */
bool lf_cond(lf_env *e, int node, bool *out);
/* a op b, op of E_ADD … E_ABS; division and remainder floor. */
bool lf_arithmetic(int op, int64_t a, int64_t b, int64_t *out);
bool lf_step(const lf_prog *p, int node, const ints *in, ints *out, int32_t *fuel);
bool lf_run(const lf_prog *p, int root, const ints *in, ints *out);

/* ---------------------------------------------------------------- the rest */
void lf_print(const rd_rule *r, uint64_t wording, rd_buf *out); /* listfn_text.c */
/* A step's kind: its canonical words, with "..." for what they speak of. */
void lf_print_kind(int op, rd_buf *out);
rd_rule *lf_parse(const char *text);
int lf_search(const rd_task *t, const rd_search_opts *opts,
              rd_candidates *cands);                            /* listfn_search.c */
bool lf_draw(const rd_gen_opts *opts, rd_rng *rng, rd_task *t); /* listfn_gen.c */
const char *lf_vocabulary(const rd_gen_opts *opts, rd_hold level, rd_buf *out);
bool lf_rival(const rd_task *t, const rd_held *h);
/* A random tree of the type, at most depth levels (tests, difficulties 1-3, added steps). */
int lf_random(lf_prog *p, lf_type type, int depth, rd_rng *rng);
/* Class of a rule: its behaviour on fixed probe lists (digits: lists of 3-5 digits only). */
void lf_class(const rd_rule *r, bool digits, rd_buf *out);
rd_rule *lf_mutate(const rd_rule *r, const rd_task *t, rd_rng *rng); /* listfn.c */

#endif
