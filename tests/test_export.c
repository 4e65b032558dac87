/* ranks: 1 2 4 */
/* Writing safetensors from shares: what is read back, the files in a folder, older models, and what
 * goes wrong on one rank. */
#include "io/modelfile.h"
#include "shares.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { N = 6 };
/* Rows shorter and longer than a block, no rows, and an odd number of 16-bit numbers before 32-bit
 * ones. */
static const rd_tensor list[N] = {
    {.name = "half", .format = RD_FORMAT_F16, .rank = 2, .dims = {7, 3}},
    {.name = "embed", .format = RD_FORMAT_BF16, .rank = 2, .dims = {50, 33}},
    {.name = "norm", .format = RD_FORMAT_F32, .rank = 1, .dims = {29}},
    {.name = "layer \"0\"/ü", .format = RD_FORMAT_F32, .rank = 2, .dims = {1, 100}},
    {.name = "none", .format = RD_FORMAT_F32, .rank = 2, .dims = {0, 4}},
    {.name = "bias", .format = RD_FORMAT_F16, .rank = 1, .dims = {5}},
};

/* Number (r, c) of tensor i: exact in float16 and, rounded, in bfloat16. */
static float value_at(int64_t i, int64_t r, int64_t c)
{
    return (float)((r * 37 + c * 11 + i * 5) % 2048) / 16 - 20;
}

/* The rank's share on a P x Q grid in blocks of mb x nb, filled; out for at most a whole. */
static void fill_share(int64_t i, int64_t mb, int64_t nb, rd_slab slab[2], float *out)
{
    const rd_tensor *t = &list[i];
    int64_t dims[2], n = 0;
    const int size = rd_test_world.size, P = t->rank == 1 ? 1 : size == 4 ? 2 : size, Q = size / P;
    share_dims(t, dims);
    rd_slab share[2] = {share_of(dims[0], mb, rd_test_world.rank / Q, P),
                        share_of(dims[1], nb, rd_test_world.rank % Q, Q)};
    for (int64_t r = 0; r < dims[0]; r++)
        for (int64_t c = 0; c < dims[1]; c++)
            if (share_has(share[0], r) && share_has(share[1], c)) out[n++] = value_at(i, r, c);
    slab[0] = t->rank == 2 ? share[0] : share[1];
    slab[1] = share[1];
}

/* Everything but the commit. */
static int write_all(const char *path, int64_t limit, rd_export **e)
{
    static const char *const metadata[] = {"made by", "test_export", "format", "pt", NULL};
    int rc = RD_OK;
    float data[2048];
    rd_slab slab[2];
    RD_TRY(rd_export_create(&rd_test_world, path, limit, N, list, metadata, e));
    for (int64_t i = N - 1; i >= 0; i--) {
        fill_share(i, 3, 2 + i, slab, data);
        RD_TRY(rd_export_write(*e, i, slab, data));
    }

done:
    return rc;
}

static void check_read(const char *path)
{
    rd_weights *w = NULL;
    is_rc(rd_weights_open(path, &w), RD_OK, "opens again");
    is_i64(rd_weights_count(w), N, "all tensors are there");
    for (int64_t i = 0; i < N; i++) {
        const rd_tensor *t = rd_weights_find(w, list[i].name);
        int64_t dims[2], wrong = 0;
        if (!ok(t != NULL && t->format == list[i].format && t->rank == list[i].rank, "%s",
                list[i].name))
            continue;
        share_dims(t, dims);
        float *x = read_whole(w, t);
        for (int64_t k = 0; k < dims[0] * dims[1]; k++) {
            float want = value_at(i, k / dims[1], k % dims[1]);
            if (t->format == RD_FORMAT_BF16) want = rd_f32_from_bf16(rd_bf16_from_f32(want));
            wrong += x[k] != want;
        }
        ok(wrong == 0 && (uintptr_t)t->data % (t->format == RD_FORMAT_F32 ? 4 : 2) == 0,
           "its numbers, aligned");
        rd_free(x);
    }
    is_str(rd_meta_string(rd_weights_meta(w, "made by"), 0, NULL), "test_export", "metadata");
    is_str(rd_meta_string(rd_weights_meta(w, "format"), 0, NULL), "pt", "and the format");
    rd_weights_close(&w);
    rd_barrier(&rd_test_world);
}

static bool in_folder(const char *folder, const char *name)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return rd_file_exists(path);
}

