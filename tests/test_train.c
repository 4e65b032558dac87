/* ranks: 1 2 4 */
/* Whole runs: learning, equality over ranks and micro-batches, stopping and going on, failures. */
#include "rd_test.h"
#include "train_data.h"

static rd_grid *grid, *alone;
static rd_tok *tok;
static rd_chat *chat;
static char datasets[300];

/* DIR/name, empty. */
static const char *run_dir(const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", rd_test_dir(), name);
    if (rd_test_world.rank == 0) rd_dir_make(path);
    rd_barrier(&rd_test_world);
    return path;
}

/* Trained from the same start; the model is the caller's. */
static int run(const rd_grid *g, const rd_train_opts *o, bool orpo, rd_model **model,
               rd_train_report *report)
{
    *model = data_model(g, tok);
    return orpo ? rd_train_orpo(g, *model, chat, datasets, o, report)
                : rd_train_sft(g, *model, chat, datasets, o, report);
}

static double distance(const rd_model *a, const rd_model *b)
{
    double d = 0;
    for (int64_t i = 0; i < a->base.storage; i++)
        d = fmax(d, fabs((double)a->base.weights[i] - (double)b->base.weights[i]));
    return d;
}

/* A column of a stage's table. */
static double *column(const char *dir, const char *name, int64_t *n)
{
    rd_store *s;
    rd_comm self = rd_comm_self();
    char path[400];
    *n = 0;
    snprintf(path, sizeof path, "%s/metrics.h5", dir);
    if (rd_store_open(&self, path, "redistill.metrics", 1, &s) != RD_OK) return NULL;
    rd_store_rows(s, name, n);
    double *x = rd_new(double, *n);
    rd_store_read(s, name, RD_F64, 0, *n, x);
    rd_store_close(&s);
    return x;
}

static void test_learning(void)
{
    rd_model *a, *b, *c;
    rd_train_report r, s;
    char dir[300];
    snprintf(dir, sizeof dir, "%s", run_dir("first"));
    rd_train_opts o = data_options(dir);
    o.epochs = 20;
    is_rc(run(grid, &o, false, &a, &r), RD_OK, "SFT");
    is_i64(r.empty, 1, "one row without a response");
    is_i64(r.over_long, 1, "one row over max_len");
    ok(r.last_loss < 0.2 * r.first_loss, "it learns (%.3f to %.3f in %d steps)", r.first_loss,
       r.last_loss, (int)r.steps);
    ok(r.steps > 60 && r.rows >= 20 * 230 && r.tokens >= 256 * (r.steps - 1), "counts");

    int64_t n, m;
    double *loss = column(dir, "sft/loss", &n), *tokens = column(dir, "sft/tokens", &m);
    ok(n > 0 && n == r.steps && m == n && tokens[n - 1] == (double)r.tokens,
       "one row of metrics per step");

    /* Twice the same. */
    o.dir = run_dir("second");
    is_rc(run(grid, &o, false, &b, &s), RD_OK, "SFT again");
    double *again = column(o.dir, "sft/loss", &m);
    ok(same_weights(a, b) && m == n && memcmp(loss, again, (size_t)n * sizeof *loss) == 0,
       "twice the same is the same, bit by bit");
    rd_free(again);

    /* One rank alone, each rank for itself in its own directory. */
    char name[32];
    snprintf(name, sizeof name, "alone-%d", rd_test_world.rank);
    char path[400];
    snprintf(path, sizeof path, "%s/%s", rd_test_dir(), name);
    rd_dir_make(path);
    o.dir = path;
    is_rc(run(alone, &o, false, &c, &s), RD_OK, "SFT on one rank");
    again = column(o.dir, "sft/loss", &m);
    double worst = 0;
    for (int64_t i = 0; i < n && i < m; i++) worst = fmax(worst, fabs(loss[i] / again[i] - 1));
    ok(n == m && worst < 1e-4, "losses on %d ranks as on one (%.1e)", grid->data, worst);
    ok(same_weights(a, c), "and the same bits of the weights");

    /* Finished: the same command loads what is there. */
    o.dir = dir;
    rd_model_free(&b);
    is_rc(run(grid, &o, false, &b, &s), RD_OK, "the finished stage");
    ok(s.was_done && same_weights(a, b) && s.steps == r.steps && s.last_loss == r.last_loss,
       "is found finished");
    snprintf(path, sizeof path, "%s/checkpoints/sft-final.h5", dir);
    rd_model_config cfg;
    is_rc(rd_checkpoint_config(grid, path, &cfg), RD_OK, "the checkpoint's model");
    is_i64(cfg.width, 32, "its width");
    rd_model_init(b, 9);
    is_rc(rd_checkpoint_load_weights(grid, path, o.key + 1, b), RD_EINPUT,
          "weights of another run are refused");
    rd_error_clear();
    is_rc(rd_checkpoint_load_weights(grid, path, o.key, b), RD_OK, "its weights");
    ok(same_weights(a, b), "are those of the run");
    rd_free(loss), rd_free(again), rd_free(tokens);
    rd_model_free(&a), rd_model_free(&b), rd_model_free(&c);
}

