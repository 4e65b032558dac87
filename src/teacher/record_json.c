/* record_json.c: records in the JSON that the official code writes.
 *
 * It says nowhere which task a problem is, so that is read off the prompt: everything from its
 * first "Input:" on is the demonstrations.  Applications stand in one list in the order in which
 * they were made (problem, rule, demonstration); walking it beside the rules checks that the files
 * belong together.  The merged training sets hold each rule once and only some applications; these
 * are found by rule and input. */
#include "record.h"

#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- documents */

static int load(record *r, const char *path, rd_json **doc)
{
    int rc = RD_OK;
    rd_buf text = {0};
    RD_TRY(rd_file_read(path, &text));
    r->key = rd_hash(text.data, text.len, r->key + 1);
    RD_TRY(rd_json_parse(text.data, text.len, path, 1, doc));
    rd_resize(r->doc, r->n_docs + 1);
    r->doc[r->n_docs++] = *doc; /* the texts are lent from it */
    if (rd_json_kind(rd_json_root(*doc)) != RD_JSON_ARRAY)
        RD_FAIL(RD_EINPUT, "%s:1: must be a list", path);
done:
    rd_buf_free(&text);
    return rc;
}

/* The string under a key of an object; NULL when there is none. */
static const char *string_of(const rd_json_node *object, const char *key)
{
    if (!object || rd_json_kind(object) != RD_JSON_OBJECT) return NULL;
    const rd_json_node *v = rd_json_get(object, key);
    return v ? rd_json_string(v) : NULL;
}

/* ---------------------------------------------------------------- demonstrations of a prompt */

typedef struct demos {
    int64_t n, cap;
    char **input; /* owned */
    uint64_t content;
} demos;

static void demos_clear(demos *d)
{
    for (int64_t i = 0; i < d->n; i++) rd_free(d->input[i]);
    d->n = 0;
    d->content = 0;
}

static void demos_free(demos *d)
{
    demos_clear(d);
    RD_FREE(d->input);
    d->cap = 0;
}

/* What follows lead on the line at *p, which is passed; NULL when the line begins otherwise. */
static char *line_after(const char **p, const char *lead)
{
    const size_t n = strlen(lead), len = strcspn(*p, "\n");
    if (len < n || strncmp(*p, lead, n) != 0) return NULL;
    char *rest = rd_strndup(*p + n, len - n);
    *p += len + ((*p)[len] == '\n');
    return rest;
}

/* "Input: x\nOutput: y\n", a blank line between two of them.  false: something else stands there.
 */
static bool demos_parse(const char *prompt, demos *d)
{
    demos_clear(d);
    const char *p = strstr(prompt, "Input: ");
    while (p && *p) {
        char *input = line_after(&p, "Input: ");
        char *output = input ? line_after(&p, "Output: ") : NULL;
        if (output) {
            d->content = record_content(d->content, input, output);
            if (d->n == d->cap) {
                d->cap = 2 * d->cap + 16;
                rd_resize(d->input, d->cap);
            }
            d->input[d->n++] = input;
        } else {
            rd_free(input);
            p = NULL;
        }
        rd_free(output);
        if (p) p += strspn(p, "\n");
    }
    return p && d->n > 0;
}

/* ---------------------------------------------------------------- what augmenting wrote */

/* One set of files and where we are in it. */
typedef struct official_set {
    record *r;
    const char *hypo_path, *apply_path, *reward_path;
    rd_json *hypo, *apply, *reward;
    const rd_json_node *next; /* application */
    int64_t n_next;
    demos demos;
} official_set;

/* "…\nRULE\nInput: x\n" */
static bool ends_with_application(const char *prompt, const char *rule, const char *input)
{
    rd_buf want = {0};
    rd_buf_printf(&want, "\n%s\nInput: %s\n", rule, input);
    const size_t n = strlen(prompt);
    const bool fits = n >= want.len && memcmp(prompt + n - want.len, want.data, want.len) == 0;
    rd_buf_free(&want);
    return fits;
}

