/*
 * ceiling.h - how much memory a configuration can come to need. layer: serve
 *
 * Everything that grows in a worker has a maximum; this adds them up, so that an operator sees
 * before the first attack what the worst one can cost, and can size limits, cgroup and machine:
 *
 *      worker = base + records + connections × connection + requests × request + pages × page
 *
 * It is an upper bound, not a forecast: a quiet worker needs a small part of it. The ledger and
 * the admin are not in it; their buffers do not grow with visitors.
 */
#ifndef CONSENTD_CEILING_H
#define CONSENTD_CEILING_H

#include <stddef.h>
#include <stdint.h>

struct config;

struct ceiling {
    uint64_t connection; /* one client connection with a head under way */
    uint64_t request;    /* one request at work, its answer waiting for the client */
    uint64_t page;       /* what filtering one answer adds: codings, tokens, held scripts */
    uint64_t connections, requests, pages; /* how many of them one worker can have */
    uint64_t worker;
    uint64_t all; /* of all workers */
};

void ceiling_of(const struct config *c, unsigned workers, struct ceiling *out);

/* "at most 3.2 GiB: 2 x 1.6 GiB, a worker's 20000 connections of …"; returns out. */
#define CEILING_TEXT_MAX 256
const char *ceiling_text(const struct ceiling *c, char out[CEILING_TEXT_MAX]);

#endif
