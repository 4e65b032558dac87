/* teacher.c: the interface of teachers, the table of kinds, the key that journals are named by, and
 * the counting of tokens that all kinds share. */
#include "kinds.h"

#include <string.h>

static const teacher_ops *const kinds[] = {&rd_teacher_symbolic, &rd_teacher_http,
                                           &rd_teacher_replay, &rd_teacher_model};
enum { N_KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* Raised whenever the same options would give other answers than before, so that journals and
 * traces of an older program are not continued. */
enum { ANSWERS_VERSION = 1 };

struct rd_teacher {
    const teacher_ops *ops;
    void *state;
    uint64_t key;
    /* Jobs done as they were handed in, until they are asked for: done[first] … done[n - 1]. */
    void **done;
    int64_t first, n, cap;
};

/* The skills are calibrated by tests/calibrate_teacher.c on the official files: the greedy
 * hypothesis, run without noise, answers as many test examples as GPT-4's published single
 * hypothesis (ACRE 78.2 %, List Function 51.6 %, MiniSCAN 77.0 %).  No such figure exists for
 * 1D-ARC; 60 % is our choice, between List Function and MiniSCAN.  The slopes b are gentle by
 * choice, so that generated tasks, whose rules may cost three times as much, do not become
 * hopeless; costs of different families are not comparable. */
void rd_teacher_defaults(rd_teacher_opts *o)
{
    memset(o, 0, sizeof *o);
    o->kind = "symbolic";
    o->seed = 1;
    o->http = (rd_http_opts){.url = "",
                             .proxy = "",
                             .model = "",
                             .system = "",
                             .token_field = "max_tokens",
                             .max_tokens = 512,
                             .choices = 1,
                             .send_seed = true,
                             .in_flight = 32,
                             .attempts = 8,
                             .timeout = 120,
                             .deadline = 900,
                             .backoff = 0.5,
                             .backoff_max = 60};
    o->replay = (rd_replay_opts){.path = ""};
    o->noise = 0.02;
    o->step_noise = 0.01;
    o->format_noise = 0.01;
    o->share_right = 0.35;
    o->share_near = 0.40;
    o->share_wrong = 0.25;
    o->skill_a[RD_LIST_FUNCTION] = 0.39;
    o->skill_b[RD_LIST_FUNCTION] = 0.2;
    o->skill_a[RD_ARC1D] = -0.26;
    o->skill_b[RD_ARC1D] = 0.2;
    o->skill_a[RD_ACRE] = 3.24;
    o->skill_b[RD_ACRE] = 0.3;
    o->skill_a[RD_MINISCAN] = 3.19;
    o->skill_b[RD_MINISCAN] = 0.2;
}

static uint64_t hash_f64(uint64_t h, double v)
{
    return rd_hash(&v, sizeof v, h);
}

/* Every option by itself: padding bytes of the struct and pointers must not enter the key. */
static uint64_t options_key(const rd_teacher_opts *o, const rd_prompts *prompts, const rd_tok *tok)
{
    uint64_t h = rd_hash_str(o->kind, ANSWERS_VERSION);
    h = rd_hash(&o->seed, sizeof o->seed, h);
    const double reals[] = {o->noise,       o->step_noise, o->format_noise,
                            o->share_right, o->share_near, o->share_wrong};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) h = hash_f64(h, reals[i]);
    for (int f = 0; f < RD_FAMILIES; f++) h = hash_f64(hash_f64(h, o->skill_a[f]), o->skill_b[f]);
    int64_t ints[] = {o->wordings, o->use_known_rule, (int64_t)rd_prompts_hash(prompts)};
    h = rd_hash(ints, sizeof ints, h);
    if (tok) { /* the tokens that a call costs are part of the answer */
        rd_buf json = {0};
        rd_tok_to_json(tok, &json);
        h = rd_hash(json.data, json.len, h);
        rd_buf_free(&json);
    }
    return h;
}

static int check_options(const rd_teacher_opts *o)
{
    int rc = RD_OK;
    const double shares[] = {o->share_right, o->share_near, o->share_wrong};
    const double rates[] = {o->noise, o->step_noise, o->format_noise};
    double sum = 0;
    for (int i = 0; i < 3; i++) {
        if (!(shares[i] >= 0)) RD_FAIL(RD_EINPUT, "teacher: a share of proposals is negative");
        if (!(rates[i] >= 0 && rates[i] <= 1))
            RD_FAIL(RD_EINPUT, "teacher: a noise rate is %g, not in 0 ... 1", rates[i]);
        sum += shares[i];
    }
    if (!(sum > 0)) RD_FAIL(RD_EINPUT, "teacher: the shares of proposals sum to %g", sum);
    if (o->wordings < 0) RD_FAIL(RD_EINPUT, "teacher: wordings is %d, not >= 0", o->wordings);
done:
    return rc;
}

