/*
 * filter_html.c - one HTML answer: decode, rewrite, encode.
 *
 *   origin -> decoder -> html_engine -> encoder -> client
 *
 * What the engine emits during one push is gathered and handed on once: many small slices would
 * become as many chunks on the wire. A coded answer is flushed with each push, so that the
 * visitor sees the page as it comes.
 */
#include <stdlib.h>

#include "consentd/arena.h"
#include "consentd/buf.h"
#include "consentd/coding.h"
#include "consentd/filter.h"
#include "consentd/html_engine.h"
#include "consentd/metrics.h"
#include "enforce_priv.h"

#define OUTPUT_MAX   (8u << 20)   /* output of one push: scripts held, then let go */
#define PAGE_OUT_MAX (4ull << 30) /* bytes of one decoded page */
#define RATIO_MAX    200          /* decoded to coded */

struct page_filter {
    struct filter filter;       /* first: the chain's pointer is ours */
    struct html_engine *engine; /* owned */
    struct decoder *decoder;    /* owned; NULL for identity */
    struct encoder *encoder;    /* owned; NULL for identity */
    struct buf out;             /* what this push makes */
};

static bool page_output(void *owner, const uint8_t *data, size_t len)
{
    struct page_filter *page = owner;

    return buf_append(&page->out, data, len);
}

static bool page_decoded(void *owner, const uint8_t *data, size_t len)
{
    struct page_filter *page = owner;

    return html_engine_push(page->engine, str_make(data, len));
}

static void page_verdict(void *owner, const struct verdict *verdict, struct str thing)
{
    UNUSED(owner);
    UNUSED(thing);
    if (verdict->action == VERDICT_REPORT)
        metric_add(METRIC_REPORTED, 1);
}

static bool page_banner(void *owner, struct buf *out)
{
    struct page_filter *page = owner;
    struct exchange *x = page->filter.x;

    if (!x->site->config->banner || x->site->policy == NULL ||
        headers_has_token(&x->resp.headers, HDR_CACHE_CONTROL, "no-transform"))
        return false;
    if (!banner_render(x, out))
        return false;
    metric_add(METRIC_BANNERS, 1);
    return true;
}

static bool page_rewrite(struct page_filter *page, struct str in, bool end)
{
    struct exchange *x = page->filter.x;

    if (page->decoder == NULL) {
        if (!html_engine_push(page->engine, in))
            return false;
    } else if (decoder_push(page->decoder, in, end, page_decoded, page) != CODING_OK) {
        metric_add(METRIC_BODIES_REFUSED, 1);
        exchange_note(x, "the page's content coding is corrupt or over its limit");
        return false;
    }
    return !end || html_engine_end(page->engine);
}

/* Hands on what this push made, encoded if the answer is. */
static bool coded_output(void *owner, const uint8_t *data, size_t len)
{
    struct page_filter *page = owner;

    return filter_next(&page->filter, data, len, false);
}

static bool page_pass_on(struct page_filter *page, bool end)
{
    struct str text = buf_str(&page->out);
    bool ok;

    if (page->encoder == NULL) {
        ok = (text.len == 0 && !end) ||
             filter_next(&page->filter, (const uint8_t *)text.ptr, text.len, end);
    } else if (text.len == 0 && !end) {
        return true;
    } else {
        ok = encoder_push(page->encoder, text, end ? ENCODER_END : ENCODER_FLUSH, coded_output,
                          page) == CODING_OK &&
             (!end || filter_next(&page->filter, NULL, 0, true));
    }
    buf_clear(&page->out);
    return ok;
}

static bool page_push(struct filter *f, const uint8_t *data, size_t len, bool end)
{
    struct page_filter *page = (struct page_filter *)f;

    if (!page_rewrite(page, str_make(data, len), end)) {
        exchange_note(f->x, "the page could not be rewritten");
        return false;
    }
    return page_pass_on(page, end);
}

static void page_close(struct filter *f)
{
    struct page_filter *page = (struct page_filter *)f;
    const struct html_counts *counts = html_engine_counts(page->engine);

    metric_add(METRIC_ELEMENTS_REMOVED,
               counts->removed + counts->attrs_removed + counts->urls_blanked);
    metric_add(METRIC_PAGES_REWRITTEN, 1);
    html_engine_free(page->engine);
    decoder_free(page->decoder);
    encoder_free(page->encoder);
    buf_free(&page->out);
}

/* The document's address as the browser knows it. */
static bool page_url(struct exchange *x, struct url *out)
{
    char *text = arena_printf(&x->arena, "%s://%.*s%.*s", x->secure ? "https" : "http",
                              STR_ARGS(x->req.authority), STR_ARGS(x->req.path));

    return text != NULL && url_parse(str_c(text), NULL, &x->arena, out);
}

bool page_filter_add(struct exchange *x, enum coding in, enum coding out)
{
    static const struct html_engine_ops ops = {page_output, page_banner, page_verdict};
    const struct config_limits *limits = &x->server->config->limits;
    struct page_filter *page = arena_calloc(&x->arena, 1, sizeof(*page));
    struct str type = headers_value(&x->resp.headers, HDR_CONTENT_TYPE);
    struct html_engine_setup setup = {
        .decider = enforcement_of(x)->decider,
        .limits = {.tag_max = limits->tag,
                   .inline_max = limits->inline_script,
                   .xml = str_starts_fold(type, STR("application/xhtml+xml"))},
    };

    if (page == NULL || !page_url(x, &setup.page))
        return false;
    page->filter.push = page_push;
    page->filter.close = page_close;
    page->decoder = in == CODING_IDENTITY ? NULL : decoder_new(in, PAGE_OUT_MAX, RATIO_MAX);
    page->encoder = out == CODING_IDENTITY ? NULL : encoder_new(out);
    page->engine = html_engine_new(&setup, &ops, page);
    buf_init(&page->out, OUTPUT_MAX);
    exchange_add_filter(x, &page->filter); /* from here on close() frees it all */
    return (in == CODING_IDENTITY || page->decoder != NULL) &&
           (out == CODING_IDENTITY || page->encoder != NULL);
}
