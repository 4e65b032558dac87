/* schema.c: the schema of every HDF5 file, as data, and as the tables of analysis/SCHEMA.md. */
#include "schema.h"
#include <string.h>

#define END \
    {       \
        0   \
    }
#define NO_LIMIT INT64_MAX
/* Columns: (name, type, …, unit, meaning). */
#define ANY(n, t, u, m)                          \
    {                                            \
        n, t, SCHEMA_ANY, 0, 0, NULL, NULL, u, m \
    }
#define RANGE(n, t, low, high, u, m)                    \
    {                                                   \
        n, t, SCHEMA_RANGE, low, high, NULL, NULL, u, m \
    }
#define TEXT(n, low, m)                                   \
    {                                                     \
        n, RD_I64, SCHEMA_TEXT, low, 0, NULL, NULL, "", m \
    }
#define ROW(n, low, of, m)                             \
    {                                                  \
        n, RD_I64, SCHEMA_ROW, low, 0, of, NULL, "", m \
    }
#define FIRST(n, of, count, m)                          \
    {                                                   \
        n, RD_I64, SCHEMA_FIRST, 0, 0, of, count, "", m \
    }
#define FAMILY RANGE("family", RD_U8, 0, 3, "", "0 list_function, 1 arc1d, 2 acre, 3 miniscan")
#define METHOD                                                                                 \
    RANGE("method", RD_U8, 1, 32, "",                                                          \
          "1 io (direct answer), 2 search, 4 search_interpreter, 8 vote, 16 random_rules, 32 " \
          "follow_true_rule")

const schema_attribute schema_header[] = {
    {"schema", SCHEMA_STRING, false, "the name in the heading"},
    {"schema_version", SCHEMA_INT, false, "the version in the heading"},
    {"software", SCHEMA_STRING, false, "redistill"},
    {"software_version", SCHEMA_STRING, false, "of the program that wrote the file"},
    {"git", SCHEMA_STRING, false, "its revision"},
    {"date", SCHEMA_STRING, false, "UTC, as 2026-01-31T12:00:00Z"},
    {"config", SCHEMA_STRING, false, "the resolved config as JSON; empty where there is none"},
    END};

/* ---------------------------------------------------------------- traces.h5 */

static const schema_attribute traces_attributes[] = {
    {"key", SCHEMA_INT, false, "hash of everything that determines the file"},
    {"tasks", SCHEMA_INT, false, "rows of task"},
    {"hypotheses", SCHEMA_INT, false, "rows of hypothesis"},
    {"applications", SCHEMA_INT, false, "rows of application"},
    {"tokens_in", SCHEMA_INT, false, "tokens of all prompts to the teacher"},
    {"tokens_out", SCHEMA_INT, false, "tokens of all its answers"},
    {"unanswered", SCHEMA_INT, false, "applications without a readable answer"},
    {"tasks_list_function", SCHEMA_INT, false, "tasks of this family; the same for the others:"},
    {"tasks_arc1d", SCHEMA_INT, false, ""},
    {"tasks_acre", SCHEMA_INT, false, ""},
    {"tasks_miniscan", SCHEMA_INT, false, ""},
    {"solved_list_function", SCHEMA_INT, false,
     "of them, those with a rule that is right on every demonstration:"},
    {"solved_arc1d", SCHEMA_INT, false, ""},
    {"solved_acre", SCHEMA_INT, false, ""},
    {"solved_miniscan", SCHEMA_INT, false, ""},
    END};

