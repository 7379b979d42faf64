/*
 * conn.c - contract in consentd/conn.h.
 *
 * Edge-triggered reading: an edge sets `readable`, and only EAGAIN (or a read that came back
 * short, when no FIN is waiting behind it) clears it. Whatever stops reading earlier - the
 * budget, a pause - leaves the flag, and a deferred kick goes on from it: no edge is lost.
 *
 * One thing the edge does not tell: libevent reports bytes and a reset behind them as plain
 * EV_READ. So a short read starts the doubt timer, which every further read moves; when the
 * connection has been quiet for DOUBT_MS one more read asks the kernel. That costs no system
 * call while messages flow.
 *
 * Failures found while writing are told at the end of the turn, never from inside the
 * caller's own call.
 */
#include "consentd/conn.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "conn_priv.h"
#include "consentd/mem.h"
#include "loop_priv.h"

#define DOUBT_MS 100 /* quiet after a short read: look for a reset */

static void on_later(void *arg);
static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_can_write(evutil_socket_t fd, short what, void *arg);
static void on_timer(void *arg);
static void on_doubt(void *arg);

const char *conn_strerror(enum conn_why why)
{
    static const char *const words[] = {
        [CONN_WHY_ERROR] = "connection reset",
        [CONN_WHY_EOF] = "closed by the peer",
        [CONN_WHY_CONNECT] = "refused or unreachable",
        [CONN_WHY_RESOLVE] = "the name has no address",
        [CONN_WHY_TIMEOUT] = "timed out",
        [CONN_WHY_TLS] = "TLS failed",
    };

    return words[why];
}

/* --- life --- */

static void later(struct conn *c)
{
    loop_defer(c->loop, &c->later);
}

struct conn *conn_new(struct loop *loop, const struct conn_ops *ops, void *owner)
{
    struct conn *c = mem_new(struct conn);

    c->loop = loop;
    c->ops = ops;
    c->owner = owner;
    c->fd = -1;
    c->low = CONN_QUEUE_LOW;
    c->high = CONN_QUEUE_HIGH;
    conn_set_pace(c, CONN_FLUSH_MS, CONN_FLUSH_LEAST);
    c->later.fn = on_later;
    c->later.arg = c;
    buf_init(&c->keep, CONN_KEEP_MAX + LOOP_SCRATCH_LEN);
    buf_init(&c->queue, CONN_QUEUE_MAX);
    timer_init(&c->timer, loop, on_timer, c);
    timer_init(&c->doubt, loop, on_doubt, c);
    return c;
}

static void events_off(struct conn *c)
{
    if (c->read_on)
        event_del(&c->read_event);
    if (c->write_on)
        event_del(c->write_event);
    c->read_on = c->write_on = false;
}

/* The descriptor goes now, the memory at the end of the turn. */
static void conn_kill(struct conn *c)
{
    if (c->state == CONN_DEAD)
        return;
    c->state = CONN_DEAD;
    events_off(c);
    timer_clear(&c->timer);
    timer_clear(&c->doubt);
    dial_free(c->dial);
    c->dial = NULL;
    conn_tls_free(c->tls);
    c->tls = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    later(c);
}

static void conn_free(struct conn *c)
{
    if (c->write_event != NULL)
        event_free(c->write_event);
    buf_free(&c->keep);
    loop_buf_give(c->loop, &c->queue);
    free(c);
}

static void tell_closed(struct conn *c, enum conn_why why)
{
    const struct conn_ops *ops = c->ops;
    void *owner = c->owner;

    conn_kill(c);
    ops->on_closed(owner, why);
}

void conn_fail(struct conn *c, enum conn_why why)
{
    if (c->failed || c->state == CONN_DEAD)
        return;
    c->failed = true;
    c->why = why;
    later(c);
}

/* The next stretch of a peer that we wait for. */
static void linger(struct conn *c)
{
    c->progress = conn_progress(c);
    c->owed = c->queue.len;
    timer_set(&c->timer, c->silence_ms);
}

static bool is_keeping_pace(const struct conn *c)
{
    uint64_t taken = conn_progress(c) - c->progress;

    return taken > 0 && (taken >= c->least || taken >= c->owed);
}

static void on_timer(void *arg)
{
    struct conn *c = arg;

    if (c->lingering && c->queue.len > 0 && is_keeping_pace(c))
        linger(c); /* slow, but it reads */
    else
        tell_closed(c, CONN_WHY_TIMEOUT);
}

