/* bench */
/* Instructions of the passes of training that are no matrix products, counted by callgrind: a
 * slower pass shows here however busy the machine is.  valgrind knows no AVX-512, so this program
 * is compiled for AVX2, and the passes with it.
 *
 * The program runs itself under valgrind, once for each pass, and compares with the table below,
 * which holds for the compiler named there: more than a few per cent above it is a failure, far
 * below it a reason to write the new number down.  Without valgrind or with another compiler it
 * says so, and judges nothing. */
#include "rd_test.h"
#include "nn/ops.h"

#include <sys/wait.h>

static const char compiler[] = "12.2.0";
enum { TOLERANCE = 3 /* per cent */ };

enum { T = 200, D = 576, F = 1536, V = 49152, COLUMNS = 2, H = 9, K = 3, S = 64 };
enum { LD = (H + 2 * K) * S, HS = H * S };

/* Space for all of them, with numbers that are no special cases. */
static float *x, *y, *z;
static float w[D], dw[D], inv[T], lse[H * T];
static int32_t position[T];

static float *filled(int64_t n)
{
    float *a = rd_new(float, n);
    for (int64_t i = 0; i < n; i++) a[i] = (float)(i * 7919 % 1009) / 1009 - 0.5f;
    return a;
}

static rd_attention attention(void)
{
    return (rd_attention){.heads = H,
                          .kv_heads = K,
                          .size = S,
                          .ld_qkv = LD,
                          .ld_out = HS,
                          .max_len = T,
                          .threads = 1,
                          .scratch = filled(rd_attention_scratch(S, 1)),
                          .partial = filled(rd_attention_partial(H, S) * T)};
}

/* ---------------------------------------------------------------- what is counted */

#define COUNTED __attribute__((noinline, noclone)) void

COUNTED count_norm_fwd(void)
{
    rd_rmsnorm_fwd(D, T, x, w, 1e-5, y, inv);
}
COUNTED count_norm_bwd(void)
{
    rd_rmsnorm_bwd(D, T, x, w, inv, y, z, dw);
}
COUNTED count_rope(void)
{
    rd_rope(H + K, S, T, position, z, 1, x, LD);
}
COUNTED count_swiglu_fwd(void)
{
    rd_swiglu_fwd(F, T, x, y);
}
COUNTED count_swiglu_bwd(void)
{
    rd_swiglu_bwd(F, T, x, y, z, y);
}
COUNTED count_softmax(void)
{
    double logp[COLUMNS];
    rd_softmax_columns(V, COLUMNS, (const int32_t[]){1, 2}, (const float[]){-1, -1}, x, logp);
}
static rd_attention shape;
static const int64_t start[] = {0, T};
COUNTED count_attention_fwd(void)
{
    rd_attention_fwd(&shape, 1, start, x, y, lse);
}
COUNTED count_attention_bwd(void)
{
    rd_attention_bwd(&shape, 1, start, x, y, lse, y + HS * T, z);
}
COUNTED count_copy(void)
{
    rd_copy((int64_t)D * T, x, y);
}
COUNTED count_add(void)
{
    rd_add((int64_t)D * T, x, y);
}

static const struct {
    const char *name;
    void (*pass)(void);
    double expected;
} list[] = {{"norm_fwd", count_norm_fwd, 410884},
            {"norm_bwd", count_norm_bwd, 789453},
            {"rope", count_rope, 268302},
            {"swiglu_fwd", count_swiglu_fwd, 1127858},
            {"swiglu_bwd", count_swiglu_bwd, 1482857},
            {"softmax", count_softmax, 743929},
            {"attention_fwd", count_attention_fwd, 11193774},
            {"attention_bwd", count_attention_bwd, 25411452},
            {"copy", count_copy, 464859},
            {"add", count_add, 92797}};
enum { PASSES = sizeof(list) / sizeof(list[0]) };

static int run(const char *name)
{
    x = filled(2 * F * T), y = filled(2 * F * T), z = filled(2 * F * T);
    shape = attention();
    for (int t = 0; t < T; t++) position[t] = t, inv[t] = 1;
    for (int i = 0; i < D; i++) w[i] = 1;
    for (int i = 0; i < PASSES; i++)
        if (strcmp(name, list[i].name) == 0) list[i].pass();
    return 0;
}

/* Instructions of a pass; -1: no valgrind. */
static double count(const char *self, const char *name)
{
    char command[1024], line[256];
    double found = -1;
    snprintf(command, sizeof command,
             "valgrind --tool=callgrind --callgrind-out-file=/dev/null "
             "--toggle-collect=count_%s %s %s 2>&1",
             name, self, name);
    FILE *f = popen(command, "r");
    if (f == NULL) return -1;
    while (fgets(line, sizeof line, f) != NULL) {
        const char *at = strstr(line, "Collected : ");
        if (at != NULL) found = strtod(at + strlen("Collected : "), NULL);
    }
    return pclose(f) == 0 ? found : -1;
}

int main(int argc, char **argv)
{
    if (argc > 1) return run(argv[1]);
    int worse = 0;
    for (int i = 0; i < PASSES; i++) {
        double n = count(argv[0], list[i].name);
        if (n < 0) {
            printf("instruction counts: skipped: valgrind is not installed\n");
            return 0;
        }
        double off = 100 * (n / list[i].expected - 1);
        printf("%-14s %10.0f instructions, %+.1f %%\n", list[i].name, n, off);
        worse += off > TOLERANCE;
    }
    if (strcmp(__VERSION__, compiler) != 0) {
        printf("the table is for GCC %s, this is %s: nothing is judged\n", compiler, __VERSION__);
        return 0;
    }
    if (worse > 0) printf("%d passes take more instructions than they did\n", worse);
    return worse > 0;
}
