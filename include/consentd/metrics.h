/*
 * metrics.h - counters that all processes share.
 *
 * One memory file, one slot of counters per process; each process writes its own
 * slot only (no locks, no atomics' cost beyond a plain store), whoever reports sums
 * over all slots. A counter only grows, also over the life of several processes in
 * one slot. A name without "_total" is a gauge: set by the process, and cleared when
 * the slot changes hands. Names follow Prometheus; labels are part of the name. One that
 * ends in "_seconds_total" is counted in nanoseconds.
 *
 * To add one: a line in METRICS, nothing else. No label may hold a visitor's data.
 */
#ifndef CONSENTD_METRICS_H
#define CONSENTD_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/fault.h"

/*
 * X(id, name, help): METRIC_<id>, the name without the prefix "consentd_", one line of
 * help. In front of each row: the layer that counts it.
 */
#define METRICS(X)                                                                                 \
    /* the client's side */                                                                        \
    /* serve */ X(CLIENT_ACCEPTED, "client_connections_total",                                     \
                  "Connections accepted from visitors")                                            \
    /* serve */ X(CLIENT_OPEN, "client_connections", "Connections of visitors that are open")      \
    /* serve */ X(CLIENT_REFUSED, "client_refused_total", "Connections refused at a limit")        \
    /* serve */ X(CLIENT_TIMEOUT, "client_timeouts_total", "Connections closed at a deadline")     \
    /* serve */ X(TLS_FAILED, "tls_handshake_failures_total", "TLS handshakes that failed")        \
    /* serve */ X(REQUESTS, "requests_total", "Requests read completely")                          \
    /* serve */ X(REQUESTS_BAD, "requests_rejected_total",                                         \
                  "Requests rejected as malformed or too large")                                   \
    /* serve */ X(H2_CONNECTIONS, "http2_connections_total", "Connections that speak HTTP/2")      \
    /* serve */ X(H2_FLOODED, "http2_floods_total",                                                \
                  "HTTP/2 connections ended for a flood of frames")                                \
    /* serve */ X(EXCHANGES_OPEN, "exchanges", "Requests being answered")                          \
    /* serve */ X(BYTES_IN, "client_received_bytes_total", "Bytes received from visitors")         \
    /* serve */ X(BYTES_OUT, "client_sent_bytes_total", "Bytes sent to visitors")                  \
    /* the origin's side */                                                                        \
    /* serve */ X(ORIGIN_DIALS, "origin_connects_total", "Connections opened to origins")          \
    /* serve */ X(ORIGIN_REUSED, "origin_reused_total", "Requests sent on a kept connection")      \
    /* serve */ X(ORIGIN_RESENT, "origin_resent_total",                                            \
                  "Requests sent again because no answer came")                                    \
    /* serve */ X(ORIGIN_WAITING, "origin_waiting",                                                \
                  "Requests that wait for a connection to an origin")                              \
    /* serve */ X(ORIGIN_FAILED, "origin_failures_total", "Requests that failed at the origin")    \
    /* serve */ X(ORIGIN_TIMEOUT, "origin_timeouts_total",                                         \
                  "Requests that timed out at the origin")                                         \
    /* enforcement */                                                                              \
    /* serve */ X(COOKIES_STRIPPED, "cookies_stripped_total", "Request cookies kept from origins") \
    /* serve */ X(SETCOOKIES_STRIPPED, "set_cookies_stripped_total", "Set-Cookie fields removed")  \
    /* serve */ X(COOKIES_DELETED, "cookies_deleted_total", "Denied cookies deleted in browsers")  \
    /* serve */ X(ELEMENTS_REMOVED, "elements_removed_total",                                      \
                  "Elements and attributes removed from pages")                                    \
    /* serve */ X(LINKS_REMOVED, "links_removed_total", "Link header members removed")             \
    /* serve */ X(ENDPOINTS_ANSWERED, "endpoints_answered_total",                                  \
                  "Tracker paths of the site answered here")                                       \
    /* serve */ X(REPORTED, "reported_total", "What a rule set in report mode would have removed") \
    /* serve */ X(PAGES_REWRITTEN, "pages_rewritten_total",                                        \
                  "HTML bodies that went through the rewriter")                                    \
    /* serve */ X(SHEETS_READ, "sheets_read_total", "Style sheets searched for trackers")          \
    /* serve */ X(BODIES_REFUSED, "bodies_refused_total",                                          \
                  "HTML bodies refused: coding unknown or corrupt")                                \
    /* serve */ X(RULES_REVISION, "rules_revision", "Newest revision of the rule state in force")  \
    /* consent */                                                                                  \
    /* serve */ X(TOKEN_OK, "tokens_valid_total", "Consent tokens accepted")                       \
    /* serve */ X(TOKEN_BAD, "tokens_refused_total", "Consent tokens that failed verification")    \
    /* serve */ X(CHOICES_GRANTED, "choices_granted_total",                                        \
                  "Choices recorded that grant something")                                         \
    /* serve */ X(CHOICES_DENIED, "choices_denied_total", "Choices recorded that deny everything") \
    /* serve */ X(CHOICES_UNRECORDED, "choices_unrecorded_total",                                  \
                  "Denials honoured while not recordable")                                         \
    /* serve */ X(CHOICES_FAILED, "choices_failed_total",                                          \
                  "Grants refused because they could not be recorded")                             \
    /* serve */ X(BANNERS, "banners_total", "Banners injected")                                    \
    /* the ledger */                                                                               \
    /* ledger */ X(LEDGER_RECORDS, "ledger_records_total", "Records made durable")                 \
    /* ledger */ X(LEDGER_BATCHES, "ledger_batches_total", "Batches written: one fdatasync each")  \
    /* ledger */ X(LEDGER_SYNC_NS, "ledger_sync_seconds_total", "Time spent in fdatasync")         \
    /* ledger */ X(LEDGER_DUPLICATES, "ledger_duplicates_total",                                   \
                   "Events received again and recognised")                                         \
    /* ledger */ X(LEDGER_FAILED, "ledger_failures_total", "Batches that could not be written")    \
    /* ledger */ X(LEDGER_SIZE, "ledger_size", "Records in the journal: the next leaf index")      \
    /* ledger */ X(LEDGER_HELD, "unlogged_withdrawals",                                            \
                   "Withdrawals honoured, in memory, that the journal has no space for")           \
    /* ledger */ X(LEDGER_LOST, "unlogged_withdrawals_lost_total",                                 \
                   "Withdrawals honoured that found no place in memory either")                    \
    /* ledger */ X(LEDGER_SPACE, "journal_space_low",                                              \
                   "1: less than a tenth is free; 2: too little for grants, which are refused")    \
    /* ledger */ X(LEDGER_MISSING, "journal_missing_records",                                      \
                   "Records that were durable and can't be read in the journal")                   \
    /* ledger */ X(LEDGER_CLOCK, "clock_steps_total",                                              \
                   "The clock went back by 5 s or forward by an hour, or differs so from Redis")   \
    /* ledger */ X(LOG_SIGNED, "log_signed_leaves", "Leaves of the newest signed checkpoint")      \
    /* ledger */ X(LOG_RESTARTS, "log_restarts", "Logs that ended before the one that is signed")  \
    /* ledger */ X(LOG_REFUSED, "log_refused",                                                     \
                   "1: the Merkle log is not signed any more; see the log for why")                \
    /* ledger */ X(SINK_SENT, "checkpoints_sent_total", "Checkpoints that a sink has taken")       \
    /* ledger */ X(SINK_FAILED, "checkpoint_sink_failures_total",                                  \
                   "Attempts to hand a checkpoint to a sink that failed")                          \
    /* ledger */ X(SINK_LAG, "checkpoint_sink_lag_seconds",                                        \
                   "Age of the oldest checkpoint that a sink still lacks")                         \
    /* ledger */ X(REDIS_UP, "redis_connected", "1 while the ledger talks to Redis")               \
    /* ledger */ X(REDIS_LAG, "redis_lag_records", "Records durable here and not yet in Redis")    \
    /* ledger */ X(REDIS_LAG_S, "redis_lag_seconds", "Age of the oldest record not yet in Redis")  \
    /* ledger */ X(REDIS_BLOCKED, "redis_blocked",                                                 \
                   "1: Redis refuses what it is told; the journal grows, the log says why")        \
    /* ledger */ X(REDIS_APPLIED, "redis_applied_total", "Records applied to Redis")               \
    /* ledger */ X(REDIS_ERRORS, "redis_errors_total", "Failed commands and lost connections")     \
    /* the processes */                                                                            \
    /* proc */ X(PROC_STARTED, "processes_started_total", "Processes started by the master")       \
    /* proc */ X(PROC_DIED, "processes_died_total", "Processes that died unasked")                 \
    /* proc */ X(RELOADS, "reloads_total", "Configuration reloads that took effect")               \
    /* proc */ X(RELOADS_REFUSED, "reloads_refused_total", "Configuration reloads refused")        \
    /* proc */ X(UPGRADES, "upgrades_total", "Upgrades to another program file that took effect")  \
    /* proc */ X(UPGRADES_REFUSED, "upgrades_refused_total", "Upgrades refused or taken back")     \
    /* proc */ X(GENERATION, "generation", "Generation of processes in force: 1, 2 after a reload")

