/*
 * mem.h - memory for small fixed objects, and ASSERT.
 *
 * These calls never return NULL: a process that cannot get a few hundred bytes
 * aborts and the master starts a new one. Anything whose size a peer decides goes
 * to an arena (arena.h) or a buf (buf.h), which have limits and can fail.
 * Free with free(3).
 */
#ifndef CONSENTD_MEM_H
#define CONSENTD_MEM_H

#include <stdbool.h>
#include <stddef.h>

#include "consentd/attr.h"

/* len bytes, not cleared. len 0 gives a pointer that can be freed. */
MUST_USE void *mem_alloc(size_t len);

/* cnt * size zeroed bytes; the product is checked for overflow. */
MUST_USE void *mem_calloc(size_t cnt, size_t size);

/* Resizes; new bytes are not cleared. The old pointer is gone. p may be NULL. */
MUST_USE void *mem_realloc(void *p, size_t len);

/* A copy of len bytes. p may be NULL when len is 0. */
MUST_USE void *mem_dup(const void *p, size_t len);

/* A copy of a C string. s must not be NULL. */
MUST_USE char *mem_strdup(const char *s);

/* A NUL-terminated copy of exactly len bytes of s (which may hold no NUL). */
MUST_USE char *mem_strndup(const char *s, size_t len);

/* One zeroed object: the zero value of every type of ours is its strict state. */
#define mem_new(type) ((type *)mem_calloc(1, sizeof(type)))

/*
 * Gives whole pages that are free back to the system, also from between what is in use: free(3) by
 * itself only cuts the heap's end. Takes as long as there is to give, some 40 us for a MiB.
 */
void mem_give_back(void);

/* Reports the place on stderr and aborts. Use ASSERT. */
NORETURN void mem_assert_failed(const char *expr, const char *file, int line);

/* Catches our own bugs, also in release builds; never used on input. */
#define ASSERT(cond) ((cond) ? (void)0 : mem_assert_failed(#cond, __FILE__, __LINE__))

#endif