static bool events_on(struct conn *c)
{
    short read_flags = EV_READ | EV_CLOSED | EV_ET | EV_PERSIST;

    if (event_assign(&c->read_event, loop_base(c->loop), c->fd, read_flags, on_readable, c) != 0)
        return false;
    c->read_on = event_add(&c->read_event, NULL) == 0;
    return c->read_on;
}

static void write_event_set(struct conn *c, bool on)
{
    if (c->write_on == on || c->state == CONN_DEAD)
        return;
    if (on && c->write_event == NULL)
        c->write_event =
            event_new(loop_base(c->loop), c->fd, EV_WRITE | EV_PERSIST, on_can_write, c);
    if (on && (c->write_event == NULL || event_add(c->write_event, NULL) != 0)) {
        conn_fail(c, CONN_WHY_ERROR);
        return;
    }
    if (!on)
        event_del(c->write_event);
    c->write_on = on;
}

static void open_now(struct conn *c)
{
    timer_clear(&c->timer);
    if (c->state < CONN_OPEN)
        c->state = CONN_OPEN;
    c->readable = true;
    c->kick = true;
    if (c->ops->on_open != NULL)
        c->ops->on_open(c->owner);
    if (c->state != CONN_DEAD)
        later(c);
}

static void handshake(struct conn *c)
{
    switch (conn_tls_handshake(c->tls)) {
    case CONN_IO_OK:
        write_event_set(c, false);
        open_now(c);
        break;
    case CONN_IO_AGAIN:
        write_event_set(c, conn_tls_wants_write(c->tls));
        break;
    case CONN_IO_EOF:
    case CONN_IO_ERROR:
        tell_closed(c, CONN_WHY_TLS);
        break;
    }
}

void conn_connected(struct conn *c, int fd)
{
    c->fd = fd;
    if (!events_on(c)) {
        conn_fail(c, CONN_WHY_ERROR);
        return;
    }
    c->opening = true;
    later(c);
}

struct conn *conn_accept(struct loop *loop, int fd, struct tls_server *tls,
                         const struct conn_ops *ops, void *owner)
{
    struct conn *c = conn_new(loop, ops, owner);
    socklen_t len = sizeof(c->peer);

    if (getpeername(fd, &c->peer.sa, &len) != 0)
        c->peer.sa.sa_family = AF_UNSPEC;
    if (tls != NULL) {
        c->state = CONN_HANDSHAKE;
        c->tls = conn_tls_server(tls, fd);
        timer_set(&c->timer, CONN_HANDSHAKE_MS);
    }
    conn_connected(c, fd);
    if (tls != NULL && c->tls == NULL)
        conn_fail(c, CONN_WHY_TLS);
    return c;
}

void conn_close(struct conn *c)
{
    conn_kill(c);
}

void conn_reset(struct conn *c)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};

    if (c->fd >= 0)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    conn_kill(c);
}

void conn_set_owner(struct conn *c, const struct conn_ops *ops, void *owner)
{
    c->ops = ops;
    c->owner = owner;
    if (c->keep.len > 0)
        conn_resume_read(c); /* the new owner sees what the old one left */
}

/* --- reading --- */

static void take_kept(struct conn *c)
{
    size_t taken;

    if (c->keep.len == 0 || c->paused || c->state == CONN_DEAD)
        return;
    taken = c->ops->on_data(c->owner, c->keep.data, c->keep.len);
    if (c->state == CONN_DEAD)
        return;
    buf_consume(&c->keep, taken);
    if (c->keep.len > 0)
        return;
    buf_free(&c->keep);
    buf_init(&c->keep, CONN_KEEP_MAX + LOOP_SCRATCH_LEN);
}

static void deliver(struct conn *c, const uint8_t *data, size_t len)
{
    size_t taken;

    if (c->keep.len > 0 || c->paused) {
        if (!buf_append(&c->keep, data, len))
            conn_fail(c, CONN_WHY_ERROR);
        else
            take_kept(c);
        return;
    }
    taken = c->ops->on_data(c->owner, data, len);
    if (c->state != CONN_DEAD && taken < len && !buf_append(&c->keep, data + taken, len - taken))
        conn_fail(c, CONN_WHY_ERROR);
}

static enum conn_io read_some(struct conn *c, size_t *len_out)
{
    ssize_t n;

