/* ranks: 1 */
/* Every element-wise operation: forward against a float64 formula, backward against central
 * differences of that formula in float64. */
#include "rd_test.h"
#include "nn/ops.h"

enum { D = 21, T = 3 };
static const double STEP = 1e-5;

static void draw(const char *what, int64_t n, float *x)
{
    rd_rng r = rd_rng_make(9, what, 0, 0);
    for (int64_t i = 0; i < n; i++) x[i] = (float)rd_rng_normal(&r);
}

/* The float64 loss sum_i c_i f(x)_i as a function of x; the other inputs travel in ctx. */
typedef double loss_fn(const double *x, const void *ctx);

/* Largest difference between grad and the central differences of f at x. */
static double check_gradient(loss_fn *f, const void *ctx, int64_t n, const float *x,
                             const float *grad)
{
    double *p = rd_new(double, n), worst = 0;
    for (int64_t i = 0; i < n; i++) p[i] = x[i];
    for (int64_t i = 0; i < n; i++) {
        double keep = p[i];
        p[i] = keep + STEP;
        double up = f(p, ctx);
        p[i] = keep - STEP;
        double down = f(p, ctx);
        p[i] = keep;
        double error = fabs((up - down) / (2 * STEP) - grad[i]);
        if (!(error <= worst)) worst = error;
    }
    rd_free(p);
    return worst;
}

typedef struct norm_ctx {
    const float *x, *w, *c;
} norm_ctx;

static double norm_value(const double *x, const double *w, const float *c)
{
    double loss = 0;
    for (int t = 0; t < T; t++) {
        double sum = 0;
        for (int i = 0; i < D; i++) sum += x[t * D + i] * x[t * D + i];
        double inv = 1 / sqrt(sum / D + 1e-5);
        for (int i = 0; i < D; i++) loss += c[t * D + i] * x[t * D + i] * inv * w[i];
    }
    return loss;
}

static double norm_of_x(const double *x, const void *ctx)
{
    const norm_ctx *n = ctx;
    double w[D];
    for (int i = 0; i < D; i++) w[i] = n->w[i];
    return norm_value(x, w, n->c);
}

static double norm_of_w(const double *w, const void *ctx)
{
    const norm_ctx *n = ctx;
    double x[D * T];
    for (int i = 0; i < D * T; i++) x[i] = n->x[i];
    return norm_value(x, w, n->c);
}

static void test_rmsnorm(void)
{
    float x[D * T], w[D], c[D * T], y[D * T], inv[T], dx[D * T], dw[D];
    draw("x", D * T, x), draw("w", D, w), draw("c", D * T, c);
    rd_rmsnorm_fwd(D, T, x, w, 1e-5, y, inv);
    norm_ctx ctx = {x, w, c};
    double got = 0, wide[D * T];
    for (int i = 0; i < D * T; i++) got += (double)c[i] * y[i];
    for (int i = 0; i < D * T; i++) wide[i] = x[i];
    near_f64(got, norm_of_x(wide, &ctx), 1e-6, "rmsnorm forward");
    for (int i = 0; i < D * T; i++) dx[i] = 1;
    for (int i = 0; i < D; i++) dw[i] = 2;
    rd_rmsnorm_bwd(D, T, x, w, inv, c, dx, dw);
    for (int i = 0; i < D * T; i++) dx[i] -= 1;
    for (int i = 0; i < D; i++) dw[i] -= 2;
    double ex = check_gradient(norm_of_x, &ctx, D * T, x, dx);
    double ew = check_gradient(norm_of_w, &ctx, D, w, dw);
    ok(ex < 2e-6 && ew < 2e-6, "rmsnorm backward accumulates the gradient (%.1e, %.1e)", ex, ew);
}

static double swiglu_loss(const double *gu, const void *ctx)
{
    const float *c = ctx;
    double loss = 0;
    for (int t = 0; t < T; t++)
        for (int i = 0; i < D; i++) {
            double g = gu[t * 2 * D + i], u = gu[t * 2 * D + D + i];
            loss += c[t * D + i] * g / (1 + exp(-g)) * u;
        }
    return loss;
}

static void test_swiglu(void)
{
    float gu[2 * D * T], c[D * T], h[D * T], again[D * T], dgu[2 * D * T];
    double wide[2 * D * T], got = 0;
    draw("gu", 2 * D * T, gu), draw("c", D * T, c);
    for (int i = 0; i < 2 * D * T; i++) wide[i] = gu[i] *= 3;
    rd_swiglu_fwd(D, T, gu, h);
    for (int i = 0; i < D * T; i++) got += (double)c[i] * h[i];
    near_f64(got, swiglu_loss(wide, c), 1e-6, "swiglu forward");
    rd_swiglu_bwd(D, T, gu, c, dgu, again);
    ok(memcmp(h, again, sizeof(h)) == 0, "swiglu backward gives the output once more");
    double error = check_gradient(swiglu_loss, c, 2 * D * T, gu, dgu);
    ok(error < 5e-6, "swiglu backward (%.1e)", error);
    float wild[4] = {-1e4f, 1e4f, 1, 1}, out[2];
    rd_swiglu_fwd(2, 1, wild, out);
    ok(fabsf(out[0]) < 1e-30f && out[1] == 1e4f, "gates far out: %g, %g", out[0], out[1]);
}

