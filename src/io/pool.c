/* pool.c: strings gathered for a table's text columns, one after the other with terminators. */
#include "rd/io.h"
#include <string.h>

/* The slots hold id + 1.  Everything up to the mark counts as free, so that setting a mark costs
 * nothing: within one mark a free slot is only ever filled, hence linear probing stays sound. */
static bool slot_is_free(const rd_pool *p, int64_t slot)
{
    return p->slots[slot] <= p->mark;
}

static int64_t slot_find(const rd_pool *p, const char *s, size_t len)
{
    const int64_t mask = p->n_slots - 1;
    int64_t slot = (int64_t)(rd_hash(s, len, 0) & (uint64_t)mask);
    for (; !slot_is_free(p, slot); slot = (slot + 1) & mask) {
        size_t have;
        const char *t = rd_pool_get(p, p->slots[slot] - 1, &have);
        if (have == len && memcmp(s, t, len) == 0) break;
    }
    return slot;
}

static void slots_grow(rd_pool *p)
{
    rd_free(p->slots);
    p->n_slots = p->n_slots ? 2 * p->n_slots : 64;
    p->slots = rd_new(int64_t, p->n_slots);
    for (int64_t id = p->mark; id < p->n; id++) {
        size_t len;
        const char *s = rd_pool_get(p, id, &len);
        p->slots[slot_find(p, s, len)] = id + 1;
    }
}

int64_t rd_pool_add(rd_pool *p, const char *s)
{
    if (s == NULL) return -1;
    if (2 * (p->n - p->mark + 1) > p->n_slots) slots_grow(p);
    const size_t len = strlen(s);
    const int64_t slot = slot_find(p, s, len);
    if (!slot_is_free(p, slot)) return p->slots[slot] - 1;
    if (p->n + 2 > p->cap) {
        p->cap = p->cap ? 2 * p->cap : 64;
        rd_resize(p->offset, p->cap);
    }
    p->offset[p->n] = (int64_t)p->bytes.len;
    rd_buf_add(&p->bytes, s, len + 1);
    p->offset[p->n + 1] = (int64_t)p->bytes.len;
    p->slots[slot] = ++p->n;
    return p->n - 1;
}

void rd_pool_mark(rd_pool *p)
{
    p->mark = p->n;
}

const char *rd_pool_get(const rd_pool *p, int64_t id, size_t *len)
{
    if (len != NULL) *len = 0;
    if (id == -1) return NULL;
    RD_ASSERT(id >= 0 && id < p->n);
    if (len != NULL) *len = (size_t)(p->offset[id + 1] - p->offset[id] - 1);
    return p->bytes.data + p->offset[id];
}

void rd_pool_free(rd_pool *p)
{
    rd_buf_free(&p->bytes);
    rd_free(p->offset);
    rd_free(p->slots);
    *p = (rd_pool){0};
}
