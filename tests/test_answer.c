/* ranks: 1 */
/* Reading responses, strictly and tolerantly. */
#include "rd_test.h"
#include "rd/task.h"

static rd_prompts *python, *plain;

/* want NULL: no answer */
static void reads(const rd_prompts *p, rd_family f, bool strict, const char *response,
                  const char *want)
{
    rd_buf b = {0};
    bool found = rd_answer_read(p, f, response, strict, &b);
    ok(found == (want != NULL) && (!want || !strcmp(b.data, want)), "%s %s %s: \"%s\" -> %s",
       p == plain ? "plain" : "python", rd_family_name(f), strict ? "strict" : "tolerant", response,
       found ? b.data : "none");
    rd_buf_free(&b);
}

static void both(const rd_prompts *p, rd_family f, const char *response, const char *strict,
                 const char *tolerant)
{
    reads(p, f, true, response, strict);
    reads(p, f, false, response, tolerant);
}

static void lists(void)
{
    rd_family f = RD_LIST_FUNCTION;
    both(python, f, "[1, 2]", "[1, 2]", "[1, 2]");
    both(python, f, "[]", "[]", "[]");
    both(python, f, "The answer is [1, 2]. Not [3].", "[1, 2]", "[1, 2]");
    both(python, f, "[1,2]", NULL, "[1, 2]");
    both(python, f, "[1,\n 02 ]", NULL, "[1, 2]");
    both(python, f, "1, 2", NULL, "[1, 2]");
    both(python, f, "[1, 2", NULL, "[1, 2]");
    both(python, f, "Element 2 is 5.", NULL, NULL);
    both(python, f, "[[1, 2], 3]", NULL, "[1, 2]");
    both(python, f, "9 9 ; 8 ; [1, 2]", "[1, 2]", "[1, 2]");
    both(python, f, "", NULL, NULL);
    both(python, f, "[99999999999]", NULL, NULL);
    both(plain, f, " 1 2", "[1, 2]", "[1, 2]");
    both(plain, f, " empty", "[]", "[]");
    both(plain, f, "1 2", NULL, "[1, 2]");
    both(plain, f, " 1  2", NULL, "[1, 2]");
    both(plain, f, " 1 2 ", NULL, "[1, 2]");
    both(plain, f, " 3 1 4 ; 1 4", "[1, 4]", "[1, 4]");
    both(plain, f, " 3 1 4 ; 1 4 ;", NULL, "[1, 4]");
    both(plain, f, " 3 1 4 ;", NULL, "[3, 1, 4]");
    both(plain, f, " Empty.", NULL, "[]");
    both(plain, f, " ; ; ;", NULL, NULL);
}

static void others(void)
{
    both(python, RD_ACRE, "on", "on", "on");
    both(python, RD_ACRE, "on\n", NULL, "on");
    both(python, RD_ACRE, "The light is Off.", NULL, "off");
    both(python, RD_ACRE, "on or off", NULL, NULL);
    both(python, RD_ACRE, "only", NULL, NULL);
    both(plain, RD_ACRE, " red metal cube is on ; off", "off", "off");
    both(python, RD_MINISCAN, "RED BLUE", "RED BLUE", "RED BLUE");
    both(python, RD_MINISCAN, "RED BLUE ", NULL, "RED BLUE");
    both(python, RD_MINISCAN, "Output: red, blue.", NULL, "RED BLUE");
    both(python, RD_MINISCAN, "dax is RED ; RED RED", "RED RED", "RED RED");
    both(plain, RD_MINISCAN, " kin hen", "kin hen", "kin hen");
    both(plain, RD_MINISCAN, "", NULL, NULL);
}

