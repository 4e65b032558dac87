/* config_keys.h: the form of the table of configuration keys (private to cli). */
#ifndef RD_CLI_CONFIG_KEYS_H
#define RD_CLI_CONFIG_KEYS_H

#include <stddef.h>

typedef enum {
    KEY_BOOL,
    KEY_INT,
    KEY_REAL,
    KEY_TEXT,
    KEY_ENUM,
    KEY_ENUMS,
    KEY_INTS,
    KEY_TEXTS
} key_type;

typedef struct config_key {
    const char *path;
    key_type type;
    const char *fallback; /* default, as JSON */
    double lo, hi;        /* range of numbers */
    const char *choices;  /* "a|b|c" */
    const char *help;
} config_key;

enum { CONFIG_RUN, CONFIG_TASK };
const config_key *config_table(int table, int *n);

/* Defaults under compat "official". */
typedef struct config_fixed {
    const char *path, *value; /* value: as JSON */
} config_fixed;
const config_fixed *config_official(int *n);

#endif
