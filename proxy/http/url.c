/*
 * url.c - contract in consentd/url.h; the states of WHATWG URL 4.4, without a serialiser.
 *
 *   trim, drop tab/CR/LF -> scheme? -> authority | relative -> path, query (fragment dropped)
 */
#include "consentd/url.h"

#include <string.h>

#include "consentd/chars.h"
#include "url_priv.h"

static const struct {
    const char *name;
    enum url_scheme scheme;
    uint16_t port;
    bool special, network;
} schemes[] = {
    {"http", URL_SCHEME_HTTP, 80, true, true},
    {"https", URL_SCHEME_HTTPS, 443, true, true},
    {"ws", URL_SCHEME_WS, 80, true, true},
    {"wss", URL_SCHEME_WSS, 443, true, true},
    {"ftp", URL_SCHEME_FTP, 21, true, true},
    {"file", URL_SCHEME_FILE, 0, true, false},
    {"data", URL_SCHEME_DATA, 0, false, false},
    {"blob", URL_SCHEME_BLOB, 0, false, false},
    {"javascript", URL_SCHEME_JAVASCRIPT, 0, false, false},
    {"about", URL_SCHEME_ABOUT, 0, false, false},
};

static bool is_slash(char c)
{
    return c == '/' || c == '\\';
}

/* C0 controls and space at both ends; tab, CR and LF anywhere (4.4, first steps). */
static bool clean(struct str in, struct arena *a, struct str *out)
{
    char *text;
    size_t len = 0;

    while (in.len > 0 && (unsigned char)in.ptr[0] <= ' ')
        in = str_slice(in, 1, in.len);
    while (in.len > 0 && (unsigned char)in.ptr[in.len - 1] <= ' ')
        in.len--;
    text = arena_alloc(a, in.len + 1);
    if (text == NULL)
        return false;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];

        if (c != '\t' && c != '\n' && c != '\r')
            text[len++] = c;
    }
    text[len] = '\0';
    *out = str_make(text, len);
    return true;
}

/* Length of "scheme" before its ':', or 0. */
static size_t scheme_len(struct str in)
{
    if (in.len == 0 || !ascii_is_alpha(in.ptr[0]))
        return 0;
    for (size_t i = 1; i < in.len; i++) {
        char c = in.ptr[i];

        if (c == ':')
            return i;
        if (!ascii_is_alnum(c) && c != '+' && c != '-' && c != '.')
            return 0;
    }
    return 0;
}

static void scheme_set(struct url *out, size_t row)
{
    out->scheme = schemes[row].scheme;
    out->port = schemes[row].port;
    out->flags = schemes[row].network ? URL_NETWORK : 0;
}

static uint16_t default_port(enum url_scheme scheme)
{
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        if (schemes[i].scheme == scheme)
            return schemes[i].port;
    }
    return 0;
}

static bool is_special(enum url_scheme scheme)
{
    return scheme >= URL_SCHEME_HTTP && scheme <= URL_SCHEME_FILE;
}

/* No room: not certain that a browser would not fetch it. */
static bool arena_full(struct url *out)
{
    out->flags |= URL_SUSPECT;
    return false;
}

/* --- path and query --- */

size_t url_unescape(char *text, size_t len)
{
    size_t to = 0;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '%' && i + 2 < len && char_hex(text[i + 1]) >= 0 && char_hex(text[i + 2]) >= 0) {
            char plain = (char)(char_hex(text[i + 1]) * 16 + char_hex(text[i + 2]));

            if (char_is(plain, CHAR_UNRESERVED)) {
                text[to++] = plain;
                i += 2;
                continue;
            }
        }
        text[to++] = c;
    }
    return to;
}

