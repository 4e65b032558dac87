/* ranks: 1 */
/* SFT and both variants of ORPO against TRL and LLaMA-Factory in float64 (tests/golden/): losses,
 * every gradient, metrics, and runs of twelve AdamW steps with warm-up and cosine against their
 * trainers.  Rows and pairs go through packing, in several micro-batches. */
#include "golden_rows.h"

static void test_gradients(const bench *t, const char *prefix)
{
    const char *where = "";
    double worst = worst_of(&t->ref, prefix, t->model->trained, true, &where);
    ok(worst < 1e-5, "all gradients (%.1e, %s)", worst, where);
}

static void test_sft(rd_grid *g)
{
    bench t;
    objective_means means;
    diag("SFT");
    if (!bench_open(g, "objectives", false, RD_ORPO_RESPONSE, false, &t)) return;
    bench_begin(&t);
    is_rc(bench_step(&t, &means), RD_OK, "step");
    ok(t.micros > 1, "%d micro-batches", t.micros);
    relative(means.loss, golden_number(&t.ref, "sft/loss", 0), 1e-6, "TRL, accumulated");
    relative(means.loss, golden_number(&t.ref, "sft/loss", 1), 1e-6, "TRL, one batch");
    relative(means.loss, golden_number(&t.ref, "sft/seq2seq", 0), 1e-6, "Seq2SeqTrainer");
    test_gradients(&t, "sft/grad/");
    bench_close(&t);
}

static void test_orpo(rd_grid *g, rd_orpo_variant variant)
{
    bench t;
    objective_means means;
    bool full = variant == RD_ORPO_FULL;
    const char *metrics = full ? "full/metrics" : "response/metrics";
    diag("%s", full ? "ORPO \"full\", TRL" : "ORPO \"response\", LLaMA-Factory");
    if (!bench_open(g, "objectives", true, variant, false, &t)) return;
    bench_begin(&t);
    is_rc(bench_step(&t, &means), RD_OK, "step");
    ok(t.micros > 1, "%d micro-batches", t.micros);
    relative(means.loss, golden_number(&t.ref, full ? "full/loss" : "response/loss", 0), 1e-6,
             "loss");
    relative(means.nll, golden_number(&t.ref, metrics, 0), 1e-6, full ? "nll_loss" : "sft_loss");
    /* The libraries have these two in float32, from differences of larger numbers. */
    relative(means.odds_loss, golden_number(&t.ref, metrics, 1), 2e-6,
             full ? "-log_odds_ratio" : "odds_ratio_loss");
    if (full)
        ok(fabs(means.log_odds - golden_number(&t.ref, metrics, 3)) < 2e-6,
           "log_odds_chosen: %.8g (%.1e)", means.log_odds,
           fabs(means.log_odds - golden_number(&t.ref, metrics, 3)));
    near_f64(means.accuracy, golden_number(&t.ref, metrics, 2), 1e-6, "rewards/accuracies");
    test_gradients(&t, full ? "full/grad/" : "response/grad/");
    bench_close(&t);
}

static void test_run(rd_grid *g, const char *stage, bool pairs, rd_orpo_variant variant)
{
    bench t;
    if (!bench_open(g, "objectives", pairs, variant, false, &t)) return;
    bench_begin(&t);
    bench_run(&t, stage);
    bench_close(&t);
}

int main(int argc, char **argv)
{
    rd_grid *g;
    rd_test_begin(&argc, &argv);
    is_rc(rd_grid_create(0, 1, 1, &g), RD_OK, "grid");
    test_sft(g);
    test_orpo(g, RD_ORPO_FULL);
    test_orpo(g, RD_ORPO_RESPONSE);
    test_run(g, "sft", false, RD_ORPO_FULL);
    test_run(g, "full", true, RD_ORPO_FULL);
    test_run(g, "response", true, RD_ORPO_RESPONSE);
    rd_grid_free(&g);
    return rd_test_end();
}
