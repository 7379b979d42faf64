/* test_balance.c - which origin takes a request: shares, failures, probes, backups, slow start. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consentd/balance.h"

static const struct balance_rules plain = {.failures = 3, .window_ms = 10000, .pause_ms = 5000};

static struct balance_claim take(struct balance *b, uint64_t now, uint64_t tried, bool resendable)
{
    const struct balance_ask ask = {now, tried, 0, -1, resendable};
    struct balance_claim claim;

    assert_int_equal(balance_take(b, &ask, &claim), BALANCE_TAKEN);
    assert_true(claim.held);
    return claim;
}

static enum balance_answer answer(struct balance *b, uint64_t now, uint64_t tried, int wanted)
{
    const struct balance_ask ask = {now, tried, 0, wanted, true};
    struct balance_claim claim;
    enum balance_answer result = balance_take(b, &ask, &claim);

    balance_give(b, &claim);
    return result;
}

/* One request from begin to end. */
static unsigned pass(struct balance *b, uint64_t now, bool answered)
{
    struct balance_claim claim = take(b, now, 0, true);

    balance_judge(b, &claim, answered, now);
    balance_give(b, &claim);
    return claim.member;
}

static void fail_times(struct balance *b, unsigned member, unsigned times, uint64_t now)
{
    const struct balance_claim claim = {.member = member, .held = true};

    while (times-- > 0)
        balance_judge(b, &claim, false, now);
}

static void test_weights_are_interleaved(void **state)
{
    static const struct balance_member members[] = {
        {5, false, 100}, {1, false, 100}, {1, false, 100}};
    struct balance *b = balance_new(&plain, members, 3);
    char order[8] = "";

    (void)state;
    for (unsigned i = 0; i < 7; i++)
        order[i] = (char)('a' + pass(b, i, true));
    assert_string_equal(order, "aabacaa");
    balance_free(b);
}

static void test_every_share_is_exact_over_a_round(void **state)
{
    static const struct balance_member members[] = {
        {7, false, 9}, {3, false, 9}, {0, false, 9}, {10, false, 9}};
    struct balance *b = balance_new(&plain, members, 4);
    unsigned got[4] = {0};

    (void)state;
    for (unsigned i = 0; i < 200; i++)
        got[pass(b, i, true)]++;
    assert_int_equal(got[0], 70);
    assert_int_equal(got[1], 30);
    assert_int_equal(got[2], 0); /* weight 0: nobody who does not ask for it */
    assert_int_equal(got[3], 100);
    balance_free(b);
}

static void test_least_connections_by_weight(void **state)
{
    static const struct balance_member members[] = {{3, false, 100}, {1, false, 100}};
    struct balance_rules rules = plain;
    struct balance_claim held[40];
    struct balance *b;

    (void)state;
    rules.policy = BALANCE_LEAST_CONNECTIONS;
    b = balance_new(&rules, members, 2);
    for (unsigned i = 0; i < 40; i++)
        held[i] = take(b, 0, 0, true);
    assert_int_equal(balance_busy(b, 0), 30);
    assert_int_equal(balance_busy(b, 1), 10);
    for (unsigned i = 0; i < 40; i++) /* the slow one keeps its requests: the next go past it */
        if (held[i].member == 0)
            balance_give(b, &held[i]);
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(take(b, 0, 0, true).member, 0);
    balance_free(b);
}

static void test_idle_origins_share_least_connections_too(void **state)
{
    static const struct balance_member members[] = {{1, false, 9}, {1, false, 9}, {2, false, 9}};
    struct balance_rules rules = plain;
    unsigned got[3] = {0};
    struct balance *b;

    (void)state;
    rules.policy = BALANCE_LEAST_CONNECTIONS;
    b = balance_new(&rules, members, 3);
    for (unsigned i = 0; i < 40; i++)
        got[pass(b, i, true)]++;
    assert_int_equal(got[0], 10);
    assert_int_equal(got[1], 10);
    assert_int_equal(got[2], 20);
    balance_free(b);
}

