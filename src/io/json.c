/* json.c: JSON documents over cJSON, read strictly, with line numbers for error messages.
 *
 * cJSON forgives too much for a config (01, raw control characters, broken UTF-8, \u0000, the same
 * key twice) and keeps no positions.  So a scan of our own goes first: it holds the text to RFC
 * 8259, notes the line of every value in document order and words the complaint.  cJSON then builds
 * the tree, and a walk in the same order puts each line into its node's valueint, a field that
 * cJSON fills for numbers but that nothing here reads otherwise (numbers are taken from
 * valuedouble). */
#include "io_private.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 128            /* below cJSON's own limit of 1000 */
#define MAX_NUMBER 63            /* cJSON cuts longer numbers off without a word */
#define EXACT 9007199254740992.0 /* 2^53 */

struct rd_json {
    cJSON *root;
    bool parsed;
};

static cJSON *item_of(const rd_json_node *v)
{
    return (cJSON *)v;
}

static rd_json_node *node_of(const cJSON *item)
{
    return (rd_json_node *)item;
}

/* ---------------------------------------------------------------- the scan */

typedef struct scan {
    const char *p, *end;
    const char *name;
    int line, depth;
    int *lines; /* of every value, in document order */
    int64_t n_lines, cap;
} scan;

#define SCAN_FAIL(s, fmt, ...)                                                             \
    return rd_error_set(RD_EINPUT, __FILE__, __LINE__, __func__, "%s:%d: " fmt, (s)->name, \
                        (s)->line, ##__VA_ARGS__)

static int scan_value(scan *s);

static void scan_space(scan *s)
{
    for (; s->p < s->end; s->p++) {
        if (*s->p == '\n')
            s->line++;
        else if (*s->p != ' ' && *s->p != '\t' && *s->p != '\r')
            return;
    }
}

/* What stands at the scan's position, for messages. */
static const char *scan_seen(const scan *s, char out[16])
{
    if (s->p >= s->end) return "the end of the text";
    const unsigned char c = (unsigned char)*s->p;
    if (c > 0x20 && c < 0x7f)
        snprintf(out, 16, "'%c'", c);
    else
        snprintf(out, 16, "byte 0x%02x", c);
    return out;
}

/* Bytes of the UTF-8 character at p, 0 when it is none (overlong, a surrogate, cut off). */
int rd_utf8_length(const char *text, const char *end)
{
    const unsigned char *p = (const unsigned char *)text;
    const ptrdiff_t left = end - text;
    if (p[0] < 0x80) return 1;
    int n = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
            : p[0] >= 0xe0 && p[0] <= 0xef ? 3
            : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                           : 0;
    if (n == 0 || left < n) return 0;
    for (int i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)) return 0;
    if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) return 0;
    return n;
}

/* The four digits of \uXXXX, p behind the u; -1 when they are none. */
static int hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        const char c = p[i];
        const int d = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
        if (d < 0) return -1;
        v = 16 * v + d;
    }
    return v;
}

static int scan_escape(scan *s)
{
    if (s->end - s->p < 2) SCAN_FAIL(s, "a string without its closing quote");
    const char c = s->p[1];
    if (c == '\0' || strchr("\"\\/bfnrtu", c) == NULL) SCAN_FAIL(s, "unknown escape in a string");
    s->p += 2;
    if (c != 'u') return RD_OK;
    const int first = hex4(s->p, s->end);
    if (first < 0) SCAN_FAIL(s, "\\u needs four hexadecimal digits");
    if (first == 0) SCAN_FAIL(s, "\\u0000 is not allowed in a string");
    s->p += 4;
    if (first < 0xd800 || first > 0xdfff) return RD_OK;
    const bool pair = s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u';
    const int second = pair ? hex4(s->p + 2, s->end) : -1;
    if (first > 0xdbff || second < 0xdc00 || second > 0xdfff)
        SCAN_FAIL(s, "half a surrogate pair in a string");
    s->p += 6;
    return RD_OK;
}

