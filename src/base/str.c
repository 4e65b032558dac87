/* str.c: growing strings, hashes, checksums, records for journals. */
#include "rd/base.h"

#include <string.h>

static void reserve(rd_buf *b, size_t more)
{
    size_t need = b->len + more + 1;
    if (need <= b->cap) return;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need) cap *= 2;
    rd_resize(b->data, cap);
    b->cap = cap;
}

void rd_buf_clear(rd_buf *b)
{
    b->len = 0;
    if (b->data) b->data[0] = 0;
}

void rd_buf_free(rd_buf *b)
{
    rd_free(b->data);
    memset(b, 0, sizeof *b);
}

void rd_buf_add(rd_buf *b, const void *bytes, size_t n)
{
    reserve(b, n);
    if (n) memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = 0;
}

void rd_buf_puts(rd_buf *b, const char *s)
{
    rd_buf_add(b, s, strlen(s));
}
void rd_buf_putc(rd_buf *b, char c)
{
    rd_buf_add(b, &c, 1);
}

void rd_buf_printf(rd_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    RD_ASSERT(n >= 0);
    reserve(b, (size_t)n);
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

char *rd_buf_take(rd_buf *b)
{
    if (!b->data) return rd_strdup("");
    char *s = b->data;
    memset(b, 0, sizeof *b);
    return s;
}

static uint64_t mix64(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    return x ^ (x >> 32);
}

/* Eight bytes at a time: multiply, rotate, finish with two mixing rounds. */
uint64_t rd_hash(const void *bytes, size_t n, uint64_t seed)
{
    const unsigned char *p = bytes;
    uint64_t h = mix64(seed ^ (0x9e3779b97f4a7c15u + n));
    while (n >= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        h = (h ^ mix64(w)) * 0xff51afd7ed558ccdu;
        h = (h << 27) | (h >> 37);
        p += 8;
        n -= 8;
    }
    uint64_t tail = 0;
    for (size_t i = 0; i < n; i++) tail |= (uint64_t)p[i] << (8 * i);
    return mix64(mix64(h ^ tail) + 0x2545f4914f6cdd1du);
}

uint64_t rd_hash_str(const char *s, uint64_t seed)
{
    return rd_hash(s, strlen(s), seed);
}

/* One byte by two lookups of four bits: a table that fits a line of cache. */
static uint32_t crc_byte(uint32_t crc, unsigned char byte)
{
    static const uint32_t nibble[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                        0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    crc = nibble[(crc ^ byte) & 15] ^ (crc >> 4);
    return nibble[(crc ^ (byte >> 4)) & 15] ^ (crc >> 4);
}

/* Long texts eight bytes at a time: table k takes a byte that k more bytes follow.  Making the
 * tables costs as much as some kilobytes, so no state need be kept between calls. */
static uint32_t crc_long(uint32_t crc, const unsigned char *p, size_t eights)
{
    uint32_t table[8][256];
    for (int i = 0; i < 256; i++) table[0][i] = crc_byte((uint32_t)i, 0);
    for (int k = 1; k < 8; k++)
        for (int i = 0; i < 256; i++)
            table[k][i] = table[0][table[k - 1][i] & 255] ^ (table[k - 1][i] >> 8);
    for (size_t n = 0; n < eights; n++, p += 8) {
        const uint32_t low = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                                    (uint32_t)p[3] << 24);
        crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^
              table[4][low >> 24] ^ table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^
              table[0][p[7]];
    }
    return crc;
}

uint32_t rd_crc32(const void *bytes, size_t n, uint32_t crc)
{
    const unsigned char *p = bytes;
    const size_t eights = n >= 16384 ? n / 8 : 0;
    crc = ~crc;
    if (eights > 0) crc = crc_long(crc, p, eights);
    for (size_t i = 8 * eights; i < n; i++) crc = crc_byte(crc, p[i]);
    return ~crc;
}

/* Levenshtein distance over the first 63 bytes: enough for key names. */
int rd_edit_distance(const char *a, const char *b)
{
    int row[64], n = (int)strnlen(b, 63);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; *a && i <= 63; a++, i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = diagonal + (*a != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

/* ---------------------------------------------------------------- records */

void rd_put_i64(rd_buf *b, int64_t v)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)v >> (8 * i));
    rd_buf_add(b, bytes, 8);
}

void rd_put_f64(rd_buf *b, double v)
{
    int64_t bits;
    memcpy(&bits, &v, 8);
    rd_put_i64(b, bits);
}

void rd_put_str(rd_buf *b, const char *s)
{
    rd_put_i64(b, s ? (int64_t)strlen(s) : -1);
    if (s) rd_buf_puts(b, s);
}

int rd_get_i64(rd_cursor *c, int64_t *v)
{
    int rc = RD_OK;
    if (c->len - c->pos < 8) RD_FAIL(RD_EINPUT, "record ends early, at byte %zu", c->pos);
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits |= (uint64_t)(unsigned char)c->data[c->pos + (size_t)i] << (8 * i);
    *v = (int64_t)bits;
    c->pos += 8;
done:
    return rc;
}

int rd_get_f64(rd_cursor *c, double *v)
{
    int64_t bits = 0;
    int rc = rd_get_i64(c, &bits);
    if (rc == RD_OK) memcpy(v, &bits, 8);
    return rc;
}

int rd_get_str(rd_cursor *c, char **s)
{
    int rc = RD_OK;
    int64_t n = 0;
    *s = NULL;
    RD_TRY(rd_get_i64(c, &n));
    if (n == -1) goto done;
    if (n < 0 || (uint64_t)n > c->len - c->pos)
        RD_FAIL(RD_EINPUT, "record ends early, at byte %zu", c->pos);
    *s = rd_strndup(c->data + c->pos, (size_t)n);
    c->pos += (size_t)n;
done:
    return rc;
}
