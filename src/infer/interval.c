/* interval.c: accuracy with a confidence interval whose independent units are problems.
 *
 * Queries of one problem stand or fall together (they share a rule), so counting them as
 * independent would make the intervals too narrow. */
#include "rd/infer.h"

#include <math.h>

static const double Z95 = 1.959963984540054;

/* Wilson's interval for a share p of n independent units. */
static void wilson(double n, double p, double *low, double *high)
{
    double z2 = Z95 * Z95, scale = 1 / (1 + z2 / n);
    double middle = (p + z2 / (2 * n)) * scale;
    double half = Z95 * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) * scale;
    *low = p > 0 ? fmax(0, middle - half) : 0;
    *high = p < 1 ? fmin(1, middle + half) : 1;
}

void rd_cluster_interval(int64_t n, const int64_t *right, const int64_t *total, double *accuracy,
                         double *low, double *high)
{
    int64_t units = 0, hits = 0, all = 0;
    double squares = 0;
    for (int64_t i = 0; i < n; i++) {
        units += total[i] > 0;
        hits += right[i];
        all += total[i];
    }
    *accuracy = *low = 0;
    *high = 1;
    if (all == 0) return;
    double p = *accuracy = (double)hits / (double)all;
    for (int64_t i = 0; i < n; i++) {
        double residual = (double)right[i] - p * (double)total[i];
        if (total[i] > 0) squares += residual * residual;
    }
    /* Residuals of problems that are all alike are rounding, not variance. */
    if (units < 2 || squares < 1e-18 * (double)all) {
        wilson((double)units, p, low, high);
        return;
    }
    double variance = (double)units / (double)(units - 1) * squares / ((double)all * (double)all);
    *low = fmax(0, p - Z95 * sqrt(variance));
    *high = fmin(1, p + Z95 * sqrt(variance));
}
