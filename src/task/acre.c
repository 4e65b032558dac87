/* acre.c: the blicket machine: scenes of objects, a light that is on, off or undetermined.
 *
 * Language of rules: sets of objects that turn the light on (any of them, wholly in the scene), one
 * set of objects that do nothing (a scene of only those is off), and what holds otherwise, in this
 * order:
 *
 *   The light is on if the scene has red metal cube, or blue rubber sphere and cyan metal cube; it
 * is off if every object is one of gray metal cube, green metal cube; otherwise it is undetermined.
 *
 * There are 48 objects, so a set is a 64-bit mask and a rule is run in nanoseconds.  No search is
 * needed for the right rule: what the demonstrations determine has a closed form,
 *
 *   off  = union of all off scenes
 *   on   = the on scenes without the members of off, supersets of others dropped
 *
 * and all hypotheses a teacher might hold instead are corruptions of it. */
#include "families.h"

#include <ctype.h>
#include <string.h>

enum { N_COLOURS = 8, N_MATERIALS = 2, N_SHAPES = 3, N_OBJECTS = 48 };
enum { MAX_ON = 16, MAX_TEXT = 399, MAX_READ = 1024 };
typedef enum { OFF, ON, UNDETERMINED, N_LABELS } label;
typedef uint64_t objects; /* bit k: object k */

static const char *const colours[N_COLOURS] = {"blue",   "green", "cyan",   "red",
                                               "yellow", "brown", "purple", "gray"};
static const char *const materials[N_MATERIALS] = {"metal", "rubber"};
static const char *const shapes[N_SHAPES] = {"cube", "sphere", "cylinder"};
static const char *const labels[N_LABELS] = {"off", "on", "undetermined"};

/* on[] is sorted by size, then by value, without repetitions, so that equal rules are equal bytes.
 */
struct rd_rule {
    int n_on;
    label otherwise;
    objects off;
    objects on[MAX_ON];
};

static int size_of(objects s)
{
    return __builtin_popcountll(s);
}
static objects bit(int k)
{
    return (objects)1 << k;
}
static int lowest(objects s)
{
    return __builtin_ctzll(s);
}
static bool inside(objects a, objects b)
{
    return (a & ~b) == 0;
}

/* ---------------------------------------------------------------- names and scenes */

static void object_put(int k, rd_buf *out)
{
    rd_buf_puts(out, colours[k / (N_MATERIALS * N_SHAPES)]);
    rd_buf_putc(out, ' ');
    rd_buf_puts(out, materials[k / N_SHAPES % N_MATERIALS]);
    rd_buf_putc(out, ' ');
    rd_buf_puts(out, shapes[k % N_SHAPES]);
}

/* If *p starts with the literal, step over it. */
static bool skip(const char **p, const char *literal)
{
    const char *at = *p;
    for (; *literal != '\0'; at++, literal++)
        if (*at != *literal) return false;
    *p = at;
    return true;
}

static int word_read(const char **p, const char *const *words, int n)
{
    for (int k = 0; k < n; k++)
        if (skip(p, words[k])) return k;
    return -1;
}

/* "red metal cube" at *p, with these blanks: its number, or -1 and *p is where it was. */
static int name_read(const char **p, const char *blank)
{
    const char *q = *p;
    int c = word_read(&q, colours, N_COLOURS);
    if (c < 0 || !skip(&q, blank)) return -1;
    int m = word_read(&q, materials, N_MATERIALS);
    if (m < 0 || !skip(&q, blank)) return -1;
    int s = word_read(&q, shapes, N_SHAPES);
    if (s < 0 || isalpha((unsigned char)*q)) return -1;
    *p = q;
    return (c * N_MATERIALS + m) * N_SHAPES + s;
}

/* The same, also "redmetalcube". */
static int object_read(const char **p)
{
    int k = name_read(p, " ");
    return k >= 0 ? k : name_read(p, "");
}

void acre_join_names(const char *text, rd_buf *out)
{
    while (*text) {
        const char *start = text;
        if (object_read(&text) < 0) text++;
        for (; start < text; start++)
            if (*start != ' ' || text - start == 1) rd_buf_putc(out, *start);
    }
}

/* A canonical scene; order[] (may be NULL) gets the objects as written.  Number of objects, -1 when
 * the text is no scene. */
static int scene_read(const char *text, objects *set, int order[N_OBJECTS])
{
    int n = 0;
    *set = 0;
    if (!skip(&text, "['")) return -1;
    for (;;) {
        int k = name_read(&text, " ");
        if (k < 0 || *set & bit(k)) return -1;
        *set |= bit(k);
        if (order) order[n] = k;
        n++;
        if (skip(&text, "', '")) continue;
        return skip(&text, "']") && *text == '\0' ? n : -1;
    }
}

static bool acre_valid_input(const char *v)
{
    objects set;
    return scene_read(v, &set, NULL) > 0;
}

static int label_read(const char *v)
{
    for (int k = 0; k < N_LABELS; k++)
        if (!strcmp(v, labels[k])) return k;
    return -1;
}

