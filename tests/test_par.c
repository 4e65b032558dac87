/* ranks: 1 2 3 4 */
/* Grid, collectives, shared numbers, the work queue, exchange of units, stop requests. */
#include "rd_test.h"

#include <signal.h>

static void test_grid(void)
{
    rd_grid *g;
    rd_comm w = rd_comm_world();
    is_rc(rd_grid_create(0, 1, 1, &g), RD_OK, "data = 0 takes all ranks");
    is_i64(g->data, w.size, "one replica per rank");
    is_i64(g->replicas.size, w.size, "gradients are summed over all");
    rd_grid_free(&g);
    is_rc(rd_grid_create(w.size + 1, 1, 1, &g), RD_EINPUT, "too many replicas are refused");
    is_rc(rd_grid_create(0, 1 << 16, 1 << 16, &g), RD_EINPUT, "and so is a grid beyond an int");
    if (w.size == 4) {
        is_rc(rd_grid_create(0, 2, 2, &g), RD_OK, "2 x 2");
        is_i64(g->my_row * 2 + g->my_col, w.rank, "row-major places");
        is_i64(g->over_rows.size * 10 + g->over_cols.size, 22, "row and column communicators");
        rd_grid_free(&g);
    }
}

static void test_collectives(void)
{
    rd_comm w = rd_comm_world();
    double x = w.rank + 1;
    rd_sum_f64(&w, &x, 1);
    near_f64(x, w.size * (w.size + 1) / 2.0, 0, "sum");
    is_i64(rd_exscan_i64(&w, 10), 10 * w.rank, "exclusive scan");
    rd_buf b = {0};
    if (w.rank == 0) rd_buf_puts(&b, "hello");
    rd_bcast_buf(&w, &b, 0);
    is_str(b.data, "hello", "a buffer reaches every rank");
    rd_buf_free(&b);
    char *all, mine[8];
    int64_t *sizes;
    memset(mine, 'a' + w.rank, sizeof mine);
    rd_allgather(&w, mine, w.rank, &all, &sizes);
    is_i64((int64_t)strlen(all), w.size * (w.size - 1) / 2, "unequal pieces are gathered");
    ok(w.size < 2 || all[0] == 'b', "in rank order");
    rd_free(all), rd_free(sizes);
}

static void test_gather(void)
{
    rd_comm w = rd_comm_world();
    int64_t n[8], total = 0, at = 0, wrong = 0;
    float all[64];
    for (int r = 0; r < w.size; r++) n[r] = r == 1 ? 0 : 3 * r + 2, total += n[r];
    for (int r = 0; r < w.rank; r++) at += n[r];
    for (int64_t i = 0; i < total; i++)
        all[i] = i >= at && i < at + n[w.rank] ? (float)(100 * i + 7) : -1;
    rd_gather_f32(&w, all, n);
    for (int64_t i = 0; i < total; i++) wrong += all[i] != (float)(100 * i + 7);
    is_i64(wrong, 0, "pieces of floats are gathered in place, empty ones too");
}

static void test_counter(void)
{
    rd_comm w = rd_comm_world();
    rd_counter *k;
    const int64_t start[2] = {5, 0};
    rd_counter_create(&w, 2, start, &k);
    for (int i = 0; i < 100; i++) rd_counter_add(k, 1, w.rank + 1);
    rd_counter_serve(k);
    rd_barrier(&w);
    is_i64(rd_counter_add(k, 0, 0), 5, "a shared number starts where it was told to");
    is_i64(rd_counter_add(k, 1, 0), 50 * w.size * (w.size + 1), "and holds what all ranks added");
    rd_barrier(&w);
    rd_counter_free(&k);
    ok(k == NULL, "freed");
}

static void test_queue(void)
{
    enum { N = 100 };
    rd_grid *g;
    rd_queue *q;
    uint8_t done[N] = {0};
    int64_t unit, units[N], n = 0, first, count, sum = 0;
    rd_buf blob[N], *out;
    memset(blob, 0, sizeof blob);
    rd_grid_create(0, 1, 1, &g);
    done[3] = 1;
    rd_queue_create(g, N, done, &q);
    for (;;) {
        rd_queue_next(q, &unit);
        if (unit < 0) break;
        rd_put_i64(&blob[n], unit * unit);
        units[n++] = unit;
    }
    rd_queue_free(&q);
    int64_t total = n;
    rd_sum_i64(&g->world, &total, 1);
    is_i64(total, N - 1, "every unit but the done one is handed out once");
    if (g->world.rank == g->world.size - 1) {
        rd_put_i64(&blob[n], 9);
        units[n++] = 3;
    }
    is_rc(rd_exchange_units(&g->world, N, n, units, blob, &first, &count, &out), RD_OK,
          "units are brought into order");
    int right = 1;
    for (int64_t i = 0; i < count; i++) {
        rd_cursor c = {out[i].data, out[i].len, 0};
        right &= rd_get_i64(&c, &unit) == RD_OK && unit == (first + i) * (first + i);
        rd_buf_free(&out[i]);
    }
    ok(right, "each rank holds its block");
    sum = count;
    rd_sum_i64(&g->world, &sum, 1);
    is_i64(sum, N, "the blocks cover all");
    rd_free(out);
    is_rc(rd_exchange_units(&g->world, N + 1, n, units, blob, &first, &count, &out), RD_EINTERNAL,
          "a missing unit is found");
    for (int64_t i = 0; i < n; i++) rd_buf_free(&blob[i]);

    rd_queue_create(g, N, NULL, &q);
    if (g->world.rank == 0) rd_queue_cancel(q);
    rd_barrier(&g->world);
    rd_queue_next(q, &unit);
    is_i64(unit, -1, "a cancelled queue is empty for all");
    rd_queue_free(&q);
    rd_grid_free(&g);
}

