/* ranks: 1 2 3 4 */
/* HDF5 tables: what is written on any number of ranks is read on any number; failures leave what
 * stood there. */
#include "rd/io.h"
#include "rd_test.h"
#include <sys/resource.h>

static rd_comm world;
static const rd_store_info info = {
    .schema = "redistill.test", .version = 2, .config = "{\"a\": 1}"};

/* Rank r brings r * 3 rows (rank 0 none); the whole is 0, 1, 2, … */
static int64_t my_rows(int64_t *first)
{
    *first = 3 * (int64_t)world.rank * (world.rank - 1) / 2;
    return 3 * world.rank;
}

static int write_all(const char *path, bool commit)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    rd_pool p = {0};
    int64_t id[64], first, base;
    double x[64];
    int32_t small[64];
    char word[32];
    const int64_t n = my_rows(&first);
    for (int64_t i = 0; i < n; i++) {
        snprintf(word, sizeof(word), "r\xc3\xa9sum\xc3\xa9 %lld", (long long)(first + i));
        id[i] = first + i;
        x[i] = (double)(first + i) / 4;
        small[i] = (int32_t)rd_pool_add(&p, i % 2 == 0 ? word : NULL);
    }
    RD_TRY(rd_store_create(&world, path, &info, &s));
    RD_TRY(rd_store_write_pool(s, &p, &base));
    for (int64_t i = 0; i < n; i++)
        if (small[i] >= 0) small[i] += (int32_t)base;
    RD_TRY(rd_store_write(s, "task/id", RD_I64, id, n));
    RD_TRY(rd_store_write(s, "task/x", RD_F64, x, n));
    RD_TRY(rd_store_write(s, "task/text", RD_I32, small, n));
    RD_TRY(rd_store_write(s, "none/id", RD_I64, NULL, 0));
    RD_TRY(rd_store_set_string(s, "task", "unit", "µs"));
    RD_TRY(rd_store_set_i64(s, "", "steps", 1));
    RD_TRY(rd_store_set_i64(s, "", "steps", 42)); /* overwrites */
    RD_TRY(rd_store_set_f64(s, "task/x", "scale", 0.25));
    if (commit) RD_TRY(rd_store_commit(&s));

done:
    rd_store_close(&s);
    rd_pool_free(&p);
    return rc;
}

static void test_tables(const char *path)
{
    rd_store *s = NULL;
    int64_t n = 0, want = 3 * (int64_t)world.size * (world.size - 1) / 2, value = 0, n_text = 0;
    double scale = 0;
    rd_buf text = {0};
    rd_pool p = {0};
    is_rc(write_all(path, true), RD_OK, "writes");
    is_rc(rd_store_open(&world, path, "redistill.test", 2, &s), RD_OK, "opens");
    is_rc(rd_store_rows(s, "task/id", &n), RD_OK, "rows");
    is_i64(n, want, "number of rows");
    /* Each rank reads its own block, converted to another type. */
    const int64_t first = n * world.rank / world.size, end = n * (world.rank + 1) / world.size;
    double id[64], x[64];
    int64_t text_id[64];
    is_rc(rd_store_read(s, "task/id", RD_F64, first, end - first, id), RD_OK, "reads ids");
    is_rc(rd_store_read(s, "task/x", RD_F64, first, end - first, x), RD_OK, "reads x");
    is_rc(rd_store_read(s, "task/text", RD_I64, first, end - first, text_id), RD_OK, "reads text");
    is_rc(rd_store_text_count(s, &n_text), RD_OK, "counts text");
    is_rc(rd_store_read_text(s, 0, n_text, &p), RD_OK, "reads all text");
    bool good = true;
    for (int64_t i = 0; i < end - first; i++) {
        char word[32];
        snprintf(word, sizeof(word), "r\xc3\xa9sum\xc3\xa9 %lld", (long long)(first + i));
        good = good && id[i] == (double)(first + i) && x[i] == id[i] / 4;
        const char *got = rd_pool_get(&p, text_id[i], NULL);
        good = good && (got == NULL || strcmp(got, word) == 0);
    }
    ok(good, "rows are in rank order, text ids fit");
    if (n_text > 2) {
        is_rc(rd_store_read_text(s, n_text - 2, 2, &p), RD_OK, "reads the last strings");
        ok(strncmp(rd_pool_get(&p, 1, NULL), "r\xc3\xa9sum\xc3\xa9 ", 9) == 0, "at id 0, 1");
    }
    is_rc(rd_store_get_string(s, "task", "unit", &text), RD_OK, "string attribute");
    is_str(text.data, "µs", "its value");
    is_rc(rd_store_get_string(s, "", "config", &text), RD_OK, "config");
    is_str(text.data, "{\"a\": 1}", "its text");
    is_rc(rd_store_get_i64(s, "", "steps", &value), RD_OK, "integer attribute");
    is_i64(value, 42, "its value");
    is_rc(rd_store_get_f64(s, "task/x", "scale", &scale), RD_OK, "real attribute");
    near_f64(scale, 0.25, 0, "its value");
    is_rc(rd_store_get_i64(s, "", "absent", &value), RD_EINPUT, "an absent attribute");
    is_rc(rd_store_get_i64(s, "", "config", &value), RD_EINPUT, "a string is no number");
    ok(rd_store_has_attribute(s, "", "steps") && rd_store_has_attribute(s, "task/x", "scale") &&
           !rd_store_has_attribute(s, "", "absent") && !rd_store_has_attribute(s, "none", "scale"),
       "has attributes");
    ok(rd_store_has(s, "task/x") && !rd_store_has(s, "task/y") && !rd_store_has(s, "a/b/c"), "has");
    is_rc(rd_store_rows(s, "task/y", &n), RD_EINPUT, "an absent column");
    is_rc(rd_store_rows(s, "none/id", &n), RD_OK, "an empty column");
    is_i64(n, 0, "has no rows");
    is_rc(rd_store_read(s, "task/x", RD_F64, world.rank == world.size - 1 ? want : 0,
                        world.rank == world.size - 1, x),
          RD_EINTERNAL, "a range beyond the end on one rank fails on all");
    rd_store_close(&s);
    rd_pool_free(&p);
    rd_buf_free(&text);
}

