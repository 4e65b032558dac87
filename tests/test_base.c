/* ranks: 1 */
/* Memory, strings, records, random numbers, clocks. */
#include "rd_test.h"

static void test_strings(void)
{
    rd_buf b = {0};
    rd_buf_printf(&b, "%d-%s", 12, "ab");
    rd_buf_putc(&b, '!');
    is_str(b.data, "12-ab!", "formatted text grows");
    char *s = rd_buf_take(&b);
    ok(b.data == NULL && strlen(s) == 6, "taking empties the buffer");
    rd_free(s);
    is_i64(rd_crc32("123456789", 9, 0), 0xcbf43926, "CRC-32 check value");
    is_i64(rd_crc32("6789", 4, rd_crc32("12345", 5, 0)), 0xcbf43926, "CRC-32 in two parts");
    is_i64(rd_edit_distance("lambda", "lamda"), 1, "one letter dropped");
    is_i64(rd_edit_distance("", "abc"), 3, "distance from nothing");
    ok(rd_hash_str("abc", 1) != rd_hash_str("abd", 1), "hashes differ");
    ok(rd_hash("\0", 1, 0) != rd_hash("\0\0", 2, 0), "length counts in a hash");
}

static void test_records(void)
{
    rd_buf b = {0};
    int64_t i;
    double d;
    char *s, *none;
    rd_put_i64(&b, -5);
    rd_put_f64(&b, 0.1);
    rd_put_str(&b, "rule");
    rd_put_str(&b, NULL);
    rd_cursor c = {b.data, b.len, 0};
    is_rc(rd_get_i64(&c, &i), RD_OK, "integer read");
    is_rc(rd_get_f64(&c, &d), RD_OK, "real read");
    is_rc(rd_get_str(&c, &s), RD_OK, "string read");
    is_rc(rd_get_str(&c, &none), RD_OK, "null read");
    ok(i == -5 && d == 0.1 && none == NULL, "values survive");
    is_str(s, "rule", "string survives");
    is_rc(rd_get_i64(&c, &i), RD_EINPUT, "reading past the end is an error");
    c = (rd_cursor){b.data, 20, 16};
    is_rc(rd_get_str(&c, &none), RD_EINPUT, "a torn string is an error");
    rd_free(s);
    rd_buf_free(&b);
}

static void test_random(void)
{
    rd_rng a = rd_rng_make(1, "x", 2, 3), b = rd_rng_make(1, "x", 2, 3);
    rd_rng other = rd_rng_make(1, "y", 2, 3), moved = rd_rng_make(1, "x", 3, 2);
    uint64_t first = rd_rng_u64(&a);
    ok(first == rd_rng_u64(&b), "same key, same number");
    ok(first != rd_rng_u64(&other) && first != rd_rng_u64(&moved), "other keys differ");
    double sum = 0, sum2 = 0, flat = 0;
    int64_t bins[7] = {0}, n = 70000;
    for (int64_t i = 0; i < n; i++) {
        double z = rd_rng_normal(&a);
        sum += z, sum2 += z * z;
        flat += rd_rng_uniform(&a);
        bins[rd_rng_below(&a, 7)]++;
    }
    near_f64(sum / (double)n, 0, 0.02, "normal mean");
    near_f64(sum2 / (double)n, 1, 0.03, "normal variance");
    near_f64(flat / (double)n, 0.5, 0.01, "uniform mean");
    int even = 1;
    for (int i = 0; i < 7; i++) even &= llabs(bins[i] - n / 7) < 500;
    ok(even, "below(7) is even");
    int64_t items[5] = {0, 1, 2, 3, 4}, seen = 0;
    rd_rng_shuffle(&a, items, 5);
    for (int i = 0; i < 5; i++) seen |= 1 << items[i];
    is_i64(seen, 31, "a shuffle keeps every item");
    double w[3] = {0, 1, 0};
    is_i64(rd_rng_pick(&a, w, 3), 1, "zero weights are never picked");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    int64_t before = rd_mem_used();
    float *x = rd_new(float, 100);
    ok(((uintptr_t)x & 63) == 0, "memory is 64-byte aligned");
    ok(x[99] == 0, "memory is zeroed");
    is_i64(rd_mem_used() - before, 400, "bytes are counted");
    x[99] = 4;
    rd_resize(x, 1000);
    ok(x[99] == 4, "growing keeps the contents");
    rd_free(x);
    is_i64(rd_mem_used(), before, "and given back");
    test_strings();
    test_records();
    test_random();
    rd_clock_begin("outer"), rd_clock_begin("inner");
    rd_clock_end("outer");
    const rd_clock *list;
    is_i64(rd_clock_list(&list), 2, "leaving the outer clock ends the inner one");
    ok(list[0].calls == 1 && list[1].calls == 1, "both counted once");
    return rd_test_end();
}