/* Dot segments resolved in place; text starts with '/'. Escapes of '.' are gone already. */
static size_t dots_remove(char *text, size_t len)
{
    size_t to = 0;
    size_t from = 0;

    while (from < len) {
        size_t end = from + 1;
        size_t seg;

        while (end < len && text[end] != '/')
            end++;
        seg = end - from; /* with its leading slash */
        if (seg == 3 && memcmp(text + from, "/..", 3) == 0) {
            while (to > 0 && text[--to] != '/')
                ;
            if (end == len)
                text[to++] = '/';
        } else if (seg == 2 && text[from + 1] == '.') {
            if (end == len)
                text[to++] = '/';
        } else {
            memmove(text + to, text + from, seg);
            to += seg;
        }
        from = end;
    }
    return to;
}

/* rest: "path?query#fragment"; dir: what a relative path is put behind, ends in '/' or empty. */
static bool path_set(struct url *out, struct str dir, struct str rest, struct arena *a)
{
    size_t path_len = 0;
    size_t len;
    char *text = arena_alloc(a, dir.len + rest.len + 2);

    if (text == NULL)
        return arena_full(out);
    while (path_len < rest.len && rest.ptr[path_len] != '?' && rest.ptr[path_len] != '#')
        path_len++;
    if (dir.len > 0)
        memcpy(text, dir.ptr, dir.len);
    len = dir.len;
    if (len == 0 && (path_len == 0 || !is_slash(rest.ptr[0])))
        text[len++] = '/';
    memcpy(text + len, rest.ptr, path_len);
    len += path_len;
    for (size_t i = 0; i < len; i++)
        text[i] = text[i] == '\\' ? '/' : text[i];
    len = url_unescape(text, len);
    out->path = str_make(text, dots_remove(text, len));
    return true;
}

static bool query_set(struct url *out, struct str rest, struct arena *a)
{
    ptrdiff_t hash = str_find_char(rest, '#');
    ptrdiff_t mark;
    char *text;

    if (hash >= 0)
        rest = str_slice(rest, 0, (size_t)hash);
    mark = str_find_char(rest, '?');
    out->query = STR("");
    if (mark < 0)
        return true;
    rest = str_slice(rest, (size_t)mark + 1, rest.len);
    text = arena_copy(a, rest.ptr, rest.len);
    if (text == NULL)
        return arena_full(out);
    out->query = str_make(text, url_unescape(text, rest.len));
    return true;
}

/* --- authority --- */

static bool port_set(struct url *out, struct str digits)
{
    uint64_t port;

    if (digits.len == 0)
        return true;
    if (!str_to_u64(digits, 65535, &port))
        return false;
    out->port = (uint16_t)port;
    return true;
}

static bool host_set(struct url *out, struct str host, struct arena *a)
{
    if (out->scheme == URL_SCHEME_FILE && host.len == 0) {
        out->host = STR("");
        return true;
    }
    switch (url_host(host, a, &out->host)) {
    case HOST_FAIL:
        return false;
    case HOST_SUSPECT:
        out->flags |= URL_SUSPECT;
        break;
    case HOST_IP:
        out->flags |= URL_HOST_IP;
        break;
    case HOST_NAME:
        break;
    }
    return true;
}

/* rest begins behind the slashes: "user@host:port/path…". */
static bool authority_set(struct url *out, struct str rest, struct arena *a)
{
    size_t end = 0;
    struct str authority;
    ptrdiff_t at, colon, bracket;

    while (end < rest.len && !is_slash(rest.ptr[end]) && rest.ptr[end] != '?' &&
           rest.ptr[end] != '#')
        end++;
    authority = str_slice(rest, 0, end);
    at = str_find_last_char(authority, '@');
    if (at >= 0) {
        out->flags |= URL_USERINFO;
        authority = str_slice(authority, (size_t)at + 1, authority.len);
    }
    colon = str_find_last_char(authority, ':');
    bracket = str_find_last_char(authority, ']');
    if (colon > bracket) {
        if (!port_set(out, str_slice(authority, (size_t)colon + 1, authority.len)))
            return false;
        authority = str_slice(authority, 0, (size_t)colon);
    }
    rest = str_slice(rest, end, rest.len);
    return host_set(out, authority, a) && path_set(out, STR(""), rest, a) &&
           query_set(out, rest, a);
}

