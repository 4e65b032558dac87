/* ranks: 1 2 4 */
/* The model as a teacher: what it says is what the generator samples for the same prompts; the same
 * traces on any number of ranks; rules that do not come; stopping. */
#include "rd_test.h"
#include "augment_runs.h"
#include "made_tasks.h"
#include "text_model.h"

#include <signal.h>

enum { TASKS = 5, RULES = 7, FAMILIES = 2 };

static rd_prompts *prompts;
static rd_tok *tok;
static rd_chat *chat;
static rd_taskset tasks;
static int64_t rules_per_task[1] = {RULES};
static int loads;

/* Short prompts, so that a tiny model's short context holds them. */
static void make_prompts(void)
{
    static const char family[] =
        "{\"values\": \"plain\", \"steps\": \"plain\", \"example\": \"{input} : {output}\\n\", "
        "\"propose\": \"{examples}\\n\", \"follow\": \"{rule}\\n{input} :\", "
        "\"io\": \"{examples}{input} :\", \"rule\": \"{rule}\", \"answer\": \"{answer}\", "
        "\"step\": \"{step}\", \"separator\": \" ; \"}";
    char path[400];
    rd_buf text = {0};
    rd_buf_putc(&text, '{');
    for (int f = 0; f < RD_FAMILIES; f++)
        rd_buf_printf(&text, "%s\"%s\": %s", f ? ", " : "", rd_family_name((rd_family)f), family);
    rd_buf_putc(&text, '}');
    snprintf(path, sizeof path, "%s/prompts.json", rd_test_dir());
    if (rd_test_world.rank == 0)
        RD_ASSERT(rd_file_write_atomic(path, text.data, text.len) == RD_OK);
    rd_barrier(&rd_test_world);
    RD_ASSERT(rd_prompts_load(path, &prompts) == RD_OK);
    rd_buf_free(&text);
}

static int load(void *context, const rd_model **model)
{
    loads++;
    *model = context;
    return RD_OK;
}

static rd_teacher_opts options(rd_model *model, int64_t slots)
{
    rd_teacher_opts o;
    rd_teacher_defaults(&o);
    o.kind = "model";
    o.model = (rd_model_teacher_opts){.load = load,
                                      .context = model,
                                      .identity = 99,
                                      .chat = chat,
                                      .max_tokens = 12,
                                      .generator = {slots, 700}};
    return o;
}

static int augment(const rd_grid *g, rd_model *model, int64_t slots, const char *dir,
                   rd_augment_report *report)
{
    rd_teacher_opts to = options(model, slots);
    rd_augment_opts o = {
        .hypotheses = rules_per_task, .rule_temperature = 1, .follow_temperature = 0.7, .dir = dir};
    return augment_run(g, &to, prompts, &tasks, &o, report);
}

/* Jobs one by one: what comes is what the generator gives for the same prompt. */
static void test_jobs(const rd_grid *g, rd_model *model)
{
    rd_teacher *teacher = NULL;
    rd_teacher_opts o = options(model, 8);
    rd_proposal p[3] = {{0}}, q[2] = {{0}};
    char dir[300];
    snprintf(dir, sizeof dir, "%s/jobs-%d", rd_test_dir(), rd_test_world.rank);
    is_rc(rd_teacher_create(&o, prompts, NULL, &teacher), RD_OK, "a teacher");
    is_rc(rd_teacher_open(teacher, g, dir), RD_OK, "opens");
    is_i64(loads, 1, "which loads the model");
    is_rc(rd_teacher_propose(teacher, &tasks.task[0], 3, 1, p), RD_OK, "three rules");
    is_rc(rd_teacher_propose(teacher, &tasks.task[0], 2, 1, q), RD_OK, "two rules");
    ok(strcmp(p[0].rule, q[0].rule) == 0 && strcmp(p[1].rule, q[1].rule) == 0,
       "the first two of three");
    ok(p[0].tokens_in > 10 && p[1].tokens_in == 0 && p[1].tokens_out > 0, "the prompt counts once");
    rd_application a[3] = {{.rule = "the list", .input = "[3, 1]", .key = 7},
                           {.rule = "", .input = "[3, 1]", .key = 8},
                           {.rule = "the list", .input = "[3, 1]", .key = 7}};
    is_rc(rd_teacher_apply(teacher, RD_LIST_FUNCTION, 3, 0.7, a), RD_OK, "applications");
    ok(*a[1].response == '\0' && a[1].tokens_in == 0, "no rule, no answer");
    ok(strcmp(a[0].response, a[2].response) == 0, "one key, one answer");
    rd_generator *gen = NULL;
    const uint64_t stream = rd_hash_str("apply", o.seed);
    rd_gen_request r = {.prompt = "the list\n3 1 :",
                        .key = rd_hash(&a[0].key, sizeof a[0].key, stream),
                        .temperature = 0.7,
                        .max_new = 12};
    RD_ASSERT(rd_generator_create(model, chat, &o.model.generator, &gen) == RD_OK);
    is_rc(rd_generate(gen, 1, &r), RD_OK, "the generator itself");
    is_str(a[0].response, r.text, "says the same");
    is_i64(a[0].tokens_in, r.tokens_in, "with as many tokens");
    rd_generator_free(&gen);
    rd_free(r.text);
    for (int i = 0; i < 3; i++) rd_free(p[i].rule), rd_free(a[i].response);
    for (int i = 0; i < 2; i++) rd_free(q[i].rule);
    /* Jobs that nobody waits for. */
    rd_application lost = {.rule = "the list", .input = "[3]", .key = 1};
    is_rc(rd_teacher_apply_start(teacher, RD_LIST_FUNCTION, 1, 0.7, &lost, &lost), RD_OK,
          "a job that is left behind");
    void *tag = NULL;
    rd_stop_begin(0, NULL);
    raise(SIGTERM);
    is_rc(rd_teacher_next(teacher, &tag), RD_ESTOP, "because of a stop");
    rd_stop_begin(0, NULL);
    rd_teacher_close(teacher);
    ok(lost.response == NULL, "is not touched");
    rd_teacher_free(&teacher);
}

