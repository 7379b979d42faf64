/*
 * config.c - reads the configuration by the table of config_keys.c; contract in
 * consentd/config.h.
 *
 * One function per kind of value. A default is read by the same function from the text
 * in the table, so a default out of its own range cannot go unnoticed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_priv.h"
#include "consentd/file.h"
#include "consentd/mem.h"

#define MEMORY_MAX (32u << 20) /* bytes that one configuration may take */

/* What a reader needs besides the value. */
struct reading {
    struct config_memory *memory;
    const struct config_key *key;
    char *base; /* the struct that is filled */
    struct fault *fault;
};

static bool read_table(const struct reading *r, const struct config_table *table,
                       const struct json_at *at, char *base);
static bool read_value(const struct reading *r, const struct json_at *at);
static bool read_default(const struct reading *r, const struct json_at *parent);

/* Memory over the limit is refused like any value that is too large. */
static bool too_large(const struct json_at *at, struct fault *f)
{
    return json_at_fault(at, f, "the configuration takes more than %u MiB", MEMORY_MAX >> 20);
}

static bool put_text(const struct reading *r, const struct json_at *at, struct str s,
                     const char **field)
{
    *field = arena_copy(&r->memory->arena, s.ptr, s.len);
    return *field != NULL || too_large(at, r->fault);
}

static bool read_number(const struct reading *r, const struct json_at *at, unsigned *field)
{
    const struct config_key *key = r->key;
    char range[CONFIG_RANGE_MAX];
    int64_t value;

    if (key->kind == KEY_AUTO && json_is_string(at->value) &&
        strcmp(json_string_value(at->value), "auto") == 0) {
        *field = 0;
        return true;
    }
    if (!json_is_integer(at->value)) {
        config_print_range(key, range);
        return json_at_fault(at, r->fault, "expected a whole number from %s%s", range,
                             key->kind == KEY_AUTO ? ", or \"auto\"" : "");
    }
    if (!json_at_int(at, (int64_t)key->min, (int64_t)key->max, &value, r->fault))
        return false;
    *field = (unsigned)value;
    return true;
}

static bool read_measure(const struct reading *r, const struct json_at *at, uint64_t *field)
{
    bool time = r->key->kind == KEY_DURATION;
    struct str text = str_c(json_string_value(at->value)); /* empty for what is no string */
    char range[CONFIG_RANGE_MAX];

    if (!(time ? config_duration(text, field) : config_size(text, field)))
        return json_at_fault(at, r->fault, "expected a %s",
                             time ? "duration such as \"15s\"" : "size such as \"64KiB\"");
    if (*field >= r->key->min && *field <= r->key->max)
        return true;
    config_print_range(r->key, range);
    return json_at_fault(at, r->fault, "out of range: %s", range);
}

static bool read_text(const struct reading *r, const struct json_at *at, const char **field)
{
    struct str text;

    if (!json_at_str(at, &text, r->fault))
        return false;
    if (text.len == 0)
        return json_at_fault(at, r->fault, "must not be empty");
    if (r->key->kind == KEY_TEXT)
        return put_text(r, at, text, field);
    char *path = file_resolve(r->memory->dir, text.ptr);
    bool ok = put_text(r, at, str_c(path), field);
    free(path);
    return ok;
}

/* Index in words, or -1; the fault lists them. */
static int word_index(const struct json_at *at, const char *const *words, struct fault *f)
{
    char list[256] = "";
    size_t len = 0;
    struct str text;

    if (!json_at_str(at, &text, f))
        return -1;
    for (int i = 0; words[i] != NULL; i++) {
        if (str_eq_c(text, words[i]))
            return i;
        int n = snprintf(list + len, sizeof(list) - len, "%s\"%s\"", i > 0 ? ", " : "", words[i]);
        if (n > 0 && (size_t)n < sizeof(list) - len)
            len += (size_t)n;
    }
    json_at_fault(at, f, "expected one of %s", list);
    return -1;
}

static bool read_word(const struct reading *r, const struct json_at *at)
{
    int index = word_index(at, r->key->words, r->fault);
    unsigned value = (unsigned)index;

    if (index < 0)
        return false;
    if (strcmp(r->key->name, "redirect") == 0) /* the one word whose field is a bool */
        *(bool *)(void *)(r->base + r->key->offset) = index == 1;
    else
        memcpy(r->base + r->key->offset, &value, sizeof(value));
    return true;
}

