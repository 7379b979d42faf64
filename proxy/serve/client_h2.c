/*
 * client_h2.c - the client's side of HTTP/2: one connection, a client for each stream.
 *
 * A stream is a struct client with these ops and no connection of its own: requests see the
 * same thing as with HTTP/1. What a request does is queued in the session; flush(), at the end
 * of the turn, moves it into the connection as far as windows and the socket take it.
 *
 * The session's callbacks come from client_h2_data() and flush(). So the session is freed at
 * the end of a turn, never inside of one, and streams are unlinked in on_closed alone.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "serve_priv.h"

#define STREAM_QUEUE_HIGH (64u * 1024) /* above: this stream's origin is not read */
#define DRAIN_NOTICE_MS   1000         /* between "no new requests" and taking none */

struct h2_client {
    struct client *c; /* the connection; NULL: it is over */
    struct server *server;
    struct h2_session *session; /* owned */
    struct client *streams;
    unsigned cnt;
    bool broken;   /* nothing is read any more */
    bool draining; /* the notice was sent */
    struct deferred flush, reap;
};

static void flush_later(struct h2_client *h)
{
    if (h->c != NULL)
        loop_defer(h->server->loop, &h->flush);
}

static const struct config_limits *limits_of(const struct client *c)
{
    return &c->server->config->limits;
}

/* --- a stream, as its request sees it ------------------------------------------------ */

static void watch_queue(struct client *c)
{
    if (timer_is_set(&c->send_timer) || h2_session_queued(c->h2->session, c->stream) == 0)
        return;
    c->progress = h2_session_taken(c->h2->session, c->stream);
    c->owed = h2_session_queued(c->h2->session, c->stream);
    timer_set(&c->send_timer, limits_of(c)->send_timeout_ms);
}

/* The same in a tunnel: the client may send as much more as the origin's connection took. */
static void take_tunnel(struct client *c, const uint8_t *data, size_t len, bool end)
{
    h2_session_credit(c->h2->session, c->stream, len);
    flush_later(c->h2);
    if ((len == 0 || tunnel_from_client(c->flow, data, len)) && end)
        tunnel_client_eof(c->flow);
}

/* Hands a piece of the body on. */
static void take(struct client *c, const uint8_t *data, size_t len, bool end)
{
    if (c->state == CLIENT_TUNNEL) {
        take_tunnel(c, data, len, end);
        return;
    }
    h2_session_credit(c->h2->session, c->stream, len);
    flush_later(c->h2);
    if (end) {
        timer_clear(&c->timer);
        c->state = CLIENT_BUSY;
    } else {
        client_pace(c, (uint64_t)len * c->h2->cnt); /* they share what the line can do */
    }
    flow_body(c->flow, data, len, end);
}

static bool takes_body(const struct client *c)
{
    return c->flow != NULL && !c->stalled &&
           (c->state == CLIENT_TUNNEL || (c->state == CLIENT_BODY && c->want_body));
}

/* What comes now is somebody's, perhaps later: of a tunnel also before the origin has agreed. */
static bool keeps_body(const struct client *c)
{
    return c->flow != NULL && (c->state == CLIENT_BODY || c->state == CLIENT_TUNNEL ||
                               c->flow->x.req.upgrade_websocket);
}

/* What was kept while nobody took it. */
static void on_again(void *arg)
{
    struct client *c = arg;
    struct buf kept = c->in;

    if (!takes_body(c) || (kept.len == 0 && !c->eof))
        return;
    buf_init(&c->in, kept.max);
    take(c, kept.data, kept.len, c->eof);
    buf_free(&kept);
}

static void stream_want_body(struct client *c)
{
    struct h1_response none = {0};

    if (c->want_body || c->state != CLIENT_BODY)
        return;
    c->want_body = true;
    if (c->flow->x.req.expect_continue &&
        !client_head(c, 100, &none, (struct h1_framing){.body = H1_BODY_NONE})) {
        client_close(c, true);
        return;
    }
    c->flow->x.req.expect_continue = false; /* once */
    client_pace_start(c);
    loop_defer(c->server->loop, &c->again);
}

static void stream_hold_body(struct client *c)
{
    c->want_body = false;
    timer_clear(&c->timer); /* the silence is not the client's */
}

