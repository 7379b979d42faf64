/*
 * css.h - the URLs in a style sheet or a style attribute (layer: html).
 *
 *   @import "a.css"; p { background: u\72l( 'b.png' ) }
 *           └─────┘                  └────────────────┘
 *
 * Tokenizes as CSS Syntax 3 does, as far as URLs need it: comments, strings, escapes in
 * identifiers, url() with and without quotes, strings behind @import and inside src(),
 * image(), image-set() and -webkit-image-set(). Text in other strings is no URL.
 */
#ifndef CONSENTD_CSS_H
#define CONSENTD_CSS_H

#include <stdbool.h>
#include <stddef.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/str.h"

/* A walk over one text; zero it, set text, then call css_next until it says false. */
struct css_scan {
    struct str text; /* borrowed */
    size_t pos;      /* next byte */
    unsigned depth;  /* open parentheses inside a function whose strings are URLs, 0: none */
    bool import;     /* an @import is waiting for its URL */
};

/* One URL; offsets into the text. Replacing [start, end) by "none" removes the fetch. */
struct css_url {
    size_t start; /* first byte of url( or of the string's quote */
    size_t end;   /* behind the closing parenthesis or quote */
    bool import;  /* the URL of an @import */
};

/*
 * The next URL; its text, escapes resolved, replaces the contents of *url_out. False at
 * the end, or when url_out is full (then *full_out is set: treat the text as a tracker).
 */
MUST_USE bool css_next(struct css_scan *scan, struct css_url *out, struct buf *url_out,
                       bool *full_out);

#endif
