/* http.c: the teacher behind an OpenAI-compatible server.
 *
 * Jobs become calls in a queue; slots, this rank's share of the calls in flight, take them from
 * there.  A rank that has nothing more to do leaves its slots to the others.  A call that must
 * wait before it is tried again keeps its slot: when a server refuses more and more, less and less
 * is asked of it.  An answer is written to the ledger before anything else is done with it; a call
 * whose answer the ledger has is never made.  What is shared over the ranks (money, calls, whether
 * somebody gave up) are numbers that all add to. */
#include "chat.h"
#include "kinds.h"
#include "retry.h"
#include "transport.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    ANSWERS_VERSION = 1, /* raised whenever the same question is put in another way */
    RECORD_VERSION = 1,  /* of the ledger's records */
    HOPELESS_CALLS = 20  /* so many unanswered and none answered: the stage fails */
};
enum { MONEY, CALLS, GIVEN_UP, SPARE, SHARED }; /* the shared numbers; money in 1e-9 */

static const double NANO = 1e9;
static const double POLL_SECONDS = 0.2; /* between looks at stop requests and other ranks */
static const double SYNC_SECONDS = 2;   /* between syncs of the ledger */
static const double GRACE_SECONDS = 5;  /* for calls under way when the end comes */

typedef struct job {
    void *tag;
    int64_t left; /* calls without a result */
    struct job *next;
} job;

/* One request, from the queue to its result.  out: the proposals draw … draw + n - 1 of task; a: an
 * application.  Both lent. */
typedef struct call {
    job *job;
    const rd_task *task;
    rd_proposal *out;
    int64_t draw, n;
    rd_family family;
    rd_application *a;
    double temperature;
    struct call *next;
    /* from here on once it has been prepared */
    bool prepared;
    rd_buf body;
    rd_ledger_key key;
    int64_t prompt_tokens;
    int64_t reserved; /* money set aside, 1e-9 */
    int attempts;
    double begun;
} call;

typedef enum { FREE, WAITING, FLYING } slot_state;
typedef struct slot {
    slot_state state;
    call *call;
    double until; /* WAITING: when it is tried again */
} slot;

typedef struct usage { /* of this rank, this run */
    int64_t answered, replayed, unanswered, attempts, cut, refused, tokens_in, tokens_out, cost;
} usage;
enum { USAGE_NUMBERS = sizeof(usage) / sizeof(int64_t) };

typedef struct http {
    rd_http_opts o; /* its strings are copies; the key is not kept here */
    char *key;      /* until open hands it to the transport */
    uint64_t seed;
    const rd_prompts *prompts;
    token_counter tokens;
    const rd_comm *comm; /* between open and close */
    transport *wire;
    rd_ledger *ledger;
    rd_counter *shared;
    int n_slots, max_slots;
    slot *slot;         /* max_slots of them, of which the first n_slots are ours */
    bool over;          /* nothing more to do: the slots are given away */
    call *first, *last; /* the queue */
    int64_t n_queued, jobs;
    job *finished, *last_finished;
    double next_poll, next_sync;
    bool given_up;        /* another rank has */
    const char *short_of; /* NULL, or the key of the limit that no further call fits under */
    rd_buf prompt, rule, record, why;
    int64_t spent; /* by earlier runs, 1e-9 */
    usage used;
} http;

/* ---------------------------------------------------------------- options */

static int check_url(const char *key, const char *url)
{
    int rc = RD_OK;
    const char *host = strstr(url, "://");
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        RD_FAIL(RD_EINPUT, "%s: must start with http:// or https://, got '%.80s'", key, url);
    /* Whatever stands in a config is written to the run's files. */
    if (memchr(host + 3, '@', strcspn(host + 3, "/")))
        RD_FAIL(RD_EINPUT, "%s: must not hold a user or password; see teacher.key_variable", key);
done:
    return rc;
}

static int check_key(const char *key)
{
    int rc = RD_OK;
    for (const char *p = key ? key : ""; *p; p++)
        if (*p <= 0x20 || *p > 0x7e)
            RD_FAIL(RD_EINPUT, "teacher.key_variable: the key in it holds a blank or a character "
                               "that a header cannot carry");
done:
    return rc;
}

