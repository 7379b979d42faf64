/* test_endpoint.c - addresses of the configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consentd/endpoint.h"

static void test_forms_that_are_accepted(void **state)
{
    static const struct {
        const char *url, *host;
        unsigned port;
        bool tls;
    } rows[] = {
        {"http://127.0.0.1:8081", "127.0.0.1", 8081, false},
        {"http://origin.internal", "origin.internal", 80, false},
        {"HTTPS://origin.internal", "origin.internal", 443, true},
        {"https://[::1]:8443", "::1", 8443, true},
        {"redis://localhost", "localhost", 6379, false},
        {"rediss://cache:1", "cache", 1, true},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct endpoint ep;

        assert_true(endpoint_parse(str_c(rows[i].url), &ep, NULL));
        assert_string_equal(ep.host, rows[i].host);
        assert_int_equal(ep.port, rows[i].port);
        assert_int_equal(ep.tls, rows[i].tls);
        assert_false(ep.is_unix);
    }
}

static void test_unix_and_rest(void **state)
{
    struct endpoint ep;
    struct str user, path;

    UNUSED(state);
    assert_true(endpoint_parse(STR("unix:/run/redis/consentd.sock"), &ep, NULL));
    assert_true(ep.is_unix);
    assert_string_equal(ep.path, "/run/redis/consentd.sock");
    assert_true(endpoint_parse_rest(STR("rediss://u:p@h:7000/2"), &ep, &user, &path, NULL));
    assert_true(str_eq_c(user, "u:p"));
    assert_true(str_eq_c(path, "2"));
    assert_int_equal(ep.port, 7000);
}

static void test_forms_that_are_refused_with_a_reason(void **state)
{
    static const char *const urls[] = {
        "",           "http://",      "http://h:0",    "http://h:65536",   "http://h:x",
        "ftp://h",    "unix:x",       "http://h/path", "http://u@h",       "http://[::1",
        "http://a b", "127.0.0.1:80", "http://h:",     "http://[::1]8080",
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(urls); i++) {
        struct endpoint ep;
        struct fault fault = {""};

        assert_false(endpoint_parse(str_c(urls[i]), &ep, &fault));
        assert_true(fault.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms_that_are_accepted),
        cmocka_unit_test(test_unix_and_rest),
        cmocka_unit_test(test_forms_that_are_refused_with_a_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
