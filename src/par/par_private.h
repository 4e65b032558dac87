/* par_private.h: what the files of par share. */
#ifndef RD_PAR_PRIVATE_H
#define RD_PAR_PRIVATE_H

#include "rd/par.h"

/* A call of MPI, whose time the open section clocks learn. */
#define TIMED(call)                        \
    do {                                   \
        double start_ = rd_time();         \
        call;                              \
        rd_clock_wait(rd_time() - start_); \
    } while (0)

#endif
