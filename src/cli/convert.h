/* convert.h: models and adapters from one kind of file to another (private to cli). */
#ifndef RD_CLI_CONVERT_H
#define RD_CLI_CONVERT_H

/* What the command line says; NULL and 0: not given. */
typedef struct convert_args {
    const char *file; /* a config, a checkpoint, a published model or a peft adapter */
    int n_sets;
    const char *const *sets; /* over a config */
    const char *arm;         /* of a config; NULL: the last */
    const char *base;        /* the published model under an adapter */
    const char *tokenizer;
    const char *dtype; /* of export */
    double shard_gb;
    const char *tokens; /* of logits: a file of token ids */
    const char *to;
} convert_args;

/* All Collective on all ranks. */
int convert_export(const convert_args *a,
                   bool adapter);          /* a folder for transformers, or for peft */
int convert_import(const convert_args *a); /* a checkpoint */
int convert_logits(const convert_args *a); /* raw float32, tokens x vocabulary */

#endif
