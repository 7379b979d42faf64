/*
 * consent_choice.c - a decision: read it, have it recorded, answer it.
 *
 *   POST -> same origin? -> body (JSON, or a form without script) -> grants
 *        -> the ledger -> ack: cookie and receipt
 *                      -> no ack: a grant is refused with 503, a narrowing takes effect all
 *                         the same and is recorded as soon as the ledger can; of a choice that
 *                         does both, what it takes back takes effect
 *
 * A grant is real only once it is durable: no cookie before the ack.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/b64.h"
#include "consentd/buf.h"
#include "consentd/crypto.h"
#include "consentd/error_page.h"
#include "consentd/json.h"
#include "consentd/ledger_msg.h"
#include "consentd/log.h"
#include "consentd/metrics.h"
#include "enforce_priv.h"
#include "rights_priv.h"

#define RETURN_MAX     2048 /* bytes of the path a form goes back to */
#define METHOD_MAX     32
#define ANSWER_MAX     2048
#define RETRY_AFTER    "10"
#define ERROR_PAGE_MAX 16384

/* One choice on its way. In the exchange's arena. */
struct choice {
    uint16_t grants; /* optional categories only */
    bool form;       /* answer with 303 instead of JSON */
    bool withdraw;
    bool narrows;
    uint16_t before; /* optional categories that the token grants, GPC's refusal aside */
    struct str back; /* path of the page a form came from */
    struct str method;
    struct consent_event event;
};

/* --- reading --- */

/*
 * A page with "Referrer-Policy: no-referrer" posts its own forms with "Origin: null" (Fetch 3.1):
 * there the browser's own word, which no page can forge, is enough.
 */
bool is_cross_site(const struct exchange *x)
{
    struct str site = headers_value(&x->req.headers, HDR_SEC_FETCH_SITE);
    const struct header *origin = headers_find(&x->req.headers, HDR_ORIGIN);

    if (site.len > 0 && !str_eq_c(site, "same-origin"))
        return true;
    if (site.len > 0 && origin != NULL && str_eq_c(origin->value, "null"))
        return false;
    return origin != NULL && !origin_is_own(x, origin->value);
}

/* A path on this host: "/x", never "//host" or "/\host", no control bytes. */
static bool path_is_local(struct str path)
{
    if (path.len == 0 || path.len > RETURN_MAX || path.ptr[0] != '/')
        return false;
    if (path.len > 1 && (path.ptr[1] == '/' || path.ptr[1] == '\\'))
        return false;
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.ptr[i];

        if (c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>')
            return false;
    }
    return true;
}

/* Where a form goes back to: the path of the page that sent it. */
static struct str back_path(const struct exchange *x)
{
    struct str referer = headers_value(&x->req.headers, HDR_REFERER);
    ptrdiff_t at = str_find(referer, STR("://"));
    ptrdiff_t slash;
    struct str origin;

    if (at < 0)
        return STR("/");
    slash = str_find_char(str_slice(referer, (size_t)at + 3, referer.len), '/');
    if (slash < 0)
        return STR("/");
    origin = str_slice(referer, 0, (size_t)(at + 3 + slash));
    referer = str_slice(referer, origin.len, referer.len);
    return origin_is_own(x, origin) && path_is_local(referer) ? referer : STR("/");
}

static int hex_value(char c)
{
    if (ascii_is_digit(c))
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* application/x-www-form-urlencoded, one value, decoded into the arena (WHATWG URL 5.1). */
bool form_value(struct exchange *x, struct str in, struct str *out)
{
    char *text = arena_alloc(&x->arena, in.len + 1);
    size_t len = 0;

    if (text == NULL)
        return false;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];

        if (c == '%' && i + 2 < in.len && hex_value(in.ptr[i + 1]) >= 0 &&
            hex_value(in.ptr[i + 2]) >= 0) {
            c = (char)(hex_value(in.ptr[i + 1]) * 16 + hex_value(in.ptr[i + 2]));
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        text[len++] = c;
    }
    *out = str_make(text, len);
    return true;
}

