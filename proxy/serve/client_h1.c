/*
 * client_h1.c - the client's side of HTTP/1: requests in order, one answered at a time.
 *
 * Bytes of a later request stay in the connection (and then in the kernel) until the answer
 * before it is complete, so pipelining keeps its order and needs no queue of ours.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/networks.h"
#include "serve_priv.h"

static void on_reap(void *arg)
{
    struct client *c = arg;

    freelist_give(&c->server->data->free_clients, c);
}

static bool is_over(const struct client *c)
{
    return c->state == CLIENT_CLOSING || c->state == CLIENT_GONE;
}

static size_t on_rest(void *owner, const uint8_t *data, size_t len)
{
    UNUSED(owner);
    UNUSED(data);
    return len; /* after the last answer: never a request */
}

static void on_sent(void *owner, enum conn_why why)
{
    struct client *c = owner;

    UNUSED(why);
    c->conn = NULL;
    client_close(c, true);
}

static const struct conn_ops closing_ops = {.on_data = on_rest, .on_closed = on_sent};

/* Nothing of it happens any more, except that its connection may still send. */
static void client_stop(struct client *c)
{
    struct flow *f = c->flow;

    timer_clear(&c->timer);
    timer_clear(&c->send_timer);
    loop_undefer(c->server->loop, &c->again);
    if (c->h2 != NULL)
        client_h2_stop(c);
    c->flow = NULL;
    if (f != NULL)
        flow_gone(f);
}

static void client_unlink(struct client *c)
{
    struct server *s = c->server;

    c->state = CLIENT_GONE;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        s->data->clients = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    s->data->client_cnt--;
    metric_down(METRIC_CLIENT_OPEN);
    c->reap = (struct deferred){.fn = on_reap, .arg = c};
    loop_defer(s->loop, &c->reap);
    if (c->counted)
        peer_budget_disconnect(s->data->budget, (const struct sockaddr *)(const void *)&c->peer,
                               loop_now_ms(s->loop));
    server_check_drained(s);
}

static void h1_close(struct client *c, bool cut)
{
    if (c->state == CLIENT_GONE || (c->state == CLIENT_CLOSING && !cut))
        return;
    client_stop(c);
    if (c->conn != NULL && !cut && conn_close_flush(c->conn, SERVER_LINGER_MS)) {
        c->state = CLIENT_CLOSING;
        conn_set_owner(c->conn, &closing_ops, c);
        return;
    }
    if (c->conn != NULL && cut)
        conn_reset(c->conn);
    c->conn = NULL;
    client_unlink(c);
}

/*
 * A client that says no more may wait for its answer, or be gone altogether: TCP does not tell.
 * A gone one answers to any byte with a reset, and an interim answer harms nobody else.
 */
static void probe_later(struct client *c)
{
    if (c->fin && !c->probed && c->state == CLIENT_BUSY && c->flow->x.req.version_minor > 0)
        timer_set(&c->timer, SERVER_PROBE_MS);
}

/*
 * Hands de-framed bytes on; 0 when the client must wait. What was handed on is used, whatever
 * became of the request by it: the next byte may be the first one of another request.
 */
static size_t read_body(struct client *c, const uint8_t *data, size_t len)
{
    struct str piece = str_make(data, len);
    size_t used = len;
    bool end = false;

    if (!c->want_body || c->stalled)
        return 0;
    if (c->flow->x.req.body == H1_BODY_LENGTH) {
        used = piece.len = c->left < len ? (size_t)c->left : len;
        c->left -= used;
        end = c->left == 0;
    } else {
        enum chunked_status status = chunked_decode(&c->chunks, data, len, &used, &piece);

        if (status == CHUNKED_BAD) {
            c->last = true;
            exchange_fail(&c->flow->x, 400, "malformed chunk");
            return 0;
        }
        end = status == CHUNKED_END;
    }
    client_pace(c, used);
    if (end) {
        timer_clear(&c->timer);
        c->state = CLIENT_BUSY;
        probe_later(c);
    }
    flow_body(c->flow, (const uint8_t *)piece.ptr, piece.len, end);
    return used;
}

