/* optim.c: the learning-rate schedule, clipping and AdamW; hidden matrices go to Muon if asked.
 *
 * Moments are laid out as the model's storage, so that an update is one sweep per parameter.  Every
 * replica holds all of them and computes the same update from the same summed gradients. */
#include "train_impl.h"

#include <math.h>
#include <string.h>

struct rd_optim {
    const rd_grid *grid;
    rd_params *params; /* what is trained */
    rd_optim_opts o;
    int64_t total_steps;
    float *m;          /* [storage] first moment, or Muon's momentum */
    float *v;          /* second moments of AdamW's parameters, one after the other */
    int64_t *v_offset; /* [params->n] into v; -1: a Muon parameter */
    train_muon *muon;  /* NULL for "adamw" */
};

void rd_optim_defaults(rd_optim_opts *o)
{
    *o = (rd_optim_opts){.kind = "muon",
                         .lr = 2e-3,
                         .muon_lr = 0.02,
                         .muon_momentum = 0.95,
                         .beta1 = 0.9,
                         .beta2 = 0.95,
                         .eps = 1e-8,
                         .weight_decay = 0.01,
                         .clip = 1,
                         .warmup = 0.05,
                         .min_lr = 0.05};
}

double rd_lr_factor(const rd_optim_opts *o, int64_t s, int64_t n)
{
    const double pi = 3.141592653589793;
    int64_t warm = (int64_t)ceil(o->warmup * (double)n);
    if (warm > n - 1) warm = n - 1;
    /* The ramp would be 0 one step before the run, and is 1 at step `warm`. */
    if (s < warm) return (double)(s + 1) / (double)(warm + 1);
    double progress = n - 1 > warm ? (double)(s - warm) / (double)(n - 1 - warm) : 0;
    if (progress > 1) progress = 1;
    return o->min_lr + (1 - o->min_lr) * 0.5 * (1 + cos(pi * progress));
}

/* ---------------------------------------------------------------- life */

static int64_t local_size(const rd_mat *A)
{
    return A->lm * A->ln;
}

static int check_opts(const rd_optim_opts *o, bool muon)
{
    int rc = RD_OK;
    const struct {
        const char *name;
        double value, low, high;
    } range[] = {{"lr", o->lr, 0, INFINITY},
                 {"beta1", o->beta1, 0, 1 - 1e-9},
                 {"beta2", o->beta2, 0, 1 - 1e-9},
                 {"eps", o->eps, 0, INFINITY},
                 {"weight_decay", o->weight_decay, 0, INFINITY},
                 {"clip", o->clip, 0, INFINITY},
                 {"warmup", o->warmup, 0, 1},
                 {"min_lr", o->min_lr, 0, 1},
                 {"muon_lr", muon ? o->muon_lr : 0, 0, INFINITY},
                 {"muon_momentum", muon ? o->muon_momentum : 0, 0, 1 - 1e-9}};
    for (size_t i = 0; i < sizeof(range) / sizeof(range[0]); i++)
        if (!(range[i].value >= range[i].low && range[i].value <= range[i].high))
            RD_FAIL(RD_EINPUT, "optimizer.%s: %g is out of range", range[i].name, range[i].value);
    if (!muon && strcmp(o->kind, "adamw") != 0)
        RD_FAIL(RD_EINPUT, "optimizer.kind: expected \"adamw\" or \"muon\", got \"%s\"", o->kind);
done:
    return rc;
}

int rd_optim_create(rd_model *model, const rd_optim_opts *o, int64_t total_steps, rd_optim **opt)
{
    int rc = RD_OK;
    bool muon = strcmp(o->kind, "muon") == 0;
    rd_optim *p = NULL;
    *opt = NULL;
    RD_TRY(check_opts(o, muon));
    rd_params *params = model->trained;
    if (params == NULL) RD_FAIL(RD_EINTERNAL, "the model was created without gradients");
    p = rd_new(rd_optim, 1);
    *p = (rd_optim){.grid = model->grid, .params = params, .o = *o, .total_steps = total_steps};
    p->m = rd_new(float, params->storage);
    p->v_offset = rd_new(int64_t, params->n);
    int64_t n = 0;
    for (int64_t i = 0; i < params->n; i++) {
        const rd_mat *w = &params->item[i].w;
        RD_ASSERT(w->ln <= 1 || w->ld == w->lm || w->lm == 0);
        p->v_offset[i] = muon && params->item[i].is_matrix ? -1 : n;
        if (p->v_offset[i] >= 0) n += local_size(w);
    }
    p->v = rd_new(float, n);
    if (muon) RD_TRY(muon_create(model, &p->muon));
    *opt = p;
    p = NULL;
done:
    rd_optim_free(&p);
    return rc;
}

void rd_optim_free(rd_optim **opt)
{
    if (*opt == NULL) return;
    rd_free((*opt)->m);
    rd_free((*opt)->v);
    rd_free((*opt)->v_offset);
    muon_free(&(*opt)->muon);
    RD_FREE(*opt);
}

/* ---------------------------------------------------------------- a step */

/* The constants of one AdamW step; bias corrections are taken in float64. */
typedef struct adamw_step {
    float scale, beta1, beta2, rate, inv_root2, eps;
} adamw_step;

