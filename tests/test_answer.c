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
        rd_response_follow(p, list[k].f, list[k].work, list[k].answer, &b);
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