/* No temporary file is left: nothing else ends so. */
static bool is_clean(const char *folder)
{
    char command[400];
    rd_barrier(&rd_test_world);
    snprintf(command, sizeof(command), "ls -R '%s' | grep -q '\\.tmp$'", folder);
    const bool clean = system(command) != 0;
    rd_barrier(&rd_test_world);
    return clean;
}

static void test_file(void)
{
    char path[300];
    rd_export *e = NULL;
    snprintf(path, sizeof(path), "%s/one.safetensors", rd_test_dir());
    is_rc(write_all(path, 100, &e), RD_OK, "a file is written from shares");
    ok(!rd_file_exists(path), "and not there yet");
    is_rc(rd_export_commit(&e), RD_OK, "committed");
    ok(e == NULL, "and closed");
    check_read(path);
    is_rc(write_all(path, 0, &e), RD_OK, "written again");
    is_rc(rd_export_commit(&e), RD_OK, "over the old one");
    check_read(path);
    ok(is_clean(rd_test_dir()), "nothing is left behind");
}

static void test_folder(void)
{
    char folder[300];
    rd_export *e = NULL;
    snprintf(folder, sizeof(folder), "%s/model", rd_test_dir());
    is_rc(write_all(folder, 0, &e), RD_OK, "a folder, one file");
    is_rc(rd_export_commit(&e), RD_OK, "committed");
    ok(in_folder(folder, RD_MODEL_SINGLE) && !in_folder(folder, RD_MODEL_INDEX),
       "without an index");
    check_read(folder);

    /* 42 bytes, then one of 3300 that no limit can cut, then the rest. */
    is_rc(write_all(folder, 800, &e), RD_OK, "the folder again, in pieces");
    ok(!in_folder(folder, RD_MODEL_INDEX), "the old model stands");
    check_read(folder);
    is_rc(rd_export_commit(&e), RD_OK, "committed");
    ok(in_folder(folder, "model-00001-of-00003.safetensors") &&
           in_folder(folder, "model-00003-of-00003.safetensors") &&
           in_folder(folder, RD_MODEL_INDEX) && !in_folder(folder, RD_MODEL_SINGLE),
       "three files and an index, the single one gone");
    check_read(folder);

    is_rc(write_all(folder, 1 << 20, &e), RD_OK, "and in one file");
    is_rc(rd_export_commit(&e), RD_OK, "committed");
    ok(in_folder(folder, RD_MODEL_SINGLE) && !in_folder(folder, RD_MODEL_INDEX),
       "the index is gone");
    check_read(folder);
    ok(is_clean(rd_test_dir()), "nothing is left behind");
}

static void test_index(void)
{
    char path[400];
    rd_export *e = NULL;
    rd_json *doc = NULL;
    snprintf(path, sizeof(path), "%s/sharded", rd_test_dir());
    is_rc(write_all(path, 800, &e), RD_OK, "three files");
    is_rc(rd_export_commit(&e), RD_OK, "committed");
    snprintf(path, sizeof(path), "%s/sharded/" RD_MODEL_INDEX, rd_test_dir());
    is_rc(rd_json_read(path, &doc), RD_OK, "the index");
    const rd_json_node *root = rd_json_root(doc), *map = rd_json_get(root, "weight_map");
    is_i64(rd_json_int(rd_json_get(rd_json_get(root, "metadata"), "total_size")),
           7 * 3 * 2 + 50 * 33 * 2 + 29 * 4 + 400 + 5 * 2, "total_size");
    is_i64(rd_json_count(map), N, "names all tensors");
    is_str(rd_json_string(rd_json_get(map, "bias")), "model-00003-of-00003.safetensors",
           "with their files");
    rd_json_free(&doc);
}

