/*
 * client_priv.h - the client's side of requests, whatever protocol it speaks. layer: serve
 *
 *   client.c      what a request sees of its client
 *   client_h1.c   bytes of one client connection <-> requests and answers
 *   client_h2.c   the same for HTTP/2: one connection, a client for each of its streams
 *
 * A client is a connection or a stream. Flow and client point at each other while a request is
 * in flight; each is freed at the end of the loop turn, never inside a callback.
 */
#ifndef CONSENTD_CLIENT_PRIV_H
#define CONSENTD_CLIENT_PRIV_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "consentd/buf.h"
#include "consentd/chunked.h"
#include "consentd/conn.h"
#include "consentd/h1_parse.h"
#include "consentd/h1_write.h"
#include "consentd/loop.h"
#include "consentd/names.h"
#include "consentd/timer.h"

struct acceptor;
struct flow;
struct server;
struct site;
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
    void (*tunnel)(struct client *c);
    void (*shut)(struct client *c);
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
    uint64_t progress;       /* what the client had taken when send_timer was set */
    size_t owed;             /* and what was queued for it then */
    uint64_t late_ms;        /* when the upload is too slow; each byte puts it off */
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
    bool counted;            /* by the budget of its address */
    bool sni_read;           /* the next two are set */
    bool sni_any;            /* the handshake named no host */
    struct site *sni_site;   /* what it named; NULL: no site of ours */
    union name_address peer; /* of another family: that alone */
    char peer_text[INET6_ADDRSTRLEN];
};

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
void client_tunnel(struct client *c); /* what it says goes to tunnel_from_client() from now on */
void client_shut(struct client *c);   /* nothing more will be written; it may go on */
void client_answered(struct client *c);
void client_close(struct client *c, bool cut);

/*
 * client.c: the pace of uploads. A body may be silent for limits.body_timeout, and altogether no
 * slower than limits.upload_rate, with SERVER_RATE_GRACE_MS to begin with or to catch up.
 */
void client_pace_start(struct client *c);           /* the body is wanted (again) from now on */
void client_pace(struct client *c, uint64_t bytes); /* so many came */
uint64_t client_least(const struct client *c); /* bytes that it takes in send_timeout at least */
/* Whether a client that was sent to has taken too little since: less than all, and too slowly. */
bool client_is_slow(const struct client *c, uint64_t taken, unsigned share);

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
