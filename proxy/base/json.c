/*
 * json.c - reading with places in errors, and the canonical form; contract in consentd/json.h.
 *
 * Line numbers of keys are found when an error is written, by walking the text along
 * the path (json_line.c): jansson does not keep them, and the good case pays nothing.
 */
#include "consentd/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/mem.h"
#include "json_priv.h"

json_t *json_load_text(const char *name, struct str text, unsigned flags, struct fault *f)
{
    json_error_t error;

    if (text.len > JSON_TEXT_MAX) {
        fault_set(f, "%s: larger than %u bytes", name, JSON_TEXT_MAX);
        return NULL;
    }
    char *copy = str_dup(text);
    if ((flags & JSON_COMMENTS) != 0)
        json_blank_comments(copy, text.len);
    json_t *value = json_loadb(copy, text.len, JSON_REJECT_DUPLICATES, &error);
    free(copy);
    if (value == NULL)
        fault_set(f, "%s:%d:%d: %s", name, error.line, error.column, error.text);
    return value;
}

struct json_at json_at_root(const char *name, struct str text, const json_t *root)
{
    return (struct json_at){.value = root, .name = name, .text = text};
}

bool json_at_get(const struct json_at *at, const char *key, struct json_at *child_out)
{
    const json_t *value = json_object_get(at->value, key);

    if (value == NULL)
        return false;
    *child_out = (struct json_at){.value = value, .above = at, .key = key};
    return true;
}

struct json_at json_at_index(const struct json_at *at, size_t i)
{
    const json_t *value = json_array_get(at->value, i);

    ASSERT(value != NULL);
    return (struct json_at){.value = value, .above = at, .index = i};
}

size_t json_at_count(const struct json_at *at)
{
    return json_is_object(at->value) ? json_object_size(at->value) : json_array_size(at->value);
}

const char *json_at_path(const struct json_at *at, char out[JSON_PATH_MAX])
{
    size_t len = 0;

    out[0] = '\0';
    if (at->above == NULL)
        return out;
    json_at_path(at->above, out);
    len = strlen(out);
    int n = at->key == NULL
                ? snprintf(out + len, JSON_PATH_MAX - len, "[%zu]", at->index)
                : snprintf(out + len, JSON_PATH_MAX - len, "%s%s", len > 0 ? "." : "", at->key);
    if (n < 0 || (size_t)n >= JSON_PATH_MAX - len)
        memcpy(out + JSON_PATH_MAX - 4, "...", 4);
    return out;
}

bool json_at_fault(const struct json_at *at, struct fault *f, const char *fmt, ...)
{
    char path[JSON_PATH_MAX], text[FAULT_TEXT_MAX / 2];
    const struct json_at *root = at;
    unsigned line = json_at_line(at);
    va_list args;

    while (root->above != NULL)
        root = root->above;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof(text), fmt, args) < 0)
        text[0] = '\0';
    va_end(args);
    json_at_path(at, path);
    if (line > 0)
        fault_set(f, "%s:%u: %s%s%s", root->name, line, path, path[0] != '\0' ? ": " : "", text);
    else
        fault_set(f, "%s: %s%s%s", root->name, path, path[0] != '\0' ? ": " : "", text);
    return false;
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a real number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
    default:
        return "null";
    }
}

static bool expected(const struct json_at *at, const char *what, struct fault *f)
{
    return json_at_fault(at, f, "expected %s, found %s", what, type_name(at->value));
}

bool json_at_str(const struct json_at *at, struct str *out, struct fault *f)
{
    if (!json_is_string(at->value))
        return expected(at, "a string", f);
    *out = str_make(json_string_value(at->value), json_string_length(at->value));
    return true;
}

bool json_at_bool(const struct json_at *at, bool *out, struct fault *f)
{
    if (!json_is_boolean(at->value))
        return expected(at, "true or false", f);
    *out = json_is_true(at->value);
    return true;
}

bool json_at_array(const struct json_at *at, struct fault *f)
{
    return json_is_array(at->value) || expected(at, "an array", f);
}

bool json_at_object(const struct json_at *at, struct fault *f)
{
    return json_is_object(at->value) || expected(at, "an object", f);
}

bool json_at_int(const struct json_at *at, int64_t min, int64_t max, int64_t *out, struct fault *f)
{
    int64_t value = (int64_t)json_integer_value(at->value);

    if (!json_is_integer(at->value))
        return expected(at, "an integer", f);
    if (value < min || value > max)
        return json_at_fault(at, f, "%lld is outside %lld to %lld", (long long)value,
                             (long long)min, (long long)max);
    *out = value;
    return true;
}

