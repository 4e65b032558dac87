/* tokenizer_write: a tokenizer as Hugging Face's tokenizer.json.
 *
 * The merges of a tokenizer that came without a list (by_split) are written out as pairs, those of
 * one token one after the other. */
#include "text_impl.h"

#include <string.h>

static void write_byte_level(rd_json_node *v)
{
    rd_json_set_string(v, "type", "ByteLevel");
    rd_json_set_bool(v, "add_prefix_space", false);
    rd_json_set_bool(v, "trim_offsets", true);
    rd_json_set_bool(v, "use_regex", false);
}

static void write_added(const rd_tok *tok, tok_added a, rd_json_node *list)
{
    size_t n;
    const char *p = rd_tok_piece(tok, a.id, &n);
    char *content = rd_strndup(p, n);
    rd_json_node *v = rd_json_set_object(list, NULL);
    rd_json_set_int(v, "id", a.id);
    rd_json_set_string(v, "content", content);
    rd_json_set_bool(v, "single_word", a.single_word);
    rd_json_set_bool(v, "lstrip", a.lstrip);
    rd_json_set_bool(v, "rstrip", a.rstrip);
    /* Blanks in front of a text are no normalisation to them (tokenizer_pieces.c). */
    rd_json_set_bool(v, "normalized", a.normalized && !tok->by_char);
    rd_json_set_bool(v, "special", a.special);
    rd_free(content);
}

/* In the order of the file that was read; the specials of other tokenizers by their ids. */
static void write_all_added(const rd_tok *tok, rd_json_node *list)
{
    for (int64_t i = 0; i < tok->n_added; i++) write_added(tok, tok->added[i], list);
    if (tok->n_added > 0) return;
    for (int32_t id = 0; id < tok->n; id++)
        if (tok->kind[id] == TOK_SPECIAL) write_added(tok, (tok_added){id, .special = true}, list);
}

/* NFC and the blank before a text that begins with one, which Metaspace does not put. */
static void write_normalizer(const rd_tok *tok, rd_json_node *root)
{
    bool blanks = tok->by_char && tok->prefix_twice;
    if (!tok->nfc && !blanks) {
        rd_json_set_null(root, "normalizer");
        return;
    }
    rd_json_node *normal = rd_json_set_object(root, "normalizer");
    if (!blanks) {
        rd_json_set_string(normal, "type", "NFC");
        return;
    }
    rd_json_set_string(normal, "type", "Sequence");
    rd_json_node *list = rd_json_set_array(normal, "normalizers");
    if (tok->nfc) rd_json_set_string(rd_json_set_object(list, NULL), "type", "NFC");
    rd_json_node *v = rd_json_set_object(list, NULL);
    rd_json_set_string(v, "type", "Prepend");
    rd_json_set_string(v, "prepend", RD_BLANK);
    v = rd_json_set_object(list, NULL);
    rd_json_set_string(v, "type", "Replace");
    rd_json_set_string(rd_json_set_object(v, "pattern"), "String", " ");
    rd_json_set_string(v, "content", RD_BLANK);
}

/* SentencePiece's: blanks in and out. */
static void write_blanks(const rd_tok *tok, rd_json_node *root)
{
    static const char *const schemes[] = {"never", "first", "always"};
    if (tok->prefix_twice) {
        rd_json_set_null(root, "pre_tokenizer");
    } else {
        rd_json_node *pre = rd_json_set_object(root, "pre_tokenizer");
        rd_json_set_string(pre, "type", "Metaspace");
        rd_json_set_string(pre, "replacement", RD_BLANK);
        rd_json_set_string(pre, "prepend_scheme", schemes[tok->prefix]);
        rd_json_set_bool(pre, "split", tok->n_cuts > 0);
    }
    rd_json_set_null(root, "post_processor");
    rd_json_node *decoder = rd_json_set_object(root, "decoder"), *v;
    rd_json_set_string(decoder, "type", "Sequence");
    rd_json_node *list = rd_json_set_array(decoder, "decoders");
    v = rd_json_set_object(list, NULL);
    rd_json_set_string(v, "type", "Replace");
    rd_json_set_string(rd_json_set_object(v, "pattern"), "String", RD_BLANK);
    rd_json_set_string(v, "content", " ");
    rd_json_set_string(rd_json_set_object(list, NULL), "type", "ByteFallback");
    rd_json_set_string(rd_json_set_object(list, NULL), "type", "Fuse");
    v = rd_json_set_object(list, NULL);
    rd_json_set_string(v, "type", "Strip");
    rd_json_set_string(v, "content", " ");
    rd_json_set_int(v, "start", tok->strip);
    rd_json_set_int(v, "stop", 0);
}

