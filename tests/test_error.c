/* ranks: 1 2 4 */
/* The error record and agreement: one failing rank, the same code and message everywhere. */
#include "rd_test.h"

static int inner(int fail)
{
    int rc = RD_OK;
    if (fail) RD_FAIL(RD_EINPUT, "value %d is wrong", 7);
done:
    return rc;
}

static int outer(int fail)
{
    int rc = RD_OK;
    RD_TRY(inner(fail));
done:
    return rc;
}

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    rd_comm w = rd_comm_world();
    int last = w.rank == w.size - 1;

    is_i64(rd_agree(&w, outer(0)), RD_OK, "no failure: all agree on OK");
    is_i64(rd_agree(&w, outer(last)), RD_EINPUT, "the last rank fails: every rank has its code");
    is_str(rd_error_get()->message, "value 7 is wrong", "every rank has the message");
    ok(strstr(rd_error_get()->where, "test_error.c:") != NULL, "the place is named");
    ok(strstr(rd_error_get()->trace, "outer") != NULL, "the caller is in the trace");
    if (w.size > 1) is_i64(rd_error_get()->rank, w.size - 1, "the failing rank is named");
    is_i64(rd_error_set(RD_EIO, "x.c", 1, "f", "second"), RD_EIO, "a later code is returned");
    is_str(rd_error_get()->message, "value 7 is wrong", "but the first message stays");
    rd_error_clear();
    rd_error_set(RD_EINPUT, "x.c", 1, "f", "%s", "a\nb\x1b[2J\xc3\xbc");
    is_str(rd_error_get()->message, "a?b?[2J\xc3\xbc", "a message is one line of plain text");
    rd_error_clear();

    is_rc(rd_same_i64(&w, "n", 5), RD_OK, "equal values are the same");
    if (w.size > 1) is_rc(rd_same_i64(&w, "n", w.rank), RD_EINTERNAL, "unequal values are found");

    is_rc(rd_fault_arm("sft"), RD_EUSAGE, "a fault without a rank is refused");
    is_rc(rd_fault_arm("sft:0:explode"), RD_EUSAGE, "an unknown fault action is refused");
    is_rc(rd_fault_arm("sft:0"), RD_OK, "a fault is armed");
    is_rc(rd_fault("align"), RD_OK, "another site passes");
    is_rc(rd_agree(&w, rd_fault("sft")), RD_EFAULT, "the site fails on rank 0, all agree");
    is_rc(rd_agree(&w, rd_fault("sft")), RD_OK, "a fault fires once");
    is_i64(rd_exit_status(RD_ESTOP), 75, "stopped is 75");
    return rd_test_end();
}
