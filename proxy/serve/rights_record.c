/*
 * rights_record.c - a visitor's records as a download: ours, ISO/IEC TS 27560 by DPV, Kantara.
 *
 *   records ─▶ which notices do they name? ─▶ the ledger, one after the other ─▶ rendered
 *
 * The notice in force is here already. One that is nowhere any more leaves out what it would have
 * said and nothing else.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/dpv.h"
#include "consentd/note.h"
#include "consentd/record.h"
#include "rights_priv.h"

static void ask_next(struct exchange *x);

const char *rights_disposition(const struct exchange *x, const char *name)
{
    char *text =
        arena_printf((struct arena *)(uintptr_t)&x->arena, "attachment; filename=\"%s\"", name);

    return text != NULL ? text : "attachment";
}

json_t *rights_events(const json_t *root)
{
    json_t *out = json_array();
    const json_t *item;
    size_t i;

    json_array_foreach (json_object_get(root, "records"), i, item) {
        const char *text = json_string_value(json_object_get(item, "json"));
        json_t *event = text != NULL ? json_load_text("J", str_c(text), 0, NULL) : NULL;
        json_t *one = json_pack("{s:O, s:O, s:O}", "leaf", json_object_get(item, "leaf"), "node",
                                json_object_get(item, "node"), "ts", json_object_get(item, "ts"));

        if (event != NULL)
            json_object_set_new(one, "event", event);
        json_array_append_new(out, one);
    }
    return out;
}

void rights_record_end(struct exchange *x)
{
    struct rights *r = rights_of(x);

    if (r == NULL)
        return;
    json_decref(r->told);
    json_decref(r->doc);
    r->told = r->doc = NULL;
    for (unsigned i = 0; i < r->doc_cnt; i++) {
        dpv_notice_free(r->notices[i]);
        r->notices[i] = NULL;
    }
    r->doc_cnt = 0;
}

static bool view_of(const json_t *item, struct record_view *view)
{
    const char *text = json_string_value(json_object_get(item, "json"));

    return text != NULL && record_parse(str_c(text), view) == RECORD_EVENT;
}

/* --- ours ------------------------------------------------------------------------------------ */

static bool print_json(struct exchange *x, struct buf *out)
{
    const struct rights *r = rights_of(x);
    char subject[B64_LEN(16) + 1];
    json_t *root;
    char *text;
    bool ok;

    b64url_encode(subject, r->claims.subject, 16);
    root = json_pack("{s:s, s:s, s:I, s:o, s:O, s:O}", "subject", subject, "site",
                     x->site->config->hosts.items[0], "exported", (json_int_t)x->wall_ms, "records",
                     rights_events(r->told), "more", json_object_get(r->told, "more"), "vkey",
                     json_object_get(r->told, "vkey"));
    text = json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS);
    ok = text != NULL && buf_append_c(out, text) && buf_append_char(out, '\n');
    free(text);
    json_decref(root);
    return ok;
}

/* --- ISO/IEC TS 27560 ------------------------------------------------------------------------ */

static struct dpv_notice *notice_of(const struct rights *r, const uint8_t doc[16])
{
    for (unsigned i = 0; i < r->doc_cnt; i++) {
        if (memcmp(r->docs[i], doc, 16) == 0)
            return r->notices[i];
    }
    return NULL;
}

/* The log's name: its key's, since a log that ended is followed by one with another name. */
static bool put_origin(const struct rights *r, const struct config *config, struct buf *out)
{
    struct str key = str_c(json_string_value(json_object_get(r->told, "vkey"))), name;

    return str_cut(&key, '+', &name) && name.len > 0
               ? buf_append_str(out, name)
               : note_origin(config->ledger.name, config->ledger.node, out);
}

static bool print_dpv(struct exchange *x, struct buf *out)
{
    const struct rights *r = rights_of(x);
    const struct config *config = x->server->config;
    struct record_view views[2], *prev = NULL;
    uint8_t id[16];
    const json_t *item;
    struct buf origin;
    unsigned cnt = 0;
    size_t i;
    bool ok;

    crypto_random(id, sizeof(id));
    buf_init(&origin, NOTE_NAME_MAX);
    ok = put_origin(r, config, &origin) &&
         dpv_receipt_begin(id, x->wall_ms, r->doc_cnt > 0 ? r->notices[0] : NULL, out);
    json_array_foreach (json_object_get(r->told, "records"), i, item) {
        struct record_view *view = &views[cnt % 2];
        struct dpv_event event = {.origin = buf_str(&origin),
                                  .leaf =
                                      (uint64_t)json_integer_value(json_object_get(item, "leaf")),
                                  .view = view,
                                  .prev = prev,
                                  .control = str_c(x->site->config->prefix)};

        if (!view_of(item, view))
            continue;
        ok = ok && (cnt == 0 || dpv_receipt_next(out)) &&
             dpv_record(&event, notice_of(r, view->event.doc), out);
        prev = view;
        cnt++;
    }
    buf_free(&origin);
    return ok && dpv_receipt_end(out);
}