static int check_options(const rd_http_opts *o)
{
    int rc = RD_OK;
    RD_TRY(check_url("teacher.url", o->url));
    if (*o->proxy) RD_TRY(check_url("teacher.proxy", o->proxy));
    RD_TRY(check_key(o->key));
    if (!*o->model) RD_FAIL(RD_EINPUT, "teacher.model: must name the server's model");
    if (o->in_flight < 1 || o->attempts < 1 || o->max_tokens < 1 || o->choices < 1)
        RD_FAIL(RD_EINPUT, "teacher: in_flight, attempts, max_tokens and choices must be >= 1");
    if (!(o->timeout > 0) || !(o->deadline > 0) || !(o->backoff >= 0) || !(o->backoff_max >= 0))
        RD_FAIL(RD_EINPUT, "teacher: timeout and deadline must be > 0, back-off >= 0");
    if (o->budget > 0 && !(o->price_in > 0) && !(o->price_out > 0))
        RD_FAIL(RD_EINPUT, "teacher.budget: needs teacher.price_in or teacher.price_out");
done:
    return rc;
}

/* The address of chat completions below the base that users know. */
static char *completions_url(const char *base)
{
    static const char end[] = "/chat/completions";
    rd_buf b = {0};
    size_t n = strlen(base);
    rd_buf_puts(&b, base);
    if (strchr(base, '?') || (n > strlen(end) && strcmp(base + n - strlen(end), end) == 0))
        return rd_buf_take(&b);
    while (b.len > 0 && b.data[b.len - 1] == '/') b.data[--b.len] = '\0';
    rd_buf_puts(&b, end);
    return rd_buf_take(&b);
}

static int http_create(const teacher_setup *setup, void **state)
{
    int rc = RD_OK;
    const rd_http_opts *o = &setup->opts->http;
    RD_TRY(check_options(o));
    http *h = rd_new(http, 1);
    h->o = *o;
    h->o.key = NULL;
    h->key = rd_strdup(o->key);
    h->o.url = completions_url(o->url);
    h->o.proxy = rd_strdup(o->proxy);
    h->o.model = rd_strdup(o->model);
    h->o.system = rd_strdup(o->system);
    h->o.token_field = rd_strdup(o->token_field);
    h->seed = setup->opts->seed;
    h->prompts = setup->prompts;
    h->tokens.tok = setup->tok;
    *state = h;
done:
    return rc;
}

/* The address is no part of it: the model's name says who answers, wherever it is served. */
static uint64_t http_key(const teacher_setup *setup, const void *state)
{
    (void)state;
    const rd_teacher_opts *o = setup->opts;
    const int64_t ints[] = {(int64_t)o->seed, o->http.max_tokens, o->http.choices,
                            o->http.send_seed, (int64_t)rd_prompts_hash(setup->prompts)};
    uint64_t h = rd_hash(ints, sizeof ints, ANSWERS_VERSION);
    h = rd_hash_str(o->http.model, h);
    h = rd_hash_str(o->http.system, h + 1);
    return rd_hash_str(o->http.token_field, h + 2);
}

/* ---------------------------------------------------------------- the queue */

static void enqueue(http *h, call *c, bool in_front)
{
    c->next = in_front ? h->first : NULL;
    if (in_front) {
        h->first = c;
        if (!h->last) h->last = c;
    } else {
        if (h->last)
            h->last->next = c;
        else
            h->first = c;
        h->last = c;
    }
    h->n_queued++;
}

static call *dequeue(http *h)
{
    call *c = h->first;
    h->first = c->next;
    if (!h->first) h->last = NULL;
    h->n_queued--;
    return c;
}

static void call_free(call *c)
{
    rd_buf_free(&c->body);
    rd_free(c);
}

/* A call that ends without a result, and its job with the last of its calls. */
static void call_drop(call *c)
{
    if (--c->job->left == 0) rd_free(c->job);
    call_free(c);
}

static void job_done(http *h, job *j)
{
    if (h->last_finished)
        h->last_finished->next = j;
    else
        h->finished = j;
    h->last_finished = j;
}

