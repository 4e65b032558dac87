/* ranks: 1 */
/* MiniSCAN: grammars as text, the order of binding, the inducer, nearly right grammars. */
#include "rule_checks.h"

static const char rule[] = "Words: dax is RED; fep is BLUE; x kiki is x x x; x blick y is x y x; "
                           "blorp x is x x; x wug y is y "
                           "x; apply kiki first, then blick, then blorp, then wug.";

static void runs(const char *text, const char *input, const char *want)
{
    rd_buf y = {0};
    rd_rule *r = rd_rule_parse(RD_MINISCAN, text);
    bool defined = r && rd_rule_run(RD_MINISCAN, r, input, &y, NULL);
    ok(want ? defined && !strcmp(y.data, want) : !defined, "%s: %s", input,
       defined ? y.data : "none");
    rd_rule_free(RD_MINISCAN, &r);
    rd_buf_free(&y);
}

static void meaning(void)
{
    runs(rule, "dax", "RED");
    runs(rule, "dax kiki", "RED RED RED");
    runs(rule, "dax blick fep", "RED BLUE RED");
    runs(rule, "dax wug fep kiki", "BLUE BLUE BLUE RED");
    runs(rule, "dax wug fep blick dax", "BLUE RED BLUE RED");
    runs(rule, "dax wug fep wug dax",
         "RED BLUE RED"); /* from left to right: (fep dax), then turned */
    runs(rule, "blorp dax blick fep", "RED BLUE RED RED BLUE RED");
    runs(rule, "blorp blorp fep", "BLUE BLUE BLUE BLUE");
    runs(rule, "fep kiki kiki", "BLUE BLUE BLUE BLUE BLUE BLUE BLUE BLUE BLUE");
    runs(rule, "kiki dax", NULL);
    runs(rule, "dax fep", NULL);
    runs(rule, "dax zup", NULL);
    runs(rule, "dax kiki kiki kiki kiki kiki kiki kiki", NULL); /* longer than an output may be */
    runs("dax MEANS RED; x kiki becomes x x", "dax kiki", "RED RED");
    runs("Words: dax is RED; x wug y is y x; x blick y is x; work out blick before wug.",
         "dax wug dax blick dax", "RED RED");
    rd_buf y = {0}, work = {0};
    rd_rule *r = rd_rule_parse(RD_MINISCAN, rule);
    rd_rule_run(RD_MINISCAN, r, "dax wug fep kiki", &y, &work);
    is_str(work.data,
           "dax is RED\nfep is BLUE\nRED wug BLUE kiki\nx kiki is x x x\nRED wug BLUE BLUE BLUE\n"
           "x wug y is y x\n",
           "worked: words, line, then function by function");
    rd_rule_free(RD_MINISCAN, &r);
    rd_buf_free(&y);
    rd_buf_free(&work);
}

static void no_rules(void)
{
    static const char *const texts[] = {
        "",
        ".",
        ";",
        "Words:",
        "Words: ; ;",
        "Words: dax is RED; dax is BLUE.",
        "Words: dax is.",
        "Words: x kiki is x y.",
        "Words: x kiki is.",
        "Words: x kiki y is x z.",
        "Words: is is is.",
        "Words: dax is RED; x kiki is x x; x wug y is y x; apply kiki first.",
        "Words: dax is RED; x kiki is x x; x wug y is y x; apply kiki first, then kiki.",
        "Words: dax is RED; x kiki is x x x x x x x x x.",
        "Words: dax is RED BLUE."};
    bool none = true;
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        rd_rule *r = rd_rule_parse(RD_MINISCAN, texts[k]);
        if (r) diag("taken for a rule: %s", texts[k]);
        none &= !r;
        rd_rule_free(RD_MINISCAN, &r);
    }
    ok(none, "what is no rule is not taken for one");
}

