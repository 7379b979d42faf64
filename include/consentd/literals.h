/*
 * literals.h - finds many fixed texts in one pass (Aho-Corasick). layer: policy
 *
 *   texts  "he" "she" "hers"
 *
 *        (0)-h->(1)-e->(2*)-r->(3)-s->(4*)      * a text ends here
 *          \-s->(5)-h->(6)-e->(7*)              (7) also ends "he": follow its link to (2)
 *
 * Compiled into a full table, one row per state, columns by byte class, so that the scan is one
 * load per byte whatever is searched. The scan reports which texts occurred, not where.
 * Immutable after building; no I/O. Bytes are compared as they are (case matters).
 */
#ifndef CONSENTD_LITERALS_H
#define CONSENTD_LITERALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/str.h"

#define LITERALS_MAX        8192  /* texts of one automaton */
#define LITERALS_STATES_MAX 60000 /* bytes of all texts, roughly */

struct literals;

/* Never NULL. */
struct literals *literals_new(void);
void literals_free(struct literals *l); /* NULL is fine */

/*
 * Adds a text (copied) and gives its number; the same text gives the same number again. -1 when the
 * text is empty or a limit is hit. Not after literals_build.
 */
MUST_USE ptrdiff_t literals_add(struct literals *l, struct str text);

/* Makes the table. False when there are more than LITERALS_STATES_MAX states. */
MUST_USE bool literals_build(struct literals *l);

/* How many texts there are: the numbers are below it. */
size_t literals_cnt(const struct literals *l);

/* Bytes of the table. */
size_t literals_bytes(const struct literals *l);

/* Words of a result set for this automaton. */
size_t literals_words(const struct literals *l);

/*
 * Sets bit n of seen (literals_words() words, not cleared here) for every text n that occurs in
 * the text. Returns whether any does. Linear.
 */
bool literals_scan(const struct literals *l, struct str text, uint64_t *seen);

/* Whether bit n is set. */
bool literals_seen(const uint64_t *seen, size_t n);

#endif
