/*
 * enforce_cache.c - pages that differ by consent, and caches that must not mix them up.
 *
 * A page is one of several variants: by grants, by rules, by configuration, by banner and its
 * language, by who asks: a script that fetches it gets neither banner nor companion. So its ETag is
 * made from the origin's and the variant's name,
 *
 *     origin  "abc"           ->  W/"abc~0123456789abcdef"
 *     origin  no ETag, Last-Modified  ->  W/"~lm1795470842~0123456789abcdef"
 *
 * and a condition that comes back is translated: a tag of the current variant becomes the
 * origin's condition again, a tag of another variant is dropped (the page must be sent anew).
 * Dates alone cannot tell variants apart: for pages they are neither sent nor believed.
 * A style sheet that names trackers is treated likewise, one that names none depends on the rules
 * alone; scripts likewise. A client that asks for none of these keeps its conditions untouched.
 *
 * A script may be started as a worker after it was fetched for a page. As a worker's it has the
 * companion before it: the two differ by who asks, and neither's tag stands for the other.
 */
#include <string.h>

#include "consentd/arena.h"
#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/date.h"
#include "consentd/metrics.h"
#include "consentd/snapshot.h"
#include "enforce_priv.h"
#include "impressions.h"
#include "web_assets.h"

#define DATE_TAG "~lm" /* a tag that was made from a date; no origin's tag starts so with our end */

static void hash_text(struct crypto_hash *hash, const char *text)
{
    text = text == NULL ? "" : text;
    crypto_sha256_update(hash, text, strlen(text) + 1);
}

static void hash_assets(struct crypto_hash *hash)
{
    hash_text(hash, CONSENTD_VERSION);
    hash_text(hash, web_banner_css_hash);
    hash_text(hash, web_page_css_hash);
    hash_text(hash, web_frame_css_hash);
    hash_text(hash, web_banner_js_hash);
    hash_text(hash, web_guard_js_hash);
    hash_text(hash, web_signals_js_hash);
}

void revision_make(struct site *site)
{
    const struct config_site *config = site->config;
    const struct policy *policy = site->policy;
    const uint64_t fields[] = {config->banner,          config->guard,         config->signals,
                               config->unknown_cookies, config->html_encoding, config->max_age_ms};
    uint8_t digest[CRYPTO_SHA256_LEN];
    struct crypto_hash hash;

    crypto_sha256_init(&hash);
    hash_assets(&hash);
    crypto_sha256_update(&hash, fields, sizeof(fields));
    hash_text(&hash, config->prefix);
    for (size_t i = 0; i < config->languages.cnt; i++)
        hash_text(&hash, config->languages.items[i]);
    hash_text(&hash, NULL);
    for (size_t i = 0; policy != NULL && i < policy->category_cnt; i++) {
        hash_text(&hash, policy->category[i].id);
        crypto_sha256_update(&hash, &policy->category[i].bit, sizeof(policy->category[i].bit));
    }
    crypto_sha256_final(&hash, digest);
    memcpy(site->revision, digest, sizeof(site->revision));
}

void variant_of(const struct exchange *x, enum variant kind, char out[VARIANT_LEN + 1])
{
    const struct enforcement *e = enforcement_of(x);
    uint64_t fields[5] = {kind};
    uint8_t digest[CRYPTO_SHA256_LEN];
    struct crypto_hash hash;

    fields[1] = x->snapshot == NULL ? 0 : snapshot_fingerprint(x->snapshot);
    if (kind != VARIANT_CLEAN)
        fields[2] = x->grants;
    if (kind == VARIANT_PAGE) {
        fields[3] = (uint64_t)e->decided | (uint64_t)e->gpc << 1 | (uint64_t)x->secure << 2 |
                    (uint64_t)e->outdated << 3 | (uint64_t)e->told << 4 |
                    (uint64_t)e->document << 5 | (uint64_t)banner_is_wanted(x) << 6 |
                    (uint64_t)kind_is_piece(&x->req.headers) << 7 | (uint64_t)e->worker << 8 |
                    (uint64_t)e->service << 9 | (uint64_t)e->passed_on << 10;
        fields[4] = e->language;
    }
    crypto_sha256_init(&hash);
    crypto_sha256_update(&hash, x->site->revision, sizeof(x->site->revision));
    crypto_sha256_update(&hash, fields, sizeof(fields));
    if (kind == VARIANT_PAGE && x->site->policy != NULL)
        crypto_sha256_update(&hash, x->site->policy->doc_hash, sizeof(x->site->policy->doc_hash));
    crypto_sha256_final(&hash, digest);
    hex_encode(out, digest, VARIANT_LEN / 2);
}

