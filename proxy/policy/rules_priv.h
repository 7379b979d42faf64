/*
 * rules_priv.h - what compiled rules look like inside. layer: policy
 *
 * Filled by rules_compile.c, owned by rules.c, read by decide.c and snapshot.c. Immutable after
 * compiling but for `scratch`, which is memory that decisions reuse.
 */
#ifndef CONSENTD_RULES_PRIV_H
#define CONSENTD_RULES_PRIV_H

#include <stddef.h>
#include <stdint.h>

#include "consentd/buf.h"
#include "consentd/literals.h"
#include "consentd/rules.h"
#include "index_priv.h"

#define RULES_SCRATCH_KEEP (256u * 1024) /* bytes of scratch kept between two decisions */

/* An inline rule with the texts that must all occur before anything else is tried. */
struct inline_entry {
    struct rule_ref ref;
    uint16_t texts[RULESET_CONTAINS_MAX + 1]; /* numbers in inline_texts */
    unsigned text_cnt;
};

/* A rule for the sites' own paths, with one text that must occur. */
struct site_entry {
    struct rule_ref ref;
    uint16_t text; /* number in site_texts */
};

struct rules_site_data {
    char *name;   /* owned */
    char **hosts; /* owned; canonical */
    size_t host_cnt;
};

struct rules_scratch {
    struct buf subject; /* path?query for patterns */
    struct buf text;    /* a script without escapes and comments */
    uint64_t *inline_seen, *site_seen;
};

struct rules {
    unsigned refs;
    struct categories categories;
    struct ruleset **sets; /* owned, and the sets too; vendors' first, sorted by id */
    uint32_t *set_site;    /* owned; per set: site number or RULES_OWN_SITE_NONE */
    size_t set_cnt, vendor_cnt;
    struct rules_site_data *sites; /* owned */
    size_t site_cnt;

    struct index cookie_names;    /* whole names */
    struct index cookie_prefixes; /* prefixes, and the fixed heads of patterns */
    struct rule_ref *loose;       /* owned; patterns without a head: tried for every cookie */
    size_t loose_cnt;
    struct index amps;             /* "element" and "element type" */
    struct index hosts;            /* read from the right */
    struct literals *inline_texts; /* owned */
    struct inline_entry *inlines;  /* owned */
    size_t inline_cnt;
    struct literals *site_texts;  /* owned */
    struct site_entry *site_urls; /* owned */
    size_t site_url_cnt;
    size_t pattern_cnt;
    uint8_t hash[32];              /* of all sets */
    struct rules_scratch *scratch; /* owned; changes */
};

/* Builds the tables from sets, set_site, sites and categories. */
MUST_USE bool rules_build(struct rules *rules, uint32_t match_limit, struct fault *f);

/* Whether two sets claim the same cookie, URL or signature; with the reason. */
MUST_USE bool rules_agree(const struct rules *rules, struct fault *f);

#endif
