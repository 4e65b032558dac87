/* ranks: 1 2 3 4 */
/* Evaluation with a real, tiny model: results do not depend on ranks, slots or blocks, greedy ones
 * not on the grid; a model that says nothing useful keeps every query in the denominator; a request
 * to stop and a failure of one rank are everybody's. */
#include "rd_test.h"
#include "made_tasks.h"
#include "text_model.h"
#include "rd/infer.h"

#include <signal.h>

enum { TASKS = 6 };

static rd_taskset tasks;
static rd_prompts *prompts;
static rd_tok *tok;
static rd_chat *chat;

static void make_tasks(void)
{
    char *texts[TASKS];
    for (int64_t i = 0; i < TASKS; i++) {
        const rd_gen_opts gen = {.family = RD_LIST_FUNCTION, .seed = 2, .holdout = 0};
        rd_buf prompt = {0};
        rd_prompt_propose(prompts, made_add(&tasks, &gen, RD_SPLIT_TEST, i), &prompt);
        texts[i] = rd_buf_take(&prompt);
    }
    tok = text_tok(90, false, TASKS, (const char *const *)texts);
    chat = text_chat(tok);
    for (int64_t i = 0; i < TASKS; i++) rd_free(texts[i]);
}

static rd_model *make_model(const rd_grid *g)
{
    rd_model_config cfg = {.vocab = rd_tok_vocab(tok),
                           .width = 16,
                           .layers = 2,
                           .heads = 2,
                           .kv_heads = 1,
                           .head_size = 8,
                           .ffn = 24,
                           .rope_theta = 1000,
                           .norm_eps = 1e-5,
                           .tied = true};
    return text_model(g, &cfg, false, 5);
}

static int run(const rd_grid *g, const char *name, int64_t slots, int64_t block, bool greedy,
               rd_results *results)
{
    char dir[300];
    rd_eval_opts o;
    rd_model *model = make_model(g);
    snprintf(dir, sizeof dir, "%s/%s", rd_test_dir(), name);
    rd_eval_defaults(&o);
    o.arm = "tiny";
    o.methods = 2 * RD_METHOD_ORACLE_RULE - 1;
    o.n_counts = 2;
    o.counts[1] = 4;
    o.max_rule_tokens = 12;
    o.max_answer_tokens = 8;
    o.max_votes = 5;
    o.block = block;
    if (greedy) o.rule_temperature = o.follow_temperature = o.vote_temperature = 0;
    o.generator = (rd_generator_opts){.slots = slots, .max_len = 700};
    o.dir = dir;
    int rc = rd_eval_run(g, model, chat, prompts, &tasks, 1, &o, results);
    rd_model_free(&model);
    return rc;
}

static bool same(const rd_results *a, const rd_results *b)
{
    bool equal = a->n == b->n && a->n > 0;
    for (int64_t i = 0; equal && i < a->n; i++)
        equal = memcmp(&a->item[i], &b->item[i], sizeof a->item[i]) == 0;
    return equal;
}

/* Every rank of a replica must come to the same decisions, or the next collective call hangs. */
static void test_grid(const rd_results *want, int rows, int cols)
{
    rd_grid *g;
    rd_results got = {0};
    char name[32], site[32];
    if (rd_grid_create(0, rows, cols, &g) != RD_OK || rd_la_attach(g, 1) != RD_OK) rd_die("grid");
    snprintf(name, sizeof name, "%dx%d", rows, cols);
    is_rc(run(g, name, 7, 2, true, &got), RD_OK, name);
    ok(same(want, &got), "the same results as one rank alone");
    rd_results_free(&got);

    snprintf(site, sizeof site, "eval:%d", g->world.size - 1);
    snprintf(name, sizeof name, "failing-%dx%d", rows, cols);
    rd_fault_arm(site);
    is_rc(run(g, name, 7, 2, true, &got), RD_EFAULT, "a fault on the last rank");
    rd_stop_begin(0, NULL);
    if (g->world.rank == g->world.size - 1) raise(SIGTERM);
    int rc = run(g, name, 7, 1, true, &got);
    /* Other replicas may have taken all units before that rank says so. */
    ok(rc == RD_ESTOP || (g->data > 1 && rc == RD_OK), "a signal to the last rank");
    rd_error_clear();
    rd_results_free(&got);
    rd_barrier(&g->world);
    rd_stop_begin(0, NULL);
    is_rc(run(g, name, 7, 1, true, &got), RD_OK, "continued");
    ok(same(want, &got), "to the same results");
    rd_results_free(&got);
    rd_la_detach(g);
    rd_grid_free(&g);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_grid *g, *alone;
    rd_results want = {0}, got = {0};
    char name[32];
    rd_grid_create(0, 1, 1, &g);
    rd_grid_self(&alone);
    rd_prompts_default(&prompts);
    make_tasks();
    snprintf(name, sizeof name, "alone-%d", g->world.rank);
    is_rc(run(alone, name, 256, 8, false, &want), RD_OK, "one rank alone");
    is_i64(want.n, 2 * (2 + 4 * 2), "a line for each method, n and reading");
    bool good = true;
    for (int64_t i = 0; i < want.n; i++) {
        const rd_result *r = &want.item[i];
        good = good && r->problems == TASKS && r->queries == TASKS * tasks.task[0].n_queries;
        good = good && (r->tokens_per_query > 0) == (strcmp(r->method, "random_rules") != 0);
    }
    ok(good, "every query is in every line");
    is_rc(run(g, "together", 256, 2, false, &got), RD_OK, "all ranks, other blocks");
    ok(same(&want, &got), "the same results");
    rd_results_free(&got);
    is_rc(run(g, "slots", 5, 1, false, &got), RD_OK, "few slots");
    ok(same(&want, &got), "the same results");
    rd_results_free(&got);
    rd_results_free(&want);

    snprintf(name, sizeof name, "greedy-%d", g->world.rank);
    is_rc(run(alone, name, 256, 8, true, &want), RD_OK, "one rank alone, greedy");
    for (int rows = 1; rows <= g->world.size; rows++)
        for (int cols = 1; rows * cols <= g->world.size; cols++)
            if (g->world.size % (rows * cols) == 0) test_grid(&want, rows, cols);
    rd_results_free(&want);
    rd_taskset_free(&tasks);
    rd_prompts_free(&prompts);
    rd_chat_free(&chat);
    rd_tok_free(&tok);
    rd_grid_free(&alone);
    rd_grid_free(&g);
    return rd_test_end();
}
