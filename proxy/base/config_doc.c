/*
 * config_doc.c - the table of config_keys.c as people read it.
 */
#include <stdio.h>
#include <string.h>

#include "config_priv.h"

typedef void (*doc_fn)(void *arg, const struct config_doc *doc);

static const char *type_of(enum config_kind kind)
{
    static const char *const names[] = {
        [KEY_BOOL] = "true or false",
        [KEY_UINT] = "integer",
        [KEY_AUTO] = "integer or auto",
        [KEY_DURATION] = "duration",
        [KEY_SIZE] = "size",
        [KEY_TEXT] = "text",
        [KEY_PATH] = "path",
        [KEY_WORD] = "word",
        [KEY_TEXTS] = "list of texts",
        [KEY_OBJECT] = "object",
        [KEY_OBJECTS] = "list of objects",
        [KEY_ITEMS] = "list of texts or objects",
        [KEY_MODES] = "object of modes",
        [KEY_RAW] = "list of rule sets",
    };

    return names[kind];
}

/* 90000 as "90s", 65536 as "64KiB": the largest unit that divides it. */
static void print_measure(uint64_t v, enum config_kind kind, char *out, size_t len)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } times[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}},
      sizes[] = {{"GiB", 1u << 30}, {"MiB", 1u << 20}, {"KiB", 1u << 10}, {"", 1}, {"", 1}};

    for (size_t i = 0; i < COUNT_OF(times); i++) {
        uint64_t factor = kind == KEY_DURATION ? times[i].factor : sizes[i].factor;
        if (v % factor != 0 || (v == 0 && factor > 1))
            continue;
        snprintf(out, len, "%llu%s", (unsigned long long)(v / factor),
                 kind == KEY_DURATION ? times[i].name : sizes[i].name);
        return;
    }
}

void config_print_range(const struct config_key *key, char out[CONFIG_RANGE_MAX])
{
    const size_t len = CONFIG_RANGE_MAX;
    char low[32] = "", high[32] = "";

    out[0] = '\0';
    if (key->kind == KEY_WORD) {
        for (size_t i = 0, at = 0; key->words[i] != NULL && at < len; i++)
            at += (size_t)snprintf(out + at, len - at, "%s%s", i > 0 ? ", " : "", key->words[i]);
    } else if (key->max > 0) {
        bool plain = key->kind != KEY_DURATION && key->kind != KEY_SIZE;
        if (plain) {
            snprintf(low, sizeof(low), "%llu", (unsigned long long)key->min);
            snprintf(high, sizeof(high), "%llu", (unsigned long long)key->max);
        } else {
            print_measure(key->min, key->kind, low, sizeof(low));
            print_measure(key->max, key->kind, high, sizeof(high));
        }
        snprintf(out, len, "%s to %s", low, high);
    }
}

static bool is_list(const struct config_key *key)
{
    return key->kind == KEY_OBJECTS || key->kind == KEY_ITEMS;
}

static void walk(const struct config_table *table, const char *prefix, doc_fn fn, void *arg)
{
    char path[128], range[CONFIG_RANGE_MAX];

    for (size_t i = 0; i < table->cnt; i++) {
        const struct config_key *key = &table->keys[i];
        snprintf(path, sizeof(path), "%s%s%s", prefix, key->name, is_list(key) ? "[]" : "");
        config_print_range(key, range);
        struct config_doc doc = {path, type_of(key->kind), range, key->def, key->doc};
        fn(arg, &doc);
        if (key->table == NULL)
            continue;
        snprintf(path, sizeof(path), "%s%s%s.", prefix, key->name, is_list(key) ? "[]" : "");
        walk(key->table, path, fn, arg);
    }
}

void config_each_key(doc_fn fn, void *arg)
{
    walk(&CONFIG_ROOT, "", fn, arg);
}

struct printing {
    struct buf *out;
    bool ok;
};

static void print_key(void *arg, const struct config_doc *doc)
{
    struct printing *p = arg;
    const char *def = doc->default_value == NULL      ? "required"
                      : doc->default_value[0] == '\0' ? "unset"
                                                      : doc->default_value;

    p->ok =
        p->ok && buf_printf(p->out, "%s\n    %s\n    %s%s%s; default: %s\n", doc->path, doc->doc,
                            doc->type, doc->range[0] != '\0' ? ", " : "", doc->range, def);
}

bool config_reference(struct buf *out)
{
    struct printing p = {.out = out, .ok = true};

    config_each_key(print_key, &p);
    return p.ok;
}
