/* options.c: option structs of the layers from config values. */
#include "cli/job.h"

#include <stdlib.h>
#include <string.h>

static void options_http(const config_scope *s, rd_http_opts *o)
{
    o->url = config_text(s, "teacher.url");
    o->proxy = config_text(s, "teacher.proxy");
    o->model = config_text(s, "teacher.model");
    o->system = config_text(s, "teacher.system");
    o->token_field = config_text(s, "teacher.token_field");
    o->max_tokens = config_int(s, "teacher.max_tokens");
    o->choices = config_int(s, "teacher.choices");
    o->send_seed = config_bool(s, "teacher.send_seed");
    o->in_flight = config_int(s, "teacher.in_flight");
    o->attempts = config_int(s, "teacher.attempts");
    o->timeout = config_real(s, "teacher.timeout");
    o->deadline = config_real(s, "teacher.deadline");
    o->backoff = config_real(s, "teacher.backoff");
    o->backoff_max = config_real(s, "teacher.backoff_max");
    o->unanswered_counts = strcmp(config_text(s, "teacher.on_failure"), "unanswered") == 0;
    o->price_in = config_real(s, "teacher.price_in");
    o->price_out = config_real(s, "teacher.price_out");
    o->budget = config_real(s, "teacher.budget");
    o->max_calls = config_int(s, "teacher.max_calls");
}

/* The one secret: it stays in the environment and in the options. */
int options_key(const config_scope *s, rd_teacher_opts *o)
{
    int rc = RD_OK;
    const char *variable = config_text(s, "teacher.key_variable");
    if (!*variable || strcmp(o->kind, "http") != 0) return RD_OK;
    const char *value = getenv(variable);
    if (!value || !*value)
        RD_FAIL(RD_EINPUT, "teacher.key_variable: the environment variable '%s' is not set",
                variable);
    o->http.key = value;
done:
    return rc;
}

void options_generator(const config_scope *s, const char *part, rd_generator_opts *o)
{
    char key[32];
#define KEY(name) (snprintf(key, sizeof key, "%s.%s", part, name), key)
    *o = (rd_generator_opts){.slots = config_int(s, KEY("slots")),
                             .max_len = config_int(s, KEY("max_len")),
                             .sampling = {.top_k = config_int(s, KEY("top_k")),
                                          .top_p = config_real(s, KEY("top_p")),
                                          .min_p = config_real(s, KEY("min_p"))}};
    const config_value *stop = config_list(s, KEY("stop"));
#undef KEY
    o->stop = (const char *const *)stop->texts;
    o->n_stop = stop->n;
}

void options_teacher(const job *j, rd_teacher_opts *o)
{
    const config_scope *s = &j->cfg.keys;
    rd_teacher_defaults(o);
    o->kind = config_text(s, "teacher.kind");
    o->seed = (uint64_t)config_int(s, "run.seed");
    options_http(s, &o->http);
    o->replay.path = j->teacher_path;
    o->replay.unanswered_counts = o->http.unanswered_counts;
    o->noise = config_real(s, "teacher.noise");
    o->step_noise = config_real(s, "teacher.step_noise");
    o->format_noise = config_real(s, "teacher.format_noise");
    o->share_right = config_real(s, "teacher.share_right");
    o->share_near = config_real(s, "teacher.share_near");
    o->share_wrong = config_real(s, "teacher.share_wrong");
    o->wordings = (int)config_int(s, "teacher.wordings");
    o->use_known_rule = true; /* stage_augment hands rules over only where the config says so */
    if (strcmp(config_text(s, "teacher.skill"), "perfect") == 0)
        for (int f = 0; f < RD_FAMILIES; f++) {
            o->skill_a[f] = 1e3; /* logistic(a) is 1 */
            o->skill_b[f] = 0;
        }
}

void options_augment(const job *j, rd_augment_opts *o)
{
    const config_scope *s = &j->cfg.keys;
    *o = (rd_augment_opts){
        .hypotheses = j->hypotheses,
        .rule_temperature = config_real(s, "augment.rule_temperature"),
        .follow_temperature = config_real(s, "augment.follow_temperature"),
        .queries = config_bool(s, "augment.queries"),
        .dir = j->dir,
        .config = j->cfg.resolved,
    };
}

void options_sources(const job *j, bool *used)
{
    for (int i = 0; i < CONFIG_MAX_TASKS; i++)
        used[i] = i < j->cfg.n_tasks && config_bool(&j->cfg.task[i], "train");
}

