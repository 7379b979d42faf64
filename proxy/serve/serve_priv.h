/*
 * serve_priv.h - what the files of the data plane share.
 *
 *   client_priv.h the client's side: a connection of HTTP/1, or a stream of HTTP/2
 *   request.c     one exchange from head to end; asks enforcement
 *   tunnel.c      websockets, once the origin has agreed
 *   origin.c      the request toward the origin and its answer; see origin_priv.h
 *   acme.c        challenges of certificate authorities
 *   forwarded.c   who the client is behind trusted proxies
 *   access_log.c  one line per request
 *
 * Flow and client point at each other while a request is in flight, a flow and its origin_conn
 * likewise. Structs are freed at the end of the loop turn, never inside a callback.
 */
#ifndef CONSENTD_SERVE_PRIV_H
#define CONSENTD_SERVE_PRIV_H

#include "client_priv.h"
#include "consentd/buf.h"
#include "consentd/chunked.h"
#include "consentd/config.h"
#include "consentd/date.h"
#include "consentd/exchange.h"
#include "consentd/filter.h"
#include "consentd/h1_write.h"
#include "consentd/h2_session.h"
#include "consentd/map.h"
#include "consentd/peer_budget.h"
#include "consentd/server.h"
#include "consentd/timer.h"
#include "origin_priv.h"

#define SERVER_PROBE_MS 3000 /* a waiting client that says no more is asked whether it is there */

/* Structs of one size kept for reuse: a busy worker allocates none. */
struct freelist {
    void *first; /* each begins with a pointer to the next */
    unsigned cnt;
};

struct acceptor {
    struct server *server;
    const struct config_listen *config;
    struct listener *listener;
    struct proxied *proxied; /* owned; NULL: the peer is the client */
    struct tls_server *tls;  /* NULL: cleartext */
};

struct flow {
    struct exchange x; /* must be first: flow_of() */
    struct client *client;
    struct flow *prev, *next;
    struct deferred reap;
    struct timer timer;
    struct origin *origin;
    struct origin_conn *oc;
    struct flow *wait_prev, *wait_next; /* in the queue of the site's origins */
    struct balance_claim claim;         /* held while oc is set */
    uint64_t tried;                     /* origins that have failed this request, by their bits */
    uint64_t sent_ms;                   /* when the request went to the origin */
    uint64_t received;                  /* bytes of the request's body so far */
    int wanted;                         /* the origin of the visitor's cookie; -1: none */
    unsigned informational, status;
    bool enforced;  /* enforce_request() was called */
    bool prepared;  /* the forwarded fields are in place */
    bool head_sent; /* toward the client */
    bool counted;   /* by request_cnt */
    bool done;      /* over: every late event is ignored */
    bool body_done; /* the request is read completely */
    bool restarted; /* by enforcement */
    bool retried;   /* on a new connection, because a kept one was stale */
    bool resent;    /* to another origin, because one gave no answer */
    bool gathering; /* the body's beginning, before a slot is taken */
    bool waiting;   /* for a place at an origin */
    bool choked;    /* the origin waits until the client takes more */
    bool head_seen; /* the origin's final head was parsed */
    bool held;      /* enforcement answers later */
    struct h1_parser oparser;
    struct chunked_decoder ochunks;
    uint64_t oleft;
    struct buf collected;
    size_t collect_max;
    exchange_body_fn collect_fn;
    struct filter *filters, last;
    char ws_accept[29]; /* what a websocket's origin must answer to the key that is ours */
    unsigned retry_s;   /* for 429 and 503: when to ask again; 0: not known */
};

#define SIBLINGS_MAX 127

/* siblings.c: the other workers that serve, by their slots of the metrics. */
struct siblings {
    uint16_t slots[SIBLINGS_MAX];
    unsigned cnt;
};

void siblings_look(struct siblings *siblings); /* who they are; now and then */

/* False: another one has clearly fewer connections. */
MUST_USE bool siblings_let_us(const struct siblings *siblings);

struct server_data {
    struct siblings siblings;
    struct acceptor *acceptors;
    struct map *hosts; /* owned; host name -> site */
    struct client *clients;
    struct flow *flows;
    unsigned client_cnt, flow_cnt;
    unsigned request_cnt; /* flows whose head is complete */
    struct freelist free_clients, free_flows, free_origin_conns;
    struct buf head;
    struct access_log *access_log; /* owned; NULL: off */
    struct peer_budget *budget;    /* owned; what one address may have */
    struct networks *trusted;      /* owned; proxies that name the client */
    struct timer tick;
    unsigned tick_cnt;
    bool worker_started;
    void (*on_drained)(void *arg);
    void *on_drained_arg;
    struct deferred drained;
    unsigned sites_started;
};

static inline struct flow *flow_of(struct exchange *x)
{
    return (struct flow *)(void *)x;
}

/* server.c */
void server_check_drained(struct server *s);
void *freelist_take(struct freelist *l, size_t size); /* zeroed */
void freelist_give(struct freelist *l, void *item);

/* access_log.c */
/* fd is borrowed; NULL for -1. */
struct access_log *access_log_new(int fd, enum config_log_format format);
void access_log_reopen(struct access_log *log, int fd); /* what was gathered goes to the old one */
void access_log_free(struct access_log *log);
void access_log_flush(struct access_log *log);
void access_log_write(struct access_log *log, const struct flow *f);

/* acme.c */
bool acme_is_for_origin(const struct flow *f); /* a challenge that is not redirected */
MUST_USE bool acme_answer(struct flow *f);     /* true: it was one, and is answered */

/* forwarded.c: x->peer and x->secure as a trusted proxy says. False: no memory. */
MUST_USE bool forwarded_apply(struct exchange *x);
MUST_USE bool forwarded_real_ip(struct exchange *x); /* a client's own becomes its address */

/* request.c */
void flow_unchoke(struct flow *f); /* the client takes more: the origin may go on */
struct flow *flow_new(struct client *c);
void flow_start(struct flow *f);
/* A piece of the request's body. The flow may end by it, and the client's pointer to it with it. */
void flow_body(struct flow *f, const uint8_t *data, size_t len, bool end);
void flow_gone(struct flow *f); /* the client broke off */
void flow_origin_failed(struct flow *f, unsigned status, const char *why);
void flow_response(struct flow *f); /* x.resp is the final head */
void flow_head_out(struct flow *f); /* no body is here yet: the head need not wait for it */
MUST_USE bool flow_push(struct flow *f, const uint8_t *data, size_t len, bool end);

/* tunnel.c */
MUST_USE bool tunnel_prepare(struct flow *f); /* the request of HTTP/2 gets a key of ours */
void tunnel_begin(struct flow *f);            /* x.resp is a 101 */
/* An answer without a 101 that HTTP/2 would take for one. */
bool tunnel_would_open(const struct flow *f, unsigned status);
MUST_USE bool tunnel_from_client(struct flow *f, const uint8_t *data, size_t len);
void tunnel_client_eof(struct flow *f);
size_t tunnel_from_origin(struct flow *f, const uint8_t *data, size_t len);
void tunnel_origin_eof(struct flow *f);
/* Both have said all, and the client is gone: the origin still gets the rest. */
void tunnel_finish(struct flow *f, struct str rest);
void tunnel_origin_closed(struct flow *f, enum conn_why why);

#endif
