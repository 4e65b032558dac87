/* generator.c: continuous batches of sampled responses over a key-value cache.
 *
 * Prefill and decoding go through the same calls of rd_model_extend: every call feeds one token of
 * each response under way and, in the room that is left, prompts of new ones.
 *
 * A slot keeps its tokens after its response has ended.  A new request starts from the longest
 * prefix that any slot holds, so the proposals of a problem, the queries of a rule, and the fixed
 * opening of all prompts are prefilled once.  This changes no result: rd_model_extend gives the
 * same bits for a token whatever is computed beside it and however its sequence was fed. */
#include "rd/infer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    PREFILL = 512,  /* tokens of a call, unless there are more slots */
    SHARE_GAIN = 8, /* tokens that are worth waiting a call for */
    LEN_STEP = 64,  /* the cache grows by this many tokens per slot */
    LANES = 16,     /* sampling sums in blocks of this size */
    FREE = -1
};

typedef struct slot {
    int64_t request; /* FREE: its tokens are only a prefix for others */
    int64_t known;   /* tokens in ids */
    int64_t fed;     /* … of which the cache holds these */
    int64_t prompt;  /* tokens of the prompt with BOS */
    int64_t limit;   /* tokens that the response may have */
    int64_t used;    /* when it was given out, to reuse the oldest first */
} slot;

struct rd_generator {
    const rd_model *model;
    const rd_chat *chat;
    rd_generator_opts o;
    int64_t vocab;               /* ids that may be sampled are below it … */
    int32_t barred[2];           /* … and not these */
    int64_t n_slots, len, max_T; /* what the cache is made for; it grows with the requests */
    rd_kv *kv;
    slot *slots;
    int32_t *ids;                    /* [n_slots][len] */
    int64_t given;                   /* slots given out so far */
    int64_t *call_slot, *call_count; /* [n_slots] the segments of a call */
    int32_t *call_tokens;            /* [max_T] */
    float *logits;                   /* V x n_slots */
    float *mass;                     /* [vocab rounded up to LANES] */
    double *sums;                    /* of each block of LANES masses */
};

/* Requests that follow each other with the same prompt. */
typedef struct group {
    int64_t first_id, prompt; /* where its tokens start, how many */
    int64_t common;           /* tokens that the group before begins with, too */
    int64_t next, end;        /* its requests that have not been started */
} group;

typedef struct call {
    int64_t n, finished;
    rd_gen_request *r;
    int64_t n_groups, first_open;
    group *groups;
    rd_buf id_bytes;
    const int32_t *ids; /* in it */
} call;

/* ---------------------------------------------------------------- sampling */

/* exp for x <= 0 to about 2 ulp, 0 below -87: a loop over it becomes vector code, which a call of
 * expf does not. */
static inline float exp_below(float x)
{
    float limited = x < -87.0f ? -87.0f : x;
    int32_t n = (int32_t)(limited * 1.44269504f - 0.5f);
    float r = limited - (float)n * 0.693359375f - (float)n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union {
        int32_t i;
        float f;
    } power = {.i = (n + 127) << 23};
    return x < -87.0f ? 0.0f : p * power.f;
}

static int32_t greedy(const rd_generator *gen, const float *z)
{
    int32_t best = -1;
    float top = -INFINITY;
    for (int64_t i = 0; i < gen->vocab; i++)
        if (z[i] > top && i != gen->barred[0] && i != gen->barred[1]) {
            top = z[i];
            best = (int32_t)i;
        }
    return best;
}

/* The inverse of the distribution function of softmax(z / temperature) at a keyed uniform number;
 * sums in float64, block by block, so that the search for the place is short. */
static int32_t sampled(rd_generator *gen, const float *z, double temperature, double uniform)
{
    int32_t top = greedy(gen, z), last = -1;
    if (top < 0) return -1;
    /* Bounded: infinity times the largest logit's 0 would not be a number. */
    float inverse = (float)fmin(1.0 / temperature, 1e30), shift = z[top];
    float *mass = gen->mass;
    double total = 0, below = 0;
    int64_t n = gen->vocab, blocks = (n + LANES - 1) / LANES;
    for (int64_t i = 0; i < n; i++) mass[i] = exp_below((z[i] - shift) * inverse);
    for (int k = 0; k < 2; k++)
        if (gen->barred[k] >= 0) mass[gen->barred[k]] = 0;
    for (int64_t b = 0; b < blocks; b++) {
        double sum = 0; /* masses beyond the vocabulary are 0 since the generator was made */
        for (int64_t i = b * LANES; i < (b + 1) * LANES; i++) sum += (double)mass[i];
        gen->sums[b] = sum;
        total += sum;
    }
    if (!isfinite(total)) return -1;
    double wanted = uniform * total;
    int64_t b = 0;
    while (b + 1 < blocks && below + gen->sums[b] <= wanted) below += gen->sums[b++];
    for (int64_t i = b * LANES; i < n; i++) {
        if (mass[i] <= 0) continue;
        last = (int32_t)i; /* rounding may leave the sum a little short of wanted */
        below += (double)mass[i];
        if (below > wanted) return last;
    }
    return last >= 0 ? last : top;
}

