/*
 * cookie_names.c - every name that some reader could see in one pair (the table in cookie.h).
 *
 *   step 0  the pair's own name, as it is
 *   step 1  the same, as readers normalise it: decoded, trimmed, unquoted, PHP's underscores
 *   step 2  pieces of the pair: split at ; , and white space, up to the first '='
 */
#include <string.h>

#include "consentd/chars.h"
#include "consentd/cookie.h"

enum { STEP_OWN, STEP_NORMAL, STEP_PIECES, STEP_END };

void cookie_names_init(struct cookie_names *it, const struct cookie_pair *pair)
{
    it->rest = pair->raw;
    it->step = pair->name.len > 0 ? STEP_OWN : STEP_PIECES;
    if (pair->trust == COOKIE_DROP)
        it->step = STEP_END;
}

/* White space as the widest trim() sees it: C0, space, quotes, NBSP and BOM in UTF-8. */
static size_t blank_len(const char *p, size_t len)
{
    unsigned char c = len > 0 ? (unsigned char)p[0] : 0;

    if (len == 0)
        return 0;
    if (c <= ' ' || c == '"' || c == '\'' || c == 0xa0)
        return 1;
    if (len >= 2 && c == 0xc2 && (unsigned char)p[1] == 0xa0)
        return 2;
    if (len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        return 3;
    return 0;
}

static struct str strip(struct str s)
{
    size_t skip;

    while ((skip = blank_len(s.ptr, s.len)) > 0)
        s = str_slice(s, skip, s.len);
    while (s.len > 0) {
        size_t width = s.len >= 3 && blank_len(s.ptr + s.len - 3, 3) == 3   ? 3
                       : s.len >= 2 && blank_len(s.ptr + s.len - 2, 2) == 2 ? 2
                       : blank_len(s.ptr + s.len - 1, 1) == 1               ? 1
                                                                            : 0;
        if (width == 0)
            break;
        s = str_slice(s, 0, s.len - width);
    }
    return s;
}

/* Decoded as PHP does it: %XX, '+' as a space, cut at NUL. */
static size_t decode(struct str in, char *out)
{
    size_t len = 0;

    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];

        if (c == '%' && i + 2 < in.len && char_hex(in.ptr[i + 1]) >= 0 &&
            char_hex(in.ptr[i + 2]) >= 0) {
            c = (char)(char_hex(in.ptr[i + 1]) * 16 + char_hex(in.ptr[i + 2]));
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        if (c == '\0')
            break;
        out[len++] = c;
    }
    return len;
}

/* The first '[' opens an array (the name ends there) unless it leads; '.', ' ', '[' become '_'. */
static size_t underscore(char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (name[i] == '[' && i > 0)
            return i;
        if (name[i] == '.' || name[i] == ' ' || name[i] == '[')
            name[i] = '_';
    }
    return len;
}

/* The name as normalising readers see it, in it->tmp; empty when nothing is left. */
static struct str normal(struct cookie_names *it, struct str name)
{
    char decoded[COOKIE_NAME_MAX];
    struct str s;
    size_t len;

    if (name.len > COOKIE_NAME_MAX)
        name = str_slice(name, 0, COOKIE_NAME_MAX);
    s = strip(str_make(decoded, decode(name, decoded)));
    memcpy(it->tmp, s.ptr, s.len);
    len = underscore(it->tmp, s.len);
    return strip(str_make(it->tmp, len));
}

static struct str name_part(struct str piece)
{
    ptrdiff_t equals = str_find_char(piece, '=');

    return equals < 0 ? piece : str_slice(piece, 0, (size_t)equals);
}

/* The next piece between separators; also what follows a leading '=' (nameless cookies). */
static bool piece_next(struct cookie_names *it, struct str *piece_out)
{
    size_t i = 0;

    while (it->rest.len > 0 && (str_find_char(STR(";, \t=\""), it->rest.ptr[0]) >= 0))
        it->rest = str_slice(it->rest, 1, it->rest.len);
    if (it->rest.len == 0)
        return false;
    while (i < it->rest.len && str_find_char(STR(";, \t"), it->rest.ptr[i]) < 0)
        i++;
    *piece_out = str_slice(it->rest, 0, i);
    it->rest = str_slice(it->rest, i, it->rest.len);
    return true;
}

bool cookie_names_next(struct cookie_names *it, struct str *name_out)
{
    struct str own = str_trim(name_part(it->rest));
    struct str piece;

    if (it->step == STEP_OWN) {
        it->step = STEP_NORMAL;
        *name_out = own;
        return true;
    }
    if (it->step == STEP_NORMAL) {
        it->step = STEP_PIECES;
        *name_out = normal(it, own);
        if (name_out->len > 0 && !str_eq(*name_out, own))
            return true;
    }
    while (it->step == STEP_PIECES && piece_next(it, &piece)) {
        *name_out = normal(it, name_part(piece));
        if (name_out->len > 0)
            return true;
    }
    it->step = STEP_END;
    return false;
}
