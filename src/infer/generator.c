/* generator.c: continuous batches of sampled responses over a key-value cache.
 *
 * Prefill and decoding go through the same calls of rd_model_extend: every call feeds one token of
 * each response under way and, in the room that is left, prompts of new ones.
 *
 * A slot keeps its prompt after its response has ended, as long as nobody needs the room: there are
 * more slots than responses under way.  A new request starts from the longest prefix that any slot
 * holds, so the proposals of a problem, the queries of a rule, and the fixed opening of all prompts
 * are computed once, and lie in memory once (decode.c).  This changes no result: rd_model_extend
 * gives the same bits for a token whatever is computed beside it and however its sequence was fed.
 *
 * A response starts only when the cache has room for the longest that all under way may become, so
 * none is ever thrown out. */
#include "infer/sampler.h"

#include <inttypes.h>
#include <string.h>

enum {
    PREFILL = 512,   /* tokens of a call, unless there are more slots */
    SHARE_GAIN = 8,  /* tokens that are worth waiting a call for */
    BLOCK = 16,      /* tokens; the cache's unit */
    PARKED = 2,      /* slots for each response under way: the others keep prefixes */
    PRIORITIES = 64, /* lists of requests that wait */
    LOOK_AHEAD = 64  /* requests that may be passed over in search of one that can start */
};

/* A text that requests begin with. */
typedef struct prompt {
    char *text;
    int64_t n, users;
    int32_t *ids;
    int64_t waits; /* the last search for requests to start in which it had to wait */
} prompt;

/* A request under way. */
typedef struct job {
    rd_gen_request *r;
    prompt *p;
    int64_t slot; /* -1: it waits */
    int64_t list;
    struct job *before, *after; /* in its list */
} job;

typedef struct job_list {
    job *first, *last;
} job_list;

typedef struct slot {
    job *of;        /* NULL: its tokens are only a prefix for others */
    int64_t known;  /* tokens in ids */
    int64_t fed;    /* … of which the cache holds these */
    int64_t prompt; /* tokens of the prompt with BOS */
    int64_t limit;  /* tokens that the response may have */
    int64_t used;   /* when it was given out or a prefix taken from it: the oldest goes first */
} slot;

struct rd_generator {
    const rd_model *model;
    const rd_chat *chat;
    rd_generator_opts o;
    sampler *sampler;
    int threads;
    int64_t n_slots, n_live, max_live; /* slots; responses under way, now and at most */
    int64_t max_T, room;               /* tokens of a call; of the cache, on each grid column */
    rd_kv *kv;
    slot *slots;
    int32_t *ids;                    /* [n_slots][max_len] */
    int64_t clock;                   /* for used */
    int64_t *call_slot, *call_count; /* [max_live] the segments of a call */
    int32_t *call_tokens;            /* [max_T] */
    int32_t *picked;                 /* [max_live] */
    float *logits;                   /* V x max_live */
    job_list waiting[PRIORITIES], finished;
    int64_t n_waiting, expected, searches;
    int64_t longest; /* tokens of a request, prompt and response, of all so far */
    prompt *latest;
    rd_buf text;
    rd_gen_counts counts;
};

/* ---------------------------------------------------------------- requests */

static void prompt_release(prompt *p)
{
    if (p == NULL || --p->users > 0) return;
    rd_free(p->text);
    rd_free(p->ids);
    rd_free(p);
}

/* The prompt of a request; neighbours with the same text share it. */
static int prompt_of(rd_generator *gen, const char *text, prompt **out)
{
    int rc = RD_OK;
    rd_buf ids = {0};
    if (gen->latest == NULL || strcmp(gen->latest->text, text) != 0) {
        RD_TRY(rd_chat_prompt(gen->chat, text, strlen(text), &ids));
        prompt_release(gen->latest);
        gen->latest = rd_new(prompt, 1);
        *gen->latest = (prompt){
            .text = rd_strdup(text), .n = (int64_t)(ids.len / sizeof(int32_t)), .users = 1};
        gen->latest->ids = rd_new(int32_t, gen->latest->n);
        if (ids.len > 0) memcpy(gen->latest->ids, ids.data, ids.len);
    }
    gen->latest->users++;
    *out = gen->latest;
done:
    rd_buf_free(&ids);
    return rc;
}

static void list_append(job_list *l, job *j)
{
    j->before = l->last;
    j->after = NULL;
    *(l->last ? &l->last->after : &l->first) = j;
    l->last = j;
}

static void list_remove(job_list *l, job *j)
{
    *(j->before ? &j->before->after : &l->first) = j->after;
    *(j->after ? &j->after->before : &l->last) = j->before;
}

