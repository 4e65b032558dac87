/* ranks: 1 2 4 */
/* The journal: units survive a kill, torn tails and foreign files are dropped, any number of ranks
 * takes over from any other. */
#include "rd/io.h"
#include "rd_test.h"

static rd_comm world;
static char dir[300];
enum { UNITS = 50, KEY = 77 };

static void unit_text(int64_t unit, rd_buf *b)
{
    rd_buf_clear(b);
    rd_buf_printf(b, "unit %lld ", (long long)unit);
    for (int64_t i = 0; i < unit; i++) rd_buf_putc(b, (char)('a' + i % 26));
}

/* Open, check that exactly the units of want are there once with the right bytes. */
static rd_journal *expect(const rd_comm *c, uint64_t key, const uint8_t *want, const char *what)
{
    uint8_t done[UNITS];
    const int64_t *units;
    const rd_buf *records;
    rd_buf text = {0};
    rd_journal *j = NULL;
    int64_t seen[UNITS] = {0};
    bool good = rd_journal_open(c, dir, "augment", key, UNITS, done, &j) == RD_OK;
    const int64_t n = good ? rd_journal_records(j, &units, &records) : 0;
    for (int64_t i = 0; i < n; i++) {
        unit_text(units[i], &text);
        seen[units[i]]++;
        good =
            good && records[i].len == text.len && memcmp(records[i].data, text.data, text.len) == 0;
    }
    rd_sum_i64(c, seen, UNITS);
    for (int64_t u = 0; u < UNITS; u++) good = good && seen[u] == want[u] && done[u] == want[u];
    ok(good, "%s", what);
    rd_buf_free(&text);
    return j;
}

static void append(rd_journal *j, int64_t unit, uint8_t *want)
{
    rd_buf b = {0};
    unit_text(unit, &b);
    if (j != NULL) rd_journal_append(j, unit, &b);
    want[unit] = 1;
    rd_buf_free(&b);
}

static void file_of(int rank, char out[400])
{
    snprintf(out, 400, "%s/augment.%d.journal", dir, rank);
}

static int64_t size_of(int rank)
{
    char name[400];
    file_of(rank, name);
    return rd_test_file_size(name);
}

/* Damage that a kill or a full disk leaves; on the last rank's file. */
static void test_torn(uint8_t *want)
{
    char name[400];
    const int last = world.size - 1;
    file_of(last, name);
    rd_journal *j = expect(&world, KEY, want, "before the damage");
    const int64_t whole = size_of(last);
    rd_barrier(&world);
    append(world.rank == last ? j : NULL, 49, want);
    rd_journal_close(&j);
    want[49] = 0;
    rd_barrier(&world);
    if (world.rank == last && truncate(name, size_of(last) - 3) != 0) diag("truncate failed");
    rd_barrier(&world);
    j = expect(&world, KEY, want, "a torn record is dropped");
    ok(size_of(last) == whole, "and cut off");
    append(world.rank == last ? j : NULL, 49, want);
    rd_journal_close(&j);
    rd_barrier(&world);
    j = expect(&world, KEY, want, "the file goes on behind it");
    rd_journal_close(&j);
    rd_barrier(&world);
    if (world.rank == last) { /* one bit of the last record */
        FILE *f = fopen(name, "r+b");
        fseek(f, -2, SEEK_END);
        fputc(1, f);
        fclose(f);
    }
    want[49] = 0;
    rd_barrier(&world);
    j = expect(&world, KEY, want, "a record with a wrong checksum is dropped");
    rd_journal_close(&j);
}

/* What all ranks wrote is taken over by rank 0 alone, and back. */
static void test_other_ranks(uint8_t *want)
{
    const rd_comm self = rd_comm_self();
    rd_journal *j = NULL;
    bool good = true;
    rd_barrier(&world);
    if (world.rank == 0) {
        uint8_t done[UNITS];
        good = rd_journal_open(&self, dir, "augment", KEY, UNITS, done, &j) == RD_OK;
        good = good && memcmp(done, want, UNITS) == 0;
        append(j, 48, want);
        append(j, 0, want); /* also in another file when there are several ranks */
        rd_journal_close(&j);
    }
    want[48] = 1;
    rd_barrier(&world);
    ok(good, "one rank reads the files of all");
    j = expect(&world, KEY, want, "all ranks read the files of one; repeats count once");
    rd_journal_close(&j);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    world = rd_comm_world();
    uint8_t want[UNITS] = {0};
    snprintf(dir, sizeof(dir), "%s/journal/deep", rd_test_dir());
    rd_journal *j = expect(&world, KEY, want, "an empty journal");
    for (int64_t u = 0; u < 40; u++)
        append((world.size - 1 - u % world.size) == world.rank ? j : NULL, u, want);
    const int64_t *units;
    const rd_buf *records;
    int64_t n = rd_journal_records(j, &units, &records);
    rd_sum_i64(&world, &n, 1);
    is_i64(n, 40, "appended records are held too");
    rd_journal_close(&j);
    rd_barrier(&world);
    j = expect(&world, KEY, want, "everything is back");
    rd_journal_close(&j);
    test_torn(want);
    test_other_ranks(want);

    uint8_t none[UNITS] = {0};
    rd_barrier(&world);
    j = expect(&world, KEY + 1, none, "another key starts anew");
    rd_journal_close(&j);
    is_rc(rd_journal_remove(&world, dir, "augment"), RD_OK, "removes");
    ok(size_of(world.rank) < 0, "no file is left");
    is_rc(rd_journal_remove(&world, dir, "augment"), RD_OK, "nothing to remove");
    uint8_t done[UNITS];
    is_rc(rd_journal_open(&world, "/proc/none", "augment", KEY, UNITS, done, &j), RD_EIO,
          "a directory that cannot be made");
    ok(j == NULL, "no handle");
    return rd_test_end();
}
