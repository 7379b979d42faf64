/*
 * test_record.c - the published vectors of a consent record, and what J may not be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consentd/b64.h"
#include "consentd/envelope.h"
#include "ledger_fixture.h"

static const char vector_json[] =
    "{\"act\":\"custom\",\"by\":\"subject\",\"deny\":[\"marketing\"],\"doc\":"
    "\"k2in0h4Bj2SuMyfS8lzU1w\",\"eid\":\"QEFCQ0RFRkdISUpLTE1OTw\",\"exp\":1811022842,"
    "\"gpc\":false,\"grant\":[\"analytics\"],\"host\":\"www.netstreem.com\",\"jur\":\"EU\","
    "\"lang\":\"en\",\"mth\":\"banner.save\",\"pe\":7,\"prev\":\"1:1048001\",\"sub\":"
    "\"oKGio6SlpqeoqaqrrK2urw\",\"ts\":1795470842549,\"typ\":\"explicit\",\"v\":1}";

static void assert_hex(const void *p, size_t len, const char *hex)
{
    char text[256];

    hex_encode(text, p, len);
    assert_string_equal(text, hex);
}

static void test_vector_canonical(void **state)
{
    struct consent_event ev = fixture_event();
    struct buf out;

    UNUSED(state);
    buf_init(&out, 4096);
    assert_true(record_canonical(&ev, fixture_names, &out));
    assert_int_equal(out.len, 334);
    assert_memory_equal(out.data, vector_json, 334);
    buf_free(&out);
}

static void test_vector_seal(void **state)
{
    const struct record_place at = {.node = 1, .leaf = 1048576, .month = 202611};
    struct str json = str_c(vector_json);
    uint8_t r[32], kek[32], out[32], envelope[354] = {0x00, 0x03, 0x17, 0x73}; /* 202611 */
    uint8_t opened[334];

    UNUSED(state);
    memset(r, 0x11, 32);
    memset(kek, 0x22, 32);
    record_commit(r, json, out);
    assert_hex(out, 32, "cb98e9670dff1141390c72fa7c2911e10ca5260c6845a89b6985cf3bc5a25390");
    record_leaf_hash(out, out);
    assert_hex(out, 32, "62c8963cdbeecdbe2b316350517667de56052d326455102312f5dd5c32474155");
    record_dek(kek, r, out);
    assert_hex(out, 32, "1d011b52b59478677846f500d7651755cb73d041d956beb58a84b15ff82c1afd");
    assert_true(record_seal(&at, kek, r, json, envelope + 4));
    crypto_sha256(envelope, sizeof(envelope), out);
    assert_hex(out, 32, "635bd40282520fa49f9f5f954434aeacb0ba9047aee43814052457c41639d1aa");
    assert_true(record_open(&at, kek, r, str_make(envelope + 4, 350), opened));
    assert_memory_equal(opened, vector_json, 334);
}

static void test_vector_sub_tag(void **state)
{
    struct consent_event ev = fixture_event();
    uint8_t key[32], tag[16];

    UNUSED(state);
    memset(key, 0x33, 32);
    record_sub_tag(key, ev.subject, tag);
    assert_hex(tag, 16, "17dd7f7f63d580bdc954050bdffb3bb0");
}

