/* search.c: hypothesis search on a block of problems, and what shares its parts: the interpreter as
 * follower, random training rules, the true rule.
 *
 * All problems of all blocks at hand are one stream of questions.  A rule is followed as soon as it
 * has been proposed, on all demonstrations, the first ones first; so there is always enough to
 * decode side by side, and nobody waits for the slowest response of a round.  What is counted is
 * what a search in rounds would have asked: scores, tokens and drops are taken demonstration by
 * demonstration when all of a round are there, and what was begun ahead for a rule that is dropped
 * is cancelled and counts nowhere.  So no outcome depends on the order in which responses end. */
#include "eval_impl.h"

#include <string.h>

/* A rule text that some proposal gave, before all of them are known. */
typedef struct tried {
    char *rule;
    uint64_t hash;
    trial *trial; /* [examples]; handed to the hypothesis */
} tried;

typedef struct search {
    hypotheses h;
    contest contest[RD_MAX_N];
    int64_t round[RD_MAX_N]; /* demonstrations that are counted */
    bool answered[RD_MAX_N]; /* the winner's answers have been asked for */
    int64_t n_draws, n_tried;
    char **draw; /* [draws] a proposal's rule; NULL: none was read */
    tried *tried;
    bool open;                        /* all proposals are there */
    int64_t propose_in, *propose_out; /* tokens: of the prompt, of each draw */
} search;

/* ---------------------------------------------------------------- following */

static void proceed(block *b, problem *p, search *s);

static void followed(block *b, asking *a)
{
    search *s = a->of;
    trial *t = a->trial;
    t->asked = NULL;
    t->done = true;
    t->in = a->r.tokens_in;
    t->out = a->r.tokens_out;
    t->response = a->r.text;
    a->r.text = NULL;
    judge(b, a->p->task, a->index, t->response, &t->strict, &t->tolerant);
    if (s && s->open) proceed(b, a->p, s);
}

static void ask(block *b, problem *p, search *s, int64_t priority, const char *rule, uint64_t hash,
                trial *trials, int64_t example)
{
    rd_buf_clear(&b->prompt);
    rd_prompt_follow(b->prompts, p->task->family, rule, p->task->examples[example].input,
                     &b->prompt);
    asking *a = block_ask(b, p, priority, stream_key(b, p, "follow", hash, example),
                          b->o->follow_temperature, b->o->max_answer_tokens, followed);
    a->of = s;
    a->index = example;
    a->trial = &trials[example];
    a->trial->asked = a;
}

static void ask_queries(block *b, problem *p, search *s, hypothesis *y)
{
    const rd_task *t = p->task;
    for (int64_t e = t->n_demos; e < t->n_demos + t->n_queries; e++)
        if (!y->trial[e].done && !y->trial[e].asked) /* another n may have chosen the same rule */
            ask(b, p, s, ASK_ANSWER, y->rule, y->hash, y->trial, e);
}

/* Answers of one method at one n by following y (NULL: there is no rule).  Tokens are added. */
static void take_answers(problem *p, int method, int64_t n, int64_t row, const hypothesis *y,
                         int64_t *in, int64_t *out)
{
    const rd_task *t = p->task;
    for (int64_t query = 0; query < t->n_queries; query++) {
        if (y == NULL) {
            add_answer(p, method, n, query, -1, NULL, false, false);
            continue;
        }
        const trial *got = &y->trial[t->n_demos + query];
        add_answer(p, method, n, query, row, got->response, got->strict, got->tolerant);
        *in += got->in;
        *out += got->out;
    }
}

/* ---------------------------------------------------------------- scoring */

/* Is the winner of these draws known? */
static bool decided(const block *b, const contest *c)
{
    return c->n_live == 0 || (c->n_live == 1 && !b->o->no_dropping);
}

static bool complete(const block *b, const search *s, int c)
{
    return decided(b, &s->contest[c]) || s->round[c] == s->h.task->n_demos;
}

/* Has every rule that is live in the contest been followed on demonstration d? */
static bool round_is_there(const search *s, const contest *c, int64_t d)
{
    for (int64_t i = 0; i < c->n_hyp; i++)
        if (c->live[i] && !s->h.item[i].trial[d].done) return false;
    return true;
}

