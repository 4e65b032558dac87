/* ranks: 1 */
/* Pairs and kinds of operations that training never has: of every family, no training task has
 * one, each test set has what it asks for and nothing else, and without them nothing has changed.
 */
#include "rd_test.h"
#include "made_tasks.h"

enum { TRAIN = 2000, TEST = 40 };

/* Which of these was seen in a set of tasks, and how often each level. */
typedef struct tally {
    int level[4];
    rd_taskset *set;
} tally;

static bool make(const rd_gen_opts *o, rd_split split, int n, int64_t source, tally *y)
{
    for (int i = 0; i < n; i++) {
        rd_task t;
        if (rd_task_generate(o, split, i, &t) != RD_OK) {
            diag("%s", rd_error_get()->message);
            rd_error_clear();
            return false;
        }
        rd_rule *r = rd_rule_parse(t.family, t.rule);
        y->level[rd_held_level(o->held, r)]++;
        rd_rule_free(t.family, &r);
        t.source = source;
        rd_taskset_add_take(y->set, &t);
    }
    return true;
}

static void family(rd_family f, int difficulty, bool kinds, int n_train)
{
    rd_gen_opts o = {.family = f, .difficulty = difficulty, .seed = 5, .holdout = 0.25};
    const rd_hold_want want[2] = {{RD_HOLD_PAIR, 0.25, &o}, {RD_HOLD_KIND, 0.25, &o}};
    rd_held *h = NULL, *again = NULL;
    rd_taskset set = {0};
    rd_leakage_operations l;
    const char *name = rd_family_name(f);
    bool pairs = rd_hold_refusal(&o, RD_HOLD_PAIR) == NULL;
    const rd_hold_want *first = pairs ? want : want + 1;
    int n_want = pairs + kinds;
    is_rc(rd_held_create(f, o.seed, first, n_want, &h), RD_OK, name);
    is_rc(rd_held_create(f, o.seed, first, n_want, &again), RD_OK, "again");
    ok(rd_held_hash(h) == rd_held_hash(again) && rd_held_hash(h) != 0, "%s: the same names", name);
    rd_buf list = {0};
    int64_t n_pairs = rd_held_names(h, RD_HOLD_PAIR, &list);
    int64_t n_kinds = rd_held_names(h, RD_HOLD_KIND, &list);
    ok((n_pairs > 0) == pairs && (n_kinds > 0) == kinds, "%s %d: %d pairs, %d kinds", name,
       difficulty, (int)n_pairs, (int)n_kinds);

    o.held = h;
    tally train = {.set = &set}, rule = {.set = &set}, pair = {.set = &set}, kind = {.set = &set};
    ok(make(&o, RD_SPLIT_TRAIN, n_train, 0, &train) && train.level[RD_HOLD_RULE] == n_train,
       "%s %d: %d training tasks without any", name, difficulty, n_train);
    ok(make(&o, RD_SPLIT_TEST, TEST, 1, &rule) && rule.level[RD_HOLD_RULE] == TEST,
       "%s %d: nor in a test of unseen rules", name, difficulty);
    rd_leakage_of_operations(&set, 1, &l);
    is_i64(l.classes_in_train, 0, "whose classes are not trained on");
    is_i64(l.known_kinds, TEST, "but whose kinds are");
    o.holdout = 0;
    o.level = RD_HOLD_PAIR;
    if (pairs) {
        ok(make(&o, RD_SPLIT_TEST, TEST, 2, &pair) && pair.level[RD_HOLD_PAIR] == TEST,
           "%s %d: a test of unseen pairs has one each", name, difficulty);
        rd_leakage_of_operations(&set, 2, &l);
        is_i64(l.known_pairs, 0, "none of whose pairs all are trained on");
        is_i64(l.known_kinds, TEST, "but whose kinds are");
        is_i64(l.classes_in_train, 0, "and no class of it");
    }
    o.level = RD_HOLD_KIND;
    if (kinds) {
        ok(make(&o, RD_SPLIT_TEST, TEST, 3, &kind) && kind.level[RD_HOLD_KIND] == TEST,
           "%s %d: a test of unseen kinds has one each", name, difficulty);
        rd_leakage_of_operations(&set, 3, &l);
        is_i64(l.known_kinds, 0, "none of whose kinds all are trained on");
        is_i64(l.classes_in_train, 0, "and no class of it");
    }
    rd_buf_free(&list);
    rd_taskset_free(&set);
    rd_held_free(&h);
    rd_held_free(&again);
}

