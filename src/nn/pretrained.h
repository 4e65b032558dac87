/* pretrained.h: private to nn: what a published model's files say of its shape.  All Local. */
#ifndef RD_NN_PRETRAINED_H
#define RD_NN_PRETRAINED_H

#include "rd/nn.h"

/* The model that a Hugging Face config.json describes, and its longest context in tokens. RD_EINPUT
 * names file, line and key of what is missing, out of place, or would be computed otherwise than
 * transformers computes it. */
int rd_pretrained_read_json(const char *path, rd_model_config *c, int64_t *positions);
/* The one that the metadata of a GGUF file describes, and its tensors where they alone say it. */
int rd_pretrained_read_gguf(const rd_weights *w, const char *path, rd_model_config *c,
                            int64_t *positions);

#endif