static bool acre_valid_output(const char *v)
{
    return label_read(v) >= 0;
}

/* ---------------------------------------------------------------- rules */

static bool set_before(objects a, objects b)
{
    return size_of(a) != size_of(b) ? size_of(a) < size_of(b) : a < b;
}

/* false when there is no room or nothing to add. */
static bool rule_add_on(rd_rule *r, objects s)
{
    int at = 0;
    if (!s) return false;
    while (at < r->n_on && set_before(r->on[at], s)) at++;
    if (at < r->n_on && r->on[at] == s) return true;
    if (r->n_on == MAX_ON) return false;
    memmove(&r->on[at + 1], &r->on[at], (size_t)(r->n_on - at) * sizeof *r->on);
    r->on[at] = s;
    r->n_on++;
    return true;
}

static void rule_drop_on(rd_rule *r, int at)
{
    r->n_on--;
    memmove(&r->on[at], &r->on[at + 1], (size_t)(r->n_on - at) * sizeof *r->on);
    r->on[r->n_on] = 0;
}

/* The set that turns the light on in this scene; 0 when none does. */
static objects rule_trigger(const rd_rule *r, objects scene)
{
    for (int i = 0; i < r->n_on; i++)
        if (inside(r->on[i], scene)) return r->on[i];
    return 0;
}

static label rule_label(const rd_rule *r, objects scene)
{
    if (rule_trigger(r, scene)) return ON;
    return r->off && inside(scene, r->off) ? OFF : r->otherwise;
}

static rd_rule *rule_copy(const rd_rule *r)
{
    rd_rule *copy = rd_new(rd_rule, 1);
    *copy = *r;
    return copy;
}

/* The right rule claims no more than the evidence determines, and must be the cheapest of those
 * that fit.  So a label for what is not determined costs more than anything else; a single trigger
 * costs more than the joint sets it could stand for (of which only the whole is known to work); and
 * an object called harmless has no place in a set of triggers. */
static double acre_cost(const rd_rule *r)
{
    double c = r->otherwise == UNDETERMINED ? 1 : 40;
    for (int i = 0; i < r->n_on; i++) {
        c += size_of(r->on[i]) == 1 ? 4 : 1 + 0.1 * size_of(r->on[i]);
        c += 2 * size_of(r->on[i] & r->off);
    }
    return c + (r->off ? 1 + 0.2 * size_of(r->off) : 0);
}

static int acre_steps(const rd_rule *r)
{
    return r->n_on + (r->off != 0) + 1;
}

static void acre_free(rd_rule *r)
{
    rd_free(r);
}

static bool acre_run(const rd_rule *r, const char *input, rd_buf *answer, rd_buf *work)
{
    objects scene;
    int order[N_OBJECTS];
    int n = scene_read(input, &scene, order);
    if (n < 0) return false;
    objects trigger = rule_trigger(r, scene);
    for (int i = 0; work && i < n; i++) {
        bool alone = false;
        for (int k = 0; k < r->n_on; k++) alone |= r->on[k] == bit(order[i]);
        object_put(order[i], work);
        rd_buf_puts(work, alone ? " is on\n" : r->off & bit(order[i]) ? " is off\n" : " is open\n");
    }
    if (work && size_of(trigger) > 1) {
        for (objects s = trigger; s; s &= s - 1) {
            if (s != trigger) rd_buf_puts(work, " and ");
            object_put(lowest(s), work);
        }
        rd_buf_puts(work, " are on\n");
    }
    rd_buf_puts(answer, labels[rule_label(r, scene)]);
    return true;
}

/* ---------------------------------------------------------------- text */

/* Each part has its wordings: what stands before and after the objects.  The terse one, which
 * teachers do not use, comes last. */
enum { N_WORDINGS = 4, TERSE = N_WORDINGS };
typedef struct wording {
    const char *head, *tail;
} wording;
static const wording on_words[N_WORDINGS + 1] = {
    {"the light is on if the scene has ", ""},
    {"it lights up whenever there is ", ""},
    {"any scene with ", " is on"},
    {"the light turns on for ", ""},
    {"on ", ""},
};
static const wording off_words[N_WORDINGS + 1] = {
    {"it is off if every object is one of ", ""},
    {"it stays off when there is nothing but ", ""},
    {"scenes made only of ", " are off"},
    {"the light is off for scenes drawn from ", ""},
    {"off ", ""},
};
static const char *const else_words[N_WORDINGS + 1] = {"otherwise it is ", "anything else is ",
                                                       "in every other case it is ",
                                                       "if neither holds, it is ", "else "};
static const char *const always_words[N_WORDINGS + 1] = {"the light is always ", "every scene is ",
                                                         "whatever is there, the light is ",
                                                         "the outcome is in any case ", "always "};
static const char *const joiners[N_WORDINGS] = {" and ", " with ", " together with ", " plus "};

static void set_put(objects s, const char *joiner, rd_buf *out)
{
    for (bool first = true; s; s &= s - 1, first = false) {
        if (!first) rd_buf_puts(out, joiner);
        object_put(lowest(s), out);
    }
}

