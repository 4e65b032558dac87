/* ranks: 1 */
/* Sweeps: expansion, exclusions, what members set, what a wrong spec gets, the plan's file. */
#include "rd_test.h"

#include "cli/sweep.h"

static sweep s;

static int parse(const char *text)
{
    return sweep_parse(text, strlen(text), "dir/s.json", &s);
}

/* The text must be refused with a message that holds both parts. */
static void refused(const char *text, const char *part, const char *part2)
{
    int rc = parse(text);
    const char *m = rd_error_get()->message;
    ok(rc == RD_EINPUT && strstr(m, part) && strstr(m, part2), "refused: %s", m);
    if (rc == RD_OK) sweep_free(&s);
    rd_error_clear();
}

static bool sets(const sweep_member *m, const char *text)
{
    for (int i = 0; i < m->sets.n; i++)
        if (strcmp(m->sets.text[i], text) == 0) return true;
    return false;
}

static const char good[] =
    "{\n"
    " \"sweep\": {\"name\": \"t\"},\n"
    " \"base\": \"../b.json\",\n"
    " \"set\": {\"eval.problems\": 40, \"run.max_hours\": 1},\n"
    " \"axes\": [\n"
    "  {\"name\": \"lambda\", \"key\": \"align.lambda\", \"values\": [0.05, 0.1, 0.2]},\n"
    "  {\"name\": \"size\", \"keys\": [\"model.init.width\", \"arms.x.sft.kinds\"],\n"
    "   \"values\": [[96, [\"io\"]], [192, [\"io\", \"follow\"]]], \"labels\": [\"96\", "
    "\"192\"]},\n"
    "  {\"name\": \"variant\", \"values\": [{\"label\": \"full\", \"set\": {}},\n"
    "    {\"label\": \"no-filter\", \"set\": {\"filter.min_score\": 0, \"eval.problems\": 7}}]}],\n"
    " \"seeds\": [5, 6],\n"
    " \"exclude\": [{\"variant\": \"no-filter\", \"lambda\": [0.05, 0.2]},\n"
    "               {\"size\": \"192\", \"seed\": 6}]\n"
    "}\n";

static void test_expansion(void)
{
    is_rc(parse(good), RD_OK, "a good spec is read");
    is_str(s.dir, "sweeps/t", "the default folder");
    is_str(s.base, "dir/../b.json", "the base is found from the spec");
    /* 3 x 2 x 2 x 2 = 24; the rules take 2 lambdas x 2 sizes x 2 seeds = 8 and 3 x 2 = 6, of which
     * 2 are met by both. */
    is_i64(s.n, 12, "members that are left");
    is_i64(s.n_excluded, 12, "and those that are not");
    is_str(s.member[0].label, "lambda=0.05 size=96 variant=full seed=5", "the first member");
    is_str(s.member[1].label, "lambda=0.05 size=96 variant=full seed=6", "seeds are fastest");
    is_str(s.member[2].label, "lambda=0.05 size=192 variant=full seed=5", "the first axis slowest");
    is_i64(s.member[11].index, 11, "numbered without gaps");
    int without = 0, seed6 = 0;
    for (int64_t i = 0; i < s.n; i++) {
        const sweep_member *m = &s.member[i];
        without += strcmp(m->axis[2], "no-filter") == 0;
        if (strcmp(m->axis[2], "no-filter") == 0 && strcmp(m->axis[0], "0.1") != 0) without += 100;
        seed6 += m->seed == 6 && strcmp(m->axis[1], "192") == 0;
    }
    is_i64(without, 3, "a rule of two axes");
    is_i64(seed6, 0, "a rule with a seed");
    const sweep_member *m = &s.member[2];
    ok(sets(m, "align.lambda=0.05") && sets(m, "model.init.width=192") &&
           sets(m, "arms.x.sft.kinds=[\"io\",\"follow\"]") && sets(m, "eval.problems=40"),
       "a member sets what its axes say");
    for (int64_t i = 0; i < s.n; i++)
        if (strcmp(s.member[i].axis[2], "no-filter") == 0) m = &s.member[i];
    is_str(m->sets.text[m->sets.n - 1], "eval.problems=7", "an axis wins over \"set\"");
    for (int64_t i = 1; i < s.n; i++)
        if (s.member[i].key == s.member[0].key) m = NULL;
    ok(m != NULL, "members have keys of their own");
    sweep_free(&s);
}

