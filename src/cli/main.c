/* main.c: the command line.  The only place that prints an error and chooses the exit status. */
#include "cli/job.h"

#include "cli/convert.h"
#include "cli/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SETS = 64 };

typedef struct arguments {
    const char *command, *file, *machine, *format, *to, *base, *arm, *tokenizer, *dtype, *tokens;
    const char *action; /* of the command sweep */
    const char *sweep;  /* run: the spec */
    int64_t index;      /* and the member; -1: the job array's */
    double shard_gb;
    const char *sets[MAX_SETS];
    int n_sets;
    double max_hours;
    int ranks;
    bool json, check, list;
    bool help, version;
} arguments;

static const char usage[] =
    "usage: redistill COMMAND ...\n"
    "\n"
    "  run CONFIG                 all stages of the config, continuing what is there\n"
    "  augment | filter | sft | align | eval | report CONFIG\n"
    "                             one stage (what it needs must be there)\n"
    "  validate CONFIG            check everything that can be checked without computing\n"
    "                             and plan: memory, work, time, the best grids [--ranks N]\n"
    "                             [--machine FILE] [--json]\n"
    "  sweep plan SPEC            what the sweep's runs are and cost, what they share, the line "
    "to\n"
    "                             submit [--ranks N] [--machine FILE] [--json]\n"
    "  run --sweep SPEC [--index I]\n"
    "                             one of them (without --index: the job array's)\n"
    "  sweep status SPEC|DIR      where they stand [--json]\n"
    "  sweep collect SPEC|DIR     their results in one file, sweep.h5 [--json]\n"
    "  calibrate [FILE]           measure this machine for such plans (machine.json)\n"
    "  inspect FILE [--json]      what an HDF5, .safetensors or .gguf file holds\n"
    "  inspect --check FILE       does an HDF5 file of ours hold what its schema says?  A line\n"
    "                             per violation, status 3; --check --list: the schemas\n"
    "  report DIR                 print a finished run's report again\n"
    "  export MODEL --to DIR      a model, adapters merged, as a folder that transformers loads\n"
    "                             [--dtype f32|bf16|f16] [--shard-gb N]\n"
    "  export --format peft MODEL --to DIR\n"
    "                             its adapter as a folder that peft loads\n"
    "  export --format llama-factory CONFIG|DIR --to DIR2\n"
    "                             a run's datasets as files for LLaMA-Factory\n"
    "  import MODEL --to FILE.h5  a published model, or one with a peft adapter, as a checkpoint\n"
    "  logits MODEL --tokens FILE --to FILE2\n"
    "                             of the token ids in FILE: raw float32, tokens x vocabulary\n"
    "                             MODEL: a config's arm (the last, or --arm NAME), a checkpoint,\n"
    "                             a Hugging Face folder, a .gguf file or a peft adapter; further\n"
    "                             [--base MODEL] (under an adapter) [--tokenizer PATH]\n"
    "\n"
    "  --set KEY=VALUE            override a key of the config (repeatable)\n"
    "  --max-hours H              stop, resumable, after H hours\n"
    "  --ranks N                  validate, sweep plan: for so many ranks, whatever the job has\n"
    "  --machine FILE             validate, sweep plan: the machine as calibrate measured it\n"
    "  --fault SITE:RANK[:kill]   inject a failure (tests)\n"
    "  --version, --help [keys]   --help keys lists every key of the config\n"
    "\n"
    "Start it under mpirun or srun for more than one rank.\n"
    "Exit status: 0 done, 2 usage, 3 bad input, 4 I/O, 5 numeric failure, 6 internal error,\n"
    "7 injected fault, 75 stopped at a limit or by a signal (the same command continues).\n";

static bool parse_text_option(arguments *a, const char *option, const char *value)
{
    const struct {
        const char *name, **to;
    } texts[] = {{"--base", &a->base},           {"--arm", &a->arm},     {"--sweep", &a->sweep},
                 {"--tokenizer", &a->tokenizer}, {"--dtype", &a->dtype}, {"--tokens", &a->tokens}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (strcmp(option, texts[i].name) != 0) continue;
        *texts[i].to = value;
        return true;
    }
    return false;
}

