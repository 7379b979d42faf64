/*
 * rights.c - a visitor's rights, for who holds the token:
 *
 *   GET  me                     what is recorded; a page, or JSON
 *   GET  me/record?format=json|dpv|kantara    the same as a download
 *   GET  me/proof/LEAF          a C2SP tlog-proof of one record; its key in Consent-Log-Key
 *   POST me/amend               an objection, added behind the record
 *   GET  me/erase, POST me/erase    asks, and erases: 202 with request and complete_by
 *
 * The token is the key: without it there is nothing to find, since records are pseudonyms. One of
 * an older epoch grants nothing and still names its subject, so it opens these pages. Records are
 * the ledger's; when it can't tell them, the answer is 503 with Retry-After.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/error_page.h"
#include "consentd/loop.h"
#include "consentd/peer_budget.h"
#include "rights_priv.h"

#define RETRY_AFTER "5"
#define PAGE_POLICY                                                                                \
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "                  \
    "frame-ancestors 'none'"

/* --- answers -------------------------------------------------------------------------------- */

bool wants_page(const struct exchange *x)
{
    return headers_has_token(&x->req.headers, HDR_ACCEPT, "text/html");
}

void rights_answer(struct exchange *x, unsigned status, const char *type, struct str body,
                   struct headers *extra)
{
    struct headers h;
    bool page = str_starts(str_c(type), STR("text/html"));

    if (extra == NULL)
        headers_init(extra = &h, NULL, 0);
    if (headers_add_id(extra, &x->arena, HDR_CONTENT_TYPE, str_c(type)) &&
        headers_add_id(extra, &x->arena, HDR_CACHE_CONTROL, STR("no-store")) &&
        headers_add_id(extra, &x->arena, HDR_X_CONTENT_TYPE_OPTIONS, STR("nosniff")) &&
        headers_add(extra, &x->arena, STR("Referrer-Policy"), STR("same-origin")) &&
        (!page ||
         headers_add(extra, &x->arena, STR("Content-Security-Policy"), STR(PAGE_POLICY))) &&
        (status != 503 || headers_find(extra, HDR_RETRY_AFTER) != NULL ||
         headers_add_id(extra, &x->arena, HDR_RETRY_AFTER, STR(RETRY_AFTER))))
        exchange_answer(x, status, extra, body);
    else
        exchange_fail(x, 500, "no memory for an answer");
}

/* extra: fields beside ours, or NULL. */
static void answer_error(struct exchange *x, unsigned status, const char *why,
                         struct headers *extra)
{
    bool page = wants_page(x);
    struct buf out;
    bool ok;

    buf_init(&out, RIGHTS_PAGE_MAX);
    if (page && (status == 429 || status == 503))
        ok = rights_page_later(x, &out);
    else if (page)
        ok = error_page(&out, status);
    else
        ok = buf_printf(&out, "{\"error\":\"%s\"}\n", why);
    if (ok)
        rights_answer(x, status, page ? "text/html; charset=utf-8" : "application/json",
                      buf_str(&out), extra);
    else
        exchange_fail(x, 500, "no memory for an answer");
    buf_free(&out);
}

void rights_answer_error(struct exchange *x, unsigned status, const char *why)
{
    answer_error(x, status, why, NULL);
}

void rights_answer_method(struct exchange *x, struct str allow)
{
    struct headers h;

    headers_init(&h, NULL, 0);
    if (headers_add_id(&h, &x->arena, HDR_ALLOW, allow))
        rights_answer(x, 405, "text/plain", STR(""), &h);
    else
        exchange_fail(x, 500, "no memory for an answer");
}

