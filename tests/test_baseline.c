/* ranks: 1 */
/* Trivial baselines on the official files against figures counted independently (whole files and
 * the held-out tenth, in queries). */
#include "rd_test.h"
#include "rd/task.h"

typedef struct want {
    const char *name;
    int64_t all, held_out; /* -1: not known */
} want;

static int baseline_find(rd_family f, const char *name)
{
    for (int k = 0; k < rd_baseline_count(f); k++)
        if (!strcmp(rd_baseline_name(f, k), name)) return k;
    return -1;
}

static void hits(const rd_baselines *b, const rd_taskset *set, int k, int64_t *all,
                 int64_t *held_out)
{
    rd_buf y = {0};
    *all = *held_out = 0;
    for (int64_t i = 0; i < set->n; i++)
        for (int64_t q = 0; q < set->task[i].n_queries; q++) {
            const rd_task *t = &set->task[i];
            rd_buf_clear(&y);
            rd_baselines_answer(b, k, t, q, &y);
            bool hit = y.len && !strcmp(y.data, t->examples[t->n_demos + q].output);
            *all += hit;
            *held_out += hit && t->split == RD_SPLIT_TEST;
        }
    rd_buf_free(&y);
}

static void official(const char *data, const char *file, rd_family f, const want *w)
{
    char path[512];
    rd_taskset set = {0};
    rd_baselines *b = NULL;
    int64_t test[128], n = 0;
    snprintf(path, sizeof path, "%s/%s.jsonl", data, file);
    is_rc(rd_task_load(path, f, &set), RD_OK, path);
    rd_task_official_split(set.n, test, &n);
    for (int64_t i = 0; i < n; i++) set.task[test[i]].split = RD_SPLIT_TEST;
    is_rc(rd_baselines_fit(&set, &b), RD_OK, "fit");
    for (; w->name; w++) {
        int64_t all = 0, held_out = 0;
        int k = baseline_find(f, w->name);
        if (k >= 0) hits(b, &set, k, &all, &held_out);
        ok(k >= 0 && (w->all < 0 || all == w->all) && (w->held_out < 0 || held_out == w->held_out),
           "%s %s: %d of all queries, %d of the held-out ones", file, w->name, (int)all,
           (int)held_out);
    }
    rd_baselines_free(&b);
    rd_taskset_free(&set);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    const char *data = rd_test_data();
    if (data) {
        official(data, "list_function", RD_LIST_FUNCTION,
                 (const want[]){{"identity", 78, 11},
                                {"empty", -1, 13},
                                {"first", -1, 11},
                                {"last", -1, 13},
                                {"reverse", -1, 5},
                                {"sort", -1, 6},
                                {"unique", -1, 11},
                                {"drop_first", -1, 19},
                                {"majority", -1, 20},
                                {"best_of_15", -1, -1},
                                {NULL, 0, 0}});
        official(data, "1D_arc", RD_ARC1D,
                 (const want[]){{"identity", 0, 0},
                                {"all_zero", 0, 0},
                                {"copy", 1, 0},
                                {"shift_right_1", 50, 5},
                                {"shift_right_2", 50, 8},
                                {"shift_right_3", 50, 6},
                                {NULL, 0, 0}});
        official(data, "acre", RD_ACRE,
                 (const want[]){{"always_off", 159, 16},
                                {"always_on", 135, 16},
                                {"always_undetermined", 106, 8},
                                {"look_up", 204, 16},
                                {"copy", 254, 28},
                                {"binary", 294, 32},
                                {NULL, 0, 0}});
        official(data, "scan", RD_MINISCAN,
                 (const want[]){{"majority", 0, 0},
                                {"word_by_word", 0, 0},
                                {"words_reversed", 200, 20},
                                {"position", 1000, 100},
                                {NULL, 0, 0}});
    } else {
        skip("no official files");
    }
    return rd_test_end();
}
