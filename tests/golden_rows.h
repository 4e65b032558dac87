/* golden_rows.h: steps over the rows or pairs of a golden file, through the plan, packing in
 * several micro-batches and the objective, as loop.c makes them; and whole runs with the optimiser.
 */
#ifndef GOLDEN_ROWS_H
#define GOLDEN_ROWS_H

#include "rd_test.h"
#include "golden.h"
#include "train/train_impl.h"

enum { MICRO_TOKENS = 48 };

/* ---------------------------------------------------------------- rows and pairs */

/* Text `at` of the corpus, from ids in float64; a prompt begins with BOS. */
static inline void put_text(rd_corpus *c, int32_t at, bool prompt, const double *ids, int64_t n)
{
    int32_t *to = c->wide + c->offset[at];
    if (prompt) *to++ = RD_TOK_BOS;
    for (int64_t i = 0; i < n; i++) to[i] = (int32_t)ids[i];
    c->offset[at + 1] = c->offset[at] + prompt + n;
}

static inline void put_item(rd_corpus *c, int64_t i, int32_t at, int per_item, const double **ids,
                            const double *length)
{
    int32_t *const text[] = {c->prompt, c->response, c->rejected};
    for (int k = 0; k < per_item; k++) {
        text[k][i] = at + k;
        put_text(c, at + k, k == 0, *ids, (int64_t)length[k]);
        *ids += (int64_t)length[k];
        if (k > 0) c->tokens[i] += 1 + (int32_t)(length[0] + length[k]);
    }
    c->total += c->tokens[i];
    if (c->tokens[i] > c->longest_item) c->longest_item = c->tokens[i];
}

static inline rd_corpus *read_corpus(const golden *ref, bool pairs)
{
    int64_t n_texts, n_tokens;
    const int per_item = pairs ? 3 : 2;
    double *length = golden_get(ref, pairs ? "pairs/" : "rows/", "lengths", &n_texts);
    double *ids = golden_get(ref, pairs ? "pairs/" : "rows/", "tokens", &n_tokens);
    const double *next = ids;
    rd_corpus *c = rd_new(rd_corpus, 1);
    *c =
        (rd_corpus){.pairs = pairs, .n = n_texts / per_item, .n_texts = n_texts, .end = RD_TOK_EOS};
    c->offset = rd_new(int64_t, n_texts + 1);
    c->wide = rd_new(int32_t, n_tokens + c->n);
    c->prompt = rd_new(int32_t, c->n), c->response = rd_new(int32_t, c->n);
    c->rejected = rd_new(int32_t, c->n), c->tokens = rd_new(int32_t, c->n);
    c->kind = rd_new(uint8_t, c->n), c->family = rd_new(uint8_t, c->n);
    for (int64_t i = 0; i < c->n; i++)
        put_item(c, i, (int32_t)i * per_item, per_item, &next, length + i * per_item);
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

/* The file, its rows or pairs, its model with the file's weights: frozen ones if an adapter comes.
 */
static inline bool bench_open(rd_grid *g, const char *name, bool pairs, rd_orpo_variant variant,
                              bool frozen, bench *t)
{
    rd_train_opts o;
    *t = (bench){0};
    if (!is_rc(golden_open(name, &t->ref), RD_OK, name)) return false;
    rd_model_config cfg = golden_config(&t->ref);
    t->corpus = read_corpus(&t->ref, pairs);
    rd_train_defaults(&o);
    o.kinds[0] = true, o.share[0] = 1;
    o.batch_tokens = t->corpus->total;
    o.epochs = golden_number(&t->ref, "steps/options", 7);
    is_rc(plan_create(pairs ? NULL : t->corpus, pairs ? t->corpus : NULL, NULL, &o, &t->plan),
          RD_OK, "plan");
    is_i64(t->plan.steps, (int64_t)o.epochs, "a step is an epoch");
    micro_create(MICRO_TOKENS, 2 * t->corpus->n, &t->micro);
    t->micro.prompt_targets = pairs && variant == RD_ORPO_FULL;
    is_rc(rd_model_create(g, &cfg, !frozen, &t->model), RD_OK, "model");
    golden_weights(&t->ref, "weight/", t->model);
    t->f = (objective){.variant = variant,
                       .lambda = pairs ? golden_number(&t->ref, "lambda", 0) : 0,
                       .row_weight = 1,
                       .pair_weight = 1};
    return true;
}

/* After the adapter, if there is one. */
static inline void bench_begin(bench *t)
{
    is_rc(rd_work_create(t->model, MICRO_TOKENS, MICRO_TOKENS, &t->work), RD_OK, "work");
}

static inline void bench_close(bench *t)
{
    rd_work_free(&t->work);
    rd_model_free(&t->model);
    micro_free(&t->micro);
    plan_free(&t->plan);
    rd_corpus_free(&t->corpus);
    golden_close(&t->ref);
}

static inline int bench_micro(bench *t, double *sums)
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
static inline int bench_step(bench *t, objective_means *means)
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
        RD_TRY(bench_micro(t, sums));
        RD_ASSERT(micro_add(&t->micro, &t->plan.items[i]));
    }
    RD_TRY(bench_micro(t, sums));
    *means = objective_mean(&t->f, sums);
