/* ranks: 1 2 4 */
/* Filter: rows, pairs, their order and every count, for hand-made traces and every option. */
#include "rd_test.h"
#include "distill/rows.h"

typedef struct draw {
    const char *rule;
    int correct; /* bit i: example i is answered correctly */
} draw;

/* Expected texts are compared in one string: kind/prompt's rule/response, one row per line. */
typedef struct lines {
    rd_buf sft, pairs, kto;
} lines;

static rd_prompts *prompts;
static const char *dir;

/* A task whose example i is "[i]" -> "[i, i]"; wrong answers are "[9]". */
static void add_task(traces *t, rd_family f, rd_split split, int64_t source, int demos, int queries,
                     int n, const draw *draws)
{
    rd_task task = {
        .family = f, .split = split, .source = source, .n_demos = demos, .n_queries = queries};
    int n_examples = demos + queries;
    char in[8][32], out[8][32];
    rd_example examples[8] = {0};
    for (int i = 0; i < n_examples; i++) {
        snprintf(in[i], sizeof in[i], "[%d]", i);
        snprintf(out[i], sizeof out[i], "[%d, %d]", i, i);
        examples[i] = (rd_example){in[i], out[i], NULL};
    }
    task.examples = examples;
    rd_proposal rules[8] = {0};
    rd_application apps[64] = {0};
    rd_buf answers[64] = {0}, record = {0};
    bool read[64];
    for (int h = 0; h < n; h++) {
        rules[h].rule = rd_strdup(draws[h].rule);
        for (int i = 0; i < n_examples; i++) {
            int a = h * n_examples + i;
            const char *answer = draws[h].correct >> i & 1 ? out[i] : "[9]";
            rd_buf response = {0};
            rd_buf_printf(&response, "say %s", answer);
            apps[a].response = rd_buf_take(&response);
            rd_buf_puts(&answers[a], answer);
            read[a] = true;
        }
    }
    traces_put_task(&record, n, rules, n_examples, apps, answers, read);
    rd_cursor c = {record.data, record.len, 0};
    RD_ASSERT(traces_get_task(&c, &task, n_examples, 1.0, t) == RD_OK);
    for (int a = 0; a < n * n_examples; a++) {
        rd_free(apps[a].response);
        rd_buf_free(&answers[a]);
    }
    for (int h = 0; h < n; h++) rd_free(rules[h].rule);
    rd_buf_free(&record);
}

/* One task with the n given draws, or without any the tasks that most checks are about. */
static void write_traces(const rd_grid *g, int n, const draw *draws)
{
    traces t;
    traces_init(&t);
    if (g->world.rank == 0 && n > 0) { /* who brings the rows does not matter */
        add_task(&t, RD_LIST_FUNCTION, RD_SPLIT_TRAIN, 0, 4, 1, n, draws);
    } else if (g->world.rank == 0) {
        const draw first[] = {{"Beta.", 15},  {"Alpha.", 3},           {"Alpha.", 15},
                              {"Gamma.", 12}, {"Delta is longer.", 1}, {"Zero.", 16}};
        add_task(&t, RD_LIST_FUNCTION, RD_SPLIT_TRAIN, 0, 4, 1, 6, first);
        const draw second[] = {{"Beta.", 3}, {"Omega.", 1}};
        add_task(&t, RD_LIST_FUNCTION, RD_SPLIT_TRAIN, 0, 2, 0, 2, second);
        const draw hidden[] = {{"Omega.", 3}};
        add_task(&t, RD_LIST_FUNCTION, RD_SPLIT_TEST, 0, 2, 0, 1, hidden);
        add_task(&t, RD_ARC1D, RD_SPLIT_TRAIN, 1, 2, 0, 1, hidden);
    }
    rd_buf path = {0};
    rd_buf_printf(&path, "%s/traces.h5", dir);
    rd_store *s = NULL;
    rd_store_info info = {TRACES_SCHEMA, TRACES_VERSION, NULL};
    is_rc(rd_store_create(&g->world, path.data, &info, &s), RD_OK, "create");
    is_rc(traces_write(&g->world, &t, s), RD_OK, "write");
    is_rc(rd_store_set_i64(s, "", "key", 7), RD_OK, "key");
    is_rc(rd_store_commit(&s), RD_OK, "commit");
    rd_buf_free(&path);
    traces_free(&t);
}

/* The rule a following prompt holds: found among all the texts that occur. */
static const char *rule_in(const char *prompt)
{
    static const char *const rules[] = {"Beta.", "Alpha.", "Gamma.", "Delta is longer.",
                                        "Zero.", "Omega."};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strstr(prompt, rules[i])) return rules[i];
    return "-";
}

