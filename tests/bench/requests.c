/* requests.c: the program as it is, but every request for a response is written down.
 *
 * Linked before the library with --wrap; peers_search.py gives other programs the same requests.
 * The file $RD_REQUESTS gets one JSON object a line, in the order of the calls:
 *   {"call": 3, "ids": [1, 4093, …], "temperature": 0.9, "max_new": 80, "out": 17} */
#include "rd/infer.h"

#include <stdlib.h>
#include <string.h>

int __real_rd_generate(rd_generator *gen, int64_t n, rd_gen_request *r);
int __wrap_rd_generate(rd_generator *gen, int64_t n, rd_gen_request *r);
int __real_rd_generator_create(const rd_model *model, const rd_chat *chat,
                               const rd_generator_opts *o, rd_generator **gen);
int __wrap_rd_generator_create(const rd_model *model, const rd_chat *chat,
                               const rd_generator_opts *o, rd_generator **gen);

static const rd_chat *the_chat;
static int calls;

int __wrap_rd_generator_create(const rd_model *model, const rd_chat *chat,
                               const rd_generator_opts *o, rd_generator **gen)
{
    the_chat = chat;
    return __real_rd_generator_create(model, chat, o, gen);
}

static void write_request(FILE *f, const rd_gen_request *r)
{
    rd_buf bytes = {0};
    if (rd_chat_prompt(the_chat, r->prompt, strlen(r->prompt), &bytes) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    const int32_t *ids = (const int32_t *)(const void *)bytes.data;
    size_t n = bytes.len / sizeof *ids;
    fprintf(f, "{\"call\": %d, \"ids\": [", calls);
    for (size_t i = 0; i < n; i++) fprintf(f, i > 0 ? ", %d" : "%d", ids[i]);
    fprintf(f, "], \"temperature\": %g, \"max_new\": %lld, \"out\": %lld}\n", r->temperature,
            (long long)r->max_new, (long long)r->tokens_out);
    rd_buf_free(&bytes);
}

int __wrap_rd_generate(rd_generator *gen, int64_t n, rd_gen_request *r)
{
    int rc = __real_rd_generate(gen, n, r);
    FILE *f = fopen(getenv("RD_REQUESTS"), "a");
    if (f == NULL) rd_die("RD_REQUESTS: cannot be opened");
    calls++;
    for (int64_t i = 0; i < n; i++) write_request(f, &r[i]);
    fclose(f);
    return rc;
}
