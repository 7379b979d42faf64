/*
 * inline_cache_priv.h - verdicts on scripts that were seen before. layer: policy
 *
 * Sites repeat the same inline scripts on every page: each is judged once per snapshot and
 * set of grants. A script is known by its length and a hash under a random key: who writes
 * scripts cannot choose two that are taken for one, and by chance it happens once in 2^64.
 *
 * Bounded: INLINE_CACHE_ROWS * INLINE_CACHE_WAYS entries, the oldest of a row makes room.
 */
#ifndef CONSENTD_INLINE_CACHE_PRIV_H
#define CONSENTD_INLINE_CACHE_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/decide.h"
#include "consentd/str.h"

enum {
    INLINE_CACHE_ROWS = 256, /* a power of two */
    INLINE_CACHE_WAYS = 4,
    INLINE_CACHE_MIN = 32, /* bytes of a script; shorter ones are judged as fast */
};

struct inline_cache;

/* What a verdict depends on besides the snapshot. */
struct inline_key {
    uint64_t hash;
    uint32_t len;
    uint16_t grants;
};

/* Never NULL; small until something is put in. */
struct inline_cache *inline_cache_new(void);
void inline_cache_free(struct inline_cache *cache);

struct inline_key inline_cache_key(const struct inline_cache *cache, struct str text,
                                   uint16_t grants);

/* The verdict of an earlier put; its pointers are the snapshot's rules'. */
bool inline_cache_find(const struct inline_cache *cache, const struct inline_key *key,
                       struct verdict *out);
void inline_cache_put(struct inline_cache *cache, const struct inline_key *key,
                      const struct verdict *verdict);

/* The cache of a snapshot: the one thing in it that changes. */
struct inline_cache *snapshot_inlines(const struct snapshot *snapshot);

#endif
