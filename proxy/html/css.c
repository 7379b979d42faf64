/*
 * css.c - contract in consentd/css.h; sections are of CSS Syntax 3.
 *
 * Tokens do not depend on what is around them, so finding each one's end is enough: a string
 * that is read as anything else, or the reverse, would hide every URL behind it.
 */
#include "consentd/css.h"

#include <string.h>

#include "scan_priv.h"

#define CSS_IDENT_MAX 20 /* longer than any name that matters; more is cut */

/* css_scan.inside */
enum inside {
    IN_NOTHING = 0,
    IN_COMMENT,
    IN_STRING,       /* "…" */
    IN_QUOTE_STRING, /* '…' */
    IN_URL,          /* url(… without quotes */
    IN_NAME,
};

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

/* NUL is U+FFFD once read (3.3), and so a part of names. */
static bool is_name(int c)
{
    return c >= 0x80 || c == '-' || c == '_' || (unsigned)((c | 0x20) - 'a') < 26 ||
           (unsigned)(c - '0') < 10 || c == 0;
}

static bool starts_pair(const struct css_scan *s)
{
    int c = peek(s, 0);

    if (s->pairs == CSS_PAIRS_NONE || c < 0x81 || peek(s, 1) < 0x40)
        return false;
    return s->pairs == CSS_PAIRS_GB || c < 0xa0 || c > 0xdf;
}

/* One byte, or the two of a pair, as they are. */
static bool take_plain(struct css_scan *s, struct buf *out)
{
    size_t len = starts_pair(s) ? 2 : 1;
    bool ok = out == NULL || buf_append_str(out, str_slice(s->text, s->pos, len));

    s->pos += len;
    return ok;
}