static int job_begin(http *h, void *tag, job **j)
{
    int rc = RD_OK;
    *j = NULL;
    if (h->over) RD_FAIL(RD_EINTERNAL, "teacher: a job after the last");
    if (h->n_slots == 0)
        RD_FAIL(RD_EINPUT, "teacher: %s",
                h->comm ? "this rank has no share of teacher.in_flight"
                        : "jobs before rd_teacher_open");
    *j = rd_new(job, 1);
    (*j)->tag = tag;
    h->jobs++;
done:
    return rc;
}

static int http_propose_start(void *state, const rd_task *task, int64_t k, double temperature,
                              rd_proposal *out, void *tag)
{
    int rc = RD_OK;
    http *h = state;
    job *j = NULL;
    RD_TRY(job_begin(h, tag, &j));
    for (int64_t i = 0; i < k; i += h->o.choices) {
        call *c = rd_new(call, 1);
        int64_t n = k - i < h->o.choices ? k - i : h->o.choices;
        *c = (call){.job = j,
                    .task = task,
                    .out = out + i,
                    .draw = i,
                    .n = n,
                    .family = task->family,
                    .temperature = temperature};
        j->left++;
        enqueue(h, c, false);
    }
    if (j->left == 0) job_done(h, j);
done:
    return rc;
}

static int http_apply_start(void *state, rd_family f, int64_t n, double temperature,
                            rd_application *a, void *tag)
{
    int rc = RD_OK;
    http *h = state;
    job *j = NULL;
    RD_TRY(job_begin(h, tag, &j));
    for (int64_t i = 0; i < n; i++) {
        if (!*a[i].rule) { /* no rule came: there is nothing to ask, and no answer */
            a[i].response = rd_strdup("");
            continue;
        }
        call *c = rd_new(call, 1);
        *c = (call){.job = j, .family = f, .a = &a[i], .n = 1, .temperature = temperature};
        j->left++;
        enqueue(h, c, false);
    }
    if (j->left == 0) job_done(h, j);
done:
    return rc;
}

static bool http_wants(const void *state)
{
    const http *h = state;
    return h->n_queued < h->n_slots && !h->given_up && !h->short_of;
}

/* ---------------------------------------------------------------- preparing a call */

/* Names a draw whatever else is asked: the task by what names it in its set, or the application. */
static uint64_t draw_key(const http *h, const call *c)
{
    if (c->a) return rd_hash(&c->a->key, sizeof c->a->key, h->seed + 1);
    const int64_t parts[] = {c->task->family, c->task->split, c->task->source, c->task->id,
                             c->draw};
    return rd_hash(parts, sizeof parts, h->seed);
}

static void prepare(http *h, call *c)
{
    rd_buf_clear(&h->prompt);
    if (c->a)
        rd_prompt_follow(h->prompts, c->family, c->a->rule, c->a->input, &h->prompt);
    else
        rd_prompt_propose(h->prompts, c->task, &h->prompt);
    const uint64_t draw = draw_key(h, c);
    chat_request r = {.model = h->o.model,
                      .system = h->o.system,
                      .prompt = h->prompt.data,
                      .temperature = c->temperature,
                      .max_tokens = h->o.max_tokens,
                      .choices = c->n,
                      .seed = h->o.send_seed ? (int64_t)(draw & 0x7fffffff) : -1,
                      .token_field = h->o.token_field};
    chat_request_put(&r, &c->body);
    c->prompt_tokens = token_count(&h->tokens, h->prompt.data, h->prompt.len) +
                       token_count(&h->tokens, h->o.system, strlen(h->o.system));
    c->key.a = rd_hash(c->body.data, c->body.len, draw + ANSWERS_VERSION);
    c->key.b = rd_hash(c->body.data, c->body.len, ~c->key.a);
    c->prepared = true;
}

static int64_t price(const http *h, int64_t tokens_in, int64_t tokens_out)
{
    const double per_million =
        (double)tokens_in * h->o.price_in + (double)tokens_out * h->o.price_out;
    return (int64_t)ceil(per_million * (NANO / 1e6));
}

