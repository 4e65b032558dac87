/* fuzz_sweep: whatever the reader of sweeps accepts has members, each with a label, a value on
 * every axis and settings that are "KEY=JSON"; what it refuses is worded with the file's name. */
#include "cli/sweep.h"
#include "fuzz_text.h"

static void check_member(const sweep *s, const sweep_member *m)
{
    RD_ASSERT(m->label != NULL && *m->label != '\0');
    for (int a = 0; a < s->n_axes; a++) RD_ASSERT(*m->axis[a] != '\0');
    for (int i = 0; i < m->sets.n; i++) {
        rd_json *doc = NULL;
        const char *value = strchr(m->sets.text[i], '=');
        RD_ASSERT(value != NULL && value > m->sets.text[i]);
        RD_ASSERT(rd_json_parse(value + 1, strlen(value + 1), "set", 1, &doc) == RD_OK);
        rd_json_free(&doc);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    sweep s;
    char *text = rd_new(char, n);
    if (n > 0) memcpy(text, bytes, n);
    if (sweep_parse(text, n, "fuzz", &s) == RD_OK) {
        RD_ASSERT(s.n > 0);
        for (int64_t i = 0; i < s.n && i < 100; i++) check_member(&s, &s.member[i]);
        sweep_free(&s);
    } else {
        RD_ASSERT(strncmp(rd_error_get()->message, "fuzz:", 5) == 0);
    }
    rd_error_clear();
    rd_free(text);
    RD_ASSERT(rd_mem_used() == 0);
    return 0;
}

#ifndef RD_LIBFUZZER
static const char *const seeds[] = {
    "{\"sweep\": {\"name\": \"t\", \"dir\": \"d\"}, \"base\": \"b.json\", \"set\": "
    "{\"eval.problems\": 40},\n\"axes\": [{\"name\": \"l\", \"key\": \"align.lambda\", \"values\": "
    "[0.05, 0.1]}], \"seeds\": [1, 2], \"exclude\": [{\"l\": [0.1], \"seed\": 2}]}",
    "{\"sweep\": {\"name\": \"t\"}, \"base\": \"b\", \"axes\": [{\"name\": \"s\", \"keys\": "
    "[\"sft.lr\", \"sft.kinds\"], \"values\": [[1, [\"io\"]], [2, []]], \"labels\": [\"a\", "
    "\"b\"]}]}",
    "{\"sweep\": {\"name\": \"t\"}, \"base\": \"b\", \"axes\": [{\"name\": \"v\", \"values\": "
    "[{\"label\": \"full\", \"set\": {}}, {\"label\": \"x\", \"set\": {\"tasks[0].test\": 0, "
    "\"arms.a.sft.lr\": 1}}]}], \"exclude\": [{\"v\": \"x\"}]}"};

int main(int argc, char **argv)
{
    static const char bytes[] = "{}[]\",:\\u0e-+.1 \n\xc3\xff\x01tfn=";
    const fuzz_texts t = {"fuzz_sweep", sizeof seeds / sizeof seeds[0], seeds, bytes,
                          sizeof bytes - 1};
    return fuzz_text_main(argc, argv, &t);
}
#endif
