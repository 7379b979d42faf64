/*
 * css.c - contract in consentd/css.h; sections are of CSS Syntax 3.
 */
#include "consentd/css.h"

#include <string.h>

#include "scan_priv.h"

#define CSS_IDENT_MAX 20 /* longer than any name that matters; more is cut */

static int peek(const struct css_scan *s, size_t ahead)
{
    return s->pos + ahead < s->text.len ? (unsigned char)s->text.ptr[s->pos + ahead] : -1;
}

static bool is_space(int c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static int hex_of(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_name(int c)
{
    return c >= 0x80 || c == '-' || c == '_' || (unsigned)((c | 0x20) - 'a') < 26 ||
           (unsigned)(c - '0') < 10;
}

/* 4.3.7, at the backslash: the code point; URLs that matter are ASCII, others become "?". */
static char take_escape(struct css_scan *s)
{
    unsigned cp = 0;
    int digits = 0;

    s->pos++;
    while (digits < 6 && hex_of(peek(s, 0)) >= 0) {
        cp = cp * 16 + (unsigned)hex_of(peek(s, 0));
        s->pos++;
        digits++;
    }
    if (digits == 0)
        return s->pos < s->text.len ? s->text.ptr[s->pos++] : '?';
    if (peek(s, 0) == '\r' && peek(s, 1) == '\n')
        s->pos++;
    if (is_space(peek(s, 0)))
        s->pos++;
    return cp > 0 && cp < 0x80 ? (char)cp : '?';
}

static bool starts_escape(const struct css_scan *s)
{
    return peek(s, 0) == '\\' && peek(s, 1) != '\n' && peek(s, 1) != '\f' && peek(s, 1) != '\r';
}

static void take_ident(struct css_scan *s, char name[CSS_IDENT_MAX + 1])
{
    size_t len = 0;

    for (;;) {
        char c;

        if (starts_escape(s))
            c = take_escape(s);
        else if (is_name(peek(s, 0)))
            c = s->text.ptr[s->pos++];
        else
            break;
        if (len < CSS_IDENT_MAX)
            name[len++] = ascii_lower(c);
    }
    name[len] = '\0';
}

/* 4.3.5: contents without quotes; a bare line break ends it as a bad string. */
static bool take_string(struct css_scan *s, struct buf *out)
{
    int quote = peek(s, 0);
    bool ok = true;

    s->pos++;
    while (s->pos < s->text.len && peek(s, 0) != quote && ok) {
        int c = peek(s, 0);

        if (c == '\n' || c == '\r' || c == '\f')
            return true;
        if (c == '\\' && !starts_escape(s)) {
            s->pos += peek(s, 1) == '\r' && peek(s, 2) == '\n' ? 3 : 2;
            continue;
        }
        if (c == '\\')
            ok = buf_append_char(out, take_escape(s));
        else
            ok = buf_append_char(out, s->text.ptr[s->pos++]);
    }
    if (s->pos < s->text.len && ok)
        s->pos++;
    if (s->pos > s->text.len)
        s->pos = s->text.len;
    return ok;
}

/* 4.3.6, behind "url(" and white space; takes the ")". */
static bool take_bare_url(struct css_scan *s, struct buf *out)
{
    bool ok = true;

    while (s->pos < s->text.len && peek(s, 0) != ')' && ok) {
        if (starts_escape(s))
            ok = buf_append_char(out, take_escape(s));
        else
            ok = buf_append_char(out, s->text.ptr[s->pos++]);
    }
    if (s->pos < s->text.len && ok)
        s->pos++;
    return ok;
}

static bool take_url(struct css_scan *s, struct buf *out)
{
    s->pos++; /* "(" */
    while (is_space(peek(s, 0)))
        s->pos++;
    if (peek(s, 0) != '"' && peek(s, 0) != '\'')
        return take_bare_url(s, out);
    if (!take_string(s, out))
        return false;
    while (s->pos < s->text.len && peek(s, 0) != ')')
        s->pos++; /* url modifiers, or what follows a bad string */
    if (s->pos < s->text.len)
        s->pos++;
    return true;
}

static bool is_comment(struct css_scan *s)
{
    ptrdiff_t end;

    if (peek(s, 0) != '/' || peek(s, 1) != '*')
        return false;
    end = str_find(str_slice(s->text, s->pos + 2, s->text.len), STR("*/"));
    s->pos = end < 0 ? s->text.len : s->pos + 4 + (size_t)end;
    return true;
}

/* A name: true when it was url(…), now in out. */
static bool on_ident(struct css_scan *s, struct buf *out, bool *ok)
{
    static const char *const functions[] = {"src", "image", "image-set", "-webkit-image-set"};
    char name[CSS_IDENT_MAX + 1];

    take_ident(s, name);
    if (peek(s, 0) != '(')
        return false;
    if (strcmp(name, "url") == 0) {
        *ok = take_url(s, out);
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(functions) && s->depth == 0; i++) {
        if (strcmp(name, functions[i]) == 0) {
            s->depth = 1;
            s->pos++;
        }
    }
    return false;
}

/*
 * Outside @import and the functions that take strings only these begin something: the rest,
 * nearly all of a style sheet, is passed over, but for the name in front of a parenthesis
 * or an escape.
 */
static void skip_plain(struct css_scan *s)
{
    const uint8_t *p = (const uint8_t *)s->text.ptr;
    size_t i;

    if (s->import || s->depth > 0)
        return;
    i = scan_any(p, s->pos, s->text.len, "(\\\"'@/", 6);
    while (i < s->text.len && (p[i] == '(' || p[i] == '\\') && i > s->pos && is_name(p[i - 1])) {
        do
            i--;
        while (i > s->pos && is_name(p[i - 1]));
    }
    s->pos = i;
}

/* One byte that is neither name, string nor comment. */
static void on_other(struct css_scan *s, int c)
{
    char name[CSS_IDENT_MAX + 1];

    s->pos++;
    if (c == '@') {
        take_ident(s, name);
        s->import = strcmp(name, "import") == 0;
    } else if (c == ';' || c == '{' || c == '}') {
        s->import = false;
        s->depth = 0;
    } else if (s->depth > 0 && c == '(') {
        s->depth++;
    } else if (s->depth > 0 && c == ')') {
        s->depth--;
    }
}

bool css_next(struct css_scan *s, struct css_url *out, struct buf *url_out, bool *full_out)
{
    bool ok = true;

    *full_out = false;
    while (s->pos < s->text.len && ok) {
        bool found = false;
        int c;

        skip_plain(s);
        c = peek(s, 0);
        if (c < 0)
            break;
        buf_clear(url_out);
        *out = (struct css_url){.start = s->pos, .import = s->import};
        if (c == '"' || c == '\'') {
            ok = take_string(s, url_out);
            found = s->import || s->depth > 0;
        } else if (is_name(c) || starts_escape(s)) {
            found = on_ident(s, url_out, &ok);
        } else if (!is_comment(s)) {
            on_other(s, c);
        }
        out->end = s->pos;
        if (found && ok) {
            s->import = false;
            return true;
        }
    }
    *full_out = !ok;
    return false;
}