int rd_teacher_create(const rd_teacher_opts *o, const rd_prompts *prompts, const rd_tok *tok,
                      rd_teacher **t)
{
    int rc = RD_OK;
    rd_teacher *made = NULL;
    *t = NULL;
    const teacher_ops *ops = NULL;
    for (int i = 0; i < N_KINDS; i++)
        if (o->kind && strcmp(kinds[i]->name, o->kind) == 0) ops = kinds[i];
    if (!ops)
        RD_FAIL(RD_EINPUT, "teacher.kind: no kind '%s' (known: %s, %s, %s, %s)",
                o->kind ? o->kind : "", kinds[0]->name, kinds[1]->name, kinds[2]->name,
                kinds[3]->name);
    RD_TRY(check_options(o));
    made = rd_new(rd_teacher, 1);
    made->ops = ops;
    const teacher_setup setup = {o, prompts, tok};
    RD_TRY(ops->create(&setup, &made->state));
    made->key = ops->key ? ops->key(&setup, made->state) : options_key(o, prompts, tok);
    *t = made;
    made = NULL;
done:
    rd_free(made);
    return rc;
}

void rd_teacher_free(rd_teacher **t)
{
    if (!*t) return;
    (*t)->ops->free((*t)->state);
    rd_free((*t)->done);
    RD_FREE(*t);
}

uint64_t rd_teacher_key(const rd_teacher *t)
{
    return t->key;
}

int rd_teacher_expect(rd_teacher *t, const rd_taskset *tasks, const int64_t *rules)
{
    return t->ops->expect ? t->ops->expect(t->state, tasks, rules) : RD_OK;
}

int rd_teacher_open(rd_teacher *t, const rd_grid *g, const char *dir)
{
    return t->ops->open ? t->ops->open(t->state, g, dir) : RD_OK;
}

void rd_teacher_close(rd_teacher *t)
{
    if (t->ops->close) t->ops->close(t->state);
}

/* ---------------------------------------------------------------- jobs */

static void push_done(rd_teacher *t, void *tag)
{
    if (t->first == t->n) t->first = t->n = 0;
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        rd_resize(t->done, t->cap);
    }
    t->done[t->n++] = tag;
}

int rd_teacher_propose_start(rd_teacher *t, const rd_task *task, int64_t k, double temperature,
                             rd_proposal *out, void *tag)
{
    int rc = RD_OK;
    if (t->ops->propose_start)
        return t->ops->propose_start(t->state, task, k, temperature, out, tag);
    RD_TRY(t->ops->propose(t->state, task, k, temperature, out));
    push_done(t, tag);
done:
    return rc;
}

int rd_teacher_apply_start(rd_teacher *t, rd_family f, int64_t n, double temperature,
                           rd_application *a, void *tag)
{
    int rc = RD_OK;
    if (t->ops->apply_start) return t->ops->apply_start(t->state, f, n, temperature, a, tag);
    RD_TRY(t->ops->apply(t->state, f, n, temperature, a));
    push_done(t, tag);
done:
    return rc;
}

int rd_teacher_next(rd_teacher *t, void **tag)
{
    if (t->ops->next) return t->ops->next(t->state, tag);
    *tag = t->first < t->n ? t->done[t->first++] : NULL;
    return RD_OK;
}

bool rd_teacher_wants(const rd_teacher *t)
{
    return t->ops->wants ? t->ops->wants(t->state) : t->first == t->n;
}

void rd_teacher_cancel(rd_teacher *t)
{
    if (t->ops->cancel) t->ops->cancel(t->state);
}

/* Until the one job that is under way has come back. */
static int await(rd_teacher *t, void *tag)
{
    int rc = RD_OK;
    void *came = NULL;
    RD_TRY(rd_teacher_next(t, &came));
    if (came != tag) RD_FAIL(RD_ESTOP, "teacher: another rank gave up");
done:
    return rc;
}

int rd_teacher_propose(rd_teacher *t, const rd_task *task, int64_t k, double temperature,
                       rd_proposal *out)
{
    int rc = RD_OK;
    RD_TRY(rd_teacher_propose_start(t, task, k, temperature, out, out));
    RD_TRY(await(t, out));
done:
    return rc;
}

int rd_teacher_apply(rd_teacher *t, rd_family f, int64_t n, double temperature, rd_application *a)
{
    int rc = RD_OK;
    RD_TRY(rd_teacher_apply_start(t, f, n, temperature, a, a));
    RD_TRY(await(t, a));
done:
    return rc;
}

int64_t token_count(token_counter *c, const char *text, size_t n)
{
    if (!c->tok) return ((int64_t)n + 3) / 4;
    if (rd_tok_room(c->tok, n) > c->cap) {
        c->cap = 2 * rd_tok_room(c->tok, n);
        rd_resize(c->ids, c->cap);
    }
    return rd_tok_encode(c->tok, text, n, c->ids, c->cap);
}

void token_counter_free(token_counter *c)
{
    RD_FREE(c->ids);
}