/* Cancel applications that no contest will look at. */
static void cancel_idle(block *b, search *s)
{
    for (int64_t i = 0; i < s->h.n; i++) {
        bool needed = false;
        for (int c = 0; c < b->o->n_counts; c++)
            needed |= !complete(b, s, c) && i < s->contest[c].n_hyp && s->contest[c].live[i];
        for (int64_t d = 0; d < s->h.task->n_demos && !needed; d++) {
            trial *t = &s->h.item[i].trial[d];
            if (t->asked) block_cancel(b, t->asked);
            t->asked = NULL;
        }
    }
}

/* Count what has come, and ask for the answers of the winners that are known by it. */
static void proceed(block *b, problem *p, search *s)
{
    for (int c = 0; c < b->o->n_counts; c++) {
        contest *at = &s->contest[c];
        while (!complete(b, s, c) && round_is_there(s, at, s->round[c]))
            contest_round(at, s->round[c]++, !b->o->no_dropping);
        if (!complete(b, s, c) || s->answered[c]) continue;
        s->answered[c] = true;
        int64_t best = contest_best(at);
        if (best >= 0) ask_queries(b, p, s, &s->h.item[best]);
    }
    cancel_idle(b, s);
}

/* ---------------------------------------------------------------- proposing */

/* Begin to follow a rule, unless another proposal had the same. */
static void try_rule(block *b, problem *p, search *s, const char *rule)
{
    const rd_task *t = p->task;
    uint64_t hash = rd_hash_str(rule, 0);
    for (int64_t i = 0; i < s->n_tried; i++)
        if (s->tried[i].hash == hash && strcmp(s->tried[i].rule, rule) == 0) return;
    tried *y = &s->tried[s->n_tried++];
    *y = (tried){rd_strdup(rule), hash, rd_new(trial, t->n_demos + t->n_queries)};
    for (int64_t d = 0; d < t->n_demos; d++) ask(b, p, s, ASK_DEMO + d, y->rule, hash, y->trial, d);
}

/* All proposals are there: the distinct rules in the order of the draws, whatever came first. */
static void open_contests(block *b, problem *p, search *s)
{
    for (int64_t k = 0; k < s->n_draws; k++) hypotheses_draw(&s->h, s->draw[k]);
    for (int64_t i = 0; i < s->h.n; i++)
        for (int64_t k = 0; k < s->n_tried; k++)
            if (strcmp(s->tried[k].rule, s->h.item[i].rule) == 0) {
                rd_free(s->h.item[i].trial);
                s->h.item[i].trial = s->tried[k].trial;
                s->tried[k].trial = NULL;
            }
    hypotheses_interpret(&s->h);
    if (!(b->o->methods & RD_METHOD_SEARCH)) return;
    s->open = true;
    for (int c = 0; c < b->o->n_counts; c++) contest_open(&s->contest[c], &s->h, b->o->counts[c]);
    proceed(b, p, s);
}

static void proposed(block *b, asking *a)
{
    search *s = a->of;
    rd_buf rule = {0};
    if (rd_rule_read(b->prompts, a->p->task->family, a->r.text, &rule) && rule.len > 0)
        s->draw[a->index] = rd_buf_take(&rule);
    rd_buf_free(&rule);
    s->propose_in = a->r.tokens_in;
    s->propose_out[a->index] = a->r.tokens_out;
    if (s->draw[a->index] && (b->o->methods & RD_METHOD_SEARCH))
        try_rule(b, a->p, s, s->draw[a->index]);
    if (++s->n_draws == max_count(b->o)) open_contests(b, a->p, s);
}

static void propose(block *b, problem *p, search *s)
{
    const rd_eval_opts *o = b->o;
    int64_t n = max_count(o);
    s->h.task = p->task;
    s->h.text_ties = o->text_ties;
    s->draw = rd_new(char *, n);
    s->tried = rd_new(tried, n);
    s->propose_out = rd_new(int64_t, n);
    rd_buf_clear(&b->prompt);
    rd_prompt_propose(b->prompts, p->task, &b->prompt);
    for (int64_t k = 0; k < n; k++) {
        double temperature = k == 0 && o->first_greedy ? 0 : o->rule_temperature;
        asking *a = block_ask(b, p, ASK_RULE, stream_key(b, p, "propose", 0, k), temperature,
                              o->max_rule_tokens, proposed);
        a->of = s;
        a->index = k;
    }
}

/* ---------------------------------------------------------------- what comes of it */