enum metric {
#define METRIC_ID(id, name, help) METRIC_##id,
    METRICS(METRIC_ID)
#undef METRIC_ID
        METRIC_CNT
};

/* The memory file for this many processes; -1 and errno. Counters start at 0. */
MUST_USE int metrics_create(unsigned slots);

/* Maps it and makes `slot` this process's own. Without it a private slot is counted in. */
MUST_USE bool metrics_attach(int fd, unsigned slot, unsigned slots);

/* Adds to a counter, or sets a gauge, of this process. */
void metric_add(enum metric id, uint64_t n);
void metric_set(enum metric id, uint64_t value);

/* A gauge that counts what is open: adds 1 or takes 1 away. */
void metric_up(enum metric id);
void metric_down(enum metric id);

/* Sum over all slots; of a level, such as a revision or a size, the highest. */
uint64_t metric_sum(enum metric id);

/* Clears the gauges of a slot whose process is gone; it is nobody's. */
void metrics_release(unsigned slot);

/* The process that a slot belongs to, as its master says. */
struct metrics_owner {
    uint64_t pid;             /* 0: nobody */
    uint64_t role;            /* enum ipc_role */
    uint64_t generation;      /* of the master's configuration or program */
    uint64_t state;           /* 0 starts, 1 serves, 2 finishes what it has */
    uint64_t since_ms;        /* Unix time of its start */
    uint64_t requests_before; /* of its slot's former owners: METRIC_REQUESTS at its start */
};

void metrics_own(unsigned slot, const struct metrics_owner *owner);

/* False: the slot is nobody's. */
MUST_USE bool metrics_owner(unsigned slot, struct metrics_owner *out);

/* One counter of one slot; 0 past the last slot. */
uint64_t metric_of(unsigned slot, enum metric id);

/* The slot of this process. */
unsigned metrics_slot(void);

/* Slots that there are. */
unsigned metrics_slots(void);

/*
 * A number that differs when another program's counters are laid out differently: it can then
 * not attach to this memory file, and takes the sums over instead.
 */
uint64_t metrics_layout(void);

/* Adds what metrics_json() said of a counter; a gauge, or a name not known, is left alone. */
void metrics_restore(const char *name, double value);

/* All of them as one JSON object, name to number; false when out is full. */
MUST_USE bool metrics_json(struct buf *out);

/* All of them in the Prometheus text format 0.0.4; false when out is full. */
MUST_USE bool metrics_print(struct buf *out);

#endif
