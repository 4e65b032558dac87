/* publish.c: models and adapters as the folders that transformers and peft load.
 *
 * Weights go out by shares, as rd_export takes them.  An adapter's matrices are small: each is
 * brought together on every rank, and one of them writes. */
#include "ops.h"

#include <math.h>
#include <string.h>

/* dir/name */
static int write_json(const rd_grid *g, const char *dir, const char *name, rd_json *doc)
{
    int rc = RD_OK;
    rd_buf path = {0}, text = {0};
    if (g->world.rank == 0) {
        rd_buf_printf(&path, "%s/%s", dir, name);
        rd_json_print(rd_json_root(doc), true, &text);
        rd_buf_putc(&text, '\n');
        rc = rd_file_write_atomic(path.data, text.data, text.len);
    }
    rd_buf_free(&path);
    rd_buf_free(&text);
    return rd_agree(&g->world, rc);
}

static int make_folder(const rd_grid *g, const char *dir)
{
    return rd_agree(&g->world, g->world.rank == 0 ? rd_dir_make(dir) : RD_OK);
}

/* ---------------------------------------------------------------- models */

/* The class of transformers that computes such a model.  Llama wants whole heads in the width;
 * Mistral, which is the same otherwise, does not. */
static void put_class(rd_json_node *root, const rd_model_config *c)
{
    const bool whole = c->width % c->heads == 0;
    rd_json_set_string(root, "model_type", c->qkv_bias ? "qwen2" : whole ? "llama" : "mistral");
    rd_json_set_string(rd_json_set_array(root, "architectures"), NULL,
                       c->qkv_bias ? "Qwen2ForCausalLM"
                       : whole     ? "LlamaForCausalLM"
                                   : "MistralForCausalLM");
    if (!whole && !c->qkv_bias) rd_json_set_null(root, "sliding_window");
    if (c->qkv_bias) rd_json_set_bool(root, "use_sliding_window", false);
}

static void put_rope(rd_json_node *root, const rd_model_config *c)
{
    rd_json_set_number(root, "rope_theta", c->rope_theta);
    if (c->rope.factor == 0) return;
    rd_json_node *rope = rd_json_set_object(root, "rope_scaling");
    rd_json_set_string(rope, "rope_type", "llama3");
    rd_json_set_number(rope, "factor", c->rope.factor);
    rd_json_set_number(rope, "low_freq_factor", c->rope.low_freq_factor);
    rd_json_set_number(rope, "high_freq_factor", c->rope.high_freq_factor);
    rd_json_set_int(rope, "original_max_position_embeddings", c->rope.original_context);
}

static void put_config(rd_json_node *root, const rd_model_config *c, const rd_publish_opts *o)
{
    put_class(root, c);
    rd_json_set_int(root, "vocab_size", c->vocab);
    rd_json_set_int(root, "hidden_size", c->width);
    rd_json_set_int(root, "intermediate_size", c->ffn);
    rd_json_set_int(root, "num_hidden_layers", c->layers);
    rd_json_set_int(root, "num_attention_heads", c->heads);
    rd_json_set_int(root, "num_key_value_heads", c->kv_heads);
    rd_json_set_int(root, "head_dim", c->head_size);
    rd_json_set_string(root, "hidden_act", "silu");
    rd_json_set_int(root, "max_position_embeddings", o->positions > 0 ? o->positions : 4096);
    rd_json_set_number(root, "rms_norm_eps", c->norm_eps);
    rd_json_set_bool(root, "tie_word_embeddings", c->tied);
    put_rope(root, c);
    if (o->bos >= 0) rd_json_set_int(root, "bos_token_id", o->bos);
    if (o->eos >= 0) rd_json_set_int(root, "eos_token_id", o->eos);
    if (o->pad >= 0) rd_json_set_int(root, "pad_token_id", o->pad);
}

static const char *dtype_name(rd_format f)
{
    return f == RD_FORMAT_BF16 ? "bfloat16" : f == RD_FORMAT_F16 ? "float16" : "float32";
}

static int write_config(const rd_model *model, const rd_publish_opts *o, const char *dir)
{
    int rc = RD_OK;
    static const char *const stale[] = {"dtype", "_name_or_path", "transformers_version"};
    rd_json *doc = NULL;
    if (o->config != NULL) {
        RD_TRY(rd_json_parse(o->config, strlen(o->config), "config.json", 1, &doc));
        for (size_t i = 0; i < sizeof stale / sizeof *stale; i++)
            rd_json_delete(rd_json_root(doc), stale[i]);
    } else {
        doc = rd_json_new(RD_JSON_OBJECT);
        put_config(rd_json_root(doc), &model->cfg, o);
    }
    rd_json_set_string(rd_json_root(doc), "torch_dtype", dtype_name(o->format));
    RD_TRY(write_json(model->grid, dir, "config.json", doc));
done:
    rd_json_free(&doc);
    return rc;
}

