/* ranks: 1 2 4 */
/* Published models: a folder and a GGUF file of the same weights, loaded on every grid; what their
 * descriptions may say, and what is refused by name. */
#include "grid_model.h"
#include "nn/pretrained.h"
#include "rd_test.h"
#include "tiny_model.h"

#include <sys/stat.h>

enum { N_MAX = 32 };

/* ---------------------------------------------------------------- files to be read */

static void write_text(const char *dir, const char *name, const char *text)
{
    rd_buf path = {0};
    rd_buf_printf(&path, "%s/%s", dir, name);
    if (rd_file_write_atomic(path.data, text, strlen(text)) != RD_OK) rd_die("%s", path.data);
    rd_buf_free(&path);
}

/* The tiny model's config.json, with something more or less in it. */
static void config_text(const rd_model_config *c, const char *more, char *out, size_t size)
{
    snprintf(out, size,
             "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"],\n"
             " \"vocab_size\": %d, \"hidden_size\": %d, \"num_hidden_layers\": %d,\n"
             " \"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"head_dim\": %d,\n"
             " \"intermediate_size\": %d, \"rope_theta\": %.17g, \"rms_norm_eps\": %.17g,\n"
             " \"tie_word_embeddings\": %s%s}\n",
             (int)c->vocab, (int)c->width, (int)c->layers, (int)c->heads, (int)c->kv_heads,
             (int)c->head_size, (int)c->ffn, c->rope_theta, c->norm_eps, c->tied ? "true" : "false",
             more);
}

static rd_tensor tensor_of(const rd_param *p)
{
    rd_tensor t = {.name = p->name, .format = RD_FORMAT_F32, .rank = 2, .dims = {p->w.n, p->w.m}};
    if (p->is_vector) t.rank = 1, t.dims[0] = p->w.m;
    return t;
}

/* A model on one rank as a folder.  Local: the rank writes for itself. */
static void write_folder(const char *dir, const rd_model *m, const rd_tensor *extra, int64_t shard)
{
    rd_comm self = rd_comm_self();
    rd_export *e;
    rd_tensor list[N_MAX];
    const int64_t n = m->base.n + (extra != NULL);
    for (int64_t i = 0; i < m->base.n; i++) list[i] = tensor_of(&m->base.item[i]);
    if (extra != NULL) list[m->base.n] = *extra;
    if (rd_dir_make(dir) != RD_OK ||
        rd_export_create(&self, dir, shard, n, list, NULL, &e) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    for (int64_t i = 0; i < n; i++) {
        const rd_slab slab[2] = {{0, list[i].dims[0], 1, list[i].dims[0]},
                                 {0, list[i].dims[1], 1, list[i].dims[1]}};
        const float *data = i < m->base.n ? m->base.item[i].w.a : m->base.item[0].w.a;
        if (rd_export_write(e, i, slab, data) != RD_OK) rd_die("%s", rd_error_get()->message);
    }
    if (rd_export_commit(&e) != RD_OK) rd_die("%s", rd_error_get()->message);
}

/* ---------------------------------------------------------------- a GGUF file */

static void put_u32(rd_buf *b, uint32_t v)
{
    rd_buf_add(b, &v, sizeof v);
}

static void put_text(rd_buf *b, const char *s)
{
    const uint64_t n = strlen(s);
    rd_buf_add(b, &n, sizeof n);
    rd_buf_puts(b, s);
}

static void put_key_text(rd_buf *b, const char *key, const char *value)
{
    put_text(b, key);
    put_u32(b, 8);
    put_text(b, value);
}

static void put_key_int(rd_buf *b, const char *key, int64_t value)
{
    put_text(b, key);
    put_u32(b, 4);
    put_u32(b, (uint32_t)value);
}

static void put_key_real(rd_buf *b, const char *key, float value)
{
    put_text(b, key);
    put_u32(b, 6);
    rd_buf_add(b, &value, sizeof value);
}

static const char *const gguf_layer[][2] = {{"self_attn.q_proj.weight", "attn_q.weight"},
                                            {"self_attn.k_proj.weight", "attn_k.weight"},
                                            {"self_attn.v_proj.weight", "attn_v.weight"},
                                            {"self_attn.o_proj.weight", "attn_output.weight"},
                                            {"mlp.gate_proj.weight", "ffn_gate.weight"},
                                            {"mlp.up_proj.weight", "ffn_up.weight"},
                                            {"mlp.down_proj.weight", "ffn_down.weight"},
                                            {"input_layernorm.weight", "attn_norm.weight"},
                                            {"post_attention_layernorm.weight", "ffn_norm.weight"}};

static void gguf_name(const char *name, char *out, size_t size)
{
    int layer, used = 0;
    snprintf(out, size, "%s",
             strcmp(name, "lm_head.weight") == 0      ? "output.weight"
             : strcmp(name, "model.norm.weight") == 0 ? "output_norm.weight"
                                                      : "token_embd.weight");
    if (sscanf(name, "model.layers.%d.%n", &layer, &used) != 1 || used == 0) return;
    for (size_t i = 0; i < sizeof gguf_layer / sizeof *gguf_layer; i++)
        if (strcmp(name + used, gguf_layer[i][0]) == 0)
            snprintf(out, size, "blk.%d.%s", layer, gguf_layer[i][1]);
}

/* A parameter's rows as the file has them: those of Q and K with each head's halves interleaved. */
static void put_rows(rd_buf *b, const rd_param *p, int64_t head_size)
{
    const bool turned = strstr(p->name, "q_proj") || strstr(p->name, "k_proj");
    const int64_t rows = p->is_vector ? 1 : p->w.n, S = head_size;
    float *out = rd_new(float, rows * p->w.m);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t to =
            turned ? r / S * S + (r % S < S / 2 ? 2 * (r % S) : 2 * (r % S - S / 2) + 1) : r;
        memcpy(out + to * p->w.m, p->w.a + r * p->w.m, (size_t)p->w.m * sizeof(float));
    }
    rd_buf_add(b, out, (size_t)(rows * p->w.m) * sizeof(float));
    rd_free(out);
}