struct str form_get(struct exchange *x, struct str form, const char *name)
{
    struct str member, key, value;

    while (str_cut(&form, '&', &member)) {
        ptrdiff_t equals = str_find_char(member, '=');

        if (equals < 0 || !form_value(x, str_slice(member, 0, (size_t)equals), &key) ||
            !str_eq_c(key, name))
            continue;
        if (form_value(x, str_slice(member, (size_t)equals + 1, member.len), &value))
            return value;
    }
    return STR("");
}

/* One member of a form; unknown ones are left alone, as a site may add its own. */
static void form_member(struct exchange *x, struct choice *c, struct str name, struct str value,
                        struct str *action)
{
    const struct categories *categories = &x->site->policy->categories;

    if (str_eq_c(name, "action"))
        *action = value;
    else if (str_eq_c(name, "return") && path_is_local(value))
        c->back = value;
    else
        c->grants |= categories_bit(categories, name); /* a box that is ticked is sent */
}

static bool form_read(struct exchange *x, struct choice *c, struct str body)
{
    uint16_t optional = policy_optional(x->site->policy);
    struct str action = STR("save");
    struct str member;

    c->back = back_path(x);
    while (str_cut(&body, '&', &member)) {
        ptrdiff_t equals = str_find_char(member, '=');
        struct str name, value;

        if (equals < 0)
            continue;
        if (!form_value(x, str_slice(member, 0, (size_t)equals), &name) ||
            !form_value(x, str_slice(member, (size_t)equals + 1, member.len), &value))
            return false;
        form_member(x, c, name, value, &action);
    }
    c->grants &= optional;
    if (str_eq_c(action, "allow")) { /* what is named, beside what is granted already */
        c->grants |= x->grants & optional;
        c->method = STR("frame.allow");
    } else if (str_eq_c(action, "accept-all")) {
        c->grants = optional;
        c->method = STR("banner.accept_all");
    } else if (str_eq_c(action, "reject-all")) {
        c->grants = 0;
        c->method = STR("banner.reject_all");
    } else {
        c->method = STR("panel.save");
    }
    return str_eq_c(action, "accept-all") || str_eq_c(action, "reject-all") ||
           str_eq_c(action, "save") || str_eq_c(action, "allow");
}

/* Adds the purposes of one array; false for a name that the policy does not have. */
static bool json_purposes(const struct exchange *x, const struct json_at *at, const char *key,
                          uint16_t *mask)
{
    const struct categories *categories = &x->site->policy->categories;
    struct json_at list;

    if (!json_at_get(at, key, &list))
        return true;
    if (!json_at_array(&list, NULL))
        return false;
    for (size_t i = 0; i < json_at_count(&list); i++) {
        struct json_at item = json_at_index(&list, i);
        struct str name;
        uint16_t bit;

        if (!json_at_str(&item, &name, NULL))
            return false;
        bit = categories_bit(categories, name) & categories->defined;
        if (bit == 0)
            return false;
        *mask |= bit;
    }
    return true;
}

static bool method_is_known(struct str method)
{
    static const char *const known[] = {"banner.accept_all", "banner.reject_all", "banner.save",
                                        "panel.save",        "link.withdraw",     "frame.allow"};

    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (str_eq_c(method, known[i]))
            return true;
    }
    return false;
}

