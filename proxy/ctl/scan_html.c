/*
 * scan_html.c - the report for people: one page that needs nothing else.
 *
 *   what was scanned -> a table of the states -> what no rule knows -> each state in detail
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "scan_priv.h"

struct page {
    struct buf *out;
    bool ok;
};

static const char style[] =
    ":root{color-scheme:light dark;--line:#8884;--soft:#8881;--bad:#b3261e;--good:#146c2e}"
    "@media(prefers-color-scheme:dark){:root{--bad:#ffb4ab;--good:#7bdb91}}"
    "*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:72rem;"
    "padding:1.5rem}h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.25rem;margin:2.5rem 0 "
    ".5rem}"
    "h3{font-size:1rem;margin:1.25rem 0 .25rem}p{margin:.25rem 0 .75rem;max-width:60rem}"
    "table{border-collapse:collapse;width:100%;font-size:.875rem}caption{text-align:start;"
    "padding:.25rem 0}th,td{text-align:start;vertical-align:top;padding:.375rem .5rem;"
    "border-bottom:1px solid var(--line)}thead th{background:var(--soft)}td.n,th.n{text-align:end;"
    "font-variant-numeric:tabular-nums}td.u{overflow-wrap:anywhere;min-width:7rem}.bad{color:var(--"
    "bad);"
    "font-weight:600}.good{color:var(--good)}.scroll{overflow-x:auto;margin-block:1rem}details{"
    "border:1px solid "
    "var(--line);border-radius:.5rem;margin:.75rem 0;padding:0 1rem}summary{cursor:pointer;"
    "padding:.75rem 0;font-weight:600}img{max-width:100%;height:auto;border:1px solid var(--line);"
    "border-radius:.25rem}code{font-size:.875em}.soft{opacity:.8}:focus-visible{outline:2px solid;"
    "outline-offset:2px}@media print{details{break-inside:avoid}}";

static const struct {
    const char *state, *title, *about;
} states[] = {
    {"direct", "Without consentd", "What the site does today, before any protection."},
    {"undecided", "Before a decision", "A first visit; the banner is open."},
    {"refused", "Refused", "Everything was refused, then the page was opened again."},
    {"analytics", "Analytics alone", "Only analytics was granted."},
    {"all", "Everything granted", "Every category was granted."},
    {"withdrawn", "Withdrawn", "Everything was granted and had run; then it was withdrawn."},
    {"gpc", "Global Privacy Control", "No decision; the browser sends Sec-GPC: 1."},
};

static void put(struct page *p, const char *text)
{
    p->ok = p->ok && buf_append_c(p->out, text);
}

/* Text of the page's: nothing in it is markup. */
static void put_text(struct page *p, const char *text)
{
    for (; *text != '\0' && p->ok; text++) {
        switch (*text) {
        case '&':
            put(p, "&amp;");
            break;
        case '<':
            put(p, "&lt;");
            break;
        case '>':
            put(p, "&gt;");
            break;
        case '"':
            put(p, "&quot;");
            break;
        default:
            p->ok = buf_append_char(p->out, *text);
        }
    }
}

static void put_cell(struct page *p, const char *class, const char *text)
{
    put(p, "<td");
    if (class[0] != '\0') {
        put(p, " class=");
        put(p, class);
    }
    put(p, ">");
    put_text(p, text);
    put(p, "</td>");
}

static void put_count(struct page *p, int64_t n, bool must_be_none)
{
    const char *class = !must_be_none ? "n" : n > 0 ? "\"n bad\"" : "\"n good\"";

    p->ok = p->ok && buf_printf(p->out, "<td class=%s>%lld</td>", class, (long long)n);
}

static const char *title_of(const char *state)
{
    for (size_t i = 0; i < COUNT_OF(states); i++) {
        if (strcmp(states[i].state, state) == 0)
            return states[i].title;
    }
    return state;
}

static const char *about_of(const char *state)
{
    for (size_t i = 0; i < COUNT_OF(states); i++) {
        if (strcmp(states[i].state, state) == 0)
            return states[i].about;
    }
    return "";
}

