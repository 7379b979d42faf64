/*
 * enforce.c - who is asking and what may pass; contract in consentd/enforce.h.
 *
 *   request:  token -> grants -> our own paths -> trackers' paths on the site -> Cookie ->
 *             X-Consent -> Accept-Encoding -> conditions -> origin
 *   response: Set-Cookie -> Link -> a page? -> caching, deletions, the HTML filter
 *
 * A cleared decider denies: no snapshot, no grants. Whatever goes wrong on the way can
 * only remove more.
 */
#include "consentd/enforce.h"

#include <stdlib.h>
#include <string.h>

#include "assets_priv.h"
#include "consent_cookie.h"
#include "consentd/arena.h"
#include "consentd/cookie.h"
#include "consentd/crypto.h"
#include "consentd/ipc_msg.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/peer_budget.h"
#include "consentd/url.h"
#include "enforce_priv.h"
#include "impressions.h"

#define GPC_PATH        "/.well-known/gpc.json"
#define GPC_BODY        "{\"gpc\":true,\"lastUpdate\":\"2026-11-24\"}\n"
#define X_CONSENT_MAX   (CATEGORY_LIST_MAX + 4 * CATEGORY_MAX)
#define NEAR_ORIGIN_V4  "http://127."
#define NEAR_ORIGIN_V6  "http://[::1]"
#define NEAR_ORIGIN_LOC "http://localhost"

bool enforce_worker_start(struct server *s, struct fault *fault_out)
{
    const struct config_limits *limits = &s->config->limits;
    const struct peer_budget_limits rights = {.requests_per_second = limits->rights_per_second,
                                              .burst = limits->rights_burst};
    const struct peer_budget_limits choices = {.requests_per_second = limits->choices_per_second,
                                               .burst = limits->choices_burst};
    struct enforce_worker *worker = mem_new(struct enforce_worker);
    uint8_t key[16];

    UNUSED(fault_out);
    worker->link = ledger_link_new(s);
    worker->gone = gone_new();
    crypto_random(key, sizeof(key));
    worker->rights = peer_budget_new(&rights, key);
    worker->choices = peer_budget_new(&choices, key);
    worker->assets = assets_new();
    worker->panels = assets_new();
    worker->impressions = impressions_new(s);
    s->enforce = worker;
    return true;
}

void enforce_worker_stop(struct server *s)
{
    struct enforce_worker *worker = s->enforce;

    if (worker == NULL)
        return;
    ledger_link_free(worker->link);
    gone_free(worker->gone);
    peer_budget_free(worker->rights);
    peer_budget_free(worker->choices);
    assets_free(worker->assets);
    assets_free(worker->panels);
    impressions_free(worker->impressions);
    free(worker);
    s->enforce = NULL;
}

bool enforce_site_start(struct server *s, struct site *site, struct fault *fault_out)
{
    UNUSED(s);
    revision_make(site);
    return languages_start(site, fault_out);
}

void enforce_site_stop(struct server *s, struct site *site)
{
    UNUSED(s);
    languages_stop(site);
}

void enforce_rules_changed(struct server *s, struct site *site)
{
    UNUSED(s);
    UNUSED(site); /* exchanges hold their snapshot; the next one sees the new one */
}

void enforce_ledger_link(struct server *s, bool up)
{
    struct enforce_worker *worker = s->enforce;

    if (up && worker != NULL)
        ledger_link_up(worker->link);
}

void enforce_drained(struct server *s)
{
    struct enforce_worker *worker = s->enforce;

    if (worker != NULL)
        impressions_send(worker->impressions);
}

/* The ledger says since when a notice has been in force. */
static void take_notice(struct server *s, struct str in)
{
    struct ledger_notice_msg msg;

    if (in.len != sizeof(msg))
        return;
    memcpy(&msg, in.ptr, sizeof(msg));
    for (unsigned i = 0; i < s->sites_cnt; i++) {
        struct site *site = &s->sites[i];

        if (site->policy != NULL && memcmp(site->policy->doc_hash, msg.doc, sizeof(msg.doc)) == 0)
            site->notice_since_s = msg.since_s;
    }
}

