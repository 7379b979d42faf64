/*
 * listener.h - accepting connections on a socket. layer: net
 *
 * At most LISTENER_BUDGET connections per turn, so that those already here are not starved.
 * When descriptors run out (EMFILE, ENFILE) the listener pauses and tries again a little
 * later: the waiting connections stay in the kernel's queue and nothing spins.
 *
 * Processes that share one socket wake up together, and the fastest would take a whole burst. A
 * gate (listener_set_gate) lets one that has more than others leave it to them for a moment; if
 * they do not come, it goes on by LISTENER_OWED.
 */
#ifndef CONSENTD_LISTENER_H
#define CONSENTD_LISTENER_H

#include <stdbool.h>
#include <sys/socket.h>

#include "consentd/attr.h"
#include "consentd/fault.h"

struct listener;
struct loop;

#define LISTENER_BUDGET   64   /* connections accepted per turn */
#define LISTENER_BACKLOG  4096 /* connections that wait in the kernel */
#define LISTENER_PAUSE_MS 200  /* after running out of descriptors */
#define LISTENER_YIELD_MS 1    /* left to the others, when the gate says so */
#define LISTENER_OWED     8    /* connections taken after that without asking it */

/*
 * Binds and listens: "0.0.0.0:443", "[::]:443", "127.0.0.1:0", "unix:/path" (an old socket
 * file is replaced). Returns a non-blocking descriptor, close-on-exec, or -1 with the reason and,
 * for TCP, errno.
 */
MUST_USE int listener_bind(const char *address, struct fault *f);

/* Whether listener_bind() could understand the address; nothing is bound. */
MUST_USE bool listener_check(const char *address, struct fault *f);

/* Whether an address that listener_check() takes is reached from this machine alone. */
MUST_USE bool listener_is_local(const char *address);

/* A new connection: non-blocking, close-on-exec, TCP_NODELAY. The callee owns fd. */
typedef void (*listener_fn)(void *owner, int fd, const struct sockaddr *peer, socklen_t len);

/* Accepts on fd, which it closes when it is freed. Never NULL. */
struct listener *listener_new(struct loop *loop, int fd, listener_fn fn, void *owner);

/* Asked before each accept; false: others first. */
typedef bool (*listener_gate_fn)(void *arg);
void listener_set_gate(struct listener *l, listener_gate_fn fn, void *arg);

void listener_pause(struct listener *l);  /* no more accepts; the socket stays open */
void listener_resume(struct listener *l); /* goes on */
void listener_free(struct listener *l);   /* NULL is fine; also from inside on_accept */

#endif