/* 400: not what was agreed. 409: a purpose or a notice that is no longer the current one. */
static unsigned json_read(struct exchange *x, struct choice *c, const struct json_at *at)
{
    char doc_now[B64_LEN(16) + 1];
    struct str doc = {NULL, 0};
    struct str eid = {NULL, 0};
    struct str method = {NULL, 0};
    uint16_t denied = 0;

    if (!json_at_object(at, NULL) || !json_at_key_str(at, "doc", JSON_MAY, &doc, NULL) ||
        !json_at_key_str(at, "eid", JSON_MAY, &eid, NULL) ||
        !json_at_key_str(at, "mth", JSON_MAY, &method, NULL))
        return 400;
    b64url_encode(doc_now, x->site->policy->doc_hash, 16);
    if (doc.ptr != NULL && !str_eq_c(doc, doc_now))
        return 409;
    if (!json_purposes(x, at, "grant", &c->grants) || !json_purposes(x, at, "deny", &denied))
        return 409;
    if (c->grants & denied)
        return 400;
    if (eid.ptr != NULL && !b64url_decode(eid, c->event.eid, sizeof(c->event.eid)))
        return 400;
    if (eid.ptr == NULL)
        crypto_random(c->event.eid, sizeof(c->event.eid));
    c->grants &= policy_optional(x->site->policy);
    if (method_is_known(method) && !arena_str(&x->arena, method, &c->method))
        return 500;
    return 0;
}

static unsigned body_read(struct exchange *x, struct choice *c, struct str body)
{
    struct str type = headers_value(&x->req.headers, HDR_CONTENT_TYPE);
    struct str essence = {NULL, 0};
    json_t *root;
    unsigned status;

    str_cut(&type, ';', &essence);
    essence = str_trim(essence);
    if (str_eq_fold_c(essence, "application/x-www-form-urlencoded")) {
        c->form = true;
        crypto_random(c->event.eid, sizeof(c->event.eid));
        return form_read(x, c, body) ? 0 : 400;
    }
    if (!str_eq_fold_c(essence, "application/json"))
        return 415;
    root = json_load_text("choice", body, 0, NULL);
    if (root == NULL)
        return 400;
    struct json_at at = json_at_root("choice", body, root);

    status = json_read(x, c, &at);
    json_decref(root);
    return status;
}

/* --- answering --- */

/* The decision as it will stand in the token. */
static bool token_make(const struct exchange *x, const struct choice *c,
                       const struct ledger_ack *ack, char out[TOKEN_LEN + 1])
{
    struct token_claims claims = {
        .flags = (uint8_t)(TOKEN_GESTURE | (c->event.gpc ? TOKEN_GPC : 0) |
                           (c->withdraw ? TOKEN_WITHDRAWAL : 0)),
        .grants = c->grants | CATEGORY_ESSENTIAL,
        .epoch = c->event.epoch,
        .issued_s = (uint32_t)(x->wall_ms / 1000),
        .expires_s = c->event.expires_s,
        .node = c->event.prev_node,
        .leaf = c->event.prev_leaf,
    };

    memcpy(claims.subject, c->event.subject, sizeof(claims.subject));
    if (ack != NULL && ack->status == LEDGER_RECORDED) {
        claims.grants = ack->grants | CATEGORY_ESSENTIAL;
        claims.epoch = ack->epoch;
        claims.issued_s = (uint32_t)(ack->ts_ms / 1000);
        claims.expires_s = ack->expires_s;
        claims.node = ack->node;
        claims.leaf = ack->leaf;
        memcpy(claims.subject, ack->subject, sizeof(claims.subject));
    }
    return token_issue(x->server->keyring, &claims, str_c(x->site->config->hosts.items[0]), out);
}

static bool cookie_add(struct exchange *x, const struct choice *c, const struct ledger_ack *ack,
                       struct headers *h)
{
    const char *domain = x->site->config->cookie_domain;
    struct str name = consent_cookie_name(x);
    char token[TOKEN_LEN + 1];
    uint32_t now_s = (uint32_t)(x->wall_ms / 1000);
    uint32_t expires_s =
        ack != NULL && ack->status == LEDGER_RECORDED ? ack->expires_s : c->event.expires_s;
    char *field;

    if (!token_make(x, c, ack, token))
        return false;
    field = arena_printf(&x->arena, "%.*s=%s; Path=/; Max-Age=%u%s; HttpOnly; SameSite=Lax%s%s",
                         STR_ARGS(name), token, expires_s > now_s ? expires_s - now_s : 0,
                         x->secure ? "; Secure" : "", domain != NULL ? "; Domain=" : "",
                         domain != NULL ? domain : "");
    return field != NULL && headers_add_id(h, &x->arena, HDR_SET_COOKIE, str_c(field));
}

