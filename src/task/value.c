/* value.c: integer lists and their canonical text ("[1, 2]", as Python prints them).
 *
 * Both list families store every cell of every example this way, and rules are run on text, so
 * reading and printing are written by hand: they take a few tens of nanoseconds per element. */
#include "families.h"

enum { MAX_LIST = (int)(sizeof(((ints *)0)->v) / sizeof(int32_t)) };

/* One decimal integer as Python prints it: no leading zeros, no "-0".  NULL when there is none. */
static const char *int_read(const char *p, int32_t *v)
{
    bool negative = *p == '-';
    if (negative) p++;
    if (*p < '0' || *p > '9') return NULL;
    if (*p == '0' && (negative || (p[1] >= '0' && p[1] <= '9'))) return NULL;
    int64_t n = 0;
    while (*p >= '0' && *p <= '9') {
        n = 10 * n + (*p++ - '0');
        if (n > INT32_MAX) return NULL;
    }
    *v = (int32_t)(negative ? -n : n);
    return p;
}

bool ints_read(const char *text, ints *out)
{
    out->n = 0;
    if (*text++ != '[') return false;
    if (*text == ']') return text[1] == '\0';
    for (;;) {
        if (out->n == MAX_LIST) return false;
        text = int_read(text, &out->v[out->n]);
        if (!text) return false;
        out->n++;
        if (*text == ']') return text[1] == '\0';
        if (text[0] != ',' || text[1] != ' ') return false;
        text += 2;
    }
}

void ints_print(const ints *l, rd_buf *out)
{
    char piece[16];
    rd_buf_putc(out, '[');
    for (int32_t i = 0; i < l->n; i++) {
        int64_t v = l->v[i];
        uint64_t u = (uint64_t)(v < 0 ? -v : v);
        int at = (int)sizeof piece;
        do {
            piece[--at] = (char)('0' + u % 10);
            u /= 10;
        } while (u);
        if (v < 0) piece[--at] = '-';
        if (i) rd_buf_add(out, ", ", 2);
        rd_buf_add(out, piece + at, sizeof piece - (size_t)at);
    }
    rd_buf_putc(out, ']');
}

double ints_agreement(const ints *a, const ints *b)
{
    int32_t longer = a->n > b->n ? a->n : b->n;
    int32_t shorter = a->n > b->n ? b->n : a->n;
    if (longer == 0) return 1.0;
    int32_t equal = 0;
    for (int32_t i = 0; i < shorter; i++) equal += a->v[i] == b->v[i];
    return (double)equal / longer;
}