/* Set aside what the call may cost at most, as far as is known.  false: a limit would be passed. */
static bool reserve(http *h, call *c)
{
    if (h->o.max_calls > 0 && rd_counter_add(h->shared, CALLS, 1) >= h->o.max_calls) {
        rd_counter_add(h->shared, CALLS, -1);
        h->short_of = "teacher.max_calls";
        return false;
    }
    c->reserved = price(h, c->prompt_tokens, h->o.max_tokens * c->n);
    const double limit = h->o.budget * NANO;
    if (h->o.budget > 0 &&
        (double)(rd_counter_add(h->shared, MONEY, c->reserved) + c->reserved) > limit) {
        rd_counter_add(h->shared, MONEY, -c->reserved);
        if (h->o.max_calls > 0) rd_counter_add(h->shared, CALLS, -1);
        h->short_of = "teacher.budget";
        return false;
    }
    return true;
}

/* The call has ended and cost so much (< 0: it brought nothing). */
static void settle(http *h, const call *c, int64_t cost)
{
    if (h->o.max_calls > 0 && cost < 0) rd_counter_add(h->shared, CALLS, -1);
    if (h->o.budget > 0) rd_counter_add(h->shared, MONEY, (cost > 0 ? cost : 0) - c->reserved);
    h->short_of = NULL; /* there may be room again */
}

/* ---------------------------------------------------------------- results */

static void result_done(http *h, call *c)
{
    if (--c->job->left == 0) job_done(h, c->job);
    call_free(c);
}

static void proposal_set(http *h, rd_family f, rd_proposal *p, const char *text, int64_t tokens_in,
                         int64_t tokens_out)
{
    rd_buf_clear(&h->rule);
    rd_rule_read(h->prompts, f, text, &h->rule);
    *p = (rd_proposal){rd_strdup(h->rule.data ? h->rule.data : ""), tokens_in, tokens_out};
}

/* Proposals for which a server that knows no n gave no choice are asked for one by one. */
static void ask_for_rest(http *h, const call *c, int64_t n)
{
    for (int64_t i = n; i < c->n; i++) {
        call *one = rd_new(call, 1);
        *one = (call){.job = c->job,
                      .task = c->task,
                      .out = c->out + i,
                      .draw = c->draw + i,
                      .n = 1,
                      .family = c->family,
                      .temperature = c->temperature};
        c->job->left++;
        enqueue(h, one, false);
    }
}

/* The tokens of a call with several choices: the prompt's stand at the first, those of the
 * responses are shared out evenly. */
static void deliver(http *h, call *c, const chat_answer *a)
{
    const int64_t n = a->n < c->n ? a->n : c->n;
    for (int64_t i = 0; i < n; i++) {
        const chat_choice *choice = &a->choice[i];
        const int64_t in = i == 0 ? a->tokens_in : 0;
        const int64_t out = a->tokens_out / n + (i < a->tokens_out % n);
        if (c->a) {
            c->a->response = rd_strdup(choice->text);
            c->a->tokens_in = in, c->a->tokens_out = out;
        } else {
            proposal_set(h, c->family, &c->out[i], choice->text, in, out);
        }
        h->used.cut += choice->cut;
        h->used.refused += choice->refused;
    }
    h->used.tokens_in += a->tokens_in;
    h->used.tokens_out += a->tokens_out;
    ask_for_rest(h, c, n);
    result_done(h, c);
}

/* No answer came and none will: empty, so that it stays in every denominator. */
static void deliver_nothing(http *h, call *c)
{
    h->used.unanswered++;
    if (c->a) c->a->response = rd_strdup("");
    for (int64_t i = 0; !c->a && i < c->n; i++) proposal_set(h, c->family, &c->out[i], "", 0, 0);
    result_done(h, c);
}

/* ---------------------------------------------------------------- the ledger's records */

static void record_put(const chat_answer *a, rd_buf *b)
{
    rd_buf_clear(b);
    rd_put_i64(b, RECORD_VERSION);
    rd_put_i64(b, a->tokens_in);
    rd_put_i64(b, a->tokens_out);
    rd_put_i64(b, a->n);
    for (int64_t i = 0; i < a->n; i++) {
        rd_put_str(b, a->choice[i].text);
        rd_put_i64(b, a->choice[i].cut | a->choice[i].refused << 1);
    }
}

