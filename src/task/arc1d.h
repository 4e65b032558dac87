/* arc1d.h: the rule language of 1D-ARC (private to the arc1d*.c files).
 *
 * A list of cells 0 ... 9 (0 is background) is seen as objects, maximal runs of one colour, or as
 * blocks, maximal runs of non-zero cells.  A rule is one to four parts, each applied to the result
 * of the one before.  A part edits selected objects, fills gaps, or paints objects by a table. */
#ifndef RD_TASK_ARC1D_H
#define RD_TASK_ARC1D_H

#include "families.h"

enum { ARC_CELLS = 128, ARC_PARTS = 4, ARC_KEYS = 9, ARC_COUNT_MAX = 99 };

typedef struct strip {
    int n;
    uint8_t v[ARC_CELLS];
} strip;

typedef struct span {
    uint8_t at, len;
} span;

enum { FORM_EDIT, FORM_GAPS, FORM_TABLE };
enum { UNIT_OBJECT, UNIT_BLOCK };

/* Which objects an edit is about.  Several objects of the greatest length are all "the longest". */
enum {
    SEL_EVERY,
    SEL_LONGEST,
    SEL_SHORTEST,
    SEL_NOT_LONGEST,
    SEL_NOT_SHORTEST,
    SEL_ODD,
    SEL_EVEN,
    SEL_LENGTH, /* exactly sel_arg cells */
    SEL_LONGER, /* more than sel_arg cells */
    SEL_FIRST,
    SEL_LAST,
    SEL_NOT_FIRST,
    SEL_NOT_LAST,
    SEL_COLOUR, /* all cells of colour sel_arg */
    SELECTORS
};

/* What is done to each selected object.  "The other" is the nearest object that is not selected
 * (the right one of two equally near).  An edit is undefined where a cell would leave the list or
 * fall on a cell that is taken. */
enum {
    ACT_ERASE,
    ACT_HOLLOW,   /* clear all but the two end cells */
    ACT_REVERSE,  /* in place */
    ACT_MAJORITY, /* paint in its most frequent colour (the smaller of two) */
    ACT_PAINT,
    ACT_ENDS,   /* paint the end cells */
    ACT_INSIDE, /* paint all but the end cells */
    ACT_MOVE_RIGHT,
    ACT_MOVE_LEFT,
    ACT_EXTEND_RIGHT,
    ACT_EXTEND_LEFT,
    ACT_TRIM_RIGHT, /* drop cells at that end; undefined when nothing would be left */
    ACT_TRIM_LEFT,
    ACT_DOUBLE,     /* extend right by its own length */
    ACT_COPY_RIGHT, /* a second copy, act_arg empty cells away */
    ACT_COPY_LEFT,
    ACT_SLIDE_RIGHT, /* until it meets an object or the edge */
    ACT_SLIDE_LEFT,
    ACT_STRETCH_RIGHT, /* grow until it meets an object or the edge */
    ACT_STRETCH_LEFT,
    ACT_TOWARD, /* move act_arg cells toward the other */
    ACT_TOUCH,  /* slide until it touches the other */
    ACT_STRETCH_TOUCH,
    ACT_MIRROR,    /* reflect across the other */
    ACT_STAMP,     /* becomes a copy of the other, centred on it */
    ACT_STAMP_OWN, /* the same in its own colour */
    ACTIONS
};

/* Gaps are the runs of zeros between two objects; they take the colour on their left. */
enum {
    GAPS_EVERY,
    GAPS_EQUAL, /* those between two cells of one colour */
    GAPS_ODD,   /* first, third, ... */
    GAPS_EVEN,
    GAPS_FIRST,
    GAPS_SHORTEST,
    GAPS_LONGEST,
    GAP_SETS
};

/* What a table looks at.  Keys are 1 ... 9; the two-way features use 1 and 2. */
enum {
    BY_LENGTH,
    BY_PARITY,   /* 1 odd, 2 even */
    BY_LONGEST,  /* 1 longest, 2 other */
    BY_SHORTEST, /* 1 shortest, 2 other */
    BY_RANK,     /* 1 the greatest length, 2 the next, ... */
    BY_POSITION, /* from the left */
    BY_COLOUR,
    FEATURES
};

