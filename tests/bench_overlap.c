/* bench */
/* Whole data-parallel steps (passes, sum of gradients, AdamW), the gradients summed during the
 * backward pass or after it, with all moments or a share: medians of steps taken in turn, so that
 * what else the machine does meets all alike; in brackets the median ratio to the first way.  For
 * two ranks or more:
 *
 *   mpirun -n 2 build/tests/bench_overlap            6.6 M parameters, 256 tokens a rank
 *   mpirun -n 2 build/tests/bench_overlap large 256  also SmolLM2-135M's shape, 256 tokens a rank
 */
#include "bench_shapes.h"
#include "rd_test.h"
#include "rd/train.h"

enum { WAYS = 3, MOST = 64 };
static const char *const way_name[WAYS] = {"after", "during", "during, sharded"};

typedef struct shape {
    const char *name;
    rd_model_config cfg;
    int64_t T, len;
    int rounds;
} shape;

typedef struct step_time {
    double passes, sums, update, all, waited;
} step_time;

static void on_ready(void *ctx, int64_t first, int64_t count)
{
    rd_flow_ready(ctx, first, count);
}

static double waited(void)
{
    const rd_clock *list;
    int n = rd_clock_list(&list);
    return n > 0 ? list[0].waited : 0;
}

static step_time one_step(rd_model *m, rd_work *w, rd_optim *opt, const rd_batch *b, float *coef,
                          double *logp, bool overlap)
{
    double norm, before = waited(), start, passes, sums, end;
    rd_barrier(&rd_test_world);
    start = rd_time();
    rd_clock_begin("step");
    rd_flow *flow = rd_optim_begin_sums(opt);
    rd_model_zero_grads(m);
    rd_work_on_gradients(w, overlap ? on_ready : NULL, flow);
    if (rd_model_fwd(m, w, b) != RD_OK || rd_model_head(m, w, b, coef, logp) != RD_OK ||
        rd_model_bwd(m, w, b) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    passes = rd_time();
    rd_flow_end(flow);
    sums = rd_time();
    if (rd_optim_step(opt, 0, &norm) != RD_OK) rd_die("%s", rd_error_get()->message);
    rd_clock_end("step");
    end = rd_time();
    return (step_time){passes - start, sums - passes, end - sums, end - start, waited() - before};
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *x, int n)
{
    qsort(x, (size_t)n, sizeof x[0], ascending);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* One field over the rounds; the slowest rank's. */
static void over_rounds(const step_time *t, size_t offset, int n, double *x)
{
    for (int i = 0; i < n; i++) memcpy(&x[i], (const char *)&t[i] + offset, sizeof x[i]);
    rd_max_f64(&rd_test_world, x, n);
}

static double median(const step_time *t, size_t offset, int n)
{
    double x[MOST];
    over_rounds(t, offset, n, x);
    return median_of(x, n);
}

/* Of the steps' times, round by round: what slows a whole round down cancels. */
static double median_ratio(const step_time *t, const step_time *base, int n)
{
    double x[MOST], y[MOST];
    over_rounds(t, offsetof(step_time, all), n, x);
    over_rounds(base, offsetof(step_time, all), n, y);
    for (int i = 0; i < n; i++) x[i] /= y[i];
    return median_of(x, n);
}

static rd_batch make_batch(const shape *s)
{
    rd_batch b = {.T = s->T, .n_seq = s->T / s->len};
    rd_rng r = rd_rng_make(1, "batch", (uint64_t)rd_test_world.rank, 0);
    b.start = rd_new(int64_t, b.n_seq + 1);
    b.tokens = rd_new(int32_t, b.T);
    b.target = rd_new(int32_t, b.T);
    for (int64_t i = 0; i <= b.n_seq; i++) b.start[i] = i * s->len;
    for (int64_t t = 0; t < b.T; t++)
        b.tokens[t] = b.target[t] = (int32_t)rd_rng_below(&r, s->cfg.vocab);
    return b;
}

static void bench(const rd_grid *g, const shape *s)
{
    rd_model *m;
    rd_work *w;
    rd_optim *opt[2];
    static step_time t[WAYS][MOST];
    rd_batch b = make_batch(s);
    float *coef = rd_new(float, b.T);
    double *logp = rd_new(double, b.T);
    for (int64_t i = 0; i < b.T; i++) coef[i] = -1e-4f;
    rd_model_create(g, &s->cfg, true, &m);
    rd_model_init(m, 1);
    rd_work_create(m, b.T, s->len, &w);
    for (int k = 0; k < 2; k++) {
        rd_optim_opts o;
        rd_optim_defaults(&o);
        o.kind = "adamw", o.sharded = k;
        if (rd_optim_create(m, &o, 1000, &opt[k]) != RD_OK) rd_die("optimiser");
    }
    for (int i = -1; i < s->rounds; i++)
        for (int turn = 0; turn < WAYS; turn++) {
            int k = (turn + i + WAYS) % WAYS; /* each comes first as often as the others */
            step_time x = one_step(m, w, opt[k == 2], &b, coef, logp, k > 0);
            if (i >= 0) t[k][i] = x;
        }
    if (g->world.rank == 0)
        printf("%s: %.1f M parameters, %lld tokens a rank, medians of %d steps, ms\n", s->name,
               1e-6 * (double)rd_model_config_params(&m->cfg), (long long)s->T, s->rounds);
    for (int k = 0; k < WAYS; k++) {
        double x[5] = {median(t[k], offsetof(step_time, all), s->rounds),
                       median(t[k], offsetof(step_time, passes), s->rounds),
                       median(t[k], offsetof(step_time, sums), s->rounds),
                       median(t[k], offsetof(step_time, update), s->rounds),
                       median(t[k], offsetof(step_time, waited), s->rounds)};
        double ratio = median_ratio(t[k], t[0], s->rounds);
        if (g->world.rank == 0)
            printf("  %-16s step %.1f (%.3f): passes %.1f, sums %.1f, update %.1f; in MPI %.1f; "
                   "moments %.1f MB\n",
                   way_name[k], 1e3 * x[0], ratio, 1e3 * x[1], 1e3 * x[2], 1e3 * x[3], 1e3 * x[4],
                   1e-6 * (double)rd_optim_bytes(opt[k == 2]));
    }
    for (int k = 0; k < 2; k++) rd_optim_free(&opt[k]);
    rd_work_free(&w);
    rd_model_free(&m);
    rd_free(b.start), rd_free(b.tokens), rd_free(b.target), rd_free(coef), rd_free(logp);
}

int main(int argc, char **argv)
{
    shape small = {
        .name = "width 256, 6 layers", .cfg = BENCH_5M, .T = 256, .len = 256, .rounds = 60};
    shape large = {
        .name = "SmolLM2-135M", .cfg = BENCH_SMOLLM2, .T = 2048, .len = 256, .rounds = 5};
    rd_grid *g;
    rd_test_begin(&argc, &argv);
    rd_grid_create(0, 1, 1, &g);
    rd_la_attach(g, 1);
    bench(g, &small);
    if (argc > 2) large.T = strtoll(argv[2], NULL, 10);
    if (large.len > large.T) large.len = large.T;
    if (argc > 1 && strcmp(argv[1], "large") == 0) bench(g, &large);
    rd_la_detach(g);
    rd_grid_free(&g);
    return rd_test_end();
}