void options_filter(const job *j, rd_filter_opts *o)
{
    const config_scope *s = &j->cfg.keys;
    rd_filter_defaults(o);
    o->min_score = config_real(s, "filter.min_score");
    o->follow_min_score = config_real(s, "filter.follow_min_score");
    for (int f = 0; f < RD_FAMILIES; f++) {
        char key[48];
        snprintf(key, sizeof key, "filter.gap.%s", rd_family_name((rd_family)f));
        o->gap[f] = (int)config_int(s, key);
    }
    o->max_pairs = config_int(s, "filter.max_pairs");
    o->follow_target = strcmp(config_text(s, "filter.follow_target"), "gold") == 0
                           ? RD_TARGET_GOLD
                           : RD_TARGET_TEACHER;
    o->follow_correct_only = config_bool(s, "filter.follow_correct_only");
    o->follow_queries = config_bool(s, "filter.follow_queries");
    o->worked = config_bool(s, "filter.worked");
    o->dedup =
        strcmp(config_text(s, "filter.dedup"), "task") == 0 ? RD_DEDUP_TASK : RD_DEDUP_FAMILY;
    o->max_rule_chars = config_int(s, "filter.max_rule_chars");
    bool used[CONFIG_MAX_TASKS];
    options_sources(j, used);
    for (int i = 0; i < j->cfg.n_tasks; i++) o->sources_off[i] = !used[i];
    for (int f = 0; f < RD_FAMILIES; f++) o->held[f] = j->held[f];
    o->official = config_is_official(&j->cfg);
    o->seed = (uint64_t)config_int(s, "run.seed");
    o->dir = j->dir;
    o->config = j->cfg.resolved;
}

static void options_optim(const config_scope *s, const char *stage, rd_optim_opts *o)
{
    char key[64];
    rd_optim_defaults(o);
#define KEY(name) (snprintf(key, sizeof key, "%s.%s", stage, name), key)
    o->kind = config_text(s, KEY("optimizer"));
    o->lr = config_real(s, KEY("lr"));
    o->muon_lr = config_real(s, KEY("muon_lr"));
    o->weight_decay = config_real(s, KEY("weight_decay"));
    o->beta2 = config_real(s, KEY("beta2"));
    o->clip = config_real(s, KEY("clip"));
    o->warmup = config_real(s, KEY("warmup"));
    o->min_lr = config_real(s, KEY("min_lr"));
    o->sharded = config_bool(s, KEY("shard_optimizer"));
}

bool options_adapter(const config_scope *s, rd_adapter_opts *o)
{
    static const char *const kinds[] = {
        [RD_LORA] = "lora", [RD_DORA] = "dora", [RD_PISSA] = "pissa", [RD_OLORA] = "olora"};
    static const char *const targets[RD_TARGETS] = {"q", "k", "v", "o", "gate", "up", "down"};
    const char *kind = config_text(s, "sft.adapter.kind");
    *o = (rd_adapter_opts){.rank = config_int(s, "sft.adapter.rank"),
                           .alpha = config_real(s, "sft.adapter.alpha"),
                           .dropout = config_real(s, "sft.adapter.dropout"),
                           .rslora = config_bool(s, "sft.adapter.rslora")};
    for (int t = 0; t < RD_TARGETS; t++)
        if (config_list_has(s, "sft.adapter.targets", targets[t])) o->targets |= 1u << t;
    for (int k = RD_LORA; k <= RD_OLORA; k++)
        if (strcmp(kind, kinds[k]) == 0) o->kind = (rd_adapter_kind)k;
    return strcmp(kind, "none") != 0;
}

