/* tokenizer_ranks: tiktoken's rank files: byte strings in base64, by rank.
 *
 * There is no list of merges: of all neighbours that together are a token, those of the lowest rank
 * are merged first, the leftmost of equal ones; a piece that is a token is that token.  A tiktoken
 * file says neither how texts are cut nor what its special tokens are; both are Llama 3's here. */
#include "text_impl.h"

#include <string.h>

static const char *const llama3_pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static const char *const llama3_specials[] = {"<|begin_of_text|>",
                                              "<|end_of_text|>",
                                              "<|reserved_special_token_0|>",
                                              "<|reserved_special_token_1|>",
                                              "<|finetune_right_pad_id|>",
                                              "<|step_id|>",
                                              "<|start_header_id|>",
                                              "<|end_header_id|>",
                                              "<|eom_id|>",
                                              "<|eot_id|>",
                                              "<|python_tag|>"};
enum { LLAMA3_SPECIALS = 256 };

/* ---------------------------------------------------------------- base64 */

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Appends; false unless these are whole groups of four, padded at the end as it must be. */
static bool base64_read(const char *s, size_t n, rd_buf *out)
{
    if (n == 0 || n % 4 != 0) return false;
    for (size_t i = 0; i < n; i += 4) {
        uint32_t bits = 0;
        int pad = 0;
        for (size_t k = 0; k < 4; k++) {
            int v = base64_value(s[i + k]);
            bool may_pad = i + 4 == n && k >= 2;
            if (v < 0 && !(s[i + k] == '=' && may_pad)) return false;
            if (v >= 0 && pad > 0) return false;
            pad += v < 0;
            bits = bits << 6 | (uint32_t)(v < 0 ? 0 : v);
        }
        if ((pad == 1 && (bits & 0xFF)) || (pad == 2 && (bits & 0xFFFF))) return false;
        for (int k = 0; k < 3 - pad; k++) rd_buf_putc(out, (char)(bits >> (16 - 8 * k)));
    }
    return true;
}

/* ---------------------------------------------------------------- tokens by rank */

/* The tokens 0 … n-1 are there, in rank order: the merges follow. */
static int finish_ranks(rd_tok *tok, int64_t n, const char *pattern, const char *name)
{
    int rc = RD_OK;
    int32_t *order = rd_new(int32_t, n);
    rd_strset seen = {0};
    size_t len;
    for (int b = 0; b < 256; b++)
        if (tok->byte_id[b] < 0) RD_FAIL(RD_EINPUT, "%s: the byte 0x%02X has no token", name, b);
    for (int64_t i = 0; i < n; i++) {
        order[i] = (int32_t)i;
        const char *p = rd_tok_piece(tok, order[i], &len);
        if (rd_strset_add(&seen, p, len) != i)
            RD_FAIL(RD_EINPUT, "%s: the token of rank %lld is there twice", name, (long long)i);
    }
    RD_TRY(rd_tok_add_cut(tok, pattern));
    tok->ignore_merges = true;
    rd_tok_put_splits(tok, n, order, NULL);
    rd_tok_finish(tok);
done:
    rd_strset_free(&seen);
    rd_free(order);
    return rc;
}

/* A decimal number that fills n characters; -1 otherwise. */
static int64_t whole_number(const char *s, size_t n)
{
    int64_t v = 0;
    if (n == 0 || n > 9) return -1;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') return -1;
        v = 10 * v + (s[i] - '0');
    }
    return v;
}

static int read_line(const char *s, size_t n, const char *name, int64_t line, rd_tok *tok)
{
    int rc = RD_OK;
    rd_buf bytes = {0};
    const char *gap = memchr(s, ' ', n);
    size_t code = gap ? (size_t)(gap - s) : 0;
    if (!gap || !base64_read(s, code, &bytes))
        RD_FAIL(RD_EINPUT, "%s:%lld: expected base64, a blank and a rank", name, (long long)line);
    if (whole_number(gap + 1, n - code - 1) != tok->n)
        RD_FAIL(RD_EINPUT, "%s:%lld: expected rank %lld, got '%s'", name, (long long)line,
                (long long)tok->n, rd_show(gap + 1, n - code - 1).text);
    rd_tok_put_token(tok, bytes.data, bytes.len, TOK_TEXT);
done:
    rd_buf_free(&bytes);
    return rc;
}

static void put_llama3_specials(rd_tok *tok)
{
    enum { NAMED = sizeof(llama3_specials) / sizeof(*llama3_specials) };
    char reserved[40];
    for (int i = 0; i < LLAMA3_SPECIALS; i++) {
        snprintf(reserved, sizeof(reserved), "<|reserved_special_token_%d|>", i - NAMED + 2);
        const char *s = i < NAMED ? llama3_specials[i] : reserved;
        rd_tok_put_token(tok, s, strlen(s), TOK_SPECIAL);
    }
}

int rd_tok_from_ranks(const char *text, size_t n, const char *name, rd_tok **out)
{
    int rc = RD_OK;
    rd_tok *tok = rd_tok_new();
    int64_t line = 1;
    for (size_t at = 0; at < n; line++) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - text) - at : n - at;
        RD_TRY(read_line(text + at, len, name, line, tok));
        at += len + 1;
    }
    int64_t ranks = tok->n;
    put_llama3_specials(tok);
    RD_TRY(finish_ranks(tok, ranks, llama3_pattern, name));
    tok->bos = rd_tok_special(tok, "<|begin_of_text|>");
    tok->eos = rd_tok_special(tok, "<|end_of_text|>");
    tok->pad = rd_tok_special(tok, "<|finetune_right_pad_id|>");
    tok->add_bos = true;
    rd_tok_add_end(tok, tok->eos);
    rd_tok_add_end(tok, rd_tok_special(tok, "<|eot_id|>"));
    rd_tok_add_end(tok, rd_tok_special(tok, "<|eom_id|>"));
    *out = tok;
    tok = NULL;
done:
    rd_tok_free(&tok);
    return rc;
}
