/* describe.c: what an HDF5 file holds, ours or anybody's, as JSON and as text for a terminal.
 *
 * The file is walked once into a JSON document; the text form is printed from that document.  A
 * group whose members are all one-dimensional, equally long datasets is a table; /text/bytes with
 * /text/offset is the text pool; any other dataset is an array. */
#include "io_private.h"
#include <string.h>
#include <sys/stat.h>

typedef struct walk {
    hid_t file;
    const char *path;
    rd_json_node *tables, *arrays, *objects; /* objects: attributes of anything but the root */
    rd_json_node *root;
    rd_json_node *links; /* to other files; made with the first */
} walk;

/* ---------------------------------------------------------------- attributes and types */

const char *rd_h5_type_name(hid_t type, char out[32])
{
    const int bits = 8 * (int)H5Tget_size(type);
    switch (H5Tget_class(type)) {
    case H5T_INTEGER:
        snprintf(out, 32, "%s%d", H5Tget_sign(type) == H5T_SGN_NONE ? "uint" : "int", bits);
        break;
    case H5T_FLOAT: snprintf(out, 32, "float%d", bits); break;
    case H5T_STRING: snprintf(out, 32, "string"); break;
    case H5T_ENUM: snprintf(out, 32, "enum"); break;
    case H5T_COMPOUND: snprintf(out, 32, "compound"); break;
    default: snprintf(out, 32, "other"); break;
    }
    return out;
}

typedef struct attributes {
    hid_t file;
    const char *path, *object;
    rd_json_node *out;
} attributes;

/* A kind of attribute that we never write is named, not shown. */
static herr_t add_attribute(hid_t location, const char *name, const H5A_info_t *info, void *data)
{
    const attributes *a = data;
    char type_text[32];
    rd_buf text = {0};
    double number = 0.0;
    int64_t integer = 0;
    (void)info;
    hid_t attribute = H5Aopen(location, name, H5P_DEFAULT);
    if (attribute < 0) return -1;
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    const H5T_class_t class = H5Tget_class(type);
    const bool scalar = H5Sget_simple_extent_npoints(space) == 1;
    rd_h5_type_name(type, type_text);
    herr_t result = 0;
    if (scalar && class == H5T_STRING) {
        result = rd_h5_get_string(a->file, a->path, a->object, name, &text);
        rd_json_set_string(a->out, name, text.data);
    } else if (scalar && class == H5T_INTEGER) {
        result = H5Aread(attribute, H5T_NATIVE_INT64, &integer);
        rd_json_set_number(a->out, name, (double)integer);
    } else if (scalar && class == H5T_FLOAT) {
        result = H5Aread(attribute, H5T_NATIVE_DOUBLE, &number);
        rd_json_set_number(a->out, name, number);
    } else {
        rd_buf_printf(&text, "(%s)", type_text);
        rd_json_set_string(a->out, name, text.data);
    }
    rd_buf_free(&text);
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    return result < 0 ? -1 : 0;
}

static int add_attributes(const walk *w, const char *object, rd_json_node *out)
{
    int rc = RD_OK;
    attributes a = {.file = w->file, .path = w->path, .object = object, .out = out};
    if (H5Aiterate_by_name(w->file, *object != '\0' ? object : "/", H5_INDEX_NAME, H5_ITER_INC,
                           NULL, add_attribute, &a, H5P_DEFAULT) < 0)
        RD_H5_FAIL(RD_EINPUT, w->path, "attributes");

done:
    return rc;
}

/* ---------------------------------------------------------------- the walk */

static int describe_dataset(const walk *w, const char *name, rd_json_node *out)
{
    int rc = RD_OK, rank = 0;
    char text[32];
    int64_t dims[H5S_MAX_RANK];
    hid_t set = H5I_INVALID_HID, type = H5I_INVALID_HID;
    RD_TRY(rd_h5_dims(w->file, w->path, name, H5S_MAX_RANK, &rank, dims));
    set = H5Dopen2(w->file, name, H5P_DEFAULT);
    if (set < 0) RD_H5_FAIL(RD_EINPUT, w->path, name);
    type = H5Dget_type(set);
    rd_json_set_string(out, "name", name);
    rd_json_set_string(out, "type", rd_h5_type_name(type, text));
    rd_json_node *shape = rd_json_set_array(out, "shape");
    for (int i = 0; i < rank; i++) rd_json_set_int(shape, NULL, dims[i]);
    rd_json_set_int(out, "stored_bytes", (int64_t)H5Dget_storage_size(set));

done:
    if (type >= 0) H5Tclose(type);
    if (set >= 0) H5Dclose(set);
    return rc;
}

