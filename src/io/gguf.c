/* gguf.c: reading the header of a .gguf file, versions 2 and 3, little-endian.
 *
 *   "GGUF" | u32 version | u64 tensors | u64 key-values
 *   key-values: string key | u32 type | value
 *   tensors:    string name | u32 rank | u64 ne[rank] | u32 type | u64 offset
 *   padding to general.alignment (32) | data
 *
 * A string is u64 length and bytes, an array u32 type, u64 count and elements.  ne[0] is the
 * contiguous dimension.  Offsets count from the data's first byte. */
#include "modelfile.h"
#include <stdlib.h>
#include <string.h>

enum {
    MAX_TENSORS = 1 << 20,
    MAX_KEYS = 1 << 16,
    MAX_DEPTH = 4, /* of arrays in arrays */
    MAX_RANK = 4
};

/* ---------------------------------------------------------------- the types */

typedef enum { STRING = 8, ARRAY = 9, N_TYPES = 13 } value_type; /* those with cases of their own */

static const struct {
    rd_meta_kind kind;
    int width; /* bytes at least */
    bool is_signed;
} value_types[N_TYPES] = {
    {RD_META_INT, 1, false},    {RD_META_INT, 1, true},   {RD_META_INT, 2, false},
    {RD_META_INT, 2, true},     {RD_META_INT, 4, false},  {RD_META_INT, 4, true},
    {RD_META_REAL, 4, true},    {RD_META_BOOL, 1, false}, {RD_META_STRING, 8, false},
    {RD_META_ARRAY, 12, false}, {RD_META_INT, 8, false},  {RD_META_INT, 8, true},
    {RD_META_REAL, 8, true},
};

/* ggml's formats by number.  Those that dtype.c knows are read, the others listed. */
static const rd_format_info tensor_types[] = {
    [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},         [2] = {"Q4_0", 32, 18},
    [3] = {"Q4_1", 32, 20},      [6] = {"Q5_0", 32, 22},      [7] = {"Q5_1", 32, 24},
    [8] = {"Q8_0", 32, 34},      [9] = {"Q8_1", 32, 40},      [10] = {"Q2_K", 256, 84},
    [11] = {"Q3_K", 256, 110},   [12] = {"Q4_K", 256, 144},   [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},   [15] = {"Q8_K", 256, 292},   [16] = {"IQ2_XXS", 256, 66},
    [17] = {"IQ2_XS", 256, 74},  [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50},
    [20] = {"IQ4_NL", 32, 18},   [21] = {"IQ3_S", 256, 110},  [22] = {"IQ2_S", 256, 82},
    [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1},         [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},        [27] = {"I64", 1, 8},        [28] = {"F64", 1, 8},
    [29] = {"IQ1_M", 256, 56},   [30] = {"BF16", 1, 2},       [34] = {"TQ1_0", 256, 54},
    [35] = {"TQ2_0", 256, 66},   [39] = {"MXFP4", 32, 17},    [40] = {"NVFP4", 64, 36},
};
enum { N_TENSOR_TYPES = sizeof(tensor_types) / sizeof(*tensor_types) };

/* ---------------------------------------------------------------- the cursor */

typedef struct reader {
    rd_weights *w;
    int file;
    const char *path;
    const uint8_t *data;
    int64_t n, at;
} reader;

/* The next k bytes; what says whose they are. */
static int take(reader *r, uint64_t k, const char *what, const uint8_t **bytes)
{
    int rc = RD_OK;
    if (k > (uint64_t)(r->n - r->at))
        RD_FAIL(RD_EINPUT, "%s: byte %lld: %s: %llu bytes are wanted, %lld are left", r->path,
                (long long)r->at, what, (unsigned long long)k, (long long)(r->n - r->at));
    *bytes = r->data + r->at;
    r->at += (int64_t)k;

done:
    return rc;
}

static int take_u32(reader *r, const char *what, uint32_t *v)
{
    const uint8_t *bytes;
    const int rc = take(r, sizeof(*v), what, &bytes);
    if (rc == RD_OK) memcpy(v, bytes, sizeof(*v));
    return rc;
}

static int take_u64(reader *r, const char *what, uint64_t *v)
{
    const uint8_t *bytes;
    const int rc = take(r, sizeof(*v), what, &bytes);
    if (rc == RD_OK) memcpy(v, bytes, sizeof(*v));
    return rc;
}

static int take_string(reader *r, const char *what, const uint8_t **text, uint64_t *n)
{
    int rc = RD_OK;
    RD_TRY(take_u64(r, what, n));
    RD_TRY(take(r, *n, what, text));

done:
    return rc;
}

/* ---------------------------------------------------------------- key-values */

