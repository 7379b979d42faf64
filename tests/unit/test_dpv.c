/*
 * test_dpv.c - what of an event and its notice stands where in an ISO/IEC TS 27560 record.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consentd/dpv.h"
#include "consentd/json.h"
#include "ledger_fixture.h"

static const char notice_text[] =
    "{\"categories\":[{\"id\":\"essential\",\"purpose\":{\"en\":\"Needed\"}},"
    "{\"id\":\"analytics\",\"purpose\":{\"de\":\"Z\303\244hlt\",\"en\":\"Counts \\\"visits\\\"\"},"
    "\"title\":{\"en\":\"Analytics\"}}],"
    "\"controller\":{\"address\":\"Model Town\",\"email\":\"a@example.com\",\"name\":\"Acme\"},"
    "\"languages\":[\"en\",\"de\"],"
    "\"providers\":[{\"category\":\"analytics\",\"name\":\"Counter "
    "Inc\",\"role\":{\"en\":\"counts\"}},"
    "{\"category\":\"marketing\",\"name\":\"Other\",\"role\":{\"en\":\"sells\"}}],"
    "\"purposes\":[{\"category\":\"analytics\",\"purpose\":{\"en\":\"Improve\"}}],"
    "\"retention\":{\"en\":\"26 months\"},\"rights\":[{\"en\":\"Access\"},{\"en\":\"Erasure\"}],"
    "\"version\":\"2026-11\"}";

static struct dpv_notice *notice(void)
{
    struct fault f = {{0}};
    struct dpv_notice *n = dpv_notice_new(str_c(notice_text), &f);

    assert_non_null(n);
    return n;
}

/* The record of an event; *view keeps its J alive in `json`. */
static json_t *render(const struct consent_event *ev, const struct record_view *prev,
                      struct dpv_notice *n)
{
    struct dpv_event in = {.origin = STR("www.netstreem.com/consent/1"),
                           .leaf = 1048576,
                           .prev = prev,
                           .control = STR("/.consent/")};
    struct record_view view;
    struct buf json, out;
    json_t *root;

    buf_init(&json, RECORD_JSON_MAX);
    buf_init(&out, DPV_RECORD_MAX);
    assert_true(record_canonical(ev, fixture_names, &json));
    assert_int_equal(record_parse(buf_str(&json), &view), RECORD_EVENT);
    in.view = &view;
    assert_true(dpv_record(&in, n, &out));
    assert_null(memchr(out.data, '\n', out.len));
    root = json_load_text("record", buf_str(&out), 0, NULL);
    assert_non_null(root);
    buf_free(&json);
    buf_free(&out);
    return root;
}

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    assert_non_null(text);
    return text;
}

/* The process of a purpose. */
static const json_t *process(const json_t *record, const char *purpose)
{
    const json_t *list = json_object_get(record, "dpv:hasProcess");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *p = json_array_get(list, i);

        if (strcmp(text_at(p, "dct:identifier"), purpose) == 0)
            return p;
    }
    fail_msg("no process \"%s\"", purpose);
    return NULL;
}

static const char *status(const json_t *record, const char *purpose)
{
    return text_at(process(record, purpose), "dpv:hasConsentStatus");
}

/* Every row of LEDGER 1.2's table. */
static void test_terms(void **state)
{
    struct consent_event ev = fixture_event();
    struct dpv_notice *n = notice();
    json_t *r = render(&ev, NULL, n);
    const json_t *p;

    UNUSED(state);
    assert_string_equal(text_at(r, "@type"), "dpv:ConsentRecord");
    assert_string_equal(text_at(r, "dct:conformsTo"), "dpv-27560:record-eu-gdpr");
    assert_string_equal(text_at(r, "dct:identifier"), "40414243-4445-4647-4849-4a4b4c4d4e4f");
    assert_string_equal(text_at(json_object_get(r, "dpv:hasDataSubject"), "dct:identifier"),
                        "s_oKGio6SlpqeoqaqrrK2urw");
    assert_string_equal(text_at(r, "dpv:isIndicatedAtTime"), "2026-11-23T21:54:02.549Z");
    assert_string_equal(text_at(r, "dpv:isIndicatedBy"), "dpv:DataSubject");
    assert_string_equal(text_at(r, "dpv:hasIndicationMethod"), "banner.save");
    assert_string_equal(text_at(json_object_get(r, "dpv:hasDuration"), "@type"),
                        "dpv:UntilTimeDuration");
    assert_string_equal(text_at(r, "dpv:hasJurisdiction"), "EU");
    assert_string_equal(text_at(r, "dct:language"), "en");
    assert_string_equal(text_at(json_object_get(r, "dpv:hasService"), "dct:identifier"),
                        "www.netstreem.com");
    assert_string_equal(text_at(json_object_get(r, "dpv:hasNotice"), "@type"), "dpv:ConsentNotice");
    assert_string_equal(text_at(json_object_get(r, "dpv:hasDataController"), "dpv:hasName"),
                        "Acme");
    assert_string_equal(text_at(json_object_get(r, "dpv:hasConsentControl"), "dct:identifier"),
                        "https://www.netstreem.com/.consent/");
    assert_int_equal(json_array_size(json_object_get(r, "dpv:hasRight")), 2);
    p = process(r, "analytics");
    assert_string_equal(text_at(p, "dpv:hasConsentStatus"), "dpv:ConsentGiven");
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(p, "dpv:hasLegalBasis"), 1)),
        "dpv:ExplicitlyExpressedConsent");
    assert_int_equal(json_array_size(json_object_get(p, "dpv:hasRecipient")), 1);
    assert_string_equal(
        text_at(json_array_get(json_object_get(p, "dpv:hasPurpose"), 0), "dct:description"),
        "Counts \"visits\"");
    assert_string_equal(status(r, "marketing"), "dpv:ConsentRefused");
    json_decref(r);
    dpv_notice_free(n);
}

