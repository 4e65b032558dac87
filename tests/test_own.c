/* ranks: 1 */
/* Which training tasks a student proposes rules for. */
#include "rd_test.h"

#include "cli/job.h"

enum { TASKS = 90 };

static rd_taskset tasks;
static bool chosen[TASKS];

/* 40 of source 0 (List Function), 20 of source 1 (ACRE), 20 of source 2 (1D-ARC, not trained on),
 * and 10 test tasks of List Function. */
static void make_tasks(void)
{
    for (int i = 0; i < TASKS; i++) {
        rd_task t = {.id = i, .split = i < 80 ? RD_SPLIT_TRAIN : RD_SPLIT_TEST};
        t.source = i < 40 || i >= 80 ? 0 : i < 60 ? 1 : 2;
        t.family = t.source == 0 ? RD_LIST_FUNCTION : t.source == 1 ? RD_ACRE : RD_ARC1D;
        rd_taskset_add_take(&tasks, &t);
    }
}

static int64_t count(int from, int to)
{
    int64_t n = 0;
    for (int i = from; i < to; i++) n += chosen[i];
    return n;
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    const bool used[CONFIG_MAX_TASKS] = {true, true, false};
    const bool both[RD_FAMILIES] = {true, true, true, true};
    const bool one[RD_FAMILIES] = {[RD_ACRE] = true};
    make_tasks();
    own_choose(&tasks, used, both, 10, chosen);
    is_i64(count(0, 40), 5, "half of ten are of one family");
    is_i64(count(40, 60), 5, "half of the other");
    is_i64(count(60, TASKS), 0, "none is of a source that is not trained on, or for testing");
    is_i64(10 * count(0, 20) + count(20, 40), 23, "evenly spread over the family's tasks");
    own_choose(&tasks, used, both, 50, chosen);
    is_i64(count(40, 60), 20, "a family with fewer than its share gives all");
    is_i64(count(0, 40), 30, "and the other the rest");
    own_choose(&tasks, used, both, 1000, chosen);
    is_i64(count(0, TASKS), 60, "no more than there are");
    own_choose(&tasks, used, both, 0, chosen);
    is_i64(count(0, TASKS), 60, "without a limit all");
    own_choose(&tasks, used, one, 8, chosen);
    is_i64(count(40, 60), 8, "of the families that are trained on");
    is_i64(count(0, TASKS), 8, "alone");
    rd_taskset_free(&tasks);
    return rd_test_end();
}
