/* loop.c: the runs.  One step is
 *
 *   plan          the step's items, the same on every rank
 *   shards        the items dealt to a fixed number of shards, and these to the replicas
 *   passes        per shard: micro-batches forward, head, backward
 *   gradients     summed over the replicas; what is final travels while the last pass goes on
 *   sums          one all-reduce of the shards' losses with the stop request and failures
 *   update
 *
 * Gradients are added up in a binary tree over the shards, within a rank and between ranks, so
 * that the bits of a run do not depend on how many ranks share the shards (train.h: shards).
 *
 * A rank that fails in its passes still takes part in the sum of gradients, with whatever it has:
 * that the others' messages find their way comes first, and who failed is said right after. */
#include "train_impl.h"

#include <math.h>
#include <string.h>

enum { MAX_SHARDS = 4096, MAX_LEVELS = 13 };
enum { CLOCK_FORWARD, CLOCK_HEAD, CLOCK_BACKWARD, CLOCK_ALLREDUCE, CLOCK_OPTIMIZER, CLOCK_SAVE };
static const char *const clock_names[2][6] = {
    {"sft.forward", "sft.head", "sft.backward", "sft.allreduce", "sft.optimizer", "sft.checkpoint"},
    {"align.forward", "align.head", "align.backward", "align.allreduce", "align.optimizer",
     "align.checkpoint"}};

typedef struct train_run {
    const rd_grid *g;
    rd_model *model;
    const rd_train_opts *o;
    const char *const *clock;
    rd_corpus *rows, *pairs, *more; /* more: pairs of another file */
    train_plan plan;
    train_deal deal;
    micro_batch micro;
    rd_work *work;
    rd_optim *opt;
    objective f;
    int shards, first_shard, end_shard; /* this replica computes [first, end) */
    float *level[MAX_LEVELS];           /* partial sums of gradients, by the tree's level */
    uint32_t waiting;                   /* levels that hold one */
    rd_flow *flow;                      /* of gradients over replicas, in this step */
    int64_t whole_from;                 /* from here on they are the replica's sum */
    int64_t micro_index;                /* micro-batches of the shard so far */
    double *sums;                       /* [shards][OBJECTIVE_SUMS], then stop, failed */
    train_files files;
    train_metrics metrics;
    train_state state;
    double longest_step, longest_save; /* seconds */
} train_run;

void rd_train_defaults(rd_train_opts *o)
{
    *o = (rd_train_opts){.kinds = {true, true, false},
                         .share = {0.5, 0.5, 0},
                         .families = {true, true, true, true},
                         .epochs = 4,
                         .batch_tokens = 2048,
                         .micro_tokens = 2048,
                         .max_len = 512,
                         .shards = 4,
                         .overlap = true,
                         .seed = 1,
                         .variant = RD_ORPO_RESPONSE,
                         .lambda = 0.1,
                         .stage = "sft",
                         .dir = "."};
    rd_optim_defaults(&o->optim);
}

/* ---------------------------------------------------------------- preparing */

static int check_opts(const rd_train_opts *o)
{
    int rc = RD_OK;
    if (o->micro_tokens < 1 || o->max_len < 2)
        RD_FAIL(RD_EINPUT, "%s: micro_tokens %lld, max_len %lld: too small", o->stage,
                (long long)o->micro_tokens, (long long)o->max_len);
    if (o->shards < 1 || o->shards > MAX_SHARDS)
        RD_FAIL(RD_EINPUT, "%s.shards: expected an integer in 1 ... %d, got %lld", o->stage,
                MAX_SHARDS, (long long)o->shards);
    if (!(o->branch_at >= 0 && o->branch_at <= 1))
        RD_FAIL(RD_EINPUT, "%s: branch_at: expected a number in 0 ... 1, got %g", o->stage,
                o->branch_at);
    if (!(o->prompt_weight >= 0 && o->prompt_weight <= 1))
        RD_FAIL(RD_EINPUT, "%s.prompt_weight: expected a number in 0 ... 1, got %g", o->stage,
                o->prompt_weight);
    if (!(o->lambda >= 0))
        RD_FAIL(RD_EINPUT, "%s.lambda: expected a number >= 0, got %g", o->stage, o->lambda);
done:
    return rc;
}

