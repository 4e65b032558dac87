/* onednn.c: products of bfloat16 factors by oneDNN, where the build found it and the processor has
 * AMX, whose tiles our own kernel does not use.
 *
 * oneDNN's row-major matmul dst = src weights is our column-major C^T = op(B)^T op(A)^T. Everything
 * is made anew in each call: oneDNN itself remembers the kernels that it has generated. */
#include "tiles.h"

#ifdef RD_ONEDNN
#include <dnnl.h>
#include <omp.h>

/* What takes less is not worth the set-up and the copies. */
static const double LEAST_FLOPS = 2e8;

/* Instruction sets are sets of bits there. */
static bool has(int isa)
{
    return ((int)dnnl_get_effective_cpu_isa() & isa) == isa;
}

bool rd_onednn_works(void)
{
    return has(dnnl_cpu_isa_avx512_core);
}

bool rd_onednn_has_amx(void)
{
    return has(dnnl_cpu_isa_avx512_core_amx);
}

bool rd_onednn_suits(const rd_product *p)
{
    double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k;
    return !p->A.packed && flops >= LEAST_FLOPS && rd_onednn_has_amx();
}

#define TRY(call)                                                      \
    do {                                                               \
        dnnl_status_t status = (call);                                 \
        if (status != dnnl_success) rd_die("oneDNN: %d", (int)status); \
    } while (0)

/* rows x cols numbers with given strides, in memory of the caller's or, NULL, of oneDNN's. */
static dnnl_memory_t memory(dnnl_engine_t engine, dnnl_data_type_t type, int64_t rows, int64_t cols,
                            int64_t step_row, int64_t step_col, const void *at,
                            dnnl_memory_desc_t *desc)
{
    const dnnl_dims_t dims = {rows, cols}, strides = {step_row, step_col};
    dnnl_memory_t m;
    TRY(dnnl_memory_desc_init_by_strides(desc, 2, dims, type, strides));
    TRY(dnnl_memory_create(&m, desc, engine, at == NULL ? DNNL_MEMORY_ALLOCATE : (void *)at));
    return m;
}

static void execute(dnnl_primitive_desc_t pd, dnnl_stream_t stream, int n,
                    const dnnl_exec_arg_t *args)
{
    dnnl_primitive_t primitive;
    TRY(dnnl_primitive_create(&primitive, pd));
    TRY(dnnl_primitive_execute(primitive, stream, n, args));
    TRY(dnnl_stream_wait(stream));
    TRY(dnnl_primitive_destroy(primitive));
    TRY(dnnl_primitive_desc_destroy(pd));
}

/* A factor as rows x cols bfloat16, row-major or, across, column-major; both as it lies. */
static dnnl_memory_t bring(dnnl_engine_t engine, dnnl_stream_t stream, const rd_factor *f,
                           int64_t rows, int64_t cols, bool across, dnnl_memory_desc_t *desc)
{
    int64_t row = across ? 1 : f->ld, col = across ? f->ld : 1;
    if (f->half) return memory(engine, dnnl_bf16, rows, cols, row, col, f->a, desc);
    dnnl_memory_desc_t plain;
    dnnl_primitive_desc_t pd;
    dnnl_memory_t from = memory(engine, dnnl_f32, rows, cols, row, col, f->a, &plain);
    dnnl_memory_t to =
        memory(engine, dnnl_bf16, rows, cols, across ? 1 : cols, across ? rows : 1, NULL, desc);
    TRY(dnnl_reorder_primitive_desc_create(&pd, &plain, engine, desc, engine, NULL));
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    execute(pd, stream, 2, args);
    TRY(dnnl_memory_destroy(from));
    return to;
}

static dnnl_primitive_attr_t scales(float alpha, float beta)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t ops;
    TRY(dnnl_primitive_attr_create(&attr));
    if (alpha != 1) TRY(dnnl_primitive_attr_set_output_scales(attr, 1, 0, &alpha));
    if (beta == 0) return attr;
    TRY(dnnl_post_ops_create(&ops));
    TRY(dnnl_post_ops_append_sum(ops, beta));
    TRY(dnnl_primitive_attr_set_post_ops(attr, ops));
    TRY(dnnl_post_ops_destroy(ops));
    return attr;
}

void rd_onednn_bf16(const rd_product *p)
{
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_memory_desc_t src, weights, dst;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t pd;
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    TRY(dnnl_engine_create(&engine, dnnl_cpu, 0));
    TRY(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
    dnnl_memory_t b = bring(engine, stream, &p->B, p->n, p->k, p->B.transposed, &src);
    dnnl_memory_t a = bring(engine, stream, &p->A, p->k, p->m, p->A.transposed, &weights);
    dnnl_memory_t c = memory(engine, dnnl_f32, p->n, p->m, p->ldc, 1, p->C, &dst);
    dnnl_primitive_attr_t attr = scales(p->alpha, p->beta);
    TRY(dnnl_matmul_desc_init(&desc, &src, &weights, NULL, &dst));
    TRY(dnnl_primitive_desc_create(&pd, &desc, attr, engine, NULL));
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, b}, {DNNL_ARG_WEIGHTS, a}, {DNNL_ARG_DST, c}};
    execute(pd, stream, 3, args);
    TRY(dnnl_primitive_attr_destroy(attr));
    TRY(dnnl_memory_destroy(a));
    TRY(dnnl_memory_destroy(b));
    TRY(dnnl_memory_destroy(c));
    TRY(dnnl_stream_destroy(stream));
    TRY(dnnl_engine_destroy(engine));
    omp_set_num_threads(threads);
}
#else
bool rd_onednn_works(void)
{
    return false;
}

bool rd_onednn_has_amx(void)
{
    return false;
}

bool rd_onednn_suits(const rd_product *p)
{
    (void)p;
    return false;
}

void rd_onednn_bf16(const rd_product *p)
{
    (void)p;
    rd_die("built without oneDNN");
}
#endif
