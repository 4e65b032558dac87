/* fuzz_task.h: what fuzz_rule and fuzz_task_line share: seeds from generated tasks, mutations of
 * words and characters, and a main that needs no fuzzing engine: it feeds the files that it is
 * given, or, without arguments, mutations (-n N of them). */
#ifndef RD_FUZZ_TASK_H
#define RD_FUZZ_TASK_H

#include "fuzz_run.h"
#include "rd/task.h"

enum { FUZZ_CAP = 8192 };

/* One unmutated input, at most cap bytes. */
__attribute__((unused)) static size_t fuzz_seed(rd_rng *r, char *text, size_t cap);

/* Some task of some family, which it returns. */
static inline rd_family fuzz_task(rd_rng *r, rd_task *t)
{
    rd_gen_opts o = {.family = (rd_family)rd_rng_below(r, RD_FAMILIES)};
    o.difficulty = (int)rd_rng_below(r, 4);
    o.seed = (uint64_t)rd_rng_below(r, 20);
    RD_ASSERT(rd_task_generate(&o, RD_SPLIT_TRAIN, rd_rng_below(r, 3), t) == RD_OK);
    return o.family;
}

/* A seed: the family and what fits of b, which is freed; its length. */
static inline size_t fuzz_seed_of(rd_family f, rd_buf *b, char *text, size_t cap)
{
    const size_t n = b->len + 1 < cap ? b->len : cap - 1;
    text[0] = (char)f;
    memcpy(text + 1, b->data, n);
    rd_buf_free(b);
    return n + 1;
}

#ifndef RD_LIBFUZZER
/* Start and length of some word of the text. */
static size_t fuzz_word(rd_rng *r, const char *text, size_t n, size_t *len)
{
    size_t at = (size_t)rd_rng_below(r, (int64_t)n);
    while (at > 0 && text[at - 1] != ' ') at--;
    *len = 0;
    while (at + *len < n && text[at + *len] != ' ') ++*len;
    return at;
}

static size_t fuzz_mutate(rd_rng *r, char *text, size_t n)
{
    static const char marks[] = ";;,.:()[]{}\"\\ 0x1-'\n\xc3\x01";
    char word[64];
    for (int64_t k = rd_rng_below(r, 5); k > 0 && n > 2; k--) {
        size_t at = (size_t)rd_rng_below(r, (int64_t)n), len, to;
        switch (rd_rng_below(r, 6)) {
        case 0: text[at] = marks[rd_rng_below(r, (int64_t)sizeof marks - 1)]; break;
        case 1: memmove(text + at, text + at + 1, --n - at); break;
        case 2: n = rd_rng_chance(r, 0.3) ? at : n; break;
        case 3: /* repeat a piece, which makes depth */
            if (2 * n - at <= FUZZ_CAP) memmove(text + n, text + at, n - at), n += n - at;
            break;
        case 4: /* leave a word out */
            at = fuzz_word(r, text, n, &len);
            memmove(text + at, text + at + len, n - at - len);
            n -= len;
            break;
        default: /* one word in the place of a character elsewhere */
            at = fuzz_word(r, text, n, &len);
            if (len >= sizeof word || n + len > FUZZ_CAP) break;
            memcpy(word, text + at, len);
            to = (size_t)rd_rng_below(r, (int64_t)n);
            memmove(text + to + len, text + to, n - to);
            memcpy(text + to, word, len);
            n += len;
        }
    }
    return n;
}

int main(int argc, char **argv)
{
    const fuzz_run f = fuzz_options(argc, argv, 20000);
    static char text[FUZZ_CAP];
    if (f.file < argc) return fuzz_files(&f, argc, argv, FUZZ_CAP);
    for (int64_t i = f.first; fuzz_goes_on(&f, i); i++) {
        rd_rng r = rd_rng_make(1, "fuzz_task", (uint64_t)i, 0);
        size_t len = fuzz_mutate(&r, text, fuzz_seed(&r, text, FUZZ_CAP / 2));
        LLVMFuzzerTestOneInput((const uint8_t *)text, len);
    }
    return 0;
}
#endif
#endif