static void test_failures_in_a_row_take_it_out(void **state)
{
    static const struct balance_member members[] = {{1, false, 9}, {1, false, 9}};
    const struct balance_claim claim = {.member = 0, .held = true};
    struct balance *b = balance_new(&plain, members, 2);

    (void)state;
    fail_times(b, 0, 2, 100);
    assert_int_equal(balance_judge(b, &claim, true, 100), BALANCE_SAME); /* not in a row */
    fail_times(b, 0, 2, 200);
    fail_times(b, 0, 1, 10300); /* not within the window */
    assert_int_equal(balance_state_of(b, 0, 10300), BALANCE_UP);
    fail_times(b, 0, 1, 10400);
    assert_int_equal(balance_judge(b, &claim, false, 10500), BALANCE_WENT_DOWN);
    assert_int_equal(balance_judge(b, &claim, false, 10500), BALANCE_SAME);
    assert_int_equal(balance_state_of(b, 0, 10500), BALANCE_DOWN);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(pass(b, 10600 + i, true), 1);
    assert_int_equal(balance_judge(b, &claim, true, 10700), BALANCE_SAME); /* sent before */
    assert_int_equal(balance_state_of(b, 0, 10700), BALANCE_DOWN);
    balance_free(b);
}

static void test_one_request_probes(void **state)
{
    static const struct balance_member members[] = {{1, false, 9}, {1, false, 9}};
    struct balance *b = balance_new(&plain, members, 2);
    struct balance_claim probe;

    (void)state;
    fail_times(b, 0, 3, 0);
    assert_int_equal(take(b, 4999, 0, true).member, 1);
    assert_int_equal(balance_state_of(b, 0, 5000), BALANCE_PROBING);
    assert_int_equal(take(b, 5000, 0, false).member, 1); /* a POST is no probe */
    assert_int_equal(take(b, 5000, 1, true).member, 1);  /* nor what has been there already */
    assert_int_equal(take(b, 19999, 0, false).member, 1);
    probe = take(b, 20000, 0, false); /* unless nothing else comes */
    assert_int_equal(probe.member, 0);
    balance_give(b, &probe);
    probe = take(b, 5000, 0, true);
    assert_int_equal(probe.member, 0);
    assert_int_equal(take(b, 5000, 0, true).member, 1); /* one at a time */
    assert_int_equal(balance_judge(b, &probe, false, 6000), BALANCE_SAME);
    balance_give(b, &probe);
    assert_int_equal(balance_state_of(b, 0, 10999), BALANCE_DOWN);
    probe = take(b, 11000, 0, true);
    assert_int_equal(probe.member, 0);
    balance_give(b, &probe); /* the visitor left: no verdict, the next one probes */
    probe = take(b, 11001, 0, true);
    assert_int_equal(probe.member, 0);
    assert_int_equal(balance_judge(b, &probe, true, 11002), BALANCE_CAME_UP);
    balance_give(b, &probe);
    assert_int_equal(balance_state_of(b, 0, 11002), BALANCE_UP);
    balance_free(b);
}

static void test_one_that_begins_down(void **state)
{
    static const struct balance_member members[] = {{1, false, 9}, {1, false, 9}};
    struct balance *b = balance_new(&plain, members, 2);

    (void)state;
    balance_begin_down(b, 0, 1000);
    assert_int_equal(balance_state_of(b, 0, 1000), BALANCE_DOWN);
    assert_int_equal(take(b, 5999, 0, true).member, 1);
    assert_int_equal(take(b, 6000, 0, true).member, 0); /* the probe */
    balance_free(b);
}

static void test_backups_only_without_primaries(void **state)
{
    static const struct balance_member members[] = {{1, false, 1}, {1, true, 9}, {1, true, 9}};
    struct balance *b = balance_new(&plain, members, 3);
    struct balance_claim held = take(b, 0, 0, true);

    (void)state;
    assert_int_equal(held.member, 0);
    assert_int_equal(answer(b, 0, 0, -1), BALANCE_FULL); /* full is not down */
    balance_give(b, &held);
    assert_int_equal(take(b, 0, 1, true).member, 1); /* this request has failed there */
    fail_times(b, 0, 3, 0);
    assert_int_equal(take(b, 1, 0, true).member, 2);
    assert_int_equal(take(b, 1, 0, true).member, 1);
    assert_int_equal(take(b, 5000, 0, true).member, 0); /* the probe */
    balance_free(b);
}

