/* ranks: 1 2 3 4 6 */
/* AdamW and Muon on every data x rows x cols grid, every replica holding all moments or a share:
 * the same bits either way, the same weights as on one rank, a share of the memory, and files that
 * do not tell who wrote them.  Nothing divides; in the smallest model some ranks own nothing. */
#include "grid_model.h"
#include "rd_test.h"
#include "rd/train.h"

enum { STEPS = 3 };

static const char *const kinds[] = {"adamw", "muon"};

/* One number in [-1, 1) for each element of each parameter, step and stream. */
static float noise(int64_t step, int64_t stream, int64_t param, int64_t row, int64_t col)
{
    int64_t part[] = {step, stream, param, row, col};
    return (float)((double)rd_hash(part, sizeof part, 1) * 0x1p-63 - 1);
}

/* Gradients that differ between replicas; their sum does not depend on how many there are. */
static void fill_gradients(rd_model *m, int64_t step)
{
    const rd_grid *g = m->grid;
    float even = 1 / (float)g->data;
    float odd = g->data == 1 ? 0 : g->my_data == 0 ? 1 : g->my_data == 1 ? -1 : 0;
    rd_model_zero_grads(m);
    for (int64_t p = 0; p < m->base.n; p++) {
        const rd_mat *x = &m->base.item[p].g;
        for (int64_t j = 0; j < x->ln; j++)
            for (int64_t i = 0; i < x->lm; i++) {
                int64_t row = rd_mat_global_row(x, i), col = rd_mat_global_col(x, j);
                x->a[j * x->ld + i] =
                    even * noise(step, 0, p, row, col) + 0.3f * odd * noise(step, 1, p, row, col);
            }
    }
}

typedef struct trained {
    rd_model *m;
    rd_optim *opt;
    double norm;
} trained;

static rd_optim_opts options(const char *kind, bool sharded)
{
    rd_optim_opts o;
    rd_optim_defaults(&o);
    o.kind = kind;
    o.sharded = sharded;
    o.lr = 0.01;
    o.weight_decay = 0.1;
    o.clip = 3;
    return o;
}

static int steps(trained *t, int64_t from, int64_t to)
{
    int rc = RD_OK;
    for (int64_t s = from; s < to && rc == RD_OK; s++) {
        fill_gradients(t->m, s);
        rd_mem_guard("step");
        rd_flow *flow = rd_optim_begin_sums(t->opt);
        rd_flow_ready(flow, t->m->base.storage / 3, t->m->base.storage - t->m->base.storage / 3);
        rd_flow_end(flow);
        rc = rd_optim_step(t->opt, s, &t->norm);
        rd_mem_guard(NULL);
    }
    return rc;
}

static void train(const rd_grid *g, const rd_model_config *cfg, const char *kind, bool sharded,
                  int64_t n, trained *t)
{
    rd_optim_opts o = options(kind, sharded);
    int rc = rd_model_create(g, cfg, true, &t->m);
    if (rc == RD_OK) rc = rd_model_init(t->m, 3);
    if (rc == RD_OK) rc = rd_optim_create(t->m, &o, 2 * STEPS, &t->opt);
    if (rc == RD_OK) rc = steps(t, 0, n);
    is_rc(rc, RD_OK, sharded ? "sharded steps" : "steps");
}

static void trained_free(trained *t)
{
    rd_optim_free(&t->opt);
    rd_model_free(&t->m);
}

static bool same_weights(const trained *a, const trained *b)
{
    return memcmp(a->m->base.weights, b->m->base.weights,
                  (size_t)a->m->base.storage * sizeof(float)) == 0;
}

/* The largest difference from a model of one rank. */
static double apart(const rd_model *m, const rd_model *want, const char **where)
{
    double worst = 0;
    for (int64_t p = 0; p < m->base.n; p++) {
        const rd_mat *x = &m->base.item[p].w, *y = &want->base.item[p].w;
        for (int64_t j = 0; j < x->ln; j++)
            for (int64_t i = 0; i < x->lm; i++) {
                int64_t at = rd_mat_global_col(x, j) * y->m + rd_mat_global_row(x, i);
                double d = fabs((double)x->a[j * x->ld + i] - (double)y->a[at]);
                if (!(d <= worst)) worst = d, *where = m->base.item[p].name;
            }
    }
    return worst;
}

