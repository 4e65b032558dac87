/* ranks: 1 2 4 */
/* GGUF files: what a good one holds, by shares and whole; the order of rotary rows; what a broken
 * one gets. */
#include "io/modelfile.h"
#include "shares.h"

static const rd_meta *meta_of(const rd_weights *w, const char *key)
{
    const rd_meta *m = rd_weights_meta(w, key);
    if (m == NULL) rd_die("no key %s", key);
    return m;
}

static void test_metadata(const rd_weights *w)
{
    static const struct {
        const char *key;
        int64_t value;
    } ints[] = {{"t.u8", 200},         {"t.i8", -100},
                {"t.u16", 60000},      {"t.i16", -30000},
                {"t.u32", 4000000000}, {"t.i32", -2000000000},
                {"t.u64", INT64_MAX},  {"t.i64", -((int64_t)1 << 62)},
                {"t.bool", 1}};
    size_t len;
    for (size_t i = 0; i < sizeof(ints) / sizeof(*ints); i++) {
        const rd_meta *m = meta_of(w, ints[i].key);
        ok(rd_meta_int(m, 0) == ints[i].value && !rd_meta_is_array(m) && rd_meta_count(m) == 1,
           "%s", ints[i].key);
    }
    ok(rd_meta_real(meta_of(w, "t.f32"), 0) == 0.5 && rd_meta_real(meta_of(w, "t.f64"), 0) == 1e300,
       "reals");
    ok(rd_meta_type(meta_of(w, "t.f32")) == RD_META_REAL &&
           rd_meta_int(meta_of(w, "t.f32"), 0) == 0,
       "a real is no integer");
    is_str(rd_meta_string(meta_of(w, "t.string"), 0, NULL), "Grüße", "a string");
    is_str(rd_meta_string(meta_of(w, "t.empty"), 0, &len), "", "an empty one");
    const rd_meta *strings = meta_of(w, "t.strings");
    ok(rd_meta_is_array(strings) && rd_meta_count(strings) == 4, "four strings");
    ok(memcmp(rd_meta_string(strings, 2, &len), "\xff\0b", 3) == 0 && len == 3, "any bytes");
    ok(memcmp(rd_meta_string(strings, 3, &len), "dd", 2) == 0 && len == 2, "and the last one");
    ok(rd_meta_string(strings, 4, &len) == NULL && len == 0, "none behind it");
    const rd_meta *numbers = meta_of(w, "t.ints");
    ok(rd_meta_count(numbers) == 3 && rd_meta_int(numbers, 1) == -2 && rd_meta_int(numbers, 3) == 0,
       "integers");
    ok(rd_meta_real(meta_of(w, "t.reals"), 1) == -1 && rd_meta_int(meta_of(w, "t.bools"), 1) == 0,
       "reals and bools");
    is_i64(rd_meta_count(meta_of(w, "t.nothing")), 0, "an empty array");
    const rd_meta *nested = meta_of(w, "t.nested");
    ok(rd_meta_type(nested) == RD_META_ARRAY && rd_meta_int(rd_meta_item(nested, 0), 1) == 2 &&
           *rd_meta_string(rd_meta_item(nested, 1), 0, &len) == 'x' &&
           rd_meta_real(rd_meta_item(rd_meta_item(nested, 2), 0), 0) == 2.5 &&
           rd_meta_item(nested, 3) == NULL && rd_meta_item(strings, 0) == NULL,
       "arrays in arrays");
    is_str(rd_meta_key(rd_weights_meta_at(w, 0)), "general.architecture", "keys in order");
}

/* Every format's rows, read through the tensor, are what dtype.c makes of the bytes. */
static void test_formats(const rd_weights *w)
{
    for (int64_t i = 0; i < rd_weights_count(w); i++) {
        const rd_tensor *t = rd_weights_tensor(w, i);
        int64_t dims[2], wrong = 0;
        if (t->format == RD_FORMAT_OTHER || t->rope_head_size > 0) continue;
        share_dims(t, dims);
        const rd_format_info info = rd_format_get(t->format);
        float *x = read_whole(w, t), *want = rd_new(float, dims[1]);
        for (int64_t r = 0; r < dims[0]; r++) {
            rd_format_widen(t->format,
                            (const uint8_t *)t->data + r * dims[1] / info.block * info.bytes, 0,
                            dims[1], want);
            wrong +=
                dims[1] > 0 && memcmp(want, x + r * dims[1], (size_t)dims[1] * sizeof(float)) != 0;
        }
        ok(wrong == 0, "%s: %s", t->name, t->type);
        rd_free(x);
        rd_free(want);
    }
}