/* Length of the columns when the datasets are a table's, -1 otherwise. */
static int64_t table_rows(const rd_json_node *datasets)
{
    int64_t rows = -1;
    for (const rd_json_node *d = rd_json_first(datasets); d != NULL; d = rd_json_next(d)) {
        const rd_json_node *shape = rd_json_get(d, "shape");
        if (rd_json_count(shape) != 1) return -1;
        const int64_t n = rd_json_int(rd_json_first(shape));
        if (rows >= 0 && n != rows) return -1;
        rows = n;
    }
    return rows;
}

static int64_t only_extent(const rd_json_node *dataset)
{
    return rd_json_int(rd_json_first(rd_json_get(dataset, "shape")));
}

/* Sort a group's datasets into text, table or arrays. */
static void place_datasets(walk *w, const char *group, const rd_json_node *datasets, bool leaf)
{
    const rd_json_node *first = rd_json_first(datasets);
    const rd_json_node *second = first != NULL ? rd_json_next(first) : NULL;
    if (strcmp(group, "text") == 0 && second != NULL && rd_json_next(second) == NULL &&
        strcmp(rd_json_string(rd_json_get(first, "name")), "text/bytes") == 0 &&
        strcmp(rd_json_string(rd_json_get(second, "name")), "text/offset") == 0) {
        rd_json_node *text = rd_json_set_object(w->root, "text");
        rd_json_set_int(text, "strings", only_extent(second) - 1);
        rd_json_set_int(text, "bytes", only_extent(first));
        return;
    }
    const int64_t rows = leaf && *group != '\0' ? table_rows(datasets) : -1;
    if (rows < 0) {
        for (; first != NULL; first = rd_json_next(first)) rd_json_set_copy(w->arrays, NULL, first);
        return;
    }
    rd_json_node *table = rd_json_set_object(w->tables, NULL);
    rd_json_set_string(table, "name", group);
    rd_json_set_int(table, "rows", rows);
    rd_json_node *columns = rd_json_set_array(table, "columns");
    for (; first != NULL; first = rd_json_next(first)) {
        rd_json_node *column = rd_json_set_object(columns, NULL);
        const char *name = rd_json_string(rd_json_get(first, "name"));
        rd_json_set_string(column, "name", name + strlen(group) + 1);
        rd_json_set_copy(column, "type", rd_json_get(first, "type"));
    }
}

static herr_t add_name(hid_t group, const char *name, const H5L_info_t *info, void *data)
{
    (void)group;
    (void)info;
    rd_json_set_string(data, NULL, name);
    return 0;
}

/* Links to other files are named, not followed: what is behind them is not this file's. */
static bool is_external(const walk *w, const char *name)
{
    H5L_info_t info;
    return H5Lget_info(w->file, name, &info, H5P_DEFAULT) >= 0 && info.type == H5L_TYPE_EXTERNAL;
}

static int describe_link(walk *w, const char *name)
{
    int rc = RD_OK;
    char value[4096];
    const char *file = "", *object = "";
    if (H5Lget_val(w->file, name, value, sizeof(value), H5P_DEFAULT) < 0 ||
        H5Lunpack_elink_val(value, sizeof(value), NULL, &file, &object) < 0)
        RD_H5_FAIL(RD_EINPUT, w->path, name);
    if (w->links == NULL) w->links = rd_json_set_array(w->root, "links");
    rd_json_node *out = rd_json_set_object(w->links, NULL);
    rd_json_set_string(out, "name", name);
    rd_json_set_string(out, "file", file);
    rd_json_set_string(out, "object", object);

done:
    return rc;
}

static int describe_object_attributes(walk *w, const char *name)
{
    int rc = RD_OK;
    rd_json *found = rd_json_new(RD_JSON_OBJECT);
    RD_TRY(add_attributes(w, name, rd_json_root(found)));
    if (rd_json_first(rd_json_root(found)) != NULL)
        rd_json_set_copy(w->objects, name, rd_json_root(found));

done:
    rd_json_free(&found);
    return rc;
}

#define MAX_GROUP_DEPTH 32 /* hard links can make a group contain itself */

