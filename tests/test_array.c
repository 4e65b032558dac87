/* ranks: 1 2 4 */
/* HDF5 arrays: block-cyclic shares written on one grid are read on another; ragged edges, empty
 * ranks, wrong shapes, damage. */
#include "rd/io.h"
#include "rd_test.h"

static rd_comm world;
enum { ROWS = 37, COLS = 53 };

/* The elements of one dimension that process p of n owns under a block-cyclic dealing. */
static rd_slab deal(int64_t extent, int block, int p, int n)
{
    const int64_t blocks = (extent + block - 1) / block;
    return (rd_slab){.start = (int64_t)p * block,
                     .stride = (int64_t)n * block,
                     .count = blocks > p ? (blocks - p + n - 1) / n : 0,
                     .block = block};
}

static bool owns(rd_slab s, int64_t i)
{
    return s.count > 0 && i >= s.start && (i - s.start) % s.stride < s.block;
}

/* Visit this rank's elements in row-major order: fill them, or count the wrong ones. */
static int64_t visit(const rd_slab *slab, float *data, bool fill)
{
    int64_t at = 0, wrong = 0;
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t j = 0; j < COLS; j++) {
            if (!owns(slab[0], i) || !owns(slab[1], j)) continue;
            const float want = (float)(i * COLS + j);
            if (fill)
                data[at] = want;
            else
                wrong += data[at] != want;
            at++;
        }
    return fill ? at : wrong;
}

static void grid_slabs(int grid_rows, int row_block, int col_block, rd_slab slab[2])
{
    const int grid_cols = world.size / grid_rows;
    slab[0] = deal(ROWS, row_block, world.rank / grid_cols, grid_rows);
    slab[1] = deal(COLS, col_block, world.rank % grid_cols, grid_cols);
}

/* Read all of the file; how many elements are wrong, -1 when an error says so. */
static int64_t check_file(const char *path, const char *array, float *data)
{
    const int64_t dims[2] = {ROWS, COLS};
    const rd_slab whole[2] = {{0, ROWS, 1, ROWS}, {0, COLS, 1, COLS}};
    rd_store *s = NULL;
    memset(data, 0, sizeof(float) * ROWS * COLS);
    int rc = rd_store_open(&world, path, "redistill.test", 1, &s);
    if (rc == RD_OK) rc = rd_store_read_array(s, array, RD_F32, 2, dims, whole, data);
    rd_store_close(&s);
    if (rc != RD_OK) rd_error_clear();
    return rc != RD_OK ? -1 : visit(whole, data, false);
}

