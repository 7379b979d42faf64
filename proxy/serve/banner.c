/*
 * banner.c - the banner injected into pages, and the preferences page. Both are one form that
 * posts to an absolute address: it works without script and under any <base>.
 *
 * What is injected is one element with the attribute data-consent-banner, first in the body; its
 * style and script are files of the page's own host, so a policy of 'self' lets them through.
 * Nothing is ticked beforehand; after a decision the boxes show it, and a small button stays
 * as the way back.
 */
#include <string.h>

#include "consentd/b64.h"
#include "consentd/buf.h"
#include "consentd/rules.h"
#include "consentd/ruleset.h"
#include "consentd/snapshot.h"
#include "enforce_priv.h"
#include "web_assets.h"

#define COOKIES_SHOWN 12 /* cookie names listed per rule set */

/* The character of well-formed UTF-8 at `at`; its bytes. 0: none there. */
static size_t utf8_read(struct str text, size_t at, uint32_t *out)
{
    uint8_t first = (uint8_t)text.ptr[at];
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;

    if (len == 0 || text.len - at < len)
        return 0;
    *out = first & (0x7fu >> len);
    for (size_t i = 1; i < len; i++)
        *out = *out << 6 | ((uint8_t)text.ptr[at + i] & 0x3fu);
    return len;
}

/* ASCII comes out, so that the text is right in a page of any encoding. */
bool html_escape(struct buf *out, struct str text)
{
    bool ok = true;

    for (size_t i = 0; i < text.len && ok; i++) {
        uint32_t c = 0;
        size_t len = (uint8_t)text.ptr[i] >= 0x80 ? utf8_read(text, i, &c) : 0;

        if (len > 0) {
            ok = buf_printf(out, "&#%u;", (unsigned)c);
            i += len - 1;
            continue;
        }
        switch (text.ptr[i]) {
        case '&':
            ok = buf_append_c(out, "&amp;");
            break;
        case '<':
            ok = buf_append_c(out, "&lt;");
            break;
        case '>':
            ok = buf_append_c(out, "&gt;");
            break;
        case '"':
            ok = buf_append_c(out, "&quot;");
            break;
        case '\'':
            ok = buf_append_c(out, "&#39;");
            break;
        default:
            ok = buf_append_char(out, text.ptr[i]);
        }
    }
    return ok;
}

/* What both pages are drawn with. A failed append makes all later ones no-ops. */
struct page {
    struct exchange *x;
    const struct policy *policy;
    struct buf *out;
    unsigned language;
    bool ok;
};

static void put(struct page *p, const char *markup)
{
    p->ok = p->ok && buf_append_c(p->out, markup);
}

static void text(struct page *p, const char *words)
{
    p->ok = p->ok && html_escape(p->out, str_c(words));
}

/* An interface text of the policy, or the built-in English one. */
static void ui(struct page *p, const char *key, const char *fallback)
{
    const char *words = policy_ui_text(p->policy, p->language, key);

    text(p, words != NULL ? words : fallback);
}

static void prose(struct page *p, const struct policy_text *words)
{
    text(p, policy_text(words, p->language));
}

static void page_begin(struct page *p, struct exchange *x, struct buf *out)
{
    p->x = x;
    p->policy = x->site->policy;
    p->out = out;
    p->language = enforcement_of(x)->language;
    p->ok = true;
}

/* "https://host/.consent/<leaf>": absolute, so that no <base> can send it elsewhere. */
static void address(struct page *p, const char *leaf)
{
    const struct exchange *x = p->x;

    put(p, x->secure ? "https://" : "http://");
    p->ok = p->ok && html_escape(p->out, x->req.authority);
    text(p, x->site->config->prefix);
    text(p, leaf);
}

static bool is_right_to_left(const char *language)
{
    static const char *const rtl[] = {"ar", "he", "fa", "ur"};

    for (size_t i = 0; i < COUNT_OF(rtl); i++) {
        if (strncmp(language, rtl[i], 2) == 0)
            return true;
    }
    return false;
}

