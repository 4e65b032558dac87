/* machine.c: the constants of a machine: careful defaults, from and to JSON. */
#include "cli/cost.h"

#include <string.h>

/* Half of what a small server of ten years ago does, or less. */
void cost_machine_default(cost_machine *m)
{
    *m = (cost_machine){.name = "built-in careful defaults",
                        .cores_per_node = 16,
                        .ranks_per_node = 16,
                        .memory_per_node = 0,
                        .program = 200e6,
                        .flop = 1 / 20e9,
                        .flop_bf16 = 1 / 20e9,
                        .touch = 1 / 2e9,
                        .call = 1e-6,
                        .pass = 1 / 1e9,
                        .exponential = 1 / 0.3e9,
                        .stream = 1 / 2e9,
                        .node_stream = 1 / 10e9,
                        .inside = {2e-6, 1 / 0.5e9},
                        .between = {5e-6, 1 / 0.3e9},
                        .file = 1 / 0.2e9};
}

/* Members as a user reads them: rates, where the program wants seconds. */
typedef struct member {
    const char *section, *key;
    size_t offset;
    unsigned kind;
} member;
enum { INVERSE = 1, INTEGER = 2, OPTIONAL = 4 };
#define AT(field) offsetof(cost_machine, field)
static const member members[] = {
    {NULL, "cores_per_node", AT(cores_per_node), INTEGER},
    {NULL, "ranks_per_node", AT(ranks_per_node), INTEGER},
    {NULL, "bytes_per_node", AT(memory_per_node), 0},
    {NULL, "bytes_of_program", AT(program), 0},
    {"product", "flops_per_second", AT(flop), INVERSE},
    {"product", "bf16_flops_per_second", AT(flop_bf16), INVERSE | OPTIONAL},
    {"product", "floats_per_second", AT(touch), INVERSE},
    {"product", "seconds_per_call", AT(call), 0},
    {"passes", "floats_per_second", AT(pass), INVERSE},
    {"passes", "exponentials_per_second", AT(exponential), INVERSE},
    {"memory", "rank_floats_per_second", AT(stream), INVERSE},
    {"memory", "node_floats_per_second", AT(node_stream), INVERSE},
    {"inside_node", "seconds_per_message", AT(inside.latency), 0},
    {"inside_node", "floats_per_second", AT(inside.word), INVERSE},
    {"between_nodes", "seconds_per_message", AT(between.latency), 0},
    {"between_nodes", "floats_per_second", AT(between.word), INVERSE},
    {"files", "bytes_per_second", AT(file), INVERSE},
};
enum { N_MEMBERS = sizeof members / sizeof *members };

static int take(const rd_json *doc, const rd_json_node *root, const char *path, const member *k,
                cost_machine *m)
{
    int rc = RD_OK;
    char name[80];
    const rd_json_node *section = k->section ? rd_json_get(root, k->section) : root;
    const rd_json_node *v = section ? rd_json_get(section, k->key) : NULL;
    snprintf(name, sizeof name, "%s%s%s", k->section ? k->section : "", k->section ? "." : "",
             k->key);
    if (v == NULL && (k->kind & OPTIONAL)) return RD_OK;
    if (v == NULL) RD_FAIL(RD_EINPUT, "%s: %s is missing", path, name);
    double x = rd_json_number(v), least = (k->kind & INTEGER) ? 1 : 0;
    bool good = rd_json_kind(v) == RD_JSON_NUMBER && x >= least && (!(k->kind & INVERSE) || x > 0);
    if (!good || ((k->kind & INTEGER) && (!rd_json_is_int(v) || x > 1e6)))
        RD_FAIL(RD_EINPUT, "%s:%d: %s: expected %s", path, rd_json_line(doc, v), name,
                (k->kind & INTEGER) ? "an integer from 1 to 1000000" : "a number above 0");
    if ((k->kind & INTEGER))
        *(int *)((char *)m + k->offset) = (int)x;
    else
        *(double *)((char *)m + k->offset) = (k->kind & INVERSE) ? 1 / x : x;
done:
    return rc;
}

int cost_machine_parse(const char *text, size_t n, const char *path, cost_machine *m)
{
    int rc = RD_OK;
    rd_json *doc = NULL;
    cost_machine new = {0};
    RD_TRY(rd_json_parse(text, n, path, 1, &doc));
    const rd_json_node *root = rd_json_root(doc);
    const char *schema = rd_json_string(rd_json_get(root, "schema"));
    if (schema == NULL || strcmp(schema, "redistill.machine") != 0)
        RD_FAIL(RD_EINPUT, "%s: not a machine file (redistill calibrate writes one)", path);
    if (rd_json_int(rd_json_get(root, "schema_version")) != 1)
        RD_FAIL(RD_EINPUT, "%s: schema_version: this program reads 1", path);
    const char *name = rd_json_string(rd_json_get(root, "name"));
    snprintf(new.name, sizeof new.name, "%s", name ? name : path);
    new.measured = rd_json_bool(rd_json_get(root, "measured"));
    for (int i = 0; i < N_MEMBERS; i++) RD_TRY(take(doc, root, path, &members[i], &new));
    if (new.flop_bf16 == 0) new.flop_bf16 = new.flop; /* an older file */
    *m = new;
done:
    rd_json_free(&doc);
    return rc;
}

int cost_machine_read(const char *path, cost_machine *m)
{
    int rc = RD_OK;
    rd_buf text = {0};
    RD_TRY(rd_file_read(path, &text));
    RD_TRY(cost_machine_parse(text.data ? text.data : "", text.len, path, m));
done:
    rd_buf_free(&text);
    return rc;
}

/* Four digits: more would only look as if they were known. */
static double rounded(double x)
{
    char text[32];
    snprintf(text, sizeof text, "%.4g", x);
    sscanf(text, "%lf", &x);
    return x;
}

void cost_machine_print(const cost_machine *m, const char *const *more, rd_buf *out)
{
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *root = rd_json_root(doc), *section = NULL;
    rd_json_set_string(root, "schema", "redistill.machine");
    rd_json_set_int(root, "schema_version", 1);
    rd_json_set_string(root, "name", m->name);
    rd_json_set_bool(root, "measured", m->measured);
    for (; more != NULL && more[0] != NULL; more += 2) rd_json_set_string(root, more[0], more[1]);
    for (int i = 0; i < N_MEMBERS; i++) {
        const member *k = &members[i];
        bool first = k->section && (i == 0 || members[i - 1].section == NULL ||
                                    strcmp(k->section, members[i - 1].section) != 0);
        if (first) section = rd_json_set_object(root, k->section);
        const void *at = (const char *)m + k->offset;
        if ((k->kind & INTEGER)) {
            rd_json_set_int(root, k->key, *(const int *)at);
            continue;
        }
        double x = *(const double *)at;
        rd_json_set_number(k->section ? section : root, k->key,
                           rounded((k->kind & INVERSE) ? 1 / x : x));
    }
    rd_json_print(root, true, out);
    rd_buf_putc(out, '\n');
    rd_json_free(&doc);
}
