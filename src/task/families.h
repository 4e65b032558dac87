/* families.h: what each family implements (private to task).
 *
 * One table per family; task-level functions of task.h dispatch through it.  Contracts are those of
 * the rd_rule_* functions and rd_task_generate in task.h. */
#ifndef RD_TASK_FAMILIES_H
#define RD_TASK_FAMILIES_H

#include "rd/task.h"

typedef struct family_ops {
    const char *name;
    int64_t demos[4], queries[4]; /* defaults by difficulty 0 … 3 */
    /* A valid canonical value of this family, for the strict loader. */
    bool (*valid_input)(const char *v);
    bool (*valid_output)(const char *v);
    /* One draw: fills rule, rule_class and examples (an array of n_demos + n_queries from rd_new);
     * family, split, id, n_demos and n_queries are set by the caller.  false when this draw must be
     * rejected: what was filled by then is freed by the caller. */
    bool (*draw)(const rd_gen_opts *opts, rd_rng *rng, rd_task *t);
    /* Class of a loaded task, for the rule-held-out split and the leakage report; nothing is
     * written when it cannot be determined. */
    void (*classify)(const rd_task *t, rd_buf *out);
    /* Kinds of the rule's operations, in their order, one per line.  Two of them, the one listed
     * earlier first, are a pair. */
    void (*kinds)(const rd_rule *r, rd_buf *out);
    /* What the generator of opts draws from: its kinds, or the pairs of them ("kind\tkind"), one
     * per line.  NULL, or why rules of these options have nothing to hold out at the level. */
    const char *(*vocabulary)(const rd_gen_opts *opts, rd_hold level, rd_buf *out);
    /* Does a rule that difficulty 0 draws, of operations that are not held out, fit all examples?
     * NULL where the search must tell. */
    bool (*rival)(const rd_task *t, const rd_held *h);
    int (*search)(const rd_task *t, const rd_search_opts *opts, rd_candidates *cands);
    rd_rule *(*parse)(const char *text);
    void (*print)(const rd_rule *r, uint64_t wording, rd_buf *out);
    /* In the fewest words that parse still reads; NULL: print's first wording is that. */
    void (*print_terse)(const rd_rule *r, rd_buf *out);
    double (*cost)(const rd_rule *r);
    int (*steps)(const rd_rule *r);
    void (*free)(rd_rule *r);
    bool (*run)(const rd_rule *r, const char *input, rd_buf *answer, rd_buf *work);
    rd_rule *(*mutate)(const rd_rule *r, const rd_task *t, rd_rng *rng);
    void (*slip)(const rd_rule *r, const char *input, const char *answer, rd_rng *rng, rd_buf *out);
} family_ops;

extern const family_ops rd_listfn_ops; /* listfn.c */
extern const family_ops rd_arc1d_ops;  /* arc1d.c */
extern const family_ops rd_acre_ops;   /* acre.c */
extern const family_ops rd_scan_ops;   /* scan.c */
const family_ops *rd_family_ops(rd_family f);

/* The text with the names of objects in one word, "redmetalcube", as rules may hold them too. */
void acre_join_names(const char *text, rd_buf *out);

/* Is it held out (holdout.c)? */
bool held_kind(const rd_held *h, const char *kind);
bool held_pair(const rd_held *h, const char *first, const char *second);
/* All ordered pairs of the lines of kinds, as vocabulary() gives them. */
void pairs_put(const char *kinds, rd_buf *out);

/* Integer lists and their canonical text, shared by the two list families (value.c). */
typedef struct ints {
    int32_t n;
    int32_t v[128];
} ints;
bool ints_read(const char *text, ints *out); /* strict: Python's str(list) */
void ints_print(const ints *l, rd_buf *out);
/* Share of equal cells after aligning at the start: matches / max(length), 1 when both are empty.
 */
double ints_agreement(const ints *a, const ints *b);

/* Candidates kept by behaviour (candidates.c): add takes the rule; a cheaper rule of the same
 * behaviour replaces the dearer one; finish sorts and cuts to opts. */
typedef struct candidate_set candidate_set;
candidate_set *candidate_set_create(rd_family f, const rd_task *t, const rd_search_opts *opts);
/* behaviour: hash of the outputs on all demonstrations and query inputs. */
void candidate_set_add_take(candidate_set *s, rd_rule *r, double cost, int32_t score, double soft,
                            uint64_t behaviour);
/* Would a rule of this score, soft score and cost still be kept?  (saves building it) */
bool candidate_set_wants(const candidate_set *s, double cost, int32_t score, double soft);
void candidate_set_finish(candidate_set **s, rd_candidates *out);

#endif
