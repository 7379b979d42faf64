/*
 * banner.c - the banner that is put into pages: one form that posts to an absolute address, so it
 * works without script and under any <base>.
 *
 * What is injected is one labelled region, first in the body. The first layer is a card at the
 * foot of the window; the settings are a part of the same form, which the script shows in a
 * dialog. Without script "Settings" leads to the preferences page. Nothing is ticked beforehand;
 * after a decision the boxes show it, and a small link stays as the way back.
 */
#include "assets_priv.h"
#include "consentd/b64.h"
#include "consentd/rules.h"
#include "consentd/snapshot.h"
#include "page_priv.h"

#define COOKIES_SHOWN 12 /* cookie names listed per rule set */

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

/* In the page itself, so that nothing waits for it; a file where the page's policy wants that. */
static void style(struct page *p)
{
    const struct enforcement *e = enforcement_of(p->x);

    if (e->style_inline) {
        put(p, "<style");
        p->ok = p->ok && nonce_attribute(p->out, e->style_nonce);
        put(p, ">");
        p->ok = p->ok && buf_append_str(p->out, web_banner_css);
        put(p, "</style>");
        return;
    }
    put(p, "<link rel=\"stylesheet\" href=\"");
    address(p, "banner.css?v=");
    put(p, web_banner_css_hash);
    put(p, "\"/>");
}

/* --- the settings --- */

static void provider(struct page *p, const struct policy_provider *provider)
{
    const struct rules *rules = p->x->snapshot == NULL ? NULL : snapshot_rules(p->x->snapshot);

    put(p, "<li><b>");
    text(p, provider->name);
    put(p, "</b> ");
    prose(p, &provider->role);
    for (size_t i = 0; rules != NULL && i < provider->set_cnt; i++) {
        ptrdiff_t set = rules_find(rules, str_c(provider->sets[i]));

        if (set < 0 || rules_set(rules, (size_t)set)->cookie_cnt == 0)
            continue;
        put(p, "<small>");
        cookie_list(p, rules_set(rules, (size_t)set), COOKIES_SHOWN);
        put(p, "</small>");
    }
    put(p, "</li>");
}

static void providers(struct page *p, uint16_t category)
{
    bool any = false;

    for (size_t i = 0; i < p->policy->provider_cnt; i++) {
        if (p->policy->providers[i].category != category)
            continue;
        if (!any) {
            put(p, "<details><summary>");
            ui(p, "services");
            put(p, "</summary><ul>");
        }
        any = true;
        provider(p, &p->policy->providers[i]);
    }
    put(p, any ? "</ul></details>" : "");
}

static void category_row(struct page *p, const struct policy_category *category)
{
    put(p, "<section>");
    category_head(p, category);
    put(p, "</p>");
    providers(p, category->bit);
    put(p, "</section>");
}

static void changes(struct page *p)
{
    put(p, "<p class=\"cnsnt-note\"><b>");
    ui(p, "changed");
    put(p, "</b> ");
    prose(p, &p->policy->changes[0].summary);
    put(p, "</p>");
}

static void details_link(struct page *p, const char *key, const char *attributes)
{
    put(p, "<a target=\"_self\" href=\"");
    address(p, "preferences");
    put(p, "\"");
    put(p, attributes);
    put(p, ">");
    ui(p, key);
    put(p, "</a>");
}

/* Names what the rows below depend on. False: too long a tag to be named. */
static bool rows_key(const struct page *p, char key[ASSET_KEY_MAX])
{
    uint64_t fields[2] = {0};
    size_t len = 2 * sizeof(fields);

    fields[0] = p->x->snapshot == NULL ? 0 : snapshot_fingerprint(p->x->snapshot);
    fields[1] = (uint64_t)enforcement_of(p->x)->decided << 16 | p->x->grants;
    (void)hex_encode(key, fields, sizeof(fields));
    return (size_t)snprintf(key + len, ASSET_KEY_MAX - len, " %s", p->language->tag) <
           ASSET_KEY_MAX - len;
}

