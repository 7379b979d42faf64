/*
 * rewriter.h - streaming HTML filter: bytes in, bytes out, trackers gone (layer: html).
 *
 *   page ──▶ rewriter_push ──▶ [ tokenizer · tree simulator ] ──▶ on_output ──▶ browser
 *                                  │            ▲
 *                                  └─ on_ref / on_inline: HTML_KEEP or HTML_DROP
 *
 * The rewriter knows HTML and nothing of consent: whatever can make a browser fetch
 * or run something is shown to the owner, who answers keep or drop. What is kept
 * leaves byte for byte as it came; what is dropped leaves a comment or nothing.
 *
 * What the browser would see is what the rewriter must see, and a browser sees a page
 * more than one way: the tree builder with scripting on and off, its rules for select
 * and frameset of before and after 2025, and the preload scanner, which knows no tree.
 * Where these readings part, what any of them could find to be a tracker goes.
 *
 * Pure: no I/O, no clock, no globals. The output depends on the bytes, not on how they
 * were cut into pushes. Memory is bounded by the limits. Input must be in an encoding
 * in which ASCII bytes stand for themselves: ask charset.h first.
 */
#ifndef CONSENTD_REWRITER_H
#define CONSENTD_REWRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/str.h"

struct rewriter;

/* The owner's answer. Zero drops: a forgotten case can only remove. */
enum html_action {
    HTML_DROP = 0,
    HTML_KEEP = 1,
};

/* Names the reason in the comment left behind; NULL fields give a comment without it. */
struct html_note {
    const char *set;      /* rule set id, static or owned by the owner */
    const char *category; /* category id, likewise */

    /*
     * What stands in for what goes; taken only where the element is read in one way; valid until
     * the next call. For the src of an iframe: attributes, as markup. The element keeps its
     * place and size. For the text of an import map: another text, without "<".
     */
    struct str instead;
};

/* What a reference is for. A list grows at its end; zero is the strict answer's. */
enum html_use {
    HTML_USE_SCRIPT = 0, /* script src, svg script href, a script preload */
    HTML_USE_IMAGE,      /* img, srcset candidates, poster, background, svg image */
    HTML_USE_FRAME,      /* iframe, frame, fencedframe, portal */
    HTML_USE_OBJECT,     /* object data, embed src */
    HTML_USE_MEDIA,      /* video, audio, source, track */
    HTML_USE_STYLESHEET, /* link rel=stylesheet, @import */
    HTML_USE_PRELOAD,    /* link rel=preload, modulepreload, prefetch, prerender */
    HTML_USE_CONNECT,    /* link rel=preconnect, dns-prefetch: only the host matters */
    HTML_USE_ICON,       /* link rel=icon, manifest and the other link types that fetch */
    HTML_USE_CSS,        /* url() and strings in style elements and attributes */
    HTML_USE_PING,       /* a ping, attributionsrc */
    HTML_USE_FORM,       /* form action, formaction: fetched only when submitted */
    HTML_USE_REFRESH,    /* meta refresh */
    HTML_USE_BASE,       /* base href: fetches nothing itself */
    HTML_USE_COOKIE,     /* meta http-equiv=set-cookie: value is the cookie line, not a URL */
    HTML_USE_INTEGRITY,  /* integrity: what its element fetches; DROP: the proxy may change that */
    HTML_USE_AMP,        /* an AMP element of trackers; value: its vendor's name (type), or empty */
};

/* One URL found in the page. All slices are valid during the call only. */
struct html_ref {
    const char *element; /* "script", "link", …: the table's own lower-case name */
    const char *attr;    /* "src", "href", …; "" for style element text */
    struct str value;    /* the URL as written, character references decoded; not resolved */
    enum html_use use;   /* what it is fetched for */
    struct str base;     /* href of the first base element, decoded; empty: none so far */
    struct str base_alt; /* another base that some reading sees; empty: none. Try both. */
    struct str tag;      /* the start tag as written (tag.h reads it); empty: not at hand */
    bool scripting_off;  /* seen only when scripting is off (inside noscript) */
};

