/* record.h: what a teacher said in an earlier run, in memory (private to teacher).
 *
 * Read from traces.h5, from the JSON files that the official code writes beside each other while it
 * augments (all_hypo_X.json, rule_apply_X.json, rule_reward_set_X.json), or from its merged
 * training sets (generate_rule_sft.json, apply_rule_sft.json).  Tasks are told by their content.
 * All functions are Local; every rank reads and holds the whole record. */
#ifndef RD_TEACHER_RECORD_H
#define RD_TEACHER_RECORD_H

#include "rd/io.h"
#include "rd/task.h"

/* Tokens: -1 where the record has no count. */
typedef struct record_app {
    const char *response;
    int64_t tokens_in, tokens_out;
} record_app;

typedef struct record_rule {
    const char *text;
    int64_t tokens_in, tokens_out;
    int64_t first_app, n_apps; /* to the examples 0 … n_apps - 1 of its task */
} record_rule;

typedef struct record_task {
    uint64_t demos;    /* record_content of the demonstrations */
    uint64_t whole;    /* … of all examples; 0: not known */
    int64_t id;        /* -1: not known */
    int64_t order;     /* place in the record */
    const char *where; /* the file, for messages */
    int64_t first_rule, n_rules;
    const rd_task *claimed; /* by the reader: the task that this is */
} record_task;

/* An application known by its rule and input alone (merged training sets). */
typedef struct record_loose {
    uint64_t key; /* record_loose_key */
    int64_t order;
    const char *response;
} record_loose;

typedef struct record {
    int64_t n_tasks, n_rules, n_apps, n_loose;
    int64_t cap_tasks, cap_rules, cap_apps, cap_loose;
    record_task *task; /* sorted by demos, then order */
    record_rule *rule;
    record_app *app;
    record_loose *loose; /* sorted by key, then order */
    uint64_t key;        /* hash of all that was read */
    /* What the texts are lent from. */
    rd_pool text;
    int64_t n_docs, n_paths;
    rd_json **doc;
    char **path;
} record;

/* path: a traces.h5, or a folder with one (a run's); an all_hypo_X.json, whose two companions lie
 * beside it; a generate_rule_sft.json, likewise; or a folder in which these are looked for, two
 * levels deep, each set once.  RD_EINPUT when there is no such file, or files do not fit each
 * other. */
int record_read(const char *path, record *r);
void record_free(record *r);

uint64_t record_content(uint64_t h, const char *input, const char *output); /* h: 0 for the first */
uint64_t record_loose_key(const char *rule, const char *input);
/* The response recorded for them, wherever it was; NULL: none. */
const char *record_loose_find(const record *r, const char *rule, const char *input);

/* record_json.c: append one set of files; folder ends in '/'. */
int record_read_augment(record *r, const char *folder, const char *set); /* X.json */
int record_read_merged(record *r, const char *folder);

/* record.c: places for what is read. */
record_task *record_add_task(record *r);
record_rule *record_add_rule(record *r);
record_app *record_add_app(record *r);
record_loose *record_add_loose(record *r);
const char *record_keep_path(record *r, const char *folder, const char *a, const char *b);

#endif