static int parse_option(arguments *a, int argc, char **argv, int *i)
{
    int rc = RD_OK;
    const char *option = argv[*i], *value = *i + 1 < argc ? argv[*i + 1] : NULL;
    const struct {
        const char *name;
        bool *to;
    } switches[] = {{"--json", &a->json}, {"--check", &a->check}, {"--list", &a->list}};
    for (size_t k = 0; k < sizeof switches / sizeof *switches; k++) {
        if (strcmp(option, switches[k].name) != 0) continue;
        *switches[k].to = true;
        goto done;
    }
    static const char *const options[] = {
        "--set", "--max-hours", "--fault", "--ranks",  "--machine",  "--format", "--to",   "--base",
        "--arm", "--tokenizer", "--dtype", "--tokens", "--shard-gb", "--sweep",  "--index"};
    bool known = false;
    for (size_t k = 0; k < sizeof options / sizeof *options; k++)
        known |= strcmp(option, options[k]) == 0;
    if (!known) RD_FAIL(RD_EUSAGE, "unknown option '%s'; see redistill --help", option);
    if (!value) RD_FAIL(RD_EUSAGE, "%s: a value must follow", option);
    ++*i;
    if (strcmp(option, "--set") == 0) {
        if (a->n_sets == MAX_SETS) RD_FAIL(RD_EUSAGE, "at most %d times --set", MAX_SETS);
        a->sets[a->n_sets++] = value;
    } else if (strcmp(option, "--max-hours") == 0) {
        char *end;
        a->max_hours = strtod(value, &end);
        if (*end || end == value || !(a->max_hours > 0))
            RD_FAIL(RD_EUSAGE, "--max-hours: expected hours above 0, got '%s'", value);
    } else if (strcmp(option, "--ranks") == 0) {
        char *end;
        long n = strtol(value, &end, 10);
        if (*end || end == value || n < 1 || n > 1 << 22)
            RD_FAIL(RD_EUSAGE, "--ranks: expected a number of ranks, got '%s'", value);
        a->ranks = (int)n;
    } else if (strcmp(option, "--machine") == 0) {
        a->machine = value;
    } else if (strcmp(option, "--format") == 0) {
        a->format = value;
    } else if (strcmp(option, "--to") == 0) {
        a->to = value;
    } else if (strcmp(option, "--shard-gb") == 0) {
        char *end;
        a->shard_gb = strtod(value, &end);
        if (*end || end == value || !(a->shard_gb > 0 && a->shard_gb < 1e6))
            RD_FAIL(RD_EUSAGE, "--shard-gb: expected gigabytes above 0, got '%s'", value);
    } else if (strcmp(option, "--index") == 0) {
        char *end;
        a->index = strtoll(value, &end, 10);
        if (*end || end == value || a->index < 0)
            RD_FAIL(RD_EUSAGE, "--index: expected a number from 0 on, got '%s'", value);
    } else if (parse_text_option(a, option, value)) {
        goto done;
    } else {
        RD_TRY(rd_fault_arm(value));
    }
done:
    return rc;
}

static bool converts(const char *command)
{
    return strcmp(command, "export") == 0 || strcmp(command, "import") == 0 ||
           strcmp(command, "logits") == 0;
}

/* Options of models go with the commands that they are of. */
static int check_conversion(const arguments *a)
{
    int rc = RD_OK;
    const bool exporting = strcmp(a->command, "export") == 0,
               logits = strcmp(a->command, "logits") == 0;
    if (!converts(a->command)) {
        if (a->to || a->base || a->arm || a->tokenizer)
            RD_FAIL(RD_EUSAGE, "--to, --base, --arm, --tokenizer: of export, import and logits");
    } else if (!a->to) {
        RD_FAIL(RD_EUSAGE, "%s: --to must be given", a->command);
    }
    if (!exporting && (a->format || a->dtype || a->shard_gb > 0))
        RD_FAIL(RD_EUSAGE, "--format, --dtype, --shard-gb: of export alone");
    if (logits != (a->tokens != NULL))
        RD_FAIL(RD_EUSAGE, logits ? "logits: --tokens must be given" : "--tokens: of logits alone");
done:
    return rc;
}

