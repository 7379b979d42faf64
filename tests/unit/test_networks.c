/* test_networks.c - which addresses are in a list of networks, and how proxies write addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "consentd/networks.h"

static bool has(const char *network, const char *address)
{
    struct sockaddr_storage storage;
    struct fault f = {0};
    struct networks *n = networks_new(&network, 1, &f);
    bool result;

    if (n == NULL)
        fail_msg("%s: %s", network, f.text);
    assert_true(address_parse(str_c(address), &storage));
    result = networks_has(n, (const struct sockaddr *)(const void *)&storage);
    networks_free(n);
    return result;
}

static void test_prefixes(void **state)
{
    UNUSED(state);
    assert_true(has("10.0.0.0/8", "10.255.255.255"));
    assert_false(has("10.0.0.0/8", "11.0.0.0"));
    assert_true(has("192.0.2.128/25", "192.0.2.129"));
    assert_false(has("192.0.2.128/25", "192.0.2.127"));
    assert_true(has("192.0.2.7", "192.0.2.7"));
    assert_false(has("192.0.2.7", "192.0.2.6"));
    assert_true(has("0.0.0.0/0", "203.0.113.1"));
    assert_false(has("0.0.0.0/0", "2001:db8::1"));
    assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(has("::1", "[::1]:443"));
    assert_true(has("192.0.2.0/24", "::ffff:192.0.2.9"));
}

static void test_mapped_sockets(void **state)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    const char *network = "192.0.2.0/24";
    struct fault f = {0};
    struct networks *n = networks_new(&network, 1, &f);

    UNUSED(state);
    assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.1", &in6.sin6_addr), 1);
    assert_true(networks_has(n, (const struct sockaddr *)(const void *)&in6));
    networks_free(n);
}

static void test_unix_sockets(void **state)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr unknown = {.sa_family = AF_UNSPEC};
    const char *texts[] = {"10.0.0.0/8", "unix"};
    struct fault f = {0};
    struct networks *both = networks_new(texts, 2, &f), *one = networks_new(texts, 1, &f);

    UNUSED(state);
    assert_true(networks_has(both, (const struct sockaddr *)(const void *)&un));
    assert_false(networks_has(one, (const struct sockaddr *)(const void *)&un));
    assert_false(networks_has(both, &unknown));
    assert_false(networks_has(NULL, &unknown));
    networks_free(both);
    networks_free(one);
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "",       "10.0.0.1/8",     "10.0.0.0/33", "10.0.0.0/",   "10.0.0.0/-1", "10.0.0/8",
        "::/129", "2001:db8::1/64", "example.org", "10.0.0.0/8 ", "/8",          "10.0.0.0/8/8"};

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct fault f = {0};

        if (networks_new(&bad[i], 1, &f) != NULL)
            fail_msg("\"%s\" was taken for a network", bad[i]);
        assert_non_null(strstr(f.text, "[0]: \""));
    }
}

static void test_addresses(void **state)
{
    static const char *const good[] = {"192.0.2.7", "192.0.2.7:80", "2001:db8::1", "[2001:db8::1]",
                                       "[2001:db8::1]:65535"};
    static const char *const bad[] = {
        "",       "unknown",     "_hidden",   "192.0.2.7:",  "192.0.2.7:x",
        "[::1",   "[192.0.2.7]", "[::1]80",   "192.0.2.256", "1.2.3.4:65536",
        "::1%lo", "a.example",   "192.0.2.7 "};
    struct sockaddr_storage out;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_true(address_parse(str_c(good[i]), &out));
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        if (address_parse(str_c(bad[i]), &out))
            fail_msg("\"%s\" was taken for an address", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefixes),     cmocka_unit_test(test_mapped_sockets),
        cmocka_unit_test(test_unix_sockets), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