static int record_get(const rd_buf *b, chat_answer *a)
{
    int rc = RD_OK;
    rd_cursor c = {b->data, b->len, 0};
    int64_t version = 0, n = 0, flags = 0;
    *a = (chat_answer){0};
    RD_TRY(rd_get_i64(&c, &version));
    if (version != RECORD_VERSION) RD_FAIL(RD_EINPUT, "teacher: the ledger holds a newer record");
    RD_TRY(rd_get_i64(&c, &a->tokens_in));
    RD_TRY(rd_get_i64(&c, &a->tokens_out));
    RD_TRY(rd_get_i64(&c, &n));
    if (n < 1 || (uint64_t)n > b->len) RD_FAIL(RD_EINPUT, "teacher: a record without answers");
    a->choice = rd_new(chat_choice, n);
    for (; a->n < n; a->n++) {
        chat_choice *choice = &a->choice[a->n];
        RD_TRY(rd_get_str(&c, &choice->text));
        RD_TRY(rd_get_i64(&c, &flags));
        choice->cut = flags & 1, choice->refused = flags >> 1 & 1;
    }
done:
    if (rc != RD_OK) chat_answer_free(a);
    return rc;
}

/* A call that an earlier run, or this one, has had answered. */
static int replay(http *h, call *c, bool *found)
{
    int rc = RD_OK;
    chat_answer a = {0};
    RD_TRY(rd_ledger_find(h->ledger, c->key, found, &h->record));
    if (!*found) goto done;
    RD_TRY(record_get(&h->record, &a));
    h->used.replayed++;
    deliver(h, c, &a);
done:
    chat_answer_free(&a);
    return rc;
}

/* ---------------------------------------------------------------- calls */

static int launch(http *h, slot *s)
{
    int rc = RD_OK;
    s->call->attempts++;
    h->used.attempts++;
    RD_TRY(transport_start(h->wire, (int)(s - h->slot), s->call->body.data, s->call->body.len));
    s->state = FLYING;
done:
    return rc;
}

/* Calls from the queue into a free slot, until one has to be made. */
static int fill_slot(http *h, slot *s)
{
    int rc = RD_OK;
    while (h->first && !h->short_of) {
        bool found = false;
        call *c = dequeue(h);
        if (!c->prepared) {
            prepare(h, c);
            rc = replay(h, c, &found);
            if (rc != RD_OK) call_drop(c);
            RD_TRY(rc);
            if (found) continue;
        }
        if (!reserve(h, c)) {
            enqueue(h, c, true);
            break;
        }
        c->begun = rd_time();
        s->call = c;
        RD_TRY(launch(h, s));
        break;
    }
done:
    return rc;
}

static int fill(http *h)
{
    int rc = RD_OK;
    const double now = rd_time();
    for (int i = 0; i < h->n_slots; i++) {
        slot *s = &h->slot[i];
        if (s->state == WAITING && s->until <= now) RD_TRY(launch(h, s));
        if (s->state == FREE && h->first && !h->short_of) RD_TRY(fill_slot(h, s));
    }
done:
    return rc;
}

static int64_t slots_in(const http *h, slot_state state)
{
    int64_t n = 0;
    for (int i = 0; i < h->n_slots; i++) n += h->slot[i].state == state;
    return n;
}

/* An answer has come: first of all it is written down. */
static int take_answer(http *h, call *c, chat_answer *a)
{
    int rc = RD_OK;
    int64_t bytes = 0;
    for (int64_t i = 0; i < a->n; i++) {
        transport_blot(h->wire, a->choice[i].text, strlen(a->choice[i].text));
        bytes += token_count(&h->tokens, a->choice[i].text, strlen(a->choice[i].text));
    }
    if (a->tokens_in < 0) a->tokens_in = c->prompt_tokens;
    if (a->tokens_out < 0) a->tokens_out = bytes;
    record_put(a, &h->record);
    const int64_t cost = price(h, a->tokens_in, a->tokens_out);
    RD_TRY(rd_ledger_append(h->ledger, c->key, cost, &h->record));
    h->used.answered++;
    h->used.cost += cost;
    settle(h, c, cost);
done:
    return rc;
}

/* What a reply without an answer was, in h->why (which chat_answer_read has begun when the status
 * was 200), and what that means. */
