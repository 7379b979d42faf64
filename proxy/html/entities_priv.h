/*
 * entities_priv.h - character references, decoded as the tokenizer of the standard does.
 */
#ifndef CONSENTD_HTML_ENTITIES_PRIV_H
#define CONSENTD_HTML_ENTITIES_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/str.h"

#define ENTITY_SLOTS 4096 /* for the 2,125 names */

/* Generated; see entities_table.c and entities_index.c. */
extern const char entity_table[];
extern const uint16_t entity_slots[ENTITY_SLOTS];

/*
 * Appends raw with its references decoded (HTML 13.2.5.72); in_attribute applies the
 * rule that an unfinished name before "=" or a letter or digit stays as it is. CR and
 * CR LF become LF, NUL becomes U+FFFD when in_attribute. False: out is full.
 */
MUST_USE bool entities_decode(struct str raw, bool in_attribute, struct buf *out);

#endif