/* Buffers for the partial sums of n shards: one per bit of n - 1. */
static void make_levels(train_run *r, int64_t n)
{
    for (int l = 0; n > 1 && (n - 1) >> l; l++)
        r->level[l] = rd_new(float, r->model->trained->storage);
}

/* How the shards of a step are dealt to replicas. */
static void deal_shards(train_run *r)
{
    int data = r->g->data;
    r->shards = r->o->shards % data == 0 ? (int)r->o->shards : data;
    r->first_shard = r->shards / data * r->g->my_data;
    r->end_shard = r->shards / data * (r->g->my_data + 1);
}

/* Tokens of a micro-batch: no more than a step's, nor less than the longest item. */
static int64_t largest_micro(const rd_train_opts *o, int64_t longest_item)
{
    int64_t most = o->batch_tokens + longest_item;
    int64_t max_T = o->micro_tokens < most ? o->micro_tokens : most;
    return max_T < longest_item ? longest_item : max_T;
}

static void make_batch(train_run *r, int64_t max_items, int64_t max_T, bool pairs)
{
    r->sums = rd_new(double, r->shards *OBJECTIVE_SUMS + 2);
    deal_create(r->shards, max_items, &r->deal);
    micro_create(max_T, 2 * max_items, &r->micro);
    r->micro.prompt_targets = pairs && r->o->variant == RD_ORPO_FULL;
    r->micro.row_prompts = r->o->prompt_weight > 0;
}

/* Everything a step needs, sized from the plan: the steps themselves allocate nothing. */
static int prepare(train_run *r)
{
    int rc = RD_OK;
    const rd_train_opts *o = r->o;
    int64_t longest_item = 0, longest = 0;
    const rd_corpus *const all[] = {r->rows, r->pairs, r->more};
    RD_TRY(plan_create(r->rows, r->pairs, r->more, o, &r->plan));
    for (int i = 0; i < 3; i++) {
        const rd_corpus *c = all[i];
        if (c == NULL) continue;
        if (c->longest_item > longest_item) longest_item = c->longest_item;
        if (c->longest_sequence > longest) longest = c->longest_sequence;
        r->state.over_long += c->over_long;
        r->state.empty += c->empty;
    }
    if (r->state.over_long > 0)
        rd_warn("%s: %lld rows or pairs are longer than max_len (%lld tokens) and are left out",
                o->stage, (long long)r->state.over_long, (long long)o->max_len);
    if (r->state.empty > 0)
        rd_warn("%s: %lld rows or pairs with an empty text are left out", o->stage,
                (long long)r->state.empty);
    deal_shards(r);
    make_levels(r, r->end_shard - r->first_shard);
    int64_t max_T = largest_micro(o, longest_item);
    make_batch(r, r->plan.max_items, max_T, r->pairs != NULL);
    r->model->recompute = o->recompute;
    RD_TRY(rd_work_create(r->model, max_T, longest, &r->work));
    RD_TRY(rd_optim_create(r->model, &o->optim, r->plan.steps, &r->opt));
    r->state.steps = r->plan.steps;
    r->state.seed = (int64_t)o->seed;
done:
    return rc;
}

/* ---------------------------------------------------------------- passes */

/* Log-probabilities, loss sums and the head's gradient. */
static int run_head(train_run *r, double *sums)
{
    int rc = RD_OK;
    micro_batch *m = &r->micro;
    if (objective_needs_logp(m)) RD_TRY(rd_model_head(r->model, r->work, &m->b, NULL, m->logp));
    objective_coef(&r->f, m);
    RD_TRY(rd_model_head(r->model, r->work, &m->b, m->coef, m->logp));
    objective_add(&r->f, m, sums);
done:
    return rc;
}