/* w -= lr (m / c1) / (sqrt(v / c2) + eps) with c = 1 - beta^t; rate is lr / c1. */
static void adamw(const adamw_step *a, float keep, int64_t n, const float *restrict g,
                  float *restrict m, float *restrict v, float *restrict w)
{
    const adamw_step s = *a;
    for (int64_t i = 0; i < n; i++) {
        float gi = s.scale * g[i];
        m[i] = s.beta1 * m[i] + (1 - s.beta1) * gi;
        v[i] = s.beta2 * v[i] + (1 - s.beta2) * gi * gi;
        w[i] = keep * w[i] - s.rate * m[i] / (sqrtf(v[i]) * s.inv_root2 + s.eps);
    }
}

/* Independent sums keep the additions from waiting on each other; the order is fixed. */
static double sum_squares(const float *x, int64_t n)
{
    enum { LANES = 16 };
    double part[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) part[k] += (double)x[i + k] * (double)x[i + k];
    for (; i < n; i++) sum += (double)x[i] * (double)x[i];
    for (int k = 0; k < LANES; k++) sum += part[k];
    return sum;
}

int rd_optim_step(rd_optim *opt, int64_t step, double *grad_norm)
{
    int rc = RD_OK;
    rd_params *params = opt->params;
    const rd_optim_opts *o = &opt->o;
    double factor = rd_lr_factor(o, step, opt->total_steps), t = (double)step + 1;
    double norm2 = sum_squares(params->grads, params->storage);
    rd_sum_f64(&opt->grid->tp, &norm2, 1);
    *grad_norm = sqrt(norm2);
    if (!isfinite(*grad_norm))
        RD_FAIL(RD_ENUMERIC, "step %lld: the gradient's norm is not finite (%g)", (long long)step,
                *grad_norm);
    double scale = o->clip > 0 && *grad_norm > o->clip ? o->clip / *grad_norm : 1;
    double lr = o->lr * factor;
    adamw_step a = {.scale = (float)scale,
                    .beta1 = (float)o->beta1,
                    .beta2 = (float)o->beta2,
                    .rate = (float)(lr / (1 - pow(o->beta1, t))),
                    .inv_root2 = (float)(1 / sqrt(1 - pow(o->beta2, t))),
                    .eps = (float)o->eps};
    for (int64_t i = 0; i < params->n; i++) {
        const rd_param *p = &params->item[i];
        if (opt->v_offset[i] < 0) continue;
        double keep = p->decay ? 1 - lr * o->weight_decay : 1;
        adamw(&a, (float)keep, local_size(&p->w), p->g.a, opt->m + (p->w.a - params->weights),
              opt->v + opt->v_offset[i], p->w.a);
    }
    if (opt->muon != NULL)
        RD_TRY(muon_step(opt->muon, opt->m, scale, o->muon_lr * factor, o->muon_momentum,
                         o->weight_decay));
done:
    return rc;
}

/* ---------------------------------------------------------------- files */

void rd_optim_reset(rd_optim *opt)
{
    int64_t n = 0;
    for (int64_t i = 0; i < opt->params->n; i++)
        if (opt->v_offset[i] >= 0) n += local_size(&opt->params->item[i].w);
    memset(opt->m, 0, (size_t)opt->params->storage * sizeof(float));
    memset(opt->v, 0, (size_t)n * sizeof(float));
}

/* Parameters whose "weights" are moments, so that they are stored exactly as weights are: "m/NAME"
 * for all parameters, "v/NAME" for AdamW's. */
static rd_params moments_as_params(const rd_optim *opt, bool second, rd_param *item)
{
    const rd_params *all = opt->params;
    rd_params shadow = {.item = item};
    for (int64_t i = 0; i < all->n; i++) {
        if (second && opt->v_offset[i] < 0) continue;
        rd_param *p = &item[shadow.n++];
        *p = all->item[i];
        p->w.a = second ? opt->v + opt->v_offset[i] : opt->m + (p->w.a - all->weights);
        p->w.owned = false;
    }
    return shadow;
}

int rd_optim_write(const rd_optim *opt, rd_store *s, const char *prefix)
{
    int rc = RD_OK;
    rd_param *item = rd_new(rd_param, opt->params->n);
    for (int second = 0; second < 2; second++) {
        char name[160];
        rd_params shadow = moments_as_params(opt, second, item);
        snprintf(name, sizeof(name), "%s%s", prefix, second ? "v/" : "m/");
        RD_TRY(rd_params_write(opt->grid, &shadow, s, name));
    }
done:
    rd_free(item);
    return rc;
}

int rd_optim_read(rd_optim *opt, rd_store *s, const char *prefix)
{
    int rc = RD_OK;
    rd_param *item = rd_new(rd_param, opt->params->n);
    for (int second = 0; second < 2; second++) {
        char name[160];
        rd_params shadow = moments_as_params(opt, second, item);
        snprintf(name, sizeof(name), "%s%s", prefix, second ? "v/" : "m/");
        RD_TRY(rd_params_read(opt->grid, &shadow, s, name));
    }
done:
    rd_free(item);
    return rc;
}
