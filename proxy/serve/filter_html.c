/*
 * filter_html.c - one HTML answer: decode, rewrite, encode.
 *
 *   origin -> decoder -> [first bytes: a page? which encoding?] -> html_engine -> encoder -> client
 *                                            `-> UTF-16: to UTF-8 -^
 *
 * What the first bytes are decides before the response head goes out: an encoding in which "<"
 * may hide is refused with 502, and what came without a type and is no HTML passes untouched.
 *
 * What the engine emits during one push is gathered and handed on once: many small slices would
 * become as many chunks on the wire. A coded answer is flushed with each push, so that the
 * visitor sees the page as it comes.
 */
#include <stdlib.h>

#include "consentd/arena.h"
#include "consentd/buf.h"
#include "consentd/charset.h"
#include "consentd/coding.h"
#include "consentd/filter.h"
#include "consentd/html_engine.h"
#include "consentd/imports.h"
#include "consentd/metrics.h"
#include "consentd/utf16.h"
#include "enforce_priv.h"
#include "guard_priv.h"
#include "impressions.h"

#define OUTPUT_MAX   (8u << 20)   /* output of one push: scripts held, then let go */
#define PAGE_OUT_MAX (4ull << 30) /* bytes of one decoded page */
#define RATIO_MAX    200          /* decoded to coded */
#define FIRST_MAX    (1u << 20)   /* the first bytes, with what one push of the decoder adds */
#define WORKER_LOOK  4096         /* bytes of a worker's script that are searched for directives */

/*
 * The page is shown from the banner's end on: a body that is shown empty costs a frame, and all of
 * it seems to move when its content brings a scroll bar.
 */
#define EXPECT "<link rel=expect href=#cnsnt blocking=render>"

enum page_state {
    PAGE_FIRST = 0, /* too few bytes so far to know */
    PAGE_REWRITE,
    PAGE_UTF16, /* rewrite what the UTF-16 decoder makes */
    PAGE_PASS,  /* no page after all */
};

struct page_filter {
    struct filter filter; /* first: the chain's pointer is ours */
    enum page_state state;
    bool untyped;               /* no usable Content-Type: the bytes say whether it is HTML */
    struct str label;           /* the charset of Content-Type; empty without one */
    struct buf first;           /* PAGE_FIRST: what came */
    struct utf16_decoder utf16; /* PAGE_UTF16 */
    struct html_engine *engine; /* owned */
    struct decoder *decoder;    /* owned; NULL for identity */
    struct encoder *encoder;    /* owned; NULL for identity */
    struct buf out;             /* what this push makes */
    bool xml;                   /* an XML page: XHTML, SVG */
    bool kept;                  /* a worker fetches it: a part of a page gets nothing of ours */
    bool whole;                 /* a page that is shown by itself */
    bool guard;                 /* our scripts are not in yet: out is held until they are */
    bool worker;                /* no page: the script of a worker, which gets the companion */
    struct imports *imports;    /* owned; of a worker: the companion can't see what it imports */
};

static bool page_output(void *owner, const uint8_t *data, size_t len)
{
    struct page_filter *page = owner;

    return buf_append(&page->out, data, len);
}

/* --- what the first bytes say --- */

/*
 * What a browser sniffs as HTML when no type is given, and more (MIME Sniffing 7.1): any text that
 * begins with a tag. A rewritten page that nobody renders does no harm; the reverse would.
 */
static bool looks_like_html(struct str first)
{
    size_t i = str_starts(first, STR("\xef\xbb\xbf")) ? 3 : 0;

    while (i < first.len && ascii_is_space(first.ptr[i]))
        i++;
    return first.len - i >= 2 && first.ptr[i] == '<' &&
           (ascii_is_alpha(first.ptr[i + 1]) || first.ptr[i + 1] == '!' || first.ptr[i + 1] == '?');
}