static void test_avoiding_one_is_a_wish(void **state)
{
    static const struct balance_member members[] = {{1, false, 1}, {1, false, 1}, {1, true, 1}};
    const struct balance_ask other = {.avoid = 1, .wanted = -1, .resendable = true};
    const struct balance_ask mine = {.avoid = 1, .wanted = 0, .resendable = true};
    struct balance *b = balance_new(&plain, members, 3);
    struct balance_claim first, second;

    (void)state;
    assert_int_equal(balance_take(b, &mine, &first), BALANCE_TAKEN);
    assert_int_equal(first.member, 0); /* the cookie's counts more */
    balance_give(b, &first);
    assert_int_equal(balance_take(b, &other, &first), BALANCE_TAKEN);
    assert_int_equal(first.member, 1);
    assert_int_equal(balance_take(b, &other, &second), BALANCE_TAKEN);
    assert_int_equal(second.member, 0); /* rather than a backup */
    balance_free(b);
}

static void test_when_all_are_down(void **state)
{
    static const struct balance_member members[] = {{1, false, 9}, {1, false, 9}, {1, true, 9}};
    struct balance_rules refusing = plain;
    struct balance *b = balance_new(&plain, members, 3);
    unsigned seen = 0;

    (void)state;
    assert_true(balance_any_up(b));
    for (unsigned i = 0; i < 3; i++)
        fail_times(b, i, 3, 1000);
    assert_false(balance_any_up(b));
    for (unsigned i = 0; i < 4; i++)
        seen |= 1u << pass(b, 1001, false);
    assert_int_equal(seen, 3); /* primaries in turn */
    assert_int_equal(take(b, 1002, 3, false).member, 2);
    assert_int_equal(answer(b, 1002, 7, -1), BALANCE_NONE);
    pass(b, 1003, true); /* a good answer is a good answer */
    assert_int_equal(balance_state_of(b, 0, 1003) + balance_state_of(b, 1, 1003), BALANCE_UP);
    balance_free(b);
    refusing.refuse_when_down = true;
    b = balance_new(&refusing, members, 3);
    for (unsigned i = 0; i < 3; i++)
        fail_times(b, i, 3, 1000 + i);
    assert_int_equal(answer(b, 2000, 0, -1), BALANCE_NONE);
    assert_int_equal(balance_wait_ms(b, 2000), 4000);
    assert_int_equal(take(b, 6000, 0, true).member, 0); /* the probe */
    balance_free(b);
}

static void test_the_only_one_is_always_asked(void **state)
{
    static const struct balance_member one[] = {{1, false, 2}};
    struct balance *b = balance_new(&plain, one, 1);
    struct balance_claim first, second;

    (void)state;
    fail_times(b, 0, 3, 0);
    first = take(b, 1, 0, false);
    second = take(b, 1, 0, false);
    assert_int_equal(answer(b, 1, 0, -1), BALANCE_FULL);
    assert_int_equal(answer(b, 1, 1, -1), BALANCE_NONE);
    balance_give(b, &first);
    balance_give(b, &first); /* not held: nothing happens */
    assert_int_equal(balance_busy(b, 0), 1);
    balance_give(b, &second);
    balance_free(b);
}

