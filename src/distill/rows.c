/* rows.c: the SFT rows of one task: rule generation, rule following, and plain input -> output; its
 * rules with a label each. */
#include "rows.h"

#include <stdlib.h>
#include <string.h>

static const table_column sft_columns[SFT_COLUMNS] = {
    [SFT_KIND] = {"kind", RD_U8, false},        [SFT_FAMILY] = {"family", RD_U8, false},
    [SFT_PROMPT] = {"prompt", RD_I64, true},    [SFT_RESPONSE] = {"response", RD_I64, true},
    [SFT_TASK] = {"task", RD_I64, false},       [SFT_HYPOTHESIS] = {"hypothesis", RD_I64, false},
    [SFT_EXAMPLE] = {"example", RD_I64, false},
};
static const table_column pair_columns[PAIR_COLUMNS] = {
    [PAIR_FAMILY] = {"family", RD_U8, false},
    [PAIR_PROMPT] = {"prompt", RD_I64, true},
    [PAIR_CHOSEN] = {"chosen", RD_I64, true},
    [PAIR_REJECTED] = {"rejected", RD_I64, true},
    [PAIR_CHOSEN_SCORE] = {"chosen_score", RD_I32, false},
    [PAIR_REJECTED_SCORE] = {"rejected_score", RD_I32, false},
    [PAIR_TASK] = {"task", RD_I64, false},
    [PAIR_CHOSEN_HYPOTHESIS] = {"chosen_hypothesis", RD_I64, false},
    [PAIR_REJECTED_HYPOTHESIS] = {"rejected_hypothesis", RD_I64, false},
};

static const table_column kto_columns[KTO_COLUMNS] = {
    [KTO_FAMILY] = {"family", RD_U8, false},          [KTO_PROMPT] = {"prompt", RD_I64, true},
    [KTO_RESPONSE] = {"response", RD_I64, true},      [KTO_LABEL] = {"label", RD_U8, false},
    [KTO_SCORE] = {"score", RD_I32, false},           [KTO_TASK] = {"task", RD_I64, false},
    [KTO_HYPOTHESIS] = {"hypothesis", RD_I64, false},
};

void dataset_init(dataset *d)
{
    *d = (dataset){.sft = table_make("sft", sft_columns, SFT_COLUMNS),
                   .pair = table_make("pair", pair_columns, PAIR_COLUMNS),
                   .kto = table_make("kto", kto_columns, KTO_COLUMNS)};
}

void dataset_free(dataset *d)
{
    table_free(&d->sft);
    table_free(&d->pair);
    table_free(&d->kto);
    rd_pool_free(&d->pool);
}

/* ---------------------------------------------------------------- a task and its rules */

/* The rows of a task must stand rule by rule, each rule applied to the same first examples: what
 * augment writes, and what lets a row be found without a search. */
static int check_applications(const traces *from, int64_t row, const scored_task *t)
{
    int rc = RD_OK;
    int64_t hyp = table_int(&from->task, row, TASK_FIRST_HYPOTHESIS);
    int64_t app = table_int(&from->task, row, TASK_FIRST_APPLICATION);
    int64_t example = table_int(&from->task, row, TASK_FIRST_EXAMPLE);
    int64_t n = table_int(&from->task, row, TASK_APPLICATIONS);
    if (n != t->draws * t->applied || t->applied > t->task.n_demos + t->task.n_queries)
        RD_FAIL(RD_EINPUT, "traces: task %lld has %lld applications for %lld rules",
                (long long)(from->first_task + row), (long long)n, (long long)t->draws);
    for (int64_t i = 0; i < n; i++) {
        int64_t r = app - from->first_application + i;
        if (r < 0 || r >= from->application.rows ||
            table_int(&from->application, r, APP_HYPOTHESIS) != hyp + i / t->applied ||
            table_int(&from->application, r, APP_EXAMPLE) != example + i % t->applied)
            RD_FAIL(RD_EINPUT, "traces: the applications of task %lld are out of order",
                    (long long)(from->first_task + row));
    }
done:
    return rc;
}

