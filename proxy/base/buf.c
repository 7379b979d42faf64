/*
 * buf.c - contract in consentd/buf.h.
 */
#include "consentd/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/crypto.h"
#include "consentd/mem.h"
#include "consentd/spare.h"

#define FIRST_SIZE 256u /* bytes of the first allocation */

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

static uint8_t *allocation(const struct buf *b)
{
    return b->data != NULL ? b->data - b->skip : NULL;
}

void buf_free(struct buf *b)
{
    spare_free(allocation(b));
    buf_init(b, b->max);
}

/* Moves the live bytes to the start of the allocation: their front was consumed. */
static void close_gap(struct buf *b)
{
    uint8_t *start = allocation(b);

    if (b->skip == 0)
        return;
    memmove(start, b->data, b->len);
    b->data = start;
    b->cap += b->skip;
    b->skip = 0;
}

static bool grow(struct buf *b, size_t need)
{
    size_t size = b->cap > 0 ? b->cap : FIRST_SIZE;

    while (size < need)
        size = size > SIZE_MAX / 2 ? need : size * 2;
    if (size > b->max && need <= b->max)
        size = b->max;
    uint8_t *bigger = spare_realloc(b->data, size);
    if (bigger == NULL)
        return false;
    b->data = bigger;
    b->cap = size;
    return true;
}

uint8_t *buf_reserve(struct buf *b, size_t len)
{
    if (b->len > b->max || len > b->max - b->len)
        return NULL;
    if (b->cap - b->len < len || b->data == NULL) {
        close_gap(b);
        if ((b->cap - b->len < len || b->data == NULL) && !grow(b, b->len + len))
            return NULL;
    }
    return b->data + b->len;
}

void buf_commit(struct buf *b, size_t len)
{
    ASSERT(len <= b->cap - b->len);
    b->len += len;
}

/* Room without growing; not for an empty buf, whose data may be NULL. */
static bool has_room(const struct buf *b, size_t len)
{
    return len <= b->cap - b->len && b->data != NULL && b->len <= b->max && len <= b->max - b->len;
}

bool buf_append(struct buf *b, const void *p, size_t len)
{
    uintptr_t from = (uintptr_t)p;
    uintptr_t start = (uintptr_t)b->data;
    bool inside = b->data != NULL && from >= start && from < start + b->len;
    uint8_t *room;

    if (len == 0)
        return true;
    if (has_room(b, len)) { /* nothing moves */
        memmove(b->data + b->len, p, len);
        b->len += len;
        return true;
    }
    room = buf_reserve(b, len);
    if (room == NULL)
        return false;
    if (inside) /* growing may have moved it */
        memmove(room, b->data + (from - start), len);
    else
        memcpy(room, p, len);
    b->len += len;
    return true;
}

bool buf_append_str(struct buf *b, struct str s)
{
    return buf_append(b, s.ptr, s.len);
}

bool buf_append_c(struct buf *b, const char *cstr)
{
    return buf_append(b, cstr, strlen(cstr));
}

bool buf_append_char(struct buf *b, char c)
{
    if (!has_room(b, 1))
        return buf_append(b, &c, 1);
    b->data[b->len++] = (uint8_t)c;
    return true;
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    char text[512];

    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (len < 0)
        return false;
    if ((size_t)len < sizeof(text))
        return buf_append(b, text, (size_t)len);

    /* one byte more than the text for the NUL, which must not count against max */
    char *large = spare_alloc((size_t)len + 1);
    if (large == NULL)
        return false;
    va_start(args, fmt);
    bool ok =
        vsnprintf(large, (size_t)len + 1, fmt, args) == len && buf_append(b, large, (size_t)len);
    va_end(args);
    spare_free(large);
    return ok;
}

void buf_consume(struct buf *b, size_t len)
{
    ASSERT(len <= b->len);
    if (len == b->len) {
        buf_clear(b);
        return;
    }
    b->data += len;
    b->skip += len;
    b->len -= len;
    b->cap -= len;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    close_gap(b);
}

void buf_wipe(struct buf *b)
{
    buf_clear(b);
    crypto_wipe(b->data, b->cap);
}

struct str buf_str(const struct buf *b)
{
    return str_make(b->data, b->len);
}

const char *buf_cstr(struct buf *b)
{
    if (b->cap == b->len || b->data == NULL) {
        close_gap(b);
        if ((b->cap == b->len || b->data == NULL) && !grow(b, b->len + 1))
            return NULL;
    }
    b->data[b->len] = '\0';
    return (const char *)b->data;
}
