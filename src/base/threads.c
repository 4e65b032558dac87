/* threads.c: how many threads the kernels of a rank may use. */
#include "rd/base.h"

#include <omp.h>

static int threads = 1;

void rd_threads_set(int n)
{
    threads = n > 1 ? n : 1;
}

int rd_threads(void)
{
    return threads;
}

int rd_thread(void)
{
    return omp_get_thread_num();
}