static void language_attributes(struct page *p)
{
    const char *language = p->policy->languages[p->language];

    put(p, " lang=\"");
    text(p, language);
    put(p, is_right_to_left(language) ? "\" dir=\"rtl\"" : "\" dir=\"ltr\"");
}

static void button(struct page *p, const char *action, const char *key, const char *fallback)
{
    put(p, "<button type=\"submit\" name=\"action\" value=\"");
    put(p, action);
    put(p, "\" data-consent-action=\"");
    put(p, action);
    put(p, "\">");
    ui(p, key, fallback);
    put(p, "</button>");
}

static void accept_and_reject(struct page *p)
{
    put(p, "<div class=\"cnsnt-row\">");
    button(p, "accept-all", "accept_all", "Accept all");
    button(p, "reject-all", "reject_all", "Reject all");
    put(p, "</div>");
}

static void check_box(struct page *p, const struct policy_category *category)
{
    const struct enforcement *e = enforcement_of(p->x);
    bool ticked = e->decided && (p->x->grants & category->bit);

    put(p, "<label><input type=\"checkbox\" name=\"");
    text(p, category->id);
    put(p, ticked ? "\" checked=\"\"/><span>" : "\"/><span>");
    prose(p, &category->title);
    put(p, "<small>");
    prose(p, &category->purpose);
    put(p, "</small></span></label>");
}

static void category_rows(struct page *p)
{
    for (size_t i = 0; i < p->policy->category_cnt; i++) {
        const struct policy_category *category = &p->policy->category[i];

        if (!category->required) {
            check_box(p, category);
            continue;
        }
        put(p, "<p><b>");
        prose(p, &category->title);
        put(p, "</b> (");
        ui(p, "always_on", "always on");
        put(p, ")<small>");
        prose(p, &category->purpose);
        put(p, "</small></p>");
    }
}

/* The state as JSON inside an attribute: the script need not ask for it. */
static void state_attribute(struct page *p)
{
    const char *comma = "";

    put(p, " data-state=\"{&quot;decided&quot;:");
    put(p, enforcement_of(p->x)->decided ? "true" : "false");
    put(p, ",&quot;grants&quot;:{");
    for (size_t i = 0; i < p->policy->category_cnt; i++) {
        const struct policy_category *category = &p->policy->category[i];
        bool granted = category->required || (p->x->grants & category->bit) != 0;

        put(p, comma);
        put(p, "&quot;");
        text(p, category->id);
        put(p, granted ? "&quot;:true" : "&quot;:false");
        comma = ",";
    }
    put(p, "}}\"");
}

static void doc_attribute(struct page *p)
{
    char doc[B64_LEN(16) + 1];

    b64url_encode(doc, p->policy->doc_hash, 16);
    put(p, " data-doc=\"");
    put(p, doc);
    put(p, "\"");
}

static void style_link(struct page *p)
{
    put(p, "<link rel=\"stylesheet\" href=\"");
    address(p, "banner.css?v=");
    put(p, web_banner_css_hash);
    put(p, "\"/>");
}

static void form_begin(struct page *p, const char *attributes)
{
    put(p, "<form method=\"post\" action=\"");
    address(p, "choice");
    put(p, "\"");
    put(p, attributes);
    put(p, ">");
}

static void change_summary(struct page *p)
{
    if (p->policy->change_cnt == 0)
        return;
    put(p, "<p><small>");
    prose(p, &p->policy->changes[0].summary);
    put(p, "</small></p>");
}

/* The first layer, and the settings in a <details> that opens without script. */
static void banner_form(struct page *p)
{
    const struct enforcement *e = enforcement_of(p->x);

    form_begin(p, e->decided ? " class=\"cnsnt-card\" hidden=\"\"" : " class=\"cnsnt-card\"");
    put(p, "<h2 id=\"cnsnt-title\" tabindex=\"-1\">");
    ui(p, "title", "Your privacy choices");
    put(p, "</h2><p>");
    ui(p, "text",
       "We use necessary cookies to run this site. With your permission we also use analytics "
       "and marketing cookies. You can change this at any time.");
    put(p, " <a href=\"");
    address(p, "preferences");
    put(p, "\">");
    ui(p, "details", "Details and providers");
    put(p, "</a></p>");
    if (e->gpc) {
        put(p, "<p>");
        ui(p, "gpc",
           "Your browser asks us not to share your data: marketing stays off unless you allow it.");
        put(p, "</p>");
    }
    accept_and_reject(p);
    put(p, "<details><summary data-consent-action=\"settings\">");
    ui(p, "settings", "Settings");
    put(p, "</summary>");
    category_rows(p);
    put(p, "<div class=\"cnsnt-row\">");
    button(p, "save", "save", "Save choices");
    put(p, "</div></details></form>");
}

