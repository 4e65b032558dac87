/* tables.h: a rank's rows of one HDF5 table in memory (private to distill). */
#ifndef RD_DISTILL_TABLES_H
#define RD_DISTILL_TABLES_H

#include "rd/io.h"

enum { TABLE_COLUMNS = 16 };

typedef struct table_column {
    const char *name;
    rd_dtype type; /* as stored; in memory a cell is an int64 or, for RD_F64, a double */
    bool text;     /* ids into the file's text */
} table_column;

typedef union cell {
    int64_t i;
    double f;
} cell;

typedef struct table {
    const char *name;
    const table_column *columns;
    int n_columns;
    int64_t rows, cap;
    cell *data[TABLE_COLUMNS];
} table;

table table_make(const char *name, const table_column *columns, int n_columns);
/* Append a row of zeros and return its number. */
int64_t table_add(table *t);
void table_free(table *t);

static inline int64_t table_int(const table *t, int64_t row, int column)
{
    return t->data[column][row].i;
}
static inline void table_set(table *t, int64_t row, int column, int64_t v)
{
    t->data[column][row].i = v;
}

/* All Collective on the store's communicator. */

/* Write every rank's rows; text_base is what rd_store_write_pool gave. */
int table_write(const table *t, rd_store *s, int64_t text_base);
/* Replace t's rows by rows [first, first + n) of the file, per rank its own range. */
int table_read(table *t, rd_store *s, int64_t first, int64_t n);
/* Rows of the table in the file. */
int table_count(const table *t, rd_store *s, int64_t *n);

#endif
