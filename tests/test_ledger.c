/* ranks: 1 2 4 */
/* The ledger: records are found by every rank, survive kills and damage, and any number of ranks
 * takes over from any other. */
#include "rd/io.h"
#include "rd_test.h"

#include <fcntl.h>

enum { RECORDS = 60 };

static rd_comm world, self;
static char dir[300];

static rd_ledger_key key_of(int64_t i)
{
    return (rd_ledger_key){rd_hash(&i, sizeof i, 1) % 8, (uint64_t)i}; /* many share a slot */
}

static void text_of(int64_t i, rd_buf *b)
{
    rd_buf_clear(b);
    rd_buf_printf(b, "answer %lld ", (long long)i);
    for (int64_t k = 0; k < i; k++) rd_buf_putc(b, (char)('a' + k % 26));
}

/* Are exactly the records wanted found, with their bytes? */
static bool holds(rd_ledger *l, const uint8_t *want)
{
    rd_buf text = {0}, got = {0};
    bool good = l != NULL, found;
    for (int64_t i = 0; good && i < RECORDS; i++) {
        text_of(i, &text);
        good = rd_ledger_find(l, key_of(i), &found, &got) == RD_OK && found == want[i] &&
               (!found || (got.len == text.len && memcmp(got.data, text.data, got.len) == 0));
    }
    rd_buf_free(&text);
    rd_buf_free(&got);
    return good;
}

static rd_ledger *expect(const rd_comm *c, const uint8_t *want, const char *what)
{
    rd_ledger *l = NULL;
    int64_t records = 0, amount = 0, want_records = 0, want_amount = 0;
    int rc = rd_ledger_open(c, dir, "calls", &l);
    bool good = holds(l, want);
    for (int64_t i = 0; i < RECORDS; i++) want_records += want[i], want_amount += want[i] * i;
    if (l) rd_ledger_totals(l, &records, &amount);
    ok(rc == RD_OK && good && records == want_records && amount == want_amount, "%s", what);
    return l;
}

static int append(rd_ledger *l, int64_t i)
{
    rd_buf b = {0};
    text_of(i, &b);
    int rc = rd_ledger_append(l, key_of(i), i, &b);
    rd_buf_free(&b);
    return rc;
}

static void file_of(int rank, char out[400])
{
    snprintf(out, 400, "%s/calls.%d.ledger", dir, rank);
}

static int64_t size_of(int rank)
{
    char name[400];
    file_of(rank, name);
    return rd_test_file_size(name);
}

static void test_damage(uint8_t *want)
{
    char name[400], byte = 0;
    const int last = world.size - 1;
    int64_t start, middle, end;
    rd_ledger *l = expect(&world, want, "before the damage");
    start = size_of(last);
    rd_barrier(&world);
    if (world.rank == last) append(l, 50);
    rd_barrier(&world);
    middle = size_of(last);
    rd_barrier(&world);
    if (world.rank == last) append(l, 51), append(l, 52);
    rd_ledger_close(&l);
    rd_barrier(&world);
    end = size_of(last);
    file_of(last, name);
    rd_barrier(&world);
    if (world.rank == last) { /* one record damaged inside, the last one torn */
        int fd = open(name, O_RDWR);
        if (pread(fd, &byte, 1, start + 60) != 1) diag("cannot read");
        byte ^= 1;
        if (pwrite(fd, &byte, 1, start + 60) != 1) diag("cannot write");
        if (ftruncate(fd, end - 3) != 0) diag("cannot cut");
        close(fd);
    }
    rd_barrier(&world);
    want[51] = 1;
    l = expect(&world, want,
               "a damaged record is lost, those behind it are not, a torn one is cut");
    ok(size_of(last) > middle && size_of(last) < end, "up to the last whole record");
    rd_barrier(&world);
    if (world.rank == last) append(l, 50), append(l, 52);
    want[50] = want[52] = 1;
    rd_ledger_close(&l);
    rd_barrier(&world);
    l = expect(&world, want, "both are written anew");
    rd_ledger_close(&l);
    rd_barrier(&world);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    world = rd_comm_world(), self = rd_comm_self();
    uint8_t want[RECORDS] = {0};
    snprintf(dir, sizeof dir, "%s/made/on/the/way", rd_test_dir());
    rd_ledger *l = expect(&world, want, "an empty ledger");
    rd_buf got = {0};
    bool found;
    for (int64_t i = world.rank; i < 40; i += world.size) append(l, i);
    for (int64_t i = 0; i < 40; i++) want[i] = 1;
    is_rc(rd_ledger_find(l, key_of(world.rank), &found, &got), RD_OK, "find");
    ok(found && got.len > 0, "own records are found at once");
    is_rc(rd_ledger_sync(l), RD_OK, "sync");
    rd_barrier(&world);
    rd_ledger_close(&l);
    rd_barrier(&world);
    l = expect(&world, want, "every rank finds the records of all");
    int64_t before = size_of(world.rank);
    if (world.rank == 0) append(l, 40);
    want[40] = 1;
    rd_ledger_close(&l);
    rd_barrier(&world);
    l = expect(&world, want, "appended behind what was there");
    ok(world.rank != 0 || size_of(0) > before, "in its own file");
    rd_ledger_close(&l);
    rd_barrier(&world);
    if (world.rank == 0) { /* the other ranks' files are read, and only file 0 is written */
        uint8_t mine[RECORDS];
        rd_ledger *alone = NULL;
        memcpy(mine, want, sizeof mine);
        found = rd_ledger_open(&self, dir, "calls", &alone) == RD_OK && holds(alone, mine);
        if (alone) append(alone, 41);
        rd_ledger_close(&alone);
    }
    ok(world.rank != 0 || found, "one rank takes over from all");
    want[41] = 1;
    rd_barrier(&world);
    l = expect(&world, want, "and all from one");
    rd_ledger_close(&l);
    rd_barrier(&world);
    test_damage(want);
    rd_buf_free(&got);
    return rd_test_end();
}
