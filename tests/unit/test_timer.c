/* test_timer.c - the wheel with the time as a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "consentd/attr.h"
#include "consentd/timer.h"

struct probe {
    struct timer timer;
    unsigned fired;
    struct timer_wheel *wheel;
    struct timer *victim;
};

static void on_fire(void *arg)
{
    struct probe *probe = arg;

    probe->fired++;
    if (probe->victim != NULL && probe->victim->when_ms != 0)
        timer_wheel_take(probe->wheel, probe->victim);
}

static void put(struct timer_wheel *wheel, struct probe *probe, uint64_t when_ms)
{
    probe->timer.fn = on_fire;
    probe->timer.arg = probe;
    probe->timer.when_ms = when_ms;
    probe->wheel = wheel;
    timer_wheel_put(wheel, &probe->timer);
}

static void test_never_early_and_at_most_two_ticks_late(void **state)
{
    UNUSED(state);
    for (uint64_t ms = 0; ms < 3 * TIMER_TICK_MS; ms++) {
        struct timer_wheel wheel = {.turned_ms = 1000};
        struct probe probe = {.fired = 0};

        put(&wheel, &probe, 1000 + ms);
        for (uint64_t now = 1000; now < 1000 + ms; now++)
            timer_wheel_turn(&wheel, now);
        assert_int_equal(probe.fired, 0);
        timer_wheel_turn(&wheel, 1000 + ms + 2 * TIMER_TICK_MS);
        assert_int_equal(probe.fired, 1);
        assert_int_equal(wheel.cnt, 0);
    }
}

static void test_longer_than_a_round(void **state)
{
    const uint64_t round = (uint64_t)TIMER_TICK_MS * TIMER_SLOTS;
    struct timer_wheel wheel = {.turned_ms = 5};
    struct probe probe = {.fired = 0};

    UNUSED(state);
    put(&wheel, &probe, 3 * round);
    for (uint64_t now = 0; now < 3 * round; now += TIMER_TICK_MS)
        timer_wheel_turn(&wheel, now);
    assert_int_equal(probe.fired, 0);
    timer_wheel_turn(&wheel, 3 * round + TIMER_TICK_MS);
    assert_int_equal(probe.fired, 1);
}

static void test_after_a_long_sleep_all_that_is_due_fires(void **state)
{
    struct timer_wheel wheel = {.turned_ms = 5};
    struct probe probes[100];

    UNUSED(state);
    memset(probes, 0, sizeof(probes));
    for (unsigned i = 0; i < COUNT_OF(probes); i++)
        put(&wheel, &probes[i], 10 + 997 * i);
    timer_wheel_turn(&wheel, UINT64_C(1) << 40);
    for (unsigned i = 0; i < COUNT_OF(probes); i++)
        assert_int_equal(probes[i].fired, 1);
}

static void test_a_callback_takes_another_due_timer(void **state)
{
    struct timer_wheel wheel = {.turned_ms = 5};
    struct probe one = {.fired = 0};
    struct probe two = {.fired = 0};

    UNUSED(state);
    one.victim = &two.timer;
    two.victim = &one.timer;
    put(&wheel, &one, 60);
    put(&wheel, &two, 60);
    timer_wheel_turn(&wheel, 500);
    assert_int_equal(one.fired + two.fired, 1);
    assert_int_equal(wheel.cnt, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_early_and_at_most_two_ticks_late),
        cmocka_unit_test(test_longer_than_a_round),
        cmocka_unit_test(test_after_a_long_sleep_all_that_is_due_fires),
        cmocka_unit_test(test_a_callback_takes_another_due_timer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
