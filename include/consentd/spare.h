/*
 * spare.h - the heap, with what was given back kept at hand. layer: base
 *
 *   spare_alloc ──▶ a kept block of that size class, else malloc
 *   spare_free  ──▶ kept while there is room (SPARE_KEEP_MAX), else free
 *
 * A request takes and gives back the same dozen sizes as the one before: buffers, and what nghttp2
 * and OpenSSL allocate for a stream or a record. After the first requests they come from here, and
 * the heap is not asked any more.
 *
 * Every block is one of malloc's own and knows its size by malloc_usable_size(3), so nothing is
 * added to it, and free(3) takes what came from here as spare_free() takes what came from
 * malloc(3). Each thread keeps its own blocks. Under AddressSanitizer kept blocks are poisoned: a
 * use after free is seen as anywhere else.
 */
#ifndef CONSENTD_SPARE_H
#define CONSENTD_SPARE_H

#include <stddef.h>

#include "consentd/attr.h"

#define SPARE_SMALL_MAX 1048       /* bytes; small blocks are kept in steps of 16 */
#define SPARE_LARGE     17408      /* bytes; a record of TLS with its head: kept as one class */
#define SPARE_KEEP_MAX  (1u << 20) /* bytes kept by one thread, half of it for each kind */

/* len bytes, not cleared; NULL when there is no memory. */
MUST_USE void *spare_alloc(size_t len);

/* cnt * size zeroed bytes; NULL also when the product is too large. */
MUST_USE void *spare_calloc(size_t cnt, size_t size);

/* As realloc(3): NULL leaves p as it was. */
MUST_USE void *spare_realloc(void *p, size_t len);

/* NULL is fine. A block given back twice aborts the process. */
void spare_free(void *p);

#endif
