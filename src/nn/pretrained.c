/* pretrained.c: published models: which tensor of the files is which parameter, and loading them.
 *
 * The list of parameters is the model's own: a model of that shape is set up as a plan does it,
 * without memory, and looked through.  So there is one place that knows names and shapes. */
#include "ops.h"
#include "pretrained.h"

#include <string.h>
#include <sys/stat.h>

struct rd_pretrained {
    char *path;
    bool gguf;
    rd_weights *weights;
    rd_model_config cfg;
    int64_t positions;
};

/* ---------------------------------------------------------------- names */

/* GGUF's names of what transformers calls otherwise; in layers without the number. */
static const char *const renamed[][2] = {{"model.embed_tokens", "token_embd"},
                                         {"model.norm", "output_norm"},
                                         {"lm_head", "output"},
                                         {"self_attn.q_proj", "attn_q"},
                                         {"self_attn.k_proj", "attn_k"},
                                         {"self_attn.v_proj", "attn_v"},
                                         {"self_attn.o_proj", "attn_output"},
                                         {"mlp.gate_proj", "ffn_gate"},
                                         {"mlp.up_proj", "ffn_up"},
                                         {"mlp.down_proj", "ffn_down"},
                                         {"input_layernorm", "attn_norm"},
                                         {"post_attention_layernorm", "ffn_norm"}};

/* The name in the file of the parameter that Hugging Face calls `name`. */
static void file_name(const rd_pretrained *p, const char *name, char *out, size_t size)
{
    const char *layers = "model.layers.", *rest = name, *tail = strrchr(name, '.');
    size_t n = strlen(layers);
    snprintf(out, size, "%s", name);
    if (!p->gguf) return;
    char layer[32] = "";
    if (strncmp(name, layers, n) == 0) {
        rest = strchr(name + n, '.') + 1;
        snprintf(layer, sizeof layer, "blk.%.*s", (int)(rest - name - (int64_t)n), name + n);
    }
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++)
        if (strlen(renamed[i][0]) == (size_t)(tail - rest) &&
            memcmp(renamed[i][0], rest, (size_t)(tail - rest)) == 0)
            snprintf(out, size, "%s%s%s", layer, renamed[i][1], tail);
}

/* Tensors that are no parameters and say nothing that the configuration does not. */
static bool is_derived(const rd_pretrained *p, const char *name)
{
    const char *buffer = ".rotary_emb.inv_freq";
    size_t n = strlen(name), k = strlen(buffer);
    if (p->gguf) return strcmp(name, "rope_freqs.weight") == 0;
    return n > k && strcmp(name + n - k, buffer) == 0;
}

/* ---------------------------------------------------------------- checking */

static void shape_text(int rank, const int64_t *dims, char *out, size_t size)
{
    int at = 0;
    out[0] = 0;
    for (int i = 0; i < rank && at >= 0 && (size_t)at < size; i++)
        at +=
            snprintf(out + at, size - (size_t)at, "%s%lld", i > 0 ? " x " : "", (long long)dims[i]);
}

static int check_param(const rd_pretrained *p, const rd_grid *g, const rd_param *param,
                       const rd_tensor **found)
{
    int rc = RD_OK;
    char name[96], want[64], got[200];
    int64_t dims[2];
    rd_slab slab[2];
    int rank = rd_param_slab(g, param, true, dims, slab);
    file_name(p, param->name, name, sizeof name);
    const rd_tensor *t = rd_weights_find(p->weights, name);
    if (t == NULL) RD_FAIL(RD_EINPUT, "%s: tensor '%s' is missing", p->path, name);
    bool same = t->rank == rank;
    for (int i = 0; same && i < rank; i++) same = t->dims[i] == dims[i];
    shape_text(rank, dims, want, sizeof want);
    shape_text(t->rank, t->dims, got, sizeof got);
    if (!same)
        RD_FAIL(RD_EINPUT, "%s: tensor '%s' is of shape %s, expected %s", p->path, name, got, want);
    if (t->format == RD_FORMAT_OTHER)
        RD_FAIL(RD_EINPUT, "%s: tensor '%s': weights in format %s are not supported", p->path, name,
                t->type);
    *found = t;
done:
    return rc;
}

/* Some files repeat the embedding as the head of a model that says they are one. */
static int check_tied_head(const rd_pretrained *p, const rd_tensor *head)
{
    int rc = RD_OK;
    const rd_tensor *e = rd_weights_find(p->weights, "model.embed_tokens.weight");
    if (e == NULL || e->format != head->format || e->n_bytes != head->n_bytes ||
        memcmp(e->data, head->data, (size_t)e->n_bytes) != 0)
        RD_FAIL(RD_EINPUT, "%s: tie_word_embeddings is true, but tensor '%s' is not the embedding",
                p->path, head->name);
done:
    return rc;
}