static void test_micro_batches(bool orpo)
{
    rd_model *a, *b;
    rd_train_report r;
    rd_train_opts o = data_options(run_dir(orpo ? "micro-orpo-a" : "micro-a"));
    o.tokens = 256; /* one step */
    o.optim.kind = "adamw";
    o.optim.clip = 0;
    o.optim.beta1 = o.optim.beta2 = 0; /* the step's direction is the gradient's sign ... */
    o.optim.eps = 10;                  /* ... or, with a large epsilon, the gradient itself */
    o.optim.lr = 10;
    o.optim.weight_decay = 0;
    o.rehearsal = orpo ? 0.3 : 0;
    is_rc(run(grid, &o, orpo, &a, &r), RD_OK, "large micro-batches");
    o.dir = run_dir(orpo ? "micro-orpo-b" : "micro-b");
    o.micro_tokens = 1; /* one row or pair each */
    is_rc(run(grid, &o, orpo, &b, &r), RD_OK, "small micro-batches");
    ok(distance(a, b) < 2e-6 && !same_weights(a, b), "the gradient does not depend on them (%.1e)",
       distance(a, b));
    rd_model_free(&a), rd_model_free(&b);
}

static void test_orpo(void)
{
    rd_model *a, *b;
    rd_train_report r;
    int64_t n;
    char dir[300];
    snprintf(dir, sizeof dir, "%s", run_dir("orpo"));
    rd_train_opts o = data_options(dir);
    is_rc(run(grid, &o, false, &a, &r), RD_OK, "SFT");
    o.stage = "align";
    o.epochs = 10;
    double *acc;
    is_rc(rd_train_orpo(grid, a, chat, datasets, &o, &r), RD_OK, "ORPO");
    is_i64(r.pairs, 10 * DATA_PAIRS, "ten epochs of pairs");
    acc = column(dir, "align/accuracy", &n);
    double first = 0, last = 0; /* four steps at each end, the very last holds what is left */
    for (int64_t i = 0; i < 4 && n > 8; i++) {
        first += acc[i] / 4;
        last += acc[n - 2 - i] / 4;
    }
    ok(n == r.steps && last > 0.9 && last > first, "pairs get ordered (%.2f to %.2f)", first, last);
    rd_free(acc);
    acc = column(dir, "sft/loss", &n);
    ok(n > 3, "the metrics of SFT are still there");
    rd_free(acc);
    int64_t sft_steps = n, m;
    o.epochs = 1;
    o.key = 99;
    is_rc(rd_train_orpo(grid, a, chat, datasets, &o, &r), RD_OK, "ORPO anew, with another key");
    acc = column(dir, "align/loss", &n);
    rd_free(acc);
    acc = column(dir, "sft/loss", &m);
    ok(n == r.steps && m == sft_steps, "takes the place of the old metrics, SFT's stay");
    rd_free(acc);
    o.variant = RD_ORPO_FULL;
    o.dir = run_dir("orpo-full");
    is_rc(run(grid, &o, true, &b, &r), RD_OK, "ORPO, full variant");
    ok(r.last_loss < r.first_loss, "its loss falls (%.3f to %.3f)", r.first_loss, r.last_loss);
    rd_model_free(&a), rd_model_free(&b);
}

/* Stop by the stop file, go on, and compare with the run that was not stopped.  Only the last rank
 * looks for the request: all must stop. */
