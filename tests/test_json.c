/* ranks: 1 */
/* JSON: the grammar is held strictly, messages name the line, numbers print exactly. */
#include "rd/io.h"
#include "rd_test.h"

static void refused(const char *text, const char *want)
{
    rd_json *doc;
    int rc = rd_json_parse(text, strlen(text), "f", 1, &doc);
    ok(rc == RD_EINPUT && doc == NULL && strstr(rd_error_get()->message, want) != NULL,
       "refuses %.40s: %s (%s)", text, want, rd_error_get()->message);
    rd_json_free(&doc);
    rd_error_clear();
}

static void test_refusals(void)
{
    rd_buf deep = {0};
    refused("", "f:1: expected a value, got the end");
    refused("{\"a\": 1,\n \"b\": 2,\n \"a\": 3}", "f:3: the key \"a\" stands here for the second");
    refused("{\"a\": 1, \"\\u0061\": 3}", "second time (line 1)");
    refused("[1, 2", "f:1: expected ',' or ']', got the end");
    refused("[1,\n]", "f:2: expected a value, got ']'");
    refused("{\"a\" 1}", "expected ':' after the key, got '1'");
    refused("{a: 1}", "expected a key in quotes, got 'a'");
    refused("{\"a\": 1} x", "expected the end of the text, got 'x'");
    refused("[01]", "malformed number");
    refused("[1.]", "malformed number");
    refused("[-]", "malformed number");
    refused("[1e]", "malformed number");
    refused("[+1]", "expected a value, got '+'");
    refused("[NaN]", "expected a value");
    refused("[True]", "expected a value");
    refused("[truth]", "expected a value, got 't'");
    refused("[1e999]", "out of range");
    refused("[1111111111111111111111111111111111111111111111111111111111111111]", "more than 63");
    refused("[\"a\nb\"]", "f:1: a string without its closing quote");
    refused("[\"a\tb\"]", "0x09 in a string");
    refused("[\"\xff\"]", "not UTF-8");
    refused("[\"\xc0\x80\"]", "not UTF-8");
    refused("[\"\xed\xa0\x80\"]", "not UTF-8");
    refused("[\"\\u0000\"]", "\\u0000");
    refused("[\"\\ud800x\"]", "surrogate");
    refused("[\"\\x\"]", "unknown escape");
    refused("[\"\\u12g4\"]", "four hexadecimal");
    refused("[\"abc", "closing quote");
    for (int i = 0; i < 129; i++) rd_buf_putc(&deep, '[');
    refused(deep.data, "nested more than 128 deep");
    rd_buf_free(&deep);
    rd_json *doc;
    is_rc(rd_json_parse("[\0]", 3, "f", 1, &doc), RD_EINPUT, "refuses a NUL byte");
    is_rc(rd_json_read("/nonexistent/x.json", &doc), RD_EINPUT, "refuses a missing file");
}

static void test_reading(void)
{
    const char *text =
        "\xef\xbb\xbf{\n  \"a\":\n    [1, 2.5,\n -3e2],\n  \"A\": true, \"s\": \"x\\ud83d"
        "\\ude00\\n\",\n  \"n\": null, \"big\": 9007199254740993.5, \"o\": {}\n}\n";
    rd_json *doc;
    is_rc(rd_json_parse(text, strlen(text), "f", 10, &doc), RD_OK, "reads");
    rd_json_node *root = rd_json_root(doc), *a = rd_json_get(root, "a");
    is_i64(rd_json_count(root), 6, "members");
    is_i64(rd_json_line(doc, root), 10, "line of the root");
    is_i64(rd_json_line(doc, a), 11, "a member's line is its key's");
    is_i64(rd_json_line(doc, rd_json_next(rd_json_first(a))), 12, "line of an element");
    is_i64(rd_json_line(doc, rd_json_get(root, "s")), 14, "line after a multi-line array");
    is_i64(rd_json_line(doc, rd_json_get(root, "o")), 15, "line of the last member");
    ok(rd_json_bool(rd_json_get(root, "A")), "keys are compared with case");
    ok(rd_json_get(root, "N") == NULL && rd_json_get(a, "a") == NULL, "absent keys");
    ok(rd_json_kind(rd_json_get(root, "n")) == RD_JSON_NULL, "null");
    is_str(rd_json_string(rd_json_get(root, "s")), "x\xf0\x9f\x98\x80\n", "escapes");
    is_str(rd_json_key(a), "a", "key");
    ok(rd_json_key(rd_json_first(a)) == NULL, "elements have no key");
    ok(rd_json_is_int(rd_json_first(a)) && rd_json_int(rd_json_first(a)) == 1, "integer");
    ok(!rd_json_is_int(rd_json_next(rd_json_first(a))), "2.5 is no integer");
    ok(!rd_json_is_int(rd_json_get(root, "big")), "beyond 2^53 is no integer");
    ok(rd_json_string(a) == NULL && rd_json_number(a) == 0, "kinds are not mixed up");
    rd_json_free(&doc);
}

