/* ranks: 1 2 4 */
/* The replay teacher: the same traces again from traces.h5, tasks told by content, what is missing,
 * and the official code's files. */
#include "rd_test.h"
#include "augment_runs.h"
#include "made_tasks.h"

enum { TASKS = 6 }; /* per family */

static rd_prompts *prompts;
static rd_grid *grid;
static rd_taskset tasks;
static int64_t rules_per_task[1] = {8};

static void make_tasks(void)
{
    made_alternate(&tasks, (rd_gen_opts){.seed = 5, .n_train = TASKS}, RD_SPLIT_TRAIN, TASKS, 0,
                   NULL);
    /* A twin: the demonstrations of task 0, other queries and another number. */
    rd_task twin;
    rd_task_copy(&tasks.task[0], &twin);
    twin.id = 1000;
    rd_example *q = &twin.examples[twin.n_demos];
    rd_free(q->input);
    q->input = rd_strdup("[1, 2, 3, 4, 5, 6, 7]");
    rd_taskset_add_take(&tasks, &twin);
}

static int augment(const rd_teacher_opts *to, const rd_taskset *set, bool queries, const char *dir,
                   rd_augment_report *report)
{
    rd_augment_opts o = {.hypotheses = rules_per_task,
                         .rule_temperature = 1,
                         .follow_temperature = 0.7,
                         .queries = queries,
                         .dir = dir};
    return augment_run(grid, to, prompts, set, &o, report);
}

static rd_teacher_opts replay_of(const char *path, bool unanswered)
{
    rd_teacher_opts o;
    rd_teacher_defaults(&o);
    o.kind = "replay";
    o.replay = (rd_replay_opts){path, unanswered};
    return o;
}

/* What a traces.h5 says about each task, as one hash per task of the set `order`. */
static void said(const char *dir, const rd_taskset *set, uint64_t *hash)
{
    traces t;
    traces_load(dir, set->n, &t);
    for (int64_t i = 0; i < set->n; i++) {
        int64_t h = table_int(&t.task, i, TASK_FIRST_HYPOTHESIS);
        int64_t a = table_int(&t.task, i, TASK_FIRST_APPLICATION);
        hash[i] = 0;
        for (int64_t k = h; k < h + table_int(&t.task, i, TASK_HYPOTHESES); k++) {
            const int64_t numbers[] = {table_int(&t.hypothesis, k, HYP_SCORE),
                                       table_int(&t.hypothesis, k, HYP_TOKENS_IN),
                                       table_int(&t.hypothesis, k, HYP_TOKENS_OUT)};
            hash[i] = rd_hash_str(traces_text(&t, table_int(&t.hypothesis, k, HYP_RULE)), hash[i]);
            hash[i] = rd_hash(numbers, sizeof numbers, hash[i]);
        }
        for (int64_t k = a; k < a + table_int(&t.task, i, TASK_APPLICATIONS); k++) {
            const char *text = traces_text(&t, table_int(&t.application, k, APP_RESPONSE));
            hash[i] =
                rd_hash_str(text, hash[i] + (uint64_t)table_int(&t.application, k, APP_TOKENS_IN));
        }
    }
    traces_free(&t);
}

/* The error's one line holds all of these. */
static void error_says(const char *a, const char *b)
{
    const char *m = rd_error_get()->message;
    const int good = strstr(m, a) && strstr(m, b) && !strchr(m, '\n');
    ok(good, "it says '%s' and '%s'", a, b);
    if (!good) fprintf(stderr, "# says: %s\n", m);
    rd_error_clear();
}