    if (c->tls != NULL)
        return conn_tls_read(c->tls, loop_scratch(c->loop), LOOP_SCRATCH_LEN, len_out);
    n = recv(c->fd, loop_scratch(c->loop), LOOP_SCRATCH_LEN, 0);
    if (n == 0)
        return CONN_IO_EOF;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? CONN_IO_AGAIN : CONN_IO_ERROR;
    *len_out = (size_t)n;
    return CONN_IO_OK;
}

/* The peer has finished and all its bytes were taken, or never will be. */
static void tell_eof(struct conn *c)
{
    if (!c->eof || c->eof_told || c->paused || c->kick || c->state == CONN_DEAD)
        return; /* kick: kept bytes are shown again first */
    if (c->lingering && !c->shut_done)
        return; /* a peer that says no more still gets what is queued */
    c->eof_told = true;
    if (c->lingering || c->ops->on_eof == NULL) {
        tell_closed(c, CONN_WHY_EOF);
        return;
    }
    c->ops->on_eof(c->owner);
    if (c->state == CONN_SHUT_WRITE && c->shut_done)
        tell_closed(c, CONN_WHY_EOF);
}

static bool may_read(const struct conn *c)
{
    return c->state >= CONN_OPEN && c->state != CONN_DEAD && !c->paused && !c->eof && !c->failed &&
           c->keep.len < CONN_KEEP_MAX;
}

/* One read; false when there is nothing more to do for now. */
static bool read_step(struct conn *c)
{
    size_t len = 0;

    switch (read_some(c, &len)) {
    case CONN_IO_OK:
        if (len < LOOP_SCRATCH_LEN && !c->peer_shut &&
            (c->tls == NULL || conn_tls_is_drained(c->tls))) {
            c->readable = false; /* drained; a new edge tells of more */
            timer_set(&c->doubt, DOUBT_MS);
        }
        deliver(c, loop_scratch(c->loop), len);
        return c->readable;
    case CONN_IO_AGAIN:
        c->readable = false;
        return false;
    case CONN_IO_EOF:
        c->readable = false;
        c->eof = true;
        return false;
    case CONN_IO_ERROR:
        break;
    }
    c->readable = false;
    conn_fail(c, c->tls != NULL ? CONN_WHY_TLS : CONN_WHY_ERROR);
    return false;
}

static void read_all(struct conn *c)
{
    for (unsigned i = 0; i < CONN_READ_BUDGET && c->readable && may_read(c); i++) {
        if (!read_step(c))
            break;
    }
    if (c->state == CONN_DEAD)
        return;
    tell_eof(c);
    if (c->state != CONN_DEAD && c->readable && may_read(c)) {
        c->kick = true; /* the others first */
        later(c);
    }
}

static void on_doubt(void *arg)
{
    struct conn *c = arg;

    c->readable = true;
    read_all(c);
}

/*
 * Writing failed. An origin may have answered early and hung up: what it said before that is
 * still in the kernel, and the owner gets it before on_closed.
 */
static void read_last(struct conn *c)
{
    for (unsigned i = 0; i < CONN_READ_BUDGET; i++) {
        size_t len = 0;

        if (c->state < CONN_OPEN || c->state == CONN_DEAD || c->paused || c->eof ||
            c->keep.len >= CONN_KEEP_MAX || read_some(c, &len) != CONN_IO_OK)
            return;
        deliver(c, loop_scratch(c->loop), len);
    }
}

/* An edge while nothing is read: it may be a reset. */
static bool was_reset(const struct conn *c)
{
    socklen_t len = sizeof(int);
    int error = 0;

    return getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    if ((what & EV_CLOSED) && !c->peer_shut) {
        c->peer_shut = true;
        if (c->ops->on_fin != NULL)
            c->ops->on_fin(c->owner);
    }
    c->readable = true;
    if (c->ops->eager && (c->paused || c->eof) && was_reset(c)) {
        conn_fail(c, CONN_WHY_ERROR);
        return;
    }
    if (c->state == CONN_HANDSHAKE && !c->opening)
        handshake(c);
    else if (c->state >= CONN_OPEN)
        read_all(c);
    if (c->state != CONN_DEAD && c->queue.len > 0 && !c->write_on)
        later(c); /* TLS may have waited for these bytes in order to write */
}

void conn_pause_read(struct conn *c)
{
    c->paused = true;
}

void conn_resume_read(struct conn *c)
{
    c->paused = false;
    c->kick = true;
    later(c);
}

/* --- writing --- */