/* Columns of several chunks, some of which two ranks share; read with other boundaries. */
static void test_large(void)
{
    char *path = rd_test_path("large.h5");
    rd_store *s = NULL;
    const int64_t n = 90001 * (int64_t)(world.rank + 1);
    const int64_t first = 90001 * (int64_t)world.rank * (world.rank + 1) / 2;
    const int64_t total = 90001 * (int64_t)world.size * (world.size + 1) / 2;
    int64_t *x = rd_new(int64_t, total), rows = 0;
    int32_t *small = rd_new(int32_t, n);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (first + i) * 1000003;
        small[i] = (int32_t)(first + i);
    }
    is_rc(rd_store_create(&world, path, &info, &s), RD_OK, "creates");
    is_rc(rd_store_write(s, "big/x", RD_I64, x, n), RD_OK, "a large column");
    is_rc(rd_store_write(s, "big/small", RD_I32, small, n), RD_OK, "another");
    is_rc(rd_store_commit(&s), RD_OK, "commits");
    is_rc(rd_store_open(&world, path, "redistill.test", 2, &s), RD_OK, "opens");
    is_rc(rd_store_rows(s, "big/x", &rows), RD_OK, "rows");
    is_i64(rows, total, "number of rows");
    const int64_t from = total * world.rank / world.size;
    const int64_t count = total * (world.rank + 1) / world.size - from;
    bool good = true;
    is_rc(rd_store_read(s, "big/x", RD_I64, from, count, x), RD_OK, "reads");
    for (int64_t i = 0; i < count; i++) good = good && x[i] == (from + i) * 1000003;
    is_rc(rd_store_read(s, "big/small", RD_I64, from, count, x), RD_OK, "reads and widens");
    for (int64_t i = 0; i < count; i++) good = good && x[i] == from + i;
    ok(good, "every row in its place");
    rd_store_close(&s);
    rd_free(x);
    rd_free(small);
    rd_free(path);
}

