/* symbolic.c: the embedded teacher.
 *
 * It searches the family's DSL for rules of a task and proposes some of them with a realistic
 * spread: right, nearly right, wrong.  It applies a rule text by parsing it back, running it, and
 * making the mistakes that it is told to make.  Nothing it says depends on what it was asked
 * before: proposals are a function of (seed, task content, draw number), applications of (seed,
 * family, rule text, input, application key), so that any rank may answer and any unit may be
 * repeated. */
#include "kinds.h"

#include <math.h>
#include <string.h>

enum {
    PARSED_SLOTS =
        512,        /* rules kept parsed; a task's rules are applied to all its examples in a row */
    MUTATIONS = 96, /* attempts per task */
    KNOWN_MUTATIONS = 16, /* where the rule is handed over: many tasks, few draws of each */
    LONG_CHAIN = 3,       /* mutations that the second half of the attempts adds */
    MUTATION_CHAIN = 7    /* most mutations one after the other */
};

/* Costs count primitives: a rule that needs two more is proposed 1/e as often. */
static const double cost_scale = 2.0;

/* Said of a text that is no rule of the family or is undefined on the input.  It holds no bracket,
 * no number and no label, so that even the tolerant reading finds no answer in it (for MiniSCAN,
 * where any words are an answer, a wrong one). */
static const char no_answer[] = "I cannot apply this rule.";
/* Proposed when neither search nor mutation gave any rule. */
static const char no_rule[] = "There is no rule that I can see.";

typedef struct parsed_rule {
    char *text;
    rd_family family;
    rd_rule *rule; /* NULL: the text is not a rule */
} parsed_rule;

typedef struct symbolic {
    rd_teacher_opts opts;
    const rd_prompts *prompts;
    token_counter tokens;
    rd_buf prompt, answer, response; /* scratch, to spare an allocation per application */
    parsed_rule parsed[PARSED_SLOTS];
    struct spread *last; /* who asks for a first rule and then for others has one search */
    uint64_t last_task;
} symbolic;
static void forget_last(symbolic *s);

static int symbolic_create(const teacher_setup *setup, void **state)
{
    symbolic *s = rd_new(symbolic, 1);
    s->opts = *setup->opts;
    s->opts.kind = NULL; /* lent to create only */
    s->prompts = setup->prompts;
    s->tokens.tok = setup->tok;
    *state = s;
    return RD_OK;
}

static void symbolic_free(void *state)
{
    symbolic *s = state;
    for (int i = 0; i < PARSED_SLOTS; i++) {
        if (s->parsed[i].rule) rd_rule_free(s->parsed[i].family, &s->parsed[i].rule);
        rd_free(s->parsed[i].text);
    }
    forget_last(s);
    token_counter_free(&s->tokens);
    rd_buf_free(&s->prompt);
    rd_buf_free(&s->answer);
    rd_buf_free(&s->response);
    rd_free(s);
}

/* ---------------------------------------------------------------- the spread of proposals */

typedef enum { RIGHT, NEAR, WRONG, GRADES } grade;

typedef struct pool {
    int64_t n, cap;
    const rd_rule **rule; /* lent by cands or mutants */
    double *weight;
    uint64_t *text; /* hash of the canonical sentence: equal rules have equal sentences */
} pool;

/* Everything that a task's proposals are drawn from. */
typedef struct spread {
    rd_family family;
    uint64_t content; /* hash of what the teacher is shown */
    rd_candidates cands;
    rd_rule *known;
    rd_rule *mutants[MUTATIONS];
    int n_mutants;
    pool pools[GRADES];
    double cheapest; /* cost of the cheapest right rule */
    double skill;    /* 0 when no right rule was found */
    double luck;     /* uniform, one per task */
} spread;

static uint64_t canonical_hash(rd_family f, const rd_rule *r, rd_buf *scratch)
{
    rd_buf_clear(scratch);
    rd_rule_print(f, r, 0, scratch);
    return rd_hash(scratch->data, scratch->len, 0);
}

static void pool_add(pool *p, const rd_rule *r, double weight, uint64_t text)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 64;
        rd_resize(p->rule, p->cap);
        rd_resize(p->weight, p->cap);
        rd_resize(p->text, p->cap);
    }
    p->rule[p->n] = r;
    p->text[p->n] = text;
    p->weight[p->n++] = weight;
}

static void spread_free(spread *sp)
{
    rd_candidates_free(sp->family, &sp->cands);
    if (sp->known) rd_rule_free(sp->family, &sp->known);
    for (int i = 0; i < sp->n_mutants; i++) rd_rule_free(sp->family, &sp->mutants[i]);
    for (int g = 0; g < GRADES; g++) {
        RD_FREE(sp->pools[g].rule);
        RD_FREE(sp->pools[g].weight);
        RD_FREE(sp->pools[g].text);
    }
}