static void test_traces(void)
{
    rd_teacher_opts symbolic, replay;
    rd_augment_report first, again;
    char *dir = rd_test_path("first"), *dir2 = rd_test_path("again"),
         *dir3 = rd_test_path("turned");
    uint64_t *want = rd_new(uint64_t, tasks.n), *got = rd_new(uint64_t, tasks.n);
    rd_teacher_defaults(&symbolic);
    symbolic.use_known_rule = true;
    symbolic.format_noise = 0.2;
    is_rc(augment(&symbolic, &tasks, true, dir, &first), RD_OK, "a run to replay");
    said(dir, &tasks, want);

    replay = replay_of(dir, false);
    is_rc(augment(&replay, &tasks, true, dir2, &again), RD_OK, "it is replayed from its directory");
    said(dir2, &tasks, got);
    ok(memcmp(want, got, (size_t)tasks.n * sizeof *got) == 0, "the same rules, answers and tokens");
    ok(memcmp(&first, &again, sizeof first) == 0, "and the same report");

    /* Other order, other numbers, no queries: content decides. */
    rd_taskset turned = {0};
    for (int64_t i = tasks.n - 1; i >= 0; i--) {
        rd_task t;
        rd_task_copy(&tasks.task[i], &t);
        t.id += 7000;
        rd_taskset_add_take(&turned, &t);
    }
    is_rc(augment(&replay, &turned, true, dir3, &again), RD_OK, "in another order, renumbered");
    said(dir3, &turned, got);
    int same = 0;
    for (int64_t i = 0; i < tasks.n; i++) same += got[tasks.n - 1 - i] == want[i];
    is_i64(same, tasks.n, "every task has what was said about it, twins too");
    ok(want[0] != want[tasks.n - 1], "the twins differ");

    /* A task that the record does not have. */
    rd_task strange;
    rd_task_copy(&tasks.task[1], &strange);
    strange.id = 4711;
    rd_free(strange.examples[0].output);
    strange.examples[0].output = rd_strdup("[]");
    rd_taskset_add_take(&turned, &strange);
    char *dir4 = rd_test_path("strange");
    int rc = augment(&replay, &turned, true, dir4, &again);
    ok(rc == RD_EINPUT, "a task that is not there is an error");
    error_says("lacks 1 of 26 tasks", "4711");
    replay.replay.unanswered_counts = true;
    is_rc(augment(&replay, &turned, true, dir4, &again), RD_OK, "or goes unanswered");
    is_i64(again.unanswered - first.unanswered,
           8 * (strange.n_demos + strange.n_queries) +
               8 * (turned.task[tasks.n].n_demos + turned.task[tasks.n].n_queries),
           "with every application of it");
    rd_taskset_free(&turned);

    /* More rules than were drawn; queries where none were followed. */
    char *dir5 = rd_test_path("more"), *dir6 = rd_test_path("no queries"),
         *dir7 = rd_test_path("queries");
    replay.replay.unanswered_counts = false;
    rules_per_task[0] = 9;
    rc = augment(&replay, &tasks, true, dir5, &again);
    ok(rc == RD_EINPUT, "more rules than there are: an error");
    error_says("8 of 9", "augment.hypotheses");
    rules_per_task[0] = 3;
    is_rc(augment(&replay, &tasks, false, dir6, &again), RD_OK, "fewer rules, no queries");
    replay.replay.path = dir6;
    rc = augment(&replay, &tasks, true, dir7, &again);
    ok(rc == RD_EINPUT, "queries that were not followed: an error");
    error_says("has no answer of", "teacher.on_failure");
    rules_per_task[0] = 8;
    char *all[] = {dir, dir2, dir3, dir4, dir5, dir6, dir7};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) rd_free(all[i]);
    rd_free(want), rd_free(got);
}

/* ---------------------------------------------------------------- the official code's files */

static void write_text(const char *dir, const char *name, const char *text)
{
    char path[500];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (grid->world.rank == 0) {
        RD_ASSERT(rd_dir_make(dir) == RD_OK);
        RD_ASSERT(rd_file_write_atomic(path, text, strlen(text)) == RD_OK);
    }
    rd_barrier(&grid->world);
}

static rd_task small_task(int64_t id, const char *in1, const char *out1, const char *in2,
                          const char *out2)
{
    rd_task t = {.family = RD_LIST_FUNCTION, .id = id, .n_demos = 2, .n_queries = 0};
    t.examples = rd_new(rd_example, 2);
    t.examples[0] = (rd_example){rd_strdup(in1), rd_strdup(out1), NULL};
    t.examples[1] = (rd_example){rd_strdup(in2), rd_strdup(out2), NULL};
    return t;
}

#define PROMPT(a, b, c, d) \
    "Say.\\n\\nInput: " a "\\nOutput: " b "\\n\\nInput: " c "\\nOutput: " d "\\n\\n"
#define REWARD(p)                      \
    "{\"chosen\": [{\"content\": \"" p \
    "\", \"role\": \"user\"}, {\"content\": \"x\", \"role\": \"assistant\"}]}"
