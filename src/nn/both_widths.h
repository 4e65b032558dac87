/* both_widths.h: includes LEAF, a file of leaf kernels in vectors, for either width (vectors.h). */
#define LANES 16
#define NAME(x) x##_16
#include LEAF
#undef LANES
#undef NAME
#define LANES 8
#define NAME(x) x##_8
#include LEAF
#undef LANES
#undef NAME
#undef LEAF
