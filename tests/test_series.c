/* ranks: 1 */
/* The growing log: rows appear at flush, a resumed run drops what came after its checkpoint. */
#include "rd/io.h"
#include "rd_test.h"
#include <sys/resource.h>

static const rd_store_info info = {.schema = "redistill.metrics", .version = 1};
static const char *const columns[] = {"loss", "lr"};
static char path[512];

static void add_rows(rd_series *s, int64_t from, int64_t to)
{
    for (int64_t i = from; i <= to; i++) {
        const double v[2] = {1.0 / (double)i, (double)i};
        rd_series_row(s, "train", 2, columns, i, v);
        if (i % 10 == 0) rd_series_row(s, "eval", 1, columns, i, v);
    }
}

/* Rows of a column as another process would see them now, checked against what belongs there. */
static void expect(const char *column, int64_t want_rows, int64_t want_last)
{
    const rd_comm self = rd_comm_self();
    rd_store *r = NULL;
    int64_t n = -1, key = -1;
    is_rc(rd_store_open(&self, path, "redistill.metrics", 1, &r), RD_OK, "a reader opens");
    if (want_rows == 0) {
        ok(!rd_store_has(r, column) || rd_store_rows(r, column, &n) != RD_OK || n == 0, "no rows");
    } else {
        rd_store_rows(r, column, &n);
        is_i64(n, want_rows, column);
        if (n > 0) rd_store_read(r, column, RD_I64, n - 1, 1, &key);
        is_i64(key, want_last, "last");
    }
    rd_store_close(&r);
}

static void test_full_disk(void)
{
    rd_series *s = NULL;
    struct rlimit limit, all;
    is_rc(rd_series_open(path, &info, 25, &s), RD_OK, "resumes once more");
    add_rows(s, 26, 30);
    getrlimit(RLIMIT_FSIZE, &all);
    limit = all;
    limit.rlim_cur = 1000;
    setrlimit(RLIMIT_FSIZE, &limit);
    is_rc(rd_series_flush(s), RD_EIO, "a flush without room");
    setrlimit(RLIMIT_FSIZE, &all);
    expect("train/step", 25, 25);
    is_rc(rd_series_flush(s), RD_OK, "its rows are kept for the next flush");
    expect("train/step", 30, 30);
    is_rc(rd_series_close(&s), RD_OK, "closes");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_series *s = NULL;
    const rd_store_info newer = {.schema = "redistill.other", .version = 1};
    snprintf(path, sizeof(path), "%s/metrics.h5", rd_test_dir());
    is_rc(rd_series_open(path, &info, 100, &s), RD_OK, "keep without a file starts one");
    expect("train/step", 0, 0);
    add_rows(s, 1, 3000);
    expect("train/step", 0, 0);
    is_rc(rd_series_flush(s), RD_OK, "flushes");
    is_rc(rd_series_flush(s), RD_OK, "nothing to flush");
    expect("train/step", 3000, 3000);
    expect("train/lr", 3000, 3000);
    add_rows(s, 3001, 3005);
    is_rc(rd_series_row(s, "train", 1, columns, 1, (double[]){1}), RD_EINTERNAL, "other columns");
    is_rc(rd_series_close(&s), RD_OK, "close flushes");
    ok(s == NULL, "no handle");
    expect("train/lr", 3005, 3005);
    expect("eval/step", 300, 3000);

    is_rc(rd_series_open(path, &newer, 20, &s), RD_EINPUT, "another schema");
    is_rc(rd_series_open(path, &info, 25, &s), RD_OK, "resumes at step 25");
    expect("train/lr", 25, 25);
    expect("eval/step", 2, 20);
    add_rows(s, 26, 40);
    is_rc(rd_series_close(&s), RD_OK, "closes");
    expect("train/lr", 40, 40);
    expect("eval/step", 4, 40);
    test_full_disk();
    is_rc(rd_series_open(path, &info, -1, &s), RD_OK, "starts anew");
    expect("train/step", 0, 0);
    is_rc(rd_series_close(&s), RD_OK, "closes");
    ok(rd_series_open("/nonexistent/m.h5", &info, -1, &s) == RD_EIO, "a missing directory");
    rd_error_clear();
    return rd_test_end();
}