static int scan_string(scan *s)
{
    s->p++;
    while (s->p < s->end && *s->p != '"') {
        const unsigned char c = (unsigned char)*s->p;
        if (c == '\n') SCAN_FAIL(s, "a string without its closing quote");
        if (c < 0x20) SCAN_FAIL(s, "byte 0x%02x in a string must be written as an escape", c);
        if (c == '\\') {
            const int rc = scan_escape(s);
            if (rc != RD_OK) return rc;
            continue;
        }
        const int n = rd_utf8_length(s->p, s->end);
        if (n == 0) SCAN_FAIL(s, "byte 0x%02x in a string is not UTF-8", c);
        s->p += n;
    }
    if (s->p >= s->end) SCAN_FAIL(s, "a string without its closing quote");
    s->p++;
    return RD_OK;
}

static int64_t scan_digits(scan *s)
{
    const char *from = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9') s->p++;
    return s->p - from;
}

static int scan_number(scan *s)
{
    const char *from = s->p;
    char text[MAX_NUMBER + 1];
    if (*s->p == '-') s->p++;
    const char *digits = s->p;
    const int64_t n = scan_digits(s);
    if (n == 0 || (n > 1 && *digits == '0')) SCAN_FAIL(s, "malformed number");
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (scan_digits(s) == 0) SCAN_FAIL(s, "malformed number");
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-')) s->p++;
        if (scan_digits(s) == 0) SCAN_FAIL(s, "malformed number");
    }
    const int64_t len = s->p - from;
    if (len > MAX_NUMBER) SCAN_FAIL(s, "a number of more than %d characters", MAX_NUMBER);
    memcpy(text, from, (size_t)len);
    text[len] = '\0';
    if (!isfinite(strtod(text, NULL))) SCAN_FAIL(s, "number out of range: %s", text);
    return RD_OK;
}

static int scan_word(scan *s, const char *word)
{
    char seen[16];
    const size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        SCAN_FAIL(s, "expected a value, got %s", scan_seen(s, seen));
    s->p += n;
    return RD_OK;
}

static int scan_key(scan *s)
{
    char seen[16];
    if (s->p >= s->end || *s->p != '"')
        SCAN_FAIL(s, "expected a key in quotes, got %s", scan_seen(s, seen));
    const int rc = scan_string(s);
    if (rc != RD_OK) return rc;
    scan_space(s);
    if (s->p >= s->end || *s->p != ':')
        SCAN_FAIL(s, "expected ':' after the key, got %s", scan_seen(s, seen));
    s->p++;
    return RD_OK;
}

static int scan_container(scan *s, char close)
{
    int rc;
    char seen[16];
    if (++s->depth > MAX_DEPTH) SCAN_FAIL(s, "nested more than %d deep", MAX_DEPTH);
    s->p++;
    scan_space(s);
    if (s->p < s->end && *s->p == close) goto end;
    for (;;) {
        const int64_t value = s->n_lines;
        scan_space(s);
        const int line = s->line;
        if (close == '}' && (rc = scan_key(s)) != RD_OK) return rc;
        if ((rc = scan_value(s)) != RD_OK) return rc;
        if (close == '}') s->lines[value] = line; /* a member is where its key is */
        scan_space(s);
        if (s->p < s->end && *s->p == close) goto end;
        if (s->p >= s->end || *s->p != ',')
            SCAN_FAIL(s, "expected ',' or '%c', got %s", close, scan_seen(s, seen));
        s->p++;
    }
end:
    s->p++;
    s->depth--;
    return RD_OK;
}

