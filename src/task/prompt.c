/* prompt.c: prompts and wanted responses, worded by a JSON file.
 *
 * A file holds one object per family; each of its keys is a template with the placeholders listed
 * in `keys` below, each exactly once.  Values are written "python" (as in the task files) or
 * "plain": list elements separated by blanks ("3 1 4", nothing: "empty"), objects of a scene by " ,
 * ".  With plain values and a blank before each placeholder every element is a word with its
 * leading blank wherever it stands, hence always the same token.  "joined" is plain with an
 * object's name in one word ("redmetalcube"), in values, rules and steps.  "bare" steps say "zap
 * RED" for "zap is RED": what a name stands for follows the name itself, which a small student
 * learns to look up long before it learns to look up what followed the word before last.  "walk"
 * steps (MiniSCAN) are bare ones whose look-ups are one step, the input word by word, what a word
 * stands for behind it: "zap RED kat lug BLUE"; no word need be picked.  "terse" rules are printed
 * in the fewest words that their language has.  A worked response is its steps and the answer,
 * joined by the separator; answer.c reads it back.  The official repository's file of instructions
 * is understood too. */
#include "prompts.h"

#include <string.h>

enum { MAX_HOLES = 2, MAX_STYLES = 4 };
static const struct {
    const char *key;
    const char *holes[MAX_HOLES]; /* placeholders, without braces */
} keys[P_KEYS] = {
    [P_VALUES] = {"values", {NULL}},         [P_STEPS] = {"steps", {NULL}},
    [P_RULES] = {"rules", {NULL}},           [P_EXAMPLE] = {"example", {"input", "output"}},
    [P_PROPOSE] = {"propose", {"examples"}}, [P_FOLLOW] = {"follow", {"rule", "input"}},
    [P_IO] = {"io", {"examples", "input"}},  [P_RULE] = {"rule", {"rule"}},
    [P_ANSWER] = {"answer", {"answer"}},     [P_STEP] = {"step", {"step"}},
    [P_SEPARATOR] = {"separator", {NULL}},
};

/* ---------------------------------------------------------------- the default wording */

#define EXAMPLE "Input: {input}\nOutput: {output}\n"
#define FOLLOW "\nRule: {rule}\nInput: {input}\n"
#define RESPONSES \
    [P_RULE] = "{rule}", [P_ANSWER] = "{answer}", [P_STEP] = "{step}", [P_SEPARATOR] = " ; "