static void table_begin(struct page *p, const char *caption, const char *const *heads, size_t cnt,
                        size_t numbers_from)
{
    put(p, "<div class=scroll tabindex=0 role=region aria-label=\"");
    put_text(p, caption);
    put(p, "\"><table><caption class=soft>");
    put_text(p, caption);
    put(p, "</caption><thead><tr>");
    for (size_t i = 0; i < cnt; i++) {
        put(p, i >= numbers_from ? "<th scope=col class=n>" : "<th scope=col>");
        put_text(p, heads[i]);
        put(p, "</th>");
    }
    put(p, "</tr></thead><tbody>");
}

static void table_end(struct page *p)
{
    put(p, "</tbody></table></div>");
}

static void summary(struct page *p, const json_t *visits)
{
    static const char *const heads[] = {"State",        "Requests", "to other hosts",
                                        "denied",       "Cookies",  "denied",
                                        "Storage keys", "denied",   "Errors"};
    static const char *const keys[] = {"requests",       "foreign", "denied_requests", "cookies",
                                       "denied_cookies", "storage", "denied_storage",  "errors"};

    put(p, "<h2 id=states>The states</h2>");
    table_begin(p, "What was requested, set and stored in each state", heads, COUNT_OF(heads), 1);
    for (size_t i = 0; i < json_array_size(visits); i++) {
        const json_t *visit = json_array_get(visits, i);
        const json_t *counts = json_object_get(visit, "counts");

        put(p, "<tr><th scope=row><a href=\"#");
        put_text(p, scan_text(visit, "state"));
        put(p, "\">");
        put_text(p, title_of(scan_text(visit, "state")));
        put(p, "</a></th>");
        for (size_t k = 0; k < COUNT_OF(keys); k++)
            put_count(p, scan_number(counts, keys[k]), strncmp(keys[k], "denied", 6) == 0);
        put(p, "</tr>");
    }
    table_end(p);
}

static void unknown_list(struct page *p, const json_t *list, const char *caption,
                         const char *const heads[3])
{
    if (json_array_size(list) == 0)
        return;
    table_begin(p, caption, heads, 3, 3);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const json_t *in = json_object_get(item, "states");

        put(p, "<tr>");
        put_cell(p, "u", scan_text(item, "name"));
        put_cell(p, "u", scan_text(item, "about"));
        put(p, "<td>");
        for (size_t k = 0; k < json_array_size(in); k++) {
            put(p, k > 0 ? ", " : "");
            put_text(p, json_string_value(json_array_get(in, k)));
        }
        put(p, "</td></tr>");
    }
    table_end(p);
}

static void unknown(struct page *p, const json_t *all)
{
    static const char *const hosts[] = {"Host", "Asked for by", "Seen in"};
    static const char *const cookies[] = {"Cookie", "Domain", "Seen in"};
    static const char *const keys[] = {"Key", "Store", "Seen in"};

    put(p, "<h2 id=unclassified>What no rule set knows</h2>");
    if (json_array_size(json_object_get(all, "hosts")) == 0 &&
        json_array_size(json_object_get(all, "cookies")) == 0 &&
        json_array_size(json_object_get(all, "storage")) == 0) {
        put(p, "<p>Nothing: every host, cookie and key is classified.</p>");
        return;
    }
    put(p,
        "<p>These pass without a consent. Decide for each of them: the site's own is fine as it "
        "is; "
        "for a vendor's add a rule set, or rules to the site in <code>consentd.json</code>.</p>");
    unknown_list(p, json_object_get(all, "hosts"), "Other hosts", hosts);
    unknown_list(p, json_object_get(all, "cookies"), "Cookies", cookies);
    unknown_list(p, json_object_get(all, "storage"), "Keys of the browser's storage", keys);
}

/* The cells of what a rule says. */
static void put_verdict(struct page *p, const json_t *entry)
{
    bool denied = json_is_true(json_object_get(entry, "denied"));

    put_cell(p, "", scan_text(entry, "set"));
    put_cell(p, "", scan_text(entry, "category"));
    put_cell(p, denied ? "bad" : "", denied ? "denied" : "");
}