static void acre_print(const rd_rule *r, uint64_t words, rd_buf *out)
{
    unsigned w_on = words % N_WORDINGS, w_off = words / 4 % N_WORDINGS,
             w_else = words / 16 % N_WORDINGS, w_join = words / 64 % N_WORDINGS;
    size_t start = out->len;
    if (r->n_on) {
        rd_buf_puts(out, on_words[w_on].head);
        for (int i = 0; i < r->n_on; i++) {
            if (i) rd_buf_puts(out, ", or ");
            set_put(r->on[i], joiners[w_join], out);
        }
        rd_buf_puts(out, on_words[w_on].tail);
        rd_buf_puts(out, "; ");
    }
    if (r->off) {
        rd_buf_puts(out, off_words[w_off].head);
        set_put(r->off, ", ", out);
        rd_buf_puts(out, off_words[w_off].tail);
        rd_buf_puts(out, "; ");
    }
    rd_buf_puts(out, (r->n_on || r->off ? else_words : always_words)[w_else]);
    rd_buf_puts(out, labels[r->otherwise]);
    rd_buf_putc(out, '.');
    out->data[start] = (char)toupper((unsigned char)out->data[start]);
}

/* "off C, D; on A, B and E; else undetermined."  What is off comes first: what is on are the
 * objects of the on scenes that are not. */
static void acre_print_terse(const rd_rule *r, rd_buf *out)
{
    if (r->off) {
        rd_buf_puts(out, off_words[TERSE].head);
        set_put(r->off, ", ", out);
        rd_buf_puts(out, "; ");
    }
    for (int i = 0; i < r->n_on; i++) {
        rd_buf_puts(out, i ? ", " : on_words[TERSE].head);
        set_put(r->on[i], " and ", out);
    }
    rd_buf_puts(out, r->n_on ? "; " : "");
    rd_buf_puts(out, (r->n_on || r->off ? else_words : always_words)[TERSE]);
    rd_buf_puts(out, labels[r->otherwise]);
    rd_buf_putc(out, '.');
}

/* Lower case, single blanks, no blanks or full stops at the ends.  false when too long. */
static bool text_normalise(const char *text, char out[MAX_READ])
{
    int n = 0;
    for (; *text; text++) {
        bool blank = isspace((unsigned char)*text);
        if (blank && (n == 0 || out[n - 1] == ' ')) continue;
        if (n == MAX_READ - 1) return false;
        out[n++] = blank ? ' ' : (char)tolower((unsigned char)*text);
    }
    while (n > 0 && (out[n - 1] == ' ' || out[n - 1] == '.')) n--;
    out[n] = '\0';
    return true;
}

/* "A, or B and C" */
static bool sets_read(const char **p, rd_rule *r)
{
    objects s = 0;
    for (;;) {
        int k = object_read(p);
        if (k < 0) return false;
        s |= bit(k);
        if (word_read(p, joiners, N_WORDINGS) >= 0) continue;
        if (!rule_add_on(r, s)) return false;
        s = 0;
        if (!skip(p, ", or ") && !skip(p, " or ") && !skip(p, ", ")) return true;
    }
}

/* "A, B, C" */
static bool members_read(const char **p, objects *s)
{
    do {
        int k = object_read(p);
        if (k < 0) return false;
        *s |= bit(k);
    } while (skip(p, ", ") || skip(p, " or ") || skip(p, " and "));
    return true;
}

/* One clause; each kind may occur once.  done[]: ON, OFF, the default. */
static bool clause_read(const char **p, rd_rule *r, bool done[3])
{
    for (int w = 0; w <= TERSE && !done[0]; w++) {
        const char *q = *p;
        if (!skip(&q, on_words[w].head) || object_read(&(const char *){q}) < 0) continue;
        done[0] = true;
        *p = q;
        return sets_read(p, r) && skip(p, on_words[w].tail);
    }
    for (int w = 0; w <= TERSE && !done[1]; w++) {
        if (!skip(p, off_words[w].head)) continue;
        done[1] = true;
        return members_read(p, &r->off) && skip(p, off_words[w].tail);
    }
    for (int w = 0; w <= TERSE && !done[2]; w++) {
        if (!skip(p, else_words[w]) && !skip(p, always_words[w])) continue;
        int l = skip(p, labels[UNDETERMINED]) ? UNDETERMINED : word_read(p, labels, UNDETERMINED);
        done[2] = true;
        r->otherwise = (label)l;
        return l >= 0;
    }
    return false;
}

/* Clauses in any order, ended by "; " or ". "; a missing default is "undetermined". */
static rd_rule *acre_parse(const char *text)
{
    char normal[MAX_READ];
    if (!text_normalise(text, normal)) return NULL;
    rd_rule r = {.otherwise = UNDETERMINED};
    bool done[3] = {false, false, false};
    const char *p = normal;
    for (;;) {
        if (!clause_read(&p, &r, done)) return NULL;
        if (*p == '\0') return rule_copy(&r);
        if (!skip(&p, "; ") && !skip(&p, ". ")) return NULL;
    }
}