static size_t read_head(struct client *c, const uint8_t *data, size_t len)
{
    const struct config_limits *max = &c->server->config->limits;
    struct h1_limits limits = {max->header_size, max->target, max->fields};
    struct flow *f = c->flow;
    enum h1_status status;
    size_t used;

    if (f == NULL) {
        f = c->flow = flow_new(c);
        c->parser = (struct h1_parser){0};
        timer_set(&c->timer, max->request_header_timeout_ms);
    }
    status = h1_parse_request(&c->parser, &f->x.arena, str_make(data, len), &limits, &f->x.req);
    if (status == H1_MORE)
        return 0;
    timer_clear(&c->timer);
    c->state = CLIENT_BUSY;
    c->probed = false;
    if (status == H1_BAD) {
        metric_add(METRIC_REQUESTS_BAD, 1);
        c->last = true;
        exchange_fail(&f->x, h1_error_status(c->parser.error), h1_strerror(c->parser.error));
        return 0;
    }
    used = c->parser.used;
    c->want_body = false;
    c->chunks = (struct chunked_decoder){0};
    c->left = f->x.req.content_length;
    if (f->x.req.body == H1_BODY_CHUNKED || (f->x.req.body == H1_BODY_LENGTH && c->left > 0))
        c->state = CLIENT_BODY;
    else
        f->body_done = true;
    probe_later(c);
    c->last = c->last || !f->x.req.keep_alive || c->server->draining;
    flow_start(f);
    return used;
}

static size_t read_tunnel(struct client *c, const uint8_t *data, size_t len)
{
    if (c->stalled)
        return 0;
    return tunnel_from_client(c->flow, data, len) ? len : 0;
}

/* One step: a head, a piece of a body. 0: not now, or not enough. */
static size_t read_some(struct client *c, const uint8_t *data, size_t len)
{
    switch (c->state) {
    case CLIENT_HEAD:
        c->held = conn_is_choked(c->conn); /* who reads no answers gets no more of them */
        return c->held ? 0 : read_head(c, data, len);
    case CLIENT_BODY:
        return read_body(c, data, len);
    case CLIENT_TUNNEL:
        return read_tunnel(c, data, len);
    case CLIENT_BUSY:
    case CLIENT_CLOSING:
    case CLIENT_GONE:
        break;
    }
    return 0;
}

/*
 * The first bytes say which protocol it is: by ALPN, or on cleartext by the preface that no
 * method of HTTP/1 begins with. False: not enough of it yet.
 */
static bool begin(struct client *c, struct str first)
{
    struct str preface = str_slice(h2_preface, 0, first.len);
    bool h2 = str_eq_c(conn_alpn(c->conn), "h2");

    if (!h2 && c->acceptor->config->h2c && c->acceptor->tls == NULL &&
        str_eq(str_slice(first, 0, preface.len), preface)) {
        if (preface.len < h2_preface.len)
            return false;
        h2 = true;
    }
    c->begun = true;
    if (h2)
        client_h2_start(c);
    return true;
}

static size_t on_data(void *owner, const uint8_t *data, size_t len)
{
    struct client *c = owner;
    size_t used = 0;

    if (!c->begun && !begin(c, str_make(data, len)))
        return 0;
    if (c->h2 != NULL)
        return client_h2_data(c, data, len);
    c->reading = true;
    while (used < len && !is_over(c)) {
        size_t n = read_some(c, data + used, len - used);

        if (n == 0)
            break;
        used += n;
    }
    if (is_over(c))
        return len;
    metric_add(METRIC_BYTES_IN, used);
    c->reading = false;
    c->unread = used < len;
    if (c->unread && (c->held || c->state == CLIENT_BUSY ||
                      (c->state == CLIENT_BODY && (!c->want_body || c->stalled))))
        conn_pause_read(c->conn);
    return used;
}

static void on_again(void *arg)
{
    struct client *c = arg;

    conn_resume_read(c->conn);
    if (c->eof && c->state == CLIENT_HEAD)
        client_close(c, false);
}

static void probe(struct client *c)
{
    c->probed = true;
    if (!c->flow->head_sent && !conn_write(c->conn, h1_continue.ptr, h1_continue.len))
        client_close(c, true);
}

static void on_fin(void *owner)
{
    struct client *c = owner;

    c->fin = true;
    probe_later(c);
}

static void on_eof(void *owner)
{
    struct client *c = owner;

    c->eof = true;
    if (c->state == CLIENT_TUNNEL)
        tunnel_client_eof(c->flow);
    else if (c->state == CLIENT_BODY) /* an incomplete request must not look complete */
        client_close(c, true);
    else if (c->state == CLIENT_BUSY)
        on_fin(c); /* TLS has an end of its own */
    else if (c->state == CLIENT_HEAD && !c->again.queued)
        client_close(c, false);
}

static void on_writable(void *owner)
{
    struct client *c = owner;
    struct flow *f = c->flow;

    if (c->held) {
        c->held = false;
        loop_defer(c->server->loop, &c->again);
    }
    if (c->h2 != NULL)
        client_h2_writable(c);
    if (f != NULL)
        flow_unchoke(f);
}

