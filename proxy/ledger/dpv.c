/*
 * dpv.c - contract in consentd/dpv.h.
 *
 * What a notice says is written once per language: `common` for the record, and a fragment per
 * category for its process. A record is then these fragments with J's own values between them.
 */
#include "consentd/dpv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/category.h"
#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/json.h"
#include "consentd/mem.h"

#define LANG_MAX 64 /* bytes of a language tag that is kept */

static const char context[] =
    "\"@context\":{\"dpv\":\"https://w3id.org/dpv#\",\"dct\":\"http://purl.org/dc/terms/\","
    "\"eu-gdpr\":\"https://w3id.org/dpv/legal/eu/gdpr#\","
    "\"dpv-27560\":\"https://w3id.org/dpv/schema/dpv-27560#\","
    "\"rdf\":\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\","
    "\"skos\":\"http://www.w3.org/2004/02/skos/core#\","
    "\"xsd\":\"http://www.w3.org/2001/XMLSchema#\","
    "\"dct:conformsTo\":{\"@type\":\"@id\"},\"skos:broader\":{\"@type\":\"@id\"},"
    "\"dpv:hasConsentStatus\":{\"@type\":\"@id\"},\"dpv:hasLegalBasis\":{\"@type\":\"@id\"},"
    "\"dpv:hasNotice\":{\"@type\":\"@id\"},"
    "\"dpv:isIndicatedBy\":{\"@type\":\"@id\"},\"dct:source\":{\"@type\":\"@id\"},"
    "\"dpv:isIndicatedAtTime\":{\"@type\":\"xsd:dateTime\"},"
    "\"dct:created\":{\"@type\":\"xsd:dateTime\"}}";

struct fragment {
    char *category; /* owned */
    struct buf text;
};

struct dpv_notice {
    json_t *root;         /* owned */
    const json_t *policy; /* in root */
    uint8_t hash[32];
    char lang[LANG_MAX]; /* of what is below; "" with ready false: nothing yet */
    bool ready;
    struct buf common;
    struct fragment *fragments; /* owned; one per category of the policy */
    size_t fragment_cnt;
};

/* --- texts of the notice -------------------------------------------------------------------- */

/* {"en": "…", …} in this language, else in the first of the policy, else any; "" if none. */
static struct str text_of(const struct dpv_notice *n, const json_t *value)
{
    const json_t *first = json_array_get(json_object_get(n->policy, "languages"), 0);
    const json_t *text = value;

    if (json_is_object(value)) {
        text = json_object_get(value, n->lang);
        if (text == NULL && json_is_string(first))
            text = json_object_get(value, json_string_value(first));
        if (text == NULL)
            text = json_object_iter_value(json_object_iter((json_t *)(uintptr_t)value));
    }
    return json_is_string(text) ? str_make(json_string_value(text), json_string_length(text))
                                : str_c("");
}

static struct str member(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);

    return json_is_string(v) ? str_make(json_string_value(v), json_string_length(v)) : str_c("");
}

/* ,"key":"value" unless the value is empty. */
static bool put(struct buf *out, const char *key, struct str value)
{
    return value.len == 0 || (buf_printf(out, ",\"%s\":", key) && json_quote(value, out));
}

/* An element of a list of plain strings: a prefix and the value, unless that is empty. */
static bool put_item(struct buf *out, const char *prefix, struct str value)
{
    struct buf text;
    bool ok = true;

    if (value.len == 0)
        return true;
    buf_init(&text, value.len + 16);
    ok = buf_append_c(&text, prefix) && buf_append_str(&text, value) &&
         (out->data[out->len - 1] == '[' || buf_append_char(out, ',')) &&
         json_quote(buf_str(&text), out);
    buf_free(&text);
    return ok;
}

static bool put_controller(const struct dpv_notice *n, struct buf *out)
{
    const json_t *c = json_object_get(n->policy, "controller");

    if (!json_is_object(c))
        return true;
    return buf_append_c(out, ",\"dpv:hasDataController\":{\"@type\":[\"dpv:DataController\","
                             "\"dpv:LegalEntity\"]") &&
           put(out, "dpv:hasName", member(c, "name")) &&
           put(out, "dpv:hasAddress", member(c, "address")) &&
           buf_append_c(out, ",\"dpv:hasContact\":[") &&
           put_item(out, "mailto:", member(c, "email")) &&
           put_item(out, "tel:", member(c, "phone")) && put_item(out, "", member(c, "website")) &&
           buf_append_c(out, "]}");
}

