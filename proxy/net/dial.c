/*
 * dial.c - conn_dial: finds addresses and connects to the first that answers.
 *
 *   unix, numeric -> one address        name -> names.c -> a list
 *   for each address: connect(2) -> wait for EV_WRITE -> SO_ERROR: 0 connected, else the next
 *
 * Everything that can fail does so later, through on_closed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "conn_priv.h"
#include "consentd/endpoint.h"
#include "consentd/mem.h"
#include "consentd/names.h"

#define ADDRESSES_MAX      8    /* tried for one name */
#define CONNECT_TIMEOUT_MS 5000 /* when the caller gives none */
#define ATTEMPT_MS_MIN     250  /* for one address, when another one is left */

union address {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

struct dial {
    struct conn *conn; /* borrowed */
    struct endpoint ep;
    struct tls_client *tls; /* borrowed */
    char name[ENDPOINT_HOST_MAX];
    union address addresses[ADDRESSES_MAX];
    socklen_t lens[ADDRESSES_MAX];
    unsigned cnt, next;
    uint64_t timeout_ms; /* of all attempts together */
    int fd;              /* owned while connecting */
    struct event event;
    bool event_on;
    enum conn_why why;
    struct name *found; /* borrowed from the loop; NULL: no look-up is needed */
    struct name_wait wait;
};

static void try_next(struct dial *dial);

static void attempt_end(struct dial *dial)
{
    if (dial->event_on)
        event_del(&dial->event);
    dial->event_on = false;
    if (dial->fd >= 0)
        close(dial->fd);
    dial->fd = -1;
}

void dial_free(struct dial *dial)
{
    if (dial == NULL)
        return;
    attempt_end(dial);
    name_unwait(&dial->wait);
    free(dial);
}

/* Hands the socket over; the dial is done. */
static void connected(struct dial *dial)
{
    struct conn *c = dial->conn;
    const union address *address = &dial->addresses[dial->next - 1];
    int fd = dial->fd;

    event_del(&dial->event);
    dial->event_on = false;
    dial->fd = -1;
    if (address->sa.sa_family == AF_INET)
        c->peer.in = address->in;
    else if (address->sa.sa_family == AF_INET6)
        c->peer.in6 = address->in6;
    else
        c->peer.sa.sa_family = AF_UNIX;
    if (dial->tls != NULL) {
        c->tls = conn_tls_client(dial->tls, fd, dial->name);
        if (c->tls == NULL) {
            c->fd = fd; /* closed with the connection */
            conn_fail(c, CONN_WHY_TLS);
            return;
        }
    }
    c->dial = NULL;
    conn_connected(c, fd);
    dial_free(dial);
}

static void on_connect(evutil_socket_t fd, short what, void *arg)
{
    struct dial *dial = arg;
    int error = 0;
    socklen_t len = sizeof(error);

    if (!(what & EV_TIMEOUT) && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 &&
        error == 0) {
        connected(dial);
        return;
    }
    attempt_end(dial);
    try_next(dial);
}

/* Waits for the connect; an address that is silent leaves time for those behind it. */
static bool attempt_wait(struct dial *dial)
{
    uint64_t ms = dial->timeout_ms / dial->cnt;
    struct timeval tv;

    if (ms < ATTEMPT_MS_MIN)
        ms = ATTEMPT_MS_MIN;
    tv =
        (struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    if (event_assign(&dial->event, loop_base(dial->conn->loop), dial->fd, EV_WRITE, on_connect,
                     dial) != 0)
        return false;
    dial->event_on = event_add(&dial->event, dial->next < dial->cnt ? &tv : NULL) == 0;
    return dial->event_on;
}

static bool attempt(struct dial *dial, const union address *address, socklen_t len)
{
    const int on = 1;

    dial->fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (dial->fd < 0)
        return false;
    if (address->sa.sa_family != AF_UNIX)
        setsockopt(dial->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(dial->fd, &address->sa, len) != 0 && errno != EINPROGRESS)
        return false;
    return attempt_wait(dial);
}

static void try_next(struct dial *dial)
{
    while (dial->next < dial->cnt) {
        unsigned i = dial->next++;

        if (attempt(dial, &dial->addresses[i], dial->lens[i]))
            return;
        attempt_end(dial);
    }
    conn_fail(dial->conn, dial->why);
}

static void address_add(struct dial *dial, const void *address, socklen_t len)
{
    if (dial->cnt == ADDRESSES_MAX || len > sizeof(union address))
        return;
    memcpy(&dial->addresses[dial->cnt], address, len);
    dial->lens[dial->cnt++] = len;
}

static void on_resolved(void *arg)
{
    struct dial *dial = arg;
    union name_address list[ADDRESSES_MAX];
    unsigned cnt = name_addresses(dial->found, list, COUNT_OF(list));

    for (unsigned i = 0; i < cnt; i++) {
        if (list[i].sa.sa_family == AF_INET) {
            list[i].in.sin_port = htons(dial->ep.port);
            address_add(dial, &list[i], sizeof(list[i].in));
        } else {
            list[i].in6.sin6_port = htons(dial->ep.port);
            address_add(dial, &list[i], sizeof(list[i].in6));
        }
    }
    if (dial->cnt == 0)
        dial->why = CONN_WHY_RESOLVE;
    try_next(dial);
}

static bool numeric(struct dial *dial)
{
    union address address;

    memset(&address, 0, sizeof(address));
    if (inet_pton(AF_INET, dial->ep.host, &address.in.sin_addr) == 1) {
        address.in.sin_family = AF_INET;
        address.in.sin_port = htons(dial->ep.port);
        address_add(dial, &address, sizeof(address.in));
        return true;
    }
    if (inet_pton(AF_INET6, dial->ep.host, &address.in6.sin6_addr) == 1) {
        address.in6.sin6_family = AF_INET6;
        address.in6.sin6_port = htons(dial->ep.port);
        address_add(dial, &address, sizeof(address.in6));
        return true;
    }
    return false;
}

static void dial_start(struct dial *dial)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    if (dial->ep.is_unix) {
        memcpy(un.sun_path, dial->ep.path, sizeof(dial->ep.path));
        address_add(dial, &un, sizeof(un));
        try_next(dial);
    } else if (numeric(dial)) {
        try_next(dial);
    } else {
        dial->found = names_find(loop_names(dial->conn->loop), dial->ep.host);
        dial->wait = (struct name_wait){.fn = on_resolved, .arg = dial};
        if (name_wait(dial->found, &dial->wait))
            on_resolved(dial);
    }
}

struct conn *conn_dial(struct loop *loop, const struct endpoint *ep,
                       const struct conn_dial_opts *opts, const struct conn_ops *ops, void *owner)
{
    struct conn *c = conn_new(loop, ops, owner);
    struct dial *dial = mem_new(struct dial);
    const char *name = opts->sni != NULL ? opts->sni : ep->host;

    c->dial = dial;
    c->peer.sa.sa_family = AF_UNSPEC;
    dial->conn = c;
    dial->ep = *ep;
    dial->tls = opts->tls;
    dial->fd = -1;
    dial->why = CONN_WHY_CONNECT;
    snprintf(dial->name, sizeof(dial->name), "%s", name);
    dial->timeout_ms =
        opts->connect_timeout_ms != 0 ? opts->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    timer_set(&c->timer, dial->timeout_ms);
    dial_start(dial);
    return c;
}
