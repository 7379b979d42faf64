/*
 * html_engine.h - the rewriter with rules: the engine that pages go through. layer: serve
 *
 * html/rewriter.c knows HTML and policy/decide.c knows rules; this joins the two: every URL and
 * every piece of code that the rewriter finds is resolved and judged. The proxy uses it for
 * answers, `consentctl filter` for files, tests and benchmarks for both.
 *
 * No I/O: the output goes to a callback. One engine is one page.
 */
#ifndef CONSENTD_HTML_ENGINE_H
#define CONSENTD_HTML_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/decide.h"
#include "consentd/rewriter.h"
#include "consentd/str.h"
#include "consentd/url.h"

struct buf;
struct html_engine;

/* What a page is judged by. Copied; what it points to must outlive the engine. */
struct html_engine_setup {
    struct decider decider;    /* rules and grants */
    struct url page;           /* the document's address: relative URLs are read against it */
    struct html_limits limits; /* zero fields: the rewriter's defaults */
};

struct html_engine_ops {
    /* Output, in order; the bytes are borrowed. False stops for good. */
    bool (*on_output)(void *owner, const uint8_t *data, size_t len);

    /* Text to inject where the body begins; NULL, or false: nothing. */
    bool (*on_body_start)(void *owner, struct buf *out);

    /*
     * Something was removed (STRIP), or would have been (REPORT). thing is the URL or the cookie
     * name, empty for code; not for logs. NULL: nobody wants to know. A page that browsers
     * may read in two ways can show the same thing twice.
     */
    void (*on_verdict)(void *owner, const struct verdict *verdict, struct str thing);

    /*
     * A frame goes whose address some set denied: appends the attributes that stand in its src's
     * place (html_note.instead). NULL, or false: the frame goes.
     */
    bool (*on_frame)(void *owner, const struct ruleset *set, const struct html_ref *ref,
                     struct buf *out);

    /*
     * Whether the digests of the site's own scripts stay. They go otherwise while something is
     * denied, as the proxy may change these files. NULL: they go.
     */
    bool (*on_digest)(void *owner);

    /* As html_ops.on_policy; may be NULL. */
    bool (*on_policy)(void *owner, struct str policy, struct buf *out);
};

/* Never NULL. owner is handed to the callbacks. */
struct html_engine *html_engine_new(const struct html_engine_setup *setup,
                                    const struct html_engine_ops *ops, void *owner);

/* The next bytes, and the end. False: as rewriter_push(): the page must be cut off. */
MUST_USE bool html_engine_push(struct html_engine *engine, struct str in);
MUST_USE bool html_engine_end(struct html_engine *engine);

/*
 * A whole file of speculation rules, judged as those in the page at setup.page are: what stays of
 * it is appended to out. The engine is for nothing else. False: out is full.
 */
MUST_USE bool html_engine_rules(struct html_engine *engine, struct str text, struct buf *out);

/* The verdict on an address that stands in no page, as html_ops.on_ref; setup.page is its base. */
MUST_USE enum html_action html_engine_ref(struct html_engine *engine, const struct html_ref *ref,
                                          struct html_note *note_out);

/* What happened so far; borrowed, valid until the engine is freed. */
const struct html_counts *html_engine_counts(const struct html_engine *engine);

/* NULL is fine. */
void html_engine_free(struct html_engine *engine);

#endif