static bool rule_fits(const rd_rule *r)
{
    rd_buf text = {0};
    acre_print(r, 0, &text);
    bool fits = text.len <= MAX_TEXT;
    rd_buf_free(&text);
    return fits;
}

/* ---------------------------------------------------------------- what demonstrations determine */

/* A task as masks, in the order of its examples. */
typedef struct table {
    int64_t n, n_demos;
    objects *scene;
    label *out;
    objects seen; /* all objects of the demonstrations */
} table;

static bool table_make(const rd_task *t, table *b)
{
    b->n = t->n_demos + t->n_queries;
    b->n_demos = t->n_demos;
    b->scene = rd_new(objects, b->n);
    b->out = rd_new(label, b->n);
    b->seen = 0;
    bool good = true;
    for (int64_t i = 0; i < b->n; i++) {
        int l = i < t->n_demos ? label_read(t->examples[i].output) : UNDETERMINED;
        good &= l >= 0 && scene_read(t->examples[i].input, &b->scene[i], NULL) > 0;
        b->out[i] = l >= 0 ? (label)l : UNDETERMINED;
        if (i < t->n_demos) b->seen |= b->scene[i];
    }
    return good;
}

static void table_free(table *b)
{
    rd_free(b->scene);
    rd_free(b->out);
}

static objects off_union(const objects *scene, const label *out, int64_t n)
{
    objects off = 0;
    for (int64_t i = 0; i < n; i++)
        if (out[i] == OFF) off |= scene[i];
    return off;
}

/* The closed form of the file header. */
static void closed_form(const objects *scene, const label *out, int64_t n, rd_rule *r)
{
    *r = (rd_rule){.otherwise = UNDETERMINED, .off = off_union(scene, out, n)};
    for (int64_t i = 0; i < n; i++)
        if (out[i] == ON) rule_add_on(r, scene[i] & ~r->off);
    for (int i = r->n_on - 1; i >= 0;
         i--) /* sorted by size: a subset stands before its supersets */
        for (int k = 0; k < i; k++)
            if (inside(r->on[k], r->on[i])) {
                rule_drop_on(r, i);
                break;
            }
}

/* ---------------------------------------------------------------- hypotheses */

/* Ways to get a rule a little wrong. */
typedef enum {
    DROP_ON,     /* forget trigger set arg */
    DROP_OFF,    /* forget that object arg is harmless */
    ADD_ON,      /* take object arg for a trigger */
    OTHERWISE,   /* the rest is arg */
    NO_ON,       /* forget all triggers */
    NO_OFF,      /* forget all harmless objects */
    SPLIT_JOINT, /* every member of a joint set triggers alone */
    ONLY_SINGLE, /* forget joint sets */
    N_SLIPS
} slip_kind;
typedef struct slip {
    slip_kind kind;
    int arg;
} slip;

static void slip_apply(rd_rule *r, slip s)
{
    switch (s.kind) {
    case DROP_ON:
        if (s.arg < r->n_on) rule_drop_on(r, s.arg);
        break;
    case DROP_OFF: r->off &= ~bit(s.arg); break;
    case ADD_ON: rule_add_on(r, bit(s.arg)); break;
    case OTHERWISE: r->otherwise = (label)s.arg; break;
    case NO_ON:
        while (r->n_on) rule_drop_on(r, 0);
        break;
    case NO_OFF: r->off = 0; break;
    case SPLIT_JOINT:
    case ONLY_SINGLE:
        while (r->n_on && size_of(r->on[r->n_on - 1]) > 1) {
            objects joint = r->on[r->n_on - 1];
            rule_drop_on(r, r->n_on - 1);
            for (; s.kind == SPLIT_JOINT && joint; joint &= joint - 1)
                rule_add_on(r, joint & -joint);
        }
        break;
    case N_SLIPS: break;
    }
}

enum { MAX_SLIPS = MAX_ON + 2 * N_OBJECTS + 8 };
static int slips_of(const rd_rule *r, objects seen, slip list[MAX_SLIPS])
{
    int n = 0;
    for (int i = 0; i < r->n_on; i++) list[n++] = (slip){DROP_ON, i};
    for (objects s = r->off; s; s &= s - 1) list[n++] = (slip){DROP_OFF, lowest(s)};
    for (objects s = seen; s; s &= s - 1) list[n++] = (slip){ADD_ON, lowest(s)};
    for (int l = 0; l < N_LABELS; l++)
        if ((label)l != r->otherwise) list[n++] = (slip){OTHERWISE, l};
    if (r->n_on) list[n++] = (slip){NO_ON, 0};
    if (r->off) list[n++] = (slip){NO_OFF, 0};
    if (r->n_on && size_of(r->on[r->n_on - 1]) > 1) {
        list[n++] = (slip){SPLIT_JOINT, 0};
        list[n++] = (slip){ONLY_SINGLE, 0};
    }
    return n;
}