/* An empty hold-out and none draw the same tasks, and these are as before there were any: the
 * hashes are of the generator without hold-outs. */
static void unchanged(rd_family f)
{
    static const uint64_t before[RD_FAMILIES] = {0x2e3daddcee36552c, 0x538aeb3f17f8f4fb,
                                                 0x527bb7d55301951a, 0xbe5c20433a85ca4b};
    uint64_t now = 0;
    rd_buf bytes = {0};
    rd_gen_opts o = {.family = f, .seed = 3, .holdout = 0.25};
    rd_held *none = NULL;
    bool equal = true;
    is_rc(rd_held_create(f, 3, NULL, 0, &none), RD_OK, "nothing held out");
    for (int i = 0; i < 12; i++) {
        rd_task a = {0}, b = {0};
        o.difficulty = i % 4;
        o.held = NULL;
        equal &= rd_task_generate(&o, i > 5 ? RD_SPLIT_TEST : RD_SPLIT_TRAIN, i, &a) == RD_OK;
        o.held = none;
        equal &= rd_task_generate(&o, i > 5 ? RD_SPLIT_TEST : RD_SPLIT_TRAIN, i, &b) == RD_OK;
        equal &= made_same(&a, &b);
        rd_buf_clear(&bytes);
        rd_task_put(&bytes, &a);
        now = rd_hash(bytes.data, bytes.len, now);
        rd_task_free(&a);
        rd_task_free(&b);
    }
    ok(equal, "%s: as without hold-outs", rd_family_name(f));
    ok(now == before[f], "%s: as before: %016llx", rd_family_name(f), (unsigned long long)now);
    rd_buf_free(&bytes);
    rd_held_free(&none);
}

static void test_shares(void)
{
    rd_gen_opts o = {.family = RD_LIST_FUNCTION};
    rd_hold_want want = {RD_HOLD_KIND, 0, &o};
    rd_held *h = NULL;
    rd_buf few = {0}, many = {0}, other = {0};
    is_rc(rd_held_create(o.family, 1, &want, 1, &h), RD_OK, "share 0");
    is_i64(rd_held_names(h, RD_HOLD_KIND, &few), 1, "holds one kind out");
    rd_held_free(&h);
    want.share = 1;
    is_rc(rd_held_create(o.family, 1, &want, 1, &h), RD_OK, "share 1");
    is_i64(rd_held_names(h, RD_HOLD_KIND, &many), 2, "a quarter of eleven");
    ok(!strncmp(few.data, many.data, few.len), "and the one first: %s", few.data);
    rd_held_free(&h);
    is_rc(rd_held_create(o.family, 2, &want, 1, &h), RD_OK, "another seed");
    rd_held_names(h, RD_HOLD_KIND, &other);
    ok(strcmp(many.data, other.data) != 0, "other kinds");
    rd_held_free(&h);
    rd_buf_free(&few);
    rd_buf_free(&many);
    rd_buf_free(&other);
    ok(rd_hold_refusal(&(rd_gen_opts){.family = RD_ACRE}, RD_HOLD_KIND) != NULL,
       "ACRE has no kinds");
    ok(rd_hold_refusal(&(rd_gen_opts){.family = RD_ARC1D, .difficulty = 1}, RD_HOLD_PAIR) != NULL,
       "rules of one part have no pairs");
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    family(RD_LIST_FUNCTION, 0, true, TRAIN);
    family(RD_ARC1D, 0, true, TRAIN);
    family(RD_ACRE, 0, false, TRAIN);
    family(RD_MINISCAN, 0, true, TRAIN);
    family(RD_MINISCAN, 3, true, TRAIN);
    family(RD_ARC1D, 3, true, TRAIN);
    family(RD_ACRE, 2, false, TRAIN);
    for (int f = 0; f < RD_FAMILIES; f++) unchanged((rd_family)f);
    test_shares();
    return rd_test_end();
}
