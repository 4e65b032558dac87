/* predictions.c: the schema of predictions.h5, the records of finished blocks, and the way between.
 *
 * Rows are gathered per problem with references and text ids of their own and moved when problems
 * are put together, in memory and in the file, so who computed what leaves no trace. */
#include "eval_impl.h"

#include <string.h>

/* What a cell holds: a number, a text, or the row of another table. */
typedef enum { PLAIN, TEXT, TO_PROBLEM, TO_HYPOTHESIS } meaning;

typedef struct column {
    const char *name;
    rd_dtype type;
    meaning means;
} column;

static const column problem_columns[PROBLEM_COLUMNS] = {
    [PROBLEM_FAMILY] = {"problem/family", RD_U8, PLAIN},
    [PROBLEM_SOURCE] = {"problem/source", RD_I32, PLAIN},
    [PROBLEM_ID] = {"problem/id", RD_I64, PLAIN},
    [PROBLEM_TASK] = {"problem/task", RD_I64, PLAIN},
    [PROBLEM_DEMOS] = {"problem/demos", RD_I32, PLAIN},
    [PROBLEM_QUERIES] = {"problem/queries", RD_I32, PLAIN},
};
static const column hypothesis_columns[HYP_COLUMNS] = {
    [HYP_PROBLEM] = {"hypothesis/problem", RD_I64, TO_PROBLEM},
    [HYP_DRAW] = {"hypothesis/draw", RD_I32, PLAIN},
    [HYP_RULE] = {"hypothesis/rule", RD_I64, TEXT},
    [HYP_SCORE] = {"hypothesis/score", RD_I32, PLAIN},
    [HYP_FOLLOWED] = {"hypothesis/followed", RD_I32, PLAIN},
    [HYP_INTERPRETER_SCORE] = {"hypothesis/interpreter_score", RD_I32, PLAIN},
    [HYP_SAMPLES] = {"hypothesis/samples", RD_I32, PLAIN},
};
static const column answer_columns[ANSWER_COLUMNS] = {
    [ANSWER_PROBLEM] = {"answer/problem", RD_I64, TO_PROBLEM},
    [ANSWER_QUERY] = {"answer/query", RD_I32, PLAIN},
    [ANSWER_METHOD] = {"answer/method", RD_U8, PLAIN},
    [ANSWER_N] = {"answer/n", RD_I32, PLAIN},
    [ANSWER_HYPOTHESIS] = {"answer/hypothesis", RD_I64, TO_HYPOTHESIS},
    [ANSWER_RESPONSE] = {"answer/response", RD_I64, TEXT},
    [ANSWER_STRICT] = {"answer/strict", RD_U8, PLAIN},
    [ANSWER_TOLERANT] = {"answer/tolerant", RD_U8, PLAIN},
};
static const column spent_columns[SPENT_COLUMNS] = {
    [SPENT_PROBLEM] = {"spent/problem", RD_I64, TO_PROBLEM},
    [SPENT_METHOD] = {"spent/method", RD_U8, PLAIN},
    [SPENT_N] = {"spent/n", RD_I32, PLAIN},
    [SPENT_IN] = {"spent/tokens_in", RD_I64, PLAIN},
    [SPENT_OUT] = {"spent/tokens_out", RD_I64, PLAIN},
};
static const struct {
    int columns;
    const column *column;
} tables[ROWS_TABLES] = {
    [ROWS_PROBLEM] = {PROBLEM_COLUMNS, problem_columns},
    [ROWS_HYPOTHESIS] = {HYP_COLUMNS, hypothesis_columns},
    [ROWS_ANSWER] = {ANSWER_COLUMNS, answer_columns},
    [ROWS_SPENT] = {SPENT_COLUMNS, spent_columns},
};

/* ---------------------------------------------------------------- rows */

static void reserve(pred_table *t, int columns, int64_t rows)
{
    if (rows <= t->cap) return;
    t->cap = rows > 2 * t->cap ? rows : 2 * t->cap;
    rd_resize(t->cell, t->cap * columns);
}

int64_t predictions_add(predictions *p, int table, const int64_t *cells)
{
    pred_table *t = &p->table[table];
    int columns = tables[table].columns;
    reserve(t, columns, t->rows + 1);
    memcpy(t->cell + t->rows * columns, cells, (size_t)columns * sizeof *cells);
    return t->rows++;
}

/* Add a text without looking for an equal one: ids then depend on the order of texts alone, not on
 * how problems were put together (io.h interns between two marks). */
static int64_t add_text(rd_pool *pool, const char *s)
{
    rd_pool_mark(pool);
    return rd_pool_add(pool, s);
}

void predictions_append(predictions *p, const predictions *from)
{
    const int64_t base[] = {[PLAIN] = 0,
                            [TEXT] = p->text.n,
                            [TO_PROBLEM] = p->table[ROWS_PROBLEM].rows,
                            [TO_HYPOTHESIS] = p->table[ROWS_HYPOTHESIS].rows};
    int64_t cells[ANSWER_COLUMNS];
    _Static_assert((int)ANSWER_COLUMNS >= (int)HYP_COLUMNS, "the widest table");
    for (int64_t i = 0; i < from->text.n; i++)
        add_text(&p->text, rd_pool_get(&from->text, i, NULL));
    for (int k = 0; k < ROWS_TABLES; k++)
        for (int64_t r = 0; r < from->table[k].rows; r++) {
            for (int c = 0; c < tables[k].columns; c++) {
                int64_t v = from->table[k].cell[r * tables[k].columns + c];
                cells[c] = v < 0 ? v : v + base[tables[k].column[c].means];
            }
            predictions_add(p, k, cells);
        }
}