/* Slabs that do not make up the tensor; tensors left out or written twice. */
static void test_misuse(void)
{
    char path[300];
    float data[2048] = {0};
    rd_slab slab[2];
    rd_export *e = NULL;
    const bool last = rd_test_world.rank == rd_test_world.size - 1;
    snprintf(path, sizeof(path), "%s/misuse.safetensors", rd_test_dir());
    is_rc(rd_export_create(&rd_test_world, path, 0, N, list, NULL, &e), RD_OK, "created");
    fill_share(0, 2, 2, slab, data);
    if (last) slab[0].count--;
    is_rc(rd_export_write(e, 0, slab, data), RD_EINTERNAL, "too few numbers");
    fill_share(1, 2, 2, slab, data);
    if (last) slab[0].start += 50;
    is_rc(rd_export_write(e, 1, slab, data), RD_EINTERNAL, "a slab outside");
    fill_share(2, 2, 2, slab, data);
    is_rc(rd_export_write(e, 2, slab, data), RD_OK, "a good one");
    is_rc(rd_export_write(e, 2, slab, data), RD_EINTERNAL, "once only");
    is_rc(rd_export_commit(&e), RD_EINTERNAL, "tensors are missing");
    ok(e == NULL && !rd_file_exists(path) && is_clean(rd_test_dir()), "nothing is left");
    rd_tensor bad[2] = {list[0], list[0]};
    is_rc(rd_export_create(&rd_test_world, path, 0, 2, bad, NULL, &e), RD_EINTERNAL,
          "a name twice");
    bad[1].name = "other";
    bad[1].format = RD_FORMAT_Q8_0;
    is_rc(rd_export_create(&rd_test_world, path, 0, 2, bad, NULL, &e), RD_EINTERNAL, "blocks");
    ok(e == NULL && is_clean(rd_test_dir()), "nothing is left");
}

static void test_faults(void)
{
    char path[300], spec[32];
    rd_export *e = NULL;
    snprintf(path, sizeof(path), "%s/model", rd_test_dir());
    is_rc(write_all(path, 800, &e), RD_OK, "over a model");
    snprintf(spec, sizeof(spec), "export:%d", rd_test_world.size - 1);
    is_rc(rd_fault_arm(spec), RD_OK, "a fault on the last rank");
    is_rc(rd_export_commit(&e), RD_EFAULT, "every rank hears of it");
    ok(is_clean(rd_test_dir()), "nothing is left");
    check_read(path);
    is_rc(write_all(path, 800, &e), RD_OK, "over a model");
    rd_export_close(&e);
    ok(e == NULL && is_clean(rd_test_dir()), "closed without commit: nothing is left");
    check_read(path);

    /* The rank that owns the first file cannot make it so large. */
    struct rlimit old, limit;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = 1000;
    if (rd_test_world.rank == 0) setrlimit(RLIMIT_FSIZE, &limit);
    is_rc(rd_export_create(&rd_test_world, path, 0, N, list, NULL, &e), RD_EIO, "no room");
    if (rd_test_world.rank == 0) setrlimit(RLIMIT_FSIZE, &old);
    ok(e == NULL && is_clean(rd_test_dir()), "nothing is left");
    snprintf(path, sizeof(path), "%s/nowhere/one.safetensors", rd_test_dir());
    is_rc(rd_export_create(&rd_test_world, path, 0, N, list, NULL, &e), RD_EIO, "no directory");
}

/* More than a piece, so that rows go in several. */
static void test_large(void)
{
    enum { R = 5000, C = 2100 };
    const rd_tensor big = {.name = "w", .format = RD_FORMAT_F32, .rank = 2, .dims = {R, C}};
    char path[300];
    rd_export *e = NULL;
    rd_weights *w = NULL;
    const int P = rd_test_world.size;
    const rd_slab slab[2] = {share_of(R, 64, rd_test_world.rank, P), share_of(C, C, 0, 1)};
    float *x = rd_new(float, rd_slab_below(slab[0], R, R) * C);
    int64_t n = 0, wrong = 0;
    for (int64_t i = 0; i < (int64_t)R * C; i++)
        if (share_has(slab[0], i / C)) x[n++] = (float)i;
    snprintf(path, sizeof(path), "%s/large.safetensors", rd_test_dir());
    is_rc(rd_export_create(&rd_test_world, path, 0, 1, &big, NULL, &e), RD_OK, "a larger one");
    is_rc(rd_export_write(e, 0, slab, x), RD_OK, "written");
    is_rc(rd_export_commit(&e), RD_OK, "committed");
    is_rc(rd_weights_open(path, &w), RD_OK, "opens");
    rd_free(x);
    x = read_whole(w, rd_weights_find(w, "w"));
    for (int64_t i = 0; i < (int64_t)R * C; i++) wrong += x[i] != (float)i;
    is_i64(wrong, 0, "every number");
    rd_free(x);
    rd_weights_close(&w);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_file();
    test_folder();
    test_index();
    test_misuse();
    test_faults();
    test_large();
    return rd_test_end();
}