static void test_good(void)
{
    rd_weights *w = NULL;
    is_rc(rd_weights_open("tests/corpus/good.gguf", &w), RD_OK, "a good file opens");
    is_i64(rd_weights_count(w), 18, "all its tensors");
    const rd_tensor *t = rd_weights_find(w, "q4_k");
    ok(t->rank == 2 && t->dims[0] == 5 && t->dims[1] == 256 && t->format == RD_FORMAT_Q4_K,
       "dimensions are turned round: [out, in]");
    t = rd_weights_find(w, "iq");
    ok(t->format == RD_FORMAT_OTHER && strcmp(t->type, "IQ4_XS") == 0 && t->n_bytes == 136,
       "a format that is only listed");
    float *x = read_whole(w, rd_weights_find(w, "half"));
    ok(x[0] == 0.5f && x[2] == 65504.0f && x[5] == 3.0f, "F16");
    rd_free(x);
    test_metadata(w);
    test_formats(w);
    static const char *const names[] = {"q8_0", "q4_0", "q4_1", "q5_0",  "q5_1",
                                        "q4_k", "q5_k", "q6_k", "brain", "norm"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        check_shares(w, names[i], 2, 7);
        check_shares(w, names[i], 1, 32);
    }
    rd_weights_close(&w);
}

/* llama.cpp's conversion of Q and K: rows of a head as [2, S/2] become [S/2, 2].  Done here to the
 * numbers 0 … n - 1 of Hugging Face's order, it must be undone by reading. */
static void check_rope(const rd_weights *w, const char *name, int64_t S)
{
    const rd_tensor *t = rd_weights_find(w, name);
    const int64_t n_cols = t->rank == 2 ? t->dims[1] : 1;
    int64_t wrong = 0;
    is_i64(t->rope_head_size, S, name);
    float *x = read_whole(w, t);
    for (int64_t head = 0; head < t->dims[0] / S; head++)
        for (int64_t half = 0; half < 2; half++)
            for (int64_t j = 0; j < S / 2; j++)
                for (int64_t c = 0; c < n_cols; c++) {
                    const int64_t hf = head * S + half * (S / 2) + j,
                                  file = head * S + 2 * j + half;
                    /* The file holds its own index at every place. */
                    wrong += x[hf * n_cols + c] != (float)(file * n_cols + c);
                }
    is_i64(wrong, 0, "rows in Hugging Face's order");
    rd_free(x);
    check_shares(w, name, 3, 2);
}

static void test_rope(void)
{
    rd_weights *w = NULL;
    is_rc(rd_weights_open("tests/corpus/good.gguf", &w), RD_OK, "a llama file");
    check_rope(w, "blk.0.attn_q.weight", 8);
    check_rope(w, "blk.0.attn_k.weight", 8);
    check_rope(w, "blk.0.attn_q.bias", 8);
    const rd_tensor *v = rd_weights_find(w, "blk.0.attn_v.weight");
    float *x = read_whole(w, v);
    ok(v->rope_head_size == 0 && x[3] == 3 && x[23] == 23, "V is left alone");
    rd_free(x);
    rd_weights_close(&w);
    /* The same file of another architecture. */
    rd_buf b = {0};
    if (rd_file_read("tests/corpus/good.gguf", &b) != RD_OK) rd_die("good.gguf");
    char *at = memmem(b.data, b.len, "llama", 5);
    memcpy(at, "qwen2", 5);
    is_rc(rd_weights_from_bytes("qwen", true, b.data, (int64_t)b.len, &w), RD_OK, "a qwen2 file");
    is_i64(rd_weights_find(w, "blk.0.attn_q.weight")->rope_head_size, 0, "keeps its rows");
    rd_weights_close(&w);
    rd_buf_free(&b);
}

