/* cost.c: memory, flops, words and seconds of a training step on a grid, on paper.
 *
 * The walk over a step follows nn/transformer.c, la/panels.c and train/loop.c, product by product
 * and sum by sum; extents are those of the matrices that the model's own layout gives rank (0, 0),
 * which holds the most of everything. */
#include "cli/cost.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- products, messages */

cost_product cost_of_product(double m, double n, double k)
{
    if (m == 0 || n == 0) return (cost_product){0};
    return (cost_product){2 * m * n * k, m * k + k * n + 2 * m * n, 1};
}

double cost_product_seconds(const cost_machine *m, const cost_product *p)
{
    return p->flops * m->flop + p->touches * m->touch + p->calls * m->call;
}

static void add_product(cost_product *sum, double times, cost_product p)
{
    sum->flops += times * p.flops;
    sum->touches += times * p.touches;
    sum->calls += times * p.calls;
}

static double levels(int p)
{
    return p > 1 ? ceil(log2(p)) : 0;
}

enum { SHORT = 2048 }; /* floats: below, collectives are trees */

cost_messages cost_of_sum(int p, double n)
{
    if (p == 1 || n == 0) return (cost_messages){0};
    if (n <= SHORT) return (cost_messages){levels(p), levels(p) * n};
    return (cost_messages){2 * levels(p), 2 * n * (p - 1) / p};
}

cost_messages cost_of_bcast(int p, double n)
{
    if (p == 1 || n == 0) return (cost_messages){0};
    if (n <= SHORT) return (cost_messages){levels(p), levels(p) * n};
    return (cost_messages){levels(p) + p - 1, 2 * n * (p - 1) / p};
}

cost_messages cost_of_shares(int p, double n)
{
    if (p == 1 || n == 0) return (cost_messages){0};
    return (cost_messages){p - 1, n * (p - 1) / p};
}

cost_messages cost_of_flow(int p, double n)
{
    enum { BUCKET = 1 << 18, LEAST_SHARE = 1 << 14 }; /* as in par/flow.c */
    if (p == 1 || n == 0) return (cost_messages){0};
    double bucket = fmax(BUCKET, (double)p * LEAST_SHARE);
    return (cost_messages){ceil(n / bucket) * levels(p), n * (p - 1) / p};
}

/* ---------------------------------------------------------------- a layer */

/* Copies and norms of the residual stream, RoPE, biases, SwiGLU: floats read and written
 * (transformer.c).
 */
double cost_layer_passes(const cost_layer *l, bool backward)
{
    double turned = 2 * (l->q + l->k);
    double forward = 2 * 3 * l->d + 2 * 2 * l->d + turned + 2 * l->bias + 3 * l->f;
    double back = 2 * 6 * l->d + turned + l->bias + 6 * l->f + 3 * l->q;
    return l->t * (backward ? back : forward);
}

enum { QUERIES = 36 }; /* attention's blocks (attention.c) */

/* Keys that the queries of one block meet, on average. */
static double mean_keys(const cost_layer *l)
{
    double blocks = ceil(l->row / QUERIES);
    double queries = l->row / blocks;
    return queries * (blocks + 1) / 2;
}

double cost_layer_scores(const cost_layer *l)
{
    return l->t * l->heads * mean_keys(l);
}

cost_product cost_layer_attention(const cost_layer *l, bool backward)
{
    cost_product sum = {0};
    double keys = mean_keys(l), s = l->head_size;
    double per_row = ceil(l->row / QUERIES), queries = l->row / per_row;
    double blocks = l->t / l->row * per_row * l->heads;
    add_product(&sum, blocks * (backward ? 2 : 1), cost_of_product(keys, queries, s));
    add_product(&sum, blocks, cost_of_product(s, queries, keys));
    if (backward) add_product(&sum, 2 * blocks, cost_of_product(s, keys, queries));
    return sum;
}

/* ---------------------------------------------------------------- the walk */