static void entries(struct page *p, const json_t *visit, const char *key, const char *caption,
                    const char *const columns[4])
{
    const json_t *list = json_object_get(visit, key);
    const char *heads[7] = {NULL};
    size_t cnt = 0;

    put(p, "<h3>");
    put_text(p, caption);
    put(p, "</h3>");
    if (json_array_size(list) == 0) {
        put(p, "<p class=soft>None.</p>");
        return;
    }
    for (; cnt < 4 && columns[cnt] != NULL; cnt++)
        heads[cnt] = columns[cnt];
    heads[cnt] = "rule set";
    heads[cnt + 1] = "category";
    heads[cnt + 2] = "verdict";
    table_begin(p, caption, heads, cnt + 3, SIZE_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);

        put(p, "<tr>");
        for (size_t k = 0; k < cnt; k++)
            put_cell(p, "u", scan_text(entry, columns[k]));
        put_verdict(p, entry);
        put(p, "</tr>");
    }
    table_end(p);
}

static void errors(struct page *p, const json_t *list)
{
    if (json_array_size(list) == 0)
        return;
    put(p, "<h3>Errors in the console</h3><ul>");
    for (size_t i = 0; i < json_array_size(list); i++) {
        put(p, "<li><code>");
        put_text(p, json_string_value(json_array_get(list, i)));
        put(p, "</code></li>");
    }
    put(p, "</ul>");
}

static void detail(struct page *p, const json_t *visit)
{
    static const char *const requests[4] = {"url", "type", "initiator", NULL};
    static const char *const cookies[4] = {"name", "domain", "set_by", NULL};
    static const char *const keys[4] = {"store", "key", NULL, NULL};
    const char *state = scan_text(visit, "state");

    put(p, "<details><summary>");
    put_text(p, title_of(state));
    put(p, "</summary><p id=\""); /* inside: a link to it opens the details */
    put_text(p, state);
    put(p, "\">");
    put_text(p, about_of(state));
    p->ok = p->ok && buf_printf(p->out, " Status %lld.", (long long)scan_number(visit, "status"));
    if (!json_is_true(json_object_get(visit, "complete")))
        put(p, " <span class=bad>The page was still loading when time was up.</span>");
    put(p, "</p><img alt=\"The page in this state\" src=\"data:image/jpeg;base64,");
    put_text(p, scan_text(visit, "image"));
    put(p, "\">");
    entries(p, visit, "requests", "Requests", requests);
    entries(p, visit, "cookies", "Cookies", cookies);
    entries(p, visit, "storage", "Storage", keys);
    errors(p, json_object_get(visit, "errors"));
    put(p, "</details>");
}

bool scan_html(const json_t *report, struct buf *out)
{
    const json_t *visits = json_object_get(report, "visits");
    struct page p = {.out = out, .ok = true};
    unsigned escaped = scan_escaped(report);

    put(&p, "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>Consent scan of ");
    put_text(&p, scan_text(report, "url"));
    put(&p, "</title><meta name=viewport content=\"width=device-width,initial-scale=1\"><style>");
    put(&p, style);
    put(&p, "</style></head><body><main><h1>Consent scan</h1><p><code>");
    put_text(&p, scan_text(report, "url"));
    put(&p, "</code><br><span class=soft>");
    put_text(&p, scan_text(report, "time"));
    put(&p, " · ");
    put_text(&p, scan_text(report, "browser"));
    put(&p, " · consentctl " CONSENTD_VERSION "</span></p>");
    if (escaped > 0)
        p.ok = p.ok && buf_printf(out,
                                  "<p class=bad>%u things passed through consentd that were denied "
                                  "in their state.</p>",
                                  escaped);
    else if (json_is_true(json_object_get(report, "proxied")))
        put(&p, "<p class=good>Nothing passed through consentd that was denied in its state.</p>");
    summary(&p, visits);
    unknown(&p, json_object_get(report, "unclassified"));
    put(&p, "<h2>In detail</h2>");
    for (size_t i = 0; i < json_array_size(visits); i++)
        detail(&p, json_array_get(visits, i));
    put(&p, "</main></body></html>\n");
    return p.ok;
}
