/* ranks: 1 2 4 */
/* Models and adapters written as folders, from every grid, and read again; adapters of PiSSA and
 * OLoRA as plain ones over the base as it was; what of peft's options is refused. */
#include "grid_model.h"
#include "rd_test.h"

static rd_model_config shape(bool bias)
{
    return (rd_model_config){.vocab = 40,
                             .width = 24,
                             .layers = 2,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_size = 6,
                             .ffn = 36,
                             .rope_theta = 1000,
                             .norm_eps = 1e-5,
                             .qkv_bias = bias,
                             .tied = !bias};
}

static rd_model *model_on(const rd_grid *g, bool bias)
{
    rd_model *m = NULL;
    const rd_model_config c = shape(bias);
    if (rd_model_create(g, &c, false, &m) != RD_OK) rd_die("%s", rd_error_get()->message);
    rd_model_init(m, 5);
    rd_test_enlarge(m);
    return m;
}

/* Of a and the whole b: the largest difference, relative to the largest number of its matrix. */
static double apart(const rd_params *a, const rd_params *b)
{
    double worst = 0, size;
    for (int64_t i = 0; i < a->n; i++) {
        double d = rd_test_apart(&a->item[i].w, &b->item[i].w, &size);
        worst = fmax(worst, d / fmax(size, 1e-30));
    }
    return worst;
}

static void test_model(const rd_grid *g, const rd_grid *self, bool bias, const char *dir)
{
    rd_pretrained *p = NULL;
    rd_model *m = model_on(g, bias), *whole = model_on(self, bias), *back = NULL;
    const rd_publish_opts o = {
        .format = RD_FORMAT_F32, .shard_bytes = 6000, .bos = 1, .eos = -1, .pad = -1};
    is_rc(rd_model_publish(m, &o, dir), RD_OK, "written as a folder");
    is_rc(rd_pretrained_open(dir, &p), RD_OK, "opened");
    ok(rd_model_config_same(rd_pretrained_config(p), &whole->cfg), "the shape");
    is_i64(rd_pretrained_positions(p), 4096, "the context");
    is_rc(rd_model_create(g, rd_pretrained_config(p), false, &back), RD_OK, "a model");
    is_rc(rd_pretrained_load(p, back), RD_OK, "loaded");
    ok(apart(&back->base, &whole->base) == 0, "every number");
    rd_pretrained_close(&p);
    rd_model_free(&m), rd_model_free(&whole), rd_model_free(&back);
}

static const struct {
    const char *name;
    rd_adapter_opts o;
} kinds[] = {
    {"lora", {RD_LORA, 3, 5, 0.05, false, 1 << RD_Q | 1 << RD_DOWN}},
    {"rslora", {RD_LORA, 4, 5, 0, true, (1 << RD_TARGETS) - 1}},
    {"dora", {RD_DORA, 3, 6, 0, false, (1 << RD_TARGETS) - 1}},
    {"pissa", {RD_PISSA, 3, 6, 0, false, (1 << RD_TARGETS) - 1}},
    {"pissa-rs", {RD_PISSA, 4, 6, 0, true, 1 << RD_K | 1 << RD_UP}},
    {"olora", {RD_OLORA, 3, 6, 0, false, (1 << RD_TARGETS) - 1}},
};

/* As training would: A, B and magnitudes move; the same on every grid. */
static void move(rd_model *m)
{
    for (int64_t i = 0; i < m->adapter.n; i++) {
        rd_mat *w = &m->adapter.item[i].w;
        for (int64_t j = 0; j < w->ln; j++)
            for (int64_t k = 0; k < w->lm; k++) {
                int64_t at = rd_mat_global_col(w, j) * w->m + rd_mat_global_row(w, k);
                w->a[j * w->ld + k] += 0.05f * (float)((at * 31 + i * 17) % 13 - 6);
            }
    }
}

static void test_adapter(const rd_grid *g, const rd_grid *self, size_t kind, const char *dir)
{
    const rd_adapter_opts *o = &kinds[kind].o;
    const bool plain = o->kind == RD_LORA || o->kind == RD_DORA;
    rd_adapter_opts got;
    rd_model *m = model_on(g, false), *whole = model_on(self, false), *back = model_on(g, false);
    diag("%s", kinds[kind].name);
    is_rc(rd_model_adapt(m, o), RD_OK, "an adapter");
    is_rc(rd_model_adapter_init(m, 2), RD_OK, "with values");
    move(m);
    is_rc(rd_adapter_publish(m, RD_FORMAT_F32, "some/base", dir), RD_OK, "written as a folder");
    is_rc(rd_adapter_read_opts(dir, &got), RD_OK, "its options");
    ok(got.kind == (o->kind == RD_DORA ? RD_DORA : RD_LORA) && got.rslora == o->rslora &&
           got.targets == o->targets && got.rank == (plain ? 1 : 2) * o->rank &&
           got.dropout == o->dropout,
       "are its own, or of the plain adapter of twice the rank");
    is_rc(rd_model_adapt_from(back, dir), RD_OK, "loaded over the base");
    ok(rd_model_adapter_ready(back), "ready");
    is_rc(rd_model_merge(m, NULL, NULL), RD_OK, "merged");
    is_rc(rd_model_merge(back, NULL, NULL), RD_OK, "both");
    is_rc(rd_model_publish(m, &(rd_publish_opts){.format = RD_FORMAT_F32, .bos = -1}, dir), RD_OK,
          "the merged model");
    rd_pretrained *p = NULL;
    is_rc(rd_pretrained_open(dir, &p), RD_OK, "opened");
    rd_pretrained_load(p, whole);
    const double off = apart(&back->base, &whole->base);
    ok(off <= (plain ? 0 : 2e-6), "the same model (%.1e)", off);
    rd_pretrained_close(&p);
    rd_model_free(&m), rd_model_free(&whole), rd_model_free(&back);
}

