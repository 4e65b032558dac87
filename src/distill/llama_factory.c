/* llama_factory.c: datasets.h5 as JSON for LLaMA-Factory.
 *
 * Rows are read in chunks and written as they come: the pairs of a full run are gigabytes. */
#include "rd/distill.h"

#include <string.h>

enum { CHUNK = 4096, MAX_TEXTS = 3 };

/* One file to write: which rows, and how each looks. */
typedef struct set {
    const char *name, *table;
    int kind;                       /* of the rows of sft; -1: all rows */
    const char *columns[MAX_TEXTS]; /* of text; NULL ends them */
    bool label;
    void (*put)(const char *const *text, bool label, rd_buf *out);
    const char *info; /* its entry in dataset_info.json, after the file's name */
} set;

static void put_string(const char *text, size_t n, rd_buf *out)
{
    rd_json_put_ascii(text, n, out);
}

/* ---------------------------------------------------------------- rows */

static void put_alpaca(const char *const *text, bool label, rd_buf *out)
{
    const char *prompt = text[0], *cut = strstr(prompt, "\nInput:");
    const size_t head = cut ? (size_t)(cut - prompt) : strlen(prompt);
    const char *input = cut ? cut + 1 : "";
    (void)label;
    rd_buf_puts(out, "    {\n        \"instruction\": ");
    put_string(prompt, head, out);
    rd_buf_puts(out, ",\n        \"input\": ");
    put_string(input, strlen(input), out);
    rd_buf_puts(out, ",\n        \"output\": ");
    put_string(text[1], strlen(text[1]), out);
    rd_buf_puts(out, "\n    }");
}

static void put_side(const char *name, const char *text, rd_buf *out)
{
    rd_buf_printf(
        out, ",\n        \"%s\": {\n            \"from\": \"gpt\",\n            \"value\": ", name);
    put_string(text, strlen(text), out);
    rd_buf_puts(out, "\n        }");
}

static void put_pair(const char *const *text, bool label, rd_buf *out)
{
    (void)label;
    rd_buf_puts(out, "    {\n        \"conversations\": [\n            {\n"
                     "                \"from\": \"human\",\n                \"value\": ");
    put_string(text[0], strlen(text[0]), out);
    rd_buf_puts(out, "\n            }\n        ]");
    put_side("chosen", text[1], out);
    put_side("rejected", text[2], out);
    rd_buf_puts(out, "\n    }");
}

static void put_message(const char *text, const char *role, rd_buf *out)
{
    rd_buf_puts(out, "            {\n                \"content\": ");
    put_string(text, strlen(text), out);
    rd_buf_printf(out, ",\n                \"role\": \"%s\"\n            }", role);
}

static void put_kto(const char *const *text, bool label, rd_buf *out)
{
    rd_buf_puts(out, "    {\n        \"messages\": [\n");
    put_message(text[0], "user", out);
    rd_buf_puts(out, ",\n");
    put_message(text[1], "assistant", out);
    rd_buf_printf(out, "\n        ],\n        \"label\": %s\n    }", label ? "true" : "false");
}

static const char alpaca_info[] =
    ",\n        \"columns\": {\n            \"prompt\": \"instruction\",\n"
    "            \"query\": \"input\",\n            \"response\": \"output\"\n        }";
static const char pair_info[] =
    ",\n        \"formatting\": \"sharegpt\",\n        \"ranking\": true,\n"
    "        \"columns\": {\n            \"messages\": \"conversations\",\n"
    "            \"chosen\": \"chosen\",\n            \"rejected\": \"rejected\"\n        }";
static const char kto_info[] =
    ",\n        \"formatting\": \"sharegpt\",\n        \"columns\": {\n"
    "            \"messages\": \"messages\",\n            \"kto_tag\": \"label\"\n        },\n"
    "        \"tags\": {\n            \"role_tag\": \"role\",\n"
    "            \"content_tag\": \"content\",\n            \"user_tag\": \"user\",\n"
    "            \"assistant_tag\": \"assistant\"\n        }";

static const set sets[RD_LLAMA_FACTORY_SETS] = {
    {"generate_rule_sft",
     "sft",
     RD_ROW_GENERATE,
     {"prompt", "response"},
     false,
     put_alpaca,
     alpaca_info},
    {"apply_rule_sft",
     "sft",
     RD_ROW_FOLLOW,
     {"prompt", "response"},
     false,
     put_alpaca,
     alpaca_info},
    {"direct_fewshot_sft",
     "sft",
     RD_ROW_IO,
     {"prompt", "response"},
     false,
     put_alpaca,
     alpaca_info},
    {"generate_rule_dpo", "pair", -1, {"prompt", "chosen", "rejected"}, false, put_pair, pair_info},
    {"generate_rule_kto", "kto", -1, {"prompt", "response"}, true, put_kto, kto_info},
};

/* ---------------------------------------------------------------- chunks */

typedef struct chunk {
    int64_t n;
    int64_t *id[MAX_TEXTS];
    uint8_t *kind, *label;
    int64_t low; /* text id of the pool's first string */
    rd_pool text;
} chunk;