static int scan_value(scan *s)
{
    char seen[16];
    scan_space(s);
    if (s->n_lines == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        rd_resize(s->lines, s->cap);
    }
    s->lines[s->n_lines++] = s->line;
    const char c = s->p < s->end ? *s->p : '\0';
    switch (c) {
    case '{': return scan_container(s, '}');
    case '[': return scan_container(s, ']');
    case '"': return scan_string(s);
    case 't': return scan_word(s, "true");
    case 'f': return scan_word(s, "false");
    case 'n': return scan_word(s, "null");
    default:
        if (c == '-' || (c >= '0' && c <= '9')) return scan_number(s);
        SCAN_FAIL(s, "expected a value, got %s", scan_seen(s, seen));
    }
}

/* ---------------------------------------------------------------- parsing */

static int64_t put_lines(cJSON *item, const int *lines, int64_t at)
{
    item->valueint = lines[at++];
    for (cJSON *v = item->child; v != NULL; v = v->next) at = put_lines(v, lines, at);
    return at;
}

/* Keys are compared as cJSON decoded them, so that "a" and "\u0061" are the same.  The first key
 * met again is reported. */
static int refuse_duplicates(const cJSON *item, const char *name)
{
    int rc = RD_OK;
    cJSON **slots = NULL;
    int64_t members = 0, mask = 15;
    for (const cJSON *v = item->child; v != NULL; v = v->next, members++)
        RD_TRY(refuse_duplicates(v, name));
    if (!cJSON_IsObject(item) || members < 2) goto done;
    while (mask < 2 * members) mask = 2 * mask + 1;
    slots = rd_new(cJSON *, mask + 1);
    for (cJSON *v = item->child; v != NULL; v = v->next) {
        uint64_t at = rd_hash_str(v->string, 0) & (uint64_t)mask;
        for (; slots[at] != NULL; at = (at + 1) & (uint64_t)mask)
            if (strcmp(slots[at]->string, v->string) == 0)
                RD_FAIL(RD_EINPUT,
                        "%s:%d: the key \"%s\" stands here for the second time (line %d)", name,
                        v->valueint, v->string, slots[at]->valueint);
        slots[at] = v;
    }

done:
    rd_free(slots);
    return rc;
}

int rd_json_parse(const char *text, size_t n, const char *name, int first_line, rd_json **doc)
{
    int rc = RD_OK;
    cJSON *root = NULL;
    char seen[16];
    *doc = NULL;
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) text += 3, n -= 3;
    scan s = {.p = text, .end = text + n, .name = name, .line = first_line};
    RD_TRY(scan_value(&s));
    scan_space(&s);
    if (s.p < s.end)
        RD_FAIL(RD_EINPUT, "%s:%d: expected the end of the text, got %s", name, s.line,
                scan_seen(&s, seen));
    root = cJSON_ParseWithLength(text, n);
    if (root == NULL) RD_FAIL(RD_EINTERNAL, "%s: cJSON refuses what the scan accepts", name);
    RD_ASSERT(put_lines(root, s.lines, 0) == s.n_lines);
    RD_TRY(refuse_duplicates(root, name));
    *doc = rd_new(rd_json, 1);
    **doc = (rd_json){.root = root, .parsed = true};
    root = NULL;

done:
    cJSON_Delete(root);
    rd_free(s.lines);
    return rc;
}

int rd_json_read(const char *path, rd_json **doc)
{
    int rc = RD_OK;
    rd_buf text = {0};
    *doc = NULL;
    RD_TRY(rd_file_read(path, &text));
    RD_TRY(rd_json_parse(text.data, text.len, path, 1, doc));

done:
    rd_buf_free(&text);
    return rc;
}

void rd_json_free(rd_json **doc)
{
    if (*doc != NULL) cJSON_Delete((*doc)->root);
    RD_FREE(*doc);
}

rd_json_node *rd_json_root(rd_json *doc)
{
    return node_of(doc->root);
}

/* ---------------------------------------------------------------- reading */

