/*
 * request.c - one exchange from its head to its end; contract in consentd/exchange.h.
 *
 * It knows neither framing nor cookies nor HTML: client_h1.c and origin.c move bytes,
 * enforcement decides. `done` is the only exit: after it every late event is ignored.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/clock.h"
#include "consentd/enforce.h"
#include "consentd/error_page.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/snapshot.h"
#include "serve_priv.h"

#define METHODS       "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH" /* and unknown ones */
#define RETRY_AFTER_S "5"

static void on_reap(void *arg)
{
    struct flow *f = arg;
    struct server *s = f->x.server;

    snapshot_give(f->x.snapshot);
    buf_free(&f->collected);
    arena_fini(&f->x.arena);
    freelist_give(&s->data->free_flows, f);
}

static void on_timer(void *arg)
{
    struct flow *f = arg;

    metric_add(METRIC_ORIGIN_TIMEOUT, 1);
    if (f->oc == NULL)
        flow_origin_failed(f, 503, "no free connection to an origin");
    else if (f->client->state == CLIENT_TUNNEL)
        flow_origin_failed(f, 504, "the tunnel was silent");
    else
        origin_lost(f, CONN_WHY_TIMEOUT);
}

static bool sink_push(struct filter *filter, const uint8_t *data, size_t len, bool end);

struct flow *flow_new(struct client *c)
{
    struct server_data *d = c->server->data;
    struct flow *f = freelist_take(&d->free_flows, sizeof(*f));

    arena_init(&f->x.arena, c->server->arenas, EXCHANGE_ARENA_MAX);
    f->x.server = c->server;
    f->x.peer = &c->peer.sa;
    f->x.secure = c->acceptor->tls != NULL;
    f->client = c;
    f->wanted = -1;
    f->last = (struct filter){.push = sink_push, .x = &f->x};
    timer_init(&f->timer, c->server->loop, on_timer, f);
    f->next = d->flows;
    if (f->next != NULL)
        f->next->prev = f;
    d->flows = f;
    d->flow_cnt++;
    metric_up(METRIC_EXCHANGES_OPEN);
    return f;
}

static void close_filters(struct flow *f)
{
    struct filter *filter = f->filters;

    f->filters = NULL;
    while (filter != NULL && filter != &f->last) {
        struct filter *next = filter->next;

        if (filter->close != NULL)
            filter->close(filter);
        filter = next;
    }
}

/* The single way out. */
static void flow_end(struct flow *f)
{
    struct server_data *d = f->x.server->data;

    if (f->done)
        return;
    f->done = true;
    timer_clear(&f->timer);
    origin_unwait(f);
    origin_release(f, false);
    if (f->held && !f->x.answered && f->x.on_cancel != NULL)
        f->x.on_cancel(&f->x);
    if (f->enforced)
        enforce_end(&f->x);
    close_filters(f);
    if (f->prev != NULL)
        f->prev->next = f->next;
    else
        d->flows = f->next;
    if (f->next != NULL)
        f->next->prev = f->prev;
    d->flow_cnt--;
    d->request_cnt -= f->counted;
    metric_down(METRIC_EXCHANGES_OPEN);
    if (d->access_log != NULL)
        access_log_write(d->access_log, f);
    f->reap = (struct deferred){.fn = on_reap, .arg = f};
    loop_defer(f->x.server->loop, &f->reap);
}

void flow_gone(struct flow *f)
{
    f->client = NULL;
    flow_end(f);
}

static void flow_cut(struct flow *f)
{
    struct client *c = f->client;

    flow_end(f);
    if (c != NULL) {
        c->flow = NULL;
        client_close(c, true);
    }
}

static void flow_complete(struct flow *f)
{
    struct client *c = f->client;

    flow_end(f);
    if (c != NULL)
        client_answered(c);
}

static bool has_body(const struct flow *f, unsigned status)
{
    return f->x.req.method_id != HTTP_METHOD_HEAD && status >= 200 && status != 204 &&
           status != 304;
}

static bool add_date(struct flow *f, struct headers *h)
{
    char text[DATE_LEN + 1];
    struct str value;

    if (headers_find(h, HDR_DATE) != NULL)
        return true;
    date_format((int64_t)(clock_wall_ms() / 1000), text);
    return arena_str(&f->x.arena, str_make(text, DATE_LEN), &value) &&
           headers_add(h, &f->x.arena, STR("Date"), value);
}