static bool is_within(struct exchange *x, struct peer_budget *budget, const char *note)
{
    unsigned wait_s = 0;
    struct headers h;
    char *seconds;

    if (peer_budget_request(budget, x->peer, loop_now_ms(x->server->loop), &wait_s))
        return true;
    exchange_note(x, note);
    headers_init(&h, NULL, 0);
    seconds = arena_printf(&x->arena, "%u", wait_s);
    if (seconds != NULL && headers_add_id(&h, &x->arena, HDR_RETRY_AFTER, str_c(seconds)))
        answer_error(x, 429, "too many at once: ask again later", &h);
    else
        exchange_fail(x, 500, "no memory for an answer");
    return false;
}

bool rights_may_ask(struct exchange *x)
{
    const struct enforce_worker *worker = x->server->enforce;

    return is_within(x, worker->rights, "too many questions");
}

bool rights_may_choose(struct exchange *x)
{
    const struct enforce_worker *worker = x->server->enforce;

    return is_within(x, worker->choices, "too many choices");
}

bool rights_body_is(const struct exchange *x, const char *type)
{
    struct str rest = headers_value(&x->req.headers, HDR_CONTENT_TYPE);
    struct str essence = {NULL, 0};

    (void)str_cut(&rest, ';', &essence);
    return str_eq_fold_c(str_trim(essence), type);
}

/* NULL: a text in it was no UTF-8, or the ledger's answer had not all that it must have. */
static void answer_json(struct exchange *x, unsigned status, json_t *value)
{
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

    if (text != NULL)
        rights_answer(x, status, "application/json", str_c(text), NULL);
    else
        rights_answer_error(x, 503, "the records can't be read at the moment: ask again later");
    free(text);
    json_decref(value);
}

static void answer_page(struct exchange *x, unsigned status, bool made, struct buf *out)
{
    if (made)
        rights_answer(x, status, "text/html; charset=utf-8", buf_str(out), NULL);
    else
        exchange_fail(x, 500, "no memory for a page");
    buf_free(out);
}

static void answer_unavailable(struct exchange *x)
{
    struct buf out;

    exchange_note(x, "records could not be read");
    if (!rights_of(x)->html) {
        rights_answer_error(x, 503, "the records can't be read at the moment: ask again later");
        return;
    }
    buf_init(&out, RIGHTS_PAGE_MAX);
    answer_page(x, 503, rights_page_render(x, NULL, &out), &out);
}

static void answer_nobody(struct exchange *x)
{
    struct buf out;

    if (!wants_page(x)) {
        rights_answer_error(x, 403,
                            "no consent cookie: records are kept under a random number that only "
                            "this cookie knows");
        return;
    }
    buf_init(&out, RIGHTS_PAGE_MAX);
    answer_page(x, 403, rights_page_nobody(x, &out), &out);
}

/* --- access --------------------------------------------------------------------------------- */

/* The state as JSON: what the token says, then the records. */
static void answer_me(struct exchange *x, const json_t *root)
{
    const struct rights *r = rights_of(x);
    const struct policy *policy = x->site->policy;
    char subject[B64_LEN(16) + 1], doc[B64_LEN(16) + 1];
    json_t *grants = json_object();

    b64url_encode(subject, r->claims.subject, 16);
    b64url_encode(doc, policy->doc_hash, 16);
    for (size_t i = 0; i < policy->category_cnt; i++)
        json_object_set_new(grants, policy->category[i].id,
                            json_boolean(policy->category[i].required ||
                                         (x->grants & policy->category[i].bit) != 0));
    answer_json(x, 200,
                json_pack("{s:s, s:b, s:o, s:I, s:I, s:I, s:s, s:s, s:s, s:o, s:O, s:O}", "subject",
                          subject, "decided", enforcement_of(x)->decided, "grants", grants,
                          "issued", (json_int_t)r->claims.issued_s, "expires",
                          (json_int_t)r->claims.expires_s, "epoch", (json_int_t)r->claims.epoch,
                          "notice", doc, "notice_version", policy->version, "site",
                          x->site->config->hosts.items[0], "records", rights_events(root), "more",
                          json_object_get(root, "more"), "vkey", json_object_get(root, "vkey")));
}

