/* optim.c: the learning-rate schedule, clipping and AdamW; hidden matrices go to Muon if asked.
 *
 * Every replica holds all moments and computes the same update from the same summed gradients; or,
 * sharded, each has a share: it receives the sums of its share, updates it, and the weights are
 * gathered.  The same bits either way. */
#include "train_impl.h"

#include <math.h>
#include <string.h>

struct rd_optim {
    const rd_grid *grid;
    rd_params *params; /* what is trained */
    rd_optim_opts o;
    int64_t total_steps;
    train_share share;
    float *m;         /* [share.m_size] first moment, or Muon's momentum */
    float *v;         /* [share.v_size] second moment */
    double *norm2;    /* [share.n] of the gradient, by parts */
    int *muon_owner;  /* [params->n] -1: AdamW's */
    train_muon *muon; /* NULL for "adamw" */
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
    p->muon_owner = rd_new(int, params->n);
    for (int64_t i = 0; i < params->n; i++) p->muon_owner[i] = -1;
    if (muon) RD_TRY(muon_create(model, o->sharded, p->muon_owner, &p->muon));
    share_create(model->grid, params, p->muon_owner, o->sharded, &p->share);
    p->m = rd_new(float, p->share.m_size);
    p->v = rd_new(float, p->share.v_size);
    p->norm2 = rd_new(double, p->share.n);
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
    rd_free((*opt)->norm2);
    rd_free((*opt)->muon_owner);
    share_free(&(*opt)->share);
    muon_free(&(*opt)->muon);
    RD_FREE(*opt);
}

int64_t rd_optim_bytes(const rd_optim *opt)
{
    return (opt->share.m_size + opt->share.v_size) * (int64_t)sizeof(float);
}

double rd_optim_flops(const rd_optim *opt)
{
    return opt->muon != NULL ? muon_flops(opt->muon) : 0;
}

/* ---------------------------------------------------------------- a step */

/* The constants of one AdamW step; bias corrections are taken in float64. */
typedef struct adamw_step {
    float scale, beta1, beta2, rate, inv_root2, eps;
} adamw_step;

/* Threads share the parts.  A pass over less is not worth waking them. */
enum { ENOUGH = 1 << 15 };

/* w -= lr (m / c1) / (sqrt(v / c2) + eps) with c = 1 - beta^t; rate is lr / c1. */
RD_CLONES
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
RD_CLONES
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

/* Of the whole gradient, the same bits on every rank.  Collective on world. */
static double gradient_norm2(rd_optim *opt)
{
    const train_share *s = &opt->share;
    double sum = 0;
#pragma omp parallel for num_threads(rd_threads()) \
    schedule(static) if (opt->params->storage > ENOUGH)
    for (int64_t k = 0; k < s->n; k++) {
        const share_part *p = &s->part[k];
        opt->norm2[k] = p->held ? sum_squares(opt->params->grads + p->first, p->count) : 0;
    }
    if (s->sharded) rd_sum_f64(&opt->grid->replicas, opt->norm2, s->n);
    for (int64_t k = 0; k < s->n; k++) sum += opt->norm2[k];
    rd_sum_f64(&opt->grid->tp, &sum, 1);
    return sum;
}

static void adamw_parts(rd_optim *opt, const adamw_step *a, double decay)
{
    const rd_params *params = opt->params;
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (params->storage > ENOUGH)
    for (int64_t k = 0; k < opt->share.n; k++) {
        const share_part *p = &opt->share.part[k];
        if (!p->held || opt->muon_owner[p->param] >= 0) continue;
        float keep = (float)(params->item[p->param].decay ? 1 - decay : 1);
        adamw(a, keep, p->count, params->grads + p->first, opt->m + p->m, opt->v + p->v,
              params->weights + p->first);
    }
}

rd_flow *rd_optim_begin_sums(rd_optim *opt)
{
    rd_flow_begin(opt->share.flow, opt->share.sharded ? RD_FLOW_REDUCE : RD_FLOW_SUM,
                  opt->params->grads);
    return opt->share.flow;
}

int rd_optim_step(rd_optim *opt, int64_t step, double *grad_norm)
{
    int rc = RD_OK;
    const rd_optim_opts *o = &opt->o;
    double factor = rd_lr_factor(o, step, opt->total_steps), t = (double)step + 1;
    *grad_norm = sqrt(gradient_norm2(opt));
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
    adamw_parts(opt, &a, lr * o->weight_decay);
    if (opt->muon != NULL)
        RD_TRY(muon_step(opt->muon, &opt->share, opt->m, scale, o->muon_lr * factor,
                         o->muon_momentum, o->weight_decay));
    if (opt->share.sharded) {
        rd_flow_begin(opt->share.flow, RD_FLOW_GATHER, opt->params->weights);
        rd_flow_end(opt->share.flow);
    }
done:
    return rc;
}

