/*
 * config_priv.h - the table that describes the configuration; shared by config*.c.
 */
#ifndef CONSENTD_CONFIG_PRIV_H
#define CONSENTD_CONFIG_PRIV_H

#include "consentd/arena.h"
#include "consentd/config.h"
#include "consentd/json.h"

/* How a value is read and where it goes; the field's C type is in brackets. */
enum config_kind {
    KEY_BOOL = 0, /* true or false [bool] */
    KEY_UINT,     /* integer [unsigned] */
    KEY_AUTO,     /* integer or "auto", which is 0 [unsigned] */
    KEY_DURATION, /* "15s" [uint64_t, milliseconds] */
    KEY_SIZE,     /* "64KiB" [uint64_t, bytes] */
    KEY_TEXT,     /* string [const char *] */
    KEY_PATH,     /* string, made absolute [const char *] */
    KEY_WORD,     /* one of words [enum, its index] */
    KEY_TEXTS,    /* array of strings [struct config_texts] */
    KEY_OBJECT,   /* members by another table [the struct] */
    KEY_OBJECTS,  /* array of objects [pointer to array]; cnt_offset names the count */
    KEY_ITEMS,    /* the same; a string stands for an object with only its first key */
    KEY_MODES,    /* object of rule set modes [pointer to array]; with cnt_offset */
    KEY_RAW,      /* array kept as JSON text [const char *] */
};

struct config_table;

struct config_key {
    const char *name;
    enum config_kind kind;
    size_t offset;     /* of the field in its struct */
    uint64_t min, max; /* range of a number, duration or size; entries of a list */
    const char *def;   /* default as written; NULL: required; "": unset */
    const char *const *words;
    const struct config_table *table; /* of KEY_OBJECT, KEY_OBJECTS and KEY_ITEMS */
    size_t extra_offset;              /* count of a list; "was given" (bool) of an object */
    const char *doc;                  /* one line */
};

struct config_table {
    const struct config_key *keys;
    size_t cnt;
    size_t size; /* of the struct */
};

extern const struct config_table CONFIG_ROOT;

/* jansson's iterators take a non-const object and do not change it. */
static inline json_t *json_unconst(const json_t *value)
{
    return (json_t *)(uintptr_t)value;
}

/* Checks what no single key can: hosts, names, prefixes; fills defaults made of others. */
MUST_USE bool config_finish(struct config *c, const struct json_at *root, struct fault *f);

/* "1 to 128", "1m to 400d", or the words that are possible; "" where a key has no range. */
#define CONFIG_RANGE_MAX 128
void config_print_range(const struct config_key *key, char out[CONFIG_RANGE_MAX]);

/* Marks an object whose presence nobody asks for. */
#define NO_EXTRA ((size_t)-1)

/* Memory of one config, and what relative paths start from. */
struct config_memory {
    struct arena arena;
    const char *dir;
};

#endif