static void generated(void)
{
    rule_findings s = {0};
    rule_mutants m = {0};
    rd_rng rng = rd_rng_make(3, "test", 0, 0);
    for (int d = 0; d <= 4; d++)
        for (int i = 0; i < 30; i++) {
            rd_task t;
            rd_gen_opts o = {.family = RD_MINISCAN, .difficulty = d % 4, .seed = 6};
            if (d == 4) o = (rd_gen_opts){RD_MINISCAN, 2, 6, .lake_grammar = true};
            if (rd_task_generate(&o, RD_SPLIT_TRAIN, i, &t) != RD_OK) continue;
            rule_findings_add(&s, &t, 256, false);
            rule_mutants_add(&m, &t, &rng);
            rd_task_free(&t);
        }
    rule_findings_check(&s, 150);
    ok(s.solved >= 149, "the cheapest consistent rule answers every query of %d", (int)s.solved);
    rule_mutants_check(&m, 1100);
}

static void official(const char *data)
{
    char path[512];
    rd_taskset set = {0};
    int64_t same = 0;
    snprintf(path, sizeof path, "%s/scan.jsonl", data);
    rule_official_check(path, RD_MINISCAN, false, 1000, 9, 10, &set);
    is_rc(rd_task_classify(&set), RD_OK, "classes");
    for (int64_t i = 0; i < set.n; i++)
        same += set.task[i].rule_class && !strcmp(set.task[i].rule_class, set.task[0].rule_class);
    is_i64(same, 100, "they are one grammar");
    /* the lake option makes tasks of that grammar and layout */
    rd_task t;
    rd_gen_opts o = {.family = RD_MINISCAN, .difficulty = 2, .lake_grammar = true};
    is_rc(rd_task_generate(&o, RD_SPLIT_TRAIN, 0, &t), RD_OK, "the published layout, generated");
    int64_t outputs = 0;
    for (int64_t i = 0; i < t.n_demos + t.n_queries; i++)
        outputs += !strcmp(t.examples[i].output, set.task[0].examples[i].output);
    is_i64(outputs, 24, "has the published outputs");
    rd_task_free(&t);
    rd_taskset_free(&set);
}

/* The words of a lexicon's tasks: how many different ones occur. */
static int64_t words_used(rd_family f, int64_t lexicon)
{
    enum { MOST = 4000 };
    typedef char name[32];
    name *word = rd_new(name, MOST);
    int64_t n = 0;
    for (int i = 0; i < 150; i++) {
        rd_task t;
        rd_gen_opts o = {.family = f, .seed = 6, .lexicon = lexicon};
        if (rd_task_generate(&o, i % 2 ? RD_SPLIT_TEST : RD_SPLIT_TRAIN, i, &t) != RD_OK) return -1;
        for (int64_t e = 0; e < t.n_demos + t.n_queries; e++) {
            const char *blank = f == RD_ACRE ? "[]'," : " ", *p = t.examples[e].input;
            for (; *(p += strspn(p, blank)); p += strcspn(p, blank)) {
                char one[32];
                int64_t k = 0;
                snprintf(one, sizeof one, "%.*s", (int)strcspn(p, blank), p);
                while (k < n && strcmp(word[k], one) != 0) k++;
                if (k == n && n < MOST && *one != ' ') memcpy(word[n++], one, sizeof one);
            }
        }
        rd_task_free(&t);
    }
    rd_free(word);
    return n;
}

static void lexicons(void)
{
    int64_t free_words = words_used(RD_MINISCAN, 0), forty = words_used(RD_MINISCAN, 40);
    ok(free_words > 400, "without a lexicon words are many (%d)", (int)free_words);
    ok(forty > 30 && forty <= 40, "a lexicon of 40 words (%d)", (int)forty);
    is_i64(words_used(RD_ACRE, 12), 12, "scenes of twelve objects");
    is_i64(words_used(RD_ACRE, 0), 48, "or of all");
    rd_task t;
    rd_gen_opts few = {.family = RD_ACRE, .lexicon = 7}, lists = {.lexicon = 50};
    is_rc(rd_task_generate(&few, RD_SPLIT_TRAIN, 0, &t), RD_EINPUT, "too few objects");
    rd_error_clear();
    is_rc(rd_task_generate(&lists, RD_SPLIT_TRAIN, 0, &t), RD_EINPUT, "lists have no names");
    rd_error_clear();
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    meaning();
    no_rules();
    generated();
    lexicons();
    const char *data = rd_test_data();
    if (data)
        official(data);
    else
        skip("no official files");
    return rd_test_end();
}
