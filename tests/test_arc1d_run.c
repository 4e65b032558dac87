/* ranks: 1 */
/* What 1D-ARC rules mean, one line per primitive; worked results; slips and mutations. */
#include "rd_test.h"
#include "rd/task.h"

/* Pictures: '.' is 0. */
static char *list_of(const char *picture)
{
    rd_buf b = {0};
    rd_buf_putc(&b, '[');
    for (const char *c = picture; *c; c++)
        rd_buf_printf(&b, "%s%d", c > picture ? ", " : "", *c == '.' ? 0 : *c - '0');
    rd_buf_putc(&b, ']');
    return rd_buf_take(&b);
}

static const struct {
    const char *rule, *input, *output; /* output NULL: undefined */
} cases[] = {
    {"Erase every object of length 1.", "2..22.3", "...22.."},
    {"Erase all but the longest object.", "2.22.33", "..22.33"},
    {"Erase all but the shortest object.", "2.22.33", "2......"},
    {"Hollow out every object.", "4444.55.6", "4..4.55.6"},
    {"Reverse every block.", ".5666..78", ".6665..87"},
    {"Paint every block in its majority colour.", ".55658..9", ".55555..9"},
    {"Paint the longest object with 8.", "11.222.333", "11.888.888"},
    {"Cap the first object with 8.", ".222.3", ".828.3"},
    {"Fill every object with 8.", ".2222.33", ".2882.33"},
    {"Move every object right 2.", "33.4...", "..33.4."},
    {"Move every object right 2.", "33.4.", NULL},
    {"Move the first object right 2.", "33.4.", NULL},
    {"Move every object of odd length left 1.", ".333.44", "333..44"},
    {"Extend every object of even length left 1.", ".333.44", ".333444"},
    {"Extend the last object right 2.", ".333.44.", NULL},
    {"Trim the first object left 1.", ".333.4", "..33.4"},
    {"Trim the last object right 1.", ".333.4", NULL},
    {"Double every object longer than 1.", ".33..4", ".33334"},
    {"Copy the first object right 1.", "33.....4", "33.33..4"},
    {"Copy the last object left 2.", "3....4", "3.4..4"},
    {"Slide every object right.", "3.4.5..", "....345"},
    {"Slide all but the last object left.", ".3.4.5.", "34...5."},
    {"Stretch the first object right.", "3...4.", "33334."},
    {"Stretch every object of colour 4 left.", "3...4.", "34444."},
    {"Move the longest object toward the other object by 2.", "..6...55", "..6.55.."},
    {"Slide the longest object until it touches the other object.", ".33...7.", "....337."},
    {"Slide every object until it touches the other object.", ".33...7.", NULL},
    {"Stretch the longest object until it touches the other object.", "7...33", "733333"},
    {"Mirror the longest object across the other object.", "22.9....", "...9.22."},
    {"Mirror the longest object across the other object.", "22.9.", NULL},
    {"Replace every object of length 1 by a copy of the other object.", "555...5..", "555..555."},
    {"Replace every object of length 1 by a copy of the other object in its own colour.",
     "555...6..", "555..666."},
    {"Fill every gap between equal colours with the colour on its left.", ".2..2.3", ".2222.3"},
    {"Fill every gap with the colour on its left.", "2..3.4.", "222334."},
    {"Fill the odd-numbered gaps with the colour on its left.", "2.2.2.2", "222.222"},
    {"Fill the even-numbered gaps with the colour on its left.", "2.2.2.2", "2.222.2"},
    {"Fill the longest gap with the colour on its left.", "2.2..2", "2.2222"},
    {"Paint objects by length: 1 becomes 7, 3 becomes 2.", "5.55.555", "7.55.222"},
    {"Paint objects by parity: odd becomes 7, even becomes 3.", "5.55.555", "7.33.777"},
    {"Paint objects by being longest: longest becomes 7, other becomes 3.", "5.55.666", "3.33.777"},
    {"Paint objects by rank in length: 1 becomes 7, 2 becomes 8.", "5.55.6666.5", "5.88.7777.5"},
    {"Paint objects by position: 2 becomes 7.", "5.55.6666", "5.77.6666"},
    {"Paint objects by colour: 5 becomes 7, 6 becomes 5.", "5.55.66", "7.77.55"},
    {"Erase the first object; then erase the last object.", "5.55.66", "..55..."},
    {"Erase the first object.", ".....", "....."},
};