static void test_stopping(void)
{
    rd_model *whole, *part;
    rd_train_report r, s;
    char dir[300], file[330];
    rd_train_opts o = data_options(run_dir("whole"));
    o.branch_at = 0.5;
    is_rc(run(grid, &o, false, &whole, &r), RD_OK, "a run in one go");
    snprintf(dir, sizeof dir, "%s", run_dir("parts"));
    snprintf(file, sizeof file, "%s/stop", dir);
    o.dir = dir;
    o.checkpoint_every = 3;
    bool looks = rd_test_world.rank == rd_test_world.size - 1;
    if (rd_test_world.rank == 0) rd_file_write_atomic(file, "", 0);
    rd_barrier(&rd_test_world);
    rd_stop_begin(0, looks ? file : NULL);
    is_rc(run(grid, &o, false, &part, &s), RD_ESTOP, "asked to stop before it began");
    is_i64(s.steps, 0, "no step is done");
    rd_model_free(&part);
    /* The file that asks to stop is the checkpoint of step 3. */
    snprintf(file, sizeof file, "%s/checkpoints/sft-000003.h5", dir);
    rd_stop_begin(0, looks ? file : NULL);
    is_rc(run(grid, &o, false, &part, &s), RD_ESTOP, "asked to stop after step 3");
    is_i64(s.steps, 4, "one more step is done");
    rd_stop_begin(0, NULL);
    snprintf(file, sizeof file, "%s/checkpoints/sft-000004.h5", dir);
    ok(rd_test_file_size(file) > 0, "and saved");

    /* A failure in between leaves what was there. */
    rd_fault_arm("checkpoint:0");
    rd_model_free(&part);
    is_rc(run(grid, &o, false, &part, &s), RD_EFAULT, "a failing checkpoint");
    rd_model_free(&part);
    o.checkpoint_every = 2;
    is_rc(run(grid, &o, false, &part, &s), RD_OK, "continued to the end");
    ok(same_weights(whole, part) && s.last_loss == r.last_loss, "with the same bits");
    int64_t n, m;
    double *a = column(run_dir("whole"), "sft/loss", &n), *b = column(dir, "sft/loss", &m);
    ok(n == m && memcmp(a, b, (size_t)n * sizeof *a) == 0, "and the same metrics");
    snprintf(file, sizeof file, "%s/checkpoints/sft-branch.h5", dir);
    ok(rd_test_file_size(file) > 0, "a branch was kept");
    rd_free(a), rd_free(b);
    rd_model_free(&whole), rd_model_free(&part);
}

/* Warnings with a text among those from number `from` on; all were given on every rank. */
static int64_t warned(int64_t from, const char *text)
{
    const char *const *list;
    int64_t n = rd_warnings(&list), found = 0;
    for (int64_t i = from; i < n; i++) found += strstr(list[i], text) != NULL;
    return found;
}

/* A run in DIR that stops after step every + 1: what asks it to is its first checkpoint. */
static void run_in_part(rd_train_opts *o, const char *dir, int every)
{
    rd_model *part;
    rd_train_report s;
    char file[400];
    o->dir = dir;
    o->checkpoint_every = every;
    snprintf(file, sizeof file, "%s/checkpoints/sft-%06d.h5", dir, every);
    rd_stop_begin(0, file);
    is_rc(run(grid, o, false, &part, &s), RD_ESTOP, "stopped");
    is_i64(s.steps, every + 1, "one step after its first checkpoint");
    rd_stop_begin(0, NULL);
    rd_model_free(&part);
}

/* The checkpoint of one directory for a run in another.  Local. */
static void copy_checkpoint(const char *from, const char *to)
{
    char cmd[1300];
    snprintf(cmd, sizeof cmd, "mkdir -p %s && cp -r %s/checkpoints %s/", to, from, to);
    if (system(cmd) != 0) rd_die("%s", cmd);
}

/* Moments in shares and gradients that travel early change nothing: not the bits of a run, not
 * those of one that stops and goes on the other way or on one rank. */
