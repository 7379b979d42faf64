/*
 * guard.c - the companion: its place in a page or a worker's script, and the rules it brings.
 *
 * The element comes first in the head, so that nothing of the page runs before it. Its address
 * names the grants, the rules and the script: what it answers never changes, and is cached for
 * ever. The rules are those of the exchange's own snapshot, shortened to what can deny; rules that
 * let pass go along only where they could outrank a denying one.
 */
#include <string.h>

#include "consentd/b64.h"
#include "consentd/buf.h"
#include "consentd/rules.h"
#include "consentd/ruleset.h"
#include "consentd/snapshot.h"
#include "enforce_priv.h"
#include "web_assets.h"

#define MASK_ANY 0xffffu /* of rules that are not enforced: any grant, also that of essential */

struct guard {
    const struct exchange *x;
    const struct rules *rules;
    struct buf *out;
    bool ok;
};

static void put(struct guard *g, const char *text)
{
    g->ok = g->ok && buf_append_c(g->out, text);
}

/* Inside a JSON string; safe inside a script element too. */
static void put_bytes(struct guard *g, struct str text)
{
    for (size_t i = 0; i < text.len && g->ok; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c == '"' || c == '\\' || c == '<' || c < ' ')
            g->ok = buf_printf(g->out, "\\u%04x", c);
        else
            g->ok = buf_append_char(g->out, (char)c);
    }
}

static void put_string(struct guard *g, struct str text)
{
    put(g, "\"");
    put_bytes(g, text);
    put(g, "\"");
}

/* Set number i counts on this site. */
static bool set_is_ours(const struct guard *g, size_t i)
{
    uint32_t site = rules_set_site(g->rules, i);

    return site == RULES_OWN_SITE_NONE || site == snapshot_site(g->x->snapshot);
}

static unsigned mask_of(const struct guard *g, size_t set, uint16_t categories)
{
    return snapshot_mode(g->x->snapshot, set) == RULE_ENFORCE ? categories : MASK_ANY;
}

static bool is_denied(const struct guard *g, unsigned mask)
{
    return (mask & (g->x->grants | CATEGORY_ESSENTIAL)) == 0;
}

/* One host is the other's, or below it. */
static bool hosts_meet(struct str a, struct str b)
{
    return str_ends(a, b) || str_ends(b, a);
}

static bool url_matters(const struct guard *g, size_t set, const struct rule_url *rule)
{
    if (is_denied(g, mask_of(g, set, rule->categories)))
        return true;
    for (size_t i = 0; i < rules_set_cnt(g->rules); i++) {
        const struct ruleset *other = rules_set(g->rules, i);

        for (size_t k = 0; set_is_ours(g, i) && k < other->url_cnt; k++) {
            const struct rule_url *url = &other->urls[k];

            if (!url->at_site && is_denied(g, mask_of(g, i, url->categories)) &&
                hosts_meet(url->host, rule->host))
                return true;
        }
    }
    return false;
}

/* --- as patterns of JavaScript --- */

/* text as it is, or with "*" for any run of `any`; quoted for a pattern. */
static void put_literal(struct guard *g, struct str text, const char *any)
{
    for (size_t i = 0; i < text.len; i++) {
        struct str c = str_slice(text, i, 1);

        if (any != NULL && c.ptr[0] == '*') {
            put(g, any);
            continue;
        }
        if (str_find_char(STR(".+*?^${}()|[]\\"), c.ptr[0]) >= 0)
            put(g, "\\\\");
        put_bytes(g, c);
    }
}

static void put_glob(struct guard *g, struct str text, const char *any, const char *end)
{
    put(g, "\"");
    if (text.len > 0) {
        put(g, "^");
        put_literal(g, text, any);
        put(g, end);
    }
    put(g, "\"");
}

/* The precedence of match.c as one number: own rules, kind, conditions, length, essential. */
static uint64_t url_rank(const struct guard *g, size_t set, const struct rule_url *rule)
{
    uint64_t own = rules_set_site(g->rules, set) != RULES_OWN_SITE_NONE;
    uint64_t rank = own * 10000000000u + (uint64_t)rule->kind * 2000000000u;

    rank += rule->query_cnt * 100000000u + (rule->host.len + rule->label.len) * 100000u;
    if (rule->kind == RULE_PATH_PREFIX)
        rank += rule->path.len * 2;
    return rank + ((rule->categories & CATEGORY_ESSENTIAL) != 0);
}

static void put_url(struct guard *g, size_t set, const struct rule_url *rule)
{
    put(g, "[");
    if (rule->kind == RULE_PATH_REGEX)
        put_string(g, rule->path);
    else
        put_glob(g, rule->kind == RULE_PATH_ANY ? STR("") : rule->path, "[^/]+",
                 rule->kind == RULE_PATH_EXACT ? "$" : "");
    g->ok = g->ok && buf_printf(g->out, ",%u,%llu,", mask_of(g, set, rule->categories),
                                (unsigned long long)url_rank(g, set, rule));
    put_string(g, rule->host);
    put(g, ",");
    put_glob(g, rule->label, "[^.]+", "$");
    g->ok =
        g->ok && buf_printf(g->out, ",%d,%d,[", rule->exact_host, rule->kind == RULE_PATH_REGEX);
    for (unsigned i = 0; i < rule->query_cnt; i++) {
        put(g, i == 0 ? "[" : ",[");
        put_string(g, rule->query[i].name);
        put(g, ",");
        put_glob(g, rule->query[i].glob, ".*", "$");
        put(g, "]");
    }
    put(g, "]],");
}

