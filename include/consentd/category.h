/*
 * category.h - consent categories and their bits. layer: policy
 *
 *   bit 0 essential   1 analytics   2 marketing   3 preferences   4-15 the policy's own
 *
 * A grant is a mask of these bits, as it stands in the token (token.h). The first four
 * names have their bits in every installation, so that a token, a rule set and a record mean
 * the same everywhere; a policy gives the others their bits explicitly and must never reuse
 * one. A category that the policy does not define can be named by rules, but nobody can
 * grant it: what belongs to it is always removed.
 */
#ifndef CONSENTD_CATEGORY_H
#define CONSENTD_CATEGORY_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"

#define CATEGORY_MAX    16 /* bits of a grant mask */
#define CATEGORY_ID_MAX 32 /* bytes of an id with its NUL; ids are [a-z0-9][a-z0-9-]* */

enum {
    CATEGORY_ESSENTIAL = 1u << 0,   /* always granted */
    CATEGORY_ANALYTICS = 1u << 1,   /* measuring use */
    CATEGORY_MARKETING = 1u << 2,   /* advertising, profiles, embedded third-party content */
    CATEGORY_PREFERENCES = 1u << 3, /* remembers choices that are not strictly necessary */
};

/* Which bit has which name. Embedded; filled by categories_init. */
struct categories {
    char ids[CATEGORY_MAX][CATEGORY_ID_MAX]; /* "" where the bit is not named */
    uint16_t named;                          /* bits that have a name */
    uint16_t defined;                        /* bits that a policy defines: can be granted */
    uint16_t required;                       /* bits that are on without being asked for */
};

/* The four fixed names; nothing defined but essential, which is required. */
void categories_init(struct categories *c);

/*
 * Names bit `bit` (0-15). False with a reason when the id is malformed, another bit has the id,
 * the bit has another id, or a fixed name is given another bit.
 */
MUST_USE bool categories_add(struct categories *c, struct str id, unsigned bit, struct fault *f);

/* Adds the names and definitions of `other`; false when the two disagree on an id or a bit. */
MUST_USE bool categories_merge(struct categories *c, const struct categories *other,
                               struct fault *f);

/* The mask with this category's one bit, or 0 when the id is not known. */
uint16_t categories_bit(const struct categories *c, struct str id);

/* The id of the lowest bit in mask, or "unknown". Valid as long as c. */
const char *categories_name(const struct categories *c, uint16_t mask);

/* "analytics,marketing" into out (cut at the end); "none" for 0. Returns out. */
#define CATEGORY_LIST_MAX (CATEGORY_MAX * CATEGORY_ID_MAX)
const char *categories_list(const struct categories *c, uint16_t mask, char out[CATEGORY_LIST_MAX]);

/*
 * Reads "analytics,marketing", "none" or "all" (all defined). False and the nearest known
 * name for an id that is not known.
 */
MUST_USE bool categories_parse(const struct categories *c, struct str list, uint16_t *mask_out,
                               struct fault *f);

#endif
