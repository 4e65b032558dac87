/* rigged_student.h: a student without a model.  Defines the generator's functions (so the library's
 * are not linked) and answers every prompt of a set of tasks by rule: proposals are drawn from a
 * pool per task (right, nearly right, nonsense, nothing), rules are followed exactly with slips,
 * direct answers are right now and then.  A response is a function of prompt, key and whether the
 * temperature is 0, as of the real one. */
#ifndef RIGGED_STUDENT_H
#define RIGGED_STUDENT_H

#include "rd_test.h"
#include "rd/infer.h"

enum { RIGGED_POOL = 8 };

/* What a known prompt asks for. */
typedef struct rigged_prompt {
    char *text;
    uint64_t hash;
    int kind; /* 0 propose, 1 follow, 2 io */
    const rd_task *task;
    char *answer;      /* follow: what the rule gives, NULL if undefined; io: the gold output */
    const char *wrong; /* another output */
} rigged_prompt;

enum { RIGGED_SLOTS = 6 };
struct rd_generator {
    rd_gen_request **waiting; /* of a stream, in the order in which they came */
    int64_t n, cap, draws;
};

static struct {
    const rd_prompts *prompts;
    int64_t n, cap;
    rigged_prompt *p;
    char *pool[64][RIGGED_POOL]; /* rules of each task */
    const rd_taskset *tasks;
    /* What was asked since rigged_reset. */
    int64_t calls[3], repeats;
    rd_buf seen;    /* (prompt, key) hashes */
    bool in_order;  /* a stream's responses end in the order of their priorities */
    uint64_t order; /* another number, another order in which responses end */
} rigged;

static inline void rigged_add(int kind, const rd_task *t, const rd_buf *text, char *answer,
                              const char *wrong)
{
    if (rigged.n == rigged.cap) {
        rigged.cap = rigged.cap ? 2 * rigged.cap : 256;
        rd_resize(rigged.p, rigged.cap);
    }
    rigged.p[rigged.n++] =
        (rigged_prompt){rd_strdup(text->data), rd_hash_str(text->data, 0), kind, t, answer, wrong};
}

/* The pool of a task: its rule, near misses, two texts that are no rules (one NULL: no text at
 * all). */
static inline void rigged_rules(int64_t i, const rd_task *t)
{
    rd_rng rng = rd_rng_make(4, "pool", (uint64_t)i, 0);
    rd_rule *truth = rd_rule_parse(t->family, t->rule);
    if (!truth) rd_die("task %d has no rule", (int)i);
    rigged.pool[i][0] = rd_strdup(t->rule);
    for (int k = 1; k < RIGGED_POOL - 2; k++) {
        rd_buf text = {0};
        rd_rule *near = rd_rule_mutate(t->family, truth, t, &rng);
        if (near) {
            rd_rule_print(t->family, near, 0, &text);
            rd_rule_free(t->family, &near);
        } else {
            rd_buf_printf(&text, "something else, number %d", k);
        }
        rigged.pool[i][k] = rd_buf_take(&text);
    }
    rigged.pool[i][RIGGED_POOL - 2] = rd_strdup("no idea at all");
    rd_rule_free(t->family, &truth);
}

static inline void rigged_task(int64_t i, const rd_task *t)
{
    rd_buf text = {0}, answer = {0};
    const char *wrong = t->examples[0].output;
    rigged_rules(i, t);
    rd_prompt_propose(rigged.prompts, t, &text);
    rigged_add(0, t, &text, NULL, NULL);
    for (int64_t e = 0; e < t->n_demos + t->n_queries; e++) {
        const char *input = t->examples[e].input;
        for (int k = 0; k < RIGGED_POOL - 1; k++) {
            rd_rule *r = rd_rule_parse(t->family, rigged.pool[i][k]);
            bool defined = r && rd_rule_run(t->family, r, input, &answer, NULL);
            rd_buf_clear(&text);
            rd_prompt_follow(rigged.prompts, t->family, rigged.pool[i][k], input, &text);
            rigged_add(1, t, &text, defined ? rd_strdup(answer.data) : NULL, wrong);
            rd_buf_clear(&answer);
            if (r) rd_rule_free(t->family, &r);
        }
        rd_buf_clear(&text);
        rd_prompt_io(rigged.prompts, t, input, &text);
        rigged_add(2, t, &text, rd_strdup(t->examples[e].output), wrong);
    }
    rd_buf_free(&text);
    rd_buf_free(&answer);
}

static inline void rigged_begin(const rd_prompts *prompts, const rd_taskset *tasks)
{
    rigged.prompts = prompts;
    rigged.tasks = tasks;
    for (int64_t i = 0; i < tasks->n; i++) rigged_task(i, &tasks->task[i]);
}

static inline void rigged_reset(void)
{
    rigged.calls[0] = rigged.calls[1] = rigged.calls[2] = rigged.repeats = 0;
    rd_buf_clear(&rigged.seen);
}