/* Ranks that talk to each other: p of them, `stride` apart in the world. */
typedef struct group {
    int p, stride;
} group;

typedef struct walk {
    const cost_case *c;
    const cost_machine *m;
    cost_plan *plan;
    double slow;         /* ranks on a node per core, at least 1; less with threads */
    cost_machine mixed;  /* the machine with the rate of the products of layers and head */
    double stream, pass; /* seconds per float with all ranks at it */
    group rows, cols, replicas;
    double t;      /* tokens of a micro-batch on a grid column */
    double micros; /* of a replica in a step */
} walk;

static void compute(walk *w, cost_part_name part, double flops, double seconds)
{
    w->plan->part[part].flops += flops;
    w->plan->part[part].computing += seconds;
}

static void multiply(walk *w, cost_part_name part, double times, cost_product p)
{
    compute(w, part, times * p.flops, times * w->slow * cost_product_seconds(w->m, &p));
}

/* Those that are in bfloat16 if any are. */
static void multiply_mixed(walk *w, cost_part_name part, double times, cost_product p)
{
    compute(w, part, times * p.flops, times * w->slow * cost_product_seconds(&w->mixed, &p));
}

static void stream(walk *w, cost_part_name part, double floats)
{
    compute(w, part, 0, floats * w->stream);
}

/* Inside a node a word is at least three passes through memory that all ranks share.  Between nodes
 * a ring leaves a node once for each of the groups that have members there. */
static cost_link link_of(const walk *w, group g)
{
    const cost_machine *m = w->m;
    int on_node = w->plan->ranks_on_node;
    cost_link inside = {m->inside.latency, fmax(m->inside.word, 3 * m->node_stream * on_node)};
    if ((double)g.p * g.stride <= on_node) return inside;
    double groups = g.stride < on_node ? g.stride : on_node;
    return (cost_link){m->between.latency, fmax(inside.word, m->between.word * groups)};
}

static void send(walk *w, cost_part_name part, group g, double times, cost_messages n)
{
    cost_link l = link_of(w, g);
    cost_part *p = &w->plan->part[part];
    p->messages += times * n.messages;
    p->words += times * n.words;
    p->communicating += times * (n.messages * l.latency + n.words * l.word);
}

/* How la/panels.c cuts a layer's outputs: rounds of panels, and the products of each.  *piece: of
 * outputs in one product. */
static double cut_panels(const walk *w, const rd_mat *W, double t, double *piece)
{
    const double room = 1 << 21; /* floats of a panel there */
    double in = (double)W->lm, out = (double)W->n, block = fmin((double)W->nb, out);
    double ways = fmax(w->c->rows, w->c->cols), width = floor(room / (ways * fmax(in, t)));
    double pieces = ceil(block / fmax(width, 1));
    *piece = ceil(block / pieces);
    return ceil(out / block / ways) * pieces;
}

/* A linear layer's product `times` times, its own or one of its gradients'.  Each moves the weight,
 * or the gradient of the weight, over grid columns; `sides` of them the outputs' side over grid
 * rows. */
static void grid_product(walk *w, cost_part_name part, double times, double sides, const rd_mat *W,
                         double t)
{
    double in = (double)W->lm, out = (double)W->n, piece;
    int R = w->c->rows, C = w->c->cols;
    if (R * C == 1) {
        multiply_mixed(w, part, times, cost_of_product(out, t, in));
        return;
    }
    double panels = cut_panels(w, W, t, &piece);
    multiply_mixed(w, part, times * out / piece, cost_of_product(piece, t, in));
    const double width = w->c->bf16 ? 0.5 : 1; /* words of a number that travels */
    cost_messages over_cols = cost_of_shares(C, width * in * out);
    cost_messages over_rows = cost_of_shares(R, width * t * out);
    over_cols.messages *= panels;
    over_rows.messages *= panels;
    send(w, part, w->cols, times, over_cols);
    send(w, part, w->rows, sides, over_rows);
    /* Packed, and put in place. */
    stream(w, part, 2 * (times * over_cols.words + sides * over_rows.words));
}