static void write_frame(const rd_tok *tok, rd_json_node *root)
{
    rd_json_set_string(root, "version", "1.0");
    rd_json_set_null(root, "truncation");
    rd_json_set_null(root, "padding");
    write_all_added(tok, rd_json_set_array(root, "added_tokens"));
    write_normalizer(tok, root);
    if (tok->by_char) {
        write_blanks(tok, root);
        return;
    }
    rd_json_node *pre = rd_json_set_object(root, "pre_tokenizer");
    rd_json_set_string(pre, "type", "Sequence");
    rd_json_node *list = rd_json_set_array(pre, "pretokenizers");
    for (int k = 0; k < tok->n_cuts; k++) {
        rd_json_node *split = rd_json_set_object(list, NULL);
        rd_json_set_string(split, "type", "Split");
        rd_json_set_string(rd_json_set_object(split, "pattern"), "Regex", tok->pattern[k]);
        rd_json_set_string(split, "behavior", "Isolated");
        rd_json_set_bool(split, "invert", false);
    }
    write_byte_level(rd_json_set_object(list, NULL));
    rd_json_set_null(root, "post_processor");
    write_byte_level(rd_json_set_object(root, "decoder"));
}

static void add_letters(const rd_tok *tok, const rd_letters *letters, int32_t id, rd_buf *out)
{
    size_t n;
    const char *p = rd_tok_piece(tok, id, &n);
    if (tok->kind[id] == TOK_BYTE)
        rd_buf_printf(out, "<0x%02X>", (unsigned char)*p);
    else if (tok->kind[id] != TOK_TEXT)
        rd_buf_add(out, p, n);
    else if (!tok->by_char)
        rd_letters_write(letters, p, n, out);
    else
        for (size_t i = 0; i < n; i++)
            if (p[i] == ' ')
                rd_buf_puts(out, RD_BLANK);
            else
                rd_buf_putc(out, p[i]);
}

static void write_model(const rd_tok *tok, rd_json_node *model)
{
    rd_letters letters = rd_letters_make();
    rd_buf text = {0};
    rd_json_set_string(model, "type", "BPE");
    rd_json_set_null(model, "dropout");
    rd_json_set_null(model, "unk_token");
    rd_json_set_null(model, "continuing_subword_prefix");
    rd_json_set_null(model, "end_of_word_suffix");
    rd_json_set_bool(model, "fuse_unk", false);
    rd_json_set_bool(model, "byte_fallback", tok->by_char);
    rd_json_set_bool(model, "ignore_merges", tok->ignore_merges);
    rd_json_node *vocab = rd_json_set_object(model, "vocab");
    for (int32_t id = 0; id < tok->n; id++) {
        if (tok->kind[id] == TOK_HOLE) continue;
        rd_buf_clear(&text);
        add_letters(tok, &letters, id, &text);
        rd_json_add_int(vocab, text.data, id);
    }
    /* The one-string form, which every version of the Python package reads. */
    rd_json_node *merges = rd_json_set_array(model, "merges");
    for (int64_t i = 0; i < tok->n_merges; i++) {
        rd_buf_clear(&text);
        add_letters(tok, &letters, tok->merges[i].left, &text);
        rd_buf_putc(&text, ' ');
        add_letters(tok, &letters, tok->merges[i].right, &text);
        rd_json_set_string(merges, NULL, text.data);
    }
    rd_buf_free(&text);
}

void rd_tok_to_json(const rd_tok *tok, rd_buf *out)
{
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    write_frame(tok, rd_json_root(doc));
    write_model(tok, rd_json_set_object(rd_json_root(doc), "model"));
    rd_json_print(rd_json_root(doc), true, out);
    rd_json_free(&doc);
}

int rd_tok_save(const rd_tok *tok, const char *path)
{
    int rc = RD_OK;
    rd_buf text = {0};
    rd_tok_to_json(tok, &text);
    RD_TRY(rd_file_write_atomic(path, text.data, text.len));
done:
    rd_buf_free(&text);
    return rc;
}