/* RFC 6797 7.2: over TLS alone. */
static bool add_hsts(struct flow *f, struct headers *h)
{
    uint64_t ms = f->client->acceptor->config->tls.hsts_ms;
    char *value;

    if (!f->x.secure || ms < 1000 || headers_find(h, HDR_STRICT_TRANSPORT_SECURITY) != NULL)
        return true;
    value = arena_printf(&f->x.arena, "max-age=%llu", (unsigned long long)(ms / 1000));
    return value != NULL &&
           headers_add(h, &f->x.arena, STR("Strict-Transport-Security"), str_c(value));
}

bool exchange_answer(struct exchange *x, unsigned status, const struct headers *h, struct str body)
{
    struct flow *f = flow_of(x);
    struct h1_response resp = {.status = status};
    struct h1_framing framing = {.body = H1_BODY_LENGTH, .length = body.len};
    bool ok = true;

    if (f->done || f->head_sent || f->client == NULL)
        return false;
    if (tunnel_would_open(f, status)) /* a page of ours is no websocket */
        status = 403;
    if (status < 200 || status == 204 || status == 304)
        framing.body = H1_BODY_NONE;
    origin_release(f, false);
    headers_init(&resp.headers, NULL, 0);
    for (unsigned i = 0; h != NULL && i < h->cnt && ok; i++)
        if (!h->items[i].removed)
            ok = headers_add(&resp.headers, &x->arena, h->items[i].name, h->items[i].value);
    x->answered = f->head_sent = true;
    f->status = status;
    if (!ok || !add_date(f, &resp.headers) || !add_hsts(f, &resp.headers) ||
        !client_head(f->client, status, &resp, framing)) {
        flow_cut(f);
        return false;
    }
    f->client->chunked = false;
    if (has_body(f, status)) {
        x->sent += body.len;
        if (!client_body(f->client, (const uint8_t *)body.ptr, body.len)) {
            flow_cut(f);
            return false;
        }
    }
    flow_complete(f);
    return true;
}

static bool add_retry_after(struct flow *f, unsigned status, struct headers *h)
{
    char *seconds;

    if (status == 503 && f->retry_s == 0)
        return headers_add(h, NULL, STR("Retry-After"), STR(RETRY_AFTER_S));
    if (status != 429 && status != 503)
        return true;
    seconds = arena_printf(&f->x.arena, "%u", f->retry_s);
    return seconds != NULL && headers_add(h, NULL, STR("Retry-After"), str_c(seconds));
}

void exchange_fail(struct exchange *x, unsigned status, const char *why)
{
    struct flow *f = flow_of(x);
    struct header items[6];
    struct headers h;
    struct buf page;

    if (f->done)
        return;
    exchange_note(x, why);
    log_debug("exchange.failed", "status=%u why=\"%s\"", status, why);
    if (f->head_sent) {
        flow_cut(f);
        return;
    }
    if (status < 500 && f->client != NULL && !f->body_done)
        f->client->last = true;
    headers_init(&h, items, COUNT_OF(items));
    buf_init(&page, 16384);
    if ((status == 405 && !headers_add(&h, NULL, STR("Allow"), STR(METHODS))) ||
        !headers_add(&h, NULL, STR("Content-Type"), STR("text/html; charset=utf-8")) ||
        !headers_add(&h, NULL, STR("Cache-Control"), STR("no-store")) ||
        !add_retry_after(f, status, &h) || !error_page(&page, status) ||
        !exchange_answer(x, status, &h, buf_str(&page)))
        flow_cut(f);
    buf_free(&page);
}

void exchange_note(struct exchange *x, const char *why)
{
    if (x->note == NULL)
        x->note = why;
}

bool exchange_head_sent(const struct exchange *x)
{
    return ((const struct flow *)(const void *)x)->head_sent;
}

static void redirect(struct flow *f)
{
    struct exchange *x = &f->x;
    struct str path = str_eq_c(x->req.path, "*") ? STR("/") : x->req.path;
    struct header item;
    struct headers h;
    char *to = arena_printf(&x->arena, "https://%.*s%.*s", STR_ARGS(x->req.host), STR_ARGS(path));

    headers_init(&h, &item, 1);
    if (to == NULL || !headers_add(&h, NULL, STR("Location"), str_c(to)))
        exchange_fail(x, 500, "memory limit");
    else
        exchange_answer(x, 308, &h, STR(""));
}

/* RFC 9110 7.6.2: OPTIONS whose last stop this is. */
static void answer_options(struct flow *f)
{
    struct header item;
    struct headers h;

    headers_init(&h, &item, 1);
    if (headers_add(&h, NULL, STR("Allow"), STR(METHODS)))
        exchange_answer(&f->x, 200, &h, STR(""));
    else
        exchange_fail(&f->x, 500, "memory limit");
}

