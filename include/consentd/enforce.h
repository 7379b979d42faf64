/*
 * enforce.h - the questions that the data plane asks about consent.
 *
 * serve/request.c moves bytes and knows nothing of cookies, rules or HTML; at fixed points of an
 * exchange it calls the functions below. All of them run on the worker's loop, must not block,
 * and get an exchange that stays valid until enforce_end() has been called for it.
 *
 *   head parsed -> enforce_request -> origin -> enforce_informational* -> enforce_response
 *               -> filters -> enforce_end
 */
#ifndef CONSENTD_ENFORCE_H
#define CONSENTD_ENFORCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"

struct exchange;
struct fault;
struct headers;
struct server;
struct site;

enum enforce_step {
    ENFORCE_REFUSE = 0, /* broken inside: the visitor gets a 500 page, nothing passes */
    ENFORCE_FORWARD,    /* go on: to the origin, or to the client */
    ENFORCE_ANSWERED,   /* exchange_answer() was called; do nothing more */
    ENFORCE_PENDING,    /* answered or forwarded later: exchange_answer(), exchange_forward(),
                           exchange_fail(); from enforce_response only after exchange_restart() */
};

/*
 * Per worker, once, before the first connection: may set s->enforce. False with *fault_out set
 * stops the worker. stop is called when the server is freed, also after a failed start.
 */
MUST_USE bool enforce_worker_start(struct server *s, struct fault *fault_out);
void enforce_worker_stop(struct server *s);

/* The same per site, after the worker's start and before its stop: may set site->enforce. */
MUST_USE bool enforce_site_start(struct server *s, struct site *site, struct fault *fault_out);
void enforce_site_stop(struct server *s, struct site *site);

/*
 * The request head is parsed (x->req: strict, hop-by-hop fields gone, Host settled), x->site is
 * found, the body is not read yet. May edit x->req.headers, may call exchange_answer(),
 * exchange_body_collect(), exchange_fail(). Called once per request that reached a site.
 */
MUST_USE enum enforce_step enforce_request(struct exchange *x);

/*
 * The final response head is in x->resp, hop-by-hop fields gone; nothing was sent. May edit
 * status and headers, call exchange_add_filter(), replace the answer with exchange_answer(), ask
 * exchange_restart(). Called for every final answer of the origin, HEAD, 204, 304 and 101
 * included; not for pages that consentd makes itself. x->resp.body is the framing toward the
 * client; x->resp.content_length is the origin's figure.
 */
MUST_USE enum enforce_step enforce_response(struct exchange *x);

/* A 1xx other than 100 and 101 (so 103) is about to be forwarded with these headers: edit them. */
void enforce_informational(struct exchange *x, unsigned status, struct headers *h);

/*
 * The last call for an exchange that enforce_request() saw. Free what x->enforce holds outside
 * the arena; counters and the state in flight end here. When x->answered is false the client
 * went away or the exchange failed: a question to the ledger may still be out, forget x.
 */
void enforce_end(struct exchange *x);

/*
 * The link to the ledger process: up (s->ledger is set) or down (s->ledger is NULL). Down and up
 * again means that the ledger was restarted: send again what it has not acknowledged.
 */
void enforce_ledger_link(struct server *s, bool up);

/* The last client has gone and no other will come: what was gathered goes to the ledger. */
void enforce_drained(struct server *s);

/* A message of the ledger process, length not yet checked. type: enum ipc_type. */
void enforce_ledger_message(struct server *s, uint16_t type, const void *data, size_t len);

/* The snapshot of one site was swapped; site->snapshot is the new one. */
void enforce_rules_changed(struct server *s, struct site *site);

#endif