/* ---------------------------------------------------------------- files */

void rd_optim_reset(rd_optim *opt)
{
    memset(opt->m, 0, (size_t)opt->share.m_size * sizeof(float));
    memset(opt->v, 0, (size_t)opt->share.v_size * sizeof(float));
}

/* Parts [k, end) of one parameter with the same owner, whose moments lie together; of part k. */
static int64_t run_end(const train_share *s, int64_t k, int64_t *count)
{
    int64_t end = k;
    for (*count = 0; end < s->start[s->part[k].param + 1]; end++) {
        if (s->part[end].owner != s->part[k].owner) break;
        *count += s->part[end].count;
    }
    return end;
}

static float *moment_of(const rd_optim *opt, const share_part *p, bool second)
{
    return second ? opt->v + p->v : opt->m + p->m;
}

/* A parameter's first or second moments, put together on the first replica.  Collective on
 * replicas. */
static void collect(const rd_optim *opt, int64_t i, bool second, float *whole)
{
    const train_share *s = &opt->share;
    const rd_comm *c = &opt->grid->replicas;
    int64_t count;
    for (int64_t k = s->start[i], end; k < s->start[i + 1]; k = end) {
        const share_part *p = &s->part[k];
        float *to = whole + (p->first - s->part[s->start[i]].first);
        end = run_end(s, k, &count);
        if (p->owner == 0 && c->rank == 0)
            memcpy(to, moment_of(opt, p, second), (size_t)count * sizeof(float));
        else if (p->owner == c->rank)
            rd_send_f32(c, moment_of(opt, p, second), count, 0);
        else if (c->rank == 0)
            rd_receive_f32(c, to, count, p->owner);
    }
}

/* Keep of a parameter's moments what is this replica's.  Local. */
static void pick(const rd_optim *opt, int64_t i, bool second, const float *whole)
{
    const train_share *s = &opt->share;
    for (int64_t k = s->start[i]; k < s->start[i + 1]; k++) {
        const share_part *p = &s->part[k];
        if (p->held)
            memcpy(moment_of(opt, p, second), whole + (p->first - s->part[s->start[i]].first),
                   (size_t)p->count * sizeof(float));
    }
}

/* Each parameter in turn as one whose "weights" are moments, so that these are stored exactly as
 * weights are: "m/NAME" for all parameters, "v/NAME" for AdamW's.  `whole` has room for the
 * largest; where everything is held the moments are their own place. */
static int move_moments(const rd_optim *opt, rd_store *s, const char *prefix, bool second,
                        bool write, float *whole)
{
    int rc = RD_OK;
    char name[160];
    snprintf(name, sizeof(name), "%s%s", prefix, second ? "v/" : "m/");
    for (int64_t i = 0; i < opt->params->n; i++) {
        rd_param item = opt->params->item[i];
        rd_params one = {.n = 1, .item = &item};
        int64_t first = opt->share.start[i];
        bool some = first < opt->share.start[i + 1];
        if (second && opt->muon_owner[i] >= 0) continue;
        item.w.owned = false;
        item.w.a =
            opt->share.sharded || !some ? whole : moment_of(opt, &opt->share.part[first], second);
        if (opt->share.sharded && write) collect(opt, i, second, whole);
        RD_TRY(write ? rd_params_write(opt->grid, &one, s, name)
                     : rd_params_read(opt->grid, &one, s, name));
        if (opt->share.sharded && !write) pick(opt, i, second, whole);
    }
done:
    return rc;
}

static int move_all(const rd_optim *opt, rd_store *s, const char *prefix, bool write)
{
    int rc = RD_OK;
    int64_t largest = 0;
    for (int64_t i = 0; i < opt->params->n && opt->share.sharded; i++) {
        const rd_mat *w = &opt->params->item[i].w;
        if (w->lm * w->ln > largest) largest = w->lm * w->ln;
    }
    float *whole = rd_new(float, largest);
    RD_TRY(move_moments(opt, s, prefix, false, write, whole));
    RD_TRY(move_moments(opt, s, prefix, true, write, whole));
done:
    rd_free(whole);
    return rc;
}

int rd_optim_write(const rd_optim *opt, rd_store *s, const char *prefix)
{
    return move_all(opt, s, prefix, true);
}

int rd_optim_read(rd_optim *opt, rd_store *s, const char *prefix)
{
    return move_all(opt, s, prefix, false);
}
