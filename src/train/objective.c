/* objective.c: losses as coefficients of the tokens' log-probabilities.
 *
 * Everything the engine needs of a loss L is dL/dlogp_t, since dL/dz_t = that times (onehot - p).
 * For SFT it is -1/N.  For ORPO it depends on the sequences' own log-probabilities, so there the
 * head runs twice: once for logp, once with the coefficients made of it here. */
#include "train_impl.h"

#include <math.h>

/* ---------------------------------------------------------------- ORPO */

/* log(1 - e^x) = log(-expm1(x)) near 0, where 1 - e^x cancels, and log1p(-e^x) far from it, where
 * expm1(x) rounds to -1.  The two are equally good at x = -log 2. */
double rd_log1mexp(double x)
{
    const double log2 = 0.6931471805599453;
    return x > -log2 ? log(-expm1(x)) : log1p(-exp(x));
}

/* A mean log-probability this close to 0 cannot be told from 0 in the float32 products behind it,
 * while 1 / (1 - e^x) grows without bound: it is taken as this value. */
static const double MEAN_LIMIT = -1e-6;

static double log1pexp(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

/* With z the log odds: dz/dw = 1/(1 - e^w), dz/dl = -1/(1 - e^l), d(-log sigmoid z)/dz =
 * -sigmoid(-z); each response token's log-probability moves its mean by 1/tokens. */
void rd_orpo_odds(rd_orpo_pair *pair, double lambda)
{
    double w = fmin(pair->chosen_sum / (double)pair->chosen_tokens, MEAN_LIMIT);
    double l = fmin(pair->rejected_sum / (double)pair->rejected_tokens, MEAN_LIMIT);
    double z = (w - l) - (rd_log1mexp(w) - rd_log1mexp(l));
    double push = lambda / (1 + exp(z)); /* lambda sigmoid(-z) */
    pair->log_odds = z;
    pair->odds_loss = log1pexp(-z);
    pair->chosen_coef = push / expm1(w) / (double)pair->chosen_tokens;
    pair->rejected_coef = -push / expm1(l) / (double)pair->rejected_tokens;
}

/* ---------------------------------------------------------------- over a micro-batch */

bool objective_needs_logp(const micro_batch *m)
{
    for (int64_t s = 0; s < m->b.n_seq; s++)
        if (m->role[s] == SEQUENCE_CHOSEN) return true;
    return false;
}

static double sum_range(const double *x, int64_t from, int64_t to)
{
    double sum = 0;
    for (int64_t t = from; t < to; t++) sum += x[t];
    return sum;
}

static void fill_range(float *x, int64_t from, int64_t to, double value)
{
    for (int64_t t = from; t < to; t++) x[t] = (float)value;
}

/* Sums of the pair whose chosen sequence is s. */
static rd_orpo_pair measure_pair(const objective *f, const micro_batch *m, int64_t s)
{
    const int64_t *start = m->b.start;
    rd_orpo_pair p = {
        .chosen_sum = sum_range(m->logp, m->response[s], start[s + 1]),
        .chosen_tokens = start[s + 1] - m->response[s],
        .rejected_sum = sum_range(m->logp, m->response[s + 1], start[s + 2]),
        .rejected_tokens = start[s + 2] - m->response[s + 1],
    };
    bool full = f->variant == RD_ORPO_FULL;
    p.nll_sum = full ? sum_range(m->logp, start[s], start[s + 1]) : p.chosen_sum;
    p.nll_tokens = full ? start[s + 1] - start[s] : p.chosen_tokens;
    rd_orpo_odds(&p, f->lambda);
    return p;
}

/* Weights of all targets of the step's rows. */
static double row_total(const objective *f)
{
    return (double)f->row_targets + f->prompt_weight * (double)f->row_prompts;
}

void objective_coef(const objective *f, micro_batch *m)
{
    const int64_t *start = m->b.start;
    double row = -f->row_weight / row_total(f);
    double pair = f->pair_weight / (double)f->pair_count;
    for (int64_t s = 0; s < m->b.n_seq; s++) {
        if (m->role[s] == SEQUENCE_ROW) {
            fill_range(m->coef, start[s], m->response[s], f->prompt_weight * row);
            fill_range(m->coef, m->response[s], start[s + 1], row);
        }
        if (m->role[s] != SEQUENCE_CHOSEN) continue;
        rd_orpo_pair p = measure_pair(f, m, s);
        double nll = f->variant == RD_ORPO_FULL ? -f->pair_weight / (double)f->pair_targets
                                                : -pair / (double)p.chosen_tokens;
        fill_range(m->coef, start[s], m->response[s], nll); /* a target there in "full" only */
        fill_range(m->coef, m->response[s], start[s + 1], nll + pair * p.chosen_coef);
        fill_range(m->coef, start[s + 1], start[s + 2], pair * p.rejected_coef);
    }
}

void objective_add(const objective *f, const micro_batch *m, double *sums)
{
    const int64_t *start = m->b.start;
    for (int64_t s = 0; s < m->b.n_seq; s++) {
        if (m->role[s] == SEQUENCE_ROW)
            sums[SUM_ROW_NLL] -= f->prompt_weight * sum_range(m->logp, start[s], m->response[s]) +
                                 sum_range(m->logp, m->response[s], start[s + 1]);
        if (m->role[s] != SEQUENCE_CHOSEN) continue;
        rd_orpo_pair p = measure_pair(f, m, s);
        sums[SUM_PAIR_NLL] -=
            f->variant == RD_ORPO_FULL ? p.nll_sum : p.nll_sum / (double)p.nll_tokens;
        sums[SUM_ODDS_LOSS] += p.odds_loss;
        sums[SUM_CORRECT] += p.log_odds > 0;
        sums[SUM_LOG_ODDS] += p.log_odds;
    }
}

objective_means objective_mean(const objective *f, const double *sums)
{
    objective_means m = {0};
    double pairs = (double)f->pair_count;
    if (f->row_targets > 0) m.loss += f->row_weight * sums[SUM_ROW_NLL] / row_total(f);
    if (f->pair_count == 0) return m;
    m.nll = sums[SUM_PAIR_NLL] / (f->variant == RD_ORPO_FULL ? (double)f->pair_targets : pairs);
    m.odds_loss = sums[SUM_ODDS_LOSS] / pairs;
    m.accuracy = sums[SUM_CORRECT] / pairs;
    m.log_odds = sums[SUM_LOG_ODDS] / pairs;
    m.loss += f->pair_weight * (m.nll + f->lambda * m.odds_loss);
    return m;
}
