/* pretrained_config.c: the shape of a published model, from config.json or from GGUF's metadata.
 *
 * A key that changes what transformers computes is either understood or refused; an absent key has
 * the default that the model's class has there.  Keys of no consequence for the numbers (dropout,
 * caches, token ids) are not looked at, nor are keys that those classes do not know. */
#include "pretrained.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The model's own check, which knows no file. */
static int check_config(const char *path, rd_model_config *c)
{
    int rc = rd_model_config_check(c);
    if (rc == RD_OK) return RD_OK;
    rd_error why = *rd_error_get();
    rd_error_clear();
    return rd_error_set(why.code, __FILE__, __LINE__, __func__, "%s: %s", path, why.message);
}

/* ---------------------------------------------------------------- config.json */

typedef enum { LLAMA, MISTRAL, QWEN2, FAMILIES } model_family;
static const struct {
    const char *type, *class;
    int64_t kv_heads; /* where the key is absent; 0: as many as heads */
    int64_t positions;
} family[FAMILIES] = {{"llama", "LlamaForCausalLM", 0, 2048},
                      {"mistral", "MistralForCausalLM", 8, 131072},
                      {"qwen2", "Qwen2ForCausalLM", 32, 32768}};

typedef struct reader {
    const char *path;
    rd_json *doc;
    const rd_json_node *root;
    model_family family;
} reader;

/* A member that is there and not null. */
static const rd_json_node *member(const rd_json_node *object, const char *key)
{
    const rd_json_node *v = object != NULL ? rd_json_get(object, key) : NULL;
    return v != NULL && rd_json_kind(v) != RD_JSON_NULL ? v : NULL;
}

static int wrong_kind(const reader *r, const rd_json_node *v, const char *key, const char *expected)
{
    int rc = RD_OK;
    rd_buf got = {0};
    rd_json_print(v, false, &got);
    rc = rd_error_set(RD_EINPUT, __FILE__, __LINE__, __func__, "%s:%d: %s: expected %s, got %.80s",
                      r->path, rd_json_line(r->doc, v), key, expected, got.data);
    rd_buf_free(&got);
    return rc;
}

static int take_int(const reader *r, const rd_json_node *object, const char *key, int64_t fallback,
                    int64_t *out)
{
    const rd_json_node *v = member(object, key);
    *out = v != NULL ? rd_json_int(v) : fallback;
    return v == NULL || rd_json_is_int(v) ? RD_OK : wrong_kind(r, v, key, "an integer");
}

static int need_int(const reader *r, const char *key, int64_t *out)
{
    int rc = RD_OK;
    if (member(r->root, key) == NULL) RD_FAIL(RD_EINPUT, "%s: %s is missing", r->path, key);
    RD_TRY(take_int(r, r->root, key, 0, out));
done:
    return rc;
}

static int take_real(const reader *r, const rd_json_node *object, const char *key, double fallback,
                     double *out)
{
    const rd_json_node *v = member(object, key);
    *out = v != NULL ? rd_json_number(v) : fallback;
    return v == NULL || rd_json_kind(v) == RD_JSON_NUMBER ? RD_OK
                                                          : wrong_kind(r, v, key, "a number");
}

static int take_bool(const reader *r, const char *key, bool *out)
{
    const rd_json_node *v = member(r->root, key);
    *out = v != NULL && rd_json_bool(v);
    return v == NULL || rd_json_kind(v) == RD_JSON_BOOL ? RD_OK
                                                        : wrong_kind(r, v, key, "true or false");
}

static int take_text(const reader *r, const rd_json_node *object, const char *key,
                     const char *fallback, const char **out)
{
    const rd_json_node *v = member(object, key);
    *out = v != NULL ? rd_json_string(v) : fallback;
    return v == NULL || *out != NULL ? RD_OK : wrong_kind(r, v, key, "a string");
}

