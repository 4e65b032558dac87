/* h5.c: HDF5's small change: error texts, element types, opening, attributes, creating datasets. */
#include "io_private.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef RD_VERSION
#define RD_VERSION "unknown"
#endif
#ifndef RD_GIT
#define RD_GIT "unknown"
#endif

/* Chunks of this size keep a column's chunk index short and still let a reader fetch a part of it.
 * It must stay below HDF5's chunk cache (1 MiB), or every partial read would inflate anew. */
#define CHUNK_BYTES ((int64_t)512 << 10)
#define GROWING_CHUNK_ROWS 1024

/* ---------------------------------------------------------------- errors */

void rd_h5_quiet(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static herr_t take_innermost(unsigned n, const H5E_error2_t *e, void *words)
{
    if (n == 0 && e->desc != NULL) snprintf(words, sizeof(rd_h5_words), "%s", e->desc);
    return 0;
}

const char *rd_h5_reason(rd_h5_words *w)
{
    snprintf(w->text, sizeof(w->text), "HDF5 failed");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_innermost, w);
    for (char *p = w->text; *p != '\0'; p++)
        if (*p == '\n') *p = ' ';
    return w->text;
}

/* ---------------------------------------------------------------- types */

size_t rd_dtype_size(rd_dtype t)
{
    static const size_t size[] = {
        [RD_U8] = 1, [RD_I32] = 4, [RD_I64] = 8, [RD_F32] = 4, [RD_F64] = 8};
    return size[t];
}

hid_t rd_h5_memory_type(rd_dtype t)
{
    switch (t) {
    case RD_U8: return H5T_NATIVE_UINT8;
    case RD_I32: return H5T_NATIVE_INT32;
    case RD_I64: return H5T_NATIVE_INT64;
    case RD_F32: return H5T_NATIVE_FLOAT;
    case RD_F64: return H5T_NATIVE_DOUBLE;
    }
    return H5I_INVALID_HID;
}

hid_t rd_h5_file_type(rd_dtype t)
{
    switch (t) {
    case RD_U8: return H5T_STD_U8LE;
    case RD_I32: return H5T_STD_I32LE;
    case RD_I64: return H5T_STD_I64LE;
    case RD_F32: return H5T_IEEE_F32LE;
    case RD_F64: return H5T_IEEE_F64LE;
    }
    return H5I_INVALID_HID;
}

/* ---------------------------------------------------------------- files and objects */

hid_t rd_h5_serial_access(void)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_sec2(access);
    H5Pset_file_locking(access, false, true);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_LATEST);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    return access;
}

int rd_h5_look(const char *path)
{
    int rc = RD_OK;
    rd_h5_quiet();
    /* A look by ourselves first: its reasons are plainer than HDF5's. */
    FILE *f = fopen(path, "rb");
    if (f == NULL) RD_FAIL(RD_EINPUT, "%s: %m", path);
    fclose(f);
    if (H5Fis_hdf5(path) <= 0) RD_FAIL(RD_EINPUT, "%s: not an HDF5 file", path);

done:
    return rc;
}

int rd_h5_open_read(const char *path, hid_t *file)
{
    int rc = RD_OK;
    *file = H5I_INVALID_HID;
    hid_t access = rd_h5_serial_access();
    RD_TRY(rd_h5_look(path));
    *file = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (*file < 0) RD_H5_FAIL(RD_EINPUT, path, "damaged HDF5 file");

done:
    H5Pclose(access);
    return rc;
}

int rd_h5_create(const char *temp, const char *path, hid_t access, hid_t *file)
{
    int rc = RD_OK;
    hid_t properties = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_obj_track_times(properties, false); /* of the root group */
    H5Pset_userblock(properties, RD_SEAL_BYTES);
    *file = H5Fcreate(temp, H5F_ACC_TRUNC, properties, access);
    if (*file < 0) RD_H5_FAIL(RD_EIO, path, "cannot be created");

done:
    H5Pclose(properties);
    return rc;
}

int rd_h5_flush(hid_t file, const char *path, bool serial, int64_t *size)
{
    int rc = RD_OK;
    hsize_t n = (hsize_t)INT64_MAX;
    if (H5Fflush(file, H5F_SCOPE_GLOBAL) < 0 || (serial && H5Fget_filesize(file, &n) < 0))
        RD_H5_FAIL(RD_EIO, path, "cannot be written");
    *size = (int64_t)n;

done:
    return rc;
}

void rd_h5_discard(hid_t file, const char *temp, bool owner)
{
    if (file < 0) return;
    if (owner && truncate(temp, 0) != 0) rd_warn("%s: cannot be emptied: %m", temp);
    H5Fclose(file);
}

