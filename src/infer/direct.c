/* direct.c: few-shot answers without a rule: one greedy answer (io), or the majority of sampled
 * ones (vote) at about the tokens that search spends. */
#include "eval_impl.h"

#include <string.h>

static void prompt_io(const block *b, const problem *p, int64_t query, rd_buf *out)
{
    rd_buf_clear(out);
    rd_prompt_io(b->prompts, p->task, p->task->examples[p->task->n_demos + query].input, out);
}

/* ---------------------------------------------------------------- greedy answers */

static void answered(block *b, asking *a)
{
    (void)b;
    a->p->greedy[a->index] = (direct){a->r.text, a->r.tokens_in, a->r.tokens_out};
    a->r.text = NULL;
}

void direct_ask(block *b)
{
    bool votes_by_tokens = (b->o->methods & RD_METHOD_VOTE) && (b->o->methods & RD_METHOD_SEARCH);
    if (!(b->o->methods & RD_METHOD_IO) && !votes_by_tokens) return;
    for (int64_t i = 0; i < b->n; i++) {
        problem *p = &b->problem[i];
        p->greedy = rd_new(direct, p->task->n_queries);
        for (int64_t query = 0; query < p->task->n_queries; query++) {
            prompt_io(b, p, query, &b->prompt);
            block_ask(b, p, ASK_LAST, 0, 0, b->o->max_answer_tokens, answered)->index = query;
        }
    }
}

/* Tokens of a problem's greedy answers, all queries. */
static direct greedy_cost(const problem *p)
{
    direct sum = {0};
    for (int64_t query = 0; query < p->task->n_queries && p->greedy; query++) {
        sum.in += p->greedy[query].in;
        sum.out += p->greedy[query].out;
    }
    return sum;
}

static void io(block *b, problem *p)
{
    const rd_task *t = p->task;
    direct cost = greedy_cost(p);
    for (int64_t query = 0; query < t->n_queries; query++) {
        bool strict, tolerant;
        const char *response = p->greedy[query].response;
        judge(b, t, t->n_demos + query, response, &strict, &tolerant);
        add_answer(p, RD_METHOD_IO, 0, query, -1, response, strict, tolerant);
    }
    add_spent(p, RD_METHOD_IO, 0, cost.in, cost.out);
}

/* ---------------------------------------------------------------- votes */

/* Votes per query for count c.  With search among the methods: prompts are read once, so what is
 * left of its tokens buys answers as long as the greedy ones. */
static int64_t votes(const block *b, const problem *p, int c)
{
    direct greedy = greedy_cost(p);
    int64_t m = b->o->counts[c];
    if (b->o->methods & RD_METHOD_SEARCH) {
        int64_t left = p->search_tokens[c] - greedy.in, each = greedy.out > 0 ? greedy.out : 1;
        m = (left + each / 2) / each;
    }
    if (b->o->max_votes > 0 && m > b->o->max_votes) m = b->o->max_votes;
    return m > 1 ? m : 1;
}

/* The first of the votes for the answer that most of n votes have; -1 when none can be read. */
static int64_t majority(int64_t n, char *const *answers)
{
    int64_t best = -1, most = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t same = 0;
        bool seen = answers[i] == NULL;
        for (int64_t j = 0; j < i && !seen; j++)
            seen = answers[j] && strcmp(answers[i], answers[j]) == 0;
        if (seen) continue;
        for (int64_t j = i; j < n; j++) same += answers[j] && strcmp(answers[i], answers[j]) == 0;
        if (same > most) {
            most = same;
            best = i;
        }
    }
    return best;
}

/* Answers of the votes r for one query at every count.  Strict and tolerant readings vote apart. */
static void count_votes(block *b, problem *p, int64_t query, const int64_t *m, int64_t most,
                        const rd_gen_request *r)
{
    const rd_task *t = p->task;
    const char *gold = t->examples[t->n_demos + query].output;
    char **strict = rd_new(char *, most), **tolerant = rd_new(char *, most);
    rd_buf text = {0};
    for (int64_t k = 0; k < most; k++) {
        rd_buf_clear(&text);
        if (rd_answer_read(b->prompts, t->family, r[k].text, true, &text))
            strict[k] = rd_strdup(text.data ? text.data : "");
        rd_buf_clear(&text);
        if (rd_answer_read(b->prompts, t->family, r[k].text, false, &text))
            tolerant[k] = rd_strdup(text.data ? text.data : "");
    }
    for (int c = 0; c < b->o->n_counts; c++) {
        int64_t s = majority(m[c], strict), w = majority(m[c], tolerant);
        add_answer(p, RD_METHOD_VOTE, b->o->counts[c], query, -1, r[w < 0 ? 0 : w].text,
                   s >= 0 && strcmp(strict[s], gold) == 0,
                   w >= 0 && strcmp(tolerant[w], gold) == 0);
    }
    for (int64_t k = 0; k < most; k++) {
        rd_free(strict[k]);
        rd_free(tolerant[k]);
    }
    rd_free(strict);
    rd_free(tolerant);
    rd_buf_free(&text);
}

/* The votes of one problem, at r[0 … queries * most). */
static void take_votes(block *b, problem *p, const int64_t *m, int64_t most,
                       const rd_gen_request *r)
{
    int64_t queries = p->task->n_queries;
    for (int64_t query = 0; query < queries; query++)
        count_votes(b, p, query, m, most, r + query * most);
    for (int c = 0; c < b->o->n_counts; c++) {
        int64_t in = 0, out = 0;
        for (int64_t query = 0; query < queries; query++) {
            in += r[query * most].tokens_in;
            for (int64_t k = 0; k < m[c]; k++) out += r[query * most + k].tokens_out;
        }
        add_spent(p, RD_METHOD_VOTE, b->o->counts[c], in, out);
    }
}

static int vote(block *b)
{
    int rc = RD_OK;
    int64_t at = 0;
    requests q = {0};
    int64_t *m = rd_new(int64_t, b->n * RD_MAX_N), *most = rd_new(int64_t, b->n);
    for (int64_t i = 0; i < b->n; i++) {
        problem *p = &b->problem[i];
        for (int c = 0; c < b->o->n_counts; c++) {
            m[i * RD_MAX_N + c] = votes(b, p, c);
            if (m[i * RD_MAX_N + c] > most[i]) most[i] = m[i * RD_MAX_N + c];
        }
        for (int64_t query = 0; query < p->task->n_queries; query++) {
            prompt_io(b, p, query, &q.prompt);
            for (int64_t k = 0; k < most[i]; k++)
                requests_add(&q, stream_key(b, p, "vote", (uint64_t)query, k),
                             b->o->vote_temperature, b->o->max_answer_tokens);
        }
    }
    RD_TRY(requests_run(b, &q, "eval.vote"));
    for (int64_t i = 0; i < b->n; i++) {
        take_votes(b, &b->problem[i], m + i * RD_MAX_N, most[i], q.r + at);
        at += most[i] * b->problem[i].task->n_queries;
    }
done:
    requests_free(&q);
    rd_free(m);
    rd_free(most);
    return rc;
}

int direct_block(block *b)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < b->n && (b->o->methods & RD_METHOD_IO); i++) io(b, &b->problem[i]);
    if (b->o->methods & RD_METHOD_VOTE) RD_TRY(vote(b));
done:
    return rc;
}

void direct_free(block *b)
{
    for (int64_t i = 0; i < b->n; i++) {
        problem *p = &b->problem[i];
        for (int64_t query = 0; query < p->task->n_queries && p->greedy; query++)
            rd_free(p->greedy[query].response);
        RD_FREE(p->greedy);
    }
}