/* Unused fields are 0, so that equal parts are equal bytes. */
typedef struct arc_part {
    uint8_t form, unit;
    uint8_t sel, sel_arg;        /* FORM_EDIT */
    uint8_t act, act_arg;        /* action, set of gaps, or feature */
    uint8_t entry[ARC_KEYS + 1]; /* FORM_TABLE: colour of key k at [k]; 0 leaves the object alone */
} arc_part;

struct rd_rule {
    uint8_t n;
    arc_part part[ARC_PARTS];
};
typedef struct rd_rule arc_rule;

/* The number a selector or an action takes. */
typedef enum { ARG_NONE, ARG_COUNT, ARG_COLOUR } arc_arg;

/* ---------------------------------------------------------------- arc1d_dsl.c */

arc_arg arc_selector_arg(int sel);
arc_arg arc_action_arg(int act);
int arc_feature_keys(int feature); /* 2 or ARC_KEYS */
arc_part arc_edit(int sel, int sel_arg, int act, int act_arg);
bool arc_same(const arc_rule *a, const arc_rule *b);

bool strip_read(const char *text, strip *s); /* a list of cells 0 ... 9 */
void strip_print(const strip *s, rd_buf *out);
bool strip_same(const strip *a, const strip *b);

int arc_segment(const strip *s, int unit, span o[ARC_CELLS]);
/* Bit i of the result: object i is selected (objects after the 64th never are). */
uint64_t arc_select(const arc_part *p, const strip *s, const span *o, int n);
int arc_feature(int feature, const strip *s, const span *o, int n, int i); /* key, 0: none */
bool arc_run_part(const arc_part *p, const strip *in, strip *out);
bool arc_run(const arc_rule *r, const strip *in, strip *out);
double arc_cost(const arc_rule *r);

/* ---------------------------------------------------------------- arc1d_text.c */

void arc_print(const arc_rule *r, uint64_t wording, rd_buf *out);
/* The canonical sentence with task-specific colours left open: what makes two tasks of one kind. */
void arc_print_kind(const arc_rule *r, rd_buf *out);
/* A part's kind: its action, set of gaps or feature, whatever the objects and constants. */
void arc_print_action(const arc_part *p, rd_buf *out);
bool arc_parse(const char *text, arc_rule *r);
int arc_wordings(void); /* wordings that any one phrase may have */

/* ---------------------------------------------------------------- arc1d_search.c */

/* The examples of a task as cells. */
typedef struct arc_examples {
    int64_t n_demos, n;
    strip *in, *want;
} arc_examples;
bool arc_examples_read(const rd_task *t, arc_examples *e); /* false (and nothing held): not lists */
void arc_examples_free(arc_examples *e);
int arc_search(const rd_task *t, const rd_search_opts *opts, rd_candidates *cands);

/* ---------------------------------------------------------------- arc1d_mutate.c */

/* One random small change of r; may behave like r. */
void arc_neighbour(const arc_rule *r, rd_rng *rng, arc_rule *out);
rd_rule *arc_mutate(const rd_rule *r, const rd_task *t, rd_rng *rng);
void arc_slip(const rd_rule *r, const char *input, const char *answer, rd_rng *rng, rd_buf *out);

/* ---------------------------------------------------------------- arc1d_gen.c */

/* The actions of difficulty 0 with their constants; returns their number (at most max). */
enum { ARC_SMALL_MAX = 64 };
int arc_small_actions(arc_part act[ARC_SMALL_MAX]);
bool arc_draw(const rd_gen_opts *opts, rd_rng *rng, rd_task *t);
const char *arc_vocabulary(const rd_gen_opts *opts, rd_hold level, rd_buf *out);
bool arc_rival(const rd_task *t, const rd_held *h);

#endif