static int next_token(rd_generator *gen, const rd_gen_request *r, const float *z, int64_t place,
                      int32_t *token)
{
    int rc = RD_OK;
    if (r->temperature > 0) {
        rd_rng rng = rd_rng_make(r->key, "sample", (uint64_t)place, 0);
        *token = sampled(gen, z, r->temperature, rd_rng_uniform(&rng));
    } else {
        *token = greedy(gen, z);
    }
    if (*token < 0) RD_FAIL(RD_ENUMERIC, "the model's logits are not finite");
done:
    return rc;
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
    RD_FREE(gen->logits);
    gen->n_slots = gen->len = 0;
}

/* Memory follows what is asked for, not the limits: a cache for max_len in every slot would be
 * gigabytes where responses have some fifty tokens. */
static int reserve(rd_generator *gen, int64_t n_slots, int64_t len)
{
    int rc = RD_OK;
    len = (len + LEN_STEP - 1) / LEN_STEP * LEN_STEP;
    if (len > gen->o.max_len) len = gen->o.max_len;
    if (n_slots > gen->o.slots) n_slots = gen->o.slots;
    if (n_slots <= gen->n_slots && len <= gen->len) return RD_OK;
    if (n_slots < gen->n_slots) n_slots = gen->n_slots;
    if (len < gen->len) len = gen->len;
    free_cache(gen);
    gen->max_T = n_slots > PREFILL ? n_slots : PREFILL;
    RD_TRY(rd_kv_create(gen->model, n_slots, len, gen->max_T, &gen->kv));
    gen->n_slots = n_slots;
    gen->len = len;
    gen->slots = rd_new(slot, n_slots);
    for (int64_t s = 0; s < n_slots; s++) gen->slots[s].request = FREE;
    gen->ids = rd_new(int32_t, n_slots * len);
    gen->call_slot = rd_new(int64_t, n_slots);
    gen->call_count = rd_new(int64_t, n_slots);
    gen->call_tokens = rd_new(int32_t, gen->max_T);
    gen->logits = rd_new(float, gen->model->cfg.vocab *n_slots);
done:
    return rc;
}

int rd_generator_create(const rd_model *model, const rd_chat *chat, const rd_generator_opts *o,
                        rd_generator **out)
{
    int rc = RD_OK;
    const rd_tok *tok = rd_chat_tok(chat);
    rd_generator *gen = rd_new(rd_generator, 1);
    *out = gen;
    gen->model = model;
    gen->chat = chat;
    rd_chat_barred(chat, gen->barred);
    gen->o = *o;
    gen->vocab = rd_tok_vocab(tok) < model->cfg.vocab ? rd_tok_vocab(tok) : model->cfg.vocab;
    int64_t blocks = (gen->vocab + LANES - 1) / LANES;
    gen->mass = rd_new(float, blocks *LANES);
    gen->sums = rd_new(double, blocks);
    if (o->slots < 1 || o->max_len < 2)
        RD_FAIL(RD_EINPUT, "a generator with %" PRId64 " slots of %" PRId64 " tokens", o->slots,
                o->max_len);
    if (rd_tok_vocab(tok) > model->cfg.vocab)
        RD_FAIL(RD_EINPUT, "the tokenizer has %" PRId64 " tokens, the model %" PRId64,
                rd_tok_vocab(tok), model->cfg.vocab);
done:
    if (rc != RD_OK) rd_generator_free(out);
    return rc;
}

void rd_generator_free(rd_generator **out)
{
    rd_generator *gen = *out;
    if (gen == NULL) return;
    free_cache(gen);
    rd_free(gen->mass);
    rd_free(gen->sums);
    RD_FREE(*out);
}

/* ---------------------------------------------------------------- requests */