/* freqs: the tensor rope_freqs.weight; NULL: none. */
static void write_gguf(const char *path, const rd_model *m, const char *architecture,
                       const float *freqs)
{
    rd_buf b = {0}, data = {0};
    const rd_model_config *c = &m->cfg;
    const uint64_t n = (uint64_t)m->base.n + (freqs != NULL), n_keys = 9;
    rd_buf_puts(&b, "GGUF");
    put_u32(&b, 3);
    rd_buf_add(&b, &n, sizeof n);
    rd_buf_add(&b, &n_keys, sizeof n_keys);
    put_key_text(&b, "general.architecture", architecture);
    put_key_int(&b, "llama.embedding_length", c->width);
    put_key_int(&b, "llama.block_count", c->layers);
    put_key_int(&b, "llama.feed_forward_length", c->ffn);
    put_key_int(&b, "llama.attention.head_count", c->heads);
    put_key_int(&b, "llama.attention.head_count_kv", c->kv_heads);
    put_key_int(&b, "llama.attention.key_length", c->head_size);
    put_key_real(&b, "llama.attention.layer_norm_rms_epsilon", (float)c->norm_eps);
    put_key_real(&b, "llama.rope.freq_base", (float)c->rope_theta);
    for (uint64_t i = 0; i < n; i++) {
        const rd_param *p = &m->base.item[i < (uint64_t)m->base.n ? i : 0];
        const bool extra = i == (uint64_t)m->base.n;
        char name[80] = "rope_freqs.weight";
        const uint64_t ne[2] = {extra ? (uint64_t)c->head_size / 2 : (uint64_t)p->w.m,
                                (uint64_t)p->w.n};
        const uint64_t at = data.len;
        const uint32_t rank = extra || p->is_vector ? 1 : 2;
        if (!extra) gguf_name(p->name, name, sizeof name);
        put_text(&b, name);
        put_u32(&b, rank);
        rd_buf_add(&b, ne, rank * sizeof *ne);
        put_u32(&b, 0);
        rd_buf_add(&b, &at, sizeof at);
        if (extra)
            rd_buf_add(&data, freqs, (size_t)ne[0] * sizeof(float));
        else
            put_rows(&data, p, c->head_size);
        while (data.len % 32 != 0) rd_buf_putc(&data, 0);
    }
    while (b.len % 32 != 0) rd_buf_putc(&b, 0);
    rd_buf_add(&b, data.data, data.len);
    if (rd_file_write_atomic(path, b.data, b.len) != RD_OK) rd_die("%s", path);
    rd_buf_free(&b);
    rd_buf_free(&data);
}

