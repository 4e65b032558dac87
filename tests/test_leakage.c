/* ranks: 1 */
/* Leakage of the official files, as counted independently, and of a made-up set. */
#include "rd_test.h"
#include "rd/task.h"

static void official(const char *data, const char *file, rd_family f, bool classes, rd_leakage *l)
{
    char path[512];
    rd_taskset set = {0};
    int64_t test[128], n = 0;
    snprintf(path, sizeof path, "%s/%s.jsonl", data, file);
    is_rc(rd_task_load(path, f, &set), RD_OK, path);
    rd_task_official_split(set.n, test, &n);
    for (int64_t i = 0; i < n; i++) set.task[test[i]].split = RD_SPLIT_TEST;
    if (classes) is_rc(rd_task_classify(&set), RD_OK, "classes");
    is_rc(rd_leakage_report(&set, f, l), RD_OK, "report");
    is_i64(l->test_tasks, n, "test tasks");
    is_i64(l->tasks_in_train, 0, "no test task occurs in training");
    rd_taskset_free(&set);
}

static void made_up(void)
{
    rd_taskset set = {0};
    rd_leakage l;
    for (int i = 0; i < 6; i++) {
        rd_example *e = rd_new(rd_example, 2);
        e[0] = (rd_example){rd_strdup(i % 2 ? "dax" : "fep"), rd_strdup("RED"), NULL};
        e[1] = (rd_example){rd_strdup(i % 2 ? "dax dax" : "fep fep"), rd_strdup("RED RED"), NULL};
        rd_task t = {
            RD_MINISCAN, i < 2 ? RD_SPLIT_TEST : RD_SPLIT_TRAIN, i, 0, NULL, NULL, 1, 1, e};
        t.rule_class = rd_strdup(i % 2 ? "a" : i ? "b" : "c");
        rd_taskset_add_take(&set, &t);
    }
    is_rc(rd_leakage_report(&set, RD_MINISCAN, &l), RD_OK, "a made-up set");
    is_i64(l.tasks_in_train, 2, "tasks in training");
    is_i64(l.pairs_in_train, 2, "pairs in training");
    is_i64(l.classes_in_train, 1, "classes in training");
    is_i64(l.distinct_after_renaming, 1, "the same but for the word");
    is_i64(l.best_position_hits, 2, "answered by position");
    is_i64(l.queries_in_demos, 0, "not by a demonstration");
    rd_taskset_free(&set);
}

/* Kinds and pairs of four list programs: what of them is known. */
static void operations(void)
{
    static const char *const rules[] = {
        "Reverse the list; then drop the first 1.", "Drop the first 2; then reverse the list.",
        "Reverse the list; then drop the first 2.", "Swap the first and the last."};
    rd_taskset set = {0};
    rd_leakage_operations l;
    for (int i = 0; i < 4; i++) {
        rd_task t = {.family = RD_LIST_FUNCTION,
                     .split = i > 0 ? RD_SPLIT_TEST : RD_SPLIT_TRAIN,
                     .source = i,
                     .rule = rd_strdup(rules[i])};
        rd_taskset_add_take(&set, &t);
    }
    const int known[4][2] = {{0, 0}, {1, 0}, {1, 1}, {0, 1}};
    for (int i = 1; i < 4; i++) {
        rd_leakage_of_operations(&set, i, &l);
        is_i64(l.test_tasks, 1, rules[i]);
        is_i64(l.known_kinds, known[i][0], "its kinds are known");
        is_i64(l.known_pairs, known[i][1], "its pairs are known");
    }
    rd_taskset_free(&set);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    const char *data = rd_test_data();
    rd_leakage l;
    if (data) {
        official(data, "1D_arc", RD_ARC1D, true, &l);
        is_i64(l.pairs_in_train, 4, "1D-ARC: 4 of 91 pairs");
        is_i64(l.classes_in_train, 91, "1D-ARC: every kind is known");
        official(data, "list_function", RD_LIST_FUNCTION, false, &l);
        is_i64(l.pairs_in_train, 4, "List Function: 4 of 200 pairs");
        official(data, "acre", RD_ACRE, true, &l);
        is_i64(l.pairs_in_train, 17, "ACRE: 17 of 40 pairs");
        is_i64(l.queries_in_demos, 8, "ACRE: 8 of 40 queries are demonstrations");
        official(data, "scan", RD_MINISCAN, true, &l);
        is_i64(l.pairs_in_train, 0, "MiniSCAN: no pair");
        is_i64(l.classes_in_train, 10, "MiniSCAN: one grammar");
        is_i64(l.distinct_after_renaming, 1, "MiniSCAN: one task after renaming");
        is_i64(l.best_position_hits, 100, "MiniSCAN: position answers everything");
    } else {
        skip("no official files");
    }
    made_up();
    operations();
    return rd_test_end();
}