static bool check_count(const struct reading *r, const struct json_at *at, size_t cnt)
{
    if (cnt >= r->key->min && cnt <= r->key->max)
        return true;
    return json_at_fault(at, r->fault, "%zu entries; %llu to %llu are possible", cnt,
                         (unsigned long long)r->key->min, (unsigned long long)r->key->max);
}

static bool read_texts(const struct reading *r, const struct json_at *at,
                       struct config_texts *field)
{
    size_t cnt = json_at_count(at);
    struct str text;

    if (!json_at_array(at, r->fault) || !check_count(r, at, cnt))
        return false;
    const char **items = arena_calloc(&r->memory->arena, cnt, sizeof(*items));
    if (items == NULL)
        return too_large(at, r->fault);
    *field = (struct config_texts){.items = items, .cnt = cnt};
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(at, i);
        if (!json_at_str(&item, &text, r->fault) || !put_text(r, &item, text, &items[i]))
            return false;
        if (text.len == 0)
            return json_at_fault(&item, r->fault, "must not be empty");
    }
    return true;
}

/* "http://a" for {"url": "http://a"}: everything else of the object is as by default. */
static bool read_brief(const struct reading *r, const struct json_at *at, char *base)
{
    json_t *object = json_object();
    struct json_at whole = {
        .value = object, .above = at->above, .key = at->key, .index = at->index};
    bool ok = true;

    for (size_t i = 0; ok && i < r->key->table->cnt; i++) {
        struct reading sub = *r;
        sub.key = &r->key->table->keys[i];
        sub.base = base;
        ok = i == 0 ? read_value(&sub, at) : read_default(&sub, &whole);
    }
    json_decref(object);
    return ok;
}

static bool read_item(const struct reading *r, const struct json_at *at, char *base)
{
    if (r->key->kind == KEY_OBJECTS || !json_is_string(at->value))
        return read_table(r, r->key->table, at, base);
    return read_brief(r, at, base);
}

static bool read_objects(const struct reading *r, const struct json_at *at)
{
    const struct config_table *table = r->key->table;
    size_t cnt = json_at_count(at);

    if (!json_at_array(at, r->fault) || !check_count(r, at, cnt))
        return false;
    char *items = arena_calloc(&r->memory->arena, cnt, table->size);
    if (items == NULL)
        return too_large(at, r->fault);
    memcpy(r->base + r->key->offset, &items, sizeof(items));
    memcpy(r->base + r->key->extra_offset, &cnt, sizeof(cnt));
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(at, i);
        if (!read_item(r, &item, items + i * table->size))
            return false;
    }
    return true;
}

static bool read_modes(const struct reading *r, const struct json_at *at)
{
    static const char *const words[] = {"enforce", "report", "off", NULL};
    size_t cnt = json_at_count(at), i = 0;
    const char *name;
    json_t *value;

    if (!json_at_object(at, r->fault) || !check_count(r, at, cnt))
        return false;
    struct config_set_mode *modes = arena_calloc(&r->memory->arena, cnt, sizeof(*modes));
    if (modes == NULL)
        return too_large(at, r->fault);
    memcpy(r->base + r->key->offset, &modes, sizeof(modes));
    memcpy(r->base + r->key->extra_offset, &cnt, sizeof(cnt));
    json_object_foreach (json_unconst(at->value), name, value) {
        struct json_at item = {.value = value, .above = at, .key = name};
        int mode = word_index(&item, words, r->fault);
        if (mode < 0 || !put_text(r, &item, str_c(name), &modes[i].set))
            return false;
        modes[i++].mode = (enum config_mode)mode;
    }
    return true;
}

static bool read_raw(const struct reading *r, const struct json_at *at, const char **field)
{
    if (!json_at_array(at, r->fault))
        return false;
    char *text = json_dumps(at->value, JSON_COMPACT);
    bool ok = text != NULL && put_text(r, at, str_c(text), field);
    free(text);
    if (ok && json_at_count(at) > 0)
        ((struct config_site *)(void *)r->base)->rules_line = json_at_line(at);
    return ok || too_large(at, r->fault);
}

static bool read_object(const struct reading *r, const struct json_at *at)
{
    if (r->key->extra_offset != NO_EXTRA)
        *(bool *)(void *)(r->base + r->key->extra_offset) = true;
    return read_table(r, r->key->table, at, r->base + r->key->offset);
}

