/* modelfile.h: what the readers and writers of model files share; private to io.
 *
 * All functions are Local. */
#ifndef RD_MODELFILE_H
#define RD_MODELFILE_H

#include "rd/io.h"

/* ---------------------------------------------------------------- element formats (dtype.c) */

/* float32 and the two 16-bit floats.  Widening is exact, payloads of NaNs included.  Narrowing
 * rounds to nearest even, keeps subnormals, goes to infinity from half a step above the largest
 * number, and makes every NaN a quiet one of the same sign. */
float rd_f32_from_f16(uint16_t h);
float rd_f32_from_bf16(uint16_t b);
uint16_t rd_f16_from_f32(float x);
uint16_t rd_bf16_from_f32(float x);

/* A format's name, and the bytes that a block of `block` elements takes (block 1: plain numbers).
 */
typedef struct rd_format_info {
    const char *name;
    int block, bytes;
} rd_format_info;
rd_format_info rd_format_get(rd_format f);  /* not of RD_FORMAT_OTHER */
rd_format rd_format_find(const char *name); /* OTHER when it is none of ours */

/* Elements first … first + n of a row that begins at a block's first byte, as float32.  The row
 * needs no alignment in memory; only blocks with elements wanted are touched. */
void rd_format_widen(rd_format f, const void *row, int64_t first, int64_t n, float *out);
/* n numbers to F32, F16 or BF16. */
void rd_format_narrow(rd_format f, const float *x, int64_t n, void *out);

/* The names of a folder's files (modelfile.c, export.c). */
#define RD_MODEL_INDEX "model.safetensors.index.json"
#define RD_MODEL_SINGLE "model.safetensors"
bool rd_ends_with(const char *s, const char *end);
char *rd_path_in(const char *folder, const char *name); /* the caller frees */

/* ---------------------------------------------------------------- slabs (modelfile.c) */

/* RD_EINTERNAL unless every block of the slab begins inside n elements. */
int rd_slab_check(rd_slab s, int64_t n);
/* Elements of the slab below index `limit` (<= n), the last block cut at n.  limit = n: all. */
int64_t rd_slab_below(rd_slab s, int64_t n, int64_t limit);

/* ---------------------------------------------------------------- the reader's inside */

/* A file's bytes.  fd < 0: memory of somebody else (tests). */
typedef struct rd_map {
    char *path; /* as messages name it */
    const uint8_t *data;
    int64_t n;
    int fd;
} rd_map;

/* width: bytes of an element of numbers and bools; is_signed and real say how to read them.
 * Strings of an array: the bytes between where they lie, found by offset[i] (of their length
 * field).  A single string is a copy. */
struct rd_meta {
    char *key; /* NULL in arrays of arrays */
    rd_meta_kind kind;
    bool array, is_signed;
    int width;
    int64_t n;
    const uint8_t *data; /* elements, or the base of offset */
    int64_t *offset;     /* [n] of an array of strings */
    char *text;          /* of a single string; n_text bytes and a NUL */
    int64_t n_text;
    rd_meta *item; /* [n] of an array of arrays */
};

struct rd_weights {
    char *path;
    const char *format; /* "safetensors", "GGUF version 3" */
    rd_map *map;
    int n_maps;
    rd_tensor *tensor;
    int64_t n, cap;
    int64_t *by_name; /* tensors in order of name, once all are there */
    rd_meta *meta;
    int64_t n_meta, cap_meta;
};

/* Take a file's tensors and metadata from its bytes: map `file` of w.  What they add to w is freed
 * with it, also after a failure. */
int rd_safetensors_parse(rd_weights *w, int file);
int rd_gguf_parse(rd_weights *w, int file);
/* A new tensor; its name, a copy of n bytes, must be UTF-8 without control characters, not empty
 * and at most 1024 bytes.  RD_EINPUT naming the file. */
int rd_weights_add(rd_weights *w, int file, const char *name, int64_t n, rd_tensor **t);
/* A new value with a copy of the key, under the same rules. */
int rd_weights_add_meta(rd_weights *w, int file, const char *key, int64_t n, rd_meta **m);
/* Elements of t; RD_EINPUT when a dimension is negative or above 2^48, or the product overflows. */
int rd_tensor_elements(const rd_weights *w, const rd_tensor *t, int64_t *n);
/* A model file that lies in memory, which is borrowed: what the fuzz programs open. */
int rd_weights_from_bytes(const char *name, bool gguf, const void *bytes, int64_t n,
                          rd_weights **w);
#endif
