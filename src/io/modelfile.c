/* modelfile.c: a model's tensors, whatever the files: opening, finding, reading a share.
 *
 * Files are mapped read-only.  What their bytes claim is checked once, by the parsers of the two
 * formats, so that a tensor that exists lies inside its file.  What cannot be checked once is that
 * the file stays: reading a mapped page behind the end of a file that somebody has cut meanwhile
 * kills the process, so each read looks at the size first. */
#include "modelfile.h"
#include "io_private.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILES = 4096, MAX_NAME = 1024 };
/* Of tensors without elements too, so that a row's bytes never overflow. */
#define MAX_DIM ((int64_t)1 << 48)

/* Pages that a read has touched are given back in pieces of this size, so that a large tensor does
 * not stand in memory twice. */
#define RELEASE_BYTES ((int64_t)32 << 20)

bool rd_ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* ---------------------------------------------------------------- names and lists */

static int check_name(const rd_weights *w, int file, const char *what, const char *name, int64_t n)
{
    int rc = RD_OK;
    const char *path = w->map[file].path;
    if (n < 1) RD_FAIL(RD_EINPUT, "%s: a %s without a name", path, what);
    if (n > MAX_NAME) RD_FAIL(RD_EINPUT, "%s: a %s name of %lld bytes", path, what, (long long)n);
    for (int64_t i = 0, k; i < n; i += k) {
        const unsigned char c = (unsigned char)name[i];
        k = c < 0x20 || c == 0x7f ? 0 : rd_utf8_length(name + i, name + n);
        if (k == 0)
            RD_FAIL(RD_EINPUT, "%s: %s name '%.*s…': byte 0x%02x is %s", path, what, (int)i, name,
                    c, c < 0x80 ? "a control character" : "not UTF-8");
    }

done:
    return rc;
}

int rd_weights_add(rd_weights *w, int file, const char *name, int64_t n, rd_tensor **t)
{
    int rc = RD_OK;
    RD_TRY(check_name(w, file, "tensor", name, n));
    if (w->n == w->cap) {
        w->cap = w->cap > 0 ? 2 * w->cap : 64;
        rd_resize(w->tensor, w->cap);
    }
    *t = &w->tensor[w->n++];
    **t = (rd_tensor){.name = rd_strndup(name, (size_t)n), .file = file};

done:
    return rc;
}

int rd_weights_add_meta(rd_weights *w, int file, const char *key, int64_t n, rd_meta **m)
{
    int rc = RD_OK;
    RD_TRY(check_name(w, file, "metadata", key, n));
    if (w->n_meta == w->cap_meta) {
        w->cap_meta = w->cap_meta > 0 ? 2 * w->cap_meta : 64;
        rd_resize(w->meta, w->cap_meta);
    }
    *m = &w->meta[w->n_meta++];
    **m = (rd_meta){.key = rd_strndup(key, (size_t)n), .n = 1};

done:
    return rc;
}

int rd_tensor_elements(const rd_weights *w, const rd_tensor *t, int64_t *n)
{
    int rc = RD_OK;
    bool empty = false;
    *n = 1;
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] < 0 || t->dims[i] > MAX_DIM)
            RD_FAIL(RD_EINPUT, "%s: tensor '%s': dimension %d is %lld", w->map[t->file].path,
                    t->name, i, (long long)t->dims[i]);
        if (t->dims[i] == 0) empty = true;
    }
    for (int i = 0; i < t->rank && !empty; i++)
        if (__builtin_mul_overflow(*n, t->dims[i], n))
            RD_FAIL(RD_EINPUT, "%s: tensor '%s': the product of its dimensions overflows",
                    w->map[t->file].path, t->name);
    if (empty) *n = 0;

done:
    return rc;
}

static int compare_names(const void *a, const void *b, void *data)
{
    const rd_weights *w = data;
    return strcmp(w->tensor[*(const int64_t *)a].name, w->tensor[*(const int64_t *)b].name);
}

/* All tensors are there: order them by name, refuse two of one name. */
static int index_names(rd_weights *w)
{
    int rc = RD_OK;
    w->by_name = rd_new(int64_t, w->n);
    for (int64_t i = 0; i < w->n; i++) w->by_name[i] = i;
    if (w->n > 0) qsort_r(w->by_name, (size_t)w->n, sizeof(int64_t), compare_names, w);
    for (int64_t i = 1; i < w->n; i++) {
        const rd_tensor *a = &w->tensor[w->by_name[i - 1]], *b = &w->tensor[w->by_name[i]];
        if (strcmp(a->name, b->name) == 0)
            RD_FAIL(RD_EINPUT, "%s: tensor '%s' is there twice%s%s", w->map[b->file].path, b->name,
                    a->file != b->file ? ", also in " : "",
                    a->file != b->file ? w->map[a->file].path : "");
    }

done:
    return rc;
}