static const char *const targets[RD_TARGETS] = {
    [RD_Q] = "self_attn.q_proj", [RD_K] = "self_attn.k_proj", [RD_V] = "self_attn.v_proj",
    [RD_O] = "self_attn.o_proj", [RD_GATE] = "mlp.gate_proj", [RD_UP] = "mlp.up_proj",
    [RD_DOWN] = "mlp.down_proj"};

static const rd_mat *weight(rd_model *model, rd_target t)
{
    char name[80];
    snprintf(name, sizeof name, "model.layers.0.%s.weight", targets[t]);
    return &rd_model_param(model, name)->w;
}

static double rows_of(const rd_mat *W, int rows) /* of its outputs, on a grid row */
{
    return (double)rd_dealt_count(W->n, W->nb, 0, rows);
}

/* A target's products with t tokens in n layers, and once more forward in `again` of them. */
static void walk_target(walk *w, const rd_mat *W, rd_target which, double n, double again, double t)
{
    const cost_case *c = w->c;
    bool full = !c->train.adapted;
    /* Both gradients use one copy of dY, but for down's, which are not taken together. */
    double times = full ? 3 : 2, sides = full && which == RD_DOWN ? 3 : 2;
    bool adapted = !full && (c->train.adapter.targets >> which & 1);
    double more = which == RD_DOWN && !adapted ? 0 : again;
    grid_product(w, COST_LINEAR, n * times + more, n * sides + more, W, t);
    if (!adapted) return;
    double r = (double)c->train.adapter.rank, in = (double)W->lm, out = rows_of(W, c->rows);
    /* A^T X, B^T U and the two gradients of each; on a grid U and its gradient are summed. */
    multiply_mixed(w, COST_LINEAR, n * 3 + again, cost_of_product(r, t, in));
    multiply_mixed(w, COST_LINEAR, n * 3 + again, cost_of_product(out, t, r));
    cost_messages up = cost_of_sum(c->rows, r * t);
    cost_messages both = cost_of_shares(c->cols, r * (in + out));
    if (c->rows > 1) send(w, COST_LINEAR, w->rows, n * 2 + again, up);
    if (c->cols > 1) send(w, COST_LINEAR, w->cols, n * 2 + again, both);
}

static void walk_layers(walk *w, rd_model *model)
{
    const cost_case *c = w->c;
    double n = w->micros * (double)c->model.layers;
    /* Forward passes once more, of all layers but the last (transformer.c). */
    double again = c->train.recompute ? n - w->micros : 0;
    bool full = !c->train.adapted;
    for (rd_target t = RD_Q; t < RD_TARGETS; t++) {
        const rd_mat *W = weight(model, t);
        /* From o on the last layer has only tokens with a target. */
        double last = t >= RD_O ? w->micros : 0;
        walk_target(w, W, t, n - last, again, w->t);
        if (last > 0) walk_target(w, W, t, last, 0, fmax(w->t * c->target_share, 1));
    }
    cost_layer l = {.t = w->t,
                    .row = c->row,
                    .d = (double)weight(model, RD_Q)->lm,
                    .q = rows_of(weight(model, RD_Q), c->rows),
                    .k = rows_of(weight(model, RD_K), c->rows),
                    .f = rows_of(weight(model, RD_GATE), c->rows),
                    .head_size = (double)c->model.head_size};
    l.heads = l.q / l.head_size;
    if (c->model.qkv_bias) l.bias = l.q + 2 * l.k;
    for (int back = 0; back < 2; back++) {
        double times = back ? n : n + again;
        double scores = times * cost_layer_scores(&l) * w->m->exponential * w->slow;
        multiply(w, COST_ATTENTION, times, cost_layer_attention(&l, back));
        compute(w, COST_ATTENTION, 0, scores);
        compute(w, COST_PASSES, 0, times * cost_layer_passes(&l, back) * w->pass);
        /* Two norms: a sum in float64 for every token. */
        send(w, COST_PASSES, w->rows, 2 * times, cost_of_sum(c->rows, 2 * w->t));
    }
    double vectors = (double)c->model.layers * (2 * l.d + l.bias);
    send(w, COST_PASSES, w->cols, w->micros, cost_of_bcast(c->cols, vectors));
    if (!full) return;
    send(w, COST_PASSES, w->cols, n, cost_of_sum(c->cols, l.d + l.bias));
    send(w, COST_PASSES, w->cols, n, cost_of_sum(c->cols, l.d));
}