static const schema_column task_columns[] = {
    FAMILY,
    RANGE("split", RD_U8, 0, 1, "", "0 training, 1 test"),
    RANGE("source", RD_I32, 0, 63, "", "which entry of the config's `tasks` it comes from"),
    ANY("id", RD_I64, "", "its number in that source"),
    TEXT("rule", -1, "the true rule, where it is known"),
    TEXT("rule_class", -1, "tasks of one class have the same rule up to its parameters"),
    FIRST("first_example", "example", "demos+queries", "its demonstrations, then its queries"),
    RANGE("demos", RD_I32, 0, NO_LIMIT, "", "demonstrations"),
    RANGE("queries", RD_I32, 0, NO_LIMIT, "", "queries"),
    FIRST("first_hypothesis", "hypothesis", "hypotheses", "the rules proposed for it"),
    RANGE("hypotheses", RD_I32, 0, NO_LIMIT, "", "how many"),
    FIRST("first_application", "application", "applications", "the applications of these rules"),
    RANGE("applications", RD_I32, 0, NO_LIMIT, "", "how many"),
    END};
static const schema_column example_columns[] = {
    ROW("task", 0, "task", "its task"), RANGE("role", RD_U8, 0, 1, "", "0 demonstration, 1 query"),
    TEXT("input", 0, "the input"), TEXT("output", 0, "the gold output"), END};
static const schema_column traces_hypothesis_columns[] = {
    ROW("task", 0, "task", "its task"),
    RANGE("draw", RD_I32, 0, NO_LIMIT, "", "number of the proposal, from 0 in each task"),
    TEXT("rule", -1, "the rule; -1: none came"),
    RANGE("score", RD_I32, 0, NO_LIMIT, "demonstrations",
          "on which the teacher, following it, is right"),
    RANGE("query_score", RD_I32, -1, NO_LIMIT, "queries", "the same; -1: not applied to queries"),
    ANY("temperature", RD_F64, "", "at which it was drawn"),
    RANGE("tokens_in", RD_I64, 0, NO_LIMIT, "tokens", "of the prompt"),
    RANGE("tokens_out", RD_I64, 0, NO_LIMIT, "tokens", "of the answer"),
    END};
static const schema_column application_columns[] = {
    ROW("hypothesis", 0, "hypothesis", "the rule that is followed"),
    ROW("example", 0, "example", "on which input"),
    TEXT("response", -1, "what the teacher said; -1: nothing came"),
    TEXT("answer", -1, "the answer read from it; -1: none could be read"),
    RANGE("correct", RD_U8, 0, 1, "", "1: the answer is the gold output"),
    RANGE("tokens_in", RD_I32, 0, NO_LIMIT, "tokens", "of the prompt"),
    RANGE("tokens_out", RD_I32, 0, NO_LIMIT, "tokens", "of the response"),
    END};
static const schema_table traces_tables[] = {
    {"task", false, "a task, in the order of the run", task_columns},
    {"example", false, "an input and its output", example_columns},
    {"hypothesis", false, "a rule that the teacher proposed", traces_hypothesis_columns},
    {"application", false, "a rule followed on an input", application_columns},
    END};

/* ---------------------------------------------------------------- datasets.h5 */

static const schema_attribute datasets_attributes[] = {
    {"key", SCHEMA_INT, false, "hash of everything that determines the file"},
    {"seed", SCHEMA_INT, false, "of the run"},
    {"tasks", SCHEMA_INT, false, "training tasks used"},
    {"skipped_tasks", SCHEMA_INT, false, "test tasks, and those not trained on"},
    {"duplicates", SCHEMA_INT, false, "rules whose text an earlier draw has"},
    {"over_long", SCHEMA_INT, false, "rules longer than filter.max_rule_chars"},
    {"low_score", SCHEMA_INT, false, "rules under filter.min_score"},
    {"follow_low_score", SCHEMA_INT, false, "rules under filter.follow_min_score"},
    {"wrong_answer", SCHEMA_INT, false, "following rows dropped by filter.follow_correct_only"},
    {"unparsed_worked", SCHEMA_INT, false, "following rows without intermediate results"},
    {"identical_pairs", SCHEMA_INT, false, "pairs of two wordings of one rule, dropped"},
    {"pairs_over_limit", SCHEMA_INT, false, "pairs dropped by filter.max_pairs"},
    {"unanswered", SCHEMA_INT, false, "rows that would have no text"},
    {"held_out", SCHEMA_INT, true, "rules with a pair or kind of operations that is held out"},
    END};

