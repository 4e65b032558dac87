/* ranks: 1 */
/* Which items make up a step, how they are dealt and packed.  The plan and the deal know nothing of
 * ranks: equal steps on any number of them follow. */
#include "rd_test.h"
#include "train/train_impl.h"

/* n rows (or pairs) with lengths that depend on the number only; text i has ids 100 + i, prompts
 * behind BOS. */
static rd_corpus *make_corpus(int64_t n, bool pairs)
{
    rd_corpus *c = rd_new(rd_corpus, 1);
    rd_rng rng = rd_rng_make(7, "corpus", 0, 0);
    c->pairs = pairs;
    c->end = RD_TOK_EOS;
    c->n = n;
    c->prompt = rd_new(int32_t, n);
    c->response = rd_new(int32_t, n);
    c->rejected = rd_new(int32_t, n);
    c->tokens = rd_new(int32_t, n);
    c->kind = rd_new(uint8_t, n);
    c->family = rd_new(uint8_t, n);
    c->n_texts = 3 * n;
    c->offset = rd_new(int64_t, 3 * n + 1);
    for (int64_t i = 0; i < 3 * n; i++)
        c->offset[i + 1] = c->offset[i] + rd_rng_range(&rng, 1, 20) + (i % 3 == 0);
    c->narrow = rd_new(uint16_t, c->offset[3 * n]);
    for (int64_t i = 0; i < 3 * n; i++)
        for (int64_t k = c->offset[i]; k < c->offset[i + 1]; k++)
            c->narrow[k] = (uint16_t)(i % 3 == 0 && k == c->offset[i] ? RD_TOK_BOS : 100 + i);
    for (int64_t i = 0; i < n; i++) {
        c->prompt[i] = (int32_t)(3 * i);
        c->response[i] = (int32_t)(3 * i + 1);
        c->rejected[i] = (int32_t)(3 * i + 2);
        int64_t p = corpus_text_length(c, c->prompt[i]);
        int64_t tokens = p + corpus_text_length(c, c->response[i]);
        if (pairs) tokens += p + corpus_text_length(c, c->rejected[i]);
        c->tokens[i] = (int32_t)tokens;
        c->kind[i] = pairs ? 0 : (uint8_t)(i % 2);
        c->family[i] = (uint8_t)(i % 3 == 0);
        c->total += tokens;
    }
    return c;
}

static rd_train_opts options(void)
{
    rd_train_opts o;
    rd_train_defaults(&o);
    for (int k = 0; k < RD_TRAIN_KINDS; k++) o.share[k] = 0;
    o.epochs = 3;
    o.batch_tokens = 300;
    return o;
}

static void test_epochs(void)
{
    rd_corpus *c = make_corpus(101, false);
    rd_train_opts o = options();
    train_plan plan;
    int64_t *order = rd_new(int64_t, 303), n = 0, late = 0, wrong = 0, same = 0;
    is_rc(plan_create(c, NULL, NULL, &o, &plan), RD_OK, "plan");
    for (int64_t s = 0; s < plan.steps; s++) {
        plan_next(&plan);
        int64_t tokens = 0, targets = 0;
        for (int64_t i = 0; i < plan.n_items; i++) {
            late += tokens >= o.batch_tokens;
            tokens += plan.items[i].tokens;
            targets += corpus_text_length(c, c->response[plan.items[i].row]) + 1;
            if (n < 303) order[n++] = plan.items[i].row;
        }
        late += tokens < o.batch_tokens && s < plan.steps - 1;
        wrong += targets != plan.row_targets;
    }
    is_i64(plan.rows, 303, "three epochs of 101 rows");
    is_i64(plan.tokens, 3 * c->total, "and of their tokens");
    is_i64(late, 0, "a step ends with the row that reaches batch_tokens");
    is_i64(wrong, 0, "targets are counted with EOS");
    for (int e = 0; e < 3; e++) {
        int64_t seen[101] = {0};
        for (int64_t i = 0; i < 101; i++) seen[order[e * 101 + i]]++;
        wrong = 0;
        for (int64_t i = 0; i < 101; i++) wrong += seen[i] != 1;
        is_i64(wrong, 0, "every row once per epoch");
    }
    for (int64_t i = 0; i < 101; i++) same += order[i] == order[101 + i];
    ok(same < 10, "a new permutation each epoch (%d rows in place)", (int)same);

    plan_rewind(&plan);
    n = wrong = 0;
    for (int64_t s = 0; s < plan.steps; s++) {
        plan_next(&plan);
        for (int64_t i = 0; i < plan.n_items; i++) wrong += order[n++] != plan.items[i].row;
    }
    is_i64(wrong, 0, "replayed from the start, the same steps");
    plan_free(&plan);
    o.seed = 2;
    is_rc(plan_create(c, NULL, NULL, &o, &plan), RD_OK, "plan of another seed");
    plan_next(&plan);
    ok(plan.items[0].row != order[0] || plan.items[1].row != order[1], "another order");
    plan_free(&plan);
    o.batch_tokens = 0;
    is_rc(plan_create(c, NULL, NULL, &o, &plan), RD_EINPUT, "batches of nothing are refused");
    rd_free(order);
    rd_corpus_free(&c);
}