/* The cookies of what is now denied, as far as this request carries them, end here. */
static void cookies_end(struct exchange *x, const struct choice *c, struct headers *h)
{
    struct enforcement *e = enforcement_of(x);

    e->decider.grants = c->grants | CATEGORY_ESSENTIAL;
    if (cookies_filter_request(x))
        cookies_delete_denied(x, h);
}

static bool receipt_print(const struct exchange *x, const struct choice *c,
                          const struct ledger_ack *ack, struct buf *out)
{
    const struct policy *policy = x->site->policy;
    char eid[B64_LEN(16) + 1];
    char doc[B64_LEN(16) + 1];
    const char *comma = "";
    bool ok;

    b64url_encode(eid, c->event.eid, 16);
    b64url_encode(doc, policy->doc_hash, 16);
    ok = buf_printf(out, "{\"doc\":\"%s\",\"eid\":\"%s\",\"grants\":{", doc, eid);
    for (size_t i = 0; i < policy->category_cnt; i++) {
        const struct policy_category *category = &policy->category[i];
        bool granted = category->required || (c->grants & category->bit) != 0;

        ok = ok && buf_printf(out, "%s\"%s\":%s", comma, category->id, granted ? "true" : "false");
        comma = ",";
    }
    ok = ok && buf_append_c(out, "}");
    if (ack != NULL && ack->status == LEDGER_RECORDED)
        ok = ok &&
             buf_printf(out, ",\"leaf\":%llu,\"node\":%u,\"ts\":%llu",
                        (unsigned long long)ack->leaf, ack->node, (unsigned long long)ack->ts_ms);
    return ok && buf_printf(out, ",\"recorded\":%s}\n",
                            ack != NULL && ack->status == LEDGER_RECORDED ? "true" : "false");
}

/* The choice is in force: the cookie, and a receipt or the way back to the page. */
static void answer_done(struct exchange *x, const struct choice *c, const struct ledger_ack *ack)
{
    struct headers h;
    struct buf out;
    unsigned status = ack != NULL && ack->status == LEDGER_RECORDED && !ack->duplicate ? 201 : 200;
    bool ok;

    headers_init(&h, NULL, 0);
    buf_init(&out, ANSWER_MAX);
    ok = headers_add_id(&h, &x->arena, HDR_CACHE_CONTROL, STR("no-store")) &&
         cookie_add(x, c, ack, &h);
    if (c->form)
        ok = ok && headers_add_id(&h, &x->arena, HDR_LOCATION, c->back);
    else
        ok = ok && headers_add_id(&h, &x->arena, HDR_CONTENT_TYPE, STR("application/json")) &&
             receipt_print(x, c, ack, &out);
    if (ok) {
        cookies_end(x, c, &h);
        metric_add(c->grants ? METRIC_CHOICES_GRANTED : METRIC_CHOICES_DENIED, 1);
        exchange_answer(x, c->form ? 303 : status, &h, buf_str(&out));
    } else {
        exchange_fail(x, 500, "the consent cookie could not be made");
    }
    buf_free(&out);
}

static void on_kept(struct exchange *x, const struct ledger_ack *ack)
{
    UNUSED(x); /* was answered long ago */
    UNUSED(ack);
}

/* What the choice took back, as a choice of its own: in force now, recorded when it can be. */
static void take_back(struct exchange *x, const struct choice *c, struct headers *h)
{
    struct enforce_worker *worker = x->server->enforce;
    struct choice less = *c;

    less.grants = x->grants & c->grants;
    less.event.grant = less.grants;
    less.event.deny = policy_optional(x->site->policy) & (uint16_t)~less.grants;
    less.event.act = less.grants == 0 ? CONSENT_WITHDRAW : CONSENT_CUSTOM;
    crypto_random(less.event.eid, sizeof(less.event.eid));
    metric_add(METRIC_CHOICES_UNRECORDED, 1);
    if (!ledger_link_send(worker->link, x, &less.event, LEDGER_EVENT_NARROWS, on_kept))
        log_warn("choice.unkept", "site=%s", x->site->config->name);
    if (cookie_add(x, &less, NULL, h))
        cookies_end(x, &less, h);
}

