/*
 * filter.h - a streaming transformer of one response body. layer: serve
 *
 *   origin --> [de-chunk] --> filter --> filter --> ... --> sink (the client's side)
 *
 * A filter gets the body in slices, in order, and hands on what it likes, when it likes, with
 * filter_next(). The slices end with one push whose `end` is true (its len may be 0); a filter
 * must pass that end on exactly once, in that push, after everything it held back.
 *
 * Life: the filter is embedded in a struct of its owner's (the exchange's arena is the right
 * place) and added by exchange_add_filter() from enforce_response(). close() is called exactly
 * once per filter that was added, whether or not the end was reached: free there what is not in
 * the arena. After close() nothing is called any more.
 *
 * Back-pressure: a filter needs none of its own. It is fed slices of at most FILTER_SLICE_MAX
 * bytes, and no further slice while the client's queue is above its high mark; so a filter may
 * expand one slice as far as its own limits allow (the client's queue holds CLIENT_QUEUE_MAX,
 * consentd/exchange.h; what goes over that fails the answer).
 *
 * The response head is not sent before the first byte (or the end) reaches the sink. Until then
 * a filter may still edit x->resp (a sniffer that holds the first bytes to find out what they
 * are), and a failure still becomes a 502 page; afterwards a failure is a visibly cut answer.
 */
#ifndef CONSENTD_FILTER_H
#define CONSENTD_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"

struct exchange;

/* The most bytes one push gets. Small, so that one slice of a zip bomb stays bounded too. */
#define FILTER_SLICE_MAX 8192

struct filter {
    /*
     * Bytes in; data is borrowed for the call. False is fatal to the answer: a 502 page when the
     * head is not out yet, else the client sees a truncated answer. Say why with
     * exchange_note() before. Must not end the exchange by other means.
     */
    bool (*push)(struct filter *f, const uint8_t *data, size_t len, bool end);

    /* The last call, at the end of the exchange; NULL when there is nothing to free. */
    void (*close)(struct filter *f);

    /* Set by exchange_add_filter(); the filter reads them only. */
    struct filter *next;
    struct exchange *x;
};

/* Hands bytes to the next filter or the sink. The result is the next one's: pass a false on. */
MUST_USE static inline bool filter_next(struct filter *f, const uint8_t *data, size_t len, bool end)
{
    return f->next->push(f->next, data, len, end);
}

#endif
