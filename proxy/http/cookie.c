/*
 * cookie.c - contract and the readers we distrust in consentd/cookie.h. The names that readers
 * could see are in cookie_names.c.
 */
#include "consentd/cookie.h"

#include <string.h>

#include "consentd/chars.h"

/* The WSP that RFC 6265bis trims, and nothing more. */
static struct str trim(struct str s)
{
    return str_trim(s);
}

static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if ((c < ' ' && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

/* At least as many as cookie_names_next() would give: every separator may begin one. */
static bool has_too_many_names(struct str raw)
{
    size_t cnt = 2;

    for (size_t i = 0; i < raw.len; i++)
        cnt += raw.ptr[i] == ',' || raw.ptr[i] == ' ' || raw.ptr[i] == '\t';
    return cnt > COOKIE_ALIAS_MAX;
}

static enum cookie_trust trust_of(const struct cookie_pair *pair, bool nameless)
{
    if (pair->name.len > COOKIE_NAME_MAX || has_control(pair->raw) || has_too_many_names(pair->raw))
        return COOKIE_DROP;
    if (pair->name.len > 0 && pair->name.ptr[0] == '$')
        return COOKIE_DROP; /* RFC 2965 */
    if (nameless || !chars_all(pair->name, CHAR_COOKIE | CHAR_UNRESERVED) ||
        chars_span(pair->name, CHAR_TOKEN) != pair->name.len ||
        memchr(pair->name.ptr, '.', pair->name.len) != NULL ||
        chars_span(pair->value, CHAR_COOKIE | CHAR_UNRESERVED | CHAR_HOST) != pair->value.len ||
        memchr(pair->value.ptr, ',', pair->value.len) != NULL)
        return COOKIE_ODD;
    return COOKIE_PLAIN;
}

static void pair_split(struct str raw, struct cookie_pair *out)
{
    ptrdiff_t equals = str_find_char(raw, '=');

    out->raw = raw;
    if (equals < 0) { /* 6265bis 5.6: a name-value without '=' is a value without a name */
        out->name = str_slice(raw, 0, 0);
        out->value = raw;
    } else {
        out->name = trim(str_slice(raw, 0, (size_t)equals));
        out->value = trim(str_slice(raw, (size_t)equals + 1, raw.len));
    }
    out->trust = trust_of(out, out->name.len == 0);
}

bool cookie_next(struct str *rest, struct cookie_pair *out)
{
    struct str raw;

    while (str_cut(rest, ';', &raw)) {
        raw = trim(raw);
        if (raw.len == 0)
            continue;
        pair_split(raw, out);
        return true;
    }
    return false;
}

static bool keeps(cookie_keep_fn *keep, void *arg, const struct cookie_pair *pair)
{
    return pair->trust != COOKIE_DROP && keep(arg, pair);
}

/* How many pairs must not pass. *room_io grows by what all pairs could take, joined by "; ". */
static size_t count_denied(struct str value, cookie_keep_fn *keep, void *arg, size_t *room_io)
{
    struct cookie_pair pair;
    size_t denied = 0;

    while (cookie_next(&value, &pair)) {
        denied += !keeps(keep, arg, &pair);
        *room_io += pair.raw.len + 2;
    }
    return denied;
}

static size_t append_kept(struct str value, cookie_keep_fn *keep, void *arg, char *out, size_t len)
{
    struct cookie_pair pair;

    while (cookie_next(&value, &pair)) {
        if (!keeps(keep, arg, &pair))
            continue;
        if (len > 0) {
            memcpy(out + len, "; ", 2);
            len += 2;
        }
        memcpy(out + len, pair.raw.ptr, pair.raw.len);
        len += pair.raw.len;
    }
    return len;
}

bool cookie_filter(struct headers *h, struct arena *a, cookie_keep_fn *keep, void *arg)
{
    unsigned iter = 0;
    unsigned fields = 0;
    size_t room = 0; /* more than came in when ';' stood without a space */
    size_t denied = 0;
    size_t len = 0;
    struct header *field;
    char *out;

    headers_remove(h, HDR_COOKIE2);
    while ((field = headers_next(h, HDR_COOKIE, &iter)) != NULL) {
        fields++;
        denied += count_denied(field->value, keep, arg, &room);
    }
    if (fields == 0 || (fields == 1 && denied == 0))
        return true;
    out = arena_alloc(a, room);
    for (iter = 0; out != NULL && (field = headers_next(h, HDR_COOKIE, &iter)) != NULL;)
        len = append_kept(field->value, keep, arg, out, len);
    if (len == 0) {
        headers_remove(h, HDR_COOKIE);
        return out != NULL;
    }
    return headers_set(h, a, HDR_COOKIE, str_make(out, len));
}

bool set_cookie_name(struct str field, struct cookie_pair *out)
{
    ptrdiff_t end = str_find_char(field, ';');
    struct str raw = trim(end < 0 ? field : str_slice(field, 0, (size_t)end));

    if (raw.len == 0)
        return false;
    pair_split(raw, out);
    return out->name.len > 0 || out->value.len > 0;
}

bool set_cookie_attr_next(struct str *rest, struct str *name_out, struct str *value_out)
{
    ptrdiff_t start = str_find_char(*rest, ';');
    ptrdiff_t end, equals;
    struct str attr;

    if (start < 0)
        return false;
    *rest = str_slice(*rest, (size_t)start + 1, rest->len);
    end = str_find_char(*rest, ';');
    attr = trim(end < 0 ? *rest : str_slice(*rest, 0, (size_t)end));
    equals = str_find_char(attr, '=');
    *name_out = equals < 0 ? attr : trim(str_slice(attr, 0, (size_t)equals));
    *value_out = equals < 0 ? STR("") : trim(str_slice(attr, (size_t)equals + 1, attr.len));
    return true;
}
