/* generate.c: the driver of the families' task generators, and the split by rule class.
 *
 * A task is a pure function of (options, split, index): attempt after attempt draws from its own
 * random stream until the family accepts the draw, the rule class is on the right side of the split
 * and, if asked, the demonstrations determine the answers. */
#include "families.h"

#include <string.h>

enum { MAX_ATTEMPTS = 10000 };

rd_split rd_task_class_split(uint64_t seed, double holdout, const char *rule_class)
{
    double u = (double)(rd_hash_str(rule_class, seed) >> 11) * 0x1p-53;
    return u < holdout ? RD_SPLIT_TEST : RD_SPLIT_TRAIN;
}

/* The cheapest rule that the search finds.  right: it is consistent and answers every query. */
static int cheapest(const rd_task *t, rd_candidates *c, bool *right)
{
    int rc = RD_OK;
    rd_buf answer = {0};
    *right = false;
    RD_TRY(rd_rule_search(t, &(rd_search_opts){.max_right = 1}, c));
    if (c->n == 0 || c->item[0].score < t->n_demos) goto done;
    *right = true;
    for (int64_t q = t->n_demos; *right && q < t->n_demos + t->n_queries; q++) {
        rd_buf_clear(&answer);
        *right = rd_rule_run(t->family, c->item[0].rule, t->examples[q].input, &answer, NULL) &&
                 !strcmp(answer.data, t->examples[q].output);
    }
done:
    rd_buf_free(&answer);
    return rc;
}

/* A task needs up to 8 objects; the words of a grammar are drawn until none occurs twice. */
const char *rd_lexicon_refusal(const rd_gen_opts *o)
{
    if (o->lexicon == 0) return NULL;
    if (o->family != RD_ACRE && o->family != RD_MINISCAN) return "lists have no names";
    if (o->family == RD_ACRE && o->lexicon < 8) return "acre needs at least 8 names";
    return o->family == RD_MINISCAN && o->lexicon < 40 ? "miniscan needs at least 40 names" : NULL;
}

static int options_check(const rd_gen_opts *o)
{
    int rc = RD_OK;
    const char *refusal = rd_lexicon_refusal(o);
    if (o->difficulty < 0 || o->difficulty > 3)
        RD_FAIL(RD_EINPUT, "difficulty must be 0 … 3, got %d", o->difficulty);
    if (refusal) RD_FAIL(RD_EINPUT, "lexicon of %lld: %s", (long long)o->lexicon, refusal);
done:
    return rc;
}

static int identifiable(const rd_task *t, bool *yes)
{
    rd_candidates c = {0};
    int rc = cheapest(t, &c, yes);
    rd_candidates_free(t->family, &c);
    return rc;
}

/* Does a rule of trained operations explain it?  Then it asks for nothing that is held out. */
static int covered(const rd_gen_opts *opts, const rd_task *t, bool *yes)
{
    int rc = RD_OK;
    const family_ops *ops = rd_family_ops(t->family);
    rd_candidates c = {0};
    if (opts->difficulty == 0 && ops->rival) {
        *yes = ops->rival(t, opts->held);
        goto done;
    }
    RD_TRY(cheapest(t, &c, yes));
    *yes = *yes && rd_held_level(opts->held, c.item[0].rule) == RD_HOLD_RULE;
done:
    rd_candidates_free(t->family, &c);
    return rc;
}

/* Has the task of what is held out just what its split and level ask for? */
static int held_as_asked(const rd_gen_opts *opts, rd_split split, const rd_task *t, bool *yes)
{
    int rc = RD_OK;
    rd_hold want = split == RD_SPLIT_TEST ? opts->level : RD_HOLD_RULE;
    rd_rule *r = rd_rule_parse(t->family, t->rule);
    *yes = r && rd_held_level(opts->held, r) == want;
    if (*yes && want != RD_HOLD_RULE) {
        RD_TRY(covered(opts, t, yes));
        *yes = !*yes;
    }
done:
    rd_rule_free(t->family, &r);
    return rc;
}

int rd_task_generate(const rd_gen_opts *opts, rd_split split, int64_t index, rd_task *task)
{
    int rc = RD_OK;
    *task = (rd_task){0};
    RD_TRY(options_check(opts));
    const family_ops *ops = rd_family_ops(opts->family);
    static const char *const asked[] = {"task", "task with a held-out pair",
                                        "task with a held-out kind"};
    char purpose[64];
    snprintf(purpose, sizeof purpose, "task.%s.%s", ops->name,
             split == RD_SPLIT_TEST ? "test" : "train");
    for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        rd_rng rng = rd_rng_make(opts->seed, purpose, (uint64_t)index, (uint64_t)attempt);
        *task = (rd_task){.family = opts->family, .split = split, .id = index};
        task->n_demos = opts->n_demos > 0 ? opts->n_demos : ops->demos[opts->difficulty];
        task->n_queries = opts->n_queries > 0 ? opts->n_queries : ops->queries[opts->difficulty];
        bool good = ops->draw(opts, &rng, task);
        if (good && opts->holdout > 0)
            good = task->rule_class &&
                   rd_task_class_split(opts->seed, opts->holdout, task->rule_class) == split;
        if (good && opts->held) RD_TRY(held_as_asked(opts, split, task, &good));
        if (good && opts->identifiable) RD_TRY(identifiable(task, &good));
        if (good) return RD_OK;
        rd_task_free(task);
    }
    RD_FAIL(RD_EINPUT,
            "no %s %s of difficulty %d with %lld demonstrations found in %d draws (holdout %g, "
            "seed %llu)",
            ops->name, !opts->held || split == RD_SPLIT_TRAIN ? "task" : asked[opts->level],
            opts->difficulty,
            (long long)(opts->n_demos > 0 ? opts->n_demos : ops->demos[opts->difficulty]),
            MAX_ATTEMPTS, opts->holdout, (unsigned long long)opts->seed);
done:
    rd_task_free(task);
    return rc;
}

int rd_task_classify(rd_taskset *set)
{
    for (int64_t i = 0; i < set->n; i++) {
        rd_task *t = &set->task[i];
        if (t->rule_class) continue;
        rd_buf class = {0};
        rd_family_ops(t->family)->classify(t, &class);
        if (class.len) t->rule_class = rd_buf_take(&class);
        rd_buf_free(&class);
    }
    return RD_OK;
}
