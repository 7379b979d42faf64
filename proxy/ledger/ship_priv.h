/*
 * ship_priv.h - the shipper's script and how its arguments are made.
 */
#ifndef LEDGER_SHIP_PRIV_H
#define LEDGER_SHIP_PRIV_H

#include "consentd/buf.h"
#include "consentd/journal.h"
#include "consentd/redis.h"
#include "consentd/ship.h"

/* The Lua text; its contract is its head comment. */
extern const char ship_script[];

#define SHIP_KEYS_HEAD 4 /* KEYS before those of the records */
#define SHIP_KEYS_EACH 3
#define SHIP_ARGS_HEAD 4 /* ARGV before those of the records */
#define SHIP_ARGS_EACH 7
#define SHIP_ARGC_MAX                                                                              \
    (3 + SHIP_KEYS_HEAD + SHIP_ARGS_HEAD + SHIP_BATCH_RECORDS * (SHIP_KEYS_EACH + SHIP_ARGS_EACH))
#define SHIP_KEY_MAX     320 /* bytes of a key */
#define SHIP_COUNTER_MAX 4096

/* One EVALSHA being put together; slices point into text by offset until it is finished. */
struct apply {
    struct buf text; /* everything that had to be formatted or copied */
    struct {
        size_t off, len;
    } args[SHIP_ARGC_MAX];
    size_t argc;
    unsigned records;
    uint32_t month;
    uint64_t first, last; /* leaves */
    size_t sealed_bytes;
};

/* What is the same for every record of a log. */
struct apply_log {
    const char *site;
    uint8_t node;
    const struct keks *keks;
    const char *own;             /* value of the owner key */
    const struct erased *erased; /* NULL: none */
};

/* The key T:suffix of a month. */
void ship_key(char out[SHIP_KEY_MAX], const struct apply_log *log, uint32_t month,
              const char *suffix);

/* --- ship_erase.c --- */
typedef void (*eraser_looked_fn)(void *owner, struct erasure *x, const struct erased_ref *refs,
                                 size_t cnt);
struct eraser;
struct eraser *eraser_new(struct rlink *link, const struct apply_log *log, struct erased *list,
                          eraser_looked_fn on_looked, void *owner);
void eraser_free(struct eraser *e);         /* NULL is fine */
void eraser_up(struct eraser *e, bool aof); /* Redis can be written: everything again */
void eraser_down(struct eraser *e);         /* the link is gone */
void eraser_kick(struct eraser *e);         /* the list changed */
void eraser_run(struct eraser *e);          /* goes on where it stopped; every second */

/* Starts over. */
void apply_begin(struct apply *a);

/* Adds a record; false when it belongs to another call (month, limits). Copies. */
bool apply_add(struct apply *a, const struct apply_log *log, const struct journal_record *rec);

/*
 * Puts the head in front and returns the arguments: EVALSHA sha …; `fresh`: the month
 * has no high-water mark yet; gap_from: first of the lost leaves right before a->first,
 * or a->first when none is lost.
 */
size_t apply_finish(struct apply *a, const struct apply_log *log, const char *sha, bool fresh,
                    uint64_t gap_from, struct str argv[SHIP_ARGC_MAX]);

#endif