/* {"@type":"dpv:<type>","dct:description":"…"}, an element of a list. */
static bool put_described(struct buf *out, const char *type, struct str text)
{
    return text.len == 0 || ((out->data[out->len - 1] == '[' || buf_append_char(out, ',')) &&
                             buf_printf(out, "{\"@type\":\"%s\"", type) &&
                             put(out, "dct:description", text) && buf_append_char(out, '}'));
}

static bool put_common(const struct dpv_notice *n, struct buf *out)
{
    const json_t *rights = json_object_get(n->policy, "rights");
    bool ok = put_controller(n, out) && buf_append_c(out, ",\"dpv:hasStorageCondition\":[") &&
              put_described(out, "dpv:StorageDuration",
                            text_of(n, json_object_get(n->policy, "retention"))) &&
              put_described(out, "dpv:StorageLocation",
                            text_of(n, json_object_get(n->policy, "transfers"))) &&
              buf_append_c(out, "],\"dpv:hasRight\":[");

    for (size_t i = 0; ok && i < json_array_size(rights); i++)
        ok = put_described(out, "dpv:DataSubjectRight", text_of(n, json_array_get(rights, i)));
    return ok && buf_append_char(out, ']');
}

/* What DPV calls the purposes that consentd knows by name. */
static const char *broader_of(struct str category)
{
    static const struct {
        const char *category, *purpose;
    } known[] = {{"analytics", "dpv:ServiceUsageAnalytics"},
                 {"marketing", "dpv:Marketing"},
                 {"preferences", "dpv:Personalisation"}};

    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq_c(category, known[i].category))
            return known[i].purpose;
    return NULL;
}

/* "dpv:hasPurpose":[…]: the category, then what the policy lists under it. */
static bool put_purposes(const struct dpv_notice *n, const json_t *category, struct buf *out)
{
    const json_t *list = json_object_get(n->policy, "purposes");
    struct str id = member(category, "id");
    const char *broader = broader_of(id);
    bool ok = buf_append_c(out, ",\"dpv:hasPurpose\":[{\"@type\":\"dpv:Purpose\"") &&
              put(out, "dct:identifier", id) && put(out, "skos:broader", str_c(broader)) &&
              put(out, "dct:title", text_of(n, json_object_get(category, "title"))) &&
              put(out, "dct:description", text_of(n, json_object_get(category, "purpose"))) &&
              buf_append_char(out, '}');

    for (size_t i = 0; ok && i < json_array_size(list); i++) {
        const json_t *p = json_array_get(list, i);

        if (str_eq(member(p, "category"), id))
            ok = put_described(out, "dpv:Purpose", text_of(n, json_object_get(p, "purpose")));
    }
    return ok && buf_append_char(out, ']');
}

/* The data: as the category says, else a pointer to the notice, which says it in its text. */
static bool put_data(const struct dpv_notice *n, const json_t *category, struct buf *out)
{
    struct str text = text_of(n, json_object_get(category, "data"));
    char hash[65];

    hex_encode(hash, n->hash, sizeof(n->hash));
    if (!buf_append_c(out, ",\"dpv:hasPersonalData\":[{\"@type\":\"dpv:PersonalData\""))
        return false;
    if (text.len > 0)
        return put(out, "dct:description", text) && buf_append_c(out, "}]");
    return buf_printf(out, ",\"dct:source\":\"urn:sha256:%s\"}]", hash);
}

static bool put_recipients(const struct dpv_notice *n, struct str category, struct buf *out)
{
    const json_t *list = json_object_get(n->policy, "providers");
    bool ok = buf_append_c(out, ",\"dpv:hasRecipient\":[");

    for (size_t i = 0; ok && i < json_array_size(list); i++) {
        const json_t *p = json_array_get(list, i);

        if (!str_eq(member(p, "category"), category))
            continue;
        ok = (out->data[out->len - 1] == '[' || buf_append_char(out, ',')) &&
             buf_append_c(out, "{\"@type\":\"dpv:ThirdParty\"") &&
             put(out, "dpv:hasName", member(p, "name")) &&
             put(out, "dct:description", text_of(n, json_object_get(p, "role"))) &&
             put(out, "dpv:hasNotice", member(p, "privacy_policy")) && buf_append_char(out, '}');
    }
    return ok && buf_append_char(out, ']');
}