int scored_task_make(const traces *from, int64_t row, scored_task *t)
{
    int rc = RD_OK;
    *t = (scored_task){.from = from, .row = row};
    rd_task *task = &t->task;
    task->family = (rd_family)table_int(&from->task, row, TASK_FAMILY);
    task->split = (rd_split)table_int(&from->task, row, TASK_SPLIT);
    task->source = table_int(&from->task, row, TASK_SOURCE);
    task->id = table_int(&from->task, row, TASK_ID);
    int64_t first = table_int(&from->task, row, TASK_FIRST_EXAMPLE) - from->first_example;
    int64_t demos = table_int(&from->task, row, TASK_DEMOS);
    int64_t queries = table_int(&from->task, row, TASK_QUERIES);
    if (first < 0 || demos < 0 || queries < 0 || first + demos + queries > from->example.rows)
        RD_FAIL(RD_EINPUT, "traces: the examples of task %lld do not exist",
                (long long)(from->first_task + row));
    task->examples = rd_new(rd_example, demos + queries);
    task->n_demos = demos;
    task->n_queries = queries;
    for (int64_t i = 0; i < demos + queries; i++) {
        rd_example *e = &task->examples[i];
        e->input =
            rd_strdup(traces_text(from, table_int(&from->example, first + i, EXAMPLE_INPUT)));
        e->output =
            rd_strdup(traces_text(from, table_int(&from->example, first + i, EXAMPLE_OUTPUT)));
        if (!e->input || !e->output)
            RD_FAIL(RD_EINPUT, "traces: an example of task %lld has no text",
                    (long long)(from->first_task + row));
    }
    t->draws = table_int(&from->task, row, TASK_HYPOTHESES);
    if (t->draws < 0) RD_FAIL(RD_EINPUT, "traces: a task has a negative number of rules");
    t->applied = t->draws > 0 ? table_int(&from->task, row, TASK_APPLICATIONS) / t->draws : 0;
    RD_TRY(check_applications(from, row, t));
    t->rules = rd_new(scored_rule, t->draws);
done:
    if (rc != RD_OK) scored_task_free(t);
    return rc;
}

void scored_task_add(scored_task *t, int64_t hypothesis_row)
{
    scored_rule *r = &t->rules[t->n_rules++];
    r->row = hypothesis_row;
    r->text = traces_text(t->from, table_int(&t->from->hypothesis, hypothesis_row, HYP_RULE));
    r->score = table_int(&t->from->hypothesis, hypothesis_row, HYP_SCORE);
    r->parsed = rd_rule_parse(t->task.family, r->text);
    if (r->parsed) {
        rd_buf canonical = {0};
        rd_rule_print(t->task.family, r->parsed, 0, &canonical);
        r->canonical = rd_buf_take(&canonical);
    }
}

static int compare_rules(const void *x, const void *y)
{
    const scored_rule *a = x, *b = y;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    int order = strcmp(b->text, a->text);
    return order ? order : (a->row > b->row) - (a->row < b->row);
}

void scored_task_rank(scored_task *t)
{
    if (t->n_rules > 1) qsort(t->rules, (size_t)t->n_rules, sizeof t->rules[0], compare_rules);
}

void scored_task_free(scored_task *t)
{
    for (int64_t i = 0; i < t->n_rules; i++) {
        if (t->rules[i].parsed) rd_rule_free(t->task.family, &t->rules[i].parsed);
        rd_free(t->rules[i].canonical);
    }
    RD_FREE(t->rules);
    t->n_rules = 0;
    rd_task_free(&t->task);
}

/* ---------------------------------------------------------------- rows */

typedef struct row_maker {
    const rd_prompts *p;
    const rd_filter_opts *o;
    const scored_task *t;
    const chosen_rules *chosen;
    dataset *d;
    rd_filter_report *report;
    rd_buf prompt, response, work, answer;
} row_maker;

/* One more newline before the first "Input:" (rd_filter_opts, official). */
static void add_newline(const row_maker *m, rd_buf *prompt)
{
    const char *cut = m->o->official && prompt->data ? strstr(prompt->data, "Input:") : NULL;
    if (!cut) return;
    char *tail = rd_strdup(cut);
    prompt->len = (size_t)(cut - prompt->data);
    rd_buf_putc(prompt, '\n');
    rd_buf_puts(prompt, tail);
    rd_free(tail);
}