int rd_model_publish(const rd_model *model, const rd_publish_opts *o, const char *dir)
{
    int rc = RD_OK;
    const rd_grid *g = model->grid;
    rd_export *e = NULL;
    int64_t n = model->base.n;
    rd_tensor *tensor = rd_new(rd_tensor, n);
    RD_ASSERT(model->adapter.n == 0);
    for (int64_t i = 0; i < n; i++) {
        rd_slab slab[2];
        tensor[i] = (rd_tensor){.name = model->base.item[i].name, .format = o->format};
        tensor[i].rank = rd_param_slab(g, &model->base.item[i], true, tensor[i].dims, slab);
    }
    RD_TRY(make_folder(g, dir));
    RD_TRY(rd_export_create(&g->world, dir, o->shard_bytes, n, tensor, NULL, &e));
    for (int64_t i = 0; i < n; i++) {
        const rd_param *p = &model->base.item[i];
        int64_t dims[2];
        rd_slab slab[2];
        (void)rd_param_slab(g, p, g->my_data == 0, dims, slab);
        RD_TRY(rd_export_write(e, i, slab, p->w.a));
    }
    RD_TRY(rd_export_commit(&e));
    RD_TRY(write_config(model, o, dir));
done:
    rd_export_close(&e);
    rd_free(tensor);
    return rc;
}

/* ---------------------------------------------------------------- adapters out */

static const char *const module_name[RD_TARGETS] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                    "gate_proj", "up_proj", "down_proj"};

/* All of a matrix, column-major, on every rank of the replica. */
static float *gather(const rd_grid *g, const rd_mat *A)
{
    float *x = rd_new(float, A->m * A->n);
    for (int64_t j = 0; j < A->ln; j++)
        for (int64_t i = 0; i < A->lm; i++)
            x[rd_mat_global_col(A, j) * A->m + rd_mat_global_row(A, i)] = A->a[j * A->ld + i];
    rd_sum_f32(&g->tp, x, A->m * A->n);
    return x;
}

/* The tensor of one of the adapter's parameters.  PiSSA and OLoRA changed the base under them; to
 * go with the base as it was, the adapter is A B less the A0 B0 it began with: of twice the rank,
 * with A beside A0 and B above -B0, as peft itself converts them. */
static float *adapter_tensor(const rd_model *model, int64_t i)
{
    const rd_param *p = &model->adapter.item[i];
    float *now = gather(model->grid, &p->w);
    if (!rd_adapter_takes(model)) return now;
    const int64_t m = p->w.m, n = p->w.n;
    float *begun = gather(model->grid, &model->adapter_start.item[i].w);
    float *both = rd_new(float, 2 * m * n);
    if (strstr(p->name, "lora_A") != NULL) {
        memcpy(both, now, (size_t)(m * n) * sizeof(float));
        memcpy(both + m * n, begun, (size_t)(m * n) * sizeof(float));
    } else {
        for (int64_t j = 0; j < n; j++)
            for (int64_t k = 0; k < m; k++) {
                both[2 * m * j + k] = now[m * j + k];
                both[2 * m * j + m + k] = -begun[m * j + k];
            }
    }
    rd_free(now);
    rd_free(begun);
    return both;
}

static int write_adapter_config(const rd_model *model, const char *base, const char *dir)
{
    int rc = RD_OK;
    const rd_adapter_opts *o = &model->parts->o;
    const int64_t twice = rd_adapter_takes(model) ? 2 : 1;
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *root = rd_json_root(doc);
    rd_json_set_string(root, "peft_type", "LORA");
    rd_json_set_string(root, "task_type", "CAUSAL_LM");
    rd_json_set_string(root, "base_model_name_or_path", base);
    rd_json_set_int(root, "r", twice * o->rank);
    /* The scale, alpha / r or alpha / sqrt(r), stays what it was. */
    rd_json_set_number(root, "lora_alpha",
                       o->alpha * (o->rslora ? sqrt((double)twice) : (double)twice));
    rd_json_set_number(root, "lora_dropout", o->dropout);
    rd_json_set_bool(root, "use_rslora", o->rslora);
    rd_json_set_bool(root, "use_dora", o->kind == RD_DORA);
    rd_json_node *list = rd_json_set_array(root, "target_modules");
    for (int t = 0; t < RD_TARGETS; t++)
        if (o->targets >> t & 1) rd_json_set_string(list, NULL, module_name[t]);
    rd_json_set_string(root, "bias", "none");
    rd_json_set_bool(root, "fan_in_fan_out", false);
    rd_json_set_bool(root, "init_lora_weights", true);
    rd_json_set_bool(root, "inference_mode", true);
    RD_TRY(write_json(model->grid, dir, "adapter_config.json", doc));
done:
    rd_json_free(&doc);
    return rc;
}

