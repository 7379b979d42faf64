/*
 * buf.h - growable bytes with a maximum that is given once, at creation.
 *
 *   allocation:  | skip | data … len | room … |
 *                        ^data        ^data+len
 *
 * Never aborts: when the maximum (or the machine's memory) is reached the call
 * returns false and the buf keeps what it had. Consuming from the front is O(1);
 * the bytes are moved only when room is needed at the end.
 */
#ifndef CONSENTD_BUF_H
#define CONSENTD_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/str.h"

struct buf {
    uint8_t *data; /* owned; first live byte, NULL before the first append */
    size_t len;    /* live bytes */
    size_t cap;    /* bytes from data to the end of the allocation */
    size_t max;    /* limit for len */
    size_t skip;   /* consumed bytes in front of data, still allocated */
};

/* An empty buf that will hold at most max bytes. Takes no memory yet. */
void buf_init(struct buf *b, size_t max);

/* Frees the memory; the buf is as after buf_init. A zeroed struct is fine too. */
void buf_free(struct buf *b);

/* Appends, or returns false and leaves the buf unchanged. p may be inside the buf. */
MUST_USE bool buf_append(struct buf *b, const void *p, size_t len);
MUST_USE bool buf_append_str(struct buf *b, struct str s);
MUST_USE bool buf_append_c(struct buf *b, const char *cstr);
MUST_USE bool buf_append_char(struct buf *b, char c);
MUST_USE bool buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * Room for at least len bytes behind the live ones, or NULL. Write there, then
 * buf_commit what was written. The pointer is valid until the next call on b.
 */
MUST_USE uint8_t *buf_reserve(struct buf *b, size_t len);
void buf_commit(struct buf *b, size_t len);

/* Drops len bytes from the front; len must not be more than b->len. */
void buf_consume(struct buf *b, size_t len);

/* Empties it and keeps the memory. */
void buf_clear(struct buf *b);

/* As buf_clear, and nothing of what it ever held is left in its memory. */
void buf_wipe(struct buf *b);

/* The live bytes; borrowed, valid until the next call on b. */
struct str buf_str(const struct buf *b);

/* The live bytes as a C string (a NUL is put behind them), or NULL if that fails. */
MUST_USE const char *buf_cstr(struct buf *b);

#endif