/* hypothesis: a row in memory, example: an index in the task; -1 for none. */
static void add_row(row_maker *m, int kind, int64_t hypothesis, int64_t example)
{
    const traces *from = m->t->from;
    table *sft = &m->d->sft;
    int64_t row = table_add(sft);
    if (kind != RD_ROW_IO) add_newline(m, &m->prompt);
    table_set(sft, row, SFT_KIND, kind);
    table_set(sft, row, SFT_FAMILY, m->t->task.family);
    table_set(sft, row, SFT_PROMPT, rd_pool_add(&m->d->pool, m->prompt.data));
    table_set(sft, row, SFT_RESPONSE, rd_pool_add(&m->d->pool, m->response.data));
    table_set(sft, row, SFT_TASK, from->first_task + m->t->row);
    table_set(sft, row, SFT_HYPOTHESIS, hypothesis < 0 ? -1 : from->first_hypothesis + hypothesis);
    table_set(sft, row, SFT_EXAMPLE,
              example < 0 ? -1 : table_int(&from->task, m->t->row, TASK_FIRST_EXAMPLE) + example);
    m->report->rows[kind][m->t->task.family]++;
}

static void clear_texts(row_maker *m)
{
    rd_buf_clear(&m->prompt);
    rd_buf_clear(&m->response);
}

static void generate_rows(row_maker *m)
{
    const rd_task *task = &m->t->task;
    for (int64_t i = 0; i < m->t->n_rules; i++) {
        const scored_rule *r = &m->t->rules[i];
        if ((double)r->score < m->o->min_score * (double)task->n_demos) {
            m->report->low_score++;
            continue;
        }
        clear_texts(m);
        rd_prompt_propose(m->p, task, &m->prompt);
        rd_response_propose(m->p, task->family, r->text, &m->response);
        add_row(m, RD_ROW_GENERATE, r->row, -1);
    }
}

/* The worked form: false, and nothing written, when the rule cannot be run or does not give target.
 */
static bool worked_response(row_maker *m, const scored_rule *r, const char *input,
                            const char *target)
{
    rd_family f = m->t->task.family;
    rd_buf_clear(&m->work);
    rd_buf_clear(&m->answer);
    if (!target || !r->parsed || !rd_rule_run(f, r->parsed, input, &m->answer, &m->work))
        return false;
    if (strcmp(m->answer.data ? m->answer.data : "", target) != 0) return false;
    rd_response_follow(m->p, f, input, m->work.data, target, &m->response);
    return true;
}

static void follow_row(row_maker *m, const scored_rule *r, int64_t example)
{
    const traces *from = m->t->from;
    const rd_example *e = &m->t->task.examples[example];
    bool teacher = m->o->follow_target == RD_TARGET_TEACHER;
    const char *target = e->output, *raw = NULL;
    if (example < m->t->applied) {
        int64_t h = r->row + from->first_hypothesis -
                    table_int(&from->task, m->t->row, TASK_FIRST_HYPOTHESIS);
        int64_t app = table_int(&from->task, m->t->row, TASK_FIRST_APPLICATION) -
                      from->first_application + h * m->t->applied + example;
        if (m->o->follow_correct_only && !table_int(&from->application, app, APP_CORRECT)) {
            m->report->wrong_answer++;
            return;
        }
        if (teacher) {
            raw = traces_text(from, table_int(&from->application, app, APP_RESPONSE));
            target = traces_text(from, table_int(&from->application, app, APP_ANSWER));
        }
    }
    clear_texts(m);
    rd_prompt_follow(m->p, m->t->task.family, r->text, e->input, &m->prompt);
    if (!m->o->worked || !worked_response(m, r, e->input, target)) {
        m->report->unparsed_worked += m->o->worked;
        if (raw)
            rd_buf_puts(&m->response, raw);
        else
            rd_response_follow(m->p, m->t->task.family, NULL, NULL, target, &m->response);
    }
    add_row(m, RD_ROW_FOLLOW, r->row, example);
}

/* Every application of a task in the order in which they were made: all draws, demonstrations only.
 */
