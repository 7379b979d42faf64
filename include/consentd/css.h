/*
 * css.h - the URLs in a style sheet or a style attribute (layer: html).
 *
 *   @import "a.css"; p { background: u\72l( 'b.png' ) url(c.png) }
 *           └─────┘                         └─────┘       └───┘
 *
 * Tokenizes as CSS Syntax 3 does, as far as URLs need it: comments, strings, escapes in
 * identifiers, url() with and without quotes, strings behind @import and inside src(),
 * image(), image-set() and -webkit-image-set(). Text in other strings is no URL.
 *
 * The text may come in pieces: with `more` set, what is unfinished at its end stays. Long
 * comments, names and strings that are no URLs never stay; an unfinished URL does.
 */
#ifndef CONSENTD_CSS_H
#define CONSENTD_CSS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/str.h"

/* Bytes of an unfinished name that stay; a longer one is none of those that matter. */
#define CSS_NAME_STAYS 256

/* In which encodings two bytes are one character whose second may look like "\". */
enum css_pairs {
    CSS_PAIRS_NONE = 0, /* ASCII bytes stand for themselves: UTF-8, windows-125x, EUC … */
    CSS_PAIRS_SJIS,     /* Shift_JIS */
    CSS_PAIRS_GB,       /* GBK, GB18030, Big5 */
};

/* A walk over one text; zero it, set text, then call css_next until it says false. */
struct css_scan {
    struct str text;      /* borrowed */
    size_t pos;           /* next byte */
    unsigned depth;       /* open parentheses inside a function whose strings are URLs, 0: none */
    bool import;          /* an @import is waiting for its URL */
    bool open;            /* behind "url(" */
    bool more;            /* more text follows this one: false for the last, or only, piece */
    enum css_pairs pairs; /* how to read bytes from 0x80 on */
    uint8_t inside;       /* css.c's: in which long token the last piece ended; 0: none */
};

/* One URL; offsets into the text. Replacing [start, end) by css_nothing() removes the fetch. */
struct css_url {
    size_t start; /* first byte, or the quote before it */
    size_t end;   /* behind the last one, or behind the quote */
    bool import;  /* the URL of an @import */
    bool open;    /* inside url( ) */
    bool quoted;  /* a string */
};

/*
 * The next URL; its text, escapes resolved as UTF-8, replaces the contents of *url_out. False at
 * the end, or when url_out is full: then *full_out is set, url_out holds the URL's beginning,
 * and css_pass() can lead behind it; without that, treat the text as a tracker.
 *
 * With `more` false means: give the bytes from pos on again, with what follows them, and pos 0.
 */
MUST_USE bool css_next(struct css_scan *scan, struct css_url *out, struct buf *url_out,
                       bool *full_out);

/*
 * After css_next was full: passes over the URL, as far as the text goes. Its end is found by
 * css_finish(), in this text or in those that follow.
 */
void css_pass(struct css_scan *scan, const struct css_url *url);

/* Goes on inside a long token: true when it is over (pos is behind it) or there is none. */
bool css_finish(struct css_scan *scan);

/* What takes the place of a URL: valid wherever one is, and nothing is fetched for it. */
const char *css_nothing(const struct css_url *url);

/* How a text of this encoding is read; label: any of the Encoding standard's, or empty. */
enum css_pairs css_pairs_of(struct str label);

#endif
