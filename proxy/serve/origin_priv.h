/*
 * origin_priv.h - the origins of one site as one worker sees them.
 *
 *   origin_group.c  who takes a request; the queue; dialling; what became of it
 *   origin.c        the request toward the origin, and the reading of its answer
 *   origin_check.c  health checks
 *   sticky.c        the cookie that keeps a visitor at one origin
 *
 * A flow that has a connection (f->oc) holds a place of the balancer and a slot of the pool, from
 * origin_start() to origin_release(); the two are counted together. A flow that finds everything
 * full waits in the queue of its site until a place is free, in order.
 */
#ifndef CONSENTD_ORIGIN_PRIV_H
#define CONSENTD_ORIGIN_PRIV_H

#include "consentd/balance.h"
#include "consentd/conn.h"
#include "consentd/endpoint.h"
#include "consentd/loop.h"
#include "consentd/origin_stats.h"
#include "consentd/upstream.h"

struct config_origin;
struct config_site;
struct fault;
struct flow;
struct headers;
struct keyring;
struct name;
struct origin_check;
struct server;
struct site;
struct sticky;
struct tls_client;

struct origin {
    struct origin_group *group;
    const struct config_origin *config;
    struct endpoint endpoint;
    struct tls_client *tls;     /* owned; NULL: no TLS */
    struct upstream_pool *pool; /* owned */
    struct origin_stats *stats; /* of this worker; borrowed */
    struct origin_check *check; /* owned; NULL: not checked */
    struct name *name;          /* of its addresses; NULL: not looked up, or it needs none */
    uint32_t name_version;      /* when idle connections were last compared with it */
    unsigned index;             /* in the group: the balancer's member */
    struct deferred leave;      /* moves the requests that wait for it in vain */
};

struct origin_group {
    struct server *server;
    struct site *site;
    struct balance *balance;             /* owned */
    struct sticky *sticky;               /* owned; NULL: visitors are not tied to an origin */
    struct origin *origins;              /* owned */
    struct origin_stats *own_stats;      /* owned; when nobody else reads them */
    struct flow *wait_first, *wait_last; /* for a place, in order */
    unsigned cnt, waiting;
    unsigned waiting_for_any; /* of these: who would take a place at any origin */
    struct deferred wake;
};

struct origin_conn {
    struct origin *origin;
    struct conn *conn;
    struct flow *flow;     /* NULL: idle in the pool */
    uint32_t name_version; /* when the address was last one of the name's */
    bool reused, ready;
    bool eof; /* a tunnel's origin says no more */
    struct deferred reap;
};

/* origin_group.c. stats: one per origin, or NULL. */
MUST_USE struct origin_group *origin_group_new(struct server *s, struct site *site,
                                               struct origin_stats *stats, struct fault *f);
void origin_group_tick(struct origin_group *g, uint64_t now_ms); /* once a second */
void origin_group_stop(struct origin_group *g);                  /* closes what is idle */
void origin_group_free(struct origin_group *g);
void origin_start(struct flow *f);
void origin_release(struct flow *f, bool reusable);
void origin_unwait(struct flow *f);
void origin_judge(struct flow *f, bool answered); /* the final head, or there will be none */
/* After a report to the balancer. silent: it does not answer, so who waits there may go. */
void origin_changed(struct origin *o, enum balance_change change, const char *why, bool silent);

/* No answer comes from this connection any more: another attempt, or the end of the exchange. */
void origin_lost(struct flow *f, enum conn_why why);

/*
 * What came for a head is none. On a kept connection it may be what was left of the answer before:
 * true, what can be repeated is asked again on a new one, once.
 */
MUST_USE bool origin_again(struct flow *f);

/* origin_check.c */
struct origin_check *origin_check_new(struct origin *o); /* begins by itself */
void origin_check_free(struct origin_check *check);

/* sticky.c. NULL: the site has no such cookie; the other functions take that too. */
struct sticky *sticky_new(const struct config_site *site, const struct keyring *ring);
void sticky_free(struct sticky *sticky);
/* The origin that a request's cookie names, or -1. */
int sticky_read(const struct sticky *sticky, const struct headers *h);
/* The cookie into the answer, when it is another origin's than the visitor asked for. */
MUST_USE bool sticky_set(const struct sticky *sticky, struct flow *f);

/* origin.c */
extern const struct conn_ops origin_conn_ops;
void origin_send(struct flow *f); /* the request, on an open connection */
/* A piece of the request's body. False: there is nobody to send it to any more. */
bool origin_body(struct flow *f, const uint8_t *data, size_t len, bool end);

#endif