/* Logits and their gradients, in pieces of some tokens of each grid column.  On a grid the matrix
 * stays: a grid column has part of the vocabulary for the tokens of all, a grid row sums over part
 * of the width (head.c). */
static void walk_head(walk *w, const rd_mat *E)
{
    enum { CHUNK = 256 }; /* transformer.c */
    const cost_case *c = w->c;
    int R = c->rows, C = c->cols;
    double d = (double)E->lm, v = (double)E->ln, with_loss = w->t * c->target_share;
    double chunks = ceil(with_loss / ceil((double)CHUNK / R)), n = C * with_loss / fmax(chunks, 1);
    double times = w->micros * chunks;
    /* The last pass makes gradients; pairs have one before it for their log-probabilities. */
    double passes = c->pairs ? 2 : 1, products = passes + 1 + !c->train.adapted;
    multiply_mixed(w, COST_HEAD, times * products, cost_of_product(v, n, d));
    compute(w, COST_HEAD, 0, times * passes * v * n / R * w->m->exponential * w->slow);
    send(w, COST_HEAD, w->cols, times * (passes + 1), cost_of_shares(C, n * d));
    send(w, COST_HEAD, w->rows, times * (passes + 1), cost_of_shares(R, n * v));
    send(w, COST_HEAD, w->cols, times * passes, cost_of_sum(C, 2 * n / R));
    send(w, COST_HEAD, w->cols, times * passes, cost_of_sum(C, 4 * n / R));
    send(w, COST_HEAD, w->rows, w->micros * passes, cost_of_sum(R, 2 * w->t * C));
}

static void walk_embedding(walk *w, const rd_mat *E)
{
    double looks = w->c->train.adapted ? 1 : 2, d = (double)E->lm;
    compute(w, COST_EMBEDDING, 0, w->micros * looks * 3 * w->t * d * w->pass);
    send(w, COST_EMBEDDING, w->cols, w->micros * looks, cost_of_shares(w->c->cols, w->t * d));
}

static void walk_update(walk *w, const rd_model *model, double shards, const cost_memory *mem)
{
    const cost_case *c = w->c;
    double n = (double)model->trained->storage;
    double update = (double)mem->train.moments / 8; /* parameters this rank updates, if by AdamW */
    bool sharded = c->train.optim.sharded, muon = mem->train.update_flops > 0;
    stream(w, COST_GRADIENTS, shards * n + 5 * (shards - 1) * n); /* zeros; copies and additions */
    send(w, COST_GRADIENTS, w->replicas, sharded ? 1 : 2, cost_of_flow(c->data, n));
    stream(w, COST_GRADIENTS, 3 * n * (c->data > 1)); /* additions of what comes */
    stream(w, COST_OPTIMIZER, n + 7 * (muon ? n / (sharded ? c->data : 1) : update));
    if (muon) {
        cost_product p = {.flops = mem->train.update_flops};
        multiply(w, COST_OPTIMIZER, 1, p);
    }
    if (sharded || muon) send(w, COST_OPTIMIZER, w->replicas, 1, cost_of_flow(c->data, n));
}

/* ---------------------------------------------------------------- memory */

/* Beyond this many floats of a rank's parameters the training's lists would themselves be large:
 * the rest is then reckoned, which is enough to say that it does not fit. */
static const double MEASURED = 4e9;

