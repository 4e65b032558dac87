/* ranks: 1 2 4 */
/* Runs with an adapter: learning, what the files hold, going on after a stop with the same bits and
 * on another grid, alignment with the adapter of SFT, a base from a file. */
#include "rd_test.h"
#include "train_data.h"

static rd_grid *grid, *self;
static rd_tok *tok;
static rd_chat *chat;
static char datasets[300];

enum { ALL = (1 << RD_TARGETS) - 1 };
static const struct {
    const char *name;
    rd_adapter_opts o;
} kinds[] = {
    {"lora", {.kind = RD_LORA, .rank = 4, .alpha = 8, .dropout = 0.05, .targets = ALL}},
    {"dora", {.kind = RD_DORA, .rank = 4, .alpha = 8, .targets = ALL}},
    {"pissa", {.kind = RD_PISSA, .rank = 4, .alpha = 4, .targets = ALL}},
    {"olora", {.kind = RD_OLORA, .rank = 4, .alpha = 4, .targets = ALL}},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* DIR/name, made. */
static const char *run_dir(const char *kind, const char *name, char *path)
{
    snprintf(path, 300, "%s/%s-%s", rd_test_dir(), kind, name);
    if (rd_test_world.rank == 0) rd_dir_make(path);
    rd_barrier(&rd_test_world);
    return path;
}

static rd_model *base_model(const rd_grid *g)
{
    rd_model_config c = data_config(tok);
    c.qkv_bias = true;
    rd_model *m = text_model(g, &c, false, 1);
    /* Frozen embeddings of the usual start would leave an adapter nothing to work with. */
    for (int64_t i = 0; i < m->base.storage; i++)
        if (m->base.weights[i] != 1) m->base.weights[i] *= 8;
    return m;
}

static rd_train_opts options(int kind, const char *dir)
{
    rd_train_opts o = data_options(dir);
    o.adapted = true;
    o.adapter = kinds[kind].o;
    o.epochs = 6;
    o.optim.lr = 1e-2;
    o.optim.eps = 1e-5;
    return o;
}

/* Of a file, on this rank alone. */
static rd_model *weights_of(const char *dir, const char *stage, uint64_t key)
{
    char path[400];
    rd_model *m = base_model(self);
    snprintf(path, sizeof path, "%s/checkpoints/%s-final.h5", dir, stage);
    if (rd_checkpoint_load_weights(self, path, key, m) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    return m;
}

static int sft(const rd_grid *g, const rd_train_opts *o, rd_model **m, rd_train_report *r)
{
    *m = base_model(g);
    return rd_train_sft(g, *m, chat, datasets, o, r);
}

/* Like it, from the adapter of SFT. */
static int align(const rd_grid *g, const rd_train_opts *o, const char *from, uint64_t key,
                 rd_model **m, rd_train_report *r)
{
    char path[400];
    snprintf(path, sizeof path, "%s/checkpoints/sft-final.h5", from);
    *m = base_model(g);
    int rc = rd_checkpoint_load_adapter(g, path, key, &o->adapter, *m);
    return rc == RD_OK ? rd_train_orpo(g, *m, chat, datasets, o, r) : rc;
}

/* Options of a run that saves every step and stops after the second: what asks it to is the file of
 * the first. */
static rd_train_opts stopping(const rd_train_opts *o)
{
    char file[400];
    rd_train_opts p = *o;
    p.checkpoint_every = 1;
    snprintf(file, sizeof file, "%s/checkpoints/%s-000001.h5", o->dir, o->stage);
    rd_stop_begin(0, file);
    return p;
}

/* A step's file: the adapter without the base, and what its residual is made from. */
static void check_step_file(int kind, const char *dir, int64_t step)
{
    char path[400];
    rd_store *s = NULL;
    snprintf(path, sizeof path, "%s/checkpoints/sft-%06d.h5", dir, (int)step);
    const char *a = "adapter/base_model.model.model.layers.1.mlp.up_proj.lora_A.weight";
    const char *start = "adapter_start/base_model.model.model.layers.1.mlp.up_proj.lora_A.weight";
    bool takes = kinds[kind].o.kind == RD_PISSA || kinds[kind].o.kind == RD_OLORA;
    if (!is_rc(rd_store_open(&rd_test_world, path, NULL, 1, &s), RD_OK, "a step's file")) return;
    ok(rd_store_has(s, a) && !rd_store_has(s, "weights/model.norm.weight"),
       "the adapter, not the base");
    ok(rd_store_has(s, start) == takes, "how it began, where the base's residual hangs on it");
    rd_store_close(&s);
}

/* Steps done with the file of a run that was stopped early, on any grid. */
static int64_t stopped_run(const rd_grid *g, int kind, const rd_train_opts *o)
{
    rd_model *m;
    rd_train_report r;
    const rd_train_opts p = stopping(o);
    is_rc(sft(g, &p, &m, &r), RD_ESTOP, "stopped");
    rd_stop_begin(0, NULL);
    check_step_file(kind, o->dir, r.steps);
    rd_model_free(&m);
    return r.steps;
}

static void test_kind(int kind)
{
    rd_model *whole, *part, *file, *whole_a, *part_a;
    rd_train_report r, s;
    char dir[300], parts[300], parts_a[300];
    diag("%s", kinds[kind].name);
    rd_train_opts o = options(kind, run_dir(kinds[kind].name, "whole", dir));
    o.checkpoint_every = 5;
    is_rc(sft(grid, &o, &whole, &r), RD_OK, "SFT");
    ok(r.last_loss < 0.7 * r.first_loss, "it learns (%.3f to %.3f in %d steps)", r.first_loss,
       r.last_loss, (int)r.steps);
    ok(whole->adapter.n == 0 && whole->trained == NULL, "the adapter is merged");
    file = weights_of(dir, "sft", o.key);
    ok(same_weights(file, whole), "into the weights of the final file");
    rd_model_free(&file);

    o.dir = run_dir(kinds[kind].name, "parts", parts);
    int64_t step = stopped_run(grid, kind, &o);
    ok(step > 0 && step < r.steps, "after %d of %d steps", (int)step, (int)r.steps);
    is_rc(sft(grid, &o, &part, &s), RD_OK, "continued");
    ok(same_weights(whole, part) && s.last_loss == r.last_loss, "with the same bits");
    rd_model_free(&part);
    is_rc(sft(grid, &o, &part, &s), RD_OK, "once more");
    ok(s.was_done && same_weights(whole, part) && part->adapter.n == 0, "is found finished");
    rd_model_free(&part);

    /* Alignment goes on with the adapter, not with the merged weights. */
    uint64_t key = o.key;
    o.stage = "align";
    o.key = 78;
    o.dir = dir;
    is_rc(align(grid, &o, dir, key, &whole_a, &r), RD_OK, "ORPO");
    ok(whole_a->adapter.n == 0 && !same_weights(whole, whole_a), "moves it");
    o.dir = run_dir(kinds[kind].name, "parts-align", parts_a);
    const rd_train_opts p = stopping(&o);
    is_rc(align(grid, &p, parts, key, &part_a, &s), RD_ESTOP, "ORPO stopped");
    rd_stop_begin(0, NULL);
    rd_model_free(&part_a);
    is_rc(align(grid, &o, parts, key, &part_a, &s), RD_OK, "continued");
    ok(same_weights(whole_a, part_a) && s.last_loss == r.last_loss, "with the same bits");
    rd_model_free(&part_a);
    is_rc(align(grid, &o, parts, key, &part_a, &s), RD_OK, "once more");
    ok(s.was_done && same_weights(whole_a, part_a) && part_a->adapter.n == 0, "is found finished");
    rd_model_free(&part_a);
    is_rc(align(grid, &o, parts, key + 1, &part_a, &s), RD_EINPUT, "SFT of another key");
    rd_model_free(&part_a), rd_model_free(&whole_a), rd_model_free(&whole);
}

/* Stopped on replicas, continued on a grid: the same to rounding. */
static void test_other_grid(int kind, int rows, int cols)
{
    rd_grid *g;
    rd_model *m, *a, *b;
    rd_train_report r;
    char dir[300], other[300];
    double off = 0, size = 0;
    diag("%s, continued on %d x %d", kinds[kind].name, rows, cols);
    rd_train_opts o = options(kind, run_dir(kinds[kind].name, "one-way", dir));
    o.epochs = 1;
    is_rc(rd_grid_create(0, rows, cols, &g), RD_OK, "grid");
    is_rc(rd_la_attach(g, 1), RD_OK, "context");
    is_rc(sft(grid, &o, &m, &r), RD_OK, "a run on replicas");
    rd_model_free(&m);
    o.dir = run_dir(kinds[kind].name, rows > cols ? "other-rows" : "other-cols", other);
    stopped_run(grid, kind, &o);
    is_rc(sft(g, &o, &m, &r), RD_OK, "continued on the grid");
    rd_model_free(&m);
    a = weights_of(dir, "sft", o.key), b = weights_of(other, "sft", o.key);
    for (int64_t i = 0; i < a->base.storage; i++) {
        off = fmax(off, fabs((double)a->base.weights[i] - b->base.weights[i]));
        size = fmax(size, fabs((double)a->base.weights[i]));
    }
    ok(off < 1e-5 * size, "the same weights to rounding (%.1e of %.1e)", off, size);
    rd_model_free(&a), rd_model_free(&b);
    rd_la_detach(g);
    rd_grid_free(&g);
}

/* A final file beside a published base: the adapter and the base's name in place of weights, and
 * the same model from it as from a file that holds them. */
static void test_reference(int kind)
{
    rd_model *whole, *m = NULL;
    rd_train_report r;
    rd_store *s = NULL;
    rd_buf name = {0};
    int64_t identity = 0;
    char dir[300], other[300], path[400];
    diag("%s, beside a base that is not repeated", kinds[kind].name);
    rd_train_opts o = options(kind, run_dir(kinds[kind].name, "repeated", dir));
    o.epochs = 1;
    is_rc(sft(grid, &o, &whole, &r), RD_OK, "a run whose file holds the weights");
    o.dir = run_dir(kinds[kind].name, "reference", other);
    o.base = "models/published";
    o.base_identity = 1234567;
    for (int again = 0; again < 2; again++) {
        is_rc(sft(grid, &o, &m, &r), RD_OK, again ? "once more" : "one whose file does not");
        ok(r.was_done == again && m->adapter.n == 0 && same_weights(whole, m), "the same weights");
        rd_model_free(&m);
    }
    snprintf(path, sizeof path, "%s/checkpoints/sft-final.h5", other);
    is_rc(rd_store_open(&rd_test_world, path, NULL, 1, &s), RD_OK, "the final file");
    ok(!rd_store_has(s, "weights/model.norm.weight"), "without weights");
    is_rc(rd_store_get_string(s, "", "base", &name), RD_OK, "says what goes with it");
    is_str(name.data, o.base, "by name");
    is_rc(rd_store_get_i64(s, "", "base_identity", &identity), RD_OK, "and");
    is_i64(identity, 1234567, "by content");
    rd_store_close(&s);
    m = base_model(grid);
    is_rc(rd_checkpoint_load_weights(grid, path, o.key, m), RD_EINPUT, "it has no weights to load");
    rd_model_free(&m);
    m = base_model(grid);
    is_rc(rd_checkpoint_load_adapter(grid, path, o.key, &o.adapter, m), RD_OK, "its adapter");
    is_rc(rd_model_merge(m, NULL, NULL), RD_OK, "merged");
    ok(same_weights(whole, m), "gives the same weights");
    rd_model_free(&m), rd_model_free(&whole);
    rd_buf_free(&name);
}

static void test_base(void)
{
    rd_model *first, *m;
    rd_train_report r;
    char dir[300], path[400];
    uint64_t one = 0, two = 0;
    rd_train_opts o = options(0, run_dir("base", "first", dir));
    o.tokenizer = 11;
    o.epochs = 1;
    is_rc(sft(grid, &o, &first, &r), RD_OK, "a run that makes a base");
    snprintf(path, sizeof path, "%s/checkpoints/sft-final.h5", dir);
    m = base_model(grid);
    is_rc(rd_checkpoint_load_base(grid, path, 11, m), RD_OK, "loaded as a base");
    ok(same_weights(first, m), "its weights");
    is_rc(rd_checkpoint_load_base(grid, path, 12, m), RD_EINPUT, "another tokenizer is refused");
    is_rc(rd_checkpoint_base_hash(grid, path, &one), RD_OK, "which weights they are");
    rd_model_free(&m), rd_model_free(&first);
    rd_model_config c = data_config(tok);
    c.width = 16;
    is_rc(rd_model_create(grid, &c, false, &m), RD_OK, "a smaller model");
    is_rc(rd_checkpoint_load_base(grid, path, 11, m), RD_EINPUT, "another shape is refused");
    rd_model_free(&m);
    o.dir = run_dir("base", "second", dir);
    o.optim.lr = 2e-2;
    is_rc(sft(grid, &o, &m, &r), RD_OK, "another run");
    snprintf(path, sizeof path, "%s/checkpoints/sft-final.h5", dir);
    is_rc(rd_checkpoint_base_hash(grid, path, &two), RD_OK, "which weights they are");
    ok(one != two, "others");
    rd_model_free(&m);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    is_rc(rd_grid_create(0, 1, 1, &grid), RD_OK, "grid");
    is_rc(rd_la_attach(grid, 1), RD_OK, "products");
    rd_grid_self(&self);
    tok = data_tokenizer();
    chat = text_chat(tok);
    snprintf(datasets, sizeof datasets, "%s/datasets.h5", rd_test_dir());
    is_rc(data_write(&rd_test_world, datasets), RD_OK, "datasets.h5");
    for (int k = 0; k < KINDS; k++) test_kind(k);
    if (rd_test_world.size > 1) {
        test_other_grid(0, 1, 2);
        test_other_grid(2, 2, 1);
    }
    test_reference(0);
    test_reference(2);
    test_base();
    rd_chat_free(&chat);
    rd_tok_free(&tok);
    rd_la_detach(grid);
    rd_grid_free(&grid), rd_grid_free(&self);
    return rd_test_end();
}
