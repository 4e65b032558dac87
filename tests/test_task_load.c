/* ranks: 1 */
/* The loader: the official files, their round trip, broken files; the binary form. */
#include "rd_test.h"
#include "rd/task.h"

static const char *const files[RD_FAMILIES] = {"list_function", "1D_arc", "acre", "scan"};

static void official(const char *data, rd_family f, int64_t tasks, int64_t demos, int64_t queries)
{
    char path[512], copy[512];
    rd_taskset set = {0};
    rd_buf a = {0}, b = {0};
    snprintf(path, sizeof path, "%s/%s.jsonl", data, files[f]);
    snprintf(copy, sizeof copy, "%s/%s.jsonl", rd_test_dir(), files[f]);
    is_rc(rd_task_load(path, f, &set), RD_OK, path);
    is_i64(set.n, tasks, "tasks");
    bool shape = true, ids = true;
    for (int64_t i = 0; i < set.n; i++) {
        shape &= set.task[i].n_demos == demos && set.task[i].n_queries == queries;
        ids &= set.task[i].id == i && set.task[i].family == f;
    }
    ok(shape, "every task has %d demonstrations and %d queries", (int)demos, (int)queries);
    ok(ids, "ids follow the file");
    is_rc(rd_task_save(copy, &set), RD_OK, "saves");
    rd_file_read(path, &a);
    rd_file_read(copy, &b);
    ok(a.len == b.len && !memcmp(a.data, b.data, a.len), "the saved file is the same bytes");
    snprintf(path, sizeof path, "%s/%s_test.jsonl", data, files[f]);
    is_rc(rd_task_load(path, f, &set), RD_OK, "the held-out file loads, its ids in shuffled order");
    rd_buf_free(&a);
    rd_buf_free(&b);
    rd_taskset_free(&set);
}

static void broken(void)
{
    static const struct {
        const char *file;
        rd_family f;
        const char *says;
    } list[] = {
        {"task_train_empty", RD_LIST_FUNCTION, "jsonl:2: \"train\""},
        {"task_test_missing", RD_LIST_FUNCTION, "jsonl:1: \"test\""},
        {"task_input_number", RD_LIST_FUNCTION, "jsonl:1: an input of list_function"},
        {"task_input_missing", RD_LIST_FUNCTION, "jsonl:1: an example has no"},
        {"task_output_list", RD_LIST_FUNCTION, "jsonl:1: an \"output\""},
        {"task_list_spacing", RD_LIST_FUNCTION, "jsonl:2: \"[3,4]\" is not an input"},
        {"task_list_leading_zero", RD_ARC1D, "jsonl:1: \"[03, 4]\" is not an input"},
        {"task_idx_twice", RD_LIST_FUNCTION, "jsonl:3: idx 0 is also that of line 1"},
        {"task_idx_text", RD_LIST_FUNCTION, "jsonl:1: \"idx\""},
        {"task_idx_missing", RD_LIST_FUNCTION, "jsonl:1: \"idx\""},
        {"task_blank_line", RD_LIST_FUNCTION, "jsonl:2: empty line"},
        {"task_truncated", RD_LIST_FUNCTION, "jsonl:2"},
        {"task_not_object", RD_LIST_FUNCTION, "jsonl:1: a task must be an object"},
        {"task_empty", RD_LIST_FUNCTION, "no tasks"},
        {"task_rule_unknown", RD_LIST_FUNCTION, "jsonl:1: \"rule\""},
        {"acre_unknown_object", RD_ACRE, "jsonl:1: \"['pink metal cube']\""},
        {"acre_object_twice", RD_ACRE, "is not an input of acre"},
        {"acre_string_input", RD_ACRE, "must be an array of strings"},
        {"acre_label", RD_ACRE, "\"On\" is not an output of acre"},
        {"scan_double_blank", RD_MINISCAN, "\"dax  fep\" is not an input"},
        {"no_such_file", RD_MINISCAN, "no_such_file"},
    };
    for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
        char path[256];
        rd_taskset set = {0};
        snprintf(path, sizeof path, "tests/corpus/%s.jsonl", list[k].file);
        int rc = rd_task_load(path, list[k].f, &set);
        const char *message = rd_error_get()->message;
        bool good = rc == RD_EINPUT && strstr(message, list[k].says) && set.n == 0;
        ok(good, "%s is refused: %s", list[k].file, message);
        rd_error_clear();
        rd_taskset_free(&set);
    }
}

static void binary(void)
{
    rd_example e[2] = {{"a", "b", NULL}, {"", "c", "direct"}};
    rd_task t = {RD_ACRE, RD_SPLIT_TEST, 7, 3, NULL, "class", 1, 1, e}, copy, got;
    rd_buf b = {0};
    rd_task_put(&b, &t);
    rd_cursor c = {b.data, b.len, 0};
    is_rc(rd_task_get(&c, &got), RD_OK, "a record is read back");
    ok(got.family == t.family && got.split == t.split && got.id == 7 && got.source == 3 &&
           got.n_demos == 1 && got.n_queries == 1 && !got.rule,
       "the same numbers");
    is_str(got.rule_class, "class", "the class");
    is_str(got.examples[1].type, "direct", "a type");
    ok(got.examples[0].type == NULL, "no type stays no type");
    rd_task_copy(&got, &copy);
    is_str(copy.examples[1].output, "c", "a copy");
    rd_task_free(&copy);
    rd_task_free(&got);
    int64_t refused = 0;
    for (size_t n = 0; n < b.len; n++) {
        c = (rd_cursor){b.data, n, 0};
        refused += rd_task_get(&c, &got) == RD_EINPUT;
        rd_error_clear();
        rd_task_free(&got);
    }
    is_i64(refused, (int64_t)b.len, "every cut-off record is refused");
    rd_buf_free(&b);
}

static void generated(void)
{
    char path[512];
    rd_taskset set = {0}, back = {0};
    for (int i = 0; i < 5; i++) {
        rd_task t;
        rd_gen_opts o = {.family = RD_ACRE, .difficulty = 2, .seed = 4};
        if (rd_task_generate(&o, RD_SPLIT_TRAIN, i, &t) == RD_OK) rd_taskset_add_take(&set, &t);
    }
    snprintf(path, sizeof path, "%s/generated.jsonl", rd_test_dir());
    is_rc(rd_task_save(path, &set), RD_OK, "generated tasks are saved");
    is_rc(rd_task_load(path, RD_ACRE, &back), RD_OK, "and loaded");
    is_i64(back.n, 5, "all of them");
    is_str(back.task[4].rule, set.task[4].rule, "with their rules");
    is_str(back.task[4].examples[9].type, set.task[4].examples[9].type, "and types");
    rd_taskset_free(&set);
    rd_taskset_free(&back);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    const char *data = rd_test_data();
    if (data) {
        official(data, RD_LIST_FUNCTION, 250, 8, 8);
        official(data, RD_ARC1D, 901, 3, 1);
        official(data, RD_ACRE, 100, 6, 4);
        official(data, RD_MINISCAN, 100, 14, 10);
    } else {
        skip("no official files");
    }
    broken();
    binary();
    generated();
    rd_family f;
    is_rc(rd_family_parse("miniscan", &f), RD_OK, "a family's name");
    int rc = rd_family_parse("minscan", &f);
    ok(rc == RD_EINPUT && strstr(rd_error_get()->message, "\"miniscan\""), "the nearest name");
    rd_error_clear();
    return rd_test_end();
}