static void hypothesis_add(candidate_set *set, const table *b, const rd_rule *r)
{
    static const double brightness[N_LABELS] = {[OFF] = 0, [ON] = 1, [UNDETERMINED] = 0.5};
    int32_t score = 0;
    double soft = 0, cost = acre_cost(r);
    uint64_t behaviour = 0;
    for (int64_t i = 0; i < b->n; i++) {
        label l = rule_label(r, b->scene[i]);
        behaviour = behaviour * 0x9e3779b97f4a7c15u + (uint64_t)l + 1;
        if (i >= b->n_demos) continue;
        double d = brightness[l] - brightness[b->out[i]];
        score += l == b->out[i];
        soft += 1 - (d < 0 ? -d : d);
    }
    soft /= (double)b->n_demos;
    if (candidate_set_wants(set, cost, score, soft) && rule_fits(r))
        candidate_set_add_take(set, rule_copy(r), cost, score, soft, behaviour);
}

/* Other ways to read the evidence, each with every default. */
static void readings_add(candidate_set *set, const table *b, const rd_rule *exact)
{
    rd_rule whole = {.otherwise = UNDETERMINED, .off = exact->off};
    rd_rule each = whole, ever = whole;
    rd_rule alone = {.otherwise = UNDETERMINED};
    for (int64_t i = 0; i < b->n_demos; i++) {
        bool single = size_of(b->scene[i]) == 1;
        if (b->out[i] == ON) {
            rule_add_on(&whole, b->scene[i]);
            if (single) rule_add_on(&alone, b->scene[i]);
            for (objects s = b->scene[i]; s; s &= s - 1) {
                objects one = s & -s;
                rule_add_on(&ever, one);
                if (!(one & exact->off)) rule_add_on(&each, one);
            }
        } else if (b->out[i] == OFF && single) {
            alone.off |= b->scene[i];
        }
    }
    const rd_rule *const list[] = {&whole, &each, &ever, &alone};
    for (size_t k = 0; k < sizeof list / sizeof *list; k++)
        for (int l = 0; l < N_LABELS; l++) {
            rd_rule r = *list[k];
            r.otherwise = (label)l;
            hypothesis_add(set, b, &r);
        }
    for (int l = 0; l < N_LABELS; l++) hypothesis_add(set, b, &(rd_rule){.otherwise = (label)l});
}

static int acre_search(const rd_task *t, const rd_search_opts *opts, rd_candidates *cands)
{
    table b;
    rd_rule exact;
    slip list[MAX_SLIPS];
    if (!table_make(t, &b)) {
        table_free(&b);
        return RD_OK; /* values that are no scenes: nothing to find */
    }
    candidate_set *set = candidate_set_create(RD_ACRE, t, opts);
    closed_form(b.scene, b.out, b.n_demos, &exact);
    hypothesis_add(set, &b, &exact);
    readings_add(set, &b, &exact);
    int n = slips_of(&exact, b.seen, list);
    for (int i = 0; i < n; i++) {
        rd_rule one = exact;
        slip_apply(&one, list[i]);
        hypothesis_add(set, &b, &one);
        /* pairs with a gap of three demonstrations need rules that are wrong twice */
        for (int k = i + 1; k < n && b.n_demos <= 32; k++) {
            rd_rule two = exact;
            bool drops = list[k].kind == DROP_ON; /* both count sets of the exact rule */
            slip_apply(&two, list[drops ? k : i]);
            slip_apply(&two, list[drops ? i : k]);
            hypothesis_add(set, &b, &two);
        }
    }
    candidate_set_finish(&set, cands);
    table_free(&b);
    return RD_OK;
}

static bool differs(const rd_rule *a, const rd_rule *b, const table *t)
{
    for (int64_t i = 0; i < t->n; i++)
        if (rule_label(a, t->scene[i]) != rule_label(b, t->scene[i])) return true;
    return false;
}

static rd_rule *acre_mutate(const rd_rule *r, const rd_task *t, rd_rng *rng)
{
    table b;
    rd_rule *found = NULL;
    slip list[MAX_SLIPS];
    bool good = table_make(t, &b);
    int n = good ? slips_of(r, b.seen, list) : 0;
    for (int attempt = 0; n > 0 && !found && attempt < 40; attempt++) {
        rd_rule m = *r;
        int twice = rd_rng_chance(rng, 0.4) ? 2 : 1;
        for (int k = 0; k < twice; k++) slip_apply(&m, list[rd_rng_below(rng, n)]);
        if (differs(r, &m, &b) && rule_fits(&m)) found = rule_copy(&m);
    }
    table_free(&b);
    return found;
}

static void acre_slip(const rd_rule *r, const char *input, const char *answer, rd_rng *rng,
                      rd_buf *out)
{
    (void)r;
    (void)input;
    int l = label_read(answer);
    int other = l == UNDETERMINED               ? (rd_rng_chance(rng, 0.5) ? ON : OFF)
                : rd_rng_chance(rng, 2.0 / 3.0) ? UNDETERMINED
                : l == ON                       ? OFF
                                                : ON;
    rd_buf_puts(out, labels[other]);
}

/* ---------------------------------------------------------------- generating */