/* --- Kantara Consent Receipt 1.1 -------------------------------------------------------------- */

/* The newest record that is a decision; false: there is none. */
static bool newest_decision(const struct rights *r, struct record_view *view)
{
    const json_t *list = json_object_get(r->told, "records");

    for (size_t i = json_array_size(list); i > 0; i--) {
        if (view_of(json_array_get(list, i - 1), view) && view->event.act != CONSENT_AMEND &&
            view->event.act != CONSENT_ERASE)
            return true;
    }
    return false;
}

static const char *text_in(const json_t *value, struct str lang)
{
    char tag[64];
    const char *text;

    snprintf(tag, sizeof(tag), "%.*s", lang.len < sizeof(tag) ? (int)lang.len : 0, lang.ptr);
    text = json_string_value(json_object_get(value, tag));
    if (text == NULL)
        text =
            json_string_value(json_object_iter_value(json_object_iter((json_t *)(uintptr_t)value)));
    return text != NULL ? text : "";
}

static json_t *kantara_controller(const json_t *policy)
{
    const json_t *c = json_object_get(policy, "controller");
    const char *name = json_string_value(json_object_get(c, "name"));
    const char *address = json_string_value(json_object_get(c, "address"));
    const char *email = json_string_value(json_object_get(c, "email"));
    const char *phone = json_string_value(json_object_get(c, "phone"));

    return json_pack("[{s:s, s:s, s:{s:s}, s:s, s:s}]", "piiController", name != NULL ? name : "",
                     "contact", name != NULL ? name : "", "address", "streetAddress",
                     address != NULL ? address : "", "email", email != NULL ? email : "", "phone",
                     phone != NULL ? phone : "");
}

/* Recipients of one category of the policy, by name. */
static json_t *kantara_third_parties(const json_t *policy, const char *category)
{
    json_t *out = json_array();
    const json_t *item;
    size_t i;

    json_array_foreach (json_object_get(policy, "providers"), i, item) {
        const char *of = json_string_value(json_object_get(item, "category"));

        if (of != NULL && strcmp(of, category) == 0)
            json_array_append(out, json_object_get(item, "name"));
    }
    return out;
}

/* A purpose that was agreed to; its category as the policy has it, or NULL. */
static json_t *kantara_purpose(const json_t *policy, struct str id, struct str lang)
{
    const json_t *item, *found = NULL;
    json_t *third, *out;
    char name[RECORD_NAME_MAX + 1];
    size_t i;

    snprintf(name, sizeof(name), "%.*s", STR_ARGS(id));
    json_array_foreach (json_object_get(policy, "categories"), i, item) {
        const char *other = json_string_value(json_object_get(item, "id"));

        if (other != NULL && strcmp(other, name) == 0)
            found = item;
    }
    third = kantara_third_parties(policy, name);
    out = json_pack("{s:s, s:[s], s:s, s:[s], s:b, s:s, s:b, s:o}", "purpose",
                    text_in(json_object_get(found, "purpose"), lang), "purposeCategory", name,
                    "consentType", "EXPLICIT", "piiCategory",
                    "cookies and identifiers on the device", "primaryPurpose", false, "termination",
                    text_in(json_object_get(policy, "retention"), lang), "thirdPartyDisclosure",
                    json_array_size(third) > 0, "thirdPartyName", third);
    return out;
}

static json_t *kantara_json(struct exchange *x, const struct record_view *v)
{
    const struct rights *r = rights_of(x);
    const json_t *policy = json_object_get(r->doc, "policy");
    char subject[B64_LEN(16) + 1], id[37], url[512], lang[64];
    json_t *purposes = json_array();

    for (unsigned i = 0; i < v->grant_cnt; i++)
        json_array_append_new(purposes, kantara_purpose(policy, v->grants[i], v->event.lang));
    b64url_encode(subject, v->event.subject, 16);
    dpv_uuid(v->event.eid, id);
    snprintf(lang, sizeof(lang), "%.*s", STR_ARGS(v->event.lang));
    snprintf(url, sizeof(url), "%s://%.*s%spolicy", x->secure ? "https" : "http",
             STR_ARGS(x->req.authority), x->site->config->prefix);
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:o, s:s, s:[{s:s, s:o}], s:b, s:[]}",
                     "version", "KI-CR-v1.1.0", "jurisdiction", "", "consentTimestamp",
                     (json_int_t)(v->event.ts_ms / 1000), "collectionMethod", "web form",
                     "consentReceiptID", id, "language", lang, "piiPrincipalId", subject,
                     "piiControllers", kantara_controller(policy), "policyUrl", url, "services",
                     "service", x->site->config->hosts.items[0], "purposes", purposes, "sensitive",
                     false, "spiCat");
}

