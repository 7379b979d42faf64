/*
 * forwarded.c - who the client is, when proxies of ours stand between it and us.
 *
 *   client ──▶ proxy A ──▶ proxy B ──▶ consentd      X-Forwarded-For: (invented), client, A
 *
 * Read from the right: the peer is trusted, so what it wrote last is true; while that is a
 * trusted proxy too, what stands before it is true as well. The first address that is not a
 * trusted proxy's is the client; everything further left is hearsay. Only the one field that the
 * configuration names is read: a proxy that sets one of them passes the other on unchecked.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "consentd/networks.h"
#include "serve_priv.h"

#define HOPS_MAX 32 /* the last so many are looked at */

struct hop {
    struct str node;  /* the address, as written */
    struct str proto; /* RFC 7239 5.4; empty: not said */
};

struct hops {
    struct hop items[HOPS_MAX]; /* as written, the nearest last */
    unsigned cnt;
};

static void hop_add(struct hops *hops, struct hop hop)
{
    if (hops->cnt == HOPS_MAX) {
        memmove(hops->items, hops->items + 1, (HOPS_MAX - 1) * sizeof(hop));
        hops->cnt--;
    }
    hops->items[hops->cnt++] = hop;
}

/* Up to the next mark, with `quotes` one that is not within them. */
static struct str cut(struct str *rest, char mark, bool quotes)
{
    struct str all = *rest;
    bool quoted = false;
    size_t i = 0;

    for (; i < all.len && (quoted || all.ptr[i] != mark); i++) {
        if (all.ptr[i] == '"')
            quoted = quotes && !quoted;
        else if (quoted && all.ptr[i] == '\\' && i + 1 < all.len)
            i++;
    }
    *rest = str_slice(all, i < all.len ? i + 1 : i, all.len);
    return str_trim(str_slice(all, 0, i));
}

/*
 * Whether every quote is closed. One that the client left open would swallow what the proxies wrote
 * behind it, down to the client's own address: then quotes are letters like others.
 */
static bool is_closed(struct str value)
{
    bool quoted = false;

    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] == '"')
            quoted = !quoted;
        else if (quoted && value.ptr[i] == '\\')
            i++;
    }
    return !quoted;
}

static struct str unquoted(struct str value)
{
    if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
        return str_slice(value, 1, value.len - 2);
    return value;
}

/* RFC 7239 4: for=192.0.2.60;proto=http;by=203.0.113.43 */
static struct hop hop_parse(struct str element)
{
    bool quotes = is_closed(element);
    struct hop hop = {0};

    while (element.len > 0) {
        struct str pair = cut(&element, ';', quotes);

        if (str_starts_fold(pair, STR("for=")))
            hop.node = unquoted(str_slice(pair, 4, pair.len));
        else if (str_starts_fold(pair, STR("proto=")))
            hop.proto = unquoted(str_slice(pair, 6, pair.len));
    }
    return hop;
}

static void hops_read(struct hops *hops, const struct headers *h, enum header_id id)
{
    const struct header *field;
    unsigned iter = 0;

    while ((field = headers_next(h, id, &iter)) != NULL) {
        struct str rest = field->value;
        bool quotes = id == HDR_FORWARDED && is_closed(rest); /* the other one knows no quotes */

        while (rest.len > 0) {
            struct str element = cut(&rest, ',', quotes);

            if (element.len == 0)
                continue;
            hop_add(hops, id == HDR_FORWARDED ? hop_parse(element) : (struct hop){.node = element});
        }
    }
}

/* The client's hop, with its address in *out; NULL: nobody is named that can be believed. */
static const struct hop *client_hop(const struct networks *trusted, const struct hops *hops,
                                    struct sockaddr_storage *out)
{
    const struct hop *found = NULL;

    for (unsigned i = hops->cnt; i > 0; i--) {
        if (!address_parse(hops->items[i - 1].node, out))
            break; /* "unknown", "_hidden", nonsense: what was found before it stands */
        found = &hops->items[i - 1];
        if (!networks_has(trusted, (const struct sockaddr *)(const void *)out))
            return found;
    }
    if (found != NULL && !address_parse(found->node, out))
        return NULL;
    return found;
}

/* The scheme that the visitor used, as the proxy says; what it does not say stays as it is. */
static void take_scheme(struct exchange *x, struct str proto)
{
    if (str_eq_fold(proto, STR("https")))
        x->secure = true;
    else if (str_eq_fold(proto, STR("http")))
        x->secure = false;
}

/* With Forwarded the origin hears of the client all the same, in the field that it knows. */
static bool rewrite_field(struct exchange *x, struct str node)
{
    struct str value;

    return arena_str(&x->arena, node, &value) &&
           headers_set(&x->req.headers, &x->arena, HDR_X_FORWARDED_FOR, value);
}

bool forwarded_apply(struct exchange *x)
{
    const struct networks *trusted = x->server->data->trusted;
    bool standard = x->server->config->forwarded_field == CONFIG_FORWARDED;
    struct headers *h = &x->req.headers;
    struct sockaddr_storage address;
    struct hops hops = {.cnt = 0};
    const struct header *proto;
    const struct hop *hop;
    void *kept;

    if (!networks_has(trusted, x->peer))
        return true;
    proto = standard ? NULL : headers_find(h, HDR_X_FORWARDED_PROTO);
    if (proto != NULL)
        take_scheme(x, proto->value);
    hops_read(&hops, h, standard ? HDR_FORWARDED : HDR_X_FORWARDED_FOR);
    hop = client_hop(trusted, &hops, &address);
    if (standard)
        headers_remove(h, HDR_X_FORWARDED_FOR);
    if (hop == NULL)
        return true;
    take_scheme(x, hop->proto);
    kept = arena_alloc(&x->arena, sizeof(address));
    if (kept == NULL)
        return false;
    memcpy(kept, &address, sizeof(address));
    x->peer = kept;
    return !standard || rewrite_field(x, hop->node);
}

/* Many an origin believes this field more than X-Forwarded-For: who sends one is named in it. */
bool forwarded_real_ip(struct exchange *x)
{
    struct headers *h = &x->req.headers;
    char text[INET6_ADDRSTRLEN] = "";
    struct sockaddr_in6 in6;
    struct sockaddr_in in;
    struct str value;

    if (headers_find(h, HDR_X_REAL_IP) == NULL)
        return true;
    if (x->peer->sa_family == AF_INET) {
        memcpy(&in, x->peer, sizeof(in));
        inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text));
    } else if (x->peer->sa_family == AF_INET6) {
        memcpy(&in6, x->peer, sizeof(in6));
        inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof(text));
    }
    if (text[0] == '\0') {
        headers_remove(h, HDR_X_REAL_IP);
        return true;
    }
    return arena_str(&x->arena, str_c(text), &value) &&
           headers_set(h, &x->arena, HDR_X_REAL_IP, value);
}