static void job_free(job *j)
{
    j->r->under_way = NULL;
    prompt_release(j->p);
    rd_free(j);
}

/* Tokens that the response may have; 0 when the prompt leaves no room. */
static int64_t limit_of(const rd_generator *gen, const job *j)
{
    int64_t left = j->p->n > 0 ? gen->o.max_len - j->p->n : 0;
    int64_t limit = j->r->max_new < left ? j->r->max_new : left;
    return limit > 0 ? limit : 0;
}

static void wait_begins(rd_generator *gen, job *j)
{
    list_append(&gen->waiting[j->list], j);
    gen->n_waiting++;
}

static void wait_ends(rd_generator *gen, job *j)
{
    list_remove(&gen->waiting[j->list], j);
    gen->n_waiting--;
}

int rd_generator_add(rd_generator *gen, rd_gen_request *r)
{
    int rc = RD_OK;
    prompt *p = NULL;
    r->text = NULL;
    r->tokens_in = r->tokens_out = 0;
    r->truncated = false;
    r->under_way = NULL;
    RD_TRY(prompt_of(gen, r->prompt, &p));
    int64_t list = r->priority < 0 ? 0 : r->priority;
    if (list >= PRIORITIES) list = PRIORITIES - 1;
    job *j = rd_new(job, 1);
    *j = (job){.r = r, .p = p, .slot = -1, .list = list};
    r->under_way = j;
    r->tokens_in = p->n;
    int64_t limit = limit_of(gen, j);
    if (limit > 0) {
        if (p->n + limit > gen->longest) gen->longest = p->n + limit;
        wait_begins(gen, j);
    } else {
        r->text = rd_strdup("");
        r->truncated = true;
        list_append(&gen->finished, j);
    }
done:
    return rc;
}

/* A response's tokens after its prompt are no prefix of anything else. */
static void slot_release(rd_generator *gen, int64_t s)
{
    slot *at = &gen->slots[s];
    if (at->fed > at->prompt) at->fed = at->prompt;
    at->known = at->fed;
    at->of = NULL;
    rd_kv_truncate(gen->kv, s, at->fed);
    gen->n_live--;
}

void rd_generator_cancel(rd_generator *gen, rd_gen_request *r)
{
    job *j = r->under_way;
    if (j == NULL) return;
    if (r->text != NULL) {
        list_remove(&gen->finished, j);
        RD_FREE(r->text);
    } else if (j->slot >= 0) {
        slot_release(gen, j->slot);
    } else {
        wait_ends(gen, j);
    }
    job_free(j);
}

/* ---------------------------------------------------------------- the cache */

static void free_cache(rd_generator *gen)
{
    rd_kv_free(&gen->kv);
    RD_FREE(gen->slots);
    RD_FREE(gen->ids);
    RD_FREE(gen->call_slot);
    RD_FREE(gen->call_count);
    RD_FREE(gen->call_tokens);
    RD_FREE(gen->picked);
    RD_FREE(gen->logits);
    gen->n_slots = gen->max_live = gen->room = 0;
}

/* Tokens that a sequence of n may take up: whole blocks, and one that it shares at first. */
static int64_t blocks_of(int64_t n)
{
    return (n + BLOCK - 1) / BLOCK + 1;
}

/* Memory follows what is asked for, not the limits.  Half of the longest sequence for each response
 * under way: they are seldom all the longest, and share their beginnings. */
static int reserve(rd_generator *gen)
{
    int rc = RD_OK;
    int64_t live = gen->n_waiting > gen->expected ? gen->n_waiting : gen->expected;
    if (live > gen->o.slots) live = gen->o.slots;
    int64_t cols = gen->model->grid->cols, each = (live + cols - 1) / cols;
    int64_t room = BLOCK * blocks_of(gen->longest) * (each > 2 ? (each + 1) / 2 : 1);
    if (live <= gen->max_live && room <= gen->room) return RD_OK;
    if (live < gen->max_live) live = gen->max_live;
    if (room < gen->room) room = gen->room;
    free_cache(gen);
    gen->max_T = live > PREFILL ? live : PREFILL;
    gen->n_slots = PARKED * live;
    RD_TRY(
        rd_kv_create_pooled(gen->model, gen->n_slots, gen->o.max_len, gen->max_T, room, &gen->kv));
    gen->max_live = live;
    gen->room = room;
    gen->slots = rd_new(slot, gen->n_slots);
    gen->ids = rd_new(int32_t, gen->n_slots * gen->o.max_len);
    gen->call_slot = rd_new(int64_t, live);
    gen->call_count = rd_new(int64_t, live);
    gen->call_tokens = rd_new(int32_t, gen->max_T);
    gen->picked = rd_new(int32_t, live);
    gen->logits = rd_new(float, gen->model->cfg.vocab *live);
done:
    return rc;
}

