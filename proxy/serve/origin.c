/*
 * origin.c - the request toward the origin and the reading of its answer; see origin_priv.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/bundle.h"
#include "consentd/enforce.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/tls_ctx.h"
#include "serve_priv.h"

/* The origin's own name, when it is not to see the visitor's Host. */
static bool set_origin_host(struct flow *f)
{
    const struct endpoint *ep = &f->origin->endpoint;
    const char *v6 = strchr(ep->host, ':');
    char *host;

    if (ep->is_unix)
        return headers_set(&f->x.req.headers, &f->x.arena, HDR_HOST, f->x.req.authority);
    host =
        arena_printf(&f->x.arena, "%s%s%s", v6 != NULL ? "[" : "", ep->host, v6 != NULL ? "]" : "");
    if (host != NULL && ep->port != (ep->tls ? 443 : 80))
        host = arena_printf(&f->x.arena, "%s:%u", host, (unsigned)ep->port);
    return host != NULL && headers_set(&f->x.req.headers, &f->x.arena, HDR_HOST, str_c(host));
}

/* Host, which may be another origin's at the second try. */
static bool set_host(struct flow *f)
{
    struct exchange *x = &f->x;

    if (!x->site->config->preserve_host)
        return set_origin_host(f);
    return headers_find(&x->req.headers, HDR_HOST) != NULL ||
           headers_add(&x->req.headers, &x->arena, STR("Host"), x->req.authority);
}

/* All X-Forwarded-For fields as one, the client's address last. Empty: no memory. */
static struct str forwarded_for(struct flow *f)
{
    const struct headers *h = &f->x.req.headers;
    struct str peer = str_c(f->client->peer_text);
    size_t len = peer.len;
    unsigned iter = 0;
    const struct header *item;
    char *text, *to;

    while ((item = headers_next(h, HDR_X_FORWARDED_FOR, &iter)) != NULL)
        len += item->value.len > 0 ? item->value.len + 2 : 0;
    text = to = arena_alloc(&f->x.arena, len);
    if (text == NULL)
        return STR("");
    iter = 0;
    while ((item = headers_next(h, HDR_X_FORWARDED_FOR, &iter)) != NULL) {
        if (item->value.len == 0)
            continue;
        memcpy(to, item->value.ptr, item->value.len);
        memcpy(to + item->value.len, ", ", 2);
        to += item->value.len + 2;
    }
    memcpy(to, peer.ptr, peer.len);
    return str_make(text, len);
}

/* Via and X-Forwarded-*: once, also when the request is sent again. */
static bool prepare(struct flow *f)
{
    struct exchange *x = &f->x;
    struct headers *h = &x->req.headers;
    struct arena *a = &x->arena;
    struct str chain;

    if (f->prepared)
        return true;
    f->prepared = true;
    headers_remove(h, HDR_FORWARDED);
    headers_remove(h, HDR_X_FORWARDED_PORT);
    headers_remove(h, HDR_PROXY);
    chain = forwarded_for(f);
    return chain.len > 0 && forwarded_real_ip(x) && headers_set(h, a, HDR_X_FORWARDED_FOR, chain) &&
           headers_set(h, a, HDR_X_FORWARDED_PROTO, x->secure ? STR("https") : STR("http")) &&
           headers_set(h, a, HDR_X_FORWARDED_HOST, x->req.authority) &&
           headers_add(h, a, STR("Via"),
                       x->req.version_major == 2  ? STR("2.0 consentd")
                       : x->req.version_minor > 0 ? STR("1.1 consentd")
                                                  : STR("1.0 consentd"));
}

static bool has_body(const struct flow *f)
{
    return f->x.req.body == H1_BODY_CHUNKED ||
           (f->x.req.body == H1_BODY_LENGTH && f->x.req.content_length > 0);
}

/* The beginning of the body, or all of it, right behind the head. */
static void send_gathered(struct flow *f)
{
    if (!origin_body(f, f->collected.data, f->collected.len, f->body_done))
        return;
    buf_free(&f->collected);
    if (!f->body_done)
        client_want_body(f->client);
}

