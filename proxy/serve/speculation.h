/*
 * speculation.h - speculation rules that pick links of the page (layer: serve).
 *
 * A rule that lists addresses can be judged; one that says which links to fetch ahead of time may
 * mean any link of the page, also one that leads to a tracker. Pure.
 */
#ifndef CONSENTD_SPECULATION_H
#define CONSENTD_SPECULATION_H

#include <stdbool.h>

#include "consentd/attr.h"
#include "consentd/str.h"

/*
 * Whatever links the rules pick are the page's own: each "where" wants a pattern that is a path.
 * False also for what is no JSON but could be rules to a browser.
 */
MUST_USE bool speculation_stays_here(struct str json);

#endif
