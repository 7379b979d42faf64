/*
 * peer_budget.h - what one address may have: connections at a time, and requests by a token
 * bucket. layer: net
 *
 *   accept  -> peer_budget_connect()   false: close it
 *   request -> peer_budget_request()   false: 429, with the seconds until the next one
 *   closed  -> peer_budget_disconnect()
 *
 * An address is an IPv4 address or an IPv6 /64, which is what one subscriber has. Unix sockets
 * have no budget. The table has a fixed size; an entry whose connections are gone and whose
 * bucket is full again is as good as none, and gives its place away. When a place cannot be
 * found, the address is let through: this is protection for the site, not for a secret.
 *
 * Pure: time is an argument (monotonic milliseconds, never running backwards). One table per
 * worker, no locks: with W workers an address may have up to W times the budget.
 */
#ifndef CONSENTD_PEER_BUDGET_H
#define CONSENTD_PEER_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"

struct peer_budget;
struct sockaddr;

#define PEER_BUDGET_PLACES 16384 /* addresses known at a time: 24 bytes each */

struct peer_budget_limits {
    unsigned connections;         /* at a time; 0: no limit */
    unsigned requests_per_second; /* refill of the bucket; 0: no limit */
    unsigned burst;               /* size of the bucket; at least 1 where there is a limit */
};

/* Copies *limits. key: random, so that nobody can choose addresses that fall together. */
struct peer_budget *peer_budget_new(const struct peer_budget_limits *limits, const uint8_t key[16]);
void peer_budget_free(struct peer_budget *b); /* NULL is fine */

/* Counts a connection. False, and nothing was counted: the address has all it may have. */
MUST_USE bool peer_budget_connect(struct peer_budget *b, const struct sockaddr *peer,
                                  uint64_t now_ms);

/* For every connect that was true, once. */
void peer_budget_disconnect(struct peer_budget *b, const struct sockaddr *peer, uint64_t now_ms);

/* Takes one from the bucket. False: it is empty; *retry_s_out (1 or more) says for how long. */
MUST_USE bool peer_budget_request(struct peer_budget *b, const struct sockaddr *peer,
                                  uint64_t now_ms, unsigned *retry_s_out);

/* Addresses that have a place now; for tests and status. */
unsigned peer_budget_known(const struct peer_budget *b);

#endif
