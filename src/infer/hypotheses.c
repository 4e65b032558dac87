/* hypotheses.c: the distinct rules among a problem's draws, and the contest between them.
 *
 * A contest for the first n draws is a search with n hypotheses on its own: what it drops and what
 * it spends do not depend on other numbers of draws that are evaluated in the same run. */
#include "eval_impl.h"

#include <string.h>

void hypotheses_draw(hypotheses *h, const char *rule)
{
    if (h->n_draws == h->cap_draws) {
        h->cap_draws = h->cap_draws ? 2 * h->cap_draws : 16;
        rd_resize(h->of_draw, h->cap_draws);
    }
    int64_t draw = h->n_draws++, found = -1;
    h->of_draw[draw] = -1;
    if (rule == NULL) return;
    uint64_t hash = rd_hash_str(rule, 0);
    for (int64_t i = 0; i < h->n && found < 0; i++)
        if (h->item[i].hash == hash && strcmp(h->item[i].rule, rule) == 0) found = i;
    if (found < 0) {
        if (h->n == h->cap) {
            h->cap = h->cap ? 2 * h->cap : 16;
            rd_resize(h->item, h->cap);
        }
        found = h->n++;
        h->item[found] = (hypothesis){
            .rule = rd_strdup(rule), .hash = hash, .first_draw = draw, .interpreter_score = -1};
        h->item[found].trial = rd_new(trial, h->task->n_demos + h->task->n_queries);
    }
    h->of_draw[draw] = found;
}

void hypotheses_interpret(hypotheses *h)
{
    const rd_task *t = h->task;
    rd_buf answer = {0};
    for (int64_t i = 0; i < h->n; i++) {
        hypothesis *y = &h->item[i];
        y->parsed = rd_rule_parse(t->family, y->rule);
        if (y->parsed == NULL) continue;
        y->interpreter_score = 0;
        for (int64_t d = 0; d < t->n_demos; d++) {
            rd_buf_clear(&answer);
            bool defined = rd_rule_run(t->family, y->parsed, t->examples[d].input, &answer, NULL);
            const char *text = answer.data ? answer.data : "";
            y->interpreter_score += defined && strcmp(text, t->examples[d].output) == 0;
        }
    }
    rd_buf_free(&answer);
}

void hypotheses_free(hypotheses *h)
{
    for (int64_t i = 0; i < h->n; i++) {
        hypothesis *y = &h->item[i];
        for (int64_t e = 0; e < h->task->n_demos + h->task->n_queries; e++)
            rd_free(y->trial[e].response);
        if (y->parsed) rd_rule_free(h->task->family, &y->parsed);
        rd_free(y->trial);
        rd_free(y->rule);
    }
    RD_FREE(h->item);
    RD_FREE(h->of_draw);
    h->n = h->cap = h->n_draws = h->cap_draws = 0;
}

/* ---------------------------------------------------------------- contest */

void contest_open(contest *c, const hypotheses *h, int64_t n)
{
    *c = (contest){.of = h, .n = n};
    while (c->n_hyp < h->n && h->item[c->n_hyp].first_draw < n) c->n_hyp++;
    c->samples = rd_new(int64_t, c->n_hyp);
    c->score = rd_new(int64_t, c->n_hyp);
    c->live = rd_new(bool, c->n_hyp);
    for (int64_t k = 0; k < n && k < h->n_draws; k++)
        if (h->of_draw[k] >= 0) c->samples[h->of_draw[k]]++;
    for (int64_t i = 0; i < c->n_hyp; i++) c->live[i] = true;
    c->n_live = c->n_hyp;
}

/* Does a with its score win over b with `score`?  Score, then samples, then the earlier draw; or
 * score, then the greater text. */
static bool wins(const contest *c, int64_t a, int64_t b, int64_t score)
{
    if (c->score[a] != score) return c->score[a] > score;
    if (c->of->text_ties) return strcmp(c->of->item[a].rule, c->of->item[b].rule) > 0;
    if (c->samples[a] != c->samples[b]) return c->samples[a] > c->samples[b];
    return a < b;
}

int64_t contest_best(const contest *c)
{
    int64_t best = -1;
    for (int64_t i = 0; i < c->n_hyp; i++)
        if (c->live[i] && (best < 0 || wins(c, i, best, c->score[best]))) best = i;
    return best;
}

/* The leader of now will not lose points, so whoever cannot pass it even with all of the remaining
 * ones will never be first. */
void contest_drop(contest *c, int64_t remaining)
{
    int64_t leader = contest_best(c);
    for (int64_t i = 0; i < c->n_hyp; i++)
        if (c->live[i] && i != leader && wins(c, leader, i, c->score[i] + remaining)) {
            c->live[i] = false;
            c->n_live--;
        }
}

void contest_round(contest *c, int64_t d, bool drop)
{
    for (int64_t i = 0; i < c->n_hyp; i++) {
        if (!c->live[i]) continue;
        trial *t = &c->of->item[i].trial[d];
        t->counted = true;
        c->score[i] += t->strict;
        c->in += t->in;
        c->out += t->out;
    }
    if (drop) contest_drop(c, c->of->task->n_demos - 1 - d);
}

void contest_free(contest *c)
{
    RD_FREE(c->samples);
    RD_FREE(c->score);
    RD_FREE(c->live);
}
