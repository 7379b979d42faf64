/*
 * listener.c - contract in consentd/listener.h.
 */
#include "consentd/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/str.h"
#include "consentd/timer.h"

struct listener {
    struct loop *loop; /* borrowed */
    int fd;            /* owned */
    listener_fn on_accept;
    void *owner;
    listener_gate_fn gate; /* NULL: always */
    void *gate_arg;
    unsigned owed;       /* connections that the gate is not asked about */
    struct event *event; /* owned */
    struct timer retry;
    struct event *moment; /* owned; finer than a timer. NULL: there is no gate */
    bool paused;
    bool freed, busy; /* listener_free() from inside on_accept */
};

static int bind_unix(struct str path, struct fault *f)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct stat st;
    int fd;

    if (path.len == 0 || path.len >= sizeof(un.sun_path)) {
        fault_set(f, "unix:%.*s: expected a path of 1 to %zu bytes", STR_ARGS(path),
                  sizeof(un.sun_path) - 1);
        return -1;
    }
    memcpy(un.sun_path, path.ptr, path.len);
    if (lstat(un.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(un.sun_path); /* of a predecessor; whoever still listens keeps its own */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&un, sizeof(un)) == 0 &&
        listen(fd, LISTENER_BACKLOG) == 0)
        return fd;
    fault_set_errno(f, "unix:%.*s", STR_ARGS(path));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* "host:port" or "[v6]:port" into two NUL-terminated texts. */
static bool address_split(const char *address, char host[64], char port[8])
{
    struct str whole = str_c(address);
    ptrdiff_t colon = str_find_last_char(whole, ':');
    struct str name, number;

    if (colon < 0)
        return false;
    name = str_slice(whole, 0, (size_t)colon);
    number = str_slice(whole, (size_t)colon + 1, whole.len);
    if (name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']')
        name = str_slice(name, 1, name.len - 2);
    if (name.len == 0 || name.len >= 64 || number.len == 0 || number.len >= 8)
        return false;
    memcpy(host, name.ptr, name.len);
    host[name.len] = '\0';
    memcpy(port, number.ptr, number.len);
    port[number.len] = '\0';
    return true;
}

static int bind_tcp(const struct addrinfo *ai)
{
    const int on = 1;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (ai->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, LISTENER_BACKLOG) == 0)
        return fd;
    int error = errno;

    close(fd);
    errno = error;
    return -1;
}

/* A TCP address without looking anything up; NULL with what would be right. */
static struct addrinfo *address_read(const char *address, struct fault *f)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *ai = NULL;
    char host[64];
    char port[8];
    uint64_t number;

    if (address_split(address, host, port) && str_to_u64(str_c(port), UINT16_MAX, &number) &&
        getaddrinfo(host, port, &hints, &ai) == 0)
        return ai;
    fault_set(f, "\"%s\": expected ADDRESS:PORT as 0.0.0.0:443 or [::]:443, or unix:/PATH",
              address);
    return NULL;
}

bool listener_is_local(const char *address)
{
    struct fault why = {0};
    struct addrinfo *ai;
    bool local = false;

    if (str_starts(str_c(address), STR("unix:")))
        return true;
    ai = address_read(address, &why);
    if (ai == NULL)
        return false;
    if (ai->ai_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)ai->ai_addr;
        local = ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    } else if (ai->ai_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)ai->ai_addr;
        local = IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    }
    freeaddrinfo(ai);
    return local;
}