static int64_t common_prefix(const int32_t *a, int64_t na, const int32_t *b, int64_t nb)
{
    int64_t n = na < nb ? na : nb, k = 0;
    while (k < n && a[k] == b[k]) k++;
    return k;
}

/* Tokens that the response may have; 0 when the prompt leaves no room. */
static int64_t room(const rd_generator *gen, const group *g, const rd_gen_request *r)
{
    int64_t left = g->prompt > 0 ? gen->o.max_len - g->prompt : 0;
    int64_t limit = r->max_new < left ? r->max_new : left;
    return limit > 0 ? limit : 0;
}

/* Encode every group's prompt, once. */
static int encode(call *c, const rd_chat *chat)
{
    int rc = RD_OK;
    int64_t used = 0;
    c->groups = rd_new(group, c->n);
    for (int64_t i = 0; i < c->n; i++) {
        const char *prompt = c->r[i].prompt;
        if (i > 0 && (prompt == c->r[i - 1].prompt || strcmp(prompt, c->r[i - 1].prompt) == 0)) {
            c->groups[c->n_groups - 1].end++;
            continue;
        }
        RD_TRY(rd_chat_prompt(chat, prompt, strlen(prompt), &c->id_bytes));
        c->ids = (const int32_t *)(const void *)c->id_bytes.data;
        int64_t n = (int64_t)(c->id_bytes.len / sizeof *c->ids) - used;
        group *g = &c->groups[c->n_groups++];
        *g = (group){.first_id = used, .prompt = n, .next = i, .end = i + 1};
        if (c->n_groups > 1)
            g->common = common_prefix(c->ids + g[-1].first_id, g[-1].prompt, c->ids + used, n);
        used += n;
    }
done:
    return rc;
}

/* Requests without room are finished at once; the cache is made for the others. */
static int begin(rd_generator *gen, call *c)
{
    int rc = RD_OK;
    int64_t longest = 0, wanted = 0;
    for (int64_t k = 0; k < c->n_groups; k++) {
        group *g = &c->groups[k];
        bool none = true;
        for (int64_t i = g->next; i < g->end; i++) {
            rd_gen_request *r = &c->r[i];
            int64_t limit = room(gen, g, r);
            r->tokens_in = g->prompt;
            if (limit == 0) continue;
            none = false;
            wanted++;
            if (g->prompt + limit > longest) longest = g->prompt + limit;
        }
        if (!none) continue;
        for (int64_t i = g->next; i < g->end; i++, c->finished++) {
            c->r[i].text = rd_strdup("");
            c->r[i].truncated = true;
        }
        g->next = g->end;
    }
    if (wanted > 0) RD_TRY(reserve(gen, wanted, longest));
done:
    return rc;
}

/* ---------------------------------------------------------------- starting responses */

enum { STARTED, WAITS, FULL };

/* Give a request a slot.  coming: tokens of its prompt that another slot will hold after the next
 * call; if that is much more than any slot holds now, the request waits. */
static int start(rd_generator *gen, call *c, group *g, int64_t coming, int64_t *budget)
{
    const int32_t *ids = c->ids + g->first_id;
    int64_t target = -1, source = -1, best = 0;
    for (int64_t s = 0; s < gen->n_slots; s++)
        if (gen->slots[s].request == FREE &&
            (target < 0 || gen->slots[s].used < gen->slots[target].used))
            target = s;
    if (target < 0 || *budget <= 0) return FULL;
    for (int64_t k = 0; k < gen->n_slots; k++) {
        int64_t s = (target + k) % gen->n_slots; /* the target first: nothing to copy then */
        int64_t same =
            common_prefix(gen->ids + s * gen->len, gen->slots[s].fed, ids, g->prompt - 1);
        if (same > best) {
            best = same;
            source = s;
        }
    }
    if (coming > best + SHARE_GAIN) return WAITS;
    if (best > 0 && source != target)
        rd_kv_fork(gen->kv, source, target, best);
    else
        rd_kv_truncate(gen->kv, target, best);
    memcpy(gen->ids + target * gen->len, ids, (size_t)g->prompt * sizeof *ids);
    rd_gen_request *r = &c->r[g->next];
    gen->slots[target] = (slot){.request = g->next,
                                .known = g->prompt,
                                .fed = best,
                                .prompt = g->prompt,
                                .limit = room(gen, g, r),
                                .used = ++gen->given};
    *budget -= g->prompt - best;
    return STARTED;
}

