/* io's own helpers, shared by its sources and by nobody else: bytes on disk and HDF5's small
 * change.
 *
 * All functions are Local unless they say otherwise; with HDF5's MPI driver, those that create
 * something in a file are called by every rank with the same arguments. */
#ifndef RD_IO_PRIVATE_H
#define RD_IO_PRIVATE_H

#include "rd/io.h"
#include <hdf5.h>

/* ---------------------------------------------------------------- file.c */

/* Append the rest of the file at path to out; more than limit bytes is RD_EINPUT. */
int rd_file_slurp(const char *path, int64_t limit, rd_buf *out);
/* PATH.tmp; the caller frees. */
char *rd_file_temp_name(const char *path);
/* Make sure that the file at path can grow to end bytes, by having the file system assign the
 * blocks. *reserved (0 at first) remembers how far that went. */
int rd_file_reserve(const char *path, int64_t end, int64_t *reserved);
/* Cut off what was reserved in vain: all behind the first size bytes (INT64_MAX: behind the end).
 */
int rd_file_trim(const char *path, int64_t size);
/* fsync, rename temp to path, fsync the directory. */
int rd_file_publish(const char *temp, const char *path);
/* Numbers N of the files DIR/NAME.N.ENDING, ascending, as int64 in out; none where there is no such
 * directory. */
int rd_file_numbers(const char *dir, const char *name, const char *ending, rd_buf *out);
/* Write at *end and move it: all of it or nothing (a partial write is cut off again, so that later
 * records stay reachable). */
int rd_file_append(int fd, const char *path, const void *bytes, size_t n, int64_t *end);
/* Writing past a limit on the file size then fails with EFBIG instead of killing the process. */
void rd_file_ignore_limit_signal(void);

/* ---------------------------------------------------------------- seal.c */

/* Files start with a user block of this size, which holds a checksum over all else. */
enum { RD_SEAL_BYTES = 512 };
/* Write the seal of a complete file, which nobody has open.  Collective on c: the ranks share the
 * reading.  RD_EIO, RD_EINPUT (cannot be read). */
int rd_seal_write(const rd_comm *c, const char *path);
/* Verify it.  *sealed is false for a file that starts otherwise.  Collective on c; RD_EINPUT when
 * the file cannot be read, is truncated, or does not fit its seal. */
int rd_seal_check(const rd_comm *c, const char *path, bool *sealed);

/* ---------------------------------------------------------------- json.c */

/* Bytes of the UTF-8 character at text, 0 when it is none (overlong, a surrogate, cut off). */
int rd_utf8_length(const char *text, const char *end);

/* ---------------------------------------------------------------- describe.c */

/* Lines for a terminal: a size in a fitting unit; an object of values; objects {name, type, shape,
 * stored_bytes} under a title, nothing when there are none. */
void rd_describe_size(double bytes, rd_buf *out);
void rd_describe_attributes(const rd_json_node *attributes_node, const char *indent, rd_buf *out);
void rd_describe_arrays(const rd_json_node *arrays, const char *title, rd_buf *out);
/* "int64", "float32", …; returns out. */
const char *rd_h5_type_name(hid_t type, char out[32]);

/* ---------------------------------------------------------------- h5.c */

/* HDF5 prints its error stack unless told not to; its innermost complaint becomes our message. */
void rd_h5_quiet(void);
typedef struct rd_h5_words {
    char text[256];
} rd_h5_words;
const char *rd_h5_reason(rd_h5_words *w); /* returns w->text */
/* Record "path: what: HDF5's reason" and go to done. */
#define RD_H5_FAIL(code, path, what)                                          \
    do {                                                                      \
        rd_h5_words words_;                                                   \
        RD_FAIL((code), "%s: %s: %s", (path), (what), rd_h5_reason(&words_)); \
    } while (0)
/* File access for the serial driver, without locks (they fail on many parallel file systems, and
 * every file here is either finished or private).  The caller closes. */
hid_t rd_h5_serial_access(void);
/* Create a file at temp that will be known as path; no time stamps, so that equal contents give
 * equal files. */
int rd_h5_create(const char *temp, const char *path, hid_t access, hid_t *file);
int rd_h5_open_read(const char *path, hid_t *file);
/* Is it there and an HDF5 file at all?  RD_EINPUT with the plainest reason. */
int rd_h5_look(const char *path);
/* Everything to the file, which then needs *size bytes; unknown (INT64_MAX) with the MPI driver,
 * which however sets the size itself at close.  Every rank calls it. */
int rd_h5_flush(hid_t file, const char *path, bool serial, int64_t *size);
/* Close a file whose contents no longer matter, after HDF5 failed on it: emptied first, so that
 * there is room for what HDF5 insists on writing at close (a file that it cannot close makes it
 * complain until the process ends). */
void rd_h5_discard(hid_t file, const char *temp, bool owner);

hid_t rd_h5_memory_type(rd_dtype t);
hid_t rd_h5_file_type(rd_dtype t); /* little-endian */
bool rd_h5_exists(hid_t file, const char *name);
/* A dataset's rank and dims (dims NULL: the rank only).  RD_EINPUT when absent or of another kind.
 */
int rd_h5_dims(hid_t file, const char *path, const char *name, int max_rank, int *rank,
               int64_t *dims);
/* A chunked, shuffled, deflated column of n rows; groups on the way are made.  With growth the
 * length may change later and chunks are small. */
int rd_h5_column_create(hid_t file, const char *path, const char *name, rd_dtype t, int64_t n,
                        bool growth, hid_t *set);
/* An array of fixed shape, uncompressed, with checksums that reading verifies. */
int rd_h5_array_create(hid_t file, const char *path, const char *name, rd_dtype t, int rank,
                       const int64_t *dims, hid_t *set);

/* A link to the root of another file, relative to this one's directory; groups on the way are made.
 */
int rd_h5_link(hid_t file, const char *path, const char *name, const char *target);

int rd_h5_set_string(hid_t file, const char *path, const char *object, const char *name,
                     const char *value);
int rd_h5_set_number(hid_t file, const char *path, const char *object, const char *name, hid_t type,
                     const void *value);
int rd_h5_get_string(hid_t file, const char *path, const char *object, const char *name,
                     rd_buf *value);
int rd_h5_get_number(hid_t file, const char *path, const char *object, const char *name, hid_t type,
                     void *value);
bool rd_h5_has_attribute(hid_t file, const char *object, const char *name);
/* The root attributes that every file of ours carries. */
int rd_h5_set_header(hid_t file, const char *path, const rd_store_info *info, const char *date);
int rd_h5_check_header(hid_t file, const char *path, const char *schema, int version);
/* Now, or SOURCE_DATE_EPOCH, as 2026-01-31T12:00:00Z. */
void rd_h5_date(char out[32]);

#endif