static int take_array(reader *r, const char *key, int depth, rd_meta *m);

/* m->n elements of a type, the key for messages. */
static int take_values(reader *r, const char *key, uint32_t type, int depth, rd_meta *m)
{
    int rc = RD_OK;
    const uint8_t *text;
    uint64_t n;
    if (type >= N_TYPES)
        RD_FAIL(RD_EINPUT, "%s: key '%s': unknown value type %u", r->path, key, type);
    m->kind = value_types[type].kind;
    m->width = value_types[type].width;
    m->is_signed = value_types[type].is_signed;
    /* Also for strings and arrays, which are longer: room is made only for what can be there. */
    if (m->n > (r->n - r->at) / m->width)
        RD_FAIL(RD_EINPUT, "%s: key '%s': %lld values in the %lld bytes left", r->path, key,
                (long long)m->n, (long long)(r->n - r->at));
    if (type == ARRAY) {
        m->item = rd_new(rd_meta, m->n);
        for (int64_t i = 0; i < m->n; i++) RD_TRY(take_array(r, key, depth + 1, &m->item[i]));
    } else if (type == STRING && m->array) {
        m->data = r->data;
        m->offset = rd_new(int64_t, m->n);
        for (int64_t i = 0; i < m->n; i++) {
            m->offset[i] = r->at;
            RD_TRY(take_string(r, key, &text, &n));
        }
    } else if (type == STRING) {
        RD_TRY(take_string(r, key, &text, &n));
        m->n_text = (int64_t)n;
        m->text = rd_new(char, m->n_text + 1);
        if (n > 0) memcpy(m->text, text, (size_t)n);
    } else {
        RD_TRY(take(r, (uint64_t)(m->n * m->width), key, &m->data));
    }

done:
    return rc;
}

static int take_array(reader *r, const char *key, int depth, rd_meta *m)
{
    int rc = RD_OK;
    uint32_t type;
    uint64_t n;
    m->array = true;
    if (depth > MAX_DEPTH)
        RD_FAIL(RD_EINPUT, "%s: key '%s': arrays nested deeper than %d", r->path, key, MAX_DEPTH);
    RD_TRY(take_u32(r, key, &type));
    RD_TRY(take_u64(r, key, &n));
    if (n > (uint64_t)r->n)
        RD_FAIL(RD_EINPUT, "%s: key '%s': an array of %llu values in a file of %lld bytes", r->path,
                key, (unsigned long long)n, (long long)r->n);
    m->n = (int64_t)n;
    RD_TRY(take_values(r, key, type, depth, m));

done:
    /* What was not filled must not be looked at when this is freed. */
    if (rc != RD_OK && m->item == NULL) m->n = 0;
    return rc;
}

static int take_key_value(reader *r)
{
    int rc = RD_OK;
    uint32_t type;
    uint64_t n;
    const uint8_t *key;
    rd_meta *m;
    RD_TRY(take_string(r, "a key", &key, &n));
    RD_TRY(rd_weights_add_meta(r->w, r->file, (const char *)key, (int64_t)n, &m));
    RD_TRY(take_u32(r, m->key, &type));
    if (type == ARRAY)
        RD_TRY(take_array(r, m->key, 1, m));
    else
        RD_TRY(take_values(r, m->key, type, 1, m));

done:
    return rc;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp((*(const rd_meta *const *)a)->key, (*(const rd_meta *const *)b)->key);
}

static int check_keys(const rd_weights *w, const char *path)
{
    int rc = RD_OK;
    const rd_meta **order = rd_new(const rd_meta *, w->n_meta);
    for (int64_t i = 0; i < w->n_meta; i++) order[i] = &w->meta[i];
    if (w->n_meta > 0) qsort(order, (size_t)w->n_meta, sizeof(*order), compare_keys);
    for (int64_t i = 1; i < w->n_meta; i++)
        if (strcmp(order[i - 1]->key, order[i]->key) == 0)
            RD_FAIL(RD_EINPUT, "%s: key '%s' is there twice", path, order[i]->key);

done:
    rd_free(order);
    return rc;
}

static int get_alignment(const rd_weights *w, const char *path, int64_t *alignment)
{
    int rc = RD_OK;
    const rd_meta *m = rd_weights_meta(w, "general.alignment");
    *alignment = 32;
    if (m == NULL) goto done;
    *alignment = m->array ? 0 : rd_meta_int(m, 0);
    if (*alignment < 8 || *alignment > 1 << 24 || (*alignment & (*alignment - 1)) != 0)
        RD_FAIL(RD_EINPUT, "%s: key 'general.alignment': expected a power of two from 8, got %lld",
                path, (long long)*alignment);

done:
    return rc;
}