#define TRACE(n, table) \
    RANGE(n, RD_I64, -1, NO_LIMIT, "", "row of " table " in traces.h5; -1: none")
static const schema_column sft_columns[] = {
    RANGE("kind", RD_U8, 0, 2, "", "0 proposing a rule, 1 following one, 2 answering directly"),
    FAMILY,
    TEXT("prompt", 0, "what is asked"),
    TEXT("response", 0, "what is to be answered"),
    TRACE("task", "task"),
    TRACE("hypothesis", "hypothesis"),
    TRACE("example", "example"),
    END};
static const schema_column pair_columns[] = {
    FAMILY,
    TEXT("prompt", 0, "what is asked"),
    TEXT("chosen", 0, "the better rule"),
    TEXT("rejected", 0, "the worse rule"),
    RANGE("chosen_score", RD_I32, 0, NO_LIMIT, "demonstrations", "on which the better is right"),
    RANGE("rejected_score", RD_I32, 0, NO_LIMIT, "demonstrations", "on which the worse is right"),
    TRACE("task", "task"),
    TRACE("chosen_hypothesis", "hypothesis"),
    TRACE("rejected_hypothesis", "hypothesis"),
    END};
static const schema_column kto_columns[] = {
    FAMILY,
    TEXT("prompt", 0, "what is asked"),
    TEXT("response", 0, "a rule"),
    RANGE("label", RD_U8, 0, 1, "", "1 desirable"),
    RANGE("score", RD_I32, 0, NO_LIMIT, "demonstrations", "on which it is right"),
    TRACE("task", "task"),
    TRACE("hypothesis", "hypothesis"),
    END};
static const schema_table datasets_tables[] = {
    {"sft", false, "a training row", sft_columns},
    {"pair", false, "a preference between two rules of one task", pair_columns},
    {"kto", false, "a rule with a label", kto_columns},
    END};
static const schema_array datasets_arrays[] = {
    {"report/rows", RD_I64, false, 2, {3, 4}, "rows of sft by kind and family"},
    {"report/pairs", RD_I64, false, 1, {4}, "rows of pair by family"},
    {"report/histogram", RD_I64, false, 2, {4, 21}, "rules by family and score (20: 20 or more)"},
    {"report/length_quality",
     RD_F64,
     false,
     1,
     {5},
     "Pearson's r of a rule's words and the share of demonstrations it is right on, by family; "
     "last: "
     "pooled"},
    END};

/* ---------------------------------------------------------------- metrics.h5 */

#define TRAINING                                                                                 \
    RANGE("step", RD_I64, 0, NO_LIMIT, "steps", "done, ascending"),                              \
        ANY("loss", RD_F64, "nats", "of the step's batch"),                                      \
        ANY("lr", RD_F64, "", "learning rate"), ANY("grad_norm", RD_F64, "", "before clipping"), \
        ANY("tokens", RD_F64, "tokens", "of the rows trained on so far, prompts included")
static const schema_column metrics_sft_columns[] = {TRAINING, END};
static const schema_column metrics_align_columns[] = {
    TRAINING,
    ANY("nll", RD_F64, "nats", "the part of the loss that is the chosen rule's"),
    ANY("odds_loss", RD_F64, "nats", "the part that is the odds ratio's, before align.lambda"),
    ANY("accuracy", RD_F64, "", "share of pairs whose chosen rule is the likelier"),
    ANY("margin", RD_F64, "nats", "mean logarithm of the odds ratio"),
    END};
static const schema_column speed_columns[] = {
    RANGE("step", RD_I64, 0, NO_LIMIT, "steps", "done, ascending"),
    ANY("seconds", RD_F64, "s", "since this job began the stage"),
    ANY("tokens_per_second", RD_F64, "tokens/s", "since the row before"), END};