static void test_member_sets(void)
{
    const char *more[] = {"sft.lr=1"}, *bad[] = {"run.dir=x"};
    sweep_sets all;
    is_rc(parse("{\"sweep\":{\"name\":\"12\",\"dir\":\"a b/c//\"},\"base\":\"/b.json\"}"), RD_OK,
          "a spec without axes");
    is_i64(s.n, 1, "is one member");
    is_i64(s.member[0].seed, 1, "of seed 1");
    is_str(s.base, "/b.json", "an absolute base stays");
    is_rc(sweep_member_sets(&s, &s.member[0], 1, more, &all), RD_OK, "what makes it a run");
    is_i64(all.n, 4, "seed, name, directory and --set");
    is_str(all.text[1], "run.name=\"12-0000\"", "a name stays a text");
    is_str(all.text[2], "run.dir=\"a b/c/members/0000\"", "its directory");
    is_str(all.text[3], "sft.lr=1", "--set comes last");
    sweep_sets_free(&all);
    is_rc(sweep_member_sets(&s, &s.member[0], 1, bad, &all), RD_EUSAGE, "--set run.dir is refused");
    rd_error_clear();
    sweep_free(&s);
}

static void test_ranges(void)
{
    const bool some[] = {true, true, true, false, true, false, false, true, true},
               none[] = {false, false};
    rd_buf out = {0};
    sweep_ranges(some, 9, false, &out);
    is_str(out.data, "0-2,4,7-8", "ranges");
    rd_buf_clear(&out);
    sweep_ranges(some, 9, true, &out);
    is_str(out.data, "0-2, 4, 7-8", "and for people");
    rd_buf_clear(&out);
    sweep_ranges(none, 2, true, &out);
    is_i64((int64_t)out.len, 0, "nothing is no range");
    rd_buf_free(&out);
}

static void test_file(void)
{
    char dir[300], file[340];
    sweep again;
    is_rc(parse(good), RD_OK, "a spec");
    shared_keys *keys = rd_new(shared_keys, s.n);
    rd_free(s.dir);
    snprintf(dir, sizeof dir, "%s/sweep", rd_test_dir());
    snprintf(file, sizeof file, "%s/sweep.json", dir);
    s.dir = rd_strdup(dir);
    is_rc(sweep_file_write(&s, keys), RD_OK, "its plan is written");
    for (int way = 0; way < 2; way++) {
        is_rc(sweep_file_open(way ? file : dir, &again), RD_OK, way ? "read by file" : "by folder");
        bool same = again.n == s.n && strcmp(again.dir, dir) == 0 && again.n_axes == s.n_axes;
        for (int64_t i = 0; same && i < s.n; i++)
            same = again.member[i].key == s.member[i].key &&
                   strcmp(again.member[i].label, s.member[i].label) == 0 &&
                   strcmp(again.member[i].axis[1], s.member[i].axis[1]) == 0;
        ok(same, "with the same members");
        sweep_free(&again);
    }
    rd_free(s.name);
    s.name = rd_strdup("other");
    is_rc(sweep_file_write(&s, keys), RD_EINPUT, "another sweep's folder is refused");
    rd_error_clear();
    is_rc(rd_file_write_atomic(file, "{\"schema\": \"x\"}", 15), RD_OK, "a foreign file");
    is_rc(sweep_file_open(dir, &again), RD_EINPUT, "is no plan");
    rd_error_clear();
    rd_free(keys);
    sweep_free(&s);
}

#define HEAD "{\"sweep\":{\"name\":\"t\"},\"base\":\"b\""
#define AXIS(text) HEAD ",\n\"axes\":[" text "]}"

static void test_bad_head(void)
{
    refused("[]", "s.json:1: a sweep: expected an object", "");
    refused("{\"base\":\"b\"}", "\"sweep\" must be given", "");
    refused("{\"sweep\":{},\"base\":\"b\"}", "sweep.name", "short name");
    refused("{\"sweep\":{\"name\":\"a b\"},\"base\":\"b\"}", "sweep.name", "letters");
    refused("{\"sweep\":{\"name\":\"t\"}}", "base", "must be given");
    refused("{\"sweep\":{\"nam\":\"t\"},\"base\":\"b\"}", "sweep: unknown key 'nam'", "'name'");
    refused(HEAD ",\n\"axis\":[]}", "s.json:2: a sweep: unknown key 'axis'", "'axes'");
    refused(HEAD ",\n\n\"set\":{\"eval.problms\":1}}", "s.json:3: set: unknown key 'eval.problms'",
            "'eval.problems'");
    refused(HEAD ",\"set\":{\"tasks[0].tets\":1}}", "unknown key 'tasks[0].tets'", "'test'");
    refused(HEAD ",\"set\":{\"arms.x.sft.lrr\":1}}", "unknown key 'arms.x.sft.lrr'", "'sft.lr'");
    refused(HEAD ",\"set\":{\"run.seed\":1}}", "run.seed", "\"seeds\"");
    refused(HEAD ",\"set\":{\"run.dir\":\"x\"}}", "run.dir", "its own");
    refused(HEAD ",\"set\":[]}", "set: expected an object", "");
    refused(HEAD, "s.json:1", "");
}

