/* ranks: 1 */
/* Adapters of rank 8 on all linear layers against PEFT in float64 (tests/golden/): what they start
 * from, loss, every gradient, merged weights; runs of AdamW against TRL's trainer. */
#include "golden_rows.h"

enum { RANK = 8, ALL = (1 << RD_TARGETS) - 1 };

static const struct {
    const char *name;
    rd_adapter_kind kind;
    bool rslora;
} kinds[] = {{"lora", RD_LORA, false},
             {"rslora", RD_LORA, true},
             {"dora", RD_DORA, false},
             {"pissa", RD_PISSA, false},
             {"olora", RD_OLORA, false}};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static void read_params(const golden *ref, const char *kind, const char *part, rd_params *params)
{
    char prefix[64];
    snprintf(prefix, sizeof(prefix), "%s/%s/", kind, part);
    for (int64_t i = 0; i < params->n; i++) {
        const rd_param *p = &params->item[i];
        int64_t n;
        double *w = golden_get(ref, prefix, p->name, &n);
        if (n != p->w.m * p->w.n) rd_die("%s", p->name);
        for (int64_t k = 0; k < n; k++) p->w.a[k] = (float)w[k];
        rd_free(w);
    }
}

static bool open_adapted(rd_grid *g, int kind, bench *t)
{
    if (!bench_open(g, "adapters", false, RD_ORPO_RESPONSE, true, t)) return false;
    rd_adapter_opts o = {.kind = kinds[kind].kind,
                         .rank = RANK,
                         .alpha = golden_number(&t->ref, "alpha", 0),
                         .rslora = kinds[kind].rslora,
                         .targets = ALL};
    is_rc(rd_model_adapt(t->model, &o), RD_OK, "adapted");
    return true;
}

/* ---------------------------------------------------------------- starts */

/* The largest difference of two products A B, relative to the largest value. */
static double products_apart(const rd_mat *A, const rd_mat *B, const double *a, const double *b)
{
    double worst = 0, size = 0;
    for (int64_t i = 0; i < A->m; i++)
        for (int64_t j = 0; j < B->n; j++) {
            double got = 0, want = 0;
            for (int64_t k = 0; k < RANK; k++) {
                got += (double)A->a[i + k * A->ld] * (double)B->a[k + j * B->ld];
                want += a[i + k * A->m] * b[k + j * RANK];
            }
            worst = fmax(worst, fabs(got - want));
            size = fmax(size, fabs(want));
        }
    return worst / size;
}

/* Singular vectors have no sign, so what is compared of PiSSA and OLoRA is A B. */
static void test_products(const bench *t, const char *kind)
{
    double worst = 0;
    char prefix[64];
    snprintf(prefix, sizeof(prefix), "%s/start/", kind);
    for (int64_t i = 0; i + 1 < t->model->adapter.n; i += 2) {
        const rd_param *A = &t->model->adapter.item[i], *B = A + 1;
        double *a = golden_get(&t->ref, prefix, A->name, NULL),
               *b = golden_get(&t->ref, prefix, B->name, NULL);
        worst = fmax(worst, products_apart(&A->w, &B->w, a, b));
        rd_free(a), rd_free(b);
    }
    ok(worst < 2e-5, "the decompositions (%.1e)", worst);
}

static void test_magnitudes(const bench *t)
{
    double worst = 0;
    for (int64_t i = 0; i < t->model->adapter.n; i++) {
        const rd_param *p = &t->model->adapter.item[i];
        if (!p->is_vector) continue;
        double *want = golden_get(&t->ref, "dora/start/", p->name, NULL);
        for (int64_t k = 0; k < p->w.m; k++)
            worst = fmax(worst, fabs((double)p->w.a[k] / want[k] - 1));
        rd_free(want);
    }
    ok(worst < 1e-6, "the magnitudes (%.1e)", worst);
}

static void test_start(rd_grid *g, int kind)
{
    bench t;
    if (!open_adapted(g, kind, &t)) return;
    is_rc(rd_model_adapter_init(t.model, 1), RD_OK, "initial values");
    if (kinds[kind].kind == RD_DORA)
        test_magnitudes(&t);
    else
        test_products(&t, kinds[kind].name);
    bench_close(&t);
}

/* ---------------------------------------------------------------- from there */

static void test_merged(bench *t, const char *kind)
{
    double worst = 0;
    char prefix[64];
    snprintf(prefix, sizeof(prefix), "%s/merged/", kind);
    is_rc(rd_model_merge(t->model, NULL, NULL), RD_OK, "merged");
    for (int64_t i = 0; i < t->model->base.n; i++) {
        const rd_param *p = &t->model->base.item[i];
        const char *where;
        const rd_params one = {.n = 1, .item = &t->model->base.item[i]};
        if (p->is_matrix) worst = fmax(worst, worst_of(&t->ref, prefix, &one, false, &where));
    }
    ok(worst < 1e-6, "merged weights (%.1e)", worst);
}

static void test_kind(rd_grid *g, int kind)
{
    bench t;
    objective_means means;
    const char *where, *name = kinds[kind].name;
    char path[64];
    diag("%s", name);
    if (kinds[kind].kind != RD_LORA) test_start(g, kind);
    if (!open_adapted(g, kind, &t)) return;
    if (t.model->adapter_start.n > 0) read_params(&t.ref, name, "start", &t.model->adapter_start);
    read_params(&t.ref, name, "weight", &t.model->adapter);
    is_rc(rd_model_adapter_resume(t.model), RD_OK, "values from the file");
    bench_begin(&t);
    is_rc(bench_step(&t, &means), RD_OK, "step");
    snprintf(path, sizeof(path), "%s/loss", name);
    relative(means.loss, golden_number(&t.ref, path, 0), 1e-6, "loss");
    snprintf(path, sizeof(path), "%s/grad/", name);
    double worst = worst_of(&t.ref, path, t.model->trained, true, &where);
    ok(worst < 1e-5, "all gradients (%.1e, %s)", worst, where);
    if (strcmp(name, "lora") == 0 || strcmp(name, "dora") == 0) {
        bench_run(&t, name);
        read_params(&t.ref, name, "weight", &t.model->adapter);
    }
    test_merged(&t, name);
    bench_close(&t);
}

int main(int argc, char **argv)
{
    rd_grid *g;
    rd_test_begin(&argc, &argv);
    is_rc(rd_grid_create(0, 1, 1, &g), RD_OK, "grid");
    for (int kind = 0; kind < KINDS; kind++) test_kind(g, kind);
    rd_grid_free(&g);
    return rd_test_end();
}
