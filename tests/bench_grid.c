/* bench ranks: 2 */
/* A model over a grid against the same ranks as data-parallel replicas, at the shape of
 * SmolLM2-135M: one micro-batch of 2,048 tokens (4 sequences) forward, head, backward, and the sum
 * of gradients over replicas.  A step of n replicas takes n micro-batches, one of a grid takes one;
 * compared are tokens per second of the whole job, steps of all sides in turn, because the machine
 * may be shared.  If it is, ranks in step with each other suffer more from it than replicas: then
 * look at the processor time (of a rank, for its part of a micro-batch; the system's not counted,
 * where waiting goes).  Arguments: layers and rounds, to be done sooner. */
#include "bench_shapes.h"
#include "rd_test.h"
#include "rd/nn.h"
#include <sys/resource.h>

enum { T = 2048, SEQUENCES = 4, MAX_ROUNDS = 32, SIDES = 5 };

typedef struct place {
    int rows, cols;
    rd_grid *g;
    rd_model *model;
    rd_work *work;
} place;

typedef struct side {
    const char *name;
    place *at;
    bool panels;
    double seconds[MAX_ROUNDS], waited[MAX_ROUNDS], busy[MAX_ROUNDS];
} side;

typedef struct bed {
    rd_batch b;
    int64_t start[SEQUENCES + 1];
    int32_t tokens[T], target[T];
    float coef[T];
    double logp[T];
} bed;

static void make_batch(bed *t, int64_t vocab)
{
    rd_rng r = rd_rng_make(1, "bench", 0, 0);
    for (int s = 0; s <= SEQUENCES; s++) t->start[s] = s * (T / SEQUENCES);
    for (int i = 0; i < T; i++) {
        t->tokens[i] = (int32_t)rd_rng_below(&r, vocab);
        t->target[i] = (int32_t)rd_rng_below(&r, vocab);
        t->coef[i] = -1.0f / (float)T;
    }
    t->b = (rd_batch){T, SEQUENCES, t->start, t->tokens, t->target};
}

static void begin(place *p, const rd_model_config *cfg)
{
    rd_grid_create(0, p->rows, p->cols, &p->g);
    rd_la_attach(p->g, 1);
    if (rd_model_create(p->g, cfg, true, &p->model) != RD_OK) rd_die("%s", rd_error_get()->message);
    rd_model_init(p->model, 1);
    if (rd_work_create(p->model, T, T / SEQUENCES, &p->work) != RD_OK)
        rd_die("%s", rd_error_get()->message);
}

static void end(place *p)
{
    rd_work_free(&p->work);
    rd_model_free(&p->model);
    rd_la_detach(p->g);
    rd_grid_free(&p->g);
}

/* The program's own processor time, without the system's, where a rank that waits spends it. */
static double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + 1e-6 * (double)u.ru_utime.tv_usec;
}

static double waited(void)
{
    const rd_clock *list;
    int n = rd_clock_list(&list);
    for (int i = 0; i < n; i++)
        if (strcmp(list[i].section, "step") == 0) return list[i].waited;
    return 0;
}

/* Seconds until the last rank is done; the mean over ranks of what went into communication. */
static void step(side *s, bed *t, int round)
{
    place *p = s->at;
    rd_la_use_panels(p->g, s->panels);
    rd_clock_reset();
    rd_barrier(&p->g->world);
    double start = rd_time(), busy = cpu();
    rd_clock_begin("step");
    int rc = rd_model_fwd(p->model, p->work, &t->b);
    if (rc == RD_OK) rc = rd_model_head(p->model, p->work, &t->b, t->coef, t->logp);
    if (rc == RD_OK) rc = rd_model_bwd(p->model, p->work, &t->b);
    if (rc != RD_OK) rd_die("%s", rd_error_get()->message);
    rd_sum_f32(&p->g->replicas, p->model->base.grads, p->model->base.storage);
    rd_clock_end("step");
    double x[3] = {rd_time() - start, waited(), cpu() - busy};
    rd_max_f64(&p->g->world, &x[0], 1);
    rd_sum_f64(&p->g->world, &x[1], 2);
    if (round < 0) return;
    s->seconds[round] = x[0];
    s->waited[round] = x[1] / p->g->world.size;
    s->busy[round] = x[2] / p->g->world.size;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const double *x, int n)
{
    double sorted[MAX_ROUNDS];
    memcpy(sorted, x, (size_t)n * sizeof(*x));
    qsort(sorted, (size_t)n, sizeof(*x), compare);
    return sorted[n / 2];
}

int main(int argc, char **argv)
{
    static bed t;
    rd_test_begin(&argc, &argv);
    int rounds = argc > 2 ? atoi(argv[2]) : 3;
    rd_model_config cfg = BENCH_SMOLLM2;
    if (argc > 1) cfg.layers = atoi(argv[1]);
    static place places[] = {
        {.rows = 1, .cols = 1}, {.rows = 2, .cols = 1}, {.rows = 1, .cols = 2}};
    static side sides[] = {{.name = "data parallel", .at = &places[0]},
                           {.name = "2 x 1", .at = &places[1], .panels = true},
                           {.name = "1 x 2", .at = &places[2], .panels = true},
                           {.name = "2 x 1, psgemm", .at = &places[1]},
                           {.name = "1 x 2, psgemm", .at = &places[2]}};
    if (rounds < 1 || rounds > MAX_ROUNDS) rounds = 3;
    if (rd_test_world.size != 2) rd_die("bench_grid runs on 2 ranks");
    make_batch(&t, cfg.vocab);
    for (int i = 0; i < 3; i++) begin(&places[i], &cfg);
    for (int r = -1; r < rounds; r++)
        for (int i = 0; i < SIDES; i++) step(&sides[i], &t, r);
    double base = 0, base_busy = 0;
    for (int i = 0; i < SIDES && rd_test_world.rank == 0; i++) {
        double data = sides[i].at->g->data, seconds = median(sides[i].seconds, rounds);
        double rate = T * data / seconds, busy = median(sides[i].busy, rounds) / data;
        if (i == 0) base = rate, base_busy = busy;
        printf("%-14s %6.0f tokens/s = %3.0f %% of data parallel, %4.1f %% in communication; "
               "processor time %.2f s a micro-batch (%.0f %%)\n",
               sides[i].name, rate, 100 * rate / base,
               100 * median(sides[i].waited, rounds) / seconds, busy, 100 * base_busy / busy);
    }
    for (int i = 0; i < 3; i++) end(&places[i]);
    return rd_test_end();
}
