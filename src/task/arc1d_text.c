/* arc1d_text.c: rules of 1D-ARC as English sentences, printed and parsed from the same phrases.
 *
 * A phrase is words and slots: %s selector, %n number, %c colour, %u "object" or "block", %g set of
 * gaps.  The sentence is cut into words and matched phrase by phrase; a selector is the only slot
 * of more than one word and holds no selector itself, so matching never nests deeper than two. */
#include "arc1d.h"

#include <ctype.h>
#include <string.h>

enum { WORDINGS = 3, WORDS_MAX = 160, WORD_LEN = 20 };

static const char *const selector_words[SELECTORS][WORDINGS] = {
    [SEL_EVERY] = {"every %u", "each %u", "all %us"},
    [SEL_LONGEST] = {"the longest %u", "each longest %u", "the %u with the most cells"},
    [SEL_SHORTEST] = {"the shortest %u", "each shortest %u", "the %u with the fewest cells"},
    [SEL_NOT_LONGEST] = {"all but the longest %u", "every %u except the longest",
                         "each %u that is not the longest"},
    [SEL_NOT_SHORTEST] = {"all but the shortest %u", "every %u except the shortest",
                          "each %u that is not the shortest"},
    [SEL_ODD] = {"every %u of odd length", "each odd-length %u",
                 "each %u with an odd number of cells"},
    [SEL_EVEN] = {"every %u of even length", "each even-length %u",
                  "each %u with an even number of cells"},
    [SEL_LENGTH] = {"every %u of length %n", "each %u with length %n", "all %us of length %n"},
    [SEL_LONGER] = {"every %u longer than %n", "each %u of more than %n cells",
                    "all %us longer than %n"},
    [SEL_FIRST] = {"the first %u", "the leftmost %u", "the %u nearest the left edge"},
    [SEL_LAST] = {"the last %u", "the rightmost %u", "the %u nearest the right edge"},
    [SEL_NOT_FIRST] = {"all but the first %u", "every %u except the first",
                       "each %u after the first"},
    [SEL_NOT_LAST] = {"all but the last %u", "every %u except the last", "each %u before the last"},
    [SEL_COLOUR] = {"every %u of colour %c", "each %u coloured %c", "all %us of colour %c"},
};

static const char *const action_words[ACTIONS][WORDINGS] = {
    [ACT_ERASE] = {"erase %s", "delete %s", "remove %s"},
    [ACT_HOLLOW] = {"hollow out %s", "clear the inside of %s", "keep only the ends of %s"},
    [ACT_REVERSE] = {"reverse %s", "flip %s in place", "turn %s around"},
    [ACT_MAJORITY] = {"paint %s in its majority colour", "recolour %s to its most common colour",
                      "give %s its majority colour"},
    [ACT_PAINT] = {"paint %s with %c", "recolour %s to %c", "give %s colour %c"},
    [ACT_ENDS] = {"cap %s with %c", "paint both ends of %s with %c",
                  "give the ends of %s colour %c"},
    [ACT_INSIDE] = {"fill %s with %c", "paint the inside of %s with %c",
                    "give the inside of %s colour %c"},
    [ACT_MOVE_RIGHT] = {"move %s right %n", "shift %s right by %n",
                        "move %s %n cells to the right"},
    [ACT_MOVE_LEFT] = {"move %s left %n", "shift %s left by %n", "move %s %n cells to the left"},
    [ACT_EXTEND_RIGHT] = {"extend %s right %n", "lengthen %s right by %n",
                          "add %n cells on the right of %s"},
    [ACT_EXTEND_LEFT] = {"extend %s left %n", "lengthen %s left by %n",
                         "add %n cells on the left of %s"},
    [ACT_TRIM_RIGHT] = {"trim %s right %n", "shorten %s right by %n",
                        "cut %n cells off the right of %s"},
    [ACT_TRIM_LEFT] = {"trim %s left %n", "shorten %s left by %n",
                       "cut %n cells off the left of %s"},
    [ACT_DOUBLE] = {"double %s", "double the length of %s", "make %s twice as long"},
    [ACT_COPY_RIGHT] = {"copy %s right %n", "repeat %s right after %n empty cells",
                        "draw %s again on the right after %n empty cells"},
    [ACT_COPY_LEFT] = {"copy %s left %n", "repeat %s left after %n empty cells",
                       "draw %s again on the left after %n empty cells"},
    [ACT_SLIDE_RIGHT] = {"slide %s right", "push %s fully to the right",
                         "move %s as far right as possible"},
    [ACT_SLIDE_LEFT] = {"slide %s left", "push %s fully to the left",
                        "move %s as far left as possible"},
    [ACT_STRETCH_RIGHT] = {"stretch %s right", "grow %s fully to the right",
                           "extend %s as far right as possible"},
    [ACT_STRETCH_LEFT] = {"stretch %s left", "grow %s fully to the left",
                          "extend %s as far left as possible"},
    [ACT_TOWARD] = {"move %s toward the other %u by %n", "shift %s %n cells toward the other %u",
                    "move %s %n closer to the other %u"},
    [ACT_TOUCH] = {"slide %s until it touches the other %u", "move %s up to the other %u",
                   "push %s against the other %u"},
    [ACT_STRETCH_TOUCH] = {"stretch %s until it touches the other %u",
                           "extend %s up to the other %u", "grow %s as far as the other %u"},
    [ACT_MIRROR] = {"mirror %s across the other %u", "reflect %s across the other %u",
                    "flip %s over the other %u"},
    [ACT_STAMP] = {"replace %s by a copy of the other %u", "turn %s into a copy of the other %u",
                   "centre a copy of the other %u on %s"},
    [ACT_STAMP_OWN] = {"replace %s by a copy of the other %u in its own colour",
                       "turn %s into a copy of the other %u in its own colour",
                       "give %s the shape of the other %u"},
};