static bool count_down(struct exchange *x)
{
    char *left = arena_printf(&x->arena, "%d", x->req.max_forwards - 1);

    return left != NULL && headers_set(&x->req.headers, &x->arena, HDR_MAX_FORWARDS, str_c(left));
}

/* What is answered before anybody asks about consent; true: it was. */
static bool is_within_budget(struct flow *f)
{
    struct server *s = f->x.server;

    return peer_budget_request(s->data->budget, f->x.peer, loop_now_ms(s->loop), &f->retry_s);
}

static bool has_room(struct flow *f)
{
    struct server *s = f->x.server;

    f->counted = s->data->request_cnt < s->config->limits.requests;
    s->data->request_cnt += f->counted;
    return f->counted;
}

static bool is_body_too_long(const struct flow *f, uint64_t bytes)
{
    uint64_t max = f->x.server->config->limits.body_size;

    return max > 0 && bytes > max;
}

static bool is_answered_here(struct flow *f)
{
    struct exchange *x = &f->x;

    if (!has_room(f))
        exchange_fail(x, 503, "too many requests at once");
    else if (!is_within_budget(f))
        exchange_fail(x, 429, "too many requests from one address");
    else if (is_body_too_long(f, x->req.content_length))
        exchange_fail(x, 413, "body too large");
    else if (acme_answer(f))
        return true;
    else if (x->site == NULL)
        exchange_fail(x, 421, "unknown host");
    else if (x->secure && !client_asked_for(f->client, x->site))
        exchange_fail(x, 421, "the handshake was for another site");
    else if (f->client->acceptor->config->redirect_https && !x->secure && !acme_is_for_origin(f))
        redirect(f);
    else if (x->req.max_forwards == 0)
        answer_options(f);
    else if (x->req.max_forwards > 0 && !count_down(x))
        exchange_fail(x, 500, "memory limit");
    else
        return false;
    return true;
}

void flow_start(struct flow *f)
{
    struct exchange *x = &f->x;

    metric_add(METRIC_REQUESTS, 1);
    x->start_ms = loop_now_ms(x->server->loop);
    x->wall_ms = clock_wall_ms();
    if (x->req.host.len == 0 && x->server->sites_cnt == 1) /* HTTP/1.0 may leave Host out */
        x->req.host = x->req.authority = str_c(x->server->sites[0].config->hosts.items[0]);
    x->site = server_find_site(x->server, x->req.host);
    headers_strip_hop_by_hop(&x->req.headers);
    headers_remove(&x->req.headers, HDR_EXPECT);
    if (!forwarded_apply(x)) {
        exchange_fail(x, 500, "memory limit");
        return;
    }
    if (is_answered_here(f))
        return;
    if (x->site->snapshot != NULL)
        x->snapshot = snapshot_take(x->site->snapshot);
    f->wanted = sticky_read(x->site->origins->sticky, &x->req.headers);
    f->enforced = true;
    switch (enforce_request(x)) {
    case ENFORCE_FORWARD:
        exchange_forward(x);
        break;
    case ENFORCE_ANSWERED:
        break;
    case ENFORCE_PENDING:
        f->held = !f->done && f->oc == NULL && !f->waiting && !f->gathering;
        break;
    case ENFORCE_REFUSE:
        exchange_fail(x, 500, "enforcement failed");
        break;
    }
}

void exchange_forward(struct exchange *x)
{
    struct flow *f = flow_of(x);

    f->held = false;
    if (f->done)
        return;
    if (f->body_done) {
        origin_start(f);
        return;
    }
    f->gathering = true;
    buf_init(&f->collected, SERVER_GATHER_MAX + CONN_KEEP_MAX + LOOP_SCRATCH_LEN);
    client_want_body(f->client);
}

/* The beginning of a body that will be forwarded. */
static void gather(struct flow *f, const uint8_t *data, size_t len, bool end)
{
    if (!buf_append(&f->collected, data, len)) {
        exchange_fail(&f->x, 500, "memory limit");
        return;
    }
    if (!end && f->collected.len < SERVER_GATHER_MAX)
        return;
    f->gathering = false;
    client_hold_body(f->client);
    origin_start(f);
}

bool exchange_body_collect(struct exchange *x, size_t max, exchange_body_fn fn)
{
    struct flow *f = flow_of(x);

    f->held = true;
    buf_init(&f->collected, max);
    f->collect_max = max;
    f->collect_fn = fn;
    if (f->body_done)
        fn(x, STR(""));
    else if (x->req.body == H1_BODY_LENGTH && x->req.content_length > max)
        exchange_fail(x, 413, "body too large");
    else
        client_want_body(f->client);
    return true;
}