/* ---------------------------------------------------------------- tensors */

static int set_dims(reader *r, rd_tensor *t)
{
    int rc = RD_OK;
    uint32_t rank;
    RD_TRY(take_u32(r, t->name, &rank));
    if (rank > MAX_RANK)
        RD_FAIL(RD_EINPUT, "%s: tensor '%s': %u dimensions", r->path, t->name, rank);
    t->rank = (int)rank;
    for (int i = t->rank - 1; i >= 0; i--) {
        uint64_t ne;
        RD_TRY(take_u64(r, t->name, &ne));
        if (ne > INT64_MAX)
            RD_FAIL(RD_EINPUT, "%s: tensor '%s': a dimension of %llu", r->path, t->name,
                    (unsigned long long)ne);
        t->dims[i] = (int64_t)ne;
    }

done:
    return rc;
}

/* One entry; t->data stays NULL until the data's place is known, *offset counts from there. */
static int take_tensor(reader *r, uint64_t *offset)
{
    int rc = RD_OK;
    const uint8_t *name;
    uint64_t n;
    uint32_t type;
    int64_t elements;
    rd_tensor *t;
    RD_TRY(take_string(r, "a tensor's name", &name, &n));
    RD_TRY(rd_weights_add(r->w, r->file, (const char *)name, (int64_t)n, &t));
    RD_TRY(set_dims(r, t));
    RD_TRY(take_u32(r, t->name, &type));
    RD_TRY(take_u64(r, t->name, offset));
    if (type >= N_TENSOR_TYPES || tensor_types[type].name == NULL)
        RD_FAIL(RD_EINPUT, "%s: tensor '%s': unknown type %u", r->path, t->name, type);
    const rd_format_info info = tensor_types[type];
    t->type = info.name;
    t->format = rd_format_find(info.name);
    RD_TRY(rd_tensor_elements(r->w, t, &elements));
    const int64_t contiguous = t->rank > 0 ? t->dims[t->rank - 1] : 1;
    if (contiguous % info.block != 0)
        RD_FAIL(RD_EINPUT, "%s: tensor '%s': rows of %lld are not whole blocks of %d (%s)", r->path,
                t->name, (long long)contiguous, info.block, t->type);
    /* No format has more than 8 numbers to the byte; behind this nothing overflows. */
    if (elements / 8 > r->n)
        RD_FAIL(RD_EINPUT, "%s: tensor '%s': %lld numbers in a file of %lld bytes", r->path,
                t->name, (long long)elements, (long long)r->n);
    t->n_bytes = elements / info.block * info.bytes;

done:
    return rc;
}

