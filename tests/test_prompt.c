/* ranks: 1 */
/* Prompt files and what they make of a task. */
#include "rd_test.h"
#include "rd/task.h"

static rd_example demos[2] = {{"[3, 1, 4]", "[1, 4]", NULL}, {"[7]", "[]", NULL}};
static rd_example scenes[1] = {{"['red metal cube', 'gray rubber sphere']", "on", NULL}};

static void broken(void)
{
    static const struct {
        const char *file, *says;
    } list[] = {
        {"prompts_placeholder", "\"{inputs} >\" is no placeholder here"},
        {"prompts_placeholder_twice", "{answer} must occur exactly once, not 2"},
        {"prompts_placeholder_absent", "{examples} must occur exactly once, not 0"},
        {"prompts_unknown_key", "acre.exampel: unknown key, did you mean \"example\""},
        {"prompts_walk_acre", "acre.steps: \"walk\" is for miniscan alone"},
        {"prompts_number", "acre.step: must be a string"},
        {"prompts_style", "\"python\", \"plain\" or \"joined\", not \"fancy\""},
        {"prompts_separator", "separator"},
        {"prompts_missing_key", "miniscan: the key \"io\" is missing"},
        {"prompts_missing_family", "arc1d"},
        {"prompts_unknown_family", "\"sudoku\" is no task family"},
    };
    for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
        char path[256];
        rd_prompts *p = NULL;
        snprintf(path, sizeof path, "tests/corpus/%s.json", list[k].file);
        int rc = rd_prompts_load(path, &p);
        ok(rc == RD_EINPUT && !p && strstr(rd_error_get()->message, list[k].says),
           "%s is refused: %s", list[k].file, rd_error_get()->message);
        rd_error_clear();
        rd_prompts_free(&p);
    }
}

/* Look-ups as a walk over the input, of rules with a verb. */
static void walk(void)
{
    static const char work[] = "zap is RED\nlug is BLUE\nBLUE kat RED lo RED\nx kat y is y x\n"
                               "RED BLUE lo RED\n";
    rd_prompts *p = NULL;
    rd_buf b = {0};
    is_rc(rd_prompts_load("inputs/prompts/brief.json", &p), RD_OK, "brief.json");
    rd_response_follow(p, RD_MINISCAN, "lug kat zap lo  zap", work, "RED", &b);
    is_str(b.data,
           " lug BLUE kat zap RED lo zap RED ; BLUE kat RED lo RED ; x kat y is y x ; RED BLUE lo "
           "RED ; RED",
           "every word in its place, what it stands for behind it");
    rd_buf_clear(&b);
    rd_response_follow(p, RD_MINISCAN, "zap", "zap is RED\n", "RED", &b);
    is_str(b.data, " zap RED ; RED", "one word");
    rd_buf_clear(&b);
    rd_response_follow(p, RD_MINISCAN, "zap", NULL, "RED", &b);
    is_str(b.data, " RED", "no work, no walk");
    rd_buf_clear(&b);
    rd_response_follow(p, RD_MINISCAN, "lo RED", "lo x is x x\n", "RED RED", &b);
    is_str(b.data, " lo x is x x ; RED RED", "nothing to look up, no walk");
    rd_buf_free(&b);
    rd_prompts_free(&p);
}

