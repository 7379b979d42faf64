/*
 * inline_cache.c - contract in inline_cache_priv.h.
 */
#include "inline_cache_priv.h"

#include <stdlib.h>

#include "consentd/crypto.h"
#include "consentd/mem.h"

struct entry {
    struct inline_key key; /* len 0: empty */
    struct verdict verdict;
};

struct row {
    struct entry ways[INLINE_CACHE_WAYS];
    unsigned next; /* the way that makes room */
};

struct inline_cache {
    uint8_t secret[16];
    struct row *rows; /* owned; NULL until the first put */
};

struct inline_cache *inline_cache_new(void)
{
    struct inline_cache *cache = mem_new(struct inline_cache);

    crypto_random(cache->secret, sizeof(cache->secret));
    return cache;
}

void inline_cache_free(struct inline_cache *cache)
{
    if (cache == NULL)
        return;
    free(cache->rows);
    free(cache);
}

struct inline_key inline_cache_key(const struct inline_cache *cache, struct str text,
                                   uint16_t grants)
{
    return (struct inline_key){
        .hash = str_hash(text, cache->secret), .len = (uint32_t)text.len, .grants = grants};
}

static struct row *row_of(const struct inline_cache *cache, const struct inline_key *key)
{
    return &cache->rows[key->hash % INLINE_CACHE_ROWS];
}

static bool is_same(const struct inline_key *a, const struct inline_key *b)
{
    return a->hash == b->hash && a->len == b->len && a->grants == b->grants;
}

bool inline_cache_find(const struct inline_cache *cache, const struct inline_key *key,
                       struct verdict *out)
{
    const struct row *row;

    if (cache->rows == NULL)
        return false;
    row = row_of(cache, key);
    for (unsigned i = 0; i < INLINE_CACHE_WAYS; i++) {
        if (is_same(&row->ways[i].key, key)) {
            *out = row->ways[i].verdict;
            return true;
        }
    }
    return false;
}

void inline_cache_put(struct inline_cache *cache, const struct inline_key *key,
                      const struct verdict *verdict)
{
    struct row *row;

    if (cache->rows == NULL)
        cache->rows = mem_calloc(INLINE_CACHE_ROWS, sizeof(*cache->rows));
    row = row_of(cache, key);
    row->ways[row->next] = (struct entry){.key = *key, .verdict = *verdict};
    row->next = (row->next + 1) % INLINE_CACHE_WAYS;
}
