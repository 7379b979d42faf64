/*
 * impressions.h - counts how often the question was shown (shown.h), in the memory of the worker.
 *
 * A count is an addition in a small table; the sums go to the ledger every IMPRESSIONS_MS. A worker
 * that shows nothing has no timer, and a ledger that is away gets them when it is back.
 */
#ifndef CONSENTD_IMPRESSIONS_H
#define CONSENTD_IMPRESSIONS_H

#include "consentd/shown.h"

#define IMPRESSIONS_MS 10000

struct exchange;
struct impressions;
struct server;

struct impressions *impressions_new(struct server *s);
void impressions_free(struct impressions *im); /* NULL is fine */

/*
 * The answer to x asks its visitor there. Does not count who has decided, nor pages that are
 * fetched ahead and perhaps never looked at.
 */
void impressions_count(struct exchange *x, enum shown_place place);

/* Tells the ledger what there is, if it is there. */
void impressions_send(struct impressions *im);

#endif
