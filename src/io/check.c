/* check.c: does a file hold what its schema says?
 *
 * The seal comes first: bytes that are not those that were written are not shown to HDF5.  Then
 * every attribute, table, column and array is looked for, and the integers are read, in pieces: ids
 * of texts, rows of other tables, flags and counts. */
#include "io_private.h"
#include "schema.h"
#include <string.h>

enum { PIECE = 1 << 17, MAX_TABLES = 8 };

typedef struct check {
    const char *path;
    hid_t file;
    const schema *of;
    rd_buf *out;
    int64_t violations;
    int64_t texts;            /* strings in the file */
    int64_t rows[MAX_TABLES]; /* of each table, -1: not there */
} check;

static void complain(check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void complain(check *c, const char *format, ...)
{
    va_list args;
    char line[512];
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    rd_buf_printf(c->out, "%s: %s\n", c->path, line);
    c->violations++;
}

/* Something that the schema does not know: nothing wrong, but worth a word. */
static void remark(check *c, const char *kind, const char *name)
{
    rd_buf_printf(c->out, "%s: note: %s %s is not in the schema\n", c->path, kind, name);
}

/* ---------------------------------------------------------------- attributes */

static void check_attribute(check *c, const schema_attribute *a)
{
    static const H5T_class_t classes[] = {H5T_INTEGER, H5T_FLOAT, H5T_STRING};
    static const char *const kinds[] = {"an integer", "a float", "a string"};
    if (!rd_h5_has_attribute(c->file, "", a->name)) {
        if (!a->optional) complain(c, "the attribute %s is missing", a->name);
        return;
    }
    hid_t attribute = H5Aopen(c->file, a->name, H5P_DEFAULT);
    hid_t type = attribute >= 0 ? H5Aget_type(attribute) : H5I_INVALID_HID;
    if (type < 0 || H5Tget_class(type) != classes[a->kind])
        complain(c, "the attribute %s is not %s", a->name, kinds[a->kind]);
    if (type >= 0) H5Tclose(type);
    if (attribute >= 0) H5Aclose(attribute);
}

static bool knows_attribute(const schema_attribute *list, const char *name)
{
    for (; list->name != NULL; list++)
        if (strcmp(list->name, name) == 0) return true;
    return false;
}

static herr_t see_attribute(hid_t root, const char *name, const H5A_info_t *info, void *data)
{
    check *c = data;
    (void)root;
    (void)info;
    if (!knows_attribute(schema_header, name) && !knows_attribute(c->of->attributes, name))
        remark(c, "attribute", name);
    return 0;
}

static void check_attributes(check *c)
{
    for (const schema_attribute *a = schema_header; a->name != NULL; a++) check_attribute(c, a);
    for (const schema_attribute *a = c->of->attributes; a->name != NULL; a++) check_attribute(c, a);
    H5Aiterate2(c->file, H5_INDEX_NAME, H5_ITER_INC, NULL, see_attribute, c);
}

/* ---------------------------------------------------------------- names */

/* Does a column's name, which may end in *, cover this one? */
static bool covers(const char *pattern, const char *name)
{
    const size_t n = strlen(pattern);
    return pattern[n - 1] == '*' ? strncmp(pattern, name, n - 1) == 0 && name[n - 1] != '\0'
                                 : strcmp(pattern, name) == 0;
}

static herr_t add_link(hid_t group, const char *name, const H5L_info_t *info, void *data)
{
    (void)group;
    (void)info;
    rd_json_set_string(data, NULL, name);
    return 0;
}

/* Names in a group ("" is the root), as an array of strings.  The caller frees. */
static rd_json *names_in(const check *c, const char *group)
{
    rd_json *names = rd_json_new(RD_JSON_ARRAY);
    H5Literate_by_name(c->file, *group != '\0' ? group : "/", H5_INDEX_NAME, H5_ITER_INC, NULL,
                       add_link, rd_json_root(names), H5P_DEFAULT);
    return names;
}

static bool is_group(const check *c, const char *name)
{
    H5O_info_t info;
    return rd_h5_exists(c->file, name) &&
           H5Oget_info_by_name2(c->file, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) >= 0 &&
           info.type == H5O_TYPE_GROUP;
}

/* ---------------------------------------------------------------- datasets */

static const char *stored_type(const check *c, const char *name, char text[32])
{
    hid_t set = H5Dopen2(c->file, name, H5P_DEFAULT);
    hid_t type = set >= 0 ? H5Dget_type(set) : H5I_INVALID_HID;
    snprintf(text, 32, "unreadable");
    if (type >= 0) rd_h5_type_name(type, text);
    if (type >= 0) H5Tclose(type);
    if (set >= 0) H5Dclose(set);
    return text;
}

static const char *wanted_type(rd_dtype t, char text[32])
{
    return rd_h5_type_name(rd_h5_file_type(t), text);
}

/* Is NAME a dataset of this type and (above 0) rank?  Complains otherwise. */
static bool check_dataset(check *c, const char *name, rd_dtype t, int rank, int64_t *dims)
{
    char got[32], want[32];
    int found = 0;
    if (rd_h5_dims(c->file, c->path, name, H5S_MAX_RANK, &found, dims) != RD_OK) {
        rd_error_clear();
        complain(c, rd_h5_exists(c->file, name) ? "%s is not a dataset" : "%s is missing", name);
        return false;
    }
    stored_type(c, name, got);
    wanted_type(t, want);
    if (strcmp(got, want) != 0) complain(c, "%s: the type is %s, want %s", name, got, want);
    if (rank > 0 && found != rank) complain(c, "%s: %d dimensions, want %d", name, found, rank);
    if (rank == 0 && (found < 1 || found > 2))
        complain(c, "%s: %d dimensions, want one or two", name, found);
    return strcmp(got, want) == 0 && (rank == 0 || found == rank);
}

/* Rows [first, first + n) as int64; false, with a complaint, when they cannot be read. */
static bool read_rows(check *c, const char *name, int64_t first, int64_t n, int64_t *to)
{
    const hsize_t start = (hsize_t)first, count = (hsize_t)n;
    hid_t set = H5Dopen2(c->file, name, H5P_DEFAULT);
    hid_t space = H5Dget_space(set), memory = H5Screate_simple(1, &count, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL);
    const bool read = H5Dread(set, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, to) >= 0;
    rd_h5_words words;
    if (!read) complain(c, "%s: %s", name, rd_h5_reason(&words));
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(set);
    return read;
}

/* ---------------------------------------------------------------- text */

static void check_offsets(check *c, int64_t n, int64_t bytes)
{
    int64_t before = 0, *offset = rd_new(int64_t, PIECE);
    bool sound = true;
    for (int64_t first = 0; sound && first < n; first += PIECE) {
        const int64_t m = n - first < PIECE ? n - first : PIECE;
        if (!read_rows(c, "text/offset", first, m, offset)) break;
        for (int64_t i = 0; sound && i < m; i++) {
            sound = offset[i] >= before && offset[i] <= bytes && (first + i > 0 || offset[i] == 0);
            if (!sound)
                complain(c, "text/offset: row %lld is %lld, after %lld, of %lld bytes",
                         (long long)first + i, (long long)offset[i], (long long)before,
                         (long long)bytes);
            before = offset[i];
        }
    }
    if (sound && before != bytes)
        complain(c, "text/offset: the last is %lld, of %lld bytes", (long long)before,
                 (long long)bytes);
    rd_free(offset);
}

static void check_text(check *c)
{
    int64_t offsets[H5S_MAX_RANK] = {0}, bytes[H5S_MAX_RANK] = {0};
    if (!c->of->text) return;
    const bool have_offsets = check_dataset(c, "text/offset", RD_I64, 1, offsets);
    const bool have_bytes = check_dataset(c, "text/bytes", RD_U8, 1, bytes);
    if (have_offsets && offsets[0] < 1) complain(c, "text/offset is empty");
    if (have_offsets && offsets[0] > 0) c->texts = offsets[0] - 1;
    if (have_offsets && have_bytes && offsets[0] > 0) check_offsets(c, offsets[0], bytes[0]);
}

/* ---------------------------------------------------------------- columns */

static int table_number(const check *c, const char *name)
{
    for (int i = 0; c->of->tables[i].name != NULL; i++)
        if (strcmp(c->of->tables[i].name, name) == 0) return i;
    return -1;
}

/* Rows that a reference may have; -1: unknown, the table is not there. */
static int64_t extent_of(const check *c, const schema_column *k)
{
    if (k->kind == SCHEMA_TEXT) return c->texts;
    return c->rows[table_number(c, k->of)];
}

/* The counts of a FIRST column, rows [first, first + n), summed: "demos+queries" of TABLE. */
static bool read_counts(check *c, const char *table, const schema_column *k, int64_t first,
                        int64_t n, int64_t *sum, int64_t *one)
{
    bool read = true;
    rd_buf name = {0};
    memset(sum, 0, (size_t)n * sizeof *sum);
    for (const char *part = k->count; read && part != NULL;) {
        const size_t length = strcspn(part, "+");
        rd_buf_clear(&name);
        rd_buf_printf(&name, "%s/%.*s", table, (int)length, part);
        read = rd_h5_exists(c->file, name.data) && read_rows(c, name.data, first, n, one);
        for (int64_t i = 0; read && i < n; i++) sum[i] += one[i];
        part = part[length] == '+' ? part + length + 1 : NULL;
    }
    rd_buf_free(&name);
    return read;
}

/* The first value that must not be, and how many there are. */
typedef struct offence {
    int64_t n, row, value, count;
} offence;

static void judge(const schema_column *k, int64_t extent, int64_t first, int64_t n,
                  const int64_t *value, const int64_t *count, offence *o)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t v = value[i];
        bool fits = true;
        if (k->kind == SCHEMA_RANGE) fits = v >= k->low && v <= k->high;
        if (k->kind == SCHEMA_TEXT || k->kind == SCHEMA_ROW) fits = v >= k->low && v < extent;
        if (k->kind == SCHEMA_FIRST)
            fits = v >= 0 && count[i] >= 0 && v <= extent && count[i] <= extent - v;
        if (fits) continue;
        if (o->n++ == 0) o->row = first + i, o->value = v, o->count = count[i];
    }
}

