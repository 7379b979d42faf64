/*
 * journal.h - the append-only files that make a consent event durable.
 *
 *   DIR/wal-<node>-<16 hex>.log   segments, pre-allocated (64 MiB each, or as configured)
 *   DIR/lock                      flock: one writer per directory
 *
 *   segment  header (64 bytes), batches, zeros up to the end
 *   batch    "CBT1" len crc32c count first-leaf commit-time | records | pad to 8
 *   record   len type flags node month ts sub_tag r cmt sealed
 *
 * A batch is what one fdatasync makes durable and what one CRC covers. The next batch
 * is written only after the sync of the last one returned, so a crash can tear only
 * the last batch; anything else that does not check out is corruption and is never
 * cut away.
 *
 * After a failed write or sync the file descriptor is not trusted again (the kernel
 * may have dropped the dirty pages): the batch goes to a new segment whose header
 * names the first leaf it holds; whatever the old one holds from there on is void.
 */
#ifndef CONSENTD_JOURNAL_H
#define CONSENTD_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"

#define JOURNAL_BATCH_RECORDS 256          /* records of one batch at most */
#define JOURNAL_BATCH_BYTES   (512u << 10) /* body bytes of one batch at most */
#define JOURNAL_SEGMENT_MIN   (64u << 10)  /* smallest segment size allowed (tests) */
#define JOURNAL_RECORD_HEAD   100          /* bytes of a record before its sealed part */

enum journal_type {
    JOURNAL_NONE = 0,
    JOURNAL_EVENT = 1,      /* a consent event */
    JOURNAL_CHECKPOINT = 2, /* no leaf of its own */
    JOURNAL_SHIPPED = 3,    /* no leaf of its own */
    JOURNAL_ERASE = 4,      /* no leaf of its own */
    JOURNAL_DOC = 5,        /* a notice document was published */
    JOURNAL_OPERATOR = 6,   /* what an operator did */
};

/* A record's flags. */
#define JOURNAL_FLAG_ERASED 0x01u /* r and sealed are gone; the commitment stays */

/* Events, documents and operator records are leaves of the log. */
bool journal_type_has_leaf(uint8_t type);

/* One record; sealed is borrowed (a reader's is valid until its next call). */
struct journal_record {
    uint64_t leaf;  /* set by the journal; for a type without leaf: the next one's */
    uint64_t ts_ms; /* never lower than the one before */
    uint8_t type;   /* enum journal_type */
    uint8_t flags;  /* JOURNAL_FLAG_ERASED or 0 */
    uint16_t node;
    uint32_t month; /* yyyymm of the key it is sealed with */
    uint8_t sub_tag[16], r[32], cmt[32];
    struct str sealed; /* ciphertext || tag */
};

struct journal_config {
    const char *dir;       /* made if missing (0700) */
    uint8_t node;          /* of the segments' names */
    uint64_t segment_size; /* bytes */
    uint64_t lock_wait_ms; /* how long to wait for a predecessor to let go of the lock */
    uint64_t now_ms;       /* wall time, for the first segment's header */
};

enum journal_tail {
    JOURNAL_TAIL_CORRUPT = 0, /* a later valid batch exists, or the chain of segments is broken */
    JOURNAL_TAIL_TORN,        /* the last batch was in flight: dropped */
    JOURNAL_TAIL_CLEAN,
};

/* What opening found. */
struct journal_report {
    enum journal_tail tail;
    unsigned segment_cnt;
    uint64_t next_leaf;        /* the leaf the next record gets */
    uint64_t first_leaf;       /* the oldest one still here (= next_leaf: none) */
    uint64_t last_ts_ms;       /* 0: no record */
    uint64_t gap_from, gap_to; /* CORRUPT: leaves [from, to) can't be read */
};

struct journal;

/*
 * Takes the lock (waits up to lock_wait_ms, blocking: start-up only), recovers, opens
 * the last segment for appending. A corrupt segment is left as it is and a new one is
 * begun behind it. NULL and *f: the lock is taken, no space, no permission.
 * Ignores SIGXFSZ in this process: a file size limit has to be an error, not a death.
 */
MUST_USE struct journal *journal_open(const struct journal_config *cfg,
                                      struct journal_report *report_out, struct fault *f);
void journal_close(struct journal *j); /* lets go of the lock; NULL is fine */

/*
 * Writes one batch and syncs it. Sets recs[i].leaf. At most JOURNAL_BATCH_RECORDS and
 * JOURNAL_BATCH_BYTES. On a failure tries one new segment. False: nothing of it counts;
 * errno says why; the journal is in the failed state and the next call tries a new
 * segment first.
 */
MUST_USE bool journal_append(struct journal *j, struct journal_record *recs, unsigned cnt,
                             uint64_t now_ms);

uint64_t journal_next_leaf(const struct journal *j);
uint64_t journal_first_leaf(const struct journal *j); /* oldest one kept */
uint64_t journal_last_ts(const struct journal *j);
uint64_t journal_bytes(const struct journal *j); /* disk space of all segments */
unsigned journal_segments(const struct journal *j);
bool journal_failed(const struct journal *j);

/* Bytes free on the journal's file system for us; UINT64_MAX when it can't be told. */
uint64_t journal_space(const struct journal *j, uint64_t *total_out);

/*
 * Continues the numbering at `leaf` (> next) in a new segment: the leaves between are
 * known to exist elsewhere (Redis) and are missing here.
 */
MUST_USE bool journal_skip_to(struct journal *j, uint64_t leaf, uint64_t now_ms);

/*
 * Removes the oldest segments as long as all their leaves are below `below_leaf` and
 * their newest record is older than `before_ms`; never the one being written.
 * Returns how many.
 */
unsigned journal_trim(struct journal *j, uint64_t below_leaf, uint64_t before_ms);

/* Begins a new segment, so that journal_shred reaches every record there is now. */
MUST_USE bool journal_roll(struct journal *j, uint64_t now_ms);

/*
 * Writes the segments that hold any of these leaves (sorted) anew, without r and text of them:
 * a copy, synced, takes the old one's name, so a crash leaves one or the other. Commitments,
 * numbers and CRCs stay as they are. Not in the newest segment. Blocks while it copies (a
 * segment at a time). False and *f: what could not be written is as it was.
 */
MUST_USE bool journal_shred(const struct journal *j, const uint64_t *leaves, size_t cnt,
                            struct fault *f);

/* First leaf at or behind the start of a month (yyyymm); next_leaf when there is none yet. */
uint64_t journal_month_leaf(const struct journal *j, uint32_t month);

#endif
