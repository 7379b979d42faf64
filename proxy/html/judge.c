/*
 * judge.c - one tag, its attributes, the owner's verdict.
 *
 * `rules` says which attribute of which element fetches or runs something and what goes
 * when it must not: the element, or the attribute alone. Rows are few; a tag that gets
 * here is one of interest.
 */
#include <string.h>

#include "consentd/charset.h"
#include "consentd/mem.h"
#include "rewriter_priv.h"
#include "tokenizer_priv.h"

#define CUTS_FIRST 4

enum value_kind {
    V_URL,
    V_LIST,   /* white space between URLs */
    V_VALUES, /* SMIL: ";" between values */
    V_SRCSET,
    V_SRCDOC,
    V_CODE_URL, /* matters only as javascript: */
    V_LINK,
    V_META,
    V_CHARSET, /* of what is fetched: other bytes may be the tracker's */
    V_INTEGRITY,
};

enum rule_when { W_ALWAYS = 0, W_SVG, W_IMAGE_INPUT, W_SMIL, W_SCRIPT, W_SVG_SCRIPT, W_PARAM };

enum rule_goes { G_ATTR = 0, G_TAG, G_RAW };

struct rule {
    uint8_t kind, use, goes, when, attr;
};

/* X(element, attribute, kind of value, use, what goes, when) */
#define RULES(X)                                                                                   \
    X(SCRIPT, SRC, URL, SCRIPT, RAW, SCRIPT)                                                       \
    X(SCRIPT, HREF, URL, SCRIPT, RAW, SVG_SCRIPT)                                                  \
    X(SCRIPT, XLINK_HREF, URL, SCRIPT, RAW, SVG_SCRIPT)                                            \
    X(SCRIPT, CHARSET, CHARSET, SCRIPT, ATTR, ALWAYS)                                              \
    X(LINK, CHARSET, CHARSET, STYLESHEET, ATTR, ALWAYS)                                            \
    X(SCRIPT, ATTRIBUTIONSRC, LIST, PING, ATTR, ALWAYS)                                            \
    X(SCRIPT, INTEGRITY, INTEGRITY, INTEGRITY, ATTR, ALWAYS)                                       \
    X(LINK, INTEGRITY, INTEGRITY, INTEGRITY, ATTR, ALWAYS)                                         \
    X(IMG, SRC, URL, IMAGE, TAG, ALWAYS)                                                           \
    X(IMG, SRCSET, SRCSET, IMAGE, ATTR, ALWAYS)                                                    \
    X(IMG, ATTRIBUTIONSRC, LIST, PING, ATTR, ALWAYS)                                               \
    X(IMAGE, SRC, URL, IMAGE, TAG, ALWAYS)                                                         \
    X(IMAGE, SRCSET, SRCSET, IMAGE, ATTR, ALWAYS)                                                  \
    X(IMAGE, HREF, URL, IMAGE, ATTR, SVG)                                                          \
    X(IMAGE, XLINK_HREF, URL, IMAGE, ATTR, SVG)                                                    \
    X(FEIMAGE, HREF, URL, IMAGE, ATTR, SVG)                                                        \
    X(FEIMAGE, XLINK_HREF, URL, IMAGE, ATTR, SVG)                                                  \
    X(USE, HREF, URL, IMAGE, ATTR, SVG)                                                            \
    X(USE, XLINK_HREF, URL, IMAGE, ATTR, SVG)                                                      \
    X(SET, TO, VALUES, IMAGE, ATTR, SMIL)                                                          \
    X(ANIMATE, TO, VALUES, IMAGE, ATTR, SMIL)                                                      \
    X(ANIMATE, FROM, VALUES, IMAGE, ATTR, SMIL)                                                    \
    X(ANIMATE, BY, VALUES, IMAGE, ATTR, SMIL)                                                      \
    X(ANIMATE, VALUES, VALUES, IMAGE, ATTR, SMIL)                                                  \
    X(SOURCE, SRC, URL, MEDIA, TAG, ALWAYS)                                                        \
    X(SOURCE, SRCSET, SRCSET, IMAGE, TAG, ALWAYS)                                                  \
    X(IFRAME, SRC, URL, FRAME, RAW, ALWAYS)                                                        \
    X(IFRAME, SRCDOC, SRCDOC, FRAME, ATTR, ALWAYS)                                                 \
    X(FRAME, SRC, URL, FRAME, ATTR, ALWAYS)                                                        \
    X(FENCEDFRAME, SRC, URL, FRAME, ATTR, ALWAYS)                                                  \
    X(PORTAL, SRC, URL, FRAME, ATTR, ALWAYS)                                                       \
    X(PARAM, VALUE, URL, OBJECT, TAG, PARAM)                                                       \
    X(EMBED, SRC, URL, OBJECT, TAG, ALWAYS)                                                        \
    X(OBJECT, DATA, URL, OBJECT, ATTR, ALWAYS)                                                     \
    X(VIDEO, SRC, URL, MEDIA, ATTR, ALWAYS)                                                        \
    X(VIDEO, POSTER, URL, IMAGE, ATTR, ALWAYS)                                                     \
    X(AUDIO, SRC, URL, MEDIA, ATTR, ALWAYS)                                                        \
    X(TRACK, SRC, URL, MEDIA, TAG, ALWAYS)                                                         \
    X(BGSOUND, SRC, URL, MEDIA, TAG, ALWAYS)                                                       \
    X(INPUT, SRC, URL, IMAGE, ATTR, IMAGE_INPUT)                                                   \
    X(INPUT, FORMACTION, URL, FORM, ATTR, ALWAYS)                                                  \
    X(BUTTON, FORMACTION, URL, FORM, ATTR, ALWAYS)                                                 \
    X(FORM, ACTION, URL, FORM, ATTR, ALWAYS)                                                       \
    X(LINK, HREF, LINK, PRELOAD, TAG, ALWAYS)                                                      \
    X(LINK, IMAGESRCSET, SRCSET, IMAGE, TAG, ALWAYS)                                               \
    X(META, CONTENT, META, REFRESH, TAG, ALWAYS)                                                   \
    X(BASE, HREF, URL, BASE, TAG, ALWAYS)                                                          \
    X(A, PING, LIST, PING, ATTR, ALWAYS)                                                           \
    X(A, ATTRIBUTIONSRC, LIST, PING, ATTR, ALWAYS)                                                 \
    X(A, HREF, CODE_URL, FORM, ATTR, ALWAYS)                                                       \
    X(A, XLINK_HREF, CODE_URL, FORM, ATTR, ALWAYS)                                                 \
    X(AREA, PING, LIST, PING, ATTR, ALWAYS)                                                        \
    X(AREA, ATTRIBUTIONSRC, LIST, PING, ATTR, ALWAYS)                                              \
    X(AREA, HREF, CODE_URL, FORM, ATTR, ALWAYS)                                                    \
    X(BODY, BACKGROUND, URL, IMAGE, ATTR, ALWAYS)                                                  \
    X(TABLE, BACKGROUND, URL, IMAGE, ATTR, ALWAYS)                                                 \
    X(COLGROUP, BACKGROUND, URL, IMAGE, ATTR, ALWAYS)                                              \
    X(COL, BACKGROUND, URL, IMAGE, ATTR, ALWAYS)                                                   \
    X(TBODY, BACKGROUND, URL, IMAGE, ATTR, ALWAYS)                                                 \
    X(THEAD, BACKGROUND, URL, IMAGE, ATTR, ALWAYS)                                                 \
    X(TFOOT, BACKGROUND, URL, IMAGE, ATTR, ALWAYS)                                                 \
    X(TR, BACKGROUND, URL, IMAGE, ATTR, ALWAYS)                                                    \
    X(TD, BACKGROUND, URL, IMAGE, ATTR, ALWAYS)                                                    \
    X(TH, BACKGROUND, URL, IMAGE, ATTR, ALWAYS)                                                    \
    X(AMP_ANALYTICS, CONFIG, URL, SCRIPT, TAG, ALWAYS)                                             \
    X(AMP_PIXEL, SRC, URL, IMAGE, TAG, ALWAYS)

