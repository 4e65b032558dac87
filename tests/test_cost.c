/* ranks: 1 */
/* The cost model on paper: words and messages of small cases by hand, flops against the formula of
 * the model, memory against models that exist, the choice of a grid, machine files. */
#include "rd_test.h"

#include "cli/cost.h"

static cost_case small(int data, int rows, int cols)
{
    cost_case c = {.model = {.vocab = 512,
                             .width = 128,
                             .layers = 2,
                             .heads = 4,
                             .kv_heads = 2,
                             .ffn = 256,
                             .rope_theta = 1e4,
                             .norm_eps = 1e-5},
                   .row = 64,
                   .target_share = 1,
                   .data = data,
                   .rows = rows,
                   .cols = cols};
    rd_train_defaults(&c.train);
    c.train.optim.kind = "adamw";
    c.train.batch_tokens = 2048;
    c.train.micro_tokens = 512;
    c.train.max_len = 128;
    c.train.tokens = 204800;
    rd_model_config_check(&c.model);
    return c;
}

static cost_plan plan(const cost_case *c, const cost_machine *m)
{
    cost_plan p;
    if (cost_plan_make(c, m, &p) != RD_OK) rd_die("%s", rd_error_get()->message);
    return p;
}

/* ---------------------------------------------------------------- by hand */

static void test_messages(void)
{
    cost_messages m = cost_of_sum(4, 1e6);
    ok(m.messages == 4 && m.words == 1.5e6, "a long sum over 4: 2 log 4 messages, 2 n 3/4 words");
    m = cost_of_sum(8, 100);
    ok(m.messages == 3 && m.words == 300, "a short one over 8: three times all");
    m = cost_of_flow(4, 1 << 20);
    ok(m.messages == 8 && m.words == 3 << 18, "a flow over 4: 4 buckets, n 3/4 words");
    m = cost_of_shares(3, 900);
    ok(m.messages == 2 && m.words == 600, "an exchange of three");
    m = cost_of_sum(1, 1e6);
    ok(m.messages == 0 && m.words == 0, "nothing to say to oneself");
    cost_product p = cost_of_product(10, 20, 30);
    ok(p.flops == 12000 && p.touches == 300 + 600 + 400 && p.calls == 1, "a product");
}

/* Weights q 128 x 128, k and v 128 x 64, o 128 x 128, gate, up, down 128 x 256: in x out. */
static void test_words(void)
{
    cost_machine m;
    cost_machine_default(&m);
    cost_case c = small(1, 1, 2);
    cost_plan p = plan(&c, &m);
    double weights = 2 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 256), micros = 4;
    near_f64(p.part[COST_LINEAR].words, micros * 3 * weights / 2, 1e-9,
             "two grid columns: half of every weight, three times a micro-batch");
    near_f64(p.part[COST_EMBEDDING].words, micros * 2 * 256 * 128 / 2, 1e-9,
             "and half of its tokens' columns of the embedding, to and fro");
    ok(p.part[COST_GRADIENTS].words == 0, "one replica has nothing to sum");

    c.model.qkv_bias = true;
    cost_plan biased = plan(&c, &m);
    double biases = 2 * (128 + 64 + 64);
    near_f64(biased.part[COST_PASSES].words - p.part[COST_PASSES].words, micros * 2 * biases, 1e-9,
             "biases go to the other column, and their gradients come back");
    near_f64(biased.memory.weights - p.memory.weights, 4 * biases, 1e-9, "and lie on one");
    c.model.qkv_bias = false;

    ok(p.memory.panels > 4e6, "room for panels: %.1f MB", p.memory.panels * 1e-6);
    c.pblas = true;
    cost_plan without = plan(&c, &m);
    near_f64(without.memory.total, p.memory.total - p.memory.panels, 1e-9, "none with PBLAS alone");

    c = small(1, 2, 1);
    p = plan(&c, &m);
    double outputs = 2 * (2 * (128 + 64 + 64 + 128 + 256 + 256) + 3 * 128) * 512;
    near_f64(p.part[COST_LINEAR].words, micros * outputs / 2, 1e-9,
             "two grid rows: half of every output's activations, twice, down's three times");
    /* A piece of 128 tokens at a time: logits and their gradients, 512 words of each token halved;
     * then log-probabilities in float64, in short sums of 1,024. */
    near_f64(p.part[COST_HEAD].words, micros * (2 * 512 * 512 / 2 + 1024), 1e-9,
             "and logits, never the head's matrix");
    /* Four norms a layer, 512 sums in float64: a short sum is said once for each level. */
    near_f64(p.part[COST_PASSES].words, micros * 2 * 4 * 1024, 1e-9, "and the sums of the norms");

    c = small(4, 1, 1);
    p = plan(&c, &m);
    double n = (double)rd_model_config_params(&c.model);
    ok(fabs(p.part[COST_GRADIENTS].words / (2 * n * 3 / 4) - 1) < 0.001 &&
           p.part[COST_OPTIMIZER].words == 0 && p.part[COST_LINEAR].words == 0,
       "four replicas: 3/4 of the gradients twice");
    c.train.optim.sharded = true;
    cost_plan s = plan(&c, &m);
    near_f64(s.part[COST_GRADIENTS].words, p.part[COST_GRADIENTS].words / 2, 1e-9,
             "sharded: the sums once");
    near_f64(s.part[COST_OPTIMIZER].words, p.part[COST_GRADIENTS].words / 2, 1e-9,
             "and the weights once");
    ok(fabs((double)s.memory.train.moments / (double)p.memory.train.moments - 0.25) < 0.02,
       "with a quarter of the moments");
}

