/*
 * utf16.c - contract in consentd/utf16.h.
 */
#include "consentd/utf16.h"

#define REPLACEMENT 0xfffdu
#define BYTE_ORDER  0xfeffu

static size_t put(uint32_t c, uint8_t *out)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (c & 0x3f));
    return 4;
}

/* One unit; at most two characters come of it: a lone lead, and itself. */
static size_t take_unit(struct utf16_decoder *d, uint16_t unit, uint8_t *out)
{
    bool first = !d->started;
    size_t len = 0;

    d->started = true;
    if (first && unit == BYTE_ORDER)
        return 0;
    if (d->lead != 0 && (unit & 0xfc00) == 0xdc00) {
        len = put(0x10000u + ((uint32_t)(d->lead & 0x3ff) << 10) + (unit & 0x3ff), out);
        d->lead = 0;
        return len;
    }
    if (d->lead != 0)
        len = put(REPLACEMENT, out);
    d->lead = 0;
    if ((unit & 0xfc00) == 0xd800)
        d->lead = unit;
    else
        len += put((unit & 0xfc00) == 0xdc00 ? REPLACEMENT : unit, out + len);
    return len;
}

size_t utf16_decode(struct utf16_decoder *d, struct str in, bool end, uint8_t *out)
{
    size_t len = 0;

    for (size_t i = 0; i < in.len; i++) {
        uint8_t byte = (uint8_t)in.ptr[i];
        unsigned unit;

        if (!d->half) {
            d->half = true;
            d->half_byte = byte;
            continue;
        }
        d->half = false;
        unit =
            d->big_endian ? (unsigned)d->half_byte << 8 | byte : (unsigned)byte << 8 | d->half_byte;
        len += take_unit(d, (uint16_t)unit, out + len);
    }
    if (end && (d->half || d->lead != 0))
        len += put(REPLACEMENT, out + len);
    return len;
}
