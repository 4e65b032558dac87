/* vocabulary: what the readers of all formats share: strings with their ids while a file is read,
 * and the letters in which byte-level vocabularies are written. */
#include "text_impl.h"

#include <string.h>

/* ---------------------------------------------------------------- the byte alphabet */

rd_letters rd_letters_make(void)
{
    rd_letters a;
    int next = 256;
    memset(a.byte, 0xFF, sizeof(a.byte));
    for (int b = 0; b < 256; b++) {
        bool printable = (b > 32 && b < 127) || (b > 160 && b != 173);
        a.character[b] = (uint16_t)(printable ? b : next++);
        a.byte[a.character[b]] = (int16_t)b;
    }
    return a;
}

void rd_letters_write(const rd_letters *a, const char *p, size_t n, rd_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        unsigned c = a->character[(unsigned char)p[i]];
        if (c >= 0x80) rd_buf_putc(out, (char)(0xC0 | c >> 6));
        rd_buf_putc(out, (char)(c >= 0x80 ? 0x80 | (c & 0x3F) : c));
    }
}

bool rd_letters_read(const rd_letters *a, const char *s, size_t n, rd_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        unsigned c = (unsigned char)s[i];
        if (c >= 0x80) {
            if (c < 0xC2 || c > 0xC7 || i + 1 == n) return false;
            unsigned tail = (unsigned char)s[++i];
            if ((tail & 0xC0) != 0x80) return false;
            c = (c & 0x1F) << 6 | (tail & 0x3F);
        }
        if (a->byte[c] < 0) return false;
        rd_buf_putc(out, (char)a->byte[c]);
    }
    return true;
}

/* ---------------------------------------------------------------- strings and ids */

rd_shown rd_show(const char *s, size_t n)
{
    enum { MOST = 40 };
    rd_shown out = {{0}};
    size_t used = 0, i = 0;
    while (i < n && i < MOST) {
        size_t len = rd_utf8_char((const unsigned char *)s + i, n - i);
        if (len > 1 || (len == 1 && s[i] >= ' ' && s[i] != 0x7F)) {
            memcpy(out.text + used, s + i, len);
            used += len;
            i += len;
        } else {
            snprintf(out.text + used, 5, "\\x%02X", (unsigned char)s[i++]);
            used += 4;
        }
    }
    if (i < n) memcpy(out.text + used, "...", 3);
    return out;
}

bool rd_vocab_put(rd_vocab *v, const char *s, size_t n, int32_t id, int kind)
{
    int64_t known = v->strings.n;
    int32_t i = rd_strset_add(&v->strings, s, n);
    if (i >= v->cap) {
        v->cap = v->strings.cap;
        rd_resize(v->id, v->cap);
        rd_resize(v->kind, v->cap);
    }
    if (i == known) v->id[i] = id;
    v->kind[i] = (uint8_t)kind;
    if (id >= v->n_ids) v->n_ids = id + 1;
    return v->id[i] == id;
}

int32_t rd_vocab_find(const rd_vocab *v, const char *s, size_t n)
{
    int32_t i = n > 0 ? rd_strset_find(&v->strings, s, n) : -1;
    return i >= 0 ? v->id[i] : -1;
}

int32_t rd_vocab_text(const rd_vocab *v, const char *s, size_t n)
{
    int32_t i = n > 0 ? rd_strset_find(&v->strings, s, n) : -1;
    return i >= 0 && v->kind[i] == TOK_TEXT ? v->id[i] : -1;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A piece of SentencePiece's: a byte, or text with blanks.  Its kind. */
static int read_piece(const char *s, size_t n, rd_buf *bytes)
{
    const size_t len = strlen(RD_BLANK);
    if (n == 6 && memcmp(s, "<0x", 3) == 0 && s[5] == '>' && hex(s[3]) >= 0 && hex(s[4]) >= 0) {
        rd_buf_putc(bytes, (char)(hex(s[3]) << 4 | hex(s[4])));
        return TOK_BYTE;
    }
    for (size_t i = 0; i < n;) {
        bool blank = n - i >= len && memcmp(s + i, RD_BLANK, len) == 0;
        rd_buf_putc(bytes, blank ? ' ' : s[i]);
        i += blank ? len : 1;
    }
    return TOK_TEXT;
}

const char *rd_vocab_place(const rd_vocab *v, rd_tok *tok, const char **bad, size_t *n)
{
    const char *why = NULL;
    const rd_letters letters = rd_letters_make();
    int32_t *string_of = rd_new(int32_t, v->n_ids);
    rd_buf bytes = {0};
    memset(string_of, 0xFF, (size_t)v->n_ids * sizeof(*string_of));
    for (int32_t i = 0; i < v->strings.n; i++) {
        *bad = rd_strset_get(&v->strings, i, n);
        if (string_of[v->id[i]] >= 0) {
            why = "its id is taken";
            goto done;
        }
        string_of[v->id[i]] = i;
    }
    for (int64_t id = 0; id < v->n_ids; id++) {
        if (string_of[id] < 0) {
            rd_tok_put_token(tok, "", 0, TOK_HOLE);
            continue;
        }
        *bad = rd_strset_get(&v->strings, string_of[id], n);
        int kind = v->kind[string_of[id]];
        if (kind != TOK_TEXT) {
            rd_tok_put_token(tok, *bad, *n, kind);
            continue;
        }
        rd_buf_clear(&bytes);
        if (tok->by_char) {
            kind = read_piece(*bad, *n, &bytes);
        } else if (!rd_letters_read(&letters, *bad, *n, &bytes)) {
            why = "not in the byte-level alphabet";
            goto done;
        }
        rd_tok_put_token(tok, bytes.data, bytes.len, kind);
    }
done:
    rd_buf_free(&bytes);
    rd_free(string_of);
    return why;
}

const char *rd_vocab_merge(const rd_vocab *v, rd_tok *tok, const char *left, size_t n_left,
                           const char *right, size_t n_right)
{
    const char *why = NULL;
    rd_buf both = {0};
    rd_buf_add(&both, left, n_left);
    rd_buf_add(&both, right, n_right);
    int32_t a = rd_vocab_text(v, left, n_left), b = rd_vocab_text(v, right, n_right);
    int32_t out = rd_vocab_text(v, both.data, both.len);
    if (a < 0)
        why = "the left token is not in the vocabulary";
    else if (b < 0)
        why = "the right token is not in the vocabulary";
    else if (out < 0)
        why = "the merged token is not in the vocabulary";
    else if (rd_pairmap_get(&tok->rank, pair_key(a, b)) >= 0)
        why = "this pair has been merged before";
    else
        rd_tok_put_merge(tok, a, b, out);
    rd_buf_free(&both);
    return why;
}

void rd_vocab_free(rd_vocab *v)
{
    rd_strset_free(&v->strings);
    rd_free(v->id);
    rd_free(v->kind);
    *v = (rd_vocab){0};
}
