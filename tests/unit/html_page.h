/*
 * html_page.h - helper: one page through the rewriter, with words that mark trackers.
 */
#ifndef TESTS_UNIT_HTML_PAGE_H
#define TESTS_UNIT_HTML_PAGE_H

#include <string.h>

#include "consentd/rewriter.h"

struct page {
    struct str deny[8]; /* a URL or script that contains one of these is dropped */
    unsigned deny_cnt;
    struct str inject; /* text for on_body_start */
    struct html_limits limits;
    struct html_counts counts; /* of the last run */
    struct buf out;
};

static inline enum html_action page_verdict(const struct page *page, struct str text,
                                            struct html_note *note)
{
    for (unsigned i = 0; i < page->deny_cnt; i++) {
        if (str_find(text, page->deny[i]) >= 0) {
            *note = (struct html_note){.set = "t", .category = "c"};
            return HTML_DROP;
        }
    }
    return HTML_KEEP;
}

static inline enum html_action on_page_ref(void *owner, const struct html_ref *ref,
                                           struct html_note *note)
{
    return page_verdict(owner, ref->value, note);
}

static inline enum html_action on_page_inline(void *owner, const struct html_inline *code,
                                              struct html_note *note)
{
    return page_verdict(owner, code->text, note);
}

static inline bool on_page_body(void *owner, struct buf *out)
{
    const struct page *page = owner;

    return buf_append_str(out, page->inject);
}

static inline bool on_page_output(void *owner, const uint8_t *data, size_t len)
{
    struct page *page = owner;

    return buf_append(&page->out, data, len);
}

/* Runs the page in parts of at most step bytes; a first part of `first` bytes when not 0. */
static inline bool page_run(struct page *page, struct str in, size_t first, size_t step)
{
    const struct html_ops ops = {.on_ref = on_page_ref,
                                 .on_inline = on_page_inline,
                                 .on_body_start = page->inject.len > 0 ? on_page_body : NULL,
                                 .on_output = on_page_output};
    struct rewriter *rw = rewriter_new(&page->limits, &ops, page);
    bool ok = true;

    page->out.max = (size_t)64 << 20;
    buf_clear(&page->out);
    while (in.len > 0 && ok) {
        size_t len = first > 0 ? first : step;

        first = 0;
        len = len < in.len ? len : in.len;
        ok = rewriter_push(rw, (const uint8_t *)in.ptr, len);
        in = str_slice(in, len, in.len);
    }
    ok = ok && rewriter_end(rw);
    page->counts = *rewriter_counts(rw);
    rewriter_free(rw);
    return ok;
}

#endif
