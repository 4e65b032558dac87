/* report.c: report.txt and report.json: the table, what it says, leakage, counts, timing. */
#include "cli/job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_trivial(const rd_result *r)
{
    return strcmp(r->arm, "trivial") == 0;
}
/* The run's teacher, searching by itself. */
static bool is_teacher(const rd_result *r)
{
    return strcmp(r->arm, "teacher") == 0;
}
static bool is_tolerant(const rd_result *r)
{
    return strcmp(r->parse, "tolerant") == 0;
}

static bool same_set(const rd_result *a, const rd_result *b)
{
    return a->family == b->family && strcmp(a->set, b->set) == 0;
}
/* The first result of its test set? */
static bool opens_set(const rd_results *all, int64_t i)
{
    for (int64_t k = 0; k < i; k++)
        if (same_set(&all->item[k], &all->item[i])) return false;
    return true;
}
static const char *set_title(const rd_result *r)
{
    static char title[64];
    snprintf(title, sizeof title, "%s%s%s", rd_family_name(r->family), *r->set ? ", " : "", r->set);
    return title;
}

static const rd_result *other_parse(const rd_results *all, const rd_result *r)
{
    for (int64_t i = 0; i < all->n; i++) {
        const rd_result *o = &all->item[i];
        if (same_set(o, r) && o->n == r->n && !is_tolerant(o) && strcmp(o->arm, r->arm) == 0 &&
            strcmp(o->method, r->method) == 0)
            return o;
    }
    return r;
}

static void table_row(const rd_results *all, const rd_result *r, rd_buf *out)
{
    char n[24] = "";
    if (r->n > 0) snprintf(n, sizeof n, "%lld", (long long)r->n);
    rd_buf_printf(out, "  %-12s %-20s %4s %7.1f  %5.1f - %5.1f %8.1f %8.1f %12.0f\n", r->arm,
                  r->method, n, 100 * r->accuracy, 100 * r->low, 100 * r->high,
                  100 * other_parse(all, r)->accuracy, 100 * r->solved, r->tokens_per_query);
}

static void set_table(const rd_results *all, const rd_result *of, rd_buf *out)
{
    const rd_result *first = NULL;
    for (int64_t i = 0; i < all->n && !first; i++)
        if (same_set(&all->item[i], of) && !is_trivial(&all->item[i])) first = &all->item[i];
    if (!first) return;
    rd_buf_printf(out, "\n%s: %lld test problems, %lld queries\n", set_title(of),
                  (long long)first->problems, (long long)first->queries);
    rd_buf_printf(out, "  %-12s %-20s %4s %7s  %13s %8s %8s %12s\n", "arm", "method", "N",
                  "right %", "95 % interval", "strict %", "solved %", "tokens/query");
    for (int pass = 0; pass < 2; pass++) /* the trivial baselines last */
        for (int64_t i = 0; i < all->n; i++) {
            const rd_result *r = &all->item[i];
            if (same_set(r, of) && is_tolerant(r) && is_trivial(r) == (pass == 1))
                table_row(all, r, out);
        }
}

void report_table(const rd_results *r, rd_buf *out)
{
    for (int f = 0; f < RD_FAMILIES; f++)
        for (int64_t i = 0; i < r->n; i++)
            if (r->item[i].family == (rd_family)f && opens_set(r, i))
                set_table(r, &r->item[i], out);
}

/* The best row of a test set: of an arm (NULL: any) and a method (NULL: any); of search, that at
 * the largest N, which is not chosen by its accuracy. */
static const rd_result *best_of(const rd_results *all, const rd_result *of, const char *arm,
                                const char *method)
{
    const rd_result *best = NULL;
    bool search = method && strcmp(method, "search") == 0;
    for (int64_t i = 0; i < all->n; i++) {
        const rd_result *r = &all->item[i];
        if (!same_set(r, of) || !is_tolerant(r) || (arm && strcmp(r->arm, arm) != 0) ||
            (method && strcmp(r->method, method) != 0))
            continue;
        if (!best || (search ? r->n > best->n : r->accuracy > best->accuracy)) best = r;
    }
    return best;
}

static void compare(const rd_result *a, const rd_result *b, rd_buf *out)
{
    const char *verdict = a->low > b->high   ? "above, intervals apart"
                          : b->low > a->high ? "BELOW, intervals apart"
                                             : "intervals overlap";
    char n[32] = "";
    if (b->n > 0) snprintf(n, sizeof n, " at N = %lld", (long long)b->n);
    rd_buf_printf(out, "  %s %s at N = %lld (%.1f %%) against %s %s%s (%.1f %%): %s\n", a->arm,
                  a->method, (long long)a->n, 100 * a->accuracy, b->arm, b->method, n,
                  100 * b->accuracy, verdict);
}