static const char *nearest_word(const char *word, const char *const *known, size_t n, bool *same)
{
    const char *best = known[0];
    for (size_t i = 0; i < n; i++)
        if (rd_edit_distance(known[i], word) < rd_edit_distance(best, word)) best = known[i];
    *same = strcmp(best, word) == 0;
    return best;
}

/* Is there such a command, and all that it needs? */
static int check_command(arguments *a)
{
    static const char *const commands[] = {"run",    "augment", "filter",   "sft",     "align",
                                           "eval",   "report",  "validate", "inspect", "calibrate",
                                           "export", "import",  "logits",   "sweep"};
    static const char *const actions[] = {"plan", "status", "collect"};
    int rc = RD_OK;
    bool same;
    if (!a->command) RD_FAIL(RD_EUSAGE, "a command must be given; see redistill --help");
    const char *near =
        nearest_word(a->command, commands, sizeof commands / sizeof *commands, &same);
    if (!same) RD_FAIL(RD_EUSAGE, "unknown command '%s'; did you mean '%s'?", a->command, near);
    if (strcmp(a->command, "sweep") == 0) {
        if (!a->action) RD_FAIL(RD_EUSAGE, "sweep: plan, status or collect must follow");
        near = nearest_word(a->action, actions, sizeof actions / sizeof *actions, &same);
        if (!same) RD_FAIL(RD_EUSAGE, "sweep: unknown '%s'; did you mean '%s'?", a->action, near);
    }
    const bool plans = strcmp(a->command, "validate") == 0 ||
                       (strcmp(a->command, "sweep") == 0 && strcmp(a->action, "plan") == 0);
    if (!plans && (a->ranks > 0 || a->machine))
        RD_FAIL(RD_EUSAGE, "--ranks, --machine: of validate and sweep plan alone");
    if ((a->sweep || a->index >= 0) && strcmp(a->command, "run") != 0)
        RD_FAIL(RD_EUSAGE, "--sweep, --index: of run alone");
    if (a->index >= 0 && !a->sweep) RD_FAIL(RD_EUSAGE, "--index: of run --sweep alone");
    if (a->sweep && a->file) RD_FAIL(RD_EUSAGE, "run: either a config or --sweep");
    if ((a->check || a->list) && (strcmp(a->command, "inspect") != 0 || !a->check))
        RD_FAIL(RD_EUSAGE, "--check, --check --list: of inspect alone");
    if (!a->file && !a->sweep && !a->list && strcmp(a->command, "calibrate") != 0)
        RD_FAIL(RD_EUSAGE, "%s: a %s must follow", a->command,
                strcmp(a->command, "inspect") == 0 ? "file"
                : strcmp(a->command, "sweep") == 0 ? "spec"
                : converts(a->command)             ? "model"
                                                   : "config");
    RD_TRY(check_conversion(a));
done:
    return rc;
}

static int parse(arguments *a, int argc, char **argv)
{
    int rc = RD_OK;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            a->help = true;
        } else if (strcmp(argv[i], "--version") == 0) {
            a->version = true;
        } else if (argv[i][0] == '-') {
            RD_TRY(parse_option(a, argc, argv, &i));
        } else if (!a->command) {
            a->command = argv[i];
        } else if (strcmp(a->command, "sweep") == 0 && !a->action) {
            a->action = argv[i];
        } else if (!a->file) {
            a->file = argv[i];
        } else {
            RD_FAIL(RD_EUSAGE, "unexpected argument '%s'; see redistill --help", argv[i]);
        }
    }
    if (!a->help && !a->version) RD_TRY(check_command(a));