static void test_building(void)
{
    const double x[] = {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, 1e20, -2.5e-7};
    rd_json *doc = rd_json_new(RD_JSON_OBJECT), *back = NULL;
    rd_json_node *root = rd_json_root(doc), *list = rd_json_set_array(root, "list");
    rd_buf out = {0};
    for (int i = 0; i < 6; i++) rd_json_set_number(list, NULL, x[i]);
    rd_json_set_int(root, "n", 3);
    rd_json_set_int(root, "n", 4);
    is_i64(rd_json_int(rd_json_add_int(root, "added", 5)), 5, "add a member");
    ok(rd_json_get(root, "added") != NULL, "which is there");
    rd_json_delete(root, "added");
    rd_json_set_string(root, "q", "a\"b\\\n\x01");
    rd_json_set_string(root, "bad", "x\xff");
    rd_json_set_string(rd_json_set_object(root, "o"), "k", NULL);
    rd_json_set_copy(list, NULL, rd_json_get(root, "o"));
    rd_json_set_bool(root, "gone", true);
    rd_json_delete(root, "gone");
    rd_json_delete(root, "never there");
    rd_json_print(root, false, &out);
    is_str(
        out.data,
        "{\"list\":[0.1,0.3333333333333333,4.94065645841247e-324,1.7976931348623157e+308,1e+20,"
        "-2.5e-07,{\"k\":null}],\"n\":4,\"q\":\"a\\\"b\\\\\\n\\u0001\",\"bad\":\"x\xef\xbf\xbd\","
        "\"o\":{\"k\":null}}",
        "compact form");
    rd_buf_clear(&out);
    rd_json_print(root, true, &out);
    is_rc(rd_json_parse(out.data, out.len, "p", 1, &back), RD_OK, "the pretty form is JSON");
    const rd_json_node *v = rd_json_first(rd_json_get(rd_json_root(back), "list"));
    bool exact = true;
    for (int i = 0; i < 6; i++, v = rd_json_next(v)) exact = exact && rd_json_number(v) == x[i];
    ok(exact, "numbers come back bit for bit");
    is_i64(rd_json_line(doc, list), 0, "built documents have no lines");
    rd_buf_free(&out);
    rd_json_free(&back);
    rd_json_free(&doc);
}

/* 50,000 members: neither the duplicate check nor walking may be quadratic. */
static void test_large(void)
{
    rd_buf text = {0};
    rd_json *doc;
    rd_buf_putc(&text, '{');
    for (int i = 0; i < 50000; i++) rd_buf_printf(&text, "%s\"k%d\": %d", i > 0 ? ",\n" : "", i, i);
    rd_buf_putc(&text, '}');
    const double start = rd_time();
    is_rc(rd_json_parse(text.data, text.len, "large", 1, &doc), RD_OK, "50,000 members");
    ok(rd_time() - start < 2.0, "in %.3f s", rd_time() - start);
    is_i64(rd_json_line(doc, rd_json_get(rd_json_root(doc), "k49999")), 50000, "line of the last");
    rd_json_free(&doc);
    rd_buf_free(&text);
}

static void test_files(void)
{
    rd_buf path = {0}, deep = {0}, back = {0};
    rd_json *doc;
    rd_buf_printf(&deep, "%s/a/b/c", rd_test_dir());
    rd_buf_printf(&path, "%s/x.json", deep.data);
    is_rc(rd_dir_make(deep.data), RD_OK, "makes directories");
    is_rc(rd_dir_make(deep.data), RD_OK, "that exist already");
    is_rc(rd_file_write_atomic(path.data, "[1,\n2", 5), RD_OK, "writes");
    is_rc(rd_file_read(path.data, &back), RD_OK, "reads");
    is_str(back.data, "[1,\n2", "the same bytes");
    int rc = rd_json_read(path.data, &doc);
    ok(rc == RD_EINPUT && strncmp(rd_error_get()->message, path.data, path.len) == 0 &&
           strncmp(rd_error_get()->message + path.len, ":2: ", 4) == 0,
       "a message begins with PATH:LINE");
    rd_error_clear();
    is_rc(rd_dir_make(path.data), RD_EIO, "a file in the way");
    is_rc(rd_file_read(deep.data, &back), RD_EINPUT, "a directory is no file");
    rd_buf_puts(&path, "/y");
    is_rc(rd_file_write_atomic(path.data, "", 0), RD_EIO, "cannot write below a file");
    rd_buf_free(&path);
    rd_buf_free(&deep);
    rd_buf_free(&back);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_refusals();
    test_reading();
    test_building();
    test_large();
    test_files();
    return rd_test_end();
}
