/* ranks: 1 2 */
/* The generator: greedy decoding is the full forward pass step by step; a response depends on its
 * prompt, key and temperature alone; limits; the distribution of samples. */
#include "rd_test.h"
#include "text_model.h"
#include "rd/infer.h"

enum { N = 60, PROMPTS = 7, MAX_LEN = 160 };

static const char *const prompts[PROMPTS] = {
    "the rule adds one to every element of the list",
    "the rule adds one to every element but the last",
    "the rule adds one to every element but the first of the list, then it sorts them",
    "a list",
    "",
    "reverse the list and drop the first element; then add the list to itself, reverse it, and "
    "drop "
    "the last element of it",
    "the rule adds"};

static rd_tok *tok;
static rd_chat *chat;
static rd_model *model;

static rd_generator *generator(int64_t slots, int64_t max_len)
{
    rd_generator *gen;
    rd_generator_opts o = {.slots = slots, .max_len = max_len};
    if (rd_generator_create(model, chat, &o, &gen) != RD_OK) rd_die("%s", rd_error_get()->message);
    return gen;
}

/* Request i: runs of the same prompt, prompts that begin alike, every seventh greedy. */
static rd_gen_request request(int64_t i)
{
    return (rd_gen_request){.prompt = prompts[i / 5 % PROMPTS],
                            .key = (uint64_t)(1000 + i),
                            .temperature = i % 7 == 0 ? 0
                                           : i % 2    ? 0.8
                                                      : 1.3,
                            .max_new = 5 + i % 40};
}

static bool same(const rd_gen_request *a, const rd_gen_request *b)
{
    return strcmp(a->text, b->text) == 0 && a->tokens_in == b->tokens_in &&
           a->tokens_out == b->tokens_out && a->truncated == b->truncated;
}

/* Responses in the order of `order` with `slots` slots, at most `at_once` a call, back in place. */
static void run(int64_t slots, const int64_t *order, int64_t at_once, rd_gen_request *out)
{
    rd_generator *gen = generator(slots, MAX_LEN);
    rd_gen_request r[N];
    for (int64_t i = 0; i < N; i++) r[i] = request(order[i]);
    for (int64_t i = 0; i < N; i += at_once)
        if (rd_generate(gen, N - i < at_once ? N - i : at_once, r + i) != RD_OK)
            rd_die("%s", rd_error_get()->message);
    for (int64_t i = 0; i < N; i++) out[order[i]] = r[i];
    rd_generator_free(&gen);
}

static void free_texts(rd_gen_request *r)
{
    for (int64_t i = 0; i < N; i++) rd_free(r[i].text);
}

static void test_independence(void)
{
    int64_t order[N], reversed[N], shuffled[N], ended = 0, cut = 0;
    rd_gen_request want[N], got[N];
    rd_rng rng = rd_rng_make(8, "order", 0, 0);
    for (int64_t i = 0; i < N; i++) {
        order[i] = shuffled[i] = i;
        reversed[N - 1 - i] = i;
    }
    rd_rng_shuffle(&rng, shuffled, N);
    run(1, order, 1, want); /* one at a time, one slot */
    for (int64_t i = 0; i < N; i++) *(want[i].truncated ? &cut : &ended) += 1;
    ok(ended > 5 && cut > 5, "responses end by themselves (%d) and at limits (%d)", (int)ended,
       (int)cut);
    const struct {
        int64_t slots;
        const int64_t *order;
        int64_t at_once;
        const char *name;
    } cases[] = {{64, order, N, "all at once"}, {7, order, N, "few slots"},
                 {64, reversed, N, "reversed"}, {11, shuffled, N, "shuffled: no prompt shared"},
                 {1, shuffled, N, "one slot"},  {16, order, 9, "several calls, prefixes kept"}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        int64_t differ = 0;
        run(cases[c].slots, cases[c].order, cases[c].at_once, got);
        for (int64_t i = 0; i < N; i++) differ += !same(&want[i], &got[i]);
        ok(differ == 0, "%s: %d of %d responses differ", cases[c].name, (int)differ, N);
        free_texts(got);
    }
    free_texts(want);
}

