/*
 * arena.h - memory that lives as long as one exchange and is released in one go.
 *
 *   arena ──▶ block ──▶ block ──▶ …      blocks of one size come from the pool's
 *                                        free list; a request larger than a block
 *                                        gets a block of its own from malloc
 *
 * Every arena has a maximum; over it arena_alloc returns NULL, which is a limit hit
 * and not an error of the machine. Nothing in an arena is freed alone, and nothing
 * that outlives the exchange may point into it.
 */
#ifndef CONSENTD_ARENA_H
#define CONSENTD_ARENA_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/str.h"

struct arena_pool;  /* free blocks of one loop; not shared between threads */
struct arena_block; /* private */

struct arena {
    struct arena_pool *pool;    /* borrowed; NULL: blocks come from malloc */
    struct arena_block *blocks; /* owned; the newest first */
    uint8_t *next;              /* first free byte of the newest block */
    uint8_t *end;               /* its end */
    size_t used;                /* bytes handed out, with padding */
    size_t max;                 /* limit for used */
};

/*
 * block_size: bytes of one block with its header (at least 1 KiB). Up to
 * max_free_blocks are kept for reuse, the rest goes back to malloc.
 */
struct arena_pool *arena_pool_new(size_t block_size, unsigned max_free_blocks);

/* Every arena of the pool must be finished. NULL is fine. */
void arena_pool_free(struct arena_pool *pool);

/* Takes no memory yet: an arena that is never used costs nothing. */
void arena_init(struct arena *a, struct arena_pool *pool, size_t max);

/* Gives all blocks back; the arena is ready for use again with the same limit. */
void arena_fini(struct arena *a);

/* 16-byte aligned, not cleared; NULL over the limit. len 0 gives a valid pointer. */
MUST_USE void *arena_alloc(struct arena *a, size_t len);

/* The same, zeroed; NULL also when cnt * size overflows. */
MUST_USE void *arena_calloc(struct arena *a, size_t cnt, size_t size);

/* A copy of len bytes with a NUL behind; NULL over the limit. */
MUST_USE char *arena_copy(struct arena *a, const void *p, size_t len);

/* A copy of a slice; false over the limit, *out is the empty slice then. */
MUST_USE bool arena_str(struct arena *a, struct str in, struct str *out);

/* Formatted text with NUL; NULL over the limit. */
MUST_USE char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