int rd_adapter_publish(const rd_model *model, rd_format format, const char *base, const char *dir)
{
    int rc = RD_OK;
    const rd_grid *g = model->grid;
    const int64_t n = model->adapter.n;
    rd_export *e = NULL;
    rd_buf path = {0};
    rd_tensor *tensor = rd_new(rd_tensor, n);
    RD_ASSERT(n > 0);
    for (int64_t i = 0; i < n; i++) {
        rd_slab slab[2];
        tensor[i] = (rd_tensor){.name = model->adapter.item[i].name, .format = format};
        tensor[i].rank = rd_param_slab(g, &model->adapter.item[i], true, tensor[i].dims, slab);
        if (rd_adapter_takes(model)) tensor[i].dims[strstr(tensor[i].name, "lora_A") ? 0 : 1] *= 2;
    }
    RD_TRY(make_folder(g, dir));
    rd_buf_printf(&path, "%s/adapter_model.safetensors", dir);
    RD_TRY(rd_export_create(&g->world, path.data, 0, n, tensor, NULL, &e));
    for (int64_t i = 0; i < n; i++) {
        const int64_t *dims = tensor[i].dims, all = g->world.rank == 0;
        const rd_slab slab[2] = {{0, dims[0], all, dims[0]}, {0, dims[1], all, dims[1]}};
        float *x = adapter_tensor(model, i);
        rc = rd_export_write(e, i, slab, x);
        rd_free(x);
        RD_TRY(rc);
    }
    RD_TRY(rd_export_commit(&e));
    RD_TRY(write_adapter_config(model, base, dir));
done:
    rd_export_close(&e);
    rd_buf_free(&path);
    rd_free(tensor);
    return rc;
}

/* ---------------------------------------------------------------- adapters in */

/* Members of adapter_config.json that ask for something else unless they are absent, null, false,
 * empty or this. */
static const struct {
    const char *key, *harmless;
} unsupported[] = {{"bias", "none"},
                   {"fan_in_fan_out", NULL},
                   {"modules_to_save", NULL},
                   {"rank_pattern", NULL},
                   {"alpha_pattern", NULL},
                   {"layers_to_transform", NULL},
                   {"layer_replication", NULL},
                   {"lora_bias", NULL},
                   {"target_parameters", NULL},
                   {"trainable_token_indices", NULL},
                   {"use_qalora", NULL},
                   {"use_bdlora", NULL},
                   {"arrow_config", NULL},
                   {"alora_invocation_tokens", NULL}};

static bool is_harmless(const rd_json_node *v, const char *word)
{
    if (v == NULL) return true;
    switch (rd_json_kind(v)) {
    case RD_JSON_NULL: return true;
    case RD_JSON_BOOL: return !rd_json_bool(v);
    case RD_JSON_STRING: return word != NULL && strcmp(rd_json_string(v), word) == 0;
    case RD_JSON_ARRAY:
    case RD_JSON_OBJECT: return rd_json_count(v) == 0;
    default: return false;
    }
}

/* Initial values that take their product out of the base, so that the adapter in the file does not
 * go with the base as it was. */
static bool is_residual(const char *init)
{
    return init != NULL && (strncmp(init, "pissa", 5) == 0 || strcmp(init, "olora") == 0 ||
                            strcmp(init, "corda") == 0 || strcmp(init, "loftq") == 0);
}

static int read_adapter_config(const char *path, rd_adapter_opts *o)
{
    int rc = RD_OK;
    rd_json *doc = NULL;
    *o = (rd_adapter_opts){.kind = RD_LORA};
    RD_TRY(rd_json_read(path, &doc));
    const rd_json_node *root = rd_json_root(doc);
    if (rd_json_kind(root) != RD_JSON_OBJECT) RD_FAIL(RD_EINPUT, "%s: expected an object", path);
    const rd_json_node *type = rd_json_get(root, "peft_type"), *r = rd_json_get(root, "r"),
                       *alpha = rd_json_get(root, "lora_alpha"),
                       *dropout = rd_json_get(root, "lora_dropout"),
                       *init = rd_json_get(root, "init_lora_weights");
    const char *kind = type != NULL ? rd_json_string(type) : NULL;
    if (kind == NULL || strcmp(kind, "LORA") != 0)
        RD_FAIL(RD_EINPUT, "%s: peft_type '%s' is not supported; LORA is", path,
                kind != NULL ? kind : "");
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (!is_harmless(rd_json_get(root, unsupported[i].key), unsupported[i].harmless))
            RD_FAIL(RD_EINPUT, "%s: %s is not supported", path, unsupported[i].key);
    if (init != NULL && is_residual(rd_json_string(init)))
        RD_FAIL(RD_EINPUT,
                "%s: init_lora_weights '%s': such an adapter must be converted to a plain one when "
                "it is saved",
                path, rd_json_string(init));
    if (r == NULL || !rd_json_is_int(r)) RD_FAIL(RD_EINPUT, "%s: r: expected an integer", path);
    if (alpha == NULL || rd_json_kind(alpha) != RD_JSON_NUMBER)
        RD_FAIL(RD_EINPUT, "%s: lora_alpha: expected a number", path);
    o->rank = rd_json_int(r);
    o->alpha = rd_json_number(alpha);
    o->dropout = dropout != NULL ? rd_json_number(dropout) : 0;
    o->rslora = !is_harmless(rd_json_get(root, "use_rslora"), NULL);
    o->kind = is_harmless(rd_json_get(root, "use_dora"), NULL) ? RD_LORA : RD_DORA;
done:
    rd_json_free(&doc);
    return rc;
}