void origin_send(struct flow *f)
{
    struct buf *head = &f->x.server->data->head;
    struct h1_framing framing = {.body = f->x.req.body, .length = f->x.req.content_length};

    f->head_seen = false;
    f->sent_ms = loop_now_ms(f->x.server->loop);
    f->oparser = (struct h1_parser){0};
    f->ochunks = (struct chunked_decoder){0};
    if (f->x.req.upgrade_websocket)
        framing.persist = H1_PERSIST_UPGRADE;
    buf_clear(head);
    if (!prepare(f) || !set_host(f) || !tunnel_prepare(f) ||
        !h1_write_request_head(head, f->x.req.method, f->x.req.path, &f->x.req.headers, &framing)) {
        exchange_fail(&f->x, 500, "memory limit");
        return;
    }
    /* a connection that is broken already says so at the end of the turn: on_closed */
    if (!(has_body(f) ? conn_queue : conn_write)(f->oc->conn, head->data, head->len) &&
        conn_is_open(f->oc->conn)) {
        flow_origin_failed(f, 502, "memory limit");
        return;
    }
    if (has_body(f))
        send_gathered(f);
    else
        timer_set(&f->timer, f->x.site->config->response_timeout_ms);
}

/* Whose turn it is: while the body comes, the client's; when the origin is full, its own. */
static void body_timer(struct flow *f, bool end)
{
    bool full = !end && conn_is_choked(f->oc->conn);

    client_stall(f->client, full);
    if (f->head_seen)
        return;
    if (end || full)
        timer_set(&f->timer, f->x.site->config->response_timeout_ms);
    else
        timer_clear(&f->timer);
}

bool origin_body(struct flow *f, const uint8_t *data, size_t len, bool end)
{
    bool chunked = f->x.req.body == H1_BODY_CHUNKED;
    char size[CHUNKED_HEAD_MAX];
    bool ok = true;

    if (f->oc == NULL || f->oc->conn == NULL)
        return false;
    if (chunked && len > 0)
        ok = conn_queue(f->oc->conn, size, chunked_head(size, len));
    if (ok && len > 0)
        ok = conn_write(f->oc->conn, data, len);
    if (ok && chunked && len > 0)
        ok = conn_queue(f->oc->conn, chunked_crlf.ptr, chunked_crlf.len);
    if (ok && chunked && end)
        ok = conn_queue(f->oc->conn, chunked_last.ptr, chunked_last.len);
    if (!ok && conn_is_open(f->oc->conn)) {
        flow_origin_failed(f, 502, "memory limit");
        return false;
    }
    if (ok)
        body_timer(f, end);
    else /* it broke: what it said before that comes first, then on_closed */
        client_stall(f->client, !end);
    return true;
}

/* 1xx. False: the exchange is over or has become a tunnel. */
static bool interim(struct flow *f)
{
    struct exchange *x = &f->x;
    unsigned status = x->resp.status;

    if (++f->informational > SERVER_INFORMATION_MAX) {
        flow_origin_failed(f, 502, "too many 1xx answers");
        return false;
    }
    f->oparser = (struct h1_parser){0};
    if (status == 100 || x->req.version_minor == 0)
        return true;
    headers_strip_hop_by_hop(&x->resp.headers);
    enforce_informational(x, status, &x->resp.headers);
    if (client_head(f->client, status, &x->resp, (struct h1_framing){.body = H1_BODY_NONE}))
        return true;
    client_close(f->client, true);
    return false;
}

static size_t read_head(struct flow *f, const uint8_t *data, size_t len)
{
    const struct config_limits *max = &f->x.server->config->limits;
    struct h1_limits limits = {max->header_size, max->target, max->fields};
    bool head = f->x.req.method_id == HTTP_METHOD_HEAD;
    enum h1_status status =
        h1_parse_response(&f->oparser, &f->x.arena, str_make(data, len), &limits, head, &f->x.resp);
    size_t used = f->oparser.used;

    if (status == H1_MORE)
        return 0;
    if (status == H1_BAD) {
        if (origin_again(f))
            return 0;
        origin_judge(f, false);
        flow_origin_failed(f, 502, h1_strerror(f->oparser.error));
        return 0;
    }
    if (f->x.resp.status < 200 && f->x.resp.status != 101)
        return interim(f) ? used : 0;
    f->head_seen = true;
    origin_judge(f, f->x.resp.status < 502 || f->x.resp.status > 504);
    f->oleft = f->x.resp.content_length;
    if (f->x.resp.status == 101)
        tunnel_begin(f);
    else if (tunnel_would_open(f, f->x.resp.status))
        flow_origin_failed(f, 502, "no 101 to an upgrade");
    else
        flow_response(f);
    return used;
}

/* The last byte of the answer: lets the connection go before the client gets the end. */
static void answer_end(struct flow *f, const uint8_t *data, size_t len, bool stray)
{
    origin_release(f, f->x.resp.keep_alive && f->body_done && !stray);
    if (!flow_push(f, data, len, true))
        return;
}