/* H5Lexists wants every group on the way to exist. */
bool rd_h5_exists(hid_t file, const char *name)
{
    bool found = true;
    char *part = rd_strdup(name);
    for (char *slash = part; found && slash != NULL && *part != '\0';) {
        slash = strchr(slash + 1, '/');
        if (slash != NULL) *slash = '\0';
        found = H5Lexists(file, part, H5P_DEFAULT) > 0;
        if (slash != NULL) *slash = '/';
    }
    rd_free(part);
    return found;
}

int rd_h5_dims(hid_t file, const char *path, const char *name, int max_rank, int *rank,
               int64_t *dims)
{
    int rc = RD_OK;
    hid_t set = H5I_INVALID_HID, space = H5I_INVALID_HID;
    hsize_t n[H5S_MAX_RANK];
    if (!rd_h5_exists(file, name)) RD_FAIL(RD_EINPUT, "%s: there is no %s in it", path, name);
    set = H5Dopen2(file, name, H5P_DEFAULT);
    if (set < 0) RD_FAIL(RD_EINPUT, "%s: %s is not a dataset", path, name);
    space = H5Dget_space(set);
    *rank = H5Sget_simple_extent_dims(space, n, NULL);
    if (*rank < 0) RD_H5_FAIL(RD_EINPUT, path, name);
    if (*rank > max_rank)
        RD_FAIL(RD_EINPUT, "%s: %s has %d dimensions, want at most %d", path, name, *rank,
                max_rank);
    for (int i = 0; dims != NULL && i < *rank; i++) dims[i] = (int64_t)n[i];

done:
    if (space >= 0) H5Sclose(space);
    if (set >= 0) H5Dclose(set);
    return rc;
}

/* Creation properties common to all datasets: no time stamps, so that equal contents give equal
 * files; never a fill value, since every element is written. */
static hid_t dataset_properties(void)
{
    hid_t p = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_obj_track_times(p, false);
    H5Pset_fill_time(p, H5D_FILL_TIME_NEVER);
    return p;
}

