/* ranks: 1 */
/* Configuration: defaults, overrides, arms, and what a wrong file gets. */
#include "rd_test.h"

#include "cli/config.h"

static config c;

static int load(const char *text, int n_sets, const char *const *sets)
{
    char path[300];
    snprintf(path, sizeof path, "%s/c.json", rd_test_dir());
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
    return config_load(path, n_sets, sets, &c);
}

/* The text must be refused with a message that holds every part. */
static void refused(const char *text, const char *part, const char *part2)
{
    int rc = load(text, 0, NULL);
    const char *m = rd_error_get()->message;
    ok(rc == RD_EINPUT && strstr(m, part) && strstr(m, part2), "refused: %s", m);
    if (rc == RD_OK) config_free(&c);
    rd_error_clear();
}

static const char good[] =
    "{\n"
    " \"run\": {\"name\": \"t\", \"seed\": 7},\n"
    " \"tasks\": [{\"family\": \"acre\", \"generate\": 5, \"test\": 2}],\n"
    " \"sft\": {\"lr\": 0.5, \"share\": {\"io\": 0.25}},\n"
    " \"arms\": {\"a\": {\"sft.kinds\": [\"io\"]},\n"
    "            \"b\": {\"from\": \"a\", \"stages\": [\"align\", \"eval\"]}}\n"
    "}\n";

static void test_good(void)
{
    is_rc(load(good, 0, NULL), RD_OK, "a good config is read");
    is_i64(config_int(&c.keys, "run.seed"), 7, "given value");
    is_i64(config_int(&c.keys, "augment.hypotheses"), 50, "default value");
    near_f64(config_real(&c.keys, "sft.share.io"), 0.25, 0, "nested section");
    is_i64(config_int(&c.task[0], "generate"), 5, "task entry");
    is_i64(c.n_arms, 2, "two arms");
    ok(config_list_has(&c.arm[0].keys, "sft.kinds", "io") &&
           !config_list_has(&c.arm[0].keys, "sft.kinds", "generate"),
       "an arm's override");
    ok(config_list_has(&c.keys, "sft.kinds", "generate"), "the base is untouched");
    near_f64(config_real(&c.arm[1].keys, "sft.lr"), 0.5, 0, "an arm inherits");
    ok(strstr(c.resolved, "\"follow_temperature\"") != NULL, "the resolved text has defaults");
    config_free(&c);
}

static void test_set(void)
{
    const char *sets[] = {"sft.lr=1e-3", "run.name=x y", "tasks[0].test=9", "arms.a.sft.lr=2",
                          "eval.hypotheses=[2,4]"};
    is_rc(load(good, 5, sets), RD_OK, "--set is applied");
    near_f64(config_real(&c.arm[1].keys, "sft.lr"), 1e-3, 1e-15, "arms see a plain --set");
    near_f64(config_real(&c.arm[0].keys, "sft.lr"), 2, 0, "or their own");
    is_str(config_text(&c.keys, "run.name"), "x y", "a bare word is a string");
    is_i64(config_int(&c.task[0], "test"), 9, "a task entry is reached");
    is_i64(config_list(&c.keys, "eval.hypotheses")->n, 2, "a list is set");
    config_free(&c);
    const char *bad[] = {"sft.lrr=1"}, *worse[] = {"sft.lr"}, *entry[] = {"tasks[4].test=1"};
    is_rc(load(good, 1, bad), RD_EINPUT, "--set of an unknown key is refused");
    is_rc(load(good, 1, worse), RD_EUSAGE, "--set without a value is refused");
    is_rc(load(good, 1, entry), RD_EINPUT, "--set beyond the entries is refused");
    const char *shared[] = {"arms.a.filter.worked=true"};
    is_rc(load(good, 1, shared), RD_EINPUT, "--set of an arm's shared key is refused");
}

