/* rule.c: the family table and the rule functions that go through it. */
#include "families.h"

#include <string.h>

static const family_ops *const families[RD_FAMILIES] = {
    [RD_LIST_FUNCTION] = &rd_listfn_ops,
    [RD_ARC1D] = &rd_arc1d_ops,
    [RD_ACRE] = &rd_acre_ops,
    [RD_MINISCAN] = &rd_scan_ops,
};

const family_ops *rd_family_ops(rd_family f)
{
    RD_ASSERT((int)f >= 0 && f < RD_FAMILIES);
    return families[f];
}

const char *rd_family_name(rd_family f)
{
    return rd_family_ops(f)->name;
}

int rd_family_parse(const char *name, rd_family *f)
{
    int rc = RD_OK;
    int nearest = 0, best = 1 << 30;
    for (int k = 0; k < RD_FAMILIES; k++) {
        if (!strcmp(name, families[k]->name)) {
            *f = (rd_family)k;
            return RD_OK;
        }
        int d = rd_edit_distance(name, families[k]->name);
        if (d < best) {
            best = d;
            nearest = k;
        }
    }
    RD_FAIL(RD_EINPUT, "unknown task family \"%s\": did you mean \"%s\"?", name,
            families[nearest]->name);
done:
    return rc;
}

/* ---------------------------------------------------------------- dispatch */

int rd_rule_search(const rd_task *t, const rd_search_opts *opts, rd_candidates *cands)
{
    rd_search_opts o = opts ? *opts : (rd_search_opts){0, 0, 0};
    if (!opts || (o.max_right == 0 && o.max_partial == 0 && o.max_wrong == 0))
        o = (rd_search_opts){.max_right = 20, .max_partial = 60, .max_wrong = 40};
    *cands = (rd_candidates){0};
    return rd_family_ops(t->family)->search(t, &o, cands);
}

rd_rule *rd_rule_parse(rd_family f, const char *text)
{
    return rd_family_ops(f)->parse(text);
}

void rd_rule_print(rd_family f, const rd_rule *r, uint64_t wording, rd_buf *out)
{
    rd_family_ops(f)->print(r, wording, out);
}

/* The canonical sentence says everything about a rule, so equality needs no function per family. */
bool rd_rule_equal(rd_family f, const rd_rule *a, const rd_rule *b)
{
    rd_buf ta = {0}, tb = {0};
    rd_rule_print(f, a, 0, &ta);
    rd_rule_print(f, b, 0, &tb);
    bool equal = ta.len == tb.len && !memcmp(ta.data, tb.data, ta.len);
    rd_buf_free(&ta);
    rd_buf_free(&tb);
    return equal;
}

double rd_rule_cost(rd_family f, const rd_rule *r)
{
    return rd_family_ops(f)->cost(r);
}

int rd_rule_steps(rd_family f, const rd_rule *r)
{
    return rd_family_ops(f)->steps(r);
}

void rd_rule_free(rd_family f, rd_rule **r)
{
    if (!r || !*r) return;
    rd_family_ops(f)->free(*r);
    *r = NULL;
}

bool rd_rule_run(rd_family f, const rd_rule *r, const char *input, rd_buf *answer, rd_buf *work)
{
    return rd_family_ops(f)->run(r, input, answer, work);
}

rd_rule *rd_rule_mutate(rd_family f, const rd_rule *r, const rd_task *t, rd_rng *rng)
{
    return rd_family_ops(f)->mutate(r, t, rng);
}

void rd_rule_slip(rd_family f, const rd_rule *r, const char *input, const char *answer, rd_rng *rng,
                  rd_buf *out)
{
    rd_family_ops(f)->slip(r, input, answer, rng, out);
}
