/*
 * mem.c - contract in consentd/mem.h.
 *
 * Running out of memory for a small object leaves nothing sensible to do: the
 * message goes out by write(2), because stdio may want memory itself.
 */
#include "consentd/mem.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

NORETURN static void die(const char *text, size_t len)
{
    if (write(STDERR_FILENO, text, len) < 0)
        _exit(70); /* nobody listens; still do not go on */
    abort();
}

NORETURN static void die_of_memory(void)
{
    static const char text[] = "level=error event=memory.exhausted\n";

    die(text, sizeof(text) - 1);
}

void mem_assert_failed(const char *expr, const char *file, int line)
{
    char text[512];
    int len = snprintf(text, sizeof(text), "level=error event=assert.failed at=%s:%d expr=\"%s\"\n",
                       file, line, expr);

    if (len < 0)
        len = 0;
    die(text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

void *mem_alloc(size_t len)
{
    void *p = malloc(len > 0 ? len : 1);

    if (p == NULL)
        die_of_memory();
    return p;
}

void *mem_calloc(size_t cnt, size_t size)
{
    void *p = calloc(cnt > 0 ? cnt : 1, size > 0 ? size : 1);

    if (p == NULL)
        die_of_memory();
    return p;
}

void *mem_realloc(void *p, size_t len)
{
    void *bigger = realloc(p, len > 0 ? len : 1);

    if (bigger == NULL)
        die_of_memory();
    return bigger;
}

void mem_give_back(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

void *mem_dup(const void *p, size_t len)
{
    void *copy = mem_alloc(len);

    if (len > 0)
        memcpy(copy, p, len);
    return copy;
}

char *mem_strdup(const char *s)
{
    return mem_dup(s, strlen(s) + 1);
}

char *mem_strndup(const char *s, size_t len)
{
    ASSERT(len < SIZE_MAX);
    char *copy = mem_alloc(len + 1);

    if (len > 0)
        memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}
