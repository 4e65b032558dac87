/* ranks: 1 */
/* The official split needs no data: heads of the published held-out lists.  The class split. */
#include "rd_test.h"
#include "rd/task.h"

static void heads(int64_t n, int64_t n_test, int n_heads, const int64_t *want)
{
    int64_t test[128], got = 0;
    rd_task_official_split(n, test, &got);
    is_i64(got, n_test, "size of the held-out part");
    bool same = true;
    for (int k = 0; k < n_heads; k++) same &= test[k] == want[k];
    ok(same, "head of the split of %d: %d %d %d", (int)n, (int)test[0], (int)test[1], (int)test[2]);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    heads(250, 25, 6, (int64_t[]){107, 11, 92, 190, 63, 19});
    heads(901, 91, 6, (int64_t[]){791, 794, 115, 818, 615, 383});
    heads(100, 10, 10, (int64_t[]){35, 62, 59, 26, 1, 99, 61, 54, 4, 73});
    int64_t one[1], n = 0;
    rd_task_official_split(1, one, &n);
    is_i64(n, 1, "a single task is held out");
    int held = 0;
    for (int k = 0; k < 4000; k++) {
        char name[32];
        snprintf(name, sizeof name, "class %d", k);
        held += rd_task_class_split(5, 0.25, name) == RD_SPLIT_TEST;
    }
    ok(held > 900 && held < 1100, "a quarter of 4000 classes is held out: %d", held);
    ok(rd_task_class_split(5, 0, "x") == RD_SPLIT_TRAIN, "none at 0");
    ok(rd_task_class_split(5, 1, "x") == RD_SPLIT_TEST, "all at 1");
    return rd_test_end();
}
