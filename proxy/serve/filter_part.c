/*
 * filter_part.c - trackers are taken out of what a page loads: a style sheet, a script, a file of
 * speculation rules.
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
#define DECODED_MAX   (1ull << 30) /* bytes of one decoded sheet */
#define RATIO_MAX     200          /* decoded to coded */
#define CHARSET_LOOK  1024         /* bytes in which @charset stands (CSS Syntax 3.2) */
#define URL_ARENA_MAX (1u << 20)   /* memory to resolve one URL */

enum part_state {
    PART_LOOK = 0, /* held: nothing found so far */
    PART_RAW,      /* goes out as it comes */
    PART_CUT,      /* goes out filtered */
};

struct part_filter {
    struct filter filter; /* first: the chain's pointer is ours */
    enum part_state state;
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
    struct buf raw;   /* PART_LOOK: what came */
    struct buf out;   /* what it becomes */
};

/* --- the verdict on one URL --- */

static struct verdict judge(struct part_filter *part, const struct decider *decider,
                            struct str value)
{
    struct url url;

    if (url_parse(value, &part->url, &part->scratch, &url))
        return decide_url(decider, &url);
    return (struct verdict){
        .action = url.flags & URL_SUSPECT ? VERDICT_STRIP : VERDICT_PASS,
        .rule = "unreadable URL",
    };
}

static enum html_action on_ref(void *owner, const struct html_ref *ref, struct html_note *note_out)
{
    struct part_filter *part = owner;
    struct exchange *x = part->filter.x;
    struct verdict verdict = judge(part, &part->undecided, ref->value);

    UNUSED(note_out);
    part->found = part->found || verdict.action == VERDICT_STRIP;
    verdict = judge(part, &enforcement_of(x)->decider, ref->value);
    arena_fini(&part->scratch);
    arena_init(&part->scratch, NULL, URL_ARENA_MAX);
    if (verdict.action == VERDICT_REPORT)
        metric_add(METRIC_REPORTED, 1);
    return verdict.action == VERDICT_STRIP ? HTML_DROP : HTML_KEEP;
}

