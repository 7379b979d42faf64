/*
 * imports.c - contract in consentd/imports.h.
 *
 * The text is searched for the letters of "import" and "from"; from such a word on it is matched
 * until it is an import of a literal, is none, or has no end yet and stays for the next push.
 */
#include "consentd/imports.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/mem.h"
#include "scan_priv.h"

struct imports {
    struct html_ops ops;
    void *owner;
    struct str instead;
    struct buf held; /* from an unfinished word on */
    struct buf url;  /* the literal's text */
    bool after_name; /* the byte before what is held belongs to a name */
    uint64_t removed;
};

enum match {
    MATCH_NONE = 0, /* no import here */
    MATCH_MORE,     /* may become one */
    MATCH_FOUND,
};

struct imports *imports_new(const struct html_ops *ops, struct str instead, void *owner)
{
    struct imports *imports = mem_new(struct imports);

    imports->ops = *ops;
    imports->instead = instead;
    imports->owner = owner;
    buf_init(&imports->held, 1u << 20);
    buf_init(&imports->url, IMPORTS_HELD_MAX);
    return imports;
}

/* A part of a name, or the dot of a member: what follows is then no keyword. */
static bool is_part(char c)
{
    return ascii_is_alnum(c) || c == '_' || c == '$' || c == '.' || (unsigned char)c >= 0x80;
}

/* Behind white space and comments; t.len: the text ends inside them. */
static size_t skip_gap(struct str t, size_t at)
{
    const uint8_t *p = (const uint8_t *)t.ptr;

    while (at < t.len) {
        bool block;

        if (ascii_is_space(t.ptr[at])) {
            at++;
            continue;
        }
        if (t.ptr[at] != '/')
            break;
        if (at + 1 == t.len)
            return t.len;
        block = t.ptr[at + 1] == '*';
        if (!block && t.ptr[at + 1] != '/')
            break;
        at = block ? scan_pair(p, at + 2, t.len, '*', '/') : scan_to(p, at, t.len, '\n');
        if (at < t.len)
            at += block ? 2 : 1;
    }
    return at;
}