/* The arm whose search, each at its largest N, is the best, against the teacher's. */
static void teacher_verdict(const rd_results *all, const rd_result *of, rd_buf *out)
{
    const rd_result *teacher = best_of(all, of, "teacher", "search"), *best = NULL;
    for (int64_t i = 0; i < all->n; i++) {
        const rd_result *r = &all->item[i];
        if (!same_set(r, of) || strcmp(r->method, "search") != 0 || is_teacher(r)) continue;
        r = best_of(all, of, r->arm, "search");
        if (!best || r->accuracy > best->accuracy) best = r;
    }
    if (teacher && best) compare(best, teacher, out);
}

/* Each arm's search at its largest N against the best row of every rival: direct answers and votes
 * of any arm, random training rules, the trivial baselines; then the best arm's against its
 * teacher's. */
static void set_verdicts(const rd_results *all, const rd_result *of, rd_buf *out)
{
    const rd_result *rival[] = {best_of(all, of, NULL, "io"), best_of(all, of, NULL, "vote"),
                                best_of(all, of, NULL, "random_rules"),
                                best_of(all, of, "trivial", NULL)};
    const char *last = "";
    for (int64_t i = 0; i < all->n; i++) {
        const rd_result *r = &all->item[i];
        if (!same_set(r, of) || strcmp(r->method, "search") != 0 || strcmp(last, r->arm) == 0 ||
            is_teacher(r))
            continue;
        if (!*last) rd_buf_printf(out, "\n%s:\n", set_title(of));
        last = r->arm;
        for (size_t k = 0; k < sizeof rival / sizeof *rival; k++)
            if (rival[k]) compare(best_of(all, of, r->arm, "search"), rival[k], out);
    }
    if (*last) teacher_verdict(all, of, out);
}

void report_verdicts(const rd_results *all, rd_buf *out)
{
    for (int f = 0; f < RD_FAMILIES; f++)
        for (int64_t i = 0; i < all->n; i++)
            if (all->item[i].family == (rd_family)f && opens_set(all, i))
                set_verdicts(all, &all->item[i], out);
}

/* ---------------------------------------------------------------- counts */

static void put_leakage(const job *j, rd_json_node *root, rd_buf *text)
{
    rd_json_node *list = rd_json_set_object(root, "leakage");
    for (int f = 0; f < RD_FAMILIES; f++) {
        rd_leakage l;
        memset(&l, 0, sizeof l);
        if (rd_leakage_report(&j->tasks, (rd_family)f, &l) != RD_OK || l.test_tasks == 0) {
            rd_error_clear();
            continue;
        }
        rd_json_node *o = rd_json_set_object(list, rd_family_name((rd_family)f));
        rd_json_set_int(o, "test_tasks", l.test_tasks);
        rd_json_set_int(o, "test_queries", l.test_queries);
        rd_json_set_int(o, "tasks_in_train", l.tasks_in_train);
        rd_json_set_int(o, "pairs_in_train", l.pairs_in_train);
        rd_json_set_int(o, "queries_in_demos", l.queries_in_demos);
        rd_json_set_int(o, "classes_in_train", l.classes_in_train);
        rd_json_set_int(o, "distinct_after_renaming", l.distinct_after_renaming);
        rd_json_set_int(o, "best_position_hits", l.best_position_hits);
        rd_buf_printf(
            text,
            "leakage  %-14s of %lld test tasks %lld stand in training and %lld share a "
            "rule class with it; of %lld queries %lld occur in training, %lld in their own "
            "demonstrations\n",
            rd_family_name((rd_family)f), (long long)l.test_tasks, (long long)l.tasks_in_train,
            (long long)l.classes_in_train, (long long)l.test_queries, (long long)l.pairs_in_train,
            (long long)l.queries_in_demos);
    }
}

/* Families that hold out pairs or kinds: of each entry's test tasks, what training has of their
 * operations. */
