/* ranks: 1 2 4 */
/* safetensors files and folders: what a good one holds, by shares and whole; what a broken one
 * gets. */
#include "shares.h"
#include <sys/stat.h>

static void test_good(void)
{
    rd_weights *w = NULL;
    size_t len;
    is_rc(rd_weights_open("tests/corpus/good.safetensors", &w), RD_OK, "a good file opens");
    is_i64(rd_weights_count(w), 8, "eight tensors");
    const rd_tensor *t = rd_weights_find(w, "matrix");
    ok(t != NULL && t->rank == 2 && t->dims[0] == 37 && t->dims[1] == 64 &&
           t->format == RD_FORMAT_F32 && t->n_bytes == 37 * 64 * 4 && t->rope_head_size == 0,
       "its matrix");
    is_str(rd_weights_tensor(w, 1)->name, "vector", "tensors come in the order of the header");
    ok(rd_weights_find(w, "matri") == NULL && rd_weights_find(w, "zzz") == NULL, "no others");
    float *x = read_whole(w, t);
    int64_t wrong = 0;
    for (int64_t i = 0; i < 37 * 64; i++) wrong += x[i] != (float)i / 8;
    is_i64(wrong, 0, "the matrix's numbers");
    rd_free(x);
    x = read_whole(w, rd_weights_find(w, "half"));
    ok(x[0] == 0.5f && x[1] == -1.0f && x[2] == 65504.0f && x[3] == 0x1p-24f, "F16");
    rd_free(x);
    x = read_whole(w, rd_weights_find(w, "brain"));
    ok(x[0] == 1.0f && x[1] == -2.0f && isinf(x[2]) && x[4] == 3.140625f, "BF16");
    rd_free(x);
    x = read_whole(w, rd_weights_find(w, "none"));
    rd_free(x);
    is_str(rd_meta_string(rd_weights_meta(w, "note"), 0, &len), "Grüße", "metadata");
    is_i64((int64_t)len, 7, "with its length");
    ok(rd_weights_meta(w, "nothing") == NULL && rd_weights_meta_at(w, 2) == NULL, "no other");
    for (int64_t mb = 1; mb < 64; mb = 3 * mb + 1) check_shares(w, "matrix", mb, 5 + mb);
    check_shares(w, "vector", 1, 2);
    check_shares(w, "half", 2, 1);
    rd_weights_close(&w);
    ok(w == NULL, "closed");
}

static void test_refused(void)
{
    rd_weights *w = NULL;
    float x[6];
    const rd_slab all[2] = {{0, 1, 1, 2}, {0, 1, 1, 3}};
    is_rc(rd_weights_open("tests/corpus/good.safetensors", &w), RD_OK, "the good file again");
    int rc = rd_weights_read(w, rd_weights_find(w, "ids"), all, x);
    ok(rc == RD_EINPUT && strstr(rd_error_get()->message, "'ids': weights in format I64"),
       "integers are not read as weights");
    rd_error_clear();
    rc = rd_weights_read(w, rd_weights_find(w, "scalar"), all, x);
    ok(rc == RD_EINPUT && strstr(rd_error_get()->message, "'scalar'"), "nor a scalar");
    rd_error_clear();
    is_rc(rd_weights_read(w, rd_weights_find(w, "cube"), all, x), RD_EINPUT, "nor a cube");
    const rd_slab outside[2] = {{2, 1, 1, 1}, {0, 1, 1, 3}};
    is_rc(rd_weights_read(w, rd_weights_find(w, "half"), outside, x), RD_EINTERNAL,
          "a slab outside is our bug");
    rd_weights_close(&w);
}

