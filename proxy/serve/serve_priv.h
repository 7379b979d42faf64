/*
 * serve_priv.h - what the files of the data plane share.
 *
 *   client_h1.c  bytes of one client connection <-> requests and answers
 *   request.c    one exchange from head to end; asks enforcement
 *   origin.c     slots, dialling, the request toward the origin and its answer
 *
 * Flow and client point at each other while a request is in flight, a flow and its origin_conn
 * likewise. Structs are freed at the end of the loop turn, never inside a callback.
 */
#ifndef CONSENTD_SERVE_PRIV_H
#define CONSENTD_SERVE_PRIV_H

#include "consentd/buf.h"
#include "consentd/chunked.h"
#include "consentd/config.h"
#include "consentd/conn.h"
#include "consentd/date.h"
#include "consentd/endpoint.h"
#include "consentd/exchange.h"
#include "consentd/filter.h"
#include "consentd/h1_write.h"
#include "consentd/loop.h"
#include "consentd/server.h"
#include "consentd/timer.h"
#include "consentd/upstream.h"

struct acceptor {
    struct server *server;
    const struct config_listen *config;
    struct listener *listener;
    struct tls_server *tls; /* NULL: cleartext */
};

enum client_state {
    CLIENT_HEAD = 0, /* between requests, or within a head */
    CLIENT_BODY,     /* the request's body is being read */
    CLIENT_BUSY,     /* request read; its answer is on the way */
    CLIENT_TUNNEL,   /* after a 101 */
};

struct client {
    struct server *server;
    struct acceptor *acceptor;
    struct conn *conn;
    struct flow *flow; /* from the first byte of a request to the end of its answer */
    struct client *prev, *next;
    enum client_state state;
    struct h1_parser parser;
    struct chunked_decoder chunks;
    uint64_t left; /* bytes of a body with Content-Length still to come */
    struct timer timer;
    struct timer send_timer; /* the client does not read */
    size_t last_queued;
    struct deferred again, reap;
    bool want_body, last, eof, chunked, dead, unread, reading;
    struct sockaddr_storage peer;
    char peer_text[64];
};

struct origin {
    struct server *server;
    struct site *site;
    struct endpoint endpoint;
    struct tls_client *tls;
    struct upstream_pool *pool;
    uint64_t down_until_ms;
};

struct origin_conn {
    struct origin *origin;
    struct conn *conn;
    struct flow *flow; /* NULL: idle in the pool */
    bool reused, ready;
    struct deferred reap;
};

struct flow {
    struct exchange x; /* must be first: flow_of() */
    struct client *client;
    struct flow *prev, *next;
    struct deferred reap;
    struct timer timer;
    struct origin *origin;
    struct origin_conn *oc;
    unsigned tries, informational, status;
    bool enforced, prepared, head_sent, done, body_done, asked, restarted, retried, choked;
    bool head_seen; /* the origin's final head was parsed */
    bool held;      /* enforcement answers later */
    struct h1_parser oparser;
    struct chunked_decoder ochunks;
    uint64_t oleft;
    struct buf collected;
    size_t collect_max;
    exchange_body_fn collect_fn;
    struct filter *filters, last;
};

struct server_data {
    struct acceptor *acceptors;
    struct client *clients;
    struct flow *flows;
    unsigned client_cnt, flow_cnt;
    struct buf head;
    int access_log_fd;
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

/* request.c */
struct flow *flow_new(struct client *c);
void flow_start(struct flow *f);
MUST_USE bool flow_body(struct flow *f, const uint8_t *data, size_t len, bool end);
void flow_gone(struct flow *f); /* the client broke off */
void flow_origin_failed(struct flow *f, unsigned status, const char *why);
void flow_response(struct flow *f); /* x.resp is the final head */
MUST_USE bool flow_push(struct flow *f, const uint8_t *data, size_t len, bool end);

/* client_h1.c */
void client_accept(void *acceptor, int fd, const struct sockaddr *peer, socklen_t len);
void client_want_body(struct client *c);
MUST_USE bool client_head(struct client *c, unsigned status, struct h1_response *resp,
                          struct h1_framing framing);
MUST_USE bool client_body(struct client *c, const uint8_t *data, size_t len);
void client_answered(struct client *c);
void client_close(struct client *c, bool cut);
void client_free_now(struct client *c);

/* origin.c */
struct origin *origin_new(struct server *s, struct site *site, const char *url,
                          struct fault *fault_out);
void origin_free(struct origin *o);
void origin_start(struct flow *f);
MUST_USE bool origin_body(struct flow *f, const uint8_t *data, size_t len, bool end);
void origin_release(struct flow *f, bool reusable);

#endif