static void on_me(struct exchange *x, enum ledger_tell_status status, struct str text)
{
    json_t *root = status == LEDGER_TELL_DONE ? json_load_text("records", text, 0, NULL) : NULL;
    struct buf out;

    if (root == NULL) {
        answer_unavailable(x);
        return;
    }
    if (rights_of(x)->html) {
        buf_init(&out, RIGHTS_PAGE_MAX);
        answer_page(x, 200, rights_page_render(x, root, &out), &out);
    } else {
        answer_me(x, root);
    }
    json_decref(root);
}

static void on_record(struct exchange *x, enum ledger_tell_status status, struct str text)
{
    json_t *root = status == LEDGER_TELL_DONE ? json_load_text("records", text, 0, NULL) : NULL;

    if (root == NULL)
        answer_unavailable(x);
    else
        rights_record_begin(x, root);
}

static void on_proof(struct exchange *x, enum ledger_tell_status status, struct str text)
{
    json_t *root = NULL;
    const char *proof, *vkey;
    struct headers h;
    char name[64];

    if (status == LEDGER_TELL_UNKNOWN) {
        rights_answer_error(x, 404, "there is no such record of yours");
        return;
    }
    root = status == LEDGER_TELL_DONE ? json_load_text("proof", text, 0, NULL) : NULL;
    proof = json_string_value(json_object_get(root, "proof"));
    vkey = json_string_value(json_object_get(root, "vkey"));
    if (proof == NULL || vkey == NULL) {
        rights_answer_error(x, 503, "the log has not signed this record yet: ask again later");
    } else if (rights_of(x)->format == RIGHTS_DPV) { /* ?format=json: the two together */
        rights_answer(x, 200, "application/json", text, NULL);
    } else {
        headers_init(&h, NULL, 0);
        snprintf(name, sizeof(name), "consent-%" PRIu64 ".tlog-proof", rights_of(x)->leaf);
        if (headers_add(&h, &x->arena, STR("Content-Disposition"),
                        str_c(rights_disposition(x, name))) &&
            headers_add(&h, &x->arena, STR("Consent-Log-Key"), str_c(vkey)))
            rights_answer(x, 200, "text/plain; charset=utf-8", str_c(proof), &h);
        else
            exchange_fail(x, 500, "no memory for an answer");
    }
    json_decref(root);
}

static enum enforce_step ask(struct exchange *x, enum ledger_ask what, ledger_tell_fn fn)
{
    struct enforce_worker *worker = x->server->enforce;
    struct rights *r = rights_of(x);

    r->ask = (struct ledger_ask_msg){.what = what, .leaf = r->leaf};
    memcpy(r->ask.subject, r->claims.subject, sizeof(r->ask.subject));
    if (!ledger_link_ask(worker->link, x, &r->ask, fn))
        fn(x, LEDGER_TELL_UNAVAILABLE, STR(""));
    return ENFORCE_PENDING;
}

static enum enforce_step get_me(struct exchange *x, struct str query)
{
    if (str_eq_c(form_get(x, query, "format"), "json"))
        rights_of(x)->html = false;
    return ask(x, LEDGER_ASK_RECORDS, on_me);
}

static enum enforce_step get_record(struct exchange *x, struct str query)
{
    struct str format = form_get(x, query, "format");
    struct rights *r = rights_of(x);

    if (format.len == 0 || str_eq_c(format, "json"))
        r->format = RIGHTS_JSON;
    else if (str_eq_c(format, "dpv"))
        r->format = RIGHTS_DPV;
    else if (str_eq_c(format, "kantara"))
        r->format = RIGHTS_KANTARA;
    else {
        rights_answer_error(x, 400, "format: expected json, dpv or kantara");
        return ENFORCE_ANSWERED;
    }
    return ask(x, LEDGER_ASK_RECORDS, on_record);
}

static enum enforce_step get_proof(struct exchange *x, struct str query)
{
    struct str leaf = x->req.path;
    struct rights *r = rights_of(x);