/* ---------------------------------------------------------------- opening */

/* A new map that w owns; path is taken. */
static rd_map *add_map(rd_weights *w, char *path)
{
    rd_resize(w->map, w->n_maps + 1);
    rd_map *m = &w->map[w->n_maps++];
    *m = (rd_map){.path = path, .fd = -1};
    return m;
}

static int map_file(rd_weights *w, char *path)
{
    int rc = RD_OK;
    struct stat st;
    rd_map *m = add_map(w, path);
    /* Opening anything else, a pipe for instance, could wait for ever. */
    if (stat(path, &st) != 0) RD_FAIL(RD_EINPUT, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode)) RD_FAIL(RD_EINPUT, "%s: not a regular file", path);
    m->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (m->fd < 0 || fstat(m->fd, &st) != 0) RD_FAIL(RD_EINPUT, "%s: %s", path, strerror(errno));
    if (st.st_size == 0) RD_FAIL(RD_EINPUT, "%s: an empty file", path);
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, m->fd, 0);
    if (data == MAP_FAILED) RD_FAIL(RD_EINPUT, "%s: %s", path, strerror(errno));
    m->data = data;
    m->n = st.st_size;

done:
    return rc;
}

static int open_single(rd_weights *w, const char *path)
{
    int rc = RD_OK;
    RD_TRY(map_file(w, rd_strdup(path)));
    const bool safetensors = rd_ends_with(path, ".safetensors");
    const bool magic = w->map[0].n >= 4 && memcmp(w->map[0].data, "GGUF", 4) == 0;
    if (!safetensors && !magic && !rd_ends_with(path, ".gguf"))
        RD_FAIL(RD_EINPUT, "%s: neither a .safetensors nor a .gguf file", path);
    RD_TRY(safetensors ? rd_safetensors_parse(w, 0) : rd_gguf_parse(w, 0));

done:
    return rc;
}

char *rd_path_in(const char *folder, const char *name)
{
    rd_buf b = {0};
    rd_buf_printf(&b, "%s/%s", folder, name);
    return rd_buf_take(&b);
}

/* The number among w's maps of the file that the index calls name, mapped and parsed when new. */
static int open_shard(rd_weights *w, const char *index, int line, const char *name, int *file)
{
    int rc = RD_OK;
    if (name == NULL || strchr(name, '/') != NULL || !rd_ends_with(name, ".safetensors"))
        RD_FAIL(RD_EINPUT, "%s:%d: expected the name of a .safetensors file in this folder, got %s",
                index, line, name != NULL ? name : "no string");
    char *path = rd_path_in(w->path, name);
    *file = 0;
    while (*file < w->n_maps && strcmp(w->map[*file].path, path) != 0) ++*file;
    if (*file < w->n_maps) {
        rd_free(path);
        goto done;
    }
    if (w->n_maps == MAX_FILES) {
        rd_free(path);
        RD_FAIL(RD_EINPUT, "%s:%d: more than %d files", index, line, MAX_FILES);
    }
    RD_TRY(map_file(w, path));
    RD_TRY(rd_safetensors_parse(w, *file));

done:
    return rc;
}

