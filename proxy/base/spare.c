/*
 * spare.c - contract in consentd/spare.h.
 *
 * Size classes are what glibc can hand out: 24, 40, 56, … usable bytes. A block that turns out a
 * little larger than its class (the heap does not split off less than it can use) is filed by its
 * own size when it comes back.
 */
#include "consentd/spare.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/crypto.h"
#include "consentd/residue.h"
#include "consentd/sanitized.h"

#if SANITIZED
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, len)   ((void)(p), (void)(len))
#define ASAN_UNPOISON_MEMORY_REGION(p, len) ((void)(p), (void)(len))
#endif

#define FIRST     24u /* usable bytes of the smallest block */
#define STEP      16u
#define CLASSES   ((SPARE_SMALL_MAX - FIRST) / STEP + 1)
#define LARGE_MIN 16384u /* asked for: below it and above the small ones nothing is kept */

/* A kept block; its first bytes are the list, which the leak checker follows. */
struct kept {
    struct kept *next;
    const void *key; /* &own: most likely kept already */
};

struct spares {
    struct kept *classes[CLASSES + 1]; /* the last one: large blocks */
    size_t kept[2];                    /* bytes: of small blocks, of large ones */
};

static _Thread_local struct spares own;

/* The class that a block for len bytes comes from, with its size; -1: not one that is kept. */
static int class_for(size_t len, size_t *size_out)
{
    int class = len <= FIRST ? 0 : (int)((len - FIRST + STEP - 1) / STEP);

    if (len <= SPARE_SMALL_MAX) {
        *size_out = FIRST + (size_t) class * STEP;
        return class;
    }
    *size_out = SPARE_LARGE;
    return len > LARGE_MIN && len <= SPARE_LARGE ? (int)CLASSES : -1;
}

/* The class that a block of so many usable bytes belongs to. */
static int class_of(size_t usable)
{
    if (usable >= FIRST && usable < SPARE_SMALL_MAX + STEP)
        return (int)((usable - FIRST) / STEP);
    return usable >= SPARE_LARGE && usable < SPARE_LARGE + 64 ? (int)CLASSES : -1;
}

void *spare_alloc(size_t len)
{
    size_t size;
    int class = len <= SPARE_LARGE ? class_for(len, &size) : -1;
    struct kept *k;

    if (class < 0)
        return malloc(len);
    k = own.classes[class];
    if (k == NULL)
        return malloc(size);
    size = malloc_usable_size(k);
    ASAN_UNPOISON_MEMORY_REGION(k, size);
    own.classes[class] = k->next;
    own.kept[class == (int)CLASSES] -= size;
    k->key = NULL;
    return k;
}

void *spare_calloc(size_t cnt, size_t size)
{
    void *p = size > 0 && cnt > SIZE_MAX / size ? NULL : spare_alloc(cnt * size);

    return p != NULL ? memset(p, 0, cnt * size) : NULL;
}

/* A block given back twice would go to two connections: no way to go on. */
static void must_be_new(const struct kept *k, int class)
{
    if (k->key != &own)
        return;
    for (const struct kept *other = own.classes[class]; other != NULL; other = other->next) {
        if (other == k)
            abort();
    }
}

void spare_free(void *p)
{
    size_t usable = p != NULL ? malloc_usable_size(p) : 0;
    int class = class_of(usable);
    bool large = class == (int)CLASSES;
    struct kept *k = p;

    if (class >= 0)
        must_be_new(k, class);
    if (class < 0 || own.kept[large] + usable > SPARE_KEEP_MAX / 2) {
        free(p);
        return;
    }
    k->next = own.classes[class];
    k->key = &own;
    own.classes[class] = k;
    own.kept[large] += usable;
    ASAN_POISON_MEMORY_REGION(k + 1, usable - sizeof(*k));
}

void residue_spares(void)
{
    for (size_t i = 0; i < COUNT_OF(own.classes); i++) {
        for (struct kept *k = own.classes[i]; k != NULL && !SANITIZED; k = k->next)
            crypto_wipe(k + 1, malloc_usable_size(k) - sizeof(*k));
    }
}

void *spare_realloc(void *p, size_t len)
{
    size_t usable = p != NULL ? malloc_usable_size(p) : 0;
    void *fresh;

    if (class_of(usable) < 0 && p != NULL)
        return realloc(p, len);
    if (p != NULL && len > 0 && len <= usable && class_of(usable) < (int)CLASSES)
        return p;
    fresh = spare_alloc(len);
    if (fresh == NULL)
        return NULL;
    if (p != NULL)
        memcpy(fresh, p, usable < len ? usable : len);
    spare_free(p);
    return fresh;
}