/* Every parameter has its tensor, and every tensor its parameter. */
static int check_against(const rd_pretrained *p, const rd_grid *g, const rd_model *model,
                         uint8_t *used)
{
    int rc = RD_OK;
    const rd_weights *w = p->weights;
    const rd_tensor *t, *first = rd_weights_count(w) > 0 ? rd_weights_tensor(w, 0) : NULL;
    for (int64_t i = 0; i < model->base.n; i++) {
        RD_TRY(check_param(p, g, &model->base.item[i], &t));
        used[t - first] = 1;
    }
    for (int64_t i = 0; i < rd_weights_count(w); i++) {
        t = rd_weights_tensor(w, i);
        if (used[i] || is_derived(p, t->name)) continue;
        if (p->cfg.tied && strcmp(t->name, "lm_head.weight") == 0) {
            RD_TRY(check_tied_head(p, t));
            continue;
        }
        RD_FAIL(RD_EINPUT, "%s: tensor '%s' is no part of such a model", p->path, t->name);
    }
done:
    return rc;
}

static int check_tensors(const rd_pretrained *p)
{
    int rc = RD_OK;
    rd_grid *self = NULL;
    rd_model *model = NULL;
    uint8_t *used = rd_new(uint8_t, rd_weights_count(p->weights));
    const bool pretending = rd_mem_pretending();
    rd_mem_pretend(true);
    rd_grid_pretend(1, 1, 1, &self);
    RD_TRY(rd_model_create(self, &p->cfg, false, &model));
    RD_TRY(check_against(p, self, model, used));
done:
    rd_model_free(&model);
    rd_grid_free(&self);
    rd_mem_pretend(pretending);
    rd_free(used);
    return rc;
}

/* ---------------------------------------------------------------- opening */

bool rd_pretrained_is(const char *path)
{
    size_t n = strlen(path);
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return true;
    return n > 5 && strcmp(path + n - 5, ".gguf") == 0;
}

static int read_config(rd_pretrained *p)
{
    int rc = RD_OK;
    rd_buf path = {0};
    if (p->gguf) return rd_pretrained_read_gguf(p->weights, p->path, &p->cfg, &p->positions);
    rd_buf_printf(&path, "%s/config.json", p->path);
    rc = rd_pretrained_read_json(path.data, &p->cfg, &p->positions);
    rd_buf_free(&path);
    return rc;
}

int rd_pretrained_open(const char *path, rd_pretrained **out)
{
    int rc = RD_OK;
    struct stat st;
    rd_pretrained *p = rd_new(rd_pretrained, 1);
    *out = NULL;
    p->path = rd_strdup(path);
    p->gguf = stat(path, &st) != 0 || !S_ISDIR(st.st_mode);
    RD_TRY(rd_weights_open(path, &p->weights));
    RD_TRY(read_config(p));
    RD_TRY(check_tensors(p));
    *out = p;
    p = NULL;
done:
    rd_pretrained_close(&p);
    return rc;
}

void rd_pretrained_close(rd_pretrained **pp)
{
    rd_pretrained *p = *pp;
    if (p == NULL) return;
    rd_weights_close(&p->weights);
    rd_free(p->path);
    RD_FREE(*pp);
}

const rd_model_config *rd_pretrained_config(const rd_pretrained *p)
{
    return &p->cfg;
}

int64_t rd_pretrained_positions(const rd_pretrained *p)
{
    return p->positions;
}

int rd_pretrained_identity(const rd_pretrained *p, uint64_t *id)
{
    const rd_model_config *c = &p->cfg;
    const int64_t ints[] = {
        c->vocab,     c->width, c->layers, c->heads,    c->kv_heads,
        c->head_size, c->ffn,   c->tied,   c->qkv_bias, c->rope.original_context};
    const double reals[] = {c->rope_theta, c->norm_eps, c->rope.factor, c->rope.low_freq_factor,
                            c->rope.high_freq_factor};
    const uint64_t shape = rd_hash(reals, sizeof reals, rd_hash(ints, sizeof ints, 1));
    return rd_weights_identity(p->weights, shape, id);
}

/* ---------------------------------------------------------------- loading */

/* Straight into the parameters: their local part is dense and in the slab's order. */
static int load_share(const rd_pretrained *p, rd_model *model)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < model->base.n; i++) {
        rd_param *param = &model->base.item[i];
        char name[96];
        int64_t dims[2];
        rd_slab slab[2];
        file_name(p, param->name, name, sizeof name);
        const rd_tensor *t = rd_weights_find(p->weights, name);
        RD_ASSERT(t != NULL); /* as open found it */
        (void)rd_param_slab(model->grid, param, true, dims, slab);
        RD_TRY(rd_stop_poll("loading"));
        RD_TRY(rd_weights_read(p->weights, t, slab, param->w.a));
    }
done:
    return rc;
}

int rd_pretrained_load(const rd_pretrained *p, rd_model *model)
{
    RD_ASSERT(rd_model_config_same(&p->cfg, &model->cfg));
    RD_ASSERT(model->adapter.n == 0);
    return rd_agree(&model->grid->world, load_share(p, model));
}