/* --- conditions of a request --- */

/* The opaque part of an entity-tag (RFC 9110 8.8.3), weak or strong; false: no tag. */
static bool etag_opaque(struct str tag, struct str *opaque_out)
{
    if (str_starts(tag, STR("W/")))
        tag = str_slice(tag, 2, tag.len);
    if (tag.len < 2 || tag.ptr[0] != '"' || tag.ptr[tag.len - 1] != '"')
        return false;
    *opaque_out = str_slice(tag, 1, tag.len - 2);
    return true;
}

/* Ours end in "~" and the variant's name. */
static bool etag_is_ours(struct str opaque, struct str *origin_out, struct str *variant_out)
{
    if (opaque.len < VARIANT_LEN + 1 || opaque.ptr[opaque.len - VARIANT_LEN - 1] != '~')
        return false;
    *variant_out = str_slice(opaque, opaque.len - VARIANT_LEN, VARIANT_LEN);
    *origin_out = str_slice(opaque, 0, opaque.len - VARIANT_LEN - 1);
    for (size_t i = 0; i < VARIANT_LEN; i++) {
        char c = variant_out->ptr[i];

        if (!ascii_is_digit(c) && (c < 'a' || c > 'f'))
            return false;
    }
    return true;
}

/* What a request's If-None-Match says about our pages. */
struct conditions {
    bool ours;         /* a tag of ours was among them: the answer is a page */
    struct str origin; /* the origin's opaque tag behind the current variant's; may be empty */
    bool current;
    enum variant kind; /* of the current one */
    struct str tag;    /* as the client sent it */
};

/* Whether what the client asks for can be of this kind. */
static bool kind_is_asked(const struct exchange *x, unsigned kind)
{
    return kind == VARIANT_PAGE ? !enforcement_of(x)->script : !enforcement_of(x)->worker;
}

static void conditions_read(const struct exchange *x, struct conditions *c)
{
    char variants[VARIANT_CNT][VARIANT_LEN + 1];
    unsigned iter = 0;
    struct header *field;

    for (unsigned kind = 0; kind < VARIANT_CNT; kind++)
        variant_of(x, (enum variant)kind, variants[kind]);
    while ((field = headers_next(&x->req.headers, HDR_IF_NONE_MATCH, &iter)) != NULL) {
        struct str rest = field->value;
        struct str tag, opaque, origin, of;

        while (header_list_next(&rest, &tag)) {
            if (!etag_opaque(tag, &opaque) || !etag_is_ours(opaque, &origin, &of))
                continue;
            c->ours = true;
            for (unsigned kind = 0; kind < VARIANT_CNT; kind++) {
                if (!kind_is_asked(x, kind) || !str_eq_c(of, variants[kind]))
                    continue;
                c->current = true;
                c->kind = (enum variant)kind;
                c->origin = origin;
                c->tag = tag;
            }
        }
    }
}

/* The origin's own condition again: its tag in both strengths (comparison is weak), or the date. */
static bool condition_restore(struct exchange *x, const struct conditions *c)
{
    struct headers *h = &x->req.headers;
    uint64_t time_s;
    char date[DATE_LEN + 1];
    char *value;

    if (!str_starts(c->origin, STR(DATE_TAG))) {
        value = arena_printf(&x->arena, "\"%.*s\", W/\"%.*s\"", STR_ARGS(c->origin),
                             STR_ARGS(c->origin));
        return value != NULL && headers_add_id(h, &x->arena, HDR_IF_NONE_MATCH, str_c(value));
    }
    if (!str_to_u64(str_slice(c->origin, sizeof(DATE_TAG) - 1, c->origin.len), INT64_MAX, &time_s))
        return true; /* not one we made: no condition, the page is sent anew */
    date_format((int64_t)time_s, date);
    value = arena_copy(&x->arena, date, DATE_LEN);
    return value != NULL && headers_add_id(h, &x->arena, HDR_IF_MODIFIED_SINCE, str_c(value));
}

