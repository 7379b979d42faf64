/*
 * conn_priv.h - the inside of a connection, for conn.c, conn_tls.c and dial.c.
 *
 * conn.c owns the state, the queue and the callbacks; conn_tls.c moves bytes through SSL and
 * knows nothing of either; dial.c finds an address and hands the connected socket over.
 */
#ifndef CONSENTD_CONN_PRIV_H
#define CONSENTD_CONN_PRIV_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>

#include "consentd/buf.h"
#include "consentd/conn.h"
#include "consentd/loop.h"
#include "consentd/timer.h"

enum conn_state {
    CONN_CONNECTING = 0, /* resolving, or connect(2) in progress */
    CONN_HANDSHAKE,      /* TLS; may want either direction */
    CONN_OPEN,           /* bytes flow both ways */
    CONN_SHUT_WRITE,     /* our FIN goes out behind the queue; still reading */
    CONN_DEAD,           /* closed; freed at the end of this turn */
};

/* What one attempt to move bytes came to. */
enum conn_io {
    CONN_IO_ERROR = 0,
    CONN_IO_OK,
    CONN_IO_AGAIN,
    CONN_IO_EOF,
};

struct conn_tls; /* conn_tls.c */
struct dial;     /* dial.c */

struct conn {
    struct loop *loop; /* borrowed */
    const struct conn_ops *ops;
    void *owner;
    struct conn_tls *tls; /* owned; NULL: plain */
    struct dial *dial;    /* owned while CONNECTING */
    int fd;               /* owned; -1 while resolving and when dead */
    enum conn_state state;
    enum conn_why why;      /* of a failure that is told at the end of the turn */
    bool failed;            /* why is set */
    bool read_on, write_on; /* events registered */
    bool paused;            /* by the owner */
    bool readable;          /* the kernel may have bytes: no EAGAIN since the last edge */
    bool peer_shut;         /* the kernel said that FIN came */
    bool eof, eof_told;
    bool choked;  /* went over the high mark, on_writable is owed */
    bool kick;    /* read again at the end of the turn */
    bool opening; /* on_open is owed */
    bool shut_done;
    bool lingering; /* conn_close_flush: only the end is told, if anything */
    uint64_t linger_ms;
    uint64_t sent;              /* bytes taken by the kernel */
    uint64_t progress;          /* lingering: conn_progress() when the timer was set */
    uint64_t owed;              /* and what was queued then */
    uint64_t silence_ms, least; /* conn_set_pace() */
    struct event read_event;
    struct event *write_event; /* owned; NULL until a write had to wait: most never do */
    struct deferred later;
    struct timer timer; /* connect, handshake, linger */
    struct timer doubt; /* since the last short read */
    struct buf keep;    /* read and not taken */
    struct buf queue;   /* written and not sent */
    size_t low, high;
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } peer;
};

/* --- conn.c, for dial.c --- */

/* A connection without a socket yet. */
struct conn *conn_new(struct loop *loop, const struct conn_ops *ops, void *owner);

/* The socket is connected: goes on with the handshake, or opens. */
void conn_connected(struct conn *c, int fd);

/* Tells the owner at the end of the turn. */
void conn_fail(struct conn *c, enum conn_why why);

/* --- dial.c --- */
void dial_free(struct dial *dial);

/* --- conn_tls.c --- */
struct conn_tls *conn_tls_server(struct tls_server *ctx, int fd);
struct conn_tls *conn_tls_client(struct tls_client *ctx, int fd, const char *name);
void conn_tls_free(struct conn_tls *tls);
enum conn_io conn_tls_handshake(struct conn_tls *tls);
enum conn_io conn_tls_read(struct conn_tls *tls, uint8_t *out, size_t cap, size_t *len_out);
enum conn_io conn_tls_write(struct conn_tls *tls, const uint8_t *data, size_t len, size_t *len_out);
bool conn_tls_wants_write(const struct conn_tls *tls); /* why the last attempt was AGAIN */
void conn_tls_shutdown(struct conn_tls *tls);
/* The last read took all that the socket had: an edge tells of more. */
bool conn_tls_is_drained(const struct conn_tls *tls);

bool conn_tls_has_pending(const struct conn_tls *tls);
struct str conn_tls_sni(const struct conn_tls *tls);
struct str conn_tls_alpn(const struct conn_tls *tls);

#endif
