/*
 * eids_priv.h - the events seen lately, so that one sent twice is recorded once.
 *
 * A ring of at most `max` entries, oldest forgotten first, with a hash index on the eid.
 * A repetition is the same eid with the same choice (act, host, epoch, grants, refusals);
 * the same eid with another choice is another event.
 */
#ifndef LEDGER_EIDS_PRIV_H
#define LEDGER_EIDS_PRIV_H

#include <stdbool.h>
#include <stdint.h>

struct eids;

struct eid_entry {
    uint8_t eid[16], subject[16];
    uint64_t choice; /* hash of what was chosen */
    uint64_t leaf, ts_ms;
    uint32_t expires_s, epoch;
    uint16_t grants;
    bool pending; /* in the batch being built: leaf and ts_ms are not known yet */
};

struct eids *eids_new(unsigned max);
void eids_free(struct eids *e);

/* The entry with this eid and choice, or NULL. Valid until the next eids_add. */
struct eid_entry *eids_find(struct eids *e, const uint8_t eid[16], uint64_t choice);

/* Adds a copy; the oldest goes when it is full. */
struct eid_entry *eids_add(struct eids *e, const struct eid_entry *entry);

/* Takes the newest entries back that were added by a batch that failed. */
void eids_drop(struct eids *e, const uint8_t eid[16], uint64_t choice);

/* Forgets every event of a subject, who was erased: the id is nowhere in memory then. */
void eids_forget(struct eids *e, const uint8_t subject[16]);

#endif
