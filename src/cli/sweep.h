/* sweep.h: many runs from one spec: a base config, axes over any keys, seeds (private to cli).
 *
 * The spec is one JSON object (README, "Sweeps"); paths in it are relative to the spec file, the
 * sweep's own folder to the working directory, as run.dir is.  Members are the product of the axes
 * (first axis slowest) and the seeds (fastest) without the excluded ones, numbered from 0.
 *
 *   DIR/sweep.json         the plan: every member with its label, seed and what it sets
 *   DIR/members/0007/      an ordinary run directory, and member.json: where that member stands
 *   DIR/shared/KEY/        traces.h5, or datasets.h5 with a link to its traces.h5, or the
 *                          traces.h5 of the teacher's own search: made once, linked to (relative
 *                          symbolic links) from the members that need it
 *   DIR/sweep.h5           what `sweep collect` found: a table of members, one of results, links
 */
#ifndef RD_CLI_SWEEP_H
#define RD_CLI_SWEEP_H

#include "cli/job.h"

enum { SWEEP_MAX_AXES = 16, SWEEP_MAX_MEMBERS = 100000 };

/* ---------------------------------------------------------------- specs (sweep_spec.c) */

/* A list of "KEY=VALUE", the value as JSON: what --set takes. */
typedef struct sweep_sets {
    int n;
    char **text;
} sweep_sets;

typedef struct sweep_value {
    char *label; /* unique in its axis */
    sweep_sets sets;
} sweep_value;

typedef struct sweep_axis {
    char *name; /* letters, digits, - and _; unique */
    int n;
    sweep_value *value;
} sweep_axis;

/* What is left out: members that are hit on every axis that the rule names. */
typedef struct sweep_rule {
    bool *hit[SWEEP_MAX_AXES]; /* by value of the axis; NULL: the rule does not name it */
    bool *hit_seed;            /* by place in the list of seeds */
} sweep_rule;

typedef struct sweep_member {
    int64_t index, seed;
    char *label;                /* "lambda=0.1 size=96 seed=2" */
    char *axis[SWEEP_MAX_AXES]; /* the label of its value on each axis */
    sweep_sets sets;            /* of the sweep and its axes; not the seed */
    uint64_t key;               /* hash of sets and seed: is a directory that member's? */
} sweep_member;

typedef struct sweep {
    char *path; /* the spec; of a plan read again, what it says the spec was */
    char *name, *dir, *base;
    sweep_sets sets;
    int n_axes, n_seeds, n_rules;
    sweep_axis axis[SWEEP_MAX_AXES]; /* of a plan read again, names alone */
    int64_t *seed;
    sweep_rule *rule;
    int64_t n, n_excluded;
    sweep_member *member;
} sweep;

/* Read, check, expand.  Unknown keys, of the spec and of the config, are errors that name the
 * nearest known one.  Values are checked when members are resolved (sweep_plan.c).  Local;
 * RD_EINPUT "file:line: ...". */
int sweep_load(const char *path, sweep *s);
int sweep_parse(const char *text, size_t n, const char *path, sweep *s);
void sweep_free(sweep *s); /* accepts what failed */
void sweep_sets_add(sweep_sets *sets, const char *key, const rd_json_node *value);
void sweep_sets_free(sweep_sets *sets);

/* ---------------------------------------------------------------- members (sweep_members.c) */

int sweep_expand(sweep *s); /* by sweep_parse; RD_EINPUT when too many, or none */
/* All that makes a member a run: what it sets, seed, name, directory; then more "KEY=VALUE"s, of
 * which those that a sweep gives itself are RD_EUSAGE.  Caller frees with sweep_sets_free. */
int sweep_member_sets(const sweep *s, const sweep_member *m, int n_more, const char *const *more,
                      sweep_sets *out);
void sweep_member_dir(const sweep *s, int64_t index, rd_buf *out); /* DIR/members/0007 */
/* "0-2,5": the indices i with in[i]; nothing when there are none.  space: ", " instead of ",". */
void sweep_ranges(const bool *in, int64_t n, bool space, rd_buf *out);

/* ---------------------------------------------------------------- what members share (shared.c) */

