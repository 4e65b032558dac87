/* chat_template.c: how a prompt and a response become one sequence of tokens.
 *
 * Each family is written down as one text with its special tokens and two holes, and cut once, when
 * the chat is made: everything before the stretch of text that holds the user's hole, and
 * everything after it, is encoded then; what is left per prompt is that one stretch. */
#include "text_impl.h"

#include <string.h>

enum { MAX_SPECIALS = 5, MAX_STOPS = 4 };
#define SYSTEM "\1"
#define USER "\2"

#define CHATML                                                          \
    "<|im_start|>system\n" SYSTEM "<|im_end|>\n<|im_start|>user\n" USER \
    "<|im_end|>\n<|im_start|>assistant\n"
#define HEADER(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define LLAMA_TURNS HEADER("user") USER "<|eot_id|>" HEADER("assistant")
#define LLAMA_SPECIALS \
    "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"

typedef struct family {
    const char *name;
    const char *specials[MAX_SPECIALS]; /* all that occur in its prompts, and its end */
    const char *prompt;                 /* without a system message */
    const char *prompt_system;          /* with one */
    const char *system;                 /* the one that stands there when none is given; or NULL */
    const char *lead;                   /* before a response */
    const char *end;
    const char *stops[MAX_STOPS]; /* further tokens that end a response, where they exist */
    bool trim_prompt, trim_response;
    /* What a model's own template holds when it is this one, and what it does not. */
    const char *marks[3], *foreign[2];
} family;

static const family families[] = {
    {.name = "none"},
    {.name = "smollm2",
     .specials = {"<|im_start|>", "<|im_end|>"},
     .prompt_system = CHATML,
     .system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
     .end = "<|im_end|>",
     .stops = {"<|endoftext|>"},
     .marks = {"<|im_start|>",
               "You are a helpful AI assistant named SmolLM, trained by Hugging Face"}},
    {.name = "qwen2.5",
     .specials = {"<|im_start|>", "<|im_end|>"},
     .prompt_system = CHATML,
     .system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
     .end = "<|im_end|>",
     .stops = {"<|endoftext|>"},
     .marks = {"<|im_start|>",
               "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."}},
    {.name = "llama3",
     .specials = {LLAMA_SPECIALS},
     .prompt = "<|begin_of_text|>" LLAMA_TURNS,
     .prompt_system = "<|begin_of_text|>" HEADER("system") SYSTEM "<|eot_id|>" LLAMA_TURNS,
     .end = "<|eot_id|>",
     .stops = {"<|end_of_text|>", "<|eom_id|>"},
     .trim_prompt = true,
     .trim_response = true,
     .marks = {"<|start_header_id|>", "<|eot_id|>"},
     .foreign = {"Cutting Knowledge Date"}},
    {.name = "llama3.1",
     .specials = {LLAMA_SPECIALS},
     .prompt_system = "<|begin_of_text|>" HEADER(
         "system") "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n" SYSTEM
                   "<|eot_id|>" LLAMA_TURNS,
     .system = "",
     .end = "<|eot_id|>",
     .stops = {"<|end_of_text|>", "<|eom_id|>"},
     .trim_prompt = true,
     .trim_response = true,
     .marks = {"<|start_header_id|>", "<|eot_id|>", "Cutting Knowledge Date: December 2023"}},
    {.name = "mistral",
     .specials = {"<s>", "[INST]", "[/INST]", "</s>"},
     .prompt = "<s>[INST] " USER "[/INST]",
     .prompt_system = "<s>[INST] " SYSTEM "\n\n" USER "[/INST]",
     .lead = " ",
     .end = "</s>",
     .trim_response = true,
     .marks = {"\"[INST] \" + message[\"content\"] + \"[/INST]\"",
               "\" \" + message[\"content\"]|trim + eos_token", "[AVAILABLE_TOOLS] ["}},
};
enum { N_FAMILIES = sizeof families / sizeof *families };

struct rd_chat {
    const family *f;
    const rd_tok *tok;
    rd_buf head, tail;    /* ids around the stretch of text with the user's hole */
    rd_buf before, after; /* that stretch, without the hole */
    int32_t end, stops[MAX_STOPS];
    int n_stops;
    int32_t barred[2]; /* never sampled; -1: nothing */
};

/* ---------------------------------------------------------------- texts and ids */