static void test_shares(void)
{
    rd_corpus *rows = make_corpus(200, false), *pairs = make_corpus(50, true);
    rd_train_opts o = options();
    train_plan plan;
    double used[RD_TRAIN_KINDS][2] = {{0}}, pair_tokens = 0, all = 0;
    o.share[0] = 3, o.share[1] = 1;
    o.family_share[0] = 1, o.family_share[1] = 1;
    o.families[2] = o.families[3] = false;
    o.tokens = 60000;
    o.rehearsal = 0.2;
    is_rc(plan_create(rows, pairs, NULL, &o, &plan), RD_OK, "plan of rows and pairs");
    for (int64_t s = 0; s < plan.steps; s++) {
        plan_next(&plan);
        for (int64_t i = 0; i < plan.n_items; i++) {
            const plan_item *x = &plan.items[i];
            double n = (double)x->tokens;
            all += n;
            if (x->corpus->pairs)
                pair_tokens += n;
            else
                used[x->corpus->kind[x->row]][x->corpus->family[x->row]] += n;
        }
    }
    ok(all >= 60000 && all < 60000 + 2 * 80, "the token budget is kept (%.0f)", all);
    near_f64(pair_tokens / all, 0.8, 2e-3, "share of pairs");
    near_f64(used[0][0] / all, 0.2 * 0.75 * 0.5, 2e-3, "kind 0, family 0");
    near_f64(used[1][1] / all, 0.2 * 0.25 * 0.5, 2e-3, "kind 1, family 1");
    plan_free(&plan);
    rd_corpus_free(&rows);
    rd_corpus_free(&pairs);
}

/* Pairs of two files: each its share of the pairs' tokens, whatever their numbers. */
static void test_two_kinds_of_pairs(void)
{
    rd_corpus *rows = make_corpus(200, false), *pairs = make_corpus(50, true);
    rd_corpus *more = make_corpus(7, true);
    rd_train_opts o = options();
    train_plan plan;
    double tokens[3] = {0}, all = 0;
    o.tokens = 60000;
    o.rehearsal = 0.2;
    o.more_pairs = "more.h5";
    o.more_share = 0.25;
    is_rc(plan_create(rows, pairs, more, &o, &plan), RD_OK, "plan of rows and two kinds of pairs");
    for (int64_t s = 0; s < plan.steps; s++) {
        plan_next(&plan);
        for (int64_t i = 0; i < plan.n_items; i++) {
            const plan_item *x = &plan.items[i];
            tokens[x->corpus == rows ? 0 : x->corpus == pairs ? 1 : 2] += (double)x->tokens;
            all += (double)x->tokens;
        }
    }
    near_f64(tokens[0] / all, 0.2, 2e-3, "share of rows");
    near_f64(tokens[1] / all, 0.8 * 0.75, 2e-3, "share of the first pairs");
    near_f64(tokens[2] / all, 0.8 * 0.25, 2e-3, "share of the others");
    plan_free(&plan);
    o.tokens = 0;
    o.epochs = 2;
    o.rehearsal = 0;
    is_rc(plan_create(NULL, pairs, more, &o, &plan), RD_OK, "by epochs");
    ok(plan.steps >= 2 * (pairs->total + more->total) / (o.batch_tokens + pairs->longest_item),
       "an epoch has the tokens of both");
    plan_free(&plan);
    more->n = 0;
    const int rc = plan_create(NULL, pairs, more, &o, &plan);
    ok(rc == RD_EINPUT && strstr(rd_error_get()->message, "no pairs in more.h5") != NULL,
       "none of one kind: %s", rd_error_get()->message);
    rd_error_clear();
    more->n = 7;
    pairs->n = 0;
    is_rc(plan_create(rows, pairs, more, &o, &plan), RD_EINPUT, "none of the other");
    rd_corpus_free(&rows);
    rd_corpus_free(&pairs);
    rd_corpus_free(&more);
}