static void test_broken(void)
{
    static const char *const cases[][2] = {
        {"short", "the version: 4 bytes are wanted, 2 are left"},
        {"magic", "not a GGUF file"},
        {"version_1", "GGUF version 1"},
        {"version_4", "GGUF version 4"},
        {"big_endian", "big-endian"},
        {"tensors_huge", "1152921504606846976 tensors"},
        {"tensors_more", "a tensor's name: 8 bytes are wanted, 0 are left"},
        {"keys_huge", "1152921504606846976 keys"},
        {"key_length", "a key: 18446744073709551615 bytes are wanted"},
        {"key_twice", "key 'general.architecture' is there twice"},
        {"key_empty", "a metadata without a name"},
        {"key_not_utf8", "metadata name 'k…': byte 0xc0 is not UTF-8"},
        {"value_type", "key 'k': unknown value type 13"},
        {"string_length", "k: 9223372036854775808 bytes are wanted"},
        {"array_huge", "key 'k': an array of 4611686018427387904 values"},
        {"array_strings_huge", "key 'k': 60 values in the"},
        {"array_type", "key 'k': unknown value type 99"},
        {"array_deep", "key 'k': arrays nested deeper than 4"},
        {"alignment_0", "'general.alignment': expected a power of two from 8, got 0"},
        {"alignment_48", "got 48"},
        {"alignment_text", "'general.alignment'"},
        {"name_empty", "a tensor without a name"},
        {"name_nul", "tensor name 'a…': byte 0x00 is a control character"},
        {"name_not_utf8", "tensor name 'a…': byte 0xed"},
        {"name_long", "a tensor name of 1025 bytes"},
        {"tensor_twice", "tensor 'a' is there twice"},
        {"rank", "tensor 'a': 5 dimensions"},
        {"rank_huge", "tensor 'a': 2147483648 dimensions"},
        {"dim_huge", "tensor 'a': a dimension of 9223372036854775808"},
        {"dims_overflow", "tensor 'a': the product of its dimensions overflows"},
        {"dims_many", "tensor 'a': 2305843009213693952 numbers in a file of"},
        {"dims_empty_huge", "tensor 'a': dimension 1 is 4611686018427387904"},
        {"type_unknown", "tensor 'a': unknown type 4"},
        {"type_huge", "tensor 'a': unknown type 4294967295"},
        {"blocks", "tensor 'a': rows of 33 are not whole blocks of 32 (Q8_0)"},
        {"offset_unaligned", "tensor 'a': offset 4 is not a multiple of 32"},
        {"offset_outside", "tensor 'a': 16 bytes at 1099511627776 of 16"},
        {"offset_overflow", "tensor 'a': 16 bytes at 18446744073709551584 of 16"},
        {"truncated_data", "tensor 'a': 16 bytes at 0 of 15"},
        {"overlap", "tensor 'b' overlaps 'a'"},
        {"heads_missing", "tensor 'blk.0.attn_q.weight': 16 rows are not 0 heads"},
        {"heads_uneven", "tensor 'blk.0.attn_q.weight': 16 rows are not 3 heads"},
        {"heads_odd", "16 rows are not 16 heads of an even size"},
        {"heads_zero_rows", "0 rows are not 2 heads"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char file[64];
        snprintf(file, sizeof(file), "bad_%s.gguf", cases[i][0]);
        check_broken(file, cases[i][1]);
    }
}

/* A good file cut anywhere is refused or, within the last padding, whole. */
static void test_cut(void)
{
    rd_buf b = {0};
    int accepted = 0, badly = 0;
    if (rd_file_read("tests/corpus/good.gguf", &b) != RD_OK) rd_die("good.gguf");
    for (size_t n = 0; n < b.len; n++) {
        rd_weights *w = NULL;
        char *cut = rd_new(char, n);
        if (n > 0) memcpy(cut, b.data, n);
        const int rc = rd_weights_from_bytes("cut", true, cut, (int64_t)n, &w);
        accepted += rc == RD_OK;
        badly += rc != RD_OK && (rc != RD_EINPUT || w != NULL);
        rd_error_clear();
        rd_weights_close(&w);
        rd_free(cut);
    }
    is_i64(accepted, 0, "no cut file is accepted");
    is_i64(badly, 0, "and all are refused in order");
    rd_buf_free(&b);
}

static void test_describe(void)
{
    static const char *const words[] = {": GGUF version 3, 7.1 KiB, ", "5 x 256", "[1,-2,3]", NULL};
    rd_json *doc = check_described("tests/corpus/good.gguf", words);
    const rd_json_node *metadata = rd_json_get(rd_json_root(doc), "metadata");
    ok(rd_json_number(rd_json_get(metadata, "t.f64")) == 1e300 &&
           rd_json_bool(rd_json_get(metadata, "t.bool")) &&
           rd_json_count(rd_json_get(metadata, "t.strings")) == 4,
       "with metadata of all kinds");
    rd_json_free(&doc);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_good();
    test_rope();
    test_broken();
    test_cut();
    test_describe();
    return rd_test_end();
}
