/* ranks: 1 2 */
/* The whole model: gradients against finite differences of its own loss, packing, accumulation,
 * coefficients, refused input, memory, weights through a file. */
#include "rd_test.h"
#include "tiny_model.h"

static const int64_t lengths[] = {5, 1, 9, 4};

/* Along a random direction of one parameter: (L(w + e d) - L(w - e d)) / 2e against <grad, d>.  The
 * model is float32, so the step is wide and Richardson's extrapolation removes its e^2 term.  The
 * error is relative to the gradient's norm where that is not much smaller than the largest, as
 * keys' biases' is: the loss's rounding is not.  A bias moves further, as there is little of it. */
static double directional(rd_model *m, rd_work *w, const rd_batch *b, const float *coef,
                          rd_param *p, double largest)
{
    int64_t n = p->w.m * p->w.n;
    float *keep = rd_new(float, n), *d = rd_new(float, n);
    rd_rng r = rd_rng_make(8, p->name, 0, 0);
    double inner = 0, norm = 0, slope[2];
    memcpy(keep, p->w.a, (size_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++) d[i] = (float)rd_rng_normal(&r);
    for (int64_t i = 0; i < n; i++) {
        inner += (double)d[i] * p->g.a[i];
        norm += (double)p->g.a[i] * p->g.a[i];
    }
    for (int k = 0; k < 2; k++) {
        /* Smaller steps would drown in the rounding of the losses. */
        double e = (k == 0 ? 8e-3 : 4e-3) * (strstr(p->name, "bias") ? 2 : 1), side[2];
        for (int s = 0; s < 2; s++) {
            for (int64_t i = 0; i < n; i++) p->w.a[i] = (float)(keep[i] + (s ? -e : e) * d[i]);
            side[s] = tiny_loss(m, w, b, coef, false);
        }
        slope[k] = (side[0] - side[1]) / (2 * e);
    }
    memcpy(p->w.a, keep, (size_t)n * sizeof(float));
    rd_free(keep), rd_free(d);
    return fabs((4 * slope[1] - slope[0]) / 3 - inner) / fmax(sqrt(norm), 0.05 * largest);
}

static void test_gradients(rd_grid *g, const rd_model_config *c, const char *what)
{
    rd_model *m = tiny_model_of(g, c, true);
    rd_work *w;
    rd_batch b = tiny_batch(4, lengths, 1);
    float *coef = rd_new(float, b.T), *once = rd_new(float, m->base.storage);
    tiny_coef(b.T, coef);
    is_rc(rd_work_create(m, b.T, 9, &w), RD_OK, "work");
    double loss = tiny_loss(m, w, &b, coef, true), largest = 0, norm2;
    for (int64_t i = 0; i < m->base.n; i++) {
        rd_mat_norm2(&m->base.item[i].g, &norm2);
        largest = fmax(largest, sqrt(norm2));
    }
    memcpy(once, m->base.grads, (size_t)m->base.storage * sizeof(float));
    for (int64_t i = 0; i < m->base.n; i++) {
        double error = directional(m, w, &b, coef, &m->base.item[i], largest);
        ok(error < 5e-4, "%s: gradient of %s (%.1e)", what, m->base.item[i].name, error);
    }
    near_f64(tiny_loss(m, w, &b, coef, false), loss, 0, "the same loss again");
    tiny_loss(m, w, &b, coef, true);
    double off = 0;
    for (int64_t i = 0; i < m->base.storage; i++)
        off = fmax(off, fabs(m->base.grads[i] - 2.0 * once[i]));
    ok(off < 1e-4, "a second pass adds its gradient (%.1e)", off);
    rd_model_zero_grads(m);
    for (int64_t t = 0; t < b.T; t++) coef[t] = 0;
    tiny_loss(m, w, &b, coef, true);
    off = 0;
    for (int64_t i = 0; i < m->base.storage; i++) off = fmax(off, fabs(m->base.grads[i]));
    ok(off == 0, "coefficients of 0 give no gradient");
    rd_free(coef), rd_free(once);
    tiny_batch_free(&b);
    rd_work_free(&w);
    rd_model_free(&m);
}

/* One packed batch against its sequences one by one: the same log-probabilities, bit for bit, and
 * gradients that add up. */
static void test_packing(rd_grid *g)
{
    rd_model *m = tiny_model(g, true, true);
    rd_work *w;
    rd_batch b = tiny_batch(4, lengths, 1);
    float *coef = rd_new(float, b.T), *packed = rd_new(float, m->base.storage);
    double *logp = rd_new(double, b.T), *alone = rd_new(double, b.T), off = 0;
    tiny_coef(b.T, coef);
    rd_work_create(m, b.T + 7, 30, &w);
    rd_model_fwd(m, w, &b);
    rd_model_head(m, w, &b, coef, logp);
    rd_model_bwd(m, w, &b);
    memcpy(packed, m->base.grads, (size_t)m->base.storage * sizeof(float));
    rd_model_zero_grads(m);
    for (int64_t s = 0; s < b.n_seq; s++) {
        int64_t first = b.start[s], range[2] = {0, b.start[s + 1] - first};
        rd_batch one = {range[1], 1, range, b.tokens + first, b.target + first};
        rd_model_fwd(m, w, &one);
        rd_model_head(m, w, &one, coef + first, alone + first);
        rd_model_bwd(m, w, &one);
    }
    ok(memcmp(logp, alone, (size_t)b.T * sizeof(double)) == 0,
       "packed = separate log-probabilities");
    for (int64_t i = 0; i < m->base.storage; i++)
        off = fmax(off, fabs((double)packed[i] - m->base.grads[i]));
    ok(off < 2e-5, "packed = sum of separate gradients (%.1e)", off);
    rd_free(coef), rd_free(packed), rd_free(logp), rd_free(alone);
    tiny_batch_free(&b);
    rd_work_free(&w);
    rd_model_free(&m);
}

/* Tokens without a target against the same with one whose coefficient is 0, and a batch that asks
 * for nothing. */
static void test_asked(rd_grid *g)
{
    rd_model *m = tiny_model(g, true, true);
    rd_work *w;
    rd_batch b = tiny_batch(4, lengths, 1), all = b;
    float *coef = rd_new(float, b.T), *few = rd_new(float, m->base.storage);
    double *logp = rd_new(double, b.T), *every = rd_new(double, b.T), off = 0, left = 0;
    int differ = 0;
    all.target = rd_new(int32_t, b.T);
    tiny_coef(b.T, coef);
    for (int64_t t = 0; t < b.T; t++) {
        all.target[t] = b.target[t] < 0 ? 3 : b.target[t];
        if (b.target[t] < 0) coef[t] = 0;
    }
    rd_work_create(m, b.T, 9, &w);
    rd_model_fwd(m, w, &b), rd_model_head(m, w, &b, coef, logp), rd_model_bwd(m, w, &b);
    memcpy(few, m->base.grads, (size_t)m->base.storage * sizeof(float));
    rd_model_zero_grads(m);
    rd_model_fwd(m, w, &all), rd_model_head(m, w, &all, coef, every), rd_model_bwd(m, w, &all);
    for (int64_t t = 0; t < b.T; t++) differ += logp[t] != (b.target[t] < 0 ? 0 : every[t]);
    is_i64(differ, 0, "log-probabilities do not depend on which others are asked for");
    for (int64_t i = 0; i < m->base.storage; i++)
        off = fmax(off, fabs((double)few[i] - m->base.grads[i]));
    ok(off < 2e-6, "nor do gradients (%.1e)", off);
    rd_model_zero_grads(m);
    for (int64_t t = 0; t < b.T; t++) all.target[t] = -1;
    rd_model_fwd(m, w, &all), rd_model_head(m, w, &all, coef, every), rd_model_bwd(m, w, &all);
    for (int64_t i = 0; i < m->base.storage; i++) left = fmax(left, fabs((double)m->base.grads[i]));
    for (int64_t t = 0; t < b.T; t++) left = fmax(left, fabs(every[t]));
    ok(left == 0, "a batch without any target has no gradient");
    rd_free(coef), rd_free(few), rd_free(logp), rd_free(every), rd_free(all.target);
    tiny_batch_free(&b);
    rd_work_free(&w);
    rd_model_free(&m);
}

/* Their names and places, and that they begin at 0. */
static void test_biases(rd_grid *g)
{
    rd_model_config c = tiny_config_rich(true);
    rd_model *m = tiny_model_of(g, &c, true);
    int64_t n = 0;
    for (int64_t i = 0; i < m->base.n; i++) n += m->base.item[i].w.m * m->base.item[i].w.n;
    is_i64(rd_model_config_params(&c), n, "the parameter count with biases");
    rd_param *q = rd_model_param(m, "model.layers.1.self_attn.q_proj.bias");
    rd_param *k = rd_model_param(m, "model.layers.1.self_attn.k_proj.bias");
    rd_param *v = rd_model_param(m, "model.layers.1.self_attn.v_proj.bias");
    ok(q != NULL && k != NULL && v != NULL, "names");
    ok(q->w.m == 24 && k->w.m == 12 && v->w.m == 12 && q->w.n == 1, "sizes");
    ok(q->is_vector && !q->is_matrix && !q->decay, "a vector without weight decay");
    rd_model_init(m, 5);
    double size = 0;
    for (int i = 0; i < 48; i++) size += fabs((double)q->w.a[i]);
    ok(size == 0, "biases start at 0");
    rd_model_free(&m);
}

static void test_refusals(rd_grid *g)
{
    rd_model *m = tiny_model(g, true, true);
    rd_model_config c = tiny_config(true);
    rd_work *w;
    rd_batch b = tiny_batch(4, lengths, 1);
    rd_work_create(m, b.T, 8, &w);
    is_rc(rd_model_fwd(m, w, &b), RD_EINTERNAL, "a sequence longer than the space");
    rd_work_free(&w);
    rd_work_create(m, b.T, 9, &w);
    b.tokens[3] = 19;
    is_rc(rd_model_fwd(m, w, &b), RD_EINTERNAL, "a token outside the vocabulary");
    double *logp = rd_new(double, b.T);
    b.target[0] = 19;
    is_rc(rd_model_head(m, w, &b, NULL, logp), RD_EINTERNAL, "a target outside the vocabulary");
    c.kv_heads = 3;
    is_rc(rd_model_config_check(&c), RD_EINPUT, "heads that do not divide");
    c = tiny_config(true);
    c.head_size = 5;
    is_rc(rd_model_config_check(&c), RD_EINPUT, "an odd head size");
    c = tiny_config(true);
    c.rope = (rd_rope_scaling){8, 4, 4, 8192};
    is_rc(rd_model_config_check(&c), RD_EINPUT, "rope scaling whose factors are equal");
    c.rope = (rd_rope_scaling){8, 1, 4, 0};
    is_rc(rd_model_config_check(&c), RD_EINPUT, "rope scaling without a context");
    c = tiny_config(true);
    int64_t n = 0;
    for (int64_t i = 0; i < m->base.n; i++) n += m->base.item[i].w.m * m->base.item[i].w.n;
    is_i64(rd_model_config_params(&c), n, "the parameter count");
    test_biases(g);
    rd_free(logp);
    tiny_batch_free(&b);
    rd_work_free(&w);
    rd_model_free(&m);
}

static void test_init(rd_grid *g)
{
    rd_model_config c = {.vocab = 300,
                         .width = 64,
                         .layers = 2,
                         .heads = 4,
                         .kv_heads = 2,
                         .ffn = 96,
                         .rope_theta = 1e4,
                         .norm_eps = 1e-5,
                         .tied = true};
    rd_model *m, *again;
    rd_model_create(g, &c, false, &m);
    rd_model_create(g, &c, false, &again);
    rd_model_init(m, 5);
    rd_model_init(again, 5);
    ok(memcmp(m->base.weights, again->base.weights, (size_t)m->base.storage * sizeof(float)) == 0,
       "the same seed gives the same weights");
    rd_param *e = rd_model_param(m, "model.embed_tokens.weight");
    rd_param *o = rd_model_param(m, "model.layers.1.self_attn.o_proj.weight");
    double norm2;
    rd_mat_norm2(&e->w, &norm2);
    near_f64(sqrt(norm2 / (300 * 64)) / 0.02, 1, 0.03, "spread of the embedding");
    rd_mat_norm2(&o->w, &norm2);
    near_f64(sqrt(norm2 / (64 * 64)) / 0.01, 1, 0.05, "output projections are scaled");
    ok(m->base.weights[e->w.m * e->w.n] == 1, "norms start at one");
    ok(rd_model_param(m, "model.layers.2.mlp.up_proj.weight") == NULL, "absent parameter");

    /* Through a file. */
    char path[300];
    rd_store *s;
    rd_model_config back;
    snprintf(path, sizeof(path), "%s/model.h5", rd_test_dir());
    rd_store_info info = {.schema = "redistill.test", .version = 1};
    is_rc(rd_store_create(&g->world, path, &info, &s), RD_OK, "store");
    is_rc(rd_model_write_config(&m->cfg, s), RD_OK, "config written");
    is_rc(rd_params_write(m->grid, &m->base, s, "weights/"), RD_OK, "weights written");
    is_rc(rd_store_commit(&s), RD_OK, "commit");
    is_rc(rd_store_open(&g->world, path, "redistill.test", 1, &s), RD_OK, "open");
    is_rc(rd_model_read_config(s, &back), RD_OK, "config read");
    ok(back.rope.factor == 0 && !back.qkv_bias, "absent attributes: nothing of the kind");
    ok(back.ffn == 96 && back.head_size == 16 && back.tied && back.norm_eps == 1e-5, "as written");
    memset(again->base.weights, 0, (size_t)m->base.storage * sizeof(float));
    is_rc(rd_params_read(again->grid, &again->base, s, "weights/"), RD_OK, "weights read");
    ok(memcmp(m->base.weights, again->base.weights, (size_t)m->base.storage * sizeof(float)) == 0,
       "bit for bit");
    rd_model *other = tiny_model(g, true, false);
    is_rc(rd_params_read(other->grid, &other->base, s, "weights/"), RD_EINPUT,
          "another shape is refused");
    rd_store_close(&s);
    rd_model_free(&other);
    rd_model_free(&again);
    rd_model_free(&m);
}

/* A configuration through a file. */
static void test_config_file(rd_grid *g, const rd_model_config *c)
{
    char path[300];
    rd_store *s;
    rd_model_config back;
    snprintf(path, sizeof(path), "%s/config.h5", rd_test_dir());
    rd_store_info info = {.schema = "redistill.test", .version = 1};
    is_rc(rd_store_create(&g->world, path, &info, &s), RD_OK, "store");
    is_rc(rd_model_write_config(c, s), RD_OK, "config written");
    is_rc(rd_store_commit(&s), RD_OK, "commit");
    is_rc(rd_store_open(&g->world, path, "redistill.test", 1, &s), RD_OK, "open");
    is_rc(rd_model_read_config(s, &back), RD_OK, "config read");
    ok(back.rope.factor == c->rope.factor && back.rope.low_freq_factor == 1 &&
           back.rope.high_freq_factor == 4 && back.rope.original_context == 100,
       "with rope scaling");
    ok(back.qkv_bias && back.tied, "with biases");
    rd_store_close(&s);
}

int main(int argc, char **argv)
{
    rd_grid *g;
    rd_test_begin(&argc, &argv);
    rd_grid_create(0, 1, 1, &g);
    rd_model_config c = tiny_config(true);
    test_gradients(g, &c, "tied");
    c = tiny_config(false);
    test_gradients(g, &c, "untied");
    c = tiny_config_rich(true);
    test_gradients(g, &c, "rich");
    test_config_file(g, &c);
    test_packing(g);
    test_asked(g);
    test_refusals(g);
    test_init(g);
    rd_grid_free(&g);
    return rd_test_end();
}