static void test_open_refuses_every_changed_bit_and_place(void **state)
{
    struct record_place at = {.node = 1, .leaf = 5, .month = 202611};
    uint8_t r[32] = {1}, kek[32] = {2}, sealed[350] = {0}, opened[334];
    struct str all = str_make(sealed, sizeof(sealed));

    UNUSED(state);
    assert_true(record_seal(&at, kek, r, str_c(vector_json), sealed));
    for (size_t bit = 0; bit < sizeof(sealed) * 8; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(record_open(&at, kek, r, all, opened));
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    at.leaf = 6;
    assert_false(record_open(&at, kek, r, all, opened));
    at.leaf = 5;
    at.node = 2;
    assert_false(record_open(&at, kek, r, all, opened));
    at.node = 1;
    r[31] ^= 1;
    assert_false(record_open(&at, kek, r, all, opened));
    assert_false(record_open(&at, kek, r, str_make(sealed, 15), opened));
}

static void test_parse_reads_back(void **state)
{
    struct record_view v;

    UNUSED(state);
    assert_int_equal(record_parse(str_c(vector_json), &v), RECORD_EVENT);
    assert_int_equal(v.event.act, CONSENT_CUSTOM);
    assert_int_equal(v.event.ts_ms, 1795470842549);
    assert_int_equal(v.grant_cnt, 1);
    assert_true(str_eq_c(v.grants[0], "analytics"));
    assert_true(str_eq_c(v.denies[0], "marketing"));
    assert_true(v.event.has_prev);
    assert_int_equal(v.event.prev_leaf, 1048001);
    assert_true(str_eq_c(v.event.host, "www.netstreem.com"));
}

static void test_parse_refuses_any_other_form(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "{\"act\":\"custom\"}",
        "{\"op\":{},\"ts\":1,\"v\":2}",
        "{\"op\":1,\"ts\":1,\"v\":1}",
        "{\"op\":{},\"ts\":01,\"v\":1}",
        "{\"op\":{},\"ts\":1,\"v\":1} ",
    };
    struct record_view v;
    char text[sizeof(vector_json)];

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(record_parse(str_c(bad[i]), &v), RECORD_UNKNOWN);
    for (size_t len = 0; len < sizeof(vector_json) - 1; len++)
        assert_int_equal(record_parse(str_make(vector_json, len), &v), RECORD_UNKNOWN);
    memcpy(text, vector_json, sizeof(text));
    memcpy(strstr(text, "custom"), "CUSTOM", 6);
    assert_int_equal(record_parse(str_c(text), &v), RECORD_UNKNOWN);
}

static void test_optional_fields_are_left_out(void **state)
{
    struct consent_event ev = fixture_event();
    struct record_view v;
    struct buf out;

    UNUSED(state);
    ev.method = ev.lang = ev.jurisdiction = (struct str){NULL, 0};
    ev.has_prev = false;
    ev.grant = 0;
    ev.deny = 6;
    buf_init(&out, 4096);
    assert_true(record_canonical(&ev, fixture_names, &out));
    assert_true(str_find(buf_str(&out), STR("\"deny\":[\"analytics\",\"marketing\"]")) > 0);
    assert_true(str_find(buf_str(&out), STR("\"grant\":[]")) > 0);
    assert_true(str_find(buf_str(&out), STR("lang")) < 0);
    assert_true(str_find(buf_str(&out), STR("prev")) < 0);
    assert_int_equal(record_parse(buf_str(&out), &v), RECORD_EVENT);
    assert_int_equal(v.deny_cnt, 2);
    buf_free(&out);
}

static void refuse(struct consent_event ev)
{
    struct buf out;

    buf_init(&out, 4096);
    assert_false(record_canonical(&ev, fixture_names, &out));
    assert_int_equal(out.len, 0);
    buf_free(&out);
}

static void test_canonical_refuses(void **state)
{
    struct consent_event ev = fixture_event();

    UNUSED(state);
    ev.act = CONSENT_ACT_NONE;
    refuse(ev);
    ev = fixture_event();
    ev.deny = ev.grant;
    refuse(ev);
    ev = fixture_event();
    ev.grant = 1 << 5; /* a bit without a name */
    refuse(ev);
    ev = fixture_event();
    ev.host = STR("a\"b");
    refuse(ev);
    ev = fixture_event();
    ev.lang = str_make("e\0n", 3);
    refuse(ev);
    ev = fixture_event();
    ev.host = (struct str){NULL, 0};
    refuse(ev);
}

static void test_operator_record(void **state)
{
    struct record_view v;
    struct buf out;

    UNUSED(state);
    buf_init(&out, RECORD_OPLOG_MAX + 100);
    assert_true(record_operator(STR("{\"do\":\"}\",\"who\":\"root\"}"), 17, &out));
    assert_string_equal(buf_cstr(&out),
                        "{\"op\":{\"do\":\"}\",\"who\":\"root\"},\"ts\":17,\"v\":1}");
    assert_int_equal(record_parse(buf_str(&out), &v), RECORD_OPERATOR);
    assert_int_equal(v.event.ts_ms, 17);
    assert_false(record_operator(STR("[]"), 17, &out));
    buf_free(&out);
}

static void test_months(void **state)
{
    UNUSED(state);
    assert_int_equal(record_month(1795470842549), 202611);
    assert_int_equal(record_month(0), 197001);
    assert_int_equal(record_month_next(202612), 202701);
    assert_int_equal(record_month_prev(202701), 202612);
    assert_int_equal(record_month(record_month_start(202611)), 202611);
    assert_int_equal(record_month(record_month_start(202611) - 1), 202610);
    assert_false(record_month_ok(202613));
}

