/* tokenizer: the handle, encoding and decoding.
 *
 * A text goes through the stations of `tokenizers`: added tokens are cut out of it, what is left is
 * normalised, cut into pieces, and each piece is merged.  Nearly every piece of our texts ends as
 * one token, so the pieces for which that happens are found once, when the tokenizer is made, and
 * looked up from then on: a cache that never changes and may be read by any thread. */
#include "text_impl.h"

#include <string.h>

const char *const rd_tok_special_names[RD_TOK_SPECIALS] = {"<|pad|>", "<|bos|>", "<|eos|>"};

const char *rd_tok_default_pattern(void)
{
    /* In order: a number's first two digits, sign, leading blank and comma included; a word; a
     * bracket; other signs; a line feed; blanks, leaving the last one to what follows. */
    return ",? ?-?\\p{N}{1,2}"
           "| ?[\\p{L}\\p{M}]+"
           "| ?[\\[\\](){}]"
           "| ?[^\\s\\p{L}\\p{M}\\p{N}\\[\\](){}]+"
           "|\\n"
           "|[^\\S\\n]+(?!\\S)|[^\\S\\n]+";
}

/* ---------------------------------------------------------------- making */

rd_tok *rd_tok_new(void)
{
    rd_tok *tok = rd_new(rd_tok, 1);
    memset(tok->byte_id, 0xFF, sizeof(tok->byte_id));
    tok->bos = tok->eos = tok->pad = -1;
    return tok;
}

void rd_tok_put_token(rd_tok *tok, const char *bytes, size_t len, int kind)
{
    if (tok->n == tok->cap) {
        tok->cap = tok->cap ? 2 * tok->cap : 512;
        rd_resize(tok->kind, tok->cap);
        rd_resize(tok->offset, tok->cap + 1);
        tok->offset[0] = 0;
    }
    int64_t id = tok->n++;
    tok->kind[id] = (uint8_t)kind;
    rd_buf_add(&tok->bytes, bytes, len);
    tok->offset[id + 1] = (int64_t)tok->bytes.len;
    if (kind == TOK_BYTE || (kind == TOK_TEXT && len == 1 && !tok->by_char))
        tok->byte_id[(unsigned char)bytes[0]] = (int32_t)id;
    if (kind == TOK_TEXT && tok->by_char && rd_utf8_char((const unsigned char *)bytes, len) == len)
        rd_tok_put_char(tok, bytes, len, (int32_t)id);
}

int rd_tok_add_cut(rd_tok *tok, const char *pattern)
{
    RD_ASSERT(tok->n_cuts < RD_MAX_CUTS);
    int rc = rd_pretok_create(pattern, &tok->pre[tok->n_cuts]);
    if (rc == RD_OK) tok->pattern[tok->n_cuts++] = rd_strdup(pattern);
    return rc;
}

void rd_tok_add_end(rd_tok *tok, int32_t id)
{
    if (id < 0 || rd_tok_is_end(tok, id) || tok->n_ends == RD_MAX_ENDS) return;
    tok->end[tok->n_ends++] = id;
}

void rd_tok_finish(rd_tok *tok)
{
    size_t longest = 1, len;
    tok->pad = rd_tok_special(tok, rd_tok_special_names[RD_TOK_PAD]);
    tok->bos = rd_tok_special(tok, rd_tok_special_names[RD_TOK_BOS]);
    tok->eos = rd_tok_special(tok, rd_tok_special_names[RD_TOK_EOS]);
    rd_tok_add_end(tok, tok->eos);
    for (int64_t id = 0; id < tok->n; id++) {
        size_t n = (size_t)(tok->offset[id + 1] - tok->offset[id]);
        if (n > longest) longest = n;
    }
    int32_t *ids = rd_new(int32_t, longest);
    tok->whole_id = rd_new(int32_t, tok->n);
    for (int32_t id = 0; id < tok->n; id++) {
        if (tok->kind[id] != TOK_TEXT) continue;
        const char *p = rd_tok_piece(tok, id, &len);
        /* A token's own bytes may merge to something else: another order of merges. */
        bool whole =
            tok->ignore_merges || (rd_tok_merge_piece(tok, p, len, ids) == 1 && ids[0] == id);
        if (whole) tok->whole_id[rd_strset_add(&tok->whole, p, len)] = id;
    }
    rd_free(ids);
    rd_added_prepare(tok);
}

void rd_tok_free(rd_tok **tok)
{
    rd_tok *t = *tok;
    if (!t) return;
    for (int k = 0; k < t->n_cuts; k++) {
        rd_free(t->pattern[k]);
        rd_pretok_free(&t->pre[k]);
    }
    rd_buf_free(&t->bytes);
    rd_free(t->offset);
    rd_free(t->kind);
    rd_free(t->merges);
    rd_free(t->out);
    rd_free(t->level);
    rd_pairmap_free(&t->rank);
    rd_pairmap_free(&t->chars);
    rd_added_free(t);
    rd_strset_free(&t->whole);
    rd_free(t->whole_id);
    RD_FREE(*tok);
}

/* ---------------------------------------------------------------- using */

int64_t rd_tok_vocab(const rd_tok *tok)
{
    return tok->n;
}

int32_t rd_tok_bos(const rd_tok *tok)
{
    return tok->bos;
}

int32_t rd_tok_eos(const rd_tok *tok)
{
    return tok->eos;
}

int32_t rd_tok_pad(const rd_tok *tok)
{
    return tok->pad;
}

bool rd_tok_is_end(const rd_tok *tok, int32_t id)
{
    for (int i = 0; i < tok->n_ends; i++)
        if (tok->end[i] == id) return true;
    return false;
}

