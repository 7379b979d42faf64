/*
 * peer_budget.c - contract in consentd/peer_budget.h.
 *
 * Open addressing in groups: an address hashes to one group of WAYS places and lives nowhere
 * else, so looking it up, taking a place and giving one away touch two cache lines and never
 * walk. The bucket is kept as the time at which it will be full again (GCRA): a full bucket is
 * a time that has passed, and needs no refilling.
 */
#include "consentd/peer_budget.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "consentd/mem.h"
#include "consentd/str.h"

#define WAYS   8
#define GROUPS (PEER_BUDGET_PLACES / WAYS)

struct place {
    uint64_t address;     /* 0: never used */
    uint64_t full_at_us;  /* the bucket is full from then on */
    uint32_t connections; /* open now */
};

struct peer_budget {
    struct peer_budget_limits limits;
    uint8_t key[16];
    uint64_t cost_us;  /* of one request: a second by the rate */
    uint64_t depth_us; /* of the bucket: burst requests */
    struct place places[PEER_BUDGET_PLACES];
};

struct peer_budget *peer_budget_new(const struct peer_budget_limits *limits, const uint8_t key[16])
{
    struct peer_budget *b = mem_new(struct peer_budget);

    b->limits = *limits;
    memcpy(b->key, key, sizeof(b->key));
    if (limits->requests_per_second > 0) {
        b->cost_us = 1000000 / limits->requests_per_second;
        b->cost_us += b->cost_us == 0;
        b->depth_us = b->cost_us * (limits->burst > 0 ? limits->burst : 1);
    }
    return b;
}

void peer_budget_free(struct peer_budget *b)
{
    free(b);
}

/* Never 0 for an address that has a budget; 0: none. */
static uint64_t address_of(const struct peer_budget *b, const struct sockaddr *peer)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    uint8_t bytes[9] = {0};

    if (peer->sa_family == AF_INET) {
        memcpy(&in, peer, sizeof(in));
        bytes[0] = 4;
        memcpy(bytes + 1, &in.sin_addr, 4);
    } else if (peer->sa_family == AF_INET6) {
        memcpy(&in6, peer, sizeof(in6));
        bytes[0] = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr) ? 4 : 6;
        if (bytes[0] == 4)
            memcpy(bytes + 1, in6.sin6_addr.s6_addr + 12, 4);
        else
            memcpy(bytes + 1, &in6.sin6_addr, 8); /* the /64 */
    } else {
        return 0;
    }
    return str_hash(str_make(bytes, sizeof(bytes)), b->key) | 1;
}

static bool is_idle(const struct place *p, uint64_t now_us)
{
    return p->connections == 0 && p->full_at_us <= now_us;
}

/* The place of the address, or one for it; NULL: all of its group are in use. */
static struct place *place_of(struct peer_budget *b, uint64_t address, uint64_t now_us)
{
    struct place *group = &b->places[(address >> 1) % GROUPS * WAYS];
    struct place *idle = NULL;

    for (unsigned i = 0; i < WAYS; i++) {
        if (group[i].address == address)
            return &group[i];
        if (idle == NULL && is_idle(&group[i], now_us))
            idle = &group[i];
    }
    if (idle != NULL)
        *idle = (struct place){.address = address};
    return idle;
}

bool peer_budget_connect(struct peer_budget *b, const struct sockaddr *peer, uint64_t now_ms)
{
    uint64_t address = address_of(b, peer);
    struct place *p;

    if (b->limits.connections == 0 || address == 0)
        return true;
    p = place_of(b, address, now_ms * 1000);
    if (p == NULL)
        return true;
    if (p->connections >= b->limits.connections)
        return false;
    p->connections++;
    return true;
}

void peer_budget_disconnect(struct peer_budget *b, const struct sockaddr *peer, uint64_t now_ms)
{
    uint64_t address = address_of(b, peer);
    struct place *p;

    if (b->limits.connections == 0 || address == 0)
        return;
    p = place_of(b, address, now_ms * 1000);
    if (p != NULL && p->connections > 0) /* 0: it came in while its group was full */
        p->connections--;
}

bool peer_budget_request(struct peer_budget *b, const struct sockaddr *peer, uint64_t now_ms,
                         unsigned *retry_s_out)
{
    uint64_t address = address_of(b, peer);
    uint64_t now_us = now_ms * 1000;
    uint64_t full_at_us;
    struct place *p;

    if (b->cost_us == 0 || address == 0)
        return true;
    p = place_of(b, address, now_us);
    if (p == NULL)
        return true;
    full_at_us = (p->full_at_us > now_us ? p->full_at_us : now_us) + b->cost_us;
    if (full_at_us - now_us > b->depth_us) {
        *retry_s_out = (unsigned)((full_at_us - now_us - b->depth_us + 999999) / 1000000);
        return false;
    }
    p->full_at_us = full_at_us;
    return true;
}

unsigned peer_budget_known(const struct peer_budget *b)
{
    unsigned cnt = 0;

    for (unsigned i = 0; i < PEER_BUDGET_PLACES; i++)
        cnt += b->places[i].address != 0;
    return cnt;
}