static const char *const gap_words[GAP_SETS][WORDINGS] = {
    [GAPS_EVERY] = {"every gap", "each gap", "all gaps"},
    [GAPS_EQUAL] = {"every gap between equal colours", "each gap between two equal colours",
                    "all gaps between equal colours"},
    [GAPS_ODD] = {"the odd-numbered gaps", "every odd-numbered gap",
                  "every second gap from the first"},
    [GAPS_EVEN] = {"the even-numbered gaps", "every even-numbered gap",
                   "every second gap from the second"},
    [GAPS_FIRST] = {"the first gap", "the leftmost gap", "only the first gap"},
    [GAPS_SHORTEST] = {"the shortest gap", "each shortest gap", "only the shortest gap"},
    [GAPS_LONGEST] = {"the longest gap", "each longest gap", "only the longest gap"},
};
static const char *const fill_words[WORDINGS] = {"fill %g with the colour on its left",
                                                 "close %g with the colour on its left",
                                                 "colour %g like the cell on its left"};

static const char *const table_words[WORDINGS] = {"paint %us by", "recolour %us by",
                                                  "choose the colour of %us by"};
static const char *const entry_words[WORDINGS] = {"becomes", "turns into", "gets"};
static const char *const feature_words[FEATURES] = {
    [BY_LENGTH] = "length",           [BY_PARITY] = "parity",       [BY_LONGEST] = "being longest",
    [BY_SHORTEST] = "being shortest", [BY_RANK] = "rank in length", [BY_POSITION] = "position",
    [BY_COLOUR] = "colour",
};
static const char *const join_words[WORDINGS] = {"then", "after that", "next"};

static const char *unit_word(int unit)
{
    return unit == UNIT_BLOCK ? "block" : "object";
}

/* Two-way features name their keys; the others number them. */
static const char *key_word(int feature, int key)
{
    static const char *const words[FEATURES][2] = {[BY_PARITY] = {"odd", "even"},
                                                   [BY_LONGEST] = {"longest", "other"},
                                                   [BY_SHORTEST] = {"shortest", "other"}};
    static const char *const digits[ARC_KEYS + 1] = {"0", "1", "2", "3", "4",
                                                     "5", "6", "7", "8", "9"};
    if (arc_feature_keys(feature) > 2) return digits[key];
    return words[feature][key == 1 ? 0 : 1];
}

/* ---------------------------------------------------------------- printing */

