/* calibrate.c: measures the constants of cost.h on the job's ranks.
 *
 * Each constant comes from least squares over a few samples "what was done, how long it took",
 * weighted so that relative errors count (a small product matters as much as a large one).  Of
 * several runs, begun by all ranks at once, computation is the shortest: the machine as it is when
 * nothing disturbs it.  Messages are the middle one, because waiting for each other belongs to
 * them: where ranks share cores, most of it. */
#include "cli/job.h"

#include "cli/cost.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TERMS = 3, SAMPLES = 64 };
static const double LEAST = 1e-13; /* seconds */

typedef struct samples {
    int n, terms;
    double x[SAMPLES][TERMS], y[SAMPLES];
} samples;

static void add_sample(samples *s, double seconds, double a, double b, double c)
{
    RD_ASSERT(s->n < SAMPLES);
    s->x[s->n][0] = a, s->x[s->n][1] = b, s->x[s->n][2] = c;
    s->y[s->n++] = seconds;
}

/* The residual of the best w >= 0 that is 0 outside `used`; normal equations, at most 3 x 3. */
static double solve(const samples *s, unsigned used, double *w)
{
    double a[TERMS][TERMS + 1] = {{0}}, error = 0;
    for (int i = 0; i < s->n; i++)
        for (int p = 0; p < s->terms; p++)
            for (int q = 0; q <= s->terms; q++)
                a[p][q == s->terms ? TERMS : q] +=
                    s->x[i][p] / s->y[i] * (q == s->terms ? 1 : s->x[i][q] / s->y[i]);
    for (int p = 0; p < TERMS; p++)
        if (p >= s->terms || !(used >> p & 1))
            for (int q = 0; q <= TERMS; q++) a[p][q] = p == q;
    for (int p = 0; p < TERMS; p++)
        for (int r = 0; r < TERMS; r++) {
            double factor = r == p || a[p][p] == 0 ? 0 : a[r][p] / a[p][p];
            for (int q = p; q <= TERMS && factor != 0; q++) a[r][q] -= factor * a[p][q];
        }
    for (int p = 0; p < TERMS; p++) {
        bool on = p < s->terms && (used >> p & 1);
        w[p] = on && a[p][p] != 0 ? a[p][TERMS] / a[p][p] : 0;
        if (w[p] < 0) return INFINITY;
    }
    for (int i = 0; i < s->n; i++) {
        double sum = 0;
        for (int p = 0; p < s->terms; p++) sum += w[p] * s->x[i][p];
        error += (sum / s->y[i] - 1) * (sum / s->y[i] - 1);
    }
    return error;
}

/* Of all subsets of the terms the one that fits best without negative constants; what is left out
 * costs next to nothing. */
static void fit(const samples *s, double *w)
{
    double best = INFINITY;
    for (unsigned used = 1; used < 1u << s->terms; used++) {
        double trial[TERMS] = {0}, error = solve(s, used, trial);
        if (error >= best) continue;
        best = error;
        memcpy(w, trial, sizeof trial);
    }
    for (int p = 0; p < s->terms; p++) w[p] = fmax(w[p], LEAST);
}

/* ---------------------------------------------------------------- timing */

typedef struct bench {
    rd_comm world, node, across; /* all; those of this node; those of my number on every node */
    cost_machine m;
} bench;

typedef void action(void *context);

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of a run that all ranks begin at once: of several, the shortest or the middle one; the
 * mean of these over the ranks.  Collective on c. */
static double measure(const rd_comm *c, double budget, bool middle, action *run, void *context)
{
    enum { MOST = 200 };
    double seconds[MOST], start = rd_time();
    int n = 0;
    while (n < MOST) {
        rd_barrier(c);
        double t = rd_time();
        run(context);
        seconds[n++] = rd_time() - t;
        double spent = rd_time() - start;
        rd_max_f64(c, &spent, 1);
        if (n > 2 && spent > budget) break;
    }
    qsort(seconds, (size_t)n, sizeof *seconds, ascending);
    double found = seconds[middle ? n / 2 : 0];
    rd_sum_f64(c, &found, 1);
    return found / c->size;
}

