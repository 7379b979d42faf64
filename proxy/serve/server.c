/*
 * server.c - contract in consentd/server.h: wires sites, origins and listeners of one worker.
 */
#include "consentd/server.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/bundle.h"
#include "consentd/crypto.h"
#include "consentd/enforce.h"
#include "consentd/listener.h"
#include "consentd/mem.h"
#include "consentd/networks.h"
#include "consentd/proxied.h"
#include "consentd/snapshot.h"
#include "consentd/tls_ctx.h"
#include "serve_priv.h"

#define TICK_MS       1000
#define TRIM_TICKS    10   /* a burst leaves holes between what stays */
#define HOST_MAX      255  /* bytes of a host name (RFC 1035) */
#define DRAIN_IDLE_MS 2000 /* an idle connection may still ask once while draining */

static void on_tick(void *arg)
{
    struct server *s = arg;
    uint64_t now = loop_now_ms(s->loop);

    for (unsigned i = 0; i < s->sites_cnt; i++)
        origin_group_tick(s->sites[i].origins, now);
    if (s->data->access_log != NULL)
        access_log_flush(s->data->access_log);
    if (s->draining)
        server_check_drained(s);
    siblings_look(&s->data->siblings);
    if (++s->data->tick_cnt % TRIM_TICKS == 0)
        mem_give_back();
    timer_set(&s->data->tick, TICK_MS);
}

static struct peer_budget *budget_new(const struct config_limits *limits)
{
    const struct peer_budget_limits budget = {.connections = limits->connections_per_address,
                                              .requests_per_second = limits->requests_per_second,
                                              .burst = limits->request_burst};
    uint8_t key[16];

    crypto_random(key, sizeof(key));
    return peer_budget_new(&budget, key);
}

/* With a sanitizer every struct is the heap's, so that a use after its end is seen. */
static bool keeps_structs(const struct freelist *l)
{
#ifdef __SANITIZE_ADDRESS__
    UNUSED(l);
    return false;
#else
    return l->cnt < SERVER_FREE_EXCHANGES;
#endif
}

void *freelist_take(struct freelist *l, size_t size)
{
    void *item = l->first;

    if (item == NULL)
        return mem_calloc(1, size);
    memcpy(&l->first, item, sizeof(l->first));
    l->cnt--;
    memset(item, 0, size);
    return item;
}

void freelist_give(struct freelist *l, void *item)
{
    if (!keeps_structs(l)) {
        free(item);
        return;
    }
    memcpy(item, &l->first, sizeof(l->first));
    l->first = item;
    l->cnt++;
}

static void freelist_clear(struct freelist *l)
{
    while (l->cnt > 0)
        free(freelist_take(l, sizeof(l->first)));
}

static bool tls_start(struct server *s, struct acceptor *a, struct fault *f)
{
    static const char *const protocols[] = {"h2", "http/1.1"};
    const struct config_tls *tls = &a->config->tls;
    struct tls_cert *certs = mem_calloc(tls->cert_cnt, sizeof(*certs));
    struct tls_server_opts opts = {
        .certs = certs,
        .cert_cnt = tls->cert_cnt,
        .allow_1_2 = tls->min_version == CONFIG_TLS_1_2,
        .alpn = a->config->http2 ? protocols : protocols + 1,
        .alpn_cnt = a->config->http2 ? 2 : 1,
        .ticket_period_ms = tls->ticket_rotation_ms,
    };
    struct str tickets;
    bool ok = s->bundle != NULL;

    if (ok && bundle_get(s->bundle, STR(":tickets"), &tickets) &&
        tickets.len == TLS_TICKET_SECRET_LEN)
        opts.ticket_secret = (const uint8_t *)tickets.ptr;
    for (size_t i = 0; ok && i < tls->cert_cnt; i++) {
        certs[i].name = tls->certs[i].cert;
        ok = bundle_get(s->bundle, str_c(tls->certs[i].cert), &certs[i].chain_pem) &&
             bundle_get(s->bundle, str_c(tls->certs[i].key), &certs[i].key_pem);
        if (ok && tls->certs[i].ocsp != NULL &&
            !bundle_get(s->bundle, str_c(tls->certs[i].ocsp), &certs[i].ocsp_der))
            log_warn("ocsp.missing", "file=\"%s\"", tls->certs[i].ocsp);
    }
    if (!ok)
        fault_set(f, "a certificate of %s is not in the bundle", a->config->address);
    else
        a->tls = tls_server_new(&opts, f);
    free(certs);
    return a->tls != NULL;
}