/* A document and no part of one, nor data: what a worker fetches may be anything. */
static bool looks_like_document(struct str first)
{
    size_t i = str_starts(first, STR("\xef\xbb\xbf")) ? 3 : 0;

    for (; i < first.len; i++) {
        struct str rest = str_slice(first, i, first.len);
        ptrdiff_t end = str_starts(rest, STR("<!--")) ? str_find(rest, STR("-->")) : 0;

        if (str_starts_fold(rest, STR("<!doctype")) || str_starts_fold(rest, STR("<html")))
            return true;
        if (end < 0 || (end == 0 && !ascii_is_space(first.ptr[i])))
            return false;
        i += end > 0 ? (size_t)end + 2 : 0;
    }
    return false;
}

/* The page goes out in UTF-8 now, and says so over whatever its meta elements say. */
static bool utf16_begin(struct page_filter *page, bool big_endian)
{
    struct exchange *x = page->filter.x;
    struct str type = headers_value(&x->resp.headers, HDR_CONTENT_TYPE);
    struct str essence;
    char *now;

    if (!str_cut(&type, ';', &essence))
        essence = STR("text/html");
    now = arena_printf(&x->arena, "%.*s; charset=utf-8", STR_ARGS(essence));
    page->utf16 = (struct utf16_decoder){.big_endian = big_endian};
    page->state = PAGE_UTF16;
    return now != NULL && headers_set(&x->resp.headers, &x->arena, HDR_CONTENT_TYPE, str_c(now));
}

/* False: the page must not go out. The state stays PAGE_FIRST while more bytes are needed. */
static bool page_decide(struct page_filter *page, bool end)
{
    struct str first = buf_str(&page->first);
    bool all = end || first.len >= HTML_PRESCAN_LEN;
    enum html_charset charset;

    if (page->xml && page->label.len == 0)
        page->label = html_charset_xml_label(first);
    charset = html_charset_sniff(first, all, page->label, NULL);

    if (page->untyped && all && !looks_like_html(first)) {
        page->state = PAGE_PASS;
        return true;
    }
    if ((page->untyped || page->kept) && !all)
        return true;
    if (page->kept && !looks_like_document(first))
        page->guard = page->whole = false;
    switch (charset) {
    case HTML_CHARSET_BYTES:
        page->state = PAGE_REWRITE;
        return true;
    case HTML_CHARSET_UTF16LE:
    case HTML_CHARSET_UTF16BE:
        return utf16_begin(page, charset == HTML_CHARSET_UTF16BE);
    case HTML_CHARSET_MORE:
        return true;
    case HTML_CHARSET_REFUSE:
        break;
    }
    metric_add(METRIC_BODIES_REFUSED, 1);
    exchange_note(page->filter.x, "the page is in an encoding that cannot be filtered");
    return false;
}

/* --- the page's own bytes --- */

static bool utf16_push(struct page_filter *page, struct str in, bool end)
{
    uint8_t out[UTF16_OUT_MAX(FILTER_SLICE_MAX)];

    do {
        struct str piece = str_slice(in, 0, FILTER_SLICE_MAX);
        size_t len;

        in = str_slice(in, piece.len, in.len);
        len = utf16_decode(&page->utf16, piece, end && in.len == 0, out);
        if (!html_engine_push(page->engine, str_make(out, len)))
            return false;
    } while (in.len > 0);
    return true;
}

/* Plain bytes, in the order of the page; end with the last of them. */
static bool page_plain(struct page_filter *page, struct str in, bool end)
{
    if (page->state == PAGE_FIRST) {
        if (!buf_append_str(&page->first, in) || !page_decide(page, end))
            return false;
        if (page->state == PAGE_FIRST)
            return true;
        in = buf_str(&page->first);
    }
    if (page->worker)
        return imports_push(page->imports, in) && (!end || imports_end(page->imports));
    if (page->state == PAGE_PASS)
        return buf_append_str(&page->out, in);
    if (page->state == PAGE_UTF16 ? !utf16_push(page, in, end)
                                  : !html_engine_push(page->engine, in))
        return false;
    if (page->first.cap > 0) {
        buf_free(&page->first);
        buf_init(&page->first, FIRST_MAX);
    }
    return !end || html_engine_end(page->engine);
}

static bool page_decoded(void *owner, const uint8_t *data, size_t len)
{
    return page_plain(owner, str_make(data, len), false);
}