/* A task under construction.  Object 0 is the trigger and object 1 the harmless one of the
 * habituation scenes; then come the other possible triggers and the other harmless objects. */
typedef struct draft {
    int difficulty, n_objects, n_possible;
    int64_t n; /* demonstrations so far */
    objects *scene;
    label *out;
    int name[N_OBJECTS]; /* which of the 48 objects */
} draft;

static objects random_subset(rd_rng *rng, int from, int to, double p)
{
    objects s = 0;
    for (int k = from; k < to; k++)
        if (rd_rng_chance(rng, p)) s |= bit(k);
    return s;
}

static bool draft_has(const draft *d, objects s)
{
    for (int64_t i = 0; i < d->n; i++)
        if (d->scene[i] == s) return true;
    return false;
}

static bool evidence_add(draft *d, rd_rng *rng, label l)
{
    int first_off = 2 + d->n_possible;
    for (int attempt = 0; attempt < 20; attempt++) {
        objects s = random_subset(rng, first_off, d->n_objects, l == ON ? 0.35 : 0.7);
        if (l == OFF && rd_rng_chance(rng, 0.15)) s |= bit(1);
        if (l == ON && d->difficulty <= 1 && rd_rng_chance(rng, 0.5))
            s |= bit(0) | random_subset(rng, 2, first_off, 0.6); /* nothing new to be learnt */
        else if (l == ON && d->difficulty <= 1)
            s |= bit((int)rd_rng_range(rng, 2, first_off - 1));
        else if (l == ON)
            s |= random_subset(rng, 2, first_off, 0.75);
        bool has_possible = s & (bit(first_off) - 1) & ~bit(1);
        if (!s || size_of(s) > 6 || draft_has(d, s) || (l == ON && !has_possible)) continue;
        d->scene[d->n] = s;
        d->out[d->n++] = l;
        return true;
    }
    return false;
}

static bool demos_draw(draft *d, rd_rng *rng, int64_t n_evidence)
{
    objects habituation[3] = {bit(0), bit(1), bit(0) | bit(1)};
    int64_t order[3] = {0, 1, 2};
    rd_rng_shuffle(rng, order, 3);
    for (int k = 0; k < 3; k++) {
        d->scene[d->n] = habituation[order[k]];
        d->out[d->n++] = order[k] == 1 ? OFF : ON;
    }
    int64_t n_on = n_evidence < 2 ? n_evidence : rd_rng_range(rng, 1, n_evidence - 1);
    for (int64_t k = 0; k < n_evidence; k++)
        if (!evidence_add(d, rng, k < n_on ? ON : OFF)) return false;
    return true;
}

/* Difficulty 0 and 1 have no joint evidence, 2 in about half of the tasks (as the published ones),
 * 3 two sets that overlap. */
static bool structure_wanted(const draft *d, const rd_rule *r, bool want_joint)
{
    int joint = 0;
    bool overlap = false;
    for (int i = 0; i < r->n_on; i++) {
        joint += size_of(r->on[i]) > 1;
        for (int k = 0; k < i; k++) overlap |= (r->on[i] & r->on[k]) != 0;
    }
    if (d->difficulty <= 1) return joint == 0;
    return d->difficulty == 2 ? (joint > 0) == want_joint : joint >= 2 && overlap;
}

/* A single object, or an off scene with one object or one joint set more. */
static objects query_draw(const draft *d, const rd_rule *r, objects seen, bool single, rd_rng *rng)
{
    objects one;
    do one = bit((int)rd_rng_below(rng, d->n_objects));
    while (!(one & seen));
    if (single) return one;
    int64_t at = rd_rng_below(rng, d->n);
    while (d->out[at] != OFF) at = (at + 1) % d->n; /* the habituation has an off scene */
    const objects *set = &r->on[rd_rng_below(rng, r->n_on)];
    return d->scene[at] | (size_of(*set) > 1 && rd_rng_chance(rng, 0.5) ? *set : one);
}

/* A query with the wanted label that is not among those before it; 0 when none turned up. */
static objects query_find(const draft *d, const rd_rule *r, objects seen, int kind, label want,
                          const objects *before, int64_t n, rd_rng *rng)
{
    for (int attempt = 0; attempt < 60; attempt++) {
        objects s = query_draw(d, r, seen, kind == 0, rng);
        bool fresh = rule_label(r, s) == want && size_of(s) <= 6;
        for (int64_t i = 0; fresh && i < n; i++) fresh = before[i] != s;
        if (fresh) return s;
    }
    return 0;
}

static const char *query_type(const draft *d, const rd_rule *r, objects s)
{
    objects on_scenes = 0;
    label l = rule_label(r, s);
    if (l == UNDETERMINED) return "potential";
    for (int64_t i = 0; i < d->n; i++) {
        if (d->out[i] != ON) continue;
        if (l == ON && size_of(d->scene[i]) == 1 && inside(d->scene[i], s)) return "direct";
        on_scenes |= d->scene[i];
    }
    return l == ON ? "indirect" : s & on_scenes ? "screen_off" : "direct";
}