static void forget_texts(struct dpv_notice *n)
{
    for (size_t i = 0; i < n->fragment_cnt; i++) {
        free(n->fragments[i].category);
        buf_free(&n->fragments[i].text);
    }
    free(n->fragments);
    n->fragments = NULL;
    n->fragment_cnt = 0;
    buf_clear(&n->common);
    n->ready = false;
}

/* Writes the texts for this language, unless they are there. */
static bool speak(struct dpv_notice *n, struct str lang)
{
    const json_t *list = json_object_get(n->policy, "categories");
    size_t cnt = json_array_size(list);
    bool ok;

    if (lang.len >= LANG_MAX)
        lang = str_c("");
    if (n->ready && str_eq_c(lang, n->lang))
        return true;
    forget_texts(n);
    memcpy(n->lang, lang.len > 0 ? lang.ptr : "", lang.len);
    n->lang[lang.len] = '\0';
    ok = put_common(n, &n->common);
    n->fragments = mem_calloc(cnt + 1, sizeof(*n->fragments));
    for (size_t i = 0; ok && i < cnt; i++) {
        const json_t *category = json_array_get(list, i);
        struct fragment *fr = &n->fragments[n->fragment_cnt++];

        buf_init(&fr->text, DPV_RECORD_MAX);
        fr->category = str_dup(member(category, "id"));
        ok = put_purposes(n, category, &fr->text) && put_data(n, category, &fr->text) &&
             put_recipients(n, str_c(fr->category), &fr->text);
    }
    n->ready = ok;
    return ok;
}

struct dpv_notice *dpv_notice_new(struct str document, struct fault *f)
{
    struct dpv_notice *n;
    json_t *root = json_load_text("notice", document, 0, f);
    const json_t *policy;

    if (root != NULL && !json_is_object(root)) {
        fault_set(f, "notice: expected an object");
        json_decref(root);
        root = NULL;
    }
    if (root == NULL)
        return NULL;
    n = mem_new(struct dpv_notice);
    policy = json_object_get(root, "policy");
    n->root = root;
    n->policy = json_is_object(policy) ? policy : root;
    crypto_sha256(document.ptr, document.len, n->hash);
    buf_init(&n->common, DPV_RECORD_MAX);
    return n;
}

void dpv_notice_free(struct dpv_notice *n)
{
    if (n == NULL)
        return;
    forget_texts(n);
    buf_free(&n->common);
    json_decref(n->root);
    free(n);
}

const uint8_t *dpv_notice_hash(const struct dpv_notice *n)
{
    return n->hash;
}

/* --- one event ------------------------------------------------------------------------------ */

void dpv_uuid(const uint8_t id[16], char out[37])
{
    char hex[33];

    hex_encode(hex, id, 16);
    (void)snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
                   hex + 20);
}

static bool had_granted(const struct record_view *prev, struct str purpose)
{
    for (unsigned i = 0; prev != NULL && i < prev->grant_cnt; i++)
        if (str_eq(prev->grants[i], purpose))
            return true;
    return false;
}

const char *dpv_state(const struct dpv_event *ev, struct str purpose, bool granted)
{
    enum consent_act act = ev->view->event.act;
    bool back = act == CONSENT_WITHDRAW || act == CONSENT_UNSUBSCRIBE;

    if (act == CONSENT_EXPIRE)
        return "dpv:ConsentExpired";
    if (granted)
        return act == CONSENT_RENEW ? "dpv:RenewedConsentGiven" : "dpv:ConsentGiven";
    if (had_granted(ev->prev, purpose) || (back && ev->prev == NULL))
        return "dpv:ConsentWithdrawn";
    return "dpv:ConsentRefused";
}

static const char *indicated_by(enum consent_by by)
{
    switch (by) {
    case CONSENT_BY_AGENT: /* the browser speaks for its user */
    case CONSENT_BY_SUBJECT:
        return "dpv:DataSubject";
    case CONSENT_BY_OPERATOR:
        return "dpv:DataController";
    case CONSENT_BY_NONE:
    case CONSENT_BY_CNT:
        break;
    }
    return "dpv:Entity";
}

