/*
 * url_host.c - one spelling for every way to write a host (WHATWG URL 3.5, UTS 46 in small).
 *
 *   percent-decode -> UTF-8 -> map each code point -> labels -> punycode -> IPv4?
 *
 * The map knows what attackers use to write ASCII differently (fullwidth forms, ideographic full
 * stops, ignored characters) and the case of Latin, Greek and Cyrillic. Letters of scripts
 * without case are their own mapping. All else is suspect: a browser may know better.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "consentd/chars.h"
#include "url_priv.h"

#define HOST_MAX  1024 /* code points of a host */
#define LABEL_MAX 63   /* bytes of one label, encoded */

/* A host being built: code points, dots included. */
struct points {
    uint32_t at[HOST_MAX];
    size_t cnt;
    bool suspect;
};

/* --- decoding --- */

/* The next code point of UTF-8 at p; 0xFFFFFFFF when it is malformed. Sets *len. */
static uint32_t utf8_next(const unsigned char *p, size_t left, size_t *len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t width = p[0] < 0x80       ? 1
                   : p[0] >> 5 == 6  ? 2
                   : p[0] >> 4 == 14 ? 3
                   : p[0] >> 3 == 30 ? 4
                                     : 0;
    uint32_t point;

    *len = 1;
    if (width == 1)
        return p[0];
    if (width == 0 || width > left)
        return UINT32_MAX;
    point = p[0] & (0x7fu >> width);
    for (size_t i = 1; i < width; i++) {
        if (p[i] >> 6 != 2)
            return UINT32_MAX;
        point = point << 6 | (p[i] & 0x3f);
    }
    *len = width;
    return point < least[width] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)
               ? UINT32_MAX
               : point;
}

static bool is_between(uint32_t point, uint32_t first, uint32_t last)
{
    return point >= first && point <= last;
}

/* Mapped to nothing by UTS 46. */
static bool is_ignored(uint32_t point)
{
    return point == 0xad || point == 0x200b || point == 0x2060 || point == 0xfeff ||
           point == 0x34f || point == 0x2064 || is_between(point, 0x180b, 0x180d) ||
           is_between(point, 0xfe00, 0xfe0f);
}

/*
 * Letters that are their own mapping: lower case, or of a script without case. Not sharp s and
 * final sigma, which browsers of different age map differently.
 */
static bool is_stable(uint32_t point)
{
    static const uint32_t ranges[][2] = {
        {0xe0, 0xf6},     {0xf8, 0xff},     {0x3b1, 0x3c1},   {0x3c3, 0x3c9}, {0x430, 0x45f},
        {0x5d0, 0x5ea},   {0x620, 0x64a},   {0x904, 0x939},   {0xa05, 0xa39}, {0x3041, 0x3096},
        {0x30a1, 0x30fe}, {0x4e00, 0x9fff}, {0xac00, 0xd7a3}, {0xe01, 0xe30},
    };

    for (size_t i = 0; i < COUNT_OF(ranges); i++) {
        if (is_between(point, ranges[i][0], ranges[i][1]))
            return true;
    }
    return false;
}

static uint32_t map_point(uint32_t point, bool *suspect)
{
    if (is_between(point, 0xff01, 0xff5e))
        point -= 0xfee0; /* fullwidth ASCII */
    if (point == 0x3002 || point == 0xff61)
        return '.';
    if (point < 0x80)
        return (unsigned char)ascii_lower((char)point);
    if (is_between(point, 0xc0, 0xde) && point != 0xd7)
        return point + 0x20;
    if (is_between(point, 0x391, 0x3a9) || is_between(point, 0x410, 0x42f))
        return point + 0x20;
    if (is_between(point, 0x400, 0x40f))
        return point + 0x50;
    if (is_between(point, 0x100, 0x12f) || is_between(point, 0x134, 0x137))
        return point | 1; /* pairs: capital, small. Between them are dotted i and the ligature ij */
    if (!is_stable(point))
        *suspect = true;
    return point;
}

static size_t percent_decode(struct str in, unsigned char *out)
{
    size_t len = 0;

    for (size_t i = 0; i < in.len; i++) {
        if (in.ptr[i] == '%' && i + 2 < in.len && char_hex(in.ptr[i + 1]) >= 0 &&
            char_hex(in.ptr[i + 2]) >= 0) {
            out[len++] = (unsigned char)(char_hex(in.ptr[i + 1]) * 16 + char_hex(in.ptr[i + 2]));
            i += 2;
        } else {
            out[len++] = (unsigned char)in.ptr[i];
        }
    }
    return len;
}

static void points_read(const unsigned char *text, size_t len, struct points *out)
{
    for (size_t i = 0, width; i < len; i += width) {
        uint32_t point = utf8_next(text + i, len - i, &width);

        if (point == UINT32_MAX) {
            out->suspect = true; /* browsers put U+FFFD there and refuse */
            continue;
        }
        if (is_ignored(point))
            continue;
        out->at[out->cnt++] = map_point(point, &out->suspect);
    }
}

