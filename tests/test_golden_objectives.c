/* ranks: 1 */
/* SFT and both variants of ORPO against TRL and LLaMA-Factory in float64 (tests/golden/): losses,
 * every gradient, metrics, and runs of twelve AdamW steps with warm-up and cosine against their
 * trainers.  Rows and pairs go through packing, in several micro-batches. */
#include "rd_test.h"
#include "golden.h"
#include "train/train_impl.h"

enum { MICRO_TOKENS = 48 };

/* ---------------------------------------------------------------- rows and pairs */

/* Text `at` of the corpus, from ids in float64. */
static void put_text(rd_corpus *c, int32_t at, const double *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++) c->wide[c->offset[at] + i] = (int32_t)ids[i];
    c->offset[at + 1] = c->offset[at] + n;
}

static rd_corpus *read_corpus(const golden *ref, bool pairs)
{
    int64_t n_texts, n_tokens;
    const int per_item = pairs ? 3 : 2;
    double *length = golden_get(ref, pairs ? "pairs/" : "rows/", "lengths", &n_texts);
    double *ids = golden_get(ref, pairs ? "pairs/" : "rows/", "tokens", &n_tokens);
    rd_corpus *c = rd_new(rd_corpus, 1);
    c->pairs = pairs;
    c->n = n_texts / per_item;
    c->n_texts = n_texts;
    c->offset = rd_new(int64_t, n_texts + 1);
    c->wide = rd_new(int32_t, n_tokens);
    c->prompt = rd_new(int32_t, c->n), c->response = rd_new(int32_t, c->n);
    c->rejected = rd_new(int32_t, c->n), c->tokens = rd_new(int32_t, c->n);
    c->kind = rd_new(uint8_t, c->n), c->family = rd_new(uint8_t, c->n);
    for (int32_t i = 0, at = 0; i < c->n; i++) {
        c->prompt[i] = at, c->response[i] = at + 1, c->rejected[i] = at + 2;
        for (int k = 0; k < per_item; k++, at++) put_text(c, at, ids + c->offset[at], (int64_t)length[at]);
        for (int k = 1; k < per_item; k++)
            c->tokens[i] += 1 + (int32_t)(length[c->prompt[i]] + length[c->prompt[i] + k]);
        c->total += c->tokens[i];
        if (c->tokens[i] > c->longest_item) c->longest_item = c->tokens[i];
    }
    rd_free(length), rd_free(ids);
    return c;
}

/* ---------------------------------------------------------------- steps */

typedef struct bench {
    golden ref;
    rd_model *model;
    rd_work *work;
    rd_corpus *corpus;
    train_plan plan; /* every step has all items */
    micro_batch micro;
    objective f;
    int micros; /* of the step */
} bench;

static bool set_up(rd_grid *g, bool pairs, rd_orpo_variant variant, bench *t)
{
    rd_train_opts o;
    *t = (bench){0};
    if (!is_rc(golden_open("objectives", &t->ref), RD_OK, "objectives.golden")) return false;
    rd_model_config cfg = golden_config(&t->ref);
    t->corpus = read_corpus(&t->ref, pairs);
    rd_train_defaults(&o);
    o.kinds[0] = true, o.share[0] = 1;
    o.batch_tokens = t->corpus->total;
    o.epochs = golden_number(&t->ref, "steps/options", 7);
    is_rc(plan_create(pairs ? NULL : t->corpus, pairs ? t->corpus : NULL, &o, &t->plan), RD_OK,
          "plan");
    is_i64(t->plan.steps, (int64_t)o.epochs, "a step is an epoch");
    micro_create(MICRO_TOKENS, 2 * t->corpus->n, pairs && variant == RD_ORPO_FULL, &t->micro);
    is_rc(rd_model_create(g, &cfg, true, &t->model), RD_OK, "model");
    is_rc(rd_work_create(t->model, MICRO_TOKENS, MICRO_TOKENS, &t->work), RD_OK, "work");
    golden_weights(&t->ref, "weight/", t->model);
    t->f = (objective){.variant = variant,
                       .lambda = golden_number(&t->ref, "lambda", 0),
                       .row_weight = 1,
                       .pair_weight = 1};
    return true;
}

