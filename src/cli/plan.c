/* plan.c: what `validate` says of a run beside its resolved configuration. */
#include "cli/job.h"

#include <string.h>

static void plan_arm(const job *j, const config_arm *arm, const rd_model_config *mc)
{
    const config_scope *s = &arm->keys;
    double n = (double)rd_model_config_params(mc);
    double tokens = (double)config_int(s, "sft.tokens");
    rd_info("arm      %-16s %.2f M parameters, %.0f MB per rank for weights, gradients, moments",
            arm->name, n * 1e-6, n * 16 * 1e-6);
    if (tokens > 0 && config_list_has(s, "stages", "sft"))
        rd_info("arm      %-16s sft: %lld steps, %.3g Tflop per rank", arm->name,
                (long long)(tokens / (double)config_int(s, "sft.batch_tokens")),
                tokens * rd_model_config_flops(mc, (double)config_int(s, "sft.max_len") / 2) *
                    1e-12 / j->grid->data);
}

/* Tasks are loaded or generated, models are shaped; nothing is written. */
int plan_print(job *j)
{
    int rc = RD_OK;
    rd_info("%s", j->cfg.resolved);
    RD_TRY(job_tasks(j));
    for (int f = 0; f < RD_FAMILIES; f++) {
        int64_t count[2] = {0}, rules = 0, applications = 0;
        for (int64_t i = 0; i < j->tasks.n; i++) {
            const rd_task *t = &j->tasks.task[i];
            if (t->family != (rd_family)f) continue;
            count[t->split]++;
            if (t->split != RD_SPLIT_TRAIN) continue;
            rules += j->hypotheses[t->source];
            applications += j->hypotheses[t->source] * t->n_demos;
        }
        if (count[0] + count[1] > 0)
            rd_info("plan     %-14s %lld training tasks, %lld test tasks; %lld rules, %lld "
                    "applications",
                    rd_family_name((rd_family)f), (long long)count[0], (long long)count[1],
                    (long long)rules, (long long)applications);
    }
    for (int i = 0; i < j->cfg.n_arms; i++) {
        rd_model_config mc;
        RD_TRY(options_model(&j->cfg.arm[i].keys,
                             config_int(&j->cfg.arm[i].keys, "model.tokenizer.train_vocab"), &mc));
        plan_arm(j, &j->cfg.arm[i], &mc);
    }
done:
    return rc;
}