static void read_lines(const rd_grid *g, lines *l)
{
    rd_buf path = {0};
    rd_store *s = NULL;
    rd_pool text = {0};
    dataset d;
    int64_t n = 0;
    dataset_init(&d);
    rd_buf_clear(&l->sft);
    rd_buf_clear(&l->pairs);
    rd_buf_clear(&l->kto);
    rd_buf_printf(&path, "%s/datasets.h5", dir);
    RD_ASSERT(rd_store_open(&g->world, path.data, NULL, 1, &s) == RD_OK);
    RD_ASSERT(rd_store_text_count(s, &n) == RD_OK && rd_store_read_text(s, 0, n, &text) == RD_OK);
    RD_ASSERT(table_count(&d.sft, s, &n) == RD_OK && table_read(&d.sft, s, 0, n) == RD_OK);
    for (int64_t i = 0; i < n; i++) {
        const char *prompt = rd_pool_get(&text, table_int(&d.sft, i, SFT_PROMPT), NULL);
        const char *response = rd_pool_get(&text, table_int(&d.sft, i, SFT_RESPONSE), NULL);
        rd_buf_printf(&l->sft, "%d %s %s %d,%d,%d\n", (int)table_int(&d.sft, i, SFT_KIND),
                      rule_in(prompt), response, (int)table_int(&d.sft, i, SFT_TASK),
                      (int)table_int(&d.sft, i, SFT_HYPOTHESIS),
                      (int)table_int(&d.sft, i, SFT_EXAMPLE));
    }
    RD_ASSERT(table_count(&d.pair, s, &n) == RD_OK && table_read(&d.pair, s, 0, n) == RD_OK);
    for (int64_t i = 0; i < n; i++)
        rd_buf_printf(&l->pairs, "%s>%s %d:%d %d,%d\n",
                      rd_pool_get(&text, table_int(&d.pair, i, PAIR_CHOSEN), NULL),
                      rd_pool_get(&text, table_int(&d.pair, i, PAIR_REJECTED), NULL),
                      (int)table_int(&d.pair, i, PAIR_CHOSEN_SCORE),
                      (int)table_int(&d.pair, i, PAIR_REJECTED_SCORE),
                      (int)table_int(&d.pair, i, PAIR_CHOSEN_HYPOTHESIS),
                      (int)table_int(&d.pair, i, PAIR_REJECTED_HYPOTHESIS));
    RD_ASSERT(table_count(&d.kto, s, &n) == RD_OK && table_read(&d.kto, s, 0, n) == RD_OK);
    for (int64_t i = 0; i < n; i++)
        rd_buf_printf(&l->kto, "%s %d:%d ",
                      rd_pool_get(&text, table_int(&d.kto, i, KTO_RESPONSE), NULL),
                      (int)table_int(&d.kto, i, KTO_SCORE), (int)table_int(&d.kto, i, KTO_LABEL));
    rd_store_close(&s);
    rd_pool_free(&text);
    dataset_free(&d);
    rd_buf_free(&path);
}

static void published_defaults(const rd_grid *g, lines *l)
{
    rd_filter_opts o;
    rd_filter_report r, again;
    rd_filter_defaults(&o);
    o.dir = dir;
    o.sources_off[1] = true;
    is_rc(rd_filter_run(g, prompts, &o, &r), RD_OK, "defaults");
    read_lines(g, l);
    is_str(l->pairs.data, "Beta.>Zero. 4:0 0,5\n", "List Function pairs differ by more than 3");
    is_str(l->kto.data,
           "Beta. 4:1 Gamma. 2:1 Alpha. 2:1 Delta is longer. 1:0 Zero. 0:0 Beta. 2:1 Omega. 1:1 ",
           "every rule with its label: half of the demonstrations");
    is_i64(strncmp(l->sft.data,
                   "0 - Beta. 0,0,-1\n0 - Gamma. 0,3,-1\n0 - Alpha. 0,1,-1\n"
                   "1 Beta. [0, 0] 0,0,0\n1 Beta. [1, 1] 0,0,1\n1 Beta. [2, 2] 0,0,2\n"
                   "1 Beta. [3, 3] 0,0,3\n1 Gamma. [0, 0] 0,3,0\n",
                   100),
           0, "rows in the order of kind, score, text descending");
    ok(strstr(l->sft.data, "2 - [4, 4] 0,-1,4\n") != NULL, "the query as a plain row");
    is_i64(r.rows[RD_ROW_GENERATE][RD_LIST_FUNCTION], 3 + 2, "score >= half the demonstrations");
    is_i64(r.rows[RD_ROW_FOLLOW][RD_LIST_FUNCTION], 3 * 4 + 2 * 2, "following rows");
    is_i64(r.rows[RD_ROW_IO][RD_LIST_FUNCTION], 1, "plain rows");
    is_i64(r.rows[RD_ROW_GENERATE][RD_ARC1D], 0, "a source that is off gives nothing");
    is_i64(r.duplicates, 1, "one rule twice: its first draw counts");
    is_i64(r.low_score, 2, "hypotheses under half");
    is_i64(r.tasks * 10 + r.skipped_tasks, 22, "two tasks used, two skipped");
    is_i64(r.histogram[RD_LIST_FUNCTION][4] * 100 + r.histogram[RD_LIST_FUNCTION][2] * 10 +
               r.histogram[RD_LIST_FUNCTION][1],
           200 + 30 + 2, "histogram");
    /* Words 1 1 1 1 3 1 | 1 1 and score / demonstrations 1 .5 1 .5 .25 0 | 1 .5, by hand. */
    near_f64(r.length_quality[RD_LIST_FUNCTION], -0.36893, 2e-4, "length against quality");
    ok(isnan(r.length_quality[RD_ACRE]), "no correlation without rules");
    is_rc(rd_filter_run(g, prompts, &o, &again), RD_OK, "a second time");
    r.length_quality[RD_ACRE] = again.length_quality[RD_ACRE] = 0;
    r.length_quality[RD_ARC1D] = again.length_quality[RD_ARC1D] = 0;
    r.length_quality[RD_MINISCAN] = again.length_quality[RD_MINISCAN] = 0;
    ok(memcmp(&r, &again, sizeof r) == 0, "finds its report again");
}