/* wording 0 picks the first phrase everywhere; other numbers pick anew for each phrase. */
typedef struct printer {
    rd_buf *out;
    uint64_t wording, slot;
    bool kind; /* leave colours open */
} printer;

static int pick(printer *w)
{
    uint64_t slot = w->slot++;
    return w->wording == 0 ? 0 : (int)(rd_hash(&slot, sizeof slot, w->wording) % WORDINGS);
}

static void print_phrase(printer *w, const char *phrase, const arc_part *p, int number);

static void print_slot(printer *w, char slot, const arc_part *p, int number)
{
    switch (slot) {
    case 'u': rd_buf_puts(w->out, unit_word(p->unit)); break;
    case 'n': rd_buf_printf(w->out, "%d", number); break;
    case 'c':
        if (w->kind)
            rd_buf_puts(w->out, "some colour");
        else
            rd_buf_printf(w->out, "%d", number);
        break;
    case 's': print_phrase(w, selector_words[p->sel][pick(w)], p, p->sel_arg); break;
    case 'g': print_phrase(w, gap_words[p->act][pick(w)], p, 0); break;
    default: break;
    }
}

static void print_phrase(printer *w, const char *phrase, const arc_part *p, int number)
{
    for (const char *c = phrase; *c; c++) {
        if (*c == '%')
            print_slot(w, *++c, p, number);
        else
            rd_buf_putc(w->out, *c);
    }
}

static void print_table(printer *w, const arc_part *p)
{
    int entry = 0;
    print_phrase(w, table_words[pick(w)], p, 0);
    rd_buf_printf(w->out, " %s", feature_words[p->act]);
    if (w->kind) return;
    const char *verb = entry_words[pick(w)];
    for (int k = 1; k <= arc_feature_keys(p->act); k++) {
        if (p->entry[k] == 0) continue;
        rd_buf_printf(w->out, "%s %s %s %d", entry++ > 0 ? "," : ":", key_word(p->act, k), verb,
                      p->entry[k]);
    }
}

static void print_rule(printer *w, const arc_rule *r)
{
    size_t first = w->out->len;
    for (int i = 0; i < r->n; i++) {
        const arc_part *p = &r->part[i];
        if (i > 0) rd_buf_printf(w->out, "; %s ", join_words[pick(w)]);
        if (p->form == FORM_EDIT)
            print_phrase(w, action_words[p->act][pick(w)], p, p->act_arg);
        else if (p->form == FORM_GAPS)
            print_phrase(w, fill_words[pick(w)], p, 0);
        else
            print_table(w, p);
    }
    rd_buf_putc(w->out, '.');
    w->out->data[first] = (char)toupper((unsigned char)w->out->data[first]);
}

void arc_print(const arc_rule *r, uint64_t wording, rd_buf *out)
{
    print_rule(&(printer){.out = out, .wording = wording}, r);
}

void arc_print_kind(const arc_rule *r, rd_buf *out)
{
    print_rule(&(printer){.out = out, .kind = true}, r);
}

int arc_wordings(void)
{
    return WORDINGS;
}

void arc_print_action(const arc_part *p, rd_buf *out)
{
    printer w = {.out = out};
    const char *phrase = p->form == FORM_EDIT ? action_words[p->act][0] : fill_words[0];
    if (p->form == FORM_TABLE) {
        rd_buf_printf(out, "paint by %s", feature_words[p->act]);
        return;
    }
    for (const char *c = phrase; *c; c++) {
        if (*c != '%')
            rd_buf_putc(out, *c);
        else if (*++c == 'g')
            print_slot(&w, *c, p, 0);
        else
            rd_buf_puts(out, *c == 'u' ? "one" : "...");
    }
}

/* ---------------------------------------------------------------- words of a text */

typedef struct words {
    int n;
    char w[WORDS_MAX][WORD_LEN];
} words;

static bool is_mark(char c)
{
    return c == ',' || c == ':' || c == ';';
}

