/* task: the four inductive families behind one interface: examples, rules, answers, prompts.
 *
 * A task is a few demonstrations (input -> output) and queries.  A rule is text; each family has a
 * small typed language of rules (its DSL) that can be searched, printed as English, parsed back and
 * run.  Canonical values are text: lists as Python prints them ("[1, 2]"), ACRE scenes as
 * "['red metal cube', 'gray rubber sphere']", everything else verbatim.
 *
 * All functions are Local and deterministic; tables are read-only. */
#ifndef RD_TASK_H
#define RD_TASK_H

#include "rd/base.h"
#include "rd/io.h"

typedef enum { RD_LIST_FUNCTION, RD_ARC1D, RD_ACRE, RD_MINISCAN, RD_FAMILIES } rd_family;
/* "list_function", "arc1d", "acre", "miniscan" */
const char *rd_family_name(rd_family f);
int rd_family_parse(const char *name, rd_family *f); /* RD_EINPUT with the nearest name */

/* ---------------------------------------------------------------- tasks (task.c) */

typedef struct rd_example {
    char *input, *output; /* canonical values */
    char *type;           /* ACRE: direct, indirect, screen_off, potential; else NULL */
} rd_example;

typedef enum { RD_SPLIT_TRAIN, RD_SPLIT_TEST } rd_split;

typedef struct rd_task {
    rd_family family;
    rd_split split;
    int64_t id;     /* idx of the file, or the generator's index */
    int64_t source; /* which entry of the config's task list */
    char *rule;     /* the true rule's canonical sentence where the generator knows it; else NULL */
    char *rule_class; /* what the rule-held-out split compares; NULL when not determined */
    int64_t n_demos, n_queries;
    rd_example *examples; /* demonstrations first, then queries */
} rd_task;

typedef struct rd_taskset {
    int64_t n, cap;
    rd_task *task;
    /* [sources] under which name results report a source's test tasks, lent; NULL or "": no other
     * than the family's. */
    const char *const *set_name;
} rd_taskset;
void rd_task_free(rd_task *t);
int rd_task_copy(const rd_task *from, rd_task *to);
void rd_taskset_add_take(rd_taskset *s, rd_task *t); /* t is emptied */
void rd_taskset_free(rd_taskset *s);
/* Binary form for broadcasts and journals. */
void rd_task_put(rd_buf *b, const rd_task *t);
int rd_task_get(rd_cursor *c, rd_task *t);

/* Load a ReDis JSON-lines file, appending to set (training split).  Strict: `train` non-empty,
 * `test` present, equal types, values well-formed for the family, every idx different (the official
 * held-out files keep the numbers of the whole file); a "rule" must be one; unknown keys are
 * ignored.  Errors: RD_EINPUT "path:line: …", set as it was. */
int rd_task_load(const char *path, rd_family f, rd_taskset *set);
/* One such line; name and line stand in messages.  On failure t is empty. */
int rd_task_parse(const char *text, size_t n, const char *name, int line, rd_family f, rd_task *t);
/* Write the same format (byte for byte what Python's json.dumps prints, one line per task), with
 * "rule" added where known. */
int rd_task_save(const char *path, const rd_taskset *set);
/* The official shuffle of n tasks: MT19937 keyed {10}; order[] has n entries, of which the first
 * floor(0.9 n) are for training.  Split: the other positions, in shuffle order. */
void rd_task_official_order(int64_t n, int64_t *order);
void rd_task_official_split(int64_t n, int64_t *test, int64_t *n_test);

/* ---------------------------------------------------------------- generating (generate.c) */

/* What a test task has that training never sees: a rule of another class; two kinds of operations
 * that never occur together in this order; a kind of operation. */
typedef enum { RD_HOLD_RULE, RD_HOLD_PAIR, RD_HOLD_KIND, RD_HOLD_MIXED } rd_hold;
typedef struct rd_held rd_held; /* the pairs and kinds that a run holds out (holdout.c) */

typedef struct rd_gen_opts {
    rd_family family;
    int difficulty; /* 0 student scale (reference prototype lf4 / arc6), 1, 2, 3 */
    uint64_t seed;
    int64_t n_train, n_test;
    /* 0: the family's own (difficulty 0: 4+3 LF, 3+3 ARC; else official) */
    int64_t n_demos, n_queries;
    double holdout;            /* share of rule classes kept for the test split; 0: drawn freely */
    bool identifiable;         /* reject a task whose cheapest consistent rule misses a query */
    bool lake_grammar;         /* MiniSCAN: the one official grammar, new words only */
    double train_undetermined; /* ACRE: share of demonstrations labelled undetermined */
    int64_t lexicon; /* MiniSCAN, ACRE: nonce words, objects that tasks choose from; 0: no limit */
    const rd_held *held; /* lent; NULL: no pair and no kind is held out */
    rd_hold level;       /* with held: what the test tasks are to have of it */
} rd_gen_opts;

