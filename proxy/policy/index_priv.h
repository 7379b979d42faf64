/*
 * index_priv.h - an immutable hash index: text -> the rules that begin with it. layer: policy
 *
 * The hash can be taken byte by byte, forwards (names and their prefixes) or backwards (hosts and
 * their suffixes), so that one walk over a name probes every prefix on the way. Only rule
 * authors choose keys; visitors only look up, so the hash needs no secret.
 */
#ifndef CONSENTD_INDEX_PRIV_H
#define CONSENTD_INDEX_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/str.h"

#define INDEX_HASH_START UINT64_C(14695981039346656037)
#define INDEX_KEY_MAX    512 /* bytes of a key */

/* One rule: set number, and number of the rule within its list. */
struct rule_ref {
    uint32_t set, item;
};

struct index_slot {
    struct str key; /* borrowed from the rule; ptr NULL: free slot */
    uint64_t hash;
    uint32_t first, cnt; /* in refs */
};

struct index {
    struct index_slot *slots; /* owned; a power of two, at most half full */
    size_t mask;
    struct rule_ref *refs; /* owned; grouped by key */
    size_t ref_cnt;
    uint64_t lens[(INDEX_KEY_MAX + 64) / 64]; /* bit n: there is a key of n bytes */
    struct index_entry *entries;              /* owned; only while it is filled */
    size_t entry_cnt, entry_cap;
};

/* Adds a rule under a key of at most INDEX_KEY_MAX bytes (borrowed). backwards: hash of a host. */
void index_add(struct index *ix, struct str key, struct rule_ref ref, bool backwards);

/* After the last index_add; lookups are legal from here on. */
void index_build(struct index *ix);

void index_fini(struct index *ix);

/* The rules under key, whose hash is known; NULL if none. */
const struct rule_ref *index_find(const struct index *ix, struct str key, uint64_t hash,
                                  size_t *cnt_out);

/* Whether any key has this length. */
static inline bool index_has_len(const struct index *ix, size_t len)
{
    return len <= INDEX_KEY_MAX && (ix->lens[len / 64] >> (len % 64) & 1) != 0;
}

/* The hash with one more byte. */
static inline uint64_t index_hash(uint64_t hash, char c)
{
    return (hash ^ (unsigned char)c) * UINT64_C(1099511628211);
}

#endif