/* What Redis keeps: both forms open, the packed one is small, and no changed bit opens. */
static void test_envelope(void **state)
{
    const struct record_place at = {.node = 1, .leaf = 1048576, .month = 202611};
    struct record_place other = at;
    struct str json = str_c(vector_json);
    uint8_t r[32], kek[32], sealed[400], opened[RECORD_OPLOG_MAX];
    struct buf old, packed, again;
    size_t len = 0;

    UNUSED(state);
    memset(r, 0x11, 32);
    memset(kek, 0x22, 32);
    buf_init(&old, ENVELOPE_MAX);
    buf_init(&packed, ENVELOPE_MAX);
    buf_init(&again, ENVELOPE_MAX);
    assert_true(record_seal(&at, kek, r, json, sealed));
    assert_true(envelope_wrap(at.month, str_make(sealed, json.len + 16), &old));
    assert_int_equal(envelope_month(buf_str(&old)), 202611);
    assert_true(envelope_open(&at, kek, r, buf_str(&old), opened, &len));
    assert_true(str_eq(str_make(opened, len), json));
    assert_true(envelope_seal(&at, kek, r, json, &packed));
    assert_true(envelope_seal(&at, kek, r, json, &again));
    assert_true(str_eq(buf_str(&packed), buf_str(&again)));
    assert_true(packed.len * 2 < old.len);
    assert_int_equal(envelope_month(buf_str(&packed)), 202611);
    assert_true(envelope_open(&at, kek, r, buf_str(&packed), opened, &len));
    assert_true(str_eq(str_make(opened, len), json));
    for (size_t i = 0; i < packed.len * 8; i++) {
        packed.data[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_false(envelope_open(&at, kek, r, buf_str(&packed), opened, &len));
        packed.data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    other.leaf++;
    assert_false(envelope_open(&other, kek, r, buf_str(&packed), opened, &len));
    for (size_t i = 0; i < packed.len; i++)
        assert_false(envelope_open(&at, kek, r, str_make(packed.data, i), opened, &len));
    buf_free(&old);
    buf_free(&packed);
    buf_free(&again);
}

/* Packing gives back what it was given, whatever that was. */
static void test_packing(void **state)
{
    static const char *const texts[] = {
        "{}",
        "\"\"",
        "\"AAAAAAAAAAAAAAAAAAAAAA\"",           /* an id */
        "\"AAAAAAAAAAAAAAAAAAAAAB\"",           /* no id: bits are left over */
        "\"AAAAAAAAAAAAAAAAAAAAAAA\"",          /* too long for one */
        "{\"act\":\"accept_all\",\"by\":\"sub", /* a phrase that is cut off */
        "{\"op\":{\"act\":\"erase\",\"leaves\":[1,2]},\"ts\":1,\"v\":1}",
    };
    uint8_t packed[400], out[400];
    size_t len = 0;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        size_t cnt = envelope_pack(str_c(texts[i]), packed);

        assert_true(cnt > 0 && cnt <= strlen(texts[i]));
        assert_true(envelope_unpack(str_make(packed, cnt), out, sizeof(out), &len));
        assert_true(str_eq_c(str_make(out, len), texts[i]));
    }
    for (size_t cut = 1; cut < sizeof(vector_json); cut++) {
        size_t cnt = envelope_pack(str_make(vector_json, cut), packed);

        assert_true(envelope_unpack(str_make(packed, cnt), out, cut, &len));
        assert_true(str_eq(str_make(out, len), str_make(vector_json, cut)));
        assert_false(envelope_unpack(str_make(packed, cnt), out, cut - 1, &len));
    }
    assert_int_equal(envelope_pack(STR("\"\xc3\xa4\""), packed), 0);
    assert_false(envelope_unpack(STR("\x80short"), out, sizeof(out), &len));
    assert_false(envelope_unpack(STR("\xff"), out, sizeof(out), &len));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector_canonical),
        cmocka_unit_test(test_vector_seal),
        cmocka_unit_test(test_vector_sub_tag),
        cmocka_unit_test(test_open_refuses_every_changed_bit_and_place),
        cmocka_unit_test(test_envelope),
        cmocka_unit_test(test_packing),
        cmocka_unit_test(test_parse_reads_back),
        cmocka_unit_test(test_parse_refuses_any_other_form),
        cmocka_unit_test(test_optional_fields_are_left_out),
        cmocka_unit_test(test_canonical_refuses),
        cmocka_unit_test(test_operator_record),
        cmocka_unit_test(test_months),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
