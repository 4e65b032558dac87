/* tokenizer_open: a tokenizer from any path that can hold one. */
#include "text_impl.h"

#include <string.h>
#include <sys/stat.h>

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

static int open_gguf(const char *path, rd_tok **tok)
{
    int rc = RD_OK;
    rd_weights *w = NULL;
    RD_TRY(rd_weights_open(path, &w));
    RD_TRY(rd_tok_from_weights(w, path, tok));
done:
    rd_weights_close(&w);
    return rc;
}

static int open_folder(const char *path, rd_tok **tok)
{
    int rc = RD_OK;
    rd_buf file = {0};
    rd_buf_printf(&file, "%s/tokenizer.json", path);
    if (!rd_file_exists(file.data)) RD_FAIL(RD_EINPUT, "%s: no tokenizer.json in it", path);
    RD_TRY(rd_tok_load(file.data, tok));
done:
    rd_buf_free(&file);
    return rc;
}

int rd_tok_open(const char *path, rd_tok **tok)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return open_folder(path, tok);
    return ends_with(path, ".gguf") ? open_gguf(path, tok) : rd_tok_load(path, tok);
}