static void test_language(void **state)
{
    struct consent_event ev = fixture_event();
    struct dpv_notice *n = notice();
    json_t *r;

    UNUSED(state);
    ev.lang = STR("de");
    r = render(&ev, NULL, n);
    assert_string_equal(
        text_at(json_array_get(json_object_get(process(r, "analytics"), "dpv:hasPurpose"), 0),
                "dct:description"),
        "Z\303\244hlt");
    json_decref(r);
    ev.lang = STR("fr"); /* not in the notice: its first language */
    r = render(&ev, NULL, n);
    assert_string_equal(
        text_at(json_array_get(json_object_get(process(r, "analytics"), "dpv:hasPurpose"), 0),
                "dct:description"),
        "Counts \"visits\"");
    json_decref(r);
    dpv_notice_free(n);
}

static void test_states(void **state)
{
    struct record_view prev = {.grants = {STR_INIT("marketing")}, .grant_cnt = 1};
    struct record_view none = {.grant_cnt = 0};
    struct consent_event ev = fixture_event();
    static const struct {
        enum consent_act act;
        int before; /* 0: not known, 1: marketing was granted, 2: nothing was */
        const char *given, *denied;
    } rows[] = {
        {CONSENT_CUSTOM, 0, "dpv:ConsentGiven", "dpv:ConsentRefused"},
        {CONSENT_CUSTOM, 1, "dpv:ConsentGiven", "dpv:ConsentWithdrawn"},
        {CONSENT_RENEW, 0, "dpv:RenewedConsentGiven", "dpv:ConsentRefused"},
        {CONSENT_GPC, 0, "dpv:ConsentGiven", "dpv:ConsentRefused"},
        {CONSENT_WITHDRAW, 0, "dpv:ConsentGiven", "dpv:ConsentWithdrawn"},
        {CONSENT_WITHDRAW, 2, "dpv:ConsentGiven", "dpv:ConsentRefused"},
        {CONSENT_UNSUBSCRIBE, 0, "dpv:ConsentGiven", "dpv:ConsentWithdrawn"},
        {CONSENT_EXPIRE, 0, "dpv:ConsentExpired", "dpv:ConsentExpired"},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        json_t *r;

        ev.act = rows[i].act;
        r = render(&ev, rows[i].before == 0 ? NULL : rows[i].before == 1 ? &prev : &none, NULL);
        assert_string_equal(status(r, "analytics"), rows[i].given);
        assert_string_equal(status(r, "marketing"), rows[i].denied);
        json_decref(r);
    }
}

static void test_receipt(void **state)
{
    uint8_t id[16] = {1};
    struct dpv_notice *n = notice();
    struct dpv_event closed = {.origin = STR("x/consent/1"), .leaf = 7};
    struct buf out;
    json_t *root;

    UNUSED(state);
    buf_init(&out, DPV_RECORD_MAX);
    assert_true(dpv_receipt_begin(id, 1795470842549, n, &out));
    assert_true(dpv_record_closed(&closed, &out) && dpv_receipt_next(&out));
    assert_true(dpv_record_closed(&closed, &out) && dpv_receipt_end(&out));
    root = json_load_text("receipt", buf_str(&out), 0, NULL);
    assert_non_null(root);
    assert_string_equal(text_at(root, "dct:conformsTo"), "dpv-27560:receipt-eu-gdpr");
    assert_string_equal(text_at(root, "dct:publisher"), "Acme");
    assert_int_equal(json_array_size(json_object_get(root, "dpv:hasRecordOfActivity")), 2);
    json_decref(root);
    buf_free(&out);
    dpv_notice_free(n);
}

static void test_no_room(void **state)
{
    struct record_view view;
    struct dpv_event in = {.origin = STR("x/consent/1"), .view = &view};
    struct consent_event ev = fixture_event();
    struct buf json, out;

    UNUSED(state);
    buf_init(&json, RECORD_JSON_MAX);
    buf_init(&out, 600);
    assert_true(record_canonical(&ev, fixture_names, &json) && buf_append_c(&out, "before"));
    assert_int_equal(record_parse(buf_str(&json), &view), RECORD_EVENT);
    assert_false(dpv_record(&in, NULL, &out));
    assert_int_equal(out.len, 6);
    buf_free(&json);
    buf_free(&out);
}

static void test_no_notice(void **state)
{
    struct fault f = {{0}};

    UNUSED(state);
    assert_null(dpv_notice_new(STR("[1]"), &f));
    assert_true(f.text[0] != '\0');
    assert_null(dpv_notice_new(STR("{"), &f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terms),   cmocka_unit_test(test_language),
        cmocka_unit_test(test_states),  cmocka_unit_test(test_receipt),
        cmocka_unit_test(test_no_room), cmocka_unit_test(test_no_notice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