/* NULL, or why tasks of these options cannot have their names from such a lexicon. */
const char *rd_lexicon_refusal(const rd_gen_opts *o);
/* Task `index` of the given split: a pure function of (opts, split, index).  A rule class belongs
 * to the test split iff hash(seed, class) falls under holdout; draws are repeated until the class
 * is on the right side.  With held, training tasks and test tasks of level RULE have nothing that
 * is held out; those of PAIR a pair but no kind of it, those of KIND a kind and no pair; and no
 * rule of trained operations explains these two sorts: at difficulty 0 of List Function and 1D-ARC
 * none that the generator draws, elsewhere not the cheapest that the search finds. Errors:
 * RD_EINPUT when no task is found in 10,000 attempts. */
int rd_task_generate(const rd_gen_opts *opts, rd_split split, int64_t index, rd_task *task);
/* The classes' side, as the generator decides it. */
rd_split rd_task_class_split(uint64_t seed, double holdout, const char *rule_class);
/* Give each task that has none its rule class: the cheapest consistent rule (List Function), the
 * kind (1D-ARC), the grammar up to its words (MiniSCAN), sizes and labels of the scenes (ACRE).
 * NULL stays where nothing was found. */
int rd_task_classify(rd_taskset *set);

/* ---------------------------------------------------------------- rules */

/* A compiled rule of some family; its form is private to the family. */
typedef struct rd_rule rd_rule;

/* Hold-outs harder than rule classes (holdout.c).  Kinds are, whatever their constants: the steps
 * of a list program (those of nested ones too), the actions of 1D-ARC, the kinds and templates of
 * MiniSCAN's functions; ACRE's are the sizes of the trigger sets and the number of harmless
 * objects. Pairs are ordered; MiniSCAN's are not, and ACRE has one per rule. */
typedef struct rd_hold_want {
    rd_hold level; /* PAIR or KIND */
    double share;
    const rd_gen_opts *gen; /* of the test tasks: what can be drawn at all */
} rd_hold_want;
/* NULL, or why rules of these options have nothing to hold out at the level. */
const char *rd_hold_refusal(const rd_gen_opts *gen, rd_hold level);
/* The union over n wishes of one family.  Of what gen draws from, the first share * n in the order
 * of hash(seed, level, name): of kinds at least one and at most a quarter, of pairs of the other
 * kinds at least one and at most half, and each kind keeps a pair that is not held out.
 * Errors: RD_EINPUT (refused; no pair can be held out). */
int rd_held_create(rd_family f, uint64_t seed, const rd_hold_want *want, int n, rd_held **h);
void rd_held_free(rd_held **h);
uint64_t rd_held_hash(const rd_held *h); /* of all names; 0 for NULL */
/* Names that are held out at the level, one per line, a pair's two parts with " > " between them;
 * their number. */
int64_t rd_held_names(const rd_held *h, rd_hold level, rd_buf *out);
/* What of the rule is held out: nothing (RULE), a pair, a kind, or both (MIXED). */
rd_hold rd_held_level(const rd_held *h, const rd_rule *r);

/* What a search found.  Sorted by cost among equals of score. */
typedef struct rd_candidate {
    rd_rule *rule; /* owned by the list */
    double cost;   /* description length; the cheapest consistent rule is the answer */
    int32_t score; /* demonstrations reproduced */
    double soft;   /* mean agreement of cells / elements with the demonstrations, 0 … 1 */
} rd_candidate;
typedef struct rd_candidates {
    int64_t n, cap;
    rd_candidate *item;
} rd_candidates;
void rd_candidates_free(rd_family f, rd_candidates *c);

typedef struct rd_search_opts {
    int64_t max_right;   /* keep at most this many consistent rules (cheapest) */
    int64_t max_partial; /* … with 0 < score < demonstrations (cheapest, of every score in turn) */
    int64_t max_wrong;   /* … with score 0 and the highest soft score */
} rd_search_opts;

/* Search the family's DSL on the demonstrations only.  cands: behaviourally different rules (on the
 * demonstrations and on query inputs), sorted score descending, then cost ascending, then text.
 * opts NULL or all 0: 20, 60 and 40. */
int rd_rule_search(const rd_task *t, const rd_search_opts *opts, rd_candidates *cands);
/* NULL when the text is not a rule of the family (any text is allowed; never fails, never recurses
 * deeply).  Case and repeated blanks are ignored; every wording is understood. */
rd_rule *rd_rule_parse(rd_family f, const char *text);
/* wording 0 is the canonical sentence; other numbers choose among the wordings of each part.
 * parse(print(r, w)) equals r for every w.  Texts end in a full stop, hold no brackets [ ] and
 * never "Input:". */
void rd_rule_print(rd_family f, const rd_rule *r, uint64_t wording, rd_buf *out);
bool rd_rule_equal(rd_family f, const rd_rule *a, const rd_rule *b);
double rd_rule_cost(rd_family f, const rd_rule *r);
int rd_rule_steps(rd_family f, const rd_rule *r); /* executed primitives, for the noise model */
void rd_rule_free(rd_family f, rd_rule **r);
/* Run on a canonical input.  false: undefined.  answer gets the canonical output; work (may be
 * NULL) gets the intermediate results, one canonical value or clause per line, without the answer
 * itself. */