static bool put_process(const struct dpv_event *ev, const struct dpv_notice *n, struct str purpose,
                        bool granted, struct buf *out)
{
    const char *basis = ev->view->event.type == CONSENT_EXPLICIT ? "dpv:ExplicitlyExpressedConsent"
                                                                 : "dpv:ExpressedConsent";
    const struct fragment *fr = NULL;
    bool ok = (out->data[out->len - 1] == '[' || buf_append_char(out, ',')) &&
              buf_append_c(out, "{\"@type\":\"dpv:Process\"") &&
              put(out, "dct:identifier", purpose) &&
              buf_printf(out,
                         ",\"dpv:hasConsentStatus\":\"%s\",\"dpv:hasLegalBasis\":["
                         "\"eu-gdpr:A6-1-a\",\"%s\"]",
                         dpv_state(ev, purpose, granted), basis);

    for (size_t i = 0; n != NULL && i < n->fragment_cnt; i++)
        if (str_eq_c(purpose, n->fragments[i].category))
            fr = &n->fragments[i];
    if (fr != NULL)
        ok = ok && buf_append_str(out, buf_str(&fr->text));
    else
        ok = ok && buf_append_c(out, ",\"dpv:hasPurpose\":[{\"@type\":\"dpv:Purpose\"") &&
             put(out, "dct:identifier", purpose) && buf_append_c(out, "}]");
    return ok && buf_append_char(out, '}');
}

static bool put_notice(const struct consent_event *e, const struct dpv_notice *n, struct buf *out)
{
    char doc[B64_LEN(RECORD_ID_LEN) + 1];
    char hash[65];

    b64url_encode(doc, e->doc, sizeof(e->doc));
    if (!buf_append_c(out, ",\"dpv:hasNotice\":{\"@type\":\"dpv:ConsentNotice\""))
        return false;
    if (n != NULL) {
        hex_encode(hash, n->hash, sizeof(n->hash));
        if (!buf_printf(out, ",\"@id\":\"urn:sha256:%s\"", hash) ||
            !put(out, "dct:title", text_of(n, json_object_get(n->policy, "title"))) ||
            !put(out, "dct:alternative", member(n->policy, "version")) ||
            !put(out, "dct:date", member(n->policy, "effective")))
            return false;
    }
    return buf_printf(out, ",\"dct:identifier\":\"d_%s\",\"dct:hasVersion\":\"epoch %u\"", doc,
                      e->epoch) &&
           put(out, "dct:language", e->lang) && buf_append_char(out, '}');
}

/* Where it was decided, how, until when. */
static bool put_event(const struct dpv_event *ev, struct buf *out)
{
    const struct consent_event *e = &ev->view->event;
    char when[CLOCK_TEXT_MAX], until[CLOCK_TEXT_MAX];

    return buf_printf(out, ",\"dpv:isIndicatedAtTime\":\"%s\",\"dpv:isIndicatedBy\":\"%s\"",
                      clock_format(e->ts_ms, when), indicated_by(e->by)) &&
           put(out, "dpv:hasIndicationMethod", e->method) &&
           buf_printf(out,
                      ",\"dpv:hasDuration\":{\"@type\":\"dpv:UntilTimeDuration\",\"rdf:value\":"
                      "{\"@type\":\"xsd:dateTime\",\"@value\":\"%s\"}}",
                      clock_format((uint64_t)e->expires_s * 1000, until)) &&
           put(out, "dpv:hasJurisdiction", e->jurisdiction) &&
           buf_append_c(out, ",\"dpv:hasService\":{\"@type\":\"dpv:Service\"") &&
           put(out, "dct:identifier", e->host) && buf_append_char(out, '}');
}

static bool put_control(const struct dpv_event *ev, struct buf *out)
{
    struct buf url;
    bool ok;

    if (ev->control.len == 0 || ev->view->event.host.len == 0)
        return true;
    buf_init(&url, 4096);
    ok = buf_printf(&url, "https://%.*s%.*s", STR_ARGS(ev->view->event.host),
                    STR_ARGS(ev->control)) &&
         buf_append_c(out, ",\"dpv:hasConsentControl\":{\"@type\":\"dpv:WithdrawConsent\"") &&
         put(out, "dct:identifier", buf_str(&url)) && buf_append_char(out, '}');
    buf_free(&url);
    return ok;
}