static bool print_kantara(struct exchange *x, struct buf *out)
{
    struct record_view view;
    json_t *root;
    char *text;
    bool ok;

    if (!newest_decision(rights_of(x), &view))
        return buf_append_c(out, "{}\n");
    root = kantara_json(x, &view);
    text = json_dumps(root, JSON_INDENT(1));
    ok = text != NULL && buf_append_c(out, text) && buf_append_char(out, '\n');
    free(text);
    json_decref(root);
    return ok;
}

/* --- the way there ---------------------------------------------------------------------------- */

static void finish(struct exchange *x)
{
    static const struct {
        const char *type, *file;
        bool (*print)(struct exchange *x, struct buf *out);
    } formats[] = {
        [RIGHTS_JSON] = {"application/json", "consent-record.json", print_json},
        [RIGHTS_DPV] = {"application/ld+json", "consent-receipt.jsonld", print_dpv},
        [RIGHTS_KANTARA] = {"application/json", "consent-receipt-kantara.json", print_kantara},
    };
    enum rights_format format = rights_of(x)->format;
    struct headers h;
    struct buf out;

    headers_init(&h, NULL, 0);
    buf_init(&out, RIGHTS_PAGE_MAX * 8);
    if (formats[format].print(x, &out) &&
        headers_add(&h, &x->arena, STR("Content-Disposition"),
                    str_c(rights_disposition(x, formats[format].file))))
        rights_answer(x, 200, formats[format].type, buf_str(&out), &h);
    else
        exchange_fail(x, 500, "the records are too large for one download");
    buf_free(&out);
    rights_record_end(x);
}

static void add_doc(struct rights *r, const uint8_t doc[16])
{
    for (unsigned i = 0; i < r->doc_cnt; i++) {
        if (memcmp(r->docs[i], doc, 16) == 0)
            return;
    }
    if (r->doc_cnt < RIGHTS_DOCS_MAX)
        memcpy(r->docs[r->doc_cnt++], doc, 16);
}

static void list_docs(struct exchange *x)
{
    struct rights *r = rights_of(x);
    struct record_view view;
    const json_t *item;
    size_t i;

    if (r->format == RIGHTS_KANTARA && newest_decision(r, &view))
        add_doc(r, view.event.doc);
    if (r->format != RIGHTS_DPV)
        return;
    add_doc(r, x->site->policy->doc_hash); /* who publishes the receipt */
    json_array_foreach (json_object_get(r->told, "records"), i, item) {
        if (view_of(item, &view))
            add_doc(r, view.event.doc);
    }
}

static void take_doc(struct rights *r, struct str text)
{
    if (r->format == RIGHTS_KANTARA)
        r->doc = json_load_text("notice", text, 0, NULL);
    else
        r->notices[r->doc_at] = dpv_notice_new(text, NULL);
    r->doc_at++;
}

static void on_notice(struct exchange *x, enum ledger_tell_status status, struct str text)
{
    if (status == LEDGER_TELL_UNAVAILABLE) {
        rights_record_end(x);
        rights_answer_error(x, 503, "the notices can't be read at the moment: ask again later");
        return;
    }
    if (status == LEDGER_TELL_DONE)
        take_doc(rights_of(x), text);
    else
        rights_of(x)->doc_at++;
    ask_next(x);
}

/* The next notice that is needed, or the answer. */
static void ask_next(struct exchange *x)
{
    struct enforce_worker *worker = x->server->enforce;
    const struct policy *policy = x->site->policy;
    struct rights *r = rights_of(x);

    while (r->doc_at < r->doc_cnt && memcmp(r->docs[r->doc_at], policy->doc_hash, 16) == 0)
        take_doc(r, policy->document);
    if (r->doc_at == r->doc_cnt) {
        finish(x);
        return;
    }
    r->ask = (struct ledger_ask_msg){.what = LEDGER_ASK_NOTICE};
    memcpy(r->ask.doc, r->docs[r->doc_at], sizeof(r->ask.doc));
    if (!ledger_link_ask(worker->link, x, &r->ask, on_notice))
        on_notice(x, LEDGER_TELL_UNAVAILABLE, STR(""));
}

void rights_record_begin(struct exchange *x, json_t *root)
{
    rights_of(x)->told = root;
    list_docs(x);
    ask_next(x);
}