static void stream_stall(struct client *c, bool on)
{
    if (c->stalled == on)
        return;
    c->stalled = on;
    if (on) {
        timer_clear(&c->timer);
        return;
    }
    if (c->state == CLIENT_BODY)
        client_pace_start(c);
    loop_defer(c->server->loop, &c->again);
}

static void stream_tunnel(struct client *c)
{
    loop_defer(c->server->loop, &c->again);
}

static void stream_shut(struct client *c)
{
    h2_session_end(c->h2->session, c->stream);
    flush_later(c->h2);
}

static bool stream_asked_for(struct client *c, const struct site *site)
{
    return c->h2->c != NULL && client_asked_for(c->h2->c, site);
}

static bool stream_head(struct client *c, unsigned status, struct h1_response *resp,
                        struct h1_framing framing)
{
    bool final = status >= 200 || status == 101;
    bool has_length = final && status != 204 && framing.body == H1_BODY_LENGTH;
    const struct h2_answer answer = {
        .status = status == 101 ? 200 : status, /* RFC 8441 5: of a tunnel */
        .headers = &resp->headers,
        .has_length = has_length,
        .length = framing.length,
        .end =
            status >= 200 &&
            (framing.body == H1_BODY_NONE || (has_length && framing.length == 0) || status == 204 ||
             status == 304 || (c->flow != NULL && c->flow->x.req.method_id == HTTP_METHOD_HEAD)),
    };

    flush_later(c->h2);
    return h2_session_head(c->h2->session, c->stream, &answer);
}

static bool stream_body(struct client *c, const uint8_t *data, size_t len)
{
    if (len == 0)
        return true;
    metric_add(METRIC_BYTES_OUT, len);
    flush_later(c->h2);
    if (!h2_session_body(c->h2->session, c->stream, data, len))
        return false;
    watch_queue(c);
    return true;
}

static bool stream_is_choked(const struct client *c)
{
    return h2_session_queued(c->h2->session, c->stream) > STREAM_QUEUE_HIGH;
}

/* No request any more; the stream itself lives until both sides are through. */
static void stream_leave(struct client *c)
{
    c->flow = NULL;
    c->state = CLIENT_CLOSING;
    timer_clear(&c->timer);
    h2_session_credit(c->h2->session, c->stream, c->in.len);
    buf_free(&c->in);
    flush_later(c->h2);
}

static void stream_answered(struct client *c)
{
    h2_session_end(c->h2->session, c->stream);
    stream_leave(c);
    watch_queue(c);
    if (!c->eof) /* the rest of the request is read, and dropped, for a while */
        timer_set(&c->timer, SERVER_LINGER_MS);
}

static void stream_close(struct client *c, bool cut)
{
    struct flow *f = c->flow;

    if (c->state == CLIENT_GONE)
        return;
    stream_leave(c);
    h2_session_reset(c->h2->session, c->stream, cut ? H2_INTERNAL_ERROR : H2_CANCEL);
    if (f != NULL)
        flow_gone(f);
}

static const struct client_ops stream_ops = {
    .want_body = stream_want_body,
    .hold_body = stream_hold_body,
    .stall = stream_stall,
    .asked_for = stream_asked_for,
    .head = stream_head,
    .body = stream_body,
    .is_choked = stream_is_choked,
    .tunnel = stream_tunnel,
    .shut = stream_shut,
    .answered = stream_answered,
    .close = stream_close,
};

/* Answered long ago, and the request still goes on: RFC 9113 8.1. */
static void end_lingering(struct client *c)
{
    if (h2_session_queued(c->h2->session, c->stream) > 0) {
        timer_set(&c->timer, SERVER_LINGER_MS);
        return;
    }
    h2_session_reset(c->h2->session, c->stream, H2_NO_ERROR);
    flush_later(c->h2);
}

/* A head that does not end blocks the connection; a body only its own stream. */
static void on_timer(void *arg)
{
    struct client *c = arg;

    if (c->state == CLIENT_CLOSING) {
        end_lingering(c);
        return;
    }
    metric_add(METRIC_CLIENT_TIMEOUT, 1);
    if (c->state == CLIENT_HEAD && c->h2->c != NULL)
        client_close(c->h2->c, true);
    else if (c->flow != NULL && !c->flow->head_sent)
        exchange_fail(&c->flow->x, 408, "request timed out");
    else
        client_close(c, true);
}