/* The masks of an adapter's dropout, another for each micro-batch of the run. */
static void set_masks(train_run *r, int shard)
{
    uint64_t seed = rd_hash_str(r->o->stage, r->o->seed);
    uint64_t place = (uint64_t)shard << 32 | (uint64_t)r->micro_index++;
    rd_model_dropout(r->model, rd_rng_make(seed, "masks", (uint64_t)r->state.step, place).key | 1);
}

static int run_micro(train_run *r, int shard, double *sums)
{
    int rc = RD_OK;
    micro_batch *m = &r->micro;
    if (m->b.T == 0) return RD_OK;
    set_masks(r, shard);
    rd_clock_begin(r->clock[CLOCK_FORWARD]);
    rc = rd_model_fwd(r->model, r->work, &m->b);
    rd_clock_end(r->clock[CLOCK_FORWARD]);
    RD_TRY(rc);
    rd_clock_begin(r->clock[CLOCK_HEAD]);
    rc = run_head(r, sums);
    rd_clock_end(r->clock[CLOCK_HEAD]);
    RD_TRY(rc);
    rd_clock_begin(r->clock[CLOCK_BACKWARD]);
    rc = rd_model_bwd(r->model, r->work, &m->b);
    rd_clock_end(r->clock[CLOCK_BACKWARD]);
    RD_TRY(rc);
    micro_clear(m);
done:
    return rc;
}

/* y = x + up to MAX_LEVELS others, in their order; then x is zeroed, unless it is y. */
RD_CLONES
static void add_levels(int n, const float *const *level, int64_t from, int64_t count, float *x,
                       float *y)
{
    enum { PIECE = 1024 };
    float sum[PIECE];
    for (int64_t at = from; at < from + count; at += PIECE) {
        int64_t m = from + count - at < PIECE ? from + count - at : PIECE;
        memcpy(sum, x + at, (size_t)m * sizeof(float));
        for (int l = 0; l < n; l++) {
            const float *add = level[l] + at;
            for (int64_t i = 0; i < m; i++) sum[i] += add[i];
        }
        memcpy(y + at, sum, (size_t)m * sizeof(float));
        if (x != y) memset(x + at, 0, (size_t)m * sizeof(float));
    }
}

/* The same, shared by the threads. */
static void add_levels_all(int n, const float *const *level, int64_t from, int64_t count, float *x,
                           float *y)
{
    enum { BLOCK = 1 << 16 };
#pragma omp parallel for num_threads(rd_threads()) schedule(static) if (count > BLOCK)
    for (int64_t at = 0; at < count; at += BLOCK)
        add_levels(n, level, from + at, count - at < BLOCK ? count - at : BLOCK, x, y);
}

/* The model's gradients are those of this replica's shard, which is not the last: carry them up the
 * tree like a binary counter.  They are zero afterwards. */
static void fold_gradients(train_run *r)
{
    const rd_params *p = r->model->trained;
    const float *full[MAX_LEVELS];
    int l = 0;
    for (; r->waiting >> l & 1; l++) {
        full[l] = r->level[l];
        r->waiting &= ~(1u << l);
    }
    add_levels_all(l, full, 0, p->storage, p->grads, r->level[l]);
    r->waiting |= 1u << l;
}

/* The same for `count` floats of the last shard's, which are final: the sum over the replica's
 * shards, which may go to the others. */
static void finish_gradients(void *ctx, int64_t first, int64_t count)
{
    train_run *r = ctx;
    float *grads = r->model->trained->grads;
    const float *full[MAX_LEVELS];
    int n = 0;
    for (int l = 0; l < MAX_LEVELS; l++)
        if (r->waiting >> l & 1) full[n++] = r->level[l];
    if (n > 0) add_levels_all(n, full, first, count, grads, grads);
    r->whole_from = first;
    rd_flow_ready(r->flow, first, count);
}

