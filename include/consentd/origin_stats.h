/*
 * origin_stats.h - what each worker knows of each origin, in memory that the admin reads too.
 *
 * One memory file per configuration: a row per worker, in a row a place per origin, in the order
 * of the configuration (site after site). A place is written by its worker alone; whoever reports
 * reads all rows. Figures grow from the moment the configuration came into force; a worker that
 * is started again goes on with the row of the one before.
 */
#ifndef CONSENTD_ORIGIN_STATS_H
#define CONSENTD_ORIGIN_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"

struct config;

/* The zero value: no worker has said anything. The others are enum balance_state plus one. */
enum origin_state { ORIGIN_UNKNOWN = 0, ORIGIN_DOWN, ORIGIN_PROBING, ORIGIN_UP };

/*
 * X(field, the metric's name without "consentd_site_origin_", help). The fields of struct
 * origin_stats, the members of the JSON and the families of the Prometheus text all come from
 * this list.
 */
#define ORIGIN_FIGURES(X)                                                                          \
    X(requests, "requests_total", "Requests sent to this origin")                                  \
    X(failures, "failures_total", "Requests that it did not answer, or with 502, 503 or 504")      \
    X(connects, "connects_total", "Connections opened to it")                                      \
    X(answers, "answers_total", "Final heads that it sent")                                        \
    X(latency_ms, "latency_seconds_total", "From a request to its head, of all answers")           \
    X(outs, "outs_total", "Times that a worker took it out")                                       \
    X(checks, "checks_total", "Health checks")                                                     \
    X(checks_failed, "checks_failed_total", "Health checks that failed")

/* One origin as one worker knows it. The first three are gauges: a new worker clears them. */
struct origin_stats {
    _Atomic uint64_t state; /* enum origin_state */
    _Atomic uint64_t busy;  /* requests that it works on */
    _Atomic uint64_t idle;  /* kept connections without one */
    /* and these only grow */
#define ORIGIN_FIELD(field, name, help) _Atomic uint64_t field;
    ORIGIN_FIGURES(ORIGIN_FIELD)
#undef ORIGIN_FIELD
};

/* For the only writer of a place: a plain load and store, no locked instruction. */
static inline void origin_stats_add(_Atomic uint64_t *figure, uint64_t n)
{
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline void origin_stats_set(_Atomic uint64_t *figure, uint64_t value)
{
    atomic_store_explicit(figure, value, memory_order_relaxed);
}

/* Origins of all sites: places in a row. */
unsigned origin_stats_cnt(const struct config *c);

/* The memory file for so many workers, all zero; -1 and errno. Whoever made it closes it. */
MUST_USE int origin_stats_create(const struct config *c, unsigned workers);

/*
 * Maps the file for as long as the process lives; fd may be closed then. The first place of the
 * first row, or NULL; *workers_out: how many rows.
 */
MUST_USE struct origin_stats *origin_stats_map(int fd, const struct config *c,
                                               unsigned *workers_out);

/*
 * A new configuration's file begins with what the workers of the old one agree about: who is down.
 * Only so do they not have to learn it again from their visitors. Called before they start.
 */
void origin_stats_inherit(int fd, const struct config *c, int old_fd, const struct config *old);

/*
 * Of one worker: the row of all its origins. Its gauges are cleared; a state is UNKNOWN, or DOWN
 * when the worker before it or the old configuration's said so.
 */
struct origin_stats *origin_stats_row(struct origin_stats *all, const struct config *c,
                                      unsigned worker);

/*
 * All origins, each with the sums over all workers: as a list of JSON objects, or as Prometheus
 * text with the labels site and origin. An origin is "up" when one worker at least says so, since
 * visitors do reach it; how many agree is told beside it. False: out is full.
 */
MUST_USE bool origin_stats_json(const struct origin_stats *all, const struct config *c,
                                unsigned workers, struct buf *out);
MUST_USE bool origin_stats_print(const struct origin_stats *all, const struct config *c,
                                 unsigned workers, struct buf *out);

#endif
