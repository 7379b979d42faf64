/*
 * networks.h - a list of networks, and whether an address is in one of them. layer: net
 *
 *   "10.0.0.0/8"  "192.0.2.7"  "2001:db8::/32"  "unix" (whoever comes over a unix socket)
 *
 * An IPv4 address that came to an IPv6 socket (::ffff:192.0.2.7) is that IPv4 address. A
 * network with bits behind its prefix (10.1.2.3/8) is refused: it is a slip of the pen, and
 * what was meant cannot be known. Pure: no I/O, no name is resolved.
 */
#ifndef CONSENTD_NETWORKS_H
#define CONSENTD_NETWORKS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"

struct networks;

/* The list of cnt texts; NULL with the index of the bad one and what is wrong with it. */
MUST_USE struct networks *networks_new(const char *const *texts, size_t cnt, struct fault *f);
void networks_free(struct networks *n); /* NULL is fine */

/* False also for an empty list and for a NULL list. */
bool networks_has(const struct networks *n, const struct sockaddr *address);

/*
 * An address as proxies write it: "192.0.2.7", "192.0.2.7:80", "2001:db8::1", "[2001:db8::1]",
 * "[2001:db8::1]:80". False, and *out is untouched, for everything else.
 */
MUST_USE bool address_parse(struct str text, struct sockaddr_storage *out);

#endif
