/* sweep_members.c: the members of a sweep: the product of its axes and seeds. */
#include "cli/sweep.h"

#include <string.h>

static void add_all(const sweep_sets *from, sweep_sets *to)
{
    rd_resize(to->text, to->n + from->n);
    for (int i = 0; i < from->n; i++) to->text[to->n++] = rd_strdup(from->text[i]);
}

static bool excluded(const sweep *s, const int *value, int seed)
{
    for (int i = 0; i < s->n_rules; i++) {
        const sweep_rule *r = &s->rule[i];
        bool hit = !r->hit_seed || r->hit_seed[seed];
        for (int a = 0; a < s->n_axes; a++) hit &= !r->hit[a] || r->hit[a][value[a]];
        if (hit) return true;
    }
    return false;
}

static uint64_t member_key(const sweep_member *m)
{
    uint64_t h = rd_hash(&m->seed, sizeof m->seed, 1);
    for (int i = 0; i < m->sets.n; i++) h = rd_hash_str(m->sets.text[i], h);
    return h;
}

static void add_member(sweep *s, const int *value, int seed)
{
    rd_buf label = {0};
    sweep_member *m = &s->member[s->n];
    *m = (sweep_member){.index = s->n++, .seed = s->seed[seed]};
    add_all(&s->sets, &m->sets);
    for (int a = 0; a < s->n_axes; a++) {
        const sweep_value *v = &s->axis[a].value[value[a]];
        m->axis[a] = rd_strdup(v->label);
        add_all(&v->sets, &m->sets);
        rd_buf_printf(&label, "%s=%s ", s->axis[a].name, v->label);
    }
    rd_buf_printf(&label, "seed=%lld", (long long)m->seed);
    m->label = rd_buf_take(&label);
    m->key = member_key(m);
}

/* The next combination, the last axis fastest; false after the last. */
static bool advance(const sweep *s, int *value)
{
    for (int a = s->n_axes - 1; a >= 0; a--) {
        if (++value[a] < s->axis[a].n) return true;
        value[a] = 0;
    }
    return false;
}

int sweep_expand(sweep *s)
{
    int rc = RD_OK, value[SWEEP_MAX_AXES] = {0};
    double all = s->n_seeds;
    for (int a = 0; a < s->n_axes; a++) all *= s->axis[a].n;
    if (all > SWEEP_MAX_MEMBERS)
        RD_FAIL(RD_EINPUT, "%s: %.0f members; a sweep has at most %d", s->path, all,
                SWEEP_MAX_MEMBERS);
    s->member = rd_new(sweep_member, (int64_t)all);
    do {
        for (int i = 0; i < s->n_seeds; i++)
            if (excluded(s, value, i))
                s->n_excluded++;
            else
                add_member(s, value, i);
    } while (advance(s, value));
    if (s->n == 0) RD_FAIL(RD_EINPUT, "%s: exclude: no member is left", s->path);
done:
    return rc;
}

void sweep_member_dir(const sweep *s, int64_t index, rd_buf *out)
{
    rd_buf_printf(out, "%s/members/%04lld", s->dir, (long long)index);
}

/* "key=" and a text in quotes: a name such as 12 stays a text. */
static void set_text(sweep_sets *sets, const char *key, const char *value)
{
    rd_json *doc = rd_json_new(RD_JSON_ARRAY);
    sweep_sets_add(sets, key, rd_json_set_string(rd_json_root(doc), NULL, value));
    rd_json_free(&doc);
}

int sweep_member_sets(const sweep *s, const sweep_member *m, int n_more, const char *const *more,
                      sweep_sets *out)
{
    static const char *const own[] = {"run.dir=", "run.name=", "run.seed="};
    int rc = RD_OK;
    rd_buf text = {0};
    *out = (sweep_sets){0};
    add_all(&m->sets, out);
    rd_resize(out->text, out->n + 1);
    rd_buf_printf(&text, "run.seed=%lld", (long long)m->seed);
    out->text[out->n++] = rd_buf_take(&text);
    rd_buf_printf(&text, "%s-%04lld", s->name, (long long)m->index);
    set_text(out, "run.name", text.data);
    rd_buf_clear(&text);
    sweep_member_dir(s, m->index, &text);
    set_text(out, "run.dir", text.data);
    for (int i = 0; i < n_more; i++) {
        for (size_t k = 0; k < sizeof own / sizeof *own; k++)
            if (strncmp(more[i], own[k], strlen(own[k])) == 0)
                RD_FAIL(RD_EUSAGE, "--set %s: a sweep gives each member its own", more[i]);
        rd_resize(out->text, out->n + 1);
        out->text[out->n++] = rd_strdup(more[i]);
    }
done:
    rd_buf_free(&text);
    if (rc != RD_OK) sweep_sets_free(out);
    return rc;
}

void sweep_ranges(const bool *in, int64_t n, bool space, rd_buf *out)
{
    const char *between = "";
    for (int64_t i = 0, end; i < n; i = end) {
        end = i + 1;
        if (!in[i]) continue;
        while (end < n && in[end]) end++;
        rd_buf_printf(out, "%s%lld", between, (long long)i);
        if (end - i > 1) rd_buf_printf(out, "-%lld", (long long)end - 1);
        between = space ? ", " : ",";
    }
}

void sweep_submit_line(const sweep *s, const bool *in, rd_buf *out)
{
    rd_buf_puts(out, "sbatch --array=");
    sweep_ranges(in, s->n, false, out);
    rd_buf_printf(out, " jobs/sweep.sbatch %s", s->path);
}