static double shortest(const rd_comm *c, double budget, action *run, void *context)
{
    return measure(c, budget, false, run, context);
}

/* ---------------------------------------------------------------- products */

typedef struct product {
    bool bf16;
    char ta, tb;
    int64_t m, n, k;
    float *a, *b, *c;
} product;

static void run_product(void *context)
{
    const product *p = context;
    int64_t lda = p->ta == 'N' ? p->m : p->k, ldb = p->tb == 'N' ? p->k : p->n;
    (p->bf16 ? rd_gemm_bf16 : rd_gemm_local)(p->ta, p->tb, p->m, p->n, p->k, 1, p->a, lda, p->b,
                                             ldb, 0, p->c, p->m);
}

static void calibrate_products(bench *b)
{
    static const int64_t shape[][3] = {
        {1024, 512, 1024}, {512, 512, 512}, {256, 2048, 256}, {2048, 256, 256}, {64, 1024, 1024},
        {64, 512, 256},    {1024, 64, 512}, {128, 36, 64},    {512, 36, 64},    {64, 36, 256}};
    enum { LARGEST = 2048 * 1024 };
    samples s = {.terms = 3};
    product p = {
        .a = rd_new(float, LARGEST), .b = rd_new(float, LARGEST), .c = rd_new(float, LARGEST)};
    for (int64_t i = 0; i < LARGEST; i++) p.a[i] = p.b[i] = (float)(i % 7) - 3;
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        for (int form = 0; form < 3; form++) { /* the three of a linear layer */
            p.ta = form == 0 ? 'T' : 'N', p.tb = form == 2 ? 'T' : 'N';
            p.m = shape[i][0], p.n = shape[i][1], p.k = shape[i][2];
            cost_product c = cost_of_product((double)p.m, (double)p.n, (double)p.k);
            double t = shortest(&b->world, 0.15, run_product, &p);
            add_sample(&s, t, c.flops, c.touches, c.calls);
        }
    double w[TERMS] = {0};
    fit(&s, w);
    b->m.flop = w[0], b->m.touch = w[1], b->m.call = w[2];
    /* In bfloat16 the largest shape alone: what is touched is the same. */
    p = (product){true, 'T', 'N', shape[0][0], shape[0][1], shape[0][2], p.a, p.b, p.c};
    cost_product c = cost_of_product((double)p.m, (double)p.n, (double)p.k);
    double t = shortest(&b->world, 0.3, run_product, &p);
    b->m.flop_bf16 = fmax(t - c.touches * w[1] - c.calls * w[2], 0.25 * t) / c.flops;
    rd_free(p.a), rd_free(p.b), rd_free(p.c);
}

/* ---------------------------------------------------------------- memory */

typedef struct sweep {
    int64_t n;
    float *x, *y;
    bool active;
} sweep;

static void run_sweep(void *context)
{
    const sweep *s = context;
    float *restrict x = s->x;
    const float *restrict y = s->y;
    if (!s->active) return;
    for (int64_t i = 0; i < s->n; i++) x[i] = 0.5f * x[i] + y[i];
}

/* Far more than a cache holds: three floats move for each. */
static void calibrate_memory(bench *b)
{
    enum { N = 1 << 24 };
    sweep s = {.n = N, .x = rd_new(float, N), .y = rd_new(float, N), .active = true};
    double all = shortest(&b->world, 1, run_sweep, &s);
    s.active = b->world.rank == 0;
    double alone = shortest(&b->world, 1, run_sweep, &s) * b->world.size;
    b->m.stream = alone / (3.0 * N);
    /* Of ranks that take turns each was seen with a core to itself. */
    int at_once =
        b->m.ranks_per_node < b->m.cores_per_node ? b->m.ranks_per_node : b->m.cores_per_node;
    b->m.node_stream = all / (3.0 * N * at_once);
    if (b->m.node_stream > b->m.stream) b->m.node_stream = b->m.stream;
    rd_free(s.x), rd_free(s.y);
}

/* ---------------------------------------------------------------- passes */

typedef struct pass {
    rd_model *model;
    rd_work *work;
    rd_batch batch;
    float *coef;
    double *logp;
    bool head;
} pass;