/* Gradients and sums of one shard. */
static int run_shard(train_run *r, int shard)
{
    int rc = RD_OK;
    const train_deal *d = &r->deal;
    double *sums = r->sums + (int64_t)shard * OBJECTIVE_SUMS;
    bool last = shard == r->end_shard - 1;
    micro_clear(&r->micro);
    r->micro_index = 0;
    for (int64_t i = d->start[shard]; i < d->start[shard + 1]; i++) {
        const plan_item *item = &r->plan.items[d->list[i]];
        if (micro_add(&r->micro, item)) continue;
        RD_TRY(run_micro(r, shard, sums));
        RD_ASSERT(micro_add(&r->micro, item));
    }
    if (last && r->o->overlap) rd_work_on_gradients(r->work, finish_gradients, r);
    RD_TRY(run_micro(r, shard, sums));
done:
    rd_work_on_gradients(r->work, NULL, NULL);
    return rc;
}

/* Forward and backward of this replica's part of the step.  Local failures are not agreed here. */
static int run_passes(train_run *r)
{
    int rc = RD_OK;
    deal_items(&r->deal, r->plan.items, r->plan.n_items);
    r->f.row_targets = r->plan.row_targets;
    r->f.row_prompts = r->plan.row_prompts;
    r->f.pair_targets = r->plan.pair_targets;
    r->f.pair_count = r->plan.pair_count;
    r->waiting = 0;
    r->whole_from = r->model->trained->storage;
    r->flow = rd_optim_begin_sums(r->opt);
    rd_model_zero_grads(r->model);
    for (int i = r->first_shard; i < r->end_shard; i++) {
        RD_TRY(run_shard(r, i));
        if (i < r->end_shard - 1) fold_gradients(r);
    }
    RD_TRY(rd_fault(r->o->stage)); /* while gradients are on their way */
    finish_gradients(r, 0, r->whole_from);
done:
    return rc;
}

/* ---------------------------------------------------------------- a step */

/* Every shard's sums on every rank, added in shard order; whether any rank failed or was asked to
 * stop came along.  Collective on world; all ranks return the same. */
static int agree_sums(train_run *r, int local, objective_means *means, bool *stop)
{
    int rc = RD_OK;
    int64_t n = (int64_t)r->shards * OBJECTIVE_SUMS;
    double total[OBJECTIVE_SUMS] = {0};
    if (r->g->tp.rank != 0) memset(r->sums, 0, (size_t)n * sizeof(*r->sums)); /* count once */
    r->sums[n] = rd_stop_local();
    r->sums[n + 1] = local != RD_OK;
    rd_sum_f64(&r->g->world, r->sums, n + 2);
    *stop = r->sums[n] > 0;
    if (r->sums[n + 1] > 0) RD_TRY(rd_agree(&r->g->world, local));
    for (int s = 0; s < r->shards; s++)
        for (int k = 0; k < OBJECTIVE_SUMS; k++)
            total[k] += r->sums[(int64_t)s * OBJECTIVE_SUMS + k];
    *means = objective_mean(&r->f, total);
    if (!isfinite(means->loss))
        RD_FAIL(RD_ENUMERIC, "%s, step %lld of %lld: the loss is not finite (%g)", r->o->stage,
                (long long)r->state.step + 1, (long long)r->plan.steps, means->loss);
done:
    return rc;
}

/* The first and the last twentieth of the steps are what the report speaks of. */
static void record_step(train_run *r, const objective_means *means)
{
    train_state *s = &r->state;
    int64_t window = (s->steps + 19) / 20;
    if (s->step < window) {
        s->first_sum += means->loss;
        s->first_n++;
    }
    if (s->step >= s->steps - window) {
        double pairs = (double)r->f.pair_count;
        s->last_sum += means->loss;
        s->last_n++;
        s->last_correct += means->accuracy * pairs;
        s->last_pairs += pairs;
    }
    s->step++;
    s->tokens = r->plan.tokens;
    s->rows = r->plan.rows;
    s->pairs = r->plan.pairs;
    s->plan_hash = (int64_t)r->plan.hash;
}

