/* ranks: 1 */
/* Intervals clustered by problem, against values worked out by hand; names of methods. */
#include "rd_test.h"
#include "rd/infer.h"

static void check(int64_t n, const int64_t *right, const int64_t *total, double p, double low,
                  double high, const char *what)
{
    double got[3];
    rd_cluster_interval(n, right, total, &got[0], &got[1], &got[2]);
    near_f64(got[0], p, 1e-12, what);
    near_f64(got[1], low, 1e-9, "its lower bound");
    near_f64(got[2], high, 1e-9, "its upper bound");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    const double z = 1.959963984540054;

    /* p = 6/12; residuals 1.5, -0.5, 0.5, -1.5; squares 5; variance 4/3 * 5 / 144. */
    int64_t right[] = {3, 1, 2, 0}, total[] = {3, 3, 3, 3};
    double se = sqrt(20.0 / 3 / 144);
    check(4, right, total, 0.5, 0.5 - z * se, 0.5 + z * se, "equal problems");

    /* Unequal: p = 5/10; residuals 2 - 2 = 0, 1 - 0.5, 2 - 2.5; squares 0.5; 3/2 * 0.5 / 100. */
    int64_t right2[] = {2, 1, 2}, total2[] = {4, 1, 5};
    se = sqrt(0.0075);
    check(3, right2, total2, 0.5, 0.5 - z * se, 0.5 + z * se, "problems of different size");

    /* The same queries as independent problems: p (1 - p) / (n - 1). */
    int64_t one[12] = {1, 1, 1, 1, 0, 0, 1, 1}, ones[12] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    se = sqrt(0.25 / 11);
    check(12, one, ones, 0.5, 0.5 - z * se, 0.5 + z * se, "single queries");

    /* No variance: Wilson on four problems, n / (n + z^2) is the lower bound of all right. */
    int64_t all[] = {3, 3, 3, 3}, none[] = {0, 0, 0, 0};
    check(4, all, total, 1, 4 / (4 + z * z), 1, "all right");
    check(4, none, total, 0, 0, z * z / (4 + z * z), "all wrong");
    int64_t third[] = {1, 1, 1, 1};
    double q = 1.0 / 3, mid = (q + z * z / 8) / (1 + z * z / 4);
    double half = z * sqrt(q * (1 - q) / 4 + z * z / 64) / (1 + z * z / 4);
    check(4, third, total, q, mid - half, mid + half, "all alike: rounding is not variance");

    /* Problems without queries do not count; nothing at all is no knowledge. */
    int64_t right3[] = {0, 3, 1, 0, 2, 0}, total3[] = {0, 3, 3, 0, 3, 3};
    se = sqrt(20.0 / 3 / 144);
    check(6, right3, total3, 0.5, 0.5 - z * se, 0.5 + z * se, "empty problems");
    check(0, right, total, 0, 0, 1, "no problem");
    int64_t hit[] = {1, 0}, two[] = {1, 1};
    check(2, hit, two, 0.5, 0, 1, "bounds stay in 0 … 1");

    int method = 0;
    for (int m = RD_METHOD_IO; m <= RD_METHOD_ORACLE_RULE; m *= 2) {
        is_rc(rd_method_parse(rd_method_name(m), &method), RD_OK, rd_method_name(m));
        is_i64(method, m, "the same method");
    }
    int rc = rd_method_parse("serch", &method);
    ok(rc == RD_EINPUT && strstr(rd_error_get()->message, "\"search\""),
       "the nearest name is said");
    rd_error_clear();
    return rd_test_end();
}
