/* tutor.c: a model that teaches: which one it is, its own tokenizer and chat, and loading it when
 * it is needed.
 *
 * It lies on the run's grid, as the student does; the two are never in memory together, because the
 * stages follow each other. */
#include "cli/job.h"

#include <string.h>

/* teacher.path, or the model that the student starts from. */
static int find_path(tutor *t)
{
    int rc = RD_OK;
    const job *j = t->j;
    const char *base = config_text(&j->cfg.keys, "model.base");
    t->own = *j->teacher_path != 0;
    if (!t->own && !*base)
        RD_FAIL(RD_EINPUT,
                "%s: teacher.path: the kind model needs a model there, or else in model.base",
                j->cfg.path);
    t->path = t->own ? rd_strdup(j->teacher_path) : config_prompt_path(&j->cfg, base);
done:
    return rc;
}

/* The shape and which weights they are.  Collective. */
static int find_shape(tutor *t)
{
    int rc = RD_OK;
    const rd_grid *g = t->j->grid;
    const rd_comm *w = &g->world;
    int64_t published = w->rank == 0 && rd_pretrained_is(t->path);
    rd_bcast(w, &published, sizeof published, 0);
    if (published) {
        rc = rd_pretrained_open(t->path, &t->pretrained);
        if (rc == RD_OK) rc = rd_pretrained_identity(t->pretrained, &t->identity);
        RD_TRY(rd_agree(w, rc));
        t->shape = *rd_pretrained_config(t->pretrained);
    } else {
        RD_TRY(rd_checkpoint_config(g, t->path, &t->shape));
        RD_TRY(rd_checkpoint_base_hash(g, t->path, &t->identity));
    }
    t->identity = job_compute_key(t->j, t->identity);
done:
    return rc;
}

/* Of RUN/arms/NAME/checkpoints/FILE it is RUN/tokenizer.json. */
static char *run_tokenizer(const char *checkpoint)
{
    rd_buf b = {0};
    const char *slash = strrchr(checkpoint, '/');
    if (slash) rd_buf_add(&b, checkpoint, (size_t)(slash - checkpoint) + 1);
    rd_buf_puts(&b, "../../../tokenizer.json");
    return rd_buf_take(&b);
}

static int find_tokenizer(tutor *t)
{
    int rc = RD_OK;
    const job *j = t->j;
    const char *given = config_text(&j->cfg.keys, "teacher.tokenizer");
    rd_buf json = {0};
    char *path = *given          ? config_prompt_path(&j->cfg, given)
                 : t->pretrained ? rd_strdup(t->path)
                                 : run_tokenizer(t->path);
    RD_TRY(rd_agree(&j->grid->world, rd_tok_open(path, &t->tok)));
    rd_tok_to_json(t->tok, &json);
    t->tok_key = rd_hash(json.data, json.len, 0);
    if (rd_tok_vocab(t->tok) > t->shape.vocab)
        RD_FAIL(RD_EINPUT, "teacher.tokenizer: %s has %lld tokens, the model in %s has %lld", path,
                (long long)rd_tok_vocab(t->tok), t->path, (long long)t->shape.vocab);
done:
    rd_buf_free(&json);
    rd_free(path);
    return rc;
}

static int find_chat(tutor *t)
{
    int rc = RD_OK;
    const config_scope *s = &t->j->cfg.keys;
    const rd_comm *w = &t->j->grid->world;
    const char *name = config_text(s, t->own ? "teacher.chat" : "model.chat");
    const char *system = config_text(s, t->own ? "teacher.system" : "model.system");
    rd_buf jinja = {0};
    RD_TRY(rd_agree(w, t->pretrained && w->rank == 0 ? rd_chat_find(t->path, &jinja) : RD_OK));
    rd_bcast_buf(w, &jinja, 0);
    RD_TRY(rd_agree(
        w, rd_chat_create(t->tok, name, system, jinja.len > 0 ? jinja.data : NULL, &t->chat)));
done:
    rd_buf_free(&jinja);
    return rc;
}

int tutor_open(const job *j, tutor *t)
{
    int rc = RD_OK;
    *t = (tutor){.j = j};
    RD_TRY(find_path(t));
    RD_TRY(find_shape(t));
    RD_TRY(find_tokenizer(t));
    RD_TRY(find_chat(t));
done:
    return rc;
}

int tutor_load(void *context, const rd_model **model)
{
    int rc = RD_OK;
    tutor *t = context;
    const double begun = rd_time();
    rd_clock_begin("load");
    *model = NULL;
    if (t->model == NULL) {
        RD_TRY(rd_model_create(t->j->grid, &t->shape, false, &t->model));
        if (t->pretrained)
            RD_TRY(rd_pretrained_load(t->pretrained, t->model));
        else
            RD_TRY(rd_checkpoint_load_base(t->j->grid, t->path, t->tok_key, t->model));
        RD_TRY(rd_model_pack(t->model));
        rd_info("teacher  %.1f million parameters from %s in %.1f s, the template %s",
                1e-6 * (double)rd_model_config_params(&t->shape), t->path, rd_time() - begun,
                rd_chat_name(t->chat));
    }
    *model = t->model;
done:
    rd_clock_end("load");
    return rc;
}

void tutor_options(tutor *t, rd_model_teacher_opts *o)
{
    const config_scope *s = &t->j->cfg.keys;
    *o = (rd_model_teacher_opts){.load = tutor_load,
                                 .context = t,
                                 .identity = t->identity,
                                 .chat = t->chat,
                                 .max_tokens = config_int(s, "teacher.max_tokens")};
    options_generator(s, "teacher", &o->generator);
}

void tutor_close(tutor *t)
{
    rd_model_free(&t->model);
    rd_chat_free(&t->chat);
    rd_tok_free(&t->tok);
    rd_pretrained_close(&t->pretrained);
    rd_free(t->path);
    *t = (tutor){0};
}