static void test_checks_rule_alone(void **state)
{
    static const struct balance_member members[] = {{1, false, 9}, {1, false, 9}};
    struct balance_rules rules = plain;
    struct balance *b;

    (void)state;
    rules.checked = true;
    rules.rise = 2;
    rules.fall = 3;
    b = balance_new(&rules, members, 2);
    assert_int_equal(balance_check(b, 0, false, 0), BALANCE_SAME);
    assert_int_equal(balance_check(b, 0, false, 0), BALANCE_SAME);
    assert_int_equal(balance_check(b, 0, true, 0), BALANCE_SAME);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(balance_check(b, 0, false, 0), BALANCE_SAME);
    assert_int_equal(balance_check(b, 0, false, 0), BALANCE_WENT_DOWN);
    assert_int_equal(take(b, 1000000, 0, true).member, 1); /* no request probes it */
    assert_int_equal(balance_check(b, 0, true, 0), BALANCE_SAME);
    assert_int_equal(balance_state_of(b, 0, 0), BALANCE_PROBING);
    assert_int_equal(balance_check(b, 0, true, 0), BALANCE_CAME_UP);
    fail_times(b, 1, 3, 0); /* requests take it out as well */
    assert_int_equal(balance_state_of(b, 1, 0), BALANCE_DOWN);
    assert_int_equal(balance_check(b, 1, true, 0), BALANCE_SAME);
    assert_int_equal(balance_check(b, 1, true, 0), BALANCE_CAME_UP);
    balance_free(b);
}

static void test_slow_start(void **state)
{
    static const struct balance_member members[] = {{10, false, 9}, {10, false, 9}};
    struct balance_rules rules = plain;
    unsigned got[3] = {0};
    struct balance *b;

    (void)state;
    rules.slow_start_ms = 10000;
    b = balance_new(&rules, members, 2);
    fail_times(b, 0, 3, 0);
    assert_int_equal(pass(b, 5000, true), 0); /* back */
    for (unsigned i = 0; i < 210; i++)
        got[0] += pass(b, 5000, true) == 0; /* 1/20 of the weight against a whole one */
    for (unsigned i = 0; i < 300; i++)
        got[1] += pass(b, 10000, true) == 0; /* half against a whole one */
    for (unsigned i = 0; i < 200; i++)
        got[2] += pass(b, 15000, true) == 0;
    assert_in_range(got[0], 9, 11);
    assert_in_range(got[1], 99, 101);
    assert_in_range(got[2], 99, 101);
    balance_free(b);
}

static void test_the_cookies_origin(void **state)
{
    static const struct balance_member members[] = {{1, false, 1}, {0, false, 1}};
    const struct balance_ask first = {0, 0, 0, 0, true}, emptied = {0, 0, 0, 1, true};
    struct balance *b = balance_new(&plain, members, 2);
    struct balance_claim one, two;

    (void)state;
    assert_int_equal(balance_take(b, &first, &one), BALANCE_TAKEN);
    assert_int_equal(balance_take(b, &emptied, &two), BALANCE_TAKEN);
    assert_int_equal(two.member, 1); /* weight 0: its old visitors stay */
    assert_int_equal(answer(b, 0, 0, 1), BALANCE_FULL);
    balance_give(b, &two);
    balance_give(b, &one);
    fail_times(b, 1, 3, 0);
    assert_int_equal(balance_take(b, &emptied, &two), BALANCE_TAKEN);
    assert_int_equal(two.member, 0);                     /* it left: another one */
    assert_int_equal(answer(b, 0, 1, 0), BALANCE_TAKEN); /* rather than nobody */
    assert_int_equal(answer(b, 0, 3, 0), BALANCE_NONE);
    assert_int_equal(answer(b, 0, 0, 7), BALANCE_FULL); /* no such member: like no cookie */
    balance_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_are_interleaved),
        cmocka_unit_test(test_every_share_is_exact_over_a_round),
        cmocka_unit_test(test_least_connections_by_weight),
        cmocka_unit_test(test_idle_origins_share_least_connections_too),
        cmocka_unit_test(test_failures_in_a_row_take_it_out),
        cmocka_unit_test(test_one_request_probes),
        cmocka_unit_test(test_one_that_begins_down),
        cmocka_unit_test(test_backups_only_without_primaries),
        cmocka_unit_test(test_avoiding_one_is_a_wish),
        cmocka_unit_test(test_when_all_are_down),
        cmocka_unit_test(test_the_only_one_is_always_asked),
        cmocka_unit_test(test_checks_rule_alone),
        cmocka_unit_test(test_slow_start),
        cmocka_unit_test(test_the_cookies_origin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
