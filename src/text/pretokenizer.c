/* pretokenizer: cuts a text into pieces with a regular expression; owns all calls of PCRE2.
 *
 * The pieces are those of Hugging Face's Split pre-tokenizer with behaviour "Isolated": matches,
 * and the gaps between them.  Its engine is Oniguruma; the options below bring PCRE2 to the same
 * meaning (Unicode classes; ^ and $ at every line), and \s becomes the property White_Space,
 * because PCRE2's own takes U+180E besides.  One difference is left: characters newer than the
 * older library's Unicode tables may be of another class. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text_impl.h"

#include <pcre2.h>
#include <string.h>

struct rd_pretok {
    pcre2_general_context *memory;
    pcre2_code *code;
    bool jit;
};

/* PCRE2's memory is counted like ours, so that the tests see it when it is not given back. */
static void *pcre_take(size_t n, void *unused)
{
    (void)unused;
    return rd_new(char, n);
}

static void pcre_give(void *p, void *unused)
{
    (void)unused;
    rd_free(p);
}

/* The pattern with \s and \S as properties; these may stand in a class as well. */
static char *with_properties(const char *pattern)
{
    rd_buf b = {0};
    for (const char *p = pattern; *p; p++) {
        if (p[0] == '\\' && (p[1] == 's' || p[1] == 'S')) {
            rd_buf_puts(&b, *++p == 's' ? "\\p{White_Space}" : "\\P{White_Space}");
            continue;
        }
        rd_buf_putc(&b, *p);
        if (p[0] == '\\' && p[1]) rd_buf_putc(&b, *++p);
    }
    return rd_buf_take(&b);
}

int rd_pretok_create(const char *pattern, rd_pretok **out)
{
    int rc = RD_OK, error = 0;
    size_t at; /* counts in the changed pattern, which the reader does not know */
    rd_pretok *pre = rd_new(rd_pretok, 1);
    pre->memory = pcre2_general_context_create(pcre_take, pcre_give, NULL);
    RD_ASSERT(pre->memory);
    pcre2_compile_context *options = pcre2_compile_context_create(pre->memory);
    RD_ASSERT(options);
    pcre2_set_newline(options, PCRE2_NEWLINE_LF);
    char *source = with_properties(pattern);
    pre->code = pcre2_compile((PCRE2_SPTR)source, PCRE2_ZERO_TERMINATED,
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                              &error, &at, options);
    pcre2_compile_context_free(options);
    rd_free(source);
    if (!pre->code) {
        char why[160] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof(why));
        RD_FAIL(RD_EINPUT, "pre-tokenizer pattern: %s in '%s'", why,
                rd_show(pattern, strlen(pattern)).text);
    }
    /* Refused where executable memory is forbidden; the interpreter gives the same pieces. */
    pre->jit = pcre2_jit_compile(pre->code, PCRE2_JIT_COMPLETE) == 0;
    *out = pre;
    pre = NULL;
done:
    rd_pretok_free(&pre);
    return rc;
}

void rd_pretok_free(rd_pretok **pre)
{
    if (!*pre) return;
    pcre2_code_free((*pre)->code);
    pcre2_general_context_free((*pre)->memory);
    RD_FREE(*pre);
}