bool conditions_rewrite(struct exchange *x)
{
    struct enforcement *e = enforcement_of(x);
    struct headers *h = &x->req.headers;
    struct conditions c = {0};

    if (x->req.method_id != HTTP_METHOD_GET && x->req.method_id != HTTP_METHOD_HEAD)
        return true; /* the condition of a change is the origin's to judge */
    if (headers_find(h, HDR_IF_NONE_MATCH) != NULL)
        conditions_read(x, &c);
    if (!c.ours && !e->document && !e->style && !e->script && !e->tree && !e->worker)
        return true;
    headers_remove(h, HDR_IF_NONE_MATCH);
    headers_remove(h, HDR_IF_MODIFIED_SINCE);
    headers_remove(h, HDR_RANGE);
    headers_remove(h, HDR_IF_RANGE);
    if (!c.current)
        return true;
    e->matched_etag = c.tag;
    e->matched = c.kind;
    return condition_restore(x, &c);
}

/* --- fields of an answer --- */

static bool etag_vary(struct exchange *x, enum variant kind)
{
    struct headers *h = &x->resp.headers;
    struct str opaque;
    char variant[VARIANT_LEN + 1];
    char *value = NULL;
    int64_t time_s;

    variant_of(x, kind, variant);
    if (etag_opaque(headers_value(h, HDR_ETAG), &opaque))
        value = arena_printf(&x->arena, "W/\"%.*s~%s\"", STR_ARGS(opaque), variant);
    else if (date_parse(headers_value(h, HDR_LAST_MODIFIED), (int64_t)(x->wall_ms / 1000), &time_s))
        value = arena_printf(&x->arena, "W/\"" DATE_TAG "%lld~%s\"", (long long)time_s, variant);
    else {
        headers_remove(h, HDR_ETAG);
        return true;
    }
    if (kind != VARIANT_CLEAN) /* caches reckon with it how long it stays fresh */
        headers_remove(h, HDR_LAST_MODIFIED);
    return value != NULL && headers_set(h, &x->arena, HDR_ETAG, str_c(value));
}

/* What may stay in Cache-Control of a page that is one visitor's own. */
static bool directive_is_private(struct str directive)
{
    return !str_eq_fold_c(directive, "public") && !str_eq_fold_c(directive, "private") &&
           !str_starts_fold(directive, STR("s-maxage"));
}

/* What tells some caches another thing than Cache-Control does: RFC 9213, and its forerunners. */
bool cache_is_targeted(struct str name)
{
    static const char *const names[] = {"surrogate-control", "x-accel-expires", "edge-control"};
    struct str target = STR("-cache-control");

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (str_eq_fold_c(name, names[i]))
            return true;
    }
    return name.len > target.len &&
           str_eq_fold(str_slice(name, name.len - target.len, target.len), target);
}

static void targeted_remove(struct headers *h)
{
    for (unsigned i = 0; i < h->cnt; i++)
        h->items[i].removed = h->items[i].removed || cache_is_targeted(h->items[i].name);
}

bool cache_nothing(struct exchange *x)
{
    targeted_remove(&x->resp.headers);
    return headers_set(&x->resp.headers, &x->arena, HDR_CACHE_CONTROL, STR("no-store"));
}

/* Shared caches must not keep it (RFC 9111 5.2.2.7), unless the site says that they vary. */
static bool cache_control_set(struct exchange *x)
{
    struct headers *h = &x->resp.headers;
    struct buf out;
    unsigned iter = 0;
    struct header *field;
    struct str value;
    bool ok;

    if (x->site->config->shared_cache)
        return true;
    targeted_remove(h);
    buf_init(&out, 4096);
    ok = buf_append_c(&out, "private");
    while ((field = headers_next(h, HDR_CACHE_CONTROL, &iter)) != NULL) {
        struct str rest = field->value;
        struct str directive;

        while (header_list_next(&rest, &directive)) {
            if (directive_is_private(directive))
                ok = ok && buf_append_c(&out, ", ") && buf_append_str(&out, directive);
        }
    }
    if (!ok) { /* longer than any sane field: the strictest answer */
        buf_clear(&out);
        ok = buf_append_c(&out, "private, no-store");
    }
    ok = ok && arena_str(&x->arena, buf_str(&out), &value) &&
         headers_set(h, &x->arena, HDR_CACHE_CONTROL, value);
    buf_free(&out);
    return ok;
}