static void options(const rd_grid *g, lines *l)
{
    rd_filter_opts o;
    rd_filter_report r;
    rd_filter_defaults(&o);
    o.dir = dir;
    o.gap[RD_LIST_FUNCTION] = 1;
    o.follow_correct_only = true;
    is_rc(rd_filter_run(g, prompts, &o, &r), RD_OK, "gap 1, correct only");
    read_lines(g, l);
    is_str(l->pairs.data,
           "Beta.>Gamma. 4:2 0,3\nBeta.>Alpha. 4:2 0,1\nBeta.>Delta is longer. 4:1 0,4\n"
           "Beta.>Zero. 4:0 0,5\nGamma.>Zero. 2:0 3,5\nAlpha.>Zero. 2:0 1,5\n",
           "pairs in the order of the ranking, strictly above the gap");
    is_i64(r.wrong_answer, 4 + 1, "rows with a wrong answer are dropped and counted");
    is_i64(r.rows[RD_ROW_FOLLOW][RD_LIST_FUNCTION], 8 + 3, "the others stay");
    is_i64(r.rows[RD_ROW_FOLLOW][RD_ARC1D], 2, "the second source is on");

    o.max_pairs = 2;
    o.max_rule_chars = 10;
    o.follow_correct_only = false;
    o.follow_min_score = 1.0;
    o.follow_queries = true;
    o.follow_target = RD_TARGET_TEACHER;
    is_rc(rd_filter_run(g, prompts, &o, &r), RD_OK, "limits, the teacher's responses");
    read_lines(g, l);
    is_str(l->pairs.data, "Beta.>Zero. 4:0 0,5\nBeta.>Gamma. 4:2 0,3\n",
           "largest gaps first, then the ranking");
    is_i64(r.pairs_over_limit, 3, "pairs over the limit");
    is_i64(r.over_long, 1, "over-long rules");
    is_i64(r.follow_low_score, 4, "rules that are not followed");
    ok(strstr(l->sft.data, "1 Beta. say [9] 0,0,4\n") != NULL, "a query, as the teacher answered");

    rd_filter_defaults(&o);
    o.dir = dir;
    o.dedup = RD_DEDUP_FAMILY;
    is_rc(rd_filter_run(g, prompts, &o, &r), RD_OK, "duplicates by family");
    is_i64(r.duplicates, 2,
           "Beta of the second task is a duplicate too, Omega of another family not");
    is_i64(r.rows[RD_ROW_GENERATE][RD_LIST_FUNCTION] * 10 + r.rows[RD_ROW_GENERATE][RD_ARC1D], 41,
           "rows that are left");
}

