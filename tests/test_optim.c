/* ranks: 1 2 4 */
/* Schedule, AdamW against its formulas, Muon: orthogonality, and the same bits however it is dealt.
 */
#include "rd_test.h"
#include "rd/train.h"

static rd_grid *grid;
static const rd_model_config config = {.vocab = 50,
                                       .width = 72,
                                       .layers = 2,
                                       .heads = 4,
                                       .kv_heads = 2,
                                       .ffn = 120,
                                       .rope_theta = 1e4,
                                       .norm_eps = 1e-5,
                                       .tied = true,
                                       .qkv_bias = true};

static rd_model *make_model(const rd_grid *g)
{
    rd_model *m;
    is_rc(rd_model_create(g, &config, true, &m), RD_OK, "model");
    rd_model_init(m, 3);
    return m;
}

static void fill_gradients(rd_model *m, int64_t step)
{
    rd_rng rng = rd_rng_make(11, "gradient", (uint64_t)step, 0);
    rd_model_zero_grads(m);
    for (int64_t i = 0; i < m->base.n; i++)
        for (int64_t k = 0; k < m->base.item[i].g.m * m->base.item[i].g.n; k++)
            m->base.item[i].g.a[k] = (float)rd_rng_normal(&rng);
}

static void test_schedule(void)
{
    rd_optim_opts o;
    rd_optim_defaults(&o);
    o.warmup = 0.1;
    o.min_lr = 0.2;
    near_f64(rd_lr_factor(&o, 0, 100), 1.0 / 11, 1e-15, "the first step is small, not zero");
    near_f64(rd_lr_factor(&o, 9, 100), 10.0 / 11, 1e-15, "linear");
    near_f64(rd_lr_factor(&o, 10, 100), 1, 1e-15, "the peak");
    near_f64(rd_lr_factor(&o, 10 + 89 / 2, 100), 0.6, 1e-2, "half way down");
    near_f64(rd_lr_factor(&o, 99, 100), 0.2, 1e-15, "the last step is at min_lr");
    near_f64(rd_lr_factor(&o, 0, 1), 1, 1e-15, "a run of one step");
    o.warmup = 0;
    o.min_lr = 1;
    near_f64(rd_lr_factor(&o, 57, 100), 1, 0, "constant");
}

static void test_adamw(void)
{
    rd_model *m = make_model(grid);
    rd_optim_opts o;
    rd_optim *opt;
    rd_optim_defaults(&o);
    o.kind = "adamw", o.lr = 0.01, o.weight_decay = 0.1, o.clip = 5, o.warmup = 0, o.min_lr = 1;
    is_rc(rd_optim_create(m, &o, 10, &opt), RD_OK, "AdamW");
    double worst = 0, norm, want_norm = 0;
    double *w = rd_new(double, m->base.storage), *m1 = rd_new(double, m->base.storage),
           *v = rd_new(double, m->base.storage);
    for (int64_t i = 0; i < m->base.storage; i++) w[i] = (double)m->base.weights[i];
    for (int64_t s = 0; s < 10; s++) {
        fill_gradients(m, s);
        want_norm = 0;
        for (int64_t i = 0; i < m->base.storage; i++)
            want_norm += (double)m->base.grads[i] * (double)m->base.grads[i];
        want_norm = sqrt(want_norm);
        for (int64_t p = 0; p < m->base.n; p++) {
            rd_param *x = &m->base.item[p];
            int64_t at = x->w.a - m->base.weights;
            for (int64_t i = at; i < at + x->w.m * x->w.n; i++) {
                double g = (double)m->base.grads[i] * 5 / want_norm;
                m1[i] = 0.9 * m1[i] + 0.1 * g;
                v[i] = 0.95 * v[i] + 0.05 * g * g;
                w[i] *= x->decay ? 1 - 0.01 * 0.1 : 1;
                w[i] -= 0.01 * (m1[i] / (1 - pow(0.9, (double)s + 1))) /
                        (sqrt(v[i] / (1 - pow(0.95, (double)s + 1))) + 1e-8);
            }
        }
        if (rd_optim_step(opt, s, &norm) != RD_OK) worst = INFINITY;
    }
    for (int64_t i = 0; i < m->base.storage; i++)
        worst = fmax(worst, fabs(w[i] - (double)m->base.weights[i]));
    ok(worst < 5e-7, "ten clipped steps follow the formulas (%.1e)", worst);
    near_f64(norm, want_norm, 1e-12, "the norm is that before clipping");

    float before = m->base.weights[3];
    m->base.grads[5] = NAN;
    is_rc(rd_optim_step(opt, 10, &norm), RD_ENUMERIC, "a gradient that is not finite");
    ok(m->base.weights[3] == before, "changes nothing");
    rd_free(w), rd_free(m1), rd_free(v);
    rd_optim_free(&opt);
    o.kind = "sgd";
    is_rc(rd_optim_create(m, &o, 10, &opt), RD_EINPUT, "an unknown optimiser");
    rd_model_free(&m);
}

/* Five Newton-Schulz steps in float64, as published: X <- a X + (b A + c A^2) X with A = X X^T,
 * here in the form a X + b A X + c A (A X).  g is m x n, column-major; x is the result. */