/* Lower-case words; marks are words of their own; one full stop at the end is dropped. */
static bool words_read(const char *text, words *ws)
{
    size_t end = strlen(text);
    ws->n = 0;
    if (end > (size_t)WORDS_MAX * WORD_LEN) return false;
    while (end > 0 && isspace((unsigned char)text[end - 1])) end--;
    if (end > 0 && text[end - 1] == '.') end--;
    for (size_t i = 0; i < end;) {
        if (isspace((unsigned char)text[i])) {
            i++;
            continue;
        }
        size_t from = i++;
        if (!is_mark(text[from])) {
            while (i < end && !isspace((unsigned char)text[i]) && !is_mark(text[i])) i++;
        }
        if (ws->n == WORDS_MAX || i - from >= WORD_LEN) return false;
        char *w = ws->w[ws->n++];
        for (size_t k = 0; k < i - from; k++) w[k] = (char)tolower((unsigned char)text[from + k]);
        w[i - from] = '\0';
    }
    return ws->n > 0;
}

/* ---------------------------------------------------------------- matching */

/* What a phrase has bound so far; -1: nothing yet. */
typedef struct binding {
    int unit, number, sel, sel_arg, gaps;
} binding;

static const binding unbound = {-1, -1, -1, -1, -1};

static bool number_read(const char *w, int lowest, int highest, int *v)
{
    size_t n = strlen(w);
    if (n < 1 || n > 2 || w[0] < '1' || w[0] > '9') return false;
    if (n == 2 && (w[1] < '0' || w[1] > '9')) return false;
    *v = n == 1 ? w[0] - '0' : 10 * (w[0] - '0') + (w[1] - '0');
    return *v >= lowest && *v <= highest;
}

/* One word against one pattern word such as "first", "%us" or "%n"; len is the pattern's. */
static bool match_word(const char *pattern, size_t len, const char *w, binding *b)
{
    if (pattern[0] != '%') return strlen(w) == len && memcmp(pattern, w, len) == 0;
    if (pattern[1] == 'n') return number_read(w, 1, ARC_COUNT_MAX, &b->number);
    if (pattern[1] == 'c') return number_read(w, 1, 9, &b->number);
    for (int unit = UNIT_OBJECT; unit <= UNIT_BLOCK; unit++) {
        const char *word = unit_word(unit);
        size_t n = strlen(word);
        if (strncmp(w, word, n) != 0 || strlen(w + n) != len - 2) continue;
        if (memcmp(w + n, pattern + 2, len - 2) != 0) continue;
        if (b->unit >= 0 && b->unit != unit) return false;
        b->unit = unit;
        return true;
    }
    return false;
}

/* A phrase without %s and %g against the words from `at` on; the word after it, or -1. */
static int match_plain(const char *phrase, const words *ws, int at, int end, binding *b)
{
    while (*phrase) {
        size_t len = strcspn(phrase, " ");
        if (at == end || !match_word(phrase, len, ws->w[at], b)) return -1;
        at++;
        phrase += len;
        phrase += *phrase == ' ';
    }
    return at;
}

/* The rest of a phrase after its selector or set of gaps must reach the end of the words. */
static bool match_rest(const char *rest, const words *ws, int at, int end, binding *b)
{
    return match_plain(rest, ws, at, end, b) == end;
}

static bool match_selector(const char *rest, const words *ws, int at, int end, binding *b)
{
    for (int sel = 0; sel < SELECTORS; sel++) {
        for (int w = 0; w < WORDINGS; w++) {
            binding inner = unbound;
            inner.unit = b->unit;
            int next = match_plain(selector_words[sel][w], ws, at, end, &inner);
            if (next < 0) continue;
            binding outer = *b;
            outer.unit = inner.unit;
            outer.sel = sel;
            outer.sel_arg = inner.number < 0 ? 0 : inner.number;
            if (!match_rest(rest, ws, next, end, &outer)) continue;
            *b = outer;
            return true;
        }
    }
    return false;
}

static bool match_gaps(const char *rest, const words *ws, int at, int end, binding *b)
{
    for (int set = 0; set < GAP_SETS; set++) {
        for (int w = 0; w < WORDINGS; w++) {
            int next = match_plain(gap_words[set][w], ws, at, end, b);
            if (next < 0 || !match_rest(rest, ws, next, end, b)) continue;
            b->gaps = set;
            return true;
        }
    }
    return false;
}

