/*
 * match.h - patterns (PCRE2 with JIT) that can't stall a worker, and globs. layer: policy
 *
 * Every match has a step limit, a depth limit and a memory limit; hitting one is a result of its
 * own and counts as a match for whatever would be removed. A pattern that runs away on short
 * probe texts is refused when it is loaded. A pattern whose fixed parts can be found has a
 * required literal: callers look for it first, so patterns run rarely.
 *
 * Patterns are bytes, not UTF-8: \w and case folding are ASCII. \C, callouts and (*VERBS) that
 * change limits are refused. The only user of PCRE2.
 */
#ifndef CONSENTD_MATCH_H
#define CONSENTD_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"

#define MATCH_PATTERN_MAX 1024 /* bytes of a pattern */
#define MATCH_DEPTH_MAX   1000 /* nested steps without JIT */
#define MATCH_HEAP_KIB    4096 /* memory of one match */
#define MATCH_LITERAL_MAX 200  /* bytes of a required literal that are used */

enum match_result {
    MATCH_LIMIT = 0, /* gave up: take it for a match of what would be removed */
    MATCH_YES,
    MATCH_NO,
};

enum match_anchor {
    MATCH_SEARCH = 0, /* found anywhere */
    MATCH_WHOLE,      /* the whole text */
};

struct pattern;

/*
 * Compiles and probes. limit: steps of one match. NULL with the reason and, where PCRE2 says so,
 * the offset. Uses scratch memory inside: one thread.
 */
MUST_USE struct pattern *pattern_new(struct str source, enum match_anchor anchor, uint32_t limit,
                                     struct fault *f);
void pattern_free(struct pattern *p); /* NULL is fine */

/* Steps of one match from now on. */
void pattern_set_limit(struct pattern *p, uint32_t limit);

MUST_USE enum match_result pattern_match(const struct pattern *p, struct str text);

/*
 * The longest text that every match must contain, found by reading the pattern; empty if there is
 * none. Never wrong, sometimes shorter than possible. Lives as long as p.
 */
struct str pattern_literal(const struct pattern *p);

/* The fixed text that every match of a MATCH_WHOLE pattern begins with; may be empty. */
struct str pattern_head(const struct pattern *p);

/*
 * Globs: * stands for any run of bytes, also none; with `stop` not NUL it is at least one byte and
 * does not cross `stop`. Linear in practice: at most len(glob) * len(text) steps.
 */
MUST_USE bool glob_match(struct str glob, struct str text, char stop);

/* The same, but the glob may end before the text does (a prefix). */
MUST_USE bool glob_match_prefix(struct str glob, struct str text, char stop);

#endif
