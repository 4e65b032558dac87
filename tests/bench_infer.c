/* bench */
/* Generation on one core with a student of 0.35 M parameters: tokens decoded per second when the
 * proposals of a problem share their prompt, when every prompt is another one, and of votes when
 * few and when many wait, which should be equal.  Then with a model of SmolLM2-135M's shape and
 * random weights, f32 and bf16, as hypothesis search uses it, with the shares of attention, head
 * and sampling.  Seconds are of this process' CPU time, best of some: the machine may be shared. */
#include "bench_shapes.h"
#include "rd_test.h"
#include "text_model.h"
#include "rd/infer.h"

#include <inttypes.h>
#include <time.h>

enum { N = 1024 };

static double cpu_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* n responses of at most max_new tokens, per_prompt of them to the same prompt. */
static void bench(rd_generator *gen, const char *name, char *const *prompts, int64_t n,
                  int64_t per_prompt, int64_t max_new, double temperature)
{
    rd_gen_request *r = rd_new(rd_gen_request, n);
    double best = 0, per_response = 0;
    int64_t in = 0, out = 0;
    for (uint64_t repeat = 0; repeat < 4; repeat++) {
        for (int64_t i = 0; i < n; i++)
            r[i] = (rd_gen_request){.prompt = prompts[(i + 7 * (int64_t)repeat) % n / per_prompt],
                                    .key = (uint64_t)i + 10000 * repeat,
                                    .temperature = temperature,
                                    .max_new = max_new};
        double start = cpu_time();
        if (rd_generate(gen, n, r) != RD_OK) rd_die("%s", rd_error_get()->message);
        double seconds = cpu_time() - start;
        in = out = 0;
        for (int64_t i = 0; i < n; i++) {
            in += r[i].tokens_in;
            out += r[i].tokens_out;
            rd_free(r[i].text);
        }
        if ((double)out / seconds > best) {
            best = (double)out / seconds;
            per_response = seconds / (double)n;
        }
    }
    printf("%-30s %6.1f k tokens/s decoded, prompts of %" PRId64 ", responses of %" PRId64
           ", %.0f us each\n",
           name, best / 1000, in / n, out / n, 1e6 * per_response);
    rd_free(r);
}

/* 96 responses of about 40 tokens to 12 prompts. */
static void bench_smollm2(rd_grid *g, bool bf16, const rd_chat *chat, char *const *prompts)
{
    enum { LIVE = 96, PER_PROMPT = 8, TOKENS = 40 };
    rd_model *model;
    rd_generator *gen;
    rd_model_config cfg = BENCH_SMOLLM2;
    rd_generator_opts o = {.slots = LIVE, .max_len = 768};
    rd_la_use_bf16(g, bf16);
    if (rd_model_create(g, &cfg, false, &model) != RD_OK || rd_model_init(model, 1) != RD_OK ||
        rd_model_pack(model) != RD_OK || rd_generator_create(model, chat, &o, &gen) != RD_OK)
        rd_die("%s", rd_error_get()->message);
    for (int run = 0; run < 2; run++) {
        rd_gen_request *r = rd_new(rd_gen_request, LIVE);
        const rd_clock *clock;
        int64_t in = 0, out = 0;
        for (int64_t i = 0; i < LIVE; i++)
            r[i] = (rd_gen_request){.prompt = prompts[run * LIVE + i / PER_PROMPT],
                                    .key = (uint64_t)i,
                                    .temperature = 0.9,
                                    .max_new = TOKENS};
        rd_clock_reset();
        double start = cpu_time();
        if (rd_generate(gen, LIVE, r) != RD_OK) rd_die("%s", rd_error_get()->message);
        double seconds = cpu_time() - start, share[3] = {0};
        static const char *const names[] = {"decode.attention", "decode.head", "decode.sample"};
        for (int k = 0; k < rd_clock_list(&clock); k++)
            for (int n = 0; n < 3; n++)
                if (strcmp(clock[k].section, names[n]) == 0) share[n] = clock[k].seconds / seconds;
        for (int64_t i = 0; i < LIVE; i++) {
            in += r[i].tokens_in;
            out += r[i].tokens_out;
            rd_free(r[i].text);
        }
        if (run > 0)
            printf("SmolLM2-135M, %s: %6.0f tokens/s generated, prompts of %" PRId64
                   "; attention %.0f %%, head %.0f %%, sampling %.0f %% of the time\n",
                   bf16 ? "bf16" : "f32", (double)out / seconds, in / LIVE, 100 * share[0],
                   100 * share[1], 100 * share[2]);
        rd_free(r);
    }
    rd_generator_free(&gen);
    rd_model_free(&model);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_grid *g;
    rd_generator *gen;
    char *prompts[N];
    rd_generator_opts go = {.slots = 256, .max_len = 2048};
    rd_grid_create(0, 1, 1, &g);
    for (int64_t i = 0; i < N; i++) {
        rd_rng rng = rd_rng_make(1, "bench", (uint64_t)i, 0);
        rd_buf text = {0};
        rd_buf_puts(&text, "Rule: add ");
        for (int k = 0; k < 28; k++) rd_buf_printf(&text, "%d, ", (int)rd_rng_below(&rng, 99));
        prompts[i] = rd_buf_take(&text);
    }
    const rd_model_config cfg = BENCH_SMALL;
    rd_tok *tok = text_tok(400, true, N, (const char *const *)prompts);
    rd_chat *chat = text_chat(tok);
    rd_model *model = text_model(g, &cfg, false, 1);
    if (rd_generator_create(model, chat, &go, &gen) != RD_OK) rd_die("%s", rd_error_get()->message);
    bench(gen, "shared prompts, sampled", prompts, N, 64, 40, 1.0);
    bench(gen, "other prompts, sampled", prompts, N, 1, 40, 1.0);
    bench(gen, "other prompts, greedy", prompts, N, 1, 40, 0);
    bench(gen, "short votes", prompts, N, 64, 8, 1.0);
    bench(gen, "short votes, 32 times as many", prompts, 32 * N, 64, 8, 1.0);
    rd_generator_free(&gen);
    rd_model_free(&model);
    bench_smollm2(g, false, chat, prompts);
    bench_smollm2(g, true, chat, prompts);
    rd_chat_free(&chat);
    rd_tok_free(&tok);
    rd_grid_free(&g);
    for (int64_t i = 0; i < N; i++) rd_free(prompts[i]);
    rd_par_end();
    return 0;
}
