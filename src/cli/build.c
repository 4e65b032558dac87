/* build.c: what this binary was made of. */
#include "cli/job.h"
#include "rd/la.h"

#include <mpi.h>

#ifndef RD_FLAGS
#define RD_FLAGS "unknown"
#endif

const char *build_version(void)
{
    return "redistill " RD_VERSION " (" RD_GIT ")";
}

void build_describe(rd_buf *out)
{
    rd_buf_printf(out, "compiler  %s\nflags     %s\n", __VERSION__, RD_FLAGS);
#ifdef OMPI_MAJOR_VERSION
    rd_buf_printf(out, "mpi       Open MPI %d.%d.%d\n", OMPI_MAJOR_VERSION, OMPI_MINOR_VERSION,
                  OMPI_RELEASE_VERSION);
#else
    rd_buf_printf(out, "mpi       MPI %d.%d\n", MPI_VERSION, MPI_SUBVERSION);
#endif
    rd_buf_printf(out, "blas      %s\n", rd_la_describe());
}
