/* model.c: the teacher that is a language model of ours, in this program's memory.
 *
 * Jobs wait in a queue of requests; whoever waits for a job makes the generator work on the first
 * of them, as many as keep its slots busy.  The ranks of a replica hand in the same jobs in the
 * same order and so have the same queue.  A random stream is named by the task and the draw, or by
 * the application's key: what is said does not depend on who asks, or when. */
#include "kinds.h"

#include <string.h>

enum {
    BATCHES = 4
}; /* requests per call of the generator, in slots: few of them idle at its end */

typedef struct model_job {
    void *tag;
    rd_family family;
    rd_proposal *out;  /* lent, or … */
    rd_application *a; /* … lent */
    int64_t n, left;
    char **prompt; /* [n_prompts] */
    int64_t n_prompts;
    struct model_job *next; /* in the list of all that are under way */
} model_job;

typedef struct request {
    model_job *job;
    int64_t index;
} request;

typedef struct model_state {
    rd_model_teacher_opts o;
    uint64_t seed;
    const rd_prompts *prompts;
    const rd_grid *grid; /* between open and close */
    rd_generator *generator;
    model_job *jobs;
    rd_gen_request *ask; /* those that wait: ask[first] … ask[n - 1] */
    request *of;
    int64_t first, n, cap;
    void **done;
    int64_t done_first, done_n, done_cap;
} model_state;

static int model_create(const teacher_setup *setup, void **state)
{
    int rc = RD_OK;
    const rd_model_teacher_opts *o = &setup->opts->model;
    if (!o->load || !o->chat) RD_FAIL(RD_EINPUT, "teacher.kind: no model was handed over");
    model_state *m = rd_new(model_state, 1);
    m->o = *o;
    m->seed = setup->opts->seed;
    m->prompts = setup->prompts;
    *state = m;
done:
    return rc;
}

static uint64_t model_key(const teacher_setup *setup, const void *state)
{
    const model_state *m = state;
    const uint64_t parts[] = {m->seed,
                              m->o.identity,
                              rd_chat_hash(m->o.chat),
                              rd_prompts_hash(setup->prompts),
                              (uint64_t)m->o.max_tokens,
                              (uint64_t)m->o.generator.max_len};
    const uint64_t responses = rd_generator_opts_hash(&m->o.generator);
    const uint64_t following[] = {(uint64_t)m->o.max_answer_tokens, m->o.interpreter};
    uint64_t h = rd_hash(parts, sizeof parts, rd_hash_str("model", 1));
    if (responses != 0) h = rd_hash(&responses, sizeof responses, h);
    if (following[0] != 0 || following[1] != 0) h = rd_hash(following, sizeof following, h);
    return h;
}

static int model_open(void *state, const rd_grid *g, const char *dir)
{
    int rc = RD_OK;
    model_state *m = state;
    const rd_model *model = NULL;
    (void)dir;
    m->grid = g;
    RD_TRY(m->o.load(m->o.context, &model));
    RD_TRY(rd_generator_create(model, m->o.chat, &m->o.generator, &m->generator));
done:
    return rc;
}

static void job_free(model_job *j)
{
    for (int64_t i = 0; i < j->n_prompts; i++) rd_free(j->prompt[i]);
    rd_free(j->prompt);
    rd_free(j);
}

static void model_close(void *state)
{
    model_state *m = state;
    rd_generator_free(&m->generator);
    for (model_job *j = m->jobs, *next; j; j = next) {
        next = j->next;
        job_free(j);
    }
    m->jobs = NULL;
    m->first = m->n = m->done_first = m->done_n = 0;
    m->grid = NULL;
}

static void model_free(void *state)
{
    model_state *m = state;
    model_close(m);
    rd_free(m->ask);
    rd_free(m->of);
    rd_free(m->done);
    rd_free(m);
}

/* ---------------------------------------------------------------- handing in */

static model_job *add_job(model_state *m, rd_family f, int64_t n, int64_t n_prompts, void *tag)
{
    model_job *j = rd_new(model_job, 1);
    *j = (model_job){.tag = tag,
                     .family = f,
                     .n = n,
                     .left = n,
                     .prompt = rd_new(char *, n_prompts),
                     .n_prompts = n_prompts,
                     .next = m->jobs};
    m->jobs = j;
    return j;
}

static void add_request(model_state *m, model_job *j, int64_t index, const char *prompt,
                        uint64_t key, double temperature, int64_t max_new)
{
    if (m->first == m->n) m->first = m->n = 0;
    if (m->n == m->cap) {
        m->cap = 2 * m->cap + 256;
        rd_resize(m->ask, m->cap);
        rd_resize(m->of, m->cap);
    }
    m->ask[m->n] = (rd_gen_request){
        .prompt = prompt, .key = key, .temperature = temperature, .max_new = max_new};
    m->of[m->n++] = (request){j, index};
}

static void finish_job(model_state *m, model_job *j)
{
    model_job **at = &m->jobs;
    while (*at != j) at = &(*at)->next;
    *at = j->next;
    if (m->done_first == m->done_n) m->done_first = m->done_n = 0;
    if (m->done_n == m->done_cap) {
        m->done_cap = 2 * m->done_cap + 64;
        rd_resize(m->done, m->done_cap);
    }
    m->done[m->done_n++] = j->tag;
    job_free(j);
}

