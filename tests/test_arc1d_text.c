/* ranks: 1 */
/* 1D-ARC rules as text: every phrase of the language comes back, and no text does harm. */
#include "rd_test.h"
#include "rd/task.h"

static int64_t trips, lost;
static char first_lost[512];

/* Parse a sentence and every wording of what it means; all must be one rule. */
static void round_trip(const char *text)
{
    rd_rule *r = rd_rule_parse(RD_ARC1D, text);
    for (uint64_t w = 0; r && w < 40; w++) {
        rd_buf b = {0};
        rd_rule_print(RD_ARC1D, r, w, &b);
        rd_rule *again = rd_rule_parse(RD_ARC1D, b.data);
        bool same = again && rd_rule_equal(RD_ARC1D, r, again) && b.data[b.len - 1] == '.' &&
                    !strpbrk(b.data, "[]") && b.len < 400;
        if (w == 0) same = same && strcmp(b.data, text) == 0;
        if (!same && !lost) snprintf(first_lost, sizeof first_lost, "%s -> %s", text, b.data);
        lost += !same;
        trips++;
        rd_rule_free(RD_ARC1D, &again);
        rd_buf_free(&b);
    }
    if (!r && !lost) snprintf(first_lost, sizeof first_lost, "%s", text);
    lost += !r;
    rd_rule_free(RD_ARC1D, &r);
}

static const char *const selectors[] = {"every %",
                                        "the longest %",
                                        "the shortest %",
                                        "all but the longest %",
                                        "all but the shortest %",
                                        "every % of odd length",
                                        "every % of even length",
                                        "every % of length 3",
                                        "every % longer than 12",
                                        "the first %",
                                        "the last %",
                                        "all but the first %",
                                        "all but the last %",
                                        "every % of colour 4"};
static const char *const actions[] = {"Erase @.",
                                      "Hollow out @.",
                                      "Reverse @.",
                                      "Paint @ in its majority colour.",
                                      "Paint @ with 5.",
                                      "Cap @ with 9.",
                                      "Fill @ with 1.",
                                      "Move @ right 2.",
                                      "Move @ left 11.",
                                      "Extend @ right 1.",
                                      "Extend @ left 3.",
                                      "Trim @ right 1.",
                                      "Trim @ left 2.",
                                      "Double @.",
                                      "Copy @ right 1.",
                                      "Copy @ left 2.",
                                      "Slide @ right.",
                                      "Slide @ left.",
                                      "Stretch @ right.",
                                      "Stretch @ left.",
                                      "Move @ toward the other % by 2.",
                                      "Slide @ until it touches the other %.",
                                      "Stretch @ until it touches the other %.",
                                      "Mirror @ across the other %.",
                                      "Replace @ by a copy of the other %.",
                                      "Replace @ by a copy of the other % in its own colour."};
static const char *const others[] = {
    "Fill every gap with the colour on its left.",
    "Fill every gap between equal colours with the colour on its left.",
    "Fill the odd-numbered gaps with the colour on its left.",
    "Fill the even-numbered gaps with the colour on its left.",
    "Fill the first gap with the colour on its left.",
    "Fill the shortest gap with the colour on its left.",
    "Fill the longest gap with the colour on its left.",
    "Paint objects by length: 1 becomes 7, 2 becomes 9, 3 becomes 2.",
    "Paint objects by parity: odd becomes 7, even becomes 3.",
    "Paint blocks by being longest: longest becomes 7, other becomes 3.",
    "Paint objects by being shortest: other becomes 3.",
    "Paint objects by rank in length: 1 becomes 7, 9 becomes 1.",
    "Paint objects by position: 2 becomes 7.",
    "Paint objects by colour: 4 becomes 7, 7 becomes 4.",
    "Erase the first object; then paint the last object with 3.",
    "Reverse every block; then double the longest object; then erase the last object; then fill "
    "every gap with the colour on its left."};

