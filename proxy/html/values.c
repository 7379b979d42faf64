/*
 * values.c - attribute values that hold URLs: one, a list, srcset, refresh, CSS, a page.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/css.h"
#include "consentd/mem.h"
#include "rewriter_priv.h"
#include "scan_priv.h"
#include "tokenizer_priv.h"

static bool inner_document(struct rewriter *rw, struct str text, bool xml, struct buf *out);

bool value_contains(struct str text, struct str lower_needle)
{
    char first = lower_needle.len > 0 ? lower_needle.ptr[0] : '\0';
    char both[2] = {first, ascii_is_alpha(first) ? (char)(first & ~0x20) : first};
    const uint8_t *p = (const uint8_t *)text.ptr;
    size_t end;

    if (lower_needle.len == 0 || text.len < lower_needle.len)
        return false;
    end = text.len - lower_needle.len + 1;
    for (size_t i = 0; (i = scan_any(p, i, end, both, 2)) < end; i++) {
        if (str_eq_fold(str_slice(text, i, lower_needle.len), lower_needle))
            return true;
    }
    return false;
}

enum html_action value_ref(struct rewriter *rw, const struct html_ref *ref)
{
    struct html_note note = {0};
    enum html_action action;

    rw->counts.refs++;
    action = rw->ops.on_ref(rw->owner, ref, &note);
    if (action != HTML_KEEP) {
        rw->note = note;
        return HTML_DROP;
    }
    return HTML_KEEP;
}

/* Leading bytes that the URL parser strips: C0 controls and space. */
static struct str trim_url(struct str s)
{
    while (s.len > 0 && (unsigned char)s.ptr[0] <= ' ')
        s = str_slice(s, 1, s.len);
    return s;
}

/* The first byte that the URL parser does not strip, in lower case; 0: none. */
static char first_of(struct str url)
{
    size_t i = 0;

    while (i < url.len && (unsigned char)url.ptr[i] <= ' ')
        i++;
    return i < url.len ? ascii_lower(url.ptr[i]) : '\0';
}

