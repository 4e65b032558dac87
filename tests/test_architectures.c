/* ranks: 1 2 4 */
/* The four architectures against transformers and peft (tests/golden/architectures/), from the
 * files in which such models are published, on every grid: logits, the loss of SFT and its
 * gradients, those of a rank-8 LoRA (and of a DoRA beside biases), decoding.  The reference is
 * float64; errors are relative to an array's largest value.
 * With arguments: only the model in this file or folder against the golden file of this name. */
#include "rd_test.h"
#include "golden.h"
#include "nn/ops.h"

static const double gradient_error = 3e-5;

typedef struct bed {
    const char *name;
    double logit_error;
    char path[400];
    const rd_grid *g;
    golden ref;
    rd_batch b;
} bed;

/* ---------------------------------------------------------------- comparing */

/* Local part of A, where all of it in column-major order is wanted.  On every rank. */
static double apart(const rd_grid *g, const rd_mat *A, const double *want)
{
    double worst = 0, size = 0;
    for (int64_t i = 0; i < A->m * A->n; i++) size = fmax(size, fabs(want[i]));
    for (int64_t j = 0; j < A->ln; j++)
        for (int64_t i = 0; i < A->lm; i++) {
            int64_t at = rd_mat_global_col(A, j) * A->m + rd_mat_global_row(A, i);
            double d = fabs((double)A->a[j * A->ld + i] - want[at]) / size;
            if (!(d <= worst)) worst = d;
        }
    rd_max_f64(&g->world, &worst, 1);
    return worst;
}

/* Gradients PREFIX/NAME of those parameters that the file has. */
static void check_gradients(const bed *t, const rd_params *p, const char *prefix, int least)
{
    double worst = 0;
    const char *where = "";
    int found = 0;
    for (int64_t i = 0; i < p->n; i++) {
        int64_t n;
        if (!golden_has(&t->ref, prefix, p->item[i].name)) continue;
        double *want = golden_get(&t->ref, prefix, p->item[i].name, &n);
        if (n != p->item[i].g.m * p->item[i].g.n) rd_die("%s", p->item[i].name);
        double d = apart(t->g, &p->item[i].g, want);
        if (!(d <= worst)) worst = d, where = p->item[i].name;
        rd_free(want);
        found++;
    }
    ok(found >= least && worst < gradient_error, "%s: %d gradients %s (%.1e, %s)", t->name, found,
       prefix, worst, where);
}

static double rows_apart(int64_t n, const float *got, const double *want, double size)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - want[i]) / size;
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

static double largest(int64_t n, const double *x)
{
    double size = 0;
    for (int64_t i = 0; i < n; i++) size = fmax(size, fabs(x[i]));
    return size;
}

/* ---------------------------------------------------------------- passes */

/* Loss and gradients; on 1 x 1 also the logits of all tokens. */
static void check_pass(bed *t, rd_model *m, const char *logits, const char *loss, bool all)
{
    rd_work *w = NULL;
    int64_t n, T = t->b.T;
    float *coef = rd_new(float, T);
    double *logp = rd_new(double, T), got = 0, off = 0;
    double *z = golden_get(&t->ref, logits, "", &n);
    is_rc(rd_work_create(m, T, T, &w), RD_OK, "work");
    double size = largest(n, z);
    if (t->g->tp.size == 1) {
        rd_batch each = t->b;
        each.target = NULL;
        is_rc(rd_model_fwd(m, w, &each), RD_OK, "forward");
        float *mine = rd_new(float, rd_model_logits_size(m, w));
        is_rc(rd_model_logits(m, w, &each, mine), RD_OK, "logits");
        double worst = rows_apart(n, mine, z, size);
        ok(worst < t->logit_error, "%s: %s (%.1e of %.1f)", t->name, logits, worst, size);
        rd_free(mine);
    }
    const int64_t targets = golden_mean(&t->b, coef);
    is_rc(rd_model_fwd(m, w, &t->b), RD_OK, "forward for the targets");
    is_rc(rd_model_head(m, w, &t->b, coef, logp), RD_OK, "head");
    is_rc(rd_model_bwd(m, w, &t->b), RD_OK, "backward");
    double *want = all ? golden_get(&t->ref, "logp", "", NULL) : NULL;
    for (int64_t i = 0; i < T; i++) {
        got -= logp[i] / (double)targets;
        if (all) off = fmax(off, fabs(logp[i] - want[i]));
    }
    ok(off < t->logit_error * size, "%s: log-probabilities (%.1e)", t->name, off);
    near_f64(got, golden_number(&t->ref, loss, 0), 2e-6, loss);
    rd_free(z), rd_free(coef), rd_free(logp), rd_free(want);
    rd_work_free(&w);
}

/* Every sequence but its last token, and then that: the logits of the last tokens of both calls. */
static void check_decode(bed *t, rd_model *m, const char *logits)
{
    enum { SLOTS = 4 };
    const int64_t V = m->cfg.vocab, *start = t->b.start;
    int64_t size, n = 0, slot[SLOTS], count[SLOTS], at[SLOTS], T = 0;
    int32_t tokens[256];
    double *want = golden_get(&t->ref, logits, "", &size), worst = 0, most = largest(size, want);
    float *z = rd_new(float, V *SLOTS);
    rd_kv *kv = NULL;
    is_rc(rd_kv_create(m, SLOTS, t->b.T, t->b.T, &kv), RD_OK, "cache");
    for (int call = 0; call < 2; call++) {
        n = T = 0;
        for (int64_t s = 0; s < t->b.n_seq; s++) {
            int64_t from = call == 0 ? start[s] : start[s + 1] - 1;
            int64_t to = call == 0 ? start[s + 1] - 1 : start[s + 1];
            if (to == from) continue;
            slot[n] = SLOTS - 1 - s, count[n] = to - from, at[n++] = to - 1;
            memcpy(tokens + T, t->b.tokens + from, (size_t)(to - from) * sizeof(int32_t));
            T += to - from;
        }
        is_rc(rd_model_extend(m, kv, n, slot, count, tokens, z), RD_OK, "tokens");
        for (int64_t i = 0; i < n; i++)
            worst = fmax(worst, rows_apart(V, z + i * V, want + at[i] * V, most));
    }
    ok(worst < t->logit_error, "%s: %s of decoding (%.1e)", t->name, logits, worst);
    rd_free(want), rd_free(z);
    rd_kv_free(&kv);
}

