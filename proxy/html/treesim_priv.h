/*
 * treesim_priv.h - the part of the tree builder that the tokenizer depends on.
 *
 * Instead of a tree: the stack of open elements from the outermost svg or math on
 * (empty: HTML content), and a few counters. It leaves foreign content only where the
 * standard does so for certain; when an end tag of an element opened before the svg may
 * or may not close it, it stays, and the tree-blind reading that the rewriter keeps
 * beside it (struct hidden in rewriter_priv.h) covers the other case.
 */
#ifndef CONSENTD_HTML_TREESIM_PRIV_H
#define CONSENTD_HTML_TREESIM_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/str.h"
#include "consentd/tokenizer.h"
#include "names_priv.h"

#define SIM_DEPTH_MAX 250
#define SIM_NO_LEVEL  UINT32_MAX /* select_level: nothing ends it */

enum sim_space { SIM_HTML = 0, SIM_SVG, SIM_MATH };

struct sim_node {
    uint32_t hash;   /* element_hash of the name */
    uint8_t space;   /* enum sim_space */
    uint8_t elem;    /* enum html_element */
    bool html_point; /* HTML integration point, 13.2.6 */
    bool math_point; /* MathML text integration point */
};

struct treesim {
    struct sim_node stack[SIM_DEPTH_MAX];
    unsigned depth;
    unsigned depth_max;
    unsigned templates;    /* open template elements in HTML content */
    bool fresh;            /* the innermost template has not said yet what it holds */
    unsigned columns;      /* `templates` where one holds columns and ignores the rest; 0: none */
    bool xml;              /* an XML page: no raw text, CDATA everywhere */
    bool in_select;        /* in one by the old rules; in doubt it stays set */
    unsigned select_level; /* `templates` where it began */
    bool in_frameset;
    bool head_begun;    /* something that implies a head was seen */
    bool body_begun;    /* something that implies a body was seen */
    bool after_body;    /* behind </body> or </html>: the next start tag goes back into the body */
    bool frameset_void; /* 13.2.4.5 frameset-ok is "not ok": a frameset tag is ignored */
    bool aside;         /* in: inside noscript, where the usual reading sees but text */
};

/* The tag at hand, as far as the simulator needs it. */
struct sim_tag {
    uint32_t hash;
    uint8_t elem;
    bool self_closing;
    bool font_breaks;  /* font with color, face or size */
    bool html_content; /* annotation-xml with an HTML encoding */
};

/* What the tokenizer shall do behind a start tag. */
enum sim_result {
    SIM_DROP = 0, /* too deep: the tag must not reach the page */
    SIM_DATA,     /* tree rules say data */
    SIM_RAW,      /* tree rules say the text that belongs to the element's name */
};

enum sim_result treesim_start(struct treesim *sim, const struct sim_tag *tag);
/* This start tag leaves foreign content: 13.2.6.5. */
bool treesim_breaks_out(const struct treesim *sim, const struct sim_tag *tag);

/* Behind this start tag a frameset tag is ignored. */
bool treesim_voids_frameset(const struct sim_tag *tag);

void treesim_end(struct treesim *sim, const struct sim_tag *tag);

/* The namespace a start tag would be put in. */
enum sim_space treesim_space(const struct treesim *sim, const struct sim_tag *tag);

/* <![CDATA[ opens a section here: the current node is not HTML. */
bool treesim_allows_cdata(const struct treesim *sim);

/* The text that an element of this name switches to in HTML content. */
enum tok_text treesim_text_of(enum html_element elem);

#endif
