/* shared.h: stages whose files the members of a sweep have in common (private to cli). */
#ifndef RD_CLI_SHARED_H
#define RD_CLI_SHARED_H

#include "cli/job.h"

/* A stage that ends with one file.  find: is it there, finished?  make: as a run of its own would.
 * Both Collective; dir: where the file belongs. */
typedef struct shared_stage {
    const char *file;   /* "traces.h5" */
    const char *folder; /* of the run directory, in which it belongs; NULL: the directory itself */
    uint64_t key;       /* of the folder shared/KEY */
    bool reads_traces;  /* make needs the run's traces.h5 in dir */
    void *context;
    int (*find)(void *context, const char *dir, bool *found);
    int (*make)(void *context, const char *dir);
} shared_stage;

/* Outside a sweep: make.  Inside: the first job that needs the file makes it under the folder's
 * lock, those that come meanwhile wait (RD_ESTOP when asked to stop), and when that job dies the
 * next goes on with what it left; every member gets a relative symbolic link.  A damaged file is
 * put aside and made again.  Collective on world. */
int shared_run(job *j, const shared_stage *stage);

#endif