/* pending: a failure of this rank since the last agreement. */
static int run_step(train_run *r, int pending, objective_means *means, double *grad_norm,
                    bool *stop)
{
    int rc = RD_OK;
    int64_t n_sums = (int64_t)r->shards * OBJECTIVE_SUMS + 2;
    plan_next(&r->plan);
    memset(r->sums, 0, (size_t)n_sums * sizeof(*r->sums));
    int local = run_passes(r);
    if (pending != RD_OK) local = pending;
    rd_clock_begin(r->clock[CLOCK_ALLREDUCE]);
    rd_flow_end(r->flow);
    rc = agree_sums(r, local, means, stop);
    rd_clock_end(r->clock[CLOCK_ALLREDUCE]);
    RD_TRY(rc);
    rd_clock_begin(r->clock[CLOCK_OPTIMIZER]);
    rc = rd_optim_step(r->opt, r->state.step, grad_norm);
    rd_clock_end(r->clock[CLOCK_OPTIMIZER]);
    RD_TRY(rc);
done:
    return rc;
}

/* Metrics first, so that they are on disk for every step of the checkpoint. */
static int save(train_run *r, const char *tail)
{
    int rc = RD_OK;
    const double begun = rd_time();
    rd_clock_begin(r->clock[CLOCK_SAVE]);
    RD_TRY(rd_agree(&r->g->world, metrics_flush(&r->metrics)));
    RD_TRY(checkpoint_write(&r->files, r->model, r->opt, &r->state, tail));
    r->longest_save = fmax(r->longest_save, rd_time() - begun);
done:
    rd_clock_end(r->clock[CLOCK_SAVE]);
    return rc;
}

/* Before a checkpoint was timed: its size at the speed of a slow disk. */
static double guess_save(const train_run *r)
{
    const double bytes_per_second = 2e8;
    const double floats = (double)r->model->base.storage + 2 * (double)r->model->trained->storage;
    return floats * sizeof(float) * r->g->tp.size / bytes_per_second;
}

/* What a request to stop takes from the next look at the deadline on: a step, and a checkpoint that
 * may be slower than those so far. */
static void keep_room(train_run *r, double step_seconds)
{
    r->longest_step = fmax(r->longest_step, step_seconds);
    rd_stop_need(r->longest_step + 1.5 * (r->longest_save > 0 ? r->longest_save : guess_save(r)));
}

static int run_steps(train_run *r)
{
    int rc = RD_OK, pending = RD_OK;
    train_state *s = &r->state;
    int64_t branch = (int64_t)ceil(r->o->branch_at * (double)s->steps);
    while (s->step < s->steps) {
        objective_means means;
        double grad_norm = 0;
        bool stop = false;
        const double begun = rd_time();
        rd_mem_guard("training step");
        rc = run_step(r, pending, &means, &grad_norm, &stop);
        rd_mem_guard(NULL);
        RD_TRY(rc);
        keep_room(r, rd_time() - begun);
        double lr = r->o->optim.lr * rd_lr_factor(&r->o->optim, s->step, s->steps);
        record_step(r, &means);
        pending = metrics_step(&r->metrics, s, &means, lr, grad_norm);
        if (branch > 0 && s->step == branch) RD_TRY(save(r, "branch"));
        if (s->step == s->steps) break;
        bool due = r->o->checkpoint_every > 0 && s->step % r->o->checkpoint_every == 0;
        if (due || stop) RD_TRY(save(r, NULL));
        if (stop)
            RD_FAIL(RD_ESTOP, "%s stopped after step %lld of %lld; the same command continues it",
                    r->o->stage, (long long)s->step, (long long)s->steps);
    }
    RD_TRY(rd_agree(&r->g->world, pending));
    RD_TRY(save(r, "final"));
    checkpoint_remove_steps(&r->files);
done:
    rd_stop_need(0);
    return rc;
}

