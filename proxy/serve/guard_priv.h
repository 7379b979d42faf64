/*
 * guard_priv.h - the companion: the script that goes first into pages with something denied, and
 * before the scripts of workers.
 */
#ifndef CONSENTD_GUARD_PRIV_H
#define CONSENTD_GUARD_PRIV_H

#include <stdbool.h>
#include <stddef.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/exchange.h"
#include "consentd/str.h"

#define GUARD_KEY_LEN    44    /* names rules, grants and script in the address */
#define GUARD_LOOK       6     /* bytes that tell "<head" and its end from other markup */
#define GUARD_HOLD_MAX   65536 /* bytes of a page that are held until the place is known */
#define GUARD_PLACE_MORE (-1)
#define GUARD_PLACE_NONE (-2)

/* Whether the answer, should it be a page, gets the companion. */
MUST_USE bool guard_is_wanted(const struct exchange *x);

/* The script with the rules that are in force for this exchange; the key of its address. */
MUST_USE bool guard_render(const struct exchange *x, struct buf *out);
void guard_key(const struct exchange *x, char out[GUARD_KEY_LEN + 1]);

/* guard_rules.c: what can deny, and what outranks that, as members of its argument. */
MUST_USE bool guard_rules_render(const struct exchange *x, struct buf *out);

/* The script element; xml: the page is, and what stands in it would be read otherwise. */
MUST_USE bool guard_element(const struct exchange *x, bool xml, struct buf *out);

/* What goes before the script of a worker, of which these are the first bytes. */
MUST_USE bool guard_prefix(const struct exchange *x, struct str script, struct buf *out);

/* Where the element goes in the page so far (all: it ends here), or GUARD_PLACE_*. Pure. */
ptrdiff_t guard_place(struct str page, bool all, bool xml);

#endif
