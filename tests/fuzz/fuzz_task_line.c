/* fuzz_task_line: a line of a task file either gives a task, which survives its binary form,
 * prompts and baselines, or one message that names the place.  The first byte chooses the family.
 */
#include "fuzz_task.h"

static void use(const rd_task *t)
{
    rd_buf b = {0}, prompt = {0};
    rd_task again;
    rd_task_put(&b, t);
    rd_cursor c = {b.data, b.len, 0};
    RD_ASSERT(rd_task_get(&c, &again) == RD_OK && again.n_demos == t->n_demos);
    rd_prompts *p;
    rd_prompts_default(&p);
    rd_prompt_propose(p, &again, &prompt);
    for (int k = 0; k < rd_baseline_count(t->family); k++) {
        rd_baselines *none;
        rd_taskset empty = {0};
        RD_ASSERT(rd_baselines_fit(&empty, &none) == RD_OK);
        for (int64_t q = 0; q < t->n_queries; q++) {
            rd_buf_clear(&b);
            rd_baselines_answer(none, k, t, q, &b);
        }
        rd_baselines_free(&none);
    }
    rd_prompts_free(&p);
    rd_task_free(&again);
    rd_buf_free(&b);
    rd_buf_free(&prompt);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    rd_task t;
    if (n == 0) return 0;
    rd_family f = (rd_family)(bytes[0] % RD_FAMILIES);
    char *text = rd_new(char, n); /* exactly as long as the line, for AddressSanitizer */
    memcpy(text, bytes + 1, n - 1);
    if (rd_task_parse(text, n - 1, "fuzz", 1, f, &t) == RD_OK)
        use(&t);
    else
        RD_ASSERT(!strncmp(rd_error_get()->message, "fuzz:", 5));
    rd_error_clear();
    rd_task_free(&t);
    rd_free(text);
    RD_ASSERT(rd_mem_used() == 0);
    return 0;
}

static size_t fuzz_seed(rd_rng *r, char *text, size_t cap)
{
    rd_task t;
    rd_buf b = {0};
    rd_family f = fuzz_task(r, &t);
    rd_buf_printf(&b, "{\"idx\": %d, \"rule\": \"%s\"", (int)rd_rng_below(r, 99), t.rule);
    for (int64_t i = 0; i < t.n_demos + t.n_queries; i++) {
        if (i == 0)
            rd_buf_puts(&b, ", \"train\": [");
        else
            rd_buf_puts(&b, i == t.n_demos ? "], \"test\": [" : ", ");
        rd_buf_puts(&b, "{\"input\": ");
        for (const char *p = t.examples[i].input; f == RD_ACRE && *p; p++)
            rd_buf_putc(&b, *p == '\'' ? '"' : *p);
        if (f != RD_ACRE) rd_buf_printf(&b, "\"%s\"", t.examples[i].input);
        rd_buf_printf(&b, ", \"output\": \"%s\"}", t.examples[i].output);
    }
    rd_buf_puts(&b, "]}");
    rd_task_free(&t);
    return fuzz_seed_of(f, &b, text, cap);
}
