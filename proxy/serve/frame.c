/*
 * frame.c - what stands in the place of a denied frame: a video, a map, a form.
 *
 * The frame's element stays and shows a small document of its own (srcdoc), so the placeholder has
 * the frame's place, size and styles, and nothing of the page reaches into it. What it says: what
 * it is, who would get data. "Load once" is a link to the frame's address, which opens right
 * there; "Always load" is a form that grants the category. Both work without script. A page that is
 * itself in a frame has no such form: whose page is around it, and what a click there is taken for,
 * nobody knows here.
 *
 *   <iframe src="https://…/embed/x" width=…>
 *   <iframe data-consent-frame="marketing" data-consent-url="https://…/embed/x" srcdoc="…" width=…>
 */
#include "consentd/category.h"
#include "consentd/rewriter.h"
#include "consentd/rules.h"
#include "consentd/snapshot.h"
#include "consentd/tag.h"
#include "page_priv.h"

#define ATTRS_MAX    64
#define SRC_MAX      4096
#define DOCUMENT_MAX 16384
#define TINY         24 /* pixels: a frame that is smaller shows nothing */

/* The attribute of the frame's tag as written; false: it has none. */
static bool attribute(const struct html_ref *ref, const char *name, struct str *out)
{
    struct tag_attr attrs[ATTRS_MAX];
    size_t cnt =
        tag_parse(ref->tag, (uint32_t)strlen(ref->element) + 1, attrs, COUNT_OF(attrs), NULL);

    for (size_t i = 0; i < cnt && i < COUNT_OF(attrs); i++) {
        if (attrs[i].is_duplicate || !str_eq_fold_c(tag_attr_name(ref->tag, &attrs[i]), name))
            continue;
        *out = tag_attr_value(ref->tag, &attrs[i]);
        return true;
    }
    return false;
}

static bool is_tiny(const struct html_ref *ref, const char *name)
{
    unsigned size = 0;
    struct str text;
    size_t i = 0;

    if (!attribute(ref, name, &text))
        return false;
    text = str_trim(text);
    while (i < text.len && i < 6 && ascii_is_digit(text.ptr[i]))
        size = size * 10 + (unsigned)(text.ptr[i++] - '0');
    return i > 0 && i == text.len && size < TINY;
}

/* Frames that a visitor is not meant to see are no embedded content: they just go. */
static bool is_seen(const struct html_ref *ref)
{
    static const char *const hiding[] = {"display:none", "visibility:hidden", "height:0",
                                         "width:0"};
    struct str style;
    char plain[512];
    size_t len = 0;

    if (is_tiny(ref, "width") || is_tiny(ref, "height") || attribute(ref, "hidden", &style))
        return false;
    if (!attribute(ref, "style", &style))
        return true;
    for (size_t i = 0; i < style.len && len < sizeof(plain); i++) {
        if (!ascii_is_space(style.ptr[i]))
            plain[len++] = ascii_lower(style.ptr[i]);
    }
    for (size_t i = 0; i < COUNT_OF(hiding); i++) {
        if (str_find(str_make(plain, len), str_c(hiding[i])) >= 0)
            return false;
    }
    return true;
}

/* The category that "Always load" grants: the first one of the set's that a visitor can. */
static const struct policy_category *category_of(const struct page *p, const struct ruleset *set)
{
    for (size_t i = 0; i < p->policy->category_cnt; i++) {
        const struct policy_category *category = &p->policy->category[i];

        if (!category->required && (category->bit & set->categories) != 0)
            return category;
    }
    return NULL;
}

static void title(struct page *p, const struct ruleset *set)
{
    const struct page_value values[] = {{"{name}", set->name}, {NULL, NULL}};
    char key[32];

    snprintf(key, sizeof(key), "embed_%s", set->embed);
    ui_with(p, key, values);
}

static void grants(struct page *p, const struct policy_category *category)
{
    const char *given =
        p->language->in_policy ? policy_text_given(&category->title, p->language->policy) : NULL;
    char key[64];
    struct page_value values[] = {{"{category}", given}, {NULL, NULL}};

    snprintf(key, sizeof(key), "%s_title", category->id);
    if (given == NULL && p->language->own != NULL)
        values[0].value = web_text(p->language->own, key);
    if (values[0].value == NULL)
        values[0].value = policy_text(&category->title, 0);
    ui_with(p, "frame_grants", values);
}

static void always(struct page *p, const struct policy_category *category)
{
    put(p, "<form method=\"post\" target=\"_top\" action=\"");
    address(p, "choice");
    put(p, "\"><input type=\"hidden\" name=\"");
    text(p, category->id);
    put(p, "\" value=\"on\"><input type=\"hidden\" name=\"return\" value=\"");
    p->ok = p->ok && html_escape(p->out, p->x->req.path);
    put(p, "\"><button name=\"action\" value=\"allow\">");
    ui(p, "frame_always");
    put(p, "</button></form>");
}

/* The document inside the frame. */
static void document(struct page *p, const struct ruleset *set,
                     const struct policy_category *category, struct str src)
{
    const struct page_value values[] = {
        {"{vendor}", set->vendor[0] != '\0' ? set->vendor : set->name}, {NULL, NULL}};

    put(p, "<!doctype html><html");
    language_attributes(p);
    put(p, "><head><meta http-equiv=\"x-dns-prefetch-control\" content=\"off\"><meta "
           "name=\"color-scheme\" content=\"light dark\"><title>");
    title(p, set);
    put(p, "</title><link rel=\"stylesheet\" href=\"");
    address(p, "frame.css?v=");
    put(p, web_frame_css_hash);
    put(p, "\"></head><body><main><h1>");
    title(p, set);
    put(p, "</h1><p>");
    ui_with(p, "frame_text", values);
    put(p, "</p><div><a href=\"");
    p->ok = p->ok && html_escape(p->out, src);
    put(p, "\">");
    ui(p, "frame_once");
    put(p, "</a>");
    if (category != NULL)
        always(p, category);
    put(p, "</div>");
    if (category != NULL) {
        put(p, "<small>");
        grants(p, category);
        put(p, "</small>");
    }
    put(p, "</main></body></html>");
}

/* Only addresses that a link may lead to, and that mean the same in another document. */
static bool src_is_plain(struct str src)
{
    return src.len <= SRC_MAX &&
           (str_starts_fold(src, STR("https://")) || str_starts_fold(src, STR("http://")) ||
            str_starts(src, STR("//")));
}

bool frame_render(struct exchange *x, const struct ruleset *set, const struct html_ref *ref,
                  struct buf *out)
{
    struct str src = str_trim(ref->value);
    const struct policy_category *category;
    struct buf inner;
    struct page p;

    if (set->embed == NULL || x->site->policy == NULL || !x->site->config->banner ||
        !src_is_plain(src) || !is_seen(ref))
        return false;
    buf_init(&inner, DOCUMENT_MAX);
    page_begin(&p, x, &inner);
    p.unicode = true; /* escaped once more below */
    category = category_of(&p, set);
    document(&p, set, banner_is_wanted(x) ? category : NULL, src);
    p.out = out;
    put(&p, "data-consent-frame=\"");
    text(&p, category != NULL ? category->id : "");
    put(&p, "\" data-consent-url=\"");
    p.ok = p.ok && html_escape(out, src);
    put(&p, "\" srcdoc=\"");
    p.ok = p.ok && html_escape(out, buf_str(&inner));
    put(&p, "\"");
    buf_free(&inner);
    return p.ok;
}