static void reckon(const cost_case *c, double n, double shards, rd_train_memory *m)
{
    double moments = 8 * n / (c->train.optim.sharded ? c->data : 1);
    *m = (rd_train_memory){.moments = (int64_t)moments,
                           .partial_sums = (int64_t)(4 * n * ceil(log2(shards)))};
}

static int measure(const cost_case *c, const cost_machine *m, double shards, rd_model *model,
                   cost_memory *mem)
{
    int rc = RD_OK;
    double base = 4 * (double)model->base.storage, trained = 4 * (double)model->trained->storage;
    bool full = !c->train.adapted;
    if (trained / 4 > MEASURED)
        reckon(c, trained / 4, shards, &mem->train);
    else
        RD_TRY(rd_train_measure(model, &c->train, c->pairs, &mem->train));
    const rd_train_memory *t = &mem->train;
    mem->weights = base + (full ? 0 : trained) + 4 * (double)model->adapter_start.storage;
    mem->gradients = trained;
    mem->files = RD_STORE_SPACE;
    mem->program = m->program;
    mem->total =
        mem->weights + mem->gradients + mem->panels + mem->files + mem->program +
        (double)(t->activations + t->head + t->moments + t->exchange + t->partial_sums + t->batch);
done:
    return rc;
}

/* ---------------------------------------------------------------- a plan */

static void set_machine(walk *w)
{
    const cost_case *c = w->c;
    const cost_machine *m = w->m;
    int ranks = c->data * c->rows * c->cols;
    int on_node = ranks < m->ranks_per_node ? ranks : m->ranks_per_node;
    w->plan->ranks_on_node = on_node;
    w->plan->nodes = (ranks + on_node - 1) / on_node;
    w->plan->available = m->memory_per_node / on_node;
    double cores = (double)m->cores_per_node / on_node; /* of a rank */
    w->slow = 1 / fmin(cores, c->threads > 1 ? c->threads : 1);
    w->mixed = *m;
    if (c->bf16) w->mixed.flop = m->flop_bf16;
    w->stream = fmax(m->stream * w->slow, m->node_stream * on_node);
    w->pass = fmax(m->pass * w->slow, m->node_stream * on_node);
    w->cols = (group){c->cols, 1};
    w->rows = (group){c->rows, c->cols};
    w->replicas = (group){c->data, c->rows * c->cols};
}

/* How a step is cut (loop.c): shards of a replica, their micro-batches, the tokens of each. */
static double cut_step(walk *w)
{
    const cost_case *c = w->c;
    const rd_train_opts *o = &c->train;
    double row = c->row * (c->pairs ? 2 : 1);
    double shards = o->shards % c->data == 0 ? (double)o->shards : c->data;
    double tokens = fmax((double)o->batch_tokens / shards, row);
    double micro = fmax((double)o->micro_tokens, row);
    double count = ceil(tokens / micro);
    w->micros = count * shards / c->data;
    w->t = tokens / count / c->cols;
    if (w->t < row / (c->pairs ? 2 : 1)) w->t = row / (c->pairs ? 2 : 1); /* rows stay whole */
    w->plan->busy = (double)o->batch_tokens / c->data >= row * (c->cols > 1 ? c->cols : 1);
    return shards / c->data;
}

static void finish(const cost_case *c, const cost_machine *m, const rd_model *model, cost_plan *p)
{
    double replica = 0;
    for (int i = 0; i < COST_PARTS; i++) {
        p->flops += p->part[i].flops;
        p->words += p->part[i].words;
        p->seconds += p->part[i].computing + p->part[i].communicating;
    }
    p->tokens_per_second = (double)c->train.batch_tokens / p->seconds;
    /* All parameters once, and two moments. */
    replica = (double)rd_model_config_params(&model->cfg);
    double moments =
        !c->train.adapted ? replica : (double)model->trained->storage * c->rows * c->cols;
    p->checkpoint_bytes = 4 * (replica + 2 * moments);
    p->checkpoint_seconds = p->checkpoint_bytes * m->file;
    if (c->train.tokens <= 0) return;
    p->steps = ceil((double)c->train.tokens / (double)c->train.batch_tokens);
    double saved = 1;
    if (c->train.checkpoint_every > 0) saved += floor(p->steps / (double)c->train.checkpoint_every);
    p->hours = (p->steps * p->seconds + saved * p->checkpoint_seconds) / 3600;
}

