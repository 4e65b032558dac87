/* listfn_search.h: the parts of the List Function search (private to listfn_{search,bank,cells}.c).
 *
 * All lists of the search are kept for the first LF_DEMOS demonstrations at once: a `column` is one
 * list per demonstration.  Trees live in one library program; nodes in it are shared freely, since
 * a rule is copied out of it when it is offered. */
#ifndef RD_TASK_LISTFN_SEARCH_H
#define RD_TASK_LISTFN_SEARCH_H

#include "listfn.h"

enum { LF_DEMOS = 16, LF_CELLS = 256, LF_CELL_WORDS = LF_CELLS / 64, LF_SOLUTIONS = 24 };

/* One list per demonstration: list d is pool[off[d] … off[d] + len[d]); len -1: undefined. */
typedef struct column {
    int32_t off[LF_DEMOS];
    int16_t len[LF_DEMOS];
} column;

/* A list function met so far: step applied to entry parent (parent -1: to nothing, the input). */
typedef struct bank_entry {
    int32_t parent, step; /* step: node of the library */
    float cost;
    uint8_t level;
    bool defined;  /* on all demonstrations */
    uint32_t hits; /* demonstrations whose output it gives */
    uint64_t hash;
    column c;
} bank_entry;

typedef struct template_step {
    int32_t node;
    float cost;
    uint8_t tier; /* 1 on the input only; 2 on cheap lists too; 3 as third step; 4, 5 after many */
} template_step;

/* A pipeline that gives a wanted column. */
typedef struct solution {
    int32_t root;
    float cost;
} solution;
typedef struct solutions {
    int n;
    solution item[LF_SOLUTIONS]; /* the cheapest, ascending */
} solutions;

typedef struct cells cells; /* listfn_cells.c */

typedef struct search {
    const rd_task *t;
    int nd;         /* demonstrations used by the bank */
    int64_t n;      /* demonstrations and queries */
    ints *in, *out; /* of all examples (out: demonstrations only) */
    candidate_set *set;
    lf_prog lib;
    int32_t *pool;
    int32_t pool_n, pool_cap;
    bank_entry *bank;
    int32_t bank_n, bank_cap;
    int32_t *slots; /* hash index into bank, -1 empty */
    int32_t slots_n;
    template_step *steps;
    int32_t steps_n, steps_cap;
    int32_t news[12]; /* values that outputs hold more of than inputs, the commonest first */
    int32_t news_n;
    column target;
    cells *cells[24]; /* of bank entries, made when first needed */
    int32_t cells_of[24], cells_n;
} search;

/* ---------------------------------------------------------------- bank (listfn_bank.c) */
void lf_templates(search *s); /* fills steps */
column lf_column_of(search *s, const ints *lists);
uint64_t lf_column_hash(const search *s, const column *c);
bool lf_column_same(const search *s, const column *a, const column *b);
int lf_bank_find(const search *s, const column *c); /* -1 */
void lf_bank_build(search *s);
int lf_bank_pipe(search *s, int entry); /* its pipeline, as a node of the library */

/* ---------------------------------------------------------------- offering (listfn_search.c) */
void lf_offer(search *s, int root);
void lf_solution_add(solutions *list, int root, double cost);

/* ---------------------------------------------------------------- element-wise (listfn_cells.c) */
cells *lf_cells_get(search *s, int entry); /* NULL: too many cells, or too many lists examined */
void lf_cells_free(cells *c);
/* Rules "entry; then map/filter/list positions" that give the wanted column. */
void lf_solve_map(search *s, int entry, const column *want, bool deep, solutions *list);
void lf_solve_filter(search *s, int entry, const column *want, solutions *list);
/* "For each x write E1 and E2" where want has twice the length. */
void lf_solve_twin(search *s, int entry, const column *odd, const column *even, solutions *list);

#endif
