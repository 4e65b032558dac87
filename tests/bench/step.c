/* step.c: training steps of a published model on given rows, through rd_train_sft or rd_train_orpo.
 * What peers.py runs beside PyTorch:
 *
 *   step MODEL ROWS [key=value]…    a folder or .gguf; one row a line, texts separated by tabs
 *
 * Three texts make pairs (prompt, chosen, rejected) and ORPO, two make rows and SFT.  Texts are of
 * the letters a … z, one token each (ids 3 …), in the template "none": BOS, prompt, response, EOS.
 * Every step takes all rows.  Keys: mode=full|lora (rank 8, alpha 16, all linear layers), threads,
 * steps, micro (tokens of a pass), lr, compute.
 *
 * Prints, tab-separated: tokens a step, seconds a step without the first, largest resident bytes of
 * a rank, the losses of first and last step, flop a step, and the flop/s of square products on all
 * ranks and threads together. */
#include "../bench_rows.h"
#include "../rd_test.h"

typedef struct settings {
    const char *model, *rows, *mode, *compute;
    int64_t threads, steps, micro;
    double lr;
} settings;

static int read_settings(int argc, char **argv, settings *s)
{
    int rc = RD_OK;
    if (argc < 3) RD_FAIL(RD_EUSAGE, "step MODEL ROWS [key=value]...");
    *s = (settings){argv[1], argv[2], "full", "f32", 1, 4, 2048, 1e-5};
    for (int i = 3; i < argc; i++) {
        const char *value = strchr(argv[i], '=');
        size_t n = value == NULL ? 0 : (size_t)(value++ - argv[i]);
        const struct {
            const char *key, **text;
            int64_t *number;
        } keys[] = {{"mode", &s->mode, NULL},
                    {"compute", &s->compute, NULL},
                    {"threads", NULL, &s->threads},
                    {"steps", NULL, &s->steps},
                    {"micro", NULL, &s->micro}};
        bool known = n == 2 && strncmp(argv[i], "lr", 2) == 0;
        if (known) s->lr = atof(value);
        for (size_t k = 0; k < sizeof keys / sizeof keys[0] && !known; k++) {
            if (strlen(keys[k].key) != n || strncmp(argv[i], keys[k].key, n) != 0) continue;
            known = true;
            if (keys[k].text != NULL) *keys[k].text = value;
            if (keys[k].number != NULL) *keys[k].number = atoll(value);
        }
        if (!known) RD_FAIL(RD_EUSAGE, "what is %s?", argv[i]);
    }
done:
    return rc;
}

typedef struct rows_file {
    int texts;                          /* of a row: 2 or 3 */
    int64_t tokens, targets, sequences; /* that a step feeds */
} rows_file;

/* The rows as a datasets.h5. */
static int write_rows(const rd_comm *world, const char *from, const char *path, rows_file *rows)
{
    int rc = RD_OK;
    static const char *const columns[2][3] = {{"sft/prompt", "sft/response"},
                                              {"pair/prompt", "pair/chosen", "pair/rejected"}};
    rd_store_info info = {.schema = "redistill.datasets", .version = 1};
    rd_store *store = NULL;
    rd_pool pool = {0};
    int64_t ids[3][BENCH_ROWS] = {{0}}, base;
    uint8_t zero[BENCH_ROWS] = {0};
    char line[8 * BENCH_TEXT];
    FILE *f = fopen(from, "r");
    int64_t n = 0;
    *rows = (rows_file){0};
    if (f == NULL) RD_FAIL(RD_EINPUT, "%s: cannot be opened", from);
    while (n < BENCH_ROWS && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = 0;
        int k = 0;
        int64_t prompt = 0;
        for (char *text = line, *next; text != NULL && k < 3; text = next, k++) {
            next = strchr(text, '\t');
            if (next != NULL) *next++ = 0;
            if (world->rank == 0) ids[k][n] = rd_pool_add(&pool, text);
            int64_t letters = (int64_t)strlen(text);
            if (k == 0) {
                prompt = 1 + letters;
                continue;
            }
            rows->tokens += prompt + letters;
            rows->targets += letters + 1;
            rows->sequences++;
        }
        rows->texts = k;
        n++;
    }
    if (rows->texts < 2) RD_FAIL(RD_EINPUT, "%s: two or three texts a line", from);
    int64_t mine = world->rank == 0 ? n : 0;
    bool pairs = rows->texts == 3;
    RD_TRY(rd_store_create(world, path, &info, &store));
    RD_TRY(rd_store_write_pool(store, &pool, &base));
    if (!pairs) RD_TRY(rd_store_write(store, "sft/kind", RD_U8, zero, mine));
    RD_TRY(rd_store_write(store, pairs ? "pair/family" : "sft/family", RD_U8, zero, mine));
    for (int k = 0; k < rows->texts; k++) {
        for (int64_t i = 0; i < mine; i++) ids[k][i] += base;
        RD_TRY(rd_store_write(store, columns[pairs][k], RD_I64, ids[k], mine));
    }
    RD_TRY(rd_store_commit(&store));
done:
    if (f != NULL) fclose(f);
    rd_store_close(&store);
    rd_pool_free(&pool);
    return rc;
}