static retry_verdict judge(http *h, const transport_reply *r)
{
    retry_verdict verdict = RETRY_LATER;
    rd_buf text = {0};
    if (!r->arrived) {
        rd_buf_clear(&h->why);
        rd_buf_puts(&h->why, r->failure);
        if (r->hopeless) verdict = RETRY_HOPELESS;
    } else if (r->status != 200) {
        rd_buf_clear(&h->why);
        rd_buf_printf(&h->why, "status %d", r->status);
        /* Servers tend to quote parts of the key when they refuse it. */
        if (r->status != 401 && r->status != 403) chat_error_text(r->body, &text);
        if (text.len > 0) rd_buf_printf(&h->why, ": %s", text.data);
        verdict = retry_status(r->status);
    }
    rd_buf_free(&text);
    transport_blot(h->wire, h->why.data, h->why.len);
    return verdict;
}

static int give_up(http *h, call *c, const char *when)
{
    int rc = RD_OK;
    const double seconds = rd_time() - c->begun;
    settle(h, c, -1);
    bool fails =
        !h->o.unanswered_counts || (h->used.answered == 0 && h->used.unanswered >= HOPELESS_CALLS);
    if (!fails) {
        deliver_nothing(h, c);
        return RD_OK;
    }
    int attempts = c->attempts;
    call_drop(c);
    RD_FAIL(RD_EINPUT, "teacher: %s after %d attempt%s in %.0f s; the last: %s", when, attempts,
            attempts == 1 ? "" : "s", seconds, h->why.data ? h->why.data : "");
done:
    return rc;
}

static int take_failure(http *h, slot *s, const transport_reply *r)
{
    int rc = RD_OK;
    call *c = s->call;
    const retry_verdict verdict = judge(h, r);
    const double now = rd_time(), delay = retry_delay(h->o.backoff, h->o.backoff_max, c->attempts,
                                                      r->retry_after, h->seed, c->key.a);
    if (verdict == RETRY_LATER && c->attempts < h->o.attempts &&
        now + delay <= c->begun + h->o.deadline) {
        s->call = c;
        s->state = WAITING;
        s->until = now + delay;
        goto done;
    }
    s->call = NULL;
    s->state = FREE;
    if (verdict == RETRY_HOPELESS) {
        settle(h, c, -1);
        call_drop(c);
        RD_FAIL(RD_EINPUT, "teacher: the server takes no calls: %s", h->why.data);
    }
    RD_TRY(give_up(h, c, verdict == RETRY_NOT ? "a call was refused" : "a call had no answer"));
done:
    return rc;
}

/* closing: nothing lent may be touched; answers are only written down. */
static int take_reply(http *h, const transport_reply *r, bool closing)
{
    int rc = RD_OK;
    slot *s = &h->slot[r->place];
    call *c = s->call;
    chat_answer a = {0};
    bool answered = r->arrived && r->status == 200 && chat_answer_read(r->body, &a, &h->why);
    if (answered) {
        s->call = NULL;
        s->state = FREE;
        rc = take_answer(h, c, &a);
        if (rc == RD_OK && !closing)
            deliver(h, c, &a);
        else
            call_drop(c);
        RD_TRY(rc);
    } else if (closing) {
        s->call = NULL;
        s->state = FREE;
        call_drop(c);
    } else {
        RD_TRY(take_failure(h, s, r));
    }
done:
    chat_answer_free(&a);
    return rc;
}

/* ---------------------------------------------------------------- waiting */

/* This rank has no more to do. */
static void leave_slots(http *h)
{
    if (h->over || !h->shared) return;
    rd_counter_add(h->shared, SPARE, h->n_slots);
    h->n_slots = 0;
    h->over = true;
}

/* Some of the slots that others have left: half of them, as others may look too. */
static void take_slots(http *h)
{
    int64_t want = (rd_counter_add(h->shared, SPARE, 0) + 1) / 2;
    if (want > h->n_queued) want = h->n_queued;
    if (want > h->max_slots - h->n_slots) want = h->max_slots - h->n_slots;
    if (want <= 0) return;
    int64_t there = rd_counter_add(h->shared, SPARE, -want), got = there < want ? there : want;
    if (got < 0) got = 0;
    if (got < want) rd_counter_add(h->shared, SPARE, want - got); /* others were faster */
    h->n_slots += (int)got;
}

