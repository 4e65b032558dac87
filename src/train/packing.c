/* packing.c: which items make up a step, who computes them, and their packing into micro-batches.
 *
 * Every rank makes the same plan by itself: nothing is communicated.  Streams (one per kind and
 * family whose share is set) are permuted anew each epoch; the next item comes from the stream that
 * is furthest behind its share of the tokens. */
#include "train_impl.h"

#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- streams */

/* Share of class i of n; with no share set over the used ones, all are one class. */
static bool shares_set(const double *share, const bool *used, int n)
{
    for (int i = 0; i < n; i++)
        if (used[i] && share[i] > 0) return true;
    return false;
}

/* The stream with the items of this kind and family (-1: any); none if there are no such items. */
static void add_stream(train_plan *plan, const rd_corpus *c, int kind, int family, double share)
{
    int64_t n = 0;
    int64_t *members = rd_new(int64_t, c->n);
    for (int64_t i = 0; i < c->n; i++)
        if ((kind < 0 || c->kind[i] == kind) && (family < 0 || c->family[i] == family))
            members[n++] = i;
    if (n == 0 || !(share > 0)) {
        if (share > 0)
            rd_warn("no %s of kind %d, family %d for their share of the training tokens",
                    c->pairs ? "pairs" : "rows", kind, family);
        rd_free(members);
        return;
    }
    plan->stream[plan->n_streams++] = (plan_stream){
        .corpus = c, .members = members, .order = rd_new(int64_t, n), .n = n, .share = share};
}

/* Streams of one corpus, their shares adding up to weight. */
static void add_corpus(train_plan *plan, const rd_corpus *c, const rd_train_opts *o, double weight)
{
    int first = plan->n_streams;
    bool by_kind = !c->pairs && shares_set(o->share, o->kinds, RD_TRAIN_KINDS);
    bool by_family = shares_set(o->family_share, o->families, RD_TRAIN_FAMILIES);
    for (int k = 0; k < (by_kind ? RD_TRAIN_KINDS : 1); k++)
        for (int f = 0; f < (by_family ? RD_TRAIN_FAMILIES : 1); f++) {
            double kind_share = by_kind ? (o->kinds[k] ? o->share[k] : 0) : 1;
            double family_share = by_family ? (o->families[f] ? o->family_share[f] : 0) : 1;
            add_stream(plan, c, by_kind ? k : -1, by_family ? f : -1, kind_share * family_share);
        }
    double sum = 0;
    for (int i = first; i < plan->n_streams; i++) sum += plan->stream[i].share;
    for (int i = first; i < plan->n_streams; i++) plan->stream[i].share *= weight / sum;
}

static int64_t stream_tokens(const plan_stream *s)
{
    int64_t tokens = 0;
    for (int64_t i = 0; i < s->n; i++) tokens += s->corpus->tokens[s->members[i]];
    return tokens;
}

static void permute(train_plan *plan, int index)
{
    plan_stream *s = &plan->stream[index];
    rd_rng rng = rd_rng_make(plan->seed, s->corpus->pairs ? "pair order" : "row order",
                             (uint64_t)index, (uint64_t)s->epoch);
    memcpy(s->order, s->members, (size_t)s->n * sizeof(*s->order));
    rd_rng_shuffle(&rng, s->order, s->n);
    s->next = 0;
}

static plan_item take_item(train_plan *plan)
{
    int behind = 0;
    for (int i = 1; i < plan->n_streams; i++) {
        const plan_stream *a = &plan->stream[i], *b = &plan->stream[behind];
        if ((double)a->used / a->share < (double)b->used / b->share) behind = i;
    }
    plan_stream *s = &plan->stream[behind];
    if (s->next == s->n) {
        s->epoch++;
        permute(plan, behind);
    }
    int64_t row = s->order[s->next++];
    s->used += s->corpus->tokens[row];
    return (plan_item){.corpus = s->corpus, .row = row, .tokens = s->corpus->tokens[row]};
}

/* ---------------------------------------------------------------- the plan */

void plan_rewind(train_plan *plan)
{
    for (int i = 0; i < plan->n_streams; i++) {
        plan->stream[i].used = plan->stream[i].epoch = 0;
        permute(plan, i);
    }
    plan->step = plan->tokens = plan->rows = plan->pairs = plan->n_items = 0;
    plan->hash = 0;
}

static void count_targets(train_plan *plan, const plan_item *item)
{
    const rd_corpus *c = item->corpus;
    int64_t response = corpus_text_length(c, c->response[item->row]) + 1; /* and the end */
    if (!c->pairs) {
        plan->rows++;
        plan->row_targets += response;
        plan->row_prompts += corpus_text_length(c, c->prompt[item->row]) - 1;
        return;
    }
    plan->pairs++;
    plan->pair_count++;
    /* The prompt's first token follows from nothing. */
    plan->pair_targets += response + corpus_text_length(c, c->prompt[item->row]) - 1;
}