/* ---------------------------------------------------------------- loading */

/* Load path on a grid: the weights are whole's, and little more than they is ever held. */
static void check_load(const char *path, int rows, int cols, const rd_model *whole)
{
    rd_grid *g;
    rd_model *m;
    rd_pretrained *p;
    double worst = 0, size;
    if (rd_test_world.size % (rows * cols) != 0) return;
    rd_grid_create(0, rows, cols, &g);
    rd_la_attach(g, 1);
    if (!is_rc(rd_pretrained_open(path, &p), RD_OK, "opened")) return;
    ok(rd_model_config_same(rd_pretrained_config(p), &whole->cfg), "the shape");
    is_rc(rd_model_create(g, rd_pretrained_config(p), false, &m), RD_OK, "a model");
    for (int64_t i = 0; i < m->base.storage; i++) m->base.weights[i] = -99;
    const int64_t before = rd_mem_used();
    rd_mem_peak_restart();
    is_rc(rd_pretrained_load(p, m), RD_OK, "loaded");
    ok(rd_mem_peak() - before <= m->base.storage * (int64_t)sizeof(float),
       "%lld bytes beside the share of %lld", (long long)(rd_mem_peak() - before),
       (long long)m->base.storage * (int64_t)sizeof(float));
    for (int64_t i = 0; i < m->base.n; i++)
        worst = fmax(worst, rd_test_apart(&m->base.item[i].w, &whole->base.item[i].w, &size));
    ok(worst == 0, "%d x %d: every number (%g)", rows, cols, worst);
    rd_pretrained_close(&p);
    rd_model_free(&m);
    rd_la_detach(g);
    rd_grid_free(&g);
}

static void test_load(const char *dir, const rd_model *whole)
{
    char folder[400], gguf[400], text[1024];
    snprintf(folder, sizeof folder, "%s/folder", dir);
    snprintf(gguf, sizeof gguf, "%s/model.gguf", dir);
    if (rd_test_world.rank == 0) {
        write_folder(folder, whole, NULL, 2000);
        config_text(&whole->cfg, "", text, sizeof text);
        write_text(folder, "config.json", text);
        write_gguf(gguf, whole, "llama", NULL);
    }
    rd_barrier(&rd_test_world);
    const int grid[][2] = {{1, 1}, {1, 2}, {2, 1}, {2, 2}, {1, 4}};
    for (size_t i = 0; i < sizeof grid / sizeof *grid; i++) {
        check_load(folder, grid[i][0], grid[i][1], whole);
        check_load(gguf, grid[i][0], grid[i][1], whole);
    }
}

/* The same model in one file or many is one; another number makes another. */
static void test_identity(const char *dir, rd_model *whole)
{
    char path[3][400], text[1024];
    uint64_t id[3] = {0};
    config_text(&whole->cfg, "", text, sizeof text);
    for (int i = 0; i < 3; i++) {
        rd_pretrained *p = NULL;
        snprintf(path[i], sizeof path[i], "%s/identity%d.%d", dir, i, rd_test_world.rank);
        if (i == 2) whole->base.item[1].w.a[0] += 1;
        write_folder(path[i], whole, NULL, i == 1 ? 3000 : 0);
        if (i == 2) whole->base.item[1].w.a[0] -= 1;
        write_text(path[i], "config.json", text);
        is_rc(rd_pretrained_open(path[i], &p), RD_OK, "opened");
        if (p != NULL) is_rc(rd_pretrained_identity(p, &id[i]), RD_OK, "identity");
        rd_pretrained_close(&p);
    }
    ok(id[0] != 0 && id[0] == id[1], "the same in several files");
    ok(id[0] != id[2], "another with one other number");
}

/* ---------------------------------------------------------------- what is refused */

static void refused(const char *path, const char *with, const char *what)
{
    rd_pretrained *p = NULL;
    const int rc = rd_pretrained_open(path, &p);
    const char *why = rd_error_get()->message;
    const bool good = rc == RD_EINPUT && strstr(why, with) != NULL;
    ok(good && p == NULL, "%s", what);
    if (!good) fprintf(stderr, "# code %d: %s\n", rc, rc != RD_OK ? why : "opened");
    rd_error_clear();
    rd_pretrained_close(&p);
}

