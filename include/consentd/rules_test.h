/*
 * rules_test.h - examples with their verdicts: rules/tests/ID.json. layer: policy
 *
 *   { "set": "google-analytics",
 *     "cookies": [ { "name": "_ga", "verdict": "google-analytics" },
 *                  { "name": "_gallery", "verdict": null } ],
 *     "urls":    [ { "url": "https://www.google-analytics.com/g/collect?v=2",
 *                    "verdict": "google-analytics" } ],
 *     "inline":  [ { "text": "…", "verdict": null } ] }
 *
 * The verdict is the id of the set that decides when nothing is granted, null when no set does
 * and nothing is removed. With "category" the rule's category must also be this one. "verdict"
 * may be any set's id. Every example is also tried with the deciding rule's categories granted:
 * it must pass then. The form is rules/schema.json.
 */
#ifndef CONSENTD_RULES_TEST_H
#define CONSENTD_RULES_TEST_H

#include <stddef.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/fault.h"
#include "consentd/rules.h"
#include "consentd/str.h"

#define RULES_TEST_TEXT_MAX (2u << 20) /* bytes of one test file */

struct rules_test_counts {
    size_t run, failed;
};

/*
 * Runs one file against the rules, on site number 0. Adds to *counts and appends a line per
 * failed example to report: "name:line: cookies[0]: _ga: expected …, got …". False (with the
 * reason) only when the file itself is malformed or names a set that is not there.
 */
MUST_USE bool rules_test_run(struct rules *rules, const char *name, struct str text,
                             struct rules_test_counts *counts, struct buf *report, struct fault *f);

#endif