static void answer_unavailable(struct exchange *x, const struct choice *c)
{
    bool less = (c->before & (uint16_t)~c->grants) != 0;
    struct headers h;
    struct buf page;
    bool ok;

    metric_add(METRIC_CHOICES_FAILED, 1);
    exchange_note(x, "a grant could not be recorded");
    headers_init(&h, NULL, 0);
    buf_init(&page, ERROR_PAGE_MAX);
    if (less)
        take_back(x, c, &h);
    ok = headers_add_id(&h, &x->arena, HDR_CACHE_CONTROL, STR("no-store")) &&
         headers_add_id(&h, &x->arena, HDR_RETRY_AFTER, STR(RETRY_AFTER)) &&
         headers_add_id(&h, &x->arena, HDR_CONTENT_TYPE,
                        c->form ? STR("text/html; charset=utf-8") : STR("application/json"));
    if (c->form)
        ok = ok && error_page(&page, 503);
    else
        ok = ok && buf_printf(&page,
                              "{\"error\":\"what you allowed could not be recorded; %s. Please "
                              "try again in a moment.\"}\n",
                              less ? "what you took back is in force" : "nothing was changed");
    if (ok)
        exchange_answer(x, 503, &h, buf_str(&page));
    else
        exchange_fail(x, 500, "no memory for an answer");
    buf_free(&page);
}

/* The ledger has answered, or has not in time. */
static void on_ledger(struct exchange *x, const struct ledger_ack *ack)
{
    const struct choice *c = enforcement_of(x)->choice;
    bool recorded = ack != NULL && ack->status == LEDGER_RECORDED;

    if (!recorded && !c->narrows) {
        answer_unavailable(x, c);
        return;
    }
    if (!recorded)
        metric_add(METRIC_CHOICES_UNRECORDED, 1);
    answer_done(x, c, ack);
}

/* --- the event --- */

static enum consent_act act_of(const struct exchange *x, const struct choice *c, uint16_t before)
{
    uint16_t optional = policy_optional(x->site->policy);

    if (c->withdraw || (before != 0 && c->grants == 0))
        return CONSENT_WITHDRAW;
    if (c->grants == optional)
        return CONSENT_ACCEPT_ALL;
    return c->grants == 0 ? CONSENT_REJECT_ALL : CONSENT_CUSTOM;
}

static struct str method_of(const struct choice *c, enum consent_act act)
{
    if (c->method.len > 0)
        return c->method;
    if (act == CONSENT_ACCEPT_ALL)
        return STR("banner.accept_all");
    if (act == CONSENT_REJECT_ALL)
        return STR("banner.reject_all");
    return act == CONSENT_WITHDRAW ? STR("link.withdraw") : STR("panel.save");
}

