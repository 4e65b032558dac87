/* requests.c: the program as it is, but every request for a response is written down.
 *
 * Linked before the library with --wrap; peers_search.py gives other programs the same requests.
 * The file $RD_REQUESTS gets one JSON object a line; "call" counts what can be asked together:
 * rules, their applications demonstration by demonstration, answers.
 *   {"call": 3, "ids": [1, 4093, …], "temperature": 0.9, "max_new": 80, "out": 17} */
#include "rd/infer.h"

#include <stdlib.h>
#include <string.h>

int __real_rd_generator_next(rd_generator *gen, rd_gen_request **r);
int __wrap_rd_generator_next(rd_generator *gen, rd_gen_request **r);
void __real_rd_generator_free(rd_generator **gen);
void __wrap_rd_generator_free(rd_generator **gen);
int __real_rd_generator_create(const rd_model *model, const rd_chat *chat,
                               const rd_generator_opts *o, rd_generator **gen);
int __wrap_rd_generator_create(const rd_model *model, const rd_chat *chat,
                               const rd_generator_opts *o, rd_generator **gen);

static const rd_chat *the_chat;
enum { CALLS = 65 };
static rd_buf of_call[CALLS];

int __wrap_rd_generator_create(const rd_model *model, const rd_chat *chat,
                               const rd_generator_opts *o, rd_generator **gen)
{
    the_chat = chat;
    return __real_rd_generator_create(model, chat, o, gen);
}

static void write_request(rd_buf *out, int call, const rd_gen_request *r)
{
    rd_buf bytes = {0};
    if (rd_chat_prompt(the_chat, r->prompt, strlen(r->prompt), &bytes) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    const int32_t *ids = (const int32_t *)(const void *)bytes.data;
    size_t n = bytes.len / sizeof *ids;
    rd_buf_printf(out, "{\"call\": %d, \"ids\": [", call);
    for (size_t i = 0; i < n; i++) rd_buf_printf(out, i > 0 ? ", %d" : "%d", ids[i]);
    rd_buf_printf(out, "], \"temperature\": %g, \"max_new\": %lld, \"out\": %lld}\n",
                  r->temperature, (long long)r->max_new, (long long)r->tokens_out);
    rd_buf_free(&bytes);
}

/* Answers have the lowest priority number, but wait for all else. */
int __wrap_rd_generator_next(rd_generator *gen, rd_gen_request **r)
{
    int rc = __real_rd_generator_next(gen, r);
    if (rc != RD_OK || *r == NULL) return rc;
    int call = (*r)->priority == 0 ? CALLS - 1 : (int)(*r)->priority;
    write_request(&of_call[call], call, *r);
    return rc;
}

void __wrap_rd_generator_free(rd_generator **gen)
{
    FILE *f = fopen(getenv("RD_REQUESTS"), "a");
    if (f == NULL) rd_die("RD_REQUESTS: cannot be opened");
    for (int k = 0; k < CALLS; k++) {
        if (of_call[k].len > 0) fwrite(of_call[k].data, 1, of_call[k].len, f);
        rd_buf_free(&of_call[k]);
    }
    fclose(f);
    __real_rd_generator_free(gen);
}