done:
    return rc;
}

/* ---------------------------------------------------------------- commands */

static bool wants(const arguments *a, const config_scope *s, const char *stage)
{
    if (strcmp(a->command, "run") != 0) return strcmp(a->command, stage) == 0;
    return config_list_has(s, "stages", stage);
}

static int poll_stop(const job *j)
{
    int rc = RD_OK;
    if (rd_stop_agree(&j->grid->world))
        RD_FAIL(RD_ESTOP, "stopped as asked; the same command continues");
done:
    return rc;
}

static int run_arms(job *j, const arguments *a)
{
    int rc = RD_OK;
    bool evaluates = wants(a, &j->cfg.keys, "eval");
    for (int i = 0; i < j->cfg.n_arms; i++) {
        const config_arm *arm = &j->cfg.arm[i];
        if (wants(a, &arm->keys, "sft") && !arm->from && !job_is_untuned(arm))
            RD_TRY(stage_sft(j, i));
        RD_TRY(poll_stop(j));
        if (wants(a, &arm->keys, "align") && config_list_has(&arm->keys, "stages", "align"))
            RD_TRY(stage_align(j, i));
        RD_TRY(poll_stop(j));
    }
    for (int i = 0; i < j->cfg.n_arms; i++) {
        const bool mine = wants(a, &j->cfg.arm[i].keys, "eval") ||
                          (strcmp(a->command, "report") == 0 &&
                           config_list_has(&j->cfg.arm[i].keys, "stages", "eval"));
        if (mine) RD_TRY(stage_eval(j, i));
        evaluates |= mine;
        RD_TRY(poll_stop(j));
    }
    if (evaluates && config_bool(&j->cfg.keys, "eval.teacher")) RD_TRY(stage_eval_teacher(j));
    RD_TRY(poll_stop(j));
done:
    return rc;
}

/* What a command without a report used: seconds by section, memory.  Collective. */
static void print_usage(const job *j)
{
    report_memory memory;
    rd_buf text = {0};
    rd_clock_table(&j->grid->world, &text);
    report_memory_peak(j, &memory);
    report_memory_line(&memory, &text);
    rd_info("%s", text.data);
    rd_buf_free(&text);
}

/* The earlier of the user's limit and the batch system's, which ends the job without mercy: some
 * seconds are kept for ending in order. */
static void begin_stopping(const job *j, const arguments *a)
{
    const double margin = 15.0 / 3600;
    double hours = a->max_hours > 0 ? a->max_hours : config_real(&j->cfg.keys, "run.max_hours");
    const double left = walltime_hours_left(&j->grid->world);
    if (isfinite(left)) {
        const double until = left > 2 * margin ? left - margin : fmax(left / 2, 1e-9);
        if (hours <= 0 || until < hours) hours = until;
        rd_info("limit    the batch system ends this job in %.2f hours", left);
    }
    char *stop_file = job_path(j, "STOP");
    rd_stop_limits(hours, stop_file);
    rd_free(stop_file);
}

/* The stages that the command wants, in their order. */
static int run_stages(job *j, const arguments *a)
{
    int rc = RD_OK;
    if (wants(a, &j->cfg.keys, "augment")) RD_TRY(stage_augment(j));
    RD_TRY(poll_stop(j));
    if (wants(a, &j->cfg.keys, "filter")) RD_TRY(stage_filter(j));
    RD_TRY(poll_stop(j));
    RD_TRY(run_arms(j, a));
    if (wants(a, &j->cfg.keys, "report")) RD_TRY(stage_report(j));
    if (!j->reported) print_usage(j);
done:
    return rc;
}

