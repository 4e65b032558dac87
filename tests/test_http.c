/* ranks: 1 2 */
/* The teacher over HTTP from C: what comes back, what is asked only once, how each kind of end
 * leaves memory and error.  Whole runs, kills and counts are in http.t. */
#include "fault_server.h"
#include "rd/teacher.h"

enum { RULES = 6 };

static rd_prompts *prompts;
static rd_task task;
static rd_grid *grid;
static fault_server server;

static void defaults(rd_teacher_opts *o)
{
    rd_teacher_defaults(o);
    o->kind = "http";
    o->http.url = server.url;
    o->http.model = "m";
    o->http.in_flight = 8;
    o->http.timeout = 1;
    o->http.attempts = 10;
    o->http.backoff = 0.02;
    o->http.backoff_max = 0.1;
}

/* Rules for the task and one application of each, on this rank.  Codes are each rank's own. */
typedef struct outcome {
    int propose, apply;
    uint64_t rules, responses; /* hashes */
    int64_t empty;             /* rules */
} outcome;

/* The one job under way.  A rank that is called off by another says RD_OK, as augment does. */
static int wait_for(rd_teacher *t, int code, bool *came)
{
    void *tag = NULL;
    int rc = code == RD_OK ? rd_teacher_next(t, &tag) : code;
    *came = tag != NULL;
    return rc;
}

static outcome ask(rd_teacher *t, double temperature)
{
    bool came = false;
    outcome r = {0};
    rd_proposal p[RULES] = {{0}};
    rd_application a[RULES] = {{0}};
    int rc = rd_teacher_propose_start(t, &task, RULES, temperature, p, p);
    r.propose = wait_for(t, rc, &came);
    for (int i = 0; i < RULES && came; i++) {
        r.rules = rd_hash_str(p[i].rule, r.rules);
        r.empty += !*p[i].rule;
        a[i] = (rd_application){.rule = p[i].rule, .input = task.examples[0].input, .key = i};
    }
    if (came) {
        rc = rd_teacher_apply_start(t, task.family, RULES, 0.7, a, a);
        r.apply = wait_for(t, rc, &came);
    }
    for (int i = 0; i < RULES; i++) {
        if (a[i].response) r.responses = rd_hash_str(a[i].response, r.responses);
        rd_free(p[i].rule);
        rd_free(a[i].response);
    }
    if (r.propose != RD_OK || r.apply != RD_OK) rd_teacher_cancel(t);
    return r;
}

/* A teacher's whole life.  Returns the code of all ranks. */
static int life(const rd_teacher_opts *o, const char *dir, outcome *r)
{
    rd_teacher *t = NULL;
    char path[340];
    *r = (outcome){0};
    snprintf(path, sizeof path, "%s/%s", rd_test_dir(), dir);
    int rc = rd_teacher_create(o, prompts, NULL, &t);
    if (rc == RD_OK) {
        rc = rd_teacher_open(t, grid, path);
        if (rc == RD_OK) {
            *r = ask(t, 1);
            rc = rd_agree(&grid->world, r->propose != RD_OK ? r->propose : r->apply);
        }
        rd_teacher_close(t);
    }
    rd_teacher_free(&t);
    return rc;
}

static void refused_options(void)
{
    rd_teacher_opts o;
    rd_teacher *t = NULL;
#define REFUSED(set, what)                                                \
    do {                                                                  \
        defaults(&o);                                                     \
        set;                                                              \
        is_rc(rd_teacher_create(&o, prompts, NULL, &t), RD_EINPUT, what); \
    } while (0)
    REFUSED(o.http.url = "", "no address");
    REFUSED(o.http.url = "ftp://127.0.0.1/", "another protocol");
    REFUSED(o.http.url = "http://me:secret@127.0.0.1/v1", "a password in the address");
    REFUSED(o.http.model = "", "no model");
    REFUSED(o.http.key = "a\nX-Header: b", "a key that ends its header");
    REFUSED(o.http.budget = 1, "a budget without prices");
    REFUSED(o.http.attempts = 0, "no attempt");
    REFUSED(o.http.timeout = 0, "no time");
}

