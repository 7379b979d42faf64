/*
 * arena.c - contract in consentd/arena.h.
 *
 * A block is a header and its bytes in one allocation. The limit counts what was
 * handed out, not the blocks, so that the same exchange hits it at the same point
 * whatever the block size is.
 */
#include "consentd/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/crypto.h"
#include "consentd/mem.h"

#define ALIGN         16u
#define PLAIN_BLOCK   4096u /* block size of an arena without a pool */
#define BLOCK_MIN     1024u
#define ALIGN_UP(len) (((len) + (ALIGN - 1)) & ~(size_t)(ALIGN - 1))

struct arena_block {
    struct arena_block *older;
    size_t size; /* of the whole allocation */
    _Alignas(ALIGN) uint8_t bytes[];
};

struct arena_pool {
    size_t block_size;
    struct arena_block *free_blocks; /* owned */
    unsigned free_cnt;
    unsigned free_max;
};

struct arena_pool *arena_pool_new(size_t block_size, unsigned max_free_blocks)
{
    struct arena_pool *pool = mem_new(struct arena_pool);

    pool->block_size = ALIGN_UP(block_size < BLOCK_MIN ? BLOCK_MIN : block_size);
    pool->free_max = max_free_blocks;
    return pool;
}

void arena_pool_free(struct arena_pool *pool)
{
    if (pool == NULL)
        return;
    while (pool->free_blocks != NULL) {
        struct arena_block *block = pool->free_blocks;
        pool->free_blocks = block->older;
        free(block);
    }
    free(pool);
}

static size_t usual_size(const struct arena *a)
{
    return a->pool != NULL ? a->pool->block_size : PLAIN_BLOCK;
}

static struct arena_block *block_take(struct arena *a, size_t size)
{
    struct arena_pool *pool = a->pool;

    if (pool != NULL && size == pool->block_size && pool->free_blocks != NULL) {
        struct arena_block *block = pool->free_blocks;
        pool->free_blocks = block->older;
        pool->free_cnt--;
        return block;
    }
    struct arena_block *block = malloc(size);
    if (block != NULL)
        block->size = size;
    return block;
}

/* Of the newest block only what was given out: it may be about somebody. */
static void block_wipe(const struct arena *a, struct arena_block *block)
{
    size_t len = block->size - sizeof(*block);
    uintptr_t start = (uintptr_t)block->bytes, next = (uintptr_t)a->next;

    crypto_wipe(block->bytes, next >= start && next <= start + len ? next - start : len);
}

static void block_give(struct arena *a, struct arena_block *block)
{
    struct arena_pool *pool = a->pool;

    block_wipe(a, block);

    if (pool == NULL || block->size != pool->block_size || pool->free_cnt >= pool->free_max) {
        free(block);
        return;
    }
    block->older = pool->free_blocks;
    pool->free_blocks = block;
    pool->free_cnt++;
}

void arena_init(struct arena *a, struct arena_pool *pool, size_t max)
{
    *a = (struct arena){.pool = pool, .max = max};
}

void arena_fini(struct arena *a)
{
    while (a->blocks != NULL) {
        struct arena_block *block = a->blocks;
        a->blocks = block->older;
        block_give(a, block);
    }
    arena_init(a, a->pool, a->max);
}

/* A block of its own for a large piece; the current block stays the current one. */
static void *alloc_alone(struct arena *a, size_t len)
{
    struct arena_block *block = block_take(a, sizeof(*block) + len);

    if (block == NULL)
        return NULL;
    if (a->blocks == NULL) {
        block->older = NULL;
        a->blocks = block;
    } else {
        block->older = a->blocks->older;
        a->blocks->older = block;
    }
    return block->bytes;
}

static void *alloc_in_new_block(struct arena *a, size_t len)
{
    size_t room = usual_size(a) - sizeof(struct arena_block);

    if (len > room / 2)
        return alloc_alone(a, len); /* would waste what is left of the current block */
    struct arena_block *block = block_take(a, usual_size(a));
    if (block == NULL)
        return NULL;
    block->older = a->blocks;
    a->blocks = block;
    a->next = block->bytes + len;
    a->end = block->bytes + room;
    return block->bytes;
}

void *arena_alloc(struct arena *a, size_t len)
{
    void *p;

    if (len > a->max || a->max - len < a->used)
        return NULL;
    len = ALIGN_UP(len > 0 ? len : 1);
    if ((size_t)(a->end - a->next) >= len) {
        p = a->next;
        a->next += len;
    } else {
        p = alloc_in_new_block(a, len);
    }
    if (p != NULL)
        a->used += len;
    return p;
}

void *arena_calloc(struct arena *a, size_t cnt, size_t size)
{
    size_t len;

    if (__builtin_mul_overflow(cnt, size, &len))
        return NULL;
    void *p = arena_alloc(a, len);
    if (p != NULL)
        memset(p, 0, len);
    return p;
}

char *arena_copy(struct arena *a, const void *p, size_t len)
{
    char *copy = len < SIZE_MAX ? arena_alloc(a, len + 1) : NULL;

    if (copy == NULL)
        return NULL;
    if (len > 0)
        memcpy(copy, p, len);
    copy[len] = '\0';
    return copy;
}

bool arena_str(struct arena *a, struct str in, struct str *out)
{
    char *copy = arena_copy(a, in.ptr, in.len);

    *out = str_make(copy, copy != NULL ? in.len : 0);
    return copy != NULL;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args, again;
    char *text = NULL;

    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    if (len >= 0)
        text = arena_alloc(a, (size_t)len + 1);
    if (text != NULL && vsnprintf(text, (size_t)len + 1, fmt, again) != len)
        text = NULL;
    va_end(again);
    va_end(args);
    return text;
}
