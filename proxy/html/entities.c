/*
 * entities.c - contract in entities_priv.h.
 *
 * A reference is rare, so the table is searched linearly from the first entry of the
 * letter: a few hundred bytes at most of a table that is compact and constant.
 */
#include "entities_priv.h"

#include <stdint.h>
#include <string.h>

#define CODE_POINT_MAX 0x10FFFFu

/* HTML 13.2.5.80: what windows-1252 would have meant by 0x80 to 0x9F. */
static const uint16_t c1_replacement[32] = {
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017D, 0,      0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178,
};

static bool append_utf8(struct buf *out, uint32_t cp)
{
    char b[4];
    size_t len;

    if (cp < 0x80) {
        b[0] = (char)cp;
        len = 1;
    } else if (cp < 0x800) {
        b[0] = (char)(0xC0 | (cp >> 6));
        len = 2;
    } else if (cp < 0x10000) {
        b[0] = (char)(0xE0 | (cp >> 12));
        len = 3;
    } else {
        b[0] = (char)(0xF0 | (cp >> 18));
        len = 4;
    }
    for (size_t i = 1; i < len; i++)
        b[i] = (char)(0x80 | ((cp >> (6 * (len - 1 - i))) & 0x3F));
    return buf_append(out, b, len);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint32_t numeric_result(uint32_t cp)
{
    if (cp == 0 || cp > CODE_POINT_MAX || (cp >= 0xD800 && cp <= 0xDFFF))
        return 0xFFFD;
    if (cp >= 0x80 && cp <= 0x9F && c1_replacement[cp - 0x80] != 0)
        return c1_replacement[cp - 0x80];
    return cp;
}

/* At "&#": bytes used, 0 when it is no reference. */
static size_t decode_numeric(struct str raw, struct buf *out, bool *ok)
{
    size_t i = 2;
    bool hex = i < raw.len && (raw.ptr[i] == 'x' || raw.ptr[i] == 'X');
    uint32_t cp = 0;
    size_t first;

    if (hex)
        i++;
    first = i;
    for (; i < raw.len; i++) {
        int v = hex_value(raw.ptr[i]);

        if (v < 0 || (!hex && v > 9))
            break;
        if (cp <= CODE_POINT_MAX)
            cp = cp * (hex ? 16 : 10) + (uint32_t)v;
    }
    if (i == first)
        return 0;
    if (i < raw.len && raw.ptr[i] == ';')
        i++;
    *ok = append_utf8(out, numeric_result(cp));
    return i;
}

struct entity {
    size_t used; /* bytes of the input with "&", 0: no entity */
    struct str value;
};

/* Compares one entry with the text behind "&" and keeps the longest match. */
static void try_entry(struct str raw, struct str name, bool legacy, struct str value,
                      struct entity *best)
{
    size_t end = 1 + name.len;

    if (end > raw.len || memcmp(raw.ptr + 1, name.ptr, name.len) != 0)
        return;
    if (end < raw.len && raw.ptr[end] == ';')
        *best = (struct entity){end + 1, value};
    else if (legacy && end > best->used)
        *best = (struct entity){end, value};
}

static struct entity find_entity(struct str raw)
{
    struct entity best = {0};
    unsigned letter = (unsigned char)raw.ptr[1];
    unsigned slot = letter >= 'a' ? letter - 'a' + 26 : letter - 'A';
    const char *p = entity_table + entity_first[slot];
    const char *end = entity_table + entity_first[slot + 1];

    while (p < end) {
        const char *mark = p + strcspn(p, "\001\002");
        const char *last = strchr(mark, 3);

        try_entry(raw, str_make(p, (size_t)(mark - p)), *mark == 1,
                  str_make(mark + 1, (size_t)(last - mark - 1)), &best);
        p = last + 1;
    }
    return best;
}

/* At "&": appends what it stands for; bytes used. */
static size_t decode_one(struct str raw, bool in_attribute, struct buf *out, bool *ok)
{
    struct entity e = {0};

    if (raw.len >= 5 && memcmp(raw.ptr, "&amp;", 5) == 0) { /* the one that URLs are full of */
        *ok = buf_append_char(out, '&');
        return 5;
    }
    if (raw.len > 2 && raw.ptr[1] == '#') {
        size_t used = decode_numeric(raw, out, ok);

        if (used > 0)
            return used;
    } else if (raw.len > 1 && ascii_is_alpha(raw.ptr[1])) {
        e = find_entity(raw);
    }
    if (e.used > 0 && in_attribute && raw.ptr[e.used - 1] != ';' && e.used < raw.len &&
        (raw.ptr[e.used] == '=' || ascii_is_alnum(raw.ptr[e.used])))
        e.used = 0; /* the attribute rule, HTML 13.2.5.73 */
    if (e.used == 0) {
        *ok = buf_append_char(out, '&');
        return 1;
    }
    *ok = buf_append_str(out, e.value);
    return e.used;
}

bool entities_decode(struct str raw, bool in_attribute, struct buf *out)
{
    size_t i = 0;
    bool ok = true;

    while (i < raw.len && ok) {
        char c = raw.ptr[i];
        size_t plain = i;

        while (plain < raw.len && raw.ptr[plain] != '&' && raw.ptr[plain] != '\r' &&
               raw.ptr[plain] != '\0')
            plain++;
        if (plain > i) {
            ok = buf_append(out, raw.ptr + i, plain - i);
            i = plain;
            continue;
        }

        if (c == '&') {
            i += decode_one(str_slice(raw, i, raw.len), in_attribute, out, &ok);
        } else if (c == '\r') {
            ok = buf_append_char(out, '\n');
            i += i + 1 < raw.len && raw.ptr[i + 1] == '\n' ? 2 : 1;
        } else if (c == '\0' && in_attribute) {
            ok = buf_append_c(out, "\xEF\xBF\xBD");
            i++;
        } else {
            ok = buf_append_char(out, c);
            i++;
        }
    }
    return ok;
}
