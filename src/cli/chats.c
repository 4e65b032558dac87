/* chats.c: which chat template an arm's prompts and responses get. */
#include "cli/job.h"

#include <string.h>

/* The template that an arm's base brings, or else the folder of the tokenizer.  Root only. */
static int find_template(const job *j, const config_arm *arm, rd_buf *jinja)
{
    int rc = RD_OK;
    const char *base = config_text(&arm->keys, "model.base");
    char *path = config_prompt_path(&j->cfg, base);
    if (*base) RD_TRY(rd_chat_find(path, jinja));
    if (jinja->len == 0 && j->tok_path) RD_TRY(rd_chat_find(j->tok_path, jinja));
done:
    rd_free(path);
    return rc;
}

static int make_chat(const rd_tok *tok, const config_arm *arm, const rd_buf *jinja, rd_chat **chat)
{
    return rd_chat_create(tok, config_text(&arm->keys, "model.chat"),
                          config_text(&arm->keys, "model.system"),
                          jinja->len > 0 ? jinja->data : NULL, chat);
}

/* With the tokenizer that is there.  Root only. */
static int try_chats(const job *j)
{
    int rc = RD_OK;
    rd_tok *tok = NULL;
    rd_chat *chat = NULL;
    rd_buf jinja = {0};
    RD_TRY(rd_tok_open(j->tok_path, &tok));
    for (int i = 0; i < j->cfg.n_arms; i++) {
        rd_buf_clear(&jinja);
        RD_TRY(find_template(j, &j->cfg.arm[i], &jinja));
        RD_TRY(make_chat(tok, &j->cfg.arm[i], &jinja, &chat));
        rd_chat_free(&chat);
    }
done:
    rd_tok_free(&tok);
    rd_buf_free(&jinja);
    return rc;
}

int chats_check(const job *j)
{
    int rc = RD_OK;
    rd_comm world = rd_comm_world();
    if (j->tok_path) return rd_agree(&world, world.rank == 0 ? try_chats(j) : RD_OK);
    for (int i = 0; i < j->cfg.n_arms; i++) {
        const config_scope *s = &j->cfg.arm[i].keys;
        const char *name = config_text(s, "model.chat");
        if (strcmp(name, "auto") != 0 && strcmp(name, "none") != 0)
            RD_FAIL(RD_EINPUT,
                    "%s: model.chat: the tokenizer that is trained on the datasets has no special "
                    "tokens for the template %s",
                    j->cfg.path, name);
        if (*config_text(s, "model.system"))
            RD_FAIL(RD_EINPUT, "%s: model.system: there is no chat template to put it in",
                    j->cfg.path);
    }
done:
    return rc;
}

int job_chat(job *j, const config_arm *arm, const rd_chat **chat)
{
    int rc = RD_OK;
    const rd_comm *w = &j->grid->world;
    rd_buf jinja = {0};
    rd_chat **kept = &j->arm[arm - j->cfg.arm].chat;
    if (*kept == NULL) {
        RD_TRY(rd_agree(w, w->rank == 0 ? find_template(j, arm, &jinja) : RD_OK));
        rd_bcast_buf(w, &jinja, 0);
        RD_TRY(rd_agree(w, make_chat(j->tok, arm, &jinja, kept)));
        if (strcmp(rd_chat_name(*kept), "none") != 0)
            rd_info("chat     %s: the template %s", arm->name, rd_chat_name(*kept));
    }
    *chat = *kept;
done:
    rd_buf_free(&jinja);
    return rc;
}