/* Demonstrations with outputs and the query inputs: what the search may look at.  Position, id and
 * the gold outputs of the queries stay out, so a repeated task gets the same rules wherever it
 * stands. */
static uint64_t content_hash(const rd_task *t)
{
    uint64_t h = rd_hash_str(rd_family_name(t->family), (uint64_t)t->n_demos);
    for (int64_t i = 0; i < t->n_demos + t->n_queries; i++) {
        h = rd_hash_str(t->examples[i].input, h);
        if (i < t->n_demos) h = rd_hash_str(t->examples[i].output, h);
    }
    return h;
}

static int32_t demo_score(rd_family f, const rd_rule *r, const rd_task *t, rd_buf *scratch)
{
    int32_t score = 0;
    for (int64_t i = 0; i < t->n_demos; i++) {
        rd_buf_clear(scratch);
        score += rd_rule_run(f, r, t->examples[i].input, scratch, NULL) &&
                 strcmp(scratch->data ? scratch->data : "", t->examples[i].output) == 0;
    }
    return score;
}

static void pools_from_search(spread *sp, const rd_task *t, rd_buf *scratch)
{
    for (int64_t i = 0; i < sp->cands.n; i++) {
        const rd_candidate *c = &sp->cands.item[i];
        uint64_t text = canonical_hash(sp->family, c->rule, scratch);
        if (c->score >= t->n_demos) {
            /* The list is sorted by cost within a score, so the first right rule is the cheapest.
             */
            if (sp->pools[RIGHT].n == 0) sp->cheapest = c->cost;
            pool_add(&sp->pools[RIGHT], c->rule, exp((sp->cheapest - c->cost) / cost_scale), text);
        } else if (c->score > 0) {
            pool_add(&sp->pools[NEAR], c->rule, 1.0, text);
        } else { /* a plausible wrong rule resembles the outputs */
            pool_add(&sp->pools[WRONG], c->rule, 0.02 + c->soft * c->soft, text);
        }
    }
}

static bool already_there(const spread *sp, uint64_t text)
{
    for (int g = 0; g < GRADES; g++)
        for (int64_t i = 0; i < sp->pools[g].n; i++)
            if (sp->pools[g].text[i] == text) return true;
    return false;
}

/* One mutant of a right rule (of the best rule there is when none is right), or NULL.  Chains of
 * several mutations reach the low scores that the wide margins of ACRE and MiniSCAN ask for. */
static rd_rule *mutant(const spread *sp, const rd_task *t, bool far, rd_rng *rng)
{
    const pool *from = &sp->pools[RIGHT];
    if (from->n == 0) from = &sp->pools[NEAR];
    if (from->n == 0) return NULL;
    int64_t base = from == &sp->pools[RIGHT] ? rd_rng_pick(rng, from->weight, from->n) : 0;
    int64_t chain = far ? 1 + LONG_CHAIN : 1;
    while (chain < MUTATION_CHAIN && rd_rng_chance(rng, 0.4)) chain++;
    rd_rule *r = rd_rule_mutate(sp->family, from->rule[base], t, rng);
    for (int64_t i = 1; r && i < chain; i++) {
        rd_rule *next = rd_rule_mutate(sp->family, r, t, rng);
        if (!next) break;
        rd_rule_free(sp->family, &r);
        r = next;
    }
    return r;
}

static void pools_from_mutation(spread *sp, const rd_task *t, uint64_t seed, rd_buf *scratch)
{
    /* The base rules are fixed first: a mutant is never mutated because of where it was put. */
    rd_rule *made[MUTATIONS];
    int attempts = sp->known ? KNOWN_MUTATIONS : MUTATIONS;
    for (int i = 0; i < attempts; i++) {
        rd_rng rng = rd_rng_make(seed, "teacher.mutate", sp->content, (uint64_t)i);
        made[i] = mutant(sp, t, i >= attempts / 2, &rng);
    }
    for (int i = 0; i < attempts; i++) {
        if (!made[i]) continue;
        uint64_t text = canonical_hash(sp->family, made[i], scratch);
        int32_t score = already_there(sp, text) ? -1 : demo_score(sp->family, made[i], t, scratch);
        /* A mutant that still fits is left out: right rules come from the search or the generator.
         */
        if (score < 0 || score >= t->n_demos) {
            rd_rule_free(sp->family, &made[i]);
            continue;
        }
        /* Nearly right mutants weigh more than chance partial fits of the search. */
        pool_add(&sp->pools[score > 0 ? NEAR : WRONG], made[i], score > 0 ? 2.0 : 1.0, text);
        sp->mutants[sp->n_mutants++] = made[i];
    }
}

