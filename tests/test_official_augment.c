/* ranks: 2 */
/* The four official files through augment and filter at 50 rules per task; seconds are printed. */
#include "rd_test.h"
#include "rd/distill.h"

#include <inttypes.h>

static int load(const char *dir, rd_taskset *tasks)
{
    static const char file[RD_FAMILIES][16] = {[RD_LIST_FUNCTION] = "list_function",
                                               [RD_ARC1D] = "1D_arc",
                                               [RD_ACRE] = "acre",
                                               [RD_MINISCAN] = "scan"};
    int rc = RD_OK;
    for (int f = 0; f < RD_FAMILIES && rc == RD_OK; f++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s.jsonl", dir, file[f]);
        rc = rd_task_load(path, (rd_family)f, tasks);
    }
    return rc;
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    const char *data = rd_test_data();
    if (!data) {
        skip("no official data");
        return rd_test_end();
    }
    rd_grid *g = NULL;
    rd_prompts *prompts = NULL;
    rd_teacher *teacher = NULL;
    rd_teacher_opts to;
    rd_taskset tasks = {0};
    rd_augment_report a;
    rd_filter_report r;
    rd_grid_create(0, 1, 1, &g);
    rd_prompts_default(&prompts);
    rd_teacher_defaults(&to);
    is_rc(load(data, &tasks), RD_OK, "the official files");
    is_rc(rd_teacher_create(&to, prompts, NULL, &teacher), RD_OK, "teacher");
    const int64_t hypotheses[1] = {50};
    rd_augment_opts ao = {.hypotheses = hypotheses,
                          .rule_temperature = 1.0,
                          .follow_temperature = 0.7,
                          .dir = rd_test_dir()};
    double start = rd_time();
    is_rc(rd_augment_run(g, teacher, prompts, &tasks, &ao, &a), RD_OK, "augment");
    double augmented = rd_time();
    diag("augment: %.1f s, %" PRId64 " applications, %" PRId64 " without an answer",
         augmented - start, a.applications, a.unanswered);
    is_i64(a.tasks, 1351, "tasks");
    is_i64(a.hypotheses, 1351 * 50, "rules");
    is_i64(a.applications, 50 * (250 * 8 + 901 * 3 + 100 * 6 + 100 * 14), "applications");
    rd_filter_opts fo;
    rd_filter_defaults(&fo);
    fo.dir = rd_test_dir();
    is_rc(rd_filter_run(g, prompts, &fo, &r), RD_OK, "filter");
    diag("filter: %.1f s", rd_time() - augmented);
    is_i64(r.tasks, 1351, "tasks filtered");
    for (int f = 0; f < RD_FAMILIES; f++) {
        int64_t n = 0;
        for (int s = 0; s < RD_HIST; s++) n += r.histogram[f][s];
        is_i64(n, a.tasks_of[f] * 50, "every rule is in the histogram");
        ok(r.pairs[f] > 0 && r.rows[RD_ROW_GENERATE][f] > 0, "%s: rows and pairs",
           rd_family_name((rd_family)f));
        diag("%s: %" PRId64 "/%" PRId64 " solved, rows %" PRId64 " %" PRId64 " %" PRId64
             ", pairs %" PRId64 ", length r %.3f",
             rd_family_name((rd_family)f), a.solved[f], a.tasks_of[f], r.rows[0][f], r.rows[1][f],
             r.rows[2][f], r.pairs[f], r.length_quality[f]);
        rd_buf line = {0};
        for (int s = 0; s < 15; s++) rd_buf_printf(&line, " %" PRId64, r.histogram[f][s]);
        diag("  scores:%s", line.data);
        rd_buf_free(&line);
    }
    diag("duplicates %" PRId64 ", identical pairs %" PRId64 ", low score %" PRId64, r.duplicates,
         r.identical_pairs, r.low_score);
    const rd_clock *clock = NULL;
    int n_clocks = rd_clock_list(&clock);
    for (int i = 0; i < n_clocks; i++) diag("%s %.2f s", clock[i].section, clock[i].seconds);
    rd_teacher_free(&teacher);
    rd_taskset_free(&tasks);
    rd_prompts_free(&prompts);
    rd_grid_free(&g);
    return rd_test_end();
}
