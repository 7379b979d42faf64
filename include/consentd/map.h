/*
 * map.h - a hash map from text to pointers.
 *
 * Keys are copied; values are the caller's (borrowed) and never NULL. The hash is
 * keyed with a seed drawn once per process, so that nobody outside can choose keys
 * that collide. Open addressing, grows by doubling at 3/4; has no maximum of its
 * own: what fills a map from a peer's data must count.
 */
#ifndef CONSENTD_MAP_H
#define CONSENTD_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "consentd/attr.h"
#include "consentd/str.h"

struct map;

/* Called for each entry in no particular order; false stops the walk. */
typedef bool (*map_each_fn)(void *arg, struct str key, void *value);

/* Never returns NULL. */
struct map *map_new(void);

/* Calls free_value (may be NULL) for each value, then frees the map. NULL is fine. */
void map_free(struct map *m, void (*free_value)(void *));

/* The value, or NULL when the key is not there. */
void *map_get(const struct map *m, struct str key);

/* Adds; false when the key exists already: the map is unchanged then. */
MUST_USE bool map_put(struct map *m, struct str key, void *value);

/* Adds or replaces; the old value (or NULL) is the caller's again. */
void *map_set(struct map *m, struct str key, void *value);

/* Removes; the value (or NULL) is the caller's again. */
void *map_del(struct map *m, struct str key);

/* Entries in the map. */
size_t map_count(const struct map *m);

/* Walks all entries; false when fn stopped it. fn must not change the map. */
bool map_each(const struct map *m, map_each_fn fn, void *arg);

#endif