/* What instruction-tuned models make of the prompts; most are SmolLM2's own words. */
static void talkative(void)
{
    rd_family f = RD_LIST_FUNCTION;
    both(python, f, "Here is the output that belongs to the next input:\n\n[2, 9, 1]", "[2, 9, 1]",
         "[2, 9, 1]");
    both(python, f, "Input: [1, 2, 3]\nOutput: [3]", "[1, 2, 3]", "[3]");
    both(python, f, "[3]\n\nInput: [4, 5]\nOutput: [5]", "[3]", "[3]");
    both(python, f, "Given [1, 2], we add 1, so the **output** is:\n```python\n[2, 3]\n```\n",
         "[1, 2]", "[2, 3]");
    both(python, f, "The answer is obtained by sorting: 1 and 2 swap. Answer: `[1,2]`", NULL,
         "[1, 2]");
    both(plain, f, "Element 2 goes. Output: 3 1 4", NULL, "[3, 1, 4]");
    both(plain, f, "The result is [3, 1] because 5 was dropped.", NULL, "[3, 1]");
    both(python, RD_ACRE, "`on`", NULL, "on");
    both(python, RD_ACRE, "No, the lamp is not on.", NULL, NULL);
    both(python, RD_ACRE, "It isn't on.", NULL, NULL);
    both(python, RD_ACRE, "t on", NULL, "on");
    both(python, RD_ACRE, "The lamp is on, and currently not undetermined.", NULL, "on");
    both(python, RD_ACRE, "Based on the rule, the lamp is off.", NULL, "off");
    both(python, RD_ACRE, "Output: 'off'. Nothing turns it on.", NULL, "off");
    both(python, RD_ACRE, "It may be on or off.\n**Answer:** undetermined\n", NULL, "undetermined");
    both(python, RD_ACRE, "The output is either 'on', 'off', or 'undetermined'.", NULL, NULL);
    both(python, RD_MINISCAN, "Output: RED BLUE\n\nExplanation: dax is RED.", NULL, "RED BLUE");
    both(python, RD_MINISCAN, "The translation is:\n\nred red\n\nI hope this helps!", NULL,
         "RED RED");
    both(python, RD_MINISCAN, "The output is RED BLUE.", NULL, "RED BLUE");
    both(python, RD_MINISCAN, "Output:", NULL, NULL);
}

static void a_rule(const char *response, const char *want)
{
    rd_buf b = {0};
    bool found = rd_rule_read(python, RD_LIST_FUNCTION, response, &b);
    ok(found == (want != NULL), "\"%s\" %s a rule", response, want ? "holds" : "is not");
    if (want) is_str(b.data, want, "namely");
    rd_buf_free(&b);
}

static void rules(void)
{
    a_rule("Rule: x = 7 + y", "x = 7 + y");
    a_rule("Sure! Here is the rule:\n\n**Rule:** Remove the last element.\n",
           "Remove the last element.");
    a_rule("Rules:\n1. Sort the list.\n2. Reverse it.", "1. Sort the list. 2. Reverse it.");
    a_rule("```python\ndef f(x):\n    return x[::-1]\n```", "def f(x): return x[::-1]");
    a_rule("**Keep the first two.**", "Keep the first two.");
    a_rule("Reverse it.\n\nInput: [1, 2]\nOutput: [2, 1]\n", "Reverse it.");
    a_rule("For each element: add 1.", "For each element: add 1.");
    a_rule("The ruler is long: yes", "The ruler is long: yes");
    a_rule("The rule is: ", "The rule is:");
    a_rule("```\n```", NULL);
    a_rule("**Rule: `Reverse` it.**", "`Reverse` it.");
    a_rule("# 3 * `", "# 3 * `");
    a_rule("*", "*");
    a_rule("**", NULL);
}

static void inverse(const rd_prompts *p)
{
    static const struct {
        rd_family f;
        const char *work, *answer;
    } list[] = {
        {RD_LIST_FUNCTION, "[3, 1, 4]\n[1]\n", "[1, 4, 99]"},
        {RD_LIST_FUNCTION, NULL, "[]"},
        {RD_ARC1D, "[0, 0, 3]\n", "[3, 0, 0]"},
        {RD_ACRE, "a is on\n", "undetermined"},
        {RD_MINISCAN, "x F is x x\nRED F\n", "RED RED"},
    };
    for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
        rd_buf b = {0};
        rd_response_follow(p, list[k].f, NULL, list[k].work, list[k].answer, &b);
        both(p, list[k].f, b.data, list[k].answer, list[k].answer);
        rd_buf_free(&b);
    }
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_buf b = {0};
    is_rc(rd_prompts_load("inputs/prompts/default.json", &python), RD_OK, "default.json");
    is_rc(rd_prompts_load("inputs/prompts/terse.json", &plain), RD_OK, "terse.json");
    lists();
    others();
    talkative();
    rules();
    inverse(python);
    inverse(plain);
    ok(rd_rule_read(plain, RD_ACRE, "  Sort\n the  list. \n", &b), "a rule");
    is_str(b.data, "Sort the list.", "is trimmed");
    rd_buf_clear(&b);
    ok(!rd_rule_read(plain, RD_ACRE, " \n", &b), "blanks are no rule");
    rd_buf_free(&b);
    rd_prompts_free(&python);
    rd_prompts_free(&plain);
    return rd_test_end();
}