/* A whole phrase; %s and %g occur at most once. */
static bool match_phrase(const char *phrase, const words *ws, int at, int end, binding *b)
{
    *b = unbound;
    while (*phrase) {
        size_t len = strcspn(phrase, " ");
        const char *rest = phrase + len + (phrase[len] == ' ');
        if (len == 2 && phrase[0] == '%' && phrase[1] == 's')
            return match_selector(rest, ws, at, end, b);
        if (len == 2 && phrase[0] == '%' && phrase[1] == 'g')
            return match_gaps(rest, ws, at, end, b);
        if (at == end || !match_word(phrase, len, ws->w[at], b)) return false;
        at++;
        phrase = rest;
    }
    return at == end;
}

/* ---------------------------------------------------------------- parts */

static bool parse_entry(const words *ws, int *at, int end, arc_part *p)
{
    binding b = unbound;
    int key = 0, next = -1;
    if (*at == end) return false;
    for (int k = 1; k <= arc_feature_keys(p->act) && key == 0; k++) {
        if (strcmp(ws->w[*at], key_word(p->act, k)) == 0) key = k;
    }
    if (key == 0 || p->entry[key] != 0) return false;
    for (int w = 0; w < WORDINGS && next < 0; w++)
        next = match_plain(entry_words[w], ws, *at + 1, end, &b);
    if (next < 0 || next == end) return false;
    if (match_plain("%c", ws, next, end, &b) < 0) return false;
    p->entry[key] = (uint8_t)b.number;
    *at = next + 1;
    return true;
}

static bool parse_table(const words *ws, int at, int end, arc_part *p)
{
    binding b = unbound;
    int next = -1;
    for (int w = 0; w < WORDINGS && next < 0; w++) {
        b = unbound;
        next = match_plain(table_words[w], ws, at, end, &b);
    }
    if (next < 0) return false;
    *p = (arc_part){.form = FORM_TABLE, .unit = (uint8_t)b.unit};
    for (int f = 0; f < FEATURES; f++) {
        int after = match_plain(feature_words[f], ws, next, end, &b);
        if (after < 0 || after == end || strcmp(ws->w[after], ":") != 0) continue;
        p->act = (uint8_t)f;
        at = after + 1;
        while (parse_entry(ws, &at, end, p)) {
            if (at == end) return true;
            if (strcmp(ws->w[at++], ",") != 0) return false;
        }
        return false;
    }
    return false;
}

static bool parse_edit(const words *ws, int at, int end, arc_part *p)
{
    binding b;
    for (int act = 0; act < ACTIONS; act++) {
        for (int w = 0; w < WORDINGS; w++) {
            if (!match_phrase(action_words[act][w], ws, at, end, &b)) continue;
            *p = arc_edit(b.sel, b.sel_arg, act, b.number < 0 ? 0 : b.number);
            p->unit = (uint8_t)b.unit;
            return true;
        }
    }
    return false;
}

static bool parse_gaps(const words *ws, int at, int end, arc_part *p)
{
    binding b;
    for (int w = 0; w < WORDINGS; w++) {
        if (!match_phrase(fill_words[w], ws, at, end, &b)) continue;
        *p = (arc_part){.form = FORM_GAPS, .act = (uint8_t)b.gaps};
        return true;
    }
    return false;
}

/* The joining word after a semicolon may be left out. */
static int skip_join(const words *ws, int at, int end)
{
    binding b = unbound;
    for (int w = 0; w < WORDINGS; w++) {
        int next = match_plain(join_words[w], ws, at, end, &b);
        if (next >= 0) return next;
    }
    return at;
}

bool arc_parse(const char *text, arc_rule *r)
{
    words ws;
    memset(r, 0, sizeof *r);
    if (!words_read(text, &ws)) return false;
    for (int at = 0; at <= ws.n;) {
        int end = at;
        while (end < ws.n && strcmp(ws.w[end], ";") != 0) end++;
        int from = r->n > 0 ? skip_join(&ws, at, end) : at;
        if (r->n == ARC_PARTS) return false;
        arc_part *p = &r->part[r->n++];
        if (!parse_edit(&ws, from, end, p) && !parse_gaps(&ws, from, end, p) &&
            !parse_table(&ws, from, end, p))
            return false;
        at = end + 1;
    }
    return true;
}
