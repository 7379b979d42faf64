/*
 * exchange.h - one request and its response, as the enforcement side sees it. layer: serve
 *
 *             enforce_request()              enforce_response()
 *                  |                                |
 *   NEW ---------->+--FORWARD--> origin ----------->+--FORWARD--> [filters] --> client
 *                  |--ANSWERED (exchange_answer)    |--ANSWERED (the origin's answer is dropped)
 *                  |--PENDING  (answer, forward     |--PENDING  (only after exchange_restart)
 *                  |            or fail later)      |--REFUSE   (500)
 *
 * The data plane (serve/request.c) owns the exchange. Whoever holds a pointer to it must drop
 * it in on_cancel or enforce_end(): after that call the memory may be another exchange's. Both
 * are also called when the client goes away while an answer is pending.
 *
 * Memory: everything that belongs to the exchange goes into x->arena (EXCHANGE_ARENA_MAX bytes,
 * so every arena call is checked) and is released in one go. Header names and values are slices
 * that must live as long as the exchange: literals or arena.
 *
 * All functions may be called from inside enforce_*() and from later callbacks of the same loop.
 * None of them frees the exchange before the end of the loop turn.
 */
#ifndef CONSENTD_EXCHANGE_H
#define CONSENTD_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/arena.h"
#include "consentd/attr.h"
#include "consentd/h1_parse.h"
#include "consentd/str.h"

struct exchange;
struct filter;
struct server;
struct site;
struct snapshot;
struct sockaddr;

#define EXCHANGE_ARENA_MAX (512u * 1024)       /* heads, and what enforcement adds to them */
#define CLIENT_QUEUE_LOW   (64u * 1024)        /* below: the origin is read again */
#define CLIENT_QUEUE_HIGH  (256u * 1024)       /* above: the origin is not read */
#define CLIENT_QUEUE_MAX   (16u * 1024 * 1024) /* above: the answer fails (filters expand) */

/* The whole body of a request, at most the maximum asked for; borrowed for the call. */
typedef void (*exchange_body_fn)(struct exchange *x, struct str body);

/* What enforcement took out of one exchange; for the access log. */
struct exchange_removed {
    uint32_t cookies;     /* of the request */
    uint32_t set_cookies; /* fields of the answer */
    uint32_t links;       /* members of Link, redirects, report addresses */
    uint32_t elements;    /* of the page; attributes and addresses that were emptied too */
};

struct exchange {
    struct arena arena;
    struct server *server;     /* of this worker; outlives x */
    struct site *site;         /* found by Host; outlives x; NULL only while the head is read */
    struct snapshot *snapshot; /* rules in force when the request came; one reference is held */

    /*
     * The request. req.headers may be edited until it is forwarded; hop-by-hop fields and
     * Expect are gone. Via, X-Forwarded-For/-Proto/-Host are added when it is written.
     */
    struct h1_request req;

    /*
     * The answer, from enforce_response() on; resp.headers and resp.status may be edited until
     * the head is sent (exchange_head_sent). Content-Length and Transfer-Encoding of the list
     * are ignored: framing is derived from the body. Date is added when there is none.
     */
    struct h1_response resp;

    const struct sockaddr *peer; /* the client; never to be logged untruncated (log_peer) */
    bool secure;   /* came over TLS, or a trusted proxy says so: its scheme is https */
    bool answered; /* an answer (ours or the origin's) was handed to the client */

    /*
     * The length of the body is not the origin's any more. exchange_add_filter() sets it; a
     * filter that finds out, before it passes the first byte on, that it will change nothing
     * may clear it again, and the origin's Content-Length is kept.
     */
    bool length_changes;

    uint64_t start_ms; /* monotonic: the head was complete */
    uint64_t wall_ms;  /* since 1970, at the same moment: the time for tokens */

    void *enforce;                         /* ENFORCE's own, in the arena; NULL at first */
    void (*on_cancel)(struct exchange *x); /* called once if x dies while PENDING; or NULL */
    bool decided;                          /* the visitor has chosen; for the access log */
    uint16_t grants;                       /* category bits; for the access log */
    struct exchange_removed removed;       /* for the access log */
    const char *note;                      /* static text, why; for the access log; or NULL */
    uint64_t sent;                         /* body bytes handed to the client */
};

/*
 * Answers the request here and now: writes status, the fields of h (NULL: none), Content-Length
 * and Date, then the body (left out for HEAD, 204 and 304). h and body are borrowed for the
 * call. Legal from enforce_request() (return ENFORCE_ANSWERED), after PENDING, and from
 * enforce_response() (the origin's answer is dropped). A request body not read yet is
 * discarded with the connection. False: an answer had begun already, or the client is gone;
 * either way the exchange is then on its way out and nothing more is to be done.
 */
bool exchange_answer(struct exchange *x, unsigned status, const struct headers *h, struct str body);

/*
 * After PENDING of enforce_request(): sends the request to the origin. No body was collected. A
 * request with a body takes no connection of the origin's before SERVER_GATHER_MAX bytes of it,
 * or all, are here: slow uploads do not keep others waiting.
 */
void exchange_forward(struct exchange *x);

/*
 * Fails the exchange: the built-in page of this status (4xx, 5xx) when nothing was sent yet,
 * else the client's connection is reset so that the cut is visible. why is static text for the
 * log and the access log.
 */
void exchange_fail(struct exchange *x, unsigned status, const char *why);

/*
 * Reads the whole request body, then calls fn once (at once, before this returns, when there
 * is no body). Longer than max: the client gets a 413 and fn is never called; a client that
 * goes away: on_cancel. Return ENFORCE_PENDING from enforce_request() afterwards (also when fn
 * has already answered). Works for the request to consentd's own pages only: a collected body
 * cannot be forwarded. False: the memory limit; answer 500.
 */
MUST_USE bool exchange_body_collect(struct exchange *x, size_t max, exchange_body_fn fn);

/*
 * From enforce_response() only: appends a filter (consentd/filter.h) to the chain; the body's
 * length becomes unknown. On answers without a body (HEAD, 304) it is never pushed, but
 * Content-Length is dropped and close() is called all the same.
 */
void exchange_add_filter(struct exchange *x, struct filter *f);

/*
 * From enforce_response() only: drops this answer and sends the request, whose headers the
 * caller has edited (Range taken out, say), to the origin once more. Then return
 * ENFORCE_PENDING; enforce_response() is called again for the new answer, with filters gone.
 * False, and nothing was done: the request had a body or is no GET or HEAD, or this was a
 * second time.
 */
MUST_USE bool exchange_restart(struct exchange *x);

/* True once the final response head is out: resp cannot be edited any more. */
bool exchange_head_sent(const struct exchange *x);

/* Remembers why, for the access log: static text, no personal data. The first one stays. */
void exchange_note(struct exchange *x, const char *why);

#endif