static void report_offence(check *c, const char *name, const schema_column *k, int64_t extent,
                           const offence *o)
{
    char what[160], more[48] = "";
    const long long v = (long long)o->value, e = (long long)extent;
    if (o->n > 1) snprintf(more, sizeof more, " (and %lld more)", (long long)(o->n - 1));
    if (k->kind == SCHEMA_TEXT)
        snprintf(what, sizeof what, "text %lld of %lld", v, e);
    else if (k->kind == SCHEMA_ROW)
        snprintf(what, sizeof what, "row %lld of %s, which has %lld", v, k->of, e);
    else if (k->kind == SCHEMA_FIRST)
        snprintf(what, sizeof what, "rows %lld + %lld of %s, which has %lld", v,
                 (long long)o->count, k->of, e);
    else if (k->high == INT64_MAX)
        snprintf(what, sizeof what, "%lld, want at least %lld", v, (long long)k->low);
    else
        snprintf(what, sizeof what, "%lld, want %lld to %lld", v, (long long)k->low,
                 (long long)k->high);
    complain(c, "%s: row %lld is %s%s", name, (long long)o->row, what, more);
}

static void check_values(check *c, const char *table, const char *name, const schema_column *k,
                         int64_t rows)
{
    offence o = {0};
    const int64_t extent = k->kind >= SCHEMA_TEXT ? extent_of(c, k) : 0;
    if (k->kind == SCHEMA_ANY || extent < 0) return;
    int64_t *memory = rd_new(int64_t, (int64_t)3 * PIECE);
    int64_t *value = memory, *count = memory + PIECE, *one = memory + 2 * PIECE;
    bool read = true;
    for (int64_t first = 0; read && first < rows; first += PIECE) {
        const int64_t n = rows - first < PIECE ? rows - first : PIECE;
        read = read_rows(c, name, first, n, value);
        if (read && k->kind == SCHEMA_FIRST) read = read_counts(c, table, k, first, n, count, one);
        if (read) judge(k, extent, first, n, value, count, &o);
    }
    if (o.n > 0) report_offence(c, name, k, extent, &o);
    rd_free(memory);
}

