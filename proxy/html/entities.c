/*
 * entities.c - contract in entities_priv.h.
 *
 * The table is compact and constant; a hash of the name finds the entry.
 */
#include "entities_priv.h"

#include <stdint.h>
#include <string.h>

#define ENTITY_MAX     32 /* letters of the longest name */
#define LEGACY_MAX     6  /* of the longest that needs no ";" */
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

/* The slot where the search for a name begins. */
static size_t first_slot(struct str name)
{
    uint32_t hash = 0;

    for (size_t i = 0; i < name.len; i++)
        hash = hash * 31 + (uint8_t)name.ptr[i];
    return (uint32_t)(hash * 0x9E3779B1u) >> 20;
}

/* The entry of exactly this name. */
static bool find_name(struct str name, bool needs_legacy, struct str *value_out)
{
    for (size_t slot = first_slot(name); entity_slots[slot] != 0;
         slot = (slot + 1) % ENTITY_SLOTS) {
        const char *p = entity_table + entity_slots[slot] - 1;

        if (strncmp(p, name.ptr, name.len) == 0 && (uint8_t)p[name.len] <= 2) {
            p += name.len;
            *value_out = str_make(p + 1, (size_t)(strchr(p, 3) - p - 1));
            return !needs_legacy || *p == 1;
        }
    }
    return false;
}

/*
 * At "&" and a letter. In an attribute a name without ";" counts only if neither a letter,
 * a digit nor "=" follows (HTML 13.2.5.73): so it is the whole run of them or none.
 */
static struct entity find_entity(struct str raw, bool in_attribute)
{
    struct entity e = {0};
    size_t run = 1;
    char behind;

    while (run + 1 < raw.len && run < ENTITY_MAX && ascii_is_alnum(raw.ptr[run + 1]))
        run++;
    behind = run + 1 < raw.len ? raw.ptr[run + 1] : '\0';
    if (behind == ';' && find_name(str_slice(raw, 1, run), false, &e.value)) {
        e.used = run + 2;
        return e;
    }
    if (in_attribute) {
        if (behind != '=' && behind != ';' && run > 1 && run <= LEGACY_MAX &&
            find_name(str_slice(raw, 1, run), true, &e.value))
            e.used = run + 1;
        return e;
    }
    for (run = run < LEGACY_MAX ? run : LEGACY_MAX; run > 1 && e.used == 0; run--) {
        if (find_name(str_slice(raw, 1, run), true, &e.value))
            e.used = run + 1;
    }
    return e;
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
        e = find_entity(raw, in_attribute);
    }
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