static void test_broken(void)
{
    static const char *const cases[][2] = {
        {"short", "3 bytes are not"},
        {"length_huge", "a header of 9223372036854775813 bytes in a file of"},
        {"length_past_end", "a header of 400 bytes"},
        {"header_list", "not an object"},
        {"header_not_json", ":1: "},
        {"header_not_utf8", "byte 0xff in a string is not UTF-8"},
        {"tensor_twice", "the key \"a\" stands here for the second time"},
        {"tensor_number", "tensor 'a': expected an object, got a number"},
        {"name_empty", "a tensor without a name"},
        {"name_long", "a tensor name of 1025 bytes"},
        {"dtype_unknown", "tensor 'a': unknown dtype F33"},
        {"dtype_block", "tensor 'a': unknown dtype Q8_0"},
        {"dtype_number", "tensor 'a': unknown dtype"},
        {"dtype_missing", "tensor 'a': unknown dtype (none)"},
        {"shape_text", "tensor 'a': no list 'shape'"},
        {"shape_negative", "tensor 'a': 'shape': expected integers >= 0"},
        {"shape_fraction", "tensor 'a': 'shape': expected integers >= 0"},
        {"shape_rank", "tensor 'a': 'shape': more than 8"},
        {"shape_overflow", "tensor 'a': the product of its dimensions overflows"},
        {"shape_bits_overflow", "tensor 'a': 4611686018427387904 numbers of 32 bits"},
        {"shape_empty_huge", "tensor 'a': dimension 1 is 4503599627370496"},
        {"shape_too_big", "tensor 'a': 6 numbers of 32 bits do not fit 16 bytes"},
        {"offsets_one", "tensor 'a': data_offsets are not two"},
        {"offsets_three", "tensor 'a': 'data_offsets': more than 2"},
        {"offsets_reversed", "tensor 'a': bytes 16 … 0 of 16"},
        {"offsets_outside", "tensor 'a': bytes 8 … 24 of 16"},
        {"offsets_huge", "tensor 'a': 'data_offsets': expected integers"},
        {"offsets_missing", "tensor 'a': no list 'data_offsets'"},
        {"overlap", "tensor 'b' overlaps"},
        {"gap", "tensor 'b' leaves a gap"},
        {"rest", "1 bytes behind the last tensor"},
        {"metadata_number", "'step' is not a string"},
        {"metadata_list", "__metadata__ is not an object"},
        {"deep", "nested more than 128 deep"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char file[64];
        snprintf(file, sizeof(file), "bad_%s.safetensors", cases[i][0]);
        check_broken(file, cases[i][1]);
    }
}

/* ---------------------------------------------------------------- folders */

/* A file of one F32 vector of two numbers, its name given. */
static void put_vector(const char *folder, const char *file, const char *tensor, float x)
{
    char path[400];
    rd_buf b = {0}, header = {0};
    rd_buf_printf(&header,
                  "{\"__metadata__\": {\"format\": \"pt\", \"from\": \"%s\"}, \"%s\": {\"dtype\": "
                  "\"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}}",
                  file, tensor);
    rd_put_i64(&b, (int64_t)header.len);
    rd_buf_add(&b, header.data, header.len);
    rd_buf_add(&b, (float[]){x, -x}, 8);
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    if (rd_file_write_atomic(path, b.data, b.len) != RD_OK) rd_die("%s", path);
    rd_buf_free(&b);
    rd_buf_free(&header);
}

static void put_text(const char *folder, const char *file, const char *text)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    if (rd_file_write_atomic(path, text, strlen(text)) != RD_OK) rd_die("%s", path);
}

static const char index_name[] = "model.safetensors.index.json";

/* Rank 0 writes an index, every rank opens the folder. */
static void check_index(const char *folder, const char *text, const char *words)
{
    rd_weights *w = NULL;
    if (rd_test_world.rank == 0) put_text(folder, index_name, text);
    rd_barrier(&rd_test_world);
    const int rc = rd_weights_open(folder, &w);
    ok(rc == RD_EINPUT && strstr(rd_error_get()->message, words) != NULL, "an index: %s", words);
    if (rc != RD_EINPUT) diag("%d: %s", rc, rd_error_get()->message);
    rd_error_clear();
    rd_weights_close(&w);
    rd_barrier(&rd_test_world);
}