bool rd_rule_run(rd_family f, const rd_rule *r, const char *input, rd_buf *answer, rd_buf *work);
/* A neighbour of r that behaves differently somewhere, close to right (a constant off by one, a
 * step dropped or added, a wrong table entry, an inverted condition …).  NULL: none was found. */
rd_rule *rd_rule_mutate(rd_family f, const rd_rule *r, const rd_task *t, rd_rng *rng);
/* A plausible slip when r is applied to input, whose right answer is given: drop or double an
 * element, one value off by one, the last step left out, a label confused … */
void rd_rule_slip(rd_family f, const rd_rule *r, const char *input, const char *answer, rd_rng *rng,
                  rd_buf *out);

/* ---------------------------------------------------------------- prompts and answers */

/* Wording of prompts and responses, from a JSON file; inputs/prompts documents the format. */
typedef struct rd_prompts rd_prompts;
int rd_prompts_load(const char *path, rd_prompts **p); /* RD_EINPUT with file:line */
/* Was it the official repository's config/prompts.json?  Then a rule is a response as it came, of
 * any number of lines, and nothing separates steps from an answer. */
bool rd_prompts_official(const rd_prompts *p);
void rd_prompts_default(rd_prompts **p); /* the same as inputs/prompts/default.json */
void rd_prompts_free(rd_prompts **p);
uint64_t rd_prompts_hash(const rd_prompts *p);

void rd_prompt_propose(const rd_prompts *p, const rd_task *t, rd_buf *out);
void rd_prompt_follow(const rd_prompts *p, rd_family f, const char *rule, const char *input,
                      rd_buf *out);
void rd_prompt_io(const rd_prompts *p, const rd_task *t, const char *input, rd_buf *out);
/* The wanted responses.  work as rd_rule_run gives it for the input, or NULL / "" for the answer
 * alone; input: NULL where there is no work. */
void rd_response_propose(const rd_prompts *p, rd_family f, const char *rule, rd_buf *out);
void rd_response_follow(const rd_prompts *p, rd_family f, const char *input, const char *work,
                        const char *answer, rd_buf *out);
void rd_response_io(const rd_prompts *p, rd_family f, const char *answer, rd_buf *out);
/* Read a response.  Strict: exactly the wanted form (official reading for the official form: on one
 * line the first [...] for lists, the whole response otherwise).  Tolerant: white space, case, a
 * trailing full stop, words around the answer, blanks in lists, the talk of instruction-tuned
 * models; what is tolerated is documented in answer.c.  false: no answer found.  out gets the
 * canonical value. */
bool rd_answer_read(const rd_prompts *p, rd_family f, const char *response, bool strict,
                    rd_buf *out);
/* The rule in a response, on one line: without a lead such as "Sure! Here is the rule:", markdown
 * around it, lines of code fences, and examples of the model's own behind it.  false: none. */
bool rd_rule_read(const rd_prompts *p, rd_family f, const char *response, rd_buf *rule);

/* ---------------------------------------------------------------- leakage and baselines */

typedef struct rd_leakage {
    int64_t test_tasks, test_queries;
    int64_t tasks_in_train;   /* test tasks that occur verbatim in the training set */
    int64_t pairs_in_train;   /* test (input, output) pairs that occur in some training task */
    int64_t queries_in_demos; /* test queries answered by one of their own demonstrations */
    int64_t classes_in_train; /* test tasks whose rule class occurs in the training set */
    int64_t distinct_after_renaming; /* test tasks up to renaming of words, colours, objects */
    int64_t best_position_hits; /* queries answered by the k-th query's commonest answer in train */
} rd_leakage;
int rd_leakage_report(const rd_taskset *set, rd_family f, rd_leakage *out);
/* The same of the operations of one source's test tasks, those whose rule is known. */
typedef struct rd_leakage_operations {
    int64_t test_tasks;
    int64_t classes_in_train; /* whose rule class occurs in training */
    int64_t known_kinds;      /* all of whose kinds occur in training: none of level KIND */
    int64_t known_pairs;      /* … all of whose pairs do: none of level PAIR */
} rd_leakage_operations;
void rd_leakage_of_operations(const rd_taskset *set, int64_t source, rd_leakage_operations *out);

/* Trivial baselines of a family: majority, copy (output of the nearest demonstration), identity,
 * position, and the family's own (best of 15 trivial list rules; ACRE's binary rule; …). */
int rd_baseline_count(rd_family f);
const char *rd_baseline_name(rd_family f, int k);
/* Answer of baseline k to query q of t (an index into queries), position answers from train. */
typedef struct rd_baselines rd_baselines;
int rd_baselines_fit(const rd_taskset *train, rd_baselines **b); /* uses the train split only */
void rd_baselines_answer(const rd_baselines *b, int k, const rd_task *t, int64_t q, rd_buf *out);
void rd_baselines_free(rd_baselines **b);

#endif
