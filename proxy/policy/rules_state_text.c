/*
 * rules_state_text.c - the text form of consentd/rules_state.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/json.h"
#include "consentd/mem.h"
#include "rules_state_priv.h"

static bool read_choice(const struct json_at *at, const char *key, enum rules_choice *out,
                        struct fault *f)
{
    struct str name = {0};

    if (!json_at_key_str(at, key, JSON_NEED, &name, f))
        return false;
    if (!rules_choice_parse(name, out))
        return json_at_fault(at, f, "%s: expected config, enforce, report or off", key);
    return true;
}

static bool read_number(const struct json_at *at, const char *key, uint64_t *out, struct fault *f)
{
    struct json_at child;
    int64_t value = 0;

    if (!json_at_get(at, key, &child))
        return json_at_fault(at, f, "\"%s\" is missing", key);
    if (!json_at_int(&child, 0, INT64_MAX, &value, f))
        return false;
    *out = (uint64_t)value;
    return true;
}

static bool read_label(const struct json_at *at, const char *key, size_t max, char *out,
                       struct fault *f)
{
    struct str text = {0};

    if (!json_at_key_str(at, key, JSON_NEED, &text, f))
        return false;
    if (text.len >= max)
        return json_at_fault(at, f, "%s: longer than %zu bytes", key, max - 1);
    snprintf(out, max, "%.*s", STR_ARGS(text));
    return true;
}

static bool read_changes(const struct json_at *at, struct rules_revision *r, struct fault *f)
{
    struct json_at list;
    size_t cnt;

    if (!json_at_get(at, "changes", &list))
        return json_at_fault(at, f, "\"changes\" is missing");
    if (!json_at_array(&list, f))
        return false;
    cnt = json_at_count(&list);
    if (cnt > RULES_STATE_MODES_MAX * 2)
        return json_at_fault(&list, f, "too many changes");
    r->changes = mem_calloc(cnt, sizeof(*r->changes));
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);
        struct rules_change *c = &r->changes[i];

        if (!read_label(&item, "key", sizeof(c->key), c->key, f) ||
            !read_choice(&item, "from", &c->from, f) || !read_choice(&item, "to", &c->to, f))
            return false;
        r->change_cnt = i + 1;
    }
    return true;
}

static bool read_revision(const struct json_at *at, struct rules_state *s, struct fault *f)
{
    struct rules_revision *r = rules_state_push(s);
    struct json_at child;

    r->is_rollback = json_at_get(at, "restores", &child);
    return read_number(at, "revision", &r->revision, f) && read_number(at, "at_ms", &r->at_ms, f) &&
           read_label(at, "who", sizeof(r->who), r->who, f) &&
           read_label(at, "from", sizeof(r->from), r->from, f) &&
           (!r->is_rollback || read_number(at, "restores", &r->restores, f)) &&
           read_changes(at, r, f);
}

static bool read_modes(const struct json_at *at, struct rules_state *s, struct fault *f)
{
    struct json_at modes;
    const char *key;
    json_t *value;
    json_t *object = json_object_get(at->value, "modes");

    if (!json_at_get(at, "modes", &modes))
        return json_at_fault(at, f, "\"modes\" is missing");
    if (!json_at_object(&modes, f))
        return false;
    json_object_foreach (object, key, value) {
        enum rules_choice choice;

        (void)value;
        if (!read_choice(&modes, key, &choice, f))
            return false;
        if (strlen(key) >= RULES_STATE_KEY_MAX || !rules_state_put(s, key, choice))
            return json_at_fault(&modes, f, "too many entries, or one with too long a name");
    }
    return true;
}

static bool read_history(const struct json_at *at, struct rules_state *s, struct fault *f)
{
    struct json_at list;

    if (!json_at_get(at, "history", &list))
        return json_at_fault(at, f, "\"history\" is missing");
    if (!json_at_array(&list, f))
        return false;
    if (json_at_count(&list) > RULES_STATE_HISTORY_MAX)
        return json_at_fault(&list, f, "more than %d revisions", RULES_STATE_HISTORY_MAX);
    for (size_t i = 0; i < json_at_count(&list); i++) {
        struct json_at item = json_at_index(&list, i);

        if (!read_revision(&item, s, f))
            return false;
        if (s->history[i].revision != s->revision - json_at_count(&list) + 1 + i)
            return json_at_fault(&item, f, "revision: expected one more than the one before");
    }
    return true;
}

struct rules_state *rules_state_parse(const char *name, struct str text, struct fault *f)
{
    struct rules_state *s = rules_state_new();
    json_t *root;
    struct json_at at;
    bool ok;

    if (text.len == 0)
        return s;
    root = json_load_text(name, text, 0, f);
    if (root == NULL) {
        rules_state_free(s);
        return NULL;
    }
    at = json_at_root(name, text, root);
    ok = json_at_object(&at, f) && read_number(&at, "revision", &s->revision, f) &&
         read_modes(&at, s, f) && read_history(&at, s, f);
    json_decref(root);
    if (ok)
        return s;
    rules_state_free(s);
    return NULL;
}

static bool write_text(struct buf *out, const char *key, const char *value)
{
    return buf_printf(out, ",\"%s\":", key) && json_quote(str_c(value), out);
}

static bool write_revision(const struct rules_revision *r, struct buf *out)
{
    if (!buf_printf(out, "{\"revision\":%llu,\"at_ms\":%llu", (unsigned long long)r->revision,
                    (unsigned long long)r->at_ms) ||
        !write_text(out, "who", r->who) || !write_text(out, "from", r->from))
        return false;
    if (r->is_rollback && !buf_printf(out, ",\"restores\":%llu", (unsigned long long)r->restores))
        return false;
    if (!buf_append_c(out, ",\"changes\":["))
        return false;
    for (size_t i = 0; i < r->change_cnt; i++) {
        const struct rules_change *c = &r->changes[i];

        if (!buf_append_c(out, i > 0 ? ",{\"key\":" : "{\"key\":") ||
            !json_quote(str_c(c->key), out) ||
            !write_text(out, "from", rules_choice_name(c->from)) ||
            !write_text(out, "to", rules_choice_name(c->to)) || !buf_append_char(out, '}'))
            return false;
    }
    return buf_append_c(out, "]}");
}

bool rules_state_write(const struct rules_state *s, struct buf *out)
{
    if (!buf_printf(out, "{\"revision\":%llu,\"modes\":{", (unsigned long long)s->revision))
        return false;
    for (size_t i = 0; i < s->mode_cnt; i++) {
        if ((i > 0 && !buf_append_char(out, ',')) || !json_quote(str_c(s->modes[i].key), out) ||
            !buf_printf(out, ":\"%s\"", rules_choice_name(s->modes[i].choice)))
            return false;
    }
    if (!buf_append_c(out, "},\n\"history\":["))
        return false;
    for (size_t i = 0; i < s->history_cnt; i++) {
        if (!buf_append_c(out, i > 0 ? ",\n" : "\n") || !write_revision(&s->history[i], out))
            return false;
    }
    return buf_append_c(out, "]}\n");
}
