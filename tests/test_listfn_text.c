/* ranks: 1 */
/* List Function rules as text: every wording is understood, hostile texts do no harm. */
#include "rd_test.h"
#include "task/listfn.h"

static void round_trips(void)
{
    enum { PROGRAMS = 6000, WORDINGS = 5 };
    int64_t tried = 0, broken = 0, long_texts = 0;
    bool used[LF_OPS] = {false};
    for (int k = 0; k < PROGRAMS; k++) {
        rd_rng rng = rd_rng_make(1, "test programs", (uint64_t)k, 0);
        lf_prog p = {0};
        int root = lf_random(&p, T_P, 1 + k % 4, &rng);
        if (lf_size(&p, root) > LF_MAX_NODES) root = -1;
        rd_rule *r = root < 0 ? NULL : lf_rule_make(&p, root);
        for (int i = 0; r && i < r->p.n; i++) used[r->p.a[i].op] = true;
        for (int w = 0; r && w < WORDINGS; w++) {
            rd_buf text = {0};
            rd_rule_print(RD_LIST_FUNCTION, r, w ? rd_rng_u64(&rng) : 0, &text);
            rd_rule *back = rd_rule_parse(RD_LIST_FUNCTION, text.data);
            bool same = back && rd_rule_equal(RD_LIST_FUNCTION, r, back);
            if (text.len > 3900)
                long_texts++; /* beyond what the parser reads */
            else if (!same && broken++ < 3)
                diag("not understood: %s", text.data);
            tried++;
            bool clean = !strpbrk(text.data, "[]\n") && !strstr(text.data, "Input:");
            if (!clean || text.data[text.len - 1] != '.') broken++;
            rd_rule_free(RD_LIST_FUNCTION, &back);
            rd_buf_free(&text);
        }
        rd_rule_free(RD_LIST_FUNCTION, &r);
        rd_free(p.a);
    }
    ok(broken == 0, "parse(print(r, w)) is r (%lld texts)", (long long)tried);
    ok(long_texts * 100 < tried, "few random texts are too long (%lld)", (long long)long_texts);
    int unused = 0;
    for (int op = 0; op < LF_OPS; op++) unused += !used[op];
    is_i64(unused, 0, "every primitive occurred");
}

/* Each wording of each primitive, one at a time, in a rule whose other parts are canonical. */
static void wordings_differ(void)
{
    int clashes = 0, few = 0;
    for (int a = 0; a < LF_OPS; a++)
        for (int i = 0; i < LF_WORDINGS && lf_ops[a].words[i]; i++)
            for (int b = 0; b < LF_OPS; b++)
                for (int k = 0; k < LF_WORDINGS && lf_ops[b].words[k]; k++)
                    if ((a != b || i != k) && lf_ops[a].type == lf_ops[b].type &&
                        !strcmp(lf_ops[a].words[i], lf_ops[b].words[k]))
                        clashes++;
    for (int a = 0; a < LF_OPS; a++)
        few += a != I_NUM && a != C_CELL && a != E_I && !lf_ops[a].words[2];
    is_i64(clashes, 0, "no wording belongs to two primitives");
    is_i64(few, 0, "three wordings or more each");
}

static const char *understood(const char *text, char *out, size_t n)
{
    rd_rule *r = rd_rule_parse(RD_LIST_FUNCTION, text);
    rd_buf b = {0};
    if (r) rd_rule_print(RD_LIST_FUNCTION, r, 0, &b);
    snprintf(out, n, "%s", r ? b.data : "none");
    rd_rule_free(RD_LIST_FUNCTION, &r);
    rd_buf_free(&b);
    return out;
}

static void readings(void)
{
    char got[500];
    is_str(understood("  drop THE first   2;THEN append 5", got, sizeof got),
           "Drop the first 2; then put 5 at the end.", "case, blanks and the full stop are free");
    is_str(understood("Sort from large to small; next, return only the largest value.", got,
                      sizeof got),
           "Sort in descending order; then return only the largest value.", "wordings mix");
    is_str(understood("Keep each x with (x * 2) > (the first element).", got, sizeof got),
           "Keep each x with (x * 2) > (the first element).", "nested arguments");
    static const char *const bad[] = {"",
                                      ".",
                                      ";",
                                      "; ;",
                                      "Drop the first.",
                                      "Drop the first 2 3.",
                                      "Drop the first 2; then",
                                      "(reverse the list)",
                                      "then then",
                                      "Keep the first 99999999999999999999.",
                                      "Replace each x by (x +)."};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++)
        is_str(understood(bad[k], got, sizeof got), "none", bad[k]);
}

/* Deep nesting, long runs, mutilated and random texts. */
static void hostile(void)
{
    rd_buf b = {0};
    for (int k = 0; k < 200000; k++) rd_buf_puts(&b, k % 2 ? "((" : "join (");
    ok(!lf_parse(b.data), "a text of brackets is no rule");
    b.data[3900] = '\0';
    ok(!lf_parse(b.data), "nor is a shorter one");
    rd_buf_clear(&b);
    rd_buf_puts(&b, "Replace each x by ");
    for (int k = 0; k < 130; k++) rd_buf_puts(&b, "(if x > ");
    double start = rd_time();
    ok(!lf_parse(b.data), "nor an unfinished tower of conditions");
    ok(rd_time() - start < 1.0, "which takes no time");
    int understood_texts = 0;
    for (int k = 0; k < 20000; k++) {
        rd_rng rng = rd_rng_make(2, "test hostile", (uint64_t)k, 0);
        lf_prog p = {0};
        int root = lf_random(&p, T_P, 2, &rng);
        rd_rule *r = lf_rule_make(&p, root);
        rd_buf_clear(&b);
        lf_print(r, rd_rng_u64(&rng), &b);
        for (int i = 0; i < 3; i++) {
            size_t at = (size_t)rd_rng_below(&rng, (int64_t)b.len);
            b.data[at] = (char)rd_rng_range(&rng, k % 2 ? 1 : 32, k % 2 ? 255 : 126);
        }
        rd_rule *back = lf_parse(b.data);
        ints in = {.n = 3, .v = {1, 2, 3}}, out;
        if (back) lf_run(&back->p, back->root, &in, &out);
        understood_texts += back != NULL;
        lf_rule_free(back);
        lf_rule_free(r);
        rd_free(p.a);
    }
    ok(understood_texts < 20000, "mutilated texts do no harm (%d still rules)", understood_texts);
    rd_buf_free(&b);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    round_trips();
    wordings_differ();
    readings();
    hostile();
    return rd_test_end();
}
