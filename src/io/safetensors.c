/* safetensors.c: reading the header of a .safetensors file.
 *
 *   u64 length | JSON of that many bytes | data
 *   JSON: {"NAME": {"dtype": "BF16", "shape": [out, in], "data_offsets": [begin, end]}, …,
 *          "__metadata__": {"KEY": "VALUE", …}}
 *
 * Offsets count from the data's first byte.  As in the format's own reader, tensors must cover the
 * data without gaps: nothing can hide in a file that passes. */
#include "modelfile.h"
#include "io_private.h"
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER ((int64_t)100000000) /* that of the format's own reader */

/* What is listed but not read.  Bits, because the smallest share bytes. */
static const struct {
    const char *name;
    int bits;
} other_types[] = {{"BOOL", 8},    {"U8", 8},   {"I8", 8},      {"F8_E5M2", 8}, {"F8_E4M3", 8},
                   {"F8_E8M0", 8}, {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"I16", 16},
                   {"U16", 16},    {"I32", 32}, {"U32", 32},    {"I64", 64},    {"U64", 64},
                   {"F64", 64},    {"C64", 64}};

/* A tensor's format; RD_EINPUT for a name that is nobody's. */
static int set_type(const rd_weights *w, rd_tensor *t, const char *name, int *bits)
{
    int rc = RD_OK;
    t->format = name != NULL ? rd_format_find(name) : RD_FORMAT_OTHER;
    if (t->format > RD_FORMAT_BF16) t->format = RD_FORMAT_OTHER; /* blocks are ggml's */
    if (t->format != RD_FORMAT_OTHER) {
        const rd_format_info info = rd_format_get(t->format);
        t->type = info.name;
        *bits = 8 * info.bytes;
        goto done;
    }
    for (size_t i = 0; name != NULL && i < sizeof(other_types) / sizeof(*other_types); i++)
        if (strcmp(other_types[i].name, name) == 0) {
            t->type = other_types[i].name;
            *bits = other_types[i].bits;
            goto done;
        }
    RD_FAIL(RD_EINPUT, "%s: tensor '%s': unknown dtype %.40s", w->map[t->file].path, t->name,
            name != NULL ? name : "(none)");

done:
    return rc;
}

/* A list of at most max integers >= 0; what says which. */
static int get_list(const rd_weights *w, const rd_tensor *t, const rd_json_node *v,
                    const char *what, int max, int *n, int64_t *list)
{
    int rc = RD_OK;
    const char *path = w->map[t->file].path;
    *n = 0;
    if (v == NULL || rd_json_kind(v) != RD_JSON_ARRAY)
        RD_FAIL(RD_EINPUT, "%s: tensor '%s': no list '%s'", path, t->name, what);
    for (const rd_json_node *e = rd_json_first(v); e != NULL; e = rd_json_next(e)) {
        if (!rd_json_is_int(e) || rd_json_int(e) < 0)
            RD_FAIL(RD_EINPUT, "%s: tensor '%s': '%s': expected integers >= 0", path, t->name,
                    what);
        if (*n == max)
            RD_FAIL(RD_EINPUT, "%s: tensor '%s': '%s': more than %d numbers", path, t->name, what,
                    max);
        list[(*n)++] = rd_json_int(e);
    }

done:
    return rc;
}

/* data: n_data bytes. */
static int add_tensor(rd_weights *w, int file, const rd_json_node *v, const uint8_t *data,
                      int64_t n_data)
{
    int rc = RD_OK, bits = 0, n = 0;
    int64_t at[2], elements, want;
    rd_tensor *t;
    const char *path = w->map[file].path, *key = rd_json_key(v);
    RD_TRY(rd_weights_add(w, file, key, (int64_t)strlen(key), &t));
    if (rd_json_kind(v) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s: tensor '%s': expected an object, got a %s", path, key,
                rd_json_kind_name(rd_json_kind(v)));
    const rd_json_node *dtype = rd_json_get(v, "dtype");
    RD_TRY(set_type(w, t, dtype != NULL ? rd_json_string(dtype) : NULL, &bits));
    RD_TRY(get_list(w, t, rd_json_get(v, "shape"), "shape", RD_STORE_MAX_RANK, &t->rank, t->dims));
    RD_TRY(get_list(w, t, rd_json_get(v, "data_offsets"), "data_offsets", 2, &n, at));
    if (n != 2) RD_FAIL(RD_EINPUT, "%s: tensor '%s': data_offsets are not two", path, key);
    if (at[0] > at[1] || at[1] > n_data)
        RD_FAIL(RD_EINPUT, "%s: tensor '%s': bytes %lld … %lld of %lld", path, key,
                (long long)at[0], (long long)at[1], (long long)n_data);
    RD_TRY(rd_tensor_elements(w, t, &elements));
    t->n_bytes = at[1] - at[0];
    t->data = data + at[0];
    if (__builtin_mul_overflow(elements, (int64_t)bits, &want) || want != 8 * t->n_bytes)
        RD_FAIL(RD_EINPUT, "%s: tensor '%s': %lld numbers of %d bits do not fit %lld bytes", path,
                key, (long long)elements, bits, (long long)t->n_bytes);

done:
    return rc;
}