static void test_rope(void)
{
    enum { HEADS = 2, SIZE = 6, LD = 15 };
    int32_t position[T] = {0, 5, 2};
    float table[8 * SIZE], x[LD * T], y[LD * T];
    rd_model_config c = {.head_size = SIZE, .rope_theta = 100};
    rd_rope_table(&c, 8, table);
    draw("rope", LD * T, x);
    memcpy(y, x, sizeof(x));
    rd_rope(HEADS, SIZE, T, position, table, 1, y, LD);
    double worst = 0;
    for (int t = 0; t < T; t++)
        for (int i = 0; i < LD; i++) {
            int k = i % SIZE, pair = k % (SIZE / 2),
                other = k < SIZE / 2 ? i + SIZE / 2 : i - SIZE / 2;
            double angle = position[t] * pow(100, -2.0 * pair / SIZE);
            double want = x[t * LD + i];
            if (i < HEADS * SIZE)
                want = want * cos(angle) +
                       x[t * LD + other] * (k < SIZE / 2 ? -sin(angle) : sin(angle));
            worst = fmax(worst, fabs(y[t * LD + i] - want));
        }
    ok(worst < 5e-7, "rope turns the heads and leaves the rest (%.1e)", worst);
    rd_rope(HEADS, SIZE, T, position, table, -1, y, LD);
    worst = 0;
    for (int i = 0; i < LD * T; i++) worst = fmax(worst, fabs((double)y[i] - x[i]));
    ok(worst < 5e-7, "rope backward is its transpose (%.1e)", worst);
}

/* Against transformers 5.24 (modeling_rope_utils.py, _compute_llama3_parameters), which computes in
 * float32: Llama 3.1's own settings, Llama 3.2's, and some under which a short head has all three
 * kinds of frequency. */
static void test_rope_scaling(void)
{
    const rd_model_config large = {.head_size = 128, .rope_theta = 500000, .rope = {8, 1, 4, 8192}};
    const rd_model_config small = {.head_size = 64, .rope_theta = 500000, .rope = {32, 1, 4, 8192}};
    const rd_model_config tiny = {.head_size = 8, .rope_theta = 100, .rope = {4, 1, 4, 64}};
    const struct {
        const rd_model_config *c;
        int64_t i;
        double want;
    } known[] = {{&large, 0, 1},         {&large, 28, 1},        {&large, 29, 1.207484},
                 {&large, 30, 1.553414}, {&large, 31, 2.026313}, {&large, 32, 2.69453},
                 {&large, 33, 3.684254}, {&large, 34, 5.257327}, {&large, 35, 8},
                 {&large, 63, 8},        {&small, 14, 1},        {&small, 15, 1.651329},
                 {&small, 16, 3.292263}, {&small, 17, 9.666731}, {&small, 18, 32},
                 {&tiny, 0, 1},          {&tiny, 1, 1.241824},   {&tiny, 2, 3.926991},
                 {&tiny, 3, 4}};
    double worst = 0;
    for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
        worst = fmax(worst, fabs(rd_rope_divisor(known[k].c, known[k].i) / known[k].want - 1));
    ok(worst < 2e-6, "divisors of frequencies (%.1e)", worst);

    rd_model_config plain = tiny;
    plain.rope = (rd_rope_scaling){0};
    float table[2][8 * 41];
    rd_rope_table(&tiny, 41, table[0]);
    rd_rope_table(&plain, 41, table[1]);
    ok(table[0][8 * 4 + 3] == table[1][8 + 3], "a slow pair at 4 p is where it was at p");
    ok(table[0][8 * 40] == table[1][8 * 40], "a fast pair is where it was");
    ok(fabs(table[0][8 * 40 + 1] - cos(40 * pow(100, -0.25) / 1.241824)) < 1e-5, "a pair between");
}

static void test_exp(void)
{
    enum { N = 4001 };
    float x[N], y[N];
    double worst = 0, want = 0;
    for (int i = 0; i < N; i++) x[i] = -87.0f + 0.04f * (float)i;
    double sum = rd_exp_sum(N, x, 1, 0, y);
    for (int i = 0; i < N; i++) {
        double e = exp((double)x[i]);
        worst = fmax(worst, fabs(y[i] / e - 1));
        want += y[i];
    }
    ok(worst < 1.5e-7, "exp over its range (%.1e)", worst);
    near_f64(sum / want, 1, 1e-15, "sum in float64");
    float odd[3] = {-1e30f, -INFINITY, NAN};
    rd_exp_sum(3, odd, 1, 0, odd);
    ok(odd[0] == 0 && odd[1] == 0 && isnan(odd[2]), "far below is 0, NaN stays NaN");
    float z[37];
    draw("max", 37, z);
    float top = z[0];
    for (int n = 1; n <= 37; n++) {
        top = fmaxf(top, z[n - 1]);
        if (rd_max_f32(n, z) != top) worst = 1;
    }
    ok(worst < 1, "maximum of any length");
}

static void test_embedding(void)
{
    enum { V = 5 };
    int32_t tokens[T] = {3, 0, 3};
    float E[D * V], x[D * T], dE[D * V] = {0};
    draw("E", D * V, E);
    rd_embed_fwd(D, T, tokens, E, x);
    ok(memcmp(x + 2 * D, E + 3 * D, D * sizeof(float)) == 0, "embedding looks up columns");
    rd_embed_bwd(D, T, tokens, x, dE);
    ok(dE[3 * D] == 2 * E[3 * D] && dE[1] == E[1] && dE[D] == 0, "and adds up repeated tokens");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_rmsnorm();
    test_swiglu();
    test_rope();
    test_rope_scaling();
    test_exp();
    test_embedding();
    return rd_test_end();
}
