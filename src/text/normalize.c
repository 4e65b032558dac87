/* normalize: what happens to a text before it is cut: Unicode's form NFC, SentencePiece's blanks.
 * Owns all calls of utf8proc.  Bytes that are not UTF-8 stay as they are. */
#include "text_impl.h"

#include <string.h>
#include <utf8proc.h>

/* Characters below U+0300 are in NFC whatever stands beside them, and that is where lead bytes from
 * 0xCC begin. */
static bool may_change(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= 0xCC) return true;
    return false;
}

/* Append NFC of n > 0 bytes of valid UTF-8.  Nothing can fail: there is room, and no option forbids
 * a character. */
static void put_nfc(const char *text, size_t n, rd_buf *out)
{
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t room = utf8proc_decompose(p, (utf8proc_ssize_t)n, NULL, 0, options);
    RD_ASSERT(room > 0);
    utf8proc_int32_t *chars = rd_new(utf8proc_int32_t, room + 1); /* + 1: a NUL is put behind */
    utf8proc_ssize_t count = utf8proc_decompose(p, (utf8proc_ssize_t)n, chars, room, options);
    RD_ASSERT(count == room);
    utf8proc_ssize_t bytes = utf8proc_reencode(chars, count, options);
    RD_ASSERT(bytes > 0);
    rd_buf_add(out, chars, (size_t)bytes);
    rd_free(chars);
}

/* Combining marks younger than the tables of `tokenizers` (Unicode 9), for which these are
 * characters like any other: nothing is put in order across them, and they are composed with
 * nothing.  Models were trained on such texts. */
static const uint32_t unknown_marks[][2] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
    {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
    {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930},
    {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34},
    {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45},
    {0x11D97, 0x11D97}, {0x16FF0, 0x16FF1}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE},
    {0x1E2EC, 0x1E2EF}};

/* Length of the character at p if it is one of them, 0 otherwise. */
static size_t unknown_mark(const char *p, size_t n)
{
    const size_t N = sizeof(unknown_marks) / sizeof(*unknown_marks);
    const unsigned char *u = (const unsigned char *)p;
    if (u[0] < 0xDF) return 0;
    size_t len = rd_utf8_char(u, n);
    uint32_t c = len == 2 ? u[0] & 0x1F : len == 3 ? u[0] & 0x0F : u[0] & 0x07;
    for (size_t i = 1; i < len; i++) c = c << 6 | (u[i] & 0x3F);
    for (size_t i = 0; i < N; i++)
        if (c >= unknown_marks[i][0] && c <= unknown_marks[i][1]) return len;
    return 0;
}

static void put_all_nfc(const char *text, size_t n, rd_buf *out)
{
    for (size_t at = 0; at < n;) {
        size_t valid = rd_utf8_prefix(text + at, n - at), end = at, mark = 0;
        if (valid == 0) {
            rd_buf_putc(out, text[at++]);
            continue;
        }
        while (end < at + valid && mark == 0) {
            mark = unknown_mark(text + end, at + valid - end);
            if (mark == 0) end += rd_utf8_char((const unsigned char *)text + end, at + valid - end);
        }
        if (end > at) put_nfc(text + at, end - at, out);
        rd_buf_add(out, text + end, mark);
        at = end + mark;
    }
}

/* U+2581 in a text is a blank like any other. */
static void put_blanks(const rd_tok *tok, const char *text, size_t n, bool first, rd_buf *out)
{
    const size_t len = strlen(RD_BLANK);
    bool blank = n > 0 && (*text == ' ' || (n >= len && memcmp(text, RD_BLANK, len) == 0));
    bool wanted = tok->prefix == PREFIX_ALWAYS || (tok->prefix == PREFIX_FIRST && first);
    if (wanted && n > 0 && (tok->prefix_twice || !blank)) rd_buf_putc(out, ' ');
    for (size_t at = 0; at < n;) {
        const char *p = memchr(text + at, RD_BLANK[0], n - at);
        size_t end = p ? (size_t)(p - text) : n;
        rd_buf_add(out, text + at, end - at);
        if (p == NULL) break;
        bool is = n - end >= len && memcmp(p, RD_BLANK, len) == 0;
        rd_buf_putc(out, is ? ' ' : *p);
        at = end + (is ? len : 1);
    }
}

bool rd_normalize(const rd_tok *tok, const char *text, size_t n, bool first, rd_buf *out)
{
    rd_buf nfc = {0};
    bool changed = tok->nfc && may_change(text, n);
    if (!changed && !tok->by_char) return false;
    if (changed) put_all_nfc(text, n, tok->by_char ? &nfc : out);
    if (tok->by_char) put_blanks(tok, changed ? nfc.data : text, changed ? nfc.len : n, first, out);
    rd_buf_free(&nfc);
    return true;
}
