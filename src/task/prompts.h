/* prompts.h: the wording of one family's prompts and responses (private to prompt.c, answer.c,
 * talk.c).
 * inputs/prompts/README.md describes the file format. */
#ifndef RD_TASK_PROMPTS_H
#define RD_TASK_PROMPTS_H

#include "families.h"

/* Keys of a family's object, in the order of the file. */
typedef enum {
    P_VALUES,    /* how values are written: "python", "plain" or "joined" */
    P_STEPS,     /* the same for intermediate results: "python", "plain", "bare" or "walk" */
    P_RULES,     /* how rules are written: "sentence" or "terse" */
    P_EXAMPLE,   /* {input} {output} */
    P_PROPOSE,   /* {examples} */
    P_FOLLOW,    /* {rule} {input} */
    P_IO,        /* {examples} {input} */
    P_RULE,      /* {rule}: the response to propose */
    P_ANSWER,    /* {answer}: the response to follow and io */
    P_STEP,      /* {step} */
    P_SEPARATOR, /* between steps, and between the last step and the answer */
    P_KEYS
} prompt_key;

typedef struct wordings {
    char *text[P_KEYS];
    bool plain, plain_steps; /* plain: of joined values too */
    bool joined, bare_steps, walk, terse_rules;
} wordings;

struct rd_prompts {
    wordings family[RD_FAMILIES];
    bool official; /* the official code's wording: responses are read whole, rules as they are */
};

/* talk.c: what talkative models say around an answer. */

/* The response without the lines of code fences, up to where it goes on with examples of its own (a
 * later line that begins "Input:").  out is overwritten. */
void talk_own_part(const char *response, rd_buf *out);
/* Behind the last "output:", "the answer is", "result =" … that begins before *before, which is
 * then moved there; NULL: there is none.  Start with the text's end. */
const char *talk_last_lead(const char *text, const char **before);
/* The rule in a text: behind leads such as "Here is the rule:", without markdown around it; n gets
 * its bytes. */
const char *talk_rule(const char *text, size_t *n);

#endif
