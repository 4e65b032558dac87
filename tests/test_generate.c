/* ranks: 1 */
/* Generated tasks of every family: reproducible, well-formed, explained by their rule, on their
 * side of the split. */
#include "rd_test.h"
#include "made_tasks.h"

enum { TASKS = 12 };

static void family(rd_family f, int difficulty)
{
    rd_gen_opts o = {.family = f, .difficulty = difficulty, .seed = 11, .holdout = 0.3};
    bool found = true, repeats = true, differ = false, right = true, sides = true, tidy = true;
    rd_task first = {0};
    for (int i = 0; i < TASKS; i++) {
        rd_split split = i % 2 ? RD_SPLIT_TEST : RD_SPLIT_TRAIN;
        rd_task t, again;
        if (rd_task_generate(&o, split, i, &t) != RD_OK) {
            found = false;
            diag("%s", rd_error_get()->message);
            rd_error_clear();
            continue;
        }
        if (rd_task_generate(&o, split, i, &again) != RD_OK) rd_error_clear();
        repeats &= made_same(&t, &again);
        right &= made_explained(&t);
        sides &= t.rule_class && rd_task_class_split(o.seed, o.holdout, t.rule_class) == split;
        tidy &= t.rule && strlen(t.rule) < 400 && !strpbrk(t.rule, "[]") &&
                t.rule[strlen(t.rule) - 1] == '.' && !strstr(t.rule, "Input:");
        rd_task_free(&again);
        if (i == 0) {
            first = t;
            continue;
        }
        differ |= !made_same(&first, &t);
        rd_task_free(&t);
    }
    rd_task_free(&first);
    ok(found, "%s %d: tasks are found", rd_family_name(f), difficulty);
    ok(repeats, "%s %d: the same again", rd_family_name(f), difficulty);
    ok(differ, "%s %d: not always the same", rd_family_name(f), difficulty);
    ok(right, "%s %d: the rule explains every example", rd_family_name(f), difficulty);
    ok(sides, "%s %d: classes on their side", rd_family_name(f), difficulty);
    ok(tidy, "%s %d: the rule's text is as promised", rd_family_name(f), difficulty);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    for (int f = 0; f < RD_FAMILIES; f++)
        for (int d = 0; d <= 3; d++) family((rd_family)f, d);

    rd_gen_opts o = {.family = RD_ACRE, .difficulty = 1, .n_demos = 2};
    rd_task t;
    int rc = rd_task_generate(&o, RD_SPLIT_TRAIN, 0, &t);
    ok(rc == RD_EINPUT && strstr(rd_error_get()->message, "acre"), "impossible: %s",
       rd_error_get()->message);
    rd_error_clear();
    o.difficulty = 4;
    is_rc(rd_task_generate(&o, RD_SPLIT_TRAIN, 0, &t), RD_EINPUT, "no such difficulty");

    o = (rd_gen_opts){.family = RD_MINISCAN, .difficulty = 3, .seed = 2, .identifiable = true};
    is_rc(rd_task_generate(&o, RD_SPLIT_TRAIN, 0, &t), RD_OK, "an identifiable task");
    rd_task_free(&t);
    return rd_test_end();
}