static void put_operations(const job *j, rd_json_node *root, rd_buf *text)
{
    rd_json_node *list = NULL;
    for (int i = 0; i < j->cfg.n_tasks; i++) {
        rd_gen_opts gen;
        rd_leakage_operations l;
        config_entry_options(&j->cfg, i, &gen);
        if (!j->held[gen.family]) continue;
        rd_leakage_of_operations(&j->tasks, i, &l);
        if (l.test_tasks == 0) continue;
        const char *set = config_text(&j->cfg.task[i], "set");
        const char *level = config_text(&j->cfg.task[i], "holdout");
        if (!list) list = rd_json_set_array(root, "operations");
        rd_json_node *o = rd_json_set_object(list, NULL);
        rd_json_set_string(o, "family", rd_family_name(gen.family));
        rd_json_set_string(o, "set", set);
        rd_json_set_string(o, "holdout", level);
        rd_json_set_int(o, "test_tasks", l.test_tasks);
        rd_json_set_int(o, "classes_in_train", l.classes_in_train);
        rd_json_set_int(o, "known_kinds", l.known_kinds);
        rd_json_set_int(o, "known_pairs", l.known_pairs);
        rd_buf_printf(text,
                      "leakage  %-14s holdout %s%s%s: of %lld test tasks %lld share a rule class "
                      "with training; all kinds of operations are known there of %lld, all pairs "
                      "of %lld\n",
                      rd_family_name(gen.family), level, *set ? ", " : "", set,
                      (long long)l.test_tasks, (long long)l.classes_in_train,
                      (long long)l.known_kinds, (long long)l.known_pairs);
    }
}

static void put_number(rd_json_node *o, const char *key, double x)
{
    if (isfinite(x))
        rd_json_set_number(o, key, x);
    else
        rd_json_set_null(o, key);
}

static void put_filter(const rd_filter_report *r, rd_json_node *counts, rd_buf *text)
{
    static const char *const kinds[] = {"generate", "follow", "io"};
    rd_json_node *o = rd_json_set_object(counts, "filter");
    rd_json_node *hist = rd_json_set_object(o, "score_histogram");
    rd_json_node *corr = rd_json_set_object(o, "length_quality_correlation");
    for (int f = 0; f < RD_FAMILIES; f++) {
        const char *name = rd_family_name((rd_family)f);
        int64_t total = 0, last = 0;
        for (int i = 0; i < RD_HIST; i++) {
            total += r->histogram[f][i];
            if (r->histogram[f][i]) last = i;
        }
        if (total == 0) continue;
        rd_json_node *fam = rd_json_set_object(o, name);
        for (int k = 0; k < RD_ROW_KINDS; k++) rd_json_set_int(fam, kinds[k], r->rows[k][f]);
        rd_json_set_int(fam, "pairs", r->pairs[f]);
        rd_json_node *h = rd_json_set_array(hist, name);
        rd_buf_printf(text, "scores   %-14s", name);
        for (int64_t i = 0; i <= last; i++) {
            rd_json_set_int(h, NULL, r->histogram[f][i]);
            rd_buf_printf(text, " %lld:%.0f%%", (long long)i,
                          100.0 * (double)r->histogram[f][i] / (double)total);
        }
        put_number(corr, name, r->length_quality[f]);
        rd_buf_printf(text, ";  rule length vs. quality r = %+.2f\n", r->length_quality[f]);
    }
    put_number(corr, "pooled", r->length_quality[RD_FAMILIES]);
    rd_json_set_int(o, "duplicates", r->duplicates);
    rd_json_set_int(o, "identical_pairs", r->identical_pairs);
    rd_json_set_int(o, "over_long", r->over_long);
    rd_json_set_int(o, "below_score", r->low_score);
    rd_json_set_int(o, "wrong_answer", r->wrong_answer);
    rd_json_set_int(o, "not_worked", r->unparsed_worked);
    if (r->held_out > 0) rd_json_set_int(o, "held_out", r->held_out);
}

void report_gaps(const own_report *r, rd_family f, rd_buf *out)
{
    const double pairs = (double)r->filter.pairs[f];
    for (int gap = 0; gap < RD_HIST; gap++)
        if (r->gap[f][gap] > 0)
            rd_buf_printf(out, " %d%s:%.0f%%", gap, gap == RD_HIST - 1 ? "+" : "",
                          100.0 * (double)r->gap[f][gap] / pairs);
}