/* ---------------------------------------------------------------- tables */

/* The columns of TABLE in the file that a column of the schema stands for: itself, there or not, or
 * all that fit its pattern.  Calls for each. */
typedef void visit(check *c, int table, const schema_column *k, const char *name);
static void for_columns(check *c, int table, rd_json *names, visit *f)
{
    rd_buf name = {0};
    const schema_table *t = &c->of->tables[table];
    for (const schema_column *k = t->columns; k->name != NULL; k++) {
        if (strchr(k->name, '*') == NULL) {
            rd_buf_clear(&name);
            rd_buf_printf(&name, "%s/%s", t->name, k->name);
            f(c, table, k, name.data);
            continue;
        }
        for (const rd_json_node *n = rd_json_first(rd_json_root(names)); n != NULL;
             n = rd_json_next(n)) {
            if (!covers(k->name, rd_json_string(n))) continue;
            rd_buf_clear(&name);
            rd_buf_printf(&name, "%s/%s", t->name, rd_json_string(n));
            f(c, table, k, name.data);
        }
    }
    rd_buf_free(&name);
}

static void look_at_column(check *c, int table, const schema_column *k, const char *name)
{
    int64_t dims[H5S_MAX_RANK] = {0};
    const bool there = rd_h5_exists(c->file, name);
    int rank = 0;
    check_dataset(c, name, k->type, 1, dims);
    if (!there || rd_h5_dims(c->file, c->path, name, 1, &rank, dims) != RD_OK || rank != 1) {
        rd_error_clear();
        return;
    }
    if (c->rows[table] < 0) c->rows[table] = dims[0];
    if (dims[0] != c->rows[table])
        complain(c, "%s: %lld rows, the table's first column has %lld", name, (long long)dims[0],
                 (long long)c->rows[table]);
}