/* Rank r sends r + to floats to rank `to`, each 100 r + to; and a grid of one among many ranks. */
static void test_exchange(void)
{
    enum { MAX = 64 };
    rd_comm w = rd_comm_world();
    rd_grid *self;
    int64_t *out_n = rd_new(int64_t, w.size), *in_n = rd_new(int64_t, w.size), at = 0;
    float out[MAX], in[MAX];
    int wrong = 0;
    for (int r = 0; r < w.size; r++) {
        out_n[r] = in_n[r] = w.rank + r;
        for (int64_t i = 0; i < out_n[r]; i++) out[at++] = (float)(100 * w.rank + r);
    }
    rd_exchange_f32(&w, out, out_n, in, in_n);
    at = 0;
    for (int r = 0; r < w.size; r++)
        for (int64_t i = 0; i < in_n[r]; i++) wrong += in[at++] != (float)(100 * r + w.rank);
    is_i64(wrong, 0, "unequal pieces are exchanged");
    rd_free(out_n), rd_free(in_n);
    if (w.rank == 0 && w.size > 1) rd_send_f32(&w, (float[]){7, 8}, 2, w.size - 1);
    if (w.rank == w.size - 1 && w.size > 1) rd_receive_f32(&w, in, 2, 0);
    ok(w.size == 1 || w.rank < w.size - 1 || (in[0] == 7 && in[1] == 8), "sent and received");

    double x = w.rank;
    rd_grid_self(&self);
    rd_sum_f64(&self->world, &x, 1);
    ok(x == w.rank && self->tp.size == 1 && self->my_data == 0, "a grid of this rank alone");
    rd_grid_free(&self);
}

static void test_stop(void)
{
    rd_comm w = rd_comm_world();
    rd_stop_begin(0, NULL);
    ok(!rd_stop_agree(&w), "nobody asked to stop");
    if (w.rank == w.size - 1) raise(SIGUSR1);
    ok(rd_stop_agree(&w), "a signal on one rank stops all");
    rd_stop_begin(1e-13, NULL);
    ok(rd_stop_agree(&w), "a deadline stops all");
    rd_stop_begin(1, NULL);
    rd_stop_need(3500);
    ok(!rd_stop_agree(&w), "an hour is enough for what takes 3500 seconds");
    if (w.rank == w.size - 1) rd_stop_need(3601);
    rd_stop_need(5);
    ok(rd_stop_agree(&w), "but not for what took 3601 once on one rank");
    is_rc(rd_agree(&w, rd_stop_poll("test")), RD_ESTOP, "a poll says so on all ranks");
    rd_stop_need(0);
    ok(!rd_stop_agree(&w), "another stage begins with nothing needed");
    for (int i = 0; i < 3; i++) raise(SIGTERM);
    ok(rd_stop_agree(&w), "signals that come again do no harm");
    rd_stop_begin(0, NULL);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_grid();
    test_collectives();
    test_gather();
    test_counter();
    test_queue();
    test_exchange();
    test_stop();
    rd_comm w = rd_comm_world();
    rd_timing *rows;
    rd_barrier(&w);
    rd_clock_begin("work");
    if (w.rank == 0) usleep(50000); /* the others wait for this rank */
    rd_barrier(&w);
    rd_clock_end("work");
    if (w.rank == 0) rd_clock_begin("alone"), rd_clock_end("alone");
    is_i64(rd_clock_rows(&w, &rows), 2, "clocks of all ranks are in the table");
    double wait = 0.9 * 0.05 * (w.size - 1) / w.size;
    ok(rows[0].waited >= wait && rows[0].waited <= rows[0].avg, "time in communication: %.3f s",
       rows[0].waited);
    rd_free(rows);
    return rd_test_end();
}