static void test_flops(void)
{
    cost_machine m;
    cost_machine_default(&m);
    cost_case c = small(1, 1, 1);
    cost_plan p = plan(&c, &m);
    /* The model's own formula takes attention for the whole square. */
    double want = rd_model_config_flops(&c.model, 0) * 2048;
    double got = p.part[COST_LINEAR].flops + p.part[COST_HEAD].flops;
    near_f64(got / want, 1, 1e-9, "flops of products as the model counts them");
    /* Queries in two blocks of 32 meet 32 and 64 keys: seven products. */
    near_f64(p.part[COST_ATTENTION].flops, 2.0 * 7 * 2048 * 4 * 48 * 2 * 32, 1e-9,
             "flops of attention");
    near_f64(p.steps, 100, 0, "steps of the run");
    near_f64(p.tokens_per_second, 2048 / p.seconds, 1e-12, "tokens per second");
    static const int grids[][3] = {{1, 1, 2}, {1, 2, 1}, {1, 2, 2}, {2, 1, 1}, {4, 1, 1}};
    for (int i = 0; i < 5; i++) {
        cost_case part = small(grids[i][0], grids[i][1], grids[i][2]);
        cost_plan q = plan(&part, &m);
        double ranks = grids[i][0] * grids[i][1] * grids[i][2];
        near_f64(q.flops * ranks / p.flops, 1, 1e-9, "shared out evenly where all divides");
    }
}

/* ---------------------------------------------------------------- memory */

/* A model with an adapter that is really there. */
static void test_adapter(void)
{
    cost_machine m;
    rd_grid *g;
    rd_model *model;
    cost_machine_default(&m);
    cost_case c = small(1, 1, 1);
    c.train.adapted = true;
    rd_grid_self(&g);
    for (rd_adapter_kind kind = RD_LORA; kind <= RD_OLORA; kind++) {
        c.train.adapter = (rd_adapter_opts){
            .kind = kind, .rank = 4, .alpha = 8, .targets = (1u << RD_TARGETS) - 1};
        cost_plan p = plan(&c, &m);
        int64_t before = rd_mem_used();
        rd_model_create(g, &c.model, false, &model);
        is_rc(rd_model_adapt(model, &c.train.adapter), RD_OK, "an adapter");
        double there = (double)(rd_mem_used() - before);
        double said = p.memory.weights + p.memory.gradients;
        ok(said <= there && said > 0.95 * there, "kind %d: %.0f bytes said, %.0f there", kind, said,
           there);
        ok(p.memory.panels == 0, "no panels on 1 x 1");
        ok(p.memory.gradients == 4 * (double)model->adapter.storage, "gradients of it alone");
        ok(p.memory.train.moments >= 8 * rd_model_config_params(&c.model) / 100 &&
               p.memory.train.moments < 8 * rd_model_config_params(&c.model) / 4,
           "and moments");
        rd_model_free(&model);
    }
    rd_grid_free(&g);
}

/* ---------------------------------------------------------------- grids */