/* Seconds of the stage's passes, sums and updates so far. */
static double seconds_so_far(void)
{
    static const char *const parts[] = {".forward", ".head", ".backward", ".allreduce",
                                        ".optimizer"};
    const rd_clock *list;
    double sum = 0;
    int n = rd_clock_list(&list);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 5; k++)
            if (strstr(list[i].section, parts[k]) != NULL) sum += list[i].seconds;
    return sum;
}

/* Of products and attention in a step: a frozen base's weights have no gradient, the head works
 * for tokens with a target alone, and both passes of an adapter count. */
static double step_flops(const rd_model_config *c, const rows_file *f, bool lora)
{
    double tokens = (double)f->tokens, targets = (double)f->targets;
    double head = (double)(c->vocab * c->width), all = (double)rd_model_config_params(c);
    double body = all - head * (c->tied ? 1 : 2), ways = lora ? 4 : 6;
    double heads = (double)(c->heads * c->head_size), kv = (double)(c->kv_heads * c->head_size);
    double widths = 2 * ((double)c->width + heads) + 2 * ((double)c->width + kv) +
                    3 * (double)(c->width + c->ffn);
    double attention = rd_model_config_flops(c, tokens / (double)f->sequences) - 6 * (body + head);
    return tokens * (ways * body + attention + (lora ? 6 * 8 * widths * (double)c->layers : 0)) +
           targets * ways * head;
}

static int run(const rd_grid *g, const settings *s)
{
    int rc = RD_OK;
    rows_file rows;
    char datasets[300];
    rd_pretrained *published = NULL;
    rd_model *model = NULL;
    rd_train_opts o;
    rd_train_report r[2];
    double seconds[2] = {0};
    rd_tok *tok = bench_tokenizer();
    rd_chat *chat = text_chat(tok);
    bool lora = strcmp(s->mode, "lora") == 0;
    snprintf(datasets, sizeof datasets, "%s/rows.h5", rd_test_dir());
    RD_TRY(write_rows(&g->world, s->rows, datasets, &rows));
    RD_TRY(rd_pretrained_open(s->model, &published));
    for (int run = 0; run < 2; run++) { /* of one step, and of all */
        rd_train_defaults(&o);
        o.dir = rd_test_dir();
        o.stage = run == 0 ? "first" : "all";
        o.max_len = 1024;
        o.micro_tokens = s->micro;
        o.batch_tokens = rows.tokens; /* an epoch is a step */
        o.epochs = run == 0 ? 1 : (double)s->steps;
        o.variant = RD_ORPO_FULL; /* as TRL */
        o.optim.lr = s->lr;
        o.optim.warmup = 0;
        o.optim.kind = "adamw";
        memset(o.share, 0, sizeof o.share);
        o.adapted = lora;
        if (lora)
            o.adapter = (rd_adapter_opts){
                .kind = RD_LORA, .rank = 8, .alpha = 16, .targets = (1u << RD_TARGETS) - 1};
        RD_TRY(rd_model_create(g, rd_pretrained_config(published), !lora, &model));
        RD_TRY(rd_pretrained_load(published, model));
        rd_clock_reset();
        RD_TRY(rows.texts == 3 ? rd_train_orpo(g, model, chat, datasets, &o, &r[run])
                               : rd_train_sft(g, model, chat, datasets, &o, &r[run]));
        seconds[run] = seconds_so_far();
        rd_model_free(&model);
    }
    int64_t peak = rd_mem_resident_peak();
    rd_max_i64(&g->world, &peak, 1);
    rd_barrier(&g->world);
    double rate =
        strcmp(s->compute, "bf16") == 0 ? rd_gemm_bf16_rate(2048, 5) : rd_gemm_rate(2048, 5);
    rd_sum_f64(&g->world, &rate, 1);
    if (g->world.rank == 0)
        printf("%lld\t%.6f\t%lld\t%.6f\t%.6f\t%.6g\t%.6g\n", (long long)(r[1].tokens / r[1].steps),
               (seconds[1] - seconds[0]) / (double)(r[1].steps - 1), (long long)peak,
               r[0].first_loss, r[1].last_loss,
               step_flops(rd_pretrained_config(published), &rows, lora), rate);
done:
    rd_model_free(&model);
    rd_pretrained_close(&published);
    rd_chat_free(&chat);
    rd_tok_free(&tok);
    return rc;
}

int main(int argc, char **argv)
{
    settings s;
    rd_grid *g;
    rd_par_begin(&argc, &argv);
    rd_test_world = rd_comm_world();
    rd_log_quiet(true);
    if (read_settings(argc, argv, &s) != RD_OK) rd_die("%s", rd_error_get()->message);
    rd_grid_create(0, 1, 1, &g);
    rd_la_attach(g, (int)s.threads);
    rd_la_use_bf16(g, strcmp(s.compute, "bf16") == 0);
    if (run(g, &s) != RD_OK) rd_die("%s", rd_error_get()->message);
    rd_la_detach(g);
    rd_grid_free(&g);
    rd_par_end();
    return 0;
}