/* ---------------------------------------------------------------- files */

static const char *file_name(const char *name, int rank)
{
    static char path[2][300];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s%d.h5", rd_test_dir(), name, rank);
    return path[turn];
}

static int write_file(const trained *t, const char *path)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    rd_store_info info = {"redistill.test", 1, NULL};
    RD_TRY(rd_store_create(&t->m->grid->world, path, &info, &s));
    RD_TRY(rd_optim_write(t->opt, s, "moments/"));
    RD_TRY(rd_store_commit(&s));
done:
    rd_store_close(&s);
    return rc;
}

static int read_file(trained *t, const char *path)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    RD_TRY(rd_store_open(&t->m->grid->world, path, "redistill.test", 1, &s));
    RD_TRY(rd_optim_read(t->opt, s, "moments/"));
done:
    rd_store_close(&s);
    return rc;
}

static float *whole_array(const char *path, const char *name, int64_t *n)
{
    rd_comm self = rd_comm_self();
    rd_store *s = NULL;
    int rank = 0;
    int64_t dims[2] = {1, 1};
    float *x = NULL;
    *n = 0;
    if (rd_store_open(&self, path, "redistill.test", 1, &s) == RD_OK && rd_store_has(s, name) &&
        rd_store_array_dims(s, name, 2, &rank, dims) == RD_OK) {
        rd_slab slab[2] = {{0, dims[0], 1, dims[0]}, {0, dims[1], 1, dims[1]}};
        *n = dims[0] * (rank == 2 ? dims[1] : 1);
        x = rd_new(float, *n);
        if (rd_store_read_array(s, name, RD_F32, rank, dims, slab, x) != RD_OK) *n = -1;
    }
    rd_store_close(&s);
    return x;
}

/* Arrays of two files with the same bits; -1: none are, or some differ. */
static int64_t same_arrays(const rd_params *params, const char *path, const char *other)
{
    int64_t same = 0;
    for (int64_t i = 0; i < 2 * params->n; i++) {
        char name[160];
        int64_t n, m;
        snprintf(name, sizeof name, "moments/%s/%s", i % 2 ? "v" : "m", params->item[i / 2].name);
        float *a = whole_array(path, name, &n), *b = whole_array(other, name, &m);
        bool differ = n != m || (n > 0 && memcmp(a, b, (size_t)n * sizeof(float)) != 0);
        if (!differ && n > 0 && same >= 0) same++;
        if (differ) same = -1;
        rd_free(a), rd_free(b);
    }
    return same > 0 ? same : -1;
}

/* Written by both, read by both and by one rank alone, and gone on from. */
static void test_files(const rd_grid *self, const rd_model_config *cfg, const char *kind,
                       trained *whole, trained *shared)
{
    int world = rd_test_world.rank;
    trained back[2], alone = {0};
    const rd_params *params = &whole->m->base;
    is_rc(write_file(whole, file_name("whole", 0)), RD_OK, "written");
    is_rc(write_file(shared, file_name("shared", 0)), RD_OK, "written, sharded");
    ok(same_arrays(params, file_name("whole", 0), file_name("shared", 0)) > 0, "the same arrays");
    train(self, cfg, kind, world % 2 == 1, 0, &alone);
    is_rc(read_file(&alone, file_name("shared", 0)), RD_OK, "read by one rank");
    is_rc(write_file(&alone, file_name("alone", world)), RD_OK, "and written again");
    ok(same_arrays(params, file_name("shared", 0), file_name("alone", world)) > 0,
       "the same arrays");
    trained_free(&alone);
    for (int k = 0; k < 2; k++) {
        train(whole->m->grid, cfg, kind, k == 1, 0, &back[k]);
        memcpy(back[k].m->base.weights, params->weights, (size_t)params->storage * sizeof(float));
        is_rc(read_file(&back[k], k ? file_name("whole", 0) : file_name("shared", 0)), RD_OK,
              k ? "read, sharded" : "read");
        is_rc(steps(&back[k], STEPS, 2 * STEPS), RD_OK, "gone on");
    }
    is_rc(steps(whole, STEPS, 2 * STEPS), RD_OK, "and not stopped");
    ok(same_weights(whole, &back[0]) && same_weights(whole, &back[1]), "the same bits");
    trained_free(&back[0]), trained_free(&back[1]);
}

