/* ranks: 1 */
/* How fast the tokenizer trains and encodes on texts like ours.  Printed, not judged. */
#include "rd/text.h"

#include "rd_test.h"

/* One short text of a kind: a list prompt, plain numbers, colour words, nonce words, a rule. */
static void add_text(rd_rng *r, rd_buf *out)
{
    static const char *const colours[] = {"red", "blue", "green", "yellow"};
    static const char *const shapes[] = {"cube", "sphere", "cylinder"};
    static const char *const rules[] = {"Keep the first %d elements; then put %d at the end.",
                                        "Remove every element below %d; then add %d to each.",
                                        "If the list has %d elements, answer %d; else the list."};
    int64_t kind = rd_rng_below(r, 5), n = rd_rng_range(r, 3, 12);
    if (kind == 4) {
        rd_buf_printf(out, rules[rd_rng_below(r, 3)], (int)rd_rng_below(r, 10),
                      (int)rd_rng_below(r, 100));
        return;
    }
    if (kind == 0) rd_buf_puts(out, "[");
    for (int64_t i = 0; i < n; i++) {
        if (kind == 0 && i > 0) rd_buf_puts(out, ", ");
        if (kind == 1) rd_buf_puts(out, " ");
        if (kind < 2) rd_buf_printf(out, "%d", (int)rd_rng_below(r, n > 8 ? 10 : 100));
        if (kind == 2)
            rd_buf_printf(out, " %s %s", colours[rd_rng_below(r, 4)], shapes[rd_rng_below(r, 3)]);
        if (kind != 3) continue;
        rd_buf_puts(out, " ");
        for (int64_t k = rd_rng_range(r, 3, 9); k > 0; k--)
            rd_buf_putc(out, (char)('a' + rd_rng_below(r, 26)));
    }
    rd_buf_puts(out, kind == 0 ? "] -> [1, 4]" : "");
}

int main(int argc, char **argv)
{
    enum { TARGET = 20000000 };
    rd_test_begin(&argc, &argv);
    rd_rng r = rd_rng_make(1, "bench", 0, 0);
    rd_buf bytes = {0}, back = {0};
    int64_t n = 0, cap = 1 << 20, *start = rd_new(int64_t, cap + 1);
    while (n < cap && bytes.len < TARGET) {
        add_text(&r, &bytes);
        rd_buf_putc(&bytes, '\0');
        start[++n] = (int64_t)bytes.len;
    }
    const char **texts = rd_new(const char *, n);
    for (int64_t i = 0; i < n; i++) texts[i] = bytes.data + start[i];

    rd_tok *tok = NULL;
    rd_tok_train_opts opts = {.vocab = 2048, .all_bytes = true};
    double t = rd_time();
    is_rc(rd_tok_train(&opts, n, texts, NULL, &tok), RD_OK, "trains");
    t = rd_time() - t;
    double mb = (double)bytes.len / 1e6;
    diag("train: %.1f MB, %lld texts, vocab %lld: %.2f s", mb, (long long)n,
         (long long)rd_tok_vocab(tok), t);

    int32_t *ids = rd_new(int32_t, bytes.len);
    int64_t total = 0;
    t = rd_time();
    for (int64_t i = 0; i < n; i++)
        total += rd_tok_encode(tok, texts[i], strlen(texts[i]), ids + total, 1 << 12);
    t = rd_time() - t;
    diag("encode: %.1f MB/s, %.2f bytes per token, %.0f bytes per text", mb / t,
         (double)bytes.len / (double)total, (double)bytes.len / (double)n);
    t = rd_time();
    rd_tok_decode(tok, ids, total, &back);
    diag("decode: %.0f MB/s", (double)back.len / 1e6 / (rd_time() - t));
    is_i64((int64_t)back.len, (int64_t)bytes.len - n, "every byte comes back");

    rd_free(ids);
    rd_free(texts);
    rd_free(start);
    rd_buf_free(&bytes);
    rd_buf_free(&back);
    rd_tok_free(&tok);
    return rd_test_end();
}