/* Fills the event; returns the flags for the ledger. */
static unsigned event_fill(struct exchange *x, struct choice *c)
{
    const struct enforcement *e = enforcement_of(x);
    const struct policy *policy = x->site->policy;
    uint16_t optional = policy_optional(policy);
    uint16_t before = e->decided ? e->claims.grants & optional : 0;
    struct consent_event *event = &c->event;
    struct token_claims claims;
    unsigned flags = 0;

    event->act = act_of(x, c, before);
    event->type = CONSENT_EXPLICIT;
    event->by = CONSENT_BY_SUBJECT;
    event->grant = c->grants;
    event->deny = optional & (uint16_t)~c->grants;
    event->epoch = policy->epoch;
    event->expires_s = (uint32_t)((x->wall_ms + x->site->config->max_age_ms) / 1000);
    event->gpc = e->gpc;
    event->host = str_c(x->site->config->hosts.items[0]);
    event->lang = str_c(language_tag(x));
    event->method = method_of(c, event->act);
    memcpy(event->doc, policy->doc_hash, sizeof(event->doc));
    if (token_holder(x, &claims)) { /* also of an older epoch: the history goes on */
        memcpy(event->subject, claims.subject, sizeof(event->subject));
        event->has_prev = true;
        event->prev_node = claims.node;
        event->prev_leaf = claims.leaf;
    } else {
        crypto_random(event->subject, sizeof(event->subject));
        flags |= LEDGER_EVENT_NEW_SUBJECT;
    }
    c->before = before;
    c->narrows = (c->grants & (uint16_t)~x->grants) == 0;
    return flags | (c->narrows ? LEDGER_EVENT_NARROWS : 0);
}

static void answer_error(struct exchange *x, unsigned status)
{
    char doc[B64_LEN(16) + 1];
    char *body;

    b64url_encode(doc, x->site->policy->doc_hash, 16);
    body = arena_printf(&x->arena, "{\"doc\":\"%s\",\"error\":\"%s\"}\n", doc,
                        status == 409   ? "the notice or its purposes have changed: load the page "
                                          "again"
                        : status == 415 ? "expected application/json or a form"
                                        : "expected {grant:[...], deny:[...], doc, eid, mth}");
    if (body == NULL || consent_answer_json(x, status, str_c(body)) == ENFORCE_REFUSE)
        exchange_fail(x, 500, "no memory for an answer");
}

static void choice_submit(struct exchange *x, struct choice *c)
{
    struct enforce_worker *worker = x->server->enforce;
    unsigned flags = event_fill(x, c);

    if (!ledger_link_send(worker->link, x, &c->event, flags, on_ledger))
        on_ledger(x, NULL);
}

static void on_choice(struct exchange *x, struct str body)
{
    struct choice *c = enforcement_of(x)->choice;
    unsigned status = body_read(x, c, body);

    if (status != 0)
        answer_error(x, status);
    else
        choice_submit(x, c);
}

/* {"purposes":["marketing"]} takes these back; no body or no purposes: all of them. */
static void on_withdraw(struct exchange *x, struct str body)
{
    const struct enforcement *e = enforcement_of(x);
    struct choice *c = e->choice;
    uint16_t taken = 0;
    json_t *root = body.len > 0 ? json_load_text("withdraw", body, 0, NULL) : NULL;
    bool ok = true;

    if (root != NULL) {
        struct json_at at = json_at_root("withdraw", body, root);

        ok = json_at_object(&at, NULL) && json_purposes(x, &at, "purposes", &taken);
        json_decref(root);
    }
    if (!ok) {
        answer_error(x, 409);
        return;
    }
    crypto_random(c->event.eid, sizeof(c->event.eid));
    c->withdraw = true;
    c->method = STR("link.withdraw");
    c->grants = x->grants & policy_optional(x->site->policy); /* not what GPC refuses */
    c->grants = taken == 0 ? 0 : c->grants & (uint16_t)~taken;
    choice_submit(x, c);
}

enum enforce_step consent_choice_post(struct exchange *x, bool withdraw)
{
    struct choice *c;

    if (is_cross_site(x)) {
        exchange_note(x, "a choice from another site");
        return consent_answer_json(x, 403,
                                   STR("{\"error\":\"a choice can only be made on the "
                                       "site itself\"}\n"));
    }
    if (!rights_may_choose(x))
        return ENFORCE_ANSWERED;
    c = arena_calloc(&x->arena, 1, sizeof(*c));
    if (c == NULL)
        return ENFORCE_REFUSE;
    enforcement_of(x)->choice = c;
    if (!exchange_body_collect(x, CHOICE_BODY_MAX, withdraw ? on_withdraw : on_choice))
        return ENFORCE_REFUSE;
    return ENFORCE_PENDING;
}