/* A window that stays closed (CVE-2019-9511, -9517) holds what is queued for it. */
static void on_send_timer(void *arg)
{
    struct client *c = arg;

    if (c->state == CLIENT_GONE || h2_session_queued(c->h2->session, c->stream) == 0)
        return;
    if (!client_is_slow(c, h2_session_taken(c->h2->session, c->stream), c->h2->cnt)) {
        watch_queue(c);
        return;
    }
    metric_add(METRIC_CLIENT_TIMEOUT, 1);
    client_close(c, true);
}

/* --- what the session reports ---------------------------------------------------------- */

static void link_stream(struct h2_client *h, struct client *c)
{
    c->next = h->streams;
    if (c->next != NULL)
        c->next->prev = c;
    h->streams = c;
    h->cnt++;
}

static void *on_begin(void *owner, int32_t id, struct arena **arena_out,
                      struct h1_request **request_out)
{
    struct h2_client *h = owner;
    struct client *c;

    if (h->c == NULL || h->broken ||
        h->server->data->request_cnt >= h->server->config->limits.requests)
        return NULL; /* refused: it may be asked again */
    c = freelist_take(&h->server->data->free_clients, sizeof(*c));
    c->ops = &stream_ops;
    c->server = h->server;
    c->acceptor = h->c->acceptor;
    c->h2 = h;
    c->stream = id;
    memcpy(&c->peer, &h->c->peer, sizeof(c->peer));
    memcpy(c->peer_text, h->c->peer_text, sizeof(c->peer_text));
    timer_init(&c->timer, h->server->loop, on_timer, c);
    timer_init(&c->send_timer, h->server->loop, on_send_timer, c);
    c->again = (struct deferred){.fn = on_again, .arg = c};
    buf_init(&c->in, H2_STREAM_WINDOW);
    c->flow = flow_new(c);
    link_stream(h, c);
    if (!h->draining)
        timer_clear(&h->c->timer);
    timer_set(&c->timer, limits_of(c)->request_header_timeout_ms);
    *arena_out = &c->flow->x.arena;
    *request_out = &c->flow->x.req;
    return c;
}

static void on_request(void *stream, enum h1_error error)
{
    struct client *c = stream;
    struct flow *f = c->flow;

    timer_clear(&c->timer);
    if (f == NULL)
        return;
    c->state = CLIENT_BUSY;
    if (error != H1_ERR_NONE) {
        metric_add(METRIC_REQUESTS_BAD, 1);
        exchange_fail(&f->x, h1_error_status(error), h1_strerror(error));
        return;
    }
    if (f->x.req.body == H1_BODY_CHUNKED ||
        (f->x.req.body == H1_BODY_LENGTH && f->x.req.content_length > 0))
        c->state = CLIENT_BODY;
    else
        f->body_done = true;
    flow_start(f);
}

static void on_body(void *stream, const uint8_t *data, size_t len)
{
    struct client *c = stream;

    if (!keeps_body(c))
        h2_session_credit(c->h2->session, c->stream, len); /* nobody wants it any more */
    else if (takes_body(c) && c->in.len == 0)
        take(c, data, len, false);
    else if (!buf_append(&c->in, data, len))
        client_close(c, true); /* cannot be: more than its window */
}

static void on_end(void *stream)
{
    struct client *c = stream;

    c->eof = true;
    if (takes_body(c) && c->in.len == 0)
        take(c, NULL, 0, true);
}

static void on_reap_stream(void *arg)
{
    struct client *c = arg;

    freelist_give(&c->server->data->free_clients, c);
}

static void on_closed(void *stream)
{
    struct client *c = stream;
    struct h2_client *h = c->h2;
    struct flow *f = c->flow;

    if (c->state == CLIENT_TUNNEL && c->eof)
        tunnel_finish(f, buf_str(&c->in));
    stream_leave(c);
    timer_clear(&c->send_timer);
    loop_undefer(h->server->loop, &c->again);
    c->state = CLIENT_GONE;
    if (f != NULL)
        flow_gone(f);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        h->streams = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    h->cnt--;
    if (h->c == NULL) { /* the session is being freed, at the end of a turn */
        on_reap_stream(c);
        return;
    }
    if (h->cnt == 0 && !h->draining)
        timer_set(&h->c->timer, limits_of(c)->keepalive_timeout_ms);
    c->reap = (struct deferred){.fn = on_reap_stream, .arg = c};
    loop_defer(h->server->loop, &c->reap);
}

