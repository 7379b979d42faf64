/*
 * upstream.c - contract in consentd/upstream.h.
 *
 * Idle connections sit in an array of max_idle entries, oldest first. Takes
 * come from the end, where a socket is least likely to be stale; the sweep
 * closes a run at the front. The array is small (tens to hundreds), so moving it is cheaper
 * than a list node per connection, and a busy worker allocates nothing here.
 */
#include "consentd/upstream.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/log.h"
#include "consentd/mem.h"

struct idle {
    struct origin_conn *conn; /* owned */
    uint64_t since_ms;
};

struct upstream_pool {
    struct upstream_limits limits;
    struct idle *idle; /* limits.max_idle entries, oldest first */
    unsigned idle_cnt;
    unsigned out_cnt; /* slots reserved by requests */
};

struct upstream_pool *upstream_pool_new(const struct upstream_limits *limits)
{
    struct upstream_pool *pool = mem_new(struct upstream_pool);

    pool->limits = *limits;
    pool->idle = mem_calloc(limits->max_idle, sizeof(*pool->idle));
    return pool;
}

void upstream_pool_free(struct upstream_pool *pool)
{
    if (pool == NULL)
        return;
    ASSERT(pool->out_cnt == 0); /* a request outlived its worker: our bug */
    upstream_sweep(pool, UINT64_MAX);
    free(pool->idle);
    free(pool);
}

enum upstream_slot upstream_take(struct upstream_pool *pool, uint64_t now_ms, bool sure,
                                 struct origin_conn **conn_out)
{
    *conn_out = NULL;
    while (pool->idle_cnt > 0) {
        struct idle last = pool->idle[--pool->idle_cnt];
        bool fresh = !sure && now_ms - last.since_ms < UPSTREAM_FRESH_MS;

        if (origin_conn_is_reusable(last.conn, !fresh)) {
            pool->out_cnt++;
            *conn_out = last.conn;
            return UPSTREAM_REUSE;
        }
        origin_conn_close(last.conn); /* the origin hung up while we held it: no error */
    }
    return upstream_take_new(pool);
}

enum upstream_slot upstream_take_new(struct upstream_pool *pool)
{
    if (pool->out_cnt >= pool->limits.max_total)
        return UPSTREAM_BUSY;
    if (pool->out_cnt + pool->idle_cnt >= pool->limits.max_total) /* make room: the oldest goes */
        upstream_forget(pool, pool->idle[0].conn);
    pool->out_cnt++;
    return UPSTREAM_DIAL;
}

void upstream_give(struct upstream_pool *pool, struct origin_conn *conn, uint64_t now_ms)
{
    ASSERT(pool->out_cnt > 0);
    pool->out_cnt--;
    if (pool->idle_cnt >= pool->limits.max_idle) {
        origin_conn_close(conn);
        return;
    }
    pool->idle[pool->idle_cnt++] = (struct idle){.conn = conn, .since_ms = now_ms};
}

void upstream_drop(struct upstream_pool *pool, struct origin_conn *conn)
{
    ASSERT(pool->out_cnt > 0);
    pool->out_cnt--;
    if (conn != NULL)
        origin_conn_close(conn);
}

/* Moves the entries behind the first `cnt` from index `at` down over them. */
static void idle_cut(struct upstream_pool *pool, unsigned at, unsigned cnt)
{
    pool->idle_cnt -= cnt;
    memmove(pool->idle + at, pool->idle + at + cnt, (pool->idle_cnt - at) * sizeof(*pool->idle));
}

void upstream_forget(struct upstream_pool *pool, struct origin_conn *conn)
{
    for (unsigned i = 0; i < pool->idle_cnt; i++) {
        if (pool->idle[i].conn != conn)
            continue;
        idle_cut(pool, i, 1);
        origin_conn_close(conn);
        return;
    }
    ASSERT(false); /* it said it was idle: our bug */
}

unsigned upstream_sweep(struct upstream_pool *pool, uint64_t now_ms)
{
    unsigned old = 0;

    while (old < pool->idle_cnt && now_ms - pool->idle[old].since_ms > pool->limits.max_age_ms)
        origin_conn_close(pool->idle[old++].conn);
    if (old == 0)
        return 0;
    idle_cut(pool, 0, old);
    log_debug("upstream.sweep", "closed=%u idle=%u", old, pool->idle_cnt);
    return old;
}

unsigned upstream_purge(struct upstream_pool *pool)
{
    unsigned cnt = 0;

    for (unsigned i = pool->idle_cnt; i > 0; i--) {
        struct origin_conn *conn = pool->idle[i - 1].conn;

        if (!origin_conn_is_stale(conn))
            continue;
        idle_cut(pool, i - 1, 1);
        origin_conn_close(conn);
        cnt++;
    }
    return cnt;
}

bool upstream_has_slot(const struct upstream_pool *pool)
{
    return pool->idle_cnt > 0 || pool->out_cnt < pool->limits.max_total;
}

unsigned upstream_idle(const struct upstream_pool *pool)
{
    return pool->idle_cnt;
}

unsigned upstream_out(const struct upstream_pool *pool)
{
    return pool->out_cnt;
}
