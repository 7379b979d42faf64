/*
 * h2_session.h - the server's side of one HTTP/2 connection (RFC 9113, RFC 7541). layer: http
 *
 *      bytes from the client --push--> on_begin, on_request, on_body, on_end, on_closed
 *      head, body, end, reset -------> pull --> bytes for the client
 *
 * Pure: no I/O, no clock (the time comes with each push), no globals. nghttp2 does frames,
 * HPACK and flow control; this file makes requests of them and holds the peer to its budget.
 *
 * Flow control is tied to who takes the body: on_body hands bytes out, and the client may send
 * more only after h2_session_credit(). Answers are kept here until the client's window takes
 * them: who writes looks at h2_session_queued() and stops above a bound of its own.
 *
 * A stream is known by its number and by the caller's own pointer for it. Between on_begin and
 * on_closed the functions below may be called for it, also from inside every callback; none of
 * them calls back. Only h2_session_push, _pull and _free must not be called from a callback.
 *
 * The budget (H2_BUDGET_*): frames that carry no content cost, content earns. A flood of
 * SETTINGS, PING, PRIORITY, RST_STREAM (CVE-2023-44487), WINDOW_UPDATE, empty DATA
 * (CVE-2019-9518), unknown frames or frames for which a stream must be reset (CVE-2025-8671) ends
 * the connection with ENHANCE_YOUR_CALM; CONTINUATION
 * (CVE-2024-27316) and acknowledgements nobody reads (CVE-2019-9512) are limited by nghttp2.
 */
#ifndef CONSENTD_H2_SESSION_H
#define CONSENTD_H2_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/arena.h"
#include "consentd/attr.h"
#include "consentd/h1_parse.h"
#include "consentd/str.h"

struct h2_session;

enum {
    H2_STREAMS_MAX = 100,            /* requests at once on one connection */
    H2_STREAM_WINDOW = 65535,        /* bytes of one body that come without credit */
    H2_CONN_WINDOW = 1024 * 1024,    /* the same for all bodies together */
    H2_QUEUE_MAX = 16 * 1024 * 1024, /* bytes of one answer kept here; above: it fails */
    H2_BUDGET_MAX = 4000,            /* a connection begins with so many points, and has no more */
    H2_BUDGET_PER_S = 200,           /* that come back */
    H2_BUDGET_BYTES = 1024,          /* so much content, or heads on the wire, earns one */
    H2_COST_FRAME = 1,               /* of a frame without content */
    H2_COST_RESET = 20,              /* of a stream that is taken back, or that must be reset */
};

/* Error codes of RFC 9113 7 that callers use. */
enum { H2_NO_ERROR = 0, H2_INTERNAL_ERROR = 2, H2_REFUSED_STREAM = 7, H2_CANCEL = 8 };

struct h2_ops {
    /*
     * A request begins. Returns the caller's own for the stream, and where the head goes; arena and
     * request must live until on_closed. NULL: the stream is refused, no more callbacks for it.
     */
    void *(*on_begin)(void *owner, int32_t id, struct arena **arena_out,
                      struct h1_request **request_out);

    /*
     * The head is complete. H1_ERR_NONE: *request is as h1_parse_request() would give it, with
     * body NONE, LENGTH, or CHUNKED when its length is not known. Else: to be answered with
     * h1_error_status(); the request holds nothing that can be relied on.
     */
    void (*on_request)(void *stream, enum h1_error error);

    void (*on_body)(void *stream, const uint8_t *data, size_t len); /* borrowed for the call */
    void (*on_end)(void *stream);    /* the body is complete (also when there was none) */
    void (*on_closed)(void *stream); /* the last call: both sides are through, or it was reset */
};

/* limits: of one head, as for HTTP/1. Never NULL; SETTINGS wait to be pulled. */
struct h2_session *h2_session_new(const struct h1_limits *limits, const struct h2_ops *ops,
                                  void *owner);

/* on_closed comes for every stream that is left. NULL is fine. */
void h2_session_free(struct h2_session *s);

/* The connection preface: what a client says first. */
extern const struct str h2_preface;

/*
 * The next bytes from the client. now_ms: a monotonic clock. False: the connection is over (a
 * protocol error, a flood): pull what is left, which says why, then close.
 */
MUST_USE bool h2_session_push(struct h2_session *s, struct str in, uint64_t now_ms);

/* The next bytes for the client, valid until the next call; empty: nothing for now. */
struct str h2_session_pull(struct h2_session *s);

/*
 * A head: interim (1xx) or final. Hop-by-hop fields must be gone; framing is taken from
 * has_length and length alone. end: no body follows. False: not to be sent (a forbidden
 * byte, no memory): reset the stream.
 */
struct h2_answer {
    unsigned status;
    const struct headers *headers;
    bool has_length, end;
    uint64_t length;
};
MUST_USE bool h2_session_head(struct h2_session *s, int32_t id, const struct h2_answer *answer);

/* The next bytes of the body, copied. False: over H2_QUEUE_MAX. */
MUST_USE bool h2_session_body(struct h2_session *s, int32_t id, const uint8_t *data, size_t len);

/*
 * The body is complete. The stream closes when the request is, too: who will not wait for that
 * resets it with H2_NO_ERROR (RFC 9113 8.1), but not at once, because clients that are still
 * sending take even that for a failure and the answer for lost.
 */
void h2_session_end(struct h2_session *s, int32_t id);

/* Breaks the stream off; on_closed follows with the next pull. */
void h2_session_reset(struct h2_session *s, int32_t id, uint32_t code);

/* Bytes of the body that the client has not taken; and a figure that grows when it takes some. */
size_t h2_session_queued(const struct h2_session *s, int32_t id);
uint64_t h2_session_taken(const struct h2_session *s, int32_t id);

/* So many bytes of on_body have been dealt with: the client may send as many more. */
void h2_session_credit(struct h2_session *s, int32_t id, size_t len);

/* GOAWAY: first a notice that no new requests are wanted, later (final) the end of taking any. */
void h2_session_drain(struct h2_session *s, bool final);

/* Nothing more will come or go. */
bool h2_session_is_over(const struct h2_session *s);

/* The budget was overdrawn: for a counter. */
bool h2_session_was_flooded(const struct h2_session *s);

#endif