uint64_t rd_generator_opts_hash(const rd_generator_opts *o)
{
    const rd_sampling *s = &o->sampling;
    const double shares[] = {(double)s->top_k, s->top_p < 1 ? s->top_p : 0, s->min_p};
    uint64_t h = rd_hash(shares, sizeof shares, 1);
    if (shares[0] == 0 && shares[1] == 0 && shares[2] == 0 && o->n_stop == 0) return 0;
    for (int k = 0; k < o->n_stop; k++) h = rd_hash(o->stop[k], strlen(o->stop[k]) + 1, h);
    return h;
}

void rd_generator_expect(rd_generator *gen, int64_t n)
{
    gen->expected = n;
}

int rd_generator_create(const rd_model *model, const rd_chat *chat, const rd_generator_opts *o,
                        rd_generator **out)
{
    int rc = RD_OK;
    const rd_tok *tok = rd_chat_tok(chat);
    int32_t barred[2];
    rd_generator *gen = rd_new(rd_generator, 1);
    *out = gen;
    gen->model = model;
    gen->chat = chat;
    gen->o = *o;
    gen->threads = rd_threads();
    if (o->slots < 1 || o->max_len < 2)
        RD_FAIL(RD_EINPUT, "a generator with %" PRId64 " slots of %" PRId64 " tokens", o->slots,
                o->max_len);
    if (rd_tok_vocab(tok) > model->cfg.vocab)
        RD_FAIL(RD_EINPUT, "the tokenizer has %" PRId64 " tokens, the model %" PRId64,
                rd_tok_vocab(tok), model->cfg.vocab);
    rd_chat_barred(chat, barred);
    gen->sampler = sampler_create(rd_tok_vocab(tok), barred, &o->sampling, gen->threads);
done:
    if (rc != RD_OK) rd_generator_free(out);
    return rc;
}

/* Forget all that is under way. */
static void abandon(rd_generator *gen)
{
    for (int64_t s = 0; s < gen->n_slots; s++)
        if (gen->slots[s].of) job_free(gen->slots[s].of);
    for (int k = 0; k <= PRIORITIES; k++) {
        job_list *l = k < PRIORITIES ? &gen->waiting[k] : &gen->finished;
        for (job *j = l->first, *after; j; j = after) {
            after = j->after;
            job_free(j);
        }
        *l = (job_list){NULL, NULL};
    }
    gen->n_waiting = gen->n_live = 0;
    free_cache(gen);
}

void rd_generator_free(rd_generator **out)
{
    rd_generator *gen = *out;
    if (gen == NULL) return;
    abandon(gen);
    sampler_free(&gen->sampler);
    prompt_release(gen->latest);
    rd_buf_free(&gen->text);
    RD_FREE(*out);
}

void rd_generator_counts(const rd_generator *gen, rd_gen_counts *counts)
{
    *counts = gen->counts;
}

/* ---------------------------------------------------------------- starting responses */

enum { STARTED, WAITS, FULL };

static int64_t common_prefix(const int32_t *a, int64_t na, const int32_t *b, int64_t nb)
{
    int64_t n = na < nb ? na : nb, k = 0;
    while (k < n && a[k] == b[k]) k++;
    return k;
}

/* The slot that was not used for longest, of those that are free; -1: there is none. */
static int64_t oldest_free(const rd_generator *gen, bool with_tokens, int64_t but, int column)
{
    int64_t found = -1, cols = gen->model->grid->cols;
    for (int64_t s = 0; s < gen->n_slots; s++) {
        const slot *at = &gen->slots[s];
        if (at->of || s == but || (with_tokens && at->fed == 0)) continue;
        if (column >= 0 && s % cols != column) continue;
        if (found < 0 || at->used < gen->slots[found].used) found = s;
    }
    return found;
}

/* Blocks that the responses on a grid column may still ask for. */
static int64_t promised(const rd_generator *gen, int column)
{
    int64_t sum = 0, cols = gen->model->grid->cols;
    for (int64_t s = 0; s < gen->n_slots; s++) {
        const slot *at = &gen->slots[s];
        if (!at->of || s % cols != column) continue;
        sum += blocks_of(at->prompt + at->limit) - (at->fed + BLOCK - 1) / BLOCK;
    }
    return sum;
}

/* Make room for `blocks` more on the target's grid column, by forgetting prefixes that nobody uses,
 * but not the source's. */
