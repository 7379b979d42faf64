/*
 * The consent token: the vector of LEDGER 6, every one-bit change, every reason, and the keyring.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/attr.h"
#include "consentd/b64.h"
#include "consentd/token.h"

#define VECTOR                                                                                     \
    "AQMAAAcAAAAHawS1-mvyA_qgoaKjpKWmp6ipqqusra6vAQAAAAAQAAAAAGevhdKK05OwaZwO17-4g4ZlePr5jmIu6ag1" \
    "JnPLlqVl"
#define K_TOK "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8" /* 00..1f */
#define K_OLD "MzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzM" /* 33 × 32 */
#define K_GON "RERERERERERERERERERERERERERERERERERERERERERERERERERERERERERE"

static const char ring_text[] =
    "{\"keys\": ["
    "{\"kid\": 3, \"use\": \"tok\", \"state\": \"active\", \"not_before\": 0, \"key\": \"" K_TOK
    "\"},"
    "{\"kid\": 2, \"use\": \"tok\", \"state\": \"revoked\", \"key\": \"" K_OLD "\"}]}";

static const struct token_check vector_check = {
    .site = STR_INIT("www.netstreem.com"),
    .now_s = 1795470842,
    .min_epoch = 7,
};

static struct token_claims vector_claims(void)
{
    struct token_claims c = {.grants = 7,
                             .epoch = 7,
                             .issued_s = 1795470842,
                             .expires_s = 1811022842,
                             .node = 1,
                             .leaf = 1048576};

    for (unsigned i = 0; i < sizeof(c.subject); i++)
        c.subject[i] = (uint8_t)(0xa0 + i);
    return c;
}

static struct keyring *ring_of(const char *text)
{
    struct fault f = {0};
    struct keyring *ring = keyring_parse("keys.json", str_c(text), &f);

    if (ring == NULL)
        fail_msg("%s", f.text);
    return ring;
}

static void test_vector(void **state)
{
    struct keyring *ring = ring_of(ring_text);
    struct token_claims claims = vector_claims(), out;
    char text[TOKEN_LEN + 1];

    UNUSED(state);
    assert_true(token_issue(ring, &claims, vector_check.site, text));
    assert_string_equal(text, VECTOR);
    assert_int_equal(token_verify(ring, STR(VECTOR), &vector_check, &out), TOKEN_OK);
    assert_int_equal(out.kid, 3);
    assert_int_equal(out.grants, 7);
    assert_int_equal(out.leaf, 1048576);
    assert_int_equal(out.node, 1);
    assert_memory_equal(out.subject, claims.subject, 16);
    keyring_free(ring);
}

static void test_a_rotation_written_ahead(void **state)
{
    struct keyring *ring =
        ring_of("{\"keys\": ["
                "{\"kid\": 3, \"use\": \"tok\", \"state\": \"verify\", \"key\": \"" K_TOK "\"},"
                "{\"kid\": 4, \"use\": \"tok\", \"state\": \"active\", \"not_before\": 1795480000, "
                "\"key\": \"" K_OLD "\"}]}");
    struct keyring *lone =
        ring_of("{\"keys\": [{\"kid\": 4, \"use\": \"tok\", \"state\": \"active\", "
                "\"not_before\": 1795480000, \"key\": \"" K_OLD "\"}]}");
    struct token_claims claims = vector_claims(), out;
    struct token_check check = vector_check;
    char text[TOKEN_LEN + 1];

    UNUSED(state);
    assert_true(token_issue(ring, &claims, check.site, text));
    assert_int_equal(token_verify(ring, str_c(text), &check, &out), TOKEN_OK);
    assert_int_equal(out.kid, 3);
    assert_false(token_issue(lone, &claims, check.site, text));
    claims.issued_s = check.now_s = 1795480000;
    assert_true(token_issue(ring, &claims, check.site, text));
    assert_int_equal(token_verify(ring, str_c(text), &check, &out), TOKEN_OK);
    assert_int_equal(out.kid, 4);
    keyring_free(ring);
    keyring_free(lone);
}