static void test_refusals(const char *path)
{
    rd_store *s = NULL;
    char *broken = rd_test_path("broken.h5");
    int64_t rows = world.rank;
    is_rc(rd_store_open(&world, path, "redistill.other", 2, &s), RD_EINPUT, "another schema");
    is_rc(rd_store_open(&world, path, "redistill.test", 1, &s), RD_EINPUT, "a newer version");
    is_rc(rd_store_open(&world, "/nonexistent.h5", NULL, 0, &s), RD_EINPUT, "a missing file");
    is_rc(rd_store_create(&world, "/nonexistent/a.h5", &info, &s), RD_EIO, "a missing directory");
    ok(s == NULL, "no handle after a failure");
    if (world.rank == 0) {
        rd_buf bytes = {0};
        rd_file_read(path, &bytes);
        rd_file_write_atomic(broken, bytes.data, bytes.len / 2);
        rd_buf_free(&bytes);
    }
    rd_barrier(&world);
    const int rc = rd_store_open(&world, broken, NULL, 0, &s);
    ok(rc == RD_EINPUT && strstr(rd_error_get()->message, "truncated"), "a truncated file: %s",
       rd_error_get()->message);
    rd_error_clear();
    rd_barrier(&world);
    if (world.rank == 0) rd_file_write_atomic(broken, "hello", 5);
    rd_barrier(&world);
    is_rc(rd_store_open(&world, broken, NULL, 0, &s), RD_EINPUT, "a foreign file");
    is_rc(rd_store_create(&world, broken, &info, &s), RD_OK, "creates");
    is_rc(rd_store_write(s, "t/a", RD_I64, &rows, 1), RD_OK, "column a");
    is_rc(rd_store_write(s, "t/b", RD_I64, &rows, world.rank == 0), RD_OK, "column b, shorter");
    is_rc(rd_store_commit(&s), world.size > 1 ? RD_EINTERNAL : RD_OK, "lengths are compared");
    rd_store_close(&s);
    rd_free(broken);
}

/* Whatever fails, the old file stays and no temporary one does. */
static void test_failures(const char *path)
{
    char *temp = rd_test_path("a.h5.tmp");
    rd_store *s = NULL;
    struct rlimit limit, all;
    const int64_t before = rd_test_file_size(path);
    const int64_t n = 1 << 18;
    int64_t *rows = rd_new(int64_t, n);
    char spec[32];
    rd_barrier(&world);
    is_rc(write_all(path, false), RD_OK, "closes without commit");
    ok(rd_test_file_size(path) == before && rd_test_file_size(temp) < 0, "nothing changed");
    snprintf(spec, sizeof(spec), "store:%d", world.size - 1);
    rd_fault_arm(spec);
    is_rc(write_all(path, true), RD_EFAULT, "an injected fault on the last rank");
    ok(rd_test_file_size(path) == before && rd_test_file_size(temp) < 0, "nothing changed");
    getrlimit(RLIMIT_FSIZE, &all);
    limit = all;
    limit.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_FSIZE, &limit);
    is_rc(rd_store_create(&world, path, &info, &s), RD_OK, "creates under a size limit");
    const int rc = rd_store_write(s, "t/a", RD_I64, rows, n);
    ok(rc == RD_EIO && strstr(rd_error_get()->message, "File too large") != NULL,
       "a column beyond the limit: %s", rd_error_get()->message);
    rd_error_clear();
    rd_store_close(&s);
    setrlimit(RLIMIT_FSIZE, &all);
    ok(rd_test_file_size(path) == before && rd_test_file_size(temp) < 0, "nothing changed");
    is_rc(write_all(path, true), RD_OK, "and it can be written again");
    rd_free(rows);
    rd_free(temp);
}

static void test_identical(void)
{
    char *a = rd_test_path("a.h5"), *b = rd_test_path("b.h5");
    rd_buf x = {0}, y = {0};
    setenv("SOURCE_DATE_EPOCH", "1700000000", 1);
    is_rc(write_all(a, true), RD_OK, "writes a");
    sleep(1); /* a time stamp would differ */
    is_rc(write_all(b, true), RD_OK, "writes b");
    rd_file_read(a, &x);
    rd_file_read(b, &y);
    ok(x.len == y.len && memcmp(x.data, y.data, x.len) == 0, "equal contents, equal bytes");
    rd_buf_clear(&x);
    is_rc(rd_store_describe(a, false, &x), RD_OK, "describes");
    ok(strstr(x.data, "2023-11-14T22:13:20Z") != NULL, "the date");
    ok(strstr(x.data, "redistill.test") != NULL && strstr(x.data, "  task ") != NULL, "the table");
    rd_json *doc = NULL;
    rd_buf_clear(&x);
    is_rc(rd_store_describe(a, true, &x), RD_OK, "describes as JSON");
    is_rc(rd_json_parse(x.data, x.len, "described", 1, &doc), RD_OK, "which parses");
    const rd_json_node *t = rd_json_get(rd_json_root(doc), "tables");
    is_i64(rd_json_count(t), 2, "two tables");
    is_i64(rd_json_count(rd_json_get(rd_json_next(rd_json_first(t)), "columns")), 3,
           "three columns");
    rd_json_free(&doc);
    rd_buf_free(&x);
    rd_buf_free(&y);
    rd_free(a);
    rd_free(b);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    world = rd_comm_world();
    char *path = rd_test_path("a.h5");
    test_tables(path);
    test_large();
    test_refusals(path);
    test_failures(path);
    test_identical();
    rd_free(path);
    return rd_test_end();
}