static void example_fill(const draft *d, objects s, label l, const char *type, rd_rng *rng,
                         rd_example *e)
{
    int64_t order[N_OBJECTS], n = 0;
    for (; s; s &= s - 1) order[n++] = lowest(s);
    rd_rng_shuffle(rng, order, n);
    rd_buf text = {0};
    for (int64_t i = 0; i < n; i++) {
        rd_buf_puts(&text, i ? ", '" : "['");
        object_put(d->name[order[i]], &text);
        rd_buf_putc(&text, '\'');
    }
    rd_buf_putc(&text, ']');
    e->input = rd_buf_take(&text);
    e->output = rd_strdup(labels[l]);
    e->type = rd_strdup(type);
}

static bool queries_draw(const draft *d, const rd_rule *r, objects seen, rd_task *t, rd_rng *rng)
{
    static const double shares[N_LABELS] = {[OFF] = 0.40, [ON] = 0.34, [UNDETERMINED] = 0.26};
    objects *s = rd_new(objects, t->n_queries);
    int64_t *order = rd_new(int64_t, t->n_queries);
    bool good = true;
    for (int64_t q = 0; good && q < t->n_queries; q++) {
        label want = (label)rd_rng_pick(rng, shares, N_LABELS);
        for (int k = 0; k < N_LABELS && !s[q]; k++) /* another label when there is no such query */
            s[q] = query_find(d, r, seen, q % 2, (label)((want + k) % N_LABELS), s, q, rng);
        good = s[q] != 0;
        order[q] = q;
    }
    rd_rng_shuffle(rng, order, t->n_queries);
    for (int64_t q = 0; good && q < t->n_queries; q++) {
        objects one = s[order[q]];
        example_fill(d, one, rule_label(r, one), query_type(d, r, one), rng,
                     &t->examples[t->n_demos + q]);
    }
    rd_free(s);
    rd_free(order);
    return good;
}

/* The rule over the objects' own names. */
static void rule_rename(const draft *d, const rd_rule *r, rd_rule *named)
{
    *named = (rd_rule){.otherwise = r->otherwise};
    for (objects s = r->off; s; s &= s - 1) named->off |= bit(d->name[lowest(s)]);
    for (int i = 0; i < r->n_on; i++) {
        objects set = 0;
        for (objects s = r->on[i]; s; s &= s - 1) set |= bit(d->name[lowest(s)]);
        rule_add_on(named, set);
    }
}

static void class_put(const objects *scene, const label *out, int64_t n, const rd_rule *r,
                      rd_buf *text);

static bool draft_finish(draft *d, rd_task *t, int64_t n_undetermined, bool want_joint, rd_rng *rng)
{
    rd_rule r, named;
    objects seen = 0;
    closed_form(d->scene, d->out, d->n, &r);
    for (int64_t i = 0; i < d->n; i++) seen |= d->scene[i];
    if (size_of(seen) != d->n_objects || !structure_wanted(d, &r, want_joint)) return false;
    for (int64_t k = 0; k < n_undetermined; k++) {
        objects s = query_find(d, &r, seen, (int)(k % 2), UNDETERMINED, d->scene, d->n, rng);
        if (!s) return false;
        d->scene[d->n] = s;
        d->out[d->n++] = UNDETERMINED;
    }
    rule_rename(d, &r, &named);
    if (!rule_fits(&named)) return false;
    t->examples = rd_new(rd_example, t->n_demos + t->n_queries);
    for (int64_t i = 0; i < t->n_demos; i++)
        example_fill(d, d->scene[i], d->out[i], NULL, rng, &t->examples[i]);
    if (!queries_draw(d, &r, seen, t, rng)) return false;
    rd_buf text = {0};
    acre_print(&named, 0, &text);
    t->rule = rd_buf_take(&text);
    class_put(d->scene, d->out, d->n, &r, &text);
    t->rule_class = rd_buf_take(&text);
    return true;
}

/* The objects that the run's tasks choose from. */
static int64_t lexicon_draw(const rd_gen_opts *opts, int64_t names[N_OBJECTS])
{
    for (int k = 0; k < N_OBJECTS; k++) names[k] = k;
    if (opts->lexicon == 0 || opts->lexicon >= N_OBJECTS) return N_OBJECTS;
    rd_rng rng = rd_rng_make(opts->seed, "lexicon.acre", 0, 0);
    rd_rng_shuffle(&rng, names, N_OBJECTS);
    return opts->lexicon;
}

