/* schema.h: what every HDF5 file of the program holds, as a table (private to io).
 *
 * The writers are in the layers above and have their own lists of columns; tests/schema.t holds
 * this table, the files of a run and analysis/SCHEMA.md, which is printed from it, against each
 * other. A column or table that is added leaves the version as it is; one that goes or changes its
 * meaning raises it. */
#ifndef RD_IO_SCHEMA_H
#define RD_IO_SCHEMA_H

#include "rd/io.h"

/* Lists end with an element without a name. */

/* An attribute of the root. */
typedef struct schema_attribute {
    const char *name;
    enum { SCHEMA_INT, SCHEMA_REAL, SCHEMA_STRING } kind;
    bool optional;
    const char *meaning;
} schema_attribute;

/* What an integer of a column means, and what it may be. */
typedef enum schema_kind {
    SCHEMA_ANY,   /* whatever its type holds */
    SCHEMA_RANGE, /* low … high */
    SCHEMA_TEXT,  /* an id of a string in /text */
    SCHEMA_ROW,   /* a row of the table `of` */
    SCHEMA_FIRST  /* the first of `count` rows of the table `of`: a sum of columns, "demos+queries"
                   */
} schema_kind;

typedef struct schema_column {
    const char *name; /* one that ends in * stands for any number of columns */
    rd_dtype type;
    schema_kind kind;
    int64_t low, high;      /* RANGE; of ids and rows low is 0 or -1 (none) */
    const char *of, *count; /* ROW, FIRST */
    const char *unit, *meaning;
} schema_column;

typedef struct schema_table {
    const char *name;
    bool optional;
    const char *rows; /* what a row is */
    const schema_column *columns;
} schema_table;

/* An array, or all arrays of a group when the name ends in '/'. */
typedef struct schema_array {
    const char *name;
    rd_dtype type;
    bool optional;
    int rank;        /* 0: one or two dimensions of any extent */
    int64_t dims[2]; /* of a rank above 0 */
    const char *meaning;
} schema_array;

typedef struct schema {
    const char *name;
    int version;
    const char *file, *meaning;
    bool text;         /* has strings */
    const char *links; /* a group of external links, which are not followed; or NULL */
    const schema_attribute *attributes;
    const schema_table *tables;
    const schema_array *arrays;
} schema;

extern const schema_attribute schema_header[]; /* those of every file */
extern const schema schemas[];

const schema *schema_find(const char *name); /* NULL: unknown */

#endif