/* The full forward pass over all tokens so far, for every token. */
static void reference(const char *prompt, int64_t max_new, rd_buf *text)
{
    rd_work *work;
    int32_t ids[MAX_LEN] = {RD_TOK_BOS};
    float *z = rd_new(float, model->cfg.vocab *MAX_LEN);
    int64_t n = 1 + rd_tok_encode(tok, prompt, strlen(prompt), ids + 1, MAX_LEN - 1), first = n;
    if (rd_work_create(model, MAX_LEN, MAX_LEN, &work) != RD_OK) rd_die("work");
    for (int64_t k = 0; k < max_new; k++) {
        int64_t start[2] = {0, n};
        int32_t best = -1;
        rd_batch b = {.T = n, .n_seq = 1, .start = start, .tokens = ids};
        if (rd_model_fwd(model, work, &b) != RD_OK || rd_model_logits(model, work, &b, z) != RD_OK)
            rd_die("forward");
        const float *last = z + (n - 1) * model->cfg.vocab;
        for (int32_t v = RD_TOK_EOS; v < model->cfg.vocab; v++)
            if (best < 0 || last[v] > last[best]) best = v;
        if (best == RD_TOK_EOS) break;
        ids[n++] = best;
    }
    rd_tok_decode(tok, ids + first, n - first, text);
    rd_work_free(&work);
    rd_free(z);
}

static void test_greedy(void)
{
    rd_generator *gen = generator(4, MAX_LEN);
    rd_gen_request r[PROMPTS];
    for (int i = 0; i < PROMPTS; i++) r[i] = (rd_gen_request){.prompt = prompts[i], .max_new = 30};
    is_rc(rd_generate(gen, PROMPTS, r), RD_OK, "greedy");
    for (int i = 0; i < PROMPTS; i++) {
        rd_buf text = {0};
        reference(prompts[i], 30, &text);
        is_str(r[i].text, text.data ? text.data : "", "greedy is the full forward pass");
        rd_free(r[i].text);
        rd_buf_free(&text);
    }
    rd_generator_free(&gen);
}

static void test_limits(void)
{
    rd_generator *gen = generator(3, 40);
    rd_gen_request r[4] = {{.prompt = prompts[5], .max_new = 10},
                           {.prompt = prompts[3], .max_new = 0},
                           {.prompt = prompts[0], .max_new = 1000, .temperature = 0.1, .key = 1},
                           {.prompt = prompts[3], .max_new = 3, .temperature = 0.1, .key = 1}};
    is_rc(rd_generate(gen, 4, r), RD_OK, "limits");
    ok(r[0].tokens_in > 40 && r[0].tokens_out == 0 && r[0].truncated && !*r[0].text, "no room");
    ok(r[1].tokens_out == 0 && r[1].truncated && !*r[1].text, "nothing wanted");
    ok(r[2].tokens_in + r[2].tokens_out <= 40, "max_len holds");
    ok(r[2].truncated == (r[2].tokens_in + r[2].tokens_out == 40) && r[3].tokens_out <= 3,
       "and max_new");
    for (int i = 0; i < 4; i++) rd_free(r[i].text);
    is_rc(rd_generate(gen, 0, r), RD_OK, "no request");
    r[0] = (rd_gen_request){.prompt = prompts[0], .max_new = 3};
    r[1] = (rd_gen_request){.prompt = prompts[0], .max_new = 3, .temperature = 1e-300};
    is_rc(rd_generate(gen, 2, r), RD_OK, "a temperature of next to nothing");
    is_str(r[1].text, r[0].text, "is greedy");
    for (int i = 0; i < 2; i++) rd_free(r[i].text);
    for (int64_t i = 0; i < model->base.storage; i++) model->base.weights[i] = NAN;
    r[0] = (rd_gen_request){.prompt = "a", .max_new = 3, .temperature = 1};
    is_rc(rd_generate(gen, 1, r), RD_ENUMERIC, "logits that are not finite");
    rd_free(r[0].text);
    rd_generator_free(&gen);
}

static int64_t with_stop(const char *const *stop, int n_stop, rd_gen_request *r)
{
    rd_generator *gen;
    int64_t out = 0;
    rd_generator_opts o = {.slots = 5, .max_len = MAX_LEN, .stop = stop, .n_stop = n_stop};
    if (rd_generator_create(model, chat, &o, &gen) != RD_OK) rd_die("generator");
    for (int64_t i = 0; i < N; i++) r[i] = request(i);
    if (rd_generate(gen, N, r) != RD_OK) rd_die("%s", rd_error_get()->message);
    for (int64_t i = 0; i < N; i++) out += r[i].tokens_out;
    rd_generator_free(&gen);
    return out;
}