static void test_tensors(const char *dir, const rd_model *whole)
{
    char path[400], text[1024];
    snprintf(path, sizeof path, "%s/tensors.%d", dir, rd_test_world.rank);
    const rd_tensor more = {
        .name = "model.layers.1.extra.weight", .format = RD_FORMAT_F32, .rank = 1, .dims = {3}};
    const rd_tensor buffer = {.name = "model.layers.0.self_attn.rotary_emb.inv_freq",
                              .format = RD_FORMAT_F32,
                              .rank = 1,
                              .dims = {3}};
    config_text(&whole->cfg, "", text, sizeof text);
    write_folder(path, whole, &more, 0);
    write_text(path, "config.json", text);
    refused(path, "tensor 'model.layers.1.extra.weight' is no part", "a tensor too many");
    write_folder(path, whole, &buffer, 0);
    rd_pretrained *p = NULL;
    is_rc(rd_pretrained_open(path, &p), RD_OK, "an old buffer does not matter");
    rd_pretrained_close(&p);
    write_folder(path, whole, NULL, 0);
    rd_model_config c = whole->cfg;
    c.layers = 3;
    config_text(&c, "", text, sizeof text);
    write_text(path, "config.json", text);
    refused(path, "tensor 'model.layers.2.input_layernorm.weight' is missing", "one too few");
    c = whole->cfg;
    c.ffn = 14;
    config_text(&c, "", text, sizeof text);
    write_text(path, "config.json", text);
    refused(path, "'model.layers.0.mlp.gate_proj.weight' is of shape 13 x 10, expected 14 x 10",
            "another shape");
    /* Untied weights under a configuration that ties them, and the other way round. */
    c = whole->cfg;
    c.tied = !c.tied;
    config_text(&c, "", text, sizeof text);
    write_text(path, "config.json", text);
    refused(path, "tensor 'lm_head.weight' is not the embedding", "a head beside a tied one");
    rd_tensor head = tensor_of(&whole->base.item[0]);
    rd_grid *self;
    rd_grid_self(&self);
    rd_model *tied = tiny_model(self, true, false);
    head.name = "lm_head.weight";
    write_folder(path, tied, &head, 0);
    is_rc(rd_pretrained_open(path, &p), RD_OK, "the embedding repeated as the head");
    rd_pretrained_close(&p);
    rd_model_free(&tied);
    rd_grid_free(&self);
}

static void test_config(const char *dir, const rd_model *whole)
{
    static const struct {
        const char *more, *message; /* NULL: accepted */
    } cases[] = {
        {", \"hidden_act\": \"gelu\"", "hidden_act 'gelu'"},
        {", \"hidden_act\": 3", "hidden_act: expected a string, got 3"},
        {", \"attention_bias\": true", "attention_bias"},
        {", \"mlp_bias\": true", "mlp_bias"},
        {", \"mlp_bias\": \"no\"", "mlp_bias: expected true or false"},
        {", \"quantization_config\": {}", "quantization_config"},
        {", \"partial_rotary_factor\": 0.5", "partial_rotary_factor 0.5"},
        {", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}", "rope_type 'linear'"},
        {", \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2}", "rope_type 'yarn'"},
        {", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 2}", "low_freq_factor"},
        {", \"rope_parameters\": {\"full_attention\": {}}", "rope_parameters: expected"},
        {", \"rope_parameters\": {\"rope_type\": \"dynamic\"}",
         "rope_parameters: rope_type 'dynamic'"},
        {", \"sliding_window\": 5", NULL}, /* llama has none */
        {", \"rope_scaling\": null, \"rope_parameters\": {\"rope_type\": \"default\"}", NULL},
        {", \"torch_dtype\": \"bfloat16\", \"pretraining_tp\": 1, \"use_cache\": true", NULL},
    };
    char path[400], text[1024];
    rd_pretrained *p = NULL;
    snprintf(path, sizeof path, "%s/config.%d", dir, rd_test_world.rank);
    write_folder(path, whole, NULL, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        config_text(&whole->cfg, cases[i].more, text, sizeof text);
        write_text(path, "config.json", text);
        if (cases[i].message != NULL) {
            refused(path, cases[i].message, cases[i].more + 2);
            continue;
        }
        is_rc(rd_pretrained_open(path, &p), RD_OK, cases[i].more + 2);
        rd_pretrained_close(&p);
    }
    write_text(path, "config.json", "{\"model_type\": \"gemma\"}");
    refused(path, "model_type 'gemma'", "another kind of model");
    write_text(path, "config.json",
               "{\"model_type\": \"llama\", \"architectures\": [\"LlamaModel\"]}");
    refused(path, "architectures: expected LlamaForCausalLM", "another class");
    write_text(path, "config.json", "{\"model_type\": \"llama\", \"vocab_size\": 7}");
    refused(path, "hidden_size is missing", "a size too few");
}