static void put_name(struct guard *g, size_t set, const struct rule_cookie *rule)
{
    bool essential = (rule->categories & CATEGORY_ESSENTIAL) != 0;
    size_t rank = (size_t)rule->kind * 1000000u + essential * 100000u;

    put(g, rule->kind == RULE_REGEX ? "[\"^(?:" : "[\"^");
    if (rule->kind == RULE_REGEX)
        put_bytes(g, rule->text);
    else
        put_literal(g, rule->text, NULL);
    put(g, rule->kind == RULE_REGEX ? ")$" : rule->kind == RULE_EXACT ? "$" : "");
    g->ok = g->ok && buf_printf(g->out, "\",%u,%zu],", mask_of(g, set, rule->categories),
                                rule->kind == RULE_PREFIX ? rank + rule->text.len : rank);
}

static void put_set_urls(struct guard *g, size_t i, const struct ruleset *set)
{
    for (size_t k = 0; k < set->url_cnt; k++) {
        if (!set->urls[k].at_site && url_matters(g, i, &set->urls[k]))
            put_url(g, i, &set->urls[k]);
    }
}

static void put_set_cookies(struct guard *g, size_t i, const struct ruleset *set)
{
    for (size_t k = 0; k < set->cookie_cnt; k++)
        put_name(g, i, &set->cookies[k]);
}

static void put_set_storage(struct guard *g, size_t i, const struct ruleset *set)
{
    for (size_t k = 0; k < set->storage_cnt; k++)
        put_name(g, i, &set->storage[k]);
}

/* "name()" is called, "name[]" is pushed to; other globals need nothing in their place. */
static void put_set_globals(struct guard *g, size_t i, const struct ruleset *set)
{
    unsigned mask = mask_of(g, i, set->categories);

    for (size_t k = 0; is_denied(g, mask) && k < set->global_cnt; k++) {
        struct str name = str_c(set->globals[k]);
        bool list = str_ends(name, STR("[]"));

        if (!list && !str_ends(name, STR("()")))
            continue;
        put(g, "[");
        put_string(g, str_slice(name, 0, name.len - 2));
        g->ok = g->ok && buf_printf(g->out, ",%u,%d],", mask, list);
    }
}

/* One member: a list of what every set that counts here adds. */
static void put_list(struct guard *g, const char *name,
                     void (*add)(struct guard *g, size_t i, const struct ruleset *set))
{
    put(g, name);
    for (size_t i = 0; i < rules_set_cnt(g->rules); i++) {
        if (set_is_ours(g, i))
            add(g, i, rules_set(g->rules, i));
    }
    put(g, "],");
}

bool guard_render(const struct exchange *x, struct buf *out)
{
    const struct policy *policy = x->site->policy;
    struct guard g = {.x = x, .out = out, .ok = true};

    if (x->snapshot == NULL)
        return false;
    g.rules = snapshot_rules(x->snapshot);
    g.ok = buf_append_str(out, web_guard_js);
    put_list(&g, "({u:[", put_set_urls);
    put_list(&g, "c:[", put_set_cookies);
    put_list(&g, "s:[", put_set_storage);
    put_list(&g, "g:[", put_set_globals);
    put(&g, "k:{");
    for (size_t i = 0; i < policy->category_cnt; i++) {
        put_string(&g, str_c(policy->category[i].id));
        g.ok = g.ok && buf_printf(out, ":%u,", policy->category[i].bit);
    }
    put(&g, "},p:");
    put_string(&g, str_c(x->site->config->prefix));
    g.ok = g.ok && buf_printf(out, ",m:%u,x:%s});\n", (unsigned)(x->grants | CATEGORY_ESSENTIAL),
                              enforcement_of(x)->decider.unknown_cookies_deny ? "true" : "false");
    return g.ok;
}

void guard_key(const struct exchange *x, char out[GUARD_KEY_LEN + 1])
{
    uint64_t fields[2] = {0};

    fields[0] = x->snapshot == NULL ? 0 : snapshot_fingerprint(x->snapshot);
    fields[1] = x->grants | (uint64_t)enforcement_of(x)->decider.unknown_cookies_deny << 16;
    (void)hex_encode(out, fields, sizeof(fields));
    memcpy(out + 2 * sizeof(fields), web_guard_js_hash, GUARD_KEY_LEN - 2 * sizeof(fields));
    out[GUARD_KEY_LEN] = '\0';
}