rd_json_type rd_json_kind(const rd_json_node *v)
{
    switch (item_of(v)->type & 0xff) {
    case cJSON_True:
    case cJSON_False: return RD_JSON_BOOL;
    case cJSON_Number: return RD_JSON_NUMBER;
    case cJSON_String: return RD_JSON_STRING;
    case cJSON_Array: return RD_JSON_ARRAY;
    case cJSON_Object: return RD_JSON_OBJECT;
    default: return RD_JSON_NULL;
    }
}

const char *rd_json_kind_name(rd_json_type t)
{
    static const char *const names[] = {
        [RD_JSON_NULL] = "null",     [RD_JSON_BOOL] = "boolean", [RD_JSON_NUMBER] = "number",
        [RD_JSON_STRING] = "string", [RD_JSON_ARRAY] = "array",  [RD_JSON_OBJECT] = "object"};
    return names[t];
}

/* Not cJSON_GetObjectItem: that one ignores case. */
rd_json_node *rd_json_get(const rd_json_node *object, const char *key)
{
    if (object == NULL || rd_json_kind(object) != RD_JSON_OBJECT) return NULL;
    cJSON *v = item_of(object)->child;
    while (v != NULL && strcmp(v->string, key) != 0) v = v->next;
    return node_of(v);
}

rd_json_node *rd_json_first(const rd_json_node *container)
{
    return node_of(item_of(container)->child);
}

rd_json_node *rd_json_next(const rd_json_node *v)
{
    return node_of(item_of(v)->next);
}

int64_t rd_json_count(const rd_json_node *container)
{
    int64_t n = 0;
    for (const cJSON *v = item_of(container)->child; v != NULL; v = v->next) n++;
    return n;
}

const char *rd_json_key(const rd_json_node *v)
{
    return item_of(v)->string;
}

double rd_json_number(const rd_json_node *v)
{
    return cJSON_IsNumber(item_of(v)) ? item_of(v)->valuedouble : 0.0;
}

bool rd_json_is_int(const rd_json_node *v)
{
    if (!cJSON_IsNumber(item_of(v))) return false;
    const double x = item_of(v)->valuedouble;
    return fabs(x) <= EXACT && x == trunc(x);
}

int64_t rd_json_int(const rd_json_node *v)
{
    return rd_json_is_int(v) ? (int64_t)item_of(v)->valuedouble : 0;
}

bool rd_json_bool(const rd_json_node *v)
{
    return cJSON_IsTrue(item_of(v));
}

const char *rd_json_string(const rd_json_node *v)
{
    return cJSON_IsString(item_of(v)) ? item_of(v)->valuestring : NULL;
}

int rd_json_line(const rd_json *doc, const rd_json_node *v)
{
    return doc->parsed ? item_of(v)->valueint : 0;
}

/* ---------------------------------------------------------------- building */

static void drop_lines(cJSON *item)
{
    item->valueint = 0;
    for (cJSON *v = item->child; v != NULL; v = v->next) drop_lines(v);
}

static rd_json_node *place(rd_json_node *parent, const char *key, cJSON *item)
{
    if (item == NULL) rd_die("out of memory in a JSON document");
    drop_lines(item);
    RD_ASSERT(rd_json_kind(parent) == (key == NULL ? RD_JSON_ARRAY : RD_JSON_OBJECT));
    bool placed;
    if (key == NULL)
        placed = cJSON_AddItemToArray(item_of(parent), item);
    else if (rd_json_get(parent, key) == NULL)
        placed = cJSON_AddItemToObject(item_of(parent), key, item);
    else
        placed = cJSON_ReplaceItemInObjectCaseSensitive(item_of(parent), key, item);
    RD_ASSERT(placed);
    return node_of(item);
}

rd_json *rd_json_new(rd_json_type root)
{
    RD_ASSERT(root == RD_JSON_OBJECT || root == RD_JSON_ARRAY);
    rd_json *doc = rd_new(rd_json, 1);
    doc->root = root == RD_JSON_OBJECT ? cJSON_CreateObject() : cJSON_CreateArray();
    if (doc->root == NULL) rd_die("out of memory in a JSON document");
    return doc;
}

