/* sampler.h: private to infer: the next token from logits. */
#ifndef RD_INFER_SAMPLER_H
#define RD_INFER_SAMPLER_H

#include "rd/infer.h"

/* Local.  barred: two ids that are never taken, -1 for none.  threads: picks at the same time. */
typedef struct sampler sampler;
sampler *sampler_create(int64_t vocab, const int32_t barred[2], const rd_sampling *o, int threads);
void sampler_free(sampler **s);
/* The token at place `uniform` in [0, 1) of the distribution that temperature and options make of
 * the logits z: [vocab]; with temperature 0 the likeliest, the first of equals.  Barred tokens'
 * logits are overwritten.  A function of its arguments alone.  -1: they are not finite. */
int32_t sampler_pick(sampler *s, int thread, float *z, double temperature, double uniform);
/* What the last pick of this thread at a temperature drew from: [vocab] weights, the likeliest has
 * 1, what is left out 0. */
const float *sampler_weights(const sampler *s, int thread);

#endif