static const schema_table metrics_tables[] = {
    {"sft", true, "a step of SFT", metrics_sft_columns},
    {"sft_speed", true, "a look at the clock, every two seconds or so", speed_columns},
    {"align", true, "a step of preference optimisation", metrics_align_columns},
    {"align_speed", true, "a look at the clock", speed_columns},
    END};

/* ---------------------------------------------------------------- predictions.h5 */

static const schema_attribute predictions_attributes[] = {
    {"key", SCHEMA_INT, false, "hash of everything that determines the file"}, END};

static const schema_column problem_columns[] = {
    FAMILY,
    RANGE("source", RD_I32, 0, NO_LIMIT, "", "its entry in the config's `tasks`, from 0"),
    ANY("id", RD_I64, "", "its number in its source"),
    RANGE("task", RD_I64, 0, NO_LIMIT, "", "its place among the tasks that were evaluated"),
    RANGE("demos", RD_I32, 0, NO_LIMIT, "", "demonstrations"),
    RANGE("queries", RD_I32, 0, NO_LIMIT, "", "queries"),
    END};
static const schema_column hypothesis_columns[] = {
    ROW("problem", 0, "problem", "its problem"),
    RANGE("draw", RD_I32, 0, NO_LIMIT, "", "the first proposal that had this text"),
    TEXT("rule", 0, "the rule"),
    RANGE("score", RD_I32, 0, NO_LIMIT, "demonstrations",
          "on which the student, following it, is right"),
    RANGE("followed", RD_I32, 0, NO_LIMIT, "demonstrations",
          "on which it was followed before it could no longer win"),
    RANGE("interpreter_score", RD_I32, -1, NO_LIMIT, "demonstrations",
          "on which the exact interpreter is right; -1: not a rule it knows"),
    RANGE("samples", RD_I32, 0, NO_LIMIT, "", "proposals that had this text"),
    END};
static const schema_column answer_columns[] = {
    ROW("problem", 0, "problem", "its problem"),
    RANGE("query", RD_I32, 0, NO_LIMIT, "", "which query of the problem, from 0"),
    METHOD,
    RANGE("n", RD_I32, 0, NO_LIMIT, "hypotheses",
          "searched among; of vote: whose tokens it spends, or its votes; 0: does not apply"),
    ROW("hypothesis", -1, "hypothesis", "the rule that won; -1: none, or not one of the student's"),
    TEXT("response", -1, "what the student said; -1: nothing"),
    RANGE("strict", RD_U8, 0, 1, "", "1: right as the official code reads it"),
    RANGE("tolerant", RD_U8, 0, 1, "", "1: right in a tolerant reading; accuracy is its mean"),
    END};
static const schema_column spent_columns[] = {
    ROW("problem", 0, "problem", "its problem"),
    METHOD,
    RANGE("n", RD_I32, 0, NO_LIMIT, "hypotheses", "as in answer"),
    RANGE("tokens_in", RD_I64, 0, NO_LIMIT, "tokens", "of prompts, for all queries of the problem"),
    RANGE("tokens_out", RD_I64, 0, NO_LIMIT, "tokens", "of what the student said"),
    END};
static const schema_table predictions_tables[] = {
    {"problem", false, "a test task", problem_columns},
    {"hypothesis", false, "a distinct rule that the student proposed", hypothesis_columns},
    {"answer", false, "an answer to a query by one method at one n", answer_columns},
    {"spent", false, "the tokens that a method at one n spent on a problem", spent_columns},
    END};

/* ---------------------------------------------------------------- checkpoints */

