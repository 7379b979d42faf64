/*
 * ceiling.c - contract in consentd/ceiling.h. The figures that are not constants of a header are
 * what the libraries' manuals say and tests/blackbox/test_memory.py has seen.
 */
#include "consentd/ceiling.h"

#include <stdio.h>

#include "consentd/coding.h"
#include "consentd/config.h"
#include "consentd/conn.h"
#include "consentd/exchange.h"
#include "consentd/filter.h"
#include "consentd/h2_session.h"
#include "consentd/ledger_msg.h"
#include "consentd/loop.h"
#include "consentd/server.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

enum { RATIO_MAX = 200 }; /* of decoded to coded bytes, in one slice */

#define BASE (64 * MIB) /* the program, rules, and what is kept for reuse */
/* what visitors read of their own records: buffers that double, and one at a time as JSON values */
#define RECORDS       (2 * (uint64_t)LEDGER_TOLD_ALL_MAX + 8 * (uint64_t)LEDGER_TOLD_MAX)
#define CONN_STRUCTS  (2 * KIB)   /* the connection, its client and their events */
#define TLS_HANDSHAKE (64 * KIB)  /* OpenSSL's state and record buffers */
#define H2_STATE      (128 * KIB) /* nghttp2: HPACK tables, streams, control answers */
#define ENCODER       (1 * MIB)
#define SLACK_PERCENT 25 /* the allocator's own, and what it cannot give back at once */

static uint64_t connection_cost(const struct config *c)
{
    bool tls = false, h2 = false;

    for (size_t i = 0; i < c->listen_cnt; i++) {
        tls = tls || c->listens[i].has_tls;
        h2 = h2 || c->listens[i].h2c || (c->listens[i].has_tls && c->listens[i].http2);
    }
    /* a head that is not complete, or a read that nobody took yet */
    return CONN_STRUCTS + c->limits.header_size + LOOP_SCRATCH_LEN + (tls ? TLS_HANDSHAKE : 0) +
           (h2 ? H2_STATE : 0);
}

/* Both queues above their high marks by one read, and a window of HTTP/2 that waits. */
static uint64_t request_cost(void)
{
    return EXCHANGE_ARENA_MAX + CLIENT_QUEUE_HIGH + CONN_QUEUE_HIGH + 2 * LOOP_SCRATCH_LEN +
           SERVER_GATHER_MAX + H2_STREAM_WINDOW;
}

static uint64_t page_cost(const struct config *c)
{
    return CODING_DECODER_MAX + ENCODER + (uint64_t)FILTER_SLICE_MAX * RATIO_MAX +
           2 * (c->limits.tag + c->limits.inline_script);
}

static uint64_t pages_of(const struct config *c)
{
    uint64_t cnt = 0;

    for (size_t i = 0; i < c->site_cnt; i++)
        for (size_t k = 0; k < c->sites[i].origin_cnt; k++)
            cnt += c->sites[i].origins[k].max_connections;
    return cnt < c->limits.requests ? cnt : c->limits.requests;
}

void ceiling_of(const struct config *c, unsigned workers, struct ceiling *out)
{
    *out = (struct ceiling){
        .connection = connection_cost(c),
        .request = request_cost(),
        .page = page_cost(c),
        .connections = c->limits.connections,
        .requests = c->limits.requests,
        .pages = pages_of(c),
    };
    out->worker = BASE + RECORDS +
                  (out->connections * out->connection + out->requests * out->request +
                   out->pages * out->page) /
                      100 * (100 + SLACK_PERCENT);
    out->all = out->worker * workers;
}

static const char *human(uint64_t bytes, char out[24])
{
    double value = (double)bytes / (double)MIB;

    if (value < 10240)
        snprintf(out, 24, "%.0f MiB", value);
    else
        snprintf(out, 24, "%.1f GiB", value / 1024);
    return out;
}

const char *ceiling_text(const struct ceiling *c, char out[CEILING_TEXT_MAX])
{
    char all[24], worker[24];

    snprintf(out, CEILING_TEXT_MAX,
             "at most %s: %llu x %s, a worker's %llu connections of %llu KiB, %llu requests of "
             "%llu KiB and %llu filtered answers of %llu KiB",
             human(c->all, all), (unsigned long long)(c->worker > 0 ? c->all / c->worker : 0),
             human(c->worker, worker), (unsigned long long)c->connections,
             (unsigned long long)(c->connection / KIB), (unsigned long long)c->requests,
             (unsigned long long)(c->request / KIB), (unsigned long long)c->pages,
             (unsigned long long)(c->page / KIB));
    return out;
}