void enforce_ledger_message(struct server *s, uint16_t type, const void *data, size_t len)
{
    struct enforce_worker *worker = s->enforce;

    if (worker == NULL)
        return;
    if (type == IPC_ACK)
        ledger_link_ack(worker->link, str_make(data, len));
    else if (type == IPC_ERASE_ACK)
        ledger_link_erased(worker->link, str_make(data, len));
    else if (type == IPC_GONE)
        gone_add(worker->gone, str_make(data, len));
    else if (type == IPC_TELL)
        ledger_link_told(worker->link, str_make(data, len));
    else if (type == IPC_NOTICE)
        take_notice(s, str_make(data, len));
}

struct str consent_cookie_name(const struct exchange *x)
{
    if (!x->secure)
        return consent_cookie_clear;
    return x->site->config->cookie_domain != NULL ? consent_cookie_domain : consent_cookie_host;
}

uint16_t policy_optional(const struct policy *policy)
{
    if (policy == NULL)
        return 0;
    return policy->categories.defined & (uint16_t)~policy->categories.required;
}

bool origin_is_own(const struct exchange *x, struct str origin)
{
    struct str rest = origin;

    if (str_starts_fold(rest, STR("https://")))
        rest = str_slice(rest, 8, rest.len);
    else if (str_starts_fold(rest, STR("http://")) && !x->secure)
        rest = str_slice(rest, 7, rest.len);
    else
        return false;
    return str_eq_fold(rest, x->req.authority);
}

/* --- the request --- */

/* Several consent cookies must be the same byte for byte, else none counts. */
static struct str token_find(const struct exchange *x)
{
    struct str name = consent_cookie_name(x);
    struct str found = {NULL, 0};
    unsigned iter = 0;
    struct header *field;

    while ((field = headers_next(&x->req.headers, HDR_COOKIE, &iter)) != NULL) {
        struct str rest = field->value;
        struct cookie_pair pair;

        while (cookie_next(&rest, &pair)) {
            if (!str_eq(pair.name, name))
                continue;
            if (found.ptr != NULL && !str_eq(found, pair.value))
                return STR("");
            found = pair.value;
        }
    }
    return found;
}

static void token_read(struct exchange *x, struct enforcement *e)
{
    struct str value = token_find(x);
    struct token_check check = {
        .site = str_c(x->site->config->hosts.items[0]),
        .now_s = (uint32_t)(x->wall_ms / 1000),
        .min_epoch = x->site->policy->epoch,
        .cap_s = 0,
    };

    const struct enforce_worker *worker = x->server->enforce;

    enum token_status status;

    if (value.ptr == NULL)
        return;
    status = token_verify(x->server->keyring, value, &check, &e->claims);
    e->outdated = status == TOKEN_EPOCH;
    if (status != TOKEN_OK || gone_has(worker->gone, e->claims.subject)) {
        memset(&e->claims, 0, sizeof(e->claims));
        metric_add(METRIC_TOKEN_BAD, 1);
        return;
    }
    metric_add(METRIC_TOKEN_OK, 1);
    e->decided = x->decided = true;
}

bool token_holder(const struct exchange *x, struct token_claims *out)
{
    const struct enforce_worker *worker = x->server->enforce;
    const struct token_check check = {.site = str_c(x->site->config->hosts.items[0]),
                                      .now_s = (uint32_t)(x->wall_ms / 1000)};

    if (enforcement_of(x)->decided) {
        *out = enforcement_of(x)->claims;
        return true;
    }
    return enforcement_of(x)->outdated &&
           token_verify(x->server->keyring, token_find(x), &check, out) == TOKEN_OK &&
           !gone_has(worker->gone, out->subject);
}

/*
 * GPC refuses marketing until the visitor grants it with the signal on: a grant from
 * before (without the flag in the token) does not count while it is sent.
 */
static uint16_t grants_of(const struct enforcement *e)
{
    uint16_t grants = CATEGORY_ESSENTIAL;

    if (e->decided)
        grants |= e->claims.grants;
    if (e->gpc && !(e->decided && (e->claims.flags & TOKEN_GPC)))
        grants &= (uint16_t)~CATEGORY_MARKETING;
    return grants;
}