static void on_closed(void *owner, enum conn_why why)
{
    struct client *c = owner;

    c->conn = NULL;
    timer_clear(&c->send_timer);
    if (why == CONN_WHY_TLS)
        metric_add(METRIC_TLS_FAILED, 1);
    if (c->state == CLIENT_TUNNEL && why == CONN_WHY_EOF && c->flow->oc != NULL &&
        c->flow->oc->conn != NULL)
        return; /* both have ended; the origin still gets the rest */
    client_close(c, true);
}

static const struct conn_ops client_ops = {.on_data = on_data,
                                           .on_eof = on_eof,
                                           .on_writable = on_writable,
                                           .on_closed = on_closed,
                                           .on_fin = on_fin,
                                           .eager = true};

static void on_timer(void *arg)
{
    struct client *c = arg;

    if (c->h2 != NULL) {
        client_h2_idle(c);
        return;
    }
    if (c->state == CLIENT_BUSY) {
        probe(c);
        return;
    }
    c->last = true;
    if (c->flow != NULL)
        metric_add(METRIC_CLIENT_TIMEOUT, 1);
    if (c->flow != NULL && !c->flow->head_sent)
        exchange_fail(&c->flow->x, 408, "request timed out");
    else
        client_close(c, c->flow != NULL);
}

static void send_timer_set(struct client *c)
{
    c->progress = conn_progress(c->conn);
    c->owed = conn_queued(c->conn);
    timer_set(&c->send_timer, c->server->config->limits.send_timeout_ms);
}

static void on_send_timer(void *arg)
{
    struct client *c = arg;

    if (conn_queued(c->conn) == 0)
        return;
    if (!client_is_slow(c, conn_progress(c->conn), 1)) {
        send_timer_set(c);
        return;
    }
    metric_add(METRIC_CLIENT_TIMEOUT, 1);
    client_close(c, true);
}

static bool h1_is_choked(const struct client *c)
{
    return c->conn != NULL && conn_is_choked(c->conn);
}

static void h1_want_body(struct client *c)
{
    if (c->want_body || c->state != CLIENT_BODY)
        return;
    c->want_body = true;
    if (c->flow->x.req.expect_continue && !conn_write(c->conn, h1_continue.ptr, h1_continue.len)) {
        client_close(c, true);
        return;
    }
    c->flow->x.req.expect_continue = false; /* once */
    client_pace_start(c);
    if (!c->reading)
        loop_defer(c->server->loop, &c->again);
}

static void h1_hold_body(struct client *c)
{
    c->want_body = false;
    timer_clear(&c->timer); /* the silence is not the client's */
}

static void h1_stall(struct client *c, bool on)
{
    if (c->stalled == on)
        return;
    c->stalled = on;
    if (c->conn == NULL) /* a tunnel whose client has said and heard all */
        return;
    if (on) {
        timer_clear(&c->timer); /* the silence is not the client's */
        conn_pause_read(c->conn);
        return;
    }
    if (c->state == CLIENT_BODY)
        client_pace_start(c);
    conn_resume_read(c->conn);
}

/* RFC 6066 3 allows no address as a server name; some clients send one all the same. */
static bool is_address(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!ascii_is_digit(name.ptr[i]) && name.ptr[i] != '.')
            return str_find_char(name, ':') >= 0;
    }
    return true;
}

static bool h1_asked_for(struct client *c, const struct site *site)
{
    struct str sni = conn_sni(c->conn);

    if (!c->sni_read) {
        c->sni_any = is_address(sni);
        c->sni_site = c->sni_any ? NULL : server_find_site(c->server, sni);
    }
    c->sni_read = true;
    return c->sni_any || c->sni_site == site;
}

static bool h1_head(struct client *c, unsigned status, struct h1_response *resp,
                    struct h1_framing framing)
{
    struct buf *head = &c->server->data->head;
    bool interim = status < 200 && status != 101;

    c->last = c->last || (!interim && framing.body == H1_BODY_CLOSE) ||
              (!interim && c->state == CLIENT_BODY);
    c->chunked = framing.body == H1_BODY_CHUNKED;
    if (!interim && status != 101 && (c->last || c->server->draining)) {
        c->last = true;
        framing.persist = H1_PERSIST_CLOSE;
    } else if (!interim && status != 101 && c->flow->x.req.version_minor == 0) {
        framing.persist = H1_PERSIST_KEEP_ALIVE;
    }
    buf_clear(head);
    return h1_write_response_head(head, status, resp->reason, &resp->headers, &framing) &&
           conn_queue(c->conn, head->data, head->len);
}