size_t rd_utf8_char(const unsigned char *p, size_t n)
{
    unsigned c = p[0];
    if (c < 0x80) return 1;
    size_t len = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if (c < 0xC2 || c > 0xF4 || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    if ((c == 0xE0 && p[1] < 0xA0) || (c == 0xED && p[1] > 0x9F)) return 0;
    if ((c == 0xF0 && p[1] < 0x90) || (c == 0xF4 && p[1] > 0x8F)) return 0;
    return len;
}

size_t rd_utf8_prefix(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t i = 0;
    while (i < n) {
        uint64_t eight;
        if (i + 8 <= n && (memcpy(&eight, p + i, 8), (eight & 0x8080808080808080u) == 0)) {
            i += 8;
            continue;
        }
        size_t len = rd_utf8_char(p + i, n - i);
        if (len == 0) break;
        i += len;
    }
    return i;
}

/* A walk starts anew on another text; the result vector stays. */
static void restart(rd_pieces *it, const char *text, size_t n)
{
    *it = (rd_pieces){.pre = it->pre, .match = it->match, .text = text, .n = n, .rc = RD_OK};
}

/* The next match at or after it->search inside the stretch: RD_OK with found/end set (found == end
 * == seg_end when there is none). */
static int find_match(rd_pieces *it)
{
    int rc = RD_OK;
    const rd_pretok *pre = it->pre;
    PCRE2_SPTR subject = (PCRE2_SPTR)it->text + it->seg;
    size_t n = it->seg_end - it->seg;
    int got = PCRE2_ERROR_JIT_STACKLIMIT;
    if (pre->jit)
        got = pcre2_jit_match(pre->code, subject, n, it->search - it->seg, 0, it->match, NULL);
    /* The interpreter keeps its backtracking on the heap and so goes deeper than the JIT's stack.
     */
    if (got == PCRE2_ERROR_JIT_STACKLIMIT)
        got = pcre2_match(pre->code, subject, n, it->search - it->seg,
                          PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, it->match, NULL);
    if (got == PCRE2_ERROR_NOMATCH) {
        it->found = it->end = it->seg_end;
        return RD_OK;
    }
    if (got < 0) {
        char why[160] = "";
        pcre2_get_error_message(got, (PCRE2_UCHAR *)why, sizeof(why));
        RD_FAIL(RD_EINPUT, "pre-tokenizer pattern on a text of %zu bytes: %s", it->n, why);
    }
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(it->match);
    it->found = it->seg + range[0];
    it->end = it->seg + range[1];
    if (it->found < it->search || it->end < it->found)
        RD_FAIL(RD_EINPUT, "pre-tokenizer pattern moves the start of a match with \\K");
done:
    return rc;
}

static bool emit(rd_pieces *it, size_t end, const char **piece, size_t *len)
{
    *piece = it->text + it->pos;
    *len = end - it->pos;
    it->pos = end;
    return true;
}

static bool next_piece(rd_pieces *it, const char **piece, size_t *len)
{
    if (it->found < it->end) { /* the match behind the gap given out last */
        size_t end = it->end;
        it->found = it->end = 0;
        it->search = end;
        return emit(it, end, piece, len);
    }
    if (it->pos == it->seg_end) {
        if (it->pos == it->n) return false;
        size_t valid = rd_utf8_prefix(it->text + it->pos, it->n - it->pos), bad = it->pos;
        if (valid == 0) {
            const unsigned char *p = (const unsigned char *)it->text;
            do bad++;
            while (bad < it->n && rd_utf8_char(p + bad, it->n - bad) == 0);
            it->seg_end = bad;
            return emit(it, bad, piece, len);
        }
        it->seg = it->search = it->pos;
        it->seg_end = it->pos + valid;
    }
    while (it->search < it->seg_end) {
        it->rc = find_match(it);
        if (it->rc != RD_OK) {
            it->pos = it->seg_end = it->n;
            it->found = it->end = 0;
            return false;
        }
        if (it->found == it->end) {
            /* An empty match cuts here (nothing if a piece has just ended) and moves on by one
             * character; no match at all looks the same at the end of the stretch. */
            size_t cut = it->found;
            it->found = it->end = 0;
            it->search = cut;
            if (cut < it->seg_end)
                it->search +=
                    rd_utf8_char((const unsigned char *)it->text + cut, it->seg_end - cut);
            if (cut > it->pos) return emit(it, cut, piece, len);
            continue;
        }
        if (it->found > it->pos) return emit(it, it->found, piece, len);
        it->search = it->end;
        size_t end = it->end;
        it->found = it->end = 0;
        return emit(it, end, piece, len);
    }
    return emit(it, it->seg_end, piece, len); /* the rest after a last empty match */
}

bool rd_pretok_begins(const rd_pretok *pre, const char *text, size_t n)
{
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(pre->code, pre->memory);
    RD_ASSERT(match);
    int got = pcre2_match(pre->code, (PCRE2_SPTR)text, n, 0, PCRE2_ANCHORED, match, NULL);
    pcre2_match_data_free(match);
    return got > 0;
}

/* ---------------------------------------------------------------- one cut after the other */

void rd_cutter_begin(rd_cutter *c, int n, rd_pretok *const *pre, const char *text, size_t size)
{
    RD_ASSERT(n >= 1 && n <= RD_MAX_CUTS);
    c->n = n;
    for (int k = 0; k < n; k++) {
        c->level[k] = (rd_pieces){.pre = pre[k]};
        c->level[k].match = pcre2_match_data_create_from_pattern(pre[k]->code, pre[k]->memory);
        RD_ASSERT(c->level[k].match);
        restart(&c->level[k], text, k == 0 ? size : 0);
    }
}

static bool next_at(rd_cutter *c, int k, const char **piece, size_t *len)
{
    const char *whole;
    size_t n;
    while (!next_piece(&c->level[k], piece, len)) {
        if (k == 0 || c->level[k].rc != RD_OK || !next_at(c, k - 1, &whole, &n)) return false;
        restart(&c->level[k], whole, n);
    }
    return true;
}

bool rd_cutter_next(rd_cutter *c, const char **piece, size_t *len)
{
    return next_at(c, c->n - 1, piece, len);
}

int rd_cutter_end(rd_cutter *c)
{
    int rc = RD_OK;
    for (int k = 0; k < c->n; k++) {
        pcre2_match_data_free(c->level[k].match);
        c->level[k].match = NULL;
        if (c->level[k].rc != RD_OK) rc = c->level[k].rc;
    }
    return rc;
}