static const schema_attribute checkpoint_attributes[] = {
    {"stage", SCHEMA_STRING, false, "sft, align or import"},
    {"key", SCHEMA_INT, false, "hash of everything that determines the run"},
    {"tokenizer", SCHEMA_INT, false, "hash of the tokenizer"},
    {"model_vocab", SCHEMA_INT, false, "the model's shape, as in the config's model.init:"},
    {"model_width", SCHEMA_INT, false, ""},
    {"model_layers", SCHEMA_INT, false, ""},
    {"model_heads", SCHEMA_INT, false, ""},
    {"model_kv_heads", SCHEMA_INT, false, ""},
    {"model_head_size", SCHEMA_INT, false, ""},
    {"model_ffn", SCHEMA_INT, false, ""},
    {"model_rope_theta", SCHEMA_REAL, false, ""},
    {"model_norm_eps", SCHEMA_REAL, false, ""},
    {"model_tied", SCHEMA_INT, false, ""},
    {"model_qkv_bias", SCHEMA_INT, true, ""},
    {"model_rope_factor", SCHEMA_REAL, true, ""},
    {"model_rope_low_freq_factor", SCHEMA_REAL, true, ""},
    {"model_rope_high_freq_factor", SCHEMA_REAL, true, ""},
    {"model_rope_original_context", SCHEMA_INT, true, ""},
    {"step", SCHEMA_INT, false, "steps done"},
    {"steps", SCHEMA_INT, false, "steps of the run"},
    {"tokens", SCHEMA_INT, false, "trained on so far"},
    {"rows", SCHEMA_INT, false, "SFT rows so far"},
    {"pairs", SCHEMA_INT, false, "preference pairs so far"},
    {"over_long", SCHEMA_INT, false, "rows left out: longer than max_len"},
    {"empty", SCHEMA_INT, false, "rows left out: nothing to learn"},
    {"seed", SCHEMA_INT, false, "from which all random numbers follow"},
    {"plan_hash", SCHEMA_INT, false, "hash of the items of all steps so far"},
    {"first_n", SCHEMA_INT, false, "sums for the report:"},
    {"last_n", SCHEMA_INT, false, ""},
    {"first_sum", SCHEMA_REAL, false, ""},
    {"last_sum", SCHEMA_REAL, false, ""},
    {"last_correct", SCHEMA_REAL, false, ""},
    {"last_pairs", SCHEMA_REAL, false, ""},
    {"grid_data", SCHEMA_INT, true, "of a step's file: the grid that wrote it:"},
    {"grid_rows", SCHEMA_INT, true, ""},
    {"grid_cols", SCHEMA_INT, true, ""},
    {"adapter_kind", SCHEMA_INT, true,
     "with an adapter: the number of its kind in include/rd/nn.h, its rank and so on:"},
    {"adapter_rank", SCHEMA_INT, true, ""},
    {"adapter_alpha", SCHEMA_REAL, true, ""},
    {"adapter_dropout", SCHEMA_REAL, true, ""},
    {"adapter_rslora", SCHEMA_INT, true, ""},
    {"adapter_targets", SCHEMA_INT, true, ""},
    {"base", SCHEMA_STRING, true, "the published model under the adapter"},
    {"base_identity", SCHEMA_INT, true, "hash of its tensors"},
    END};
static const schema_array checkpoint_arrays[] = {
    {"weights/",
     RD_F32,
     true,
     0,
     {0},
     "a parameter of that name, in Hugging Face's shape ([out, in]), adapters merged; absent where "
     "a published model lies under an adapter, and in a step's file with an adapter"},
    {"adapter/", RD_F32, true, 0, {0}, "a low-rank factor, named as peft names it"},
    {"adapter_start/",
     RD_F32,
     true,
     0,
     {0},
     "what it started from, where the base changes with it"},
    {"moments/m/", RD_F32, true, 0, {0}, "of a step's file: the optimiser's first moment"},
    {"moments/v/", RD_F32, true, 0, {0}, "its second moment"},
    END};

/* ---------------------------------------------------------------- sweep.h5 */

static const schema_attribute sweep_attributes[] = {
    {"name", SCHEMA_STRING, false, "of the sweep"},
    {"spec", SCHEMA_STRING, false, "the path of its spec"},
    END};
