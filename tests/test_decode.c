/* ranks: 1 */
/* The key-value cache: extend gives the logits of the full forward pass, forks and truncation, and
 * results that do not depend on the batch or on the split into calls, bit for bit. */
#include "rd_test.h"
#include "tiny_model.h"

enum { V = 19, SLOTS = 9, MAX_LEN = 40, LEN = 37 };

typedef struct bed {
    rd_model *model;
    rd_kv *kv;
    rd_batch b;         /* SLOTS sequences of LEN tokens */
    float *full;        /* V x (SLOTS * LEN) from the training pass */
    float z[V * SLOTS]; /* of the last call */
} bed;

/* Append tokens [from, to) of sequence s to a slot. */
static int append(bed *t, int64_t slot, int64_t s, int64_t from, int64_t to)
{
    int64_t count = to - from;
    return rd_model_extend(t->model, t->kv, 1, &slot, &count, t->b.tokens + s * LEN + from, t->z);
}

static double off(const bed *t, const float *z, int64_t s, int64_t position)
{
    const float *want = t->full + (s * LEN + position) * V;
    double worst = 0;
    for (int i = 0; i < V; i++) {
        double d = fabs((double)z[i] - want[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

static void test_single(bed *t)
{
    double worst = 0;
    for (int64_t i = 0; i < LEN; i++) {
        append(t, 3, 3, i, i + 1);
        worst = fmax(worst, off(t, t->z, 3, i));
    }
    ok(worst < 5e-6, "token by token = full forward (%.1e)", worst);
    float by_token[V];
    memcpy(by_token, t->z, sizeof(by_token));
    rd_kv_truncate(t->kv, 3, 0);
    append(t, 3, 3, 0, 5);
    append(t, 3, 3, 5, LEN);
    ok(memcmp(by_token, t->z, sizeof(by_token)) == 0, "in two calls: the same bits");
    is_i64(rd_kv_length(t->kv, 3), LEN, "length");
}

/* Slots at different places, each call a mixture of prefill and decoding, in an order of its own.
 */
static void test_mixed(bed *t)
{
    int64_t at[SLOTS] = {0}, slot[SLOTS], count[SLOTS];
    int32_t tokens[SLOTS * LEN];
    rd_rng r = rd_rng_make(6, "mixed", 0, 0);
    double worst = 0;
    float last[V * SLOTS];
    for (int64_t s = 0; s < SLOTS; s++) rd_kv_truncate(t->kv, s, 0);
    for (;;) {
        int64_t n = 0, T = 0, order[SLOTS];
        for (int64_t s = 0; s < SLOTS; s++) order[s] = s;
        rd_rng_shuffle(&r, order, SLOTS);
        for (int64_t i = 0; i < SLOTS; i++) {
            int64_t s = order[i], left = LEN - at[s];
            if (left == 0 || rd_rng_chance(&r, 0.3)) continue;
            slot[n] = s;
            count[n] = rd_rng_chance(&r, 0.6) ? 1 : rd_rng_range(&r, 1, left);
            memcpy(tokens + T, t->b.tokens + s * LEN + at[s], (size_t)count[n] * sizeof(int32_t));
            at[s] += count[n];
            T += count[n++];
        }
        rd_mem_guard("extend");
        if (rd_model_extend(t->model, t->kv, n, slot, count, tokens, t->z) != RD_OK) worst = NAN;
        rd_mem_guard(NULL);
        for (int64_t i = 0; i < n; i++) {
            worst = fmax(worst, off(t, t->z + i * V, slot[i], at[slot[i]] - 1));
            memcpy(last + slot[i] * V, t->z + i * V, V * sizeof(float));
        }
        int64_t done = 0;
        for (int64_t s = 0; s < SLOTS; s++) done += at[s] == LEN;
        if (done == SLOTS) break;
    }
    ok(worst < 5e-6, "mixed prefill and decoding = full forward (%.1e)", worst);
    int same = 0;
    for (int64_t s = 0; s < SLOTS; s++) {
        rd_kv_truncate(t->kv, 0, 0);
        append(t, 0, s, 0, LEN);
        same += memcmp(last + s * V, t->z, V * sizeof(float)) == 0;
    }
    is_i64(same, SLOTS, "a sequence alone in its batch has the same bits");
}

static void test_fork(bed *t)
{
    float want[V];
    rd_kv_truncate(t->kv, 1, 0);
    append(t, 1, 1, 0, LEN);
    memcpy(want, t->z, sizeof(want));
    rd_kv_fork(t->kv, 1, 7, 18);
    is_i64(rd_kv_length(t->kv, 7), 18, "a fork has the length asked for");
    append(t, 7, 2, 0, 4); /* goes its own way … */
    rd_kv_truncate(t->kv, 7, 18);
    append(t, 7, 1, 18, LEN); /* … and back */
    ok(memcmp(want, t->z, sizeof(want)) == 0, "continuing a fork = continuing the original");
    rd_kv_truncate(t->kv, 1, 20);
    rd_kv_truncate(t->kv, 1, 30);
    is_i64(rd_kv_length(t->kv, 1), 20, "truncation never lengthens");
    append(t, 1, 1, 20, LEN);
    ok(memcmp(want, t->z, sizeof(want)) == 0, "the original is untouched by its fork");
}

/* All sequences in one call, and then token by token. */
static void feed(bed *t, rd_kv *kv, float *z, float *z_next)
{
    int64_t slot[SLOTS], count[SLOTS], one[SLOTS];
    int32_t tokens[SLOTS * LEN], next[SLOTS];
    for (int64_t s = 0; s < SLOTS; s++) {
        slot[s] = s;
        count[s] = LEN - 1;
        one[s] = 1;
        memcpy(tokens + s * (LEN - 1), t->b.tokens + s * LEN, (LEN - 1) * sizeof(int32_t));
        next[s] = t->b.tokens[s * LEN + LEN - 1];
        rd_kv_truncate(kv, s, 0);
    }
    if (rd_model_extend(t->model, kv, SLOTS, slot, count, tokens, z) != RD_OK ||
        rd_model_extend(t->model, kv, SLOTS, slot, one, next, z_next) != RD_OK)
        rd_die("%s", rd_error_get()->message);
}

static void test_all(bed *t)
{
    float one[V], *z = rd_new(float, V *LEN);
    int same = 0;
    rd_kv_truncate(t->kv, 2, 0);
    is_rc(rd_model_extend_all(t->model, t->kv, 2, 5, t->b.tokens, z), RD_OK, "all logits");
    rd_model_extend_all(t->model, t->kv, 2, LEN - 5, t->b.tokens + 5, z + 5 * V);
    rd_kv_truncate(t->kv, 2, 0);
    for (int64_t i = 0; i < LEN; i++) {
        append(t, 2, 0, i, i + 1);
        memcpy(one, t->z, sizeof one);
        same += memcmp(one, z + i * V, sizeof one) == 0;
    }
    is_i64(same, LEN, "of all tokens of a call: the bits of one after the other");
    rd_free(z);
}

static void test_threads(bed *t)
{
    float want[2][V * SLOTS], got[2][V * SLOTS];
    feed(t, t->kv, want[0], want[1]);
    for (int n = 2; n <= 5; n += 3) {
        rd_kv *kv;
        rd_threads_set(n);
        if (rd_kv_create(t->model, SLOTS, MAX_LEN, SLOTS * LEN, &kv) != RD_OK) rd_die("cache");
        int same = 0;
        for (int i = 0; i < 50; i++) {
            feed(t, kv, got[0], got[1]);
            same += memcmp(want, got, sizeof want) == 0;
        }
        is_i64(same, 50, "threads change no bit");
        rd_threads_set(1);
        feed(t, kv, got[0], got[1]);
        ok(memcmp(want, got, sizeof want) == 0, "fewer threads than the cache was made for");
        rd_kv_free(&kv);
    }
}

/* A pool that has room for one sequence and a little more: forks share its blocks. */
static void test_pool(bed *t)
{
    enum { BLOCK = 16 };
    rd_kv *kv, *own = t->kv;
    float want[V];
    int64_t slot[2] = {5, 6}, count[2] = {LEN, 1};
    rd_kv_truncate(t->kv, 1, 0);
    append(t, 1, 1, 0, LEN);
    memcpy(want, t->z, sizeof want);
    is_rc(rd_kv_create_pooled(t->model, SLOTS, MAX_LEN, LEN, 4 * BLOCK, &kv), RD_OK, "pooled");
    t->kv = kv;
    append(t, 0, 1, 0, LEN - 1); /* 36 tokens: three blocks of four */
    for (int64_t s = 1; s < SLOTS; s++) rd_kv_fork(kv, 0, s, LEN - 1);
    ok(!rd_kv_fits(kv, 1, slot, count), "not another sequence");
    ok(rd_kv_fits(kv, 1, slot, count + 1), "a token more costs a copy of the last block");
    count[0] = 1;
    ok(!rd_kv_fits(kv, 2, slot, count), "and two of them two");
    is_rc(rd_model_extend(t->model, kv, 2, slot, count, t->b.tokens, t->z), RD_EINTERNAL, "full");
    is_i64(rd_kv_length(kv, 5), LEN - 1, "nothing was appended");
    append(t, 5, 2, 0, 1); /* another token: not the origin's */
    for (int64_t s = SLOTS - 1; s > 0; s--) rd_kv_truncate(kv, s, s == 3 ? 20 : 0);
    append(t, 0, 1, LEN - 1, LEN);
    ok(memcmp(want, t->z, sizeof want) == 0, "who shares sees nothing of the others' tokens");
    rd_kv_truncate(kv, 0, 0);
    append(t, 3, 1, 20, LEN);
    ok(memcmp(want, t->z, sizeof want) == 0, "what is left of a fork outlives its origin");
    rd_kv_truncate(kv, 3, 0);
    count[0] = MAX_LEN, count[1] = BLOCK;
    ok(rd_kv_fits(kv, 2, slot, count), "all blocks came back");
    rd_kv_free(&kv);
    t->kv = own;
}

static void test_refusals(bed *t)
{
    int64_t slot[2] = {2, 2}, one[2] = {1, 1}, before = rd_kv_length(t->kv, 2);
    rd_kv_truncate(t->kv, 4, 0);
    is_rc(rd_model_extend(t->model, t->kv, 2, slot, one, t->b.tokens, t->z), RD_EINTERNAL,
          "a slot named twice");
    is_i64(rd_kv_length(t->kv, 2), before, "nothing was appended");
    slot[0] = SLOTS;
    is_rc(rd_model_extend(t->model, t->kv, 1, slot, one, t->b.tokens, t->z), RD_EINTERNAL,
          "no slot");
    append(t, 4, 4, 0, LEN);
    is_rc(append(t, 4, 4, 0, 4), RD_EINTERNAL, "a sequence beyond max_len");
    is_rc(rd_model_extend(t->model, t->kv, 0, slot, one, NULL, t->z), RD_OK, "an empty call");
}

static void test_model(const rd_grid *g, const rd_model_config *c)
{
    rd_work *work;
    bed t;
    int64_t lengths[SLOTS];
    t.model = tiny_model_of(g, c, false);
    for (int i = 0; i < SLOTS; i++) lengths[i] = LEN;
    t.b = tiny_batch(SLOTS, lengths, 3);
    t.full = rd_new(float, V *t.b.T);
    rd_work_create(t.model, t.b.T, LEN, &work);
    rd_batch all = t.b;
    all.target = NULL;
    rd_model_fwd(t.model, work, &all);
    rd_model_logits(t.model, work, &all, t.full);
    is_rc(rd_kv_create(t.model, SLOTS, MAX_LEN, SLOTS * LEN, &t.kv), RD_OK, "cache");
    test_single(&t);
    test_mixed(&t);
    test_fork(&t);
    test_all(&t);
    test_threads(&t);
    test_pool(&t);
    test_refusals(&t);
    rd_kv_free(&t.kv);
    rd_free(t.full);
    tiny_batch_free(&t.b);
    rd_work_free(&work);
    rd_model_free(&t.model);
}

int main(int argc, char **argv)
{
    rd_grid *g;
    rd_test_begin(&argc, &argv);
    rd_grid_create(0, 1, 1, &g);
    rd_model_config plain = tiny_config(false), rich = tiny_config_rich(true);
    test_model(g, &plain);
    test_model(g, &rich);
    rd_grid_free(&g);
    return rd_test_end();
}