/* inputs/prompts/default.json says the same; a test compares them. */
static const char *const defaults[RD_FAMILIES][P_KEYS] = {
    [RD_LIST_FUNCTION] =
        {[P_VALUES] = "python",
         [P_STEPS] = "plain",
         [P_RULES] = "sentence",
         [P_EXAMPLE] = EXAMPLE,
         [P_PROPOSE] =
             "Every input and output below is a list of integers, and one rule turns each "
             "input into its output. State this rule in one sentence and write nothing "
             "else.\n\n{examples}\n",
         [P_FOLLOW] = "Apply the rule to the input. Answer with the resulting list of integers and "
                      "nothing else.\n" FOLLOW,
         [P_IO] =
             "Every input and output below is a list of integers, and one rule turns each input "
             "into its output.\n\n{examples}\nWrite the output that belongs to the next input "
             "and nothing else.\n\nInput: {input}\n",
         RESPONSES},
    [RD_ARC1D] =
        {[P_VALUES] = "python",
         [P_STEPS] = "plain",
         [P_RULES] = "sentence",
         [P_EXAMPLE] = EXAMPLE,
         [P_PROPOSE] =
             "Every input and output below is a row of coloured cells, written as a list "
             "of integers in which 0 is empty. One rule turns each input into its output. "
             "State this rule in one sentence and write nothing else.\n\n{examples}\n",
         [P_FOLLOW] = "The input is a row of coloured cells in which 0 is empty. Apply the rule to "
                      "it. Answer with the resulting list of integers and nothing else.\n" FOLLOW,
         [P_IO] = "Every input and output below is a row of coloured cells, written as a list of "
                  "integers in which 0 is empty. One rule turns each input into its "
                  "output.\n\n{examples}\nWrite the output that belongs to the next input and "
                  "nothing else.\n\nInput: {input}\n",
         RESPONSES},
    [RD_ACRE] =
        {[P_VALUES] = "python",
         [P_STEPS] = "plain",
         [P_RULES] = "sentence",
         [P_EXAMPLE] = EXAMPLE,
         [P_PROPOSE] = "Each input below is a list of objects under a lamp. Some objects light the "
                       "lamp. The output says whether the lamp is on, off, or undetermined when "
                       "this cannot be known. State a rule for the lamp and write nothing "
                       "else.\n\n{examples}\n",
         [P_FOLLOW] =
             "Tell by the rule whether the lamp is on, off or undetermined for the objects "
             "of the input. Answer with that word and nothing else.\n" FOLLOW,
         [P_IO] =
             "Each input below is a list of objects under a lamp. Some objects light the lamp. "
             "The output says whether the lamp is on, off, or undetermined when this cannot be "
             "known.\n\n{examples}\nWrite the output that belongs to the next input and nothing "
             "else.\n\nInput: {input}\n",
         RESPONSES},
    [RD_MINISCAN] =
        {[P_VALUES] = "python",
         [P_STEPS] = "plain",
         [P_RULES] = "sentence",
         [P_EXAMPLE] = EXAMPLE,
         [P_PROPOSE] = "The inputs below are phrases of an invented language and the outputs their "
                       "translations. State its rules, with the order in which they apply, and "
                       "write nothing else.\n\n{examples}\n",
         [P_FOLLOW] = "Translate the input by the rules. Answer with the words of the translation, "
                      "separated by blanks, and nothing else.\n" FOLLOW,
         [P_IO] =
             "The inputs below are phrases of an invented language and the outputs their "
             "translations.\n\n{examples}\nWrite the output that belongs to the next input and "
             "nothing else.\n\nInput: {input}\n",
         RESPONSES},
};

/* ---------------------------------------------------------------- loading */

/* Which placeholder starts here?  -1: none of this key. */
static int hole_at(prompt_key k, const char *p, size_t *len)
{
    for (int h = 0; h < MAX_HOLES && keys[k].holes[h]; h++) {
        size_t n = strlen(keys[k].holes[h]);
        if (!strncmp(p + 1, keys[k].holes[h], n) && p[n + 1] == '}') {
            *len = n + 2;
            return h;
        }
    }
    return -1;
}

static int template_check(const char *path, int line, prompt_key k, const char *text)
{
    int rc = RD_OK;
    int seen[MAX_HOLES] = {0};
    for (const char *p = text; (p = strchr(p, '{')) != NULL;) {
        size_t len = 0;
        int h = hole_at(k, p, &len);
        if (h < 0)
            RD_FAIL(RD_EINPUT, "%s:%d: %s: \"%.20s\" is no placeholder here (there is {%s}%s%s%s)",
                    path, line, keys[k].key, p, keys[k].holes[0] ? keys[k].holes[0] : "none",
                    keys[k].holes[1] ? " and {" : "", keys[k].holes[1] ? keys[k].holes[1] : "",
                    keys[k].holes[1] ? "}" : "");
        seen[h]++;
        p += len;
    }
    for (int h = 0; h < MAX_HOLES && keys[k].holes[h]; h++)
        if (seen[h] != 1)
            RD_FAIL(RD_EINPUT, "%s:%d: %s: {%s} must occur exactly once, not %d times", path, line,
                    keys[k].key, keys[k].holes[h], seen[h]);
    if (k == P_SEPARATOR && strspn(text, " \n\t") == strlen(text))
        RD_FAIL(RD_EINPUT, "%s:%d: separator: must hold more than white space", path, line);
done:
    return rc;
}

/* One of the words of a style; index: which. */
static int style_read(const char *path, int line, prompt_key k, const char *text,
                      const char *const words[MAX_STYLES], int *index)
{
    int rc = RD_OK;
    rd_buf all = {0};
    for (*index = 0; *index < MAX_STYLES && words[*index]; ++*index)
        if (!strcmp(text, words[*index])) goto done;
    for (int i = 0; i < *index; i++)
        rd_buf_printf(&all, "%s\"%s\"", !i ? "" : i < *index - 1 ? ", " : " or ", words[i]);
    RD_FAIL(RD_EINPUT, "%s:%d: %s: must be %s, not \"%s\"", path, line, keys[k].key, all.data,
            text);
done:
    rd_buf_free(&all);
    return rc;
}