/* behind: other tokens stand before it, whether ids holds them or not. */
static int put_text(const rd_tok *tok, const char *text, size_t n, bool behind, rd_buf *ids)
{
    int rc = RD_OK;
    int32_t *some = NULL;
    int64_t room = rd_tok_room(tok, n);
    if (n == 0) return RD_OK;
    some = rd_new(int32_t, room);
    int64_t got = behind ? rd_tok_encode_behind(tok, text, n, some, room)
                         : rd_tok_encode(tok, text, n, some, room);
    if (got == -2) {
        rc = rd_error_get()->code;
        goto done;
    }
    RD_ASSERT(got >= 0);
    rd_buf_add(ids, some, (size_t)got * sizeof *some);
done:
    rd_free(some);
    return rc;
}

static void put_id(rd_buf *ids, int32_t id)
{
    rd_buf_add(ids, &id, sizeof id);
}

/* Length of the white-space character at p (as Python's strip, which Jinja's trim is), 0: none. */
static size_t blank_at(const char *p, size_t n)
{
    static const char *const wide[] = {
        "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
        "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
        "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
        "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
    unsigned char c = (unsigned char)*p;
    if (c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F)) return 1;
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
        size_t len = strlen(wide[i]);
        if (n >= len && memcmp(p, wide[i], len) == 0) return len;
    }
    return 0;
}

static void strip(const char **p, size_t *n)
{
    for (size_t len; *n > 0 && (len = blank_at(*p, *n)) > 0; *n -= len) *p += len;
    for (bool again = true; again && *n > 0;) {
        again = false;
        for (size_t len = 1; len <= 3 && len <= *n && !again; len++)
            if (blank_at(*p + *n - len, len) == len) {
                *n -= len;
                again = true;
            }
    }
}

/* ---------------------------------------------------------------- making */

static const family *family_named(const char *name)
{
    for (int i = 0; i < N_FAMILIES; i++)
        if (strcmp(families[i].name, name) == 0) return &families[i];
    return NULL;
}

static bool matches(const family *f, const char *jinja)
{
    /* Reasoning models have the same turns and something else to say in them. */
    static const char *const never[] = {"<think>", "reasoning_content", "enable_thinking"};
    if (f->marks[0] == NULL) return false;
    for (int i = 0; i < 3; i++)
        if ((f->marks[i] && !strstr(jinja, f->marks[i])) || strstr(jinja, never[i])) return false;
    for (int i = 0; i < 2; i++)
        if (f->foreign[i] && strstr(jinja, f->foreign[i])) return false;
    return true;
}

/* Ours have their three specials first; a model that was made elsewhere has a template or not. */
static bool tok_is_ours(const rd_tok *tok)
{
    for (int i = 0; i < RD_TOK_SPECIALS; i++)
        if (rd_tok_special(tok, rd_tok_special_names[i]) != i) return false;
    return true;
}

static void names_put(rd_buf *out)
{
    for (int i = 0; i < N_FAMILIES; i++)
        rd_buf_printf(out, "%s%s", i ? ", " : "", families[i].name);
}

static int choose(const rd_tok *tok, const char *name, const char *jinja, const family **f)
{
    int rc = RD_OK;
    rd_buf names = {0};
    names_put(&names);
    *f = NULL;
    if (strcmp(name, "auto") != 0) {
        *f = family_named(name);
        if (!*f)
            RD_FAIL(RD_EINPUT, "model.chat: no template '%s' (known: auto, %s)", name, names.data);
        goto done;
    }
    if (jinja == NULL && tok_is_ours(tok)) *f = family_named("none");
    for (int i = 0; jinja && i < N_FAMILIES; i++)
        if (matches(&families[i], jinja)) *f = &families[i];
    if (!*f)
        RD_FAIL(RD_EINPUT, "model.chat: the model %s; name one of %s (none for a base model)",
                jinja ? "has a chat template that is not known here" : "has no chat template",
                names.data);
done:
    rd_buf_free(&names);
    return rc;
}

static int special(const family *f, const rd_tok *tok, const char *content, int32_t *id)
{
    int rc = RD_OK;
    *id = rd_tok_special(tok, content);
    if (*id < 0)
        RD_FAIL(RD_EINPUT, "model.chat: %s needs the special token %s, which the tokenizer lacks",
                f->name, content);
done:
    return rc;
}

/* The special token of the family that begins at p; NULL: none. */
static const char *special_at(const family *f, const char *p)
{
    for (int i = 0; i < MAX_SPECIALS && f->specials[i]; i++)
        if (strncmp(p, f->specials[i], strlen(f->specials[i])) == 0) return f->specials[i];
    return NULL;
}

