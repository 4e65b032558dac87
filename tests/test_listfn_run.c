/* ranks: 1 */
/* What List Function rules do, one line per meaning. */
#include "rd_test.h"
#include "rd/task.h"

/* output NULL: undefined.  work: the lists in between, NULL when not compared. */
static const struct {
    const char *rule, *input, *output, *work;
} cases[] = {
    {"Leave the list as it is.", "[3, 1]", "[3, 1]", ""},
    {"Drop the first 2; then put 5 at the end.", "[2, 1, 0]", "[0, 5]", "[0]"},
    {"Reverse the list; then drop the last 1; then add 2 to each.", "[1, 2, 3]", "[5, 4]",
     "[3, 2, 1]\n[3, 2]"},
    {"Keep the first 9.", "[1, 2]", "[1, 2]", ""},
    {"Keep the last 2.", "[1, 2, 3]", "[2, 3]", ""},
    {"Drop the last 7.", "[1, 2]", "[]", ""},
    {"Keep elements 2 to 3.", "[5, 6, 7, 8]", "[6, 7]", ""},
    {"Keep elements 2 to 9.", "[5, 6]", "[6]", ""},
    {"Return only element 3.", "[5, 6, 7, 8]", "[7]", ""},
    {"Return only element 3.", "[5]", "[]", ""},
    {"Return only the first element.", "[]", "[]", ""},
    {"Return only the sum.", "[]", "[0]", ""},
    {"Return only the mean.", "[1, 2, 4]", "[2]", ""},
    {"Return only the product.", "[60000, 60000]", "[]", ""},
    {"Delete element 2.", "[1, 2, 3]", "[1, 3]", ""},
    {"Delete element 5.", "[1, 2, 3]", "[1, 2, 3]", ""},
    {"Delete elements 2 to 3.", "[1, 2, 3, 4]", "[1, 4]", ""},
    {"Replace element 2 by 9.", "[1, 2, 3]", "[1, 9, 3]", ""},
    {"Replace element 7 by 9.", "[1, 2, 3]", "[1, 2, 3]", ""},
    {"Insert 8 at position 2.", "[1, 2]", "[1, 8, 2]", ""},
    {"Insert 8 at position 5.", "[1, 2]", "[1, 2]", ""},
    {"Swap elements 1 and 3.", "[1, 2, 3]", "[3, 2, 1]", ""},
    {"Swap elements 1 and 4.", "[1, 2, 3]", NULL, ""},
    {"Swap the first and the last.", "[]", "[]", ""},
    {"Put (the first element) in front.", "[]", "[]", ""},
    {"Put (the first element) in front.", "[4, 5]", "[4, 4, 5]", ""},
    {"Move the first element to the end.", "[1, 2, 3]", "[2, 3, 1]", ""},
    {"Remove every 2.", "[2, 1, 2]", "[1]", ""},
    {"Remove the first copy of 2.", "[2, 1, 2]", "[1, 2]", ""},
    {"Remove the largest and the smallest value.", "[1, 5, 3, 5]", "[3]", ""},
    {"Drop the first and the last element.", "[1]", "[]", ""},
    {"Sort the elements x by the units digit of x.", "[21, 10, 31]", "[10, 21, 31]", ""},
    {"Sort the elements x by falling the tens digit of x.", "[21, 30, 25]", "[30, 21, 25]", ""},
    {"Keep only the first copy of each value.", "[1, 2, 1]", "[1, 2]", ""},
    {"Keep only the last copy of each value.", "[1, 2, 1]", "[2, 1]", ""},
    {"Keep each x with x > (the first element).", "[3, 5, 2, 4]", "[5, 4]", ""},
    {"Keep each x with x < the next element.", "[1, 3, 2, 4]", "[1, 2]", ""},
    {"List the positions of each x with x even.", "[4, 1, 6]", "[1, 3]", ""},
    {"Keep elements x from the start while x odd.", "[1, 3, 2, 5]", "[1, 3]", ""},
    {"Drop elements x from the start while x odd.", "[1, 3, 2, 5]", "[2, 5]", ""},
    {"Replace each x by (x / 2).", "[5, -5]", "[2, -3]", ""},
    {"Replace each x by (x mod 3).", "[5, -1]", "[2, 2]", ""},
    {"Replace each x by (1 / x).", "[0]", NULL, ""},
    {"Replace each x by (if x > 4 then 0 else its position).", "[5, 1, 9]", "[0, 2, 0]", ""},
    {"Replace each x by the element opposite.", "[1, 2, 3]", "[3, 2, 1]", ""},
    {"Write each x x times.", "[2, 0, 1]", "[2, 2, 1]", ""},
    {"For each x write 1 to x.", "[2, 0, 3]", "[1, 2, 1, 2, 3]", ""},
    {"For each x write x and its count.", "[4, 4]", "[4, 2, 4, 2]", ""},
    {"Repeat (the last element) 3 times.", "[1, 7]", "[7, 7, 7]", ""},
    {"Count from 2 to 9 in steps of 3.", "[]", "[2, 5, 8]", ""},
    {"Count from 3 to 1 in steps of 1.", "[]", "[]", ""},
    {"Count from 3 to 1 in steps of -1.", "[]", "[3, 2, 1]", ""},
    {"Count from 1 to 99 in steps of 0.", "[]", NULL, ""},
    {"Count from 1 to 999 in steps of 1.", "[]", NULL, ""},
    {"Write the running totals.", "[1, 2, 3]", "[1, 3, 6]", ""},
    {"Write the absolute differences of neighbours.", "[5, 1, 3]", "[4, 2]", ""},
    {"Fill in the numbers between neighbours.", "[3, 5, 4]", "[3, 4, 5, 4]", ""},
    {"Count each distinct value.", "[4, 2, 4]", "[2, 1]", ""},
    {"Write the extra copies of each value in turn.", "[4, 2, 4, 2, 4]", "[4, 4, 2]", ""},
    {"Write each distinct value and its count.", "[4, 2, 4]", "[4, 2, 2, 1]", ""},
    {"Count the copies of 1, 2, 3 up to the largest.", "[3, 1, 3]", "[1, 0, 2]", ""},
    {"Take from the front and the back in turn.", "[1, 2, 3, 4, 5]", "[1, 5, 2, 4, 3]", ""},
    {"Write the even positions and then the odd ones backwards.", "[1, 2, 3, 4, 5]",
     "[2, 4, 5, 3, 1]", ""},
    {"Keep what follows the last 0.", "[1, 0, 2, 0, 3]", "[3]", ""},
    {"Reverse each part between copies of 0 and drop these.", "[1, 2, 0, 3, 4]", "[2, 1, 4, 3]",
     ""},
    {"Join (keep the first 1) and (reverse the list; then drop the first 1).", "[1, 2, 3]",
     "[1, 2, 1]", ""},
    {"Alternate the elements of (leave the list as it is) and (reverse the list).", "[1, 2]",
     "[1, 2, 2, 1]", ""},
    {"If (the length) > 2, then (return only the sum), otherwise (write the list 7 8).",
     "[1, 2, 3]", "[6]", ""},
    {"If (the length) > 2, then (return only the sum), otherwise (write the list 7 8).", "[1]",
     "[7, 8]", ""},
    {"Write the list empty.", "[1]", "[]", ""},
    {"Return only the number of x with (x > 2 and x odd).", "[1, 3, 5, 4]", "[2]", ""},
    {"Return only (the largest value) minus (the smallest value).", "[4, 9, 2]", "[7]", ""},
    {"Return only the position of 4.", "[9, 4, 4]", "[2]", ""},
};

int main(int argc, char **argv)
{
    rd_test_begin(&argc, &argv);
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        rd_rule *r = rd_rule_parse(RD_LIST_FUNCTION, cases[k].rule);
        rd_buf answer = {0}, work = {0};
        bool ran = r && rd_rule_run(RD_LIST_FUNCTION, r, cases[k].input, &answer, &work);
        bool good =
            ran ? cases[k].output && !strcmp(answer.data, cases[k].output) : r && !cases[k].output;
        if (ran && strcmp(work.data ? work.data : "", cases[k].work) != 0) good = false;
        ok(good, "%s %s", cases[k].rule, cases[k].input);
        if (!good)
            diag("got %s, work '%s'",
                 ran ? answer.data
                 : r ? "undefined"
                     : "no rule",
                 work.data ? work.data : "");
        rd_buf_free(&answer);
        rd_buf_free(&work);
        rd_rule_free(RD_LIST_FUNCTION, &r);
    }
    return rd_test_end();
}