void flow_body(struct flow *f, const uint8_t *data, size_t len, bool end)
{
    f->received += len;
    if (is_body_too_long(f, f->received)) {
        exchange_fail(&f->x, 413, "body too large");
        return;
    }
    f->body_done = end;
    if (f->gathering) {
        gather(f, data, len, end);
    } else if (f->collect_fn == NULL) {
        origin_body(f, data, len, end);
    } else if (!buf_append(&f->collected, data, len)) {
        f->body_done = false;
        exchange_fail(&f->x, 413, "body too large");
    } else if (end) {
        f->collect_fn(&f->x, buf_str(&f->collected));
    }
}

void exchange_add_filter(struct exchange *x, struct filter *filter)
{
    struct flow *f = flow_of(x);
    struct filter **tail = &f->filters;

    while (*tail != NULL && *tail != &f->last)
        tail = &(*tail)->next;
    *tail = filter;
    filter->next = &f->last;
    filter->x = x;
    x->length_changes = true;
}

bool exchange_restart(struct exchange *x)
{
    struct flow *f = flow_of(x);

    if (f->restarted || x->req.body != H1_BODY_NONE ||
        (x->req.method_id != HTTP_METHOD_GET && x->req.method_id != HTTP_METHOD_HEAD))
        return false;
    f->restarted = true;
    origin_release(f, false);
    close_filters(f);
    x->length_changes = false;
    return true;
}

/* Framing toward the client, decided once, when the head goes out. */
static bool send_head(struct flow *f)
{
    struct exchange *x = &f->x;
    struct h1_framing framing = {.body = H1_BODY_NONE};

    if (f->head_sent)
        return true;
    f->head_sent = x->answered = true;
    f->status = x->resp.status;
    if (x->resp.has_length && !x->length_changes)
        framing = (struct h1_framing){.body = H1_BODY_LENGTH, .length = x->resp.content_length};
    else if (has_body(f, x->resp.status))
        framing.body = x->req.version_minor == 0 ? H1_BODY_CLOSE : H1_BODY_CHUNKED;
    return add_date(f, &x->resp.headers) && add_hsts(f, &x->resp.headers) &&
           sticky_set(x->site->origins->sticky, f) &&
           client_head(f->client, x->resp.status, &x->resp, framing);
}

static bool sink_push(struct filter *filter, const uint8_t *data, size_t len, bool end)
{
    struct flow *f = flow_of(filter->x);

    UNUSED(end);
    if (f->client == NULL || ((len > 0 || end) && !send_head(f)))
        return false;
    f->x.sent += len;
    return client_body(f->client, data, len);
}

void flow_unchoke(struct flow *f)
{
    if (!f->choked || f->oc == NULL || f->oc->conn == NULL)
        return;
    f->choked = false;
    timer_set(&f->timer, f->client->state == CLIENT_TUNNEL
                             ? SERVER_TUNNEL_IDLE_MS
                             : f->x.site->config->response_timeout_ms);
    conn_resume_read(f->oc->conn);
}

bool flow_push(struct flow *f, const uint8_t *data, size_t len, bool end)
{
    struct filter *first = f->filters != NULL ? f->filters : &f->last;

    if (f->done)
        return false;
    if (!first->push(first, data, len, end)) {
        exchange_fail(&f->x, 502, "answer could not be filtered");
        return false;
    }
    if (end && !f->done)
        flow_complete(f);
    return !f->done;
}

void flow_response(struct flow *f)
{
    struct exchange *x = &f->x;

    headers_strip_hop_by_hop(&x->resp.headers);
    switch (enforce_response(x)) {
    case ENFORCE_FORWARD:
    case ENFORCE_ANSWERED:
        break;
    case ENFORCE_PENDING:
        if (!f->done)
            origin_start(f);
        break;
    case ENFORCE_REFUSE:
        exchange_fail(x, 500, "enforcement failed");
        break;
    }
}

void flow_head_out(struct flow *f)
{
    if (!f->done && f->filters == NULL && has_body(f, f->x.resp.status) && !send_head(f))
        flow_cut(f);
}

void flow_origin_failed(struct flow *f, unsigned status, const char *why)
{
    metric_add(METRIC_ORIGIN_FAILED, 1);
    origin_release(f, false);
    exchange_fail(&f->x, status, why);
}
