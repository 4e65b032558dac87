/* search.c: hypothesis search on a block of problems, and what shares its parts: the interpreter as
 * follower, random training rules, the true rule.
 *
 * All problems of a block go through each step together, so that every rd_generate call has many
 * responses to decode side by side.  Following goes in waves, demonstration by demonstration. */
#include "eval_impl.h"

#include <string.h>

typedef struct search {
    hypotheses h;
    contest contest[RD_MAX_N];
    int64_t propose_in, *propose_out; /* tokens: of the prompt, of each draw */
} search;

/* ---------------------------------------------------------------- following */

/* What a follow request is about. */
typedef struct application {
    problem *p;
    trial *trial;
    int64_t example;
} application;

static void ask(block *b, requests *q, problem *p, hypothesis *y, int64_t example)
{
    application *a = rd_new(application, 1);
    *a = (application){p, &y->trial[example], example};
    rd_buf_clear(&q->prompt);
    rd_prompt_follow(b->prompts, p->task->family, y->rule, p->task->examples[example].input,
                     &q->prompt);
    requests_add(q, stream_key(b, p, "follow", y->hash, example), b->o->follow_temperature,
                 b->o->max_answer_tokens, a);
}

/* Run what was asked; afterwards the trials are done and q is empty. */
static int follow(block *b, requests *q, const char *section)
{
    int rc = RD_OK;
    RD_TRY(requests_run(b, q, section));
    for (int64_t i = 0; i < q->n; i++) {
        const application *a = q->owner[i];
        trial *t = a->trial;
        t->done = true;
        t->in = q->r[i].tokens_in;
        t->out = q->r[i].tokens_out;
        t->response = q->r[i].text;
        q->r[i].text = NULL;
        judge(b, a->p->task, a->example, t->response, &t->strict, &t->tolerant);
    }
done:
    for (int64_t i = 0; i < q->n; i++) rd_free(q->owner[i]);
    requests_free(q);
    return rc;
}