static void test_sharing(const char *kind)
{
    rd_model *whole, *other;
    rd_train_report r, s;
    char dir[300], own[400];
    rd_train_opts o = data_options(run_dir("share-whole"));
    o.optim.kind = kind;
    o.key = rd_hash_str(kind, 5);
    o.epochs = 1;
    o.micro_tokens = 64; /* several passes a shard */
    is_rc(run(grid, &o, false, &whole, &r), RD_OK, kind);
    for (int k = 0; k < 3; k++) {
        o.dir = run_dir(k == 0 ? "share-0" : k == 1 ? "share-1" : "share-2");
        o.optim.sharded = k > 0;
        o.overlap = k == 1;
        is_rc(run(grid, &o, false, &other, &s), RD_OK, o.optim.sharded ? "sharded" : "not sharded");
        ok(same_weights(whole, other) && s.last_loss == r.last_loss,
           "the same bits when gradients travel %s", o.overlap ? "early" : "late");
        rd_model_free(&other);
    }
    for (int sharded = 0; sharded < 2; sharded++) {
        snprintf(dir, sizeof dir, "%s", run_dir(sharded ? "share-stop-1" : "share-stop-0"));
        snprintf(own, sizeof own, "%s-%d", dir, rd_test_world.rank);
        o.dir = dir;
        o.optim.sharded = sharded;
        run_in_part(&o, dir, 1);
        copy_checkpoint(dir, own);
        rd_barrier(&rd_test_world);
        o.optim.sharded = !sharded;
        is_rc(run(grid, &o, false, &other, &s), RD_OK,
              sharded ? "gone on whole" : "gone on sharded");
        ok(same_weights(whole, other) && s.last_loss == r.last_loss, "the same bits");
        rd_model_free(&other);
        o.dir = own;
        is_rc(run(alone, &o, false, &other, &s), RD_OK, "gone on by one rank");
        ok(same_weights(whole, other) && s.last_loss == r.last_loss, "the same bits");
        rd_model_free(&other);
    }
    rd_model_free(&whole);
}

/* What another grid has begun is continued, with a warning; what had other data is not. */
static void test_other_runs(void)
{
    rd_model *whole, *part;
    rd_train_report r, s;
    rd_grid *other;
    char dir[300];
    const char *const *warnings;
    int64_t n, m, before;
    rd_train_opts o = data_options(run_dir("one-grid"));
    is_rc(run(grid, &o, false, &whole, &r), RD_OK, "a run in one go");
    double *a = column(o.dir, "sft/loss", &n);
    snprintf(dir, sizeof dir, "%s", run_dir("two-grids"));
    run_in_part(&o, dir, 3);
    before = rd_warnings(&warnings);
    is_rc(rd_grid_create(1, grid->world.size, 1, &other), RD_OK, "a grid of rows");
    is_rc(rd_la_attach(other, 1), RD_OK, "its products");
    is_rc(run(other, &o, false, &part, &s), RD_OK, "continued there");
    is_i64(warned(before, "sft: continues on 1 x ("), grid->world.size > 1, "one warning");
    double *b = column(dir, "sft/loss", &m), worst = 0;
    for (int64_t i = 0; i < n && i < m; i++) worst = fmax(worst, fabs(a[i] / b[i] - 1));
    ok(n == m && worst < 1e-4, "losses agree (%.1e)", worst);
    rd_model_free(&part);
    rd_la_detach(other);
    rd_grid_free(&other);

    snprintf(dir, sizeof dir, "%s", run_dir("other-data"));
    run_in_part(&o, dir, 3);
    before = rd_warnings(&warnings);
    o.share[0] = 0.45, o.share[1] = 0.55; /* and the key, which should tell, does not */
    is_rc(run(grid, &o, false, &part, &s), RD_OK, "the same key, another order of the data");
    is_i64(warned(before, "took other data, or in another order"), 2, "both files passed over");
    rd_model_free(&part);
    o.dir = run_dir("other-data-whole");
    rd_model_free(&whole);
    is_rc(run(grid, &o, false, &whole, &s), RD_OK, "in one go");
    rd_free(b);
    b = column(dir, "sft/loss", &m);
    rd_free(a);
    a = column(o.dir, "sft/loss", &n);
    ok(n == m && memcmp(a, b, (size_t)n * sizeof *a) == 0, "a run from the beginning");
    rd_free(a), rd_free(b);
    rd_model_free(&whole);
}