static bool make_room(rd_generator *gen, int64_t target, int64_t source, int64_t blocks)
{
    int column = (int)(target % gen->model->grid->cols);
    int64_t needed = BLOCK * (blocks + promised(gen, column));
    while (rd_kv_room(gen->kv, target) < needed) {
        int64_t s = oldest_free(gen, true, source, column);
        if (s < 0) return false;
        rd_kv_truncate(gen->kv, s, 0);
        gen->slots[s].fed = gen->slots[s].known = 0;
    }
    return true;
}

/* What the slots hold of a prompt: *best tokens in *source, the target first because then nothing
 * changes hands; *coming tokens that one of them is about to hold. */
static void find_prefix(const rd_generator *gen, const prompt *p, int64_t target, int64_t *best,
                        int64_t *source, int64_t *coming)
{
    *best = *coming = 0;
    *source = -1;
    for (int64_t k = 0; k < gen->n_slots; k++) {
        int64_t s = (target + k) % gen->n_slots;
        const slot *at = &gen->slots[s];
        if (at->known == 0) continue;
        int64_t same = common_prefix(gen->ids + s * gen->o.max_len, at->known, p->ids, p->n - 1);
        int64_t now = same < at->fed ? same : at->fed;
        if (same > *coming) *coming = same;
        if (now > *best) {
            *best = now;
            *source = s;
        }
    }
}

/* Give a request a slot.  If another slot will soon hold much more of its prompt than any does now,
 * the request waits. */
static int start(rd_generator *gen, job *j, int64_t *budget)
{
    prompt *p = j->p;
    int64_t best, source, coming, limit = limit_of(gen, j);
    int64_t target = oldest_free(gen, false, -1, -1);
    if (gen->n_live == gen->max_live || *budget <= 0 || target < 0) return FULL;
    find_prefix(gen, p, target, &best, &source, &coming);
    if (coming > best + SHARE_GAIN) return WAITS;
    bool same_column = source >= 0 && (source - target) % gen->model->grid->cols == 0;
    int64_t shared = same_column ? best / BLOCK : 0, blocks = blocks_of(p->n + limit);
    if (!make_room(gen, target, source, blocks - shared)) {
        if (gen->n_live > 0) return FULL;
        best = 0, source = -1; /* the prefix itself is in the way */
        if (!make_room(gen, target, source, blocks)) return FULL;
    }
    if (best > 0 && source != target)
        rd_kv_fork(gen->kv, source, target, best);
    else
        rd_kv_truncate(gen->kv, target, best);
    memcpy(gen->ids + target * gen->o.max_len, p->ids, (size_t)p->n * sizeof *p->ids);
    if (source >= 0) gen->slots[source].used = ++gen->clock;
    gen->slots[target] = (slot){
        .of = j, .known = p->n, .fed = best, .prompt = p->n, .limit = limit, .used = ++gen->clock};
    j->slot = target;
    gen->counts.prompt_tokens += p->n;
    gen->counts.shared_tokens += best;
    gen->n_live++;
    *budget -= p->n - best;
    return STARTED;
}

/* Fill free slots in the order of the requests; those that gain by waiting for a prefix let others
 * go first. */
static void refill(rd_generator *gen)
{
    int64_t budget = gen->max_T - gen->n_live, passed = 0;
    gen->searches++;
    for (int k = 0; k < PRIORITIES; k++)
        for (job *j = gen->waiting[k].first, *after; j; j = after) {
            after = j->after;
            if (j->p->waits == gen->searches) continue;
            int what = start(gen, j, &budget);
            if (what == FULL) return;
            if (what == STARTED) {
                wait_ends(gen, j);
                continue;
            }
            j->p->waits = gen->searches;
            if (++passed == LOOK_AHEAD) return;
        }
}

/* ---------------------------------------------------------------- one call */

/* Segments: every response's next token first, then as much of the prompts as there is room for.
 * Returns how many. */
static int64_t gather(rd_generator *gen)
{
    int64_t n = 0, T = 0, left = gen->max_T - gen->n_live;
    for (int64_t s = 0; s < gen->n_slots; s++) {
        slot *at = &gen->slots[s];
        if (!at->of) continue;
        int64_t count = at->known - at->fed;
        if (count > left + 1) count = left + 1;
        left -= count - 1;
        gen->call_slot[n] = s;
        gen->call_count[n++] = count;
        memcpy(gen->call_tokens + T, gen->ids + s * gen->o.max_len + at->fed,
               (size_t)count * sizeof *gen->ids);
        T += count;
    }
    gen->counts.calls++;
    gen->counts.under_way += n;
    return n;
}