static bool h1_body(struct client *c, const uint8_t *data, size_t len)
{
    char size[CHUNKED_HEAD_MAX];
    bool ok = true;

    if (len == 0)
        return true;
    if (c->conn == NULL)
        return false;
    if (c->chunked)
        ok = conn_queue(c->conn, size, chunked_head(size, len));
    if (ok)
        ok = len < 4096 ? conn_queue(c->conn, data, len) : conn_write(c->conn, data, len);
    if (ok && c->chunked)
        ok = conn_queue(c->conn, chunked_crlf.ptr, chunked_crlf.len);
    metric_add(METRIC_BYTES_OUT, len);
    if (conn_is_choked(c->conn) && !timer_is_set(&c->send_timer))
        send_timer_set(c);
    return ok;
}

static void h1_tunnel(struct client *c)
{
    conn_resume_read(c->conn);
}

static void h1_shut(struct client *c)
{
    if (c->conn != NULL)
        conn_shut_write(c->conn);
}

static void h1_answered(struct client *c)
{
    bool early = c->state == CLIENT_BODY;

    c->flow = NULL;
    c->stalled = false;
    if (c->chunked && !conn_queue(c->conn, chunked_last.ptr, chunked_last.len)) {
        client_close(c, true);
        return;
    }
    c->chunked = false;
    if (c->last || early) {
        client_close(c, false);
        return;
    }
    c->state = CLIENT_HEAD;
    timer_set(&c->timer, c->server->config->limits.keepalive_timeout_ms);
    if (!c->reading && (c->unread || c->eof))
        loop_defer(c->server->loop, &c->again);
}

static const struct client_ops h1_ops = {
    .want_body = h1_want_body,
    .hold_body = h1_hold_body,
    .stall = h1_stall,
    .asked_for = h1_asked_for,
    .head = h1_head,
    .body = h1_body,
    .is_choked = h1_is_choked,
    .tunnel = h1_tunnel,
    .shut = h1_shut,
    .answered = h1_answered,
    .close = h1_close,
};

static void peer_print(struct client *c)
{
    int family = c->peer.sa.sa_family;
    const void *address = family == AF_INET6 ? (const void *)&c->peer.in6.sin6_addr
                                             : (const void *)&c->peer.in.sin_addr;

    if (family != AF_INET && family != AF_INET6)
        (void)snprintf(c->peer_text, sizeof(c->peer_text), "unknown");
    else if (inet_ntop(family, address, c->peer_text, sizeof(c->peer_text)) == NULL)
        c->peer_text[0] = '\0';
}

void client_accept(void *owner, int fd, const struct sockaddr *peer, socklen_t len)
{
    struct acceptor *a = owner;
    struct server *s = a->server;
    struct client *c;
    bool counted =
        !networks_has(s->data->trusted, peer); /* a proxy's connections are many people's */

    if (counted && !peer_budget_connect(s->data->budget, peer, loop_now_ms(s->loop))) {
        metric_add(METRIC_CLIENT_REFUSED, 1);
        (void)close(fd);
        return;
    }
    c = freelist_take(&s->data->free_clients, sizeof(*c));
    c->ops = &h1_ops;
    c->server = s;
    c->acceptor = a;
    c->counted = counted;
    memcpy(&c->peer, peer, len < sizeof(c->peer) ? len : sizeof(c->peer));
    peer_print(c);
    timer_init(&c->timer, s->loop, on_timer, c);
    timer_init(&c->send_timer, s->loop, on_send_timer, c);
    c->again = (struct deferred){.fn = on_again, .arg = c};
    c->next = s->data->clients;
    if (c->next != NULL)
        c->next->prev = c;
    s->data->clients = c;
    s->data->client_cnt++;
    metric_add(METRIC_CLIENT_ACCEPTED, 1);
    metric_up(METRIC_CLIENT_OPEN);
    c->conn = conn_accept(s->loop, fd, a->tls, &client_ops, c);
    conn_set_marks(c->conn, CLIENT_QUEUE_LOW, CLIENT_QUEUE_HIGH, CLIENT_QUEUE_MAX);
    conn_set_pace(c->conn, s->config->limits.send_timeout_ms, client_least(c));
    timer_set(&c->timer, s->config->limits.request_header_timeout_ms);
    if (s->data->client_cnt > s->config->limits.connections) {
        metric_add(METRIC_CLIENT_REFUSED, 1);
        client_close(c, true);
    }
}
