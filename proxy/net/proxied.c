/*
 * proxied.c - contract in consentd/proxied.h.
 *
 * The header is looked at with MSG_PEEK and read only when it is whole, so that not one byte of the
 * client's is taken. Edge-triggered: a header that comes in pieces wakes us once per piece.
 */
#include "consentd/proxied.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/proxy_proto.h"
#include "consentd/timer.h"

/* One connection that waits for its header. */
struct greeting {
    struct proxied *owner;
    struct greeting *prev, *next;
    int fd; /* owned; -1: handed on or closed */
    struct event event;
    struct timer timer;
    struct deferred reap;
    struct sockaddr_storage peer;
    socklen_t peer_len;
};

struct proxied {
    struct loop *loop; /* borrowed */
    listener_fn fn;
    void *owner;
    struct greeting *first;
    unsigned cnt;
};

static void on_reap(void *arg)
{
    free(arg);
}

/* Takes it out of the list; the descriptor is the caller's. */
static int greeting_end(struct greeting *g)
{
    struct proxied *p = g->owner;
    int fd = g->fd;

    g->fd = -1;
    event_del(&g->event);
    timer_clear(&g->timer);
    if (g->prev != NULL)
        g->prev->next = g->next;
    else
        p->first = g->next;
    if (g->next != NULL)
        g->next->prev = g->prev;
    p->cnt--;
    g->reap = (struct deferred){.fn = on_reap, .arg = g};
    loop_defer(p->loop, &g->reap);
    return fd;
}

static void greeting_refuse(struct greeting *g, const char *why)
{
    char text[LOG_PEER_MAX];

    log_warn("proxy.refused", "peer=%s reason=\"%s\"",
             log_peer((const struct sockaddr *)(const void *)&g->peer, text), why);
    (void)close(greeting_end(g));
}

static void on_timer(void *arg)
{
    greeting_refuse(arg, "no PROXY header in time");
}

static void greeting_done(struct greeting *g, const struct proxy_proto *header)
{
    struct proxied *p = g->owner;
    bool named = header->client_len > 0;
    const struct sockaddr_storage *from = named ? &header->client : &g->peer;
    uint8_t dropped[PROXY_PROTO_MAX];

    if (recv(g->fd, dropped, header->used, 0) != (ssize_t)header->used) {
        greeting_refuse(g, "cannot be read");
        return;
    }
    p->fn(p->owner, greeting_end(g), (const struct sockaddr *)(const void *)from,
          named ? header->client_len : g->peer_len);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct greeting *g = arg;
    uint8_t bytes[PROXY_PROTO_MAX];
    struct proxy_proto header;
    ssize_t len = recv(g->fd, bytes, sizeof(bytes), MSG_PEEK);

    (void)fd;
    (void)what;
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len <= 0) {
        greeting_refuse(g, "closed before a PROXY header");
        return;
    }
    switch (proxy_proto_read(str_make(bytes, (size_t)len), &header)) {
    case PROXY_PROTO_OK:
        greeting_done(g, &header);
        break;
    case PROXY_PROTO_MORE:
        break; /* never with PROXY_PROTO_MAX bytes in hand */
    case PROXY_PROTO_BAD:
        greeting_refuse(g, "no PROXY header");
        break;
    }
}

struct proxied *proxied_new(struct loop *loop, listener_fn fn, void *owner)
{
    struct proxied *p = mem_new(struct proxied);

    p->loop = loop;
    p->fn = fn;
    p->owner = owner;
    return p;
}

void proxied_free(struct proxied *p)
{
    if (p == NULL)
        return;
    while (p->first != NULL)
        (void)close(greeting_end(p->first));
    free(p);
}

void proxied_start(struct proxied *p, int fd, const struct sockaddr *peer, socklen_t len)
{
    struct greeting *g;

    if (p->cnt == PROXIED_MAX) {
        (void)close(fd);
        return;
    }
    g = mem_new(struct greeting);
    g->owner = p;
    g->fd = fd;
    g->peer_len = len < sizeof(g->peer) ? len : (socklen_t)sizeof(g->peer);
    memcpy(&g->peer, peer, g->peer_len);
    g->next = p->first;
    if (g->next != NULL)
        g->next->prev = g;
    p->first = g;
    p->cnt++;
    timer_init(&g->timer, p->loop, on_timer, g);
    timer_set(&g->timer, PROXIED_MS);
    if (event_assign(&g->event, loop_base(p->loop), fd, EV_READ | EV_ET | EV_PERSIST, on_readable,
                     g) != 0 ||
        event_add(&g->event, NULL) != 0)
        greeting_refuse(g, "no event");
}

unsigned proxied_waiting(const struct proxied *p)
{
    return p->cnt;
}