static bool acre_draw(const rd_gen_opts *opts, rd_rng *rng, rd_task *t)
{
    static const int fewest[4] = {4, 5, 5, 7}, most[4] = {5, 7, 8, 8};
    int64_t names[N_OBJECTS];
    draft d = {.difficulty = opts->difficulty};
    double undetermined = opts->train_undetermined * (double)t->n_demos;
    int64_t n_undetermined = undetermined > 0 ? (int64_t)(undetermined + 0.5) : 0;
    int64_t n_evidence = t->n_demos - 3 - n_undetermined;
    if (n_evidence < 1) return false;
    d.n_objects = (int)rd_rng_range(rng, fewest[d.difficulty], most[d.difficulty]);
    int room = d.n_objects - 3; /* beside the habituation's two, one harmless object at least */
    d.n_possible = d.difficulty == 3 ? 3 : 1 + (int)rd_rng_below(rng, room < 3 ? room : 3);
    bool want_joint = rd_rng_chance(rng, 0.54);
    int64_t n_names = lexicon_draw(opts, names);
    rd_rng_shuffle(rng, names, n_names);
    for (int k = 0; k < d.n_objects; k++) d.name[k] = (int)names[k];
    d.scene = rd_new(objects, t->n_demos);
    d.out = rd_new(label, t->n_demos);
    bool good =
        demos_draw(&d, rng, n_evidence) && draft_finish(&d, t, n_undetermined, want_joint, rng);
    rd_free(d.scene);
    rd_free(d.out);
    return good;
}

/* ---------------------------------------------------------------- rule classes */

/* What remains when objects lose their names: how many scenes of which label and size there are,
 * the sizes of the trigger sets and of the harmless set.  Order plays no part. */
static void class_put(const objects *scene, const label *out, int64_t n, const rd_rule *r,
                      rd_buf *text)
{
    static const char letters[N_LABELS] = {[OFF] = 'f', [ON] = 'n', [UNDETERMINED] = 'u'};
    rd_buf_puts(text, "scenes");
    for (int l = 0; l < N_LABELS; l++)
        for (int size = 1; size <= N_OBJECTS; size++)
            for (int64_t i = 0; i < n; i++)
                if ((int)out[i] == l && size_of(scene[i]) == size)
                    rd_buf_printf(text, " %c%d", letters[l], size);
    rd_buf_puts(text, " on");
    for (int i = 0; i < r->n_on; i++) rd_buf_printf(text, " %d", size_of(r->on[i]));
    rd_buf_printf(text, " off %d", size_of(r->off));
}

static void acre_classify(const rd_task *t, rd_buf *out)
{
    table b;
    rd_rule r;
    if (table_make(t, &b)) {
        closed_form(b.scene, b.out, b.n_demos, &r);
        class_put(b.scene, b.out, b.n_demos, &r, out);
    }
    table_free(&b);
}

/* ---------------------------------------------------------------- hold-outs */

static void acre_kinds(const rd_rule *r, rd_buf *out)
{
    rd_buf_puts(out, "triggers of size");
    for (int i = 0; i < r->n_on; i++) rd_buf_printf(out, " %d", size_of(r->on[i]));
    rd_buf_printf(out, "\n%d harmless\n", size_of(r->off));
}

/* The structures come out of the evidence that is dealt, so they are taken from draws: those that
 * make one in a hundred. */
static const char *acre_vocabulary(const rd_gen_opts *opts, rd_hold level, rd_buf *out)
{
    enum { DRAWS = 4000, PAIRS = 200, ENOUGH = DRAWS / 100 };
    char *pair[PAIRS];
    int n = 0, met[PAIRS] = {0};
    if (level == RD_HOLD_KIND) return "a rule of ACRE has a structure, but no kinds of operations";
    for (int i = 0; i < DRAWS; i++) {
        rd_rng rng = rd_rng_make(0, "acre vocabulary", (uint64_t)i, 0);
        rd_task t = {.family = RD_ACRE};
        rd_buf two = {0};
        int k = 0;
        t.n_demos = opts->n_demos > 0 ? opts->n_demos : rd_acre_ops.demos[opts->difficulty];
        t.n_queries = opts->n_queries > 0 ? opts->n_queries : rd_acre_ops.queries[opts->difficulty];
        if (acre_draw(opts, &rng, &t)) {
            rd_rule *r = acre_parse(t.rule);
            acre_kinds(r, &two);
            acre_free(r);
            *strchr(two.data, '\n') = '\t';
            while (k < n && strcmp(pair[k], two.data) != 0) k++;
            if (k == n && n < PAIRS) pair[n++] = rd_strdup(two.data);
            if (k < n) met[k]++;
        }
        rd_buf_free(&two);
        rd_task_free(&t);
    }
    for (int k = 0; k < n; k++) {
        if (met[k] >= ENOUGH) rd_buf_puts(out, pair[k]);
        rd_free(pair[k]);
    }
    return NULL;
}

const family_ops rd_acre_ops = {
    .name = "acre",
    .demos = {6, 6, 6, 8},
    .queries = {4, 4, 4, 4},
    .valid_input = acre_valid_input,
    .valid_output = acre_valid_output,
    .draw = acre_draw,
    .classify = acre_classify,
    .kinds = acre_kinds,
    .vocabulary = acre_vocabulary,
    .search = acre_search,
    .parse = acre_parse,
    .print = acre_print,
    .print_terse = acre_print_terse,
    .cost = acre_cost,
    .steps = acre_steps,
    .free = acre_free,
    .run = acre_run,
    .mutate = acre_mutate,
    .slip = acre_slip,
};
