/*
 * filter_html.c - one HTML answer: decode, rewrite, encode.
 *
 *   origin -> decoder -> rewriter -> encoder -> client
 *                           | on_ref, on_inline: policy/decide
 *                           ` on_body_start: the banner
 *
 * What the rewriter emits during one push is gathered and handed on once: many small slices would
 * become as many chunks on the wire. A coded answer is flushed with each push, so that the
 * visitor sees the page as it comes.
 *
 * URLs are resolved against the page's own address and, where the page has <base>, against
 * each base that some reading of it sees: one denied answer is enough.
 */
#include "consentd/filter_html.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/buf.h"
#include "consentd/coding.h"
#include "consentd/cookie.h"
#include "consentd/filter.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/rules.h"
#include "consentd/snapshot.h"
#include "consentd/url.h"
#include "enforce_priv.h"

#define URL_ARENA_MAX (1u << 20)   /* memory to resolve one URL */
#define OUTPUT_MAX    (8u << 20)   /* output of one push: scripts held, then let go */
#define PAGE_OUT_MAX  (4ull << 30) /* bytes of one decoded page */
#define RATIO_MAX     200          /* decoded to coded */

struct html_engine {
    struct decider decider;
    struct url page;      /* the document's own address */
    struct rewriter *rw;  /* owned */
    struct arena scratch; /* emptied after each URL */
    struct html_engine_ops ops;
    void *owner;
};

static struct html_note note_of(const struct html_engine *engine, const struct verdict *verdict)
{
    const struct categories *categories =
        engine->decider.snapshot == NULL
            ? NULL
            : rules_categories(snapshot_rules(engine->decider.snapshot));

    return (struct html_note){
        .set = verdict->set == NULL ? NULL : verdict->set->id,
        .category = categories == NULL ? NULL : categories_name(categories, verdict->categories),
    };
}

static enum html_action apply(struct html_engine *engine, const struct verdict *verdict,
                              struct str thing, struct html_note *note_out)
{
    if (verdict->action != VERDICT_PASS && engine->ops.on_verdict != NULL)
        engine->ops.on_verdict(engine->owner, verdict, thing);
    if (verdict->action != VERDICT_STRIP)
        return HTML_KEEP;
    *note_out = note_of(engine, verdict);
    return HTML_DROP;
}

/* Against one base; a value that no browser would fetch passes unless that is in doubt. */
static struct verdict judge(struct html_engine *engine, struct str value, const struct url *base)
{
    struct url url;

    if (url_parse(value, base, &engine->scratch, &url))
        return decide_url(&engine->decider, &url);
    return (struct verdict){
        .action = url.flags & URL_SUSPECT ? VERDICT_STRIP : VERDICT_PASS,
        .rule = "unreadable URL",
    };
}

/* The stricter of two verdicts. */
static struct verdict worse(struct verdict a, struct verdict b)
{
    return b.action < a.action ? b : a;
}

static struct verdict judge_bases(struct html_engine *engine, const struct html_ref *ref)
{
    const struct str bases[] = {ref->base, ref->base_alt};
    struct verdict verdict = judge(engine, ref->value, &engine->page);

    /* An absolute URL is the same under every base: these then agree. */
    for (size_t i = 0; i < COUNT_OF(bases) && verdict.action != VERDICT_STRIP; i++) {
        struct url base;

        if (bases[i].len > 0 && url_parse(bases[i], &engine->page, &engine->scratch, &base))
            verdict = worse(verdict, judge(engine, ref->value, &base));
    }
    return verdict;
}

/* What fetches nothing until the visitor acts, or is no URL at all. */
static bool is_inert(const struct html_ref *ref)
{
    return ref->use == HTML_USE_BASE;
}

static enum html_action on_ref(void *owner, const struct html_ref *ref, struct html_note *note_out)
{
    struct html_engine *engine = owner;
    struct verdict verdict;

    if (is_inert(ref))
        return HTML_KEEP;
    if (ref->use == HTML_USE_COOKIE) {
        struct cookie_pair pair;

        if (!set_cookie_name(ref->value, &pair))
            return HTML_KEEP;
        if (pair.trust == COOKIE_DROP || consent_cookie_is(pair.name))
            return HTML_DROP;
        verdict = decide_cookie_pair(&engine->decider, &pair);
        return apply(engine, &verdict, pair.name, note_out);
    }
    if (ref->use == HTML_USE_AMP) {
        /* An analytics vendor by name; its script may come from the AMP cache. */
        verdict = (struct verdict){
            .action = engine->decider.grants & CATEGORY_ANALYTICS ? VERDICT_PASS : VERDICT_STRIP,
            .categories = CATEGORY_ANALYTICS,
            .rule = "amp-analytics",
        };
        return apply(engine, &verdict, ref->value, note_out);
    }
    verdict = judge_bases(engine, ref);
    arena_fini(&engine->scratch);
    arena_init(&engine->scratch, NULL, URL_ARENA_MAX);
    return apply(engine, &verdict, ref->value, note_out);
}

static enum html_action on_inline(void *owner, const struct html_inline *code,
                                  struct html_note *note_out)
{
    struct html_engine *engine = owner;
    struct verdict verdict = decide_inline(&engine->decider, code->text);

    return apply(engine, &verdict, STR(""), note_out);
}

static bool on_body_start(void *owner, struct buf *out)
{
    struct html_engine *engine = owner;

    return engine->ops.on_body_start != NULL && engine->ops.on_body_start(engine->owner, out);
}

static bool on_output(void *owner, const uint8_t *data, size_t len)
{
    struct html_engine *engine = owner;

    return engine->ops.on_output(engine->owner, data, len);
}

struct html_engine *html_engine_new(const struct html_engine_setup *setup,
                                    const struct html_engine_ops *ops, void *owner)
{
    static const struct html_ops rewriter_ops = {on_ref, on_inline, on_body_start, on_output};
    struct html_engine *engine = mem_new(struct html_engine);

    engine->decider = setup->decider;
    engine->page = setup->page;
    engine->ops = *ops;
    engine->owner = owner;
    arena_init(&engine->scratch, NULL, URL_ARENA_MAX);
    engine->rw = rewriter_new(&setup->limits, &rewriter_ops, engine);
    return engine;
}

bool html_engine_push(struct html_engine *engine, struct str in)
{
    return rewriter_push(engine->rw, (const uint8_t *)in.ptr, in.len);
}

bool html_engine_end(struct html_engine *engine)
{
    return rewriter_end(engine->rw);
}

const struct html_counts *html_engine_counts(const struct html_engine *engine)
{
    return rewriter_counts(engine->rw);
}

void html_engine_free(struct html_engine *engine)
{
    if (engine == NULL)
        return;
    rewriter_free(engine->rw);
    arena_fini(&engine->scratch);
    free(engine);
}

/* --- the filter of an answer --- */

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
