/*
 * store.h - the records, for the admin: Redis, the journal when Redis is away, keys to open them.
 *
 * Everything here is asked in turns. A feed is one question; feed_ask() runs one turn of it, which
 * hands out rows and ends after spec.limit of them or FEED_SCAN records looked at. Turns of all
 * feeds run one after the other in the order in which they were asked for, so that a long export
 * never holds up a short question, and Redis is never asked for more than one chunk at a time.
 * A turn that loses Redis goes on in the journal behind the last record it saw.
 */
#ifndef ADMIN_STORE_H
#define ADMIN_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/query.h"

#define FEED_SCAN       8192 /* records that one turn looks at */
#define STORE_WALK_STEP 256  /* records of the journal between two turns of the loop */

struct admin_store_setup;
struct loop;
struct rlink;
struct store;

struct feed_end {
    bool ok;      /* false: see fault */
    bool more;    /* there may be more behind cursor */
    bool partial; /* read from the journal, which may begin later than the ledger */
    bool has_hw;
    uint64_t hw; /* with has_hw: the newest leaf that was there */
    uint64_t rows, scanned;
    char cursor[QUERY_CURSOR_LEN + 1]; /* behind the last record looked at; "" if none */
    struct fault fault;
};

struct feed {
    struct query_spec spec; /* texts are the owner's; cursor is kept up by the feed */
    bool by_leaf;           /* one record, `leaf`; rows 0: it is not there */
    uint64_t leaf;
    bool (*on_row)(void *arg, const struct query_row *row); /* false: enough. Cancels nothing */
    void (*on_end)(void *arg, const struct feed_end *end);  /* of the turn */
    void *arg;
    /* private */
    struct store *store;
    struct feed *next;
    bool waiting, running;
    struct query_spec turn; /* spec, limited to the turn */
    char cursor[QUERY_CURSOR_LEN + 1];
    struct feed_end end;
};

/* NULL and *f: the keys can't be read, or the address of Redis is wrong. */
MUST_USE struct store *store_new(struct loop *loop, const struct admin_store_setup *setup,
                                 struct fault *f);
void store_free(struct store *s); /* all feeds are cancelled before. NULL is fine */

/* Asks for one turn; on_end comes later, never from inside this call. */
void feed_ask(struct store *s, struct feed *feed);

/* No callback comes any more. Fine at any time, also from inside its callbacks. */
void feed_cancel(struct feed *feed);

/* Calls fn once, as soon as it is known whether Redis is there; never from inside store_wait. */
struct store_wait {
    void (*fn)(void *arg);
    void *arg;
    struct store_wait *next; /* private */
    bool waiting;            /* private */
};
void store_wait(struct store *s, struct store_wait *w);
void store_wait_cancel(struct store *s, struct store_wait *w); /* fine at any time */

/* For other questions to Redis; NULL or down: it is away. */
struct rlink *store_link(const struct store *s);

/* Who asks; its keys and its list of erasures are valid in this turn of the loop. */
const struct query_log *store_log(const struct store *s);
const char *store_journal(const struct store *s); /* folder */

/* The logs that this node has had, as they are known now. */
const struct log_restarts *store_restarts(struct store *s);

#endif