static void test_choice(void)
{
    cost_machine m;
    cost_choice best[3];
    int n, smallest;
    cost_machine_default(&m);
    cost_case c = small(1, 1, 1);
    c.pblas = true; /* panels are larger than this model */
    is_rc(cost_suggest(&c, &m, 8, 3, best, &n, &smallest), RD_OK, "grids of eight ranks");
    ok(n == 3 && smallest == 1, "three of them, and one rank has room");
    ok(best[0].plan.seconds <= best[1].plan.seconds && best[1].plan.seconds <= best[2].plan.seconds,
       "the fastest first");
    for (int i = 0; i < n; i++)
        if (best[i].data * best[i].rows * best[i].cols != 8) ok(false, "a grid of eight");

    /* Room for half of what one rank needs. */
    cost_plan one = plan(&c, &m);
    m.program = 0;
    m.memory_per_node = 8 * 0.5 * (one.memory.total - 200e6);
    m.ranks_per_node = 8;
    is_rc(cost_suggest(&c, &m, 8, 3, best, &n, &smallest), RD_OK, "with less memory");
    ok(smallest > 1 && best[0].plan.fits && best[0].rows * best[0].cols >= smallest,
       "only replicas of %d or more ranks fit", smallest);
    m.memory_per_node = 8e3;
    is_rc(cost_suggest(&c, &m, 8, 3, best, &n, &smallest), RD_OK, "with next to none");
    ok(smallest == 0 && n == 3 && !best[0].plan.fits, "none fits");
}

static void test_large(void)
{
    cost_machine m;
    cost_choice best[1];
    int n, smallest;
    cost_machine_default(&m);
    m.memory_per_node = 512e9;
    m.ranks_per_node = m.cores_per_node = 128;
    cost_case c = small(1, 1, 1);
    c.model = (rd_model_config){.vocab = 128256,
                                .width = 8192,
                                .layers = 80,
                                .heads = 64,
                                .kv_heads = 8,
                                .head_size = 128,
                                .ffn = 28672,
                                .rope_theta = 5e5,
                                .norm_eps = 1e-5};
    c.row = 1024;
    c.train.max_len = c.train.micro_tokens = 2048;
    c.train.batch_tokens = 1 << 20;
    c.train.tokens = 1000000000000;
    c.train.optim.sharded = true;
    is_rc(cost_suggest(&c, &m, 131072, 1, best, &n, &smallest), RD_OK, "70 B on 131,072 ranks");
    const cost_plan *p = &best[0].plan;
    ok(n == 1 && p->fits && p->nodes == 1024 && p->memory.total < 4e9 && p->memory.total > 1e9,
       "fits: %d x %d x %d, %.2f GB", best[0].data, best[0].rows, best[0].cols,
       p->memory.total * 1e-9);
    /* More grid rows than key-value heads leave some with all of the attention. */
    double share = 6 * 70e9 * 1048576 / 131072;
    ok(p->flops > share && p->flops < 20 * share, "flops of a rank: %.3g", p->flops);
    ok(isfinite(p->seconds) && p->seconds > 0 && p->hours > p->steps * p->seconds / 3600 &&
           p->steps == 953675,
       "and of the run: %.0f steps, %.3g hours", p->steps, p->hours);
    for (int i = 0; i < COST_PARTS; i++)
        if (!(p->part[i].words >= 0 && p->part[i].computing >= 0 && p->part[i].flops >= 0))
            ok(false, "part %d", i);
}

