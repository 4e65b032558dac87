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
rd_format_info rd_format_get(rd_format f); /* not of RD_FORMAT_OTHER */

/* Elements first … first + n of a row that begins at a block's first byte, as float32.  The row
 * needs no alignment in memory; only blocks with elements wanted are touched. */
void rd_format_widen(rd_format f, const void *row, int64_t first, int64_t n, float *out);
/* n numbers to F32, F16 or BF16. */
void rd_format_narrow(rd_format f, const float *x, int64_t n, void *out);

#endif
