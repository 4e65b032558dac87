/* corpus.c: rows or pairs of datasets.h5, tokenised as the chat composes them.
 *
 * Texts are tokenised by the rank that reads them and gathered; the items are only numbers, which
 * every rank reads for itself. */
#include "train_impl.h"

#include <string.h>

#define DATASETS_SCHEMA "redistill.datasets"
enum { DATASETS_VERSION = 1, TEXTS_PER_POLL = 1024 };

/* ---------------------------------------------------------------- texts */

void corpus_copy_text(const rd_corpus *c, int32_t text, int32_t *ids)
{
    int64_t from = c->offset[text], n = corpus_text_length(c, text);
    if (c->wide != NULL) {
        memcpy(ids, c->wide + from, (size_t)n * sizeof(*ids));
        return;
    }
    for (int64_t i = 0; i < n; i++) ids[i] = c->narrow[from + i];
}

static bool is_narrow(const rd_chat *chat)
{
    return rd_tok_vocab(rd_chat_tok(chat)) <= UINT16_MAX + 1;
}

/* A text may be a prompt, a response, or both; the chat makes other tokens of it each time. */
enum { PROMPT, RESPONSE, ROLES };
typedef struct text_slots {
    int32_t of[ROLES]; /* its number among those in use; -1: unused in this role */
} text_slots;

/* This rank's share of the file's texts, in the roles in which they are used.  Local. */
static int encode_texts(const rd_chat *chat, const rd_pool *pool, const text_slots *slot,
                        rd_buf *ids, rd_buf *lengths)
{
    int rc = RD_OK;
    rd_buf one = {0};
    bool narrow = is_narrow(chat);
    for (int64_t i = 0; i < pool->n; i++) {
        size_t bytes;
        const char *text = rd_pool_get(pool, i, &bytes);
        if (i % TEXTS_PER_POLL == 0) RD_TRY(rd_stop_poll("corpus"));
        for (int role = 0; role < ROLES; role++) {
            if (slot[i].of[role] < 0) continue;
            rd_buf_clear(&one);
            RD_TRY(role == PROMPT ? rd_chat_prompt(chat, text, bytes, &one)
                                  : rd_chat_response(chat, text, bytes, &one));
            const int32_t *id = (const int32_t *)(const void *)one.data;
            int64_t n = (int64_t)(one.len / sizeof *id);
            rd_put_i64(lengths, n);
            if (!narrow) rd_buf_add(ids, one.data, one.len);
            for (int64_t k = 0; k < n && narrow; k++) {
                uint16_t half = (uint16_t)id[k];
                rd_buf_add(ids, &half, sizeof half);
            }
        }
    }
done:
    rd_buf_free(&one);
    return rc;
}

/* The texts with slot >= 0, in file order, which is the order of the slots.  Collective. */
static int load_texts(const rd_comm *world, rd_store *s, const rd_chat *chat, int64_t n_file,
                      const text_slots *slot, int64_t n_used, rd_corpus *c)
{
    int rc = RD_OK;
    rd_pool pool = {0};
    rd_buf ids = {0}, lengths = {0};
    char *all = NULL;
    int64_t *sizes = NULL;
    int64_t first = n_file * world->rank / world->size;
    int64_t end = n_file * (world->rank + 1) / world->size;
    RD_TRY(rd_store_read_text(s, first, end - first, &pool));
    RD_TRY(rd_agree(world, encode_texts(chat, &pool, slot + first, &ids, &lengths)));

    rd_allgather(world, lengths.data, (int64_t)lengths.len, &all, &sizes);
    rd_cursor read = {.data = all, .len = (size_t)n_used * 8};
    c->n_texts = n_used;
    c->offset = rd_new(int64_t, n_used + 1);
    for (int64_t i = 0; i < n_used; i++) {
        int64_t n = 0;
        RD_TRY(rd_get_i64(&read, &n));
        c->offset[i + 1] = c->offset[i] + n;
    }
    rd_free(all);
    RD_FREE(sizes);
    all = NULL;
    rd_allgather(world, ids.data, (int64_t)ids.len, &all, &sizes);
    if (is_narrow(chat))
        c->narrow = (uint16_t *)all;
    else
        c->wide = (int32_t *)all;
    all = NULL;
done:
    rd_pool_free(&pool);
    rd_buf_free(&ids);
    rd_buf_free(&lengths);
    rd_free(all);
    rd_free(sizes);
    return rc;
}

/* ---------------------------------------------------------------- items */

/* The file's columns: prompt, response (chosen), and rejected for pairs, as text ids. */
typedef struct file_items {
    int64_t n;
    uint8_t *kind, *family;
    int64_t *text[3];
    int n_text;
} file_items;

static void file_items_free(file_items *f)
{
    rd_free(f->kind);
    rd_free(f->family);
    for (int i = 0; i < 3; i++) rd_free(f->text[i]);
}

