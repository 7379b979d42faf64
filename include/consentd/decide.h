/*
 * decide.h - (thing, grants, rules) -> verdict. Pure. layer: policy
 *
 * The thing is a cookie name, a URL, an element of AMP, or the text of an inline script.
 * Precedence: the site's own rules; then exact before regex before prefix; essential before the
 * rest (for URLs: path, then query, then the longer host, then the longer prefix, then essential).
 * A rule passes when ANY of its categories is granted. Two rules of the same rank: the denied one
 * decides.
 *
 * A set in mode `off` lets go what it claims, and a set that knows less about it is not asked:
 * switching a vendor off must not leave it to a catch-all. One in mode `report` likewise, and
 * what it would have removed passes as VERDICT_REPORT. A denied rule of the same rank decides.
 *
 * What is in doubt is removed: a URL that url.h calls suspect, a pattern that hits its limit.
 */
#ifndef CONSENTD_DECIDE_H
#define CONSENTD_DECIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/cookie.h"
#include "consentd/ruleset.h"
#include "consentd/snapshot.h"
#include "consentd/str.h"
#include "consentd/url.h"

enum verdict_action {
    VERDICT_STRIP = 0, /* must not reach the browser or the origin */
    VERDICT_REPORT,    /* passes; a set in report mode would have removed it: count it */
    VERDICT_PASS,
};

struct verdict {
    enum verdict_action action;
    bool limited;              /* a pattern hit its limit and was taken as a match: count it */
    uint16_t categories;       /* of the rule that decided; 0 when no rule did */
    const struct ruleset *set; /* who decided (also for PASS), or NULL: nobody knows it */
    const char *rule;          /* what matched, as written, or why ("unknown cookie"); never NULL */
};

/* Everything a decision depends on besides the thing. Lives on the caller's stack. */
struct decider {
    const struct snapshot *snapshot; /* NULL: no rules are known, everything is removed */
    uint16_t grants;                 /* category bits of the verified token; 0: undecided */
    bool unknown_cookies_deny;       /* the site's "unknown_cookies" */
};

/* The cookie with exactly this name. The consent cookie itself is the caller's business. */
MUST_USE struct verdict decide_cookie(const struct decider *d, struct str name);

/*
 * A name that only some readers see (percent-decoded, PHP's underscore, unquoted …): removed
 * if a rule denies it; being unknown or essential counts only for the exact name.
 */
MUST_USE struct verdict decide_cookie_alias(const struct decider *d, struct str name);

/* A whole pair: its name and every other name that a reader could see in it (cookie.h). */
MUST_USE struct verdict decide_cookie_pair(const struct decider *d, const struct cookie_pair *pair);

/*
 * A URL that the page would fetch. A host of the site itself is also held against the "@site"
 * rules. Without URL_NETWORK (data:, about:, mailto:) it passes.
 */
MUST_USE struct verdict decide_url(const struct decider *d, const struct url *url);

/*
 * A connection to the host that a page wants made ahead of time. Denied when that is all that any
 * rule says of the host, be it of single paths: "facebook.com/tr" is what a preconnect to
 * facebook.com is for.
 */
MUST_USE struct verdict decide_host(const struct decider *d, const struct url *url);

/* The host is one of the site's: what it serves went through here. */
MUST_USE bool decide_host_is_own(const struct decider *d, struct str host);

/*
 * The text of an inline script or an event handler. Comments do not count; strings do, since
 * loaders keep the URL in one, unless the script is data alone (jsdata.h). Linear in the text, at
 * most DECIDE_INLINE_MAX bytes. The snapshot remembers its last thousand verdicts by a hash of the
 * text.
 */
#define DECIDE_INLINE_MAX (16u << 20)
MUST_USE struct verdict decide_inline(const struct decider *d, struct str text);

/*
 * An element of AMP that fetches what AMP's list of vendors says: its name, with " " and its type
 * behind it if it has one ("amp-analytics facebookpixel"). A rule for the type beats one for the
 * element; without either it passes.
 */
MUST_USE struct verdict decide_amp(const struct decider *d, struct str element_and_type);

/*
 * A request to the site itself, as "path?query" in canonical form: the "@site" rules alone. Without
 * a snapshot it passes: this decides which pages the origin gets to see.
 */
MUST_USE struct verdict decide_site_path(const struct decider *d, struct str path_and_query);

#endif