static void finish(rd_generator *gen, int64_t s, char *text, bool truncated)
{
    job *j = gen->slots[s].of;
    j->r->text = text;
    j->r->truncated = truncated;
    slot_release(gen, s);
    list_append(&gen->finished, j);
}

/* The response so far. */
static const char *read_text(rd_generator *gen, int64_t s)
{
    const slot *at = &gen->slots[s];
    rd_buf_clear(&gen->text);
    rd_chat_read(gen->chat, gen->ids + s * gen->o.max_len + at->prompt, at->known - at->prompt,
                 &gen->text);
    return gen->text.data ? gen->text.data : "";
}

/* Where the first stop string begins; NULL: there is none. */
static const char *find_stop(const rd_generator *gen, const char *text)
{
    const char *first = NULL;
    for (int k = 0; k < gen->o.n_stop; k++) {
        const char *at = strstr(text, gen->o.stop[k]);
        if (at && (!first || at < first)) first = at;
    }
    return first;
}

/* A response has got a token. */
static void take(rd_generator *gen, int64_t s, int32_t token)
{
    slot *at = &gen->slots[s];
    rd_gen_request *r = at->of->r;
    r->tokens_out++;
    gen->counts.response_tokens++;
    if (rd_chat_stops(gen->chat, token)) {
        finish(gen, s, rd_strdup(read_text(gen, s)), false);
        return;
    }
    gen->ids[s * gen->o.max_len + at->known++] = token;
    if (gen->o.n_stop > 0) {
        const char *text = read_text(gen, s), *stop = find_stop(gen, text);
        if (stop) {
            finish(gen, s, rd_strndup(text, (size_t)(stop - text)), false);
            return;
        }
    }
    if (r->tokens_out == at->limit) finish(gen, s, rd_strdup(read_text(gen, s)), true);
}

static int32_t pick(const rd_generator *gen, const rd_gen_request *r, float *z)
{
    double uniform = 0;
    if (r->temperature > 0) {
        rd_rng rng = rd_rng_make(r->key, "sample", (uint64_t)r->tokens_out, 0);
        uniform = rd_rng_uniform(&rng);
    }
    return sampler_pick(gen->sampler, rd_thread(), z, r->temperature, uniform);
}

/* Take the next token of every response whose tokens are all in the cache. */
static int advance(rd_generator *gen, int64_t n)
{
    int rc = RD_OK;
    int threads = rd_threads() < gen->threads ? rd_threads() : gen->threads;
    rd_clock_begin("decode.sample");
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && n > 1)
    for (int64_t i = 0; i < n; i++) {
        slot *at = &gen->slots[gen->call_slot[i]];
        at->fed += gen->call_count[i];
        if (at->fed == at->known)
            gen->picked[i] = pick(gen, at->of->r, gen->logits + i * gen->model->cfg.vocab);
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t s = gen->call_slot[i];
        if (gen->slots[s].fed < gen->slots[s].known) continue;
        if (gen->picked[i] < 0) RD_FAIL(RD_ENUMERIC, "the model's logits are not finite");
        take(gen, s, gen->picked[i]);
    }
done:
    rd_clock_end("decode.sample");
    return rc;
}

static int step(rd_generator *gen)
{
    int rc = RD_OK;
    if (gen->n_live == 0) RD_TRY(reserve(gen));
    refill(gen);
    int64_t n = gather(gen);
    RD_ASSERT(n > 0);
    RD_TRY(rd_model_extend(gen->model, gen->kv, n, gen->call_slot, gen->call_count,
                           gen->call_tokens, gen->logits));
    RD_TRY(advance(gen, n));
done:
    return rc;
}

int rd_generator_next(rd_generator *gen, rd_gen_request **r)
{
    int rc = RD_OK;
    *r = NULL;
    while (!gen->finished.first && gen->n_waiting + gen->n_live > 0) RD_TRY(step(gen));
    job *j = gen->finished.first;
    if (!j) goto done;
    list_remove(&gen->finished, j);
    *r = j->r;
    job_free(j);
done:
    /* After a failure the slots' tokens mean nothing. */
    if (rc != RD_OK) abandon(gen);
    return rc;
}

int rd_generate(rd_generator *gen, int64_t n, rd_gen_request *r)
{
    int rc = RD_OK;
    rd_gen_request *one;
    for (int64_t i = 0; i < n; i++) r[i].text = NULL, r[i].priority = 0;
    for (int64_t i = 0; i < n; i++) RD_TRY(rd_generator_add(gen, &r[i]));
    do RD_TRY(rd_generator_next(gen, &one));
    while (one);
done:
    if (rc != RD_OK) abandon(gen);
    return rc;
}
