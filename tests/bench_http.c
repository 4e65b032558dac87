/* bench_http: how much of a server's own throughput the augment stage reaches when nothing fails.
 *
 * tests/fault_server.py answers after a fixed delay, or at once.  Its own throughput is what a loop
 * that only writes one canned request and reads the reply gets from it, over as many connections;
 * the stage then makes as many calls.  Runs alternate, since the machine may be shared; the server
 * shares its cores.  Run under mpirun with any number of ranks. */
#include "fault_server.h"
#include "made_tasks.h"
#include "rd/distill.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { IN_FLIGHT = 64, TASKS = 80, RULES = 25, ROUNDS = 3, MAX_PLACES = IN_FLIGHT };

static rd_comm world;

/* ---------------------------------------------------------------- the bare loop */

static int connect_to(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) rd_die("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void send_all(int fd, const rd_buf *b)
{
    for (size_t at = 0; at < b->len;) {
        ssize_t put = write(fd, b->data + at, b->len - at);
        if (put <= 0) rd_die("cannot write");
        at += (size_t)put;
    }
}

/* Requests per second over all ranks. */
static double bare(int port, int64_t requests)
{
    static const char body[] =
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Tell by the rule whether "
        "the lamp is on, off or undetermined for the objects of the input. Answer with that word "
        "and nothing else.\\n\\nRule: The lamp is on if there is a cube.\\nInput: ['red metal "
        "cube', 'gray rubber sphere']\\n\"}],\"temperature\":0.7,\"max_tokens\":512,\"seed\":"
        "1234567,\"stream\":false}";
    rd_buf request = {0}, reply[MAX_PLACES];
    struct pollfd p[MAX_PLACES];
    int n = IN_FLIGHT / world.size + (world.rank < IN_FLIGHT % world.size);
    int64_t mine = requests / world.size, sent = 0, got = 0;
    memset(reply, 0, sizeof reply);
    rd_buf_printf(&request,
                  "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
                  "application/json\r\nContent-Length: %d\r\n\r\n%s",
                  (int)strlen(body), body);
    for (int i = 0; i < n; i++) p[i] = (struct pollfd){connect_to(port), POLLIN, 0};
    rd_barrier(&world);
    double begun = rd_time();
    for (int i = 0; i < n; i++, sent++) send_all(p[i].fd, &request);
    while (got < mine) {
        poll(p, (nfds_t)n, -1);
        for (int i = 0; i < n; i++) {
            char bytes[4096];
            if (!(p[i].revents & POLLIN)) continue;
            ssize_t some = read(p[i].fd, bytes, sizeof bytes);
            if (some <= 0) rd_die("the server went away");
            rd_buf_add(&reply[i], bytes, (size_t)some);
            const char *end = strstr(reply[i].data, "\r\n\r\n"),
                       *length = strstr(reply[i].data, "Content-Length: ");
            if (!end || !length || strlen(end + 4) < (size_t)atoi(length + 16)) continue;
            rd_buf_clear(&reply[i]);
            got++;
            if (sent < mine) send_all(p[i].fd, &request), sent++;
        }
    }
    double seconds = rd_time() - begun;
    rd_max_f64(&world, &seconds, 1);
    for (int i = 0; i < n; i++) close(p[i].fd), rd_buf_free(&reply[i]);
    rd_buf_free(&request);
    return (double)(mine * world.size) / seconds;
}

/* ---------------------------------------------------------------- the stage */

static double stage(const rd_grid *g, const rd_prompts *prompts, const rd_taskset *tasks,
                    const fault_server *server, int round, int64_t *calls)
{
    rd_teacher_opts o;
    rd_teacher *t = NULL;
    rd_augment_report r;
    int64_t rules[1] = {RULES};
    char run[340];
    snprintf(run, sizeof run, "%s/%d-%d", rd_test_dir(), server->port, round);
    rd_teacher_defaults(&o);
    o.kind = "http";
    o.http.url = server->url, o.http.model = "m", o.http.in_flight = IN_FLIGHT;
    if (rd_teacher_create(&o, prompts, NULL, &t) != RD_OK) rd_die("no teacher");
    rd_augment_opts a = {.hypotheses = rules, .rule_temperature = 1, .dir = run};
    rd_barrier(&world);
    double begun = rd_time();
    if (rd_augment_run(g, t, prompts, tasks, &a, &r) != RD_OK)
        rd_die("augment: %s", rd_error_get()->message);
    double seconds = rd_time() - begun;
    rd_max_f64(&world, &seconds, 1);
    rd_teacher_free(&t);
    *calls = r.hypotheses + r.applications;
    return (double)*calls / seconds;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of processor time that this rank has used. */
static double processor(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void compare(const rd_grid *g, const rd_prompts *prompts, const rd_taskset *tasks,
                    const char *delay)
{
    double own[ROUNDS], ours[ROUNDS], ratio[ROUNDS], used[2] = {0};
    int64_t calls = 0;
    fault_server server;
    if (!fault_server_start(&server, delay, (const char *const[3]){"--plain", NULL, NULL}))
        rd_die("the server does not start");
    int port = server.port;
    bare(port, 1000); /* the server's first requests are slower */
    for (int k = 0; k < ROUNDS; k++) {
        double begun = processor();
        ours[k] = stage(g, prompts, tasks, &server, k, &calls);
        used[0] += processor() - begun, begun = processor();
        own[k] = bare(port, calls);
        used[1] += processor() - begun;
        ratio[k] = ours[k] / own[k];
    }
    fault_server_stop(&server);
    rd_sum_f64(&world, used, 2);
    qsort(ratio, ROUNDS, sizeof *ratio, by_size);
    diag("%s s a call, %d in flight, %lld calls, %d rank%s: the stage %.0f, a bare loop %.0f "
         "calls/s "
         "(last round); median ratio %.3f (%.3f - %.3f)",
         delay, IN_FLIGHT, (long long)calls, world.size, world.size == 1 ? "" : "s",
         ours[ROUNDS - 1], own[ROUNDS - 1], ratio[ROUNDS / 2], ratio[0], ratio[ROUNDS - 1]);
    diag("processor time: the stage %.0f, the bare loop %.0f us a call",
         1e6 * used[0] / (double)(ROUNDS * calls), 1e6 * used[1] / (double)(ROUNDS * calls));
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_grid *g = NULL;
    rd_prompts *prompts = NULL;
    rd_taskset tasks = {0};
    world = rd_comm_world();
    rd_grid_create(0, 1, 1, &g);
    rd_prompts_default(&prompts);
    for (int64_t i = 0; i < TASKS; i++) {
        const rd_gen_opts gen = {.family = RD_LIST_FUNCTION, .seed = 5, .n_train = TASKS};
        made_add(&tasks, &gen, RD_SPLIT_TRAIN, i);
    }
    compare(g, prompts, &tasks, "0.02");
    compare(g, prompts, &tasks, "0");
    rd_taskset_free(&tasks);
    rd_prompts_free(&prompts);
    rd_grid_free(&g);
    return rd_test_end();
}