static int model_propose_start(void *state, const rd_task *task, int64_t k, double temperature,
                               rd_proposal *out, void *tag)
{
    model_state *m = state;
    const int64_t name[] = {task->family, task->split, task->source, task->id};
    const uint64_t stream = rd_hash(name, sizeof name, rd_hash_str("propose", m->seed));
    model_job *j = add_job(m, task->family, k, 1, tag);
    rd_buf prompt = {0};
    j->out = out;
    rd_prompt_propose(m->prompts, task, &prompt);
    j->prompt[0] = rd_buf_take(&prompt);
    for (int64_t i = 0; i < k; i++)
        add_request(m, j, i, j->prompt[0], rd_hash(&i, sizeof i, stream), temperature,
                    m->o.max_tokens);
    if (k == 0) finish_job(m, j);
    return RD_OK;
}

/* A rule is parsed once for the applications that follow each other under it. */
static void interpret(const rd_prompts *prompts, rd_family f, int64_t n, rd_application *a)
{
    rd_rule *rule = NULL;
    rd_buf answer = {0}, response = {0};
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(a[i].rule, a[i - 1].rule) != 0) {
            rd_rule_free(f, &rule);
            rule = rd_rule_parse(f, a[i].rule);
        }
        rd_buf_clear(&answer);
        if (rule && rd_rule_run(f, rule, a[i].input, &answer, NULL))
            rd_response_follow(prompts, f, NULL, NULL, answer.data ? answer.data : "", &response);
        a[i].response = rd_buf_take(&response);
        a[i].tokens_in = a[i].tokens_out = 0;
    }
    rd_rule_free(f, &rule);
    rd_buf_free(&answer);
}

static int model_apply_start(void *state, rd_family f, int64_t n, double temperature,
                             rd_application *a, void *tag)
{
    model_state *m = state;
    const uint64_t stream = rd_hash_str("apply", m->seed);
    const int64_t most = m->o.max_answer_tokens > 0 ? m->o.max_answer_tokens : m->o.max_tokens;
    model_job *j = add_job(m, f, n, n, tag);
    rd_buf prompt = {0};
    j->a = a;
    if (m->o.interpreter) {
        interpret(m->prompts, f, n, a);
        j->left = 0;
    }
    for (int64_t i = 0; i < n && !m->o.interpreter; i++) {
        a[i].tokens_in = a[i].tokens_out = 0;
        if (!*a[i].rule) { /* none came */
            a[i].response = rd_strdup("");
            j->left--;
            continue;
        }
        rd_prompt_follow(m->prompts, f, a[i].rule, a[i].input, &prompt);
        j->prompt[i] = rd_buf_take(&prompt);
        add_request(m, j, i, j->prompt[i], rd_hash(&a[i].key, sizeof a[i].key, stream), temperature,
                    most);
    }
    if (j->left == 0) finish_job(m, j);
    return RD_OK;
}

/* ---------------------------------------------------------------- the generator */

static void deliver(model_state *m, const request *of, rd_gen_request *r)
{
    model_job *j = of->job;
    if (j->a) {
        rd_application *a = &j->a[of->index];
        a->response = r->text ? r->text : rd_strdup("");
        a->tokens_in = r->tokens_in, a->tokens_out = r->tokens_out;
    } else {
        rd_buf rule = {0};
        if (!r->text || !rd_rule_read(m->prompts, j->family, r->text, &rule)) rd_buf_clear(&rule);
        /* Proposals share their prompt, which is read once. */
        j->out[of->index] =
            (rd_proposal){rd_buf_take(&rule), of->index == 0 ? r->tokens_in : 0, r->tokens_out};
        rd_free(r->text);
    }
    r->text = NULL;
    if (--j->left == 0) finish_job(m, j);
}

/* Answers to the first requests that wait. */
static int generate(model_state *m)
{
    int rc = RD_OK;
    const int64_t most = BATCHES * m->o.generator.slots, waiting = m->n - m->first;
    const int64_t n = waiting < most ? waiting : most;
    rd_gen_request *ask = m->ask + m->first;
    if (rd_stop_agree(&m->grid->tp)) RD_FAIL(RD_ESTOP, "teacher: stopped between two batches");
    rc = rd_generate(m->generator, n, ask);
    if (rc != RD_OK) {
        for (int64_t i = 0; i < n; i++) RD_FREE(ask[i].text);
        goto done;
    }
    m->first += n; /* delivering adds no requests */
    for (int64_t i = 0; i < n; i++) deliver(m, &m->of[m->first - n + i], &ask[i]);
done:
    return rc;
}

static int model_next(void *state, void **tag)
{
    int rc = RD_OK;
    model_state *m = state;
    *tag = NULL;
    while (m->done_first == m->done_n && m->first < m->n) RD_TRY(generate(m));
    if (m->done_first < m->done_n) *tag = m->done[m->done_first++];
done:
    return rc;
}

/* Finished jobs bring requests of their own first. */
static bool model_wants(const void *state)
{
    const model_state *m = state;
    return m->done_first == m->done_n && m->n - m->first < BATCHES * m->o.generator.slots;
}

const teacher_ops rd_teacher_model = {
    .name = "model",
    .create = model_create,
    .free = model_free,
    .key = model_key,
    .open = model_open,
    .close = model_close,
    .propose_start = model_propose_start,
    .apply_start = model_apply_start,
    .next = model_next,
    .wants = model_wants,
};
