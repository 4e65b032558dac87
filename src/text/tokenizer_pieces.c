/* tokenizer_pieces: SentencePiece's BPE vocabularies: pieces with scores and types, from a .model
 * file or a GGUF.
 *
 * There is no list of merges: of all neighbours that together are a piece, those of the highest
 * score are merged first, the leftmost of equal ones.  A .model is a protobuf of which three of
 * ModelProto's fields are read: 1 pieces {1 string, 2 score, 3 type}, 2 trainer_spec {3 model_type,
 * 24 treat_whitespace_as_suffix, 35 byte_fallback, 40 unk, 41 bos, 42 eos, 43 pad ids},
 * 3 normalizer_spec {2 charsmap, 3 dummy prefix, 4 remove_extra_whitespaces, 5
 * escape_whitespaces}. */
#include "text_impl.h"

#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- pieces */

static int check_piece(const rd_sp_piece *p, int64_t i, const char *name, const char *what)
{
    int rc = RD_OK;
    if (p->n == 0) RD_FAIL(RD_EINPUT, "%s: %s[%lld]: empty", name, what, (long long)i);
    if (rd_utf8_prefix(p->s, p->n) != p->n || memchr(p->s, 0, p->n))
        RD_FAIL(RD_EINPUT, "%s: %s[%lld]: not UTF-8", name, what, (long long)i);
    if (p->type < PIECE_NORMAL || p->type > PIECE_BYTE || p->type == PIECE_UNUSED)
        RD_FAIL(RD_EINPUT, "%s: %s[%lld]: '%s' is of type %d", name, what, (long long)i,
                rd_show(p->s, p->n).text, p->type);
    if (p->score != p->score)
        RD_FAIL(RD_EINPUT, "%s: %s[%lld]: '%s' has no score", name, what, (long long)i,
                rd_show(p->s, p->n).text);
done:
    return rc;
}

static int put_pieces(const rd_sp_piece *piece, int64_t n, const char *name, const char *what,
                      rd_vocab *v, rd_tok *tok)
{
    int rc = RD_OK;
    const char *bad;
    size_t len;
    for (int64_t i = 0; i < n; i++) {
        const rd_sp_piece *p = &piece[i];
        bool special = p->type == PIECE_CONTROL || p->type == PIECE_UNKNOWN;
        RD_TRY(check_piece(p, i, name, what));
        int kind = special ? TOK_SPECIAL : p->type == PIECE_USER ? TOK_ADDED : TOK_TEXT;
        if (!rd_vocab_put(v, p->s, p->n, (int32_t)i, kind))
            RD_FAIL(RD_EINPUT, "%s: %s[%lld]: '%s' is there twice", name, what, (long long)i,
                    rd_show(p->s, p->n).text);
        /* Found behind the blank that is put first; it would have to be written as one there. */
        if (kind == TOK_ADDED)
            rd_tok_put_added(tok, (tok_added){.id = (int32_t)i, .normalized = true});
        if (kind == TOK_ADDED && memmem(p->s, p->n, RD_BLANK, strlen(RD_BLANK)))
            RD_FAIL(RD_EINPUT, "%s: %s[%lld]: '%s' of the user's holds a blank: not supported",
                    name, what, (long long)i, rd_show(p->s, p->n).text);
    }
    const char *why = rd_vocab_place(v, tok, &bad, &len);
    if (why) RD_FAIL(RD_EINPUT, "%s: %s: '%s': %s", name, what, rd_show(bad, len).text, why);
    for (int64_t i = 0; i < n; i++)
        if ((piece[i].type == PIECE_BYTE) != (tok->kind[i] == TOK_BYTE))
            RD_FAIL(RD_EINPUT, "%s: %s[%lld]: '%s' is of type %d", name, what, (long long)i,
                    rd_show(piece[i].s, piece[i].n).text, piece[i].type);
done:
    return rc;
}

