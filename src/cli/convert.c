/* convert.c: export, import and logits: a model from whatever holds it, to whatever is asked for.
 *
 * All ranks are one replica, features dealt over them, so that a model needs no rank that holds all
 * of it. */
#include "cli/job.h"

#include "cli/convert.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Where a model and what belongs to it are. */
typedef struct source {
    char *weights;           /* checkpoint, published model or peft folder */
    char *base;              /* published model under an adapter; NULL: as the checkpoint says */
    char *tokenizer;         /* NULL: not known */
    char *origin;            /* the published model that the weights are or came from; NULL: none */
    rd_checkpoint_info info; /* of a checkpoint */
} source;

static void source_free(source *s)
{
    rd_free(s->weights), rd_free(s->base), rd_free(s->tokenizer), rd_free(s->origin);
    *s = (source){0};
}

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

static char *path_in(const char *folder, const char *name)
{
    rd_buf b = {0};
    rd_buf_printf(&b, "%s/%s", folder, name);
    return rd_buf_take(&b);
}

static bool has_file(const char *folder, const char *name)
{
    char *path = path_in(folder, name);
    const bool there = rd_file_exists(path);
    rd_free(path);
    return there;
}

static bool is_peft(const char *path)
{
    return has_file(path, "adapter_config.json");
}

/* ---------------------------------------------------------------- finding */

static int find_arm(const config *c, const char *name, const config_arm **arm)
{
    int rc = RD_OK;
    *arm = &c->arm[c->n_arms - 1];
    if (name == NULL) return RD_OK;
    for (*arm = c->arm; *arm < c->arm + c->n_arms; ++*arm)
        if (strcmp((*arm)->name, name) == 0) return RD_OK;
    RD_FAIL(RD_EUSAGE, "--arm: %s has no arm '%s'", c->path, name);
done:
    return rc;
}

/* The final weights of a run's arm.  Local. */
static int find_in_config(const convert_args *a, source *s)
{
    int rc = RD_OK;
    job *j = rd_new(job, 1);
    const config_arm *arm, *from;
    rd_buf dir = {0};
    RD_TRY(config_load(a->file, a->n_sets, a->sets, &j->cfg));
    RD_TRY(find_arm(&j->cfg, a->arm, &arm));
    config_run_dir(&j->cfg, &dir);
    j->dir = rd_buf_take(&dir);
    from = job_source_arm(j, arm);
    const char *base = config_text(&from->keys, "model.base");
    const char *tokenizer = config_text(&j->cfg.keys, "model.tokenizer.path");
    char *base_path = config_prompt_path(&j->cfg, base);
    const bool published = *base && rd_pretrained_is(base_path);
    if (job_is_untuned(arm) && !*base) {
        rd_free(base_path);
        RD_FAIL(RD_EINPUT, "%s: arm '%s' is neither trained nor has a base", a->file, arm->name);
    }
    const char *given = config_text(&arm->keys, "sft.adapter.path");
    if (!job_is_untuned(arm))
        s->weights = job_arm_weights(j, arm);
    else
        s->weights = *given ? config_prompt_path(&j->cfg, given) : rd_strdup(base_path);
    if (*tokenizer)
        s->tokenizer = config_prompt_path(&j->cfg, tokenizer);
    else
        s->tokenizer = published ? rd_strdup(base_path) : job_path(j, "tokenizer.json");
    if (published) s->base = rd_strdup(base_path);
    rd_free(base_path);
done:
    rd_free(j->dir);
    config_free(&j->cfg);
    rd_free(j);
    return rc;
}

/* A run's tokenizer lies three directories above its checkpoints.  *tokenizer NULL: it does not. */
static void find_run_tokenizer(const char *checkpoint, char **tokenizer)
{
    const char *slash = strrchr(checkpoint, '/');
    rd_buf b = {0};
    rd_buf_printf(&b, "%.*s/../../../tokenizer.json", slash ? (int)(slash - checkpoint) : 1,
                  slash ? checkpoint : ".");
    if (rd_file_exists(b.data)) *tokenizer = rd_buf_take(&b);
    rd_buf_free(&b);
}

