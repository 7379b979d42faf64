/* test_peer_budget.c - what one address may have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "consentd/peer_budget.h"

static const uint8_t key[16] = "0123456789abcdef";
static struct sockaddr_storage storage;

static const struct sockaddr *peer4(uint32_t number)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(number)}};

    memcpy(&storage, &in, sizeof(in));
    return (const struct sockaddr *)(const void *)&storage;
}

static const struct sockaddr *peer6(const char *text)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    memcpy(&storage, &in6, sizeof(in6));
    return (const struct sockaddr *)(const void *)&storage;
}

static void test_connections(void **state)
{
    struct peer_budget_limits limits = {.connections = 2};
    struct peer_budget *b = peer_budget_new(&limits, key);

    (void)state;
    assert_true(peer_budget_connect(b, peer4(1), 0));
    assert_true(peer_budget_connect(b, peer4(1), 0));
    assert_false(peer_budget_connect(b, peer4(1), 0));
    assert_false(peer_budget_connect(b, peer6("::ffff:0.0.0.1"), 0)); /* the same, mapped */
    assert_true(peer_budget_connect(b, peer4(2), 0));
    peer_budget_disconnect(b, peer4(1), 5);
    assert_true(peer_budget_connect(b, peer4(1), 5));
    assert_false(peer_budget_connect(b, peer4(1), 5));
    assert_int_equal(peer_budget_known(b), 2);
    peer_budget_free(b);
}

static void test_requests_by_a_bucket(void **state)
{
    struct peer_budget_limits limits = {.requests_per_second = 2, .burst = 3};
    struct peer_budget *b = peer_budget_new(&limits, key);
    unsigned retry = 0;

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        assert_true(peer_budget_request(b, peer4(1), 1000, &retry));
    assert_false(peer_budget_request(b, peer4(1), 1000, &retry));
    assert_int_equal(retry, 1);
    assert_false(peer_budget_request(b, peer4(1), 1499, &retry));
    assert_true(peer_budget_request(b, peer4(1), 1500, &retry)); /* half a second: one more */
    assert_false(peer_budget_request(b, peer4(1), 1500, &retry));
    assert_true(peer_budget_request(b, peer4(2), 1500, &retry));
    for (unsigned i = 0; i < 3; i++) /* full again, and not fuller than that */
        assert_true(peer_budget_request(b, peer4(1), 600000, &retry));
    assert_false(peer_budget_request(b, peer4(1), 600000, &retry));
    peer_budget_free(b);
}

static void test_an_ipv6_network_is_one(void **state)
{
    struct peer_budget_limits limits = {.connections = 1};
    struct peer_budget *b = peer_budget_new(&limits, key);

    (void)state;
    assert_true(peer_budget_connect(b, peer6("2001:db8:0:1::1"), 0));
    assert_false(peer_budget_connect(b, peer6("2001:db8:0:1:ffff::9"), 0));
    assert_true(peer_budget_connect(b, peer6("2001:db8:0:2::1"), 0));
    peer_budget_free(b);
}

static void test_no_limit_no_table(void **state)
{
    struct peer_budget_limits none = {0}, both = {.connections = 1, .requests_per_second = 1};
    struct peer_budget *b = peer_budget_new(&none, key);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    unsigned retry;

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        assert_true(peer_budget_connect(b, peer4(1), 0));
        assert_true(peer_budget_request(b, peer4(1), 0, &retry));
    }
    assert_int_equal(peer_budget_known(b), 0);
    peer_budget_free(b);
    b = peer_budget_new(&both, key);
    for (unsigned i = 0; i < 100; i++) {
        assert_true(peer_budget_connect(b, (const struct sockaddr *)&un, 0));
        assert_true(peer_budget_request(b, (const struct sockaddr *)&un, 0, &retry));
    }
    peer_budget_free(b);
}

/* More addresses than places: nobody is refused for others' sake, and places are used again. */
static void test_a_flood_of_addresses(void **state)
{
    struct peer_budget_limits limits = {.requests_per_second = 1, .burst = 1};
    struct peer_budget *b = peer_budget_new(&limits, key);
    unsigned retry;

    (void)state;
    for (uint32_t i = 0; i < 4 * PEER_BUDGET_PLACES; i++)
        assert_true(peer_budget_request(b, peer4(i), 10, &retry));
    assert_true(peer_budget_known(b) <= PEER_BUDGET_PLACES);
    assert_true(peer_budget_known(b) > PEER_BUDGET_PLACES * 9 / 10);
    assert_true(peer_budget_request(b, peer4(0xffffffff), 2000, &retry));
    assert_false(peer_budget_request(b, peer4(0xffffffff), 2000, &retry));
    peer_budget_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connections),
        cmocka_unit_test(test_requests_by_a_bucket),
        cmocka_unit_test(test_an_ipv6_network_is_one),
        cmocka_unit_test(test_no_limit_no_table),
        cmocka_unit_test(test_a_flood_of_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
