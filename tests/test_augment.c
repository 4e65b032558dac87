/* ranks: 1 2 4 */
/* Augment: the same traces.h5 on any number of ranks, after a fault, from a journal, after a stop.
 */
#include "rd_test.h"
#include "distill/traces.h"

#include <inttypes.h>

enum { TASKS = 12 }; /* per family */

static rd_prompts *prompts;
static rd_taskset tasks;
static int64_t rules_per_task[2] = {10, 4};
static rd_teacher_opts teacher_opts;

/* The families alternate, so that every rank meets texts that other ranks meet too. */
static void make_tasks(void)
{
    for (int64_t i = 0; i < TASKS * RD_FAMILIES; i++) {
        int f = (int)(i % RD_FAMILIES);
        rd_gen_opts gen = {.family = (rd_family)f, .seed = 5, .n_train = TASKS};
        rd_task t = {0};
        if (rd_task_generate(&gen, RD_SPLIT_TRAIN, i / RD_FAMILIES, &t) != RD_OK) rd_die("no task");
        t.source = f % 2;
        rd_taskset_add_take(&tasks, &t);
    }
}

/* One rank as a grid of its own: the reference that other rank counts must reproduce. */
static rd_grid alone(void)
{
    rd_comm self = rd_comm_self();
    return (rd_grid){.data = 1,
                     .rows = 1,
                     .cols = 1,
                     .world = self,
                     .replicas = self,
                     .tp = self,
                     .over_rows = self,
                     .over_cols = self,
                     .blacs_context = -1};
}

static uint64_t hash_table(rd_store *s, table *t, uint64_t h)
{
    int64_t n = 0;
    RD_ASSERT(table_count(t, s, &n) == RD_OK && table_read(t, s, 0, n) == RD_OK);
    for (int c = 0; c < t->n_columns; c++) h = rd_hash(t->data[c], (size_t)n * sizeof(cell), h);
    return h;
}

/* Everything that the file holds, decoded; 0 when there is no file. */
static uint64_t contents(const char *dir)
{
    rd_comm self = rd_comm_self();
    rd_buf path = {0};
    rd_store *s = NULL;
    rd_pool text = {0};
    traces t;
    int64_t n = 0;
    uint64_t h = 0;
    traces_init(&t);
    rd_buf_printf(&path, "%s/traces.h5", dir);
    if (rd_file_exists(path.data)) {
        RD_ASSERT(rd_store_open(&self, path.data, TRACES_SCHEMA, 1, &s) == RD_OK);
        RD_ASSERT(rd_store_text_count(s, &n) == RD_OK);
        RD_ASSERT(rd_store_read_text(s, 0, n, &text) == RD_OK);
        h = rd_hash(text.bytes.data, text.bytes.len, 1);
        h = hash_table(s, &t.task, h);
        h = hash_table(s, &t.example, h);
        h = hash_table(s, &t.hypothesis, h);
        h = hash_table(s, &t.application, h);
        rd_store_close(&s);
    }
    rd_pool_free(&text);
    traces_free(&t);
    rd_buf_free(&path);
    return h;
}

/* One run of the stage with a teacher of its own, as another process would have. */
static int run(const rd_grid *g, const char *dir, double temperature, rd_augment_report *report)
{
    rd_teacher *teacher = NULL;
    rd_augment_opts o = {.hypotheses = rules_per_task,
                         .rule_temperature = temperature,
                         .follow_temperature = 0.7,
                         .queries = true,
                         .dir = dir};
    int rc = rd_teacher_create(&teacher_opts, prompts, NULL, &teacher);
    if (rc == RD_OK) rc = rd_augment_run(g, teacher, prompts, &tasks, &o, report);
    rd_teacher_free(&teacher);
    return rc;
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
    rd_grid *g = NULL;
    rd_augment_report report, again;
    char dir[300], name[64], stop[330];
    rd_grid_create(0, 1, 1, &g);
    rd_prompts_default(&prompts);
    rd_teacher_defaults(&teacher_opts);
    teacher_opts.format_noise = 0.2;
    for (int f = 0; f < RD_FAMILIES; f++) teacher_opts.skill_a[f] = 3, teacher_opts.skill_b[f] = 0;
    teacher_opts.use_known_rule = true; /* no search: the stage is under test, not the DSL */
    make_tasks();

    rd_grid self = alone();
    snprintf(name, sizeof name, "alone-%d", g->world.rank);
    subdir(dir, sizeof dir, name);
    is_rc(run(&self, dir, 1.0, &report), RD_OK, "one rank alone");
    uint64_t want = contents(dir);

    subdir(dir, sizeof dir, "together");
    is_rc(run(g, dir, 1.0, &report), RD_OK, "all ranks together");
    check_report(&report);
    ok(contents(dir) == want, "the same file as one rank alone");
    is_rc(run(g, dir, 1.0, &again), RD_OK, "once more");
    ok(memcmp(&report, &again, sizeof report) == 0, "finds itself done with the same report");

    rd_grid *replica = NULL;
    is_rc(rd_grid_create(1, g->world.size, 1, &replica), RD_OK, "a grid of one replica");
    subdir(dir, sizeof dir, "replica");
    is_rc(run(replica, dir, 1.0, &again), RD_OK, "all ranks side by side");
    ok(contents(dir) == want, "the same file as one rank alone");
    rd_grid_free(&replica);
    subdir(dir, sizeof dir, "together");

    snprintf(name, sizeof name, "augment:%d", g->world.size - 1);
    rd_fault_arm(name);
    is_rc(run(g, dir, 0.5, &again), RD_EFAULT, "a fault on one rank is everybody's");
    ok(contents(dir) == want, "the older traces.h5 is untouched");

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
    ok(contents(dir) == 0, "no traces.h5 yet");
    is_rc(run(g, dir, 1.0, &again), RD_OK, "continues from the journal");
    ok(contents(dir) == want, "and ends with the same file");
    ok(memcmp(&report, &again, sizeof report) == 0, "and the same report");

    rd_taskset_free(&tasks);
    rd_prompts_free(&prompts);
    rd_grid_free(&g);
    return rd_test_end();
}