static void answers(const block *b, problem *p, search *s)
{
    for (int c = 0; c < b->o->n_counts; c++) {
        const contest *at = &s->contest[c];
        int64_t best = contest_best(at), in = s->propose_in + at->in, out = at->out;
        for (int64_t k = 0; k < at->n; k++) out += s->propose_out[k];
        take_answers(p, RD_METHOD_SEARCH, at->n, best, best < 0 ? NULL : &s->h.item[best], &in,
                     &out);
        add_spent(p, RD_METHOD_SEARCH, at->n, in, out);
        p->search_tokens[c] = in + out;
    }
}

/* The table of hypotheses; a hypothesis' row is its index. */
static void add_hypotheses(problem *p, const hypotheses *h)
{
    contest all;
    contest_open(&all, h, h->n_draws);
    for (int64_t i = 0; i < h->n; i++) {
        const hypothesis *y = &h->item[i];
        int64_t followed = 0, right = 0;
        for (int64_t d = 0; d < h->task->n_demos; d++) {
            followed += y->trial[d].counted;
            right += y->trial[d].counted && y->trial[d].strict;
        }
        int64_t row[HYP_COLUMNS] = {[HYP_DRAW] = y->first_draw,
                                    [HYP_RULE] = rd_pool_add(&p->rows.text, y->rule),
                                    [HYP_SCORE] = right,
                                    [HYP_FOLLOWED] = followed,
                                    [HYP_INTERPRETER_SCORE] = y->interpreter_score,
                                    [HYP_SAMPLES] = all.samples[i]};
        predictions_add(&p->rows, ROWS_HYPOTHESIS, row);
    }
    contest_free(&all);
}

/* ---------------------------------------------------------------- exact following */

/* Choose and answer with the interpreter at one n.  in_table: hypotheses are rows of the table. */
static void interpreted(problem *p, int method, const hypotheses *h, int64_t n, bool in_table)
{
    const rd_task *t = p->task;
    contest c;
    rd_buf text = {0};
    contest_open(&c, h, n);
    for (int64_t i = 0; i < c.n_hyp; i++) {
        c.live[i] = h->item[i].parsed != NULL;
        c.score[i] = h->item[i].interpreter_score;
    }
    int64_t best = contest_best(&c);
    for (int64_t query = 0; query < t->n_queries; query++) {
        const rd_example *e = &t->examples[t->n_demos + query];
        rd_buf_clear(&text);
        if (best < 0 || !rd_rule_run(t->family, h->item[best].parsed, e->input, &text, NULL)) {
            add_answer(p, method, n, query, in_table ? best : -1, NULL, false, false);
            continue;
        }
        const char *found = text.data ? text.data : "";
        bool right = strcmp(found, e->output) == 0;
        add_answer(p, method, n, query, in_table ? best : -1, found, right, right);
    }
    contest_free(&c);
    rd_buf_free(&text);
}

static void interpreter_answers(const block *b, problem *p, const search *s)
{
    for (int c = 0; c < b->o->n_counts; c++) {
        int64_t n = b->o->counts[c], out = 0;
        for (int64_t k = 0; k < n; k++) out += s->propose_out[k];
        interpreted(p, RD_METHOD_SEARCH_INTERPRETER, &s->h, n, true);
        add_spent(p, RD_METHOD_SEARCH_INTERPRETER, n, s->propose_in, out);
    }
}

static void random_rules(const block *b, problem *p)
{
    rd_family f = p->task->family;
    int64_t available = b->o->n_random_rules[f];
    hypotheses h = {.task = p->task};
    rd_rng rng = rd_rng_make(b->o->seed, "random rules", p->key, 0);
    for (int64_t k = 0; k < max_count(b->o); k++)
        hypotheses_draw(&h,
                        available ? b->o->random_rules[f][rd_rng_below(&rng, available)] : NULL);
    hypotheses_interpret(&h);
    for (int c = 0; c < b->o->n_counts; c++) {
        interpreted(p, RD_METHOD_RANDOM_RULES, &h, b->o->counts[c], false);
        add_spent(p, RD_METHOD_RANDOM_RULES, b->o->counts[c], 0, 0);
    }
    hypotheses_free(&h);
}

/* ---------------------------------------------------------------- searches on record */

/* A draw's applications become the trials of the rule that it was the first to give. */
static void take_trials(const block *b, const rd_recorded *r, int64_t draw, hypothesis *y,
                        const rd_task *t)
{
    const int64_t n = t->n_demos + t->n_queries;
    for (int64_t e = 0; e < n; e++) {
        const rd_recorded_answer *from = &r->answer[draw * n + e];
        trial *to = &y->trial[e];
        *to = (trial){.done = true, .in = from->tokens_in, .out = from->tokens_out};
        to->response = rd_strdup(from->response);
        if (from->response) judge(b, t, e, from->response, &to->strict, &to->tolerant);
    }
}