static void ask_queries(block *b, requests *q, problem *p, hypothesis *y)
{
    const rd_task *t = p->task;
    if (y->trial[t->n_demos].done || t->n_queries == 0) return;
    for (int64_t e = t->n_demos; e < t->n_demos + t->n_queries; e++) {
        y->trial[e].done = true; /* asked: another n may have chosen the same rule */
        ask(b, q, p, y, e);
    }
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

/* ---------------------------------------------------------------- proposing */

static int propose(block *b, search *s)
{
    int rc = RD_OK;
    const rd_eval_opts *o = b->o;
    int64_t n = max_count(o);
    requests q = {0};
    rd_buf rule = {0};
    for (int64_t i = 0; i < b->n; i++) {
        problem *p = &b->problem[i];
        s[i].h.task = p->task;
        s[i].h.text_ties = b->o->text_ties;
        s[i].propose_out = rd_new(int64_t, n);
        rd_buf_clear(&q.prompt);
        rd_prompt_propose(b->prompts, p->task, &q.prompt);
        for (int64_t k = 0; k < n; k++)
            requests_add(&q, stream_key(b, p, "propose", 0, k),
                         k == 0 && o->first_greedy ? 0 : o->rule_temperature, o->max_rule_tokens,
                         NULL);
    }
    RD_TRY(requests_run(b, &q, "eval.propose"));
    for (int64_t i = 0; i < b->n; i++)
        for (int64_t k = 0; k < n; k++) {
            const rd_gen_request *r = &q.r[i * n + k];
            rd_buf_clear(&rule);
            bool read = rd_rule_read(b->prompts, b->problem[i].task->family, r->text, &rule);
            hypotheses_draw(&s[i].h, read && rule.len > 0 ? rule.data : NULL);
            s[i].propose_in = r->tokens_in;
            s[i].propose_out[k] = r->tokens_out;
        }
done:
    requests_free(&q);
    rd_buf_free(&rule);
    return rc;
}

/* ---------------------------------------------------------------- scoring */

/* Is the winner of these draws known? */
static bool decided(const block *b, const contest *c)
{
    return c->n_live == 0 || (c->n_live == 1 && !b->o->no_dropping);
}

/* Score the live rules of an undecided contest on demonstration d, which has been followed. */
static void count_wave(const block *b, contest *c, const hypotheses *h, int64_t d)
{
    if (decided(b, c)) return;
    for (int64_t i = 0; i < c->n_hyp; i++) {
        if (!c->live[i]) continue;
        const trial *t = &h->item[i].trial[d];
        RD_ASSERT(t->done);
        c->score[i] += t->strict;
        c->in += t->in;
        c->out += t->out;
    }
    if (!b->o->no_dropping) contest_drop(c, h->task->n_demos - 1 - d);
}

/* One wave: what any n still needs to know about demonstration d is followed once. */
static int wave(block *b, search *s, int64_t d)
{
    int rc = RD_OK;
    requests q = {0};
    for (int64_t i = 0; i < b->n; i++) {
        hypotheses *h = &s[i].h;
        for (int64_t k = 0; k < h->n && d < h->task->n_demos; k++) {
            bool needed = false;
            for (int c = 0; c < b->o->n_counts; c++) {
                const contest *at = &s[i].contest[c];
                needed |= k < at->n_hyp && at->live[k] && !decided(b, at);
            }
            if (needed) ask(b, &q, &b->problem[i], &h->item[k], d);
        }
    }
    RD_TRY(follow(b, &q, "eval.follow"));
    for (int64_t i = 0; i < b->n; i++)
        for (int c = 0; c < b->o->n_counts && d < s[i].h.task->n_demos; c++)
            count_wave(b, &s[i].contest[c], &s[i].h, d);
done:
    return rc;
}

static int score(block *b, search *s)
{
    int rc = RD_OK;
    int64_t waves = 0;
    for (int64_t i = 0; i < b->n; i++) {
        if (s[i].h.task->n_demos > waves) waves = s[i].h.task->n_demos;
        for (int c = 0; c < b->o->n_counts; c++)
            contest_open(&s[i].contest[c], &s[i].h, b->o->counts[c]);
    }
    for (int64_t d = 0; d < waves; d++) RD_TRY(wave(b, s, d));
done:
    return rc;
}

static int answer(block *b, search *s)
{
    int rc = RD_OK;
    requests q = {0};
    for (int64_t i = 0; i < b->n; i++)
        for (int c = 0; c < b->o->n_counts; c++) {
            int64_t best = contest_best(&s[i].contest[c]);
            if (best >= 0) ask_queries(b, &q, &b->problem[i], &s[i].h.item[best]);
        }
    RD_TRY(follow(b, &q, "eval.answer"));
    for (int64_t i = 0; i < b->n; i++)
        for (int c = 0; c < b->o->n_counts; c++) {
            const contest *at = &s[i].contest[c];
            problem *p = &b->problem[i];
            int64_t best = contest_best(at), in = s[i].propose_in + at->in, out = at->out;
            for (int64_t k = 0; k < at->n; k++) out += s[i].propose_out[k];
            take_answers(p, RD_METHOD_SEARCH, at->n, best, best < 0 ? NULL : &s[i].h.item[best],
                         &in, &out);
            add_spent(p, RD_METHOD_SEARCH, at->n, in, out);
            p->search_tokens[c] = in + out;
        }
done:
    return rc;
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
            followed += y->trial[d].done;
            right += y->trial[d].strict;
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

static void interpreter_answers(const block *b, const search *s)
{
    for (int64_t i = 0; i < b->n; i++)
        for (int c = 0; c < b->o->n_counts; c++) {
            int64_t n = b->o->counts[c], out = 0;
            for (int64_t k = 0; k < n; k++) out += s[i].propose_out[k];
            interpreted(&b->problem[i], RD_METHOD_SEARCH_INTERPRETER, &s[i].h, n, true);
            add_spent(&b->problem[i], RD_METHOD_SEARCH_INTERPRETER, n, s[i].propose_in, out);
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

/* ---------------------------------------------------------------- the true rule */

static int follow_true_rules(block *b)
{
    int rc = RD_OK;
    requests q = {0};
    hypotheses *h = rd_new(hypotheses, b->n);
    for (int64_t i = 0; i < b->n; i++) {
        h[i].task = b->problem[i].task;
        h[i].text_ties = b->o->text_ties;
        if (h[i].task->rule == NULL) continue;
        hypotheses_draw(&h[i], h[i].task->rule);
        ask_queries(b, &q, &b->problem[i], &h[i].item[0]);
    }
    RD_TRY(follow(b, &q, "eval.answer"));
    for (int64_t i = 0; i < b->n; i++) {
        int64_t in = 0, out = 0;
        if (h[i].n == 0) continue;
        take_answers(&b->problem[i], RD_METHOD_ORACLE_RULE, 0, -1, &h[i].item[0], &in, &out);
        add_spent(&b->problem[i], RD_METHOD_ORACLE_RULE, 0, in, out);
    }
done:
    for (int64_t i = 0; i < b->n; i++) hypotheses_free(&h[i]);
    rd_free(h);
    return rc;
}

int search_block(block *b)
{
    int rc = RD_OK;
    int methods = b->o->methods;
    search *s = rd_new(search, b->n);
    if (methods & (RD_METHOD_SEARCH | RD_METHOD_SEARCH_INTERPRETER)) {
        RD_TRY(propose(b, s));
        for (int64_t i = 0; i < b->n; i++) hypotheses_interpret(&s[i].h);
        if (methods & RD_METHOD_SEARCH) RD_TRY(score(b, s));
        for (int64_t i = 0; i < b->n; i++) add_hypotheses(&b->problem[i], &s[i].h);
        if (methods & RD_METHOD_SEARCH) RD_TRY(answer(b, s));
        if (methods & RD_METHOD_SEARCH_INTERPRETER) interpreter_answers(b, s);
    }
    if (methods & RD_METHOD_RANDOM_RULES)
        for (int64_t i = 0; i < b->n; i++) random_rules(b, &b->problem[i]);
    if (methods & RD_METHOD_ORACLE_RULE) RD_TRY(follow_true_rules(b));
done:
    for (int64_t i = 0; i < b->n; i++) {
        for (int c = 0; c < b->o->n_counts; c++) contest_free(&s[i].contest[c]);
        hypotheses_free(&s[i].h);
        rd_free(s[i].propose_out);
    }
    rd_free(s);
    return rc;
}