/* transformers takes the class from model_type; architectures must not contradict it. */
static int read_family(reader *r)
{
    int rc = RD_OK;
    const char *type, *class = NULL;
    RD_TRY(take_text(r, r->root, "model_type", "", &type));
    for (r->family = LLAMA; r->family < FAMILIES; r->family++)
        if (strcmp(type, family[r->family].type) == 0) break;
    if (r->family == FAMILIES)
        RD_FAIL(RD_EINPUT, "%s: model_type '%s' is not supported; llama, mistral and qwen2 are",
                r->path, type);
    const rd_json_node *list = member(r->root, "architectures");
    if (list == NULL) goto done;
    const rd_json_node *first = rd_json_kind(list) == RD_JSON_ARRAY && rd_json_count(list) == 1
                                    ? rd_json_first(list)
                                    : NULL;
    class = first != NULL ? rd_json_string(first) : NULL;
    if (class == NULL || strcmp(class, family[r->family].class) != 0)
        RD_TRY(wrong_kind(r, list, "architectures", family[r->family].class));
done:
    return rc;
}

static int read_sizes(const reader *r, rd_model_config *c)
{
    int rc = RD_OK;
    int64_t kv_heads = family[r->family].kv_heads;
    RD_TRY(need_int(r, "vocab_size", &c->vocab));
    RD_TRY(need_int(r, "hidden_size", &c->width));
    RD_TRY(need_int(r, "intermediate_size", &c->ffn));
    RD_TRY(need_int(r, "num_hidden_layers", &c->layers));
    RD_TRY(need_int(r, "num_attention_heads", &c->heads));
    /* Absent and null differ: null is one key-value head for each head. */
    if (kv_heads == 0 || rd_json_get(r->root, "num_key_value_heads") != NULL) kv_heads = c->heads;
    RD_TRY(take_int(r, r->root, "num_key_value_heads", kv_heads, &c->kv_heads));
    RD_TRY(take_int(r, r->root, "head_dim", 0, &c->head_size));
    RD_TRY(take_real(r, r->root, "rms_norm_eps", 1e-6, &c->norm_eps));
    RD_TRY(take_bool(r, "tie_word_embeddings", &c->tied));
done:
    return rc;
}

/* Is an object keyed by kinds of layers, as models with several rotary embeddings have it? */
static bool is_nested(const rd_json_node *rope)
{
    for (const rd_json_node *v = rd_json_first(rope); v != NULL; v = rd_json_next(v))
        if (rd_json_kind(v) == RD_JSON_OBJECT) return true;
    return false;
}

static int read_llama3(const reader *r, const rd_json_node *rope, int64_t positions,
                       rd_model_config *c)
{
    static const char *const needed[] = {"factor", "low_freq_factor", "high_freq_factor"};
    int rc = RD_OK;
    for (int i = 0; i < 3; i++)
        if (member(rope, needed[i]) == NULL)
            RD_FAIL(RD_EINPUT, "%s:%d: rope_type llama3 without %s", r->path,
                    rd_json_line(r->doc, rope), needed[i]);
    RD_TRY(take_real(r, rope, "factor", 0, &c->rope.factor));
    RD_TRY(take_real(r, rope, "low_freq_factor", 0, &c->rope.low_freq_factor));
    RD_TRY(take_real(r, rope, "high_freq_factor", 0, &c->rope.high_freq_factor));
    RD_TRY(take_int(r, rope, "original_max_position_embeddings", positions,
                    &c->rope.original_context));
    /* Beside the object it counts before the one in it, which is odd, but so transformers has it.
     */
    RD_TRY(take_int(r, r->root, "original_max_position_embeddings", c->rope.original_context,
                    &c->rope.original_context));
done:
    return rc;
}

