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

/* One bit per pair: it passes. Each pair is judged once; what is beyond the last bit is denied. */
struct kept {
    uint64_t bits[COOKIE_PAIRS_MAX / 64];
    size_t cnt;
};

static bool judge(struct kept *kept, cookie_keep_fn *keep, void *arg,
                  const struct cookie_pair *pair)
{
    size_t i = kept->cnt++;
    bool ok = i < COOKIE_PAIRS_MAX && pair->trust != COOKIE_DROP && keep(arg, pair);

    if (i >= COOKIE_PAIRS_MAX)
        return false;
    kept->bits[i / 64] |= (uint64_t)ok << i % 64;
    return ok;
}

static bool passes(const struct kept *kept, size_t i)
{
    return i < COOKIE_PAIRS_MAX && (kept->bits[i / 64] >> i % 64 & 1) != 0;
}

/* Appends the pairs of one field that pass; *at: the number of its first pair, then of the next. */
static size_t append_kept(struct str value, const struct kept *kept, size_t *at, char *out,
                          size_t len)
{
    struct cookie_pair pair;

    while (cookie_next(&value, &pair)) {
        if (!passes(kept, (*at)++))
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
    struct kept kept = {0};
    unsigned iter = 0;
    unsigned fields = 0;
    size_t room = 0; /* more than came in when ';' stood without a space */
    size_t denied = 0;
    size_t len = 0;
    size_t at = 0;
    struct header *field;
    struct cookie_pair pair;
    char *out;

    headers_remove(h, HDR_COOKIE2);
    kept.cnt = 0;
    for (; (field = headers_next(h, HDR_COOKIE, &iter)) != NULL; fields++) {
        for (struct str rest = field->value; cookie_next(&rest, &pair); room += pair.raw.len + 2)
            denied += !judge(&kept, keep, arg, &pair);
    }
    if (fields == 0 || (fields == 1 && denied == 0))
        return true;
    out = arena_alloc(a, room);
    for (iter = 0; out != NULL && (field = headers_next(h, HDR_COOKIE, &iter)) != NULL;)
        len = append_kept(field->value, &kept, &at, out, len);
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