static int place_tensors(reader *r, const uint64_t *offset)
{
    int rc = RD_OK;
    int64_t alignment, start = r->at;
    RD_TRY(get_alignment(r->w, r->path, &alignment));
    start = (start + alignment - 1) / alignment * alignment;
    /* A file of metadata alone need not be padded. */
    const int64_t room = start < r->n ? r->n - start : 0;
    for (int64_t i = 0; i < r->w->n; i++) {
        rd_tensor *t = &r->w->tensor[i];
        if (offset[i] % (uint64_t)alignment != 0)
            RD_FAIL(RD_EINPUT, "%s: tensor '%s': offset %llu is not a multiple of %lld", r->path,
                    t->name, (unsigned long long)offset[i], (long long)alignment);
        if (offset[i] > (uint64_t)room || t->n_bytes > room - (int64_t)offset[i])
            RD_FAIL(RD_EINPUT, "%s: tensor '%s': %lld bytes at %llu of %lld", r->path, t->name,
                    (long long)t->n_bytes, (unsigned long long)offset[i], (long long)room);
        t->data = room > 0 ? r->data + start + offset[i] : r->data;
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

static int check_overlap(const rd_weights *w, const char *path)
{
    int rc = RD_OK;
    const rd_tensor **order = rd_new(const rd_tensor *, w->n);
    for (int64_t i = 0; i < w->n; i++) order[i] = &w->tensor[i];
    if (w->n > 0) qsort(order, (size_t)w->n, sizeof(*order), compare_places);
    for (int64_t i = 1; i < w->n; i++)
        if ((const uint8_t *)order[i - 1]->data + order[i - 1]->n_bytes >
            (const uint8_t *)order[i]->data)
            RD_FAIL(RD_EINPUT, "%s: tensor '%s' overlaps '%s'", path, order[i]->name,
                    order[i - 1]->name);

done:
    rd_free(order);
    return rc;
}

/* ---------------------------------------------------------------- rotary order */

/* The layer of "blk.N.TAIL", -1 for other names. */
static int64_t layer_of(const char *name, const char *tail)
{
    char *end;
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9') return -1;
    const int64_t layer = strtoll(name + 4, &end, 10);
    return *end == '.' && strcmp(end + 1, tail) == 0 ? layer : -1;
}

/* Heads of a layer by a key that is one number or one per layer; 0 when it says nothing. */
static int64_t heads_of(const rd_weights *w, const char *key, int64_t layer)
{
    const rd_meta *m = rd_weights_meta(w, key);
    return m == NULL ? 0 : rd_meta_int(m, m->array ? layer : 0);
}

/* llama.cpp turns the rows of Q and K round for its "llama" architecture and for that alone:
 * Qwen2's stay as they were.  Biases go with their weights. */
static int mark_rope(rd_weights *w, const char *path)
{
    static const struct {
        const char *tail;
        bool is_key;
    } kinds[] = {{"attn_q.weight", false},
                 {"attn_q.bias", false},
                 {"attn_k.weight", true},
                 {"attn_k.bias", true}};
    int rc = RD_OK;
    const rd_meta *m = rd_weights_meta(w, "general.architecture");
    const char *architecture = m != NULL ? rd_meta_string(m, 0, NULL) : NULL;
    if (architecture == NULL || m->array || strcmp(architecture, "llama") != 0) goto done;
    for (int64_t i = 0; i < w->n; i++) {
        rd_tensor *t = &w->tensor[i];
        for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
            const int64_t layer = layer_of(t->name, kinds[k].tail);
            if (layer < 0) continue;
            int64_t heads = 0;
            if (kinds[k].is_key) heads = heads_of(w, "llama.attention.head_count_kv", layer);
            if (heads == 0) heads = heads_of(w, "llama.attention.head_count", layer);
            const int64_t rows = t->rank >= 1 && t->rank <= 2 ? t->dims[0] : 0;
            if (heads < 1 || rows < 1 || rows % heads != 0 || rows / heads % 2 != 0)
                RD_FAIL(RD_EINPUT, "%s: tensor '%s': %lld rows are not %lld heads of an even size",
                        path, t->name, (long long)rows, (long long)heads);
            if (t->rank == 1 && t->format > RD_FORMAT_BF16 && t->format != RD_FORMAT_OTHER)
                RD_FAIL(RD_EINPUT, "%s: tensor '%s': a vector in %s", path, t->name, t->type);
            t->rope_head_size = rows / heads;
        }
    }

done:
    return rc;
}

/* ---------------------------------------------------------------- the file */

static int check_head(reader *r, uint64_t *n_tensors, uint64_t *n_keys)
{
    int rc = RD_OK;
    const uint8_t *magic;
    uint32_t version;
    RD_TRY(take(r, 4, "the magic number", &magic));
    if (memcmp(magic, "GGUF", 4) != 0) RD_FAIL(RD_EINPUT, "%s: not a GGUF file", r->path);
    RD_TRY(take_u32(r, "the version", &version));
    if (version > 0 && (version & 0xffff) == 0)
        RD_FAIL(RD_EINPUT, "%s: a big-endian GGUF file", r->path);
    if (version < 2 || version > 3)
        RD_FAIL(RD_EINPUT, "%s: GGUF version %u; 2 and 3 are supported", r->path, version);
    r->w->format = version == 2 ? "GGUF version 2" : "GGUF version 3";
    RD_TRY(take_u64(r, "the number of tensors", n_tensors));
    RD_TRY(take_u64(r, "the number of keys", n_keys));
    if (*n_tensors > MAX_TENSORS || *n_keys > MAX_KEYS)
        RD_FAIL(RD_EINPUT, "%s: %llu tensors and %llu keys; at most %d and %d are allowed", r->path,
                (unsigned long long)*n_tensors, (unsigned long long)*n_keys, MAX_TENSORS, MAX_KEYS);

done:
    return rc;
}

int rd_gguf_parse(rd_weights *w, int file)
{
    int rc = RD_OK;
    uint64_t n_tensors, n_keys, *offset = NULL;
    const rd_map *m = &w->map[file];
    reader r = {.w = w, .file = file, .path = m->path, .data = m->data, .n = m->n};
    RD_TRY(check_head(&r, &n_tensors, &n_keys));
    for (uint64_t i = 0; i < n_keys; i++) RD_TRY(take_key_value(&r));
    RD_TRY(check_keys(w, r.path));
    offset = rd_new(uint64_t, n_tensors);
    for (uint64_t i = 0; i < n_tensors; i++) RD_TRY(take_tensor(&r, &offset[i]));
    RD_TRY(place_tensors(&r, offset));
    RD_TRY(check_overlap(w, r.path));
    RD_TRY(mark_rope(w, r.path));

done:
    rd_free(offset);
    return rc;
}