/* Newest checkpoint damaged: the one before it is used; one of another run is not. */
static void test_damage(void)
{
    rd_model *whole, *part;
    rd_train_report r, s;
    char dir[300], file[360];
    rd_train_opts o = data_options(run_dir("damage-whole"));
    is_rc(run(grid, &o, false, &whole, &r), RD_OK, "a run in one go");
    snprintf(dir, sizeof dir, "%s", run_dir("damage"));
    o.dir = dir;
    o.checkpoint_every = 4;
    /* End the run at the final checkpoint by making its place a directory that is not empty. */
    snprintf(file, sizeof file, "%s/checkpoints/sft-final.h5/x", dir);
    if (rd_test_world.rank == 0) rd_dir_make(file);
    rd_barrier(&rd_test_world);
    int rc = run(grid, &o, false, &part, &s);
    ok(rc == RD_EIO || rc == RD_EINPUT, "a final checkpoint that cannot be written (%d)", rc);
    rd_error_clear();
    rd_model_free(&part);
    int64_t newest = (r.steps - 1) / 4 * 4;
    if (rd_test_world.rank == 0) {
        rmdir(file);
        *strrchr(file, '/') = 0;
        rmdir(file);
        snprintf(file, sizeof file, "%s/checkpoints/sft-%06d.h5", dir, (int)newest);
        if (truncate(file, 5000) != 0) perror(file);
    }
    rd_barrier(&rd_test_world);
    is_rc(run(grid, &o, false, &part, &s), RD_OK, "the newest is damaged: continued");
    ok(same_weights(whole, part), "from the one before, with the same bits");
    const char *const *warnings;
    int64_t n = rd_warnings(&warnings), told = 0;
    for (int64_t i = 0; i < n; i++) told += strstr(warnings[i], "truncated file") != NULL;
    ok(told == 1, "and a warning");
    rd_model_free(&part);
    o.key = 78;
    is_rc(run(grid, &o, false, &part, &s), RD_OK, "another key");
    ok(!s.was_done && same_weights(whole, part), "starts anew");
    rd_model_free(&whole), rd_model_free(&part);
}

static void test_failures(void)
{
    rd_model *m;
    rd_train_report r;
    rd_train_opts o = data_options(run_dir("failures"));
    char spec[32];
    snprintf(spec, sizeof spec, "sft:%d", rd_test_world.size - 1);
    rd_fault_arm(spec);
    is_rc(run(grid, &o, false, &m, &r), RD_EFAULT, "a fault on the last rank is everyone's");
    rd_model_free(&m);
    o.overlap = false;
    rd_fault_arm(spec);
    is_rc(run(grid, &o, false, &m, &r), RD_EFAULT, "also before any gradient is sent");
    rd_model_free(&m);
    o.stage = "align";
    rd_fault_arm("align:0");
    is_rc(run(grid, &o, true, &m, &r), RD_EFAULT, "the same in ORPO on the first");
    rd_model_free(&m);
    o.stage = "sft";
    m = data_model(grid, tok);
    if (rd_test_world.rank == rd_test_world.size - 1) m->base.item[3].w.a[5] = NAN;
    is_rc(rd_train_sft(grid, m, chat, datasets, &o, &r), RD_ENUMERIC,
          "a weight that is not a number");
    rd_model_free(&m);
    o.kinds[0] = o.kinds[1] = false;
    is_rc(run(grid, &o, false, &m, &r), RD_EINPUT, "no rows of the wanted kind");
    rd_model_free(&m);
    m = data_model(grid, tok);
    is_rc(rd_train_sft(grid, m, chat, "/nonexistent/datasets.h5", &o, &r), RD_EINPUT, "no data");
    rd_model_free(&m);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    is_rc(rd_grid_create(0, 1, 1, &grid), RD_OK, "grid");
    is_rc(rd_la_attach(grid, 1), RD_OK, "products");
    rd_grid_self(&alone);
    tok = data_tokenizer();
    chat = text_chat(tok);
    snprintf(datasets, sizeof datasets, "%s/datasets.h5", rd_test_dir());
    is_rc(data_write(&rd_test_world, datasets), RD_OK, "datasets.h5");
    test_learning();
    test_micro_batches(false);
    test_micro_batches(true);
    test_orpo();
    test_stopping();
    test_sharing("muon");
    test_sharing("adamw");
    test_other_runs();
    test_damage();
    test_failures();
    rd_chat_free(&chat);
    rd_tok_free(&tok);
    rd_la_detach(grid);
    rd_grid_free(&alone);
    rd_grid_free(&grid);
    return rd_test_end();
}