/* Now and then: requests to stop, the other ranks, the ledger's way to the disk. */
static int look_around(http *h)
{
    int rc = RD_OK;
    const double now = rd_time();
    rd_counter_serve(h->shared);
    if (now < h->next_poll) return RD_OK;
    h->next_poll = now + POLL_SECONDS;
    h->given_up = rd_counter_add(h->shared, GIVEN_UP, 0) > 0;
    take_slots(h);
    if (now >= h->next_sync) {
        h->next_sync = now + SYNC_SECONDS;
        RD_TRY(rd_ledger_sync(h->ledger));
    }
    if (!h->given_up && rd_stop_local())
        RD_FAIL(RD_ESTOP, "teacher: stopped as asked; the answers are kept and the same command "
                          "continues");
done:
    return rc;
}

/* Nothing is under way here, and a limit forbids the next call. */
static int limit_reached(http *h)
{
    int rc = RD_OK;
    const double spent = (double)rd_counter_add(h->shared, MONEY, 0) / NANO;
    const bool money = strcmp(h->short_of, "teacher.budget") == 0;
    if (money)
        RD_FAIL(RD_ESTOP,
                "teacher.budget: %.4f of %.4f is spent or set aside; the answers are kept, and the "
                "same command continues with a higher one",
                spent, h->o.budget);
    RD_FAIL(RD_ESTOP,
            "teacher.max_calls: %" PRId64 " calls are made; the answers are kept, and the same "
            "command continues with a higher one",
            h->o.max_calls);
done:
    return rc;
}

/* One turn of the network. */
static int turn(http *h, bool closing)
{
    int rc = RD_OK;
    double wait = POLL_SECONDS;
    const double now = rd_time();
    transport_reply r;
    for (int i = 0; i < h->n_slots; i++)
        if (h->slot[i].state == WAITING && h->slot[i].until - now < wait)
            wait = h->slot[i].until > now ? h->slot[i].until - now : 0;
    RD_TRY(transport_wait(h->wire, wait));
    while (transport_done(h->wire, &r)) RD_TRY(take_reply(h, &r, closing));
done:
    return rc;
}

static int http_next(void *state, void **tag)
{
    int rc = RD_OK;
    http *h = state;
    *tag = NULL;
    while (!h->finished && h->jobs > 0) {
        RD_TRY(look_around(h));
        if (h->given_up) goto done;
        RD_TRY(fill(h));
        if (h->finished) break;
        if (h->short_of && slots_in(h, FREE) == h->n_slots) RD_TRY(limit_reached(h));
        RD_TRY(turn(h, false));
    }
    job *j = h->finished;
    if (!j) {
        leave_slots(h);
        goto done;
    }
    h->finished = j->next;
    if (!h->finished) h->last_finished = NULL;
    h->jobs--;
    *tag = j->tag;
    rd_free(j);
done:
    return rc;
}

static void http_cancel(void *state)
{
    http *h = state;
    if (h->shared) rd_counter_add(h->shared, GIVEN_UP, 1);
}

/* ---------------------------------------------------------------- opening and closing */

/* teacher.in_flight over the ranks; those beyond it get none. */
static int share_of(int64_t total, const rd_comm *c)
{
    return rd_int(total / c->size + (c->rank < total % c->size));
}

static int open_transport(http *h)
{
    int rc = RD_OK;
    const transport_opts o = {.url = h->o.url,
                              .key = h->key,
                              .proxy = h->o.proxy,
                              .timeout = h->o.timeout,
                              .places = h->max_slots};
    RD_TRY(transport_create(&o, &h->wire));
done:
    return rc;
}

