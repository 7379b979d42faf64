/*
 * tunnel.c - websockets: the handshake with the origin, then bytes both ways.
 *
 *      client ── read ──▶ tunnel_from_client ──▶ origin      a full side holds the other one back
 *      client ◀── body ── tunnel_from_origin ◀── origin
 *
 * An HTTP/1.1 client makes the handshake itself; its key and the origin's answer to it pass
 * through. HTTP/2 has no handshake (RFC 8441 5): there the key is ours, and so is the proof that
 * the origin has understood. Each direction ends by itself; the tunnel ends with both, with a
 * reset of either, or when nothing was said for SERVER_TUNNEL_IDLE_MS.
 */
#include <string.h>

#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/enforce.h"
#include "serve_priv.h"

#define KEY_LEN 16 /* RFC 6455 4.1 */

/* RFC 6455 1.3: what every server of websockets puts behind the key before it hashes it. */
static const struct str accept_guid = STR_INIT("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");

static bool is_ours(const struct flow *f)
{
    return f->x.req.upgrade_websocket && f->x.req.version_major == 2;
}

bool tunnel_prepare(struct flow *f)
{
    struct exchange *x = &f->x;
    uint8_t random[KEY_LEN], digest[CRYPTO_SHA1_LEN];
    char key[B64_PADDED_LEN(KEY_LEN) + 1];
    char text[sizeof(key) + 40];
    struct str copy;
    size_t len;

    if (!is_ours(f))
        return true;
    crypto_random(random, sizeof(random));
    len = b64_encode(key, random, sizeof(random));
    memcpy(text, key, len);
    memcpy(text + len, accept_guid.ptr, accept_guid.len);
    crypto_sha1(text, len + accept_guid.len, digest);
    b64_encode(f->ws_accept, digest, sizeof(digest));
    return arena_str(&x->arena, str_make(key, len), &copy) &&
           headers_set(&x->req.headers, &x->arena, HDR_SEC_WEBSOCKET_KEY, copy);
}

bool tunnel_would_open(const struct flow *f, unsigned status)
{
    return is_ours(f) && status >= 200 && status < 300;
}

/* Only a server that knows the protocol and has read the key can say this. */
static bool is_accepted(struct flow *f)
{
    struct headers *h = &f->x.resp.headers;
    bool ok = str_eq_c(headers_value(h, HDR_SEC_WEBSOCKET_ACCEPT), f->ws_accept);

    headers_remove(h, HDR_SEC_WEBSOCKET_ACCEPT);
    return ok;
}

void tunnel_begin(struct flow *f)
{
    struct exchange *x = &f->x;
    struct h1_framing framing = {.persist = H1_PERSIST_UPGRADE};

    if (!x->req.upgrade_websocket || !x->resp.upgrade_websocket) {
        flow_origin_failed(f, 502, "unasked 101");
        return;
    }
    if (is_ours(f) && !is_accepted(f)) {
        flow_origin_failed(f, 502, "101 that answers another key");
        return;
    }
    headers_strip_hop_by_hop(&x->resp.headers);
    if (enforce_response(x) != ENFORCE_FORWARD || f->done) {
        exchange_fail(x, 502, "upgrade refused");
        return;
    }
    f->head_sent = x->answered = true;
    f->status = 101;
    f->client->state = CLIENT_TUNNEL;
    timer_set(&f->timer, SERVER_TUNNEL_IDLE_MS);
    if (!client_head(f->client, 101, &x->resp, framing))
        client_close(f->client, true);
    else
        client_tunnel(f->client);
}

static struct conn *origin_of(const struct flow *f)
{
    return f->oc != NULL ? f->oc->conn : NULL;
}

bool tunnel_from_client(struct flow *f, const uint8_t *data, size_t len)
{
    struct conn *origin = origin_of(f);

    if (origin == NULL || !conn_write(origin, data, len)) {
        client_close(f->client, true);
        return false;
    }
    timer_set(&f->timer, SERVER_TUNNEL_IDLE_MS);
    if (conn_is_choked(origin))
        client_stall(f->client, true);
    return true;
}

void tunnel_client_eof(struct flow *f)
{
    if (origin_of(f) != NULL)
        conn_shut_write(origin_of(f));
}

size_t tunnel_from_origin(struct flow *f, const uint8_t *data, size_t len)
{
    if (!client_body(f->client, data, len)) {
        client_close(f->client, true);
        return len;
    }
    f->x.sent += len;
    timer_set(&f->timer, SERVER_TUNNEL_IDLE_MS);
    if (client_is_choked(f->client)) {
        f->choked = true;
        conn_pause_read(f->oc->conn);
    }
    return len;
}

/* The origin says no more; the client may. */
void tunnel_origin_eof(struct flow *f)
{
    f->oc->eof = true;
    client_shut(f->client);
}

void tunnel_finish(struct flow *f, struct str rest)
{
    struct conn *origin = origin_of(f);

    if (origin == NULL || !f->oc->eof || !conn_queue(origin, rest.ptr, rest.len))
        return;
    f->oc->conn = NULL;
    conn_close_flush(origin, SERVER_LINGER_MS);
}

/* A stream of HTTP/2 closes by itself when both have said all; a connection tells it here. */
void tunnel_origin_closed(struct flow *f, enum conn_why why)
{
    bool gone = f->client->stream == 0 && f->client->conn == NULL;

    if (gone || why != CONN_WHY_EOF)
        client_close(f->client, true);
}