/* The model proposes, the interpreter follows. */
static void test_interpreter(const rd_grid *g, rd_model *model)
{
    rd_teacher *teacher = NULL, *plain = NULL;
    rd_teacher_opts o = options(model, 8);
    rd_task t = tasks.task[0];
    rd_proposal p = {0};
    rd_rule *rule = NULL;
    rd_buf text = {0}, read = {0};
    char dir[300];
    snprintf(dir, sizeof dir, "%s/exact-%d", rd_test_dir(), rd_test_world.rank);
    is_rc(rd_teacher_create(&o, prompts, NULL, &plain), RD_OK, "a teacher that follows itself");
    o.model.interpreter = true;
    is_rc(rd_teacher_create(&o, prompts, NULL, &teacher), RD_OK, "one that does not");
    ok(rd_teacher_key(plain) != rd_teacher_key(teacher), "has another key");
    is_rc(rd_teacher_open(teacher, g, dir), RD_OK, "opens");
    is_rc(rd_teacher_propose(teacher, &t, 1, 1, &p), RD_OK, "proposes");
    RD_ASSERT(t.rule && (rule = rd_rule_parse(RD_LIST_FUNCTION, t.rule)) != NULL);
    rd_rule_print(RD_LIST_FUNCTION, rule, 3, &text);
    rd_application a[4] = {{.rule = text.data, .input = t.examples[0].input, .key = 1},
                           {.rule = "the list", .input = "[3, 1]", .key = 2},
                           {.rule = "", .input = "[3, 1]", .key = 3},
                           {.rule = text.data, .input = t.examples[1].input, .key = 4}};
    is_rc(rd_teacher_apply(teacher, RD_LIST_FUNCTION, 4, 0.7, a), RD_OK, "and follows");
    for (int i = 0; i < 4; i += 3) {
        rd_buf_clear(&read);
        ok(rd_answer_read(prompts, RD_LIST_FUNCTION, a[i].response, true, &read) &&
               strcmp(read.data, t.examples[i ? 1 : 0].output) == 0,
           "the true rule gives the gold output: %s", a[i].response);
    }
    ok(!*a[1].response && !*a[2].response, "what is no rule gives nothing");
    ok(a[0].tokens_in == 0 && a[0].tokens_out == 0, "no tokens are spent");
    for (int i = 0; i < 4; i++) rd_free(a[i].response);
    rd_free(p.rule);
    rd_rule_free(RD_LIST_FUNCTION, &rule);
    rd_teacher_close(teacher);
    rd_teacher_free(&teacher);
    rd_teacher_free(&plain);
    rd_buf_free(&text);
    rd_buf_free(&read);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    static const rd_family family[FAMILIES] = {RD_LIST_FUNCTION, RD_MINISCAN};
    static const char *const texts[] = {"3 1 4 : 1 4\n", "dax wif : RED BLUE\n",
                                        "the list of each"};
    rd_grid *g = NULL, *self, *replica = NULL;
    rd_augment_report report, again;
    char dir[300];
    rd_grid_create(0, 1, 1, &g);
    rd_la_attach(g, 1);
    rd_grid_self(&self);
    make_prompts();
    made_alternate(&tasks, (rd_gen_opts){.seed = 5, .n_train = TASKS}, RD_SPLIT_TRAIN, TASKS,
                   FAMILIES, family);
    tok = text_tok(300, true, 3, texts);
    chat = text_chat(tok);
    rd_model_config cfg = text_config(tok);
    rd_model *own = text_model(self, &cfg, false, 17), *together = text_model(g, &cfg, false, 17);
    test_jobs(self, own);
    test_interpreter(self, own);

    snprintf(dir, sizeof dir, "%s/alone-%d", rd_test_dir(), g->world.rank);
    is_rc(augment(self, own, 64, dir, &report), RD_OK, "one rank alone");
    const uint64_t want = traces_hash(dir);
    is_i64(report.hypotheses, TASKS * FAMILIES * RULES, "all rules");
    snprintf(dir, sizeof dir, "%s/together", rd_test_dir());
    is_rc(augment(g, together, 3, dir, &again), RD_OK, "all ranks, other slots");
    ok(want != 0 && traces_hash(dir) == want, "say the same");
    ok(memcmp(&report, &again, sizeof report) == 0, "and report the same");
    const int before = loads;
    is_rc(augment(g, together, 3, dir, &again), RD_OK, "once more");
    is_i64(loads, before, "a finished stage loads no model");

    is_rc(rd_grid_create(1, g->world.size, 1, &replica), RD_OK, "a grid of one replica");
    rd_la_attach(replica, 1);
    rd_model *spread = text_model(replica, &cfg, false, 17);
    snprintf(dir, sizeof dir, "%s/replica", rd_test_dir());
    is_rc(augment(replica, spread, 16, dir, &again), RD_OK, "all ranks side by side");
    is_i64(again.applications, report.applications, "ask for as much");
    rd_model_free(&spread);

    rd_model_free(&own);
    rd_model_free(&together);
    rd_chat_free(&chat);
    rd_tok_free(&tok);
    rd_taskset_free(&tasks);
    rd_prompts_free(&prompts);
    rd_la_detach(replica);
    rd_grid_free(&replica);
    rd_la_detach(g);
    rd_grid_free(&g);
    rd_grid_free(&self);
    return rd_test_end();
}