static void page_verdict(void *owner, const struct verdict *verdict, struct str thing)
{
    UNUSED(owner);
    UNUSED(thing);
    if (verdict->action == VERDICT_REPORT)
        metric_add(METRIC_REPORTED, 1);
}

static bool page_frame(void *owner, const struct ruleset *set, const struct html_ref *ref,
                       struct buf *out)
{
    struct page_filter *page = owner;

    return frame_render(page->filter.x, set, ref, out);
}

static bool page_banner(void *owner, struct buf *out)
{
    struct page_filter *page = owner;
    struct exchange *x = page->filter.x;

    if (!page->whole || !banner_is_wanted(x))
        return false;
    if (!banner_render(x, out))
        return false;
    metric_add(METRIC_BANNERS, 1);
    impressions_count(x, SHOWN_BANNER);
    return true;
}

static bool page_digest(void *owner)
{
    struct page_filter *page = owner;

    return enforcement_of(page->filter.x)->script_digests;
}

static bool page_policy(void *owner, struct str policy, struct buf *out)
{
    struct page_filter *page = owner;

    return csp_meta(page->filter.x, policy, out);
}

static bool page_rewrite(struct page_filter *page, struct str in, bool end)
{
    struct exchange *x = page->filter.x;

    enum coding_status status;

    if (page->decoder == NULL)
        return page_plain(page, in, end);
    status = decoder_push(page->decoder, in, end, page_decoded, page);
    if (status == CODING_OK)
        return !end || page_plain(page, STR(""), true);
    if (status != CODING_STOPPED) {
        metric_add(METRIC_BODIES_REFUSED, 1);
        exchange_note(x, "the page's content coding is corrupt or over its limit");
    }
    return false;
}

/* Hands on what this push made, encoded if the answer is. */
static bool coded_output(void *owner, const uint8_t *data, size_t len)
{
    struct page_filter *page = owner;

    return filter_next(&page->filter, data, len, false);
}

static void out_becomes(struct page_filter *page, struct buf *with)
{
    buf_free(&page->out);
    page->out = *with;
}

/* Before a worker's script, as soon as its directives can be read; false: no memory. */
static bool guard_put_before(struct page_filter *page, bool end)
{
    struct str text = buf_str(&page->out);
    struct buf with;
    bool ok;

    if (!end && text.len < WORKER_LOOK)
        return true;
    page->guard = false;
    buf_init(&with, OUTPUT_MAX);
    ok = guard_prefix(page->filter.x, text, &with) && buf_append_str(&with, text);
    out_becomes(page, &with);
    return ok;
}

/* Puts the companion and the signals in as soon as the place is known; false: no memory. */
static bool guard_put_in(struct page_filter *page, bool end)
{
    struct exchange *x = page->filter.x;
    struct str text = buf_str(&page->out);
    bool all = end || text.len >= GUARD_HOLD_MAX || page->state == PAGE_PASS;
    ptrdiff_t place = guard_place(text, all, page->xml);
    struct buf with;
    bool ok;

    if (place == GUARD_PLACE_MORE)
        return true;
    page->guard = false;
    if (place < 0 || page->state == PAGE_PASS)
        return true;
    buf_init(&with, OUTPUT_MAX);
    ok = buf_append_str(&with, str_slice(text, 0, (size_t)place)) &&
         (!guard_is_wanted(x) || guard_element(x, page->xml, &with)) &&
         (page->xml || !page->whole || !banner_is_wanted(x) || buf_append_c(&with, EXPECT)) &&
         (!signals_are_wanted(x) || signals_element(x, page->xml, &with)) &&
         buf_append_str(&with, str_slice(text, (size_t)place, text.len));
    out_becomes(page, &with);
    return ok;
}

static bool page_pass_on(struct page_filter *page, bool end)
{
    struct str text;
    bool ok;

    if (page->guard && !(page->worker ? guard_put_before(page, end) : guard_put_in(page, end)))
        return false;
    if (page->guard)
        return true;
    text = buf_str(&page->out);

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

    uint64_t removed = counts->removed + counts->attrs_removed + counts->urls_blanked;

    if (page->worker)
        removed += imports_removed(page->imports);
    metric_add(METRIC_ELEMENTS_REMOVED, removed);
    f->x->removed.elements += (uint32_t)removed;
    if (!page->worker)
        metric_add(METRIC_PAGES_REWRITTEN, 1);
    html_engine_free(page->engine);
    imports_free(page->imports);
    decoder_free(page->decoder);
    encoder_free(page->encoder);
    buf_free(&page->first);
    buf_free(&page->out);
}

