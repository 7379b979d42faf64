/*
 * error_page.h - the pages that consentd answers with when nobody else can. layer: serve
 *
 * Small complete HTML, without script, image or anything from elsewhere, that tells a visitor
 * what happened and what they can do. Nothing of the request is repeated in it.
 */
#ifndef CONSENTD_ERROR_PAGE_H
#define CONSENTD_ERROR_PAGE_H

#include "consentd/attr.h"
#include "consentd/buf.h"

/*
 * Appends the page of a status (400 to 599; others get a general text). False: the buffer is
 * over its maximum.
 */
MUST_USE bool error_page(struct buf *out, unsigned status);

#endif