/* Rules that can be run: the intermediate results before the answer; two wordings are one rule. */
static void real_rules(const rd_grid *g, lines *l)
{
    const char *text = "Reverse the list; then write each x 2 times.";
    char sub[300];
    snprintf(sub, sizeof sub, "%s/real", dir);
    rd_dir_make(sub);
    rd_barrier(&g->world);
    const char *outer = dir;
    dir = sub;
    const draw draws[] = {
        {text, 15}, {"Turn the list around; then write each x 2 times.", 0}, {"Gamma.", 3}};
    write_traces(g, 3, draws);
    rd_filter_opts o;
    rd_filter_report r;
    rd_filter_defaults(&o);
    o.dir = dir;
    o.worked = true;
    o.gap[RD_LIST_FUNCTION] = 0;
    is_rc(rd_filter_run(g, prompts, &o, &r), RD_OK, "worked rows");
    read_lines(g, l);
    is_i64(r.identical_pairs, 1, "two wordings of one rule make no pair");
    is_i64(r.pairs[RD_LIST_FUNCTION], 2, "the other pairs stay");
    is_i64(r.unparsed_worked, 4, "rows whose rule cannot be run stay plain");
    rd_rule *rule = rd_rule_parse(RD_LIST_FUNCTION, text);
    rd_buf work = {0}, answer = {0}, want = {0};
    ok(rule && rd_rule_run(RD_LIST_FUNCTION, rule, "[2]", &answer, &work) && work.len > 0,
       "the rule has intermediate results");
    rd_buf_puts(&want, "1 - ");
    rd_response_follow(prompts, RD_LIST_FUNCTION, "[2]", work.data, answer.data, &want);
    rd_buf_puts(&want, " 0,0,2\n");
    ok(strstr(l->sft.data, want.data) != NULL, "worked: %s", work.data);
    ok(strstr(l->sft.data, "1 Gamma. [2, 2] 0,2,2\n") != NULL, "plain");
    rd_rule_free(RD_LIST_FUNCTION, &rule);
    rd_buf_free(&work);
    rd_buf_free(&answer);
    rd_buf_free(&want);
    dir = outer;
}

/* Of a student's own rules: pairs and nothing else, none with what could not be read. */
static void pairs_only(const rd_grid *g, lines *l)
{
    const draw draws[] = {{"", 0}, {"Alpha.", 3}, {"Beta.", 0}, {"", 0}, {"Gamma.", 1}};
    char sub[300];
    snprintf(sub, sizeof sub, "%s/own", dir);
    rd_dir_make(sub);
    rd_barrier(&g->world);
    const char *outer = dir;
    dir = sub;
    write_traces(g, 5, draws);
    rd_filter_opts o;
    rd_filter_report r;
    bool found = true;
    rd_filter_defaults(&o);
    o.dir = dir;
    o.gap[RD_LIST_FUNCTION] = 0;
    o.pairs_only = true;
    is_rc(rd_filter_run(g, prompts, &o, &r), RD_OK, "pairs only");
    read_lines(g, l);
    is_str(l->pairs.data, "Alpha.>Gamma. 2:1 1,4\nAlpha.>Beta. 2:0 1,2\nGamma.>Beta. 1:0 4,2\n",
           "the chosen rule may be right on half of the demonstrations or less");
    is_i64((int64_t)(l->sft.len + l->kto.len), 0, "no rows and no labels");
    is_i64(r.unanswered, 2, "rules without a text are counted");
    is_i64(r.rows[RD_ROW_GENERATE][RD_LIST_FUNCTION], 0, "and rows are not");
    o.pairs_only = false;
    is_rc(rd_filter_find(g, prompts, &o, &found, &r), RD_OK, "looked for with rows");
    ok(!found, "it is another file");
    dir = outer;
}

static void failures(const rd_grid *g)
{
    rd_filter_opts o;
    rd_filter_report r;
    rd_buf path = {0};
    rd_filter_defaults(&o);
    o.dir = dir;
    o.min_score = 0.25; /* another key: there is work to do */
    char fault[32];
    snprintf(fault, sizeof fault, "filter:%d", g->world.size - 1);
    rd_fault_arm(fault);
    is_rc(rd_filter_run(g, prompts, &o, &r), RD_EFAULT, "a fault on one rank is everybody's");
    lines l = {0};
    read_lines(g, &l);
    ok(l.sft.len > 0, "the older datasets.h5 is still there");
    rd_buf_free(&l.sft);
    rd_buf_free(&l.pairs);
    rd_buf_free(&l.kto);
    rd_buf_printf(&path, "%s/nowhere", dir);
    o.dir = path.data;
    is_rc(rd_filter_run(g, prompts, &o, &r), RD_EINPUT, "no traces");
    rd_buf_free(&path);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_grid *g = NULL;
    rd_grid_create(0, 1, 1, &g);
    rd_prompts_default(&prompts);
    dir = rd_test_dir();
    lines l = {0};
    write_traces(g, 0, NULL);
    published_defaults(g, &l);
    options(g, &l);
    real_rules(g, &l);
    pairs_only(g, &l);
    failures(g);
    rd_buf_free(&l.sft);
    rd_buf_free(&l.pairs);
    rd_buf_free(&l.kto);
    rd_prompts_free(&prompts);
    rd_grid_free(&g);
    return rd_test_end();
}