/* Everything but the weights.  Collective on world. */
static int source_find(const rd_grid *g, const convert_args *a, source *s)
{
    int rc = RD_OK;
    if (ends_with(a->file, ".json"))
        rc = find_in_config(a, s);
    else
        s->weights = rd_strdup(a->file);
    RD_TRY(rd_agree(&g->world, rc));
    RD_ASSERT(s->weights != NULL);
    if (a->base != NULL) rd_free(s->base), s->base = rd_strdup(a->base);
    if (a->tokenizer != NULL) rd_free(s->tokenizer), s->tokenizer = rd_strdup(a->tokenizer);
    if (ends_with(s->weights, ".h5")) {
        RD_TRY(rd_checkpoint_read_info(g, s->weights, &s->info));
        if (s->base == NULL && s->info.base[0]) s->base = rd_strdup(s->info.base);
        if (s->base != NULL) s->origin = rd_strdup(s->base);
        if (s->origin == NULL && s->tokenizer == NULL)
            find_run_tokenizer(s->weights, &s->tokenizer);
    } else if (is_peft(s->weights)) {
        if (s->base == NULL)
            RD_FAIL(RD_EUSAGE, "%s is an adapter: --base must name the model that it goes with",
                    s->weights);
        s->origin = rd_strdup(s->base);
    } else {
        s->origin = rd_strdup(s->weights);
    }
    if (s->tokenizer == NULL && s->origin != NULL) s->tokenizer = rd_strdup(s->origin);
done:
    return rc;
}

/* ---------------------------------------------------------------- opening */

/* A published model's weights; want != 0: it must be that one. */
static int open_published(const rd_grid *g, const char *path, uint64_t want, rd_model **m)
{
    int rc = RD_OK;
    rd_pretrained *p = NULL;
    uint64_t id = 0;
    rc = rd_pretrained_open(path, &p);
    if (rc == RD_OK) rc = rd_pretrained_identity(p, &id);
    RD_TRY(rd_agree(&g->world, rc));
    if (want != 0 && id != want)
        RD_FAIL(RD_EINPUT, "%s is another model than the adapter was trained beside", path);
    RD_TRY(rd_model_create(g, rd_pretrained_config(p), false, m));
    RD_TRY(rd_pretrained_load(p, *m));
done:
    rd_pretrained_close(&p);
    return rc;
}

/* A checkpoint's adapter alone, which needs no weights of the base to be written down. */
static int open_adapter(const rd_grid *g, const source *s, rd_model **m)
{
    int rc = RD_OK;
    if (!s->info.adapted) RD_FAIL(RD_EINPUT, "%s holds no adapter", s->weights);
    RD_TRY(rd_model_create(g, &s->info.model, false, m));
    RD_TRY(rd_checkpoint_load_adapter(g, s->weights, s->info.key, &s->info.adapter, *m));
done:
    return rc;
}

/* The model; adapter: not merged, where there is one.  Collective on world. */
static int source_open(const rd_grid *g, const source *s, bool adapter, rd_model **m)
{
    int rc = RD_OK;
    *m = NULL;
    if (ends_with(s->weights, ".h5")) {
        if (adapter) RD_TRY(open_adapter(g, s, m));
        if (adapter) goto done;
        if (s->info.weights) {
            RD_TRY(rd_model_create(g, &s->info.model, false, m));
            RD_TRY(rd_checkpoint_load_weights(g, s->weights, s->info.key, *m));
            goto done;
        }
        RD_TRY(open_published(g, s->base, s->info.base_identity, m));
        RD_TRY(rd_checkpoint_load_adapter(g, s->weights, s->info.key, &s->info.adapter, *m));
    } else if (is_peft(s->weights)) {
        RD_TRY(open_published(g, s->base, 0, m));
        RD_TRY(rd_model_adapt_from(*m, s->weights));
    } else {
        RD_TRY(open_published(g, s->weights, 0, m));
    }
    if ((*m)->adapter.n > 0 && !adapter)
        RD_TRY(rd_agree(&g->world, rd_model_merge(*m, NULL, NULL)));
done:
    if (rc != RD_OK) rd_model_free(m);
    return rc;
}

/* The whole job as one replica. */
static int begin(const convert_args *a, source *s, rd_grid **g)
{
    int rc = RD_OK;
    rd_comm world = rd_comm_world();
    rd_stop_begin(0, NULL);
    RD_TRY(rd_grid_create(1, world.size, 1, g));
    RD_TRY(rd_la_attach(*g, 1));
    RD_TRY(source_find(*g, a, s));
done:
    return rc;
}