/* The index says which tensor lies in which file.  All files that it names are taken whole. */
static int open_index(rd_weights *w, const char *index)
{
    int rc = RD_OK, file;
    rd_json *doc = NULL;
    RD_TRY(rd_json_read(index, &doc));
    const rd_json_node *map = rd_json_get(rd_json_root(doc), "weight_map");
    if (map == NULL || rd_json_kind(map) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s: no object weight_map", index);
    for (const rd_json_node *v = rd_json_first(map); v != NULL; v = rd_json_next(v))
        RD_TRY(open_shard(w, index, rd_json_line(doc, v), rd_json_string(v), &file));
    RD_TRY(index_names(w));
    for (const rd_json_node *v = rd_json_first(map); v != NULL; v = rd_json_next(v)) {
        const rd_tensor *t = rd_weights_find(w, rd_json_key(v));
        const char *path = t != NULL ? w->map[t->file].path : NULL;
        if (path == NULL || strcmp(path + strlen(w->path) + 1, rd_json_string(v)) != 0)
            RD_FAIL(RD_EINPUT, "%s:%d: tensor '%s' is not in %s", index, rd_json_line(doc, v),
                    rd_json_key(v), rd_json_string(v));
    }

done:
    rd_json_free(&doc);
    return rc;
}

static int open_folder(rd_weights *w)
{
    int rc = RD_OK;
    char *single = rd_path_in(w->path, RD_MODEL_SINGLE),
         *index = rd_path_in(w->path, RD_MODEL_INDEX);
    if (rd_file_exists(single)) {
        RD_TRY(open_single(w, single));
        RD_TRY(index_names(w));
    } else if (rd_file_exists(index)) {
        RD_TRY(open_index(w, index));
    } else {
        RD_FAIL(RD_EINPUT, "%s: neither " RD_MODEL_SINGLE " nor " RD_MODEL_INDEX " in this folder",
                w->path);
    }

done:
    rd_free(single);
    rd_free(index);
    return rc;
}

int rd_weights_open(const char *path, rd_weights **out)
{
    int rc = RD_OK;
    struct stat st;
    rd_weights *w = rd_new(rd_weights, 1);
    *out = NULL;
    w->path = rd_strdup(path);
    if (stat(path, &st) != 0) RD_FAIL(RD_EINPUT, "%s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        RD_TRY(open_folder(w));
    } else {
        RD_TRY(open_single(w, path));
        RD_TRY(index_names(w));
    }
    *out = w;
    w = NULL;

done:
    rd_weights_close(&w);
    return rc;
}

int rd_weights_from_bytes(const char *name, bool gguf, const void *bytes, int64_t n,
                          rd_weights **out)
{
    int rc = RD_OK;
    rd_weights *w = rd_new(rd_weights, 1);
    *out = NULL;
    w->path = rd_strdup(name);
    rd_map *m = add_map(w, rd_strdup(name));
    m->data = bytes;
    m->n = n;
    RD_TRY(gguf ? rd_gguf_parse(w, 0) : rd_safetensors_parse(w, 0));
    RD_TRY(index_names(w));
    *out = w;
    w = NULL;

done:
    rd_weights_close(&w);
    return rc;
}

static void free_meta(rd_meta *m)
{
    for (int64_t i = 0; m->item != NULL && i < m->n; i++) free_meta(&m->item[i]);
    rd_free(m->item);
    rd_free(m->offset);
    rd_free(m->text);
    rd_free(m->key);
}

void rd_weights_close(rd_weights **pw)
{
    rd_weights *w = *pw;
    if (w == NULL) return;
    for (int64_t i = 0; i < w->n; i++) rd_free((char *)w->tensor[i].name);
    for (int64_t i = 0; i < w->n_meta; i++) free_meta(&w->meta[i]);
    for (int i = 0; i < w->n_maps; i++) {
        rd_map *m = &w->map[i];
        if (m->fd >= 0 && m->data != NULL) munmap((void *)m->data, (size_t)m->n);
        if (m->fd >= 0) close(m->fd);
        rd_free(m->path);
    }
    rd_free(w->tensor);
    rd_free(w->by_name);
    rd_free(w->meta);
    rd_free(w->map);
    rd_free(w->path);
    RD_FREE(*pw);
}

bool rd_weights_is(const char *path)
{
    struct stat st;
    char magic[4] = "";
    if (stat(path, &st) != 0) return false;
    if (S_ISDIR(st.st_mode) || rd_ends_with(path, ".safetensors") || rd_ends_with(path, ".gguf"))
        return true;
    if (!S_ISREG(st.st_mode)) return false;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const bool gguf = read(fd, magic, 4) == 4 && memcmp(magic, "GGUF", 4) == 0;
    close(fd);
    return gguf;
}

/* ---------------------------------------------------------------- looking up */

int64_t rd_weights_count(const rd_weights *w)
{
    return w->n;
}

const rd_tensor *rd_weights_tensor(const rd_weights *w, int64_t i)
{
    RD_ASSERT(i >= 0 && i < w->n);
    return &w->tensor[i];
}

const rd_tensor *rd_weights_find(const rd_weights *w, const char *name)
{
    for (int64_t lo = 0, hi = w->n; lo < hi;) {
        const int64_t mid = lo + (hi - lo) / 2;
        const rd_tensor *t = &w->tensor[w->by_name[mid]];
        const int order = strcmp(name, t->name);
        if (order == 0) return t;
        if (order < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

/* ---------------------------------------------------------------- slabs */

int rd_slab_check(rd_slab s, int64_t n)
{
    int rc = RD_OK;
    if (s.count == 0) return RD_OK;
    if (s.count < 0 || s.start < 0 || s.block < 1 || (s.count > 1 && s.stride < s.block) ||
        s.start + (s.count - 1) * s.stride >= n)
        RD_FAIL(RD_EINTERNAL, "slab %lld + %lld x %lld of %lld does not fit %lld elements",
                (long long)s.start, (long long)s.count, (long long)s.stride, (long long)s.block,
                (long long)n);

done:
    return rc;
}

int64_t rd_slab_below(rd_slab s, int64_t n, int64_t limit)
{
    if (limit > n) limit = n;
    if (s.count == 0 || limit <= s.start) return 0;
    if (s.count == 1) return limit - s.start < s.block ? limit - s.start : s.block;
    int64_t whole = (limit - s.start) / s.stride, rest = (limit - s.start) % s.stride;
    if (whole >= s.count) return s.count * s.block;
    return whole * s.block + (rest < s.block ? rest : s.block);
}

/* ---------------------------------------------------------------- reading */

int64_t rd_rope_row(int64_t i, int64_t head_size)
{
    const int64_t half = head_size / 2;
    return i < half ? 2 * i : 2 * (i - half) + 1;
}

static int check_length(const rd_map *m)
{
    int rc = RD_OK;
    struct stat st;
    if (m->fd >= 0 && (fstat(m->fd, &st) != 0 || st.st_size < m->n))
        RD_FAIL(RD_EINPUT, "%s: the file has become shorter since it was opened", m->path);

done:
    return rc;
}

static int check_read(const rd_weights *w, const rd_tensor *t, const rd_slab *slab)
{
    int rc = RD_OK;
    const rd_map *m = &w->map[t->file];
    if (t->format == RD_FORMAT_OTHER)
        RD_FAIL(RD_EINPUT, "%s: tensor '%s': weights in format %s are not supported", m->path,
                t->name, t->type);
    if (t->rank < 1 || t->rank > 2)
        RD_FAIL(RD_EINPUT, "%s: tensor '%s': expected a vector or a matrix, got %d dimensions",
                m->path, t->name, t->rank);
    for (int i = 0; i < t->rank; i++) RD_TRY(rd_slab_check(slab[i], t->dims[i]));
    RD_TRY(check_length(m));

done:
    return rc;
}

/* The map's pages from `from` to `to` are not needed in this process any more. */
static void release(const rd_map *m, const uint8_t *from, const uint8_t *to)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (m->fd < 0) return;
    const uintptr_t a = (uintptr_t)from / page * page;
    (void)madvise((void *)a, (uintptr_t)to - a, MADV_DONTNEED);
}

/* The slab's part of one row of n elements; returns behind what was written. */
static float *read_row(rd_format f, const uint8_t *row, int64_t n, rd_slab s, float *out)
{
    for (int64_t k = 0; k < s.count; k++) {
        const int64_t first = s.start + k * s.stride;
        const int64_t width = n - first < s.block ? n - first : s.block;
        rd_format_widen(f, row, first, width, out);
        out += width;
    }
    return out;
}

int rd_weights_read(const rd_weights *w, const rd_tensor *t, const rd_slab *slab, float *out)
{
    int rc = RD_OK;
    RD_TRY(check_read(w, t, slab));
    const rd_map *m = &w->map[t->file];
    const rd_format_info info = rd_format_get(t->format);
    int64_t dims[2] = {1, t->dims[t->rank - 1]};
    rd_slab rows = {0, 1, 1, 1}, cols = slab[t->rank - 1];
    if (t->rank == 2) dims[0] = t->dims[0], rows = slab[0];
    /* A vector in rotary order: its numbers are the rows. */
    if (t->rank == 1 && t->rope_head_size > 0)
        dims[0] = dims[1], dims[1] = 1, rows = cols, cols = (rd_slab){0, 1, 1, 1};
    if (rd_slab_below(cols, dims[1], dims[1]) == 0) goto done; /* however many rows */
    const int64_t row_bytes = dims[1] / info.block * info.bytes, S = t->rope_head_size;
    const uint8_t *touched = NULL; /* the earliest page that was not given back */
    for (int64_t k = 0; k < rows.count; k++) {
        const int64_t first = rows.start + k * rows.stride;
        const int64_t end = dims[0] - first < rows.block ? dims[0] : first + rows.block;
        for (int64_t r = first; r < end; r++) {
            const int64_t at = S > 0 ? r / S * S + rd_rope_row(r % S, S) : r;
            const uint8_t *row = (const uint8_t *)t->data + at * row_bytes;
            out = read_row(t->format, row, dims[1], cols, out);
            if (touched == NULL) touched = row;
            if (row + row_bytes - touched < RELEASE_BYTES) continue;
            release(m, touched, row + row_bytes);
            touched = NULL;
        }
    }
    if (touched != NULL) release(m, touched, (const uint8_t *)t->data + t->n_bytes);

done:
    return rc;
}

/* ---------------------------------------------------------------- identity */

static uint64_t hash_samples(const rd_tensor *t, uint64_t h)
{
    enum { SAMPLE = 4096 };
    const uint8_t *data = t->data;
    if (t->n_bytes <= 3 * SAMPLE) return rd_hash(data, (size_t)t->n_bytes, h);
    h = rd_hash(data, SAMPLE, h);
    h = rd_hash(data + (t->n_bytes - SAMPLE) / 2, SAMPLE, h);
    return rd_hash(data + t->n_bytes - SAMPLE, SAMPLE, h);
}

int rd_weights_identity(const rd_weights *w, uint64_t seed, uint64_t *id)
{
    int rc = RD_OK;
    uint64_t h = rd_hash(&w->n, sizeof w->n, seed);
    for (int i = 0; i < w->n_maps; i++) RD_TRY(check_length(&w->map[i]));
    for (int64_t i = 0; i < w->n; i++) {
        const rd_tensor *t = &w->tensor[w->by_name[i]];
        h = rd_hash_str(t->name, h);
        h = rd_hash_str(t->type, h);
        h = rd_hash(t->dims, (size_t)t->rank * sizeof *t->dims, h);
        h = hash_samples(t, h);
    }
    *id = h;

done:
    return rc;
}

/* ---------------------------------------------------------------- metadata */

const rd_meta *rd_weights_meta(const rd_weights *w, const char *key)
{
    for (int64_t i = 0; i < w->n_meta; i++)
        if (strcmp(w->meta[i].key, key) == 0) return &w->meta[i];
    return NULL;
}

const rd_meta *rd_weights_meta_at(const rd_weights *w, int64_t i)
{
    return i >= 0 && i < w->n_meta ? &w->meta[i] : NULL;
}

const char *rd_meta_key(const rd_meta *m)
{
    return m->key;
}

rd_meta_kind rd_meta_type(const rd_meta *m)
{
    return m->kind;
}

bool rd_meta_is_array(const rd_meta *m)
{
    return m->array;
}

int64_t rd_meta_count(const rd_meta *m)
{
    return m->n;
}

int64_t rd_meta_int(const rd_meta *m, int64_t i)
{
    uint64_t u = 0;
    if (i < 0 || i >= m->n || (m->kind != RD_META_INT && m->kind != RD_META_BOOL)) return 0;
    memcpy(&u, m->data + i * m->width, (size_t)m->width);
    if (!m->is_signed) return u > INT64_MAX ? INT64_MAX : (int64_t)u;
    const int unused = 64 - 8 * m->width;
    return (int64_t)(u << unused) >> unused;
}

double rd_meta_real(const rd_meta *m, int64_t i)
{
    float f;
    double d;
    if (m->kind != RD_META_REAL) return (double)rd_meta_int(m, i);
    if (i < 0 || i >= m->n) return 0.0;
    if (m->width == sizeof(d)) {
        memcpy(&d, m->data + i * m->width, sizeof(d));
        return d;
    }
    memcpy(&f, m->data + i * m->width, sizeof(f));
    return (double)f;
}

const char *rd_meta_string(const rd_meta *m, int64_t i, size_t *len)
{
    uint64_t n;
    if (len != NULL) *len = 0;
    if (i < 0 || i >= m->n || m->kind != RD_META_STRING) return NULL;
    if (!m->array) {
        if (len != NULL) *len = (size_t)m->n_text;
        return m->text;
    }
    const uint8_t *at = m->data + m->offset[i];
    memcpy(&n, at, sizeof(n));
    if (len != NULL) *len = (size_t)n;
    return (const char *)at + sizeof(n);
}

const rd_meta *rd_meta_item(const rd_meta *m, int64_t i)
{
    return m->kind == RD_META_ARRAY && i >= 0 && i < m->n ? &m->item[i] : NULL;
}