done:
    return rc;
}

/* ---------------------------------------------------------------- comparisons */

static inline void relative(double got, double want, double most, const char *what)
{
    double off = fabs(got - want) / fabs(want);
    ok(off < most, "%s: %.10g (%.1e)", what, got, off);
}

/* The largest difference of all parameters' values (or gradients), relative to the largest value of
 * each. */
static inline double worst_of(const golden *ref, const char *prefix, const rd_params *params,
                              bool grads, const char **where)
{
    double worst = 0;
    *where = "";
    for (int64_t i = 0; i < params->n; i++) {
        const rd_param *p = &params->item[i];
        const float *got = grads ? p->g.a : p->w.a;
        double error = 0, size = 0;
        int64_t n;
        double *want = golden_get(ref, prefix, p->name, &n);
        if (n != p->w.m * p->w.n) rd_die("%s", p->name);
        for (int64_t k = 0; k < n; k++) {
            error = fmax(error, fabs((double)got[k] - want[k]));
            size = fmax(size, fabs(want[k]));
            if (!isfinite(got[k])) error = INFINITY;
        }
        rd_free(want);
        if (!(error / size <= worst)) worst = error / size, *where = p->name;
    }
    return worst;
}

static inline double *get_steps(const golden *ref, const char *stage, const char *name,
                                int64_t steps)
{
    char path[64];
    int64_t n;
    snprintf(path, sizeof(path), "steps/%s/%s", stage, name);
    double *values = golden_get(ref, path, "", &n);
    if (n != steps) rd_die("%s", path);
    return values;
}

/* A run with AdamW from the model as it is, to be compared with steps/STAGE/. */
static inline void bench_run(bench *t, const char *stage)
{
    rd_optim *opt = NULL;
    rd_optim_opts o;
    const int64_t n = t->plan.steps;
    diag("a run, %s", stage);
    plan_rewind(&t->plan);
    double *s = golden_get(&t->ref, "steps/options", "", NULL);
    double *loss = get_steps(&t->ref, stage, "losses", n),
           *rate = get_steps(&t->ref, stage, "rate", n),
           *norm = get_steps(&t->ref, stage, "grad_norm", n);
    rd_optim_defaults(&o);
    o.kind = "adamw", o.lr = s[0], o.beta1 = s[1], o.beta2 = s[2], o.eps = s[3];
    o.weight_decay = s[4], o.clip = s[5], o.warmup = s[6], o.min_lr = 0;
    is_rc(rd_optim_create(t->model, &o, n, &opt), RD_OK, "optimiser");
    double losses = 0, rates = 0, norms = 0;
    int clipped = 0;
    for (int64_t i = 0; i < n; i++) {
        objective_means means;
        double length = 0;
        if (bench_step(t, &means) != RD_OK || rd_optim_step(opt, i, &length) != RD_OK) length = NAN;
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
    double worst = worst_of(&t->ref, prefix, t->model->trained, false, &where);
    /* A weight whose gradient is near 0 takes a step in the direction of what is rounding. */
    ok(worst < 5e-5, "the weights after them (%.1e, %s)", worst, where);
    rd_free(s), rd_free(loss), rd_free(rate), rd_free(norm);
    rd_optim_free(&opt);
}

#endif