static void test_folder(void)
{
    char folder[300];
    rd_weights *w = NULL;
    snprintf(folder, sizeof(folder), "%s/folder", rd_test_dir());
    if (rd_test_world.rank == 0) {
        if (rd_dir_make(folder) != RD_OK) rd_die("%s", folder);
        put_vector(folder, "one.safetensors", "a", 1);
        put_vector(folder, "two.safetensors", "b", 2);
        put_vector(folder, "again.safetensors", "a", 3);
    }
    rd_barrier(&rd_test_world);
    is_rc(rd_weights_open(folder, &w), RD_EINPUT, "a folder without a model");
    check_index(folder, "{\"weight_map\": {\"a\": \"one.safetensors\", \"b\": 3}}",
                ":1: expected the name of");
    check_index(folder, "{\"weight_map\": {\"a\": \"../one.safetensors\"}}", "in this folder");
    check_index(folder, "{\"weight_map\": {\"a\": \"three.safetensors\"}}", "No such file");
    check_index(folder, "{\"weight_map\": {\n\"c\": \"one.safetensors\"}}",
                ":2: tensor 'c' is not in one.safetensors");
    check_index(folder,
                "{\"weight_map\": {\"a\": \"one.safetensors\",\n \"b\": \"one.safetensors\","
                "\n \"x\": \"two.safetensors\"}}",
                ":2: tensor 'b' is not in one.safetensors");
    check_index(folder,
                "{\"weight_map\": {\"b\": \"one.safetensors\",\n\"a\": "
                "\"again.safetensors\"}}",
                "tensor 'a' is there twice, also in ");
    check_index(folder, "{\"weight_map\": []}", "no object weight_map");
    check_index(folder, "{", index_name);
    if (rd_test_world.rank == 0)
        put_text(folder, index_name,
                 "{\"metadata\": {\"total_size\": 16}, \"weight_map\": {\"b\": "
                 "\"two.safetensors\", \"a\": \"one.safetensors\"}}");
    rd_barrier(&rd_test_world);
    is_rc(rd_weights_open(folder, &w), RD_OK, "a folder of two files opens");
    float *a = read_whole(w, rd_weights_find(w, "a")), *b = read_whole(w, rd_weights_find(w, "b"));
    ok(a[0] == 1 && a[1] == -1 && b[0] == 2 && b[1] == -2, "each tensor from its file");
    is_str(rd_meta_string(rd_weights_meta(w, "from"), 0, NULL), "two.safetensors",
           "metadata of the first file");
    ok(rd_weights_meta_at(w, 1) != NULL && rd_weights_meta_at(w, 2) == NULL, "each key once");
    rd_free(a);
    rd_free(b);
    rd_weights_close(&w);
    rd_barrier(&rd_test_world);
    if (rd_test_world.rank == 0) put_vector(folder, "model.safetensors", "a", 7);
    rd_barrier(&rd_test_world);
    is_rc(rd_weights_open(folder, &w), RD_OK, "model.safetensors comes before an index");
    is_i64(rd_weights_count(w), 1, "and is then the whole model");
    rd_weights_close(&w);
}

/* Not a model file at all, and one that shrinks while it is open. */
static void test_files(void)
{
    char path[300];
    float x[2];
    rd_weights *w = NULL;
    const rd_slab all = {0, 1, 1, 2};
    is_rc(rd_weights_open("tests/corpus/none.safetensors", &w), RD_EINPUT, "no file");
    is_rc(rd_weights_open("README.md", &w), RD_EINPUT, "another file");
    is_rc(rd_weights_open("/dev/null", &w), RD_EINPUT, "a device");
    ok(rd_weights_is("tests/corpus/good.gguf") && rd_weights_is("tests") &&
           !rd_weights_is("README.md") && !rd_weights_is("/dev/null"),
       "what looks like a model");
    snprintf(path, sizeof(path), "%s/cut.%d.safetensors", rd_test_dir(), rd_test_world.rank);
    put_vector(rd_test_dir(), strrchr(path, '/') + 1, "a", 1);
    is_rc(rd_weights_open(path, &w), RD_OK, "a file");
    is_rc(rd_weights_read(w, rd_weights_find(w, "a"), &all, x), RD_OK, "is read");
    if (truncate(path, 8) != 0) rd_die("truncate");
    const int rc = rd_weights_read(w, rd_weights_find(w, "a"), &all, x);
    ok(rc == RD_EINPUT && strstr(rd_error_get()->message, "shorter since"), "then it is cut");
    rd_error_clear();
    rd_weights_close(&w);
    if (truncate(path, 0) != 0) rd_die("truncate");
    is_rc(rd_weights_open(path, &w), RD_EINPUT, "an empty file");
    /* Nothing but a length, and holes behind it. */
    const int64_t length = 100000001;
    if (rd_file_write_atomic(path, &length, sizeof(length)) != RD_OK || truncate(path, 200000000))
        rd_die("%s", path);
    const int huge = rd_weights_open(path, &w);
    ok(huge == RD_EINPUT && strstr(rd_error_get()->message, "at most 100000000 are allowed"),
       "a huge header");
    rd_error_clear();
}

static void test_describe(void)
{
    static const char *const words[] = {"safetensors, 10.0 KiB, 0.002394 million parameters\n",
                                        "37 x 64", "Grüße", NULL};
    rd_buf json = {0};
    rd_json *doc = check_described("tests/corpus/good.safetensors", words);
    is_i64(rd_json_count(rd_json_get(rd_json_root(doc), "tensors")), 8, "with all tensors");
    is_rc(rd_weights_describe("tests/corpus/bad_gap.safetensors", true, &json), RD_EINPUT,
          "not of a broken one");
    rd_json_free(&doc);
    rd_buf_free(&json);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_good();
    test_refused();
    test_broken();
    test_folder();
    test_files();
    test_describe();
    return rd_test_end();
}