/* --- punycode, RFC 3492 --- */

static uint32_t adapt(uint32_t delta, uint32_t cnt, bool first)
{
    uint32_t k = 0;

    delta = first ? delta / 700 : delta / 2;
    delta += delta / cnt;
    for (; delta > 455; k += 36)
        delta /= 35;
    return k + 36 * delta / (delta + 38);
}

static char digit_of(uint32_t d)
{
    return (char)(d < 26 ? 'a' + d : '0' + d - 26);
}

struct encoder_state {
    uint32_t n, delta, bias;
    size_t done; /* code points encoded */
    size_t basic;
};

/* Writes one variable-length integer. */
static size_t put_integer(const struct encoder_state *s, char *out)
{
    size_t len = 0;
    uint32_t q = s->delta;

    for (uint32_t k = 36;; k += 36) {
        uint32_t t = k <= s->bias ? 1 : k >= s->bias + 26 ? 26 : k - s->bias;

        if (q < t)
            break;
        out[len++] = digit_of(t + (q - t) % (36 - t));
        q = (q - t) / (36 - t);
    }
    out[len++] = digit_of(q);
    return len;
}

/* One label of cnt code points, at most HOST_MAX; out has room for 8 bytes a point. */
static size_t label_encode(const uint32_t *label, size_t cnt, char *out)
{
    struct encoder_state s = {.n = 0x80, .bias = 72};
    size_t len = 0;

    for (size_t i = 0; i < cnt; i++) {
        if (label[i] < 0x80)
            out[4 + len++] = (char)label[i];
    }
    if (len == cnt) {
        memmove(out, out + 4, len);
        return len;
    }
    memcpy(out, "xn--", 4);
    s.done = s.basic = len;
    if (len > 0)
        out[4 + len++] = '-';
    while (s.done < cnt) {
        uint32_t next = UINT32_MAX;

        for (size_t i = 0; i < cnt; i++) {
            if (label[i] >= s.n && label[i] < next)
                next = label[i];
        }
        s.delta += (next - s.n) * ((uint32_t)s.done + 1);
        s.n = next;
        for (size_t i = 0; i < cnt; i++) {
            if (label[i] < s.n)
                s.delta++;
            if (label[i] != s.n)
                continue;
            len += put_integer(&s, out + 4 + len);
            s.bias = adapt(s.delta, (uint32_t)s.done + 1, s.done == s.basic);
            s.delta = 0;
            s.done++;
        }
        s.delta++;
        s.n++;
    }
    return len + 4;
}

static bool is_ascii(const uint32_t *label, size_t cnt)
{
    for (size_t i = 0; i < cnt; i++) {
        if (label[i] >= 0x80)
            return false;
    }
    return true;
}

static size_t points_encode(struct points *points, char *out)
{
    size_t len = 0;
    size_t start = 0;

    for (size_t i = 0; i <= points->cnt; i++) {
        size_t cnt = i - start;
        size_t label_len = 0;

        if (i < points->cnt && points->at[i] != '.')
            continue;
        /* what is too long already is left out: encoding takes the square of the length */
        if (cnt <= LABEL_MAX || is_ascii(points->at + start, cnt))
            label_len = label_encode(points->at + start, cnt, out + len);
        if (cnt > LABEL_MAX || label_len > LABEL_MAX)
            points->suspect = true;
        len += label_len;
        if (i < points->cnt)
            out[len++] = '.';
        start = i + 1;
    }
    return len;
}

/* --- addresses --- */

/* One part of an IPv4 address: decimal, 0octal or 0xhex; false when it is no number. */
static bool ipv4_part(struct str part, uint64_t *out)
{
    unsigned base = 10;

    *out = 0;
    if (part.len >= 2 && part.ptr[0] == '0' && part.ptr[1] == 'x') {
        base = 16;
        part = str_slice(part, 2, part.len);
    } else if (part.len >= 2 && part.ptr[0] == '0') {
        base = 8;
        part = str_slice(part, 1, part.len);
    } else if (part.len == 0) {
        return false;
    }
    for (size_t i = 0; i < part.len; i++) {
        int digit = char_hex(part.ptr[i]);

        if (digit < 0 || digit >= (int)base || *out > UINT32_MAX)
            return false;
        *out = *out * base + (unsigned)digit;
    }
    return true;
}

/* WHATWG URL 3.5, "ends in a number". */
static bool ends_in_number(struct str host)
{
    ptrdiff_t dot = str_find_last_char(host, '.');
    struct str last = dot < 0 ? host : str_slice(host, (size_t)dot + 1, host.len);
    uint64_t value;

    return chars_all(last, CHAR_DIGIT) ||
           (last.len >= 2 && last.ptr[0] == '0' && last.ptr[1] == 'x' && ipv4_part(last, &value));
}