/* Its place in the log, and that of the event before it. */
static bool put_place(const struct dpv_event *ev, struct buf *out)
{
    const struct consent_event *e = &ev->view->event;

    return buf_append_c(out, ",\"dct:provenance\":{\"dct:isPartOf\":") &&
           json_quote(ev->origin, out) &&
           buf_printf(out, ",\"dct:identifier\":\"%" PRIu64 "\"", ev->leaf) &&
           (!e->has_prev ||
            buf_printf(out, ",\"dct:replaces\":\"%u:%" PRIu64 "\"", e->prev_node, e->prev_leaf)) &&
           buf_append_char(out, '}');
}

static bool put_record(const struct dpv_event *ev, const struct dpv_notice *n, struct buf *out)
{
    const struct record_view *v = ev->view;
    char uuid[37], sub[B64_LEN(RECORD_ID_LEN) + 1], when[CLOCK_TEXT_MAX];
    bool ok;

    dpv_uuid(v->event.eid, uuid);
    b64url_encode(sub, v->event.subject, sizeof(v->event.subject));
    ok = buf_printf(out,
                    "{%s,\"@id\":\"urn:uuid:%s\",\"@type\":\"dpv:ConsentRecord\","
                    "\"dct:identifier\":\"%s\",\"dct:conformsTo\":\"dpv-27560:record-eu-gdpr\","
                    "\"dct:created\":\"%s\"",
                    context, uuid, uuid, clock_format(v->event.ts_ms, when)) &&
         put(out, "dct:language", v->event.lang) &&
         buf_printf(out,
                    ",\"dpv:hasDataSubject\":{\"@type\":\"dpv:DataSubject\","
                    "\"dct:identifier\":\"s_%s\"}",
                    sub) &&
         put_event(ev, out) && put_notice(&v->event, n, out) && put_control(ev, out) &&
         put_place(ev, out) && (n == NULL || buf_append_str(out, buf_str(&n->common))) &&
         buf_append_c(out, ",\"dpv:hasProcess\":[");
    for (unsigned i = 0; ok && i < v->grant_cnt; i++)
        ok = put_process(ev, n, v->grants[i], true, out);
    for (unsigned i = 0; ok && i < v->deny_cnt; i++)
        ok = put_process(ev, n, v->denies[i], false, out);
    return ok && buf_append_c(out, "]}");
}

bool dpv_record(const struct dpv_event *ev, struct dpv_notice *notice, struct buf *out)
{
    size_t before = out->len;

    if ((notice == NULL || speak(notice, ev->view->event.lang)) && put_record(ev, notice, out))
        return true;
    out->len = before;
    return false;
}

bool dpv_record_closed(const struct dpv_event *ev, struct buf *out)
{
    size_t before = out->len;

    if (buf_printf(out,
                   "{%s,\"@type\":\"dpv:ConsentRecord\",\"dct:conformsTo\":"
                   "\"dpv-27560:record-eu-gdpr\",\"dpv:hasConsentStatus\":\"dpv:ConsentUnknown\","
                   "\"dct:provenance\":{\"dct:isPartOf\":",
                   context) &&
        json_quote(ev->origin, out) &&
        buf_printf(out, ",\"dct:identifier\":\"%" PRIu64 "\"}}", ev->leaf))
        return true;
    out->len = before;
    return false;
}

/* --- receipts --------------------------------------------------------------------------------- */

bool dpv_receipt_begin(const uint8_t id[16], uint64_t now_ms, struct dpv_notice *publisher,
                       struct buf *out)
{
    const json_t *controller =
        publisher != NULL ? json_object_get(publisher->policy, "controller") : NULL;
    char uuid[37], when[CLOCK_TEXT_MAX];

    dpv_uuid(id, uuid);
    return buf_printf(out,
                      "{%s,\"@id\":\"urn:uuid:%s\",\"@type\":\"dpv:ConsentReceipt\","
                      "\"dct:identifier\":\"%s\","
                      "\"dct:conformsTo\":\"dpv-27560:receipt-eu-gdpr\",\"dct:created\":\"%s\"",
                      context, uuid, uuid, clock_format(now_ms, when)) &&
           put(out, "dct:publisher", member(controller, "name")) &&
           buf_append_c(out, ",\"dpv:hasRecordOfActivity\":[");
}

bool dpv_receipt_next(struct buf *out)
{
    return buf_append_char(out, ',');
}

bool dpv_receipt_end(struct buf *out)
{
    return buf_append_c(out, "]}");
}
