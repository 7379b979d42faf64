/*
 * sheet.h - streaming filter of a style sheet: bytes in, bytes out, trackers gone (layer: html).
 *
 *   sheet ──▶ sheet_push ──▶ [ css.h ] ──▶ on_output ──▶ browser
 *                                └─ on_ref: HTML_KEEP or HTML_DROP
 *
 * Every URL that the sheet could make a browser fetch is shown to the owner. What is kept leaves
 * byte for byte as it came; in place of what is dropped stands an empty url(), which is valid
 * and fetches nothing, so that the rest of its rule stays in force.
 *
 * Pure: no I/O, no clock. The output depends on the bytes, not on how they were cut into pushes.
 * At most one unfinished URL is held. ASCII bytes must stand for themselves: see css_pairs_of().
 */
#ifndef CONSENTD_SHEET_H
#define CONSENTD_SHEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/css.h"
#include "consentd/rewriter.h"
#include "consentd/str.h"

/* Bytes of one URL that are held; a longer one goes, unless it is data: that is no sheet. */
#define SHEET_URL_MAX 65536u

/* Sheets in data: URLs in @import in sheets … that are read; a deeper one goes. */
#define SHEET_NEST_MAX 3

struct sheet;

/*
 * Of *ops (copied) on_ref and on_output are called, with HTML_USE_STYLESHEET for an @import and
 * HTML_USE_CSS for all else; element and attr are empty. Never NULL.
 */
struct sheet *sheet_new(const struct html_ops *ops, enum css_pairs pairs, void *owner);

/*
 * The next bytes, and the end. False: on_output said stop, or memory ran out; the sheet must be
 * cut off then, and only sheet_free may follow.
 */
MUST_USE bool sheet_push(struct sheet *sheet, struct str in);
MUST_USE bool sheet_end(struct sheet *sheet);

/* URLs that were taken out so far. */
uint64_t sheet_removed(const struct sheet *sheet);

/* Bytes held back at the moment: for tests of the bounds. */
size_t sheet_held(const struct sheet *sheet);

/* NULL is fine. */
void sheet_free(struct sheet *sheet);

#endif
