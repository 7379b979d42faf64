/*
 * guard.c - the companion: its place in a page or a worker's script.
 *
 * The element comes first in the head, so that nothing of the page runs before it. Its address
 * names the grants, the rules, the configuration and the script: what it answers never changes,
 * and is cached for ever. Who comes from elsewhere has no copy yet, and the page would wait for it:
 * there the script stands in the page itself. Nothing is fetched ahead for the next page: most
 * visitors decide on the first one, and behind a decision the script is another.
 */
#include <string.h>

#include "assets_priv.h"
#include "consentd/b64.h"
#include "consentd/buf.h"
#include "consentd/json.h"
#include "consentd/snapshot.h"
#include "enforce_priv.h"
#include "guard_priv.h"
#include "web_assets.h"

#define GUARD_MAX (1u << 20) /* bytes of the script with its rules */

/*
 * What goes before every service worker: the banner tells one that waits that the grants are
 * others, and it takes the place of the one before, whose companion has the old ones (again.js).
 */
#define SERVICE_PREFIX                                                                             \
    "addEventListener('message',e=>{if(e.data==='consentd:grants'){e.stopImmediatePropagation();"  \
    "skipWaiting()}});\n"

bool guard_render(const struct exchange *x, struct buf *out)
{
    const struct policy *policy = x->site->policy;
    bool ok;

    if (x->snapshot == NULL)
        return false;
    ok = buf_append_str(out, web_guard_js) && buf_append_c(out, "({") &&
         guard_rules_render(x, out) && buf_append_c(out, "k:{");
    for (size_t i = 0; i < policy->category_cnt && ok; i++)
        ok = buf_printf(out, "\"%s\":%u,", policy->category[i].id, policy->category[i].bit);
    return ok && buf_printf(out, "},p:\"%sempty.js\"", x->site->config->prefix) &&
           buf_printf(out, ",m:%u,x:%s});\n", (unsigned)(x->grants | CATEGORY_ESSENTIAL),
                      enforcement_of(x)->decider.unknown_cookies_deny ? "true" : "false");
}

void guard_key(const struct exchange *x, char out[GUARD_KEY_LEN + 1])
{
    uint64_t fields[2] = {0};

    fields[0] = x->snapshot == NULL ? 0 : snapshot_fingerprint(x->snapshot);
    fields[1] = x->grants | (uint64_t)enforcement_of(x)->decider.unknown_cookies_deny << 16;
    (void)hex_encode(out, fields, sizeof(fields));
    (void)hex_encode(out + 2 * sizeof(fields), x->site->revision,
                     (GUARD_KEY_LEN - 2 * sizeof(fields)) / 2);
}

/* Something is not granted. */
static bool is_denying(const struct exchange *x)
{
    uint16_t all = x->site->policy->categories.defined;

    return (x->grants & all) != all;
}

bool guard_is_wanted(const struct exchange *x)
{
    const struct enforcement *e;

    if (!x->site->config->guard || x->site->policy == NULL || x->snapshot == NULL)
        return false;
    e = enforcement_of(x);
    return (is_denying(x) || e->service) && (e->document || e->worker || e->passed_on) &&
           !kind_is_piece(&x->req.headers);
}

/* --- its element --- */

/* A visitor comes from another site, and has not decided yet: nothing of ours is in the cache. */
static bool arrives(const struct exchange *x)
{
    struct str from = headers_value(&x->req.headers, HDR_SEC_FETCH_SITE);

    return !enforcement_of(x)->decided && from.len > 0 && !str_eq_c(from, "same-origin") &&
           str_eq_c(kind_dest(&x->req.headers), "document");
}

/* The script as it is, drawn once for all with these grants. False: no memory. */
static bool guard_text(const struct exchange *x, const char *key, struct buf *made, struct str *out)
{
    struct assets *assets = ((struct enforce_worker *)x->server->enforce)->assets;
    struct asset_name name = {.site = x->site, .key = key, .coding = CODING_IDENTITY};

    if (asset_find(assets, &name, out))
        return true;
    if (!guard_render(x, made))
        return false;
    if (!asset_keep(assets, &name, buf_str(made), out))
        *out = buf_str(made);
    return true;
}

/* Right in a page of whatever encoding. */
static bool is_ascii(struct str text)
{
    unsigned char all = 0;

    for (size_t i = 0; i < text.len; i++)
        all |= (unsigned char)text.ptr[i];
    return all < 0x80;
}

/* The file's name is what the script knows itself by in the stacks of errors. */
static bool element_with_text(const struct exchange *x, struct str text, struct buf *out)
{
    return buf_append_c(out, "<script data-consent-guard=\"\"") &&
           nonce_attribute(out, enforcement_of(x)->script_nonce) && buf_append_c(out, ">") &&
           buf_append_str(out, text) && buf_append_c(out, "//# sourceURL=guard.js\n</script>");
}

static bool element_with_address(const struct exchange *x, const char *key, struct buf *out)
{
    return buf_append_c(out, "<script data-consent-guard=\"\" src=\"") &&
           html_escape(out, str_c(x->site->config->prefix)) &&
           buf_printf(out, "guard.js?v=%s\"", key) &&
           nonce_attribute(out, enforcement_of(x)->script_nonce) &&
           integrity_attribute(out, enforcement_of(x)->guard_hash) &&
           buf_append_c(out, "></script>");
}

bool guard_element(const struct exchange *x, bool xml, struct buf *out)
{
    char key[GUARD_KEY_LEN + 1];
    struct str text = {NULL, 0};
    struct buf made;
    bool ok;

    guard_key(x, key);
    buf_init(&made, GUARD_MAX);
    ok =
        xml || !enforcement_of(x)->script_inline || !arrives(x) || guard_text(x, key, &made, &text);
    if (ok && text.len > 0 && is_ascii(text))
        ok = element_with_text(x, text, out);
    else
        ok = ok && element_with_address(x, key, out);
    buf_free(&made);
    return ok;
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

            return (!strict || buf_append_c(out, "'use strict';")) &&
                   (!enforcement_of(x)->service || buf_append_c(out, SERVICE_PREFIX)) &&
                   (!is_denying(x) || guard_render(x, out));
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