static void official_follow_rows(row_maker *m)
{
    const traces *from = m->t->from;
    const rd_task *task = &m->t->task;
    const bool gold = m->o->follow_target == RD_TARGET_GOLD;
    const int64_t hyp =
        table_int(&from->task, m->t->row, TASK_FIRST_HYPOTHESIS) - from->first_hypothesis;
    const int64_t app =
        table_int(&from->task, m->t->row, TASK_FIRST_APPLICATION) - from->first_application;
    const int64_t n = m->t->applied < task->n_demos ? m->t->applied : task->n_demos;
    for (int64_t i = 0; i < m->t->draws * n; i++) {
        const int64_t h = hyp + i / n, a = app + i / n * m->t->applied + i % n;
        const char *rule = traces_text(from, table_int(&from->hypothesis, h, HYP_RULE));
        const char *said = traces_text(from, table_int(&from->application, a, APP_RESPONSE));
        if (!*rule) continue; /* counted with the rules */
        if (!said || !*said) {
            m->report->unanswered++;
            continue;
        }
        if (m->o->follow_correct_only && !table_int(&from->application, a, APP_CORRECT)) {
            m->report->wrong_answer++;
            continue;
        }
        clear_texts(m);
        rd_prompt_follow(m->p, task->family, rule, task->examples[i % n].input, &m->prompt);
        if (!chosen_occurs(m->chosen, m->prompt.data)) {
            m->report->follow_low_score++;
            continue;
        }
        rd_buf_puts(&m->response, gold ? task->examples[i % n].output : said);
        add_row(m, RD_ROW_FOLLOW, h, i % n);
    }
}

static int follow_rows(row_maker *m)
{
    int rc = RD_OK;
    const rd_task *task = &m->t->task;
    if (m->o->official) {
        official_follow_rows(m);
        return RD_OK;
    }
    int64_t n = task->n_demos + (m->o->follow_queries ? task->n_queries : 0);
    bool need_applied = m->o->follow_target == RD_TARGET_TEACHER || m->o->follow_correct_only;
    if (need_applied && n > m->t->applied && m->t->n_rules > 0)
        RD_FAIL(RD_EINPUT, "filter.follow_queries: the traces hold no applications to queries "
                           "(augment.queries was off)");
    for (int64_t i = 0; i < m->t->n_rules; i++) {
        const scored_rule *r = &m->t->rules[i];
        if ((double)r->score < m->o->follow_min_score * (double)task->n_demos) {
            m->report->follow_low_score++;
            continue;
        }
        for (int64_t e = 0; e < n; e++) follow_row(m, r, e);
    }
done:
    return rc;
}

static void io_rows(row_maker *m)
{
    const rd_task *task = &m->t->task;
    for (int64_t q = task->n_demos; q < task->n_demos + task->n_queries; q++) {
        clear_texts(m);
        rd_prompt_io(m->p, task, task->examples[q].input, &m->prompt);
        rd_response_io(m->p, task->family, task->examples[q].output, &m->response);
        add_row(m, RD_ROW_IO, -1, q);
    }
}

static void kto_rows(row_maker *m)
{
    const rd_task *task = &m->t->task;
    table *kto = &m->d->kto;
    for (int64_t i = 0; i < m->t->n_rules; i++) {
        const scored_rule *r = &m->t->rules[i];
        const bool good = m->o->official
                              ? 2 * i < m->t->n_rules
                              : (double)r->score >= m->o->min_score * (double)task->n_demos;
        const int64_t row = table_add(kto);
        clear_texts(m);
        rd_prompt_propose(m->p, task, &m->prompt);
        rd_response_propose(m->p, task->family, r->text, &m->response);
        table_set(kto, row, KTO_FAMILY, task->family);
        table_set(kto, row, KTO_PROMPT, rd_pool_add(&m->d->pool, m->prompt.data));
        table_set(kto, row, KTO_RESPONSE, rd_pool_add(&m->d->pool, m->response.data));
        table_set(kto, row, KTO_LABEL, good);
        table_set(kto, row, KTO_SCORE, r->score);
        table_set(kto, row, KTO_TASK, m->t->from->first_task + m->t->row);
        table_set(kto, row, KTO_HYPOTHESIS, m->t->from->first_hypothesis + r->row);
    }
}

int rows_make(const rd_prompts *p, const rd_filter_opts *o, const scored_task *t,
              const chosen_rules *chosen, dataset *d, rd_filter_report *report)
{
    int rc = RD_OK;
    row_maker m = {.p = p, .o = o, .t = t, .chosen = chosen, .d = d, .report = report};
    generate_rows(&m);
    RD_TRY(follow_rows(&m));
    io_rows(&m);
    kto_rows(&m);
done:
    rd_buf_free(&m.prompt);
    rd_buf_free(&m.response);
    rd_buf_free(&m.work);
    rd_buf_free(&m.answer);
    return rc;
}