    leaf = str_slice(leaf, (size_t)str_find(leaf, STR("me/proof/")) + 9, leaf.len);
    if (str_find_char(leaf, '?') >= 0)
        leaf = str_slice(leaf, 0, (size_t)str_find_char(leaf, '?'));
    if (!str_to_u64(leaf, RECORD_LEAF_MAX, &r->leaf)) {
        rights_answer_error(x, 404, "a record is a number");
        return ENFORCE_ANSWERED;
    }
    r->format = str_eq_c(form_get(x, query, "format"), "json") ? RIGHTS_DPV : RIGHTS_JSON;
    return ask(x, LEDGER_ASK_PROOF, on_proof);
}

/* --- objections ----------------------------------------------------------------------------- */

static void on_amended(struct exchange *x, const struct ledger_ack *ack)
{
    char eid[B64_LEN(16) + 1];
    char *back;
    struct headers h;

    if (ack == NULL || ack->status != LEDGER_RECORDED) {
        answer_unavailable(x);
        return;
    }
    if (rights_of(x)->html) {
        headers_init(&h, NULL, 0);
        back = arena_printf(&x->arena, "%sme", x->site->config->prefix);
        if (back != NULL && headers_add_id(&h, &x->arena, HDR_LOCATION, str_c(back)))
            rights_answer(x, 303, "text/plain", STR(""), &h);
        else
            exchange_fail(x, 500, "no memory for an answer");
        return;
    }
    b64url_encode(eid, rights_of(x)->event.eid, 16);
    answer_json(x, 201,
                json_pack("{s:s, s:I, s:I, s:I, s:I}", "eid", eid, "node", (json_int_t)ack->node,
                          "leaf", (json_int_t)ack->leaf, "amends", (json_int_t)rights_of(x)->leaf,
                          "ts", (json_int_t)ack->ts_ms));
}

/* An event that refers to the record and changes nothing that is in force. */
static void send_amend(struct exchange *x, unsigned node)
{
    struct enforce_worker *worker = x->server->enforce;
    const struct policy *policy = x->site->policy;
    struct rights *r = rights_of(x);
    uint16_t optional = policy_optional(policy);
    char *method = arena_printf(&x->arena, "amend.%.*s", STR_ARGS(r->reason));

    r->event = (struct consent_event){.act = CONSENT_AMEND,
                                      .type = CONSENT_EXPLICIT,
                                      .by = CONSENT_BY_SUBJECT,
                                      .grant = r->claims.grants & optional,
                                      .deny = optional & (uint16_t)~r->claims.grants,
                                      .epoch = policy->epoch,
                                      .expires_s = r->claims.expires_s,
                                      .gpc = enforcement_of(x)->gpc,
                                      .host = str_c(x->site->config->hosts.items[0]),
                                      .lang = str_c(language_tag(x)),
                                      .method = str_c(method != NULL ? method : "amend.other"),
                                      .has_prev = true,
                                      .prev_node = (uint8_t)node,
                                      .prev_leaf = r->leaf};
    crypto_random(r->event.eid, sizeof(r->event.eid));
    memcpy(r->event.subject, r->claims.subject, sizeof(r->event.subject));
    memcpy(r->event.doc, policy->doc_hash, sizeof(r->event.doc));
    if (!ledger_link_send(worker->link, x, &r->event, 0, on_amended))
        on_amended(x, NULL);
}

static void on_own_records(struct exchange *x, enum ledger_tell_status status, struct str text)
{
    json_t *root = status == LEDGER_TELL_DONE ? json_load_text("records", text, 0, NULL) : NULL;
    const json_t *item, *found = NULL;
    size_t i;

    json_array_foreach (json_object_get(root, "records"), i, item) {
        if ((uint64_t)json_integer_value(json_object_get(item, "leaf")) == rights_of(x)->leaf)
            found = item;
    }
    if (root == NULL)
        answer_unavailable(x);
    else if (found == NULL)
        rights_answer_error(x, 404, "there is no such record of yours");
    else
        send_amend(x, (unsigned)json_integer_value(json_object_get(found, "node")));
    json_decref(root);
}