static void test_semantics(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rd_rule *r = rd_rule_parse(RD_ARC1D, cases[i].rule);
        char *in = list_of(cases[i].input),
             *want = cases[i].output ? list_of(cases[i].output) : NULL;
        rd_buf got = {0};
        bool defined = r && rd_rule_run(RD_ARC1D, r, in, &got, NULL);
        ok(r && (want ? defined && strcmp(got.data, want) == 0 : !defined), "%s %s -> %s",
           cases[i].rule, cases[i].input, cases[i].output ? cases[i].output : "undefined");
        rd_buf_free(&got);
        rd_free(in);
        rd_free(want);
        rd_rule_free(RD_ARC1D, &r);
    }
}

static void test_work(void)
{
    rd_rule *r = rd_rule_parse(RD_ARC1D, "Double the first object; then paint the last object with "
                                         "4; then move the first object right 1.");
    rd_buf answer = {0}, work = {0};
    ok(rd_rule_run(RD_ARC1D, r, "[2, 0, 0, 0, 3]", &answer, &work), "three parts");
    is_str(answer.data, "[0, 2, 2, 0, 4]", "answer");
    is_str(work.data, "[2, 2, 0, 0, 3]\n[2, 2, 0, 0, 4]", "the list after each part but the last");
    rd_buf_clear(&work);
    ok(!rd_rule_run(RD_ARC1D, r, "[2, 3]", &answer, &work) && work.len == 0, "undefined: no work");
    ok(!rd_rule_run(RD_ARC1D, r, "[2, 10]", &answer, NULL) &&
           !rd_rule_run(RD_ARC1D, r, "x", &answer, NULL),
       "inputs that are not cells are refused");
    is_i64(rd_rule_steps(RD_ARC1D, r), 3, "steps");
    rd_rule_free(RD_ARC1D, &r);
    r = rd_rule_parse(RD_ARC1D, "Erase every object.");
    rd_buf_clear(&answer);
    ok(rd_rule_run(RD_ARC1D, r, "[2, 0]", &answer, &work) && work.len == 0, "one part: no work");
    rd_rule_free(RD_ARC1D, &r);
    rd_buf_free(&answer);
    rd_buf_free(&work);
}

/* Slips are lists of cells that differ from the answer, and of more than one sort. */
static void test_slips(void)
{
    rd_rule *r =
        rd_rule_parse(RD_ARC1D, "Paint the first object with 4; then erase the last object.");
    const char *in = "[2, 2, 0, 3, 0]", *right = "[4, 4, 0, 0, 0]";
    int64_t bad = 0, part_left_out = 0, kinds = 0;
    uint64_t seen[300];
    for (int i = 0; i < 300; i++) {
        rd_rng rng = rd_rng_make(3, "slip", (uint64_t)i, 0);
        rd_buf out = {0}, copy = {0};
        rd_rule_slip(RD_ARC1D, r, in, right, &rng, &out);
        bad += strcmp(out.data, right) == 0 || out.data[0] != '[';
        part_left_out += strcmp(out.data, "[4, 4, 0, 3, 0]") == 0;
        seen[i] = rd_hash_str(out.data, 0);
        int j = 0;
        while (seen[j] != seen[i]) j++;
        kinds += j == i;
        rd_buf_free(&out);
        rd_buf_free(&copy);
    }
    ok(bad == 0 && part_left_out > 40 && kinds >= 8,
       "slips: %lld bad, last part left out %lld times, "
       "%lld kinds",
       (long long)bad, (long long)part_left_out, (long long)kinds);
    rd_rng rng = rd_rng_make(3, "slip", 0, 1);
    rd_buf out = {0};
    rd_rule_slip(RD_ARC1D, r, "[0]", "[0]", &rng, &out);
    ok(strcmp(out.data, "[0]") != 0, "an empty picture slips too");
    rd_buf_clear(&out);
    rd_rule_slip(RD_ARC1D, r, "nonsense", "[]", &rng, &out);
    ok(out.len > 0, "so does nonsense");
    rd_buf_free(&out);
    rd_rule_free(RD_ARC1D, &r);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_semantics();
    test_work();
    test_slips();
    return rd_test_end();
}