static void run_pass(void *context)
{
    pass *p = context;
    int rc = rd_model_fwd(p->model, p->work, &p->batch);
    if (rc == RD_OK && p->head) rc = rd_model_head(p->model, p->work, &p->batch, p->coef, p->logp);
    if (rc == RD_OK && !p->head) rc = rd_model_bwd(p->model, p->work, &p->batch);
    if (rc != RD_OK) rd_die("calibrate: %s", rd_error_get()->message);
}

/* A forward and backward pass of a small model on each rank; what its products do not explain is
 * passes and exponentials.  head: forward and the head instead. */
static int sample_pass(bench *b, const rd_grid *alone, int64_t row, bool head, samples *s)
{
    int rc = RD_OK;
    enum { T = 128, WIDTH = 192, FFN = 512, HEADS = 3, VOCAB = 2048 };
    int64_t vocab = head ? VOCAB : 64;
    rd_model_config c = {.vocab = vocab,
                         .width = WIDTH,
                         .layers = 1,
                         .heads = HEADS,
                         .kv_heads = HEADS,
                         .ffn = FFN,
                         .rope_theta = 1e4,
                         .norm_eps = 1e-5,
                         .tied = true};
    pass p = {.coef = rd_new(float, T), .logp = rd_new(double, T), .head = head};
    p.batch = (rd_batch){.T = T,
                         .n_seq = T / row,
                         .start = rd_new(int64_t, T / row + 1),
                         .tokens = rd_new(int32_t, T),
                         .target = rd_new(int32_t, T)};
    for (int64_t i = 0; i <= p.batch.n_seq; i++) p.batch.start[i] = i * row;
    for (int64_t t = 0; t < T; t++) {
        p.batch.tokens[t] = p.batch.target[t] = (int32_t)(t * 31 % vocab);
        p.coef[t] = -1e-6f;
    }
    RD_TRY(rd_model_create(alone, &c, true, &p.model));
    RD_TRY(rd_model_init(p.model, 1));
    RD_TRY(rd_work_create(p.model, T, T, &p.work));
    double t = shortest(&b->world, 0.8, run_pass, &p);

    cost_layer l = {.t = T,
                    .row = (double)row,
                    .d = WIDTH,
                    .q = WIDTH,
                    .k = WIDTH,
                    .f = FFN,
                    .heads = HEADS,
                    .head_size = (double)WIDTH / HEADS};
    double floats = 0, exponentials = 0;
    for (int back = 0; back < (head ? 1 : 2); back++) {
        cost_product list[] = {cost_of_product(3 * WIDTH, T, WIDTH),
                               cost_of_product(WIDTH, T, WIDTH), cost_of_product(2 * FFN, T, WIDTH),
                               cost_of_product(WIDTH, T, FFN)};
        for (int i = 0; i < 4; i++)
            t -= c.layers * (back ? 2 : 1) * cost_product_seconds(&b->m, &list[i]);
        cost_product attention = cost_layer_attention(&l, back);
        t -= c.layers * cost_product_seconds(&b->m, &attention);
        floats += c.layers * cost_layer_passes(&l, back);
        exponentials += c.layers * cost_layer_scores(&l);
    }
    cost_product logits = cost_of_product(VOCAB, T, WIDTH);
    if (head) t -= 3 * cost_product_seconds(&b->m, &logits);
    if (head) exponentials += (double)T * VOCAB;
    /* Where a disturbed product would leave nothing: next to nothing. */
    add_sample(s, fmax(t, 1e-12 * floats), floats, exponentials, 0);
done:
    rd_work_free(&p.work);
    rd_model_free(&p.model);
    rd_free(p.coef), rd_free(p.logp);
    rd_free(p.batch.start), rd_free(p.batch.tokens), rd_free(p.batch.target);
    return rc;
}

static int calibrate_passes(bench *b)
{
    int rc = RD_OK;
    rd_grid *alone = NULL;
    samples s = {.terms = 2};
    double w[TERMS] = {0};
    rd_grid_self(&alone);
    RD_TRY(sample_pass(b, alone, 16, false, &s));
    RD_TRY(sample_pass(b, alone, 32, false, &s));
    RD_TRY(sample_pass(b, alone, 128, false, &s));
    RD_TRY(sample_pass(b, alone, 32, true, &s));
    fit(&s, w);
    b->m.pass = w[0], b->m.exponential = w[1];
done:
    rd_grid_free(&alone);
    return rc;
}