static bool reason_is_known(struct str reason)
{
    return str_eq_c(reason, "not_me") || str_eq_c(reason, "wrong_choice") ||
           str_eq_c(reason, "other");
}

static bool is_form(const struct exchange *x)
{
    return rights_body_is(x, RIGHTS_FORM);
}

/* leaf and reason of a form or of JSON; false: neither, or not right. */
static bool amend_read(struct exchange *x, struct str body)
{
    struct rights *r = rights_of(x);
    struct str leaf, reason;
    json_t *root;
    bool ok;

    if (is_form(x)) {
        leaf = form_get(x, body, "leaf");
        r->reason = form_get(x, body, "reason");
        return str_to_u64(leaf, RECORD_LEAF_MAX, &r->leaf) && reason_is_known(r->reason);
    }
    root = json_load_text("amend", body, 0, NULL);
    reason = str_c(json_string_value(json_object_get(root, "reason")) != NULL
                       ? json_string_value(json_object_get(root, "reason"))
                       : "");
    r->leaf = (uint64_t)json_integer_value(json_object_get(root, "leaf"));
    ok = json_is_integer(json_object_get(root, "leaf")) && r->leaf <= RECORD_LEAF_MAX &&
         reason_is_known(reason) && arena_str(&x->arena, reason, &r->reason);
    json_decref(root);
    return ok;
}

static void on_amend(struct exchange *x, struct str body)
{
    rights_of(x)->html = is_form(x);
    if (amend_read(x, body))
        (void)ask(x, LEDGER_ASK_RECORDS, on_own_records);
    else
        rights_answer_error(x, 400,
                            "expected leaf, a number, and reason: not_me, wrong_choice or other");
}

/* --- erasure -------------------------------------------------------------------------------- */

static bool cookie_end(struct exchange *x, struct headers *h)
{
    const char *domain = x->site->config->cookie_domain;
    struct str name = consent_cookie_name(x);
    char *field = arena_printf(&x->arena, "%.*s=; Path=/; Max-Age=0%s; HttpOnly; SameSite=Lax%s%s",
                               STR_ARGS(name), x->secure ? "; Secure" : "",
                               domain != NULL ? "; Domain=" : "", domain != NULL ? domain : "");

    return field != NULL && headers_add_id(h, &x->arena, HDR_SET_COOKIE, str_c(field));
}

static void on_erased(struct exchange *x, const struct ledger_erase_ack *ack)
{
    char request[B64_LEN(16) + 1];
    struct headers h;
    struct buf out;
    char *text;

    if (ack == NULL || ack->status == LEDGER_ERASE_UNAVAILABLE ||
        ack->status == LEDGER_ERASE_REFUSED) {
        answer_unavailable(x);
        return;
    }
    headers_init(&h, NULL, 0);
    buf_init(&out, RIGHTS_PAGE_MAX);
    b64url_encode(request, ack->request, 16);
    text =
        arena_printf(&x->arena,
                     "{\"complete_by\":%" PRIu64 ",\"held\":%s,\"records\":%u,\"request\":\"%s\","
                     "\"ts\":%" PRIu64 "}\n",
                     ack->complete_by_s, ack->status == LEDGER_ERASE_HELD ? "true" : "false",
                     ack->records, request, ack->ts_ms);
    if (text == NULL || !cookie_end(x, &h) || !rights_page_erased(x, ack, &out))
        exchange_fail(x, 500, "no memory for an answer");
    else if (rights_of(x)->html)
        rights_answer(x, 202, "text/html; charset=utf-8", buf_str(&out), &h);
    else
        rights_answer(x, 202, "application/json", str_c(text), &h);
    buf_free(&out);
}

