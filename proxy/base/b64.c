/*
 * b64.c - contract in consentd/b64.h.
 *
 * The tables are made by hand-written functions of the character: small, and the
 * two alphabets differ in two characters only.
 */
#include "consentd/b64.h"

enum alphabet { URL_SAFE = 0, STANDARD };

static const char DIGITS[2][65] = {
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
};

/* The 6-bit value, or -1 for a character outside the alphabet. */
static int digit_value(char c, enum alphabet which)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == DIGITS[which][62])
        return 62;
    if (c == DIGITS[which][63])
        return 63;
    return -1;
}

static size_t encode(char *out, const uint8_t *in, size_t len, enum alphabet which)
{
    const char *digits = DIGITS[which];
    char *o = out;

    for (; len >= 3; len -= 3, in += 3) {
        uint32_t v = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        *o++ = digits[v >> 18];
        *o++ = digits[v >> 12 & 63];
        *o++ = digits[v >> 6 & 63];
        *o++ = digits[v & 63];
    }
    if (len > 0) {
        uint32_t v = (uint32_t)in[0] << 16 | (len == 2 ? (uint32_t)in[1] << 8 : 0);
        *o++ = digits[v >> 18];
        *o++ = digits[v >> 12 & 63];
        if (len == 2)
            *o++ = digits[v >> 6 & 63];
    }
    *o = '\0';
    return (size_t)(o - out);
}

/* Unpadded text of exactly B64_LEN(out_len) characters; unused bits must be 0. */
static bool decode(struct str in, uint8_t *out, size_t out_len, enum alphabet which)
{
    uint32_t bits = 0;
    unsigned bit_cnt = 0;

    if (in.len != B64_LEN(out_len))
        return false;
    for (size_t i = 0; i < in.len; i++) {
        int value = digit_value(in.ptr[i], which);
        if (value < 0)
            return false;
        bits = (bits << 6 | (uint32_t)value) & 0xffffff;
        bit_cnt += 6;
        if (bit_cnt >= 8) {
            bit_cnt -= 8;
            *out++ = (uint8_t)(bits >> bit_cnt);
        }
    }
    return (bits & ((1u << bit_cnt) - 1)) == 0;
}

static bool decode_buf(struct str in, struct buf *out, enum alphabet which)
{
    size_t len = in.len / 4 * 3 + (in.len % 4 != 0 ? in.len % 4 - 1 : 0);

    if (in.len % 4 == 1)
        return false; /* no number of bytes has this length */
    uint8_t *room = buf_reserve(out, len);
    if (room == NULL || !decode(in, room, len, which))
        return false;
    buf_commit(out, len);
    return true;
}

size_t b64url_encode(char *out, const void *in, size_t len)
{
    return encode(out, in, len, URL_SAFE);
}

bool b64url_decode(struct str in, void *out, size_t out_len)
{
    return decode(in, out, out_len, URL_SAFE);
}

bool b64url_decode_buf(struct str in, struct buf *out)
{
    return decode_buf(in, out, URL_SAFE);
}

size_t b64_encode(char *out, const void *in, size_t len)
{
    size_t n = encode(out, in, len, STANDARD);

    while (n % 4 != 0)
        out[n++] = '=';
    out[n] = '\0';
    return n;
}

bool b64_decode(struct str in, struct buf *out)
{
    if (in.len % 4 != 0)
        return false;
    for (unsigned pads = 0; pads < 2 && in.len > 0 && in.ptr[in.len - 1] == '='; pads++)
        in.len--;
    return decode_buf(in, out, STANDARD);
}

size_t hex_encode(char *out, const void *in, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = in;

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * len] = '\0';
    return 2 * len;
}

static int hex_value(char c)
{
    c = ascii_lower(c);
    if (ascii_is_digit(c))
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_decode(struct str in, void *out, size_t out_len)
{
    uint8_t *o = out;

    if (in.len / 2 != out_len || in.len % 2 != 0)
        return false;
    for (size_t i = 0; i < out_len; i++) {
        int high = hex_value(in.ptr[2 * i]);
        int low = hex_value(in.ptr[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        o[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