static void test_set_whole(void)
{
    const char *sets[] = {"arms={\"x\": {\"sft.lr\": 3}, \"y\": {}, \"z\": {}}", "arms.y.sft.lr=2",
                          "tasks=[{\"family\": \"arc1d\", \"test\": 4}]", "tasks[0].generate=6"};
    is_rc(load(good, 4, sets), RD_OK, "--set of all tasks and arms");
    ok(c.n_arms == 3 && strcmp(c.arm[0].name, "x") == 0, "the arms are those given");
    near_f64(config_real(&c.arm[0].keys, "sft.lr"), 3, 0, "with their keys");
    near_f64(config_real(&c.arm[1].keys, "sft.lr"), 2, 0, "a further --set reaches them");
    near_f64(config_real(&c.arm[2].keys, "sft.lr"), 0.5, 0, "they inherit from the file");
    ok(c.n_tasks == 1 && config_int(&c.task[0], "test") == 4 &&
           config_int(&c.task[0], "generate") == 6,
       "the tasks likewise");
    config_free(&c);
    const char *word[] = {"arms=x"}, *list[] = {"arms=[1]"}, *none[] = {"tasks=[]"},
               *unknown[] = {"tasks=[{\"family\": \"acre\", \"tset\": 4}]"};
    is_rc(load(good, 1, word), RD_EINPUT, "arms that are a word are refused");
    is_rc(load(good, 1, list), RD_EINPUT, "or a list");
    is_rc(load(good, 1, none), RD_EINPUT, "no tasks are refused");
    const char *blank[] = {"arms= []"}, *quotes[] = {"tasks=[{family:arc1d}]"},
               *early[] = {"eval.hypotheses= []"};
    is_rc(load(good, 1, blank), RD_EINPUT, "or a list behind a blank");
    is_rc(load(good, 1, early), RD_EINPUT, "as is an empty list of another key");
    is_rc(load(good, 1, quotes), RD_EINPUT, "what is not JSON is refused");
    const int rc = load(good, 1, unknown);
    const char *m = rd_error_get()->message;
    ok(rc == RD_EINPUT && strstr(m, "--set: ") && strstr(m, "'tasks[0].tset'"), "unknown key: %s",
       m);
    rd_error_clear();
}

static void test_bad(void)
{
#define T "\"tasks\":[{\"family\":\"acre\",\"generate\":5}]"
    refused("{" T ",\n\"sft\": {\"lrr\": 1}}", "c.json:2: unknown key 'sft.lrr'", "'sft.lr'");
    refused("{" T ",\n\n\"atms\": {}}", "c.json:3: unknown key 'atms'", "'arms'");
    refused("{" T ",\"sft\":\n{\"epochs\": \"8\"}}", "c.json:2: sft.epochs: expected a number",
            "got \"8\"");
    refused("{" T ",\"run\":{\"seed\": 1.5}}", "run.seed: expected an integer", "got 1.5");
    refused("{" T ",\"teacher\":{\"noise\": 2}}", "teacher.noise", "from 0 to 1");
    refused("{" T ",\"align\":{\"variant\": \"trl\"}}", "response|full", "got \"trl\"");
    refused("{" T ",\"eval\":{\"hypotheses\": [5, 1]}}", "ascending", "[5,1]");
    refused("{" T ",\"sft\": 3}", "sft: expected an object", "");
    refused("{\"tasks\":[{\"family\":\"acre\"}]}", "tasks[0].file", "either a file");
    refused("{\"tasks\":[{\"generate\":1}]}", "tasks[0].family", "required");
    refused("{\"tasks\":[{\"family\":\"acme\",\"generate\":1}]}", "tasks[0].family", "acre");
    refused("{}", "tasks", "at least one");
    refused("[]", "one JSON object", "");
    refused("{" T ",\n\"arms\":\"a\"}", "c.json:2: arms: expected an object", "");
    refused("{" T ",\"arms\":{\"a\":{\"teacher.noise\":0}}}", "arms.a.teacher.noise", "sweep");
    refused("{" T ",\"arms\":{\"a\":{\"from\":\"z\"}}}", "arms.a.from", "no arm 'z'");
    refused("{" T ",\"arms\":{\"a b\":{}}}", "short name", "a b");
    refused("{" T ",\"arms\":{\"a\":{\"model.tokenizer.train_vocab\":300}}}",
            "arms.a.model.tokenizer.train_vocab", "sweep");
    refused("{" T ",\"arms\":{\"a\":{},\"b\":{\"from\":\"a\",\"stages\":[\"align\"]},"
            "\"c\":{\"from\":\"b\",\"stages\":[\"eval\"]}}}",
            "arms.c.from", "no SFT weights of its own");
    refused("{" T ",\"align\":{\"start\":\"branch\"}}", "align.start", "align.branch_at");
    refused("{" T ",\"align\":{\"pairs\":\"student\"},\"stages\":[\"align\"]}",
            "align.pairs of arm", "no sft");
    refused("{" T ",\"sft\":{\"kinds\":[\"io\"]},\"align\":{\"pairs\":\"both\"}}", "align.pairs",
            "no generate");
    refused("{" T ",\"sft\":{\"kinds\":[\"generate\"]},\"align\":{\"pairs\":\"student\"}}",
            "align.own.score", "no follow");
    refused("{" T ",\"align\":{\"pairs\":\"both\",\"own\":{\"share\":1}}}", "align.own.share",
            "between 0 and 1");
    refused("{" T ",\"align\":{\"pairs\":\"student\",\"own\":{\"temperature\":0}}}",
            "align.own.temperature", "the same");
    refused("{" T ",\"align\":{\"own\":{\"hypotheses\":1}}}", "align.own.hypotheses", "from 2");
    refused("{" T ",\"eval\":{\"hypotheses\": []}}", "eval.hypotheses", "1 to 16");
    refused("{" T ",\"eval\":{\"methods\": []}}", "eval.methods", "at least one");
    refused("{" T, "c.json:1", "");
}