static void keys(void)
{
    rd_teacher_opts o;
    rd_teacher *a = NULL, *b = NULL;
    defaults(&o);
    is_rc(rd_teacher_create(&o, prompts, NULL, &a), RD_OK, "a teacher");
    o.http.url = "https://elsewhere/v1", o.http.key = "k", o.http.in_flight = 3;
    rd_teacher_create(&o, prompts, NULL, &b);
    ok(rd_teacher_key(a) == rd_teacher_key(b), "the address and the key do not name a teacher");
    rd_teacher_free(&b);
    o.http.model = "n";
    rd_teacher_create(&o, prompts, NULL, &b);
    ok(rd_teacher_key(a) != rd_teacher_key(b), "the model does");
    rd_teacher_free(&b);
    rd_teacher_free(&a);
}

static bool start(const char *const more[3])
{
    fault_server_stop(&server);
    return fault_server_start(&server, "0.005", more);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    outcome first, r;
    rd_teacher_opts o;
    rd_gen_opts gen = {.family = RD_LIST_FUNCTION, .seed = 5, .n_train = 1};
    rd_prompts_default(&prompts);
    rd_grid_create(0, 1, 1, &grid);
    if (rd_task_generate(&gen, RD_SPLIT_TRAIN, 0, &task) != RD_OK) rd_die("no task");
    task.source = grid->world.rank; /* each rank asks something else */
    if (!start((const char *const[3]){NULL})) {
        skip("no server");
        goto done;
    }
    refused_options();
    keys();
    defaults(&o);
    is_rc(life(&o, "good", &first), RD_OK, "a server that never fails");
    ok(first.rules && first.empty < RULES, "gives rules");
    is_rc(life(&o, "again", &r), RD_OK, "asked anew");
    ok(r.rules == first.rules && r.responses == first.responses, "it says the same");
    o.seed = 2;
    is_rc(life(&o, "good", &r), RD_OK, "asked with another seed");
    ok(r.rules != first.rules, "it says something else");

    start((const char *const[3]){"--fail", "0.5", NULL});
    defaults(&o);
    is_rc(life(&o, "failing", &r), RD_OK, "a server that fails every other time");
    ok(r.rules == first.rules && r.responses == first.responses, "the same answers in the end");
    o.http.choices = 4;
    is_rc(life(&o, "choices", &r), RD_OK, "several proposals a call");
    o.http.choices = 1, o.http.price_in = 1, o.http.budget = 1e-7;
    is_rc(life(&o, "budget", &r), RD_ESTOP, "no money");
    is_rc(life(&o, "failing", &r), RD_OK, "none is needed for what was answered before");
    ok(r.rules == first.rules && r.responses == first.responses, "and is said again");

    start((const char *const[3]){"--fail", "1", "--ways=html,500,cut_json"});
    defaults(&o);
    is_rc(life(&o, "good", &r), RD_OK, "the ledger alone, the server always failing");
    ok(r.rules == first.rules && r.responses == first.responses, "the first answers");
    o.http.attempts = 2;
    int rc = life(&o, "bad", &r);
    ok(strstr(rd_error_get()->message, "after 2 attempts") != NULL,
       "the error outlives the end: %s", rd_error_get()->message);
    is_rc(rc, RD_EINPUT, "calls given up fail");
    o.http.unanswered_counts = true;
    is_rc(life(&o, "bad", &r), RD_OK, "or count as unanswered");
    ok(r.empty == RULES && r.responses, "rules and responses are empty then");
    o.http.attempts = 100, o.http.backoff = o.http.backoff_max = 3, o.http.deadline = 0.1;
    is_rc(life(&o, "late", &r), RD_OK, "a deadline ends a call before its attempts are used up");
    is_i64(r.empty, RULES, "without an answer");
    o.http.unanswered_counts = false, o.http.in_flight = 1, o.http.attempts = 1;
    rc = life(&o, "few", &r);
    ok(grid->world.rank == 0 || r.propose == RD_EINPUT,
       "a rank without a share of the calls is told");
    is_rc(rc, RD_EINPUT, "all ranks fail");

    fault_server_stop(&server);
    server.port = 0;
    defaults(&o);
    o.http.attempts = 2;
    is_rc(life(&o, "gone", &r), RD_EINPUT, "nobody listens");
done:
    fault_server_stop(&server);
    rd_task_free(&task);
    rd_prompts_free(&prompts);
    rd_grid_free(&grid);
    return rd_test_end();
}
