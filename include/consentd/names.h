/*
 * names.h - addresses of host names, as fresh as their TTL wants. layer: net
 *
 *   first question --> /etc/hosts, else A and AAAA --> the addresses --(TTL)--> asked again --> ...
 *
 * A name that somebody has asked for is looked up again in the background whenever its time is
 * over (between NAMES_TTL_MIN_MS and NAMES_TTL_MAX_MS), for as long as the loop lives: only the
 * first question ever waits, and a changed record is noticed without anybody asking. Names come
 * from the configuration, so there are as many as it names.
 *
 * A resolver that is silent or broken changes nothing: the last good addresses stay. A name that
 * is said not to exist keeps them for NAMES_GONE_MS, then it has none.
 *
 * /etc/hosts wins, and is read again when it has changed. In the sandbox a file that was replaced
 * by another one (not written to) cannot be opened: whoever can hands the new contents in.
 *
 * Nothing here blocks but reading that one small file.
 */
#ifndef CONSENTD_NAMES_H
#define CONSENTD_NAMES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "consentd/attr.h"
#include "consentd/str.h"

struct loop;
struct name;
struct names;

#define NAMES_ADDRESSES_MAX 8       /* of one name and family; more are passed over */
#define NAMES_TTL_MIN_MS    1000    /* a shorter TTL counts as this */
#define NAMES_TTL_MAX_MS    3600000 /* a longer one as this */
#define NAMES_RETRY_MS      3000    /* after no answer, or a bad one */
#define NAMES_HOSTS_MS      5000    /* so often /etc/hosts is looked at */
#define NAMES_GONE_MS       30000   /* a name that is gone keeps its addresses so long */
#define NAMES_HOSTS_MAX     1048576 /* bytes of /etc/hosts */

union name_address {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

/* One per loop, made and freed by it. */
struct names *names_new(struct loop *loop);
void names_free(struct names *names);

/* Asks this server (address[:port]) instead of those of /etc/resolv.conf; false: no address. */
MUST_USE bool names_server_add(struct names *names, const char *server);

/* True when names_server_add() would take it. */
MUST_USE bool names_server_check(const char *server);

/*
 * What /etc/hosts says by now. fd is a sealed memory file (memfile.h), which is read from its
 * beginning and stays the caller's; one that others could still change is refused, and logged.
 */
void names_take_hosts(struct names *names, int fd);

/*
 * Likewise the servers and search domains of another /etc/resolv.conf; nothing where servers were
 * added.
 */
void names_take_resolv(struct names *names, int fd);

/* The entry of a host name; lives as long as the loop. Looks it up when it is new. */
struct name *names_find(struct names *names, const char *host);

/*
 * Its addresses, IPv4 first, without ports; 0: none. Every call begins with another one of the
 * family, so that several share the load.
 */
unsigned name_addresses(struct name *name, union name_address *out, unsigned max);

/* Another number whenever an address came or went. */
uint32_t name_version(const struct name *name);

/* True when this is one of its addresses, whatever the port. */
bool name_has(const struct name *name, const struct sockaddr *address);

/* Embedded in its owner, zeroed at first. */
struct name_wait {
    void (*fn)(void *arg);
    void *arg;
    struct name_wait *prev, *next; /* private */
    struct name *name;             /* private */
};

/* True: name_addresses() says all that is known. False: fn is called once, from the loop. */
MUST_USE bool name_wait(struct name *name, struct name_wait *wait);

/* Takes the wait back. One that is not out is left alone. */
void name_unwait(struct name_wait *wait);

/*
 * Pure: the addresses that a text in the format of hosts(5) gives a name. Returns how many, of
 * each family at most NAMES_ADDRESSES_MAX.
 */
unsigned names_of_hosts(struct str text, struct str host, union name_address *out, unsigned max);

#endif