/* The window of Mistral and Qwen2, and the defaults of keys that are not there. */
static void test_families(const char *dir)
{
    static const struct {
        const char *type, *more, *message;
        int64_t kv_heads;
    } cases[] = {
        {"mistral", "", "sliding_window", 0}, /* absent: 4096 of 131072 */
        {"mistral", ", \"sliding_window\": null", NULL, 8},
        {"mistral", ", \"sliding_window\": null, \"num_key_value_heads\": 4", NULL, 4},
        {"mistral", ", \"sliding_window\": 4096, \"max_position_embeddings\": 4096", NULL, 8},
        {"mistral", ", \"sliding_window\": 4095, \"max_position_embeddings\": 4096",
         "window of 4095 tokens", 0},
        {"llama", "", NULL, 32},
        {"llama", ", \"num_key_value_heads\": null", NULL, 32},
    };
    char path[400], text[1024];
    rd_model_config c;
    int64_t positions;
    snprintf(path, sizeof path, "%s/family.%d.json", dir, rd_test_world.rank);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text,
                 "{\"model_type\": \"%s\", \"vocab_size\": 100, \"hidden_size\": 64,\n"
                 " \"num_hidden_layers\": 4, \"num_attention_heads\": 32,\n"
                 " \"intermediate_size\": 96%s}",
                 cases[i].type, cases[i].more);
        if (rd_file_write_atomic(path, text, strlen(text)) != RD_OK) rd_die("%s", path);
        const int rc = rd_pretrained_read_json(path, &c, &positions);
        if (cases[i].message != NULL)
            ok(rc == RD_EINPUT && strstr(rd_error_get()->message, cases[i].message) != NULL, "%s%s",
               cases[i].type, cases[i].more);
        else
            ok(rc == RD_OK && c.kv_heads == cases[i].kv_heads && c.head_size == 2 && !c.tied &&
                   c.rope_theta == 10000 && c.norm_eps == 1e-6,
               "%s%s", cases[i].type, cases[i].more);
        rd_error_clear();
    }
}

static void test_gguf(const char *dir, const rd_model *whole)
{
    char path[400];
    const float wrong[] = {1, 1, 3}, one[] = {1, 1, 1};
    snprintf(path, sizeof path, "%s/other.%d.gguf", dir, rd_test_world.rank);
    write_gguf(path, whole, "gemma", NULL);
    refused(path, "general.architecture 'gemma'", "another architecture");
    write_gguf(path, whole, "qwen2", NULL);
    refused(path, "qwen2.embedding_length is missing", "keys of another architecture");
    write_gguf(path, whole, "llama", wrong);
    refused(path, "tensor 'rope_freqs.weight': number", "frequencies of no known scaling");
    write_gguf(path, whole, "llama", one);
    rd_pretrained *p = NULL;
    is_rc(rd_pretrained_open(path, &p), RD_OK, "frequencies as they are");
    rd_pretrained_close(&p);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    const char *dir = rd_test_dir();
    rd_grid *self;
    rd_grid_self(&self);
    rd_model *whole = tiny_model(self, false, false);
    whole->cfg.norm_eps = 1.0 / 65536; /* GGUF's is a float32 */
    test_load(dir, whole);
    test_identity(dir, whole);
    test_tensors(dir, whole);
    test_config(dir, whole);
    test_families(dir);
    test_gguf(dir, whole);
    rd_model_free(&whole);
    rd_grid_free(&self);
    return rd_test_end();
}
