/*
 * server.h - the context of one worker: everything that its exchanges share. layer: serve
 *
 *   listener --> client (HTTP/1) --> exchange --> origin pool
 *                        \              |
 *                         `-- server: loop, config, sites, ledger link, arenas, free lists
 *
 * One server per worker process (several in one process work too: the tests do it). It runs on
 * one loop and has no locks. proc/worker.c makes it from the bundle, gives it the listening
 * sockets, the link to the ledger and new rule snapshots, and drains it at the end.
 *
 *   server_new -> server_listen* -> server_set_snapshot / server_set_ledger ... -> server_drain
 *              -> (callback) -> server_free
 */
#ifndef CONSENTD_SERVER_H
#define CONSENTD_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"

struct arena_pool;
struct bundle;
struct config;
struct config_site;
struct ipc;
struct keyring;
struct loop;
struct origin_group;
struct origin_stats;
struct policy;
struct server_data; /* private to the data plane: proxy/serve/serve_priv.h */
struct snapshot;

#define SERVER_SITES_MAX       1000   /* sites of one configuration */
#define SERVER_FREE_EXCHANGES  1024   /* exchange structs kept for reuse */
#define SERVER_TUNNEL_IDLE_MS  600000 /* a websocket without a byte either way is closed */
#define SERVER_LINGER_MS       2000   /* how long the rest of a refused request is drained */
#define SERVER_RATE_GRACE_MS   20000  /* an upload may be so far behind its rate, or body_timeout */
#define SERVER_GATHER_MAX      16384  /* so much of a body is read before a slot is taken */
#define SERVER_INFORMATION_MAX 20     /* 1xx answers before a final one; more: 502 */

/* One site at run time. Lives as long as the server. */
struct site {
    const struct config_site *config; /* owned by the configuration */
    struct policy *policy;            /* borrowed: set by whoever made the server, or NULL */
    struct snapshot *snapshot;        /* one reference held; NULL: everything denied, no rules */
    uint32_t notice_since_s;          /* ENFORCE's: the notice's version is in force since then
                                         and took the place of another; 0: not known, or none */
    void *enforce;                    /* ENFORCE's own, from enforce_site_start() */
    uint8_t revision[16];             /* ENFORCE's: of what answers show of the configuration */
    struct origin_group *origins;     /* owned; the data plane's */
};

/* What a worker's parts share. Fields are read-only except the slots said otherwise. */
struct server {
    struct loop *loop;           /* borrowed */
    const struct config *config; /* borrowed; immutable */
    const struct bundle *bundle; /* borrowed; NULL in tests without files */
    struct keyring *keyring;     /* borrowed; token keys; NULL: every token is refused */
    struct ipc *ledger;          /* borrowed; NULL while the ledger is away */
    struct site *sites;          /* owned; in the order of the configuration */
    unsigned sites_cnt;
    bool draining;             /* server_drain() was called */
    struct arena_pool *arenas; /* owned */
    void *enforce;             /* ENFORCE's own, from enforce_worker_start() */
    struct server_data *data;  /* owned; the data plane's */
};

/* What server_new() needs. Everything is borrowed and must outlive the server. */
struct server_opts {
    struct loop *loop;
    const struct config *config;
    const struct bundle *bundle;    /* certificates, CA files, policies by absolute path */
    struct keyring *keyring;        /* or NULL */
    struct policy *const *policies; /* one per site, in order; NULL: none */
    int access_log_fd;              /* -1: off. Not closed by the server */
    struct origin_stats *origins;   /* this worker's row; NULL: nobody reads along */
};

/*
 * Builds sites, origin pools and TLS contexts, and starts enforcement. NULL with *fault_out
 * set when something of the configuration cannot be used (a certificate, two sites with one
 * host, ...): so `consentd -t` runs it too.
 */
MUST_USE struct server *server_new(const struct server_opts *opts, struct fault *fault_out);

/*
 * Accepts on a listening socket that belongs to config->listen[index]: cleartext, TLS or
 * redirect as written there. Takes over fd. False: the event could not be made.
 */
MUST_USE bool server_listen(struct server *s, unsigned index, int fd, struct fault *fault_out);

/* Lines go to fd from now on, which is borrowed; what was gathered goes to the one before. */
void server_set_access_log(struct server *s, int fd);

/* The link to the ledger process; NULL: it is away. Tells enforcement (enforce_ledger_link). */
void server_set_ledger(struct server *s, struct ipc *ledger);

/* A message that came over that link. */
void server_ledger_message(struct server *s, uint16_t type, const void *data, size_t len);

/* Swaps one site's rules; takes over the reference. Exchanges in flight keep the old ones. */
void server_set_snapshot(struct server *s, unsigned site, struct snapshot *snapshot);

/* The site of a host name (any case, no port, with or without final dot), or NULL: answer 421. */
struct site *server_find_site(const struct server *s, struct str host);

/*
 * Stops accepting, lets exchanges finish with "Connection: close", closes idle connections;
 * calls fn once (from the loop, never from inside this call) when the last one is gone.
 * Connections that hold out longer than the caller wants: server_free() cuts them.
 */
void server_drain(struct server *s, void (*fn)(void *arg), void *arg);

/* Cuts what is left and frees everything. Not from inside a callback of the server. */
void server_free(struct server *s);

/* Connections of clients now open, and exchanges in flight; for status and tests. */
unsigned server_clients(const struct server *s);
unsigned server_exchanges(const struct server *s);

#endif
