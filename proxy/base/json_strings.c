/*
 * json_strings.c - contract in consentd/json_strings.h.
 */
#include "consentd/json_strings.h"

#include <stdint.h>
#include <string.h>

#define REPLACEMENT 0xFFFDu

/* Offset of the closing quote of the string whose first byte is at i, or -1. */
static ptrdiff_t find_end(struct str text, size_t i)
{
    for (; i < text.len && text.ptr[i] != '"'; i++) {
        if (text.ptr[i] == '\\')
            i++;
    }
    return i < text.len ? (ptrdiff_t)i : -1;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits of \uXXXX at raw[i]; UINT32_MAX when they are not there. */
static uint32_t read_unit(struct str raw, size_t i)
{
    uint32_t unit = 0;

    if (raw.len < 4 || i > raw.len - 4)
        return UINT32_MAX;
    for (size_t k = 0; k < 4; k++) {
        int digit = hex_digit(raw.ptr[i + k]);

        if (digit < 0)
            return UINT32_MAX;
        unit = unit * 16 + (uint32_t)digit;
    }
    return unit;
}

static bool put_utf8(struct buf *out, uint32_t cp)
{
    char bytes[4];
    size_t len = 0;

    if (cp < 0x80) {
        bytes[len++] = (char)cp;
    } else if (cp < 0x800) {
        bytes[len++] = (char)(0xC0 | cp >> 6);
        bytes[len++] = (char)(0x80 | (cp & 0x3F));
    } else if (cp < 0x10000) {
        bytes[len++] = (char)(0xE0 | cp >> 12);
        bytes[len++] = (char)(0x80 | (cp >> 6 & 0x3F));
        bytes[len++] = (char)(0x80 | (cp & 0x3F));
    } else {
        bytes[len++] = (char)(0xF0 | cp >> 18);
        bytes[len++] = (char)(0x80 | (cp >> 12 & 0x3F));
        bytes[len++] = (char)(0x80 | (cp >> 6 & 0x3F));
        bytes[len++] = (char)(0x80 | (cp & 0x3F));
    }
    return buf_append(out, bytes, len);
}

/* At the digits behind "\u"; *i moves behind them, and behind the other half of a pair. */
static bool put_unit(struct str raw, size_t *i, struct buf *out)
{
    uint32_t unit = read_unit(raw, *i);
    uint32_t low;

    if (unit == UINT32_MAX)
        return buf_append_char(out, 'u');
    *i += 4;
    if (unit < 0xD800 || unit > 0xDFFF)
        return put_utf8(out, unit);
    low = unit < 0xDC00 && str_starts(str_slice(raw, *i, raw.len), STR("\\u"))
              ? read_unit(raw, *i + 2)
              : UINT32_MAX;
    if (low < 0xDC00 || low > 0xDFFF)
        return put_utf8(out, REPLACEMENT);
    *i += 6;
    return put_utf8(out, 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00));
}

static bool decode(struct str raw, struct buf *out)
{
    static const char names[] = "bfnrt";
    static const char values[] = "\b\f\n\r\t";
    bool ok = true;

    for (size_t i = 0; i < raw.len && ok;) {
        char c = raw.ptr[i++];
        const char *name;

        if (c != '\\' || i == raw.len) {
            ok = buf_append_char(out, c);
            continue;
        }
        c = raw.ptr[i++];
        name = memchr(names, c, sizeof(names) - 1);
        if (c == 'u')
            ok = put_unit(raw, &i, out);
        else
            ok = buf_append_char(out, name != NULL ? values[name - names] : c);
    }
    return ok;
}

bool json_strings_next(struct str text, size_t *pos, struct buf *scratch, struct json_string *out)
{
    ptrdiff_t quote = *pos < text.len ? str_find_char(str_slice(text, *pos, text.len), '"') : -1;
    size_t start = *pos + (quote < 0 ? 0 : (size_t)quote);
    ptrdiff_t end = quote < 0 ? -1 : find_end(text, start + 1);
    size_t behind;

    if (end < 0)
        return false;
    *out = (struct json_string){.start = start, .end = (size_t)end + 1};
    buf_clear(scratch);
    out->too_long = !decode(str_slice(text, start + 1, (size_t)end - start - 1), scratch);
    out->value = buf_str(scratch);
    for (behind = out->end; behind < text.len && ascii_is_space(text.ptr[behind]); behind++)
        ;
    out->is_key = behind < text.len && text.ptr[behind] == ':';
    *pos = out->end;
    return true;
}
