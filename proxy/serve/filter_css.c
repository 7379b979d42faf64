/*
 * filter_css.c - one style sheet, script or file of speculation rules: trackers are taken out.
 *
 *   origin -> decoder -> sheet.h or imports.h -> [found something?] -- yes --> encoder --> client
 *      `------------- as it came -----------------------  no --------------> client
 *
 * Of a script only what it imports by a literal is looked for: the companion sees the rest.
 *
 * Most name no tracker. They leave as they came, coding and fields included, and any cache may keep
 * them; only their entity-tag names the rules by which they were read. So the answer is held until
 * the first tracker, its end, or HOLD_MAX: from there on it is treated as one that differs by
 * consent. Whether it does is the same for every visitor: what counts is a URL that is denied
 * without any consent. With everything granted the bytes are the origin's.
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
#include "consentd/sheet.h"
#include "consentd/utf16.h"
#include "enforce_priv.h"

#define HOLD_MAX      (256u << 10) /* bytes held, coded and plain each, until something is found */
#define OUTPUT_MAX    (8u << 20)   /* plain bytes of one push and of what was held */
#define SHEET_OUT_MAX (1ull << 30) /* bytes of one decoded sheet */
#define RATIO_MAX     200          /* decoded to coded */
#define CHARSET_LOOK  1024         /* bytes in which @charset stands (CSS Syntax 3.2) */
#define URL_ARENA_MAX (1u << 20)   /* memory to resolve one URL */

enum sheet_state {
    SHEET_LOOK = 0, /* held: nothing found so far */
    SHEET_RAW,      /* goes out as it comes */
    SHEET_CUT,      /* goes out filtered */
};

struct css_filter {
    struct filter filter; /* first: the chain's pointer is ours */
    enum sheet_state state;
    struct decider undecided; /* as for a visitor without any consent */
    struct url url;           /* the sheet's own address */
    struct arena scratch;     /* emptied after each URL */
    struct str label;         /* the charset of Content-Type; empty without one */
    enum coding coding_out;
    bool granted; /* nothing can be denied: only look */
    bool found;   /* something is denied without consent */
    bool utf16;
    struct utf16_decoder utf16_decoder;
    struct decoder *decoder; /* owned; NULL for identity */
    struct encoder *encoder; /* owned; NULL for identity, and until something is cut */
    struct sheet *sheet;     /* owned; NULL until the encoding is known, and for scripts */
    struct imports *imports; /* owned; NULL for sheets */
    bool script;
    bool rules;       /* speculation rules, which are read as a whole */
    bool begun;       /* the encoding is known */
    struct buf first; /* plain bytes until then; of rules all of them */
    struct buf raw;   /* SHEET_LOOK: what came */
    struct buf out;   /* what it becomes */
};

/* --- the verdict on one URL --- */

static struct verdict judge(struct css_filter *css, const struct decider *decider, struct str value)
{
    struct url url;

    if (url_parse(value, &css->url, &css->scratch, &url))
        return decide_url(decider, &url);
    return (struct verdict){
        .action = url.flags & URL_SUSPECT ? VERDICT_STRIP : VERDICT_PASS,
        .rule = "unreadable URL",
    };
}

static enum html_action on_ref(void *owner, const struct html_ref *ref, struct html_note *note_out)
{
    struct css_filter *css = owner;
    struct exchange *x = css->filter.x;
    struct verdict verdict = judge(css, &css->undecided, ref->value);

    UNUSED(note_out);
    css->found = css->found || verdict.action == VERDICT_STRIP;
    verdict = judge(css, &enforcement_of(x)->decider, ref->value);
    arena_fini(&css->scratch);
    arena_init(&css->scratch, NULL, URL_ARENA_MAX);
    if (verdict.action == VERDICT_REPORT)
        metric_add(METRIC_REPORTED, 1);
    return verdict.action == VERDICT_STRIP ? HTML_DROP : HTML_KEEP;
}

static bool on_output(void *owner, const uint8_t *data, size_t len)
{
    struct css_filter *css = owner;

    return buf_append(&css->out, data, len);
}

/* --- plain bytes --- */

/* The label of @charset, which must be written exactly so; empty without one. */
static struct str charset_rule(struct str first)
{
    struct str label = str_slice(first, 10, first.len);
    ptrdiff_t end = str_find_char(label, '"');

    if (!str_starts(first, STR("@charset \"")) || end < 0)
        return STR("");
    label = str_slice(label, 0, (size_t)end);
    return str_starts_fold(label, STR("utf-16")) ? STR("utf-8") : label;
}

static const struct html_ops ops = {.on_ref = on_ref, .on_output = on_output};

static void utf16_begin(struct css_filter *css, enum html_charset charset)
{
    css->utf16 = charset == HTML_CHARSET_UTF16LE || charset == HTML_CHARSET_UTF16BE;
    css->utf16_decoder.big_endian = charset == HTML_CHARSET_UTF16BE;
}