static void tear_down(bench *t)
{
    rd_work_free(&t->work);
    rd_model_free(&t->model);
    micro_free(&t->micro);
    plan_free(&t->plan);
    rd_corpus_free(&t->corpus);
    golden_close(&t->ref);
}

static int run_micro(bench *t, double *sums)
{
    int rc = RD_OK;
    micro_batch *m = &t->micro;
    RD_TRY(rd_model_fwd(t->model, t->work, &m->b));
    if (objective_needs_logp(m)) RD_TRY(rd_model_head(t->model, t->work, &m->b, NULL, m->logp));
    objective_coef(&t->f, m);
    RD_TRY(rd_model_head(t->model, t->work, &m->b, m->coef, m->logp));
    objective_add(&t->f, m, sums);
    RD_TRY(rd_model_bwd(t->model, t->work, &m->b));
    micro_clear(m);
    t->micros++;
done:
    return rc;
}

/* Loss and gradients of the next step. */
static int run_step(bench *t, objective_means *means)
{
    int rc = RD_OK;
    double sums[OBJECTIVE_SUMS] = {0};
    plan_next(&t->plan);
    t->f.row_targets = t->plan.row_targets;
    t->f.pair_targets = t->plan.pair_targets;
    t->f.pair_count = t->plan.pair_count;
    t->micros = 0;
    rd_model_zero_grads(t->model);
    micro_clear(&t->micro);
    for (int64_t i = 0; i < t->plan.n_items; i++) {
        if (micro_add(&t->micro, &t->plan.items[i])) continue;
        RD_TRY(run_micro(t, sums));
        RD_ASSERT(micro_add(&t->micro, &t->plan.items[i]));
    }
    RD_TRY(run_micro(t, sums));
    *means = objective_mean(&t->f, sums);
done:
    return rc;
}

/* ---------------------------------------------------------------- comparisons */

static void relative(double got, double want, double most, const char *what)
{
    double off = fabs(got - want) / fabs(want);
    ok(off < most, "%s: %.10g (%.1e)", what, got, off);
}

/* The largest difference of all parameters' arrays, relative to the largest value of each. */
static double worst_of(const bench *t, const char *prefix, bool grads, const char **where)
{
    double worst = 0;
    for (int64_t i = 0; i < t->model->base.n; i++) {
        const rd_param *p = &t->model->base.item[i];
        const float *got = grads ? p->g.a : p->w.a;
        double error = 0, size = 0;
        int64_t n;
        double *want = golden_get(&t->ref, prefix, p->name, &n);
        for (int64_t k = 0; k < n; k++) {
            error = fmax(error, fabs((double)got[k] - want[k]));
            size = fmax(size, fabs(want[k]));
            if (!isfinite(got[k])) error = INFINITY;
        }
        rd_free(want);
        if (error / size > worst) worst = error / size, *where = p->name;
    }
    return worst;
}

static void test_gradients(const bench *t, const char *prefix)
{
    const char *where = "";
    double worst = worst_of(t, prefix, true, &where);
    ok(worst < 1e-5, "all gradients (%.1e, %s)", worst, where);
}

static void test_sft(rd_grid *g)
{
    bench t;
    objective_means means;
    diag("SFT");
    if (!set_up(g, false, RD_ORPO_RESPONSE, &t)) return;
    is_rc(run_step(&t, &means), RD_OK, "step");
    ok(t.micros > 1, "%d micro-batches", t.micros);
    relative(means.loss, golden_number(&t.ref, "sft/loss", 0), 1e-6, "TRL, accumulated");
    relative(means.loss, golden_number(&t.ref, "sft/loss", 1), 1e-6, "TRL, one batch");
    relative(means.loss, golden_number(&t.ref, "sft/seq2seq", 0), 1e-6, "Seq2SeqTrainer");
    test_gradients(&t, "sft/grad/");
    tear_down(&t);
}