static int http_open(void *state, const rd_grid *g, const char *dir)
{
    int rc = RD_OK;
    http *h = state;
    int64_t shared[SHARED] = {0}, spent = 0, calls = 0;
    if (g->tp.size > 1)
        RD_FAIL(RD_EINTERNAL, "teacher: over HTTP every rank asks for itself (grid 1 x 1)");
    h->comm = &g->world;
    RD_TRY(rd_ledger_open(h->comm, dir, "calls", &h->ledger));
    rd_ledger_totals(h->ledger, &calls, &spent);
    shared[MONEY] = h->spent = spent;
    shared[CALLS] = calls;
    rd_counter_create(h->comm, SHARED, shared, &h->shared);
    h->n_slots = share_of(h->o.in_flight, h->comm);
    h->max_slots = rd_int(h->o.in_flight);
    h->slot = rd_new(slot, h->max_slots);
    RD_TRY(rd_agree(h->comm, open_transport(h)));
    if (calls > 0)
        rd_info("teacher  %" PRId64 " answered calls are in the ledger (%.4f spent)", calls,
                (double)spent / NANO);
done:
    return rc;
}

/* What is under way is paid for: a few seconds for it to arrive. */
static void land_calls(http *h)
{
    const double end = rd_time() + GRACE_SECONDS;
    const rd_error why_we_end = *rd_error_get(); /* reading bad replies clears the record */
    for (int i = 0; i < h->n_slots; i++) {
        if (h->slot[i].state != WAITING) continue;
        call_drop(h->slot[i].call);
        h->slot[i] = (slot){.state = FREE};
    }
    int rc = RD_OK;
    while (rc == RD_OK && slots_in(h, FLYING) > 0 && rd_time() < end) rc = turn(h, true);
    if (rc != RD_OK) rd_warn("teacher: calls under way are lost: %s", rd_error_get()->message);
    *rd_error_get() = why_we_end;
    for (int i = 0; i < h->n_slots; i++)
        if (h->slot[i].state == FLYING) call_drop(h->slot[i].call);
}

/* Jobs that nobody waits for any more. */
static void drop_jobs(http *h)
{
    while (h->first) {
        call *c = dequeue(h);
        call_drop(c);
    }
    while (h->finished) {
        job *j = h->finished;
        h->finished = j->next;
        rd_free(j);
    }
    h->last_finished = NULL;
    h->jobs = 0;
}

/* Collective. */
static void report_usage(const http *h)
{
    usage sum = h->used;
    rd_sum_i64(h->comm, (int64_t *)&sum, USAGE_NUMBERS);
    if (sum.attempts + sum.replayed == 0) return;
    rd_info("teacher  %" PRId64 " calls answered in %" PRId64 " attempts, %" PRId64
            " more from the ledger; %" PRId64 " unanswered, %" PRId64
            " cut at teacher.max_tokens, %" PRId64 " refused",
            sum.answered, sum.attempts, sum.replayed, sum.unanswered, sum.cut, sum.refused);
    rd_info("teacher  %" PRId64 " tokens in, %" PRId64 " out; %.4f spent now, %.4f in all",
            sum.tokens_in, sum.tokens_out, (double)sum.cost / NANO,
            (double)(h->spent + sum.cost) / NANO);
}

static void http_close(void *state)
{
    http *h = state;
    if (!h->comm) return;
    if (h->wire) land_calls(h);
    drop_jobs(h);
    if (h->shared) report_usage(h);
    rd_ledger_close(&h->ledger);
    rd_counter_free(&h->shared);
    transport_free(&h->wire);
    RD_FREE(h->slot);
    h->n_slots = 0;
    h->given_up = h->over = false;
    h->short_of = NULL;
    h->used = (usage){0};
    h->comm = NULL;
}

static void http_free(void *state)
{
    http *h = state;
    RD_ASSERT(!h->comm); /* closing is collective, freeing is not */
    if (h->key) explicit_bzero(h->key, strlen(h->key));
    rd_free(h->key);
    rd_free((char *)h->o.url);
    rd_free((char *)h->o.proxy);
    rd_free((char *)h->o.model);
    rd_free((char *)h->o.system);
    rd_free((char *)h->o.token_field);
    token_counter_free(&h->tokens);
    rd_buf_free(&h->prompt);
    rd_buf_free(&h->rule);
    rd_buf_free(&h->record);
    rd_buf_free(&h->why);
    rd_free(h);
}

const teacher_ops rd_teacher_http = {
    .name = "http",
    .create = http_create,
    .free = http_free,
    .key = http_key,
    .open = http_open,
    .close = http_close,
    .propose_start = http_propose_start,
    .apply_start = http_apply_start,
    .next = http_next,
    .wants = http_wants,
    .cancel = http_cancel,
};
