/* ranks: 1 2 4 */
/* The choice of kernels: by name, and on unlike processors the best that all ranks have. */
#include "rd_test.h"
#include "la/tiles.h"

static void test_common(const rd_comm *w, const rd_tiles *const *list, int n)
{
    int last = w->rank == w->size - 1;
    ok(rd_tiles_common(w, list, n) == list[0], "like processors: the best");
    if (n == 1) return;
    const rd_tiles *want = list[1];
    ok(rd_tiles_common(w, list + last, n - last) == want, "the last rank lacks it: the next");
    ok(rd_tiles_common(w, list + !last, n - !last) == (w->size > 1 ? want : list[0]),
       "only the last has it: the next, too");
    ok(rd_tiles_common(w, list + (n - 1) * last, last ? 1 : n) == list[n - 1],
       "the last rank has none but the build's own: that");
}

static bool says(const rd_grid *g, const char *what)
{
    return strcmp(rd_la_kernels(g), what) == 0;
}

static void test_named(const rd_comm *w, const rd_tiles *const *list, int n)
{
    rd_grid *g;
    rd_grid_self(&g);
    for (int half = 0; half < 2; half++) {
        rd_la_use_bf16(g, half);
        for (int i = 0; i < n; i++) {
            is_rc(rd_la_use_kernels(w, list[i]->name), RD_OK, list[i]->name);
            ok(says(g, half ? list[i]->says_bf16 : list[i]->says_f32), "it is used");
        }
        is_rc(rd_la_use_kernels(w, "abacus"), RD_EINPUT, "what no processor has is refused");
        ok(says(g, half ? list[n - 1]->says_bf16 : list[n - 1]->says_f32), "and changes nothing");
        is_rc(rd_la_use_kernels(w, "auto"), RD_OK, "auto");
        ok(says(g, half ? list[0]->says_bf16 : list[0]->says_f32), "the best");
    }
    rd_grid_free(&g);
}

int main(int argc, char **argv)
{
    const rd_tiles *list[RD_TILES_MAX];
    rd_test_begin(&argc, &argv);
    int n = rd_tiles_list(list);
    rd_comm w = rd_comm_world();
    test_common(&w, list, n);
    test_named(&w, list, n);
    return rd_test_end();
}
