/*
 * rules.h - all rule sets compiled into one immutable thing that can be asked. layer: policy
 *
 *   cookies  hash of exact names; hash of prefixes (also the fixed heads of patterns)
 *   urls     hash of hosts, walked label by label from the right
 *   inline   one automaton over all texts (literals.h), patterns behind it
 *
 * Loading is all or nothing: one bad set and there are no new rules. Sets that contradict each
 * other (the same cookie, URL or signature with different categories) are an error too.
 *
 * Reference counted, for one thread. Patterns use scratch memory in here, so a struct rules
 * must not be shared between threads. No I/O.
 */
#ifndef CONSENTD_RULES_H
#define CONSENTD_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/category.h"
#include "consentd/fault.h"
#include "consentd/ruleset.h"
#include "consentd/str.h"

#define RULES_SETS_MAX      2048   /* sets of an installation, the sites' own included */
#define RULES_MATCH_LIMIT   200000 /* default steps of one pattern match */
#define RULES_OWN_SITE_NONE UINT32_MAX

/* What a set does. The zero value removes. */
enum rule_mode {
    RULE_ENFORCE = 0, /* removes what is not granted */
    RULE_REPORT,      /* passes it, but says what it would have removed */
    RULE_OFF,         /* passes it */
};

const char *rule_mode_name(enum rule_mode mode);                          /* "enforce" … */
MUST_USE bool rule_mode_parse(struct str name, enum rule_mode *mode_out); /* exact names */

/* One site: whose hosts "@site" stands for, and which own rules it has. Borrowed. */
struct rules_site {
    const char *name;
    const char *const *hosts; /* canonical */
    size_t host_cnt;
    const char *own_json; /* array of sets as text, NULL or "[]" for none */
    const char *own_name; /* for errors: "consentd.json: sites[0].rules" */
};

struct rules;

/* What rules are made of; all borrowed for the call. */
struct rules_input {
    const struct categories *categories; /* of all policies; copied */
    const struct rules_site *sites;      /* index = site number everywhere else */
    size_t site_cnt;
    uint32_t match_limit; /* steps of one pattern match; 0: RULES_MATCH_LIMIT */
};

/*
 * Compiles. Takes over the sets (also on failure, then they are freed). NULL with the reason.
 * The caller has one reference.
 */
MUST_USE struct rules *rules_compile(struct ruleset **sets, size_t cnt,
                                     const struct rules_input *input, struct fault *f);

/*
 * Parses every ("name", text) that `next` yields and compiles them. next returns false at the end.
 * This is how both a bundle and a folder are read.
 */
typedef bool (*rules_next_fn)(void *arg, struct str *name_out, struct str *text_out);
MUST_USE struct rules *rules_load(rules_next_fn next, void *arg, const struct rules_input *input,
                                  struct fault *f);

/* One more reference; returns rules. / One less; the last one frees. NULL is fine. */
struct rules *rules_take(struct rules *rules);
void rules_give(struct rules *rules);

/* All sets, the vendors' first, sorted by id, then the sites' own. */
size_t rules_set_cnt(const struct rules *rules);
const struct ruleset *rules_set(const struct rules *rules, size_t i);

/* Number of the vendor's set with this id, or -1. */
ptrdiff_t rules_find(const struct rules *rules, struct str id);

/* The id of the vendor's set that a person probably meant ("did you mean"), or NULL. */
const char *rules_nearest(const struct rules *rules, const char *id);

/* The site a set belongs to, or RULES_OWN_SITE_NONE for a vendor's set. */
uint32_t rules_set_site(const struct rules *rules, size_t i);

/* Number of the site with this name, or -1. */
ptrdiff_t rules_find_site(const struct rules *rules, struct str name);

/* Sites the rules were compiled for, and their names. */
size_t rules_site_cnt(const struct rules *rules);
const char *rules_site_name(const struct rules *rules, size_t site);

const struct categories *rules_categories(const struct rules *rules);

/* Figures for status and tests. */
struct rules_stats {
    size_t sets, cookies, urls, inlines, patterns;
    size_t automaton_bytes;
};
void rules_stats(const struct rules *rules, struct rules_stats *out);

#endif