/* ---------------------------------------------------------------- grids */

static void test_grid(const rd_grid *self, const rd_model_config *cfg, const char *kind,
                      const trained *want, int rows, int cols)
{
    rd_grid *g;
    trained whole = {0}, shared = {0};
    const char *where = "";
    if (!is_rc(rd_grid_create(0, rows, cols, &g), RD_OK, "grid")) return;
    diag("%d x %d x %d, width %d, %s", g->data, rows, cols, (int)cfg->width, kind);
    is_rc(rd_la_attach(g, 1), RD_OK, "context");
    train(g, cfg, kind, false, STEPS, &whole);
    train(g, cfg, kind, true, STEPS, &shared);
    ok(same_weights(&whole, &shared) && whole.norm == shared.norm, "the same bits when sharded");

    double worst = apart(whole.m, want->m, &where);
    rd_max_f64(&g->world, &worst, 1);
    ok(worst < 5e-6, "weights as on one rank (%.1e, %s)", worst, where);
    near_f64(whole.norm, want->norm, 1e-6, "the gradient's norm");

    int64_t all = rd_optim_bytes(whole.opt), most = rd_optim_bytes(shared.opt), sum = most;
    rd_sum_i64(&g->replicas, &sum, 1);
    rd_max_i64(&g->replicas, &most, 1);
    is_i64(sum, all, "the replicas' shares are all moments");
    if (cfg->width > 50 && rows * cols == 1)
        ok((double)most < 1.25 * (double)all / g->data, "of %d bytes at most %d on one of %d",
           (int)all, (int)most, g->data);
    bool small = cfg->width < 50;
    if (small ? rows * cols == rd_test_world.size : cols == 1 && rows < 3)
        test_files(self, cfg, kind, &whole, &shared);

    /* A gradient that is not finite, on the last rank alone. */
    float first = shared.m->base.weights[0];
    double norm;
    fill_gradients(shared.m, 99);
    if (rd_test_world.rank == rd_test_world.size - 1 && shared.m->base.storage > 0)
        shared.m->base.grads[0] = NAN;
    rd_flow_end(rd_optim_begin_sums(shared.opt));
    int rc = rd_optim_step(shared.opt, 99, &norm);
    int64_t owns = shared.m->base.storage > 0;
    rd_bcast(&g->world, &owns, sizeof owns, rd_test_world.size - 1);
    is_rc(rc, owns ? RD_ENUMERIC : RD_OK, "not a number on the last rank");
    ok(!owns || first == shared.m->base.weights[0], "changes nothing");
    trained_free(&whole), trained_free(&shared);
    rd_la_detach(g);
    rd_grid_free(&g);
}

static void test_model(int64_t width, int64_t heads, int64_t kv_heads, int64_t ffn, bool tied)
{
    rd_grid *self;
    rd_model_config cfg = uneven_config(width, heads, kv_heads, ffn, tied, false);
    cfg.qkv_bias = true;
    int size = rd_test_world.size;
    rd_grid_self(&self);
    for (int k = 0; k < 2; k++) {
        trained want;
        train(self, &cfg, kinds[k], false, STEPS, &want);
        for (int rows = 1; rows <= 3; rows++)
            for (int cols = 1; cols <= 3; cols++)
                if (size % (rows * cols) == 0 && (size < 6 || rows * cols == 3))
                    test_grid(self, &cfg, kinds[k], &want, rows, cols);
        trained_free(&want);
    }
    rd_grid_free(&self);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_model(70, 9, 3, 133, true);
    test_model(5, 2, 1, 3, false); /* some ranks own nothing */
    return rd_test_end();
}
