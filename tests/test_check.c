/* ranks: 1 */
/* inspect --check on files with a sound seal: one that fits its schema, and ones that do not. */
#include "rd/io.h"
#include "rd_test.h"

static rd_comm world;

typedef struct wrong {
    const char *schema;
    int version;
    const char *skip; /* a column that is not written */
    int64_t problem, text, method;
} wrong;

static int column(rd_store *s, const wrong *w, const char *name, rd_dtype t, int64_t value)
{
    const int32_t narrow[2] = {(int32_t)value, (int32_t)value};
    const uint8_t byte[2] = {(uint8_t)value, (uint8_t)value};
    const int64_t wide[2] = {value, value};
    if (w->skip != NULL && strcmp(w->skip, name) == 0) return RD_OK;
    return rd_store_write(s, name, t,
                          t == RD_U8    ? (const void *)byte
                          : t == RD_I32 ? (const void *)narrow
                                        : (const void *)wide,
                          2);
}

/* predictions.h5 with two equal rows in every table. */
static int write_file(const char *path, const wrong *w)
{
    int rc = RD_OK;
    rd_store *s = NULL;
    rd_pool p = {0};
    int64_t base;
    const rd_store_info info = {.schema = w->schema, .version = w->version};
    const struct {
        const char *name;
        rd_dtype type;
        int64_t value;
    } columns[] = {{"problem/family", RD_U8, 1},
                   {"problem/source", RD_I32, 0},
                   {"problem/id", RD_I64, 5},
                   {"problem/task", RD_I64, 7},
                   {"problem/demos", RD_I32, 3},
                   {"problem/queries", RD_I32, 2},
                   {"hypothesis/problem", RD_I64, w->problem},
                   {"hypothesis/draw", RD_I32, 0},
                   {"hypothesis/rule", RD_I64, w->text},
                   {"hypothesis/score", RD_I32, 3},
                   {"hypothesis/followed", RD_I32, 3},
                   {"hypothesis/interpreter_score", RD_I32, -1},
                   {"hypothesis/samples", RD_I32, 1},
                   {"answer/problem", RD_I64, 0},
                   {"answer/query", RD_I32, 0},
                   {"answer/method", RD_U8, w->method},
                   {"answer/n", RD_I32, 5},
                   {"answer/hypothesis", RD_I64, -1},
                   {"answer/response", RD_I64, -1},
                   {"answer/strict", RD_U8, 0},
                   {"answer/tolerant", RD_U8, 1},
                   {"spent/problem", RD_I64, 1},
                   {"spent/method", RD_U8, 2},
                   {"spent/n", RD_I32, 5},
                   {"spent/tokens_in", RD_I64, 10},
                   {"spent/tokens_out", RD_I64, 20}};
    rd_pool_add(&p, "a rule");
    RD_TRY(rd_store_create(&world, path, &info, &s));
    RD_TRY(rd_store_write_pool(s, &p, &base));
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        RD_TRY(column(s, w, columns[i].name, columns[i].type, columns[i].value));
    RD_TRY(rd_store_set_i64(s, "", "key", -3));
    RD_TRY(rd_store_commit(&s));

done:
    rd_store_close(&s);
    rd_pool_free(&p);
    return rc;
}

/* The file is told with this line, and with no other. */
static void told(const char *path, const wrong *w, int want, const char *line)
{
    rd_buf out = {0};
    is_rc(write_file(path, w), RD_OK, "a file");
    const int rc = rd_store_check(path, &out);
    const char *text = out.data != NULL ? out.data : "";
    const size_t first = strcspn(text, "\n");
    ok(rc == want && strstr(text, line) != NULL && strlen(text) <= first + 1, "%.*s",
       (int)(first > 0 ? first : strlen(rd_error_get()->message)),
       first > 0 ? text : rd_error_get()->message);
    rd_error_clear();
    rd_buf_free(&out);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    world = rd_test_world;
    rd_buf path = {0}, list = {0};
    rd_buf_printf(&path, "%s/predictions.h5", rd_test_dir());
    const wrong none = {"redistill.predictions", 2, NULL, 0, 0, 2};
    wrong w = none;
    told(path.data, &none, RD_OK, "as it should be: 2 problem, 2 hypothesis, 2 answer, 2 spent");
    w.skip = "answer/tolerant";
    told(path.data, &w, RD_EINPUT, "answer/tolerant is missing");
    w = none, w.problem = 2;
    told(path.data, &w, RD_EINPUT, "hypothesis/problem: row 0 is row 2 of problem, which has 2 (");
    w = none, w.text = 1;
    told(path.data, &w, RD_EINPUT, "hypothesis/rule: row 0 is text 1 of 1 (and 1 more)");
    w = none, w.method = 33;
    told(path.data, &w, RD_EINPUT, "answer/method: row 0 is 33, want 1 to 32");
    w = none, w.schema = "redistill.other";
    told(path.data, &w, RD_EINPUT, "");
    w = none, w.version = 3;
    told(path.data, &w, RD_EINPUT, "");
    w = none, w.version = 1;
    told(path.data, &w, RD_EINPUT, "");
    rd_store_schemas(&list);
    ok(strstr(list.data, "## redistill.predictions, version 2") != NULL, "the schemas are listed");
    rd_buf_free(&path);
    rd_buf_free(&list);
    return rd_test_end();
}