static void test_deal(void)
{
    rd_corpus *c = make_corpus(200, false);
    plan_item items[90];
    train_deal d;
    int64_t total = 0;
    for (int64_t i = 0; i < 90; i++) {
        items[i] = (plan_item){.corpus = c, .row = i, .tokens = c->tokens[i]};
        total += items[i].tokens;
    }
    for (int parts = 1; parts <= 4; parts++) {
        int64_t seen[90] = {0}, wrong = 0, low = INT64_MAX, high = 0;
        deal_create(parts, 90, &d);
        deal_items(&d, items, 90);
        for (int p = 0; p < parts; p++) {
            int64_t load = 0;
            for (int64_t i = d.start[p]; i < d.start[p + 1]; i++) {
                seen[d.list[i]]++;
                load += items[d.list[i]].tokens;
            }
            wrong += load != d.load[p];
            low = load < low ? load : low;
            high = load > high ? load : high;
        }
        for (int64_t i = 0; i < 90; i++) wrong += seen[i] != 1;
        is_i64(wrong, 0, "every item is dealt once");
        ok(high - low <= 3, "%d parts of %d tokens: %d to %d", parts, (int)total, (int)low,
           (int)high);
        deal_items(&d, items, 2); /* fewer items than parts */
        is_i64(d.start[parts], 2, "two items");
        deal_free(&d);
    }
    /* Replicas compute blocks of parts: each has work as soon as there are as many items. */
    for (int parts = 2; parts <= 8; parts *= 2)
        for (int replicas = 2; replicas <= parts; replicas *= 2) {
            int64_t idle = 0, block = parts / replicas;
            deal_create(parts, 90, &d);
            deal_items(&d, items, replicas);
            for (int r = 0; r < replicas; r++)
                idle += d.start[(r + 1) * block] == d.start[r * block];
            ok(idle == 0, "%d items in %d parts: none of %d replicas is idle", replicas, parts,
               replicas);
            deal_free(&d);
        }
    deal_create(3, 90, &d);
    deal_items(&d, items, 3);
    ok(d.start[1] == 1 && d.start[2] == 2, "three items in three parts: one each");
    deal_free(&d);
    rd_corpus_free(&c);
}

static void test_micro(void)
{
    rd_corpus *c = make_corpus(10, true), *rows = make_corpus(10, false);
    micro_batch m;
    int64_t wrong = 0;
    micro_create(200, 8, &m);
    micro_clear(&m);
    plan_item pair = {.corpus = c, .row = 4, .tokens = c->tokens[4]};
    plan_item row = {.corpus = rows, .row = 3, .tokens = rows->tokens[3]};
    ok(micro_add(&m, &pair) && micro_add(&m, &row), "a pair and a row fit");
    is_i64(m.b.n_seq, 3, "three sequences");
    is_i64(m.b.T, pair.tokens + row.tokens, "of as many tokens as were counted");
    int64_t p = corpus_text_length(c, 12) - 1, r = corpus_text_length(c, 13);
    const int32_t *token = m.b.tokens, *target = m.b.target;
    wrong += token[0] != RD_TOK_BOS || token[1] != 112 || token[p] != 112 || token[p + 1] != 113 ||
             token[p + r] != 113 || token[p + r + 1] != RD_TOK_BOS;
    is_i64(wrong, 0, "BOS, prompt, response");
    for (int64_t t = 0; t < p; t++) wrong += target[t] != -1;
    for (int64_t t = p; t < p + r; t++) wrong += target[t] != 113;
    wrong += target[p + r] != RD_TOK_EOS || m.response[0] != p;
    is_i64(wrong, 0, "targets: the response and EOS");
    while (micro_add(&m, &row)) wrong++;
    ok(m.b.T <= 200 && m.b.n_seq <= 8 && wrong > 0, "it never overflows (%d tokens)", (int)m.b.T);
    m.prompt_targets = true;
    micro_clear(&m);
    micro_add(&m, &pair);
    is_i64(target[0], 112, "with prompt targets BOS predicts the prompt");
    is_i64(m.b.target[m.b.start[1]], -1, "but not in a rejected sequence");
    micro_free(&m);
    rd_corpus_free(&c);
    rd_corpus_free(&rows);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_epochs();
    test_shares();
    test_two_kinds_of_pairs();
    test_deal();
    test_micro();
    return rd_test_end();
}
