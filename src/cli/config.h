/* config.h: the configuration of a run: one table of keys, resolved values, arms (private to cli).
 *
 * A config is one JSON file; every key has a type, a default, a range and a line of help in the
 * table of config.c, which --help, validate and the error messages share.  --set reaches every key
 * by its path.  An arm is a set of overrides under which the training stages are run again. */
#ifndef RD_CLI_CONFIG_H
#define RD_CLI_CONFIG_H

#include "rd/base.h"
#include "rd/io.h"
#include "rd/task.h"

enum { CONFIG_MAX_LIST = 16, CONFIG_MAX_TASKS = 32, CONFIG_MAX_ARMS = 16 };

typedef struct config_value {
    bool set; /* given by the user (not the default) */
    bool b;
    double number; /* integers too: exact up to 2^53 */
    char *text;
    int n; /* lists */
    double numbers[CONFIG_MAX_LIST];
    char *texts[CONFIG_MAX_LIST];
} config_value;

/* Values of one scope, in the order of that scope's table. */
typedef struct config_scope {
    int table; /* which table: the run's, or that of one entry of "tasks" */
    config_value *value;
} config_scope;

typedef struct config_arm {
    char *name;
    config_scope keys; /* the run's keys with this arm's overrides */
    char *from;        /* the arm whose SFT weights it starts from; NULL: its own */
} config_arm;

typedef struct config {
    char *path;     /* the file */
    char *base_dir; /* its directory */
    config_scope keys;
    int n_tasks;
    config_scope task[CONFIG_MAX_TASKS];
    int n_arms;
    config_arm arm[CONFIG_MAX_ARMS];
    char *resolved; /* the whole config with every default, as JSON text */
} config;

/* Read, check, resolve.  sets: "key=value" strings applied over the file.  Local: call on rank 0's
 * bytes or on every rank alike.  Errors: RD_EINPUT "file:line: key: expected …, got …". */
int config_load(const char *path, int n_sets, const char *const *sets, config *c);
void config_free(config *c);

/* Values by path; an unknown path is a bug of ours. */
bool config_bool(const config_scope *s, const char *key);
int64_t config_int(const config_scope *s, const char *key);
double config_real(const config_scope *s, const char *key);
const char *config_text(const config_scope *s, const char *key);
const config_value *config_list(const config_scope *s, const char *key);
bool config_is_set(const config_scope *s, const char *key);
bool config_list_has(const config_scope *s, const char *key, const char *item);

/* NULL when --set could take this path (tasks and arms whole; tasks[0].KEY and arms.NAME.KEY,
 * whichever entries and arms there are); else the nearest known key. */
const char *config_nearest(const char *path);

/* Is compat "official"?  describe: what that sets and what the config keeps, as text; nothing when
 * it is not. */
bool config_is_official(const config *c);
void config_official_describe(const config *c, rd_buf *out);

/* entries.c: an entry of "tasks" for the generator, all but what is held out of other entries. */
void config_entry_options(const config *c, int entry, rd_gen_opts *o);
/* Are lexicons large enough, can hold-outs of pairs and kinds be kept?  RD_EINPUT, naming entry and
 * key. */
int config_check_entries(const config *c);
/* The pairs and kinds that the family's entries hold out together; NULL: none.  RD_EINPUT. */
int config_held(const config *c, rd_family f, rd_held **h);
/* The largest share of rule classes that one of its entries keeps for its test tasks. */
double config_rule_share(const config *c, rd_family f);

/* A path of the config: absolute ones stay; task files are taken from data.dir or the config's own
 * directory, prompt files from the latter.  Caller frees. */
char *config_data_path(const config *c, const char *file);
char *config_prompt_path(const config *c, const char *file);

void config_run_dir(const config *c, rd_buf *dir); /* run.dir, or runs/NAME */

/* The keys that determine a stage's results, hashed; prefixes end with NULL, and one that begins
 * with '!' leaves its keys out. */
uint64_t config_hash(const config_scope *s, const char *const *prefixes);
void config_help(FILE *f); /* the table of keys */

#endif