/* Fill free slots in the order of the requests; those that gain by waiting for a prefix let others
 * go first. */
static void refill(rd_generator *gen, call *c, int64_t budget)
{
    bool before_coming = false; /* the group before will be in the cache after this call */
    while (c->first_open < c->n_groups &&
           c->groups[c->first_open].next == c->groups[c->first_open].end)
        c->first_open++;
    for (int64_t k = c->first_open; k < c->n_groups; k++) {
        group *g = &c->groups[k];
        int64_t coming = before_coming ? g->common : 0;
        before_coming = false;
        while (g->next < g->end) {
            rd_gen_request *r = &c->r[g->next];
            if (room(gen, g, r) == 0) {
                r->text = rd_strdup("");
                r->truncated = true;
                c->finished++;
                g->next++;
                continue;
            }
            int what = start(gen, c, g, coming, &budget);
            if (what == FULL) return;
            before_coming = true;
            if (what == WAITS) break;
            g->next++;
            coming = g->prompt - 1;
        }
    }
}

/* ---------------------------------------------------------------- one call */

/* Segments: every response's next token first, then as much of the prompts as there is room for.
 * Returns how many. */
static int64_t gather(rd_generator *gen)
{
    int64_t n = 0, T = 0, left = gen->max_T;
    for (int64_t s = 0; s < gen->n_slots; s++) left -= gen->slots[s].request != FREE;
    for (int64_t s = 0; s < gen->n_slots; s++) {
        slot *at = &gen->slots[s];
        if (at->request == FREE) continue;
        int64_t count = at->known - at->fed;
        if (count > left + 1) count = left + 1;
        left -= count - 1;
        gen->call_slot[n] = s;
        gen->call_count[n++] = count;
        memcpy(gen->call_tokens + T, gen->ids + s * gen->len + at->fed,
               (size_t)count * sizeof *gen->ids);
        T += count;
    }
    return n;
}

static void finish(rd_generator *gen, call *c, int64_t s, bool truncated)
{
    slot *at = &gen->slots[s];
    rd_gen_request *r = &c->r[at->request];
    rd_buf text = {0};
    rd_chat_read(gen->chat, gen->ids + s * gen->len + at->prompt, at->known - at->prompt, &text);
    r->text = rd_buf_take(&text);
    r->truncated = truncated;
    at->known = at->fed; /* a last token that was not fed is no prefix */
    at->request = FREE;
    c->finished++;
}

/* Take the next token of every response whose tokens are all in the cache. */
static int advance(rd_generator *gen, call *c, int64_t n)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < n; i++) {
        int64_t s = gen->call_slot[i];
        slot *at = &gen->slots[s];
        rd_gen_request *r = &c->r[at->request];
        int32_t token;
        at->fed += gen->call_count[i];
        if (at->fed < at->known) continue;
        RD_TRY(next_token(gen, r, gen->logits + i * gen->model->cfg.vocab, r->tokens_out, &token));
        r->tokens_out++;
        if (rd_chat_stops(gen->chat, token)) {
            finish(gen, c, s, false);
            continue;
        }
        gen->ids[s * gen->len + at->known++] = token;
        if (r->tokens_out == at->limit) finish(gen, c, s, true);
    }
done:
    return rc;
}

int rd_generate(rd_generator *gen, int64_t n, rd_gen_request *r)
{
    int rc = RD_OK;
    call c = {.n = n, .r = r};
    for (int64_t i = 0; i < n; i++) {
        r[i].text = NULL;
        r[i].tokens_in = r[i].tokens_out = 0;
        r[i].truncated = false;
    }
    RD_TRY(encode(&c, gen->chat));
    RD_TRY(begin(gen, &c));
    while (c.finished < n) {
        int64_t live = 0;
        for (int64_t s = 0; s < gen->n_slots; s++) live += gen->slots[s].request != FREE;
        refill(gen, &c, gen->max_T - live);
        int64_t segments = gather(gen);
        if (segments == 0) continue; /* the last requests had no room */
        RD_TRY(rd_model_extend(gen->model, gen->kv, segments, gen->call_slot, gen->call_count,
                               gen->call_tokens, gen->logits));
        RD_TRY(advance(gen, &c, segments));
    }
done:
    /* After a failure the slots' tokens mean nothing. */
    if (rc != RD_OK) free_cache(gen);
    rd_free(c.groups);
    rd_buf_free(&c.id_bytes);
    return rc;
}
