/*
 * coding.h - content codings: gzip, deflate, br and zstd, both ways, streaming.
 *
 * A coded body that must be rewritten is decoded, rewritten and encoded again.
 * What cannot be decoded is an error that the caller turns into 502: it is
 * never passed on unread. Names and lists follow RFC 9110 8.4 and 12.5.3.
 *
 * Pure: bytes in, bytes out through a callback, no I/O, no clock. A decoder
 * holds the library's window, which the sender chooses: at most 16 MiB for br
 * (RFC 7932 9.1), 8 MiB for zstd (more is refused), 32 KiB for gzip and
 * deflate. An encoder holds about 300 KiB to 1 MiB.
 */
#ifndef CONSENTD_CODING_H
#define CONSENTD_CODING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/str.h"

enum coding {
    CODING_UNKNOWN = 0, /* a coding we cannot decode, or several stacked */
    CODING_IDENTITY,
    CODING_GZIP,    /* RFC 1952; "x-gzip" is the same (RFC 9110 8.4.1.3) */
    CODING_DEFLATE, /* RFC 1950; a raw RFC 1951 stream is recognised too */
    CODING_BR,      /* RFC 7932 */
    CODING_ZSTD,    /* RFC 8878, window at most 8 MiB (RFC 9659) */
};

enum coding_status {
    CODING_CORRUPT = 0, /* not the announced coding, or cut off before its end */
    CODING_LIMIT,       /* larger than max_out, or grew by more than max_ratio */
    CODING_STOPPED,     /* the output callback said no */
    CODING_OK,
};

/* Takes some output; the bytes are valid during the call only. False stops. */
typedef bool (*coding_out_fn)(void *arg, const uint8_t *data, size_t len);

/* The value of a Content-Encoding field; empty is identity, a list is unknown. */
enum coding coding_of(struct str content_encoding);

/* The name as it goes into Content-Encoding; "identity" for identity, never NULL. */
const char *coding_name(enum coding coding);

/*
 * What to answer with for an Accept-Encoding value: of the codings that the
 * client accepts with the highest weight the one we like best (br, zstd, gzip,
 * deflate). An empty value, or nothing we know, gives CODING_IDENTITY.
 */
enum coding coding_negotiate(struct str accept_encoding);

/* True when the client accepts this coding with a weight above zero. */
bool coding_is_accepted(struct str accept_encoding, enum coding coding);

/*
 * Writes the Accept-Encoding for the origin: what the client accepts and we
 * can decode, as "gzip, br", or "identity". Returns its length, NUL added.
 */
#define CODING_ACCEPT_MAX 40
size_t coding_accept_known(struct str accept_encoding, char out[CODING_ACCEPT_MAX]);

struct decoder;

/* Bytes that one may hold: the largest window and its state. */
#define CODING_DECODER_MAX (17u << 20)

/*
 * max_out: bytes of plain text at most, 0 for no limit. max_ratio: plain text
 * may be this many times the coded size (after the first MiB), 0 for no limit.
 * NULL for CODING_UNKNOWN and when the library has no memory.
 */
struct decoder *decoder_new(enum coding coding, uint64_t max_out, unsigned max_ratio);
void decoder_free(struct decoder *decoder); /* NULL is fine */

/*
 * Decodes all of in. end: nothing follows; a body cut off in the middle is
 * then CODING_CORRUPT. Concatenated gzip members and zstd frames are one body;
 * bytes after the end that start no new member are dropped, as browsers do.
 * After anything but CODING_OK the decoder may only be freed.
 */
MUST_USE enum coding_status decoder_push(struct decoder *decoder, struct str in, bool end,
                                         coding_out_fn out, void *arg);

struct encoder;

enum encoder_flush {
    ENCODER_BUFFER = 0, /* output when the library likes */
    ENCODER_FLUSH,      /* everything so far can be decoded by the client */
    ENCODER_END,        /* the stream ends */
};

/* NULL for CODING_UNKNOWN and CODING_IDENTITY, and without memory. */
struct encoder *encoder_new(enum coding coding);
void encoder_free(struct encoder *encoder); /* NULL is fine */

/* CODING_OK, CODING_STOPPED, or CODING_CORRUPT when the library fails. */
MUST_USE enum coding_status encoder_push(struct encoder *encoder, struct str in,
                                         enum encoder_flush flush, coding_out_fn out, void *arg);

#endif