rd_json_node *rd_json_set_string(rd_json_node *object, const char *key, const char *value)
{
    return place(object, key, value == NULL ? cJSON_CreateNull() : cJSON_CreateString(value));
}

rd_json_node *rd_json_set_number(rd_json_node *object, const char *key, double value)
{
    return place(object, key, cJSON_CreateNumber(value));
}

rd_json_node *rd_json_add_int(rd_json_node *object, const char *key, int64_t value)
{
    RD_ASSERT(value >= -(int64_t)EXACT && value <= (int64_t)EXACT);
    RD_ASSERT(rd_json_kind(object) == RD_JSON_OBJECT);
    cJSON *item = cJSON_CreateNumber((double)value);
    if (item == NULL) rd_die("out of memory in a JSON document");
    drop_lines(item);
    RD_ASSERT(cJSON_AddItemToObject(item_of(object), key, item));
    return node_of(item);
}

rd_json_node *rd_json_set_int(rd_json_node *object, const char *key, int64_t value)
{
    RD_ASSERT(value >= -(int64_t)EXACT && value <= (int64_t)EXACT); /* larger ones change */
    return rd_json_set_number(object, key, (double)value);
}

rd_json_node *rd_json_set_bool(rd_json_node *object, const char *key, bool value)
{
    return place(object, key, cJSON_CreateBool(value));
}

rd_json_node *rd_json_set_null(rd_json_node *object, const char *key)
{
    return place(object, key, cJSON_CreateNull());
}

rd_json_node *rd_json_set_object(rd_json_node *object, const char *key)
{
    return place(object, key, cJSON_CreateObject());
}

rd_json_node *rd_json_set_array(rd_json_node *object, const char *key)
{
    return place(object, key, cJSON_CreateArray());
}

rd_json_node *rd_json_set_copy(rd_json_node *object, const char *key, const rd_json_node *value)
{
    cJSON *copy = cJSON_Duplicate(item_of(value), true);
    /* The copy keeps the original's key, which an array element must not have. */
    if (copy != NULL && key == NULL) {
        cJSON_free(copy->string);
        copy->string = NULL;
    }
    return place(object, key, copy);
}

void rd_json_delete(rd_json_node *object, const char *key)
{
    rd_json_node *v = rd_json_get(object, key);
    if (v != NULL) cJSON_Delete(cJSON_DetachItemViaPointer(item_of(object), item_of(v)));
}

/* ---------------------------------------------------------------- printing */

/* Text that a model wrote may be no UTF-8; what is not becomes U+FFFD, so that the output is JSON.
 */
static void print_string(const char *s, rd_buf *out)
{
    const char *end = s + strlen(s), *plain = s;
    rd_buf_putc(out, '"');
    while (s < end) {
        const unsigned char c = (unsigned char)*s;
        const int n = rd_utf8_length(s, end);
        if (n != 0 && c >= 0x20 && c != '"' && c != '\\') {
            s += n;
            continue;
        }
        rd_buf_add(out, plain, (size_t)(s - plain));
        if (n == 0)
            rd_buf_puts(out, "\xef\xbf\xbd");
        else if (c == '"' || c == '\\')
            rd_buf_printf(out, "\\%c", c);
        else if (c == '\n')
            rd_buf_puts(out, "\\n");
        else if (c == '\t')
            rd_buf_puts(out, "\\t");
        else
            rd_buf_printf(out, "\\u%04x", c);
        plain = ++s;
    }
    rd_buf_add(out, plain, (size_t)(s - plain));
    rd_buf_putc(out, '"');
}