enum rule_id {
    RULE_NONE = 0,
#define X(e, a, k, u, g, w) RULE_##e##_##a,
    RULES(X)
#undef X
};

static const struct rule rules[] = {[RULE_NONE] = {0},
#define X(e, a, k, u, g, w) {V_##k, HTML_USE_##u, G_##g, W_##w, ATTR_##a},
                                    RULES(X)
#undef X
};

static const uint8_t rule_of[ELEM_COUNT][ATTR_COUNT] = {
#define X(e, a, k, u, g, w) [ELEM_##e][ATTR_##a] = RULE_##e##_##a,
    RULES(X)
#undef X
};

static const struct rule *find_rule(enum html_element elem, uint8_t attr)
{
    unsigned id = rule_of[elem][attr];

    return id != RULE_NONE ? &rules[id] : NULL;
}

/* SVG presentation attributes whose url() Chromium fetches, and those it may fetch one day. */
static bool is_presentation(uint8_t attr)
{
    return attr == ATTR_FILL || attr == ATTR_STROKE || attr == ATTR_FILTER || attr == ATTR_MASK ||
           attr == ATTR_CLIP_PATH || attr == ATTR_CURSOR || attr == ATTR_MARKER_START ||
           attr == ATTR_MARKER_MID || attr == ATTR_MARKER_END;
}

