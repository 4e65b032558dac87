/* ranks: 1 */
/* The whole model against Hugging Face transformers in float64 (tests/golden/): logits, loss, every
 * gradient.  Tolerances are relative to the largest value of each array: float32 arithmetic. */
#include "rd_test.h"
#include "golden.h"

static double worst(int64_t n, const float *got, const double *want)
{
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - want[i]);
        if (!(d <= error)) error = d;
        if (fabs(want[i]) > size) size = fabs(want[i]);
    }
    return error / size;
}

static void test_variant(rd_grid *g, const char *name)
{
    golden ref;
    rd_model *model;
    rd_work *work;
    if (!is_rc(golden_open(name, &ref), RD_OK, name)) return;
    rd_model_config cfg = golden_config(&ref);
    rd_batch b = golden_batch(&ref);
    is_rc(rd_model_create(g, &cfg, true, &model), RD_OK, "model");
    is_rc(rd_work_create(model, b.T, 16, &work), RD_OK, "work");
    golden_weights(&ref, "weight/", model);

    int64_t n;
    double *want = golden_get(&ref, "logits", "", &n);
    float *logits = rd_new(float, n), *coef = rd_new(float, b.T);
    double *logp = rd_new(double, b.T), *want_logp = golden_get(&ref, "logp", "", NULL);
    rd_batch all = b;
    all.target = NULL;
    is_rc(rd_model_fwd(model, work, &all), RD_OK, "forward");
    is_rc(rd_model_logits(model, work, &all, logits), RD_OK, "logits");
    double error = worst(n, logits, want);
    ok(error < 2e-6, "logits (%.1e)", error);

    int64_t targets = golden_mean(&b, coef);
    is_rc(rd_model_fwd(model, work, &b), RD_OK, "forward for the targets");
    is_rc(rd_model_head(model, work, &b, coef, logp), RD_OK, "head");
    is_rc(rd_model_bwd(model, work, &b), RD_OK, "backward");
    double loss = 0, off = 0;
    for (int64_t t = 0; t < b.T; t++) {
        loss -= logp[t] / (double)targets;
        off = fmax(off, fabs(logp[t] - want_logp[t]));
    }
    ok(off < 5e-6, "log-probabilities (%.1e)", off);
    near_f64(loss, golden_number(&ref, "loss", 0), 5e-7, "loss");
    for (int64_t i = 0; i < model->base.n; i++) {
        double *grad = golden_get(&ref, "grad/", model->base.item[i].name, &n);
        error = worst(n, model->base.item[i].g.a, grad);
        ok(error < 5e-6, "gradient of %s (%.1e)", model->base.item[i].name, error);
        rd_free(grad);
    }
    rd_free(want), rd_free(want_logp), rd_free(logits), rd_free(coef), rd_free(logp);
    rd_work_free(&work);
    rd_model_free(&model);
    golden_batch_free(&b);
    golden_close(&ref);
}

int main(int argc, char **argv)
{
    rd_grid *g;
    rd_test_begin(&argc, &argv);
    rd_grid_create(0, 1, 1, &g);
    test_variant(g, "llama_tied");
    test_variant(g, "llama_untied");
    rd_grid_free(&g);
    return rd_test_end();
}
