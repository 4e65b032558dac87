/* ranks: 1 */
/* ORPO and the coefficients of micro-batches: finite differences in float64, hand-computed values.
 */
#include "rd_test.h"
#include "train/train_impl.h"

static void test_log1mexp(void)
{
    /* Values of log(1 - e^x) to 17 digits, by 50-digit arithmetic. */
    static const double x[] = {-1e-300, -1e-10, -0.1, -0.6931471805599453, -2, -30, -800};
    static const double want[] = {-690.77552789821368,
                                  -23.025850929990458,
                                  -2.3521684610440907,
                                  -0.69314718055994529,
                                  -0.14541345786885906,
                                  -9.3576229688406128e-14,
                                  0};
    for (size_t i = 0; i < sizeof(x) / sizeof(x[0]); i++) {
        double error = fabs(rd_log1mexp(x[i]) - want[i]) / fmax(fabs(want[i]), 1e-300);
        ok(error < 4e-16, "log1mexp(%g), relative error %.1e", x[i], error);
    }
}

static double odds_loss(double w_sum, int64_t w_n, double l_sum, int64_t l_n)
{
    rd_orpo_pair p = {
        .chosen_sum = w_sum, .chosen_tokens = w_n, .rejected_sum = l_sum, .rejected_tokens = l_n};
    rd_orpo_odds(&p, 1);
    return p.odds_loss;
}

static void test_odds_gradient(void)
{
    static const double mean[] = {-2e-6, -1e-4, -0.01, -0.5, -3, -40, -600};
    double worst = 0;
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < 7; j++) {
            int64_t nw = 3 + i, nl = 9 - j;
            double w = mean[i] * (double)nw, l = mean[j] * (double)nl;
            rd_orpo_pair p = {
                .chosen_sum = w, .chosen_tokens = nw, .rejected_sum = l, .rejected_tokens = nl};
            rd_orpo_odds(&p, 0.25);
            double hw = 1e-4 * fabs(w), hl = 1e-4 * fabs(l);
            double dw =
                0.25 * (odds_loss(w + hw, nw, l, nl) - odds_loss(w - hw, nw, l, nl)) / (2 * hw);
            double dl =
                0.25 * (odds_loss(w, nw, l + hl, nl) - odds_loss(w, nw, l - hl, nl)) / (2 * hl);
            /* Differences of the loss carry its rounding, 1e-16 of it, divided by h. */
            double noise = 4e-16 * (1 + fabs(p.odds_loss));
            double ew = fabs(p.chosen_coef - dw) - noise / hw,
                   el = fabs(p.rejected_coef - dl) - noise / hl;
            worst = fmax(worst, ew / fmax(fabs(dw), 1e-30));
            worst = fmax(worst, el / fmax(fabs(dl), 1e-30));
            if (!(p.chosen_coef <= 0 && p.rejected_coef >= 0)) worst = INFINITY;
        }
    ok(worst < 1e-5, "gradient of the odds loss by finite differences (%.1e)", worst);
    /* At the pole: finite, and no force on a chosen response that is already certain over a
     * rejected one that is not. */
    rd_orpo_pair p = {.chosen_tokens = 1, .rejected_sum = -1000, .rejected_tokens = 1};
    rd_orpo_odds(&p, 1);
    ok(isfinite(p.odds_loss) && isfinite(p.log_odds) && p.chosen_coef == 0 && p.rejected_coef == 0,
       "probability 1 against 0 is finite");
    p = (rd_orpo_pair){.chosen_sum = -1000, .chosen_tokens = 1, .rejected_tokens = 1};
    rd_orpo_odds(&p, 1);
    ok(p.odds_loss > 1000 && isfinite(p.odds_loss) && isfinite(p.rejected_coef) &&
           p.rejected_coef > 0,
       "probability 0 against 1 is finite");
}

/* Two pairs and a row with given log-probabilities: chosen prompts of 2 and 1 tokens. */
static void make_batch(micro_batch *m, bool full, bool row_prompts)
{
    static const int64_t start[] = {0, 5, 9, 12, 15, 19}, response[] = {2, 7, 10, 13, 17};
    static const uint8_t role[] = {SEQUENCE_CHOSEN, SEQUENCE_REJECTED, SEQUENCE_CHOSEN,
                                   SEQUENCE_REJECTED, SEQUENCE_ROW};
    micro_create(19, 5, m);
    m->prompt_targets = full;
    memcpy(m->b.start, start, sizeof start);
    memcpy(m->response, response, sizeof response);
    memcpy(m->role, role, sizeof role);
    m->b.T = 19;
    m->b.n_seq = 5;
    for (int64_t s = 0; s < 5; s++)
        for (int64_t t = start[s]; t < start[s + 1]; t++) {
            bool target = t >= response[s] || (full && role[s] == SEQUENCE_CHOSEN) ||
                          (row_prompts && role[s] == SEQUENCE_ROW);
            m->b.target[t] = target ? 1 : -1;
            m->logp[t] = target ? -0.1 * (double)(1 + (t * 7) % 5) : 0;
        }
}

static double batch_loss(const objective *f, const micro_batch *m)
{
    double sums[OBJECTIVE_SUMS] = {0};
    objective_add(f, m, sums);
    return objective_mean(f, sums).loss;
}