static int spread_make(symbolic *s, const rd_task *t, spread *sp)
{
    int rc = RD_OK;
    *sp = (spread){.family = t->family, .content = content_hash(t)};
    if (s->opts.use_known_rule && t->rule) sp->known = rd_rule_parse(t->family, t->rule);
    if (sp->known) {
        sp->cheapest = rd_rule_cost(t->family, sp->known);
        pool_add(&sp->pools[RIGHT], sp->known, 1.0,
                 canonical_hash(t->family, sp->known, &s->answer));
    } else {
        rd_search_opts all = {.max_right = 20, .max_partial = 60, .max_wrong = 40};
        RD_TRY(rd_rule_search(t, &all, &sp->cands));
        pools_from_search(sp, t, &s->answer);
    }
    pools_from_mutation(sp, t, s->opts.seed, &s->answer);
    if (sp->pools[RIGHT].n > 0) {
        double z = s->opts.skill_a[t->family] - s->opts.skill_b[t->family] * sp->cheapest;
        sp->skill = 1.0 / (1.0 + exp(-z));
    }
    rd_rng rng = rd_rng_make(s->opts.seed, "teacher.luck", sp->content, 0);
    sp->luck = rd_rng_uniform(&rng);
done:
    return rc;
}

static void forget_last(symbolic *s)
{
    if (s->last) spread_free(s->last);
    RD_FREE(s->last);
}

/* The task's spread, kept until another task is asked about. */
static int spread_of(symbolic *s, const rd_task *t, const spread **sp)
{
    int rc = RD_OK;
    const char *handed = s->opts.use_known_rule && t->rule ? t->rule : "";
    const uint64_t task = rd_hash_str(handed, content_hash(t));
    if (!s->last || s->last_task != task) {
        forget_last(s);
        s->last = rd_new(spread, 1);
        s->last_task = task;
        RD_TRY(spread_make(s, t, s->last));
    }
done:
    if (rc != RD_OK) forget_last(s);
    *sp = s->last;
    return rc;
}

/* The grade of a draw.  luck < skill: the teacher's best guess is right.  luck >= (1 + skill) / 2:
 * it never finds a right rule for this task, in any number of draws.  Between: only by sampling. */
static grade draw_grade(const symbolic *s, const spread *sp, bool greedy, rd_rng *rng)
{
    double share[GRADES] = {s->opts.share_right * sp->skill, s->opts.share_near,
                            s->opts.share_wrong};
    if (greedy) {
        if (sp->luck < sp->skill && sp->pools[RIGHT].n > 0) return RIGHT;
        share[RIGHT] = 0;
    } else if (sp->luck >= (1 + sp->skill) / 2) {
        share[RIGHT] = 0;
    }
    double sum = 0;
    for (int g = 0; g < GRADES; g++) {
        if (sp->pools[g].n == 0) share[g] = 0;
        sum += share[g];
    }
    if (greedy && share[NEAR] > 0) return NEAR; /* the best guess is never wildly wrong */
    if (sum > 0) return (grade)rd_rng_pick(rng, share, GRADES);
    for (int g = GRADES - 1; g > 0; g--) /* all that is left has share 0 */
        if (sp->pools[g].n > 0) return (grade)g;
    return RIGHT;
}

/* A temperature T below 1 makes each draw the greedy one with probability 1 - T. */
static void draw_rule(const symbolic *s, const spread *sp, int64_t draw, double temperature,
                      rd_buf *out)
{
    rd_rng rng = rd_rng_make(s->opts.seed, "teacher.propose", sp->content, (uint64_t)draw);
    uint64_t wording = rd_rng_u64(&rng);
    if (s->opts.wordings > 0) wording %= (uint64_t)s->opts.wordings;
    bool greedy = rd_rng_uniform(&rng) >= temperature;
    /* The greedy choice is one per task, whatever the draw. */
    if (greedy) rng = rd_rng_make(s->opts.seed, "teacher.greedy", sp->content, 0);
    grade g = draw_grade(s, sp, greedy, &rng);
    const pool *p = &sp->pools[g];
    if (p->n == 0) {
        rd_buf_puts(out, no_rule);
        return;
    }
    int64_t i = greedy && g == RIGHT ? 0 : rd_rng_pick(&rng, p->weight, p->n);
    rd_rule_print(sp->family, p->rule[i], wording, out);
}

