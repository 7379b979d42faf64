/*
 * chunked.h - the chunked transfer coding, both ways (RFC 9112 7.1).
 * layer: http
 *
 * The decoder copies nothing: each piece of data is a slice of the caller's input.
 *
 *      while (in is not empty) {
 *          status = chunked_decode(&decoder, in, len, &used, &data);
 *          ... data.len bytes of the body, in += used ...
 *      }
 *
 * Strict: 1*16 hexadecimal digits, every line ends in CR LF, nothing between the data and its
 * CR LF. Extensions and trailers are checked, bounded and dropped: neither is ever forwarded,
 * so a Cookie hidden in a trailer goes nowhere.
 */
#ifndef CONSENTD_CHUNKED_H
#define CONSENTD_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/str.h"

enum {
    CHUNKED_LINE_MAX = 8 * 1024,         /* bytes of one size line, extensions included */
    CHUNKED_TRAILER_MAX = 16 * 1024,     /* bytes of all trailer lines */
    CHUNKED_EXT_TOTAL_MAX = 1024 * 1024, /* bytes of all extensions of one body */
    CHUNKED_HEAD_MAX = 20,               /* bytes that chunked_head() may write */
};

enum chunked_status {
    CHUNKED_BAD = 0, /* refused: abort the message, never end it cleanly. Stays so. */
    CHUNKED_MORE,    /* all of the input was used; the body goes on */
    CHUNKED_DATA,    /* data_out has bytes; call again with the rest, if any */
    CHUNKED_END,     /* last chunk and trailers read; bytes after *used_out are not ours */
};

/* Zero is the initial state. Private. */
struct chunked_decoder {
    uint64_t left;      /* data bytes of this chunk still to come; the size while it is read */
    uint32_t line_len;  /* bytes of the current size line, or of the trailers */
    uint32_t ext_total; /* bytes of extensions so far */
    uint8_t state;
    uint8_t digits;
};

/*
 * Takes input until there is data, the end or an error. *used_out <= len is how much was taken
 * (also with DATA, whose slice ends there); *data_out is empty unless DATA is returned. When the
 * peer closes before CHUNKED_END the body is incomplete, whatever came before.
 */
MUST_USE enum chunked_status chunked_decode(struct chunked_decoder *d, const uint8_t *in,
                                            size_t len, size_t *used_out, struct str *data_out);

/* Writes "SIZE CR LF" of a chunk (len > 0: a chunk of 0 would end the body); returns its length.
 * The data and chunked_crlf follow. */
size_t chunked_head(char out[CHUNKED_HEAD_MAX], uint64_t len);

extern const struct str chunked_crlf; /* after the data of each chunk */
extern const struct str chunked_last; /* "0 CR LF CR LF": the end, without trailers */

#endif