static inline void rigged_end(void)
{
    for (int64_t i = 0; i < rigged.n; i++) {
        rd_free(rigged.p[i].text);
        rd_free(rigged.p[i].answer);
    }
    for (int64_t i = 0; i < rigged.tasks->n; i++)
        for (int k = 0; k < RIGGED_POOL; k++) rd_free(rigged.pool[i][k]);
    RD_FREE(rigged.p);
    rd_buf_free(&rigged.seen);
}

static inline void rigged_answer(const rigged_prompt *p, rd_gen_request *r, rd_buf *out)
{
    rd_rng rng = rd_rng_make(r->temperature > 0 ? r->key : 1, "rigged", p->hash, 0);
    rd_family f = p->task->family;
    if (p->kind == 0) {
        int64_t k = rd_rng_below(&rng, RIGGED_POOL);
        const char *rule = rigged.pool[p->task - rigged.tasks->task][k];
        if (p->task == rigged.tasks->task) rule = NULL; /* the first task: never a rule */
        if (rule) rd_response_propose(rigged.prompts, f, rule, out);
    } else if (p->kind == 1) {
        if (!p->answer)
            rd_buf_puts(out, "I cannot say");
        else if (rd_rng_chance(&rng, 0.25))
            rd_response_follow(rigged.prompts, f, NULL, NULL, p->wrong, out);
        else
            rd_response_follow(rigged.prompts, f, NULL, NULL, p->answer, out);
    } else {
        double u = rd_rng_uniform(&rng);
        if (u < 0.45)
            rd_response_io(rigged.prompts, f, p->answer, out);
        else if (u < 0.9)
            rd_response_io(rigged.prompts, f, p->wrong, out);
    }
}

int rd_generator_create(const rd_model *model, const rd_chat *chat, const rd_generator_opts *o,
                        rd_generator **gen)
{
    (void)model, (void)chat, (void)o;
    *gen = rd_new(rd_generator, 1);
    return RD_OK;
}

void rd_generator_free(rd_generator **gen)
{
    if (*gen) rd_free((*gen)->waiting);
    RD_FREE(*gen);
}

static inline void rigged_respond(rd_gen_request *r)
{
    const rigged_prompt *p = NULL;
    uint64_t hash = rd_hash_str(r->prompt, 0);
    for (int64_t k = 0; k < rigged.n && !p; k++)
        if (rigged.p[k].hash == hash && strcmp(rigged.p[k].text, r->prompt) == 0) p = &rigged.p[k];
    if (!p) rd_die("a prompt that nobody should ask: %s", r->prompt);
    uint64_t asked[2] = {hash, r->key};
    for (size_t k = 0; k < rigged.seen.len; k += sizeof asked)
        rigged.repeats += memcmp(rigged.seen.data + k, asked, sizeof asked) == 0;
    rd_buf_add(&rigged.seen, asked, sizeof asked);
    rigged.calls[p->kind]++;
    rd_buf text = {0};
    rigged_answer(p, r, &text);
    r->tokens_in = (int64_t)strlen(r->prompt) / 4 + 1;
    r->tokens_out = (int64_t)text.len / 4 + 1;
    r->text = rd_buf_take(&text);
    r->truncated = false;
}

int rd_generate(rd_generator *gen, int64_t n, rd_gen_request *r)
{
    (void)gen;
    for (int64_t i = 0; i < n; i++) rigged_respond(&r[i]);
    return RD_OK;
}

uint64_t rd_generator_opts_hash(const rd_generator_opts *o)
{
    (void)o;
    return 0;
}

void rd_generator_expect(rd_generator *gen, int64_t n)
{
    (void)gen, (void)n;
}

void rd_generator_counts(const rd_generator *gen, rd_gen_counts *counts)
{
    (void)gen;
    *counts = (rd_gen_counts){0};
}

int rd_generator_add(rd_generator *gen, rd_gen_request *r)
{
    if (gen->n == gen->cap) {
        gen->cap = 2 * gen->cap + 64;
        rd_resize(gen->waiting, gen->cap);
    }
    r->text = NULL;
    gen->waiting[gen->n++] = r;
    return RD_OK;
}

void rd_generator_cancel(rd_generator *gen, rd_gen_request *r)
{
    int64_t i = 0;
    while (i < gen->n && gen->waiting[i] != r) i++;
    if (i == gen->n) rd_die("what is cancelled is not under way");
    memmove(gen->waiting + i, gen->waiting + i + 1, (size_t)(--gen->n - i) * sizeof *gen->waiting);
}

/* Of the first slots by priority, any. */
int rd_generator_next(rd_generator *gen, rd_gen_request **r)
{
    int64_t first[RIGGED_SLOTS], n = 0, slots = rigged.in_order ? 1 : RIGGED_SLOTS;
    *r = NULL;
    for (int64_t p = 0; p < 64; p++)
        for (int64_t i = 0; i < gen->n && n < slots; i++)
            if (gen->waiting[i]->priority == p) first[n++] = i;
    if (n == 0) return RD_OK;
    rd_rng rng = rd_rng_make(rigged.order, "order", (uint64_t)gen->draws++, 0);
    rd_gen_request *chosen = gen->waiting[first[rd_rng_below(&rng, n)]];
    rd_generator_cancel(gen, chosen);
    rigged_respond(chosen);
    *r = chosen;
    return RD_OK;
}

#endif
