/*
 * attr_names_priv.h - the attribute names that the HTML engine knows. Case does not matter.
 */
#ifndef CONSENTD_HTML_ATTR_NAMES_PRIV_H
#define CONSENTD_HTML_ATTR_NAMES_PRIV_H

#include <stdint.h>

#include "consentd/str.h"

/* X(id, "name"): attributes that can fetch, run, or decide how others are read. */
#define HTML_ATTRS(X)                                                                              \
    X(ACTION, "action")                                                                            \
    X(ATTRIBUTENAME, "attributename")                                                              \
    X(ATTRIBUTIONSRC, "attributionsrc")                                                            \
    X(BACKGROUND, "background")                                                                    \
    X(BY, "by")                                                                                    \
    X(CHARSET, "charset")                                                                          \
    X(CLIP_PATH, "clip-path")                                                                      \
    X(COLOR, "color")                                                                              \
    X(CONFIG, "config")                                                                            \
    X(CONTENT, "content")                                                                          \
    X(CURSOR, "cursor")                                                                            \
    X(DATA, "data")                                                                                \
    X(ENCODING, "encoding")                                                                        \
    X(FACE, "face")                                                                                \
    X(FILL, "fill")                                                                                \
    X(FILTER, "filter")                                                                            \
    X(FORMACTION, "formaction")                                                                    \
    X(FROM, "from")                                                                                \
    X(HREF, "href")                                                                                \
    X(HTTP_EQUIV, "http-equiv")                                                                    \
    X(IMAGESRCSET, "imagesrcset")                                                                  \
    X(INTEGRITY, "integrity")                                                                      \
    X(LANGUAGE, "language")                                                                        \
    X(MARKER_END, "marker-end")                                                                    \
    X(MARKER_MID, "marker-mid")                                                                    \
    X(MARKER_START, "marker-start")                                                                \
    X(MASK, "mask")                                                                                \
    X(NAME, "name")                                                                                \
    X(PING, "ping")                                                                                \
    X(POSTER, "poster")                                                                            \
    X(REL, "rel")                                                                                  \
    X(SIZE, "size")                                                                                \
    X(SRC, "src")                                                                                  \
    X(SRCDOC, "srcdoc")                                                                            \
    X(SRCSET, "srcset")                                                                            \
    X(STROKE, "stroke")                                                                            \
    X(STYLE, "style")                                                                              \
    X(TO, "to")                                                                                    \
    X(TYPE, "type")                                                                                \
    X(VALUE, "value")                                                                              \
    X(VALUES, "values")                                                                            \
    X(XLINK_HREF, "xlink:href")

/* ATTR_HANDLER stands for every name that starts with "on" and goes on. */
enum html_attr {
    ATTR_OTHER = 0,
#define X(id, name) ATTR_##id,
    HTML_ATTRS(X)
#undef X
        ATTR_HANDLER,
    ATTR_COUNT
};

/* The tables of names_table.c and the multipliers they were made with. */
#define ATTR_BY_LEN   0x48u
#define ATTR_BY_FIRST 0x08u
#define ATTR_BY_INNER 0x34u
#define ATTR_BY_LAST  0x35u
extern const char *const attr_rows[ATTR_COUNT];
extern const uint8_t attr_slots[128];

/* The attribute of this name, ATTR_OTHER if it is none of these. */
enum html_attr attr_lookup(struct str name);

#endif
