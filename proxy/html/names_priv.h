/*
 * names_priv.h - the element names that the HTML engine knows; attr_names_priv.h for attributes.
 *
 * Everything else is ELEM_OTHER and passes untouched. Case does not matter.
 */
#ifndef CONSENTD_HTML_NAMES_PRIV_H
#define CONSENTD_HTML_NAMES_PRIV_H

#include <stdint.h>
#include <string.h>

#include "attr_names_priv.h"
#include "consentd/str.h"

/* What a row of the element table says; the flags of struct html_element_info. */
enum elem_flag {
    ELEM_F_JUDGE = 1 << 0,    /* has attributes that can fetch or run something */
    ELEM_F_RAW = 1 << 1,      /* its start tag changes how the text behind it is read */
    ELEM_F_ROOT = 1 << 2,     /* svg, math: opens foreign content */
    ELEM_F_TREE = 1 << 3,     /* the simulator counts it: select, template, frameset, ... */
    ELEM_F_BREAKOUT = 1 << 4, /* HTML 13.2.6.5: its start tag leaves foreign content */
    ELEM_F_VOID = 1 << 5,     /* has no end tag */
    ELEM_F_HEAD = 1 << 6,     /* may stand in the head without implying a body */
    ELEM_F_CLOSE_P = 1 << 7,  /* its start tag closes an open p */
    ELEM_F_SPECIAL = 1 << 8,  /* HTML 13.2.4.2 "special": stops the search of an end tag */
    ELEM_F_LINK = 1 << 9,     /* its href may be a javascript: URL */
    ELEM_F_POINT = 1 << 10,   /* the simulator looks at it inside foreign content */
    ELEM_F_VENDOR = 1 << 11,  /* AMP's: what it is stands in its name; goes with its data */
};

/* Start and end tags of HTML content that the engine looks at, whatever their attributes. */
#define ELEM_F_STARTS (ELEM_F_JUDGE | ELEM_F_RAW | ELEM_F_ROOT | ELEM_F_TREE)
#define ELEM_F_ENDS   ELEM_F_TREE