static int hex_of(char c)
{
    if (ascii_is_digit(c))
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Bytes of an escape by the one behind the backslash. */
static size_t escape_len(char kind)
{
    return kind == 'x' ? 4 : kind == 'u' ? 6 : 2;
}

/* \xHH and \uHHHH of ASCII, and \c for any other c; *at is at the backslash. */
static char unescape(struct str t, size_t *at)
{
    char kind = t.ptr[*at + 1];
    size_t digits = escape_len(kind) - 2;
    int value = 0;

    for (size_t i = 0; i < digits; i++) {
        int hex = *at + 2 + i < t.len ? hex_of(t.ptr[*at + 2 + i]) : -1;

        if (hex < 0)
            digits = 0;
        value = value * 16 + hex;
    }
    *at += 2 + digits;
    return digits == 0 ? kind : value > 0 && value < 0x80 ? (char)value : '?';
}

/* The literal at `at`: its text into url; *end_out behind its closing quote. */
static enum match take_literal(struct str t, size_t at, struct buf *url, size_t *end_out)
{
    char quote = t.ptr[at++];

    buf_clear(url);
    while (at < t.len) {
        char c = t.ptr[at];

        if (c == quote) {
            *end_out = at + 1;
            return MATCH_FOUND;
        }
        if (c == '\n' || (quote == '`' && c == '$'))
            return MATCH_NONE;
        if (c == '\\') {
            if (at + 1 >= t.len || at + escape_len(t.ptr[at + 1]) > t.len)
                return MATCH_MORE;
            c = unescape(t, &at);
        } else {
            at++;
        }
        if (!buf_append_char(url, c))
            return MATCH_NONE;
    }
    return MATCH_MORE;
}

/* What begins at t with one of the words; the literal is [*from_out, *end_out). */
static enum match match_import(struct imports *imports, struct str t, size_t *from_out,
                               size_t *end_out)
{
    static const char *const words[] = {"import", "from"};

    for (size_t i = 0; i < COUNT_OF(words); i++) {
        struct str word = str_c(words[i]);
        struct str near = str_slice(t, 0, word.len + IMPORTS_GAP_MAX);
        size_t at;

        if (t.len < word.len && str_starts(word, t))
            return MATCH_MORE;
        if (!str_starts(t, word))
            continue;
        at = skip_gap(near, word.len);
        if (i == 0 && at < near.len && t.ptr[at] == '(')
            at = skip_gap(near, at + 1);
        if (at == near.len)
            return near.len == t.len ? MATCH_MORE : MATCH_NONE;
        if (strchr("\"'`", t.ptr[at]) == NULL || t.ptr[at] == '\0')
            return MATCH_NONE;
        *from_out = at;
        return take_literal(t, at, &imports->url, end_out);
    }
    return MATCH_NONE;
}

static bool hand_on(struct imports *imports, struct str bytes)
{
    return bytes.len == 0 ||
           imports->ops.on_output(imports->owner, (const uint8_t *)bytes.ptr, bytes.len);
}

/* In the quotes that were there: it may be a part of another literal. */
static bool replace(struct imports *imports, struct str quote)
{
    imports->removed++;
    return hand_on(imports, quote) && hand_on(imports, imports->instead) && hand_on(imports, quote);
}

/* Hands on what is decided; *done_out: up to there. all: nothing follows. */
static bool scan(struct imports *imports, struct str t, bool all, size_t *done_out)
{
    const uint8_t *p = (const uint8_t *)t.ptr;
    size_t done = 0;
    size_t at = 0;

    while ((at = scan_any(p, at, t.len, "if", 2)) < t.len) {
        struct html_ref ref = {.element = "script", .attr = "", .use = HTML_USE_SCRIPT};
        struct html_note note = {0};
        bool in_name = at > 0 ? is_part(t.ptr[at - 1]) : imports->after_name;
        struct str rest = str_slice(t, at, t.len);
        size_t from = 0, end = 0;
        enum match match = in_name ? MATCH_NONE : match_import(imports, rest, &from, &end);

        if (match == MATCH_MORE && !all && rest.len < IMPORTS_HELD_MAX)
            break;
        if (match == MATCH_FOUND && end <= IMPORTS_HELD_MAX) {
            ref.value = buf_str(&imports->url);
            if (imports->ops.on_ref(imports->owner, &ref, &note) == HTML_DROP) {
                if (!hand_on(imports, str_slice(t, done, at + from - done)) ||
                    !replace(imports, str_slice(t, at + from, 1)))
                    return false;
                at = done = at + end;
                continue;
            }
        }
        at++; /* also inside what was kept: it may have been no import at all */
    }
    *done_out = at > done ? at : done;
    if (*done_out > 0)
        imports->after_name = is_part(t.ptr[*done_out - 1]);
    return hand_on(imports, str_slice(t, done, *done_out - done));
}

static bool push(struct imports *imports, struct str in, bool all)
{
    struct str window = in;
    size_t done;

    if (imports->held.len > 0) {
        if (!buf_append_str(&imports->held, in))
            return false;
        window = buf_str(&imports->held);
    }
    if (!scan(imports, window, all, &done))
        return false;
    if (imports->held.len > 0) {
        buf_consume(&imports->held, done);
        return true;
    }
    return buf_append_str(&imports->held, str_slice(window, done, window.len));
}

bool imports_push(struct imports *imports, struct str in)
{
    return push(imports, in, false);
}

bool imports_end(struct imports *imports)
{
    return push(imports, STR(""), true);
}

uint64_t imports_removed(const struct imports *imports)
{
    return imports->removed;
}

void imports_free(struct imports *imports)
{
    if (imports == NULL)
        return;
    buf_free(&imports->held);
    buf_free(&imports->url);
    free(imports);
}
