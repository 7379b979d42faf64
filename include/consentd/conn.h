/*
 * conn.h - one non-blocking connection, plain or TLS. layer: net
 *
 *   CONNECTING -> HANDSHAKE -> OPEN -> SHUT_WRITE -> DEAD
 *      (dial)       (TLS)
 *
 * Raw readiness events; reads and writes are tried at once, and EV_WRITE is registered only
 * after EAGAIN. Reads go into the loop's one scratch buffer: an idle connection holds no
 * buffer. What on_data does not take is kept (at most CONN_KEEP_MAX bytes; then reading
 * pauses) and shown again with more behind it.
 *
 * Every function may be called from inside every callback. After conn_close() or conn_reset() no
 * callback comes any more and the pointer must not be used; the memory goes at the end of the
 * loop turn. on_closed is the last call for its owner; the connection closes itself after it.
 */
#ifndef CONSENTD_CONN_H
#define CONSENTD_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "consentd/attr.h"
#include "consentd/str.h"

struct conn;
struct endpoint;
struct loop;
struct tls_client;
struct tls_server;

#define CONN_KEEP_MAX     (256u * 1024)       /* bytes not taken by on_data that are kept */
#define CONN_QUEUE_LOW    (64u * 1024)        /* default marks, see conn_set_marks */
#define CONN_QUEUE_HIGH   (256u * 1024)       /* conn_is_choked() above this */
#define CONN_QUEUE_MAX    (32u * 1024 * 1024) /* conn_write() fails above this */
#define CONN_READ_BUDGET  4                   /* reads of one connection per turn */
#define CONN_HANDSHAKE_MS 10000               /* a TLS handshake takes no longer */
#define CONN_FLUSH_MS     30000               /* see conn_set_pace */
#define CONN_FLUSH_LEAST  4096

/* Why a connection is over. */
enum conn_why {
    CONN_WHY_ERROR = 0, /* reset, broken pipe, or another socket error */
    CONN_WHY_EOF,       /* both directions ended in order */
    CONN_WHY_CONNECT,   /* could not connect: refused, unreachable */
    CONN_WHY_RESOLVE,   /* the name has no address */
    CONN_WHY_TIMEOUT,   /* connecting or the handshake took too long */
    CONN_WHY_TLS,       /* the handshake or a record failed; certificate refused */
};

/* "refused or unreachable", …: for logs. */
const char *conn_strerror(enum conn_why why);

struct conn_ops {
    /*
     * Bytes came. Returns how many were taken; the rest is shown again together with more, or
     * after conn_resume_read(). data is valid during the call only.
     */
    size_t (*on_data)(void *owner, const uint8_t *data, size_t len);
    void (*on_open)(void *owner);     /* connected, TLS done; may be NULL */
    void (*on_eof)(void *owner);      /* the peer sends no more; writing still works; may be NULL */
    void (*on_writable)(void *owner); /* the queue fell to the low mark; may be NULL */
    void (*on_closed)(void *owner, enum conn_why why); /* the last call */
    /*
     * The peer's FIN arrived, perhaps behind bytes that are still unread; on_eof follows them. May
     * be NULL. TLS may end without one.
     */
    void (*on_fin)(void *owner);
    bool eager; /* a reset is told at once, also behind bytes that a pause leaves unread */
};

/*
 * Takes over an accepted socket. With tls the handshake runs first; on_open comes after it, and
 * for plain sockets from the loop, never from inside this call. Never NULL.
 */
struct conn *conn_accept(struct loop *loop, int fd, struct tls_server *tls,
                         const struct conn_ops *ops, void *owner);

struct conn_dial_opts {
    uint64_t connect_timeout_ms; /* name, connect and handshake together; 0: 5 s */
    struct tls_client *tls;      /* NULL: plain text */
    const char *sni;             /* name to send and to verify; NULL: the endpoint's host */
};

/*
 * Connects: numeric addresses and unix sockets at once, names through the loop's resolver, each
 * address in turn. Success is on_open, failure on_closed; both come later. Never NULL.
 */
struct conn *conn_dial(struct loop *loop, const struct endpoint *ep,
                       const struct conn_dial_opts *opts, const struct conn_ops *ops, void *owner);

/* Another owner takes the connection (a pool, a request). */
void conn_set_owner(struct conn *c, const struct conn_ops *ops, void *owner);

/* Sends what is queued and this, in one call to the kernel; keeps what it does not take. False:
 * over the queue's maximum, or dead: the owner should close. */
MUST_USE bool conn_write(struct conn *c, const void *data, size_t len);

/* Appends only: sent with the next conn_write(), or at the end of this turn. */
MUST_USE bool conn_queue(struct conn *c, const void *data, size_t len);

/* Bytes not taken by the kernel yet. */
size_t conn_queued(const struct conn *c);

/*
 * A figure that changes whenever the peer takes bytes, also from the kernel's own queue: who
 * sees the same figure twice looks at a peer that has stopped reading. Asks the kernel.
 */
uint64_t conn_progress(const struct conn *c);

/* True above the high mark: stop producing until on_writable. */
bool conn_is_choked(const struct conn *c);

/* low <= high <= max, bytes. */
void conn_set_marks(struct conn *c, size_t low, size_t high, size_t max);

/* Back-pressure. Paused: no on_data; the kernel's window fills, the peer slows down. */
void conn_pause_read(struct conn *c);
void conn_resume_read(struct conn *c);

/*
 * How slow a peer may be that conn_close_flush() waits for: in each silence_ms it takes `least`
 * bytes, or all that was queued when they began. CONN_FLUSH_* when it is not said.
 */
void conn_set_pace(struct conn *c, uint64_t silence_ms, uint64_t least);

/* No more writes: when the queue is out, close_notify (TLS) and FIN. Reading goes on. */
void conn_shut_write(struct conn *c);

/* Closes now; what is queued is lost. */
void conn_close(struct conn *c);

/*
 * Writes the queue, then FIN, then reads and drops at most linger_ms so that the peer sees the
 * answer and no reset, then closes. The owner is let go at once: no callback comes any more,
 * except on_closed for an owner that conn_set_owner() names afterwards. False: there was
 * nothing to wait for, it is closed already.
 */
bool conn_close_flush(struct conn *c, uint64_t linger_ms);

/* Closes with a reset: a cut answer must not look like a complete one. */
void conn_reset(struct conn *c);

/* Open both ways, nothing unread, nothing queued, no end seen: asks the kernel. */
bool conn_is_reusable(struct conn *c);

/* The same as far as it is known without asking: the kernel's queue was empty when last read. */
bool conn_is_quiet(const struct conn *c);

bool conn_is_open(const struct conn *c); /* connected, not closing */
bool conn_is_tls(const struct conn *c);
const struct sockaddr *conn_peer(const struct conn *c); /* family AF_UNIX or AF_UNSPEC if unknown */
struct str conn_sni(const struct conn *c);  /* name the client asked for; empty if none */
struct str conn_alpn(const struct conn *c); /* protocol agreed on; empty if none */
int conn_fd(const struct conn *c);          /* for SO_PEERCRED and tests; -1 while resolving */

#endif
