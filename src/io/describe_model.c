/* describe_model.c: what a model file holds, as JSON and as text for a terminal. */
#include "modelfile.h"
#include "io_private.h"
#include <string.h>

/* Longer arrays (a vocabulary) are named, not shown. */
enum { SHOWN = 16 };

static const char *const kind_names[] = {[RD_META_BOOL] = "bool",
                                         [RD_META_INT] = "int",
                                         [RD_META_REAL] = "real",
                                         [RD_META_STRING] = "string",
                                         [RD_META_ARRAY] = "array"};

/* One element; key NULL appends to an array. */
static void add_value(const rd_meta *m, int64_t i, rd_json_node *out, const char *key)
{
    size_t n;
    const char *s = rd_meta_string(m, i, &n);
    const int64_t v = rd_meta_int(m, i);
    if (m->kind == RD_META_STRING) {
        char *text = rd_strndup(s, n);
        rd_json_set_string(out, key, text);
        rd_free(text);
    } else if (m->kind == RD_META_BOOL) {
        rd_json_set_bool(out, key, v != 0);
    } else if (m->kind == RD_META_INT && v <= (int64_t)1 << 53 && v >= -((int64_t)1 << 53)) {
        rd_json_set_int(out, key, v);
    } else {
        rd_json_set_number(out, key, rd_meta_real(m, i));
    }
}

static void add_meta(const rd_meta *m, rd_json_node *out)
{
    char text[64];
    if (!m->array) {
        add_value(m, 0, out, m->key);
    } else if (m->n > SHOWN || m->kind == RD_META_ARRAY) {
        snprintf(text, sizeof(text), "(%lld x %s)", (long long)m->n, kind_names[m->kind]);
        rd_json_set_string(out, m->key, text);
    } else {
        rd_json_node *list = rd_json_set_array(out, m->key);
        for (int64_t i = 0; i < m->n; i++) add_value(m, i, list, NULL);
    }
}

static int64_t add_tensor(const rd_tensor *t, rd_json_node *out)
{
    int64_t elements = 1;
    rd_json_set_string(out, "name", t->name);
    rd_json_set_string(out, "type", t->type);
    rd_json_node *shape = rd_json_set_array(out, "shape");
    for (int i = 0; i < t->rank; i++) {
        rd_json_set_int(shape, NULL, t->dims[i]);
        elements *= t->dims[i];
    }
    rd_json_set_int(out, "stored_bytes", t->n_bytes);
    return elements;
}

static void print_text(const rd_json_node *root, rd_buf *out)
{
    rd_buf_printf(out, "%s: %s, ", rd_json_string(rd_json_get(root, "path")),
                  rd_json_string(rd_json_get(root, "format")));
    rd_describe_size(rd_json_number(rd_json_get(root, "bytes")), out);
    const rd_json_node *files = rd_json_get(root, "files");
    if (rd_json_count(files) > 1)
        rd_buf_printf(out, " in %lld files", (long long)rd_json_count(files));
    rd_buf_printf(out, ", %.4g million parameters\n",
                  rd_json_number(rd_json_get(root, "parameters")) / 1e6);
    rd_describe_attributes(rd_json_get(root, "metadata"), "  ", out);
    rd_describe_arrays(rd_json_get(root, "tensors"), "tensors", out);
}

int rd_weights_describe(const char *path, bool json, rd_buf *out)
{
    int rc = RD_OK;
    int64_t bytes = 0;
    double parameters = 0.0; /* as a double: what a file claims may not fit an integer */
    rd_weights *w = NULL;
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *root = rd_json_root(doc);
    RD_TRY(rd_weights_open(path, &w));
    rd_json_set_string(root, "path", path);
    rd_json_set_string(root, "format", w->format);
    for (int i = 0; i < w->n_maps; i++) bytes += w->map[i].n;
    rd_json_set_number(root, "bytes", (double)bytes);
    rd_json_node *files = rd_json_set_array(root, "files");
    for (int i = 0; i < w->n_maps; i++) rd_json_set_string(files, NULL, w->map[i].path);
    rd_json_set_null(root, "parameters"); /* its place */
    rd_json_node *metadata = rd_json_set_object(root, "metadata");
    for (int64_t i = 0; i < w->n_meta; i++) add_meta(&w->meta[i], metadata);
    rd_json_node *tensors = rd_json_set_array(root, "tensors");
    for (int64_t i = 0; i < w->n; i++)
        parameters += (double)add_tensor(&w->tensor[i], rd_json_set_object(tensors, NULL));
    rd_json_set_number(root, "parameters", parameters);
    if (json)
        rd_json_print(root, true, out);
    else
        print_text(root, out);

done:
    rd_weights_close(&w);
    rd_json_free(&doc);
    return rc;
}