static bool read_value(const struct reading *r, const struct json_at *at)
{
    void *field = r->base + r->key->offset;

    switch (r->key->kind) {
    case KEY_BOOL:
        return json_at_bool(at, field, r->fault);
    case KEY_UINT:
    case KEY_AUTO:
        return read_number(r, at, field);
    case KEY_DURATION:
    case KEY_SIZE:
        return read_measure(r, at, field);
    case KEY_TEXT:
    case KEY_PATH:
        return read_text(r, at, field);
    case KEY_WORD:
        return read_word(r, at);
    case KEY_TEXTS:
        return read_texts(r, at, field);
    case KEY_OBJECT:
        return read_object(r, at);
    case KEY_OBJECTS:
    case KEY_ITEMS:
        return read_objects(r, at);
    case KEY_MODES:
        return read_modes(r, at);
    case KEY_RAW:
        return read_raw(r, at, field);
    default:
        return json_at_fault(at, r->fault, "cannot be set");
    }
}

/* The default as a JSON value: bare numbers and booleans, everything else a string. */
static json_t *default_value(const struct config_key *key)
{
    uint64_t number;

    switch (key->kind) {
    case KEY_OBJECT:
        return json_object();
    case KEY_RAW:
        return json_array();
    case KEY_BOOL:
        return json_boolean(strcmp(key->def, "true") == 0);
    case KEY_UINT:
        ASSERT(str_to_u64(str_c(key->def), key->max, &number));
        return json_integer((json_int_t)number);
    case KEY_AUTO:
    case KEY_DURATION:
    case KEY_SIZE:
    case KEY_TEXT:
    case KEY_PATH:
    case KEY_WORD:
    case KEY_TEXTS:
    case KEY_OBJECTS:
    case KEY_ITEMS:
    case KEY_MODES:
    default:
        return key->def[0] != '\0' ? json_string(key->def) : NULL;
    }
}

static bool read_default(const struct reading *r, const struct json_at *parent)
{
    const struct config_key *key = r->key;

    if (key->def == NULL)
        return json_at_fault(parent, r->fault, "\"%s\" is missing: %s", key->name, key->doc);
    if (key->kind == KEY_OBJECT && key->extra_offset != NO_EXTRA)
        return true; /* its absence means something: leave it zeroed */
    json_t *value = default_value(key);
    if (value == NULL)
        return true;
    struct json_at at = {.value = value, .above = parent, .key = key->name};
    bool ok = read_value(r, &at);
    json_decref(value);
    return ok;
}

static bool read_table(const struct reading *r, const struct config_table *table,
                       const struct json_at *at, char *base)
{
    const char *names[64];

    ASSERT(table->cnt <= COUNT_OF(names));
    for (size_t i = 0; i < table->cnt; i++)
        names[i] = table->keys[i].name;
    if (!json_at_only(at, names, table->cnt, r->fault))
        return false;
    for (size_t i = 0; i < table->cnt; i++) {
        struct reading sub = *r;
        struct json_at child;
        sub.key = &table->keys[i];
        sub.base = base;
        if (!(json_at_get(at, sub.key->name, &child) ? read_value(&sub, &child)
                                                     : read_default(&sub, at)))
            return false;
    }
    return true;
}

struct config *config_parse(const char *name, const char *dir, struct str text, struct fault *f)
{
    json_t *root = json_load_text(name, text, JSON_COMMENTS, f);

    if (root == NULL)
        return NULL;
    struct config *c = mem_new(struct config);
    c->memory = mem_new(struct config_memory);
    c->memory->dir = dir;
    arena_init(&c->memory->arena, NULL, MEMORY_MAX);
    struct json_at at = json_at_root(name, text, root);
    struct reading r = {.memory = c->memory, .fault = f};
    bool ok = read_table(&r, &CONFIG_ROOT, &at, (char *)c) && config_finish(c, &at, f);
    json_decref(root);
    c->path = ok ? arena_copy(&c->memory->arena, name, strlen(name)) : NULL;
    if (ok)
        return c;
    config_free(c);
    return NULL;
}

struct config *config_load(const char *path, struct fault *f)
{
    struct config *c = NULL;
    struct buf text;
    char *full = realpath(path, NULL);

    if (full == NULL) {
        fault_set_errno(f, "%s: cannot open", path);
        return NULL;
    }
    char *dir = file_dir_of(full);
    buf_init(&text, CONFIG_TEXT_MAX);
    if (file_read(path, CONFIG_TEXT_MAX, &text, f))
        c = config_parse(path, dir, buf_str(&text), f);
    buf_free(&text);
    free(dir);
    free(full);
    return c;
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    arena_fini(&c->memory->arena);
    free(c->memory);
    free(c);
}