static void expand(const char *action, const char *selector, const char *unit, char *out)
{
    char half[200];
    size_t k = 0;
    for (const char *c = action; *c; c++) {
        if (*c != '@')
            half[k++] = *c;
        else
            k += (size_t)sprintf(half + k, "%s", selector);
    }
    half[k] = '\0';
    k = 0;
    for (const char *c = half; *c; c++) {
        if (*c != '%')
            out[k++] = *c;
        else
            k += (size_t)sprintf(out + k, "%s", unit);
    }
    out[k] = '\0';
}

/* One text that must not be a rule. */
static bool refused(const char *text)
{
    rd_rule *r = rd_rule_parse(RD_ARC1D, text);
    bool none = r == NULL;
    rd_rule_free(RD_ARC1D, &r);
    return none;
}

static void test_hostile(void)
{
    static const char *const bad[] = {
        "",
        ".",
        ";",
        "; ;",
        "; then ; then",
        "Erase",
        "Erase the.",
        "Erase every object;",
        "Erase every object; then",
        "Erase every object of length 0.",
        "Erase every object of length 007.",
        "Paint every object with 10.",
        "Paint every object with 0.",
        "Paint every object with -1.",
        "Move every object right 100.",
        "Move every block toward the other object by 2.",
        "Paint objects by length:",
        "Paint objects by length: 1 becomes 7,",
        "Paint objects by length: 1 becomes 7, 1 becomes 8.",
        "Paint objects by parity: 1 becomes 7.",
        "Paint objects by length 1 becomes 7.",
        "Erase every object.. now",
        "Erase the first object; erase the first object; erase the first object; erase the first "
        "object; erase the first object.",
        "\xff\xfe",
        "%s %n %u %c",
        "Erase %s."};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(refused(bad[i]), "not a rule: '%.40s'", bad[i]);
    char *deep = rd_new(char, 200001);
    for (int i = 0; i < 200000; i++) deep[i] = ";(then every "[i % 13];
    ok(refused(deep), "200,000 characters of nonsense");
    memset(deep, ';', 200000);
    ok(refused(deep), "200,000 semicolons");
    rd_free(deep);
    /* Random mixtures of the language's own words and of bytes. */
    static const char *const pieces[] = {"erase", "the",  "first",   "object", ";",    "then",
                                         "paint", "with", "5",       "every",  "of",   "length",
                                         ":",     ",",    "becomes", "by",     "\x80", "."};
    rd_rng rng = rd_rng_make(1, "fuzz", 0, 0);
    int64_t rules = 0;
    for (int i = 0; i < 20000; i++) {
        rd_buf b = {0};
        for (int64_t n = rd_rng_below(&rng, 14); n >= 0; n--)
            rd_buf_printf(&b, "%s ", pieces[rd_rng_below(&rng, 18)]);
        rules += !refused(b.data);
        rd_buf_free(&b);
    }
    ok(rules < 2000, "20,000 random texts do no harm (%lld were rules)", (long long)rules);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    char text[300];
    for (size_t a = 0; a < sizeof actions / sizeof *actions; a++)
        for (size_t s = 0; s < sizeof selectors / sizeof *selectors; s++)
            for (int u = 0; u < 2; u++) {
                expand(actions[a], selectors[s], u ? "block" : "object", text);
                round_trip(text);
            }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) round_trip(others[i]);
    ok(lost == 0, "parse(print(r, w)) = r, %lld times%s%s", (long long)trips, lost ? ": lost " : "",
       first_lost);
    rd_rule *a =
        rd_rule_parse(RD_ARC1D, "  PAINT   the leftmost object WITH 5 ; erase the last object");
    rd_rule *b =
        rd_rule_parse(RD_ARC1D, "Paint the first object with 5; then erase the last object.");
    ok(a && b && rd_rule_equal(RD_ARC1D, a, b), "case, blanks and the joining word are free");
    rd_rule_free(RD_ARC1D, &a);
    rd_rule_free(RD_ARC1D, &b);
    test_hostile();
    return rd_test_end();
}
