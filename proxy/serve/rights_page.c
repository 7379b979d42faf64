/*
 * rights_page.c - the pages about a visitor's own records. Plain HTML: no script, no colour that
 * says something alone, headings and tables as such.
 */
#include <inttypes.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/record.h"
#include "rights_priv.h"

static void style_link(struct page *p, const char *file, const char *hash)
{
    put(p, "<link rel=\"stylesheet\" href=\"");
    address(p, file);
    put(p, hash);
    put(p, "\">");
}

void plain_page_begin(struct page *p, struct exchange *x, struct buf *out, const char *title)
{
    page_begin(p, x, out);
    put(p, "<!doctype html><html");
    language_attributes(p);
    put(p, "><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
           "content=\"width=device-width,initial-scale=1\"><meta name=\"robots\" "
           "content=\"noindex\"><meta name=\"color-scheme\" content=\"light dark\"><title>");
    ui(p, title);
    put(p, "</title>");
    style_link(p, "banner.css?v=", web_banner_css_hash);
    style_link(p, "page.css?v=", web_page_css_hash);
    put(p, "</head><body class=\"cnsnt\"><main class=\"cnsnt-page\"><h1>");
    ui(p, title);
    put(p, "</h1>");
}

static void link_to(struct page *p, const char *leaf, const char *key)
{
    put(p, "<a href=\"");
    address(p, leaf);
    put(p, "\">");
    ui(p, key);
    put(p, "</a>");
}

void plain_page_end(struct page *p)
{
    put(p, "<p><small>");
    link_to(p, "preferences", "open");
    put(p, " &#183; ");
    link_to(p, "policy", "me_policy");
    put(p, " &#183; ");
    text(p, p->policy->controller.name);
    put(p, ", ");
    text(p, p->policy->controller.email);
    put(p, "</small></p></main></body></html>\n");
}

static void paragraph(struct page *p, const char *key)
{
    put(p, "<p>");
    ui(p, key);
    put(p, "</p>");
}

static void heading(struct page *p, const char *key)
{
    put(p, "<h2>");
    ui(p, key);
    put(p, "</h2>");
}

static void moment(struct page *p, uint64_t ms)
{
    char when[CLOCK_TEXT_MAX];

    put(p, "<time>");
    text(p, clock_format(ms, when));
    put(p, "</time>");
}

static void form_to(struct page *p, const char *leaf)
{
    put(p, "<form method=\"post\" action=\"");
    address(p, leaf);
    put(p, "\">");
}

/* --- what is in force ----------------------------------------------------------------------- */

static void state(struct page *p)
{
    const struct rights *r = rights_of(p->x);

    heading(p, "me_now");
    put(p, "<ul>");
    for (size_t i = 0; i < p->policy->category_cnt; i++) {
        const struct policy_category *category = &p->policy->category[i];
        bool granted = category->required || (p->x->grants & category->bit) != 0;

        put(p, "<li><b>");
        category_title(p, category);
        put(p, "</b>: ");
        ui(p, category->required ? "always_on" : granted ? "me_granted" : "me_denied");
        put(p, "</li>");
    }
    put(p, "</ul><p>");
    ui(p, "me_until");
    put(p, " ");
    moment(p, (uint64_t)r->claims.expires_s * 1000);
    put(p, " &#183; ");
    ui(p, "me_notice");
    put(p, " ");
    text(p, p->policy->version);
    put(p, "</p>");
}

/* --- history -------------------------------------------------------------------------------- */

/* In words where there are some, else as the record says it. */
static void act_words(struct page *p, enum consent_act act)
{
    char key[40];
    const char *words;

    snprintf(key, sizeof(key), "act_%s", consent_act_name(act));
    words = language_text(p->policy, p->language, key);
    text(p, words != NULL ? words : consent_act_name(act));
}

static void names(struct page *p, const struct str *list, unsigned cnt)
{
    for (unsigned i = 0; i < cnt; i++) {
        const struct policy_category *category =
            policy_category_of(p->policy, categories_bit(&p->policy->categories, list[i]));

        put(p, i == 0 ? "" : ", ");
        if (category != NULL)
            category_title(p, category);
        else
            p->ok = p->ok && html_escape(p->out, list[i]);
    }
    put(p, cnt == 0 ? "&#8211;" : "");
}

static void row(struct page *p, const json_t *item, const struct record_view *v)
{
    char link[64], doc[B64_LEN(16) + 1];
    uint64_t leaf = (uint64_t)json_integer_value(json_object_get(item, "leaf"));

    b64url_encode(doc, v->event.doc, 16);
    put(p, "<tr><td>");
    moment(p, v->event.ts_ms);
    put(p, "</td><td>");
    act_words(p, v->event.act);
    put(p, "<small>");
    p->ok = p->ok && html_escape(p->out, v->event.method);
    put(p, "</small></td><td>");
    names(p, v->grants, v->grant_cnt);
    put(p, "</td><td>");
    names(p, v->denies, v->deny_cnt);
    put(p, "</td><td><a href=\"");
    snprintf(link, sizeof(link), "policy/changes?since=%s", doc);
    address(p, link);
    put(p, "\">");
    text(p, doc);
    put(p, "</a></td><td>");
    snprintf(link, sizeof(link), "%u:%" PRIu64 " ",
             (unsigned)json_integer_value(json_object_get(item, "node")), leaf);
    text(p, link);
    snprintf(link, sizeof(link), "me/proof/%" PRIu64, leaf);
    link_to(p, link, "me_proof");
    put(p, "</td></tr>");
}

static void column(struct page *p, const char *key)
{
    put(p, "<th scope=\"col\">");
    ui(p, key);
    put(p, "</th>");
}

