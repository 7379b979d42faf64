/*
 * erased.h - the list of erased subjects, kept outside Redis and outside the journal. layer: ledger
 *
 *   erase REQUEST TAG GONE TS FLAGS N NODE   a subject's records are to be unreadable; N of them,
 *   leaves REQUEST TS:LEAF,...         leaves of that node, are in the next line, others further on
 *   now REQUEST                        the journal is to be rewritten: asked for afterwards
 *   looked REQUEST                     Redis was asked for more of them
 *   logged REQUEST COUNT               an erase record in the log names the first COUNT of them
 *   shredded REQUEST                   the journal was rewritten without them
 *   drop MONTH TS                      a month's key is destroyed and its keys go from Redis
 *   kept MONTH NODE LEAF               behind that month that node's records begin at LEAF
 *   told MONTH NODE                    a record in the log says so
 *   hold TAG TS / release TAG TS       legal hold: what is erased meanwhile stays readable
 *
 * Lines are only added, each synced before it counts; a torn last line is none, and an erasure
 * without all of its N records neither: it was never promised. The list names
 * nobody: TAG is the subject's keyed tag (record.h), GONE a hash of the random subject id that lets
 * a worker refuse the cookie without any key. It is applied to Redis again on every connect, so
 * that a backup that is restored is erased again: keep it with the month keys, apart from the
 * backups of Redis.
 */
#ifndef CONSENTD_ERASED_H
#define CONSENTD_ERASED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"

#define ERASED_MAX      65536       /* erasures in the list; more are refused */
#define ERASED_REFS_MAX 65536       /* records of one subject */
#define ERASED_MONTHS   1200        /* months dropped */
#define ERASED_HOLDS    4096        /* legal holds at a time */
#define ERASED_FILE_MAX (64u << 20) /* bytes of the file */
#define ERASED_NAME     "erased.lst"

/* Where a record is; its month is that of its time. */
struct erased_ref {
    uint64_t ts_ms, leaf;
};

struct erasure {
    uint8_t request[16]; /* random: what the receipt and the log call it */
    uint8_t tag[16];     /* of the subject, keyed: its field in Redis' index */
    uint8_t gone[16];    /* erased_gone() of the subject */
    uint64_t ts_ms;
    uint8_t node;     /* whose leaves refs are; 0: of an older list, which had one node */
    bool foreign;     /* another node's: the cookie is refused, and nothing of this node is meant */
    bool now;         /* the journal is rewritten, not just left to its retention */
    bool by_operator; /* else by the visitor */
    bool held;        /* a legal hold: the records stay readable, their index goes */
    bool looked;      /* Redis was asked for records that the journal has not */
    bool shredded;    /* the journal was rewritten */
    bool applied;     /* to the Redis that is connected now; not in the file */
    char actor[64];   /* the operator, for the log; not in the file */
    struct erased_ref *refs; /* owned by the list */
    unsigned ref_cnt, ref_cap;
    unsigned logged; /* how many of refs an erase record names */
    bool named;      /* there is such a record, be it of no refs */
};

struct erased;

/* What of a subject the workers know: a hash that can't be turned back. */
void erased_gone(const uint8_t subject[16], uint8_t out[16]);

/*
 * Reads the list for a node (ledger.node; another one numbers its leaves from 0 again); a missing
 * file is an empty one. NULL and *f when a line makes no sense.
 */
MUST_USE struct erased *erased_open(const char *path, uint8_t node, struct fault *f);
void erased_free(struct erased *e); /* NULL is fine */

size_t erased_cnt(const struct erased *e);
struct erasure *erased_at(const struct erased *e, size_t i);                  /* oldest first */
struct erasure *erased_by_tag(const struct erased *e, const uint8_t tag[16]); /* of this node */
bool erased_is_gone(const struct erased *e, const uint8_t gone[16]);

/* True when the record is erased, so not when a hold keeps it. NULL list: false. */
bool erased_has(const struct erased *e, uint64_t leaf);

/* The erasure that a leaf belongs to, held or not, or NULL. */
const struct erasure *erased_of(const struct erased *e, uint64_t leaf);

/* Adds one (copied with its refs); *out is valid until the list is freed. False: not durable. */
MUST_USE bool erased_add(struct erased *e, const struct erasure *in, struct erasure **out,
                         struct fault *f);

/* More records of the same subject; those known already are passed over. */
MUST_USE bool erased_more(struct erased *e, struct erasure *x, const struct erased_ref *refs,
                          size_t cnt, struct fault *f);

/* The journal is to be rewritten as well; kept like the rest. */
MUST_USE bool erased_note_now(struct erased *e, struct erasure *x, struct fault *f);

/* Notes of progress, durable like the rest. */
MUST_USE bool erased_note_looked(struct erased *e, struct erasure *x, struct fault *f);
MUST_USE bool erased_note_logged(struct erased *e, struct erasure *x, unsigned cnt,
                                 struct fault *f);
MUST_USE bool erased_note_shredded(struct erased *e, struct erasure *x, struct fault *f);

/* A month that was dropped. */
struct erased_month {
    uint32_t month;
    uint64_t ts_ms;
    bool known;    /* kept_from is known, of this node */
    bool told;     /* a record in the log names it */
    uint64_t kept; /* first leaf behind the month */
};

/* In the order of the file. */
size_t erased_month_cnt(const struct erased *e);
uint32_t erased_month(const struct erased *e, size_t i);
const struct erased_month *erased_month_at(const struct erased *e, size_t i);

/* The newest month that was dropped, or NULL: behind it everything is kept. */
const struct erased_month *erased_newest_month(const struct erased *e);

/* The first leaf that must still be there. False: a month was dropped, and nobody knows. */
bool erased_kept_from(const struct erased *e, uint64_t *leaf_out);

/* kept: the first leaf behind it; NULL: not known yet. A month that was dropped before is fine. */
MUST_USE bool erased_drop(struct erased *e, uint32_t month, uint64_t ts_ms, const uint64_t *kept,
                          struct fault *f);
MUST_USE bool erased_note_kept(struct erased *e, uint32_t month, uint64_t kept, struct fault *f);
MUST_USE bool erased_note_told(struct erased *e, uint32_t month, struct fault *f);

/* Legal hold of a subject, by its tag. It keeps what is there: earlier erasures stay erased. */
bool erased_any_hold(const struct erased *e);
bool erased_is_held(const struct erased *e, const uint8_t tag[16]);
MUST_USE bool erased_hold(struct erased *e, const uint8_t tag[16], bool on, uint64_t ts_ms,
                          struct fault *f);

#endif