#define APPLY(rule, in, out) \
    "{\"prompt\": \"Do.\\n\\n" rule "\\nInput: " in "\\n\", \"response\": \"" out "\"}"
#define P1 PROMPT("[1]", "[1, 1]", "[2]", "[2, 2]")
#define P2 PROMPT("[3]", "[]", "[4]", "[]")

static const char hypo[] =
    "[[{\"Rule\": \"Twice.\\nAlways.\", \"Score\": 2},\n"
    "{\"Rule\": \"Twice.\", \"Score\": 1}],\n[{\"Rule\": \"Empty.\", \"Score\": 2}]]";
static const char apply[] = "[" APPLY("Twice.\\nAlways.", "[1]", "[1, 1]") ",\n" APPLY(
    "Twice.\\nAlways.", "[2]",
    "[2, 2]") ",\n" APPLY("Twice.", "[1]",
                          "so [1, 1].") ",\n" APPLY("Twice.", "[2]",
                                                    "two") ",\n" APPLY("Empty.", "[3]",
                                                                       "[]") ",\n" APPLY("Empty.",
                                                                                         "[4]",
                                                                                         "[]") "]";
static const char reward[] = "[" REWARD(P1) ",\n" REWARD(P2) "]";

static void test_official(void)
{
    rd_augment_report report;
    rd_taskset set = {0};
    char *dir = rd_test_path("official/list_func/gpt-4"), *root = rd_test_path("official"),
         *out = rd_test_path("off1");
    rd_task t = small_task(5, "[3]", "[]", "[4]", "[]");
    rd_taskset_add_take(&set, &t);
    t = small_task(3, "[1]", "[1, 1]", "[2]", "[2, 2]");
    rd_taskset_add_take(&set, &t);
    write_text(dir, "all_hypo_train_50_1.0.json", hypo);
    write_text(dir, "rule_apply_train_50_1.0.json", apply);
    write_text(dir, "rule_reward_set_train_50_1.0.json", reward);

    rd_teacher_opts o = replay_of(root, false);
    rules_per_task[0] = 2;
    int rc = augment(&o, &set, false, out, &report);
    ok(rc == RD_EINPUT, "a task with fewer rules than are asked for");
    error_says("list_function 5", "1 of 2");
    o.replay.unanswered_counts = true;
    is_rc(augment(&o, &set, false, out, &report), RD_OK, "goes on without it");
    is_i64(report.unanswered, 3, "two applications of no rule, and \"two\"");
    is_i64(report.solved[RD_LIST_FUNCTION], 2, "both tasks have a full-score rule");
    char path[500];
    traces rows;
    traces_load(out, 2, &rows);
    is_str(traces_text(&rows, table_int(&rows.hypothesis, 2, HYP_RULE)), "Twice.\nAlways.",
           "a rule of two lines stays so");
    is_str(traces_text(&rows, table_int(&rows.application, 6, APP_RESPONSE)), "so [1, 1].",
           "each application has its own response");
    is_i64(table_int(&rows.hypothesis, 3, HYP_SCORE), 1, "scores are worked out anew");
    traces_free(&rows);

    /* Files that do not belong together. */
    char broken[sizeof apply];
    memcpy(broken, apply, sizeof apply);
    memcpy(strstr(broken, "Empty."), "Whole.", 6);
    write_text(dir, "rule_apply_train_50_1.0.json", broken);
    o = replay_of(dir, false);
    rd_teacher *teacher = NULL;
    ok(rd_teacher_create(&o, prompts, NULL, &teacher) == RD_EINPUT, "another rule's application");
    error_says("rule_apply_train_50_1.0.json:5: entry 4", "line 3");
    memcpy(broken, apply, sizeof apply);
    strcpy(strstr(broken, ",\n{\"prompt\": \"Do.\\n\\nEmpty.\\nInput: [4]"), "]");
    write_text(dir, "rule_apply_train_50_1.0.json", broken);
    ok(rd_teacher_create(&o, prompts, NULL, &teacher) == RD_EINPUT, "one too few");
    error_says("rule_apply_train_50_1.0.json", "entry 5");
    write_text(dir, "rule_apply_train_50_1.0.json", "[");
    ok(rd_teacher_create(&o, prompts, NULL, &teacher) == RD_EINPUT, "a file that was cut off");
    error_says("rule_apply_train_50_1.0.json", "1");
    write_text(dir, "rule_apply_train_50_1.0.json", apply);
    write_text(dir, "all_hypo_train_10_1.0.json", hypo);
    write_text(dir, "rule_apply_train_10_1.0.json", apply);
    write_text(dir, "rule_reward_set_train_10_1.0.json", reward);
    ok(rd_teacher_create(&o, prompts, NULL, &teacher) == RD_EINPUT, "two sets of one split");
    error_says("all_hypo_train_10_1.0.json", "all_hypo_train_50_1.0.json");
    snprintf(path, sizeof path, "%s/all_hypo_train_10_1.0.json", dir);
    o.replay.path = path;
    is_rc(rd_teacher_create(&o, prompts, NULL, &teacher), RD_OK, "one of them by its name");
    rd_teacher_free(&teacher);
    o.replay.path = rd_test_dir();
    ok(rd_teacher_create(&o, prompts, NULL, &teacher) == RD_EINPUT, "a folder with nothing in it");
    error_says("holds no traces.h5", "all_hypo_");
    o.replay.path = "/nowhere/at/all";
    ok(rd_teacher_create(&o, prompts, NULL, &teacher) == RD_EINPUT, "no folder");
    error_says("there is no", "/nowhere/at/all");
    rd_free(dir), rd_free(root), rd_free(out);
    rd_taskset_free(&set);
    rules_per_task[0] = 8;
}