static bool ipv4_parse(struct str host, uint32_t *out)
{
    uint64_t parts[4];
    uint64_t address = 0;
    size_t cnt = 0;
    struct str part;

    while (str_cut(&host, '.', &part)) {
        if (cnt == 4 || !ipv4_part(part, &parts[cnt]))
            return false;
        cnt++;
    }
    if (cnt == 0 || parts[cnt - 1] >= UINT64_C(1) << (8 * (5 - cnt)))
        return false;
    for (size_t i = 0; i + 1 < cnt; i++) {
        if (parts[i] > 255)
            return false;
        address |= parts[i] << (8 * (3 - i));
    }
    *out = (uint32_t)(address | parts[cnt - 1]);
    return true;
}

static enum host_result ipv6(struct str in, struct arena *a, struct str *out)
{
    char text[INET6_ADDRSTRLEN + 2];
    uint8_t bytes[16];

    if (in.len < 4 || in.ptr[in.len - 1] != ']' || in.len - 2 >= INET6_ADDRSTRLEN)
        return HOST_FAIL;
    memcpy(text, in.ptr + 1, in.len - 2);
    text[in.len - 2] = '\0';
    if (inet_pton(AF_INET6, text, bytes) != 1)
        return HOST_FAIL;
    text[0] = '[';
    inet_ntop(AF_INET6, bytes, text + 1, INET6_ADDRSTRLEN);
    size_t len = strlen(text);

    text[len++] = ']';
    return arena_str(a, str_make(text, len), out) ? HOST_IP : HOST_SUSPECT;
}

/* --- all together --- */

/* Forbidden domain code points and empty labels: no browser resolves such a name. */
static bool has_forbidden(struct str host)
{
    if (host.ptr[0] == '.' || host.ptr[host.len - 1] == '.' || str_find(host, STR("..")) >= 0)
        return true;
    for (size_t i = 0; i < host.len; i++) {
        unsigned char c = (unsigned char)host.ptr[i];

        if (c <= ' ' || c == 0x7f || memchr("#/:<>?@[\\]^|%", c, 13) != NULL)
            return true;
    }
    return false;
}

static enum host_result name_finish(struct str name, bool suspect, struct arena *a, struct str *out)
{
    uint32_t address;
    char *text;

    if (name.len > 1 && name.ptr[name.len - 1] == '.')
        name.len--;
    if (name.len == 0)
        return suspect ? HOST_SUSPECT : HOST_FAIL;
    if (has_forbidden(name))
        suspect = true;
    if (!ends_in_number(name)) {
        *out = name;
        return suspect ? HOST_SUSPECT : HOST_NAME;
    }
    if (!ipv4_parse(name, &address)) {
        *out = name;
        return HOST_SUSPECT;
    }
    text = arena_printf(a, "%u.%u.%u.%u", address >> 24, address >> 16 & 255, address >> 8 & 255,
                        address & 255);
    if (text == NULL)
        return HOST_SUSPECT;
    *out = str_c(text);
    return suspect ? HOST_SUSPECT : HOST_IP;
}

enum host_result url_host(struct str in, struct arena *a, struct str *out)
{
    struct points *points;
    unsigned char *decoded;
    char *text;
    size_t len;

    *out = STR("");
    if (in.len > 0 && in.ptr[0] == '[')
        return ipv6(in, a, out);
    if (in.len == 0)
        return HOST_FAIL;
    if (in.len > HOST_MAX) /* may be short once what is ignored has gone */
        return HOST_SUSPECT;
    if (chars_span(in, CHAR_UNRESERVED) == in.len) { /* the usual case: letters, digits, dots */
        text = arena_copy(a, in.ptr, in.len);
        for (size_t i = 0; text != NULL && i < in.len; i++)
            text[i] = ascii_lower(text[i]);
        return text == NULL ? HOST_SUSPECT : name_finish(str_make(text, in.len), false, a, out);
    }
    points = arena_calloc(a, 1, sizeof(*points));
    decoded = arena_alloc(a, in.len);
    text = arena_alloc(a, in.len * 8 + 16 * (in.len + 1));
    if (points == NULL || decoded == NULL || text == NULL)
        return HOST_SUSPECT;
    points_read(decoded, percent_decode(in, decoded), points);
    len = points_encode(points, text);
    return name_finish(str_make(text, len), points->suspect, a, out);
}

bool url_host_canonical(struct str in, struct arena *a, struct str *host_out)
{
    enum host_result result = url_host(in, a, host_out);

    return result == HOST_NAME || result == HOST_IP;
}

bool url_host_in(struct str host, struct str domain)
{
    if (host.len == domain.len)
        return str_eq(host, domain);
    return domain.len > 0 && host.len > domain.len && host.ptr[host.len - domain.len - 1] == '.' &&
           str_ends(host, domain);
}