static void test_orpo(rd_grid *g, rd_orpo_variant variant)
{
    bench t;
    objective_means means;
    bool full = variant == RD_ORPO_FULL;
    const char *metrics = full ? "full/metrics" : "response/metrics";
    diag("%s", full ? "ORPO \"full\", TRL" : "ORPO \"response\", LLaMA-Factory");
    if (!set_up(g, true, variant, &t)) return;
    is_rc(run_step(&t, &means), RD_OK, "step");
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
    tear_down(&t);
}

static double *get_steps(const golden *ref, const char *stage, const char *name, int64_t steps)
{
    char path[64];
    int64_t n;
    snprintf(path, sizeof(path), "steps/%s/%s", stage, name);
    double *values = golden_get(ref, path, "", &n);
    if (n != steps) rd_die("%s", path);
    return values;
}

static void test_steps(rd_grid *g, const char *stage)
{
    bench t;
    rd_optim *opt = NULL;
    rd_optim_opts o;
    const bool pairs = strcmp(stage, "sft") != 0;
    diag("a run, %s", stage);
    if (!set_up(g, pairs, RD_ORPO_FULL, &t)) return;
    const int64_t n = t.plan.steps;
    double *s = golden_get(&t.ref, "steps/options", "", NULL);
    double *loss = get_steps(&t.ref, stage, "losses", n), *rate = get_steps(&t.ref, stage, "rate", n),
           *norm = get_steps(&t.ref, stage, "grad_norm", n);
    rd_optim_defaults(&o);
    o.kind = "adamw", o.lr = s[0], o.beta1 = s[1], o.beta2 = s[2], o.eps = s[3];
    o.weight_decay = s[4], o.clip = s[5], o.warmup = s[6], o.min_lr = 0;
    is_rc(rd_optim_create(t.model, &o, n, &opt), RD_OK, "optimiser");
    double losses = 0, rates = 0, norms = 0;
    int clipped = 0;
    for (int64_t i = 0; i < n; i++) {
        objective_means means;
        double length = 0;
        if (run_step(&t, &means) != RD_OK || rd_optim_step(opt, i, &length) != RD_OK) length = NAN;
        losses = fmax(losses, fabs(means.loss / loss[i] - 1));
        norms = fmax(norms, fabs(length / norm[i] - 1));
        rates = fmax(rates, fabs(o.lr * rd_lr_factor(&o, i, n) - rate[i]) / o.lr);
        clipped += length > o.clip;
        if (!isfinite(length)) losses = INFINITY;
    }
    ok(losses < 1e-6, "%d losses (%.1e)", (int)n, losses);
    ok(norms < 2e-6, "norms of gradients (%.1e)", norms);
    ok(rates < 1e-12, "learning rates (%.1e)", rates);
    ok(clipped > 0 && clipped < n, "%d steps were clipped", clipped);
    const char *where = "";
    char prefix[64];
    snprintf(prefix, sizeof(prefix), "steps/%s/final/", stage);
    double worst = worst_of(&t, prefix, false, &where);
    ok(worst < 1e-5, "the weights after them (%.1e, %s)", worst, where);
    rd_free(s), rd_free(loss), rd_free(rate), rd_free(norm);
    rd_optim_free(&opt);
    tear_down(&t);
}

int main(int argc, char **argv)
{
    rd_grid *g;
    rd_test_begin(&argc, &argv);
    is_rc(rd_grid_create(0, 1, 1, &g), RD_OK, "grid");
    test_sft(g);
    test_orpo(g, RD_ORPO_FULL);
    test_orpo(g, RD_ORPO_RESPONSE);
    test_steps(g, "sft");
    test_steps(g, "full");
    rd_grid_free(&g);
    return rd_test_end();
}
