/* ranks: 1 2 4 */
/* Augment: the same traces.h5 on any number of ranks, after a fault, from a journal, after a stop.
 */
#include "rd_test.h"
#include "augment_runs.h"
#include "made_tasks.h"

#include <inttypes.h>

enum { TASKS = 12 }; /* per family */

static rd_prompts *prompts;
static rd_taskset tasks;
static int64_t rules_per_task[2] = {10, 4};
static rd_teacher_opts teacher_opts;

static int run(const rd_grid *g, const char *dir, double temperature, rd_augment_report *report)
{
    rd_augment_opts o = {.hypotheses = rules_per_task,
                         .rule_temperature = temperature,
                         .follow_temperature = 0.7,
                         .queries = true,
                         .dir = dir};
    return augment_run(g, &teacher_opts, prompts, &tasks, &o, report);
}

static void check_report(const rd_augment_report *r)
{
    int64_t applications = 0;
    for (int64_t i = 0; i < tasks.n; i++)
        applications += rules_per_task[tasks.task[i].source] *
                        (tasks.task[i].n_demos + tasks.task[i].n_queries);
    is_i64(r->tasks, tasks.n, "tasks");
    is_i64(r->hypotheses, 2 * TASKS * (rules_per_task[0] + rules_per_task[1]),
           "rules of each source");
    is_i64(r->applications, applications, "every rule on every example");
    for (int f = 0; f < RD_FAMILIES; f++)
        ok(r->tasks_of[f] == TASKS && r->solved[f] > 0 && r->solved[f] <= TASKS,
           "%s: %" PRId64 " of %d solved", rd_family_name((rd_family)f), r->solved[f], TASKS);
    ok(r->tokens_in > r->applications && r->tokens_out > r->applications / 2, "tokens are counted");
    ok(r->unanswered > 0 && r->unanswered < r->applications / 4, "some answers cannot be read");
}

static void subdir(char *out, size_t n, const char *name)
{
    snprintf(out, n, "%s/%s", rd_test_dir(), name);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_grid *g = NULL, *self;
    rd_augment_report report, again;
    char dir[300], name[64], stop[330];
    rd_grid_create(0, 1, 1, &g);
    rd_grid_self(&self);
    rd_prompts_default(&prompts);
    rd_teacher_defaults(&teacher_opts);
    teacher_opts.format_noise = 0.2;
    for (int f = 0; f < RD_FAMILIES; f++) teacher_opts.skill_a[f] = 3, teacher_opts.skill_b[f] = 0;
    teacher_opts.use_known_rule = true; /* no search: the stage is under test, not the DSL */
    made_alternate(&tasks, (rd_gen_opts){.seed = 5, .n_train = TASKS}, RD_SPLIT_TRAIN, TASKS, 0,
                   NULL);
    for (int64_t i = 0; i < tasks.n; i++) tasks.task[i].source = i % RD_FAMILIES % 2;

    snprintf(name, sizeof name, "alone-%d", g->world.rank);
    subdir(dir, sizeof dir, name);
    is_rc(run(self, dir, 1.0, &report), RD_OK, "one rank alone");
    uint64_t want = traces_hash(dir);

    subdir(dir, sizeof dir, "together");
    is_rc(run(g, dir, 1.0, &report), RD_OK, "all ranks together");
    check_report(&report);
    ok(traces_hash(dir) == want, "the same file as one rank alone");
    is_rc(run(g, dir, 1.0, &again), RD_OK, "once more");
    ok(memcmp(&report, &again, sizeof report) == 0, "finds itself done with the same report");

    rd_grid *replica = NULL;
    is_rc(rd_grid_create(1, g->world.size, 1, &replica), RD_OK, "a grid of one replica");
    subdir(dir, sizeof dir, "replica");
    is_rc(run(replica, dir, 1.0, &again), RD_OK, "all ranks side by side");
    ok(traces_hash(dir) == want, "the same file as one rank alone");
    rd_grid_free(&replica);
    subdir(dir, sizeof dir, "together");

    snprintf(name, sizeof name, "augment:%d", g->world.size - 1);
    rd_fault_arm(name);
    is_rc(run(g, dir, 0.5, &again), RD_EFAULT, "a fault on one rank is everybody's");
    ok(traces_hash(dir) == want, "the older traces.h5 is untouched");

    subdir(dir, sizeof dir, "interrupted");
    subdir(stop, sizeof stop, "stop");
    if (g->world.rank == 0) rd_file_write_atomic(stop, "", 0);
    rd_barrier(&g->world);
    rd_stop_begin(0, stop);
    is_rc(run(g, dir, 1.0, &again), RD_ESTOP, "a stop request");
    rd_barrier(&g->world);
    rd_stop_begin(0, NULL);
    rd_fault_arm(name);
    is_rc(run(g, dir, 1.0, &again), RD_EFAULT, "a fault after the first units");
    ok(traces_hash(dir) == 0, "no traces.h5 yet");
    is_rc(run(g, dir, 1.0, &again), RD_OK, "continues from the journal");
    ok(traces_hash(dir) == want, "and ends with the same file");
    ok(memcmp(&report, &again, sizeof report) == 0, "and the same report");

    rd_taskset_free(&tasks);
    rd_prompts_free(&prompts);
    rd_grid_free(&self);
    rd_grid_free(&g);
    return rd_test_end();
}
