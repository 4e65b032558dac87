/* kinds.h: what each kind of teacher implements (private to teacher).
 *
 * One table per kind; the functions of teacher.h dispatch through it.  Contracts are those of
 * rd_teacher_propose and rd_teacher_apply. */
#ifndef RD_TEACHER_KINDS_H
#define RD_TEACHER_KINDS_H

#include "rd/teacher.h"

/* What every kind is given at creation; the pointers are lent and outlive the state. */
typedef struct teacher_setup {
    const rd_teacher_opts *opts; /* valid during create only */
    const rd_prompts *prompts;
    const rd_tok *tok; /* may be NULL */
} teacher_setup;

/* A kind that computes implements propose and apply; one whose answers take their time implements
 * propose_start, apply_start, next, wants and cancel in their place. */
typedef struct teacher_ops {
    const char *name;
    int (*create)(const teacher_setup *setup, void **state);
    void (*free)(void *state);
    /* Hash of what determines the answers; NULL: of the symbolic kind's options. */
    uint64_t (*key)(const teacher_setup *setup, const void *state);
    int (*expect)(void *state, const rd_taskset *tasks, const int64_t *rules); /* may be NULL */
    int (*open)(void *state, const rd_grid *g, const char *dir); /* open, close: may be NULL */
    void (*close)(void *state);
    int (*propose)(void *state, const rd_task *task, int64_t k, double temperature,
                   rd_proposal *out);
    int (*apply)(void *state, rd_family f, int64_t n, double temperature, rd_application *a);
    int (*propose_start)(void *state, const rd_task *task, int64_t k, double temperature,
                         rd_proposal *out, void *tag);
    int (*apply_start)(void *state, rd_family f, int64_t n, double temperature, rd_application *a,
                       void *tag);
    int (*next)(void *state, void **tag);
    bool (*wants)(const void *state);
    void (*cancel)(void *state);
} teacher_ops;

extern const teacher_ops rd_teacher_symbolic; /* symbolic.c */
extern const teacher_ops rd_teacher_http;     /* http.c */
extern const teacher_ops rd_teacher_replay;   /* replay.c */
extern const teacher_ops rd_teacher_model;    /* model.c */

/* Tokens of text: by the tokenizer, or bytes / 4 rounded up without one.  ids is scratch. */
typedef struct token_counter {
    const rd_tok *tok;
    int32_t *ids;
    int64_t cap;
} token_counter;
int64_t token_count(token_counter *c, const char *text, size_t n);
void token_counter_free(token_counter *c);

#endif