void search_recorded(const block *b, problem *p, const rd_recorded *r)
{
    search s = {.h = {.task = p->task, .text_ties = b->o->text_ties}, .propose_in = r->propose_in};
    s.propose_out = rd_new(int64_t, max_count(b->o));
    for (int64_t k = 0; k < max_count(b->o); k++) {
        const int64_t known = s.h.n;
        s.propose_out[k] = r->propose_out[k];
        hypotheses_draw(&s.h, r->rule[k]);
        if (s.h.n > known) take_trials(b, r, k, &s.h.item[known], p->task);
    }
    hypotheses_interpret(&s.h);
    for (int c = 0; c < b->o->n_counts; c++) {
        contest_open(&s.contest[c], &s.h, b->o->counts[c]);
        while (!complete(b, &s, c)) contest_round(&s.contest[c], s.round[c]++, !b->o->no_dropping);
    }
    add_hypotheses(p, &s.h);
    answers(b, p, &s);
    for (int c = 0; c < b->o->n_counts; c++) contest_free(&s.contest[c]);
    hypotheses_free(&s.h);
    rd_free(s.propose_out);
}

/* ---------------------------------------------------------------- the true rule */

static void ask_true_rule(block *b, problem *p, hypotheses *h)
{
    h->task = p->task;
    h->text_ties = b->o->text_ties;
    if (p->task->rule == NULL) return;
    hypotheses_draw(h, p->task->rule);
    ask_queries(b, p, NULL, &h->item[0]);
}

static void true_rule_answers(problem *p, const hypotheses *h)
{
    int64_t in = 0, out = 0;
    if (h->n == 0) return;
    take_answers(p, RD_METHOD_ORACLE_RULE, 0, -1, &h->item[0], &in, &out);
    add_spent(p, RD_METHOD_ORACLE_RULE, 0, in, out);
}

/* ---------------------------------------------------------------- the block */

static bool asks_rules(const block *b)
{
    return b->o->methods & (RD_METHOD_SEARCH | RD_METHOD_SEARCH_INTERPRETER);
}

void search_open(block *b)
{
    b->search = rd_new(search, b->n);
    b->truth = rd_new(hypotheses, b->n);
    for (int64_t i = 0; i < b->n; i++) {
        if (asks_rules(b)) propose(b, &b->problem[i], &b->search[i]);
        if (b->o->methods & RD_METHOD_ORACLE_RULE) ask_true_rule(b, &b->problem[i], &b->truth[i]);
    }
}

void search_note(block *b)
{
    const int methods = b->o->methods;
    for (int64_t i = 0; i < b->n; i++) {
        problem *p = &b->problem[i];
        if (asks_rules(b)) add_hypotheses(p, &b->search[i].h);
        if (methods & RD_METHOD_SEARCH) answers(b, p, &b->search[i]);
        if (methods & RD_METHOD_SEARCH_INTERPRETER) interpreter_answers(b, p, &b->search[i]);
        if (methods & RD_METHOD_RANDOM_RULES) random_rules(b, p);
        if (methods & RD_METHOD_ORACLE_RULE) true_rule_answers(p, &b->truth[i]);
    }
}

static void free_problem(const block *b, search *s)
{
    const rd_task *t = s->h.task;
    if (t == NULL) return;
    for (int c = 0; c < b->o->n_counts; c++) contest_free(&s->contest[c]);
    for (int64_t i = 0; i < s->n_tried; i++) {
        for (int64_t e = 0; e < t->n_demos + t->n_queries && s->tried[i].trial; e++)
            rd_free(s->tried[i].trial[e].response);
        rd_free(s->tried[i].trial);
        rd_free(s->tried[i].rule);
    }
    for (int64_t k = 0; k < max_count(b->o); k++) rd_free(s->draw[k]);
    hypotheses_free(&s->h);
    rd_free(s->draw);
    rd_free(s->tried);
    rd_free(s->propose_out);
}

void search_free(block *b)
{
    for (int64_t i = 0; i < b->n && b->search; i++) {
        free_problem(b, &b->search[i]);
        if (b->truth[i].task) hypotheses_free(&b->truth[i]);
    }
    RD_FREE(b->truth);
    RD_FREE(b->search);
}
