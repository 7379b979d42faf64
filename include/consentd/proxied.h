/*
 * proxied.h - connections from a load balancer that says who the client is. layer: net
 *
 *   listener --on_accept--> proxied_start() --header read--> fn(owner, fd, client)
 *                                           `-- bad, silent or too many: closed
 *
 * The PROXY header (proxy_proto.h) stands before everything, TLS too, so it is taken off the
 * socket before a conn is made of it. What follows it stays in the kernel for the conn.
 */
#ifndef CONSENTD_PROXIED_H
#define CONSENTD_PROXIED_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "consentd/attr.h"
#include "consentd/listener.h"

struct loop;
struct proxied;

#define PROXIED_MAX 4096  /* connections whose header has not come; more are closed */
#define PROXIED_MS  10000 /* a header takes no longer */

/* fn gets each connection with the client's address, as a listener would give it. */
struct proxied *proxied_new(struct loop *loop, listener_fn fn, void *owner);

/* Closes those that still wait. NULL is fine; not from inside fn. */
void proxied_free(struct proxied *p);

/* Takes over fd. peer is the balancer: it stands when the header names nobody. */
void proxied_start(struct proxied *p, int fd, const struct sockaddr *peer, socklen_t len);

/* Connections whose header has not come. */
unsigned proxied_waiting(const struct proxied *p);

#endif