/* Every rank reads the whole columns: ten to thirty bytes an item. */
static int read_items(rd_store *s, const rd_train_opts *o, bool pairs, file_items *f)
{
    int rc = RD_OK;
    static const char *const row_texts[] = {"sft/prompt", "sft/response"};
    static const char *const pair_texts[] = {"pair/prompt", "pair/chosen", "pair/rejected"};
    const int n_text = f->n_text = pairs ? 3 : 2;
    RD_TRY(rd_store_rows(s, pairs ? "pair/family" : "sft/family", &f->n));
    f->kind = rd_new(uint8_t, f->n);
    f->family = rd_new(uint8_t, f->n);
    RD_TRY(rd_store_read(s, pairs ? "pair/family" : "sft/family", RD_U8, 0, f->n, f->family));
    if (!pairs) RD_TRY(rd_store_read(s, "sft/kind", RD_U8, 0, f->n, f->kind));
    for (int i = 0; i < n_text; i++) {
        f->text[i] = rd_new(int64_t, f->n);
        RD_TRY(rd_store_read(s, pairs ? pair_texts[i] : row_texts[i], RD_I64, 0, f->n, f->text[i]));
    }
    int64_t kept = 0; /* drop what is not asked for */
    for (int64_t i = 0; i < f->n; i++) {
        if (f->kind[i] >= RD_TRAIN_KINDS || f->family[i] >= RD_TRAIN_FAMILIES)
            RD_FAIL(RD_EINPUT, "datasets: row %lld has kind %d, family %d", (long long)i,
                    f->kind[i], f->family[i]);
        if (!o->families[f->family[i]] || (!pairs && !o->kinds[f->kind[i]])) continue;
        f->kind[kept] = f->kind[i];
        f->family[kept] = f->family[i];
        for (int k = 0; k < f->n_text; k++) f->text[k][kept] = f->text[k][i];
        kept++;
    }
    f->n = kept;
done:
    return rc;
}

/* Number the texts in use, in file order. */
static int number_texts(const file_items *f, int64_t n_file, text_slots *slot, int64_t *n_used)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < n_file; i++) slot[i].of[PROMPT] = slot[i].of[RESPONSE] = -1;
    for (int k = 0; k < f->n_text; k++)
        for (int64_t i = 0; i < f->n; i++) {
            int64_t id = f->text[k][i];
            if (id < -1 || id >= n_file)
                RD_FAIL(RD_EINPUT, "datasets: text %lld, the file has %lld", (long long)id,
                        (long long)n_file);
            if (id >= 0) slot[id].of[k == 0 ? PROMPT : RESPONSE] = 0;
        }
    if (n_file > INT32_MAX / ROLES) RD_FAIL(RD_EINPUT, "datasets: more than 2^30 texts");
    *n_used = 0;
    for (int64_t i = 0; i < n_file; i++)
        for (int role = 0; role < ROLES; role++)
            if (slot[i].of[role] == 0) slot[i].of[role] = (int32_t)(*n_used)++;
done:
    return rc;
}

static int64_t text_tokens(const rd_corpus *c, const text_slots *slot, int64_t id, int role)
{
    return id < 0 ? 0 : corpus_text_length(c, slot[id].of[role]);
}

/* Keep the items that can be trained on; count the others. */
static void keep_items(rd_corpus *c, const file_items *f, const text_slots *slot, int64_t max_len)
{
    c->prompt = rd_new(int32_t, f->n);
    c->response = rd_new(int32_t, f->n);
    c->rejected = rd_new(int32_t, c->pairs ? f->n : 0);
    c->tokens = rd_new(int32_t, f->n);
    c->kind = rd_new(uint8_t, f->n);
    c->family = rd_new(uint8_t, f->n);
    for (int64_t i = 0; i < f->n; i++) {
        int64_t prompt = text_tokens(c, slot, f->text[0][i], PROMPT), tokens = 0, longest = 0;
        bool empty = prompt == 0;
        for (int k = 1; k < f->n_text; k++) {
            int64_t response = text_tokens(c, slot, f->text[k][i], RESPONSE);
            int64_t through = prompt + response; /* the end is only ever a target */
            empty = empty || response == 0;
            tokens += through;
            if (through > longest) longest = through;
        }
        c->empty += empty;
        c->over_long += !empty && longest + 1 > max_len;
        if (empty || longest + 1 > max_len) continue;
        c->prompt[c->n] = slot[f->text[0][i]].of[PROMPT];
        c->response[c->n] = slot[f->text[1][i]].of[RESPONSE];
        if (c->pairs) c->rejected[c->n] = slot[f->text[2][i]].of[RESPONSE];
        c->tokens[c->n] = (int32_t)tokens;
        c->kind[c->n] = f->kind[i];
        c->family[c->n] = f->family[i];
        c->total += tokens;
        if (tokens > c->longest_item) c->longest_item = tokens;
        if (longest > c->longest_sequence) c->longest_sequence = longest;
        c->n++;
    }
}

int rd_corpus_load(const rd_grid *g, const char *datasets, const rd_chat *chat,
                   const rd_train_opts *o, bool pairs, rd_corpus **corpus)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    file_items f = {0};
    text_slots *slot = NULL;
    int64_t n_file = 0, n_used = 0;
    rd_corpus *c = rd_new(rd_corpus, 1);
    c->pairs = pairs;
    c->end = rd_chat_end(chat);
    *corpus = NULL;
    RD_TRY(rd_store_open(&g->world, datasets, DATASETS_SCHEMA, DATASETS_VERSION, &s));
    RD_TRY(read_items(s, o, pairs, &f));
    RD_TRY(rd_store_text_count(s, &n_file));
    slot = rd_new(text_slots, n_file);
    RD_TRY(number_texts(&f, n_file, slot, &n_used));
    RD_TRY(load_texts(&g->world, s, chat, n_file, slot, n_used, c));
    keep_items(c, &f, slot, o->max_len);
    *corpus = c;
    c = NULL;
done:
    rd_store_close(&s);
    file_items_free(&f);
    rd_free(slot);
    rd_corpus_free(&c);
    return rc;
}

void rd_corpus_free(rd_corpus **corpus)
{
    rd_corpus *c = *corpus;
    if (c == NULL) return;
    rd_free(c->prompt);
    rd_free(c->response);
    rd_free(c->rejected);
    rd_free(c->tokens);
    rd_free(c->kind);
    rd_free(c->family);
    rd_free(c->offset);
    rd_free(c->narrow);
    rd_free(c->wide);
    RD_FREE(*corpus);
}
