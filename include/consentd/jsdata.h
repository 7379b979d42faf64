/*
 * jsdata.h - scripts that are nothing but data. layer: policy
 *
 *   self.__next_f.push([1, "…<script src=\"https://t.example/a.js\">…"])       data
 *   window.__STATE__ = {"tags": ["https://t.example/a.js"]};                   data
 *   go("https://t.example/a.js");    x.src = "https://t.example/a.js";         not
 *
 * Frameworks hand a page's state from the server to their code in this way, snippets of trackers
 * among it. Such a script fetches nothing, and without it the page does not start; what that code
 * makes of the state is the companion's. Certain only: literals, names, operators, assignments to
 * what is no address, push(), join() and JSON.parse(), functions that do the same and are called
 * where they stand. Anything else, and what could be read in two ways, is no data.
 */
#ifndef CONSENTD_JSDATA_H
#define CONSENTD_JSDATA_H

#include <stdbool.h>

#include "consentd/attr.h"
#include "consentd/str.h"

#define JSDATA_NESTING_MAX 256 /* brackets in brackets; deeper: no data */

/* The text as it stands in the page, escapes and comments included. Pure, linear. */
MUST_USE bool jsdata_is_all(struct str text);

#endif
