/*
 * consent_api.c - everything under the prefix ("/.consent/"): the visitor's side of consentd.
 *
 *   GET  state         what is decided, as JSON
 *   GET  preferences   a complete page that works without script
 *   GET  banner.css, page.css, frame.css, banner.js    named by their hash: cached for ever
 *   GET  guard.js, empty.js       the companion with its rules; what it gives in place of a script
 *   GET  signals.js    what tags are told of the consent
 *   GET  again.js      the reload that keeps what was typed; what a withdrawal clears
 *   POST choice        a decision (consent_choice.c)
 *   POST withdraw      takes back all grants, or those named
 *   me, policy, unsubscribe       a visitor's rights (rights.c, notice_page.c, unsubscribe.c)
 *
 * Nothing here is ever cached but the two files; nothing is ever forwarded.
 */
#include <string.h>

#include "assets_priv.h"
#include "consentd/arena.h"
#include "consentd/b64.h"
#include "consentd/buf.h"
#include "consentd/json.h"
#include "enforce_priv.h"
#include "guard_priv.h"
#include "impressions.h"
#include "web_assets.h"

#define FOR_EVER "public, max-age=31536000, immutable"
#define PAGE_MAX (1u << 20)

/* Nobody else's page shows ours in a frame, under whose cover a visitor's click would decide. */
#define PAGE_POLICY                                                                                \
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "                  \
    "frame-ancestors 'self'"

static enum enforce_step answer(struct exchange *x, unsigned status, struct str type,
                                struct str cache, struct str body)
{
    struct header items[8];
    struct headers h;

    headers_init(&h, items, COUNT_OF(items));
    if (!headers_add_id(&h, NULL, HDR_CONTENT_TYPE, type) ||
        !headers_add_id(&h, NULL, HDR_CACHE_CONTROL, cache) ||
        !headers_add_id(&h, NULL, HDR_X_CONTENT_TYPE_OPTIONS, STR("nosniff")) ||
        (str_starts(type, STR("text/html")) &&
         !headers_add_id(&h, NULL, HDR_CONTENT_SECURITY_POLICY, STR(PAGE_POLICY))))
        return ENFORCE_REFUSE;
    exchange_answer(x, status, &h, body);
    return ENFORCE_ANSWERED;
}

/* Scripts and styles of ours: in the coding that the client likes best, made once. */
static enum enforce_step answer_coded(struct exchange *x, struct str type, struct str cache,
                                      enum coding coding, struct str body)
{
    struct header items[8];
    struct headers h;

    headers_init(&h, items, COUNT_OF(items));
    if (!headers_add_id(&h, NULL, HDR_CONTENT_TYPE, type) ||
        !headers_add_id(&h, NULL, HDR_CACHE_CONTROL, cache) ||
        !headers_add_id(&h, NULL, HDR_VARY, STR("Accept-Encoding")) ||
        !headers_add_id(&h, NULL, HDR_X_CONTENT_TYPE_OPTIONS, STR("nosniff")) ||
        (coding != CODING_IDENTITY &&
         !headers_add_id(&h, NULL, HDR_CONTENT_ENCODING, str_c(coding_name(coding)))))
        return ENFORCE_REFUSE;
    exchange_answer(x, 200, &h, body);
    return ENFORCE_ANSWERED;
}

static enum enforce_step answer_asset(struct exchange *x, struct str type, struct str cache,
                                      const char *key, struct str plain)
{
    struct assets *assets = ((struct enforce_worker *)x->server->enforce)->assets;
    struct asset_name name = {NULL, key, asset_coding(x, plain.len)};
    struct str body = plain;

    if (name.coding != CODING_IDENTITY && !asset_find(assets, &name, &body) &&
        !asset_keep(assets, &name, plain, &body)) {
        name.coding = CODING_IDENTITY;
        body = plain;
    }
    return answer_coded(x, type, cache, name.coding, body);
}

enum enforce_step consent_answer_json(struct exchange *x, unsigned status, struct str body)
{
    return answer(x, status, STR("application/json"), STR("no-store"), body);
}

static enum enforce_step answer_method(struct exchange *x, struct str allow)
{
    struct header items[4];
    struct headers h;

    headers_init(&h, items, COUNT_OF(items));
    if (!headers_add_id(&h, NULL, HDR_ALLOW, allow) ||
        !headers_add_id(&h, NULL, HDR_CACHE_CONTROL, STR("no-store")))
        return ENFORCE_REFUSE;
    exchange_answer(x, 405, &h, STR(""));
    return ENFORCE_ANSWERED;
}

/* {"decided":true,"doc":"…","epoch":1,"expires":…,"gpc":false,"grants":{"analytics":true,…}} */
static enum enforce_step get_state(struct exchange *x)
{
    const struct enforcement *e = enforcement_of(x);
    const struct policy *policy = x->site->policy;
    char doc[B64_LEN(16) + 1];
    enum enforce_step step;
    struct buf out;
    const char *comma = "";
    bool ok;

    b64url_encode(doc, policy->doc_hash, 16);
    buf_init(&out, 8192);
    ok = buf_printf(&out, "{\"decided\":%s,\"doc\":\"%s\",\"epoch\":%u,\"gpc\":%s,",
                    e->decided ? "true" : "false", doc, policy->epoch, e->gpc ? "true" : "false");
    if (e->decided)
        ok = ok && buf_printf(&out, "\"expires\":%u,", e->claims.expires_s);
    ok = ok && buf_append_c(&out, "\"grants\":{");
    for (size_t i = 0; i < policy->category_cnt; i++) {
        const struct policy_category *category = &policy->category[i];
        bool granted = category->required || (x->grants & category->bit) != 0;

        ok = ok && buf_printf(&out, "%s\"%s\":%s", comma, category->id, granted ? "true" : "false");
        comma = ",";
    }
    ok = ok && buf_append_c(&out, "}}\n");
    step = ok ? consent_answer_json(x, 200, buf_str(&out)) : ENFORCE_REFUSE;
    buf_free(&out);
    return step;
}