/* TAB, LF and CR inside are ignored, as the URL standard does. */
bool value_has_scheme(struct str url, const char *scheme, struct str *rest_out)
{
    size_t i = 0;

    url = trim_url(url);
    for (; i < url.len && *scheme != '\0'; i++) {
        char c = url.ptr[i];

        if (c == '\t' || c == '\n' || c == '\r')
            continue;
        if (ascii_lower(c) != *scheme)
            return false;
        scheme++;
    }
    *rest_out = str_slice(url, i, url.len);
    return *scheme == '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool percent_decode(struct str s, struct buf *out)
{
    bool ok = true;

    for (size_t i = 0; i < s.len && ok; i++) {
        char c = s.ptr[i];

        if (c == '%' && i + 2 < s.len && hex_digit(s.ptr[i + 1]) >= 0 &&
            hex_digit(s.ptr[i + 2]) >= 0) {
            c = (char)(hex_digit(s.ptr[i + 1]) * 16 + hex_digit(s.ptr[i + 2]));
            i += 2;
        }
        ok = buf_append_char(out, c);
    }
    return ok;
}

/* In this character set bytes may not be what they seem. */
static bool is_odd_charset(struct str type)
{
    static const char *const plain[] = {"utf-8", "utf8", "ascii", "8859-", "windows-125"};

    if (!value_contains(type, STR("charset")))
        return false;
    for (size_t i = 0; i < COUNT_OF(plain); i++) {
        if (value_contains(type, str_c(plain[i])))
            return false;
    }
    return true;
}

/* "…;base64" with spaces around the word; *type_out without it (Fetch 6, data: URLs). */
static bool is_base64(struct str type, struct str *type_out)
{
    type = str_trim(type);
    *type_out = type;
    if (!str_ends_fold(type, STR("base64")))
        return false;
    type = str_trim(str_slice(type, 0, type.len - 6));
    if (type.len == 0 || type.ptr[type.len - 1] != ';')
        return false;
    *type_out = str_slice(type, 0, type.len - 1);
    return true;
}

/* The URL parser takes line breaks and tabs out before anything is read. */
static bool without_breaks(struct str s, struct buf *out)
{
    bool ok = true;

    for (size_t i = 0; i < s.len && ok; i++) {
        char c = s.ptr[i];

        ok = c == '\t' || c == '\n' || c == '\r' || buf_append_char(out, c);
    }
    return ok;
}

bool value_data_body(struct str rest, struct buf *out, bool *xml_out)
{
    struct buf plain, text;
    struct str type = {NULL, 0};
    bool coded, ok;

    *xml_out = false;
    buf_init(&plain, VALUE_MAX);
    buf_init(&text, VALUE_MAX);
    ok = without_breaks(rest, &plain);
    rest = buf_str(&plain);
    ok = ok && str_find_char(rest, ',') >= 0 && str_cut(&rest, ',', &type);
    coded = is_base64(type, &type);
    ok = ok && !is_odd_charset(type) && percent_decode(rest, coded ? &text : out) &&
         (!coded || b64_decode(buf_str(&text), out));
    *xml_out = ok && (value_contains(type, STR("xml")) || value_contains(type, STR("xsl")));
    buf_free(&plain);
    buf_free(&text);
    return ok;
}

/* A style sheet in a data: URL: may it be read as it is? */
static enum html_action judge_sheet(struct rewriter *rw, const struct judged *j, struct str text)
{
    struct css_scan scan = {.text = text};
    struct css_url url;
    struct buf found;
    enum html_action action = HTML_KEEP;
    bool full = false;

    if (rw->nest >= rw->limits.srcdoc_max)
        return HTML_DROP;
    rw->nest++;
    buf_init(&found, VALUE_MAX);
    while (action == HTML_KEEP && css_next(&scan, &url, &found, &full))
        action = value_url(rw, j, buf_str(&found), ATTR_HREF,
                           url.import ? HTML_USE_STYLESHEET : HTML_USE_CSS);
    buf_free(&found);
    rw->nest--;
    return full ? HTML_DROP : action;
}

static enum html_action judge_data(struct rewriter *rw, const struct judged *j, struct str rest,
                                   enum html_attr attr, enum html_use use)
{
    enum html_action action = HTML_DROP;
    struct buf body, out;
    bool xml;

    buf_init(&body, VALUE_MAX);
    buf_init(&out, VALUE_MAX);
    if (value_data_body(rest, &body, &xml)) {
        if (use == HTML_USE_SCRIPT)
            action = judge_inline(rw, buf_str(&body), HTML_SCRIPT_URL, element_rows[j->elem].name,
                                  attr_rows[attr]);
        else if (use == HTML_USE_STYLESHEET)
            action = judge_sheet(rw, j, buf_str(&body));
        else
            action = inner_document(rw, buf_str(&body), xml, &out) ? HTML_DROP : HTML_KEEP;
    }
    buf_free(&body);
    buf_free(&out);
    return action;
}

/* The code in a frame's address: what it does, and the page that its text would become. */
static enum html_action judge_code(struct rewriter *rw, const struct judged *j, struct str rest,
                                   enum html_attr attr)
{
    enum html_action action =
        judge_inline(rw, rest, HTML_SCRIPT_URL, element_rows[j->elem].name, attr_rows[attr]);
    struct buf body, out;

    buf_init(&body, VALUE_MAX);
    buf_init(&out, VALUE_MAX);
    if (action == HTML_KEEP &&
        (!percent_decode(rest, &body) || value_document(rw, buf_str(&body), &out)))
        action = HTML_DROP;
    buf_free(&body);
    buf_free(&out);
    return action;
}

enum html_action value_url(struct rewriter *rw, const struct judged *j, struct str text,
                           enum html_attr attr, enum html_use use)
{
    const char *element = element_rows[j->elem].name;
    struct str rest;
    struct html_ref ref = {.element = element,
                           .attr = attr_rows[attr],
                           .value = text,
                           .use = use,
                           .base = buf_str(&rw->base),
                           .base_alt = buf_str(&rw->base_alt),
                           .tag = j->partial ? STR("") : j->tag,
                           .scripting_off = rw->hidden[HIDDEN_SCRIPTING].len > 0};

    switch (first_of(text)) {
    case '#': /* a part of this page, unless a base makes it one of another */
        if (use == HTML_USE_CSS || (rw->base.len == 0 && rw->base_alt.len == 0))
            return HTML_KEEP;
        return value_ref(rw, &ref);
    case 'j':
    case 'd':
        break;
    default:
        return value_ref(rw, &ref);
    }
    if (value_has_scheme(text, "javascript:", &rest)) {
        if (use == HTML_USE_FRAME || use == HTML_USE_OBJECT)
            return judge_code(rw, j, rest, attr);
        if (use == HTML_USE_FORM)
            return judge_inline(rw, rest, HTML_SCRIPT_URL, element, attr_rows[attr]);
        return HTML_KEEP;
    }
    if (value_has_scheme(text, "data:", &rest)) {
        if (use == HTML_USE_FRAME || use == HTML_USE_OBJECT || use == HTML_USE_SCRIPT ||
            use == HTML_USE_STYLESHEET)
            return judge_data(rw, j, rest, attr, use);
        return HTML_KEEP;
    }
    return value_ref(rw, &ref);
}

static bool is_one_of(char c, const char *set)
{
    return tok_is_space((uint8_t)c) || (c != '\0' && strchr(set, c) != NULL);
}

enum html_action value_list(struct rewriter *rw, const struct judged *j, struct str text,
                            enum html_attr attr, enum html_use use, const char *separators)
{
    size_t i = 0;

    while (i < text.len) {
        size_t from;

        while (i < text.len && is_one_of(text.ptr[i], separators))
            i++;
        from = i;
        while (i < text.len && !is_one_of(text.ptr[i], separators))
            i++;
        if (i > from && value_url(rw, j, str_slice(text, from, i - from), attr, use) == HTML_DROP)
            return HTML_DROP;
    }
    return HTML_KEEP;
}

/* HTML 4.8.4.2.2: URL, then descriptors up to a comma outside parentheses. */
enum html_action value_srcset(struct rewriter *rw, const struct judged *j, struct str text,
                              enum html_attr attr)
{
    size_t i = 0;

    while (i < text.len) {
        size_t from, end;
        unsigned depth = 0;

        while (i < text.len && (tok_is_space((uint8_t)text.ptr[i]) || text.ptr[i] == ','))
            i++;
        from = i;
        while (i < text.len && !tok_is_space((uint8_t)text.ptr[i]))
            i++;
        end = i;
        while (end > from && text.ptr[end - 1] == ',')
            end--;
        if (end > from &&
            value_url(rw, j, str_slice(text, from, end - from), attr, HTML_USE_IMAGE) == HTML_DROP)
            return HTML_DROP;
        if (end < i)
            continue; /* a comma ended the URL: no descriptors */
        for (; i < text.len && (text.ptr[i] != ',' || depth > 0); i++) {
            if (text.ptr[i] == '(')
                depth++;
            else if (text.ptr[i] == ')' && depth > 0)
                depth--;
        }
    }
    return HTML_KEEP;
}

/* Ends at the first such quote by the standard, at the last one in Chromium, or never. */
static enum html_action refresh_quoted(struct rewriter *rw, const struct judged *j, struct str text)
{
    struct str rest = str_slice(text, 1, text.len);
    ptrdiff_t first = str_find_char(rest, text.ptr[0]);
    ptrdiff_t last = str_find_last_char(rest, text.ptr[0]);
    const struct str readings[] = {rest, str_slice(rest, 0, first < 0 ? 0 : (size_t)first),
                                   str_slice(rest, 0, last < 0 ? 0 : (size_t)last)};

    for (size_t i = 0; i < COUNT_OF(readings); i++) {
        if (readings[i].len > 0 &&
            value_url(rw, j, readings[i], ATTR_CONTENT, HTML_USE_REFRESH) == HTML_DROP)
            return HTML_DROP;
    }
    return HTML_KEEP;
}

/* HTML 4.2.5.3, http-equiv=refresh: "5; url='…'" in all its loose forms. */
enum html_action value_refresh(struct rewriter *rw, const struct judged *j, struct str text)
{
    size_t i = 0;

    while (i < text.len && (is_one_of(text.ptr[i], ".,;") || ascii_is_digit(text.ptr[i])))
        i++;
    text = str_slice(text, i, text.len);
    if (str_starts_fold(text, STR("url"))) {
        struct str rest = str_slice(text, 3, text.len);

        while (rest.len > 0 && tok_is_space((uint8_t)rest.ptr[0]))
            rest = str_slice(rest, 1, rest.len);
        if (rest.len > 0 && rest.ptr[0] == '=') {
            text = str_slice(rest, 1, rest.len);
            while (text.len > 0 && tok_is_space((uint8_t)text.ptr[0]))
                text = str_slice(text, 1, text.len);
        }
    }
    if (text.len > 0 && (text.ptr[0] == '"' || text.ptr[0] == '\''))
        return refresh_quoted(rw, j, text);
    if (text.len == 0)
        return HTML_KEEP;
    return value_url(rw, j, text, ATTR_CONTENT, HTML_USE_REFRESH);
}

bool value_css(struct rewriter *rw, enum html_element elem, enum html_attr attr, struct str text,
               struct buf *out)
{
    struct css_scan scan = {.text = text};
    struct judged j = {.elem = elem};
    struct css_url url;
    size_t done = 0;
    bool full = false;
    bool ok = true;

    while (ok && css_next(&scan, &url, &rw->other, &full)) {
        enum html_use use = url.import ? HTML_USE_STYLESHEET : HTML_USE_CSS;

        if (value_url(rw, &j, buf_str(&rw->other), attr, use) == HTML_KEEP)
            continue;
        ok = buf_append_str(out, str_slice(text, done, url.start - done)) &&
             buf_append_c(out, css_nothing(&url));
        done = url.end;
        rw->counts.urls_blanked++;
    }
    if (full || !ok) { /* cannot be read: nothing of it is left */
        buf_clear(out);
        return true;
    }
    if (done == 0)
        return false;
    if (!buf_append_str(out, str_slice(text, done, text.len)))
        buf_clear(out);
    return true;
}

/* --- inner documents ----------------------------------------------------------- */

struct inner {
    struct rewriter *outer;
    struct buf *out;
    bool full;
};

static enum html_action on_inner_ref(void *owner, const struct html_ref *ref,
                                     struct html_note *note_out)
{
    struct inner *in = owner;
    struct html_ref with_base = *ref;
    enum html_action action;

    if (with_base.base.len == 0)
        with_base.base = buf_str(&in->outer->base);
    if (with_base.base_alt.len == 0)
        with_base.base_alt = buf_str(&in->outer->base_alt);
    action = value_ref(in->outer, &with_base);
    *note_out = in->outer->note;
    return action;
}

static enum html_action on_inner_inline(void *owner, const struct html_inline *code,
                                        struct html_note *note_out)
{
    struct inner *in = owner;
    enum html_action action =
        judge_inline(in->outer, code->text, code->type, code->element, code->attr);

    *note_out = in->outer->note;
    return action;
}

static bool on_inner_output(void *owner, const uint8_t *data, size_t len)
{
    struct inner *in = owner;

    if (!buf_append(in->out, data, len))
        in->full = true;
    return !in->full;
}

static struct rewriter *inner_new(struct inner *in, struct rewriter *outer, struct buf *out,
                                  bool xml)
{
    struct html_limits limits = outer->limits;
    const struct html_ops ops = {
        .on_ref = on_inner_ref, .on_inline = on_inner_inline, .on_output = on_inner_output};
    struct rewriter *inner;

    *in = (struct inner){.outer = outer, .out = out};
    limits.xml = xml;
    inner = rewriter_new(&limits, &ops, in);
    inner->nest = outer->nest + 1;
    return inner;
}

static bool inner_document(struct rewriter *rw, struct str text, bool xml, struct buf *out)
{
    struct inner in;
    struct rewriter *inner;
    bool ok;

    if (rw->nest >= rw->limits.srcdoc_max) {
        rw->counts.over_srcdoc++;
        buf_clear(out);
        return true;
    }
    inner = inner_new(&in, rw, out, xml);
    ok = rewriter_push(inner, (const uint8_t *)text.ptr, text.len) && rewriter_end(inner);
    rewriter_free(inner);
    if (!ok)
        buf_clear(out);
    return !ok || !str_eq(buf_str(out), text);
}

bool value_document(struct rewriter *rw, struct str text, struct buf *out)
{
    return inner_document(rw, text, false, out);
}

bool value_is_inert(struct rewriter *rw, struct str text)
{
    struct buf out;
    struct inner in;
    struct rewriter *inner;
    bool inert;

    if (rw->nest >= rw->limits.srcdoc_max)
        return false;
    buf_init(&out, text.len + 1);
    inner = inner_new(&in, rw, &out, false);
    inner->sim.in_select = rw->sim.in_select; /* where raw texts may be ignored, too */
    inner->sim.in_frameset = rw->sim.in_frameset;
    inner->sim.columns = rw->sim.columns;
    inert = rewriter_push(inner, (const uint8_t *)text.ptr, text.len);
    if (rw->ended)
        inert = inert && rewriter_end(inner);
    else
        inert = inert && tokenizer_is_resting(&inner->tok) && inner->hold.kind == HOLD_NONE &&
                inner->sim.depth == 0 && !hidden_active(inner);
    inert = inert && str_eq(buf_str(&out), text);
    rewriter_free(inner);
    buf_free(&out);
    return inert;
}
