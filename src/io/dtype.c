/* dtype.c: numbers as model files store them, to float32 and back.
 *
 * Quantised blocks are ggml's: 32 numbers with a float16 scale (and a minimum in the _1 kinds), or
 * 256 in a K block, whose eight or sixteen groups have small integer scales of their own.  A scale
 * has 11 significant bits and, where something is added or subtracted afterwards, its group's
 * factor at most 6 and the number at most 5: those products are exact in float32, so that fused
 * multiply-adds give the same bits as the reference, which rounds after each step. */
#include "modelfile.h"
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "model files are little-endian");

/* ---------------------------------------------------------------- 16-bit floats */

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

float rd_f32_from_bf16(uint16_t b)
{
    return float_of((uint32_t)b << 16);
}

float rd_f32_from_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, m = h & 0x3ff;
    const uint32_t normal = (exponent + 112) << 23 | m << 13;
    const uint32_t subnormal = bits_of((float)m * 0x1p-24f);
    const uint32_t special = 0x7f800000 | m << 13;
    return float_of(sign | (exponent == 31 ? special : exponent == 0 ? subnormal : normal));
}

uint16_t rd_bf16_from_f32(float x)
{
    const uint32_t bits = bits_of(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t rd_f16_from_f32(float x)
{
    const uint32_t bits = bits_of(x), size = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
    if (size > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (size >> 13 & 0x1ff));
    if (size >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 */
    /* Below 2^-14 a step is 2^-24, which is that of float32 just above 0.5: the addition rounds. */
    if (size < 0x38800000) return (uint16_t)(sign | (bits_of(float_of(size) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13);
}

/* ---------------------------------------------------------------- blocks */

enum { SMALL = 32, SUPER = 256 };

/* Byte arrays only: blocks lie in a mapped file at any address. */
typedef struct q8_0 {
    uint8_t d[2];
    int8_t q[SMALL];
} q8_0;
typedef struct q4_0 {
    uint8_t d[2], q[SMALL / 2];
} q4_0;
typedef struct q4_1 {
    uint8_t d[2], m[2], q[SMALL / 2];
} q4_1;
typedef struct q5_0 {
    uint8_t d[2], high[SMALL / 8], q[SMALL / 2];
} q5_0;
typedef struct q5_1 {
    uint8_t d[2], m[2], high[SMALL / 8], q[SMALL / 2];
} q5_1;
typedef struct q4_k {
    uint8_t d[2], m[2], scales[12], q[SUPER / 2];
} q4_k;
typedef struct q5_k {
    uint8_t d[2], m[2], scales[12], high[SUPER / 8], q[SUPER / 2];
} q5_k;
typedef struct q6_k {
    uint8_t q[SUPER / 2], high[SUPER / 4];
    int8_t scales[SUPER / 16];
    uint8_t d[2];
} q6_k;
_Static_assert(sizeof(q8_0) == 34 && sizeof(q4_0) == 18 && sizeof(q4_1) == 20 &&
                   sizeof(q5_0) == 22 && sizeof(q5_1) == 24,
               "blocks of 32");
_Static_assert(sizeof(q4_k) == 144 && sizeof(q5_k) == 176 && sizeof(q6_k) == 210, "blocks of 256");

static uint16_t load16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static float half_at(const uint8_t *p)
{
    return rd_f32_from_f16(load16(p));
}

static void widen_f32(const uint8_t *p, int64_t n, float *out)
{
    memcpy(out, p, (size_t)n * sizeof(float));
}

static void widen_f16(const uint8_t *p, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = half_at(p + 2 * i);
}

static void widen_bf16(const uint8_t *p, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = rd_f32_from_bf16(load16(p + 2 * i));
}

static void widen_q8_0(const uint8_t *p, int64_t n, float *out)
{
    for (; n > 0; n--, p += sizeof(q8_0), out += SMALL) {
        const q8_0 *b = (const q8_0 *)p;
        const float d = half_at(b->d);
        for (int i = 0; i < SMALL; i++) out[i] = d * (float)b->q[i];
    }
}

/* In blocks of 32 the low halves of the bytes are numbers 0 … 15, the high halves 16 … 31. */
static void widen_q4_0(const uint8_t *p, int64_t n, float *out)
{
    for (; n > 0; n--, p += sizeof(q4_0), out += SMALL) {
        const q4_0 *b = (const q4_0 *)p;
        const float d = half_at(b->d);
        for (int i = 0; i < SMALL / 2; i++) {
            out[i] = d * (float)((b->q[i] & 15) - 8);
            out[i + SMALL / 2] = d * (float)((b->q[i] >> 4) - 8);
        }
    }
}

static void widen_q4_1(const uint8_t *p, int64_t n, float *out)
{
    for (; n > 0; n--, p += sizeof(q4_1), out += SMALL) {
        const q4_1 *b = (const q4_1 *)p;
        const float d = half_at(b->d), m = half_at(b->m);
        for (int i = 0; i < SMALL / 2; i++) {
            out[i] = d * (float)(b->q[i] & 15) + m;
            out[i + SMALL / 2] = d * (float)(b->q[i] >> 4) + m;
        }
    }
}

/* Number i of a Q5 block: four bits, and the fifth from a bit field in order of the numbers. */
static int q5_at(const uint8_t *q, const uint8_t *high, int i)
{
    const int low = i < SMALL / 2 ? q[i] & 15 : q[i - SMALL / 2] >> 4;
    return low | (high[i / 8] >> (i % 8) & 1) << 4;
}

static void widen_q5_0(const uint8_t *p, int64_t n, float *out)
{
    for (; n > 0; n--, p += sizeof(q5_0), out += SMALL) {
        const q5_0 *b = (const q5_0 *)p;
        const float d = half_at(b->d);
        for (int i = 0; i < SMALL; i++) out[i] = d * (float)(q5_at(b->q, b->high, i) - 16);
    }
}

static void widen_q5_1(const uint8_t *p, int64_t n, float *out)
{
    for (; n > 0; n--, p += sizeof(q5_1), out += SMALL) {
        const q5_1 *b = (const q5_1 *)p;
        const float d = half_at(b->d), m = half_at(b->m);
        for (int i = 0; i < SMALL; i++) out[i] = d * (float)q5_at(b->q, b->high, i) + m;
    }
}

/* Scale and minimum of group g of 8, six bits each in 12 bytes: those of groups 0 … 3 are the low
 * six bits of bytes 0 … 3 and 4 … 7; of groups 4 … 7 the low four are the halves of bytes 8 … 11,
 * and the other two are the top bits of bytes 0 … 7. */
static void group_scale(const uint8_t s[12], int g, int *scale, int *minimum)
{
    if (g < 4) {
        *scale = s[g] & 63;
        *minimum = s[g + 4] & 63;
    } else {
        *scale = (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
        *minimum = s[g + 4] >> 4 | s[g] >> 6 << 4;
    }
}

/* In K blocks two groups of 32 share 32 bytes: the low halves and the high halves. */
static void widen_q4_k(const uint8_t *p, int64_t n, float *out)
{
    for (; n > 0; n--, p += sizeof(q4_k)) {
        const q4_k *b = (const q4_k *)p;
        for (int g = 0; g < 8; g++, out += 32) {
            const uint8_t *q = b->q + g / 2 * 32;
            int scale, minimum;
            group_scale(b->scales, g, &scale, &minimum);
            const float d = half_at(b->d) * (float)scale, m = half_at(b->m) * (float)minimum;
            for (int i = 0; i < 32; i++) out[i] = d * (float)(q[i] >> g % 2 * 4 & 15) - m;
        }
    }
}

static void widen_q5_k(const uint8_t *p, int64_t n, float *out)
{
    for (; n > 0; n--, p += sizeof(q5_k)) {
        const q5_k *b = (const q5_k *)p;
        for (int g = 0; g < 8; g++, out += 32) {
            const uint8_t *q = b->q + g / 2 * 32;
            int scale, minimum;
            group_scale(b->scales, g, &scale, &minimum);
            const float d = half_at(b->d) * (float)scale, m = half_at(b->m) * (float)minimum;
            for (int i = 0; i < 32; i++) {
                const int v = (q[i] >> g % 2 * 4 & 15) | (b->high[i] >> g & 1) << 4;
                out[i] = d * (float)v - m;
            }
        }
    }
}

/* Q6_K in two halves of 128: four groups of 32 from 64 bytes of low and 32 of high bits. */
static void widen_q6_k(const uint8_t *p, int64_t n, float *out)
{
    for (; n > 0; n--, p += sizeof(q6_k)) {
        const q6_k *b = (const q6_k *)p;
        for (int g = 0; g < 8; g++, out += 32) {
            const uint8_t *q = b->q + g / 4 * 64 + g % 2 * 32, *high = b->high + g / 4 * 32;
            const int8_t *scales = b->scales + 2 * g;
            const int low_shift = g % 4 / 2 * 4, high_shift = g % 4 * 2;
            for (int i = 0; i < 32; i++) {
                const int v = (q[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
                out[i] = half_at(b->d) * (float)scales[i >= 16] * (float)(v - 32);
            }
        }
    }
}

/* ---------------------------------------------------------------- the table */

typedef struct format_entry {
    rd_format_info info;
    void (*widen)(const uint8_t *blocks, int64_t n_blocks, float *out);
} format_entry;

static const format_entry formats[RD_FORMAT_OTHER] = {
    [RD_FORMAT_F32] = {{"F32", 1, 4}, widen_f32},
    [RD_FORMAT_F16] = {{"F16", 1, 2}, widen_f16},
    [RD_FORMAT_BF16] = {{"BF16", 1, 2}, widen_bf16},
    [RD_FORMAT_Q8_0] = {{"Q8_0", SMALL, sizeof(q8_0)}, widen_q8_0},
    [RD_FORMAT_Q4_0] = {{"Q4_0", SMALL, sizeof(q4_0)}, widen_q4_0},
    [RD_FORMAT_Q4_1] = {{"Q4_1", SMALL, sizeof(q4_1)}, widen_q4_1},
    [RD_FORMAT_Q5_0] = {{"Q5_0", SMALL, sizeof(q5_0)}, widen_q5_0},
    [RD_FORMAT_Q5_1] = {{"Q5_1", SMALL, sizeof(q5_1)}, widen_q5_1},
    [RD_FORMAT_Q4_K] = {{"Q4_K", SUPER, sizeof(q4_k)}, widen_q4_k},
    [RD_FORMAT_Q5_K] = {{"Q5_K", SUPER, sizeof(q5_k)}, widen_q5_k},
    [RD_FORMAT_Q6_K] = {{"Q6_K", SUPER, sizeof(q6_k)}, widen_q6_k},
};

rd_format_info rd_format_get(rd_format f)
{
    RD_ASSERT(f < RD_FORMAT_OTHER);
    return formats[f].info;
}

rd_format rd_format_find(const char *name)
{
    rd_format f = RD_FORMAT_F32;
    while (f < RD_FORMAT_OTHER && strcmp(formats[f].info.name, name) != 0) f++;
    return f;
}

void rd_format_widen(rd_format f, const void *row, int64_t first, int64_t n, float *out)
{
    RD_ASSERT(f < RD_FORMAT_OTHER);
    const format_entry *e = &formats[f];
    const int64_t block = e->info.block;
    const uint8_t *p = (const uint8_t *)row + first / block * e->info.bytes;
    float whole[SUPER];
    for (int64_t skip = first % block; n > 0; skip = 0) {
        const int64_t blocks = skip == 0 ? n / block : 0;
        int64_t done = blocks * block;
        if (blocks > 0) {
            e->widen(p, blocks, out);
            p += blocks * e->info.bytes;
        } else { /* a part of a block, at either end */
            done = block - skip < n ? block - skip : n;
            e->widen(p, 1, whole);
            memcpy(out, whole + skip, (size_t)done * sizeof(float));
            p += e->info.bytes;
        }
        out += done;
        n -= done;
    }
}

void rd_format_narrow(rd_format f, const float *x, int64_t n, void *out)
{
    RD_ASSERT(f == RD_FORMAT_F32 || f == RD_FORMAT_F16 || f == RD_FORMAT_BF16);
    if (n == 0) return;
    if (f == RD_FORMAT_F32) {
        memcpy(out, x, (size_t)n * sizeof(float));
        return;
    }
    uint8_t *p = out;
    for (int64_t i = 0; i < n; i++) {
        const uint16_t h = f == RD_FORMAT_F16 ? rd_f16_from_f32(x[i]) : rd_bf16_from_f32(x[i]);
        memcpy(p + 2 * i, &h, sizeof(h));
    }
}
