/* ranks: 1 2 3 */
/* The checksum of a file: a flipped bit anywhere, a cut anywhere, is an error on every rank. */
#include "rd/io.h"
#include "rd_test.h"
#include <fcntl.h>
#include <hdf5.h>

static rd_comm world;
static const rd_store_info info = {
    .schema = "redistill.test", .version = 1, .config = "{\"a\": 1}"};

/* A file with all that a file can hold: columns, text, a checked array, attributes.  n > 2^20 makes
 * it longer than one block of the seal. */
static int write_file(const char *path, int64_t n)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    rd_pool p = {0};
    int64_t base, dims[1] = {n}, first = n * world.rank / world.size;
    const int64_t mine = n * (world.rank + 1) / world.size - first;
    rd_slab slab[1] = {{first, mine, mine > 0, mine}};
    float *x = rd_new(float, mine);
    int64_t *id = rd_new(int64_t, mine);
    for (int64_t i = 0; i < mine; i++) {
        x[i] = (float)rd_hash(&(int64_t){first + i}, sizeof(int64_t), 0);
        id[i] = first + i;
    }
    rd_pool_add(&p, "some text");
    RD_TRY(rd_store_create(&world, path, &info, &s));
    RD_TRY(rd_store_write_pool(s, &p, &base));
    RD_TRY(rd_store_write(s, "t/id", RD_I64, id, mine));
    RD_TRY(rd_store_write_array(s, "weights/w", RD_F32, 1, dims, slab, x));
    RD_TRY(rd_store_set_i64(s, "", "step", 1234567));
    RD_TRY(rd_store_commit(&s));

done:
    rd_store_close(&s);
    rd_pool_free(&p);
    rd_free(x);
    rd_free(id);
    return rc;
}

static int try_open(const char *path)
{
    rd_store *s = NULL;
    const int rc = rd_store_open(&world, path, "redistill.test", 1, &s);
    rd_store_close(&s);
    return rc;
}

/* Flip one bit of the file, on rank 0. */
static void flip(const char *path, int64_t at, int bit)
{
    unsigned char c;
    rd_barrier(&world);
    if (world.rank == 0) {
        int fd = open(path, O_RDWR);
        RD_ASSERT(pread(fd, &c, 1, at) == 1);
        c ^= (unsigned char)(1 << bit);
        RD_ASSERT(pwrite(fd, &c, 1, at) == 1);
        close(fd);
    }
    rd_barrier(&world);
}

/* Every byte of the front, where superblock, root group and attributes lie, then random ones. */
static void test_flips(const char *path)
{
    const int64_t size = rd_test_file_size(path);
    rd_rng r = rd_rng_make(7, "flips", 0, 0);
    int64_t missed = 0, tried = 0;
    rd_log_quiet(true);
    for (int64_t i = 0; i < 300; i++) {
        const int64_t at = i < 100 ? rd_rng_below(&r, 512) : rd_rng_below(&r, size);
        const int bit = (int)rd_rng_below(&r, 8);
        flip(path, at, bit);
        missed += try_open(path) != RD_EINPUT;
        rd_error_clear();
        flip(path, at, bit);
        tried++;
    }
    ok(missed == 0, "%lld flipped bits are all found, %lld not", (long long)tried,
       (long long)missed);
    is_rc(try_open(path), RD_OK, "and without them the file opens");
}

static void test_cuts(const char *path)
{
    const int64_t size = rd_test_file_size(path),
                  cuts[] = {0, 1, 511, 512, 513, size / 2, size - 1};
    char *cut = rd_test_path("cut.h5");
    rd_buf b = {0};
    rd_file_read(path, &b);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        rd_barrier(&world);
        if (world.rank == 0) rd_file_write_atomic(cut, b.data, (size_t)cuts[i]);
        rd_barrier(&world);
        is_rc(try_open(cut), RD_EINPUT, "a file cut short");
    }
    rd_buf_putc(&b, 'x');
    rd_barrier(&world);
    if (world.rank == 0) rd_file_write_atomic(cut, b.data, b.len);
    rd_barrier(&world);
    is_rc(try_open(cut), RD_EINPUT, "a file with a byte more");
    rd_buf_free(&b);
    rd_free(cut);
}

/* The same bytes at other numbers of ranks: a file's seal must not depend on who computed it. */
static void test_alone(const char *path)
{
    rd_store *s = NULL;
    const rd_comm self = rd_comm_self();
    is_rc(rd_store_open(&self, path, "redistill.test", 1, &s), RD_OK, "each rank alone agrees");
    rd_store_close(&s);
}

/* HDF5 and others step over the seal; a file without one is none of ours. */
static void test_others(const char *path)
{
    char *foreign = rd_test_path("foreign.h5");
    rd_buf text = {0};
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    ok(file >= 0, "HDF5 opens a sealed file as it is");
    H5Fclose(file);
    if (world.rank == 0) H5Fclose(H5Fcreate(foreign, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
    rd_barrier(&world);
    int rc = try_open(foreign);
    ok(rc == RD_EINPUT && strstr(rd_error_get()->message, "checksum"), "a file without a seal: %s",
       rd_error_get()->message);
    rd_error_clear();
    is_rc(rd_store_describe(foreign, true, &text), RD_OK, "is described all the same");
    ok(strstr(text.data, "\"checksum\": false") || strstr(text.data, "\"checksum\":false"),
       "as one without a checksum");
    rd_buf_free(&text);
    rd_free(foreign);
}

static void test_speed(void)
{
    const int64_t n = (int64_t)64 << 20;
    char *x = rd_new(char, n);
    memset(x, 5, (size_t)n);
    double start = rd_time();
    const uint32_t crc = rd_crc32(x, (size_t)n, 0);
    double seconds = rd_time() - start;
    uint32_t parts = 0;
    for (int64_t i = 0; i < n; i += 4099)
        parts = rd_crc32(x + i, (size_t)(n - i < 4099 ? n - i : 4099), parts);
    diag("checksum: %.2f GB/s per rank", (double)n / seconds / 1e9);
    is_i64(crc, parts, "long and short texts have the same CRC-32");
    rd_free(x);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    world = rd_comm_world();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    char *small = rd_test_path("small.h5"), *large = rd_test_path("large.h5");
    is_rc(write_file(small, 1000), RD_OK, "writes");
    is_rc(write_file(large, 3 << 20), RD_OK, "writes a file of several blocks");
    is_rc(try_open(small), RD_OK, "opens");
    is_rc(try_open(large), RD_OK, "opens the large one");
    test_flips(small);
    flip(large, rd_test_file_size(large) - 1000, 3);
    is_rc(try_open(large), RD_EINPUT, "a flip in the last block");
    flip(large, rd_test_file_size(large) - 1000, 3);
    test_cuts(small);
    test_alone(large);
    test_others(small);
    test_speed();
    rd_free(small);
    rd_free(large);
    return rd_test_end();
}