/* ---------------------------------------------------------------- what is refused */

static void put_config(const char *dir, const char *more)
{
    char text[600];
    rd_buf path = {0};
    rd_buf_printf(&path, "%s/adapter_config.json", dir);
    snprintf(text, sizeof text, "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 5%s}", more);
    if (rd_file_write_atomic(path.data, text, strlen(text)) != RD_OK) rd_die("%s", path.data);
    rd_buf_free(&path);
}

static void test_refused(const rd_grid *self, const char *dir)
{
    static const struct {
        const char *more, *message; /* NULL: accepted */
    } cases[] = {
        {"", NULL},
        {", \"rank_pattern\": {}, \"modules_to_save\": null, \"bias\": \"none\"", NULL},
        {", \"rank_pattern\": {\"q_proj\": 2}", "rank_pattern is not supported"},
        {", \"modules_to_save\": [\"lm_head\"]", "modules_to_save is not supported"},
        {", \"bias\": \"all\"", "bias is not supported"},
        {", \"fan_in_fan_out\": true", "fan_in_fan_out is not supported"},
        {", \"init_lora_weights\": \"pissa_niter_4\"", "init_lora_weights 'pissa_niter_4'"},
        {", \"layers_to_transform\": [0]", "layers_to_transform is not supported"},
    };
    rd_adapter_opts o;
    rd_model *m = model_on(self, false);
    is_rc(rd_model_adapt(m, &kinds[0].o), RD_OK, "an adapter");
    is_rc(rd_model_adapter_init(m, 2), RD_OK, "with values");
    is_rc(rd_adapter_publish(m, RD_FORMAT_F32, "", dir), RD_OK, "written");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_config(dir, cases[i].more);
        const int rc = rd_adapter_read_opts(dir, &o);
        const bool good =
            cases[i].message == NULL
                ? rc == RD_OK
                : rc == RD_EINPUT && strstr(rd_error_get()->message, cases[i].message) != NULL;
        if (!good) diag("%s", rd_error_get()->message);
        ok(good, "options%s", cases[i].more);
        rd_error_clear();
    }
    rd_model_free(&m);
    m = model_on(self, false);
    put_config(dir, "");
    is_rc(rd_model_adapt_from(m, dir), RD_OK, "the right rank");
    rd_model_free(&m);
    m = model_on(self, false);
    rd_buf path = {0};
    rd_buf_printf(&path, "%s/adapter_config.json", dir);
    const char *wrong = "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 5}";
    is_rc(rd_file_write_atomic(path.data, wrong, strlen(wrong)), RD_OK, "another rank");
    is_rc(rd_model_adapt_from(m, dir), RD_EINPUT, "does not fit the tensors");
    rd_buf_free(&path);
    rd_model_free(&m);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_grid *g, *self;
    char dir[400];
    rd_grid_self(&self);
    const int grid[][2] = {{1, 1}, {2, 1}, {1, 2}, {2, 2}};
    for (size_t i = 0; i < sizeof grid / sizeof *grid; i++) {
        if (rd_test_world.size % (grid[i][0] * grid[i][1]) != 0) continue;
        diag("replicas of %d x %d", grid[i][0], grid[i][1]);
        rd_grid_create(0, grid[i][0], grid[i][1], &g);
        rd_la_attach(g, 1);
        for (int bias = 0; bias < 2; bias++) {
            snprintf(dir, sizeof dir, "%s/model-%zu-%d", rd_test_dir(), i, bias);
            test_model(g, self, bias, dir);
        }
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            snprintf(dir, sizeof dir, "%s/adapter-%zu-%zu", rd_test_dir(), i, k);
            test_adapter(g, self, k, dir);
        }
        rd_la_detach(g);
        rd_grid_free(&g);
    }
    snprintf(dir, sizeof dir, "%s/refused.%d", rd_test_dir(), rd_test_world.rank);
    test_refused(self, dir);
    rd_grid_free(&self);
    return rd_test_end();
}