/* Every byte and every character of a piece must have a token, for symbols are ids here. */
static int check_symbols(const rd_tok *tok, const char *name, const char *what)
{
    int rc = RD_OK;
    size_t n;
    int32_t one[4];
    for (int b = 0; b < 256; b++)
        if (tok->byte_id[b] < 0)
            RD_FAIL(RD_EINPUT, "%s: %s: the byte <0x%02X> is missing", name, what, b);
    for (int32_t id = 0; id < tok->n; id++) {
        if (tok->kind[id] != TOK_TEXT) continue;
        const char *p = rd_tok_piece(tok, id, &n);
        for (size_t i = 0, len; i < n; i += len) {
            len = rd_utf8_char((const unsigned char *)p + i, n - i);
            if (rd_tok_merge_piece(tok, p + i, len, one) != 1 || tok->kind[one[0]] != TOK_TEXT)
                RD_FAIL(RD_EINPUT, "%s: %s[%d]: a character of '%s' has no piece", name, what, id,
                        rd_show(p, n).text);
        }
    }
done:
    return rc;
}

typedef struct scored {
    double score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static void put_merges(const rd_sp_piece *piece, rd_tok *tok)
{
    int64_t n = 0;
    scored *list = rd_new(scored, tok->n);
    int32_t *order = rd_new(int32_t, tok->n), *level = rd_new(int32_t, tok->n);
    for (int32_t id = 0; id < tok->n; id++)
        if (tok->kind[id] == TOK_TEXT) list[n++] = (scored){piece[id].score, id};
    if (n > 0) qsort(list, (size_t)n, sizeof(*list), by_score);
    for (int64_t i = 0; i < n; i++) {
        bool tie = i > 0 && list[i].score == list[i - 1].score;
        order[i] = list[i].id;
        level[i] = tie ? level[i - 1] : (int32_t)i;
    }
    rd_tok_put_splits(tok, n, order, level);
    rd_free(list);
    rd_free(order);
    rd_free(level);
}

int rd_tok_from_pieces(const rd_sp_piece *piece, int64_t n, bool dummy_prefix, const char *name,
                       const char *what, rd_tok **out)
{
    int rc = RD_OK;
    rd_vocab v = {0};
    rd_tok *tok = rd_tok_new();
    tok->by_char = true;
    tok->prefix = dummy_prefix ? PREFIX_FIRST : PREFIX_NEVER;
    tok->prefix_twice = dummy_prefix;
    tok->strip = dummy_prefix;
    if (n < 1 || n > RD_MAX_ID) RD_FAIL(RD_EINPUT, "%s: %s: %lld pieces", name, what, (long long)n);
    RD_TRY(put_pieces(piece, n, name, what, &v, tok));
    RD_TRY(check_symbols(tok, name, what));
    if (rd_vocab_text(&v, RD_BLANK, strlen(RD_BLANK)) < 0)
        RD_FAIL(RD_EINPUT, "%s: %s: '%s' is missing", name, what, RD_BLANK);
    put_merges(piece, tok);
    rd_tok_finish(tok);
    *out = tok;
    tok = NULL;
done:
    rd_vocab_free(&v);
    rd_tok_free(&tok);
    return rc;
}

/* ---------------------------------------------------------------- protobuf */

typedef struct message {
    const char *name, *what; /* the file; whose fields these are */
    const uint8_t *p;
    size_t n, at;
} message;

typedef struct field {
    uint64_t number, value; /* value: of varints and fixed widths, else the length */
    int wire;
    const uint8_t *bytes; /* of wire type 2 */
} field;

static int take_varint(message *m, uint64_t *v)
{
    int rc = RD_OK;
    *v = 0;
    for (int shift = 0;; shift += 7) {
        if (m->at == m->n)
            RD_FAIL(RD_EINPUT, "%s: %s: byte %zu: a number is cut off", m->name, m->what, m->at);
        uint8_t b = m->p[m->at++];
        if (shift == 63 && b > 1)
            RD_FAIL(RD_EINPUT, "%s: %s: byte %zu: a number of more than 64 bits", m->name, m->what,
                    m->at);
        *v |= (uint64_t)(b & 0x7F) << shift;
        if (b < 0x80) break;
    }
done:
    return rc;
}

static int take_field(message *m, field *f)
{
    int rc = RD_OK;
    uint64_t tag, length;
    *f = (field){0};
    RD_TRY(take_varint(m, &tag));
    f->number = tag >> 3;
    f->wire = (int)(tag & 7);
    if (f->number == 0 || (f->wire != 0 && f->wire != 1 && f->wire != 2 && f->wire != 5))
        RD_FAIL(RD_EINPUT,
                "%s: %s: byte %zu: field %llu of wire type %d; is this a SentencePiece "
                "model?",
                m->name, m->what, m->at, (unsigned long long)f->number, f->wire);
    if (f->wire == 0) {
        RD_TRY(take_varint(m, &f->value));
        goto done;
    }
    length = f->wire == 1 ? 8 : 4;
    if (f->wire == 2) RD_TRY(take_varint(m, &length));
    if (length > m->n - m->at)
        RD_FAIL(RD_EINPUT, "%s: %s: byte %zu: field %llu has %llu bytes, %zu are left", m->name,
                m->what, m->at, (unsigned long long)f->number, (unsigned long long)length,
                m->n - m->at);
    f->bytes = m->p + m->at;
    m->at += length;
    if (f->wire == 2)
        f->value = length;
    else
        memcpy(&f->value, f->bytes, length);
done:
    return rc;
}

static int need_wire(const message *m, const field *f, int wire)
{
    int rc = RD_OK;
    if (f->wire != wire)
        RD_FAIL(RD_EINPUT, "%s: %s: field %llu is of wire type %d, expected %d", m->name, m->what,
                (unsigned long long)f->number, f->wire, wire);
done:
    return rc;
}

/* ---------------------------------------------------------------- the model */

typedef struct model {
    rd_sp_piece *piece;
    int64_t n, cap;
    int64_t model_type; /* 2: BPE */
    bool suffix, byte_fallback, dummy_prefix, remove_blanks, escape;
    uint64_t charsmap;
    int64_t bos, eos, pad;
} model;

static int read_piece(message *outer, const field *f, model *m)
{
    int rc = RD_OK;
    message in = {.name = outer->name, .what = "pieces", .p = f->bytes, .n = f->value};
    rd_sp_piece piece = {.type = PIECE_NORMAL};
    field g;
    RD_TRY(need_wire(outer, f, 2));
    while (in.at < in.n) {
        RD_TRY(take_field(&in, &g));
        if (g.number == 1) {
            RD_TRY(need_wire(&in, &g, 2));
            piece.s = (const char *)g.bytes;
            piece.n = g.value;
        } else if (g.number == 2) {
            float score;
            RD_TRY(need_wire(&in, &g, 5));
            memcpy(&score, g.bytes, sizeof(score));
            piece.score = (double)score;
        } else if (g.number == 3) {
            RD_TRY(need_wire(&in, &g, 0));
            piece.type = g.value > PIECE_BYTE ? 0 : (int)g.value;
        }
    }
    if (m->n == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 1024;
        rd_resize(m->piece, m->cap);
    }
    m->piece[m->n++] = piece;
done:
    return rc;
}

/* An id of the trainer; negative ones are written as 64 bits. */
static int64_t as_id(uint64_t v)
{
    return v <= INT32_MAX ? (int64_t)v : -1;
}

static int read_trainer(message *outer, const field *f, model *m)
{
    int rc = RD_OK;
    message in = {.name = outer->name, .what = "trainer_spec", .p = f->bytes, .n = f->value};
    field g;
    RD_TRY(need_wire(outer, f, 2));
    while (in.at < in.n) {
        RD_TRY(take_field(&in, &g));
        bool known =
            g.number == 3 || g.number == 24 || g.number == 35 || (g.number >= 41 && g.number <= 43);
        if (known) RD_TRY(need_wire(&in, &g, 0));
        switch (g.number) {
        case 3: m->model_type = as_id(g.value); break;
        case 24: m->suffix = g.value != 0; break;
        case 35: m->byte_fallback = g.value != 0; break;
        case 41: m->bos = as_id(g.value); break;
        case 42: m->eos = as_id(g.value); break;
        case 43: m->pad = as_id(g.value); break;
        default: break;
        }
    }
done:
    return rc;
}

static int read_normalizer(message *outer, const field *f, model *m)
{
    int rc = RD_OK;
    message in = {.name = outer->name, .what = "normalizer_spec", .p = f->bytes, .n = f->value};
    field g;
    RD_TRY(need_wire(outer, f, 2));
    while (in.at < in.n) {
        RD_TRY(take_field(&in, &g));
        if (g.number >= 3 && g.number <= 5) RD_TRY(need_wire(&in, &g, 0));
        switch (g.number) {
        case 2:
            RD_TRY(need_wire(&in, &g, 2));
            m->charsmap = g.value;
            break;
        case 3: m->dummy_prefix = g.value != 0; break;
        case 4: m->remove_blanks = g.value != 0; break;
        case 5: m->escape = g.value != 0; break;
        default: break;
        }
    }
done:
    return rc;
}

static int check_model(const model *m, const char *name)
{
    int rc = RD_OK;
    if (m->model_type != 2)
        RD_FAIL(RD_EINPUT, "%s: trainer_spec.model_type: only BPE (2) is supported, got %lld", name,
                (long long)m->model_type);
    if (m->suffix)
        RD_FAIL(RD_EINPUT, "%s: trainer_spec.treat_whitespace_as_suffix: not supported", name);
    if (!m->byte_fallback)
        RD_FAIL(RD_EINPUT, "%s: trainer_spec.byte_fallback: only true is supported", name);
    if (m->charsmap > 0)
        RD_FAIL(RD_EINPUT,
                "%s: normalizer_spec.precompiled_charsmap: only an empty one (identity) "
                "is supported",
                name);
    if (m->remove_blanks)
        RD_FAIL(RD_EINPUT, "%s: normalizer_spec.remove_extra_whitespaces: not supported", name);
    if (!m->escape)
        RD_FAIL(RD_EINPUT, "%s: normalizer_spec.escape_whitespaces: only true is supported", name);
done:
    return rc;
}

int rd_tok_from_sentencepiece(const char *bytes, size_t n, const char *name, rd_tok **out)
{
    int rc = RD_OK;
    /* The defaults of the format, for what is not written. */
    model m = {.model_type = 1,
               .dummy_prefix = true,
               .remove_blanks = true,
               .escape = true,
               .bos = 1,
               .eos = 2,
               .pad = -1};
    message in = {.name = name, .what = "ModelProto", .p = (const uint8_t *)bytes, .n = n};
    rd_tok *tok = NULL;
    field f;
    while (in.at < in.n) {
        RD_TRY(take_field(&in, &f));
        if (f.number == 1) RD_TRY(read_piece(&in, &f, &m));
        if (f.number == 2) RD_TRY(read_trainer(&in, &f, &m));
        if (f.number == 3) RD_TRY(read_normalizer(&in, &f, &m));
    }
    RD_TRY(check_model(&m, name));
    if (m.bos >= m.n || m.eos >= m.n || m.pad >= m.n)
        RD_FAIL(RD_EINPUT, "%s: trainer_spec: bos_id, eos_id and pad_id must be below %lld", name,
                (long long)m.n);
    RD_TRY(rd_tok_from_pieces(m.piece, m.n, m.dummy_prefix, name, "pieces", &tok));
    tok->bos = (int32_t)m.bos;
    tok->eos = (int32_t)m.eos;
    tok->pad = (int32_t)m.pad;
    tok->add_bos = m.bos >= 0;
    rd_tok_add_end(tok, tok->eos);
    *out = tok;
done:
    rd_free(m.piece);
    return rc;
}