/* ---------------------------------------------------------------- a run */

static void fill_report(const train_run *r, int64_t tokens_before, double seconds, bool was_done,
                        rd_train_report *report)
{
    const train_state *s = &r->state;
    *report = (rd_train_report){
        .steps = s->step,
        .tokens = s->tokens,
        .rows = s->rows,
        .pairs = s->pairs,
        .over_long = s->over_long,
        .empty = s->empty,
        .first_loss = s->first_n > 0 ? s->first_sum / (double)s->first_n : NAN,
        .last_loss = s->last_n > 0 ? s->last_sum / (double)s->last_n : NAN,
        .seconds = seconds,
        .tokens_per_second = seconds > 0 ? (double)(s->tokens - tokens_before) / seconds : 0,
        .reward_accuracy = s->last_pairs > 0 ? s->last_correct / s->last_pairs : NAN,
        .was_done = was_done,
    };
}

static void run_free(train_run *r)
{
    rd_optim_free(&r->opt);
    rd_work_free(&r->work);
    micro_free(&r->micro);
    deal_free(&r->deal);
    plan_free(&r->plan);
    rd_corpus_free(&r->rows);
    rd_corpus_free(&r->pairs);
    rd_corpus_free(&r->more);
    for (int l = 0; l < MAX_LEVELS; l++) rd_free(r->level[l]);
    rd_free(r->sums);
}

/* Give a new adapter its values, if a checkpoint has not; those of an earlier stage have theirs. */
static int ready_adapter(train_run *r, bool found)
{
    int rc = RD_OK;
    if (r->model->adapter.n == 0 || rd_model_adapter_ready(r->model)) return RD_OK;
    rd_clock_begin("adapter");
    rc = found ? rd_model_adapter_resume(r->model) : rd_model_adapter_init(r->model, r->o->seed);
    rd_clock_end("adapter");
    return rd_agree(&r->g->world, rc);
}

/* Merge the adapter, watching the logits of the start of one of the run's sequences. */
static int merge_adapter(train_run *r)
{
    enum { PROBE = 128 };
    int rc = RD_OK;
    double largest = 0;
    if (r->model->adapter.n == 0) return RD_OK;
    micro_clear(&r->micro);
    RD_ASSERT(micro_add(&r->micro, &r->plan.items[0]));
    rd_batch *b = &r->micro.b;
    int64_t range[2] = {0, b->start[1] < PROBE ? b->start[1] : PROBE};
    rd_batch probe = {range[1], 1, range, b->tokens, b->target};
    RD_TRY(rd_agree(&r->g->world, rd_model_merge(r->model, &probe, &largest)));
    rd_info("%-8s adapter merged: largest logit difference %.1e over %lld tokens", r->o->stage,
            largest, (long long)range[1]);
done:
    return rc;
}

static int resume(train_run *r)
{
    int rc = RD_OK;
    bool found = false;
    RD_TRY(checkpoint_resume(&r->files, r->model, r->opt, &r->plan, &r->state, &found));
    RD_TRY(ready_adapter(r, found));
    if (!found) return RD_OK;
    rd_info("%s: continues after step %lld of %lld", r->o->stage, (long long)r->state.step,
            (long long)r->state.steps);
done:
    return rc;
}

/* The pairs, of one file or of two. */
static int load_pairs(train_run *r, const rd_chat *chat, const char *datasets)
{
    int rc = RD_OK;
    const char *more = r->o->more_pairs;
    const bool both = more != NULL && r->o->more_share < 1;
    RD_TRY(
        rd_corpus_load(r->g, more == NULL || both ? datasets : more, chat, r->o, true, &r->pairs));
    if (both) RD_TRY(rd_corpus_load(r->g, more, chat, r->o, true, &r->more));
done:
    return rc;
}