static bool enforcement_begin(struct exchange *x)
{
    struct enforcement *e = arena_calloc(&x->arena, 1, sizeof(*e));
    const struct headers *h = &x->req.headers;

    if (e == NULL)
        return false;
    x->enforce = e;
    e->gpc = str_eq_c(headers_value(h, HDR_SEC_GPC), "1");
    kind_asked(h, e);
    if (x->site->policy != NULL) {
        token_read(x, e);
        e->language = languages_choose(x->site, headers_value(h, HDR_ACCEPT_LANGUAGE));
        e->told = e->document && banner_is_wanted(x) && notice_is_new(x);
    }
    x->grants = grants_of(e);
    e->decider.snapshot = x->snapshot;
    e->decider.grants = x->grants;
    e->decider.unknown_cookies_deny = x->site->config->unknown_cookies == CONFIG_UNKNOWN_DENY;
    return true;
}

static bool consent_header_set(struct exchange *x)
{
    const struct policy *policy = x->site->policy;
    char text[X_CONSENT_MAX];
    size_t len = 0;
    struct str value;

    headers_remove(&x->req.headers, HDR_X_CONSENT);
    for (size_t i = 0; policy != NULL && i < policy->category_cnt; i++) {
        const struct policy_category *category = &policy->category[i];
        struct str id = str_c(category->id);

        if (category->required)
            continue;
        if (len > 0) {
            text[len++] = ',';
            text[len++] = ' ';
        }
        memcpy(text + len, id.ptr, id.len);
        len += id.len;
        text[len++] = '=';
        text[len++] = x->grants & category->bit ? '1' : '0';
    }
    return len == 0 || (arena_str(&x->arena, str_make(text, len), &value) &&
                        headers_add_id(&x->req.headers, &x->arena, HDR_X_CONSENT, value));
}

/* Where plain text costs nothing but a copy in memory. */
static bool origin_is_near(const struct site *site)
{
    for (size_t i = 0; i < site->config->origin_cnt; i++) {
        struct str url = str_c(site->config->origins[i].url);

        if (!str_starts(url, STR("unix:")) && !str_starts(url, STR(NEAR_ORIGIN_V4)) &&
            !str_starts(url, STR(NEAR_ORIGIN_V6)) && !str_starts(url, STR(NEAR_ORIGIN_LOC)))
            return false;
    }
    return true;
}

/* A page of its own: not a frame in one, nor a piece of HTML that a script asks for. */
bool banner_is_wanted(const struct exchange *x)
{
    const struct headers *h = &x->req.headers;
    struct str dest = kind_dest(h);

    if (!x->site->config->banner || x->site->policy == NULL)
        return false;
    if (dest.len > 0)
        return str_eq_c(dest, "document") || enforcement_of(x)->kept;
    return !kind_is_piece(h);
}

/* Every category is granted and nothing is to be put in: a page is the origin's as it is. */
static bool passes_whole(const struct exchange *x)
{
    uint16_t all = x->site->policy != NULL ? x->site->policy->categories.defined : 0;

    return all != 0 && (x->grants & all) == all && !banner_is_wanted(x) &&
           !enforcement_of(x)->service;
}

/* Never ask for what we cannot decode; for a page from a near origin ask for plain text. */
static bool accept_encoding_set(struct exchange *x, struct enforcement *e)
{
    struct headers *h = &x->req.headers;
    char known[CODING_ACCEPT_MAX];
    struct str value;

    e->accept_encoding = headers_value(h, HDR_ACCEPT_ENCODING);
    if (passes_whole(x))
        return true;
    if ((e->document || e->worker) && origin_is_near(x->site)) {
        e->asked_identity = true;
        return headers_set(h, &x->arena, HDR_ACCEPT_ENCODING, STR("identity"));
    }
    if (headers_find(h, HDR_ACCEPT_ENCODING) == NULL)
        return !e->document || headers_set(h, &x->arena, HDR_ACCEPT_ENCODING, STR("identity"));
    coding_accept_known(e->accept_encoding, known);
    return arena_str(&x->arena, str_c(known), &value) &&
           headers_set(h, &x->arena, HDR_ACCEPT_ENCODING, value);
}

