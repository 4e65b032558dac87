/* ranks: 1 */
/* ACRE: rules as text, what the demonstrations determine, hypotheses around it. */
#include "rule_checks.h"

static void runs(const char *rule, const char *scene, const char *want)
{
    rd_buf y = {0};
    rd_rule *r = rd_rule_parse(RD_ACRE, rule);
    bool defined = r && rd_rule_run(RD_ACRE, r, scene, &y, NULL);
    ok(want ? defined && !strcmp(y.data, want) : !defined, "%s: %s", scene,
       defined ? y.data : "none");
    rd_rule_free(RD_ACRE, &r);
    rd_buf_free(&y);
}

static void meaning(void)
{
    const char *rule =
        "The light is on if the scene has red metal cube, or blue rubber sphere and "
        "cyan metal cube; it is off if every object is one of gray metal cube, green "
        "metal cube; otherwise it is undetermined.";
    runs(rule, "['red metal cube', 'gray metal cube']", "on");
    runs(rule, "['cyan metal cube', 'blue rubber sphere']", "on");
    runs(rule, "['cyan metal cube', 'gray metal cube']", "undetermined");
    runs(rule, "['green metal cube']", "off");
    runs(rule, "['green metal cube' ]", NULL);
    runs(rule, "[]", NULL);
    runs("The light is always off.", "['green metal cube']", "off");
    runs("Anything else is on. It is off if every object is one of red metal cube.",
         "['red metal cube']", "off"); /* clauses in any order, a full stop between them */
    rd_buf y = {0}, work = {0};
    rd_rule *r = rd_rule_parse(RD_ACRE, rule);
    rd_rule_run(RD_ACRE, r, "['cyan metal cube', 'gray metal cube', 'blue rubber sphere']", &y,
                &work);
    is_str(work.data,
           "cyan metal cube is open\ngray metal cube is off\nblue rubber sphere is open\n"
           "blue rubber sphere and cyan metal cube are on\n",
           "worked: each object, then the joint set");
    is_str(y.data, "on", "its answer");
    rd_rule_free(RD_ACRE, &r);
    rd_buf_free(&y);
    rd_buf_free(&work);
}

static void no_rules(void)
{
    static const char *const texts[] = {"",
                                        ".",
                                        ";",
                                        "on",
                                        "The light is on if the scene has",
                                        "Otherwise it is maybe.",
                                        "The light is on if the scene has red metal cube and.",
                                        "Otherwise it is only.",
                                        "The light is on if the scene has red metal cubes.",
                                        "Otherwise it is on. Otherwise it is on.",
                                        "The light is on if the scene has red metal cube; ; ;"};
    bool none = true;
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        rd_rule *r = rd_rule_parse(RD_ACRE, texts[k]);
        if (r) diag("taken for a rule: %s", texts[k]);
        none &= !r;
        rd_rule_free(RD_ACRE, &r);
    }
    ok(none, "what is no rule is not taken for one");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    meaning();
    no_rules();
    rule_findings s = {0};
    rule_mutants m = {0};
    rd_rng rng = rd_rng_make(3, "test", 0, 0);
    for (int d = 0; d <= 3; d++)
        for (int i = 0; i < 40; i++) {
            rd_task t;
            rd_gen_opts o = {.family = RD_ACRE, .difficulty = d, .seed = 5};
            if (i % 4 == 0 && d) o.train_undetermined = 0.2;
            if (o.train_undetermined > 0) o.n_demos = 8;
            if (rd_task_generate(&o, RD_SPLIT_TRAIN, i, &t) != RD_OK) continue;
            rule_findings_add(&s, &t, 256, true);
            rule_mutants_add(&m, &t, &rng);
            rd_task_free(&t);
        }
    rule_findings_check(&s, 160);
    is_i64(s.solved, 160, "the cheapest consistent rule answers every query");
    rule_mutants_check(&m, 1200);

    const char *data = rd_test_data();
    if (data) {
        char path[512];
        rd_taskset set = {0};
        snprintf(path, sizeof path, "%s/acre.jsonl", data);
        rule_official_check(path, RD_ACRE, true, 400, 3, 5, &set);
        rd_taskset_free(&set);
    } else {
        skip("no official files");
    }
    return rd_test_end();
}
