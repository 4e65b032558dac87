/* chat.h: the JSON of OpenAI-compatible chat completions (private to teacher).
 *
 * Text in, text out: nothing here knows of the network.  All functions are Local. */
#ifndef RD_TEACHER_CHAT_H
#define RD_TEACHER_CHAT_H

#include "rd/io.h"

typedef struct chat_request {
    const char *model, *system; /* system: "" for none */
    const char *prompt;         /* the user's message */
    double temperature;
    int64_t max_tokens, choices;
    int64_t seed;            /* < 0: not sent */
    const char *token_field; /* "max_tokens" or "max_completion_tokens" */
} chat_request;
/* The request's body: a function of the request alone, byte for byte. */
void chat_request_put(const chat_request *r, rd_buf *body);

typedef struct chat_choice {
    char *text;   /* "" when the model said nothing; reasoning beside the answer is no part of it */
    bool cut;     /* ended at the limit of tokens */
    bool refused; /* by the model or a filter; text is then what was said about it, if anything */
} chat_choice;

typedef struct chat_answer {
    int64_t n;
    chat_choice *choice;
    int64_t tokens_in, tokens_out; /* -1: the server does not say */
} chat_answer;

/* Read a response's body.  false: it is no answer (an error, HTML, cut off, garbage) and why says
 * what it is, in one short line that may quote the server.  Strings that JSON allows but the reader
 * of config files does not (NUL, half a surrogate pair, bytes that are no UTF-8) get U+FFFD there;
 * body is changed. */
bool chat_answer_read(rd_buf *body, chat_answer *a, rd_buf *why);
void chat_answer_free(chat_answer *a);

/* The message of an error response ("" when none is found), in one line of at most 200 bytes. */
void chat_error_text(rd_buf *body, rd_buf *out);

#endif