static void test_batch(bool full, double prompt_weight)
{
    micro_batch m;
    make_batch(&m, full, prompt_weight > 0);
    objective f = {.variant = full ? RD_ORPO_FULL : RD_ORPO_RESPONSE,
                   .lambda = 0.3,
                   .row_weight = 0.4,
                   .pair_weight = 0.6,
                   .prompt_weight = prompt_weight,
                   .row_targets = 2,
                   .row_prompts = 2,
                   .pair_targets = 8,
                   .pair_count = 2};
    ok(objective_needs_logp(&m), "a batch with pairs needs log-probabilities first");
    objective_coef(&f, &m);
    double worst = 0;
    for (int64_t t = 0; t < m.b.T; t++) {
        if (m.b.target[t] < 0) continue;
        double at = m.logp[t], h = 1e-5;
        m.logp[t] = at + h;
        double up = batch_loss(&f, &m);
        m.logp[t] = at - h;
        double down = batch_loss(&f, &m);
        m.logp[t] = at;
        worst = fmax(worst, fabs((up - down) / (2 * h) - m.coef[t]));
    }
    ok(worst < 1e-7, "%s, prompts %g: coefficients are the loss's derivatives (%.1e)",
       full ? "full" : "response", prompt_weight, worst);
    micro_free(&m);
}

/* The normalisation of both variants, worked out by hand.  Chosen sequences: prompt -0.3 -0.1,
 * response -0.2 -0.4 (mean -0.3); and prompt -1, response -0.6 (mean -0.6). */
static void test_normalisation(void)
{
    static const double logp[] = {-0.3, -0.1, -0.2, -0.4, -0.9, -1, -0.6, -0.7};
    static const int64_t start[] = {0, 4, 5, 7, 8}, response[] = {2, 4, 6, 7};
    static const uint8_t role[] = {SEQUENCE_CHOSEN, SEQUENCE_REJECTED, SEQUENCE_CHOSEN,
                                   SEQUENCE_REJECTED};
    micro_batch m;
    micro_create(8, 4, &m);
    m.prompt_targets = true;
    memcpy(m.logp, logp, sizeof logp);
    memcpy(m.b.start, start, sizeof start);
    memcpy(m.response, response, sizeof response);
    memcpy(m.role, role, sizeof role);
    m.b.T = 8;
    m.b.n_seq = 4;
    objective f = {.lambda = 0.1, .pair_weight = 1, .pair_targets = 6, .pair_count = 2};
    double sums[OBJECTIVE_SUMS] = {0};
    f.variant = RD_ORPO_FULL;
    objective_add(&f, &m, sums);
    near_f64(objective_mean(&f, sums).nll, 2.6 / 6, 1e-14, "full: mean over all six tokens");
    m.logp[0] = m.logp[1] = m.logp[5] = 0; /* no targets in the prompts */
    memset(sums, 0, sizeof sums);
    f.variant = RD_ORPO_RESPONSE;
    objective_add(&f, &m, sums);
    objective_means got = objective_mean(&f, sums);
    near_f64(got.nll, (0.3 + 0.6) / 2, 1e-14, "response: mean of the pairs' means");
    double z1 = (-0.3 + 0.9) - log((1 - exp(-0.3)) / (1 - exp(-0.9)));
    double z2 = (-0.6 + 0.7) - log((1 - exp(-0.6)) / (1 - exp(-0.7)));
    double odds = (log(1 + exp(-z1)) + log(1 + exp(-z2))) / 2;
    near_f64(got.odds_loss, odds, 1e-14, "odds loss: mean over pairs");
    near_f64(got.loss, 0.45 + 0.1 * odds, 1e-14, "loss = NLL + lambda odds loss");
    near_f64(got.accuracy, 1, 0, "both pairs are ordered");
    near_f64(got.log_odds, (z1 + z2) / 2, 1e-14, "margin: mean log odds");
    micro_free(&m);
}

/* A row alone: prompt -0.3 -0.5, response -0.2 -0.6. */
static void test_row_mean(void)
{
    micro_batch m;
    double sums[OBJECTIVE_SUMS] = {0};
    objective f = {.row_weight = 1, .prompt_weight = 0.5, .row_targets = 2, .row_prompts = 2};
    micro_create(4, 1, &m);
    m.b.start[1] = m.b.T = 4;
    m.b.n_seq = 1;
    m.response[0] = 2;
    m.role[0] = SEQUENCE_ROW;
    m.logp[0] = -0.3, m.logp[1] = -0.5, m.logp[2] = -0.2, m.logp[3] = -0.6;
    objective_add(&f, &m, sums);
    near_f64(objective_mean(&f, sums).loss, (0.5 * 0.8 + 0.8) / 3, 1e-14, "prompts at half weight");
    f.prompt_weight = 0;
    memset(sums, 0, sizeof sums);
    objective_add(&f, &m, sums);
    near_f64(objective_mean(&f, sums).loss, 0.4, 1e-14, "or not at all");
    micro_free(&m);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_log1mexp();
    test_odds_gradient();
    test_batch(false, 0);
    test_batch(true, 0);
    test_batch(false, 0.25);
    test_row_mean();
    test_normalisation();
    return rd_test_end();
}
