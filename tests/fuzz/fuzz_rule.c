/* fuzz_rule: any text is allowed to a rule's parser; what it takes for a rule must print, parse
 * back to the same rule in every wording, run, and slip.  The first byte chooses the family. */
#include "fuzz_task.h"

static const char *const inputs[RD_FAMILIES] = {
    "[3, 1, 4, 1, 5]", "[0, 2, 2, 0, 0, 7, 0, 3, 3, 3]",
    "['red metal cube', 'gray rubber sphere', 'blue metal cylinder']", "dax kiki wug fep"};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (n == 0) return 0;
    rd_family f = (rd_family)(bytes[0] % RD_FAMILIES);
    rd_buf text = {0}, answer = {0}, work = {0};
    char *copy = rd_strndup((const char *)bytes + 1, n - 1);
    rd_rule *r = rd_rule_parse(f, copy);
    for (uint64_t w = 0; r && w < 3; w++) {
        rd_buf_clear(&text);
        rd_rule_print(f, r, w * 37, &text);
        rd_rule *again = rd_rule_parse(f, text.data);
        if (!again || !rd_rule_equal(f, r, again))
            rd_die("family %d: not read back: %s", f, text.data);
        rd_rule_free(f, &again);
    }
    if (r) {
        rd_rng rng = rd_rng_make(n, "fuzz", 0, 0);
        RD_ASSERT(rd_rule_cost(f, r) >= 0 && rd_rule_steps(f, r) >= 0);
        rd_buf_clear(&text);
        if (rd_rule_run(f, r, inputs[f], &answer, &work))
            rd_rule_slip(f, r, inputs[f], answer.data, &rng, &text);
    }
    rd_rule_free(f, &r);
    rd_buf_free(&text);
    rd_buf_free(&answer);
    rd_buf_free(&work);
    rd_free(copy);
    RD_ASSERT(rd_mem_used() == 0);
    return 0;
}

static size_t fuzz_seed(rd_rng *r, char *text, size_t cap)
{
    rd_task t;
    rd_buf b = {0};
    rd_family f = fuzz_task(r, &t);
    rd_rule *rule = rd_rule_parse(f, t.rule);
    RD_ASSERT(rule);
    rd_rule_print(f, rule, rd_rng_u64(r), &b);
    rd_rule_free(f, &rule);
    rd_task_free(&t);
    return fuzz_seed_of(f, &b, text, cap);
}
