/* ranks: 1 */
/* 16-bit floats and quantised blocks: bit for bit what the reference implementation makes of them
 * (tests/golden/dtype_golden.txt), and the properties that it does not fix. */
#include "io/modelfile.h"
#include "rd_test.h"

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* As the golden file writes it: all NaNs are one. */
static uint32_t plain_bits(float x)
{
    return isnan(x) ? 0x7fc00000 : bits_of(x);
}

/* ---------------------------------------------------------------- the golden file */

static uint32_t crc_widening(float (*widen)(uint16_t))
{
    uint32_t crc = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        const uint32_t bits = plain_bits(widen((uint16_t)h));
        crc = rd_crc32(&bits, sizeof(bits), crc);
    }
    return crc;
}

static uint32_t crc_narrowing(uint16_t (*narrow)(float), uint16_t nan)
{
    static const uint16_t lows[] = {0x0000, 0x0001, 0x0fff, 0x1000, 0x1001, 0x2fff,
                                    0x3000, 0x3001, 0x7fff, 0x8000, 0x8001, 0xffff};
    uint32_t crc = 0;
    for (uint32_t high = 0; high < 65536; high++)
        for (size_t i = 0; i < sizeof(lows) / sizeof(*lows); i++) {
            const float x = float_of(high << 16 | lows[i]);
            const uint16_t h = isnan(x) ? nan : narrow(x);
            crc = rd_crc32(&h, sizeof(h), crc);
        }
    return crc;
}

static void check_crc(const char *line)
{
    char name[32];
    unsigned want = 0;
    sscanf(line, "crc %31s %x", name, &want);
    const uint32_t got = strcmp(name, "f16_to_f32") == 0    ? crc_widening(rd_f32_from_f16)
                         : strcmp(name, "bf16_to_f32") == 0 ? crc_widening(rd_f32_from_bf16)
                         : strcmp(name, "f32_to_f16") == 0
                             ? crc_narrowing(rd_f16_from_f32, 0x7e00)
                             : crc_narrowing(rd_bf16_from_f32, 0x7fc0);
    is_i64(got, want, name);
}

static void check_block(const char *line)
{
    char name[32];
    int at = 0, wrong = 0;
    unsigned v;
    uint8_t raw[256];
    float x[256];
    sscanf(line, "block %31s %n", name, &at);
    const rd_format f = rd_format_find(name);
    const rd_format_info info = rd_format_get(f);
    for (int i = 0; i < info.bytes; i++, at += 2) {
        sscanf(line + at, "%2x", &v);
        raw[i] = (uint8_t)v;
    }
    ok(line[at] == ' ', "%s: a block has %d bytes", name, info.bytes);
    at++;
    rd_format_widen(f, raw, 0, info.block, x);
    for (int i = 0; i < info.block; i++, at += 8) {
        sscanf(line + at, "%8x", &v);
        if (v != plain_bits(x[i]) && wrong++ == 0)
            diag("%s: number %d is %08x, not %08x", name, i, plain_bits(x[i]), v);
    }
    ok(wrong == 0 && line[at] == '\n', "%s: a block of %d numbers, bit for bit", name, info.block);
}

static void test_golden(void)
{
    rd_buf file = {0};
    int seen[RD_FORMAT_OTHER] = {0}, n_crc = 0;
    is_rc(rd_file_read("tests/golden/dtype_golden.txt", &file), RD_OK, "the golden file");
    for (const char *line = file.data; line != NULL && *line != '\0';
         line = strchr(line, '\n') + 1) {
        char name[32] = "";
        if (strncmp(line, "crc ", 4) == 0) check_crc(line), n_crc++;
        if (sscanf(line, "block %31s", name) != 1) continue;
        check_block(line);
        seen[rd_format_find(name)]++;
    }
    is_i64(n_crc, 4, "four conversions of floats");
    for (int f = RD_FORMAT_Q8_0; f < RD_FORMAT_OTHER; f++)
        ok(seen[f] >= 5, "%s was checked", rd_format_get((rd_format)f).name);
    rd_buf_free(&file);
}

/* ---------------------------------------------------------------- properties */

