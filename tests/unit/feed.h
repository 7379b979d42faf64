/*
 * feed.h - give a parser the same bytes in every way: whole, one more byte at a time, and
 * with a stop at every single place. The results must agree.
 *
 * The parser is a function that sees the first len bytes and says whether it is finished.
 */
#ifndef CONSENTD_TEST_FEED_H
#define CONSENTD_TEST_FEED_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/str.h"

/* Sees the first in.len bytes of the message (an exact heap copy). True: has decided. */
typedef bool feed_fn(void *state, struct str in);

static inline bool feed_prefix(feed_fn *fn, void *state, struct str in, size_t len)
{
    char *copy = malloc(len + 1);
    bool done;

    if (copy == NULL)
        abort();
    copy = realloc(copy, len > 0 ? len : 1); /* exact, so that a sanitizer sees an overread */
    if (len > 0)
        memcpy(copy, in.ptr, len);
    done = fn(state, str_make(copy, len));
    free(copy);
    return done;
}

/* Byte by byte. */
static inline bool feed_bytes(feed_fn *fn, void *state, struct str in)
{
    for (size_t len = 1; len <= in.len; len++) {
        if (feed_prefix(fn, state, in, len))
            return true;
    }
    return false;
}

/* Up to `at`, then all. */
static inline bool feed_split(feed_fn *fn, void *state, struct str in, size_t at)
{
    return feed_prefix(fn, state, in, at) || feed_prefix(fn, state, in, in.len);
}

#endif