#define LF "{\"family\":\"list_function\",\"difficulty\":"
#define TASKS(a, b) "{\"tasks\":[" a "," b "]}"

static void test_holdout(void)
{
    rd_held *h = NULL;
    rd_gen_opts o;
    const char *both = TASKS(LF "0,\"generate\":9,\"test\":2,\"holdout_share\":0.3}",
                             LF "0,\"test\":2,\"holdout\":\"pair\",\"set\":\"pairs\"}");
    is_rc(load(both, 0, NULL), RD_OK, "pairs beside rules");
    config_entry_options(&c, 1, &o);
    ok(o.level == RD_HOLD_PAIR && o.holdout == 0, "the level of an entry");
    near_f64(config_rule_share(&c, RD_LIST_FUNCTION), 0.3, 0, "the share of rule classes");
    is_rc(config_held(&c, RD_LIST_FUNCTION, &h), RD_OK, "held out of the family");
    ok(h != NULL, "something is");
    rd_held_free(&h);
    is_rc(config_held(&c, RD_ACRE, &h), RD_OK, "and of another family");
    ok(h == NULL, "nothing");
    config_free(&c);
    refused("{\"tasks\":[{\"family\":\"acre\",\"generate\":5,\"lexicon\":7}]}", "tasks[0].lexicon",
            "at least 8 names");
    refused("{\"tasks\":[" LF "0,\"generate\":5,\"lexicon\":50}]}", "tasks[0].lexicon",
            "have no names");
    refused("{\"tasks\":[{\"family\":\"acre\",\"generate\":5,\"holdout\":\"kind\"}]}",
            "tasks[0].holdout: \"kind\" means nothing for acre", "no kinds");
    refused("{\"tasks\":[" LF "1,\"test\":5,\"holdout\":\"pair\"}]}", "tasks[0].holdout",
            "one step");
    refused("{\"tasks\":[{\"family\":\"miniscan\",\"test\":5,\"holdout\":\"pair\","
            "\"grammar\":\"lake\"}]}",
            "tasks[0].holdout", "one grammar");
    refused("{\"tasks\":[{\"family\":\"acre\",\"file\":\"x\",\"holdout\":\"pair\"}]}",
            "tasks[0].holdout", "for generated tasks");
    refused(TASKS(LF "0,\"generate\":9,\"test\":2}", LF "0,\"test\":2,\"holdout\":\"pair\"}"),
            "tasks[1].set", "that of tasks[0] too");
    refused(TASKS(LF "1,\"generate\":9}", LF "0,\"test\":2,\"holdout\":\"kind\"}"),
            "tasks[1].difficulty", "no training tasks of list_function have difficulty 0");
    refused(TASKS(LF "0,\"file\":\"x\"}", LF "0,\"test\":2,\"holdout\":\"kind\"}"), "tasks[0].file",
            "tasks[1].holdout \"kind\" cannot hold");
}

/* What a stage's key is made of. */
static void test_hash(void)
{
    static const char *const align[] = {"align.", "!align.own.", NULL}, *const own[] = {
                                                                            "align.own.", NULL};
    const char *sets[] = {"align.own.tasks=5"}, *rate[] = {"align.lr=1"};
    is_rc(load(good, 0, NULL), RD_OK, "a config");
    const uint64_t was = config_hash(&c.keys, align), was_own = config_hash(&c.keys, own);
    config_free(&c);
    is_rc(load(good, 1, sets), RD_OK, "another number of tasks");
    ok(config_hash(&c.keys, align) == was, "keys that are left out change no hash");
    ok(config_hash(&c.keys, own) != was_own, "but those that take them in");
    config_free(&c);
    is_rc(load(good, 1, rate), RD_OK, "another rate");
    ok(config_hash(&c.keys, align) != was, "the others still do");
    config_free(&c);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_good();
    test_hash();
    test_set();
    test_set_whole();
    test_bad();
    test_holdout();
    return rd_test_end();
}