/* Cut a family's prompt into head, before, after and tail. */
static int cut(rd_chat *c, const char *prompt, const char *system, size_t system_n)
{
    int rc = RD_OK;
    rd_buf text = {0}, *ids = &c->head;
    bool in_stretch = false; /* behind the hole, before the next special */
    for (const char *p = prompt;;) {
        const char *token = *p ? special_at(c->f, p) : NULL;
        if (*p == *SYSTEM) {
            rd_buf_add(&text, system, system_n);
            p++;
        } else if (*p == *USER) {
            rd_buf_add(&c->before, text.data, text.len);
            rd_buf_clear(&text);
            in_stretch = true;
            p++;
        } else if (*p && token == NULL) {
            rd_buf_putc(&text, *p++);
        } else { /* a stretch ends */
            int32_t id;
            if (in_stretch) {
                rd_buf_add(&c->after, text.data, text.len);
                ids = &c->tail;
                in_stretch = false;
            } else {
                RD_TRY(put_text(c->tok, text.data, text.len, c->head.len > 0, ids));
            }
            rd_buf_clear(&text);
            if (*p == '\0') break;
            RD_TRY(special(c->f, c->tok, token, &id));
            put_id(ids, id);
            p += strlen(token);
        }
    }
done:
    rd_buf_free(&text);
    return rc;
}

/* The sequences of our own models: BOS, prompt, response, EOS; a published model has BOS only if
 * its tokenizer puts it before a text.  SmolLM2 pads with its EOS, which must be sampled. */
static int plain(rd_chat *c)
{
    int rc = RD_OK;
    const int32_t ids[] = {rd_tok_pad(c->tok), rd_tok_bos(c->tok)};
    c->end = rd_tok_eos(c->tok);
    if (c->end < 0)
        RD_FAIL(RD_EINPUT,
                "model.chat: none needs a token that ends a text; the tokenizer has no EOS");
    bool begins = tok_is_ours(c->tok) || rd_tok_adds_bos(c->tok);
    if (ids[1] >= 0 && begins) put_id(&c->head, ids[1]);
    for (int i = 0; i < 2; i++) c->barred[i] = rd_tok_is_end(c->tok, ids[i]) ? -1 : ids[i];
done:
    return rc;
}

static int templated(rd_chat *c, const char *system)
{
    int rc = RD_OK;
    const family *f = c->f;
    if (system == NULL) system = f->system;
    size_t n = system ? strlen(system) : 0;
    if (f->trim_prompt && system) strip(&system, &n);
    RD_TRY(cut(c, system ? f->prompt_system : f->prompt, system, n));
    RD_TRY(special(f, c->tok, f->end, &c->end));
    for (int i = 0; i < MAX_STOPS && f->stops[i]; i++) {
        int32_t id = rd_tok_special(c->tok, f->stops[i]);
        if (id >= 0) c->stops[c->n_stops++] = id;
    }
done:
    return rc;
}

int rd_chat_create(const rd_tok *tok, const char *name, const char *system, const char *jinja,
                   rd_chat **chat)
{
    int rc = RD_OK;
    rd_chat *c = rd_new(rd_chat, 1);
    *chat = NULL;
    c->tok = tok;
    c->barred[0] = c->barred[1] = -1;
    if (system && !*system) system = NULL;
    RD_TRY(choose(tok, name, jinja, &c->f));
    if (c->f->end == NULL && system)
        RD_FAIL(RD_EINPUT, "model.system: the chat template none has no system message");
    RD_TRY(c->f->end == NULL ? plain(c) : templated(c, system));
    *chat = c;
    c = NULL;
done:
    rd_chat_free(&c);
    return rc;
}

void rd_chat_free(rd_chat **chat)
{
    rd_chat *c = *chat;
    if (c == NULL) return;
    rd_buf_free(&c->head);
    rd_buf_free(&c->tail);
    rd_buf_free(&c->before);
    rd_buf_free(&c->after);
    RD_FREE(*chat);
}

/* ---------------------------------------------------------------- a model's own template */

/* "chat_template" is the template, or a list of named ones. */
static int find_in_config(const char *path, rd_buf *jinja)
{
    int rc = RD_OK;
    rd_json *doc = NULL;
    RD_TRY(rd_json_read(path, &doc));
    const rd_json_node *v = rd_json_get(rd_json_root(doc), "chat_template");
    if (v && rd_json_kind(v) == RD_JSON_ARRAY)
        for (const rd_json_node *e = rd_json_first(v); e; e = rd_json_next(e)) {
            const rd_json_node *name =
                rd_json_kind(e) == RD_JSON_OBJECT ? rd_json_get(e, "name") : NULL;
            const char *text = name ? rd_json_string(name) : NULL;
            if (text && strcmp(text, "default") == 0) v = rd_json_get(e, "template");
        }
    if (v && rd_json_string(v)) rd_buf_puts(jinja, rd_json_string(v));
done:
    rd_json_free(&doc);
    return rc;
}