static int command_run(const arguments *a)
{
    int rc = RD_OK;
    job j = {
        .validate = strcmp(a->command, "validate") == 0, .ranks = a->ranks, .machine = a->machine};
    rd_log_quiet(j.validate && a->json);
    rd_stop_begin(0, NULL);
    RD_TRY(job_begin(&j, a->file, a->n_sets, a->sets));
    if (j.validate) {
        RD_TRY(plan_print(&j, a->json));
        goto done;
    }
    begin_stopping(&j, a);
    RD_TRY(job_lock(&j));
    RD_TRY(job_manifest(&j));
    RD_TRY(run_stages(&j, a));
done:
    job_end(&j);
    return rc;
}

/* A member of a sweep: a run that knows what it shares, and says how it ended. */
static int command_member(const arguments *a)
{
    int rc = RD_OK;
    bool finished = false;
    sweep_run *r = rd_new(sweep_run, 1);
    job j = {.member = r};
    rd_stop_begin(0, NULL);
    RD_TRY(sweep_run_open(a->sweep, a->index, a->n_sets, a->sets, r));
    RD_TRY(job_begin(&j, r->s.base, r->sets.n, (const char *const *)r->sets.text));
    RD_TRY(sweep_run_finished(&j, &finished));
    if (finished) goto done;
    begin_stopping(&j, a);
    RD_TRY(job_lock(&j));
    RD_TRY(sweep_run_begin(&j));
    RD_TRY(job_manifest(&j));
    RD_TRY(run_stages(&j, a));
done:
    rc = sweep_run_end(&j, rc);
    job_end(&j);
    sweep_run_close(r);
    rd_free(r);
    return rc;
}

static int command_sweep(const arguments *a)
{
    int rc = RD_OK;
    const sweep_plan_opts o = {.ranks = a->ranks, .machine = a->machine, .json = a->json};
    if (a->n_sets > 0) RD_FAIL(RD_EUSAGE, "sweep: --set belongs into the spec's \"set\"");
    if (strcmp(a->action, "plan") == 0) return sweep_plan(a->file, &o);
    if (strcmp(a->action, "status") == 0) return sweep_status(a->file, a->json);
    return sweep_collect(a->file, a->json);
done:
    return rc;
}

/* Commands of one rank: print a text made on rank 0. */
static int command_print(const arguments *a)
{
    int rc = RD_OK;
    rd_comm world = rd_comm_world();
    rd_buf text = {0}, path = {0};
    if (world.rank == 0) {
        if (a->list) {
            rd_store_schemas(&text);
        } else if (a->check) {
            rc = rd_store_check(a->file, &text);
        } else if (strcmp(a->command, "inspect") == 0) {
            rc = rd_weights_is(a->file) ? rd_weights_describe(a->file, a->json, &text)
                                        : rd_store_describe(a->file, a->json, &text);
        } else {
            rd_buf_printf(&path, "%s/report.%s", a->file, a->json ? "json" : "txt");
            rc = rd_file_read(path.data, &text);
        }
    }
    if (a->check && text.data) rd_info("%.*s", (int)text.len - 1, text.data); /* violations too */
    RD_TRY(rd_agree(&world, rc));
    if (!a->check) rd_info("%s", text.data ? text.data : "");
done:
    rd_buf_free(&text);
    rd_buf_free(&path);
    return rc;
}

static bool is_config(const char *file)
{
    const size_t n = file ? strlen(file) : 0;
    return n > 5 && strcmp(file + n - 5, ".json") == 0;
}

/* The directory of a run, named itself or by its config. */
static int run_directory(const arguments *a, rd_buf *dir)
{
    int rc = RD_OK;
    config c = {0};
    if (!is_config(a->file)) {
        rd_buf_puts(dir, a->file);
        return RD_OK;
    }
    RD_TRY(config_load(a->file, a->n_sets, a->sets, &c));
    config_run_dir(&c, dir);
    config_free(&c);
done:
    return rc;
}