static enum enforce_step answer_gpc(struct exchange *x)
{
    return consent_answer_json(x, 200, STR(GPC_BODY));
}

/* In the place of a tracker's service worker: it does nothing, and takes over at once. */
#define IDLE_WORKER "addEventListener(\"install\",()=>skipWaiting())\n"

/*
 * A tracker's own path on the site, or one that sends on to a tracker: the visitor's page gets an
 * empty success, with those cookies of the origin's answer that may pass.
 */
static enum enforce_step answer_endpoint(struct exchange *x, struct str path, const char *why)
{
    unsigned iter = 0;
    const struct header *field;
    struct headers h;
    struct str dest = headers_value(&x->req.headers, HDR_SEC_FETCH_DEST);
    bool worker = str_eq_c(dest, "serviceworker");
    bool script = worker || str_eq_c(dest, "script") || str_ends(path, STR(".js"));

    metric_add(METRIC_ENDPOINTS_ANSWERED, 1);
    exchange_note(x, why);
    headers_init(&h, NULL, 0);
    if (!headers_add_id(&h, &x->arena, HDR_CACHE_CONTROL, STR("no-store")))
        return ENFORCE_REFUSE;
    if (script &&
        !headers_add_id(&h, &x->arena, HDR_CONTENT_TYPE, STR("text/javascript; charset=utf-8")))
        return ENFORCE_REFUSE;
    while ((field = headers_next(&x->resp.headers, HDR_SET_COOKIE, &iter)) != NULL) {
        if (!headers_add_id(&h, &x->arena, HDR_SET_COOKIE, field->value))
            return ENFORCE_REFUSE;
    }
    exchange_answer(x, script ? 200 : 204, &h, worker ? STR(IDLE_WORKER) : STR(""));
    return ENFORCE_ANSWERED;
}

/* The verdict on the request's own path, read as rules read it: in canonical form. */
static bool endpoint_is_denied(struct exchange *x, struct enforcement *e, struct str *path_out)
{
    struct decider undecided = e->decider;
    struct url url;
    struct verdict verdict;
    char *text;

    text = arena_printf(&x->arena, "https://site.invalid%.*s", STR_ARGS(x->req.path));
    if (text == NULL || !url_parse(str_c(text), NULL, &x->arena, &url))
        return false;
    *path_out = url.path;
    text = url.query.len > 0
               ? arena_printf(&x->arena, "%.*s?%.*s", STR_ARGS(url.path), STR_ARGS(url.query))
               : arena_copy(&x->arena, url.path.ptr, url.path.len);
    if (text == NULL)
        return false;
    undecided.grants = CATEGORY_ESSENTIAL;
    e->path_differs = x->grants != CATEGORY_ESSENTIAL &&
                      decide_site_path(&undecided, str_c(text)).action == VERDICT_STRIP;
    verdict = decide_site_path(&e->decider, str_c(text));
    if (verdict.action == VERDICT_REPORT)
        metric_add(METRIC_REPORTED, 1);
    return verdict.action == VERDICT_STRIP;
}

enum enforce_step enforce_request(struct exchange *x)
{
    struct str prefix = str_c(x->site->config->prefix);
    struct enforcement *e;
    struct str path = x->req.path;

    if (!enforcement_begin(x))
        return ENFORCE_REFUSE;
    e = enforcement_of(x);
    if (str_starts(x->req.path, prefix))
        return consent_api_request(x, str_slice(x->req.path, prefix.len, x->req.path.len));
    if (str_starts(x->req.path, STR(CONSENT_LOG_PREFIX)))
        return consent_log_request(x, str_slice(path, strlen(CONSENT_LOG_PREFIX), path.len));
    if (str_eq_c(x->req.path, GPC_PATH))
        return answer_gpc(x);
    if (x->req.path.len > 0 && x->req.path.ptr[0] == '/' && endpoint_is_denied(x, e, &path))
        return answer_endpoint(x, path, "tracker endpoint of the site");
    if (!cookies_filter_request(x) || !consent_header_set(x) || !accept_encoding_set(x, e) ||
        !conditions_rewrite(x))
        return ENFORCE_REFUSE;
    return ENFORCE_FORWARD;
}

