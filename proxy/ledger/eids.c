/*
 * eids.c - contract in eids_priv.h.
 *
 * The index is a table of ring positions with linear probing at half load; deleting
 * moves the followers up, so there are no tombstones to collect. The hash is the eid
 * itself, keyed: a client chooses it.
 */
#include "eids_priv.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/crypto.h"
#include "consentd/mem.h"
#include "consentd/str.h"

#define EMPTY UINT32_MAX

struct eids {
    struct eid_entry *ring; /* owned; max entries */
    bool *used;             /* owned; of the ring's places */
    uint32_t *index;        /* owned; mask + 1 ring positions or EMPTY */
    uint32_t mask;
    unsigned max, head; /* head: the place written next, the oldest when full */
    uint8_t key[16];
};

struct eids *eids_new(unsigned max)
{
    struct eids *e = mem_new(struct eids);
    uint32_t size = 16;

    while (size < max * 2)
        size *= 2;
    e->ring = mem_calloc(max, sizeof(*e->ring));
    e->used = mem_calloc(max, sizeof(*e->used));
    e->index = mem_alloc(size * sizeof(*e->index));
    memset(e->index, 0xff, size * sizeof(*e->index));
    e->mask = size - 1;
    e->max = max;
    crypto_random(e->key, sizeof(e->key));
    return e;
}

void eids_free(struct eids *e)
{
    if (e == NULL)
        return;
    free(e->ring);
    free(e->used);
    free(e->index);
    free(e);
}

static uint32_t home(const struct eids *e, const uint8_t eid[16])
{
    return (uint32_t)str_hash(str_make(eid, 16), e->key) & e->mask;
}

static uint32_t find_slot(const struct eids *e, const uint8_t eid[16], uint64_t choice)
{
    for (uint32_t i = home(e, eid); e->index[i] != EMPTY; i = (i + 1) & e->mask) {
        const struct eid_entry *entry = &e->ring[e->index[i]];

        if (entry->choice == choice && memcmp(entry->eid, eid, 16) == 0)
            return i;
    }
    return EMPTY;
}

struct eid_entry *eids_find(struct eids *e, const uint8_t eid[16], uint64_t choice)
{
    uint32_t slot = find_slot(e, eid, choice);

    return slot != EMPTY ? &e->ring[e->index[slot]] : NULL;
}

/* Knuth 6.4 R: closes the hole so that every probe still meets its entry. */
static void remove_slot(struct eids *e, uint32_t hole)
{
    e->used[e->index[hole]] = false;
    for (uint32_t i = (hole + 1) & e->mask; e->index[i] != EMPTY; i = (i + 1) & e->mask) {
        uint32_t h = home(e, e->ring[e->index[i]].eid);

        if (((i - h) & e->mask) >= ((i - hole) & e->mask)) {
            e->index[hole] = e->index[i];
            hole = i;
        }
    }
    e->index[hole] = EMPTY;
}

void eids_drop(struct eids *e, const uint8_t eid[16], uint64_t choice)
{
    uint32_t slot = find_slot(e, eid, choice);

    if (slot != EMPTY)
        remove_slot(e, slot);
}

void eids_forget(struct eids *e, const uint8_t subject[16])
{
    for (unsigned i = 0; i < e->max; i++) {
        struct eid_entry *entry = &e->ring[i];

        if (memcmp(entry->subject, subject, 16) != 0)
            continue;
        if (e->used[i])
            eids_drop(e, entry->eid, entry->choice);
        memset(entry, 0, sizeof(*entry));
    }
}

struct eid_entry *eids_add(struct eids *e, const struct eid_entry *entry)
{
    struct eid_entry *place = &e->ring[e->head];
    uint32_t i;

    if (e->used[e->head])
        eids_drop(e, place->eid, place->choice);
    eids_drop(e, entry->eid, entry->choice);
    *place = *entry;
    e->used[e->head] = true;
    for (i = home(e, entry->eid); e->index[i] != EMPTY; i = (i + 1) & e->mask)
        ;
    e->index[i] = e->head;
    e->head = (e->head + 1) % e->max;
    return place;
}