bool judge_is_judged(enum html_element elem, enum html_attr attr, enum sim_space space)
{
    return attr == ATTR_HANDLER || attr == ATTR_STYLE || find_rule(elem, (uint8_t)attr) != NULL ||
           (space != SIM_HTML && is_presentation((uint8_t)attr));
}

/* The value, decoded into *scratch only if there is something to decode. */
static bool decoded(const struct judged *j, const struct tag_attr *a, struct buf *scratch,
                    struct str *out)
{
    *out = tag_attr_value(j->tag, a);
    if (a->is_plain)
        return true;
    buf_clear(scratch);
    if (!tag_attr_decode(j->tag, a, scratch))
        return false;
    *out = buf_str(scratch);
    return true;
}

bool judge_find(struct rewriter *rw, const struct judged *j, enum html_attr id, struct str *out)
{
    *out = (struct str){0};
    for (size_t i = 0; i < rw->attr_cnt; i++) {
        if (rw->attrs[i].id == id && !rw->attrs[i].is_duplicate)
            return decoded(j, &rw->attrs[i], &rw->other, out);
    }
    return false;
}

enum html_action judge_inline(struct rewriter *rw, struct str text, enum html_script_type type,
                              const char *element, const char *attr)
{
    const struct html_inline code = {.text = text,
                                     .type = type,
                                     .element = element,
                                     .attr = attr,
                                     .base = buf_str(&rw->base),
                                     .base_alt = buf_str(&rw->base_alt)};
    struct html_note note = {0};

    rw->counts.inlines++;
    if (rw->ops.on_inline(rw->owner, &code, &note) == HTML_KEEP)
        return HTML_KEEP;
    rw->note = note;
    return HTML_DROP;
}