static void on_erase(struct exchange *x, struct str body)
{
    struct enforce_worker *worker = x->server->enforce;
    json_t *root = NULL;
    bool confirmed;

    rights_of(x)->html = is_form(x);
    if (is_form(x)) {
        confirmed = str_eq_c(form_get(x, body, "confirm"), "yes");
    } else {
        root = json_load_text("erase", body, 0, NULL);
        confirmed = json_is_true(json_object_get(root, "confirm"));
        json_decref(root);
    }
    if (!confirmed)
        rights_answer_error(x, 400, "expected confirm: true; it can't be undone");
    else if (!ledger_link_erase(worker->link, x, rights_of(x)->claims.subject, 0, on_erased))
        on_erased(x, NULL);
}

static enum enforce_step get_erase(struct exchange *x, struct str query)
{
    struct buf out;

    UNUSED(query);
    buf_init(&out, RIGHTS_PAGE_MAX);
    answer_page(x, 200, rights_page_erase(x, &out), &out);
    return ENFORCE_ANSWERED;
}

/* --- routes --------------------------------------------------------------------------------- */

static enum enforce_step post(struct exchange *x, exchange_body_fn fn)
{
    if (is_cross_site(x)) {
        exchange_note(x, "a request from another site");
        rights_answer_error(x, 403, "this can only be asked on the site itself");
        return ENFORCE_ANSWERED;
    }
    if (!is_form(x) && !rights_body_is(x, "application/json")) {
        rights_answer_error(x, 415, "expected application/json or a form");
        return ENFORCE_ANSWERED;
    }
    return exchange_body_collect(x, CHOICE_BODY_MAX, fn) ? ENFORCE_PENDING : ENFORCE_REFUSE;
}

static const struct {
    const char *path;
    enum enforce_step (*get)(struct exchange *x, struct str query);
    exchange_body_fn post; /* of the token's holder, too */
    bool prefix, open;     /* more follows; needs no token */
} routes[] = {
    {"me", get_me, NULL, false, false},
    {"me/record", get_record, NULL, false, false},
    {"me/proof/", get_proof, NULL, true, false},
    {"me/amend", NULL, on_amend, false, false},
    {"me/erase", get_erase, on_erase, false, false},
    {"policy", policy_page_get, NULL, false, true},
    {"policy/changes", policy_changes_get, NULL, false, true},
};

static enum enforce_step run(struct exchange *x, size_t route, struct str query)
{
    bool reads = x->req.method_id == HTTP_METHOD_GET || x->req.method_id == HTTP_METHOD_HEAD;
    bool posts = x->req.method_id == HTTP_METHOD_POST;
    struct rights *r = arena_calloc(&x->arena, 1, sizeof(*r));

    if (r == NULL)
        return ENFORCE_REFUSE;
    enforcement_of(x)->rights = r;
    r->html = wants_page(x);
    if (!(reads && routes[route].get != NULL) && !(posts && routes[route].post != NULL)) {
        rights_answer_method(x, routes[route].post == NULL  ? STR("GET, HEAD")
                                : routes[route].get == NULL ? STR("POST")
                                                            : STR("GET, HEAD, POST"));
        return ENFORCE_ANSWERED;
    }
    if (!rights_may_ask(x))
        return ENFORCE_ANSWERED;
    if (!routes[route].open && !token_holder(x, &r->claims)) {
        answer_nobody(x);
        return ENFORCE_ANSWERED;
    }
    return reads ? routes[route].get(x, query) : post(x, routes[route].post);
}

bool rights_request(struct exchange *x, struct str path, struct str query,
                    enum enforce_step *step_out)
{
    if (str_eq_c(path, "unsubscribe")) {
        *step_out = unsubscribe_request(x, query);
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(routes); i++) {
        if (!(routes[i].prefix ? str_starts(path, str_c(routes[i].path))
                               : str_eq_c(path, routes[i].path)))
            continue;
        *step_out = run(x, i, query);
        return true;
    }
    return false;
}