void predictions_free(predictions *p)
{
    for (int k = 0; k < ROWS_TABLES; k++) {
        RD_FREE(p->table[k].cell);
        p->table[k].rows = p->table[k].cap = 0;
    }
    rd_pool_free(&p->text);
}

/* ---------------------------------------------------------------- records */

void predictions_put(rd_buf *record, const predictions *p)
{
    rd_put_i64(record, p->text.n);
    for (int64_t i = 0; i < p->text.n; i++) rd_put_str(record, rd_pool_get(&p->text, i, NULL));
    for (int k = 0; k < ROWS_TABLES; k++) {
        const pred_table *t = &p->table[k];
        rd_put_i64(record, t->rows);
        for (int64_t i = 0; i < t->rows * tables[k].columns; i++) rd_put_i64(record, t->cell[i]);
    }
}

/* May a cell of table k hold v, in a record of these sizes? */
static bool cell_fits(const predictions *p, int64_t texts, meaning m, int64_t v)
{
    if (m == TEXT) return v >= -1 && v < texts;
    if (m == TO_PROBLEM) return v >= 0 && v < p->table[ROWS_PROBLEM].rows;
    if (m == TO_HYPOTHESIS) return v >= -1 && v < p->table[ROWS_HYPOTHESIS].rows;
    return true;
}

int predictions_get(rd_cursor *record, predictions *p)
{
    int rc = RD_OK;
    int64_t texts = 0, rows = 0, cells[ANSWER_COLUMNS];
    char *s = NULL;
    predictions got = {0};
    RD_TRY(rd_get_i64(record, &texts));
    for (int64_t i = 0; i < texts; i++) {
        RD_TRY(rd_get_str(record, &s));
        if (add_text(&got.text, s) != i) RD_FAIL(RD_EINPUT, "a record with a broken text");
        RD_FREE(s);
    }
    for (int k = 0; k < ROWS_TABLES; k++) {
        RD_TRY(rd_get_i64(record, &rows));
        for (int64_t r = 0; r < rows; r++) {
            for (int c = 0; c < tables[k].columns; c++) {
                RD_TRY(rd_get_i64(record, &cells[c]));
                if (!cell_fits(&got, texts, tables[k].column[c].means, cells[c]))
                    RD_FAIL(RD_EINPUT, "a record with a broken %s", tables[k].column[c].name);
            }
            predictions_add(&got, k, cells);
        }
    }
    predictions_append(p, &got);
done:
    rd_free(s);
    predictions_free(&got);
    return rc;
}

/* ---------------------------------------------------------------- the file */

/* One column in its stored type.  A value that does not fit is our bug. */
static void narrow(const pred_table *t, int columns, int c, rd_dtype type, int64_t base, char *out)
{
    for (int64_t r = 0; r < t->rows; r++) {
        int64_t v = t->cell[r * columns + c];
        if (v >= 0) v += base;
        switch (type) {
        case RD_U8:
            RD_ASSERT(v >= 0 && v <= UINT8_MAX);
            ((uint8_t *)out)[r] = (uint8_t)v;
            break;
        case RD_I32:
            RD_ASSERT(v >= INT32_MIN && v <= INT32_MAX);
            ((int32_t *)out)[r] = (int32_t)v;
            break;
        default: ((int64_t *)out)[r] = v;
        }
    }
}

int predictions_write(const rd_comm *c, const predictions *p, rd_store *s)
{
    int rc = RD_OK;
    int64_t base[] = {[PLAIN] = 0,
                      [TO_PROBLEM] = rd_exscan_i64(c, p->table[ROWS_PROBLEM].rows),
                      [TO_HYPOTHESIS] = rd_exscan_i64(c, p->table[ROWS_HYPOTHESIS].rows)};
    char *out = NULL;
    RD_TRY(rd_store_write_pool(s, &p->text, &base[TEXT]));
    for (int k = 0; k < ROWS_TABLES; k++) {
        const pred_table *t = &p->table[k];
        rd_free(out);
        out = rd_new(char, t->rows *(int64_t)sizeof(int64_t));
        for (int i = 0; i < tables[k].columns; i++) {
            const column *col = &tables[k].column[i];
            narrow(t, tables[k].columns, i, col->type, base[col->means], out);
            RD_TRY(rd_store_write(s, col->name, col->type, out, t->rows));
        }
    }
done:
    rd_free(out);
    return rc;
}

int predictions_read(rd_store *s, predictions *p)
{
    int rc = RD_OK;
    int64_t *values = NULL;
    predictions_free(p);
    for (int k = 0; k < ROWS_TABLES; k++) {
        pred_table *t = &p->table[k];
        int columns = tables[k].columns;
        int64_t rows = 0;
        RD_TRY(rd_store_rows(s, tables[k].column[0].name, &rows));
        reserve(t, columns, rows);
        t->rows = rows;
        rd_free(values);
        values = rd_new(int64_t, rows);
        for (int c = 0; c < columns; c++) {
            RD_TRY(rd_store_read(s, tables[k].column[c].name, RD_I64, 0, rows, values));
            for (int64_t r = 0; r < rows; r++) t->cell[r * columns + c] = values[r];
        }
    }
done:
    rd_free(values);
    return rc;
}
