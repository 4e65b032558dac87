/* block.c: what all methods do with the problems of a work unit: name random streams, ask, judge,
 * note down. */
#include "eval_impl.h"

#include <string.h>

uint64_t stream_key(const block *b, const problem *p, const char *purpose, uint64_t what, int64_t i)
{
    uint64_t parts[] = {b->o->seed, p->key, what, (uint64_t)i};
    return rd_hash(parts, sizeof parts, rd_hash_str(purpose, 0));
}

static bool is_gold(const block *b, const rd_task *t, int64_t example, const char *response,
                    bool strict, rd_buf *text)
{
    rd_buf_clear(text);
    if (!rd_answer_read(b->prompts, t->family, response, strict, text)) return false;
    return strcmp(text->data ? text->data : "", t->examples[example].output) == 0;
}

void judge(const block *b, const rd_task *t, int64_t example, const char *response, bool *strict,
           bool *tolerant)
{
    rd_buf text = {0};
    *strict = is_gold(b, t, example, response, true, &text);
    *tolerant = is_gold(b, t, example, response, false, &text);
    rd_buf_free(&text);
}

void add_answer(problem *p, int method, int64_t n, int64_t query, int64_t row, const char *response,
                bool strict, bool tolerant)
{
    int64_t cells[ANSWER_COLUMNS] = {[ANSWER_QUERY] = query,
                                     [ANSWER_METHOD] = method,
                                     [ANSWER_N] = n,
                                     [ANSWER_HYPOTHESIS] = row,
                                     [ANSWER_RESPONSE] = rd_pool_add(&p->rows.text, response),
                                     [ANSWER_STRICT] = strict,
                                     [ANSWER_TOLERANT] = tolerant};
    predictions_add(&p->rows, ROWS_ANSWER, cells);
}

void add_spent(problem *p, int method, int64_t n, int64_t in, int64_t out)
{
    int64_t row[SPENT_COLUMNS] = {
        [SPENT_METHOD] = method, [SPENT_N] = n, [SPENT_IN] = in, [SPENT_OUT] = out};
    predictions_add(&p->rows, ROWS_SPENT, row);
}

/* ---------------------------------------------------------------- questions */

static void forget(block *b, asking *a)
{
    if (a->before) a->before->after = a->after;
    if (a->after) a->after->before = a->before;
    if (b->asked == a) b->asked = a->after;
    rd_free((void *)a->r.prompt);
    rd_free(a->r.text);
    rd_free(a);
}

asking *block_ask(block *b, problem *p, int64_t priority, uint64_t key, double temperature,
                  int64_t max_new, void (*ended)(block *b, asking *a))
{
    asking *a = rd_new(asking, 1);
    a->r = (rd_gen_request){.prompt = rd_strdup(b->prompt.data ? b->prompt.data : ""),
                            .key = key,
                            .temperature = temperature,
                            .max_new = max_new,
                            .priority = priority};
    a->ended = ended;
    a->b = b;
    a->p = p;
    a->after = b->asked;
    if (b->asked) b->asked->before = a;
    b->asked = a;
    if (b->rc == RD_OK) b->rc = rd_generator_add(b->gen, &a->r);
    return a;
}

void block_cancel(block *b, asking *a)
{
    rd_generator_cancel(b->gen, &a->r);
    forget(b, a);
}

int block_next(rd_generator *gen, block **of)
{
    int rc = RD_OK;
    rd_gen_request *r;
    *of = NULL;
    RD_TRY(rd_generator_next(gen, &r));
    if (r == NULL) goto done;
    asking *a = (asking *)r; /* its first member */
    block *b = a->b;
    b->tokens += r->tokens_in + r->tokens_out;
    a->ended(b, a);
    forget(b, a);
    *of = b;
    RD_TRY(b->rc);
done:
    return rc;
}