static void test_every_bit_change_is_undecided(void **state)
{
    struct keyring *ring = ring_of(ring_text);
    uint8_t raw[TOKEN_RAW_LEN];
    struct token_claims out, zero = {0};

    UNUSED(state);
    assert_true(b64url_decode(STR(VECTOR), raw, sizeof(raw)));
    for (unsigned bit = 0; bit < TOKEN_RAW_LEN * 8; bit++) {
        char text[TOKEN_LEN + 1];

        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
        (void)b64url_encode(text, raw, sizeof(raw));
        assert_int_not_equal(token_verify(ring, str_c(text), &vector_check, &out), TOKEN_OK);
        assert_memory_equal(&out, &zero, sizeof(out));
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (unsigned bit = 0; bit < TOKEN_LEN * 8; bit++) {
        char text[] = VECTOR;

        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
        assert_int_not_equal(token_verify(ring, str_make(text, TOKEN_LEN), &vector_check, &out),
                             TOKEN_OK);
    }
    keyring_free(ring);
}

static void test_lengths_and_alphabet(void **state)
{
    struct keyring *ring = ring_of(ring_text);
    struct token_claims out;
    char longer[] = VECTOR "A";

    UNUSED(state);
    assert_int_equal(token_verify(ring, STR(""), &vector_check, &out), TOKEN_NONE);
    for (size_t len = 1; len <= 101; len++) {
        enum token_status want = len == TOKEN_LEN ? TOKEN_OK : TOKEN_LENGTH;

        assert_int_equal(token_verify(ring, str_make(longer, len), &vector_check, &out), want);
    }
    for (unsigned c = 0; c < 256; c++) {
        char text[] = VECTOR;

        text[50] = (char)c;
        if (!ascii_is_alnum((char)c) && c != '-' && c != '_')
            assert_int_equal(token_verify(ring, str_make(text, TOKEN_LEN), &vector_check, &out),
                             TOKEN_ALPHABET);
    }
    assert_int_equal(token_verify(NULL, STR(VECTOR), &vector_check, &out), TOKEN_KEY);
    keyring_free(ring);
}

static void test_another_site_key_or_policy(void **state)
{
    struct keyring *ring = ring_of(ring_text);
    struct token_check check = vector_check;
    struct token_claims out;

    UNUSED(state);
    check.site = STR("netstreem.com");
    assert_int_equal(token_verify(ring, STR(VECTOR), &check, &out), TOKEN_MAC);
    check.site = STR("");
    assert_int_equal(token_verify(ring, STR(VECTOR), &check, &out), TOKEN_MAC);
    check = vector_check;
    check.min_epoch = 8;
    assert_int_equal(token_verify(ring, STR(VECTOR), &check, &out), TOKEN_EPOCH);
    keyring_free(ring);
}

static void test_time(void **state)
{
    struct keyring *ring = ring_of(ring_text);
    struct token_check check = vector_check;
    struct token_claims out;

    UNUSED(state);
    check.now_s = 1795470842 - TOKEN_SKEW_S;
    assert_int_equal(token_verify(ring, STR(VECTOR), &check, &out), TOKEN_OK);
    check.now_s--;
    assert_int_equal(token_verify(ring, STR(VECTOR), &check, &out), TOKEN_FUTURE);
    check.now_s = 1811022842 - 1;
    assert_int_equal(token_verify(ring, STR(VECTOR), &check, &out), TOKEN_OK);
    check.now_s++;
    assert_int_equal(token_verify(ring, STR(VECTOR), &check, &out), TOKEN_EXPIRED);
    check = vector_check;
    check.cap_s = 15552000;
    assert_int_equal(token_verify(ring, STR(VECTOR), &check, &out), TOKEN_OK);
    check.cap_s--;
    assert_int_equal(token_verify(ring, STR(VECTOR), &check, &out), TOKEN_LIFETIME);
    keyring_free(ring);
}

/* A token with a good MAC over whatever payload. */
static enum token_status verify_forged(size_t at, uint8_t value)
{
    struct keyring *ring = ring_of(ring_text);
    struct token_claims out;
    uint8_t raw[TOKEN_RAW_LEN], site_len = 17;
    char text[TOKEN_LEN + 1];
    enum token_status status;

    assert_true(b64url_decode(STR(VECTOR), raw, sizeof(raw)));
    raw[at] = value;
    {
        const struct str parts[] = {str_make("consentd.token.v1", 18), str_make(&site_len, 1),
                                    vector_check.site, str_make(raw, 43)};

        crypto_hmac(keyring_active(ring, KEY_TOK)->hmac, parts, COUNT_OF(parts), raw + 43);
    }
    (void)b64url_encode(text, raw, sizeof(raw));
    status = token_verify(ring, str_c(text), &vector_check, &out);
    keyring_free(ring);
    return status;
}

static void test_checks_behind_the_mac(void **state)
{
    UNUSED(state);
    assert_int_equal(verify_forged(0, 2), TOKEN_VERSION);
    assert_int_equal(verify_forged(1, 2), TOKEN_KEY); /* revoked */
    assert_int_equal(verify_forged(1, 9), TOKEN_KEY);
    assert_int_equal(verify_forged(42, 1), TOKEN_RESERVED);
    assert_int_equal(verify_forged(2, 0x10), TOKEN_RESERVED);
    assert_int_equal(verify_forged(2, 0x0f), TOKEN_OK);
    assert_int_equal(verify_forged(4, 6), TOKEN_ESSENTIAL);
    assert_int_equal(verify_forged(4, 1), TOKEN_OK);
}

static void test_issue_refuses_what_does_not_fit(void **state)
{
    struct keyring *ring = ring_of(ring_text);
    struct keyring *empty = ring_of("{\"keys\": []}");
    struct token_claims c = vector_claims();
    char text[TOKEN_LEN + 1];

    UNUSED(state);
    assert_false(token_issue(empty, &c, STR("a"), text));
    assert_false(token_issue(ring, &c, STR(""), text));
    c.leaf = UINT64_C(1) << 56;
    assert_false(token_issue(ring, &c, STR("a"), text));
    c = vector_claims();
    c.expires_s = c.issued_s + TOKEN_CAP_S;
    assert_true(token_issue(ring, &c, STR("a"), text));
    c.expires_s++;
    assert_false(token_issue(ring, &c, STR("a"), text));
    assert_string_equal(text, "");
    keyring_free(ring);
    keyring_free(empty);
}

static void refuse_ring(const char *text, const char *why)
{
    struct fault f = {0};

    assert_null(keyring_parse("keys.json", str_c(text), &f));
    if (strstr(f.text, why) == NULL)
        fail_msg("expected \"%s\" in \"%s\"", why, f.text);
    assert_null(strstr(f.text, K_TOK));
}

#define KEY(kid, use, state, key)                                                                  \
    "{\"kid\": " #kid ", \"use\": \"" use "\", \"state\": \"" state "\", \"key\": \"" key "\"}"

static void test_keyrings_that_are_refused(void **state)
{
    UNUSED(state);
    refuse_ring("{", "keys.json");
    refuse_ring("{}", "missing");
    refuse_ring(
        "{\"keys\": [" KEY(1, "tok", "active", K_TOK) "," KEY(1, "tok", "verify", K_OLD) "]}",
        "twice");
    refuse_ring(
        "{\"keys\": [" KEY(1, "tok", "active", K_TOK) "," KEY(2, "tok", "active", K_OLD) "]}",
        "second active");
    refuse_ring(
        "{\"keys\": [" KEY(1, "tok", "active", K_TOK) "," KEY(1, "idx", "active", K_TOK) "]}",
        "same key");
    refuse_ring("{\"keys\": [" KEY(1, "tok", "active", K_GON) "]}", "32 bytes");
    refuse_ring("{\"keys\": [" KEY(256, "tok", "active", K_TOK) "]}", "kid");
    refuse_ring("{\"keys\": [" KEY(1, "sign", "active", K_TOK) "]}", "tok, idx");
    refuse_ring("{\"keys\": [" KEY(1, "tok", "old", K_TOK) "]}", "active, verify");
}

static void test_generate_and_export(void **state)
{
    struct buf text, part;
    struct keyring *ring, *tok;

    UNUSED(state);
    buf_init(&text, 4096);
    buf_init(&part, 4096);
    assert_true(keyring_generate(&text));
    assert_true(buf_append_char(&text, '\0'));
    ring = ring_of((const char *)text.data);
    for (unsigned use = KEY_TOK; use < KEY_USES; use++)
        assert_non_null(keyring_active(ring, (enum key_use)use));
    assert_true(keyring_export(ring, 1u << KEY_TOK, &part));
    assert_true(buf_append_char(&part, '\0'));
    tok = ring_of((const char *)part.data);
    assert_int_equal(keyring_cnt(tok), 1);
    assert_memory_equal(keyring_active(tok, KEY_TOK)->bytes, keyring_active(ring, KEY_TOK)->bytes,
                        KEYRING_KEY_LEN);
    assert_null(keyring_active(tok, KEY_IDX));
    keyring_free(ring);
    keyring_free(tok);
    buf_free(&text);
    buf_free(&part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector),
        cmocka_unit_test(test_a_rotation_written_ahead),
        cmocka_unit_test(test_every_bit_change_is_undecided),
        cmocka_unit_test(test_lengths_and_alphabet),
        cmocka_unit_test(test_another_site_key_or_policy),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_checks_behind_the_mac),
        cmocka_unit_test(test_issue_refuses_what_does_not_fit),
        cmocka_unit_test(test_keyrings_that_are_refused),
        cmocka_unit_test(test_generate_and_export),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