static void end(source *s, rd_model **m, rd_grid **g)
{
    rd_model_free(m);
    source_free(s);
    if (*g != NULL) rd_la_detach(*g);
    rd_grid_free(g);
}

/* ---------------------------------------------------------------- companions of the weights */

static int copy_file(const char *from, const char *to, const char *name)
{
    int rc = RD_OK;
    rd_buf bytes = {0};
    char *in = path_in(from, name), *out = path_in(to, name);
    if (!rd_file_exists(in)) goto done;
    RD_TRY(rd_file_read(in, &bytes));
    RD_TRY(rd_file_write_atomic(out, bytes.data ? bytes.data : "", bytes.len));
done:
    rd_buf_free(&bytes);
    rd_free(in), rd_free(out);
    return rc;
}

static int write_document(const char *dir, const char *name, rd_json *doc)
{
    rd_buf text = {0};
    char *path = path_in(dir, name);
    rd_json_print(rd_json_root(doc), true, &text);
    rd_buf_putc(&text, '\n');
    int rc = rd_file_write_atomic(path, text.data, text.len);
    rd_buf_free(&text);
    rd_free(path);
    return rc;
}

static void put_piece(rd_json_node *o, const char *key, const rd_tok *tok, int32_t id)
{
    size_t n;
    if (id < 0) return;
    const char *piece = rd_tok_piece(tok, id, &n);
    char *text = rd_strndup(piece, n);
    rd_json_set_string(o, key, text);
    rd_free(text);
}

/* A tokenizer that is no folder's, as transformers reads it. */
static int write_tokenizer(const rd_tok *tok, const char *from, const char *dir)
{
    int rc = RD_OK;
    rd_buf jinja = {0};
    char *path = path_in(dir, "tokenizer.json");
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *root = rd_json_root(doc);
    RD_TRY(rd_tok_save(tok, path));
    rd_json_set_string(root, "tokenizer_class", "PreTrainedTokenizerFast");
    rd_json_set_bool(root, "clean_up_tokenization_spaces", false);
    put_piece(root, "bos_token", tok, rd_tok_bos(tok));
    put_piece(root, "eos_token", tok, rd_tok_eos(tok));
    put_piece(root, "pad_token", tok, rd_tok_pad(tok));
    if (ends_with(from, ".gguf")) RD_TRY(rd_chat_find(from, &jinja));
    if (jinja.len > 0) rd_json_set_string(root, "chat_template", jinja.data);
    RD_TRY(write_document(dir, "tokenizer_config.json", doc));
done:
    rd_json_free(&doc);
    rd_buf_free(&jinja);
    rd_free(path);
    return rc;
}

static int write_generation(const rd_tok *tok, const char *dir)
{
    static const char *const key[] = {"bos_token_id", "eos_token_id", "pad_token_id"};
    const int32_t id[] = {rd_tok_bos(tok), rd_tok_eos(tok), rd_tok_pad(tok)};
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    for (int i = 0; i < 3; i++)
        if (id[i] >= 0) rd_json_set_int(rd_json_root(doc), key[i], id[i]);
    int rc = write_document(dir, "generation_config.json", doc);
    rd_json_free(&doc);
    return rc;
}

/* What the folders that the model and the tokenizer came from have beside the weights, and what can
 * be said without them.  Root only; tok NULL: no tokenizer is known. */
static int write_companions(const source *s, const rd_tok *tok, const char *dir)
{
    static const char *const files[] = {"tokenizer.json",      "tokenizer_config.json",
                                        "tokenizer.model",     "special_tokens_map.json",
                                        "added_tokens.json",   "vocab.json",
                                        "chat_template.jinja", "merges.txt"};
    int rc = RD_OK;
    if (tok == NULL) goto done;
    if (has_file(s->tokenizer, "tokenizer.json"))
        for (size_t i = 0; i < sizeof files / sizeof *files; i++)
            RD_TRY(copy_file(s->tokenizer, dir, files[i]));
    else
        RD_TRY(write_tokenizer(tok, s->tokenizer, dir));
    if (s->origin != NULL && has_file(s->origin, "generation_config.json"))
        RD_TRY(copy_file(s->origin, dir, "generation_config.json"));
    else
        RD_TRY(write_generation(tok, dir));
done:
    return rc;
}

