/*
 * serve_priv.h - what the files of the data plane share.
 *
 *   client.c      what a request sees of its client, whatever that speaks
 *   client_h1.c   bytes of one client connection <-> requests and answers
 *   client_h2.c   the same for HTTP/2: one connection, a client for each of its streams
 *   request.c     one exchange from head to end; asks enforcement
 *   origin.c      the request toward the origin and its answer; see origin_priv.h
 *   forwarded.c   who the client is behind trusted proxies
 *   access_log.c  one line per request
 *
 * Flow and client point at each other while a request is in flight, a flow and its origin_conn
 * likewise. Structs are freed at the end of the loop turn, never inside a callback.
 */
#ifndef CONSENTD_SERVE_PRIV_H
#define CONSENTD_SERVE_PRIV_H

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

struct client;
struct h2_client;

/* How an exchange's answer leaves and its body comes: HTTP/1, or a stream of HTTP/2. */
struct client_ops {
    void (*want_body)(struct client *c);
    void (*hold_body)(struct client *c);
    void (*stall)(struct client *c, bool on);
    bool (*asked_for)(struct client *c, const struct site *site);
    bool (*head)(struct client *c, unsigned status, struct h1_response *resp,
                 struct h1_framing framing);
    bool (*body)(struct client *c, const uint8_t *data, size_t len);
    bool (*is_choked)(const struct client *c);
    void (*answered)(struct client *c);
    void (*close)(struct client *c, bool cut);
};

enum client_state {
    CLIENT_HEAD = 0, /* between requests, or within a head */
    CLIENT_BODY,     /* the request's body is being read */
    CLIENT_BUSY,     /* request read; its answer is on the way */
    CLIENT_TUNNEL,   /* after a 101 */
    CLIENT_CLOSING,  /* all is said; the connection sends the rest and lingers */
    CLIENT_GONE,     /* freed at the end of the turn */
};

struct client {
    const struct client_ops *ops;
    struct server *server;
    struct acceptor *acceptor;
    struct conn *conn;    /* NULL for a stream of HTTP/2, and when it has closed */
    struct h2_client *h2; /* the connection speaks HTTP/2, or the stream's connection */
    int32_t stream;       /* its number; 0: a connection */
    struct buf in;        /* a stream's body, not taken yet */
    struct flow *flow;    /* from the first byte of a request to the end of its answer */
    struct client *prev, *next;
    enum client_state state;
    struct h1_parser parser;
    struct chunked_decoder chunks;
    uint64_t left; /* bytes of a body with Content-Length still to come */
    struct timer timer;
    struct timer send_timer; /* the client does not read */
    uint64_t progress;       /* conn_progress() when send_timer was set */
    struct deferred again, reap;
    bool want_body; /* somebody takes the body */
    bool last;      /* nothing is read after this request */
    bool eof;       /* the client says no more */
    bool chunked;   /* the answer's body is */
    bool unread;    /* bytes wait for the next turn */
    bool reading;   /* on_data is on the stack */
    bool held;      /* the next request waits until answers have left */
    bool stalled;   /* the body waits until the origin takes more */
    bool begun;     /* which protocol it speaks is known */
    bool fin;       /* the client's FIN is here, perhaps behind unread bytes */
    bool probed;
    bool counted;          /* by the budget of its address */
    bool sni_read;         /* the next two are set */
    bool sni_any;          /* the handshake named no host */
    struct site *sni_site; /* what it named; NULL: no site of ours */
    struct sockaddr_storage peer;
    char peer_text[64];
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
    int wanted;                         /* the origin of the visitor's cookie; -1: none */
    unsigned informational, status;
    bool enforced;  /* enforce_request() was called */
    bool prepared;  /* the forwarded fields are in place */
    bool head_sent; /* toward the client */
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
    unsigned retry_s; /* for 429 and 503: when to ask again; 0: not known */
};

struct server_data {
    struct acceptor *acceptors;
    struct map *hosts; /* owned; host name -> site */
    struct client *clients;
    struct flow *flows;
    unsigned client_cnt, flow_cnt;
    struct freelist free_clients, free_flows, free_origin_conns;
    struct buf head;
    struct access_log *access_log; /* owned; NULL: off */
    struct peer_budget *budget;    /* owned; what one address may have */
    struct networks *trusted;      /* owned; proxies that name the client */
    struct timer tick;
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

/* forwarded.c: x->peer and x->secure as a trusted proxy says. False: no memory. */
MUST_USE bool forwarded_apply(struct exchange *x);

/* request.c */
void flow_unchoke(struct flow *f); /* the client takes more: the origin may go on */
struct flow *flow_new(struct client *c);
void flow_start(struct flow *f);
MUST_USE bool flow_body(struct flow *f, const uint8_t *data, size_t len, bool end);
void flow_gone(struct flow *f); /* the client broke off */
void flow_origin_failed(struct flow *f, unsigned status, const char *why);
void flow_response(struct flow *f); /* x.resp is the final head */
MUST_USE bool flow_push(struct flow *f, const uint8_t *data, size_t len, bool end);

/* client.c: through the client's ops */
void client_want_body(struct client *c);
void client_hold_body(struct client *c);      /* nobody takes it until it is wanted again */
void client_stall(struct client *c, bool on); /* the origin takes no body for now */
/* False: the handshake named another site, or none of ours. */
bool client_asked_for(struct client *c, const struct site *site);
MUST_USE bool client_head(struct client *c, unsigned status, struct h1_response *resp,
                          struct h1_framing framing);
MUST_USE bool client_body(struct client *c, const uint8_t *data, size_t len);
bool client_is_choked(const struct client *c); /* produce no more for now */
void client_answered(struct client *c);
void client_close(struct client *c, bool cut);

/* client_h2.c */
size_t client_h2_data(struct client *c, const uint8_t *data, size_t len);
void client_h2_writable(struct client *c);
void client_h2_start(struct client *c); /* an open connection speaks HTTP/2 from now on */
void client_h2_stop(struct client *c);  /* it is over: its streams with it */
void client_h2_drain(struct client *c);
void client_h2_idle(struct client *c); /* the connection's timer */

/* client_h1.c */
void client_accept(void *owner, int fd, const struct sockaddr *peer, socklen_t len);

#endif
