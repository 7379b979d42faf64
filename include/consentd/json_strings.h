/*
 * json_strings.h - the strings of a JSON text, one after the other, in place (layer: base).
 *
 *   {"imports": {"x": "https:\/\/a.b\/c.js"}}
 *    └ a key         └ start              └ end     value: https://a.b/c.js
 *
 * For texts that have to stay as they are but for single strings (import maps, speculation
 * rules): nothing is built, and what is no JSON at all gives whatever stands between quotes. RFC
 * 8259 section 7; a lone surrogate becomes U+FFFD. Pure.
 */
#ifndef CONSENTD_JSON_STRINGS_H
#define CONSENTD_JSON_STRINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/str.h"

struct json_string {
    size_t start, end; /* offsets in the text, both quotes included */
    struct str value;  /* decoded, UTF-8; valid until the next call with the same scratch */
    bool is_key;       /* a colon follows: the name of a member */
    bool too_long;     /* the value did not fit into scratch and is cut */
};

/*
 * The next string at or behind *pos (begin with 0), which moves behind it. Its value is put
 * into scratch, which the caller owns. False: there is none, or it does not end.
 */
MUST_USE bool json_strings_next(struct str text, size_t *pos, struct buf *scratch,
                                struct json_string *out);

#endif
