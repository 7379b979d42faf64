/*
 * residue.c - contract in consentd/residue.h.
 *
 * free and realloc of this program stand before libc's, so that jansson, hiredis, libevent and
 * OpenSSL come here as well. What a block holds is what malloc_usable_size(3) says. The next
 * functions are looked up at the first call, so that another allocator that was put before libc
 * (LD_PRELOAD) gets back what it gave.
 */
#include "consentd/residue.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/sanitized.h"

#define STACK_LEN (384u << 10) /* bytes; the deepest handlers have some room of 64 KiB each */

#if SANITIZED

void residue_heap(void)
{
}

void residue_stack(void)
{
}

#else

typedef void (*free_fn)(void *p);
typedef void *(*realloc_fn)(void *p, size_t len);

static free_fn next_free;
static realloc_fn next_realloc;
static bool wiping;

/* False while it is under way: what dlsym gives back meanwhile is not given on. */
static bool look_up(void)
{
    static bool looking;
    void *of_free, *of_realloc;

    if (next_free != NULL || looking)
        return next_free != NULL;
    looking = true;
    of_free = dlsym(RTLD_NEXT, "free");
    of_realloc = dlsym(RTLD_NEXT, "realloc");
    memcpy(&next_realloc, &of_realloc, sizeof(next_realloc));
    memcpy(&next_free, &of_free, sizeof(next_free));
    looking = false;
    return next_free != NULL;
}

/* The compiler may know what was asked for, which is less than what the block has. */
static void clear(void *p, size_t from, size_t to)
{
    char *bytes = p;

    __asm__("" : "+r"(bytes));
    explicit_bzero(bytes + from, to - from);
}

void residue_heap(void)
{
    wiping = true;
}

void free(void *p)
{
    if (p == NULL || !look_up())
        return;
    if (wiping)
        clear(p, 0, malloc_usable_size(p));
    next_free(p);
}

/* Moves by hand: libc would leave the old block as it is. */
void *realloc(void *p, size_t len)
{
    size_t usable;
    void *fresh;

    if (look_up() && !wiping && next_realloc != NULL)
        return next_realloc(p, len);
    usable = p != NULL ? malloc_usable_size(p) : 0;
    if (p != NULL && len == 0) {
        free(p);
        return NULL;
    }
    if (p != NULL && len <= usable && len > usable / 2) {
        clear(p, len, usable);
        return p;
    }
    fresh = malloc(len);
    if (fresh == NULL || p == NULL)
        return fresh;
    memcpy(fresh, p, usable < len ? usable : len);
    free(p);
    return fresh;
}

__attribute__((noinline)) void residue_stack(void)
{
    char room[STACK_LEN];

    explicit_bzero(room, sizeof(room));
}

#endif