static enum enforce_step get_preferences(struct exchange *x)
{
    enum enforce_step step = ENFORCE_REFUSE;
    struct buf out;

    buf_init(&out, PAGE_MAX);
    if (preferences_render(x, &out)) {
        impressions_count(x, SHOWN_PREFERENCES);
        step = answer(x, 200, STR("text/html; charset=utf-8"), STR("no-store"), buf_str(&out));
    }
    buf_free(&out);
    return step;
}

static enum enforce_step answer_style(struct exchange *x, struct str style, const char *key)
{
    return answer_asset(x, STR("text/css; charset=utf-8"), STR(FOR_EVER), key, style);
}

static enum enforce_step get_banner_css(struct exchange *x)
{
    return answer_style(x, web_banner_css, web_banner_css_hash);
}

static enum enforce_step get_page_css(struct exchange *x)
{
    return answer_style(x, web_page_css, web_page_css_hash);
}

static enum enforce_step get_frame_css(struct exchange *x)
{
    return answer_style(x, web_frame_css, web_frame_css_hash);
}

static enum enforce_step get_js(struct exchange *x)
{
    return answer_asset(x, STR("text/javascript; charset=utf-8"), STR(FOR_EVER), web_banner_js_hash,
                        web_banner_js);
}

/* For ever only under the address that names what it holds. */
static enum enforce_step get_guard(struct exchange *x)
{
    struct assets *assets = ((struct enforce_worker *)x->server->enforce)->assets;
    struct asset_name name = {x->site, NULL, asset_coding(x, PAGE_MAX)};
    enum enforce_step step = ENFORCE_REFUSE;
    char key[GUARD_KEY_LEN + 1];
    struct str cache, body;
    struct buf out;
    bool ok;

    guard_key(x, key);
    name.key = key;
    cache = str_ends(x->req.path, str_c(key)) ? STR(FOR_EVER) : STR("no-store");
    buf_init(&out, PAGE_MAX);
    ok = asset_find(assets, &name, &body);
    if (!ok && guard_render(x, &out)) {
        ok = true;
        if (!asset_keep(assets, &name, buf_str(&out), &body)) {
            name.coding = CODING_IDENTITY;
            body = buf_str(&out);
        }
    }
    if (ok)
        step = answer_coded(x, STR("text/javascript; charset=utf-8"), cache, name.coding, body);
    buf_free(&out);
    return step;
}

static enum enforce_step get_again(struct exchange *x)
{
    return answer_asset(x, STR("text/javascript; charset=utf-8"), STR("no-cache"),
                        web_again_js_hash, web_again_js);
}

static enum enforce_step get_signals(struct exchange *x)
{
    enum enforce_step step = ENFORCE_REFUSE;
    char key[SIGNALS_KEY_LEN + 1];
    struct buf out;

    buf_init(&out, PAGE_MAX);
    signals_key(x, key);
    if (signals_render(x, &out))
        step = answer(x, 200, STR("text/javascript; charset=utf-8"),
                      str_ends(x->req.path, str_c(key)) ? STR(FOR_EVER) : STR("no-store"),
                      buf_str(&out));
    buf_free(&out);
    return step;
}

static enum enforce_step get_empty(struct exchange *x)
{
    return answer(x, 200, STR("text/javascript; charset=utf-8"), STR(FOR_EVER), STR(""));
}

static enum enforce_step post_choice(struct exchange *x)
{
    return consent_choice_post(x, false);
}

static enum enforce_step post_withdraw(struct exchange *x)
{
    return consent_choice_post(x, true);
}

static const struct {
    const char *path;
    enum { READ = 0, POST, ANY } method;
    enum enforce_step (*fn)(struct exchange *x);
} routes[] = {
    {"state", READ, get_state},           {"preferences", READ, get_preferences},
    {"banner.css", READ, get_banner_css}, {"banner.js", READ, get_js},
    {"page.css", READ, get_page_css},     {"frame.css", READ, get_frame_css},
    {"guard.js", READ, get_guard},        {"empty.js", ANY, get_empty},
    {"signals.js", READ, get_signals},    {"again.js", READ, get_again},
    {"choice", POST, post_choice},        {"withdraw", POST, post_withdraw},
};

enum enforce_step consent_api_request(struct exchange *x, struct str rest)
{
    bool reads = x->req.method_id == HTTP_METHOD_GET || x->req.method_id == HTTP_METHOD_HEAD;
    ptrdiff_t mark = str_find_char(rest, '?');
    struct str path = mark < 0 ? rest : str_slice(rest, 0, (size_t)mark);
    struct str query = mark < 0 ? STR("") : str_slice(rest, (size_t)mark + 1, rest.len);
    enum enforce_step step;

    if (x->site->policy == NULL)
        return ENFORCE_REFUSE;
    for (size_t i = 0; i < COUNT_OF(routes); i++) {
        if (!str_eq_c(path, routes[i].path))
            continue;
        if (routes[i].method == POST && x->req.method_id != HTTP_METHOD_POST)
            return answer_method(x, STR("POST"));
        if (routes[i].method == READ && !reads)
            return answer_method(x, STR("GET, HEAD"));
        return routes[i].fn(x);
    }
    if (rights_request(x, path, query, &step))
        return step;
    return consent_answer_json(x, 404, STR("{\"error\":\"no such page of consentd\"}\n"));
}