static struct str trim_space(struct str s)
{
    while (s.len > 0 && tok_is_space((uint8_t)s.ptr[0]))
        s = str_slice(s, 1, s.len);
    while (s.len > 0 && tok_is_space((uint8_t)s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* HTML 4.12.1.1 steps 8-11: is the script element one that runs, and as what? */
bool judge_script_type(struct rewriter *rw, const struct judged *j, enum html_script_type *out)
{
    static const char *const types[] = {"text/javascript",
                                        "application/javascript",
                                        "application/ecmascript",
                                        "application/x-ecmascript",
                                        "application/x-javascript",
                                        "text/ecmascript",
                                        "text/javascript1.0",
                                        "text/javascript1.1",
                                        "text/javascript1.2",
                                        "text/javascript1.3",
                                        "text/javascript1.4",
                                        "text/javascript1.5",
                                        "text/jscript",
                                        "text/livescript",
                                        "text/x-ecmascript",
                                        "text/x-javascript"};
    struct str type;
    bool language = false;
    ptrdiff_t semicolon;

    *out = j->space == SIM_SVG ? HTML_SCRIPT_SVG : HTML_SCRIPT_CLASSIC;
    if (!judge_find(rw, j, ATTR_TYPE, &type))
        language = judge_find(rw, j, ATTR_LANGUAGE, &type);
    if (type.len == 0)
        return true;
    if (!language)
        type = trim_space(type);
    semicolon = str_find_char(type, ';');
    if (semicolon >= 0) /* browsers run none of these; judging them costs nothing */
        type = trim_space(str_slice(type, 0, (size_t)semicolon));
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (str_eq_fold_c(type, types[i]) ||
            (language && str_starts(str_c(types[i]), STR("text/")) &&
             str_eq_fold_c(type, types[i] + 5)))
            return true;
    }
    if (str_eq_fold_c(type, "module"))
        *out = HTML_SCRIPT_MODULE;
    else if (str_eq_fold_c(type, "importmap"))
        *out = HTML_SCRIPT_IMPORTMAP;
    else if (str_eq_fold_c(type, "speculationrules"))
        *out = HTML_SCRIPT_SPECULATION;
    else
        return false;
    return !language;
}

static bool is_smil_href(struct rewriter *rw, const struct judged *j)
{
    struct str name;

    return judge_find(rw, j, ATTR_ATTRIBUTENAME, &name) &&
           (str_eq_fold_c(trim_space(name), "href") ||
            str_eq_fold_c(trim_space(name), "xlink:href"));
}

static bool applies(struct rewriter *rw, const struct judged *j, const struct rule *rule)
{
    enum html_script_type type;
    struct str text;

    if (j->partial)
        return true;
    switch ((enum rule_when)rule->when) {
    case W_ALWAYS:
        return true;
    case W_SVG:
        return j->space == SIM_SVG;
    case W_SVG_SCRIPT:
        return j->space == SIM_SVG && judge_script_type(rw, j, &type);
    case W_SCRIPT:
        return judge_script_type(rw, j, &type);
    case W_IMAGE_INPUT:
        return judge_find(rw, j, ATTR_TYPE, &text) && str_eq_fold_c(text, "image");
    case W_SMIL:
        return is_smil_href(rw, j);
    case W_PARAM:
        return judge_find(rw, j, ATTR_NAME, &text) &&
               (str_eq_fold_c(text, "movie") || str_eq_fold_c(text, "src") ||
                str_eq_fold_c(text, "url") || str_eq_fold_c(text, "data"));
    }
    return true;
}

/* HTML 4.6.7: which link types make the browser fetch; each one is asked for. */
static enum html_action judge_link(struct rewriter *rw, const struct judged *j, struct str href)
{
    static const struct {
        const char *rel;
        enum html_use use;
    } rels[] = {{"stylesheet", HTML_USE_STYLESHEET},
                {"preload", HTML_USE_PRELOAD},
                {"modulepreload", HTML_USE_PRELOAD},
                {"prefetch", HTML_USE_PRELOAD},
                {"prerender", HTML_USE_PRELOAD},
                {"compression-dictionary", HTML_USE_PRELOAD},
                {"dictionary", HTML_USE_PRELOAD},
                {"import", HTML_USE_PRELOAD},
                {"dns-prefetch", HTML_USE_CONNECT},
                {"preconnect", HTML_USE_CONNECT},
                {"icon", HTML_USE_ICON},
                {"apple-touch-icon", HTML_USE_ICON},
                {"apple-touch-icon-precomposed", HTML_USE_ICON},
                {"apple-touch-startup-image", HTML_USE_ICON},
                {"mask-icon", HTML_USE_ICON},
                {"monetization", HTML_USE_ICON},
                {"manifest", HTML_USE_ICON}};
    struct str rel;
    uint32_t found = 0;
    size_t at = 0;

    if (!judge_find(rw, j, ATTR_REL, &rel))
        return HTML_KEEP;
    while (at < rel.len) {
        size_t end = at;

        while (end < rel.len && !tok_is_space((uint8_t)rel.ptr[end]))
            end++;
        for (size_t i = 0; i < COUNT_OF(rels); i++) {
            if (str_eq_fold_c(str_slice(rel, at, end - at), rels[i].rel))
                found |= 1u << i;
        }
        at = end + 1;
    }
    for (size_t i = 0; i < COUNT_OF(rels); i++) {
        if ((found >> i & 1) != 0 && value_url(rw, j, href, ATTR_HREF, rels[i].use) == HTML_DROP)
            return HTML_DROP;
    }
    return HTML_KEEP;
}

static enum html_action judge_meta(struct rewriter *rw, const struct judged *j, struct str text)
{
    struct html_ref cookie = {.element = "meta", .attr = "content", .value = text};
    struct str equiv;

    if (!judge_find(rw, j, ATTR_HTTP_EQUIV, &equiv))
        return HTML_KEEP;
    if (str_eq_fold_c(equiv, "refresh"))
        return value_refresh(rw, j, text);
    if (!str_eq_fold_c(equiv, "set-cookie"))
        return HTML_KEEP;
    cookie.use = HTML_USE_COOKIE;
    return value_ref(rw, &cookie);
}

/* The digest of a file that the proxy may change would keep the browser from taking it. */
static enum html_action judge_integrity(struct rewriter *rw, const struct judged *j)
{
    struct html_ref ref = {.element = element_rows[j->elem].name,
                           .attr = "integrity",
                           .use = HTML_USE_INTEGRITY,
                           .base = buf_str(&rw->base),
                           .base_alt = buf_str(&rw->base_alt)};
    struct html_note note = {0};

    if (!judge_find(rw, j, j->elem == ELEM_SCRIPT ? ATTR_SRC : ATTR_HREF, &ref.value))
        return HTML_KEEP;
    return rw->ops.on_ref(rw->owner, &ref, &note);
}

static enum html_action judge_value(struct rewriter *rw, const struct judged *j,
                                    const struct rule *rule, struct str text)
{
    enum html_attr attr = rule->attr;
    enum html_use use = rule->use;

    switch ((enum value_kind)rule->kind) {
    case V_URL:
        return value_url(rw, j, text, attr, use);
    case V_LIST:
        return value_list(rw, j, text, attr, use, "");
    case V_VALUES:
        return value_list(rw, j, text, attr, use, ";");
    case V_SRCSET:
        return value_srcset(rw, j, text, attr);
    case V_CODE_URL:
        while (text.len > 0 && (unsigned char)text.ptr[0] <= ' ')
            text = str_slice(text, 1, text.len);
        return text.len > 0 && ascii_lower(text.ptr[0]) == 'j'
                   ? value_url(rw, j, text, attr, HTML_USE_FORM)
                   : HTML_KEEP;
    case V_LINK:
        return judge_link(rw, j, text);
    case V_META:
        return judge_meta(rw, j, text);
    case V_CHARSET: /* files that come through here are read as in ASCII */
        return html_charset_sniff(STR("   "), true, text, NULL) == HTML_CHARSET_BYTES
                   ? HTML_KEEP
                   : judge_integrity(rw, j);
    case V_SRCDOC:
    case V_INTEGRITY:
        break; /* judge_by_rule does these */
    }
    return HTML_DROP;
}

static struct cut *next_cut(struct rewriter *rw)
{
    if (rw->cut_cnt == rw->cuts_cap) {
        rw->cuts_cap = rw->cuts_cap > 0 ? rw->cuts_cap * 2 : CUTS_FIRST;
        rw->cuts = mem_realloc(rw->cuts, rw->cuts_cap * sizeof(*rw->cuts));
    }
    return &rw->cuts[rw->cut_cnt++];
}

static void add_cut(struct rewriter *rw, struct judged *j, const struct tag_attr *a)
{
    struct cut cut = {.start = a->start, .end = a->end};
    char before = j->tag.ptr[cut.start - 1];
    char behind = cut.end < j->tag.len ? j->tag.ptr[cut.end] : '>';

    /* One of two white spaces goes too; "/" must not come to stand before ">". */
    if (tok_is_space((uint8_t)before) && tok_is_space((uint8_t)behind))
        cut.start--;
    cut.with = (uint32_t)rw->patch.len;
    if (before == '/' && behind == '>')
        cut.with_len = buf_append_char(&rw->patch, ' ') ? 1 : 0;
    *next_cut(rw) = cut;
    if (j->verdict == TAG_KEEP)
        j->verdict = TAG_EDIT;
}

static void cut_attr(struct rewriter *rw, struct judged *j, const struct tag_attr *a)
{
    add_cut(rw, j, a);
    rw->counts.attrs_removed++;
}

/* The value of a becomes text, in double quotes when it had none; too long: cut. */
static void patch_value(struct rewriter *rw, struct judged *j, const struct tag_attr *a,
                        struct str text)
{
    size_t from = rw->patch.len;
    char quote = a->quote != '\0' ? a->quote : '"';
    bool ok = a->quote != '\0' || buf_append_char(&rw->patch, quote);

    for (size_t i = 0; i < text.len && ok; i++) {
        if (text.ptr[i] == '&')
            ok = buf_append_c(&rw->patch, "&amp;");
        else if (text.ptr[i] == quote)
            ok = buf_append_c(&rw->patch, quote == '"' ? "&quot;" : "&#39;");
        else
            ok = buf_append_char(&rw->patch, text.ptr[i]);
    }
    if (a->quote == '\0')
        ok = ok && buf_append_char(&rw->patch, quote);
    if (!ok) {
        cut_attr(rw, j, a);
        return;
    }
    *next_cut(rw) = (struct cut){.start = a->value,
                                 .end = a->value + a->value_len,
                                 .with = (uint32_t)from,
                                 .with_len = (uint32_t)(rw->patch.len - from)};
    if (j->verdict == TAG_KEEP)
        j->verdict = TAG_EDIT;
}

static void judge_css_attr(struct rewriter *rw, struct judged *j, const struct tag_attr *a)
{
    struct str raw = tag_attr_value(j->tag, a);
    struct buf out;
    struct str text;

    if (raw.len == 0 ||
        (memchr(raw.ptr, '(', raw.len) == NULL && memchr(raw.ptr, '&', raw.len) == NULL))
        return;
    buf_init(&out, VALUE_MAX);
    if (!decoded(j, a, &rw->value, &text))
        cut_attr(rw, j, a);
    else if (value_css(rw, j->elem, a->id, text, &out)) {
        if (out.len == 0)
            cut_attr(rw, j, a);
        else
            patch_value(rw, j, a, buf_str(&out));
    }
    buf_free(&out);
}

static void judge_srcdoc(struct rewriter *rw, struct judged *j, const struct tag_attr *a)
{
    struct buf out;
    struct str text;

    buf_init(&out, VALUE_MAX);
    if (!decoded(j, a, &rw->value, &text))
        cut_attr(rw, j, a);
    else if (value_document(rw, text, &out)) {
        if (out.len == 0)
            cut_attr(rw, j, a);
        else {
            patch_value(rw, j, a, buf_str(&out));
            rw->counts.urls_blanked++;
        }
    }
    buf_free(&out);
}

/* A frame that stays, with what the owner gives in place of its src. */
static bool stands_in(struct rewriter *rw, struct judged *j, const struct tag_attr *a)
{
    struct cut cut = {.start = a->start, .end = a->end, .with = (uint32_t)rw->patch.len};
    struct str text = rw->note.instead;
    struct str srcdoc;

    if (j->elem != ELEM_IFRAME || a->id != ATTR_SRC || text.len == 0 || j->space != SIM_HTML ||
        j->partial || hidden_active(rw) || rw->nest > 0 ||
        judge_find(rw, j, ATTR_SRCDOC, &srcdoc) || !buf_append_str(&rw->patch, text) ||
        !buf_append_char(&rw->patch, ' '))
        return false;
    cut.with_len = (uint32_t)text.len + 1; /* what follows without a space is apart, too */
    *next_cut(rw) = cut;
    rw->counts.attrs_removed++;
    if (j->verdict == TAG_KEEP)
        j->verdict = TAG_EDIT;
    return true;
}

/* The policy of a meta element in which the owner wants more. */
static bool judge_policy(struct rewriter *rw, struct judged *j, const struct tag_attr *a)
{
    struct str equiv, text;
    struct buf out;

    if (rw->ops.on_policy == NULL || j->space != SIM_HTML || j->partial || hidden_active(rw) ||
        rw->nest > 0 || !judge_find(rw, j, ATTR_HTTP_EQUIV, &equiv) ||
        !str_eq_fold_c(equiv, "content-security-policy") || !decoded(j, a, &rw->value, &text))
        return false;
    buf_init(&out, VALUE_MAX);
    if (rw->ops.on_policy(rw->owner, text, &out))
        patch_value(rw, j, a, buf_str(&out));
    buf_free(&out);
    return true;
}

static void judge_by_rule(struct rewriter *rw, struct judged *j, const struct tag_attr *a,
                          const struct rule *rule)
{
    struct str text;

    if (!applies(rw, j, rule)) {
        if (rule->when == W_SMIL) /* it may animate fill: url(…) */
            judge_css_attr(rw, j, a);
        return;
    }
    if (rule->kind == V_SRCDOC) {
        judge_srcdoc(rw, j, a);
        return;
    }
    if (rule->kind == V_INTEGRITY) {
        if (judge_integrity(rw, j) == HTML_DROP)
            add_cut(rw, j, a); /* nothing that fetches goes: not counted */
        return;
    }
    if (rule->kind == V_META && judge_policy(rw, j, a))
        return;
    if (decoded(j, a, &rw->value, &text) && judge_value(rw, j, rule, text) == HTML_KEEP)
        return;
    if (stands_in(rw, j, a))
        return;
    if (rule->goes == G_ATTR || (j->space != SIM_HTML && j->elem != ELEM_SCRIPT))
        cut_attr(rw, j, a); /* foreign: nothing that the tree knows goes */
    else
        j->verdict = rule->goes == G_RAW ? TAG_DROP_RAW : TAG_DROP;
}

static void judge_attr(struct rewriter *rw, struct judged *j, const struct tag_attr *a)
{
    const struct rule *rule = find_rule(j->elem, a->id);
    struct str text;

    if (rule != NULL) {
        judge_by_rule(rw, j, a, rule);
    } else if (a->id == ATTR_STYLE || (j->space != SIM_HTML && is_presentation(a->id))) {
        judge_css_attr(rw, j, a);
    } else if (j->space == SIM_MATH && (a->id == ATTR_HREF || a->id == ATTR_XLINK_HREF)) {
        judge_by_rule(rw, j, a, &rules[RULE_A_HREF]);
    } else if (a->id == ATTR_HANDLER) {
        if (!decoded(j, a, &rw->value, &text) ||
            judge_inline(rw, text, HTML_SCRIPT_HANDLER, element_rows[j->elem].name, "on") ==
                HTML_DROP)
            cut_attr(rw, j, a);
    }
}

/* The first base wins in each reading; another one is kept as the alternative. */
static void note_base(struct rewriter *rw, const struct judged *j)
{
    struct str href;
    struct buf *into = rw->base.len == 0 ? &rw->base : &rw->base_alt;

    if (!judge_find(rw, j, ATTR_HREF, &href))
        return;
    if (rw->base.len == 0 && (j->space != SIM_HTML || rw->sim.templates > 0))
        into = &rw->base_alt;
    if (into->len == 0 && !buf_append_str(into, href))
        buf_clear(into);
}

/* An element of AMP that is a tracker by its name; its vendor has a name too, or none. */
static enum html_action judge_vendor(struct rewriter *rw, const struct judged *j)
{
    struct html_ref vendor = {
        .element = element_rows[j->elem].name, .attr = "type", .use = HTML_USE_AMP};

    if ((element_rows[j->elem].flags & ELEM_F_VENDOR) == 0 || j->space != SIM_HTML)
        return HTML_KEEP;
    (void)judge_find(rw, j, ATTR_TYPE, &vendor.value);
    return value_ref(rw, &vendor);
}

enum verdict_kind judge_tag(struct rewriter *rw, struct judged *j)
{
    uint64_t gone = 0;

    rw->cut_cnt = 0;
    buf_clear(&rw->patch);
    j->verdict = TAG_KEEP;
    if (!rw->parsed)
        rewriter_parse(rw, j->tag, j->name_end, NULL);
    if (rw->attr_cnt > rw->limits.attrs_max) {
        rw->attr_cnt = 0;
        rw->counts.over_attrs++;
        return TAG_DROP_RAW;
    }
    if (judge_vendor(rw, j) == HTML_DROP)
        return TAG_DROP;
    for (size_t i = 0; i < rw->attr_cnt; i++) {
        const struct tag_attr *a = &rw->attrs[i];
        size_t cuts = rw->cut_cnt;

        if (j->hiding && hidden_in(rw, str_slice(j->tag, a->start, a->end - a->start))) {
            if (j->elem == ELEM_SCRIPT)
                return TAG_DROP_RAW; /* without its src its text would run */
            cut_attr(rw, j, a);
            gone |= a->id != ATTR_OTHER ? UINT64_C(1) << a->id : 0;
            continue;
        }
        if (a->id == ATTR_OTHER)
            continue;
        if (!a->is_duplicate)
            judge_attr(rw, j, a);
        else if ((gone >> a->id & 1) != 0)
            add_cut(rw, j, a); /* or it would take the place of the one that went */
        if (j->verdict == TAG_DROP || j->verdict == TAG_DROP_RAW)
            return j->verdict;
        if (rw->cut_cnt > cuts)
            gone |= UINT64_C(1) << a->id;
    }
    if (j->elem == ELEM_BASE)
        note_base(rw, j);
    return j->verdict;
}