static bool is_among(const char *key, const char *const *names, size_t cnt)
{
    for (size_t i = 0; i < cnt; i++) {
        if (strcmp(key, names[i]) == 0)
            return true;
    }
    return false;
}

bool json_at_only(const struct json_at *at, const char *const *names, size_t cnt, struct fault *f)
{
    struct json_at child;
    const char *key;
    json_t *value;

    if (!json_at_object(at, f))
        return false;
    /* jansson's walk wants a non-const object and does not change it */
    json_object_foreach (json_unconst(at->value), key, value) {
        if (is_among(key, names, cnt))
            continue;
        const char *near = str_nearest(str_c(key), names, cnt);
        child = (struct json_at){.value = value, .above = at, .key = key};
        if (near != NULL)
            return json_at_fault(&child, f, "unknown key; did you mean \"%s\"?", near);
        return json_at_fault(&child, f, "unknown key");
    }
    return true;
}

static bool find(const struct json_at *at, const char *key, enum json_need need, bool *go_out,
                 struct json_at *child, struct fault *f)
{
    *go_out = json_at_get(at, key, child);
    if (*go_out || need == JSON_MAY)
        return true;
    return json_at_fault(at, f, "\"%s\" is missing", key);
}

bool json_at_key_str(const struct json_at *at, const char *key, enum json_need need,
                     struct str *out, struct fault *f)
{
    struct json_at child;
    bool there;

    return find(at, key, need, &there, &child, f) && (!there || json_at_str(&child, out, f));
}

bool json_at_key_bool(const struct json_at *at, const char *key, enum json_need need, bool *out,
                      struct fault *f)
{
    struct json_at child;
    bool there;

    return find(at, key, need, &there, &child, f) && (!there || json_at_bool(&child, out, f));
}

/* RFC 8785 3.2.2.2: the short escapes where there are, \u00xx for other controls. */
bool json_quote(struct str s, struct buf *out)
{
    static const char shorts[] = "btnvfr"; /* 0x08 to 0x0d; v is no JSON escape */
    bool ok = buf_append_char(out, '"');

    for (size_t i = 0; ok && i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c == '"' || c == '\\')
            ok = buf_append_char(out, '\\') && buf_append_char(out, (char)c);
        else if (c >= 0x08 && c <= 0x0d && c != 0x0b)
            ok = buf_append_char(out, '\\') && buf_append_char(out, shorts[c - 8]);
        else if (c < 0x20)
            ok = buf_printf(out, "\\u%04x", c);
        else
            ok = buf_append_char(out, (char)c);
    }
    return ok && buf_append_char(out, '"');
}

static int by_bytes(const void *a, const void *b)
{
    const char *const *left = a;
    const char *const *right = b;

    return strcmp(*left, *right);
}

static bool canonical_object(const json_t *object, struct buf *out)
{
    size_t cnt = json_object_size(object), at = 0;
    const char **keys = mem_calloc(cnt, sizeof(*keys));
    const char *key;
    json_t *value;
    bool ok = buf_append_char(out, '{');

    json_object_foreach (json_unconst(object), key, value) {
        UNUSED(value);
        keys[at++] = key;
    }
    qsort(keys, cnt, sizeof(*keys), by_bytes);
    for (size_t i = 0; ok && i < cnt; i++)
        ok = (i == 0 || buf_append_char(out, ',')) && json_quote(str_c(keys[i]), out) &&
             buf_append_char(out, ':') && json_canonical(json_object_get(object, keys[i]), out);
    free(keys);
    return ok && buf_append_char(out, '}');
}

static bool canonical_array(const json_t *array, struct buf *out)
{
    bool ok = buf_append_char(out, '[');

    for (size_t i = 0; ok && i < json_array_size(array); i++)
        ok = (i == 0 || buf_append_char(out, ',')) && json_canonical(json_array_get(array, i), out);
    return ok && buf_append_char(out, ']');
}

bool json_canonical(const json_t *value, struct buf *out)
{
    if (json_is_object(value))
        return canonical_object(value, out);
    if (json_is_array(value))
        return canonical_array(value, out);
    if (json_is_string(value))
        return json_quote(str_make(json_string_value(value), json_string_length(value)), out);
    if (json_is_integer(value))
        return buf_printf(out, "%lld", (long long)json_integer_value(value));
    if (json_is_boolean(value))
        return buf_append_c(out, json_is_true(value) ? "true" : "false");
    return json_is_null(value) && buf_append_c(out, "null");
}