static int styles_read(const char *path, int line, prompt_key k, const char *text, wordings *w)
{
    static const char *const values[MAX_STYLES] = {"python", "plain", "joined"};
    static const char *const steps[MAX_STYLES] = {"python", "plain", "bare", "walk"};
    static const char *const rules[MAX_STYLES] = {"sentence", "terse"};
    int rc = RD_OK, index = 0;
    RD_TRY(style_read(path, line, k, text,
                      k == P_VALUES  ? values
                      : k == P_STEPS ? steps
                                     : rules,
                      &index));
    if (k == P_VALUES) {
        w->plain = index > 0;
        w->joined = index == 2;
    } else if (k == P_STEPS) {
        w->plain_steps = index > 0;
        w->bare_steps = index >= 2;
        w->walk = index == 3;
    } else {
        w->terse_rules = index == 1;
    }
done:
    return rc;
}

static int key_find(const char *path, int line, const char *family, const char *key, prompt_key *k)
{
    int rc = RD_OK;
    int nearest = 0, best = 1 << 30;
    for (int i = 0; i < P_KEYS; i++) {
        int d = rd_edit_distance(key, keys[i].key);
        if (d == 0) {
            *k = (prompt_key)i;
            return RD_OK;
        }
        if (d < best) {
            best = d;
            nearest = i;
        }
    }
    RD_FAIL(RD_EINPUT, "%s:%d: %s.%s: unknown key, did you mean \"%s\"?", path, line, family, key,
            keys[nearest].key);
done:
    return rc;
}