static bool hosts_add(struct server *s, struct site *site, struct fault *f)
{
    const struct config_texts *hosts = &site->config->hosts;

    for (size_t i = 0; i < hosts->cnt; i++) {
        if (map_put(s->data->hosts, str_c(hosts->items[i]), site))
            continue;
        fault_set(f, "host \"%s\" is listed twice", hosts->items[i]);
        return false;
    }
    return true;
}

static bool site_start(struct server *s, struct site *site, struct origin_stats *stats,
                       struct fault *f)
{
    site->origins = origin_group_new(s, site, stats, f);
    if (site->origins == NULL)
        return false;
    s->data->sites_started++;
    return hosts_add(s, site, f) && enforce_site_start(s, site, f);
}

static bool start(struct server *s, const struct server_opts *opts, struct fault *f)
{
    const struct config_texts *trusted = &s->config->trusted_proxies;
    struct origin_stats *stats = opts->origins;

    s->data->trusted = networks_new(trusted->items, trusted->cnt, f);
    if (s->data->trusted == NULL) {
        fault_prefix(f, "%s: trusted_proxies", s->config->path);
        return false;
    }
    s->data->worker_started = true;
    if (!enforce_worker_start(s, f))
        return false;
    for (unsigned i = 0; i < s->sites_cnt; i++) {
        s->sites[i].config = &s->config->sites[i];
        s->sites[i].policy = opts->policies != NULL ? opts->policies[i] : NULL;
        if (!site_start(s, &s->sites[i], stats, f))
            return false;
        if (stats != NULL)
            stats += s->sites[i].config->origin_cnt;
    }
    for (size_t i = 0; i < s->config->listen_cnt; i++) {
        struct acceptor *a = &s->data->acceptors[i];

        a->server = s;
        a->config = &s->config->listens[i];
        if (a->config->has_tls && !tls_start(s, a, f))
            return false;
        if (a->config->proxy_protocol)
            a->proxied = proxied_new(s->loop, client_accept, a);
    }
    return true;
}

static void on_drained(void *arg)
{
    struct server *s = arg;

    void (*fn)(void *arg) = s->data->on_drained;

    s->data->on_drained = NULL; /* once */
    if (fn == NULL)
        return;
    enforce_drained(s);
    fn(s->data->on_drained_arg);
}

struct server *server_new(const struct server_opts *opts, struct fault *fault_out)
{
    struct server *s = mem_new(struct server);

    s->loop = opts->loop;
    s->config = opts->config;
    s->bundle = opts->bundle;
    s->keyring = opts->keyring;
    s->sites_cnt = (unsigned)s->config->site_cnt;
    s->sites = mem_calloc(s->sites_cnt + 1, sizeof(*s->sites));
    s->arenas = arena_pool_new(8192, SERVER_FREE_EXCHANGES);
    s->data = mem_new(struct server_data);
    s->data->access_log = access_log_new(opts->access_log_fd, s->config->access_log_format);
    s->data->budget = budget_new(&s->config->limits);
    s->data->hosts = map_new();
    s->data->drained = (struct deferred){.fn = on_drained, .arg = s};
    s->data->acceptors = mem_calloc(s->config->listen_cnt + 1, sizeof(struct acceptor));
    buf_init(&s->data->head, 2 * s->config->limits.header_size + 65536);
    timer_init(&s->data->tick, s->loop, on_tick, s);
    timer_set(&s->data->tick, TICK_MS);
    if (start(s, opts, fault_out))
        return s;
    server_free(s);
    return NULL;
}

/* A balancer's connection: the client is known when its header is read. */
static void on_balancer(void *owner, int fd, const struct sockaddr *peer, socklen_t len)
{
    const struct acceptor *a = owner;

    proxied_start(a->proxied, fd, peer, len);
}

static bool may_accept(void *arg)
{
    return siblings_let_us(arg);
}

bool server_listen(struct server *s, unsigned index, int fd, struct fault *fault_out)
{
    if (index >= s->config->listen_cnt) {
        fault_set(fault_out, "there is no listen[%u]", index);
        (void)close(fd);
        return false;
    }
    s->data->acceptors[index].listener = listener_new(
        s->loop, fd, s->data->acceptors[index].proxied != NULL ? on_balancer : client_accept,
        &s->data->acceptors[index]);
    listener_set_gate(s->data->acceptors[index].listener, may_accept, &s->data->siblings);
    return true;
}

