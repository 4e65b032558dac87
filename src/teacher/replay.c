/* replay.c: the teacher that says what another said in an earlier run.
 *
 * A task is found by its demonstrations.  Of several recorded tasks with the same demonstrations
 * the k-th goes to the k-th such task that is expected, one with the same queries and number before
 * others.  What the record lacks is an error or, by the option, unanswered. */
#include "kinds.h"
#include "record.h"

#include <inttypes.h>
#include <string.h>

typedef struct replay {
    record record;
    char *path;
    bool unanswered_counts;
    const rd_prompts *prompts;
    token_counter tokens;
    rd_comm world; /* between open and close */
    bool is_open;
    int64_t missing_rules, missing_apps; /* counted as unanswered */
} replay;

static int replay_create(const teacher_setup *setup, void **state)
{
    int rc = RD_OK;
    const rd_replay_opts *o = &setup->opts->replay;
    replay *p = rd_new(replay, 1);
    if (!o->path || !*o->path) RD_FAIL(RD_EINPUT, "teacher.path: the kind replay needs it");
    RD_TRY(record_read(o->path, &p->record));
    p->path = rd_strdup(o->path);
    p->unanswered_counts = o->unanswered_counts;
    p->prompts = setup->prompts;
    p->tokens.tok = setup->tok;
    *state = p;
    p = NULL;
done:
    rd_free(p);
    return rc;
}

static void replay_free(void *state)
{
    replay *p = state;
    record_free(&p->record);
    token_counter_free(&p->tokens);
    rd_free(p->path);
    rd_free(p);
}

static uint64_t replay_key(const teacher_setup *setup, const void *state)
{
    const replay *p = state;
    const int64_t parts[] = {(int64_t)p->record.key, p->unanswered_counts, setup->tok != NULL};
    return rd_hash(parts, sizeof parts, rd_hash_str("replay", 1));
}

/* ---------------------------------------------------------------- finding tasks */

static uint64_t content(const rd_task *t, int64_t n_examples)
{
    uint64_t h = 0;
    for (int64_t i = 0; i < n_examples; i++)
        h = record_content(h, t->examples[i].input, t->examples[i].output);
    return h;
}

/* The recorded tasks with these demonstrations: task[first …]; how many. */
static int64_t candidates(const record *r, uint64_t demos, int64_t *first)
{
    int64_t low = 0, high = r->n_tasks, n = 0;
    while (low < high) {
        int64_t mid = low + (high - low) / 2;
        if (r->task[mid].demos < demos)
            low = mid + 1;
        else
            high = mid;
    }
    *first = low;
    while (low + n < r->n_tasks && r->task[low + n].demos == demos) n++;
    return n;
}

/* How well a recorded task fits among those with the same demonstrations. */
static int fitness(const record_task *r, const rd_task *t, uint64_t whole)
{
    return 2 * (r->whole == whole) + (r->id == t->id);
}

static record_task *claim(record *r, const rd_task *t)
{
    const uint64_t whole = content(t, t->n_demos + t->n_queries);
    record_task *best = NULL;
    int64_t first, n = candidates(r, content(t, t->n_demos), &first);
    for (record_task *c = r->task + first; c < r->task + first + n; c++)
        if (!c->claimed && (!best || fitness(c, t, whole) > fitness(best, t, whole))) best = c;
    if (best) best->claimed = t;
    return best;
}

/* The one claimed for the task; where nothing was expected, the best that there is. */
static const record_task *find(const record *r, const rd_task *t)
{
    const uint64_t whole = content(t, t->n_demos + t->n_queries);
    const record_task *best = NULL;
    int64_t first, n = candidates(r, content(t, t->n_demos), &first);
    for (const record_task *c = r->task + first; c < r->task + first + n; c++) {
        if (c->claimed == t) return c;
        if (!c->claimed && (!best || fitness(c, t, whole) > fitness(best, t, whole))) best = c;
    }
    return best;
}

static int replay_expect(void *state, const rd_taskset *tasks, const int64_t *rules)
{
    int rc = RD_OK;
    replay *p = state;
    int64_t absent = 0, first_absent = -1, poor = 0, first_poor = -1, most = 0;
    for (int64_t i = 0; i < p->record.n_tasks; i++) p->record.task[i].claimed = NULL;
    for (int64_t i = 0; i < tasks->n; i++) {
        const rd_task *t = &tasks->task[i];
        const record_task *r = claim(&p->record, t);
        if (!r && absent++ == 0) first_absent = i;
        if (r && r->n_rules < rules[t->source] && poor++ == 0) first_poor = i, most = r->n_rules;
    }
    if (p->unanswered_counts) goto done;
    if (absent > 0)
        RD_FAIL(RD_EINPUT,
                "teacher.path: %s lacks %" PRId64 " of %" PRId64 " tasks, the first is %s %" PRId64
                " (teacher.on_failure: \"unanswered\" goes on without them)",
                p->path, absent, tasks->n, rd_family_name(tasks->task[first_absent].family),
                tasks->task[first_absent].id);
    if (poor > 0)
        RD_FAIL(RD_EINPUT,
                "teacher.path: %s has fewer rules than are asked for of %" PRId64
                " tasks: of %s %" PRId64 " there are %" PRId64 " of %" PRId64
                " (see augment.hypotheses, teacher.on_failure)",
                p->path, poor, rd_family_name(tasks->task[first_poor].family),
                tasks->task[first_poor].id, most, rules[tasks->task[first_poor].source]);
done:
    return rc;
}