/* A script's ASCII letters stand for themselves in all encodings in use, but for UTF-16. */
static bool script_begin(struct css_filter *css)
{
    struct exchange *x = css->filter.x;
    const char *empty = arena_printf(&x->arena, "%sempty.js", x->site->config->prefix);
    struct str label = css->label.len > 0 ? css->label : STR("utf-8");

    if (empty == NULL)
        return false;
    utf16_begin(css, html_charset_sniff(str_slice(buf_str(&css->first), 0, 3), true, label, NULL));
    css->begun = true;
    css->imports = imports_new(&ops, str_c(empty), css);
    return true;
}

/* CSS Syntax 3.2: byte order mark, Content-Type, @charset. False: it cannot be read. */
static bool sheet_begin(struct css_filter *css)
{
    struct str first = buf_str(&css->first);
    struct str label = css->label.len > 0 ? css->label : charset_rule(first);
    enum html_charset charset;

    if (label.len == 0)
        label = STR("utf-8");
    charset = html_charset_sniff(str_slice(first, 0, 3), true, label, NULL);
    if (charset == HTML_CHARSET_REFUSE || charset == HTML_CHARSET_MORE) {
        metric_add(METRIC_BODIES_REFUSED, 1);
        exchange_note(css->filter.x, "the style sheet is in an encoding that cannot be filtered");
        return false;
    }
    utf16_begin(css, charset);
    if (css->utf16 || str_starts(first, STR("\xef\xbb\xbf")))
        label = STR("utf-8");
    css->begun = true;
    css->sheet = sheet_new(&ops, css_pairs_of(label), css);
    return true;
}

/* What stays of the rules for these grants; false: no room. */
static bool rules_judge(struct css_filter *css, const struct decider *decider, struct buf *out)
{
    static const struct html_engine_ops engine_ops = {.on_output = NULL};
    const struct html_engine_setup setup = {.decider = *decider, .page = css->url};
    struct html_engine *engine = html_engine_new(&setup, &engine_ops, css);
    bool ok = html_engine_rules(engine, buf_str(&css->first), out);

    html_engine_free(engine);
    return ok;
}

static bool rules_push(struct css_filter *css, struct str in, bool end)
{
    if (!buf_append_str(&css->first, in))
        return false;
    if (!end)
        return true;
    if (!rules_judge(css, &css->undecided, &css->out))
        return false;
    css->found = !str_eq(buf_str(&css->first), buf_str(&css->out));
    buf_clear(&css->out);
    return rules_judge(css, &enforcement_of(css->filter.x)->decider, &css->out);
}

static bool engine_push(struct css_filter *css, struct str in)
{
    return css->script ? imports_push(css->imports, in) : sheet_push(css->sheet, in);
}

static bool utf16_push(struct css_filter *css, struct str in, bool end)
{
    uint8_t out[UTF16_OUT_MAX(FILTER_SLICE_MAX)];

    do {
        struct str piece = str_slice(in, 0, FILTER_SLICE_MAX);
        size_t len;

        in = str_slice(in, piece.len, in.len);
        len = utf16_decode(&css->utf16_decoder, piece, end && in.len == 0, out);
        if (!engine_push(css, str_make(out, len)))
            return false;
    } while (in.len > 0);
    return true;
}

static bool plain_push(struct css_filter *css, struct str in, bool end)
{
    if (css->rules)
        return rules_push(css, in, end);
    if (!css->begun) {
        if (!buf_append_str(&css->first, in))
            return false;
        if (css->first.len < CHARSET_LOOK && !end)
            return true;
        if (!(css->script ? script_begin(css) : sheet_begin(css)))
            return false;
        in = buf_str(&css->first);
        if (str_starts(in, STR("\xef\xbb\xbf"))) { /* it is no part of the first token */
            if (!buf_append_str(&css->out, str_slice(in, 0, 3)))
                return false;
            in = str_slice(in, 3, in.len);
        }
    }
    if (!(css->utf16 ? utf16_push(css, in, end) : engine_push(css, in)))
        return false;
    buf_clear(&css->first);
    return !end || (css->script ? imports_end(css->imports) : sheet_end(css->sheet));
}

static bool on_decoded(void *owner, const uint8_t *data, size_t len)
{
    return plain_push(owner, str_make(data, len), false);
}

static bool scan(struct css_filter *css, struct str in, bool end)
{
    enum coding_status status;

    if (css->decoder == NULL)
        return plain_push(css, in, end);
    status = decoder_push(css->decoder, in, end, on_decoded, css);
    if (status == CODING_OK)
        return !end || plain_push(css, STR(""), true);
    if (status != CODING_STOPPED) {
        metric_add(METRIC_BODIES_REFUSED, 1);
        exchange_note(css->filter.x,
                      "the style sheet's or script's content coding is corrupt or over its limit");
    }
    return false;
}

/* --- what goes out --- */

static bool on_coded(void *owner, const uint8_t *data, size_t len)
{
    struct css_filter *css = owner;

    return filter_next(&css->filter, data, len, false);
}

