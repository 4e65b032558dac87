/* chosen.c: does any of many texts occur in another text?
 *
 * Of texts that begin with another one, that one is enough.  Among what then remains no text begins
 * with another, so at each place of the text asked about at most one can stand there: the greatest
 * that is not greater than the rest of the text. */
#include "rows.h"

#include <stdlib.h>
#include <string.h>

void chosen_add(chosen_rules *c, const char *text)
{
    if (c->n == c->cap) {
        c->cap = 2 * c->cap + 64;
        rd_resize(c->text, c->cap);
    }
    c->text[c->n++] = rd_strdup(text);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool begins_with(const char *text, const char *lead)
{
    return strncmp(text, lead, strlen(lead)) == 0;
}

void chosen_close(chosen_rules *c)
{
    int64_t kept = 0;
    if (c->n > 1) qsort(c->text, (size_t)c->n, sizeof *c->text, compare_texts);
    for (int64_t i = 0; i < c->n; i++)
        if (kept > 0 && begins_with(c->text[i], c->text[kept - 1]))
            rd_free(c->text[i]);
        else
            c->text[kept++] = c->text[i];
    c->n = kept;
}

bool chosen_occurs(const chosen_rules *c, const char *in)
{
    for (; *in; in++) {
        int64_t low = 0,
                high = c->n; /* texts below low are not greater than in, from high on they are */
        while (low < high) {
            const int64_t mid = low + (high - low) / 2;
            if (strcmp(c->text[mid], in) <= 0)
                low = mid + 1;
            else
                high = mid;
        }
        if (low > 0 && begins_with(in, c->text[low - 1])) return true;
    }
    return false;
}

void chosen_free(chosen_rules *c)
{
    for (int64_t i = 0; i < c->n; i++) rd_free(c->text[i]);
    RD_FREE(c->text);
    c->n = c->cap = 0;
}