/* Most of the work of a banner, and the same for all with these ticks and this language. */
static void category_rows(struct page *p)
{
    struct assets *panels = ((struct enforce_worker *)p->x->server->enforce)->panels;
    char key[ASSET_KEY_MAX];
    struct asset_name name = {.site = p->x->site, .key = key, .coding = CODING_IDENTITY};
    bool named = rows_key(p, key);
    size_t from = p->out->len;
    struct str rows;

    if (named && asset_find(panels, &name, &rows)) {
        p->ok = p->ok && buf_append_str(p->out, rows);
        return;
    }
    for (size_t i = 0; i < p->policy->category_cnt; i++)
        category_row(p, &p->policy->category[i]);
    named = named && p->ok &&
            asset_keep(panels, &name, str_slice(buf_str(p->out), from, p->out->len), &rows);
    UNUSED(named); /* what is not kept is drawn again */
}

static void panel(struct page *p)
{
    put(p, "<div class=\"cnsnt-panel\" hidden=\"\">");
    category_rows(p);
    put(p, "<p>");
    details_link(p, "all_services", "");
    put(p, "</p></div>");
}

/* --- the form --- */

static void close_button(struct page *p)
{
    put(p, "<button type=\"button\" class=\"cnsnt-x\" data-consent-action=\"close\" hidden=\"\" "
           "aria-label=\"");
    ui(p, "close");
    put(p, "\"></button>");
}

static void banner_form(struct page *p)
{
    const struct enforcement *e = enforcement_of(p->x);

    form_begin(p, e->decided ? " class=\"cnsnt-card\" hidden=\"\"" : " class=\"cnsnt-card\"");
    put(p, "<div class=\"cnsnt-head\"><h2 id=\"cnsnt-title\" tabindex=\"-1\">");
    ui(p, "title");
    put(p, "</h2>");
    close_button(p);
    put(p, "</div><div class=\"cnsnt-body\"><p>");
    ui(p, "text");
    put(p, " ");
    details_link(p, "details", "");
    put(p, "</p>");
    if (e->gpc) {
        put(p, "<p class=\"cnsnt-note\">");
        ui(p, "gpc");
        put(p, "</p>");
    }
    if (e->outdated && p->policy->change_cnt > 0)
        changes(p);
    panel(p);
    put(p, "</div><div class=\"cnsnt-row\">");
    button(p, "save", "save"); /* first: what Enter in a check box means */
    button(p, "accept-all", "accept_all");
    button(p, "reject-all", "reject_all");
    details_link(p, "settings", " class=\"cnsnt-more\" data-consent-action=\"settings\"");
    put(p, "</div></form>");
}

/* A new version of the notice, told once; closes without script. */
static void news(struct page *p)
{
    put(p, "<details class=\"cnsnt-card cnsnt-news\" open=\"\" role=\"status\"><summary><b>");
    ui(p, "notice_new");
    put(p, "</b></summary><div class=\"cnsnt-body\"><p>");
    prose(p, &p->policy->changes[0].summary);
    put(p, " <a href=\"");
    address(p, "policy/changes");
    put(p, "\">");
    ui(p, "notice_changes");
    put(p, "</a></p></div></details>");
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
    put(&p, enforcement_of(x)->reloads ? " data-reload=\"\">" : ">");
    style(&p);
    banner_form(&p);
    if (enforcement_of(x)->told)
        news(&p);
    details_link(&p, "open",
                 enforcement_of(x)->decided
                     ? " class=\"cnsnt-open\" data-consent-action=\"open\""
                     : " class=\"cnsnt-open\" data-consent-action=\"open\" hidden=\"\"");
    put(&p, "<script id=\"cnsnt\" src=\""); /* the end of it: filter_html.c waits for that */
    address(&p, "banner.js?v=");
    put(&p, web_banner_js_hash);
    put(&p, "\"");
    p.ok = p.ok && nonce_attribute(out, enforcement_of(x)->script_nonce) &&
           integrity_attribute(out, enforcement_of(x)->banner_hash);
    put(&p, " async=\"\"></script></div>");
    return p.ok;
}