static void print_number(const rd_json_node *v, rd_buf *out)
{
    char text[32];
    const double x = rd_json_number(v);
    if (rd_json_is_int(v)) {
        rd_buf_printf(out, "%lld", (long long)x);
        return;
    }
    if (!isfinite(x)) { /* JSON has no word for it */
        rd_buf_puts(out, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    rd_buf_puts(out, text);
}

static void print_newline(int indent, rd_buf *out)
{
    rd_buf_putc(out, '\n');
    for (int i = 0; i < indent; i++) rd_buf_puts(out, "  ");
}

static void print_value(const rd_json_node *v, int indent, rd_buf *out);

/* indent < 0: all on one line.  A pretty array of scalars stays on one line too. */
static void print_container(const rd_json_node *v, int indent, rd_buf *out)
{
    const bool object = rd_json_kind(v) == RD_JSON_OBJECT;
    bool spread = object && rd_json_first(v) != NULL;
    for (const rd_json_node *e = rd_json_first(v); e != NULL; e = rd_json_next(e))
        spread = spread || rd_json_first(e) != NULL;
    spread = spread && indent >= 0;
    rd_buf_putc(out, object ? '{' : '[');
    for (const rd_json_node *e = rd_json_first(v); e != NULL; e = rd_json_next(e)) {
        if (e != rd_json_first(v)) rd_buf_puts(out, indent >= 0 && !spread ? ", " : ",");
        if (spread) print_newline(indent + 1, out);
        if (object) {
            print_string(rd_json_key(e), out);
            rd_buf_puts(out, indent >= 0 ? ": " : ":");
        }
        print_value(e, indent < 0 ? indent : indent + 1, out);
    }
    if (spread) print_newline(indent, out);
    rd_buf_putc(out, object ? '}' : ']');
}

static void print_value(const rd_json_node *v, int indent, rd_buf *out)
{
    switch (rd_json_kind(v)) {
    case RD_JSON_NULL: rd_buf_puts(out, "null"); break;
    case RD_JSON_BOOL: rd_buf_puts(out, rd_json_bool(v) ? "true" : "false"); break;
    case RD_JSON_NUMBER: print_number(v, out); break;
    case RD_JSON_STRING: print_string(rd_json_string(v), out); break;
    case RD_JSON_ARRAY:
    case RD_JSON_OBJECT: print_container(v, indent, out); break;
    }
}

void rd_json_print(const rd_json_node *v, bool pretty, rd_buf *out)
{
    print_value(v, pretty ? 0 : -1, out);
    if (pretty) rd_buf_putc(out, '\n');
}

/* ---------------------------------------------------------------- as Python prints it */

/* One code point of UTF-8 text; broken bytes count as one code point each. */
static uint32_t utf8_next(const unsigned char **p)
{
    const unsigned char *s = *p;
    int more = s[0] >= 0xf0 ? 3 : s[0] >= 0xe0 ? 2 : s[0] >= 0xc0 ? 1 : 0;
    uint32_t c = more ? s[0] & (0x3fu >> more) : s[0];
    for (int i = 1; i <= more; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            (*p)++;
            return s[0];
        }
        c = c << 6 | (s[i] & 0x3fu);
    }
    *p += more + 1;
    return c;
}

void rd_json_put_ascii(const char *text, size_t n, rd_buf *out)
{
    static const char plain[] = "\"\\\n\r\t\b\f", escaped[] = "\"\\nrtbf";
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    rd_buf_putc(out, '"');
    while (p < end) {
        const char *special = *p ? strchr(plain, *p) : NULL;
        if (special) {
            rd_buf_putc(out, '\\');
            rd_buf_putc(out, escaped[special - plain]);
            p++;
        } else if (*p >= 0x20 && *p < 0x80) { /* Python leaves DEL alone too */
            rd_buf_putc(out, (char)*p++);
        } else {
            uint32_t c = utf8_next(&p);
            if (c >= 0x10000)
                rd_buf_printf(out, "\\u%04x\\u%04x", 0xd800u + ((c - 0x10000u) >> 10),
                              0xdc00u + ((c - 0x10000u) & 0x3ffu));
            else
                rd_buf_printf(out, "\\u%04x", c);
        }
    }
    rd_buf_putc(out, '"');
}
