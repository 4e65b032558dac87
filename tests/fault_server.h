/* fault_server.h: tests/fault_server.py beside a test: rank 0 starts and ends it. */
#ifndef RD_FAULT_SERVER_H
#define RD_FAULT_SERVER_H

#include "rd_test.h"
#include <signal.h>
#include <sys/wait.h>

typedef struct fault_server {
    pid_t pid;
    int port; /* on 127.0.0.1 */
    char url[64];
} fault_server;

/* more: up to three further arguments, the rest NULL.  false: it does not start (no Python). */
static inline bool fault_server_start(fault_server *s, const char *delay, const char *const more[3])
{
    char path[400];
    snprintf(path, sizeof path, "%s/port", rd_test_dir());
    *s = (fault_server){0};
    if (rd_test_world.rank == 0) {
        unlink(path);
        s->pid = fork();
        if (s->pid == 0) {
            if (!freopen("/dev/null", "w", stdout)) _exit(127);
            execlp("python3", "python3", "tests/fault_server.py", "--port-file", path, "--lifetime",
                   "300", "--delay", delay, more[0], more[1], more[2], (char *)NULL);
            _exit(127);
        }
        for (int i = 0; i < 400 && s->port == 0 && waitpid(s->pid, NULL, WNOHANG) == 0; i++) {
            FILE *f = fopen(path, "r");
            if (f && fscanf(f, "%d", &s->port) != 1) s->port = 0;
            if (f) fclose(f);
            if (s->port == 0) usleep(50000);
        }
    }
    rd_bcast(&rd_test_world, &s->port, sizeof s->port, 0);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d/v1", s->port);
    return s->port > 0;
}

static inline void fault_server_stop(fault_server *s)
{
    rd_barrier(&rd_test_world);
    if (rd_test_world.rank != 0 || s->port == 0) return;
    kill(s->pid, SIGTERM);
    waitpid(s->pid, NULL, 0);
}

#endif
