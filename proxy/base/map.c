/*
 * map.c - contract in consentd/map.h.
 *
 * Linear probing; a removed entry leaves a tombstone (key set, value NULL) that the
 * next growth sweeps out. The hash is kept in the entry, so growing hashes nothing.
 */
#include "consentd/map.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/crypto.h"
#include "consentd/mem.h"

#define FIRST_ROOM 16u /* a power of two, as every size is */

struct entry {
    uint64_t hash;
    char *key; /* owned; NULL: never used */
    size_t key_len;
    void *value; /* the caller's; NULL with a key: removed */
};

struct map {
    struct entry *entries; /* owned; room of them */
    size_t room;
    size_t used;  /* entries with a key, tombstones too */
    size_t count; /* entries with a value */
};

/* Drawn once per process: a table's order tells nothing about another process. */
static const uint8_t *seed(void)
{
    static uint8_t key[16];
    static bool drawn;

    if (!drawn) {
        crypto_random(key, sizeof(key));
        drawn = true;
    }
    return key;
}

struct map *map_new(void)
{
    return mem_new(struct map);
}

void map_free(struct map *m, void (*free_value)(void *))
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->room; i++) {
        if (free_value != NULL && m->entries[i].value != NULL)
            free_value(m->entries[i].value);
        free(m->entries[i].key);
    }
    free(m->entries);
    free(m);
}

static bool is_key(const struct entry *e, uint64_t hash, struct str key)
{
    return e->hash == hash && e->key_len == key.len &&
           (key.len == 0 || memcmp(e->key, key.ptr, key.len) == 0);
}

/* The entry of key, or the free one where it would go. The table is never full. */
static struct entry *probe(const struct map *m, uint64_t hash, struct str key)
{
    for (size_t i = hash & (m->room - 1);; i = (i + 1) & (m->room - 1)) {
        struct entry *e = &m->entries[i];
        if (e->key == NULL || is_key(e, hash, key))
            return e;
    }
}

static struct entry *lookup(const struct map *m, struct str key)
{
    if (m->count == 0)
        return NULL;
    struct entry *e = probe(m, str_hash(key, seed()), key);
    return e->value != NULL ? e : NULL;
}

void *map_get(const struct map *m, struct str key)
{
    const struct entry *e = lookup(m, key);

    return e != NULL ? e->value : NULL;
}

static void grow(struct map *m)
{
    struct entry *old = m->entries;
    size_t old_room = m->room;

    /* many tombstones: the same size is enough again */
    m->room = old_room == 0 ? FIRST_ROOM : (m->count * 2 > old_room ? old_room * 2 : old_room);
    m->entries = mem_calloc(m->room, sizeof(*m->entries));
    m->used = m->count;
    for (size_t i = 0; i < old_room; i++) {
        if (old[i].value == NULL)
            free(old[i].key);
        else
            *probe(m, old[i].hash, str_make(old[i].key, old[i].key_len)) = old[i];
    }
    free(old);
}

void *map_set(struct map *m, struct str key, void *value)
{
    ASSERT(value != NULL);
    if ((m->used + 1) * 4 > m->room * 3)
        grow(m);
    uint64_t hash = str_hash(key, seed());
    struct entry *e = probe(m, hash, key);
    void *old = e->value;

    if (e->key == NULL) {
        e->key = str_dup(key);
        e->key_len = key.len;
        e->hash = hash;
        m->used++;
    }
    if (old == NULL)
        m->count++;
    e->value = value;
    return old;
}

bool map_put(struct map *m, struct str key, void *value)
{
    if (lookup(m, key) != NULL)
        return false;
    map_set(m, key, value);
    return true;
}

void *map_del(struct map *m, struct str key)
{
    struct entry *e = lookup(m, key);

    if (e == NULL)
        return NULL;
    void *old = e->value;
    e->value = NULL;
    m->count--;
    return old;
}

size_t map_count(const struct map *m)
{
    return m->count;
}

bool map_each(const struct map *m, map_each_fn fn, void *arg)
{
    for (size_t i = 0; i < m->room; i++) {
        const struct entry *e = &m->entries[i];
        if (e->value != NULL && !fn(arg, str_make(e->key, e->key_len), e->value))
            return false;
    }
    return true;
}