/* With stop strings responses are those without, cut where the first one begins; the strings are of
 * three letters somewhere in a response, which tokens do not respect. */
static void test_stop(void)
{
    rd_gen_request all[N], cut[N];
    char first[4] = "", second[4] = "";
    int64_t wrong = 0, stopped = 0, inside = 0, out = with_stop(NULL, 0, all), less;
    for (int64_t i = 0; i < N && !*second; i++)
        if (strlen(all[i].text) > 12)
            memcpy(*first ? second : first, all[i].text + strlen(all[i].text) / 2, 3);
    const char *stop[] = {first, second};
    less = with_stop(stop, 2, cut);
    for (int64_t i = 0; i < N; i++) {
        const char *a = strstr(all[i].text, first), *b = strstr(all[i].text, second);
        const char *at = a && (!b || a < b) ? a : b;
        if (at) {
            stopped++;
            int64_t n = at - all[i].text;
            wrong += (int64_t)strlen(cut[i].text) != n || cut[i].truncated ||
                     strncmp(cut[i].text, all[i].text, (size_t)n) != 0 ||
                     cut[i].tokens_out > all[i].tokens_out;
            int32_t ids[MAX_LEN];
            char piece[3 + MAX_LEN * 8];
            snprintf(piece, sizeof piece, "%.*s", (int)(n + 3), all[i].text);
            inside += rd_tok_encode(tok, piece, (size_t)n + 3, ids, MAX_LEN) !=
                      rd_tok_encode(tok, piece, (size_t)n, ids, MAX_LEN) + 1;
        } else {
            wrong += !same(&all[i], &cut[i]);
        }
    }
    ok(wrong == 0 && stopped >= 2, "%d responses end at a stop string, the others are as without",
       (int)stopped);
    ok(inside > 0, "%d of the strings are not one token", (int)inside);
    ok(less < out, "and nothing is generated behind it");
    free_texts(all);
    free_texts(cut);
}

/* Requests that come while others are under way, with priorities, some of which are taken back. */
static void test_stream(void)
{
    int64_t order[N], differ = 0, back = 0, taken = 0;
    rd_gen_request want[N], got[N], *one;
    bool gone[N] = {false};
    for (int64_t i = 0; i < N; i++) order[i] = i;
    run(1, order, 1, want);
    rd_generator *gen = generator(6, MAX_LEN);
    rd_rng rng = rd_rng_make(4, "stream", 0, 0);
    int64_t added = 0;
    rd_generator_expect(gen, 20);
    for (;;) {
        for (int k = 0; k < 9 && added < N; k++, added++) {
            got[added] = request(added);
            got[added].priority = rd_rng_below(&rng, 70);
            if (rd_generator_add(gen, &got[added]) != RD_OK) rd_die("add");
        }
        if (rd_generator_next(gen, &one) != RD_OK) rd_die("%s", rd_error_get()->message);
        if (!one) break;
        back++;
        int64_t i = rd_rng_below(&rng, added); /* under way, waiting, ended or given back */
        if (!got[i].under_way || i % 3) continue;
        rd_generator_cancel(gen, &got[i]);
        gone[i] = true;
        taken++;
        ok(got[i].text == NULL, "a cancelled request has no text");
    }
    for (int64_t i = 0; i < N; i++) differ += !gone[i] && !same(&want[i], &got[i]);
    ok(differ == 0 && back + taken == N && taken > 3,
       "a stream of %d responses, %d taken back: %d differ", (int)back, (int)taken, (int)differ);
    rd_gen_counts c;
    rd_generator_counts(gen, &c);
    ok(c.calls > 0 && c.shared_tokens > 0 && c.under_way > 2 * c.calls, "%.1f side by side",
       (double)c.under_way / (double)c.calls);
    rd_generator_free(&gen);
    for (int64_t i = 0; i < N; i++)
        if (!gone[i]) rd_free(got[i].text);
    free_texts(want);
}