static void newton_schulz(int64_t m, int64_t n, const float *g, double *x)
{
    double norm = 0, *gram = rd_new(double, m *m), *y = rd_new(double, m *n),
           *z = rd_new(double, m *n);
    for (int64_t k = 0; k < m * n; k++) norm += (double)g[k] * (double)g[k];
    for (int64_t k = 0; k < m * n; k++) x[k] = (double)g[k] / sqrt(norm);
    for (int step = 0; step < 5; step++) {
        memset(gram, 0, (size_t)(m * m) * sizeof *gram);
        memset(y, 0, (size_t)(m * n) * sizeof *y);
        memset(z, 0, (size_t)(m * n) * sizeof *z);
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < m; i++)
                for (int64_t k = 0; k < m; k++) gram[i * m + k] += x[j * m + i] * x[j * m + k];
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < m; i++)
                for (int64_t k = 0; k < m; k++) y[j * m + k] += gram[i * m + k] * x[j * m + i];
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < m; i++)
                for (int64_t k = 0; k < m; k++) z[j * m + k] += gram[i * m + k] * y[j * m + i];
        for (int64_t k = 0; k < m * n; k++) x[k] = 3.4445 * x[k] - 4.7750 * y[k] + 2.0315 * z[k];
    }
    rd_free(gram), rd_free(y), rd_free(z);
}

/* |v^T U|^2 / |v|^2 (or U v) for random v lies between the squares of U's singular values. */
static void check_orthogonal(const rd_mat *w, const float *u, double *low, double *high)
{
    bool tall = w->m > w->n;
    int64_t k = tall ? w->n : w->m, across = tall ? w->m : w->n;
    for (int64_t trial = 0; trial < 40; trial++) {
        rd_rng rng = rd_rng_make(5, "probe", (uint64_t)trial, 0);
        double v[128], vv = 0, gg = 0;
        for (int64_t i = 0; i < k; i++) {
            v[i] = rd_rng_normal(&rng);
            vv += v[i] * v[i];
        }
        for (int64_t j = 0; j < across; j++) {
            double s = 0;
            for (int64_t i = 0; i < k; i++)
                s += v[i] * (double)(tall ? u[i * w->m + j] : u[j * w->m + i]);
            gg += s * s;
        }
        *low = fmin(*low, gg / vv);
        *high = fmax(*high, gg / vv);
    }
}

static void test_muon(void)
{
    rd_model *m = make_model(grid);
    rd_optim_opts o;
    rd_optim *opt;
    double norm, low = INFINITY, high = 0, off = 0;
    rd_optim_defaults(&o);
    o.weight_decay = 0, o.warmup = 0, o.min_lr = 1, o.muon_lr = 1;
    is_rc(rd_optim_create(m, &o, 10, &opt), RD_OK, "Muon");
    float *before = rd_new(float, m->base.storage);
    memcpy(before, m->base.weights, (size_t)m->base.storage * sizeof(float));
    fill_gradients(m, 0);
    is_rc(rd_optim_step(opt, 0, &norm), RD_OK, "a step");
    int64_t matrices = 0;
    for (int64_t i = 0; i < m->base.n; i++) {
        const rd_mat *w = &m->base.item[i].w;
        if (!m->base.item[i].is_matrix) continue;
        double scale = sqrt(w->n > w->m ? (double)w->n / (double)w->m : 1), along = 0;
        float *u = rd_new(float, w->m * w->n);
        for (int64_t k = 0; k < w->m * w->n; k++) {
            u[k] = (float)((double)(before[w->a - m->base.weights + k] - w->a[k]) / scale);
            along += (double)u[k] * (double)m->base.item[i].g.a[k];
        }
        check_orthogonal(w, u, &low, &high);
        double *want = rd_new(double, w->m * w->n);
        newton_schulz(w->m, w->n, m->base.item[i].g.a, want);
        for (int64_t k = 0; k < w->m * w->n; k++) off = fmax(off, fabs(want[k] - (double)u[k]));
        rd_free(want);
        matrices += along > 0;
        rd_free(u);
    }
    ok(off < 2e-5, "updates are the published steps' (%.1e)", off);
    is_i64(matrices, 14, "each hidden matrix moves down its gradient");
    ok(low > 0.45 && high < 1.5, "updates are nearly orthogonal (%.2f to %.2f)", low, high);
    rd_free(before);
    rd_optim_free(&opt);
    rd_model_free(&m);
}

/* Dealt over the ranks here, and done by one rank alone (a grid of one). */
static void test_dealing(void)
{
    rd_grid alone = *grid;
    alone.data = 1;
    alone.my_data = 0;
    alone.world = alone.replicas = rd_comm_self();
    rd_model *m[2] = {make_model(grid), make_model(&alone)};
    rd_optim *opt[2];
    rd_optim_opts o;
    int failed = 0;
    double norm[2];
    rd_optim_defaults(&o);
    for (int k = 0; k < 2; k++) {
        is_rc(rd_optim_create(m[k], &o, 5, &opt[k]), RD_OK, "Muon");
        for (int64_t s = 0; s < 5; s++) {
            fill_gradients(m[k], s);
            failed += rd_optim_step(opt[k], s, &norm[k]) != RD_OK;
        }
    }
    ok(failed == 0 && memcmp(m[0]->base.weights, m[1]->base.weights,
                             (size_t)m[0]->base.storage * sizeof(float)) == 0,
       "the same bits on %d ranks as on one", grid->data);
    for (int k = 0; k < 2; k++) {
        rd_optim_free(&opt[k]);
        rd_model_free(&m[k]);
    }
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    is_rc(rd_grid_create(0, 1, 1, &grid), RD_OK, "grid");
    test_schedule();
    test_adamw();
    test_muon();
    test_dealing();
    rd_grid_free(&grid);
    return rd_test_end();
}
