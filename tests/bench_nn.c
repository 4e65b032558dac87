/* bench */
/* What training and decoding reach of this machine's product rate, one process, one thread.
 *
 *   (a) the quickstart's student: width 96, 3 layers, 6 heads, ffn 256, vocabulary 400
 *   (b) a 5 M parameter model: width 256, 6 layers, batch 8 x 256
 *
 * Flops per token are counted as rd_model_config_flops does: 6 per weight in products plus causal
 * attention.  Best of several repeats: the machine may be shared.  The library's rate is that of
 * the kernels it picks by itself; on a processor it does not know these may be old ones, and
 * OPENBLAS_CORETYPE=SkylakeX (with AVX-512) shows what it can do. */
#include "bench_shapes.h"
#include "rd_test.h"
#include "rd/nn.h"

typedef struct shape {
    const char *name;
    rd_model_config cfg;
    int64_t n_seq, min_len, max_len;
} shape;

static rd_batch make_batch(const shape *s)
{
    rd_rng rng = rd_rng_make(1, "bench", 0, 0);
    rd_batch b = {.n_seq = s->n_seq, .start = rd_new(int64_t, s->n_seq + 1)};
    for (int64_t i = 0; i < s->n_seq; i++)
        b.start[i + 1] = b.start[i] + rd_rng_range(&rng, s->min_len, s->max_len);
    b.T = b.start[s->n_seq];
    b.tokens = rd_new(int32_t, b.T);
    b.target = rd_new(int32_t, b.T);
    for (int64_t t = 0; t < b.T; t++) {
        b.tokens[t] = (int32_t)rd_rng_below(&rng, s->cfg.vocab);
        b.target[t] = (int32_t)rd_rng_below(&rng, s->cfg.vocab);
    }
    return b;
}

static void bench_train(rd_grid *g, const shape *s, double rate, double library)
{
    rd_model *model;
    rd_work *work;
    rd_batch b = make_batch(s);
    rd_model_create(g, &s->cfg, true, &model);
    rd_model_init(model, 1);
    rd_work_create(model, b.T, s->max_len, &work);
    float *coef = rd_new(float, b.T);
    double *logp = rd_new(double, b.T), best[3] = {1e9, 1e9, 1e9}, total = 1e9;
    for (int64_t t = 0; t < b.T; t++) coef[t] = -1.0f / (float)b.T;
    for (int r = 0; r < 12; r++) {
        double t0 = rd_time();
        rd_model_fwd(model, work, &b);
        double t1 = rd_time();
        rd_model_head(model, work, &b, coef, logp);
        double t2 = rd_time();
        rd_model_bwd(model, work, &b);
        double t3 = rd_time(), part[3] = {t1 - t0, t2 - t1, t3 - t2};
        for (int i = 0; i < 3; i++) best[i] = part[i] < best[i] ? part[i] : best[i];
        total = t3 - t0 < total ? t3 - t0 : total;
    }
    double ctx = (double)b.T / (double)b.n_seq;
    double flops = rd_model_config_flops(&s->cfg, ctx) * (double)b.T / total;
    printf("%s: %.2f M parameters, %lld tokens in %lld sequences\n", s->name,
           1e-6 * (double)rd_model_config_params(&s->cfg), (long long)b.T, (long long)b.n_seq);
    printf("  training  %8.0f tokens/s  %5.1f GFLOP/s = %2.0f %% of our product, %2.0f %% of the "
           "library's (fwd %.1f head %.1f bwd %.1f ms)\n",
           (double)b.T / total, 1e-9 * flops, 100 * flops / rate, 100 * flops / library,
           1e3 * best[0], 1e3 * best[1], 1e3 * best[2]);
    rd_free(b.start), rd_free(b.tokens), rd_free(b.target), rd_free(coef), rd_free(logp);
    rd_work_free(&work);
    rd_model_free(&model);
}

static void bench_decode(rd_grid *g, const shape *s, int64_t slots, int64_t prompt, int64_t tokens)
{
    rd_model *model;
    rd_kv *kv;
    rd_model_create(g, &s->cfg, false, &model);
    rd_model_init(model, 1);
    rd_kv_create(model, slots, prompt + tokens, slots * 8, &kv);
    float *logits = rd_new(float, s->cfg.vocab *slots);
    int64_t *slot = rd_new(int64_t, slots), *count = rd_new(int64_t, slots);
    int32_t *next = rd_new(int32_t, slots * 8);
    for (int64_t i = 0; i < slots; i++) slot[i] = i;
    for (int64_t t = 0; t < slots * 8; t++) next[t] = (int32_t)(t % s->cfg.vocab);
    double start = rd_time();
    for (int64_t t = 0; t < prompt; t += 8) {
        for (int64_t i = 0; i < slots; i++) count[i] = 8;
        rd_model_extend(model, kv, slots, slot, count, next, logits);
    }
    double prefill = rd_time() - start;
    for (int64_t i = 0; i < slots; i++) count[i] = 1;
    start = rd_time();
    for (int64_t t = 0; t < tokens; t++)
        rd_model_extend(model, kv, slots, slot, count, next, logits);
    double decode = rd_time() - start;
    printf("  decoding  %8.0f tokens/s with %lld slots, context %lld to %lld (prefill %.0f)\n",
           (double)(slots * tokens) / decode, (long long)slots, (long long)prompt,
           (long long)(prompt + tokens), (double)(slots * prompt) / prefill);
    rd_free(logits), rd_free(slot), rd_free(count), rd_free(next);
    rd_kv_free(&kv);
    rd_model_free(&model);
}

int main(int argc, char **argv)
{
    rd_grid *g;
    rd_test_begin(&argc, &argv);
    rd_grid_create(0, 1, 1, &g);
    rd_la_attach(g, 1);
    double rate = rd_gemm_rate(768, 8), library = rd_gemm_library_rate(768, 8);
    printf("sgemm 768: ours %.1f GFLOP/s, library %.1f GFLOP/s (%s)\n", 1e-9 * rate, 1e-9 * library,
           rd_la_describe());
    rd_model_config a = BENCH_SMALL;
    rd_model_config b = {.vocab = 1024,
                         .width = 256,
                         .layers = 6,
                         .heads = 8,
                         .kv_heads = 8,
                         .head_size = 32,
                         .ffn = 688,
                         .rope_theta = 1e4,
                         .norm_eps = 1e-5,
                         .tied = true};
    shape sa = {"(a)", a, 16, 60, 130}, sb = {"(b)", b, 8, 256, 256};
    bench_train(g, &sa, rate, library);
    bench_decode(g, &sa, 256, 56, 40);
    a.kv_heads = 2;
    sa = (shape){"(a) with 2 key-value heads", a, 16, 60, 130};
    bench_train(g, &sa, rate, library);
    bench_decode(g, &sa, 256, 56, 40);
    bench_train(g, &sb, rate, library);
    bench_decode(g, &sb, 64, 56, 40);
    rd_la_detach(g);
    rd_grid_free(&g);
    rd_par_end();
    return 0;
}