/* ---------------------------------------------------------------- messages */

typedef struct message {
    const rd_comm *c;
    enum { SHIFT, SUM, BCAST, EXCHANGE } kind;
    int64_t n, *each;
    int times; /* in a row, so that who starts late evens out */
    float *x, *y;
} message;

static void run_once(const message *t, int i)
{
    switch (t->kind) {
    case SHIFT: rd_shift_f32(t->c, t->x, t->n, t->y, t->n); break;
    case SUM: rd_sum_f32(t->c, t->x, t->n); break;
    case BCAST: rd_bcast(t->c, t->x, t->n * (int64_t)sizeof(float), i % t->c->size); break;
    case EXCHANGE: rd_exchange_f32(t->c, t->x, t->each, t->y, t->each); break;
    }
}

static void run_message(void *context)
{
    const message *t = context;
    for (int i = 0; i < t->times; i++) run_once(t, i);
}

/* Shifts round a ring, sums, broadcasts, exchanges of everyone with everyone; all groups like c at
 * once, as in a training step. */
static void calibrate_link(const bench *b, const rd_comm *c, cost_link *link)
{
    static const int64_t size[] = {16, 1024, 16384, 262144, 1 << 21};
    samples s = {.terms = 2};
    double w[TERMS] = {0};
    enum { LARGEST = 1 << 21 };
    message t = {.c = c,
                 .each = rd_new(int64_t, c->size),
                 .x = rd_new(float, LARGEST),
                 .y = rd_new(float, LARGEST)};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        for (int kind = SHIFT; kind <= EXCHANGE; kind++) {
            t.kind = kind, t.n = size[i], t.times = t.n <= 16384 ? 16 : 1;
            for (int r = 0; r < c->size; r++) t.each[r] = t.n / c->size;
            double n = (double)t.n;
            cost_messages m = kind == SHIFT   ? (cost_messages){1, n}
                              : kind == SUM   ? cost_of_sum(c->size, n)
                              : kind == BCAST ? cost_of_bcast(c->size, n)
                                              : cost_of_shares(c->size, n);
            double seconds = measure(&b->world, 0.2, true, run_message, &t) / t.times;
            if (kind != EXCHANGE || t.n >= c->size) add_sample(&s, seconds, m.messages, m.words, 0);
        }
    fit(&s, w);
    *link = (cost_link){w[0], w[1]};
    rd_free(t.each), rd_free(t.x), rd_free(t.y);
}

/* ---------------------------------------------------------------- files */

static int calibrate_files(bench *b, const char *path)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    rd_buf name = {0};
    int64_t each = ((int64_t)64 << 20) / (int64_t)sizeof(float) / b->world.size;
    int64_t dims[] = {each * b->world.size};
    rd_slab slab = {.start = each * b->world.rank, .stride = each, .count = 1, .block = each};
    float *x = rd_new(float, each);
    rd_store_info info = {.schema = "redistill.calibration", .version = 1, .config = "{}"};
    for (int64_t i = 0; i < each; i++) x[i] = (float)i;
    rd_buf_printf(&name, "%s.calibration.h5", path);
    rd_barrier(&b->world);
    double start = rd_time();
    RD_TRY(rd_store_create(&b->world, name.data, &info, &s));
    RD_TRY(rd_store_write_array(s, "x", RD_F32, 1, dims, &slab, x));
    RD_TRY(rd_store_commit(&s));
    rd_barrier(&b->world);
    b->m.file = (rd_time() - start) / ((double)dims[0] * sizeof(float));
done:
    rd_store_close(&s);
    if (b->world.rank == 0) unlink(name.data);
    rd_buf_free(&name);
    rd_free(x);
    return rc;
}

/* ---------------------------------------------------------------- the command */