int options_train(const job *j, const config_arm *arm, const char *stage, rd_train_opts *o)
{
    static const char *const kinds[RD_TRAIN_KINDS] = {"generate", "follow", "io"};
    const config_scope *s = &arm->keys;
    char key[64];
    rd_train_defaults(o);
    bool align = strcmp(stage, "align") == 0;
    for (int k = 0; k < RD_TRAIN_KINDS; k++) {
        o->kinds[k] = config_list_has(s, "sft.kinds", kinds[k]);
        snprintf(key, sizeof key, "sft.share.%s", kinds[k]);
        o->share[k] = config_real(s, key);
    }
    for (int f = 0; f < RD_TRAIN_FAMILIES; f++) {
        o->families[f] = config_list_has(s, "sft.families", rd_family_name((rd_family)f));
        snprintf(key, sizeof key, "sft.family_share.%s", rd_family_name((rd_family)f));
        o->family_share[f] = config_real(s, key);
    }
    o->epochs = config_real(s, KEY("epochs"));
    o->tokens = config_int(s, KEY("tokens"));
    o->batch_tokens = config_int(s, KEY("batch_tokens"));
    o->micro_tokens = config_int(s, KEY("micro_tokens"));
    o->max_len = config_int(s, KEY("max_len"));
    o->checkpoint_every = config_int(s, KEY("checkpoint_every"));
    o->overlap = config_bool(s, KEY("overlap"));
    o->recompute = config_bool(s, KEY("recompute"));
    options_optim(s, stage, &o->optim);
    o->seed = (uint64_t)config_int(s, "run.seed");
    o->stage = stage;
    o->tokenizer = j->tok_key;
    o->adapted = job_adapter(j, arm, &o->adapter);
    o->config = j->cfg.resolved;
    o->prompt_weight = align ? 0 : config_real(s, "sft.prompt_weight");
    o->branch_at = align ? 0 : config_real(s, "align.branch_at");
    o->variant =
        strcmp(config_text(s, "align.variant"), "full") == 0 ? RD_ORPO_FULL : RD_ORPO_RESPONSE;
    o->lambda = config_real(s, "align.lambda");
    o->rehearsal = config_real(s, "align.rehearsal");
    return RD_OK;
}
#undef KEY

int options_model(const config_scope *s, int64_t vocab, rd_model_config *c)
{
    *c = (rd_model_config){
        .vocab = vocab,
        .width = config_int(s, "model.init.width"),
        .layers = config_int(s, "model.init.layers"),
        .heads = config_int(s, "model.init.heads"),
        .kv_heads = config_int(s, "model.init.kv_heads"),
        .head_size = config_int(s, "model.init.head_size"),
        .ffn = config_int(s, "model.init.ffn"),
        .rope_theta = config_real(s, "model.init.rope_theta"),
        .rope = {.factor = config_real(s, "model.init.rope_factor"),
                 .low_freq_factor = config_real(s, "model.init.rope_low_freq_factor"),
                 .high_freq_factor = config_real(s, "model.init.rope_high_freq_factor"),
                 .original_context = config_int(s, "model.init.rope_original_context")},
        .norm_eps = config_real(s, "model.init.norm_eps"),
        .tied = config_bool(s, "model.init.tied"),
        .qkv_bias = config_bool(s, "model.init.qkv_bias"),
    };
    if (c->kv_heads == 0) c->kv_heads = c->heads;
    if (c->ffn == 0) c->ffn = (c->width * 8 / 3 + 15) / 16 * 16;
    return rd_model_config_check(c);
}

void options_eval(const job *j, const config_arm *arm, rd_eval_opts *o)
{
    const config_scope *s = &arm->keys;
    rd_eval_defaults(o);
    o->arm = arm->name;
    const config_value *methods = config_list(s, "eval.methods");
    o->methods = 0;
    for (int i = 0; i < methods->n; i++) {
        int m = 0;
        if (rd_method_parse(methods->texts[i], &m) != RD_OK)
            rd_die("the table of keys names a method that infer does not know: %s",
                   methods->texts[i]);
        o->methods |= m;
    }
    const config_value *counts = config_list(s, "eval.hypotheses");
    o->n_counts = counts->n;
    for (int i = 0; i < counts->n; i++) o->counts[i] = (int64_t)counts->numbers[i];
    o->rule_temperature = config_real(s, "eval.rule_temperature");
    o->follow_temperature = config_real(s, "eval.follow_temperature");
    o->vote_temperature = config_real(s, "eval.vote_temperature");
    o->max_votes = config_int(s, "eval.max_votes");
    o->first_greedy = config_bool(s, "eval.first_greedy");
    o->text_ties = config_is_official(&j->cfg);
    o->max_rule_tokens = config_int(s, "eval.max_rule_tokens");
    o->max_answer_tokens = config_int(s, "eval.max_answer_tokens");
    o->block = config_int(s, "eval.block");
    o->seed = (uint64_t)config_int(s, "run.seed");
    o->config = j->cfg.resolved;
    options_generator(s, "eval", &o->generator);
}
