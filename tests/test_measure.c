/* ranks: 1 2 4 */
/* What a run will allocate, by its own set-up on a grid that does not exist, against what the run
 * then allocates on a grid that does. */
#include "rd_test.h"
#include "train_data.h"

typedef struct extent {
    int data, rows, cols;
} extent;

static rd_model_config config(const rd_tok *tok)
{
    return (rd_model_config){.vocab = rd_tok_vocab(tok),
                             .width = 240,
                             .layers = 4,
                             .heads = 9,
                             .kv_heads = 3,
                             .head_size = 16,
                             .ffn = 601,
                             .rope_theta = 1e4,
                             .norm_eps = 1e-5,
                             .tied = false};
}

static int64_t planned(const extent *e, const rd_model_config *c, const rd_train_opts *o)
{
    rd_grid *g;
    rd_model *m;
    rd_train_memory t;
    int64_t before = rd_mem_used();
    rd_mem_pretend(true);
    rd_grid_pretend(e->data, e->rows, e->cols, &g);
    is_rc(rd_model_create(g, c, true, &m), RD_OK, "a model that is not there");
    int64_t model = rd_mem_used() - before;
    is_rc(rd_train_measure(m, o, false, &t), RD_OK, "and its training");
    rd_model_free(&m);
    rd_grid_free(&g);
    rd_mem_pretend(false);
    diag("model %lld, activations %lld, head %lld, moments %lld + %lld, sums %lld, batch %lld",
         (long long)model, (long long)t.activations, (long long)t.head, (long long)t.moments,
         (long long)t.exchange, (long long)t.partial_sums, (long long)t.batch);
    return RD_STORE_SPACE + model + t.activations + t.head + t.moments + t.exchange +
           t.partial_sums + t.batch;
}

/* The largest over the ranks. */
static int64_t measured(const extent *e, const rd_chat *chat, const rd_model_config *c,
                        rd_train_opts *o, const char *path)
{
    rd_grid *g;
    rd_model *m;
    rd_train_report r;
    char dir[320];
    snprintf(dir, sizeof dir, "%s/%d-%d-%d-%s-%d", rd_test_dir(), e->data, e->rows, e->cols,
             o->optim.kind, o->recompute);
    o->dir = dir;
    rd_grid_create(e->data, e->rows, e->cols, &g);
    rd_la_attach(g, 1);
    int64_t before = rd_mem_used();
    rd_mem_peak_restart();
    rd_model_create(g, c, true, &m);
    rd_model_init(m, 1);
    is_rc(rd_train_sft(g, m, chat, path, o, &r), RD_OK, "training");
    int64_t peak = rd_mem_peak() - before;
    rd_max_i64(&g->world, &peak, 1);
    rd_model_free(&m);
    rd_la_detach(g);
    rd_grid_free(&g);
    return peak;
}

/* What is left out is there too: the rows, the plan of the steps, metrics. */
static void test_run(const extent *e, const rd_chat *chat, const char *path, rd_train_opts *o)
{
    rd_model_config c = config(rd_chat_tok(chat));
    int64_t plan = planned(e, &c, o), run = measured(e, chat, &c, o, path);
    double off = (double)plan / (double)run - 1;
    ok(fabs(off) < 0.005, "%d x %d x %d, %s%s: %lld bytes planned, %lld used, %+.2f %%", e->data,
       e->rows, e->cols, o->optim.kind, o->recompute ? ", layers again" : "", (long long)plan,
       (long long)run, 100 * off);
}

/* Far more than there is, and nothing of it stays. */
static void test_large(void)
{
    rd_model_config c = {.vocab = 128256,
                         .width = 4096,
                         .layers = 32,
                         .heads = 32,
                         .kv_heads = 8,
                         .head_size = 128,
                         .ffn = 14336,
                         .rope_theta = 5e5,
                         .qkv_bias = true,
                         .norm_eps = 1e-5};
    rd_train_opts o;
    rd_train_defaults(&o);
    o.optim.kind = "adamw";
    extent one = {1, 1, 1}, many = {64, 8, 8};
    int64_t used = rd_mem_used(), peak = rd_mem_peak();
    double whole = (double)planned(&one, &c, &o), part = (double)planned(&many, &c, &o);
    double n = (double)rd_model_config_params(&c);
    ok(whole > 24 * n && whole < 27 * n, "8 B on one rank: %.0f GB", 1e-9 * whole);
    ok(part < whole / 40, "on one of 4,096: %.2f GB", 1e-9 * part);
    ok(rd_mem_used() == used && rd_mem_peak() == peak, "the counters are what they were");
    ok(rd_mem_resident_peak() < 1000 << 20, "and the memory was never there");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_tok *tok = data_tokenizer();
    rd_chat *chat = text_chat(tok);
    char path[300];
    snprintf(path, sizeof path, "%s/data.h5", rd_test_dir());
    is_rc(data_write(&rd_test_world, path), RD_OK, "data");
    int n = rd_test_world.size;
    for (int rows = 1; rows <= n; rows *= 2)
        for (int cols = 1; rows * cols <= n; cols *= 2)
            for (int muon = 0; muon < 2; muon++) {
                extent e = {n / (rows * cols), rows, cols};
                rd_train_opts o = data_options(".");
                o.optim.kind = muon ? "muon" : "adamw";
                o.epochs = 0.2;
                o.micro_tokens = 256; /* and rows of this length exist: as large as planned */
                o.max_len = 8;
                test_run(&e, chat, path, &o);
                if (muon) continue;
                o.recompute = true;
                test_run(&e, chat, path, &o);
            }
    test_large();
    rd_chat_free(&chat);
    rd_tok_free(&tok);
    return rd_test_end();
}