/* The smallest over the nodes: a plan for the others then holds too. */
static void describe_node(bench *b)
{
    double least[] = {(double)sysconf(_SC_NPROCESSORS_ONLN),
                      (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE)};
    int64_t ranks = b->node.size;
    rd_min_f64(&b->world, least, 2);
    rd_max_i64(&b->world, &ranks, 1);
    b->m.cores_per_node = (int)least[0];
    b->m.memory_per_node = least[1];
    b->m.ranks_per_node = (int)ranks;
}

static void print(const bench *b)
{
    const cost_machine *m = &b->m;
    rd_info(
        "product  %.1f GFLOP/s of a core, %.1f in bf16; %.2f G floats/s touched, %.2f us a call",
        1e-9 / m->flop, 1e-9 / m->flop_bf16, m->touch > 0 ? 1e-9 / m->touch : 0, 1e6 * m->call);
    rd_info("passes   %.2f G floats/s, %.2f G exponentials/s", 1e-9 / m->pass,
            1e-9 / m->exponential);
    rd_info("memory   %.1f GB/s of one rank, %.1f GB/s of a node", 4e-9 / m->stream,
            4e-9 / m->node_stream);
    rd_info("node     %.1f us, %.2f GB/s between two ranks%s", 1e6 * m->inside.latency,
            4e-9 / m->inside.word, b->node.size > 1 ? "" : " (not measured: one rank a node)");
    rd_info("network  %.1f us, %.2f GB/s of a node%s", 1e6 * m->between.latency,
            4e-9 / m->between.word, b->across.size > 1 ? "" : " (not measured: one node)");
    rd_info("files    %.2f GB/s", 1e-9 / m->file);
}

static int write_file(const bench *b, const char *path)
{
    int rc = RD_OK;
    char host[64] = "", date[32], ranks[16];
    rd_buf text = {0};
    time_t now = time(NULL);
    gethostname(host, sizeof host - 1);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    snprintf(ranks, sizeof ranks, "%d", b->world.size);
    const char *inside = b->node.size > 1 ? "measured" : "assumed";
    const char *between = b->across.size > 1 ? "measured" : "assumed";
    const char *more[] = {"host",
                          host,
                          "date",
                          date,
                          "software",
                          build_version(),
                          "library",
                          rd_la_describe(),
                          "ranks",
                          ranks,
                          "inside_node_is",
                          inside,
                          "between_nodes_is",
                          between,
                          NULL};
    cost_machine_print(&b->m, more, &text);
    RD_TRY(rd_file_write_atomic(path, text.data, text.len));
done:
    rd_buf_free(&text);
    return rc;
}

int calibrate_run(const char *path)
{
    int rc = RD_OK;
    bench b = {.world = rd_comm_world()};
    char host[64] = "";
    rd_comm_nodes(&b.world, &b.node, &b.across);
    cost_machine_default(&b.m);
    gethostname(host, sizeof host - 1);
    snprintf(b.m.name, sizeof b.m.name, "%s, %d ranks", host, b.world.size);
    b.m.measured = true;
    describe_node(&b);
    rd_info("%s, %s", build_version(), rd_la_describe());
    rd_info("calibrating with %d rank%s, %d on a node of %d cores", b.world.size,
            b.world.size == 1 ? "" : "s", b.m.ranks_per_node, b.m.cores_per_node);
    calibrate_products(&b);
    calibrate_memory(&b);
    RD_TRY(rd_agree(&b.world, calibrate_passes(&b)));
    if (b.node.size > 1) calibrate_link(&b, &b.node, &b.m.inside);
    if (b.across.size > 1) {
        calibrate_link(&b, &b.across, &b.m.between);
        b.m.between.word /= b.m.ranks_per_node; /* all of a node's ranks were at it */
    }
    RD_TRY(calibrate_files(&b, path));
    b.m.program = (double)(rd_mem_resident() - rd_mem_used());
    rd_max_f64(&b.world, &b.m.program, 1);
    RD_TRY(rd_agree(&b.world, b.world.rank == 0 ? write_file(&b, path) : RD_OK));
    print(&b);
    rd_info("written to %s", path);
done:
    rd_comm_free(&b.node);
    rd_comm_free(&b.across);
    return rc;
}
