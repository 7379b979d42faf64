/*
 * preferences.c - the page of all choices: complete without script, and with every rule set that
 * is controlled here.
 */
#include "consentd/rules.h"
#include "consentd/snapshot.h"
#include "page_priv.h"

#define COOKIES_SHOWN 40 /* cookie names listed per rule set */

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
    put(p, "<small>");
    text(p, set->vendor);
    put(p, "</small></td><td lang=\"en\" dir=\"auto\">");
    text(p, set->purpose);
    put(p, "</td><td>");
    cookie_list(p, set, COOKIES_SHOWN);
    put(p, "</td></tr>");
}

/* The rule sets of a category: what would be set, and by whom. */
static void set_table(struct page *p, uint16_t category)
{
    const struct rules *rules = p->x->snapshot == NULL ? NULL : snapshot_rules(p->x->snapshot);
    size_t cnt = rules == NULL ? 0 : rules_set_cnt(rules);

    put(p, "<details><summary>");
    ui(p, "vendors");
    put(p, "</summary><table><thead><tr><th scope=\"col\">");
    ui(p, "service");
    put(p, "</th><th scope=\"col\">");
    ui(p, "purpose");
    put(p, "</th><th scope=\"col\">");
    ui(p, "cookies");
    put(p, "</th></tr></thead><tbody>");
    for (size_t i = 0; i < cnt; i++) {
        const struct ruleset *set = rules_set(rules, i);

        if (set->categories & category)
            set_row(p, set);
    }
    put(p, "</tbody></table></details>");
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
        put(p, "</b> ");
        prose(p, &provider->role);
        put(p, "</li>");
    }
    put(p, any ? "</ul>" : "");
}

static void category_section(struct page *p, const struct policy_category *category)
{
    put(p, "<section id=\"");
    text(p, category->id);
    put(p, "\">");
    category_head(p, category);
    put(p, "</p><p><small>");
    ui(p, "legal_basis");
    put(p, ": ");
    prose(p, &category->legal_basis);
    put(p, "</small></p>");
    provider_list(p, category->bit);
    set_table(p, category->bit);
    put(p, "</section>");
}

static void policy_section_put(struct page *p, const char *key, const struct policy_text *words)
{
    put(p, "<h2>");
    ui(p, key);
    put(p, "</h2><p>");
    prose(p, words);
    put(p, "</p>");
}

static void purposes_and_rights(struct page *p)
{
    put(p, "<h2>");
    ui(p, "purposes");
    put(p, "</h2><table><thead><tr><th scope=\"col\">");
    ui(p, "purpose");
    put(p, "</th><th scope=\"col\">");
    ui(p, "legal_basis");
    put(p, "</th></tr></thead><tbody>");
    for (size_t i = 0; i < p->policy->purpose_cnt; i++) {
        put(p, "<tr><td>");
        prose(p, &p->policy->purposes[i].purpose);
        put(p, "</td><td>");
        prose(p, &p->policy->purposes[i].legal_basis);
        put(p, "</td></tr>");
    }
    put(p, "</tbody></table>");
    provider_list(p, 0);
    policy_section_put(p, "transfers", &p->policy->transfers);
    policy_section_put(p, "retention", &p->policy->retention);
    put(p, "<h2>");
    ui(p, "rights");
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

static void style_link(struct page *p, const char *file, const char *hash)
{
    put(p, "<link rel=\"stylesheet\" href=\"");
    address(p, file);
    put(p, hash);
    put(p, "\">");
}

static void page_head(struct page *p)
{
    put(p, "<!doctype html><html");
    language_attributes(p);
    put(p, "><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
           "content=\"width=device-width,initial-scale=1\"><meta name=\"robots\" "
           "content=\"noindex\"><meta name=\"color-scheme\" content=\"light dark\"><title>");
    ui(p, "open");
    put(p, "</title>");
    style_link(p, "banner.css?v=", web_banner_css_hash);
    style_link(p, "page.css?v=", web_page_css_hash);
    put(p, "</head><body class=\"cnsnt\"><main class=\"cnsnt-page\"><h1>");
    ui(p, "title");
    put(p, "</h1><p>");
    ui(p, "text");
    put(p, "</p>");
    if (enforcement_of(p->x)->gpc) {
        put(p, "<p class=\"cnsnt-note\">");
        ui(p, "gpc");
        put(p, "</p>");
    }
    if (p->policy->change_cnt > 0) {
        put(p, "<p><small>");
        prose(p, &p->policy->changes[0].summary);
        put(p, "</small></p>");
    }
}

bool preferences_render(struct exchange *x, struct buf *out)
{
    struct page p;

    page_begin(&p, x, out);
    page_head(&p);
    form_begin(&p, "");
    put(&p, "<input type=\"hidden\" name=\"return\" value=\"");
    text(&p, x->site->config->prefix);
    put(&p, "preferences\">");
    for (size_t i = 0; i < p.policy->category_cnt; i++)
        category_section(&p, &p.policy->category[i]);
    put(&p, "<div class=\"cnsnt-row\">");
    button(&p, "save", "save"); /* first: what Enter in a check box means */
    button(&p, "accept-all", "accept_all");
    button(&p, "reject-all", "reject_all");
    put(&p, "</div></form>");
    purposes_and_rights(&p);
    put(&p, "<p><small>");
    text(&p, p.policy->version);
    put(&p, " &#183; ");
    text(&p, p.policy->effective);
    put(&p, "</small></p></main></body></html>\n");
    return p.ok;
}
