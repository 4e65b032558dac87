/* tables.c: a rank's rows of one HDF5 table in memory.
 *
 * Cells are eight bytes whatever the column's type, so that the code above deals with one kind of
 * row; narrowing happens column by column on the way to the file. */
#include "tables.h"

table table_make(const char *name, const table_column *columns, int n_columns)
{
    RD_ASSERT(n_columns <= TABLE_COLUMNS);
    return (table){.name = name, .columns = columns, .n_columns = n_columns};
}

static void reserve(table *t, int64_t rows)
{
    if (rows <= t->cap) return;
    t->cap = rows > 2 * t->cap ? rows : 2 * t->cap;
    if (t->cap < 256) t->cap = 256;
    for (int c = 0; c < t->n_columns; c++) rd_resize(t->data[c], t->cap);
}

int64_t table_add(table *t)
{
    reserve(t, t->rows + 1);
    for (int c = 0; c < t->n_columns; c++) t->data[c][t->rows].i = 0;
    return t->rows++;
}

void table_free(table *t)
{
    for (int c = 0; c < t->n_columns; c++) RD_FREE(t->data[c]);
    t->rows = t->cap = 0;
}

static void column_path(const table *t, int column, rd_buf *path)
{
    rd_buf_clear(path);
    rd_buf_printf(path, "%s/%s", t->name, t->columns[column].name);
}

/* One column in its stored type; text ids become ids of the file.  A value that does not fit is our
 * bug: a file must never hold a wrapped number. */
static void narrow(const table *t, int column, int64_t text_base, char *out)
{
    const table_column *k = &t->columns[column];
    for (int64_t r = 0; r < t->rows; r++) {
        cell v = t->data[column][r];
        if (k->text && v.i >= 0) v.i += text_base;
        switch (k->type) {
        case RD_U8:
            RD_ASSERT(v.i >= 0 && v.i <= UINT8_MAX);
            ((uint8_t *)out)[r] = (uint8_t)v.i;
            break;
        case RD_I32:
            RD_ASSERT(v.i >= INT32_MIN && v.i <= INT32_MAX);
            ((int32_t *)out)[r] = (int32_t)v.i;
            break;
        case RD_F64: ((double *)out)[r] = v.f; break;
        default: ((int64_t *)out)[r] = v.i;
        }
    }
}

int table_write(const table *t, rd_store *s, int64_t text_base)
{
    int rc = RD_OK;
    rd_buf path = {0};
    char *out = rd_new(char, t->rows *(int64_t)sizeof(int64_t));
    for (int c = 0; c < t->n_columns; c++) {
        column_path(t, c, &path);
        narrow(t, c, text_base, out);
        RD_TRY(rd_store_write(s, path.data, t->columns[c].type, out, t->rows));
    }
done:
    rd_buf_free(&path);
    rd_free(out);
    return rc;
}

int table_read(table *t, rd_store *s, int64_t first, int64_t n)
{
    int rc = RD_OK;
    rd_buf path = {0};
    reserve(t, n);
    t->rows = n;
    for (int c = 0; c < t->n_columns; c++) {
        column_path(t, c, &path);
        rd_dtype wide = t->columns[c].type == RD_F64 ? RD_F64 : RD_I64;
        RD_TRY(rd_store_read(s, path.data, wide, first, n, t->data[c]));
    }
done:
    rd_buf_free(&path);
    return rc;
}

int table_count(const table *t, rd_store *s, int64_t *n)
{
    rd_buf path = {0};
    column_path(t, 0, &path);
    int rc = rd_store_rows(s, path.data, n);
    rd_buf_free(&path);
    return rc;
}