/* The same responses on any number of threads. */
static void test_threads(void)
{
    int64_t order[N], differ = 0;
    rd_gen_request want[N], got[N];
    for (int64_t i = 0; i < N; i++) order[i] = i;
    run(64, order, N, want);
    rd_threads_set(3);
    run(64, order, N, got);
    rd_threads_set(1);
    for (int64_t i = 0; i < N; i++) differ += !same(&want[i], &got[i]);
    is_i64(differ, 0, "three threads");
    free_texts(want);
    free_texts(got);
}

/* First tokens of many samples against the softmax of the reference logits. */
static void test_distribution(void)
{
    enum { DRAWS = 20000 };
    int64_t V = model->cfg.vocab, slot = 0, count;
    int32_t ids[4] = {RD_TOK_BOS};
    float *z = rd_new(float, V);
    double sum = 0, worst = 0, mean = 0, square = 0, got = 0, *p = rd_new(double, V),
           *seen = rd_new(double, V), T = 0.7;
    rd_kv *kv;
    rd_generator *gen = generator(256, MAX_LEN);
    rd_gen_request *r = rd_new(rd_gen_request, DRAWS);
    count = 1 + rd_tok_encode(tok, "the", 3, ids + 1, 3);
    if (rd_kv_create(model, 1, 8, 8, &kv) != RD_OK ||
        rd_model_extend(model, kv, 1, &slot, &count, ids, z) != RD_OK)
        rd_die("extend");
    for (int64_t v = RD_TOK_EOS; v < V; v++) sum += p[v] = exp(z[v] / T);
    /* PAD and BOS as likely as the likeliest token. */
    const rd_mat *head = &rd_model_param(model, "lm_head.weight")->w;
    int64_t top = RD_TOK_EOS;
    for (int64_t v = RD_TOK_EOS; v < V; v++) top = z[v] > z[top] ? v : top;
    for (int v = RD_TOK_PAD; v <= RD_TOK_BOS; v++)
        memcpy(head->a + v * head->ld, head->a + top * head->ld, (size_t)head->m * sizeof(float));
    for (int64_t i = 0; i < DRAWS; i++)
        r[i] =
            (rd_gen_request){.prompt = "the", .key = (uint64_t)i, .temperature = T, .max_new = 1};
    is_rc(rd_generate(gen, DRAWS, r), RD_OK, "many samples");
    for (int64_t i = 0; i < DRAWS; i++) {
        int32_t id = RD_TOK_EOS;
        if (*r[i].text) rd_tok_encode(tok, r[i].text, strlen(r[i].text), &id, 1);
        if (*r[i].text || !r[i].truncated) seen[id]++;
        rd_free(r[i].text);
    }
    for (int64_t v = 0; v < V; v++) {
        double want = DRAWS * p[v] / sum;
        double off = fabs(seen[v] - want) / sqrt(want + 1);
        if (off > worst) worst = off;
        mean += p[v] / sum * z[v];
        square += p[v] / sum * z[v] * z[v];
        got += seen[v] / DRAWS * z[v];
    }
    double sigma = sqrt((square - mean * mean) / DRAWS);
    ok(fabs(got - mean) < 4 * sigma, "the mean logit is %.3f, expected %.3f, sigma %.3f", got, mean,
       sigma);
    ok(seen[RD_TOK_PAD] + seen[RD_TOK_BOS] == 0, "PAD and BOS are not sampled");
    ok(worst < 4.5, "frequencies are those of the softmax, %.1f sigma at worst", worst);
    rd_free(r);
    rd_free(z);
    rd_free(p);
    rd_free(seen);
    rd_kv_free(&kv);
    rd_generator_free(&gen);
}

int main(int argc, char **argv)
{
    rd_grid *g;
    rd_test_begin(&argc, &argv);
    rd_grid_create(0, 1, 1, &g);
    tok = text_tok(60, false, PROMPTS, prompts);
    chat = text_chat(tok);
    model = text_model_varied(g, tok);
    test_greedy();
    test_independence();
    test_stream();
    test_stop();
    test_threads();
    test_distribution();
    test_limits(); /* spoils the weights */
    rd_model_free(&model);
    rd_chat_free(&chat);
    rd_tok_free(&tok);
    rd_grid_free(&g);
    return rd_test_end();
}