/* The tokenizer of a source, when there is one that we can read; of a checkpoint only the one that
 * it was trained with. */
static int open_tokenizer(const source *s, rd_tok **tok)
{
    int rc = RD_OK;
    *tok = NULL;
    if (s->tokenizer == NULL) return RD_OK;
    if (rd_tok_open(s->tokenizer, tok) != RD_OK) {
        rd_warn("without a tokenizer: %s", rd_error_get()->message);
        rd_error_clear();
        return RD_OK;
    }
    if (s->info.tokenizer != 0 && job_tokenizer_key(*tok) != s->info.tokenizer) {
        rd_tok_free(tok);
        RD_FAIL(RD_EINPUT, "%s was trained with another tokenizer than %s", s->weights,
                s->tokenizer);
    }
done:
    return rc;
}

/* ---------------------------------------------------------------- export */

static int parse_dtype(const char *name, rd_format *f)
{
    int rc = RD_OK;
    *f = RD_FORMAT_F32;
    if (name == NULL || strcmp(name, "f32") == 0) return RD_OK;
    *f = strcmp(name, "f16") == 0 ? RD_FORMAT_F16 : RD_FORMAT_BF16;
    if (*f == RD_FORMAT_BF16 && strcmp(name, "bf16") != 0)
        RD_FAIL(RD_EUSAGE, "--dtype: expected f32, bf16 or f16, got '%s'", name);
done:
    return rc;
}

/* What the origin says of itself. */
static int read_origin(const source *s, rd_publish_opts *o, rd_buf *text)
{
    int rc = RD_OK;
    rd_pretrained *p = NULL;
    char *path = NULL;
    if (s->origin == NULL) return RD_OK;
    if (has_file(s->origin, "config.json")) {
        path = path_in(s->origin, "config.json");
        RD_TRY(rd_file_read(path, text));
        o->config = text->data;
    } else {
        RD_TRY(rd_pretrained_open(s->origin, &p));
        o->positions = rd_pretrained_positions(p);
    }
done:
    rd_pretrained_close(&p);
    rd_free(path);
    return rc;
}

static int export_model(const convert_args *a, const rd_grid *g, const source *s, const rd_model *m,
                        rd_format format)
{
    int rc = RD_OK;
    rd_buf text = {0};
    rd_tok *tok = NULL;
    rd_publish_opts o = {.format = format,
                         .shard_bytes = (int64_t)(1e9 * (a->shard_gb > 0 ? a->shard_gb : 5)),
                         .bos = -1,
                         .eos = -1,
                         .pad = -1};
    rc = open_tokenizer(s, &tok);
    if (rc == RD_OK) rc = read_origin(s, &o, &text);
    RD_TRY(rd_agree(&g->world, rc));
    if (tok != NULL) o.bos = rd_tok_bos(tok), o.eos = rd_tok_eos(tok), o.pad = rd_tok_pad(tok);
    RD_TRY(rd_model_publish(m, &o, a->to));
    RD_TRY(rd_agree(&g->world, g->world.rank == 0 ? write_companions(s, tok, a->to) : RD_OK));
done:
    rd_tok_free(&tok);
    rd_buf_free(&text);
    return rc;
}

int convert_export(const convert_args *a, bool adapter)
{
    int rc = RD_OK;
    source s = {0};
    rd_grid *g = NULL;
    rd_model *m = NULL;
    rd_format format;
    RD_TRY(parse_dtype(a->dtype, &format));
    RD_TRY(begin(a, &s, &g));
    RD_TRY(source_open(g, &s, adapter, &m));
    if (adapter && m->adapter.n == 0) RD_FAIL(RD_EINPUT, "%s holds no adapter", s.weights);
    if (adapter)
        RD_TRY(rd_adapter_publish(m, format, s.origin != NULL ? s.origin : "", a->to));
    else
        RD_TRY(export_model(a, g, &s, m, format));
    rd_info("export   %s of %.1f million parameters from %s to %s",
            adapter ? "the adapter of a model" : "a model",
            1e-6 * (double)rd_model_config_params(&m->cfg), s.weights, a->to);
done:
    end(&s, &m, &g);
    return rc;
}

/* ---------------------------------------------------------------- import */

