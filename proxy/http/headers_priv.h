/*
 * headers_priv.h - what the files of the http layer share about the field list.
 */
#ifndef CONSENTD_HEADERS_PRIV_H
#define CONSENTD_HEADERS_PRIV_H

#include "consentd/headers.h"

/* A miss on a known id costs this and nothing more. */
static inline bool headers_may_have(const struct headers *h, enum header_id id)
{
    return (h->known[id / 64] >> (id % 64) & 1) != 0;
}

/* Appends into an array that has room; id is the name's. */
static inline struct header *headers_push(struct headers *h, enum header_id id, struct str name,
                                          struct str value)
{
    struct header *item = &h->items[h->cnt++];

    item->name = name;
    item->value = value;
    item->id = id;
    item->removed = false;
    h->known[id / 64] |= UINT64_C(1) << (id % 64);
    return item;
}

#endif