static int read_applications(official_set *s, const rd_json_node *hypothesis, const char *rule)
{
    int rc = RD_OK;
    for (int64_t i = 0; i < s->demos.n; i++) {
        const char *prompt = s->next ? string_of(s->next, "prompt") : NULL;
        const char *response = s->next ? string_of(s->next, "response") : NULL;
        if (!prompt || !response || !ends_with_application(prompt, rule, s->demos.input[i]))
            RD_FAIL(RD_EINPUT,
                    "%s:%d: entry %lld is not demonstration %lld under the rule on line %d of %s",
                    s->apply_path, s->next ? rd_json_line(s->apply, s->next) : 0,
                    (long long)s->n_next, (long long)i, rd_json_line(s->hypo, hypothesis),
                    s->hypo_path);
        record_add_app(s->r)->response = response;
        s->next = rd_json_next(s->next);
        s->n_next++;
    }
done:
    return rc;
}

static int read_problem(official_set *s, const rd_json_node *hypotheses, const rd_json_node *reward)
{
    int rc = RD_OK;
    const int line = rd_json_line(s->reward, reward);
    const rd_json_node *chosen =
        rd_json_kind(reward) == RD_JSON_OBJECT ? rd_json_get(reward, "chosen") : NULL;
    const bool list = chosen && rd_json_kind(chosen) == RD_JSON_ARRAY;
    const char *prompt = list ? string_of(rd_json_first(chosen), "content") : NULL;
    if (!prompt || !demos_parse(prompt, &s->demos))
        RD_FAIL(RD_EINPUT, "%s:%d: no prompt with demonstrations in \"chosen\"", s->reward_path,
                line);
    if (rd_json_kind(hypotheses) != RD_JSON_ARRAY)
        RD_FAIL(RD_EINPUT, "%s:%d: must be a list of rules", s->hypo_path,
                rd_json_line(s->hypo, hypotheses));
    record_task *t = record_add_task(s->r);
    t->demos = s->demos.content, t->where = s->hypo_path, t->n_rules = rd_json_count(hypotheses);
    for (const rd_json_node *h = rd_json_first(hypotheses); h; h = rd_json_next(h)) {
        const char *text = string_of(h, "Rule");
        if (!text)
            RD_FAIL(RD_EINPUT, "%s:%d: a rule must have the key \"Rule\"", s->hypo_path,
                    rd_json_line(s->hypo, h));
        record_rule *rule = record_add_rule(s->r);
        rule->text = text, rule->n_apps = s->demos.n;
        RD_TRY(read_applications(s, h, text));
    }
done:
    return rc;
}

int record_read_augment(record *r, const char *folder, const char *set)
{
    int rc = RD_OK;
    official_set s = {.r = r,
                      .hypo_path = record_keep_path(r, folder, "all_hypo_", set),
                      .apply_path = record_keep_path(r, folder, "rule_apply_", set),
                      .reward_path = record_keep_path(r, folder, "rule_reward_set_", set)};
    RD_TRY(load(r, s.hypo_path, &s.hypo));
    RD_TRY(load(r, s.apply_path, &s.apply));
    RD_TRY(load(r, s.reward_path, &s.reward));
    const rd_json_node *problem = rd_json_first(rd_json_root(s.hypo));
    const rd_json_node *reward = rd_json_first(rd_json_root(s.reward));
    s.next = rd_json_first(rd_json_root(s.apply));
    for (; problem && reward; problem = rd_json_next(problem), reward = rd_json_next(reward))
        RD_TRY(read_problem(&s, problem, reward));
    if (problem || reward)
        RD_FAIL(RD_EINPUT, "%s: holds %lld problems, %s %lld", s.hypo_path,
                (long long)rd_json_count(rd_json_root(s.hypo)), s.reward_path,
                (long long)rd_json_count(rd_json_root(s.reward)));
    if (s.next)
        RD_FAIL(RD_EINPUT, "%s:%d: more applications than the rules of %s have", s.apply_path,
                rd_json_line(s.apply, s.next), s.hypo_path);
done:
    demos_free(&s.demos);
    return rc;
}