static void test_half(void)
{
    int lost = 0, far = 0, unquiet = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        const float x = rd_f32_from_f16((uint16_t)h);
        if (!isnan(x) && rd_f16_from_f32(x) != h) lost++;
        if (isnan(x) && rd_f16_from_f32(x) != (h | 0x200)) unquiet++;
        if ((h & 0x7fff) >= 0x7bff) continue;
        /* The next one up in size: what lies halfway goes to the even one. */
        const double a = x, b = rd_f32_from_f16((uint16_t)(h + 1)), half = (a + b) / 2;
        const uint16_t even = (uint16_t)(h + (h & 1));
        if (rd_f16_from_f32((float)half) != even) far++;
        if (rd_f16_from_f32(nextafterf((float)half, (float)a)) != h) far++;
        if (rd_f16_from_f32(nextafterf((float)half, (float)b)) != (uint16_t)(h + 1)) far++;
    }
    is_i64(lost, 0, "float16: there and back");
    is_i64(unquiet, 0, "float16: a NaN stays one, with its sign and payload");
    is_i64(far, 0, "float16: to the nearest, halves to even");
    is_i64(rd_f16_from_f32(65519.996f), 0x7bff, "float16: the largest number");
    is_i64(rd_f16_from_f32(-65520.0f), 0xfc00, "float16: half a step above it is infinity");
    is_i64(rd_f16_from_f32(0x1p-25f), 0, "float16: half the smallest is 0");
    is_i64(rd_f16_from_f32(float_of(0x7f800001)), 0x7e00, "float16: a NaN never becomes infinity");
    is_i64(rd_bf16_from_f32(float_of(0x7f800001)), 0x7fc0, "bfloat16: nor there");
    is_i64(rd_bf16_from_f32(float_of(0xff7fffff)), 0xff80, "bfloat16: overflow is infinity");
    is_i64(bits_of(rd_f32_from_f16(0xfc01)), 0xff802000, "float16: widening keeps the payload");
}

/* Any part of a row is what the whole row has there, and no block outside it is looked at. */
static void test_parts(void)
{
    enum { N = 1024 };
    uint8_t *raw = rd_new(uint8_t, N * 4 + 1);
    float *whole = rd_new(float, N), *part = rd_new(float, N);
    rd_rng r = rd_rng_make(1, "parts", 0, 0);
    for (int f = 0; f < RD_FORMAT_OTHER; f++) {
        const rd_format_info info = rd_format_get((rd_format)f);
        int wrong = 0;
        for (int i = 0; i < N * 4 + 1; i++) raw[i] = (uint8_t)rd_rng_below(&r, 256);
        rd_format_widen((rd_format)f, raw + 1, 0, N, whole);
        for (int k = 0; k < 300; k++) {
            const int64_t first = rd_rng_below(&r, N), n = rd_rng_range(&r, 0, N - first);
            const int64_t from = first / info.block, to = (first + n + info.block - 1) / info.block;
            /* Exactly the blocks needed, so that AddressSanitizer sees a step outside. */
            uint8_t *needed = rd_new(uint8_t, (to - from) * info.bytes);
            if (n > 0)
                memcpy(needed, raw + 1 + from * info.bytes, (size_t)((to - from) * info.bytes));
            rd_format_widen((rd_format)f, needed, first - from * info.block, n, part);
            wrong += n > 0 && memcmp(part, whole + first, (size_t)n * sizeof(float)) != 0;
            rd_free(needed);
        }
        is_i64(wrong, 0, info.name);
    }
    rd_free(raw);
    rd_free(whole);
    rd_free(part);
}

static void test_narrow(void)
{
    const float x[] = {1.0f, -2.5f, 65504.0f, 1e-7f, 3.14159274f};
    uint16_t h[5];
    float back[5];
    rd_format_narrow(RD_FORMAT_F32, x, 5, back);
    ok(memcmp(x, back, sizeof(x)) == 0, "F32 is stored as it is");
    rd_format_narrow(RD_FORMAT_F16, x, 5, h);
    ok(h[0] == 0x3c00 && h[1] == 0xc100 && h[2] == 0x7bff && h[3] == 2 && h[4] == 0x4248, "F16");
    rd_format_narrow(RD_FORMAT_BF16, x, 5, h);
    ok(h[0] == 0x3f80 && h[1] == 0xc020 && h[2] == 0x4780 && h[4] == 0x4049, "BF16");
    rd_format_narrow(RD_FORMAT_BF16, NULL, 0, NULL);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_golden();
    test_half();
    test_parts();
    test_narrow();
    return rd_test_end();
}