static void chunk_free(chunk *c)
{
    for (int k = 0; k < MAX_TEXTS; k++) RD_FREE(c->id[k]);
    RD_FREE(c->kind);
    RD_FREE(c->label);
    rd_pool_free(&c->text);
}

static int read_column(rd_store *s, const set *e, const char *column, rd_dtype type, int64_t first,
                       int64_t n, void *rows)
{
    char name[64];
    snprintf(name, sizeof name, "%s/%s", e->table, column);
    return rd_store_read(s, name, type, first, n, rows);
}

static int chunk_read(rd_store *s, const set *e, int64_t first, int64_t n, chunk *c)
{
    int rc = RD_OK;
    int64_t high = 0;
    chunk_free(c);
    c->n = n;
    c->low = INT64_MAX;
    c->kind = rd_new(uint8_t, n);
    c->label = rd_new(uint8_t, n);
    if (e->kind >= 0) RD_TRY(read_column(s, e, "kind", RD_U8, first, n, c->kind));
    if (e->label) RD_TRY(read_column(s, e, "label", RD_U8, first, n, c->label));
    for (int k = 0; k < MAX_TEXTS && e->columns[k]; k++) {
        c->id[k] = rd_new(int64_t, n);
        RD_TRY(read_column(s, e, e->columns[k], RD_I64, first, n, c->id[k]));
        for (int64_t i = 0; i < n; i++) {
            if (c->id[k][i] < 0) RD_FAIL(RD_EINPUT, "datasets: a row has no %s", e->columns[k]);
            if (c->id[k][i] < c->low) c->low = c->id[k][i];
            if (c->id[k][i] >= high) high = c->id[k][i] + 1;
        }
    }
    if (n > 0) RD_TRY(rd_store_read_text(s, c->low, high - c->low, &c->text));
done:
    return rc;
}

/* ---------------------------------------------------------------- files */

static int write_set(rd_store *s, const set *e, const char *dir, int64_t *rows)
{
    int rc = RD_OK;
    int64_t total = 0;
    rd_outfile *f = NULL;
    rd_buf out = {0}, path = {0};
    chunk c = {0};
    char name[64];
    *rows = 0;
    snprintf(name, sizeof name, "%s/prompt", e->table);
    RD_TRY(rd_store_rows(s, name, &total));
    rd_buf_printf(&path, "%s/%s.json", dir, e->name);
    RD_TRY(rd_outfile_create(path.data, &f));
    for (int64_t first = 0; first < total; first += CHUNK) {
        RD_TRY(chunk_read(s, e, first, total - first < CHUNK ? total - first : CHUNK, &c));
        rd_buf_clear(&out);
        for (int64_t i = 0; i < c.n; i++) {
            const char *text[MAX_TEXTS] = {0};
            if (e->kind >= 0 && c.kind[i] != e->kind) continue;
            for (int k = 0; k < MAX_TEXTS && e->columns[k]; k++)
                text[k] = rd_pool_get(&c.text, c.id[k][i] - c.low, NULL);
            rd_buf_puts(&out, (*rows)++ == 0 ? "[\n" : ",\n");
            e->put(text, c.label[i], &out);
        }
        if (out.len > 0) RD_TRY(rd_outfile_write(f, out.data, out.len));
    }
    const char *end = *rows > 0 ? "\n]" : "[]";
    RD_TRY(rd_outfile_write(f, end, 2));
    RD_TRY(rd_outfile_commit(&f));
done:
    rd_outfile_close(&f);
    chunk_free(&c);
    rd_buf_free(&out);
    rd_buf_free(&path);
    return rc;
}

static int write_info(const char *dir)
{
    rd_buf out = {0}, path = {0};
    rd_buf_puts(&out, "{\n");
    for (int i = 0; i < RD_LLAMA_FACTORY_SETS; i++)
        rd_buf_printf(&out, "    \"%s\": {\n        \"file_name\": \"%s.json\"%s\n    }%s\n",
                      sets[i].name, sets[i].name, sets[i].info,
                      i + 1 < RD_LLAMA_FACTORY_SETS ? "," : "");
    rd_buf_puts(&out, "}\n");
    rd_buf_printf(&path, "%s/dataset_info.json", dir);
    int rc = rd_file_write_atomic(path.data, out.data, out.len);
    rd_buf_free(&out);
    rd_buf_free(&path);
    return rc;
}

int rd_export_llama_factory(const char *datasets, const char *dir, int64_t *rows)
{
    int rc = RD_OK;
    rd_comm self = rd_comm_self();
    rd_store *s = NULL;
    int64_t counted[RD_LLAMA_FACTORY_SETS];
    RD_TRY(rd_store_open(&self, datasets, "redistill.datasets", 1, &s));
    if (!rd_store_has(s, "kto"))
        RD_FAIL(RD_EINPUT, "%s: has no labels: make it again with the stage filter", datasets);
    RD_TRY(rd_dir_make(dir));
    for (int i = 0; i < RD_LLAMA_FACTORY_SETS; i++)
        RD_TRY(write_set(s, &sets[i], dir, &counted[i]));
    RD_TRY(write_info(dir));
    if (rows) memcpy(rows, counted, sizeof counted);
done:
    rd_store_close(&s);
    return rc;
}