static const schema_column member_columns[] = {
    RANGE("index", RD_I64, 0, NO_LIMIT, "", "the member's number"),
    TEXT("state", 0, "done, stopped, running, failed, missing"),
    TEXT("reason", -1, "why it is not done"),
    RANGE("seed", RD_I64, 0, NO_LIMIT, "", "its seed"),
    TEXT("label", 0, "its name"),
    ANY("seconds", RD_F64, "s", "of its jobs, until it stood there; not a number before"),
    TEXT("axis_*", 0, "one column per axis: the label of its value"),
    END};
static const schema_column result_columns[] = {
    RANGE("member", RD_I64, 0, NO_LIMIT, "", "index of the member"),
    RANGE("seed", RD_I64, 0, NO_LIMIT, "", "its seed"),
    TEXT("axis_*", 0, "one column per axis: the label of its value"),
    TEXT("arm", 0, "which of its arms, or trivial"),
    TEXT("family", 0, "list_function, arc1d, acre, miniscan"),
    TEXT("set", -1, "the test set's name, where a family has several"),
    TEXT("method", 0, "as in predictions.h5, or the name of a trivial baseline"),
    RANGE("n", RD_I64, 0, NO_LIMIT, "hypotheses", "as in predictions.h5"),
    TEXT("parse", 0, "strict, tolerant"),
    ANY("accuracy", RD_F64, "", "share of queries that are right"),
    ANY("low", RD_F64, "", "95 % interval, clustered by problem"),
    ANY("high", RD_F64, "", ""),
    ANY("solved", RD_F64, "", "share of problems with every query right"),
    RANGE("problems", RD_I64, 0, NO_LIMIT, "", "test problems"),
    RANGE("queries", RD_I64, 0, NO_LIMIT, "", "their queries"),
    ANY("tokens_per_query", RD_F64, "tokens", "prompts and responses"),
    END};
static const schema_table sweep_tables[] = {
    {"member", false, "a member of the plan, whatever became of it", member_columns},
    {"result", false, "a line of a member's report", result_columns},
    END};

/* ---------------------------------------------------------------- all */

static const schema_attribute no_attributes[] = {END};
static const schema_table no_tables[] = {END};
static const schema_array no_arrays[] = {END};

const schema schemas[] = {
    {"redistill.traces", 1, "RUN/traces.h5",
     "What the teacher proposed and how far its rules hold. Rows follow the order of tasks. "
     "RUN/arms/ARM/own/traces.h5, with align.pairs \"student\" or \"both\": the same of the "
     "student "
     "that alignment starts from, for some of the training tasks. With eval.teacher there is "
     "another, "
     "of the test tasks and their queries, in `RUN/teacher`.",
     true, NULL, traces_attributes, traces_tables, no_arrays},
    {"redistill.datasets", 1, "RUN/datasets.h5",
     "What the students are trained on. Rows follow the order of tasks. "
     "RUN/arms/ARM/own/datasets.h5: the preference pairs of the student's own rules alone.",
     true, NULL, datasets_attributes, datasets_tables, datasets_arrays},
    {"redistill.metrics", 1, "RUN/arms/ARM/metrics.h5",
     "Training as it goes. Replaced as a whole every two seconds while the job runs, so it can be "
     "opened at any time; it has the tables of the stages that have begun.",
     false, NULL, no_attributes, metrics_tables, no_arrays},
    {"redistill.predictions", 2, "RUN/arms/ARM/predictions.h5",
     "What a student answered on the test tasks. Rows follow the order of tasks. With eval.teacher "
     "there is another, of its teacher, in `RUN/teacher`: task is a row of the traces.h5 beside "
     "it, tokens are the teacher's own count.",
     true, NULL, predictions_attributes, predictions_tables, no_arrays},
    {"redistill.checkpoint", 1, "RUN/arms/ARM/checkpoints/STAGE-{000400,branch,final}.h5",
     "A model, and where its training stands. `redistill import` writes the same.", false, NULL,
     checkpoint_attributes, no_tables, checkpoint_arrays},
    {"redistill.sweep", 1, "SWEEP/sweep.h5",
     "All members of a sweep. /members/0007/… are external links to that member's files, by paths "
     "relative to this file; they dangle where a member has not written them.",
     true, "members", sweep_attributes, sweep_tables, no_arrays},
    END};