bool guard_is_wanted(const struct exchange *x)
{
    const struct header *field = headers_find_name(&x->req.headers, STR("X-Requested-With"));
    uint16_t all;

    if (!x->site->config->guard || x->site->policy == NULL || x->snapshot == NULL)
        return false;
    all = x->site->policy->categories.defined;
    return (x->grants & all) != all && (enforcement_of(x)->document || enforcement_of(x)->worker) &&
           !headers_has_token(&x->resp.headers, HDR_CACHE_CONTROL, "no-transform") &&
           (field == NULL || !str_eq_fold_c(field->value, "XMLHttpRequest"));
}

/* --- its element --- */

bool guard_element(const struct exchange *x, struct buf *out)
{
    char key[GUARD_KEY_LEN + 1];

    guard_key(x, key);
    return buf_append_c(out, "<script data-consent-guard=\"\" src=\"") &&
           html_escape(out, str_c(x->site->config->prefix)) &&
           buf_printf(out, "guard.js?v=%s\"", key) &&
           nonce_attribute(out, enforcement_of(x)->script_nonce) &&
           integrity_attribute(out, enforcement_of(x)->guard_hash) &&
           buf_append_c(out, "></script>");
}

static size_t space_end(struct str page, size_t at)
{
    while (at < page.len && ascii_is_space(page.ptr[at]))
        at++;
    return at;
}

/* --- its place in a worker's script --- */

/* Directives at the head of the script must stay there: "use strict" is said before as well. */
bool guard_prefix(const struct exchange *x, struct str script, struct buf *out)
{
    size_t at = str_starts(script, STR("\xef\xbb\xbf")) ? 3 : 0;

    for (;;) {
        struct str rest;
        ptrdiff_t end = -1;

        at = space_end(script, at);
        rest = str_slice(script, at, script.len);
        if (str_starts(rest, STR("/*")))
            end = str_find(rest, STR("*/"));
        else if (str_starts(rest, STR("//")))
            end = str_find_char(rest, '\n');
        if (end < 0) {
            bool strict =
                str_starts(rest, STR("'use strict'")) || str_starts(rest, STR("\"use strict\""));

            return (!strict || buf_append_c(out, "'use strict';")) && guard_render(x, out);
        }
        at += (size_t)end + 1 + (rest.ptr[1] == '*');
    }
}

/* --- its place in the page --- */

/* Behind the tag that begins at `at`; 0: its end has not come. A quote after "=" hides ">". */
static size_t tag_end(struct str page, size_t at)
{
    char quote = '\0';
    char before = '\0';

    for (size_t i = at + 1; i < page.len; i++) {
        char c = page.ptr[i];

        if (quote != '\0') {
            quote = c == quote ? '\0' : quote;
            before = '"';
            continue;
        }
        if (c == '>')
            return i + 1;
        if ((c == '"' || c == '\'') && before == '=')
            quote = c;
        if (!ascii_is_space(c))
            before = c;
    }
    return 0;
}

/* Behind the comment that begins at `at`; 0: its end has not come (HTML 13.2.5.43 and on). */
static size_t comment_end(struct str page, size_t at)
{
    struct str rest = str_slice(page, at + 4, page.len);
    ptrdiff_t end = str_find(rest, STR("-->"));
    ptrdiff_t bang = str_find(rest, STR("--!>"));

    if (str_starts(rest, STR(">")))
        return at + 5;
    if (str_starts(rest, STR("->")))
        return at + 6;
    if (bang >= 0 && (end < 0 || bang < end))
        return at + 4 + (size_t)bang + 4;
    return end < 0 ? 0 : at + 4 + (size_t)end + 3;
}

/* "<name" and no longer name. */
static bool is_tag(struct str rest, struct str name)
{
    char next = rest.len > name.len + 1 ? rest.ptr[name.len + 1] : '\0';

    return str_starts_fold(str_slice(rest, 1, rest.len), name) &&
           (ascii_is_space(next) || next == '>' || next == '/');
}

/*
 *   [BOM] (space | comment | <!doctype> | <?…> | <html …>)* [<head …>] | here
 *
 * Whatever else comes first ends the search before it: there the parser opens html and head by
 * itself, and a script element goes into that head (HTML 13.2.6.4.1 to 13.2.6.4.4).
 */
ptrdiff_t guard_place(struct str page, bool all, bool xml)
{
    size_t at = str_starts(page, STR("\xef\xbb\xbf")) ? 3 : 0;

    for (;;) {
        size_t here = space_end(page, at);
        struct str rest = str_slice(page, here, page.len);
        bool tag = rest.len > 0 && rest.ptr[0] == '<';
        bool head = tag && is_tag(rest, STR("head"));
        size_t end;

        if (rest.len < GUARD_LOOK && !all)
            return GUARD_PLACE_MORE;
        if (str_starts(rest, STR("<!--")))
            end = comment_end(page, here);
        else if (head || str_starts(rest, STR("<!")) || str_starts(rest, STR("<?")) ||
                 (tag && is_tag(rest, STR("html"))))
            end = tag_end(page, here);
        else
            return xml ? GUARD_PLACE_NONE : (ptrdiff_t)here;
        if (end == 0)
            return all ? GUARD_PLACE_NONE : GUARD_PLACE_MORE;
        if (head)
            return xml && page.ptr[end - 2] == '/' ? GUARD_PLACE_NONE : (ptrdiff_t)end;
        at = end;
    }
}