/* Pairs of the student's own rules, by family. */
static void put_own(const config_arm *arm, const own_report *r, rd_json_node *a, rd_buf *text)
{
    rd_json_node *o = rd_json_set_object(a, "own");
    rd_json_set_int(o, "tasks", r->augment.tasks);
    rd_json_set_int(o, "hypotheses", r->augment.hypotheses);
    rd_json_set_int(o, "applications", r->augment.applications);
    rd_json_set_int(o, "tokens_out", r->augment.tokens_out);
    rd_json_set_int(o, "duplicates", r->filter.duplicates);
    rd_json_set_int(o, "unreadable", r->filter.unanswered);
    rd_json_set_int(o, "identical_pairs", r->filter.identical_pairs);
    rd_json_node *pairs = rd_json_set_object(o, "pairs"), *gaps = rd_json_set_object(o, "gaps");
    rd_json_node *solved = rd_json_set_object(o, "full_score_share");
    for (int f = 0; f < RD_FAMILIES; f++) {
        const char *name = rd_family_name((rd_family)f);
        if (r->augment.tasks_of[f] == 0) continue;
        rd_json_set_int(pairs, name, r->filter.pairs[f]);
        rd_json_set_number(solved, name,
                           (double)r->augment.solved[f] / (double)r->augment.tasks_of[f]);
        int last = RD_HIST - 1;
        while (last >= 0 && r->gap[f][last] == 0) last--;
        rd_json_node *list = rd_json_set_array(gaps, name);
        for (int gap = 0; gap <= last; gap++) rd_json_set_int(list, NULL, r->gap[f][gap]);
        rd_buf_printf(text, "pairs    %s: %-14s %lld of its own rules, by gap", arm->name, name,
                      (long long)r->filter.pairs[f]);
        report_gaps(r, (rd_family)f, text);
        rd_buf_putc(text, '\n');
    }
}

static void put_training(const job *j, rd_json_node *counts, rd_buf *text)
{
    rd_json_node *arms = rd_json_set_object(counts, "arms");
    for (int i = 0; i < j->cfg.n_arms; i++) {
        rd_json_node *a = rd_json_set_object(arms, j->cfg.arm[i].name);
        const rd_train_report *reports[] = {&j->arm[i].sft, &j->arm[i].align};
        const bool have[] = {j->arm[i].have_sft, j->arm[i].have_align};
        static const char *const names[] = {"sft", "align"};
        rd_json_set_int(a, "parameters", j->arm[i].parameters);
        if (j->arm[i].have_own) put_own(&j->cfg.arm[i], &j->arm[i].own, a, text);
        for (int k = 0; k < 2; k++) {
            if (!have[k]) continue;
            rd_json_node *o = rd_json_set_object(a, names[k]);
            rd_json_set_int(o, "steps", reports[k]->steps);
            rd_json_set_int(o, "tokens", reports[k]->tokens);
            rd_json_set_int(o, "over_long", reports[k]->over_long);
            put_number(o, "first_loss", reports[k]->first_loss);
            put_number(o, "last_loss", reports[k]->last_loss);
            put_number(o, "tokens_per_second", reports[k]->tokens_per_second);
            if (k == 1) put_number(o, "pair_accuracy", reports[k]->reward_accuracy);
        }
    }
}

static void put_augment(const rd_augment_report *r, rd_json_node *counts)
{
    rd_json_node *o = rd_json_set_object(counts, "augment");
    rd_json_set_int(o, "tasks", r->tasks);
    rd_json_set_int(o, "hypotheses", r->hypotheses);
    rd_json_set_int(o, "applications", r->applications);
    rd_json_set_int(o, "unanswered", r->unanswered);
    rd_json_set_int(o, "tokens_in", r->tokens_in);
    rd_json_set_int(o, "tokens_out", r->tokens_out);
    rd_json_node *solved = rd_json_set_object(o, "full_score_share");
    for (int f = 0; f < RD_FAMILIES; f++)
        if (r->tasks_of[f] > 0)
            rd_json_set_number(solved, rd_family_name((rd_family)f),
                               (double)r->solved[f] / (double)r->tasks_of[f]);
}

static void put_results(const rd_results *all, rd_json_node *root)
{
    rd_json_node *list = rd_json_set_array(root, "results");
    for (int64_t i = 0; i < all->n; i++) {
        const rd_result *r = &all->item[i];
        rd_json_node *o = rd_json_set_object(list, NULL);
        rd_json_set_string(o, "arm", r->arm);
        rd_json_set_string(o, "family", rd_family_name(r->family));
        rd_json_set_string(o, "set", r->set);
        rd_json_set_string(o, "method", r->method);
        rd_json_set_int(o, "n", r->n);
        rd_json_set_string(o, "parse", r->parse);
        rd_json_set_number(o, "accuracy", r->accuracy);
        rd_json_set_number(o, "low", r->low);
        rd_json_set_number(o, "high", r->high);
        rd_json_set_number(o, "solved", r->solved);
        rd_json_set_int(o, "problems", r->problems);
        rd_json_set_int(o, "queries", r->queries);
        rd_json_set_number(o, "tokens_per_query", r->tokens_per_query);
    }
}

