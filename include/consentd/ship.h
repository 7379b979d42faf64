/*
 * ship.h - carries the journal to Redis, exactly once, whatever Redis does meanwhile.
 *
 *   T = {c:<site>:<node>:<yyyymm>}
 *   T:hw  last leaf applied        T:ev  stream, id <ts>-<leaf>, field e: envelope.h
 *   T:rk:<leaf/100>  leaf -> r     T:sx:<3 hex>  subject tag -> (ts, leaf)*
 *   T:st:<yyyymmdd>  counters      T:gap  leaves that were lost: first -> last
 *   c:own:<site>:<node>  the writer that may write: its machine ":" a number per process
 *   c:cp:<site>:<node>   stream of signed checkpoints, id <leaves>-0, field n = the note
 *
 * The journal is the queue: a Redis that is away costs disk, not memory. One script
 * applies up to 256 records of a day atomically behind the high-water mark hw; every write in it
 * is absolute, since a cut AOF may run a transaction twice. hw is compared on every
 * connect, and an owner key that is gone tells that Redis was emptied: then the journal
 * is replayed from the first leaf Redis lacks.
 */
#ifndef CONSENTD_SHIP_H
#define CONSENTD_SHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/erased.h"
#include "consentd/fault.h"
#include "consentd/ledger_msg.h"
#include "consentd/str.h"

#define SHIP_BATCH_RECORDS 256        /* records of one script call */
#define SHIP_BATCH_BYTES   (1u << 20) /* sealed bytes of one script call */
#define SHIP_CHECKPOINTS   "100000"   /* about so many are kept in Redis */
#define SHIP_WRITER_LEN    32         /* hex digits of a machine's id */
#define SHIP_MONTHS_MAX    120        /* months compared on connect */

#define SHIP_STATS_KEY_MAX 320 /* bytes of the key of a day's counters */

struct journal;
struct keks;
struct loop;
struct notices;
struct suppressed;
struct resp;
struct rlink;
struct rlink_config;
struct ship;
struct shown_entry;

struct ship_config {
    const char *site;   /* copied */
    const char *writer; /* copied; SHIP_WRITER_LEN hex digits: this machine, for good */
    uint8_t node;
    const char *journal_dir; /* copied */
    struct journal *journal; /* borrowed: where the durable end is */
    const struct keks *keks; /* borrowed: records are opened to count them */
    const struct rlink_config *redis;
    struct erased *erased;         /* borrowed; NULL: none */
    const struct notices *notices; /* borrowed: kept in Redis too; NULL: none */
    const struct suppressed *left; /* likewise */
};

struct ship_ops {
    /*
     * After a connect: the highest leaf Redis has is `leaf` - 1; ours: this machine brought it
     * there. False: nothing is shipped before ship_again.
     */
    bool (*on_compared)(void *owner, uint64_t leaf, bool ours);
    /* Nothing is behind any more (once per catching up). */
    void (*on_caught_up)(void *owner);
    /* Redis was asked for all records of an erasure; the callee notes them in the list. */
    void (*on_looked)(void *owner, struct erasure *x, const struct erased_ref *refs, size_t cnt);
    /*
     * A month that was dropped is about to go from Redis, whose last leaf of it is *hw; NULL: Redis
     * has nothing of it. False: it must not go yet.
     */
    bool (*on_month)(void *owner, uint32_t month, const uint64_t *hw);
};

MUST_USE struct ship *ship_new(struct loop *loop, const struct ship_config *cfg,
                               const struct ship_ops *ops, void *owner, struct fault *f);
void ship_free(struct ship *s); /* NULL is fine */

/* Compares with Redis again, after on_compared said no. */
void ship_again(struct ship *s);

/* The link, for reading what Redis has while nothing is shipped. */
struct rlink *ship_link(const struct ship *s);

/* The journal grew. Cheap; to be called after every commit. */
void ship_kick(struct ship *s);

/* The newest signed checkpoint of node's log, of `size` leaves; goes to Redis when it has those. */
void ship_checkpoint(struct ship *s, uint8_t node, uint64_t size, struct str note);

/* The key of the counters of the day that has this moment (Unix ms). Returns its length. */
size_t ship_stats_key(const char *site, uint8_t node, uint64_t ms, char out[SHIP_STATS_KEY_MAX]);

/*
 * Counters of groups: gl:LANG, gu:METHOD and gd:NOTICE, each with :PURPOSE:1 or :0, and
 * au:METHOD:ACT. A day has all of them when as many events are counted in this one as in act:*;
 * a ledger that did not know them began it otherwise, and its records have to be read.
 */
#define SHIP_COUNTER_GROUPED "grouped"
bool ship_counter_is_grouped(struct str name);

/* True for the counters of a day (HGETALL) that has all of them. */
bool ship_stats_grouped(const struct resp *reply);

/* The list of erasures grew or changed. */
void ship_erase(struct ship *s);

/* What a worker counted of the question's showing; kept for Redis in memory. */
void ship_shown(struct ship *s, const struct shown_entry *entries, size_t cnt, uint64_t wall_ms);

/* There is another notice document, or somebody left a list. */
void ship_keep(struct ship *s);

/* The leaf behind the last one that Redis confirmed. */
uint64_t ship_leaf(const struct ship *s);
uint64_t ship_lag_ms(const struct ship *s,
                     uint64_t wall_ms); /* age of the oldest record it lacks */
enum ledger_ship_state ship_state(const struct ship *s);
const char *ship_error(const struct ship *s); /* the last trouble, "" if none */

/* Leaves that neither Redis nor the journal has; equal: none. */
void ship_gap(const struct ship *s, uint64_t *from_out, uint64_t *to_out);

/* Redis says that what it has is on its disk: segments below ship_leaf may go. */
bool ship_is_persistent(const struct ship *s);

#endif
