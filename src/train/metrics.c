/* metrics.c: what a run reports while it runs.
 *
 * The table named after the stage holds nothing that depends on the clock, so that two runs can be
 * compared bit by bit; speed has a table of its own. */
#include "train_impl.h"

#include <string.h>
#include <unistd.h>

#define SCHEMA "redistill.metrics"
enum { VERSION = 1 };
static const double FLUSH_SECONDS = 2;

static const char *const columns[] = {"loss", "lr",        "grad_norm", "tokens",
                                      "nll",  "odds_loss", "accuracy",  "margin"};
enum { SFT_COLUMNS = 4, ALIGN_COLUMNS = 8 };
static const char *const speed_columns[] = {"seconds", "tokens_per_second"};

/* ---------------------------------------------------------------- rows of an earlier attempt */

/* Rows of a table with step <= keep, appended to the copy.  Local. */
static int copy_table(rd_store *from, const char *table, int n, const char *const *names,
                      int64_t keep, rd_series *to)
{
    int rc = RD_OK;
    char name[256];
    int64_t rows = 0, *step = NULL;
    double *values = NULL, *row = NULL;
    snprintf(name, sizeof(name), "%s/step", table);
    if (!rd_store_has(from, name)) return RD_OK;
    RD_TRY(rd_store_rows(from, name, &rows));
    step = rd_new(int64_t, rows);
    values = rd_new(double, rows *n);
    row = rd_new(double, n);
    RD_TRY(rd_store_read(from, name, RD_I64, 0, rows, step));
    for (int k = 0; k < n; k++) {
        snprintf(name, sizeof(name), "%s/%s", table, names[k]);
        RD_TRY(rd_store_read(from, name, RD_F64, 0, rows, values + k * rows));
    }
    for (int64_t i = 0; i < rows && step[i] <= keep; i++) {
        for (int k = 0; k < n; k++) row[k] = values[k * rows + i];
        RD_TRY(rd_series_row(to, table, n, names, step[i], row));
    }
done:
    rd_free(step);
    rd_free(values);
    rd_free(row);
    return rc;
}

/* One stage's two tables. */
static int copy_stage(rd_store *from, const char *stage, int64_t keep, rd_series *to)
{
    int rc = RD_OK;
    char name[128];
    snprintf(name, sizeof(name), "%s/nll", stage);
    RD_TRY(copy_table(from, stage, rd_store_has(from, name) ? ALIGN_COLUMNS : SFT_COLUMNS, columns,
                      keep, to));
    snprintf(name, sizeof(name), "%s_speed", stage);
    RD_TRY(copy_table(from, name, 2, speed_columns, keep, to));
done:
    return rc;
}

/* Whether a table has rows behind the step that the run goes on from. */
static int rows_behind(rd_store *s, const char *table, int64_t keep, bool *behind)
{
    int rc = RD_OK;
    char name[128];
    int64_t rows = 0, last = 0;
    snprintf(name, sizeof(name), "%s/step", table);
    if (!rd_store_has(s, name)) return RD_OK;
    RD_TRY(rd_store_rows(s, name, &rows));
    if (rows == 0) return RD_OK;
    RD_TRY(rd_store_read(s, name, RD_I64, rows - 1, 1, &last));
    *behind = *behind || last > keep;
done:
    return rc;
}

static void remove_copy(const char *copy)
{
    char temp[1110];
    snprintf(temp, sizeof(temp), "%s.tmp", copy); /* what it is written as */
    unlink(temp);
    unlink(copy);
}

/* Drop this stage's rows after step `keep`: those of an attempt that ended without a checkpoint, or
 * of other options.  rd_series_open's own truncation would cut the other stages' tables at the same
 * step, so the file is written anew beside the old one and takes its place.  Local. */