static int make_model(const cost_case *c, const rd_grid *g, rd_model **model)
{
    int rc = RD_OK;
    bool full = !c->train.adapted;
    RD_TRY(rd_model_create(g, &c->model, full, model));
    if (!full) RD_TRY(rd_model_adapt(*model, &c->train.adapter));
done:
    return rc;
}

int cost_plan_make(const cost_case *c, const cost_machine *m, cost_plan *p)
{
    int rc = RD_OK;
    rd_grid *g = NULL;
    rd_model *model = NULL;
    *p = (cost_plan){0};
    walk w = {.c = c, .m = m, .plan = p};
    set_machine(&w);
    double shards = cut_step(&w);
    rd_mem_pretend(true);
    rd_grid_pretend(c->data, c->rows, c->cols, &g);
    RD_TRY(make_model(c, g, &model));
    int64_t before = rd_mem_used();
    rd_la_use_panels(g, !c->pblas);
    p->memory.panels = (double)(rd_mem_used() - before);
    RD_TRY(measure(c, m, shards, model, &p->memory));
    p->fits = p->available == 0 || p->memory.total <= p->available;
    walk_layers(&w, model);
    const rd_mat *E = &rd_model_param(model, "model.embed_tokens.weight")->w;
    walk_head(&w, E);
    walk_embedding(&w, E);
    walk_update(&w, model, shards, &p->memory);
    finish(c, m, model, p);
done:
    rd_model_free(&model);
    rd_la_use_panels(g, false);
    rd_grid_free(&g);
    rd_mem_pretend(false);
    return rc;
}

/* ---------------------------------------------------------------- the choice of a grid */

static bool better(const cost_plan *a, const cost_plan *b)
{
    if (a->fits != b->fits) return a->fits;
    return a->fits ? a->seconds < b->seconds : a->memory.total < b->memory.total;
}

static void insert(cost_choice *list, int most, int *n, const cost_choice *x)
{
    int at = *n;
    while (at > 0 && better(&x->plan, &list[at - 1].plan)) at--;
    if (at >= most) return;
    if (*n < most) ++*n;
    for (int i = *n - 1; i > at; i--) list[i] = list[i - 1];
    list[at] = *x;
}

int cost_suggest(const cost_case *c, const cost_machine *m, int ranks, int most,
                 cost_choice *choice, int *n, int *smallest)
{
    int rc = RD_OK;
    *n = *smallest = 0;
    for (int replica = 1; replica <= ranks; replica++) {
        if (ranks % replica != 0) continue;
        for (int rows = 1; rows <= replica; rows++) {
            if (replica % rows != 0) continue;
            cost_case one = *c;
            cost_choice x = {.data = ranks / replica, .rows = rows, .cols = replica / rows};
            one.data = x.data, one.rows = x.rows, one.cols = x.cols;
            RD_TRY(cost_plan_make(&one, m, &x.plan));
            if (!x.plan.busy && ranks > 1) continue;
            if (x.plan.fits && *smallest == 0) *smallest = replica;
            insert(choice, most, n, &x);
        }
    }
done:
    return rc;
}

const char *cost_part_text(cost_part_name part)
{
    static const char *const names[COST_PARTS] = {
        [COST_LINEAR] = "linear layers", [COST_ATTENTION] = "attention",
        [COST_PASSES] = "norms, passes", [COST_HEAD] = "head, loss",
        [COST_EMBEDDING] = "embedding",  [COST_GRADIENTS] = "gradients",
        [COST_OPTIMIZER] = "optimizer"};
    return names[part];
}
