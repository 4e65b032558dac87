/* pairs.c: the preference pairs of one task. */
#include "rows.h"

#include <stdlib.h>
#include <string.h>

typedef struct pair {
    int64_t chosen, rejected; /* places in the ranking */
    int64_t gap;
} pair;

/* Largest gap first; among equals the order of the ranking. */
static int compare_gaps(const void *x, const void *y)
{
    const pair *a = x, *b = y;
    if (a->gap != b->gap) return a->gap > b->gap ? -1 : 1;
    if (a->chosen != b->chosen) return a->chosen < b->chosen ? -1 : 1;
    return (a->rejected > b->rejected) - (a->rejected < b->rejected);
}

/* Two wordings of one rule differ in score only by the teacher's slips when following it: such a
 * pair would teach to prefer words. */
static bool same_rule(const scored_rule *a, const scored_rule *b)
{
    return a->canonical && b->canonical && strcmp(a->canonical, b->canonical) == 0;
}

static void add_pair(const rd_prompts *p, const scored_task *t, const pair *which,
                     const rd_buf *prompt, dataset *d)
{
    const scored_rule *rule[2] = {&t->rules[which->chosen], &t->rules[which->rejected]};
    int64_t row = table_add(&d->pair);
    table_set(&d->pair, row, PAIR_FAMILY, t->task.family);
    table_set(&d->pair, row, PAIR_TASK, t->from->first_task + t->row);
    table_set(&d->pair, row, PAIR_PROMPT, rd_pool_add(&d->pool, prompt->data));
    for (int side = 0; side < 2; side++) {
        rd_buf text = {0};
        rd_response_propose(p, t->task.family, rule[side]->text, &text);
        table_set(&d->pair, row, PAIR_CHOSEN + side, rd_pool_add(&d->pool, text.data));
        table_set(&d->pair, row, PAIR_CHOSEN_SCORE + side, rule[side]->score);
        table_set(&d->pair, row, PAIR_CHOSEN_HYPOTHESIS + side,
                  t->from->first_hypothesis + rule[side]->row);
        rd_buf_free(&text);
    }
}

void pairs_make(const rd_prompts *p, const rd_filter_opts *o, const scored_task *t, dataset *d,
                rd_filter_report *report)
{
    rd_family f = t->task.family;
    int64_t n = 0;
    pair *pairs = rd_new(pair, t->n_rules * (t->n_rules > 0 ? t->n_rules - 1 : 0) / 2);
    for (int64_t i = 0; i < t->n_rules; i++) {
        for (int64_t j = i + 1; j < t->n_rules; j++) {
            int64_t gap = t->rules[i].score - t->rules[j].score;
            if (gap <= o->gap[f]) continue; /* strictly greater, as published */
            if (!o->official && same_rule(&t->rules[i], &t->rules[j])) {
                report->identical_pairs++;
                continue;
            }
            pairs[n++] = (pair){i, j, gap};
        }
    }
    if (o->max_pairs > 0 && n > o->max_pairs) {
        qsort(pairs, (size_t)n, sizeof pairs[0], compare_gaps);
        report->pairs_over_limit += n - o->max_pairs;
        n = o->max_pairs;
    }
    rd_buf prompt = {0};
    if (n > 0) rd_prompt_propose(p, &t->task, &prompt);
    for (int64_t i = 0; i < n; i++) add_pair(p, t, &pairs[i], &prompt, d);
    report->pairs[f] += n;
    rd_buf_free(&prompt);
    rd_free(pairs);
}