static const char merged_rules[] =
    "[{\"instruction\": \"Say.\\n\\n\", \"input\": \"Input: [1]\\nOutput: [1, 1]\\n\\nInput: [2]\\n"
    "Output: [2, 2]\\n\\n\", \"output\": \"Twice.\\nAlways.\"},\n"
    "{\"instruction\": \"Say.\\n\\n\", \"input\": \"Input: [1]\\nOutput: [1, 1]\\n\\nInput: [2]\\n"
    "Output: [2, 2]\\n\\n\", \"output\": \"Always.\"}]";
#define ROW(rule, in, out)                                                \
    "{\"instruction\": \"Do.\\n\\n" rule "\\n\", \"input\": \"Input: " in \
    "\\n\", \"output\": \"" out "\"}"
static const char merged_apps[] = "[" ROW("Twice.\\nAlways.", "[1]", "[1, 1]") "," ROW(
    "Twice.\\nAlways.", "[2]", "[2]") "," ROW("Always.", "[1]", "[7]") "]";

static void test_merged(void)
{
    rd_task t = small_task(1, "[1]", "[1, 1]", "[2]", "[2, 2]");
    char *dir = rd_test_path("merged");
    write_text(dir, "generate_rule_sft.json", merged_rules);
    write_text(dir, "apply_rule_sft.json", merged_apps);
    rd_teacher_opts o = replay_of(dir, true);
    rd_teacher *teacher = NULL;
    rd_proposal p[2] = {{0}};
    is_rc(rd_teacher_create(&o, prompts, NULL, &teacher), RD_OK, "merged training sets");
    is_rc(rd_teacher_propose(teacher, &t, 2, 1, p), RD_OK, "their rules");
    is_str(p[0].rule, "Twice.\nAlways.", "the first");
    is_str(p[1].rule, "Always.", "and the second");
    rd_application a[4] = {{.rule = p[0].rule, .input = "[1]"},
                           {.rule = p[0].rule, .input = "[2]"},
                           {.rule = p[1].rule, .input = "[1]"},
                           {.rule = p[1].rule, .input = "[2]"}};
    is_rc(rd_teacher_apply(teacher, RD_LIST_FUNCTION, 4, 0.7, a), RD_OK, "applications");
    is_str(a[0].response, "[1, 1]", "of the long rule");
    is_str(a[1].response, "[2]", "to each input");
    is_str(a[2].response, "[7]", "the short rule is not the end of the long one");
    is_str(a[3].response, "", "what is not there is unanswered");
    for (int i = 0; i < 4; i++) rd_free(a[i].response);
    for (int i = 0; i < 2; i++) rd_free(p[i].rule);
    rd_teacher_free(&teacher);
    rd_task_free(&t);
    rd_free(dir);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_grid_create(0, 1, 1, &grid);
    rd_prompts_default(&prompts);
    make_tasks();
    test_traces();
    test_official();
    test_merged();
    rd_taskset_free(&tasks);
    rd_prompts_free(&prompts);
    rd_grid_free(&grid);
    return rd_test_end();
}
