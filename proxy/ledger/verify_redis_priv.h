/*
 * verify_redis_priv.h - what the walk of Redis' streams and the check of its indexes share.
 */
#ifndef LEDGER_VERIFY_REDIS_PRIV_H
#define LEDGER_VERIFY_REDIS_PRIV_H

#include "consentd/redis.h"
#include "consentd/timer.h"
#include "ship_priv.h"
#include "verify_priv.h"

#define VERIFY_CHUNK       256  /* stream entries at a time */
#define VERIFY_BUCKETS     4096 /* of the subjects' index: three hex digits */
#define VERIFY_COUNTERS    4096 /* different counters of one day */
#define VERIFY_COUNTER_LEN 120  /* bytes of a counter's name */

struct verify_entry {
    uint64_t leaf, ts_ms;
    size_t off, len; /* of the envelope in chunk */
    bool has_r;
    uint8_t r[32];
};

struct verify_counter {
    char name[VERIFY_COUNTER_LEN];
    uint64_t expected;
};

/*
 * A bucket of the index as sums of keyed hashes of (tag, reference): what the records say is added,
 * what Redis has is taken away. Both sides agree, whatever the order, when nothing is left.
 */
struct verify_bucket {
    uint64_t sum[2];
};

struct verify_redis {
    struct verify *v;
    struct loop *loop;
    struct rlink *link;
    struct timer patience;
    bool up, failed;
    char why[200];
    rlink_fn take; /* gets the reply that is waited for */
    void *take_arg;
    struct apply_log log; /* for keys */
    /* the month being walked */
    uint32_t month;
    bool there;
    uint64_t hw, hw_after; /* its mark, before the walk and behind it */
    uint64_t next;         /* the leaf that must come */
    bool begun;            /* next is known */
    uint64_t bucket;       /* of secrets, being walked */
    uint64_t bucket_cnt;   /* entries in it so far */
    uint64_t secrets;      /* what Redis says is in a bucket */
    char from_id[64];
    struct buf chunk;
    struct verify_entry entries[VERIFY_CHUNK]; /* being read; checked: of the chunk */
    struct verify_entry checked[VERIFY_CHUNK];
    unsigned entry_cnt, group_at, group_cnt;
    /* what is counted again */
    bool whole; /* no range: index and counters can be compared */
    uint8_t hash_key[2][16];
    struct verify_bucket buckets[VERIFY_BUCKETS];
    unsigned bucket_at;
    uint64_t day, day_erased;        /* days since 1970; 0: none */
    struct verify_counter *counters; /* owned */
    unsigned counter_cnt;
    uint64_t excess; /* by how much Redis counts more than was counted again, at most */
    char excess_name[VERIFY_COUNTER_LEN];
    int status; /* set by a reply's callback */
};

int verify_mark(struct verify_redis *r); /* asks for hw_after */

/* Sends and waits; the reply goes to take(r). */
int verify_ask(struct verify_redis *r, const struct str *argv, size_t argc, rlink_fn take);

/* verify_index.c */
void verify_count(struct verify_redis *r, const struct verify_record *rec,
                  const struct verify_text *text);
int verify_day_to(struct verify_redis *r, uint64_t ts_ms); /* the day before is over */
int verify_day_end(struct verify_redis *r);
int verify_index(struct verify_redis *r); /* of the month */

#endif