/* --- the response --- */

/*
 * Who asks decides how an answer is read. Where its type would have it read as another thing, a
 * cache must not give it to those who ask for that: anybody can claim to ask for a style sheet.
 */
static bool cache_only_for_its_type(struct exchange *x, bool script)
{
    return (!kind_is_page(x) && (script || !kind_has_script_type(x))) || cache_nothing(x);
}

/* The coding of the answer we send: what the client would have got without us, or better. */
static enum coding coding_out(const struct exchange *x, const struct enforcement *e, enum coding in)
{
    if (x->site->config->html_encoding == CONFIG_ENCODING_IDENTITY ||
        headers_has_token(&x->resp.headers, HDR_CACHE_CONTROL, "no-transform"))
        return in != CODING_IDENTITY && coding_is_accepted(e->accept_encoding, in)
                   ? in
                   : CODING_IDENTITY;
    if (in == CODING_IDENTITY && !e->asked_identity)
        return CODING_IDENTITY; /* the origin chose plain text */
    if (in != CODING_IDENTITY && coding_is_accepted(e->accept_encoding, in))
        return in;
    return coding_negotiate(e->accept_encoding);
}

/* A part of a page cannot be rewritten: ask again for the whole. */
static enum enforce_step restart_whole(struct exchange *x)
{
    headers_remove(&x->req.headers, HDR_RANGE);
    headers_remove(&x->req.headers, HDR_IF_RANGE);
    if (exchange_restart(x))
        return ENFORCE_PENDING;
    exchange_fail(x, 502, "a part of a page, style sheet or script cannot be filtered");
    return ENFORCE_ANSWERED;
}

/* The one coding of the answer; what is coded twice, in one field or several, is unknown. */
static enum coding coding_in(const struct exchange *x)
{
    enum coding found = CODING_IDENTITY;
    unsigned iter = 0;
    struct header *field;

    while ((field = headers_next(&x->resp.headers, HDR_CONTENT_ENCODING, &iter)) != NULL) {
        struct str rest = field->value;
        struct str one;

        while (header_list_next(&rest, &one)) {
            enum coding coding = coding_of(one);

            if (coding == CODING_IDENTITY)
                continue;
            if (found != CODING_IDENTITY)
                return CODING_UNKNOWN;
            found = coding;
        }
    }
    return found;
}

static enum enforce_step enforce_page(struct exchange *x, struct enforcement *e)
{
    enum coding in = coding_in(x);
    struct str type = kind_page_type(x);
    enum coding out;

    if (passes_whole(x))
        return page_headers(x) ? ENFORCE_FORWARD : ENFORCE_REFUSE;
    if (type.len > 0 && !headers_set(&x->resp.headers, &x->arena, HDR_CONTENT_TYPE, type))
        return ENFORCE_REFUSE;
    if (x->resp.status == 206)
        return restart_whole(x);
    if (in == CODING_UNKNOWN || kind_is_replaced(x)) {
        metric_add(METRIC_BODIES_REFUSED, 1);
        exchange_fail(x, 502,
                      in == CODING_UNKNOWN ? "the page has a content coding that cannot be decoded"
                                           : "pages in multipart/x-mixed-replace are not filtered");
        return ENFORCE_ANSWERED;
    }
    out = coding_out(x, e, in);
    csp_prepare(x);
    if (!page_headers(x))
        return ENFORCE_REFUSE;
    headers_remove(&x->resp.headers, HDR_CONTENT_ENCODING);
    if (out != CODING_IDENTITY &&
        !headers_add_id(&x->resp.headers, &x->arena, HDR_CONTENT_ENCODING, str_c(coding_name(out))))
        return ENFORCE_REFUSE;
    cookies_delete_denied(x, &x->resp.headers);
    if (e->told && kind_is_page(x) && (!cache_nothing(x) || !notice_note_seen(x, &x->resp.headers)))
        return ENFORCE_REFUSE;
    if (!(kind_is_page(x) ? page_filter_add(x, type, in, out) : worker_filter_add(x, in, out)))
        return ENFORCE_REFUSE;
    return ENFORCE_FORWARD;
}

