/*
 * index.c - contract in index_priv.h: FNV-1a, linear probing.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/mem.h"
#include "index_priv.h"

struct index_entry {
    struct str key;
    uint64_t hash;
    struct rule_ref ref;
};

void index_add(struct index *ix, struct str key, struct rule_ref ref, bool backwards)
{
    uint64_t hash = INDEX_HASH_START;

    ASSERT(key.len <= INDEX_KEY_MAX);
    for (size_t i = 0; i < key.len; i++)
        hash = index_hash(hash, key.ptr[backwards ? key.len - 1 - i : i]);
    if (ix->entry_cnt == ix->entry_cap) {
        ix->entry_cap = ix->entry_cap == 0 ? 64 : ix->entry_cap * 2;
        ix->entries = mem_realloc(ix->entries, ix->entry_cap * sizeof(*ix->entries));
    }
    ix->entries[ix->entry_cnt++] = (struct index_entry){.key = key, .hash = hash, .ref = ref};
    ix->lens[key.len / 64] |= UINT64_C(1) << (key.len % 64);
}

static int entry_order(const void *a, const void *b)
{
    const struct index_entry *x = a, *y = b;
    int order = str_cmp(x->key, y->key);

    if (order != 0)
        return order;
    if (x->ref.set != y->ref.set)
        return x->ref.set < y->ref.set ? -1 : 1;
    return x->ref.item < y->ref.item ? -1 : x->ref.item > y->ref.item;
}

static size_t slot_at(const struct index *ix, uint64_t hash)
{
    return (size_t)(hash ^ hash >> 32) & ix->mask;
}

static void put_group(struct index *ix, const struct index_entry *first, size_t cnt)
{
    size_t at = slot_at(ix, first->hash);

    while (ix->slots[at].key.ptr != NULL)
        at = (at + 1) & ix->mask;
    ix->slots[at] = (struct index_slot){.key = first->key,
                                        .hash = first->hash,
                                        .first = (uint32_t)ix->ref_cnt,
                                        .cnt = (uint32_t)cnt};
    for (size_t i = 0; i < cnt; i++)
        ix->refs[ix->ref_cnt++] = first[i].ref;
}

void index_build(struct index *ix)
{
    size_t size = 8;
    size_t i = 0;

    while (size < ix->entry_cnt * 2)
        size *= 2;
    ix->mask = size - 1;
    ix->slots = mem_calloc(size, sizeof(*ix->slots));
    ix->refs = mem_calloc(ix->entry_cnt, sizeof(*ix->refs));
    if (ix->entry_cnt > 0)
        qsort(ix->entries, ix->entry_cnt, sizeof(*ix->entries), entry_order);
    while (i < ix->entry_cnt) {
        size_t cnt = 1;

        while (i + cnt < ix->entry_cnt && str_eq(ix->entries[i].key, ix->entries[i + cnt].key))
            cnt++;
        put_group(ix, &ix->entries[i], cnt);
        i += cnt;
    }
    free(ix->entries);
    ix->entries = NULL;
}

void index_fini(struct index *ix)
{
    free(ix->entries);
    free(ix->slots);
    free(ix->refs);
    memset(ix, 0, sizeof(*ix));
}

const struct rule_ref *index_find(const struct index *ix, struct str key, uint64_t hash,
                                  size_t *cnt_out)
{
    for (size_t at = slot_at(ix, hash); ix->slots[at].key.ptr != NULL; at = (at + 1) & ix->mask) {
        const struct index_slot *slot = &ix->slots[at];

        if (slot->hash == hash && str_eq(slot->key, key)) {
            *cnt_out = slot->cnt;
            return ix->refs + slot->first;
        }
    }
    *cnt_out = 0;
    return NULL;
}