static enum conn_io send_some(struct conn *c, struct iovec *iov, int cnt, size_t *len_out)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)cnt};
    ssize_t n;

    if (c->tls != NULL) {
        enum conn_io io = conn_tls_write(c->tls, iov[0].iov_base, iov[0].iov_len, len_out);

        c->sent += io == CONN_IO_OK ? *len_out : 0;
        return io;
    }
    n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? CONN_IO_AGAIN : CONN_IO_ERROR;
    *len_out = (size_t)n;
    c->sent += (size_t)n;
    return CONN_IO_OK;
}

static void shut_now(struct conn *c)
{
    if (c->shut_done)
        return;
    c->shut_done = true;
    if (c->tls != NULL)
        conn_tls_shutdown(c->tls);
    shutdown(c->fd, SHUT_WR);
    if (c->lingering)
        timer_set(&c->timer, c->linger_ms);
    if (c->eof)
        conn_fail(c, CONN_WHY_EOF);
}

/* Sends the queue as far as the kernel takes it. */
static void flush(struct conn *c)
{
    while (c->queue.len > 0 && c->state >= CONN_OPEN && c->state != CONN_DEAD) {
        struct iovec iov = {c->queue.data, c->queue.len};
        size_t sent = 0;
        enum conn_io io = send_some(c, &iov, 1, &sent);

        if (io == CONN_IO_AGAIN) {
            write_event_set(c, c->tls == NULL || conn_tls_wants_write(c->tls));
            break;
        }
        if (io != CONN_IO_OK) {
            conn_fail(c, CONN_WHY_ERROR);
            return;
        }
        buf_consume(&c->queue, sent);
    }
    if (c->queue.len > 0)
        return;
    write_event_set(c, false);
    loop_buf_give(c->loop, &c->queue); /* an idle connection holds no buffer */
    if (c->state == CONN_SHUT_WRITE)
        shut_now(c);
}

static void tell_writable(struct conn *c)
{
    if (!c->choked || c->queue.len > c->low || c->state == CONN_DEAD || c->lingering)
        return;
    c->choked = false;
    if (c->ops->on_writable != NULL)
        c->ops->on_writable(c->owner);
}

static void on_can_write(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    (void)what;
    if (c->state == CONN_HANDSHAKE) {
        handshake(c);
        return;
    }
    flush(c);
    tell_writable(c);
}

static bool can_send_now(const struct conn *c)
{
    return c->state >= CONN_OPEN && !c->write_on && !c->opening;
}

bool conn_queue(struct conn *c, const void *data, size_t len)
{
    if (c->state == CONN_DEAD || c->failed)
        return false;
    loop_buf_take(c->loop, &c->queue);
    if (!buf_append(&c->queue, data, len))
        return false;
    if (c->queue.len > c->high)
        c->choked = true;
    later(c);
    return true;
}

/* Plain: queue and data leave in one call. Returns how much of data went; *ok false: dead. */
static size_t write_both(struct conn *c, const void *data, size_t len, bool *ok)
{
    struct iovec iov[2] = {{c->queue.data, c->queue.len}, {NULL, len}};
    bool both = c->queue.len > 0;
    size_t sent = 0;
    enum conn_io io;

    memcpy(&iov[1].iov_base, &data, sizeof(data)); /* iovec has no const */
    io = send_some(c, both ? iov : iov + 1, both ? 2 : 1, &sent);
    *ok = io == CONN_IO_OK || io == CONN_IO_AGAIN;
    if (!*ok)
        return 0;
    if (sent < c->queue.len) {
        buf_consume(&c->queue, sent);
        return 0;
    }
    sent -= c->queue.len;
    buf_consume(&c->queue, c->queue.len);
    return sent;
}

bool conn_write(struct conn *c, const void *data, size_t len)
{
    size_t sent;
    bool ok;

    if (c->state == CONN_DEAD || c->failed)
        return false;
    if (!can_send_now(c))
        return conn_queue(c, data, len);
    if (c->tls != NULL && c->queue.len > 0) { /* one record for head and first bytes */
        if (!conn_queue(c, data, len))
            return false;
        flush(c);
        return !c->failed;
    }
    sent = write_both(c, data, len, &ok);
    if (!ok) {
        conn_fail(c, CONN_WHY_ERROR);
        return false;
    }
    if (sent == len && c->queue.len == 0)
        return true;
    if (!conn_queue(c, (const uint8_t *)data + sent, len - sent))
        return false;
    if (c->tls == NULL)
        write_event_set(c, true);
    return true;
}