static bool cut_pass_on(struct css_filter *css, bool end)
{
    struct str text = buf_str(&css->out);
    bool ok;

    if (css->encoder == NULL)
        ok = (text.len == 0 && !end) ||
             filter_next(&css->filter, (const uint8_t *)text.ptr, text.len, end);
    else
        ok = encoder_push(css->encoder, text, end ? ENCODER_END : ENCODER_BUFFER, on_coded, css) ==
                 CODING_OK &&
             (!end || filter_next(&css->filter, NULL, 0, true));
    buf_clear(&css->out);
    return ok;
}

/* From here on as it came; what was held first. */
static bool raw_begin(struct css_filter *css, bool end)
{
    struct str raw = buf_str(&css->raw);
    bool ok;

    css->state = SHEET_RAW;
    css->filter.x->length_changes = false;
    ok = filter_next(&css->filter, (const uint8_t *)raw.ptr, raw.len, end);
    buf_free(&css->raw);
    buf_free(&css->out);
    return ok;
}

/* The fields of a sheet that is another one than the origin's. */
static bool cut_begin(struct css_filter *css)
{
    struct exchange *x = css->filter.x;
    struct headers *h = &x->resp.headers;

    css->state = SHEET_CUT;
    buf_free(&css->raw);
    headers_remove(h, HDR_CONTENT_ENCODING);
    if (css->utf16 && !headers_set(h, &x->arena, HDR_CONTENT_TYPE,
                                   css->script ? STR("text/javascript; charset=utf-8")
                                               : STR("text/css; charset=utf-8")))
        return false;
    if (css->coding_out == CODING_IDENTITY)
        return true;
    css->encoder = encoder_new(css->coding_out);
    return css->encoder != NULL &&
           headers_add_id(h, &x->arena, HDR_CONTENT_ENCODING, str_c(coding_name(css->coding_out)));
}

static bool css_push(struct filter *f, const uint8_t *data, size_t len, bool end)
{
    struct css_filter *css = (struct css_filter *)f;
    bool differs;

    if (css->state == SHEET_RAW)
        return filter_next(f, data, len, end);
    if ((css->state == SHEET_LOOK && !buf_append(&css->raw, data, len)) ||
        !scan(css, str_make(data, len), end)) {
        exchange_note(f->x, "the style sheet or script could not be filtered");
        return false;
    }
    if (css->state == SHEET_CUT)
        return cut_pass_on(css, end);
    differs = css->found || (!end && (css->raw.len > HOLD_MAX || css->out.len > HOLD_MAX));
    if (!differs && !end)
        return true;
    if (!sheet_headers(f->x, differs))
        return false;
    if (!differs || css->granted)
        return raw_begin(css, end);
    return cut_begin(css) && cut_pass_on(css, end);
}

static void css_close(struct filter *f)
{
    struct css_filter *css = (struct css_filter *)f;
    uint64_t removed = css->sheet != NULL     ? sheet_removed(css->sheet)
                       : css->imports != NULL ? imports_removed(css->imports)
                                              : 0;

    metric_add(METRIC_SHEETS_READ, 1);
    metric_add(METRIC_ELEMENTS_REMOVED, removed);
    f->x->removed.elements += (uint32_t)removed;
    sheet_free(css->sheet);
    imports_free(css->imports);
    decoder_free(css->decoder);
    encoder_free(css->encoder);
    arena_fini(&css->scratch);
    buf_free(&css->first);
    buf_free(&css->raw);
    buf_free(&css->out);
}

static bool all_granted(const struct exchange *x)
{
    uint16_t all = x->site->policy != NULL ? x->site->policy->categories.defined : 0;

    return all != 0 && (x->grants & all) == all;
}

bool part_filter_add(struct exchange *x, enum coding in, enum coding out)
{
    struct css_filter *css = arena_calloc(&x->arena, 1, sizeof(*css));
    const struct enforcement *e = enforcement_of(x);

    if (css == NULL || !page_url(x, &css->url))
        return false;
    css->filter.push = css_push;
    css->filter.close = css_close;
    css->undecided = e->decider;
    css->undecided.grants = CATEGORY_ESSENTIAL;
    css->label = charset_of_type(headers_value(&x->resp.headers, HDR_CONTENT_TYPE));
    css->script = !kind_is_sheet(x) && kind_is_script(x);
    css->rules = !kind_is_sheet(x) && !css->script;
    css->granted = all_granted(x);
    css->coding_out = out;
    css->decoder = in == CODING_IDENTITY ? NULL : decoder_new(in, SHEET_OUT_MAX, RATIO_MAX);
    arena_init(&css->scratch, NULL, URL_ARENA_MAX);
    buf_init(&css->first, OUTPUT_MAX);
    buf_init(&css->raw, HOLD_MAX + FILTER_SLICE_MAX);
    buf_init(&css->out, OUTPUT_MAX);
    exchange_add_filter(x, &css->filter); /* from here on close() frees it all */
    return in == CODING_IDENTITY || css->decoder != NULL;
}