/* More of anything costs more. */
static void test_order(void)
{
    cost_machine m, slow;
    cost_machine_default(&m);
    cost_case c = small(2, 2, 1), more = c;
    cost_plan p = plan(&c, &m);
    more.model.layers *= 2;
    cost_plan q = plan(&more, &m);
    ok(q.flops > p.flops && q.words > p.words && q.seconds > p.seconds &&
           q.memory.total > p.memory.total && q.checkpoint_bytes > p.checkpoint_bytes,
       "more layers");
    more = c, more.train.micro_tokens = 256;
    q = plan(&more, &m);
    ok(q.memory.total < p.memory.total &&
           q.part[COST_PASSES].messages > p.part[COST_PASSES].messages,
       "smaller micro-batches: less memory, more messages");
    more = c, more.train.recompute = true;
    q = plan(&more, &m);
    /* One of two layers again, without down; forward is a third. */
    double layer = p.part[COST_LINEAR].flops / 2 / 3, down = 128.0 * 256;
    double share = 1 - down / (2 * 128 * 128 + 2 * 128 * 64 + 3 * down);
    near_f64((q.part[COST_LINEAR].flops - p.part[COST_LINEAR].flops) / layer, share, 1e-9,
             "layers again: flops");
    ok(q.memory.total < p.memory.total && q.words > p.words && q.seconds > p.seconds,
       "less memory for more words and time");
    more = c, more.pairs = true;
    q = plan(&more, &m);
    ok(q.part[COST_HEAD].flops > p.part[COST_HEAD].flops, "pairs pass the head twice");
    /* Half as long a word for what travels between layers, and faster products. */
    slow = m, slow.flop_bf16 = m.flop / 2;
    more = c, more.bf16 = true;
    q = plan(&more, &slow);
    const cost_part *f32 = p.part, *bf16 = q.part;
    ok(bf16[COST_LINEAR].computing < f32[COST_LINEAR].computing &&
           bf16[COST_LINEAR].words < f32[COST_LINEAR].words &&
           bf16[COST_LINEAR].flops == f32[COST_LINEAR].flops &&
           bf16[COST_HEAD].computing < f32[COST_HEAD].computing &&
           bf16[COST_OPTIMIZER].computing == f32[COST_OPTIMIZER].computing,
       "bfloat16: products and words of the layers");
    cost_case alone = small(1, 1, 1);
    more = alone, more.threads = 2;
    near_f64(plan(&more, &m).part[COST_LINEAR].computing,
             plan(&alone, &m).part[COST_LINEAR].computing / 2, 1e-9,
             "two threads on cores of their own");
    more = c, more.threads = 2;
    slow = m, slow.cores_per_node = slow.ranks_per_node = 4;
    near_f64(plan(&more, &slow).seconds, plan(&c, &slow).seconds, 1e-9,
             "and without cores for them");
    slow = m, slow.cores_per_node = 2, slow.ranks_per_node = 4;
    q = plan(&c, &slow);
    near_f64(q.part[COST_LINEAR].computing, 2 * p.part[COST_LINEAR].computing, 0.05,
             "four ranks on two cores take turns");
    slow = m, slow.ranks_per_node = 2;
    q = plan(&c, &slow);
    ok(q.nodes == 2 && q.part[COST_GRADIENTS].communicating > p.part[COST_GRADIENTS].communicating,
       "gradients between nodes");
    ok(q.part[COST_LINEAR].communicating <= p.part[COST_LINEAR].communicating,
       "while a replica inside its node has it as good");
}

/* ---------------------------------------------------------------- files */

static void test_files(void)
{
    cost_machine m, back;
    rd_buf text = {0};
    cost_machine_default(&m);
    m.flop = 1 / 123.4e9;
    m.flop_bf16 = 1 / 234.5e9;
    m.between.latency = 7e-6;
    cost_machine_print(&m, NULL, &text);
    is_rc(cost_machine_parse(text.data, text.len, "m.json", &back), RD_OK, "written and read");
    ok(fabs(back.flop / m.flop - 1) < 1e-3 && fabs(back.flop_bf16 / m.flop_bf16 - 1) < 1e-3 &&
           back.between.latency == 7e-6 && back.cores_per_node == m.cores_per_node &&
           fabs(back.file / m.file - 1) < 1e-3 && strcmp(back.name, m.name) == 0 && !back.measured,
       "with the same constants");
    char *at = strstr(text.data, "\"bf16_");
    at[1] = 'B'; /* an older file */
    is_rc(cost_machine_parse(text.data, text.len, "m.json", &back), RD_OK,
          "without bfloat16's rate");
    ok(back.flop_bf16 == back.flop, "it is float32's");
    at = strstr(text.data, "\"flops_per_second\": ");
    at[strlen("\"flops_per_second\": ")] = '-';
    is_rc(cost_machine_parse(text.data, text.len, "m.json", &back), RD_EINPUT, "a negative rate");
    is_rc(cost_machine_parse("{}", 2, "m.json", &back), RD_EINPUT, "another file");
    is_rc(cost_machine_read("no-such-file.json", &back), RD_EINPUT, "no file");
    rd_buf_free(&text);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_messages();
    test_words();
    test_flops();
    test_adapter();
    test_choice();
    test_large();
    test_order();
    test_files();
    return rd_test_end();
}