/* rope_scaling, with the base beside it, up to transformers 4; rope_parameters from 5 on. */
static int read_rope(const reader *r, int64_t positions, rd_model_config *c)
{
    int rc = RD_OK;
    const char *key = "rope_scaling", *type = "default";
    const rd_json_node *rope = member(r->root, key);
    double partial;
    if (rope == NULL || (rd_json_kind(rope) == RD_JSON_OBJECT && rd_json_count(rope) == 0))
        rope = member(r->root, key = "rope_parameters");
    if (rope != NULL && (rd_json_kind(rope) != RD_JSON_OBJECT || is_nested(rope)))
        RD_TRY(wrong_kind(r, rope, key, "an object of numbers"));
    RD_TRY(take_real(r, r->root, "rope_theta", 10000, &c->rope_theta));
    RD_TRY(take_real(r, rope, "rope_theta", c->rope_theta, &c->rope_theta));
    RD_TRY(take_real(r, r->root, "partial_rotary_factor", 1, &partial));
    RD_TRY(take_real(r, rope, "partial_rotary_factor", partial, &partial));
    if (partial != 1)
        RD_FAIL(RD_EINPUT, "%s: partial_rotary_factor %g is not supported", r->path, partial);
    RD_TRY(take_text(r, rope, "type", "default", &type));
    RD_TRY(take_text(r, rope, "rope_type", type, &type));
    if (strcmp(type, "llama3") == 0)
        RD_TRY(read_llama3(r, rope, positions, c));
    else if (strcmp(type, "default") != 0)
        RD_FAIL(RD_EINPUT, "%s:%d: %s: rope_type '%s' is not supported; default and llama3 are",
                r->path, rd_json_line(r->doc, rope), key, type);
done:
    return rc;
}

/* Does any layer of Qwen2 look through the window? */
static bool has_sliding_layer(const reader *r, int64_t first, int64_t layers)
{
    const rd_json_node *types = member(r->root, "layer_types");
    if (types == NULL) return first < layers;
    for (const rd_json_node *v = rd_json_first(types); v != NULL; v = rd_json_next(v))
        if (rd_json_string(v) == NULL || strcmp(rd_json_string(v), "full_attention") != 0)
            return true;
    return false;
}

/* Our attention sees all earlier tokens.  A window that the longest context fits hides none. */
static int check_window(const reader *r, int64_t positions, const rd_model_config *c)
{
    int rc = RD_OK;
    bool used = r->family == MISTRAL;
    int64_t window, first;
    if (r->family == LLAMA) return RD_OK;
    if (r->family == QWEN2) RD_TRY(take_bool(r, "use_sliding_window", &used));
    RD_TRY(take_int(r, r->root, "max_window_layers", 28, &first));
    if (r->family == QWEN2 && !has_sliding_layer(r, first, c->layers)) used = false;
    if (!used || (rd_json_get(r->root, "sliding_window") != NULL &&
                  member(r->root, "sliding_window") == NULL))
        goto done;
    RD_TRY(take_int(r, r->root, "sliding_window", 4096, &window));
    if (window < positions)
        RD_FAIL(RD_EINPUT,
                "%s: sliding_window: attention through a window of %lld tokens is not supported "
                "(max_position_embeddings is %lld)",
                r->path, (long long)window, (long long)positions);
done:
    return rc;
}

