/*
 * imports.h - the addresses that a script imports, taken out as it streams by (layer: html).
 *
 *   import("https://…")   import('https://…')   import "https://…"   … from "https://…"
 *          └─────────┘          └─────────┘          └─────────┘          └─────────┘
 *
 * No companion in the page can see an import. What is written as a literal can be seen here: the
 * word, white space and comments, a literal without substitutions. That is no parsing: the same
 * text inside a string or a comment is found as well, which does no harm, since only a literal
 * that the owner drops is replaced, by the literal of another address.
 *
 * Pure: no I/O, no clock. The output depends on the bytes, not on how they were cut into pushes.
 */
#ifndef CONSENTD_IMPORTS_H
#define CONSENTD_IMPORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/rewriter.h"
#include "consentd/str.h"

/* Bytes from the word to the end of the literal; what is longer is let go. */
#define IMPORTS_HELD_MAX 4096

/* White space and comments between the word and the literal: bundlers leave notes there. */
#define IMPORTS_GAP_MAX 512

struct imports;

/*
 * Of *ops (copied) on_ref, with HTML_USE_SCRIPT, and on_output are called. instead: what stands in
 * place of a dropped address, without quotes; borrowed. Never NULL.
 */
struct imports *imports_new(const struct html_ops *ops, struct str instead, void *owner);

/* The next bytes, and the end. False: on_output said stop, or memory ran out. */
MUST_USE bool imports_push(struct imports *imports, struct str in);
MUST_USE bool imports_end(struct imports *imports);

/* Addresses that were replaced so far. */
uint64_t imports_removed(const struct imports *imports);

/* NULL is fine. */
void imports_free(struct imports *imports);

#endif