static void history(struct page *p, const json_t *root)
{
    static const char *const columns[] = {"me_time",   "me_act",    "me_granted",
                                          "me_denied", "me_notice", "me_record"};
    const json_t *item;
    size_t i;

    heading(p, "me_history");
    put(p, "<table><thead><tr>");
    for (i = 0; i < COUNT_OF(columns); i++)
        column(p, columns[i]);
    put(p, "</tr></thead><tbody>");
    json_array_foreach (json_object_get(root, "records"), i, item) {
        const char *json = json_string_value(json_object_get(item, "json"));
        struct record_view view;

        if (json != NULL && record_parse(str_c(json), &view) == RECORD_EVENT)
            row(p, item, &view);
    }
    put(p, "</tbody></table>");
}

/* --- the rights ----------------------------------------------------------------------------- */

static void downloads(struct page *p, const json_t *root)
{
    static const char *const formats[][2] = {{"JSON", "me/record?format=json"},
                                             {"ISO/IEC TS 27560", "me/record?format=dpv"},
                                             {"Kantara", "me/record?format=kantara"}};
    const char *vkey = json_string_value(json_object_get(root, "vkey"));

    heading(p, "me_download");
    put(p, "<ul>");
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        put(p, "<li><a href=\"");
        address(p, formats[i][1]);
        put(p, "\">");
        text(p, formats[i][0]);
        put(p, "</a></li>");
    }
    put(p, "</ul>");
    if (vkey == NULL || vkey[0] == '\0')
        return;
    put(p, "<p>");
    ui(p, "me_proof_text");
    put(p, " <code>");
    text(p, vkey);
    put(p, "</code></p>");
}

static void option(struct page *p, const char *value, const char *words)
{
    put(p, "<option value=\"");
    text(p, value);
    put(p, "\">");
    text(p, words);
    put(p, "</option>");
}

static void objection(struct page *p, const json_t *root)
{
    static const char *const reasons[] = {"not_me", "wrong_choice", "other"};
    const json_t *item;
    char number[32], key[40];
    size_t i;

    heading(p, "me_amend");
    paragraph(p, "me_amend_text");
    form_to(p, "me/amend");
    put(p, "<p><label>");
    ui(p, "me_record");
    put(p, " <select name=\"leaf\">");
    json_array_foreach (json_object_get(root, "records"), i, item) {
        snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
                 json_integer_value(json_object_get(item, "leaf")));
        option(p, number, number);
    }
    put(p, "</select></label> <label>");
    ui(p, "me_reason");
    put(p, " <select name=\"reason\">");
    for (i = 0; i < COUNT_OF(reasons); i++) {
        const char *words;

        snprintf(key, sizeof(key), "me_reason_%s", reasons[i]);
        words = language_text(p->policy, p->language, key);
        option(p, reasons[i], words != NULL ? words : reasons[i]);
    }
    put(p, "</select></label></p><div class=\"cnsnt-row\"><button type=\"submit\">");
    ui(p, "me_amend_send");
    put(p, "</button></div></form>");
}

static void erasure(struct page *p)
{
    heading(p, "me_erase");
    paragraph(p, "me_erase_text");
    put(p, "<p>");
    link_to(p, "me/erase", "me_erase");
    put(p, "</p>");
}

bool rights_page_render(struct exchange *x, const json_t *root, struct buf *out)
{
    struct page p;

    plain_page_begin(&p, x, out, "me_title");
    paragraph(&p, "me_intro");
    state(&p);
    if (root != NULL) {
        history(&p, root);
        downloads(&p, root);
        objection(&p, root);
        erasure(&p);
    } else {
        put(&p, "<p class=\"cnsnt-note\" role=\"status\">");
        ui(&p, "me_later");
        put(&p, "</p>");
    }
    plain_page_end(&p);
    return p.ok;
}

bool rights_page_later(struct exchange *x, struct buf *out)
{
    struct page p;

    plain_page_begin(&p, x, out, "me_title");
    put(&p, "<p class=\"cnsnt-note\" role=\"status\">");
    ui(&p, "me_later");
    put(&p, "</p>");
    plain_page_end(&p);
    return p.ok;
}

bool rights_page_nobody(struct exchange *x, struct buf *out)
{
    struct page p;

    plain_page_begin(&p, x, out, "me_title");
    paragraph(&p, "me_none");
    plain_page_end(&p);
    return p.ok;
}

bool rights_page_erase(struct exchange *x, struct buf *out)
{
    struct page p;

    plain_page_begin(&p, x, out, "me_erase");
    paragraph(&p, "me_erase_text");
    form_to(&p, "me/erase");
    put(&p, "<input type=\"hidden\" name=\"confirm\" value=\"yes\"><div class=\"cnsnt-row\">"
            "<button type=\"submit\">");
    ui(&p, "me_erase_confirm");
    put(&p, "</button></div></form><p>");
    link_to(&p, "me", "me_back");
    put(&p, "</p>");
    plain_page_end(&p);
    return p.ok;
}

bool rights_page_erased(struct exchange *x, const struct ledger_erase_ack *ack, struct buf *out)
{
    char request[B64_LEN(16) + 1];
    struct page p;

    b64url_encode(request, ack->request, 16);
    plain_page_begin(&p, x, out, "me_erase");
    put(&p, "<p role=\"status\">");
    ui(&p, ack->status == LEDGER_ERASE_HELD ? "me_held" : "me_erased");
    put(&p, "</p><p>");
    ui(&p, "me_request");
    put(&p, ": <code>");
    text(&p, request);
    put(&p, "</code></p>");
    if (ack->complete_by_s > 0) {
        put(&p, "<p>");
        ui(&p, "me_complete_by");
        put(&p, " ");
        moment(&p, ack->complete_by_s * 1000);
        put(&p, "</p>");
    }
    plain_page_end(&p);
    return p.ok;
}