void plan_next(train_plan *plan)
{
    int64_t tokens = 0;
    plan->n_items = plan->row_targets = plan->row_prompts = 0;
    plan->pair_targets = plan->pair_count = 0;
    while (tokens < plan->batch_tokens && plan->tokens < plan->budget) {
        if (plan->n_items == plan->max_items) {
            /* Only while plan_create counts the steps: afterwards the largest step is known. */
            plan->max_items = plan->max_items ? 2 * plan->max_items : 64;
            rd_resize(plan->items, plan->max_items);
        }
        plan_item item = take_item(plan);
        plan->items[plan->n_items++] = item;
        const int64_t parts[] = {item.corpus->pairs, item.row, item.tokens};
        plan->hash = rd_hash(parts, sizeof(parts), plan->hash);
        tokens += item.tokens;
        plan->tokens += item.tokens;
        count_targets(plan, &item);
    }
    plan->step++;
}

void plan_seek(train_plan *plan, int64_t step)
{
    if (plan->step > step) plan_rewind(plan);
    while (plan->step < step) plan_next(plan);
}

/* The streams of both kinds of pairs, their shares adding up to weight. */
static int add_pairs(train_plan *plan, const rd_corpus *pairs, const rd_corpus *more,
                     const rd_train_opts *o, double weight)
{
    int rc = RD_OK;
    const double share = more != NULL ? o->more_share : 0;
    if (!(share >= 0 && share <= 1))
        RD_FAIL(RD_EINPUT, "%s: share of the other pairs: expected a number in 0 ... 1, got %g",
                o->stage, share);
    if (share < 1) add_corpus(plan, pairs, o, weight * (1 - share));
    const int first = plan->n_streams;
    if (share > 0) add_corpus(plan, more, o, weight * share);
    if (share < 1 && first == 0)
        RD_FAIL(RD_EINPUT, "%s: there is nothing to train on (no pairs)", o->stage);
    if (share > 0 && plan->n_streams == first)
        RD_FAIL(RD_EINPUT, "%s: there is nothing to train on (no pairs in %s)", o->stage,
                o->more_pairs);
done:
    return rc;
}

int plan_create(const rd_corpus *rows, const rd_corpus *pairs, const rd_corpus *more,
                const rd_train_opts *o, train_plan *plan)
{
    int rc = RD_OK;
    *plan = (train_plan){.seed = o->seed, .batch_tokens = o->batch_tokens};
    double rehearsal = pairs == NULL ? 1 : rows == NULL ? 0 : o->rehearsal;
    if (o->batch_tokens < 1)
        RD_FAIL(RD_EINPUT, "%s.batch_tokens: expected an integer >= 1, got %lld", o->stage,
                (long long)o->batch_tokens);
    if (!(rehearsal >= 0 && rehearsal <= 1))
        RD_FAIL(RD_EINPUT, "%s.rehearsal: expected a number in 0 ... 1, got %g", o->stage,
                rehearsal);
    if (pairs != NULL && rehearsal < 1) RD_TRY(add_pairs(plan, pairs, more, o, 1 - rehearsal));
    int n_pair_streams = plan->n_streams;
    if (rows != NULL && rehearsal > 0) add_corpus(plan, rows, o, rehearsal);
    if (plan->n_streams == 0)
        RD_FAIL(RD_EINPUT, "%s: there is nothing to train on (%s)", o->stage,
                pairs != NULL ? "no pairs" : "no rows of the wanted kinds and families");
    /* An epoch of preference optimisation is one over the pairs, with the rehearsal beside it. */
    int64_t epoch = 0;
    for (int i = 0; i < (n_pair_streams ? n_pair_streams : plan->n_streams); i++)
        epoch += stream_tokens(&plan->stream[i]);
    double whole = o->epochs * (double)epoch / (n_pair_streams ? 1 - rehearsal : 1);
    plan->budget = o->tokens > 0 ? o->tokens : (int64_t)(whole + 0.5);
    if (plan->budget < 1)
        RD_FAIL(RD_EINPUT, "%s: neither epochs nor tokens say how long to train", o->stage);
    plan_rewind(plan);
    while (plan->tokens < plan->budget) plan_next(plan);
    plan->steps = plan->step;
    plan_rewind(plan);
done:
    if (rc != RD_OK) plan_free(plan);
    return rc;
}

void plan_free(train_plan *plan)
{
    for (int i = 0; i < plan->n_streams; i++) {
        rd_free(plan->stream[i].members);
        rd_free(plan->stream[i].order);
    }
    rd_free(plan->items);
    *plan = (train_plan){0};
}

/* ---------------------------------------------------------------- dealing */

/* Part numbers with their bits reversed, ascending: 0 2 1 3 of four. */
static void scatter_order(int parts, int32_t *order)
{
    int bits = 0, n = 0;
    while (1 << bits < parts) bits++;
    for (int i = 0; i < 1 << bits; i++) {
        int part = 0;
        for (int b = 0; b < bits; b++) part |= (i >> b & 1) << (bits - 1 - b);
        if (part < parts) order[n++] = part;
    }
}