/* Well-formed XML too: the page may be XHTML. */
bool banner_render(struct exchange *x, struct buf *out)
{
    struct page p;

    page_begin(&p, x, out);
    put(&p, "<div data-consent-banner=\"\" class=\"cnsnt\" role=\"region\" "
            "aria-labelledby=\"cnsnt-title\"");
    language_attributes(&p);
    doc_attribute(&p);
    state_attribute(&p);
    put(&p, ">");
    style_link(&p);
    banner_form(&p);
    put(&p, "<a class=\"cnsnt-open\" data-consent-action=\"open\"");
    put(&p, enforcement_of(x)->decided ? " href=\"" : " hidden=\"\" href=\"");
    address(&p, "preferences");
    put(&p, "\">");
    ui(&p, "open", "Cookie settings");
    put(&p, "</a><script src=\"");
    address(&p, "banner.js?v=");
    put(&p, web_banner_js_hash);
    put(&p, "\"");
    p.ok = p.ok && nonce_attribute(x, out);
    put(&p, " async=\"\"></script></div>");
    return p.ok;
}

/* --- the preferences page --- */

static void cookie_rows(struct page *p, const struct ruleset *set)
{
    size_t shown = set->cookie_cnt < COOKIES_SHOWN ? set->cookie_cnt : COOKIES_SHOWN;

    for (size_t i = 0; i < shown; i++) {
        const struct rule_cookie *cookie = &set->cookies[i];

        put(p, i == 0 ? "" : ", ");
        p->ok = p->ok && html_escape(p->out, cookie->text);
        put(p, cookie->kind == RULE_PREFIX ? "…" : "");
        if (cookie->lifetime != NULL) {
            put(p, " (");
            text(p, cookie->lifetime);
            put(p, ")");
        }
    }
    put(p, set->cookie_cnt > shown ? ", …" : "");
}

static void set_row(struct page *p, const struct ruleset *set)
{
    put(p, "<tr><td>");
    if (set->privacy_policy != NULL) {
        put(p, "<a rel=\"noreferrer\" href=\"");
        text(p, set->privacy_policy);
        put(p, "\">");
        text(p, set->name);
        put(p, "</a>");
    } else {
        text(p, set->name);
    }
    put(p, "<br/><small>");
    text(p, set->vendor);
    put(p, "</small></td><td>");
    text(p, set->purpose);
    put(p, "</td><td>");
    cookie_rows(p, set);
    put(p, "</td></tr>");
}

/* The rule sets of a category: what would be set, and by whom. */
static void set_table(struct page *p, uint16_t category)
{
    const struct rules *rules = p->x->snapshot == NULL ? NULL : snapshot_rules(p->x->snapshot);
    size_t cnt = rules == NULL ? 0 : rules_set_cnt(rules);

    put(p, "<details><summary>");
    ui(p, "vendors", "Services and cookies that are controlled here");
    put(p, "</summary><table><tr><th>");
    ui(p, "service", "Service");
    put(p, "</th><th>");
    ui(p, "purpose", "Purpose");
    put(p, "</th><th>");
    ui(p, "cookies", "Cookies and how long they last");
    put(p, "</th></tr>");
    for (size_t i = 0; i < cnt; i++) {
        const struct ruleset *set = rules_set(rules, i);

        if (set->categories & category)
            set_row(p, set);
    }
    put(p, "</table></details>");
}