bool listener_check(const char *address, struct fault *f)
{
    struct str path = str_c(address);
    struct addrinfo *ai;

    if (str_starts(path, STR("unix:"))) {
        path = str_slice(path, 5, path.len);
        if (path.len > 0 && path.len < sizeof(((struct sockaddr_un *)NULL)->sun_path))
            return true;
        fault_set(f, "\"%s\": the path has 1 to %zu bytes", address,
                  sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
        return false;
    }
    ai = address_read(address, f);
    if (ai != NULL)
        freeaddrinfo(ai);
    return ai != NULL;
}

int listener_bind(const char *address, struct fault *f)
{
    struct addrinfo *ai;
    int fd;

    if (str_starts(str_c(address), STR("unix:")))
        return bind_unix(str_c(address + 5), f);
    ai = address_read(address, f);
    if (ai == NULL)
        return -1;
    fd = bind_tcp(ai);
    int error = errno;

    if (fd < 0)
        fault_set_errno(f, "%s", address);
    freeaddrinfo(ai);
    errno = error;
    return fd;
}

static void listener_destroy(struct listener *l)
{
    timer_clear(&l->retry);
    if (l->event != NULL)
        event_free(l->event);
    if (l->moment != NULL)
        event_free(l->moment);
    close(l->fd);
    free(l);
}

/* One connection; false: none waits, or none can be had now. */
static bool accept_one(struct listener *l)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(peer);
    const int on = 1;
    int fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warn("listener.paused", "reason=\"out of descriptors or memory\" ms=%d",
                     LISTENER_PAUSE_MS);
            event_del(l->event);
            timer_set(&l->retry, LISTENER_PAUSE_MS);
            return false;
        }
        return errno == ECONNABORTED || errno == EINTR;
    }
    if (peer.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    l->on_accept(l->owner, fd, (struct sockaddr *)&peer, len);
    return true;
}

/* True: others first. They have a moment; then it is our turn whatever the gate says. */
static bool yields(struct listener *l)
{
    const struct timeval moment = {.tv_usec = 1000 * LISTENER_YIELD_MS};

    if (l->gate == NULL)
        return false;
    if (l->owed > 0) {
        l->owed--;
        return false;
    }
    if (l->gate(l->gate_arg))
        return false;
    event_del(l->event);
    if (event_add(l->moment, &moment) != 0)
        timer_set(&l->retry, LISTENER_PAUSE_MS);
    l->owed = LISTENER_OWED;
    return true;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct listener *l = arg;

    (void)fd;
    (void)what;
    l->busy = true;
    for (unsigned i = 0; i < LISTENER_BUDGET && !l->freed && !l->paused; i++) {
        if (yields(l))
            break;
        if (!accept_one(l)) {
            l->owed = 0; /* none waits: the next one is asked about again */
            break;
        }
    }
    l->busy = false;
    if (l->freed)
        listener_destroy(l);
}

static void on_retry(void *arg)
{
    struct listener *l = arg;

    if (!l->paused && event_add(l->event, NULL) != 0)
        timer_set(&l->retry, LISTENER_PAUSE_MS);
}

static void on_moment(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    on_retry(arg);
}

struct listener *listener_new(struct loop *loop, int fd, listener_fn fn, void *owner)
{
    struct listener *l = mem_new(struct listener);

    l->loop = loop;
    l->fd = fd;
    l->on_accept = fn;
    l->owner = owner;
    timer_init(&l->retry, loop, on_retry, l);
    l->event = event_new(loop_base(loop), fd, EV_READ | EV_PERSIST, on_accept, l);
    ASSERT(l->event != NULL && event_add(l->event, NULL) == 0);
    return l;
}

void listener_set_gate(struct listener *l, listener_gate_fn fn, void *arg)
{
    l->gate = fn;
    l->gate_arg = arg;
    if (l->moment == NULL)
        l->moment = evtimer_new(loop_base(l->loop), on_moment, l);
    ASSERT(l->moment != NULL);
}

void listener_pause(struct listener *l)
{
    l->paused = true;
    timer_clear(&l->retry);
    if (l->moment != NULL)
        event_del(l->moment);
    event_del(l->event);
}

void listener_resume(struct listener *l)
{
    l->paused = false;
    on_retry(l);
}

void listener_free(struct listener *l)
{
    if (l == NULL)
        return;
    l->freed = true;
    if (!l->busy)
        listener_destroy(l);
}