/* --- relative --- */

static bool relative_set(struct url *out, struct str rest, const struct url *base, struct arena *a)
{
    ptrdiff_t slash;
    struct str dir;

    out->scheme = base->scheme;
    out->port = base->port;
    out->flags = (base->flags & ~(unsigned)URL_USERINFO) | URL_RELATIVE;
    out->host = base->host;
    if (rest.len >= 2 && is_slash(rest.ptr[0]) && is_slash(rest.ptr[1])) {
        while (rest.len > 0 && is_slash(rest.ptr[0]))
            rest = str_slice(rest, 1, rest.len);
        out->port = default_port(out->scheme);
        out->flags &= URL_NETWORK;
        return authority_set(out, rest, a);
    }
    if (rest.len > 0 && is_slash(rest.ptr[0]))
        return path_set(out, STR(""), rest, a) && query_set(out, rest, a);
    if (rest.len == 0 || rest.ptr[0] == '#') {
        out->path = base->path;
        out->query = base->query;
        return true;
    }
    if (rest.ptr[0] == '?') {
        out->path = base->path;
        return query_set(out, rest, a);
    }
    slash = str_find_last_char(base->path, '/');
    dir = slash < 0 ? STR("/") : str_slice(base->path, 0, (size_t)slash + 1);
    return path_set(out, dir, rest, a) && query_set(out, rest, a);
}

static bool opaque_set(struct url *out, struct str rest, enum url_scheme scheme)
{
    out->scheme = scheme;
    out->path = rest;
    return true;
}

static bool absolute_set(struct url *out, struct str in, size_t len, const struct url *base,
                         struct arena *a)
{
    struct str name = str_slice(in, 0, len);
    struct str rest = str_slice(in, len + 1, in.len);

    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        if (!str_eq_fold_c(name, schemes[i].name))
            continue;
        if (!schemes[i].special)
            return opaque_set(out, rest, schemes[i].scheme);
        if (base != NULL && base->scheme == schemes[i].scheme &&
            !(rest.len >= 2 && is_slash(rest.ptr[0]) && is_slash(rest.ptr[1])))
            return relative_set(out, rest, base, a); /* "https:path" with an https base */
        scheme_set(out, i);
        while (rest.len > 0 && is_slash(rest.ptr[0]))
            rest = str_slice(rest, 1, rest.len);
        if (out->scheme == URL_SCHEME_FILE)
            return path_set(out, STR(""), rest, a);
        return authority_set(out, rest, a);
    }
    return opaque_set(out, rest, URL_SCHEME_OTHER);
}

bool url_parse(struct str in, const struct url *base, struct arena *a, struct url *out)
{
    struct str text;
    size_t len;
    bool ok;

    *out = (struct url){.host = STR_INIT(""), .path = STR_INIT(""), .query = STR_INIT("")};
    if (in.len > URL_MAX || !clean(in, a, &text)) {
        out->flags = URL_SUSPECT;
        return false;
    }
    len = scheme_len(text);
    if (len > 0)
        ok = absolute_set(out, text, len, base, a);
    else
        ok = base != NULL && is_special(base->scheme) && relative_set(out, text, base, a);
    if (!ok)
        *out = (struct url){.flags = out->flags & URL_SUSPECT,
                            .host = STR_INIT(""),
                            .path = STR_INIT(""),
                            .query = STR_INIT("")};
    return ok;
}

bool url_query_next(struct str *rest, struct str *name_out, struct str *value_out)
{
    struct str pair;

    while (str_cut(rest, '&', &pair)) {
        ptrdiff_t equals = str_find_char(pair, '=');

        if (pair.len == 0)
            continue;
        *name_out = equals < 0 ? pair : str_slice(pair, 0, (size_t)equals);
        *value_out = equals < 0 ? STR("") : str_slice(pair, (size_t)equals + 1, pair.len);
        return true;
    }
    return false;
}