static size_t read_body(struct flow *f, const uint8_t *data, size_t len)
{
    struct str piece = str_make(data, len);
    size_t used = f->filters != NULL && len > FILTER_SLICE_MAX ? FILTER_SLICE_MAX : len;
    bool end = false;

    if (f->x.resp.body == H1_BODY_LENGTH) {
        used = f->oleft < used ? (size_t)f->oleft : used;
        f->oleft -= used;
        end = f->oleft == 0;
        piece.len = used;
    } else if (f->x.resp.body == H1_BODY_CHUNKED) {
        enum chunked_status status = chunked_decode(&f->ochunks, data, used, &used, &piece);

        if (status == CHUNKED_BAD) {
            origin_judge(f, false);
            flow_origin_failed(f, 502, "malformed chunk from the origin");
            return 0;
        }
        end = status == CHUNKED_END;
    } else {
        piece.len = used;
    }
    if (end)
        answer_end(f, (const uint8_t *)piece.ptr, piece.len, used < len);
    else if (piece.len > 0 && !flow_push(f, (const uint8_t *)piece.ptr, piece.len, false))
        return 0;
    return used;
}

/* True when the answer's head says that no body byte follows. */
static bool is_empty(const struct flow *f)
{
    return f->x.resp.body == H1_BODY_NONE || (f->x.resp.body == H1_BODY_LENGTH && f->oleft == 0);
}

static size_t on_data(void *owner, const uint8_t *data, size_t len)
{
    struct origin_conn *oc = owner;
    size_t used = 0;

    if (oc->flow == NULL) { /* idle, and speaks unasked: its next answer could not be trusted */
        upstream_forget(oc->origin->pool, oc);
        return len;
    }
    while (used < len && oc->flow != NULL) {
        struct flow *f = oc->flow;
        size_t n;

        if (f->client->state == CLIENT_TUNNEL)
            return used + tunnel_from_origin(f, data + used, len - used);
        n = f->head_seen ? read_body(f, data + used, len - used)
                         : read_head(f, data + used, len - used);
        if (oc->flow == f && f->head_seen && f->client->state != CLIENT_TUNNEL && is_empty(f))
            answer_end(f, NULL, 0, used + n < len);
        if (n == 0 || oc->flow == NULL)
            break;
        used += n;
        if (f->client->state == CLIENT_TUNNEL)
            continue;
        if (f->body_done || f->head_seen)
            timer_set(&f->timer, f->x.site->config->response_timeout_ms);
        if (client_is_choked(f->client)) {
            f->choked = true;
            timer_clear(&f->timer);
            conn_pause_read(oc->conn);
            break;
        }
    }
    if (oc->flow != NULL && oc->flow->head_seen && oc->flow->client->state != CLIENT_TUNNEL)
        flow_head_out(oc->flow); /* behind all of this read: the first chunk may be none */
    return oc->flow == NULL ? len : used;
}

static void on_eof(void *owner)
{
    struct origin_conn *oc = owner;
    struct flow *f = oc->flow;

    if (f == NULL)
        upstream_forget(oc->origin->pool, oc);
    else if (f->client->state == CLIENT_TUNNEL)
        tunnel_origin_eof(f);
    else if (f->head_seen && f->x.resp.body == H1_BODY_CLOSE)
        answer_end(f, NULL, 0, true);
    else
        origin_lost(f, CONN_WHY_EOF);
}

static void on_closed(void *owner, enum conn_why why)
{
    struct origin_conn *oc = owner;

    oc->conn = NULL;
    if (oc->flow != NULL && oc->flow->client->state == CLIENT_TUNNEL)
        tunnel_origin_closed(oc->flow, why);
    else if (oc->flow != NULL)
        origin_lost(oc->flow, why);
    else
        upstream_forget(oc->origin->pool, oc);
}

static void on_open(void *owner)
{
    struct origin_conn *oc = owner;

    oc->ready = true;
    if (oc->flow != NULL)
        origin_send(oc->flow);
}

static void on_writable(void *owner)
{
    struct origin_conn *oc = owner;

    if (oc->flow == NULL)
        return;
    client_stall(oc->flow->client, false);
    if (!oc->flow->body_done && !oc->flow->head_seen)
        timer_clear(&oc->flow->timer); /* the client's turn again */
}

const struct conn_ops origin_conn_ops = {.on_data = on_data,
                                         .on_open = on_open,
                                         .on_eof = on_eof,
                                         .on_writable = on_writable,
                                         .on_closed = on_closed};