/* What would make other numbers than ours. */
static int check_rest(const reader *r)
{
    int rc = RD_OK;
    const char *act;
    bool attention_bias, mlp_bias;
    RD_TRY(take_text(r, r->root, "hidden_act", "silu", &act));
    if (strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        RD_FAIL(RD_EINPUT, "%s: hidden_act '%s' is not supported; silu is", r->path, act);
    if (member(r->root, "quantization_config") != NULL)
        RD_FAIL(RD_EINPUT, "%s: quantization_config: quantised weights are read from GGUF alone",
                r->path);
    if (r->family != LLAMA) goto done;
    RD_TRY(take_bool(r, "attention_bias", &attention_bias));
    RD_TRY(take_bool(r, "mlp_bias", &mlp_bias));
    if (attention_bias || mlp_bias)
        RD_FAIL(RD_EINPUT, "%s: %s is not supported for llama", r->path,
                attention_bias ? "attention_bias (o_proj has one too)" : "mlp_bias");
done:
    return rc;
}

int rd_pretrained_read_json(const char *path, rd_model_config *c, int64_t *positions)
{
    int rc = RD_OK;
    reader r = {.path = path};
    *c = (rd_model_config){0};
    RD_TRY(rd_json_read(path, &r.doc));
    r.root = rd_json_root(r.doc);
    if (rd_json_kind(r.root) != RD_JSON_OBJECT) RD_FAIL(RD_EINPUT, "%s: expected an object", path);
    RD_TRY(read_family(&r));
    RD_TRY(read_sizes(&r, c));
    RD_TRY(take_int(&r, r.root, "max_position_embeddings", family[r.family].positions, positions));
    RD_TRY(read_rope(&r, *positions, c));
    RD_TRY(check_window(&r, *positions, c));
    RD_TRY(check_rest(&r));
    c->qkv_bias = r.family == QWEN2;
    RD_TRY(check_config(path, c));
done:
    rd_json_free(&r.doc);
    return rc;
}

/* ---------------------------------------------------------------- GGUF */

/* ARCHITECTURE.tail, which must be one value. */
static int find_meta(const rd_weights *w, const char *path, const char *architecture,
                     const char *tail, bool needed, const rd_meta **m)
{
    int rc = RD_OK;
    char key[128];
    snprintf(key, sizeof key, "%s.%s", architecture, tail);
    *m = rd_weights_meta(w, key);
    if (*m == NULL && needed) RD_FAIL(RD_EINPUT, "%s: %s is missing", path, key);
    if (*m == NULL) goto done;
    bool number = rd_meta_type(*m) == RD_META_INT || rd_meta_type(*m) == RD_META_REAL ||
                  rd_meta_type(*m) == RD_META_BOOL;
    if (rd_meta_is_array(*m) || !number)
        RD_FAIL(RD_EINPUT, "%s: %s: expected one number", path, key);
done:
    return rc;
}

typedef struct gguf_int {
    const char *tail;
    int64_t *out;
    bool needed; /* else *out stays as it is */
} gguf_int;

/* Keys of what is computed otherwise, and the value that changes nothing. */
static const struct {
    const char *tail;
    double harmless;
} refused[] = {{"expert_count", 0},        {"attention.causal", 1}, {"attention.scale", 0},
               {"embedding_scale", 1},     {"residual_scale", 1},   {"logit_scale", 1},
               {"rope.scaling.factor", 1}, {"rope.scale_linear", 1}};

static int check_gguf(const rd_weights *w, const char *path, const char *architecture,
                      int64_t head_size)
{
    int rc = RD_OK;
    const rd_meta *m;
    char key[128];
    int64_t context = 0, window = 0, value_length = head_size, rotary = head_size;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        RD_TRY(find_meta(w, path, architecture, refused[i].tail, false, &m));
        if (m != NULL && rd_meta_real(m, 0) != refused[i].harmless)
            RD_FAIL(RD_EINPUT, "%s: %s = %g is not supported", path, rd_meta_key(m),
                    rd_meta_real(m, 0));
    }
    snprintf(key, sizeof key, "%s.rope.scaling.type", architecture);
    m = rd_weights_meta(w, key);
    const char *type = m != NULL ? rd_meta_string(m, 0, NULL) : "none";
    if (type == NULL || strcmp(type, "none") != 0)
        RD_FAIL(RD_EINPUT, "%s: %s '%s' is not supported", path, key, type != NULL ? type : "?");
    const gguf_int ints[] = {{"context_length", &context, false},
                             {"attention.sliding_window", &window, false},
                             {"attention.value_length", &value_length, false},
                             {"rope.dimension_count", &rotary, false}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        RD_TRY(find_meta(w, path, architecture, ints[i].tail, false, &m));
        if (m != NULL) *ints[i].out = rd_meta_int(m, 0);
    }
    if (window != 0 && window < context)
        RD_FAIL(RD_EINPUT, "%s: %s.attention.sliding_window = %lld is not supported", path,
                architecture, (long long)window);
    if (value_length != head_size || rotary != head_size)
        RD_FAIL(RD_EINPUT, "%s: %s.%s = %lld is not supported; heads are of size %lld", path,
                architecture,
                value_length != head_size ? "attention.value_length" : "rope.dimension_count",
                (long long)(value_length != head_size ? value_length : rotary),
                (long long)head_size);
done:
    return rc;
}

/* A GGUF file holds what llama3's scaling divides by, not its four numbers.  All models that were
 * published so have 1, 4 and 8192, and the slowest frequency is divided by the factor: a guess that
 * is accepted only when it gives every number of the tensor. */
