/* ranks: 1 */
/* The text pool: interning between marks, growth, identifiers that do not depend on history. */
#include "rd/io.h"
#include "rd_test.h"

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_pool p = {0};
    size_t len;
    char word[32];
    is_i64(rd_pool_add(&p, NULL), -1, "no string, no id");
    is_i64(rd_pool_add(&p, "a"), 0, "first");
    is_i64(rd_pool_add(&p, ""), 1, "the empty string is a string");
    is_i64(rd_pool_add(&p, "a"), 0, "again");
    is_i64(rd_pool_add(&p, ""), 1, "empty again");
    rd_pool_mark(&p);
    is_i64(rd_pool_add(&p, "a"), 2, "a new mark forgets");
    is_i64(rd_pool_add(&p, "a"), 2, "and remembers from there");
    is_str(rd_pool_get(&p, 2, &len), "a", "text");
    is_i64((int64_t)len, 1, "length");
    ok(rd_pool_get(&p, -1, &len) == NULL && len == 0, "id -1 is no string");

    /* Many strings within a mark, many marks: every id is right and nothing is quadratic. */
    const double start = rd_time();
    bool right = true;
    for (int round = 0; round < 3; round++) {
        rd_pool_mark(&p);
        const int64_t base = p.n;
        for (int pass = 0; pass < 2; pass++)
            for (int i = 0; i < 100000; i++) {
                snprintf(word, sizeof(word), "word %d", i * 7919 % 100000);
                right = right && rd_pool_add(&p, word) == base + i;
            }
    }
    for (int i = 0; i < 100000; i++) {
        rd_pool_mark(&p);
        right = right && rd_pool_add(&p, "same") == p.n - 1;
    }
    ok(right, "ids count up within each mark");
    is_i64(p.n, 3 + 3 * 100000 + 100000, "number of strings");
    ok(rd_time() - start < 5.0, "700,000 additions in %.2f s", rd_time() - start);
    rd_pool_free(&p);
    rd_pool_free(&p);
    return rd_test_end();
}