/* --- the connection -------------------------------------------------------------------- */

/* Origins that waited for a stream go on. */
static void unchoke(struct h2_client *h)
{
    for (struct client *c = h->streams; c != NULL; c = c->next)
        if (c->flow != NULL && c->flow->choked && !stream_is_choked(c))
            flow_unchoke(c->flow);
}

static void on_flush(void *arg)
{
    struct h2_client *h = arg;
    struct client *c = h->c;
    struct str piece = STR("");

    if (c == NULL || c->conn == NULL)
        return;
    while (!conn_is_choked(c->conn) && (piece = h2_session_pull(h->session)).len > 0) {
        if (!conn_queue(c->conn, piece.ptr, piece.len)) {
            client_close(c, true);
            return;
        }
    }
    if (conn_is_choked(c->conn) && !timer_is_set(&c->send_timer)) {
        c->progress = conn_progress(c->conn);
        c->owed = conn_queued(c->conn);
        timer_set(&c->send_timer, limits_of(c)->send_timeout_ms);
    }
    if (piece.len == 0 && (h->broken || h2_session_is_over(h->session)))
        client_close(c, false);
    else
        unchoke(h);
}

static void on_reap(void *arg)
{
    struct h2_client *h = arg;

    h2_session_free(h->session);
    free(h);
}

void client_h2_start(struct client *c)
{
    static const struct h2_ops ops = {.on_begin = on_begin,
                                      .on_request = on_request,
                                      .on_body = on_body,
                                      .on_end = on_end,
                                      .on_closed = on_closed};
    const struct h1_limits limits = {limits_of(c)->header_size, limits_of(c)->target,
                                     limits_of(c)->fields};
    struct h2_client *h = mem_new(struct h2_client);

    h->c = c;
    h->server = c->server;
    h->session = h2_session_new(&limits, &ops, h);
    h->flush = (struct deferred){.fn = on_flush, .arg = h};
    h->reap = (struct deferred){.fn = on_reap, .arg = h};
    c->h2 = h;
    metric_add(METRIC_H2_CONNECTIONS, 1);
    timer_set(&c->timer, limits_of(c)->keepalive_timeout_ms);
    flush_later(h);
    if (c->server->draining)
        client_h2_drain(c);
}

size_t client_h2_data(struct client *c, const uint8_t *data, size_t len)
{
    struct h2_client *h = c->h2;

    if (h->broken)
        return len;
    c->held = conn_is_choked(c->conn); /* who reads no answers gets no more of them */
    if (c->held) {
        conn_pause_read(c->conn);
        return 0;
    }
    metric_add(METRIC_BYTES_IN, len);
    if (!h2_session_push(h->session, str_make(data, len), loop_now_ms(c->server->loop)))
        h->broken = true;
    if (h2_session_was_flooded(h->session))
        metric_add(METRIC_H2_FLOODED, 1);
    flush_later(h);
    return len;
}

void client_h2_writable(struct client *c)
{
    flush_later(c->h2);
}

void client_h2_stop(struct client *c)
{
    struct h2_client *h = c->h2;

    c->h2 = NULL;
    h->c = NULL;
    loop_undefer(h->server->loop, &h->flush);
    for (struct client *stream = h->streams; stream != NULL; stream = stream->next)
        client_close(stream, true);
    loop_defer(h->server->loop, &h->reap);
}

void client_h2_drain(struct client *c)
{
    if (c->h2->draining)
        return;
    c->h2->draining = true;
    h2_session_drain(c->h2->session, false);
    timer_set(&c->timer, DRAIN_NOTICE_MS);
    flush_later(c->h2);
}

/* Nothing was asked for a while, or the notice of a drain has had its time. */
void client_h2_idle(struct client *c)
{
    h2_session_drain(c->h2->session, true);
    flush_later(c->h2);
}