/* The groups on the way to name.  HDF5 would make them by itself, but with time stamps. */
static int make_groups(hid_t file, const char *path, const char *name)
{
    int rc = RD_OK;
    char *part = rd_strdup(name);
    hid_t properties = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(properties, false);
    for (char *slash = strchr(part, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (!rd_h5_exists(file, part)) {
            hid_t group = H5Gcreate2(file, part, H5P_DEFAULT, properties, H5P_DEFAULT);
            if (group < 0) RD_H5_FAIL(RD_EIO, path, part);
            H5Gclose(group);
        }
        *slash = '/';
    }

done:
    H5Pclose(properties);
    rd_free(part);
    return rc;
}

static int dataset_create(hid_t file, const char *path, const char *name, rd_dtype t, hid_t space,
                          hid_t properties, hid_t *set)
{
    int rc = RD_OK;
    *set = H5I_INVALID_HID;
    RD_TRY(make_groups(file, path, name));
    *set = H5Dcreate2(file, name, rd_h5_file_type(t), space, H5P_DEFAULT, properties, H5P_DEFAULT);
    if (*set < 0) RD_H5_FAIL(RD_EIO, path, name);

done:
    return rc;
}

int rd_h5_column_create(hid_t file, const char *path, const char *name, rd_dtype t, int64_t n,
                        bool growth, hid_t *set)
{
    const size_t size = rd_dtype_size(t);
    const hsize_t rows = (hsize_t)n, any = H5S_UNLIMITED;
    hsize_t chunk = growth ? GROWING_CHUNK_ROWS : (hsize_t)(CHUNK_BYTES / (int64_t)size);
    hid_t space = H5Screate_simple(1, &rows, growth ? &any : NULL);
    hid_t properties = dataset_properties();
    if (!growth && chunk > rows) chunk = rows; /* HDF5 refuses a chunk larger than a fixed extent */
    if (chunk > 0) {
        H5Pset_chunk(properties, 1, &chunk);
        if (size > 1) H5Pset_shuffle(properties);
        H5Pset_deflate(properties, 1);
    }
    const int rc = dataset_create(file, path, name, t, space, properties, set);
    H5Pclose(properties);
    H5Sclose(space);
    return rc;
}

/* A compact array stands in its object header, which HDF5 sums by itself; larger ones are cut into
 * chunks of whole rows (planes, ...), since only chunks can be summed. */
static void set_checked_layout(hid_t properties, int rank, const hsize_t *n, hsize_t size)
{
    hsize_t chunk[H5S_MAX_RANK], room = (hsize_t)CHUNK_BYTES / size, total = size;
    for (int i = rank - 1; i >= 0; i--) {
        chunk[i] = n[i] < room ? n[i] : room;
        room = chunk[i] > 0 ? room / chunk[i] : 0;
        if (room == 0) room = 1;
        total *= n[i];
    }
    if (total == 0 || rank == 0) {
        H5Pset_layout(properties, H5D_COMPACT);
    } else {
        H5Pset_chunk(properties, rank, chunk);
        H5Pset_fletcher32(properties);
    }
}

int rd_h5_array_create(hid_t file, const char *path, const char *name, rd_dtype t, int rank,
                       const int64_t *dims, hid_t *set)
{
    hsize_t n[H5S_MAX_RANK];
    RD_ASSERT(rank >= 0 && rank <= H5S_MAX_RANK);
    for (int i = 0; i < rank; i++) n[i] = (hsize_t)dims[i];
    hid_t space = rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(rank, n, NULL);
    hid_t properties = dataset_properties();
    set_checked_layout(properties, rank, n, (hsize_t)rd_dtype_size(t));
    const int rc = dataset_create(file, path, name, t, space, properties, set);
    H5Pclose(properties);
    H5Sclose(space);
    return rc;
}

/* ---------------------------------------------------------------- attributes */

/* UTF-8 of variable length: h5py gives a str, and there is no limit of 64 KiB on a config. */
static hid_t string_type(void)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

static int attribute_set(hid_t file, const char *path, const char *object, const char *name,
                         hid_t type, const void *value)
{
    int rc = RD_OK;
    hid_t attribute = H5I_INVALID_HID, target = H5I_INVALID_HID;
    hid_t space = H5Screate(H5S_SCALAR);
    if (!rd_h5_exists(file, object))
        RD_FAIL(RD_EINTERNAL, "%s: there is no %s in it", path, object);
    target = H5Oopen(file, *object != '\0' ? object : "/", H5P_DEFAULT);
    if (target < 0) RD_H5_FAIL(RD_EIO, path, object);
    if (H5Aexists(target, name) > 0 && H5Adelete(target, name) < 0) RD_H5_FAIL(RD_EIO, path, name);
    attribute = H5Acreate2(target, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, type, value) < 0) RD_H5_FAIL(RD_EIO, path, name);

done:
    if (attribute >= 0) H5Aclose(attribute);
    if (target >= 0) H5Oclose(target);
    H5Sclose(space);
    return rc;
}

int rd_h5_link(hid_t file, const char *path, const char *name, const char *target)
{
    int rc = RD_OK;
    RD_TRY(make_groups(file, path, name));
    if (H5Lcreate_external(target, "/", file, name, H5P_DEFAULT, H5P_DEFAULT) < 0)
        RD_H5_FAIL(RD_EIO, path, name);

done:
    return rc;
}

int rd_h5_set_string(hid_t file, const char *path, const char *object, const char *name,
                     const char *value)
{
    hid_t type = string_type();
    const int rc = attribute_set(file, path, object, name, type, &value);
    H5Tclose(type);
    return rc;
}

int rd_h5_set_number(hid_t file, const char *path, const char *object, const char *name, hid_t type,
                     const void *value)
{
    return attribute_set(file, path, object, name, type, value);
}

bool rd_h5_has_attribute(hid_t file, const char *object, const char *name)
{
    return rd_h5_exists(file, object) &&
           H5Aexists_by_name(file, *object != '\0' ? object : "/", name, H5P_DEFAULT) > 0;
}

static int attribute_open(hid_t file, const char *path, const char *object, const char *name,
                          hid_t *attribute)
{
    int rc = RD_OK;
    const char *target = *object != '\0' ? object : "/";
    *attribute = H5I_INVALID_HID;
    if (!rd_h5_exists(file, object)) RD_FAIL(RD_EINPUT, "%s: there is no %s in it", path, object);
    if (!rd_h5_has_attribute(file, object, name))
        RD_FAIL(RD_EINPUT, "%s: %s has no attribute %s", path, target, name);
    *attribute = H5Aopen_by_name(file, target, name, H5P_DEFAULT, H5P_DEFAULT);
    if (*attribute < 0) RD_H5_FAIL(RD_EINPUT, path, name);

done:
    return rc;
}

static bool is_scalar(hid_t attribute)
{
    hid_t space = H5Aget_space(attribute);
    const hssize_t n = H5Sget_simple_extent_npoints(space);
    H5Sclose(space);
    return n == 1;
}