/* ---------------------------------------------------------------- answering */

static int64_t counted(replay *p, int64_t recorded, const char *text)
{
    return recorded >= 0 ? recorded : token_count(&p->tokens, text, strlen(text));
}

static int replay_propose(void *state, const rd_task *task, int64_t k, double temperature,
                          rd_proposal *out)
{
    int rc = RD_OK;
    replay *p = state;
    rd_buf prompt = {0};
    (void)temperature;
    const record_task *t = find(&p->record, task);
    const int64_t have = t ? t->n_rules : 0;
    if (have < k && !p->unanswered_counts)
        RD_FAIL(RD_EINPUT, "teacher.path: %s has %" PRId64 " of %" PRId64 " rules of %s %" PRId64,
                p->path, have, k, rd_family_name(task->family), task->id);
    rd_prompt_propose(p->prompts, task, &prompt);
    for (int64_t i = 0; i < k; i++) {
        if (i >= have) {
            out[i] = (rd_proposal){.rule = rd_strdup("")};
            p->missing_rules++;
            continue;
        }
        const record_rule *r = &p->record.rule[t->first_rule + i];
        out[i] = (rd_proposal){rd_strdup(r->text), counted(p, r->tokens_in, prompt.data),
                               counted(p, r->tokens_out, r->text)};
    }
done:
    rd_buf_free(&prompt);
    return rc;
}

/* By its place in the task where it has one, else by its rule and input. */
static const record_app *find_application(const replay *p, const rd_application *a,
                                          record_app *loose)
{
    const record *r = &p->record;
    const record_task *t = a->task ? find(r, a->task) : NULL;
    if (t && a->draw < t->n_rules) {
        const record_rule *rule = &r->rule[t->first_rule + a->draw];
        if (a->example < rule->n_apps && strcmp(rule->text, a->rule) == 0)
            return &r->app[rule->first_app + a->example];
    }
    const char *response = record_loose_find(r, a->rule, a->input);
    *loose = (record_app){response, -1, -1};
    return response ? loose : NULL;
}

static int replay_apply(void *state, rd_family f, int64_t n, double temperature, rd_application *a)
{
    int rc = RD_OK;
    replay *p = state;
    rd_buf prompt = {0};
    (void)temperature;
    for (int64_t i = 0; i < n; i++) {
        record_app loose;
        const record_app *found = *a[i].rule ? find_application(p, &a[i], &loose) : NULL;
        a[i].tokens_in = a[i].tokens_out = 0;
        if (!found && *a[i].rule && !p->unanswered_counts)
            RD_FAIL(RD_EINPUT,
                    "teacher.path: %s has no answer of %s to the input %.60s under the rule "
                    "\"%.80s\" (teacher.on_failure: \"unanswered\" goes on without it)",
                    p->path, rd_family_name(f), a[i].input, a[i].rule);
        p->missing_apps += !found && *a[i].rule;
        a[i].response = rd_strdup(found && found->response ? found->response : "");
        if (!found) continue;
        rd_buf_clear(&prompt);
        if (found->tokens_in < 0) rd_prompt_follow(p->prompts, f, a[i].rule, a[i].input, &prompt);
        a[i].tokens_in = counted(p, found->tokens_in, prompt.data);
        a[i].tokens_out = counted(p, found->tokens_out, a[i].response);
    }
done:
    rd_buf_free(&prompt);
    return rc;
}

/* ---------------------------------------------------------------- the run */

static int replay_open(void *state, const rd_grid *g, const char *dir)
{
    replay *p = state;
    (void)dir;
    p->world = g->world;
    p->is_open = true;
    p->missing_rules = p->missing_apps = 0;
    return RD_OK;
}

static void replay_close(void *state)
{
    replay *p = state;
    if (!p->is_open) return;
    int64_t missing[2] = {p->missing_rules, p->missing_apps};
    rd_sum_i64(&p->world, missing, 2);
    if (missing[0] + missing[1] > 0)
        rd_info("teacher: %" PRId64 " rules and %" PRId64
                " applications are not in the record; they count as unanswered",
                missing[0], missing[1]);
    p->is_open = false;
}

const teacher_ops rd_teacher_replay = {
    .name = "replay",
    .create = replay_create,
    .free = replay_free,
    .key = replay_key,
    .expect = replay_expect,
    .open = replay_open,
    .close = replay_close,
    .propose = replay_propose,
    .apply = replay_apply,
};