const schema *schema_find(const char *name)
{
    for (const schema *s = schemas; s->name != NULL; s++)
        if (strcmp(s->name, name) == 0) return s;
    return NULL;
}

/* ---------------------------------------------------------------- the page */

static const char *type_name(rd_dtype t)
{
    static const char *const names[] = {[RD_U8] = "uint8",
                                        [RD_I32] = "int32",
                                        [RD_I64] = "int64",
                                        [RD_F32] = "float32",
                                        [RD_F64] = "float64"};
    return names[t];
}

static void print_type(const schema_column *c, rd_buf *out)
{
    rd_buf_puts(out, type_name(c->type));
    switch (c->kind) {
    case SCHEMA_TEXT: rd_buf_puts(out, " → text"); break;
    case SCHEMA_ROW: rd_buf_printf(out, " → %s", c->of); break;
    case SCHEMA_FIRST: rd_buf_printf(out, " → %s, %s rows", c->of, c->count); break;
    default: break;
    }
    if ((c->kind == SCHEMA_TEXT || c->kind == SCHEMA_ROW) && c->low < 0)
        rd_buf_puts(out, ", or -1");
}

static void print_attributes(const schema_attribute *a, rd_buf *out)
{
    static const char *const kinds[] = {"int64", "float64", "string"};
    if (a->name == NULL) return;
    rd_buf_puts(out, "\n| attribute | type | meaning |\n|---|---|---|\n");
    for (; a->name != NULL; a++)
        rd_buf_printf(out, "| %s | %s%s | %s |\n", a->name, kinds[a->kind],
                      a->optional ? ", optional" : "", a->meaning);
}

static void print_table(const schema_table *t, rd_buf *out)
{
    rd_buf_printf(out,
                  "\n**/%s**%s: %s.\n\n| column | type | unit | meaning |\n|---|---|---|---|\n",
                  t->name, t->optional ? " (optional)" : "", t->rows);
    for (const schema_column *c = t->columns; c->name != NULL; c++) {
        rd_buf_printf(out, "| %s | ", c->name);
        print_type(c, out);
        rd_buf_printf(out, " | %s | %s |\n", c->unit, c->meaning);
    }
}

static void print_arrays(const schema_array *a, rd_buf *out)
{
    if (a->name == NULL) return;
    rd_buf_puts(out, "\n| array | type | shape | meaning |\n|---|---|---|---|\n");
    for (; a->name != NULL; a++) {
        const bool group = a->rank == 0;
        rd_buf_printf(out, "| /%s%s | %s%s | ", a->name, group ? "NAME" : "", type_name(a->type),
                      a->optional ? ", optional" : "");
        for (int i = 0; i < a->rank; i++)
            rd_buf_printf(out, "%s%lld", i > 0 ? " x " : "", (long long)a->dims[i]);
        rd_buf_printf(out, "%s | %s |\n", group ? "its own" : "", a->meaning);
    }
}

void rd_store_schemas(rd_buf *out)
{
    rd_buf_puts(out, "## Every file\n");
    print_attributes(schema_header, out);
    for (const schema *s = schemas; s->name != NULL; s++) {
        rd_buf_printf(out, "\n## %s, version %d\n\n`%s`. %s\n", s->name, s->version, s->file,
                      s->meaning);
        print_attributes(s->attributes, out);
        for (const schema_table *t = s->tables; t->name != NULL; t++) print_table(t, out);
        print_arrays(s->arrays, out);
    }
}
