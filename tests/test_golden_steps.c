/* ranks: 1 */
/* Ten AdamW steps against torch.optim.AdamW in float64 (tests/golden/). */
#include "rd_test.h"
#include "golden.h"
#include "rd/train.h"

static double step_loss(rd_model *model, rd_work *work, const rd_batch *b, const float *coef,
                        double *logp, int64_t targets)
{
    double loss = 0;
    rd_model_zero_grads(model);
    if (rd_model_fwd(model, work, b) != RD_OK ||
        rd_model_head(model, work, b, coef, logp) != RD_OK || rd_model_bwd(model, work, b) != RD_OK)
        return NAN;
    for (int64_t t = 0; t < b->T; t++) loss -= logp[t] / (double)targets;
    return loss;
}

static void test_variant(rd_grid *g, const char *name)
{
    golden ref;
    rd_model *model;
    rd_work *work;
    rd_optim *opt;
    rd_optim_opts o;
    if (!is_rc(golden_open(name, &ref), RD_OK, name)) return;
    rd_model_config cfg = golden_config(&ref);
    rd_batch b = golden_batch(&ref);
    double *adamw = golden_get(&ref, "adamw", "", NULL),
           *want = golden_get(&ref, "losses", "", NULL);
    rd_optim_defaults(&o);
    o.kind = "adamw", o.lr = adamw[0], o.beta1 = adamw[1], o.beta2 = adamw[2], o.eps = adamw[3];
    o.weight_decay = adamw[4], o.clip = 0, o.warmup = 0, o.min_lr = 1;
    is_rc(rd_model_create(g, &cfg, true, &model), RD_OK, "model");
    is_rc(rd_work_create(model, b.T, 16, &work), RD_OK, "work");
    is_rc(rd_optim_create(model, &o, 10, &opt), RD_OK, "optimiser");
    golden_weights(&ref, "weight/", model);

    float *coef = rd_new(float, b.T);
    double *logp = rd_new(double, b.T), worst = 0, norm;
    int64_t targets = golden_mean(&b, coef);
    for (int64_t s = 0; s < 10; s++) {
        worst = fmax(worst, fabs(step_loss(model, work, &b, coef, logp, targets) - want[s]));
        is_rc(rd_optim_step(opt, s, &norm), RD_OK, "step");
    }
    double last = step_loss(model, work, &b, coef, logp, targets);
    ok(worst < 2e-6, "ten losses (%.1e)", worst);
    near_f64(last, want[10], 2e-6, "the loss after them");
    worst = 0;
    for (int64_t i = 0; i < model->base.n; i++) {
        int64_t n;
        double *final = golden_get(&ref, "final/", model->base.item[i].name, &n);
        for (int64_t k = 0; k < n; k++)
            worst = fmax(worst, fabs((double)model->base.item[i].w.a[k] - final[k]));
        rd_free(final);
    }
    /* A weight whose gradient is near 0 takes a step of the learning rate in the direction of what
     * is rounding; a step is 1e-3. */
    ok(worst < 2e-5, "the weights after them (%.1e)", worst);
    rd_free(adamw), rd_free(want), rd_free(coef), rd_free(logp);
    rd_optim_free(&opt);
    rd_work_free(&work);
    rd_model_free(&model);
    golden_batch_free(&b);
    golden_close(&ref);
}

int main(int argc, char **argv)
{
    rd_grid *g;
    rd_test_begin(&argc, &argv);
    is_rc(rd_grid_create(0, 1, 1, &g), RD_OK, "grid");
    test_variant(g, "llama_tied");
    test_variant(g, "llama_untied");
    rd_grid_free(&g);
    return rd_test_end();
}
