/* scan.h: MiniSCAN's language of grammars (private to the scan_*.c files).
 *
 * A grammar gives each primitive word its output word and each function word a template:
 *
 *   postfix  x F    ->  x x x        prefix  F x  ->  x x        infix  x F y  ->  y x
 *
 * Functions are worked out one after the other, the tightest first, each from left to right
 * (prefixes from right to left), on what stands next to them: a function that finds another
 * function there, not a value, has no meaning and the input none either. */
#ifndef RD_TASK_SCAN_H
#define RD_TASK_SCAN_H

#include "families.h"

enum {
    SCAN_WORD = 24, /* longest word + 1 */
    SCAN_PRIMITIVES = 12,
    SCAN_FUNCTIONS = 6,
    SCAN_TEMPLATE = 8, /* longest template */
    SCAN_INPUT = 24,   /* words of an input */
    SCAN_OUTPUT = 96,  /* words of an output */
    SCAN_TEXT = 399    /* characters of a rule's text */
};
typedef enum { POSTFIX, PREFIX, INFIX } scan_kind;

typedef struct scan_function {
    char word[SCAN_WORD];
    scan_kind kind;
    int n;                       /* length of the template */
    uint8_t is_y[SCAN_TEMPLATE]; /* 0: x, 1: y (infix only) */
} scan_function;

struct rd_rule {
    int n_primitives, n_functions;
    char word[SCAN_PRIMITIVES][SCAN_WORD], meaning[SCAN_PRIMITIVES][SCAN_WORD];
    scan_function function[SCAN_FUNCTIONS]; /* tightest first */
};

/* Split at single blanks.  Number of words, or -1: too many, too long, or not words and blanks. */
int scan_words(const char *text, char words[][SCAN_WORD], int most);

/* An input on its way to the output: values (word numbers of the meanings) and functions. */
typedef struct scan_item {
    int function;               /* -1: a value */
    int n;                      /* words of the value */
    uint8_t value[SCAN_OUTPUT]; /* numbers of primitives */
} scan_item;
typedef struct scan_line {
    int n;
    scan_item item[SCAN_INPUT];
} scan_line;
/* The words of an input as items; false when one is unknown to the grammar. */
bool scan_compile(const rd_rule *r, const char words[][SCAN_WORD], int n, scan_line *l);
/* Work the functions out, down to one value.  work (may be NULL) gets each function's clause and
 * the line after it, all but the last. */
bool scan_reduce(const rd_rule *r, scan_line *l, rd_buf *work);

rd_rule *scan_copy(const rd_rule *r);
bool scan_fits(const rd_rule *r); /* its text is not too long */
/* Words that the sentences use themselves; a grammar with such a word cannot be told. */
bool scan_reserved(const char *word);
/* "x F y = y x" for each function, tightest first: the grammar up to its words. */
void scan_structure(const rd_rule *r, rd_buf *out);
/* "x F = x x" for each function, alphabetically, one per line. */
void scan_kinds(const rd_rule *r, rd_buf *out);
const char *scan_vocabulary(const rd_gen_opts *opts, rd_hold level, rd_buf *out);
/* Change one thing; false when the change cannot be made. */
bool scan_change(rd_rule *r, rd_rng *rng);

int scan_search(const rd_task *t, const rd_search_opts *opts, rd_candidates *cands);
bool scan_draw(const rd_gen_opts *opts, rd_rng *rng, rd_task *t);

#endif
