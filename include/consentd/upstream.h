/*
 * upstream.h - keep-alive connections to one origin; one pool per origin and worker.
 *
 * A connection is in exactly one place: idle inside the pool (the pool owns it) or out with an
 * exchange (which owns it until it calls give or drop).
 *
 * The pool does no I/O and reads no clock. The caller dials, and passes the time in, so every
 * path here can be driven by a unit test. What it knows of a connection are the two functions
 * origin_conn_is_reusable() and origin_conn_close() of serve/origin.c.
 */
#ifndef CONSENTD_UPSTREAM_H
#define CONSENTD_UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"

struct origin_conn; /* a connection and its place: proxy/serve/serve_priv.h */
struct upstream_pool;

/*
 * A connection that came back so shortly ago, and whose last read left nothing behind, is not
 * probed again with a system call: the loop has seen it open in this very turn or the one
 * before. Only for requests that can be resent.
 */
#define UPSTREAM_FRESH_MS 2

struct upstream_limits {
    unsigned max_idle;   /* idle connections kept; 0 turns reuse off */
    unsigned max_total;  /* idle + out; above this a take answers BUSY */
    uint64_t max_age_ms; /* idle longer than this: closed by the sweep */
};

enum upstream_slot {
    UPSTREAM_BUSY = 0, /* limit reached; queue the request or answer 503 */
    UPSTREAM_DIAL,     /* nothing idle; a slot is reserved, caller connects */
    UPSTREAM_REUSE,    /* *conn_out is a live connection, now the caller's */
};

/* Copies *limits. Never returns NULL. */
struct upstream_pool *upstream_pool_new(const struct upstream_limits *limits);

/* Closes what is idle and frees the pool; every slot must be back. NULL is fine. */
void upstream_pool_free(struct upstream_pool *pool);

/*
 * Sets *conn_out for REUSE, to NULL otherwise. DIAL and REUSE use up one slot. sure: probe every
 * connection, also a fresh one (a request that cannot be sent twice).
 */
MUST_USE enum upstream_slot upstream_take(struct upstream_pool *pool, uint64_t now_ms, bool sure,
                                          struct origin_conn **conn_out);

/* A slot without a connection, for a request that must not meet a stale one. BUSY or DIAL. */
MUST_USE enum upstream_slot upstream_take_new(struct upstream_pool *pool);

/*
 * End of a request, connection still usable (the caller knows: nothing unread). Takes ownership
 * of conn: keeps it, or closes it when the pool is full.
 */
void upstream_give(struct upstream_pool *pool, struct origin_conn *conn, uint64_t now_ms);

/* End of a request, connection not usable; conn is NULL if the dial failed. */
void upstream_drop(struct upstream_pool *pool, struct origin_conn *conn);

/* An idle connection hung up or spoke unasked: takes it out of the pool and closes it. */
void upstream_forget(struct upstream_pool *pool, struct origin_conn *conn);

/* Closes idle connections older than max_age_ms; returns how many. UINT64_MAX: all. */
unsigned upstream_sweep(struct upstream_pool *pool, uint64_t now_ms);

/* Closes idle connections that origin_conn_is_stale(); returns how many. */
unsigned upstream_purge(struct upstream_pool *pool);

/* True when a take would not answer BUSY. */
bool upstream_has_slot(const struct upstream_pool *pool);

/* How many are idle, and how many slots are out. */
unsigned upstream_idle(const struct upstream_pool *pool);
unsigned upstream_out(const struct upstream_pool *pool);

/*
 * Supplied by the user of the pool: open, nothing unread, no end of file seen (probe: the kernel
 * is asked too); and the close.
 */
bool origin_conn_is_reusable(struct origin_conn *oc, bool probe);
bool origin_conn_is_stale(struct origin_conn *oc); /* leads to an address that is not its name's */
void origin_conn_close(struct origin_conn *oc);

#endif
