/* sweep_status.c: where the members of a sweep stand, now. */
#include "cli/sweep.h"

#include <string.h>

typedef struct status {
    sweep s;
    member_standing *member;
} status;

static void text_state(const status *t, member_state state, const bool *in, rd_buf *out)
{
    int64_t n = 0;
    for (int64_t i = 0; i < t->s.n; i++) n += in[i];
    if (n == 0) return;
    rd_buf_printf(out, "%-8s %5lld  ", member_state_name(state), (long long)n);
    sweep_ranges(in, t->s.n, true, out);
    rd_buf_putc(out, '\n');
}

/* What there is to say of single members: how far, or why. */
static void text_members(const status *t, member_state state, rd_buf *out)
{
    for (int64_t i = 0; i < t->s.n; i++) {
        const member_standing *st = &t->member[i];
        if (st->state != state || (!*st->reason && st->n_files == 0)) continue;
        rd_buf_printf(out, "  %lld (%s)", (long long)i, t->s.member[i].label);
        if (st->n_files > 0)
            rd_buf_printf(out, ": %d of %d files are there", st->n_there, st->n_files);
        if (*st->reason) rd_buf_printf(out, "; %s", st->reason);
        rd_buf_putc(out, '\n');
    }
}

static void text_status(const status *t, rd_buf *out)
{
    bool *in = rd_new(bool, t->s.n), open = false;
    rd_buf_printf(out, "sweep    %s: %lld members in %s\n", t->s.name, (long long)t->s.n, t->s.dir);
    for (int state = 0; state < MEMBER_STATES; state++) {
        for (int64_t i = 0; i < t->s.n; i++) in[i] = t->member[i].state == (member_state)state;
        text_state(t, (member_state)state, in, out);
        if (state != MEMBER_DONE) text_members(t, (member_state)state, out);
    }
    for (int64_t i = 0; i < t->s.n; i++) {
        in[i] = t->member[i].state != MEMBER_DONE && t->member[i].state != MEMBER_RUNNING;
        open |= in[i];
    }
    if (open) {
        rd_buf_puts(out, "submit   ");
        sweep_submit_line(&t->s, in, out);
        rd_buf_putc(out, '\n');
    }
    rd_free(in);
}

static void json_status(const status *t, rd_buf *out)
{
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *root = rd_json_root(doc);
    rd_json_set_string(root, "name", t->s.name);
    rd_json_set_string(root, "dir", t->s.dir);
    rd_json_node *list = rd_json_set_array(root, "members");
    for (int64_t i = 0; i < t->s.n; i++) {
        const member_standing *st = &t->member[i];
        rd_json_node *o = rd_json_set_object(list, NULL);
        rd_json_set_int(o, "index", i);
        rd_json_set_string(o, "label", t->s.member[i].label);
        rd_json_set_string(o, "state", member_state_name(st->state));
        rd_json_set_string(o, "reason", st->reason);
        rd_json_set_number(o, "seconds", st->seconds);
        rd_json_set_int(o, "files", st->n_files);
        rd_json_set_int(o, "files_there", st->n_there);
    }
    rd_json_print(root, true, out);
    rd_json_free(&doc);
}

static int root_status(const char *file, bool json)
{
    int rc = RD_OK;
    rd_buf text = {0};
    status t = {0};
    RD_TRY(sweep_file_open(file, &t.s));
    t.member = rd_new(member_standing, t.s.n);
    for (int64_t i = 0; i < t.s.n; i++)
        member_look(&t.s, &t.s.member[i], false, NULL, &t.member[i]);
    if (json)
        json_status(&t, &text);
    else
        text_status(&t, &text);
    rd_info("%s", text.data);
done:
    for (int64_t i = 0; t.member && i < t.s.n; i++) member_standing_free(&t.member[i]);
    rd_free(t.member);
    sweep_free(&t.s);
    rd_buf_free(&text);
    return rc;
}

int sweep_status(const char *file, bool json)
{
    const rd_comm world = rd_comm_world();
    return rd_agree(&world, world.rank == 0 ? root_status(file, json) : RD_OK);
}