static int train(train_run *r, const rd_chat *chat, const char *datasets, bool pairs,
                 rd_train_report *report)
{
    int rc = RD_OK;
    bool was_done = false, opened = false;
    int64_t tokens_before = 0;
    double start = rd_time();
    r->clock = clock_names[pairs];
    RD_TRY(check_opts(r->o));
    RD_TRY(checkpoint_begin(r->g, r->o, &r->files));
    RD_TRY(checkpoint_read_final(&r->files, r->model, &r->state, &was_done));
    tokens_before = r->state.tokens;
    if (was_done) {
        checkpoint_remove_steps(&r->files); /* a kill may have come between the two */
        goto done;
    }
    if (pairs) RD_TRY(load_pairs(r, chat, datasets));
    if (!pairs || r->o->rehearsal > 0)
        RD_TRY(rd_corpus_load(r->g, datasets, chat, r->o, false, &r->rows));
    r->f = (objective){.variant = r->o->variant,
                       .lambda = r->o->lambda,
                       .prompt_weight = r->o->prompt_weight,
                       .row_weight = pairs ? r->o->rehearsal : 1,
                       .pair_weight = pairs ? 1 - r->o->rehearsal : 0};
    if (r->o->adapted && r->model->adapter.n == 0) RD_TRY(rd_model_adapt(r->model, &r->o->adapter));
    RD_TRY(prepare(r));
    RD_TRY(resume(r));
    tokens_before = r->state.tokens;
    RD_TRY(metrics_open(r->g, r->o, pairs, &r->state, &r->metrics));
    opened = true;
    start = rd_time();
    RD_TRY(run_steps(r));
    RD_TRY(merge_adapter(r));
done:
    if (opened) {
        int closed = rd_agree(&r->g->world, metrics_close(&r->metrics));
        if (rc == RD_OK) rc = closed;
    }
    fill_report(r, tokens_before, rd_time() - start, was_done, report);
    run_free(r);
    return rc;
}

/* What a plan takes for the rows' mean length where it only sizes lists. */
enum { SHORT_ROW = 16 };

int rd_train_measure(rd_model *model, const rd_train_opts *o, bool pairs, rd_train_memory *m)
{
    int rc = RD_OK;
    train_run r = {.g = model->grid, .model = model, .o = o};
    int64_t longest_item = pairs ? 2 * o->max_len : o->max_len, start[5];
    *m = (rd_train_memory){0};
    RD_TRY(check_opts(o));
    deal_shards(&r);
    int64_t max_T = largest_micro(o, longest_item);
    start[0] = rd_mem_used();
    make_levels(&r, r.end_shard - r.first_shard);
    start[1] = rd_mem_used();
    make_batch(&r, o->batch_tokens / SHORT_ROW + 1, max_T, pairs);
    start[2] = rd_mem_used();
    model->recompute = o->recompute;
    RD_TRY(rd_work_create(model, max_T, o->max_len, &r.work));
    start[3] = rd_mem_used();
    RD_TRY(rd_optim_create(model, &o->optim, 1, &r.opt));
    start[4] = rd_mem_used();
    m->partial_sums = start[1] - start[0];
    m->batch = start[2] - start[1];
    m->head = rd_work_head_bytes(r.work);
    m->activations = start[3] - start[2] - m->head;
    m->moments = rd_optim_bytes(r.opt);
    m->exchange = start[4] - start[3] - m->moments;
    m->update_flops = rd_optim_flops(r.opt);
done:
    run_free(&r);
    return rc;
}

int rd_train_sft(const rd_grid *g, rd_model *model, const rd_chat *chat, const char *datasets,
                 const rd_train_opts *o, rd_train_report *report)
{
    train_run r = {.g = g, .model = model, .o = o};
    return train(&r, chat, datasets, false, report);
}

int rd_train_orpo(const rd_grid *g, rd_model *model, const rd_chat *chat, const char *datasets,
                  const rd_train_opts *o, rd_train_report *report)
{
    train_run r = {.g = g, .model = model, .o = o};
    return train(&r, chat, datasets, true, report);
}
