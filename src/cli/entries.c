/* entries.c: entries of "tasks" as options of the generator, checked, and what they hold out
 * together.
 *
 * What one entry's test tasks hold out, no training task of the family may have, whichever entry
 * generates it.  So hold-outs are checked and made over all entries. */
#include "cli/config.h"

#include <string.h>

static bool is_held(const config_scope *s, const char *level)
{
    return strcmp(config_text(s, "holdout"), level) == 0;
}

static bool holds_operations(const config_scope *s)
{
    return is_held(s, "pair") || is_held(s, "kind");
}

static bool same_family(const config_scope *a, const config_scope *b)
{
    return strcmp(config_text(a, "family"), config_text(b, "family")) == 0;
}

static bool is_lake(const config_scope *s)
{
    return strcmp(config_text(s, "grammar"), "lake") == 0;
}

void config_entry_options(const config *c, int entry, rd_gen_opts *o)
{
    const config_scope *s = &c->task[entry];
    memset(o, 0, sizeof *o);
    if (rd_family_parse(config_text(s, "family"), &o->family) != RD_OK)
        rd_die("the table of keys names an unknown family");
    o->difficulty = (int)config_int(s, "difficulty");
    o->seed = (uint64_t)config_int(&c->keys, "run.seed");
    o->n_train = config_int(s, "generate");
    o->n_test = config_int(s, "test");
    o->n_demos = config_int(s, "demos");
    o->n_queries = config_int(s, "queries");
    o->holdout = is_held(s, "rule") ? config_real(s, "holdout_share") : 0;
    o->identifiable = config_bool(s, "identifiable");
    o->lake_grammar = is_lake(s);
    o->lexicon = config_int(s, "lexicon");
    o->level = is_held(s, "pair") ? RD_HOLD_PAIR : is_held(s, "kind") ? RD_HOLD_KIND : RD_HOLD_RULE;
}

double config_rule_share(const config *c, rd_family f)
{
    double share = 0;
    for (int i = 0; i < c->n_tasks; i++) {
        rd_gen_opts o;
        config_entry_options(c, i, &o);
        if (o.family == f && o.n_test > 0 && o.holdout > share) share = o.holdout;
    }
    return share;
}

int config_held(const config *c, rd_family f, rd_held **h)
{
    rd_gen_opts gen[CONFIG_MAX_TASKS];
    rd_hold_want want[CONFIG_MAX_TASKS];
    int n = 0;
    *h = NULL;
    for (int i = 0; i < c->n_tasks; i++) {
        config_entry_options(c, i, &gen[n]);
        if (gen[n].family != f || gen[n].level == RD_HOLD_RULE) continue;
        want[n] = (rd_hold_want){gen[n].level, config_real(&c->task[i], "holdout_share"), &gen[n]};
        n++;
    }
    uint64_t seed = (uint64_t)config_int(&c->keys, "run.seed");
    return n > 0 ? rd_held_create(f, seed, want, n, h) : RD_OK;
}

/* Entry k beside entry i, which holds out pairs or kinds of the same family. */
static int check_beside(const config *c, int i, int k)
{
    int rc = RD_OK;
    const config_scope *s = &c->task[i], *other = &c->task[k];
    const char *level = config_text(s, "holdout");
    if (*config_text(other, "file") && config_bool(other, "train"))
        RD_FAIL(RD_EINPUT,
                "%s: tasks[%d].file: the rules of a file's training tasks are not known, so that "
                "tasks[%d].holdout \"%s\" cannot hold",
                c->path, k, i, level);
    if (is_lake(other))
        RD_FAIL(RD_EINPUT,
                "%s: tasks[%d].grammar: \"lake\" is one grammar, of which tasks[%d].holdout \"%s\" "
                "can hold nothing out",
                c->path, k, i, level);
    if (config_int(s, "test") > 0 && config_int(other, "test") > 0 &&
        strcmp(level, config_text(other, "holdout")) != 0 &&
        strcmp(config_text(s, "set"), config_text(other, "set")) == 0)
        RD_FAIL(RD_EINPUT,
                "%s: tasks[%d].set: \"%s\" test tasks need a name of their own; \"%s\" is that of "
                "tasks[%d] too",
                c->path, i, level, config_text(s, "set"), k);
done:
    return rc;
}

static int check_lexicon(const config *c, int i)
{
    int rc = RD_OK;
    rd_gen_opts o;
    config_entry_options(c, i, &o);
    const char *refusal = rd_lexicon_refusal(&o);
    if (refusal)
        RD_FAIL(RD_EINPUT, "%s: tasks[%d].lexicon: %lld: %s", c->path, i, (long long)o.lexicon,
                refusal);
done:
    return rc;
}

static int check_holdout(const config *c, int i)
{
    int rc = RD_OK;
    const config_scope *s = &c->task[i];
    const char *level = config_text(s, "holdout");
    bool trained = false, trained_so = false;
    rd_gen_opts o;
    if (!holds_operations(s)) goto done;
    if (*config_text(s, "file"))
        RD_FAIL(RD_EINPUT, "%s: tasks[%d].holdout: \"%s\" is for generated tasks, not for a file's",
                c->path, i, level);
    config_entry_options(c, i, &o);
    const char *reason = rd_hold_refusal(&o, o.level);
    if (reason)
        RD_FAIL(RD_EINPUT,
                "%s: tasks[%d].holdout: \"%s\" means nothing for %s of difficulty %d: %s", c->path,
                i, level, config_text(s, "family"), o.difficulty, reason);
    for (int k = 0; k < c->n_tasks; k++) {
        const config_scope *other = &c->task[k];
        if (!same_family(s, other)) continue;
        if (k != i) RD_TRY(check_beside(c, i, k));
        if (config_int(other, "generate") == 0 || !config_bool(other, "train")) continue;
        trained = true;
        trained_so |= config_int(other, "difficulty") == o.difficulty;
    }
    if (trained && !trained_so)
        RD_FAIL(RD_EINPUT,
                "%s: tasks[%d].difficulty: \"%s\" leaves out of training what is trained on "
                "otherwise, but no training tasks of %s have difficulty %d",
                c->path, i, level, config_text(s, "family"), o.difficulty);
done:
    return rc;
}

int config_check_entries(const config *c)
{
    int rc = RD_OK;
    for (int i = 0; i < c->n_tasks; i++) {
        RD_TRY(check_lexicon(c, i));
        RD_TRY(check_holdout(c, i));
    }
done:
    return rc;
}
