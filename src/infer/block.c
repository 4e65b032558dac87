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

/* ---------------------------------------------------------------- requests */

void requests_add(requests *q, uint64_t key, double temperature, int64_t max_new, void *owner)
{
    if (q->n == q->cap) {
        q->cap = q->cap ? 2 * q->cap : 64;
        rd_resize(q->r, q->cap);
        rd_resize(q->owner, q->cap);
    }
    const char *text = q->prompt.data ? q->prompt.data : "";
    const char *last = q->n > 0 ? q->r[q->n - 1].prompt : NULL;
    if (last == NULL || strcmp(last, text) != 0) last = rd_strdup(text);
    q->owner[q->n] = owner;
    q->r[q->n++] = (rd_gen_request){
        .prompt = last, .key = key, .temperature = temperature, .max_new = max_new};
}

int requests_run(block *b, requests *q, const char *section)
{
    rd_clock_begin(section);
    int rc = rd_generate(b->gen, q->n, q->r);
    rd_clock_end(section);
    for (int64_t i = 0; i < q->n; i++) b->tokens += q->r[i].tokens_in + q->r[i].tokens_out;
    return rc;
}

void requests_free(requests *q)
{
    for (int64_t i = q->n - 1; i >= 0; i--) {
        rd_free(q->r[i].text);
        /* Neighbours with the same prompt share the string. */
        if (i == 0 || q->r[i - 1].prompt != q->r[i].prompt) rd_free((void *)q->r[i].prompt);
    }
    RD_FREE(q->r);
    RD_FREE(q->owner);
    rd_buf_free(&q->prompt);
    q->n = q->cap = 0;
}