static int find_in_gguf(const char *path, rd_buf *jinja)
{
    int rc = RD_OK;
    rd_weights *w = NULL;
    RD_TRY(rd_weights_open(path, &w));
    const rd_meta *m = rd_weights_meta(w, "tokenizer.chat_template");
    size_t n = 0;
    const char *text = m ? rd_meta_string(m, 0, &n) : NULL;
    if (text) rd_buf_add(jinja, text, n);
done:
    rd_weights_close(&w);
    return rc;
}

int rd_chat_find(const char *path, rd_buf *jinja)
{
    int rc = RD_OK;
    rd_buf file = {0};
    size_t n = strlen(path);
    if (n > 5 && strcmp(path + n - 5, ".gguf") == 0) {
        RD_TRY(find_in_gguf(path, jinja));
        goto done;
    }
    rd_buf_printf(&file, "%s/chat_template.jinja", path);
    if (rd_file_exists(file.data)) {
        RD_TRY(rd_file_read(file.data, jinja));
        goto done;
    }
    rd_buf_clear(&file);
    rd_buf_printf(&file, "%s/tokenizer_config.json", path);
    if (rd_file_exists(file.data)) RD_TRY(find_in_config(file.data, jinja));
done:
    rd_buf_free(&file);
    return rc;
}

/* ---------------------------------------------------------------- using */

const char *rd_chat_name(const rd_chat *c)
{
    return c->f->name;
}

const rd_tok *rd_chat_tok(const rd_chat *c)
{
    return c->tok;
}

uint64_t rd_chat_hash(const rd_chat *c)
{
    const rd_buf *parts[] = {&c->head, &c->before, &c->after, &c->tail};
    uint64_t h = rd_hash_str(c->f->name, 1);
    for (int i = 0; i < 4; i++) h = rd_hash(parts[i]->data ? parts[i]->data : "", parts[i]->len, h);
    return rd_hash(&c->end, sizeof c->end, h);
}

int rd_chat_prompt(const rd_chat *c, const char *text, size_t n, rd_buf *ids)
{
    int rc = RD_OK;
    rd_buf stretch = {0};
    rd_buf_add(ids, c->head.data, c->head.len);
    if (c->f->trim_prompt) strip(&text, &n);
    if (c->before.len + c->after.len > 0) {
        rd_buf_add(&stretch, c->before.data, c->before.len);
        rd_buf_add(&stretch, text, n);
        rd_buf_add(&stretch, c->after.data, c->after.len);
        text = stretch.data;
        n = stretch.len;
    }
    /* With none the text itself begins behind BOS, as it would without one. */
    RD_TRY(put_text(c->tok, text, n, c->f->end != NULL && c->head.len > 0, ids));
    rd_buf_add(ids, c->tail.data, c->tail.len);
done:
    rd_buf_free(&stretch);
    return rc;
}

int rd_chat_response(const rd_chat *c, const char *text, size_t n, rd_buf *ids)
{
    int rc = RD_OK;
    rd_buf led = {0};
    if (c->f->trim_response) strip(&text, &n);
    if (c->f->lead && n > 0) {
        rd_buf_puts(&led, c->f->lead);
        rd_buf_add(&led, text, n);
        text = led.data;
        n = led.len;
    }
    RD_TRY(put_text(c->tok, text, n, true, ids));
done:
    rd_buf_free(&led);
    return rc;
}

int32_t rd_chat_end(const rd_chat *c)
{
    return c->end;
}

bool rd_chat_stops(const rd_chat *c, int32_t id)
{
    bool stops = id == c->end || rd_tok_is_end(c->tok, id);
    for (int i = 0; i < c->n_stops; i++) stops |= id == c->stops[i];
    return stops;
}

void rd_chat_barred(const rd_chat *c, int32_t barred[2])
{
    memcpy(barred, c->barred, sizeof c->barred);
}

void rd_chat_read(const rd_chat *c, const int32_t *ids, int64_t n, rd_buf *out)
{
    size_t lead = c->f->lead ? strlen(c->f->lead) : 0, start = out->len;
    rd_tok_decode_behind(c->tok, ids, n, out);
    if (lead == 0 || out->len - start < lead || memcmp(out->data + start, c->f->lead, lead) != 0)
        return;
    memmove(out->data + start, out->data + start + lead, out->len - start - lead + 1);
    out->len -= lead;
}