static void look_at_values(check *c, int table, const schema_column *k, const char *name)
{
    int64_t dims[H5S_MAX_RANK] = {0};
    char type[32];
    int rank = 0;
    if (!rd_h5_exists(c->file, name) ||
        rd_h5_dims(c->file, c->path, name, 1, &rank, dims) != RD_OK || rank != 1) {
        rd_error_clear();
        return;
    }
    stored_type(c, name, type);
    /* Counts beside a first column are read with it: only where lengths are as they should be. */
    if (strstr(type, "int") != NULL && dims[0] == c->rows[table])
        check_values(c, c->of->tables[table].name, name, k, dims[0]);
}

static bool knows_column(const schema_table *t, const char *name)
{
    for (const schema_column *k = t->columns; k->name != NULL; k++)
        if (covers(k->name, name)) return true;
    return false;
}

static void note_columns(check *c, const schema_table *t, rd_json *names)
{
    rd_buf name = {0};
    for (const rd_json_node *n = rd_json_first(rd_json_root(names)); n != NULL;
         n = rd_json_next(n)) {
        if (knows_column(t, rd_json_string(n))) continue;
        rd_buf_clear(&name);
        rd_buf_printf(&name, "%s/%s", t->name, rd_json_string(n));
        remark(c, "column", name.data);
    }
    rd_buf_free(&name);
}

/* Lengths of all tables first: references go both ways. */
static void check_tables(check *c)
{
    rd_json *names[MAX_TABLES] = {0};
    int n = 0;
    for (; c->of->tables[n].name != NULL; n++) {
        const schema_table *t = &c->of->tables[n];
        RD_ASSERT(n < MAX_TABLES);
        c->rows[n] = -1;
        if (is_group(c, t->name)) {
            names[n] = names_in(c, t->name);
            for_columns(c, n, names[n], look_at_column);
            note_columns(c, t, names[n]);
        } else if (rd_h5_exists(c->file, t->name) || !t->optional) {
            complain(c, "the table %s is missing", t->name);
        }
    }
    for (int i = 0; i < n; i++) {
        if (names[i] != NULL) for_columns(c, i, names[i], look_at_values);
        rd_json_free(&names[i]);
    }
}

/* ---------------------------------------------------------------- arrays */

static void check_array(check *c, const schema_array *a, const char *name)
{
    int64_t dims[H5S_MAX_RANK] = {0};
    if (!check_dataset(c, name, a->type, a->rank, dims)) return;
    for (int i = 0; i < a->rank; i++)
        if (dims[i] != a->dims[i])
            complain(c, "%s: extent %lld in dimension %d, want %lld", name, (long long)dims[i], i,
                     (long long)a->dims[i]);
}

