/*
 * ledger.h - the engine of the ledger process: sequence, group commit, acknowledge.
 *
 *   message ─▶ check ─▶ known eid? ─▶ queue ─┐            one batch per turn of the loop
 *                                            ▼
 *     ts, leaf ─▶ J, r, cmt, seal ─▶ journal_append (fdatasync) ─▶ acks ─▶ shipper
 *
 * While one fdatasync runs, messages pile up in the socket buffers and make the next
 * batch: no timer, no delay when idle. Every site of the machine shares this one
 * sequence; the event's host tells them apart.
 *
 * A journal that can't be written never takes the site down: events that grant
 * something are answered LEDGER_UNAVAILABLE, events that narrow are held in memory
 * (at most LEDGER_HELD_MAX) and journaled first when there is space again.
 */
#ifndef CONSENTD_LEDGER_H
#define CONSENTD_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/ledger_msg.h"
#include "consentd/str.h"

#define LEDGER_QUEUE_MAX  16384  /* messages waiting for a commit; more are not available */
#define LEDGER_LANE_MAX   4096   /* of one peer; each gets its turn, whatever others send */
#define LEDGER_JOBS_SHARE 4      /* a peer gets this part of the places for questions, erasures */
#define LEDGER_HELD_MAX   4096   /* narrowings held while the journal can't be written */
#define LEDGER_EIDS_MAX   262144 /* events remembered for repetitions */
#define LEDGER_EIDS_MS    600000 /* how far back they are read from the journal on start */

struct erased;
struct ledger;
struct loop;
struct note_key;
struct notices;

/* A notice document that is in force on a site (notice.h). */
struct ledger_notice {
    const char *site; /* its first host name */
    struct str document;
};

/* All texts and keys are copied. */
struct ledger_config {
    const char *journal_dir;
    const char *keks_path;
    const char *site;                    /* the log's name in Redis keys and origin lines */
    uint8_t node;                        /* this machine's log; a new number begins a new log */
    uint64_t segment_size;               /* bytes */
    uint64_t retention_ms;               /* shipped segments older than this are removed */
    uint64_t lock_wait_ms;               /* for a predecessor's lock */
    const char *erased_path;             /* the list of erasures; NULL: none are taken */
    uint64_t record_retention_ms;        /* of a month after its end; 0: months are never dropped */
    uint64_t backup_retention_ms;        /* how long backups of Redis and journal are kept */
    const char *suppressed_path;         /* the list of unsubscriptions; NULL: none is kept */
    const char *notices_path;            /* folder of notice documents (notices.h); NULL: none */
    const struct ledger_notice *notices; /* in force now; notice_cnt of them */
    unsigned notice_cnt;
    const uint8_t *idx_key;          /* 32 bytes: subject tags */
    const uint8_t *log_seed;         /* 32 bytes: signs the Merkle log; NULL: there is none */
    const struct note_key *log_keys; /* log_seed's public half first, then older ones */
    unsigned log_key_cnt;
    const char *const *sinks; /* where checkpoints go: sinks.h */
    size_t sink_cnt;
    struct str sink_ca;   /* PEM for https sinks; empty: the system's */
    struct str redis_url; /* empty: the journal alone; see redis.h for the forms */
    struct str redis_user, redis_password;
    struct str redis_ca; /* PEM; empty: the system's */
};

struct ledger_ops {
    /*
     * The answer to ledger_event or ledger_oplog for `peer`; *ack is borrowed. Comes
     * after the turn in which the message was given. Only LEDGER_UNAVAILABLE because the
     * queue is full comes from inside that call.
     */
    void (*on_ack)(void *owner, uint64_t peer, const struct ledger_ack *ack);
    /*
     * Recovery and the first comparison with Redis are through (or Redis did not answer
     * in time): messages are being committed. Before that they queue.
     */
    void (*on_ready)(void *owner);
    /* The answer to ledger_erase; later, or inside the call for what is refused. */
    void (*on_erased)(void *owner, uint64_t peer, const struct ledger_erase_ack *ack);
    /* A subject was erased: its cookie is to be refused from now on (erased.h). */
    void (*on_gone)(void *owner, const uint8_t gone[16]);
    /* The answer to ledger_ask, or a piece of it; later, or inside the call for what is refused. */
    void (*on_tell)(void *owner, uint64_t peer, const struct ledger_tell_head *head,
                    struct str text);
    /* The notice document number i of the configuration is on record: ledger_notice_get. */
    void (*on_notice)(void *owner, unsigned i);
};

/*
 * Opens keys and journal (blocking, may wait lock_wait_ms), recovers, connects to Redis
 * in the background. NULL and *f when the journal or the keys can't be used.
 */
MUST_USE struct ledger *ledger_new(struct loop *loop, const struct ledger_config *cfg,
                                   const struct ledger_ops *ops, void *owner, struct fault *f);

/* Commits what is queued, closes the journal, drops the link to Redis. NULL is fine. */
void ledger_free(struct ledger *l);

/*
 * The payload of an IPC_EVENT from `peer` (the caller's number for the socket; an ack
 * for a peer that is gone is the caller's to drop). Malformed: LEDGER_REFUSED.
 */
void ledger_event(struct ledger *l, uint64_t peer, struct str payload);

/* The payload of an IPC_OPLOG: recorded as a leaf like any event. */
void ledger_oplog(struct ledger *l, uint64_t peer, struct str payload);

/* The payload of an IPC_ERASE: erasure or legal hold of a subject. */
void ledger_erase(struct ledger *l, uint64_t peer, struct str payload);

/* The payload of an IPC_ASK: what a visitor asks of their own records. */
void ledger_ask(struct ledger *l, uint64_t peer, struct str payload);

/* The payload of an IPC_SHOWN: how often the question was shown. Malformed: nothing. */
void ledger_shown(struct ledger *l, struct str payload);

/* The subjects erased so far, for a worker that connects. NULL: no list is kept. */
const struct erased *ledger_erased(const struct ledger *l);

/* The documents and their history. NULL: none are kept. */
const struct notices *ledger_notices(const struct ledger *l);

/* What workers have to know of document number i; false: there is none, or not on record yet. */
bool ledger_notice_get(const struct ledger *l, unsigned i, struct ledger_notice_msg *out);

/* Fills *out; id is the caller's. */
void ledger_status_get(const struct ledger *l, struct ledger_status *out);

#endif
