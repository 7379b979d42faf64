/*
 * jstext.h - the text of an inline script, made comparable. layer: policy
 *
 * Two things stand between a signature and a script: escapes that hide a URL in a string
 * (https:\/\/, \u002F, \x2f), and comments, which mention vendors without loading anything.
 *
 *   in    // was: fbevents.js          out    (one space)
 *         s.src = "https:\/\/x.com"           s.src = "https://x.com"
 *
 * A comment is blanked only where it certainly is one. A small lexer follows strings, templates
 * and regular expression literals; at the first place that can be read in two ways (a slash behind
 * `)` or `}`, a string that a line break ends, …) it stops blanking and takes the rest for code.
 * So it may leave a comment in, but never takes code out.
 */
#ifndef CONSENTD_JSTEXT_H
#define CONSENTD_JSTEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "consentd/attr.h"
#include "consentd/str.h"

#define JSTEXT_NESTING_MAX 32 /* templates within templates; deeper: no more blanking */

/* Whether text has a backslash at all: without one jstext_fold changes nothing. */
bool jstext_has_escapes(struct str text);

/* Undoes escapes; comments stay. out takes text.len bytes. Returns the bytes written. */
size_t jstext_fold(struct str text, char *out);

/* Undoes escapes and blanks comments. out takes text.len bytes. Returns the bytes written. */
size_t jstext_strip(struct str text, char *out);

/*
 * Whether a script (after jstext_strip) could make the browser fetch something or keep something:
 * creates elements, writes markup, imports, sends, evaluates, or calls something with a URL.
 */
bool jstext_can_load(struct str text);

/*
 * The strict form: nothing in the script has a use for an address. It cannot load, nor go there,
 * nor hand it to a function or a table that another script may load from.
 */
bool jstext_is_idle(struct str text);

/*
 * Whether `needle`, a part of an address, stands in text only as words do: each time behind a
 * space within a sentence ("We load https://x.com/a.js when …"). An address that something is
 * loaded from stands at the beginning of its string. False when it is not there at all.
 */
bool jstext_only_mentions(struct str text, struct str needle);

#endif