void server_set_access_log(struct server *s, int fd)
{
    if (s->data->access_log != NULL)
        access_log_reopen(s->data->access_log, fd);
    else
        s->data->access_log = access_log_new(fd, s->config->access_log_format);
}

void server_set_ledger(struct server *s, struct ipc *ledger)
{
    s->ledger = ledger;
    enforce_ledger_link(s, ledger != NULL);
}

void server_ledger_message(struct server *s, uint16_t type, const void *data, size_t len)
{
    enforce_ledger_message(s, type, data, len);
}

void server_set_snapshot(struct server *s, unsigned site, struct snapshot *snapshot)
{
    if (s->sites[site].snapshot != NULL)
        snapshot_give(s->sites[site].snapshot);
    s->sites[site].snapshot = snapshot;
    enforce_rules_changed(s, &s->sites[site]);
}

struct site *server_find_site(const struct server *s, struct str host)
{
    char lower[HOST_MAX];

    if (host.len > 0 && host.ptr[host.len - 1] == '.')
        host.len--;
    if (host.len == 0 || host.len > sizeof(lower))
        return NULL;
    for (size_t i = 0; i < host.len; i++)
        lower[i] = ascii_lower(host.ptr[i]);
    return map_get(s->data->hosts, str_make(lower, host.len));
}

void server_check_drained(struct server *s)
{
    unsigned greeting = 0;

    for (size_t i = 0; i < s->config->listen_cnt; i++) {
        if (s->data->acceptors[i].proxied != NULL)
            greeting += proxied_waiting(s->data->acceptors[i].proxied);
    }
    if (!s->draining || s->data->client_cnt + greeting > 0)
        return;
    loop_defer(s->loop, &s->data->drained);
}

void server_drain(struct server *s, void (*fn)(void *arg), void *arg)
{
    s->draining = true;
    s->data->on_drained = fn;
    s->data->on_drained_arg = arg;
    for (size_t i = 0; i < s->config->listen_cnt; i++) {
        listener_free(s->data->acceptors[i].listener);
        s->data->acceptors[i].listener = NULL;
    }
    for (struct client *c = s->data->clients; c != NULL; c = c->next)
        if (c->h2 != NULL)
            client_h2_drain(c);
        else if (c->state == CLIENT_HEAD && c->flow == NULL)
            timer_set(&c->timer, DRAIN_IDLE_MS);
    server_check_drained(s);
}

static void data_free(struct server_data *d)
{
    access_log_free(d->access_log);
    peer_budget_free(d->budget);
    networks_free(d->trusted);
    map_free(d->hosts, NULL);
    freelist_clear(&d->free_clients);
    freelist_clear(&d->free_flows);
    freelist_clear(&d->free_origin_conns);
    buf_free(&d->head);
    free(d->acceptors);
    free(d);
}

void server_free(struct server *s)
{
    if (s == NULL)
        return;
    s->draining = true;
    s->data->on_drained = NULL;
    timer_clear(&s->data->tick);
    for (size_t i = 0; i < s->config->listen_cnt; i++)
        listener_free(s->data->acceptors[i].listener);
    for (size_t i = 0; i < s->config->listen_cnt; i++)
        proxied_free(s->data->acceptors[i].proxied);
    while (s->data->clients != NULL)
        client_close(s->data->clients, true);
    for (unsigned i = 0; i < s->sites_cnt; i++)
        origin_group_stop(s->sites[i].origins);
    loop_undefer(s->loop, &s->data->drained);
    loop_poll(s->loop); /* what was closed above is freed at the end of this turn */
    for (unsigned i = 0; i < s->sites_cnt; i++) {
        if (i < s->data->sites_started)
            enforce_site_stop(s, &s->sites[i]);
        origin_group_free(s->sites[i].origins);
        if (s->sites[i].snapshot != NULL)
            snapshot_give(s->sites[i].snapshot);
    }
    if (s->data->worker_started)
        enforce_worker_stop(s);
    for (size_t i = 0; i < s->config->listen_cnt; i++)
        tls_server_free(s->data->acceptors[i].tls);
    loop_undefer(s->loop, &s->data->drained);
    data_free(s->data);
    arena_pool_free(s->arenas);
    free(s->sites);
    free(s);
}

unsigned server_clients(const struct server *s)
{
    return s->data->client_cnt;
}

unsigned server_exchanges(const struct server *s)
{
    return s->data->flow_cnt;
}