size_t conn_queued(const struct conn *c)
{
    return c->queue.len;
}

uint64_t conn_progress(const struct conn *c)
{
    int waiting = 0;

    if (c->fd < 0 || ioctl(c->fd, SIOCOUTQ, &waiting) != 0)
        waiting = 0;
    return c->sent - (uint64_t)(unsigned)waiting;
}

bool conn_is_choked(const struct conn *c)
{
    return c->queue.len > c->high;
}

void conn_set_marks(struct conn *c, size_t low, size_t high, size_t max)
{
    c->low = low;
    c->high = high;
    c->queue.max = max;
}

void conn_set_pace(struct conn *c, uint64_t silence_ms, uint64_t least)
{
    c->silence_ms = silence_ms;
    c->least = least;
}

void conn_shut_write(struct conn *c)
{
    if (c->state != CONN_OPEN)
        return;
    c->state = CONN_SHUT_WRITE;
    later(c); /* flush() sends FIN behind the queue */
}

static size_t on_data_drop(void *owner, const uint8_t *data, size_t len)
{
    (void)owner;
    (void)data;
    return len;
}

static void on_closed_drop(void *owner, enum conn_why why)
{
    (void)owner;
    (void)why;
}

bool conn_close_flush(struct conn *c, uint64_t linger_ms)
{
    static const struct conn_ops nobody = {.on_data = on_data_drop, .on_closed = on_closed_drop};

    if (c->state < CONN_OPEN || c->state == CONN_DEAD || c->failed) {
        conn_kill(c);
        return false;
    }
    c->ops = &nobody;
    c->owner = NULL;
    c->lingering = true;
    c->linger_ms = linger_ms;
    linger(c);
    c->state = CONN_SHUT_WRITE;
    conn_resume_read(c);
    return true;
}

/* --- the end of a turn --- */

static void open_later(struct conn *c)
{
    c->opening = false;
    if (c->state == CONN_HANDSHAKE || c->tls != NULL) {
        c->state = CONN_HANDSHAKE;
        handshake(c);
    } else {
        open_now(c);
    }
}

/* Something waits that no event will send. */
static bool owes_bytes(const struct conn *c)
{
    if (c->state < CONN_OPEN || c->state == CONN_DEAD || c->write_on)
        return false;
    return c->queue.len > 0 || (c->state == CONN_SHUT_WRITE && !c->shut_done);
}

static void on_later(void *arg)
{
    struct conn *c = arg;

    if (c->state == CONN_DEAD) {
        conn_free(c);
        return;
    }
    if (c->failed) {
        if (c->why == CONN_WHY_ERROR)
            read_last(c);
        if (c->state != CONN_DEAD)
            tell_closed(c, c->why);
        return;
    }
    if (c->opening)
        open_later(c);
    if (owes_bytes(c))
        flush(c);
    if (c->state >= CONN_OPEN && c->state != CONN_DEAD && c->kick) {
        c->kick = false;
        take_kept(c);
        if (c->state != CONN_DEAD)
            read_all(c);
    }
    if (c->state != CONN_DEAD)
        tell_writable(c);
}

/* --- questions --- */

bool conn_is_reusable(struct conn *c)
{
    char byte;
    ssize_t n;

    if (c->state != CONN_OPEN || c->failed || c->eof || c->queue.len > 0 || c->keep.len > 0)
        return false;
    if (c->tls != NULL && conn_tls_has_pending(c->tls))
        return false;
    n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && errno == EAGAIN;
}

bool conn_is_quiet(const struct conn *c)
{
    return c->state == CONN_OPEN && !c->failed && !c->eof && !c->readable && c->queue.len == 0 &&
           c->keep.len == 0;
}

bool conn_is_open(const struct conn *c)
{
    return c->state == CONN_OPEN && !c->failed;
}

bool conn_is_tls(const struct conn *c)
{
    return c->tls != NULL;
}

const struct sockaddr *conn_peer(const struct conn *c)
{
    return &c->peer.sa;
}

struct str conn_sni(const struct conn *c)
{
    return c->tls == NULL ? STR("") : conn_tls_sni(c->tls);
}

struct str conn_alpn(const struct conn *c)
{
    return c->tls == NULL ? STR("") : conn_tls_alpn(c->tls);
}

int conn_fd(const struct conn *c)
{
    return c->fd;
}