bool rd_tok_adds_bos(const rd_tok *tok)
{
    return tok->add_bos;
}

const char *rd_tok_piece(const rd_tok *tok, int32_t id, size_t *len)
{
    RD_ASSERT(id >= 0 && id < tok->n);
    *len = (size_t)(tok->offset[id + 1] - tok->offset[id]);
    return *len ? tok->bytes.data + tok->offset[id] : "";
}

int32_t rd_tok_special(const rd_tok *tok, const char *content)
{
    size_t want = strlen(content), len;
    for (int32_t id = 0; id < tok->n; id++) {
        if (tok->kind[id] != TOK_SPECIAL) continue;
        const char *p = rd_tok_piece(tok, id, &len);
        if (len == want && memcmp(p, content, len) == 0) return id;
    }
    return -1;
}

int64_t rd_tok_room(const rd_tok *tok, size_t n)
{
    /* A token covers at least one byte of what is merged: the text, a blank put before it, and
     * three bytes for one where normalisation takes a character apart. */
    return (tok->nfc ? RD_NFC_GROWTH * (int64_t)n : (int64_t)n) + 1;
}

/* Where ids go; got is -1 once there was no room, -2 once a pattern gave up. */
typedef struct sink {
    int32_t *ids;
    int64_t got, cap;
} sink;

static void put_ids(sink *s, const int32_t *ids, int64_t n)
{
    if (s->got < 0) return;
    if (n > s->cap - s->got) {
        s->got = -1;
        return;
    }
    memcpy(s->ids + s->got, ids, (size_t)n * sizeof(*ids));
    s->got += n;
}

static void encode_piece(const rd_tok *tok, const char *piece, size_t len, sink *s)
{
    int32_t stack[RD_SHORT_PIECE];
    int32_t whole = rd_strset_find(&tok->whole, piece, len);
    if (whole >= 0) {
        put_ids(s, &tok->whole_id[whole], 1);
    } else if (len <= RD_SHORT_PIECE) {
        put_ids(s, stack, rd_tok_merge_piece(tok, piece, len, stack));
    } else {
        int32_t *work = rd_new(int32_t, len);
        put_ids(s, work, rd_tok_merge_piece(tok, piece, len, work));
        rd_free(work);
    }
}

static void encode_pieces(const rd_tok *tok, const char *text, size_t n, sink *s)
{
    rd_cutter it;
    const char *piece;
    size_t len;
    if (n == 0) return;
    if (tok->n_cuts == 0) {
        encode_piece(tok, text, n, s);
        return;
    }
    rd_cutter_begin(&it, tok->n_cuts, tok->pre, text, n);
    while (s->got >= 0 && rd_cutter_next(&it, &piece, &len)) encode_piece(tok, piece, len, s);
    if (rd_cutter_end(&it) != RD_OK) s->got = -2;
}

/* What stands between two added tokens; first: nothing stands before it. */
static void encode_stretch(const rd_tok *tok, const char *text, size_t n, bool first, sink *s)
{
    rd_buf normal = {0};
    rd_spans it;
    int32_t id;
    if (rd_normalize(tok, text, n, first, &normal)) {
        text = normal.data;
        n = normal.len;
    }
    if (!tok->finds_added[1]) {
        encode_pieces(tok, text, n, s);
    } else {
        rd_spans_begin(&it, tok, true, text, n);
        while (s->got >= 0 && rd_spans_next(&it, &text, &n, &id)) {
            if (id >= 0)
                put_ids(s, &id, 1);
            else
                encode_pieces(tok, text, n, s);
        }
    }
    rd_buf_free(&normal);
}

static int64_t encode(const rd_tok *tok, const char *text, size_t n, bool first, int32_t *ids,
                      int64_t cap)
{
    sink s = {.ids = ids, .cap = cap};
    const char *part;
    size_t len;
    int32_t id;
    rd_spans it;
    if (n == 0) return 0;
    if (!tok->finds_added[0]) {
        encode_stretch(tok, text, n, first, &s);
        return s.got;
    }
    rd_spans_begin(&it, tok, false, text, n);
    while (s.got >= 0 && rd_spans_next(&it, &part, &len, &id)) {
        if (id >= 0)
            put_ids(&s, &id, 1);
        else
            encode_stretch(tok, part, len, first && part == text, &s);
    }
    return s.got;
}

int64_t rd_tok_encode(const rd_tok *tok, const char *text, size_t n, int32_t *ids, int64_t cap)
{
    return encode(tok, text, n, true, ids, cap);
}

int64_t rd_tok_encode_behind(const rd_tok *tok, const char *text, size_t n, int32_t *ids,
                             int64_t cap)
{
    return encode(tok, text, n, false, ids, cap);
}

void rd_tok_decode_behind(const rd_tok *tok, const int32_t *ids, int64_t n, rd_buf *out)
{
    size_t len;
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= tok->n) continue;
        if (tok->kind[ids[i]] == TOK_HOLE || tok->kind[ids[i]] == TOK_SPECIAL) continue;
        const char *p = rd_tok_piece(tok, ids[i], &len);
        rd_buf_add(out, p, len);
    }
}

void rd_tok_decode(const rd_tok *tok, const int32_t *ids, int64_t n, rd_buf *out)
{
    size_t start = out->len;
    rd_tok_decode_behind(tok, ids, n, out);
    if (!tok->strip || out->len == start || out->data[start] != ' ') return;
    memmove(out->data + start, out->data + start + 1, out->len - start);
    out->len--;
}
