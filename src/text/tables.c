/* tables: the two hash tables of the tokenizer: pairs of tokens, and byte strings. */
#include "text_impl.h"

#include <string.h>

static inline uint64_t mix(uint64_t h)
{
    h *= 0x9E3779B97F4A7C15u;
    return h ^ (h >> 32);
}

/* Pieces are a few bytes long: two overlapping loads cover up to 16 of them without a loop. */
static inline uint64_t hash_piece(const char *p, size_t n)
{
    uint64_t a = 0, b = 0, h = mix(n);
    for (; n > 16; p += 8, n -= 8) {
        memcpy(&a, p, 8);
        h = mix(h ^ a);
    }
    a = 0;
    if (n >= 8) {
        memcpy(&a, p, 8);
        memcpy(&b, p + n - 8, 8);
    } else if (n >= 4) {
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
    } else if (n > 0) {
        a = (unsigned char)p[0] | (uint64_t)(unsigned char)p[n / 2] << 8;
        b = (unsigned char)p[n - 1];
    }
    return mix(mix(h ^ a) ^ b);
}

int32_t rd_pairmap_get(const rd_pairmap *m, uint64_t key)
{
    if (m->slots == 0) return -1;
    uint64_t mask = (uint64_t)m->slots - 1;
    for (uint64_t i = mix(key) & mask; m->values[i] >= 0; i = (i + 1) & mask)
        if (m->keys[i] == key) return m->values[i];
    return -1;
}

static void pairmap_grow(rd_pairmap *m)
{
    rd_pairmap old = *m;
    m->slots = old.slots ? 2 * old.slots : 64;
    m->n = 0;
    m->keys = rd_new(uint64_t, m->slots);
    m->values = rd_new(int32_t, m->slots);
    memset(m->values, 0xFF, (size_t)m->slots * sizeof(*m->values));
    for (int64_t i = 0; i < old.slots; i++)
        if (old.values[i] >= 0) rd_pairmap_put(m, old.keys[i], old.values[i]);
    rd_pairmap_free(&old);
}

void rd_pairmap_put(rd_pairmap *m, uint64_t key, int32_t value)
{
    if (2 * m->n >= m->slots) pairmap_grow(m);
    uint64_t mask = (uint64_t)m->slots - 1, i = mix(key) & mask;
    while (m->values[i] >= 0 && m->keys[i] != key) i = (i + 1) & mask;
    m->n += m->values[i] < 0;
    m->keys[i] = key;
    m->values[i] = value;
}

void rd_pairmap_free(rd_pairmap *m)
{
    rd_free(m->keys);
    rd_free(m->values);
    *m = (rd_pairmap){0};
}

const char *rd_strset_get(const rd_strset *s, int32_t i, size_t *len)
{
    *len = (size_t)(s->offset[i + 1] - s->offset[i]);
    return s->bytes.data + s->offset[i];
}

/* The slot where the string is or would go. */
static inline uint64_t strset_slot(const rd_strset *s, const char *p, size_t len)
{
    uint64_t mask = (uint64_t)s->slots - 1, i = hash_piece(p, len) & mask;
    for (; s->table[i] >= 0; i = (i + 1) & mask) {
        const int64_t *at = s->offset + s->table[i];
        if ((size_t)(at[1] - at[0]) == len && memcmp(s->bytes.data + at[0], p, len) == 0) break;
    }
    return i;
}

int32_t rd_strset_find(const rd_strset *s, const char *p, size_t len)
{
    return s->slots ? s->table[strset_slot(s, p, len)] : -1;
}

int32_t rd_strset_add(rd_strset *s, const char *p, size_t len)
{
    if (2 * s->n >= s->slots) {
        s->slots = s->slots ? 2 * s->slots : 1024;
        rd_free(s->table);
        s->table = rd_new(int32_t, s->slots);
        memset(s->table, 0xFF, (size_t)s->slots * sizeof(*s->table));
        for (int32_t i = 0; i < s->n; i++) {
            size_t n;
            const char *q = rd_strset_get(s, i, &n);
            s->table[strset_slot(s, q, n)] = i;
        }
    }
    uint64_t slot = strset_slot(s, p, len);
    if (s->table[slot] >= 0) return s->table[slot];
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 1024;
        rd_resize(s->offset, s->cap + 1);
        s->offset[0] = 0;
    }
    RD_ASSERT(s->n < INT32_MAX - 1);
    rd_buf_add(&s->bytes, p, len);
    s->offset[s->n + 1] = (int64_t)s->bytes.len;
    s->table[slot] = (int32_t)s->n;
    return (int32_t)s->n++;
}

void rd_strset_free(rd_strset *s)
{
    rd_buf_free(&s->bytes);
    rd_free(s->offset);
    rd_free(s->table);
    *s = (rd_strset){0};
}