/* One bit of the file is wrong, at places all over it: always an error. */
static void check_flips(const char *path, float *data)
{
    enum { STRIDE = 53 }; /* prime to the sizes in the file */
    int64_t silent = 0, found = 0;
    rd_buf bytes = {0};
    is_rc(rd_file_read(path, &bytes), RD_OK, "the file's bytes");
    for (size_t i = 0; i < bytes.len; i += STRIDE) {
        bytes.data[i] ^= (char)(1 << i % 8);
        if (world.rank == 0) {
            FILE *f = fopen(path, "r+b");
            fwrite(bytes.data, 1, bytes.len, f);
            fclose(f);
        }
        rd_barrier(&world);
        const int64_t a = check_file(path, "layer.0.weight", data);
        const int64_t b = check_file(path, "moment/a", data);
        silent += a > 0 || b > 0;
        found += a < 0 || b < 0;
        bytes.data[i] ^= (char)(1 << i % 8);
        rd_barrier(&world);
    }
    is_i64(silent, 0, "no flipped bit goes unseen");
    const int64_t tries = ((int64_t)bytes.len + STRIDE - 1) / STRIDE;
    ok(found == tries, "%lld of %lld flipped bits were told of", (long long)found,
       (long long)tries);
    rd_buf_free(&bytes);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    world = rd_comm_world();
    const rd_store_info info = {.schema = "redistill.test", .version = 1};
    const int64_t dims[2] = {ROWS, COLS}, other[2] = {ROWS, COLS + 1}, no_rows[2] = {0, COLS};
    int64_t found[4];
    int rank;
    rd_store *s = NULL;
    rd_slab slab[2], bad[2], whole[2] = {{0, ROWS, 1, ROWS}, {0, COLS, 1, COLS}};
    float *data = rd_new(float, ROWS *COLS), scalar = 2.5f;
    rd_buf path = {0};
    rd_buf_printf(&path, "%s/array.h5", rd_test_dir());
    is_rc(rd_store_create(&world, path.data, &info, &s), RD_OK, "creates");
    grid_slabs(world.size > 1 ? 2 : 1, 5, 7, slab);
    visit(slab, data, true);
    is_rc(rd_store_write_array(s, "layer.0.weight", RD_F32, 2, dims, slab, data), RD_OK, "writes");
    /* Blocks so large that most ranks own nothing. */
    grid_slabs(1, 64, 64, slab);
    visit(slab, data, true);
    is_rc(rd_store_write_array(s, "moment/a", RD_F32, 2, dims, slab, data), RD_OK, "one owner");
    is_rc(rd_store_write_array(s, "loss", RD_F32, 0, NULL, NULL, &scalar), RD_OK, "a scalar");
    rd_slab none[2] = {{0, 1, 0, 1}, {0, COLS, 1, COLS}};
    is_rc(rd_store_write_array(s, "empty", RD_F32, 2, no_rows, none, data), RD_OK, "no rows");
    rd_slab mine = {world.rank, 1, 1, 1};
    const int64_t n = world.size, my_rank = world.rank;
    is_rc(rd_store_write_array(s, "state", RD_I64, 1, &n, &mine, &my_rank), RD_OK, "a vector");
    bad[0] = slab[0];
    bad[1] = (rd_slab){COLS, 1, world.rank == world.size - 1, 1};
    is_rc(rd_store_write_array(s, "bad", RD_F32, 2, dims, bad, data), RD_EINTERNAL,
          "a slab outside on one rank fails on all");
    is_rc(rd_store_commit(&s), RD_OK, "commits");

    is_rc(rd_store_open(&world, path.data, "redistill.test", 1, &s), RD_OK, "opens");
    for (int grid = 1; grid <= world.size; grid *= 2) {
        grid_slabs(grid, 3, 4, slab);
        memset(data, 0xff, sizeof(float) * ROWS * COLS);
        is_rc(rd_store_read_array(s, "layer.0.weight", RD_F32, 2, dims, slab, data), RD_OK,
              "reads");
        is_i64(visit(slab, data, false), 0, "every element in its place");
    }
    is_rc(rd_store_read_array(s, "moment/a", RD_F32, 2, dims, whole, data), RD_OK, "reads all");
    is_i64(visit(whole, data, false), 0, "every element in its place");
    is_rc(rd_store_read_array(s, "loss", RD_F32, 0, NULL, NULL, data), RD_OK, "reads the scalar");
    near_f64(data[0], 2.5, 0, "its value");
    is_rc(rd_store_array_dims(s, "layer.0.weight", 4, &rank, found), RD_OK, "shape");
    ok(rank == 2 && found[0] == ROWS && found[1] == COLS, "is right");
    is_rc(rd_store_read_array(s, "layer.0.weight", RD_F32, 2, other, whole, data), RD_EINPUT,
          "another shape");
    is_rc(rd_store_read_array(s, "empty", RD_F32, 2, no_rows, none, data), RD_OK, "reads none");
    mine.start = n;
    is_rc(rd_store_read_array(s, "state", RD_F32, 1, &n, &mine, data), RD_EINTERNAL,
          "a slab beyond the extent");
    is_rc(rd_store_array_dims(s, "absent", 4, &rank, found), RD_EINPUT, "an absent array");
    rd_store_close(&s);
    check_flips(path.data, data);
    rd_buf_free(&path);
    rd_free(data);
    return rd_test_end();
}