static int describe_group(walk *w, const char *group, int depth)
{
    int rc = RD_OK;
    bool leaf = true;
    rd_buf name = {0};
    rd_json *names = rd_json_new(RD_JSON_ARRAY), *sets = rd_json_new(RD_JSON_ARRAY);
    if (depth > MAX_GROUP_DEPTH) RD_FAIL(RD_EINPUT, "%s: groups nested too deep", w->path);
    if (H5Literate_by_name(w->file, *group != '\0' ? group : "/", H5_INDEX_NAME, H5_ITER_INC, NULL,
                           add_name, rd_json_root(names), H5P_DEFAULT) < 0)
        RD_H5_FAIL(RD_EINPUT, w->path, group);
    for (const rd_json_node *n = rd_json_first(rd_json_root(names)); n != NULL;
         n = rd_json_next(n)) {
        H5O_info_t info;
        rd_buf_clear(&name);
        rd_buf_printf(&name, "%s%s%s", group, *group != '\0' ? "/" : "", rd_json_string(n));
        if (is_external(w, name.data)) {
            leaf = false;
            RD_TRY(describe_link(w, name.data));
            continue;
        }
        /* A dangling link has no object behind it. */
        if (H5Oget_info_by_name2(w->file, name.data, &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0)
            continue;
        RD_TRY(describe_object_attributes(w, name.data));
        if (info.type == H5O_TYPE_GROUP) {
            leaf = false;
            RD_TRY(describe_group(w, name.data, depth + 1));
        } else if (info.type == H5O_TYPE_DATASET) {
            RD_TRY(describe_dataset(w, name.data, rd_json_set_object(rd_json_root(sets), NULL)));
        }
    }
    place_datasets(w, group, rd_json_root(sets), leaf);

done:
    rd_json_free(&names);
    rd_json_free(&sets);
    rd_buf_free(&name);
    return rc;
}

/* ---------------------------------------------------------------- text */

void rd_describe_size(double bytes, rd_buf *out)
{
    static const char *const unit[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    while (bytes >= 1024 && u < 4) bytes /= 1024, u++;
    rd_buf_printf(out, u == 0 ? "%.0f %s" : "%.1f %s", bytes, unit[u]);
}

/* A value on one line: a config is many kilobytes of JSON, of which the beginning will do. */
static void print_short(const rd_json_node *v, rd_buf *out)
{
    enum { LIMIT = 72 };
    const char *s = rd_json_string(v);
    if (s == NULL) {
        rd_json_print(v, false, out);
        return;
    }
    size_t n = strcspn(s, "\n"), all = strlen(s);
    if (n > LIMIT) n = LIMIT;
    while (n < all && n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80) n--; /* whole characters */
    rd_buf_add(out, s, n);
    if (n < all) rd_buf_printf(out, " … (%zu bytes)", all);
}

void rd_describe_attributes(const rd_json_node *attributes_node, const char *indent, rd_buf *out)
{
    int width = 18; /* of the keys, unless they are very long */
    for (const rd_json_node *a = rd_json_first(attributes_node); a != NULL; a = rd_json_next(a)) {
        const size_t n = strlen(rd_json_key(a));
        if (n > (size_t)width && n <= 48) width = (int)n;
    }
    for (const rd_json_node *a = rd_json_first(attributes_node); a != NULL; a = rd_json_next(a)) {
        rd_buf_printf(out, "%s%-*s ", indent, width, rd_json_key(a));
        print_short(a, out);
        rd_buf_putc(out, '\n');
    }
}

static void print_tables(const rd_json_node *tables, rd_buf *out)
{
    if (rd_json_first(tables) == NULL) return;
    rd_buf_puts(out, "\ntables\n");
    for (const rd_json_node *t = rd_json_first(tables); t != NULL; t = rd_json_next(t)) {
        rd_buf_printf(out, "  %-24s %10lld rows  ", rd_json_string(rd_json_get(t, "name")),
                      (long long)rd_json_int(rd_json_get(t, "rows")));
        const rd_json_node *columns = rd_json_get(t, "columns");
        for (const rd_json_node *c = rd_json_first(columns); c != NULL; c = rd_json_next(c))
            rd_buf_printf(out, "%s%s %s", c == rd_json_first(columns) ? "" : ", ",
                          rd_json_string(rd_json_get(c, "name")),
                          rd_json_string(rd_json_get(c, "type")));
        rd_buf_putc(out, '\n');
    }
}

void rd_describe_arrays(const rd_json_node *arrays, const char *title, rd_buf *out)
{
    if (rd_json_first(arrays) == NULL) return;
    rd_buf_printf(out, "\n%s\n", title);
    for (const rd_json_node *a = rd_json_first(arrays); a != NULL; a = rd_json_next(a)) {
        rd_buf shape = {0};
        const rd_json_node *dims = rd_json_get(a, "shape");
        for (const rd_json_node *d = rd_json_first(dims); d != NULL; d = rd_json_next(d))
            rd_buf_printf(&shape, "%s%lld", d == rd_json_first(dims) ? "" : " x ",
                          (long long)rd_json_int(d));
        rd_buf_printf(out, "  %-44s %-8s %-18s ", rd_json_string(rd_json_get(a, "name")),
                      rd_json_string(rd_json_get(a, "type")),
                      shape.data != NULL ? shape.data : "scalar");
        rd_describe_size(rd_json_number(rd_json_get(a, "stored_bytes")), out);
        rd_buf_putc(out, '\n');
        rd_buf_free(&shape);
    }
}

/* A few of them: a sweep has thousands. */
static void print_links(const rd_json_node *links, rd_buf *out)
{
    enum { SHOWN = 8 };
    if (links == NULL) return;
    const int64_t n = rd_json_count(links);
    int64_t i = 0;
    rd_buf_puts(out, "\nlinks to other files\n");
    for (const rd_json_node *l = rd_json_first(links); l != NULL && i < SHOWN;
         l = rd_json_next(l), i++)
        rd_buf_printf(out, "  %-44s %s\n", rd_json_string(rd_json_get(l, "name")),
                      rd_json_string(rd_json_get(l, "file")));
    if (n > i) rd_buf_printf(out, "  … and %lld more\n", (long long)(n - i));
}

static void print_text(const rd_json_node *root, rd_buf *out)
{
    rd_buf_printf(out, "%s: HDF5, ", rd_json_string(rd_json_get(root, "path")));
    rd_describe_size(rd_json_number(rd_json_get(root, "bytes")), out);
    rd_buf_putc(out, '\n');
    rd_describe_attributes(rd_json_get(root, "attributes"), "  ", out);
    print_tables(rd_json_get(root, "tables"), out);
    const rd_json_node *text = rd_json_get(root, "text");
    if (text != NULL) {
        rd_buf_printf(out, "\ntext\n  %lld strings, ",
                      (long long)rd_json_int(rd_json_get(text, "strings")));
        rd_describe_size(rd_json_number(rd_json_get(text, "bytes")), out);
        rd_buf_putc(out, '\n');
    }
    rd_describe_arrays(rd_json_get(root, "arrays"), "arrays", out);
    print_links(rd_json_get(root, "links"), out);
    const rd_json_node *objects = rd_json_get(root, "object_attributes");
    if (rd_json_first(objects) != NULL) rd_buf_puts(out, "\nattributes of objects\n");
    for (const rd_json_node *o = rd_json_first(objects); o != NULL; o = rd_json_next(o)) {
        rd_buf_printf(out, "  %s\n", rd_json_key(o));
        rd_describe_attributes(o, "    ", out);
    }
}

int rd_store_describe(const char *path, bool json, rd_buf *out)
{
    int rc = RD_OK;
    struct stat st;
    bool sealed = false;
    const rd_comm self = rd_comm_self();
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    walk w = {.path = path, .file = H5I_INVALID_HID, .root = rd_json_root(doc)};
    RD_TRY(rd_h5_look(path));
    RD_TRY(rd_seal_check(&self, path, &sealed));
    RD_TRY(rd_h5_open_read(path, &w.file));
    if (stat(path, &st) != 0) RD_FAIL(RD_EINPUT, "%s: %m", path);
    rd_json_set_string(w.root, "path", path);
    rd_json_set_int(w.root, "bytes", st.st_size);
    rd_json_set_bool(w.root, "checksum", sealed);
    RD_TRY(add_attributes(&w, "", rd_json_set_object(w.root, "attributes")));
    w.tables = rd_json_set_array(w.root, "tables");
    w.arrays = rd_json_set_array(w.root, "arrays");
    w.objects = rd_json_set_object(w.root, "object_attributes");
    RD_TRY(describe_group(&w, "", 0));
    if (json)
        rd_json_print(w.root, true, out);
    else
        print_text(w.root, out);

done:
    if (w.file >= 0) H5Fclose(w.file);
    rd_json_free(&doc);
    return rc;
}
