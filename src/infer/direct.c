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

void direct_open(block *b)
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
                        const direct *r)
{
    const rd_task *t = p->task;
    const char *gold = t->examples[t->n_demos + query].output;
    char **strict = rd_new(char *, most), **tolerant = rd_new(char *, most);
    rd_buf text = {0};
    for (int64_t k = 0; k < most; k++) {
        rd_buf_clear(&text);
        if (rd_answer_read(b->prompts, t->family, r[k].response, true, &text))
            strict[k] = rd_strdup(text.data ? text.data : "");
        rd_buf_clear(&text);
        if (rd_answer_read(b->prompts, t->family, r[k].response, false, &text))
            tolerant[k] = rd_strdup(text.data ? text.data : "");
    }
    for (int c = 0; c < b->o->n_counts; c++) {
        int64_t s = majority(m[c], strict), w = majority(m[c], tolerant);
        add_answer(p, RD_METHOD_VOTE, b->o->counts[c], query, -1, r[w < 0 ? 0 : w].response,
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

static void voted(block *b, asking *a)
{
    (void)b;
    a->p->vote[a->index] = (direct){a->r.text, a->r.tokens_in, a->r.tokens_out};
    a->r.text = NULL;
}

static void ask_votes(block *b, problem *p)
{
    p->most_votes = 0;
    for (int c = 0; c < b->o->n_counts; c++) {
        int64_t m = votes(b, p, c);
        if (m > p->most_votes) p->most_votes = m;
    }
    p->vote = rd_new(direct, p->task->n_queries * p->most_votes);
    for (int64_t query = 0; query < p->task->n_queries; query++) {
        prompt_io(b, p, query, &b->prompt);
        for (int64_t k = 0; k < p->most_votes; k++)
            block_ask(b, p, ASK_LAST, stream_key(b, p, "vote", (uint64_t)query, k),
                      b->o->vote_temperature, b->o->max_answer_tokens, voted)
                ->index = query * p->most_votes + k;
    }
}

static void take_votes(block *b, problem *p)
{
    int64_t queries = p->task->n_queries, most = p->most_votes, m[RD_MAX_N] = {0};
    const direct *r = p->vote;
    for (int c = 0; c < b->o->n_counts; c++) m[c] = votes(b, p, c);
    for (int64_t query = 0; query < queries; query++)
        count_votes(b, p, query, m, most, r + query * most);
    for (int c = 0; c < b->o->n_counts; c++) {
        int64_t in = 0, out = 0;
        for (int64_t query = 0; query < queries; query++) {
            in += r[query * most].in;
            for (int64_t k = 0; k < m[c]; k++) out += r[query * most + k].out;
        }
        add_spent(p, RD_METHOD_VOTE, b->o->counts[c], in, out);
    }
}

void direct_note(block *b)
{
    for (int64_t i = 0; i < b->n; i++) {
        if (b->o->methods & RD_METHOD_IO) io(b, &b->problem[i]);
        if (b->o->methods & RD_METHOD_VOTE) ask_votes(b, &b->problem[i]);
    }
}

void direct_note_votes(block *b)
{
    for (int64_t i = 0; i < b->n && (b->o->methods & RD_METHOD_VOTE); i++)
        take_votes(b, &b->problem[i]);
}

static void free_answers(int64_t n, direct **answers)
{
    for (int64_t k = 0; k < n && *answers; k++) rd_free((*answers)[k].response);
    RD_FREE(*answers);
}

void direct_free(block *b)
{
    for (int64_t i = 0; i < b->n; i++) {
        problem *p = &b->problem[i];
        free_answers(p->task->n_queries, &p->greedy);
        free_answers(p->task->n_queries * p->most_votes, &p->vote);
    }
}