typedef struct shared_keys {
    uint64_t traces, datasets, teacher;
} shared_keys;
/* Hashes of all configuration that determines traces.h5, datasets.h5 and teacher/traces.h5.  (What
 * files hold is not looked at: the stage's own key, in its file, knows that.) */
void shared_keys_of(const config *c, shared_keys *k);

/* ---------------------------------------------------------------- one member's run (sweep_run.c)
 */

/* Which member a job is, and what it writes about itself. */
typedef struct sweep_run {
    sweep s;
    const sweep_member *m;
    sweep_sets sets; /* for job_begin */
    shared_keys shared;
    bool alone;      /* no locks here: nothing is shared */
    bool mine;       /* member.json is this job's: it holds the lock */
    double before;   /* seconds of earlier attempts */
    uint64_t config; /* hash of the resolved config */
} sweep_run;

/* index < 0: as SLURM_ARRAY_TASK_ID says.  Collective on world; RD_EUSAGE, RD_EINPUT. */
int sweep_run_open(const char *spec, int64_t index, int n_sets, const char *const *sets,
                   sweep_run *r);
/* After job_begin: does the directory hold this very run, finished and undamaged?  Collective. */
int sweep_run_finished(job *j, bool *finished);
/* After job_lock: the plan is there, damaged results are put aside, member.json says "running".
 * Collective. */
int sweep_run_begin(job *j);
/* member.json says how it ended; the code as it was, or RD_EIO when a success cannot be noted.
 * Collective after RD_OK, else Local. */
int sweep_run_end(job *j, int code);
void sweep_run_close(sweep_run *r);
/* What a member's manifest says of the sweep. */
void sweep_run_describe(const job *j, rd_json_node *root);

/* ---------------------------------------------------------------- plans (sweep_plan.c) */

typedef struct sweep_plan_opts {
    int ranks;
    const char *machine;
    bool json;
} sweep_plan_opts;
/* Resolve and check every member as validate does, print, write sweep.json.  Members that cannot
 * run are listed and RD_EINPUT.  Collective on world. */
int sweep_plan(const char *spec, const sweep_plan_opts *o);

/* sweep.json (sweep_file.c), written whole or not at all; read back.  A folder that holds another
 * sweep is RD_EINPUT.  Root only. */
int sweep_file_write(const sweep *s, const shared_keys *shared);
/* file: a spec, a sweep's folder or its sweep.json. */
int sweep_file_open(const char *file, sweep *s);

/* ---------------------------------------------------------------- where members stand */

typedef enum {
    MEMBER_DONE,
    MEMBER_STOPPED, /* resumable */
    MEMBER_RUNNING,
    MEMBER_FAILED,
    MEMBER_MISSING,
    MEMBER_STATES
} member_state;
const char *member_state_name(member_state state);

typedef struct member_standing {
    member_state state;
    char *reason; /* "" when there is nothing to say */
    double seconds;
    int n_files, n_there;
    char **file;     /* what its stages end with, relative to its directory */
    uint64_t config; /* hash of the resolved config that it had */
    rd_json *report; /* of a member that is done and has one: report.json */
} member_standing;

/* Remembers files that members share, so that each is verified once. */
typedef struct member_seen {
    int n;
    char **path, **reason; /* reason NULL: sound */
} member_seen;

/* sweep_state.c.  verify: of a member that says it is done every result file is read through (not
 * checkpoints), and the report.  Root only; nothing about a member is an error. */
void member_look(const sweep *s, const sweep_member *m, bool verify, member_seen *seen,
                 member_standing *standing);
void member_standing_free(member_standing *standing);
void member_seen_free(member_seen *seen);
/* NULL, or why this file is not a whole one of ours; caller frees. */
char *member_file_damage(const char *path);

/* sweep_status.c, sweep_collect.c.  Collective on world: rank 0 works.  spec: see sweep_file_open.
 */
int sweep_status(const char *file, bool json);
int sweep_collect(const char *file, bool json);

/* "sbatch --array=... jobs/sweep.sbatch SPEC" for the members with in[i]. */
void sweep_submit_line(const sweep *s, const bool *in, rd_buf *out);

#endif
