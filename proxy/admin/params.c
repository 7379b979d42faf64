/*
 * params.c - contract in params.h.
 */
#include "params.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/json.h"
#include "consentd/mem.h"

/* Decodes %XX and + in place; false for a wrong escape or a control character. */
static bool decode(struct str *s, char *text)
{
    size_t len = 0;

    for (size_t i = 0; i < s->len; i++) {
        uint8_t c = (uint8_t)s->ptr[i];

        if (c == '%') {
            if (i + 2 >= s->len || !hex_decode(str_slice(*s, i + 1, 2), &c, 1))
                return false;
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        if (c < 0x20 || c == 0x7f)
            return false;
        text[len++] = (char)c;
    }
    s->ptr = text;
    s->len = len;
    return true;
}

static bool is_utf8(struct str s)
{
    json_t *text = json_stringn(s.len > 0 ? s.ptr : "", s.len);

    json_decref(text);
    return text != NULL;
}

bool params_parse(struct str query, struct params *out, struct fault *f)
{
    struct str pair, rest;

    *out = (struct params){.text = str_dup(query)};
    rest = str_make(out->text, query.len);
    while (rest.len > 0 && str_cut(&rest, '&', &pair)) {
        struct str value = pair, name;

        if (pair.len == 0)
            continue;
        (void)str_cut(&value, '=', &name);
        if (out->cnt == PARAMS_MAX) {
            fault_set(f, "more than %d parameters", PARAMS_MAX);
            return false;
        }
        if (!decode(&name, out->text + (name.ptr - out->text)) ||
            (value.len > 0 && !decode(&value, out->text + (value.ptr - out->text)))) {
            fault_set(f, "parameter %zu is not well escaped, or has a control character",
                      out->cnt + 1);
            return false;
        }
        if (!is_utf8(name) || !is_utf8(value)) { /* it would be in records and manifests */
            fault_set(f, "parameter %zu is not UTF-8", out->cnt + 1);
            return false;
        }
        for (size_t i = 0; i < out->cnt; i++)
            if (str_eq(out->list[i].name, name)) {
                fault_set(f, "\"%.*s\" is given twice", name.len < 60 ? (int)name.len : 60,
                          name.ptr);
                return false;
            }
        out->list[out->cnt].name = name;
        out->list[out->cnt++].value = value;
    }
    return true;
}

void params_free(struct params *p)
{
    free(p->text);
    *p = (struct params){.cnt = 0};
}

struct str params_take(struct params *p, const char *name)
{
    for (size_t i = 0; i < p->cnt; i++) {
        struct str value = p->list[i].value;

        if (!str_eq_c(p->list[i].name, name))
            continue;
        p->list[i] = p->list[--p->cnt];
        if (value.ptr == NULL)
            value = STR("");
        return value;
    }
    return str_make(NULL, 0);
}

bool params_flag(struct params *p, const char *name, bool *out, struct fault *f)
{
    struct str value = params_take(p, name);

    *out = str_eq_c(value, "1");
    if (value.ptr == NULL || *out || str_eq_c(value, "0"))
        return true;
    fault_set(f, "%s: expected 0 or 1", name);
    return false;
}