static int add_metadata(rd_weights *w, int file, const rd_json_node *object)
{
    int rc = RD_OK;
    const char *path = w->map[file].path;
    if (rd_json_kind(object) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s: __metadata__ is not an object", path);
    for (const rd_json_node *v = rd_json_first(object); v != NULL; v = rd_json_next(v)) {
        const char *key = rd_json_key(v), *text = rd_json_string(v);
        rd_meta *m;
        if (text == NULL)
            RD_FAIL(RD_EINPUT, "%s: __metadata__: '%.100s' is not a string", path, key);
        if (file > 0 && rd_weights_meta(w, key) != NULL) continue;
        RD_TRY(rd_weights_add_meta(w, file, key, (int64_t)strlen(key), &m));
        m->kind = RD_META_STRING;
        m->n_text = (int64_t)strlen(text);
        m->text = rd_strdup(text);
    }

done:
    return rc;
}

static int compare_places(const void *a, const void *b)
{
    const rd_tensor *s = *(const rd_tensor *const *)a, *t = *(const rd_tensor *const *)b;
    if (s->data != t->data) return (const uint8_t *)s->data < (const uint8_t *)t->data ? -1 : 1;
    return s->n_bytes < t->n_bytes ? -1 : s->n_bytes > t->n_bytes;
}

/* The tensors from the first-th on cover the data from its first byte to its end, each byte once.
 */
static int check_cover(const rd_weights *w, int file, int64_t first, const uint8_t *data)
{
    int rc = RD_OK;
    const rd_map *m = &w->map[file];
    const int64_t n = w->n - first;
    const uint8_t *at = data;
    const rd_tensor **order = rd_new(const rd_tensor *, n);
    for (int64_t i = 0; i < n; i++) order[i] = &w->tensor[first + i];
    if (n > 0) qsort(order, (size_t)n, sizeof(*order), compare_places);
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *begin = order[i]->data;
        if (begin != at)
            RD_FAIL(RD_EINPUT, "%s: tensor '%s' %s the one before it", m->path, order[i]->name,
                    begin < at ? "overlaps" : "leaves a gap behind");
        at = begin + order[i]->n_bytes;
    }
    if (at != m->data + m->n)
        RD_FAIL(RD_EINPUT, "%s: %lld bytes behind the last tensor", m->path,
                (long long)(m->data + m->n - at));

done:
    rd_free(order);
    return rc;
}

int rd_safetensors_parse(rd_weights *w, int file)
{
    int rc = RD_OK;
    uint64_t length;
    rd_json *doc = NULL;
    /* Adding tensors never moves maps. */
    const rd_map *m = &w->map[file];
    const int64_t first = w->n;
    w->format = "safetensors";
    if (m->n < (int64_t)sizeof(length))
        RD_FAIL(RD_EINPUT, "%s: %lld bytes are not a safetensors file", m->path, (long long)m->n);
    memcpy(&length, m->data, sizeof(length));
    if (length > (uint64_t)m->n - sizeof(length))
        RD_FAIL(RD_EINPUT, "%s: a header of %llu bytes in a file of %lld", m->path,
                (unsigned long long)length, (long long)m->n);
    if (length > (uint64_t)MAX_HEADER)
        RD_FAIL(RD_EINPUT, "%s: a header of %llu bytes; at most %lld are allowed", m->path,
                (unsigned long long)length, (long long)MAX_HEADER);
    const uint8_t *text = m->data + sizeof(length), *data = text + length;
    RD_TRY(rd_json_parse((const char *)text, (size_t)length, m->path, 1, &doc));
    if (rd_json_kind(rd_json_root(doc)) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s: the header is not an object", m->path);
    for (const rd_json_node *v = rd_json_first(rd_json_root(doc)); v != NULL; v = rd_json_next(v)) {
        if (strcmp(rd_json_key(v), "__metadata__") == 0)
            RD_TRY(add_metadata(w, file, v));
        else
            RD_TRY(add_tensor(w, file, v, data, m->data + m->n - data));
    }
    RD_TRY(check_cover(w, file, first, data));

done:
    rd_json_free(&doc);
    return rc;
}
