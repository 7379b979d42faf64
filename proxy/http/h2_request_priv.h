/*
 * h2_request_priv.h - a request head from HTTP/2's fields (RFC 9113 8.3). layer: http
 *
 * The fields come one by one, decoded, and become the same struct h1_request that the parser of
 * HTTP/1 makes, by the same checks of method, target, host and length: what is behind cannot
 * tell the difference, and nothing gets through here that HTTP/1 would refuse.
 *
 * Pure. nghttp2 has checked before what belongs to the framing: lower-case names, the order of
 * pseudo-header fields, connection-specific fields, bytes that no value may hold.
 */
#ifndef CONSENTD_H2_REQUEST_PRIV_H
#define CONSENTD_H2_REQUEST_PRIV_H

#include "consentd/arena.h"
#include "consentd/h1_parse.h"

#define H2_FIELD_OVERHEAD 32 /* RFC 9113 6.5.2: what a field counts besides its bytes */

/* A head while its fields come. Zero it, then set arena and req. */
struct h2_head {
    struct arena *arena;
    struct h1_request *req;
    struct str scheme, authority, protocol; /* in the arena */
    size_t size;                            /* as RFC 9113 6.5.2 counts: names, values, 32 each */
    unsigned fields;
    enum h1_error error; /* the first one; what follows is dropped */
};

/* One field, copied into the arena. */
void h2_head_field(struct h2_head *head, const struct h1_limits *limits, struct str name,
                   struct str value);

/* All fields are here; end: no body follows. H1_ERR_NONE: *head->req is complete. */
enum h1_error h2_head_finish(struct h2_head *head, bool end);

#endif
