/* par_private.h: what the files of par share. */
#ifndef RD_PAR_PRIVATE_H
#define RD_PAR_PRIVATE_H

#include "rd/par.h"

/* The time between the two goes to the open section clocks as communication, once however such
 * pairs are nested (mpitime.c). */
double rd_mpi_enter(void);
void rd_mpi_leave(double start);

#define TIMED(call)                     \
    do {                                \
        double start_ = rd_mpi_enter(); \
        call;                           \
        rd_mpi_leave(start_);           \
    } while (0)

#endif