static void put_timing(rd_json_node *root, const rd_timing *rows, int n)
{
    rd_json_node *list = rd_json_set_array(root, "timing");
    for (int i = 0; i < n; i++) {
        rd_json_node *o = rd_json_set_object(list, NULL);
        rd_json_set_string(o, "section", rows[i].section);
        rd_json_set_number(o, "min", rows[i].min);
        rd_json_set_number(o, "avg", rows[i].avg);
        rd_json_set_number(o, "max", rows[i].max);
        rd_json_set_number(o, "in_communication", rows[i].waited);
        rd_json_set_int(o, "calls", rows[i].calls);
    }
}

void report_memory_peak(const job *j, report_memory *m)
{
    double peak[2] = {(double)rd_mem_peak(), (double)rd_mem_resident_peak()};
    rd_max_f64(&j->grid->world, peak, 2);
    *m = (report_memory){peak[0], peak[1]};
}

void report_memory_line(const report_memory *m, rd_buf *out)
{
    rd_buf_printf(out,
                  "memory   peak of a rank: %.1f MB of arrays, %.1f MB resident (the operating "
                  "system's count)",
                  m->counted * 1e-6, m->resident * 1e-6);
}

static void put_memory(const report_memory *m, rd_json_node *root)
{
    rd_json_node *o = rd_json_set_object(root, "memory");
    rd_json_set_number(o, "peak_bytes", m->counted);
    rd_json_set_number(o, "peak_resident_bytes", m->resident);
}

static int root_write(const job *j, const rd_timing *rows, int n_rows, const rd_buf *timing,
                      const report_memory *memory)
{
    int rc = RD_OK;
    const char *const *warnings;
    rd_json *doc = rd_json_new(RD_JSON_OBJECT);
    rd_json_node *root = rd_json_root(doc), *counts;
    rd_buf text = {0}, json = {0};
    char *txt_path = job_path(j, "report.txt"), *json_path = job_path(j, "report.json");
    rd_json_set_string(root, "schema", "redistill.report");
    rd_json_set_int(root, "schema_version", 1);
    rd_json_set_string(root, "name", config_text(&j->cfg.keys, "run.name"));
    put_results(&j->results, root);
    put_timing(root, rows, n_rows);
    put_memory(memory, root);
    counts = rd_json_set_object(root, "counts");
    if (j->have_augment) put_augment(&j->augment, counts);
    if (j->have_filter) put_filter(&j->filter, counts, &text);
    put_training(j, counts, &text);
    put_leakage(j, root, &text);
    put_operations(j, root, &text);
    rd_json_node *list = rd_json_set_array(root, "warnings");
    for (int64_t i = 0, n = rd_warnings(&warnings); i < n; i++)
        rd_json_set_string(list, NULL, warnings[i]);
    report_table(&j->results, &text);
    report_verdicts(&j->results, &text);
    rd_buf_printf(&text, "\n%s\n", timing->data);
    report_memory_line(memory, &text);
    rd_buf_printf(&text, "\nwall time %.1f s\n", rd_time() - j->started);
    rd_json_set_number(root, "seconds", rd_time() - j->started);
    rd_json_print(root, true, &json);
    rd_buf_putc(&json, '\n');
    RD_TRY(rd_file_write_atomic(json_path, json.data, json.len));
    RD_TRY(rd_file_write_atomic(txt_path, text.data, text.len));
    rd_info("%s", text.data);
    rd_info("report   %s", txt_path);
done:
    rd_json_free(&doc);
    rd_buf_free(&text);
    rd_buf_free(&json);
    rd_free(txt_path);
    rd_free(json_path);
    return rc;
}

int report_write(job *j)
{
    int rc = RD_OK;
    rd_timing *rows = NULL;
    rd_buf table = {0};
    const rd_comm *w = &j->grid->world;
    report_memory memory;
    int n = rd_clock_rows(w, &rows);
    rd_clock_table(w, &table);
    report_memory_peak(j, &memory);
    if (w->rank == 0) rc = root_write(j, rows, n, &table, &memory);
    rc = rd_agree(w, rc);
    j->reported = rc == RD_OK;
    rd_free(rows);
    rd_buf_free(&table);
    return rc;
}