static int family_load(const char *path, const rd_json *doc, const rd_json_node *v, wordings *w)
{
    int rc = RD_OK;
    int line = rd_json_line(doc, v);
    const char *family = rd_json_key(v);
    if (rd_json_kind(v) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s:%d: %s: must be an object", path, line, family);
    for (const rd_json_node *e = rd_json_first(v); e; e = rd_json_next(e)) {
        prompt_key k = P_VALUES;
        int at = rd_json_line(doc, e);
        RD_TRY(key_find(path, at, family, rd_json_key(e), &k));
        if (rd_json_kind(e) != RD_JSON_STRING)
            RD_FAIL(RD_EINPUT, "%s:%d: %s.%s: must be a string", path, at, family, keys[k].key);
        const char *text = rd_json_string(e);
        if (k == P_VALUES || k == P_STEPS || k == P_RULES)
            RD_TRY(styles_read(path, at, k, text, w));
        else
            RD_TRY(template_check(path, at, k, text));
        rd_free(w->text[k]);
        w->text[k] = rd_strdup(text);
    }
    if (w->walk && strcmp(family, "miniscan"))
        RD_FAIL(RD_EINPUT, "%s:%d: %s.steps: \"walk\" is for miniscan alone", path, line, family);
    if (!w->text[P_RULES]) w->text[P_RULES] = rd_strdup("sentence");
    for (int k = 0; k < P_KEYS; k++)
        if (!w->text[k])
            RD_FAIL(RD_EINPUT, "%s:%d: %s: the key \"%s\" is missing", path, line, family,
                    keys[k].key);
done:
    return rc;
}

/* The official repository's prompts.json: instructions alone; what its code puts around them is
 * here.
 */
enum { GENERATE, APPLY, SHOT1, SHOT2, OFFICIAL_KEYS };
static const char *const official_keys[OFFICIAL_KEYS] = {"generate_rule", "apply_rule",
                                                         "direct_fewshot1", "direct_fewshot2"};
static const char *const official_families[RD_FAMILIES] = {[RD_LIST_FUNCTION] = "list_func",
                                                           [RD_ARC1D] = "1d_arc",
                                                           [RD_ACRE] = "acre",
                                                           [RD_MINISCAN] = "scan"};

static int official_load(const char *path, const rd_json *doc, const rd_json_node *root,
                         rd_family f, wordings *w)
{
    int rc = RD_OK;
    const char *text[OFFICIAL_KEYS];
    const rd_json_node *v = rd_json_get(root, official_families[f]);
    rd_buf b = {0};
    if (!v || rd_json_kind(v) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s: nothing about the task %s", path, official_families[f]);
    for (int k = 0; k < OFFICIAL_KEYS; k++) {
        const rd_json_node *e = rd_json_get(v, official_keys[k]);
        text[k] = e ? rd_json_string(e) : NULL;
        if (!text[k] || strchr(text[k], '{'))
            RD_FAIL(RD_EINPUT, "%s:%d: %s.%s: must be a string without braces", path,
                    rd_json_line(doc, e ? e : v), official_families[f], official_keys[k]);
    }
    for (int k = 0; k < P_KEYS; k++) w->text[k] = rd_strdup("");
#define SET(key, ...)                   \
    do {                                \
        rd_buf_printf(&b, __VA_ARGS__); \
        rd_free(w->text[key]);          \
        w->text[key] = rd_buf_take(&b); \
    } while (0)
    SET(P_VALUES, "python");
    SET(P_STEPS, "python");
    SET(P_RULES, "sentence");
    SET(P_EXAMPLE, "\nInput: {input}\nOutput: {output}\n");
    SET(P_PROPOSE, "%s{examples}\n", text[GENERATE]);
    SET(P_FOLLOW, "%s\n{rule}\nInput: {input}\n", text[APPLY]);
    SET(P_IO, "%s{examples}\n%s\nInput: {input}\n", text[SHOT1], text[SHOT2]);
    SET(P_RULE, "{rule}");
    SET(P_ANSWER, "{answer}");
    SET(P_STEP, "{step}");
    SET(P_SEPARATOR, " ; ");
#undef SET
done:
    rd_buf_free(&b);
    return rc;
}

int rd_prompts_load(const char *path, rd_prompts **out)
{
    int rc = RD_OK;
    rd_json *doc = NULL;
    rd_prompts *p = rd_new(rd_prompts, 1);
    RD_TRY(rd_json_read(path, &doc));
    const rd_json_node *root = rd_json_root(doc);
    if (rd_json_kind(root) != RD_JSON_OBJECT)
        RD_FAIL(RD_EINPUT, "%s: prompts must be an object with a member per family", path);
    p->official = rd_json_get(root, official_families[RD_LIST_FUNCTION]) != NULL;
    if (p->official) {
        for (int f = 0; f < RD_FAMILIES; f++)
            RD_TRY(official_load(path, doc, root, (rd_family)f, &p->family[f]));
        goto done;
    }
    for (const rd_json_node *v = rd_json_first(root); v; v = rd_json_next(v)) {
        rd_family f = RD_LIST_FUNCTION;
        if (rd_family_parse(rd_json_key(v), &f) != RD_OK) {
            rd_error_clear(); /* ours names the place */
            RD_FAIL(RD_EINPUT, "%s:%d: \"%s\" is no task family", path, rd_json_line(doc, v),
                    rd_json_key(v));
        }
        RD_TRY(family_load(path, doc, v, &p->family[f]));
    }
    for (int f = 0; f < RD_FAMILIES; f++)
        if (!p->family[f].text[P_VALUES])
            RD_FAIL(RD_EINPUT, "%s: nothing about the family %s", path,
                    rd_family_name((rd_family)f));
done:
    rd_json_free(&doc);
    if (rc != RD_OK) rd_prompts_free(&p);
    *out = p;
    return rc;
}

void rd_prompts_default(rd_prompts **out)
{
    rd_prompts *p = rd_new(rd_prompts, 1);
    for (int f = 0; f < RD_FAMILIES; f++) {
        for (int k = 0; k < P_KEYS; k++) p->family[f].text[k] = rd_strdup(defaults[f][k]);
        p->family[f].plain = !strcmp(defaults[f][P_VALUES], "plain");
        p->family[f].plain_steps = !strcmp(defaults[f][P_STEPS], "plain");
    }
    *out = p;
}

void rd_prompts_free(rd_prompts **p)
{
    if (!*p) return;
    for (int f = 0; f < RD_FAMILIES; f++)
        for (int k = 0; k < P_KEYS; k++) rd_free((*p)->family[f].text[k]);
    RD_FREE(*p);
}

uint64_t rd_prompts_hash(const rd_prompts *p)
{
    uint64_t h = 0;
    for (int f = 0; f < RD_FAMILIES; f++)
        for (int k = 0; k < P_KEYS; k++) h = rd_hash_str(p->family[f].text[k], h + 1);
    return p->official ? ~h : h;
}

bool rd_prompts_official(const rd_prompts *p)
{
    return p->official;
}

/* ---------------------------------------------------------------- writing */

/* "[3, 1]" and "['a', 'b']" without their punctuation; anything else as it is. */
static void value_put(bool plain, const char *v, rd_buf *out)
{
    size_t n = strlen(v);
    bool scene = !strncmp(v, "['", 2);
    if (!plain || n < 2 || v[0] != '[' || v[n - 1] != ']') {
        rd_buf_add(out, v, n);
        return;
    }
    if (n == 2) rd_buf_puts(out, "empty");
    for (size_t i = 1; i + 1 < n; i++) {
        if (v[i] == '\'') continue;
        if (v[i] == ',' && !scene) continue;
        if (v[i] == ',') rd_buf_putc(out, ' ');
        rd_buf_putc(out, v[i]);
    }
}

/* The text of key k with its placeholders filled. */
static void template_put(const wordings *w, prompt_key k, const char *first, const char *second,
                         rd_buf *out)
{
    const char *p = w->text[k], *stop;
    for (; (stop = strchr(p, '{')) != NULL;) {
        size_t len = 0;
        int h = hole_at(k, stop, &len);
        rd_buf_add(out, p, (size_t)(stop - p));
        if (w->joined)
            acre_join_names(h == 0 ? first : second, out);
        else
            rd_buf_puts(out, h == 0 ? first : second);
        p = stop + len;
    }
    rd_buf_puts(out, p);
}

static void examples_put(const wordings *w, const rd_task *t, rd_buf *out)
{
    rd_buf input = {0}, output = {0};
    for (int64_t i = 0; i < t->n_demos; i++) {
        rd_buf_clear(&input);
        rd_buf_clear(&output);
        value_put(w->plain, t->examples[i].input, &input);
        value_put(w->plain, t->examples[i].output, &output);
        template_put(w, P_EXAMPLE, input.data, output.data, out);
    }
    rd_buf_free(&input);
    rd_buf_free(&output);
}

void rd_prompt_propose(const rd_prompts *p, const rd_task *t, rd_buf *out)
{
    const wordings *w = &p->family[t->family];
    rd_buf examples = {0};
    examples_put(w, t, &examples);
    template_put(w, P_PROPOSE, examples.data ? examples.data : "", NULL, out);
    rd_buf_free(&examples);
}

/* A rule as the wording has it; a text that is no rule stays as it is. */
static void rule_put(const wordings *w, rd_family f, const char *text, rd_buf *out)
{
    const family_ops *ops = rd_family_ops(f);
    rd_rule *r = w->terse_rules && ops->print_terse ? ops->parse(text) : NULL;
    if (r) {
        ops->print_terse(r, out);
        ops->free(r);
    } else {
        rd_buf_puts(out, text);
    }
}

void rd_prompt_follow(const rd_prompts *p, rd_family f, const char *rule, const char *input,
                      rd_buf *out)
{
    const wordings *w = &p->family[f];
    rd_buf text = {0}, value = {0};
    rule_put(w, f, rule, &text);
    value_put(w->plain, input, &value);
    template_put(w, P_FOLLOW, text.data ? text.data : "", value.data ? value.data : "", out);
    rd_buf_free(&text);
    rd_buf_free(&value);
}

void rd_prompt_io(const rd_prompts *p, const rd_task *t, const char *input, rd_buf *out)
{
    const wordings *w = &p->family[t->family];
    rd_buf examples = {0}, value = {0};
    examples_put(w, t, &examples);
    value_put(w->plain, input, &value);
    template_put(w, P_IO, examples.data ? examples.data : "", value.data ? value.data : "", out);
    rd_buf_free(&examples);
    rd_buf_free(&value);
}

void rd_response_propose(const rd_prompts *p, rd_family f, const char *rule, rd_buf *out)
{
    rd_buf text = {0};
    rule_put(&p->family[f], f, rule, &text);
    template_put(&p->family[f], P_RULE, text.data ? text.data : "", NULL, out);
    rd_buf_free(&text);
}

/* The verb of "zap is RED", with its blanks, and its length; NULL in "x zap y is y x", which says
 * what a word does. */
static const char *verb_find(const char *step, size_t n, size_t *length)
{
    static const char *const verbs[] = {" is ", " are "};
    if (n >= 2 && !memcmp(step, "x ", 2)) return NULL;
    const char *x = memmem(step, n, " x ", 3);
    for (int k = 0; k < 2; k++) {
        *length = strlen(verbs[k]);
        const char *verb = memmem(step, n, verbs[k], *length);
        if (verb && !(x && x < verb)) return verb;
    }
    return NULL;
}

/* "zap is RED" as "zap RED". */
static void drop_verb(char *step)
{
    size_t length;
    char *verb = (char *)verb_find(step, strlen(step), &length);
    if (verb) memmove(verb + 1, verb + length, strlen(verb + length) + 1);
}

static void step_put(const wordings *w, const char *line, size_t n, rd_buf *out)
{
    char *step = rd_strndup(line, n);
    rd_buf value = {0};
    if (w->bare_steps) drop_verb(step);
    value_put(w->plain_steps, step, &value);
    template_put(w, P_STEP, value.data ? value.data : "", NULL, out);
    rd_buf_puts(out, w->text[P_SEPARATOR]);
    rd_buf_free(&value);
    rd_free(step);
}

/* What a word stands for in lines such as "zap is RED", as many bytes as n says; NULL: it is in
 * none. */
static const char *meaning_find(const char *work, const char *word, size_t length, size_t *n)
{
    while (*work) {
        size_t line = strcspn(work, "\n"), blanks;
        const char *end = work + line, *verb = verb_find(work, line, &blanks);
        if (verb == work + length && !strncmp(work, word, length)) {
            *n = (size_t)(end - verb) - blanks;
            return verb + blanks;
        }
        work = end + (*end == '\n');
    }
    return NULL;
}

/* The look-ups that work begins with as one step, a walk over the input: every word in its place,
 * what it stands for behind it.  Returns the rest of work. */
static const char *walk_put(const wordings *w, const char *input, const char *work, rd_buf *out)
{
    rd_buf step = {0};
    const char *rest = work;
    while (*rest) {
        size_t n = strcspn(rest, "\n"), blanks;
        if (!verb_find(rest, n, &blanks)) break;
        rest += n + (rest[n] == '\n');
    }
    if (rest == work) return work;
    for (const char *at = input + strspn(input, " "); *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " "), length;
        const char *meaning = meaning_find(work, at, n, &length);
        rd_buf_printf(&step, "%s%.*s", step.len ? " " : "", (int)n, at);
        if (meaning) rd_buf_printf(&step, " %.*s", (int)length, meaning);
        at += n;
    }
    if (step.len) step_put(w, step.data, step.len, out);
    rd_buf_free(&step);
    return rest;
}

void rd_response_follow(const rd_prompts *p, rd_family f, const char *input, const char *work,
                        const char *answer, rd_buf *out)
{
    const wordings *w = &p->family[f];
    if (w->walk && input && work) work = walk_put(w, input, work, out);
    while (work && *work) {
        size_t n = strcspn(work, "\n");
        if (n) step_put(w, work, n, out);
        work += n + (work[n] == '\n');
    }
    rd_response_io(p, f, answer, out);
}

void rd_response_io(const rd_prompts *p, rd_family f, const char *answer, rd_buf *out)
{
    const wordings *w = &p->family[f];
    rd_buf value = {0};
    value_put(w->plain, answer, &value);
    template_put(w, P_ANSWER, value.data ? value.data : "", NULL, out);
    rd_buf_free(&value);
}