static int symbolic_propose(void *state, const rd_task *task, int64_t k, double temperature,
                            rd_proposal *out)
{
    int rc = RD_OK;
    symbolic *s = state;
    const spread *sp = NULL;
    RD_TRY(spread_of(s, task, &sp));
    rd_buf_clear(&s->prompt);
    rd_prompt_propose(s->prompts, task, &s->prompt);
    int64_t tokens_in = token_count(&s->tokens, s->prompt.data, s->prompt.len);
    for (int64_t i = 0; i < k; i++) {
        rd_buf rule = {0};
        draw_rule(s, sp, i, temperature, &rule);
        rd_buf_clear(&s->response);
        rd_response_propose(s->prompts, task->family, rule.data, &s->response);
        out[i].tokens_in = tokens_in;
        out[i].tokens_out = token_count(&s->tokens, s->response.data, s->response.len);
        out[i].rule = rd_buf_take(&rule);
    }
done:
    return rc;
}

/* ---------------------------------------------------------------- applying rules */

/* The rule of a text, parsed at most once while it stays in its slot.  Borrowed. */
static const rd_rule *parsed(symbolic *s, rd_family f, const char *text)
{
    parsed_rule *slot = &s->parsed[rd_hash_str(text, (uint64_t)f) % PARSED_SLOTS];
    if (slot->text && slot->family == f && strcmp(slot->text, text) == 0) return slot->rule;
    if (slot->rule) rd_rule_free(slot->family, &slot->rule);
    rd_free(slot->text);
    slot->text = rd_strdup(text);
    slot->family = f;
    slot->rule = rd_rule_parse(f, text);
    return slot->rule;
}

/* Elements of a list, words of anything else. */
static int64_t answer_length(const char *answer)
{
    char separator = answer[0] == '[' ? ',' : ' ';
    int64_t n = strcmp(answer, "[]") != 0 && answer[0] != '\0';
    for (const char *c = answer; *c; c++) n += *c == separator;
    return n;
}

/* e = 1 - (1 - e0)(1 - e1)^steps, a long answer counting as more steps. */
static double error_probability(const rd_teacher_opts *o, int steps, int64_t length)
{
    return 1 - (1 - o->noise) * pow(1 - o->step_noise, steps + (double)length / 8);
}

/* The right content in a wrong form: what a chat model adds around an answer. */
static void spoil_format(rd_buf *response, rd_rng *rng)
{
    rd_buf plain = *response;
    *response = (rd_buf){0};
    const char *text = plain.data ? plain.data : "";
    switch (rd_rng_below(rng, 5)) {
    case 0: rd_buf_printf(response, "The output is %s.", text); break;
    case 1: rd_buf_printf(response, "Output: %s", text); break;
    case 2: rd_buf_printf(response, "%s.", text); break;
    case 3: rd_buf_printf(response, "%s\n", text); break;
    default: /* cut off one character too early */
        rd_buf_add(response, text, plain.len > 1 ? plain.len - 1 : plain.len);
    }
    rd_buf_free(&plain);
}

static void respond(symbolic *s, rd_family f, const rd_application *a, rd_buf *response)
{
    const rd_rule *r = parsed(s, f, a->rule);
    rd_buf_clear(&s->answer);
    if (!r || !rd_rule_run(f, r, a->input, &s->answer, NULL)) {
        rd_buf_puts(response, no_answer);
        return;
    }
    uint64_t texts = rd_hash_str(a->input, rd_hash_str(a->rule, (uint64_t)f));
    rd_rng rng = rd_rng_make(s->opts.seed, "teacher.apply", texts, a->key);
    const char *answer = s->answer.data ? s->answer.data : "";
    rd_buf slip = {0};
    double e = error_probability(&s->opts, rd_rule_steps(f, r), answer_length(answer));
    if (rd_rng_chance(&rng, e)) {
        rd_rule_slip(f, r, a->input, answer, &rng, &slip);
        answer = slip.data ? slip.data : "";
    }
    rd_response_follow(s->prompts, f, NULL, NULL, answer, response);
    if (rd_rng_chance(&rng, s->opts.format_noise)) spoil_format(response, &rng);
    rd_buf_free(&slip);
}

/* The noise is a setting of its own, so the temperature plays no part here. */
static int symbolic_apply(void *state, rd_family f, int64_t n, double temperature,
                          rd_application *a)
{
    symbolic *s = state;
    (void)temperature;
    for (int64_t i = 0; i < n; i++) {
        rd_buf response = {0};
        respond(s, f, &a[i], &response);
        rd_buf_clear(&s->prompt);
        rd_prompt_follow(s->prompts, f, a[i].rule, a[i].input, &s->prompt);
        a[i].tokens_in = token_count(&s->tokens, s->prompt.data, s->prompt.len);
        a[i].tokens_out = token_count(&s->tokens, response.data, response.len);
        a[i].response = rd_buf_take(&response);
    }
    return RD_OK;
}

const teacher_ops rd_teacher_symbolic = {
    .name = "symbolic",
    .create = symbolic_create,
    .free = symbolic_free,
    .propose = symbolic_propose,
    .apply = symbolic_apply,
};