static bool on_output(void *owner, const uint8_t *data, size_t len)
{
    struct part_filter *part = owner;

    return buf_append(&part->out, data, len);
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

static void utf16_begin(struct part_filter *part, enum html_charset charset)
{
    part->utf16 = charset == HTML_CHARSET_UTF16LE || charset == HTML_CHARSET_UTF16BE;
    part->utf16_decoder.big_endian = charset == HTML_CHARSET_UTF16BE;
}

/* A script's ASCII letters stand for themselves in all encodings in use, but for UTF-16. */
static bool script_begin(struct part_filter *part)
{
    struct exchange *x = part->filter.x;
    const char *empty = arena_printf(&x->arena, "%sempty.js", x->site->config->prefix);
    struct str label = part->label.len > 0 ? part->label : STR("utf-8");

    if (empty == NULL)
        return false;
    utf16_begin(part,
                html_charset_sniff(str_slice(buf_str(&part->first), 0, 3), true, label, NULL));
    part->begun = true;
    part->imports = imports_new(&ops, str_c(empty), part);
    return true;
}

/* CSS Syntax 3.2: byte order mark, Content-Type, @charset. False: it cannot be read. */
static bool sheet_begin(struct part_filter *part)
{
    struct str first = buf_str(&part->first);
    struct str label = part->label.len > 0 ? part->label : charset_rule(first);
    enum html_charset charset;

    if (label.len == 0)
        label = STR("utf-8");
    charset = html_charset_sniff(str_slice(first, 0, 3), true, label, NULL);
    if (charset == HTML_CHARSET_REFUSE || charset == HTML_CHARSET_MORE) {
        metric_add(METRIC_BODIES_REFUSED, 1);
        exchange_note(part->filter.x, "the style sheet is in an encoding that cannot be filtered");
        return false;
    }
    utf16_begin(part, charset);
    if (part->utf16 || str_starts(first, STR("\xef\xbb\xbf")))
        label = STR("utf-8");
    part->begun = true;
    part->sheet = sheet_new(&ops, css_pairs_of(label), part);
    return true;
}

/* What stays of the rules for these grants; false: no room. */
static bool rules_judge(struct part_filter *part, const struct decider *decider, struct buf *out)
{
    static const struct html_engine_ops engine_ops = {.on_output = NULL};
    const struct html_engine_setup setup = {.decider = *decider, .page = part->url};
    struct html_engine *engine = html_engine_new(&setup, &engine_ops, part);
    bool ok = html_engine_rules(engine, buf_str(&part->first), out);

    html_engine_free(engine);
    return ok;
}

static bool rules_push(struct part_filter *part, struct str in, bool end)
{
    if (!buf_append_str(&part->first, in))
        return false;
    if (!end)
        return true;
    if (!rules_judge(part, &part->undecided, &part->out))
        return false;
    part->found = !str_eq(buf_str(&part->first), buf_str(&part->out));
    buf_clear(&part->out);
    return rules_judge(part, &enforcement_of(part->filter.x)->decider, &part->out);
}

static bool engine_push(struct part_filter *part, struct str in)
{
    return part->script ? imports_push(part->imports, in) : sheet_push(part->sheet, in);
}

static bool utf16_push(struct part_filter *part, struct str in, bool end)
{
    uint8_t out[UTF16_OUT_MAX(FILTER_SLICE_MAX)];

    do {
        struct str piece = str_slice(in, 0, FILTER_SLICE_MAX);
        size_t len;

        in = str_slice(in, piece.len, in.len);
        len = utf16_decode(&part->utf16_decoder, piece, end && in.len == 0, out);
        if (!engine_push(part, str_make(out, len)))
            return false;
    } while (in.len > 0);
    return true;
}

static bool plain_push(struct part_filter *part, struct str in, bool end)
{
    if (part->rules)
        return rules_push(part, in, end);
    if (!part->begun) {
        if (!buf_append_str(&part->first, in))
            return false;
        if (part->first.len < CHARSET_LOOK && !end)
            return true;
        if (!(part->script ? script_begin(part) : sheet_begin(part)))
            return false;
        in = buf_str(&part->first);
        if (str_starts(in, STR("\xef\xbb\xbf"))) { /* it is no part of the first token */
            if (!buf_append_str(&part->out, str_slice(in, 0, 3)))
                return false;
            in = str_slice(in, 3, in.len);
        }
    }
    if (!(part->utf16 ? utf16_push(part, in, end) : engine_push(part, in)))
        return false;
    buf_clear(&part->first);
    return !end || (part->script ? imports_end(part->imports) : sheet_end(part->sheet));
}

static bool on_decoded(void *owner, const uint8_t *data, size_t len)
{
    return plain_push(owner, str_make(data, len), false);
}

static bool scan(struct part_filter *part, struct str in, bool end)
{
    enum coding_status status;

    if (part->decoder == NULL)
        return plain_push(part, in, end);
    status = decoder_push(part->decoder, in, end, on_decoded, part);
    if (status == CODING_OK)
        return !end || plain_push(part, STR(""), true);
    if (status != CODING_STOPPED) {
        metric_add(METRIC_BODIES_REFUSED, 1);
        exchange_note(part->filter.x,
                      "the style sheet's or script's content coding is corrupt or over its limit");
    }
    return false;
}

/* --- what goes out --- */

static bool on_coded(void *owner, const uint8_t *data, size_t len)
{
    struct part_filter *part = owner;

    return filter_next(&part->filter, data, len, false);
}

static bool cut_pass_on(struct part_filter *part, bool end)
{
    struct str text = buf_str(&part->out);
    bool ok;

    if (part->encoder == NULL)
        ok = (text.len == 0 && !end) ||
             filter_next(&part->filter, (const uint8_t *)text.ptr, text.len, end);
    else
        ok = encoder_push(part->encoder, text, end ? ENCODER_END : ENCODER_BUFFER, on_coded,
                          part) == CODING_OK &&
             (!end || filter_next(&part->filter, NULL, 0, true));
    buf_clear(&part->out);
    return ok;
}

/* From here on as it came; what was held first. */
static bool raw_begin(struct part_filter *part, bool end)
{
    struct str raw = buf_str(&part->raw);
    bool ok;

    part->state = PART_RAW;
    part->filter.x->length_changes = false;
    ok = filter_next(&part->filter, (const uint8_t *)raw.ptr, raw.len, end);
    buf_free(&part->raw);
    buf_free(&part->out);
    return ok;
}

/* The fields of a sheet that is another one than the origin's. */
static bool cut_begin(struct part_filter *part)
{
    struct exchange *x = part->filter.x;
    struct headers *h = &x->resp.headers;

    part->state = PART_CUT;
    buf_free(&part->raw);
    headers_remove(h, HDR_CONTENT_ENCODING);
    if (part->utf16 && !headers_set(h, &x->arena, HDR_CONTENT_TYPE,
                                    part->script ? STR("text/javascript; charset=utf-8")
                                                 : STR("text/css; charset=utf-8")))
        return false;
    if (part->coding_out == CODING_IDENTITY)
        return true;
    part->encoder = encoder_new(part->coding_out);
    return part->encoder != NULL &&
           headers_add_id(h, &x->arena, HDR_CONTENT_ENCODING, str_c(coding_name(part->coding_out)));
}

static bool part_push(struct filter *f, const uint8_t *data, size_t len, bool end)
{
    struct part_filter *part = (struct part_filter *)f;
    bool differs;

    if (part->state == PART_RAW)
        return filter_next(f, data, len, end);
    if ((part->state == PART_LOOK && !buf_append(&part->raw, data, len)) ||
        !scan(part, str_make(data, len), end)) {
        exchange_note(f->x, "the style sheet or script could not be filtered");
        return false;
    }
    if (part->state == PART_CUT)
        return cut_pass_on(part, end);
    differs = part->found || (!end && (part->raw.len > HOLD_MAX || part->out.len > HOLD_MAX));
    if (!differs && !end)
        return true;
    if (!part_headers(f->x, differs))
        return false;
    if (!differs || part->granted)
        return raw_begin(part, end);
    return cut_begin(part) && cut_pass_on(part, end);
}

static void part_close(struct filter *f)
{
    struct part_filter *part = (struct part_filter *)f;
    uint64_t removed = part->sheet != NULL     ? sheet_removed(part->sheet)
                       : part->imports != NULL ? imports_removed(part->imports)
                                               : 0;

    metric_add(METRIC_SHEETS_READ, 1);
    metric_add(METRIC_ELEMENTS_REMOVED, removed);
    f->x->removed.elements += (uint32_t)removed;
    sheet_free(part->sheet);
    imports_free(part->imports);
    decoder_free(part->decoder);
    encoder_free(part->encoder);
    arena_fini(&part->scratch);
    buf_free(&part->first);
    buf_free(&part->raw);
    buf_free(&part->out);
}

static bool all_granted(const struct exchange *x)
{
    uint16_t all = x->site->policy != NULL ? x->site->policy->categories.defined : 0;

    return all != 0 && (x->grants & all) == all;
}

bool part_filter_add(struct exchange *x, enum coding in, enum coding out)
{
    struct part_filter *part = arena_calloc(&x->arena, 1, sizeof(*part));
    const struct enforcement *e = enforcement_of(x);

    if (part == NULL || !page_url(x, &part->url))
        return false;
    part->filter.push = part_push;
    part->filter.close = part_close;
    part->undecided = e->decider;
    part->undecided.grants = CATEGORY_ESSENTIAL;
    part->label = charset_of_type(headers_value(&x->resp.headers, HDR_CONTENT_TYPE));
    part->script = !kind_is_sheet(x) && kind_is_script(x);
    part->rules = !kind_is_sheet(x) && !part->script;
    part->granted = all_granted(x);
    part->coding_out = out;
    part->decoder = in == CODING_IDENTITY ? NULL : decoder_new(in, DECODED_MAX, RATIO_MAX);
    arena_init(&part->scratch, NULL, URL_ARENA_MAX);
    buf_init(&part->first, OUTPUT_MAX);
    buf_init(&part->raw, HOLD_MAX + FILTER_SLICE_MAX);
    buf_init(&part->out, OUTPUT_MAX);
    exchange_add_filter(x, &part->filter); /* from here on close() frees it all */
    return in == CODING_IDENTITY || part->decoder != NULL;
}
