/*
 * utf16.h - a page in UTF-16 becomes UTF-8, so that it can be filtered (layer: html).
 *
 * As the decoder of the Encoding standard (14.2) and its UTF-8 encoder: an unpaired surrogate and
 * an odd last byte become U+FFFD; a byte order mark at the start is dropped. Streaming, pure.
 */
#ifndef CONSENTD_UTF16_H
#define CONSENTD_UTF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/str.h"

/* Clear it with {0} and set big_endian; nothing to free. */
struct utf16_decoder {
    bool big_endian;
    bool started;      /* the first unit was seen */
    bool half;         /* one byte of a unit waits */
    uint8_t half_byte; /* it */
    uint16_t lead;     /* a leading surrogate waits for its second; 0: none */
};

/* Room for what `len` bytes of input can become, with the end: in bytes. */
#define UTF16_OUT_MAX(len) (((len) / 2 + 2) * 3)

/*
 * Decodes all of in to out, which has room for UTF16_OUT_MAX(in.len); returns the length. end:
 * nothing follows.
 */
MUST_USE size_t utf16_decode(struct utf16_decoder *d, struct str in, bool end, uint8_t *out);

#endif