/* X(id, "name", flags): one row per element. The lookup table is generated from it. */
#define HTML_ELEMENTS(X)                                                                           \
    X(A, "a", LINK)                                                                                \
    X(ADDRESS, "address", CLOSE_P | ELEM_F_SPECIAL)                                                \
    X(AMP_AD, "amp-ad", JUDGE | ELEM_F_VENDOR)                                                     \
    X(AMP_ANALYTICS, "amp-analytics", JUDGE | ELEM_F_VENDOR)                                       \
    X(AMP_AUTO_ADS, "amp-auto-ads", JUDGE | ELEM_F_VENDOR)                                         \
    X(AMP_EMBED, "amp-embed", JUDGE | ELEM_F_VENDOR)                                               \
    X(AMP_PIXEL, "amp-pixel", JUDGE)                                                               \
    X(AMP_STICKY_AD, "amp-sticky-ad", JUDGE | ELEM_F_VENDOR)                                       \
    X(AMP_STORY_AUTO_ADS, "amp-story-auto-ads", JUDGE | ELEM_F_VENDOR)                             \
    X(AMP_STORY_AUTO_ANALYTICS, "amp-story-auto-analytics", JUDGE | ELEM_F_VENDOR)                 \
    X(ANIMATE, "animate", JUDGE)                                                                   \
    X(ANNOTATION_XML, "annotation-xml", POINT)                                                     \
    X(AREA, "area", LINK | ELEM_F_VOID | ELEM_F_SPECIAL)                                           \
    X(ARTICLE, "article", CLOSE_P | ELEM_F_SPECIAL)                                                \
    X(ASIDE, "aside", CLOSE_P | ELEM_F_SPECIAL)                                                    \
    X(AUDIO, "audio", JUDGE)                                                                       \
    X(B, "b", BREAKOUT)                                                                            \
    X(BASE, "base", JUDGE | ELEM_F_VOID | ELEM_F_HEAD | ELEM_F_SPECIAL)                            \
    X(BASEFONT, "basefont", VOID | ELEM_F_HEAD | ELEM_F_SPECIAL)                                   \
    X(BGSOUND, "bgsound", JUDGE | ELEM_F_VOID | ELEM_F_HEAD | ELEM_F_SPECIAL)                      \
    X(BIG, "big", BREAKOUT)                                                                        \
    X(BLOCKQUOTE, "blockquote", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                        \
    X(BODY, "body", TREE | ELEM_F_BREAKOUT | ELEM_F_SPECIAL)                                       \
    X(BR, "br", BREAKOUT | ELEM_F_VOID | ELEM_F_SPECIAL)                                           \
    X(BUTTON, "button", SPECIAL)                                                                   \
    X(CENTER, "center", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                \
    X(CODE, "code", BREAKOUT)                                                                      \
    X(COL, "col", TREE | ELEM_F_VOID | ELEM_F_SPECIAL)                                             \
    X(COLGROUP, "colgroup", SPECIAL)                                                               \
    X(DD, "dd", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                        \
    X(DESC, "desc", POINT)                                                                         \
    X(DIV, "div", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                      \
    X(DL, "dl", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                        \
    X(DT, "dt", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                        \
    X(EM, "em", BREAKOUT)                                                                          \
    X(EMBED, "embed", JUDGE | ELEM_F_BREAKOUT | ELEM_F_VOID | ELEM_F_SPECIAL)                      \
    X(FEIMAGE, "feimage", JUDGE)                                                                   \
    X(FENCEDFRAME, "fencedframe", JUDGE)                                                           \
    X(FONT, "font", POINT)                                                                         \
    X(FOOTER, "footer", CLOSE_P | ELEM_F_SPECIAL)                                                  \
    X(FOREIGNOBJECT, "foreignobject", POINT)                                                       \
    X(FORM, "form", JUDGE | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                       \
    X(FRAME, "frame", JUDGE | ELEM_F_VOID | ELEM_F_SPECIAL)                                        \
    X(FRAMESET, "frameset", TREE | ELEM_F_SPECIAL)                                                 \
    X(H1, "h1", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                        \
    X(H2, "h2", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                        \
    X(H3, "h3", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                        \
    X(H4, "h4", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                        \
    X(H5, "h5", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                        \
    X(H6, "h6", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                        \
    X(HEAD, "head", TREE | ELEM_F_BREAKOUT | ELEM_F_HEAD | ELEM_F_SPECIAL)                         \
    X(HEADER, "header", CLOSE_P | ELEM_F_SPECIAL)                                                  \
    X(HR, "hr", BREAKOUT | ELEM_F_VOID | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                          \
    X(HTML, "html", TREE | ELEM_F_HEAD | ELEM_F_SPECIAL)                                           \
    X(I, "i", BREAKOUT)                                                                            \
    X(IFRAME, "iframe", JUDGE | ELEM_F_RAW | ELEM_F_SPECIAL)                                       \
    X(IMAGE, "image", JUDGE)                                                                       \
    X(IMG, "img", JUDGE | ELEM_F_BREAKOUT | ELEM_F_VOID | ELEM_F_SPECIAL)                          \
    X(INPUT, "input", JUDGE | ELEM_F_TREE | ELEM_F_VOID | ELEM_F_SPECIAL)                          \
    X(KEYGEN, "keygen", TREE | ELEM_F_VOID | ELEM_F_SPECIAL)                                       \
    X(LI, "li", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                        \
    X(LINK, "link", JUDGE | ELEM_F_VOID | ELEM_F_HEAD | ELEM_F_SPECIAL)                            \
    X(LISTING, "listing", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                              \
    X(MAIN, "main", CLOSE_P | ELEM_F_SPECIAL)                                                      \
    X(MALIGNMARK, "malignmark", POINT)                                                             \
    X(MATH, "math", ROOT | ELEM_F_TREE)                                                            \
    X(MENU, "menu", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                    \
    X(META, "meta", BREAKOUT | ELEM_F_VOID | ELEM_F_HEAD | ELEM_F_SPECIAL)                         \
    X(MGLYPH, "mglyph", POINT)                                                                     \
    X(MI, "mi", POINT)                                                                             \
    X(MN, "mn", POINT)                                                                             \
    X(MO, "mo", POINT)                                                                             \
    X(MS, "ms", POINT)                                                                             \
    X(MTEXT, "mtext", POINT)                                                                       \
    X(NAV, "nav", CLOSE_P | ELEM_F_SPECIAL)                                                        \
    X(NOBR, "nobr", BREAKOUT)                                                                      \
    X(NOEMBED, "noembed", RAW | ELEM_F_SPECIAL)                                                    \
    X(NOFRAMES, "noframes", RAW | ELEM_F_HEAD | ELEM_F_SPECIAL)                                    \
    X(NOSCRIPT, "noscript", RAW | ELEM_F_HEAD | ELEM_F_SPECIAL)                                    \
    X(OBJECT, "object", JUDGE | ELEM_F_SPECIAL)                                                    \
    X(OL, "ol", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                        \
    X(OPTION, "option", POINT)                                                                     \
    X(P, "p", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                          \
    X(PARAM, "param", JUDGE | ELEM_F_VOID | ELEM_F_SPECIAL)                                        \
    X(PLAINTEXT, "plaintext", RAW | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                               \
    X(PORTAL, "portal", JUDGE)                                                                     \
    X(PRE, "pre", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                      \
    X(RUBY, "ruby", BREAKOUT)                                                                      \
    X(S, "s", BREAKOUT)                                                                            \
    X(SCRIPT, "script", JUDGE | ELEM_F_RAW | ELEM_F_HEAD | ELEM_F_SPECIAL)                         \
    X(SECTION, "section", CLOSE_P | ELEM_F_SPECIAL)                                                \
    X(SELECT, "select", TREE | ELEM_F_SPECIAL)                                                     \
    X(SET, "set", JUDGE)                                                                           \
    X(SMALL, "small", BREAKOUT)                                                                    \
    X(SOURCE, "source", JUDGE | ELEM_F_VOID | ELEM_F_SPECIAL)                                      \
    X(SPAN, "span", BREAKOUT)                                                                      \
    X(STRIKE, "strike", BREAKOUT)                                                                  \
    X(STRONG, "strong", BREAKOUT)                                                                  \
    X(STYLE, "style", JUDGE | ELEM_F_RAW | ELEM_F_HEAD | ELEM_F_SPECIAL)                           \
    X(SUB, "sub", BREAKOUT)                                                                        \
    X(SUP, "sup", BREAKOUT)                                                                        \
    X(SVG, "svg", ROOT | ELEM_F_TREE)                                                              \
    X(TABLE, "table", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                  \
    X(TBODY, "tbody", SPECIAL)                                                                     \
    X(TD, "td", SPECIAL)                                                                           \
    X(TEMPLATE, "template", TREE | ELEM_F_HEAD | ELEM_F_SPECIAL)                                   \
    X(TEXTAREA, "textarea", RAW | ELEM_F_SPECIAL)                                                  \
    X(TFOOT, "tfoot", SPECIAL)                                                                     \
    X(TH, "th", SPECIAL)                                                                           \
    X(THEAD, "thead", SPECIAL)                                                                     \
    X(TITLE, "title", RAW | ELEM_F_HEAD | ELEM_F_SPECIAL)                                          \
    X(TR, "tr", SPECIAL)                                                                           \
    X(TRACK, "track", JUDGE | ELEM_F_VOID | ELEM_F_SPECIAL)                                        \
    X(TT, "tt", BREAKOUT)                                                                          \
    X(U, "u", BREAKOUT)                                                                            \
    X(UL, "ul", BREAKOUT | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)                                        \
    X(USE, "use", JUDGE)                                                                           \
    X(VAR, "var", BREAKOUT)                                                                        \
    X(VIDEO, "video", JUDGE)                                                                       \
    X(WBR, "wbr", VOID | ELEM_F_SPECIAL)                                                           \
    X(XMP, "xmp", RAW | ELEM_F_CLOSE_P | ELEM_F_SPECIAL)

enum html_element {
    ELEM_OTHER = 0, /* every name that is not in the list */
#define X(id, name, flags) ELEM_##id,
    HTML_ELEMENTS(X)
#undef X
        ELEM_COUNT
};

/* One row of the element table. */
struct html_element_info {
    const char *name; /* lower case; "" for ELEM_OTHER */
    uint16_t flags;   /* enum elem_flag */
    uint8_t len;      /* bytes of name */
};

/* The tables of names_table.c and the multiplier they were made with. */
#define ELEMENT_MULTIPLIER 0x523d2a55u
#define ELEMENT_SHIFT      22
extern const struct html_element_info element_rows[ELEM_COUNT];
extern const uint8_t element_slots[1024];

/* Bit k of [c]: an element of ELEM_F_STARTS, of ELEM_F_ENDS begins with the letters c and k. */
extern const uint32_t element_starts[32], element_ends[32];

/* The running hash of a name, one byte at a time, case folded: start with 0. */
static inline uint32_t element_hash(uint32_t hash, uint8_t byte)
{
    return hash * 31 + (byte | 0x20u);
}

/* The element of this name; hash is element_hash over its bytes. */
static inline enum html_element element_lookup(struct str name, uint32_t hash)
{
    enum html_element id = element_slots[(uint32_t)(hash * ELEMENT_MULTIPLIER) >> ELEMENT_SHIFT];

    if (id == ELEM_OTHER || element_rows[id].len != name.len)
        return ELEM_OTHER;
    if (memcmp(name.ptr, element_rows[id].name, name.len) == 0 ||
        str_eq_fold_c(name, element_rows[id].name))
        return id;
    return ELEM_OTHER;
}

#endif