/* What kind of code an inline text is. */
enum html_script_type {
    HTML_SCRIPT_CLASSIC = 0, /* script element without type or with a JavaScript type */
    HTML_SCRIPT_MODULE,      /* type=module */
    HTML_SCRIPT_SVG,         /* script element in SVG; text is entity-decoded */
    HTML_SCRIPT_IMPORTMAP,   /* type=importmap: JSON whose URLs become scripts */
    HTML_SCRIPT_SPECULATION, /* type=speculationrules: JSON whose URLs are fetched */
    HTML_SCRIPT_HANDLER,     /* value of an on… attribute */
    HTML_SCRIPT_URL,         /* code of a javascript: URL, or the body of a data: script */
};

/* One piece of inline code. Data blocks (other types) are never shown: they run nothing. */
struct html_inline {
    struct str text; /* valid during the call only */
    enum html_script_type type;
    const char *element;       /* as in html_ref */
    const char *attr;          /* "" for element text */
    struct str base, base_alt; /* as in html_ref: what addresses in it are relative to */
};

/*
 * The owner's side. on_ref and on_inline must be functions of their argument while one
 * page is rewritten: a page whose readings part may show them the same thing twice.
 * *note_out is cleared before the call. None of them may call into the rewriter.
 */
struct html_ops {
    enum html_action (*on_ref)(void *owner, const struct html_ref *ref, struct html_note *note_out);
    enum html_action (*on_inline)(void *owner, const struct html_inline *code,
                                  struct html_note *note_out);

    /*
     * At most once per page, may be NULL: appends what is to stand right behind the first
     * body start tag (or where the body begins without one, or at the end). False or
     * nothing appended: no injection. Never called for a frameset page, nor where all
     * that follows is inside a script, a title or another text that hides markup.
     */
    bool (*on_body_start)(void *owner, struct buf *out);

    /* Output, in order, borrowed during the call. False stops the rewriter for good. */
    bool (*on_output)(void *owner, const uint8_t *data, size_t len);

    /*
     * The page's own policy, the content of <meta http-equiv=content-security-policy>: appends
     * what takes its place. False, or NULL: it stays as it is.
     */
    bool (*on_policy)(void *owner, struct str policy, struct buf *out);
};

/* Zero in a field takes the default named beside it. */
struct html_limits {
    size_t tag_max;      /* bytes of one tag held back; 64 KiB */
    size_t inline_max;   /* bytes of one inline script or style held back; 2 MiB */
    unsigned depth_max;  /* foreign content nesting followed, at most 250; 128 */
    unsigned attrs_max;  /* attributes of one tag that is judged; 512 */
    unsigned srcdoc_max; /* srcdoc (and data: document) inside srcdoc …; 3 */
    bool xml;            /* the page is XML (XHTML, SVG): that is the only reading */
};

/* What happened so far; grows only. */
struct html_counts {
    uint64_t refs;          /* calls of on_ref */
    uint64_t inlines;       /* calls of on_inline */
    uint64_t removed;       /* elements removed whole */
    uint64_t attrs_removed; /* attributes removed, element kept */
    uint64_t urls_blanked;  /* url() and srcdoc pieces blanked in place */
    uint64_t over_tag;      /* tags dropped because longer than tag_max */
    uint64_t over_inline;   /* scripts and styles dropped because longer than inline_max */
    uint64_t over_depth;    /* tags dropped because nested deeper than depth_max */
    uint64_t over_attrs;    /* tags dropped because of attrs_max */
    uint64_t over_srcdoc;   /* srcdoc attributes dropped because of srcdoc_max */
    uint64_t partings;      /* times the readings parted: rare on honest pages */
    bool injected;          /* the text of on_body_start is in the page */
};

/* Copies *limits (NULL: all defaults) and *ops. Never returns NULL. */
struct rewriter *rewriter_new(const struct html_limits *limits, const struct html_ops *ops,
                              void *owner);

/*
 * The next bytes of the page. Output may come at once; at most one unfinished tag, script
 * or style is held. False: on_output said stop, or memory ran out; the page must be cut
 * off then (never passed on unfiltered), and only rewriter_free may follow.
 */
MUST_USE bool rewriter_push(struct rewriter *rw, const uint8_t *data, size_t len);

/* The page is over: flushes what is held. Call once, nothing but free after it. */
MUST_USE bool rewriter_end(struct rewriter *rw);

/* Frees it, at any time but inside a callback. NULL is fine. */
void rewriter_free(struct rewriter *rw);

/* Borrowed, valid until rewriter_free. */
const struct html_counts *rewriter_counts(const struct rewriter *rw);

/* Bytes held back at the moment: for tests of the bounds. */
size_t rewriter_held(const struct rewriter *rw);

#endif