/* Which model a source is, as published files say it. */
static int source_identity(const source *s, uint64_t *id)
{
    int rc = RD_OK;
    rd_pretrained *p = NULL;
    rd_weights *w = NULL;
    char *path = path_in(s->weights, "adapter_model.safetensors");
    RD_TRY(rd_pretrained_open(s->origin, &p));
    RD_TRY(rd_pretrained_identity(p, id));
    if (!is_peft(s->weights)) goto done;
    RD_TRY(rd_weights_open(path, &w));
    RD_TRY(rd_weights_identity(w, *id, id));
done:
    rd_weights_close(&w);
    rd_pretrained_close(&p);
    rd_free(path);
    return rc;
}

int convert_import(const convert_args *a)
{
    int rc = RD_OK;
    source s = {0};
    rd_grid *g = NULL;
    rd_model *m = NULL;
    rd_tok *tok = NULL;
    rd_adapter_opts adapter;
    uint64_t id = 0;
    RD_TRY(begin(a, &s, &g));
    if (!rd_pretrained_is(s.weights))
        RD_FAIL(RD_EINPUT, "%s: neither a folder nor a .gguf file", s.weights);
    const bool peft = is_peft(s.weights);
    rc = open_tokenizer(&s, &tok);
    if (rc == RD_OK) rc = source_identity(&s, &id);
    if (rc == RD_OK && peft) rc = rd_adapter_read_opts(s.weights, &adapter);
    RD_TRY(rd_agree(&g->world, rc));
    RD_TRY(source_open(g, &s, peft, &m));
    RD_TRY(rd_checkpoint_import(g, m, peft ? &adapter : NULL, id,
                                tok != NULL ? job_tokenizer_key(tok) : 0, a->to));
    rd_info("import   a model of %.1f million parameters from %s to %s",
            1e-6 * (double)rd_model_config_params(&m->cfg), s.weights, a->to);
done:
    rd_tok_free(&tok);
    end(&s, &m, &g);
    return rc;
}

/* ---------------------------------------------------------------- logits */

static int read_tokens(const char *path, int64_t vocab, int32_t **tokens, int64_t *n)
{
    int rc = RD_OK;
    rd_buf text = {0};
    *tokens = NULL, *n = 0;
    RD_TRY(rd_file_read(path, &text));
    for (char *at = text.data, *next;; at = next) {
        while (at != NULL && isspace((unsigned char)*at)) at++;
        if (at == NULL || *at == 0) break;
        const long long id = strtoll(at, &next, 10);
        if (next == at || id < 0 || id >= vocab)
            RD_FAIL(RD_EINPUT, "%s: number %lld is no token id below %lld", path, (long long)*n + 1,
                    (long long)vocab);
        rd_resize(*tokens, *n + 1);
        (*tokens)[(*n)++] = (int32_t)id;
    }
    if (*n == 0) RD_FAIL(RD_EINPUT, "%s: no token ids", path);
done:
    rd_buf_free(&text);
    return rc;
}

int convert_logits(const convert_args *a)
{
    int rc = RD_OK;
    source s = {0};
    rd_grid *g = NULL;
    rd_model *m = NULL;
    rd_kv *kv = NULL;
    int32_t *tokens = NULL;
    float *z = NULL;
    int64_t T = 0;
    enum { CHUNK = 64 }; /* tokens that are computed together */
    RD_TRY(begin(a, &s, &g));
    RD_TRY(source_open(g, &s, false, &m));
    RD_TRY(rd_agree(&g->world, read_tokens(a->tokens, m->cfg.vocab, &tokens, &T)));
    RD_TRY(rd_kv_create_pooled(m, CHUNK, T, CHUNK, T, &kv));
    z = rd_new(float, T * m->cfg.vocab);
    for (int64_t t = 0; t < T; t += CHUNK)
        RD_TRY(rd_model_extend_all(m, kv, 0, T - t < CHUNK ? T - t : CHUNK, tokens + t,
                                   z + t * m->cfg.vocab));
    if (g->world.rank == 0)
        rc = rd_file_write_atomic(a->to, z, (size_t)(T * m->cfg.vocab) * sizeof *z);
    RD_TRY(rd_agree(&g->world, rc));
done:
    rd_free(tokens);
    rd_free(z);
    rd_kv_free(&kv);
    end(&s, &m, &g);
    return rc;
}