static bool append_point(struct buf *out, unsigned cp)
{
    if (cp == 0 || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        cp = '?';
    if (cp < 0x80)
        return buf_append_char(out, (char)cp);
    if (cp < 0x800)
        return buf_append_char(out, (char)(0xc0 | cp >> 6)) &&
               buf_append_char(out, (char)(0x80 | (cp & 0x3f)));
    if (cp < 0x10000)
        return buf_append_char(out, (char)(0xe0 | cp >> 12)) &&
               buf_append_char(out, (char)(0x80 | (cp >> 6 & 0x3f))) &&
               buf_append_char(out, (char)(0x80 | (cp & 0x3f)));
    return buf_append_char(out, (char)(0xf0 | cp >> 18)) &&
           buf_append_char(out, (char)(0x80 | (cp >> 12 & 0x3f))) &&
           buf_append_char(out, (char)(0x80 | (cp >> 6 & 0x3f))) &&
           buf_append_char(out, (char)(0x80 | (cp & 0x3f)));
}

/* 4.3.7, at the backslash. What is escaped is appended to out, if there is one. */
static bool take_escape(struct css_scan *s, struct buf *out)
{
    unsigned cp = 0;
    int digits = 0;

    s->pos++;
    while (digits < 6 && hex_of(peek(s, 0)) >= 0) {
        cp = cp * 16 + (unsigned)hex_of(peek(s, 0));
        s->pos++;
        digits++;
    }
    if (digits == 0) {
        if (s->pos < s->text.len)
            return take_plain(s, out);
        return out == NULL || buf_append_char(out, '?');
    }
    if (peek(s, 0) == '\r' && peek(s, 1) == '\n')
        s->pos++;
    if (is_space(peek(s, 0)))
        s->pos++;
    return out == NULL || append_point(out, cp);
}

static bool starts_escape(const struct css_scan *s)
{
    return peek(s, 0) == '\\' && peek(s, 1) != '\n' && peek(s, 1) != '\f' && peek(s, 1) != '\r';
}

static void take_ident(struct css_scan *s, char name[CSS_IDENT_MAX + 1])
{
    struct buf escaped;
    size_t len = 0;

    buf_init(&escaped, CSS_IDENT_MAX);
    for (;;) {
        char c = '?';

        if (starts_escape(s)) {
            bool ok = take_escape(s, &escaped);

            c = ok && escaped.len == 1 ? (char)escaped.data[0] : '?';
            buf_clear(&escaped);
        } else if (is_name(peek(s, 0))) {
            c = s->text.ptr[s->pos];
            if (!take_plain(s, NULL))
                break;
        } else {
            break;
        }
        if (len < CSS_IDENT_MAX)
            name[len++] = ascii_lower(c);
    }
    name[len] = '\0';
    buf_free(&escaped);
}

/* The same, and nobody wants to know which. */
static void pass_name(struct css_scan *s)
{
    char name[CSS_IDENT_MAX + 1];

    take_ident(s, name);
}

/* All up to the next byte of `stops`, which holds "\\"; what is too much fills out and is false. */
static bool take_run(struct css_scan *s, const char *stops, struct buf *out)
{
    size_t end = scan_any((const uint8_t *)s->text.ptr, s->pos, s->text.len, stops, strlen(stops));
    struct str run = str_slice(s->text, s->pos, end - s->pos);
    bool fits = out == NULL || run.len <= out->max - out->len;

    if (out != NULL && !buf_append_str(out, fits ? run : str_slice(run, 0, out->max - out->len)))
        return false;
    s->pos = end;
    return fits;
}

/* 4.3.5, a piece of a string: plain text, an escape or an escaped line break. */
static bool take_piece(struct css_scan *s, struct buf *out)
{
    if (peek(s, 0) != '\\')
        return s->pairs != CSS_PAIRS_NONE ? take_plain(s, out) : take_run(s, "\\\"'\n\r\f", out);
    if (starts_escape(s))
        return take_escape(s, out);
    s->pos += peek(s, 1) == '\r' && peek(s, 2) == '\n' ? 3 : 2;
    if (s->pos > s->text.len)
        s->pos = s->text.len;
    return true;
}

/* At what ends a string: its quote, or a bare line break that makes it a bad one. */
static bool at_string_end(const struct css_scan *s, int quote)
{
    int c = peek(s, 0);

    return c == quote || c == '\n' || c == '\r' || c == '\f';
}

/* Behind the quote; takes the closing one. */
static bool take_string(struct css_scan *s, int quote, struct buf *out)
{
    int other = quote == '"' ? '\'' : '"';
    bool ok = true;

    while (s->pos < s->text.len && !at_string_end(s, quote) && ok)
        ok = peek(s, 0) == other ? take_plain(s, out) : take_piece(s, out);
    if (peek(s, 0) == quote && ok)
        s->pos++;
    return ok;
}

/* 4.3.6, behind "url(" and white space, a piece of it. */
static bool take_url_piece(struct css_scan *s, struct buf *out)
{
    if (starts_escape(s))
        return take_escape(s, out);
    if (s->pairs != CSS_PAIRS_NONE || peek(s, 0) == '\\')
        return take_plain(s, out);
    return take_run(s, ")\\", out);
}

/* Up to the ")"; a bad URL has the same end (4.3.14). */
static bool take_bare_url(struct css_scan *s, struct buf *out)
{
    bool ok = true;

    while (s->pos < s->text.len && peek(s, 0) != ')' && ok)
        ok = take_url_piece(s, out);
    return ok;
}

static int quote_of(enum inside inside)
{
    return inside == IN_STRING ? '"' : '\'';
}

static bool at_end_of(const struct css_scan *s)
{
    switch ((enum inside)s->inside) {
    case IN_COMMENT:
        return peek(s, 0) == '*' && peek(s, 1) == '/';
    case IN_STRING:
    case IN_QUOTE_STRING:
        return at_string_end(s, quote_of(s->inside));
    case IN_URL:
        return peek(s, 0) == ')';
    case IN_NAME:
        return !starts_escape(s) && !is_name(peek(s, 0));
    case IN_NOTHING:
        break;
    }
    return true;
}

/* Some of the long token. */
static void pass_piece(struct css_scan *s)
{
    switch ((enum inside)s->inside) {
    case IN_COMMENT:
        s->pos = scan_to((const uint8_t *)s->text.ptr, s->pos + 1, s->text.len, '*');
        break;
    case IN_STRING:
    case IN_QUOTE_STRING:
        (void)(strchr("\"'", peek(s, 0)) != NULL ? take_plain(s, NULL) : take_piece(s, NULL));
        break;
    case IN_URL:
        (void)take_url_piece(s, NULL);
        break;
    case IN_NAME:
        (void)(starts_escape(s) ? take_escape(s, NULL) : take_plain(s, NULL));
        break;
    case IN_NOTHING:
        break;
    }
}

/* The piece that began with c ends where the text ends: more of it may follow. */
static bool piece_may_grow(const struct css_scan *s, int c)
{
    if (!s->more || s->pos < s->text.len)
        return false;
    return c == '\\' || (s->inside == IN_COMMENT && c == '*') ||
           (s->pairs != CSS_PAIRS_NONE && c >= 0x80);
}

bool css_finish(struct css_scan *s)
{
    while (s->inside != IN_NOTHING) {
        size_t at = s->pos;
        int c = peek(s, 0);

        if (c < 0)
            return false;
        if (at_end_of(s)) {
            s->pos += s->inside == IN_COMMENT ? 2 : 0;
            if (s->inside == IN_STRING || s->inside == IN_QUOTE_STRING)
                s->pos += c == quote_of(s->inside);
            s->inside = IN_NOTHING;
            break;
        }
        pass_piece(s);
        if (piece_may_grow(s, c)) {
            s->pos = at;
            return false;
        }
    }
    return true;
}

void css_pass(struct css_scan *s, const struct css_url *url)
{
    int c;

    s->pos = url->start;
    c = peek(s, 0);
    s->import = s->open = false;
    s->inside = c == '"' ? IN_STRING : c == '\'' ? IN_QUOTE_STRING : IN_URL;
    s->pos += s->inside != IN_URL;
}

/* A name, and what it makes of a parenthesis behind it. */
static void on_name(struct css_scan *s)
{
    static const char *const functions[] = {"src", "image", "image-set", "-webkit-image-set"};
    char name[CSS_IDENT_MAX + 1];

    take_ident(s, name);
    if (peek(s, 0) != '(')
        return;
    if (strcmp(name, "url") == 0) {
        s->open = true;
        s->pos++;
        s->depth += s->depth > 0;
        return;
    }
    for (size_t i = 0; i < COUNT_OF(functions) && s->depth == 0; i++) {
        if (strcmp(name, functions[i]) == 0) {
            s->depth = 1;
            s->pos++;
        }
    }
}

/*
 * Outside @import and the functions that take strings only these begin something: the rest,
 * nearly all of a style sheet, is passed over, but for the name in front of a parenthesis
 * or an escape, or at the end of the text, with the "#" that makes it a hash.
 */
static void skip_plain(struct css_scan *s)
{
    const uint8_t *p = (const uint8_t *)s->text.ptr;
    size_t i;

    if (s->import || s->open || s->depth > 0 || s->pairs != CSS_PAIRS_NONE)
        return;
    i = scan_any(p, s->pos, s->text.len, "(\\\"'@/<", 7);
    while (i > s->pos && is_name(p[i - 1]) &&
           (i == s->text.len || p[i] == '(' || p[i] == '\\' || is_name(p[i])))
        i--;
    if (i > s->pos && p[i - 1] == '#')
        i--;
    s->pos = i;
}

/* One byte that is neither name, string nor comment. */
static void on_other(struct css_scan *s, int c)
{
    char name[CSS_IDENT_MAX + 1];

    struct str left = str_slice(s->text, s->pos, s->text.len);

    if (c == '<' && (str_starts(left, STR("<!--")) || str_starts(STR("<!--"), left))) {
        s->pos += left.len < 4 ? left.len : 4; /* 4.3.1: its hyphens begin no name */
        return;
    }
    s->pos++;
    if (c == '@') {
        take_ident(s, name);
        s->import = strcmp(name, "import") == 0;
    } else if (c == '#') {
        pass_name(s); /* #url( is a colour */
    } else if (c == ';' || c == '{' || c == '}') {
        s->import = false;
        s->depth = 0;
    } else if (s->depth > 0 && c == '(') {
        s->depth++;
    } else if (s->depth > 0 && c == ')') {
        s->depth--;
    }
}

/* The token that begins here, at the end of a text that goes on, may still become another. */
static bool may_grow(const struct css_scan *s)
{
    int c = peek(s, 0);

    return s->open || is_name(c) || strchr("\\/@#<\"'", c) != NULL;
}

/*
 * The token from pos on has no end yet. What may still be a URL stays, and names that may still
 * matter; of what is only long the beginning is remembered.
 */
static void leave(struct css_scan *s, bool url)
{
    struct str token = str_slice(s->text, s->pos, s->text.len);
    char c = token.ptr[0];

    if (url)
        return;
    if (c == '"' || c == '\'') {
        s->inside = c == '"' ? IN_STRING : IN_QUOTE_STRING;
        s->pos++;
    } else if (token.len > CSS_NAME_STAYS) {
        s->inside = IN_NAME;
        s->pos += c == '@' || c == '#';
        s->import = s->import && c != '@';
    }
    (void)css_finish(s);
}

/* The token at pos; true when it is a URL, now in url_out unless that is full. */
static bool take_token(struct css_scan *s, struct buf *url_out, bool *ok)
{
    int c = peek(s, 0);
    bool open = s->open;

    s->open = false;
    if (c == '"' || c == '\'') {
        bool url = s->import || open || s->depth > 0;

        s->pos++;
        *ok = take_string(s, c, url ? url_out : NULL);
        return url;
    }
    if (open) {
        *ok = take_bare_url(s, url_out);
        return true;
    }
    if (is_name(c) || starts_escape(s)) {
        on_name(s);
    } else if (c == '/' && peek(s, 1) == '*') {
        s->inside = IN_COMMENT;
        s->pos += 2;
        (void)css_finish(s);
    } else {
        on_other(s, c);
    }
    return false;
}

bool css_next(struct css_scan *s, struct css_url *out, struct buf *url_out, bool *full_out)
{
    bool ok = true;

    *full_out = false;
    if (!css_finish(s))
        return false;
    for (;;) {
        struct css_scan before;
        bool found;

        while (s->open && is_space(peek(s, 0)))
            s->pos++;
        skip_plain(s);
        if (s->pos >= s->text.len)
            return false;
        before = *s;
        buf_clear(url_out);
        *out = (struct css_url){.start = s->pos,
                                .import = s->import,
                                .open = s->open,
                                .quoted = peek(s, 0) == '"' || peek(s, 0) == '\''};
        found = take_token(s, url_out, &ok);
        out->end = s->pos;
        if (s->inside != IN_NOTHING)
            return false; /* a comment without an end so far */
        if (!ok || (s->more && s->pos >= s->text.len && may_grow(&before))) {
            *s = before;
            *full_out = !ok;
            if (ok)
                leave(s, found);
            return false;
        }
        if (found) {
            s->import = false;
            return true;
        }
    }
}

const char *css_nothing(const struct css_url *url)
{
    return !url->open ? "url()" : url->quoted ? "\"\"" : "";
}

enum css_pairs css_pairs_of(struct str label)
{
    static const struct {
        const char *name;
        enum css_pairs pairs;
    } families[] = {
        {"shift", CSS_PAIRS_SJIS},       {"csshift", CSS_PAIRS_SJIS},  {"sjis", CSS_PAIRS_SJIS},
        {"x-sjis", CSS_PAIRS_SJIS},      {"ms_kanji", CSS_PAIRS_SJIS}, {"ms932", CSS_PAIRS_SJIS},
        {"windows-31j", CSS_PAIRS_SJIS}, {"gb", CSS_PAIRS_GB},         {"x-gbk", CSS_PAIRS_GB},
        {"csgb", CSS_PAIRS_GB},          {"chinese", CSS_PAIRS_GB},    {"csiso58gb", CSS_PAIRS_GB},
        {"iso-ir-58", CSS_PAIRS_GB},     {"big5", CSS_PAIRS_GB},       {"cn-big5", CSS_PAIRS_GB},
        {"csbig5", CSS_PAIRS_GB},        {"x-x-big5", CSS_PAIRS_GB},
    };

    label = str_trim(label);
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        if (str_starts_fold(label, str_c(families[i].name)))
            return families[i].pairs;
    }
    return CSS_PAIRS_NONE;
}
