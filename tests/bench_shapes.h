/* bench_shapes.h: the models that benches measure. */
#ifndef BENCH_SHAPES_H
#define BENCH_SHAPES_H

#include "rd/nn.h"

/* Initial values of an rd_model_config: 0.35 million parameters, 5.3 million, and SmolLM2-135M's
 * shape. */
#define BENCH_SMALL                                                                         \
    {                                                                                       \
        .vocab = 400, .width = 96, .layers = 3, .heads = 6, .kv_heads = 6, .head_size = 16, \
        .ffn = 256, .rope_theta = 1e4, .norm_eps = 1e-5, .tied = true                       \
    }
#define BENCH_5M                                                                              \
    {                                                                                         \
        .vocab = 1024, .width = 256, .layers = 6, .heads = 8, .kv_heads = 8, .head_size = 32, \
        .ffn = 1024, .rope_theta = 1e4, .norm_eps = 1e-5, .tied = true                        \
    }
#define BENCH_SMOLLM2                                                                           \
    {                                                                                           \
        .vocab = 49152, .width = 576, .layers = 30, .heads = 9, .kv_heads = 3, .head_size = 64, \
        .ffn = 1536, .rope_theta = 1e5, .norm_eps = 1e-5, .tied = true                          \
    }

#endif