static void provider_list(struct page *p, uint16_t category)
{
    bool any = false;

    for (size_t i = 0; i < p->policy->provider_cnt; i++) {
        const struct policy_provider *provider = &p->policy->providers[i];

        if (provider->category != category)
            continue;
        put(p, any ? "<li>" : "<ul><li>");
        any = true;
        put(p, "<b>");
        text(p, provider->name);
        put(p, "</b>: ");
        prose(p, &provider->role);
        put(p, "</li>");
    }
    put(p, any ? "</ul>" : "");
}

static void category_section(struct page *p, const struct policy_category *category)
{
    put(p, "<section>");
    if (category->required) {
        put(p, "<h2>");
        prose(p, &category->title);
        put(p, "</h2><p>");
        prose(p, &category->purpose);
        put(p, " (");
        ui(p, "always_on", "always on");
        put(p, ")</p>");
    } else {
        check_box(p, category);
    }
    put(p, "<p><small>");
    ui(p, "legal_basis", "Legal basis");
    put(p, ": ");
    prose(p, &category->legal_basis);
    put(p, "</small></p>");
    provider_list(p, category->bit);
    set_table(p, category->bit);
    put(p, "</section>");
}

static void policy_section_put(struct page *p, const char *key, const char *fallback,
                               const struct policy_text *words)
{
    put(p, "<h2>");
    ui(p, key, fallback);
    put(p, "</h2><p>");
    prose(p, words);
    put(p, "</p>");
}

static void purposes_and_rights(struct page *p)
{
    put(p, "<h2>");
    ui(p, "purposes", "What your data is used for");
    put(p, "</h2><table>");
    for (size_t i = 0; i < p->policy->purpose_cnt; i++) {
        put(p, "<tr><td>");
        prose(p, &p->policy->purposes[i].purpose);
        put(p, "</td><td>");
        prose(p, &p->policy->purposes[i].legal_basis);
        put(p, "</td></tr>");
    }
    put(p, "</table>");
    provider_list(p, 0);
    policy_section_put(p, "transfers", "International transfers", &p->policy->transfers);
    policy_section_put(p, "retention", "How long data is kept", &p->policy->retention);
    put(p, "<h2>");
    ui(p, "rights", "Your rights");
    put(p, "</h2><ul>");
    for (size_t i = 0; i < p->policy->right_cnt; i++) {
        put(p, "<li>");
        prose(p, &p->policy->rights[i]);
        put(p, "</li>");
    }
    put(p, "</ul><p>");
    text(p, p->policy->controller.name);
    put(p, ", ");
    text(p, p->policy->controller.address);
    put(p, ", ");
    text(p, p->policy->controller.email);
    put(p, "</p>");
}

static void page_head(struct page *p)
{
    put(p, "<!doctype html><html");
    language_attributes(p);
    put(p, "><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
           "content=\"width=device-width,initial-scale=1\"><meta name=\"robots\" "
           "content=\"noindex\"><title>");
    ui(p, "open", "Cookie settings");
    put(p, "</title>");
    style_link(p);
    put(p, "</head><body class=\"cnsnt\"><main class=\"cnsnt-page\"><h1>");
    ui(p, "title", "Your privacy choices");
    put(p, "</h1><p>");
    ui(p, "text",
       "We use necessary cookies to run this site. With your permission we also use analytics "
       "and marketing cookies. You can change this at any time.");
    put(p, "</p>");
}

bool preferences_render(struct exchange *x, struct buf *out)
{
    struct page p;

    page_begin(&p, x, out);
    page_head(&p);
    change_summary(&p);
    form_begin(&p, "");
    put(&p, "<input type=\"hidden\" name=\"return\" value=\"");
    text(&p, x->site->config->prefix);
    put(&p, "preferences\">");
    for (size_t i = 0; i < p.policy->category_cnt; i++)
        category_section(&p, &p.policy->category[i]);
    put(&p, "<div class=\"cnsnt-row\">");
    button(&p, "save", "save", "Save choices");
    put(&p, "</div><p></p>");
    accept_and_reject(&p);
    put(&p, "</form>");
    purposes_and_rights(&p);
    put(&p, "<p><small>");
    text(&p, p.policy->version);
    put(&p, " · ");
    text(&p, p.policy->effective);
    put(&p, "</small></p></main></body></html>\n");
    return p.ok;
}