/* ---------------------------------------------------------------- models */

static rd_model *load(const bed *t, bool with_grads)
{
    rd_pretrained *p = NULL;
    rd_model *m = NULL;
    if (!is_rc(rd_pretrained_open(t->path, &p), RD_OK, t->path)) return NULL;
    is_rc(rd_model_create(t->g, rd_pretrained_config(p), with_grads, &m), RD_OK, "model");
    is_rc(rd_pretrained_load(p, m), RD_OK, "weights");
    rd_pretrained_close(&p);
    return m;
}

/* The adapter that peft saved, each rank its share. */
static void adapt(const bed *t, rd_model *m, bool dora)
{
    const rd_adapter_opts o = {.kind = dora ? RD_DORA : RD_LORA,
                               .rank = 8,
                               .alpha = 16,
                               .targets = (1u << RD_TARGETS) - 1};
    char path[500];
    rd_weights *w = NULL;
    int missing = 0, rc = RD_OK;
    snprintf(path, sizeof(path), "%s/%s/adapter_model.safetensors", t->path,
             dora ? "dora" : "lora");
    is_rc(rd_model_adapt(m, &o), RD_OK, "adapter");
    if (!is_rc(rd_weights_open(path, &w), RD_OK, path)) return;
    for (int64_t i = 0; i < m->adapter.n && rc == RD_OK; i++) {
        const rd_param *p = &m->adapter.item[i];
        const rd_tensor *tensor = rd_weights_find(w, p->name);
        int64_t dims[2];
        rd_slab slab[2];
        rd_param_slab(t->g, p, true, dims, slab);
        missing += tensor == NULL || tensor->dims[0] != dims[0] ||
                   (tensor->rank == 2 && tensor->dims[1] != dims[1]);
        if (tensor != NULL) rc = rd_weights_read(w, tensor, slab, p->w.a);
    }
    ok(rc == RD_OK && missing == 0 && rd_weights_count(w) == m->adapter.n,
       "%s: peft's adapter has our parameters and no others", t->name);
    rd_weights_close(&w);
    is_rc(rd_model_adapter_resume(m), RD_OK, "adapter in place");
}

static void test_adapter(bed *t, bool dora)
{
    rd_model *m = load(t, false);
    if (m == NULL) return;
    adapt(t, m, dora);
    check_pass(t, m, dora ? "dora/logits" : "lora/logits", dora ? "dora/loss" : "lora/loss", false);
    check_gradients(t, &m->adapter, dora ? "dora/" : "lora/", dora ? 42 : 28);
    is_rc(rd_model_merge(m, NULL, NULL), RD_OK, "merged");
    check_decode(t, m, dora ? "dora/logits" : "lora/logits");
    rd_model_free(&m);
}

static void test_architecture(const rd_grid *g, const char *name)
{
    bed t = {.name = name, .logit_error = 5e-6, .g = g}; /* of logits below 20: under 1e-4 */
    char at[100];
    snprintf(at, sizeof(at), "architectures/%s", name);
    golden_path(at, "", t.path, sizeof(t.path));
    if (!is_rc(golden_open(at, &t.ref), RD_OK, name)) return;
    t.b = golden_batch(&t.ref);
    rd_model *m = load(&t, true);
    if (m != NULL) {
        check_pass(&t, m, "logits", "loss", true);
        check_gradients(&t, &m->base, "grad/", 7);
        check_decode(&t, m, "logits");
        rd_model_free(&m);
        test_adapter(&t, false);
        if (golden_has(&t.ref, "dora/", "loss")) test_adapter(&t, true);
    }
    golden_batch_free(&t.b);
    golden_close(&t.ref);
}

static void test_file(const rd_grid *g, const char *path, const char *name)
{
    bed t = {.name = name, .logit_error = 1e-5, .g = g};
    snprintf(t.path, sizeof(t.path), "%s", path);
    if (!is_rc(golden_open(name, &t.ref), RD_OK, name)) return;
    t.b = golden_batch(&t.ref);
    rd_model *m = load(&t, true);
    if (m != NULL) {
        check_pass(&t, m, "logits", "loss", true);
        check_decode(&t, m, "logits");
    }
    rd_model_free(&m);
    golden_batch_free(&t.b);
    golden_close(&t.ref);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"llama3", "qwen2", "mistral", "smollm2"};
    rd_test_begin(&argc, &argv);
    int size = rd_test_world.size;
    for (int rows = 1; rows <= size; rows++) {
        rd_grid *g;
        if (size % rows != 0) continue;
        diag("%d x %d", rows, size / rows);
        is_rc(rd_grid_create(0, rows, size / rows, &g), RD_OK, "grid");
        is_rc(rd_la_attach(g, 1), RD_OK, "context");
        for (int i = 0; i < 4 && argc == 1; i++) test_architecture(g, names[i]);
        if (argc == 3) test_file(g, argv[1], argv[2]);
        rd_la_detach(g);
        rd_grid_free(&g);
    }
    return rd_test_end();
}