static void test_bad_axes(void)
{
    refused(AXIS("{\"name\":\"a\",\"key\":\"sft.lr\"}"), "s.json:2: axis 'a': values", "given");
    refused(AXIS("{\"name\":\"a\",\"key\":\"sft.lr\",\"values\":[]}"), "not empty", "");
    refused(AXIS("{\"name\":\"a\",\"key\":\"sft.lrr\",\"values\":[1]}"), "axis 'a'", "'sft.lr'");
    refused(AXIS("{\"name\":\"a\",\"key\":\"sft.lr\",\"vals\":[1]}"), "unknown key 'vals'",
            "'values'");
    refused(AXIS("{\"name\":\"a\",\"key\":\"sft.lr\",\"values\":[1,1]}"), "two values", "'1'");
    refused(AXIS("{\"name\":\"a\",\"key\":\"sft.lr\",\"values\":[1],\"labels\":[\"x\",\"y\"]}"),
            "labels", "one label for each value");
    refused(AXIS("{\"name\":\"a\",\"key\":\"sft.lr\",\"values\":[1],\"labels\":[\"\"]}"), "label",
            "1 to 60");
    refused(AXIS("{\"name\":\"a\",\"key\":\"sft.lr\",\"values\":[1],\"labels\":[\"x\\ny\"]}"),
            "label", "one line");
    refused(AXIS("{\"name\":\"a\",\"keys\":[\"sft.lr\",\"sft.lr\"],\"values\":[[1,2]]}"), "twice",
            "sft.lr");
    refused(AXIS("{\"name\":\"a\",\"keys\":[\"sft.lr\",\"sft.clip\"],\"values\":[[1]]}"),
            "2 values", "for each key");
    refused(AXIS("{\"name\":\"a\",\"key\":\"sft.lr\",\"keys\":[\"sft.lr\"],\"values\":[1]}"),
            "either", "");
    refused(AXIS("{\"name\":\"a\",\"values\":[1]}"), "{\"label\"", "");
    refused(AXIS("{\"name\":\"a\",\"values\":[{\"label\":\"x\",\"sets\":{}}]}"),
            "unknown key 'sets'", "'set'");
    refused(AXIS("{\"name\":\"seed\",\"key\":\"sft.lr\",\"values\":[1]}"), "'seed'", "\"seeds\"");
    refused(AXIS("{\"name\":\"a\",\"key\":\"run.seed\",\"values\":[1]}"), "run.seed", "\"seeds\"");
    refused(AXIS("{\"name\":\"a\",\"key\":\"sft.lr\",\"values\":[1]},"
                 "{\"name\":\"a\",\"key\":\"sft.clip\",\"values\":[1]}"),
            "two are called 'a'", "");
    refused(AXIS("{\"name\":\"a\",\"key\":\"sft.lr\",\"values\":[1]},"
                 "{\"name\":\"b\",\"values\":[{\"label\":\"x\",\"set\":{\"sft.lr\":2}}]}"),
            "axes 'a' and 'b' both set sft.lr", "");
}

static void test_bad_rest(void)
{
#define ONE HEAD ",\"axes\":[{\"name\":\"lam\",\"key\":\"align.lambda\",\"values\":[0.1,0.2]}]"
    refused(ONE ",\"seeds\":[1,1]}", "seeds: 1 stands there twice", "");
    refused(ONE ",\"seeds\":[1.5]}", "seeds: expected whole numbers", "");
    refused(ONE ",\"seeds\":[-1]}", "seeds: expected whole numbers", "");
    refused(ONE ",\"seeds\":3}", "seeds", "list");
    refused(ONE ",\"seeds\":[1],\n\"exclude\":[{\"lamb\":0.1}]}",
            "s.json:2: exclude: unknown axis 'lamb'", "'lam'");
    refused(ONE ",\"exclude\":[{\"lam\":0.3}]}", "exclude: 'lam' has no value '0.3'", "");
    refused(ONE ",\"exclude\":[{\"seed\":[1,4]}]}", "exclude: 'seed' has no value '4'", "");
    refused(ONE ",\"exclude\":[{}]}", "exclude", "AXIS");
    refused(ONE ",\"exclude\":[{\"lam\":[0.1,0.2]}]}", "no member is left", "");
    rd_buf many = {0};
    rd_buf_puts(&many, HEAD ",\"axes\":[");
    for (int a = 0; a < 3; a++) {
        static const char *const keys[] = {"sft.lr", "sft.clip", "align.lr"};
        rd_buf_printf(&many, "%s{\"name\":\"a%d\",\"key\":\"%s\",\"values\":[0", a ? "," : "", a,
                      keys[a]);
        for (int i = 1; i < 50; i++) rd_buf_printf(&many, ",%d", i);
        rd_buf_puts(&many, "]}");
    }
    rd_buf_puts(&many, "]}");
    refused(many.data, "125000 members", "at most 100000");
    rd_buf_free(&many);
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    test_expansion();
    test_member_sets();
    test_ranges();
    test_file();
    test_bad_head();
    test_bad_axes();
    test_bad_rest();
    return rd_test_end();
}