void deal_create(int parts, int64_t max_items, train_deal *d)
{
    *d = (train_deal){.parts = parts,
                      .key = rd_new(uint64_t, max_items),
                      .part = rd_new(int32_t, max_items),
                      .order = rd_new(int32_t, parts),
                      .list = rd_new(int64_t, max_items),
                      .load = rd_new(int64_t, parts),
                      .start = rd_new(int64_t, parts + 1)};
    scatter_order(parts, d->order);
}

void deal_free(train_deal *d)
{
    rd_free(d->key);
    rd_free(d->part);
    rd_free(d->order);
    rd_free(d->list);
    rd_free(d->load);
    rd_free(d->start);
    *d = (train_deal){0};
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void deal_items(train_deal *d, const plan_item *items, int64_t n)
{
    /* Ascending keys: long items first, equally long ones in the plan's order. */
    for (int64_t i = 0; i < n; i++)
        d->key[i] = (uint64_t)(UINT32_MAX - (uint32_t)items[i].tokens) << 32 | (uint64_t)i;
    qsort(d->key, (size_t)n, sizeof(*d->key), compare_keys);
    memset(d->load, 0, (size_t)d->parts * sizeof(*d->load));
    memset(d->start, 0, (size_t)(d->parts + 1) * sizeof(*d->start));
    for (int64_t i = 0; i < n; i++) {
        int least = d->order[0];
        for (int k = 1; k < d->parts; k++)
            if (d->load[d->order[k]] < d->load[least]) least = d->order[k];
        d->part[i] = least;
        d->load[least] += items[d->key[i] & UINT32_MAX].tokens;
        d->start[least + 1]++;
    }
    for (int p = 0; p < d->parts; p++) d->start[p + 1] += d->start[p];
    for (int64_t i = n - 1; i >= 0; i--) /* fill from the back; load is free to count down */
        d->list[--d->start[d->part[i] + 1]] = (int64_t)(d->key[i] & UINT32_MAX);
    /* Each start[p + 1] has come down to where part p begins. */
    for (int p = 0; p < d->parts; p++) d->start[p] = d->start[p + 1];
    d->start[d->parts] = n;
}

/* ---------------------------------------------------------------- micro-batches */

void micro_create(int64_t max_T, int64_t max_seq, micro_batch *m)
{
    *m = (micro_batch){.max_T = max_T,
                       .max_seq = max_seq,
                       .response = rd_new(int64_t, max_seq),
                       .role = rd_new(uint8_t, max_seq),
                       .coef = rd_new(float, max_T),
                       .logp = rd_new(double, max_T)};
    m->b.start = rd_new(int64_t, max_seq + 1);
    m->b.tokens = rd_new(int32_t, max_T);
    m->b.target = rd_new(int32_t, max_T);
}

void micro_free(micro_batch *m)
{
    rd_free(m->b.start);
    rd_free(m->b.tokens);
    rd_free(m->b.target);
    rd_free(m->response);
    rd_free(m->role);
    rd_free(m->coef);
    rd_free(m->logp);
    *m = (micro_batch){0};
}

void micro_clear(micro_batch *m)
{
    m->b.T = m->b.n_seq = 0;
    m->b.start[0] = 0;
}

/* Prompt and response as input; what follows each of them as target, the end after the last. */
static void add_sequence(micro_batch *m, const rd_corpus *c, int32_t prompt, int32_t response,
                         sequence_role role)
{
    rd_batch *b = &m->b;
    int64_t p = corpus_text_length(c, prompt), r = corpus_text_length(c, response);
    int32_t *tokens = b->tokens + b->T, *target = b->target + b->T;
    bool all = role == SEQUENCE_CHOSEN ? m->prompt_targets : role == SEQUENCE_ROW && m->row_prompts;
    corpus_copy_text(c, prompt, tokens);
    corpus_copy_text(c, response, tokens + p);
    for (int64_t t = 0; t + 1 < p + r; t++) target[t] = all || t + 1 >= p ? tokens[t + 1] : -1;
    target[p + r - 1] = c->end;
    m->role[b->n_seq] = (uint8_t)role;
    m->response[b->n_seq] = b->T + p - 1;
    b->T += p + r;
    b->start[++b->n_seq] = b->T;
}

bool micro_add(micro_batch *m, const plan_item *item)
{
    const rd_corpus *c = item->corpus;
    int64_t i = item->row;
    if (m->b.T + item->tokens > m->max_T || m->b.n_seq + (c->pairs ? 2 : 1) > m->max_seq)
        return false;
    add_sequence(m, c, c->prompt[i], c->response[i], c->pairs ? SEQUENCE_CHOSEN : SEQUENCE_ROW);
    if (c->pairs) add_sequence(m, c, c->prompt[i], c->rejected[i], SEQUENCE_REJECTED);
    return true;
}