bool page_url(struct exchange *x, struct url *out)
{
    char *text = arena_printf(&x->arena, "%s://%.*s%.*s", x->secure ? "https" : "http",
                              STR_ARGS(x->req.authority), STR_ARGS(x->req.path));

    return text != NULL && url_parse(str_c(text), NULL, &x->arena, out);
}

struct str charset_of_type(struct str type)
{
    struct str parameter;

    (void)str_cut(&type, ';', &parameter);
    while (str_cut(&type, ';', &parameter)) {
        parameter = str_trim(parameter);
        if (!str_starts_fold(parameter, STR("charset=")))
            continue;
        parameter = str_slice(parameter, 8, parameter.len);
        if (parameter.len >= 2 && parameter.ptr[0] == '"')
            parameter = str_slice(parameter, 1, parameter.len - 2);
        return parameter;
    }
    return STR("");
}

static struct page_filter *filter_add(struct exchange *x, struct str type, enum coding in,
                                      enum coding out)
{
    static const struct html_engine_ops ops = {page_output, page_banner, page_verdict,
                                               page_frame,  page_digest, page_policy};
    static const struct html_engine_ops plain_ops = {.on_output = page_output,
                                                     .on_verdict = page_verdict};
    const struct config_limits *limits = &x->server->config->limits;
    struct page_filter *page = arena_calloc(&x->arena, 1, sizeof(*page));
    struct html_engine_setup setup = {
        .decider = enforcement_of(x)->decider,
        .limits = {.tag_max = limits->tag,
                   .inline_max = limits->inline_script,
                   .xml = type.len > 0 && !str_starts_fold(type, STR("text/html"))},
    };
    bool is_xhtml = str_starts_fold(type, STR("application/xhtml+xml"));
    bool has_body = is_xhtml || !setup.limits.xml; /* a place for the banner and the companion */

    if (page == NULL || !page_url(x, &setup.page))
        return NULL;
    page->filter.push = page_push;
    page->filter.close = page_close;
    page->untyped = type.len == 0;
    page->kept = enforcement_of(x)->kept;
    page->whole = true;
    page->label = charset_of_type(type);
    page->xml = setup.limits.xml;
    page->guard = has_body && (guard_is_wanted(x) || signals_are_wanted(x));
    page->decoder = in == CODING_IDENTITY ? NULL : decoder_new(in, PAGE_OUT_MAX, RATIO_MAX);
    page->encoder = out == CODING_IDENTITY ? NULL : encoder_new(out);
    page->engine = html_engine_new(&setup, has_body ? &ops : &plain_ops, page);
    buf_init(&page->first, FIRST_MAX);
    buf_init(&page->out, OUTPUT_MAX);
    exchange_add_filter(x, &page->filter); /* from here on close() frees it all */
    return (in == CODING_IDENTITY || page->decoder != NULL) &&
                   (out == CODING_IDENTITY || page->encoder != NULL)
               ? page
               : NULL;
}

bool page_filter_add(struct exchange *x, struct str type, enum coding in, enum coding out)
{
    return filter_add(x, type, in, out) != NULL;
}

static enum html_action worker_ref(void *owner, const struct html_ref *ref,
                                   struct html_note *note_out)
{
    struct page_filter *page = owner;

    return html_engine_ref(page->engine, ref, note_out);
}

bool worker_filter_add(struct exchange *x, enum coding in, enum coding out)
{
    static const struct html_ops ops = {.on_ref = worker_ref, .on_output = page_output};
    const char *empty = arena_printf(&x->arena, "%sempty.js", x->site->config->prefix);
    struct page_filter *page =
        empty != NULL ? filter_add(x, STR("text/javascript"), in, out) : NULL;

    if (page == NULL)
        return false;
    page->state = PAGE_PASS;
    page->imports = imports_new(&ops, str_c(empty), page);
    page->guard = page->worker = true;
    return true;
}
