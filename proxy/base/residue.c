/*
 * residue.c - contract in consentd/residue.h.
 *
 * free and realloc of this program stand before libc's, so that jansson, hiredis, libevent and
 * OpenSSL come here as well. What a block holds is what malloc_usable_size(3) says. The next
 * functions are looked up, so that a library put before libc is still asked.
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

void __libc_free(void *p);
void *__libc_realloc(void *p, size_t len);

static free_fn next_free = __libc_free;
static bool wiping;

/* The compiler may know what was asked for, which is less than what the block has. */
static void clear(void *p, size_t from, size_t to)
{
    char *bytes = p;

    __asm__("" : "+r"(bytes));
    explicit_bzero(bytes + from, to - from);
}

void residue_heap(void)
{
    void *next = dlsym(RTLD_NEXT, "free");

    if (next != NULL)
        memcpy(&next_free, &next, sizeof(next));
    wiping = true;
}

void free(void *p)
{
    if (wiping && p != NULL)
        clear(p, 0, malloc_usable_size(p));
    next_free(p);
}

/* Moves by hand: libc would leave the old block as it is. */
void *realloc(void *p, size_t len)
{
    size_t usable = p != NULL ? malloc_usable_size(p) : 0;
    void *fresh;

    if (!wiping)
        return __libc_realloc(p, len);
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