/* peft has written a magnitude with and without ".weight" behind it. */
static const rd_tensor *find_adapter(const rd_weights *w, const char *name)
{
    char other[160];
    const rd_tensor *t = rd_weights_find(w, name);
    snprintf(other, sizeof other, "%s.weight", name);
    return t != NULL ? t : rd_weights_find(w, other);
}

/* Open DIR: its options, with the targets that its first layer has tensors for.  Local. */
static int open_adapter(const char *dir, rd_adapter_opts *o, rd_weights **w)
{
    int rc = RD_OK;
    rd_buf path = {0};
    *w = NULL;
    rd_buf_printf(&path, "%s/adapter_config.json", dir);
    RD_TRY(read_adapter_config(path.data, o));
    rd_buf_clear(&path);
    rd_buf_printf(&path, "%s/adapter_model.safetensors", dir);
    RD_TRY(rd_weights_open(path.data, w));
    for (rd_target t = RD_Q; t < RD_TARGETS; t++) {
        char name[120];
        snprintf(name, sizeof name, "base_model.model.model.layers.0.%s.lora_A.weight",
                 rd_target_name(t));
        if (rd_weights_find(*w, name) != NULL) o->targets |= 1u << t;
    }
    if (o->targets == 0)
        RD_FAIL(RD_EINPUT,
                "%s: no tensor of an adapter on layer 0, such as "
                "'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight'",
                path.data);
done:
    rd_buf_free(&path);
    if (rc != RD_OK) rd_weights_close(w);
    return rc;
}

int rd_adapter_read_opts(const char *dir, rd_adapter_opts *o)
{
    rd_weights *w = NULL;
    int rc = open_adapter(dir, o, &w);
    rd_weights_close(&w);
    return rc;
}

/* Every tensor belongs to the adapter, and this rank's shares of them are read.  Local. */
static int load_adapter(const char *dir, const rd_weights *w, rd_model *model)
{
    int rc = RD_OK;
    const rd_params *p = &model->adapter;
    for (int64_t i = 0; i < p->n; i++) {
        int64_t dims[2];
        rd_slab slab[2];
        const rd_tensor *t = find_adapter(w, p->item[i].name);
        int rank = rd_param_slab(model->grid, &p->item[i], true, dims, slab);
        if (t == NULL) RD_FAIL(RD_EINPUT, "%s: tensor '%s' is missing", dir, p->item[i].name);
        if (t->rank != rank || t->dims[0] != dims[0] || (rank == 2 && t->dims[1] != dims[1]))
            RD_FAIL(RD_EINPUT, "%s: tensor '%s' does not fit the base model or r", dir, t->name);
        RD_TRY(rd_weights_read(w, t, slab, p->item[i].w.a));
    }
    if (rd_weights_count(w) == p->n) goto done;
    for (int64_t i = 0; i < rd_weights_count(w); i++) {
        const char *name = rd_weights_tensor(w, i)->name;
        bool known = false;
        for (int64_t k = 0; k < p->n && !known; k++)
            known = find_adapter(w, p->item[k].name) == rd_weights_tensor(w, i);
        if (!known)
            RD_FAIL(RD_EINPUT, "%s: tensor '%s' belongs to no adapter of this model", dir, name);
    }
done:
    return rc;
}

int rd_model_adapt_from(rd_model *model, const char *dir)
{
    int rc = RD_OK;
    rd_weights *w = NULL;
    rd_adapter_opts o;
    const rd_comm *world = &model->grid->world;
    RD_TRY(rd_agree(world, open_adapter(dir, &o, &w)));
    RD_TRY(rd_model_adapt(model, &o));
    RD_TRY(rd_agree(world, load_adapter(dir, w, model)));
    RD_TRY(rd_agree(world, rd_model_adapter_resume(model)));
done:
    rd_weights_close(&w);
    return rc;
}