/* ---------------------------------------------------------------- merged training sets */

/* Rows of one prompt follow each other: they are the rules of one task. */
static int read_merged_rules(record *r, const char *path, const rd_json *doc,
                             const rd_json_node *first)
{
    int rc = RD_OK;
    demos d = {0};
    const char *before = NULL;
    for (const rd_json_node *v = first; v; v = rd_json_next(v)) {
        const char *input = string_of(v, "input"), *rule = string_of(v, "output");
        if (!input || !rule)
            RD_FAIL(RD_EINPUT, "%s:%d: a row must have an \"input\" and an \"output\"", path,
                    rd_json_line(doc, v));
        if (!before || strcmp(before, input) != 0) {
            if (!demos_parse(input, &d))
                RD_FAIL(RD_EINPUT, "%s:%d: the input holds no demonstrations", path,
                        rd_json_line(doc, v));
            record_task *t = record_add_task(r);
            t->demos = d.content, t->where = path;
        }
        before = input;
        record_add_rule(r)->text = rule;
        r->task[r->n_tasks - 1].n_rules++;
    }
done:
    demos_free(&d);
    return rc;
}

static int compare_hashes(const void *x, const void *y)
{
    const uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return (a > b) - (a < b);
}

/* The rule at the end of an instruction "WORDING\nRULE\n": the longest tail that is a known rule.
 */
static char *rule_of(const char *instruction, const uint64_t *known, int64_t n_known)
{
    size_t n = strlen(instruction);
    if (n > 0 && instruction[n - 1] == '\n') n--;
    char *text = rd_strndup(instruction, n), *found = NULL;
    for (const char *p = text; p && !found; p = strchr(p, '\n')) {
        p += p > text || *p == '\n';
        const uint64_t hash = rd_hash_str(p, 0);
        if (bsearch(&hash, known, (size_t)n_known, sizeof hash, compare_hashes))
            found = rd_strdup(p);
    }
    rd_free(text);
    return found;
}

static int read_merged_apps(record *r, const char *path, const rd_json *doc,
                            const rd_json_node *first)
{
    int rc = RD_OK;
    uint64_t *known = rd_new(uint64_t, r->n_rules);
    for (int64_t i = 0; i < r->n_rules; i++) known[i] = rd_hash_str(r->rule[i].text, 0);
    qsort(known, (size_t)r->n_rules, sizeof *known, compare_hashes);
    for (const rd_json_node *v = first; v; v = rd_json_next(v)) {
        const char *instruction = string_of(v, "instruction"), *input = string_of(v, "input");
        const char *response = string_of(v, "output");
        if (!instruction || !input || !response)
            RD_FAIL(RD_EINPUT,
                    "%s:%d: a row must have an \"instruction\", an \"input\" and an \"output\"",
                    path, rd_json_line(doc, v));
        char *value = line_after(&input, "Input: "),
             *rule = rule_of(instruction, known, r->n_rules);
        if (value && rule) {
            record_loose *l = record_add_loose(r);
            l->key = record_loose_key(rule, value), l->response = response;
        }
        rd_free(value);
        rd_free(rule);
    }
done:
    rd_free(known);
    return rc;
}

int record_read_merged(record *r, const char *folder)
{
    int rc = RD_OK;
    rd_json *rules = NULL, *apps = NULL;
    const char *rule_path = record_keep_path(r, folder, "generate_rule_sft.json", "");
    const char *apply_path = record_keep_path(r, folder, "apply_rule_sft.json", "");
    RD_TRY(load(r, rule_path, &rules));
    RD_TRY(load(r, apply_path, &apps));
    RD_TRY(read_merged_rules(r, rule_path, rules, rd_json_first(rd_json_root(rules))));
    RD_TRY(read_merged_apps(r, apply_path, apps, rd_json_first(rd_json_root(apps))));
done:
    return rc;
}
