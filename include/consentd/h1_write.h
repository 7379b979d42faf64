/*
 * h1_write.h - HTTP/1 heads, written from the parsed form.
 * layer: http
 *
 * One pass to add up the size, one reservation, one pass to copy. The writer owns
 * everything that frames a message: Content-Length, Transfer-Encoding, Connection,
 * Keep-Alive, Proxy-Connection and Upgrade of the list are never written; what goes out
 * comes from struct h1_framing alone. So a mistake elsewhere cannot make a message whose
 * length two readers see differently. It also looks at every byte once more: a control byte
 * in a name or a value, or white space in a method, target or name, writes nothing at all.
 *
 * The list must have been through headers_strip_hop_by_hop() for the other hop-by-hop
 * fields (and those which Connection names).
 */
#ifndef CONSENTD_H1_WRITE_H
#define CONSENTD_H1_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/h1_parse.h"
#include "consentd/headers.h"
#include "consentd/str.h"

/* What the Connection field says. */
enum h1_persist {
    H1_PERSIST_DEFAULT = 0, /* no field: an HTTP/1.1 peer keeps the connection */
    H1_PERSIST_CLOSE,       /* "close" */
    H1_PERSIST_KEEP_ALIVE,  /* "keep-alive": for an HTTP/1.0 client that asked for it */
    H1_PERSIST_UPGRADE,     /* "upgrade", and "Upgrade: websocket" */
};

struct h1_framing {
    enum h1_body body; /* NONE and CLOSE write no framing field */
    uint64_t length;   /* for H1_BODY_LENGTH; answers to HEAD use it too */
    enum h1_persist persist;
};

/*
 * "METHOD target HTTP/1.1" and the fields, Host first. target is origin-form or "*"; it and
 * the list come from h1_parse_request or are as clean. A body of H1_BODY_NONE writes no
 * Content-Length, as RFC 9110 8.6 asks for methods without content; use LENGTH 0 for an
 * empty POST. False: over the buffer's maximum or a forbidden byte; nothing was written.
 */
MUST_USE bool h1_write_request_head(struct buf *out, struct str method, struct str target,
                                    const struct headers *h, const struct h1_framing *framing);

/*
 * "HTTP/1.1 status reason" and the fields. An empty reason is replaced by the standard
 * phrase. 1xx and 204 go out without framing fields whatever the framing says (RFC 9110
 * 8.6). False: over the buffer's maximum or a forbidden byte; nothing was written.
 */
MUST_USE bool h1_write_response_head(struct buf *out, unsigned status, struct str reason,
                                     const struct headers *h, const struct h1_framing *framing);

/* "HTTP/1.1 100 Continue" with its empty line. */
extern const struct str h1_continue;

/* The standard phrase of a status ("Not Found"), "Unknown" for others. */
struct str http_reason(unsigned status);

#endif