static bool vary_add(struct exchange *x)
{
    struct headers *h = &x->resp.headers;

    if (headers_has_token(h, HDR_VARY, "*"))
        return true;
    if (!headers_has_token(h, HDR_VARY, "cookie") &&
        !headers_add_id(h, &x->arena, HDR_VARY, STR("Cookie")))
        return false;
    if (!headers_has_token(h, HDR_VARY, "sec-gpc") &&
        !headers_add_id(h, &x->arena, HDR_VARY, STR("Sec-GPC")))
        return false;
    return headers_has_token(h, HDR_VARY, "accept-encoding") ||
           headers_add_id(h, &x->arena, HDR_VARY, STR("Accept-Encoding"));
}

bool headers_differ(struct exchange *x)
{
    return cache_control_set(x) && vary_add(x);
}

/*
 * Browsers keep sheets and scripts in memory, without a look at the cookies that they varied by: a
 * copy from before a withdrawal must be asked about first.
 */
static bool ask_first(struct exchange *x)
{
    struct headers *h = &x->resp.headers;

    return x->site->config->shared_cache || headers_has_token(h, HDR_CACHE_CONTROL, "no-cache") ||
           headers_add_id(h, &x->arena, HDR_CACHE_CONTROL, STR("no-cache"));
}

/* What is said of the origin's bytes. */
static void byte_headers_remove(struct headers *h)
{
    static const enum header_id ids[] = {HDR_CONTENT_MD5, HDR_DIGEST, HDR_CONTENT_DIGEST,
                                         HDR_REPR_DIGEST, HDR_ACCEPT_RANGES};

    for (size_t i = 0; i < COUNT_OF(ids); i++)
        headers_remove(h, ids[i]);
}

/* What kind_asked() and its like look at. */
static bool vary_by_who_asks(struct exchange *x)
{
    struct headers *h = &x->resp.headers;

    return headers_has_token(h, HDR_VARY, "*") ||
           headers_has_token(h, HDR_VARY, "sec-fetch-mode") ||
           headers_add_id(h, &x->arena, HDR_VARY,
                          STR("Sec-Fetch-Dest, Sec-Fetch-Mode, Accept, X-Requested-With"));
}

static bool varied_headers(struct exchange *x, enum variant kind)
{
    byte_headers_remove(&x->resp.headers);
    return etag_vary(x, kind) && headers_differ(x);
}

void unseen_headers(struct exchange *x)
{
    byte_headers_remove(&x->resp.headers);
    headers_remove(&x->resp.headers, HDR_ETAG);
    headers_remove(&x->resp.headers, HDR_LAST_MODIFIED);
    x->length_changes = true;
}

/*
 * A picture in SVG passes as it is, and is filtered when somebody opens it or draws with its
 * elements: the two must not meet in a shared cache, nor in one that tells by Vary.
 */
bool picture_headers(struct exchange *x)
{
    return headers_differ(x) && vary_by_who_asks(x);
}

bool page_headers(struct exchange *x)
{
    return varied_headers(x, VARIANT_PAGE) && vary_by_who_asks(x);
}

bool script_headers(struct exchange *x)
{
    struct headers *h = &x->resp.headers;

    return headers_has_token(h, HDR_VARY, "*") ||
           headers_has_token(h, HDR_VARY, "sec-fetch-dest") ||
           headers_add_id(h, &x->arena, HDR_VARY, STR("Sec-Fetch-Dest"));
}

bool part_headers(struct exchange *x, bool differs)
{
    return differs ? varied_headers(x, VARIANT_SHEET) && ask_first(x) : etag_vary(x, VARIANT_CLEAN);
}

bool not_modified_headers(struct exchange *x)
{
    struct enforcement *e = enforcement_of(x);

    if (e->matched_etag.len == 0)
        return true; /* no page of ours was asked about */
    if (e->matched == VARIANT_CLEAN)
        return headers_set(&x->resp.headers, &x->arena, HDR_ETAG, e->matched_etag) &&
               (!e->script || script_headers(x));
    if (e->matched == VARIANT_PAGE && e->document && banner_is_wanted(x))
        impressions_count(x, SHOWN_BANNER); /* in the page that the browser kept */
    headers_remove(&x->resp.headers, HDR_LAST_MODIFIED);
    cookies_delete_denied(x, &x->resp.headers);
    return headers_set(&x->resp.headers, &x->arena, HDR_ETAG, e->matched_etag) &&
           headers_differ(x) && (e->matched != VARIANT_PAGE || vary_by_who_asks(x)) &&
           (!e->script || script_headers(x)) && (e->matched != VARIANT_SHEET || ask_first(x));
}