/* Names in one word wherever the student meets them, terse rules, bare steps; read back. */
static void brief(void)
{
    rd_prompts *p = NULL;
    rd_task scene = {.family = RD_ACRE, .n_demos = 1, .examples = scenes};
    rd_buf b = {0};
    is_rc(rd_prompts_load("inputs/prompts/brief.json", &p), RD_OK, "brief.json");
    rd_prompt_propose(p, &scene, &b);
    is_str(b.data, " redmetalcube , grayrubbersphere > on\n light", "a scene of joined names");
    rd_buf_clear(&b);
    rd_prompt_follow(p, RD_ACRE, "Any scene with red metal cube is on.", "['red metal cube']", &b);
    is_str(b.data, " on redmetalcube; else undetermined.\n redmetalcube >", "terse rules");
    rd_buf_clear(&b);
    rd_response_follow(p, RD_ACRE, NULL, "red metal cube is on\n", "on", &b);
    is_str(b.data, " redmetalcube on ; on", "bare steps");
    rd_buf_clear(&b);
    rd_rule *r = rd_rule_parse(RD_ACRE, "Any scene with redmetalcube plus bluerubbersphere is on.");
    if (ok(r != NULL, "a rule with joined names is read")) rd_rule_print(RD_ACRE, r, 0, &b);
    is_str(
        b.data ? b.data : "",
        "The light is on if the scene has blue rubber sphere and red metal cube; otherwise it is "
        "undetermined.",
        "and means the same");
    rd_rule_free(RD_ACRE, &r);
    rd_buf_clear(&b);
    rd_response_follow(p, RD_MINISCAN, NULL, "zap is RED\nx kat y is y x\nmelx x is x x\n", "RED",
                       &b);
    is_str(b.data, " zap RED ; x kat y is y x ; melx x is x x ; RED", "only names lose their verb");
    rd_buf_clear(&b);
    rd_response_propose(p, RD_MINISCAN,
                        "Words: zap is RED; x kat y is y x; x lo is x x; apply kat first, then lo.",
                        &b);
    is_str(b.data, " zap RED; x kat y is y x; x lo is x x; do kat, next lo.", "a terse grammar");
    rd_buf_clear(&b);
    rd_response_propose(p, RD_ACRE, "No rule at all.", &b);
    is_str(b.data, " No rule at all.", "what is no rule stays");
    rd_buf_free(&b);
    rd_prompts_free(&p);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_prompts *builtin = NULL, *file = NULL, *terse = NULL;
    rd_task t = {.family = RD_LIST_FUNCTION, .n_demos = 2, .examples = demos};
    rd_task scene = {.family = RD_ACRE, .n_demos = 1, .examples = scenes};
    rd_buf b = {0};
    rd_prompts_default(&builtin);
    is_rc(rd_prompts_load("inputs/prompts/default.json", &file), RD_OK, "default.json");
    is_rc(rd_prompts_load("inputs/prompts/terse.json", &terse), RD_OK, "terse.json");
    ok(rd_prompts_hash(builtin) == rd_prompts_hash(file), "default.json is what is built in");
    ok(rd_prompts_hash(builtin) != rd_prompts_hash(terse), "terse.json is not");

    rd_prompt_propose(terse, &t, &b);
    is_str(b.data, " 3 1 4 > 1 4\n 7 > empty\n rule", "terse propose");
    rd_buf_clear(&b);
    rd_prompt_follow(terse, RD_LIST_FUNCTION, "Drop the first element.", "[5, 6]", &b);
    is_str(b.data, " Drop the first element.\n 5 6 >", "terse follow");
    rd_buf_clear(&b);
    rd_prompt_io(terse, &t, "[10]", &b);
    is_str(b.data, " 3 1 4 > 1 4\n 7 > empty\n 10 >", "terse io");
    rd_buf_clear(&b);
    rd_response_propose(terse, RD_LIST_FUNCTION, "Drop the first element.", &b);
    is_str(b.data, " Drop the first element.", "terse rule");
    rd_buf_clear(&b);
    rd_response_follow(terse, RD_LIST_FUNCTION, NULL, "[3, 1, 4]\n[]\n", "[1, 4]", &b);
    is_str(b.data, " 3 1 4 ; empty ; 1 4", "terse worked response");
    rd_buf_clear(&b);
    rd_response_follow(terse, RD_ACRE, NULL, "red metal cube is on", "on", &b);
    is_str(b.data, " red metal cube is on ; on", "a clause is a step, without its newline too");
    rd_buf_clear(&b);
    rd_prompt_propose(terse, &scene, &b);
    is_str(b.data, " red metal cube , gray rubber sphere > on\n light", "a plain scene");

    rd_buf_clear(&b);
    rd_prompt_propose(file, &scene, &b);
    ok(strstr(b.data, "\n\nInput: ['red metal cube', 'gray rubber sphere']\nOutput: on\n\n") !=
           NULL,
       "a scene as Python prints it");
    rd_buf_clear(&b);
    rd_prompt_follow(file, RD_LIST_FUNCTION, "{input} is not filled twice.", "[1]", &b);
    ok(strstr(b.data, "Rule: {input} is not filled twice.\nInput: [1]\n") != NULL,
       "braces in a rule stay");
    rd_buf_clear(&b);
    rd_response_follow(file, RD_ARC1D, NULL, "[0, 3]\n", "[3, 0]", &b);
    is_str(b.data, "0 3 ; [3, 0]", "only the answer has brackets");
    walk();
    brief();
    broken();
    rd_buf_free(&b);
    rd_prompts_free(&builtin);
    rd_prompts_free(&file);
    rd_prompts_free(&terse);
    return rd_test_end();
}