static int read_rope_freqs(const rd_weights *w, const char *path, rd_model_config *c)
{
    int rc = RD_OK;
    const rd_tensor *t = rd_weights_find(w, "rope_freqs.weight");
    int64_t n = c->head_size / 2;
    float *x = NULL;
    if (t == NULL) return RD_OK;
    if (t->rank != 1 || t->dims[0] != n)
        RD_FAIL(RD_EINPUT, "%s: tensor 'rope_freqs.weight': expected %lld numbers", path,
                (long long)n);
    x = rd_new(float, n);
    const rd_slab all = {0, n, 1, n};
    RD_TRY(rd_weights_read(w, t, &all, x));
    rd_model_config guess = *c;
    guess.rope = (rd_rope_scaling){(double)x[n - 1], 1, 4, 8192};
    for (int64_t i = 0; i < n; i++) {
        double want = rd_rope_divisor(&guess, i);
        if (!(fabs((double)x[i] - want) <= 1e-5 * want))
            RD_FAIL(RD_EINPUT,
                    "%s: tensor 'rope_freqs.weight': number %lld is %g; llama3's scaling by %g "
                    "would have %g, and no other is supported",
                    path, (long long)i, (double)x[i], guess.rope.factor, want);
    }
    if (guess.rope.factor != 1) c->rope = guess.rope;
    RD_TRY(check_config(path, c));
done:
    rd_free(x);
    return rc;
}

static int read_vocabulary(const rd_weights *w, const char *path, int64_t *vocab)
{
    int rc = RD_OK;
    const rd_tensor *t = rd_weights_find(w, "token_embd.weight");
    if (t == NULL || t->rank != 2) RD_FAIL(RD_EINPUT, "%s: no matrix 'token_embd.weight'", path);
    *vocab = t->dims[0];
done:
    return rc;
}

int rd_pretrained_read_gguf(const rd_weights *w, const char *path, rd_model_config *c,
                            int64_t *positions)
{
    int rc = RD_OK;
    *c = (rd_model_config){.rope_theta = 10000};
    const rd_meta *m = rd_weights_meta(w, "general.architecture");
    const char *architecture = m != NULL ? rd_meta_string(m, 0, NULL) : NULL;
    if (architecture == NULL)
        RD_FAIL(RD_EINPUT, "%s: general.architecture is missing or no string", path);
    bool qwen2 = strcmp(architecture, "qwen2") == 0;
    if (!qwen2 && strcmp(architecture, "llama") != 0)
        RD_FAIL(RD_EINPUT, "%s: general.architecture '%s' is not supported; llama and qwen2 are",
                path, architecture);
    const gguf_int ints[] = {{"embedding_length", &c->width, true},
                             {"block_count", &c->layers, true},
                             {"feed_forward_length", &c->ffn, true},
                             {"attention.head_count", &c->heads, true},
                             {"attention.head_count_kv", &c->kv_heads, false},
                             {"attention.key_length", &c->head_size, false}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        RD_TRY(find_meta(w, path, architecture, ints[i].tail, ints[i].needed, &m));
        if (m != NULL) *ints[i].out = rd_meta_int(m, 0);
    }
    if (c->kv_heads == 0) c->kv_heads = c->heads;
    RD_TRY(find_meta(w, path, architecture, "attention.layer_norm_rms_epsilon", true, &m));
    c->norm_eps = rd_meta_real(m, 0);
    RD_TRY(find_meta(w, path, architecture, "rope.freq_base", false, &m));
    if (m != NULL) c->rope_theta = rd_meta_real(m, 0);
    RD_TRY(find_meta(w, path, architecture, "context_length", false, &m));
    *positions = m != NULL ? rd_meta_int(m, 0) : 0;
    RD_TRY(read_vocabulary(w, path, &c->vocab));
    c->tied = rd_weights_find(w, "output.weight") == NULL;
    c->qkv_bias = qwen2;
    RD_TRY(check_config(path, c)); /* which gives heads their size */
    RD_TRY(check_gguf(w, path, architecture, c->head_size));
    RD_TRY(read_rope_freqs(w, path, c));
done:
    return rc;
}