static int root_export_datasets(const arguments *a)
{
    int rc = RD_OK;
    int64_t rows[RD_LLAMA_FACTORY_SETS];
    rd_buf path = {0};
    RD_TRY(run_directory(a, &path));
    rd_buf_puts(&path, "/datasets.h5");
    RD_TRY(rd_export_llama_factory(path.data, a->to, rows));
    rd_info(
        "export   %lld rule-generation, %lld rule-following, %lld input-output rows, %lld pairs, "
        "%lld labelled rules in %s",
        (long long)rows[0], (long long)rows[1], (long long)rows[2], (long long)rows[3],
        (long long)rows[4], a->to);
done:
    rd_buf_free(&path);
    return rc;
}

static int command_convert(const arguments *a)
{
    const convert_args c = {.file = a->file,
                            .n_sets = a->n_sets,
                            .sets = a->sets,
                            .arm = a->arm,
                            .base = a->base,
                            .tokenizer = a->tokenizer,
                            .dtype = a->dtype,
                            .shard_gb = a->shard_gb,
                            .tokens = a->tokens,
                            .to = a->to};
    if (strcmp(a->command, "import") == 0) return convert_import(&c);
    if (strcmp(a->command, "logits") == 0) return convert_logits(&c);
    return convert_export(&c, a->format != NULL && strcmp(a->format, "peft") == 0);
}

static int command_export(const arguments *a)
{
    int rc = RD_OK;
    rd_comm world = rd_comm_world();
    if (!a->format || strcmp(a->format, "hf") == 0 || strcmp(a->format, "peft") == 0)
        return command_convert(a);
    if (strcmp(a->format, "llama-factory") != 0)
        RD_FAIL(RD_EUSAGE, "--format: expected hf, peft or llama-factory, got '%s'", a->format);
    RD_TRY(rd_agree(&world, world.rank == 0 ? root_export_datasets(a) : RD_OK));
done:
    return rc;
}

static int dispatch(const arguments *a)
{
    if (a->version) {
        rd_buf text = {0};
        build_describe(&text);
        rd_info("%s\n%s", build_version(), text.data);
        rd_buf_free(&text);
        return RD_OK;
    }
    if (a->help) {
        rd_info("%s", usage);
        rd_comm world = rd_comm_world();
        if (a->command && strcmp(a->command, "keys") == 0 && world.rank == 0) config_help(stdout);
        return RD_OK;
    }
    if (strcmp(a->command, "inspect") == 0 ||
        (strcmp(a->command, "report") == 0 && !is_config(a->file)))
        return command_print(a);
    if (strcmp(a->command, "calibrate") == 0)
        return calibrate_run(a->file ? a->file : "machine.json");
    if (strcmp(a->command, "export") == 0) return command_export(a);
    if (converts(a->command)) return command_convert(a);
    if (strcmp(a->command, "sweep") == 0) return command_sweep(a);
    if (a->sweep) return command_member(a);
    return command_run(a);
}

/* One line for what a user can cause; where it came from only for our own bugs. */
static void print_error(int rc)
{
    const rd_error *e = rd_error_get();
    bool ours = rc == RD_EINTERNAL || getenv("RD_TRACE") != NULL;
    fflush(stdout);
    fprintf(stderr, "redistill: %s: %s%s%s", rc == RD_ESTOP ? "stopped" : "error",
            ours ? e->where : "", ours ? ": " : "", e->message);
    if (e->rank >= 0) fprintf(stderr, " [rank %d of %d]", e->rank, rd_comm_world().size);
    fprintf(stderr, "\n");
    if (ours && e->trace[0]) fprintf(stderr, "%s\n", e->trace);
    fflush(stderr);
}

int main(int argc, char **argv)
{
    arguments a = {.index = -1};
    rd_par_begin(&argc, &argv);
    int rc = parse(&a, argc, argv);
    if (rc == RD_OK) rc = dispatch(&a);
    if (rc != RD_OK && rd_comm_world().rank == 0) print_error(rc);
    if (rc == RD_EIO) rd_par_abandon(rd_exit_status(rc));
    rd_par_end();
    return rd_exit_status(rc);
}