/*
 * A style sheet, a script, speculation rules. Where nothing can be denied the client's own codings
 * and parts were asked for, and what nobody reads need not be readable.
 */
static enum enforce_step enforce_part(struct exchange *x, const struct enforcement *e)
{
    enum coding in = coding_in(x);
    bool ok =
        cache_only_for_its_type(x, !kind_is_sheet(x)) && (!kind_is_script(x) || script_headers(x));

    if ((in == CODING_UNKNOWN || x->resp.status == 206) && passes_whole(x))
        return ok && headers_differ(x) ? ENFORCE_FORWARD : ENFORCE_REFUSE;
    if (x->resp.status == 206)
        return restart_whole(x);
    if (in == CODING_UNKNOWN) {
        metric_add(METRIC_BODIES_REFUSED, 1);
        exchange_fail(x, 502,
                      "the style sheet or script has a content coding that cannot be decoded");
        return ENFORCE_ANSWERED;
    }
    return ok && part_filter_add(x, in, coding_out(x, e, in)) ? ENFORCE_FORWARD : ENFORCE_REFUSE;
}

/* A script, picture or frame would follow a redirect to a tracker unseen; a visitor follows it. */
static bool fetches_a_part(const struct exchange *x, const struct enforcement *e)
{
    struct str dest = kind_dest(&x->req.headers);

    return dest.len > 0 ? !str_eq_c(dest, "document") : !e->document;
}

/* To a tracker by the rules for parts of pages without consent: no cache may give it to these. */
static bool redirect_differs(struct exchange *x, struct enforcement *e)
{
    uint16_t grants = e->decider.grants;
    bool denied;

    e->decider.grants = CATEGORY_ESSENTIAL;
    denied = redirect_is_denied(x);
    e->decider.grants = grants;
    return denied;
}

/* Of what may be something else at another time: a HEAD's file, a picture that is opened. */
static bool says_what_it_may_be(struct exchange *x)
{
    if (kind_is_unseen(x))
        unseen_headers(x);
    return !kind_is_up_to_who_asks(x) || picture_headers(x);
}

enum enforce_step enforce_response(struct exchange *x)
{
    struct enforcement *e = enforcement_of(x);

    cookies_filter_response(x, &x->resp.headers);
    hints_filter_response(x, &x->resp.headers);
    if (redirect_differs(x, e)) {
        if (fetches_a_part(x, e) && redirect_is_denied(x))
            return answer_endpoint(x, x->req.path, "a redirect to a tracker");
        if (!cache_nothing(x))
            return ENFORCE_REFUSE;
    }
    if (e->path_differs && !headers_differ(x))
        return ENFORCE_REFUSE;
    if (x->resp.status == 304 && e->matched_etag.len > 0)
        csp_prepare(x);
    if (x->resp.status == 304)
        return not_modified_headers(x) ? ENFORCE_FORWARD : ENFORCE_REFUSE;
    if ((kind_is_sheet(x) || kind_is_script(x) || kind_is_rules(x)) && x->resp.body != H1_BODY_NONE)
        return enforce_part(x, e);
    if (!says_what_it_may_be(x))
        return ENFORCE_REFUSE;
    if (!kind_is_page(x) && !kind_is_worker(x))
        return !kind_may_be_worker(x) || page_headers(x) ? ENFORCE_FORWARD : ENFORCE_REFUSE;
    return enforce_page(x, e);
}

void enforce_informational(struct exchange *x, unsigned status, struct headers *h)
{
    UNUSED(status);
    cookies_filter_response(x, h);
    hints_filter_response(x, h);
}

void enforce_end(struct exchange *x)
{
    struct enforce_worker *worker = x->server->enforce;

    if (x->enforce != NULL && worker != NULL)
        ledger_link_forget(worker->link, x);
    if (x->enforce != NULL)
        rights_record_end(x);
}