static int drop_rows(const char *path, const rd_store_info *info, const rd_train_opts *o,
                     const char *speed_table, int64_t keep)
{
    int rc = RD_OK;
    static const char *const stages[] = {"sft", "align"};
    const rd_comm self = rd_comm_self();
    char copy[1100];
    bool behind = false, known = false;
    rd_store *from = NULL;
    rd_series *to = NULL;
    if (!rd_file_exists(path)) return RD_OK;
    snprintf(copy, sizeof(copy), "%s.kept", path);
    remove_copy(copy); /* of a run killed here */
    RD_TRY(rd_store_open(&self, path, SCHEMA, VERSION, &from));
    RD_TRY(rows_behind(from, o->stage, keep, &behind));
    RD_TRY(rows_behind(from, speed_table, keep, &behind));
    if (!behind) goto done;
    RD_TRY(rd_series_open(copy, info, -1, &to));
    for (int i = 0; i < 2; i++) {
        bool mine = strcmp(stages[i], o->stage) == 0;
        known = known || mine;
        RD_TRY(copy_stage(from, stages[i], mine ? keep : INT64_MAX, to));
    }
    if (!known) RD_TRY(copy_stage(from, o->stage, keep, to));
    RD_TRY(rd_series_close(&to));
    if (rename(copy, path) != 0) RD_FAIL(RD_EIO, "%s: %m", path);
done:
    if (to != NULL) rd_series_close(&to);
    if (rc != RD_OK) remove_copy(copy);
    rd_store_close(&from);
    return rc;
}

int metrics_open(const rd_grid *g, const rd_train_opts *o, bool pairs, const train_state *s,
                 train_metrics *m)
{
    int rc = RD_OK;
    char path[1024];
    rd_store_info info = {.schema = SCHEMA, .version = VERSION, .config = o->config};
    *m = (train_metrics){.o = o, .pairs = pairs};
    snprintf(m->speed_table, sizeof(m->speed_table), "%s_speed", o->stage);
    snprintf(path, sizeof(path), "%s/metrics.h5", o->dir);
    if (g->world.rank == 0) {
        rc = drop_rows(path, &info, o, m->speed_table, s->step);
        if (rc == RD_OK) rc = rd_series_open(path, &info, INT64_MAX, &m->series);
    }
    RD_TRY(rd_agree(&g->world, rc));
    rd_progress_begin(&m->progress, o->stage, "steps", s->steps);
    m->start = m->last_flush = m->last_speed = rd_time();
    m->start_tokens = m->flush_tokens = s->tokens;
done:
    if (rc != RD_OK && m->series != NULL) rd_series_close(&m->series);
    return rc;
}

/* ---------------------------------------------------------------- a step's row */

int metrics_flush(train_metrics *m)
{
    m->last_flush = rd_time();
    return m->series != NULL ? rd_series_flush(m->series) : RD_OK;
}

int metrics_step(train_metrics *m, const train_state *s, const objective_means *means, double lr,
                 double grad_norm)
{
    int rc = RD_OK;
    double now = rd_time(), since = now - m->last_flush;
    double row[ALIGN_COLUMNS] = {means->loss,     lr,
                                 grad_norm,       (double)s->tokens,
                                 means->nll,      means->odds_loss,
                                 means->accuracy, means->log_odds};
    char note[80];
    if (m->series == NULL) return RD_OK;
    RD_TRY(rd_series_row(m->series, m->o->stage, m->pairs ? ALIGN_COLUMNS : SFT_COLUMNS, columns,
                         s->step, row));
    snprintf(note, sizeof(note), "loss %.4f, %.0f tokens/s", means->loss,
             (double)(s->tokens - m->start_tokens) / (now - m->start + 1e-9));
    rd_progress_set(&m->progress, s->step, note);
    if (since < FLUSH_SECONDS && s->step < s->steps) goto done;
    /* A checkpoint flushes too, without a row of speed. */
    double speed[] = {now - m->start,
                      (double)(s->tokens - m->flush_tokens) / (now - m->last_speed + 1e-9)};
    RD_TRY(rd_series_row(m->series, m->speed_table, 2, speed_columns, s->step, speed));
    m->flush_tokens = s->tokens;
    m->last_speed = now;
    RD_TRY(metrics_flush(m));
done:
    return rc;
}

int metrics_close(train_metrics *m)
{
    if (m->o == NULL) return RD_OK;
    if (m->progress.stage != NULL) rd_progress_end(&m->progress);
    return m->series != NULL ? rd_series_close(&m->series) : RD_OK;
}