static void check_arrays(check *c)
{
    rd_buf name = {0};
    for (const schema_array *a = c->of->arrays; a->name != NULL; a++) {
        if (a->rank > 0) {
            check_array(c, a, a->name);
            continue;
        }
        rd_buf_clear(&name);
        rd_buf_add(&name, a->name, strlen(a->name) - 1);
        if (!is_group(c, name.data)) continue;
        rd_json *names = names_in(c, name.data);
        for (const rd_json_node *n = rd_json_first(rd_json_root(names)); n != NULL;
             n = rd_json_next(n)) {
            rd_buf_clear(&name);
            rd_buf_printf(&name, "%s%s", a->name, rd_json_string(n));
            check_array(c, a, name.data);
        }
        rd_json_free(&names);
    }
    rd_buf_free(&name);
}

/* ---------------------------------------------------------------- the file */

static bool knows_group(const schema *s, const char *name)
{
    const size_t n = strlen(name);
    bool known =
        (s->text && strcmp(name, "text") == 0) || (s->links != NULL && strcmp(name, s->links) == 0);
    for (const schema_table *t = s->tables; t->name != NULL; t++)
        known |= strcmp(t->name, name) == 0;
    for (const schema_array *a = s->arrays; a->name != NULL; a++)
        known |= strncmp(a->name, name, n) == 0 && a->name[n] == '/';
    return known;
}

static void note_groups(check *c)
{
    rd_json *names = names_in(c, "");
    for (const rd_json_node *n = rd_json_first(rd_json_root(names)); n != NULL; n = rd_json_next(n))
        if (!knows_group(c->of, rd_json_string(n))) remark(c, "the object", rd_json_string(n));
    rd_json_free(&names);
}

static int find_schema(check *c)
{
    int rc = RD_OK;
    int64_t version = 0;
    rd_buf name = {0};
    RD_TRY(rd_h5_get_string(c->file, c->path, "", "schema", &name));
    c->of = schema_find(name.data);
    if (c->of == NULL)
        RD_FAIL(RD_EINPUT, "%s: this program knows no schema '%s'", c->path, name.data);
    RD_TRY(rd_h5_check_header(c->file, c->path, c->of->name, c->of->version));
    RD_TRY(rd_h5_get_number(c->file, c->path, "", "schema_version", H5T_NATIVE_INT64, &version));
    if (version < c->of->version)
        RD_FAIL(RD_EINPUT, "%s: version %lld of the schema '%s' is older than what is checked (%d)",
                c->path, (long long)version, c->of->name, c->of->version);

done:
    rd_buf_free(&name);
    return rc;
}

static void summarise(const check *c, rd_buf *out)
{
    const char *before = ": ";
    rd_buf_printf(out, "%s: %s version %d, as it should be", c->path, c->of->name, c->of->version);
    for (int i = 0; c->of->tables[i].name != NULL; i++)
        if (c->rows[i] >= 0) {
            rd_buf_printf(out, "%s%lld %s", before, (long long)c->rows[i], c->of->tables[i].name);
            before = ", ";
        }
    rd_buf_putc(out, '\n');
}

int rd_store_check(const char *path, rd_buf *out)
{
    int rc = RD_OK;
    bool sealed = false;
    const rd_comm self = rd_comm_self();
    check c = {.path = path, .file = H5I_INVALID_HID, .out = out};
    RD_TRY(rd_h5_look(path));
    RD_TRY(rd_seal_check(&self, path, &sealed));
    RD_TRY(rd_h5_open_read(path, &c.file));
    RD_TRY(find_schema(&c));
    if (!sealed) complain(&c, "no checksum at its front: not as redistill wrote it");
    check_attributes(&c);
    check_text(&c);
    check_tables(&c);
    check_arrays(&c);
    note_groups(&c);
    if (c.violations > 0)
        RD_FAIL(RD_EINPUT, "%s: %lld violation%s of %s version %d", path, (long long)c.violations,
                c.violations == 1 ? "" : "s", c.of->name, c.of->version);
    summarise(&c, out);

done:
    if (c.file >= 0) H5Fclose(c.file);
    return rc;
}
