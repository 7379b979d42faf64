/*
 * charset.h - which encoding a page is in, as far as the filter must know (layer: html).
 *
 * The order of the standard (HTML 13.2.3.2): byte order mark, the label of the
 * Content-Type field, a meta element in the first 1024 bytes. The question is only
 * whether "<" is the byte 0x3C everywhere: in UTF-8, windows-125x, ISO-8859-x, Shift_JIS,
 * EUC, GBK, GB18030 and Big5 it is, in UTF-16 and ISO-2022-JP it is not.
 */
#ifndef CONSENTD_CHARSET_H
#define CONSENTD_CHARSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/str.h"

/* Bytes a meta element is looked for in (HTML 13.2.3.2, as all browsers do). */
#define HTML_PRESCAN_LEN 1024

/* What to do with the page. Zero is the strict answer. */
enum html_charset {
    HTML_CHARSET_REFUSE = 0, /* ISO-2022-JP or a label of the "replacement" kind: not filtered */
    HTML_CHARSET_MORE,       /* not decided yet: show at least HTML_PRESCAN_LEN bytes or the end */
    HTML_CHARSET_BYTES,      /* ASCII bytes stand for themselves: rewrite as it is */
    HTML_CHARSET_UTF16LE,    /* must be transcoded to UTF-8 before the rewriter, or refused */
    HTML_CHARSET_UTF16BE,    /* likewise */
};

/*
 * first: the beginning of the page, at least HTML_PRESCAN_LEN bytes of it unless is_all.
 * http_label: the charset parameter of Content-Type, empty without one. *label_out (may be
 * NULL): the label that decided, for a header that says it; empty when nothing did, and
 * the browser's default (windows-1252, or a guess) applies. It points into the arguments.
 */
MUST_USE enum html_charset html_charset_sniff(struct str first, bool is_all, struct str http_label,
                                              struct str *label_out);

/*
 * The encoding that an XML declaration at the page's beginning names, empty without one. A byte
 * order mark and a label of Content-Type come before it (RFC 7303 3.2, 3.3). Points into first.
 */
struct str html_charset_xml_label(struct str first);

#endif