int rd_h5_get_string(hid_t file, const char *path, const char *object, const char *name,
                     rd_buf *value)
{
    int rc = RD_OK;
    char *text = NULL, *fixed = NULL;
    hid_t attribute = H5I_INVALID_HID, type = H5I_INVALID_HID, memory = H5I_INVALID_HID;
    RD_TRY(attribute_open(file, path, object, name, &attribute));
    type = H5Aget_type(attribute);
    if (H5Tget_class(type) != H5T_STRING || !is_scalar(attribute))
        RD_FAIL(RD_EINPUT, "%s: the attribute %s is not a string", path, name);
    rd_buf_clear(value);
    rd_buf_puts(value, "");
    /* Other tools also write strings of fixed length. */
    if (H5Tis_variable_str(type) > 0) {
        memory = string_type();
        if (H5Aread(attribute, memory, &text) < 0) RD_H5_FAIL(RD_EINPUT, path, name);
        if (text != NULL) rd_buf_puts(value, text);
    } else {
        fixed = rd_new(char, H5Tget_size(type) + 1);
        if (H5Aread(attribute, type, fixed) < 0) RD_H5_FAIL(RD_EINPUT, path, name);
        rd_buf_puts(value, fixed);
    }

done:
    rd_free(fixed);
    if (text != NULL) H5free_memory(text);
    if (memory >= 0) H5Tclose(memory);
    if (type >= 0) H5Tclose(type);
    if (attribute >= 0) H5Aclose(attribute);
    return rc;
}

int rd_h5_get_number(hid_t file, const char *path, const char *object, const char *name, hid_t type,
                     void *value)
{
    int rc = RD_OK;
    hid_t attribute = H5I_INVALID_HID, stored = H5I_INVALID_HID;
    RD_TRY(attribute_open(file, path, object, name, &attribute));
    stored = H5Aget_type(attribute);
    const H5T_class_t class = H5Tget_class(stored);
    if ((class != H5T_INTEGER && class != H5T_FLOAT) || !is_scalar(attribute))
        RD_FAIL(RD_EINPUT, "%s: the attribute %s is not a number", path, name);
    if (H5Aread(attribute, type, value) < 0) RD_H5_FAIL(RD_EINPUT, path, name);

done:
    if (stored >= 0) H5Tclose(stored);
    if (attribute >= 0) H5Aclose(attribute);
    return rc;
}

/* ---------------------------------------------------------------- the root's attributes */

void rd_h5_date(char out[32])
{
    const char *fixed = getenv("SOURCE_DATE_EPOCH");
    char *end = NULL;
    long long seconds = fixed != NULL ? strtoll(fixed, &end, 10) : 0;
    if (fixed == NULL || end == fixed || *end != '\0') seconds = (long long)time(NULL);
    struct tm utc;
    const time_t t = (time_t)seconds;
    if (gmtime_r(&t, &utc) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        snprintf(out, 32, "1970-01-01T00:00:00Z");
}

int rd_h5_set_header(hid_t file, const char *path, const rd_store_info *info, const char *date)
{
    int rc = RD_OK;
    const int64_t version = info->version;
    RD_TRY(rd_h5_set_string(file, path, "", "schema", info->schema));
    RD_TRY(rd_h5_set_number(file, path, "", "schema_version", H5T_STD_I64LE, &version));
    RD_TRY(rd_h5_set_string(file, path, "", "software", "redistill"));
    RD_TRY(rd_h5_set_string(file, path, "", "software_version", RD_VERSION));
    RD_TRY(rd_h5_set_string(file, path, "", "git", RD_GIT));
    RD_TRY(rd_h5_set_string(file, path, "", "date", date));
    RD_TRY(rd_h5_set_string(file, path, "", "config", info->config != NULL ? info->config : ""));

done:
    return rc;
}

int rd_h5_check_header(hid_t file, const char *path, const char *schema, int version)
{
    int rc = RD_OK;
    rd_buf found = {0};
    int64_t found_version = 0;
    if (schema == NULL) return RD_OK;
    RD_TRY(rd_h5_get_string(file, path, "", "schema", &found));
    if (strcmp(found.data, schema) != 0)
        RD_FAIL(RD_EINPUT, "%s: the schema is '%s', want '%s'", path, found.data, schema);
    RD_TRY(rd_h5_get_number(file, path, "", "schema_version", H5T_NATIVE_INT64, &found_version));
    if (found_version > version)
        RD_FAIL(RD_EINPUT, "%s: version %lld of the schema '%s' is newer than this program's (%d)",
                path, (long long)found_version, schema, version);

done:
    rd_buf_free(&found);
    return rc;
}
